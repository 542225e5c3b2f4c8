/* `batchnorm/js`: the same functions in plain JavaScript, without the kernel. */

import { call, callGradient, callMoments, callSums } from './call.js';
import { Layer } from './layer.js';
import { differentiatePlain, normalizePlain } from './plain.js';

export { fold } from './fold.js';
export { mergeMoments } from './moments.js';

/**
 * batchNormalization of 'batchnorm', always computed in plain JavaScript. It takes the same arguments and throws the same errors.
 * Its results are normally more exact (docs/numerics.md), so their last bits may differ. Keeps no state.
 *
 * @type {typeof import('./index.js').batchNormalization}
 */
export const batchNormalization = (
  X,
  gamma,
  beta,
  runningMean,
  runningVar,
  momentum = 0.1,
  epsilon = 1e-5,
  training = true,
  options = {},
) => call(normalizePlain, X, gamma, beta, runningMean ?? null, runningVar ?? null, momentum, epsilon, training, options);

/**
 * batchNormalizationGradient of 'batchnorm', likewise.
 * @type {typeof import('./index.js').batchNormalizationGradient}
 */
export const batchNormalizationGradient = (gradOutput, X, options) =>
  callGradient(differentiatePlain, gradOutput, X, options === undefined ? {} : options);

/**
 * gradientSums of 'batchnorm', likewise.
 * @type {typeof import('./index.js').gradientSums}
 */
export const gradientSums = (gradOutput, X, options) => callSums(differentiatePlain, gradOutput, X, options);

/**
 * moments of 'batchnorm', likewise.
 * @type {typeof import('./index.js').moments}
 */
export const moments = (X, options = {}) => callMoments(normalizePlain, X, options);

/** BatchNorm of 'batchnorm', likewise. */
export class BatchNorm extends Layer {
  /** @param {number} channels @param {import('./layer.js').LayerOptions} [options] */
  constructor(channels, options) {
    super(batchNormalization, batchNormalizationGradient, channels, options);
  }
}
