/* Four ways to normalize one channel, each written in the usual way, and the exact result. The page shows this file. Math.fround
 * rounds to float32, as every operation in float32 does. */
import { batchNormalization } from '../js/index.js';

const f = Math.fround;

export function onePass(x, epsilon) {
  let sum = 0;
  let squares = 0;
  for (const value of x) {
    sum = f(sum + value);
    squares = f(squares + f(value * value));
  }
  const mean = f(sum / x.length);
  const variance = f(f(squares / x.length) - f(mean * mean));
  const deviation = f(Math.sqrt(f(variance + epsilon)));
  return x.map((value) => f(value - mean) / deviation);
}

export function twoPass(x, epsilon) {
  let sum = 0;
  for (const value of x) sum = f(sum + value);
  const mean = f(sum / x.length);
  let squares = 0;
  for (const value of x) {
    const d = f(value - mean);
    squares = f(squares + f(d * d));
  }
  const deviation = f(Math.sqrt(f(f(squares / x.length) + epsilon)));
  return x.map((value) => f(value - mean) / deviation);
}

export function folded(x, epsilon) {
  // The statistics are exact here; folding them into x·a + b in float32 is what loses the digits.
  const { mean, variance } = statistics(x);
  const a = f(1 / Math.sqrt(variance + epsilon));
  const b = f(-mean * a);
  return x.map((value) => f(value * a) + b);
}

export function thisPackage(x, epsilon) {
  const X = { data: x, shape: [1, 1, 1, x.length] };
  const [output] = batchNormalization(X, null, null, null, null, 0.1, epsilon);
  return output.data;
}

/** The mean, the variance, and the deviations from the mean, in double precision. The difference between two float32
 * values is exact there, so no digits are lost however large the mean is. */
export function statistics(x) {
  const deviations = new Float64Array(x).map((value) => value - x[0]);
  const offset = deviations.reduce((sum, d) => sum + d, 0) / x.length;
  let squares = 0;
  for (let i = 0; i < x.length; i++) {
    deviations[i] -= offset;
    squares += deviations[i] ** 2;
  }
  return { mean: x[0] + offset, variance: squares / x.length, deviations };
}

export function exact(x, epsilon) {
  const { variance, deviations } = statistics(x);
  const scale = 1 / Math.sqrt(variance + epsilon);
  return deviations.map((d) => d * scale);
}

const METHODS = { onePass, twoPass, folded, thisPackage };

/** Float32 data with this mean and with deviation 1: `normals` (mean 0, deviation 1) plus the mean, rounded. */
export const dataAround = (normals, mean) => new Float32Array(normals.map((value) => value + mean));

/** The largest difference, or NaN if one of the values is NaN. */
export function largestError(values, expected) {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(values[i] - expected[i]);
    if (Number.isNaN(error)) return error;
    if (error > worst) worst = error;
  }
  return worst;
}

/**
 * Runs all methods on data with this mean. Returns the largest error of each method, its output number `sample`, and the exact value
 * of that output.
 * @param {Float64Array} normals @param {number} mean @param {number} [sample]
 */
export function errorsAt(normals, mean, sample = 0) {
  const x = dataAround(normals, mean);
  const y = exact(x, 1e-5);
  const methods = Object.entries(METHODS).map(([name, method]) => {
    const output = method(x, 1e-5);
    return [name, { error: largestError(output, y), value: output[sample] }];
  });
  return { methods: Object.fromEntries(methods), expected: y[sample] };
}
