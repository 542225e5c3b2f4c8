/* Four ways to normalize one channel, as one would write them, and the exact result. The page shows these functions as they
 * stand here. Math.fround rounds to float32, as every operation in float32 does. */
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

/** In double, the sum compensated. */
export function statistics(x) {
  let sum = 0;
  let lost = 0;
  for (const value of x) {
    const next = sum + value;
    lost += Math.abs(sum) > Math.abs(value) ? sum - next + value : value - next + sum;
    sum = next;
  }
  const mean = (sum + lost) / x.length;
  let squares = 0;
  for (const value of x) squares += (value - mean) ** 2;
  return { mean, variance: squares / x.length };
}

export function exact(x, epsilon) {
  const { mean, variance } = statistics(x);
  return Float64Array.from(x, (value) => (value - mean) / Math.sqrt(variance + epsilon));
}

const METHODS = { onePass, twoPass, folded, thisPackage };

/** Float32 data of a mean and deviation 1: `normals` moved there, and rounded. */
const dataAround = (normals, mean) => Float32Array.from(normals, (value) => value + mean);

/** The largest error of each method on data of this mean; NaN where a method gives no number. */
export function errorsAt(normals, mean) {
  const x = dataAround(normals, mean);
  const y = exact(x, 1e-5);
  return Object.fromEntries(
    Object.entries(METHODS).map(([name, method]) => {
      const output = method(x, 1e-5);
      let worst = 0;
      for (let i = 0; i < y.length; i++) {
        const error = Math.abs(output[i] - y[i]);
        if (!(error <= worst)) worst = error;
        if (Number.isNaN(worst)) break;
      }
      return [name, worst];
    }),
  );
}
