/* The block of shared memory through which the threads of a pool work together. The calling thread describes a job in it. Then each
 * thread takes one part of the job after another, until none is left. It first takes those of its own, which are the same in each
 * call on the same tensors, so they may still be in its processor's cache. Then it takes those of threads that are late.
 *
 * A part is some of the channels, so the order of summation does not depend on the number of threads, and neither do the results'
 * bits. Or it is a slice (see slices.js). If slices are summed, a job has stages. Each is offered when the one before it is done, and has
 * a number of its own, as if it were a job. */

import { BY_POSITIONS, BY_ROWS } from './cut.js';
import { normalizeBy } from './forward.js';
import { differentiateBy } from './gradient.js';
import { computeSlice } from './slices.js';

/** @import { Cut } from './cut.js' */
/** @import { Kernel } from './kernel.js' */
/** @import { GradientJob, Problem } from './validate.js' */

/* The indices of the words, which are only accessed by Atomics. Words that change often are in cache lines of their own. */
/** Grows with each job and each message. Workers sleep until it does. */
export const WAKE = 0;
/** How many parts are done, plus JOB times the number of the job. */
export const DONE = 16;
/** How many messages each worker was sent. */
export const MESSAGES = 32;
/** How many threads have parts of their own to take. */
const QUEUES = 48;
/** The words of thread 0, which is the calling thread. */
const THREAD = 64;
/** The distance from one thread's words to the next one's. */
const LINE = 16;
/** More than the most parts: cut.js makes up to four for each thread. */
const JOB = 1 << 11;
/** After so many jobs, their numbers start again. */
const JOBS = 1 << 20;
/** The most threads. */
export const MOST = 256;

/** How many of its parts are left to take, plus JOB times the number of the job. @param {number} k of a thread */
const leftOf = (k) => THREAD + LINE * k;
/** 0 if it is idle, otherwise a number that grows while it works. @param {number} k of a worker */
export const stateOf = (k) => THREAD + LINE * k + 1;
/** 1 if it was lost. @param {number} k of a worker */
export const lostOf = (k) => THREAD + LINE * k + 2;

/* The job: so many doubles after the words, and then some numbers per channel, also doubles. */
const SIZE = 17;
const DESCRIPTION = 4 * (THREAD + LINE * MOST);
const NUMBERS = DESCRIPTION + 8 * SIZE;
/** The place of the stage in the description: the last. */
const STAGE = SIZE - 1;
const NAMES = /** @type {const} */ (['gamma', 'beta', 'mean', 'variance', 'gradGamma', 'gradBeta']);
/** The most channels of a job. */
export const CHANNELS = 1 << 16;

/** What a worker answers when it has started. */
export const STARTED = 'batchnorm/threads: started';

/** A waiting thread stays awake for so many milliseconds. To be woken takes about a twentieth of that. But Linux may then run it on the
 * processor of the thread that woke it, where the two take turns. It moves one of them away sooner if both are awake for long. */
const SPIN = 1;

/** The clock itself, since a program's tests may replace performance.now by one that stands still. */
export const clock = performance.now.bind(performance);

export class Block {
  /** @param {SharedArrayBuffer} [buffer] default: a new one */
  constructor(buffer = new SharedArrayBuffer(NUMBERS + 8 * CHANNELS * NAMES.length)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, DESCRIPTION / 4);
    this.job = new Float64Array(buffer, DESCRIPTION, SIZE);
    /** @type {Record<typeof NAMES[number], Float64Array>} */
    this.numbers = /** @type {any} */ (
      Object.fromEntries(NAMES.map((name, i) => [name, new Float64Array(buffer, NUMBERS + 8 * CHANNELS * i, CHANNELS)]))
    );
    try {
      // Ends at once. The main thread of a page is not allowed to sleep, so this throws there.
      Atomics.wait(this.words, WAKE, 0, 0);
      this.sleeps = true;
    } catch {
      this.sleeps = false;
    }
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
   * @param {number} memory the number of the memory that all tensors are in @param {number} kept see slices.js
   * @param {Cut} cut @param {Problem & { gradOutput?: Float32Array }} problem @param {Float32Array | null} out
   */
  write(memory, kept, { queues, each, by, unit }, problem, out) {
    const { x, gradOutput, batch, channels, spatial, gamma, beta, mean, variance, epsilon, training, relu } = problem;
    this.job.set([
      memory,
      queues,
      each,
      by,
      unit,
      batch,
      channels,
      spatial,
      epsilon,
      Number(training),
      Number(relu),
      Number(mean !== null),
      x.byteOffset,
      gradOutput?.byteOffset ?? 0,
      out?.byteOffset ?? 0,
      kept,
    ]);
    const { numbers } = this;
    for (let c = 0; c < channels; c++) {
      numbers.gamma[c] = gamma ? gamma[c] : 1;
      numbers.beta[c] = beta ? beta[c] : 0;
      // A forward call in training only receives them.
      if (mean && variance && (gradOutput || !training)) {
        numbers.mean[c] = mean[c];
        numbers.variance[c] = variance[c];
      }
    }
  }

  /** Offers the parts of a new job, or of its next stage. Returns the value of DONE when all of them are done.
   * @param {Cut} cut @param {number} stage */
  offer({ queues, each }, stage) {
    const { words } = this;
    this.job[STAGE] = stage;
    const job = JOB * ((Math.floor(Atomics.load(words, DONE) / JOB) + 1) % JOBS);
    Atomics.store(words, DONE, job);
    Atomics.store(words, QUEUES, queues);
    for (let k = 0; k < queues; k++) Atomics.store(words, leftOf(k), job + each);
    return job + queues * each;
  }

  /** Withdraws the parts that are left. */
  withdraw() {
    for (let k = 0; k < MOST; k++) Atomics.store(this.words, leftOf(k), 0);
  }

  /**
   * Takes and computes one part after another, until none is left.
   * @param {number} thread its number
   * @param {(memory: number) => Kernel} kernelOf
   * @param {() => boolean} [goesOn] whether this thread may take a part. It is called after the number of parts was read: if that
   *   number is of a job that the thread must not take part in, `goesOn` says so; if it is of an earlier job, it has changed since,
   *   and no part is taken.
   */
  work(thread, kernelOf, goesOn = () => true) {
    const { words } = this;
    const queues = Atomics.load(words, QUEUES);
    for (let k = 0; k < queues; ) {
      const queue = (thread + k) % queues;
      const left = Atomics.load(words, leftOf(queue));
      if (!goesOn()) return;
      if (left % JOB === 0) k++;
      else if (Atomics.compareExchange(words, leftOf(queue), left, left - 1) === left) {
        this.#compute(queue, (left % JOB) - 1, kernelOf, goesOn);
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
  }

  /** @param {number} queue @param {number} i which of its parts @param {(memory: number) => Kernel} kernelOf
   * @param {() => boolean} goesOn */
  #compute(queue, i, kernelOf, goesOn) {
    const [
      memory,
      queues,
      each,
      by,
      unit,
      batch,
      channels,
      spatial,
      epsilon,
      training,
      relu,
      given,
      x,
      gradOutput,
      out,
      kept,
      stage,
    ] = this.job;
    // If this thread was given up between taking the part and reading the job, it may have read another job.
    if (!goesOn()) return;
    const kernel = kernelOf(memory);
    const part = queue * each + i;
    const box = [0, channels, 0, batch, 0, spatial];
    const divided = box[2 * by + 1];
    for (const end of [0, 1])
      box[2 * by + end] = Math.min(divided, unit * Math.floor(((part + end) * Math.ceil(divided / unit)) / (queues * each)));
    const tensor = (/** @type {number} */ address) => address && new Float32Array(kernel.buffer, address);
    const { numbers } = this;
    /** @type {any} */
    const problem = {
      x: tensor(x),
      gradOutput: tensor(gradOutput),
      batch,
      channels,
      spatial,
      box,
      gamma: numbers.gamma,
      beta: numbers.beta,
      mean: given ? numbers.mean : null,
      variance: given ? numbers.variance : null,
      epsilon,
      training: training === 1,
      relu: relu === 1,
    };
    const to = /** @type {Float32Array | null} */ (tensor(out) || null);
    /** @type {any} */
    const { gradGamma, gradBeta } = numbers;
    if (by === BY_POSITIONS || (by === BY_ROWS && (training || gradOutput)))
      computeSlice(kernel, problem, to, gradGamma, gradBeta, stage, kept);
    else if (gradOutput) differentiateBy(kernel, problem, to, gradGamma, gradBeta);
    else normalizeBy(kernel, problem, to);
  }

  /**
   * Reads a job's results.
   * @param {Problem} problem whose mean and variance receive the batch's, in a forward call in training
   * @param {Float32Array[]} sums gradGamma and gradBeta, in a gradient
   */
  read({ channels, mean, variance, training }, [gradGamma, gradBeta]) {
    const { numbers } = this;
    for (let c = 0; c < channels; c++)
      if (gradGamma) {
        gradGamma[c] = numbers.gradGamma[c];
        gradBeta[c] = numbers.gradBeta[c];
      } else if (training && mean && variance) {
        mean[c] = numbers.mean[c];
        variance[c] = numbers.variance[c];
      }
  }
}
