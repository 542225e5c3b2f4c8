/* Bundles a module of this folder for browsers, with the libraries that it imports. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));

/** esbuild's options for a bundle with these libraries. They name modules of Node, but do not load them in a browser. */
export const FOR_BROWSERS = {
  bundle: true,
  minify: true,
  format: 'esm',
  external: ['fs', 'path', 'os', 'crypto', 'worker_threads', 'perf_hooks', 'util', 'string_decoder'],
  logLevel: 'error',
};

/** @param {string} module a file of this folder @param {string} folder receives the bundle, under the same name, and the
 * libraries' WebAssembly */
export async function bundle(module, folder) {
  await build({ ...FOR_BROWSERS, entryPoints: [join(here, module)], outdir: folder });
  for (const file of ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm', 'tfjs-backend-wasm-threaded-simd.wasm'])
    cpSync(join(here, 'node_modules/@tensorflow/tfjs-backend-wasm/dist', file), join(folder, file));
  for (const file of ['ort-wasm-simd-threaded.wasm', 'ort-wasm-simd-threaded.mjs'])
    cpSync(join(here, 'node_modules/onnxruntime-web/dist', file), join(folder, file));
}
