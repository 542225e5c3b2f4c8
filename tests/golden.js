/* Golden bits: groups of problems that reach every path of the kernels and of plain JavaScript, and a hash of the results of each group.
 * golden-hashes.js holds the promised hashes. This file also runs in pages and old engines, so it imports only code that does, too. It
 * makes its data with additions and multiplications alone, since sines and logarithms differ between engines. */
import { parametersFor, seeded, sizeOf, tensor } from './data.js';

/* ---- data ---------------------------------------------------------------------------------------------------------- */

/** 2 to the power of k, an integer. */
const power = (k) => (k < 0 ? power(k + 1) / 2 : k > 0 ? power(k - 1) * 2 : 1);

/** Values around a center; most are close to it. */
function normal(shape, seed, center = 0, deviation = 1) {
  const next = seeded(seed);
  return tensor(shape, () => center + deviation * (next() + next() - 1) * 2.5);
}

/** X and gradOutput of such values. */
const usual = (shape, seed, center = 3, deviation = 2) => ({
  X: normal(shape, seed, center, deviation),
  gradOutput: normal(shape, seed + 1000, 0.25),
});

/**
 * X and gradOutput with magnitudes from 2⁻²⁰ to 2²⁰. In each channel, the values of X, those of gradOutput and their products cancel
 * when they are added. Little more than rounding errors remains, so a different order of additions changes every digit.
 */
function wide(shape, seed) {
  const next = seeded(seed);
  const [batch, channels] = shape;
  const spatial = sizeOf(shape) / batch / channels;
  const [X, gradOutput] = [tensor(shape, () => 0), tensor(shape, () => 0)];
  for (let c = 0; c < channels; c++) {
    const places = Array.from({ length: batch * spatial }, (_, k) => k);
    for (let k = places.length - 1; k > 0; k--) {
      const other = Math.floor(next() * (k + 1));
      [places[k], places[other]] = [places[other], places[k]];
    }
    let x = 0;
    let g = 0;
    places.forEach((place, k) => {
      if (k % 4 === 0) [x, g] = [0, 1].map(() => (next() - 0.5) * power(Math.floor(next() * 41) - 20));
      const at = (Math.floor(place / spatial) * channels + c) * spatial + (place % spatial);
      X.data[at] = k % 2 ? x : -x;
      gradOutput.data[at] = k % 4 < 2 ? g : -g;
    });
  }
  return { X, gradOutput };
}

/**
 * X with values of about 2^first at the start of a block (0 if `first` is null) and about 2^rest elsewhere. Its mean is close to 0, since
 * every second row is the negative of the one before it. In columns, the start is one row, and the batch is odd. In slabs, the start is
 * 8 positions, or 7 in every second channel.
 */
function starting({ shape, columns }, seed, first, rest) {
  const next = seeded(seed);
  const [batch, channels] = shape;
  const row = sizeOf(shape) / batch;
  const spatial = row / channels;
  const X = tensor(shape, next);
  X.data.forEach((value, i) => {
    const b = Math.floor(i / row);
    const c = Math.floor((i % row) / spatial);
    if (columns ? b === 0 : i % spatial < 8 - (c % 2)) X.data[i] = first === null ? 0 : (value - 0.5) * power(first);
    else if (b % 2 === (columns ? 0 : 1)) X.data[i] = -X.data[i - row];
    else X.data[i] = (value - 0.5) * power(rest);
  });
  return { X, gradOutput: normal(shape, seed + 1000) };
}

/** A tensor with some values changed by (value, i) → value. */
const changed = ({ data, shape }, change) => ({ data: data.map(change), shape });

/* ---- problems ------------------------------------------------------------------------------------------------------ */

/** X and gradOutput with parameters. In some channels these are not float32 numbers, so that inference uses double. */
function problem({ X, gradOutput }, options = {}) {
  const { axis = 1 } = options;
  const channels = X.shape[axis < 0 ? X.shape.length + axis : axis];
  const { gamma, beta, runningMean, runningVar } = parametersFor(channels);
  return {
    ...{ X, gradOutput, axis, channels, gamma, epsilon: 1e-3, relu: false, unbiased: false, bounded: false },
    beta: Float64Array.from(beta, (value, c) => value + (c % 3 === 1 ? c / 3 : 0)),
    mean: Float64Array.from(runningMean, (value, c) => value + (c % 3 === 2 ? c / 7 : 0)),
    variance: Float64Array.from(runningVar, (value, c) => value + c / 5),
    ...options,
  };
}

/** Without relu and with it. */
const both = (data, options) => [false, true].map((relu) => problem(data, { ...options, relu }));

/** One number per channel: the same for all, or the result of a function of the channel. */
const fill = ({ shape }, number) =>
  Float64Array.from({ length: shape[1] }, (_, c) => (typeof number === 'function' ? number(c) : number));

/** For each shape, usual data and wide data. */
const ofShapes = (shapes) =>
  shapes.flatMap((shape, k) => [...both(usual(shape, k), { unbiased: true }), ...both(wide(shape, k))]);

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, k) => from + k);

/** Both layouts, with and without values left after the last vector. In slabs of at least 8 or 64 positions, the first values decide
 * whether double is used. */
const SHAPES = [
  { shape: [2, 4, 8, 9], columns: false },
  { shape: [2, 3, 7, 9], columns: false },
  { shape: [2, 9, 1, 8], columns: false },
  { shape: [21, 4, 1, 3], columns: true },
  { shape: [51, 3, 1, 1], columns: true },
];

/** Problems for each of these shapes. */
const ofEach = (make) => SHAPES.flatMap((layout, k) => make(layout, k));

/** Problems for each of these shapes and each exponent of 2 in a range. */
const around = (from, to, make) => ofEach((layout, k) => range(from, to).flatMap((exponent) => make(layout, exponent, 10 * k)));

/** Random shapes: both layouts, tiny or not, some with channels last. The smaller ones are also checked against docs/numerics.md. */
function drawn() {
  const next = seeded(2026);
  const upTo = (most) => 1 + Math.floor(next() * most);
  const shapes = [
    [2, 2, 2, 2],
    [4, 3, 16, 20],
    [40, 3, 2, 3],
    [64, 33, 1, 1],
    [1, 1, 1, 1],
    ...range(0, 59).map((k) => (k % 2 ? [upTo(40), upTo(9), upTo(6), upTo(6)] : [upTo(5), upTo(9), upTo(25), upTo(25)])),
  ];
  return shapes.map((shape, k) => {
    const [batch, channels, height, width] = shape;
    const last = k % 3 === 2;
    const { runningMean: mean, runningVar: variance, ...parameters } = parametersFor(channels);
    const data = usual(last ? [batch, height, width, channels] : shape, k, 100 * (next() - 0.5), 3);
    const relu = k % 2 === 1;
    const unbiased = relu && batch * height * width > 1;
    const bounded = sizeOf(shape) < 5000;
    return problem(data, { ...parameters, mean, variance, axis: last ? -1 : 1, relu, unbiased, bounded });
  });
}

/**
 * Problems in which the last digit of a double decides how the scale, and one output per channel, are rounded to float32; inference uses
 * double for such a channel. Parameters are tried until another order of the same operations rounds differently.
 */
function halfway(shape, seed) {
  const data = usual(shape, seed);
  const [batch, channels] = shape;
  const spatial = sizeOf(shape) / batch / channels;
  const { mean, variance } = problem(data);
  const [gammaOfScale, gamma, beta] = [0, 1, 2].map(() => fill(data.X, 0));
  for (let c = 0; c < channels; c++) {
    const middle = 1 + (2 * c + 1) * power(-24);
    let std = 0;
    do {
      variance[c] += 0.125;
      std = Math.sqrt(variance[c]);
      gammaOfScale[c] = middle * std;
    } while (Math.fround(gammaOfScale[c] * (1 / std)) === Math.fround(gammaOfScale[c] / std));
    // The deviation of a value in the last image, at a different position in each channel.
    const deviation = data.X.data[((batch - 1) * channels + c + 1) * spatial - 1 - (c % spatial)] - mean[c];
    gamma[c] = (5 * std) / deviation;
    do {
      gamma[c] *= 1.0625;
      beta[c] = middle - deviation * (1 / std) * gamma[c];
    } while (
      Math.fround(deviation * (1 / std) * gamma[c] + beta[c]) === Math.fround(deviation * ((1 / std) * gamma[c]) + beta[c])
    );
  }
  return [
    ...both(data, { gamma: gammaOfScale, mean: fill(data.X, 0), variance, epsilon: 0 }),
    ...both(data, { gamma, beta, variance, epsilon: 0 }),
  ];
}

/* ---- groups -------------------------------------------------------------------------------------------------------- */

/** The steps: forward or gradient, and whether the gradient gets statistics. */
const STEPS = {
  training: { gradient: false, training: true, given: false },
  inference: { gradient: false, training: false, given: true },
  gradient: { gradient: true, training: true, given: false },
  'gradient, statistics given': { gradient: true, training: true, given: true },
  'gradient in inference': { gradient: true, training: false, given: true },
};

/**
 * A named group of problems, which are made when they are first used.
 * @param {string} name @param {() => any[]} make
 * @param {{ steps?: string[], large?: boolean }} [options] steps to take (default: all); whether the problems are too large for the arena
 *   of hashesOf
 */
function group(name, make, { steps = Object.keys(STEPS), large = false } = {}) {
  let problems = null;
  return {
    ...{ name, steps, large },
    get problems() {
      problems ??= make();
      return problems;
    },
  };
}

/** Tensors that never use the kernel. */
export const TINY = group('up to 128 values', () => drawn().filter(({ X }) => X.data.length <= 128));

/** Groups for both the kernel and plain JavaScript. */
const BOTH = [
  group('means far from zero', () => {
    const shape = [3, 60, 1, 35];
    const { X, gradOutput } = usual(shape, 0, 1.6e7, 9);
    const [gamma, beta] = [1.3 * power(-125), 0].map((number) => fill(X, number));
    const nearly = changed(X, (value, i) => (value - 1.6e7) / 8 + gradOutput.data[i] / 1024);
    return [
      ...ofEach(({ shape }, k) => [
        ...both(usual(shape, k, 1e6, 0.1)),
        ...both(usual(shape, k, -3e4, 1e-3)),
        ...both(usual(shape, k, 3e7, 40)),
      ]),
      // Computed in double; also with gradients close to X's deviations, so that the input gradients are small.
      problem({ X, gradOutput }, { gamma, beta }),
      problem({ X, gradOutput: nearly }, { gamma, beta }),
    ];
  }),
  group('means that rise from block to block', () =>
    [
      [19, 2, 1, 41],
      [5, 2, 1, 600],
      [1, 2, 1, 9001],
      [600, 3, 1, 1],
      [771, 2, 1, 2],
    ].flatMap((shape, k) => {
      const rising = (to) => changed(to, (value, i) => value / 16 + (9 * i) / sizeOf(shape));
      const { X, gradOutput } = usual(shape, k);
      return both({ X: rising(X), gradOutput: rising(gradOutput) });
    }),
  ),
  group('means halfway between two float32s', () =>
    [
      [2, 9, 7, 7],
      [98, 9, 1, 1],
    ].flatMap((shape, k) => {
      const row = sizeOf(shape.slice(1));
      const X = tensor(shape, (i) => {
        const c = Math.floor(((i % row) * shape[1]) / row);
        return 1 + c / 8 + (9 * c + ((i + Math.floor(i / row) * (row - 1)) % 2)) * power(-23);
      });
      return [X, usual(shape, k).gradOutput].flatMap((gradOutput) => both({ X, gradOutput }, { epsilon: 1e-15 }));
    }),
  ),
  group('scales and outputs halfway between two float32s', () => ofEach(({ shape }, k) => halfway(shape, k))),
  group('equal values', () =>
    ofEach(({ shape }, k) =>
      [() => 5.1, (_, i) => (i % 2 ? -0 : 0), () => -0, (_, i) => Math.floor((7 * i) / sizeOf(shape)) / 10].flatMap((change) => {
        const { X, gradOutput } = usual(shape, k);
        const data = { X: changed(X, change), gradOutput };
        const [none, negative] = [0, -0].map((number) => fill(X, number));
        return [
          ...both(data),
          ...both(data, { beta: negative, mean: none }),
          ...both(data, { beta: fill(X, -1e-50), mean: none }),
          ...both(data, { gamma: fill(X, -1), beta: negative, mean: none, variance: fill(X, power(-300)), epsilon: 0 }),
        ];
      }),
    ),
  ),
  group('equal gradients, and all equal but the last', () =>
    ofEach(({ shape }, k) =>
      [usual(shape, k), wide(shape, k)].flatMap(({ X, gradOutput }) => {
        const equal = changed(gradOutput, () => 0.1);
        const butLast = changed(equal, (value, i) => (i === X.data.length - 1 ? 0.2 : value));
        return [equal, butLast].flatMap((gradients) => both({ X, gradOutput: gradients }));
      }),
    ),
  ),
  group('NaN, infinity and the like', () =>
    ofEach(({ shape }, k) =>
      [Number.NaN, Infinity, -Infinity, -0, 3e38, 1e-45].flatMap((special) => {
        const { X, gradOutput } = usual(shape, k);
        const put = (to) => changed(to, (value, i) => (i % 97 === 5 || i === 17 ? special : value));
        const given = fill(X, (c) => (c % 2 ? special : c));
        return [
          ...both({ X: put(X), gradOutput }),
          ...both({ X, gradOutput: put(gradOutput) }),
          ...both({ X: put(X), gradOutput: put(gradOutput) }),
          ...both({ X, gradOutput }, { mean: given }),
          ...both({ X, gradOutput }, { beta: given }),
          ...both({ X, gradOutput }, { gamma: given }),
          problem({ X, gradOutput }, { variance: fill(X, (c) => (c % 2 && special > -1 ? special : -0.001)) }),
        ];
      }),
    ),
  ),
  group('shapes drawn at random', () => drawn().filter(({ X }) => X.data.length > 128)),
  TINY,
  group('12 MB', () => [problem(usual([3, 4, 500, 501], 99))], { steps: ['training'], large: true }),
  // X and its gradients together are larger than the kernel's memory.
  group('two of 4 MB', () => [problem(usual([1, 1, 1100, 1000], 100))], { steps: ['gradient'], large: true }),
];

/** Groups for 'batchnorm' with its kernel. */
const KERNEL = [
  group('slabs of 32 to 98 positions', () => ofShapes(range(32, 98).map((width) => [2, 3, 1, width]))),
  group('slabs of 3 to 31 positions', () => ofShapes(range(3, 31).map((width) => [1, Math.ceil(129 / width), 1, width]))),
  group('slabs in blocks of 8 rows', () =>
    ofShapes([...[7, 8, 9, 15, 16, 17, 23, 24].map((batch) => [batch, 2, 1, 41]), [9, 2, 1, 511], [17, 2, 7, 73]]),
  ),
  group('slabs of 512 positions and more, each a block', () =>
    ofShapes([
      [3, 3, 1, 512],
      [9, 1, 1, 513],
      [2, 2, 25, 31],
    ]),
  ),
  group('slabs of several blocks', () =>
    ofShapes([
      [2, 1, 1, 4095],
      [2, 1, 1, 4096],
      [2, 2, 1, 4097],
      [1, 1, 91, 91],
      [1, 2, 1, 12289],
    ]),
  ),
  group('columns of one position, 1 to 9 in a row', () =>
    ofShapes(range(1, 9).flatMap((channels) => range(0, 3).map((more) => [Math.ceil(129 / channels) + more, channels, 1, 1]))),
  ),
  group('columns of 2 to 31 positions', () => ofShapes(range(2, 31).map((width) => [12 + (width % 4), 6, 1, width]))),
  group('columns in blocks of 256 rows', () =>
    ofShapes([255, 256, 257, 259, 511, 512, 513, 771].flatMap((batch) => [[batch, 3, 1, 1], ...[[batch, 2, 1, 2]]])),
  ),
  group('the limits of the layouts', () =>
    ofShapes([
      [1, 70, 1, 2],
      [1, 70, 1, 3],
      [2, 20, 1, 5],
      [2, 20, 1, 6],
      [5, 6, 1, 14],
      [5, 6, 1, 15],
      [10, 3, 1, 29],
      [10, 3, 1, 30],
      [11, 3, 1, 31],
      [11, 3, 1, 32],
      [40, 3, 1, 31],
      [40, 3, 1, 32],
    ]),
  ),
  group('several ranges of channels, and several pieces', () => [
    problem(usual([8, 65, 32, 32], 0)),
    ...both(wide([60, 7, 1, 300], 1)),
    ...both(wide([1300, 56, 1, 1], 2)),
    ...both(wide([1, 1, 1, 70001], 3)),
  ]),
  group('squares around 1e36', () =>
    around(50, 63, ({ shape }, exponent, seed) => problem(usual(shape, seed, 0, power(exponent)))),
  ),
  group('squares around 1e-28', () =>
    around(-50, -40, (layout, exponent, seed) => problem(starting(layout, seed, null, exponent), { epsilon: 0 })),
  ),
  group('first deviations around 2^-45', () =>
    around(-49, -40, (layout, exponent, seed) => problem(starting(layout, seed, exponent, -38), { epsilon: 0 })),
  ),
  group('squares that vanish, epsilon around 1e-30', () =>
    ofEach((layout, k) =>
      [0, 1e-31, 5e-31, 1e-30, 2e-30, 1e-29].map((epsilon) => problem(starting(layout, k, null, -84), { epsilon })),
    ),
  ),
  group('variances around 2^-230', () =>
    around(-119, -111, ({ shape }, exponent, seed) => both(usual(shape, seed, 0, power(exponent)), { epsilon: 0 })),
  ),
  group('first values to scale around 2^-115', () => {
    const bothOf = ({ X, gradOutput }) => {
      const [beta, mean, variance] = [0.5, 0, 1.7 * power(-210)].map((number) => fill(X, number));
      return both({ X, gradOutput }, { epsilon: 0, beta, mean, variance });
    };
    const long = starting({ shape: [2, 2, 1, 4200], columns: false }, 1, -100, -100);
    const inSecondBlock = (value, i) => (i % 4200 >= 4096 && i % 4200 < 4104 ? value * power(-20) : value);
    return [
      ...around(-118, -110, (layout, exponent, seed) => bothOf(starting(layout, seed, exponent, -100))),
      ...bothOf({ X: changed(long.X, inSecondBlock), gradOutput: long.gradOutput }),
    ];
  }),
  group('scales around 2^-126', () =>
    around(-130, -110, ({ shape }, exponent, seed) => {
      const data = { X: normal(shape, seed, 0, 256), gradOutput: normal(shape, seed + 1000, 0, 256) };
      return problem(data, { gamma: fill(data.X, (c) => (c % 2 ? 1.3 * power(exponent) : 1)), variance: fill(data.X, 1) });
    }),
  ),
  group('scales around 2^127', () =>
    around(114, 130, ({ shape }, exponent, seed) => {
      const data = { X: normal(shape, seed, 0, power(-8)), gradOutput: normal(shape, seed + 1000, 0, power(-40)) };
      return problem(data, {
        epsilon: 0,
        gamma: fill(data.X, (c) => (c % 2 ? 1 : 1.3 * power(exponent))),
        variance: fill(data.X, 1),
      });
    }),
  ),
  group('shifts around 2^102', () =>
    around(98, 105, ({ shape }, exponent, seed) => {
      const data = usual(shape, seed);
      return both(data, {
        gamma: fill(data.X, power(95)),
        beta: fill(data.X, (c) => (c % 2 ? 1 : -1.25) * power(exponent)),
      });
    }),
  ),
  group('means around 2^102', () =>
    around(98, 105, ({ shape }, exponent, seed) => {
      const data = usual(shape, seed, power(exponent), power(exponent - 8));
      return both(data, { mean: fill(data.X, 1.125 * power(exponent)), variance: fill(data.X, power(2 * exponent - 16)) });
    }),
  ),
  group('gradients around 2^102', () =>
    around(97, 106, ({ shape }, exponent, seed) => {
      const { X } = usual(shape, seed);
      return [
        problem({ X, gradOutput: normal(shape, seed, power(exponent), power(exponent - 12)) }),
        problem({ X, gradOutput: normal(shape, seed, 0, power(exponent)) }),
      ];
    }),
  ),
  group('constants of gradients around 2^102', () =>
    [
      [2, 4, 8, 9],
      [22, 4, 1, 2],
    ].flatMap((shape) =>
      range(26, 36).map((exponent) => {
        const { X } = usual(shape, exponent);
        // Every second value repeats the one before it. Gradients alternate between two adjacent float32s, so the slope is near 0.
        for (let i = 1; i < X.data.length; i += 2) X.data[i] = X.data[i - 1];
        const gradOutput = tensor(shape, (i) => (i % 2 ? power(95) + power(72) : power(95)));
        return problem({ X, gradOutput }, { gamma: fill(X, power(exponent)) });
      }),
    ),
  ),
  ...BOTH,
];

/** Groups for 'batchnorm/js', and for 'batchnorm' without a kernel. */
const PLAIN = [
  group('slabs of 1 to 11 positions', () => ofShapes(range(1, 11).map((width) => [3, 2, 1, width]))),
  group('long slabs', () =>
    ofShapes([
      [1, 2, 1, 1023],
      [3, 1, 13, 16],
    ]),
  ),
  group('1 to 4 positions, of 31 images and more', () =>
    ofShapes([31, 32, 33, 35].flatMap((batch) => range(1, 4).map((width) => [batch, 3, 1, width]))),
  ),
  group('tiny and huge values', () =>
    ofEach(({ shape }, k) =>
      [-140, -100, -60, 60, 100, 120].map((exponent) =>
        problem({ X: normal(shape, k, 0, power(exponent)), gradOutput: normal(shape, k, 0, power(-exponent)) }, { epsilon: 0 }),
      ),
    ),
  ),
  ...BOTH,
];

/** The groups by backend. */
export const GROUPS = { 'wasm-simd': KERNEL, js: PLAIN };

/* ---- calls --------------------------------------------------------------------------------------------------------- */

/** The arguments of the forward call after X, without out and statistics. */
export function argumentsOf({ gamma, beta, mean, variance, epsilon, axis, relu, unbiased }, { training }) {
  return [gamma, beta, mean, variance, 0.3, epsilon, training, { axis, relu, unbiased }];
}

/** The options of the gradient, without out. */
export function gradientOptionsOf({ gamma, beta, mean, variance, epsilon, axis, relu }, { training, given }) {
  return { gamma, beta, statistics: given ? { mean, variance } : null, epsilon, training, axis, relu };
}

/** The results of a step of a problem, and the statistics that the forward call saved. */
function take(library, problem, step, X, gradOutput, out) {
  if (step.gradient)
    return library
      .batchNormalizationGradient(gradOutput, X, { ...gradientOptionsOf(problem, step), out })
      .map(({ data }) => data);
  const [options, ...args] = argumentsOf(problem, step).reverse();
  const statistics = { mean: new Float64Array(problem.channels), variance: new Float64Array(problem.channels) };
  const results = library.batchNormalization(X, ...args.reverse(), { ...options, statistics, out });
  return [...results.map(({ data }) => data), statistics.mean, statistics.variance];
}

/* Kept in a constant, since in Jest each look-up of a global takes a tenth of a microsecond. */
const { imul } = Math;
const { NaN: nan, isNaN: isNone } = Number;

/** On big-endian machines, the high word of a double comes first. */
const isBigEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 0;

/** FNV-1a over the words of float and double arrays. All NaNs count as equal, and a shift makes signs affect other bits too. */
function hash(start, arrays) {
  let value = start;
  for (const data of arrays) {
    const copy = data.slice();
    for (let i = 0; i < copy.length; i++) if (isNone(copy[i])) copy[i] = nan;
    const words = new Uint32Array(copy.buffer);
    const swap = isBigEndian && words.length > copy.length ? 1 : 0;
    for (let i = 0; i < words.length; i++) {
      value = imul(value ^ words[i ^ swap], 0x01000193);
      value ^= value >>> 15;
    }
  }
  return value;
}

/** Which of X, gradOutput and the output are in an arena, and whether the output overwrites X, or gradOutput in the gradient. */
export const WAYS = {
  'by copies': { home: [], inPlace: false },
  'in place': { home: [], inPlace: true },
  'in an arena': { home: ['X', 'gradOutput', 'out'], inPlace: false },
  'in an arena, in place': { home: ['X', 'gradOutput'], inPlace: true },
  'from an arena': { home: ['X', 'gradOutput'], inPlace: false },
  'into an arena': { home: ['out'], inPlace: false },
  'X alone in an arena': { home: ['X'], inPlace: false },
  'gradOutput alone in an arena, in place': { home: ['gradOutput'], inPlace: true },
};

/** Runs groups through a library in one of these ways. Passes the results to `look`. Returns the hash of each group and step. */
export function hashesOf(library, groups, way, look = () => {}) {
  const { home, inPlace } = WAYS[way];
  const arena = home.length > 0 ? new library.Arena(8 << 20) : null;
  const place = (name, { data, shape }) => {
    const placed = home.includes(name) ? arena.tensor(shape) : { data: new Float32Array(data.length), shape };
    placed.data.set(data);
    return placed;
  };
  const hashes = {};
  for (const group of groups) {
    if (arena && group.large) continue;
    for (const step of group.steps) {
      const name = `${group.name}: ${step}`;
      let value = 0x811c9dc5 | 0;
      for (const problem of group.problems) {
        arena?.reset();
        const [X, gradOutput] = [place('X', problem.X), place('gradOutput', problem.gradOutput)];
        const source = STEPS[step].gradient ? gradOutput : X;
        const out = inPlace ? source : home.includes('out') ? arena.tensor(source.shape) : undefined;
        const results = take(library, problem, STEPS[step], X, gradOutput, out);
        value = hash(value, results);
        look(name, problem, STEPS[step], results);
      }
      hashes[name] = (value >>> 0).toString(16).padStart(8, '0');
    }
  }
  return hashes;
}
