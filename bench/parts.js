/* Measures where the time of a call goes: into each of the kernel's functions, and into the rest, most of which is copying.
 *   node bench/parts.js [--quick] [8,64,56,56 8,56,56,64,last …]
 * The package's own code (js/kernel.js) runs a kernel whose functions are timed. So each function finds its data where a real
 * call has them: in a cache, or in memory. The clock itself takes about 0.1 µs each time. Results are verified before they are
 * timed. The ways to call alternate. Reports medians. */
import { readFileSync } from 'node:fs';
import { call, callGradient } from '../js/call.js';
import { normalizeBy } from '../js/forward.js';
import { differentiateBy } from '../js/gradient.js';
import { Arena } from '../js/index.js';
import { Kernel } from '../js/kernel.js';
import { BEGIN, load } from '../js/loader.js';
import { makePlan } from '../js/plan.js';
import { arrayOf, callOf, dimensionsOf, largestError, nameOf, ours, placeOf, problemOf, withRelu } from './cases.js';
import { machine } from './machine.js';
import { quartiles } from './samples.js';

const args = process.argv.slice(2);
/** Milliseconds to warm up each way, and to measure all ways of a shape and mode. */
const [WARM, MEASURE] = args.includes('--quick') ? [20, 100] : [400, 3000];
/** The functions that run in each mode. */
const GRADIENT = ['bn_fold', 'bn_gradient_sums', 'bn_gradient_fold', 'bn_gradient_input'];
const MODES = {
  training: ['bn_statistics', 'bn_moments', 'bn_fold', 'bn_normalize'],
  inference: ['bn_fold', 'bn_normalize'],
  gradient: GRADIENT,
  'gradient, relu': [...GRADIENT, 'bn_normalize', 'bn_mask'],
};
const FUNCTIONS = [...new Set(Object.values(MODES).flat())];

const given = args.filter((argument) => argument !== '--quick');
const places = (given.length > 0 ? given : ['8,64,56,56', '32,256,14,14', '128,32,28,28', '32,64,112,112']).map(placeOf);
const module = new WebAssembly.Module(readFileSync(new URL('../js/batchnorm.wasm', import.meta.url)));

/** Milliseconds spent in each function since the last reset, by whichever of the kernels below is running. */
const spent = {};
const reset = () => {
  for (const name of FUNCTIONS) spent[name] = 0;
};

/** A kernel that keeps its last task, so that its plan can be printed. */
class Watched extends Kernel {
  run(dimensions, task, ...rest) {
    this.task = task;
    super.run(dimensions, task, ...rest);
  }
}

/**
 * Two kernels with the same memory: one whose functions are timed, and one whose functions do nothing, so that only the copies
 * remain.
 * @param {number} bytes of the memory @param {number} begin the work area's first byte
 */
function kernels(bytes, begin) {
  const pages = bytes / 2 ** 16;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const wrap = (around) => Object.fromEntries(FUNCTIONS.map((name) => [name, around(name, exports[name])]));
  const timed = wrap((name, run) => (...args) => {
    const begin = performance.now();
    run(...args);
    spent[name] += performance.now() - begin;
  });
  const idle = wrap(() => () => {});
  return {
    buffer: memory.buffer,
    timed: new Watched(timed, memory, begin, memory.buffer.byteLength),
    idle: new Kernel(idle, memory, begin, memory.buffer.byteLength),
  };
}

/** The package's functions with another kernel. */
const functionsOn = (kernel) => ({
  forward: (...args) => call((problem, out) => normalizeBy(kernel, problem, out), ...args),
  gradient: (...args) => callGradient((job, ...results) => differentiateBy(kernel, job, ...results), ...args),
});

/** The ways to call, by name. Each has the functions to time, its output and its kernel; `work` is the size of the work area in
 * bytes, and `home` is whether X is in the kernel's memory. */
function waysOf(problem) {
  const { shape, X, gradOutput } = problem;
  const n = X.data.length;
  const plain = { data: arrayOf(n), shape };
  const arena = new Arena(3 * (X.data.byteLength + 64));
  const own = load().buffer.byteLength;
  const end = BEGIN + arena.byteLength;
  const [from, to, grad] = [X, X, gradOutput].map((source) => {
    const tensor = arena.tensor(shape);
    if (source) tensor.data.set(source.data);
    return tensor;
  });
  // Both memories are as large as the package's own, and tensors have the same addresses in them.
  const away = kernels(own, BEGIN);
  const home = kernels(from.data.buffer.byteLength, end);
  new Float32Array(home.buffer).set(new Float32Array(from.data.buffer, 0, end / 4));
  const [x, y, g] = [from, to, grad].map(({ data }) => ({ data: new Float32Array(home.buffer, data.byteOffset, n), shape }));
  const within = (tensor, gradient) => ({ ...problem, X: tensor, gradOutput: gradOutput && gradient });
  const way = (kernel, source, out, wholeSource, wholeOut, more) => ({
    /** A call in place needs X in its output. */
    fill: () => {
      out.data.set(X.data);
      wholeOut.data.set(X.data);
    },
    timed: callOf(functionsOn(kernel), source, { out }),
    whole: callOf(ours, wholeSource, { out: wholeOut }),
    out,
    kernel,
    ...more,
  });
  return {
    'by copies': way(away.timed, problem, plain, problem, plain, {
      copies: callOf(functionsOn(away.idle), problem, { out: plain }),
      copy: () => plain.data.set(X.data),
      work: own - BEGIN,
      home: false,
    }),
    arena: way(home.timed, within(x, g), y, within(from, grad), to, {
      copy: () => to.data.set(from.data),
      work: home.buffer.byteLength - end,
      home: true,
    }),
    // Not for gradients: in place, each call would take the result of the last one as its gradOutput.
    ...(gradOutput ? {} : { 'arena in place': way(home.timed, within(y), y, within(to), to, {}) }),
  };
}

/** Checks that a way's results are right, and bit for bit those of the package. */
function verify(name, { fill, timed, whole }, problem) {
  const dataOf = (run) => {
    fill();
    return run().map(({ data }) => data.slice());
  };
  const mine = dataOf(timed);
  const error = largestError(mine, problem);
  if (!(error <= (problem.gradOutput ? 8 : 4))) throw new Error(`${name} is wrong on [${problem.shape}]: ${error} ULP`);
  const expected = dataOf(whole);
  if (!mine.every((data, k) => data.every((value, i) => value === expected[k][i])))
    throw new Error(`${name} is not what the package computes on [${problem.shape}]`);
}

const median = (samples) => quartiles(samples)[1];

console.log(machine);
for (const place of places)
  for (const [mode, functions] of Object.entries(MODES)) {
    const bare = problemOf(place, mode.split(',')[0]);
    const one = mode.endsWith('relu') ? withRelu(bare) : bare;
    const n = one.X.data.length;
    const ways = waysOf(one);
    const samples = {};
    const add = (way, part, milliseconds) => {
      samples[part] ??= {};
      samples[part][way] ??= [];
      samples[part][way].push((milliseconds * 1e6) / n);
    };
    /** Times a run as a whole, after one that is not timed and fills the caches. */
    const time = (way, part, run) => {
      if (run === undefined) return;
      run();
      const begin = performance.now();
      run();
      add(way, part, performance.now() - begin);
    };
    for (const [name, way] of Object.entries(ways)) {
      reset();
      verify(name, way, one);
      way.fill();
      const end = performance.now() + WARM;
      for (let i = 0; i < 3 || performance.now() < end; i++) for (const run of [way.timed, way.whole, way.copies]) run?.();
    }
    const end = performance.now() + MEASURE;
    for (let round = 0; round < 5 || (round < 100 && performance.now() < end); round++)
      for (const [name, { timed, copies, copy, whole }] of Object.entries(ways)) {
        timed();
        reset();
        const begin = performance.now();
        timed();
        let rest = performance.now() - begin;
        for (const part of functions) {
          add(name, part, spent[part]);
          rest -= spent[part];
        }
        add(name, 'the rest', rest);
        time(name, 'copies alone', copies);
        time(name, 'whole call', whole);
        time(name, 'plain copy', copy);
      }
    console.log(`\n${nameOf(place)} ${mode}; ns per value`);
    for (const [name, { kernel, work, home }] of Object.entries(ways)) {
      if (home === undefined) continue;
      const dimensions = dimensionsOf(place);
      const plan = makePlan(dimensions, kernel.task, work, home);
      const layout = `${plan.columns ? 'columns' : 'slabs'}, ${plan.range} of ${dimensions.channels} channels at a time`;
      const pieces = `pieces of ${plan.rows} rows × ${plan.positions} positions`;
      console.log(`${name}: ${layout}, ${plan.resident ? '' : 'not '}resident, ${pieces}`);
    }
    console.log(''.padEnd(18), ...Object.keys(ways).map((name) => name.padStart(15)));
    for (const [part, of] of Object.entries(samples))
      console.log(
        part.padEnd(18),
        ...Object.keys(ways).map((name) => (of[name] ? median(of[name]).toFixed(3) : '–').padStart(15)),
      );
  }
