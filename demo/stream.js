/* A stream of batches from one source, normalized in training as they come: how running statistics follow it. */
import { batchNormalization } from '../js/index.js';
import { seededNormal } from '../tests/data.js';

/** What the source is. */
export const SOURCE = { mean: 3, variance: 4 };

/** @param {number} seed */
export function createStream(seed = 1) {
  const next = seededNormal(seed, SOURCE.mean, Math.sqrt(SOURCE.variance));
  // As training has them at first.
  let runningMean = { data: Float32Array.of(0), shape: [1, 1, 1, 1] };
  let runningVar = { data: Float32Array.of(1), shape: [1, 1, 1, 1] };
  /**
   * The next batch, of `size` values.
   * @returns the batch's own statistics, the running ones after it, and the gap between its output in training and what
   *   inference gives with the running statistics of the batches before it: the root of the mean squared difference
   */
  return (size, momentum) => {
    const X = { data: Float32Array.from({ length: size }, next), shape: [size, 1, 1, 1] };
    // With momentum 0 the running statistics are the batch's own.
    const [, batchMean, batchVar] = batchNormalization(X, null, null, null, null, 0);
    const [inferred] = batchNormalization(X, null, null, runningMean, runningVar, momentum, 1e-5, false);
    let output;
    [output, runningMean, runningVar] = batchNormalization(X, null, null, runningMean, runningVar, momentum);
    const squares = output.data.reduce((sum, value, i) => sum + (value - inferred.data[i]) ** 2, 0);
    return {
      batchMean: batchMean.data[0],
      batchVar: batchVar.data[0],
      runningMean: runningMean.data[0],
      runningVar: runningVar.data[0],
      gap: Math.sqrt(squares / size),
    };
  };
}
