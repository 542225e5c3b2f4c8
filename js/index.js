/* The public functions. Their comments are the API documentation. */

import { call } from './call.js';
import { kernelFor, load, reload } from './loader.js';
import { runPlain } from './plain.js';

export { Arena } from './arena.js';

/** Up to this many values, the way into WebAssembly and back costs more than it saves. */
const TINY = 128;

/**
 * Values with their shape, row by row: X[b, c, h, w] is data[((b · C + c) · H + h) · W + w].
 * @template {Float32Array | Float64Array} [Data=Float32Array]
 * @typedef {object} Tensor
 * @property {Data} data may be a view at any offset of a buffer, shared or not
 * @property {readonly number[]} shape
 */

/**
 * A new array: of Float32Array<ArrayBuffer> where TypeScript tells buffers apart (from 5.7).
 * @typedef {ReturnType<Float32ArrayConstructor['of']>} NewArray
 */

/**
 * Sizes of a tensor.
 * @typedef {readonly number[] | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array} Sizes
 */

/**
 * A tensor as it may be given: data and shape, or dims in place of shape, as in onnxruntime's Tensor (with both, they must
 * agree). The values must be contiguous in row-major order, from `offset` on; without one, data holds nothing else. A tensor
 * that says otherwise by stride, strides, order, fortranOrder, fortran_order or isContiguous is an error.
 * @template Data
 * @typedef {{
 *   readonly data: Data,
 *   readonly shape: Sizes,
 *   readonly dims?: Sizes,
 *   readonly offset?: number
 * } | {
 *   readonly data: Data,
 *   readonly shape?: undefined,
 *   readonly dims: Sizes,
 *   readonly offset?: number
 * }} TensorLike
 */

/**
 * Numbers, read as doubles.
 * @typedef {Float32Array | Float64Array | readonly number[]} Numbers
 */

/**
 * One number per channel: a tensor of shape [1, C, 1, 1] or [C], or its data bare.
 * @typedef {Numbers | TensorLike<Numbers>} PerChannel
 */

/**
 * A running statistic as it is returned: of doubles if doubles were given, as a Float64Array or an array of numbers.
 * @template Given
 * @typedef {Given extends null | undefined ? Tensor<NewArray>
 *   : Given extends Float32Array ? Tensor<Float32Array>
 *   : Given extends { readonly data: infer Data } ? (Data extends Float32Array ? Tensor<Float32Array> : Tensor<Float64Array>)
 *   : Tensor<Float64Array>} Statistic
 */

/**
 * Optional settings.
 * @template {Float32Array | TensorLike<Float32Array>} [Out=Float32Array | TensorLike<Float32Array>]
 * @typedef {object} Options
 * @property {Out | undefined} [out] receives the output instead of a new array: a Float32Array of X's length or a
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
 * A variance may be negative there, as long as variance + epsilon is not.
 *
 * Tensors of an Arena are computed where they lie; others are copied through 8 MB of memory of the package's own. The results are
 * the same, bit for bit.
 *
 * Running statistics stay doubles if they are given as doubles (a Float64Array or an array of numbers). Far from zero that
 * matters: rounded to float32, a mean of 10⁶ is off by up to 0.03, and inference with it is off by as much.
 *
 * The definition is that of a NumPy reference evaluated in float64. The output is normally within 3 units in the last
 * place of float32 (of the largest of output, beta, and output less beta), however far the mean is from zero;
 * docs/numerics.md has the bounds. NaN and infinity go where NumPy sends them and stay in their channel. No argument is
 * changed, unless as `out`. Synchronous; the first call on more than 128 values compiles the kernel, which takes a
 * millisecond or two. If WebAssembly SIMD is unavailable, plain JavaScript computes, normally closer: see backend.
 *
 * @template {Float32Array | TensorLike<Float32Array>} [Out=NewArray]
 * @template {PerChannel | null | undefined} [Mean=null]
 * @template {PerChannel | null | undefined} [Var=null]
 * @param {TensorLike<Float32Array>} X shape [B, C, H, W]
 * @param {PerChannel | null} gamma scale of each channel; null: 1
 * @param {PerChannel | null} beta shift of each channel; null: 0
 * @param {Mean} [runningMean] default null: in training it starts at 0; inference needs it
 * @param {Var} [runningVar] default null: in training it starts at 1; inference needs it
 * @param {number} [momentum] in [0, 1], default 0.1: the weight of the old running statistics
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance, in the variance's unit
 * @param {boolean} [training] default true
 * @param {Options<Out>} [options] default {}
 * @returns {[output: Out extends Float32Array ? Tensor<Out> : Out, runningMean: Statistic<Mean>, runningVar: Statistic<Var>]}
 *   output in X's shape (`options.out` if that was a tensor), the running statistics in shape [1, C, 1, 1]; in inference
 *   the tensors that were passed if they already have that shape, otherwise their data wrapped in one (without a copy,
 *   arrays of numbers aside)
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; nothing has been written then, `out` included
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
  runningMean = /** @type {any} */ (null),
  runningVar = /** @type {any} */ (null),
  momentum = 0.1,
  epsilon = 1e-5,
  training = true,
  options = {},
) {
  return call(compute, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
}

/** @type {Parameters<typeof call>[0]} */
function compute(job, out, newMean, newVar) {
  const kernel = job.x.length > TINY && kernelFor(job.x, out);
  if (kernel) kernel.run(job, out, newMean, newVar);
  else runPlain(job, out, newMean, newVar);
}

/**
 * Compiles the kernel now instead of at the first call; need not be called. Synchronous; again does nothing, unless the
 * kernel was unavailable: then this tries again, which no other call does.
 *
 * @param {object} [module] a WebAssembly.Module compiled from this version's own binary, `batchnorm/batchnorm.wasm`: where
 *   only modules compiled beforehand may run, or to share one among workers. Only before anything was compiled.
 * @returns {void}
 * @throws {TypeError} if module is something else, or the binary of another version
 * @throws {Error} if a module is given too late, or cannot be instantiated, with the reason as `cause`
 *
 * @example
 * initialize();
 */
export function initialize(module) {
  reload(/** @type {any} */ (module));
}

/**
 * What computes: the WebAssembly kernel, or plain JavaScript if WebAssembly or its SIMD is unavailable: because of a
 * Content-Security-Policy whose script-src lacks 'wasm-unsafe-eval', a runtime that takes only modules compiled beforehand
 * (see initialize), too little address space, or an engine older than Node 16.4, Chrome 91, Firefox 89 and Safari 16.4. Chrome
 * compiles the kernel on a page's main thread from 115 on; before that, in workers, or when given to initialize. The reason
 * is remembered until initialize is called. An engine on which the kernel does not compute what it should, such as one with
 * big-endian memory, counts too. Compiles the kernel if nothing has. (Up to 128 values, plain JavaScript always
 * computes: it is faster there.)
 *
 * @returns {'wasm-simd' | 'js'}
 *
 * @example
 * backend(); // 'wasm-simd' or 'js'
 */
export function backend() {
  return load() ? 'wasm-simd' : 'js';
}
