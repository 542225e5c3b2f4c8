/* examples/tfjs with the real TensorFlow.js, in Node and in Chromium: npm run test:tfjs
 * TensorFlow.js is pinned in package.json here, and installed first. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { install } from '../../examples/tfjs/batchnorm-tfjs.js';
import { serve } from '../../tools/serve.js';
import { launch } from '../browsers/drivers.js';
import { checksOf, runCheck } from './checks.js';
import { packages, tf } from './tensorflow.js';

const folder = mkdtempSync(join(tmpdir(), 'batchnorm-tfjs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Bundles a file of this folder. */
const bundle = (name, platform) =>
  build({
    entryPoints: [fileURLToPath(new URL(name, import.meta.url))],
    outfile: join(folder, platform, name),
    bundle: true,
    platform,
    format: platform === 'node' ? 'cjs' : 'iife',
    mainFields: ['module', 'main'],
    define: { global: 'globalThis' }, // for Jasmine
    logLevel: 'error',
  });

/** TensorFlow.js has 36 specs of batch normalization. They run on two backends. */
function assertSpecs({ passed, failed }) {
  assert.deepEqual(failed, []);
  assert.equal(passed, 72);
}

for (const backend of ['wasm', 'cpu'])
  test(`Node, ${backend}`, async (t) => {
    await tf.setBackend(backend);
    for (const [name, check] of Object.entries(checksOf(tf, install, backend)))
      await t.test(name, () => runCheck(tf, backend, check));
  });

test("Node, TensorFlow.js' own specs", async () => {
  await bundle('specs.js', 'node');
  const script = `require('./specs.js');
    runSpecs(${JSON.stringify(`${packages}tfjs-backend-wasm/dist/`)}).then((report) => console.log(JSON.stringify(report)));`;
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const printed = execFileSync(process.execPath, ['-e', script], { cwd: join(folder, 'node'), env, encoding: 'utf8' });
  const [notice, report] = printed.trim().split('\n');
  assert.match(
    notice,
    /^batchnorm: left to TensorFlow\.js, since mean, variance, offset and scale are not one number per channel/,
  );
  assertSpecs(JSON.parse(report));
});

test('Chromium', async (t) => {
  await Promise.all([bundle('page.js', 'browser'), bundle('specs.js', 'browser')]);
  const pages = join(folder, 'browser');
  for (const part of ['tfjs/dist/tf.min.js', 'tfjs-backend-wasm/dist/tf-backend-wasm.min.js'])
    cpSync(packages + part, join(pages, part.split('/').at(-1)));
  for (const kind of ['', '-simd', '-threaded-simd']) {
    const name = `tfjs-backend-wasm${kind}.wasm`;
    cpSync(`${packages}tfjs-backend-wasm/dist/${name}`, join(pages, name));
  }
  const page = (...scripts) =>
    `<!doctype html><meta charset="utf-8"><title>batchnorm</title>${scripts.map((text) => `<script ${text}</script>`).join('')}`;
  const files = ['tf.min.js', 'tf-backend-wasm.min.js', 'page.js'].map((name) => `src="${name}">`);
  writeFileSync(join(pages, 'page.html'), page(...files));
  const run = ">runSpecs('./').then((report) => { globalThis.report = report; });";
  writeFileSync(join(pages, 'specs.html'), page('src="specs.js">', run));

  const browser = await launch('chromium');
  t.after(() => browser.close());
  // Cross-origin isolated pages get the build with threads, whose memory is shared.
  for (const isolated of [false, true])
    await t.test(isolated ? 'with threads' : 'without threads', async (t) => {
      const server = await serve(pages, { isolated });
      t.after(() => server.close());
      const { passed, failed, threads } = await browser.visit(`${server.url}/page.html`);
      assert.deepEqual(failed, []);
      assert.equal(passed.length, 2 * Object.keys(checksOf(tf, install, 'wasm')).length);
      assert.equal(threads, isolated);
      assertSpecs(await browser.visit(`${server.url}/specs.html`));
    });
});
