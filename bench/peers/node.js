/* The contenders in Node, including the native ones. */
import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { createThreads } from '../../js/threads.js';
import { dimensionsOf, ours } from '../cases.js';
import { tunedFunctions } from '../plain.js';
import { inArena, onnxruntime, tensorflow, twoWays } from './contenders.js';

const require = createRequire(import.meta.url);
const versionOf = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;

/** Registers the gradients of TensorFlow.js's operations, which are in modules that Node cannot import without bundling. */
function registerGradients() {
  const { outputFiles } = buildSync({
    stdin: {
      contents: "import '@tensorflow/tfjs-core/dist/register_all_gradients';",
      resolveDir: fileURLToPath(new URL('.', import.meta.url)),
    },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    write: false,
    logLevel: 'error',
  });
  new Function('require', outputFiles[0].text)(require);
}

/** TensorFlow.js with one of its backends. */
async function withTensorflow(backend, problem, threads) {
  const tf = require('@tensorflow/tfjs-core');
  const library = require(`@tensorflow/tfjs-backend-${backend}`);
  if (backend === 'wasm') {
    library.setThreadsCount(threads);
    library.setWasmPaths(fileURLToPath(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url)));
  }
  if (problem.gradOutput) registerGradients();
  const calls = await tensorflow(tf, backend, problem);
  if (backend === 'wasm' && library.getThreadsCount() !== threads) throw new Error('has no threads in Node');
  return calls;
}

/** The Python that runs NumPy and PyTorch (native.py), if they are installed. Their calls are timed inside Python. */
export const PYTHON = process.env.PYTHON ?? '/usr/bin/python3';

/* PyTorch's function has no argument for the output. With these settings of malloc, an output gets the memory of the previous
 * one, so the memory is reused all the same. PyTorch advises its users to choose similar settings. */
const REUSING = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: String(2 ** 40), MALLOC_TOP_PAD_: String(2 ** 28) };

function python(library, threads, env) {
  const child = spawn(PYTHON, [fileURLToPath(new URL('native.py', import.meta.url)), library, String(threads)], {
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

/* Data for the native contenders. Files that a run leaves behind are removed when the process exits. */
const scratch = mkdtempSync(join(tmpdir(), 'batchnorm-peers-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
let files = 0;

async function native(library, given, ways = ['out', 'fresh'], threads = 1) {
  const { X, axis, rest, gradOutput, options } = given;
  const { channels } = dimensionsOf(given);
  const forward = rest ?? [options.gamma, options.beta, [0], [1], 0.1, options.epsilon, true];
  const [gamma, beta, mean, variance, momentum, epsilon, training] = forward;
  const values = [gamma, beta, mean, variance].map((numbers) => numbers[0]);
  const tensors = [X, gradOutput].filter(Boolean);
  const calls = {};
  for (const way of ways) {
    const name = `${library}, ${way}`;
    const file = join(scratch, `${files++}`);
    const { ask, close: stop } = python(library, threads, way === 'out' ? REUSING : {});
    const close = () => {
      stop();
      rmSync(file, { force: true });
    };
    calls[name] = {
      time: (inner) => ask({ do: 'time', name, inner }),
      run: () => ask({ do: 'time', name, inner: 1 }),
      output: async () => {
        await ask({ do: 'output', name, path: file });
        const all = new Float32Array(new Uint8Array(readFileSync(file)).buffer);
        const n = X.data.length;
        return [all.subarray(0, n), all.subarray(n, n + channels), all.subarray(n + channels)];
      },
      memory: () => ask({ do: 'memory' }),
      close,
    };
    try {
      for (const { data } of tensors) appendFileSync(file, data);
      const settings = [X.shape, axis, Boolean(gradOutput), training, momentum, epsilon, values, gamma.length, file];
      await ask({ do: 'prepare', args: settings });
    } catch (error) {
      for (const each of Object.values(calls)) each.close();
      throw error;
    }
  }
  return calls;
}

/** This package's threads, which all calls of a process use. */
let pool;

/** Each contender's version, whether it lacks a gradient, and `prepare`, which makes its calls. If `prepare` gets names of ways,
 * it may leave out the others, so that they cost neither time nor memory. Some can use several threads (threads.js); a process
 * must always pass the same number. */
export const CONTENDERS = {
  batchnorm: {
    version: 'this',
    async prepare(problem, ways = ['out', 'fresh', 'arena'], threads = 1) {
      const calls = twoWays('batchnorm', ours, problem);
      if (!ways.includes('arena')) return calls;
      pool ??= await createThreads(threads);
      return { ...calls, ...inArena('batchnorm', ours, (bytes) => pool.arena(bytes), problem) };
    },
  },
  'plain JS': {
    version: 'bench/plain.js',
    prepare: (problem) => twoWays('plain JS', tunedFunctions, problem),
  },
  'onnxruntime-web': {
    version: versionOf('onnxruntime-web'),
    forwardOnly: true,
    async prepare(problem, _, threads = 1) {
      const ort = await import('./node_modules/onnxruntime-web/dist/ort.node.min.mjs');
      ort.env.wasm.numThreads = threads;
      // Its wasm backend does not write to an output that it is given, so outputs cannot be reused.
      return onnxruntime('onnxruntime-web', ort, problem, { executionProviders: ['wasm'] }, { reuses: false, layers: true });
    },
  },
  'onnxruntime-node': {
    version: versionOf('onnxruntime-node'),
    forwardOnly: true,
    prepare: (problem, _, threads = 1) =>
      onnxruntime(
        'onnxruntime-node',
        require('onnxruntime-node'),
        problem,
        { executionProviders: ['cpu'], intraOpNumThreads: threads },
        { reuses: true, layers: true },
      ),
  },
  'tfjs-wasm': {
    version: versionOf('@tensorflow/tfjs-backend-wasm'),
    prepare: (problem, _, threads = 1) => withTensorflow('wasm', problem, threads),
  },
  'tfjs-cpu': { version: versionOf('@tensorflow/tfjs-backend-cpu'), prepare: (problem) => withTensorflow('cpu', problem) },
  PyTorch: { native: true, prepare: (problem, ways, threads) => native('PyTorch', problem, ways, threads) },
  NumPy: { native: true, forwardOnly: true, prepare: (problem, ways) => native('NumPy', problem, ways) },
};

/** A native contender's version; null if it is not installed. */
export async function nativeVersion(library) {
  const { ask, close } = python(library, 1, {});
  try {
    return await ask({ do: 'version' });
  } catch {
    return null;
  } finally {
    close();
  }
}
