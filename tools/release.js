/* npm run release: builds, tests and packs, then tests the packed package in runtimes, bundlers and browsers. Publishes nothing. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'));
const tarball = `${process.cwd()}/${name}-${version}.tgz`;

const run = (command, ...args) => execFileSync(command, args, { stdio: 'inherit', env: { ...process.env, TARBALL: tarball } });
const refuse = (why) => {
  console.error(`No release: ${why}`);
  process.exit(1);
};

const printed = execFileSync('git', ['status', '--porcelain'], { encoding: 'utf8' });
if (printed !== '') refuse(`there are changes that are not committed:\n${printed}`);
if (!readFileSync('CHANGELOG.md', 'utf8').includes(`## [${version}]`)) refuse(`CHANGELOG.md has no entry for ${version}`);

run('npm', 'run', 'build');
try {
  run('git', 'diff', '--exit-code', '--', 'js');
} catch {
  refuse('this compiler makes another binary than the committed one; build with the compiler that CHANGELOG.md names');
}
for (const script of ['lint', 'types', 'test', 'test:native']) run('npm', 'run', script);
run('npm', 'pack');
for (const script of ['test:package', 'test:browsers', 'test:demo']) run('npm', 'run', script);

console.log(`${tarball}
sha256 ${createHash('sha256').update(readFileSync(tarball)).digest('hex')}
To publish it: npm publish ${name}-${version}.tgz`);
