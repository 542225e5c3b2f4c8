/* exact.c, compiled, as synchronous functions. They talk to the program through two named pipes, since a problem may take
 * thousands of questions, each of which depends on the previous answer. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = mkdtempSync(join(tmpdir(), 'batchnorm-fuzz-'));

function run(command, ...args) {
  const { error, status, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, error?.message ?? stderr);
}

const source = fileURLToPath(new URL('exact.c', import.meta.url));
run(process.env.CC ?? 'cc', '-std=c11', '-O2', '-o', 'exact', source, '-lm');
run('mkfifo', 'questions', 'answers');
spawn('sh', ['-c', 'exec ./exact < questions > answers'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] }).unref();
const questions = openSync(join(folder, 'questions'), 'w');
const answers = openSync(join(folder, 'answers'), 'r');

const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);

/**
 * @param {number[]} head eight numbers
 * @param {(Float32Array | Float64Array)[]} values
 * @param {number} size how many doubles the answer has
 */
function ask(head, values, size) {
  const parts = [Float64Array.from(head, Number), ...values].map(bytesOf);
  const question = Buffer.concat(parts);
  for (let at = 0; at < question.length; ) at += writeSync(questions, question, at);
  const answer = new Uint8Array(8 * size);
  for (let at = 0; at < answer.length; ) {
    const read = readSync(answers, answer, at, answer.length - at, null);
    assert.notEqual(read, 0, 'exact.c has ended');
    at += read;
  }
  return new Float64Array(answer.buffer);
}

/** The output of one channel: in training from its own statistics, otherwise from the given ones. */
export function exactOutput(x, { gamma, beta, epsilon, given }) {
  const n = x.length;
  const head = [0, n, given !== null, gamma, beta, epsilon, given?.mean ?? 0, given?.variance ?? 0];
  const answer = ask(head, [x], 6 + 2 * n);
  const [mean, meanRest, variance, magnitude, scale, shift] = answer;
  return { mean, meanRest, variance, magnitude, scale, shift, y: answer.subarray(6, 6 + n), p: answer.subarray(6 + n) };
}

/** The gradients of one channel, and the numbers in their bounds, with the names of gradient-reference.js. */
export function exactGradients(x, g, { gamma, epsilon, training, given }) {
  const n = x.length;
  const head = [training ? 1 : 2, n, given !== null, gamma, 0, epsilon, given?.mean ?? 0, given?.variance ?? 0];
  const answer = ask(head, [x, g], 8 + 4 * n);
  const [gradGamma, gradBeta, scale, slope, rms, spread, offset, std] = answer;
  const [gradInput, P, R, normalized] = [0, 1, 2, 3].map((k) => answer.subarray(8 + k * n, 8 + (k + 1) * n));
  const channel = { count: n, given: given !== null, scale, slope, rms, spread, offset };
  return { gradGamma, gradBeta, gradInput, P, R, normalized, channel, std };
}

/** The moments of one channel, merged from those of its parts. */
export function exactMerge(parts) {
  const numbers = Float64Array.from(parts.flatMap(({ count, mean, variance }) => [count, mean, variance]));
  const [mean, meanRest, variance] = ask([3, parts.length, 0, 0, 0, 0, 0, 0], [numbers], 3);
  return { mean, meanRest, variance };
}

// Once it has answered, the program is running and no longer needs its files.
exactMerge([{ count: 1, mean: 0, variance: 0 }]);
rmSync(folder, { recursive: true });
