/* The contenders in JavaScript, each called in the way that suits it best. Each function takes a problem (cases.js) and returns
 * calls by name. `run` runs a call, and `output` returns its last results in X's layout: the output, or the three gradients.
 * `fill`, if there is one, must be called before the first run. A call whose name ends in "alone" or "arena" computes on data
 * that are already in the contender's memory, and leaves its result there. Runs in Node and in pages. */
import { callOf, dimensionsOf, moveToArena } from '../cases.js';
import { batchNormalizationModel } from './onnx.js';

/** A call that remembers its results. */
function remembered(call) {
  let last;
  return {
    run: () => {
      last = call();
    },
    output: () => last.map(({ data }) => data),
  };
}

/** Two calls: one with a reused output, and one with a fresh output. `functions` are those that callOf takes. */
export function twoWays(name, functions, given) {
  const out = new Float32Array(given.X.data.length);
  const way = (options) => remembered(callOf(functions, given, options));
  return { [`${name}, out`]: way({ out }), [`${name}, fresh`]: way({}) };
}

/** The calls from tensor to tensor of one arena, and in place. `makeArena` makes an arena. (Not for gradients: in place, each call would take the result of
 * the last one as its gradOutput.) */
export function inArena(name, functions, makeArena, given) {
  const { X, gradOutput } = given;
  const { at, to } = moveToArena(makeArena, given);
  const way = (problem) => remembered(callOf(functions, problem, { out: to }));
  const calls = { [`${name}, arena`]: way(at) };
  if (!gradOutput) calls[`${name}, arena in place`] = { fill: () => to.data.set(X.data), ...way({ ...at, X: to }) };
  return calls;
}

/** In ONNX the channels are the second dimension. If they are the last one, all dimensions before them are merged into one. */
export async function onnxruntime(name, ort, given, options, { reuses, layers }) {
  const { X, rest } = given;
  const [gamma, beta, mean, variance, momentum, epsilon, training] = rest;
  const { batch, channels } = dimensionsOf(given);
  const shape = given.axis === -1 ? [batch, channels] : X.shape;
  const tensor = (data) => new ort.Tensor('float32', data, [data.length]);
  const feeds = { X: new ort.Tensor('float32', X.data, shape), scale: tensor(gamma), B: tensor(beta) };
  Object.assign(feeds, { mean: tensor(mean), var: tensor(variance) });
  const out = new Float32Array(reuses ? X.data.length : 0);
  const fetches = { Y: new ort.Tensor('float32', out, reuses ? shape : [0]) };
  if (training) Object.assign(fetches, { newMean: tensor(mean.slice()), newVar: tensor(variance.slice()) });
  const open = async (count) => {
    const model = batchNormalizationModel(shape, { training, epsilon, momentum, layers: count });
    return ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1, ...options });
  };
  const one = await open(1);
  let last;
  const calls = {
    [`${name}, fresh`]: {
      run: async () => {
        last = await one.run(feeds);
      },
      output: () => [last.Y.data],
    },
  };
  if (reuses) calls[`${name}, out`] = { run: () => one.run(feeds, fetches), output: () => [out] };
  // The time of computation alone is that of nine layers less that of one, divided by eight. The output is reused if possible,
  // because new pages of memory cost more than a layer.
  if (layers && X.data.length <= 2 ** 23) {
    const nine = await open(9);
    calls[`${name}, nine layers${reuses ? ', out' : ''}`] = {
      run: () => (reuses ? nine.run(feeds, fetches) : nine.run(feeds)),
      output: null,
    };
  }
  return calls;
}

/** TensorFlow.js is fastest with channels last, so it gets its data in that layout. Its gradient computes the output again. */
export async function tensorflow(tf, backend, given) {
  const { X, rest, gradOutput, options } = given;
  // In MiB. With the next larger tensor of the benchmark, it takes from ten seconds to minutes, and memory for several copies.
  const most = { cpu: gradOutput ? 4 : 32, wasm: gradOutput ? 32 : Infinity }[backend];
  if (X.data.byteLength > most * 2 ** 20) throw new Error(`left out above ${most} MiB`);
  await tf.setBackend(backend);
  await tf.ready();
  const { batch, channels, spatial } = dimensionsOf(given);
  const last = [batch, 1, spatial, channels];
  /** Moves the channels to the end, or back. */
  const moved = (values, toLast) => {
    if (spatial === 1) return values;
    const result = new Float32Array(values.length);
    for (let b = 0, first = 0; b < batch; b++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < spatial; i++, first++) {
          const at = (b * spatial + i) * channels + c;
          if (toLast) result[at] = values[first];
          else result[first] = values[at];
        }
    return result;
  };
  const data = [X, gradOutput].filter(Boolean).map((tensor) => moved(tensor.data, true));
  const [gamma, beta, mean, variance, momentum] = rest ?? [options.gamma, options.beta];
  const epsilon = rest ? rest[5] : options.epsilon;
  const [g, o, m, v] = [gamma, beta, mean, variance].map((values) => values && tf.tensor1d(values));
  const normalize = (x, scale, shift) => {
    const moments = tf.moments(x, [0, 1, 2]);
    return [tf.batchNorm4d(x, moments.mean, moments.variance, shift, scale, epsilon), moments];
  };
  const compute = (x, gradient) => {
    if (gradient) return tf.grads((...args) => normalize(...args)[0])([x, g, o], gradient);
    if (!rest[6]) return [tf.batchNorm4d(x, m, v, o, g, epsilon)];
    const [y, moments] = normalize(x, g, o);
    const running = (old, now) => tf.add(tf.mul(old, momentum), tf.mul(now, 1 - momentum));
    return [y, running(m, moments.mean), running(v, moments.variance)];
  };
  const tensors = () => data.map((values) => tf.tensor4d(values, last));
  const loaded = tensors();
  const results = ([main, ...others]) => [moved(main, false), ...others];
  let found;
  const name = `tfjs-${backend}`;
  return {
    [`${name}, fresh`]: {
      run: () => {
        tf.setBackend(backend); // the other backend may be in use. This one is ready, so the change takes effect at once.
        tf.tidy(() => {
          found = compute(...tensors()).map((y) => y.dataSync());
        });
      },
      output: () => results(found),
    },
    [`${name}, alone`]: {
      run: () => {
        tf.setBackend(backend);
        tf.tidy(() => {
          compute(...loaded);
        });
      },
      // Computes again, because `run` keeps no results. (tidy would search a returned array for tensors, value by value.)
      output: () => {
        let values;
        tf.tidy(() => {
          values = compute(...loaded).map((y) => y.dataSync());
        });
        return results(values);
      },
    },
  };
}
