/* Before `npm test`: installs the development dependencies in a fresh clone. */
import { execSync } from 'node:child_process';
import { existsSync } from 'node:fs';

if (!existsSync(new URL('../node_modules/fast-check', import.meta.url)))
  execSync('npm ci --no-audit --no-fund', { stdio: 'inherit' });
