/* npm run example:synchronized: trains a network with batch normalization on three workers, which hold unequal parts of the batch, and
 * without workers, on all of it. The losses are the same up to rounding. layer.js is what to look at. */
import { fileURLToPath } from 'node:url';
import { isMainThread, workerData } from 'node:worker_threads';
import { BatchNorm } from 'batchnorm';
import { SynchronizedBatchNorm } from './layer.js';
import { exchange, finish, run } from './workers.js';

const COUNT = 256;
const ROWS = [165, 1, 90]; // of each worker
const FEATURES = 16;
const STEPS = 300;
const RATE = 0.05;

/** Points of a grid, each with features that are far from zero, and the product of its coordinates, which is to be learned. */
function makeBatch() {
  const X = new Float32Array(COUNT * FEATURES);
  const target = new Float32Array(COUNT);
  for (let n = 0; n < COUNT; n++) {
    const [x, y] = [(n % 16) / 7.5 - 1, Math.floor(n / 16) / 7.5 - 1];
    target[n] = x * y;
    for (let f = 0; f < FEATURES; f++) X[n * FEATURES + f] = 100 + x * Math.cos(f) + y * Math.sin(f);
  }
  return { X, target };
}

/**
 * Trains on the rows from `begin` to `end` of the batch. `exchange` gives a value to all workers, and resolves to the values of all.
 * Returns the losses of the whole batch.
 */
async function train(layer, exchange, begin, end) {
  const batch = makeBatch();
  const X = { data: batch.X.subarray(begin * FEATURES, end * FEATURES), shape: [end - begin, FEATURES] };
  const target = batch.target.subarray(begin, end);
  const weights = new Float32Array(FEATURES);
  const losses = [];
  for (let step = 0; step < STEPS; step++) {
    const output = await layer.forward(X);
    const gradOutput = { data: new Float32Array(output.data.length), shape: X.shape };
    const sums = new Float64Array(FEATURES + 1); // the gradient of the weights, and the loss
    for (let n = 0; n < target.length; n++) {
      const row = output.data.subarray(n * FEATURES, (n + 1) * FEATURES);
      const error = row.reduce((sum, value, f) => sum + value * weights[f], -target[n]);
      sums[FEATURES] += error ** 2 / COUNT;
      for (let f = 0; f < FEATURES; f++) {
        sums[f] += (2 * error * row[f]) / COUNT;
        gradOutput.data[n * FEATURES + f] = (2 * error * weights[f]) / COUNT;
      }
    }
    const parts = await exchange(sums);
    const total = sums.map((_, i) => parts.reduce((sum, part) => sum + part[i], 0));
    await layer.backward(gradOutput); // its result is for a layer before this one
    for (let f = 0; f < FEATURES; f++) {
      layer.gamma[f] -= RATE * layer.gradGamma[f];
      layer.beta[f] -= RATE * layer.gradBeta[f];
      weights[f] -= RATE * total[f];
    }
    losses.push(total[FEATURES]);
  }
  return losses;
}

const file = fileURLToPath(import.meta.url);

/** The losses without workers. */
export const trainAlone = () => train(new BatchNorm(FEATURES, { relu: true }), async (value) => [value], 0, COUNT);

/** The losses with workers that hold so many rows each. */
export async function trainOn(rows) {
  const ends = rows.map((_, k) => rows.slice(0, k + 1).reduce((sum, count) => sum + count));
  const [losses] = await run(
    file,
    ends.map((end, k) => ({ begin: end - rows[k], end })),
  );
  return losses;
}

if (process.argv[1] === file && isMainThread) {
  const [alone, shared] = [await trainAlone(), await trainOn(ROWS)];
  console.log(`step   loss, without workers   loss, three workers with ${ROWS.join(', ')} rows`);
  for (const step of [1, 50, 100, 150, 200, 250, 300])
    console.log(`${String(step).padEnd(7)}${alone[step - 1].toFixed(9).padEnd(24)}${shared[step - 1].toFixed(9)}`);
} else if (!isMainThread && workerData?.end) {
  const { begin, end } = workerData;
  finish(await train(new SynchronizedBatchNorm(FEATURES, exchange, { relu: true }), exchange, begin, end));
}
