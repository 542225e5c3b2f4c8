/* The checks of examples/tfjs with the real TensorFlow.js, in Node and in pages: checksOf(tf, install, backend) → { name: function }.
 * A check throws an error if it fails. The package is not installed before a check, nor after it. */
import { gradientReference, positionsOf } from '../gradient-reference.js';
import { statisticsOf } from '../reference.js';

function ok(condition, message) {
  if (!condition) throw new Error(message);
}

/** Compares values within `tolerance`, relative to the largest of them. */
function close(what, actual, expected, tolerance = 1e-5) {
  ok(actual.length === expected.length, `${what}: ${actual.length} values, not ${expected.length}`);
  const unit = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * unit))
      throw new Error(`${what}[${i}] is ${actual[i]}, not ${expected[i]}`);
}

/** Numbers in (−1, 1), the same in every run. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  };
}

const product = (sizes) => sizes.reduce((total, size) => total * size, 1);

const random = (seed, length, center = 0, spread = 1) => {
  const next = numbers(seed);
  return Float32Array.from({ length }, () => center + spread * next());
};

/**
 * A convolution without tf.layers.conv2d, which always computes the gradient of its filters. The wasm backend has none, so no
 * network with that layer can be differentiated there.
 */
const convolutionOf = (tf) =>
  class Convolution extends tf.layers.Layer {
    static className = 'Convolution';
    constructor(options) {
      super(options);
      this.options = options;
    }
    build(shape) {
      const { kernelSize, filters, kernelInitializer } = this.options;
      this.filter = this.addWeight('filter', [kernelSize, kernelSize, shape.at(-1), filters], 'float32', kernelInitializer);
      super.build(shape);
    }
    computeOutputShape([batch, height, width]) {
      const { strides, filters } = this.options;
      return [batch, Math.ceil(height / strides), Math.ceil(width / strides), filters];
    }
    call(inputs) {
      return tf.tidy(() => tf.conv2d([inputs].flat()[0], this.filter.read(), this.options.strides, 'same'));
    }
  };

/**
 * A residual network with random weights, and random moving statistics that fit its data roughly. It ends in a dense layer.
 * @param {any} tf
 */
function residualNetwork(tf, { size = 16, channels = [8, 16], blocks = 5, convolutions = tf.layers.conv2d } = {}) {
  const { layers } = tf;
  let seed = 1;
  const kernelInitializer = () => tf.initializers.heNormal({ seed: seed++ });
  const convolution = (filters, kernelSize, strides) =>
    convolutions({ filters, kernelSize, strides, padding: 'same', useBias: false, kernelInitializer: kernelInitializer() });
  const input = tf.input({ shape: [size, size, 3] });
  const normalized = (x) => layers.batchNormalization().apply(x);
  let y = normalized(convolution(channels[0], 3, 1).apply(input));
  for (const [k, filters] of channels.entries())
    for (let block = 0; block < blocks; block++) {
      const strides = k > 0 && block === 0 ? 2 : 1;
      const skip = strides === 1 ? y : normalized(convolution(filters, 1, strides).apply(y));
      const a = layers.reLU().apply(normalized(convolution(filters, 3, strides).apply(y)));
      y = layers.reLU().apply(layers.add().apply([skip, normalized(convolution(filters, 3, 1).apply(a))]));
    }
  y = layers.dense({ units: 10, kernelInitializer: kernelInitializer() }).apply(layers.globalAveragePooling2d({}).apply(y));
  const model = tf.model({ inputs: input, outputs: y });
  for (const layer of normalizationsOf(model)) {
    const [{ shape }] = layer.getWeights();
    const values = [
      random(seed++, shape[0], 1, 0.2),
      random(seed++, shape[0], 0, 0.5),
      random(seed++, shape[0], 0, 0.5),
      random(seed++, shape[0], 1.5, 0.5),
    ];
    const weights = values.map((data) => tf.tensor1d(data));
    layer.setWeights(weights);
    tf.dispose(weights);
  }
  return model;
}

const normalizationsOf = (model) => model.layers.filter((layer) => layer.getClassName() === 'BatchNormalization');

/** A network of dense layers, each followed by batch normalization, ready to be trained. */
function denseNetwork(tf, { inputs, units, depth }) {
  const { layers } = tf;
  const model = tf.sequential();
  for (let k = 0; k < depth; k++) {
    const kernelInitializer = tf.initializers.heNormal({ seed: 100 + k });
    model.add(layers.dense({ units, kernelInitializer, ...(k === 0 && { inputShape: [inputs] }) }));
    model.add(layers.batchNormalization());
    model.add(layers.reLU());
  }
  model.add(layers.dense({ units: 1, kernelInitializer: tf.initializers.heNormal({ seed: 99 }) }));
  model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
  return model;
}

/** What batch normalization of any rank and axis gives, in float64. */
function reference({ data, shape }, axis, { gamma, beta, mean, variance }, epsilon) {
  const result = { output: new Float64Array(data.length), mean: [], variance: [] };
  for (const [c, positions] of positionsOf(shape, axis).entries()) {
    const own = mean
      ? { mean: mean[c], variance: variance[c], meanRest: 0 }
      : statisticsOf(Array.from(positions, (i) => data[i]));
    const factor = (gamma?.[c] ?? 1) / Math.sqrt(own.variance + epsilon);
    for (const i of positions) result.output[i] = (data[i] - own.mean - own.meanRest) * factor + (beta?.[c] ?? 0);
    result.mean.push(own.mean);
    result.variance.push(own.variance);
  }
  return result;
}

const SHAPES = [
  [12, 5],
  [4, 6, 5],
  [3, 4, 5, 6],
  [2, 3, 4, 5, 6],
];
const EPSILON = 1e-3;
const MOMENTUM = 0.9;

/** A layer with random weights, and its input, a gradient, and what is in it. */
function layerCase(tf, { shape, axis, scale, center, from = 0 }) {
  const channels = shape.at(axis);
  const layer = tf.layers.batchNormalization({
    axis,
    scale,
    center,
    epsilon: EPSILON,
    momentum: MOMENTUM,
    batchInputShape: shape,
  });
  tf.sequential({ layers: [layer] });
  const weights = {
    gamma: scale ? random(11, channels, 1, 0.5) : undefined,
    beta: center ? random(12, channels) : undefined,
    mean: random(13, channels, from, 0.5),
    variance: random(14, channels, 1, 0.5),
  };
  tf.tidy(() => layer.setWeights(Object.values(weights).flatMap((values) => (values ? [tf.tensor1d(values)] : []))));
  const X = { data: random(15, product(shape), from), shape };
  const gradOutput = { data: random(16, product(shape)), shape };
  return { layer, weights, X, gradOutput, x: tf.tensor(X.data, shape), dy: tf.tensor(gradOutput.data, shape) };
}

/** Compares a layer's output, gradients and moving statistics with the reference. */
function checkLayer(tf, given, training, tolerance) {
  const { layer, weights, X, gradOutput, x, dy } = given;
  const what = `shape ${X.shape}, axis ${layer.axis}, scale ${layer.scale}, center ${layer.center}, training ${training}`;
  const axis = layer.axis < 0 ? layer.axis + X.shape.length : layer.axis;
  const { gamma, beta } = weights;
  const expected = reference(X, axis, training ? { gamma, beta } : weights, EPSILON);
  const statistics = { mean: expected.mean, variance: expected.variance };
  const gradients = gradientReference(gradOutput, X, { gamma, statistics, epsilon: EPSILON, training, axis });
  tf.tidy(() => {
    const output = layer.apply(x, { training });
    ok(String(output.shape) === String(X.shape) && output.dtype === 'float32', `${what}: shape ${output.shape}, ${output.dtype}`);
    close(`${what}: output`, output.dataSync(), expected.output, tolerance);
    const [movingMean, movingVariance] = layer.nonTrainableWeights.map((weight) => weight.read().dataSync());
    const moved = (old, batch) =>
      Array.from(old, (value, c) => (training ? MOMENTUM * value + (1 - MOMENTUM) * batch[c] : value));
    close(`${what}: moving mean`, movingMean, moved(weights.mean, expected.mean), tolerance);
    close(`${what}: moving variance`, movingVariance, moved(weights.variance, expected.variance), tolerance);
    const loss = () => layer.apply(x, { training }).mul(dy).sum();
    close(
      `${what}: gradient of x`,
      tf
        .grad((t) => layer.apply(t, { training }))(x, dy)
        .dataSync(),
      gradients.gradInput,
      tolerance,
    );
    const variables = layer.trainableWeights.map((weight) => weight.read());
    const named = { gamma: gradients.gradGamma, beta: gradients.gradBeta };
    if (variables.length === 0) return;
    const { grads } = tf.variableGrads(loss, variables);
    for (const weight of layer.trainableWeights)
      close(
        `${what}: gradient of ${weight.originalName}`,
        grads[weight.name].dataSync(),
        named[weight.originalName.split('/').at(-1)],
        tolerance,
      );
  });
}

/** Counts the calls of console.info while `run` runs. */
function noticesOf(run) {
  const { info } = console;
  const notices = [];
  console.info = (text) => notices.push(text);
  try {
    run();
  } finally {
    console.info = info;
  }
  return notices;
}

/** Runs with the package installed, and takes it back in any case. Nothing may be left to TensorFlow.js. */
async function within(tf, install, run) {
  const { info } = console;
  const uninstall = install(tf);
  console.info = (text) => {
    throw new Error(text);
  };
  try {
    return await run();
  } finally {
    console.info = info;
    uninstall();
  }
}

/** A graph model as tf.loadGraphModel reads it: one batch normalization in inference. */
function graphModelOf(tf, channels) {
  const names = ['scale', 'offset', 'mean', 'variance'];
  const data = names.map((_, k) => random(30 + k, channels, k === 3 ? 1 : 0, 0.5));
  const float = { type: 'DT_FLOAT' };
  const node = [
    { name: 'x', op: 'Placeholder', attr: { dtype: float, shape: { shape: { unknownRank: true } } } },
    ...names.map((name) => ({ name, op: 'Const', attr: { dtype: float } })),
    {
      name: 'y',
      op: 'FusedBatchNormV3',
      input: ['x', ...names],
      attr: { T: float, U: float, epsilon: { f: EPSILON }, is_training: { b: false }, data_format: { s: 'TkhXQw==' } },
    },
  ];
  const artifacts = {
    format: 'graph-model',
    modelTopology: { node, library: {}, versions: {} },
    weightSpecs: names.map((name) => ({ name, shape: [channels], dtype: 'float32' })),
    weightData: Float32Array.from(data.flatMap((values) => Array.from(values))).buffer,
  };
  const [gamma, beta, mean, variance] = data;
  return { load: () => tf.loadGraphModel(tf.io.fromMemory(artifacts)), weights: { gamma, beta, mean, variance } };
}

/** Runs a check on a backend that has been used before, and disposes what it leaves. */
export async function runCheck(tf, backend, check) {
  tf.setBackend(backend);
  tf.engine().startScope();
  try {
    await check();
  } finally {
    tf.engine().endScope();
  }
}

/** The checks of a backend, by name. */
export function checksOf(tf, install, backend) {
  const heap = () => tf.backend().wasm.HEAPU8.buffer.byteLength;

  return {
    async 'a residual network predicts the same, and so do its copy and a loaded one'() {
      const model = residualNetwork(tf);
      ok(normalizationsOf(model).length >= 20, `only ${normalizationsOf(model).length} normalizations`);
      const x = tf.tensor(random(5, 4 * 16 * 16 * 3), [4, 16, 16, 3]);
      const predict = (network) => tf.tidy(() => network.predict(x).dataSync());
      const before = predict(model);
      ok(
        before.some((value) => Math.abs(value) > 0.1),
        'the network is dead',
      );
      let saved;
      await model.save(
        tf.io.withSaveHandler(async (artifacts) => {
          saved = artifacts;
          return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
        }),
      );
      const early = await tf.loadLayersModel(tf.io.fromMemory(saved));
      await within(tf, install, async () => {
        const late = await tf.loadLayersModel(tf.io.fromMemory(saved));
        for (const network of [model, early, late]) close('prediction', predict(network), before);
      });
      ok(String(predict(model)) === String(before), 'after it was taken back, predictions differ');
    },

    async 'the gradients of a residual network in training, and its moving statistics, are the same'() {
      const Convolution = convolutionOf(tf);
      const model = residualNetwork(tf, { size: 8, channels: [4, 8], convolutions: (options) => new Convolution(options) });
      const x = tf.tensor(random(6, 4 * 8 * 8 * 3), [4, 8, 8, 3]);
      const weights = model.getWeights().map((weight) => weight.clone());
      // The wasm backend has no gradient for the filters of convolutions.
      const variables = (backend === 'wasm' ? normalizationsOf(model) : [model]).flatMap(
        ({ trainableWeights }) => trainableWeights,
      );
      const read = variables.map((weight) => weight.read());
      const compute = (training) =>
        tf.tidy(() => {
          model.setWeights(weights);
          const loss = (input) => model.apply(input, { training }).square().mean();
          const { value, grads } = tf.variableGrads(() => loss(x), read);
          const found = { loss: value.dataSync(), input: tf.grad(loss)(x).dataSync() };
          for (const { name } of variables) found[name] = grads[name].dataSync();
          for (const layer of normalizationsOf(model))
            for (const weight of layer.nonTrainableWeights) found[weight.name] = weight.read().dataSync();
          return found;
        });
      for (const training of [true, false]) {
        const before = compute(training);
        const after = await within(tf, install, () => compute(training));
        ok(Object.keys(after).length > 60, 'too few gradients');
        for (const [name, values] of Object.entries(before)) close(`${name}, training ${training}`, after[name], values);
      }
    },

    async 'layers of ranks 2 to 5, every axis, with and without scale and center'() {
      await within(tf, install, () => {
        for (const shape of SHAPES)
          for (let axis = -1; axis < shape.length; axis++)
            for (const scale of [true, false])
              for (const center of [true, false])
                for (const training of [true, false])
                  checkLayer(tf, layerCase(tf, { shape, axis, scale, center }), training, 1e-6);
      });
    },

    async 'a layer far from zero keeps its digits'() {
      await within(tf, install, () => {
        const given = layerCase(tf, { shape: [64, 4, 4, 8], axis: -1, scale: true, center: true, from: 1e5 });
        checkLayer(tf, given, true, 1e-5);
      });
    },

    async 'tf.batchNorm in ranks 2 to 5, with statistics of rank 1 and with an axis'() {
      await within(tf, install, () => {
        for (const shape of SHAPES)
          for (const axis of shape.keys())
            for (const [hasScale, hasOffset] of [
              [true, true],
              [true, false],
              [false, true],
              [false, false],
            ]) {
              const channels = shape[axis];
              const X = { data: random(21, product(shape)), shape };
              const weights = {
                mean: random(22, channels),
                variance: random(23, channels, 1, 0.5),
                beta: hasOffset ? random(24, channels) : undefined,
                gamma: hasScale ? random(25, channels, 1, 0.5) : undefined,
              };
              const sizes = shape.map((size, k) => (k === axis ? size : 1));
              for (const shapeOf of axis === shape.length - 1 ? [sizes, [channels]] : [sizes])
                tf.tidy(() => {
                  const tensors = Object.values(weights).map((values) => values && tf.tensor(values, shapeOf));
                  const y = tf.batchNorm(tf.tensor(X.data, shape), ...tensors, EPSILON);
                  close(`shape ${shape}, axis ${axis}`, y.dataSync(), reference(X, axis, weights, EPSILON).output, 1e-6);
                });
            }
      });
    },

    async 'a graph model'() {
      const shape = [2, 5, 5, 7];
      const { load, weights } = graphModelOf(tf, 7);
      const X = { data: random(40, product(shape)), shape };
      const early = await load();
      const x = tf.tensor(X.data, shape);
      const before = early.predict(x).dataSync();
      await within(tf, install, async () => {
        for (const model of [early, await load()]) {
          const y = model.predict(x).dataSync();
          close('prediction', y, before);
          close('prediction', y, reference(X, 3, weights, EPSILON).output, 1e-6);
        }
      });
    },

    async 'the kernel really is replaced, and given back'() {
      const kernel = tf.getKernel('FusedBatchNorm', backend);
      const { prototype } = tf.layers.batchNormalization({ name: 'probe' }).constructor;
      const { call } = prototype;
      const nameBefore = tf.layers.batchNormalization({}).name;
      const uninstall = install(tf);
      const number = (name) => Number(/\d+$/.exec(name)[0]);
      ok(number(tf.layers.batchNormalization({}).name) === number(nameBefore) + 1, 'default names of layers change');
      ok(tf.getKernel('FusedBatchNorm', backend) !== kernel && prototype.call !== call, 'nothing is replaced');
      ok(install(tf) === uninstall, 'it is installed twice');
      uninstall();
      uninstall();
      ok(tf.getKernel('FusedBatchNorm', backend) === kernel && prototype.call === call, 'something is left');
      install(tf)();
      ok(tf.getKernel('FusedBatchNorm', backend) === kernel && prototype.call === call, 'something is left the second time');
    },

    async 'nothing leaks: predictions, gradients and training steps'() {
      await within(tf, install, async () => {
        const Convolution = convolutionOf(tf);
        const convolutions = (options) => new Convolution(options);
        const model = residualNetwork(tf, { size: 8, channels: [4, 8], blocks: 1, convolutions });
        const x = tf.tensor(random(7, 2 * 8 * 8 * 3), [2, 8, 8, 3]);
        const dense = denseNetwork(tf, { inputs: 6, units: 16, depth: 2 });
        const [input, target] = [tf.tensor(random(8, 192), [32, 6]), tf.tensor(random(9, 32), [32, 1])];
        const gammas = normalizationsOf(model).flatMap((layer) => layer.trainableWeights.map((weight) => weight.read()));
        const once = async () => {
          model.predict(x).dispose();
          tf.dispose(tf.variableGrads(() => model.apply(x, { training: true }).mean(), gammas));
          await dense.trainOnBatch(input, target);
        };
        for (let k = 0; k < 3; k++) await once();
        const before = { ...tf.memory(), heap: backend === 'wasm' ? heap() : 0, ids: tf.backend().numDataIds() };
        for (let k = 0; k < 100; k++) await once();
        const after = { ...tf.memory(), heap: backend === 'wasm' ? heap() : 0, ids: tf.backend().numDataIds() };
        for (const key of ['numTensors', 'numBytes', 'numDataBuffers', 'heap', 'ids'])
          ok(before[key] === after[key], `${key}: ${before[key]} before, ${after[key]} after`);
      });
    },

    async 'a dense network learns as it does without the package'() {
      const [input, target] = [tf.tensor(random(8, 768), [128, 6]), tf.tensor(random(9, 128), [128, 1])];
      const train = async () => {
        const model = denseNetwork(tf, { inputs: 6, units: 16, depth: 3 });
        const losses = [];
        for (let k = 0; k < 20; k++) losses.push(await model.trainOnBatch(input, target));
        return losses;
      };
      const before = await train();
      const after = await within(tf, install, train);
      ok(before.at(-1) < before[0] / 2, `it does not learn: ${before}`);
      close('losses', after, before, 1e-4);
    },

    async 'tensors that lie in another backend are moved'() {
      const other = backend === 'wasm' ? 'cpu' : 'wasm';
      tf.setBackend(other);
      const given = layerCase(tf, { shape: [3, 4, 5, 6], axis: -1, scale: true, center: true });
      tf.setBackend(backend);
      await within(tf, install, () => checkLayer(tf, given, true, 1e-6));
    },

    async 'the heap may grow at any call'() {
      if (backend !== 'wasm') return;
      await within(tf, install, () => {
        const given = layerCase(tf, { shape: [32, 32, 32, 16], axis: -1, scale: true, center: true });
        const { layer, weights, X, gradOutput, x, dy } = given;
        const { gamma } = weights;
        const output = reference(X, 3, weights, EPSILON).output;
        const options = { gamma, statistics: weights, epsilon: EPSILON, training: false, axis: 3 };
        const { gradInput } = gradientReference(gradOutput, X, options);
        // The results are kept, so that the heap must grow: by the output of the forward call, or of the gradient.
        const kept = [];
        let grown = 0;
        for (let k = 0; k < 500 && grown < 6; k++) {
          const size = heap();
          const forward = k % 3 < 2;
          const y = forward ? layer.apply(x) : tf.grad((t) => layer.apply(t))(x, dy);
          kept.push(y);
          if (heap() === size) continue;
          grown++;
          close('result', y.dataSync(), forward ? output : gradInput, 1e-6);
        }
        ok(grown >= 6, `the heap has grown ${grown} times`);
        tf.dispose(kept);
      });
    },

    async 'the heap may grow while tensors are moved into it from another backend'() {
      if (backend !== 'wasm') return;
      await within(tf, install, () => {
        const channels = 2 ** 16;
        const shape = [1, channels];
        const X = { data: random(70, channels), shape };
        const x = tf.tensor(X.data, shape);
        const weights = { mean: random(71, channels), variance: random(72, channels, 1, 0.5), beta: random(73, channels) };
        const { output } = reference(X, 1, weights, EPSILON);
        x.add(1).dispose(); // so that x is there
        let grown = 0;
        for (let k = 0; k < 1000 && grown < 3; k++) {
          tf.setBackend('cpu');
          const given = Object.values(weights).map((values) => tf.tensor1d(values));
          tf.setBackend('wasm');
          const size = heap();
          const y = tf.batchNorm(x, ...given, undefined, EPSILON);
          if (heap() === size) continue;
          grown++;
          close('output', y.dataSync(), output, 1e-6);
        }
        ok(grown >= 3, `the heap has grown ${grown} times`);
      });
    },

    async 'what the package does not serve is left to TensorFlow.js, with one notice'() {
      const data = random(50, 24, 0, 2);
      const x = tf.tensor(data, [2, 3, 4]);
      const x4 = tf.tensor(data, [1, 2, 3, 4]);
      const one = tf.ones([4]);
      const layerOf = () => {
        const layer = tf.layers.batchNormalization({ inputShape: [3, 4] });
        tf.sequential({ layers: [layer] });
        return layer;
      };
      const [layer, trained] = [layerOf(), layerOf()];
      const cases = {
        'statistics of the shape of x': () => tf.batchNorm4d(x4, x4.mul(0.5), x4.square(), x4, x4),
        'one number for all channels': () => tf.batchNorm4d(x4, tf.tensor1d([0.5]), tf.tensor1d([2])),
        'different shapes': () => tf.batchNorm4d(x4, one, one, one, tf.tensor1d([3])),
        integers: () => tf.batchNorm4d(x4.toInt(), one, one),
        'integers in a layer': () => layer.apply(x.toInt()),
        'an empty tensor': () => tf.batchNorm4d(tf.zeros([0, 2, 3, 4]), one, one),
        'an empty tensor in a layer': () => layer.apply(tf.zeros([0, 3, 4])),
        'a negative epsilon': () => tf.batchNorm4d(x4, one, one, one, one, -0.5),
        'the gradient of a gradient': () =>
          tf.grad((t) =>
            tf
              .grad((u) => trained.apply(u, { training: true }).mul(x.cos()).sum())(t)
              .square()
              .sum(),
          )(x),
      };
      const compute = () => Object.entries(cases).map(([, run]) => tf.tidy(() => run().dataSync()));
      const expected = compute();
      let found;
      const notices = noticesOf(() => {
        const uninstall = install(tf);
        try {
          found = compute();
        } finally {
          uninstall();
        }
      });
      for (const [k, name] of Object.keys(cases).entries()) close(name, found[k], expected[k]);
      ok(notices.length === 1, `${notices.length} notices`);
      for (const [name, run] of Object.entries(cases)) {
        const said = noticesOf(() => {
          const uninstall = install(tf);
          tf.tidy(run);
          uninstall();
        });
        ok(said.length === 1 && /^batchnorm: left to TensorFlow\.js, since /.test(said[0]), `${name}: ${said.join()}`);
      }
    },

    async 'another backend computes as before, with one notice'() {
      const cpu = tf.findBackend('cpu').constructor;
      tf.copyRegisteredKernels('cpu', 'other');
      tf.registerBackend('other', () => new cpu());
      const uninstall = install(tf);
      try {
        tf.setBackend('other');
        const given = layerCase(tf, { shape: [3, 4, 5, 6], axis: -1, scale: true, center: true });
        const notices = noticesOf(() => {
          checkLayer(tf, given, false, 1e-5);
          checkLayer(tf, given, true, 1e-5);
        });
        ok(notices.length === 1 && /backends wasm and cpu/.test(notices[0]), notices.join());
      } finally {
        uninstall();
        tf.setBackend(backend);
        tf.removeBackend('other');
        for (const { kernelName } of tf.getKernelsForBackend('other')) tf.unregisterKernel(kernelName, 'other');
      }
    },

    async 'NaN, infinity and a negative variance have the same effect'() {
      const data = random(60, 48);
      data[0] = Number.NaN;
      data[1] = Number.POSITIVE_INFINITY;
      const x = tf.tensor(data, [12, 4]);
      const run = () =>
        tf.tidy(() => tf.batchNorm2d(x, tf.tensor1d([0, 0, 0.5, 1]), tf.tensor1d([1, 1, 1, -1]), null, null, 0.001).dataSync());
      const before = run();
      const after = await within(tf, install, run);
      ok(String(before.map(Number.isFinite)) === String(after.map(Number.isFinite)), `${before}, ${after}`);
    },
  };
}
