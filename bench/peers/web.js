/* The other libraries for browsers as contenders (see measure.js), in a page or a worker. bundle.js bundles them, and puts their
 * WebAssembly next to the bundle. */
import * as tfWasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import * as ort from 'onnxruntime-web/wasm';
import { onnxruntime, tensorflow } from './contenders.js';

const here = new URL('.', import.meta.url).href;
ort.env.wasm.wasmPaths = here;
tfWasm.setWasmPaths(here);

/** @param {number} threads of each library: always the same number in a page @param {boolean} layers whether onnxruntime-web also computes
 *   nine layers, for the time of computation alone */
export function contendersWith(threads, layers) {
  ort.env.wasm.numThreads = threads;
  tfWasm.setThreadsCount(threads);
  // TensorFlow.js takes no more threads than half of the machine's cores.
  if (threads > 1) Object.defineProperty(navigator, 'hardwareConcurrency', { value: 2 * threads });
  return {
    'onnxruntime-web': (each) =>
      onnxruntime('onnxruntime-web', ort, each, { executionProviders: ['wasm'] }, { reuses: false, layers }),
    'tfjs-wasm': async (each) => {
      const calls = await tensorflow(tf, 'wasm', each);
      if (tfWasm.getThreadsCount() !== threads) throw new Error(`has ${tfWasm.getThreadsCount()} threads here`);
      return calls;
    },
  };
}
