/* The kernels compiled natively, under AddressSanitizer and UndefinedBehaviorSanitizer: the vectors, hard data and cuts
 * into blocks give the WebAssembly's results bit for bit; then a fuzzer runs for FUZZ_SECONDS, 30 unless given. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guessMean } from '../../js/kernel.js';
import { planTiles } from '../../js/tiles.js';
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

function build(source, ...flags) {
  const binary = join(folder, source.replace('.c', ''));
  const { status, stderr } = spawnSync(
    clang,
    [
      '-std=c11',
      '-O2',
      '-g',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-ffp-contract=off',
      '-fno-math-errno',
      '-fno-sanitize-recover=all',
      ...flags,
      '-Isrc',
    ].concat(['src/batchnorm.c', `tests/native/${source}`, '-o', binary, '-lm']),
    { cwd: root, encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  return binary;
}

/** The calls of one run: X, arguments, the rows and positions of a block (absent: all), and guesses of the means, if any. */
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
    [21, 3, 3, 5],
    [4, 5, 7, 7],
    [2, 3, 9, 71],
    [3, 2, 33, 40],
  ])
    for (const [center, deviation] of [
      [0, 1],
      [1e6, 0.1],
      [0, 1e-25],
      [0, 1e19],
    ])
      for (const training of [true, false])
        for (const epsilon of [1e-5, 0])
          for (const [rows, positions] of [[], [1], [4], [8], [1, 64], [1, 128]]) {
            const X = normalTensor(shape, 17, center, deviation);
            const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
            const uneven = Float64Array.from(beta, (value, c) => value + c / 3);
            yield { X, gamma, beta: uneven, mean: runningMean, variance: runningVar, epsilon, training, rows, positions };
          }
  // Channels too long for the memory: good guesses, and one led astray.
  for (const shape of [
    [1, 2, 1500, 1400],
    [700, 1, 60, 50],
  ])
    for (const astray of [0, 1e6]) {
      const X = normalTensor(shape, 19, 3, 2);
      X.data[0] += astray;
      const { gamma, beta, runningVar } = parametersFor(shape[1]);
      const [batch, channels, height, width] = shape;
      const guess = Float64Array.from({ length: channels }, (_, c) =>
        Math.fround(guessMean({ x: X.data, batch, channels, spatial: height * width }, c)),
      );
      yield { X, gamma, beta, mean: guess, variance: runningVar, epsilon: 1e-5, training: true, guessed: true };
      yield {
        X,
        gamma,
        beta,
        mean: guess,
        variance: runningVar,
        epsilon: 1e-5,
        training: true,
        guessed: true,
        rows: 1,
        positions: 64,
      };
    }
  const next = seeded(3);
  const bits = new DataView(new ArrayBuffer(4));
  for (let k = 0; k < 200; k++) {
    const shape = [
      1 + Math.floor(next() * 9),
      1 + Math.floor(next() * 4),
      1 + Math.floor(next() * 20),
      1 + Math.floor(next() * 20),
    ];
    const X = tensor(shape, () => {
      bits.setUint32(0, next() * 2 ** 32);
      return bits.getFloat32(0);
    });
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    yield { X, gamma, beta, mean: runningMean, variance: runningVar, epsilon: 1e-5, training: k % 2 === 0 };
  }
}

test('the same bits as WebAssembly, under sanitizers', () => {
  const binary = build('calls.c', '-fsanitize=address,undefined');
  const input = [];
  const expected = [];
  for (const { X, gamma, beta, mean, variance, epsilon, training, rows, positions, guessed } of calls()) {
    const [batch, channels, height, width] = X.shape;
    const spatial = height * width;
    const { columns, guess } = planTiles({ batch, channels, spatial, training }, 0, 1 << 20);
    assert.equal(guess, guessed ?? false);
    if (columns && (positions || (rows ?? 4) % 4 !== 0)) continue;
    const cut = [rows ?? batch, Math.min(positions ?? spatial, spatial)];
    const head = [batch, channels, spatial, columns, training, epsilon, ...cut, guess];
    const doubles = Float64Array.from([...head.map(Number), ...gamma, ...beta, ...mean, ...variance]);
    input.push(Buffer.from(doubles.buffer), Buffer.from(X.data.slice().buffer));
    // momentum 0 returns the batch's own statistics.
    expected.push(callKernel(X, gamma, beta, mean, variance, 0, epsilon, training));
  }
  assert.ok(expected.length > 500, `${expected.length} calls`);
  const { status, stdout, stderr } = spawnSync(binary, { input: Buffer.concat(input), maxBuffer: 1 << 28 });
  assert.equal(status, 0, stderr.toString());
  const results = stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.length);
  let at = 0;
  for (const [output, mean, variance] of expected) {
    const n = sizeOf(output.shape);
    const channels = output.shape[1];
    assertSameBits(new Float32Array(results.slice(at, at + 4 * n)), output.data, `output of [${output.shape}]`);
    const statistics = Float32Array.from(new Float64Array(results.slice(at + 4 * n, at + 4 * n + 16 * channels)));
    assertSameBits(statistics.subarray(0, channels), mean.data, `means of [${output.shape}]`);
    assertSameBits(statistics.subarray(channels), variance.data, `variances of [${output.shape}]`);
    at += 4 * n + 16 * channels;
  }
  assert.equal(at, results.byteLength);
});

test('fuzzing finds nothing', () => {
  const binary = build('fuzz.c', '-fsanitize=fuzzer,address,undefined');
  const seconds = process.env.FUZZ_SECONDS ?? '30';
  const { status, stderr } = spawnSync(
    binary,
    [`-max_total_time=${seconds}`, '-seed=1', '-max_len=4096', '-print_final_stats=1'],
    {
      cwd: folder,
      encoding: 'utf8',
    },
  );
  assert.equal(status, 0, stderr.slice(-4000));
  const [, runs] = stderr.match(/number_of_executed_units:\s*(\d+)/);
  assert.ok(Number(runs) > 1000, `only ${runs} runs`);
});
