/* Before `npm test` and `npm pack`: installs the development dependencies in a fresh clone. */
import { execSync } from 'node:child_process';
import { existsSync } from 'node:fs';

if (!existsSync(new URL('../node_modules/.package-lock.json', import.meta.url)))
  try {
    execSync('npm ci --no-audit --no-fund', { stdio: 'inherit' });
  } catch {
    console.error('The development dependencies could not be installed: see above; run `npm ci`, then this again.');
    process.exitCode = 1;
  }
