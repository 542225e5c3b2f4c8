/* The problems of the benchmarks: shapes, seeded data, and the largest error of a result. Runs in Node and in pages. */
import { batchNormalization, batchNormalizationGradient, moments } from '../js/index.js';
import { normalTensor, sizeOf } from '../tests/data.js';
import { gradientReference } from '../tests/gradient-reference.js';
import { reference, ulp } from '../tests/reference.js';

/** A shape, and the index of its channel dimension. @typedef {{ shape: number[], axis: number }} Place */

export const PLACES = [
  ...[
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
  ].map((shape) => ({ shape, axis: 1 })),
  ...[
    [8, 56, 56, 64],
    [32, 14, 14, 256],
    [32, 112, 112, 64],
  ].map((shape) => ({ shape, axis: -1 })),
];

export const MODES = ['training', 'inference', 'gradient'];

/** A place on the command line: 8,64,56,56, or 8,56,56,64,last if the channels are the last dimension. */
export const PLACE = /^\d+(,\d+)+(,last)?$/;

/** @param {string} text @returns {Place} */
export function placeOf(text) {
  const last = text.endsWith(',last');
  const sizes = last ? text.slice(0, -5) : text;
  return { shape: sizes.split(',').map(Number), axis: last ? -1 : 1 };
}

/** @param {Place} place */
export const nameOf = ({ shape, axis }) => `(${shape.join(', ')})${axis === -1 ? ' last' : ''}`;

/** The dimensions that the package uses: the product of the sizes before the channels, the number of channels, and the product of
 * the sizes after them. @param {Place} place */
export function dimensionsOf({ shape, axis }) {
  const k = axis < 0 ? axis + shape.length : axis;
  return { batch: sizeOf(shape.slice(0, k)), channels: shape[k], spatial: sizeOf(shape.slice(k + 1)) };
}

const perChannel = (channels, value) => new Float32Array(channels).fill(value);

/** A forward call: X, the arguments from gamma to training, and the options. */
export function problem(shape, training, axis = 1) {
  const { channels } = dimensionsOf({ shape, axis });
  // In place, inference is repeatedly applied to its own output. A scale of 0.75 keeps the values bounded.
  const rest = [...[1.5, 0.25, 0.5, 4].map((value) => perChannel(channels, value)), 0.1, 1e-5, training];
  return { shape, axis, X: normalTensor(shape, 42, 0.5, 2), rest, options: { axis } };
}

/** A gradient call, with the statistics that a forward call saves. */
export function gradientProblem(shape, axis = 1) {
  const { X, rest } = problem(shape, true, axis);
  const { mean, variance } = moments(X, { axis });
  const [gamma, beta] = rest;
  const options = { axis, gamma, beta, epsilon: 1e-5, statistics: { mean, variance } };
  return { shape, axis, X, gradOutput: normalTensor(shape, 43, 0.125, 1), options };
}

/** @param {Place} place @param {string} mode */
export const problemOf = ({ shape, axis }, mode) =>
  mode === 'gradient' ? gradientProblem(shape, axis) : problem(shape, mode === 'training', axis);

/** The same problem with relu. */
export const withRelu = (given) => ({ ...given, options: { ...given.options, relu: true } });

/** The package's functions, as callOf takes them. */
export const ours = { forward: batchNormalization, gradient: batchNormalizationGradient };

/** Returns a function that runs a problem with one of the given functions, and returns the results. The functions take the same
 * arguments as the package's. */
export function callOf({ forward, gradient }, { X, rest, gradOutput, options }, more) {
  const all = { ...options, ...more };
  return gradOutput ? () => gradient(gradOutput, X, all) : () => forward(X, ...rest, all);
}

/** The same problem with its tensors in a new arena (`at`), and a tensor there for the result (`to`). `makeArena` makes an arena
 * with room for a number of bytes. */
export function moveToArena(makeArena, given) {
  const { X, gradOutput } = given;
  const arena = makeArena((gradOutput ? 3 : 2) * (X.data.byteLength + 64));
  const move = ({ data }) => {
    const moved = arena.tensor(X.shape);
    moved.data.set(data);
    return moved;
  };
  return { at: { ...given, X: move(X), gradOutput: gradOutput && move(gradOutput) }, to: arena.tensor(X.shape) };
}

/** An array to copy to. It starts one cache line after the beginning of its memory. Otherwise malloc may place two arrays at a
 * distance of whole pages and 16 bytes, and then glibc copies twenty times as slowly on some processors (AMD's Zen 4). */
export const arrayOf = (length) => new Float32Array(new ArrayBuffer(4 * length + 64), 64, length);

/**
 * The exact results of a problem, for some of its channels (about a quarter of a million values). For each of these channels:
 * where its slabs begin, its values, the size by which the error of each value is measured, and for a gradient also gradGamma and
 * gradBeta.
 */
function exactChannels(given) {
  const { X, rest, gradOutput, options } = given;
  const { batch, channels, spatial } = dimensionsOf(given);
  const few = Math.max(1, Math.min(channels, Math.floor(2 ** 18 / (batch * spatial)), 64));
  return Array.from({ length: few }, (_, k) => {
    const c = Math.floor((k * channels) / few);
    const slabs = Array.from({ length: batch }, (_, b) => (b * channels + c) * spatial);
    const only = ({ data }) => {
      const one = { data: new Float32Array(batch * spatial), shape: [batch, 1, 1, spatial] };
      slabs.forEach((at, b) => {
        one.data.set(data.subarray(at, at + spatial), b * spatial);
      });
      return one;
    };
    const of = (values) => [values[c]];
    const { relu } = options;
    if (gradOutput) {
      const { gamma, beta, epsilon, statistics } = options;
      const own = { gamma: of(gamma), beta: of(beta), epsilon, relu };
      if (statistics) own.statistics = { mean: of(statistics.mean), variance: of(statistics.variance) };
      const exact = gradientReference(only(gradOutput), only(X), own);
      const { gradInput, gradGamma, gradBeta, P, R } = exact;
      const [{ count, rms, uncertain }] = exact.channels;
      // The size of a typical sum of `count` gradients. Errors are measured by the sum itself only if that is larger.
      const least = rms * Math.sqrt(count);
      const totals = [gradGamma[0], gradBeta[0]].map((value) => ({ value, size: Math.max(Math.abs(value), least) }));
      // If rounding decides which values relu lets through, no result of the channel can be judged.
      if (uncertain > 0) return { c, slabs: [], totals: [] };
      return { c, slabs, values: gradInput, sizeAt: (i) => Math.max(P[i], R[i]), totals };
    }
    const [gamma, beta, runningMean, runningVar, momentum, epsilon, training] = rest;
    const exact = reference(only(X), of(gamma), of(beta), of(runningMean), of(runningVar), momentum, epsilon, training);
    const { output, p } = exact;
    const sizeAt = (i) => Math.max(Math.abs(output[i]), Math.abs(p[i]), Math.abs(beta[c]));
    return { c, slabs, values: relu ? output.map((y) => Math.max(y, 0)) : output, sizeAt, totals: [] };
  });
}

/* Computed once per problem, because in some engines this takes longer than the calls that are judged. */
const exacts = new WeakMap();

/**
 * The largest error in some of the channels, in units in the last place. For an output y, the unit is that of max(|y|, |beta|, |y
 * − beta|). For gradInput, it is that of the larger of the two terms whose difference it is. For gradGamma and gradBeta, it is
 * that of the result, or of √count · the root mean square of the gradients, if that is larger.
 * @param {ArrayLike<number>[]} results the output; or gradInput, gradGamma and gradBeta
 */
export function largestError([main, ...sums], given) {
  if (!exacts.has(given)) exacts.set(given, exactChannels(given));
  const { spatial } = dimensionsOf(given);
  let worst = 0;
  const judge = (value, exact, size) => {
    const error = Math.abs(value - exact) / ulp(size);
    worst = Math.max(worst, Number.isNaN(error) ? Infinity : error);
  };
  for (const { c, slabs, values, sizeAt, totals } of exacts.get(given)) {
    slabs.forEach((at, b) => {
      for (let i = 0, k = b * spatial; i < spatial; i++, k++) judge(main[at + i], values[k], sizeAt(k));
    });
    totals.forEach(({ value, size }, k) => {
      judge(sums[k][c], value, size);
    });
  }
  return worst;
}
