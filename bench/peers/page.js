/* The comparison in a page: one case, that of the address's query. Leaves its results in globalThis.report. */

import * as tfWasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import * as ort from 'onnxruntime-web/wasm';
import { call } from '../../js/call.js';
import { backend, batchNormalization } from '../../js/index.js';
import { problem } from '../cases.js';
import { tuned } from '../plain.js';
import { onnxruntime, tensorflow, twoWays } from './contenders.js';
import { measure } from './measure.js';

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = `${location.origin}/`;
tfWasm.setThreadsCount(1);
tfWasm.setWasmPaths(`${location.origin}/`);

const query = new URLSearchParams(location.search);
const given = problem(query.get('shape').split(',').map(Number), query.get('training') === 'true');
const results = await measure(
  given,
  {
    batchnorm: async (each) => twoWays('batchnorm', batchNormalization, each),
    'plain JS': async (each) => twoWays('plain JS', (...args) => call(tuned, ...args), each),
    'onnxruntime-web': (each) =>
      onnxruntime('onnxruntime-web', ort, each, { executionProviders: ['wasm'] }, { reuses: false, layers: false }),
    'tfjs-wasm': (each) => tensorflow(tf, 'wasm', each),
  },
  { seconds: 2, sample: 2e6 },
);
globalThis.report = { ...results, backend: backend(), isolated: crossOriginIsolated };
