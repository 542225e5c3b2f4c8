/* The training example: its first losses match PyTorch's in float64 (vectors/make_training_losses.py), and it learns. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { train } from '../examples/train.js';

const { rate, ...expected } = JSON.parse(readFileSync(new URL('vectors/training-losses.json', import.meta.url), 'utf8'));

/* Absolute, for losses near 1. The example rounds tensors and parameters to float32, which changes losses by about 1e-7. */
const TOLERANCE = 1e-5;

for (const [key, batchNormalization] of [
  ['with', true],
  ['without', false],
])
  test(`the first losses ${key} batch normalization match PyTorch's`, () => {
    const losses = [];
    train({ steps: expected[key].length, batchNormalization, rate, onStep: (_, loss) => losses.push(loss) });
    assert.equal(losses.length, 30);
    losses.forEach((loss, step) => {
      assert.ok(Math.abs(loss - expected[key][step]) <= TOLERANCE, `step ${step}: ${loss}, not ${expected[key][step]}`);
    });
  });

test('batch normalization makes the difference that the example shows', () => {
  assert.ok(train() > 0.95);
  assert.ok(train({ batchNormalization: false }) < 0.9);
});
