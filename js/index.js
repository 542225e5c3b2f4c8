/* The public functions. Their comments are the API documentation. */

import { call, callGradient, callMoments } from './call.js';
import { normalizeBy } from './forward.js';
import { differentiateBy } from './gradient.js';
import { binary as gradientBinary } from './gradient-binary.js';
import { Layer } from './layer.js';
import { extend, kernelFor, load, reload } from './loader.js';
import { differentiatePlain, normalizePlain } from './plain.js';

export { Arena } from './arena.js';
export { fold } from './fold.js';
export { mergeMoments } from './moments.js';

/** Up to this many values, the way into WebAssembly and back costs more than it saves. */
const TINY = 128;

/**
 * Values with their shape, in row-major order: X[b, c, h, w] of shape [B, C, H, W] is data[((b · C + c) · H + h) · W + w].
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
 * One number per channel, C of them: a tensor of X's rank whose size is C along the channel axis and 1 elsewhere ([1, C, 1, 1] for
 * BCHW), a tensor of shape [C], or its data bare.
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
 * Where a result goes.
 * @typedef {Float32Array | TensorLike<Float32Array>} Target
 */

/**
 * A result as it is returned: in the tensor that was given for it, or in a new one.
 * @template Out
 * @typedef {Out extends Float32Array ? Tensor<Out> : Out} Result
 */

/**
 * Optional settings of batchNormalization.
 * @template {Target} [Out=Target]
 * @typedef {object} Options
 * @property {Out | undefined} [out] receives the output instead of a new array: a Float32Array of X's length or a
 *   tensor of X's shape. May be X's own data, which is then overwritten; may not overlap X in part, nor another argument
 *   (with two SharedArrayBuffer objects on the same memory, that cannot be noticed).
 * @property {number | undefined} [axis] which of X's dimensions is the channels', from 0 on, or from −1 downwards from the end; default
 *   1. An X of rank 1 needs it.
 * @property {{ readonly mean: Float64Array, readonly variance: Float64Array } | undefined} [statistics] two arrays of C values, which
 *   overlap no other argument, that receive the statistics the output was computed with, not rounded: in training the batch's mean and biased variance, in
 *   inference the running ones. batchNormalizationGradient takes them.
 * @property {boolean | undefined} [unbiased] in training, the running variance is updated with the batch's unbiased variance (divided by
 *   the count less 1), as in PyTorch; default false. The output is the same.
 * @property {boolean | undefined} [relu] the output is max(output, 0): NaN stays, −0 becomes 0; default false
 */

/**
 * Optional settings of batchNormalizationGradient.
 * @template {Target} [Out=Target]
 * @template {boolean} [Wanted=boolean]
 * @typedef {object} GradientOptions
 * @property {PerChannel | null | undefined} [gamma] the scale of each channel; default null: 1
 * @property {PerChannel | null | undefined} [beta] the shift of each channel; null: 0. Needed with relu, otherwise ignored.
 * @property {{ readonly mean: PerChannel, readonly variance: PerChannel } | null | undefined} [statistics] those of the forward call; in
 *   training default null: computed from X. Inference needs them.
 * @property {number | undefined} [epsilon] default 1e-5
 * @property {boolean | undefined} [training] default true: mean and variance depend on X. Else they are constants.
 * @property {number | undefined} [axis] which of X's dimensions is the channels'; default 1
 * @property {boolean | undefined} [relu] the forward call had relu: gradOutput counts as 0 where the output is not above 0; default false
 * @property {Out | undefined} [out] receives gradInput instead of a new array: a Float32Array of X's length or a tensor of X's
 *   shape. May be gradOutput's own data, which is then overwritten; may not overlap it in part, nor another argument.
 * @property {Wanted | undefined} [gradInput] default true; false: gradInput is not computed, and null
 */

/**
 * Mean and biased variance of each channel, of `count` values each.
 * @typedef {object} Moments
 * @property {number} count
 * @property {Float64Array} mean
 * @property {Float64Array} variance
 */

/** @typedef {import('./layer.js').LayerOptions} LayerOptions */

/** @template [Values=Numbers] @typedef {import('./layer.js').LayerState<Values>} LayerState */

/**
 * Batch normalization of a tensor, as of shape [B, C, H, W], in training or in inference.
 *
 *     output = (X − mean) / sqrt(variance + epsilon) · gamma + beta
 *
 * In training, mean and variance are those of the batch, over all dimensions but the channels' (B, H and W); the variance is the
 * biased one (divided by the count), and the running statistics are updated with it:
 *
 *     running = momentum · running + (1 − momentum) · batch
 *
 * **momentum is the weight of the old value**, as in ONNX and Keras. PyTorch's is the weight of the new one: for
 * PyTorch's momentum m pass 1 − m. (PyTorch also updates with the unbiased variance: see the option `unbiased`.)
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
 * changed, unless as `out` or `statistics`. Synchronous; the first call on more than 128 values compiles the kernel, which takes a
 * millisecond or two. If WebAssembly SIMD is unavailable, plain JavaScript computes, normally closer: see backend.
 *
 * @template {Target} [Out=NewArray]
 * @template {PerChannel | null | undefined} [Mean=null]
 * @template {PerChannel | null | undefined} [Var=null]
 * @param {TensorLike<Float32Array>} X of rank 1 to 8, the second dimension being the channels' unless `options.axis` says otherwise
 * @param {PerChannel | null} gamma scale of each channel; null: 1
 * @param {PerChannel | null} beta shift of each channel; null: 0
 * @param {Mean} [runningMean] default null: in training it starts at 0; inference needs it
 * @param {Var} [runningVar] default null: in training it starts at 1; inference needs it
 * @param {number} [momentum] in [0, 1], default 0.1: the weight of the old running statistics
 * @param {number} [epsilon] 0 or more, default 1e-5: added to the variance, in the variance's unit
 * @param {boolean} [training] default true
 * @param {Options<Out>} [options] default {}
 * @returns {[output: Result<Out>, runningMean: Statistic<Mean>, runningVar: Statistic<Var>]}
 *   output in X's shape (`options.out` if that was a tensor), the running statistics in shape [1, C, 1, 1], or X's rank; in inference
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
  return call(normalize, X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
}

/**
 * The gradient of batchNormalization: from that of a loss with respect to its output, those with respect to X, gamma and beta.
 * With x̂ = (X − mean) / sqrt(variance + epsilon) and sums and means over each channel's values,
 *
 *     gradBeta = Σ gradOutput
 *     gradGamma = Σ gradOutput · x̂
 *     gradInput = gamma / sqrt(variance + epsilon) · (gradOutput − mean(gradOutput) − x̂ · mean(gradOutput · x̂))   in training
 *     gradInput = gamma / sqrt(variance + epsilon) · gradOutput                                                  in inference
 *
 * as automatic differentiation in float64 gives. The sums run in double, so that gradGamma and gradBeta are exact to a float32's
 * rounding however far X or gradOutput are from zero; docs/numerics.md has the bounds. Pass the `statistics` that the forward
 * call saved, or leave them out and they are computed from X again. Statistics that are not the batch's own serve as the
 * formulas read.
 *
 * With relu, the output is computed again for its sign, and gradOutput counts as 0 wherever the output is not above 0, or is NaN.
 * (In training, next to 0 that sign may differ from the forward call's if the statistics were given, since one double cannot hold
 * the mean's two parts.)
 *
 * @template {Target} [Out=NewArray]
 * @template {boolean} [Wanted=true]
 * @param {TensorLike<Float32Array>} gradOutput of X's shape
 * @param {TensorLike<Float32Array>} X as of the forward call
 * @param {GradientOptions<Out, Wanted>} [options] default {}
 * @returns {[gradInput: Wanted extends false ? null : Result<Out>, gradGamma: Tensor<NewArray>, gradBeta: Tensor<NewArray>]} gradInput in
 *   X's shape (`options.out` if that was a tensor), the others in shape [1, C, 1, 1], or X's rank
 * @throws {TypeError} if an argument is of the wrong kind, or missing
 * @throws {RangeError} if one is of the wrong size or value; nothing has been written then, `out` included
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
 * Mean and biased variance of each channel, not rounded to float32: the statistics of batchNormalization in training. mergeMoments
 * makes those of parts into those of the whole.
 *
 * @param {TensorLike<Float32Array>} X of rank 1 to 8
 * @param {{ readonly axis?: number | undefined }} [options] axis: which of X's dimensions is the channels', default 1
 * @returns {Moments} zeros where a channel has no values
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
 * A layer of batch normalization, for networks that are trained in JavaScript: keeps gamma and beta, the running statistics, and
 * what the gradient needs of the last forward call. It adds nothing to the definitions of batchNormalization and
 * batchNormalizationGradient, on which it rests.
 *
 * An optimizer changes `gamma` and `beta` in place, by `gradGamma` and `gradBeta`. All six arrays stay the same ones for the layer's
 * life, so that an optimizer may keep them; to change their values, write into them or call `load`.
 *
 * **momentum is the weight of the old running statistics**: PyTorch's m is 1 − momentum. It is 0.9 by default here, as in PyTorch (m =
 * 0.1), since a layer is for long training, where running statistics should average over many batches. The bare call
 * has 0.1, since the NumPy function that defines it has. It may be changed between calls: with n/(n + 1) in call n, counted from
 * 0, the running statistics are the plain average over all batches.
 *
 * @throws {TypeError} if an argument is of the wrong kind, or an option unknown
 * @throws {RangeError} if one has a wrong value
 *
 * @example
 * const layer = new BatchNorm(2);
 * const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
 * const output = layer.forward(X);
 * output.data; // ≈ −1.3416, −0.4472, 0.4472, 1.3416, −1.3416, −0.4472, 0.4472, 1.3416
 * const gradInput = layer.backward({ data: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 1), shape: X.shape });
 * layer.gradBeta; // ≈ 1, 1
 * layer.training = false; // from here on with the running statistics
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
  if (kernel) normalizeBy(kernel, problem, out);
  else normalizePlain(problem, out);
}

/** @type {import('./call.js').Differentiate} */
function differentiate(job, out, gradGamma, gradBeta) {
  const kernel = job.x.length > TINY && extend(kernelFor(job.x, job.gradOutput, out), gradientBinary);
  if (kernel) differentiateBy(kernel, job, out, gradGamma, gradBeta);
  else differentiatePlain(job, out, gradGamma, gradBeta);
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
