/* Arguments → one plain description of the job, or a TypeError (wrong kind) or RangeError (wrong size or value) that says
 * which argument, what was expected and what was given. Everything is read first, each property and element once; only then
 * are lengths and memory checked, since reading may run the user's code, which may change them. Writes nothing. */

import {
  bufferOf,
  byteOffsetOf,
  describe,
  describeShape,
  fail,
  isFloat32Array,
  isObject,
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

/**
 * The sizes of a tensor of four dimensions.
 * @param {string} argument @param {unknown} given
 * @returns {Reading & { sizes: number[] }}
 */
function readTensor(argument, given) {
  if (!isTensor(given)) fail(TypeError, argument, 'be a tensor { data: Float32Array, shape: [B, C, H, W] }', describe(given));
  const reading = read(argument, given, '[B, C, H, W]');
  const { data } = reading;
  const sizes = /** @type {unknown[]} */ (reading.sizes);
  if (!isFloat32Array(data)) {
    const hint = typeof data === 'function' ? ' (in TensorFlow.js, use dataSync())' : '';
    fail(TypeError, `${argument}.data`, 'be a Float32Array', describe(data) + hint);
  }
  for (const size of sizes)
    if (!(Number.isSafeInteger(size) && /** @type {number} */ (size) >= 0))
      fail(
        typeof size === 'number' ? RangeError : TypeError,
        `${argument}.shape`,
        'be four non-negative integers, [B, C, H, W]',
        describeShape(sizes),
      );
  if (sizes.length !== 4) {
    const [batch, channels, ...rest] = /** @type {number[]} */ (sizes);
    const hint = sizes.length > 1 && sizes.length < 9 ? ` (pass it as ${describeShape([batch, channels, sizeOf(rest), 1])})` : '';
    fail(RangeError, `${argument}.shape`, 'have four dimensions, [B, C, H, W]', describeShape(sizes) + hint);
  }
  // −0 is 0.
  reading.sizes = sizes.map((size) => /** @type {number} */ (size) + 0);
  return /** @type {any} */ (reading);
}

/**
 * @param {string} argument @param {unknown} given a tensor or its bare data, or null
 * @param {number[]} shape X's @param {string} [orNull] what null would mean
 * @returns {Reading | null} an array's numbers as a copy
 */
function readPerChannel(argument, given, shape, orNull = '') {
  if (given === null) return null;
  const reading = read(argument, given, '[1, C, 1, 1] or [C]');
  const { data, sizes } = reading;
  const name = sizes ? `${argument}.data` : argument;
  if (!Array.isArray(data) && !isFloat32Array(data) && typeName(data) !== 'Float64Array')
    fail(
      TypeError,
      name,
      `be ${sizes ? '' : 'a tensor of shape [1, C, 1, 1] or [C], '}a Float32Array, a Float64Array or an array of numbers${sizes ? '' : orNull}`,
      describe(data),
    );
  const channels = shape[1];
  if (sizes && !same(sizes, [channels]) && !same(sizes, [1, channels, 1, 1]))
    fail(RangeError, `${argument}.shape`, `be [1, ${channels}, 1, 1] or [${channels}]`, describeShape(sizes));
  if (!Array.isArray(data)) return reading;
  const begin = checkLength(argument, name, data.length, reading, channels, shape);
  const copy = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const number = data[begin + c];
    if (typeof number !== 'number') fail(TypeError, `${name}[${begin + c}]`, 'be a number', describe(number));
    copy[c] = number;
  }
  return { given, data: copy, sizes, hasShape: false, offset: undefined };
}

/**
 * Where per-channel numbers begin in their data.
 * @param {string} argument @param {string} name of its data @param {number} length @param {Reading} reading
 * @param {number} channels @param {number[]} shape X's
 */
function checkLength(argument, name, length, { offset, sizes }, channels, shape) {
  if (offset !== undefined) return checkOffset(argument, offset, /** @type {number[]} */ (sizes), length);
  if (length !== channels) {
    const channelsLast = length === shape[3] ? ' (is X in channels-last order?)' : '';
    fail(
      RangeError,
      name,
      `hold ${channels} values, one per channel of X ${describeShape(shape)}`,
      String(length) + channelsLast,
    );
  }
  return 0;
}

/**
 * Where a tensor's values begin in data that may hold more.
 * @param {string} argument @param {unknown} offset @param {number[]} sizes @param {number} length of the data
 * @returns {number}
 */
function checkOffset(argument, offset, sizes, length) {
  const begin = /** @type {number} */ (offset);
  if (!(Number.isSafeInteger(begin) && begin >= 0 && begin + sizeOf(sizes) <= length))
    fail(
      typeof offset === 'number' ? RangeError : TypeError,
      `${argument}.offset`,
      `leave room for shape ${describeShape(sizes)} in ${length} values`,
      describe(offset),
    );
  return begin;
}

/** The length of a typed array. A detached one has length 0, and its buffer takes no new view. @param {string} argument @param {unknown} data */
function attachedLength(argument, data) {
  const length = lengthOf(data);
  if (length === 0)
    try {
      new Uint8Array(bufferOf(data));
    } catch {
      fail(TypeError, argument, 'not be detached', 'a detached array');
    }
  return length;
}

/**
 * A fixed view of a tensor's values.
 * @param {string} argument @param {Reading & { sizes: number[] }} reading
 * @returns {Float32Array}
 */
function viewTensor(argument, { data, sizes, offset }) {
  const length = attachedLength(`${argument}.data`, data);
  const size = sizeOf(sizes);
  if (offset !== undefined) return view(data, checkOffset(argument, offset, sizes, length), size);
  if (length !== size)
    fail(
      RangeError,
      `${argument}.data`,
      `hold ${size} values, the product of ${argument}.shape ${describeShape(sizes)}`,
      String(length),
    );
  return view(data, 0, size);
}

/**
 * The numbers of an argument as the job takes them: the very array that was given, if it holds nothing else.
 * @param {string} argument @param {Reading | null} reading @param {number[]} shape X's
 * @returns {Float32Array | Float64Array | null}
 */
function viewPerChannel(argument, reading, shape) {
  if (reading === null) return null;
  const { data, sizes, offset } = reading;
  const name = sizes ? `${argument}.data` : argument;
  const length = attachedLength(name, data);
  const begin = checkLength(argument, name, length, reading, shape[1], shape);
  return offset === undefined || (begin === 0 && length === shape[1]) ? data : view(data, begin, shape[1]);
}

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
  const isNumber = typeof value === 'number';
  if (!(isNumber && value >= 0 && value <= most))
    fail(isNumber ? RangeError : TypeError, argument, expected, describe(value) + hint);
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
    if (key !== 'out') fail(TypeError, 'options', 'be { out } or empty', `the unknown option ${describe(key)}`);

  // What follows may run the user's code: getters, and traps of proxies.
  const target = Object.hasOwn(options, 'out') ? options.out : undefined;
  const readX = readTensor('X', X);
  const shape = readX.sizes;
  const readGamma = readPerChannel('gamma', gamma, shape, ', or null for 1');
  const readBeta = readPerChannel('beta', beta, shape, ', or null for 0');
  const readMean = readPerChannel('runningMean', runningMean, shape);
  const readVar = readPerChannel('runningVar', runningVar, shape);
  const bareOut = isFloat32Array(target);
  if (target !== undefined && !bareOut && !isTensor(target))
    fail(TypeError, 'out', `be a Float32Array of ${sizeOf(shape)}, X's length, or a tensor of X's shape`, describe(target));
  const readOut = target === undefined || bareOut ? null : readTensor('out', target);
  // Nothing of the user's runs from here on.

  const x = viewTensor('X', readX);
  const ownGamma = viewPerChannel('gamma', readGamma, shape);
  const ownBeta = viewPerChannel('beta', readBeta, shape);
  const ownMean = viewPerChannel('runningMean', readMean, shape);
  const ownVar = viewPerChannel('runningVar', readVar, shape);
  if ((ownMean === null) !== (ownVar === null))
    fail(TypeError, ownMean === null ? 'runningMean' : 'runningVar', 'be given if the other is', 'null');
  if (!training) {
    if (ownVar === null) fail(TypeError, 'runningMean and runningVar', 'be given in inference', 'null');
    checkVariance(ownVar, shape[1], epsilon);
  } else if (shape[1] > 0 && x.length === 0)
    fail(RangeError, 'X.shape', 'give each channel a value in training', describeShape(shape));

  let out = null;
  if (target !== undefined) {
    if (readOut !== null) {
      if (!same(readOut.sizes, shape))
        fail(RangeError, 'out.shape', `equal X.shape, ${describeShape(shape)}`, describeShape(readOut.sizes));
      out = viewTensor('out', readOut);
    } else {
      const length = attachedLength('out', target);
      if (length !== x.length)
        fail(RangeError, 'out', `hold ${x.length} values, as X ${describeShape(shape)} does`, String(length));
      out = view(/** @type {Float32Array} */ (target), 0, length);
    }
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
