/* One call, whatever computes it: arguments → job → results. */

import { isFloat32Array, validate } from './validate.js';

/** @import { Job } from './validate.js' */
/** @import { Tensor } from './index.js' */

/**
 * @param {(job: Job, out: Float32Array, newMean: Float32Array | null, newVar: Float32Array | null) => void} compute
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {[any, Tensor, Tensor]}
 */
export function call(compute, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  const job = validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
  const { target, channels } = job;
  const out = job.out ?? new Float32Array(job.x.length);
  const newMean = job.training ? new Float32Array(channels) : null;
  const newVar = job.training ? new Float32Array(channels) : null;
  if (out.length > 0) compute(job, out, newMean, newVar);
  return [
    job.out !== null && !isFloat32Array(target) ? target : { data: target ?? out, shape: job.shape },
    newMean === null ? statistics(runningMean, job.runningMean) : { data: newMean, shape: [1, channels, 1, 1] },
    newVar === null ? statistics(runningVar, job.runningVar) : { data: newVar, shape: [1, channels, 1, 1] },
  ];
}

/**
 * Running statistics as they are returned in inference: the tensor of shape [1, C, 1, 1] that came, or what came as one.
 * @param {any} given @param {any} numbers its data
 * @returns {Tensor}
 */
function statistics(given, numbers) {
  if (isFloat32Array(numbers) && given.data === numbers && given.shape?.length === 4) return given;
  return { data: isFloat32Array(numbers) ? numbers : Float32Array.from(numbers), shape: [1, numbers.length, 1, 1] };
}
