/* The kernel's readable twin in plain JavaScript: double throughout, one rounding at the end. It computes where WebAssembly
 * SIMD is refused, and tensors too small for the way into WebAssembly. docs/numerics.md has its bounds too. */

/** @import { Problem } from './validate.js' */

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
 * The definition, with the mean in two parts.
 * @param {Float32Array} x @param {Float32Array} out @param {number} begin @param {number} row @param {number} spatial
 * @param {number} center @param {number} rest @param {number} invStd @param {number} gamma @param {number} beta
 */
function normalize(x, out, begin, row, spatial, center, rest, invStd, gamma, beta) {
  for (let at = begin; at < x.length; at += row) {
    const end = at + spatial;
    let i = at;
    for (; i < end - 3; i += 4) {
      out[i] = (x[i] - center - rest) * invStd * gamma + beta;
      out[i + 1] = (x[i + 1] - center - rest) * invStd * gamma + beta;
      out[i + 2] = (x[i + 2] - center - rest) * invStd * gamma + beta;
      out[i + 3] = (x[i + 3] - center - rest) * invStd * gamma + beta;
    }
    for (; i < end; i++) out[i] = (x[i] - center - rest) * invStd * gamma + beta;
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
 */
function normalizeColumns(x, out, spatial, numbers) {
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
        for (let i = j; i < end; i += row) out[i] = (x[i] - center - rest) * invStd * gamma + beta;
    }
  }
}

/**
 * @param {Problem} job
 * @param {Float32Array} out as long as job.x, of which it may be the very memory
 * @param {Float32Array | Float64Array | null} newMean in training: receives the running mean; one value per channel
 * @param {Float32Array | Float64Array | null} newVar likewise the running variance
 */
export function runPlain(job, out, newMean, newVar) {
  const { x, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon } = job;
  const row = channels * spatial;
  const count = batch * spatial;
  // Many slabs of one to three values are taken column by column, all channels at a time.
  const numbers = spatial < 4 && batch > 31 ? new Float64Array(5 * channels) : null;
  const sums = numbers && newMean && columnSums(x, spatial, new Float64Array(channels), false);
  const deviations =
    sums &&
    columnSums(
      x,
      spatial,
      sums.map((total) => Math.fround(total / count)),
      true,
    );
  for (let c = 0, at = 0; c < channels; c++) {
    const begin = c * spatial;
    // The mean is center + rest. As the center is a float32, x − center is exact wherever the rest matters.
    let center = runningMean ? runningMean[c] : 0;
    let rest = 0;
    let variance = runningVar ? runningVar[c] : 1;
    if (newMean && newVar) {
      const total = sums ? sums[c] : sum(x, begin, row, spatial, 0, false);
      const mean = total / count;
      newMean[c] = momentum * center + (1 - momentum) * mean;
      center = Math.fround(mean);
      if (Number.isFinite(mean)) rest = (total - count * center) / count;
      const squared = deviations ? deviations[c] : sum(x, begin, row, spatial, center, true);
      const batchVariance = Math.max(squared / count - rest * rest, 0);
      newVar[c] = momentum * variance + (1 - momentum) * batchVariance;
      variance = batchVariance;
    }
    const invStd = 1 / Math.sqrt(variance + epsilon);
    const scale = gamma ? gamma[c] : 1;
    const shift = beta ? beta[c] : 0;
    if (numbers) {
      numbers[at++] = center;
      numbers[at++] = rest;
      numbers[at++] = invStd;
      numbers[at++] = scale;
      numbers[at++] = shift;
    } else normalize(x, out, begin, row, spatial, center, rest, invStd, scale, shift);
  }
  if (numbers) normalizeColumns(x, out, spatial, numbers);
}
