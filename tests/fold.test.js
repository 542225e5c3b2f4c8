/* fold: inference as one multiplication and addition, also merged into the convolution before it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchNormalization, fold } from '../js/index.js';
import { fold as plainFold } from '../js/index-plain.js';
import { normalTensor, parametersFor, seededNormal } from './data.js';

test('x · scale + shift gives the results of inference', () => {
  const C = 5;
  const X = normalTensor([3, C, 6, 7]);
  const { gamma, beta, runningMean, runningVar } = parametersFor(C);
  for (const [g, b] of [
    [gamma, beta],
    [null, beta],
    [gamma, null],
    [null, null],
  ])
    for (const epsilon of [undefined, 0, 0.5]) {
      const [scale, shift] = fold(g, b, runningMean, runningVar, epsilon);
      const [output] = batchNormalization(X, g, b, runningMean, runningVar, 0.1, epsilon, false);
      X.data.forEach((x, i) => {
        const c = Math.floor(i / 42) % C;
        const bound = 2 ** -22 * (Math.abs(x * scale[c]) + Math.abs(shift[c]) + Math.abs(runningMean[c] * scale[c])) + 2 ** -149;
        assert.ok(Math.abs(x * scale[c] + shift[c] - output.data[i]) <= bound, `value ${i}`);
      });
    }
});

test('scale and shift are not rounded to float32', () => {
  const next = seededNormal(2);
  for (let trial = 0; trial < 1000; trial++) {
    const [gamma, beta, mean, variance] = [next(), next(), 1e3 * next(), next() ** 2];
    const [[scale], [shift]] = fold([gamma], [beta], [mean], [variance], 1e-3);
    const exact = gamma / Math.sqrt(variance + 1e-3);
    assert.ok(Math.abs(scale - exact) <= 2 ** -51 * Math.abs(exact));
    assert.ok(Math.abs(shift - (beta - mean * exact)) <= 2 ** -50 * (Math.abs(beta) + Math.abs(mean * exact)));
  }
});

test('a convolution with folded weights is the convolution followed by batch normalization', () => {
  const [B, I, C, H, W, K] = [2, 3, 4, 6, 5, 3];
  const X = normalTensor([B, I, H, W], 1);
  const weights = normalTensor([C, I, K, K], 2);
  const bias = Float32Array.of(0.5, -1, 0, 2);
  const { gamma, beta, runningMean, runningVar } = parametersFor(C);
  /** Without padding, in double. */
  const convolve = (weights, bias) => {
    const shape = [B, C, H - K + 1, W - K + 1];
    const data = [];
    for (let b = 0; b < B; b++)
      for (let c = 0; c < C; c++)
        for (let h = 0; h <= H - K; h++)
          for (let w = 0; w <= W - K; w++) {
            let sum = bias[c];
            for (let i = 0; i < I; i++)
              for (let y = 0; y < K; y++)
                for (let x = 0; x < K; x++)
                  sum += weights[((c * I + i) * K + y) * K + x] * X.data[((b * I + i) * H + h + y) * W + w + x];
            data.push(sum);
          }
    return { data: Float32Array.from(data), shape };
  };
  const [expected] = batchNormalization(convolve(weights.data, bias), gamma, beta, runningMean, runningVar, 0.9, 1e-5, false);
  const [scale, shift] = fold(gamma, beta, runningMean, runningVar);
  const perChannel = weights.data.length / C;
  const folded = weights.data.map((weight, i) => weight * scale[Math.floor(i / perChannel)]);
  const actual = convolve(
    folded,
    bias.map((value, c) => value * scale[c] + shift[c]),
  );
  assert.deepEqual(actual.shape, expected.shape);
  actual.data.forEach((value, i) => {
    assert.ok(Math.abs(value - expected.data[i]) <= 1e-4, `value ${i}: ${value}, not ${expected.data[i]}`);
  });
});

test('arguments may be arrays or tensors, with any type of numbers; results are new Float64Arrays', () => {
  assert.equal(plainFold, fold);
  const [gamma, beta, mean, variance] = [
    [2, 1],
    [0, 5],
    [3, 10],
    [4, 25],
  ];
  const expected = [Float64Array.of(1, 0.2), Float64Array.of(-3, 3)];
  for (const as of [
    (values) => values,
    (values) => Float32Array.from(values),
    (values) => Float64Array.from(values),
    (values) => ({ data: values, shape: [2] }),
    (values) => ({ data: Float32Array.from(values), shape: [1, 2, 1, 1] }),
    (values) => ({ data: Float64Array.from(values), dims: [1, 1, 2] }),
    (values) => ({ data: [7, ...values, 7], shape: [2, 1], offset: 1 }),
  ])
    assert.deepEqual(fold(as(gamma), as(beta), as(mean), as(variance), 0), expected);
  const [, runningMean, runningVar] = batchNormalization(normalTensor([2, 1, 3, 3]), null, null);
  assert.equal(fold(null, null, runningMean, runningVar)[0].length, 1);
  assert.deepEqual(fold(null, null, [], []), [new Float64Array(0), new Float64Array(0)]);
});

test('a mean or variance that is negative, 0, NaN or infinite gives the results of the formulas, in its own channel only', () => {
  const [scale, shift] = fold(null, [1, 1, 1, 1, 1], [0, 2, 2, Number.NaN, 1], [-0.75, -1, Infinity, 0, 0], 1);
  assert.deepEqual(scale, Float64Array.of(2, Infinity, 0, 1, 1));
  assert.deepEqual(shift, Float64Array.of(1, -Infinity, 1, Number.NaN, 0));
});

test('errors name the wrong argument', () => {
  const two = [1, 2];
  const array = 'be a Float32Array, Float64Array or array of numbers';
  for (const [args, ErrorType, message] of [
    [[undefined, null, two, two], TypeError, `gamma must ${array}; got undefined`],
    [[null, null, null, two], TypeError, `mean must ${array}; got null`],
    [[null, null, two], TypeError, `variance must ${array}; got undefined`],
    [[null, null, new Int32Array(2), two], TypeError, `mean must ${array}; got an Int32Array of length 2`],
    [[null, null, { data: 3, shape: [2] }, two], TypeError, `mean.data must ${array}; got 3`],
    [[null, null, { data: two }, two], TypeError, 'mean.shape must be an array; got undefined'],
    [[null, ['a', 2], two, two], TypeError, 'beta[0] must be a number; got "a"'],
    [[null, null, two, [1]], RangeError, 'variance must hold 2 values, one per channel; got 1'],
    [[[1], null, two, two], RangeError, 'gamma must hold 2 values, one per channel; got 1'],
    [
      [null, null, { data: [1, 2, 3, 4], shape: [2, 2] }, two],
      RangeError,
      'mean.shape must be [C] or, for example, [1, C, 1, 1]; got [2, 2]',
    ],
    [[null, null, two, { data: [1], shape: [1] }], RangeError, 'variance.data must hold 2 values, one per channel; got 1'],
    [[null, null, { data: [1], shape: [2] }, two], RangeError, 'mean.data must hold 2 values, one per channel; got 1'],
    [[null, null, two, [1, -1]], RangeError, 'variance must be at least -epsilon; got -1 in channel 1, with epsilon 0.00001'],
    [[null, null, two, two, -1], RangeError, 'epsilon must be a finite number of at least 0; got -1'],
    [[null, null, two, two, Infinity], RangeError, 'epsilon must be a finite number of at least 0; got Infinity'],
    [[null, null, two, two, '0'], TypeError, 'epsilon must be a finite number of at least 0; got "0"'],
  ])
    assert.throws(() => fold(...args), { name: ErrorType.name, message: `fold: ${message}` });
});
