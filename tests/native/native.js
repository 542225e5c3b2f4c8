/* The kernels compiled natively, once with AddressSanitizer and UndefinedBehaviorSanitizer, once with MemorySanitizer. The
 * vectors, hard data and cuts into pieces must give WebAssembly's results bit for bit; the problems of golden.js must give the
 * golden bits. Then a fuzzer runs for FUZZ_SECONDS (30) under each. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { call, callGradient } from '../../js/call.js';
import { makePlan } from '../../js/plan.js';
import { normalTensor, parametersFor, seeded, sizeOf, tensor } from '../data.js';
import { GROUPS, hashesOf, TINY } from '../golden.js';
import { golden } from '../golden-hashes.js';
import { assertSameBits, callKernel, gradientKernel } from '../helpers.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'batchnorm-'));
after(() => rmSync(folder, { recursive: true }));

/** The milliseconds after which a program is considered to hang. */
const MOST = 900_000;

const works = (command) => spawnSync(command, ['--version']).status === 0;
const clang = [process.env.CLANG, 'clang', 'clang-14'].find((command) => command && works(command));

before(() => {
  assert.ok(
    clang,
    'the native tests need clang. Install it on Debian or Ubuntu: sudo apt-get install clang-14 libclang-rt-14-dev; ' +
      'with Homebrew: brew install llvm. Or name one: CLANG=… npm run test:native',
  );
});

function build(source, sanitizers) {
  const binary = join(folder, `${source}-${sanitizers}`);
  if (existsSync(binary)) return binary;
  const flags =
    `-std=c11 -O2 -g -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -fno-sanitize-recover=all ` +
    `-fsanitize=${sanitizers} -Isrc src/forward.c src/gradient.c tests/native/${source} -lm -o`;
  const { status, stderr, error } = spawnSync(clang, [...flags.split(' '), binary], {
    cwd: root,
    encoding: 'utf8',
    timeout: MOST,
  });
  assert.ifError(error);
  assert.equal(status, 0, stderr);
  return binary;
}

/** The layout depends on the dimensions alone. Returns the number of rows of a block in columns, or 0. */
function columnsOf([batch, channels, height, width]) {
  const task = { numbers: 48, sums: 32, folded: 12, tiles: 1, blocks: true, again: true };
  return makePlan({ batch, channels, spatial: height * width }, task, 1 << 20, false).columns;
}

/** Sizes of pieces that src/batchnorm.h allows: rows and positions; undefined means all. */
function cutsOf(shape) {
  const spatial = shape[2] * shape[3];
  const columns = columnsOf(shape);
  if (columns > 0) return [[], [columns], [2 * columns]];
  if (spatial < 512) return [[], [8], [24]];
  if (spatial <= 4096) return [[], [1], [3]];
  return [[], [1], [1, 4096], [1, 8192]];
}

/** Centers and deviations of normal data. */
const DATA = [
  [0, 1],
  [1e6, 0.1],
  [-3e4, 1e-3],
  [5, 0],
  [0, 1e-19],
  [0, 1e-25],
  [0, 1e-40],
  [0, 1e19],
  [Number.NaN, 0],
];

/** The same for gradients. */
const GRADIENTS = [
  [0, 1],
  [3, 1e-4],
  [-1e6, 0.1],
  [0.1, 0],
  [0, 1e-25],
  [0, 1e-40],
  [0, 1e19],
  [Number.NaN, 0],
];

/** The ways to call the gradient. */
const MODES = [
  { training: true, given: false },
  { training: true, given: true },
  { training: false, given: true },
];

/** Where an output is written: elsewhere, on X, or on G. */
const PLACES = 3;

/** The calls of one run: X, G for the gradient, arguments, and the rows and positions of a piece (absent: all). */
function* calls() {
  const unpack = (text) => new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);
  const vectorsOf = (name) => JSON.parse(readFileSync(join(root, `tests/vectors/${name}.json`), 'utf8'));
  for (const vector of vectorsOf('vectors')) {
    const [data, gamma, beta, mean, variance] = ['X', 'gamma', 'beta', 'runningMean', 'runningVar'].map((key) =>
      unpack(vector[key]),
    );
    const { shape, epsilon, training } = vector;
    const numbers = { gamma, beta, mean, variance, epsilon };
    for (const relu of [false, true]) yield { X: { data, shape }, ...numbers, training, relu };
  }
  for (const vector of vectorsOf('gradient-examples')) {
    const { axis, gamma, beta, runningMean, runningVar, epsilon } = vector;
    const ends = [0, axis, axis + 1, vector.shape.length];
    const shape = [0, 1, 2].map((k) => sizeOf(vector.shape.slice(ends[k], ends[k + 1])));
    const [X, G] = [vector.X, vector.gradOutput].map((data) => ({ data: Float32Array.from(data), shape: [...shape, 1] }));
    const numbers = { gamma, beta, mean: runningMean, variance: runningVar, epsilon };
    for (const mode of MODES) for (const relu of [false, true]) yield { X, G, ...numbers, ...mode, relu };
  }
  const next = seeded(3);
  const any = (list) => list[Math.floor(next() * list.length)];
  for (const shape of [
    [1, 1, 1, 1],
    [5, 3, 1, 1],
    [37, 5, 1, 1],
    [700, 3, 1, 1],
    [1100, 3, 1, 1],
    [600, 7, 1, 3],
    [21, 3, 3, 5],
    [21, 4, 5, 7],
    [9, 2, 7, 73],
    [2, 3, 9, 71],
    [4, 2, 33, 40],
    [2, 3, 90, 101],
    [1, 2, 64, 130],
  ]) {
    const infinite = normalTensor(shape, 18, 3, 2);
    infinite.data[Math.floor(infinite.data.length / 3)] = -Infinity;
    const gradients = [...GRADIENTS.map(([center, deviation]) => normalTensor(shape, 19, center, deviation)), infinite];
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    const uneven = Float64Array.from(beta, (value, c) => value + c / 3);
    const numbers = { gamma, beta: uneven, mean: runningMean, variance: runningVar };
    for (const X of [...DATA.map(([center, deviation]) => normalTensor(shape, 17, center, deviation)), infinite])
      for (const epsilon of [1e-5, 0])
        for (const [rows, positions] of cutsOf(shape)) {
          const call = { X, ...numbers, epsilon, rows, positions };
          for (const training of [true, false]) yield { ...call, training, relu: next() < 0.5 };
          yield { ...call, ...any(MODES), G: any(gradients), relu: next() < 0.5 };
        }
  }
  const bits = new DataView(new ArrayBuffer(4));
  const anyBits = (shape) =>
    tensor(shape, () => {
      bits.setUint32(0, next() * 2 ** 32);
      return bits.getFloat32(0);
    });
  for (let k = 0; k < 400; k++) {
    const shape = [9, 4, 20, 20].map((most) => 1 + Math.floor(next() * most));
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    const numbers = { gamma, beta, mean: runningMean, variance: runningVar, epsilon: 1e-5 };
    const [rows] = any(cutsOf(shape));
    const G = k % 2 ? any([anyBits, normalTensor])(shape) : undefined;
    const mode = G ? any(MODES) : { training: next() < 0.5 };
    yield { X: any([anyBits, normalTensor])(shape), G, ...numbers, ...mode, relu: next() < 0.5, rows };
  }
}

/** A call in the format that calls.c reads. */
function encode({ X, G, gamma, beta, mean, variance, epsilon, training, given = !training, relu, rows, positions }, place) {
  const [batch, channels, height, width] = X.shape;
  const spatial = height * width;
  const piece = [rows ?? batch, positions ?? spatial];
  const head = [batch, channels, spatial, columnsOf(X.shape), training, given, relu, epsilon, ...piece, place, Boolean(G)];
  const doubles = Float64Array.from([...head, ...gamma, ...beta, ...mean, ...variance].map(Number));
  const bytes = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength);
  return [doubles, X.data, ...(G ? [G.data] : [])].map(bytes);
}

/** WebAssembly's results: the output, and two results with a number per channel. */
function results({ X, G, gamma, beta, mean, variance, epsilon, training, given = !training, relu }) {
  // Statistics given as doubles come back as doubles, and with momentum 0 they are the batch's own.
  const [m, v] = [mean, variance].map((statistic) => Float64Array.from(statistic));
  if (!G) return callKernel(X, gamma, beta, m, v, 0, epsilon, training, { relu });
  const statistics = given ? { mean: m, variance: v } : undefined;
  return gradientKernel(G, X, { gamma, beta, statistics, epsilon, training, relu });
}

/** All calls in the format of calls.c, and WebAssembly's results. */
function prepare() {
  const input = [];
  const expected = [];
  for (const call of calls()) {
    input.push(...encode(call, expected.length % PLACES));
    expected.push(results(call));
  }
  return { input: Buffer.concat(input), expected };
}

/** Runs calls.c on calls. Returns what it wrote. */
function runNatively(binary, input) {
  const { status, stdout, stderr, error } = spawnSync(binary, { input, maxBuffer: 1 << 28, timeout: MOST });
  assert.ifError(error);
  assert.equal(status, 0, stderr.toString());
  return stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.length);
}

let prepared;

for (const sanitizers of ['address,undefined', 'memory'])
  test(`the same bits as WebAssembly, under sanitizers: ${sanitizers}`, () => {
    const binary = build('calls.c', sanitizers);
    prepared ??= prepare();
    const { input, expected } = prepared;
    assert.ok(expected.length > 2000, `${expected.length} calls`);
    const native = runNatively(binary, input);
    let at = 0;
    for (const [output, ...numbers] of expected) {
      const n = sizeOf(output.shape);
      assertSameBits(new Float32Array(native.slice(at, at + 4 * n)), output.data, `output of [${output.shape}]`);
      at += 4 * n;
      for (const { data } of numbers) {
        // In JavaScript, gradients are float32, and statistics have the type in which they were given.
        const doubles = new Float64Array(native.slice(at, at + 8 * data.length));
        assert.deepEqual([...data.constructor.from(doubles)], [...data], `numbers of the channels of [${output.shape}]`);
        at += 8 * data.length;
      }
    }
    assert.equal(at, native.byteLength);
  });

test('the golden bits', () => {
  const groups = GROUPS['wasm-simd'].filter((group) => group !== TINY);
  /** The library, with `compute` in place of the kernel: it returns the output, and two results with a number per channel. */
  const libraryBy = (compute) => ({
    batchNormalization: (...args) =>
      call((job, out) => compute(job, out, ...(job.training ? [job.mean, job.variance] : [])), ...args),
    batchNormalizationGradient: (...args) => callGradient(compute, ...args),
  });
  const input = [];
  const encodeJob = (job) => {
    const { x, gradOutput, batch, channels, spatial, training } = job;
    const none = new Float64Array(channels);
    const [beta, mean, variance] = [job.beta, job.mean, job.variance].map((numbers) => numbers ?? none);
    const X = { data: x, shape: [batch, channels, spatial, 1] };
    const G = gradOutput && { data: gradOutput };
    const given = G ? job.mean !== null : !training;
    input.push(...encode({ ...job, X, G, given, beta, mean, variance }, 0));
  };
  // The first run records the calls; the second gets their results.
  hashesOf(libraryBy(encodeJob), groups, 'by copies');
  const native = runNatively(build('calls.c', 'address,undefined'), Buffer.concat(input));
  let at = 0;
  const next = (bytes) => {
    at += bytes;
    return native.slice(at - bytes, at);
  };
  const answer = ({ channels }, out, ...numbers) => {
    out.set(new Float32Array(next(4 * out.length)));
    const perChannel = [0, 1].map(() => new Float64Array(next(8 * channels)));
    numbers.forEach((array, k) => {
      array.set(perChannel[k]);
    });
  };
  const hashes = hashesOf(libraryBy(answer), groups, 'by copies');
  assert.equal(at, native.byteLength);
  assert.deepEqual(
    Object.keys(hashes).filter((name) => hashes[name] !== golden['wasm-simd'][name]),
    [],
  );
});

for (const sanitizers of ['address,undefined', 'memory'])
  test(`fuzzing finds nothing, under sanitizers: ${sanitizers}`, () => {
    const binary = build('fuzz.c', `fuzzer,${sanitizers}`);
    const seconds = process.env.FUZZ_SECONDS ?? '30';
    const flags = [`-max_total_time=${seconds}`, '-seed=1', '-max_len=4096', '-len_control=0', '-print_final_stats=1'];
    const timeout = 1000 * Number(seconds) + MOST;
    const { status, stderr, error } = spawnSync(binary, flags, { cwd: folder, encoding: 'utf8', timeout });
    assert.ifError(error);
    assert.equal(status, 0, stderr.slice(-4000));
    const [, runs] = stderr.match(/number_of_executed_units:\s*(\d+)/);
    assert.ok(Number(runs) > 1000, `only ${runs} runs`);
  });
