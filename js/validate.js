/* Arguments → one plain description of the job, or a TypeError (wrong kind) or RangeError (wrong size or value) that says
 * which argument, what was expected and what came. Writes nothing. */

/**
 * @typedef {object} Job
 * @property {Float32Array} x
 * @property {Float32Array | null} out null: to be allocated
 * @property {any} target what was given as `out`: its array or its tensor
 * @property {number[]} shape X's, a copy
 * @property {number} batch
 * @property {number} channels
 * @property {number} spatial H·W
 * @property {ArrayLike<number> | null} gamma null: 1
 * @property {ArrayLike<number> | null} beta null: 0
 * @property {ArrayLike<number> | null} runningMean null: 0, in training alone
 * @property {ArrayLike<number> | null} runningVar null: 1, in training alone
 * @property {number} momentum
 * @property {number} epsilon
 * @property {boolean} training
 */

const typedArrayName = /** @type {() => string | undefined} */ (
  /** @type {any} */ (Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)).get
);

/** The name of a typed array's type, of whatever realm it comes from; undefined for anything else. @param {unknown} value */
const typeName = (value) => (ArrayBuffer.isView(value) ? typedArrayName.call(value) : undefined);

/** @param {unknown} value @returns {value is Float32Array} */
export const isFloat32Array = (value) => typeName(value) === 'Float32Array';

/**
 * The same memory under the plain type: a subclass may mean something else by `set`.
 * @template {Float32Array | Float64Array} Data
 * @param {Data} data
 * @returns {Data}
 */
function plain(data) {
  const Type = isFloat32Array(data) ? Float32Array : Float64Array;
  return Object.getPrototypeOf(data) === Type.prototype
    ? data
    : /** @type {any} */ (new Type(/** @type {ArrayBuffer} */ (data.buffer), data.byteOffset, data.length));
}

/** An object that is no array. @param {unknown} value @returns {value is Record<string, unknown>} */
const isObject = (value) => typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);

/** What came, in a few words. @param {unknown} value @returns {string} */
function describe(value) {
  const type = typeName(value);
  if (type !== undefined) return `${/^I/.test(type) ? 'an' : 'a'} ${type} of ${/** @type {Uint8Array} */ (value).length}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (isObject(value)) return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return /bigint|function|symbol/.test(typeof value) ? `a ${typeof value}` : String(value);
}

/** @param {unknown} shape */
const describeShape = (shape) =>
  Array.isArray(shape) ? `[${shape.slice(0, 8).map(describe).join(', ')}${shape.length > 8 ? ', …' : ''}]` : describe(shape);

/**
 * @param {new (message: string) => Error} Kind @param {string} argument @param {string} expected @param {string} came
 * @returns {never}
 */
function fail(Kind, argument, expected, came) {
  throw new Kind(`batchNormalization: ${argument} must ${expected}; got ${came}`);
}

/** A detached array has length 0, and its buffer takes no new view. @param {string} argument @param {Float32Array} data */
function refuseDetached(argument, data) {
  if (data.length > 0) return;
  try {
    new Uint8Array(data.buffer);
  } catch {
    fail(TypeError, argument, 'not be detached', 'an array whose buffer was transferred');
  }
}

/**
 * The shape of a tensor, which may also be called dims, as onnxruntime does.
 * @param {string} argument @param {unknown} shape @param {unknown} dims @param {string} expected
 * @returns {unknown[]}
 */
function checkShape(argument, shape, dims, expected) {
  const sizes = shape ?? dims;
  if (!Array.isArray(sizes)) fail(TypeError, `${argument}.shape`, `be an array, ${expected}`, describe(sizes));
  if ((dims ?? sizes) !== sizes && !(Array.isArray(dims) && same(dims, sizes)))
    fail(RangeError, `${argument}.dims`, `be as ${argument}.shape, ${describeShape(sizes)}`, describeShape(dims));
  return sizes;
}

/** @param {unknown[]} a @param {unknown[]} b */
const same = (a, b) => a.length === b.length && a.every((size, k) => size === b[k]);

/**
 * An ndarray's own part of its data; the data of any other tensor.
 * @template {Float32Array | Float64Array | unknown[]} Data
 * @param {string} argument @param {Data} data @param {number[]} shape
 * @param {unknown} stride undefined or null: no ndarray @param {unknown} offset
 * @returns {Data}
 */
function checkStride(argument, data, shape, stride, offset) {
  if ((stride ?? null) === null) return data;
  const steps = shape.map((_, k) => shape.slice(k + 1).reduce((product, size) => product * size, 1));
  if (!(Array.isArray(stride) && steps.every((step, k) => shape[k] < 2 || stride[k] === step)))
    fail(
      RangeError,
      `${argument}.stride`,
      `be ${describeShape(steps)}, row by row (copy by ops.assign of ndarray-ops)`,
      describeShape(stride),
    );
  const begin = /** @type {number} */ (offset);
  const end = begin + steps[0] * shape[0];
  if (!(Number.isSafeInteger(begin) && begin >= 0 && end <= data.length))
    fail(
      RangeError,
      `${argument}.offset`,
      `leave room for shape ${describeShape(shape)} in ${data.length} values`,
      describe(offset),
    );
  return /** @type {any} */ (Array.isArray(data) ? data.slice(begin, end) : data.subarray(begin, end));
}

/**
 * @param {string} argument @param {unknown} tensor
 * @returns {{ data: Float32Array, shape: number[] }} the shape a copy
 */
function checkTensor(argument, tensor) {
  if (!isObject(tensor)) fail(TypeError, argument, 'be a tensor { data: Float32Array, shape: [B, C, H, W] }', describe(tensor));
  const { data, shape: given, dims, stride, offset } = tensor;
  if (!isFloat32Array(data)) fail(TypeError, `${argument}.data`, 'be a Float32Array', describe(data));
  const shape = checkShape(argument, given, dims, '[B, C, H, W]');
  if (shape.length !== 4) fail(RangeError, `${argument}.shape`, 'have four dimensions, [B, C, H, W]', describeShape(shape));
  for (let k = 0; k < 4; k++)
    if (!(Number.isSafeInteger(shape[k]) && /** @type {number} */ (shape[k]) >= 0))
      fail(
        typeof shape[k] === 'number' ? RangeError : TypeError,
        `${argument}.shape`,
        'be four non-negative integers, [B, C, H, W]',
        describeShape(shape),
      );
  refuseDetached(`${argument}.data`, data);
  const [batch, channels, height, width] = /** @type {number[]} */ (shape);
  const own = [batch + 0, channels + 0, height + 0, width + 0];
  const values = checkStride(argument, plain(data), own, stride, offset);
  const size = batch * channels * height * width;
  if (values.length !== size)
    fail(
      RangeError,
      `${argument}.data`,
      `hold ${size} values, the product of ${argument}.shape ${describeShape(shape)}`,
      String(values.length),
    );
  return { data: values, shape: own };
}

/**
 * @param {string} argument @param {unknown} value a tensor or its bare data
 * @param {number[]} shape X's @param {string} [orNull] what null would mean
 * @returns {Float32Array | Float64Array | null} an array's numbers as a copy
 */
function checkPerChannel(argument, value, shape, orNull = '') {
  if (value === null) return null;
  const channels = shape[1];
  const bare = !isObject(value);
  const { data, shape: given, dims, stride, offset } = bare ? { data: value } : /** @type {any} */ (value);
  const name = bare ? argument : `${argument}.data`;
  if (!Array.isArray(data) && !isFloat32Array(data) && typeName(data) !== 'Float64Array')
    fail(
      TypeError,
      name,
      `be ${bare ? 'a tensor of shape [1, C, 1, 1] or [C], ' : ''}a Float32Array, a Float64Array or an array of numbers${bare ? orNull : ''}`,
      describe(data),
    );
  let numbers = Array.isArray(data) ? data : plain(/** @type {Float32Array | Float64Array} */ (data));
  if (!bare) {
    const sizes = checkShape(argument, given, dims, '[1, C, 1, 1] or [C]');
    if (!same(sizes, [channels]) && !same(sizes, [1, channels, 1, 1]))
      fail(RangeError, `${argument}.shape`, `be [1, ${channels}, 1, 1] or [${channels}]`, describeShape(sizes));
    numbers = checkStride(argument, numbers, /** @type {number[]} */ (sizes), stride, offset);
  }
  if (numbers.length !== channels) {
    if (!Array.isArray(numbers)) refuseDetached(name, /** @type {Float32Array} */ (numbers));
    fail(RangeError, name, `hold ${channels} values, one a channel of X ${describeShape(shape)}`, String(numbers.length));
  }
  if (!Array.isArray(numbers)) return numbers;
  const copy = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const number = numbers[c];
    if (typeof number !== 'number') fail(TypeError, `${name}[${c}]`, 'be a number', describe(number));
    copy[c] = number;
  }
  return copy;
}

/** @param {string} argument @param {unknown} value @param {number} most @param {string} expected @returns {asserts value is number} */
function checkNumber(argument, value, most, expected) {
  const isNumber = typeof value === 'number';
  if (!(isNumber && value >= 0 && value <= most)) fail(isNumber ? RangeError : TypeError, argument, expected, describe(value));
}

/** @param {ArrayLike<number>} runningVar */
function refuseNegative(runningVar) {
  for (let c = 0; c < runningVar.length; c++)
    if (runningVar[c] < 0) fail(RangeError, 'runningVar', 'hold no negative variance', `${runningVar[c]} for channel ${c}`);
}

/**
 * @param {unknown} out @param {Float32Array} x @param {number[]} shape X's
 * @returns {Float32Array} its data
 */
function checkOut(out, x, shape) {
  let data = out;
  if (!isFloat32Array(out)) {
    if (!isObject(out))
      fail(TypeError, 'out', `be a Float32Array of ${x.length}, X's length, or a tensor of X's shape`, describe(out));
    const tensor = checkTensor('out', out);
    data = tensor.data;
    if (!same(tensor.shape, shape)) fail(RangeError, 'out.shape', `be X's, ${describeShape(shape)}`, describeShape(tensor.shape));
  }
  const values = plain(/** @type {Float32Array} */ (data));
  refuseDetached('out', values);
  if (values.length !== x.length)
    fail(RangeError, 'out', `hold ${x.length} values, as X ${describeShape(shape)} does`, String(values.length));
  if (values.byteOffset !== x.byteOffset) refuseOverlap(values, "X, or X's own data", x);
  return values;
}

/** @param {Float32Array} out @param {string} argument @param {Float32Array | Float64Array | null} data */
function refuseOverlap(out, argument, data) {
  if (
    data !== null &&
    out.buffer === data.buffer &&
    out.byteOffset < data.byteOffset + data.byteLength &&
    data.byteOffset < out.byteOffset + out.byteLength
  )
    fail(RangeError, 'out', `be memory apart from ${argument}`, 'memory that overlaps it');
}

/**
 * @param {unknown} X @param {unknown} gamma @param {unknown} beta @param {unknown} runningMean @param {unknown} runningVar
 * @param {unknown} momentum @param {unknown} epsilon @param {unknown} training @param {unknown} options
 * @returns {Job}
 */
export function validate(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options) {
  if (!isObject(options)) fail(TypeError, 'options', 'be an object, { out } or empty', describe(options));
  for (const key of Object.keys(options))
    if (key !== 'out') fail(TypeError, 'options', 'be { out } or empty', `the unknown option ${describe(key)}`);
  const { out: target } = options;
  const { data: x, shape } = checkTensor('X', X);
  checkNumber('momentum', momentum, 1, 'be a number in [0, 1]');
  checkNumber('epsilon', epsilon, Number.MAX_VALUE, 'be a finite number, 0 or more');
  if (typeof training !== 'boolean') fail(TypeError, 'training', 'be true or false', describe(training));

  const ownGamma = checkPerChannel('gamma', gamma, shape, ', or null for 1');
  const ownBeta = checkPerChannel('beta', beta, shape, ', or null for 0');
  const ownMean = checkPerChannel('runningMean', runningMean, shape);
  const ownVar = checkPerChannel('runningVar', runningVar, shape);
  if ((ownMean === null) !== (ownVar === null))
    fail(TypeError, ownMean === null ? 'runningMean' : 'runningVar', 'be given where the other of the two is', 'null');
  if (!training && ownMean === null)
    fail(TypeError, 'runningMean and runningVar', 'be given in inference (training false)', 'null');
  if (ownVar !== null) refuseNegative(ownVar);

  const spatial = shape[2] * shape[3];
  if (training && shape[1] > 0 && x.length === 0)
    fail(RangeError, 'X.shape', 'leave a channel at least one value in training', describeShape(shape));
  const out = target === undefined ? null : checkOut(target, x, shape);
  if (out !== null) {
    refuseOverlap(out, 'gamma', ownGamma);
    refuseOverlap(out, 'beta', ownBeta);
    refuseOverlap(out, 'runningMean', ownMean);
    refuseOverlap(out, 'runningVar', ownVar);
  }
  return {
    x,
    out,
    target,
    shape,
    batch: shape[0],
    channels: shape[1],
    spatial,
    gamma: ownGamma,
    beta: ownBeta,
    runningMean: ownMean,
    runningVar: ownVar,
    momentum,
    epsilon,
    training,
  };
}
