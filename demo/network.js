/* "Train it": two small networks, identical except for batch normalization, learn to tell two classes of points apart. */
import { BatchNorm } from '../js/index.js';
import { seeded } from '../tests/data.js';

/** Neurons per hidden layer. */
const WIDTH = 20;
/** Points to train on, and as many again to measure the accuracy. */
const POINTS = 400;
/** The page shows the plane from −REACH to REACH in both directions. The points lie between −1 and 1. */
export const REACH = 1.05;
/** The page shows the plane as SIDE × SIDE values. */
export const SIDE = 64;
/** The page shows the distribution of a layer's values by these quantiles. */
const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95];
export const QUANTILE_COUNT = QUANTILES.length;

/** For each data set, a function that returns a random point [x, y] of class 0 or 1. */
const randomPoint = {
  spirals(label, random) {
    const radius = 0.05 + 0.95 * Math.sqrt(random());
    const angle = 4.2 * Math.PI * radius + Math.PI * label;
    const noise = () => 0.03 * (random() + random() - 1);
    return [0.95 * radius * Math.cos(angle) + noise(), 0.95 * radius * Math.sin(angle) + noise()];
  },
  circles(label, random) {
    const radius = label === 0 ? 0.45 * Math.sqrt(random()) : 0.65 + 0.3 * random();
    const angle = 2 * Math.PI * random();
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  moons(label, random) {
    const angle = Math.PI * random();
    const noise = () => 0.12 * (random() + random() - 1);
    const side = label === 0 ? 1 : -1;
    return [side * (0.6 * Math.cos(angle) - 0.3) + noise(), side * (0.6 * Math.sin(angle) - 0.2) + noise()];
  },
};

function pointsOf(name, seed) {
  const random = seeded(seed);
  const labels = Uint8Array.from({ length: POINTS }, (_, b) => b % 2);
  return { data: Float32Array.from([...labels].flatMap((label) => randomPoint[name](label, random))), labels };
}
/** The points to train on, and their classes. */
export const trainingPoints = (name) => pointsOf(name, 1);
const testPoints = (name) => pointsOf(name, 2);

/** The centers of the plane's SIDE × SIDE squares, row by row from the top. */
const gridPoints = () =>
  Float32Array.from({ length: 2 * SIDE * SIDE }, (_, i) => {
    const square = i >> 1;
    const center = (k) => REACH * ((2 * k + 1) / SIDE - 1);
    return i % 2 === 0 ? center(square % SIDE) : -center(Math.floor(square / SIDE));
  });

/** A dense layer: Y = X · weights + bias, for X of shape [batch, inputs]. */
class Dense {
  constructor(inputs, outputs, random) {
    const limit = Math.sqrt(6 / inputs); // He's initial weights, made for ReLU
    this.weights = Float32Array.from({ length: inputs * outputs }, () => limit * (2 * random() - 1));
    this.bias = new Float32Array(outputs);
    this.gradWeights = new Float32Array(inputs * outputs);
    this.gradBias = new Float32Array(outputs);
  }

  forward(X, { out }) {
    this.X = X;
    const { weights, bias } = this;
    const [batch, inputs] = X.shape;
    const outputs = bias.length;
    for (let b = 0; b < batch; b++) {
      out.set(bias, b * outputs);
      for (let i = 0; i < inputs; i++) {
        const x = X.data[b * inputs + i];
        // About half of the values after a ReLU are 0.
        if (x === 0) continue;
        for (let o = 0; o < outputs; o++) out[b * outputs + o] += x * weights[i * outputs + o];
      }
    }
    return { data: out, shape: [batch, outputs] };
  }

  backward({ data: gradOutput }, { out }) {
    const { X, weights, gradWeights, gradBias } = this;
    const [batch, inputs] = X.shape;
    const outputs = gradBias.length;
    gradWeights.fill(0);
    gradBias.fill(0);
    for (let b = 0; b < batch; b++) {
      for (let o = 0; o < outputs; o++) gradBias[o] += gradOutput[b * outputs + o];
      for (let i = 0; i < inputs; i++) {
        const x = X.data[b * inputs + i];
        let sum = 0;
        for (let o = 0; o < outputs; o++) {
          const g = gradOutput[b * outputs + o];
          sum += g * weights[i * outputs + o];
          gradWeights[i * outputs + o] += g * x;
        }
        out[b * inputs + i] = sum;
      }
    }
    return { data: out, shape: X.shape };
  }
}

class Relu {
  forward(X, { out }) {
    this.X = X;
    for (let i = 0; i < out.length; i++) out[i] = Math.max(0, X.data[i]);
    return { data: out, shape: X.shape };
  }

  backward({ data: gradOutput, shape }, { out }) {
    for (let i = 0; i < out.length; i++) out[i] = this.X.data[i] > 0 ? gradOutput[i] : 0;
    return { data: out, shape };
  }
}

/** A network with `depth` hidden layers. A score above 0 stands for class 1. */
class Network {
  #layers = [];
  #parameters = [];
  /** One array per layer, direction and length. New arrays in every step would keep the garbage collector busy. */
  #arrays = new Map();

  constructor(depth, normalized, random) {
    for (let k = 0; k < depth; k++) {
      this.#layers.push(new Dense(k === 0 ? 2 : WIDTH, WIDTH, random));
      if (normalized) this.#layers.push(new BatchNorm(WIDTH));
      this.#layers.push(new Relu());
    }
    this.#layers.push(new Dense(WIDTH, 1, random));
    for (const layer of this.#layers) {
      if (layer instanceof Dense) this.#parameters.push([layer.weights, layer.gradWeights], [layer.bias, layer.gradBias]);
      if (layer instanceof BatchNorm) this.#parameters.push([layer.gamma, layer.gradGamma], [layer.beta, layer.gradBeta]);
    }
  }

  #array(purpose, length) {
    const key = `${purpose} ${length}`;
    if (!this.#arrays.has(key)) this.#arrays.set(key, new Float32Array(length));
    return this.#arrays.get(key);
  }

  #forward(X) {
    return this.#layers.reduce((input, layer, k) => {
      const outputs = layer instanceof Dense ? layer.bias.length : input.shape[1];
      return layer.forward(input, { out: this.#array(`output ${k}`, X.shape[0] * outputs) });
    }, X).data;
  }

  /** One step of gradient descent. @returns {number} the batch's loss before the step: the mean cross-entropy */
  step(X, labels, rate) {
    const batch = labels.length;
    const scores = this.#forward(X);
    const gradient = this.#array('gradient', batch);
    let loss = 0;
    for (let b = 0; b < batch; b++) {
      const score = scores[b];
      // log(1 + exp(score)) − label · score, in a form in which exp cannot overflow
      loss += (Math.max(score, 0) - labels[b] * score + Math.log1p(Math.exp(-Math.abs(score)))) / batch;
      gradient[b] = (1 / (1 + Math.exp(-score)) - labels[b]) / batch;
    }
    this.#layers.reduceRight(
      (gradOutput, layer, k) => {
        const inputs = layer instanceof Dense ? layer.X.shape[1] : gradOutput.shape[1];
        return layer.backward(gradOutput, { out: this.#array(`gradient ${k}`, batch * inputs) });
      },
      { data: gradient, shape: [batch, 1] },
    );
    for (const [values, gradients] of this.#parameters) for (let i = 0; i < values.length; i++) values[i] -= rate * gradients[i];
    return loss;
  }

  /** The quantiles of the values that each ReLU received in the last step, layer by layer. */
  quantiles() {
    const relus = this.#layers.filter((layer) => layer instanceof Relu && layer.X);
    return Float32Array.from(
      relus.flatMap(({ X }) => {
        const sorted = X.data.slice().sort();
        return QUANTILES.map((quantile) => sorted[Math.round(quantile * (sorted.length - 1))]);
      }),
    );
  }

  /** The scores of points, computed with the running statistics. */
  evaluate(points) {
    const normalizations = this.#layers.filter((layer) => layer instanceof BatchNorm);
    for (const layer of normalizations) layer.training = false;
    const count = points.length / 2;
    const scores = new Float32Array(count);
    // A piece is so small that the layers' outputs stay in the processor's cache.
    const piece = 128;
    for (let b = 0; b < count; b += piece) {
      const data = points.subarray(2 * b, 2 * (b + piece));
      scores.set(this.#forward({ data, shape: [data.length / 2, 2] }), b);
    }
    for (const layer of normalizations) layer.training = true;
    return scores;
  }
}

/**
 * Creates both networks, which start with the same weights and are trained on the same batches.
 * @param {{ data: string, rate: number, size: number, depth: number, seed: number }} settings
 */
export function createTraining({ data, rate, size, depth, seed }) {
  const points = trainingPoints(data);
  const test = testPoints(data);
  const plane = gridPoints();
  const networks = [true, false].map((normalized) => new Network(depth, normalized, seeded(seed)));
  const diverged = [false, false];
  // A generator of its own, so that the batches do not depend on the depth, and do not repeat the random numbers of the weights.
  const random = seeded(seed + 1e6);
  const X = { data: new Float32Array(2 * size), shape: [size, 2] };
  const labels = new Uint8Array(size);
  let step = 0;

  function pickBatch() {
    for (let b = 0; b < size; b++) {
      const k = Math.floor(random() * POINTS);
      X.data.set(points.data.subarray(2 * k, 2 * k + 2), 2 * b);
      labels[b] = points.labels[k];
    }
  }

  function report(network, k, loss) {
    // These come first, since the evaluation overwrites the values.
    const quantiles = network.quantiles();
    const scores = network.evaluate(test.data);
    const correct = scores.filter((score, b) => (score > 0 ? 1 : 0) === test.labels[b]).length;
    // 128, between the classes, if the score is NaN.
    const field = Uint8Array.from(network.evaluate(plane), (score) =>
      Number.isNaN(score) ? 128 : Math.round(255 / (1 + Math.exp(-score))),
    );
    return { loss, accuracy: correct / POINTS, diverged: diverged[k], quantiles, field };
  }

  /**
   * Trains both networks for a few steps.
   * @returns what the page shows of each network: the mean loss of these steps (null without a step, or if it has diverged), the
   *   accuracy on the test points, whether it has diverged (its loss is not finite), the quantiles of its layers, and `field`: the
   *   plane as bytes, from 0 for class 0 to 255 for class 1
   */
  return function advance(steps) {
    const losses = networks.map(() => 0);
    for (let s = 0; s < steps; s++) {
      pickBatch();
      networks.forEach((network, k) => {
        if (!diverged[k]) losses[k] += network.step(X, labels, rate) / steps;
        diverged[k] ||= !Number.isFinite(losses[k]);
      });
    }
    step += steps;
    return { step, networks: networks.map((network, k) => report(network, k, steps > 0 && !diverged[k] ? losses[k] : null)) };
  };
}
