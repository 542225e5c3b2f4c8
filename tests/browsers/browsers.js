/* The package in real browsers, without a bundler: npm run test:browsers, or BROWSERS="chromium webkit" npm run test:browsers.
 * Without BROWSERS, a missing browser fails the run. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { serve } from '../../tools/serve.js';
import { compareTable, found, foundThreads, project, root } from '../package/packed.js';
import { all, engines, launch } from './drivers.js';

const page = (script) => `<!doctype html><meta charset="utf-8"><title>batchnorm</title>${script}`;
/* Imports the package's own files: no import map, no bundler. */
const module = (up) => `import * as batchnorm from '${up}node_modules/batchnorm/js/index.js';
import * as plain from '${up}node_modules/batchnorm/js/index-plain.js';
import { run } from '${up}conformance.js';
`;
const THREADS = `import * as batchnorm from './node_modules/batchnorm/js/index.js';
import { createThreads } from './node_modules/batchnorm/js/threads.js';
import { runThreads } from './conformance.js';
`;
const BOTH = '[await runThreads(batchnorm, createThreads, 2), await runThreads(batchnorm, createThreads, 4)]';
/** The documentation's lines for a page that takes the package from a CDN, and the address that they begin with. */
const [cdnLines] = readFileSync(join(root, 'docs/threads.md'), 'utf8').match(/<script type="module">[\s\S]*(?=<\/script>)/);
const [CDN] = cdnLines.match(/https:\/\/cdn\.jsdelivr\.net\/npm\/batchnorm@[\d.]+/);

const folder = project('browsers', {
  'module.html': page('<script type="module" src="module.js"></script>'),
  'module.js': `${module('./')}globalThis.report = run(batchnorm, plain);`,
  'csp/module.html': page('<script type="module" src="module.js"></script>'),
  'csp/module.js': `${module('../')}globalThis.report = run(batchnorm, plain);`,
  'module-worker.html': page('<script src="module-worker.js"></script>'),
  'module-worker.js': `new Worker('worker.js', { type: 'module' }).onmessage = ({ data }) => { globalThis.report = data; };`,
  'worker.js': `${module('./')}postMessage(run(batchnorm, plain));`,
  'classic-worker.html': page('<script src="classic-worker.js"></script>'),
  'classic-worker.js': `new Worker('classic.js').onmessage = ({ data }) => { globalThis.report = data; };`,
  'classic.js': `Promise.all(['./node_modules/batchnorm/js/index.js', './node_modules/batchnorm/js/index-plain.js', './conformance.js']
    .map((path) => import(path))).then(([batchnorm, plain, { run }]) => postMessage(run(batchnorm, plain)));`,
  'posted-module.html': page('<script type="module" src="posted-module.js"></script>'),
  'posted-module.js': `const bytes = await (await fetch('node_modules/batchnorm/js/batchnorm.wasm')).arrayBuffer();
    const worker = new Worker('receiver.js', { type: 'module' });
    worker.onmessage = ({ data }) => { globalThis.report = data; };
    worker.postMessage(await WebAssembly.compile(bytes));`,
  'receiver.js': `${module('./')}onmessage = ({ data }) => { batchnorm.initialize(data); postMessage(run(batchnorm, plain)); };`,
  'threads.html': page('<script type="module" src="threads.js"></script>'),
  'threads.js': `${THREADS}globalThis.report = ${BOTH};`,
  'threads-in-worker.html': page('<script src="threads-in-worker.js"></script>'),
  'threads-in-worker.js': `new Worker('threads-owner.js', { type: 'module' }).onmessage = ({ data }) => { globalThis.report = data; };`,
  'threads-owner.js': `${THREADS}postMessage(${BOTH});`,
  'threads-cdn.html': page(`${cdnLines}
  import * as batchnorm from '${CDN}/js/index.js';
  import { runThreads } from './conformance.js';
  await threads.close();
  globalThis.report = [await runThreads(batchnorm, (size) => createThreads(size, { worker }), 3)];</script>`),
  'threads-blocked.html': page('<script type="module" src="threads-blocked.js"></script>'),
  'threads-blocked.js': `${THREADS}createThreads(2).catch((error) => error).then(({ size, message, cause }) => {
    globalThis.report = { size, message, cause: String(cause) };
  });`,
  // The page makes the worker for the owner of the threads. So it can terminate the worker while the owner is in a call.
  'threads-stop.html': page('<script type="module" src="threads-stop.js"></script>'),
  'threads-stop.js': `import { stateOf } from './node_modules/batchnorm/js/block.js';
    const owner = new Worker('threads-stop-owner.js', { type: 'module' });
    let worker, words;
    const stop = () => {
      // While the worker is at work.
      for (const end = Date.now() + 1000; Date.now() < end && Atomics.load(words, stateOf(1)) === 0; );
      worker.terminate();
    };
    owner.onmessage = ({ data: { what, message } }) => {
      if (what === 'report') globalThis.report = message;
      if (message?.what === 'start') words = new Int32Array(message.buffer, 0, stateOf(2));
      if (what === 'send') worker.postMessage(message);
      if (what === 'stop') setTimeout(stop, 50);
      if (what === 'make') {
        worker = new Worker('node_modules/batchnorm/js/threads-worker.js', { type: 'module' });
        worker.onmessage = ({ data }) => owner.postMessage(data);
      }
    };`,
  'threads-stop-owner.js': `${THREADS}
    let receive;
    onmessage = (event) => receive(event);
    const worker = () => {
      postMessage({ what: 'make' });
      return {
        addEventListener(type, listener) {
          if (type === 'message') receive = listener;
        },
        postMessage: (message) => postMessage({ what: 'send', message }),
        terminate() {},
      };
    };
    const X = { data: Float32Array.from({ length: 2 ** 22 }, (_, i) => i % 997), shape: [32, 32, 64, 64] };
    const [{ data: expected }] = batchnorm.batchNormalization(X, null, null);
    const report = { rounds: 0 };
    // In some rounds the worker may still stop between two calls, which does no harm.
    while (!report.message && report.rounds++ < 20) {
      const threads = await createThreads(2, { worker });
      const arena = threads.arena(32 << 20);
      const [x, out] = [arena.tensor(X.shape), arena.tensor(X.shape)];
      x.data.set(X.data);
      const run = () => batchnorm.batchNormalization(x, null, null, null, null, 0.1, 1e-5, true, { out });
      run();
      postMessage({ what: 'stop' });
      for (const end = Date.now() + 3000; Date.now() < end && !report.message; )
        try {
          run();
        } catch ({ message }) {
          report.message = message;
        }
      out.data.fill(0);
      run();
      report.size = threads.size;
      report.same = out.data.every((y, i) => y === expected[i]);
    }
    postMessage({ what: 'report', message: report });`,
});
const server = await serve(folder);
after(() => server.close());

/** Serves the folder to isolated pages. @param {string} [policy] their Content-Security-Policy */
const isolated = (policy) =>
  serve(folder, {
    isolated: true,
    headers: policy ? { 'Content-Security-Policy': policy } : {},
    rewrite: (_, text) => text.replaceAll(CDN, `${cdn.url}/node_modules/batchnorm`),
  });
const cdn = await serve(folder, {
  headers: { 'Access-Control-Allow-Origin': '*', 'Cross-Origin-Resource-Policy': 'cross-origin' },
});
const POLICY = "worker-src 'self'; script-src 'self' 'wasm-unsafe-eval'";
const places = {
  isolated: await isolated(),
  'not isolated': server,
  allowed: await isolated(POLICY),
  'no WebAssembly': await isolated("script-src 'self'"),
  'no workers': await isolated("worker-src 'none'"),
};
after(() => [cdn, ...Object.values(places)].forEach((place) => void place.close()));

/** In Firefox 153, `new Worker` in a worker never returns in about one page of ten, whatever the worker does. So such a page may be
 * visited several times. */
async function visitAgain(browser, url, times) {
  if (times === 1 || !/firefox/i.test(browser.name)) return await browser.visit(url);
  for (let i = 1; ; i++)
    try {
      return await browser.visit(url, 20);
    } catch (error) {
      if (i === times || !/left no report/.test(error.message)) throw error;
    }
}

/** Tries threads. Where memory cannot be shared, there is one thread. */
async function tryThreads(t, browser, name, shares) {
  for (const [place, path, how, threads, backend] of [
    ['isolated', 'threads.html', ', isolated page', [2, 4]],
    ['isolated', 'threads-in-worker.html', ', in a worker of an isolated page', [2, 4]],
    ['isolated', 'threads-cdn.html', ', from another origin', [3]],
    ['allowed', 'threads.html', `, Content-Security-Policy \`${POLICY}\``, [2, 4]],
    ['not isolated', 'threads.html', ', page that is not isolated', [1, 1]],
    ['no WebAssembly', 'threads.html', ", Content-Security-Policy without `'wasm-unsafe-eval'`", [1, 1], 'js'],
  ])
    await t.test(`threads${how}`, async () => {
      const reports = await visitAgain(browser, `${places[place].url}/${path}`, path === 'threads-in-worker.html' ? 5 : 1);
      const expected = shares ? threads : threads.map(() => 1);
      assert.deepEqual(
        reports.map((report) => [report.threads, report.failures]),
        expected.map((number) => [number, []]),
      );
      foundThreads(name, how, reports.at(-1), expected.at(-1), backend);
    });
  if (!shares) return;
  await t.test('threads, workers forbidden', async () => {
    const report = await browser.visit(`${places['no workers'].url}/threads-blocked.html`);
    assert.equal(report.message, 'createThreads: a worker could not be started (see the option worker)');
    assert.match(report.cause, /./);
    assert.notEqual(report.cause, 'undefined');
  });
  await t.test('threads, a worker is terminated during a call', async () => {
    const report = await browser.visit(`${places.isolated.url}/threads-stop.html`);
    assert.match(report.message, /^batchnorm\/threads: a worker stopped during the call, .*threads left: 1\)$/);
    assert.deepEqual([report.size, report.same], [1, true]);
  });
}

for (const engine of engines)
  test(engine, async (t) => {
    const browser = await launch(engine);
    t.after(() => browser.close());
    for (const [path, how, backend] of [
      ['module.html', '`<script type="module">`', 'wasm-simd'],
      ['module-worker.html', 'module worker', 'wasm-simd'],
      ['classic-worker.html', 'classic worker, `import()`', 'wasm-simd'],
      ['posted-module.html', 'worker, `initialize` with a posted module', 'wasm-simd'],
      ['csp/module.html', "Content-Security-Policy without `'wasm-unsafe-eval'`", 'js'],
    ])
      await t.test(path, async () => {
        found(browser.name, how, await browser.visit(`${server.url}/${path}`), backend);
      });
    await tryThreads(t, browser, browser.name, engine !== 'webkit');
    if (engine === 'webkit')
      await t.test('WebKitGTK with shared memory', async (t) => {
        const sharing = await launch(engine, { sharing: true });
        try {
          await tryThreads(t, sharing, `${browser.name} with shared memory`, true);
        } finally {
          await sharing.close();
        }
      });
    if (engine !== 'firefox')
      await t.test('an engine without WebAssembly SIMD', async () => {
        const old = await launch(engine, { withoutSimd: true });
        try {
          found(browser.name, 'its WebAssembly SIMD switched off', await old.visit(`${server.url}/module.html`), 'js');
        } finally {
          await old.close();
        }
      });
    assert.ok(browser.name);
  });

test('docs/environments.md lists all these environments', () => compareTable('browsers', !all));
