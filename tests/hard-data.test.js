/* Data on which batch normalization commonly loses digits, compared with float64 within the bounds of docs/numerics.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchNormalization as plain } from '../js/index-plain.js';
import { normalTensor, parametersFor, seeded, seededNormal, sizeOf, tensor } from './data.js';
import { assertWithinBounds, callKernel, checkCall, rowsOfBlock } from './helpers.js';
import { channelOf, outputBound, reference, statisticsOf, ulp } from './reference.js';

/** The bound of the kernel's variance that docs/numerics.md proves. */
const VARIANCE_BOUND = 6.001 * 2 ** -24;

/** Both layouts: slabs and columns. */
const SHAPES = [
  [4, 3, 16, 20],
  [40, 3, 2, 3],
];

const both = (name, run) => {
  for (const shape of SHAPES) test(`${name}, [${shape}]`, () => run(shape));
};

/** The kernel and plain JavaScript, for tests without checkCall, which runs both. */
const IMPLEMENTATIONS = { kernel: callKernel, plain };

const everyWay = (name, run) => {
  for (const shape of SHAPES)
    for (const [key, batchNormalization] of Object.entries(IMPLEMENTATIONS))
      test(`${name}, [${shape}], ${key}`, () => run(shape, batchNormalization));
};

for (const [mean, deviation] of [
  [0, 1],
  [1e4, 1e-2],
  [1e6, 0.1],
  [-1e7, 1],
  [16777215, 0.5],
  [1e30, 1e24],
  [1e-30, 1e-30],
])
  both(`mean ${mean}, deviation ${deviation}`, (shape) => {
    const { gamma, beta } = parametersFor(shape[1]);
    const X = normalTensor(shape, 5, mean, deviation);
    checkCall(X, [null, null], 'plain');
    checkCall(X, [gamma, beta], 'with gamma and beta');
    checkCall(X, [gamma, beta, null, null, 0, 0], 'with epsilon 0');
  });

everyWay('errors stay under 3 ULP, whatever the mean', (shape, batchNormalization) => {
  for (const mean of [0, 1, 1e3, 1e5, 1e7]) {
    const X = normalTensor(shape, 9, mean);
    const [output] = batchNormalization(X, null, null);
    const { output: exact } = reference(X, null, null);
    const worst = output.data.reduce((most, y, i) => Math.max(most, Math.abs(y - exact[i]) / ulp(exact[i])), 0);
    assert.ok(worst < 3, `${worst} ULP at mean ${mean}`);
  }
});

everyWay('a constant channel gives exactly beta', (shape, batchNormalization) => {
  for (const value of [0, 1, 0.1, -16777215, 1e-40, 3.4e38]) {
    const X = tensor(shape, () => value);
    const { beta } = parametersFor(shape[1]);
    const [output, runningMean, runningVar] = batchNormalization(X, null, beta, null, null, 0);
    output.data.forEach((y, i) => {
      assert.equal(y, beta[Math.floor(i / (shape[2] * shape[3])) % shape[1]]);
    });
    for (const mean of runningMean.data) assert.equal(mean, Math.fround(value));
    for (const variance of runningVar.data) assert.equal(variance, 0);
  }
});

everyWay('a constant channel with epsilon 0 gives NaN, since it is 0/0', (shape, batchNormalization) => {
  const [output] = batchNormalization(
    tensor(shape, () => 7),
    null,
    null,
    null,
    null,
    0.1,
    0,
  );
  assert.ok(output.data.every(Number.isNaN));
});

for (const [key, batchNormalization] of Object.entries(IMPLEMENTATIONS))
  test(`one value per channel gives beta, ${key}`, () => {
    const X = normalTensor([1, 9, 1, 1], 3, 100, 50);
    const beta = [0, 1, -2, 3.5, 0.1, 1e-20, 1e20, 5, 6];
    const [output, runningMean, runningVar] = batchNormalization(X, null, beta, null, null, 0);
    assert.deepEqual(output.data, Float32Array.from(beta));
    assert.deepEqual(runningMean.data, X.data);
    assert.deepEqual(runningVar.data, new Float32Array(9));
  });

both('all equal but one', (shape) => {
  for (const [most, one] of [
    [1, 2],
    [16777215, 16777214],
    [1e6, 1e6 + 0.0625],
    [0, 1e-20],
    [1, 1 + 2 ** -23],
    [2, 2 - 2 ** -23],
  ])
    for (const epsilon of [1e-5, 0])
      checkCall(
        tensor(shape, (i) => (i % (shape[2] * shape[3]) === 1 ? one : most)),
        [null, null, null, null, 0, epsilon],
        `${most} but ${one}`,
      );
});

both('two adjacent float32s', (shape) => {
  const next = seeded(4);
  for (const base of [1, 1.5, 2, 1e7, 2 ** -100])
    checkCall(
      tensor(shape, () => (next() < 0.3 ? base : Math.fround(base * (1 + 2 ** -23)))),
      [null, null, null, null, 0, 0],
      `around ${base}`,
    );
});

both('tiny values', (shape) => {
  for (const size of [1e-18, 1e-20, 1e-25, 1e-38, 1e-42, 1.4e-45])
    for (const epsilon of [1e-5, 1e-29, 1e-40, 0])
      checkCall(normalTensor(shape, 8, 0, size), [null, null, null, null, 0, epsilon], `${size}, epsilon ${epsilon}`);
});

both('tiny values after zeros, which do not reveal how small the others are', (shape) => {
  const next = seeded(41);
  for (const size of [1e-20, 1e-23, 1e-25, 1e-38])
    for (const epsilon of [1e-5, 1e-29, 1e-30, 9e-31, 1e-31, 1e-40, 0]) {
      const X = tensor(shape, (i) => (i % (shape[2] * shape[3]) < 9 && i < 200 ? 0 : size * (next() < 0.5 ? 1 : -1)));
      for (const gamma of [null, new Float32Array(3).fill(1e6)])
        checkCall(X, [gamma, null, null, null, 0, epsilon], `${size}, epsilon ${epsilon}`);
    }
});

everyWay('huge values', (shape, batchNormalization) => {
  for (const size of [1e15, 1e17, 1e18, 1e19, 1e25, 3e37])
    checkCall(normalTensor(shape, 8, 0, size), [null, null, null, null, 0, 1e-5], `${size}`);
  const ends = tensor(shape, (i) => (i % 2 ? 3.4e38 : -3.4e38));
  checkCall(ends, [null, null], 'both ends');
  const [, , runningVar] = batchNormalization(ends, null, null, null, null, 0);
  for (const variance of runningVar.data) assert.equal(variance, Infinity, 'a variance too large for float32');
});

both('magnitudes across the range of float32', (shape) => {
  const next = seeded(6);
  const X = tensor(shape, () => (next() - 0.5) * 2 ** (next() * 250 - 130));
  checkCall(X, [null, null], 'epsilon 1e-5');
  checkCall(X, [null, null, null, null, 0, 0], 'epsilon 0');
});

both('extreme parameters', (shape) => {
  const X = normalTensor(shape, 2);
  for (const gamma of [0, 1e-45, 1e-39, 1e-30, 1e-300, 1e30, 1e37, -1e-40])
    for (const beta of [0, 1e-45, 0.1, -1e30, 3e38]) {
      const args = [new Float64Array(3).fill(gamma), new Float64Array(3).fill(beta)];
      checkCall(X, args, `gamma ${gamma}, beta ${beta}`);
      checkCall(X, [...args, [0.1, -1e-3, 1e5], [0.1, 1e-30, 1e10], 0.1, 1e-5, false], `inference, gamma ${gamma}, beta ${beta}`);
    }
});

both('inference far from zero', (shape) => {
  for (const [mean, deviation] of [
    [0, 1],
    [1e6, 0.1],
    [-1e7, 1],
    [0.1, 1e-3],
    [1e30, 1e25],
    [1e-40, 1e-40],
  ]) {
    const X = normalTensor(shape, 7, mean, deviation);
    const variance = deviation * deviation;
    const { gamma, beta } = parametersFor(3);
    for (const means of [Float32Array.of(mean, mean, mean), [mean, mean * (1 + 1e-9), mean * 1.1]])
      for (const offsets of [beta, [0.1, -0.3, 1e-3], null])
        checkCall(X, [gamma, offsets, means, [variance, variance * 2, variance / 3], 0.1, 1e-12, false], `mean ${mean}`);
  }
});

everyWay('inference with statistics close to the limits of double', (shape, batchNormalization) => {
  const X = normalTensor(shape, 7);
  for (const mean of [0, 1e300, -1e200, 1e-300, Infinity, NaN])
    for (const variance of [0, 1e-300, 1e300, Infinity, NaN])
      for (const gamma of [1, 0, 1e300, 1e-300, Infinity, NaN]) {
        const args = [[gamma, gamma, 1], [0, 1, 0.1], [mean, mean, 0], [variance, 1, variance], 0.1, 0, false];
        assertWithinBounds(X, args, batchNormalization(X, ...args), `mean ${mean}, variance ${variance}, gamma ${gamma}`);
      }
});

both('infinite and huge parameters in training', (shape) => {
  const X = normalTensor(shape, 7);
  for (const gamma of [Infinity, -Infinity, NaN, 1e300, 1.7e308, 0])
    for (const beta of [0, 0.1, Infinity, -Infinity, NaN])
      for (const epsilon of [1e-5, 0])
        checkCall(X, [[gamma, 1, gamma], [beta, beta, 0.1], null, null, 0.1, epsilon], `${gamma}, ${beta}`);
});

test('a million equal values but one: the low part of the mean is kept', () => {
  const X = tensor([1, 1, 1049895, 1], (i) => (i === 77 ? 1.9 + 2 ** -22 : 1.9));
  checkCall(X, [null, null, null, null, 0, 0]);
});

test('infinity times a scale that is 0 in double', () => {
  const X = { data: Float32Array.of(Infinity, -Infinity, 1, 2), shape: [1, 1, 2, 2] };
  checkCall(X, [[1e-200], [0], [0], [1e300], 0.1, 0, false]);
  checkCall(X, [[0], [0], [0], [1e300], 0.1, 0, false]);
});

everyWay('NaN and infinity stay in their channel, and appear where they do in float64', (shape, batchNormalization) => {
  for (const special of [[NaN], [Infinity], [-Infinity], [Infinity, -Infinity]]) {
    const X = normalTensor(shape, 3);
    special.forEach((value, k) => {
      X.data[shape[2] * shape[3] + 5 * k] = value; // in channel 1
    });
    const { gamma, beta, runningMean, runningVar } = parametersFor(3);
    checkCall(X, [gamma, beta], `training, ${special}`);
    checkCall(X, [gamma, beta, runningMean, runningVar, 0.1, 1e-5, false], `inference, ${special}`);
    const [output, newMean, newVar] = batchNormalization(X, null, null, null, null, 0);
    assert.ok(!Number.isFinite(newMean.data[1]) && Number.isNaN(newVar.data[1]));
    output.data.forEach((y, i) => {
      assert.equal(Number.isNaN(y), Math.floor(i / (shape[2] * shape[3])) % 3 === 1);
    });
  }
  const positive = normalTensor(shape, 3);
  positive.data[shape[2] * shape[3]] = Infinity;
  assert.equal(batchNormalization(positive, null, null, null, null, 0)[1].data[1], Infinity);
});

/* A channel of many blocks, whose moments are merged, in both layouts; in columns, also of narrow rows, which have longer blocks. */
const LONG = [3, 1, 200, 701];
const TALL = [12003, 3, 3, 1];
const NARROW = [24003, 3, 1, 1];
const blockOf = ([batch, channels, height, width], i) => {
  const spatial = height * width;
  if (spatial >= 32) return Math.floor((i % spatial) / 4096);
  return Math.floor(i / (channels * spatial) / rowsOfBlock({ batch, channels, spatial }, true));
};

for (const shape of [LONG, TALL, NARROW]) {
  const spatial = shape[2] * shape[3];
  for (const [name, value] of Object.entries({
    'near zero': () => seededNormal(31, 0, 1),
    'far from zero': () => seededNormal(32, 1e6, 0.1),
    'a ramp': () => (i) => i * 1e-5 - 7,
    'vertical stripes': () => (i) => (i % 701 < 30 ? 500 : i % 7),
    'two adjacent float32s': () => (i) => (i % 5 ? 1 : 1 + 2 ** -23),
    'images whose means are far apart': () => {
      const normal = seededNormal(33);
      return (i) => 100 * Math.floor(i / 140200) + normal();
    },
    'a first block higher by one unit in the last place': () => (i) => 16777214 + (blockOf(shape, i) === 0 ? 1 : 0),
    'blocks of one value each': () => (i) => 1e4 + 2 ** -10 * blockOf(shape, i),
    'blocks of different magnitudes': () => {
      const normal = seededNormal(36);
      return (i) => normal() * 10 ** ((blockOf(shape, i) % 60) - 40);
    },
    'all deviation in one block': () => {
      const normal = seededNormal(37);
      return (i) => 1e5 + (blockOf(shape, i) === 3 ? normal() : 0);
    },
    'one value of 10⁷ among values of about 1': () => {
      const normal = seededNormal(34);
      return (i) => (i === 5 * spatial ? 1e7 : normal());
    },
    'one value of 3·10³⁸ among values of about 1': () => {
      const normal = seededNormal(34);
      return (i) => (i === 7 * spatial ? 3e38 : normal());
    },
    'tiny first values': () => {
      const normal = seededNormal(38);
      return (i) => (i % 4096 < 9 || i < 700 ? 1e-25 * normal() : normal());
    },
    'tiny except for some first values': () => {
      const normal = seededNormal(39);
      return (i) => (i % 4096 < 9 || i < 700 ? 1e-9 * normal() : 1e-19 * normal());
    },
    subnormal: () => {
      const normal = seededNormal(40);
      return () => 1e-40 * normal();
    },
  }))
    test(`many blocks, ${name}, [${shape}]`, () => {
      const X = tensor(shape, value());
      for (const epsilon of [1e-9, 0]) {
        const args = [[1.5, 1, -1].slice(0, shape[1]), [0.1, 0, 7].slice(0, shape[1]), null, null, 0, epsilon];
        checkCall(X, args);
      }
      // The batch's own variance, in double, is proven to be within 6.001 · 2⁻²⁴ of the exact one.
      const channels = shape[1];
      const doubles = [new Float64Array(channels), new Float64Array(channels)];
      const [, mean, variance] = callKernel(X, null, null, ...doubles, 0);
      for (let c = 0; c < channels; c++) {
        const exact = statisticsOf(channelOf(X, c));
        assert.ok(
          Math.abs(variance.data[c] / exact.variance - 1) <= VARIANCE_BOUND,
          `${variance.data[c]}, not ${exact.variance}`,
        );
        const magnitude = channelOf(X, c).reduce((sum, x) => sum + Math.abs(x), 0) / (X.data.length / channels);
        assert.ok(Math.abs(mean.data[c] - exact.mean) <= (X.data.length / channels) * 2 ** -53 * magnitude);
      }
    });

  test(`many blocks of equal values give exactly beta, [${shape}]`, () => {
    const X = tensor(shape, () => -16777215);
    const beta = Float32Array.of(0.3, 0.3, 0.3).subarray(0, shape[1]);
    const [output, , variance] = callKernel(X, null, beta, null, null, 0);
    assert.ok(output.data.every((y) => y === Math.fround(0.3)));
    assert.ok(variance.data.every((value) => value === 0));
  });
}

test('NaN and infinity in a channel of many blocks stay there', () => {
  const X = normalTensor([1, 2, 2000, 1001], 35);
  const second = X.data.subarray(2002000);
  const [expected] = callKernel({ data: second, shape: [1, 1, 2000, 1001] }, null, null);
  for (const [special, at] of [
    [NaN, 0],
    [Infinity, 999],
    [-Infinity, 2001999],
  ]) {
    X.data[at] = special;
    const [output, mean, variance] = callKernel(X, null, null, null, null, 0);
    assert.ok(output.data.subarray(0, second.length).every(Number.isNaN));
    assert.ok(Buffer.from(expected.data.buffer).equals(new Uint8Array(output.data.buffer, second.byteLength)));
    assert.deepEqual([mean.data[0], variance.data[0]], [special, NaN]);
    X.data[at] = 0;
  }
});

both('for tiny data, the returned variance is just as exact', (shape) => {
  for (const size of [1e-12, 1e-16, 1e-19, 1e-25, 1e-38, 1e-44]) {
    const X = normalTensor(shape, 8, 0, size);
    const [, , variance] = callKernel(X, null, null, new Float64Array(3), new Float64Array(3), 0);
    for (let c = 0; c < 3; c++) {
      const exact = statisticsOf(channelOf(X, c)).variance;
      assert.ok(Math.abs(variance.data[c] / exact - 1) <= VARIANCE_BOUND, `${size}: ${variance.data[c]}, not ${exact}`);
    }
  }
});

test('outputs of ten million values near a million', () => {
  const shape = [10, 1, 1000, 1000];
  const next = seeded(11);
  const X = tensor(shape, () => 1e6 + 0.1 * (next() - 0.5));
  const [output] = callKernel(X, null, null);
  const { output: exact, p } = reference(X, null, null);
  for (let i = 0; i < sizeOf(shape); i += 997) assert.ok(Math.abs(output.data[i] - exact[i]) <= outputBound(true, p[i], 1, 0));
});

test('a thousand sets of random data come close to the bound and never exceed it', () => {
  const next = seeded(12);
  let worst = 0;
  for (let k = 0; k < 1000; k++) {
    const shape = [1 + Math.floor(next() * 6), 2, 1 + Math.floor(next() * 9), 1 + Math.floor(next() * 9)];
    const normal = seededNormal(k, (next() - 0.5) * 2 ** (next() * 40 - 15), 2 ** (next() * 20 - 10));
    const args = [[1, -1.5], [0, next()], null, null, 0.5, next() < 0.5 ? 0 : 1e-5];
    if (sizeOf(shape) > 2) worst = Math.max(worst, checkCall(tensor(shape, normal), args, `set ${k}`));
  }
  assert.ok(worst > 0.3, `the worst error is only ${worst} of the bound, so the test would miss errors`);
});

test('inference on random data comes within 10 % of the bound and never exceeds it', () => {
  const next = seeded(13);
  let worst = 0;
  for (let k = 0; k < 3000; k++) {
    const X = tensor([1, 1, 4, 4], seededNormal(k, next() * 10));
    const mean = X.data[0] * (1 + next() * 1e-3);
    worst = Math.max(worst, checkCall(X, [[0.5 + next()], [next()], [mean], [next() + 0.1], 0.1, 1e-5, false], `set ${k}`));
    const float = (value) => Float32Array.of(value);
    const args = [float(0.5 + next()), float(next()), float(mean), float(next() + 0.1), 0.1, 1e-5, false];
    worst = Math.max(worst, checkCall(X, args, `set ${k}, float32`));
  }
  assert.ok(worst > 0.9, `the worst error is only ${worst} of the bound`);
});
