/* Runs the kernel's functions on tensors, as planned by plan.js. Only this file deals with their addresses. */

import { makePlan } from './plan.js';

/** @import { Dimensions, Task } from './plan.js' */

/** The functions that src/batchnorm.h declares. Addresses, counts and flags are all numbers.
 * @typedef {Record<string, (...numbers: number[]) => void>} Functions */

/**
 * A piece of the tensors: their addresses, and for each its stride, the number of values from one row to the next.
 * @typedef {object} Piece
 * @property {number} rows
 * @property {number} positions
 * @property {number} seen how many values of each series (see Task in plan.js) come before the piece
 * @property {number} x
 * @property {number} xStride
 * @property {number} g the gradients that the steps read: masked, if the task masks them
 * @property {number} gStride
 * @property {number} given the gradients before they are masked
 * @property {number} givenStride
 * @property {boolean} fresh whether the gradients are not masked yet
 * @property {number} spare room for one more piece, with the tile's stride
 * @property {number} to receives the result
 * @property {number} toStride
 */

/**
 * A range of channels, and the addresses of its regions of the work area.
 * @typedef {object} Range
 * @property {number} first
 * @property {number} channels
 * @property {number} columns the plan's
 * @property {number} numbers
 * @property {number} partial
 * @property {number} fold
 * @property {number} tileStride
 * @property {Sweep} sweep
 */

/**
 * Calls `step` on each piece of X and, if `gradients` is true, of the gradients. A piece is copied in first, unless it is already
 * in this memory. If `writes` is true, the step writes a piece of the result, which is then copied out if it belongs elsewhere. A
 * sweep that writes goes backwards if an earlier sweep read the same tensors, because the pieces that were read last are still in
 * the cache.
 * @callback Sweep
 * @param {(piece: Piece) => void} step
 * @param {boolean} [gradients] default false
 * @param {boolean} [writes] default false
 * @returns {void}
 */

/** Float32 values per cache line. */
const LINE = 16;

/** Float32 values per page of memory. A copy into new pages takes a third less time if one value is stored in each page first. */
const PAGE = 1024;

/** Where a tile begins in its page, in bytes. glibc places large arrays 16 bytes into a page, and the tile begins half a page
 * after that. So both have the same alignment in their cache lines, but not in their pages: some copies between nearly the same
 * place of two pages take 16 times as long. */
const TILE_START = 2 * PAGE + 16;

/** @param {number} bytes */
const wholePages = (bytes) => Math.ceil(bytes / (4 * PAGE)) * 4 * PAGE;

/**
 * Copies rows of `length` values. In either array, a row begins one stride after the one before it. Rows without gaps are copied
 * in one go.
 * @param {Float32Array} to @param {number} at @param {number} toStride
 * @param {Float32Array} from @param {number} begin @param {number} fromStride
 * @param {number} rows @param {number} length
 */
function copyRows(to, at, toStride, from, begin, fromStride, rows, length) {
  const together = toStride === length && fromStride === length ? rows : 1;
  for (let row = 0; row < rows; row += together) {
    const start = at + row * toStride;
    for (let i = start; i < start + together * length; i += PAGE) to[i] = 0;
    // subarray would look up the array's class, which may run the user's code. This constructor does not.
    to.set(new Float32Array(from.buffer, from.byteOffset + 4 * (begin + row * fromStride), together * length), start);
  }
}

/** One instance of the kernel and its memory, which holds the tensors that live there and, after them, a work area. */
export class Kernel {
  #f32;
  #begin;
  #end;

  /** @param {Functions} functions @param {WebAssembly.Memory} memory @param {number} begin first byte of the work area, a
   *   multiple of 64 @param {number} end the byte after its last */
  constructor(functions, memory, begin, end) {
    this.functions = functions;
    this.memory = memory;
    this.buffer = memory.buffer;
    this.f64 = new Float64Array(this.buffer);
    this.#f32 = new Float32Array(this.buffer);
    this.#begin = begin;
    this.#end = end;
  }

  /**
   * Computes a forward call or a gradient on this kernel. The kernels of threads have another function in its place.
   * @template {unknown[]} Arguments
   * @param {(kernel: Kernel, ...job: Arguments) => void} by
   * @param {Arguments} job
   */
  compute(by, ...job) {
    by(this, ...job);
  }

  /**
   * Runs `steps` on tensors of the same dimensions, one range of channels after another. Tensors in this memory are not copied. A
   * tensor elsewhere is copied into a tile, and a result elsewhere is copied out of a tile. But if the result is in this memory,
   * the gradients (or X, if there are none) need no tile: they are copied straight into the result.
   *
   * @param {Dimensions & { box?: number[] }} dimensions `box`: what to compute of the tensor; default: all of it. For channels, rows of the
   *   batch and positions in turn, the first one and the one after the last. Only a single channel may have some of its positions left
   *   out. If the task has blocks, they begin and end there.
   * @param {Task} task
   * @param {Float32Array} x
   * @param {Float32Array | null} gradients
   * @param {Float32Array | null} out may be the same memory as the gradients, or as X if there are none
   * @param {(range: Range) => void} steps
   */
  run(dimensions, task, x, gradients, out, steps) {
    const { batch, channels, spatial } = dimensions;
    const [from, until, top, bottom, left, right] = dimensions.box ?? [0, channels, 0, batch, 0, spatial];
    const row = channels * spatial;
    const f32 = this.#f32;
    const outHome = out?.buffer === this.buffer ? out : null;
    const xHome = x.buffer === this.buffer;
    const gHome = gradients?.buffer === this.buffer;
    // The arrays in this memory that are worked on; null: a tile. Masked gradients must not overwrite those that were given.
    const xPlace = xHome ? x : gradients ? null : outHome;
    const gPlace = gHome && !task.masks ? gradients : outHome;
    const home = xPlace !== null && (gradients === null || gPlace !== null);
    const plan = makePlan(dimensions, task, this.#end - this.#begin, home);

    for (let first = from; first < until; first += plan.range) {
      const range = Math.min(plan.range, until - first);
      // The regions of the work area, one after the other.
      const numbers = this.#begin;
      const partial = numbers + task.numbers * range;
      const fold = partial + plan.sums * range;
      const tile = wholePages(fold + plan.folded * range) + TILE_START;
      // X's stride, `row`, minus this one is a whole number of cache lines. So a row has the same alignment in the tile as in X.
      const tileStride = range * spatial + ((row - range * spatial) % LINE);
      const held = plan.resident ? batch * tileStride : (plan.rows - 1) * tileStride + range * plan.positions;
      const tileSize = wholePages(4 * held) + 4 * PAGE;
      let xLoaded = xHome;
      /** @type {boolean | undefined} */
      let gLoaded = gHome && !task.masks;
      let pieces = 0;

      /** @type {Sweep} */
      const sweep = (step, withGradients, writes) => {
        const last = Math.floor((bottom - top - 1) / plan.rows);
        for (let k = 0; k <= last; k++) {
          const b = top + plan.rows * (writes && task.again ? last - k : k);
          const rows = Math.min(plan.rows, bottom - b);
          for (let p = left; p < right; p += plan.positions) {
            const positions = Math.min(plan.positions, right - p);
            const start = b * row + first * spatial + p;
            // Each piece begins at a different line of a page. So if one is copied slowly because of its place, the next is not.
            const inTile = plan.resident ? ((first * spatial) % PAGE) + b * tileStride + p : (start + LINE * pieces++) % PAGE;
            const xTile = tile + 4 * inTile;
            const gTile = xTile + tileSize;
            const xAt = xPlace ? xPlace.byteOffset + 4 * start : xTile;
            const xStride = xPlace ? row : tileStride;
            if (!xLoaded) copyRows(f32, xAt / 4, xStride, x, start, row, rows, range * positions);
            const g = gPlace ? gPlace.byteOffset + 4 * start : gTile;
            const gStride = gPlace ? row : tileStride;
            if (withGradients && !gLoaded && !gHome)
              copyRows(f32, g / 4, gStride, /** @type {Float32Array} */ (gradients), start, row, rows, range * positions);
            const to = outHome ? outHome.byteOffset + 4 * start : gradients ? gTile : xTile;
            const toStride = outHome ? row : tileStride;
            step({
              rows,
              positions,
              seen: plan.columns ? b : b * spatial + p,
              x: xAt,
              xStride,
              g,
              gStride,
              given: gHome ? gradients.byteOffset + 4 * start : g,
              givenStride: gHome ? row : gStride,
              fresh: !gLoaded,
              spare: gTile + tileSize,
              to,
              toStride,
            });
            if (writes && out && !outHome) copyRows(out, start, row, f32, to / 4, toStride, rows, range * positions);
          }
        }
        xLoaded ||= plan.resident || xPlace !== null;
        gLoaded ||= withGradients && (plan.resident || gPlace !== null);
      };

      steps({ first, channels: range, columns: plan.columns, numbers, partial, fold, tileStride, sweep });
    }
  }
}
