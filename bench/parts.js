/* Where the time of a call goes: each of the kernel's functions, and the rest, most of which is copies.
 *   node bench/parts.js [--quick] [8,64,56,56 …]
 * js/kernel.js takes a kernel over a memory of its own through its plan, with a clock around each function, so that every piece
 * is timed where it lies in a call, in a cache or in memory. The clock itself costs some 0.1 µs per piece. Verified before it is
 * timed; ways alternate; medians. */
import { readFileSync } from 'node:fs';
import { call } from '../js/call.js';
import { Arena, batchNormalization } from '../js/index.js';
import { Kernel } from '../js/kernel.js';
import { BEGIN, load } from '../js/loader.js';
import { makePlan } from '../js/plan.js';
import { arrayOf, largestError, problem, quartiles } from './cases.js';
import { machine } from './machine.js';

const args = process.argv.slice(2);
/** Milliseconds to warm up each way, and to measure all of a shape and mode. */
const [WARM, MEASURE] = args.includes('--quick') ? [20, 100] : [400, 3000];
const FUNCTIONS = ['bn_statistics', 'bn_moments', 'bn_fold', 'bn_normalize'];

const given = args.filter((argument) => argument !== '--quick').map((argument) => argument.split(',').map(Number));
const shapes =
  given.length > 0
    ? given
    : [
        [8, 64, 56, 56],
        [32, 256, 14, 14],
        [128, 32, 28, 28],
        [32, 64, 112, 112],
      ];
const module = new WebAssembly.Module(readFileSync(new URL('../js/batchnorm.wasm', import.meta.url)));

/** Milliseconds in each function since they were last taken: of the kernels below, one of which runs at a time. */
const spent = {};
const reset = () => {
  for (const name of FUNCTIONS) spent[name] = 0;
};

/**
 * Two kernels over one memory: one whose functions are timed, and one whose functions do nothing, which leaves the copies.
 * @param {number} bytes of the memory @param {number} begin of the work area in it
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
  return { buffer: memory.buffer, timed: new Kernel(timed, memory.buffer, begin), idle: new Kernel(idle, memory.buffer, begin) };
}

/** A call as the package makes it, with another kernel. */
const callOn = (kernel, X, out, rest) => () => call((job, ...results) => kernel.run(job, ...results), X, ...rest, { out });

/** The ways to call, by name: what is timed in each, its output, the bytes of the work area, whether X is at home. */
function waysOf(shape, { X, rest }) {
  const n = X.data.length;
  const plain = { data: arrayOf(n), shape };
  const arena = new Arena(2 * (X.data.byteLength + 64));
  const [from, to] = [arena.tensor(shape), arena.tensor(shape)];
  from.data.set(X.data);
  // Memories as large as the package's own, with tensors at the same places.
  const own = load().buffer.byteLength;
  const end = BEGIN + arena.byteLength;
  const away = kernels(own, BEGIN);
  const home = kernels(from.data.buffer.byteLength, end);
  const work = { plain: own - BEGIN, arena: home.buffer.byteLength - end };
  const [x, y] = [from, to].map(({ data }) => ({ data: new Float32Array(home.buffer, data.byteOffset, n), shape }));
  x.data.set(X.data);
  const way = (kernel, source, out, whole, wholeOut, more) => ({
    /** What works in place needs X in its output. */
    fill: () => {
      out.data.set(X.data);
      wholeOut.data.set(X.data);
    },
    timed: callOn(kernel, source, out, rest),
    whole: () => batchNormalization(whole, ...rest, { out: wholeOut }),
    out,
    ...more,
  });
  return {
    'by copies': way(away.timed, X, plain, X, plain, {
      copies: callOn(away.idle, X, plain, rest),
      copy: () => plain.data.set(X.data),
      work: work.plain,
      home: false,
    }),
    arena: way(home.timed, x, y, from, to, { copy: () => to.data.set(from.data), work: work.arena, home: true }),
    'arena in place': way(home.timed, y, y, to, to, { work: work.arena, home: true }),
  };
}

/** What a way computes is right, and the package's own to the bit. */
function verify(name, { fill, timed, whole, out }, problem) {
  fill();
  const [, ...statistics] = timed();
  const output = out.data.slice();
  const error = largestError(output, problem);
  if (!(error <= 4)) throw new Error(`${name} is wrong on [${problem.shape}]: ${error} ULP`);
  fill();
  const [expected, ...others] = whole();
  const same = (mine, other) => mine.every((value, i) => value === other[i]);
  if (!same(output, expected.data) || !statistics.every(({ data }, k) => same(data, others[k].data)))
    throw new Error(`${name} is not what the package computes on [${problem.shape}]`);
}

const median = (samples) => quartiles(samples)[1];

console.log(machine);
for (const shape of shapes)
  for (const training of [true, false]) {
    const one = problem(shape, training);
    const n = one.X.data.length;
    const ways = waysOf(shape, one);
    const samples = {};
    const add = (way, part, milliseconds) => {
      samples[part] ??= {};
      samples[part][way] ??= [];
      samples[part][way].push((milliseconds * 1e6) / n);
    };
    /** What is timed as a whole, after one that is not, which leaves it the caches. */
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
        for (const part of FUNCTIONS) {
          add(name, part, spent[part]);
          rest -= spent[part];
        }
        add(name, 'the rest', rest);
        time(name, 'copies alone', copies);
        time(name, 'whole call', whole);
        time(name, 'plain copy', copy);
      }
    console.log(`\n(${shape}) ${training ? 'training' : 'inference'}; ns per value`);
    for (const [name, { work, home }] of Object.entries(ways)) {
      const [batch, channels, height, width] = shape;
      const plan = makePlan({ batch, channels, spatial: height * width, training }, work, home);
      const layout = `${plan.columns ? 'columns' : 'slabs'}, ${plan.range} of ${channels} channels at a time`;
      const pieces = `pieces of ${plan.rows} rows × ${plan.positions} positions`;
      if (name !== 'arena in place') console.log(`${name}: ${layout}, ${plan.resident ? '' : 'not '}resident, ${pieces}`);
    }
    console.log(''.padEnd(16), ...Object.keys(ways).map((name) => name.padStart(15)));
    for (const [part, of] of Object.entries(samples))
      console.log(
        part.padEnd(16),
        ...Object.keys(ways).map((name) => (of[name] ? median(of[name]).toFixed(3) : '–').padStart(15)),
      );
  }
