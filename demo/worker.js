/* What takes long, off the page's thread: a job by its name, its progress, its result. */
import { largestError, problem } from '../bench/cases.js';
import { inArena, twoWays } from '../bench/peers/contenders.js';
import { measure } from '../bench/peers/measure.js';
import { tunedFunctions } from '../bench/plain.js';
import { Arena, backend, batchNormalization } from '../js/index.js';
import { normalTensor, sizeOf } from '../tests/data.js';
import { BANK, convolve } from './filters.js';

/** The same problem far from zero, with as much of the batch as a million values hold. */
function farProblem(shape, training) {
  const [mean, deviation] = [1e6, 0.1];
  const [batch, ...image] = shape;
  const fewer = [Math.max(1, Math.min(batch, Math.floor(2 ** 20 / sizeOf(image)))), ...image];
  const given = problem(fewer, training);
  const [gamma, beta, runningMean, runningVar, ...others] = given.rest;
  const rest = [gamma, beta, runningMean.fill(mean), runningVar.fill(deviation ** 2), ...others];
  return { ...given, X: normalTensor(fewer, 42, mean, deviation), rest };
}

/** The largest error of each contender's calls there; a contender that fails has none. */
async function farErrors(given, contenders) {
  const errors = {};
  for (const prepare of Object.values(contenders))
    try {
      for (const [name, { fill, run, output }] of Object.entries(await prepare(given))) {
        fill?.();
        await run();
        if (output) errors[name] = largestError(await output(), given);
      }
    } catch {}
  return errors;
}

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

  /** The contenders' calls, verified first and timed alternating. */
  async race({ shape, training, seconds, peers }, progress) {
    const contenders = {
      batchnorm: async (given) => twoWays('batchnorm', { forward: batchNormalization }, given),
      'batchnorm in an arena': async (given) => inArena('batchnorm', { forward: batchNormalization }, Arena, given),
      'plain JS': async (given) => twoWays('plain JS', tunedFunctions, given),
    };
    if (peers) Object.assign(contenders, (await import(peers)).contenders);
    const far = await farErrors(farProblem(shape, training), contenders);
    // If the page is not isolated, its clocks are a millisecond apart at best.
    const sample = globalThis.crossOriginIsolated ? 2e6 : 2e7;
    const result = await measure(problem(shape, training), contenders, { seconds, sample, progress });
    // What the other libraries consist of, as loaded.
    const beside = peers ? new URL('.', peers).href : null;
    const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
    return { ...result, far, backend: backend(), loaded: loaded.filter((name) => beside && name.startsWith(beside)) };
  },
};

addEventListener('message', async ({ data: { job, input } }) => {
  try {
    postMessage({ result: await jobs[job](input, (progress) => postMessage({ progress })) });
  } catch (error) {
    postMessage({ error: error.message });
  }
});
