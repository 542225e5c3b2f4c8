/* The kernel's readable twin in plain JavaScript: it computes in double, and rounds once at the end. It is used if WebAssembly
 * SIMD is unavailable, and for tensors so small that calling WebAssembly would cost more. docs/numerics.md has its bounds too. */

/** @import { Problem } from './validate.js' */

/* X is read in the order of memory, so all channels are worked on at the same time. Their numbers are in one array, FIELDS per
 * channel: if a channel's numbers begin at index c, its center is at `c + CENTER`. The array is a plain one, because creating a
 * typed array takes longer than normalizing a small tensor. */

const CENTER = 0;
const REST = 1;
const INV_STD = 2;
const GAMMA = 3;
const BETA = 4;
const SUM = 5;
const SQUARES = 6;
const FIELDS = 7;

/* Values are taken four at a time: four neighbours in a slab, or one from each of four rows if slabs are shorter than four. So a
 * channel's numbers are loaded less often, and an addition need not wait for the one before it. */
const FOUR = 4;

/**
 * Adds each channel's deviations from its center, or their squares, to one of the channel's numbers.
 * @param {Problem} problem @param {number[]} numbers @param {number} sum which number: SUM or SQUARES @param {boolean} squared
 */
function addDeviations({ x, channels, spatial }, numbers, sum, squared) {
  const row = channels * spatial;
  for (let at = 0; at < x.length; ) {
    const down = spatial < FOUR && at + FOUR * row <= x.length;
    const step = down ? row : 1;
    const next = down ? 1 : FOUR;
    for (let c = 0, i = at; c < numbers.length; c += FIELDS) {
      const center = numbers[c + CENTER];
      const end = i + spatial;
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (; i <= end - next; i += next) {
        const i1 = i + step;
        const i2 = i1 + step;
        const d0 = x[i] - center;
        const d1 = x[i1] - center;
        const d2 = x[i2] - center;
        const d3 = x[i2 + step] - center;
        s0 += squared ? d0 * d0 : d0;
        s1 += squared ? d1 * d1 : d1;
        s2 += squared ? d2 * d2 : d2;
        s3 += squared ? d3 * d3 : d3;
      }
      for (; i < end; i++) {
        const d = x[i] - center;
        s0 += squared ? d * d : d;
      }
      numbers[c + sum] += s0 + s1 + (s2 + s3);
    }
    at += down ? FOUR * row : row;
  }
}

/**
 * The numbers of all channels: from the problem's statistics if `given`, otherwise from X. Statistics of X are also written into
 * the problem's arrays, if it has any.
 * @param {Problem} problem @param {boolean} given
 * @returns {number[]}
 */
function numbersOf(problem, given) {
  const { batch, channels, spatial, gamma, beta, mean, variance, epsilon, training } = problem;
  const count = batch * spatial;
  const numbers = new Array(FIELDS * channels);
  if (!given) {
    for (let c = 0; c < numbers.length; c += FIELDS) {
      numbers[c + CENTER] = 0;
      numbers[c + SUM] = 0;
      numbers[c + SQUARES] = 0;
    }
    addDeviations(problem, numbers, SUM, false);
    // The center is rounded to float32, so that x − center is exact wherever the rest matters.
    for (let c = 0; c < numbers.length; c += FIELDS) numbers[c + CENTER] = Math.fround(numbers[c + SUM] / count);
    addDeviations(problem, numbers, SQUARES, true);
  }
  for (let k = 0, c = 0; k < channels; k++, c += FIELDS) {
    let ownVariance = 0;
    if (given && mean && variance) {
      const center = training ? Math.fround(mean[k]) : mean[k];
      // In inference the given mean is used unchanged, even if it is not finite.
      numbers[c + CENTER] = training && !Number.isFinite(center) ? 0 : center;
      numbers[c + REST] = mean[k] - numbers[c + CENTER] || 0;
      ownVariance = variance[k];
    } else {
      const center = numbers[c + CENTER];
      const rest = (numbers[c + SUM] - count * center) / count || 0;
      numbers[c + REST] = rest;
      ownVariance = Math.max(numbers[c + SQUARES] / count - rest * rest, 0);
      if (mean && variance) {
        mean[k] = center + rest;
        variance[k] = ownVariance;
      }
    }
    numbers[c + INV_STD] = 1 / Math.sqrt(ownVariance + epsilon);
    numbers[c + GAMMA] = gamma ? gamma[k] : 1;
    // Adding 0 turns −0 into 0, so that no output is −0.
    numbers[c + BETA] = (beta ? beta[k] : 0) + 0;
  }
  return numbers;
}

/**
 * Normalizes by the definition, with the mean in two parts. Outputs below `least` become `least`.
 * @param {Problem} problem @param {number[]} numbers @param {Float32Array} out @param {number} least
 */
function normalize({ x, channels, spatial }, numbers, out, least) {
  const row = channels * spatial;
  for (let at = 0; at < x.length; ) {
    const down = spatial < FOUR && at + FOUR * row <= x.length;
    const step = down ? row : 1;
    const next = down ? 1 : FOUR;
    for (let c = 0, i = at; c < numbers.length; c += FIELDS) {
      const center = numbers[c + CENTER];
      const rest = numbers[c + REST];
      const invStd = numbers[c + INV_STD];
      const gamma = numbers[c + GAMMA];
      const beta = numbers[c + BETA];
      const end = i + spatial;
      for (; i <= end - next; i += next) {
        const i1 = i + step;
        const i2 = i1 + step;
        const i3 = i2 + step;
        out[i] = Math.max((x[i] - center - rest) * invStd * gamma + beta, least);
        out[i1] = Math.max((x[i1] - center - rest) * invStd * gamma + beta, least);
        out[i2] = Math.max((x[i2] - center - rest) * invStd * gamma + beta, least);
        out[i3] = Math.max((x[i3] - center - rest) * invStd * gamma + beta, least);
      }
      for (; i < end; i++) out[i] = Math.max((x[i] - center - rest) * invStd * gamma + beta, least);
    }
    at += down ? FOUR * row : row;
  }
}

/** @type {import('./call.js').Normalize} */
export function normalizePlain(problem, out) {
  const numbers = numbersOf(problem, !problem.training);
  if (out) normalize(problem, numbers, out, problem.relu ? 0 : -Infinity);
}

/* ---- the gradient ------------------------------------------------------------------------------------------------ */

/* A channel's numbers for the gradient alone, in a second array. */
const UNEVEN = 0;
// The three sums follow one another, as in the option `sums`.
const G_SUM = 1;
const DEVIATIONS = 2;
const PRODUCTS = 3;
const G_CENTER = 4;
const G_REST = 5;
const SLOPE = 6;

/** @type {import('./call.js').Differentiate} */
export function differentiatePlain(job, out, gradGamma, gradBeta) {
  const { x, batch, channels, spatial, training, sums: all, collected } = job;
  const count = all ? all[3 * channels] : batch * spatial;
  const numbers = numbersOf(job, job.mean !== null);
  // Allocated before anything is written, since allocating may fail.
  const sums = new Array(FIELDS * channels).fill(0);
  let g = job.gradOutput;
  if (job.relu) {
    // A part of a batch was normalized as in inference, and relu must leave the same outputs as there.
    const used = all ? numbersOf({ ...job, training: false }, true) : numbers;
    const masked = out ?? new Float32Array(x.length);
    for (let at = 0; at < x.length; )
      for (let c = 0; c < used.length; c += FIELDS)
        for (const end = at + spatial; at < end; at++) {
          const normalized = (x[at] - used[c + CENTER] - used[c + REST]) * used[c + INV_STD];
          masked[at] = Math.fround(normalized * used[c + GAMMA] + used[c + BETA]) > 0 ? g[at] : 0;
        }
    g = masked;
  }

  if (collected || !all)
    for (let at = 0; at < x.length; )
      for (let c = 0, first = 0; c < sums.length; c += FIELDS, first += spatial) {
        const end = at + spatial;
        for (let i = at; i < end && !sums[c + UNEVEN]; i++) if (g[i] !== g[first]) sums[c + UNEVEN] = 1;
        const center = numbers[c + CENTER];
        let total = 0;
        let deviations = 0;
        let products = 0;
        for (; at < end; at++) {
          const d = x[at] - center;
          total += g[at];
          deviations += d;
          products += g[at] * d;
        }
        sums[c + G_SUM] += total;
        sums[c + DEVIATIONS] += deviations;
        sums[c + PRODUCTS] += products;
      }
  if (all)
    for (let i = 0; i < 3 * channels; i++) {
      const at = FIELDS * (i % channels) + G_SUM + Math.floor(i / channels);
      if (collected) all[i] = sums[at];
      else sums[at] = all[i];
    }
  if (collected) return;

  for (let k = 0, c = 0; k < channels; k++, c += FIELDS) {
    const total = sums[c + G_SUM];
    const shift = sums[c + DEVIATIONS] / count;
    const invStd = numbers[c + INV_STD];
    const scale = numbers[c + GAMMA] * invStd;
    let products = sums[c + PRODUCTS];
    // The last two terms are NaN if a sum is not finite, and 0 otherwise.
    if (training) products = (all || sums[c + UNEVEN] ? products - total * shift : 0) + 0 * total + 0 * shift;
    gradBeta[k] = total;
    gradGamma[k] = products * invStd;
    // From here on the mean is the batch's own, even if another one was given.
    const center = numbers[c + CENTER];
    numbers[c + CENTER] = Math.fround(center + shift);
    numbers[c + REST] = center - numbers[c + CENTER] + shift;
    sums[c + G_CENTER] = Math.fround(total / count);
    sums[c + G_REST] = (total - count * sums[c + G_CENTER]) / count;
    sums[c + SLOPE] = ((products * invStd) / count) * invStd * scale;
  }
  if (!out) return;
  for (let at = 0; at < x.length; )
    for (let c = 0; c < sums.length; c += FIELDS) {
      const center = numbers[c + CENTER];
      const rest = numbers[c + REST];
      const scale = numbers[c + GAMMA] * numbers[c + INV_STD];
      const gCenter = sums[c + G_CENTER];
      const gRest = sums[c + G_REST];
      const slope = sums[c + SLOPE];
      const end = at + spatial;
      if (training) for (; at < end; at++) out[at] = (g[at] - gCenter - gRest) * scale - (x[at] - center - rest) * slope;
      else for (; at < end; at++) out[at] = g[at] * scale;
    }
}
