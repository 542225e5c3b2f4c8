/* Shared by the tests: exact comparisons, comparisons within the bounds, calls of the kernel and of plain JavaScript, and programs in a
 * fresh Node. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { call, callGradient } from '../js/call.js';
import { normalizeBy } from '../js/forward.js';
import { differentiateBy } from '../js/gradient.js';
import { batchNormalization as plainBatchNormalization, batchNormalizationGradient as plainGradient } from '../js/index-plain.js';
import { Kernel } from '../js/kernel.js';
import { gradBetaBound, gradGammaBound, gradInputBound, gradientReference } from './gradient-reference.js';
import { channelOf, outputBound, reference, ulp } from './reference.js';

/** The sizes of blocks that src/batchnorm.h states. */
const header = readFileSync(new URL('../src/batchnorm.h', import.meta.url), 'utf8');
export const [POSITIONS, SHORT, SHORT_ROWS] = ['BLOCK_POSITIONS', 'SHORT', 'SHORT_ROWS'].map((name) =>
  Number(header.match(`#define BN_${name} (\\d+)`)[1]),
);

/** The least bytes of work area per tile (a tensor, or a copy that the steps need) that plans ask for. */
export const LEAST = 84 << 10;

/** How many rows a block has: in slabs, as src/batchnorm.h states; in columns, as docs/numerics.md does. */
export function rowsOfBlock({ batch, channels, spatial }, inColumns) {
  if (!inColumns) return spatial < SHORT ? SHORT_ROWS : 1;
  const row = Math.max(channels, 64) * spatial;
  if (row >= 256) return 256;
  const blocks = 4 * Math.ceil((batch * row) / 65536 / 4);
  return Math.max(256, Math.ceil(batch / blocks));
}

/** Checks that values have the same bits; any NaN equals any other. */
export function assertSameBits(actual, expected, message) {
  assert.equal(actual.length, expected.length, message);
  for (let i = 0; i < actual.length; i++)
    if (!Object.is(actual[i], expected[i])) assert.fail(`${message ?? 'bits'}: value ${i} is ${actual[i]}, not ${expected[i]}`);
}

/** Room for the error of the reference itself: a few roundings of a double. */
const SLACK = 1 + 2 ** -45;
const FLOAT32_MAX = 3.4028234663852886e38;

/** Compares a result with the reference: outputs and statistics within their bounds, NaN and infinity in the same places. */
export function assertWithinBounds(X, args, [output, newMean, newVar], message = '') {
  const [gamma = null, beta = null, runningMean = null, runningVar = null, momentum = 0.1, epsilon = 1e-5, training = true] =
    args;
  const expected = reference(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training);
  const [, channels, height, width] = X.shape;
  const spatial = height * width;
  assert.deepEqual(output.shape, X.shape);
  let worst = 0;
  for (let i = 0; i < X.data.length; i++) {
    const c = Math.floor(i / spatial) % channels;
    const y = expected.output[i];
    const where = () => `${message} value ${i} of [${X.shape}], channel ${c}: ${output.data[i]}, not ${y}`;
    if (!Number.isFinite(y)) assert.ok(Object.is(output.data[i], y), where());
    else if (Math.abs(y) > FLOAT32_MAX * (1 + 2 ** -20)) assert.equal(output.data[i], Math.sign(y) * Infinity, where());
    else if (Math.abs(y) * (1 + 2 ** -20) < FLOAT32_MAX) {
      const bound = outputBound(training, expected.p[i], gamma === null ? 1 : gamma[c], beta === null ? 0 : beta[c]);
      const error = Math.abs(output.data[i] - y);
      worst = Math.max(worst, error / bound);
      if (!(error <= bound * SLACK)) assert.fail(`${where()}; off by ${error}, bound ${bound}`);
    }
  }
  assert.deepEqual(newMean.shape, [1, channels, 1, 1]);
  assert.deepEqual(newVar.shape, [1, channels, 1, 1]);
  for (let c = 0; c < channels; c++) {
    const values = training ? channelOf(X, c) : [];
    const meanOfMagnitudes = values.reduce((sum, x) => sum + Math.abs(x), 0) / Math.max(1, values.length);
    const meanBound = (1 - momentum) * values.length * 2 ** -53 * meanOfMagnitudes;
    const varBound = (1 - momentum) * (1e-6 * expected.variance[c] + 2 ** -150);
    assertRounded(newMean.data[c], expected.runningMean[c], training ? meanBound : 0, `${message} runningMean ${c}`);
    assertRounded(newVar.data[c], expected.runningVar[c], training ? varBound : 0, `${message} runningVar ${c}`);
    if (!(expected.runningVar[c] < 0)) assert.ok(!(newVar.data[c] < 0), 'a negative variance');
  }
  return worst;
}

/** Checks that `actual` is a value within `bound` of `exact`, rounded to float32. */
function assertRounded(actual, exact, bound, message) {
  const same =
    Object.is(actual, Math.fround(exact)) ||
    (Number.isFinite(exact) && Math.abs(actual - exact) <= bound + ulp(exact) * 0.5 * SLACK + Math.abs(exact) * 2 ** -50);
  assert.ok(same, `${message}: ${actual}, not ${exact}`);
}

/**
 * Compares gradients with their reference in the same way; a gradInput of null is ignored. Leaves out channels in which rounding may
 * decide whether relu masks a value, since more than one result is right there. Returns how many channels were compared.
 */
export function assertGradientWithinBounds(gradOutput, X, options, [gradInput, gradGamma, gradBeta], plain, message = '') {
  const { training = true } = options;
  const expected = gradientReference(gradOutput, X, options);
  const { P, R, normalized } = expected;
  const hold = (actual, exact, bound, largest, where) => {
    if (!Number.isFinite(exact)) assert.ok(Object.is(actual, exact), `${where()}: ${actual}, not ${exact}`);
    // A larger result may overflow when it is rounded.
    else if (largest + bound < FLOAT32_MAX && !(Math.abs(actual - exact) <= bound * (1 + 2 ** -20)))
      assert.fail(`${where()}: ${actual}, not ${exact}; off by ${Math.abs(actual - exact)}, bound ${bound}`);
  };
  if (gradInput !== null) assert.deepEqual(gradInput.shape, X.shape);
  let held = 0;
  expected.channels.forEach((channel, c) => {
    if (channel.uncertain > 0) return;
    held++;
    const where = (name) => () => `${message} ${name} of [${X.shape}], channel ${c}`;
    if (gradInput !== null)
      for (const i of channel.positions) {
        const bound = gradInputBound(training, P[i], R[i], normalized[i], channel, plain);
        hold(gradInput.data[i], expected.gradInput[i], bound, Math.max(P[i], R[i]), where(`gradInput ${i}`));
      }
    const ofGamma = expected.gradGamma[c];
    const ofBeta = expected.gradBeta[c];
    hold(gradGamma.data[c], ofGamma, gradGammaBound(training, ofGamma, channel, plain), Math.abs(ofGamma), where('gradGamma'));
    hold(gradBeta.data[c], ofBeta, gradBetaBound(ofBeta, channel, plain), Math.abs(ofBeta), where('gradBeta'));
  });
  return held;
}

/** Calls the kernel and plain JavaScript, and compares both with the reference. Returns the kernel's worst error, in units of its bound. */
export function checkCall(X, args, message = '') {
  assertWithinBounds(
    X,
    args,
    plainBatchNormalization(X, args[0] ?? null, args[1] ?? null, ...args.slice(2)),
    `plain, ${message}`,
  );
  return assertWithinBounds(X, args, callKernel(X, ...args), message);
}

/** The same for the gradient. Returns how many channels were compared. */
export function checkGradient(gradOutput, X, options, message = '') {
  assertGradientWithinBounds(gradOutput, X, options, plainGradient(gradOutput, X, options), true, `plain, ${message}`);
  return assertGradientWithinBounds(gradOutput, X, options, gradientKernel(gradOutput, X, options), false, message);
}

/** Counts the values that are copied from array to array while something runs. */
export function countCopies(run) {
  const { set } = Float32Array.prototype;
  let copied = 0;
  Float32Array.prototype.set = function (from, at) {
    copied += from.length;
    set.call(this, from, at);
  };
  try {
    run();
  } finally {
    Float32Array.prototype.set = set;
  }
  return copied;
}

/** A copy of a tensor in an arena. */
export function move(arena, { data, shape }) {
  const moved = arena.tensor(shape);
  moved.data.set(data);
  return moved;
}

/** Runs the text of a module in a fresh Node. Returns what it printed. */
export function inFreshNode(code, ...flags) {
  const { stdout, stderr, status, error } = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', code], {
    cwd: fileURLToPath(new URL('../', import.meta.url)),
    encoding: 'utf8',
    timeout: 300_000,
  });
  assert.ifError(error);
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

const module = new WebAssembly.Module(readFileSync(new URL('../js/batchnorm.wasm', import.meta.url)));
const PAGE = 1 << 16;
const WORK = 8 << 20;

/** A kernel whose memory has `tensors` bytes for tensors from byte 64 on, and then a work area of `work` bytes. */
export function makeKernel(work, tensors = 0) {
  const pages = Math.ceil((64 + tensors + work) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return new Kernel(exports, memory, PAGE * pages - work, PAGE * pages);
}

/** batchNormalization with a given kernel, however small the tensor. */
export function callOn(kernel, X, gamma, beta, ...rest) {
  const [runningMean = null, runningVar = null, momentum = 0.1, epsilon = 1e-5, training = true, options = {}] = rest;
  const normalize = (...job) => normalizeBy(kernel, ...job);
  return call(normalize, X, gamma ?? null, beta ?? null, runningMean, runningVar, momentum, epsilon, training, options);
}

/** batchNormalizationGradient likewise. */
export const gradientOn = (kernel, gradOutput, X, options = {}) =>
  callGradient((...job) => differentiateBy(kernel, ...job), gradOutput, X, options);

const kernels = new Map();

function kernelWithin(work) {
  if (!kernels.has(work)) kernels.set(work, makeKernel(work));
  return kernels.get(work);
}

/** The same within a work area of `work` bytes. */
export const callWithin = (work, ...args) => callOn(kernelWithin(work), ...args);

export const gradientWithin = (work, ...args) => gradientOn(kernelWithin(work), ...args);

export const callKernel = (...args) => callWithin(WORK, ...args);

export const gradientKernel = (...args) => gradientWithin(WORK, ...args);
