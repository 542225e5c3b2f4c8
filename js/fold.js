/* Batch normalization in inference as a multiplication and an addition per channel. */

import { describeShape, fail, isSize, numbersOf, read, sizeOf } from './tensor.js';
import { checkEpsilon, checkVariance } from './validate.js';

/** @import { PerChannel } from './index.js' */

/** The numbers of a tensor or its bare data. @param {string} name @param {any} given @param {number} [channels] */
function unwrap(name, given, channels) {
  const argument = `fold: ${name}`;
  const { data, sizes, offset } = read(argument, given, 'be an array');
  const size = sizes?.every(isSize) ? sizeOf(sizes) : channels;
  // [C], or C among ones, wherever X has its channels.
  if (sizes && !sizes.every((one) => isSize(one) && (one === 1 || one === size)))
    fail(RangeError, `${argument}.shape`, `be [${channels ?? 'C'}], or that among ones`, describeShape(sizes));
  return numbersOf(sizes ? `${argument}.data` : argument, data, channels ?? size, offset);
}

/**
 * Batch normalization in inference as `x · scale + shift`, with one scale and one shift per channel:
 *
 *     scale = gamma / sqrt(variance + epsilon)
 *     shift = beta − mean · scale
 *
 * This is how batch normalization merges into the convolution or dense layer before it: multiply the weights of output channel c by
 * scale[c], and its bias b becomes b · scale[c] + shift[c]. Both are doubles, so that folded weights are rounded once. Far from zero,
 * where |mean| is many standard deviations, `x · scale + shift` cancels and loses digits in float32; batchNormalization, which
 * subtracts the mean first, does not.
 *
 * A variance may be negative, as long as variance + epsilon is not. If that is 0, the scale is infinite, as the formula says. NaN
 * and infinity stay in their channel. No argument is changed.
 *
 * @param {PerChannel | null} gamma C numbers, or null: 1
 * @param {PerChannel | null} beta C numbers, or null: 0
 * @param {PerChannel} mean the running mean: C numbers, bare or a tensor of shape [C] or, for instance, [1, C, 1, 1]
 * @param {PerChannel} variance the running variance, likewise
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance, in the variance's unit
 * @returns {[scale: Float64Array, shift: Float64Array]} C values each
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value
 *
 * @example
 * const [scale, shift] = fold([2, 1], [0, 5], [3, 10], [4, 25], 0);
 * scale; // ≈ 1, 0.2
 * shift; // ≈ −3, 3
 */
export function fold(gamma, beta, mean, variance, epsilon = 1e-5) {
  checkEpsilon('fold: epsilon', epsilon);
  const means = unwrap('mean', mean);
  const channels = means.length;
  const variances = unwrap('variance', variance, channels);
  const gammas = gamma === null ? null : unwrap('gamma', gamma, channels);
  const betas = beta === null ? null : unwrap('beta', beta, channels);
  checkVariance('fold: variance', variances, epsilon);
  const scale = variances.map((variance, c) => (gammas ? gammas[c] : 1) / Math.sqrt(variance + epsilon));
  const shift = means.map((mean, c) => (betas ? betas[c] : 0) - mean * scale[c]);
  return [scale, shift];
}
