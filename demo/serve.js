/* npm start: serves the demo on this machine, and says where. Any web server can: the demo is static files, at /demo/ beside
 * the repository's other folders. This one has a finer clock, and other libraries to race where bench/peers is installed, unless
 * called with --alone. */
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

/** Bundles the other libraries for the race, if they are there. @returns {Promise<string>} where they are, as the page names it */
async function bundlePeers() {
  if (!installed) return '';
  try {
    const { bundle } = await import('../bench/peers/bundle.js');
    await bundle('web.js', `${root}bench/peers/bundle`);
    return '../bench/peers/bundle/web.js';
  } catch (error) {
    console.error(`The race is without other libraries: ${error.message.split('\n')[0]}`);
    return '';
  }
}

const peers = await bundlePeers();
const rewrite = (path, text) =>
  path === '/demo/index.html' && peers ? text.replace('<link rel="icon"', `<meta name="peers" content="${peers}">\n$&`) : text;
const options = { isolated: true, rewrite, home: '/demo/' };

/** Serves on the first port that is free, from `port` on. @param {number} port @returns {ReturnType<typeof serve>} */
async function serveFrom(port) {
  try {
    return await serve(root, { ...options, port });
  } catch (error) {
    if (!['EADDRINUSE', 'EACCES'].includes(error.code)) throw error;
    // Past twenty, any port that is free.
    return serveFrom(port < 65535 && port < wanted + 20 ? port + 1 : 0);
  }
}

const { url } = await serveFrom(wanted);
// A URL leaves out port 80.
const port = Number(new URL(url).port || 80);
if (wanted !== 0 && port !== wanted) console.log(`Port ${wanted} is not available, so this is on port ${port}.`);
console.log(`batchnorm's demo: ${url}/demo/`);
console.log(
  peers
    ? 'onnxruntime-web and TensorFlow.js can be raced.'
    : 'To race onnxruntime-web and TensorFlow.js there too: npm install && npm install --prefix bench/peers',
);
console.log('Ctrl + C ends it.');
