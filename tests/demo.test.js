/* The demo as files: what it is served from, and what it loads. tests/browsers/demo.js drives it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../tools/serve.js';

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

test('npm start on a port that is taken says so, and takes the next', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address();
  const server = spawn(process.execPath, [fileURLToPath(new URL('demo/serve.js', root)), '--alone'], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill());
  let said = '';
  while (!said.includes('/demo/')) said += await once(server.stdout, 'data');
  assert.match(said, new RegExp(`^Port ${port} is not available; trying ${port + 1}\\.`));
});

test('the server serves real files below its folder alone, to local names, for GET and HEAD', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-serve-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'site/demo'), { recursive: true });
  writeFileSync(join(folder, 'secret.txt'), 'secret');
  for (const path of ['demo/index.html', '.env', 'a.txt']) writeFileSync(join(folder, 'site', path), path);
  symlinkSync(join(folder, 'secret.txt'), join(folder, 'site/link.txt'));
  symlinkSync(folder, join(folder, 'site/up'));
  const server = await serve(join(folder, 'site'), { home: '/demo/' });
  t.after(() => server.close());
  const ask = async (path, { method = 'GET', host } = {}) => {
    const { hostname, port } = new URL(server.url);
    const asked = request({ hostname, port, path, method, headers: host ? { host } : {} }).end();
    const [response] = await once(asked, 'response');
    response.resume();
    return response;
  };
  assert.equal((await ask('/a.txt')).statusCode, 200);
  assert.equal((await ask('/a.txt', { method: 'HEAD' })).statusCode, 200);
  assert.equal((await ask('/a.txt', { host: 'localhost:1' })).statusCode, 200);
  for (const path of [
    '/link.txt',
    '/up/secret.txt',
    '/.env',
    '/%2eenv',
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/a%00',
    '/%',
    '//demo',
  ])
    assert.equal((await ask(path)).statusCode, 404, path);
  for (const method of ['POST', 'DELETE', 'PUT']) assert.equal((await ask('/a.txt', { method })).statusCode, 405);
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.nip.io'])
    assert.equal((await ask('/a.txt', { host })).statusCode, 403);
  assert.equal((await ask('/')).headers.location, '/demo/');
  assert.equal((await ask('/demo')).headers.location, '/demo/');
  for (const path of ['/.//demo', '/%2f/demo', '/\\demo'])
    assert.doesNotMatch((await ask(path)).headers.location ?? '', /^[/\\]{2}/);
  for (let k = 0; k < 200; k++) await ask(`/nothing-${k}`);
  assert.equal(server.missing.length, 100);
});
