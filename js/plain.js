/* The kernel's readable twin in plain JavaScript: double throughout, one rounding at the end. It computes where WebAssembly
 * SIMD is refused, and tensors too small for the way into WebAssembly. docs/numerics.md has its bounds too. */

/** @import { GradientJob, Problem, Statistic } from './validate.js' */

/* The loops go through all slabs of a channel: from `begin`, a row of X from one to the next. Four sums at a time, since
 * an addition waits for the one before it; the same for the others, which saves checks. */

/**
 * Deviations from a center, squared or not.
 * @param {Float32Array} x @param {number} begin @param {number} row @param {number} spatial
 * @param {number} center @param {boolean} squared
 */
export function sum(x, begin, row, spatial, center, squared) {
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

/**
 * The definition, with the mean in two parts, and not less than `least`.
 * @param {Float32Array} x @param {Float32Array} out @param {number} begin @param {number} row @param {number} spatial
 * @param {number} center @param {number} rest @param {number} invStd @param {number} gamma @param {number} beta @param {number} least
 */
function normalize(x, out, begin, row, spatial, center, rest, invStd, gamma, beta, least) {
  for (let at = begin; at < x.length; at += row) {
    const end = at + spatial;
    let i = at;
    for (; i < end - 3; i += 4) {
      const y0 = (x[i] - center - rest) * invStd * gamma + beta;
      const y1 = (x[i + 1] - center - rest) * invStd * gamma + beta;
      const y2 = (x[i + 2] - center - rest) * invStd * gamma + beta;
      const y3 = (x[i + 3] - center - rest) * invStd * gamma + beta;
      out[i] = y0 < least ? least : y0;
      out[i + 1] = y1 < least ? least : y1;
      out[i + 2] = y2 < least ? least : y2;
      out[i + 3] = y3 < least ? least : y3;
    }
    for (; i < end; i++) {
      const y = (x[i] - center - rest) * invStd * gamma + beta;
      out[i] = y < least ? least : y;
    }
  }
}

/* The next two take four rows at a time: down so few a column stays in the cache, and its numbers in registers. */

/**
 * What sum and squares give, for all channels: where slabs are too short to be worth loops of their own.
 * @param {Float32Array} x @param {number} spatial @param {Float64Array} centers @param {boolean} squared
 */
export function columnSums(x, spatial, centers, squared) {
  const sums = new Float64Array(centers.length);
  const row = sums.length * spatial;
  for (let at = 0; at < x.length; at += 4 * row) {
    const end = Math.min(x.length, at + 4 * row);
    for (let c = 0, j = at; c < sums.length; c++)
      for (const next = j + spatial; j < next; j++) {
        const center = centers[c];
        let total = sums[c];
        for (let i = j; i < end; i += row) {
          const d = x[i] - center;
          total += squared ? d * d : d;
        }
        sums[c] = total;
      }
  }
  return sums;
}

/**
 * The definition, likewise.
 * @param {Float32Array} x @param {Float32Array} out @param {number} spatial @param {Float64Array} numbers five a channel, as of normalize
 * @param {number} least
 */
function normalizeColumns(x, out, spatial, numbers, least) {
  const row = (numbers.length / 5) * spatial;
  for (let at = 0; at < x.length; at += 4 * row) {
    const end = Math.min(x.length, at + 4 * row);
    for (let c = 0, j = at; c < numbers.length; ) {
      const center = numbers[c++];
      const rest = numbers[c++];
      const invStd = numbers[c++];
      const gamma = numbers[c++];
      const beta = numbers[c++];
      for (const next = j + spatial; j < next; j++)
        for (let i = j; i < end; i += row) {
          const y = (x[i] - center - rest) * invStd * gamma + beta;
          out[i] = y < least ? least : y;
        }
    }
  }
}

/**
 * Sums of values and of squared deviations, all channels at a time, for many slabs of one to three values; null for others, which
 * are summed channel by channel.
 * @param {Problem} problem
 */
function sumsInColumns({ x, batch, channels, spatial }) {
  if (spatial > 3 || batch < 32) return null;
  const totals = columnSums(x, spatial, new Float64Array(channels), false);
  const centers = totals.map((total) => Math.fround(total / (batch * spatial)));
  return { totals, squares: columnSums(x, spatial, centers, true) };
}

/**
 * Center and rest, the mean in two parts, and variance of a channel. As the center is a float32, x − center is exact wherever the
 * rest matters.
 * @param {Problem} problem @param {number} c @param {ReturnType<typeof sumsInColumns>} sums
 */
function momentsOf({ x, batch, channels, spatial }, c, sums) {
  const begin = c * spatial;
  const row = channels * spatial;
  const count = batch * spatial;
  const total = sums ? sums.totals[c] : sum(x, begin, row, spatial, 0, false);
  const mean = total / count;
  const center = Math.fround(mean);
  const rest = Number.isFinite(mean) ? (total - count * center) / count : 0;
  const squares = sums ? sums.squares[c] : sum(x, begin, row, spatial, center, true);
  return [center, rest, Math.max(squares / count - rest * rest, 0)];
}

/** @type {import('./call.js').Normalize} */
export function normalizePlain(problem, out) {
  const { x, channels, spatial, gamma, beta, epsilon, training, relu } = problem;
  const mean = /** @type {Statistic} */ (problem.mean);
  const variance = /** @type {Statistic} */ (problem.variance);
  const least = relu ? 0 : -Infinity;
  const sums = training ? sumsInColumns(problem) : null;
  const numbers = spatial < 4 && problem.batch > 31 ? new Float64Array(5 * channels) : null;
  for (let c = 0, at = 0; c < channels; c++) {
    let center = mean[c];
    let rest = 0;
    if (training) {
      [center, rest, variance[c]] = momentsOf(problem, c, sums);
      mean[c] = center + rest;
    }
    if (!out) continue;
    const invStd = 1 / Math.sqrt(variance[c] + epsilon);
    const scale = gamma ? gamma[c] : 1;
    // A sum with 0 is never −0, nor then an output.
    const shift = (beta ? beta[c] : 0) + 0;
    if (numbers) {
      numbers[at++] = center;
      numbers[at++] = rest;
      numbers[at++] = invStd;
      numbers[at++] = scale;
      numbers[at++] = shift;
    } else normalize(x, out, c * spatial, channels * spatial, spatial, center, rest, invStd, scale, shift, least);
  }
  if (out && numbers) normalizeColumns(x, out, spatial, numbers, least);
}

/* ---- the gradient ------------------------------------------------------------------------------------------------ */

/* All channels at a time, in the order of memory. */

/** What the gradient keeps of a channel, by place. */
const CENTER = 0;
const REST = 1;
const INV_STD = 2;
const SUM = 3;
const SUM_OF_DEVIATIONS = 4;
const SUM_OF_PRODUCTS = 5;
const G_CENTER = 6;
const G_REST = 7;
const SCALE = 8;
const SLOPE = 9;
const FIELDS = 10;

/** @type {import('./call.js').Differentiate} */
export function differentiatePlain(job, out, gradGamma, gradBeta) {
  const { x, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training, relu } = job;
  const count = batch * spatial;
  const sums = mean ? null : sumsInColumns(job);
  const k = new Float64Array(FIELDS * channels);
  for (let c = 0, at = 0; c < channels; c++, at += FIELDS) {
    let ownVariance = 0;
    if (mean && variance) {
      const center = Math.fround(mean[c]);
      // In inference the output is that of the mean as it was given.
      if (training) k[at + CENTER] = Number.isFinite(center) ? center : 0;
      else k[at + CENTER] = mean[c];
      k[at + REST] = mean[c] - k[at + CENTER] || 0;
      ownVariance = variance[c];
    } else [k[at + CENTER], k[at + REST], ownVariance] = momentsOf(job, c, sums);
    k[at + INV_STD] = 1 / Math.sqrt(ownVariance + epsilon);
  }

  let g = job.gradOutput;
  if (relu) {
    const masked = out ?? new Float32Array(g.length);
    for (let at = 0, c = 0; at < x.length; at += spatial, c = (c + 1) % channels) {
      const center = k[FIELDS * c + CENTER];
      const rest = k[FIELDS * c + REST];
      const invStd = k[FIELDS * c + INV_STD];
      const scale = gamma ? gamma[c] : 1;
      const shift = beta ? beta[c] : 0;
      for (let i = at; i < at + spatial; i++)
        masked[i] = Math.fround((x[i] - center - rest) * invStd * scale + shift) > 0 ? g[i] : 0;
    }
    g = masked;
  }

  const uneven = new Uint8Array(channels);
  for (let at = 0, c = 0; at < x.length; at += spatial, c = (c + 1) % channels) {
    const first = g[c * spatial];
    for (let i = at; i < at + spatial && !uneven[c]; i++) if (g[i] !== first) uneven[c] = 1;
    const center = k[FIELDS * c + CENTER];
    let total = 0;
    let deviations = 0;
    let products = 0;
    for (let i = at; i < at + spatial; i++) {
      const d = x[i] - center;
      total += g[i];
      deviations += d;
      products += g[i] * d;
    }
    k[FIELDS * c + SUM] += total;
    k[FIELDS * c + SUM_OF_DEVIATIONS] += deviations;
    k[FIELDS * c + SUM_OF_PRODUCTS] += products;
  }

  for (let c = 0, at = 0; c < channels; c++, at += FIELDS) {
    const total = k[at + SUM];
    const shift = k[at + SUM_OF_DEVIATIONS] / count;
    const invStd = k[at + INV_STD];
    let products = k[at + SUM_OF_PRODUCTS];
    // The last terms are NaN if a sum is not finite, else 0.
    if (training) products = (uneven[c] ? products - total * shift : 0) + 0 * total + 0 * shift;
    gradBeta[c] = total;
    gradGamma[c] = products * invStd;
    k[at + SCALE] = (gamma ? gamma[c] : 1) * invStd;
    if (!training) continue;
    k[at + G_CENTER] = Math.fround(total / count);
    k[at + G_REST] = (total - count * k[at + G_CENTER]) / count;
    // The mean that is used is the batch's own, whatever was given.
    const center = k[at + CENTER];
    k[at + CENTER] = Math.fround(center + shift);
    k[at + REST] = center - k[at + CENTER] + shift;
    k[at + SLOPE] = ((products * invStd) / count) * invStd * k[at + SCALE];
  }
  if (!out) return;
  for (let at = 0, c = 0; at < x.length; at += spatial, c = (c + 1) % channels) {
    const center = k[FIELDS * c + CENTER];
    const rest = k[FIELDS * c + REST];
    const gCenter = k[FIELDS * c + G_CENTER];
    const gRest = k[FIELDS * c + G_REST];
    const scale = k[FIELDS * c + SCALE];
    const slope = k[FIELDS * c + SLOPE];
    if (training)
      for (let i = at; i < at + spatial; i++) out[i] = (g[i] - gCenter - gRest) * scale - (x[i] - center - rest) * slope;
    else for (let i = at; i < at + spatial; i++) out[i] = g[i] * scale;
  }
}
