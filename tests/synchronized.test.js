/* examples/synchronized: forward and gradient over several worker threads with unequal parts of a batch, compared with the definition
 * on the whole batch, within the bounds of docs/numerics.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isMainThread, workerData } from 'node:worker_threads';
import { SynchronizedBatchNorm } from '../examples/synchronized/layer.js';
import { trainAlone, trainOn } from '../examples/synchronized/synchronized.js';
import { exchange, finish, run } from '../examples/synchronized/workers.js';
import { seededNormal, tensor } from './data.js';
import { assertGradientWithinBounds, assertSameBits, assertWithinBounds } from './helpers.js';

const file = fileURLToPath(import.meta.url);
const CHANNELS = 4;
const GAMMA = Float32Array.of(1.5, -0.75, 2.25, 1);
const BETA = Float32Array.of(0.5, -3, 1.25, 0);
const EPSILON = 1e-9;

/** What each worker does with its part of each batch, without relu and with it. */
async function work(batches) {
  const results = [];
  for (const { X, gradOutput } of batches)
    for (const relu of [false, true]) {
      const layer = new SynchronizedBatchNorm(CHANNELS, exchange, { relu, epsilon: EPSILON, momentum: 0.25 });
      layer.gamma.set(GAMMA);
      layer.beta.set(BETA);
      const output = await layer.forward(X);
      const gradInput = await layer.backward(gradOutput);
      const { gradGamma, gradBeta, runningMean, runningVar } = layer;
      results.push({ output, gradInput, whole: { gradGamma, gradBeta, runningMean, runningVar } });
    }
  finish(results);
}

/** The rows of a tensor, so many for each worker. */
function split({ data }, rows) {
  let begin = 0;
  return rows.map((count) => {
    const end = begin + count * CHANNELS;
    const part = { data: data.slice(begin, end), shape: [count, CHANNELS] };
    begin = end;
    return part;
  });
}

/** Parts side by side, of rank 4, which the references take. */
function join(parts) {
  const data = Float32Array.from(parts.flatMap((part) => [...part.data]));
  return { data, shape: [data.length / CHANNELS, CHANNELS, 1, 1] };
}

/** Checks the results of workers that hold so many rows each of every batch: { X, gradOutput, message }. */
async function check(rows, batches) {
  const parts = batches.map(({ X, gradOutput }) => ({ X: split(X, rows), gradOutput: split(gradOutput, rows) }));
  const inputs = rows.map((_, k) => parts.map(({ X, gradOutput }) => ({ X: X[k], gradOutput: gradOutput[k] })));
  const results = await run(file, inputs);
  const perChannel = (data) => ({ data: Float32Array.from(data), shape: [1, CHANNELS, 1, 1] });
  const nothing = new Float64Array(CHANNELS);
  batches.forEach(({ message }, n) => {
    const X = join(parts[n].X);
    const gradOutput = join(parts[n].gradOutput);
    const outputs = [false, true].map((relu, k) => {
      const ofWorkers = results.map((result) => result[2 * n + k]);
      const [{ whole }] = ofWorkers;
      for (const other of ofWorkers) assert.deepEqual(other.whole, whole, `${message}: workers disagree about the whole`);
      const output = join(ofWorkers.map((result) => result.output));
      const gradInput = join(ofWorkers.map((result) => result.gradInput));
      const [runningMean, runningVar, gradGamma, gradBeta] = [
        whole.runningMean,
        whole.runningVar,
        whole.gradGamma,
        whole.gradBeta,
      ].map(perChannel);
      const args = [GAMMA, BETA, nothing, nothing.map(() => 1), 0.25, EPSILON];
      if (!relu) assertWithinBounds(X, args, [output, runningMean, runningVar], message);
      const options = { gamma: GAMMA, beta: BETA, epsilon: EPSILON, relu };
      const held = assertGradientWithinBounds(gradOutput, X, options, [gradInput, gradGamma, gradBeta], false, message);
      assert.ok(held > 0, `${message}: every channel has an output next to 0`);
      return output.data;
    });
    assertSameBits(
      outputs[1],
      outputs[0].map((value) => Math.max(value, 0)),
      message,
    );
  });
}

if (isMainThread) {
  const normal = (count, seed, mean, deviation) => tensor([count, CHANNELS], seededNormal(seed, mean, deviation));

  for (const rows of [[300, 1, 77], [2, 1], [1, 1, 1, 1], [40], [5, 0, 80], [700, 23, 1]])
    test(`workers with ${rows.join(', ')} rows`, async () => {
      const count = rows.reduce((sum, part) => sum + part);
      const batches = [];
      for (const [mean, deviation] of [
        [0, 1],
        [1e4, 1e-2],
        [1e6, 0.1],
        [-1e7, 1],
      ]) {
        const X = normal(count, 1, mean, deviation);
        const gradients = {
          normal: normal(count, 2, 0, 1),
          'nearly constant': normal(count, 3, 1, 1e-4),
          large: normal(count, 4, 1e4, 1e-2),
          constant: normal(count, 5, -1000, 0),
          proportional: tensor([count, CHANNELS], (i) => (3 * (X.data[i] - mean)) / deviation + 1),
        };
        for (const [name, gradOutput] of Object.entries(gradients))
          batches.push({ X, gradOutput, message: `mean ${mean}, deviation ${deviation}, ${name} gradients` });
      }
      await check(rows, batches);
    });

  test('parts that differ from each other far more than within', async () => {
    const X = tensor([151, CHANNELS], (i) => (i < 400 ? 1000 : i < 404 ? -1000 : 7) + Math.sin(i) / 100);
    await check([100, 1, 50], [{ X, gradOutput: normal(151, 1, 0, 1), message: 'different parts' }]);
  });

  test('the example has the losses that it has without workers', async () => {
    const [alone, shared] = [await trainAlone(), await trainOn([165, 1, 90])];
    assert.equal(shared.length, alone.length);
    assert.ok(shared.at(-1) < 0.1 * shared[0]);
    alone.forEach((loss, step) => {
      assert.ok(Math.abs(shared[step] - loss) <= 1e-6 * alone[0], `step ${step}: ${shared[step]}, not ${loss}`);
    });
  });
} else if (Array.isArray(workerData)) await work(workerData);
