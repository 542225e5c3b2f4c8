/* The promises of the gradient's call other than correct numbers: the same bits wherever tensors are and whatever the size of the
 * memory, its return values, which arguments it reads and writes, and that it changes nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, parametersFor, randomShapes, seeded, sizeOf } from './data.js';
import {
  assertGradientWithinBounds,
  assertSameBits,
  countCopies,
  gradientKernel,
  gradientOn,
  gradientWithin,
  LEAST,
  makeKernel,
  move,
} from './helpers.js';

const { Arena, batchNormalizationGradient } = batchnorm;
const LIBRARIES = { batchnorm, 'batchnorm/js': plain };
const KIB = 1024;

/** The options of each use of the gradient, for C channels. */
const USES = {
  training: ({ gamma }) => ({ gamma }),
  'training, relu': ({ gamma, beta }) => ({ gamma, beta, relu: true }),
  'training, statistics': ({ gamma, statistics }) => ({ gamma, statistics }),
  'training, statistics, relu': ({ gamma, beta, statistics }) => ({ gamma, beta, statistics, relu: true }),
  inference: ({ gamma, statistics }) => ({ gamma, statistics, training: false }),
  'inference, relu': ({ gamma, beta, statistics }) => ({ gamma, beta, statistics, training: false, relu: true }),
};

/** The arguments of a call on a shape. The first channel needs double, the second has constant gradients. */
function callOf(shape, use, seed = 1) {
  const X = normalTensor(shape, seed, 3, 2);
  const gradOutput = normalTensor(shape, seed + 1, 0.5);
  const [, channels, height, width] = shape;
  gradOutput.data.forEach((_, i) => {
    if (Math.floor(i / (height * width)) % channels === 1) gradOutput.data[i] = 0.1;
  });
  X.data[0] = 1e25;
  const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
  const mean = Float64Array.from(runningMean, (value, c) => 3 + value / 8 + c / 3e6);
  const variance = Float64Array.from(runningVar, (value, c) => value + c / 3);
  return { gradOutput, X, options: USES[use]({ gamma, beta, statistics: { mean, variance } }) };
}

/** Checks that numbers are the same bit for bit. */
const assertSame = (actual, expected, message) =>
  actual.forEach((tensor, k) => {
    if (expected[k] === null) assert.equal(tensor, null, message);
    else assertSameBits(tensor.data, expected[k].data, `${message}, result ${k}`);
  });

for (const use of Object.keys(USES))
  for (const shape of [
    [700, 70, 1, 1],
    [300, 9, 5, 6],
    [9, 2, 3, 9000],
    [1, 1, 1, 70001],
    [700, 2, 6, 50],
    [19, 30, 20, 25],
    [1, 1, 1, 1],
    [37, 11, 1, 1],
    [30, 4, 3, 5],
    [2, 7, 5, 6],
    [5, 3, 4, 8],
    [2, 3, 9, 71],
    [2, 9000, 1, 2],
  ])
    test(`${use}, [${shape}]: the bits do not depend on the size of the memory`, () => {
      const { gradOutput, X, options } = callOf(shape, use);
      const expected = gradientKernel(gradOutput, X, options);
      const [, ...parameters] = expected;
      for (const bytes of [3 * LEAST, 253 * KIB, 256 * KIB, 300 * KIB, 512 * KIB, 777 * KIB, 1024 * KIB, 2048 * KIB]) {
        assertSame(gradientWithin(bytes, gradOutput, X, options), expected, `within ${bytes} bytes`);
        const without = gradientWithin(bytes, gradOutput, X, { ...options, gradInput: false });
        assertSame(without, [null, ...parameters], `without gradInput, within ${bytes} bytes`);
      }
    });

/** Tensors larger than the memory, in every layout: cut along slabs, by rows, by channels. */
for (const shape of [
  [1, 2, 300, 301],
  [33, 2, 60, 57],
  [3001, 70, 1, 1],
  [2, 9000, 1, 2],
])
  test(`larger than its memory: [${shape}]`, () => {
    const [gradOutput, X] = [normalTensor(shape, 1, 0.1), normalTensor(shape, 2, 5)];
    const { gamma, beta, runningVar } = parametersFor(shape[1]);
    const statistics = { mean: new Float64Array(shape[1]).fill(5), variance: runningVar };
    for (const options of [{ gamma }, { gamma, beta, relu: true }, { gamma, beta, relu: true, statistics, training: false }]) {
      const results = gradientWithin(3 * LEAST, gradOutput, X, options);
      assertGradientWithinBounds(gradOutput, X, options, results, false);
    }
  });

/** Shapes of more than 128 values in both layouts, some of them random. */
function* shapes(count) {
  yield* [
    [2, 3, 64, 65],
    [9, 20, 14, 14],
    [40, 30, 7, 7],
    [700, 70, 1, 1],
    [300, 9, 5, 6],
    [3, 3000, 2, 2],
    [2, 1, 400, 401],
  ];
  yield* randomShapes(60, count);
}

test('calls in an arena, in place, partly in an arena, or from arena to arena give the same bits as calls that copy', () => {
  const arena = new Arena(16 << 20);
  const other = new Arena(16 << 20);
  let seed = 0;
  for (const shape of shapes(30))
    for (const use of Object.keys(USES)) {
      const { gradOutput, X, options } = callOf(shape, use, seed++);
      const expected = batchNormalizationGradient(gradOutput, X, options);
      const check = (name, g, x, out) => {
        const before = [g, x].map(({ data }) => data.slice());
        const results = batchNormalizationGradient(g, x, { ...options, out });
        if (out) assert.equal(results[0], out);
        assertSame(results, expected, `${use}, ${name}, [${shape}]`);
        assertSameBits(x.data, before[1], 'X');
        if (g !== out) assertSameBits(g.data, before[0], 'gradOutput');
      };
      const outside = () => ({ data: new Float32Array(X.data.length).fill(7), shape });
      const copy = { data: gradOutput.data.slice(), shape };
      check('in place, by copies', copy, X, copy);
      for (const memory of [arena, other]) memory.reset();
      const inside = move(arena, X);
      const g = move(arena, gradOutput);
      const out = arena.tensor(shape);
      check('all in the arena', g, inside, out);
      check('out elsewhere', g, inside, outside());
      check('no out', g, inside);
      check('gradOutput elsewhere', gradOutput, inside, out);
      check('X elsewhere', g, X, out);
      check('out alone in the arena', gradOutput, X, out);
      check('X alone in the arena', gradOutput, inside, outside());
      check('gradOutput alone in the arena', g, X, outside());
      check('each in a different memory', move(other, gradOutput), inside, outside());
      check('into another arena', g, inside, other.tensor(shape));
      const own = { data: gradOutput.data.slice(), shape };
      check('in place, X in the arena', own, inside, own);
      const moved = move(arena, gradOutput);
      check('in place in the arena, X elsewhere', moved, X, moved);
      const none = batchNormalizationGradient(g, inside, { ...options, gradInput: false });
      assertSame(none, [null, ...expected.slice(1)], `${use}, no gradInput, [${shape}]`);
      assertSameBits(g.data, gradOutput.data, 'gradOutput');
      check('in place in the arena', g, inside, g);
    }
});

test('tensors in the arena are not copied; others are, once in each direction', () => {
  const shape = [8, 16, 28, 28];
  const n = sizeOf(shape);
  const arena = new Arena(16 * n + (1 << 20));
  for (const use of Object.keys(USES)) {
    const { gradOutput, X, options } = callOf(shape, use);
    arena.reset();
    const [g, inside, out] = [move(arena, gradOutput), move(arena, X), arena.tensor(shape)];
    const copies = (...tensors) => {
      const [from, x, to] = tensors;
      return countCopies(() => batchNormalizationGradient(from, x, { ...options, out: to })) / n;
    };
    const outside = { data: new Float32Array(n), shape };
    assert.equal(copies(g, inside, out), 0, use);
    assert.equal(copies(g, inside, outside), 1, use);
    assert.equal(copies(g, X, out), 1, use);
    assert.equal(copies(gradOutput, inside, out), 1, use);
    assert.equal(copies(gradOutput, X, out), 2, use);
    assert.equal(copies(gradOutput, X, outside), 3, use);
    const none = () => batchNormalizationGradient(g, inside, { ...options, gradInput: false });
    assert.equal(countCopies(none), 0, use);
    assert.equal(copies(g, inside, g), 0, use);
  }
});

test('nothing else in the arena’s memory is touched, whatever the size of the work area', () => {
  const pattern = Buffer.alloc(2 << 20, 0xa5);
  const next = seeded(61);
  let calls = 0;
  for (const work of [3 * LEAST, 255 * KIB, 2048 * KIB])
    for (const shape of shapes(8)) {
      const n = sizeOf(shape);
      const gap = 64 + 4 * Math.floor(next() * 16);
      const kernel = makeKernel(work, 4 * gap + 12 * n);
      new Uint8Array(kernel.buffer).fill(0xa5);
      const places = [0, 1, 2].map((k) => 64 + gap + k * (gap + 4 * n));
      const begin = kernel.buffer.byteLength - work;
      const [x, g, y] = places.map((place) => new Float32Array(kernel.buffer, place, n));
      const zeros = new Float32Array(n);
      for (const use of Object.keys(USES)) {
        const { gradOutput, X, options } = callOf(shape, use, calls);
        for (const [name, from, source, out] of [
          ['all inside', g, x, y],
          ['in place', g, x, g],
          ['out elsewhere', g, x, new Float32Array(n)],
          ['X elsewhere', g, X.data, y],
          ['gradOutput elsewhere', gradOutput.data, x, y],
          ['no gradInput', g, x, undefined],
        ]) {
          x.set(X.data);
          g.set(gradOutput.data);
          y.fill(0);
          const wanted = out ? { out } : { gradInput: false };
          gradientOn(kernel, { data: from, shape }, { data: source, shape }, { ...options, ...wanted });
          const what = `${use}, ${name}, [${shape}], work area of ${work}`;
          const untouched = (start, end) =>
            assert.ok(Buffer.from(kernel.buffer, start, end - start).equals(pattern.subarray(0, end - start)), what);
          untouched(0, places[0]);
          untouched(places[0] + 4 * n, places[1]);
          untouched(places[1] + 4 * n, places[2]);
          untouched(places[2] + 4 * n, begin);
          assertSameBits(x, X.data, what);
          if (out !== g) assertSameBits(g, gradOutput.data, what);
          if (out !== y) assertSameBits(y, zeros, what);
          calls++;
        }
      }
    }
  assert.ok(calls > 1500, `${calls} calls`);
});

/** A tiny shape, and both layouts. */
const SMALL_SHAPES = [
  [2, 3, 2, 2],
  [3, 5, 6, 7],
  [4, 2, 8, 9],
  [60, 3, 2, 1],
];

for (const [name, { batchNormalization, batchNormalizationGradient }] of Object.entries(LIBRARIES)) {
  const each = (title, run) => {
    for (const shape of SMALL_SHAPES) test(`${name}: ${title}, [${shape}]`, () => run(shape));
  };

  each('with relu, gradOutput counts only where the output is above 0', (shape) => {
    for (const training of [true, false]) {
      const X = normalTensor(shape, 5, 3, 2);
      X.data[X.data.length - 1] = NaN;
      const gradOutput = normalTensor(shape, 6, 0.5);
      const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
      const [{ data: y }] = batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-3, training);
      const masked = { data: gradOutput.data.map((g, i) => (y[i] > 0 ? g : 0)), shape };
      const statistics = training ? null : { mean: runningMean, variance: runningVar };
      const options = { gamma, statistics, epsilon: 1e-3, training };
      const expected = batchNormalizationGradient(masked, X, options);
      assertSame(batchNormalizationGradient(gradOutput, X, { ...options, beta, relu: true }), expected, `training ${training}`);
      // null means a beta of 0. Without relu, beta is ignored.
      const zero = batchNormalizationGradient(gradOutput, X, { ...options, beta: new Float32Array(shape[1]), relu: true });
      assertSame(batchNormalizationGradient(gradOutput, X, { ...options, beta: null, relu: true }), zero, 'beta null');
      const ignored = batchNormalizationGradient(gradOutput, X, { ...options, beta: 'ignored' });
      assertSame(ignored, batchNormalizationGradient(gradOutput, X, options), 'beta without relu');
    }
  });

  each('statistics saved by the forward call give the same results as statistics computed from X', (shape) => {
    for (const mean of [0, 1e6]) {
      const X = normalTensor(shape, 7, mean, 2);
      const gradOutput = normalTensor(shape, 8, 0.5);
      const { gamma, beta } = parametersFor(shape[1]);
      const statistics = { mean: new Float64Array(shape[1]), variance: new Float64Array(shape[1]) };
      batchNormalization(X, gamma, beta, null, null, 0.9, 1e-3, true, { statistics });
      const options = { gamma, epsilon: 1e-3 };
      const given = batchNormalizationGradient(gradOutput, X, { ...options, statistics });
      const computed = batchNormalizationGradient(gradOutput, X, options);
      // gradBeta is the sum of gradOutput alone. The other results may be rounded differently, since one double does not hold the whole mean.
      assertSameBits(given[2].data, computed[2].data);
      const isPlain = name !== 'batchnorm' || X.data.length <= 128;
      for (const results of [given, computed]) assertGradientWithinBounds(gradOutput, X, options, results, isPlain);
    }
  });

  each('null and undefined mean the defaults', (shape) => {
    const { gradOutput, X } = callOf(shape, 'training');
    const channels = shape[1];
    const expected = batchNormalizationGradient(gradOutput, X);
    for (const options of [
      undefined,
      {},
      { gamma: null, beta: null, statistics: null },
      ...['gamma', 'beta', 'statistics', 'epsilon', 'training', 'axis', 'relu', 'out', 'gradInput'].map((key) => ({
        [key]: undefined,
      })),
      { gamma: new Float32Array(channels).fill(1), epsilon: 1e-5, training: true, axis: 1, relu: false, gradInput: true },
    ])
      assert.deepEqual(batchNormalizationGradient(gradOutput, X, options), expected, JSON.stringify(options));
  });

  each('out receives the gradient and is returned; without out, all results are new', (shape) => {
    const { gradOutput, X, options } = callOf(shape, 'training');
    const [expected, ...parameters] = batchNormalizationGradient(gradOutput, X, options);
    assert.deepEqual(expected.shape, shape);
    for (const { data, shape: sizes } of parameters)
      assert.deepEqual([data.constructor, sizes], [Float32Array, [1, shape[1], 1, 1]]);
    for (const { data } of [expected, ...parameters])
      for (const other of [X.data, gradOutput.data, options.gamma]) assert.notEqual(data.buffer, other.buffer);
    const n = X.data.length;
    const tensor = { data: new Float32Array(n), shape: [...shape] };
    assert.equal(batchNormalizationGradient(gradOutput, X, { ...options, out: tensor })[0], tensor);
    assertSameBits(tensor.data, expected.data);
    const shared = new Float32Array(new SharedArrayBuffer(4 * n + 40));
    for (const out of [new Float32Array(n), new Float32Array(n + 9).subarray(3, n + 3), shared.subarray(1, n + 1)]) {
      const [result] = batchNormalizationGradient(gradOutput, X, { ...options, out });
      assert.equal(result.data, out);
      assertSameBits(out, expected.data);
    }
    // out may be gradOutput's own memory: as an array, as a tensor, or in another view.
    for (const form of [(data) => data, (data) => ({ data, shape }), (data) => new Float32Array(data.buffer)]) {
      const data = gradOutput.data.slice();
      batchNormalizationGradient({ data, shape }, X, { ...options, out: form(data) });
      assertSameBits(data, expected.data);
    }
    // X may be gradOutput.
    const [square] = batchNormalizationGradient(X, X, options);
    assertSameBits(square.data, batchNormalizationGradient({ data: X.data.slice(), shape }, X, options)[0].data);
  });

  each('no argument is changed', (shape) => {
    for (const use of Object.keys(USES)) {
      const call = callOf(shape, use);
      const before = structuredClone(call);
      for (const object of Object.values(call)) Object.freeze(object);
      batchNormalizationGradient(call.gradOutput, call.X, call.options);
      batchNormalizationGradient(call.gradOutput, call.X, { ...call.options, gradInput: false });
      assert.deepEqual(call, before);
    }
  });

  each('every option, property and element is read once, so that later changes do not matter', (shape) => {
    const channels = shape[1];
    const { gradOutput, X, options } = callOf(shape, 'training, statistics, relu');
    const expected = batchNormalizationGradient(gradOutput, X, { ...options, epsilon: 1e-3, training: true, axis: -3 });
    const counts = new Map();
    /** Counts reads; those after the first return undefined. */
    const once = (label, object) =>
      new Proxy(object, {
        get(target, key) {
          if (typeof key === 'symbol') return target[key];
          const id = `${label}.${key}`;
          counts.set(id, (counts.get(id) ?? 0) + 1);
          return counts.get(id) > 1 && key !== 'length' ? undefined : target[key];
        },
      });
    const tensor = (label, data, sizes) => once(label, { data, shape: once(`${label}.shape`, [...sizes]) });
    const statistics = once('statistics', {
      mean: tensor('mean', once('mean.data', Array.from(options.statistics.mean)), [channels]),
      variance: tensor('variance', options.statistics.variance, [1, channels, 1, 1]),
    });
    const out = new Float32Array(X.data.length);
    const [, ...parameters] = batchNormalizationGradient(
      tensor('gradOutput', gradOutput.data, shape),
      tensor('X', X.data, shape),
      once('options', {
        gamma: tensor('gamma', options.gamma, [channels]),
        beta: once('beta', Array.from(options.beta)),
        statistics,
        epsilon: 1e-3,
        training: true,
        axis: -3,
        relu: true,
        out: tensor('out', out, shape),
        gradInput: true,
      }),
    );
    assertSame([{ data: out }, ...parameters], expected, 'results');
    for (const id of ['options.axis', 'options.relu', 'statistics.mean', 'beta.1', 'X.shape.3', 'gradOutput.data', 'out.data'])
      assert.equal(counts.get(id), 1, id);
    for (const [id, count] of counts) if (!id.endsWith('.length')) assert.equal(count, 1, id);
  });

  each('only own properties of options are read', (shape) => {
    const { gradOutput, X } = callOf(shape, 'training');
    const expected = batchNormalizationGradient(gradOutput, X);
    const out = new Float32Array(X.data.length);
    Object.assign(Object.prototype, { out, gamma: 1 });
    try {
      assert.deepEqual(batchNormalizationGradient(gradOutput, X, {}), expected);
    } finally {
      delete Object.prototype.out;
      delete Object.prototype.gamma;
    }
    assert.ok(out.every((value) => value === 0));
  });

  each('repeated calls give the same results, whatever was called in between', (shape) => {
    const { gradOutput, X, options } = callOf(shape, 'training, relu');
    const expected = batchNormalizationGradient(gradOutput, X, options);
    for (let k = 0; k < 10; k++) {
      const other = normalTensor([1 + k, 1 + (k % 3), 1 + (k % 7), 30], k);
      batchNormalizationGradient(other, other);
      batchNormalization(other, null, null);
      assertSame(batchNormalizationGradient(gradOutput, X, options), expected, `round ${k}`);
    }
  });

  test(`${name}: tensors without values`, () => {
    const tensorOf = (shape) => ({ data: new Float32Array(0), shape });
    for (const shape of [
      [0, 5, 6, 7],
      [3, 5, 0, 7],
      [3, 5, 6, 0],
    ]) {
      const statistics = { mean: [1, 2, 3, 4, 5], variance: [1, 2, 3, 4, 5] };
      const zeros = { data: new Float32Array(5), shape: [1, 5, 1, 1] };
      for (const relu of [false, true]) {
        const options = { statistics, training: false, beta: null, relu };
        assert.deepEqual(batchNormalizationGradient(tensorOf(shape), tensorOf(shape), options), [tensorOf(shape), zeros, zeros]);
      }
    }
    const none = { data: new Float32Array(0), shape: [1, 0, 1, 1] };
    const shape = [3, 0, 6, 7];
    assert.deepEqual(batchNormalizationGradient(tensorOf(shape), tensorOf(shape)), [tensorOf(shape), none, none]);
  });
}
