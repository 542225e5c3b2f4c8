/* The other libraries of the web, as contenders (measure.js): in a page or a worker, bundled by bundle.js with their
 * WebAssembly beside. */
import * as tfWasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import * as ort from 'onnxruntime-web/wasm';
import { onnxruntime, tensorflow } from './contenders.js';

const here = new URL('.', import.meta.url).href;
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = here;
tfWasm.setThreadsCount(1);
tfWasm.setWasmPaths(here);

export const contenders = {
  'onnxruntime-web': (each) =>
    onnxruntime('onnxruntime-web', ort, each, { executionProviders: ['wasm'] }, { reuses: false, layers: false }),
  'tfjs-wasm': (each) => tensorflow(tf, 'wasm', each),
};
