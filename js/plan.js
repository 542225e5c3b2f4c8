/* Decides in which parts, and in which order, a tensor is processed, from its dimensions and a number of bytes. This is pure
 * arithmetic, without addresses, arrays or WebAssembly, so a test can plan a tensor of 10¹² values. */

/** Bytes that go through all steps before the next bytes do, if memory allows: about the size of a second-level cache. */
const TILE = 1 << 20;
/** Bytes of X per call of a step. They are copied for it if they are not in the kernel's memory. */
const PIECE = 256 << 10;
/** The same, if a piece is copied in, normalized and copied out in one go: these fit in the first-level cache. */
const PASSING = 32 << 10;
/** The least number of bytes to copy at a time, because each copy is a call, which takes about 50 ns. A tile may exceed TILE to
 * reach it. If copies would still be shorter than half of this, a tile holds one piece at a time: copying long pieces twice costs
 * less than copying short ones once. */
const RUN = 32 << 10;
/** The same, if nothing is copied: shorter stretches waste parts of cache lines and pages. */
const HOME_RUN = 4 << 10;
/** The most bytes of per-channel state, all of which is read for every piece. */
const STATE = 1 << 20;
/** The most bytes per tile that are lost because tiles are aligned in their pages, and pieces in their tiles. */
const PLACING = 12 << 10;
/** Bytes per cache line. A row of a tile gets up to one line of padding, so that it has the same alignment as in X. */
const LINE = 64;

/* The sizes of the blocks in which src/batchnorm.h sums. A piece must end where a block ends. */
export const BLOCK_POSITIONS = 4096;
const SHORT = 512;
const SHORT_ROWS = 8;
/** The least number of rows of a block in columns. If rows are narrow, there are more, so that there are fewer blocks to merge. */
const COLUMN_ROWS = 256;
/** About the most values in four blocks of narrow rows. Rows of fewer than NARROW channels count as if they had so many: the smallest tile
 * has room for 1,024 short rows. */
const FOUR_BLOCKS = 1 << 18;
const NARROW = 64;

/** @typedef {{ batch: number, channels: number, spatial: number }} Dimensions */

/**
 * The needs of the steps of a call.
 * @typedef {object} Task
 * @property {number} numbers bytes per channel for its numbers
 * @property {number} sums bytes per series for partial sums; a series is a channel or, in columns, one position of a channel
 * @property {number} folded bytes per series for the coefficients that are folded from a channel's numbers
 * @property {number} tiles how many tiles: one per tensor that may have to be copied, and any that serve as scratch memory
 * @property {boolean} [masks] the steps mask the gradients before they use them; default: no
 * @property {boolean} blocks the steps sum, so pieces must end where blocks do
 * @property {boolean} again the steps read a source a second time, after a first pass over all of it
 */

/**
 * How the kernel processes tensors. Ranges of channels are processed one after another. Each step of a range is applied to one
 * piece after another: some rows of the batch by some positions. A tensor that is copied has a tile. The tile holds the whole
 * range during all steps, or one piece at a time, which is then copied again for each step.
 *
 * @typedef {object} Plan
 * @property {number} columns rows of a block in columns, or 0 if the layout is slabs
 * @property {boolean} resident whether a range stays in the tiles through all steps
 * @property {number} range channels of a range
 * @property {number} rows rows of a piece
 * @property {number} positions positions of a piece
 * @property {number} sums bytes per channel in its regions of the work area
 * @property {number} folded
 */

/**
 * How channels are summed: the number of rows of a block in columns, or 0 if the layout is slabs; and the number of rows of a block in
 * either layout. This depends on the dimensions alone, never on memory, because the rounding depends on it.
 * @param {number} batch @param {number} channels @param {number} spatial
 */
export function blocksOf(batch, channels, spatial) {
  // If rows are narrow, there are four blocks of the same size, or a multiple of four, so that threads can share them. The last block may
  // be shorter.
  const rows = Math.max(
    COLUMN_ROWS,
    Math.ceil(batch / 4 / Math.ceil((batch * spatial * Math.max(NARROW, channels)) / FOUR_BLOCKS)),
  );
  return spatial < 32 && spatial < 3 * batch ? [rows, rows] : [0, spatial < SHORT ? SHORT_ROWS : 1];
}

/**
 * Plans a call on tensors that are not empty.
 *
 * @param {Dimensions} dimensions
 * @param {Task} task
 * @param {number} bytes of the work area, at least 84 KiB per tile
 * @param {boolean} home all sources are in the kernel's memory, or are copied into a tensor that is
 * @returns {Plan}
 */
export function makePlan({ batch, channels, spatial }, task, bytes, home) {
  const { tiles, blocks, again, numbers } = task;
  const [columns, height] = blocksOf(batch, channels, spatial);
  const least = blocks ? Math.min(batch, height) : 1;
  const copies = columns ? spatial : 1;
  const sums = task.sums * copies;
  const folded = task.folded * copies;
  const state = numbers + sums + folded;
  // In bytes, for all tiles together.
  const slab = 4 * spatial * tiles;
  const line = LINE * tiles;
  const volume = batch * slab;
  const memory = bytes - PLACING * tiles;
  const piece = blocks || home ? PIECE : PASSING;
  const run = (home ? HOME_RUN : RUN) * tiles;
  const most = Math.min(channels, STATE / state);

  let range = Math.floor(Math.min(most, Math.max(1, TILE / volume, run / slab)));
  // A source that is read only once gains nothing by staying in its tile.
  const stays =
    again && (home || (range * (state + volume) + batch * line <= memory && (range === channels || range * slab >= run / 2)));
  if (!stays) range = Math.min(most, (blocks ? TILE : piece) / (least * slab));
  range = Math.max(1, Math.floor(Math.min(range, (memory - least * line) / (state + least * slab))));

  const room = Math.min(piece, memory - range * state);
  const row = range * slab + line;
  const rows = Math.min(batch, Math.max(least, Math.floor(room / row / least) * least));
  // Slabs are only cut if the range has a single channel.
  const cut = Math.max(1, Math.floor(room / (4 * tiles) / BLOCK_POSITIONS)) * BLOCK_POSITIONS;
  const positions = range === 1 && row > room ? Math.min(spatial, cut) : spatial;
  const resident = !home && (stays || (rows === batch && positions === spatial));
  return { columns, resident, range, rows, positions, sums, folded };
}
