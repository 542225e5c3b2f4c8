/* Whatever a tensor comes as → its data, its sizes and where its values begin, each property and element read once. A tensor
 * of another library may say in many ways how its values lie: only row-major order without gaps is taken. */

/** @param {string | symbol} name */
const getter = (name) =>
  /** @type {any} */ (Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name)).get;

/* The getters of the language itself: a property of the same name on the array would run the user's code. */
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
 * Part of an array's memory as a plain array of fixed length: without methods of a subclass, and as long as it is now even if
 * its buffer grows.
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

/** An object that is no array. @param {unknown} value @returns {value is Record<string, unknown>} */
export const isObject = (value) =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);

/** Something that may have a tensor's properties: nd4js makes its arrays of functions. @param {unknown} value @returns {value is Record<string, unknown>} */
export const isTensor = (value) => isObject(value) || typeof value === 'function';

/** What was given, in a few words. @param {unknown} value @returns {string} */
export function describe(value) {
  const type = typeName(value);
  if (type !== undefined) return `${type} of ${lengthOf(value)}`;
  if (Array.isArray(value)) return `array of ${value.length}`;
  if (isObject(value)) return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return /bigint|function|symbol/.test(typeof value) ? `a ${typeof value}` : String(value);
}

/** @param {unknown} shape */
export const describeShape = (shape) => (Array.isArray(shape) ? `[${shape.map(describe).join(', ')}]` : describe(shape));

/**
 * @param {new (message: string) => Error} ErrorType @param {string} argument after the function's name and a colon @param {string} expected @param {string} actual
 * @returns {never}
 */
export function fail(ErrorType, argument, expected, actual) {
  throw new ErrorType(`${argument} must ${expected}; got ${actual}`);
}

/** What is wrong with something that should be a number: its value, or its kind. @param {unknown} value */
export const errorOf = (value) => (typeof value === 'number' ? RangeError : TypeError);

/** The numbers of a list: an array, or an integer typed array; anything else as it is. @param {unknown} value @returns {unknown} */
export function listOf(value) {
  const isArray = Array.isArray(value);
  if (!isArray && !/^U?[Ii]nt/.test(/** @type {string} */ (typeName(value)))) return value;
  const given = /** @type {ArrayLike<unknown>} */ (value);
  const length = isArray ? given.length : lengthOf(given);
  const list = [];
  // More than any shape has are not worth reading.
  for (let k = 0; k < length && k < 9; k++) list.push(given[k]);
  return list;
}

/** @param {unknown} size @returns {size is number} */
export const isSize = (size) => Number.isSafeInteger(size) && /** @type {number} */ (size) >= 0;

/** @param {unknown[]} a @param {unknown} b */
export const same = (a, b) => Array.isArray(b) && a.length === b.length && a.every((size, k) => size === b[k]);

/** @param {unknown[]} sizes */
export const sizeOf = (sizes) => /** @type {number[]} */ (sizes).reduce((product, size) => product * size, 1);

/**
 * @typedef {object} Reading
 * @property {any} given the tensor, or its bare data
 * @property {any} data not checked
 * @property {unknown[] | null} sizes null: bare data
 * @property {boolean} [hasShape] its own `shape` is an array, as this package returns them
 * @property {unknown} [offset] undefined: the data hold nothing else. A view of numpy-ts has its base's data and does not say where
 *   in them it begins, so an offset is never assumed
 */

/**
 * @param {string} argument @param {any} given a tensor, or bare data
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
      fail(RangeError, `${argument}.dims`, `equal its shape, ${describeShape(sizes)}`, describeShape(others));
  }
  // No data, no order: the caller says what is wrong with them, such as TensorFlow.js' method of that name.
  if (!ArrayBuffer.isView(data) && !Array.isArray(data)) return { given, data, sizes };
  // Most say nothing of their order.
  if ((stride ?? strides ?? isContiguous ?? fortranOrder ?? fortran ?? order ?? null) !== null) {
    const ask = (/** @type {unknown} */ stated) => (typeof stated === 'function' ? stated.call(given) : stated);
    const steps = { stride: ask(stride), strides: ask(strides) };
    const ordered = ask(isContiguous) ?? true;
    const named = ask(order);
    const swapped = ask(fortranOrder) || ask(fortran) || (typeof named === 'string' && /^(f|col)/i.test(named));
    // Without values every order will do; sizes that are none are the caller's to reject.
    if (sizes.every((size) => Number.isSafeInteger(size) && size > 0)) {
      for (const [name, stated] of Object.entries(steps)) checkSteps(argument, name, stated, sizes);
      if ((swapped || !ordered) && sizes.filter((size) => size > 1).length > 1)
        fail(RangeError, argument, `be ${CONTIGUOUS}`, 'another order');
    }
  }
  return { given, data, sizes, hasShape: Array.isArray(shape), offset: offset ?? undefined };
}

const CONTIGUOUS = 'contiguous in row-major order (copy it first)';

/**
 * Checks the steps from value to value along each dimension, if a tensor states them.
 * @param {string} argument @param {string} name @param {unknown} stated @param {number[]} sizes
 */
function checkSteps(argument, name, stated, sizes) {
  const list = listOf(stated);
  if (list === undefined || list === null) return;
  const steps = sizes.map((_, k) => sizeOf(sizes.slice(k + 1)));
  if (!(Array.isArray(list) && list.length === sizes.length && steps.every((step, k) => sizes[k] < 2 || list[k] === step)))
    fail(RangeError, `${argument}.${name}`, `be ${describeShape(steps)}, ${CONTIGUOUS}`, describeShape(list));
}

/** What numbers may come in. */
export const NUMBERS = 'be a Float32Array, a Float64Array or an array of numbers';

/** @param {unknown} data @returns {boolean} */
export const holdsNumbers = (data) => Array.isArray(data) || isFloat32Array(data) || typeName(data) === 'Float64Array';

/**
 * A copy in double.
 * @param {string} argument @param {any} data @param {number} begin @param {number} size
 */
export function copyOf(argument, data, begin, size) {
  const copy = new Float64Array(size);
  for (let k = 0; k < size; k++) {
    const number = data[begin + k];
    if (typeof number !== 'number') fail(TypeError, `${argument}[${begin + k}]`, 'be a number', describe(number));
    copy[k] = number;
  }
  return copy;
}

/**
 * The numbers of an array, as a copy in double.
 * @param {string} argument @param {any} data
 * @param {number} [channels] how many there must be
 * @param {any} [offset] where they begin; undefined: the array holds nothing else
 * @returns {Float64Array}
 */
export function numbersOf(argument, data, channels, offset) {
  if (!holdsNumbers(data)) fail(TypeError, argument, NUMBERS, describe(data));
  const length = Array.isArray(data) ? data.length : lengthOf(data);
  const begin = offset ?? 0;
  const size = channels ?? length;
  if (offset === undefined ? length !== size : !(isSize(begin) && begin + size <= length))
    fail(
      errorOf(begin),
      argument,
      `hold ${size} numbers${offset === undefined ? ', one per channel' : ' from its offset on'}`,
      `${length}${offset === undefined ? '' : `, offset ${describe(offset)}`}`,
    );
  return copyOf(argument, data, begin, size);
}
