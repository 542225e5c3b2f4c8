/* Installs what a folder pins: node tools/install.js FOLDER. Without a folder, installs the development dependencies, unless they
 * are there: `npm test`, `npm pack` and the site need them, also in a fresh clone. */
import { execSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [folder = '.'] = process.argv.slice(2);
const cwd = fileURLToPath(new URL(`../${folder}/`, import.meta.url));
// `npm ci` needs the packages of all platforms in the lock file. Few registries have all those that a folder of tests pins.
const command = folder === '.' ? 'npm ci' : 'npm install --no-save';

if (folder !== '.' || !existsSync(`${cwd}node_modules/.package-lock.json`))
  try {
    execSync(`${command} --no-audit --no-fund`, { cwd, stdio: 'inherit' });
  } catch {
    console.error(`The installation in ${cwd} failed: see above. Run it again with: ${command}`);
    process.exitCode = 1;
  }
