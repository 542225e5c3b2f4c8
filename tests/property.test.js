/* Properties that hold for any tensor, on random ones (fast-check). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sizeOf } from './data.js';
import { assertSameBits, callKernel, callWithin, checkCall } from './helpers.js';

const size = (most) => fc.integer({ min: 1, max: most });
const shapes = fc.oneof(
  fc.tuple(size(9), size(6), size(12), size(12)),
  fc.tuple(size(60), size(6), size(5), size(6)),
  fc.tuple(size(3), size(3), size(40), size(40)),
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

test('NaN and infinity go where float64 sends them', () => {
  const values = fc.oneof(fc.float({ min: -100, max: 100 }), fc.constantFrom(Infinity, -Infinity, NaN, 0, -0));
  fc.assert(
    fc.property(calls(values), (call) => {
      checkCall(call.X, argsOf(call));
    }),
    SEED,
  );
});

test('the bits depend neither on memory nor on where the output goes, and X is left alone', () => {
  fc.assert(
    fc.property(calls(fc.float()), fc.integer({ min: 1024, max: 16384 }), (call, lines) => {
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

test('a channel is normalized alike whatever stands in the others', () => {
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

test('training with momentum 0, then inference with what it returned, gives nearly the same output', () => {
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
