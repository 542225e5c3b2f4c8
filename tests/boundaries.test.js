/* Shapes at the boundaries of the plan, each named after its boundary, compared with float64. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalizeBy } from '../js/forward.js';
import { makePlan } from '../js/plan.js';
import { normalTensor, parametersFor, sizeOf } from './data.js';
import { callKernel, callWithin, checkCall, checkGradient, LEAST } from './helpers.js';

function probe(name, shape) {
  test(`${name}: [${shape}]`, () => {
    const X = normalTensor(shape, sizeOf(shape), 10, 2);
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    checkCall(X, [gamma, beta, runningMean, runningVar], 'training');
    checkCall(X, [gamma, beta, runningMean, runningVar, 0.1, 1e-5, false], 'inference');
    const gradOutput = normalTensor(shape, 1 + sizeOf(shape), 1, 0.5);
    const statistics = { mean: runningMean, variance: runningVar };
    checkGradient(gradOutput, X, { gamma, beta, relu: true }, 'gradient');
    checkGradient(gradOutput, X, { gamma, statistics, training: false }, 'gradient in inference');
  });
}

probe('one value', [1, 1, 1, 1]);
for (const width of [2, 3, 4, 5, 7, 8, 9]) probe('around the vector width, along a slab', [1, 3, 1, width]);
for (const channels of [1, 2, 3, 4, 5, 7, 8, 9]) probe('around the vector width, across channels', [6, channels, 1, 1]);
for (const width of [15, 16, 17, 31, 32, 33])
  probe('around the lengths of the unrolled loops and of the smaller trees', [2, 3, 1, width]);
for (const width of [63, 64, 65, 127, 128, 129, 124, 191]) probe('around the tree of 64 values', [2, 3, 1, width]);
for (const batch of [1, 2, 3, 4, 5, 7, 8, 9]) probe('around groups of four rows', [batch, 5, 2, 1]);
for (const spatial of [30, 31, 32, 33]) probe('around the number of positions at which the layout changes', [40, 3, spatial, 1]);
for (const batch of [1, 2, 3, 4, 5]) probe('around the batch size at which the layout changes', [batch, 3, 3, 3]);
for (const prime of [2, 3, 5, 7, 11, 13, 29, 31, 37, 61, 67, 127, 131, 251, 509])
  probe('a prime number of positions', [3, 2, prime, 1]);
for (const width of [4095, 4096, 4097, 8191, 8192, 8193]) probe('around the length of a block in a slab', [2, 2, 1, width]);
for (const width of [511, 512, 513]) probe('around the length below which a block has several slabs', [9, 2, 1, width]);
for (const batch of [7, 8, 9, 15, 16, 17]) probe('around the number of rows in a block of short slabs', [batch, 3, 6, 7]);
for (const batch of [255, 256, 257, 511, 512, 513]) probe('around the number of rows in a block of columns', [batch, 5, 3, 1]);
for (const batch of [1023, 1024, 1025, 1028, 4095, 4096, 4097])
  probe('around the number of rows in a longer block of columns', [batch, 3, 1, 1]);
probe('one position', [64, 33, 1, 1]);
probe('49 positions', [8, 20, 7, 7]);
probe('one channel', [4, 1, 19, 23]);
probe('2048 channels', [3, 2048, 2, 2]);
probe('2048 channels of slabs', [2, 2048, 7, 5]);
probe('a batch of one', [1, 40, 13, 11]);
probe('a batch of one, one position', [1, 100, 1, 1]);
probe('rows that start at different places in a cache line', [5, 3, 225, 15]);

/** The plan of a call on a shape with the full work area, as js/kernel.js makes it. */
function planOf([batch, channels, height, width], training = true) {
  let plan;
  const run = (dimensions, task) => (plan = makePlan(dimensions, task, 8 << 20, false));
  normalizeBy({ run }, { batch, channels, spatial: height * width, training }, new Float32Array(1));
  return plan;
}

test('several ranges of channels that fill a tile exactly, or with one position more or less', () => {
  for (const spatial of [1023, 1024, 1025]) {
    const shape = [8, 65, spatial, 1];
    assert.ok(planOf(shape).range < 65 && planOf(shape).resident);
    const { gamma, beta } = parametersFor(65);
    checkCall(normalTensor(shape, 3, 5), [gamma, beta]);
  }
});

test('a channel larger than memory, in pieces of a slab', () => {
  const shape = [1, 2, 2048, 1031];
  assert.ok(planOf(shape).positions < sizeOf(shape) / 2);
  checkCall(normalTensor(shape, 3, 5), [null, null]);
});

test('a channel larger than memory, in blocks of rows', () => {
  const shape = [33, 2, 256, 257];
  assert.ok(!planOf(shape).resident && planOf(shape).rows < 33);
  checkCall(normalTensor(shape, 3, 5), [null, null]);
});

test('rows too short to be gathered are streamed across columns', () => {
  const shape = [30001, 70, 1, 1];
  assert.ok(!planOf(shape).resident && planOf(shape).columns);
  checkCall(normalTensor(shape, 3, 5), [null, null]);
});

test('more channels than the state has room for', () => {
  const shape = [2, 40000, 1, 1];
  assert.ok(planOf(shape).range < 40000);
  checkCall(normalTensor(shape, 3, 5), [null, null]);
  checkCall(normalTensor(shape, 3, 5), [null, null, new Float32Array(40000), new Float32Array(40000).fill(1), 0.1, 1e-5, false]);
});

test('inference on a block, and on one row more or less', () => {
  const rows = planOf([1000, 16, 32, 32], false).rows;
  for (const batch of [rows - 1, rows, rows + 1, 2 * rows + 1]) {
    const { gamma, beta, runningMean, runningVar } = parametersFor(16);
    checkCall(normalTensor([batch, 16, 32, 32], batch), [gamma, beta, runningMean, runningVar, 0.1, 1e-5, false]);
  }
});

test('channels in double next to channels in float32, in every kind of plan', () => {
  for (const [end, shape] of [
    [8 << 20, [4, 3, 20, 20]],
    [LEAST, [4, 3, 140, 50]],
    [LEAST, [50, 3, 3, 3]],
    [LEAST, [2500, 3, 3, 3]],
    [8 << 20, [50, 3, 3, 3]],
  ])
    for (const deviation of [1e-19, 1e-25, 1e-40, 1e19]) {
      const X = normalTensor(shape, 1, 0, 1);
      X.data.forEach((value, i) => {
        if (Math.floor(i / (shape[2] * shape[3])) % 3 === 1) X.data[i] = value * deviation;
      });
      for (const epsilon of [0, 1e-5]) {
        const args = [null, null, null, null, 0, epsilon];
        checkCall(X, args);
        assert.deepEqual(callWithin(end, X, ...args), callKernel(X, ...args));
      }
    }
});

test('values whose distance from the mean is subnormal, in training and inference', () => {
  for (const shape of [
    [2, 3, 9, 9],
    [2, 2, 70, 70],
    [50, 3, 3, 3],
  ])
    for (const size of [2 ** -113, 2 ** -115, 2 ** -117, 1e-38, 1e-44])
      for (const part of [1, 0.01]) {
        const X = normalTensor(shape, 1, 0, 1);
        X.data.forEach((value, i) => {
          if ((i * 0.618) % 1 < part) X.data[i] = value * size;
        });
        const { gamma, beta } = parametersFor(shape[1]);
        const zeros = new Float32Array(shape[1]);
        for (const variance of [1, 1e-60]) {
          const statistics = [zeros, new Float64Array(shape[1]).fill(variance)];
          checkCall(X, [gamma, beta, ...statistics, 0.1, 0, false], `${size}, variance ${variance}`);
        }
        checkCall(X, [gamma, beta, null, null, 0, 0], `${size}`);
      }
});
