/* Memory for the user's tensors, which are computed where they lie. */

import { BEGIN, isOverflow, makeHome } from './loader.js';
import { describe, describeShape, errorOf, fail, isSize, listOf, sizeOf } from './tensor.js';

/** @import { NewArray, Sizes, Tensor } from './index.js' */

/** Bytes in whole cache lines of 64, with which tensors begin and end. @param {number} bytes */
const lines = (bytes) => 64 * Math.ceil(bytes / 64);

/**
 * Memory for tensors that `batchNormalization` and its gradient work on where they lie, without copying them. Its size is fixed, since memory
 * that grows detaches all its arrays, and single tensors are not given back: `reset` gives back all of them. The memory is
 * freed when neither the arena nor a tensor of it is reachable. It takes 2 MB more than its tensors, so make one, not many. If
 * WebAssembly is unavailable, an arena is plain memory, and everything works alike.
 *
 * @example
 * const arena = new Arena(1024);
 * const X = arena.tensor([2, 3, 4, 5]);
 * X.data.fill(1);
 * const Y = arena.tensor(X.shape);
 * batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out: Y }); // nothing is copied
 */
export class Arena {
  #buffer;
  #next = BEGIN;
  #end;

  /**
   * @param {number} bytes room for tensors, rounded up to a multiple of 64
   * @throws {TypeError} if bytes is no number
   * @throws {RangeError} if it is no positive integer, or more than there is memory for
   */
  constructor(bytes) {
    if (!(isSize(bytes) && bytes > 0)) fail(errorOf(bytes), 'Arena: bytes', 'be a positive integer', describe(bytes));
    this.#end = BEGIN + lines(bytes);
    try {
      this.#buffer = makeHome(this.#end);
    } catch (reason) {
      if (isOverflow(reason)) throw reason;
      fail(RangeError, 'Arena: bytes', 'be available as memory', describe(bytes));
    }
  }

  /** Room for tensors, in bytes. @returns {number} */
  get byteLength() {
    return this.#end - BEGIN;
  }

  /** Room that is left, in bytes. @returns {number} */
  get bytesFree() {
    return this.#end - this.#next;
  }

  /**
   * A new tensor of zeros. It takes a multiple of 64 bytes.
   * @param {Sizes} shape
   * @returns {Tensor<NewArray>}
   * @throws {TypeError} if shape is no array
   * @throws {RangeError} if it holds anything but up to 8 non-negative integers, or does not fit
   */
  tensor(shape) {
    const sizes = listOf(shape);
    if (!Array.isArray(sizes)) fail(TypeError, 'Arena: shape', 'be an array', describe(sizes));
    if (!(sizes.length < 9 && sizes.every(isSize)))
      fail(RangeError, 'Arena: shape', 'be up to 8 non-negative integers', describeShape(sizes));
    const length = sizeOf(sizes);
    const bytes = lines(4 * length);
    if (bytes > this.bytesFree)
      fail(RangeError, 'Arena: shape', `fit in ${this.bytesFree} free bytes`, `${describeShape(sizes)}, ${bytes} bytes`);
    const data = new Float32Array(this.#buffer, this.#next, length).fill(0);
    // −0 is 0.
    const tensor = { data, shape: sizes.map((size) => size + 0) };
    this.#next += bytes;
    return tensor;
  }

  /** Forgets all tensors. Their memory goes to new ones: do not use them any more, since their values will change. */
  reset() {
    this.#next = BEGIN;
  }
}
