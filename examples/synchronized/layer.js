/* Batch normalization of a batch whose parts are on several workers, for training. */
import { batchNormalization, batchNormalizationGradient, gradientSums, mergeMoments, moments } from 'batchnorm';

export class SynchronizedBatchNorm {
  /** `exchange` gives a value to all workers, and resolves to the values of all. */
  constructor(channels, exchange, { momentum = 0.9, epsilon = 1e-5, relu = false } = {}) {
    Object.assign(this, { exchange, momentum, epsilon, relu });
    this.gamma = new Float32Array(channels).fill(1);
    this.beta = new Float32Array(channels);
    this.runningMean = new Float64Array(channels);
    this.runningVar = new Float64Array(channels).fill(1);
  }

  async forward(X) {
    const { gamma, beta, momentum, epsilon, relu } = this;
    const { mean, variance } = mergeMoments(await this.exchange(moments(X)));
    const update = (running, batch) => running.map((value, c) => momentum * value + (1 - momentum) * batch[c]);
    this.runningMean.set(update(this.runningMean, mean));
    this.runningVar.set(update(this.runningVar, variance));
    this.saved = { X, statistics: { mean, variance } };
    // With the statistics of the whole batch, a part is normalized as in inference.
    return batchNormalization(X, gamma, beta, mean, variance, momentum, epsilon, false, { relu })[0];
  }

  /** Returns the gradient of this part with respect to X. gradGamma and gradBeta are those of the whole batch, on every worker. */
  async backward(gradOutput) {
    const { gamma, beta, epsilon, relu, saved } = this;
    const { X, statistics } = saved;
    const options = { gamma, beta, statistics, epsilon, relu };
    const parts = await this.exchange(gradientSums(gradOutput, X, options));
    const sums = parts[0].map((_, i) => parts.reduce((sum, part) => sum + part[i], 0));
    const [gradInput, gradGamma, gradBeta] = batchNormalizationGradient(gradOutput, X, { ...options, sums });
    Object.assign(this, { gradGamma: gradGamma.data, gradBeta: gradBeta.data });
    return gradInput;
  }
}
