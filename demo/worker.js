/* What takes long, off the page's thread: a job by its name, its progress, its result. */
import { problem } from '../bench/cases.js';
import { twoWays } from '../bench/peers/contenders.js';
import { measure } from '../bench/peers/measure.js';
import { tunedFunctions } from '../bench/plain.js';
import { backend, batchNormalization } from '../js/index.js';
import { seededNormal } from '../tests/data.js';
import { BANK, convolve } from './filters.js';
import { errorsAt } from './methods.js';

const jobs = {
  /** Pictures through the filter bank: [B, BANK, H/2, W/2]. */
  features(X, progress) {
    const [batch, , height, width] = X.shape;
    const size = (BANK * height * width) / 4;
    const data = new Float32Array(batch * size);
    for (let b = 0; b < batch; b++) {
      progress(b / batch);
      data.set(convolve(X, b, BANK), b * size);
    }
    return { data, shape: [batch, BANK, height / 2, width / 2] };
  },

  /** Errors of the methods at each mean. */
  errors({ means, count, seed }, progress) {
    const normals = Float64Array.from({ length: count }, seededNormal(seed));
    return means.map((mean, k) => {
      progress(k / means.length);
      return errorsAt(normals, mean);
    });
  },

  /** Calls per contender, verified first and timed by turns. */
  async race({ shape, training, seconds, peers }, progress) {
    const contenders = {
      batchnorm: async (given) => twoWays('batchnorm', { forward: batchNormalization }, given),
      'plain JS': async (given) => twoWays('plain JS', tunedFunctions, given),
    };
    if (peers) Object.assign(contenders, (await import(peers)).contenders);
    // Where the page is not isolated, clocks tell a millisecond at best.
    const sample = globalThis.crossOriginIsolated ? 2e6 : 2e7;
    const result = await measure(problem(shape, training), contenders, { seconds, sample, progress });
    // What the other libraries consist of, as loaded.
    const beside = peers ? new URL('.', peers).href : null;
    const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
    return { ...result, backend: backend(), loaded: loaded.filter((name) => beside && name.startsWith(beside)) };
  },
};

addEventListener('message', async ({ data: { job, input } }) => {
  try {
    postMessage({ result: await jobs[job](input, (progress) => postMessage({ progress })) });
  } catch (error) {
    postMessage({ error: error.message });
  }
});
