/* The layer: what it keeps between calls, its gradients compared with finite differences in double, its state, its errors. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as main from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, seededNormal, sizeOf, tensor } from './data.js';
import { assertSameBits } from './helpers.js';

const closeTo = (actual, expected, tolerance, message) => {
  assert.equal(actual.length, expected.length, message);
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) <= tolerance, `${message} ${i}: ${value}, not ${expected[i]}`);
  });
};

/** The channel of each value of a tensor. */
const channelsOf = (shape, axis) => {
  const at = axis < 0 ? axis + shape.length : axis;
  const spatial = sizeOf(shape.slice(at + 1));
  return Array.from({ length: sizeOf(shape) }, (_, i) => Math.floor(i / spatial) % shape[at]);
};

/** The definition of batch normalization in double, with the batch's statistics unless others are given. */
function definition({ x, owner, gamma, beta, epsilon, statistics, relu }) {
  const batch = gamma.map((_, c) => {
    const own = x.filter((_, i) => owner[i] === c);
    const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
    return { mean, variance: own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / own.length };
  });
  return x.map((value, i) => {
    const c = owner[i];
    const { mean, variance } = statistics?.[c] ?? batch[c];
    const y = ((value - mean) / Math.sqrt(variance + epsilon)) * gamma[c] + beta[c];
    return relu ? Math.max(y, 0) : y;
  });
}

/** The gradient of Σ weights · output with respect to one of the inputs, by central differences in double. */
function finiteDifferences(problem, name, weights) {
  const loss = (values) => definition({ ...problem, [name]: values }).reduce((sum, y, i) => sum + weights[i] * y, 0);
  const step = 1e-5;
  return problem[name].map((value, i) => {
    const at = (moved) => problem[name].with(i, moved);
    return (loss(at(value + step)) - loss(at(value - step))) / (2 * step);
  });
}

/** A layer whose parameters and running statistics have an uneven pattern. */
function makeLayer(BatchNorm, channels, options) {
  const layer = new BatchNorm(channels, options);
  for (let c = 0; c < channels; c++) {
    layer.gamma[c] = [1.5, -0.75, 0.5][c % 3];
    layer.beta[c] = [0.5, -0.25][c % 2];
    layer.runningMean[c] = [0.25, -1, 0][c % 3];
    layer.runningVar[c] = [1.5, 0.75][c % 2];
  }
  return layer;
}

const copyOf = (layer) => structuredClone({ ...layer });

for (const [name, library] of [
  ['batchnorm', main],
  ['batchnorm/js', plain],
]) {
  const { BatchNorm, batchNormalization, batchNormalizationGradient } = library;

  test(`${name}: gradients agree with finite differences in double, in both modes, for every axis, with relu`, () => {
    for (const [shape, axis] of [
      [[3, 3, 2, 2], 1],
      [[4, 5, 3], -1],
      [[3, 2, 4], 0],
      [[9], 0],
      [[6, 2], undefined],
      [[2, 3, 4, 5], undefined],
    ])
      for (const training of [true, false])
        for (const relu of [false, true]) {
          const message = `[${shape}], axis ${axis}, training ${training}, relu ${relu}`;
          const X = normalTensor(shape, 5, 0.5, 2);
          const gradOutput = normalTensor(shape, 6);
          const owner = channelsOf(shape, axis ?? 1);
          const channels = shape.at(axis ?? 1);
          const epsilon = 0.01;
          const layer = makeLayer(BatchNorm, channels, { axis, relu, epsilon });
          layer.training = training;
          const statistics = training
            ? undefined
            : [...layer.runningMean].map((mean, c) => ({ mean, variance: layer.runningVar[c] }));
          const problem = {
            x: [...X.data],
            owner,
            gamma: [...layer.gamma],
            beta: [...layer.beta],
            epsilon,
            statistics,
            relu,
          };
          const output = layer.forward(X);
          closeTo([...output.data], definition(problem), 1e-5, message);
          const gradInput = layer.backward(gradOutput);
          assert.deepEqual(gradInput.shape, shape);
          const weights = [...gradOutput.data];
          closeTo([...gradInput.data], finiteDifferences(problem, 'x', weights), 1e-4, `gradInput, ${message}`);
          closeTo([...layer.gradGamma], finiteDifferences(problem, 'gamma', weights), 1e-4, `gradGamma, ${message}`);
          closeTo([...layer.gradBeta], finiteDifferences(problem, 'beta', weights), 1e-4, `gradBeta, ${message}`);
        }
  });

  test(`${name}: the layer gives the results of the two calls, with running statistics in double`, () => {
    const shape = [4, 3, 10, 10];
    for (const options of [{}, { momentum: 0.75, epsilon: 0.5, unbiased: true, relu: true }]) {
      const { momentum = 0.9, epsilon = 1e-5, unbiased = false, relu = false } = options;
      const layer = makeLayer(BatchNorm, 3, options);
      let { runningMean, runningVar } = copyOf(layer);
      for (let step = 0; step < 3; step++) {
        const X = normalTensor(shape, step, 3, 2);
        const gradOutput = normalTensor(shape, 10 + step);
        const statistics = { mean: new Float64Array(3), variance: new Float64Array(3) };
        const more = { unbiased, relu, statistics };
        const [output, newMean, newVar] = batchNormalization(
          X,
          layer.gamma,
          layer.beta,
          runningMean,
          runningVar,
          momentum,
          epsilon,
          true,
          more,
        );
        assertSameBits(layer.forward(X).data, output.data);
        assert.deepEqual(layer.runningMean, newMean.data);
        assert.deepEqual(layer.runningVar, newVar.data);
        runningMean = newMean.data;
        runningVar = newVar.data;
        const { gamma, beta } = layer;
        const [gradInput, gradGamma, gradBeta] = batchNormalizationGradient(gradOutput, X, {
          gamma,
          beta,
          statistics,
          epsilon,
          relu,
        });
        assertSameBits(layer.backward(gradOutput).data, gradInput.data);
        assertSameBits(layer.gradGamma, gradGamma.data);
        assertSameBits(layer.gradBeta, gradBeta.data);
      }
    }
  });

  test(`${name}: a layer starts with PyTorch’s values, but with momentum 0.9 and the biased variance`, () => {
    const layer = new BatchNorm(2);
    assert.deepEqual([...layer.gamma, ...layer.beta, ...layer.gradGamma, ...layer.gradBeta], [1, 1, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual([...layer.runningMean, ...layer.runningVar], [0, 0, 1, 1]);
    assert.equal(layer.training, true);
    layer.forward({ data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] });
    closeTo([...layer.runningMean], [0.25, 2.5], 1e-14, 'runningMean');
    closeTo([...layer.runningVar], [0.9 + 0.125, 0.9 + 12.5], 1e-13, 'runningVar');
  });

  test(`${name}: a layer’s arrays stay the same objects, and gradients are overwritten, not accumulated`, () => {
    const layer = new BatchNorm(3);
    const before = Object.entries(layer).filter(([, value]) => ArrayBuffer.isView(value));
    assert.equal(before.length, 6);
    const X = normalTensor([2, 3, 5, 5]);
    const gradOutput = normalTensor(X.shape, 2);
    layer.forward(X);
    layer.backward(gradOutput);
    const gradients = [[...layer.gradGamma], [...layer.gradBeta]];
    layer.backward(gradOutput);
    assert.deepEqual([[...layer.gradGamma], [...layer.gradBeta]], gradients);
    layer.load(layer.state());
    for (const [key, array] of before) assert.equal(layer[key], array, key);
  });

  test(`${name}: backward belongs to the last forward, even if training has changed since`, () => {
    const X = normalTensor([2, 3, 5, 5], 1, 2, 3);
    const other = normalTensor([4, 3, 2, 2], 2);
    const gradOutput = normalTensor(X.shape, 3);
    const layer = makeLayer(BatchNorm, 3);
    layer.forward(other); // another batch size
    layer.forward(X);
    const expected = layer.backward(gradOutput).data.slice();
    layer.training = false;
    assertSameBits(layer.backward(gradOutput).data, expected);
    layer.forward(X);
    const { gamma, beta, runningMean: mean, runningVar: variance } = layer;
    const options = { gamma, beta, statistics: { mean, variance }, training: false };
    const [inference] = batchNormalizationGradient(gradOutput, X, options);
    layer.training = true;
    // Loading other statistics after an evaluation does not change its backward.
    layer.load({ ...layer.state(), running_mean: [9, 9, 9], running_var: [9, 9, 9] });
    assertSameBits(layer.backward(gradOutput).data, inference.data);
  });

  test(`${name}: momentum may change; n/(n + 1) averages over all batches`, () => {
    const layer = new BatchNorm(2);
    const means = [];
    for (let n = 0; n < 5; n++) {
      const X = normalTensor([3, 2, 4, 4], n, n);
      layer.momentum = n / (n + 1);
      layer.forward(X);
      means.push(library.moments(X).mean);
    }
    const average = [0, 1].map((c) => means.reduce((sum, mean) => sum + mean[c], 0) / means.length);
    closeTo([...layer.runningMean], average, 1e-14, 'average');
  });

  test(`${name}: out receives the output and the gradient; if the output replaced X, backward is an error`, () => {
    const X = normalTensor([2, 3, 5, 5]);
    const gradOutput = normalTensor(X.shape, 2);
    const layer = new BatchNorm(3);
    const output = layer.forward(X).data.slice();
    const gradInput = layer.backward(gradOutput).data.slice();
    const out = { data: new Float32Array(150), shape: X.shape };
    assert.equal(layer.forward(X, { out }), out);
    assertSameBits(out.data, output);
    assert.equal(layer.backward(gradOutput, { out: gradOutput }), gradOutput);
    assertSameBits(gradOutput.data, gradInput);
    assert.throws(() => layer.backward(gradOutput, { out: X }), /^RangeError: batchNormalizationGradient: out must/);

    const overwritten = /^Error: BatchNorm: backward needs X, but forward overwrote it with its output$/;
    const whole = new Float32Array(300);
    for (const [given, target] of [
      [X, X],
      [X, X.data],
      [X, { data: X.data.subarray(0), shape: X.shape }],
      [
        { data: whole, shape: X.shape, offset: 150 },
        { data: whole.subarray(150), dims: X.shape },
      ],
    ]) {
      const kept = given.data.slice();
      layer.forward(given, { out: target });
      assert.throws(() => layer.backward(gradOutput), overwritten);
      given.data.set(kept);
      layer.forward(given);
      layer.backward(gradOutput);
    }
    // An out next to X in the same buffer does not replace X.
    layer.forward({ data: whole, shape: X.shape, offset: 150 }, { out: { data: whole, shape: X.shape, offset: 0 } });
    layer.backward(gradOutput);
  });

  test(`${name}: an error leaves the layer, its X and its statistics as they were`, () => {
    const X = normalTensor([2, 3, 5, 5], 1, 4);
    const gradOutput = normalTensor(X.shape, 2);
    const layer = makeLayer(BatchNorm, 3, { unbiased: true });
    layer.forward(X);
    layer.backward(gradOutput);
    const before = copyOf(layer);
    const expected = layer.backward(gradOutput).data.slice();
    for (const [call, error] of [
      [() => layer.forward(undefined), /^TypeError: batchNormalization: X must be a tensor/],
      [
        () => layer.forward(normalTensor([2, 4, 5, 5])),
        /^RangeError: BatchNorm: X must have 3 channels at axis 1; got shape \[2, 4, 5, 5\]$/,
      ],
      [() => layer.forward(normalTensor([3])), /^RangeError: batchNormalization: axis must/],
      [() => layer.forward(X, { out: new Float32Array(3) }), /^RangeError: batchNormalization: out must/],
      [() => layer.forward(X, { out: X.data.subarray(1) }), /^RangeError: batchNormalization: out must/],
      [() => layer.forward(X, { axis: 0 }), /^TypeError: BatchNorm: options must .*; got the property "axis"$/],
      [() => layer.forward(X, null), /^TypeError: BatchNorm: options must .*; got null$/],
      [() => layer.forward(normalTensor([1, 3, 1, 1])), /^RangeError: batchNormalization: unbiased must/],
      [() => layer.backward(normalTensor([3, 3, 5, 5])), /^RangeError: batchNormalizationGradient: gradOutput\.shape must/],
      [() => layer.backward(gradOutput.data), /^TypeError: batchNormalizationGradient: gradOutput must/],
      [() => layer.backward(gradOutput, { gradInput: false }), /^TypeError: BatchNorm: options must/],
    ]) {
      assert.throws(call, (thrown) => error.test(String(thrown)) || assert.fail(`${thrown}\nnot ${error}`));
      assert.deepEqual(copyOf(layer), before);
      assertSameBits(layer.backward(gradOutput).data, expected);
    }
    layer.momentum = 2;
    assert.throws(() => layer.forward(X), /momentum must/);
    layer.momentum = 0.9;
    layer.training = 'no';
    assert.throws(() => layer.forward(X), /training must/);
    layer.training = true;
    assert.deepEqual(copyOf(layer), before);
  });

  test(`${name}: backward before forward, and wrong arguments of the constructor, are errors`, () => {
    const gradOutput = normalTensor([2, 3, 5, 5]);
    assert.throws(() => new BatchNorm(3).backward(gradOutput), {
      name: 'Error',
      message: 'BatchNorm: forward must be called before backward',
    });
    for (const [args, ErrorType, message] of [
      [[], TypeError, 'channels must be a positive integer; got undefined'],
      [['3'], TypeError, 'channels must be a positive integer; got "3"'],
      [[0], RangeError, 'channels must be a positive integer; got 0'],
      [[1.5], RangeError, 'channels must be a positive integer; got 1.5'],
      [
        [3, 0.9],
        TypeError,
        'options must be an object with no properties other than momentum, epsilon, axis, unbiased, relu; got 0.9',
      ],
      [
        [3, { eps: 1 }],
        TypeError,
        'options must be an object with no properties other than momentum, epsilon, axis, unbiased, relu; got the property "eps"',
      ],
      [[3, { momentum: 1.1 }], RangeError, 'momentum must be a number from 0 to 1; got 1.1'],
      [[3, { momentum: null }], TypeError, 'momentum must be a number from 0 to 1; got null'],
      [[3, { epsilon: -1 }], RangeError, 'epsilon must be a finite number of at least 0; got -1'],
      [[3, { epsilon: Infinity }], RangeError, 'epsilon must be a finite number of at least 0; got Infinity'],
      [[3, { axis: 8 }], RangeError, 'axis must be an integer from -8 to 7; got 8'],
      [[3, { axis: 'C' }], TypeError, 'axis must be an integer from -8 to 7; got "C"'],
      [[3, { unbiased: 1 }], TypeError, 'unbiased must be true or false; got 1'],
      [[3, { relu: 'yes' }], TypeError, 'relu must be true or false; got "yes"'],
    ])
      assert.throws(() => new BatchNorm(...args), { name: ErrorType.name, message: `BatchNorm: ${message}` });
  });

  test(`${name}: JSON keeps every digit of a state, and load accepts PyTorch’s state`, () => {
    const layer = makeLayer(BatchNorm, 3);
    for (let step = 0; step < 3; step++) layer.forward(normalTensor([2, 3, 4, 4], step, 1e6));
    const state = layer.state();
    assert.deepEqual(Object.keys(state), ['weight', 'bias', 'running_mean', 'running_var']);
    for (const values of Object.values(state)) assert.ok(Array.isArray(values));
    const loaded = new BatchNorm(3);
    assert.equal(loaded.load(JSON.parse(JSON.stringify(state))), undefined);
    for (const key of ['gamma', 'beta', 'runningMean', 'runningVar']) assert.deepEqual(loaded[key], layer[key], key);
    const { gamma, beta, runningMean, runningVar } = layer;
    const typed = { weight: gamma, bias: beta, running_mean: runningMean, running_var: Float32Array.from(runningVar) };
    loaded.load({ ...typed, num_batches_tracked: 3n });
    assert.deepEqual(loaded.state(), { ...state, running_var: state.running_var.map(Math.fround) });
    state.weight[0] = 77; // It is a copy.
    assert.notEqual(layer.gamma[0], 77);
  });

  test(`${name}: load checks everything before it changes anything`, () => {
    const good = { weight: [1, 2], bias: [3, 4], running_mean: [5, 6], running_var: [7, 8] };
    const layer = new BatchNorm(2);
    const before = copyOf(layer);
    const { running_var, ...missing } = good;
    for (const [state, ErrorType, message] of [
      [
        null,
        TypeError,
        'state must be an object with no properties other than weight, bias, running_mean, running_var, num_batches_tracked; got null',
      ],
      [missing, TypeError, 'state.running_var must be a Float32Array, Float64Array or array of numbers; got undefined'],
      [{ ...good, running_var: [7] }, RangeError, 'state.running_var must hold 2 values, one per channel; got 1'],
      [{ ...good, running_var: [7, null] }, TypeError, 'state.running_var[1] must be a number; got null'],
      [{ ...good, running_var: new Array(2) }, TypeError, 'state.running_var[0] must be a number; got undefined'],
      [
        { ...good, running_var: { data: [7, 8], shape: [2] } },
        TypeError,
        'state.running_var must be a Float32Array, Float64Array or array of numbers; got an object',
      ],
      [
        { ...good, gamma: [1, 2] },
        TypeError,
        'state must be an object with no properties other than weight, bias, running_mean, running_var, num_batches_tracked; got the property "gamma"',
      ],
    ]) {
      assert.throws(() => layer.load(state), { name: ErrorType.name, message: `BatchNorm: ${message}` });
      assert.deepEqual(copyOf(layer), before);
    }
    layer.load(good);
    assert.deepEqual(layer.state(), good);
  });

  test(`${name}: a small network with a layer learns`, () => {
    // Two classes by the sign of x·y, which no linear layer can separate, with inputs far from zero.
    const next = seededNormal(1);
    const count = 128;
    const points = Array.from({ length: count }, () => [next(), next()]);
    const hidden = 8;
    const weights = Float32Array.from({ length: 3 * hidden }, () => 20 * next());
    const last = new Float32Array(hidden + 1);
    const layer = new BatchNorm(hidden, { relu: true });
    const X = tensor([count, hidden], (i) => {
      const [x, y] = points[Math.floor(i / hidden)];
      const h = 3 * (i % hidden);
      return 100 + weights[h] * x + weights[h + 1] * y;
    });
    const losses = [];
    for (let step = 0; step < 200; step++) {
      const output = layer.forward(X);
      const gradOutput = { data: new Float32Array(count * hidden), shape: X.shape };
      const gradLast = new Float32Array(hidden + 1);
      let loss = 0;
      points.forEach(([x, y], n) => {
        const own = output.data.subarray(n * hidden, (n + 1) * hidden);
        const score = own.reduce((sum, value, h) => sum + value * last[h], last[hidden]);
        const label = x * y > 0 ? 1 : 0;
        const probability = 1 / (1 + Math.exp(-score));
        loss -= Math.log(label ? probability : 1 - probability) / count;
        const error = (probability - label) / count;
        own.forEach((value, h) => {
          gradLast[h] += error * value;
          gradOutput.data[n * hidden + h] = error * last[h];
        });
        gradLast[hidden] += error;
      });
      layer.backward(gradOutput);
      losses.push(loss);
      for (const [values, gradients] of [
        [last, gradLast],
        [layer.gamma, layer.gradGamma],
        [layer.beta, layer.gradBeta],
      ])
        values.forEach((_, i) => {
          values[i] -= 0.5 * gradients[i];
        });
    }
    assert.ok(losses.at(-1) < 0.6 * losses[0], `from ${losses[0]} to ${losses.at(-1)}`);
  });
}
