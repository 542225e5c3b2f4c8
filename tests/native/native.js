/* The kernels compiled natively, under AddressSanitizer and UndefinedBehaviorSanitizer, then under MemorySanitizer: the vectors,
 * hard data and cuts into pieces give the WebAssembly's results bit for bit; then a fuzzer runs for FUZZ_SECONDS, 30 unless
 * given. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makePlan } from '../../js/plan.js';
import { normalTensor, parametersFor, seeded, sizeOf, tensor } from '../data.js';
import { assertSameBits, callKernel } from '../helpers.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'batchnorm-'));
after(() => rmSync(folder, { recursive: true }));

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
  const flags =
    `-std=c11 -O2 -g -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -fno-sanitize-recover=all ` +
    `-fsanitize=${sanitizers} -Isrc src/batchnorm.c tests/native/${source} -lm -o`;
  const { status, stderr } = spawnSync(clang, [...flags.split(' '), binary], { cwd: root, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return binary;
}

const isColumns = ([batch, channels, height, width], training) =>
  makePlan({ batch, channels, spatial: height * width, training }, 1 << 20, false).columns;

/** Rows and positions of a piece, as src/batchnorm.h allows them; none is all. */
function cutsOf(shape, training) {
  const spatial = shape[2] * shape[3];
  if (isColumns(shape, training)) return [[], [256], [512]];
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

/** The calls of one run: X, arguments, and the rows and positions of a piece (absent: all). */
function* calls() {
  const unpack = (text) => new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);
  for (const vector of JSON.parse(readFileSync(join(root, 'tests/vectors/vectors.json'), 'utf8'))) {
    const [data, gamma, beta, mean, variance] = ['X', 'gamma', 'beta', 'runningMean', 'runningVar'].map((key) =>
      unpack(vector[key]),
    );
    const { shape, epsilon, training } = vector;
    yield { X: { data, shape }, gamma, beta, mean, variance, epsilon, training };
  }
  for (const shape of [
    [1, 1, 1, 1],
    [5, 3, 1, 1],
    [37, 5, 1, 1],
    [700, 3, 1, 1],
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
    for (const X of [...DATA.map(([center, deviation]) => normalTensor(shape, 17, center, deviation)), infinite])
      for (const training of [true, false])
        for (const epsilon of [1e-5, 0])
          for (const [rows, positions] of cutsOf(shape, training)) {
            const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
            const uneven = Float64Array.from(beta, (value, c) => value + c / 3);
            yield { X, gamma, beta: uneven, mean: runningMean, variance: runningVar, epsilon, training, rows, positions };
          }
  }
  const next = seeded(3);
  const bits = new DataView(new ArrayBuffer(4));
  for (let k = 0; k < 200; k++) {
    const training = k % 2 === 0;
    const shape = [9, 4, 20, 20].map((most) => 1 + Math.floor(next() * most));
    const X = tensor(shape, () => {
      bits.setUint32(0, next() * 2 ** 32);
      return bits.getFloat32(0);
    });
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    const [rows] = cutsOf(shape, training)[k % 3];
    yield { X, gamma, beta, mean: runningMean, variance: runningVar, epsilon: 1e-5, training, rows };
  }
}

/** The calls as calls.c reads them, and what WebAssembly makes of them. */
function prepare() {
  const input = [];
  const expected = [];
  for (const { X, gamma, beta, mean, variance, epsilon, training, rows, positions } of calls()) {
    const [batch, channels, height, width] = X.shape;
    const spatial = height * width;
    const inPlace = expected.length % 5 < 2;
    const head = [batch, channels, spatial, isColumns(X.shape, training), training, epsilon, rows ?? batch, positions ?? spatial];
    const doubles = Float64Array.from([...head, inPlace, ...gamma, ...beta, ...mean, ...variance].map(Number));
    input.push(Buffer.from(doubles.buffer), Buffer.from(X.data.slice().buffer));
    // Statistics that are given as doubles come back as such, and with momentum 0 they are the batch's own.
    const running = [mean, variance].map((statistic) => Float64Array.from(statistic));
    expected.push(callKernel(X, gamma, beta, ...running, 0, epsilon, training));
  }
  return { input: Buffer.concat(input), expected };
}

let prepared;

for (const sanitizers of ['address,undefined', 'memory'])
  test(`the same bits as WebAssembly, under sanitizers: ${sanitizers}`, () => {
    const binary = build('calls.c', sanitizers);
    prepared ??= prepare();
    const { input, expected } = prepared;
    assert.ok(expected.length > 500, `${expected.length} calls`);
    const { status, stdout, stderr } = spawnSync(binary, { input, maxBuffer: 1 << 28 });
    assert.equal(status, 0, stderr.toString());
    const results = stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.length);
    let at = 0;
    for (const [output, mean, variance] of expected) {
      const n = sizeOf(output.shape);
      const channels = output.shape[1];
      assertSameBits(new Float32Array(results.slice(at, at + 4 * n)), output.data, `output of [${output.shape}]`);
      const statistics = new Float64Array(results.slice(at + 4 * n, at + 4 * n + 16 * channels));
      assert.deepEqual([...statistics], [...mean.data, ...variance.data], `means and variances of [${output.shape}]`);
      at += 4 * n + 16 * channels;
    }
    assert.equal(at, results.byteLength);
  });

test('fuzzing finds nothing', () => {
  const binary = build('fuzz.c', 'fuzzer,address,undefined');
  const seconds = process.env.FUZZ_SECONDS ?? '30';
  const flags = [`-max_total_time=${seconds}`, '-seed=1', '-max_len=4096', '-len_control=0', '-print_final_stats=1'];
  const { status, stderr } = spawnSync(binary, flags, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stderr.slice(-4000));
  const [, runs] = stderr.match(/number_of_executed_units:\s*(\d+)/);
  assert.ok(Number(runs) > 1000, `only ${runs} runs`);
});
