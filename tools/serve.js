/* A static server on localhost: serve(folder) → { url, missing, close() }, where `missing` lists the first hundred paths that
 * were not found. It only serves regular files below the folder, no dotfiles, to GET and HEAD requests under a local host name.
 * Pages under csp/ get a policy that forbids WebAssembly. With `isolated`, all pages are cross-origin isolated, so that their
 * clocks are finer. */
import { readFile, realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, isAbsolute, join, relative } from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};

const listen = (server, port) =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server.address().port));
  });

/**
 * The real path of `path`, with links followed. Throws if it is outside `root` or is a dotfile there.
 * @param {string} root
 * @param {string} path
 */
async function realBelow(root, path) {
  const real = await realpath(path);
  const below = relative(root, real);
  if (/(^|[/\\])\./.test(below) || isAbsolute(below)) throw new Error('outside');
  return real;
}

/** A port that is free now. */
export async function freePort() {
  const server = createServer();
  const port = await listen(server, 0);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * @param {string} folder
 * @param {object} [options]
 * @param {boolean} [options.isolated]
 * @param {Record<string, string>} [options.headers] further headers of each response
 * @param {string} [options.under] a path that precedes those of the folder's files, such as "/some/where"
 * @param {number} [options.port] 0: any free port
 * @param {(path: string, text: string) => string} [options.rewrite] changes an HTML file
 * @param {string} [options.home] the address to which / redirects
 */
export async function serve(folder, options = {}) {
  const { isolated = false, headers: further = {}, under = '', port = 0, rewrite = (_, text) => text, home = '' } = options;
  const root = await realpath(folder);
  const missing = [];
  const server = createServer(async ({ url, method, headers }, response) => {
    // If any host name were accepted, a foreign page could reach this server through a name of its own.
    if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(headers.host ?? '')) return void response.writeHead(403).end();
    if (method !== 'GET' && method !== 'HEAD') return void response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    let path = url;
    try {
      if (!url.startsWith('/')) throw new Error('not a path');
      path = decodeURIComponent(new URL(`http://localhost${url}`).pathname);
      // With two slashes at the start, a redirect would lead to another host. Windows would take a backslash for a slash.
      if (!path.startsWith(`${under}/`) || /\/\.|\/\/|[\\\0]/.test(path)) throw new Error('outside');
      let file = await realBelow(root, join(root, path.slice(under.length)));
      if ((await stat(file)).isDirectory()) {
        if (!path.endsWith('/')) return void response.writeHead(301, { Location: encodeURI(`${path}/`) }).end();
        if (path === '/' && home) return void response.writeHead(302, { Location: home }).end();
        path += 'index.html';
        file = await realBelow(root, join(file, 'index.html'));
      }
      // Reading a pipe would wait for a writer. Windows would find a file even if its path ends with a slash.
      if (path.endsWith('/') || !(await stat(file)).isFile()) throw new Error('not a file');
      const type = TYPES[extname(path) || '.html'] ?? 'application/octet-stream';
      const body = await readFile(file);
      response.setHeader('Content-Type', type);
      if (path.includes('/csp/')) response.setHeader('Content-Security-Policy', "default-src 'self'");
      for (const [name, value] of Object.entries(further)) response.setHeader(name, value);
      if (isolated) {
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      }
      response.end(type === TYPES['.html'] ? rewrite(path, String(body)) : body);
    } catch {
      if (missing.length < 100) missing.push(path);
      response.writeHead(404).end();
    }
  });
  return { url: `http://127.0.0.1:${await listen(server, port)}${under}`, missing, close: () => server.close() };
}
