/* Tensors in the memory of another WebAssembly program. */

import { lines } from './arena.js';
import { Kernel } from './kernel.js';
import { BEGIN, forwardIn, isOverflow, load, settle } from './loader.js';
import { describe, describeShape, fail, isSize, rejectNumber, shapeOf, sizeOf } from './tensor.js';

/** @import { Attached } from './index.js' */

/** The least number of bytes of a work area. */
const LEAST = 256 << 10;

/**
 * The latest work area of each memory.
 * @type {WeakMap<object, { begin: number, end: number, kernel: Kernel | undefined }>}
 */
const areas = new WeakMap();

/** @param {import('./kernel.js').Functions} functions @param {WebAssembly.Memory} memory @param {number} begin @param {number} end */
const makeKernel = (functions, memory, begin, end) => settle(new Kernel(functions, memory, Math.max(BEGIN, lines(begin)), end));

/**
 * Makes tensors in the memory of another WebAssembly program, such as an Emscripten application or a library with a heap of its
 * own. `batchNormalization`, its gradient and `moments` compute them where they lie, without copying them.
 *
 * The calls use the bytes from `begin` to `end` as a work area, which you allocate in that program and keep allocated. They write
 * nothing else into the memory, except for `out`. 256 KB are enough; with 2 MB, long tensors are computed faster. The memory may
 * grow. That detaches all its arrays, so make the tensors again afterwards: `tensor` only makes views. If `attach` is called
 * again for the same memory, the new work area replaces the old one.
 *
 * @param {{ readonly buffer: ArrayBufferLike }} memory a WebAssembly.Memory, shared or not
 * @param {number} begin first byte of the work area
 * @param {number} end the byte after its last
 * @returns {Attached}
 * @throws {TypeError} if an argument is of the wrong kind
 * @throws {RangeError} if the work area is not in the memory, or is smaller than 256 KB
 *
 * @example
 * const memory = new WebAssembly.Memory({ initial: 8 });
 * const heap = attach(memory, 2 ** 18, 2 ** 19);
 * const X = heap.tensor([1, 2, 8, 16], 1024);
 * X.data.set(Float32Array.from({ length: 256 }, (_, i) => i));
 * batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out: X }); // in place: nothing is copied
 */
export function attach(memory, begin, end) {
  const size = memory?.buffer?.byteLength;
  if (!isSize(size)) fail(TypeError, 'attach: memory', 'be a WebAssembly.Memory', describe(memory));
  for (const [name, byte] of Object.entries({ begin, end }))
    if (!(isSize(byte) && byte <= size)) rejectNumber(`attach: ${name}`, byte, `be an integer from 0 to ${size}`);
  if (end - begin < LEAST) fail(RangeError, 'attach: end', `be at least begin + ${LEAST}`, `begin ${begin} and end ${end}`);
  const own = /** @type {WebAssembly.Memory} */ (memory);
  try {
    areas.set(memory, { begin, end, kernel: load() && makeKernel(forwardIn(own), own, begin, end) });
  } catch (reason) {
    if (isOverflow(reason)) throw reason;
    fail(TypeError, 'attach: memory', 'be a WebAssembly.Memory', describe(memory));
  }
  return {
    tensor(shape, byteOffset) {
      const sizes = shapeOf('attach: shape', shape);
      const { buffer } = memory;
      const length = sizeOf(sizes);
      const last = byteOffset + 4 * length;
      const name = 'attach: byteOffset';
      if (!(isSize(byteOffset) && byteOffset % 4 === 0)) rejectNumber(name, byteOffset, 'be a non-negative multiple of 4');
      if (last > buffer.byteLength)
        rejectNumber(name, byteOffset, `leave room for ${describeShape(sizes)} in ${buffer.byteLength} bytes`);
      // Not this call's own work area, if another one has replaced it.
      const area = /** @type {NonNullable<ReturnType<typeof areas.get>>} */ (areas.get(memory));
      if (byteOffset < area.end && last > area.begin)
        rejectNumber(name, byteOffset, `keep ${describeShape(sizes)} out of the work area, from ${area.begin} to ${area.end}`);
      if (area.kernel && area.kernel.buffer !== buffer)
        area.kernel = makeKernel(area.kernel.functions, own, area.begin, area.end);
      return { data: new Float32Array(buffer, byteOffset, length), shape: sizes };
    },
  };
}
