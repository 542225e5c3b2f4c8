/* What every environment is held to: the worked examples, a sweep over shapes, a bad input and a large tensor, bit for bit
 * what Node computed. It runs in pages and workers too, so it returns what it found, and imports nothing but plain code. */
import { parametersFor, seeded, sizeOf, tensor } from '../data.js';
import { outputBound, reference } from '../reference.js';

/** Values about normal, made by additions alone: sines and logarithms differ from engine to engine. */
function values(shape, seed) {
  const next = seeded(seed);
  const mean = 100 * (next() - 0.5);
  return tensor(shape, () => mean + (next() + next() + next() + next() - 2) * 3);
}

/** Both layouts, tiny tensors, resident and streamed, and shapes drawn at random. */
const SHAPES = [
  [2, 2, 2, 2],
  [4, 3, 16, 20],
  [40, 3, 2, 3],
  [64, 33, 1, 1],
  [1, 1, 1, 1],
  [8, 65, 32, 32],
];
const next = seeded(2026);
const upTo = (most) => 1 + Math.floor(next() * most);
for (let k = 0; k < 60; k++) SHAPES.push(k % 2 ? [upTo(40), upTo(9), upTo(6), upTo(6)] : [upTo(5), upTo(9), upTo(25), upTo(25)]);
const LARGE = [3, 4, 500, 501];

/** FNV-1a over the words of float32 arrays, any NaN like any other. */
function hash(...arrays) {
  let value = 0x811c9dc5;
  for (const data of arrays) {
    const copy = new Float32Array(data);
    for (let i = 0; i < copy.length; i++) if (Number.isNaN(copy[i])) copy[i] = Number.NaN;
    const words = new Uint32Array(copy.buffer);
    for (let i = 0; i < words.length; i++) value = Math.imul(value ^ words[i], 0x01000193);
  }
  return value >>> 0;
}

/** Calls `batchNormalization` on every shape. Returns a hash for each call; `check` sees small results. */
export function sweep(batchNormalization, check = () => {}) {
  const hashes = {};
  SHAPES.forEach((shape, k) => {
    const X = values(shape, k);
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    for (const training of [true, false]) {
      const args = [gamma, beta, runningMean, runningVar, 0.3, 1e-3, training];
      const results = batchNormalization(X, ...args);
      const name = `[${shape}] ${training ? 'training' : 'inference'}`;
      hashes[name] = hash(...results.map(({ data }) => data));
      if (sizeOf(shape) < 5000) check(name, X, args, results);
    }
  });
  const X = values(LARGE, 99);
  const [output] = batchNormalization(X, null, null);
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
  hashes.large = hash(output.data);
  hashes['large, in place'] = hash(X.data);
  return hashes;
}

/** The calls of the sweep with X and out in an arena, in place there, and with only one of the two in it. Calls `found` with the
 * name and hash of each. */
function sweepArenas({ Arena, batchNormalization }, found) {
  const arena = new Arena(16 << 20);
  SHAPES.forEach((shape, k) => {
    const X = values(shape, k);
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    for (const training of [true, false]) {
      arena.reset();
      const inside = arena.tensor(shape);
      inside.data.set(X.data);
      const fresh = () => new Float32Array(X.data.length);
      for (const [way, x, out] of [
        ['arena to arena', inside, arena.tensor(shape)],
        ['from the arena', inside, fresh()],
        ['into the arena', X, arena.tensor(shape)],
        ['in place', inside, inside],
      ]) {
        const results = batchNormalization(x, gamma, beta, runningMean, runningVar, 0.3, 1e-3, training, { out });
        found(`[${shape}] ${training ? 'training' : 'inference'}`, way, hash(...results.map(({ data }) => data)));
      }
    }
  });
}

/**
 * @param {{ batchNormalization: Function, backend: () => string, Arena: Function }} library 'batchnorm'
 * @param {{ batchNormalization: Function }} plain 'batchnorm/js'
 * @param {{ examples: any[], 'wasm-simd': Record<string, number>, js: Record<string, number> }} expected what Node found
 * @returns {{ backend: string, checks: number, failures: string[] }}
 */
export function conform(library, plain, expected) {
  const failures = [];
  let checks = 0;
  const check = (holds, message) => {
    checks++;
    if (!holds) failures.push(message);
  };
  const near = (a, b) => Math.abs(a - b) <= 2e-6 * Math.max(1, Math.abs(b));
  const withinBounds = (name, X, args, [output]) => {
    const [gamma, beta, , , , , training] = args;
    const exact = reference(X, ...args);
    const spatial = X.shape[2] * X.shape[3];
    const holds = exact.output.every((y, i) => {
      const c = Math.floor(i / spatial) % X.shape[1];
      return Math.abs(output.data[i] - y) <= outputBound(training, exact.p[i], gamma[c], beta[c]) * (1 + 2 ** -45);
    });
    check(holds, `${name} is out of its bounds`);
  };

  for (const { name, arguments: given, result } of expected.examples) {
    const X = { data: Float32Array.from(given.X.data), shape: given.X.shape };
    const { gamma, beta, runningMean, runningVar, momentum, epsilon, training } = given;
    const results = library.batchNormalization(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training);
    [result.output, result.runningMean, result.runningVar].forEach((numbers, k) => {
      check(
        numbers.every((number, i) => near(results[k].data[i], number)),
        `the worked example ${name}`,
      );
    });
  }

  const backend = library.backend();
  for (const [{ batchNormalization }, hashes] of [
    [library, expected[backend]],
    [plain, expected.js],
  ])
    for (const [name, value] of Object.entries(sweep(batchNormalization, withinBounds)))
      check(value === hashes[name], `${name} has other bits than in Node`);
  sweepArenas(library, (name, way, value) =>
    check(value === expected[backend][name], `${name}, ${way}, has other bits than by copies`),
  );

  try {
    library.batchNormalization(values([2, 3, 1, 1], 1), [1, 2], null);
    check(false, 'a bad gamma was taken');
  } catch (error) {
    const message = 'batchNormalization: gamma must hold 3 values, one per channel of X [2, 3, 1, 1]; got 2';
    check(error instanceof RangeError && error.message === message, `a bad gamma: ${error}`);
  }
  return { backend, checks, failures };
}
