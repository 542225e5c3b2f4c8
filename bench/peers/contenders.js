/* The contenders, each at its best: from a problem (cases.js) to its calls by name, each with what it last returned, in the
 * order B, C, H, W. A call that ends in "alone" computes on data that lie on the contender's side already. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { call } from '../../js/call.js';
import { batchNormalization } from '../../js/index.js';
import { tuned } from '../plain.js';
import { batchNormalizationModel } from './onnx.js';

const require = createRequire(import.meta.url);
const versionOf = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;

/** Both ways to call a function (X, …, options) → triple. */
function twoWays(name, compute, { X, rest }) {
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

async function onnxruntime(name, ort, { X, rest }, options, reuses) {
  const [gamma, beta, mean, variance, momentum, epsilon, training] = rest;
  const tensor = (data) => new ort.Tensor('float32', data, [data.length]);
  const feeds = { X: new ort.Tensor('float32', X.data, X.shape), scale: tensor(gamma), B: tensor(beta) };
  Object.assign(feeds, { mean: tensor(mean), var: tensor(variance) });
  const out = new Float32Array(reuses ? X.data.length : 0);
  const fetches = { Y: new ort.Tensor('float32', out, reuses ? X.shape : [0]) };
  if (training) Object.assign(fetches, { newMean: tensor(mean.slice()), newVar: tensor(variance.slice()) });
  const open = async (layers) => {
    const model = batchNormalizationModel(X.shape, { training, epsilon, momentum, layers });
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
  // Nine layers less one, by eight.
  if (X.data.length <= 2 ** 23) {
    const nine = await open(9);
    calls[`${name}, nine layers`] = { run: () => nine.run(feeds), output: null };
  }
  return calls;
}

/** TensorFlow.js wants channels last: X is given to it so. */
async function tensorflow(backend, { X, rest }) {
  // Its cpu backend takes half a minute for the next larger tensor, and several copies of it.
  if (backend === 'cpu' && X.data.length > 2 ** 23) throw new Error('left out above 32 MB');
  const tf = require('@tensorflow/tfjs-core');
  const wasm = require(`@tensorflow/tfjs-backend-${backend}`);
  if (backend === 'wasm') {
    wasm.setThreadsCount?.(1);
    wasm.setWasmPaths(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url).pathname);
  }
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
      output: () => {
        const output = new Float32Array(result.length);
        for (let b = 0; b < batch; b++)
          for (let c = 0; c < channels; c++)
            for (let i = 0; i < spatial; i++) output[(b * channels + c) * spatial + i] = result[(b * spatial + i) * channels + c];
        return output;
      },
    },
    [`${name}, alone`]: {
      run: () => {
        tf.setBackend(backend);
        tf.tidy(() => {
          compute(there);
        });
      },
      output: null,
    },
  };
}

/** NumPy and PyTorch, if there: native.py. Their calls time themselves. */
export const PYTHON = process.env.PYTHON ?? '/usr/bin/python3';

/* PyTorch takes no output. With these settings of malloc, which its users are advised to have likewise, an output gets the
 * memory of the one before: that is its reuse. */
const REUSING = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: String(2 ** 40), MALLOC_TOP_PAD_: String(2 ** 28) };

function python(library, env) {
  const child = spawn(PYTHON, [new URL('native.py', import.meta.url).pathname, library], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, ...env },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  return {
    async ask(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`${PYTHON} with NumPy is missing or stopped: apt-get install python3-numpy python3-torch`);
      const answer = JSON.parse(value);
      if (answer?.error) throw new Error(answer.error);
      return answer;
    },
    close: () => child.stdin.end(),
  };
}

async function native(library, { X, rest }, ways = ['out', 'fresh']) {
  const [gamma, beta, mean, variance, momentum, epsilon, training] = rest;
  const values = [gamma, beta, mean, variance].map((numbers) => numbers[0]);
  const calls = {};
  for (const way of ways) {
    const name = `${library}, ${way}`;
    const folder = mkdtempSync(join(tmpdir(), 'batchnorm-peers-'));
    const file = join(folder, 'data');
    const { ask, close: stop } = python(library, way === 'out' ? REUSING : {});
    const close = () => {
      stop();
      rmSync(folder, { recursive: true, force: true });
    };
    calls[name] = {
      time: (inner) => ask({ do: 'time', name, inner }),
      run: () => ask({ do: 'time', name, inner: 1 }),
      output: async () => {
        await ask({ do: 'output', name, path: file });
        return new Float32Array(new Uint8Array(readFileSync(file)).buffer);
      },
      memory: () => ask({ do: 'memory' }),
      close,
    };
    try {
      writeFileSync(file, X.data);
      await ask({ do: 'prepare', args: [X.shape, training, momentum, epsilon, values, gamma.length, file] });
    } catch (error) {
      for (const each of Object.values(calls)) each.close();
      throw error;
    }
  }
  return calls;
}

/** What each peer is, and how its calls are made. */
export const CONTENDERS = {
  batchnorm: { version: 'this', prepare: (problem) => twoWays('batchnorm', batchNormalization, problem) },
  'plain JS': {
    version: 'bench/plain.js',
    prepare: (problem) => twoWays('plain JS', (...args) => call(tuned, ...args), problem),
  },
  'onnxruntime-web': {
    version: versionOf('onnxruntime-web'),
    async prepare(problem) {
      const ort = await import('./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs');
      ort.env.wasm.numThreads = 1;
      // An output given beforehand is left unwritten by its wasm backend: there is no reuse.
      return onnxruntime('onnxruntime-web', ort, problem, { executionProviders: ['wasm'] }, false);
    },
  },
  'onnxruntime-node': {
    version: versionOf('onnxruntime-node'),
    prepare: (problem) =>
      onnxruntime('onnxruntime-node', require('onnxruntime-node'), problem, { executionProviders: ['cpu'] }, true),
  },
  'tfjs-wasm': { version: versionOf('@tensorflow/tfjs-backend-wasm'), prepare: (problem) => tensorflow('wasm', problem) },
  'tfjs-cpu': { version: versionOf('@tensorflow/tfjs-backend-cpu'), prepare: (problem) => tensorflow('cpu', problem) },
  PyTorch: { native: true, prepare: (problem, ways) => native('PyTorch', problem, ways) },
  NumPy: { native: true, prepare: (problem, ways) => native('NumPy', problem, ways) },
};

/** A native peer's version, null if it is not installed. */
export async function nativeVersion(library) {
  const { ask, close } = python(library, {});
  try {
    return await ask({ do: 'version' });
  } catch {
    return null;
  } finally {
    close();
  }
}
