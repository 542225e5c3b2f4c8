/* Batch normalization and its gradient in plain JavaScript, tuned as far as possible; and batch normalization as one would first
 * write it. All of them sum in double and round once. The tuned functions have no relu, and lack the corrections that make the
 * package's own plain JavaScript, js/plain.js, exact far from zero. */

import { call, callGradient } from '../js/call.js';

/**
 * The sum of the deviations from a center, or of their squares.
 * @param {Float32Array} x @param {number} begin @param {number} row @param {number} spatial
 * @param {number} center @param {boolean} squared
 */
function sum(x, begin, row, spatial, center, squared) {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let at = begin; at < x.length; at += row) {
    const end = at + spatial;
    let i = at;
    for (; i < end - 3; i += 4) {
      const d0 = x[i] - center;
      const d1 = x[i + 1] - center;
      const d2 = x[i + 2] - center;
      const d3 = x[i + 3] - center;
      s0 += squared ? d0 * d0 : d0;
      s1 += squared ? d1 * d1 : d1;
      s2 += squared ? d2 * d2 : d2;
      s3 += squared ? d3 * d3 : d3;
    }
    for (; i < end; i++) {
      const d = x[i] - center;
      s0 += squared ? d * d : d;
    }
  }
  return s0 + s1 + (s2 + s3);
}

/* Slabs that are too short for a loop of their own are processed four rows at a time, channel by channel. So a channel's numbers
 * and sums are loaded once per four rows. */

/** @param {{ batch: number, spatial: number }} dimensions */
const inColumns = ({ batch, spatial }) => spatial < 64 && batch > 3;

/** How many values are in complete groups of four rows. @param {number} length @param {number} row */
const inFours = (length, row) => length - (length % (4 * row));

/**
 * @param {Float32Array} x @param {Float32Array} out @param {number} begin @param {number} end
 * @param {number} mean @param {number} scale @param {number} shift
 */
function normalize(x, out, begin, end, mean, scale, shift) {
  let i = begin;
  for (const last = end - 3; i < last; i += 4) {
    out[i] = (x[i] - mean) * scale + shift;
    out[i + 1] = (x[i + 1] - mean) * scale + shift;
    out[i + 2] = (x[i + 2] - mean) * scale + shift;
    out[i + 3] = (x[i + 3] - mean) * scale + shift;
  }
  for (; i < end; i++) out[i] = (x[i] - mean) * scale + shift;
}

/** @type {import('../js/call.js').Normalize} */
export function tuned(problem, out) {
  if (inColumns(problem)) tunedColumns(problem, out);
  else tunedSlabs(problem, out);
}

/** Channel by channel. @type {import('../js/call.js').Normalize} */
function tunedSlabs({ x, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training }, out) {
  const row = channels * spatial;
  const count = batch * spatial;
  for (let c = 0; c < channels; c++) {
    const begin = c * spatial;
    if (training) {
      mean[c] = sum(x, begin, row, spatial, 0, false) / count;
      variance[c] = sum(x, begin, row, spatial, mean[c], true) / count;
    }
    const scale = (gamma === null ? 1 : gamma[c]) / Math.sqrt(variance[c] + epsilon);
    const shift = beta === null ? 0 : beta[c];
    const center = mean[c];
    for (let at = begin; at < x.length; at += row) normalize(x, out, at, at + spatial, center, scale, shift);
  }
}

/** Per channel, the sum of the deviations from its center, or of their squares. */
function columnSums(x, spatial, centers, squared) {
  const sums = new Float64Array(centers.length);
  const row = sums.length * spatial;
  const fours = inFours(x.length, row);
  let at = 0;
  for (; at < fours; at += 4 * row)
    for (let c = 0, i = at; c < sums.length; c++) {
      const center = centers[c];
      let total = sums[c];
      for (const end = i + spatial; i < end; i++) {
        const d0 = x[i] - center;
        const d1 = x[i + row] - center;
        const d2 = x[i + 2 * row] - center;
        const d3 = x[i + 3 * row] - center;
        total += squared ? d0 * d0 + d1 * d1 + (d2 * d2 + d3 * d3) : d0 + d1 + (d2 + d3);
      }
      sums[c] = total;
    }
  for (; at < x.length; at += row)
    for (let c = 0, i = at; c < sums.length; c++)
      for (const end = i + spatial; i < end; i++) {
        const d = x[i] - centers[c];
        sums[c] += squared ? d * d : d;
      }
  return sums;
}

/** Four rows at a time. @type {import('../js/call.js').Normalize} */
function tunedColumns({ x, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training }, out) {
  const row = channels * spatial;
  const count = batch * spatial;
  if (training) {
    mean.set(columnSums(x, spatial, new Float64Array(channels), false).map((total) => total / count));
    variance.set(columnSums(x, spatial, mean, true).map((total) => total / count));
  }
  const means = Float64Array.from(mean);
  const scales = new Float64Array(channels);
  const shifts = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    scales[c] = (gamma === null ? 1 : gamma[c]) / Math.sqrt(variance[c] + epsilon);
    shifts[c] = beta === null ? 0 : beta[c];
  }
  const fours = inFours(x.length, row);
  let at = 0;
  for (; at < fours; at += 4 * row)
    for (let c = 0, i = at; c < channels; c++) {
      const center = means[c];
      const scale = scales[c];
      const shift = shifts[c];
      for (const end = i + spatial; i < end; i++) {
        out[i] = (x[i] - center) * scale + shift;
        out[i + row] = (x[i + row] - center) * scale + shift;
        out[i + 2 * row] = (x[i + 2 * row] - center) * scale + shift;
        out[i + 3 * row] = (x[i + 3 * row] - center) * scale + shift;
      }
    }
  for (; at < x.length; at += row)
    for (let c = 0, i = at; c < channels; c++)
      for (const end = i + spatial; i < end; i++) out[i] = (x[i] - means[c]) * scales[c] + shifts[c];
}

/** The gradient in training, with given statistics and an `out`. @type {import('../js/call.js').Differentiate} */
export function tunedGradient(job, out, gradGamma, gradBeta) {
  if (inColumns(job)) gradientColumns(job, out, gradGamma, gradBeta);
  else gradientSlabs(job, out, gradGamma, gradBeta);
}

/** The coefficients of a channel's gradInput, g · scale + (x · slope + constant), from its sums. Also writes its gradBeta and
 * gradGamma. */
function coefficients({ gamma, mean, variance, epsilon, batch, spatial }, c, total, products, gradGamma, gradBeta) {
  const count = batch * spatial;
  const invStd = 1 / Math.sqrt(variance[c] + epsilon);
  const scale = (gamma === null ? 1 : gamma[c]) * invStd;
  const slope = (-scale * invStd * invStd * products) / count;
  gradBeta[c] = total;
  gradGamma[c] = products * invStd;
  return [scale, slope, (-scale * total) / count - slope * mean[c]];
}

/** Σ g and Σ g · (x − mean) of one channel. */
function gradientSums(x, g, begin, row, spatial, mean) {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let p0 = 0;
  let p1 = 0;
  let p2 = 0;
  let p3 = 0;
  for (let at = begin; at < x.length; at += row) {
    const end = at + spatial;
    let i = at;
    for (; i < end - 3; i += 4) {
      const g0 = g[i];
      const g1 = g[i + 1];
      const g2 = g[i + 2];
      const g3 = g[i + 3];
      s0 += g0;
      s1 += g1;
      s2 += g2;
      s3 += g3;
      p0 += g0 * (x[i] - mean);
      p1 += g1 * (x[i + 1] - mean);
      p2 += g2 * (x[i + 2] - mean);
      p3 += g3 * (x[i + 3] - mean);
    }
    for (; i < end; i++) {
      s0 += g[i];
      p0 += g[i] * (x[i] - mean);
    }
  }
  return [s0 + s1 + (s2 + s3), p0 + p1 + (p2 + p3)];
}

/** Channel by channel. @type {import('../js/call.js').Differentiate} */
function gradientSlabs(job, out, gradGamma, gradBeta) {
  const { x, gradOutput: g, channels, spatial, mean } = job;
  const row = channels * spatial;
  for (let c = 0; c < channels; c++) {
    const begin = c * spatial;
    const [total, products] = gradientSums(x, g, begin, row, spatial, mean[c]);
    const [scale, slope, constant] = coefficients(job, c, total, products, gradGamma, gradBeta);
    for (let at = begin; at < x.length; at += row) inputGradient(x, g, out, at, at + spatial, scale, slope, constant);
  }
}

function inputGradient(x, g, out, begin, end, scale, slope, constant) {
  let i = begin;
  for (const last = end - 3; i < last; i += 4) {
    out[i] = g[i] * scale + (x[i] * slope + constant);
    out[i + 1] = g[i + 1] * scale + (x[i + 1] * slope + constant);
    out[i + 2] = g[i + 2] * scale + (x[i + 2] * slope + constant);
    out[i + 3] = g[i + 3] * scale + (x[i + 3] * slope + constant);
  }
  for (; i < end; i++) out[i] = g[i] * scale + (x[i] * slope + constant);
}

/** Adds the two sums of gradientSums, of every channel, to totals and products. */
function gradientColumnSums(x, g, spatial, means, totals, products) {
  const row = means.length * spatial;
  const fours = inFours(x.length, row);
  let at = 0;
  for (; at < fours; at += 4 * row)
    for (let c = 0, i = at; c < means.length; c++) {
      const mean = means[c];
      let total = totals[c];
      let product = products[c];
      for (const end = i + spatial; i < end; i++) {
        const g0 = g[i];
        const g1 = g[i + row];
        const g2 = g[i + 2 * row];
        const g3 = g[i + 3 * row];
        total += g0 + g1 + (g2 + g3);
        product += g0 * (x[i] - mean) + g1 * (x[i + row] - mean) + (g2 * (x[i + 2 * row] - mean) + g3 * (x[i + 3 * row] - mean));
      }
      totals[c] = total;
      products[c] = product;
    }
  for (; at < x.length; at += row)
    for (let c = 0, i = at; c < means.length; c++)
      for (const end = i + spatial; i < end; i++) {
        totals[c] += g[i];
        products[c] += g[i] * (x[i] - means[c]);
      }
}

/** Four rows at a time. @type {import('../js/call.js').Differentiate} */
function gradientColumns(job, out, gradGamma, gradBeta) {
  const { x, gradOutput: g, channels, spatial } = job;
  const row = channels * spatial;
  const totals = new Float64Array(channels);
  const products = new Float64Array(channels);
  gradientColumnSums(x, g, spatial, Float64Array.from(job.mean), totals, products);
  const scales = new Float64Array(channels);
  const slopes = new Float64Array(channels);
  const constants = new Float64Array(channels);
  for (let c = 0; c < channels; c++)
    [scales[c], slopes[c], constants[c]] = coefficients(job, c, totals[c], products[c], gradGamma, gradBeta);
  const fours = inFours(x.length, row);
  let at = 0;
  for (; at < fours; at += 4 * row)
    for (let c = 0, i = at; c < channels; c++) {
      const scale = scales[c];
      const slope = slopes[c];
      const constant = constants[c];
      for (const end = i + spatial; i < end; i++) {
        out[i] = g[i] * scale + (x[i] * slope + constant);
        out[i + row] = g[i + row] * scale + (x[i + row] * slope + constant);
        out[i + 2 * row] = g[i + 2 * row] * scale + (x[i + 2 * row] * slope + constant);
        out[i + 3 * row] = g[i + 3 * row] * scale + (x[i + 3 * row] * slope + constant);
      }
    }
  for (; at < x.length; at += row)
    for (let c = 0, i = at; c < channels; c++)
      for (const end = i + spatial; i < end; i++) out[i] = g[i] * scales[c] + (x[i] * slopes[c] + constants[c]);
}

/** A direct translation of the definition. @type {import('../js/call.js').Normalize} */
export function naive({ x, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training }, out) {
  for (let c = 0; c < channels; c++) {
    if (training) {
      let total = 0;
      for (let b = 0; b < batch; b++) for (let i = 0; i < spatial; i++) total += x[(b * channels + c) * spatial + i];
      mean[c] = total / (batch * spatial);
      total = 0;
      for (let b = 0; b < batch; b++)
        for (let i = 0; i < spatial; i++) total += (x[(b * channels + c) * spatial + i] - mean[c]) ** 2;
      variance[c] = total / (batch * spatial);
    }
    const deviation = Math.sqrt(variance[c] + epsilon);
    const scale = gamma?.[c] ?? 1;
    const shift = beta?.[c] ?? 0;
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < spatial; i++) {
        const at = (b * channels + c) * spatial + i;
        out[at] = ((x[at] - mean[c]) / deviation) * scale + shift;
      }
  }
}

/** The tuned functions with the package's checks and allocations. They are called like the package's own. */
export const tunedFunctions = {
  forward: (...args) => call(tuned, ...args),
  gradient: (...args) => callGradient(tunedGradient, ...args),
};
