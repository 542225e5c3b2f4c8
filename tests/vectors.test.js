/* Comparison with results of NumPy and PyTorch in float64 (vectors/make_vectors.py), within the bounds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { batchNormalization } from '../js/index.js';
import { outputBound, ulp } from './reference.js';

const unpack = (Type, text) => new Type(Uint8Array.from(Buffer.from(text, 'base64')).buffer);

/* The vectors' own error, relative to the output: they are computed in float64 without compensation, also far from zero. */
const OWN_ERROR = 2 ** -27;

for (const { name, shape, result, momentum, epsilon, training, ...packed } of JSON.parse(
  readFileSync(new URL('vectors/vectors.json', import.meta.url), 'utf8'),
))
  test(`${name}, [${shape}]`, () => {
    const [data, gamma, beta, runningMean, runningVar] = ['X', 'gamma', 'beta', 'runningMean', 'runningVar'].map((key) =>
      unpack(Float32Array, packed[key]),
    );
    const [output, newMean, newVar] = batchNormalization(
      { data, shape },
      gamma,
      beta,
      runningMean,
      runningVar,
      momentum,
      epsilon,
      training,
    );
    const exact = unpack(Float64Array, result.output);
    assert.equal(exact.length, data.length);
    exact.forEach((y, i) => {
      const c = Math.floor(i / (shape[2] * shape[3])) % shape[1];
      const bound = outputBound(training, y - beta[c], gamma[c], beta[c]) + OWN_ERROR * Math.abs(y);
      assert.ok(Math.abs(output.data[i] - y) <= bound, `${output.data[i]}, not ${y}`);
    });
    for (const [actual, key] of [
      [newMean, 'runningMean'],
      [newVar, 'runningVar'],
    ])
      unpack(Float64Array, result[key]).forEach((value, c) => {
        assert.ok(
          Math.abs(actual.data[c] - value) <= ulp(value) + 1e-6 * (key === 'runningVar' ? value : 0),
          `${key}: ${actual.data[c]}, not ${value}`,
        );
      });
  });
