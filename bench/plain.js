/* The same computation in plain JavaScript, twice: tuned as far as it goes, and as one would first write it.
 * Both take { x, out, batch, channels, spatial } and per-channel Float32Arrays, and sum in double. */

/**
 * What a fold makes of a channel: y = (x − mean) · scale + beta.
 * @typedef {object} Job
 * @property {Float32Array} x
 * @property {Float32Array} out may be x
 * @property {number} batch
 * @property {number} channels
 * @property {number} spatial
 * @property {Float32Array} gamma
 * @property {Float32Array} beta
 * @property {Float32Array} runningMean
 * @property {Float32Array} runningVar
 * @property {number} momentum
 * @property {number} epsilon
 * @property {boolean} training
 */

/** @param {Float32Array} x @param {number} begin @param {number} end */
function sumRun(x, begin, end) {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = begin;
  for (const even = end - 3; i < even; i += 4) {
    s0 += x[i];
    s1 += x[i + 1];
    s2 += x[i + 2];
    s3 += x[i + 3];
  }
  for (; i < end; i++) s0 += x[i];
  return s0 + s1 + (s2 + s3);
}

/** @param {Float32Array} x @param {number} begin @param {number} end @param {number} mean */
function squaresRun(x, begin, end, mean) {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = begin;
  for (const even = end - 3; i < even; i += 4) {
    const d0 = x[i] - mean;
    const d1 = x[i + 1] - mean;
    const d2 = x[i + 2] - mean;
    const d3 = x[i + 3] - mean;
    s0 += d0 * d0;
    s1 += d1 * d1;
    s2 += d2 * d2;
    s3 += d3 * d3;
  }
  for (; i < end; i++) {
    const d = x[i] - mean;
    s0 += d * d;
  }
  return s0 + s1 + (s2 + s3);
}

function normalizeRun(x, out, begin, end, mean, scale, beta) {
  let i = begin;
  for (const even = end - 3; i < even; i += 4) {
    out[i] = (x[i] - mean) * scale + beta;
    out[i + 1] = (x[i + 1] - mean) * scale + beta;
    out[i + 2] = (x[i + 2] - mean) * scale + beta;
    out[i + 3] = (x[i + 3] - mean) * scale + beta;
  }
  for (; i < end; i++) out[i] = (x[i] - mean) * scale + beta;
}

/** @param {Job} job */
export function tuned(job) {
  const { x, out, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon, training } = job;
  const count = batch * spatial;
  const all = channels * spatial;
  const newMean = training ? new Float32Array(channels) : runningMean;
  const newVar = training ? new Float32Array(channels) : runningVar;
  if (spatial >= 8) {
    for (let c = 0; c < channels; c++) {
      let mean = runningMean[c],
        variance = runningVar[c];
      if (training) {
        let sum = 0;
        for (let b = 0, at = c * spatial; b < batch; b++, at += all) sum += sumRun(x, at, at + spatial);
        mean = sum / count;
        let squares = 0;
        for (let b = 0, at = c * spatial; b < batch; b++, at += all) squares += squaresRun(x, at, at + spatial, mean);
        variance = squares / count;
        newMean[c] = momentum * runningMean[c] + (1 - momentum) * mean;
        newVar[c] = momentum * runningVar[c] + (1 - momentum) * variance;
      }
      const scale = gamma[c] / Math.sqrt(variance + epsilon);
      for (let b = 0, at = c * spatial; b < batch; b++, at += all) normalizeRun(x, out, at, at + spatial, mean, scale, beta[c]);
    }
    return [out, newMean, newVar];
  }
  const mean = new Float64Array(channels);
  const scale = new Float64Array(channels);
  if (training) {
    for (let b = 0, i = 0; b < batch; b++)
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (const end = i + spatial; i < end; i++) sum += x[i];
        mean[c] += sum;
      }
    for (let c = 0; c < channels; c++) mean[c] /= count;
    for (let b = 0, i = 0; b < batch; b++)
      for (let c = 0; c < channels; c++) {
        const m = mean[c];
        let sum = 0;
        for (const end = i + spatial; i < end; i++) {
          const d = x[i] - m;
          sum += d * d;
        }
        scale[c] += sum;
      }
  }
  for (let c = 0; c < channels; c++) {
    if (training) {
      const variance = scale[c] / count;
      newMean[c] = momentum * runningMean[c] + (1 - momentum) * mean[c];
      newVar[c] = momentum * runningVar[c] + (1 - momentum) * variance;
      scale[c] = gamma[c] / Math.sqrt(variance + epsilon);
    } else {
      mean[c] = runningMean[c];
      scale[c] = gamma[c] / Math.sqrt(runningVar[c] + epsilon);
    }
  }
  for (let b = 0, i = 0; b < batch; b++)
    for (let c = 0; c < channels; c++) {
      const m = mean[c],
        a = scale[c],
        shift = beta[c];
      for (const end = i + spatial; i < end; i++) out[i] = (x[i] - m) * a + shift;
    }
  return [out, newMean, newVar];
}
