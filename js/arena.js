/* Memory for the user's tensors, so that calls need not copy them. */

import { BEGIN, isOverflow, makeHome } from './loader.js';
import { describeShape, fail, isSize, rejectNumber, shapeOf, sizeOf } from './tensor.js';

/** @import { NewArray, Sizes, Tensor } from './index.js' */

/** Rounds up to whole cache lines of 64 bytes, so that each tensor begins with one. @param {number} bytes */
export const lines = (bytes) => 64 * Math.ceil(bytes / 64);

/**
 * Memory for tensors that `batchNormalization` and its gradient use without copying them. Its size is fixed, because memory that
 * grows detaches all its arrays. Tensors cannot be freed one by one: `reset` frees all of them. The memory itself is freed once
 * neither the arena nor any of its tensors is reachable. An arena takes 2 MB in addition to its tensors, so make one rather than
 * many. If WebAssembly is unavailable, an arena is ordinary memory and works the same way.
 *
 * @template {Float32Array} [Data=NewArray]
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
   * @throws {TypeError} if bytes is not a number
   * @throws {RangeError} if it is not a positive integer, or if that much memory is not available
   */
  constructor(bytes) {
    if (!(isSize(bytes) && bytes > 0)) rejectNumber('Arena: bytes', bytes, 'be a positive integer');
    this.#end = BEGIN + lines(bytes);
    // The arenas of threads make their memory in another way.
    const { makeHome: make = makeHome } = /** @type {any} */ (new.target);
    try {
      this.#buffer = make(this.#end);
    } catch (reason) {
      if (isOverflow(reason)) throw reason;
      rejectNumber('Arena: bytes', bytes, 'fit in the available memory');
    }
  }

  /** Room for tensors, in bytes. @returns {number} */
  get byteLength() {
    return this.#end - BEGIN;
  }

  /** Free room, in bytes. @returns {number} */
  get bytesFree() {
    return this.#end - this.#next;
  }

  /**
   * A new tensor of zeros. It takes a multiple of 64 bytes.
   * @param {Sizes} shape
   * @returns {Tensor<Data>}
   * @throws {TypeError} if shape is not an array
   * @throws {RangeError} if it is not up to 8 non-negative integers, or if the tensor does not fit
   */
  tensor(shape) {
    const sizes = shapeOf('Arena: shape', shape);
    const length = sizeOf(sizes);
    const bytes = lines(4 * length);
    if (bytes > this.bytesFree)
      fail(
        RangeError,
        'Arena: shape',
        `fit in the ${this.bytesFree} free bytes`,
        `${describeShape(sizes)}, which takes ${bytes} bytes`,
      );
    const data = new Float32Array(this.#buffer, this.#next, length).fill(0);
    this.#next += bytes;
    return { data: /** @type {any} */ (data), shape: sizes };
  }

  /** Frees all tensors. New tensors will reuse their memory: do not use the old ones any more, since their values will change. */
  reset() {
    this.#next = BEGIN;
  }
}
