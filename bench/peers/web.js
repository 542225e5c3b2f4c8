/* The other libraries for browsers as contenders (see measure.js), in a page or a worker. bundle.js bundles them, and puts their
 * WebAssembly next to the bundle. */
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
