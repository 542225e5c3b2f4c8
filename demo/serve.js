/* npm start: serves the demo on this machine, and prints its address. Any web server can do this, since the demo consists of static
 * files: if it serves the repository, the demo is at /demo/. This server gives the page a finer clock. If bench/peers is installed, the
 * page can also race other libraries, except with --alone. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { serve } from '../tools/serve.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const installed =
  !process.argv.includes('--alone') && existsSync(new URL('../bench/peers/node_modules/onnxruntime-web', import.meta.url));

const { PORT = '8080' } = process.env;
const wanted = Number(PORT);
if (!/^\d+$/.test(PORT) || wanted > 65535) {
  console.error(`PORT must be a port number, 0 to 65535; got ${JSON.stringify(PORT)}.`);
  process.exit(1);
}

/** Bundles the other libraries for the race, if they are installed. @returns {Promise<string>} their path relative to the page, or '' */
async function bundlePeers() {
  if (!installed) return '';
  try {
    const { bundle } = await import('../bench/peers/bundle.js');
    await bundle('web.js', `${root}bench/peers/bundle`);
    return '../bench/peers/bundle/web.js';
  } catch (error) {
    console.error(`Other libraries could not be bundled for the race: ${error.message.split('\n')[0]}`);
    return '';
  }
}

const peers = await bundlePeers();
const rewrite = (path, text) =>
  path === '/demo/index.html' && peers ? text.replace('<link rel="icon"', `<meta name="peers" content="${peers}">\n$&`) : text;
const options = { isolated: true, rewrite, home: '/demo/' };

/** Serves on the first free port, starting with `port`. @param {number} port @returns {ReturnType<typeof serve>} */
async function serveFrom(port) {
  try {
    return await serve(root, { ...options, port });
  } catch (error) {
    if (!['EADDRINUSE', 'EACCES'].includes(error.code)) throw error;
    // After twenty ports, take any free one.
    return serveFrom(port < 65535 && port < wanted + 20 ? port + 1 : 0);
  }
}

const { url } = await serveFrom(wanted);
// A URL leaves out port 80.
const port = Number(new URL(url).port || 80);
if (wanted !== 0 && port !== wanted) console.log(`Port ${wanted} is not available, so the demo is on port ${port}.`);
console.log(`The demo is at ${url}/demo/`);
console.log(
  peers
    ? 'It can also race onnxruntime-web and TensorFlow.js.'
    : 'To race onnxruntime-web and TensorFlow.js there, too, run: npm install && npm install --prefix bench/peers',
);
console.log('Press Ctrl + C to stop.');
