/* Every bad argument gets a TypeError or RangeError that names it, what was expected and what was given; nothing is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { batchNormalization } from '../js/index.js';
import { normalTensor } from './data.js';

const X = normalTensor([2, 3, 2, 2]);
const three = [1, 2, 3];

function detached(length) {
  const array = new Float32Array(length);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** A valid call's arguments with some replaced, by name. */
function call(replaced) {
  const given = {
    X,
    gamma: three,
    beta: three,
    runningMean: three,
    runningVar: three,
    momentum: 0.1,
    epsilon: 1e-5,
    training: true,
    ...replaced,
  };
  const { gamma, beta, runningMean, runningVar, momentum, epsilon, training, options } = given;
  return () => batchNormalization(given.X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
}

/** Name of the case, what is replaced, the error's type, its message after `batchNormalization: `. */
const CASES = [
  ['X missing', { X: undefined }, TypeError, 'X must be a tensor { data: Float32Array, shape: [B, C, H, W] }; got undefined'],
  ['X null', { X: null }, TypeError, 'X must be a tensor { data: Float32Array, shape: [B, C, H, W] }; got null'],
  ['X a number', { X: 5 }, TypeError, 'X must be a tensor { data: Float32Array, shape: [B, C, H, W] }; got 5'],
  [
    'X bare data',
    { X: X.data },
    TypeError,
    'X must be a tensor { data: Float32Array, shape: [B, C, H, W] }; got Float32Array of 24',
  ],
  ['X an array', { X: [[1, 2]] }, TypeError, 'X must be a tensor { data: Float32Array, shape: [B, C, H, W] }; got array of 1'],
  ['X without data', { X: { dims: [1] } }, TypeError, 'X.data must be a Float32Array; got undefined'],
  [
    'X of doubles',
    { X: { data: new Float64Array(24), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got Float64Array of 24',
  ],
  [
    'X of integers',
    { X: { data: new Int32Array(24), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got Int32Array of 24',
  ],
  ['X of an array', { X: { data: [1, 2], shape: X.shape } }, TypeError, 'X.data must be a Float32Array; got array of 2'],
  [
    'X a pretender',
    { X: { data: Object.create(Float32Array.prototype), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got an object',
  ],
  ['no shape', { X: { data: X.data } }, TypeError, 'X.shape must be four non-negative integers, [B, C, H, W]; got undefined'],
  [
    'shape a string',
    { X: { data: X.data, shape: '2,3,2,2' } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got "2,3,2,2"',
  ],
  [
    'three dimensions',
    { X: { data: X.data, shape: [2, 3, 4] } },
    RangeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [2, 3, 4] (pass it as [2, 3, 4, 1])',
  ],
  [
    'a fraction',
    { X: { data: X.data, shape: [2, 3, 1, 4.5] } },
    RangeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [2, 3, 1, 4.5]',
  ],
  [
    'a negative size',
    { X: { data: X.data, shape: [-2, -3, 2, 2] } },
    RangeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [-2, -3, 2, 2]',
  ],
  [
    'NaN as a size',
    { X: { data: X.data, shape: [NaN, 3, 2, 2] } },
    RangeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [NaN, 3, 2, 2]',
  ],
  [
    'a size that is text',
    { X: { data: X.data, shape: ['2', 3, 2, 2] } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got ["2", 3, 2, 2]',
  ],
  [
    'too little data',
    { X: { data: new Float32Array(23), shape: X.shape } },
    RangeError,
    'X.data must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  ['X detached', { X: { data: detached(24), shape: X.shape } }, TypeError, 'X.data must not be detached; got a detached array'],
  [
    'X detached and empty',
    { X: { data: detached(24), shape: [0, 3, 2, 2] } },
    TypeError,
    'X.data must not be detached; got a detached array',
  ],
  [
    'no values a channel',
    { X: { data: new Float32Array(0), shape: [0, 3, 2, 2] } },
    RangeError,
    'X.shape must give each channel a value in training; got [0, 3, 2, 2]',
  ],

  [
    'dims unlike shape',
    { X: { data: X.data, shape: X.shape, dims: [2, 3, 4, 1] } },
    RangeError,
    'X.dims must equal X.shape, [2, 3, 2, 2]; got [2, 3, 4, 1]',
  ],
  [
    'dims no array beside a shape',
    { X: { data: X.data, shape: X.shape, dims: 4 } },
    RangeError,
    'X.dims must equal X.shape, [2, 3, 2, 2]; got 4',
  ],
  [
    'sizes that are bigints, with strides',
    { X: { data: X.data, shape: [2n, 3n, 2n, 2n], strides: [12, 4, 2, 1] } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [a bigint, a bigint, a bigint, a bigint]',
  ],
  [
    'three sizes, one a symbol',
    { X: { data: X.data, shape: [2, 3, Symbol('four')] } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [2, 3, a symbol]',
  ],
  [
    'a size that is no number, in another order',
    { X: { data: X.data, shape: [Object.create(null), 3, 2, 2], order: 'F' } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got [an object, 3, 2, 2]',
  ],
  [
    'an offset that is text',
    { X: { data: X.data, shape: X.shape, offset: '0' } },
    TypeError,
    'X.offset must leave 24 of the 24 values; got "0"',
  ],
  [
    'a negative offset',
    { X: { data: X.data, shape: X.shape, offset: -1 } },
    RangeError,
    'X.offset must leave 24 of the 24 values; got -1',
  ],
  [
    'gamma a DataView',
    { gamma: new DataView(new ArrayBuffer(12)) },
    TypeError,
    'gamma must be a Float32Array, a Float64Array or an array of numbers, or a tensor of one, or null; got [object DataView]',
  ],
  [
    'dims no array',
    { X: { data: X.data, dims: 4 } },
    TypeError,
    'X.shape must be four non-negative integers, [B, C, H, W]; got 4',
  ],
  [
    'an ndarray column by column',
    { X: { data: X.data, shape: X.shape, stride: [1, 2, 6, 12], offset: 0 } },
    RangeError,
    'X.stride must be [12, 4, 2, 1], contiguous in row-major order (copy it first); got [1, 2, 6, 12]',
  ],
  [
    'an ndarray reversed',
    { X: { data: X.data, shape: X.shape, stride: [12, 4, 2, -1], offset: 1 } },
    RangeError,
    'X.stride must be [12, 4, 2, 1], contiguous in row-major order (copy it first); got [12, 4, 2, -1]',
  ],
  [
    'an ndarray beyond its data',
    { X: { data: X.data, shape: X.shape, stride: [12, 4, 2, 1], offset: 1 } },
    RangeError,
    'X.offset must leave 24 of the 24 values; got 1',
  ],
  [
    'an ndarray of gamma, every second value',
    { gamma: { data: X.data, shape: [3], stride: [2], offset: 0 } },
    RangeError,
    'gamma.stride must be [1], contiguous in row-major order (copy it first); got [2]',
  ],
  [
    'gamma missing',
    { gamma: undefined },
    TypeError,
    'gamma must be a Float32Array, a Float64Array or an array of numbers, or a tensor of one, or null; got undefined',
  ],
  [
    'gamma a number',
    { gamma: 1 },
    TypeError,
    'gamma must be a Float32Array, a Float64Array or an array of numbers, or a tensor of one, or null; got 1',
  ],
  [
    'beta of integers',
    { beta: new Int8Array(3) },
    TypeError,
    'beta must be a Float32Array, a Float64Array or an array of numbers, or a tensor of one, or null; got Int8Array of 3',
  ],
  ['gamma too long', { gamma: [1, 2, 3, 4] }, RangeError, 'gamma must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4'],
  [
    'beta too short',
    { beta: new Float32Array(2) },
    RangeError,
    'beta must hold 3 values, one per channel of X [2, 3, 2, 2]; got 2 (is X in channels-last order?)',
  ],
  ['gamma without shape', { gamma: { data: three } }, TypeError, 'gamma.shape must be an array; got undefined'],
  [
    'gamma of another shape',
    { gamma: { data: three, shape: [3, 1, 1, 1] } },
    RangeError,
    'gamma.shape must be [1, 3, 1, 1] or [3]; got [3, 1, 1, 1]',
  ],
  [
    'beta of shape [1, C]',
    { beta: { data: three, shape: [1, 3] } },
    RangeError,
    'beta.shape must be [1, 3, 1, 1] or [3]; got [1, 3]',
  ],
  [
    'gamma without data',
    { gamma: { shape: [3] } },
    TypeError,
    'gamma.data must be a Float32Array, a Float64Array or an array of numbers; got undefined',
  ],
  ['gamma holding text', { gamma: [1, '2', 3] }, TypeError, 'gamma[1] must be a number; got "2"'],
  ['beta holding null', { beta: { data: [1, 2, null], shape: [3] } }, TypeError, 'beta.data[2] must be a number; got null'],
  ['beta with a hole', { beta: new Array(3) }, TypeError, 'beta[0] must be a number; got undefined'],
  ['gamma holding a bigint', { gamma: [1n, 2, 3] }, TypeError, 'gamma[0] must be a number; got a bigint'],
  ['gamma detached', { gamma: detached(3) }, TypeError, 'gamma must not be detached; got a detached array'],
  [
    'runningMean too long',
    { runningMean: new Float64Array(4) },
    RangeError,
    'runningMean must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4',
  ],
  [
    'runningVar of a wrong kind',
    { runningVar: 'three' },
    TypeError,
    'runningVar must be a Float32Array, a Float64Array or an array of numbers, or a tensor of one, or null; got "three"',
  ],
  ['runningMean alone', { runningVar: null }, TypeError, 'runningVar must be given if the other is; got null'],
  ['runningVar alone', { runningMean: undefined }, TypeError, 'runningMean must be given if the other is; got null'],
  [
    'inference without statistics',
    { runningMean: null, runningVar: null, training: false },
    TypeError,
    'runningMean and runningVar must be given in inference; got null',
  ],
  [
    'a variance below −epsilon in inference',
    { runningVar: Float32Array.of(1, -0.5, 1), training: false },
    RangeError,
    'runningVar must be −epsilon or more; got -0.5 in channel 1, with epsilon 0.00001',
  ],

  ['momentum text', { momentum: '0.1' }, TypeError, 'momentum must be a number in [0, 1]; got "0.1"'],
  ['momentum null', { momentum: null }, TypeError, 'momentum must be a number in [0, 1]; got null'],
  ['momentum above 1', { momentum: 1.5 }, RangeError, 'momentum must be a number in [0, 1]; got 1.5'],
  ['momentum NaN', { momentum: NaN }, RangeError, 'momentum must be a number in [0, 1]; got NaN'],
  ['epsilon text', { epsilon: 'small' }, TypeError, 'epsilon must be a finite number, 0 or more; got "small"'],
  ['epsilon negative', { epsilon: -1e-5 }, RangeError, 'epsilon must be a finite number, 0 or more; got -0.00001'],
  ['epsilon infinite', { epsilon: Infinity }, RangeError, 'epsilon must be a finite number, 0 or more; got Infinity'],
  ['epsilon NaN', { epsilon: NaN }, RangeError, 'epsilon must be a finite number, 0 or more; got NaN'],
  ['training a number', { training: 1 }, TypeError, 'training must be true or false; got 1'],
  ['training null', { training: null }, TypeError, 'training must be true or false; got null'],

  ['options null', { options: null }, TypeError, 'options must be an object, { out } or empty; got null'],
  ['options an array', { options: X.data }, TypeError, 'options must be an object, { out } or empty; got Float32Array of 24'],
  [
    'an unknown option',
    { options: { output: X.data } },
    TypeError,
    'options must be an object, { out } or empty; got the unknown option "output"',
  ],
  ['out an array', { options: { out: [] } }, TypeError, "out must be a Float32Array or a tensor of X's shape; got array of 0"],
  ['out null', { options: { out: null } }, TypeError, "out must be a Float32Array or a tensor of X's shape; got null"],
  [
    'out of doubles',
    { options: { out: new Float64Array(24) } },
    TypeError,
    "out must be a Float32Array or a tensor of X's shape; got Float64Array of 24",
  ],
  [
    'out too short',
    { options: { out: new Float32Array(23) } },
    RangeError,
    'out must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  [
    'out of another shape',
    { options: { out: { data: new Float32Array(24), shape: [3, 2, 2, 2] } } },
    RangeError,
    'out.shape must equal X.shape, [2, 3, 2, 2]; got [3, 2, 2, 2]',
  ],
  [
    'out a tensor of doubles',
    { options: { out: { data: new Float64Array(24), shape: X.shape } } },
    TypeError,
    'out.data must be a Float32Array; got Float64Array of 24',
  ],
  ['out detached', { options: { out: detached(24) } }, TypeError, 'out must not be detached; got a detached array'],
];

for (const [name, replaced, Kind, message] of CASES)
  test(name, () => {
    const before = X.data.slice();
    assert.throws(call(replaced), (error) => {
      assert.equal(error.message, `batchNormalization: ${message}`);
      return error.constructor === Kind;
    });
    assert.deepEqual(X.data, before);
  });

test('out overlapping X in part, on either side', () => {
  const memory = new Float32Array(40);
  const tensor = { data: memory.subarray(8, 32), shape: X.shape };
  for (const begin of [0, 7, 9, 16])
    assert.throws(call({ X: tensor, options: { out: memory.subarray(begin, begin + 24) } }), {
      name: 'RangeError',
      message: "batchNormalization: out must not overlap X, unless it is exactly X's data; got memory that does",
    });
});

for (const name of ['gamma', 'beta', 'runningMean', 'runningVar'])
  test(`out overlapping ${name}`, () => {
    const memory = new Float32Array(40).fill(1);
    for (const data of [memory.subarray(23, 26), new Float64Array(memory.buffer, 0, 3)])
      assert.throws(call({ [name]: data, options: { out: memory.subarray(0, 24) } }), {
        name: 'RangeError',
        message: `batchNormalization: out must not overlap ${name}; got memory that does`,
      });
  });

test('nothing is written before all is checked, out included', () => {
  const out = new Float32Array(24).fill(7);
  for (const bad of [
    { gamma: [1, 2] },
    { beta: ['x', 1, 2] },
    { runningVar: [1, 1, -1], training: false },
    { momentum: 2 },
    { epsilon: -1 },
    { training: 'yes' },
  ])
    assert.throws(call({ ...bad, options: { out } }));
  assert.ok(out.every((value) => value === 7));
});

test('adjacent memory is no overlap', () => {
  const memory = new Float32Array(48);
  memory.set(X.data);
  call({ X: { data: memory.subarray(0, 24), shape: X.shape }, options: { out: memory.subarray(24) } })();
});

test('undefined takes the default', () => {
  const plain = batchNormalization(X, null, null);
  assert.deepEqual(batchNormalization(X, null, null, undefined, undefined, undefined, undefined, undefined, undefined), plain);
  assert.deepEqual(batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: undefined }), plain);
});

test('arrays of another realm are arrays', () => {
  const foreign = runInNewContext(
    '({ data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 1, 2], gamma: [2], beta: Float64Array.of(1) })',
  );
  const [output] = batchNormalization(foreign, foreign.gamma, foreign.beta);
  assert.deepEqual(output.data, batchNormalization({ data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 1, 2] }, [2], [1])[0].data);
});
