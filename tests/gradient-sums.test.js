/* The gradient of a batch in parts, by gradientSums: the same as that of the whole batch, within the bounds of docs/numerics.md,
 * however the batch is cut, and whatever computes a part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callGradient, callSums } from '../js/call.js';
import { differentiateBy } from '../js/gradient.js';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { differentiatePlain } from '../js/plain.js';
import { createThreads } from '../js/threads.js';
import { normalTensor, parametersFor, seeded, sizeOf, tensor } from './data.js';
import { positionsOf } from './gradient-reference.js';
import { assertGradientWithinBounds, assertSameBits, countCopies, LEAST, makeKernel, move } from './helpers.js';
import { Sum, twoProduct } from './reference.js';

const { Arena } = batchnorm;
const LIBRARIES = { batchnorm, 'batchnorm/js': plain };
const EPSILON = 1e-9;

/** So many rows of a tensor for each part. */
function split({ data, shape: [batch, ...rest] }, rows) {
  const size = sizeOf(rest);
  let begin = 0;
  const parts = rows.map((count) => {
    const part = { data: data.slice(begin * size, (begin + count) * size), shape: [count, ...rest] };
    begin += count;
    return part;
  });
  assert.equal(begin, batch);
  return parts;
}

const join = (parts, shape) => ({ data: Float32Array.from(parts.flatMap(({ data }) => [...data])), shape });

const total = (sums) => sums.reduce((all, part) => all.map((value, i) => value + part[i]));

/** The statistics of a batch in parts, and its sums. */
function prepare({ moments, mergeMoments, gradientSums }, gradOutputs, parts, options = {}) {
  const { axis = 1 } = options;
  const { mean, variance } = mergeMoments(parts.map((X) => moments(X, { axis })));
  const statistics = { mean, variance };
  return { statistics, sums: total(parts.map((X, p) => gradientSums(gradOutputs[p], X, { ...options, statistics }))) };
}

/** The gradients of all parts. */
function differentiate(library, gradOutputs, parts, options) {
  const prepared = prepare(library, gradOutputs, parts, options);
  const results = parts.map((X, p) => library.batchNormalizationGradient(gradOutputs[p], X, { ...options, ...prepared }));
  return { ...prepared, results };
}

/**
 * Checks the gradients of a batch in parts of so many rows: that all parts get the same bits of gradGamma and gradBeta, and that all
 * results are within the bounds, of the batch's own statistics and of those that were given. Returns how many channels were compared.
 */
function check(gradOutput, X, rows, options, message) {
  let held = Infinity;
  for (const [name, library] of Object.entries(LIBRARIES)) {
    const where = `${name}, ${message}`;
    const { statistics, results } = differentiate(library, split(gradOutput, rows), split(X, rows), options);
    const [[, gradGamma, gradBeta]] = results;
    results.forEach(([gradInput, ...others], p) => {
      assert.equal(gradInput.shape[0], rows[p]);
      [gradGamma, gradBeta].forEach((expected, k) => {
        assert.deepEqual(others[k].shape, expected.shape);
        assertSameBits(others[k].data, expected.data, `${where}: parts disagree`);
      });
    });
    const gradInput = join(
      results.map(([part]) => part),
      X.shape,
    );
    for (const given of [options, { ...options, statistics }]) {
      const compared = assertGradientWithinBounds(
        gradOutput,
        X,
        given,
        [gradInput, gradGamma, gradBeta],
        library === plain,
        where,
      );
      held = Math.min(held, compared);
    }
  }
  return held;
}

const channelAt = (shape, axis) => {
  const k = axis < 0 ? axis + shape.length : axis;
  const inner = sizeOf(shape.slice(k + 1));
  return (i) => Math.floor(i / inner) % shape[k];
};

/** Gradients of a batch with this mean and deviation. The last is what the loss Σ y² has, and some more. */
const GRADIENTS = {
  normal: (X) => normalTensor(X.shape, 2, 0, 1),
  'nearly constant': (X) => normalTensor(X.shape, 3, 1, 1e-4),
  large: (X) => normalTensor(X.shape, 4, 1e4, 1e-2),
  constant: (X) => normalTensor(X.shape, 5, -1000, 0),
  proportional: (X, mean, deviation) => tensor(X.shape, (i) => (3 * (X.data[i] - mean)) / deviation + 1),
};

const DATA = [
  [0, 1],
  [1e4, 1e-2],
  [1e6, 0.1],
];

/* ---- the bounds -------------------------------------------------------------------------------------------------------- */

for (const [layout, shape, axis, rows] of [
  ['columns', [341, 5, 1, 1], 1, [300, 1, 0, 40]],
  ['columns of several positions, and a row in slabs', [61, 3, 5, 6], 1, [40, 0, 1, 20]],
  ['short slabs', [21, 4, 7, 8], 1, [11, 1, 9]],
  ['slabs of several blocks', [4, 2, 60, 80], 1, [1, 0, 3]],
  ['channels last', [40, 3, 2, 7], -1, [36, 1, 3]],
  ['parts of one row, in plain JavaScript', [4, 5, 3, 3], 1, [1, 1, 1, 1]],
])
  for (const relu of [false, true])
    test(`${layout}, [${shape}], axis ${axis}, parts of ${rows.join(', ')} rows${relu ? ', relu' : ''}`, () => {
      for (const [mean, deviation] of DATA) {
        const channels = shape.at(axis);
        const X = normalTensor(shape, 1, mean, deviation);
        const { gamma, beta } = parametersFor(channels);
        for (const [name, make] of Object.entries(GRADIENTS)) {
          const options = { gamma, beta, epsilon: EPSILON, axis, relu };
          const held = check(make(X, mean, deviation), X, rows, options, `mean ${mean}, ${name} gradients`);
          assert.ok(held > 0, 'every channel has an output next to 0');
        }
      }
    });

/** Pieces and ranges of js/plan.js: slabs that are cut, rows by rows, channel by channel. */
for (const [shape, rows] of [
  [
    [3, 1, 1, 70001],
    [2, 1],
  ],
  [
    [40, 3000, 1, 1],
    [33, 7],
  ],
  [
    [5, 9000, 1, 2],
    [2, 0, 3],
  ],
  [
    [3000, 30, 1, 1],
    [2999, 1],
  ],
])
  test(`larger than a piece, [${shape}]`, () => {
    const X = normalTensor(shape, 1, 1e4, 1e-2);
    const { gamma, beta } = parametersFor(shape[1]);
    check(normalTensor(shape, 2, 1, 1e-3), X, rows, { gamma, beta, epsilon: EPSILON }, 'far from 0');
    check(normalTensor(shape, 3), normalTensor(shape, 4), rows, { gamma, beta, relu: true }, 'near 0, with relu');
  });

test('channels that need double, that are constant, or that differ from part to part', () => {
  const shape = [60, 6, 3, 3];
  const channelOf = channelAt(shape, 1);
  const noise = normalTensor(shape, 1);
  const half = noise.data.length / 2;
  const X = tensor(shape, (i) => {
    const value = noise.data[i];
    return [1e30 * value, 1e-30 * value, 7, i < half ? 1000 : -1000, i === half ? 2 : 1, 1e6 + value][channelOf(i)];
  });
  for (const gradOutput of [normalTensor(shape, 2, 0.5), tensor(shape, () => 0.1)])
    for (const gamma of [null, [1e25, 1, 1, 1, 1, 1e-30]])
      for (const rows of [
        [30, 30],
        [1, 58, 1],
      ])
        check(gradOutput, X, rows, { gamma, epsilon: 1e-5 }, `parts of ${rows.join(', ')} rows`);
});

/* ---- the sums ---------------------------------------------------------------------------------------------------------- */

test('the sums are what the documentation says, and the count comes last', () => {
  for (const [shape, axis] of [
    [[300, 5, 1, 1], 1],
    [[9, 3, 20, 30], 1],
    [[50, 4, 3], -1],
    [[7, 2], 1],
  ]) {
    const X = normalTensor(shape, 1, 1e6, 3);
    const gradOutput = normalTensor(shape, 2, 1e3, 1);
    const positions = positionsOf(shape, axis);
    const mean = positions.map((_, c) => 1e6 + c / 7);
    for (const { gradientSums } of Object.values(LIBRARIES)) {
      const sums = gradientSums(gradOutput, X, { statistics: { mean, variance: mean }, axis });
      assert.equal(sums.constructor, Float64Array);
      assert.equal(sums.length, 3 * positions.length + 1);
      assert.equal(sums.at(-1), positions[0].length);
      positions.forEach((at, c) => {
        const exact = [new Sum(), new Sum(), new Sum()];
        const magnitudes = [0, 0, 0];
        for (const i of at) {
          const [g, d] = [gradOutput.data[i], X.data[i] - Math.fround(mean[c])];
          const [high, low] = twoProduct(g, d);
          [g, d, high].forEach((term, k) => {
            exact[k].add(term);
            magnitudes[k] += Math.abs(term);
          });
          exact[2].add(low);
        }
        exact.forEach(({ high, low }, k) => {
          const error = Math.abs(sums[k * positions.length + c] - high - low);
          assert.ok(error <= 1.02 * 2 ** -37 * magnitudes[k], `sum ${k} of channel ${c} is off by ${error}`);
        });
      });
    }
  }
});

test('an empty part has sums of 0, and still gets gradGamma and gradBeta', () => {
  const empty = { data: new Float32Array(0), shape: [0, 3, 4] };
  const statistics = { mean: [1, 2, 3], variance: [1, 2, 3] };
  for (const { gradientSums, batchNormalizationGradient } of Object.values(LIBRARIES)) {
    assert.deepEqual(gradientSums(empty, empty, { statistics }), new Float64Array(10));
    const sums = [4, 5, 6, 0, 0, 0, 1, 2, 3, 10];
    const [gradInput, gradGamma, gradBeta] = batchNormalizationGradient(empty, empty, { statistics, epsilon: 0, sums });
    assert.deepEqual(gradInput, empty);
    assertSameBits(gradBeta.data, Float32Array.of(4, 5, 6));
    assertSameBits(gradGamma.data, Float32Array.of(1, 2 / Math.sqrt(2), 3 / Math.sqrt(3)));
  }
});

test('one part that is the whole batch: gradInput has the same bits as in the ordinary gradient, with the same statistics', () => {
  for (const shape of [
    [341, 5, 1, 1],
    [61, 3, 5, 6],
    [21, 4, 7, 8],
    [3, 2, 60, 80],
    [4, 5, 3],
  ]) {
    const X = normalTensor(shape, 1, 1e4, 1e-2);
    const gradOutput = normalTensor(shape, 2, 1, 1e-2);
    const { gamma } = parametersFor(shape[1]);
    for (const [name, library] of Object.entries(LIBRARIES)) {
      const options = { gamma, epsilon: EPSILON };
      const { statistics, results } = differentiate(library, [gradOutput], [X], options);
      const expected = library.batchNormalizationGradient(gradOutput, X, { ...options, statistics });
      assertSameBits(results[0][0].data, expected[0].data, `${name}, [${shape}]`);
      assertGradientWithinBounds(gradOutput, X, options, results[0], library === plain, name);
    }
  }
});

test('JSON keeps the sums: they may be an array of numbers', () => {
  const [X, gradOutput] = [normalTensor([50, 4], 1, 1e4), normalTensor([50, 4], 2)];
  const { statistics, sums, results } = differentiate(batchnorm, [gradOutput], [X], {});
  const parsed = JSON.parse(JSON.stringify([...sums]));
  assert.deepEqual(batchnorm.batchNormalizationGradient(gradOutput, X, { statistics, sums: parsed }), results[0]);
});

test('sums that are null or undefined mean that X is the whole batch', () => {
  const [X, gradOutput] = [normalTensor([50, 4], 1, 3), normalTensor([50, 4], 2)];
  for (const { batchNormalizationGradient } of Object.values(LIBRARIES))
    for (const training of [true, false]) {
      const options = { statistics: { mean: [1, 2, 3, 4], variance: [1, 1, 1, 1] }, training };
      const expected = batchNormalizationGradient(gradOutput, X, options);
      for (const sums of [null, undefined])
        assert.deepEqual(batchNormalizationGradient(gradOutput, X, { ...options, sums }), expected);
    }
});

/* ---- relu -------------------------------------------------------------------------------------------------------------- */

test('relu lets gradients through exactly where the part’s output is above 0', () => {
  // The first output of each channel is 0, but perhaps only if it is computed exactly as in inference. In every second channel, x minus
  // the mean as a float32 is halfway between two doubles.
  const channels = 60;
  for (const [name, library] of Object.entries(LIBRARIES))
    for (const count of [2, 40]) {
      const next = seeded(count);
      const X = tensor([count, channels], (i) => {
        if (i >= channels) return 2000 * next();
        return i % 2 ? 10 ** (-8 * next()) : 2 ** 33 + 1024 * (i + 1);
      });
      const mean = Float64Array.from({ length: channels }, (_, c) =>
        c % 2 ? 1000 * next() : (2 * c + 1) * 2 ** -20 + (next() - 0.5) * 2 ** -48,
      );
      const variance = Float64Array.from({ length: channels }, () => 1 + next());
      const usesKernel = name === 'batchnorm' && count * channels > 128 && batchnorm.backend() === 'wasm-simd';
      const beta = mean.map((value, c) => {
        const high = usesKernel ? Math.fround(value) : value;
        return -((X.data[c] - high - (value - high)) * (1 / Math.sqrt(variance[c] + 1e-5)));
      });
      const { data } = library.batchNormalization(X, null, beta, mean, variance, 0.9, 1e-5, false, { relu: true })[0];
      assert.ok(data.subarray(0, channels).every((value) => value === 0));
      const passed = Array.from(
        { length: channels },
        (_, c) => data.filter((value, i) => i % channels === c && value > 0).length,
      );
      const options = { beta, statistics: { mean, variance }, relu: true };
      const ones = tensor(X.shape, () => 1);
      const sums = library.gradientSums(ones, X, options);
      assert.deepEqual([...sums.subarray(0, channels)], passed, name);
      // A gradient of 0 in sums of 0 remains 0.
      const nothing = new Float64Array(3 * channels + 1).fill(count, -1);
      const [gradInput] = library.batchNormalizationGradient(ones, X, { ...options, sums: nothing });
      assert.deepEqual(
        [...gradInput.data].map((value) => value > 0),
        [...data].map((value) => value > 0),
        name,
      );
    }
});

/* ---- NaN and infinity ------------------------------------------------------------------------------------------------------ */

test('NaN and infinity stay in their channel, and reach all parts', () => {
  const shape = [60, 4, 3];
  for (const [name, library] of Object.entries(LIBRARIES))
    for (const special of [NaN, Infinity, -Infinity])
      for (const where of ['X', 'gradOutput']) {
        const given = { X: normalTensor(shape, 1, 3), gradOutput: normalTensor(shape, 2) };
        const rows = [20, 39, 1];
        const run = () => differentiate(library, split(given.gradOutput, rows), split(given.X, rows), {}).results;
        const before = run();
        given[where].data[3] = special; // in channel 1
        run().forEach(([gradInput, gradGamma, gradBeta], p) => {
          const message = `${name}, ${special} in ${where}, part ${p}`;
          gradInput.data.forEach((value, i) => {
            if (Math.floor(i / 3) % 4 === 1) assert.ok(Number.isNaN(value), message);
            else assert.ok(Object.is(value, before[p][0].data[i]), message);
          });
          [gradGamma, gradBeta].forEach(({ data }, k) => {
            const expected = before[p][k + 1].data.slice();
            if (k === 0) expected[1] = NaN;
            else if (where === 'gradOutput') expected[1] = special;
            assertSameBits(data, expected, message);
          });
        });
      }
});

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

const SHAPES = [
  [341, 5, 1, 1],
  [700, 70, 1, 1],
  [61, 3, 5, 6],
  [21, 4, 7, 8],
  [2, 3, 90, 91],
  [2, 9000, 1, 2],
];

/** A part of a batch, its options, and its sums: X is half of the batch. */
function partOf(shape, relu) {
  const [X, gradOutput] = [normalTensor(shape, 1, 30, 2), normalTensor(shape, 2, 0.5)];
  const { gamma, beta } = parametersFor(shape[1]);
  const { statistics, sums } = prepare(batchnorm, [gradOutput, X], [X, gradOutput], { gamma, beta, relu });
  return { X, gradOutput, options: { gamma, beta, statistics, relu }, sums };
}

test('the bits do not depend on the size of the memory', () => {
  for (const work of [3 * LEAST, 253 << 10, 256 << 10, 300 << 10, 1 << 20]) {
    const kernel = makeKernel(work);
    const by = (job, ...results) =>
      job.x.length === 0 ? differentiatePlain(job, ...results) : differentiateBy(kernel, job, ...results);
    for (const shape of SHAPES)
      for (const relu of [false, true]) {
        const { X, gradOutput, options, sums } = partOf(shape, relu);
        const message = `[${shape}] within ${work} bytes`;
        assert.deepEqual(callSums(by, gradOutput, X, options), batchnorm.gradientSums(gradOutput, X, options), message);
        const expected = batchnorm.batchNormalizationGradient(gradOutput, X, { ...options, sums });
        callGradient(by, gradOutput, X, { ...options, sums }).forEach(({ data }, k) => {
          assertSameBits(data, expected[k].data, message);
        });
      }
  }
});

test('in an arena, in place, and without gradInput: the same bits', () => {
  const arena = new Arena(8 << 20);
  for (const [name, library] of Object.entries(LIBRARIES))
    for (const shape of [...SHAPES, [4, 5, 3]])
      for (const relu of [false, true]) {
        const { X, gradOutput, options, sums } = partOf(shape, relu);
        const message = `${name}, [${shape}]`;
        const ofPart = library.gradientSums(gradOutput, X, options);
        const expected = library.batchNormalizationGradient(gradOutput, X, { ...options, sums });
        const hold = (results) =>
          results.forEach(({ data }, k) => {
            assertSameBits(data, expected[k].data, message);
          });

        arena.reset();
        const [ownX, ownG, out] = [move(arena, X), move(arena, gradOutput), arena.tensor(shape)];
        for (const [x, g] of [
          [ownX, ownG],
          [ownX, gradOutput],
          [X, ownG],
        ]) {
          const copied = countCopies(() => assert.deepEqual(library.gradientSums(g, x, options), ofPart, message));
          if (x === ownX && g === ownG) assert.equal(copied, 0, message);
          hold(library.batchNormalizationGradient(g, x, { ...options, sums }));
        }
        const copied = countCopies(() => {
          const results = library.batchNormalizationGradient(ownG, ownX, { ...options, sums, out });
          assert.equal(results[0], out);
          hold(results);
        });
        assert.equal(copied, 0, message);
        assertSameBits(ownG.data, gradOutput.data, message);
        assertSameBits(ownX.data, X.data, message);

        for (const g of [ownG, { ...gradOutput, data: gradOutput.data.slice() }])
          hold(library.batchNormalizationGradient(g, X, { ...options, sums, out: g }));

        const [none, ...parameters] = library.batchNormalizationGradient(gradOutput, X, { ...options, sums, gradInput: false });
        assert.equal(none, null);
        hold([expected[0], ...parameters]);
      }
});

test('in an arena of several threads: the same bits', async () => {
  const threads = await createThreads(2);
  try {
    const shape = [40, 64, 7, 8];
    const arena = threads.arena(2 << 20);
    const { X, gradOutput, options, sums } = partOf(shape, true);
    const [ownX, ownG] = [move(arena, X), move(arena, gradOutput)];
    assert.deepEqual(batchnorm.gradientSums(ownG, ownX, options), batchnorm.gradientSums(gradOutput, X, options));
    const expected = batchnorm.batchNormalizationGradient(gradOutput, X, { ...options, sums });
    batchnorm.batchNormalizationGradient(ownG, ownX, { ...options, sums, out: ownG }).forEach(({ data }, k) => {
      assertSameBits(data, expected[k].data);
    });
  } finally {
    await threads.close();
  }
});

test('no argument is changed, and each call returns new arrays', () => {
  for (const { gradientSums, batchNormalizationGradient } of Object.values(LIBRARIES))
    for (const shape of [
      [4, 5, 3],
      [61, 3, 5, 6],
    ]) {
      const { X, gradOutput, options, sums } = partOf(shape, true);
      const before = structuredClone({ X, gradOutput, options, sums });
      const first = gradientSums(gradOutput, X, options);
      const copy = first.slice();
      const results = batchNormalizationGradient(gradOutput, X, { ...options, sums });
      assert.deepEqual({ X, gradOutput, options, sums }, before);
      assert.notEqual(gradientSums(gradOutput, X, options), first);
      assert.deepEqual(first, copy);
      assert.notEqual(batchNormalizationGradient(gradOutput, X, { ...options, sums })[1].data, results[1].data);
    }
});
