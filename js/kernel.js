/* The only file that knows addresses: takes a problem through the kernel's functions, over one memory, as planned. */

import { makePlan } from './plan.js';

/** @import { Problem } from './validate.js' */

/**
 * What src/batchnorm.h declares; addresses, counts and flags are numbers.
 * @typedef {object} Functions
 * @property {(...block: number[]) => void} bn_statistics
 * @property {(...range: number[]) => void} bn_moments
 * @property {(...range: number[]) => void} bn_fold
 * @property {(...block: number[]) => void} bn_normalize
 */

/** @typedef {Float32Array | Float64Array} Statistic */

/**
 * A step, on one piece.
 * @callback Visit
 * @param {number} at its address
 * @param {number} rows
 * @param {number} positions
 * @param {number} start which of X's values its first one is
 * @param {number} seen how many values of each series come before it
 * @param {number} inTile where it lies in the tile if it is copied
 * @returns {void}
 */

/** The fields of the kernel's bn_channel, in doubles. */
const GAMMA = 0;
const BETA = 1;
const MEAN_HI = 2;
const MEAN_LO = 3;
const VARIANCE = 4;
const FIELDS = 6;

/** Float32 values of a cache line. */
const LINE = 16;

/** Float32 values of a page of memory. A fresh page costs a third less to obtain by a store than in the midst of a long copy. */
const PAGE = 1024;

/** Where in its page a tile begins, in bytes: half a page after the 16 bytes at which glibc places large arrays. Copies are aligned
 * alike then, and fast: between addresses that are nearly the same within their pages, some take 16 times as long. */
const TILE_START = 2 * PAGE + 16;

/**
 * Copies rows of `length` values, a stride from one to the next on either side; at once if nothing lies between them.
 * @param {Float32Array} to @param {number} at @param {number} toStride
 * @param {Float32Array} from @param {number} begin @param {number} fromStride
 * @param {number} rows @param {number} length
 */
function copyRows(to, at, toStride, from, begin, fromStride, rows, length) {
  const together = toStride === length && fromStride === length ? rows : 1;
  for (let row = 0; row < rows; row += together) {
    const start = at + row * toStride;
    for (let i = start; i < start + together * length; i += PAGE) to[i] = 0;
    // Unlike subarray, the constructor asks no class what to make, so no code of the user's can run here.
    to.set(new Float32Array(from.buffer, from.byteOffset + 4 * (begin + row * fromStride), together * length), start);
  }
}

/** One instance of the kernel over one memory: the tensors at home there, and after them a work area. */
export class Kernel {
  #functions;
  #f32;
  #f64;
  #begin;

  /** @param {Functions} functions @param {ArrayBuffer} buffer the memory's @param {number} begin first byte of the work area, a multiple
   * of 64 */
  constructor(functions, buffer, begin) {
    this.#functions = functions;
    this.buffer = buffer;
    this.#f32 = new Float32Array(buffer);
    this.#f64 = new Float64Array(buffer);
    this.#begin = begin;
  }

  /**
   * Takes X through the kernel, range of channels by range of channels. What lies in this memory is worked on where it lies. X from
   * elsewhere is copied into an output at home, or else into the tile; an output elsewhere is copied from the tile.
   *
   * @param {Problem} problem
   * @param {Float32Array} out as long as problem.x, of which it may be the very memory
   * @param {Statistic | null} newMean in training: receives the running mean; one value per channel
   * @param {Statistic | null} newVar likewise the running variance
   */
  run(problem, out, newMean, newVar) {
    const { x, batch, channels, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon, training } = problem;
    const functions = this.#functions;
    const f32 = this.#f32;
    const f64 = this.#f64;
    const xHome = x.buffer === this.buffer;
    const outHome = out.buffer === this.buffer;
    const home = xHome ? x : outHome ? out : null;
    const plan = makePlan(problem, this.buffer.byteLength - this.#begin, home !== null);
    const columns = Number(plan.columns);
    const [numbers, sums, folded] = plan.regions;
    const row = channels * spatial;

    for (let first = 0; first < channels; first += plan.range) {
      const range = Math.min(plan.range, channels - first);
      // The regions of the work area, one after the other.
      const channel = this.#begin;
      const partial = channel + numbers * range;
      const fold = partial + sums * range;
      const tile = Math.ceil((fold + folded * range) / (4 * PAGE)) * 4 * PAGE + TILE_START;
      // As X's rows are `row` values apart, this many more by whole cache lines keep every row where it lies in its lines in X.
      const tileStride = range * spatial + ((row - range * spatial) % LINE);
      const stride = home ? row : tileStride;
      let loaded = xHome;
      let pieces = 0;

      /** Calls a step on each piece, first copied in unless it is there. @param {Visit} visit @param {boolean} [backwards] */
      const sweep = (visit, backwards = false) => {
        const last = Math.ceil(batch / plan.rows) - 1;
        for (let k = 0; k <= last; k++) {
          const b = plan.rows * (backwards ? last - k : k);
          const rows = Math.min(plan.rows, batch - b);
          for (let p = 0; p < spatial; p += plan.positions) {
            const positions = Math.min(plan.positions, spatial - p);
            const start = b * row + first * spatial + p;
            // Each single piece begins at another line of a page: if the copy of one is slow for its place, that of the next is not.
            const place = plan.resident ? ((first * spatial) % PAGE) + b * tileStride + p : (start + LINE * pieces++) % PAGE;
            const inTile = tile + 4 * place;
            const at = home ? home.byteOffset + 4 * start : inTile;
            if (!loaded) copyRows(f32, at / 4, stride, x, start, row, rows, range * positions);
            visit(at, rows, positions, start, columns ? b : b * spatial + p, inTile);
          }
        }
        loaded ||= plan.resident || outHome;
      };

      for (let c = first, at = channel / 8; c < first + range; c++, at += FIELDS) {
        f64[at + GAMMA] = gamma ? gamma[c] : 1;
        f64[at + BETA] = beta ? beta[c] : 0;
        if (!training && runningMean && runningVar) {
          f64[at + MEAN_HI] = runningMean[c];
          f64[at + MEAN_LO] = 0;
          f64[at + VARIANCE] = runningVar[c];
        }
      }
      if (training) {
        sweep((at, rows, positions, _, seen) =>
          functions.bn_statistics(at, rows, stride, range, positions, columns, epsilon, seen, partial, fold),
        );
        functions.bn_moments(batch * spatial, range, spatial, columns, partial, channel);
      }
      functions.bn_fold(epsilon, Number(training), range, spatial, columns, channel, fold);
      // Backwards, since what the step before touched last is still in the cache.
      sweep((at, rows, positions, start, _, inTile) => {
        let to = at;
        let toStride = stride;
        if (outHome) to = out.byteOffset + 4 * start;
        else if (xHome) {
          to = inTile;
          toStride = tileStride;
        }
        functions.bn_normalize(at, to, rows, stride, toStride, range, positions, columns, channel, fold);
        if (!outHome) copyRows(out, start, row, f32, to / 4, toStride, rows, range * positions);
      }, true);
      if (newMean && newVar)
        for (let c = first, at = channel / 8; c < first + range; c++, at += FIELDS) {
          const mean = f64[at + MEAN_HI] + f64[at + MEAN_LO];
          newMean[c] = momentum * (runningMean ? runningMean[c] : 0) + (1 - momentum) * mean;
          newVar[c] = momentum * (runningVar ? runningVar[c] : 1) + (1 - momentum) * f64[at + VARIANCE];
        }
    }
  }
}
