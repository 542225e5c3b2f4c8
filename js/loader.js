/* The binary → kernels, each over a memory: the package's own, compiled on demand, and those of arenas. Compiles once, and
 * remembers why it could not. */

import { Kernel } from './kernel.js';
import { binary, contract } from './kernel-binary.js';
import { describe, fail } from './tensor.js';

/** Bytes of a page of WebAssembly's memories. */
const PAGE = 1 << 16;
/** Bytes of the package's own memory, all of it work area. */
const OWN = 8 << 20;
/** Bytes of the work area before an arena's tensors. */
const ARENA_WORK = 2 << 20;

const key = Symbol.for(`batchnorm ${contract}`);
/**
 * What all copies of this version share that a program loads, as by import and by require: the compiled module, the package's
 * own kernel or why there is none, and the kernels by their memories.
 * @type {{ module?: WebAssembly.Module, own?: Kernel, refusal?: unknown, homes: WeakMap<ArrayBufferLike, Kernel> }}
 */
const shared = /** @type {any} */ (globalThis)[key] ?? { homes: new WeakMap() };
// Unlike an assignment, this does not throw if the global object is frozen.
Reflect.set(globalThis, key, shared);

/** @returns {WebAssembly.Module} */
function compile() {
  const bytes = new Uint8Array(binary.length);
  let size = 0;
  for (let i = 0; i < binary.length; ) {
    let code = binary.charCodeAt(i++);
    if (code < 35) code = 86 * (code - 31) + binary.charCodeAt(i++);
    bytes[size++] = code - 40;
  }
  return new WebAssembly.Module(bytes.subarray(0, size));
}

/** A kernel over a new memory. @param {number} work bytes of the work area, at least @param {number} tensors bytes after it */
function makeKernel(work, tensors) {
  const pages = Math.ceil((work + tensors) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  shared.module ??= compile();
  const { exports } = new WebAssembly.Instance(shared.module, { env: { memory } });
  return new Kernel(/** @type {any} */ (exports), memory.buffer, PAGE * pages - tensors);
}

/** The package's own kernel, unless it could not be had: each attempt may cost more than a call. @returns {Kernel | undefined} */
export function load() {
  if (shared.own === undefined && shared.refusal === undefined)
    try {
      const kernel = makeKernel(OWN, 0);
      if (!agrees(kernel)) throw new Error('wrong results');
      shared.own = kernel;
    } catch (reason) {
      // A stack that overflowed says nothing about the engine.
      if (!/stack|recursion/.test(`${reason}`)) shared.refusal = reason ?? 'unknown';
    }
  return shared.own;
}

/** Whether a kernel finds a known answer, exact in float32, in each layout: an engine on which it does not is not used. @param {Kernel} kernel */
function agrees(kernel) {
  return [64, 2].every((spatial) => {
    const x = Float32Array.from({ length: 4 * spatial }, (_, i) => (i % 2 ? 7 : 3));
    const out = new Float32Array(x.length);
    const problem = { batch: 2, channels: 2, spatial, epsilon: 0, training: true };
    kernel.run(/** @type {any} */ ({ x, ...problem }), out, null, null);
    return out.every((y, i) => 2 * y + 5 === x[i]);
  });
}

/**
 * The kernel that computes on these: that of X's memory, or of the output's, or else the package's own.
 * @param {Float32Array} x @param {Float32Array} out
 */
export const kernelFor = (x, out) => shared.homes.get(x.buffer) ?? shared.homes.get(out.buffer) ?? load();

/** Memory that ends with room for tensors, and with a kernel over it if there is one. @param {number} bytes @returns {ArrayBuffer} */
export function makeHome(bytes) {
  if (!load()) return new ArrayBuffer(bytes);
  const kernel = makeKernel(ARENA_WORK, bytes);
  shared.homes.set(kernel.buffer, kernel);
  return kernel.buffer;
}

/** Makes load() use this module instead of the embedded binary. @param {WebAssembly.Module} module */
export function useModule(module) {
  let own = '';
  try {
    const [section] = WebAssembly.Module.customSections(module, 'batchnorm');
    own = String.fromCharCode(...new Uint8Array(section));
  } catch {
    // No module at all, or one without the section.
  }
  if (own !== contract)
    fail(
      TypeError,
      'module',
      "be a WebAssembly.Module of this version's batchnorm/batchnorm.wasm",
      own ? 'another version (copy the file again)' : describe(module),
      'initialize',
    );
  if (shared.own !== undefined) throw new Error('initialize: a module must be given before one is compiled');
  shared.module = module;
}

/** Tries again, with this module if one is given. @param {WebAssembly.Module | undefined} module */
export function reload(module) {
  if (module !== undefined) useModule(module);
  shared.refusal = undefined;
  if (!load() && module !== undefined) {
    shared.module = undefined;
    throw new Error('initialize: module could not be instantiated', /** @type {any} */ ({ cause: shared.refusal }));
  }
}
