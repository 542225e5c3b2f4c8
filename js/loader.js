/* Makes kernels from the binary: the package's own, on demand, and those of the memories that tensors are in. Compiles the binary
 * once. If that fails, remembers the reason. */

import { normalizeBy } from './forward.js';
import { binary, contract } from './forward-binary.js';
import { Kernel } from './kernel.js';
import { describe, fail } from './tensor.js';

/** Bytes per page of a WebAssembly memory. */
const WASM_PAGE = 1 << 16;
/** The first byte that is used. It is not byte 0, whose address is C's null pointer. */
export const BEGIN = 64;
/** Bytes of the package's own memory, all of it work area. */
const OWN = 8 << 20;
/** The least number of bytes of the work area after an arena's tensors. */
const ARENA_WORK = 2 << 20;

const key = Symbol.for(`batchnorm ${contract}`);
const found = /** @type {any} */ (globalThis)[key];
/**
 * Shared by all copies of this version in a program, which may be loaded by import and again by require: the compiled modules by
 * their text, first those for memory that is not shared; the package's own kernel or the reason why there is none, and the kernels of other memories by their buffers.
 * @type {{ modules: Record<string, WebAssembly.Module>[], noGradient?: boolean, own?: Kernel, refusal?: unknown, homes: WeakMap<ArrayBufferLike, Kernel> }}
 */
const shared = found?.homes instanceof WeakMap ? found : { modules: [{}, {}], homes: new WeakMap() };
// Unlike an assignment, this does not throw if the global object is frozen.
Reflect.set(globalThis, key, shared);

/** Decodes a binary. @param {string} text */
function decode(text) {
  const bytes = new Uint8Array(text.length);
  let size = 0;
  for (let i = 0; i < text.length; ) {
    let code = text.charCodeAt(i++);
    if (code < 35) code = 86 * (code - 31) + text.charCodeAt(i++);
    bytes[size++] = code - 40;
  }
  return bytes.subarray(0, size);
}

/** Changes a binary so that it imports shared memory. @param {Uint8Array} bytes */
function forSharedMemory(bytes) {
  // The import section follows the type section. Its last 2 of 17 bytes are the memory's flags and minimum. Shared memory has flags
  // 3 and also a maximum, here the largest there is.
  const section = 10 + bytes[9];
  const changed = [...bytes];
  changed[section + 1] += 3;
  changed.splice(section + 15, 2, 3, 1, 0x80, 0x80, 4);
  return Uint8Array.from(changed);
}

/** The module of a binary. @param {string} text @param {number} forShared 1: for memory that is shared; 0: for memory that is not */
export const moduleOf = (text, forShared) =>
  (shared.modules[forShared][text] ??= new WebAssembly.Module(forShared ? forSharedMemory(decode(text)) : decode(text)));

/** @param {WebAssembly.Module} module @param {WebAssembly.Memory} memory @returns {any} its functions */
export const functionsOf = (module, memory) => new WebAssembly.Instance(module, { env: { memory } }).exports;

/** The functions of a binary, for a memory of any kind. @param {string} text @param {WebAssembly.Memory} memory */
const functionsIn = (text, memory) =>
  // Not instanceof: in Jest, a memory's buffer is no instance of ArrayBuffer, and a memory may come from another realm.
  functionsOf(moduleOf(text, Number(`${memory.buffer}` === '[object SharedArrayBuffer]')), memory);

/** A memory of at least so many bytes. @param {number} bytes @param {boolean} [isShared] */
export function makeMemory(bytes, isShared) {
  const pages = Math.ceil(bytes / WASM_PAGE);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: isShared });
}

/** A kernel with a new memory of at least `bytes`. @param {number} bytes @param {number} begin the work area's first byte */
function makeKernel(bytes, begin) {
  const memory = makeMemory(bytes);
  return new Kernel(functionsOf(moduleOf(binary, 0), memory), memory, begin, memory.buffer.byteLength);
}

/** Makes calls use a kernel for the tensors in its memory. @param {Kernel} kernel */
export function settle(kernel) {
  shared.homes.set(kernel.buffer, kernel);
  return kernel;
}

/** The functions of the forward call, for a memory of any kind. @param {WebAssembly.Memory} memory */
export const forwardIn = (memory) => functionsIn(binary, memory);

/** Whether the stack overflowed, which says nothing about the engine. @param {unknown} reason */
export const isOverflow = (reason) =>
  // Not a regular expression with alternatives: at the end of the stack, Node 20 ends the program when it compiles one.
  `${reason}`.includes('stack') || `${reason}`.includes('recursion');

/**
 * Adds the gradient's functions to a kernel; they have a binary of their own. Returns undefined if they are unavailable.
 * @param {Kernel | undefined} kernel @param {string} text the binary's
 */
export function extend(kernel, text) {
  // A module that was given to initialize has all functions.
  if (kernel && !kernel.functions.bn_mask)
    try {
      if (shared.noGradient) return undefined;
      kernel.functions = { ...kernel.functions, ...functionsIn(text, kernel.memory) };
    } catch (reason) {
      shared.noGradient = !isOverflow(reason);
      return undefined;
    }
  return kernel;
}

/** The reason why load() last failed. Unlike `refusal`, this can be a stack overflow. @type {unknown} */
let failure;

/** The package's own kernel, if it is available. Tries once, because each attempt may cost more than a call in JavaScript.
 * @returns {Kernel | undefined} */
export function load() {
  if (shared.own === undefined && shared.refusal === undefined)
    try {
      const kernel = makeKernel(OWN, BEGIN);
      if (!agrees(kernel)) throw new Error('the results are wrong on this engine');
      shared.own = kernel;
    } catch (reason) {
      failure = reason;
      if (!isOverflow(reason)) shared.refusal = reason ?? null;
    }
  return shared.own;
}

/**
 * Whether a kernel gives the known results of a small problem in each layout. They are exact in float32. A kernel that gives
 * others is not used. The second channel's outputs are subnormal, because the vector instructions of 32-bit Arm turn such numbers
 * into 0.
 * @param {Kernel} kernel
 */
function agrees(kernel) {
  return [64, 2].every((spatial) => {
    const x = Float32Array.from({ length: 4 * spatial }, (_, i) => (i % 2 ? 0.875 : 0.375));
    const out = x.slice();
    const gamma = [1, 2 ** -126];
    const problem = { x, batch: 2, channels: 2, spatial, gamma, epsilon: 0.9375, training: true, relu: false };
    normalizeBy(kernel, /** @type {any} */ (problem), out);
    return out.every((y, i) => y === (x[i] - 0.625) * gamma[Math.floor(i / spatial) % 2]);
  });
}

/** The kernel to use on these arrays: that of the first array that is in an arena, or else the package's own.
 * @param {(Float32Array | null)[]} arrays */
export function kernelFor(...arrays) {
  for (const array of arrays) {
    const kernel = array && shared.homes.get(array.buffer);
    if (kernel) return kernel;
  }
  return load();
}

/** Memory for tensors, up to byte `end`, with a kernel of its own if WebAssembly is available. @param {number} end
 * @returns {ArrayBuffer} */
export function makeHome(end) {
  load();
  // A stack overflow in load() is no refusal: this arena may still get a kernel.
  if (shared.refusal !== undefined) return new ArrayBuffer(end);
  return settle(makeKernel(end + ARENA_WORK, end)).buffer;
}

/** Makes load() use this module instead of the embedded binary. @param {WebAssembly.Module} module */
export function useModule(module) {
  let section;
  try {
    [section] = WebAssembly.Module.customSections(module, 'batchnorm');
  } catch {
    // It is not a module.
  }
  const stamp = section ? String.fromCharCode(...new Uint8Array(section)) : '';
  if (stamp !== contract)
    fail(
      TypeError,
      'initialize: module',
      "be a WebAssembly.Module of this version's batchnorm/batchnorm.wasm",
      stamp ? 'one of another version' : describe(module),
    );
  if (shared.own) throw new Error('initialize: module must be given before the kernel is compiled');
  shared.modules[0][binary] = module;
}

/** Tries again, with this module if one is given. @param {WebAssembly.Module | undefined} module */
export function reload(module) {
  if (module !== undefined) useModule(module);
  shared.refusal = undefined;
  shared.noGradient = false;
  if (!load() && module !== undefined) {
    delete shared.modules[0][binary];
    throw new Error('initialize: module could not be instantiated', /** @type {any} */ ({ cause: failure }));
  }
}
