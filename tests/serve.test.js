/* The static server: the requests that it answers and those that it rejects. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { serve } from '../tools/serve.js';

const folder = mkdtempSync(join(tmpdir(), 'batchnorm-serve-'));
after(() => rmSync(folder, { recursive: true }));
const site = join(folder, 'site');
for (const path of ['secret.txt', 'site/a.txt', 'site/demo/index.html', 'site/csp/index.html', 'site/.env', 'site/.git/config']) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), path);
}
mkdirSync(join(site, 'led'));
/** Why the system makes no symbolic links, if so. */
let noLinks = '';
try {
  for (const [path, to] of [
    ['out.txt', join(folder, 'secret.txt')],
    ['up', folder],
    ['led/index.html', join(folder, 'secret.txt')],
    ['env.txt', '.env'],
    ['git', '.git'],
    ['same.txt', 'a.txt'],
  ])
    symlinkSync(to, join(site, path));
} catch (error) {
  if (process.platform !== 'win32' || error.code !== 'EPERM') throw error;
  noLinks = 'Windows lets only administrators make symbolic links, unless it is in developer mode';
}

const server = await serve(site, { home: '/demo/' });
after(() => server.close());

/** Requests a path exactly as it is written; fetch would normalize it. */
async function ask(path, { method = 'GET', host, of = server } = {}) {
  const { hostname, port } = new URL(of.url);
  const asked = request({ hostname, port, path, method, headers: host ? { host } : {}, timeout: 5000 });
  asked.on('timeout', () => asked.destroy(new Error(`no answer to ${path}`)));
  asked.end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const text of response) body += text;
  return { status: response.statusCode, headers: response.headers, body };
}

test('GET returns files, HEAD only their headers', async () => {
  assert.equal((await ask('/a.txt')).body, 'site/a.txt');
  assert.equal((await ask('/demo/?x=1')).body, 'site/demo/index.html');
  const { status, headers, body } = await ask('/demo/', { method: 'HEAD' });
  assert.deepEqual([status, headers['content-type'], body], [200, 'text/html; charset=utf-8', '']);
  assert.equal((await ask('/csp/')).headers['content-security-policy'], "default-src 'self'");
});

test('other methods are rejected', async () => {
  for (const method of ['POST', 'DELETE', 'PUT', 'PATCH', 'OPTIONS']) {
    const { status, headers, body } = await ask('/a.txt', { method });
    assert.deepEqual([status, headers.allow, body], [405, 'GET, HEAD', ''], method);
  }
});

test('only requests to local host names are answered', async () => {
  for (const host of ['localhost', 'localhost:1', 'LOCALHOST', '127.0.0.1', '127.0.0.1:80', '[::1]', '[::1]:8080'])
    assert.equal((await ask('/a.txt', { host })).status, 200, host);
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.nip.io', 'evil.example:80', 'localhost@evil.example'])
    assert.equal((await ask('/a.txt', { host })).status, 403, host);
});

test('symbolic links are followed only within the folder', { skip: noLinks || false }, async () => {
  assert.equal((await ask('/same.txt')).body, 'site/a.txt');
  for (const path of ['/out.txt', '/up/', '/up', '/up/secret.txt', '/led/', '/led/index.html'])
    assert.deepEqual([(await ask(path)).status, (await ask(path)).body], [404, ''], path);
});

test('dotfiles are not served, neither by name nor through a link', async () => {
  for (const path of [
    '/.env',
    '/%2eenv',
    '/%2Eenv',
    '/.git/config',
    '/.git',
    '/demo/..%2f.env',
    '/env.txt',
    '/git',
    '/git/config',
  ])
    assert.equal((await ask(path)).status, 404, path);
});

test('paths that leave the folder, or are invalid, are not found', async () => {
  for (const path of [
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/%2e%2e/secret.txt',
    '/..%5csecret.txt',
    '/a.txt%00',
    '/%',
    '/%ff',
    '/a.txt/',
    '/demo%5cindex.html',
  ])
    assert.equal((await ask(path)).status, 404, path);
  assert.equal((await ask('http://evil.example/demo')).status, 404);
});

test('the server does not wait for a pipe', async (t) => {
  const pipe = join(site, 'pipe');
  if (process.platform === 'win32' || spawnSync('mkfifo', [pipe]).status !== 0) return t.skip('mkfifo is not available');
  t.after(() => rmSync(pipe));
  assert.equal((await ask('/pipe')).status, 404);
});

test('redirects stay on this host', async () => {
  assert.equal((await ask('/')).headers.location, '/demo/');
  assert.equal((await ask('/demo')).headers.location, '/demo/');
  for (const path of [
    '/.//demo',
    '//demo',
    '///demo',
    '/%2fdemo',
    '/%2f/demo',
    '/\\demo',
    '/%5cdemo',
    '/..//demo',
    '/csp/..//demo',
  ]) {
    const { status, headers } = await ask(path);
    assert.deepEqual([status, headers.location], [404, undefined], path);
  }
});

test('a server under a path serves files only under that path', async (t) => {
  const below = await serve(site, { under: '/some/where' });
  t.after(() => below.close());
  assert.equal((await ask('/some/where/a.txt', { of: below })).status, 200);
  assert.equal((await ask('/some/where/demo', { of: below })).headers.location, '/some/where/demo/');
  for (const path of ['/a.txt', '/some/wherea.txt', '/some/where', '/some/where/../../a.txt'])
    assert.equal((await ask(path, { of: below })).status, 404, path);
});

test('the list of missing files stays short', async (t) => {
  const other = await serve(site);
  t.after(() => other.close());
  for (let k = 0; k < 200; k++) await ask(`/nothing-${k}`, { of: other });
  assert.equal(other.missing.length, 100);
  assert.equal(other.missing[0], '/nothing-0');
});
