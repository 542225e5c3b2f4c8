/* Tests the files of the demo, and its server. tests/browsers/demo.js tests the page in browsers. */
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
import { format, parse } from '../demo/address.js';
import { isAnimated } from '../demo/animated.js';
import { exactGradient, gradientErrorsAt } from '../demo/gradients.js';
import { dataAround, errorsAt, exact } from '../demo/methods.js';
import { formatTick } from '../demo/page.js';
import { seededNormal } from './data.js';
import { gradientReference } from './gradient-reference.js';
import { reference } from './reference.js';

const root = new URL('..', import.meta.url);
const read = (file) => readFileSync(new URL(file, root), 'utf8');

test('the vendored plot library is identical to the pinned one', () => {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  for (const [own, theirs] of [
    ['uPlot.js', 'dist/uPlot.esm.js'],
    ['uPlot.css', 'dist/uPlot.min.css'],
    ['LICENSE-uPlot', 'LICENSE'],
  ])
    assert.equal(read(`demo/vendor/${own}`), readFileSync(join(uplot, theirs), 'utf8'), own);
});

test('the page loads only files of the repository, by relative paths, so that any web server can serve it', () => {
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
  // Links may lead elsewhere; files that the page loads may not.
  const page = read('demo/index.html').replace(/<a [^>]*href="https:[^"]+"/g, '');
  for (const [, path] of page.matchAll(/(?:src|href)="([^"#]+)"/g)) {
    assert.match(path, /^[\w./-]+$/, path);
    read(`demo/${path}`);
  }
});

test('the page preloads all modules of the first view, so that none waits for another', () => {
  const needed = new Set();
  const visit = (url) => {
    for (const [, path] of readFileSync(url, 'utf8').matchAll(/^(?:import\b[^;]*?|export \{[^;]*\} from )'([^']+)';$/gm)) {
      const next = new URL(path, url);
      if (needed.has(next.href)) continue;
      needed.add(next.href);
      visit(next);
    }
  };
  visit(new URL('demo/main.js', root));
  const named = [...read('demo/index.html').matchAll(/<link rel="modulepreload" fetchpriority="low" href="([^"]+)">/g)];
  assert.deepEqual(named.map(([, path]) => new URL(`demo/${path}`, root).href).sort(), [...needed].sort());
});

/** Runs the program of npm start, and waits until it has printed the demo's address. */
async function start(t, PORT, folder = fileURLToPath(root)) {
  const server = spawn(process.execPath, [join(folder, 'demo/serve.js'), '--alone'], {
    env: { ...process.env, PORT },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill());
  let output = '';
  for await (const text of server.stdout) {
    output += text;
    if (output.includes('Ctrl + C')) break;
  }
  assert.match(output, /http:\S+\/demo\//, 'the demo is served');
  return { output, url: output.match(/http:\S+/)[0] };
}

test('npm start serves the demo, and prints its address', async (t) => {
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

test('npm start says in one sentence that a port is taken, and uses the next free one', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address();
  const { output, url } = await start(t, String(port));
  assert.notEqual(new URL(url).port, String(port));
  assert.equal(output.split('\n')[0], `Port ${port} is not available, so the demo is on port ${new URL(url).port}.`);
  assert.equal((await fetch(url)).status, 200);
});

test('npm start rejects an invalid port in one sentence', () => {
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

const scripts = () => readdirSync(new URL('demo/', root)).filter((file) => file.endsWith('.js'));

test('every id and class in the stylesheet is used by the page or its scripts', () => {
  const styles = read('demo/style.css').replace(/\/\*[\s\S]*?\*\//g, '');
  const text = [read('demo/index.html'), ...scripts().map((file) => read(`demo/${file}`))].join('\n');
  const names = new Set([...styles.matchAll(/[.#](-?[a-z_][\w-]*)(?=[^{}]*\{)/gi)].map(([selector]) => selector));
  assert.ok(names.size > 40);
  for (const name of names) {
    const [kind, word] = [name[0], name.slice(1)];
    const found =
      kind === '#'
        ? new RegExp(`id="${word}"`).test(text)
        : new RegExp(`(class(Name)?\\b[^\\n]*|classList[^\\n]*)["'\\s\`]${word}["'\\s\`]`).test(text);
    assert.ok(found, `${name} is not used anywhere`);
  }
});

test('the browser does not restore any control, since the address holds the state', () => {
  const controls = [...read('demo/index.html').matchAll(/<(?:input|select|textarea)\b[^>]*>/g)].map(([tag]) => tag);
  assert.ok(controls.length > 20);
  for (const tag of controls) assert.match(tag, /autocomplete="off"/, tag);
});

test('reading a section’s state from the address gives what was written', () => {
  for (const values of [{ mean: '1e4', of: 'gradient' }, { code: 'a = b ? "c&d" : #e;\n// 50 % + 1' }]) {
    const { section, values: back } = parse(format('break', values));
    assert.equal(section, 'break');
    assert.deepEqual(Object.fromEntries(back), values);
  }
  assert.equal(format('break', { mean: '1e4', of: 'output' }), '#break?mean=1e4&of=output');
  assert.deepEqual(parse('#see'), { section: 'see', values: null });
  assert.deepEqual(parse(''), { section: '', values: null });
});

test('the page has metadata for sharing, and links to the repository, the package and the documentation', () => {
  const page = read('demo/index.html');
  for (const property of ['og:type', 'og:title', 'og:description', 'og:image'])
    assert.match(page, new RegExp(`<meta property="${property}" content="[^"]+">`));
  // Sites that show a link to the page need the absolute address of its image. The site has all pictures of docs/ at the same paths.
  const { homepage } = JSON.parse(read('package.json'));
  const [, image] = page.match(/property="og:image" content="([^"]+)"/);
  assert.ok(image.startsWith(`${homepage}docs/`), image);
  readFileSync(new URL(image.slice(homepage.length), root));
  const footer = page.slice(page.indexOf('<footer>'));
  for (const link of ['../README.md', 'https://www.npmjs.com/package/batchnorm', '../docs/numerics.md', '../docs/training.md'])
    assert.ok(footer.includes(`href="${link}"`), link);
});

test('all plots have axis titles, and true minus signs at their ticks', () => {
  const calls = scripts().flatMap((file) =>
    [...read(`demo/${file}`).matchAll(/= createPlot\(|: createPlot\(/g)].map(({ index }) => [file, index]),
  );
  assert.ok(calls.length >= 4);
  for (const [file, index] of calls) {
    const call = read(`demo/${file}`).slice(index, index + 400);
    assert.match(call, /\bx: '/, file);
    assert.match(call, /\by: '/, file);
  }
  assert.equal(formatTick(-2), '−2');
  assert.equal(formatTick(0.1 + 0.2), '0.3');
  assert.equal(formatTick(null), '');
});

test('the printed page has no navigation, and one colour scheme', () => {
  const [, print] = read('demo/style.css').match(/@media print \{([\s\S]*)\}\s*$/);
  assert.match(print, /color-scheme: light/);
  assert.match(print, /header nav,[\s\S]*display: none/);
});

const normals = Float64Array.from({ length: 4096 }, seededNormal(1));
const MEANS = [0, 1, 1e3, 1e5, 1e7];

test('"Break it" measures errors against the exact results', () => {
  for (const mean of MEANS) {
    const x = dataAround(normals, mean);
    const { output } = reference({ data: x, shape: [1, 1, 1, x.length] }, [1], [0], [0], [1], 0.1, 1e-5, true);
    exact(x, 1e-5).forEach((y, i) => {
      assert.ok(Math.abs(y - output[i]) <= 1e-12, `${y} at a mean of ${mean}`);
    });
    const { methods, expected } = errorsAt(normals, mean, 7);
    assert.ok(Math.abs(expected - output[7]) <= 1e-12);
    assert.ok(methods.thisPackage.error < 1e-6, `this package at ${mean}`);
  }
  const { onePass, twoPass, folded } = errorsAt(normals, 1e5).methods;
  for (const { error } of [onePass, twoPass, folded]) assert.ok(!(error < 1e-3), `${error}`);
});

test('"Break it" measures errors of gradients against the exact gradients', () => {
  const g = Float32Array.from({ length: 4096 }, seededNormal(2, 1));
  for (const mean of MEANS) {
    const x = dataAround(normals, mean);
    const shape = [1, 1, 1, x.length];
    const expected = gradientReference({ data: g, shape }, { data: x, shape });
    const found = exactGradient(x, g, 1e-5);
    assert.ok(Math.abs(found.gradGamma - expected.gradGamma[0]) <= 1e-11, `gradGamma at a mean of ${mean}`);
    found.gradInput.forEach((value, i) => {
      assert.ok(Math.abs(value - expected.gradInput[i]) <= 1e-12, `gradInput at a mean of ${mean}`);
    });
    assert.ok(gradientErrorsAt(normals, g, mean).methods.thisPackage.error < 1e-6);
  }
  const { onePass, twoPass, savedMean } = gradientErrorsAt(normals, g, 1e5).methods;
  for (const { error } of [onePass, twoPass, savedMean]) assert.ok(!(error < 1e-3), `${error}`);
});

test('animated pictures are distinguished from still ones', () => {
  const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  const gif = (frames) =>
    bytes(
      `GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff${'!\xf9\x04\0\x0a\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0'.repeat(frames)};`,
    );
  assert.equal(isAnimated(gif(1)), false);
  assert.equal(isAnimated(gif(3)), true);
  const chunk = (name, size) => `\0\0\0${String.fromCharCode(size)}${name}${'\0'.repeat(size + 4)}`;
  const png = (...chunks) => bytes(`\x89PNG\r\n\x1a\n${chunks.join('')}`);
  assert.equal(isAnimated(png(chunk('IHDR', 13), chunk('IDAT', 2), chunk('acTL', 8))), false);
  assert.equal(isAnimated(png(chunk('IHDR', 13), chunk('acTL', 8), chunk('IDAT', 2))), true);
  const webp = (flags) => bytes(`RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0${String.fromCharCode(flags)}\0\0\0`);
  assert.equal(isAnimated(webp(0x10)), false);
  assert.equal(isAnimated(webp(0x12)), true);
  assert.equal(isAnimated(bytes('RIFF\0\0\0\0WEBPVP8 ')), false);
  assert.equal(isAnimated(bytes('\0\0\0\x1cftypavif')), false);
  assert.equal(isAnimated(bytes('\0\0\0\x1cftypavis')), true);
  assert.equal(isAnimated(new Uint8Array(0)), false);
});
