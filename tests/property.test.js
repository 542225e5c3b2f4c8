/* Properties that hold for any tensor, tested on random ones (fast-check). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as plain from '../js/index-plain.js';
import { sizeOf } from './data.js';
import {
  assertGradientWithinBounds,
  assertSameBits,
  assertWithinBounds,
  callKernel,
  callWithin,
  checkCall,
  gradientKernel,
  gradientWithin,
  LEAST,
} from './helpers.js';

const size = (most) => fc.integer({ min: 1, max: most });
const shapes = fc.oneof(
  fc.tuple(size(9), size(6), size(12), size(12)),
  fc.tuple(size(60), size(6), size(5), size(6)),
  fc.tuple(size(3), size(3), size(40), size(40)),
);
/** Shapes of any rank, with the axis of their channels. */
const anyShapes = fc.oneof(
  fc.record({ shape: shapes, axis: fc.constant(1) }),
  fc
    .array(size(9), { minLength: 1, maxLength: 5 })
    .chain((shape) => fc.record({ shape: fc.constant(shape), axis: fc.integer({ min: -shape.length, max: shape.length - 1 }) })),
);
const parameter = fc.oneof(fc.double({ min: -4, max: 4, noNaN: true }), fc.float({ min: -4, max: 4, noNaN: true }));

/** A tensor of a few repeated values or of many, at any scale, with arguments for it. */
const calls = (values) =>
  shapes.chain((shape) =>
    fc.record({
      X: fc.array(values, { minLength: 1, maxLength: 50 }).map((pool) => ({
        data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => pool[(i * 2654435761) % pool.length]),
        shape,
      })),
      gamma: fc.option(fc.array(parameter, { minLength: shape[1], maxLength: shape[1] })),
      beta: fc.option(fc.array(parameter, { minLength: shape[1], maxLength: shape[1] })),
      runningMean: fc.array(parameter, { minLength: shape[1], maxLength: shape[1] }),
      runningVar: fc.array(parameter.map(Math.abs), { minLength: shape[1], maxLength: shape[1] }),
      momentum: fc.double({ min: 0, max: 1, noNaN: true }),
      epsilon: fc.constantFrom(1e-5, 1e-3, 1e-12, 0),
      training: fc.boolean(),
    }),
  );
const argsOf = ({ gamma, beta, runningMean, runningVar, momentum, epsilon, training }) => [
  gamma,
  beta,
  runningMean,
  runningVar,
  momentum,
  epsilon,
  training,
];
const SEED = { seed: 20260101, numRuns: 300 };

test('results lie within the bounds', () => {
  fc.assert(
    fc.property(calls(fc.float({ noNaN: true, noDefaultInfinity: true })), (call) => {
      checkCall(call.X, argsOf(call));
    }),
    SEED,
  );
});

test('NaN and infinity appear where they do in float64', () => {
  const values = fc.oneof(fc.float({ min: -100, max: 100 }), fc.constantFrom(Infinity, -Infinity, NaN, 0, -0));
  fc.assert(
    fc.property(calls(values), (call) => {
      checkCall(call.X, argsOf(call));
    }),
    SEED,
  );
});

test('the bits depend neither on the size of the memory nor on where the output is stored, and X is unchanged', () => {
  fc.assert(
    fc.property(calls(fc.float()), fc.integer({ min: LEAST / 64, max: 16384 }), (call, lines) => {
      const before = call.X.data.slice();
      const args = argsOf(call);
      const [output, ...statistics] = callKernel(call.X, ...args);
      const [within, ...statisticsWithin] = callWithin(64 * lines, call.X, ...args);
      assertSameBits(within.data, output.data);
      statistics.forEach(({ data }, k) => {
        assertSameBits(statisticsWithin[k].data, data);
      });
      assertSameBits(call.X.data, before);
      callKernel(call.X, ...args, { out: call.X.data });
      assertSameBits(call.X.data, output.data);
    }),
    SEED,
  );
});

test('a channel’s results do not depend on the other channels', () => {
  fc.assert(
    fc.property(calls(fc.float()), fc.float(), (call, other) => {
      const { X } = call;
      const spatial = X.shape[2] * X.shape[3];
      const inFirst = (i) => Math.floor(i / spatial) % X.shape[1] === 0;
      const changed = { data: X.data.map((value, i) => (inFirst(i) ? value : other)), shape: X.shape };
      const [a, b] = [X, changed].map((tensor) => callKernel(tensor, ...argsOf(call))[0].data.filter((_, i) => inFirst(i)));
      assertSameBits(a, b);
    }),
    SEED,
  );
});

test('inference with the statistics that training returned with momentum 0 gives nearly the same output', () => {
  fc.assert(
    fc.property(calls(fc.float({ min: -100, max: 100, noNaN: true })), ({ X, gamma, beta }) => {
      const epsilon = 1e-3;
      const [output, mean, variance] = callKernel(X, gamma, beta, null, null, 0, epsilon);
      const [again] = callKernel(X, gamma, beta, mean, variance, 0, epsilon, false);
      output.data.forEach((y, i) => {
        const c = Math.floor(i / (X.shape[2] * X.shape[3])) % X.shape[1];
        const rounding = Math.abs(mean.data[c]) * 2 ** -23 * (Math.abs(gamma?.[c] ?? 1) / Math.sqrt(variance.data[c] + epsilon));
        assert.ok(Math.abs(again.data[i] - y) <= rounding + 1e-5 * (1 + Math.abs(y)), `${again.data[i]}, not ${y}`);
      });
    }),
    SEED,
  );
});

const IMPLEMENTATIONS = [
  { call: callKernel, gradient: gradientKernel, isPlain: false },
  { call: plain.batchNormalization, gradient: plain.batchNormalizationGradient, isPlain: true },
];

/** A tensor with values from a pool. */
const tensorOf = (shape, pool, step) => ({
  data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => pool[(i * step) % pool.length]),
  shape,
});

/** A tensor of any rank, gradients of its shape, numbers for its channels, and every option. */
const optionCalls = (values) =>
  anyShapes.chain(({ shape, axis }) => {
    const channels = shape.at(axis);
    const numbers = (of) => fc.array(of, { minLength: channels, maxLength: channels });
    const pool = fc.array(values, { minLength: 1, maxLength: 50 });
    return fc.record({
      X: pool.map((numbers) => tensorOf(shape, numbers, 2654435761)),
      gradOutput: pool.map((numbers) => tensorOf(shape, numbers, 40503)),
      axis: fc.constant(axis),
      gamma: fc.option(numbers(parameter)),
      beta: fc.option(numbers(parameter)),
      mean: numbers(parameter),
      variance: numbers(parameter.map(Math.abs)),
      statistics: fc.constantFrom('none', 'saved', 'given'),
      epsilon: fc.constantFrom(1e-5, 1e-3, 1e-12, 0),
      training: fc.boolean(),
      relu: fc.boolean(),
      unbiased: fc.boolean(),
      memory: fc.integer({ min: (3 * LEAST) / 64, max: 16384 }).map((lines) => 64 * lines),
    });
  });

test('every option of the call does what it says, and nothing else', () => {
  fc.assert(
    fc.property(optionCalls(fc.float({ noNaN: true, noDefaultInfinity: true })), (given) => {
      const { X, axis, gamma, beta, mean, variance, epsilon, training, relu } = given;
      const k = axis < 0 ? axis + X.shape.length : axis;
      const channels = X.shape[k];
      const N = X.data.length / channels;
      const unbiased = given.unbiased && N > 1;
      const args = [gamma, beta, mean, variance, 0.25, epsilon, training];
      const bchw = { data: X.data, shape: [sizeOf(X.shape.slice(0, k)), channels, sizeOf(X.shape.slice(k + 1)), 1] };
      for (const { call } of IMPLEMENTATIONS) {
        const expected = call(bchw, ...args);
        assertWithinBounds(bchw, args, expected);
        const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
        const [output, newMean, newVar] = call(X, ...args, { axis, statistics, unbiased, relu });
        assertSameBits(output.data, relu ? expected[0].data.map((y) => (y <= 0 ? 0 : y)) : expected[0].data);
        // The running statistics average the saved ones, so this checks both.
        statistics.mean.forEach((value, c) => {
          const corrected = statistics.variance[c] * (unbiased ? N / (N - 1) : 1);
          const running = training
            ? [0.25 * mean[c] + 0.75 * value, 0.25 * variance[c] + 0.75 * corrected]
            : [mean[c], variance[c]];
          const biased = training ? 0.25 * variance[c] + 0.75 * statistics.variance[c] : variance[c];
          assert.deepEqual([newMean.data[c], newVar.data[c]], running);
          assert.deepEqual([expected[1].data[c], expected[2].data[c]], [running[0], biased]);
        });
      }
    }),
    SEED,
  );
});

/** The gradient's options for such a call. Saved statistics are those that `call` saves. */
function gradientOptions({ X, axis, gamma, beta, mean, variance, statistics, epsilon, training, relu }, call) {
  const options = { axis, gamma, beta, epsilon, training, relu };
  if (statistics === 'given' || !training) return { ...options, statistics: { mean, variance } };
  if (statistics === 'none') return options;
  const saved = { mean: new Float64Array(mean.length), variance: new Float64Array(mean.length) };
  call(X, gamma, beta, null, null, 0.1, epsilon, true, { axis, statistics: saved });
  return { ...options, statistics: saved };
}

/**
 * Changes a call so that only one result is right. Values are at most about 10⁷ deviations from a given mean: if a sum should be
 * exactly 0, its rounding errors grow with the square of that distance, up to infinity if the deviation is 0. And if one factor is
 * infinite, no other factor may round to 0 in float32.
 */
function tame(call) {
  const { statistics, training, epsilon, X, gradOutput, mean, gamma } = call;
  const largest = X.data.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  const tamed = { ...call, epsilon: statistics === 'given' && training ? Math.max(epsilon, (1e-7 * largest) ** 2) : epsilon };
  if (Number.isFinite(largest) && gradOutput.data.every(Number.isFinite)) return tamed;
  return { ...tamed, epsilon, mean: mean.map(Math.fround), gamma: gamma?.map(Math.fround) ?? null };
}

for (const [name, values] of Object.entries({
  'gradients lie within the bounds': fc.float({ noNaN: true, noDefaultInfinity: true }),
  'gradients of moderate data lie within the bounds': fc.float({ min: -100, max: 100, noNaN: true }),
  'in gradients, NaN and infinity appear where they do in float64': fc.oneof(
    fc.float({ min: -100, max: 100 }),
    fc.constantFrom(Infinity, -Infinity, NaN, 0, -0),
  ),
}))
  test(name, () => {
    let held = 0;
    let all = 0;
    fc.assert(
      fc.property(optionCalls(values), (drawn) => {
        const given = tame(drawn);
        const { X, gradOutput } = given;
        for (const { call, gradient, isPlain } of IMPLEMENTATIONS) {
          const options = gradientOptions(given, call);
          held += assertGradientWithinBounds(gradOutput, X, options, gradient(gradOutput, X, options), isPlain);
          all += X.shape.at(given.axis);
        }
      }),
      SEED,
    );
    assert.ok(held > all / 2, `${held} of ${all} channels were compared`);
  });

test('the bits of gradients depend neither on the size of the memory nor on where gradients are stored, and arguments are unchanged', () => {
  fc.assert(
    fc.property(optionCalls(fc.float()), (given) => {
      const { X, gradOutput, memory } = given;
      const before = [X, gradOutput].map(({ data }) => data.slice());
      const options = gradientOptions(given, callKernel);
      const expected = gradientKernel(gradOutput, X, options);
      const [none, ...parameters] = gradientKernel(gradOutput, X, { ...options, gradInput: false });
      assert.equal(none, null);
      const within = gradientWithin(memory, gradOutput, X, options);
      for (const k of [0, 1, 2]) assertSameBits(within[k].data, expected[k].data);
      for (const k of [0, 1]) assertSameBits(parameters[k].data, expected[k + 1].data);
      [X, gradOutput].forEach(({ data }, k) => {
        assertSameBits(data, before[k]);
      });
      gradientKernel(gradOutput, X, { ...options, out: gradOutput.data });
      assertSameBits(gradOutput.data, expected[0].data);
    }),
    SEED,
  );
});

test('a channel’s gradients do not depend on the other channels', () => {
  fc.assert(
    fc.property(optionCalls(fc.float()), fc.float(), fc.float(), (given, otherX, otherGradient) => {
      const { X, gradOutput, axis } = given;
      const after = sizeOf(X.shape.slice(axis < 0 ? axis + X.shape.length : axis).slice(1));
      const inFirst = (i) => Math.floor(i / after) % X.shape.at(axis) === 0;
      const changed = ({ data, shape }, other) => ({ data: data.map((value, i) => (inFirst(i) ? value : other)), shape });
      for (const { call, gradient } of IMPLEMENTATIONS) {
        const [a, b] = [
          [X, gradOutput],
          [changed(X, otherX), changed(gradOutput, otherGradient)],
        ].map(([x, g]) => {
          const options = gradientOptions({ ...given, X: x }, call);
          const [gradInput, ...parameters] = gradient(g, x, options);
          return [...gradInput.data.filter((_, i) => inFirst(i)), ...parameters.map(({ data }) => data[0])];
        });
        assertSameBits(a, b);
      }
    }),
    SEED,
  );
});
