/* "Race": times this package, plain JavaScript, a copy, and on request other libraries, in this browser. */
import { duration, memorySize, threeDigits } from '../bench/format.js';
import { COPY, quartiles } from '../bench/samples.js';
import { choice, control, format, keep } from './address.js';
import { byId, chosen, codeBlock, copyText, element, fillTable, twoDigits } from './page.js';
import { runJob } from './work.js';

export const EXAMPLE = `import { Arena, batchNormalization } from 'batchnorm';

const shape = [8, 64, 56, 56];
const size = shape.reduce((product, n) => product * n);
const X = { data: Float32Array.from({ length: size }, Math.random), shape };
const out = new Float32Array(size);
const arena = new Arena(8 * size + 128); // two tensors of 4 · size bytes
const [from, to] = [arena.tensor(shape), arena.tensor(shape)];
from.data.set(X.data);

const time = (name, run) => {
  for (let k = 0; k < 5; k++) run(); // warm up
  const begin = performance.now();
  for (let k = 0; k < 20; k++) run();
  console.log(name, ((performance.now() - begin) / 20).toFixed(2), 'ms per call');
};
time('out reused', () => batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out }));
time('in an arena', () => batchNormalization(from, null, null, null, null, 0.1, 1e-5, true, { out: to }));
time('a copy', () => out.set(X.data));`;

const LABELS = {
  'batchnorm, out': 'batchnorm, out reused',
  'batchnorm, fresh': 'batchnorm, fresh output',
  'batchnorm, arena': 'batchnorm, in an arena',
  'batchnorm, arena in place': 'batchnorm, in place in an arena',
  'plain JS, out': 'plain JavaScript, out reused',
  'plain JS, fresh': 'plain JavaScript, fresh output',
  [COPY]: 'copy of X',
};

/** How the calls on several threads are named, wherever there are any. */
const THREADS = /^batchnorm, arena, (\d+ threads)$/;

/** @param {string} name of a call */
const labelOf = (name) => LABELS[name] ?? name.replace(THREADS, 'batchnorm, in an arena, $1');

/** The median, or the mean if the clock is so coarse that the median is 0. @param {number[]} samples in nanoseconds */
function typical(samples) {
  return quartiles(samples)[1] || samples.reduce((sum, ns) => sum + ns, 0) / samples.length;
}

/** The total size of files, as they are and gzipped, as text. @param {string[]} urls */
async function sizeText(urls) {
  const bodies = await Promise.all(urls.map(async (url) => (await fetch(url)).blob()));
  let gzipped = 0;
  for (const body of bodies)
    gzipped += (await new Response(body.stream().pipeThrough(new CompressionStream('gzip'))).arrayBuffer()).byteLength;
  const bytes = bodies.reduce((sum, body) => sum + body.size, 0);
  return `${bytes.toLocaleString('en')} bytes, ${gzipped.toLocaleString('en')} gzipped`;
}

export function startRace() {
  // The server of npm start adds this element if the other libraries are installed.
  const peersPath = document.querySelector('meta[name="peers"]')?.content;
  byId('race-peers-label').hidden = !peersPath;
  let markdown = '';
  let racing = false;

  async function race() {
    const shape = byId('race-shape').value.split(',').map(Number);
    const training = chosen('race-mode') === 'training';
    const peers = peersPath && byId('race-peers').checked ? new URL(peersPath, location.href).href : null;
    if (racing) return;
    racing = true;
    byId('race-go').setAttribute('aria-disabled', 'true');
    byId('race-markdown').hidden = true;
    byId('race-status').textContent = 'Verifying, warming up, racing…';
    try {
      const seconds = peers ? 6 : 3;
      const result = await runJob(byId('race-work'), 'race', { shape, training, seconds, peers });
      byId('race-status').textContent = result === undefined ? 'Stopped.' : '';
      if (result !== undefined) show(result, shape, training);
      if (result?.loaded.length > 0)
        byId('race-peers-bytes').textContent =
          `The minified files of the other two libraries are ${await sizeText(result.loaded)}. TensorFlow.js gets X with channels last, the order that it prefers.`;
    } catch (error) {
      byId('race-status').textContent = `The race failed: ${error.message}`;
    }
    racing = false;
    byId('race-go').removeAttribute('aria-disabled');
    byId('race-share').disabled = markdown === '';
  }

  function show({ calls, far, failures, backend }, shape, training) {
    const values = shape.reduce((product, size) => product * size, 1);
    const rows = Object.entries(calls)
      .filter(([name]) => !name.endsWith(', alone'))
      .map(([name, { samples, error }]) => ({
        name: labelOf(name),
        key: name,
        ns: typical(samples),
        error,
        far: far[name],
      }))
      .sort((a, b) => a.ns - b.ns);
    const timeOf = (key) => rows.find((row) => row.key === key).ns;
    // In bytes per nanosecond, which are GB/s. Each value is read and written once: 8 bytes.
    const speed = (ns) => (8 * values) / ns;
    const fastest = speed(rows[0].ns);
    const ulps = (error) => (error === null || error === undefined ? '–' : error < 10 ? error.toPrecision(2) : twoDigits(error));
    const table = byId('race-table');
    table.hidden = false;
    const title = `Shape [${shape.join(', ')}], ${memorySize(4 * values)}, ${training ? 'training' : 'inference'}; median times; ${backend}`;
    table.caption.textContent = title;
    const times = (key) => (timeOf('plain JS, out') / timeOf(key)).toFixed(1);
    const arena = calls['batchnorm, arena'] ? `, and ${times('batchnorm, arena')} times with tensors in an arena` : '';
    const shared = Object.keys(calls).find((key) => THREADS.test(key));
    const threads = shared ? `, or ${times(shared)} times on ${THREADS.exec(shared)[1]}` : '';
    const headline = `${times('batchnorm, out')} times as fast as plain JavaScript in your browser${arena}${threads}`;
    byId('race-headline').textContent = headline;
    byId('race-headline').hidden = false;
    fillTable(
      byId('race-numbers'),
      rows.map(({ name, ns, error, far: farError }) => [
        name,
        duration(ns),
        element(
          'span',
          { className: 'meter' },
          element('i', { style: `width: ${(100 * speed(ns)) / fastest}%` }),
          element('span', {}, threeDigits(speed(ns))),
        ),
        threeDigits(ns / timeOf(COPY)),
        ulps(error),
        ulps(farError),
      ]),
    );
    for (const row of byId('race-numbers').rows) row.className = row.cells[0].textContent.startsWith('batchnorm') ? 'own' : '';
    const failed = Object.entries(failures).map(([name, reason]) => `${name}: ${reason}`);
    byId('race-status').textContent = failed.length > 0 ? `Not in the race: ${failed.join('; ')}.` : '';
    const link = new URL(format('race', { shape: shape.join('x'), mode: training ? 'training' : 'inference' }), location.href);
    markdown = [
      `**batchnorm: ${headline}** ([race yours](${link}))`,
      '',
      title,
      '',
      '| | time per call | GB/s | relative to a copy | error near 0, in ULP | error at 10⁶ ± 0.1, in ULP |',
      '|---|---|---|---|---|---|',
      ...rows.map(
        ({ name, ns, error, far: farError }) =>
          `| ${name} | ${duration(ns)} | ${threeDigits(speed(ns))} | ${threeDigits(ns / timeOf(COPY))} | ${ulps(error)} | ${ulps(farError)} |`,
      ),
      '',
      navigator.userAgent,
    ].join('\n');
  }

  byId('race-go').addEventListener('click', race);
  byId('race-share').addEventListener('click', async () => {
    const copied = await copyText(markdown);
    byId('race-status').textContent = copied ? 'Copied.' : 'This page could not write to the clipboard. Copy the text below.';
    byId('race-markdown').hidden = copied;
    byId('race-markdown').value = markdown;
    if (!copied) byId('race-markdown').select();
  });
  codeBlock(
    byId('race-code'),
    `import { Arena, batchNormalization } from 'batchnorm';

const out = { data: new Float32Array(X.data.length), shape: X.shape };
batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true);          // makes a new output
batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true, { out }); // writes into your array
out.data.set(X.data);                                                                  // a copy, the limit

const arena = new Arena(2 * (X.data.byteLength + 64)); // its tensors need no copies
const [from, to] = [arena.tensor(X.shape), arena.tensor(X.shape)];
batchNormalization(from, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true, { out: to });`,
  );
  const ownFiles = [...new Set(performance.getEntriesByType('resource').map(({ name }) => name))].filter((name) =>
    /\/js\/[\w-]+\.js$/.test(name),
  );
  sizeText(ownFiles)
    .then(
      (text) =>
        `This page loaded the package as ${ownFiles.length} source files with all their comments: ${text}. Bundled, minified and gzipped, it is 10 to 17 kB.`,
    )
    .catch(() => '')
    .then((text) => {
      byId('race-bytes').textContent = text;
    });
  keep('race', {
    shape: control('race-shape', {
      write: (value) => value.replaceAll(', ', 'x'),
      read: (text) => text.replaceAll('x', ', '),
    }),
    mode: choice('race-mode'),
  });
}
