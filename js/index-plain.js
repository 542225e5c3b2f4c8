/* `batchnorm/js`: the same functions in plain JavaScript, without the kernel. */

import { call, callGradient, callMoments } from './call.js';
import { Layer } from './layer.js';
import { differentiatePlain, normalizePlain } from './plain.js';

export { fold } from './fold.js';
export { mergeMoments } from './moments.js';

/**
 * batchNormalization of 'batchnorm', computed in plain JavaScript whatever the environment: same arguments, results and errors;
 * closer as a rule (docs/numerics.md), so other bits. Keeps no state.
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
