/* What every environment is held to: the worked examples, a sweep over shapes and options of both calls, a bad input and a large tensor,
 * bit for bit what Node computed. It runs in pages and workers too, so it returns what it found, and imports nothing but plain code. */
import { parametersFor, seeded, tensor } from '../data.js';
import { gradBetaBound, gradGammaBound, gradInputBound, gradientReference } from '../gradient-reference.js';
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
/** With its gradients, larger than the kernel's memory. */
const LARGE_GRADIENT = [1, 1, 1100, 1000];

/** On big-endian machines the high word of a double comes first. */
const isBigEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 0;

/** FNV-1a over the words of arrays of floats and doubles, any NaN like any other. */
function hash(...arrays) {
  let value = 0x811c9dc5;
  for (const data of arrays) {
    const copy = data.slice();
    for (let i = 0; i < copy.length; i++) if (Number.isNaN(copy[i])) copy[i] = Number.NaN;
    const words = new Uint32Array(copy.buffer);
    const swap = isBigEndian && words.length > copy.length ? 1 : 0;
    for (let i = 0; i < words.length; i++) value = Math.imul(value ^ words[i ^ swap], 0x01000193);
  }
  return value >>> 0;
}
const hashOf = (results) => hash(...results.map(({ data }) => data));

/** X and gradOutput of each shape: they take longer to make than to compute on. */
const made = [];

/**
 * What is called on shape number k. Every second call goes through relu, every third has its channels last, and the gradient is
 * given statistics in inference and by every fourth.
 */
function callOf(k, training) {
  const [batch, channels, height, width] = SHAPES[k];
  const last = k % 3 === 2;
  const relu = k % 2 === 1;
  const shape = last ? [batch, height, width, channels] : SHAPES[k];
  const axis = last ? -1 : 1;
  made[k] ??= { X: values(shape, k), gradOutput: values(shape, 1000 + k) };
  const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
  const given = !training || k % 4 === 0 ? { mean: runningMean, variance: runningVar } : null;
  return {
    name: `${k}: [${shape}], axis ${axis}${relu ? ', relu' : ''}, ${training ? 'training' : 'inference'}`,
    ...made[k],
    args: [gamma, beta, runningMean, runningVar, 0.3, 1e-3, training],
    options: { axis, relu, unbiased: relu && batch * height * width > 1 },
    gradientOptions: { gamma, beta, statistics: given, epsilon: 1e-3, training, axis, relu },
  };
}

/** Runs something on every call. */
function each(run) {
  for (let k = 0; k < SHAPES.length; k++) for (const training of [true, false]) run(callOf(k, training));
}

/** Calls both functions on every shape. Returns a hash for each; the checks see small results. */
export function sweep({ batchNormalization, batchNormalizationGradient }, check = () => {}, checkGradient = () => {}) {
  const hashes = {};
  each((call) => {
    const { name, X, gradOutput, args, options, gradientOptions } = call;
    const channels = args[0].length;
    const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
    const results = batchNormalization(X, ...args, { ...options, statistics });
    hashes[name] = hashOf(results);
    hashes[`${name}, statistics`] = hash(statistics.mean, statistics.variance);
    const gradients = batchNormalizationGradient(gradOutput, X, gradientOptions);
    hashes[`${name}, gradient`] = hashOf(gradients);
    if (X.data.length < 5000) {
      check(call, results);
      checkGradient(call, gradients);
    }
  });
  const X = values(LARGE, 99);
  const [gradOutput, small] = [values(LARGE_GRADIENT, 100), values(LARGE_GRADIENT, 101)];
  hashes['large, gradient'] = hashOf(batchNormalizationGradient(gradOutput, small));
  batchNormalizationGradient(gradOutput, small, { out: gradOutput });
  hashes['large, gradient in place'] = hash(gradOutput.data);
  const [output] = batchNormalization(X, null, null);
  batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
  hashes.large = hash(output.data);
  hashes['large, in place'] = hash(X.data);
  return hashes;
}

/** The calls of the sweep with tensors in an arena, in place there, and with only some of them in it. Calls `found` with the name and hash
 * of each. */
function sweepArenas({ Arena, batchNormalization, batchNormalizationGradient }, found) {
  const arena = new Arena(16 << 20);
  each(({ name, X, gradOutput, args, options, gradientOptions }) => {
    arena.reset();
    const move = ({ data, shape }) => {
      const moved = arena.tensor(shape);
      moved.data.set(data);
      return moved;
    };
    const room = () => arena.tensor(X.shape);
    const fresh = () => new Float32Array(X.data.length);
    const [inside, gradient] = [move(X), move(gradOutput)];
    for (const [way, g, x, out] of [
      ['arena to arena', gradient, inside, room()],
      ['from the arena', gradient, inside, fresh()],
      ['into the arena', gradOutput, X, room()],
      ['X alone in the arena', gradOutput, inside, fresh()],
      ['in place', gradient, inside, gradient],
    ])
      found(`${name}, gradient`, way, hashOf(batchNormalizationGradient(g, x, { ...gradientOptions, out })));
    for (const [way, x, out] of [
      ['arena to arena', inside, room()],
      ['from the arena', inside, fresh()],
      ['into the arena', X, room()],
      ['in place', inside, inside],
    ])
      found(name, way, hashOf(batchNormalization(x, ...args, { ...options, out })));
  });
}

/**
 * @param {{ batchNormalization: Function, batchNormalizationGradient: Function, backend: () => string, Arena: Function }} library 'batchnorm'
 * @param {{ batchNormalization: Function, batchNormalizationGradient: Function }} plain 'batchnorm/js'
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
  const SLACK = 1 + 2 ** -20;
  const withinBounds = ({ name, X, args, options }, [output]) => {
    const [gamma, beta, , , , , training] = args;
    const channels = gamma.length;
    const spatial = options.axis === 1 ? X.shape[2] * X.shape[3] : 1;
    const exact = reference({ data: X.data, shape: [X.data.length / channels / spatial, channels, spatial, 1] }, ...args);
    const holds = exact.output.every((y, i) => {
      const c = Math.floor(i / spatial) % channels;
      const expected = options.relu ? Math.max(y, 0) : y;
      return Math.abs(output.data[i] - expected) <= outputBound(training, exact.p[i], gamma[c], beta[c]) * SLACK;
    });
    check(holds, `${name} is out of its bounds`);
  };
  const gradientWithinBounds =
    (isPlain) =>
    ({ name, X, gradOutput, gradientOptions }, [gradInput, gradGamma, gradBeta]) => {
      const { training } = gradientOptions;
      const exact = gradientReference(gradOutput, X, gradientOptions);
      const { P, R, normalized } = exact;
      const near = (actual, expected, bound) => Math.abs(actual - expected) <= bound * SLACK;
      const inPlain = isPlain || X.data.length <= 128;
      const holds = exact.channels.every((channel, c) => {
        // Where rounding decides what relu leaves, there is no one result.
        if (channel.uncertain > 0) return true;
        const [ofGamma, ofBeta] = [exact.gradGamma[c], exact.gradBeta[c]];
        return (
          channel.positions.every((i) =>
            near(gradInput.data[i], exact.gradInput[i], gradInputBound(training, P[i], R[i], normalized[i], channel, inPlain)),
          ) &&
          near(gradGamma.data[c], ofGamma, gradGammaBound(training, ofGamma, channel, inPlain)) &&
          near(gradBeta.data[c], ofBeta, gradBetaBound(ofBeta, channel, inPlain))
        );
      });
      check(holds, `${name}, gradient, is out of its bounds`);
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
  for (const [functions, computes] of [
    [library, backend],
    [plain, 'js'],
  ])
    for (const [name, value] of Object.entries(sweep(functions, withinBounds, gradientWithinBounds(computes === 'js'))))
      check(value === expected[computes][name], `${name} has other bits than in Node`);
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
