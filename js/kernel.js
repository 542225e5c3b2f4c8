/* The only file that knows where tensors lie: takes them through a kernel's functions, over one memory, as planned. */

import { makePlan } from './plan.js';

/** @import { Dimensions, Task } from './plan.js' */

/** What src/batchnorm.h declares; addresses, counts and flags are numbers. @typedef {Record<string, (...numbers: number[]) => void>} Functions */

/**
 * A piece of the tensors: addresses, and for each how many values it is from one row to the next.
 * @typedef {object} Piece
 * @property {number} rows
 * @property {number} positions
 * @property {number} seen how many values of each series come before it
 * @property {number} x
 * @property {number} xStride
 * @property {number} g where gradients are worked on
 * @property {number} gStride
 * @property {number} given where they are before they are masked
 * @property {number} givenStride
 * @property {boolean} fresh whether they have to be masked
 * @property {number} spare room for a piece, of the tile's stride
 * @property {number} to where the result goes
 * @property {number} toStride
 */

/**
 * A range of channels, and the addresses of the regions that its numbers have in the work area.
 * @typedef {object} Range
 * @property {number} first
 * @property {number} channels
 * @property {number} columns 1 or 0: the plan's
 * @property {number} numbers
 * @property {number} partial
 * @property {number} fold
 * @property {number} tileStride
 * @property {Sweep} sweep
 */

/**
 * Calls a step on each piece of X, and of the gradients with `gradients`, which are copied in before it unless they are there. With
 * `writes` the step writes the result, which is then copied to where it goes. If that needs a sweep before it, it is done backwards,
 * since what that touched last is still in the cache.
 * @callback Sweep
 * @param {(piece: Piece) => void} step
 * @param {boolean} gradients
 * @param {boolean} writes
 * @returns {void}
 */

/** Float32 values of a cache line. */
const LINE = 16;

/** Float32 values of a page of memory. A fresh page costs a third less to obtain by a store than in the midst of a long copy. */
const PAGE = 1024;

/** Where in its page a tile begins, in bytes: half a page after the 16 bytes at which glibc places large arrays. Copies are aligned
 * alike then, and fast: between addresses that are nearly the same within their pages, some take 16 times as long. */
const TILE_START = 2 * PAGE + 16;

/** @param {number} bytes */
const wholePages = (bytes) => Math.ceil(bytes / (4 * PAGE)) * 4 * PAGE;

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
  #f32;
  #begin;

  /** @param {Functions} functions @param {WebAssembly.Memory} memory @param {number} begin first byte of the work area, a multiple of 64 */
  constructor(functions, memory, begin) {
    this.functions = functions;
    this.memory = memory;
    this.buffer = memory.buffer;
    this.f64 = new Float64Array(this.buffer);
    this.#f32 = new Float32Array(this.buffer);
    this.#begin = begin;
  }

  /**
   * Takes tensors of the same dimensions through the kernel, range of channels by range of channels. What lies in this memory is
   * worked on where it lies. What is read from elsewhere is copied into a tile; the gradients, or X if there are none, into the
   * result, if that is at home. A result elsewhere is copied from a tile.
   *
   * @param {Dimensions} dimensions
   * @param {Task} task
   * @param {Float32Array} x
   * @param {Float32Array | null} gradients
   * @param {Float32Array | null} out of which the gradients, or X if there are none, may be the very memory
   * @param {(range: Range) => void} steps
   */
  run(dimensions, task, x, gradients, out, steps) {
    const { batch, channels, spatial } = dimensions;
    const f32 = this.#f32;
    const outHome = out?.buffer === this.buffer ? out : null;
    const xHome = x.buffer === this.buffer;
    const gHome = gradients?.buffer === this.buffer;
    // Where each is worked on, if not in a tile. Masked gradients do not stay where they were given.
    const xPlace = xHome ? x : gradients ? null : outHome;
    const gPlace = gHome && !task.masks ? gradients : outHome;
    const home = xPlace !== null && (gradients === null || gPlace !== null);
    const plan = makePlan(dimensions, task, this.buffer.byteLength - this.#begin, home);
    const row = channels * spatial;

    for (let first = 0; first < channels; first += plan.range) {
      const range = Math.min(plan.range, channels - first);
      // The regions of the work area, one after the other.
      const numbers = this.#begin;
      const partial = numbers + plan.numbers * range;
      const fold = partial + plan.sums * range;
      const tile = wholePages(fold + plan.folded * range) + TILE_START;
      // As X's rows are `row` values apart, this many more by whole cache lines keep every row where it lies in its lines in X.
      const tileStride = range * spatial + ((row - range * spatial) % LINE);
      const held = plan.resident ? batch * tileStride : (plan.rows - 1) * tileStride + range * plan.positions;
      const tileSize = wholePages(4 * held) + 4 * PAGE;
      let xLoaded = xHome;
      let gLoaded = gHome && !task.masks;
      let pieces = 0;

      /** @type {Sweep} */
      const sweep = (step, withGradients, writes) => {
        const last = Math.ceil(batch / plan.rows) - 1;
        for (let k = 0; k <= last; k++) {
          const b = plan.rows * (writes && task.again ? last - k : k);
          const rows = Math.min(plan.rows, batch - b);
          for (let p = 0; p < spatial; p += plan.positions) {
            const positions = Math.min(plan.positions, spatial - p);
            const start = b * row + first * spatial + p;
            // Each single piece begins at another line of a page: if the copy of one is slow for its place, that of the next is not.
            const place = plan.resident ? ((first * spatial) % PAGE) + b * tileStride + p : (start + LINE * pieces++) % PAGE;
            const xTile = tile + 4 * place;
            const gTile = xTile + tileSize;
            const xAt = xPlace ? xPlace.byteOffset + 4 * start : xTile;
            const xStride = xPlace ? row : tileStride;
            if (!xLoaded) copyRows(f32, xAt / 4, xStride, x, start, row, rows, range * positions);
            const g = gPlace ? gPlace.byteOffset + 4 * start : gTile;
            const gStride = gPlace ? row : tileStride;
            if (gradients && withGradients && !gLoaded && !gHome)
              copyRows(f32, g / 4, gStride, gradients, start, row, rows, range * positions);
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
              given: gradients && gHome ? gradients.byteOffset + 4 * start : g,
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

      steps({ first, channels: range, columns: Number(plan.columns), numbers, partial, fold, tileStride, sweep });
    }
  }
}
