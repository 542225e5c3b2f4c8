/* One call, whatever computes it: arguments → job → results. */

import { isFloat32Array, typeName } from './tensor.js';
import { validate } from './validate.js';

/** @import { Job } from './validate.js' */
/** @import { Tensor } from './index.js' */

/** Running statistics on their way out: doubles are not rounded. @typedef {Float32Array | Float64Array} Statistic */

/**
 * @param {(job: Job, out: Float32Array, newMean: Statistic | null, newVar: Statistic | null) => void} compute
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {[any, any, any]}
 */
export function call(compute, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  const job = validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
  const { target, channels, returned } = job;
  const out = job.out ?? new Float32Array(job.x.length);
  const newMean = returned ? null : emptyLike(job.runningMean, channels);
  const newVar = returned ? null : emptyLike(job.runningVar, channels);
  if (out.length > 0) compute(job, out, newMean, newVar);
  const shape = [1, channels, 1, 1];
  return [
    job.out !== null && !isFloat32Array(target) ? target : { data: target ?? out, shape: job.shape },
    ...(returned ?? [
      { data: newMean, shape },
      { data: newVar, shape: [...shape] },
    ]),
  ];
}

/** @param {Statistic | null} given @param {number} channels @returns {Statistic} */
const emptyLike = (given, channels) => new (typeName(given) === 'Float64Array' ? Float64Array : Float32Array)(channels);
