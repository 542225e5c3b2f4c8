/* Tensors in other libraries' forms: dims, as in onnxruntime; stride and offset, as in ndarray. tests/libraries and tests/package
 * use the real libraries. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchNormalization } from '../js/index.js';
import { normalTensor, parametersFor } from './data.js';
import { assertSameBits } from './helpers.js';

const shape = [2, 3, 4, 5];
const X = normalTensor(shape, 3);
const { gamma, beta, runningMean, runningVar } = parametersFor(3);
const expected = batchNormalization(X, gamma, beta);
const inferred = batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, false);

test('dims in place of shape, in every argument', () => {
  const dims = (data) => ({ data, dims: [3] });
  assert.deepEqual(batchNormalization({ data: X.data, dims: shape }, dims(gamma), { data: beta, dims: [1, 3, 1, 1] }), expected);
  const results = batchNormalization(
    { data: X.data, dims: shape },
    gamma,
    beta,
    dims(runningMean),
    dims(runningVar),
    0.1,
    1e-5,
    false,
  );
  assert.deepEqual(results, inferred);
});

test('dims in addition to shape', () => {
  assert.deepEqual(batchNormalization({ data: X.data, shape, dims: [...shape] }, gamma, beta), expected);
  assert.deepEqual(batchNormalization({ data: X.data, shape, dims: undefined }, gamma, beta), expected);
});

test('if out has dims, the same object is returned', () => {
  const out = { data: new Float32Array(X.data.length), dims: shape };
  const [output] = batchNormalization(X, gamma, beta, null, null, 0.1, 1e-5, true, { out });
  assert.equal(output, out);
  assertSameBits(out.data, expected[0].data);
});

/** An ndarray as scijs makes it, inside a larger array. */
function ndarray(data, sizes, offset = 7) {
  const larger = new data.constructor(data.length + 20);
  data.forEach((value, i) => {
    larger[offset + i] = value;
  });
  const stride = sizes.map((_, k) => sizes.slice(k + 1).reduce((product, size) => product * size, 1));
  return { data: larger, shape: sizes, stride, offset };
}

test('contiguous ndarrays, in every argument', () => {
  const given = (data) => ndarray(data, [3]);
  assert.deepEqual(batchNormalization(ndarray(X.data, shape), given(gamma), given(Array.from(beta))), expected);
  const statistics = [ndarray(runningMean, [1, 3, 1, 1]), given(runningVar)];
  const results = batchNormalization(ndarray(X.data, shape), gamma, beta, ...statistics, 0.1, 1e-5, false);
  assert.deepEqual(results, inferred);
});

test('if out is an ndarray, also in place, only its own part of the data is written', () => {
  const out = ndarray(new Float32Array(X.data.length).fill(1), shape, 9);
  const same = ndarray(X.data, shape, 9);
  for (const [from, to] of [
    [X, out],
    [same, same],
  ]) {
    const [output] = batchNormalization(from, gamma, beta, null, null, 0.1, 1e-5, true, { out: to });
    assert.equal(output, to);
    assertSameBits(to.data.slice(9, -11), expected[0].data);
    assert.ok([...to.data.slice(0, 9), ...to.data.slice(-11)].every((value) => value === 0));
  }
});

test('the stride of a dimension of size 1 does not matter', () => {
  const flat = { data: X.data, shape: [120, 1, 1, 1], stride: [1, 99, -3, 0], offset: 0 };
  assert.deepEqual(batchNormalization(flat, null, null), batchNormalization({ data: X.data, shape: [120, 1, 1, 1] }, null, null));
});

test('an empty ndarray', () => {
  const empty = { data: new Float32Array(0), shape: [0, 3, 4, 5], stride: [60, 20, 5, 1], offset: 0 };
  const [output] = batchNormalization(empty, gamma, beta, runningMean, runningVar, 0.1, 1e-5, false);
  assert.deepEqual(output, { data: new Float32Array(0), shape: [0, 3, 4, 5] });
});
