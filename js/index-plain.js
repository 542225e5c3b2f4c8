/* `batchnorm/js`: the same call in plain JavaScript, without the kernel. */

import { call } from './call.js';
import { runPlain } from './plain.js';

/** @import { NewArray, Options, PerChannel, Statistic, Tensor, TensorLike } from './index.js' */

/**
 * batchNormalization of 'batchnorm', computed in plain JavaScript whatever the environment: same arguments, results and
 * errors; closer as a rule (docs/numerics.md), so other bits. Keeps no state. Its types are exported by 'batchnorm'.
 *
 * @template {Float32Array | TensorLike<Float32Array>} [Out=NewArray]
 * @template {PerChannel | null | undefined} [Mean=null]
 * @template {PerChannel | null | undefined} [Var=null]
 * @param {TensorLike<Float32Array>} X shape [B, C, H, W]
 * @param {PerChannel | null} gamma scale of each channel; null: 1
 * @param {PerChannel | null} beta shift of each channel; null: 0
 * @param {Mean} [runningMean] default null: in training it starts at 0; inference needs it
 * @param {Var} [runningVar] default null: in training it starts at 1; inference needs it
 * @param {number} [momentum] in [0, 1], default 0.1: the weight of the old running statistics (PyTorch's m is 1 − momentum)
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance, in the variance's unit
 * @param {boolean} [training] default true
 * @param {Options<Out>} [options] default {}
 * @returns {[output: Out extends Float32Array ? Tensor<Out> : Out, runningMean: Statistic<Mean>, runningVar: Statistic<Var>]}
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; nothing has been written then, `out` included
 *
 * @example
 * const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 1, 2, 2] };
 * const [output] = batchNormalization(X, null, null);
 * output.data; // ≈ −1.3416, −0.4472, 0.4472, 1.3416
 */
export function batchNormalization(
  X,
  gamma,
  beta,
  runningMean = /** @type {any} */ (null),
  runningVar = /** @type {any} */ (null),
  momentum = 0.1,
  epsilon = 1e-5,
  training = true,
  options = {},
) {
  return call(runPlain, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
}
