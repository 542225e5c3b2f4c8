/* Batch normalization in inference as a multiplication and an addition per channel. */

import { describeShape, fail, isSize, numbersOf, read, sizeOf } from './tensor.js';
import { checkEpsilon, checkVariance } from './validate.js';

/** @import { PerChannel } from './index.js' */

/** The numbers of a tensor, or of an array without a shape. @param {string} name @param {any} given @param {number} [channels] */
function unwrap(name, given, channels) {
  const argument = `fold: ${name}`;
  const reading = read(argument, given, 'be an array');
  const { data, sizes } = reading;
  const c = channels ?? 'C';
  const size = sizes?.every(isSize) ? sizeOf(sizes) : channels;
  // One size must be C, and the others 1. It may be any of them, because any dimension of X may be the channels'.
  if (sizes && !sizes.every((one) => isSize(one) && (one === 1 || one === size)))
    fail(RangeError, `${argument}.shape`, `be [${c}] or, for example, [1, ${c}, 1, 1]`, describeShape(sizes));
  return numbersOf(argument, data, channels ?? size, reading);
}

/**
 * Batch normalization in inference as `x · scale + shift`, with one scale and one shift per channel:
 *
 *     scale = gamma / sqrt(variance + epsilon)
 *     shift = beta − mean · scale
 *
 * Use it to merge batch normalization into the convolution or dense layer before it: multiply the weights of output channel c by
 * scale[c], and replace its bias b by b · scale[c] + shift[c]. Scale and shift are doubles, so that folded weights are rounded
 * only once. If |mean| is many standard deviations, `x · scale + shift` cancels and loses digits in float32. batchNormalization
 * subtracts the mean first, and does not lose them.
 *
 * A variance may be negative, as long as variance + epsilon is not. If variance + epsilon is 0, the formula makes the scale
 * infinite. NaN and infinity stay in their channel. No argument is changed.
 *
 * @param {PerChannel | null} gamma C numbers, or null, which means 1
 * @param {PerChannel | null} beta C numbers, or null, which means 0
 * @param {PerChannel} mean the running mean: an array of C numbers, or a tensor of shape [C] or, for instance, [1, C, 1, 1]
 * @param {PerChannel} variance the running variance, likewise
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance (not to the standard deviation)
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
