/* What the package gains in TensorFlow.js: node examples/tfjs/bench.js
 * Inference of MobileNet (v1) with random weights, training of a dense network, and single layers, on the backends wasm and cpu.
 * Results are compared before anything is timed. Both variants take turns; the table has medians. Prints Markdown. */
import { machine } from '../../bench/machine.js';
import { tf } from '../../tests/tfjs/tensorflow.js';
import { install } from './batchnorm-tfjs.js';

const WARMUP = 5;
const ROUNDS = 31;
const SECONDS = 20; // after this time, a case takes no more rounds than LEAST
const LEAST = 5;

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const show = (ms) => (ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : ms.toFixed(0));

/** MobileNet v1: 27 convolutions, each followed by batch normalization. https://arxiv.org/abs/1704.04861 */
function mobileNet(alpha, size) {
  const { layers } = tf;
  const input = tf.input({ shape: [size, size, 3] });
  const activated = (y) => layers.reLU({ maxValue: 6 }).apply(layers.batchNormalization().apply(y));
  const options = (strides) => ({ strides, padding: 'same', useBias: false });
  const initializer = tf.initializers.heNormal({ seed: 1 });
  const convolution = (y, filters, kernelSize, strides) =>
    activated(layers.conv2d({ filters, kernelSize, kernelInitializer: initializer, ...options(strides) }).apply(y));
  let y = convolution(input, 32 * alpha, 3, 2);
  for (const [filters, strides] of [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
    ...Array.from({ length: 5 }, () => [512, 1]),
    [1024, 2],
    [1024, 1],
  ]) {
    y = activated(layers.depthwiseConv2d({ kernelSize: 3, depthwiseInitializer: initializer, ...options(strides) }).apply(y));
    y = convolution(y, filters * alpha, 1, 1);
  }
  y = layers.dense({ units: 10 }).apply(layers.globalAveragePooling2d({}).apply(y));
  return tf.model({ inputs: input, outputs: y });
}

function denseNetwork(inputs, units) {
  const { layers } = tf;
  const model = tf.sequential();
  for (let k = 0; k < 3; k++) {
    model.add(layers.dense({ units, useBias: false, ...(k === 0 && { inputShape: [inputs] }) }));
    model.add(layers.batchNormalization());
    model.add(layers.reLU());
  }
  model.add(layers.dense({ units: 10, activation: 'softmax' }));
  model.compile({ optimizer: 'sgd', loss: 'categoricalCrossentropy' });
  return model;
}

/** The milliseconds that `run` takes. */
async function wholeOf(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** The milliseconds that the layers of batch normalization take while `run` runs. */
async function partOf(run) {
  const { prototype } = tf.layers.batchNormalization({ name: 'probe' }).constructor;
  const { call } = prototype;
  let part = 0;
  prototype.call = function (...args) {
    const start = performance.now();
    const output = call.apply(this, args);
    part += performance.now() - start;
    return output;
  };
  await run();
  prototype.call = call;
  return part;
}

/* Each of these functions makes calls by name: `time` is what is measured, and `result` what is compared before. */

function inference(alpha, size) {
  const model = mobileNet(alpha, size);
  const x = tf.randomNormal([1, size, size, 3], 0, 1, 'float32', 7);
  const predict = () => tf.tidy(() => model.predict(x).dataSync());
  return {
    [`inference, MobileNet ${alpha} at ${size} × ${size}: whole`]: { time: () => wholeOf(predict), result: predict },
    '… its 27 batch normalizations': { time: () => partOf(predict), result: predict },
  };
}

function training(batch, inputs, units) {
  const model = denseNetwork(inputs, units);
  const weights = model.getWeights().map((weight) => weight.clone());
  const x = tf.randomNormal([batch, inputs], 0, 1, 'float32', 7);
  const y = tf.oneHot(
    Array.from({ length: batch }, (_, n) => n % 10),
    10,
  );
  const step = async () => [await model.trainOnBatch(x, y)];
  /** The losses of two steps from the same weights. */
  const result = async () => {
    model.setWeights(weights);
    return [...(await step()), ...(await step())];
  };
  return { [`training step, ${batch} × ${inputs}, 3 hidden layers of ${units}: whole`]: { time: () => wholeOf(step), result } };
}

/** One layer in training: the forward call and the gradient. */
function layer(shape) {
  const normalization = tf.layers.batchNormalization({ inputShape: shape.slice(1) });
  tf.sequential({ layers: [normalization] });
  const x = tf.randomNormal(shape, 1, 1, 'float32', 7);
  const dy = tf.randomNormal(shape, 0, 1, 'float32', 8);
  const gradient = tf.grad((t) => normalization.apply(t, { training: true }));
  /** Not in tidy, which would search the result for tensors, value by value. */
  const result = () => {
    const gradInput = gradient(x, dy);
    const values = gradInput.dataSync();
    gradInput.dispose();
    return values;
  };
  return { [`one layer in training with its gradient, ${shape.join(' × ')}`]: { time: () => wholeOf(result), result } };
}

const cases = {
  wasm: [() => inference(1, 224), () => training(256, 784, 256), () => layer([256, 256]), () => layer([16, 32, 32, 64])],
  cpu: [() => inference(0.25, 128), () => training(64, 784, 128), () => layer([256, 256]), () => layer([16, 32, 32, 64])],
};

/** Both variants, by name: each prepares itself, and returns what takes that back. */
const variants = { own: () => () => {}, package: () => install(tf) };

console.log('| backend | what | TensorFlow.js | with batchnorm | ratio |\n| --- | --- | --: | --: | --: |');
for (const [backend, groups] of Object.entries(cases)) {
  await tf.setBackend(backend);
  for (const group of groups) {
    tf.engine().startScope();
    for (const [what, { time, result }] of Object.entries(group())) {
      const times = { own: [], package: [] };
      const results = {};
      for (const [name, prepare] of Object.entries(variants)) {
        const undo = prepare();
        results[name] = await result();
        undo();
      }
      const largest = results.own.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      results.own.forEach((value, i) => {
        const found = results.package[i];
        if (!(Math.abs(found - value) <= 1e-4 * largest)) throw new Error(`${what}: result ${i} is ${found}, not ${value}`);
      });
      const start = performance.now();
      for (let k = -WARMUP; k < ROUNDS && (k < LEAST || performance.now() - start < 1000 * SECONDS); k++)
        for (const [name, prepare] of Object.entries(variants)) {
          const undo = prepare();
          const ms = await time();
          if (k >= 0) times[name].push(ms);
          undo();
        }
      const [own, ours] = [median(times.own), median(times.package)];
      console.log(`| ${backend} | ${what} | ${show(own)} ms | ${show(ours)} ms | ${(own / ours).toFixed(1)} |`);
    }
    tf.engine().endScope();
    tf.disposeVariables();
  }
}
console.log(`\nMeasured on ${machine}.`);
