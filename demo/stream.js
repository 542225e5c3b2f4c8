/* A stream of random batches from one source. Each is normalized in training, which updates the running statistics. */
import { batchNormalization } from '../js/index.js';
import { seededNormal } from '../tests/data.js';

/** The mean and variance of the source. */
export const SOURCE = { mean: 3, variance: 4 };

/** @param {number} seed */
export function createStream(seed = 1) {
  const nextValue = seededNormal(seed, SOURCE.mean, Math.sqrt(SOURCE.variance));
  // The values with which training starts.
  let runningMean = { data: Float32Array.of(0), shape: [1, 1, 1, 1] };
  let runningVar = { data: Float32Array.of(1), shape: [1, 1, 1, 1] };
  /**
   * Makes and normalizes the next batch, of `size` values.
   * @returns the batch's own statistics, the running statistics after it, and the gap: the root mean square of the difference between
   *   its outputs in training and in inference, where inference uses the running statistics of the batches before it
   */
  return (size, momentum) => {
    const X = { data: Float32Array.from({ length: size }, nextValue), shape: [size, 1, 1, 1] };
    // With momentum 0, the returned running statistics are the batch's own.
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
