/* Batch normalization of TensorFlow.js, computed by the package batchnorm. Copy this file into your project. */
import { attach, batchNormalization, batchNormalizationGradient } from 'batchnorm';

/** The work area in the heap of the wasm backend, in bytes. */
const WORK_AREA = 2 << 20;

/** @type {WeakMap<object, () => void>} by engine: the function that takes everything back */
const installed = new WeakMap();

/** @type {WeakMap<object, Memory | null>} by backend; null if the package cannot reach its memory */
const memories = new WeakMap();

/**
 * The memory of a backend.
 * @typedef {object} Memory
 * @property {object} backend
 * @property {(shape: number[]) => object} make makes a float32 tensor, as an object { dataId, shape, dtype }
 * @property {(tensors: object[]) => { data: Float32Array, shape: number[] }[]} views the values of tensors where they lie. Views of
 *   the wasm backend's heap are valid until the next allocation
 */

/**
 * Makes TensorFlow.js compute batch normalization with this package, on its backends wasm and cpu:
 *
 * - the kernel FusedBatchNorm: tf.batchNorm, and every model in inference, layers models and graph models;
 * - tf.layers.batchNormalization, in training and in inference, with one fused operation and its gradient. It takes any rank and
 *   axis, with `scale` or `center` off, too.
 *
 * It works for models that exist already, and does nothing if it was called before. Whatever the package does not serve is left to
 * TensorFlow.js, as before; the first time, console.info says so.
 *
 * @param {object} tf TensorFlow.js: everything from '@tensorflow/tfjs', or from '@tensorflow/tfjs-core' if you have no layers. Import
 *   the backends before you call this.
 * @returns {() => void} a function that gives everything back to TensorFlow.js
 *
 * @example
 * import * as tf from '@tensorflow/tfjs';
 * import '@tensorflow/tfjs-backend-wasm';
 * import { install } from './batchnorm-tfjs.js';
 *
 * install(tf);
 * await tf.setBackend('wasm');
 */
export function install(tf) {
  const present = installed.get(tf.engine());
  if (present) return present;
  let silent = false;
  const notice = (reason) => {
    if (!silent) console.info(`batchnorm: left to TensorFlow.js, since ${reason}. (This is said once.)`);
    silent = true;
  };
  const restore = ['wasm', 'cpu'].flatMap((name) => replaceKernel(tf, name, notice));
  if (restore.length === 0) throw new Error('install: import @tensorflow/tfjs-backend-wasm or -cpu first');
  if (tf.layers) restore.push(replaceLayer(tf, notice));
  const uninstall = () => {
    if (installed.delete(tf.engine())) for (const undo of restore) undo();
  };
  installed.set(tf.engine(), uninstall);
  return uninstall;
}

/** Replaces the kernel of a backend, if there is one. Returns the functions that undo it. */
function replaceKernel(tf, backendName, notice) {
  const original = tf.getKernel('FusedBatchNorm', backendName);
  if (!original) return [];
  const exchange = (kernel) => {
    tf.unregisterKernel('FusedBatchNorm', backendName);
    tf.registerKernel(kernel);
  };
  const kernelFunc = (call) => {
    const { inputs, attrs, backend } = call;
    const { x, mean, variance, offset, scale } = inputs;
    const epsilon = attrs.varianceEpsilon ?? 1e-3;
    const given = [mean, variance, scale, offset].filter(Boolean);
    const axis = axisOf(x.shape, mean.shape);
    const memory = memoryOf(backendName, backend);
    const reason = whyNot(memory, [x, ...given], epsilon) ?? whyNotShapes(axis, given);
    if (reason) {
      notice(reason);
      return original.kernelFunc(call);
    }
    return forward(memory, { x, gamma: scale, beta: offset, mean, variance }, { axis, epsilon }).output;
  };
  exchange({ ...original, kernelFunc });
  return [() => exchange(original)];
}

/** Replaces what the layers of batch normalization do. Returns the function that undoes it. */
function replaceLayer(tf, notice) {
  // With a name of its own, this layer does not take the next default name.
  const { prototype } = tf.layers.batchNormalization({ name: 'batchnorm-tfjs' }).constructor;
  const original = prototype.call;
  prototype.call = function (inputs, kwargs) {
    const x = Array.isArray(inputs) && inputs.length === 1 ? inputs[0] : inputs;
    const { epsilon } = this;
    const memory = memoryOf(tf.getBackend(), tf.backend());
    const reason = whyNot(memory, [x], epsilon) ?? whyNotGradient(tf.engine());
    if (reason) {
      notice(reason);
      return original.call(this, inputs, kwargs);
    }
    return tf.tidy('batchNormalization', () => {
      const axis = this.axis < 0 ? this.axis + x.rank : this.axis;
      const read = (weight) => weight?.read();
      const [gamma, beta, mean, variance] = [this.gamma, this.beta, this.movingMean, this.movingVariance].map(read);
      if (!kwargs?.training) return normalize(tf, memory, { x, gamma, beta, mean, variance }, { axis, epsilon }).output;
      const { output, statistics } = normalize(tf, memory, { x, gamma, beta }, { axis, epsilon });
      for (const [moving, batch] of [
        [this.movingMean, statistics.mean],
        [this.movingVariance, statistics.variance],
      ]) {
        const old = moving.read().dataSync();
        moving.write(tf.tensor1d(old.map((value, c) => this.momentum * value + (1 - this.momentum) * batch[c])));
      }
      return output;
    });
  };
  return () => {
    prototype.call = original;
  };
}

/** Batch normalization of tensors as an operation that has a gradient: with mean and variance as given, or else of the batch. */
function normalize(tf, memory, { x, gamma, beta, mean, variance }, { axis, epsilon }) {
  const tensorOf = (info) => tf.engine().makeTensorFromTensorInfo(info, memory.backend);
  const training = !mean;
  let statistics;
  const operation = tf.customGrad((...args) => {
    const save = args.pop();
    save(gamma ? [x, gamma] : [x]); // they may be disposed before the gradient is computed
    const result = forward(memory, { x, gamma, beta, mean, variance }, { axis, epsilon });
    ({ statistics } = result);
    const gradFunc = (gradOutput, [savedX, savedGamma]) => {
      const gradInput = memory.make(x.shape);
      const [dy, X, out, scale] = memory.views([gradOutput, savedX, gradInput].concat(savedGamma ?? []));
      const options = { gamma: scale, statistics, epsilon, training, axis, out };
      const [, gradGamma, gradBeta] = batchNormalizationGradient(dy, X, options);
      const gradients = [tensorOf(gradInput)];
      if (gamma) gradients.push(tf.tensor1d(gradGamma.data));
      if (beta) gradients.push(tf.tensor1d(gradBeta.data));
      return gradients;
    };
    return { value: tensorOf(result.output), gradFunc };
  });
  return { output: operation(...[x, gamma, beta].filter(Boolean)), statistics };
}

/** The output, as an object { dataId, shape, dtype }, and the statistics that it was computed with, in double. */
function forward(memory, { x, gamma, beta, mean, variance }, { axis, epsilon }) {
  const output = memory.make(x.shape); // before the views, because the heap may grow
  const given = [gamma, beta, mean, variance];
  const [X, out, ...views] = memory.views([x, output, ...given.filter(Boolean)]);
  const [g, b, m, v] = given.map((tensor) => tensor && views.shift().data);
  // As in TensorFlow.js, a variance below −epsilon gives NaN. The package would throw an error.
  const usable = v?.map((value) => (value + epsilon < 0 ? Number.NaN : value));
  const channels = x.shape[axis];
  const statistics = { mean: new Float64Array(channels), variance: new Float64Array(channels) };
  const training = !mean;
  batchNormalization(X, g ?? null, b ?? null, m, usable, 0.9, epsilon, training, { out, axis, statistics });
  return { output, statistics };
}

/** Why tensors are left to TensorFlow.js, or undefined. */
function whyNot(memory, tensors, epsilon) {
  if (!memory) return 'only the memory of the backends wasm and cpu can be used';
  if (tensors.some(({ dtype }) => dtype !== 'float32')) return 'only float32 is computed';
  if (tensors.some(({ shape }) => shape.includes(0))) return 'a tensor is empty';
  if (!(epsilon >= 0)) return 'epsilon is negative';
}

/** Why these numbers per channel are left to TensorFlow.js, or undefined. */
function whyNotShapes(axis, given) {
  const [{ shape }] = given;
  if (axis === -1 || given.some((tensor) => String(tensor.shape) !== String(shape)))
    return 'mean, variance, offset and scale are not one number per channel';
}

/** Why a gradient is left to TensorFlow.js, or undefined. */
function whyNotGradient({ state }) {
  if (state.gradientDepth > 1) return 'the gradient of a gradient is computed';
}

/**
 * The channels' axis: the only dimension of `mean` that is larger than 1, if it agrees with that of x. The last dimensions of the two
 * correspond. Without such an axis −1.
 */
function axisOf(shape, mean) {
  const shift = shape.length - mean.length;
  const large = mean.flatMap((size, k) => (size > 1 ? [k + shift] : []));
  const axis = large.length > 0 ? large[0] : shape.length - 1;
  return large.length < 2 && shape[axis] === mean[axis - shift] ? axis : -1;
}

/** The memory of a backend, or null. */
function memoryOf(name, backend) {
  if (!memories.has(backend)) {
    const make = { wasm: heapOf, cpu: arraysOf }[name];
    memories.set(backend, make ? make(backend) : null);
  }
  return memories.get(backend);
}

/** The heap of the wasm backend. Nothing is copied. */
function heapOf(backend) {
  const { wasm } = backend;
  const heap = wasm.wasmMemory ?? wasm.asm?.memory; // of the build with threads, and of the others
  const begin = heap instanceof WebAssembly.Memory && wasm._malloc(WORK_AREA) >>> 0;
  if (!begin) return null;
  const { tensor } = attach(heap, begin, begin + WORK_AREA);
  return {
    backend,
    make: (shape) => backend.makeOutput(shape, 'float32'),
    views(tensors) {
      // All addresses first: if a tensor is still in another backend, asking for its address moves it here, and the heap may grow.
      const addresses = tensors.map(({ dataId }) => backend.getMemoryOffset(dataId));
      return tensors.map(({ shape }, k) => tensor(shape, addresses[k]));
    },
  };
}

/** The arrays of the cpu backend. */
function arraysOf(backend) {
  return {
    backend,
    make: (shape) => backend.makeTensorInfo(shape, 'float32', new Float32Array(shape.reduce((size, n) => size * n, 1))),
    views: (tensors) =>
      tensors.map(({ dataId, shape }) => {
        const values = backend.readSync(dataId); // the array itself, not a copy, if it is a Float32Array
        return { data: values instanceof Float32Array ? values : Float32Array.from(values), shape };
      }),
  };
}
