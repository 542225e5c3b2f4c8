/* "Use it": an editor whose code runs in its own worker. An error is shown with the library's message and the line of the code. */
import { control, keep } from './address.js';
import { EXAMPLE as far } from './break.js';
import { byId, element } from './page.js';
import { EXAMPLE as race } from './race.js';
import { EXAMPLE as running } from './running.js';
import { EXAMPLE as see } from './see.js';
import { EXAMPLE as train } from './train.js';

/** The examples. The first ones have the name of the section that they belong to. Titles are short, because in WebKit a select makes the
 * page as wide as its longest title, even if it is cut off. */
const EXAMPLES = {
  see: { title: 'first calls', text: see },
  break: { title: 'far from zero', text: far },
  train: { title: 'train a layer', text: train },
  running: { title: 'batch size 1', text: running },
  race: { title: 'timing', text: race },
  wrong: {
    title: 'an error',
    text: `import { batchNormalization } from 'batchnorm';

const X = { data: new Float32Array(24), shape: [2, 3, 2, 2] };
batchNormalization(X, [1, 1], [0, 0, 0]); // X has three channels`,
  },
  place: {
    title: 'in place',
    text: `import { batchNormalization } from 'batchnorm';

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [4, 1, 1, 1] };
const [output] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X });
console.log(output === X, X.data);`,
  },
};
/** The name of the visitor's own code among the examples, once there is some. */
const OWN = 'own';

/* The worker's program. It runs the code and sends three kinds of messages: what is logged, as text, several lines at a time, and 500
 * lines at most, since code may log without end; the first error, with its line in the code; and the time, once the code and its timers
 * are done. Lines that are logged after that (from promises, for instance) are still sent. */
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
const MAX_LINES = 500;
let lines = [];
let count = 0;
let sent = 0;
let done = false;
const send = () => {
  if (lines.length > 0) postMessage({ lines });
  lines = [];
  sent = performance.now();
};
for (const method of ['log', 'info', 'warn', 'error', 'debug'])
  console[method] = (...values) => {
    count++;
    if (count > MAX_LINES) return;
    lines.push(count < MAX_LINES ? values.map((value) => show(value)).join(' ') : '… further lines are not shown');
    if (done || count === MAX_LINES || performance.now() > sent + 50) send();
  };

/* The code is done when no timers are pending. */
const originalSetTimeout = setTimeout;
const pending = new Set();
const checkDone = () => originalSetTimeout(() => {
  if (done || !imported || pending.size > 0) return;
  done = true;
  send();
  postMessage({ done: performance.now() - begin });
});
for (const [setName, clearName, repeats] of [['setTimeout', 'clearTimeout'], ['setInterval', 'clearInterval', true]]) {
  const [setTimer, clearTimer] = [self[setName], self[clearName]];
  self[setName] = (run, ...rest) => {
    const id = setTimer((...values) => {
      if (!repeats) pending.delete(id);
      try {
        run(...values);
      } finally {
        checkDone();
      }
    }, ...rest);
    pending.add(id);
    return id;
  };
  self[clearName] = (id) => {
    pending.delete(id);
    clearTimer(id);
    checkDone();
  };
}

let code;
let imported = false;
let begin;
const fail = (error) => {
  send();
  const frame = String(error?.stack).split('\\n').find((text) => text.includes(code));
  const syntax = error instanceof SyntaxError;
  const line = Number(frame?.match(/:(\\d+):\\d+\\)?$/)?.[1] ?? (syntax ? error.lineNumber ?? error.line : 0));
  postMessage({ error: String(error), line, syntax });
};
addEventListener('unhandledrejection', ({ reason }) => fail(reason));
addEventListener('error', (event) => {
  event.preventDefault();
  fail(event.error);
});
addEventListener('message', async ({ data }) => {
  code = data;
  begin = performance.now();
  try {
    await import(data);
    imported = true;
    checkDone();
  } catch (error) {
    fail(error);
  }
});`;

/**
 * Finds the line of a syntax error. In Chromium, neither the error nor the worker tells it, but the error event of a frame's window does.
 * So this parses the code in a frame. If there is no syntax error, the code is stopped by a statement that is put before it.
 * @param {string} text @returns {Promise<number>} 0 if there is no syntax error
 */
async function lineOfSyntaxError(text) {
  const frame = document.body.appendChild(element('iframe', { hidden: true, title: 'parser' }));
  const src = URL.createObjectURL(new Blob([`throw 0;${text}`], { type: 'text/javascript' }));
  const line = await new Promise((resolve) => {
    frame.contentWindow.addEventListener('error', (event) => {
      event.preventDefault();
      resolve(event.error === 0 ? 0 : event.lineno);
    });
    const script = frame.contentDocument.createElement('script');
    Object.assign(script, { type: 'module', src, onerror: () => resolve(0) });
    frame.contentDocument.head.append(script);
  });
  frame.remove();
  URL.revokeObjectURL(src);
  return line;
}

const seconds = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);

export function startUse() {
  const code = byId('use-code');
  const output = byId('use-output');
  const example = byId('use-example');
  example.append(...Object.entries(EXAMPLES).map(([value, { title }]) => element('option', { value }, title)));
  const showState = (text) => {
    byId('use-state').textContent = text;
  };

  /** The visitor's own code. It is kept as one more example. */
  let ownCode = '';
  const showExample = () => {
    code.value = example.value === OWN ? ownCode : EXAMPLES[example.value].text;
  };
  const keepOwnCode = (text) => {
    ownCode = text;
    if (!example.querySelector(`[value="${OWN}"]`)) example.append(element('option', { value: OWN }, 'your own code'));
    example.value = OWN;
  };
  /** Whether the visitor has chosen an example or typed. Then the page does not choose another example. */
  let touched = false;
  example.addEventListener('change', () => {
    touched = true;
    showExample();
  });
  code.addEventListener('input', () => {
    touched = true;
    keepOwnCode(code.value);
  });
  showExample();

  /** The section that the visitor used last. When they come to this section, the example of that one is shown. */
  let lastSection = '';
  const suggestExample = () => {
    if (touched || !EXAMPLES[lastSection] || example.value === lastSection) return;
    example.value = lastSection;
    showExample();
  };
  const sectionOf = (node) => node?.closest?.('main > section')?.id;
  for (const type of ['pointerdown', 'keydown', 'change'])
    document.addEventListener(type, ({ target, isTrusted }) => {
      const section = sectionOf(target);
      if (isTrusted && section && section !== 'use') lastSection = section;
    });
  document.addEventListener('click', ({ target }) => {
    if (!target.closest('a[href="#use"]')) return;
    lastSection ||= sectionOf(document.elementFromPoint(innerWidth / 2, innerHeight / 2)) ?? '';
    suggestExample();
  });
  new IntersectionObserver((entries) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) suggestExample();
  }).observe(code);

  let stop = () => {};
  /** The worker of the last run. It may still log after the code is done. */
  let lastWorker;
  function run() {
    stop();
    lastWorker?.terminate();
    output.replaceChildren();
    showState('Running…');
    const library = { batchnorm: '../js/index.js', 'batchnorm/js': '../js/index-plain.js' };
    const runnable = code.value.replace(
      /(\bfrom\s*|\bimport\s*\(?\s*)(['"])(batchnorm(?:\/js)?)\2/g,
      (_, before, quote, name) => before + quote + new URL(library[name], import.meta.url).href + quote,
    );
    const urls = [RUNNER, runnable].map((text) => URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
    const worker = new Worker(urls[0], { type: 'module' });
    lastWorker = worker;
    const began = performance.now();
    byId('use-stop').disabled = false;
    const end = (state) => {
      for (const url of urls) URL.revokeObjectURL(url);
      byId('use-stop').disabled = true;
      stop = () => {};
      showState(state);
    };
    const fail = async ({ error: message, line, syntax }) => {
      worker.terminate();
      if (syntax && !(line > 0)) line = await lineOfSyntaxError(runnable);
      if (worker !== lastWorker) return;
      output.append(element('span', { className: 'error' }, `${message}\n${line > 0 ? `    at line ${line}\n` : ''}`));
      end(line > 0 ? `An error at line ${line}` : 'An error');
    };
    stop = () => {
      worker.terminate();
      output.append('Stopped.\n');
      end(`Stopped after ${seconds(performance.now() - began)}`);
    };
    worker.onmessage = ({ data }) => {
      if (data?.lines) output.append(`${data.lines.join('\n')}\n`);
      else if (data?.error) fail(data);
      else if (data?.done !== undefined)
        end(
          `Done in ${seconds(data.done)}${output.textContent === '' ? '. Nothing was logged. Use console.log to show values here.' : ''}`,
        );
    };
    worker.onerror = (event) => {
      event.preventDefault();
      fail({ error: event.message || 'The code could not be loaded.' });
    };
    worker.postMessage(urls[1]);
  }
  byId('use-run').addEventListener('click', run);
  byId('use-stop').addEventListener('click', () => stop());
  code.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) run();
  });

  keep('use', {
    example: control('use-example'),
    // The address can also share the visitor's own code. It only runs when someone clicks Run.
    code: {
      get: () => (example.value === OWN ? ownCode : ''),
      set(text) {
        if (text === '') return false;
        keepOwnCode(text);
        touched = true;
        showExample();
        return true;
      },
    },
  });
}
