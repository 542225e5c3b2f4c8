/* Data on which gradients commonly lose digits, compared with the definition within the bounds of docs/numerics.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchNormalizationGradient as kernel } from '../js/index.js';
import { batchNormalizationGradient as plain } from '../js/index-plain.js';
import { normalTensor, parametersFor, seeded, seededNormal, sizeOf, tensor } from './data.js';
import { gradBetaBound, gradGammaBound, gradInputBound, gradientReference, positionsOf } from './gradient-reference.js';
import { assertSameBits } from './helpers.js';
import { statisticsOf } from './reference.js';

/* All tensors have more than 128 values, since smaller ones are always computed in plain JavaScript. */

/** Both layouts, slabs and columns, with one block and with several. */
const SHAPES = [
  [4, 3, 16, 20],
  [40, 3, 2, 3],
  [600, 3, 1, 1],
];

/** Many blocks per channel, in both layouts. */
const LARGE = [
  [1, 1, 301, 501],
  [30001, 1, 2, 2],
];

const each = (name, run, shapes = SHAPES) => {
  for (const shape of shapes) test(`${name}, [${shape}]`, () => run(shape));
};

const IMPLEMENTATIONS = { plain, kernel };

const everyWay = (name, run) => {
  for (const [key, gradient] of Object.entries(IMPLEMENTATIONS)) each(`${name}, ${key}`, (shape) => run(shape, gradient));
};

/** Room for the error of the reference itself: a few roundings of a double. */
const SLACK = 1 + 2 ** -20;
const FLOAT32_MAX = 3.4028234663852886e38;

/** Checks one value, unless rounding may make it overflow. Returns its error in units of the bound. */
function assertNear(actual, exact, bound, largest, where) {
  if (!Number.isFinite(exact)) {
    assert.ok(Object.is(actual, exact), `${where()}: ${actual}, not ${exact}`);
    return 0;
  }
  if (largest + bound > FLOAT32_MAX) {
    if (Math.abs(exact) - bound > FLOAT32_MAX && largest < 2 * Math.abs(exact))
      assert.equal(actual, Math.sign(exact) * Infinity, where());
    return 0;
  }
  const error = Math.abs(actual - exact);
  if (!(error <= bound * SLACK))
    assert.fail(`${where()}: ${actual}, not ${exact}; off by ${error}, ${error / bound} of the bound`);
  return error / bound;
}

/** Calls the implementations and compares their results with the reference. Returns the worst errors, in units of their bounds. */
function check(gradOutput, X, options = {}, message = '', implementations = IMPLEMENTATIONS) {
  const { training = true } = options;
  const expected = gradientReference(gradOutput, X, options);
  const { P, R, normalized } = expected;
  const worst = {};
  for (const [key, gradient] of Object.entries(implementations)) {
    const isPlain = gradient === plain || X.data.length <= 128;
    const [gradInput, gradGamma, gradBeta] = gradient(gradOutput, X, options);
    assert.deepEqual(gradInput.shape, X.shape);
    worst[key] = 0;
    let certain = 0;
    expected.channels.forEach((channel, c) => {
      // If rounding may decide whether relu masks a value, more than one result is right.
      if (channel.uncertain > 0) return;
      certain++;
      const hold = (actual, exact, bound, largest, name) => {
        const where = () => `${key}, ${message}: ${name} of [${X.shape}], channel ${c}`;
        worst[key] = Math.max(worst[key], assertNear(actual, exact, bound, largest, where));
      };
      for (const i of channel.positions) {
        const exact = expected.gradInput[i];
        const bound = gradInputBound(training, P[i], R[i], normalized[i], channel, isPlain);
        hold(gradInput.data[i], exact, bound, Math.max(P[i], R[i], Math.abs(exact)), 'gradInput');
      }
      for (const [name, actual, exact, bound] of [
        ['gradGamma', gradGamma, expected.gradGamma[c], gradGammaBound(training, expected.gradGamma[c], channel, isPlain)],
        ['gradBeta', gradBeta, expected.gradBeta[c], gradBetaBound(expected.gradBeta[c], channel, isPlain)],
      ])
        hold(actual.data[c], exact, bound, Math.abs(exact), name);
    });
    assert.ok(certain > 0, `${message}: every channel of [${X.shape}] has an output too close to 0`);
  }
  return worst;
}

const channelAt = (shape, i) => Math.floor(i / (shape[2] * shape[3])) % shape[1];

/** The statistics that a forward call would save: mean and variance per channel, rounded by `round`. */
function statisticsFor(X, round = (value) => value) {
  const result = { mean: new Float64Array(X.shape[1]), variance: new Float64Array(X.shape[1]) };
  positionsOf(X.shape).forEach((positions, c) => {
    const { mean, variance } = statisticsOf(Array.from(positions, (i) => X.data[i]));
    result.mean[c] = round(mean);
    result.variance[c] = round(variance);
  });
  return result;
}

/** Checks training and inference, with and without relu, and with every form of given statistics. */
function checkModes(gradOutput, X, options, message) {
  const { gamma, beta } = parametersFor(X.shape[1]);
  const saved = statisticsFor(X);
  const rounded = { mean: saved.mean.map(Math.fround), variance: saved.variance.map(Math.fround) };
  for (const [key, more] of Object.entries({
    training: {},
    'gamma and relu': { gamma, beta, relu: true },
    'saved statistics': { gamma, statistics: saved },
    'statistics in float32': { gamma, beta, statistics: rounded, relu: true },
    inference: { gamma, statistics: saved, training: false },
    'inference, float32, relu': { gamma, beta, statistics: rounded, training: false, relu: true },
  }))
    check(gradOutput, X, { ...options, ...more }, `${message}, ${key}`);
}

const DATA = [
  [0, 1],
  [1e3, 1e-2],
  [1e6, 0.1],
  [-1e7, 1],
];

for (const [mean, deviation] of DATA)
  each(`mean ${mean}, deviation ${deviation}`, (shape) => {
    const X = normalTensor(shape, 5, mean, deviation);
    checkModes(normalTensor(shape, 6), X, { epsilon: 1e-9 }, 'normal gradients');
    checkModes(normalTensor(shape, 7, 1, 1e-4), X, { epsilon: 1e-5 }, 'nearly constant gradients');
  });

for (const [mean, deviation] of [
  [1, 1e-4],
  [1000, 0.01],
  [-1e7, 1],
])
  each(`gradients of mean ${mean}, deviation ${deviation}`, (shape) => {
    const g = normalTensor(shape, 8, mean, deviation);
    for (const [center, width] of DATA) check(g, normalTensor(shape, 9, center, width), {}, `mean ${center}`);
    // Only two values, which are adjacent float32s.
    const next = seeded(10);
    const two = tensor(shape, () => (next() < 0.3 ? mean : Math.fround(mean * (1 + 2 ** -23))));
    check(two, normalTensor(shape, 9, 5), {}, 'two adjacent float32s');
    check(two, two, { epsilon: 0 }, 'two adjacent float32s, in X too');
  });

each('gradients proportional to the output', (shape) => {
  for (const [mean, deviation] of DATA) {
    const X = normalTensor(shape, 11, mean, deviation);
    const { mean: means, variance } = statisticsFor(X);
    for (const [slope, shift] of [
      [1, 0],
      [-3, 2],
      [1e-3, 1],
    ]) {
      const g = tensor(shape, (i) => {
        const c = channelAt(shape, i);
        return ((X.data[i] - means[c]) / Math.sqrt(variance[c] + 1e-5)) * slope + shift;
      });
      checkModes(g, X, {}, `mean ${mean}, ${slope} times the output plus ${shift}`);
    }
  }
});

everyWay('a constant gradient gives exactly 0', (shape, gradient) => {
  const count = sizeOf(shape) / shape[1];
  const isZero = (value) => value === 0;
  for (const value of [0, 1, 0.1, -16777215, 1e-40, 3.4e38]) {
    const g = tensor(shape, () => value);
    for (const [mean, deviation] of [...DATA, [0, 1e-30], [7, 0]]) {
      const X = normalTensor(shape, 12, mean, deviation);
      const { gamma } = parametersFor(shape[1]);
      for (const options of [
        { gamma },
        { gamma, statistics: statisticsFor(X, Math.fround) },
        { gamma, statistics: { mean: new Float64Array(shape[1]), variance: new Float64Array(shape[1]).fill(2) } },
        { relu: true, beta: new Float64Array(shape[1]).fill(1e6) },
      ]) {
        const [gradInput, gradGamma, gradBeta] = gradient(g, X, options);
        assert.ok(gradInput.data.every(isZero), `gradInput for ${value}, mean ${mean}`);
        assert.ok(gradGamma.data.every(isZero), `gradGamma for ${value}, mean ${mean}`);
        for (const total of gradBeta.data) assert.equal(total, Math.fround(count * Math.fround(value)));
      }
      for (const result of gradient(g, X, { relu: true, beta: new Float64Array(shape[1]).fill(-1e6) }))
        assert.ok(result.data.every(isZero), 'relu that masks everything');
    }
  }
});

each('all equal but one', (shape) => {
  const butOne = (most, one, at) => tensor(shape, (i) => (i % (shape[2] * shape[3]) === at ? one : most));
  const ofFirst = (most, one) => tensor(shape, (i) => (i < shape[1] * shape[2] * shape[3] && i % 5 === 0 ? one : most));
  for (const [most, one] of [
    [1, 2],
    [16777215, 16777214],
    [1, 1 + 2 ** -23],
    [2, 2 - 2 ** -23],
    [0, 1e-20],
    [1, 1e7],
  ])
    for (const epsilon of [1e-5, 0]) {
      const message = `${most} but ${one}, epsilon ${epsilon}`;
      const normal = normalTensor(shape, 13);
      if (shape[2] > 1) {
        check(butOne(most, one, 0), normal, { epsilon }, `gradient ${message}`);
        check(normal, butOne(most, one, 1), { epsilon }, `X ${message}`);
        check(butOne(most, one, 1), butOne(most, one, 1), { epsilon }, `both ${message}`);
      }
      check(ofFirst(most, one), ofFirst(1, 1.5), { epsilon }, `in the first image ${message}`);
    }
});

each('huge and tiny values', (shape) => {
  for (const [ofX, ofG, epsilon] of [
    [1e30, 1e-30, 0],
    [1e-30, 1e30, 1e-5],
    [1e-15, 1e15, 0],
    [1e30, 1, 1e-5],
    [1e-30, 1, 0],
    [1, 1e30, 0],
    [1, 1e-30, 0],
    [1, 1e-38, 1e-5],
    [1e-38, 1e-5, 0],
    [1e-40, 1e-10, 0],
    [1, 1e-42, 0],
    [1e-43, 1e-43, 0],
    [1e-42, 1e-3, 1e-5],
    [1e37, 1e37, 1],
  ]) {
    const message = `X ${ofX}, gradients ${ofG}`;
    check(normalTensor(shape, 14, 0, ofG), normalTensor(shape, 15, 0, ofX), { epsilon }, message);
    const shifted = { g: normalTensor(shape, 14, ofG, ofG / 64), X: normalTensor(shape, 15, 3 * ofX, ofX / 64) };
    check(shifted.g, shifted.X, { epsilon }, `${message}, away from zero`);
  }
  const next = seeded(16);
  const anySize = () => tensor(shape, () => (next() - 0.5) * 2 ** (next() * 80 - 40));
  for (let k = 0; k < 5; k++) checkModes(anySize(), anySize(), {}, 'magnitudes from 2⁻⁴⁰ to 2⁴⁰');
});

/** Numbers close to each limit between float32 and double; gamma is chosen to put them there. */
each('close to the limits of float32', (shape) => {
  const FACTORS = [0.5, 1 - 2 ** -20, 1 - 2 ** -52, 1, 1 + 2 ** -20, 2];
  const x = (mean, deviation) => normalTensor(shape, 17, mean, deviation);
  const g = (mean, deviation) => tensor(shape, seededNormal(18, mean, deviation));
  const near = (name, limit, gradOutput, X, measure) => {
    const { channels } = gradientReference(gradOutput, X, { epsilon: 0 });
    for (const factor of FACTORS)
      for (const sign of [1, -1]) {
        const gamma = Float64Array.from(channels, (channel) => (sign * limit * factor) / measure(channel));
        check(gradOutput, X, { epsilon: 0, gamma }, `${name} ${factor} of ${limit}`);
        check(gradOutput, X, { epsilon: 0, gamma, statistics: statisticsFor(X) }, `${name}, given statistics`);
      }
  };
  near('A', 2 ** -126, g(0, 1e10), x(3, 1), ({ scale }) => scale);
  near('A', 2 ** 127, g(0, 1e-3), x(3, 1), ({ scale }) => scale);
  near('A', 2 ** 127, g(0, 1e-30), x(3, 1), ({ scale }) => scale);
  near('B', 2 ** -126, g(0, 1e-3), x(0, 1e20), ({ slope }) => slope);
  near('B', 2 ** -126, g(0, 1), x(0, 1), ({ slope }) => slope);
  near('B', 2 ** 127, g(0, 1e10), x(1e-28, 1e-30), ({ slope }) => slope);
  near(
    '|B|·√(N·v)',
    2 ** 102,
    g(0, 1),
    x(3, 1),
    ({ slope, spread, scale, count }) => (slope * spread * Math.sqrt(count)) / scale,
  );
  near('C', 2 ** 102, g(1e30, 1e24), x(3, 1), ({ scale }) => scale * 1e30 * 2 ** -25);
  near('C', 2 ** 102, g(1, 1e-5), x(3, 1), ({ scale }) => scale * 2 ** -25);
  for (const factor of FACTORS) {
    const mean = 2 ** 102 * factor;
    const near102 = tensor(shape, (i) => mean * (1 + ((i % 7) - 3) * 2 ** -23));
    for (const gamma of [1, 1e-20, 1e20]) {
      const options = { gamma: new Float64Array(shape[1]).fill(gamma), epsilon: 0 };
      check(g(0, 1e-3), near102, options, `mean ${factor} of 2¹⁰²`);
      check(near102, x(3, 1), { ...options, gamma: options.gamma.map((value) => value * 1e-5) }, `ḡ ${factor} of 2¹⁰²`);
      check(near102, near102, { ...options, gamma: options.gamma.map((value) => value * 1e-5) }, 'both');
    }
  }
});

each('gamma 0, epsilon 0', (shape) => {
  const g = normalTensor(shape, 19);
  const constant = tensor(shape, () => 5);
  for (const gamma of [[0, 0, 0], [0, 1, -1], null])
    for (const X of [normalTensor(shape, 20, 1e3), constant])
      for (const epsilon of [0, 1e-12]) {
        check(g, X, { gamma, epsilon });
        check(constant, X, { gamma, epsilon }, 'constant gradient');
        check(g, X, { gamma, epsilon, beta: [1, 2, -3], relu: true }, 'relu');
      }
});

each(
  'one and two values per channel',
  (shape) => {
    for (const [mean, deviation] of [...DATA, [1e-30, 1e-30]])
      for (const epsilon of [1e-5, 0]) {
        const X = normalTensor(shape, 21, mean, deviation);
        check(normalTensor(shape, 22, 5), X, { epsilon }, `mean ${mean}`);
        const ones = new Float64Array(shape[1]).fill(1);
        check(normalTensor(shape, 22, 5), X, { epsilon, statistics: { mean: ones, variance: ones } }, 'of another batch');
      }
  },
  [
    [1, 201, 1, 1],
    [2, 201, 1, 1],
    [1, 201, 1, 2],
    [2, 201, 1, 2],
  ],
);

each('statistics of a larger batch', (shape) => {
  const { gamma, beta } = parametersFor(shape[1]);
  for (const [mean, deviation] of DATA) {
    const X = normalTensor(shape, 23, mean, deviation);
    for (const g of [normalTensor(shape, 24), normalTensor(shape, 24, 1, 1e-4)])
      for (const [shift, ratio] of [
        [0.1, 1.1],
        [-3, 7],
        [50, 0.01],
      ]) {
        const own = statisticsFor(X);
        const statistics = {
          mean: own.mean.map((value) => value + shift * deviation),
          variance: own.variance.map((value) => value * ratio),
        };
        for (const training of [true, false])
          for (const relu of [true, false])
            check(g, X, { gamma, beta, statistics, training, relu, epsilon: 1e-7 }, `${mean}, shift ${shift}, ratio ${ratio}`);
      }
  }
});

each('inference with parameters close to the largest and smallest float32', (shape) => {
  const X = normalTensor(shape, 25, 3);
  for (const size of [1, 1e30, 1e-30, 1e-42])
    for (const gamma of [1, 1e-30, 1e-38, 1e-45, 1e30, 2 ** 127, 0])
      for (const variance of [1, 1e-30, 1e30]) {
        const statistics = { mean: [3, 3 + 1e-9, 1e6], variance: [variance, variance, variance] };
        const options = { gamma: [gamma, gamma, -gamma], statistics, training: false, epsilon: 1e-30 };
        check(normalTensor(shape, 26, size, size), X, options, `${size}, gamma ${gamma}, variance ${variance}`);
      }
});

everyWay('NaN and infinity stay in their channel, and appear where they do in float64', (shape, gradient) => {
  const inFirst = (i) => channelAt(shape, i) === 0;
  const { gamma, beta } = parametersFor(shape[1]);
  const first = Array.from({ length: sizeOf(shape) }, (_, i) => i).filter(inFirst);
  const statistics = { mean: [0.5, 0, 0], variance: [2, 1, 1] };
  for (const options of [{}, { gamma, beta, relu: true }, { gamma, statistics, training: false }]) {
    const X = normalTensor(shape, 27);
    const g = normalTensor(shape, 28);
    const clean = gradient(g, X, options);
    for (const target of [X, g])
      for (const specials of [[NaN], [Infinity], [-Infinity], [Infinity, -Infinity], [Infinity, NaN]]) {
        const places = specials.map((_, k) => first[(k * 611 + 13) % first.length]);
        const before = places.map((i) => target.data[i]);
        places.forEach((i, k) => {
          target.data[i] = specials[k];
        });
        const message = `${specials} in ${target === X ? 'X' : 'the gradient'}`;
        check(g, X, options, message, { [gradient === plain ? 'plain' : 'kernel']: gradient });
        const results = gradient(g, X, options);
        const others = (data) => data.filter((_, i) => !inFirst(i));
        assertSameBits(others(results[0].data), others(clean[0].data), message);
        for (const k of [1, 2]) assertSameBits(results[k].data.subarray(1), clean[k].data.subarray(1), message);
        places.forEach((i, k) => {
          target.data[i] = before[k];
        });
      }
  }
});

everyWay('NaN and infinity with given statistics', (shape, gradient) => {
  const statistics = { mean: [0.5, 0, 0], variance: [2, 1, 1] };
  for (const special of [NaN, Infinity, -Infinity]) {
    const X = normalTensor(shape, 29);
    const g = normalTensor(shape, 30);
    const clean = gradient(g, X, { statistics });
    X.data[5] = special;
    const [gradInput, gradGamma, gradBeta] = gradient(g, X, { statistics });
    gradInput.data.forEach((value, i) => {
      const c = channelAt(shape, i);
      if (c === channelAt(shape, 5)) assert.ok(!Number.isFinite(value), `${value} in a channel with ${special}`);
      else assert.ok(Object.is(value, clean[0].data[i]));
    });
    assert.ok(!Number.isFinite(gradGamma.data[channelAt(shape, 5)]));
    assertSameBits(gradBeta.data, clean[2].data);
  }
});

each(
  'a first gradient far from the others',
  (shape) => {
    const X = normalTensor(shape, 31, 100);
    for (const first of [1e7, -1e4]) {
      const normal = seededNormal(32);
      const g = tensor(shape, (i) => (i === 0 ? first : normal()));
      check(g, X, {}, `${first}, then normal ones`);
    }
    const g = tensor(shape, (i) => (i === 0 ? 1e7 : 1));
    check(g, X, {}, '1e7, then ones');
    const last = tensor(shape, (i) => (i === sizeOf(shape) - 1 ? 1 + 2 ** -23 : 1));
    check(last, X, {}, 'ones, then one that differs');
  },
  LARGE,
);

each(
  'many blocks',
  (shape) => {
    const normal = seededNormal(33);
    const far = tensor(shape, () => 1e6 + 0.1 * normal());
    const nearlyConstant = tensor(shape, () => 1 + 1e-4 * normal());
    check(nearlyConstant, far, {}, 'far from zero');
    const blocks = tensor(shape, (i) => normal() * 10 ** ((Math.floor(i / 4096) % 30) - 20));
    check(nearlyConstant, blocks, { beta: [3], relu: true }, 'blocks of different magnitudes');
    const equalButOne = tensor(shape, (i) => (i === 77 ? 1.9 + 2 ** -22 : 1.9));
    check(far, equalButOne, { epsilon: 0 }, 'equal values but one');
  },
  LARGE,
);

test('any rank and axis', () => {
  for (const [shape, axis] of [
    [[777], 0],
    [[777], -1],
    [[311, 3], 1],
    [[311, 3], 0],
    [[9, 4, 35], -1],
    [[9, 4, 35], 1],
    [[5, 6, 7, 4], -1],
    [[5, 6, 7, 4], 2],
    [[2, 3, 4, 5, 6], 3],
  ]) {
    const gamma = parametersFor(shape.at(axis)).gamma;
    const X = normalTensor(shape, 35, 1e3);
    check(normalTensor(shape, 36, 1, 1e-3), X, { axis, gamma }, `axis ${axis}`);
    check(normalTensor(shape, 36), X, { axis, gamma, beta: gamma.map(() => 0.3), relu: true, epsilon: 1 }, `axis ${axis}, relu`);
  }
});

test('random data come close to the bound and never exceed it', () => {
  const next = seeded(34);
  const worst = { kernel: 0, plain: 0 };
  const anyTensor = (shape, seed) => normalTensor(shape, seed, (next() - 0.5) * 2 ** (next() * 40 - 15), 2 ** (next() * 20 - 10));
  for (let k = 0; k < 300; k++) {
    const shape = [1 + Math.floor(next() * 6), 2, 5 + Math.floor(next() * 9), 13 + Math.floor(next() * 9)];
    const X = anyTensor(shape, 2 * k);
    const g = anyTensor(shape, 2 * k + 1);
    const options = { gamma: [0.5 + next(), -1.5], beta: [next(), 1], epsilon: next() < 0.5 ? 0 : 1e-5 };
    const found = check(g, X, options, `set ${k}`);
    for (const key of Object.keys(worst)) worst[key] = Math.max(worst[key], found[key]);
  }
  for (const [key, value] of Object.entries(worst))
    assert.ok(value > 0.3, `the worst error of the ${key} is only ${value} of the bound, so the test would miss errors`);
});
