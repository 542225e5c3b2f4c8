/* Worker threads that exchange small values in rounds. */
import { once } from 'node:events';
import { parentPort, Worker } from 'node:worker_threads';

/** In a worker: gives a value to all workers. Resolves to the values of all, in the order of the workers. */
export async function exchange(value) {
  parentPort.postMessage({ value });
  const [values] = await once(parentPort, 'message');
  return values;
}

/** In a worker: ends its part with a result. */
export const finish = (result) => parentPort.postMessage({ result });

/**
 * Starts a worker of `file` for each input, which is its workerData, and passes on what they exchange. Resolves to their results. All
 * must call exchange equally often. If one of them fails, so does this.
 */
export async function run(file, inputs) {
  const workers = inputs.map((workerData) => new Worker(file, { workerData }));
  try {
    for (;;) {
      const messages = (await Promise.all(workers.map((worker) => once(worker, 'message')))).map(([message]) => message);
      if ('result' in messages[0]) return messages.map(({ result }) => result);
      const values = messages.map(({ value }) => value);
      for (const worker of workers) worker.postMessage(values);
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
