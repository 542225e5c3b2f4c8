/* "Use it": code that can be changed, run in a worker of its own, errors in the library's words with their line. */
import { control, keep } from './address.js';
import { EXAMPLE as far } from './break.js';
import { byId, element } from './page.js';
import { EXAMPLE as race } from './race.js';
import { EXAMPLE as running } from './running.js';
import { EXAMPLE as see } from './see.js';
import { EXAMPLE as train } from './train.js';

/** By the section that they are about, or a name of their own. Titles are short: WebKit counts what a select cuts off as width of the page. */
const EXAMPLES = {
  see: { title: 'first calls', text: see },
  break: { title: 'far from zero', text: far },
  train: { title: 'a layer', text: train },
  running: { title: 'one by one', text: running },
  race: { title: 'a race', text: race },
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
/** The visitor's own text, once there is one. */
const OWN = 'own';

/* Runs in the worker: sends what is logged as text, some lines at a time and 500 at most, since code may log without end; the first
 * error with its line in the code; and that all is done, timers included. What comes after that is still shown. */
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
let done = false;
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
    if (done || count === MOST || performance.now() > sent + 50) send();
  };

/* Timers that are still to come: the code is not done before them. */
const later = setTimeout;
const pending = new Set();
const settle = () => later(() => {
  if (done || !imported || pending.size > 0) return;
  done = true;
  send();
  postMessage({ done: performance.now() - begin });
});
for (const [start, stop, repeats] of [['setTimeout', 'clearTimeout'], ['setInterval', 'clearInterval', true]]) {
  const [begin, end] = [self[start], self[stop]];
  self[start] = (run, ...rest) => {
    const id = begin((...values) => {
      if (!repeats) pending.delete(id);
      try {
        run(...values);
      } finally {
        settle();
      }
    }, ...rest);
    pending.add(id);
    return id;
  };
  self[stop] = (id) => {
    pending.delete(id);
    end(id);
    settle();
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
    settle();
  } catch (error) {
    fail(error);
  }
});`;

/**
 * The line of code that cannot be parsed, in Chromium, where the error itself does not say it, nor a worker: a frame's window does. If
 * it can be parsed after all, its first statement ends it.
 * @param {string} text @returns {Promise<number>} 0 if there is none
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
  const say = (text) => {
    byId('use-state').textContent = text;
  };

  /** What the visitor typed is kept: it becomes an example itself. */
  let own = '';
  const choose = () => {
    code.value = example.value === OWN ? own : EXAMPLES[example.value].text;
  };
  const takeOwn = (text) => {
    own = text;
    if (!example.querySelector(`[value="${OWN}"]`)) example.append(element('option', { value: OWN }, 'your own'));
    example.value = OWN;
  };
  /** Once the visitor has chosen or typed, the text stays. */
  let touched = false;
  example.addEventListener('change', () => {
    touched = true;
    choose();
  });
  code.addEventListener('input', () => {
    touched = true;
    takeOwn(code.value);
  });
  choose();

  /** The section that the visitor last did something in: its example is there on arrival. */
  let from = '';
  const arrive = () => {
    if (touched || !EXAMPLES[from] || example.value === from) return;
    example.value = from;
    choose();
  };
  const sectionOf = (node) => node?.closest?.('main > section')?.id;
  for (const type of ['pointerdown', 'keydown', 'change'])
    document.addEventListener(type, ({ target, isTrusted }) => {
      const section = sectionOf(target);
      if (isTrusted && section && section !== 'use') from = section;
    });
  document.addEventListener('click', ({ target }) => {
    if (!target.closest('a[href="#use"]')) return;
    from ||= sectionOf(document.elementFromPoint(innerWidth / 2, innerHeight / 2)) ?? '';
    arrive();
  });
  new IntersectionObserver((entries) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) arrive();
  }).observe(code);

  let stop = () => {};
  /** The worker of the last run; it may still log after it is done. */
  let last;
  function run() {
    stop();
    last?.terminate();
    output.replaceChildren();
    say('Running…');
    const library = { batchnorm: '../js/index.js', 'batchnorm/js': '../js/index-plain.js' };
    const runnable = code.value.replace(
      /(\bfrom\s*|\bimport\s*\(?\s*)(['"])(batchnorm(?:\/js)?)\2/g,
      (_, before, quote, name) => before + quote + new URL(library[name], import.meta.url).href + quote,
    );
    const urls = [RUNNER, runnable].map((text) => URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
    const worker = new Worker(urls[0], { type: 'module' });
    last = worker;
    const began = performance.now();
    byId('use-stop').disabled = false;
    const end = (state) => {
      for (const url of urls) URL.revokeObjectURL(url);
      byId('use-stop').disabled = true;
      stop = () => {};
      say(state);
    };
    const fail = async ({ error: message, line, syntax }) => {
      worker.terminate();
      if (syntax && !(line > 0)) line = await lineOfSyntaxError(runnable);
      if (worker !== last) return;
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
          `Done in ${seconds(data.done)}${output.textContent === '' ? '. Nothing was logged: console.log shows values here.' : ''}`,
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
    // Code of one's own can be shared as well; nothing runs before it is asked to.
    code: {
      get: () => (example.value === OWN ? own : ''),
      set(text) {
        if (text === '') return false;
        takeOwn(text);
        touched = true;
        choose();
        return true;
      },
    },
  });
}
