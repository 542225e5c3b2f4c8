/* Pure arithmetic: dimensions and a number of bytes → which part of a tensor is worked on when. Knows no address, touches no
 * array and no WebAssembly, so that a tensor of 10¹² values can be planned in a test. */

/** Bytes of X that go through all steps before the next, where memory allows it: about what the second cache holds. */
const TILE = 1 << 20;
/** Bytes of X that go through one step at a time, and are copied for it if they lie elsewhere. */
const PIECE = 256 << 10;
/** The same if a piece is copied in, normalized and copied out at once: in the first cache. */
const PASSING = 32 << 10;
/** Bytes to copy at a stretch at least, for which a tile may be larger: each copy is a call of some 50 ns. With less than half,
 * two passes of long copies cost less than one of short ones. */
const RUN = 32 << 10;
/** The same where nothing is copied: less wastes cache lines and pages. */
const HOME_RUN = 4 << 10;
/** Bytes of per-channel state, at most: it is walked for every piece. */
const STATE = 1 << 20;
/** At most this many bytes are lost by placing a tile in its page, and a piece in the tile, for each tile. */
const PLACING = 12 << 10;
/** Bytes of a cache line. A row of a tile lies in its lines as it does in X, for which it gets up to one of padding. */
const LINE = 64;

/* The blocks of statistics of src/batchnorm.h: a piece ends where one ends. */
const BLOCK_POSITIONS = 4096;
const SHORT = 512;
const SHORT_ROWS = 8;
const COLUMN_ROWS = 256;

/** @typedef {{ batch: number, channels: number, spatial: number }} Dimensions */

/**
 * What steps need.
 * @typedef {object} Task
 * @property {number} numbers bytes of a channel's numbers
 * @property {number} sums bytes of partial sums of a series: of a channel or, in columns, of each of its positions
 * @property {number} folded bytes that are folded from them, likewise
 * @property {number} tiles tensors that may have to be copied, and room for others as large
 * @property {boolean} masks they mask the gradients before they work on them
 * @property {boolean} blocks they sum: pieces end where blocks do
 * @property {boolean} again they read a source again after they have seen all of it
 */

/**
 * How tensors pass the kernel. Channels are taken in ranges, one after the other, and each step of a range in pieces, some
 * rows of the batch by some positions. What is copied passes through tiles, one for each tensor: a range as a whole, or a piece at a
 * time for each step.
 *
 * @typedef {object} Plan
 * @property {boolean} columns the kernel's layout: lanes across channels and positions, instead of along slabs
 * @property {boolean} resident whether a range stays in the tiles through all steps
 * @property {number} range channels of a range
 * @property {number} rows rows of a piece
 * @property {number} positions positions of a piece
 * @property {number} numbers bytes that a channel takes in each region of the work area
 * @property {number} sums
 * @property {number} folded
 */

/**
 * Plans a call on tensors that are not empty. The layout depends on the dimensions alone, never on memory, since it decides
 * the rounding.
 *
 * @param {Dimensions} dimensions
 * @param {Task} task
 * @param {number} bytes of the work area, at least 64 KiB for each tile
 * @param {boolean} home the sources lie in the kernel's memory, or are copied to where they are at home
 * @returns {Plan}
 */
export function makePlan({ batch, channels, spatial }, task, bytes, home) {
  const { tiles, blocks, again, numbers } = task;
  const columns = spatial < 32 && spatial < 3 * batch;
  const least = Math.min(batch, !blocks ? 1 : columns ? COLUMN_ROWS : spatial < SHORT ? SHORT_ROWS : 1);
  const copies = columns ? spatial : 1;
  const sums = task.sums * copies;
  const folded = task.folded * copies;
  const state = numbers + sums + folded;
  // Of all tiles.
  const slab = 4 * spatial * tiles;
  const line = LINE * tiles;
  const volume = batch * slab;
  const memory = bytes - PLACING * tiles;
  const piece = blocks || home ? PIECE : PASSING;
  const run = (home ? HOME_RUN : RUN) * tiles;
  const most = Math.min(channels, Math.floor(STATE / state));

  let range = Math.min(most, Math.floor(Math.max(1, TILE / volume, run / slab)));
  // What is read once gains nothing by staying in memory.
  const stays =
    again && (home || (range * (state + volume) + batch * line <= memory && (range === channels || range * slab >= run / 2)));
  if (!stays) range = Math.min(most, Math.floor((blocks ? TILE : piece) / (least * slab)));
  range = Math.max(1, Math.min(range, Math.floor((memory - least * line) / (state + least * slab))));

  const room = Math.min(piece, memory - range * state);
  const row = range * slab + line;
  const rows = Math.min(batch, Math.max(least, Math.floor(room / row / least) * least));
  // Only a slab of its own is cut.
  const cut = Math.max(1, Math.floor(room / (4 * tiles) / BLOCK_POSITIONS)) * BLOCK_POSITIONS;
  const positions = range === 1 && row > room ? Math.min(spatial, cut) : spatial;
  const resident = !home && (stays || (rows === batch && positions === spatial));
  return { columns, resident, range, rows, positions, numbers, sums, folded };
}
