/* A slow and obvious implementation: batch normalization in float64, with sums in twice that precision if a channel is finite, so that
 * results can be compared with it within the bounds of docs/numerics.md. It takes and returns arrays, and does not check its
 * arguments. */

/** a + b as the rounded sum and its exact error (Knuth). */
export function twoSum(a, b) {
  const sum = a + b;
  const part = sum - a;
  return [sum, a - (sum - part) + (b - part)];
}

/** Splits a double into two halves of its digits (Dekker). */
function split(a) {
  const scaled = a * 134217729;
  const high = scaled - (scaled - a);
  return [high, a - high];
}

/** a · b as the rounded product and its exact error. */
export function twoProduct(a, b) {
  const product = a * b;
  const [a1, a2] = split(a);
  const [b1, b2] = split(b);
  return [product, a2 * b2 - (product - a1 * b1 - a2 * b1 - a1 * b2)];
}

/** A running sum in double-double. */
export class Sum {
  high = 0;
  low = 0;
  add(value) {
    const [sum, error] = twoSum(this.high, value);
    this.high = sum;
    this.low += error;
    return this;
  }
  /** The sum divided by n, as a double and its remainder. */
  over(n) {
    const [total, rest] = twoSum(this.high, this.low);
    const quotient = total / n;
    const [product, error] = twoProduct(quotient, n);
    return [quotient, (total - product - error + rest) / n];
  }
}

/** The numbers of one channel, as an array. */
export function channelOf({ data, shape: [batch, channels, height, width] }, c) {
  const spatial = height * width;
  const values = [];
  for (let b = 0; b < batch; b++) for (let i = 0; i < spatial; i++) values.push(data[(b * channels + c) * spatial + i]);
  return values;
}

/** The mean, as a double and its remainder, and the biased variance. */
export function statisticsOf(values) {
  const n = values.length;
  if (!values.every(Number.isFinite)) {
    const mean = values.reduce((sum, x) => sum + x, 0) / n;
    return { mean, meanRest: 0, variance: values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n };
  }
  const sum = new Sum();
  for (const x of values) sum.add(x);
  const [mean, meanRest] = sum.over(n);
  const squares = new Sum();
  for (const x of values) {
    const [high, error] = twoSum(x, -mean);
    const d = error - meanRest;
    const [square, squareError] = twoProduct(high, high);
    squares
      .add(square)
      .add(squareError)
      .add(2 * high * d)
      .add(d * d);
  }
  return { mean, meanRest, variance: squares.over(n)[0] };
}

/**
 * @returns {{ output: Float64Array, p: Float64Array, mean: number[], variance: number[], runningMean: number[],
 *   runningVar: number[] }} p is the output minus beta
 */
export function reference(X, gamma, beta, runningMean, runningVar, momentum = 0.1, epsilon = 1e-5, training = true) {
  const { data, shape } = X;
  const [batch, channels, height, width] = shape;
  const spatial = height * width;
  const result = {
    output: new Float64Array(data.length),
    p: new Float64Array(data.length),
    mean: [],
    variance: [],
    runningMean: [],
    runningVar: [],
  };
  for (let c = 0; c < channels; c++) {
    const scale = gamma === null ? 1 : gamma[c];
    const shift = beta === null ? 0 : beta[c];
    const { mean, meanRest, variance } = training
      ? statisticsOf(channelOf(X, c))
      : { mean: runningMean[c], meanRest: 0, variance: runningVar[c] };
    const deviation = Math.sqrt(variance + epsilon);
    for (let b = 0; b < batch; b++)
      for (let i = 0, at = (b * channels + c) * spatial; i < spatial; i++, at++) {
        const [high, error] = twoSum(data[at], -mean);
        const d = Number.isFinite(error) ? high + (error - meanRest) : data[at] - mean;
        result.p[at] = (d / deviation) * scale;
        result.output[at] = result.p[at] + shift;
      }
    result.mean.push(mean);
    result.variance.push(variance);
    if (training) {
      result.runningMean.push(momentum * (runningMean?.[c] ?? 0) + (1 - momentum) * mean);
      result.runningVar.push(momentum * (runningVar?.[c] ?? 1) + (1 - momentum) * variance);
    } else {
      result.runningMean.push(runningMean[c]);
      result.runningVar.push(runningVar[c]);
    }
  }
  return result;
}

/** The distance from a float32 to the next one of larger magnitude. */
export const ulp = (value) => (Math.abs(value) < 2 ** -126 ? 2 ** -149 : 2 ** (Math.floor(Math.log2(Math.abs(value))) - 23));

/** docs/numerics.md, rule 1: how far an output may be from the exact one. */
export const outputBound = (training, p, gamma, beta) =>
  training
    ? 2 ** -21 * Math.abs(p) + 2 ** -23 * Math.abs(beta) + 2 ** -30 * Math.abs(gamma) + 2 ** -149
    : 2 ** -22 * Math.abs(p) + 2 ** -24 * Math.abs(beta) + 2 ** -149;
