/* Every bad argument throws a TypeError or RangeError that says what was expected and what was given. Nothing is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { batchNormalization, batchNormalizationGradient, gradientSums, moments } from '../js/index.js';
import { normalTensor } from './data.js';
import { assertSameBits } from './helpers.js';

const X = normalTensor([2, 3, 2, 2]);
const gradOutput = normalTensor(X.shape, 2);
const three = [1, 2, 3];

const TENSOR = 'must be a tensor { data: Float32Array, shape }';
const SIZES = 'must be an array of 1 to 8 non-negative integers';
const ARRAYS = 'must be a Float32Array, Float64Array or array of numbers';
const NO_NULL = `${ARRAYS}, or a tensor of these`;
const NUMBERS = `${ARRAYS}, a tensor of these, or null`;
const AXIS = 'must be an integer from -4 to 3';
const RANK_1 = 'axis must be 0 or -1 for an X of rank 1; got undefined';
const OPTIONS = 'options must be an object with no properties other than out, axis, statistics, unbiased, relu';
const GRADIENT_OPTIONS =
  'options must be an object with no properties other than gamma, beta, statistics, epsilon, training, axis, relu, out, gradInput, sums';
const SUMS_OPTIONS = 'options must be an object with no properties other than gamma, beta, statistics, epsilon, axis, relu';
const OUT = "out must be a Float32Array or a tensor of X's shape";

const zeros = (length) => new Float64Array(length);
const vector = { data: X.data, shape: [24] };
const empty = { data: new Float32Array(0), shape: [0, 3, 2, 2] };
const without = { gamma: null, beta: null, runningMean: null, runningVar: null };

function detached(Type, length) {
  const array = new Type(length);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** Memory in which arguments overlap. */
const memory = new ArrayBuffer(512);
const floats = (begin, length) => new Float32Array(memory, begin, length);
const doubles = (begin, length) => new Float64Array(memory, begin, length);
const inMemory = { data: floats(0, 24), shape: X.shape };

/** The arguments of a valid call, some of them replaced by name. If `options` is an object, its properties are replaced in the same way. */
const merge = (given, { options = {}, ...replaced }) => ({
  ...given,
  ...replaced,
  options: Object.getPrototypeOf(options ?? []) === Object.prototype ? { ...given.options, ...options } : options,
});

function call(replaced, options) {
  const given = {
    X,
    gamma: three,
    beta: three,
    runningMean: three,
    runningVar: three,
    momentum: 0.1,
    epsilon: 1e-5,
    training: true,
    options,
  };
  const merged = merge(given, replaced);
  const { gamma, beta, runningMean, runningVar, momentum, epsilon, training } = merged;
  return () => batchNormalization(merged.X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, merged.options);
}

function gradientCall(replaced, options) {
  const merged = merge({ gradOutput, X, options }, replaced);
  return () => batchNormalizationGradient(merged.gradOutput, merged.X, merged.options);
}

function sumsCall(replaced) {
  const merged = merge({ gradOutput, X, options: { statistics: { mean: three, variance: three } } }, replaced);
  return () => gradientSums(merged.gradOutput, merged.X, merged.options);
}

function momentsCall(replaced) {
  const merged = merge({ X, options: {} }, replaced);
  return () => moments(merged.X, merged.options);
}

/** Name of the case, replaced arguments, the error's type, its message after `batchNormalization: `. */
const CASES = [
  ['X missing', { X: undefined }, TypeError, `X ${TENSOR}; got undefined`],
  ['X null', { X: null }, TypeError, `X ${TENSOR}; got null`],
  ['X a number', { X: 5 }, TypeError, `X ${TENSOR}; got 5`],
  ['X bare data', { X: X.data }, TypeError, `X ${TENSOR}; got a Float32Array of length 24`],
  ['X an array', { X: [[1, 2]] }, TypeError, `X ${TENSOR}; got an array of length 1`],
  ['X without data', { X: { dims: [1] } }, TypeError, 'X.data must be a Float32Array; got undefined'],
  [
    'X of doubles',
    { X: { data: new Float64Array(24), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got a Float64Array of length 24',
  ],
  [
    'X of integers',
    { X: { data: new Int32Array(24), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got an Int32Array of length 24',
  ],
  [
    'X of an array',
    { X: { data: [1, 2], shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got an array of length 2',
  ],
  [
    'X only pretends to be a Float32Array',
    { X: { data: Object.create(Float32Array.prototype), shape: X.shape } },
    TypeError,
    'X.data must be a Float32Array; got an object',
  ],
  ['no shape', { X: { data: X.data } }, TypeError, `X.shape ${SIZES}; got undefined`],
  ['shape a string', { X: { data: X.data, shape: '2,3,2,2' } }, TypeError, `X.shape ${SIZES}; got "2,3,2,2"`],
  ['no sizes', { X: { data: X.data, shape: [] } }, RangeError, `X.shape ${SIZES}; got []`],
  [
    'nine sizes',
    { X: { data: X.data, shape: [2, 3, 2, 2, 1, 1, 1, 1, 1] } },
    RangeError,
    `X.shape ${SIZES}; got [2, 3, 2, 2, 1, 1, 1, 1, 1]`,
  ],
  ['a fraction', { X: { data: X.data, shape: [2, 3, 1, 4.5] } }, RangeError, `X.shape ${SIZES}; got [2, 3, 1, 4.5]`],
  ['a negative size', { X: { data: X.data, shape: [-2, -3, 2, 2] } }, RangeError, `X.shape ${SIZES}; got [-2, -3, 2, 2]`],
  ['NaN as a size', { X: { data: X.data, shape: [NaN, 3, 2, 2] } }, RangeError, `X.shape ${SIZES}; got [NaN, 3, 2, 2]`],
  ['a size that is text', { X: { data: X.data, shape: ['2', 3, 2, 2] } }, TypeError, `X.shape ${SIZES}; got ["2", 3, 2, 2]`],
  [
    'too few values',
    { X: { data: new Float32Array(23), shape: X.shape } },
    RangeError,
    'X.data must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  [
    'X detached',
    { X: { data: detached(Float32Array, 24), shape: X.shape } },
    TypeError,
    'X.data must not be detached; got a detached array',
  ],
  [
    'X detached and empty',
    { X: { data: detached(Float32Array, 24), shape: [0, 3, 2, 2] } },
    TypeError,
    'X.data must not be detached; got a detached array',
  ],
  [
    'no values per channel, in training',
    { X: { data: new Float32Array(0), shape: [0, 3, 2, 2] } },
    RangeError,
    'X must have at least one value per channel in training; got shape [0, 3, 2, 2]',
  ],

  [
    'dims that differ from shape',
    { X: { data: X.data, shape: X.shape, dims: [2, 3, 4, 1] } },
    RangeError,
    'X.dims must equal the shape, [2, 3, 2, 2]; got [2, 3, 4, 1]',
  ],
  [
    'dims that is not an array, in addition to a shape',
    { X: { data: X.data, shape: X.shape, dims: 4 } },
    RangeError,
    'X.dims must equal the shape, [2, 3, 2, 2]; got 4',
  ],
  [
    'sizes that are bigints, with strides',
    { X: { data: X.data, shape: [2n, 3n, 2n, 2n], strides: [12, 4, 2, 1] } },
    TypeError,
    `X.shape ${SIZES}; got [a bigint, a bigint, a bigint, a bigint]`,
  ],
  [
    'three sizes, one a symbol',
    { X: { data: X.data, shape: [2, 3, Symbol('four')] } },
    TypeError,
    `X.shape ${SIZES}; got [2, 3, a symbol]`,
  ],
  [
    'a size that is not a number, with another stride',
    { X: { data: X.data, shape: [Object.create(null), 3, 2, 2], order: 'F' } },
    TypeError,
    `X.shape ${SIZES}; got [an object, 3, 2, 2]`,
  ],
  [
    'an offset that is text',
    { X: { data: X.data, shape: X.shape, offset: '0' } },
    TypeError,
    'X.offset must be a non-negative integer; got "0"',
  ],
  [
    'a negative offset',
    { X: { data: X.data, shape: X.shape, offset: -1 } },
    RangeError,
    'X.offset must be a non-negative integer; got -1',
  ],
  ['gamma a DataView', { gamma: new DataView(new ArrayBuffer(12)) }, TypeError, `gamma ${NUMBERS}; got [object DataView]`],
  ['dims not an array', { X: { data: X.data, dims: 4 } }, TypeError, `X.shape ${SIZES}; got 4`],
  [
    'an ndarray in column-major order',
    { X: { data: X.data, shape: X.shape, stride: [1, 2, 6, 12], offset: 0 } },
    RangeError,
    'X must be contiguous in row-major order, with stride [12, 4, 2, 1] (copy it first); got stride [1, 2, 6, 12]',
  ],
  [
    'an ndarray reversed',
    { X: { data: X.data, shape: X.shape, stride: [12, 4, 2, -1], offset: 1 } },
    RangeError,
    'X must be contiguous in row-major order, with stride [12, 4, 2, 1] (copy it first); got stride [12, 4, 2, -1]',
  ],
  [
    'an ndarray that extends beyond its data',
    { X: { data: X.data, shape: X.shape, stride: [12, 4, 2, 1], offset: 1 } },
    RangeError,
    'X.data must hold at least 25 values with offset 1; got 24',
  ],
  [
    'an ndarray of gamma, every second value',
    { gamma: { data: X.data, shape: [3], stride: [2], offset: 0 } },
    RangeError,
    'gamma must be contiguous in row-major order, with stride [1] (copy it first); got stride [2]',
  ],
  ['gamma missing', { gamma: undefined }, TypeError, `gamma ${NUMBERS}; got undefined`],
  ['gamma a number', { gamma: 1 }, TypeError, `gamma ${NUMBERS}; got 1`],
  ['beta of integers', { beta: new Int8Array(3) }, TypeError, `beta ${NUMBERS}; got an Int8Array of length 3`],
  ['gamma too long', { gamma: [1, 2, 3, 4] }, RangeError, 'gamma must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4'],
  [
    'beta too short',
    { beta: new Float32Array(2) },
    RangeError,
    'beta must hold 3 values, one per channel of X [2, 3, 2, 2]; got 2 (are the channels last? then pass axis: -1)',
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
  ['gamma without data', { gamma: { shape: [3] } }, TypeError, `gamma.data ${ARRAYS}; got undefined`],
  ['gamma holding text', { gamma: [1, '2', 3] }, TypeError, 'gamma[1] must be a number; got "2"'],
  ['beta holding null', { beta: { data: [1, 2, null], shape: [3] } }, TypeError, 'beta.data[2] must be a number; got null'],
  ['beta with a hole', { beta: new Array(3) }, TypeError, 'beta[0] must be a number; got undefined'],
  ['gamma holding a bigint', { gamma: [1n, 2, 3] }, TypeError, 'gamma[0] must be a number; got a bigint'],
  ['gamma detached', { gamma: detached(Float32Array, 3) }, TypeError, 'gamma must not be detached; got a detached array'],
  [
    'runningMean too long',
    { runningMean: new Float64Array(4) },
    RangeError,
    'runningMean must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4',
  ],
  ['runningVar of a wrong kind', { runningVar: 'three' }, TypeError, `runningVar ${NUMBERS}; got "three"`],
  [
    'runningMean alone',
    { runningVar: null },
    TypeError,
    'runningMean and runningVar must both be given or both be null; got null for runningVar',
  ],
  [
    'runningVar alone',
    { runningMean: undefined },
    TypeError,
    'runningMean and runningVar must both be given or both be null; got null for runningMean',
  ],
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
    'runningVar must be at least -epsilon; got -0.5 in channel 1, with epsilon 0.00001',
  ],

  ['momentum text', { momentum: '0.1' }, TypeError, 'momentum must be a number from 0 to 1; got "0.1"'],
  ['momentum null', { momentum: null }, TypeError, 'momentum must be a number from 0 to 1; got null'],
  ['momentum above 1', { momentum: 1.5 }, RangeError, 'momentum must be a number from 0 to 1; got 1.5'],
  ['momentum NaN', { momentum: NaN }, RangeError, 'momentum must be a number from 0 to 1; got NaN'],
  ['epsilon text', { epsilon: 'small' }, TypeError, 'epsilon must be a finite number of at least 0; got "small"'],
  ['epsilon negative', { epsilon: -1e-5 }, RangeError, 'epsilon must be a finite number of at least 0; got -0.00001'],
  ['epsilon infinite', { epsilon: Infinity }, RangeError, 'epsilon must be a finite number of at least 0; got Infinity'],
  ['epsilon NaN', { epsilon: NaN }, RangeError, 'epsilon must be a finite number of at least 0; got NaN'],
  ['training a number', { training: 1 }, TypeError, 'training must be true or false; got 1'],
  ['training null', { training: null }, TypeError, 'training must be true or false; got null'],

  ['options null', { options: null }, TypeError, `${OPTIONS}; got null`],
  ['options an array', { options: X.data }, TypeError, `${OPTIONS}; got a Float32Array of length 24`],
  ['an unknown option', { options: { output: X.data } }, TypeError, `${OPTIONS}; got the property "output"`],
  ['out an array', { options: { out: [] } }, TypeError, `${OUT}; got an array of length 0`],
  ['out null', { options: { out: null } }, TypeError, `${OUT}; got null`],
  ['out of doubles', { options: { out: new Float64Array(24) } }, TypeError, `${OUT}; got a Float64Array of length 24`],
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
    'out.data must be a Float32Array; got a Float64Array of length 24',
  ],
  ['out detached', { options: { out: detached(Float32Array, 24) } }, TypeError, 'out must not be detached; got a detached array'],

  ...[-32, -4, 4, 32].map((step) => [
    `out ${step} bytes from X`,
    { X: { data: floats(100, 24), shape: X.shape }, options: { out: floats(100 + step, 24) } },
    RangeError,
    "out must not overlap X, unless it is exactly X's data; got overlapping memory",
  ]),
  ...['gamma', 'beta', 'runningMean', 'runningVar'].flatMap((name) =>
    [floats(92, 3), doubles(0, 3)].map((data) => [
      `out overlapping ${name}, a ${data.constructor.name}`,
      { [name]: data, options: { out: floats(0, 24) } },
      RangeError,
      `out must not overlap ${name}; got overlapping memory`,
    ]),
  ),

  ['an axis beyond the last', { options: { axis: 4 } }, RangeError, `axis ${AXIS}; got 4`],
  ['an axis before the first', { options: { axis: -5 } }, RangeError, `axis ${AXIS}; got -5`],
  ['half an axis', { options: { axis: 1.5 } }, RangeError, `axis ${AXIS}; got 1.5`],
  ['axis NaN', { options: { axis: NaN } }, RangeError, `axis ${AXIS}; got NaN`],
  ['axis text', { options: { axis: '1' } }, TypeError, `axis ${AXIS}; got "1"`],
  ['axis null', { options: { axis: null } }, TypeError, `axis ${AXIS}; got null`],
  ['rank 1 without an axis', { X: vector, options: { out: undefined } }, RangeError, RANK_1],
  [
    'an axis that X of rank 1 does not have',
    { X: vector, options: { axis: 1 } },
    RangeError,
    'axis must be an integer from -1 to 0; got 1',
  ],
  [
    'gamma of the shape of another axis',
    { gamma: { data: [1, 2], shape: [1, 2, 1, 1] }, options: { axis: -1 } },
    RangeError,
    'gamma.shape must be [1, 1, 1, 2] or [2]; got [1, 2, 1, 1]',
  ],

  [
    'statistics an array',
    { options: { statistics: [zeros(3), zeros(3)] } },
    TypeError,
    'statistics must be an object { mean, variance }; got an array of length 2',
  ],
  ['statistics a number', { options: { statistics: 0 } }, TypeError, 'statistics must be an object { mean, variance }; got 0'],
  ...['mean', 'variance'].flatMap((key) => {
    const given = (value) => ({ options: { statistics: { mean: zeros(3), variance: zeros(3), [key]: value } } });
    const argument = `statistics.${key}`;
    return [
      [`no ${argument}`, given(undefined), TypeError, `${argument} must be a Float64Array; got undefined`],
      [`${argument} null`, given(null), TypeError, `${argument} must be a Float64Array; got null`],
      [
        `${argument} of floats`,
        given(new Float32Array(3)),
        TypeError,
        `${argument} must be a Float64Array; got a Float32Array of length 3`,
      ],
      [`${argument} an array`, given(three), TypeError, `${argument} must be a Float64Array; got an array of length 3`],
      [
        `${argument} too long`,
        given(zeros(4)),
        RangeError,
        `${argument} must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4`,
      ],
      [
        `${argument} detached`,
        given(detached(Float64Array, 3)),
        TypeError,
        `${argument} must not be detached; got a detached array`,
      ],
    ];
  }),

  ...['mean', 'variance'].flatMap((key) => {
    const apart = (other) => `statistics.${key} must not overlap ${other}; got overlapping memory`;
    const given = (value) => ({ statistics: { mean: zeros(3), variance: zeros(3), [key]: value } });
    return [
      [`statistics.${key} overlapping X`, { X: inMemory, options: given(doubles(88, 3)) }, RangeError, apart('X')],
      [
        `statistics.${key} overlapping out`,
        { options: { ...given(doubles(0, 3)), out: floats(20, 24) } },
        RangeError,
        apart('out'),
      ],
      ...['gamma', 'beta', 'runningMean', 'runningVar'].flatMap((name) => [
        [
          `statistics.${key} overlapping ${name}`,
          { [name]: doubles(0, 3), options: given(doubles(16, 3)) },
          RangeError,
          apart(name),
        ],
        [
          `statistics.${key} in the same memory as ${name}, in inference`,
          { [name]: doubles(0, 3), options: given(doubles(0, 3)), training: false },
          RangeError,
          apart(name),
        ],
      ]),
    ];
  }),
  ...[0, 8, 16].map((begin) => [
    `statistics overlapping each other, from byte ${begin} on`,
    { options: { statistics: { mean: doubles(0, 3), variance: doubles(begin, 3) } } },
    RangeError,
    'statistics.mean must not overlap statistics.variance; got overlapping memory',
  ]),
  ['unbiased a number', { options: { unbiased: 1 } }, TypeError, 'unbiased must be true or false; got 1'],
  ['unbiased null', { options: { unbiased: null } }, TypeError, 'unbiased must be true or false; got null'],
  [
    'unbiased with one value per channel',
    { X: { data: X.data, shape: [1, 24, 1, 1] }, ...without, options: { out: undefined, statistics: undefined, unbiased: true } },
    RangeError,
    'unbiased must be false if X has one value per channel; got true',
  ],
  ['relu text', { options: { relu: 'yes' } }, TypeError, 'relu must be true or false; got "yes"'],
  ['relu null', { options: { relu: null } }, TypeError, 'relu must be true or false; got null'],
];

/** The same for the gradient: replaced arguments and options. */
const GRADIENT_CASES = [
  ['gradOutput missing', { gradOutput: undefined }, TypeError, `gradOutput ${TENSOR}; got undefined`],
  ['gradOutput bare data', { gradOutput: X.data }, TypeError, `gradOutput ${TENSOR}; got a Float32Array of length 24`],
  [
    'gradOutput of doubles',
    { gradOutput: { data: zeros(24), shape: X.shape } },
    TypeError,
    'gradOutput.data must be a Float32Array; got a Float64Array of length 24',
  ],
  [
    'gradOutput of another shape',
    { gradOutput: { data: X.data, shape: [2, 3, 4] } },
    RangeError,
    'gradOutput.shape must equal X.shape, [2, 3, 2, 2]; got [2, 3, 4]',
  ],
  [
    'gradOutput too short',
    { gradOutput: { data: new Float32Array(23), shape: X.shape } },
    RangeError,
    'gradOutput.data must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  [
    'gradOutput detached',
    { gradOutput: { data: detached(Float32Array, 24), shape: X.shape } },
    TypeError,
    'gradOutput.data must not be detached; got a detached array',
  ],
  [
    'gradOutput in another order',
    { gradOutput: { ...X, stride: [1, 2, 6, 12] } },
    RangeError,
    'gradOutput must be contiguous in row-major order, with stride [12, 4, 2, 1] (copy it first); got stride [1, 2, 6, 12]',
  ],
  ['X missing', { X: undefined }, TypeError, `X ${TENSOR}; got undefined`],
  [
    'no values per channel',
    { gradOutput: empty, X: empty, options: { out: undefined } },
    RangeError,
    'X must have at least one value per channel in training; got shape [0, 3, 2, 2]',
  ],
  ['options null', { options: null }, TypeError, `${GRADIENT_OPTIONS}; got null`],
  ['options an array', { options: [] }, TypeError, `${GRADIENT_OPTIONS}; got an array of length 0`],
  ['an unknown option', { options: { gradinput: false } }, TypeError, `${GRADIENT_OPTIONS}; got the property "gradinput"`],
  [
    'an option of the forward call',
    { options: { unbiased: true } },
    TypeError,
    `${GRADIENT_OPTIONS}; got the property "unbiased"`,
  ],
  ['an axis beyond the last', { options: { axis: 4 } }, RangeError, `axis ${AXIS}; got 4`],
  ['axis text', { options: { axis: '1' } }, TypeError, `axis ${AXIS}; got "1"`],
  ['rank 1 without an axis', { gradOutput: vector, X: vector }, RangeError, RANK_1],
  ['gamma a number', { options: { gamma: 1 } }, TypeError, `gamma ${NUMBERS}; got 1`],
  [
    'gamma too long',
    { options: { gamma: [1, 2, 3, 4] } },
    RangeError,
    'gamma must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4',
  ],
  [
    'beta too long, with relu',
    { options: { beta: zeros(4), relu: true } },
    RangeError,
    'beta must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4',
  ],
  [
    'relu without beta',
    { options: { relu: true } },
    TypeError,
    'beta must be given if relu is true (null means 0); got undefined',
  ],
  ['relu a number', { options: { beta: three, relu: 1 } }, TypeError, 'relu must be true or false; got 1'],
  ['epsilon negative', { options: { epsilon: -1 } }, RangeError, 'epsilon must be a finite number of at least 0; got -1'],
  ['epsilon null', { options: { epsilon: null } }, TypeError, 'epsilon must be a finite number of at least 0; got null'],
  ['training a number', { options: { training: 0 } }, TypeError, 'training must be true or false; got 0'],
  ['gradInput null', { options: { gradInput: null } }, TypeError, 'gradInput must be true or false; got null'],
  [
    'out with gradInput: false',
    { options: { gradInput: false } },
    TypeError,
    'out must not be given if gradInput is false; got a Float32Array of length 24',
  ],

  [
    'statistics an array',
    { options: { statistics: three } },
    TypeError,
    'statistics must be an object { mean, variance }; got an array of length 3',
  ],
  [
    'no statistics in inference',
    { options: { statistics: null, training: false } },
    TypeError,
    'statistics must be given in inference; got null',
  ],
  ...['mean', 'variance'].flatMap((key) => {
    const given = (value) => ({ options: { statistics: { mean: three, variance: three, [key]: value } } });
    const argument = `statistics.${key}`;
    return [
      [`no ${argument}`, given(undefined), TypeError, `${argument} ${NO_NULL}; got undefined`],
      [`${argument} null`, given(null), TypeError, `${argument} ${NO_NULL}; got null`],
      [`${argument} of integers`, given(new Int32Array(3)), TypeError, `${argument} ${NO_NULL}; got an Int32Array of length 3`],
      [
        `${argument} too long`,
        given(zeros(4)),
        RangeError,
        `${argument} must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4`,
      ],
      [
        `${argument} of another shape`,
        given({ data: three, shape: [3, 1] }),
        RangeError,
        `${argument}.shape must be [1, 3, 1, 1] or [3]; got [3, 1]`,
      ],
    ];
  }),
  ...[true, false].map((training) => [
    `a variance below −epsilon, training ${training}`,
    { options: { statistics: { mean: three, variance: [1, -0.5, 1] }, training } },
    RangeError,
    'statistics.variance must be at least -epsilon; got -0.5 in channel 1, with epsilon 0.00001',
  ]),

  ['out an array', { options: { out: [] } }, TypeError, `${OUT}; got an array of length 0`],
  ['out null', { options: { out: null } }, TypeError, `${OUT}; got null`],
  [
    'out too short',
    { options: { out: new Float32Array(23) } },
    RangeError,
    'out must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  [
    'out of another shape',
    { options: { out: { data: new Float32Array(24), shape: [24, 1] } } },
    RangeError,
    'out.shape must equal X.shape, [2, 3, 2, 2]; got [24, 1]',
  ],
  ['out X’s own data', { options: { out: X.data } }, RangeError, 'out must not overlap X; got overlapping memory'],
  [
    'out gradOutput’s own data, X being the same',
    { gradOutput: X, options: { out: X } },
    RangeError,
    'out must not overlap X; got overlapping memory',
  ],

  ...[
    ['a number', 10, TypeError, `sums ${ARRAYS}; got 10`],
    ['false', false, TypeError, `sums ${ARRAYS}; got false`],
    ['a tensor', { data: zeros(10), shape: [10] }, TypeError, `sums ${ARRAYS}; got an object`],
    ['JSON of a typed array', { 0: 1, 1: 2 }, TypeError, `sums ${ARRAYS}; got an object`],
    ['integers', new Int32Array(10), TypeError, `sums ${ARRAYS}; got an Int32Array of length 10`],
    ['of text', [...zeros(9), '8'], TypeError, 'sums[9] must be a number; got "8"'],
    ['with a hole', Object.assign([], { 9: 8 }), TypeError, 'sums[0] must be a number; got undefined'],
    ['a list of those of parts', [zeros(10), zeros(10)], TypeError, 'sums[0] must be a number; got a Float64Array of length 10'],
    ['too short', zeros(9), RangeError, 'sums must hold 10 values for 3 channels; got 9'],
    ['too long', zeros(11), RangeError, 'sums must hold 10 values for 3 channels; got 11'],
    ['empty', [], RangeError, 'sums must hold 10 values for 3 channels; got 0'],
    ['detached', detached(Float64Array, 10), RangeError, 'sums must hold 10 values for 3 channels; got 0'],
    ['all 0', zeros(10), RangeError, 'sums must end with the count of all parts, at least 8; got 0'],
    ['of another part', [...zeros(9), 7], RangeError, 'sums must end with the count of all parts, at least 8; got 7'],
    ['without a count', zeros(10).fill(NaN), RangeError, 'sums must end with the count of all parts, at least 8; got NaN'],
  ].map(([name, sums, ...expected]) => [
    `sums ${name}`,
    { options: { sums, statistics: { mean: three, variance: three } } },
    ...expected,
  ]),
  [
    'sums of no values',
    {
      gradOutput: empty,
      X: empty,
      options: { out: undefined, sums: zeros(10), statistics: { mean: three, variance: three } },
    },
    RangeError,
    'sums must end with the count of all parts, at least 1; got 0',
  ],
  [
    'sums in inference',
    { options: { sums: zeros(10).fill(8), statistics: { mean: three, variance: three }, training: false } },
    TypeError,
    'sums must not be given if training is false; got a Float64Array of length 10',
  ],
  ...[undefined, null].map((statistics) => [
    `sums with statistics ${statistics}`,
    { options: { sums: zeros(10).fill(8), statistics } },
    TypeError,
    `statistics must be those of the whole batch; got ${statistics}`,
  ]),
];

/** The same for the sums of a part. */
const SUMS_CASES = [
  ['gradOutput missing', { gradOutput: undefined }, TypeError, `gradOutput ${TENSOR}; got undefined`],
  ['X missing', { X: undefined }, TypeError, `X ${TENSOR}; got undefined`],
  [
    'gradOutput of another shape',
    { gradOutput: { data: X.data, shape: [2, 3, 4] } },
    RangeError,
    'gradOutput.shape must equal X.shape, [2, 3, 2, 2]; got [2, 3, 4]',
  ],
  [
    'X too short',
    { X: { data: new Float32Array(23), shape: X.shape } },
    RangeError,
    'X.data must hold 24 values for shape [2, 3, 2, 2]; got 23',
  ],
  ['options null', { options: null }, TypeError, `${SUMS_OPTIONS}; got null`],
  ['options the statistics', { options: three }, TypeError, `${SUMS_OPTIONS}; got an array of length 3`],
  ...['training', 'out', 'gradInput', 'sums', 'unbiased'].map((name) => [
    `the option ${name}`,
    { options: { [name]: undefined } },
    TypeError,
    `${SUMS_OPTIONS}; got the property "${name}"`,
  ]),
  ...[undefined, null].map((statistics) => [
    `statistics ${statistics}`,
    { options: { statistics } },
    TypeError,
    `statistics must be those of the whole batch; got ${statistics}`,
  ]),
  ['no mean', { options: { statistics: { variance: three } } }, TypeError, `statistics.mean ${NO_NULL}; got undefined`],
  [
    'a variance too long',
    { options: { statistics: { mean: three, variance: zeros(4) } } },
    RangeError,
    'statistics.variance must hold 3 values, one per channel of X [2, 3, 2, 2]; got 4',
  ],
  [
    'a variance below −epsilon',
    { options: { statistics: { mean: three, variance: [1, -0.5, 1] } } },
    RangeError,
    'statistics.variance must be at least -epsilon; got -0.5 in channel 1, with epsilon 0.00001',
  ],
  ['epsilon negative', { options: { epsilon: -1 } }, RangeError, 'epsilon must be a finite number of at least 0; got -1'],
  ['an axis beyond the last', { options: { axis: 4 } }, RangeError, `axis ${AXIS}; got 4`],
  ['relu a number', { options: { beta: three, relu: 1 } }, TypeError, 'relu must be true or false; got 1'],
  [
    'relu without beta',
    { options: { relu: true } },
    TypeError,
    'beta must be given if relu is true (null means 0); got undefined',
  ],
];

/** The same for moments. */
const MOMENTS_CASES = [
  ['X missing', { X: undefined }, TypeError, `X ${TENSOR}; got undefined`],
  ['X too short', { X: { data: X.data, shape: [5, 5] } }, RangeError, 'X.data must hold 25 values for shape [5, 5]; got 24'],
  ['options null', { options: null }, TypeError, 'options must be an object with no properties other than axis; got null'],
  [
    'an unknown option',
    { options: { relu: true } },
    TypeError,
    'options must be an object with no properties other than axis; got the property "relu"',
  ],
  ['an axis beyond the last', { options: { axis: 4 } }, RangeError, `axis ${AXIS}; got 4`],
  ['half an axis', { options: { axis: 0.5 } }, RangeError, `axis ${AXIS}; got 0.5`],
  ['rank 1 without an axis', { X: vector }, RangeError, RANK_1],
];

for (const [functionName, make, cases] of [
  ['batchNormalization', call, CASES],
  ['batchNormalizationGradient', gradientCall, GRADIENT_CASES],
  ['gradientSums', sumsCall, SUMS_CASES],
  ['moments', momentsCall, MOMENTS_CASES],
])
  for (const [name, replaced, ErrorType, message] of cases)
    test(`${functionName}: ${name}`, () => {
      const written = { out: new Float32Array(24).fill(7) };
      if (make === call) written.statistics = { mean: zeros(3).fill(7), variance: zeros(3).fill(7) };
      floats(0, 128).fill(3);
      const inputs = [X.data, gradOutput.data, floats(0, 128)];
      const before = inputs.map((data) => data.slice());
      assert.throws(make(replaced, written), (error) => {
        assert.equal(error.message, `${functionName}: ${message}`);
        return error.constructor === ErrorType;
      });
      for (const data of [written.out, written.statistics?.mean, written.statistics?.variance])
        assert.ok(data?.every((value) => value === 7) ?? true, 'nothing is written');
      inputs.forEach((data, k) => {
        assertSameBits(data, before[k]);
      });
    });

test('adjacent memory does not overlap', () => {
  floats(0, 24).set(X.data);
  const statistics = { mean: doubles(192, 3), variance: doubles(216, 3) };
  call({ X: inMemory, gamma: doubles(240, 3), options: { out: floats(96, 24), statistics } })();
  gradientCall({ X: inMemory, options: { out: floats(96, 24), statistics, gamma: doubles(240, 3) } })();
});

test('gradientSums requires options', () => {
  assert.throws(() => gradientSums(gradOutput, X), new TypeError(`gradientSums: ${SUMS_OPTIONS}; got undefined`));
});

test('undefined means the default', () => {
  const plain = batchNormalization(X, null, null);
  assert.deepEqual(batchNormalization(X, null, null, undefined, undefined, undefined, undefined, undefined, undefined), plain);
  assert.deepEqual(batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: undefined }), plain);
});

test('arrays of another realm are accepted', () => {
  const foreign = runInNewContext(
    '({ data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 1, 2], gamma: [2], beta: Float64Array.of(1) })',
  );
  const [output] = batchNormalization(foreign, foreign.gamma, foreign.beta);
  assert.deepEqual(output.data, batchNormalization({ data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 1, 2] }, [2], [1])[0].data);
});
