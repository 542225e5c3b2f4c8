/* The demo as files: what it is served from, and what it loads. tests/browsers/demo.js drives it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const read = (file) => readFileSync(new URL(file, root), 'utf8');

test('the plots’ library is the pinned one, as it came', () => {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  for (const [own, theirs] of [
    ['uPlot.js', 'dist/uPlot.esm.js'],
    ['uPlot.css', 'dist/uPlot.min.css'],
    ['LICENSE-uPlot', 'LICENSE'],
  ])
    assert.equal(read(`demo/vendor/${own}`), readFileSync(join(uplot, theirs), 'utf8'), own);
});

test('the page loads files of the repository alone, by relative paths, so that any web server will do', () => {
  const seen = new Set();
  const visit = (url) => {
    if (seen.has(url.href)) return;
    seen.add(url.href);
    const text = readFileSync(url, 'utf8');
    const imported = [...text.matchAll(/^import\b[^;]*?'([^']+)';$/gm)].map(([, path]) => path);
    for (const path of imported) {
      assert.match(path, /^\.\.?\//, `${url.pathname} imports ${path}`);
      visit(new URL(path, url));
    }
  };
  for (const file of readdirSync(new URL('demo/', root)))
    if (file.endsWith('.js') && file !== 'serve.js') visit(new URL(`demo/${file}`, root));
  assert.ok(seen.size > 20);
  const page = read('demo/index.html');
  for (const [, path] of page.matchAll(/(?:src|href)="([^"#]+)"/g)) {
    assert.match(path, /^[\w./-]+$/, path);
    read(`demo/${path}`);
  }
});

test('npm start serves the demo, and says where', async (t) => {
  const server = spawn(process.execPath, [fileURLToPath(new URL('demo/serve.js', root)), '--alone'], {
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill());
  let said = '';
  while (!said.includes('/demo/')) said += await once(server.stdout, 'data');
  const url = said.match(/http:\S+/)[0];
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.match(await response.text(), /<h1>Batch normalization/);
  assert.equal((await fetch(url.slice(0, -1))).url, url, 'a folder is found without its slash');
  for (const path of ['%', '../package.json/', '..%2f..%2f..%2fetc/passwd', 'nothing'])
    assert.equal((await fetch(`${url}${path}`)).status, 404, path);
});
