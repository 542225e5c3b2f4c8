/* A worker of the package that counts its kernel calls, and that can be made to end in the midst of its work. Its workerData is an
 * Int32Array in shared memory: the number of its calls, and the number of the call before which it ends, or 0. */
import { workerData } from 'node:worker_threads';

const { Instance } = WebAssembly;
WebAssembly.Instance = class {
  constructor(...args) {
    const functions = Object.entries(new Instance(...args).exports).map(([name, run]) => [
      name,
      (...numbers) => {
        if (Atomics.add(workerData, 0, 1) + 1 === Atomics.load(workerData, 1)) process.exit();
        run(...numbers);
      },
    ]);
    this.exports = Object.fromEntries(functions);
  }
};

await import('../../js/threads-worker.js');
