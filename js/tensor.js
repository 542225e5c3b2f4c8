/* Reads tensors of this and other libraries: their data, their sizes and where their values begin. Each property and element is
 * read once. Libraries state the order of values in many ways; only row-major order without gaps is accepted. */

/** @param {string | symbol} name */
const getter = (name) =>
  /** @type {any} */ (Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name)).get;

/* The built-in getters, since a property of the same name on the array could run the user's code. */
const tagOf = getter(Symbol.toStringTag);
const getBuffer = getter('buffer');
const getByteOffset = getter('byteOffset');
const getLength = getter('length');

/** The name of a typed array's type, from any realm; undefined for anything else. @param {unknown} value @returns {string | undefined} */
export const typeName = (value) => (ArrayBuffer.isView(value) ? tagOf.call(value) : undefined);

/** @param {unknown} value @returns {value is Float32Array} */
export const isFloat32Array = (value) => typeName(value) === 'Float32Array';

/** @param {unknown} data a typed array @returns {number} */
export const lengthOf = (data) => getLength.call(data);

/** @param {unknown} data a typed array @returns {ArrayBuffer} */
export const bufferOf = (data) => getBuffer.call(data);

/** @param {unknown} data a typed array @returns {number} */
export const byteOffsetOf = (data) => getByteOffset.call(data);

/**
 * Part of an array's memory, as a plain typed array: without the methods of a subclass, and with a fixed length even if the
 * buffer grows.
 * @template {Float32Array | Float64Array} Data
 * @param {Data} data @param {number} begin @param {number} length in elements
 * @returns {Data}
 */
export function view(data, begin, length) {
  const buffer = bufferOf(data);
  const offset = byteOffsetOf(data);
  return /** @type {any} */ (
    isFloat32Array(data)
      ? new Float32Array(buffer, offset + 4 * begin, length)
      : new Float64Array(buffer, offset + 8 * begin, length)
  );
}

/** Whether this is an object, but not an array. @param {unknown} value @returns {value is Record<string, unknown>} */
export const isObject = (value) =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);

/** Whether this may be a tensor. The arrays of nd4js are functions. @param {unknown} value @returns {value is Record<string, unknown>} */
export const isTensor = (value) => isObject(value) || typeof value === 'function';

/** A value in a few words, for an error message. @param {unknown} value @returns {string} */
export function describe(value) {
  const type = typeName(value);
  if (type) return `${/^I/.test(type) ? 'an' : 'a'} ${type} of length ${lengthOf(value)}`;
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  if (isObject(value)) return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return 'bigint function symbol'.includes(typeof value) ? `a ${typeof value}` : String(value);
}

/** @param {unknown} shape */
export const describeShape = (shape) => (Array.isArray(shape) ? `[${shape.map(describe).join(', ')}]` : describe(shape));

/**
 * @param {new (message: string) => Error} ErrorType @param {string} argument its name, after the function's name and a colon
 *   @param {string} expected @param {string} actual
 * @returns {never}
 */
export function fail(ErrorType, argument, expected, actual) {
  throw new ErrorType(`${argument} must ${expected}; got ${actual}`);
}

/**
 * Rejects something that should be another number: with a RangeError if it is a number, otherwise with a TypeError.
 * @param {string} argument @param {unknown} value @param {string} expected @param {string} [hint]
 * @returns {never}
 */
export function rejectNumber(argument, value, expected, hint = '') {
  fail(typeof value === 'number' ? RangeError : TypeError, argument, expected, describe(value) + hint);
}

/** A copy of an array or an integer typed array; anything else is returned as it is. @param {unknown} value @returns {unknown} */
export function listOf(value) {
  const isArray = Array.isArray(value);
  if (!isArray && !/^U?[Ii]nt/.test(/** @type {string} */ (typeName(value)))) return value;
  const given = /** @type {ArrayLike<unknown>} */ (value);
  const length = isArray ? given.length : lengthOf(given);
  const list = [];
  // A shape has at most 8 sizes. One more is enough to reject it.
  for (let k = 0; k < length && k < 9; k++) list.push(given[k]);
  return list;
}

/** @param {unknown} size @returns {size is number} */
export const isSize = (size) => Number.isSafeInteger(size) && /** @type {number} */ (size) >= 0;

/** @param {unknown[]} a @param {unknown} b */
export const same = (a, b) => Array.isArray(b) && a.length === b.length && a.every((size, k) => size === b[k]);

/**
 * A copy of the sizes of a new tensor.
 * @param {string} argument @param {unknown} shape
 * @returns {number[]}
 */
export function shapeOf(argument, shape) {
  const sizes = listOf(shape);
  const isList = Array.isArray(sizes);
  if (!(isList && sizes.length < 9 && sizes.every(isSize))) {
    const expected = 'be an array of up to 8 non-negative integers';
    fail(isList ? RangeError : TypeError, argument, expected, describeShape(sizes));
  }
  // Adding 0 turns −0 into 0.
  return sizes.map((size) => size + 0);
}

/** @param {unknown[]} sizes */
export const sizeOf = (sizes) => /** @type {number[]} */ (sizes).reduce((product, size) => product * size, 1);

/**
 * @typedef {object} Reading
 * @property {any} given the tensor, or data without a shape
 * @property {any} data not checked
 * @property {unknown[] | null} sizes null: data without a shape
 * @property {boolean} [hasShape] its `shape` is an array, as in the tensors that this package returns
 * @property {unknown} [offset] undefined: the data must hold exactly the tensor's values. An offset of 0 is not assumed, because
 *   a view in numpy-ts has the data of its base and does not state where it begins
 */

/**
 * @param {string} argument @param {any} given a tensor, or data without a shape
 * @param {string} expected what its shape must be, for an error
 * @returns {Reading}
 */
export function read(argument, given, expected) {
  if (!isTensor(given)) return { given, data: given, sizes: null };
  const {
    data,
    shape,
    dims,
    stride,
    strides,
    offset,
    order,
    fortranOrder,
    fortran_order: fortran,
    isContiguous,
  } = /** @type {any} */ (given);
  const sizes = listOf(shape ?? dims);
  if (!Array.isArray(sizes)) {
    const options = data === undefined && Object.hasOwn(given, 'out') ? ' (options are the ninth argument)' : '';
    fail(TypeError, `${argument}.shape`, expected, describe(sizes) + options);
  }
  if ((shape ?? null) !== null && (dims ?? shape) !== shape) {
    const others = listOf(dims);
    if (!same(sizes, others))
      fail(RangeError, `${argument}.dims`, `equal the shape, ${describeShape(sizes)}`, describeShape(others));
  }
  // The caller rejects such data. One example is `data` in TensorFlow.js, which is a method.
  if (!ArrayBuffer.isView(data) && !Array.isArray(data)) return { given, data, sizes };
  // Most tensors do not state their order.
  if ((stride ?? strides ?? isContiguous ?? fortranOrder ?? fortran ?? order ?? null) !== null) {
    const ask = (/** @type {unknown} */ stated) => (typeof stated === 'function' ? stated.call(given) : stated);
    const steps = { stride: ask(stride), strides: ask(strides) };
    const ordered = ask(isContiguous) ?? true;
    const named = ask(order);
    const swapped =
      ask(fortranOrder) || ask(fortran) || (typeof named === 'string' && (/^f/i.test(named) || /^col/i.test(named)));
    // In an empty tensor any order is fine. The caller rejects invalid sizes.
    if (sizes.every((size) => Number.isSafeInteger(size) && size > 0)) {
      for (const [name, stated] of Object.entries(steps)) checkSteps(argument, name, stated, sizes);
      if ((swapped || !ordered) && sizes.filter((size) => size > 1).length > 1) failOrder(argument, '', 'another order');
    }
  }
  return { given, data, sizes, hasShape: Array.isArray(shape), offset: offset ?? undefined };
}

/** @param {string} argument @param {string} steps @param {string} actual @returns {never} */
const failOrder = (argument, steps, actual) =>
  fail(RangeError, argument, `be contiguous in row-major order${steps} (copy it first)`, actual);

/**
 * Checks a tensor's strides, the steps from value to value along each dimension, if it states them.
 * @param {string} argument @param {string} name @param {unknown} stated @param {number[]} sizes
 */
function checkSteps(argument, name, stated, sizes) {
  const list = listOf(stated);
  if (list === undefined || list === null) return;
  const steps = sizes.map((_, k) => sizeOf(sizes.slice(k + 1)));
  if (!(Array.isArray(list) && list.length === sizes.length && steps.every((step, k) => sizes[k] < 2 || list[k] === step)))
    failOrder(argument, `, with ${name} ${describeShape(steps)}`, `${name} ${describeShape(list)}`);
}

/** The arrays that may hold numbers, for an error message. */
export const NUMBERS = 'be a Float32Array, Float64Array or array of numbers';

/** @param {unknown} data @returns {boolean} */
export const holdsNumbers = (data) => Array.isArray(data) || isFloat32Array(data) || typeName(data) === 'Float64Array';

/**
 * A copy of some numbers in double.
 * @param {string} argument @param {any} data @param {number} begin @param {number} size
 */
export function copyOf(argument, data, begin, size) {
  const copy = new Float64Array(size);
  for (let k = 0; k < size; k++) {
    const number = data[begin + k];
    if (typeof number !== 'number') rejectNumber(`${argument}[${begin + k}]`, number, 'be a number');
    copy[k] = number;
  }
  return copy;
}

/** The name of an argument's data in error messages. @param {string} argument @param {Reading} reading */
export const nameOf = (argument, { given, data }) => (given === data ? argument : `${argument}.data`);

/**
 * The index of an argument's first value in its data.
 * @param {string} argument @param {Reading} reading @param {number} length of the data
 * @param {number} size how many values there should be
 * @param {boolean} perChannel whether they are one per channel @param {number[]} [shape] X's; required unless perChannel
 * @returns {number}
 */
export function beginOf(argument, reading, length, size, perChannel, shape) {
  const { offset } = reading;
  const begin = /** @type {number} */ (offset ?? 0);
  if (!isSize(begin)) rejectNumber(`${argument}.offset`, begin, 'be a non-negative integer');
  const least = begin + size;
  if (offset === undefined ? length !== size : length < least) {
    const ofX = shape ? ` of X ${describeShape(shape)}` : '';
    const what = perChannel ? `, one per channel${ofX}` : ` for shape ${describeShape(shape)}`;
    const hint = perChannel && length === shape?.[shape.length - 1] ? ' (are the channels last? then pass axis: -1)' : '';
    fail(
      RangeError,
      nameOf(argument, reading),
      offset === undefined ? `hold ${size} values${what}` : `hold at least ${least} values with offset ${begin}`,
      length + hint,
    );
  }
  return begin;
}

/**
 * The numbers of an array, as a copy in double.
 * @param {string} argument @param {any} data
 * @param {number} [channels] how many there must be
 * @param {Reading} [reading] of the tensor that holds them
 * @returns {Float64Array}
 */
export function numbersOf(argument, data, channels, reading = { given: data, data, sizes: null }) {
  const name = nameOf(argument, reading);
  if (!holdsNumbers(data)) fail(TypeError, name, NUMBERS, describe(data));
  const length = Array.isArray(data) ? data.length : lengthOf(data);
  const size = channels ?? length;
  return copyOf(name, data, beginOf(argument, reading, length, size, true), size);
}
