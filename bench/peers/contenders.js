/* The contenders in JavaScript, each at its best: from a problem (cases.js) to its calls by name, each with what it last
 * returned, in the order B, C, H, W. A call that ends in "alone" or "arena" computes on data that lie on the contender's side
 * already, and leaves its result there. What `fill` does comes before the first run.
 * Runs in Node and in pages. */
import { batchNormalizationModel } from './onnx.js';

/** Both ways to call a function (X, …, options) → triple. */
export function twoWays(name, compute, { X, rest }) {
  const out = new Float32Array(X.data.length);
  let last;
  const way = (options) => ({
    run: () => {
      last = compute(X, ...rest, options);
    },
    output: () => last[0].data,
  });
  return { [`${name}, out`]: way({ out }), [`${name}, fresh`]: way({}) };
}

/** From tensor to tensor of one arena, and in place there. */
export function inArena(name, compute, Arena, { X, rest }) {
  const arena = new Arena(2 * (X.data.byteLength + 64));
  const [from, to] = [arena.tensor(X.shape), arena.tensor(X.shape)];
  from.data.set(X.data);
  const way = (source) => ({ run: () => compute(source, ...rest, { out: to }), output: () => to.data });
  return {
    [`${name}, arena`]: way(from),
    [`${name}, arena in place`]: { fill: () => to.data.set(X.data), ...way(to) },
  };
}

export async function onnxruntime(name, ort, { X, rest }, options, { reuses, layers }) {
  const [gamma, beta, mean, variance, momentum, epsilon, training] = rest;
  const tensor = (data) => new ort.Tensor('float32', data, [data.length]);
  const feeds = { X: new ort.Tensor('float32', X.data, X.shape), scale: tensor(gamma), B: tensor(beta) };
  Object.assign(feeds, { mean: tensor(mean), var: tensor(variance) });
  const out = new Float32Array(reuses ? X.data.length : 0);
  const fetches = { Y: new ort.Tensor('float32', out, reuses ? X.shape : [0]) };
  if (training) Object.assign(fetches, { newMean: tensor(mean.slice()), newVar: tensor(variance.slice()) });
  const open = async (count) => {
    const model = batchNormalizationModel(X.shape, { training, epsilon, momentum, layers: count });
    return ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1, ...options });
  };
  const one = await open(1);
  let last;
  const calls = {
    [`${name}, fresh`]: {
      run: async () => {
        last = await one.run(feeds);
      },
      output: () => last.Y.data,
    },
  };
  if (reuses) calls[`${name}, out`] = { run: () => one.run(feeds, fetches), output: () => out };
  // Nine layers less one, by eight: into the same output where that goes, as new pages cost more than a layer.
  if (layers && X.data.length <= 2 ** 23) {
    const nine = await open(9);
    calls[`${name}, nine layers${reuses ? ', out' : ''}`] = {
      run: () => (reuses ? nine.run(feeds, fetches) : nine.run(feeds)),
      output: null,
    };
  }
  return calls;
}

/** TensorFlow.js wants channels last: X is given to it so. */
export async function tensorflow(tf, backend, { X, rest }) {
  // Its cpu backend takes half a minute for the next larger tensor, and several copies of it.
  if (backend === 'cpu' && X.data.length > 2 ** 23) throw new Error('left out above 32 MB');
  await tf.setBackend(backend);
  await tf.ready();
  const [gamma, beta, mean, variance, momentum, epsilon, training] = rest;
  const [batch, channels, height, width] = X.shape;
  const spatial = height * width;
  const last = [batch, height, width, channels];
  const data = new Float32Array(X.data.length);
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < spatial; i++) data[(b * spatial + i) * channels + c] = X.data[(b * channels + c) * spatial + i];
  const [g, o, m, v] = [gamma, beta, mean, variance].map((values) => tf.tensor1d(values));
  const compute = (x) => {
    if (!training) return [tf.batchNorm4d(x, m, v, o, g, epsilon)];
    const moments = tf.moments(x, [0, 1, 2]);
    const running = (old, now) => tf.add(tf.mul(old, momentum), tf.mul(now, 1 - momentum));
    const y = tf.batchNorm4d(x, moments.mean, moments.variance, o, g, epsilon);
    return [y, running(m, moments.mean), running(v, moments.variance)];
  };
  const there = tf.tensor4d(data, last);
  const channelsFirst = (values) => {
    const output = new Float32Array(values.length);
    for (let b = 0; b < batch; b++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < spatial; i++) output[(b * channels + c) * spatial + i] = values[(b * spatial + i) * channels + c];
    return output;
  };
  let result;
  const name = `tfjs-${backend}`;
  return {
    [`${name}, fresh`]: {
      run: () => {
        tf.setBackend(backend); // the other one may be in use; there already, it is synchronous
        tf.tidy(() => {
          const results = compute(tf.tensor4d(data, last));
          [result] = results.map((y) => y.dataSync());
        });
      },
      output: () => channelsFirst(result),
    },
    [`${name}, alone`]: {
      run: () => {
        tf.setBackend(backend);
        tf.tidy(() => {
          compute(there);
        });
      },
      // The same again, as its results are let go. (tidy would look for tensors in all values of what it is returned.)
      output: () => {
        let values;
        tf.tidy(() => {
          values = compute(there)[0].dataSync();
        });
        return channelsFirst(values);
      },
    },
  };
}
