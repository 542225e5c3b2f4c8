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
/** At most this many bytes are lost by placing a tile in its page, and a piece in the tile. */
const PLACING = 12 << 10;
/** Bytes of a cache line. A row of a tile lies in its lines as it does in X, for which it gets up to one of padding. */
const LINE = 64;

/* The blocks of statistics of src/batchnorm.h: a piece ends where one ends. */
const BLOCK_POSITIONS = 4096;
const SHORT = 512;
const SHORT_ROWS = 8;
const COLUMN_ROWS = 256;

/**
 * How a tensor passes the kernel. Channels are taken in ranges, one after the other, and each step of a range in pieces, some
 * rows of the batch by some positions. What is copied passes through a tile: a range as a whole, or a piece at a time for each
 * step.
 *
 * @typedef {object} Plan
 * @property {boolean} columns the kernel's layout: lanes across channels and positions, instead of along slabs
 * @property {boolean} resident whether a range stays in the tile through all steps
 * @property {number} range channels of a range
 * @property {number} rows rows of a piece
 * @property {number} positions positions of a piece
 * @property {number[]} regions bytes that a channel takes of each region of the work area: its numbers, its partial sums, and what is
 *   folded from them
 */

/**
 * Plans a call on a tensor that is not empty. The layout depends on the dimensions alone, never on memory, since it decides
 * the rounding.
 *
 * @param {{ batch: number, channels: number, spatial: number, training: boolean }} dimensions
 * @param {number} bytes of the work area, at least 64 KiB
 * @param {boolean} home X or the output lies in the kernel's memory
 * @returns {Plan}
 */
export function makePlan({ batch, channels, spatial, training }, bytes, home) {
  const columns = spatial < 32 && spatial < 3 * batch;
  const least = Math.min(batch, !training ? 1 : columns ? COLUMN_ROWS : spatial < SHORT ? SHORT_ROWS : 1);
  const copies = columns ? spatial : 1;
  const regions = [48, 32 * copies, 12 * copies];
  const state = regions.reduce((sum, size) => sum + size);
  const slab = 4 * spatial;
  const volume = batch * slab;
  const memory = bytes - PLACING;
  const piece = training || home ? PIECE : PASSING;
  const most = Math.min(channels, Math.floor(STATE / state));

  let range = Math.min(most, Math.floor(Math.max(1, TILE / volume, (home ? HOME_RUN : RUN) / slab)));
  // Inference reads X once, so keeping a range in memory gains nothing.
  const stays =
    training && (home || (range * (state + volume) + batch * LINE <= memory && (range === channels || range * slab >= RUN / 2)));
  if (!stays) range = Math.min(most, Math.floor((training ? TILE : piece) / (least * slab)));
  range = Math.max(1, Math.min(range, Math.floor((memory - least * LINE) / (state + least * slab))));

  const room = Math.min(piece, memory - range * state);
  const row = range * slab + LINE;
  const rows = Math.min(batch, Math.max(least, Math.floor(room / row / least) * least));
  // Only a slab of its own is cut.
  const cut = Math.max(1, Math.floor(room / 4 / BLOCK_POSITIONS)) * BLOCK_POSITIONS;
  const positions = range === 1 && row > room ? Math.min(spatial, cut) : spatial;
  return { columns, resident: !home && (stays || (rows === batch && positions === spatial)), range, rows, positions, regions };
}
