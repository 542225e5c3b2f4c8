/* A slow and obvious implementation of the gradient: its definition, with means and sums in twice float64's precision if a channel is
 * finite, so that results can be compared with it within the bounds of docs/numerics.md. It takes tensors of any rank, returns arrays,
 * and does not check its arguments. */
import { outputBound, Sum, statisticsOf, twoProduct, twoSum } from './reference.js';

const product = (sizes) => sizes.reduce((total, size) => total * size, 1);

/** The positions of each channel's values in the data, in order. */
export function positionsOf(shape, axis = 1) {
  const k = axis < 0 ? axis + shape.length : axis;
  const batch = product(shape.slice(0, k));
  const channels = shape[k];
  const spatial = product(shape.slice(k + 1));
  return Array.from({ length: channels }, (_, c) => {
    const positions = new Uint32Array(batch * spatial);
    let n = 0;
    for (let b = 0; b < batch; b++) for (let i = 0, at = (b * channels + c) * spatial; i < spatial; i++) positions[n++] = at + i;
    return positions;
  });
}

/** values − (mean + rest), each as a double and its remainder; in plain float64 if that is not finite. */
function deviations(values, mean, meanRest) {
  const d = new Float64Array(values.length);
  const rest = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const [high, error] = twoSum(values[i], -mean);
    if (Number.isFinite(error)) [d[i], rest[i]] = twoSum(high, error - meanRest);
    else d[i] = values[i] - mean;
  }
  return { d, rest };
}

/** Σ a·b of two arrays of deviations; in plain float64 if that is not finite. */
function sumOfProducts(a, b) {
  const sum = new Sum();
  for (let i = 0; i < a.d.length; i++) {
    const [high, error] = twoProduct(a.d[i], b.d[i]);
    sum
      .add(high)
      .add(error)
      .add(a.d[i] * b.rest[i])
      .add(a.rest[i] * b.d[i]);
  }
  const total = sum.high + sum.low;
  return Number.isFinite(total) ? total : a.d.reduce((naive, value, i) => naive + value * b.d[i], 0);
}

const rootMeanSquare = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

/**
 * The gradient, and the terms of its bounds. With P = A·(g − ḡ), R = A·κ·(x − m), and x̂ = (x − m) / √(variance + epsilon):
 *   P, R, normalized   |P|, |R| and |x̂| per value; in inference |A·g|, 0 and |x̂|
 *   channels           per channel:
 *     positions        the positions of its values in the data
 *     count            the number of its values
 *     given            whether its statistics were given
 *     scale, slope     |A| and |A·κ|
 *     rms              the root mean square of its gradients after the mask of relu
 *     spread, offset   the root mean squares of x̂, and of (x − the given mean as a float32) / √(variance + epsilon)
 *     uncertain        with relu, the number of outputs so close to 0 that rounding may decide whether they are above it
 * In training m is the batch's own mean, even if statistics are given; then only the mask of relu uses the given mean.
 */
export function gradientReference(gradOutput, X, options = {}) {
  const { gamma = null, beta = null, statistics = null, epsilon = 1e-5, training = true, relu = false, axis = 1 } = options;
  const positions = positionsOf(X.shape, axis);
  const size = X.data.length;
  const result = {
    gradInput: new Float64Array(size),
    gradGamma: new Float64Array(positions.length),
    gradBeta: new Float64Array(positions.length),
    P: new Float64Array(size),
    R: new Float64Array(size),
    normalized: new Float64Array(size),
    channels: [],
  };
  positions.forEach((at, c) => {
    const n = at.length;
    const weight = gamma === null ? 1 : gamma[c];
    const shift = beta === null ? 0 : beta[c];
    const x = Array.from(at, (i) => X.data[i]);
    const g = Array.from(at, (i) => gradOutput.data[i]);
    const own = statisticsOf(x);
    const used = statistics
      ? { mean: statistics.mean[c], meanRest: 0, variance: statistics.variance[c] }
      : { mean: own.mean, meanRest: own.meanRest, variance: own.variance };
    const std = Math.sqrt(used.variance + epsilon);
    const scale = weight / std;
    let uncertain = 0;
    if (relu) {
      const y = deviations(x, used.mean, used.meanRest).d;
      for (let i = 0; i < n; i++) {
        const p = (y[i] / std) * weight;
        if (Math.abs(p + shift) <= outputBound(training, p, weight, shift)) uncertain++;
        if (!(p + shift > 0)) g[i] = 0;
      }
    }
    const { mean, meanRest } = training ? own : used;
    const gradients = training ? statisticsOf(g) : { mean: 0, meanRest: 0 };
    const ofX = deviations(x, mean, meanRest);
    const ofG = deviations(g, gradients.mean, gradients.meanRest);
    const S = sumOfProducts(ofG, ofX);
    const slope = training ? (S / (n * (used.variance + epsilon))) * scale : 0;
    for (let i = 0; i < n; i++) {
      const P = ofG.d[i] * scale;
      const R = training ? ofX.d[i] * slope : 0;
      result.gradInput[at[i]] = training ? P - R : P;
      result.P[at[i]] = Math.abs(P);
      result.R[at[i]] = Math.abs(R);
      result.normalized[at[i]] = Math.abs(ofX.d[i] / std);
    }
    const total = new Sum();
    for (const value of g) total.add(value);
    const S1 = total.high + total.low;
    result.gradGamma[c] = S / std;
    result.gradBeta[c] = Number.isFinite(S1) ? S1 : g.reduce((sum, value) => sum + value, 0);
    const center = Math.fround(used.mean);
    result.channels.push({
      positions: at,
      count: n,
      given: statistics !== null,
      scale: Math.abs(scale),
      slope: Math.abs(slope),
      rms: rootMeanSquare(g),
      spread: rootMeanSquare(ofX.d.map((value) => value / std)),
      offset: rootMeanSquare(x.map((value) => (value - center) / std)),
      uncertain,
    });
  });
  return result;
}

/* The bounds of docs/numerics.md. u is half a unit in the last place of a float32 at 1. `plain` is for plain JavaScript, whose
 * variance is more accurate, whose results are rounded once, and whose sums have up to `count` additions. */

const u = 2 ** -24;

/** The bound of the error of a sum, relative to the sum of the magnitudes. */
const sumError = ({ count }, plain) => (plain ? Math.max(2 ** -35, count * 2 ** -51) : 2 ** -35);

/** @param {number} P @param {number} R @param {number} normalized |P|, |R| and |x̂| of the value */
export function gradInputBound(training, P, R, normalized, channel, plain = false) {
  if (!training) return (plain ? 1.0001 : 2) * u * P + 2 ** -149;
  const { given, scale, rms, spread, offset } = channel;
  const ofDeviations = given ? offset * (spread + normalized) : normalized;
  const ofSums = sumError(channel, plain) * scale * rms * (1 + ofDeviations);
  if (plain) return u * (given ? 1.001 * (P + R) : 1.2 * P + 1.6 * R) + ofSums + 2 ** -149;
  return u * (given ? 5.13 * P + 5.01 * R : 8.13 * P + 14.01 * R) + ofSums + 2 ** -148;
}

export function gradGammaBound(training, gradGamma, channel, plain = false) {
  const { count, given, rms, spread, offset } = channel;
  const factor = given || !training ? 1.001 : plain ? 1.2 : 4.01;
  return (
    factor * u * Math.abs(gradGamma) + sumError(channel, plain) * count * rms * (given && training ? offset : spread) + 2 ** -149
  );
}

export const gradBetaBound = (gradBeta, channel, plain = false) =>
  u * Math.abs(gradBeta) + sumError(channel, plain) * channel.count * channel.rms + 2 ** -149;
