/* The many ways to make one call. They differ in the memory of the tensors, the place of the result, the form of the arguments,
 * and the size of the memory. All must give the same bits, and write only what they should. */
import assert from 'node:assert/strict';
import * as main from '../../js/index.js';
import * as plain from '../../js/index-plain.js';
import { assertSameBits, callOn, callWithin, gradientOn, gradientWithin, makeKernel } from '../helpers.js';
import { argumentOf, argumentsOf, forward, gradientOptions, isTiny } from './check.js';
import { Draw } from './problems.js';

/** The number of values before and after each array, which nothing may change. */
const GUARD = 24;
const PATTERN = 0x5a7fa5c3;

/** The bytes for tensors in a small memory that has its own kernel, like an arena. */
const HOME_BYTES = 8 << 20;
const home = makeKernel(252 << 10, HOME_BYTES);
const arena = new main.Arena(HOME_BYTES);

/** Places for arrays. Each function returns memory for some number of values. */
const PLACES = {
  heap: () => (length) => new Float32Array(length),
  shared: () => (length) => new Float32Array(new SharedArrayBuffer(4 * length)),
  arena() {
    arena.reset();
    return (length) => arena.tensor([length]).data;
  },
  home() {
    let next = 64;
    return (length) => {
      next += 4 * length;
      return new Float32Array(home.buffer, next - 4 * length, length);
    };
  },
};

/** The arrays of one call, with guards around them. */
class Arrays {
  #all = [];
  #allocators = {};
  constructor(draw) {
    this.draw = draw;
  }
  /** An array in some place, with these values, or of this length if it is for a result. */
  place(name, values) {
    this.#allocators[name] ??= PLACES[name]();
    const length = values.length ?? values;
    const before = GUARD + this.draw.upTo(16);
    const memory = this.#allocators[name](before + length + GUARD);
    const whole = new Int32Array(memory.buffer, memory.byteOffset, memory.length).fill(PATTERN);
    const data = memory.subarray(before, before + length);
    if (values.length !== undefined) data.set(values);
    this.#all.push({ whole, before, length, data, given: values.length === undefined ? null : values });
    return data;
  }
  /** Checks that nothing around the arrays has changed, nor any argument, except `written`, which the result has overwritten. */
  hold(written) {
    for (const { whole, before, length, data, given } of this.#all) {
      const isGuard = (value) => value === PATTERN;
      assert.ok(
        whole.subarray(0, before).every(isGuard) && whole.subarray(before + length).every(isGuard),
        'wrote next to an array',
      );
      if (given && data !== written) assertSameBits(data, given, 'an argument');
    }
  }
}

/** A tensor in one of the forms that a call takes. */
const asTensor = (draw, data, shape) =>
  draw.any([
    () => ({ data, shape }),
    () => ({ data, dims: shape }),
    () => ({ data, shape: Int32Array.from(shape), dims: shape }),
    () => ({ data: new Float32Array(data.buffer, data.byteOffset - 20, data.length + 9), shape, offset: 5 }),
  ])();

/** Numbers per channel in one of the forms that a call takes: bare or as a tensor. */
function asPerChannel(draw, numbers, { shape, axis = 1, channels }) {
  const data = argumentOf(numbers);
  if (data === null) return null;
  const perChannel = shape.map((_, k) => (k === (axis < 0 ? axis + shape.length : axis) ? channels : 1));
  const padded = () => (Array.isArray(data) ? [7, ...data, 7] : data.constructor.of(7, ...data, 7));
  return draw.any([
    () => data,
    () => ({ data, shape: [channels] }),
    () => ({ data, shape: perChannel }),
    () => ({ data, dims: Int32Array.from(perChannel) }),
    () => ({ data: padded(), shape: [channels], offset: 1 }),
  ])();
}

const perChannelArguments = (draw, problem) =>
  Object.fromEntries(
    ['gamma', 'beta', 'runningMean', 'runningVar'].map((key) => [key, asPerChannel(draw, problem[key], problem)]),
  );

/** A place for the result: a new array, an array elsewhere, or the argument that it may overwrite. */
function outOf(draw, arrays, target, size, shape, inPlace) {
  if (target === 'fresh') return { out: undefined, data: null };
  const data = target === 'in place' ? inPlace : arrays.place(target, size);
  return { out: draw.chance(0.3) ? data : asTensor(draw, data, shape), data };
}

/** Checks that the result is in the array or tensor that was given for it. */
function holdOutput(output, { out, data }, shape) {
  if (out !== undefined && !(out instanceof Float32Array)) assert.equal(output, out);
  else {
    assert.deepEqual(output.shape, shape);
    if (data) assert.equal(output.data, out);
  }
  return data ?? output.data;
}

const TARGETS = ['fresh', 'heap', 'in place', 'arena'];

/** Random ways to make a call: what computes, and where the sources and the result lie. */
function waysOf(draw, sources) {
  const budgets = [252, 260, 380, 1000].map((kilobytes) => kilobytes << 10);
  const budget = draw.any(budgets);
  const sourcesIn = (places) => sources.map(() => draw.any(places));
  return [
    ...TARGETS.flatMap((target) => [
      { by: 'main', places: sourcesIn(['heap', 'arena']), target },
      { by: 'main', places: sourcesIn(['arena']), target },
    ]),
    { by: 'main', places: sourcesIn(['heap', 'shared']), target: draw.any(TARGETS) },
    { by: 'home', places: sourcesIn(['home', 'home', 'heap']), target: draw.any(['fresh', 'heap', 'in place', 'home']) },
    { by: 'home', places: sourcesIn(['home']), target: 'home' },
    { by: budget, places: sourcesIn(['heap']), target: 'fresh' },
    { by: budget, places: sourcesIn(['heap']), target: 'in place' },
    { by: 'plain', places: sourcesIn(['heap', 'arena']), target: draw.any(TARGETS) },
    { by: 'plain', places: sourcesIn(['heap', 'shared']), target: 'in place' },
  ];
}

/** The functions for `by`, and their path: an entry of the package, the kernel of `home`, or a kernel within so many bytes. */
function computeBy(by, problem) {
  if (by === 'plain') return { path: 'plain', call: plain.batchNormalization, gradient: plain.batchNormalizationGradient };
  if (by === 'main')
    return {
      path: isTiny(problem) ? 'plain' : 'kernel',
      call: main.batchNormalization,
      gradient: main.batchNormalizationGradient,
    };
  const [call, gradient] = by === 'home' ? [callOn, gradientOn] : [callWithin, gradientWithin];
  const first = by === 'home' ? home : by;
  return { path: 'kernel', call: (...args) => call(first, ...args), gradient: (...args) => gradient(first, ...args) };
}

/** @param {object} results of each path, as check returns them */
export function checkWays(problem, results) {
  const draw = new Draw(problem.forms);
  const { x, g, shape } = problem;
  for (const { by, places, target } of waysOf(draw, ['X'])) {
    const { path, call } = computeBy(by, problem);
    const expected = results[path];
    const arrays = new Arrays(draw);
    const data = arrays.place(places[0], x);
    const given = { X: asTensor(draw, data, shape), ...perChannelArguments(draw, problem) };
    const before = structuredClone({ ...given, X: null });
    const way = `by ${by}, X in ${places}, output ${target}`;
    const out = outOf(draw, arrays, target, x.length, shape, data);
    const result = forward(call, problem, given, out.out);
    const output = holdOutput(result.output, out, shape);
    assertSameBits(output, expected.output.data, way);
    for (const key of ['mean', 'variance']) {
      assertSameNumbers(result[key].data, expected[key].data, `${way}: running ${key}`);
      assertSameNumbers(result.statistics[key], expected.statistics[key], `${way}: statistics.${key}`);
    }
    assert.deepEqual({ ...given, X: null }, before, `${way}: arguments`);
    arrays.hold(output);
  }
  for (const { by, places, target } of waysOf(draw, ['gradOutput', 'X'])) {
    const { path, gradient } = computeBy(by, problem);
    const { statistics, gradients } = results[path];
    const arrays = new Arrays(draw);
    const [data, ofX] = [arrays.place(places[0], g), arrays.place(places[1], x)];
    const given = perChannelArguments(draw, problem);
    const options = gradientOptions(problem, given, statistics);
    const before = structuredClone(options);
    const way = `by ${by}, gradOutput and X in ${places}, gradInput ${target}`;
    const out = outOf(draw, arrays, target, g.length, shape, data);
    const tensors = [asTensor(draw, data, shape), asTensor(draw, ofX, shape)];
    const [gradInput, ...parameters] = gradient(...tensors, { ...options, out: out.out });
    const written = holdOutput(gradInput, out, shape);
    assertSameBits(written, gradients[0].data, way);
    assert.deepEqual(options, before, `${way}: arguments`);
    arrays.hold(written);
    for (const k of [0, 1]) assertSameBits(parameters[k].data, gradients[k + 1].data, way);
    if (target !== 'fresh') continue;
    const [none, ...again] = gradient(...tensors, { ...options, gradInput: false });
    assert.equal(none, null);
    for (const k of [0, 1]) assertSameBits(again[k].data, gradients[k + 1].data, `${way}, without gradInput`);
    arrays.hold(null);
  }
  checkLayer(problem, isTiny(problem) ? plain : main);
  checkLayer(problem, plain);
}

/** Compares doubles; any NaN equals any other. */
const assertSameNumbers = (actual, expected, message) => assert.deepEqual([...actual], [...expected], message);

/** Checks that the layer gives the results of the functions. */
function checkLayer(problem, { BatchNorm, batchNormalization, batchNormalizationGradient }) {
  const { channels, momentum, epsilon, axis = 1, unbiased, relu, training, x, g, shape } = problem;
  const layer = new BatchNorm(channels, { momentum, epsilon, axis, unbiased, relu });
  const doubles = (numbers, value) => numbers?.values ?? new Float64Array(channels).fill(value);
  const state = {
    weight: doubles(problem.gamma, 1),
    bias: doubles(problem.beta, 0),
    running_mean: doubles(problem.runningMean, 0),
    running_var: doubles(problem.runningVar, 1),
  };
  layer.load(state);
  layer.training = training;
  const X = { data: x, shape };
  const output = layer.forward(X);
  const gradInput = layer.backward({ data: g, shape });
  const [gamma, beta] = [Float32Array.from(state.weight), Float32Array.from(state.bias)];
  const given = { ...argumentsOf(problem), gamma, beta, runningMean: state.running_mean, runningVar: state.running_var };
  const expected = forward(batchNormalization, problem, given);
  const gradients = batchNormalizationGradient({ data: g, shape }, X, {
    gamma,
    beta,
    statistics: expected.statistics,
    epsilon,
    training,
    axis,
    relu,
  });
  assertSameBits(output.data, expected.output.data, 'output of the layer');
  assertSameBits(gradInput.data, gradients[0].data, 'gradInput of the layer');
  assertSameNumbers(layer.runningMean, expected.mean.data, 'running mean of the layer');
  assertSameNumbers(layer.runningVar, expected.variance.data, 'running variance of the layer');
  assertSameBits(layer.gradGamma, gradients[1].data, 'gradGamma of the layer');
  assertSameBits(layer.gradBeta, gradients[2].data, 'gradBeta of the layer');
}
