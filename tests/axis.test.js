/* Tensors of any rank, with the channels along any dimension. Results are compared with those of the same data as [batch, channels,
 * spatial], and with the reference, for which the tensor is transposed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, parametersFor, sizeOf } from './data.js';
import { assertGradientWithinBounds, assertWithinBounds } from './helpers.js';

const LIBRARIES = Object.entries({ batchnorm, 'batchnorm/js': plain });

/** Ranks 1 to 5, and 8: tiny tensors, sizes of 1, and slabs long enough for the slabs layout. */
const SHAPES = [
  [5],
  [200],
  [3, 4],
  [40, 7],
  [2, 150],
  [6, 5, 9],
  [3, 1, 70],
  [1, 300, 2],
  [2, 3, 2, 2],
  [3, 5, 7, 4],
  [2, 40, 1, 6],
  [3, 4, 2, 5, 3],
  [2, 3, 4, 5, 8],
  [2, 3, 2, 1, 3, 2, 2, 3],
];

/** A tensor transposed to [1, C, N, 1], by counting through its indices. */
function channelsFirst({ data, shape }, axis) {
  const channels = Array.from({ length: shape[axis] }, () => []);
  const index = shape.map(() => 0);
  for (const value of data) {
    channels[index[axis]].push(value);
    for (let k = shape.length - 1; k >= 0 && ++index[k] === shape[k]; k--) index[k] = 0;
  }
  return { data: Float32Array.from(channels.flat()), shape: [1, channels.length, channels[0].length, 1] };
}

/** Tensors of one value per channel, shaped for a BCHW tensor. */
const bchw = (...tensors) => tensors.map(({ data }) => ({ data, shape: [1, data.length, 1, 1] }));

/** The arguments and results of every call, in training and in inference. */
function callAll({ batchNormalization, batchNormalizationGradient, moments }, X, gradOutput, options) {
  const channels = X.shape.at(options.axis ?? 1);
  const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
  const calls = [true, false].map((training) => {
    const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
    const args = [gamma, beta, runningMean, runningVar, 0.3, 1e-3, training];
    const given = training ? null : { mean: runningMean, variance: runningVar };
    const gradientArgs = { gamma, beta, epsilon: 1e-3, training, statistics: given, relu: true };
    const result = batchNormalization(X, ...args, { ...options, statistics });
    const [rectified] = batchNormalization(X, ...args, { ...options, relu: true });
    const gradient = batchNormalizationGradient(gradOutput, X, { ...gradientArgs, ...options });
    return { args, statistics, result, rectified, gradientArgs, gradient };
  });
  return { calls, moments: moments(X, options) };
}

/** The numbers of the results. */
const numbersOf = ({ calls, moments }) => [
  moments,
  calls.map(({ statistics, result, rectified, gradient }) => [
    statistics,
    [...result, rectified, ...gradient].map(({ data }) => data),
  ]),
];

for (const [name, library] of LIBRARIES)
  for (const shape of SHAPES)
    shape.forEach((channels, axis) => {
      test(`${name}: [${shape}], axis ${axis}`, () => {
        const X = normalTensor(shape, 1 + axis, 3, 2);
        const gradOutput = normalTensor(shape, 7 + axis, 0.5);
        const actual = callAll(library, X, gradOutput, { axis });
        assert.deepEqual(callAll(library, X, gradOutput, { axis: axis - shape.length }), actual, 'from the end');
        if (axis === 1) assert.deepEqual(callAll(library, X, gradOutput, {}), actual, 'the default');

        const perChannel = shape.map((size, k) => (k === axis ? size : 1));
        for (const { result, gradient } of actual.calls)
          for (const [large, ...small] of [result, gradient]) {
            assert.deepEqual(large.shape, shape);
            for (const tensor of small) assert.deepEqual(tensor.shape, perChannel);
          }

        const three = [sizeOf(shape.slice(0, axis)), channels, sizeOf(shape.slice(axis + 1))];
        const as = (sizes) => [X, gradOutput].map(({ data }) => ({ data, shape: sizes }));
        assert.deepEqual(numbersOf(callAll(library, ...as(three), {})), numbersOf(actual), 'as [batch, channels, spatial]');

        const [movedX, movedGradient] = [X, gradOutput].map((tensor) => channelsFirst(tensor, axis));
        for (const { args, result, gradientArgs, gradient } of actual.calls) {
          const [output, ...running] = result;
          assertWithinBounds(movedX, args, [channelsFirst(output, axis), ...bchw(...running)]);
          const isPlain = library === plain || X.data.length <= 128;
          const [gradInput, ...parameters] = gradient;
          const moved = [channelsFirst(gradInput, axis), ...bchw(...parameters)];
          assertGradientWithinBounds(movedGradient, movedX, gradientArgs, moved, isPlain);
        }
      });
    });

for (const [name, { batchNormalization, batchNormalizationGradient }] of LIBRARIES)
  test(`${name}: numbers per channel may have X’s rank, rank 1, or no shape`, () => {
    for (const [shape, axis, others] of [
      [[4, 6, 9], 0, [[1, 4, 1], [4, 1], [1, 4], [4, 6, 9], [6]]],
      [
        [4, 6, 9],
        1,
        [
          [6, 1, 1],
          [1, 6],
          [6, 1],
          [1, 6, 1, 1],
        ],
      ],
      [
        [3, 5, 5, 4],
        -1,
        [
          [1, 4, 1, 1],
          [4, 1, 1, 1],
          [1, 4],
          [1, 1, 4],
        ],
      ],
      [
        [30, 7],
        -1,
        [
          [7, 1],
          [1, 1, 7],
          [1, 7, 1, 1],
        ],
      ],
      [
        [150],
        0,
        [
          [1, 150],
          [150, 1],
        ],
      ],
    ]) {
      const k = axis < 0 ? axis + shape.length : axis;
      const channels = shape[k];
      const perChannel = shape.map((size, j) => (j === k ? size : 1));
      const X = normalTensor(shape, 5);
      const gradOutput = normalTensor(shape, 6);
      const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
      /** Calls with all numbers in the same form. */
      const run = (form) => {
        const [g, b, mean, variance] = [gamma, beta, runningMean, runningVar].map(form);
        const statistics = { mean, variance };
        return [
          batchNormalization(X, g, b, mean, variance, 0.3, 1e-3, true, { axis }),
          batchNormalization(X, g, b, mean, variance, 0.3, 1e-3, false, { axis }),
          batchNormalizationGradient(gradOutput, X, { gamma: g, beta: b, statistics, axis, relu: true }),
        ];
      };
      const expected = run((data) => data);
      for (const sizes of [[channels], perChannel])
        assert.deepEqual(
          run((data) => ({ data, shape: sizes })),
          expected,
        );

      // In inference, the given tensors are returned if they have X's rank.
      const [mean, variance] = [runningMean, runningVar].map((data) => ({ data, shape: perChannel }));
      const [, sameMean, sameVar] = batchNormalization(X, gamma, beta, mean, variance, 0.3, 1e-3, false, { axis });
      assert.ok(sameMean === mean && sameVar === variance);

      for (const sizes of others) {
        const expectedShape = `be [${perChannel.join(', ')}]${shape.length > 1 ? ` or [${channels}]` : ''}`;
        const given = Object.fromEntries(
          Object.entries({ gamma, beta, mean: runningMean, variance: runningVar }).map(([key, data]) => [
            key,
            { data, shape: sizes },
          ]),
        );
        const rejects = (argument, call) =>
          assert.throws(call, (error) => {
            assert.ok(error instanceof RangeError);
            assert.ok(error.message.includes(`: ${argument}.shape must ${expectedShape}`), error.message);
            return error.message.endsWith(`; got [${sizes.join(', ')}]`);
          });
        const training =
          (...args) =>
          () =>
            batchNormalization(X, ...args, 0.3, 1e-3, true, { axis });
        rejects('gamma', training(given.gamma, beta, runningMean, runningVar));
        rejects('beta', training(gamma, given.beta, runningMean, runningVar));
        rejects('runningMean', training(gamma, beta, given.mean, runningVar));
        rejects('runningVar', training(gamma, beta, runningMean, given.variance));
        const gradient = (options) => () => batchNormalizationGradient(gradOutput, X, { axis, ...options });
        rejects('gamma', gradient({ gamma: given.gamma }));
        rejects('beta', gradient({ beta: given.beta, relu: true }));
        rejects('statistics.mean', gradient({ statistics: { mean: given.mean, variance: runningVar } }));
        rejects('statistics.variance', gradient({ statistics: { mean: runningMean, variance: given.variance } }));
      }
    }
  });
