/* Shared by libraries.js and newer.js: the values of a tensor, and checks of a library's tensor as an argument. */
import assert from 'node:assert/strict';
import { batchNormalization } from '../../js/index.js';
import { assertSameBits } from '../helpers.js';

export const shape = [2, 3, 8, 5];
/** Squares modulo a prime. No two images, channels or rows are equal, so misplaced values change the result. */
export const valueAt = (i) => (i * i) % 97;
export const values = () => Float32Array.from({ length: 240 }, (_, i) => valueAt(i));
export const plain = { data: values(), shape };

const gamma = Float32Array.of(1.5, -0.75, 2);
const beta = Float32Array.of(0.25, 3, -1);
const runningMean = Float32Array.of(47, 48.5, 46);
const runningVar = Float32Array.of(700, 810.5, 760);

const train = (X, ...parameters) => batchNormalization(X, ...parameters, null, null, 0.9, 1e-5, true);
const infer = (X, ...parameters) => batchNormalization(X, ...parameters, 0.9, 1e-5, false);

function assertSameResults(actual, expected, message) {
  for (const [k, name] of ['output', 'runningMean', 'runningVar'].entries())
    assertSameBits(actual[k].data, expected[k].data, `${message}: ${name}`);
}

/** Checks that X gives the same bits as its values in a plain tensor, in training and in inference. */
export function assertTaken(X, expected = plain) {
  const channels = expected.shape[1];
  const parameters = [gamma, beta, runningMean, runningVar].map((data) =>
    Float32Array.from({ length: channels }, (_, c) => data[c % 3]),
  );
  const affine = parameters.slice(0, 2);
  assertSameResults(train(X, ...affine), train(expected, ...affine), 'training');
  assertSameResults(infer(X, ...parameters), infer(expected, ...parameters), 'inference');
}

/** Checks that tensors of a library are accepted as every argument. @param {(data: Float32Array, sizes: number[]) => any} make */
export function assertTakenEverywhere(make) {
  assertTaken(make(values(), shape));
  for (const sizes of [[3], [1, 3, 1, 1]]) {
    const make1 = (data) => make(data.slice(), sizes);
    assertSameResults(train(plain, make1(gamma), make1(beta)), train(plain, gamma, beta), `parameters of [${sizes}]`);
    const parameters = [gamma, beta, runningMean, runningVar];
    assertSameResults(infer(plain, ...parameters.map(make1)), infer(plain, ...parameters), `inference with [${sizes}]`);
  }
}

/** Checks a tensor as `out`, also in place: the call must return this very tensor, and `read` must find the output in it. */
export function assertFilled(make, read = (tensor) => tensor.data) {
  const [{ data: expected }] = train(plain, gamma, beta);
  for (const [X, out] of [[plain, make(new Float32Array(240), shape)], new Array(2).fill(make(values(), shape))]) {
    const [output] = batchNormalization(X, gamma, beta, null, null, 0.1, 1e-5, true, { out });
    assert.equal(output, out);
    assertSameBits(read(out), expected, X === out ? 'in place' : 'out');
  }
}

/** Checks that X, whose values are not contiguous in row-major order, is rejected with that reason, as X and as `out`. */
export function assertRejected(X, pattern = /contiguous/) {
  const isExpected = (name) => (error) => {
    assert.ok(error instanceof RangeError || error instanceof TypeError, error.stack);
    assert.match(error.message, new RegExp(`\\b${name}\\b`));
    assert.match(error.message, pattern);
    return true;
  };
  assert.throws(() => train(X, null, null), isExpected('X'));
  const sizes = Array.from(X.shape ?? X.dims);
  const other = { data: new Float32Array(sizes.reduce((product, size) => product * size, 1)), shape: sizes };
  const before = X.data.slice();
  assert.throws(() => batchNormalization(other, null, null, null, null, 0.9, 1e-5, true, { out: X }), isExpected('out'));
  assertSameBits(X.data, before, 'not written to');
}

/** Checks that an object without values in `data` is a TypeError, as X and as gamma. */
export function assertNoTensor(given) {
  assert.throws(() => train(given, null, null), { name: 'TypeError', message: /\bX\b/ });
  assert.throws(() => train(plain, given, null), { name: 'TypeError', message: /\bgamma\b/ });
}

/** The images from `begin` to `end`, in a plain tensor. */
export const images = (begin, end) => ({ data: values().slice(120 * begin, 120 * end), shape: [end - begin, 3, 8, 5] });

/** A plain tensor with the axes in another order, copied value by value: what a library's transposed copy must hold. */
export function transposed(axes) {
  const sizes = axes.map((axis) => shape[axis]);
  const steps = axes.map((axis) => [120, 40, 5, 1][axis]);
  const data = new Float32Array(240);
  for (let i = 0; i < 240; i++) {
    let rest = i;
    let from = 0;
    for (let k = 3; k >= 0; k--) {
      from += (rest % sizes[k]) * steps[k];
      rest = Math.floor(rest / sizes[k]);
    }
    data[i] = valueAt(from);
  }
  return { data, shape: sizes };
}

/** Compares inference with the formula in double: the error may be 2·10⁻⁶ of its two terms. */
export function assertInferred({ data }, parameters, epsilon) {
  const [scale, shift, mean, variance] = parameters;
  assert.equal(data.length, 240);
  data.forEach((y, i) => {
    const c = Math.floor(i / 40) % 3;
    const p = ((valueAt(i) - mean[c]) / Math.sqrt(variance[c] + epsilon)) * scale[c];
    const bound = 2e-6 * (Math.abs(p) + Math.abs(shift[c]));
    assert.ok(Math.abs(y - (p + shift[c])) <= bound, `value ${i} is ${y}, not ${p + shift[c]}`);
  });
}
