/* The comparison in a page: runs the case that the query of the address names, and leaves the results in globalThis.report. If it has a
 * number of `threads`, only `contender` runs, with data that are already in its memory if possible. */

import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { Arena, backend } from '../../js/index.js';
import { createThreads } from '../../js/threads.js';
import { ours, placeOf, problemOf } from '../cases.js';
import { tunedFunctions } from '../plain.js';
import { inArena, twoWays } from './contenders.js';
import { measure } from './measure.js';
import { contendersWith } from './web.js';

const query = new URLSearchParams(location.search);
const mode = query.get('mode');
const threads = Number(query.get('threads'));

function all() {
  const { 'onnxruntime-web': onnxruntime, 'tfjs-wasm': tensorflow } = contendersWith(1, false);
  return {
    batchnorm: async (each) => ({
      ...twoWays('batchnorm', ours, each),
      ...inArena('batchnorm', ours, (bytes) => new Arena(bytes), each),
    }),
    'plain JS': async (each) => twoWays('plain JS', tunedFunctions, each),
    ...(mode !== 'gradient' && { 'onnxruntime-web': onnxruntime }),
    'tfjs-wasm': tensorflow,
  };
}

function one(contender) {
  const contenders = {
    async batchnorm(each) {
      const pool = await createThreads(threads);
      if (pool.size !== threads) throw new Error(`${pool.size} threads`);
      return inArena('batchnorm', ours, (bytes) => pool.arena(bytes), each);
    },
    ...contendersWith(threads, true),
  };
  return { [contender]: contenders[contender] };
}

// Samples of threads are longer: after a pause, Linux may run two of them on the same core for some milliseconds.
const results = await measure(
  problemOf(placeOf(query.get('place')), mode),
  threads ? one(query.get('contender')) : all(),
  threads ? { seconds: 3, sample: 5e7 } : { seconds: 2, sample: 2e6 },
);
globalThis.report = { ...results, backend: backend(), isolated: crossOriginIsolated };
