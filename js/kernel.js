/* The only file that knows addresses: instantiates the kernel and takes a tensor through it as planned. */

import { binary, contract } from './kernel-binary.js';

/** @import { Problem } from './validate.js' */
/** @import { Plan } from './tiles.js' */

/**
 * What src/batchnorm.h declares; addresses, counts and flags are numbers.
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {WebAssembly.Global} __heap_base
 * @property {(...block: number[]) => void} bn_sum
 * @property {(...block: number[]) => void} bn_squares
 * @property {(...block: number[]) => void} bn_squares_f64
 * @property {(...block: number[]) => void} bn_normalize
 * @property {(...range: number[]) => void} bn_mean
 * @property {(...range: number[]) => number} bn_fold_batch
 * @property {(...range: number[]) => void} bn_fold_running
 */

/** @typedef {(tile: number, rows: number, positions: number) => void} Visit a step of the kernel on a block */

/** The fields of the kernel's bn_channel, in doubles. */
const GAMMA = 0;
const BETA = 1;
const MEAN_HI = 2;
const MEAN_LO = 3;
const VARIANCE = 4;
const FIELDS = 6;

/** Up to this many values a loop copies faster than TypedArray.prototype.set. */
const SHORT_COPY = 24;

/** Values of a page of memory. A fresh page costs a third less to obtain by a store than in the midst of a long copy. */
const PAGE = 1024;

/** Values of a channel that its mean is guessed from: within an eighth of their deviation, unless data are odd. */
const SAMPLE = 1024;
/** The golden ratio's fraction. Its multiples by squares fall in step with no length of line, as those by 1, 2, 3, … do. */
const GOLDEN = 0.618034;

/** @type {Exports} */
let wasm;
/** @type {Float32Array} */
let f32;
/** @type {Float64Array} */
let f64;
let workBegin = 0;
let workEnd = 0;
/** @type {WebAssembly.Module | undefined} */
let compiled;
/** Why the kernel cannot be used, until initialize is called: each attempt may cost more than a call. @type {unknown} */
let refusal;

/** @returns {WebAssembly.Module} */
function compile() {
  const bytes = new Uint8Array(binary.length);
  let size = 0;
  for (let i = 0; i < binary.length; ) {
    let code = binary.charCodeAt(i++);
    if (code < 40) code = 80 * (code - 35) + binary.charCodeAt(i++);
    bytes[size++] = code - 40;
  }
  return new WebAssembly.Module(bytes.subarray(0, size));
}

/** @param {WebAssembly.Module} module */
function instantiate(module) {
  const exports = /** @type {any} */ (new WebAssembly.Instance(module).exports);
  f32 = new Float32Array(exports.memory.buffer);
  f64 = new Float64Array(exports.memory.buffer);
  workBegin = Math.ceil(exports.__heap_base.value / 64) * 64;
  workEnd = exports.memory.buffer.byteLength;
  wasm = exports;
}

/** Makes load() use this module instead of the embedded binary. @param {WebAssembly.Module} module */
export function useModule(module) {
  checkModule(module);
  if (wasm !== undefined) throw new Error('initialize: a module must be given before one is compiled');
  compiled = module;
}

/**
 * Instantiates the kernel, compiled on demand, unless that has failed before.
 * @param {() => boolean} [agrees] whether the kernel, once there, computes known results
 * @returns {boolean} whether it is there
 */
export function load(agrees = () => true) {
  if (wasm === undefined && refusal === undefined)
    try {
      compiled ??= compile();
      instantiate(compiled);
      if (!agrees()) throw new Error('wrong results');
    } catch (reason) {
      wasm = /** @type {any} */ (undefined);
      // A stack that overflowed says nothing about the engine.
      if (!/stack|recursion/.test(`${reason}`)) refusal = reason ?? 'unknown';
    }
  return wasm !== undefined;
}

/** Lets load() try again. */
export function forgetRefusal() {
  refusal = undefined;
}

/** Why the last load() failed; its module is not used again. */
export function lastRefusal() {
  compiled = undefined;
  return refusal;
}

/** @param {WebAssembly.Module} module */
function checkModule(module) {
  let own = '';
  try {
    const [section] = WebAssembly.Module.customSections(module, 'batchnorm');
    own = String.fromCharCode(...new Uint8Array(section));
  } catch {
    // No module at all, or one without the section.
  }
  if (own !== contract)
    throw new TypeError(
      `initialize: module must be a WebAssembly.Module of this version's batchnorm/batchnorm.wasm; got ${own ? 'another version (copy the file again)' : Object.prototype.toString.call(module)}`,
    );
}

/**
 * The part of linear memory that calls may use, once the kernel is there, as bytes [begin, end).
 * @returns {[begin: number, end: number]}
 */
export const workArea = () => [workBegin, workEnd];

/** @param {Float32Array} to @param {number} at @param {Float32Array} from @param {number} begin @param {number} length */
function copy(to, at, from, begin, length) {
  if (length < SHORT_COPY) for (let i = 0; i < length; i++) to[at + i] = from[begin + i];
  else {
    for (let i = at; i < at + length; i += PAGE) to[i] = 0;
    // Unlike subarray, the constructor asks no class what to make, so no code of the user's can run here.
    to.set(new Float32Array(from.buffer, from.byteOffset + 4 * begin, length), at);
  }
}

/**
 * Copies rows of `length` values, a stride from one to the next on either side.
 * @param {Float32Array} to @param {number} at @param {number} toStride
 * @param {Float32Array} from @param {number} begin @param {number} fromStride
 * @param {number} rows @param {number} length
 */
function copyRows(to, at, toStride, from, begin, fromStride, rows, length) {
  if (toStride === length && fromStride === length) copy(to, at, from, begin, rows * length);
  else for (let row = 0; row < rows; row++) copy(to, at + row * toStride, from, begin + row * fromStride, length);
}

/**
 * Takes X through the kernel, range of channels by range of channels.
 *
 * @param {Problem} job
 * @param {Plan} plan for the job's dimensions, within workArea()
 * @param {Float32Array} out as long as job.x, of which it may be the very memory
 * @param {Float32Array | Float64Array | null} newMean in training: receives the running mean; one value per channel
 * @param {Float32Array | Float64Array | null} newVar likewise the running variance
 */
export function run(job, plan, out, newMean, newVar) {
  for (let first = 0; first < job.channels; first += plan.channels) {
    const range = Math.min(plan.channels, job.channels - first);
    writeParameters(job, plan, first, range);
    runRange(job, plan, out, first, range);
    if (newMean !== null && newVar !== null) updateRunning(job, plan, newMean, newVar, first, range);
  }
}

/** @param {Problem} job @param {Plan} plan @param {number} first @param {number} range */
function writeParameters(job, plan, first, range) {
  const { gamma, beta, runningMean, runningVar, training } = job;
  let at = plan.channel / 8;
  for (let c = first; c < first + range; c++, at += FIELDS) {
    if (plan.guess) f32[plan.fold / 4 + c - first] = guessMean(job, c);
    f64[at + GAMMA] = gamma === null ? 1 : gamma[c];
    f64[at + BETA] = beta === null ? 0 : beta[c];
    if (!training && runningMean !== null && runningVar !== null) {
      f64[at + MEAN_HI] = runningMean[c];
      f64[at + VARIANCE] = runningVar[c];
    }
  }
}

/**
 * About the mean of a channel: of some of its values, spread evenly over it and over the lines of an image.
 * @param {Pick<Problem, 'x' | 'batch' | 'channels' | 'spatial'>} job @param {number} c
 */
export function guessMean({ x, batch, channels, spatial }, c) {
  let sum = 0;
  for (let k = 0; k < SAMPLE; k++) {
    const i = Math.floor(((k * k * GOLDEN) % 1) * batch * spatial);
    const p = i % spatial;
    sum += x[(i - p) * channels + c * spatial + p];
  }
  return sum / SAMPLE;
}

/** @param {Problem} job @param {Plan} plan @param {Float32Array | Float64Array} newMean @param {Float32Array | Float64Array} newVar @param {number} first @param {number} range */
function updateRunning({ runningMean, runningVar, momentum }, plan, newMean, newVar, first, range) {
  let at = plan.channel / 8;
  for (let c = first; c < first + range; c++, at += FIELDS) {
    const mean = f64[at + MEAN_HI] + f64[at + MEAN_LO];
    newMean[c] = momentum * (runningMean === null ? 0 : runningMean[c]) + (1 - momentum) * mean;
    newVar[c] = momentum * (runningVar === null ? 1 : runningVar[c]) + (1 - momentum) * f64[at + VARIANCE];
  }
}

/**
 * From one row of a tile to the next. As X's rows are `row` values apart, this many more or less by whole cache lines
 * keep every row where it lies in its lines in X.
 * @param {number} row @param {number} used
 */
export const tileStride = (row, used) => used + ((row - used) % 16);

/**
 * Each step over all blocks of a range: statistics, fold, normalize. A resident range, one block, stays in the tile. With a
 * guess of the mean, the sum and the squares share a pass.
 * @param {Problem} job @param {Plan} plan @param {Float32Array} out @param {number} first @param {number} range
 */
function runRange({ x, batch, channels, spatial, epsilon, training }, plan, out, first, range) {
  const { guess, partial, squares, channel, fold } = plan;
  const columns = Number(plan.columns);
  const row = channels * spatial;
  const stride = tileStride(row, range * plan.positions);
  let there = false;

  /** @param {Visit} visit @param {boolean} [back] */
  const sweep = (visit, back = false) => {
    for (let b = 0; b < batch; b += plan.rows) {
      const rows = Math.min(plan.rows, batch - b);
      for (let p = 0; p < spatial; p += plan.positions) {
        const positions = Math.min(plan.positions, spatial - p);
        const start = b * row + first * spatial + p;
        const tile = plan.tile + 4 * (start % 16);
        if (!there) copyRows(f32, tile / 4, stride, x, start, row, rows, range * positions);
        visit(tile, rows, positions);
        if (back) copyRows(out, start, row, f32, tile / 4, stride, rows, range * positions);
      }
    }
    there = plan.resident;
  };

  if (training) {
    const count = batch * spatial;
    f64.fill(0, partial / 8, channel / 8);
    /** @type {Visit} */
    const sum = (tile, rows, positions) => wasm.bn_sum(tile, rows, stride, range, positions, columns, partial);
    /** @type {Visit} */
    const addSquares = (tile, rows, positions) => wasm.bn_squares(tile, rows, stride, range, positions, columns, fold, squares);
    /** @type {Visit} */
    const both = (...block) => {
      sum(...block);
      addSquares(...block);
    };
    sweep(guess ? both : sum);
    wasm.bn_mean(partial, count, Number(guess), range, spatial, columns, channel, fold);
    if (!guess) sweep(addSquares);
    if (wasm.bn_fold_batch(squares, count, epsilon, 0, range, spatial, columns, channel, fold) > 0) {
      sweep((tile, rows, positions) => wasm.bn_squares_f64(tile, rows, stride, range, positions, columns, channel, squares));
      wasm.bn_fold_batch(squares, count, epsilon, 1, range, spatial, columns, channel, fold);
    }
  } else wasm.bn_fold_running(epsilon, range, spatial, columns, channel, fold);
  sweep((tile, rows, positions) => wasm.bn_normalize(tile, rows, stride, range, positions, columns, channel, fold), true);
}
