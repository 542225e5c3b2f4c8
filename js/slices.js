/* Slices: parts of a job that have values of all channels, from some rows of the batch, or from some positions of each slab. Where
 * channels are summed, a job has stages: in one, each slice computes the sums of its blocks; in the next, each merges those of all
 * blocks, in order, as src/forward.c and src/gradient.c would. So the results have the same bits as if nothing was divided. */

import { normalizeBy } from './forward.js';
import { differentiateBy, GRADIENT_BYTES } from './gradient.js';
import { BLOCK_POSITIONS, blocksOf } from './plan.js';

/** @import { Functions, Kernel, Range } from './kernel.js' */
/** @import { Dimensions } from './plan.js' */
/** @import { Problem } from './validate.js' */

/** A slice of a problem. @typedef {Problem & { gradOutput: Float32Array | null, box: number[] }} Slice `box`: see Kernel.run */

/** The stages: what is computed that the next stages need from all slices. The last one computes the results. */
export const STATISTICS = 1;
export const SUMS = 2;
export const RESULTS = 3;

/** The number of bn_gradient's fields (src/batchnorm.h), and the positions of its last two, in doubles. */
const FIELDS = GRADIENT_BYTES / 8;
const FIRST = 8;
const UNEVEN = 9;

const nothing = () => {};

/**
 * A kernel that only computes a stage of a slice.
 * @param {Kernel} kernel @param {Slice} slice @param {number} stage @param {number} kept
 * @returns {Kernel}
 */
function stageOf(kernel, { batch, channels: all, spatial, box, gradOutput }, stage, kept) {
  const { functions, f64 } = kernel;
  const [columns, height] = blocksOf(batch, all, spatial);
  /** Series per channel. */
  const copies = columns ? spatial : 1;
  /** What `seen` counts per row. */
  const step = spatial / copies;
  /** Blocks per slab. */
  const perSlab = Math.ceil(spatial / BLOCK_POSITIONS);
  const blocks = Math.ceil(batch / height) * perSlab;
  /** The current range. @type {Range} */
  let range;

  /* The addresses of what is kept of block k: its statistics; its sums; and for each channel, the value of all its gradients, or NaN
   * if they differ. */
  const statisticsOf = (/** @type {number} */ k) => kept + 16 * copies * (blocks * range.first + k * range.channels);
  const sumsOf = (/** @type {number} */ k) =>
    kept + 16 * copies * blocks * all + 8 * (3 * copies + 1) * (blocks * range.first + k * range.channels);
  const valuesOf = (/** @type {number} */ k) => sumsOf(k) + 24 * copies * range.channels;

  /**
   * Calls `visit` with the number of each block of a piece, its place in the piece, and its size.
   * @param {number} rows @param {number} positions @param {number} seen
   * @param {(k: number, row: number, p: number, rows: number, positions: number) => void} visit
   */
  const eachBlock = (rows, positions, seen, visit) => {
    const b = Math.floor(seen / step);
    for (let row = 0; row < rows; row += height)
      for (let p = 0; p < positions; p += BLOCK_POSITIONS) {
        const k = ((b + row) / height) * perSlab + (seen - b * step + p) / BLOCK_POSITIONS;
        visit(k, row, p, Math.min(height, rows - row), Math.min(BLOCK_POSITIONS, positions - p));
      }
  };

  /* In place of functions of src/batchnorm.h: these two keep the sums of each block, and the other two first merge those of all. */

  /** @type {Functions[string]} */
  const statistics = (x, rows, stride, channels, positions, columns, epsilon, seen, _, fold) =>
    eachBlock(rows, positions, seen, (k, row, p, height, width) => {
      const at = x + 4 * (row * stride + p);
      functions.bn_statistics(at, height, stride, channels, width, columns, epsilon, 0, statisticsOf(k), fold);
    });
  /** @type {Functions[string]} */
  const moments = (count, channels, positions, columns, partial, numbers) => {
    const series = channels * copies;
    const sum = partial / 8;
    const squares = sum + series;
    for (let k = 0, seen = 0; k < blocks; k++) {
      const rows = Math.min(height, batch - Math.floor(k / perSlab) * height);
      const n = (rows * Math.min(BLOCK_POSITIONS, spatial - (k % perSlab) * BLOCK_POSITIONS)) / copies;
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
    functions.bn_moments(count, channels, positions, columns, partial, numbers);
  };
  /** @type {Functions[string]} */
  const gradientSums = (x, g, rows, xStride, gStride, channels, positions, columns, seen, _, gradient, fold) =>
    eachBlock(rows, positions, seen, (k, row, p, height, width) => {
      const xAt = x + 4 * (row * xStride + p);
      const gAt = g + 4 * (row * gStride + p);
      functions.bn_gradient_sums(xAt, gAt, height, xStride, gStride, channels, width, columns, 0, sumsOf(k), gradient, fold);
      for (let c = 0, at = gradient / 8, to = valuesOf(k) / 8; c < channels; c++, at += FIELDS)
        f64[to + c] = f64[at + UNEVEN] ? Number.NaN : f64[at + FIRST];
    });
  /** @type {Functions[string]} */
  const gradientFold = (count, epsilon, training, channels, positions, columns, partial, numbers, gradient, fold) => {
    for (let k = 0, values = valuesOf(0) / 8; k < blocks; k++) {
      for (let i = 0, to = partial / 8, at = sumsOf(k) / 8; i < 3 * copies * channels; i++)
        f64[to + i] = k > 0 ? f64[to + i] + f64[at + i] : f64[at + i];
      for (let c = 0, to = gradient / 8 + UNEVEN, at = valuesOf(k) / 8; c < channels; c++, to += FIELDS)
        f64[to] = Number((k > 0 && f64[to] > 0) || f64[at + c] !== f64[values + c]);
    }
    functions.bn_gradient_fold(count, epsilon, training, channels, positions, columns, partial, numbers, gradient, fold);
  };

  const when = (/** @type {boolean} */ now, /** @type {Functions[string]} */ run) => (now ? run : nothing);
  const staged = {
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
  const run = (_, task, x, gradients, out, steps) => {
    // Where slabs have several blocks, each channel is a range of its own. Then one call of a kernel function sums one block.
    const most = perSlab > 1 ? 1 : all;
    for (let from = 0; from < all; from += most) {
      const part = { batch, channels: all, spatial, box: [from, from + most, ...box.slice(2)] };
      kernel.run(part, task, x, gradients, out, (current) => {
        range = current;
        steps(range);
      });
    }
  };
  return /** @type {any} */ ({ functions: staged, f64, run });
}

/**
 * Computes a stage of a slice. In all stages, a tensor is cut into the same ranges, since the same calls compute them. All tensors are in
 * the kernel's memory.
 * @param {Kernel} kernel @param {Slice} slice which changes
 * @param {Float32Array | null} out @param {Float32Array} gradGamma @param {Float32Array} gradBeta
 * @param {number} stage @param {number} kept the address of what the slices keep for each other
 */
export function computeSlice(kernel, slice, out, gradGamma, gradBeta, stage, kept) {
  const { gradOutput, channels, training, box } = slice;
  const staged = stageOf(kernel, slice, stage, kept);
  // All slices find the same numbers per channel. If all of them wrote these, they would take cache lines from each other.
  const writes = stage === RESULTS && box[2] + box[4] === 0;
  const unused = new Float32Array(writes ? 0 : channels);
  if (gradOutput)
    differentiateBy(staged, /** @type {any} */ (slice), out, writes ? gradGamma : unused, writes ? gradBeta : unused);
  else {
    if (training && !writes) slice.mean = null;
    normalizeBy(staged, slice, out);
  }
}
