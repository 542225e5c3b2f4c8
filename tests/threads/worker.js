/* A worker of the package that counts its kernel calls, and that can be made to end, or to stand still, in the midst of its work. Its
 * workerData is an Int32Array in shared memory: the number of its calls; the number of the call before which it ends, or 0; and 1 if it
 * must stand still after its next bn_normalize. It then sets this to 2, and goes on when it changes. */
import { workerData } from 'node:worker_threads';

const { Instance } = WebAssembly;
WebAssembly.Instance = class {
  constructor(...args) {
    const functions = Object.entries(new Instance(...args).exports).map(([name, run]) => [
      name,
      (...numbers) => {
        if (Atomics.add(workerData, 0, 1) + 1 === Atomics.load(workerData, 1)) process.exit();
        run(...numbers);
        if (name === 'bn_normalize' && Atomics.compareExchange(workerData, 2, 1, 2) === 1) Atomics.wait(workerData, 2, 2);
      },
    ]);
    this.exports = Object.fromEntries(functions);
  }
};

await import('../../js/threads-worker.js');
