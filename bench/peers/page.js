/* The comparison in a page: one case, that of the address's query. Leaves its results in globalThis.report. */

import { call } from '../../js/call.js';
import { Arena, backend, batchNormalization } from '../../js/index.js';
import { problem } from '../cases.js';
import { tuned } from '../plain.js';
import { inArena, twoWays } from './contenders.js';
import { measure } from './measure.js';
import { contenders } from './web.js';

const query = new URLSearchParams(location.search);
const given = problem(query.get('shape').split(',').map(Number), query.get('training') === 'true');
const results = await measure(
  given,
  {
    batchnorm: async (each) => ({
      ...twoWays('batchnorm', batchNormalization, each),
      ...inArena('batchnorm', batchNormalization, Arena, each),
    }),
    'plain JS': async (each) => twoWays('plain JS', (...args) => call(tuned, ...args), each),
    ...contenders,
  },
  { seconds: 2, sample: 2e6 },
);
globalThis.report = { ...results, backend: backend(), isolated: crossOriginIsolated };
