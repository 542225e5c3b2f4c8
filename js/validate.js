/* Arguments → one plain description of the job, or a TypeError (wrong kind) or RangeError (wrong size or value) that says
 * which argument, what was expected and what was given. Everything is read first, each property and element once; only then
 * are lengths and memory checked, since reading may run the user's code, which may change them. Writes nothing. */

import {
  bufferOf,
  byteOffsetOf,
  describe,
  describeShape,
  errorOf,
  fail,
  isFloat32Array,
  isObject,
  isSize,
  isTensor,
  lengthOf,
  read,
  same,
  sizeOf,
  typeName,
  view,
} from './tensor.js';

/** @import { Reading } from './tensor.js' */
/** @import { Tensor } from './index.js' */

/**
 * What is computed.
 * @typedef {object} Problem
 * @property {Float32Array} x
 * @property {number} batch
 * @property {number} channels
 * @property {number} spatial H·W
 * @property {ArrayLike<number> | null} gamma null: 1
 * @property {ArrayLike<number> | null} beta null: 0
 * @property {Float32Array | Float64Array | null} runningMean null: 0, in training alone
 * @property {Float32Array | Float64Array | null} runningVar null: 1, in training alone
 * @property {number} momentum
 * @property {number} epsilon
 * @property {boolean} training
 */

/**
 * The problem, and what is made of its results.
 * @typedef {Problem & {
 *   out: Float32Array | null,
 *   target: any,
 *   shape: number[],
 *   returned: [Tensor<any>, Tensor<any>] | null
 * }} Job
 * `out`: null, to be allocated; `target`: what was given as `out`, its array or its tensor; `shape`: a copy of X's;
 * `returned`: the running statistics as inference returns them, null in training
 */

/** What a tensor's sizes must be. */
const SIZES = 'be four non-negative integers, [B, C, H, W]';

/**
 * @param {string} argument @param {unknown} given a tensor
 * @returns {Reading & { sizes: number[] }}
 */
function readTensor(argument, given) {
  if (!isTensor(given)) fail(TypeError, argument, 'be a tensor { data: Float32Array, shape: [B, C, H, W] }', describe(given));
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
  const valid = sizes.every(isSize);
  if (!valid || sizes.length !== 4) {
    const [batch, channels, ...rest] = sizes;
    const pass = valid && sizes.length > 1 && sizes.length < 9;
    fail(
      sizes.every((size) => typeof size === 'number') ? RangeError : TypeError,
      `${argument}.shape`,
      SIZES,
      describeShape(sizes) + (pass ? ` (pass it as ${describeShape([batch, channels, sizeOf(rest), 1])})` : ''),
    );
  }
  // −0 is 0.
  reading.sizes = sizes.map((size) => size + 0);
  return /** @type {any} */ (reading);
}

/**
 * @param {string} argument @param {unknown} given a tensor or its bare data, or null
 * @param {number[]} shape X's
 * @returns {Reading | null} an array's numbers as a copy
 */
function readPerChannel(argument, given, shape) {
  if (given === null) return null;
  const channels = shape[1];
  const reading = read(argument, given, 'be an array');
  const { data, sizes } = reading;
  const name = nameOf(argument, reading);
  if (!Array.isArray(data) && !isFloat32Array(data) && typeName(data) !== 'Float64Array')
    fail(
      TypeError,
      name,
      `be a Float32Array, a Float64Array or an array of numbers${sizes ? '' : ', or a tensor of one, or null'}`,
      describe(data),
    );
  if (sizes && !same(sizes, [channels]) && !same(sizes, [1, channels, 1, 1]))
    fail(RangeError, `${argument}.shape`, `be [1, ${channels}, 1, 1] or [${channels}]`, describeShape(sizes));
  if (!Array.isArray(data)) return reading;
  const begin = beginOf(argument, reading, data.length, channels, shape, true);
  const copy = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const number = data[begin + c];
    if (typeof number !== 'number') fail(TypeError, `${name}[${begin + c}]`, 'be a number', describe(number));
    copy[c] = number;
  }
  return { given, data: copy, sizes };
}

/** What an argument's data are called. @param {string} argument @param {Reading} reading */
const nameOf = (argument, { given, data }) => (given === data ? argument : `${argument}.data`);

/**
 * Where the values of an argument begin in its data.
 * @param {string} argument @param {Reading} reading @param {number} length of the data
 * @param {number} size how many values there should be @param {number[]} shape X's @param {boolean} perChannel
 * @returns {number}
 */
function beginOf(argument, reading, length, size, shape, perChannel) {
  const { offset } = reading;
  if (offset === undefined) {
    if (length !== size) {
      const channelsLast = perChannel && length === shape[3] ? ' (is X in channels-last order?)' : '';
      const what = perChannel ? 'values, one per channel of X' : 'values for shape';
      fail(RangeError, nameOf(argument, reading), `hold ${size} ${what} ${describeShape(shape)}`, length + channelsLast);
    }
    return 0;
  }
  const begin = /** @type {number} */ (offset);
  if (!(isSize(begin) && begin + size <= length))
    fail(errorOf(begin), `${argument}.offset`, `leave ${size} of the ${length} values`, describe(begin));
  return begin;
}

/**
 * The values of an argument, as the job takes them: in a fixed view; if they are per channel, in the very array that was given if
 * that holds nothing else.
 * @template {Float32Array | Float64Array} Data
 * @param {string} argument @param {Reading} reading @param {number} size how many values there should be
 * @param {number[]} shape X's @param {boolean} [perChannel]
 * @returns {Data}
 */
function valuesOf(argument, reading, size, shape, perChannel = false) {
  const { data } = reading;
  const length = lengthOf(data);
  // A detached array has length 0, and its buffer takes no new view.
  if (length === 0)
    try {
      new Uint8Array(bufferOf(data));
    } catch {
      fail(TypeError, nameOf(argument, reading), 'not be detached', 'a detached array');
    }
  const begin = beginOf(argument, reading, length, size, shape, perChannel);
  return perChannel && length === size ? data : view(data, begin, size);
}

/**
 * The numbers of a per-channel argument.
 * @param {string} argument @param {Reading | null} reading @param {number[]} shape X's
 * @returns {Float32Array | Float64Array | null}
 */
const numbersOf = (argument, reading, shape) => reading && valuesOf(argument, reading, shape[1], shape, true);

/**
 * A running statistic as inference returns it: the tensor of shape [1, C, 1, 1] that was given, else its numbers as one.
 * @param {Reading | null} reading @param {any} numbers @param {number} channels
 * @returns {Tensor<any>}
 */
const asTensor = (reading, numbers, channels) =>
  reading?.hasShape && reading.sizes?.length === 4 && reading.data === numbers
    ? reading.given
    : { data: numbers, shape: [1, channels, 1, 1] };

/**
 * @param {string} argument @param {unknown} value @param {number} most @param {string} expected @param {string} [hint]
 * @returns {asserts value is number}
 */
function checkNumber(argument, value, most, expected, hint = '') {
  if (!(typeof value === 'number' && value >= 0 && value <= most))
    fail(errorOf(value), argument, expected, describe(value) + hint);
}

/** A variance may be a little below 0, as some converters of models make it. @param {ArrayLike<number>} runningVar @param {number} channels @param {number} epsilon */
function checkVariance(runningVar, channels, epsilon) {
  for (let c = 0; c < channels; c++)
    if (runningVar[c] + epsilon < 0)
      fail(RangeError, 'runningVar', 'be −epsilon or more', `${runningVar[c]} in channel ${c}, with epsilon ${epsilon}`);
}

/** @param {Float32Array} out @param {string} argument @param {Float32Array | Float64Array | null} data */
function checkApart(out, argument, data) {
  if (data === null) return;
  if (out.buffer !== bufferOf(data)) return;
  const begin = byteOffsetOf(data);
  const end = begin + (isFloat32Array(data) ? 4 : 8) * lengthOf(data);
  if (out.byteOffset < end && begin < out.byteOffset + out.byteLength)
    fail(RangeError, 'out', `not overlap ${argument}`, 'memory that does');
}

/** @param {unknown} value */
const optionsEarly = (value) => (isObject(value) ? ' (options are the ninth argument)' : '');

/**
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {Job}
 */
export function validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  const torch = typeof momentum === 'boolean' ? " (did you pass PyTorch's order of arguments?)" : optionsEarly(momentum);
  checkNumber('momentum', momentum, 1, 'be a number in [0, 1]', torch);
  checkNumber('epsilon', epsilon, Number.MAX_VALUE, 'be a finite number, 0 or more', optionsEarly(epsilon));
  if (typeof training !== 'boolean') fail(TypeError, 'training', 'be true or false', describe(training) + optionsEarly(training));
  if (!isObject(options)) fail(TypeError, 'options', 'be an object, { out } or empty', describe(options));
  for (const key of Object.keys(options))
    if (key !== 'out') fail(TypeError, 'options', 'be an object, { out } or empty', `the unknown option ${describe(key)}`);

  // What follows may run the user's code: getters, and traps of proxies.
  const target = Object.hasOwn(options, 'out') ? options.out : undefined;
  const readX = readTensor('X', X);
  const shape = readX.sizes;
  const readGamma = readPerChannel('gamma', gamma, shape);
  const readBeta = readPerChannel('beta', beta, shape);
  const readMean = readPerChannel('runningMean', runningMean, shape);
  const readVar = readPerChannel('runningVar', runningVar, shape);
  let readOut = null;
  if (isFloat32Array(target)) readOut = { given: target, data: target, sizes: shape };
  else if (isTensor(target)) readOut = readTensor('out', target);
  else if (target !== undefined) fail(TypeError, 'out', "be a Float32Array or a tensor of X's shape", describe(target));
  // Nothing of the user's runs from here on.

  /** @type {Float32Array} */
  const x = valuesOf('X', readX, sizeOf(shape), shape);
  const ownGamma = numbersOf('gamma', readGamma, shape);
  const ownBeta = numbersOf('beta', readBeta, shape);
  const ownMean = numbersOf('runningMean', readMean, shape);
  const ownVar = numbersOf('runningVar', readVar, shape);
  if ((ownMean === null) !== (ownVar === null))
    fail(TypeError, ownMean === null ? 'runningMean' : 'runningVar', 'be given if the other is', 'null');
  if (!training) {
    if (ownVar === null) fail(TypeError, 'runningMean and runningVar', 'be given in inference', 'null');
    checkVariance(ownVar, shape[1], epsilon);
  } else if (shape[1] > 0 && x.length === 0)
    fail(RangeError, 'X.shape', 'give each channel a value in training', describeShape(shape));

  let out = null;
  if (readOut !== null) {
    if (!same(shape, readOut.sizes))
      fail(RangeError, 'out.shape', `equal X.shape, ${describeShape(shape)}`, describeShape(readOut.sizes));
    out = /** @type {Float32Array} */ (valuesOf('out', readOut, x.length, shape));
    if (out.byteOffset !== x.byteOffset) checkApart(out, "X, unless it is exactly X's data", x);
    checkApart(out, 'gamma', ownGamma);
    checkApart(out, 'beta', ownBeta);
    checkApart(out, 'runningMean', ownMean);
    checkApart(out, 'runningVar', ownVar);
  }
  return {
    x,
    out,
    target,
    shape,
    batch: shape[0],
    channels: shape[1],
    spatial: shape[2] * shape[3],
    gamma: ownGamma,
    beta: ownBeta,
    runningMean: ownMean,
    runningVar: ownVar,
    returned: training ? null : [asTensor(readMean, ownMean, shape[1]), asTensor(readVar, ownVar, shape[1])],
    momentum,
    epsilon,
    training,
  };
}
