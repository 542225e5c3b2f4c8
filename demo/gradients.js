/* Four ways to compute the gradient of one channel, as frameworks do in float32, and the exact one. The functions take x, and the
 * gradient g of a loss with respect to the output. They return the gradients with respect to x (gradInput) and to gamma, which is 1.
 * In all of them, r is 1 / sqrt(variance + epsilon). The page shows this file. */
import { batchNormalizationGradient } from '../js/index.js';
import { dataAround, largestError, statistics } from './methods.js';

const f = Math.fround;

const sum32 = (values) => values.reduce((sum, value) => f(sum + value), 0);

/** The formula E[x²] − E[x]², differentiated step by step. */
export function onePassGradient(x, g, epsilon) {
  const n = x.length;
  const mean = f(sum32(x) / n);
  const variance = f(f(sum32(x.map((value) => f(value * value))) / n) - f(mean * mean));
  const r = f(1 / f(Math.sqrt(f(variance + epsilon))));
  const centered = x.map((value) => f(value - mean));
  const dot = sum32(g.map((value, i) => f(value * centered[i])));
  const gradVariance = f(f(-0.5 * f(f(r * r) * r)) * dot);
  const gradMean = f(f(-r * sum32(g)) - f(f(2 * mean) * gradVariance));
  const gradInput = x.map((value, i) => f(f(g[i] * r) + f(f(2 * value) * f(gradVariance / n))) + f(gradMean / n));
  return { gradInput, gradGamma: f(dot * r) };
}

/** First the mean, then the squared deviations, differentiated step by step. */
export function twoPassGradient(x, g, epsilon) {
  const n = x.length;
  const mean = f(sum32(x) / n);
  const centered = x.map((value) => f(value - mean));
  const variance = f(sum32(centered.map((d) => f(d * d))) / n);
  const r = f(1 / f(Math.sqrt(f(variance + epsilon))));
  const dot = sum32(g.map((value, i) => f(value * centered[i])));
  const gradVariance = f(f(-0.5 * f(f(r * r) * r)) * dot);
  const gradCentered = centered.map((d) => f(f(2 * d) * f(gradVariance / n)));
  const gradMean = f(f(-r * sum32(g)) - sum32(gradCentered));
  const gradInput = gradCentered.map((d, i) => f(f(g[i] * r) + d) + f(gradMean / n));
  return { gradInput, gradGamma: f(dot * r) };
}

/** The formula for the whole gradient. Its sums are in double precision, but the mean was saved as a float32. */
export function savedMeanGradient(x, g, epsilon) {
  const n = x.length;
  const { mean, variance } = statistics(x);
  const saved = f(mean);
  const r = f(1 / Math.sqrt(variance + epsilon));
  const total = g.reduce((sum, value) => sum + value, 0);
  const dot = g.reduce((sum, value, i) => sum + value * (x[i] - saved), 0);
  const slope = f((dot * r * r) / n);
  const gradInput = x.map((value, i) => f(f(g[i] - f(total / n)) - f(f(value - saved) * slope)) * r);
  return { gradInput, gradGamma: f(dot * r) };
}

export function thisPackageGradient(x, g, epsilon) {
  const shape = [1, 1, 1, x.length];
  const [gradInput, gradGamma] = batchNormalizationGradient({ data: g, shape }, { data: x, shape }, { epsilon });
  return { gradInput: gradInput.data, gradGamma: gradGamma.data[0] };
}

/** The exact gradient, in double precision. */
export function exactGradient(x, g, epsilon) {
  const n = x.length;
  const { variance, deviations } = statistics(x);
  const r = 1 / Math.sqrt(variance + epsilon);
  const meanOfG = g.reduce((sum, value) => sum + value, 0) / n;
  const dot = deviations.reduce((sum, d, i) => sum + (g[i] - meanOfG) * d, 0);
  const slope = (dot * r * r) / n;
  return { gradInput: deviations.map((d, i) => (g[i] - meanOfG - d * slope) * r), gradGamma: dot * r };
}

const METHODS = {
  onePass: onePassGradient,
  twoPass: twoPassGradient,
  savedMean: savedMeanGradient,
  thisPackage: thisPackageGradient,
};

/**
 * Runs all methods on data with this mean. Returns the largest error of each method's gradInput, its gradGamma, and the exact
 * gradGamma.
 * @param {Float64Array} normals @param {Float32Array} g @param {number} mean
 */
export function gradientErrorsAt(normals, g, mean) {
  const x = dataAround(normals, mean);
  const { gradInput, gradGamma } = exactGradient(x, g, 1e-5);
  const methods = Object.entries(METHODS).map(([name, method]) => {
    const found = method(x, g, 1e-5);
    return [name, { error: largestError(found.gradInput, gradInput), value: found.gradGamma }];
  });
  return { methods: Object.fromEntries(methods), expected: gradGamma };
}
