/* The public functions. Their comments are the API documentation. */

import { call, callGradient, callMoments, callSums } from './call.js';
import { normalizeBy } from './forward.js';
import { differentiateBy } from './gradient.js';
import { binary as gradientBinary } from './gradient-binary.js';
import { Layer } from './layer.js';
import { extend, kernelFor, load, reload } from './loader.js';
import { differentiatePlain, normalizePlain } from './plain.js';

export { Arena } from './arena.js';
export { attach } from './attach.js';
export { fold } from './fold.js';
export { mergeMoments } from './moments.js';

/** Up to this many values, calling WebAssembly costs more than it saves. */
const TINY = 128;

/**
 * Values and their shape, in row-major order: for shape [B, C, H, W], X[b, c, h, w] is data[((b · C + c) · H + h) · W + w].
 * @template {Float32Array | Float64Array} [Data=Float32Array]
 * @typedef {object} Tensor
 * @property {Data} data may be a view at any offset of an ArrayBuffer or a SharedArrayBuffer
 * @property {readonly number[]} shape
 */

/**
 * The type of a new array: Float32Array<ArrayBuffer> in TypeScript 5.7 and later, which distinguish the types of buffers;
 * otherwise Float32Array.
 * @typedef {ReturnType<Float32ArrayConstructor['of']>} NewArray
 */

/**
 * The sizes of a tensor, as an array or an integer typed array.
 * @typedef {readonly number[] | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array} Sizes
 */

/**
 * A tensor as an argument: `data` and `shape`. `dims` may replace `shape`, as in onnxruntime's Tensor; if both are given, they
 * must agree. The values must be contiguous in row-major order. They begin at index `offset` of the data; without an offset, the
 * data must hold exactly these values. It is an error if stride, strides, order, fortranOrder, fortran_order or isContiguous
 * states another order.
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
 * One number per channel, C of them: a tensor of X's rank whose size is C along the channel axis and 1 elsewhere ([1, C, 1, 1]
 * for BCHW), a tensor of shape [C], or an array of C numbers.
 * @typedef {Numbers | TensorLike<Numbers>} PerChannel
 */

/**
 * A running statistic as it is returned: in double if it was given in double (a Float64Array or an array of numbers), otherwise
 * in float32.
 * @template Given
 * @typedef {Given extends null | undefined ? Tensor<NewArray>
 *   : Given extends Float32Array ? Tensor<Float32Array>
 *   : Given extends { readonly data: infer Data } ? (Data extends Float32Array ? Tensor<Float32Array> : Tensor<Float64Array>)
 *   : Tensor<Float64Array>} Statistic
 */

/**
 * Receives a result: a Float32Array or a tensor of one.
 * @typedef {Float32Array | TensorLike<Float32Array>} Target
 */

/**
 * A result as it is returned. If a tensor was given to receive it, this is that tensor. Otherwise it is a new tensor, whose data
 * are the array that was given, or a new array.
 * @template Out
 * @typedef {Out extends Float32Array ? Tensor<Out> : Out} Result
 */

/**
 * Optional settings of batchNormalization.
 * @template {Target} [Out=Target]
 * @typedef {object} Options
 * @property {Out | undefined} [out] receives the output instead of a new array: a Float32Array of X's length or a tensor of X's
 *   shape. May be X's own data, which is then overwritten. Must not overlap X in any other way, nor any other argument. (An
 *   overlap between two SharedArrayBuffer objects that share memory cannot be detected.)
 * @property {number | undefined} [axis] index of X's channel dimension, default 1; if negative, counted from the end (−1 is the
 *   last). Required for an X of rank 1.
 * @property {{ readonly mean: Float64Array, readonly variance: Float64Array } | undefined} [statistics] two arrays of C values
 *   that receive the statistics with which the output was computed, not rounded: in training the batch's mean and biased
 *   variance, in inference the running ones. They must not overlap any other argument. Pass them to batchNormalizationGradient.
 * @property {boolean | undefined} [unbiased] default false; true: in training, the running variance is updated with the batch's
 *   unbiased variance (divided by count − 1), as in PyTorch. The output does not change.
 * @property {boolean | undefined} [relu] default false; true: the output is max(output, 0). NaN stays NaN, and −0 becomes 0
 */

/**
 * Optional settings of batchNormalizationGradient.
 * @template {Target} [Out=Target]
 * @template {boolean} [Wanted=boolean]
 * @typedef {object} GradientOptions
 * @property {PerChannel | null | undefined} [gamma] scale per channel; default null, which means 1
 * @property {PerChannel | null | undefined} [beta] shift per channel; null means 0. Required with relu, otherwise ignored.
 * @property {{ readonly mean: PerChannel, readonly variance: PerChannel } | null | undefined} [statistics] those of the forward
 *   call. In training the default is null: they are computed from X. Required in inference.
 * @property {number | undefined} [epsilon] default 1e-5
 * @property {boolean | undefined} [training] default true: mean and variance depend on X; false: they are constants
 * @property {number | undefined} [axis] index of X's channel dimension, default 1; if negative, counted from the end
 * @property {boolean | undefined} [relu] default false; true: the forward call had relu, so gradOutput counts as 0 where the
 *   output is not above 0
 * @property {Out | undefined} [out] receives gradInput instead of a new array: a Float32Array of X's length or a tensor of X's
 *   shape. May be gradOutput's own data, which is then overwritten. Must not overlap gradOutput in any other way, nor any other
 *   argument.
 * @property {Numbers | null | undefined} [sums] default null: X is the whole batch. If X is a part of a batch, in training: the total
 *   of what gradientSums returned for all parts. Requires the `statistics` that gradientSums was given, those of the whole batch.
 *   gradGamma and gradBeta are then those of the whole batch, too, and have the same bits for every part.
 * @property {Wanted | undefined} [gradInput] default true; false: gradInput is not computed, and null is returned in its place
 */

/**
 * Mean and biased variance per channel. `count` is the number of values per channel.
 * @typedef {object} Moments
 * @property {number} count
 * @property {Float64Array} mean
 * @property {Float64Array} variance
 */

/**
 * Optional settings of BatchNorm.
 * @typedef {import('./layer.js').LayerOptions} LayerOptions
 */

/**
 * The parameters and running statistics of a BatchNorm, under PyTorch's names.
 * @template [Values=Numbers]
 * @typedef {import('./layer.js').LayerState<Values>} LayerState
 */

/**
 * Makes tensors in the memory of another WebAssembly program.
 * @typedef {object} Attached
 * @property {(shape: Sizes, byteOffset: number) => Tensor<Float32Array>} tensor a tensor whose values begin at byte `byteOffset`
 *   of the memory, a multiple of 4. Nothing is written. Throws a TypeError if an argument is of the wrong kind, and a RangeError if
 *   the tensor is not in the memory, or overlaps the work area.
 */

/**
 * Batch normalization of a tensor, for instance of shape [B, C, H, W], in training or in inference.
 *
 *     output = (X − mean) / sqrt(variance + epsilon) · gamma + beta
 *
 * In training, mean and variance are the batch's own, per channel: over all other dimensions (B, H and W). The variance is the
 * biased one (divided by the count). The running statistics are updated:
 *
 *     running = momentum · running + (1 − momentum) · batch
 *
 * **momentum is the weight of the old value**, as in ONNX and Keras. In PyTorch it is the weight of the new value: for PyTorch's
 * momentum m, pass 1 − m. (PyTorch also updates with the unbiased variance: see the option `unbiased`.)
 *
 * In inference, mean and variance are the running statistics, which are returned unchanged. A running variance may then be
 * negative, as long as variance + epsilon is not.
 *
 * Tensors in an Arena are not copied. Others are copied, piece by piece, through 8 MB of the package's own memory. The results
 * are the same, bit for bit.
 *
 * Running statistics stay doubles if they are given as doubles (a Float64Array or an array of numbers). This matters far from
 * zero: a mean of 10⁶ that is rounded to float32 is off by up to 0.03, and so is X − mean in inference.
 *
 * The results follow a NumPy reference evaluated in float64. The output is normally within 3 units in the last place of float32
 * (of max(|output|, |beta|, |output − beta|)), however far the mean is from zero; docs/numerics.md has the bounds. NaN and
 * infinity have the same effect as in NumPy, and stay in their channel. No argument is changed, except those passed as `out` and
 * `statistics`.
 *
 * The call is synchronous. The first one on more than 128 values compiles the kernel, which takes a millisecond or two. If
 * WebAssembly SIMD is unavailable, plain JavaScript computes the result, normally more exactly: see backend.
 *
 * @template {Target} [Out=NewArray]
 * @template {PerChannel | null | undefined} [Mean=null]
 * @template {PerChannel | null | undefined} [Var=null]
 * @param {TensorLike<Float32Array>} X of rank 1 to 8; the second dimension is the channels', unless `options.axis` names another
 * @param {PerChannel | null} gamma scale per channel; null means 1
 * @param {PerChannel | null} beta shift per channel; null means 0
 * @param {Mean} [runningMean] default null: in training it starts at 0; required in inference
 * @param {Var} [runningVar] default null: in training it starts at 1; required in inference
 * @param {number} [momentum] in [0, 1], default 0.1: the weight of the old running statistics
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance (not to the standard deviation)
 * @param {boolean} [training] default true
 * @param {Options<Out>} [options] default {}
 * @returns {[output: Result<Out>, runningMean: Statistic<Mean>, runningVar: Statistic<Var>]} the output in X's shape
 *   (`options.out` itself, if that is a tensor), and the running statistics in shape [1, C, 1, 1] (for an X of rank 4). In
 *   inference these are the tensors that were passed, if they have that shape; otherwise new tensors of their data (only an array
 *   of numbers is copied)
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; then nothing has been written, not even to `out`
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
  return call(normalize, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
}

/**
 * The gradient of batchNormalization. Takes the gradient of a loss with respect to the output, and returns the gradients with
 * respect to X, gamma and beta. With x̂ = (X − mean) / sqrt(variance + epsilon), and with sums and means over each channel's
 * values:
 *
 *     gradBeta = Σ gradOutput
 *     gradGamma = Σ gradOutput · x̂
 *     gradInput = gamma / sqrt(variance + epsilon) · (gradOutput − mean(gradOutput) − x̂ · mean(gradOutput · x̂))   in training
 *     gradInput = gamma / sqrt(variance + epsilon) · gradOutput                                                  in inference
 *
 * These are the results of automatic differentiation in float64. The sums are computed in double, so gradGamma and gradBeta are
 * exact up to rounding to float32, however far X or gradOutput are from zero; docs/numerics.md has the bounds.
 *
 * Pass the `statistics` that the forward call saved. Without them, they are computed from X again. In training, a given variance
 * is used as it is, even if it is not the batch's own; the mean that is subtracted is always the batch's own.
 *
 * With relu, the output is computed again, and gradOutput counts as 0 wherever the output is not above 0, or is NaN. (The forward
 * call holds the mean in two parts, and one double cannot hold both. So in training with given statistics, an output very close
 * to 0 may have a different sign here than in the forward call.)
 *
 * @template {Target} [Out=NewArray]
 * @template {boolean} [Wanted=true]
 * @param {TensorLike<Float32Array>} gradOutput of X's shape
 * @param {TensorLike<Float32Array>} X as of the forward call
 * @param {GradientOptions<Out, Wanted>} [options] default {}
 * @returns {[gradInput: Wanted extends false ? null : Result<Out>, gradGamma: Tensor<NewArray>, gradBeta: Tensor<NewArray>]}
 *   gradInput in X's shape (`options.out` itself, if that is a tensor), the others in shape [1, C, 1, 1] (for an X of rank 4)
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; then nothing has been written, not even to `out`
 *
 * @example
 * const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 1, 2, 2] };
 * const gradOutput = { data: Float32Array.of(1, 0, 0, 0), shape: [1, 1, 2, 2] };
 * const [gradInput, gradGamma, gradBeta] = batchNormalizationGradient(gradOutput, X);
 * gradInput.data; // ≈ 0.26833, −0.35777, −0.08944, 0.17888
 * gradGamma.data; // ≈ −1.34164
 * gradBeta.data; // 1
 */
export function batchNormalizationGradient(gradOutput, X, options = /** @type {any} */ ({})) {
  return callGradient(differentiate, gradOutput, X, options);
}

/**
 * The gradient of a batch that is in parts, for instance on several workers: call this for each part, and add up the arrays, value by
 * value. Then call batchNormalizationGradient for each part, with the total as the option `sums`.
 *
 * The result has Σ gradOutput of each channel, then Σ (X − c) of each, then Σ gradOutput · (X − c) of each, and at the end the number of
 * values per channel. c is the mean rounded to float32.
 *
 * All these calls must get the same statistics, to the last bit. Keep the sums in double: as float32 they would lose the digits that
 * matter far from zero.
 *
 * @param {TensorLike<Float32Array>} gradOutput of X's shape
 * @param {TensorLike<Float32Array>} X a part of the batch; may be empty
 * @param {Pick<GradientOptions, 'gamma' | 'beta' | 'epsilon' | 'axis' | 'relu'> & {
 *   statistics: NonNullable<GradientOptions['statistics']>
 * }} options as in the gradient call. statistics: those of the whole batch, from mergeMoments. gamma, beta and epsilon only matter
 *   with relu.
 * @returns {Float64Array} 3 · C + 1 values
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value
 *
 * @example
 * const parts = [
 *   { data: Float32Array.of(1, 2, 3), shape: [3, 1] },
 *   { data: Float32Array.of(4), shape: [1, 1] },
 * ];
 * const gradOutputs = [
 *   { data: Float32Array.of(1, 0, 0), shape: [3, 1] },
 *   { data: Float32Array.of(0), shape: [1, 1] },
 * ];
 * const statistics = mergeMoments(parts.map((X) => moments(X)));
 * const sums = parts
 *   .map((X, p) => gradientSums(gradOutputs[p], X, { statistics }))
 *   .reduce((total, part) => total.map((value, i) => value + part[i]));
 * sums; // ≈ 1, 0, −1.5, 4
 * const [gradInput] = batchNormalizationGradient(gradOutputs[0], parts[0], { statistics, sums });
 * gradInput.data; // ≈ 0.26833, −0.35777, −0.08944
 */
export function gradientSums(gradOutput, X, options) {
  return callSums(differentiate, gradOutput, X, options);
}

/**
 * Mean and biased variance per channel, not rounded to float32: the statistics that batchNormalization uses in training.
 * mergeMoments combines those of parts into those of the whole.
 *
 * @param {TensorLike<Float32Array>} X of rank 1 to 8
 * @param {{ readonly axis?: number | undefined }} [options] axis: index of X's channel dimension, default 1; if negative, counted
 *   from the end
 * @returns {Moments} mean and variance are 0 if the count is 0
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value
 *
 * @example
 * const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
 * const { count, mean, variance } = moments(X); // of 4 values each
 * mean; // ≈ 2.5, 25
 * variance; // ≈ 1.25, 125
 */
export function moments(X, options = {}) {
  return callMoments(normalize, X, options);
}

/**
 * A layer of batch normalization, for networks that are trained in JavaScript. It keeps gamma and beta, the running statistics,
 * and whatever the gradient needs from the last forward call. All its results come from batchNormalization and
 * batchNormalizationGradient.
 *
 * An optimizer changes `gamma` and `beta` in place, using `gradGamma` and `gradBeta`. The layer never replaces any of its six
 * arrays, so an optimizer may keep references to them. To change their values, write into them or call `load`.
 *
 * **momentum is the weight of the old running statistics**: PyTorch's m is 1 − momentum. The default is 0.9, as in PyTorch (m =
 * 0.1), because training a layer takes many steps, and the running statistics should average over many batches. (The default of
 * batchNormalization is 0.1, as in the NumPy function that it follows.) It may be changed between calls: if it is n/(n + 1) in
 * call n, counted from 0, the running statistics are the plain average over all batches.
 *
 * @throws {TypeError} if an argument is of the wrong kind, or an option is unknown
 * @throws {RangeError} if one has a wrong value
 *
 * @example
 * const layer = new BatchNorm(2);
 * const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
 * const output = layer.forward(X);
 * output.data; // ≈ −1.3416, −0.4472, 0.4472, 1.3416, −1.3416, −0.4472, 0.4472, 1.3416
 * const gradInput = layer.backward({ data: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 1), shape: X.shape });
 * layer.gradBeta; // ≈ 1, 1
 * layer.training = false; // from here on, forward uses the running statistics
 * const saved = JSON.stringify(layer.state());
 * new BatchNorm(2).load(JSON.parse(saved));
 */
export class BatchNorm extends Layer {
  /**
   * @param {number} channels C
   * @param {LayerOptions} [options] default {}
   */
  constructor(channels, options) {
    super(batchNormalization, batchNormalizationGradient, channels, options);
  }
}

/** @type {import('./call.js').Normalize} */
function normalize(problem, out) {
  const kernel = problem.x.length > TINY && kernelFor(problem.x, out);
  if (kernel) kernel.compute(normalizeBy, problem, out);
  else normalizePlain(problem, out);
}

/** @type {import('./call.js').Differentiate} */
function differentiate(job, out, gradGamma, gradBeta) {
  const kernel = job.x.length > TINY && extend(kernelFor(job.x, job.gradOutput, out), gradientBinary);
  if (kernel) kernel.compute(differentiateBy, job, out, gradGamma, gradBeta);
  else differentiatePlain(job, out, gradGamma, gradBeta);
}

/**
 * Compiles the kernel now instead of in the first call that needs it. Calling it is optional. It is synchronous. If the kernel is
 * compiled already, it does nothing. If the kernel was unavailable, it tries again, which no other function does.
 *
 * @param {object} [module] a WebAssembly.Module compiled from this version's own binary, `batchnorm/batchnorm.wasm`: for a
 *   runtime that only runs modules compiled beforehand, or to share one module among workers. It must be given before the kernel
 *   is compiled.
 * @returns {void}
 * @throws {TypeError} if module is something else, or was compiled from the binary of another version
 * @throws {Error} if a module is given too late, or cannot be instantiated, with the reason as `cause`
 *
 * @example
 * initialize();
 */
export function initialize(module) {
  reload(/** @type {any} */ (module));
}

/**
 * Whether calls use the WebAssembly kernel or plain JavaScript. Compiles the kernel if that has not happened yet. (Up to 128
 * values, plain JavaScript is always used, because it is faster there.)
 *
 * Plain JavaScript is used
 * - if a Content-Security-Policy has a script-src without 'wasm-unsafe-eval';
 * - if the runtime only runs modules compiled beforehand (see initialize);
 * - if there is too little address space;
 * - in engines older than Node 16.4, Chrome 91, Firefox 89 and Safari 16.4;
 * - on the main thread of a page in Chrome before 115, unless a module is given to initialize (workers compile the kernel);
 * - if the kernel's results are wrong, for instance on a processor with big-endian memory.
 *
 * The reason is remembered until initialize is called.
 *
 * @returns {'wasm-simd' | 'js'}
 *
 * @example
 * backend(); // 'wasm-simd' or 'js'
 */
export function backend() {
  return load() ? 'wasm-simd' : 'js';
}
