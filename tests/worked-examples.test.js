/* The worked examples, computed with NumPy in float64 (vectors/make_worked_examples.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { batchNormalization } from '../js/index.js';

const examples = JSON.parse(readFileSync(new URL('vectors/worked-examples.json', import.meta.url), 'utf8'));

/* X is float64 in the examples and float32 in the call, so each value is rounded once before, and a few times during the call. */
const TOLERANCE = 2e-6;

for (const { name, arguments: given, result } of examples)
  test(name, () => {
    const X = { data: Float32Array.from(given.X.data), shape: given.X.shape };
    const { gamma, beta, runningMean, runningVar, momentum, epsilon, training } = given;
    const actual = batchNormalization(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training);
    const expected = [result.output, result.runningMean, result.runningVar];
    actual.forEach(({ data }, k) => {
      assert.equal(data.length, expected[k].length);
      data.forEach((value, i) => {
        assert.ok(
          Math.abs(value - expected[k][i]) <= TOLERANCE * Math.max(1, Math.abs(expected[k][i])),
          `${value}, not ${expected[k][i]}`,
        );
      });
    });
  });
