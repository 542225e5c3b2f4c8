/* Arenas: calls use an arena's tensors without copying them, give the same bits as outside of it, and change nothing else in it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { Arena, batchNormalization } from '../js/index.js';
import { normalTensor, parametersFor, randomShapes, seeded, sizeOf } from './data.js';
import { assertSameBits, callOn, countCopies, inFreshNode, LEAST, makeKernel, move } from './helpers.js';

const root = fileURLToPath(new URL('../', import.meta.url));

test('sizes are rounded up to 64 bytes; each tensor leaves fewer free bytes, and reset frees them all', () => {
  for (const bytes of [1, 63, 64]) assert.equal(new Arena(bytes).byteLength, 64);
  const arena = new Arena(1000);
  assert.deepEqual([arena.byteLength, arena.bytesFree], [1024, 1024]);
  arena.tensor([3]);
  assert.equal(arena.bytesFree, 960);
  arena.tensor([4, 4]);
  assert.equal(arena.bytesFree, 896);
  arena.tensor([0, 5]);
  assert.equal(arena.bytesFree, 896);
  const { data } = arena.tensor([224]);
  assert.equal(data.length, 224);
  assert.deepEqual([arena.byteLength, arena.bytesFree], [1024, 0]);
  assert.equal(arena.tensor([0]).data.length, 0);
  arena.reset();
  assert.equal(arena.bytesFree, 1024);
});

test('a tensor has an ordinary, aligned Float32Array of zeros, and its own copy of the shape', () => {
  const arena = new Arena(4096);
  const shape = [2, 3, 4, 5];
  const X = arena.tensor(shape);
  assert.equal(Object.getPrototypeOf(X.data), Float32Array.prototype);
  assert.deepEqual(X, { data: new Float32Array(120), shape });
  assert.notEqual(X.shape, shape);
  assert.deepEqual(arena.tensor(Int32Array.of(2, 3)), { data: new Float32Array(6), shape: [2, 3] });
  const empty = arena.tensor([]);
  assert.deepEqual(empty, { data: new Float32Array(1), shape: [] });
  for (const { data } of [X, empty, arena.tensor([7])]) assert.equal(data.byteOffset % 64, 0);
  X.data.fill(5);
  arena.reset();
  const again = arena.tensor(shape);
  assert.equal(again.data.byteOffset, X.data.byteOffset);
  assert.ok(again.data.every((value) => value === 0));
});

for (const [name, run, ErrorType, message] of [
  ['no bytes', () => new Arena(), TypeError, 'bytes must be a positive integer; got undefined'],
  ['bytes as text', () => new Arena('64'), TypeError, 'bytes must be a positive integer; got "64"'],
  ['bytes as a bigint', () => new Arena(64n), TypeError, 'bytes must be a positive integer; got a bigint'],
  ['0 bytes', () => new Arena(0), RangeError, 'bytes must be a positive integer; got 0'],
  ['negative bytes', () => new Arena(-64), RangeError, 'bytes must be a positive integer; got -64'],
  ['half a byte', () => new Arena(64.5), RangeError, 'bytes must be a positive integer; got 64.5'],
  ['NaN bytes', () => new Arena(NaN), RangeError, 'bytes must be a positive integer; got NaN'],
  ['more than is available', () => new Arena(2 ** 45), RangeError, 'bytes must fit in the available memory; got 35184372088832'],
  ['4 GiB', () => new Arena(2 ** 32), RangeError, 'bytes must fit in the available memory; got 4294967296'],
  ['no shape', () => new Arena(64).tensor(), TypeError, 'shape must be an array of up to 8 non-negative integers; got undefined'],
  [
    'a number as a shape',
    () => new Arena(64).tensor(4),
    TypeError,
    'shape must be an array of up to 8 non-negative integers; got 4',
  ],
  [
    'floats as a shape',
    () => new Arena(64).tensor(new Float32Array(2)),
    TypeError,
    'shape must be an array of up to 8 non-negative integers; got a Float32Array of length 2',
  ],
  [
    'a negative size',
    () => new Arena(64).tensor([-1, 2]),
    RangeError,
    'shape must be an array of up to 8 non-negative integers; got [-1, 2]',
  ],
  [
    'half a size',
    () => new Arena(64).tensor([0.5, 2]),
    RangeError,
    'shape must be an array of up to 8 non-negative integers; got [0.5, 2]',
  ],
  [
    'a size as text',
    () => new Arena(64).tensor(['1']),
    RangeError,
    'shape must be an array of up to 8 non-negative integers; got ["1"]',
  ],
  [
    'nine sizes',
    () => new Arena(64).tensor([1, 1, 1, 1, 1, 1, 1, 1, 1]),
    RangeError,
    'shape must be an array of up to 8 non-negative integers; got [1, 1, 1, 1, 1, 1, 1, 1, 1]',
  ],
  [
    'no room',
    () => new Arena(64).tensor([17]),
    RangeError,
    'shape must fit in the 64 free bytes; got [17], which takes 128 bytes',
  ],
  [
    'no room for 2⁴³ values',
    () => new Arena(64).tensor([2 ** 40, 8]),
    RangeError,
    'shape must fit in the 64 free bytes; got [1099511627776, 8], which takes 35184372088832 bytes',
  ],
])
  test(`bad input: ${name}`, () => {
    assert.throws(run, (error) => {
      assert.equal(error.constructor, ErrorType);
      assert.equal(error.message, `Arena: ${message}`);
      return true;
    });
  });

test('a shape that does not fit leaves the arena as it was', () => {
  const arena = new Arena(128);
  arena.tensor([16]);
  for (const shape of [[17], [-1], 'none']) assert.throws(() => arena.tensor(shape));
  assert.equal(arena.bytesFree, 64);
});

test('Arena must be called with new', () => {
  assert.throws(() => Arena(64), TypeError);
});

/** Shapes of more than 128 values, some of them random. */
function* shapes(count) {
  yield* [
    [2, 3, 64, 65],
    [1, 2, 300, 301],
    [9, 20, 14, 14],
    [40, 30, 7, 7],
    [20, 200, 6, 6],
    [700, 70, 1, 1],
    [300, 9, 5, 6],
    [5000, 3, 1, 1],
    [3, 3000, 2, 2],
    [2, 1, 800, 801],
    [12, 5, 90, 91],
  ];
  yield* randomShapes(50, count);
}

test('calls in an arena, in place, partly in an arena, or from arena to arena give the same bits as calls that copy', () => {
  const arena = new Arena(64 << 20);
  const other = new Arena(64 << 20);
  let k = 0;
  for (const shape of shapes(150)) {
    const X = normalTensor(shape, k, k % 3 ? 0 : 1e4, k % 5 ? 1 : 1e-3);
    if (k % 4 === 0) X.data[k % X.data.length] = 1e30; // a channel that is computed in double
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    const uneven = Float64Array.from(beta, (value, c) => value + c / 3);
    for (const training of [true, false]) {
      const args = [gamma, k % 2 ? beta : uneven, runningMean, runningVar, 0.3, 1e-3, training];
      const expected = batchNormalization(X, ...args);
      const check = (name, x, out) => {
        const before = x === out ? null : x.data.slice();
        const [output, mean, variance] = batchNormalization(x, ...args, { out });
        assert.equal(output, out);
        assertSameBits(out.data, expected[0].data, `${name} [${shape}]`);
        assert.deepEqual([mean, variance], expected.slice(1), `${name} [${shape}]`);
        if (before) assertSameBits(x.data, before, `${name} [${shape}]: X`);
      };
      const plain = () => ({ data: new Float32Array(X.data.length).fill(7), shape });
      for (const memory of [arena, other]) memory.reset();
      check('arena to arena', move(arena, X), arena.tensor(shape));
      const inPlace = move(arena, X);
      check('in place', inPlace, inPlace);
      check('from the arena', move(arena, X), plain());
      check('into the arena', X, arena.tensor(shape));
      check('to another arena', move(arena, X), move(other, plain()));
      const odd = arena.tensor([X.data.length + 3]).data.subarray(3);
      odd.set(X.data);
      const oddOut = arena.tensor([X.data.length + 2]).data.subarray(1, -1);
      check('views at unaligned offsets', { data: odd, shape }, { data: oddOut, shape });
      const [fresh] = batchNormalization(move(arena, X), ...args);
      assertSameBits(fresh.data, expected[0].data);
    }
    k++;
  }
});

test('tensors in the arena are not copied; others are, once in each direction', () => {
  const shape = [8, 16, 28, 28];
  const n = sizeOf(shape);
  const X = normalTensor(shape);
  const arena = new Arena(8 * n + (1 << 20));
  const [inside, out] = [move(arena, X), arena.tensor(shape)];
  const statistics = [new Float32Array(16), new Float32Array(16).fill(1)];
  const copies = (x, to, training) =>
    countCopies(() => batchNormalization(x, null, null, ...statistics, 0.9, 1e-5, training, { out: to })) / n;
  for (const training of [true, false]) {
    assert.equal(copies(inside, out, training), 0);
    assert.equal(copies(out, out, training), 0);
    assert.equal(copies({ data: inside.data.subarray(0), shape: [8, 16, 784, 1] }, out.data, training), 0);
    assert.equal(copies(inside, new Float32Array(n), training), 1);
    assert.equal(copies(X, out, training), 1);
    assert.equal(copies(X, new Float32Array(n), training), 2);
    assert.equal(copies(inside, new Arena(4 * n).tensor(shape), training), 1);
  }
});

test('nothing else in the arena’s memory is touched, whatever the size of the work area', () => {
  const pattern = Buffer.alloc(1 << 20, 0xa5);
  const next = seeded(51);
  let calls = 0;
  for (const work of [LEAST, 90 << 10, 200 << 10, 2 << 20])
    for (const shape of shapes(60)) {
      const n = sizeOf(shape);
      const gap = 64 + 4 * Math.floor(next() * 16);
      const kernel = makeKernel(work, 3 * gap + 8 * n);
      new Uint8Array(kernel.buffer).fill(0xa5);
      const places = [64 + gap, 64 + 2 * gap + 4 * n];
      const begin = kernel.buffer.byteLength - work;
      const [x, y] = places.map((place) => new Float32Array(kernel.buffer, place, n));
      const X = normalTensor(shape, calls);
      const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
      const outside = new Float32Array(n);
      const zeros = new Float32Array(n);
      for (const training of [true, false])
        for (const [from, to] of [
          [x, y],
          [x, x],
          [x, outside],
          [X.data, y],
        ]) {
          x.set(X.data);
          y.fill(0);
          const args = [gamma, beta, runningMean, runningVar, 0.3, 1e-3, training, { out: to }];
          callOn(kernel, { data: from, shape }, ...args);
          const untouched = (from, end, what) =>
            assert.ok(
              Buffer.from(kernel.buffer, from, end - from).equals(pattern.subarray(0, end - from)),
              `[${shape}], work area of ${work}: ${what}`,
            );
          untouched(0, places[0], 'before X');
          untouched(places[0] + 4 * n, places[1], 'between X and Y');
          untouched(places[1] + 4 * n, begin, 'after Y');
          if (to !== x) assertSameBits(x, X.data, 'X');
          if (to !== y) assertSameBits(y, zeros, 'Y');
          calls++;
        }
    }
  assert.ok(calls > 2000, `${calls} calls`);
});

test('in an arena, an out that partly overlaps X is an error; one that is exactly X’s data is not', () => {
  const arena = new Arena(1 << 16);
  const { data } = arena.tensor([1000]);
  const X = { data: data.subarray(0, 500), shape: [5, 1, 100, 1] };
  assert.throws(
    () => batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: data.subarray(1, 501) }),
    /RangeError: batchNormalization: out must not overlap X/,
  );
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: data.subarray(0, 500) });
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: data.subarray(500) });
});

test('parameters and statistics may lie in the arena; new results are outside of it', () => {
  const shape = [4, 6, 9, 9];
  const X = normalTensor(shape, 3, 5);
  const { gamma, beta, runningMean, runningVar } = parametersFor(6);
  const expected = batchNormalization(X, gamma, beta, runningMean, runningVar, 0.3);
  const arena = new Arena(1 << 16);
  const [g, b, m, v] = [gamma, beta, runningMean, runningVar].map((data) => move(arena, { data, shape: [1, 6, 1, 1] }));
  const results = batchNormalization(move(arena, X), g, b, m, v, 0.3);
  assert.deepEqual(results, expected);
  for (const { data } of results) assert.notEqual(data.buffer, g.data.buffer);
});

test('if byteOffset is forgotten, so that X starts at the arena’s first byte, the call reads that memory and writes only out', () => {
  const arena = new Arena(1 << 16);
  const X = move(arena, normalTensor([4, 2, 10, 10]));
  const Y = arena.tensor(X.shape);
  const before = X.data.slice();
  const wrong = { data: new Float32Array(X.data.buffer, 0, 800), shape: X.shape };
  const expected = batchNormalization({ data: wrong.data.slice(), shape: X.shape }, null, null)[0].data;
  batchNormalization(wrong, null, null, null, null, 0.1, 1e-5, true, { out: Y });
  assertSameBits(Y.data, expected);
  assertSameBits(X.data, before);
});

test('after reset, an old tensor still works; it shares its memory with the new one', () => {
  const arena = new Arena(1 << 16);
  const old = move(arena, normalTensor([4, 2, 10, 10]));
  arena.reset();
  const X = move(arena, normalTensor([4, 2, 10, 10], 2));
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
  assertSameBits(old.data, X.data);
  batchNormalization(old, null, null, null, null, 0.1, 1e-5, true, { out: old });
  assertSameBits(old.data, X.data);
});

test('without WebAssembly, an arena is plain memory', () => {
  const printed = inFreshNode(`
    delete globalThis.WebAssembly;
    const { Arena, backend, batchNormalization } = await import('batchnorm');
    const { batchNormalization: plain } = await import('batchnorm/js');
    const arena = new Arena(10000);
    const X = arena.tensor([2, 3, 10, 10]);
    X.data.set(X.data.map((_, i) => Math.sin(i)));
    const expected = plain(X, null, null)[0].data;
    const out = arena.tensor(X.shape);
    batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out });
    let error;
    try { arena.tensor([10000]) } catch (caught) { error = caught.message }
    console.log(backend(), arena.byteLength, arena.bytesFree, out.data.every((y, i) => y === expected[i]), error);`);
  assert.equal(printed, 'js 10048 5184 true Arena: shape must fit in the 5184 free bytes; got [10000], which takes 40000 bytes');
});

test('another copy of the package in the same program finds the arena, and shares the compiled kernel', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-'));
  try {
    const outfile = join(folder, 'copy.mjs');
    await build({ entryPoints: [join(root, 'js/index.js')], bundle: true, format: 'esm', outfile });
    const printed = inFreshNode(`
      let compiled = 0;
      WebAssembly.Module = class extends WebAssembly.Module { constructor(bytes) { super(bytes); compiled++; } };
      const one = await import('batchnorm');
      const two = await import(${JSON.stringify(pathToFileURL(outfile).href)});
      const arena = new one.Arena(100000);
      const X = arena.tensor([5, 2, 20, 20]);
      X.data.set(X.data.map((_, i) => Math.sin(i)));
      const out = arena.tensor(X.shape);
      let copied = 0;
      const { set } = Float32Array.prototype;
      Float32Array.prototype.set = function (...args) { copied++; return set.apply(this, args); };
      two.batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out });
      two.batchNormalizationGradient(out, X, { out });
      const inArena = copied;
      const x = { data: X.data.slice(), shape: X.shape };
      const [y] = one.batchNormalization(x, null, null);
      const [mine] = one.batchNormalizationGradient(y, x);
      console.log(one.batchNormalization === two.batchNormalization, compiled, inArena, out.data.every((g, i) => g === mine.data[i]));`);
    // Two modules are compiled: one for the forward call, one for the gradient.
    assert.equal(printed, 'false 2 0 true');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('arenas work if the global object is frozen', () => {
  const printed = inFreshNode(`
    Object.freeze(globalThis);
    const { Arena, backend, batchNormalization } = await import('batchnorm');
    const X = new Arena(10000).tensor([2, 3, 10, 10]);
    batchNormalization(X, null, [1, 2, 3], null, null, 0.1, 1e-5, true, { out: X });
    console.log(backend(), X.data[0], X.data[299]);`);
  assert.equal(printed, 'wasm-simd 1 3');
});

test('a hundred thousand calls and a thousand dropped arenas leak less than 16 MB', {
  timeout: 120000,
}, () => {
  const printed = inFreshNode(
    `import { setTimeout } from 'node:timers/promises';
    import { Arena, batchNormalization } from 'batchnorm';
    const resident = async () => {
      let least = Infinity;
      for (let k = 0; k < 10; k++) { gc(); await setTimeout(20); least = Math.min(least, process.memoryUsage.rss()); }
      return least / 2 ** 20;
    };
    const arena = new Arena(1 << 20);
    const X = arena.tensor([4, 3, 8, 8]);
    const out = arena.tensor(X.shape);
    const calls = (n) => { for (let k = 0; k < n; k++) batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out }); };
    const arenas = async (n) => {
      for (let k = 0; k < n; k++) {
        const x = new Arena(1 << 20).tensor([2, 3, 100, 100]);
        x.data.fill(k);
        batchNormalization(x, null, null, null, null, 0.9, 1e-5, true, { out: x });
        if (k % 50 === 0) await setTimeout(0);
      }
    };
    calls(2000);
    await arenas(20);
    const before = await resident();
    calls(1e5);
    const between = await resident();
    await arenas(1000);
    console.log(between - before, (await resident()) - between);`,
    '--expose-gc',
  );
  const [calls, arenas] = printed.split(' ').map(Number);
  assert.ok(calls < 16 && arenas < 16, `${calls} MB after the calls, ${arenas} MB after the arenas`);
});
