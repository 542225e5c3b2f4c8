/* Parts of a job that are some rows of the batch. Each is computed like the whole tensor, in the same ranges and pieces, but without
 * the rows of the other parts. Where channels are summed, a job has stages: in one, each part computes the sums of its blocks; in
 * the next, each part merges those of all blocks, in order, as src/forward.c and src/gradient.c would. So the bits are the same. */

import { normalizeBy } from './forward.js';
import { differentiateBy } from './gradient.js';
import { blockRows, isColumns } from './plan.js';

/** @import { Functions, Kernel, Range } from './kernel.js' */
/** @import { Dimensions } from './plan.js' */
/** @import { Problem } from './validate.js' */

/** Some rows of the batch of a tensor. @typedef {Problem & { gradOutput: Float32Array | null, whole: Dimensions }} Part */

/** The stages: what is computed that the next stages need from all parts. The last one computes the results. */
export const STATISTICS = 1;
export const SUMS = 2;
export const RESULTS = 3;

/** The positions of bn_gradient's last two fields (src/batchnorm.h), and the number of its fields, in doubles. */
const FIRST = 8;
const UNEVEN = 9;
const FIELDS = 10;

/* In columns, a channel has one series per position. For each block, the parts keep the sum of each series and of its squared
 * deviations; and in a gradient also its three sums, and whether a channel's gradients are all equal. */

/** Bytes that the parts keep for each other. @param {Dimensions} dimensions */
export const bytesKept = ({ batch, channels, spatial }) =>
  8 * Math.ceil(batch / blockRows(batch, spatial)) * channels * (isColumns(batch, spatial) ? 5 * spatial + 1 : 6);

const nothing = () => {};

/**
 * A kernel that only computes a stage.
 * @param {Kernel} kernel @param {Part} problem @param {number} stage @param {number} kept @param {number} top
 * @returns {Kernel}
 */
function stageOf(kernel, { whole, channels: all, spatial, gradOutput }, stage, kept, top) {
  const { batch } = whole;
  const { functions, f64 } = kernel;
  const height = blockRows(batch, spatial);
  const blocks = Math.ceil(batch / height);
  const columns = isColumns(batch, spatial);
  const copies = columns ? spatial : 1;
  /** What `seen` counts per row. */
  const step = columns ? 1 : spatial;
  /** The current range. @type {Range} */
  let range;

  /* The addresses of what is kept of block k: its statistics; its sums; and for each channel, the value of all its gradients, or NaN
   * if they differ. */
  const statisticsOf = (/** @type {number} */ k) => kept + 16 * copies * (blocks * range.first + k * range.channels);
  const sumsOf = (/** @type {number} */ k) =>
    kept + 16 * copies * blocks * all + 8 * (3 * copies + 1) * (blocks * range.first + k * range.channels);
  const valuesOf = (/** @type {number} */ k) => sumsOf(k) + 24 * copies * range.channels;

  /* As the functions of the same names in src/batchnorm.h. */

  /** @type {Functions[string]} */
  const statistics = (x, rows, stride, channels, positions, layout, epsilon, seen, _, fold) => {
    for (let row = 0, k = (top + seen / step) / height; row < rows; row += height, k++) {
      const at = x + 4 * row * stride;
      const count = Math.min(height, rows - row);
      functions.bn_statistics(at, count, stride, channels, positions, layout, epsilon, 0, statisticsOf(k), fold);
    }
  };
  /** @type {Functions[string]} */
  const moments = (_, channels, positions, layout, partial, numbers) => {
    const series = channels * copies;
    const sum = partial / 8;
    const squares = sum + series;
    for (let k = 0, seen = 0; k < blocks; k++) {
      const n = Math.min(height, batch - k * height) * step;
      const invSeen = 1 / seen;
      const invN = 1 / n;
      const weight = (seen * n) / (seen + n);
      for (let j = 0, at = statisticsOf(k) / 8; j < series; j++, at++) {
        const before = f64[sum + j];
        const more = f64[at];
        const moreSquares = f64[at + series];
        const hi = Math.fround(before * invSeen);
        const own = Math.fround(more * invN);
        const apart = own - hi + ((more - n * own) * invN - (before - seen * hi) * invSeen);
        f64[sum + j] = seen ? before + more : more;
        f64[squares + j] = seen ? f64[squares + j] + (moreSquares + apart * apart * weight) : moreSquares;
      }
      seen += n;
    }
    functions.bn_moments(batch * spatial, channels, positions, layout, partial, numbers);
  };
  /** @type {Functions[string]} */
  const gradientSums = (x, g, rows, xStride, gStride, channels, positions, layout, seen, _, gradient, fold) => {
    for (let row = 0, k = (top + seen / step) / height; row < rows; row += height, k++) {
      const xAt = x + 4 * row * xStride;
      const gAt = g + 4 * row * gStride;
      const count = Math.min(height, rows - row);
      functions.bn_gradient_sums(xAt, gAt, count, xStride, gStride, channels, positions, layout, 0, sumsOf(k), gradient, fold);
      for (let c = 0, at = gradient / 8, to = valuesOf(k) / 8; c < channels; c++, at += FIELDS)
        f64[to + c] = f64[at + UNEVEN] ? Number.NaN : f64[at + FIRST];
    }
  };
  /** @type {Functions[string]} */
  const gradientFold = (_, epsilon, training, channels, positions, layout, partial, numbers, gradient, fold) => {
    for (let k = 0, values = valuesOf(0) / 8; k < blocks; k++) {
      for (let i = 0, to = partial / 8, at = sumsOf(k) / 8; i < 3 * copies * channels; i++)
        f64[to + i] = k > 0 ? f64[to + i] + f64[at + i] : f64[at + i];
      for (let c = 0, to = gradient / 8 + UNEVEN, at = valuesOf(k) / 8; c < channels; c++, to += FIELDS)
        f64[to] = Number((k > 0 && f64[to] > 0) || f64[at + c] !== f64[values + c]);
    }
    functions.bn_gradient_fold(batch * spatial, epsilon, training, channels, positions, layout, partial, numbers, gradient, fold);
  };

  const when = (/** @type {boolean} */ now, /** @type {Functions[string]} */ run) => (now ? run : nothing);
  const functionsNow = {
    bn_statistics: when(stage === STATISTICS, statistics),
    bn_moments: when(stage !== STATISTICS, moments),
    bn_fold: when(stage !== STATISTICS, functions.bn_fold),
    bn_normalize: when(stage === (gradOutput ? SUMS : RESULTS), functions.bn_normalize),
    bn_mask: when(stage === SUMS, functions.bn_mask),
    bn_gradient_sums: when(stage === SUMS, gradientSums),
    bn_gradient_fold: when(stage === RESULTS, gradientFold),
    bn_gradient_input: when(stage === RESULTS, functions.bn_gradient_input),
  };

  /** @type {Kernel['run']} */
  const run = (dimensions, task, x, gradients, out, steps) =>
    kernel.run(dimensions, task, x, gradients, out, (current) => {
      range = current;
      steps(range);
    });
  return /** @type {any} */ ({ functions: functionsNow, f64, run });
}

/**
 * Computes a stage of some rows of the batch. In all stages, the tensor is cut into the same ranges, since the same calls compute them.
 * All tensors are in the kernel's memory. If channels are summed, the rows begin and end where blocks do, and slabs are no longer than
 * a block.
 * @param {Kernel} kernel @param {Part} problem
 * @param {Float32Array | null} out @param {Float32Array} gradGamma @param {Float32Array} gradBeta
 * @param {number} stage @param {number} kept the address of what the parts keep for each other @param {number} top the first row
 */
export function computeRows(kernel, problem, out, gradGamma, gradBeta, stage, kept, top) {
  const { gradOutput, channels, training } = problem;
  const staged = stageOf(kernel, problem, stage, kept, top);
  // All parts find the same numbers per channel. If all of them wrote these, they would take cache lines from each other.
  const writes = stage === RESULTS && top === 0;
  const unused = new Float32Array(writes ? 0 : channels);
  if (gradOutput)
    differentiateBy(staged, /** @type {any} */ (problem), out, writes ? gradGamma : unused, writes ? gradBeta : unused);
  else normalizeBy(staged, writes || !training ? problem : { ...problem, mean: null }, out);
}
