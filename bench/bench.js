/* Measures speed and exactness in training, inference and the gradient. Compares this package, with tensors that it copies, with
 * tensors in an arena and with two threads, with plain JavaScript and with a plain copy of X. Everything runs in one process.
 *   npm run bench [-- --json] [-- --quick] [-- 8,64,56,56 8,56,56,64,last …]
 * Data are seeded. Every variant is verified against float64 before it is timed, and two threads must give the bits of one.
 * Variants alternate. Reports medians with quartiles. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { call, callGradient } from '../js/call.js';
import { Arena, backend } from '../js/index.js';
import { load } from '../js/loader.js';
import { differentiatePlain } from '../js/plain.js';
import { createThreads } from '../js/threads.js';
import { sizeOf } from '../tests/data.js';
import {
  arrayOf,
  callOf,
  largestError,
  MODES,
  moveToArena,
  nameOf,
  ours,
  PLACE,
  PLACES,
  placeOf,
  problemOf,
  withRelu,
} from './cases.js';
import { duration, memorySize } from './format.js';
import { conditions } from './machine.js';
import { naive, tunedFunctions } from './plain.js';
import { quartiles } from './samples.js';

const args = process.argv.slice(2);
const json = args.includes('--json');
/** Seconds per shape and mode. */
const SECONDS = args.includes('--quick') ? 1 : 5;
/** Milliseconds to warm up each variant. Compilers run in the background, so they need time rather than a number of calls. */
const WARM = 400;
/** One thread and two are compared as a program's loop would use them: by repeating the call for this many milliseconds. A worker
 * sleeps after a twentieth of a millisecond without work, and to wake it takes about as long. So it must be woken once per sample,
 * not for each call. */
const LOOP = 5;
for (const arg of args)
  if (!/^--(json|quick)$/.test(arg) && !PLACE.test(arg))
    throw new TypeError(`bench takes --json, --quick and shapes such as 8,64,56,56 or 8,56,56,64,last; got ${arg}`);
const chosen = args.filter((arg) => PLACE.test(arg)).map(placeOf);
const places = chosen.length > 0 ? chosen : PLACES;

const root = fileURLToPath(new URL('..', import.meta.url));
const print = (...words) => json || console.log(...words);

/** The name of the copy that a variant is compared with. For a variant in an arena, it is the copy within an arena. */
const copyOf = (name) => (name.includes('arena') ? 'copy, arena' : 'copy X → out');

const MIB = 2 ** 20;
const naiveFunctions = { forward: (...args) => call(naive, ...args) };

const TWO_THREADS = 'arena, loop, 2 threads';
const ONE_THREAD = 'arena, loop, 1 thread';

/** Whether all results have the same bits. */
const haveSameBits = (some, others) =>
  some.every(({ data }, k) => {
    const bytes = [data, others[k].data].map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return Buffer.compare(...bytes) === 0;
  });

/** Returns a problem, and its variants by name. A variant has the problem that it computes (null for a copy), and a function that
 * runs it. */
function prepare(place, mode, threads) {
  const { shape } = place;
  const given = problemOf(place, mode);
  const { X } = given;
  const out = arrayOf(X.data.length);
  const { at, to } = moveToArena((bytes) => new Arena(bytes), given);
  const shared = moveToArena((bytes) => threads.arena(bytes), given);
  const copy = (run) => ({ given: null, run });
  const way = (functions, of, options) => ({ given: of, run: callOf(functions, of, options) });
  const variants = {
    'copy X → out': copy(() => out.set(X.data)),
    'copy, arena': copy(() => to.data.set(at.X.data)),
    'batchnorm, out': way(ours, given, { out }),
    'batchnorm, arena': way(ours, at, { out: to }),
    'tuned JS, out': way(tunedFunctions, given, { out }),
    [ONE_THREAD]: way(ours, at, { out: to }),
    [TWO_THREADS]: way(ours, shared.at, { out: shared.to }),
  };
  if (mode !== 'gradient')
    Object.assign(variants, {
      'copy, fresh': copy(() => X.data.slice()),
      'batchnorm, fresh': way(ours, given, {}),
      // The variant in place works on `out`, because a third array would push the others out of the cache.
      'batchnorm, in place': way(ours, { ...given, X: { data: out, shape } }, { out }),
      'batchnorm, arena in place': way(ours, { ...at, X: to }, { out: to }),
      'tuned JS, fresh': way(tunedFunctions, given, {}),
      'naive JS, out': way(naiveFunctions, given, { out }),
    });
  if (X.data.byteLength > MIB / 2 && X.data.byteLength <= 32 * MIB)
    Object.assign(variants, {
      'batchnorm, out, relu': way(ours, withRelu(given), { out }),
      'batchnorm, arena, relu': way(ours, withRelu(at), { out: to }),
    });
  return { given, variants };
}

/** Compares all results of the tuned gradient with the package's plain JavaScript. (largestError checks only some channels.) */
function verifyTunedGradient(given) {
  const [mine, twin] = [tunedFunctions, { gradient: (...args) => callGradient(differentiatePlain, ...args) }].map((functions) =>
    callOf(functions, given)(),
  );
  mine.forEach(({ data }, k) => {
    const far = data.findIndex((value, i) => !(Math.abs(value - twin[k].data[i]) <= 1e-5 * (1 + Math.abs(value))));
    if (far >= 0) throw new Error(`tuned JS is wrong on [${given.shape}]: ${data[far]}, not ${twin[k].data[far]}`);
  });
}

async function measure(place, mode) {
  const threads = await createThreads(2);
  const { given, variants } = prepare(place, mode, threads);
  const n = sizeOf(place.shape);
  const names = Object.keys(variants);
  const errors = {};
  if (mode === 'gradient') verifyTunedGradient(given);
  const through = withRelu(given);
  for (const name of names) {
    if (name.includes('in place')) variants[copyOf(name)].run();
    const results = variants[name].run();
    const exact = name.includes('relu') ? through : given;
    errors[name] =
      variants[name].given &&
      largestError(
        results.map(({ data }) => data),
        exact,
      );
    if (errors[name] > (mode === 'gradient' ? 8 : 4))
      throw new Error(`${name} is wrong on [${place.shape}]: ${errors[name]} ULP`);
  }
  if (!haveSameBits(variants[ONE_THREAD].run(), variants[TWO_THREADS].run()))
    throw new Error(`two threads give other bits than one on [${place.shape}]`);
  const loops = [ONE_THREAD, TWO_THREADS];
  const inner = {};
  for (const name of names) {
    const begin = performance.now();
    let calls = 0;
    for (; calls < 3 || performance.now() < begin + WARM; calls++) variants[name].run();
    const loop = Math.ceil((calls * LOOP) / (performance.now() - begin));
    inner[name] = loops.includes(name) ? loop : Math.max(1, Math.floor(2e5 / n));
  }
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  // Variants that allocate alternate among themselves, since another thread frees their buffers while the next variant is timed.
  const fresh = names.filter((name) => name.includes('fresh'));
  for (const group of [names.filter((name) => ![...fresh, ...loops].includes(name)), fresh, loops]) {
    const end = performance.now() + SECONDS * 1000 * (group.length / names.length);
    for (let round = 0; group.length > 0 && (round < 5 || (round < 101 && performance.now() < end)); round++)
      group.forEach((_, k) => {
        const name = group[(k + round) % group.length];
        const { run } = variants[name];
        run(); // not timed: fills the caches with this variant's data
        const begin = process.hrtime.bigint();
        for (let i = 0; i < inner[name]; i++) run();
        samples[name].push(Number(process.hrtime.bigint() - begin) / inner[name]);
      });
  }
  await threads.close();
  const of = Object.fromEntries(names.map((name) => [name, quartiles(samples[name])]));
  return { ...place, mode, n, samples, errors, quartiles: of, inner };
}

const median = (result, name) => result.quartiles[name]?.[1];

function report(result) {
  const { mode, n, errors } = result;
  const tensors = mode === 'gradient' ? 3 : 2;
  print(`\n${nameOf(result)} ${mode}, ${memorySize(4 * n)}`);
  print('variant                    time [quartiles]               ns / value   GB/s  × copy  × faster than JS    ULP');
  for (const [name, [low, mid, high]] of Object.entries(result.quartiles)) {
    const twin = name.includes('fresh') ? 'tuned JS, fresh' : 'tuned JS, out';
    print(
      name.padEnd(26),
      `${duration(mid)} [${duration(low)} – ${duration(high)}]`.padEnd(30),
      (mid / n).toFixed(3).padStart(10),
      ((4 * (name.includes('copy') ? 2 : tensors) * n) / mid).toFixed(1).padStart(6),
      (mid / median(result, copyOf(name))).toFixed(2).padStart(7),
      (median(result, twin) / mid).toFixed(2).padStart(14),
      errors[name] === null ? '' : errors[name].toFixed(2).padStart(9),
    );
  }
}

const inCopies = (result, name) => median(result, name) / median(result, copyOf(name));

/** Prints one line per shape and mode: for each variant, the nanoseconds per value, and how many times a copy's time that is. */
function overview(results) {
  const columns = {
    'by copies': 'batchnorm, out',
    fresh: 'batchnorm, fresh',
    arena: 'batchnorm, arena',
    'arena in place': 'batchnorm, arena in place',
    'tuned JS': 'tuned JS, out',
  };
  const copies = { copy: 'copy X → out', 'copy, arena': 'copy, arena' };
  const widths = { shape: 23, mode: 10, column: 16 };
  print('\nns per value (× the time of a copy; in an arena, of a copy within it).');
  print(
    `“2 threads” is in an arena, with the call repeated for ${LOOP} ms (× faster than one thread, measured in the same way).`,
  );
  print('The last column is the time with relu ÷ without it.');
  const head = [...Object.keys(columns), '2 threads', ...Object.keys(copies), 'relu ÷ none'].map((name) =>
    name.padStart(widths.column),
  );
  print('shape'.padEnd(widths.shape), 'mode'.padEnd(widths.mode), ...head);
  for (const result of results) {
    const known = (name, text) => (median(result, name) === undefined ? '–' : text(name)).padStart(widths.column);
    const time = (name) => (median(result, name) / result.n).toFixed(3);
    const relu = (name) => (median(result, `${name}, relu`) / median(result, name)).toFixed(2);
    print(
      nameOf(result).padEnd(widths.shape),
      result.mode.padEnd(widths.mode),
      ...Object.values(columns).map((each) => known(each, (name) => `${time(name)} (${inCopies(result, name).toFixed(2)})`)),
      known(TWO_THREADS, (name) => `${time(name)} (${(median(result, ONE_THREAD) / median(result, name)).toFixed(2)})`),
      ...Object.values(copies).map((each) => known(each, time)),
      known('batchnorm, out, relu', () => `${relu('batchnorm, out')}, ${relu('batchnorm, arena')}`),
    );
  }
}

/** The size of a bundle that imports these names, minified and gzipped (gzip -9). */
function shippedBytes(names) {
  const { outputFiles } = buildSync({
    stdin: { contents: `export ${names} from './js/index.js'`, resolveDir: root },
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
    legalComments: 'none',
  });
  // gzip compresses one percent better than Node's own zlib, which is used if gzip is missing.
  const { stdout } = spawnSync('gzip', ['-9'], { input: outputFiles[0].contents });
  return (stdout ?? gzipSync(outputFiles[0].contents, { level: 9 })).length;
}

/** Milliseconds from the import to the first result. Node's own start does not count: an empty program is measured, too, and its
 * time is subtracted. The two programs alternate. */
function startMilliseconds() {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-'));
  writeFileSync(join(folder, 'empty.mjs'), '');
  writeFileSync(
    join(folder, 'first.mjs'),
    `import { batchNormalization } from ${JSON.stringify(new URL('../js/index.js', import.meta.url).href)};
     batchNormalization({ data: new Float32Array(1536), shape: [2, 3, 16, 16] }, null, null);`,
  );
  const time = (file) => {
    const begin = performance.now();
    execFileSync(process.execPath, [join(folder, file)]);
    return performance.now() - begin;
  };
  const times = { empty: [], first: [] };
  for (let k = 0; k < 41; k++) for (const [name, samples] of Object.entries(times)) samples.push(time(`${name}.mjs`));
  rmSync(folder, { recursive: true });
  return quartiles(times.first)[1] - quartiles(times.empty)[1];
}

/** The worst ratio among the results that a row of the table covers, and the place where it was measured. */
function worst(results, applies, ratio, better) {
  let found = null;
  for (const result of results)
    if (applies(4 * result.n, String(result.shape))) {
      const value = ratio(result);
      if (found === null || better(found.value, value)) found = { value, place: nameOf(result) };
    }
  return found;
}

function summarize(results) {
  const toCopy = (result) => inCopies(result, 'batchnorm, out');
  const faster = (mine, other) => (result) => median(result, other) / median(result, mine);
  const byOut = faster('batchnorm, out', 'tuned JS, out');
  const byFresh = faster('batchnorm, fresh', 'tuned JS, fresh');
  const arenaToCopy = (result) => inCopies(result, 'batchnorm, arena');
  const byCopies = faster('batchnorm, arena', 'batchnorm, out');
  const single = (_, shape) => shape === '1,1,4096,4096';
  const columns = (_, shape) => shape === '64,512,1,1';
  const withRelu = (way) => (result) => median(result, `batchnorm, ${way}, relu`) / median(result, `batchnorm, ${way}`);
  const middle = (bytes) => bytes > MIB / 2 && bytes <= 32 * MIB;
  const tiny = (_, shape) => shape === '2,2,2,2';
  const cached = (_, shape) => ['8,64,56,56', '32,256,14,14', '32,2048,7,7', '128,32,28,28'].includes(shape);
  const small = (_, shape) => cached(0, shape) || shape === '1,3,224,224';
  const twoThreads = faster(TWO_THREADS, ONE_THREAD);
  const rows = [
    ['over 32 MiB, channels fit: × copy', (bytes, shape) => bytes > 32 * MIB && !single(0, shape), toCopy, '≤', 2.8, 1.9],
    ['one channel of 64 MiB: × copy', single, toCopy, '≤', 4, 1.9],
    ['from 0.5 to 32 MiB: × faster than tuned JS', middle, byOut, '≥', 2, 3, 2],
    ['over 32 MiB: × faster than tuned JS', (bytes) => bytes > 32 * MIB, byOut, '≥', 2, 1.8, 2],
    ['(64,512,1,1): × faster than tuned JS', columns, byOut, '≥', 3, 2],
    ['(2,2,2,2): × faster than plain JS, same checks', tiny, byFresh, '≥', 1, 1],
    ['fresh output over 1 MiB: × faster than tuned JS', (bytes) => bytes > MIB, byFresh, '≥', 1.5, 1.3],
    ['arena to arena, 6 to 13 MiB: × copy', cached, arenaToCopy, '≤', 2.4, 1.2],
    ['arena to arena, 0.6 to 13 MiB: × faster than by copies', small, byCopies, '≥', 1.3, 1.35, 1.3],
    ['relu, from 0.5 to 32 MiB: × without', middle, withRelu('out'), '≤', 1.05, 1.05],
    ['relu, arena to arena: × without', middle, withRelu('arena'), '≤', 1.05, 1.05],
    ['two threads, 0.5 to 32 MiB: × faster than one', middle, twoThreads, '≥', 1.7, 1.7, 1.7],
  ];
  print('\nWhat must be reached (the worst shape of each row)');
  const table = [];
  for (const [name, applies, ratio, sign, ...limits] of rows)
    limits.forEach((limit, k) => {
      const mode = MODES[k];
      const found = worst(
        results.filter((result) => result.mode === mode),
        applies,
        ratio,
        (a, b) => (sign === '≤' ? b > a : b < a),
      );
      if (found === null) return;
      const reached = sign === '≤' ? found.value <= limit : found.value >= limit;
      table.push({ name, mode, ...found, sign, limit, reached });
      print(
        name.padEnd(54),
        mode.padEnd(10),
        `${found.value.toFixed(2)} ${sign} ${limit}`.padEnd(12),
        reached ? 'reached' : 'NOT REACHED',
        found.place,
      );
    });
  return table;
}

const { machine, revision } = conditions();
print(
  `${machine}\nbatchnorm at ${revision}, ${backend()}; medians [quartiles] of up to 101 rounds, variants alternate; GB/s count what is read and written once`,
);
const results = [];
for (const place of places)
  for (const mode of MODES) {
    results.push(await measure(place, mode));
    report(results.at(-1));
  }
overview(results);
const table = chosen.length === 0 ? summarize(results) : [];
const arenaMemory = new Arena(64).tensor([16]).data.buffer.byteLength - 64;
const linearMemory = load()?.buffer.byteLength ?? 0;
const shipped = { forward: shippedBytes('{ batchNormalization }'), all: shippedBytes('*') };
const limits = { linearMemory, arenaMemory, shipped, start: startMilliseconds() };
print(`linear memory ${limits.linearMemory} bytes (≤ ${8 * MIB})`);
print(`an arena's memory besides its tensors ${limits.arenaMemory} bytes`);
print(`what an app ships, minified and gzipped: ${shipped.forward} bytes (≤ 10000) with the forward call alone`);
print(`with all of the main entry: ${shipped.all} bytes (≤ 14000)`);
print(`import to first result beyond Node's own start: ${limits.start.toFixed(1)} ms (≤ 5)`);
if (json) console.log(JSON.stringify({ machine, revision, backend: backend(), results, table, limits }));
