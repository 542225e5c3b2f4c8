/* `batchnorm/threads`: computes calls on tensors in shared memory with several threads. */

import { Arena } from './arena.js';
import { Block, CHANNELS, clock, DONE, lostOf, MESSAGES, MOST, STARTED, stateOf, WAKE } from './block.js';
import { cutOf } from './cut.js';
import { binary as forwardBinary } from './forward-binary.js';
import { binary as gradientBinary } from './gradient-binary.js';
import { Kernel } from './kernel.js';
import { functionsOf, load, makeMemory, moduleOf, settle } from './loader.js';
import { describe, fail, isSize, rejectNumber } from './tensor.js';
import { none, readOptions } from './validate.js';

/** @import { Functions } from './kernel.js' */
/** @import { GradientJob, Problem } from './validate.js' */

/** Bytes of each thread's work area in an arena. */
const WORK = 2 << 20;
/** After the work areas, there is room for what slices keep for each other (see slices.js): this fraction of the room for tensors. Slices
 * keep up to 48 bytes per block and series, and a whole block has at least 1,024 bytes of X per series. Blocks that are not whole add a
 * third at most, since parts are about equal (LARGEST in cut.js). */
const KEPT = 1 / 16;
/** If no worker starts for so many seconds, those that have not started do not have the workers' file. */
const START = 30;
/** A worker that makes no progress for so many milliseconds is lost. */
const PATIENCE = 1500;
/** The calling thread looks this often, in milliseconds. A pause of the whole program counts no more than one look. */
const LOOK = 50;

/** No value of DONE. */
const IDLE = -1;

const BINARIES = [forwardBinary, gradientBinary];

/** A module of Node; undefined in other environments. @param {string} name */
const builtin = (name) => /** @type {any} */ (globalThis).process?.getBuiltinModule?.(`node:${name}`);

/**
 * A Worker of a browser, or of node:worker_threads.
 * @typedef {{ postMessage: (message: any) => void, terminate: () => unknown }} WorkerLike
 */

/**
 * Optional settings of createThreads.
 * @typedef {object} ThreadsOptions
 * @property {string | { readonly href: string } | (() => WorkerLike) | undefined} [worker] the address (a string or a URL; in
 *   Node, a string is a path) of the workers' file, `batchnorm/threads-worker`, or a function that makes a Worker from it: for bundlers
 *   and Content-Security-Policies with which the default does not work
 */

/**
 * Several threads.
 * @typedef {object} Threads
 * @property {number} size the number of threads, including the calling thread. It is less than what was asked for where threads are
 *   unavailable, and after a worker has died.
 * @property {(bytes: number) => Arena<Float32Array>} arena makes an Arena in shared memory, with room for tensors of so many bytes.
 *   A call is computed by all threads if all its tensors are in one such arena. In addition to the tensors, it takes 2 MB per thread
 *   and a sixteenth of their size.
 *   Throws as the Arena's constructor does.
 * @property {() => Promise<void>} close ends the workers. Arenas remain usable: from then on, the calling thread computes alone.
 */

/** @param {string | URL | undefined} url @returns {any} */
function startWorker(url) {
  // Deno has both. Its own Worker would keep the program running while it is idle.
  if (typeof Worker === 'undefined' || 'Deno' in globalThis)
    // The program's flags are of no use to a worker. Some, such as --input-type, would keep it from starting.
    return new (builtin('worker_threads').Worker)(url ?? new URL('./threads-worker.js', HERE), { execArgv: [] });
  // Bundlers look for this expression, to bundle the file.
  if (url === undefined) return new Worker(new URL('./threads-worker.js', import.meta.url), { type: 'module' });
  return new Worker(url, { type: 'module' });
}

/** Kept in a constant, so that bundlers do not copy the workers' file for Node, too. */
const HERE = import.meta.url;

/** Whether this environment has threads, and lets them share memory. */
function available() {
  if (typeof SharedArrayBuffer === 'undefined' || globalThis.crossOriginIsolated === false) return false;
  // In Cloudflare's workerd, node:worker_threads has a Worker that cannot be made.
  if (globalThis.navigator?.userAgent === 'Cloudflare-Workers') return false;
  if (typeof Worker === 'undefined' && !builtin('worker_threads')) return false;
  try {
    return load() !== undefined && BINARIES.every((text) => moduleOf(text, 1));
  } catch {
    // For instance because only modules that were compiled beforehand may run: those do not accept shared memory.
    return false;
  }
}

/**
 * The calling thread and its workers.
 * @implements {Threads}
 */
class Pool {
  #block = new Block();
  /** By their numbers. @type {Map<number, any>} */
  #workers = new Map();
  /** Whether the last job was cut off. */
  #cut = false;
  #memories = 0;
  #areas;
  #unused = new FinalizationRegistry((/** @type {number} */ memory) => this.#send({ what: 'remove', memory }));

  /** @param {number} size */
  constructor(size) {
    this.#areas = size;
  }

  /** @param {string | URL | (() => any) | undefined} source */
  async start(source) {
    const modules = BINARIES.map((text) => moduleOf(text, 1));
    const { buffer, words } = this.#block;
    Atomics.store(words, MESSAGES, 1);
    /** Seconds since a worker last started. */
    let waited = 0;
    const started = Array.from({ length: this.#areas - 1 }, async (_, i) => {
      // The calling thread is number 0.
      const k = i + 1;
      const worker = typeof source === 'function' ? source() : startWorker(source);
      if (typeof worker?.postMessage !== 'function')
        fail(TypeError, 'createThreads: worker', 'return a Worker', describe(worker));
      await new Promise((resolve, reject) => {
        const on = (worker.on ?? worker.addEventListener).bind(worker);
        this.#workers.set(k, worker);
        on('message', (/** @type {any} */ message) => (message?.data ?? message) === STARTED && resolve(null));
        on('messageerror', reject);
        for (const event of ['error', 'exit'])
          on(event, (/** @type {any} */ reason) => {
            this.#lose(k);
            reject(event === 'exit' ? new Error(`it ended with exit code ${reason}`) : (reason?.error ?? reason));
          });
        worker.postMessage({ what: 'start', count: 1, buffer, k, modules });
      });
      waited = 0;
      // In Node, idle workers do not keep the program running.
      worker.unref?.();
    });
    /** @type {any} */
    let timer;
    const late = new Promise((_, reject) => {
      // Each look counts a second, however long the calling thread was busy before it.
      timer = setInterval(() => ++waited === START && reject(new Error(`it did not answer within ${START} s`)), 1000);
    });
    try {
      await Promise.race([late, Promise.all(started)]);
    } catch (cause) {
      await this.close();
      throw new Error('createThreads: a worker could not be started (see the option worker)', /** @type {any} */ ({ cause }));
    } finally {
      clearInterval(timer);
    }
  }

  get size() {
    return this.#workers.size + 1;
  }

  /** @param {number} bytes @returns {Arena<Float32Array>} */
  arena(bytes) {
    const makeHome = (/** @type {number} */ begin) => {
      const kept = begin + WORK * this.#areas;
      const memory = makeMemory(kept + KEPT * begin, true);
      const number = this.#memories++;
      /** @type {Functions} */
      const functions = Object.assign({}, ...BINARIES.map((text) => functionsOf(moduleOf(text, 1), memory)));
      const kernel = settle(new Kernel(functions, memory, begin, begin + WORK));
      // In place of Kernel's own.
      kernel.compute = (by, ...job) => {
        if (!this.#share(number, kept, kernel, ...job)) by(kernel, ...job);
      };
      this.#unused.register(kernel.buffer, number);
      this.#send({ what: 'add', number, memory, begin, size: WORK });
      return kernel.buffer;
    };
    const settled = () => this.#settle();
    return new (class extends Arena {
      static makeHome = makeHome;
      reset() {
        settled();
        super.reset();
      }
    })(bytes);
  }

  async close() {
    this.#settle();
    const workers = [...this.#workers.values()];
    this.#workers.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  /** @param {object} message */
  #send(message) {
    // Counted first. A worker that received a message before it was counted would go back to wait for another one.
    const count = Atomics.add(this.#block.words, MESSAGES, 1) + 1;
    // A call that was cut off may have left parts, which workers that are woken now must not take.
    this.#block.withdraw();
    for (const worker of this.#workers.values()) worker.postMessage({ ...message, count });
    this.#wake();
  }

  /** @param {number} [workers] how many at most; default: all */
  #wake(workers) {
    Atomics.add(this.#block.words, WAKE, 1);
    Atomics.notify(this.#block.words, WAKE, workers);
  }

  /** @param {number} k */
  #lose(k) {
    const worker = this.#workers.get(k);
    if (!worker) return;
    Atomics.store(this.#block.words, lostOf(k), 1);
    this.#workers.delete(k);
    worker.terminate();
  }

  /** A call that was cut off may have left workers busy with its tensors. Waits until they are not. */
  #settle() {
    if (!this.#cut) return;
    this.#block.withdraw();
    this.#await(IDLE);
    this.#cut = false;
  }

  /**
   * Waits for workers. Those that make no progress for a while are lost.
   * @param {number} done the value of DONE to wait for; IDLE: until all workers are idle
   * @returns {boolean} false if a worker was lost
   */
  #await(done) {
    const { words } = this.#block;
    const busy = () => [...this.#workers.keys()].filter((k) => Atomics.load(words, stateOf(k)) !== 0);
    for (let waited = 0, before = ''; ; ) {
      const now = Atomics.load(words, DONE);
      if (now === done || (done === IDLE && busy().length === 0)) return true;
      const start = clock();
      this.#block.wait(DONE, now, done === IDLE ? 1 : LOOK);
      waited += Math.min(LOOK, clock() - start);
      if (waited < LOOK) continue;

      const progress = `${[Atomics.load(words, DONE), ...busy().map((k) => Atomics.load(words, stateOf(k)))]}`;
      if (progress !== before) waited = 0;
      before = progress;
      if (waited >= PATIENCE) {
        // All of them: the one that has stopped cannot be told from one that started late.
        for (const k of busy()) this.#lose(k);
        return false;
      }
    }
  }

  /**
   * Computes a problem with several threads, or returns false.
   * @param {number} memory its number @param {number} kept see slices.js @param {Kernel} kernel
   * @param {any[]} job see Kernel.compute
   */
  #share(memory, kept, kernel, ...job) {
    /** @type {[Problem & Partial<GradientJob>, Float32Array | null, ...Float32Array[]]} */
    const [problem, out, ...sums] = /** @type {any} */ (job);
    const { x, gradOutput = null } = problem;
    this.#settle();
    // The sums of parts of a batch are not passed to workers, and the block has no room for more channels.
    if (problem.sums || problem.channels > CHANNELS) return false;
    // Workers do not see other memory.
    const elsewhere = (/** @type {Float32Array | null} */ array) => array && array.buffer !== kernel.buffer;
    if (elsewhere(x) || elsewhere(gradOutput) || elsewhere(out)) return false;
    const cut = cutOf(problem, this.size);
    if (!cut) return false;
    const block = this.#block;
    block.write(memory, kept, cut, problem, out);
    this.#cut = true;
    try {
      for (const stage of cut.stages) {
        const done = block.offer(cut, stage);
        this.#wake(cut.queues - 1);
        block.work(0, () => kernel);
        if (!this.#await(done))
          throw new Error(
            `batchnorm/threads: a worker stopped during the call, so the results are incomplete (threads left: ${this.size})`,
          );
      }
    } catch (reason) {
      this.#settle();
      throw reason;
    }
    this.#cut = false;
    block.read(problem, sums);
    return true;
  }
}

/**
 * Creates threads that share the work of calls. A call is shared if all its tensors are in one arena of these threads. It stays
 * synchronous, and its results have the same bits with any number of threads. The calling thread computes a part of its own.
 * Where sharing would cost more than it saves, the calling thread computes alone: for fewer than 16,384 values (in inference,
 * 98,304; in training and in gradients with short rows or a single channel, 65,536).
 *
 * Threads need memory that they can share. In a browser, the page must be cross-origin isolated. Where that is not so, and where
 * threads or WebAssembly are unavailable, `size` is 1, and everything works the same way on one thread.
 *
 * If a worker dies during a call, the call throws an Error within about two seconds, and `out` may be half written. The next call
 * uses the threads that are left. In Node, idle workers do not keep the program running.
 *
 * @param {number} [size] how many threads, including the calling thread; default: as many as the machine has cores
 * @param {ThreadsOptions} [options] default {}
 * @returns {Promise<Threads>}
 * @throws {TypeError} if an argument is of the wrong kind, or an option is unknown
 * @throws {RangeError} if size is not an integer from 1 to 256
 * @throws {Error} if a worker cannot be started, with the reason as `cause`
 *
 * @example
 * const threads = await createThreads(2);
 * const arena = threads.arena(2 ** 20);
 * const X = arena.tensor([4, 8, 32, 32]);
 * X.data.fill(1);
 * batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out: X }); // on two threads
 * await threads.close();
 */
export async function createThreads(size, options = {}) {
  const { worker } = readOptions('createThreads: options', options, none('worker'));
  const cores = builtin('os')?.availableParallelism() ?? globalThis.navigator?.hardwareConcurrency ?? 1;
  const wanted = size === undefined ? Math.min(cores, MOST) : size;
  if (!(isSize(wanted) && wanted > 0 && wanted <= MOST))
    rejectNumber('createThreads: size', size, `be an integer from 1 to ${MOST}`);
  const { href } = Object(worker);
  if (!(worker === undefined || typeof worker === 'string' || typeof worker === 'function' || typeof href === 'string'))
    fail(TypeError, 'createThreads: worker', 'be a URL or a function that makes a Worker', describe(worker));
  // Where threads are unavailable, so may be what a Pool is made of.
  if (wanted === 1 || !available()) return { size: 1, arena: (bytes) => new Arena(bytes), close: async () => {} };
  const threads = new Pool(wanted);
  await threads.start(typeof href === 'string' ? new URL(href) : /** @type {any} */ (worker));
  return threads;
}
