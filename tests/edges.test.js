/* Unusual arguments: layouts that other libraries state, numbers from published models, and objects that run code while they are read.
 * Each test runs with the kernel and with plain JavaScript. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { batchNormalization } from '../js/index.js';
import { batchNormalization as plainBatchNormalization } from '../js/index-plain.js';
import { normalTensor } from './data.js';
import { assertSameBits, assertWithinBounds, callKernel } from './helpers.js';

const IMPLEMENTATIONS = [
  ['the kernel', callKernel],
  ['plain JavaScript', plainBatchNormalization],
];
const shape = [2, 3, 8, 5];
const size = 240;
const X = normalTensor(shape, 11, 3, 2);
const ROW_MAJOR = [120, 40, 5, 1];
const COLUMN_MAJOR = [1, 2, 6, 48];
const BASE = { data: X.data, shape };

for (const [name, call] of IMPLEMENTATIONS) {
  const expected = call(X, null, null);

  test(`${name}: a negative running variance is accepted if variance + epsilon is not negative`, () => {
    for (const [variance, epsilon] of [
      [-8e-6, 1e-5],
      [-7e-5, 1e-4],
      [-1e-5, 1e-5],
    ]) {
      const runningVar = [1, variance, 1];
      const args = [[1, 2, 3], [0, 1, 2], [3, 3, 3], runningVar, 0.1, epsilon, false];
      const results = call(X, ...args);
      if (variance + epsilon > 0) assertWithinBounds(X, args, results);
      assert.deepEqual(Array.from(results[2].data), runningVar);
    }
    for (const runningVar of [[1, 1, -2e-5], Float64Array.of(1, 1, -2e-5)])
      assert.throws(() => call(X, null, null, [0, 0, 0], runningVar, 0.1, 1e-5, false), {
        name: 'RangeError',
        message: 'batchNormalization: runningVar must be at least -epsilon; got -0.00002 in channel 2, with epsilon 0.00001',
      });
  });

  test(`${name}: in training, any running variance is accepted, even a negative one`, () => {
    const [, , variance] = call(X, null, null, [0, 0, 0], [-5, 1, 1], 1);
    assert.deepEqual(Array.from(variance.data), [-5, 1, 1]);
  });

  test(`${name}: a tensor that says, in any form, that it is contiguous in row-major order is accepted`, () => {
    for (const stated of [
      { stride: ROW_MAJOR },
      { strides: ROW_MAJOR, offset: 0, order: 'row-major' },
      { strides: Int32Array.from(ROW_MAJOR) },
      { stride: () => ROW_MAJOR },
      { order: 'C' },
      { order: [3, 2, 1, 0], stride: ROW_MAJOR },
      { fortranOrder: false },
      { fortran_order: false },
      { isContiguous: true },
      { isContiguous: () => true },
      { order: () => 'C' },
      { fortranOrder: () => false },
      { offset: 0 },
      { offset: null, stride: null },
    ])
      assert.deepEqual(call({ ...BASE, ...stated }, null, null), expected, JSON.stringify(stated));
  });

  test(`${name}: a tensor that says it is not contiguous in row-major order is rejected`, () => {
    const wrong = [
      { stride: COLUMN_MAJOR, offset: 0 },
      { strides: COLUMN_MAJOR, offset: 0 },
      { strides: Int32Array.from(COLUMN_MAJOR) },
      { strides: () => COLUMN_MAJOR },
      { strides: [120, 40, 5] },
      { stride: ROW_MAJOR, strides: COLUMN_MAJOR },
      { order: 'column-major' },
      { order: 'F' },
      { fortranOrder: true },
      { fortran_order: true },
      { isContiguous: false },
      { isContiguous: () => false },
      { isContiguous: () => 0 },
      { order: () => 'F' },
      { fortranOrder: () => true },
    ];
    for (const stated of wrong) {
      const tensor = { ...BASE, ...stated };
      const out = new Float32Array(size).fill(7);
      const error = {
        name: 'RangeError',
        message:
          /^batchNormalization: (X|out) must be contiguous in row-major order(, with strides? \[.*\])? \(copy it first\); got (another order|strides? )/,
      };
      assert.throws(() => call(tensor, null, null, null, null, 0.1, 1e-5, true, { out }), error);
      assert.throws(() => call(X, null, null, null, null, 0.1, 1e-5, true, { out: { ...tensor, data: out } }), error);
      assert.ok(out.every((value) => value === 7));
    }
    const parameter = { data: new Float32Array(9), shape: [3], strides: [3] };
    assert.throws(() => call(X, parameter, null), {
      message: /gamma must be contiguous in row-major order, with strides \[1\] /,
    });
  });

  test(`${name}: without an offset, data with more values than the tensor are rejected, contiguous or not`, () => {
    for (const stated of [{}, { stride: ROW_MAJOR }, { strides: ROW_MAJOR }, { strides: ROW_MAJOR, offset: undefined }])
      assert.throws(() => call({ data: X.data, shape: [1, 3, 8, 5], ...stated }, null, null), {
        name: 'RangeError',
        message: 'batchNormalization: X.data must hold 120 values for shape [1, 3, 8, 5]; got 240',
      });
    const second = call({ data: X.data, shape: [1, 3, 8, 5], strides: ROW_MAJOR, offset: 120 }, null, null);
    assert.deepEqual(second, call({ data: X.data.slice(120), shape: [1, 3, 8, 5] }, null, null));
  });

  test(`${name}: without values, any order is accepted`, () => {
    const empty = { data: new Float32Array(0), shape: [2, 0, 2, 2] };
    const result = call(empty, [], []);
    for (const stated of [{ strides: [4, 4, 2, 1] }, { order: 'F' }])
      assert.deepEqual(call({ ...empty, ...stated }, [], []), result);
  });

  test(`${name}: with at most one dimension above 1, the order does not matter`, () => {
    const flat = { data: X.data, shape: [1, 1, 1, size] };
    assert.deepEqual(call({ ...flat, order: 'F', fortranOrder: true }, null, null), call(flat, null, null));
  });

  test(`${name}: shapes as integer typed arrays`, () => {
    for (const Type of [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array]) {
      const result = call({ data: X.data, shape: Type.from(shape) }, { data: [1, 1, 1], shape: Type.of(3) }, null);
      assert.deepEqual(result, expected);
    }
    assert.throws(() => call({ data: X.data, shape: Float32Array.from(shape) }, null, null), TypeError);
    assert.throws(() => call({ data: X.data, shape: BigInt64Array.from(shape, BigInt) }, null, null), TypeError);
  });

  test(`${name}: holes in a shape are rejected`, () => {
    assert.throws(() => call({ data: X.data, shape: new Array(4) }, null, null), TypeError);
    assert.throws(() => call(X, { data: [1, 1, 1], shape: new Array(4) }, null), RangeError);
    assert.throws(() => call(X, { data: [1, 1, 1], shape: new Array(1) }, null), RangeError);
    assert.throws(() => call({ ...BASE, dims: new Array(4) }, null, null), RangeError);
  });

  test(`${name}: statistics given as doubles are returned as doubles, so that inference matches training far from zero`, () => {
    for (const mean of [1e5, 1e6]) {
      const far = normalTensor([4, 3, 10, 10], 5, mean);
      const doubles = call(far, null, null, new Float64Array(3), [1, 1, 1], 0);
      assert.equal(doubles[1].data.constructor, Float64Array);
      assert.equal(doubles[2].data.constructor, Float64Array);
      assert.equal(call(far, null, null, null, null, 0)[1].data.constructor, Float32Array);
      const mixed = call(far, null, null, new Float32Array(3), new Float64Array(3), 0);
      assert.deepEqual(
        mixed.map(({ data }) => data.constructor),
        [Float32Array, Float32Array, Float64Array],
      );
      const args = [null, null, doubles[1], doubles[2], 0, 1e-5, false];
      const [inferred, sameMean] = call(far, ...args);
      assert.equal(sameMean, doubles[1]);
      for (let i = 0; i < far.data.length; i++) {
        const difference = Math.abs(inferred.data[i] - doubles[0].data[i]);
        assert.ok(difference <= 4 * 2 ** -23 * Math.max(1, Math.abs(inferred.data[i])), `${difference} at mean ${mean}`);
      }
    }
  });

  test(`${name}: only own properties of options are read`, () => {
    const out = new Float32Array(size);
    Object.prototype.out = out;
    try {
      assert.deepEqual(call(X, null, null), expected);
    } finally {
      delete Object.prototype.out;
    }
    assert.ok(out.every((value) => value === 0));
  });

  test(`${name}: every property and element is read once, and no code of the user runs during the computation`, () => {
    const counts = new Map();
    /** Counts reads of an object's own properties; reads after the first return another value. */
    const once = (label, object) =>
      new Proxy(object, {
        get(target, key) {
          const value = Reflect.get(target, key);
          if (typeof key === 'symbol') return value;
          const id = `${label}.${key}`;
          counts.set(id, (counts.get(id) ?? 0) + 1);
          return counts.get(id) > 1 && typeof value === 'number' ? 1.5 : value;
        },
      });
    const result = call(
      once('X', { data: X.data, shape: once('shape', [...shape]), stride: once('stride', ROW_MAJOR), offset: 0 }),
      once('gamma', { data: once('numbers', [1, 1, 1]), shape: once('sizes', [3]) }),
      once('beta', [0, 0, 0]),
      null,
      null,
      0.1,
      1e-5,
      true,
      once('options', { out: once('out', { data: new Float32Array(size), shape: once('out.shape', [...shape]) }) }),
    );
    assert.deepEqual(result[1], expected[1]);
    assertSameBits(result[0].data, expected[0].data);
    for (const [id, count] of counts) if (!/^out\.data$/.test(id)) assert.equal(count, 1, id);
  });

  test(`${name}: a length-tracking X that a later getter resizes is checked after the last read`, () => {
    const buffer = new ArrayBuffer(4 * size, { maxByteLength: 16 * size });
    const tracking = new Float32Array(buffer);
    tracking.set(X.data);
    for (const bytes of [4 * 100, 16 * size]) {
      buffer.resize(4 * size);
      const options = {
        get out() {
          buffer.resize(bytes);
          return undefined;
        },
      };
      assert.throws(() => call({ data: tracking, shape }, null, null, null, null, 0.1, 1e-5, true, options), {
        name: 'RangeError',
        message: `batchNormalization: X.data must hold 240 values for shape [2, 3, 8, 5]; got ${bytes / 4}`,
      });
    }
  });

  test(`${name}: no code of X’s own class or properties runs`, () => {
    let ran = 0;
    const trap = () => {
      ran++;
      call(normalTensor(shape, 99), null, null);
      return Float32Array;
    };
    class Own extends Float32Array {
      static get [Symbol.species]() {
        return trap();
      }
      set() {
        trap();
      }
      subarray() {
        return trap();
      }
    }
    const marked = X.data.slice();
    for (const key of ['constructor', 'length', 'buffer', 'byteOffset', 'byteLength', 'set', 'subarray'])
      Object.defineProperty(marked, key, { get: trap });
    const out = new Own(size);
    for (const key of ['constructor', 'length', 'buffer', 'byteOffset']) Object.defineProperty(out, key, { get: trap });
    for (const data of [Own.from(X.data), marked]) {
      ran = 0;
      const [output] = call({ data, shape }, null, null, null, null, 0.1, 1e-5, true, { out: { data: out, shape } });
      assert.equal(ran, 0);
      assertSameBits(
        Float32Array.prototype.slice.call(output.data, 0).length ? X.data.map((_, i) => out[i]) : out,
        expected[0].data,
      );
    }
  });
}

test('error messages suggest a likely cause', () => {
  const three = [1, 1, 1];
  const cases = [
    [
      () => batchNormalization(X, three, three, three, three, true, 0.1, 1e-5),
      /momentum .*got true \(did you pass the arguments in PyTorch's order\?\)$/,
    ],
    [() => batchNormalization(X, null, null, { out: X.data }), /runningMean\.shape .*\(options are the ninth argument\)$/],
    [() => batchNormalization(X, null, null, null, null, { out: X.data }), /momentum .*\(options are the ninth argument\)$/],
    [() => batchNormalization(X, null, null, null, null, 0.1, { out: X.data }), /epsilon .*\(options are the ninth argument\)$/],
    [() => batchNormalization(X, null, null, null, null, 0.1, 1e-5, {}), /training .*\(options are the ninth argument\)$/],
    [() => batchNormalization(X, [1, 1, 1, 1, 1], null), /gamma .*got 5 \(are the channels last\? then pass axis: -1\)$/],
    [() => batchNormalization({ data() {}, shape }, null, null), /got a function \(in TensorFlow\.js, use dataSync\(\)\)$/],
  ];
  for (const [run, message] of cases) assert.throws(run, { message });
});

test('if another thread grows a shared X during the call, only its original values are used', () => {
  // Another thread waits for the call's last getter, then for another 3 ms, and grows the buffer while the call computes.
  const program = `
    import { once } from 'node:events';
    import { Worker } from 'node:worker_threads';
    import { batchNormalization as plain } from 'batchnorm/js';
    import { batchNormalization } from 'batchnorm';
    const rows = 200000, bytes = 4 * rows * 8;
    const means = [];
    for (const call of [plain, batchNormalization]) {
      const buffer = new SharedArrayBuffer(bytes, { maxByteLength: 4 * bytes });
      const flag = new Int32Array(new SharedArrayBuffer(4));
      const data = new Float32Array(buffer).fill(2);
      const worker = new Worker(\`
        import { parentPort, workerData } from 'node:worker_threads';
        const { buffer, flag, bytes } = workerData;
        parentPort.postMessage('ready');
        Atomics.wait(flag, 0, 0, 5000);
        for (const end = performance.now() + 3; performance.now() < end; );
        buffer.grow(4 * bytes);
        new Float32Array(buffer, bytes).fill(1e6);
      \`, { eval: true, workerData: { buffer, flag, bytes } });
      await once(worker, 'message');
      const options = { get out() { Atomics.store(flag, 0, 1); Atomics.notify(flag, 0); return undefined; } };
      means.push(...call({ data, shape: [rows, 8, 1, 1] }, null, null, null, null, 0, 1e-5, true, options)[1].data);
      await worker.terminate();
    }
    console.log(means.every((mean) => mean === 2), means.join());`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^true/);
});
