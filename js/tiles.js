/* Pure arithmetic: dimensions and a stretch of linear memory → which part of a tensor is there when, and where.
 * Touches no array and no WebAssembly, so that a tensor of 10¹² values can be planned in a test. */

/** Bytes of X to have in memory at a time. From 1 MiB up, memory copies run at their fastest; far beyond, caches end. */
const TILE = 2 << 20;
/** Bytes of per-channel state, at most: it is walked for every block. */
const STATE = 1 << 20;
/** Bytes to copy at a stretch, for which a tile may be twice as large: memory beyond the caches likes long ones. */
const RUN = 1 << 17;
/** Wanted at least, whatever the tile takes: each copy is a call of some 40 ns. With less than half, three passes of long copies
 * cost less than one of short ones. */
const SHORT_RUN = 1 << 15;
/** About as many values of a channel as 8 MB hold; beyond, each pass is a copy of all of it. Never the memory that there is,
 * since bits must not depend on that. */
const LONG = 2e6;
/** Bytes of a cache line. A row of a tile lies in its lines as it does in X, for which it gets up to one of padding. */
const LINE = 64;
/** Where in a line the memory of large arrays begins in Node on Linux, where it is malloc's. Elsewhere it does no harm. */
const ARRAY_START = 16;

/** Bytes of the kernel's bn_channel. */
const CHANNEL = 48;

/**
 * How a tensor passes through linear memory. Channels are taken in ranges, one after the other. If a range's whole
 * batch fits, it is resident: copied in once, and out. Otherwise it is streamed in blocks, each some rows of the batch
 * by some positions, once a pass.
 *
 * @typedef {object} Plan
 * @property {boolean} columns the kernel's layout: lanes across channels and positions, instead of along slabs
 * @property {boolean} guess squared deviations are from a guess of the mean, in the same pass as the sum
 * @property {boolean} resident the whole batch of a range is one block
 * @property {number} channels channels of a range
 * @property {number} rows rows of a block
 * @property {number} positions positions of a block
 * @property {number} partial address of the partial sums
 * @property {number} squares address of the partial sums of squared deviations, apart only with a guess
 * @property {number} channel address of the per-channel numbers
 * @property {number} fold address of what is folded from them
 * @property {number} tile address of the tile; a block whose first value is X's value i begins 4 · (i mod 16) bytes in
 */

/**
 * Plans a call on a tensor that is not empty. The layout, and whether the mean is guessed, depend on the dimensions
 * alone, never on memory, since they decide the rounding.
 *
 * @param {{ batch: number, channels: number, spatial: number, training: boolean }} dimensions
 * @param {number} begin first byte of the work area, a multiple of 64
 * @param {number} end the byte after its last; 2 KiB suffice
 * @returns {Plan}
 */
export function planTiles({ batch, channels, spatial, training }, begin, end) {
  const columns = spatial < 32 && spatial < 3 * batch;
  const partials = columns ? spatial : 8;
  const copies = columns ? spatial : 1;
  const guess = training && !columns && batch * spatial > LONG;
  const state = (guess ? 16 : 8) * partials + CHANNEL + 12 * copies;
  const slab = 4 * spatial;
  const volume = batch * slab;
  const memory = end - begin - 3 * LINE;

  let range = channels;
  let rows = batch;
  let positions = spatial;
  if (channels * (state + volume) > Math.min(TILE, memory)) {
    const most = Math.min(channels, Math.floor(STATE / state));
    const fits = TILE / volume;
    const wanted = Math.max(1, fits, SHORT_RUN / slab, Math.min(RUN / slab, 2 * fits));
    range = Math.floor(Math.min(most, wanted, (memory - batch * LINE) / (state + volume)));
    // In inference nothing is gained by residence: one pass over long stretches of X is all there is.
    if (!training || range < 1 || (range < channels && range * slab < SHORT_RUN / 2)) {
      const least = columns ? 4 : 1;
      range = Math.min(most, Math.floor((TILE - LINE) / slab), Math.floor((memory - least * LINE) / (state + least * slab)));
      range = Math.max(1, range);
      const block = Math.min(TILE, memory - range * state);
      const row = range * slab + (range < channels ? LINE : 0);
      rows = Math.min(batch, Math.max(least, Math.floor(block / row / least) * least));
      if (row > block) positions = Math.min(spatial, Math.floor(block / 256) * 64);
    }
  }
  const squares = begin + (guess ? 8 * partials * range : 0);
  const channel = squares + 8 * partials * range;
  const fold = channel + CHANNEL * range;
  const tile = Math.ceil((fold + 12 * copies * range) / LINE) * LINE + ARRAY_START;
  const resident = rows === batch && positions === spatial;
  return { columns, guess, resident, channels: range, rows, positions, partial: begin, squares, channel, fold, tile };
}
