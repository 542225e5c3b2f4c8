/* The checks of `batchnorm/threads` for every environment: the golden bits from an arena of threads, the bits of large tensors, and that
 * the workers really take part. Like conformance.js it also runs in pages and workers. */
import { normalTensor, parametersFor } from '../data.js';
import { GROUPS, hashesOf } from '../golden.js';
import { golden } from '../golden-hashes.js';

/** Tensors of which threads share the work, and the dimension of their channels. The first has 500,000 values. */
const LARGE = [
  { shape: [2, 25, 100, 100], axis: 1 },
  { shape: [100, 20, 8, 9], axis: 1 },
  { shape: [9, 16, 1030], axis: -1 },
];

/** The results of calls on a large tensor: in memory of its own, or in an arena. */
function* resultsOf({ batchNormalization, batchNormalizationGradient }, { shape, axis }, arena) {
  const place = ({ data }) => {
    const placed = arena?.tensor(shape) ?? { data: new Float32Array(data.length), shape };
    placed.data.set(data);
    return placed;
  };
  const X = normalTensor(shape, 1, 3);
  const gradOutput = normalTensor(shape, 2);
  const { gamma, beta, runningMean: mean, runningVar: variance } = parametersFor(shape.at(axis));
  for (const relu of [false, true]) {
    for (const training of [true, false]) {
      arena?.reset();
      const out = place(X);
      yield batchNormalization(out, gamma, beta, mean, variance, 0.9, 1e-5, training, { axis, relu, out });
    }
    arena?.reset();
    const out = place(gradOutput);
    yield batchNormalizationGradient(out, place(X), { gamma, beta, axis, relu, out });
  }
}

const copy = (results) => results.map(({ data }) => data.slice());

function haveBits(results, expected) {
  return expected.every((data, k) => {
    const [a, b] = [results[k].data, data].map(({ buffer, byteOffset, byteLength }) => {
      return new Uint32Array(buffer, byteOffset, byteLength / 4);
    });
    return a.length === b.length && a.every((bits, i) => bits === b[i]);
  });
}

/**
 * @param {any} library 'batchnorm'
 * @param {(size: number) => Promise<any>} create calls createThreads
 * @param {number} size the number of threads to ask for
 * @param {any} [WorkerClass] the class of the workers
 * @returns {Promise<{ backend: string, threads: number, checks: number, failures: string[] }>}
 */
export async function conformThreads(library, create, size, WorkerClass = globalThis.Worker) {
  const failures = [];
  let checks = 0;
  const check = (holds, message) => {
    checks++;
    if (!holds) failures.push(message);
  };
  const backend = library.backend();

  // A worker writes only into its part of the arena's work area, in addition to `out`. The messages to the workers tell where it is.
  const areas = [];
  const send = WorkerClass?.prototype.postMessage;
  const numbers = new Map();
  if (send)
    WorkerClass.prototype.postMessage = function (message, ...more) {
      if (message.what === 'start') numbers.set(this, message.k);
      if (message.what === 'add')
        areas.push(new Uint32Array(message.memory.buffer, message.begin + numbers.get(this) * message.size, message.size / 4));
      return send.call(this, message, ...more);
    };
  const threads = await create(size);
  const arena = threads.arena(8 << 20);
  if (send) WorkerClass.prototype.postMessage = send;
  const { size: found } = threads;
  check(areas.length === found - 1, `${found} threads, but ${areas.length} workers`);
  check(backend === 'wasm-simd' || found === 1, `${found} threads without WebAssembly`);

  const expected = LARGE.map((problem) => Array.from(resultsOf(library, problem, null), copy));
  const wrong = new Set();
  const isUnused = (area) => area.every((word) => word === 0);
  const end = Date.now() + 60_000;
  // The event loop does not run in between. Workers must take part all the same.
  do
    LARGE.forEach((problem, k) => {
      const alone = expected[k].values();
      for (const results of resultsOf(library, problem, arena)) if (!haveBits(results, alone.next().value)) wrong.add(problem);
    });
  while (areas.some(isUnused) && Date.now() < end);
  for (const problem of LARGE)
    check(!wrong.has(problem), `[${problem.shape}], axis ${problem.axis}, has other bits on ${found} threads than on one`);
  for (const [k, area] of areas.entries()) check(!isUnused(area), `worker ${k} did not take part`);

  const shared = {
    ...library,
    Arena: function Arena(bytes) {
      return threads.arena(bytes);
    },
  };
  for (const [name, value] of Object.entries(hashesOf(shared, GROUPS[backend], 'in an arena')))
    check(value === golden[backend][name], `${name}, in an arena of ${found} threads, has other bits: ${value}`);

  await threads.close();
  check(threads.size === 1, `${threads.size} threads after they were closed`);
  return { backend, threads: found, checks, failures };
}
