/* Turns arguments into one plain description of the job, or throws a TypeError (wrong kind) or a RangeError (wrong size or value)
 * that names the argument, what was expected and what was given. Everything is read first, each property and element once.
 * Lengths and memory are checked only after that, because reading may run the user's code, which may change them. Writes nothing. */

import {
  beginOf,
  bufferOf,
  byteOffsetOf,
  copyOf,
  describe,
  describeShape,
  fail,
  holdsNumbers,
  isFloat32Array,
  isObject,
  isSize,
  isTensor,
  lengthOf,
  NUMBERS,
  nameOf,
  numbersOf,
  read,
  rejectNumber,
  same,
  typeName,
  view,
} from './tensor.js';

/** @import { Reading } from './tensor.js' */
/** @import { Tensor } from './index.js' */

/** One number per channel. @typedef {Float32Array | Float64Array} Statistic */

/**
 * A tensor as batch × channels × spatial: value (b, c, p) is at index (b · channels + c) · spatial + p.
 * @typedef {object} Layout
 * @property {number[]} shape a copy of the tensor's
 * @property {number[]} perChannel the shape of a tensor of one value per channel
 * @property {number} batch the product of the sizes before the axis
 * @property {number} channels
 * @property {number} spatial the product of the sizes after it
 * @property {number} size the product of all sizes
 */

/**
 * The inputs of a computation.
 * @typedef {object} Problem
 * @property {Float32Array} x
 * @property {number} batch
 * @property {number} channels
 * @property {number} spatial
 * @property {Statistic | null} gamma null means 1
 * @property {Statistic | null} beta null means 0
 * @property {Statistic | null} mean the one that was given. In a forward call in training, it receives the batch's mean. In a
 *   gradient call, null means that it is computed from X
 * @property {Statistic | null} variance likewise
 * @property {number} epsilon
 * @property {boolean} training
 * @property {boolean} relu
 */

/**
 * A forward call: the problem, and what to do with its results.
 * @typedef {Problem & {
 *   out: Float32Array | null,
 *   target: any,
 *   layout: Layout,
 *   runningMean: Statistic | null,
 *   runningVar: Statistic | null,
 *   statistics: { mean: Float64Array, variance: Float64Array } | null,
 *   momentum: number,
 *   correction: number,
 *   returned: [Tensor<any>, Tensor<any>] | null
 * }} Job
 * `out`: null if it has to be allocated. `target`: the option `out` as it was given, an array or a tensor. `correction`: the factor by
 * which the biased variance is multiplied before the running variance is updated with it. `returned`: the running statistics that
 * inference returns; null in training.
 */

/**
 * A gradient call: the problem, and what to do with its results.
 * @typedef {Problem & {
 *   gradOutput: Float32Array,
 *   out: Float32Array | null,
 *   target: any,
 *   layout: Layout,
 *   wantsInput: boolean,
 *   sums: Float64Array | null,
 *   collected: boolean
 * }} GradientJob
 * `sums`: if X is a part of a batch, the total of what gradientSums returned for all parts; otherwise null. `collected`: this is a call
 * of gradientSums; the only results are the sums of X, and `sums` receives them.
 */

/** An object with these names, all of them undefined. @param {string} list @returns {Record<string, unknown>} */
export const none = (list) => Object.fromEntries(list.split(' ').map((name) => [name, undefined]));

const OPTIONS = /* @__PURE__ */ none('out axis statistics unbiased relu');
const GRADIENT_OPTIONS = /* @__PURE__ */ none('gamma beta statistics epsilon training axis relu out gradInput sums');
const SUMS_OPTIONS = /* @__PURE__ */ none('gamma beta statistics epsilon axis relu');
const PARAMETERS = ['gamma', 'beta', 'runningMean', 'runningVar'];

/** The arguments' names in error messages, by their plain names. @typedef {Record<string, string>} Names */

/**
 * The names are made once, when this file is loaded. If each call joined these constant strings, V8 would join them while it
 * compiles in a background thread. Node 20 can then hang at the end of a program: that thread waits for memory, while the main
 * thread waits for that thread.
 * @param {string} name of the function
 */
function namesOf(name) {
  /** @type {Names} */
  const names = { mean: `${name}: statistics.mean`, variance: `${name}: statistics.variance` };
  for (const key of ARGUMENTS.split(' ')) names[key] = `${name}: ${key}`;
  return names;
}

const ARGUMENTS =
  'X gamma beta runningMean runningVar momentum epsilon training options out axis statistics unbiased relu gradOutput gradInput sums';
const NAMES = /* @__PURE__ */ namesOf('batchNormalization');
const GRADIENT_NAMES = /* @__PURE__ */ namesOf('batchNormalizationGradient');
const SUMS_NAMES = /* @__PURE__ */ namesOf('gradientSums');
const MOMENTS_NAMES = /* @__PURE__ */ namesOf('moments');

/** New arrays for the statistics of so many channels. @param {number} channels */
export const newStatistics = (channels) => ({ mean: new Float64Array(channels), variance: new Float64Array(channels) });

/** The two arguments that must be given together, for an error message. */
const PAIR = 'batchNormalization: runningMean and runningVar';

/** The requirement on a tensor's sizes, for an error message. */
const SIZES = 'be an array of 1 to 8 non-negative integers';

/**
 * @param {string} argument @param {unknown} given a tensor
 * @returns {Reading & { sizes: number[] }}
 */
function readTensor(argument, given) {
  if (!isTensor(given)) fail(TypeError, argument, 'be a tensor { data: Float32Array, shape }', describe(given));
  const reading = read(argument, given, SIZES);
  const { data } = reading;
  if (!isFloat32Array(data))
    fail(
      TypeError,
      `${argument}.data`,
      'be a Float32Array',
      describe(data) + (typeof data === 'function' ? ' (in TensorFlow.js, use dataSync())' : ''),
    );
  const sizes = /** @type {number[]} */ (reading.sizes);
  if (!sizes.every(isSize) || sizes.length < 1 || sizes.length > 8)
    fail(
      sizes.every((size) => typeof size === 'number') ? RangeError : TypeError,
      `${argument}.shape`,
      SIZES,
      describeShape(sizes),
    );
  // Adding 0 turns −0 into 0.
  reading.sizes = sizes.map((size) => size + 0);
  return /** @type {any} */ (reading);
}

/** @param {Names} name @param {number[]} shape @param {unknown} axis @returns {Layout} */
function layoutOf(name, shape, axis) {
  const rank = shape.length;
  if (axis === undefined && rank === 1) fail(RangeError, name.axis, 'be 0 or -1 for an X of rank 1', 'undefined');
  const given = /** @type {number} */ (axis === undefined ? 1 : axis);
  if (!(Number.isInteger(given) && given >= -rank && given < rank))
    rejectNumber(name.axis, given, `be an integer from ${-rank} to ${rank - 1}`);
  const k = given < 0 ? given + rank : given;
  const perChannel = [];
  let batch = 1;
  let spatial = 1;
  for (let j = 0; j < rank; j++) {
    perChannel[j] = j === k ? shape[j] : 1;
    if (j < k) batch *= shape[j];
    else if (j > k) spatial *= shape[j];
  }
  return { shape, perChannel, batch, channels: shape[k], spatial, size: batch * shape[k] * spatial };
}

/**
 * Reads options: own properties only, and each one once.
 * @template {Record<string, unknown>} Known
 * @param {string} argument @param {unknown} options @param {Known} known all names, with undefined
 * @returns {Known}
 */
export function readOptions(argument, options, known) {
  const names = Object.keys(known);
  /** @type {(actual: string) => never} */
  const reject = (actual) => fail(TypeError, argument, `be an object with no properties other than ${names.join(', ')}`, actual);
  if (!isObject(options)) reject(describe(options));
  const values = { ...known, ...options };
  const read = Object.keys(values);
  if (read.length > names.length) reject(`the property ${describe(read.find((key) => !names.includes(key)))}`);
  return values;
}

/** @param {string} argument @param {unknown} value @param {string} [hint] @returns {asserts value is boolean} */
export function checkBoolean(argument, value, hint = '') {
  if (typeof value !== 'boolean') fail(TypeError, argument, 'be true or false', describe(value) + hint);
}

/**
 * @param {string} argument @param {unknown} given a tensor, data without a shape, or null
 * @param {Layout} layout @param {boolean} [nullable] whether null is accepted
 * @returns {Reading | null} with a copy of the numbers, if they are in a plain array
 */
function readPerChannel(argument, given, layout, nullable = true) {
  if (nullable && given === null) return null;
  const { channels, perChannel } = layout;
  const reading = read(argument, given, 'be an array');
  const { data, sizes } = reading;
  if (!holdsNumbers(data))
    fail(
      TypeError,
      nameOf(argument, reading),
      NUMBERS + (sizes ? '' : nullable ? ', a tensor of these, or null' : ', or a tensor of these'),
      describe(data),
    );
  if (sizes && !same(sizes, [channels]) && !same(sizes, perChannel))
    fail(RangeError, `${argument}.shape`, `be ${describeShape(perChannel)} or [${channels}]`, describeShape(sizes));
  if (!Array.isArray(data)) return reading;
  const begin = beginOf(argument, reading, data.length, channels, true, layout.shape);
  return { given, data: copyOf(nameOf(argument, reading), data, begin, channels), sizes };
}

/**
 * Reads the option `statistics`.
 * @param {string} argument @param {unknown} given
 * @returns {{ mean: unknown, variance: unknown } | null}
 */
function readStatistics(argument, given) {
  if ((given ?? null) === null) return null;
  if (!isObject(given)) fail(TypeError, argument, 'be an object { mean, variance }', describe(given));
  const { mean, variance } = given;
  return { mean, variance };
}

/**
 * The values of an argument, as a view of fixed length. But an array that holds values per channel, and nothing else, is returned
 * itself.
 * @template {Float32Array | Float64Array} Data
 * @param {string} argument @param {Reading} reading @param {number} size how many values there should be
 * @param {Layout} layout @param {boolean} [perChannel]
 * @returns {Data}
 */
function valuesOf(argument, reading, size, layout, perChannel = false) {
  const { data } = reading;
  const length = lengthOf(data);
  // A detached array has length 0, and a new view of its buffer throws.
  if (length === 0)
    try {
      new Uint8Array(bufferOf(data));
    } catch (reason) {
      if (!(reason instanceof TypeError)) throw reason;
      fail(TypeError, nameOf(argument, reading), 'not be detached', 'a detached array');
    }
  const begin = beginOf(argument, reading, length, size, perChannel, layout.shape);
  return perChannel && length === size ? data : view(data, begin, size);
}

/**
 * The numbers of a per-channel argument.
 * @param {string} argument @param {Reading | null} reading @param {Layout} layout
 * @returns {Statistic | null}
 */
const perChannelOf = (argument, reading, layout) => reading && valuesOf(argument, reading, layout.channels, layout, true);

/**
 * A running statistic as inference returns it: the tensor that was given if it has the right shape, otherwise a new tensor of its
 * numbers.
 * @param {Reading | null} reading @param {any} numbers @param {Layout} layout
 * @returns {Tensor<any>}
 */
const asTensor = (reading, numbers, { perChannel }) =>
  reading?.hasShape && same(perChannel, reading.sizes) && reading.data === numbers
    ? reading.given
    : { data: numbers, shape: [...perChannel] };

/**
 * @param {string} argument @param {unknown} value @param {number} most @param {string} expected @param {string} [hint]
 * @returns {asserts value is number}
 */
export function checkNumber(argument, value, most, expected, hint = '') {
  if (!(typeof value === 'number' && value >= 0 && value <= most)) rejectNumber(argument, value, expected, hint);
}

/** @param {string} argument @param {unknown} epsilon @param {string} [hint] @returns {asserts epsilon is number} */
export function checkEpsilon(argument, epsilon, hint) {
  checkNumber(argument, epsilon, Number.MAX_VALUE, 'be a finite number of at least 0', hint);
}

/**
 * A variance may be slightly below 0, because some model converters make it so.
 * @param {string} argument @param {ArrayLike<number>} variance @param {number} epsilon
 */
export function checkVariance(argument, variance, epsilon) {
  for (let c = 0; c < variance.length; c++)
    if (variance[c] + epsilon < 0)
      fail(RangeError, argument, 'be at least -epsilon', `${variance[c]} in channel ${c}, with epsilon ${epsilon}`);
}

/** @param {Names} name @param {Layout} layout @param {Float32Array} x */
function checkFilled(name, { shape, channels }, x) {
  if (channels > 0 && x.length === 0)
    fail(RangeError, name.X, 'have at least one value per channel in training', `shape ${describeShape(shape)}`);
}

/** @param {unknown} data a typed array @returns {number} where its memory ends, in bytes */
const endOf = (data) => byteOffsetOf(data) + (isFloat32Array(data) ? 4 : 8) * lengthOf(data);

/** Rejects an array that receives results if it overlaps another argument. @param {string} argument @param {Statistic} data
 * @param {string} name @param {Statistic | null} other */
function checkApart(argument, data, name, other) {
  if (
    other !== null &&
    bufferOf(data) === bufferOf(other) &&
    byteOffsetOf(data) < endOf(other) &&
    byteOffsetOf(other) < endOf(data)
  )
    fail(RangeError, argument, `not overlap ${name}`, 'overlapping memory');
}

/**
 * Reads the option `out`. Its length and memory are checked later.
 * @param {Names} name @param {unknown} target @param {number[]} shape X's
 * @returns {Reading & { sizes: number[] } | null}
 */
function readOut(name, target, shape) {
  if (isFloat32Array(target)) return { given: target, data: target, sizes: shape };
  if (isTensor(target)) return readTensor(name.out, target);
  if (target !== undefined) fail(TypeError, name.out, "be a Float32Array or a tensor of X's shape", describe(target));
  return null;
}

/**
 * The array that receives the output; null: a new one.
 * @param {Names} name @param {Reading | null} reading @param {Layout} layout @param {Float32Array} source which the output may
 *   overwrite
 * @param {string} sourceName
 * @returns {Float32Array | null}
 */
function outOf(name, reading, layout, source, sourceName) {
  if (reading === null) return null;
  checkShape(name.out, reading, layout.shape);
  /** @type {Float32Array} */
  const out = valuesOf(name.out, reading, source.length, layout);
  if (out.byteOffset !== source.byteOffset)
    checkApart(name.out, out, `${sourceName}, unless it is exactly ${sourceName}'s data`, source);
  return out;
}

/** The same for several other arguments. @param {string} argument @param {Statistic} data
 * @param {string[]} names @param {(Statistic | null)[]} others */
function checkApartFromAll(argument, data, names, others) {
  for (let k = 0; k < names.length; k++) checkApart(argument, data, names[k], others[k]);
}

/** @param {string} argument @param {Reading} reading @param {number[]} shape X's */
function checkShape(argument, { sizes }, shape) {
  if (!same(shape, sizes)) fail(RangeError, `${argument}.shape`, `equal X.shape, ${describeShape(shape)}`, describeShape(sizes));
}

/** @param {unknown} value */
const optionsEarly = (value) => (isObject(value) ? ' (options are the ninth argument)' : '');

/**
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {Job}
 */
export function validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  const name = NAMES;
  const torch = typeof momentum === 'boolean' ? " (did you pass the arguments in PyTorch's order?)" : optionsEarly(momentum);
  checkNumber(name.momentum, momentum, 1, 'be a number from 0 to 1', torch);
  checkEpsilon(name.epsilon, epsilon, optionsEarly(epsilon));
  checkBoolean(name.training, training, optionsEarly(training));

  // Reading may run the user's code: getters, and traps of proxies.
  const { out: target, axis, statistics: given, unbiased = false, relu = false } = readOptions(name.options, options, OPTIONS);
  checkBoolean(name.unbiased, unbiased);
  checkBoolean(name.relu, relu);
  const readX = readTensor(name.X, X);
  const layout = layoutOf(name, readX.sizes, axis);
  const readGamma = readPerChannel(name.gamma, gamma, layout);
  const readBeta = readPerChannel(name.beta, beta, layout);
  const readMean = readPerChannel(name.runningMean, runningMean, layout);
  const readVar = readPerChannel(name.runningVar, runningVar, layout);
  /** @type {any} */
  const statistics = readStatistics(name.statistics, given);
  const outReading = readOut(name, target, layout.shape);
  // No code of the user's runs from here on.

  /** @type {Float32Array} */
  const x = valuesOf(name.X, readX, layout.size, layout);
  const ownGamma = perChannelOf(name.gamma, readGamma, layout);
  const ownBeta = perChannelOf(name.beta, readBeta, layout);
  const ownMean = perChannelOf(name.runningMean, readMean, layout);
  const ownVar = perChannelOf(name.runningVar, readVar, layout);
  const parameters = [ownGamma, ownBeta, ownMean, ownVar];
  if ((ownMean === null) !== (ownVar === null))
    fail(TypeError, PAIR, 'both be given or both be null', `null for ${ownVar === null ? 'runningVar' : 'runningMean'}`);
  const { batch, channels, spatial } = layout;
  const count = batch * spatial;
  if (training) {
    checkFilled(name, layout, x);
    if (unbiased && count === 1) fail(RangeError, name.unbiased, 'be false if X has one value per channel', 'true');
  } else {
    if (ownVar === null) fail(TypeError, PAIR, 'be given in inference', 'null');
    checkVariance(name.runningVar, ownVar, epsilon);
  }
  const out = outOf(name, outReading, layout, x, 'X');
  if (out) checkApartFromAll(name.out, out, PARAMETERS, parameters);
  if (statistics) {
    for (const [key, array] of Object.entries(statistics)) {
      const argument = name[key];
      if (typeName(array) !== 'Float64Array') fail(TypeError, argument, 'be a Float64Array', describe(array));
      const reading = { given: array, data: array, sizes: null };
      statistics[key] = view(valuesOf(argument, reading, channels, layout, true), 0, channels);
      checkApart(argument, statistics[key], 'X', x);
      checkApart(argument, statistics[key], 'out', out);
      checkApartFromAll(argument, statistics[key], PARAMETERS, parameters);
    }
    checkApart(name.mean, statistics.mean, 'statistics.variance', statistics.variance);
  }
  const { mean, variance } = training ? (statistics ?? newStatistics(channels)) : { mean: ownMean, variance: ownVar };
  return {
    x,
    out,
    target,
    layout,
    batch,
    channels,
    spatial,
    gamma: ownGamma,
    beta: ownBeta,
    runningMean: ownMean,
    runningVar: ownVar,
    mean,
    variance,
    statistics,
    returned: training ? null : [asTensor(readMean, ownMean, layout), asTensor(readVar, ownVar, layout)],
    momentum,
    correction: unbiased ? count / (count - 1) : 1,
    epsilon,
    training,
    relu,
  };
}

/**
 * @param {unknown} gradOutput @param {unknown} X @param {unknown} options
 * @param {boolean} [collected] whether this is a call of gradientSums
 * @returns {GradientJob}
 */
export function validateGradient(gradOutput, X, options, collected = false) {
  const name = collected ? SUMS_NAMES : GRADIENT_NAMES;
  // Reading may run the user's code.
  const given = readOptions(name.options, options, collected ? SUMS_OPTIONS : GRADIENT_OPTIONS);
  const { epsilon = 1e-5, training = true, relu = false, gradInput: wantsInput = true } = given;
  checkEpsilon(name.epsilon, epsilon);
  checkBoolean(name.training, training);
  checkBoolean(name.relu, relu);
  checkBoolean(name.gradInput, wantsInput);
  if (relu && given.beta === undefined) fail(TypeError, name.beta, 'be given if relu is true (null means 0)', 'undefined');
  if (!wantsInput && given.out !== undefined)
    fail(TypeError, name.out, 'not be given if gradInput is false', describe(given.out));
  const readG = readTensor(name.gradOutput, gradOutput);
  const readX = readTensor(name.X, X);
  const layout = layoutOf(name, readX.sizes, given.axis);
  const readGamma = readPerChannel(name.gamma, given.gamma ?? null, layout);
  const readBeta = readPerChannel(name.beta, relu ? given.beta : null, layout);
  const saved = readStatistics(name.statistics, given.statistics);
  const readMean = saved && readPerChannel(name.mean, saved.mean, layout, false);
  const readVar = saved && readPerChannel(name.variance, saved.variance, layout, false);
  const sums = given.sums == null ? null : numbersOf(name.sums, given.sums);
  const outReading = readOut(name, given.out, layout.shape);
  // No code of the user's runs from here on.

  checkShape(name.gradOutput, readG, layout.shape);
  const { size, batch, channels, spatial } = layout;
  /** @type {Float32Array} */
  const x = valuesOf(name.X, readX, size, layout);
  /** @type {Float32Array} */
  const g = valuesOf(name.gradOutput, readG, size, layout);
  const gamma = perChannelOf(name.gamma, readGamma, layout);
  const beta = perChannelOf(name.beta, readBeta, layout);
  const mean = perChannelOf(name.mean, readMean, layout);
  const variance = perChannelOf(name.variance, readVar, layout);
  const isPart = collected || sums !== null;
  if (training && !isPart) checkFilled(name, layout, x);
  else if (!variance)
    fail(
      TypeError,
      name.statistics,
      isPart ? 'be those of the whole batch' : 'be given in inference',
      describe(given.statistics),
    );
  const fields = 3 * channels + 1;
  if (sums) {
    if (!training) fail(TypeError, name.sums, 'not be given if training is false', describe(given.sums));
    if (sums.length !== fields) fail(RangeError, name.sums, `hold ${fields} values for ${channels} channels`, `${sums.length}`);
    const [count, least] = [sums[3 * channels], Math.max(batch * spatial, 1)];
    if (!(count >= least)) fail(RangeError, name.sums, `end with the count of all parts, at least ${least}`, `${count}`);
  }
  if (variance) checkVariance(name.variance, variance, epsilon);
  const out = outOf(name, outReading, layout, g, 'gradOutput');
  if (out)
    checkApartFromAll(
      name.out,
      out,
      ['X', 'gamma', 'beta', 'statistics.mean', 'statistics.variance'],
      [x, gamma, beta, mean, variance],
    );
  return {
    x,
    gradOutput: g,
    out,
    target: given.out,
    layout,
    batch,
    channels,
    spatial,
    gamma,
    beta,
    mean,
    variance,
    epsilon,
    training,
    relu,
    wantsInput,
    sums: collected ? new Float64Array(fields) : sums,
    collected,
  };
}

/**
 * @param {unknown} X @param {unknown} options
 * @returns {Problem}
 */
export function validateMoments(X, options) {
  const name = MOMENTS_NAMES;
  const { axis } = readOptions(name.options, options, { axis: undefined });
  const readX = readTensor(name.X, X);
  const layout = layoutOf(name, readX.sizes, axis);
  const { size, batch, channels, spatial } = layout;
  return {
    x: valuesOf(name.X, readX, size, layout),
    batch,
    channels,
    spatial,
    gamma: null,
    beta: null,
    ...newStatistics(channels),
    // 0, so that squares that underflow in float32 are summed again in double. Next to a positive epsilon they would not matter.
    epsilon: 0,
    training: true,
    relu: false,
  };
}
