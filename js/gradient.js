/* batchNormalizationGradient with the WebAssembly kernel: the order of its steps. */

import { CHANNEL_BYTES, findStatistics, writeChannels } from './forward.js';

/** @import { Kernel } from './kernel.js' */
/** @import { GradientJob } from './validate.js' */

/** The size of bn_gradient (src/batchnorm.h). Its first two fields are the gradients of gamma and beta. */
export const GRADIENT_BYTES = 80;

/**
 * @param {Kernel} kernel with the functions of the gradient @param {GradientJob} job not empty @param {Float32Array | null} out
 *   see Differentiate in call.js @param {Float32Array} gradGamma @param {Float32Array} gradBeta
 */
export function differentiateBy(kernel, job, out, gradGamma, gradBeta) {
  const { functions, f64 } = kernel;
  const { batch, channels: all, spatial, mean, epsilon, training, relu, sums, collected } = job;
  const task = {
    numbers: 2 * CHANNEL_BYTES + GRADIENT_BYTES,
    sums: 48,
    folded: 32,
    tiles: relu ? 3 : 2,
    masks: relu,
    blocks: true,
    again: training && !sums && (out !== null || mean === null),
  };
  kernel.run(job, task, job.x, job.gradOutput, out, (range) => {
    const { first, channels, columns, numbers, partial, fold, tileStride, sweep } = range;
    const gradient = numbers + CHANNEL_BYTES * channels;
    // Series per channel.
    const copies = columns ? spatial : 1;
    writeChannels(kernel, job, range, mean !== null);
    if (mean === null) findStatistics(kernel, job, range);
    // A part of a batch was normalized as in inference, and relu must leave the same outputs as there.
    functions.bn_fold(epsilon, +(training && !sums), channels, spatial, columns, numbers, fold);
    // In inference, gradInput is gradOutput normalized with mean 0 and beta 0. These are the channels' numbers for this.
    const inputNumbers = gradient + GRADIENT_BYTES * channels;
    // After the three floats per series that bn_fold writes for X. bn_gradient_fold writes here, too, but after the last use.
    const inputFold = fold + 12 * copies * channels;
    if (!training) {
      writeChannels(kernel, { ...job, beta: null, mean: null }, { ...range, numbers: inputNumbers }, true);
      functions.bn_fold(epsilon, 0, channels, spatial, columns, inputNumbers, inputFold);
    }

    /** @param {import('./kernel.js').Piece} piece */
    const mask = ({ x, xStride, g, gStride, rows, positions, given, givenStride, fresh, spare }) => {
      if (!(relu && fresh)) return;
      functions.bn_normalize(x, spare, rows, xStride, tileStride, channels, positions, columns, 1, numbers, fold);
      functions.bn_mask(spare, given, g, rows, tileStride, givenStride, gStride, channels * positions);
    };
    if (collected || !sums)
      sweep(
        (piece) => {
          const { x, xStride, g, gStride, rows, positions, seen, to, toStride } = piece;
          mask(piece);
          functions.bn_gradient_sums(x, g, rows, xStride, gStride, channels, positions, columns, seen, partial, gradient, fold);
          if (!training && out)
            functions.bn_normalize(g, to, rows, gStride, toStride, channels, positions, columns, 0, inputNumbers, inputFold);
        },
        true,
        !training,
      );
    if (sums) {
      // A channel's three sums are those of its series, added up.
      for (let k = 0, from = partial / 8; k < 3; k++)
        for (let c = k * all + first, end = c + channels; c < end; c++)
          for (let i = 0; i < copies; i++, from++) {
            if (collected) sums[c] += f64[from];
            else f64[from] = i === 0 ? sums[c] : 0;
          }
      if (collected) return;
      // Sets uneven, since the sums do not tell whether all gradients are equal. bn_gradient_fold sets the other fields.
      f64.fill(1, gradient / 8, inputNumbers / 8);
    }
    functions.bn_gradient_fold(
      sums ? sums[3 * all] : batch * spatial,
      epsilon,
      +training,
      channels,
      spatial,
      columns,
      partial,
      numbers,
      gradient,
      fold,
    );
    if (training && out)
      sweep(
        (piece) => {
          const { x, xStride, g, gStride, rows, positions, to, toStride } = piece;
          mask(piece);
          functions.bn_gradient_input(x, g, to, rows, xStride, gStride, toStride, channels, positions, columns, gradient, fold);
        },
        true,
        true,
      );
    // With sums, these two were computed from them before.
    if (!sums)
      for (let c = first, at = gradient / 8; c < first + channels; c++, at += GRADIENT_BYTES / 8) {
        gradGamma[c] = f64[at];
        gradBeta[c] = f64[at + 1];
      }
  });
}
