/* Compares both calls, in WebAssembly and in plain JavaScript, with gradients computed in long double (vectors/make_gradient_examples.py)
 * and with PyTorch's float64 results for every option (vectors/make_option_vectors.py), within the bounds of docs/numerics.md. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { gradBetaBound, gradGammaBound, gradInputBound, gradientReference, positionsOf } from './gradient-reference.js';
import { assertSameBits } from './helpers.js';
import { outputBound, ulp } from './reference.js';

const LIBRARIES = { batchnorm, 'batchnorm/js': plain };

const readVectors = (name) => JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8'));
const unpack = (Type, text) => new Type(Uint8Array.from(Buffer.from(text, 'base64')).buffer);

/** Room for the rounding errors of the bounds themselves, which are computed in float64. */
const SLACK = 1 + 2 ** -20;

function assertWithin(actual, expected, bounds, message) {
  assert.equal(actual.length, expected.length, message);
  expected.forEach((value, i) => {
    const error = Math.abs(actual[i] - value);
    if (!(error <= bounds[i] * SLACK))
      assert.fail(`${message} ${i}: ${actual[i]}, not ${value}; off by ${error}, bound ${bounds[i]}`);
  });
}

/** The positions of each channel's values in a tensor, and the shape of a tensor with one value per channel. */
function channelsOf(shape, axis) {
  const perChannel = shape.map((size, k) => (k === (axis + shape.length) % shape.length ? size : 1));
  return { places: positionsOf(shape, axis).map((positions) => [...positions]), perChannel };
}

/** The axis as an option, left out if it is the default. */
const axisOption = (axis) => (axis === 1 ? {} : { axis });

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The bounds of the gradients. Their terms come from the reference, so this also compares the reference with the vectors. */
function gradientBounds(gradOutput, X, options, result, isPlain) {
  const reference = gradientReference(gradOutput, X, options);
  const { training } = options;
  const { P, R, normalized, channels } = reference;
  const bounds = { gradInput: new Float64Array(X.data.length), gradGamma: [], gradBeta: [] };
  channels.forEach((channel, c) => {
    for (const i of channel.positions)
      bounds.gradInput[i] = gradInputBound(training, P[i], R[i], normalized[i], channel, isPlain);
    bounds.gradGamma.push(gradGammaBound(training, result.gradGamma[c], channel, isPlain));
    bounds.gradBeta.push(gradBetaBound(result.gradBeta[c], channel, isPlain));
  });
  for (const [key, values] of Object.entries(bounds)) {
    const small = Array.from(values, (bound) => bound / 2 ** 6);
    assertWithin(reference[key], result[key], small, `reference, ${key}`);
  }
  return bounds;
}

/** Calls batchNormalizationGradient with `statistics`, and checks the results within the bounds for call.statistics. */
function checkGradient(functions, shape, axis, call, statistics = call.statistics) {
  const { batchNormalizationGradient } = functions;
  const { gamma, beta, epsilon, training, relu, result } = call;
  const [gradOutput, X] = [call.gradOutput, call.X].map((data) => ({ data, shape }));
  const options = { gamma, beta, statistics, epsilon, training, relu, ...axisOption(axis) };
  const gradients = batchNormalizationGradient(gradOutput, X, options);
  const bounds = gradientBounds(gradOutput, X, { ...options, statistics: call.statistics }, result, functions === plain);
  ['gradInput', 'gradGamma', 'gradBeta'].forEach((key, k) => {
    assert.deepEqual(gradients[k].shape, key === 'gradInput' ? shape : channelsOf(shape, axis).perChannel, key);
    assert.ok(gradients[k].data instanceof Float32Array, key);
    assertWithin(gradients[k].data, result[key], bounds[key], key);
  });
  const [none, ...parameters] = batchNormalizationGradient(gradOutput, X, { ...options, gradInput: false });
  assert.equal(none, null);
  assert.deepEqual(parameters, gradients.slice(1), 'the same without gradInput');
  const inPlace = { data: call.gradOutput.slice(), shape };
  assert.equal(batchNormalizationGradient(inPlace, X, { ...options, out: inPlace })[0], inPlace);
  assertSameBits(inPlace.data, gradients[0].data, 'the same in place');
}

for (const { name, shape, axis, gamma, beta, ...example } of readVectors('gradient-examples')) {
  const call = {
    ...example,
    X: Float32Array.from(example.X),
    gradOutput: Float32Array.from(example.gradOutput),
    gamma,
    beta,
    statistics: example.training ? null : { mean: example.runningMean, variance: example.runningVar },
    result: example,
  };
  for (const [library, functions] of Object.entries(LIBRARIES))
    test(`${library}: ${name}, [${shape}], axis ${axis}`, () => {
      checkGradient(functions, shape, axis, call);
      if (!example.training) return;
      const { length } = gamma;
      const statistics = { mean: new Float64Array(length), variance: new Float64Array(length) };
      functions.batchNormalization({ data: call.X, shape }, gamma, beta, null, null, 0.9, example.epsilon, true, {
        statistics,
        ...axisOption(axis),
      });
      // Saved statistics have the same errors as statistics that the gradient computes itself, so the bounds are the same.
      checkGradient(functions, shape, axis, call, statistics);
    });
}

/** Calls batchNormalization and checks its results, and the statistics that it saves, within the bounds. */
function checkForward({ batchNormalization }, shape, axis, given, call) {
  const { training, relu, unbiased, momentum, epsilon, doubles, result } = call;
  const { X, gamma, beta } = given;
  const [runningMean, runningVar] = [given.runningMean, given.runningVar].map((value) =>
    doubles && value ? Float64Array.from(value) : value,
  );
  const { places, perChannel } = channelsOf(shape, axis);
  const channels = places.length;
  const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
  const tensor = { data: X, shape };
  const args = [tensor, gamma, beta, runningMean, runningVar, momentum, epsilon, training];
  const [output, newMean, newVar] = batchNormalization(...args, { statistics, relu, unbiased, ...axisOption(axis) });

  const bounds = new Float64Array(X.length);
  places.forEach((channel, c) => {
    const shift = beta?.[c] ?? 0;
    // If relu gives 0, p is unknown, so −beta takes its place. The actual output can only differ from 0 if it was close to 0
    // before relu, and then p is close to −beta.
    for (const i of channel) bounds[i] = outputBound(training, result.output[i] - shift, gamma?.[c] ?? 1, shift);
  });
  assert.deepEqual(output.shape, shape);
  assertWithin(output.data, result.output, bounds, 'output');

  const ownMean = places.map((channel) => channel.length * 2 ** -53 * mean(channel.map((i) => Math.abs(X[i]))));
  const ownVariance = Array.from(result.variance, (variance) => 1e-6 * variance);
  if (training) {
    assertWithin(statistics.mean, result.mean, ownMean, 'mean');
    assertWithin(statistics.variance, result.variance, ownVariance, 'variance');
  } else {
    assert.deepEqual(statistics.mean, Float64Array.from(runningMean));
    assert.deepEqual(statistics.variance, Float64Array.from(runningVar));
  }

  const rounding = (value) => (doubles ? Math.abs(value) * 2 ** -50 : ulp(value) / 2);
  for (const [key, actual, own] of [
    ['runningMean', newMean, ownMean],
    ['runningVar', newVar, ownVariance],
  ]) {
    assert.deepEqual(actual.shape, perChannel, key);
    assert.ok(actual.data instanceof (doubles ? Float64Array : Float32Array), key);
    // The unbiased variance is at most twice the biased one.
    const expected = result[key];
    assertWithin(
      actual.data,
      expected,
      own.map((bound, c) => (training ? 2 * (1 - momentum) * bound : 0) + rounding(expected[c])),
      key,
    );
  }
}

const unpackAll = (Type, packed) => Object.fromEntries(Object.entries(packed).map(([key, text]) => [key, unpack(Type, text)]));

for (const { shape, axis, calls, ...packed } of readVectors('option-vectors'))
  for (const call of calls) {
    const { function: name, training, null: absent, statistics, result, ...rest } = call;
    const given = unpackAll(Float32Array, packed);
    for (const key of absent) given[key] = null;
    const unpacked = { ...rest, training, result: unpackAll(Float64Array, result) };
    const words = [
      name,
      training ? 'training' : 'inference',
      ...['relu', 'unbiased', 'doubles'].filter((key) => rest[key]),
      ...absent.map((key) => `${key} null`),
      ...(statistics === null ? ['statistics null'] : []),
    ];
    for (const [library, functions] of Object.entries(LIBRARIES))
      test(`${library}: [${shape}], axis ${axis}: ${words.join(', ')}`, () => {
        if (name === 'forward') checkForward(functions, shape, axis, given, unpacked);
        else
          checkGradient(functions, shape, axis, {
            ...given,
            ...unpacked,
            statistics: statistics && unpackAll(Float64Array, statistics),
          });
      });
  }
