/* npm run example:arena: runs a small network in inference, with its tensors in an arena and then without. Each layer adds neighbouring
 * values, applies batch normalization, and applies a ReLU. Two tensors take turns as input and output. In the arena, no step allocates
 * or copies memory. */
import { Arena, batchNormalization } from '../js/index.js';

const SHAPE = [8, 32, 32, 32];
const LAYERS = 6;
const STEPS = 20;

/** Adds half of the next value to each value, as a simple substitute for a convolution. */
function mix(from, to) {
  for (let i = 0; i < from.length - 1; i++) to[i] = from[i] + 0.5 * from[i + 1];
}

/** Replaces negative values by 0. */
function relu(data) {
  for (let i = 0; i < data.length; i++) data[i] = Math.max(0, data[i]);
}

const [, channels] = SHAPE;
const layers = Array.from({ length: LAYERS }, (_, k) => ({
  gamma: new Float32Array(channels).fill(1 + k / 10),
  beta: new Float32Array(channels).fill(0.1),
  mean: new Float32Array(channels).fill(0.5),
  variance: new Float32Array(channels).fill(1),
}));

/** Runs the network on tensors made by `tensor`. Returns the time spent in batch normalization, in ms, and the sum of the result. */
function run(tensor) {
  const [input, output] = [tensor(SHAPE), tensor(SHAPE)];
  let time = 0;
  for (let step = 0; step < STEPS; step++) {
    input.data.forEach((_, i) => {
      input.data[i] = Math.sin(i + step);
    });
    for (const { gamma, beta, mean, variance } of layers) {
      mix(input.data, output.data);
      const begin = performance.now();
      batchNormalization(output, gamma, beta, mean, variance, 0.9, 1e-5, false, { out: input });
      time += performance.now() - begin;
      relu(input.data);
    }
  }
  return { time, result: input.data.reduce((sum, value) => sum + value, 0) };
}

const bytes = 4 * SHAPE.reduce((product, size) => product * size, 1);
const arena = new Arena(2 * bytes);
const inArena = (shape) => arena.tensor(shape);
const onHeap = (shape) => ({ data: new Float32Array(bytes / 4), shape });
for (const tensor of [inArena, onHeap]) {
  run(tensor); // warm up
  arena.reset();
}
const fromArena = run(inArena);
const fromHeap = run(onHeap);

console.log(`${STEPS} steps of ${LAYERS} layers on a tensor of shape [${SHAPE}]`);
console.log(`  the arena has ${arena.byteLength / 2 ** 20} MB, of which ${arena.bytesFree} bytes are free`);
console.log(`  batch normalization in the arena   ${fromArena.time.toFixed(1)} ms`);
console.log(`  batch normalization with copies    ${fromHeap.time.toFixed(1)} ms`);
console.log(`  the results are the same           ${fromArena.result === fromHeap.result ? 'yes' : 'no'}`);
if (fromArena.result !== fromHeap.result) process.exitCode = 1;
