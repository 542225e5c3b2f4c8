/* The results as Markdown and as plots. Pure: results in, text out. */
import { MODES, nameOf } from '../cases.js';
import { COPY, quartiles } from '../samples.js';
import { WRONG } from './measure.js';

const MB = 2 ** 20;
const BROWSER = ['onnxruntime-web', 'tfjs-wasm', 'plain JS'];
const JAVASCRIPT = [...BROWSER, 'tfjs-cpu', 'onnxruntime-node'];

const median = ({ samples }) => quartiles(samples)[1];

/** Nanoseconds of the best of a contender's calls: in its arena or with reuse where it has that, or fresh. */
function time(results, contender, kind) {
  const reused = results[`${contender}, out`];
  const fresh = results[`${contender}, fresh`];
  const there = kind === 'arena' ? results[`${contender}, arena`] : undefined;
  const call = kind === 'fresh' ? fresh : (there ?? reused ?? fresh);
  return call === undefined ? null : median(call);
}

/** Computation alone: on the contender's side already, or where nothing is copied the call itself. */
function timeAlone(results, contender) {
  if (results[`${contender}, arena`]) return median(results[`${contender}, arena`]);
  if (results[`${contender}, alone`]) return median(results[`${contender}, alone`]);
  for (const [layers, layer] of [
    ['nine layers, out', 'out'],
    ['nine layers', 'fresh'],
  ])
    if (results[`${contender}, ${layers}`]) {
      const eight = median(results[`${contender}, ${layers}`]) - median(results[`${contender}, ${layer}`]);
      // Less than nothing is noise.
      return eight > 0 ? eight / 8 : null;
    }
  return ['PyTorch', 'NumPy', 'plain JS'].includes(contender) ? time(results, contender, 'out') : null;
}

const duration = (nanoseconds) => {
  const [size, unit] = nanoseconds >= 1e6 ? [1e6, 'ms'] : nanoseconds >= 1e3 ? [1e3, 'µs'] : [1, 'ns'];
  return `${(nanoseconds / size).toPrecision(3).replace(/\.?0+$/, (zeros) => (zeros.startsWith('.') ? '' : zeros))} ${unit}`;
};
const titled = (mode) => mode[0].toUpperCase() + mode.slice(1);
const table = (head, rows) => [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/** Those that were called in a mode: some have no gradient. */
const contendersOf = ({ cases, versions }, mode) =>
  Object.keys(versions).filter((name) =>
    cases.some(
      ({ mode: other, together, failures }) =>
        other === mode && [...Object.keys(together), ...Object.keys(failures)].some((call) => call.split(',')[0] === name),
    ),
  );

/** One mode, every contender: time, and how many times ours that is; the fastest in bold. */
function timesTable({ cases, versions }, mode, kind) {
  const contenders = contendersOf({ cases, versions }, mode);
  const rows = cases
    .filter((each) => each.mode === mode)
    .map(({ together, failures, ...place }) => {
      const times = contenders.map((name) => time(together, name, kind));
      const known = times.filter((value) => value !== null);
      const own = times[0] ?? median(together[COPY]);
      return [
        nameOf(place),
        ...times.map((value, k) => {
          if (value === null) return failures[`${contenders[k]}, fresh`]?.startsWith('wrong') ? 'wrong' : '–';
          const text = `${duration(value)}${value === own ? '' : `, ×${(value / own).toFixed(value / own < 10 ? 1 : 0)}`}`;
          return value === Math.min(...known) ? `**${text}**` : text;
        }),
      ];
    });
  return table(['shape', ...contenders], rows);
}

const LARGE = ({ n }) => 4 * n >= MB / 2;
const inColumns = ({ shape, axis }) => axis === -1 || String(shape).endsWith(',1,1');
const inCaches = ({ n }) => 4 * n >= MB / 2 && 4 * n <= 32 * MB;

/** The requirements: name, which contenders and cases, ratio, its limit in training, in inference and of the gradient. */
const REQUIREMENTS = [
  ['browser peers, 0.5 MB and more', BROWSER, LARGE, 'out', 3, 2.5, 2],
  ['onnxruntime-node and NumPy, 0.5 MB and more', ['onnxruntime-node', 'NumPy'], LARGE, 'out', 1, 1],
  ['PyTorch, 0.5 MB and more', ['PyTorch'], LARGE, 'out', 1, 0.5],
  ['PyTorch, from an arena, 0.5 to 32 MB', ['PyTorch'], (each) => inCaches(each) && !inColumns(each), 'arena', 1.2, 0.95, 1.2],
  ['the same, channels last or one position', ['PyTorch'], (each) => inCaches(each) && inColumns(each), 'arena', 0.85, 0.95, 1.2],
  ['browser peers, fresh outputs, 0.5 MB and more', BROWSER, LARGE, 'fresh', 1.5, 1.3],
  ['(2, 2, 2, 2), every library', null, ({ shape }) => String(shape) === '2,2,2,2', 'fresh', 1, 1],
  ['(64, 512, 1, 1), every JavaScript peer', JAVASCRIPT, ({ shape }) => String(shape) === '64,512,1,1', 'out', 1, 1],
];

/** The ratio in every case that a requirement is about: all in one process, and each alone. */
function requirements({ cases, versions }) {
  return REQUIREMENTS.flatMap(([name, contenders, applies, kind, ...limits]) =>
    limits.map((limit, k) => {
      const mode = MODES[k];
      const found = [];
      for (const each of cases.filter((one) => one.mode === mode && applies(one)))
        for (const peer of (contenders ?? Object.keys(versions)).filter(
          (one) => one !== 'batchnorm' && time(each.together, one, kind) !== null,
        )) {
          const together = time(each.together, peer, kind) / time(each.together, 'batchnorm', kind);
          // Alone, each in copies of its own process: the machine's clock may differ from one to the next.
          const inCopies = (of) => time(each.alone[of], of, kind) / median(each.alone[of][COPY]);
          found.push({ together, alone: inCopies(peer) / inCopies('batchnorm'), peer, place: nameOf(each) });
        }
      return { name, mode, limit, found };
    }),
  );
}

function requirementsTable(results) {
  const kinds = ['together', 'alone'];
  const rows = requirements(results)
    .filter(({ found }) => found.length > 0)
    .map(({ name, mode, limit, found }) => [
      name,
      mode,
      `≥ ${limit}`,
      ...kinds.map((kind) => {
        const [worst] = [...found].sort((a, b) => a[kind] - b[kind]);
        const misses = found.filter((one) => one[kind] < limit).map((one) => `${one[kind].toFixed(2)} ${one.peer} ${one.place}`);
        if (misses.length === 0) return `reached: ${worst[kind].toFixed(2)} ${worst.peer} ${worst.place} at worst`;
        return `**not reached** in ${misses.length} of ${found.length}: ${misses.join('; ')}`;
      }),
    ]);
  return table(['against', '', 'must be', 'all in one process', 'each alone with the copy, in copies'], rows);
}

function spreadTable({ cases }) {
  const rows = cases.flatMap(({ mode, together, alone, failures, ...place }) =>
    Object.keys(alone).flatMap((name) => {
      const whole = together[`${name}, out`] ? `${name}, out` : `${name}, fresh`;
      const there = ['arena', 'arena in place', 'alone'].map((way) => `${name}, ${way}`).filter((key) => together[key]);
      return [whole, ...there].map((key) => {
        if (!together[key]) return [nameOf(place), mode, key, failures[key], '', ''];
        const cell = (result) => {
          if (!result[key]) return '–';
          const [low, mid, high] = quartiles(result[key].samples);
          return `${duration(mid)} [${duration(low)}–${duration(high)}] × ${(mid / median(result[COPY])).toFixed(2)}`;
        };
        const error = together[key].error;
        return [nameOf(place), mode, key, cell(together), cell(alone[name]), error === null ? '' : error.toFixed(2)];
      });
    }),
  );
  return table(['shape', '', 'call', 'all in one process: median [quartiles] × copy', 'alone with the copy', 'ULP'], rows);
}

export function comparison(results) {
  const { machine, revision, versions, exactness, wrongGamma, startUp, peakMemory, downloads } = results;
  const contenders = Object.keys(versions);
  const ulps = (error) =>
    error === null || !Number.isFinite(error) ? 'NaN' : error < 1000 ? error.toFixed(1) : error.toExponential(0);
  const kib = (bytes) =>
    bytes === undefined ? '–' : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
  const times = (kind) => MODES.map((mode) => `### ${titled(mode)}\n\n${timesTable(results, mode, kind)}`).join('\n\n');
  const errorsTable = (errors) =>
    table(
      ['data', ...Object.keys(errors)],
      Object.keys(errors.batchnorm).map((data) => [data, ...Object.values(errors).map((found) => ulps(found[data] ?? null))]),
    );
  return `# Comparison

Written by \`npm run bench:peers\`, at ${revision}. ${machine}. One thread each. ${Object.entries(versions)
    .slice(1)
    .map((pair) => pair.join(' '))
    .join(', ')}.

The same work for each: a plain array of float32 in, one out, verified against float64 before it is timed. Medians; variants
take turns, after 50 calls or half a second to warm up (what takes over a second is timed once). "Last" are shapes whose channels are
the last dimension. The gradient is in training, with the statistics that the forward call left; that of TensorFlow.js is its automatic
differentiation, which computes the output as well. Every peer is called as suits it best: TensorFlow.js on data that lie
channels last; onnxruntime-node, NumPy, PyTorch and plain JavaScript into an output that is reused (onnxruntime-web leaves an
output that it was given unwritten, so it has fresh ones; TensorFlow.js has no reuse; of PyTorch, whose outputs are always
new, that its allocator has been told to keep memory). Wrong is what is off by more than ${WRONG.forward} units in the last place, in a gradient by more than ${WRONG.gradient}. The
fastest of each row in bold; × is
how many times this package's time a peer takes, so that below 1 the peer is faster.

## The whole call, outputs reused where that is possible

${times('out')}

## The whole call, fresh outputs

${times('fresh')}

## Computation alone

On data that lie on each one's side already, and stay there: this package's from tensor to tensor of an arena, whose times the
others are multiples of; TensorFlow.js's on tensors of its backend; onnxruntime's an eighth of nine layers less one (tensors
of up to 32 MB). For PyTorch, NumPy and plain JavaScript the whole call copies nothing. In place overwrites X; by copies is the
whole call on plain arrays.

${MODES.map((mode) => `### ${titled(mode)}\n\n${aloneTable(results, mode)}`).join('\n\n')}

## What was set out to be reached

${requirementsTable(results)}

[performance.md](performance.md) says where the time goes, and why a row is missed.

## The largest error, in units in the last place

Training, gamma 1, beta 0.5, epsilon 10⁻⁵; of the largest of |output|, |beta| and |output − beta|.

${errorsTable(exactness.training)}

The gradient, of gradients of mean 0 and deviation 1: of gradInput, in those of the larger of the two terms whose difference it is; of
gradGamma and gradBeta, in theirs or of √N · the root mean square of the gradients, whichever is larger.

${errorsTable(exactness.gradient)}

## Beside the speed

${table(
  ['', ...contenders],
  [
    ['a gamma that is too short', ...contenders.map((name) => wrongGamma[name].replaceAll('|', '\\|'))],
    [
      'process start to first result, beyond the bare runtime, the fastest of 11',
      ...contenders.map((name) => `${startUp[name].toFixed(0)} ms`),
    ],
    ['peak memory beyond X, output and the bare runtime, 24.5 MB each', ...contenders.map((name) => kib(peakMemory[name]))],
    ['a browser downloads, gzipped', ...contenders.map((name) => kib(downloads[name]))],
  ],
)}

## Spread

${spreadTable(results)}
`;
}

function aloneTable({ cases, versions }, mode) {
  const peers = contendersOf({ cases, versions }, mode).slice(1);
  const rows = cases
    .filter((each) => each.mode === mode)
    .map(({ together, ...place }) => {
      const own = timeAlone(together, 'batchnorm');
      const inPlace = together['batchnorm, arena in place'];
      const others = [
        inPlace ? median(inPlace) : null,
        time(together, 'batchnorm', 'out'),
        ...peers.map((name) => timeAlone(together, name)),
      ];
      const cell = (value) => (value === null || own === null ? '–' : `${duration(value)}, ×${(value / own).toFixed(1)}`);
      return [nameOf(place), own === null ? '–' : duration(own), ...others.map(cell)];
    });
  return table(['shape', 'batchnorm, arena', 'arena, in place', 'batchnorm, by copies', ...peers], rows);
}

/* ---- plots -------------------------------------------------------------------------------------------------------- */

const COLORS = ['#e4572e', '#8d99ae', '#2a9d8f', '#457b9d', '#b5838d', '#cdb4a0', '#e9a23b', '#7b6cc4'];

/** Nanoseconds a value of each contender on each shape, a dot each, on a logarithmic axis. */
export function plot({ cases, versions, machine }, { mode, dark }) {
  const contenders = contendersOf({ cases, versions }, mode);
  const colors = contenders.map((name) => COLORS[Object.keys(versions).indexOf(name)]);
  const chosen = cases.filter((each) => each.mode === mode && each.n >= 1000);
  const [ink, faint, ground] = dark ? ['#e6edf3', '#3d444d', '#0d1117'] : ['#1f2328', '#d1d9e0', '#ffffff'];
  const [left, right, top, step] = [170, 30, 92, 30];
  const width = 860;
  const height = top + chosen.length * step + 54;
  const values = chosen.map(({ n, together }) => contenders.map((name) => (time(together, name, 'out') ?? Number.NaN) / n));
  const known = values.flat().filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...known)) * 2) / 2;
  const high = Math.ceil(Math.log10(Math.max(...known)) * 2) / 2;
  const x = (value) => left + ((Math.log10(value) - low) / (high - low)) * (width - left - right);
  const label = (at, y, words, more = '') => `<text x="${at}" y="${y}" ${more}>${words}</text>`;
  const ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].filter(
    (tick) => Math.log10(tick) >= low && Math.log10(tick) <= high,
  );
  const lines = ticks.map(
    (tick) =>
      `<line x1="${x(tick)}" x2="${x(tick)}" y1="${top - 8}" y2="${height - 46}" stroke="${faint}"/>${label(x(tick), height - 28, tick, 'text-anchor="middle"')}`,
  );
  const legend = contenders.map((name, k) => {
    const [at, y] = [22 + (k % 4) * 205, 48 + Math.floor(k / 4) * 20];
    return `<circle cx="${at}" cy="${y - 4}" r="${k === 0 ? 6 : 4.5}" fill="${colors[k]}"/>${label(at + 12, y, name, k === 0 ? 'font-weight="bold"' : '')}`;
  });
  const rows = chosen.map((place, row) => {
    const y = top + row * step + 12;
    const dots = contenders.map((name, k) =>
      Number.isNaN(values[row][k])
        ? ''
        : `<circle cx="${x(values[row][k]).toFixed(1)}" cy="${y}" r="${k === 0 ? 6.5 : 4.5}" fill="${colors[k]}"><title>${name}: ${values[row][k].toFixed(2)} ns a value</title></circle>`,
    );
    return `<line x1="${left}" x2="${width - right}" y1="${y}" y2="${y}" stroke="${faint}" stroke-dasharray="2 4"/>${label(left - 14, y + 4, nameOf(place), 'text-anchor="end"')}${dots.reverse().join('')}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13" fill="${ink}" role="img" aria-label="Nanoseconds a value, ${mode}, by shape and library">
<rect width="${width}" height="${height}" rx="8" fill="${ground}"/>
${label(22, 24, `Batch normalization, ${mode}: nanoseconds a value, whole call, one thread (less is better)`, 'font-weight="bold"')}
${[...legend, ...lines, ...rows].join('\n')}
${label(22, height - 8, machine, `font-size="11" opacity="0.7"`)}
</svg>
`;
}

/** What browsers found: bench/peers/browsers.js. */
export function browserComparison({ machine, browsers }) {
  const sections = browsers.map(({ name, cases }) => {
    const contenders = ['batchnorm', 'plain JS', 'onnxruntime-web', 'tfjs-wasm'];
    const versions = Object.fromEntries(contenders.map((each) => [each, '']));
    const tables = MODES.flatMap((mode) => {
      const title = titled(mode);
      return [
        ...['out', 'fresh'].map(
          (kind) =>
            `${title}, ${kind === 'out' ? 'outputs reused where that is possible' : 'fresh outputs'}:\n\n${timesTable({ cases, versions }, mode, kind)}`,
        ),
        `${title}, computation alone:\n\n${aloneTable({ cases, versions }, mode)}`,
      ];
    });
    return `## ${name}\n\n${tables.join('\n\n')}`;
  });
  return `# Comparison in browsers

Written by \`npm run bench:browsers\`. ${machine}; headless, the page cross-origin isolated. One thread each, the whole call,
verified before it is timed; medians, variants by turns. The fastest of each row in bold; × is how many times this package's
time a peer takes. Computation alone is on data that lie on each one's side already, and stay there: this package's in an
arena, whose times the others are multiples of; by copies is its whole call on plain arrays.

${sections.join('\n\n')}
`;
}
