/* npm run example:train: trains a deep, narrow network to tell three spirals apart, with and without batch normalization, at
 * three learning rates. The data, the initial weights and the batches are always the same. Without batch normalization, the network
 * would also learn the task at two of the three rates, but it would need twice as many steps. This file contains all parts of the
 * network except batch normalization. */
import { fileURLToPath } from 'node:url';
import { BatchNorm } from 'batchnorm';

const CLASSES = 3;
const HIDDEN_LAYERS = 8;
const WIDTH = 12;
const BATCH = 100;
const STEPS = 300;

/** A generator of uniform numbers in [0, 1), from a seed (mulberry32). */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Random points in the plane, each near the spiral of its class. */
function spirals(count, random) {
  const labels = Uint8Array.from({ length: count }, (_, b) => b % CLASSES);
  const points = { data: new Float32Array(2 * count), shape: [count, 2] };
  labels.forEach((label, b) => {
    const radius = random();
    const angle = 5 * radius + (2 * Math.PI * label) / CLASSES;
    points.data[2 * b] = radius * Math.cos(angle) + 0.04 * (random() - 0.5);
    points.data[2 * b + 1] = radius * Math.sin(angle) + 0.04 * (random() - 0.5);
  });
  return { points, labels };
}

/** A dense layer: Y = X · weights + bias, for X of shape [batch, inputs]. */
class Dense {
  constructor(inputs, outputs, random) {
    const limit = Math.sqrt(6 / inputs); // He's initial weights, made for ReLU
    this.weights = Float32Array.from({ length: inputs * outputs }, () => limit * (2 * random() - 1));
    this.bias = new Float32Array(outputs);
    this.gradWeights = new Float64Array(inputs * outputs);
    this.gradBias = new Float64Array(outputs);
    this.parameters = [
      [this.weights, this.gradWeights],
      [this.bias, this.gradBias],
    ];
  }

  forward(X) {
    this.X = X;
    const { weights, bias } = this;
    const { data: x, shape } = X;
    const [batch, inputs] = shape;
    const outputs = bias.length;
    const Y = new Float32Array(batch * outputs);
    for (let b = 0; b < batch; b++)
      for (let o = 0; o < outputs; o++) {
        let sum = bias[o];
        for (let i = 0; i < inputs; i++) sum += x[b * inputs + i] * weights[i * outputs + o];
        Y[b * outputs + o] = sum;
      }
    return { data: Y, shape: [batch, outputs] };
  }

  backward({ data: gradOutput, shape: [batch, outputs] }) {
    const { weights, gradWeights, gradBias } = this;
    const { data: x, shape } = this.X;
    const inputs = shape[1];
    const gradInput = new Float32Array(x.length);
    gradWeights.fill(0);
    gradBias.fill(0);
    for (let b = 0; b < batch; b++) {
      for (let o = 0; o < outputs; o++) gradBias[o] += gradOutput[b * outputs + o];
      for (let i = 0; i < inputs; i++) {
        let sum = 0;
        for (let o = 0; o < outputs; o++) {
          const g = gradOutput[b * outputs + o];
          sum += g * weights[i * outputs + o];
          gradWeights[i * outputs + o] += g * x[b * inputs + i];
        }
        gradInput[b * inputs + i] = sum;
      }
    }
    return { data: gradInput, shape };
  }
}

/** Takes the place of BatchNorm, which includes a ReLU, in the network without batch normalization. */
class Relu {
  forward({ data, shape }) {
    this.output = data.map((value) => Math.max(0, value));
    return { data: this.output, shape };
  }

  backward({ data, shape }) {
    return { data: data.map((value, i) => (this.output[i] > 0 ? value : 0)), shape };
  }
}

/** The mean cross-entropy of softmax(scores), and its gradient. */
function crossEntropy({ data, shape }, labels) {
  const gradient = new Float32Array(data.length);
  let loss = 0;
  labels.forEach((label, b) => {
    const scores = data.subarray(b * CLASSES, (b + 1) * CLASSES);
    const largest = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - largest), 0);
    loss += (Math.log(total) + largest - scores[label]) / labels.length;
    scores.forEach((score, k) => {
      gradient[b * CLASSES + k] = (Math.exp(score - largest) / total - (k === label ? 1 : 0)) / labels.length;
    });
  });
  return { loss, gradient: { data: gradient, shape } };
}

/**
 * Trains a network by plain gradient descent, and calls `onStep(step, loss)` after every step. Then classifies points that were not used
 * in training. Returns the share of them that is classified correctly.
 */
export function train({ steps = STEPS, batchNormalization = true, rate = 0.03, onStep = (_step, _loss) => {} } = {}) {
  const random = seeded(1);
  const layers = [];
  for (let k = 0; k < HIDDEN_LAYERS; k++) {
    layers.push(new Dense(k === 0 ? 2 : WIDTH, WIDTH, random));
    layers.push(batchNormalization ? new BatchNorm(WIDTH, { relu: true }) : new Relu());
  }
  layers.push(new Dense(WIDTH, CLASSES, random));
  const normalizations = layers.filter((layer) => layer instanceof BatchNorm);
  // A BatchNorm always keeps the same arrays, so they can be listed once.
  const parameters = [
    ...layers.flatMap((layer) => layer.parameters ?? []),
    ...normalizations.flatMap(({ gamma, gradGamma, beta, gradBeta }) => [
      [gamma, gradGamma],
      [beta, gradBeta],
    ]),
  ];
  const forward = (X) => layers.reduce((tensor, layer) => layer.forward(tensor), X);

  for (let step = 0; step < steps; step++) {
    const { points, labels } = spirals(BATCH, random);
    const { loss, gradient } = crossEntropy(forward(points), labels);
    layers.reduceRight((tensor, layer) => layer.backward(tensor), gradient);
    for (const [values, gradients] of parameters) for (let i = 0; i < values.length; i++) values[i] -= rate * gradients[i];
    onStep(step, loss);
  }

  for (const layer of normalizations) layer.training = false; // from here on, forward uses the running statistics
  const { points, labels } = spirals(3000, seeded(2));
  const { data } = forward(points);
  const isCorrect = (label, b) => {
    const scores = data.subarray(b * CLASSES, (b + 1) * CLASSES);
    return scores.indexOf(Math.max(...scores)) === label;
  };
  return labels.filter(isCorrect).length / labels.length;
}

function main() {
  const { isTTY } = process.stdout;
  const show = (text) => process.stdout.write(isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  const results = [0.03, 0.1, 0.3].map((rate) => {
    const accuracies = [true, false].map((batchNormalization) => {
      const name = `learning rate ${rate}, ${batchNormalization ? 'with' : 'without'} batch normalization`;
      const onStep = (step, loss) => {
        if ((step + 1) % (isTTY ? 10 : 150) === 0) show(`${name}: step ${step + 1}, loss ${loss.toFixed(3)}`);
      };
      return train({ batchNormalization, rate, onStep });
    });
    return { rate, accuracies };
  });
  show('');
  console.log(
    `${HIDDEN_LAYERS} hidden layers of ${WIDTH} neurons, ${STEPS} steps. Correctly classified, of 3000 points not used in training:\n`,
  );
  console.log('learning rate   with batch normalization   without');
  for (const { rate, accuracies } of results) {
    const [withIt, without] = accuracies.map((accuracy) => `${(100 * accuracy).toFixed(1)} %`);
    console.log(`${String(rate).padEnd(16)}${withIt.padEnd(27)}${without}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
