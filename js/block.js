/* The block of shared memory through which the threads of a pool work together. The calling thread describes a job in it. Then each
 * thread takes one part of the job after another, until none is left. A part is some of the channels, so the order of summation
 * does not depend on the number of threads, and neither do the results' bits. */

import { normalizeBy } from './forward.js';
import { differentiateBy } from './gradient.js';

/** @import { Kernel } from './kernel.js' */
/** @import { GradientJob, Problem } from './validate.js' */

/* The indices of the words, which are only accessed by Atomics. Words that change often are in cache lines of their own. */
/** Grows with each job and each message. Workers sleep until it does. */
export const WAKE = 0;
/** How many parts are left to take, plus JOB times the number of the job. */
const LEFT = 16;
/** How many parts are done, plus JOB times the number of the job. */
export const DONE = 32;
/** How many messages each worker was sent. */
export const MESSAGES = 48;
/** Of worker 0: 0 if it is idle, otherwise a number that grows while it works. */
const STATE = 64;
/** Of worker 0: 1 if it was lost. */
const LOST = 72;
/** The distance from one worker's words to the next one's. */
const WORKER = 16;
/** More than the most parts. */
const JOB = 1 << 10;
/** After so many jobs, their numbers start again. */
const JOBS = 1 << 20;
/** The most workers. */
export const MOST = 255;

/** @param {number} k of a worker */
export const stateOf = (k) => STATE + WORKER * k;
/** @param {number} k of a worker */
export const lostOf = (k) => LOST + WORKER * k;

/* The job: up to 16 doubles after the words, and then arrays of one double per channel. */
const DESCRIPTION = 4 * (STATE + WORKER * MOST);
const ARRAYS = DESCRIPTION + 8 * 16;
/** The most channels of a job. */
export const CHANNELS = 1 << 14;
/* The arrays. */
const GAMMA = 0;
const BETA = 1;
const MEAN = 2;
const VARIANCE = 3;
const GRAD_GAMMA = 4;
const GRAD_BETA = 5;

/** A waiting thread stays awake for so many milliseconds, since to be woken takes about as long. */
const SPIN = 0.05;

/** The clock itself, since a program's tests may replace performance.now by one that stands still. */
export const clock = performance.now.bind(performance);

export class Block {
  /** @param {SharedArrayBuffer} [buffer] default: a new one */
  constructor(buffer = new SharedArrayBuffer(ARRAYS + 8 * 6 * CHANNELS)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, DESCRIPTION / 4);
    this.job = new Float64Array(buffer, DESCRIPTION, 16);
    try {
      // Ends at once. The main thread of a page is not allowed to sleep, so this throws there.
      Atomics.wait(this.words, WAKE, 0, 0);
      this.sleeps = true;
    } catch {
      this.sleeps = false;
    }
  }

  /**
   * One number per channel.
   * @param {number} array @param {number} first channel @param {number} end
   */
  array(array, first, end) {
    return new Float64Array(this.buffer, ARRAYS + 8 * (array * CHANNELS + first), end - first);
  }

  /**
   * Waits until a word differs from `value`, but at most `timeout` milliseconds. Sleeps only after a while, and only if it may.
   * @param {number} word @param {number} value @param {number} timeout
   */
  wait(word, value, timeout) {
    const end = clock() + (this.sleeps ? SPIN : timeout);
    for (let i = 1; i % 64 || clock() < end; i++) if (Atomics.load(this.words, word) !== value) return;
    if (this.sleeps) Atomics.wait(this.words, word, value, timeout);
  }

  /**
   * Describes a job.
   * @param {number} memory the number of the memory that all tensors are in
   * @param {number} parts @param {Problem & { gradOutput?: Float32Array }} problem @param {Float32Array | null} out
   * @param {number} first channel @param {number} end
   */
  write(memory, parts, problem, out, first, end) {
    const { x, gradOutput, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training, relu } = problem;
    const address = (/** @type {Float32Array | null | undefined} */ tensor) =>
      tensor ? tensor.byteOffset + 4 * first * spatial : 0;
    this.job.set([
      memory,
      parts,
      batch,
      end - first,
      spatial,
      channels * spatial,
      epsilon,
      Number(training),
      Number(relu),
      Number(mean !== null),
      address(x),
      address(gradOutput),
      address(out),
    ]);
    for (const [array, values, otherwise] of /** @type {const} */ ([
      [GAMMA, gamma, 1],
      [BETA, beta, 0],
      [MEAN, mean, 0],
      [VARIANCE, variance, 0],
    ])) {
      const numbers = this.array(array, 0, end - first);
      // Not by `subarray`, which may run the user's code.
      for (let c = first; c < end; c++) numbers[c - first] = values ? values[c] : otherwise;
    }
  }

  /** Offers the parts of a new job. Returns the value of DONE when all of them are done. @param {number} parts */
  offer(parts) {
    const { words } = this;
    const job = JOB * ((Math.floor(Atomics.load(words, DONE) / JOB) + 1) % JOBS);
    Atomics.store(words, DONE, job);
    Atomics.store(words, LEFT, job + parts);
    return job + parts;
  }

  /** Withdraws the parts that are left. */
  withdraw() {
    Atomics.store(this.words, LEFT, 0);
  }

  /**
   * Takes and computes one part after another, until none is left.
   * @param {(memory: number) => Kernel} kernelOf
   * @param {() => boolean} [goesOn] whether this thread may take a part. It is called after the number of parts was read: if that
   *   number is of a job that the thread must not take part in, `goesOn` says so; if it is of an earlier job, it has changed since,
   *   and no part is taken.
   */
  work(kernelOf, goesOn = () => true) {
    const { words } = this;
    for (;;) {
      const left = Atomics.load(words, LEFT);
      if (left % JOB === 0 || !goesOn()) return;
      if (Atomics.compareExchange(words, LEFT, left, left - 1) !== left) continue;
      this.#compute((left % JOB) - 1, kernelOf, goesOn);
      // If this thread was given up, the job has ended, and there may be another one.
      let done = Atomics.load(words, DONE);
      while (Math.floor(done / JOB) === Math.floor(left / JOB)) {
        const found = Atomics.compareExchange(words, DONE, done, done + 1);
        if (found === done) break;
        done = found;
      }
      Atomics.notify(words, DONE);
    }
  }

  /** @param {number} part @param {(memory: number) => Kernel} kernelOf @param {() => boolean} goesOn */
  #compute(part, kernelOf, goesOn) {
    const [memory, parts, batch, channels, spatial, row, epsilon, training, relu, given, x, gradOutput, out] = this.job;
    // If this thread was given up between taking the part and reading the job, it may have read another job.
    if (!goesOn()) return;
    const kernel = kernelOf(memory);
    const first = Math.floor((part * channels) / parts);
    const end = Math.floor(((part + 1) * channels) / parts);
    const tensor = (/** @type {number} */ address) => address && new Float32Array(kernel.buffer, address + 4 * first * spatial);
    const array = (/** @type {number} */ which) => this.array(which, first, end);
    /** @type {any} */
    const problem = {
      x: tensor(x),
      gradOutput: tensor(gradOutput),
      batch,
      channels: end - first,
      spatial,
      row,
      gamma: array(GAMMA),
      beta: array(BETA),
      mean: given ? array(MEAN) : null,
      variance: given ? array(VARIANCE) : null,
      epsilon,
      training: training === 1,
      relu: relu === 1,
    };
    const to = /** @type {Float32Array | null} */ (tensor(out) || null);
    if (gradOutput)
      differentiateBy(kernel, problem, to, /** @type {any} */ (array(GRAD_GAMMA)), /** @type {any} */ (array(GRAD_BETA)));
    else normalizeBy(kernel, problem, to);
  }

  /**
   * Reads a job's results.
   * @param {Problem} problem whose mean and variance receive the batch's, in a forward call in training
   * @param {Float32Array[]} sums gradGamma and gradBeta, in a gradient
   * @param {number} first channel @param {number} end
   */
  read({ mean, variance, training }, sums, first, end) {
    const [results, array] = sums.length > 0 ? [sums, GRAD_GAMMA] : [training ? [mean, variance] : [], MEAN];
    for (const [i, result] of results.entries()) result?.set(this.array(array + i, 0, end - first), first);
  }
}
