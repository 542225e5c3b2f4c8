/* The smallest variance with which the kernel normalizes in float32, 2⁻²³⁰: src/batchnorm.h promises the bits on both sides of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded, tensor } from './data.js';
import { callKernel } from './helpers.js';

const CHANNELS = 16;
// As doubles, so that float32 has something to round.
const next = seeded(5);
const gamma = Float64Array.from({ length: CHANNELS }, () => 1 + next());
const beta = Float64Array.from({ length: CHANNELS }, () => 1 + next());

/** In float32, each operation rounded. */
const inFloat = (x, invStd, c) => Math.fround(Math.fround(x * Math.fround(gamma[c] * invStd)) + Math.fround(beta[c]));
/** In double, rounded once. */
const inDouble = (x, invStd, c) => Math.fround(x * invStd * gamma[c] + beta[c]);

for (const [layout, shape] of [
  ['slabs', [2, CHANNELS, 2, 10]],
  ['columns', [40, CHANNELS, 2, 1]],
])
  for (const [size, expected, other] of [
    [2 ** -115, inFloat, inDouble],
    [2 ** -115 * (1 - 2 ** -24), inDouble, inFloat],
  ])
    test(`${layout}: a variance of ${size ** 2 / 2 ** -230} · 2⁻²³⁰`, () => {
      const X = tensor(shape, (i) => (i % 2 ? size : -size));
      const statistics = { mean: new Float64Array(CHANNELS), variance: new Float64Array(CHANNELS) };
      const [{ data }] = callKernel(X, gamma, beta, null, null, 0, 0, true, { statistics });
      assert.deepEqual(statistics.mean, new Float64Array(CHANNELS));
      assert.deepEqual(statistics.variance, new Float64Array(CHANNELS).fill(size ** 2));
      const by = (formula) => X.data.map((x, i) => formula(x, 1 / size, Math.floor(i / (shape[2] * shape[3])) % CHANNELS));
      assert.deepEqual(data, by(expected));
      assert.notDeepEqual(data, by(other));
    });
