/* The public functions. Their comments are the API documentation. */

import { load, run, workArea } from './kernel.js';
import { planTiles } from './tiles.js';
import { isFloat32Array, validate } from './validate.js';

/**
 * Values with their shape, row by row: X[b, c, h, w] is data[((b · C + c) · H + h) · W + w].
 * @typedef {object} Tensor
 * @property {Float32Array} data may be a view at any offset of a buffer, shared or not
 * @property {readonly number[]} shape
 */

/**
 * One number a channel: a tensor of shape [1, C, 1, 1] or [C], or its data bare. Read as doubles.
 * @typedef {NumbersTensor | Float32Array | Float64Array | readonly number[]} PerChannel
 */

/**
 * @typedef {object} NumbersTensor
 * @property {Float32Array | Float64Array | readonly number[]} data
 * @property {readonly number[]} shape
 */

/**
 * @typedef {object} Options
 * @property {Float32Array | Tensor} [out] receives the output instead of a new array: a Float32Array of X's length or a
 *   tensor of X's shape. May be X's own data, which is then overwritten; may not overlap X in part, nor another argument
 *   (with two SharedArrayBuffer objects on the same memory, that cannot be noticed).
 */

/**
 * Batch normalization of a 4-D tensor of shape [B, C, H, W], in training or in inference.
 *
 *     output = (X − mean) / sqrt(variance + epsilon) · gamma + beta
 *
 * In training, mean and variance are those of the batch, over B, H and W for each channel; the variance is the biased
 * one (divided by the count), and the running statistics are updated with it:
 *
 *     running = momentum · running + (1 − momentum) · batch
 *
 * **momentum is the weight of the old value**, as in ONNX and Keras. PyTorch's is the weight of the new one: for
 * PyTorch's momentum m pass 1 − m. (PyTorch also updates with the unbiased variance, which this never uses.)
 * In inference, mean and variance are the running statistics, and these are returned unchanged.
 *
 * The definition is that of a NumPy reference evaluated in float64. The output is normally within 3 units in the last
 * place of float32 (of the largest of output, beta, and output less beta), however far the mean is from zero;
 * docs/numerics.md has the bounds. NaN and infinity go where NumPy sends them and stay in their channel. No argument is
 * changed, unless as `out`. Synchronous; the first call compiles the kernel, which takes a millisecond or two.
 *
 * @param {Tensor} X shape [B, C, H, W]
 * @param {PerChannel | null} gamma scale of each channel; null: 1
 * @param {PerChannel | null} beta shift of each channel; null: 0
 * @param {PerChannel | null} [runningMean] default null: in training it starts at 0; inference needs it
 * @param {PerChannel | null} [runningVar] default null: in training it starts at 1; inference needs it
 * @param {number} [momentum] in [0, 1], default 0.1: the weight of the old running statistics
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance, in the variance's unit
 * @param {boolean} [training] default true
 * @param {Options} [options] default {}
 * @returns {[output: Tensor, runningMean: Tensor, runningVar: Tensor]} output in X's shape (`options.out` if that was a
 *   tensor), the running statistics in shape [1, C, 1, 1]; in inference the very tensors that came, if they were float32
 *   tensors of that shape
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; nothing has been written then, `out` included
 * @throws {Error} if the environment compiles no WebAssembly with SIMD
 *
 * @example
 * const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
 * const [output, runningMean, runningVar] = batchNormalization(X, [1, 1], [0, 5]);
 * output.data; // ≈ −1.3416, −0.4472, 0.4472, 1.3416, 3.6584, 4.5528, 5.4472, 6.3416
 * runningMean.data; // ≈ 2.25, 22.5: 0.1 · 0 + 0.9 · the means 2.5 and 25
 * const [same] = batchNormalization(X, [1, 1], [0, 5], runningMean, runningVar, 0.1, 1e-5, false);
 */
export function batchNormalization(
  X,
  gamma,
  beta,
  runningMean = null,
  runningVar = null,
  momentum = 0.1,
  epsilon = 1e-5,
  training = true,
  options = {},
) {
  const job = validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
  const { channels } = job;
  const [begin, end] = workArea();
  const out = job.out ?? new Float32Array(job.x.length);
  const newMean = training ? new Float32Array(channels) : null;
  const newVar = training ? new Float32Array(channels) : null;
  if (out.length > 0) run(job, planTiles(job, begin, end), out, newMean, newVar);
  return [
    job.out !== null && !isFloat32Array(job.target) ? job.target : { data: job.target ?? out, shape: job.shape },
    newMean === null ? statistics(runningMean, job.runningMean) : { data: newMean, shape: [1, channels, 1, 1] },
    newVar === null ? statistics(runningVar, job.runningVar) : { data: newVar, shape: [1, channels, 1, 1] },
  ];
}

/**
 * Running statistics as they are returned in inference: what came, as a tensor of shape [1, C, 1, 1].
 * @param {any} given @param {any} numbers its data
 * @returns {Tensor}
 */
function statistics(given, numbers) {
  if (isFloat32Array(numbers) && given !== numbers && given.shape.length === 4) return given;
  return { data: isFloat32Array(numbers) ? numbers : Float32Array.from(numbers), shape: [1, numbers.length, 1, 1] };
}

/**
 * Compiles the kernel now instead of at the first call; need not be called. Synchronous; again does nothing.
 *
 * @param {object} [module] a WebAssembly.Module compiled from this package's own binary, where only modules compiled
 *   beforehand may run, or to share one among workers. Only before anything was compiled.
 * @returns {void}
 * @throws {TypeError} if module is something else
 * @throws {Error} if a module comes too late, or the environment compiles no WebAssembly with SIMD: the message says
 *   why and what to do
 *
 * @example
 * initialize();
 */
export function initialize(module) {
  load(module);
}
