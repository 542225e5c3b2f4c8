/* Makes problems from seeds, with any shape, axis and options, and with data that lose digits. Also makes the small changes of a
 * problem with which the fuzzer climbs towards the bounds. */
import { blocksOf } from '../../js/plan.js';
import { seeded } from '../data.js';

export const FLOAT32_MAX = 3.4028234663852886e38;

/** Random numbers from a seed. */
export class Draw {
  constructor(seed) {
    this.next = seeded(seed);
  }
  /** From 1 to `most`. */
  upTo(most) {
    return 1 + Math.floor(this.next() * most);
  }
  chance(probability) {
    return this.next() < probability;
  }
  any(list) {
    return list[Math.floor(this.next() * list.length)];
  }
  between(a, b) {
    return a + (b - a) * this.next();
  }
  sign() {
    return this.chance(0.5) ? 1 : -1;
  }
  /** A number of random magnitude, between two powers of two. */
  power(least, most) {
    return 2 ** this.between(least, most);
  }
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

const floatBits = new Float32Array(1);
const intBits = new Int32Array(floatBits.buffer);

/** The finite float32 that is `steps` float32s further from zero, or closer to it if `steps` is negative. */
export function nudge(value, steps) {
  floatBits[0] = value;
  intBits[0] += steps;
  return Number.isFinite(floatBits[0]) ? floatBits[0] : value;
}

/** The nearest finite float32. */
const finite = (value) => Math.fround(Math.max(-FLOAT32_MAX, Math.min(FLOAT32_MAX, value)));

/* ---- data of one channel ----------------------------------------------------------------------------------------- */

/** A scale, mostly an ordinary one. */
function scaleOf(draw) {
  const kind = draw.next();
  if (kind < 0.6) return draw.power(-10, 10);
  if (kind < 0.8) return draw.power(-60, 60);
  return draw.any([
    () => draw.power(-149, 127),
    () => draw.power(-149, -126),
    // With these scales, squares are tiny, 0 or infinite in float32, or values are near a limit of float32 or of the kernel.
    () => draw.power(-55, -40),
    () => draw.power(-78, -56),
    () => draw.power(-118, -112),
    () => draw.power(56, 64),
    () => draw.power(100, 104),
    () => draw.power(124, 128),
  ])();
}

/** Kinds of data. Each returns a function that makes a value from its index and from the number of its block. */
const KINDS = {
  normal(draw, scale) {
    const center = draw.chance(0.3) ? 0 : draw.sign() * scale * draw.power(-4, 26);
    return () => center + scale * draw.normal();
  },
  lattice(draw, scale) {
    const step = 2 ** Math.round(Math.log2(scale));
    const base = draw.sign() * step * Math.round(draw.power(0, 24));
    const width = draw.any([2, 3, 10, 1000]);
    return () => base + step * Math.floor(draw.next() * width);
  },
  neighbors(draw, scale) {
    const base = finite(draw.chance(0.5) ? 2 ** Math.round(Math.log2(scale)) : scale);
    const steps = draw.any([1, 2, 3]);
    const share = draw.any([0.5, 0.1, 0.01]);
    return () => (draw.chance(share) ? nudge(base, draw.any([-steps, steps])) : base);
  },
  equalButFew(draw, scale, count) {
    const most = draw.chance(0.2) ? 0 : draw.sign() * scale;
    const one = draw.any([() => nudge(finite(most), 1), () => scale * draw.power(-20, 30), () => -most, () => 0])();
    const few = new Set(Array.from({ length: draw.any([1, 1, 2, 5]) }, () => draw.upTo(count) - 1));
    return (i) => (few.has(i) ? one : most);
  },
  equal(_, scale) {
    return () => scale;
  },
  twoValues(draw, scale) {
    const [a, b] = [scale, draw.sign() * scale * draw.power(-30, 30)];
    const share = draw.next();
    return () => (draw.chance(share) ? a : b);
  },
  mixture(draw, scale) {
    const width = draw.any([3, 12, 30, 130]);
    return () => draw.sign() * scale * draw.power(-width, width);
  },
  pairs(draw, scale) {
    let last = 0;
    const rest = draw.chance(0.5) ? 0 : draw.power(-40, -10);
    return (i) => {
      last = i % 2 ? -last * (1 + rest * draw.normal()) : scale * draw.normal();
      return last;
    };
  },
  ramp(draw, scale, count) {
    const base = draw.chance(0.5) ? 0 : scale * draw.power(0, 20);
    return (i) => base + (scale * i) / count;
  },
  blocks(draw, scale) {
    const height = draw.power(-3, 24);
    return (_, block) => scale * (height * ((block * 7) % 5) + draw.normal());
  },
  scaledBlocks(draw, scale) {
    return (_, block) => scale * 2 ** (-9 * ((block * 3) % 7)) * draw.normal();
  },
  outlier(draw, scale, count) {
    const [at, height] = [draw.upTo(count) - 1, draw.sign() * draw.power(5, 40)];
    return (i) => scale * (i === at ? height : draw.normal());
  },
  /** Large and small deviations. If their squares are added in float32, those of the small ones are just lost. */
  vanishing(draw, scale) {
    const exponent = draw.between(-13, -11);
    const gap = draw.any([4, 8, 16, 32]);
    const center = draw.chance(0.5) ? 0 : draw.power(-30, 20);
    return (i) =>
      scale * (center + (i % gap === 0 ? draw.between(0.9, 1.1) : draw.sign() * 2 ** exponent * draw.between(0.9, 1.1)));
  },
  tinyFirst(draw, scale) {
    const center = draw.chance(0.7) ? 0 : 1;
    const [first, others] = [draw.power(-140, -20), draw.power(-120, 0)];
    const length = draw.any([1, 8, 9, 64]);
    return (i) => scale * (center + (i % 4096 < length ? first : others) * draw.normal());
  },
  /** The first values equal the mean, and the others are pairs around it. Often their squares underflow in float32. */
  equalFirst(draw, anyScale) {
    const scale = draw.chance(0.5) ? anyScale : draw.power(-78, -44);
    const center = draw.chance(0.7) ? 0 : 2 ** Math.round(draw.between(0, 20));
    const length = 2 * draw.any([1, 4, 5, 32, 150]);
    const share = draw.any([1, 1, 0.1]);
    let last = 0;
    return (i) => {
      last = i % 2 ? -last : Number(draw.chance(share)) * draw.normal();
      return scale * (center + (i % 4096 < length ? 0 : last));
    };
  },
  bits(draw) {
    return () => {
      intBits[0] = draw.next() * 2 ** 32;
      return Number.isNaN(floatBits[0]) ? 0 : floatBits[0];
    };
  },
};
const NAMES = Object.keys(KINDS);

function fill(draw, count, blockOf) {
  const name = draw.any(NAMES);
  const value = KINDS[name](draw, scaleOf(draw), count);
  const values = Float32Array.from({ length: count }, (_, i) => finite(value(i, blockOf(i))));
  if (draw.chance(0.04))
    for (let k = draw.upTo(3); k > 0; k--) values[draw.upTo(count) - 1] = draw.any([Number.NaN, Infinity, -Infinity]);
  return values;
}

/** A channel's statistics, approximately. */
function about(values) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return { mean, variance: values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length };
}

/** Gradients of a channel: random data like X's, or related to its output. */
function gradientsOf(draw, x, epsilon, blockOf) {
  if (draw.chance(0.6)) return fill(draw, x.length, blockOf);
  const { mean, variance } = about(x);
  const scale = draw.chance(0.7) ? draw.power(-5, 5) : scaleOf(draw);
  const shift = draw.chance(0.5) ? 0 : draw.normal() * draw.power(-3, 15);
  const noise = draw.chance(0.3) ? 0 : draw.power(-30, -5);
  const std = Math.sqrt(variance + epsilon);
  const at = draw.upTo(x.length) - 1;
  const value = draw.any([
    (i) => ((x[i] - mean) / std) * (1 + noise * draw.normal()) + shift,
    () => 1 + noise * draw.normal(),
    () => 1,
    (i) => Number(i === at),
    (i) => x[i] / scale,
    () => draw.normal() + shift,
  ]);
  return Float32Array.from(x, (_, i) => finite(scale * value(i)) || 0);
}

/* ---- shapes, and the arguments of a call ------------------------------------------------------------------------- */

const SIZES = [1, 1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 27, 31, 32, 33, 49, 64, 100, 511, 512, 513, 1000, 4095, 4096, 4097, 9000];

function dimensionsOf(draw) {
  const kind = draw.next();
  const total = kind < 0.2 ? draw.upTo(128) : kind < 0.85 ? draw.upTo(3000) : draw.upTo(kind < 0.98 ? 30000 : 300000);
  const spatial = Math.min(total, draw.chance(0.8) ? draw.any(SIZES) : draw.upTo(total));
  const rows = Math.floor(total / spatial);
  const channels = Math.min(rows, draw.any([1, 1, 2, 3, draw.upTo(20), draw.upTo(Math.min(rows, 300))]));
  return { batch: Math.floor(rows / channels), channels, spatial };
}

/** Factors a size into up to `most` sizes; into none if it is 1. */
function factors(draw, size, most) {
  const sizes = size === 1 ? [] : [size];
  for (let k = draw.upTo(most) - sizes.length; k > 0 && sizes.length < most; k--) {
    const at = Math.floor(draw.next() * (sizes.length + 1));
    const divisors = [1, 2, 3, 5, 7, 16].filter((divisor) => at < sizes.length && sizes[at] % divisor === 0);
    const divisor = draw.any(divisors.length > 0 ? divisors : [1]);
    if (at < sizes.length) sizes[at] /= divisor;
    sizes.splice(at, 0, divisor);
  }
  return sizes;
}

/** A shape of rank 1 to 8 with these dimensions, and its axis as the call gets it. */
export function shapeOf(draw, { batch, channels, spatial }) {
  const before = factors(draw, batch, draw.any([1, 1, 2, 4]));
  const after = factors(draw, spatial, draw.any([1, 2, 2, 3]));
  const shape = [...before, channels, ...after];
  const at = before.length;
  const axis = at === 1 && shape.length > 1 && draw.chance(0.5) ? undefined : draw.any([at, at - shape.length]);
  return { shape, axis };
}

const FORMS = ['array', 'float32', 'float64'];

/** Numbers per channel in a random form, or null. */
function numbersOf(draw, channels, nothing, number) {
  if (draw.chance(nothing)) return null;
  const form = draw.any(FORMS);
  const values = Float64Array.from({ length: channels }, (_, c) => number(c));
  return { form, values: form === 'float32' ? values.map(finite) : values };
}

export const positionOf = ({ channels, spatial }, c, i) => (Math.floor(i / spatial) * channels + c) * spatial + (i % spatial);

/** The values of one channel. */
export function channelOf(problem, data, c) {
  const count = problem.batch * problem.spatial;
  if (problem.channels === 1) return data;
  return Float32Array.from({ length: count }, (_, i) => data[positionOf(problem, c, i)]);
}

/** @param {number} seed */
export function problemOf(seed) {
  const draw = new Draw(seed);
  const dimensions = dimensionsOf(draw);
  const { batch, channels, spatial } = dimensions;
  const count = batch * spatial;
  const [columns] = blocksOf(batch, channels, spatial);
  const blockOf = (i) =>
    columns ? Math.floor(i / spatial / columns) : Math.floor((i % spatial) / 4096) + Math.floor(i / spatial / 8);
  const x = new Float32Array(count * channels);
  const g = new Float32Array(count * channels);
  const own = [];
  const epsilons = [1e-5, 1e-5, 1e-5, 1e-3, 0, 0, 1e-12, 1e-30, 9.99e-31, 1e-31, 1e-40, 1e-300, 1, 1e10];
  let epsilon = draw.any(epsilons);
  for (let c = 0; c < channels; c++) {
    const values = fill(draw, count, blockOf);
    own.push(about(values));
    const { variance } = own[c];
    if (c === 0 && draw.chance(0.1) && Number.isFinite(variance)) epsilon = variance * draw.power(-30, 10);
    const gradients = gradientsOf(draw, values, epsilon, blockOf);
    for (let i = 0; i < count; i++) {
      const at = positionOf(dimensions, c, i);
      x[at] = values[i];
      g[at] = gradients[i];
    }
  }
  const stdOf = (c) => Math.sqrt(own[c].variance + epsilon) || 1;
  const edge = () => draw.sign() * (1 + draw.any([0, 1e-7, -1e-7, 1e-3, -1e-3]));
  const gamma = numbersOf(draw, channels, 0.25, (c) =>
    draw.any([
      () => draw.normal(),
      () => draw.normal(),
      () => 1,
      () => draw.any([0, -1, 1.5, 4 / 3]),
      () => draw.sign() * draw.power(-140, 120),
      // The smallest and the largest scale that float32 is used for.
      () => edge() * 2 ** -126 * stdOf(c),
      () => edge() * 2 ** 127 * stdOf(c),
    ])(),
  );
  const beta = numbersOf(draw, channels, 0.25, (c) => {
    const value = x[positionOf(dimensions, c, draw.upTo(count) - 1)];
    return draw.any([
      () => draw.normal(),
      () => draw.any([0, -0, 0.5]),
      () => draw.sign() * draw.power(-149, 127),
      () => edge() * 2 ** 102,
      // An output close to 0, where relu decides.
      () => (-(value - own[c].mean) / stdOf(c)) * (gamma ? gamma.values[c] : 1) || 0,
      () => 10 * draw.normal(),
    ])();
  });
  const training = draw.chance(0.65);
  const kinds = Array.from({ length: channels }, () => draw.any(['own', 'near', 'rounded', 'far', 'any']));
  const runningMean = numbersOf(draw, channels, training ? 0.3 : 0, (c) => {
    const { mean } = own[c];
    if (!Number.isFinite(mean) || kinds[c] === 'any') return scaleOf(draw) * draw.normal();
    if (kinds[c] === 'near') return mean + stdOf(c) * draw.normal() * draw.power(-20, 1);
    if (kinds[c] === 'far') return mean + stdOf(c) * draw.power(0, 20);
    return kinds[c] === 'rounded' ? Math.fround(mean) : mean;
  });
  const runningVar = numbersOf(draw, channels, 0, (c) => {
    const { variance } = own[c];
    if (!Number.isFinite(variance) || kinds[c] === 'any') return draw.any([1, draw.power(-20, 20), 0, scaleOf(draw) ** 2]);
    if (kinds[c] === 'near') return variance * draw.power(-2, 2);
    if (kinds[c] === 'far') return draw.any([0, -epsilon / 2, variance * draw.power(-20, 20)]);
    return kinds[c] === 'rounded' ? Math.fround(variance) : variance;
  });
  // Rounded to float32, a negative variance may be less than −epsilon.
  runningVar.values.forEach((variance, c) => {
    if (variance + epsilon < 0) runningVar.values[c] = 0;
  });
  return {
    seed,
    ...dimensions,
    ...shapeOf(draw, dimensions),
    x,
    g,
    gamma,
    beta,
    runningMean,
    runningVar: runningMean && runningVar,
    momentum: draw.any([0, 0.1, 0.9, 1, draw.next()]),
    epsilon,
    training,
    unbiased: draw.chance(0.3) && count > 1,
    relu: draw.chance(0.35),
    statistics: training ? draw.any(['none', 'saved', runningMean ? 'running' : 'saved']) : 'running',
    forms: Math.floor(draw.next() * 2 ** 32),
  };
}

/* ---- small changes ----------------------------------------------------------------------------------------------- */

function changeValues(draw, given) {
  const values = given.slice();
  const place = () => Math.floor(draw.next() * values.length);
  const each = (change) => {
    for (let k = draw.any([1, 1, 1, 2, 4, 16]); k > 0; k--) {
      const i = place();
      values[i] = change(values[i]);
    }
  };
  draw.any([
    () => each((value) => nudge(value, draw.sign() * Math.round(draw.power(0, draw.any([0, 3, 12, 23]))))),
    () => each((value) => nudge(value, draw.sign() * Math.round(draw.power(0, draw.any([0, 3, 12, 23]))))),
    () => each(() => values[place()]),
    () => each((value) => -value),
    () => each((value) => finite(value * draw.power(-3, 3))),
    () => {
      const [factor, base] = [1 + draw.sign() * draw.power(-24, -2), draw.chance(0.5) ? 0 : values[place()]];
      for (let i = 0; i < values.length; i++) values[i] = finite(base + (values[i] - base) * factor);
    },
    () => {
      const shift = values[place()] * draw.sign() * draw.power(-24, 2);
      for (let i = 0; i < values.length; i++) values[i] = finite(values[i] + shift);
    },
    () => {
      const [from, value] = [place(), values[place()]];
      values.fill(value, from, from + draw.upTo(16));
    },
  ])();
  return values;
}

/** A copy of the problem with a small change of its data or numbers. */
export function change(problem, draw) {
  const key = draw.any(['x', 'x', 'x', 'x', 'g', 'g', 'gamma', 'beta', 'runningMean', 'runningVar', 'epsilon']);
  if (key === 'x' || key === 'g') return { ...problem, [key]: changeValues(draw, problem[key]) };
  const move = (value) => value * (1 + draw.sign() * draw.power(-52, -1));
  const numbers = problem[key];
  if (numbers === null) return change(problem, draw);
  const changed =
    key === 'epsilon'
      ? { ...problem, epsilon: move(numbers) }
      : {
          ...problem,
          [key]: { ...numbers, values: numbers.values.map(numbers.form === 'float32' ? (value) => finite(move(value)) : move) },
        };
  const { runningVar, epsilon } = changed;
  return runningVar?.values.some((variance) => variance + epsilon < 0) ? problem : changed;
}
