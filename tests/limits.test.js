/* Data close to each limit between float32 and double, on the side of double: if the limit were further out, float32 would exceed the
 * bounds of docs/numerics.md. Also data far from zero, in shapes that reach each loop of plain JavaScript. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  batchNormalizationGradient as plainGradient,
  moments as plainMoments,
  batchNormalization as plainNormalization,
} from '../js/index-plain.js';
import { normalTensor, parametersFor, sizeOf, tensor } from './data.js';
import { gradientReference } from './gradient-reference.js';
import {
  assertGradientWithinBounds,
  assertWithinBounds,
  callKernel,
  checkCall,
  checkGradient,
  gradientKernel,
} from './helpers.js';
import { channelOf, statisticsOf } from './reference.js';

const FLOAT32_MAX = 3.4028234663852886e38;
const CHANNELS = 3;

/** Slabs; columns, with and without some of them left after the last group of four. */
const SHAPES = [
  [4, CHANNELS, 9, 9],
  [40, CHANNELS, 2, 4],
  [40, CHANNELS, 3, 1],
];

const each = (name, run) => {
  for (const shape of SHAPES) test(`${name}, [${shape}]`, () => run(shape));
};

const all = (value) => new Float64Array(CHANNELS).fill(value);

/** The place of a value in its channel, counted from the start of the tensor. */
const placeIn = (shape, i) => {
  const spatial = shape[2] * shape[3];
  return Math.floor(i / (CHANNELS * spatial)) * spatial + (i % spatial);
};

/** A tensor whose channels are all the same; value(place) gives their values. */
const byPlace = (shape, value) => tensor(shape, (i) => value(placeIn(shape, i), sizeOf(shape) / CHANNELS));

/** Numbers below the limit of 2⁻¹²⁶, halfway between two float32s, where rounding errors are largest. */
const SUBNORMAL = Array.from({ length: 16 }, (_, k) => (Math.floor(2 ** (22.8 - k / 2)) + 0.5) * 2 ** -149);
/** Numbers above the limit of 2¹²⁷. */
const VAST = [2 ** 127 * (1 + 2 ** -23), 2 ** 128 * (1 - 2 ** -26), 2 ** 128, 2 ** 129, 2 ** 131, 2 ** 137];

each('a scale that float32 rounds, or cannot hold', (shape) => {
  for (const [scales, deviation] of [
    [SUBNORMAL, 2 ** 70],
    [VAST, 2 ** -30],
  ]) {
    const X = normalTensor(shape, 1, 0, deviation);
    const g = normalTensor(shape, 2, 0, deviation);
    const unit = { mean: all(0), variance: all(1) };
    const { channels } = gradientReference(g, X, { epsilon: 0 });
    for (const scale of scales)
      for (const sign of [1, -1]) {
        const gamma = all(sign * scale);
        checkCall(X, [gamma, null, unit.mean, unit.variance, 0.1, 0, false], `inference, scale ${scale}`);
        checkGradient(g, X, { gamma, statistics: unit, training: false, epsilon: 0 }, `inference, scale ${scale}`);
        const scaled = Float64Array.from(channels, (channel) => (sign * scale) / channel.scale);
        checkCall(X, [scaled, null, null, null, 0.1, 0], `training, scale ${scale}`);
        checkGradient(g, X, { gamma: scaled, epsilon: 0 }, `training, scale ${scale}`);
      }
  }
});

each('a slope that float32 rounds, or cannot hold', (shape) => {
  for (const [slopes, ofX, ofG] of [
    [SUBNORMAL, 2 ** 70, 2 ** 60],
    [VAST, 2 ** -60, 2 ** -50],
  ]) {
    const X = normalTensor(shape, 3, 0, ofX);
    const noise = normalTensor(shape, 4, 0, ofG);
    // If a gradient is close to the mean of gradients, little but the slope's term is left.
    const g = tensor(shape, (i) => (X.data[i] / ofX) * ofG + 2 * noise.data[i]);
    const { channels } = gradientReference(g, X, { epsilon: 0 });
    for (const slope of slopes)
      for (const sign of [1, -1]) {
        const gamma = Float64Array.from(channels, (channel) => (sign * slope) / channel.slope);
        checkGradient(g, X, { gamma, epsilon: 0 }, `slope ${slope}`);
      }
  }
});

each('a mean so far from an end of float32 that the difference is too large for float32', (shape) => {
  for (const mean of [2 ** 102, 2 ** 103, 2 ** 104, 2 ** 106, 2 ** 112])
    for (const sign of [1, -1]) {
      const ends = byPlace(shape, (place, n) => (place < 2 ? (place ? sign : -sign) * FLOAT32_MAX : (sign * mean * n) / (n - 2)));
      const given = [all(sign * mean), all(2 ** 200)];
      checkCall(ends, [null, null, ...given, 0.1, 0, false], `inference, mean ${mean}`);
      checkCall(ends, [null, null], `training, mean ${mean}`);
      // With gradients this large, the slope is a normal number.
      checkGradient(normalTensor(shape, 5, 0, 2 ** 100), ends, { gamma: all(2 ** 30) }, `X of mean ${mean}`);
      checkGradient(ends, normalTensor(shape, 5), { gamma: all(2 ** -40) }, `gradients of mean ${mean}`);
    }
});

/* Sums that fit in float32 although one of their terms does not. */

const TOP = 2 ** 128 - 2 ** 109;

each('a shift next to an output at the end of float32', (shape) => {
  for (const shift of [2 ** 102, 2 ** 109, 1.5 * 2 ** 109, 2 ** 112])
    for (const sign of [1, -1]) {
      const p = TOP + shift;
      const X = byPlace(shape, (place) => (sign * (place % 2 ? -p : p)) / 2);
      const beta = all(-sign * shift);
      checkCall(X, [all(2), beta, all(0), all(1), 0.1, 0, false], `inference, shift ${shift}`);
      const twice = Float64Array.from({ length: CHANNELS }, (_, c) => 2 * Math.sqrt(statisticsOf(channelOf(X, c)).variance));
      checkCall(X, [twice, beta, null, null, 0.1, 0], `training, shift ${shift}`);
    }
});

each('a constant of the gradient that float32 rounds, or cannot hold', (shape) => {
  // The low part of the mean of the gradients is half a unit in the last place, and X is orthogonal to them.
  const X = byPlace(shape, (place) => [1, -1, -1, 1][place % 4]);
  for (const deviation of [8, 64, 180]) {
    const g = byPlace(shape, (place) => 2 ** 13 + (place % 2 ? deviation : -deviation) + (place % 4 < 2 ? 2 ** -10 : 0));
    for (const sign of [1, -1]) {
      const gamma = all((sign * TOP) / (deviation + 2 ** -11));
      checkGradient(g, X, { gamma, epsilon: 0 }, `deviation ${deviation}`);
    }
  }
});

each('terms of the gradient beyond float32, which cancel', (shape) => {
  const X = byPlace(shape, (place) => 2 ** 30 * (place % 2 ? 1 : -1));
  const g = byPlace(shape, (place) => 2 ** 29 * (place % 2 ? 1 : -1));
  const [gradInput] = gradientKernel(g, X, { gamma: all(2 ** 130), epsilon: 0 });
  // In double, the two terms together have this bound.
  for (const value of gradInput.data) assert.ok(Math.abs(value) <= 14.003 * 2 ** (129 - 24), `${value}`);
});

each('a beta in inference that float32 rounds', (shape) => {
  // beta is up to nearly half a unit in the last place away from a float32. Rounding it and rounding the sum could each cost that much.
  const X = byPlace(shape, (place) => ((place % 17) - 8) * 2 ** -27);
  for (const last of [1, 3, 5, 7])
    for (const sign of [1, -1])
      checkCall(X, [null, all(sign * (1 + last * 2 ** -27)), all(0), all(1), 0.1, 0, false], `${last}, ${sign}`);
});

/* ---- statistics: squares -------------------------------------------------------------------------------------------- */

/** A float32 of at least `size` whose square is halfway between two float32s, if the square is subnormal. */
function roundedMost(size) {
  for (let k = 0; ; k++) {
    const value = Math.fround(size * (1 + k * 2 ** -14));
    const places = value * value * 2 ** 149;
    if (places > 2 ** 23 || Math.abs((places % 1) - 0.5) < 0.01) return value;
  }
}

/** Columns have an odd number of rows. The first row is zeros, which do not reveal how small the others are. */
for (const shape of [
  [4, CHANNELS, 8, 10],
  [41, CHANNELS, 2, 4],
  [41, CHANNELS, 3, 1],
])
  test(`squares that float32 rounds, loses or cannot hold, after zeros, [${shape}]`, () => {
    const spatial = shape[2] * shape[3];
    const size = sizeOf(shape) / CHANNELS;
    for (let exponent = -78; exponent <= 66; exponent += exponent === -57 ? 115 : 0.5) {
      const value = roundedMost(2 ** exponent);
      const X = byPlace(shape, (place) => {
        const row = Math.floor(place / spatial);
        return row === 0 ? 0 : (row + place - row * spatial) % 2 ? value : -value;
      });
      const exact = (value * value * (size - spatial)) / size;
      // With an epsilon of 10⁻³⁰ or more, a variance that float32 cannot hold may be 0.
      for (const epsilon of [0, 1e-30 * (1 - 2 ** -52), 1e-30]) {
        checkCall(X, [null, null, null, null, 0, epsilon], `${value}, epsilon ${epsilon}`);
        const [, , { data }] = callKernel(X, null, null, all(0), all(0), 0, epsilon);
        const bound = 6.001 * 2 ** -24 * exact + (epsilon < 1e-30 ? 0 : 2 ** -149);
        for (const variance of data)
          assert.ok(Math.abs(variance - exact) <= bound, `${value}, epsilon ${epsilon}: ${variance}, not ${exact}`);
      }
    }
  });

/* ---- plain JavaScript ------------------------------------------------------------------------------------------------ */

for (const batch of [1, 2, 31, 32, 33, 200])
  test(`plain JavaScript far from zero, ${batch} times 1 to 5 values per channel`, () => {
    const { gamma, beta } = parametersFor(CHANNELS);
    for (let spatial = 1; spatial <= 5; spatial++)
      for (const [mean, deviation] of [
        [1e4, 1e-2],
        [1e6, 0.1],
        [-1e7, 1],
        [16777215, 0.5],
        [1e30, 1e24],
      ]) {
        const shape = [batch, CHANNELS, spatial, 1];
        const X = normalTensor(shape, spatial, mean, deviation);
        // A different mean for each channel.
        X.data.forEach((value, i) => {
          X.data[i] = value * (1 + (Math.floor(i / spatial) % CHANNELS) / 7);
        });
        const message = `[${shape}], mean ${mean}`;
        const epsilon = 1e-9;
        for (const args of [
          [null, null, null, null, 0.1, epsilon],
          [gamma, beta, all(mean), all(deviation ** 2), 0.1, epsilon, false],
        ])
          assertWithinBounds(X, args, plainNormalization(X, ...args), message);

        const { count, mean: means, variance: variances } = plainMoments(X);
        assert.equal(count, batch * spatial);
        const statistics = { mean: all(0), variance: all(0) };
        for (let c = 0; c < CHANNELS; c++) {
          const values = channelOf(X, c);
          const exact = statisticsOf(values);
          statistics.mean[c] = exact.mean;
          statistics.variance[c] = exact.variance;
          const meanBound = count * 2 ** -53 * values.reduce((sum, x) => sum + Math.abs(x) / count, 0);
          assert.ok(Math.abs(means[c] - exact.mean) <= meanBound, `${message}: ${means[c]}, not ${exact.mean}`);
          const varianceBound = 0.4 * 2 ** -24 * exact.variance;
          assert.ok(
            Math.abs(variances[c] - exact.variance) <= varianceBound,
            `${message}: ${variances[c]}, not ${exact.variance}`,
          );
        }

        const g = normalTensor(shape, 7, 1e3, 0.01);
        for (const options of [
          { gamma, epsilon },
          { gamma, statistics, epsilon },
          { gamma, beta, relu: true, epsilon },
          { gamma, statistics, training: false, epsilon },
        ])
          assertGradientWithinBounds(g, X, options, plainGradient(g, X, options), true, message);
      }
  });
