/* A worker of `batchnorm/threads`. Between messages it takes part in jobs. */

import { Block, lostOf, MESSAGES, STARTED, stateOf, WAKE } from './block.js';
import { Kernel } from './kernel.js';

/** @type {any} */
const scope = globalThis;
/** Where messages come from: in Node, a port; in a browser, the worker's global object. */
const port = scope.process?.getBuiltinModule?.('node:worker_threads')?.parentPort ?? scope;

/** @type {Block} */
let block;
/** This worker's number. @type {number} */
let k;
/** The kernels' functions, for a memory. @type {WebAssembly.Module[]} */
let modules;
let received = 0;
/** By the numbers of their memories. @type {Map<number, Kernel>} */
const kernels = new Map();

/** @type {Record<string, (message: any) => void>} */
const receive = {
  start(message) {
    block = new Block(message.buffer);
    ({ k, modules } = message);
    port.postMessage(STARTED);
  },
  add({ number, memory, begin, size }) {
    /** @type {import('./kernel.js').Functions} */
    const functions = {};
    // With each step of the work, the state changes.
    for (const module of modules)
      for (const [name, run] of Object.entries(new WebAssembly.Instance(module, { env: { memory } }).exports))
        functions[name] = (...numbers) => {
          Atomics.add(block.words, stateOf(k), 1);
          check();
          /** @type {any} */ (run)(...numbers);
          check();
        };
    kernels.set(number, new Kernel(functions, memory, begin + k * size, begin + (k + 1) * size));
  },
  remove({ memory }) {
    kernels.delete(memory);
    try {
      // A worker that sleeps most of the time hardly ever collects garbage. To allocate this much, which takes no memory unless
      // it is used, makes it collect.
      new ArrayBuffer(1 << 26);
    } catch {
      // It will collect later.
    }
  },
};

/** If the calling thread has given this worker up, the memory of tensors and results may be in use for something else. */
function check() {
  if (Atomics.load(block.words, lostOf(k)) !== 0) throw new Error('batchnorm/threads: this worker was given up');
}

port.onmessage = (/** @type {{ data: any }} */ { data }) => {
  receive[data.what](data);
  // Not counted here: a call of `arena` that was cut off may have counted a message that it did not send.
  received = data.count;
  serve();
};

/** Whether this worker has received all messages, and was not lost. */
const goesOn = () => Atomics.load(block.words, MESSAGES) === received && Atomics.load(block.words, lostOf(k)) === 0;

/** Takes part in jobs until there is a message to receive, which is impossible as long as this function runs. */
function serve() {
  const { words } = block;
  const state = stateOf(k);
  for (;;) {
    const wake = Atomics.load(words, WAKE);
    Atomics.store(words, state, 1);
    block.work(k, (number) => /** @type {Kernel} */ (kernels.get(number)), goesOn);
    Atomics.store(words, state, 0);
    if (!goesOn()) return;
    block.wait(WAKE, wake, Number.POSITIVE_INFINITY);
  }
}
