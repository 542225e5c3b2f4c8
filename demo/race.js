/* "Race": this package against plain JavaScript and the copy, and on demand other libraries, in this browser. */
import { COPY, quartiles } from '../bench/samples.js';
import { byId, chosen, codeBlock, copyText, element, fillTable } from './page.js';
import { work } from './work.js';

const LABELS = {
  'batchnorm, out': 'batchnorm, out reused',
  'batchnorm, fresh': 'batchnorm, fresh output',
  'plain JS, out': 'plain JavaScript, out reused',
  'plain JS, fresh': 'plain JavaScript, fresh output',
  [COPY]: 'copy of X',
};

/** Nanoseconds in a unit that suits them. */
function duration(ns) {
  if (ns < 1e3) return `${ns.toPrecision(3)} ns`;
  return ns < 1e6 ? `${(ns / 1e3).toPrecision(3)} µs` : `${(ns / 1e6).toPrecision(3)} ms`;
}

/** Bytes of files as this page loads them, and gzipped. @param {string[]} urls */
async function bytesOf(urls) {
  const bodies = await Promise.all(urls.map(async (url) => (await fetch(url)).blob()));
  let gzipped = 0;
  for (const body of bodies)
    gzipped += (await new Response(body.stream().pipeThrough(new CompressionStream('gzip'))).arrayBuffer()).byteLength;
  const bytes = bodies.reduce((sum, body) => sum + body.size, 0);
  return `${bytes.toLocaleString('en')} bytes, ${gzipped.toLocaleString('en')} gzipped`;
}

export function startRace() {
  // Other libraries are there where a development server offers them.
  const offer = document.querySelector('meta[name="peers"]')?.content;
  byId('race-peers-label').hidden = !offer;
  let markdown = '';
  let racing = false;

  async function race() {
    const shape = byId('race-shape').value.split(',').map(Number);
    const training = chosen('race-mode') === 'training';
    const peers = offer && byId('race-peers').checked ? new URL(offer, location.href).href : null;
    if (racing) return;
    racing = true;
    byId('race-go').setAttribute('aria-disabled', 'true');
    byId('race-markdown').hidden = true;
    byId('race-status').textContent = 'Verifying, warming up, and taking turns…';
    try {
      const seconds = peers ? 6 : 3;
      const result = await work(byId('race-work'), 'race', { shape, training, seconds, peers });
      byId('race-status').textContent = result === undefined ? 'Stopped.' : '';
      if (result !== undefined) show(result, shape, training);
      if (result?.loaded.length > 0)
        byId('race-peers-bytes').textContent =
          `Downloaded for the other two libraries, minified: ${await bytesOf(result.loaded)}. TensorFlow.js has X with channels last, as it prefers.`;
    } catch (error) {
      byId('race-status').textContent = `The race failed: ${error.message}`;
    }
    racing = false;
    byId('race-go').removeAttribute('aria-disabled');
    byId('race-share').disabled = markdown === '';
  }

  function show({ calls, failures, backend }, shape, training) {
    const values = shape.reduce((product, size) => product * size, 1);
    const rows = Object.entries(calls)
      .filter(([name]) => !name.endsWith(', alone'))
      .map(([name, { samples, error }]) => ({ name: LABELS[name] ?? name, ns: quartiles(samples)[1], error }))
      .sort((a, b) => a.ns - b.ns);
    const copy = rows.find(({ name }) => name === LABELS[COPY]).ns;
    // X read and the output written: eight bytes a value.
    const speed = (ns) => (8 * values) / ns;
    // The bars compare contenders; the copy is beyond them.
    const best = Math.max(...rows.filter(({ name }) => name !== LABELS[COPY]).map(({ ns }) => speed(ns)));
    const table = byId('race-table');
    table.hidden = false;
    const title = `[${shape.join(', ')}], ${((4 * values) / 2 ** 20).toPrecision(3)} MiB, ${training ? 'training' : 'inference'}, medians; ${backend}`;
    table.caption.textContent = title;
    fillTable(
      byId('race-numbers'),
      rows.map(({ name, ns, error }) => [
        name,
        duration(ns),
        element(
          'span',
          {},
          speed(ns).toPrecision(3),
          element('span', { className: 'bar', style: `width: ${Math.min(100, (100 * speed(ns)) / best)}%` }),
        ),
        (ns / copy).toPrecision(3),
        error === null ? '–' : error.toPrecision(2),
      ]),
    );
    for (const row of byId('race-numbers').rows) row.className = row.cells[0].textContent.startsWith('batchnorm') ? 'own' : '';
    const failed = Object.entries(failures).map(([name, why]) => `${name}: ${why}`);
    byId('race-status').textContent = failed.length > 0 ? `Not in the race: ${failed.join('; ')}.` : '';
    markdown = [
      `**batchnorm in my browser**: ${title}`,
      '',
      '| | time a call | GB/s | × a copy | largest error found, ULP |',
      '|---|---|---|---|---|',
      ...rows.map(
        ({ name, ns, error }) =>
          `| ${name} | ${duration(ns)} | ${speed(ns).toPrecision(3)} | ${(ns / copy).toPrecision(3)} | ${error === null ? '–' : error.toPrecision(2)} |`,
      ),
      '',
      navigator.userAgent,
    ].join('\n');
  }

  byId('race-go').addEventListener('click', race);
  byId('race-share').addEventListener('click', async () => {
    const copied = await copyText(markdown);
    byId('race-status').textContent = copied ? 'Copied.' : 'The clipboard is closed to this page; here is the text.';
    byId('race-markdown').hidden = copied;
    byId('race-markdown').value = markdown;
    if (!copied) byId('race-markdown').select();
  });
  codeBlock(
    byId('race-code'),
    `import { batchNormalization } from 'batchnorm';

const out = { data: new Float32Array(X.data.length), shape: X.shape };
batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true);          // a fresh output
batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true, { out }); // into memory that is there
out.data.set(X.data);                                                                  // the limit`,
  );
  const own = [...new Set(performance.getEntriesByType('resource').map(({ name }) => name))].filter((name) =>
    /\/js\/[\w-]+\.js$/.test(name),
  );
  bytesOf(own)
    .then(
      (bytes) =>
        `Downloaded for this package: its ${own.length} source files with all their comments, ${bytes}. A bundler leaves 10 to 16 KB of it.`,
    )
    .catch(() => '')
    .then((text) => {
      byId('race-bytes').textContent = text;
    });
}
