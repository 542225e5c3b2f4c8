/* The accuracy fuzzer. It makes random problems, computes them through the public calls with the kernel and with plain
 * JavaScript, and checks that the errors are within the bounds of docs/numerics.md, and that every way to make the call gives the
 * same bits. From many problems it then climbs towards one of the bounds by small changes of the data, which finds more than
 * random data does.
 *
 *   node tests/fuzz/fuzz.js                runs for SECONDS (60), starting at the seed SEED (random)
 *   node tests/fuzz/fuzz.js --seed 123     runs this problem alone, with its climb
 *
 * A problem's seed determines everything about it. */
import { parseArgs } from 'node:util';
import { check } from './check.js';
import { change, Draw, positionOf, problemOf, shapeOf } from './problems.js';
import { checkWays } from './ways.js';

/** The run stops after this many failures. */
const MOST_FAILURES = 10;

/** The worst error under each name, in units of its bound, and its problem. */
const worst = new Map();
let problems = 0;
let values = 0;
let steps = 0;

function note(errors, seed) {
  for (const [name, error] of errors) if (!(error <= (worst.get(name)?.error ?? -1))) worst.set(name, { error, seed });
}

/** Checks a problem in every way. */
function checkAll(problem) {
  const { errors, results } = check(problem, true);
  checkWays(problem, results);
  return errors;
}

/** The error that `run` throws, or null. */
function failureOf(run) {
  try {
    run();
    return null;
  } catch (error) {
    return error;
  }
}

/**
 * Climbs towards one bound from a problem. Throws at the first step that fails, with the problem in `error.problem`.
 * @param {number} seed the seed of the changes
 */
function climb(start, errors, seed) {
  const draw = new Draw(seed);
  const names = [...errors].filter(([, error]) => error > 0).map(([name]) => name);
  if (names.length === 0) return;
  const name = draw.any(names);
  let current = start;
  let height = errors.get(name);
  // Small problems climb many steps, large ones none. A climb of many steps may take minutes, so it ends when the run does.
  for (let left = Math.floor(Math.min(3000, draw.any([1e4, 1e5, 1e6]) / start.x.length)); left > 0 && Date.now() < end; left--) {
    const next = change(current, draw);
    const failure = failureOf(() => {
      const found = check(next, false).errors;
      note(found, start.seed);
      if (!(found.get(name) >= height)) return;
      height = found.get(name);
      current = next;
    });
    if (failure) throw Object.assign(failure, { problem: next });
    steps++;
    values += next.x.length;
  }
  const failure = failureOf(() => checkAll(current));
  if (failure) throw Object.assign(failure, { problem: current });
}

/** Runs a problem and its climb. */
function run(seed) {
  const problem = problemOf(seed);
  const failure = failureOf(() => {
    const errors = checkAll(problem);
    note(errors, seed);
    problems++;
    values += problem.x.length;
    climb(problem, errors, seed ^ 0x5bd1e995);
  });
  if (failure) report(seed, failure, failure.problem ?? problem);
  return failure;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/** A part of a problem: some of its channels, images and positions, in a simple shape. */
function part(problem, [fromChannel, channels], [fromImage, batch], [fromPosition, spatial]) {
  const dimensions = { batch, channels, spatial };
  const pick = (data) => {
    const picked = new Float32Array(batch * channels * spatial);
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < batch * spatial; i++) {
        const at = (Math.floor(i / spatial) + fromImage) * problem.spatial + (i % spatial) + fromPosition;
        picked[positionOf(dimensions, c, i)] = data[positionOf(problem, c + fromChannel, at)];
      }
    return picked;
  };
  const some = (numbers) => numbers && { ...numbers, values: numbers.values.slice(fromChannel, fromChannel + channels) };
  const { gamma, beta, runningMean, runningVar } = problem;
  return {
    ...problem,
    ...dimensions,
    ...shapeOf(new Draw(problem.forms), dimensions),
    x: pick(problem.x),
    g: pick(problem.g),
    gamma: some(gamma),
    beta: some(beta),
    runningMean: some(runningMean),
    runningVar: some(runningVar),
    unbiased: problem.unbiased && batch * spatial > 1,
  };
}

/** Simpler problems that may fail in the same way. */
function* simpler(problem) {
  const { batch, channels, spatial } = problem;
  const sizes = [channels, batch, spatial];
  const all = sizes.map((size) => [0, size]);
  for (let k = 0; k < 3; k++)
    for (const size of new Set([1, Math.floor(sizes[k] / 2), sizes[k] - 1]))
      if (size > 0 && size < sizes[k])
        for (const from of new Set([0, sizes[k] - size])) yield part(problem, ...all.with(k, [from, size]));
  for (const key of ['relu', 'unbiased']) if (problem[key]) yield { ...problem, [key]: false };
  for (const key of ['gamma', 'beta']) if (problem[key]) yield { ...problem, [key]: null };
  if (problem.training && problem.statistics !== 'none') yield { ...problem, statistics: 'none' };
  if (problem.training && problem.runningMean && problem.statistics !== 'running')
    yield { ...problem, runningMean: null, runningVar: null };
}

/** The kind of a failure: its message up to the first number. */
const kindOf = (failure) => failure?.message.match(/^[^\d[]*/)[0];

/** Looks for 10 seconds for the smallest problem with the same kind of failure. */
function shrink(problem, failure) {
  let smallest = problem;
  const end = Date.now() + 10000;
  for (let again = true; again; ) {
    again = false;
    for (const candidate of simpler(smallest)) {
      if (Date.now() > end) return smallest;
      if (kindOf(failureOf(() => checkAll(candidate))) !== kindOf(failure)) continue;
      smallest = candidate;
      again = true;
      break;
    }
  }
  return smallest;
}

/** Numbers as JavaScript, unless there are too many. */
const listOf = (numbers) =>
  numbers.length > 200
    ? `${numbers.length} numbers`
    : `[${Array.from(numbers).map((value) => (Object.is(value, -0) ? '-0' : value))}]`;

function report(seed, failure, problem) {
  console.log(`\nFAILED, seed ${seed}: ${failure.message.slice(0, 500)}`);
  console.log(
    failure.stack
      .split('\n')
      .filter((line) => line.startsWith('    at '))
      .slice(0, 6)
      .join('\n'),
  );
  console.log(`  again: npm run fuzz -- --seed ${seed}`);
  const small = shrink(problem, failure);
  const message = failureOf(() => checkAll(small))?.message ?? failure.message;
  console.log(
    `  smaller, batch × channels × spatial ${small.batch} × ${small.channels} × ${small.spatial}: ${message.slice(0, 500)}`,
  );
  for (const [key, value] of Object.entries(small))
    if (value?.form) console.log(`    ${key}: ${value.form} ${listOf(value.values)}`);
    else console.log(`    ${key}: ${ArrayBuffer.isView(value) ? listOf(value) : JSON.stringify(value)}`);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

const millions = (count) => `${(count / 1e6).toFixed(1)} million`;

function printProgress(start) {
  const top = [...worst].reduce((a, b) => (b[1].error > a[1].error ? b : a), ['none', { error: 0 }]);
  const seconds = Math.round((Date.now() - start) / 1000);
  const nearest = `${top[1].error.toFixed(4)} of a bound (${top[0]})`;
  console.log(`${seconds} s: ${problems} problems, ${steps} steps, ${millions(values)} values; worst ${nearest}`);
}

const { values: options } = parseArgs({ options: { seed: { type: 'string' } } });
const start = Date.now();
const end = options.seed === undefined ? start + 1000 * Number(process.env.SECONDS ?? 60) : Number.POSITIVE_INFINITY;
let failures = 0;
if (options.seed !== undefined) failures = run(Number(options.seed)) ? 1 : 0;
else {
  const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`from seed ${first}`);
  let next = start + 10000;
  for (let seed = first; Date.now() < end && failures < MOST_FAILURES; seed++) {
    if (run(seed)) failures++;
    if (Date.now() < next) continue;
    printProgress(start);
    next = Date.now() + Math.min(60000, Math.max(10000, Date.now() - start));
  }
}

console.log(`\n${problems} problems, ${steps} steps of climbs, ${millions(values)} values, ${failures} failures`);
console.log('worst errors, in bounds, and the seeds of their problems:');
for (const [name, { error, seed }] of [...worst].sort()) console.log(`  ${name.padEnd(42)} ${error.toFixed(4)}  ${seed}`);
process.exitCode = failures > 0 ? 1 : 0;
