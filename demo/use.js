/* "Use it": code that can be changed, run in a worker of its own, errors in the library's words. */
import { byId, element } from './page.js';

const EXAMPLES = {
  'training, then inference': `import { batchNormalization } from 'batchnorm';

// B, C, H, W: one image, two channels, 2 × 2
const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
const gamma = [1, 1];
const beta = [0, 5];

const [output, runningMean, runningVar] = batchNormalization(X, gamma, beta);
console.log(output.data);
console.log(runningMean.data, runningVar.data);

const [inferred] = batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, false);
console.log(inferred.data);`,
  'a gamma of the wrong length': `import { batchNormalization } from 'batchnorm';

const X = { data: new Float32Array(24), shape: [2, 3, 2, 2] };
batchNormalization(X, [1, 1], [0, 0, 0]); // X has three channels`,
  'in place': `import { batchNormalization } from 'batchnorm';

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [4, 1, 1, 1] };
const [output] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
console.log(output === X, X.data);`,
  'far from zero': `import { batchNormalization } from 'batchnorm';

// neighbouring float32 numbers are 1 apart here
const X = { data: Float32Array.of(16777212, 16777213, 16777214, 16777215), shape: [4, 1, 1, 1] };
const [output, mean] = batchNormalization(X, null, null, null, null, 0);
console.log(output.data); // as of 1, 2, 3, 4
console.log(mean.data);`,
};

/* Runs in the worker: gives what is logged as text, some lines at a time and 500 at most, since code may log without end; and
 * the first error. */
const RUNNER = `
const show = (value, depth = 0) => {
  if (depth > 3) return '…';
  if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    const some = Array.from(value).slice(0, 24);
    const text = some.map((item) => (value instanceof Float32Array ? String(Number(item.toPrecision(7))) : show(item, depth + 1)));
    const name = Array.isArray(value) ? '' : value.constructor.name + '(' + value.length + ') ';
    return name + '[' + text.join(', ') + (value.length > 24 ? ', …' : '') + ']';
  }
  if (value?.constructor === Object)
    return '{ ' + Object.entries(value).map(([key, item]) => key + ': ' + show(item, depth + 1)).join(', ') + ' }';
  return String(value);
};
const MOST = 500;
let lines = [];
let count = 0;
let sent = 0;
const send = () => {
  if (lines.length > 0) postMessage({ lines });
  lines = [];
  sent = performance.now();
};
for (const method of ['log', 'info', 'warn', 'error', 'debug'])
  console[method] = (...values) => {
    count++;
    if (count > MOST) return;
    lines.push(count < MOST ? values.map((value) => show(value)).join(' ') : '… and no more is shown');
    if (count === MOST || performance.now() > sent + 50) send();
  };
const fail = (error) => {
  send();
  postMessage({ error: String(error) });
};
addEventListener('unhandledrejection', ({ reason }) => fail(reason));
addEventListener('message', async ({ data }) => {
  try {
    await import(data);
    // A moment for what was set going.
    setTimeout(() => {
      send();
      postMessage({ done: true });
    }, 500);
  } catch (error) {
    fail(error);
  }
});`;

export function startUse() {
  const code = byId('use-code');
  const output = byId('use-output');
  const example = byId('use-example');
  example.append(...Object.keys(EXAMPLES).map((name) => element('option', {}, name)));
  const choose = () => {
    code.value = EXAMPLES[example.value];
  };
  example.addEventListener('change', choose);
  choose();

  let stop = () => {};
  function run() {
    stop();
    output.replaceChildren();
    const library = { batchnorm: '../js/index.js', 'batchnorm/js': '../js/index-plain.js' };
    const own = code.value.replace(
      /(\bfrom\s*|\bimport\s*\(?\s*)(['"])(batchnorm(?:\/js)?)\2/g,
      (_, before, quote, name) => before + quote + new URL(library[name], import.meta.url).href + quote,
    );
    const urls = [RUNNER, own].map((text) => URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
    const worker = new Worker(urls[0], { type: 'module' });
    byId('use-stop').disabled = false;
    const end = (line, className = '') => {
      worker.terminate();
      for (const url of urls) URL.revokeObjectURL(url);
      byId('use-stop').disabled = true;
      stop = () => {};
      if (line) output.append(element('span', { className }, `${line}\n`));
    };
    stop = () => end('Stopped.');
    worker.onmessage = ({ data }) => {
      if (data?.lines) output.append(`${data.lines.join('\n')}\n`);
      else if (data?.error) end(data.error, 'error');
      else if (data?.done) end(output.textContent === '' ? 'It ran; console.log shows values here.' : '');
    };
    worker.onerror = ({ message }) => end(message || 'The code could not be loaded.', 'error');
    worker.postMessage(urls[1]);
  }
  byId('use-run').addEventListener('click', run);
  byId('use-stop').addEventListener('click', () => stop());
  code.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) run();
  });
}
