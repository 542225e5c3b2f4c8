/* What the benchmarks run on: shapes, seeded problems, the largest error. In Node and in pages. */
import { normalTensor, sizeOf } from '../tests/data.js';
import { reference, ulp } from '../tests/reference.js';

export const SHAPES = [
  [2, 2, 2, 2],
  [64, 512, 1, 1],
  [4096, 64, 1, 1],
  [1, 3, 224, 224],
  [8, 64, 56, 56],
  [32, 256, 14, 14],
  [32, 2048, 7, 7],
  [128, 32, 28, 28],
  [32, 64, 112, 112],
  [1, 64, 1024, 1024],
  [1, 1, 4096, 4096],
];

/** One case: X and the arguments after it, up to training. */
export function problem(shape, training) {
  const perChannel = (value) => new Float32Array(shape[1]).fill(value);
  // In place, inference is applied to its own output again and again: scale 0.75 keeps that within bounds.
  const rest = [perChannel(1.5), perChannel(0.25), perChannel(0.5), perChannel(4), 0.1, 1e-5, training];
  return { shape, X: normalTensor(shape, 42, 0.5, 2), rest };
}

/** An array to copy to. It starts a cache line into its memory: malloc puts an array of some pages next to another 16 bytes beyond
 * a multiple of a page from it, where the C library copies twenty times as slowly on some processors (glibc on AMD's Zen 4). */
export const arrayOf = (length) => new Float32Array(new ArrayBuffer(4 * length + 64), 64, length);

/** The quartiles of some samples: [first, median, third]. */
export function quartiles(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]);
}

/** What a problem's outputs are exactly, for some of its channels: about a quarter of a million values. */
function exactChannels({ X, rest: [gamma, beta, runningMean, runningVar, momentum, epsilon, training] }) {
  const [batch, channels, height, width] = X.shape;
  const spatial = height * width;
  const few = Math.max(1, Math.min(channels, Math.floor(2 ** 18 / (batch * spatial)), 64));
  return Array.from({ length: few }, (_, k) => {
    const c = Math.floor((k * channels) / few);
    const slabs = Array.from({ length: batch }, (_, b) => (b * channels + c) * spatial);
    const one = { data: new Float32Array(batch * spatial), shape: [batch, 1, height, width] };
    slabs.forEach((at, b) => {
      one.data.set(X.data.subarray(at, at + spatial), b * spatial);
    });
    const of = (values) => [values[c]];
    const exact = reference(one, of(gamma), of(beta), of(runningMean), of(runningVar), momentum, epsilon, training);
    return { slabs, beta: beta[c], ...exact };
  });
}

/* Computed once a problem: in some engines it takes longer than the calls that it judges. */
const exacts = new WeakMap();

/** The largest error, in units in the last place of max(|y|, |beta|, |p|), over some of the channels. */
export function largestError(output, given) {
  if (!exacts.has(given)) exacts.set(given, exactChannels(given));
  const spatial = given.X.shape[2] * given.X.shape[3];
  let worst = 0;
  for (const { slabs, beta, output: exact, p } of exacts.get(given))
    slabs.forEach((at, b) => {
      for (let i = 0, k = b * spatial; i < spatial; i++, k++) {
        const largest = Math.max(Math.abs(exact[k]), Math.abs(p[k]), Math.abs(beta));
        const error = Math.abs(output[at + i] - exact[k]) / ulp(largest);
        worst = Math.max(worst, Number.isNaN(error) ? Infinity : error);
      }
    });
  return worst;
}

export const megabytes = (shape) => (4 * sizeOf(shape)) / 2 ** 20;
