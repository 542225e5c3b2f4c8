/* TensorFlow.js with its backends wasm and cpu, as pinned in package.json here. Installs it first if necessary. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
if (!existsSync(`${here}node_modules/.package-lock.json`))
  execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: here });

/** @type {any} */
export const tf = await import('@tensorflow/tfjs');
await import('@tensorflow/tfjs-backend-wasm');

/** The folder of the installed packages. */
export const packages = `${here}node_modules/@tensorflow/`;
