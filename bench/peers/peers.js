/* This package against other libraries: npm run bench:peers [-- --quick] [-- --threads] [-- 8,64,56,56 8,56,56,64,last …]
 * Each case runs in a process of its own. In addition, each library runs in a process with nothing but the copy. threads.js measures
 * two threads. Results are verified before they are timed. Variants alternate. Times are medians. Writes results.json and the files
 * that write.js makes from it, unless --quick or shapes are given. With --threads, only two threads are measured again. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { moments } from '../../js/index.js';
import { normalTensor, sizeOf, tensor } from '../../tests/data.js';
import { largestError, MODES, nameOf, PLACE, PLACES, placeOf, problem, problemOf } from '../cases.js';
import { memorySize } from '../format.js';
import { conditions, machine } from '../machine.js';
import { quartiles } from '../samples.js';
import { FOR_BROWSERS } from './bundle.js';
import { measure } from './measure.js';
import { CONTENDERS, nativeVersion, PYTHON } from './node.js';
import { comparison } from './report.js';
import { measureThreads, THREADED_PLACES } from './threads.js';
import { RESULTS, write } from './write.js';

const args = process.argv.slice(2);
const quick = args.includes('--quick');

/* ---- one case, in a process of its own ---------------------------------------------------------------------------- */

const measureCase = ({ place, mode, contenders, seconds }) =>
  measure(
    problemOf(place, mode),
    Object.fromEntries(contenders.map((name) => [name, async (given) => CONTENDERS[name].prepare(given)])),
    { seconds, sample: 2e5 },
  );

/** Data on which batch normalization commonly loses digits. */
const HARD = {
  'mean 0, deviation 1': () => normalTensor([4, 8, 64, 64], 1),
  'mean 10⁴, deviation 10⁻²': () => normalTensor([4, 8, 64, 64], 2, 1e4, 1e-2),
  'mean 10⁶, deviation 0.1': () => normalTensor([4, 8, 64, 64], 3, 1e6, 0.1),
  'all 16777215 but one': () => tensor([4, 8, 64, 64], (i) => (i % 4096 === 7 && i < 32768 ? 16777214 : 16777215)),
  'constant 0.1': () => tensor([4, 8, 64, 64], () => 0.1),
};

async function exactness({ contenders, mode }) {
  const errors = {};
  for (const [data, make] of Object.entries(HARD)) {
    const X = make();
    const { shape } = X;
    const rest = [1, 0.5, 0, 1].map((value) => new Float32Array(8).fill(value));
    const [gamma, beta] = rest;
    const given =
      mode === 'gradient'
        ? { gradOutput: normalTensor(shape, 4), options: { gamma, beta, epsilon: 1e-5, statistics: moments(X) } }
        : { rest: [...rest, 0.1, 1e-5, true], options: {} };
    Object.assign(given, { shape, axis: 1, X });
    for (const contender of contenders)
      for (const [name, { run, output, close }] of Object.entries(await CONTENDERS[contender].prepare(given))) {
        if (name.endsWith('fresh')) {
          await run();
          errors[contender] = { ...errors[contender], [data]: largestError(await output(), given) };
        }
        close?.();
      }
  }
  return errors;
}

/** Describes what a contender does with a gamma that is one value too short. */
async function wrongGamma({ contender }) {
  const { rest, ...given } = problem([2, 3, 4, 4], false);
  try {
    const calls = await CONTENDERS[contender].prepare({ ...given, rest: [rest[0].slice(1), ...rest.slice(1)] });
    const { run, output } = calls[`${contender}, fresh`];
    await run();
    const wrong = (await output())[0].filter((y) => !Number.isFinite(y)).length;
    return `computes, without an error${wrong > 0 ? ' (NaN)' : ''}`;
  } catch (error) {
    return `error: ${error.message.split('\n')[0].slice(0, 110)}`;
  }
}

/** The shape on which memory is measured: 24.5 MiB. */
const MEMORY = [8, 64, 112, 112];

/** The peak of resident memory, in bytes, during three calls; without a contender, that of the bare process. */
async function memory({ contender }) {
  if (contender === null) return process.memoryUsage.rss();
  const given = problem(MEMORY, true);
  const calls = await CONTENDERS[contender].prepare(given, ['out', 'fresh']);
  const { run, memory: own, close } = calls[`${contender}, out`] ?? calls[`${contender}, fresh`];
  for (let k = 0; k < 3; k++) await run();
  const most = own ? await own() : process.resourceUsage().maxRSS * 1024;
  close?.();
  return most;
}

const TASKS = { measureCase, exactness, wrongGamma, memory };

/** Runs a task in a process of its own. */
function inProcess(task, given) {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [fileURLToPath(import.meta.url), '--task', task, JSON.stringify(given)],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  );
  if (status !== 0) throw new Error(`${task} ${JSON.stringify(given)}: ${stderr || stdout}`);
  return JSON.parse(stdout.slice(stdout.lastIndexOf('\n{"task":')));
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

/** The bytes that a browser downloads for each library, gzipped. */
function downloads() {
  const bundle = (contents) => {
    const { outputFiles } = buildSync({
      ...FOR_BROWSERS,
      stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
      write: false,
    });
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  const file = (path) => gzipSync(readFileSync(new URL(`node_modules/${path}`, import.meta.url)), { level: 9 }).length;
  const tfjs = (backend) =>
    bundle(`import { batchNorm4d, moments, tensor4d, setBackend } from '@tensorflow/tfjs-core';
      import '@tensorflow/tfjs-backend-${backend}';
      globalThis.tf = { batchNorm4d, moments, tensor4d, setBackend };`);
  return {
    batchnorm: bundle("export * from '../../js/index.js'"),
    'plain JS': bundle("export * from '../../js/index-plain.js'"),
    'onnxruntime-web': ['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm']
      .map((name) => file(`onnxruntime-web/dist/${name}`))
      .reduce((sum, size) => sum + size),
    'tfjs-wasm': tfjs('wasm') + file('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm'),
    'tfjs-cpu': tfjs('cpu'),
  };
}

function startUp(contenders) {
  const milliseconds = (...name) => {
    const begin = performance.now();
    execFileSync(process.execPath, [fileURLToPath(new URL('first.js', import.meta.url)), ...name], { stdio: 'ignore' });
    return performance.now() - begin;
  };
  // They alternate, because a process that follows a large one starts later. '' is the bare runtime.
  const names = ['', ...contenders];
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let k = 0; k < 11; k++)
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + k) % names.length];
      samples[name].push(name ? milliseconds(name) : milliseconds());
    }
  return Object.fromEntries(contenders.map((name) => [name, Math.min(...samples[name]) - Math.min(...samples[''])]));
}

/** Must run first: on Linux, the peak of a new process is at least the size of the process that started it. */
function peakMemory(contenders) {
  const data = 2 * 4 * sizeOf(MEMORY);
  const bare = inProcess('memory', { contender: null }).result;
  const print = 'import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)';
  const python = () => Number(execFileSync(PYTHON, ['-c', print]));
  return Object.fromEntries(
    contenders.map((name) => [
      name,
      inProcess('memory', { contender: name }).result - data - (CONTENDERS[name].native ? python() : bare),
    ]),
  );
}

async function twoThreads(chosen, able) {
  const threads = [];
  for (const place of chosen.length > 0 ? chosen : THREADED_PLACES)
    for (const mode of MODES) {
      const found = await measureThreads(place, mode, able(mode), quick ? 1 : 24);
      threads.push(found);
      console.log(`\n${nameOf(place)} ${mode}, one thread and two`);
      for (const [k, calls] of found.calls.entries())
        for (const [name, { samples }] of Object.entries(calls))
          console.log(`${k + 1}: ${name}`.padEnd(36), ...quartiles(samples).map((time) => (time / found.n).toFixed(3)));
      for (const [name, why] of Object.entries(found.failures[1])) console.log(name.padEnd(36), why.slice(0, 160));
    }
  return threads;
}

async function main() {
  const chosen = args.filter((arg) => PLACE.test(arg)).map(placeOf);
  const places = chosen.length > 0 ? chosen : PLACES;
  const versions = {};
  for (const [name, { version, native }] of Object.entries(CONTENDERS)) {
    const found = native ? await nativeVersion(name) : version;
    if (found) versions[name] = found;
    else console.error(`${name} is left out: apt-get install python3-numpy python3-torch`);
  }
  const all = Object.keys(versions);
  const able = (mode) => all.filter((name) => mode !== 'gradient' || !CONTENDERS[name].forwardOnly);
  console.log(
    `${machine}\n${Object.entries(versions)
      .map((pair) => pair.join(' '))
      .join(', ')}`,
  );

  const printOnly = quick || chosen.length > 0;
  if (args.includes('--threads')) {
    const threadsConditions = conditions();
    const threads = await twoThreads(chosen, able);
    if (printOnly) return;
    const results = JSON.parse(readFileSync(RESULTS, 'utf8'));
    writeFileSync(RESULTS, JSON.stringify({ ...results, threads, threadsConditions }));
    return write();
  }
  const memoryPeaks = peakMemory(all);
  const cases = [];
  for (const place of places)
    for (const mode of MODES) {
      const { shape } = place;
      const contenders = able(mode);
      const seconds = quick ? 2 : 6;
      const { calls: together, failures } = inProcess('measureCase', { place, mode, contenders, seconds }).result;
      const alone = {};
      for (const name of contenders)
        if (!(name in failures))
          alone[name] = inProcess('measureCase', { place, mode, contenders: [name], seconds: quick ? 0.3 : 1 }).result.calls;
      cases.push({ ...place, mode, n: sizeOf(shape), together, alone, failures });
      console.log(`\n${nameOf(place)} ${mode}, ${memorySize(4 * sizeOf(shape))}`);
      for (const [name, why] of Object.entries(failures)) console.log(name.padEnd(36), why.slice(0, 160));
      for (const [name, { samples, error }] of Object.entries(together)) {
        const [low, mid, high] = quartiles(samples).map((time) => (time / sizeOf(shape)).toFixed(3));
        console.log(
          name.padEnd(36),
          `${mid} ns per value [${low}–${high}]`.padEnd(36),
          error === null ? '' : `${error.toFixed(2)} ULP`,
        );
      }
    }
  const measured = conditions();
  const results = {
    ...measured,
    versions,
    cases,
    threads: await twoThreads(chosen, able),
    threadsConditions: measured,
    exactness: Object.fromEntries(
      ['training', 'gradient'].map((mode) => [mode, inProcess('exactness', { contenders: able(mode), mode }).result]),
    ),
    wrongGamma: Object.fromEntries(all.map((contender) => [contender, inProcess('wrongGamma', { contender }).result])),
    startUp: startUp(all),
    peakMemory: memoryPeaks,
    downloads: downloads(),
  };
  if (printOnly) return void console.log(comparison(results));
  writeFileSync(RESULTS, JSON.stringify(results));
  write();
}

if (args[0] === '--task') {
  const result = await TASKS[args[1]](JSON.parse(args[2]));
  process.stdout.write(`\n${JSON.stringify({ task: args[1], result })}`);
  process.exit();
} else await main();
