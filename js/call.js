/* The public calls, with the kernel or in plain JavaScript: arguments → job → results. */

import { isFloat32Array, typeName } from './tensor.js';
import { validate, validateGradient, validateMoments } from './validate.js';

/** @import { GradientJob, Layout, Problem, Statistic } from './validate.js' */

/**
 * Computes the output into `out` and, in training, the batch's statistics into the problem's mean and variance. If `out` is null,
 * only the statistics are computed.
 * @callback Normalize
 * @param {Problem} problem not empty
 * @param {Float32Array | null} out as long as problem.x; may be the same memory
 * @returns {void}
 */

/**
 * Computes gradients, or only the sums that they need: see GradientJob.
 * @callback Differentiate
 * @param {GradientJob} job not empty, unless it has sums: it is then computed in plain JavaScript
 * @param {Float32Array | null} out receives gradInput; as long as job.gradOutput, and may be the same memory; null: not wanted
 * @param {Float32Array} gradGamma @param {Float32Array} gradBeta
 * @returns {void}
 */

/** @param {{ out: Float32Array | null, target: any, layout: Layout }} job @param {Float32Array} out @returns {any} */
const asTensor = ({ out: given, target, layout }, out) =>
  given !== null && !isFloat32Array(target) ? target : { data: target ?? out, shape: layout.shape };

/**
 * @param {Normalize} normalize
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {[any, any, any]}
 */
export function call(normalize, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  const job = validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
  const { layout, mean, variance, statistics, returned, correction } = job;
  const out = job.out ?? new Float32Array(job.x.length);
  const results = returned ?? [emptyLike(job.runningMean, layout), emptyLike(job.runningVar, layout)];
  if (out.length > 0) normalize(job, out);
  if (mean && variance) {
    if (returned) {
      statistics?.mean.set(mean);
      statistics?.variance.set(variance);
    } else {
      const [newMean, newVar] = results;
      const { runningMean: oldMean, runningVar: oldVar, momentum: old } = job;
      for (let c = 0; c < mean.length; c++) {
        newMean.data[c] = old * (oldMean ? oldMean[c] : 0) + (1 - old) * mean[c];
        newVar.data[c] = old * (oldVar ? oldVar[c] : 1) + (1 - old) * (variance[c] * correction);
      }
    }
  }
  return [asTensor(job, out), results[0], results[1]];
}

/**
 * @param {Differentiate} differentiate
 * @param {unknown} gradOutput @param {unknown} X @param {unknown} options
 * @returns {[any, any, any]}
 */
export function callGradient(differentiate, gradOutput, X, options) {
  const job = validateGradient(gradOutput, X, options);
  const { channels, layout, wantsInput } = job;
  const out = wantsInput ? (job.out ?? new Float32Array(job.x.length)) : null;
  const gradGamma = new Float32Array(channels);
  const gradBeta = new Float32Array(channels);
  // If X is a part of a batch, these two follow from the sums alone. They are computed as for an empty part, so that all parts get the
  // same bits.
  if (job.sums) differentiate({ ...job, x: new Float32Array() }, null, gradGamma, gradBeta);
  if (job.x.length > 0) differentiate(job, out, gradGamma, gradBeta);
  return [out && asTensor(job, out), asPerChannel(gradGamma, layout), asPerChannel(gradBeta, layout)];
}

/**
 * @param {Differentiate} differentiate
 * @param {unknown} gradOutput @param {unknown} X @param {unknown} options
 * @returns {Float64Array}
 */
export function callSums(differentiate, gradOutput, X, options) {
  const job = validateGradient(gradOutput, X, options, true);
  const sums = /** @type {Float64Array} */ (job.sums);
  const unused = new Float32Array();
  if (job.x.length > 0) differentiate(job, null, unused, unused);
  sums[3 * job.channels] = job.batch * job.spatial;
  return sums;
}

/**
 * @param {Normalize} normalize
 * @param {unknown} X @param {unknown} options
 * @returns {any}
 */
export function callMoments(normalize, X, options) {
  const problem = validateMoments(X, options);
  if (problem.x.length > 0) normalize(problem, null);
  return { count: problem.batch * problem.spatial, mean: problem.mean, variance: problem.variance };
}

/** @param {Statistic} data @param {Layout} layout */
const asPerChannel = (data, { perChannel }) => ({ data, shape: [...perChannel] });

/** A new tensor for a running statistic: in double if the old one is, otherwise in float32. @param {Statistic | null} given
 * @param {Layout} layout */
const emptyLike = (given, layout) =>
  asPerChannel(new (typeName(given) === 'Float64Array' ? Float64Array : Float32Array)(layout.channels), layout);
