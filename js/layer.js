/* A layer of batch normalization: parameters, running statistics and gradients in one object. It only uses the public functions. */

import { bufferOf, byteOffsetOf, describeShape, fail, isSize, listOf, numbersOf, rejectNumber } from './tensor.js';
import { checkBoolean, checkEpsilon, checkNumber, checkVariance, newStatistics, none, readOptions } from './validate.js';

/** @import { NewArray, Numbers, Tensor, TensorLike } from './index.js' */

/**
 * Parameters and running statistics under PyTorch's names.
 * @template [Values=Numbers]
 * @typedef {object} LayerState
 * @property {Values} weight gamma, C numbers
 * @property {Values} bias beta, likewise
 * @property {Values} running_mean
 * @property {Values} running_var
 * @property {unknown} [num_batches_tracked] ignored
 */

/**
 * Optional settings of BatchNorm.
 * @typedef {object} LayerOptions
 * @property {number | undefined} [momentum] in [0, 1], default 0.9: the weight of the old running statistics
 *   (PyTorch's m is 1 − momentum)
 * @property {number | undefined} [epsilon] 0 or more, default 1e-5: added to the variance (not to the standard deviation)
 * @property {number | undefined} [axis] index of X's channel dimension, default 1; if negative, counted from the end (−1:
 *   channels last)
 * @property {boolean | undefined} [unbiased] default false; true: the running variance is updated with the unbiased variance, as
 *   in PyTorch
 * @property {boolean | undefined} [relu] default false; true: the output is max(y, 0), and the gradient takes that into account
 */

const NAME = 'BatchNorm: ';
const OPTIONS = /* @__PURE__ */ none('momentum epsilon axis unbiased relu');
const OUT = /* @__PURE__ */ none('out');
const STATE = /* @__PURE__ */ none('weight bias running_mean running_var num_batches_tracked');

/** The class behind BatchNorm. Both entries extend it, each with its own functions. */
export class Layer {
  /** Scale per channel: C values, ones at first. @readonly @type {NewArray} */
  gamma;
  /** Shift per channel: C values, zeros at first. @readonly @type {NewArray} */
  beta;
  /** The loss's gradient with respect to gamma, zeros at first. Each backward overwrites it. @readonly @type {NewArray} */
  gradGamma;
  /** The loss's gradient with respect to beta, likewise. @readonly @type {NewArray} */
  gradBeta;
  /** Running mean per channel, zeros at first. @readonly @type {Float64Array} */
  runningMean;
  /** Running variance per channel, ones at first. @readonly @type {Float64Array} */
  runningVar;
  /** true: forward uses the batch's statistics and updates the running ones; false: it uses the running ones. @type {boolean} */
  training = true;
  /** The weight of the old running statistics, in [0, 1]. @type {number} */
  momentum;
  #normalize;
  #differentiate;
  #epsilon;
  #axis;
  #unbiased;
  #relu;
  /**
   * X, mode and statistics of the last forward call. X is null if the output has overwritten it.
   * @type {{ X: unknown, training: boolean, statistics: { mean: Float64Array, variance: Float64Array } } | null}
   */
  #last = null;

  /**
   * @param {(...args: any[]) => any} normalize batchNormalization
   * @param {(...args: any[]) => any} differentiate batchNormalizationGradient
   * @param {number} channels C
   * @param {LayerOptions} [options]
   * @throws {TypeError} if an argument is of the wrong kind, or an option unknown
   * @throws {RangeError} if one has a wrong value
   */
  constructor(normalize, differentiate, channels, options = {}) {
    if (!(isSize(channels) && channels > 0)) rejectNumber(`${NAME}channels`, channels, 'be a positive integer');
    const given = readOptions(`${NAME}options`, options, OPTIONS);
    const { momentum = 0.9, epsilon = 1e-5, axis = 1, unbiased = false, relu = false } = /** @type {any} */ (given);
    checkNumber(`${NAME}momentum`, momentum, 1, 'be a number from 0 to 1');
    checkEpsilon(`${NAME}epsilon`, epsilon);
    if (!(Number.isInteger(axis) && axis >= -8 && axis < 8)) rejectNumber(`${NAME}axis`, axis, 'be an integer from -8 to 7');
    checkBoolean(`${NAME}unbiased`, unbiased);
    checkBoolean(`${NAME}relu`, relu);

    this.gamma = new Float32Array(channels).fill(1);
    this.beta = new Float32Array(channels);
    this.gradGamma = new Float32Array(channels);
    this.gradBeta = new Float32Array(channels);
    this.runningMean = new Float64Array(channels);
    this.runningVar = new Float64Array(channels).fill(1);
    this.momentum = momentum;
    this.#normalize = normalize;
    this.#differentiate = differentiate;
    this.#epsilon = epsilon;
    this.#axis = axis;
    this.#unbiased = unbiased;
    this.#relu = relu;
  }

  /**
   * Normalizes a batch with batchNormalization. Keeps X itself, not a copy, for `backward`: do not write to X before that. An
   * error leaves the layer unchanged.
   *
   * @template {Float32Array | TensorLike<Float32Array>} [Out=NewArray]
   * @param {TensorLike<Float32Array>} X C channels at the layer's axis; the other sizes may change from call to call
   * @param {{ out?: Out | undefined }} [options] `out` receives the output instead of a new array, as in batchNormalization. It
   *   may be X's own memory, which saves memory in evaluation; then no backward can follow
   * @returns {Out extends Float32Array ? Tensor<Out> : Out} the output, in X's shape
   * @throws {TypeError} if an argument is of the wrong kind
   * @throws {RangeError} if one is of the wrong size or value
   */
  forward(X, options = {}) {
    const { out } = readOptions(`${NAME}options`, options, OUT);
    const axis = this.#axis;
    const sizes = listOf(X?.shape ?? X?.dims);
    const size = Array.isArray(sizes) ? sizes.at(axis) : undefined;
    if (size !== undefined && size !== this.gamma.length)
      fail(RangeError, `${NAME}X`, `have ${this.gamma.length} channels at axis ${axis}`, `shape ${describeShape(sizes)}`);
    const { gamma, beta, runningMean, runningVar, momentum, training } = this;
    // New arrays, so that those of the last forward stay intact if this call is cut off.
    const statistics = newStatistics(gamma.length);
    const [output, newMean, newVar] = this.#normalize(
      X,
      gamma,
      beta,
      runningMean,
      runningVar,
      momentum,
      this.#epsilon,
      training,
      { out, axis, statistics, unbiased: this.#unbiased, relu: this.#relu },
    );
    // This may run getters of X, which may throw, so it comes before any change to the layer.
    const last = { X: isSamePlace(X, output) ? null : X, training, statistics };
    runningMean.set(newMean.data);
    runningVar.set(newVar.data);
    this.#last = last;
    return output;
  }

  /**
   * Computes the loss's gradients with batchNormalizationGradient. Returns the one with respect to X, and writes those with
   * respect to gamma and beta into `gradGamma` and `gradBeta`. Uses X, statistics and mode of the last forward call, whatever
   * `training` is now: after a forward in evaluation, this is the gradient of inference, where the statistics are constants. Uses
   * gamma and beta as they are now, so change them only after backward.
   *
   * @template {Float32Array | TensorLike<Float32Array>} [Out=NewArray]
   * @param {TensorLike<Float32Array>} gradOutput the loss's gradient with respect to the output, in the shape of the last X
   * @param {{ out?: Out | undefined }} [options] `out` receives the gradient instead of a new array. It may be gradOutput's own
   *   memory, but not X's
   * @returns {Out extends Float32Array ? Tensor<Out> : Out} the gradient with respect to X, in X's shape
   * @throws {Error} if there was no forward call, or if the last one overwrote X with its output
   * @throws {TypeError} if an argument is of the wrong kind
   * @throws {RangeError} if one is of the wrong size or value
   */
  backward(gradOutput, options = {}) {
    const { out } = readOptions(`${NAME}options`, options, OUT);
    if (!this.#last) throw new Error(`${NAME}forward must be called before backward`);
    const { X, training, statistics } = this.#last;
    if (!X) throw new Error(`${NAME}backward needs X, but forward overwrote it with its output`);
    const { gamma, beta } = this;
    // The options that forward shares are written out again: V8 takes 6 µs to spread an object of them into this one.
    const [gradInput, gradGamma, gradBeta] = this.#differentiate(gradOutput, X, {
      gamma,
      beta,
      statistics,
      epsilon: this.#epsilon,
      training,
      axis: this.#axis,
      relu: this.#relu,
      out,
    });
    this.gradGamma.set(gradGamma.data);
    this.gradBeta.set(gradBeta.data);
    return gradInput;
  }

  /**
   * The parameters and running statistics under PyTorch's names, as arrays of numbers. JSON keeps every digit of them, but not
   * NaN and infinity.
   * @returns {LayerState<number[]>}
   */
  state() {
    return {
      weight: [...this.gamma],
      bias: [...this.beta],
      running_mean: [...this.runningMean],
      running_var: [...this.runningVar],
    };
  }

  /**
   * Loads parameters and running statistics, from `state` or from PyTorch's state_dict. Checks all of them before it changes any.
   * @param {LayerState} state C numbers for each name, as arrays or typed arrays; weight and bias are rounded to float32
   * @returns {void}
   * @throws {TypeError} if an entry is missing, unknown or of the wrong kind
   * @throws {RangeError} if an entry has the wrong number of values, or a running variance is below −epsilon
   */
  load(state) {
    const arrays = { weight: this.gamma, bias: this.beta, running_mean: this.runningMean, running_var: this.runningVar };
    const given = readOptions(`${NAME}state`, state, STATE);
    const loaded = Object.entries(arrays).map(
      ([name, array]) => /** @type {const} */ ([array, numbersOf(`${NAME}state.${name}`, given[name], array.length)]),
    );
    checkVariance(`${NAME}state.running_var`, loaded[3][1], this.#epsilon);
    for (const [array, numbers] of loaded) array.set(numbers);
  }
}

/** Whether two tensors begin at the same place. The call has already checked that they do not overlap in any other way.
 * @param {any} a @param {any} b */
const isSamePlace = (a, b) =>
  bufferOf(a.data) === bufferOf(b.data) &&
  byteOffsetOf(a.data) + 4 * (a.offset ?? 0) === byteOffsetOf(b.data) + 4 * (b.offset ?? 0);
