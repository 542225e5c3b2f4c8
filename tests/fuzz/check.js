/* Checks the kernel's and plain JavaScript's results of a problem: they must be within the bounds of docs/numerics.md around the
 * exact ones. Returns how close to each bound they are. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import * as main from '../../js/index.js';
import * as plain from '../../js/index-plain.js';
import { gradBetaBound, gradGammaBound, gradInputBound } from '../gradient-reference.js';
import { callKernel, gradientKernel } from '../helpers.js';
import { outputBound } from '../reference.js';
import { exactGradients, exactMerge, exactOutput } from './exact.js';
import { channelOf, Draw, FLOAT32_MAX, positionOf } from './problems.js';

const u = 2 ** -24;
const EPS = 2 ** -53;
/** Up to this many values, `batchnorm` computes in plain JavaScript. */
const TINY = 128;
/** Exact results are stored as doubles. That rounding is at most this part of the narrowest bounds. */
const SLACK = 1 + 2 ** -28;

export const isTiny = ({ x }) => x.length <= TINY;

/** The implementations. Tiny tensors reach the kernel only if it is called directly. */
export const PATHS = {
  kernel: (problem) =>
    isTiny(problem)
      ? { ...main, batchNormalization: callKernel, batchNormalizationGradient: gradientKernel, moments: null }
      : main,
  plain: () => plain,
};

/** The bound of an output of plain JavaScript: 0.2u·|p| from the variance, one rounding, and in training the mean's error. */
const plainOutputBound = (training, p, gamma, beta) =>
  training
    ? u * (1.21 * p + 1.01 * Math.abs(beta)) + 2 ** -30 * Math.abs(gamma) + 2 ** -150
    : u * 1.01 * (p + Math.abs(beta)) + 2 ** -150;

/** The bound of a variance. */
const varianceBound = (path, variance, epsilon) =>
  path === 'plain' ? 0.4 * u * variance : 6.001 * u * variance + (epsilon >= 1e-30 ? 2 ** -149 : 0);

/** An argument that holds numbers per channel. */
export function argumentOf(numbers) {
  if (numbers === null) return null;
  if (numbers.form === 'array') return Array.from(numbers.values);
  return numbers.form === 'float32' ? Float32Array.from(numbers.values) : numbers.values.slice();
}

/** The results of the forward call, as bare arrays. */
export function forward(call, problem, { X, gamma, beta, runningMean, runningVar }, out) {
  const { channels, momentum, epsilon, training, axis, unbiased, relu } = problem;
  const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
  const options = { axis, statistics, unbiased, relu, out };
  const [output, mean, variance] = call(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training, options);
  return { output, mean, variance, statistics };
}

/** The statistics for the gradient: none, those that the forward call saved, or the running ones. */
export function statisticsFor({ statistics }, saved, running) {
  if (statistics === 'none') return undefined;
  return statistics === 'saved' ? saved : running;
}

/** The arguments of a problem, in their simplest form. */
export const argumentsOf = (problem) => ({
  X: { data: problem.x, shape: problem.shape },
  gamma: argumentOf(problem.gamma),
  beta: argumentOf(problem.beta),
  runningMean: argumentOf(problem.runningMean),
  runningVar: argumentOf(problem.runningVar),
});

/** The largest error under each name, in units of its bound. */
class Errors extends Map {
  note(name, error) {
    if (!(error <= (this.get(name) ?? -1))) this.set(name, error);
  }
}

/** The error of a result in units of its bound. It is 0 if the result may overflow float32, or the largest of its terms may. */
function errorOf(actual, exact, bound, largest) {
  if (!Number.isFinite(exact)) return Object.is(actual, exact) ? 0 : Infinity;
  if (largest * (1 + 2 ** -20) + bound > FLOAT32_MAX) {
    const isBeyond = Math.abs(exact) - bound > FLOAT32_MAX * (1 + 2 ** -20) && largest < 1.5 * Math.abs(exact);
    return isBeyond && actual !== Math.sign(exact) * Infinity ? Infinity : 0;
  }
  const off = Math.abs(actual - exact);
  return off === 0 ? 0 : off / bound;
}

const failBeyond = (what, actual, exact, error) => assert.fail(`${what}: ${actual}, not ${exact}; ${error} of the bound`);

const isFiniteAll = (values) => values.every(Number.isFinite);
const isEqualAll = (values) => values.every((value) => value === values[0]);

/** @param {Float32Array[]} xs the channels of X */
function holdForward(problem, path, result, xs, exact, errors) {
  const { channels, batch, spatial, gamma, beta, runningMean, runningVar, momentum, epsilon, training, unbiased, relu } = problem;
  const count = batch * spatial;
  const mode = training ? 'training' : 'inference';
  const output = result.output.data;
  const bound = path === 'plain' ? plainOutputBound : outputBound;
  let worst = 0;
  for (let c = 0; c < channels; c++) {
    const [weight, shift] = [gamma?.values[c] ?? 1, beta?.values[c] ?? 0];
    const { y, p, mean, meanRest, variance, magnitude } = exact[c];
    const isConstant = training && epsilon > 0 && isEqualAll(xs[c]) && Number.isFinite(xs[c][0]);
    for (let i = 0; i < count; i++) {
      const actual = output[positionOf(problem, c, i)];
      const target = relu && y[i] <= 0 ? 0 : y[i];
      const error = errorOf(actual, target, bound(training, p[i], weight, shift), Math.abs(target));
      if (!(error <= SLACK)) failBeyond(`${path}: output ${i} of channel ${c}`, actual, target, error);
      if (error > worst) worst = error;
      if (relu && (actual < 0 || Object.is(actual, -0)))
        assert.fail(`${path}: output ${i} of channel ${c} after relu: ${actual}`);
      if (isConstant && actual !== Math.fround(target))
        assert.fail(`${path}: output in the constant channel ${c}: ${actual}, not ${target}`);
    }
    const saved = { mean: result.statistics.mean[c], variance: result.statistics.variance[c] };
    const old = { mean: runningMean?.values[c] ?? 0, variance: runningVar?.values[c] ?? 1 };
    if (training) {
      holdMoments(path, saved, { mean, meanRest, variance, magnitude }, count, epsilon, `channel ${c}`, errors);
      const correction = unbiased ? count / (count - 1) : 1;
      old.mean = momentum * old.mean + (1 - momentum) * saved.mean;
      old.variance = momentum * old.variance + (1 - momentum) * (saved.variance * correction);
    } else assert.deepEqual(saved, old, `${path}: statistics of channel ${c}`);
    for (const key of ['mean', 'variance']) {
      const { data } = result[key];
      const given = key === 'mean' ? runningMean : runningVar;
      const isDouble = given !== null && given.form !== 'float32';
      if (training) assert.equal(data.constructor, isDouble ? Float64Array : Float32Array, `${path}: type of running ${key}`);
      assert.equal(data[c], isDouble ? old[key] : Math.fround(old[key]), `${path}: running ${key} of channel ${c}`);
    }
  }
  errors.note(`${path}, output, ${mode}`, worst);
}

function holdMoments(path, { mean, variance }, exact, count, epsilon, where, errors) {
  if (!Number.isFinite(exact.mean)) {
    assert.equal(mean, exact.mean, `${path}: mean of ${where}`);
    assert.equal(variance, Number.NaN, `${path}: variance of ${where}`);
    return;
  }
  holdNear(`${path}, mean`, Math.abs(mean - exact.mean - exact.meanRest), count * EPS * exact.magnitude, where, errors);
  holdNear(`${path}, variance`, Math.abs(variance - exact.variance), varianceBound(path, exact.variance, epsilon), where, errors);
  if (variance < 0 || Object.is(variance, -0)) assert.fail(`${path}: variance of ${where}: ${variance}`);
}

/** Checks an error `off` against its bound. */
function holdNear(name, off, bound, where, errors) {
  if (!(off <= bound * SLACK)) assert.fail(`${name}, of ${where}: off by ${off}, bound ${bound}`);
  errors.note(name, off === 0 ? 0 : off / bound);
}

/** A channel's gradients after the mask of relu, or null if rounding decides about the mask. */
function masked(problem, c, x, g, output, given) {
  const { gamma, beta, epsilon, training } = problem;
  // The gradient computes exactly these outputs again, unless statistics are given in training.
  if (!(training && given)) return g.map((value, i) => (output[positionOf(problem, c, i)] > 0 ? value : 0));
  const numbers = { gamma: gamma?.values[c] ?? 1, beta: beta?.values[c] ?? 0 };
  const { y, p } = exactOutput(x, { ...numbers, epsilon, given });
  if (y.some((value, i) => Math.abs(value) <= outputBound(true, p[i], numbers.gamma, numbers.beta))) return null;
  return g.map((value, i) => (y[i] > 0 ? value : 0));
}

/** @param {object[]} known the last exact gradients of each channel */
function holdGradients(problem, path, gradients, xs, { output, statistics: saved }, known, errors) {
  const { channels, batch, spatial, gamma, epsilon, training, relu, runningMean, runningVar } = problem;
  const count = batch * spatial;
  const isPlain = path === 'plain';
  const statistics = statisticsFor(problem, saved, { mean: runningMean?.values, variance: runningVar?.values });
  const mode = training ? (statistics ? 'statistics given' : 'training') : 'inference';
  const [gradInput, gradGamma, gradBeta] = gradients.map(({ data }) => data);
  for (let c = 0; c < channels; c++) {
    const given = statistics ? { mean: statistics.mean[c], variance: statistics.variance[c] } : null;
    const all = channelOf(problem, problem.g, c);
    const g = relu ? masked(problem, c, xs[c], all, output.data, given) : all;
    if (g === null) continue;
    const question = { gamma: gamma?.values[c] ?? 1, epsilon, training, given };
    // Both paths often ask for the same gradients, and computing them exactly takes long.
    if (!isDeepStrictEqual([known[c]?.question, known[c]?.g], [question, g]))
      known[c] = { question, g, exact: exactGradients(xs[c], g, question) };
    const { exact } = known[c];
    const { channel, std, P, R, normalized } = exact;
    const hold = (name, actual, target, bound) => {
      const error = errorOf(actual, target, bound, Math.abs(target));
      if (!(error <= SLACK)) failBeyond(`${path}: ${name} of channel ${c}, ${mode}`, actual, target, error);
      errors.note(`${path}, ${name}, ${mode}`, error);
    };
    hold('gradBeta', gradBeta[c], exact.gradBeta, gradBetaBound(exact.gradBeta, channel, isPlain));
    // The bounds only hold if v + epsilon > 0 and the given statistics are not too far from the batch's own.
    if ((std === 0 || channel.offset > 2 ** 18) && given) continue;
    // In this case gradGamma is documented to be NaN, because of 0 · infinity.
    const isLost = !training && given.mean !== Math.fround(given.mean) && !isFiniteAll(g);
    if (!isLost) hold('gradGamma', gradGamma[c], exact.gradGamma, gradGammaBound(training, exact.gradGamma, channel, isPlain));
    const isZero = training && std > 0 && isEqualAll(g) && Number.isFinite(g[0]) && isFiniteAll(xs[c]);
    if (isZero && gradGamma[c] !== 0) assert.fail(`${path}: gradGamma of equal gradients is ${gradGamma[c]}`);
    let worst = 0;
    for (let i = 0; i < count; i++) {
      const actual = gradInput[positionOf(problem, c, i)];
      const target = exact.gradInput[i];
      const bound = gradInputBound(training, P[i], R[i], normalized[i], channel, isPlain);
      const largest = Math.max(P[i], R[i], Math.abs(target));
      const error = errorOf(actual, target, bound, largest);
      if (!(error <= SLACK)) failBeyond(`${path}: gradInput ${i} of channel ${c}, ${mode}`, actual, target, error);
      if (error > worst) worst = error;
      if (isZero && actual !== 0) assert.fail(`${path}: gradInput ${i} of equal gradients is ${actual}`);
    }
    errors.note(`${path}, gradInput, ${mode}`, worst);
  }
}

/** Checks the moments of the whole batch, and the merged moments of its parts. */
function holdParts(problem, path, moments, xs, exact, errors) {
  const { x, shape, axis, batch, channels, spatial } = problem;
  const draw = new Draw(problem.forms);
  const count = batch * spatial;
  const whole = moments({ data: x, shape }, axis === undefined ? undefined : { axis });
  const cuts = Array.from({ length: draw.upTo(4) }, () => draw.upTo(batch + 1) - 1).sort((a, b) => a - b);
  const parts = [...cuts, batch].map((end, k) => {
    const begin = k === 0 ? 0 : cuts[k - 1];
    const row = channels * spatial;
    return moments({ data: x.subarray(begin * row, end * row), shape: [end - begin, channels, spatial] });
  });
  const merged = main.mergeMoments(parts);
  const filled = parts.filter(({ count }) => count > 0);
  assert.deepEqual([whole.count, merged.count], [count, count]);
  for (let c = 0; c < channels; c++) {
    const own = exact(c, xs[c]);
    holdMoments(path, { mean: whole.mean[c], variance: whole.variance[c] }, own, count, 0, `moments of channel ${c}`, errors);
    if (!Number.isFinite(own.mean)) continue;
    const mean = merged.mean[c];
    const meanBound = holdMerge(
      filled.map((part) => ofChannel(part, c)),
      ofChannel(merged, c),
      errors,
    );
    const off = [Math.abs(mean - own.mean - own.meanRest), Math.abs(merged.variance[c] - own.variance)];
    holdNear(`${path}, merged mean of the whole`, off[0], meanBound + count * EPS * own.magnitude, `channel ${c}`, errors);
    holdNear(`${path}, merged variance of the whole`, off[1], 6.01 * u * own.variance, `channel ${c}`, errors);
  }
}

const ofChannel = ({ count, mean, variance }, c) => ({ count, mean: mean[c], variance: variance[c] });

/** Checks merged moments of one channel's parts. Returns the bound of the mean. */
function holdMerge(parts, { mean, variance }, errors) {
  const exact = exactMerge(parts);
  const meanBound = (parts.length + 1) * EPS * Math.max(...parts.map((part) => Math.abs(part.mean)));
  const varianceBound = 4 * (parts.length + 6) * EPS * exact.variance;
  const where = `${parts.length} parts`;
  holdNear('merged mean', Math.abs(mean - exact.mean - exact.meanRest), meanBound, where, errors);
  holdNear('merged variance', Math.abs(variance - exact.variance), varianceBound, where, errors);
  return meanBound;
}

/** Checks merged moments of random parts. */
function holdAnyMerge(seed, errors) {
  const draw = new Draw(seed);
  const center = draw.any([0, 1, 1e8, 2 ** 52, draw.power(-100, 100)]);
  const width = center === 0 ? draw.power(-100, 100) : center * draw.power(-53, 3);
  const parts = Array.from({ length: draw.any([1, 2, 3, draw.upTo(60)]) }, () => ({
    count: draw.any([1, draw.upTo(100), draw.upTo(1e7)]),
    mean: center + (draw.chance(0.1) ? 2 ** 20 : 1) * width * draw.normal(),
    variance: draw.any([0, (width * draw.power(-20, 4)) ** 2]),
  }));
  const asArrays = ({ count, mean, variance }) => ({ count, mean: [mean], variance: [variance] });
  const empty = { count: 0, mean: [Number.NaN], variance: [7] };
  holdMerge(parts, ofChannel(main.mergeMoments([empty, ...parts.map(asArrays)]), 0), errors);
}

/** Checks fold, in inference: it may be off by a few roundings of doubles. */
function holdFold(problem, { gamma, beta, runningMean, runningVar }, exact) {
  const [scale, shift] = main.fold(gamma, beta, runningMean, runningVar, problem.epsilon);
  exact.forEach((channel, c) => {
    const product = Math.abs(channel.scale * problem.runningMean.values[c]);
    for (const [actual, target, bound] of [
      [scale[c], channel.scale, 4 * EPS * Math.abs(channel.scale)],
      [shift[c], channel.shift, 6 * EPS * product + 2 * EPS * Math.abs(channel.shift)],
    ]) {
      const same = Number.isFinite(target) ? Math.abs(actual - target) <= bound : Object.is(actual, target);
      assert.ok(same, `fold of channel ${c}: ${actual}, not ${target}`);
    }
  });
}

/** The gradient's options. */
export function gradientOptions(problem, { gamma, beta, runningMean, runningVar }, saved) {
  const { epsilon, training, axis, relu } = problem;
  const statistics = statisticsFor(problem, saved, { mean: runningMean, variance: runningVar });
  return { gamma, beta, statistics, epsilon, training, axis, relu };
}

/**
 * Computes a problem by both paths and checks the results. Throws if one is outside its bound.
 * @param {boolean} full also checks what the climbs do not use
 */
export function check(problem, full) {
  const errors = new Errors();
  const { channels, gamma, beta, runningMean, runningVar, epsilon, training, g, shape } = problem;
  const xs = Array.from({ length: channels }, (_, c) => channelOf(problem, problem.x, c));
  const exact = xs.map((x, c) => {
    const given = training ? null : { mean: runningMean.values[c], variance: runningVar.values[c] };
    return exactOutput(x, { gamma: gamma?.values[c] ?? 1, beta: beta?.values[c] ?? 0, epsilon, given });
  });
  const results = {};
  const known = [];
  for (const path of Object.keys(PATHS)) {
    const functions = PATHS[path](problem);
    const given = argumentsOf(problem);
    const result = forward(functions.batchNormalization, problem, given);
    holdForward(problem, path, result, xs, exact, errors);
    const options = gradientOptions(problem, given, result.statistics);
    const gradients = functions.batchNormalizationGradient({ data: g, shape }, given.X, options);
    holdGradients(problem, path, gradients, xs, result, known, errors);
    results[path] = { ...result, gradients };
    if (full && functions.moments) {
      const exactMoments = (c, x) => (training ? exact[c] : exactOutput(x, { gamma: 1, beta: 0, epsilon, given: null }));
      holdParts(problem, path, functions.moments, xs, exactMoments, errors);
    }
    if (full && !training) holdFold(problem, given, exact);
  }
  if (full) holdAnyMerge(problem.forms, errors);
  return { errors, results };
}
