/* npm run example: normalizes a few numbers and then a batch of photographs, in training and in inference, and prints the results. */
import { readFileSync } from 'node:fs';
import { batchNormalization } from '../js/index.js';

const SIDE = 64;
const PHOTOGRAPHS = ['astronaut', 'cat', 'coffee', 'galaxies', 'retina', 'rocket'];
const COLOURS = ['red', 'green', 'blue'];

const round = (value) => (Math.abs(value) < 5e-5 ? 0 : value).toFixed(4).padStart(9);

/** The pixels of a binary PPM file: red, green and blue, one byte each. */
const pixelsOf = (name) => readFileSync(new URL(`images/${name}.ppm`, import.meta.url)).subarray(-3 * SIDE * SIDE);

/** The photographs as a tensor of shape [B, 3, H, W], with values from 0 to 1. */
function loadBatch() {
  const plane = SIDE * SIDE;
  const data = new Float32Array(PHOTOGRAPHS.length * 3 * plane);
  PHOTOGRAPHS.forEach((name, b) => {
    pixelsOf(name).forEach((value, i) => {
      data[(b * 3 + (i % 3)) * plane + Math.floor(i / 3)] = value / 255;
    });
  });
  return { data, shape: [PHOTOGRAPHS.length, 3, SIDE, SIDE] };
}

/** All values of a channel, image after image. */
function channelOf({ data, shape: [batch, channels, height, width] }, c) {
  const plane = height * width;
  return Array.from({ length: batch }, (_, b) => [
    ...data.subarray((b * channels + c) * plane, (b * channels + c + 1) * plane),
  ]).flat();
}

/** A histogram as one line of text, from −2 to 2. The outermost bars also count the values beyond. */
function sketch(values) {
  const bins = new Array(32).fill(0);
  for (const value of values) bins[Math.max(0, Math.min(31, Math.floor((value + 2) * 8)))]++;
  const most = Math.max(...bins);
  return bins.map((bin) => ' ▁▂▃▄▅▆▇█'[Math.ceil((8 * bin) / most)]).join('');
}

function describe(title, tensor) {
  console.log(`\n  ${title}`);
  console.log(`             mean    deviation   −2 ${'·'.repeat(11)} 0 ${'·'.repeat(11)} 2`);
  COLOURS.forEach((colour, c) => {
    const values = channelOf(tensor, c);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
    console.log(`  ${colour.padEnd(6)} ${round(mean)}    ${round(deviation)}   ${sketch(values)}`);
  });
}

console.log('1. A small example: X of shape [1, 2, 2, 2], gamma 1 and 0.5, beta 0 and 1\n');
const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
const [output, runningMean, runningVar] = batchNormalization(X, [1, 0.5], [0, 1]);
for (const [name, tensor] of Object.entries({ X, output })) {
  console.log(`  ${name.padEnd(7)} channel 0: ${[...tensor.data.subarray(0, 4)].map(round).join('')}`);
  console.log(`          channel 1: ${[...tensor.data.subarray(4)].map(round).join('')}`);
}
console.log(
  `\n  running mean     ${[...runningMean.data].map(round).join('')}   = 0.1 · 0 + 0.9 · the batch’s means, 2.5 and 25`,
);
console.log(
  `  running variance ${[...runningVar.data].map(round).join('')}   = 0.1 · 1 + 0.9 · the batch’s variances, 1.25 and 125`,
);

const batch = loadBatch();
console.log(`\n2. A batch of photographs: ${PHOTOGRAPHS.join(', ')}; shape [${batch.shape.join(', ')}]`);
describe('before normalization (the last bar counts all values of 2 or more, the first bar all of −2 or less)', batch);

const began = performance.now();
const [trained, mean, variance] = batchNormalization(batch, null, null, null, null, 0);
const took = performance.now() - began;
describe('normalized in training: the means are 0, and the deviations are 1 (slightly less, because of epsilon)', trained);
console.log(`\n  running mean     ${[...mean.data].map(round).join('')}   (with momentum 0, the mean and variance of the batch)`);
console.log(`  running variance ${[...variance.data].map(round).join('')}`);

const rocket = { data: batch.data.subarray(-3 * SIDE * SIDE), shape: [1, 3, SIDE, SIDE] };
const [inferred, , same] = batchNormalization(rocket, null, null, mean, variance, 0, 1e-5, false);
describe('the rocket alone, in inference with these statistics: it is darker and bluer than the batch', inferred);
console.log(`\n  the running statistics are returned unchanged: ${same === variance}`);
console.log(`  normalizing the batch in training took ${took.toFixed(2)} ms in its first call, for ${batch.data.length} values`);
