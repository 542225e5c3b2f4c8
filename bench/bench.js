/* How fast, and how exact: this package by copies and in an arena, plain JavaScript, and a copy of X, in one process.
 *   npm run bench [-- --json] [-- --quick] [-- 8,64,56,56 …]
 * Seeded; every variant is verified against float64 before it is timed; variants take turns; medians with quartiles. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { call } from '../js/call.js';
import { Arena, backend, batchNormalization } from '../js/index.js';
import { load } from '../js/loader.js';
import { sizeOf } from '../tests/data.js';
import { arrayOf, largestError, megabytes, problem, quartiles, SHAPES } from './cases.js';
import { machine } from './machine.js';
import { naive, tuned } from './plain.js';

const args = process.argv.slice(2);
const json = args.includes('--json');
/** Seconds to spend on a shape and mode. */
const SECONDS = args.includes('--quick') ? 1 : 6;
/** Milliseconds to warm up each variant: compilers work while the program runs, and take time rather than calls. */
const WARM = 400;
for (const arg of args)
  if (!/^(--json|--quick|\d+,\d+,\d+,\d+)$/.test(arg))
    throw new TypeError(`bench takes --json, --quick and shapes such as 8,64,56,56; got ${arg}`);
const chosen = args.filter((arg) => /^\d/.test(arg)).map((arg) => arg.split(',').map(Number));
const shapes = chosen.length > 0 ? chosen : SHAPES;

const root = fileURLToPath(new URL('..', import.meta.url));
const print = (...words) => json || console.log(...words);

/** The copy that a variant is measured by, between arrays of the same kind. */
const copyOf = (name) => (name.includes('arena') ? 'copy, arena' : 'copy X → out');

/** A problem's variants by name, each a function that returns the triple, a copy null. */
function prepare(shape, training) {
  const given = problem(shape, training);
  const { X, rest } = given;
  const out = arrayOf(X.data.length);
  // What works in place does so on `out`, lest a third array push the others out of the cache.
  const own = { data: out, shape };
  const arena = new Arena(2 * (X.data.byteLength + 64));
  const [from, to] = [arena.tensor(shape), arena.tensor(shape)];
  from.data.set(X.data);
  // With the same checks and allocations.
  const plain = (compute, options) => () => call(compute, X, ...rest, options);
  const variants = {
    'copy X → out': () => {
      out.set(X.data);
      return null;
    },
    'copy, arena': () => {
      to.data.set(from.data);
      return null;
    },
    'copy, fresh': () => {
      X.data.slice();
      return null;
    },
    'batchnorm, out': () => batchNormalization(X, ...rest, { out }),
    'batchnorm, fresh': () => batchNormalization(X, ...rest),
    'batchnorm, in place': () => batchNormalization(own, ...rest, { out: own }),
    'batchnorm, arena': () => batchNormalization(from, ...rest, { out: to }),
    'batchnorm, arena in place': () => batchNormalization(to, ...rest, { out: to }),
    'tuned JS, out': plain(tuned, { out }),
    'tuned JS, fresh': plain(tuned, {}),
    'naive JS, out': plain(naive, { out }),
  };
  return { given, variants };
}

function measure(shape, training) {
  const { given, variants } = prepare(shape, training);
  const n = sizeOf(shape);
  const names = Object.keys(variants);
  const errors = {};
  for (const name of names) {
    if (name.includes('in place')) variants[copyOf(name)]();
    const results = variants[name]();
    errors[name] = results === null ? null : largestError(results[0].data, given);
    if (errors[name] > 4) throw new Error(`${name} is wrong on [${shape}]: ${errors[name]} ULP`);
  }
  const inner = Math.max(1, Math.floor(2e5 / n));
  for (const name of names) {
    const end = performance.now() + WARM;
    for (let i = 0; i < 3 || performance.now() < end; i++) variants[name]();
  }
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  /* Those that allocate take turns among themselves: their buffers are freed, by another thread, in the next one's time. */
  const fresh = names.filter((name) => name.includes('fresh'));
  for (const group of [names.filter((name) => !fresh.includes(name)), fresh]) {
    const end = performance.now() + SECONDS * 1000 * (group.length / names.length);
    for (let round = 0; round < 5 || (round < 101 && performance.now() < end); round++)
      group.forEach((_, k) => {
        const name = group[(k + round) % group.length];
        const call = variants[name];
        call(); // untimed: what came before leaves the caches to it
        const begin = process.hrtime.bigint();
        for (let i = 0; i < inner; i++) call();
        samples[name].push(Number(process.hrtime.bigint() - begin) / inner);
      });
  }
  const of = Object.fromEntries(names.map((name) => [name, quartiles(samples[name])]));
  return { shape, training, n, samples, errors, quartiles: of, inner };
}

const median = (result, name) => result.quartiles[name][1];

function report(result) {
  const { shape, training, n, errors } = result;
  const size = megabytes(shape) >= 1 ? `${megabytes(shape).toFixed(1)} MB` : `${4 * n} bytes`;
  print(`\n(${shape}) ${training ? 'training' : 'inference'}, ${size}`);
  print('variant                    time [quartiles]               ns / value   GB/s  × copy  × faster than JS    ULP');
  for (const [name, [low, mid, high]] of Object.entries(result.quartiles)) {
    const unit = mid > 1e6 ? [1e6, 'ms'] : mid > 1e3 ? [1e3, 'µs'] : [1, 'ns'];
    const time = `${(mid / unit[0]).toFixed(2)} ${unit[1]} [${(low / unit[0]).toFixed(2)}–${(high / unit[0]).toFixed(2)}]`;
    const twin = name.includes('fresh') ? 'tuned JS, fresh' : 'tuned JS, out';
    print(
      name.padEnd(26),
      time.padEnd(30),
      (mid / n).toFixed(3).padStart(10),
      ((8 * n) / mid).toFixed(1).padStart(6),
      (mid / median(result, copyOf(name))).toFixed(2).padStart(7),
      (median(result, twin) / mid).toFixed(2).padStart(14),
      errors[name] === null ? '' : errors[name].toFixed(2).padStart(9),
    );
  }
}

const inCopies = (result, name) => median(result, name) / median(result, copyOf(name));

/** Every shape in one line: nanoseconds per value, and how many copies between arrays of the same kind that is. */
function overview(results) {
  const columns = {
    'by copies': 'batchnorm, out',
    fresh: 'batchnorm, fresh',
    arena: 'batchnorm, arena',
    'arena in place': 'batchnorm, arena in place',
    'tuned JS': 'tuned JS, out',
  };
  const copies = { copy: 'copy X → out', 'copy, arena': 'copy, arena' };
  const widths = { shape: 17, mode: 10, column: 15 };
  print('\nns per value (× the copy; in an arena, the copy between its tensors)');
  const head = [...Object.keys(columns), ...Object.keys(copies)].map((name) => name.padStart(widths.column));
  print('shape'.padEnd(widths.shape), 'mode'.padEnd(widths.mode), ...head);
  for (const result of results) {
    const time = (name) => (median(result, name) / result.n).toFixed(3);
    print(
      `(${result.shape})`.padEnd(widths.shape),
      (result.training ? 'training' : 'inference').padEnd(widths.mode),
      ...Object.values(columns).map((name) => `${time(name)} (${inCopies(result, name).toFixed(2)})`.padStart(widths.column)),
      ...Object.values(copies).map((name) => time(name).padStart(widths.column)),
    );
  }
}

/** What an app ships, minified and gzipped (gzip -9). */
function shippedBytes() {
  const { outputFiles } = buildSync({
    stdin: { contents: "export * from './js/index.js'", resolveDir: root },
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
    legalComments: 'none',
  });
  // Node's own zlib compresses one percent less.
  const { stdout } = spawnSync('gzip', ['-9'], { input: outputFiles[0].contents });
  return (stdout ?? gzipSync(outputFiles[0].contents, { level: 9 })).length;
}

/** Milliseconds from import to the first result, beyond Node's own start, in processes of their own by turns. */
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

const MB = 2 ** 20;

/** The worst ratio over the results that a row of the table is about, and where. */
function worst(results, applies, ratio, better) {
  let found = null;
  for (const result of results)
    if (applies(4 * result.n, String(result.shape))) {
      const value = ratio(result);
      if (found === null || better(found.value, value)) found = { value, shape: result.shape };
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
  const tiny = (_, shape) => shape === '2,2,2,2';
  const cached = (_, shape) => ['8,64,56,56', '32,256,14,14', '32,2048,7,7', '128,32,28,28'].includes(shape);
  const small = (_, shape) => cached(0, shape) || shape === '1,3,224,224';
  const rows = [
    ['over 32 MB, channels fit: × copy', (bytes, shape) => bytes > 32 * MB && !single(0, shape), toCopy, '≤', 2.8, 1.9],
    ['one channel of 64 MB: × copy', single, toCopy, '≤', 4, 1.9],
    ['from 0.5 to 32 MB: × faster than tuned JS', (bytes) => bytes > MB / 2 && bytes <= 32 * MB, byOut, '≥', 2, 3],
    ['over 32 MB: × faster than tuned JS', (bytes) => bytes > 32 * MB, byOut, '≥', 2, 1.8],
    ['(64,512,1,1): × faster than tuned JS', columns, byOut, '≥', 3, 2],
    ['(2,2,2,2): × faster than plain JS, same checks', tiny, byFresh, '≥', 1, 1],
    ['fresh output over 1 MB: × faster than tuned JS', (bytes) => bytes > MB, byFresh, '≥', 1.5, 1.3],
    ['arena to arena, 6 to 13 MB: × copy', cached, arenaToCopy, '≤', 2.4, 1.2],
    ['arena to arena, 0.6 to 13 MB: × faster than by copies', small, byCopies, '≥', 1.3, 1.35],
  ];
  print('\nWhat must be reached (the worst shape of each row)');
  const table = [];
  for (const [name, applies, ratio, sign, ...limits] of rows)
    [true, false].forEach((training, k) => {
      const found = worst(
        results.filter((result) => result.training === training),
        applies,
        ratio,
        (a, b) => (sign === '≤' ? b > a : b < a),
      );
      if (found === null) return;
      const reached = sign === '≤' ? found.value <= limits[k] : found.value >= limits[k];
      table.push({ name, training, ...found, sign, limit: limits[k], reached });
      print(
        name.padEnd(54),
        (training ? 'training' : 'inference').padEnd(10),
        `${found.value.toFixed(2)} ${sign} ${limits[k]}`.padEnd(12),
        reached ? 'reached' : 'NOT REACHED',
        `(${found.shape})`,
      );
    });
  return table;
}

const revision = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout?.trim() || 'unknown';
print(
  `${machine}\nbatchnorm at ${revision}, ${backend()}; medians [quartiles] of up to 101 rounds, variants alternate; GB/s count X read and output written`,
);
const results = [];
for (const shape of shapes)
  for (const training of [true, false]) {
    results.push(measure(shape, training));
    report(results.at(-1));
  }
overview(results);
const table = chosen.length === 0 ? summarize(results) : [];
const arenaMemory = new Arena(64).tensor([16]).data.buffer.byteLength - 64;
const linearMemory = load()?.buffer.byteLength ?? 0;
const limits = { linearMemory, arenaMemory, shipped: shippedBytes(), start: startMilliseconds() };
print(`linear memory ${limits.linearMemory} bytes (≤ ${8 * MB})`);
print(`an arena's memory besides its tensors ${limits.arenaMemory} bytes`);
print(`what an app ships, minified and gzipped: ${limits.shipped} bytes (≤ 9000)`);
print(`import to first result beyond Node's own start: ${limits.start.toFixed(1)} ms (≤ 5)`);
if (json) console.log(JSON.stringify({ machine, revision, backend: backend(), results, table, limits }));
