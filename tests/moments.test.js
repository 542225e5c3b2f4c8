/* moments and mergeMoments, compared with the moments of the whole data, and with exact arithmetic within the stated bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as main from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, seeded, seededNormal, sizeOf, tensor } from './data.js';
import { statisticsOf } from './reference.js';

const { mergeMoments } = main;

/** The values of channel c of a tensor whose channels are at `axis`. */
const channelAt = ({ data, shape }, axis, c) => {
  const spatial = sizeOf(shape.slice(axis + 1));
  return [...data].filter((_, i) => Math.floor(i / spatial) % shape[axis] === c);
};

/** A double times 2¹⁰⁷⁴, exactly. */
function exact(value) {
  const bits = new BigUint64Array(Float64Array.of(Math.abs(value)).buffer)[0];
  const exponent = bits >> 52n;
  const fraction = bits & ((1n << 52n) - 1n);
  const magnitude = exponent === 0n ? fraction : ((1n << 52n) | fraction) << (exponent - 1n);
  return value < 0 ? -magnitude : magnitude;
}

const magnitude = (value) => (value < 0n ? -value : value);

/** Compares one channel's merged moments with exact arithmetic on the moments of the parts. */
function assertBounds(parts, message) {
  const merged = mergeMoments(parts.map(({ count, mean, variance }) => ({ count, mean: [mean], variance: [variance] })));
  const filled = parts.filter(({ count }) => count > 0);
  const P = BigInt(filled.length);
  const N = filled.reduce((sum, { count }) => sum + BigInt(count), 0n);
  const sum = filled.reduce((sum, { count, mean }) => sum + BigInt(count) * exact(mean), 0n);
  const largest = exact(Math.max(...filled.map(({ mean }) => Math.abs(mean))));
  const meanError = magnitude(exact(merged.mean[0]) * N - sum);
  assert.ok(meanError << 53n <= (P + 1n) * largest * N, `${message}: mean ${merged.mean[0]}`);
  // N² · variance, times 2²¹⁴⁸.
  const squares = filled.reduce(
    (sum, { count, mean, variance }) => sum + BigInt(count) * ((exact(variance) << 1074n) + exact(mean) ** 2n),
    0n,
  );
  const variance = N * squares - sum ** 2n;
  const varianceError = magnitude(((exact(merged.variance[0]) * N * N) << 1074n) - variance);
  assert.ok(varianceError << 53n <= 4n * (P + 6n) * variance, `${message}: variance ${merged.variance[0]}`);
  assert.equal(merged.count, Number(N));
}

for (const [name, { moments }] of [
  ['batchnorm', main],
  ['batchnorm/js', plain],
]) {
  test(`${name}: moments are the mean and the biased variance in double, for every axis`, () => {
    for (const [shape, axis] of [
      [[4, 3, 10, 10], undefined],
      [[4, 10, 10, 3], -1],
      [[3, 50], 0],
      [[200], -1],
      [[7], 0],
      [[2, 3, 2, 3, 2, 3], 3],
    ]) {
      const X = normalTensor(shape, 1, 1e4, 2);
      const { count, mean, variance } = moments(X, { axis });
      const at = (axis ?? 1) < 0 ? shape.length + axis : (axis ?? 1);
      assert.ok(mean instanceof Float64Array && variance instanceof Float64Array);
      assert.equal(mean.length, shape[at]);
      for (let c = 0; c < shape[at]; c++) {
        const values = channelAt(X, at, c);
        assert.equal(count, values.length);
        const expected = statisticsOf(values);
        assert.ok(
          Math.abs(mean[c] - expected.mean) <= count * 2 ** -53 * 2e4,
          `[${shape}] mean ${mean[c]}, not ${expected.mean}`,
        );
        const close = Math.abs(variance[c] - expected.variance) <= 6.01 * 2 ** -24 * expected.variance + 1e-13;
        assert.ok(close, `[${shape}] variance ${variance[c]}, not ${expected.variance}`);
      }
    }
  });

  test(`${name}: merged moments of unequal parts in any order are those of the whole, within 6.01u`, () => {
    for (const [center, deviation] of [
      [0, 1],
      [1e6, 1],
      [-3, 1e-3],
    ]) {
      const next = seededNormal(3, center, deviation);
      const batches = Array.from({ length: 300 }, (_, k) => tensor([1 + ((k * 7) % 5), 2, 9, 10], () => next()));
      const parts = batches.map((X) => moments(X));
      parts.splice(5, 0, moments({ data: new Float32Array(0), shape: [0, 2, 9, 10] }));
      for (const order of [parts, parts.toReversed(), JSON.parse(JSON.stringify(parts.map(spread)))]) {
        const { count, mean, variance } = mergeMoments(order);
        for (let c = 0; c < 2; c++) {
          const values = batches.flatMap((X) => channelAt(X, 1, c));
          const expected = statisticsOf(values);
          assert.equal(count, values.length);
          assert.ok(Math.abs(mean[c] - expected.mean) <= 4 * deviation * 2 ** -40 + Math.abs(center) * 2 ** -50);
          assert.ok(Math.abs(variance[c] - expected.variance) <= 6.01 * 2 ** -24 * expected.variance);
        }
      }
    }
  });
}

const spread = ({ count, mean, variance }) => ({ count, mean: [...mean], variance: [...variance] });

test('merging stays within its bounds, whatever the parts', () => {
  const uniform = seeded(4);
  const next = seededNormal(5);
  for (let trial = 0; trial < 3000; trial++) {
    const P = 1 + Math.floor(uniform() * [3, 8, 60][trial % 3]);
    const center = [0, 1, 1e8, 2 ** 52][trial % 4];
    const spreadOf = [1, 1e-8, 2 ** -50 * center, 1e5][(trial >> 2) % 4];
    const parts = Array.from({ length: P }, (_, p) => ({
      count: [1, 10, 2 ** 30, 0][Math.floor(uniform() * (p === 0 ? 3 : 4))],
      mean: center + spreadOf * (trial % 5 ? next() : Math.sign(next())),
      variance: trial % 3 === 0 ? 0 : uniform() * spreadOf ** 2,
    }));
    assertBounds(parts, `trial ${trial}`);
  }
});

test('the mean stays within its bound if the first part is far from the others', () => {
  // Using only differences from the first part, without a correction, would give errors of up to 4.7 here, where 4 are allowed.
  const uniform = seeded(9);
  for (let trial = 0; trial < 5000; trial++) {
    const parts = Array.from({ length: 3 }, (_, p) => ({
      count: 1 + Math.floor(uniform() * 2 ** (p === 2 ? 30 : 8)),
      mean: (p ? -1 : 1) * (1 - uniform() * 2 ** -(trial % 12)),
      variance: 0,
    }));
    assertBounds(parts, `trial ${trial}`);
  }
});

test('merging 65,536 parts loses no accuracy', () => {
  const next = seededNormal(7, 1e5, 1);
  const all = [];
  const parts = Array.from({ length: 65536 }, () => {
    const values = Array.from({ length: 3 }, () => Math.fround(next()));
    all.push(...values);
    const { mean, variance } = statisticsOf(values);
    return { count: 3, mean: [mean], variance: [variance] };
  });
  const { mean, variance } = mergeMoments(parts);
  const expected = statisticsOf(all);
  assert.ok(Math.abs(mean[0] - expected.mean) <= 1e5 * 2 ** -52);
  assert.ok(Math.abs(variance[0] / expected.variance - 1) <= 1e-10);
});

test('parts are merged exactly if that is possible, from any iterable', () => {
  function* parts() {
    yield { count: 2, mean: [1, 10], variance: Float32Array.of(0, 4) };
    yield { count: 0, mean: [Number.NaN, Infinity], variance: [Number.NaN, -1] };
    yield { count: 6, mean: Float32Array.of(5, 10), variance: Float64Array.of(0, 8) };
  }
  const expected = { count: 8, mean: Float64Array.of(4, 10), variance: Float64Array.of(3, 7) };
  assert.deepEqual(mergeMoments(parts()), expected);
  assert.deepEqual(mergeMoments(new Set(parts())), expected);
  const one = { count: 3, mean: Float64Array.of(1 / 3), variance: Float64Array.of(1 / 7) };
  const alone = mergeMoments([one]);
  assert.deepEqual(alone, one);
  assert.notEqual(alone.mean, one.mean);
  assert.deepEqual(mergeMoments([alone, alone, alone]), { ...one, count: 9 });
});

test('merging parts without values gives another part that changes nothing when it is merged', () => {
  const empty = { count: 0, mean: [Number.NaN, 3], variance: [Number.NaN, 5] };
  const none = mergeMoments([empty, empty]);
  assert.deepEqual(none, { count: 0, mean: new Float64Array(2), variance: new Float64Array(2) });
  const part = { count: 3, mean: Float64Array.of(1, 2), variance: Float64Array.of(3, 4) };
  assert.deepEqual(mergeMoments([none, part, none]), part);
});

test('NaN and infinity appear where they do in the definition in float64, and stay in their channel', () => {
  for (const special of [
    [Infinity, 1],
    [-Infinity, 1],
    [1, Infinity],
    [Infinity, Infinity],
    [Infinity, -Infinity],
    [Number.NaN, 1],
    [1, Number.NaN],
  ]) {
    const chunks = [[2, 3], [special[0], 5, 7], [special[1]], [4]];
    const expected = statisticsOf(chunks.flat());
    // Differences are computed from the first part, so each part is the first once.
    for (let turn = 0; turn < chunks.length; turn++) {
      const parts = [...chunks.slice(turn), ...chunks.slice(0, turn)].map((chunk) => {
        const { mean, variance } = statisticsOf(chunk);
        return { count: chunk.length, mean: [1, mean], variance: [2, variance] };
      });
      const merged = mergeMoments(parts);
      assert.deepEqual([...merged.mean], [1, expected.mean], `${special}`);
      assert.deepEqual([...merged.variance], [2, expected.variance], `${special}`);
    }
  }
});

test('errors name the wrong part, before anything is computed', () => {
  const good = { count: 2, mean: [1, 2], variance: [3, 4] };
  const array = 'be a Float32Array, Float64Array or array of numbers';
  for (const [parts, ErrorType, message] of [
    [undefined, TypeError, 'parts must be iterable; got undefined'],
    [good, TypeError, 'parts must be iterable; got an object'],
    [[], RangeError, 'parts must hold at least one part; got none'],
    [[good, 3], TypeError, 'parts[1] must be an object { count, mean, variance }; got 3'],
    [[{ ...good, count: undefined }], TypeError, 'parts[0].count must be a non-negative integer; got undefined'],
    [[good, { ...good, count: -1 }], RangeError, 'parts[1].count must be a non-negative integer; got -1'],
    [[{ ...good, count: 1.5 }], RangeError, 'parts[0].count must be a non-negative integer; got 1.5'],
    [[{ ...good, mean: 3 }], TypeError, `parts[0].mean must ${array}; got 3`],
    [[{ ...good, mean: ['1', 2] }], TypeError, 'parts[0].mean[0] must be a number; got "1"'],
    [[{ ...good, variance: undefined }], TypeError, `parts[0].variance must ${array}; got undefined`],
    [[{ ...good, variance: [1] }], RangeError, 'parts[0].variance must hold 2 values, one per channel; got 1'],
    [[good, { count: 1, mean: [1], variance: [1] }], RangeError, 'parts[1].mean must hold 2 values, one per channel; got 1'],
    [[good, { count: 0, mean: [1], variance: [1] }], RangeError, 'parts[1].mean must hold 2 values, one per channel; got 1'],
    [[good, { ...good, variance: [1, null] }], TypeError, 'parts[1].variance[1] must be a number; got null'],
  ])
    assert.throws(() => mergeMoments(parts), { name: ErrorType.name, message: `mergeMoments: ${message}` });
});
