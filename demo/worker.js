/* Long computations, in a worker. A message names a job and has its input. The answers are its progress and then its result. */
import { largestError, problem } from '../bench/cases.js';
import { inArena, twoWays } from '../bench/peers/contenders.js';
import { measure } from '../bench/peers/measure.js';
import { tunedFunctions } from '../bench/plain.js';
import { Arena, backend, batchNormalization } from '../js/index.js';
import { createThreads } from '../js/threads.js';
import { normalTensor, sizeOf } from '../tests/data.js';
import { convolve, FILTERS } from './filters.js';

/** The same problem with data far from zero. The batch is cut so that X has about a million values at most. */
function farProblem(shape, training) {
  const [mean, deviation] = [1e6, 0.1];
  const [batch, ...image] = shape;
  const smaller = [Math.max(1, Math.min(batch, Math.floor(2 ** 20 / sizeOf(image)))), ...image];
  const near = problem(smaller, training);
  const [gamma, beta, runningMean, runningVar, ...others] = near.rest;
  const rest = [gamma, beta, runningMean.fill(mean), runningVar.fill(deviation ** 2), ...others];
  return { ...near, X: normalTensor(smaller, 42, mean, deviation), rest };
}

/** The largest error of each call on that problem. Calls of a contender that fails have none. */
async function farErrors(far, contenders) {
  const errors = {};
  for (const prepare of Object.values(contenders))
    try {
      for (const [name, { fill, run, output }] of Object.entries(await prepare(far))) {
        fill?.();
        await run();
        if (output) errors[name] = largestError(await output(), far);
      }
    } catch {}
  return errors;
}

const jobs = {
  /** The feature maps of pictures: [B, FILTERS, H/2, W/2]. */
  features(X, progress) {
    const [batch, , height, width] = X.shape;
    const size = (FILTERS * height * width) / 4;
    const data = new Float32Array(batch * size);
    for (let b = 0; b < batch; b++) {
      progress(b / batch);
      data.set(convolve(X, b, FILTERS), b * size);
    }
    return { data, shape: [batch, FILTERS, height / 2, width / 2] };
  },

  /** Verifies the calls of all contenders, then measures their times, alternating between them. */
  async race({ shape, training, seconds, peers }, progress) {
    const own = { forward: batchNormalization };
    const contenders = {
      batchnorm: async (given) => twoWays('batchnorm', own, given),
      'batchnorm in an arena': async (given) => inArena('batchnorm', own, (bytes) => new Arena(bytes), given),
      'plain JS': async (given) => twoWays('plain JS', tunedFunctions, given),
    };
    // Only a page that is cross-origin isolated can share memory among threads. They end together with this worker.
    if (globalThis.crossOriginIsolated) {
      let starting;
      contenders['batchnorm with threads'] = async (given) => {
        starting ??= createThreads();
        const threads = await starting;
        const { 'batchnorm, arena': call } = inArena('batchnorm', own, (bytes) => threads.arena(bytes), given);
        return threads.size > 1 ? { [`batchnorm, arena, ${threads.size} threads`]: call } : {};
      };
    }
    if (peers) Object.assign(contenders, (await import(peers)).contenders);
    const far = await farErrors(farProblem(shape, training), contenders);
    // If the page is not cross-origin isolated, its clock may only tick every millisecond. So a sample must be longer.
    const sample = globalThis.crossOriginIsolated ? 2e6 : 2e7;
    const result = await measure(problem(shape, training), contenders, { seconds, sample, progress });
    // The files of the other libraries, for their size.
    const folder = peers ? new URL('.', peers).href : null;
    const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
    return { ...result, far, backend: backend(), loaded: loaded.filter((name) => folder && name.startsWith(folder)) };
  },
};

addEventListener('message', async ({ data: { job, input } }) => {
  try {
    postMessage({ result: await jobs[job](input, (progress) => postMessage({ progress })) });
  } catch (error) {
    postMessage({ error: error.message });
  }
});
