/* Tensors in the memory of another WebAssembly program: they are computed where they lie, with the same bits as elsewhere, and nothing
 * but `out` and the work area is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attach, batchNormalization, batchNormalizationGradient, moments } from '../js/index.js';
import { normalTensor, parametersFor, sizeOf } from './data.js';
import { assertSameBits, countCopies, inFreshNode } from './helpers.js';

const PAGE = 2 ** 16;
const KINDS = {
  'that may grow without end': { initial: 64 },
  'with a maximum': { initial: 64, maximum: 100 },
  'of a fixed size': { initial: 64, maximum: 64 },
  'that is shared': { initial: 64, maximum: 100, shared: true },
};
const [BEGIN, END] = [2 ** 20 + 16, 2 ** 21 - 8];

/** A memory full of a pattern, and tensors in it. */
function heapOf(kind) {
  const memory = new WebAssembly.Memory(KINDS[kind]);
  new Uint8Array(memory.buffer).fill(0xa5);
  const heap = attach(memory, BEGIN, END);
  let next = 12;
  const place = ({ data, shape }) => {
    if (next < END && next + 4 * data.length + 64 > BEGIN) next = END + 4;
    const tensor = heap.tensor(shape, next);
    tensor.data.set(data);
    // A gap, so that writing beyond a tensor is found.
    next += 4 * data.length + 20;
    return tensor;
  };
  return { memory, heap, place };
}

// Those that need the most memory at a time: the longest blocks, of narrow rows and of wide ones, and long slabs.
for (const shape of [
  [16384, 16, 1, 1],
  [600, 5, 31, 1],
  [1, 2, 256, 257],
])
  test(`${shape}: the least work area suffices, and nothing else is written`, () => {
    const memory = new WebAssembly.Memory({ initial: 64 });
    const [begin, end] = [2 ** 21, 2 ** 21 + 2 ** 18];
    const heap = attach(memory, begin, end);
    const [X, gradOutput] = [normalTensor(shape, 1, 3), normalTensor(shape, 2)];
    const { gamma, beta } = parametersFor(shape[1]);
    const options = { gamma, beta, relu: true };
    const expected = batchNormalizationGradient(gradOutput, X, options);
    // Results elsewhere are copied through the work area, and so is one of the arguments.
    const x = heap.tensor(shape, 64);
    x.data.set(X.data);
    const before = Buffer.from(memory.buffer.slice());
    batchNormalizationGradient(gradOutput, x, options).forEach(({ data }, k) => {
      assertSameBits(data, expected[k].data);
    });
    const after = Buffer.from(memory.buffer);
    assert.ok(before.subarray(0, begin).equals(after.subarray(0, begin)));
    assert.ok(before.subarray(end).equals(after.subarray(end)));
  });

for (const kind of Object.keys(KINDS))
  for (const shape of [
    [2, 3, 4, 8],
    [3, 5, 41, 43],
    [1, 2, 100, 130],
    [300, 40, 1, 1],
    [40, 33, 5, 5],
  ])
    test(`${shape}, in a memory ${kind}: the bits of a call by copies, and nothing else is written`, () => {
      const { memory, place } = heapOf(kind);
      const X = normalTensor(shape, 1, 3);
      const gradOutput = normalTensor(shape, 2);
      const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
      const [x, g, out] = [X, gradOutput, X].map(place);
      const outside = new Uint8Array(memory.buffer.slice());
      for (const [name, run] of Object.entries({
        training: (X, _, out) => batchNormalization(X, gamma, beta, runningMean, runningVar, 0.9, 1e-5, true, { out }),
        inference: (X, _, out) =>
          batchNormalization(X, gamma, beta, runningMean, runningVar, 0.9, 1e-5, false, { out, relu: true }),
        moments: (X) => Object.values(moments(X)).slice(1),
        gradient: (X, g, out) => batchNormalizationGradient(g, X, { gamma, out }),
        'gradient with relu': (X, g, out) => batchNormalizationGradient(g, X, { gamma, beta, relu: true, out }),
      })) {
        const expected = run(X, gradOutput, { data: new Float32Array(sizeOf(shape)), shape });
        let actual;
        assert.equal(
          countCopies(() => {
            actual = run(x, g, out);
          }),
          0,
          name,
        );
        for (const [k, result] of expected.entries())
          assertSameBits((actual[k].data ?? actual[k]).slice(), result.data ?? result, `${name}, result ${k}`);
      }
      const now = new Uint8Array(memory.buffer);
      const first = out.data.byteOffset;
      for (const bytes of [now, outside]) {
        bytes.fill(0, BEGIN, END);
        bytes.fill(0, first, first + out.data.byteLength);
      }
      assert.ok(Buffer.from(now.buffer.slice()).equals(Buffer.from(outside.buffer)));
    });

for (const kind of ['that may grow without end', 'with a maximum', 'that is shared'])
  test(`a memory ${kind} grows: tensors that are made again are computed where they lie`, () => {
    const { memory, heap } = heapOf(kind);
    const X = normalTensor([2, 3, 16, 16], 1, 3);
    const expected = batchNormalization(X, null, null);
    const expectedGradient = batchNormalizationGradient(X, X);
    for (let round = 0; round < 3; round++) {
      const x = heap.tensor(X.shape, 64);
      const g = heap.tensor(X.shape, 2 ** 15);
      x.data.set(X.data);
      g.data.set(X.data);
      const run = () => {
        const [gradInput] = batchNormalizationGradient(g, x, { out: g });
        assertSameBits(gradInput.data.slice(), expectedGradient[0].data);
        assertSameBits(
          batchNormalization(x, null, null, null, null, 0.1, 1e-5, true, { out: x })[0].data.slice(),
          expected[0].data,
        );
      };
      assert.equal(countCopies(run), 0);
      memory.grow(1);
      if (kind !== 'that is shared') assert.throws(() => batchNormalization(x, null, null), TypeError);
    }
    const last = heap.tensor([PAGE / 4], memory.buffer.byteLength - PAGE);
    assert.equal(last.data.length, PAGE / 4);
  });

test('a later work area replaces an earlier one', () => {
  const memory = new WebAssembly.Memory({ initial: 64 });
  const bytes = new Uint8Array(memory.buffer);
  const first = attach(memory, 2 ** 20, 2 ** 21);
  const X = first.tensor([2, 3, 16, 16], 64);
  X.data.set(normalTensor(X.shape).data);
  attach(memory, 2 ** 21, 2 ** 22);
  bytes.fill(0xa5, 2 ** 20, 2 ** 21);
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
  assert.ok(bytes.subarray(2 ** 20, 2 ** 21).every((byte) => byte === 0xa5));
});

test('after growth, too, the latest work area is used, whichever object makes the tensors', () => {
  const memory = new WebAssembly.Memory({ initial: 64 });
  const first = attach(memory, 2 ** 20, 2 ** 21);
  attach(memory, 2 ** 21, 2 ** 22);
  memory.grow(1);
  const bytes = new Uint8Array(memory.buffer);
  bytes.fill(0xa5, 2 ** 20, 2 ** 21);
  const X = first.tensor([2, 3, 16, 16], 64);
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
  assert.ok(bytes.subarray(2 ** 20, 2 ** 21).every((byte) => byte === 0xa5));
  assert.throws(() => first.tensor([4], 2 ** 21), RangeError);
  assert.equal(first.tensor([4], 2 ** 20).data.length, 4);
});

test('where WebAssembly cannot be used, tensors are computed in plain JavaScript', () => {
  const code = `
    const memory = new WebAssembly.Memory({ initial: 16 });
    WebAssembly.Module = class { constructor() { throw new Error('blocked'); } };
    const { attach, backend, batchNormalization } = await import('batchnorm');
    const X = attach(memory, 2 ** 18, 2 ** 20).tensor([2, 2, 8, 8], 64);
    for (const i of X.data.keys()) X.data[i] = i % 7;
    const [output] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
    console.log(backend(), output === X, X.data.some((value) => value < 0));`;
  assert.equal(inFreshNode(code), 'js true true');
});

const memory = new WebAssembly.Memory({ initial: 16 });
const size = 16 * PAGE;
const heap = attach(memory, 2 ** 18, 2 ** 19);
for (const [name, run, ErrorType, message] of [
  ['no memory', () => attach(), TypeError, 'memory must be a WebAssembly.Memory; got undefined'],
  ['a buffer', () => attach(memory.buffer, 0, 2 ** 19), TypeError, 'memory must be a WebAssembly.Memory; got an object'],
  [
    'another object with a buffer',
    () => attach(new Float32Array(2 ** 20), 0, 2 ** 19),
    TypeError,
    'memory must be a WebAssembly.Memory; got a Float32Array of length 1048576',
  ],
  ['a negative begin', () => attach(memory, -64, 2 ** 19), RangeError, `begin must be an integer from 0 to ${size}; got -64`],
  ['half a byte', () => attach(memory, 0.5, 2 ** 19), RangeError, `begin must be an integer from 0 to ${size}; got 0.5`],
  ['begin as text', () => attach(memory, '64', 2 ** 19), TypeError, `begin must be an integer from 0 to ${size}; got "64"`],
  ['no end', () => attach(memory, 64), TypeError, `end must be an integer from 0 to ${size}; got undefined`],
  ['an end outside', () => attach(memory, 64, size + 1), RangeError, `end must be an integer from 0 to ${size}; got ${size + 1}`],
  [
    'too small a work area',
    () => attach(memory, 64, 2 ** 18),
    RangeError,
    'end must be at least begin + 262144; got begin 64 and end 262144',
  ],
  ['a shape as a number', () => heap.tensor(3, 64), TypeError, 'shape must be an array of up to 8 non-negative integers; got 3'],
  [
    'a negative size',
    () => heap.tensor([-1], 64),
    RangeError,
    'shape must be an array of up to 8 non-negative integers; got [-1]',
  ],
  ['no offset', () => heap.tensor([3]), TypeError, 'byteOffset must be a non-negative multiple of 4; got undefined'],
  ['an odd offset', () => heap.tensor([3], 66), RangeError, 'byteOffset must be a non-negative multiple of 4; got 66'],
  ['a negative offset', () => heap.tensor([3], -4), RangeError, 'byteOffset must be a non-negative multiple of 4; got -4'],
  [
    'beyond the memory',
    () => heap.tensor([3], size - 8),
    RangeError,
    `byteOffset must leave room for [3] in ${size} bytes; got ${size - 8}`,
  ],
  [
    '2⁶⁴ values',
    () => heap.tensor([2 ** 32, 2 ** 32], 0),
    RangeError,
    `byteOffset must leave room for [4294967296, 4294967296] in ${size} bytes; got 0`,
  ],
  [
    'into the work area',
    () => heap.tensor([4], 2 ** 18 - 12),
    RangeError,
    'byteOffset must keep [4] out of the work area, from 262144 to 524288; got 262132',
  ],
  [
    'out of the work area',
    () => heap.tensor([4], 2 ** 19 - 4),
    RangeError,
    'byteOffset must keep [4] out of the work area, from 262144 to 524288; got 524284',
  ],
  [
    'around the work area',
    () => heap.tensor([2 ** 17], 2 ** 17),
    RangeError,
    'byteOffset must keep [131072] out of the work area, from 262144 to 524288; got 131072',
  ],
])
  test(`bad input: ${name}`, () => {
    assert.throws(run, (error) => {
      assert.equal(error.message, `attach: ${message}`);
      assert.equal(error.constructor, ErrorType);
      return true;
    });
  });

test('tensors may touch the work area and the end of the memory', () => {
  assert.equal(heap.tensor([4], 2 ** 18 - 16).data.length, 4);
  assert.equal(heap.tensor([4], 2 ** 19).data.length, 4);
  assert.equal(heap.tensor([4], size - 16).data.length, 4);
  assert.equal(heap.tensor([0], size).data.length, 0);
});
