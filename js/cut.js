/* Decides how threads share a call, from the dimensions of its tensors. Like plan.js, this is pure arithmetic. Constants that say what
 * pays were found by measuring. */

import { BLOCK_POSITIONS, blocksOf } from './plan.js';
import { RESULTS, STATISTICS, SUMS } from './slices.js';

/** @import { GradientJob, Problem } from './validate.js' */

/* What is divided into parts: channels, rows of the batch, or positions of slabs. The order is that of a box (see Kernel.run). */
export const BY_CHANNELS = 0;
export const BY_ROWS = 1;
export const BY_POSITIONS = 2;

/** How a job is cut: into stages, and into `each` parts of whole units for each of so many threads.
 * @typedef {{ queues: number, each: number, by: number, unit: number, stages: number[] }} Cut */

/** The least number of values per thread. To share less work would take longer. */
const LEAST = 8 << 10;
/** The same, if nothing is summed: the work per value then takes less than half the time. */
const LEAST_UNSUMMED = 48 << 10;
/** The same, for slices (see slices.js) if sums are taken: such calls have several stages. */
const LEAST_SLICE = 32 << 10;
/** To compute so many values takes about as long as the additional work of stages. */
const STAGES = 16 << 10;
/** From this many values per thread, each thread has several parts if they are channels that are summed. One that is slow, or late, then
 * leaves some to others. If nothing is summed, short stretches of memory would cost more than this saves. If other things are divided, it
 * would cost more to merge the sums of more parts. */
const LARGE = 1 << 17;
/** How large the largest part may be, compared to the average. The room for what slices keep (KEPT in threads.js) depends on it. */
const LARGEST = 4 / 3;
/** The least number of values in a row of a part. If rows were shorter, threads would often write close to each other. Processors fetch
 * cache lines ahead of use, and so would take them from each other. */
const RUN = 256;
/** With fewer values in a row, parts are not channels if they can be something else. */
const LONG = 512;
/** The same, if nothing is summed: rows of the batch then need only one stage. */
const LONG_UNSUMMED = 16 << 10;
/** The least number of values per channel and thread for a part to be some rows of the batch. Each of the threads then prepares
 * all of the channels. */
const MANY = 256;

/**
 * How threads share a problem, so that it takes the least time; undefined if one of them should compute it alone.
 * @param {Pick<Problem, 'x' | 'batch' | 'channels' | 'spatial' | 'training' | 'mean'> & Partial<GradientJob>} problem
 * @param {number} threads how many there are
 * @returns {Cut | undefined}
 */
export function cutOf({ x, gradOutput, batch, channels, spatial, training, mean }, threads) {
  const values = x.length;
  const sums = training || gradOutput !== undefined;
  const least = sums ? LEAST : LEAST_UNSUMMED;
  const sizes = [channels, batch, spatial];
  // Slabs are cut where blocks end, and so are rows where channels are summed.
  const units = [1, sums ? blocksOf(batch, channels, spatial)[1] : 1, BLOCK_POSITIONS];

  /** The time that n parts take, in values of the largest part; Infinity if there cannot, or should not, be so many.
   * @param {number} by @param {number} n */
  const timeOf = (by, n) => {
    const size = sizes[by];
    const largest = Math.ceil(size / units[by] / n) * units[by];
    if (size <= units[by] * (n - 1) || largest * n > LARGEST * size) return Number.POSITIVE_INFINITY;
    const time = (values * largest) / size;
    // What the other threads compute must be worth it.
    if (time + least > values) return Number.POSITIVE_INFINITY;
    if (by === BY_CHANNELS) {
      const run = Math.floor(channels / n) * spatial;
      if (run < RUN) return Number.POSITIVE_INFINITY;
      return run < (sums ? LONG : LONG_UNSUMMED) ? time + values : time;
    }
    if ((sums && values < LEAST_SLICE * n) || (by === BY_ROWS && batch * spatial < MANY * n)) return Number.POSITIVE_INFINITY;
    return sums ? time + STAGES : time;
  };

  let [by, queues] = [BY_CHANNELS, 1];
  let shortest = Number.POSITIVE_INFINITY;
  for (let n = 2; n <= Math.min(threads, Math.floor(values / least)); n++)
    for (let other = BY_CHANNELS; other <= BY_POSITIONS; other++) {
      const time = timeOf(other, n);
      if (time < shortest) [shortest, by, queues] = [time, other, n];
    }
  if (queues === 1) return undefined;
  const stages = [RESULTS];
  if (by !== BY_CHANNELS && gradOutput) stages.unshift(SUMS);
  if (by !== BY_CHANNELS && training && !(gradOutput && mean)) stages.unshift(STATISTICS);
  const large = by === BY_CHANNELS && sums && values >= LARGE * queues;
  const each = [4, 2].find((n) => large && timeOf(by, n * queues) < Number.POSITIVE_INFINITY) ?? 1;
  return { queues, each, by, unit: units[by], stages };
}
