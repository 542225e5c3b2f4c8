/* The options statistics, unbiased and relu of the forward call, and moments: each does its job and changes nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, parametersFor, seeded, sizeOf, tensor } from './data.js';
import { assertSameBits, callWithin, LEAST } from './helpers.js';
import { channelOf, statisticsOf } from './reference.js';

const LIBRARIES = { batchnorm, 'batchnorm/js': plain };
const { Arena } = batchnorm;

/** A tiny shape; slabs and columns, with one block and with several. */
const SHAPES = [
  [2, 3, 2, 2],
  [4, 5, 16, 20],
  [2, 2, 70, 71],
  [40, 5, 2, 3],
  [600, 3, 1, 1],
];

/** Data by name; for the last, the kernel uses double. */
const DATA = {
  'normal data': (shape) => normalTensor(shape, 1),
  'data far from zero': (shape) => normalTensor(shape, 2, 1e6, 0.5),
  'constant data': (shape) => tensor(shape, () => 0.3),
  'tiny data': (shape) => normalTensor(shape, 3, 0, 1e-25),
  'subnormal data': (shape) => normalTensor(shape, 4, 0, 1e-40),
  'huge data': (shape) => normalTensor(shape, 5, 0, 1e19),
};

const emptyStatistics = (channels) => ({ mean: new Float64Array(channels), variance: new Float64Array(channels) });

/** Compares a channel's mean and variance with the reference. */
function assertMoments(X, c, mean, variance, message) {
  const values = channelOf(X, c);
  const expected = statisticsOf(values);
  const magnitude = values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
  const near = (actual, exact, bound, what) =>
    assert.ok(Math.abs(actual - exact) <= bound, `${message}, ${what} ${c}: ${actual}, not ${exact}, bound ${bound}`);
  near(mean, expected.mean, values.length * 2 ** -53 * magnitude, 'mean');
  near(variance, expected.variance, 7.2 * 2 ** -24 * expected.variance, 'variance');
}

const each = (run) => {
  for (const [name, library] of Object.entries(LIBRARIES))
    for (const [key, make] of Object.entries(DATA))
      for (const shape of SHAPES) run(`${name}: ${key}, [${shape}]`, library, make(shape));
};

each((title, { batchNormalization, moments }, X) => {
  test(`${title}: statistics and moments are those of the batch, in double`, () => {
    const channels = X.shape[1];
    const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
    const args = [gamma, beta, runningMean, runningVar, 0.3, 0];
    const statistics = emptyStatistics(channels);
    const results = batchNormalization(X, ...args, true, { statistics });
    assert.deepEqual(results, batchNormalization(X, ...args), 'nothing else changes');
    for (let c = 0; c < channels; c++) assertMoments(X, c, statistics.mean[c], statistics.variance[c], title);
    assert.deepEqual(moments(X), { count: sizeOf(X.shape) / channels, ...statistics });

    // The running statistics are computed from the same mean and variance.
    const doubles = [runningMean, runningVar].map((data) => Float64Array.from(data));
    const [, newMean, newVar] = batchNormalization(X, gamma, beta, ...doubles, 0, 0);
    assert.deepEqual([newMean.data, newVar.data], [statistics.mean, statistics.variance]);
  });

  test(`${title}: unbiased multiplies the batch’s part of the running variance by N/(N − 1), and changes nothing else`, () => {
    const channels = X.shape[1];
    const N = sizeOf(X.shape) / channels;
    const runningMean = new Float64Array(channels).fill(0.5);
    const runningVar = new Float64Array(channels).fill(0.25);
    for (const momentum of [0, 0.3]) {
      const saved = [emptyStatistics(channels), emptyStatistics(channels)];
      const call = (unbiased, k) =>
        batchNormalization(X, null, null, runningMean, runningVar, momentum, 1e-5, true, { unbiased, statistics: saved[k] });
      const [output, mean, variance] = call(true, 0);
      const biased = call(false, 1);
      assertSameBits(output.data, biased[0].data);
      assert.deepEqual(mean, biased[1]);
      assert.deepEqual(saved[0], saved[1]);
      variance.data.forEach((actual, c) => {
        const { variance: exact } = statisticsOf(channelOf(X, c));
        const expected = momentum * 0.25 + (1 - momentum) * ((exact * N) / (N - 1));
        const bound = 7.2 * 2 ** -24 * (1 - momentum) * 2 * exact + 2 ** -51 * expected;
        assert.ok(Math.abs(actual - expected) <= bound, `${actual}, not ${expected}`);
      });
      const floats = [runningMean, runningVar].map((data) => Float32Array.from(data));
      const [, , rounded] = batchNormalization(X, null, null, ...floats, momentum, 1e-5, true, { unbiased: true });
      assert.deepEqual(rounded.data, Float32Array.from(variance.data));
    }
  });

  test(`${title}: relu gives max(y, 0), bit for bit`, () => {
    const { gamma, beta, runningMean, runningVar } = parametersFor(X.shape[1]);
    // A beta that is −0, or −0 as a float32, could give outputs of −0. In inference, shifts that float32 cannot hold use double.
    const doubles = (next) => Float64Array.from(beta, next);
    for (const shift of [null, beta, doubles(() => -0), doubles(() => -5e-324), doubles((value) => value + 1 / 3)])
      for (const training of [true, false])
        for (const epsilon of [1e-5, 0]) {
          const args = [gamma, shift, runningMean, runningVar, 0.3, epsilon, training];
          const [output, ...running] = batchNormalization(X, ...args);
          const expected = output.data.map((y) => (y <= 0 ? 0 : y));
          const [rectified, ...sameRunning] = batchNormalization(X, ...args, { relu: true });
          assertSameBits(rectified.data, expected, `training ${training}, epsilon ${epsilon}`);
          assert.deepEqual(sameRunning, running);
          const inPlace = { data: X.data.slice(), shape: X.shape };
          batchNormalization(inPlace, ...args, { relu: true, out: inPlace });
          assertSameBits(inPlace.data, expected, 'in place');
        }
  });
});

for (const [name, { batchNormalization, moments }] of Object.entries(LIBRARIES)) {
  test(`${name}: relu keeps NaN, and turns −0 into 0`, () => {
    let negativeZeros = 0;
    for (const shape of SHAPES) {
      const next = seeded(8);
      const X = tensor(shape, () => [NaN, Infinity, -Infinity, 0, -0, -1, 2, 1e-45][Math.floor(8 * next())]);
      const filled = (value) => new Float64Array(shape[1]).fill(value);
      for (const gamma of [1, 0, 1e-30, -1e-50])
        for (const beta of [0, -0]) {
          const args = [filled(gamma), filled(beta), filled(0), filled(1), 0.1, 0, false];
          const [{ data }] = batchNormalization(X, ...args);
          const [rectified] = batchNormalization(X, ...args, { relu: true });
          const expected = data.map((y) => (y <= 0 ? 0 : y));
          assertSameBits(rectified.data, expected, `[${shape}], gamma ${gamma}, beta ${beta}`);
          assert.ok(rectified.data.some(Number.isNaN));
          for (const y of data) negativeZeros += Number(Object.is(y, -0));
        }
    }
    assert.ok(negativeZeros > 0, 'no output was −0');
  });

  test(`${name}: in inference, statistics receives the running statistics that were used, in double`, () => {
    const X = normalTensor([4, 3, 8, 9], 6);
    const doubles = [
      [0.1, 1 / 3, -2],
      [0.7, 1e-30, 1e30],
    ];
    for (const [mean, variance] of [
      doubles,
      doubles.map((values) => Float64Array.from(values)),
      doubles.map((values) => Float32Array.from(values)),
      doubles.map((data) => ({ data, shape: [1, 3, 1, 1] })),
    ]) {
      const statistics = emptyStatistics(3);
      const args = [null, null, mean, variance, 0.1, 1e-5, false];
      const results = batchNormalization(X, ...args, { statistics, unbiased: true });
      assert.deepEqual(results, batchNormalization(X, ...args), 'and nothing else changes');
      const values = [mean, variance].map((given) => Float64Array.from(given.data ?? given));
      assert.deepEqual([statistics.mean, statistics.variance], values);
    }
  });

  test(`${name}: only the given arrays of statistics are written, whatever memory they are part of`, () => {
    const X = normalTensor([4, 3, 8, 9], 6);
    const expected = moments(X);
    for (const buffer of [new ArrayBuffer(96), new SharedArrayBuffer(96), new ArrayBuffer(96, { maxByteLength: 192 })]) {
      const memory = new Float64Array(buffer).fill(7);
      class Own extends Float64Array {
        set() {
          assert.fail('the user’s code runs');
        }
      }
      const statistics = { mean: new Own(buffer, 16, 3), variance: memory.subarray(7, 10) };
      batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { statistics });
      assert.deepEqual(Array.from(memory), [7, 7, ...expected.mean, 7, 7, ...expected.variance, 7, 7]);
      batchNormalization(X, null, null, [1, 2, 3], [4, 5, 6], 0.1, 1e-5, false, { statistics });
      assert.deepEqual(Array.from(memory), [7, 7, 1, 2, 3, 7, 7, 4, 5, 6, 7, 7]);
    }
  });

  test(`${name}: with one value per channel, unbiased is an error in training, but not in inference`, () => {
    const X = { data: Float32Array.of(1, 2, 3), shape: [1, 3] };
    const call = (training) => () =>
      batchNormalization(X, null, null, [0, 0, 0], [1, 1, 1], 0.1, 0, training, { unbiased: true });
    assert.throws(call(true), {
      name: 'RangeError',
      message: /unbiased must be false if X has one value per channel; got true$/,
    });
    assert.deepEqual(call(false)()[0].data, X.data);
  });

  test(`${name}: moments of no values are zeros`, () => {
    for (const [shape, axis, channels, count] of [
      [[0, 3, 2, 2], 1, 3, 0],
      [[4, 0, 5], 0, 4, 0],
    ])
      assert.deepEqual(moments({ data: new Float32Array(0), shape }, { axis }), { count, ...emptyStatistics(channels) });
  });
}

test('relu and statistics give the same bits in an arena, to and from it, and with any size of memory', () => {
  const arena = new Arena(8 << 20);
  for (const make of Object.values(DATA))
    for (const shape of SHAPES.filter((sizes) => sizeOf(sizes) > 128)) {
      const X = make(shape);
      const channels = shape[1];
      const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
      for (const training of [true, false]) {
        const run = (call, x, out) => {
          const statistics = emptyStatistics(channels);
          const options = { relu: true, unbiased: true, statistics, out };
          const results = call(x, gamma, beta, runningMean, runningVar, 0.3, 1e-5, training, options);
          return [...results.map(({ data }) => data), statistics.mean, statistics.variance];
        };
        const { batchNormalization, moments } = batchnorm;
        const expected = run(batchNormalization, X);
        for (const work of [LEAST, 100 << 10]) {
          const within = run((...args) => callWithin(work, ...args), X);
          assert.deepEqual(within, expected, `[${shape}] within ${work} bytes`);
        }
        arena.reset();
        const [inside, out] = [arena.tensor(shape), arena.tensor(shape)];
        inside.data.set(X.data);
        if (training) assert.deepEqual(moments(inside), moments(X));
        for (const [from, to] of [
          [inside, out],
          [inside, undefined],
          [X, out],
          [inside, inside],
        ])
          run(batchNormalization, from, to).forEach((data, k) => {
            assert.deepEqual(Array.from(data), Array.from(expected[k]), `[${shape}], training ${training}`);
          });
      }
    }
});
