/* A call's promises other than correct numbers: its return values, unchanged arguments, and where X and out may be in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { batchNormalization, batchNormalizationGradient } from '../js/index.js';
import { load } from '../js/loader.js';
import { normalTensor, parametersFor } from './data.js';
import { assertSameBits, checkCall } from './helpers.js';

const shape = [3, 5, 6, 7];
const X = normalTensor(shape, 1, 2, 3);
const { gamma, beta, runningMean, runningVar } = parametersFor(5);
const training = [gamma, beta, runningMean, runningVar, 0.3, 1e-3, true];
const inference = [gamma, beta, runningMean, runningVar, 0.3, 1e-3, false];
const expected = { training: batchNormalization(X, ...training), inference: batchNormalization(X, ...inference) };

test('the results that the other tests expect are correct', () => {
  checkCall(X, training);
  checkCall(X, inference);
});

test('momentum is the weight of the old value', () => {
  const kept = batchNormalization(X, null, null, runningMean, runningVar, 1);
  assert.deepEqual([kept[1].data, kept[2].data], [runningMean, runningVar]);
  const replaced = batchNormalization(X, null, null, runningMean, runningVar, 0);
  const fresh = batchNormalization(X, null, null, null, null, 0);
  assert.deepEqual([replaced[1].data, replaced[2].data], [fresh[1].data, fresh[2].data]);
});

test('if no running statistics are passed, they start at mean 0 and variance 1', () => {
  const absent = batchNormalization(X, null, null, null, null, 0.4);
  const given = batchNormalization(X, null, null, new Float32Array(5), new Float32Array(5).fill(1), 0.4);
  assert.deepEqual(absent, given);
});

test('null means 1 for gamma and 0 for beta', () => {
  assert.deepEqual(batchNormalization(X, null, null), batchNormalization(X, new Float32Array(5).fill(1), new Float32Array(5)));
});

test('parameters may have any form', () => {
  const forms = (data) => [
    data,
    Float64Array.from(data),
    Array.from(data),
    { data, shape: [1, 5, 1, 1] },
    { data: Float64Array.from(data), shape: [5] },
    { data: Array.from(data), shape: [1, 5, 1, 1] },
  ];
  for (const isTraining of [true, false])
    for (let k = 0; k < 6; k++) {
      const [g, b, m, v] = [gamma, beta, runningMean, runningVar].map((data) => forms(data)[k]);
      const actual = batchNormalization(X, g, b, m, v, 0.3, 1e-3, isTraining);
      const [output, mean, variance] = expected[isTraining ? 'training' : 'inference'];
      assert.deepEqual(actual[0], output);
      for (const [statistic, like] of [
        [actual[1], mean],
        [actual[2], variance],
      ]) {
        assert.equal(statistic.data.constructor, k % 3 === 0 ? Float32Array : Float64Array);
        assert.deepEqual({ ...statistic, data: Float32Array.from(statistic.data) }, like);
      }
    }
});

test('parameters are read as doubles', () => {
  const third = new Float64Array(5).fill(1 / 3);
  checkCall(X, [third, third, third, third, 0.1, 1e-5, false], 'not representable in float32');
  assert.notDeepEqual(
    batchNormalization(X, null, third, third, third, 0.1, 0, false)[0],
    batchNormalization(X, null, Float32Array.from(third), third, third, 0.1, 0, false)[0],
  );
});

test('inference returns the statistics that were passed', () => {
  const mean = { data: runningMean, shape: [1, 5, 1, 1] };
  const variance = { data: runningVar, shape: [1, 5, 1, 1] };
  const [, sameMean, sameVar] = batchNormalization(X, gamma, beta, mean, variance, 0.1, 1e-5, false);
  assert.equal(sameMean, mean);
  assert.equal(sameVar, variance);
  const doubles = Float64Array.from(runningMean);
  for (const [form, data] of [
    [runningMean, runningMean],
    [{ data: runningMean, shape: [5] }, runningMean],
    [doubles, doubles],
    [{ data: doubles, shape: [5] }, doubles],
  ]) {
    const [, wrapped] = batchNormalization(X, gamma, beta, form, runningVar, 0.1, 1e-5, false);
    assert.deepEqual(wrapped, { data, shape: [1, 5, 1, 1] });
    assert.equal(wrapped.data, data);
  }
  const [, copied] = batchNormalization(X, gamma, beta, Array.from(runningMean), runningVar, 0.1, 1e-5, false);
  assert.deepEqual(copied, { data: doubles, shape: [1, 5, 1, 1] });
});

test('no argument is changed', () => {
  const frozen = (data) => ({ data: data.slice(), shape: Object.freeze([1, 5, 1, 1]) });
  const args = [
    { data: X.data.slice(), shape: Object.freeze([...shape]) },
    ...[gamma, beta, runningMean, runningVar].map(frozen),
  ];
  const before = structuredClone(args);
  for (const isTraining of [true, false]) {
    const results = batchNormalization(...args, 0.3, 1e-3, isTraining);
    assert.deepEqual(args, before);
    if (isTraining) for (const result of results) for (const arg of args) assert.notEqual(result.data.buffer, arg.data.buffer);
    assert.notEqual(results[0].shape, args[0].shape);
  }
});

for (const mode of ['training', 'inference']) {
  const args = mode === 'training' ? training : inference;

  test(`out as an array, ${mode}`, () => {
    const out = new Float32Array(X.data.length);
    const [output, mean, variance] = batchNormalization(X, ...args, { out });
    assert.equal(output.data, out);
    assert.deepEqual([output, mean, variance], expected[mode]);
  });

  test(`if out is a tensor, the same object is returned, ${mode}`, () => {
    const out = { data: new Float32Array(X.data.length), shape: [...shape] };
    const [output] = batchNormalization(X, ...args, { out });
    assert.equal(output, out);
    assertSameBits(out.data, expected[mode][0].data);
  });

  test(`in place, ${mode}`, () => {
    const copy = { data: X.data.slice(), shape };
    const [output, mean, variance] = batchNormalization(copy, ...args, { out: copy });
    assert.equal(output, copy);
    assert.deepEqual([output, mean, variance], expected[mode]);
    const view = X.data.slice();
    batchNormalization({ data: view, shape }, ...args, { out: new Float32Array(view.buffer) });
    assertSameBits(view, expected[mode][0].data);
  });

  test(`X and out at various offsets in larger buffers, ${mode}`, () => {
    for (const offset of [1, 2, 3, 5, 16, 17]) {
      const data = new Float32Array(X.data.length + 40).subarray(offset, offset + X.data.length);
      data.set(X.data);
      const large = new Float32Array(X.data.length + 40).fill(9);
      const out = large.subarray(offset + 3, offset + 3 + X.data.length);
      batchNormalization({ data, shape }, ...args, { out });
      assertSameBits(out, expected[mode][0].data);
      assert.ok(
        large.subarray(0, offset + 3).every((value) => value === 9) &&
          large.subarray(offset + 3 + out.length).every((value) => value === 9),
      );
    }
  });

  test(`shared memory, ${mode}`, () => {
    const data = new Float32Array(new SharedArrayBuffer(4 * X.data.length));
    const out = new Float32Array(new SharedArrayBuffer(4 * X.data.length));
    data.set(X.data);
    batchNormalization({ data, shape }, ...args, { out });
    assertSameBits(out, expected[mode][0].data);
    batchNormalization({ data, shape }, ...args, { out: data });
    assertSameBits(data, expected[mode][0].data);
  });

  test(`repeated calls give the same results, whatever was called in between, ${mode}`, () => {
    for (let k = 0; k < 20; k++) {
      batchNormalization(normalTensor([1 + k, 1 + (k % 3), 1 + (k % 7), 5], k), null, null);
      assert.deepEqual(batchNormalization(X, ...args), expected[mode]);
    }
  });
}

test('subclasses of Float32Array are treated as plain memory', () => {
  class Matrix extends Float32Array {
    constructor(...values) {
      super(values);
    }
    set() {}
    subarray() {
      return null;
    }
  }
  const data = new Matrix(...X.data);
  const out = new Matrix(...X.data);
  const [output] = batchNormalization({ data, shape }, ...training, { out });
  assert.equal(output.data, out);
  assertSameBits(Array.from(out), Array.from(expected.training[0].data));
  class Bytes extends Float32Array {
    static get [Symbol.species]() {
      return Uint8Array;
    }
  }
  const given = { data: Bytes.of(9, ...gamma), shape: [5], stride: [1], offset: 1 };
  assert.deepEqual(batchNormalization(X, given, ...training.slice(1)), expected.training);
});

test('each property of the arguments is read once', () => {
  const reads = {};
  const counted = (name, object) =>
    new Proxy(object, {
      get(target, key) {
        reads[`${name}.${String(key)}`] = (reads[`${name}.${String(key)}`] ?? 0) + 1;
        return target[key];
      },
    });
  const options = counted('options', { out: new Float32Array(X.data.length) });
  const offsets = counted('beta', Array.from(beta));
  batchNormalization(counted('X', X), gamma, offsets, runningMean, runningVar, 0.3, 1e-3, true, options);
  for (const name of ['X.data', 'X.shape', 'options.out', 'beta.0', 'beta.4']) assert.equal(reads[name], 1, name);
});

test('empty tensors', () => {
  for (const empty of [
    [0, 5, 6, 7],
    [3, 5, 0, 7],
    [3, 5, 6, 0],
  ]) {
    const results = batchNormalization({ data: new Float32Array(0), shape: empty }, ...inference);
    assert.deepEqual(results[0], { data: new Float32Array(0), shape: empty });
    assert.deepEqual(results[1].data, runningMean);
  }
  for (const isTraining of [true, false]) {
    const none = { data: new Float32Array(0), shape: [1, 0, 1, 1] };
    const results = batchNormalization(
      { data: new Float32Array(0), shape: [3, 0, 6, 7] },
      [],
      [],
      none,
      none,
      0.1,
      1e-5,
      isTraining,
    );
    assert.deepEqual(results, [{ data: new Float32Array(0), shape: [3, 0, 6, 7] }, none, none]);
  }
});

test('the kernel’s memory is 8 MB at most, and repeated calls do not leak', async () => {
  assert.ok(load().buffer.byteLength <= 8 << 20);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const large = normalTensor([8, 16, 64, 65]);
  const out = new Float32Array(large.data.length);
  /* The smallest of several readings, since buffers are freed some time after their arrays are collected. */
  const held = async () => {
    let least = Infinity;
    for (let k = 0; k < 10; k++) {
      collect();
      await setTimeout(10);
      const { arrayBuffers, heapUsed } = process.memoryUsage();
      least = Math.min(least, arrayBuffers + heapUsed);
    }
    return least;
  };
  const repeat = () => {
    for (let k = 0; k < 20; k++) {
      batchNormalization(large, null, null);
      batchNormalization(large, null, null, null, null, 0.1, 1e-5, true, { out });
      batchNormalizationGradient({ data: out, shape: large.shape }, large, { beta: null, relu: true });
      for (let i = 0; i < 100; i++) batchNormalization(X, ...training);
    }
    return held();
  };
  await repeat();
  const before = await repeat();
  const after = await repeat();
  assert.ok(after - before < 1e6, `${after - before} bytes more after twenty rounds`);
});
