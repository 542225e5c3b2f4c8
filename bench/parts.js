/* Where the time of a call goes: each step on one tile of a tensor, and the call as a whole.
 *   node bench/parts.js [8,64,56,56 …]
 * The tile is as js/kernel.js would have it; copies go through all of X and the output, so that these are where they are in a
 * call, in a cache or in memory. */
import { readFileSync } from 'node:fs';
import { batchNormalization } from '../js/index.js';
import { load, tileStride, workArea } from '../js/kernel.js';
import { planTiles } from '../js/tiles.js';
import { problem, quartiles } from './cases.js';

const shapes = process.argv.slice(2).map((argument) => argument.split(',').map(Number));
const bytes = readFileSync(new URL('../js/batchnorm.wasm', import.meta.url));
const wasm = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
const f32 = new Float32Array(wasm.memory.buffer);
load();

for (const shape of shapes.length > 0
  ? shapes
  : [
      [8, 64, 56, 56],
      [32, 256, 14, 14],
      [128, 32, 28, 28],
      [32, 64, 112, 112],
    ]) {
  const [batch, channels, height, width] = shape;
  const spatial = height * width;
  const { X, rest } = problem(shape, true);
  const out = new Float32Array(X.data.length);
  const [begin, end] = workArea();
  const {
    columns,
    channels: range,
    partial,
    channel,
    fold,
    tile,
    resident,
  } = planTiles({ batch, channels, spatial, training: true }, begin, end);
  if (!resident) throw new RangeError(`bench/parts.js times shapes whose channels fit; (${shape}) does not`);
  const row = channels * spatial;
  const slab = range * spatial;
  const values = batch * slab;
  const stride = tileStride(row, slab);
  const layout = [batch, stride, range, spatial, Number(columns)];
  new Float64Array(wasm.memory.buffer).fill(1, channel / 8, fold / 8);
  // Where a step begins: in X, and, lying in its cache lines alike, in the tile.
  let start = 0;
  const at = () => tile + 4 * (start % 16);
  const copyIn = (n) => {
    for (let b = 0; b < batch; b++) f32.set(X.data.subarray(start + b * row, start + b * row + n), at() / 4 + b * stride);
  };
  const copyOut = (n) => {
    for (let b = 0; b < batch; b++) out.set(f32.subarray(at() / 4 + b * stride, at() / 4 + b * stride + n), start + b * row);
  };
  const steps = {
    'copy in': () => copyIn(slab),
    sum: () => wasm.bn_sum(at(), ...layout, partial),
    mean: () => wasm.bn_mean(partial, batch * spatial, 0, range, spatial, Number(columns), channel, fold),
    squares: () => wasm.bn_squares(at(), ...layout, fold, partial),
    fold: () => wasm.bn_fold_batch(partial, batch * spatial, 1e-5, 0, range, spatial, Number(columns), channel, fold),
    normalize: () => wasm.bn_normalize(at(), ...layout, channel, fold),
    'copy out': () => copyOut(slab),
  };
  const samples = Object.fromEntries(
    [...Object.keys(steps), 'whole call, training', 'whole call, inference', 'all copies alone', 'copy X → out'].map((name) => [
      name,
      [],
    ]),
  );
  const time = (name, n, run) => {
    const start = process.hrtime.bigint();
    run();
    samples[name].push(Number(process.hrtime.bigint() - start) / n);
  };
  const options = { out };
  for (let round = 0; round < 60; round++) {
    start = ((round * range) % (channels - range + 1)) * spatial;
    for (const [name, run] of Object.entries(steps)) time(name, values, run);
    if (round % 3 > 0) continue;
    for (const training of [true, false])
      time(`whole call, ${training ? 'training' : 'inference'}`, X.data.length, () =>
        batchNormalization(X, ...rest.slice(0, -1), training, options),
      );
    time('all copies alone', X.data.length, () => {
      for (start = 0; start < row; start += slab) {
        const n = Math.min(slab, row - start);
        copyIn(n);
        copyOut(n);
      }
    });
    time('copy X → out', X.data.length, () => out.set(X.data));
  }
  console.log(`\n(${shape}), tiles of ${range} channels, ${(values * 4) / 1024} KB; ns a value`);
  for (const [name, all] of Object.entries(samples))
    console.log(name.padEnd(24), quartiles(all.slice(all.length / 3))[1].toFixed(3));
}
