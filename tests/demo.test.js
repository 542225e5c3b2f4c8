/* The demo as files: what it is served from, and what it loads. tests/browsers/demo.js drives it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
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

/** Runs npm start's program until it has said where the demo is. */
async function start(t, PORT, folder = fileURLToPath(root)) {
  const server = spawn(process.execPath, [join(folder, 'demo/serve.js'), '--alone'], {
    env: { ...process.env, PORT },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill());
  let said = '';
  for await (const text of server.stdout) {
    said += text;
    if (said.includes('Ctrl + C')) break;
  }
  assert.match(said, /http:\S+\/demo\//, 'the demo is served');
  return { said, url: said.match(/http:\S+/)[0] };
}

test('npm start serves the demo, and says where', async (t) => {
  const { url } = await start(t, '0');
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.match(await response.text(), /<h1>Batch normalization/);
  assert.equal((await fetch(url.slice(0, -1))).url, url, 'a folder is found without its slash');
  assert.equal((await fetch(new URL('/', url))).url, url, '/ leads to the demo');
  for (const path of ['%', '../package.json/', '..%2f..%2f..%2fetc/passwd', 'nothing'])
    assert.equal((await fetch(`${url}${path}`)).status, 404, path);
});

test('npm start needs nothing installed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-start-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const path of ['package.json', 'demo', 'tools']) cpSync(new URL(path, root), join(folder, path), { recursive: true });
  const { url } = await start(t, '0', folder);
  assert.equal((await fetch(url)).status, 200);
});

test('npm start on a port that is taken says so in a sentence, and takes the next that is free', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address();
  const { said, url } = await start(t, String(port));
  assert.notEqual(new URL(url).port, String(port));
  assert.equal(said.split('\n')[0], `Port ${port} is not available, so this is on port ${new URL(url).port}.`);
  assert.equal((await fetch(url)).status, 200);
});

test('npm start refuses what is not a port, in a sentence', () => {
  for (const PORT of ['', 'abc', '1e3', '80.5', '-1', '65536']) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(new URL('demo/serve.js', root)), '--alone'], {
      env: { ...process.env, PORT },
      encoding: 'utf8',
      timeout: 10_000,
    });
    assert.equal(status, 1, PORT);
    assert.equal(stdout, '');
    assert.equal(stderr, `PORT must be a port number, 0 to 65535; got "${PORT}".\n`);
  }
});
