/* The package in real browsers, without a bundler: npm run test:browsers, or BROWSERS="chromium webkit" npm run test:browsers.
 * Without BROWSERS, a missing browser fails the run. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { serve } from '../../tools/serve.js';
import { compareTable, found, project } from '../package/packed.js';
import { all, engines, launch } from './drivers.js';

const page = (script) => `<!doctype html><meta charset="utf-8"><title>batchnorm</title>${script}`;
/* Imports the package's own files: no import map, no bundler. */
const module = (up) => `import * as batchnorm from '${up}node_modules/batchnorm/js/index.js';
import * as plain from '${up}node_modules/batchnorm/js/index-plain.js';
import { run } from '${up}conformance.js';
`;
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
});
const server = await serve(folder);
after(() => server.close());

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
