/* The comparison in a page: runs the case that the query of the address names, and leaves the results in globalThis.report. */

import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { Arena, backend } from '../../js/index.js';
import { ours, placeOf, problemOf } from '../cases.js';
import { tunedFunctions } from '../plain.js';
import { inArena, twoWays } from './contenders.js';
import { measure } from './measure.js';
import { contenders } from './web.js';

const query = new URLSearchParams(location.search);
const mode = query.get('mode');
const peers = mode === 'gradient' ? { 'tfjs-wasm': contenders['tfjs-wasm'] } : contenders;
const results = await measure(
  problemOf(placeOf(query.get('place')), mode),
  {
    batchnorm: async (each) => ({
      ...twoWays('batchnorm', ours, each),
      ...inArena('batchnorm', ours, (bytes) => new Arena(bytes), each),
    }),
    'plain JS': async (each) => twoWays('plain JS', tunedFunctions, each),
    ...peers,
  },
  { seconds: 2, sample: 2e6 },
);
globalThis.report = { ...results, backend: backend(), isolated: crossOriginIsolated };
