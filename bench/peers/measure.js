/* Verifies the calls of several contenders on one problem, then times them alternating. Runs in Node and in pages. */
import { sizeOf } from '../../tests/data.js';
import { arrayOf, largestError } from '../cases.js';
import { COPY } from '../samples.js';

/** Results with a larger error, in units in the last place, are wrong. Other libraries' gradients sum in float32, where long sums
 * lose most of their digits. */
export const WRONG = { forward: 2 ** 14, gradient: 2 ** 20 };

/** A function that times a number of calls in a row, and returns the nanoseconds per call. */
export const timerOf = (run) => async (inner) => {
  const begin = performance.now();
  for (let i = 0; i < inner; i++) {
    const promise = run();
    if (promise instanceof Promise) await promise;
  }
  return ((performance.now() - begin) * 1e6) / inner;
};

/**
 * @param {object} given a problem (cases.js)
 * @param {Record<string, (given: object) => Promise<Record<string, object>>>} prepares functions that make each contender's calls
 * @param {{ seconds: number, sample: number, progress?: (part: number) => void }} how the seconds that all samples may take, the
 *   nanoseconds that one sample should take at least, and a function that receives the share that is done
 * @returns calls: by name, the samples in nanoseconds per call, and the largest error; failures: the reason why a call or a
 *   contender is missing
 */
export async function measure(given, prepares, { seconds, sample, progress = () => {} }) {
  const n = sizeOf(given.shape);
  const out = arrayOf(n);
  const calls = { [COPY]: { run: () => out.set(given.X.data), output: null } };
  const failures = {};
  for (const [name, prepare] of Object.entries(prepares))
    try {
      Object.assign(calls, await prepare(given));
    } catch (error) {
      failures[name] = error.message;
    }
  const result = {};
  const times = {};
  for (const [name, { fill, run, time, output }] of Object.entries(calls)) {
    try {
      fill?.();
      await run();
      const error = output ? largestError(await output(), given) : null;
      if (error > WRONG[given.gradOutput ? 'gradient' : 'forward']) throw new Error(`wrong by ${error} ULP`);
      result[name] = { error, samples: [] };
    } catch (error) {
      failures[name] = error.message;
      delete calls[name];
      continue;
    }
    times[name] = time ?? timerOf(run);
  }
  const inner = {};
  const last = {};
  // Progress is a third for warming up, and two thirds for measuring. Preparation is not shown, since its length is unknown.
  const warmed = () => Object.keys(inner).length / Object.keys(times).length / 3;
  for (const [name, time] of Object.entries(times)) {
    // Warms up for 50 samples or half a second. Meanwhile, the number of calls per sample doubles until a sample takes a quarter
    // of its proper time, and at least a millisecond, which is the error of a coarse clock.
    const end = performance.now() + 500;
    let count = Math.max(1, Math.ceil(2e4 / n));
    for (let k = 0; k < 50 && performance.now() < end; k++) {
      last[name] = await time(count);
      if (last[name] * count < Math.max(1e6, sample / 4)) count *= 2;
    }
    progress(warmed());
    // From here on, a sample has as many calls as its proper time needs.
    inner[name] = Math.max(1, Math.ceil(sample / Math.max(last[name], 1)));
  }
  // Calls that allocate alternate among themselves, because their buffers are freed while the next call is timed.
  const begun = performance.now();
  const allocates = (name) => !(name === COPY || /, (out|arena.*)$/.test(name));
  const names = Object.keys(calls);
  for (const group of [names.filter((name) => !allocates(name)), [COPY, ...names.filter(allocates)]]) {
    const end = performance.now() + (1000 * seconds * group.length) / (names.length + 1);
    for (let round = 0; round < 5 || (round < 61 && performance.now() < end); round++) {
      progress(1 / 3 + (2 / 3) * Math.min(1, (performance.now() - begun) / (1000 * seconds)));
      for (let k = 0; k < group.length; k++) {
        const name = group[(k + round) % group.length];
        // A call that takes a second or more is timed once.
        if (last[name] > 1e9 && round > 0) continue;
        if (last[name] < 1e8) await times[name](1); // not timed: fills the caches with this call's data
        result[name].samples.push(await times[name](inner[name]));
      }
    }
  }
  for (const { close } of Object.values(calls)) close?.();
  if (failures.batchnorm) throw new Error(failures.batchnorm);
  return { calls: result, failures };
}
