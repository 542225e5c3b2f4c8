/* batchNormalization with the WebAssembly kernel: the order of its steps. */

/** @import { Kernel, Range } from './kernel.js' */
/** @import { Problem, Statistic } from './validate.js' */

/** The positions of bn_channel's fields (src/batchnorm.h), in doubles. */
const GAMMA = 0;
const BETA = 1;
const MEAN_HI = 2;
const MEAN_LO = 3;
const VARIANCE = 4;
const FIELDS = 6;
export const CHANNEL_BYTES = 8 * FIELDS;

/**
 * Writes gamma and beta of a range's channels into the kernel's memory and, if `given`, their mean (null means 0) and variance.
 * @param {Kernel} kernel @param {Problem} problem @param {Range} range
 * @param {boolean} given
 */
export function writeChannels({ f64 }, { gamma, beta, mean, variance }, { first, channels, numbers }, given) {
  for (let c = first, at = numbers / 8; c < first + channels; c++, at += FIELDS) {
    f64[at + GAMMA] = gamma ? gamma[c] : 1;
    f64[at + BETA] = beta ? beta[c] : 0;
    if (given) {
      f64[at + MEAN_HI] = mean ? mean[c] : 0;
      f64[at + MEAN_LO] = 0;
      f64[at + VARIANCE] = /** @type {Statistic} */ (variance)[c];
    }
  }
}

/**
 * Computes the statistics of a range's channels from X.
 * @param {Kernel} kernel @param {Problem} problem @param {Range} range
 */
export function findStatistics({ functions }, { batch, spatial, epsilon }, { channels, columns, numbers, partial, fold, sweep }) {
  sweep(({ x, xStride, rows, positions, seen }) => {
    functions.bn_statistics(x, rows, xStride, channels, positions, columns, epsilon, seen, partial, fold);
  });
  functions.bn_moments(batch * spatial, channels, spatial, columns, partial, numbers);
}

/** @param {Kernel} kernel @param {Problem} problem not empty @param {Float32Array | null} out see Normalize in call.js */
export function normalizeBy(kernel, problem, out) {
  const { functions, f64 } = kernel;
  const { spatial, mean, variance, epsilon, training, relu } = problem;
  const again = training && out !== null;
  const task = { numbers: CHANNEL_BYTES, sums: 32, folded: 12, tiles: 1, blocks: training, again };
  kernel.run(problem, task, problem.x, null, out, (range) => {
    const { first, channels, columns, numbers, fold, sweep } = range;
    writeChannels(kernel, problem, range, !training);
    if (training) findStatistics(kernel, problem, range);
    if (out) {
      functions.bn_fold(epsilon, +training, channels, spatial, columns, numbers, fold);
      sweep(
        ({ x, xStride, rows, positions, to, toStride }) => {
          functions.bn_normalize(x, to, rows, xStride, toStride, channels, positions, columns, +relu, numbers, fold);
        },
        false,
        true,
      );
    }
    if (training && mean)
      for (let c = first, at = numbers / 8; c < first + channels; c++, at += FIELDS) {
        mean[c] = f64[at + MEAN_HI] + f64[at + MEAN_LO];
        /** @type {Statistic} */ (variance)[c] = f64[at + VARIANCE];
      }
  });
}
