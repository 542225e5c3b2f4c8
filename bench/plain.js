/* Batch normalization in plain JavaScript, twice: tuned as far as it goes, and as one would first write it. Both sum in
 * double and round once. Tuned does without what makes the package's own twin of its kernel, js/plain.js, exact far from zero. */

import { columnSums, sum } from '../js/plain.js';

/** @import { runPlain } from '../js/plain.js' */

/** @param {Float32Array} x @param {Float32Array} out @param {number} begin @param {number} end @param {number} mean @param {number} scale @param {number} shift */
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

/** @type {typeof runPlain} */
export function tuned(job, out, newMean, newVar) {
  // As in js/plain.js: it takes many short slabs to pay.
  if (job.spatial < 4 && job.batch > 31) tunedColumns(job, out, newMean, newVar);
  else tunedSlabs(job, out, newMean, newVar);
}

/** Channel by channel. @type {typeof runPlain} */
function tunedSlabs(
  { x, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon },
  out,
  newMean,
  newVar,
) {
  const row = channels * spatial;
  const count = batch * spatial;
  for (let c = 0; c < channels; c++) {
    const begin = c * spatial;
    let mean = runningMean === null ? 0 : runningMean[c];
    let variance = runningVar === null ? 1 : runningVar[c];
    if (newMean !== null) {
      const batchMean = sum(x, begin, row, spatial, 0, false) / count;
      const batchVariance = sum(x, begin, row, spatial, batchMean, true) / count;
      newMean[c] = momentum * mean + (1 - momentum) * batchMean;
      newVar[c] = momentum * variance + (1 - momentum) * batchVariance;
      mean = batchMean;
      variance = batchVariance;
    }
    const scale = (gamma === null ? 1 : gamma[c]) / Math.sqrt(variance + epsilon);
    const shift = beta === null ? 0 : beta[c];
    for (let at = begin; at < x.length; at += row) normalize(x, out, at, at + spatial, mean, scale, shift);
  }
}

/** Four rows at a time, all channels in turn: for slabs too short for a loop of their own. @type {typeof runPlain} */
function tunedColumns(
  { x, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon },
  out,
  newMean,
  newVar,
) {
  const row = channels * spatial;
  const count = batch * spatial;
  let means = new Float64Array(channels);
  const scales = new Float64Array(channels);
  const shifts = new Float64Array(channels);
  let squared = null;
  if (newMean !== null) {
    means = columnSums(x, spatial, means, false).map((total) => total / count);
    squared = columnSums(x, spatial, means, true);
  }
  for (let c = 0; c < channels; c++) {
    const mean = runningMean === null ? 0 : runningMean[c];
    let variance = runningVar === null ? 1 : runningVar[c];
    if (squared !== null) {
      const batchVariance = squared[c] / count;
      newMean[c] = momentum * mean + (1 - momentum) * means[c];
      newVar[c] = momentum * variance + (1 - momentum) * batchVariance;
      variance = batchVariance;
    } else means[c] = mean;
    scales[c] = (gamma === null ? 1 : gamma[c]) / Math.sqrt(variance + epsilon);
    shifts[c] = beta === null ? 0 : beta[c];
  }
  for (let at = 0; at < x.length; at += 4 * row) {
    const end = Math.min(x.length, at + 4 * row);
    for (let c = 0, j = at; c < channels; c++)
      for (const next = j + spatial; j < next; j++) {
        const mean = means[c];
        const scale = scales[c];
        const shift = shifts[c];
        for (let i = j; i < end; i += row) out[i] = (x[i] - mean) * scale + shift;
      }
  }
}

/** As the definition reads. @type {typeof runPlain} */
export function naive(
  { x, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon },
  out,
  newMean,
  newVar,
) {
  for (let c = 0; c < channels; c++) {
    let mean = runningMean?.[c] ?? 0;
    let variance = runningVar?.[c] ?? 1;
    if (newMean !== null) {
      let total = 0;
      for (let b = 0; b < batch; b++) for (let i = 0; i < spatial; i++) total += x[(b * channels + c) * spatial + i];
      const batchMean = total / (batch * spatial);
      total = 0;
      for (let b = 0; b < batch; b++)
        for (let i = 0; i < spatial; i++) total += (x[(b * channels + c) * spatial + i] - batchMean) ** 2;
      newMean[c] = momentum * mean + (1 - momentum) * batchMean;
      newVar[c] = momentum * variance + ((1 - momentum) * total) / (batch * spatial);
      mean = batchMean;
      variance = total / (batch * spatial);
    }
    const deviation = Math.sqrt(variance + epsilon);
    const scale = gamma?.[c] ?? 1;
    const shift = beta?.[c] ?? 0;
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < spatial; i++) {
        const at = (b * channels + c) * spatial + i;
        out[at] = ((x[at] - mean) / deviation) * scale + shift;
      }
  }
}
