/* A tensor above 4 GiB, with `out` and in place. It only runs on demand, since X and out take 8 GiB. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchNormalization } from '../../js/index.js';

test('a tensor above 4 GiB', () => {
  const shape = [3, 2, 20000, 9001]; // 1.08e9 values, 4.02 GiB
  const spatial = shape[2] * shape[3];
  const data = new Float32Array(6 * spatial);
  assert.ok(data.byteLength > 2 ** 32);
  const out = new Float32Array(data.length);
  // Channel 0 alternates between 2 and 4. Channel 1 is 7 everywhere except in its last value, which is also the tensor's.
  for (let b = 0; b < 3; b++) {
    for (let i = 0; i < spatial; i++) data[2 * b * spatial + i] = 2 + 2 * (i % 2);
    data.fill(7, (2 * b + 1) * spatial, (2 * b + 2) * spatial);
  }
  data[data.length - 1] = 8;
  const count = 3 * spatial;

  const [output, mean, variance] = batchNormalization({ data, shape }, [1, 1], [0, 5], null, null, 0, 0.25, true, { out });
  assert.equal(output.data, out);
  assert.deepEqual([...mean.data], [3, Math.fround(7 + 1 / count)]);
  assert.equal(variance.data[0], 1);
  assert.ok(Math.abs(variance.data[1] * count - (1 - 1 / count)) < 1e-6);
  const unit = Math.fround(1 / Math.sqrt(1.25));
  for (let at = 0; at < 6; at++)
    for (const i of [0, 1, spatial - 1, spatial - 2, 12345678, 99999999]) {
      const value = output.data[at * spatial + i];
      if (at % 2 === 0) assert.ok(Math.abs(Math.abs(value) - unit) < 1e-6, `${value}`);
      else if (at * spatial + i < data.length - 1) assert.ok(Math.abs(value - 5) < 1e-6, `${value}`);
    }
  assert.ok(
    Math.abs(output.data[data.length - 1] - 7) < 1e-6,
    'the last value, 1 above a mean of 7, over a deviation of 0.5, plus 5',
  );

  const [inferred] = batchNormalization({ data, shape }, null, null, [3, 7], [0.75, 0.75], 0, 0.25, false, { out: data });
  assert.deepEqual([inferred.data[0], inferred.data[1], inferred.data[spatial], inferred.data[data.length - 1]], [-1, 1, 0, 1]);
  assert.deepEqual([inferred.data[5 * spatial - 1], inferred.data[5 * spatial]], [1, 0]);
});
