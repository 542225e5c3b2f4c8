/* npm run environments: tests the package in every environment, and writes the results to the tables of docs/environments.md. */
import { execSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withMarked } from './marked.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'batchnorm-environments-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const FOUND = join(folder, 'found');
for (const script of ['test:package', 'test:platforms', 'test:browsers'])
  execSync(`npm run ${script}`, { cwd: root, stdio: 'inherit', env: { ...process.env, FOUND, BROWSERS: '' } });

const page = join(root, 'docs/environments.md');
let text = readFileSync(page, 'utf8');
for (const line of readFileSync(FOUND, 'utf8').trim().split('\n')) {
  const { section, rows } = JSON.parse(line);
  text = withMarked(text, section, ['| where | how | backend() | checks |', '|---|---|---|---|', ...rows].join('\n'));
}
writeFileSync(page, text);
