/* A static server on localhost: serve(folder) → { url, missing, close() }, missing the paths that were asked for in vain. Pages
 * under csp/ come with a policy that forbids WebAssembly; `isolated` makes all cross-origin isolated, for finer clocks. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

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
 * @param {string} [options.under] the path below which the folder's files are, "/some/where"
 * @param {number} [options.port] one that is free if 0
 * @param {(path: string, text: string) => string} [options.rewrite] changes an HTML file
 */
export async function serve(folder, { isolated = false, under = '', port = 0, rewrite = (_, text) => text } = {}) {
  const root = pathToFileURL(join(folder, '/'));
  const missing = [];
  const server = createServer(async ({ url }, response) => {
    // A URL has no way above its root, and fileURLToPath takes no hidden separators.
    let path = url;
    try {
      path = new URL(url, 'http://localhost').pathname;
      if (!path.startsWith(`${under}/`)) throw new Error('outside');
      if (path.endsWith('/')) path += 'index.html';
      const type = TYPES[extname(path) || '.html'] ?? 'application/octet-stream';
      const body = await readFile(fileURLToPath(new URL(`.${path.slice(under.length)}`, root)));
      response.setHeader('Content-Type', type);
      if (path.includes('/csp/')) response.setHeader('Content-Security-Policy', "default-src 'self'");
      if (isolated) {
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      }
      response.end(type === TYPES['.html'] ? rewrite(path, String(body)) : body);
    } catch (error) {
      if (error.code === 'EISDIR') return void response.writeHead(301, { Location: `${path}/` }).end();
      missing.push(path);
      response.writeHead(404).end();
    }
  });
  return { url: `http://127.0.0.1:${await listen(server, port)}${under}`, missing, close: () => server.close() };
}
