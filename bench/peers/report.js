/* The results as Markdown and as plots. Pure: results in, text out. */
import { withMarked } from '../../tools/marked.js';
import { MODES, nameOf } from '../cases.js';
import { duration, fileSize, memorySize } from '../format.js';
import { COPY, quartiles } from '../samples.js';
import { WRONG } from './measure.js';

const MIB = 2 ** 20;
const LABELS = {
  'plain JS': 'plain JavaScript',
  'tfjs-wasm': 'TensorFlow.js wasm',
  'tfjs-cpu': 'TensorFlow.js cpu',
};
const labelOf = (name) => LABELS[name] ?? name;

/* ---- numbers and words -------------------------------------------------------------------------------------------- */

const median = ({ samples }) => quartiles(samples)[1];
/** The median of a few numbers. */
const middle = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** A difference between two processes, which varies by about 1 MiB from run to run. */
const memory = (bytes) => (bytes < MIB ? '< 1 MiB' : memorySize(bytes));
const milliseconds = (time) => (time < 1 ? '< 1 ms' : `${time.toFixed(0)} ms`);
const factor = (ratio) => {
  if (Number.isNaN(ratio)) return '–';
  return ratio < 10 ? ratio.toFixed(1) : Math.round(ratio).toLocaleString('en-US');
};
/** An error in units in the last place: large ones to one digit. */
const ulps = (error) => {
  if (error === null || !Number.isFinite(error)) return 'NaN';
  return error < 1000 ? error.toFixed(1) : Number(error.toPrecision(1)).toLocaleString('en-US');
};
/** The median of some ratios, and their range. */
const spread = (ratios) => {
  if (ratios.length === 0) return '–';
  return `${factor(middle(ratios))} (${factor(Math.min(...ratios))} to ${factor(Math.max(...ratios))})`;
};
const listed = (words) => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`);
const wordOf = (mode) => (mode === 'gradient' ? 'the gradient' : mode);
const titled = (mode) => mode[0].toUpperCase() + mode.slice(1);
const table = (head, rows) => [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/* ---- what was measured -------------------------------------------------------------------------------------------- */

/** Nanoseconds of a contender's call. 'out' is a call with a reused output, and 'arena' one in an arena, if it has that. */
function time(results, contender, kind) {
  const reused = results[`${contender}, out`];
  const fresh = results[`${contender}, fresh`];
  const inArena = kind === 'arena' ? results[`${contender}, arena`] : undefined;
  const call = kind === 'fresh' ? fresh : (inArena ?? reused ?? fresh);
  return call === undefined ? null : median(call);
}

/** Nanoseconds of computation alone, on data that are already in the contender's memory. For a contender that never copies, this
 * is the whole call. */
function timeAlone(results, contender) {
  if (results[`${contender}, arena`]) return median(results[`${contender}, arena`]);
  if (results[`${contender}, alone`]) return median(results[`${contender}, alone`]);
  for (const [layers, layer] of [
    ['nine layers, out', 'out'],
    ['nine layers', 'fresh'],
  ])
    if (results[`${contender}, ${layers}`]) {
      const eight = median(results[`${contender}, ${layers}`]) - median(results[`${contender}, ${layer}`]);
      // A negative time is noise.
      return eight > 0 ? eight / 8 : null;
    }
  return ['PyTorch', 'NumPy', 'plain JS'].includes(contender) ? time(results, contender, 'out') : null;
}

/** The contenders that were called in a mode, since some have no gradient. */
const contendersOf = ({ cases, versions }, mode) =>
  Object.keys(versions).filter((name) =>
    cases.some(
      ({ mode: other, together, failures }) =>
        other === mode && [...Object.keys(together), ...Object.keys(failures)].some((call) => call.split(',')[0] === name),
    ),
  );

const isLarge = ({ n }) => 4 * n >= MIB / 2;

/** A contender's time divided by this package's, for each case of a mode in which both were timed. */
const ratios = (cases, mode, peer, timeOf) =>
  cases
    .filter((each) => each.mode === mode)
    .map((each) => [timeOf(each, peer), timeOf(each, 'batchnorm')])
    .filter((pair) => pair.every((value) => value !== null))
    .map(([theirs, ours]) => theirs / ours);

/** All libraries in one process, alternating. */
const together =
  (kind) =>
  ({ together: results }, name) =>
    time(results, name, kind);
/** Each library in a process of its own. Times are divided by a copy's, because the clock may differ between processes. */
const apart = ({ alone }, name) => {
  const call = alone[name] && time(alone[name], name, 'out');
  return call ? call / median(alone[name][COPY]) : null;
};

/** One row per contender and one column per mode: the median of the ratios, and their range. */
function ratiosTable({ cases, versions }, timeOf) {
  const peers = Object.keys(versions).slice(1);
  return table(
    ['times this package’s time', ...MODES],
    peers.map((peer) => [labelOf(peer), ...MODES.map((mode) => spread(ratios(cases, mode, peer, timeOf)))]),
  );
}

/** On how many shapes this package is the fastest, and which contenders are on the others. */
function fastest({ cases, versions }, mode, timeOf) {
  const wins = new Map();
  const chosen = cases.filter((each) => each.mode === mode);
  for (const each of chosen) {
    const times = Object.keys(versions).map((name) => [timeOf(each, name) ?? Number.POSITIVE_INFINITY, name]);
    const [[, winner]] = times.sort(([a], [b]) => a - b);
    wins.set(winner, (wins.get(winner) ?? 0) + 1);
  }
  const own = wins.get('batchnorm') ?? 0;
  wins.delete('batchnorm');
  const others = [...wins].sort(([, a], [, b]) => b - a).map(([name, count]) => `${labelOf(name)} on ${count}`);
  return `${own} of ${chosen.length} in ${wordOf(mode)}${others.length > 0 ? ` (${listed(others)})` : ''}`;
}

/** Every contender's time in one mode, and how many times this package's time that is. The fastest is bold. */
function timesTable({ cases, versions }, mode, kind) {
  const contenders = contendersOf({ cases, versions }, mode);
  const rows = cases
    .filter((each) => each.mode === mode)
    .map(({ together, failures, ...place }) => {
      const times = contenders.map((name) => time(together, name, kind));
      const known = times.filter((value) => value !== null);
      const [own] = times;
      return [
        nameOf(place),
        ...times.map((value, k) => {
          if (value === null) return failures[`${contenders[k]}, fresh`]?.startsWith('wrong') ? 'wrong' : '–';
          const text = `${duration(value)}${k === 0 ? '' : `, ×${factor(value / own)}`}`;
          return value === Math.min(...known) ? `**${text}**` : text;
        }),
      ];
    });
  return table(['shape', ...contenders.map(labelOf)], rows);
}

/** Times of computation alone: this package's in an arena, and the others in multiples of that. */
function aloneTable({ cases, versions }, mode) {
  const peers = contendersOf({ cases, versions }, mode).slice(1);
  const inPlace = (results) => results['batchnorm, arena in place'];
  const chosen = cases.filter((each) => each.mode === mode);
  // The gradient has no call in place.
  const hasInPlace = chosen.some(({ together }) => inPlace(together));
  const rows = chosen.map(({ together, ...place }) => {
    const own = timeAlone(together, 'batchnorm');
    const others = [
      ...(hasInPlace ? [median(inPlace(together))] : []),
      time(together, 'batchnorm', 'out'),
      ...peers.map((name) => timeAlone(together, name)),
    ];
    const cell = (value) => (value === null ? '–' : `${duration(value)}, ×${factor(value / own)}`);
    return [nameOf(place), duration(own), ...others.map(cell)];
  });
  return table(
    ['shape', 'batchnorm, arena', ...(hasInPlace ? ['arena, in place'] : []), 'batchnorm, copying', ...peers.map(labelOf)],
    rows,
  );
}

/** This package's times on the large shapes, divided by the time of a plain copy of X. */
function copiesTable({ cases }) {
  const places = cases.filter((each) => each.mode === MODES[0] && isLarge(each));
  const rows = places.map((place) => [
    nameOf(place),
    memorySize(4 * place.n),
    ...MODES.flatMap((mode) => {
      const { together } = cases.find((each) => each.mode === mode && nameOf(each) === nameOf(place));
      return ['out', 'arena'].map((kind) => (time(together, 'batchnorm', kind) / median(together[COPY])).toFixed(1));
    }),
  ]);
  return table(['shape', 'size', ...MODES.flatMap((mode) => [mode, `${mode}, arena`])], rows);
}

/* ---- threads (threads.js) ------------------------------------------------------------------------------------------ */

/** The results of threads.js, in the form of the others. */
const threaded = ({ threads, versions }) => ({
  cases: threads,
  versions: Object.fromEntries(
    Object.entries(versions).filter(([name]) => threads.some(({ calls: [one] }) => timeAlone(one, name) !== null)),
  ),
});

/** Nanoseconds of computation alone, with a number of threads. */
const withThreads =
  (count) =>
  ({ calls }, name) =>
    timeAlone(calls[count - 1], name);

/** How many times as fast a contender is with two threads as with one, for each case of a mode. */
const gainsOf = (cases, mode, name) =>
  cases
    .filter((each) => each.mode === mode)
    .map((each) => [1, 2].map((count) => withThreads(count)(each, name)))
    .filter((pair) => pair.every((value) => value !== null))
    .map(([one, two]) => one / two);

/** Every contender's times with one and with two threads. The fastest with two is bold. */
function threadsTable({ cases, versions }, mode) {
  const chosen = cases.filter((each) => each.mode === mode);
  const contenders = Object.keys(versions).filter((name) => chosen.some((each) => withThreads(1)(each, name) !== null));
  const rows = chosen.map((each) => {
    const pairs = contenders.map((name) => [1, 2].map((count) => withThreads(count)(each, name)));
    const best = Math.min(...pairs.map(([, two]) => two ?? Number.POSITIVE_INFINITY));
    return [
      nameOf(each),
      ...pairs.map(([one, two]) => {
        if (one === null || two === null) return one === null ? '–' : `${duration(one)} → –`;
        const text = `${duration(one)} → ${duration(two)} (${factor(one / two)})`;
        return two === best ? `**${text}**` : text;
      }),
    ];
  });
  return table(['shape', ...contenders.map(labelOf)], rows);
}

/** The section about two threads. */
function threadsSection(results) {
  const { cases, versions } = threaded(results);
  const { machine, note, revision } = results.threadsConditions;
  const without = Object.keys(versions)
    .map((name) => [name, cases.map(({ failures: [, two] }) => two[name]).find(Boolean)])
    .filter(([, why]) => why)
    .map(([name, why]) => `${labelOf(name)} ${why}.`);
  return `Each library computes with one thread and with two, on data that are already in its memory, as above. For this package, that is an
arena of \`createThreads\`. Each library and number of threads has a process of its own. These take turns, with pauses in which all
threads fall asleep. Each sample repeats the call for at least 50 ms, as a program’s loop does. Before that, the same calls are made without
being timed, because after a pause Linux may run two threads on the same core for some milliseconds. Before all samples, each process makes
calls for a second or two, because V8 compiles their code meanwhile, in threads of its own.

This section was measured on ${sentenceOfMachine(machine, note)}, at revision ${revision}. ${without.join(' ')}
[In browsers](comparison-browsers.md#two-threads), TensorFlow.js has threads.

How many times as fast is a library with two threads as with one? The table has the median over the shapes below, and the range.
About 1 means that it computes batch normalization in one thread in any case.

${table(
  ['two threads against one', ...MODES],
  Object.keys(versions).map((name) => [labelOf(name), ...MODES.map((mode) => spread(gainsOf(cases, mode, name)))]),
)}

With two threads each, the others take this many times this package’s time:

${ratiosTable({ cases, versions }, withThreads(2))}

Each cell below has the time with one thread, the time with two, and how many times as fast two are. The fastest with two is bold.

${MODES.map((mode) => `### ${titled(mode)}\n\n${threadsTable({ cases, versions }, mode)}`).join('\n\n')}`;
}

/* ---- what follows from it ----------------------------------------------------------------------------------------- */

/** The data whose errors the README and the conclusion state. */
const FAR = 'mean 10⁴, deviation 10⁻²';

/** Milliseconds to the first result. If noise makes a contender faster than the bare runtime, the fastest one counts as 0. */
function firstResults(startUp) {
  const least = Math.min(0, ...Object.values(startUp));
  return Object.fromEntries(Object.entries(startUp).map(([name, time]) => [name, time - least]));
}

/** Nanoseconds per value: the median over the large shapes that all of `names` computed. */
function perValue({ cases }, mode, names) {
  const all = cases.filter(
    (each) => each.mode === mode && isLarge(each) && names.every((name) => time(each.together, name, 'out') !== null),
  );
  return {
    count: all.length,
    of: (name) => middle(all.map(({ n, together }) => time(together, name, 'out') / n)),
  };
}

/** The README's table: the figures that decide, compared with the two libraries that most would choose. */
function firstTable(results) {
  const { downloads, startUp, exactness, machine, revision, note } = results;
  const names = ['batchnorm', 'onnxruntime-web', 'tfjs-wasm'];
  const first = firstResults(startUp);
  const training = perValue(results, 'training', names);
  const row = (title, cell) => [title, ...names.map(cell)];
  return `${table(
    ['', '**batchnorm**', 'onnxruntime-web', 'TensorFlow.js (WebAssembly)'],
    [
      row('download of everything, gzipped', (name) => fileSize(downloads[name])),
      row('time to the first result, without Node’s own start', (name) => milliseconds(first[name])),
      row('training time per million values', (name) => duration(training.of(name) * 1e6)),
      row('largest error on data with mean 10⁴, standard deviation 10⁻²', (name) => `${ulps(exactness.training[name][FAR])} ULP`),
    ],
  )}

Measured on ${sentenceOfMachine(machine.replace(/ \(.*/, ''), note)}, at revision ${revision}, with one thread per library. The training time
is the median of ${training.count} shapes. A ULP is one unit in the last place of a float32.`;
}

/** The README with its table replaced. */
export const withFirstTable = (readme, results) => withMarked(readme, 'comparison', firstTable(results));

const sentenceOfMachine = (machine, note) => `${machine}${note ? ` (${note})` : ''}`;

/** The conclusion from the tables. */
function conclusion(results) {
  const { cases, versions, exactness, wrongGamma, downloads, peakMemory } = results;
  const large = { versions, cases: cases.filter(isLarge) };
  const count = large.cases.filter(({ mode }) => mode === MODES[0]).length;
  const inJavaScript = Object.keys(versions).filter((name) => name in downloads && !['batchnorm', 'plain JS'].includes(name));
  const libraries = Object.keys(versions).filter((name) => !['batchnorm', 'plain JS'].includes(name));
  const faster = inJavaScript.filter((name) =>
    MODES.some((mode) => ratios(large.cases, mode, name, together('out')).some((ratio) => ratio < 1)),
  );
  const gains = MODES.map((mode) => {
    const found = large.cases.filter((each) => each.mode === mode);
    const gain = found.map(({ together: calls }) => time(calls, 'batchnorm', 'out') / time(calls, 'batchnorm', 'arena'));
    return `${factor(middle(gain))} times as long in ${wordOf(mode)}`;
  });
  const errors = libraries.map((name) => exactness.training[name][FAR]);
  const silent = libraries.filter((name) => !/^error/.test(wrongGamma[name]));
  const wrong = libraries.filter((name) =>
    cases.some(({ failures }) =>
      Object.entries(failures).some(([call, why]) => call.startsWith(`${name},`) && why.startsWith('wrong')),
    ),
  );
  return `This table says how many times this package’s time each library takes: the median over the ${count} shapes of 0.5 MiB and
more, and the range. Outputs are reused if that is possible. Below 1, the other library is faster.

${ratiosTable(large, together('out'))}

- **Speed.** ${
    faster.length === 0
      ? `No other library that runs in a browser (${listed(inJavaScript.map(labelOf))}) is faster on any of these shapes.`
      : `Of the libraries that run in a browser, ${listed(faster.map(labelOf))} ${faster.length > 1 ? 'are' : 'is'} faster on some of these shapes.`
  } Counting PyTorch and NumPy, this package is the fastest on ${listed(MODES.map((mode) => fastest(large, mode, together('out'))))}.
- **Arena.** Tensors that live in an \`Arena\` are not copied. Without one, a call takes ${listed(gains)} (medians).
- **Threads.** With two threads, this package is ${listed(
    MODES.map((mode) => `${factor(middle(gainsOf(results.threads, mode, 'batchnorm')))} times as fast in ${wordOf(mode)}`),
  )} (medians).
  If each library has two, it is the fastest on ${listed(MODES.map((mode) => fastest(threaded(results), mode, withThreads(2))))}.
- **Exactness.** On data with ${FAR.replace(',', ' and')}, the largest error in training is ${ulps(exactness.training.batchnorm[FAR])} units in the last
  place here, and ${ulps(Math.min(...errors))} to ${ulps(Math.max(...errors))} in the other libraries (${ulps(exactness.training['plain JS'][FAR])} in plain JavaScript
  that sums in double).${wrong.length > 0 ? ` ${listed(wrong.map(labelOf))} ${wrong.length > 1 ? 'are' : 'is'} wrong on a shape below.` : ''}
- **Size.** A browser downloads ${fileSize(downloads.batchnorm)}; ${listed(inJavaScript.map((name) => `${fileSize(downloads[name])} for ${labelOf(name)}`))}.
- **Memory.** Beyond X and the output, the process needs ${memory(peakMemory.batchnorm)}; with the other libraries
  ${memory(Math.min(...libraries.map((name) => peakMemory[name])))} to ${memory(Math.max(...libraries.map((name) => peakMemory[name])))}.
- **Mistakes.** ${silent.length > 0 ? `${listed(silent.map(labelOf))} ${silent.length > 1 ? 'compute' : 'computes'} with a gamma that is too short, without an error.` : 'A gamma that is too short is an error in each library.'}`;
}

/* ---- pages -------------------------------------------------------------------------------------------------------- */

const RAW = 'https://raw.githubusercontent.com/batchnorm/batchnorm/main/docs';
const FILES = 'https://github.com/batchnorm/batchnorm/blob/main';

const picture = (mode) => `<picture>
  <source media="(prefers-color-scheme: dark)" srcset="${RAW}/comparison-${mode}-dark.svg">
  <img alt="Nanoseconds per value, ${mode}, by shape and library" src="${RAW}/comparison-${mode}-light.svg">
</picture>`;

export function comparison(results) {
  const { machine, note, revision, versions, exactness, wrongGamma, startUp, peakMemory, downloads } = results;
  const contenders = Object.keys(versions);
  const first = firstResults(startUp);
  const times = (kind) => MODES.map((mode) => `### ${titled(mode)}\n\n${timesTable(results, mode, kind)}`).join('\n\n');
  const errorsTable = (errors) =>
    table(
      ['data', ...Object.keys(errors).map(labelOf)],
      Object.keys(errors.batchnorm).map((data) => [data, ...Object.values(errors).map((found) => ulps(found[data] ?? null))]),
    );
  const own = (cell) => contenders.map((name) => (cell(name) === undefined ? '–' : cell(name)));
  const large = { versions, cases: results.cases.filter(isLarge) };
  return `# Comparison with other libraries

${conclusion(results)}

Measured on ${sentenceOfMachine(machine, note)}, at revision ${revision}, with one thread per library where nothing else is said. The others are ${contenders
    .slice(1)
    .map((name) =>
      name === 'plain JS'
        ? `plain JavaScript that is tuned by hand ([${versions[name]}](${FILES}/${versions[name]}))`
        : `${labelOf(name)} ${versions[name]}`,
    )
    .join(', ')}.

\`npm run bench:peers\` writes this page; every sample is in [results.json](${FILES}/bench/peers/results.json). There is also a
[comparison in three browsers](comparison-browsers.md). [Performance](performance.md) explains the results.

## How it was measured

Each library does the same work: it takes a plain float32 array and returns one. Its result is verified in float64 before it is timed.
After 50 calls or half a second to warm up, the variants alternate. Times are medians. A call that takes over a second is timed once.

- Each library is called in the way that suits it best. TensorFlow.js gets data whose channels are last. onnxruntime-node, NumPy and
  plain JavaScript write into an output that is reused. onnxruntime-web does not write to an output that it is given, and
  TensorFlow.js takes none, so their outputs are fresh. PyTorch’s outputs are always new, but its allocator was told to keep memory.
- The gradient is that of training, with the statistics that the forward call saved. TensorFlow.js’s gradient is computed by automatic
  differentiation, which computes the output as well.
- “last” marks shapes whose channels are the last dimension. 1 MiB is 2²⁰ bytes; 1 kB is 1000 bytes.
- “wrong” is a result that is off by more than ${WRONG.forward.toLocaleString('en-US')} units in the last place (a gradient: ${WRONG.gradient.toLocaleString('en-US')}). “–” was not
  measured: TensorFlow.js is left out if it takes too long.
- In each row the fastest is bold, and × is how many times this package’s time a library takes.

## The whole call, outputs reused if possible

${picture('training')}

${times('out')}

## The whole call, fresh outputs

${times('fresh')}

## Computation alone

Here the data are already in the memory in which each library computes, and the results stay there. For this package, these are
tensors of an arena; for TensorFlow.js, tensors of its backend. For onnxruntime, the time is an eighth of that of nine layers less one,
for tensors of up to 32 MiB. For PyTorch, NumPy and plain JavaScript, it is that of the whole call, which copies nothing. × is how many
times the first column’s time that is. “In place” overwrites X, and “copying” is this package’s whole call on plain arrays.

${MODES.map((mode) => `### ${titled(mode)}\n\n${aloneTable(results, mode)}`).join('\n\n')}

## Each library in a process of its own

In one process the libraries evict each other’s data from the caches. Here each one runs alone with a plain copy. Times are divided by
that copy’s, since the clock may change from one process to the next. The table has the median over the shapes of 0.5 MiB and more, and
the range.

${ratiosTable(large, apart)}

## Two threads

${threadsSection(results)}

## Compared with a copy

This is the package’s time, divided by that of a plain copy of X. Training cannot take less than two reads of X and one write of the
output; a copy is one read and one write.

${copiesTable(results)}

## The largest error, in units in the last place

In training, with gamma 1, beta 0.5 and epsilon 10⁻⁵. The unit is that of max(|y|, |beta|, |y − beta|).

${errorsTable(exactness.training)}

The gradient, for gradients of mean 0 and deviation 1. gradInput is a difference of two terms, and the unit is that of the larger one.
For gradGamma and gradBeta it is that of the result, or of √N · the root mean square of the gradients, if that is larger.

${errorsTable(exactness.gradient)}

## Other properties

${table(
  ['', ...contenders.map(labelOf)],
  [
    ['a gamma that is too short', ...own((name) => wrongGamma[name].replaceAll('|', '\\|'))],
    [
      'first result of a process, without the start of the bare runtime (the fastest of 11 each)',
      ...own((name) => milliseconds(first[name])),
    ],
    ['peak memory in addition to X, the output (24.5 MiB each) and the bare runtime', ...own((name) => memory(peakMemory[name]))],
    ['what a browser downloads, gzipped', ...own((name) => downloads[name] && fileSize(downloads[name]))],
  ],
)}
`;
}

/** The page of the results in browsers (browsers.js). */
export function browserComparison({ machine, note, revision, browsers, threads }) {
  const contenders = ['batchnorm', 'plain JS', 'onnxruntime-web', 'tfjs-wasm'];
  const versions = Object.fromEntries(contenders.map((each) => [each, '']));
  const [{ cases: first }] = browsers;
  const count = first.filter(({ mode }) => mode === MODES[0]).length;
  const rows = browsers.flatMap(({ name, cases }) =>
    contenders
      .slice(1)
      .map((peer) => [name, labelOf(peer), ...MODES.map((mode) => spread(ratios(cases, mode, peer, together('out'))))]),
  );
  const fresh = browsers.map(
    ({ name, cases }) => `- ${name}: ${MODES.map((mode) => fastest({ cases, versions }, mode, together('fresh'))).join('; ')}`,
  );
  const sections = browsers.map(({ name, cases }) => {
    const results = { cases, versions };
    const tables = MODES.flatMap((mode) => [
      `### ${titled(mode)}, outputs reused if possible\n\n${timesTable(results, mode, 'out')}`,
      `### ${titled(mode)}, fresh outputs\n\n${timesTable(results, mode, 'fresh')}`,
      `### ${titled(mode)}, computation alone\n\n${aloneTable(results, mode)}`,
    ]);
    return `## ${name}\n\n${tables.join('\n\n')}`;
  });
  return `# Comparison in browsers

${sentenceOfMachine(machine, note)}. Revision ${revision}; one thread each, but see [two threads](#two-threads). The browsers are headless, and the page is cross-origin isolated.

This table says how many times this package’s time each library takes: the median over ${count} shapes, and the range. Outputs are
reused if that is possible. Below 1, the other library is faster.

${table(['browser', 'times this package’s time', ...MODES], rows)}

With fresh outputs, all libraries wait for the system to provide memory. This package is then the fastest on this many shapes:

${fresh.join('\n')}

\`npm run bench:browsers\` writes this page. Each time is that of a whole call. The result is verified before it is timed, the variants
alternate, and times are medians. In each row the fastest is bold, and × is how many times this package’s time a library takes. For
“computation alone”, the data are already in the memory in which each library computes, and the results stay there; for this package
that is an arena, and × is how many times that time a library takes. “Copying” is this package’s whole call on plain arrays.

${threads ? browserThreads(threads) : ''}

${sections.join('\n\n')}
`;
}

/** The section about two threads in a browser. */
function browserThreads({ machine, note, revision, name, cases }) {
  const versions = { batchnorm: '', 'onnxruntime-web': '', 'tfjs-wasm': '' };
  return `## Two threads

Each library computes with one thread and with two, on data that are already in its memory. For this package, that is an arena of
\`createThreads\`. Each library and number of threads has a page of its own. These take turns. TensorFlow.js takes no more
threads than half of the cores, so the page pretends to have four. This section was measured in ${name} on
${sentenceOfMachine(machine, note)}, at revision ${revision}. Each cell has the time with one thread, the time with two, and how many times as
fast two are. The fastest with two is bold.

${MODES.map((mode) => `### ${titled(mode)}, two threads\n\n${threadsTable({ cases, versions }, mode)}`).join('\n\n')}`;
}

/* ---- plots -------------------------------------------------------------------------------------------------------- */

const COLORS = ['#e4572e', '#8d99ae', '#2a9d8f', '#457b9d', '#b5838d', '#cdb4a0', '#e9a23b', '#7b6cc4'];

/** A plot with one dot per contender and shape: nanoseconds per value, on a logarithmic axis. */
export function plot({ cases, versions, machine, note }, { mode, dark }) {
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
    return `<circle cx="${at}" cy="${y - 4}" r="${k === 0 ? 6 : 4.5}" fill="${colors[k]}"/>${label(at + 12, y, labelOf(name), k === 0 ? 'font-weight="bold"' : '')}`;
  });
  const rows = chosen.map((place, row) => {
    const y = top + row * step + 12;
    const dots = contenders.map((name, k) =>
      Number.isNaN(values[row][k])
        ? ''
        : `<circle cx="${x(values[row][k]).toFixed(1)}" cy="${y}" r="${k === 0 ? 6.5 : 4.5}" fill="${colors[k]}"><title>${labelOf(name)}: ${values[row][k].toFixed(2)} ns per value</title></circle>`,
    );
    return `<line x1="${left}" x2="${width - right}" y1="${y}" y2="${y}" stroke="${faint}" stroke-dasharray="2 4"/>${label(left - 14, y + 4, nameOf(place), 'text-anchor="end"')}${dots.reverse().join('')}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13" fill="${ink}" role="img" aria-label="Nanoseconds per value, ${mode}, by shape and library">
<rect width="${width}" height="${height}" rx="8" fill="${ground}"/>
${label(22, 24, `Batch normalization, ${mode}: nanoseconds per value, whole call, one thread (less is better)`, 'font-weight="bold"')}
${[...legend, ...lines, ...rows].join('\n')}
${label(22, height - 8, sentenceOfMachine(machine, note), `font-size="11" opacity="0.7"`)}
</svg>
`;
}
