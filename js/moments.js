/* Mean and variance of a whole from those of its parts. */

import { describe, fail, isObject, isSize, numbersOf, rejectNumber } from './tensor.js';
import { newStatistics } from './validate.js';

/** @import { Moments, Numbers } from './index.js' */

const PARTS = 'mergeMoments: parts';

/**
 * Combines the moments of several parts, as `moments` returns them, into those of the whole. With the parts of a batch on several
 * workers, this gives synchronized batch normalization; with the valid part of each sequence, masked batch normalization; with
 * one batch after another, the statistics of a data set.
 *
 * The parts may have different counts, and may come in any order. A part of count 0 changes nothing, whatever its mean and
 * variance are. If all counts are 0, mean and variance are 0, as `moments` returns them; unlike NaN, 0 survives JSON.
 *
 * For P parts, and compared with exact arithmetic on them, the mean is off by at most (P + 1) · 2⁻⁵³ · max|mean of a part|, and
 * the variance by at most 4 · (P + 6) · 2⁻⁵³ of itself. If the parts' variances come from the float32 kernel, the variance is off
 * by at most 6.01 · 2⁻²⁴ of itself, compared with the exact variance of all values. NaN and infinity have the same effect as in
 * the formulas in float64, and stay in their channel.
 *
 * @param {Iterable<{ readonly count: number, readonly mean: Numbers, readonly variance: Numbers }>} parts iterated once: for each
 *   part, the number of values per channel, and their mean and biased variance, one number per channel
 * @returns {Moments} the same for the whole, in new arrays
 * @throws {TypeError} if parts is not iterable, or something in it is of the wrong kind or missing
 * @throws {RangeError} if there is no part, a count is not a non-negative integer, or the parts differ in their channels
 *
 * @example
 * const { count, mean, variance } = mergeMoments([
 *   { count: 2, mean: [1, 10], variance: [0, 4] },
 *   { count: 6, mean: [5, 10], variance: [0, 8] },
 * ]);
 * mean; // ≈ 4, 10
 * variance; // ≈ 3, 7
 */
export function mergeMoments(parts) {
  if (typeof (/** @type {any} */ (parts)?.[Symbol.iterator]) !== 'function')
    fail(TypeError, PARTS, 'be iterable', describe(parts));
  /** @type {Moments[]} */
  const filled = [];
  let channels;
  let total = 0;
  let index = 0;
  for (const part of parts) {
    const argument = `${PARTS}[${index++}]`;
    if (!isObject(part)) fail(TypeError, argument, 'be an object { count, mean, variance }', describe(part));
    const { count } = part;
    if (!isSize(count)) rejectNumber(`${argument}.count`, count, 'be a non-negative integer');
    const mean = numbersOf(`${argument}.mean`, part.mean, channels);
    channels = mean.length;
    const variance = numbersOf(`${argument}.variance`, part.variance, channels);
    total += count;
    if (count > 0) filled.push({ count, mean, variance });
  }
  if (channels === undefined) fail(RangeError, PARTS, 'hold at least one part', 'none');

  const result = { count: total, ...newStatistics(channels) };
  if (total > 0)
    for (let c = 0; c < channels; c++) {
      const averageFrom = (/** @type {number} */ center) => {
        let sum = 0;
        for (const { count, mean } of filled) sum += count * (mean[c] - center);
        return sum / total;
      };
      const first = filled[0].mean[c];
      let center = first + averageFrom(first);
      // Differences from an infinite mean are NaN, even where the plain average is not.
      if (!Number.isFinite(center)) center = averageFrom(0);
      let squares = 0;
      for (const { count, mean, variance } of filled) squares += count * (variance[c] + (mean[c] - center) ** 2);
      // The mean minus center, which rounding has moved away from the mean. The error bounds depend on this correction.
      const rest = averageFrom(center);
      result.mean[c] = center + (Number.isFinite(rest) ? rest : 0);
      result.variance[c] = squares / total - rest * rest;
    }
  return result;
}
