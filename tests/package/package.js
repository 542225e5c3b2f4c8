/* The packed package in every runtime, test runner and bundler that it supports: npm run test:package
 * That command installs the tools, which tools/ pins. They run on Node 24, whichever Node runs the tests. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { readMarked } from '../../tools/marked.js';
import { freePort, serve } from '../../tools/serve.js';
import { launch } from '../browsers/drivers.js';
import {
  compareTable,
  found,
  foundThreads,
  IMPORTS,
  PAGE,
  PROGRAM,
  project,
  REQUIRES,
  reportIn,
  root,
  run,
  THREADS,
  tarball,
} from './packed.js';

const tools = join(root, 'tests/package/tools');
const inTools = (path) => join(tools, 'node_modules', path);
const versionOf = (tool) => JSON.parse(readFileSync(inTools(`${tool}/package.json`), 'utf8')).version;
const NODE = inTools('node-24/bin/node');

/** Runs a tool's script with Node. */
const runTool = (path, args, options) => run(NODE, [inTools(path), ...args], options);

/** Links libraries of tools/ into a project. */
const link = (directory, ...names) => {
  for (const name of names) symlinkSync(inTools(name), join(directory, 'node_modules', name));
};

/* ---- the tarball -------------------------------------------------------------------------------------------------- */

test('the tarball holds what users need, and nothing else', () => {
  const files = run('tar', ['-tzf', tarball]).trim().split('\n').sort();
  const js = [
    'arena',
    'attach',
    'block',
    'call',
    'cut',
    'fold',
    'forward',
    'forward-binary',
    'gradient',
    'gradient-binary',
    'index-plain',
    'index-workerd',
  ];
  const types = ['arena', 'attach', 'fold', 'index', 'index-plain', 'layer', 'moments'];
  assert.deepEqual(
    files,
    [
      ...[...js, 'index', 'kernel', 'layer', 'loader', 'moments', 'plain', 'plan', 'slices'].map((file) => `js/${file}.js`),
      ...['tensor', 'threads', 'threads-worker', 'validate'].map((file) => `js/${file}.js`),
      ...['js/batchnorm.wasm', 'js/package.json', 'cjs/index.cjs', 'cjs/index-plain.cjs'],
      ...['types/threads.d.ts', 'threads/package.json'],
      ...types.flatMap((file) => [`types/${file}.d.ts`, `cjs/${file}.d.cts`]),
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
      ...[
        'comparison',
        'comparison-browsers',
        'environments',
        'getting-started',
        'numerics',
        'performance',
        'threads',
        'training',
      ].map((page) => `docs/${page}.md`),
    ]
      .map((file) => `package/${file}`)
      .sort(),
  );
});

test('publint finds nothing', () => {
  assert.match(runTool('publint/src/cli.js', ['run', tarball, '--strict']), /All good!/);
});

test('the types resolve, by import and by require (arethetypeswrong)', () => {
  const problems = (...args) => {
    const output = runTool('@arethetypeswrong/cli/dist/index.js', [tarball, '--format', 'json', ...args]);
    return JSON.parse(output).problems ?? {};
  };
  assert.deepEqual(problems('--exclude-entrypoints', './batchnorm.wasm', './package.json', './threads', './threads-worker'), {});
  // This entry is an ES module only.
  assert.deepEqual(problems('--entrypoints', './threads', '--ignore-rules', 'cjs-resolves-to-esm'), {
    CJSResolvesToESM: [{ kind: 'CJSResolvesToESM', entrypoint: './threads', resolutionKind: 'node16-cjs' }],
  });
});

for (const [what, code, most] of [
  ['the forward call', "export { batchNormalization } from 'batchnorm';", 10250],
  ['everything', "export * from 'batchnorm';", 16900],
  ['everything and threads', "export * from 'batchnorm'; export * from 'batchnorm/threads';", 21100],
])
  test(`an app with ${what} is at most ${most / 1000} KB, minified and gzipped (size-limit)`, () => {
    const directory = project(`size-${most}`, { 'app.js': code });
    const limits = [{ path: 'app.js', gzip: true, limit: `${most} B` }];
    const described = {
      name: 'app',
      type: 'module',
      'size-limit': limits,
      devDependencies: { '@size-limit/preset-small-lib': '*' },
    };
    writeFileSync(join(directory, 'package.json'), JSON.stringify(described));
    link(directory, 'size-limit', '@size-limit');
    const [{ size, passed }] = JSON.parse(runTool('size-limit/bin.js', ['--json'], { cwd: directory }));
    assert.ok(passed && size > most / 2 && size <= most, `${size} bytes`);
  });

/* ---- runtimes ----------------------------------------------------------------------------------------------------- */

const programs = project('programs', {
  'import.js': PROGRAM,
  'require.cjs': `${REQUIRES}console.log(JSON.stringify(run(batchnorm, plain)));\n`,
  'same.js': `import { createRequire } from 'node:module';
import * as imported from 'batchnorm';
const required = createRequire(import.meta.url)('batchnorm');
console.log(required.batchNormalization === imported.batchNormalization);\n`,
  // It must end by itself, although the second pair of threads is left idle.
  'threads.js': `${THREADS}import { Worker as NodeWorker } from 'node:worker_threads';
const report = await runThreads(batchnorm, createThreads, 3, globalThis.Bun ? Worker : NodeWorker);
await createThreads(2);
console.log(JSON.stringify(report));\n`,
  'threads.cjs': `const batchnorm = require('batchnorm');
const { runThreads } = require('./conformance.cjs');
const { Worker } = require('node:worker_threads');
import('batchnorm/threads')
  .then(({ createThreads }) => runThreads(batchnorm, createThreads, 3, Worker))
  .then((report) => console.log(JSON.stringify(report)));\n`,
});
const inPrograms = { cwd: programs };
/** Tries threads in a runtime. */
const tryThreads = (where, how, path, args, threads = 3, backend = 'wasm-simd') =>
  foundThreads(where, how, reportIn(run(path, args, { ...inPrograms, timeout: 120_000 })), threads, backend);

for (const [node, path] of [
  [process.version, process.execPath],
  ...['node-22', 'node-24', 'node-26'].map((name) => [`v${versionOf(name)}`, inTools(`${name}/bin/node`)]),
])
  test(`Node ${node}: import, require, the same instance`, () => {
    const quiet = ['--no-warnings'];
    found(`Node ${node.slice(1)}`, '`import`', reportIn(run(path, [...quiet, 'import.js'], inPrograms)));
    found(`Node ${node.slice(1)}`, '`require`', reportIn(run(path, [...quiet, 'require.cjs'], inPrograms)));
    assert.equal(run(path, [...quiet, 'same.js'], inPrograms).trim(), 'true');
    tryThreads(`Node ${node.slice(1)}`, '', path, [...quiet, 'threads.js']);
  });

test('a Node without require() of ES modules uses the CommonJS file', () => {
  const output = run(process.execPath, ['--no-experimental-require-module', 'require.cjs'], inPrograms);
  found(`Node ${process.versions.node}`, '`require` of the CommonJS file', reportIn(output));
  const args = ['--no-experimental-require-module', 'threads.cjs'];
  tryThreads(`Node ${process.versions.node}`, ' with the CommonJS file', process.execPath, args);
});

test('Node without WebAssembly SIMD', () => {
  const output = run(process.execPath, ['--no-enable-ssse3', 'import.js'], inPrograms);
  found(`Node ${process.versions.node}`, 'its WebAssembly SIMD switched off', reportIn(output), 'js');
  const how = ', its WebAssembly SIMD switched off';
  tryThreads(`Node ${process.versions.node}`, how, process.execPath, ['--no-enable-ssse3', 'threads.js'], 1, 'js');
});

test('Deno', () => {
  const output = run(inTools('.bin/deno'), ['run', '--allow-read', 'import.js'], inPrograms);
  found(`Deno ${versionOf('deno')}`, '`import`', reportIn(output));
  tryThreads(`Deno ${versionOf('deno')}`, '', inTools('.bin/deno'), ['run', '--allow-read', 'threads.js']);
});

test('Bun', () => {
  const bun = inTools('.bin/bun');
  found(`Bun ${versionOf('bun')}`, '`import`', reportIn(run(bun, ['import.js'], inPrograms)));
  found(`Bun ${versionOf('bun')}`, '`require`', reportIn(run(bun, ['require.cjs'], inPrograms)));
  const old = run(bun, ['import.js'], { ...inPrograms, env: { BUN_JSC_useWasmSIMD: '0' } });
  found(`Bun ${versionOf('bun')}`, 'its WebAssembly SIMD switched off', reportIn(old), 'js');
  tryThreads(`Bun ${versionOf('bun')}`, '', bun, ['threads.js']);
});

// Today, unless this workerd is too old: it accepts no date more than a week after its own release.
const released = readFileSync(inTools('workerd/package.json'), 'utf8')
  .match(/1\.(\d{4})(\d\d)(\d\d)\./)
  .slice(1)
  .join('-');
const latest = new Date(Math.min(Date.now(), Date.parse(released) + 6 * 24 * 3600e3)).toISOString().slice(0, 10);
const dates = ['2024-01-01', latest];
for (const date of dates)
  test(`Cloudflare workerd, in a request, compatibility date ${date}`, async (t) => {
    const directory = project(`workerd-${date}`, {
      'worker.js': `${IMPORTS}import { createThreads } from 'batchnorm/threads';
import { runThreads } from './conformance.js';
const first = await createThreads(2);
export default {
  async fetch(request) {
    if (!request.url.endsWith('/threads')) return Response.json(run(batchnorm, plain));
    return Response.json({ first: first.size, ...(await runThreads(batchnorm, createThreads, 2)) });
  },
};\n`,
      'wrangler.json': JSON.stringify({ name: 'app', main: 'worker.js', compatibility_date: date }),
    });
    const port = await freePort();
    const wrangler = spawn(NODE, [inTools('wrangler/bin/wrangler.js'), 'dev', '--port', String(port), '--inspector-port', '0'], {
      cwd: directory,
      env: {
        ...process.env,
        CI: '1',
        WRANGLER_SEND_METRICS: 'false',
        WRANGLER_LOG_PATH: directory,
        PATH: `${inTools('node-24/bin')}:${process.env.PATH}`,
      },
      detached: true,
    });
    t.after(() => wrangler.exitCode === null && process.kill(-wrangler.pid));
    let printed = '';
    for (const stream of [wrangler.stdout, wrangler.stderr]) stream.on('data', (data) => (printed += data));
    for (let k = 0; !printed.includes('Ready on'); k++) {
      assert.ok(k < 600 && wrangler.exitCode === null, printed);
      await setTimeout(100);
    }
    const report = await (await fetch(`http://localhost:${port}`)).json();
    found(`workerd ${versionOf('workerd')}`, `in a request, compatibility date ${date} (wrangler dev)`, report);
    const { first, ...ofThreads } = await (await fetch(`http://localhost:${port}/threads`)).json();
    assert.equal(first, 1);
    foundThreads(`workerd ${versionOf('workerd')}`, ` in a request, compatibility date ${date} (wrangler dev)`, ofThreads, 1);
  });

/* ---- test runners ------------------------------------------------------------------------------------------------- */

const CHECK = `test('conforms', () => {
  const report = run(batchnorm, plain);
  expect(report.failures).toEqual([]);
  require('node:fs').writeFileSync('report.json', JSON.stringify(report));
}, 120_000);\n`;
const reportOf = (directory) => JSON.parse(readFileSync(join(directory, 'report.json'), 'utf8'));

test('Jest: require, default configuration', () => {
  const directory = project('jest', { 'app.test.js': REQUIRES + CHECK }, { type: 'commonjs' });
  runTool('jest/bin/jest.js', ['--rootDir', directory], { cwd: directory });
  found(`Jest ${versionOf('jest')}`, '`require`', reportOf(directory));
});

test('Jest: import, through its Babel', () => {
  const babel = `module.exports = { presets: [[${JSON.stringify(inTools('@babel/preset-env'))}, { targets: { node: 'current' } }]] };\n`;
  const files = { 'babel.config.js': babel, 'app.test.js': IMPORTS.replace('conformance.js', 'conformance.cjs') + CHECK };
  const directory = project('jest-babel', files, { type: 'commonjs' });
  runTool('jest/bin/jest.js', ['--rootDir', directory], { cwd: directory });
  found(`Jest ${versionOf('jest')}`, '`import`, through Babel', reportOf(directory));
});

test('Jest: import, as ES modules', () => {
  const files = {
    'app.test.js': `import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);\n${IMPORTS}${CHECK}`,
  };
  const directory = project('jest-esm', files);
  runTool('jest/bin/jest.js', ['--rootDir', directory], { cwd: directory, env: { NODE_OPTIONS: '--experimental-vm-modules' } });
  found(`Jest ${versionOf('jest')}`, '`import`, as ES modules', reportOf(directory));
});

for (const [how, lines] of [
  ['import', IMPORTS],
  ['require', REQUIRES],
])
  test(`Vitest: ${how}`, () => {
    const head = `import { expect, test } from ${JSON.stringify(inTools('vitest/dist/index.js'))};
import { createRequire } from 'node:module';
const require = createRequire(import.meta.url);\n`;
    const directory = project(`vitest-${how}`, { 'app.test.js': head + lines + CHECK });
    runTool('vitest/vitest.mjs', ['run', '--root', directory], { cwd: directory });
    found(`Vitest ${versionOf('vitest')}`, `\`${how}\``, reportOf(directory));
  });

/* ---- bundlers: the built page in a browser ------------------------------------------------------------------------ */

let browser;
before(async () => {
  browser = await launch('chromium');
});
after(() => browser?.close());

async function visit(folder, options) {
  const server = await serve(folder, options);
  try {
    return await browser.visit(`${server.url}/`);
  } finally {
    server.close();
  }
}

const html = (script) => `<!doctype html><meta charset="utf-8"><title>app</title>${script}\n`;
const MODULE = html('<script type="module" src="main.js"></script>');
/** Without `await`, which scripts that are not modules do not have. */
const THREADS_PAGE = `${THREADS}runThreads(batchnorm, createThreads, 2).then((report) => { globalThis.report = report; });\n`;
/** How the documentation says to use threads in each bundler. */
const instructions = readMarked(readFileSync(join(root, 'docs/threads.md'), 'utf8'), 'bundlers');
/** The arguments of a bundler's command line there. */
const documented = (tool) => instructions.match(new RegExp(`\`${tool} ([^\`]+)\``))[1].split(' ');

for (const [tool, program, args, files = {}] of [
  ['vite', 'vite/bin/vite.js', ['build']],
  ['webpack', 'webpack-cli/bin/cli.js', ['--entry', './main.js', '--mode', 'production'], { 'dist/index.html': MODULE }],
  [
    '@rspack/core',
    '@rspack/cli/bin/rspack.js',
    ['build', '--entry', './main.js', '--mode', 'production'],
    { 'dist/index.html': MODULE },
  ],
  [
    'rollup',
    'rollup/dist/bin/rollup',
    ['main.js', '-d', 'dist', '-p', '@rollup/plugin-node-resolve'],
    { 'dist/index.html': MODULE },
  ],
  ['rolldown', 'rolldown/bin/cli.mjs', ['main.js', '-d', 'dist'], { 'dist/index.html': MODULE }],
  ['esbuild', null, ['main.js', '--bundle', '--minify', '--outdir=dist'], { 'dist/index.html': MODULE }],
  ['parcel', 'parcel/lib/bin.js', ['build', 'index.html', '--no-cache']],
]) {
  const build = (name, script, these) => {
    const cwd = project(name, { 'main.js': script, 'index.html': MODULE, ...files });
    if (tool === 'rollup') link(cwd, '@rollup');
    // esbuild's is no script.
    const output = program ? runTool(program, these, { cwd }) : run(inTools('.bin/esbuild'), these, { cwd });
    assert.doesNotMatch(output, /warning/i);
    return join(cwd, 'dist');
  };
  test(`${tool}: the built page`, async () => {
    found(`${tool} ${versionOf(tool)}`, 'built, in Chromium', await visit(build(tool, PAGE, args)));
  });
  test(`${tool}: threads in the built page`, async () => {
    const these = ['rollup', 'rolldown', 'esbuild'].includes(tool) ? documented(tool) : args;
    const report = await visit(build(`${tool}-threads`, THREADS_PAGE, these), { isolated: true });
    foundThreads(`${tool} ${versionOf(tool)}`, ', built, in Chromium', report, 2);
  });
}

test('esbuild: threads in a script that is not a module, with the worker’s address', async () => {
  const given = THREADS_PAGE.replace('createThreads,', "(size) => createThreads(size, { worker: '/assets/threads-worker.js' }),");
  const page = html('<script src="main.js"></script>');
  const directory = project('esbuild-iife', { 'main.js': given, 'dist/index.html': page });
  const args = ['main.js', 'assets/threads-worker=batchnorm/threads-worker', '--bundle', '--outdir=dist'];
  run(inTools('.bin/esbuild'), args, { cwd: directory });
  const report = await visit(join(directory, 'dist'), { isolated: true });
  foundThreads(`esbuild ${versionOf('esbuild')}`, ', built as a script, in Chromium', report, 2);
});

test('Vite: development server', async (t) => {
  const directory = project('vite-dev', { 'main.js': PAGE, 'index.html': MODULE });
  const { createServer } = await import(inTools('vite/dist/node/index.js'));
  const server = await createServer({ root: directory, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
  t.after(() => server.close());
  await server.listen();
  found(`vite ${versionOf('vite')}`, 'development server, in Chromium', await browser.visit(server.resolvedUrls.local[0]));
});

for (const vite of ['vite', 'vite-7'])
  test(`${vite}: threads in the development server`, async (t) => {
    const directory = project(`${vite}-dev-threads`, { 'main.js': THREADS_PAGE, 'index.html': MODULE });
    const [, text] = instructions.match(/^\| Vite 7 or older \| in vite\.config\.js: `(.*)` \|$/m);
    const { createServer } = await import(inTools(`${vite}/dist/node/index.js`));
    const server = await createServer({
      root: directory,
      logLevel: 'error',
      server: {
        port: 0,
        host: '127.0.0.1',
        headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
      },
      ...(vite === 'vite' ? {} : new Function(`return { ${text} };`)()),
    });
    t.after(() => server.close());
    await server.listen();
    const report = await browser.visit(server.resolvedUrls.local[0]);
    foundThreads(`vite ${versionOf(vite)}`, ', development server, in Chromium', report, 2);
  });

test('Vite: a page that calls it on the server, then in the browser', async (t) => {
  const directory = project('vite-ssr', {
    'page.js': `${IMPORTS}export const report = () => run(batchnorm, plain);\n`,
    'main.js': `import { report } from './page.js';
const onServer = JSON.parse(document.querySelector('#report').textContent);
const here = report();
globalThis.report = { ...here, failures: [...onServer.failures, ...here.failures], server: onServer };\n`,
  });
  const { createServer } = await import(inTools('vite/dist/node/index.js'));
  const vite = await createServer({
    root: directory,
    appType: 'custom',
    logLevel: 'error',
    server: { port: 0, host: '127.0.0.1' },
    plugins: [
      {
        name: 'render',
        configureServer: (server) => {
          server.middlewares.use(async (request, response, next) => {
            if (request.url !== '/') return next();
            const { report } = await server.ssrLoadModule('/page.js');
            const rendered = `<script type="application/json" id="report">${JSON.stringify(report())}</script>`;
            response.setHeader('Content-Type', 'text/html');
            response.end(await server.transformIndexHtml('/', html(`${rendered}<script type="module" src="/main.js"></script>`)));
          });
        },
      },
    ],
  });
  t.after(() => vite.close());
  await vite.listen();
  const { server, ...page } = await browser.visit(vite.resolvedUrls.local[0]);
  found(`vite ${versionOf('vite')}`, 'server-side rendering, on the server', server);
  found(`vite ${versionOf('vite')}`, 'server-side rendering, in Chromium', page);
});

test('docs/environments.md lists all these environments', () => compareTable('package'));

/* ---- TypeScript --------------------------------------------------------------------------------------------------- */

const types = project('types', {
  'esm.ts': readFileSync(join(root, 'tests/package/types.ts'), 'utf8'),
  'commonjs.cts': `import batchnorm = require('batchnorm');
import plain = require('batchnorm/js');
const [output]: [batchnorm.Tensor, batchnorm.Tensor, batchnorm.Tensor] =
  batchnorm.batchNormalization({ data: new Float32Array(4), shape: [1, 1, 2, 2] }, null, null);
export const again: batchnorm.Tensor = plain.batchNormalization(output, [1], [0])[0];
export const threads = import('batchnorm/threads').then(({ createThreads }) => createThreads(2));
export const onHeap: batchnorm.Tensor = batchnorm.attach({ buffer: new ArrayBuffer(2 ** 20) }, 0, 2 ** 19).tensor([1], 2 ** 19);\n`,
  // With the types of browsers.
  'dom.ts': `import { attach } from 'batchnorm';
import { createThreads } from 'batchnorm/threads';
const url = new URL('threads-worker.js', document.baseURI);
export const all = [createThreads(2, { worker: url }), createThreads(2, { worker: () => new Worker(url, { type: 'module' }) })];
export const heap = attach(new WebAssembly.Memory({ initial: 8 }), 2 ** 18, 2 ** 19);\n`,
});

for (const release of readdirSync(inTools('.')).filter((name) => name.startsWith('typescript-')))
  test(`TypeScript ${versionOf(release)}`, () => {
    const tsc = existsSync(inTools(`${release}/bin/tsc`)) ? `${release}/bin/tsc` : `${release}/lib/tsc.js`;
    // node10 ignores `exports`, and TypeScript 6 has removed it.
    for (const resolution of ['node16', 'nodenext', 'bundler', ...(release < 'typescript-6' ? ['node10'] : [])])
      for (const lib of ['es2020', 'es2020,dom']) {
        writeFileSync(
          join(types, 'tsconfig.json'),
          JSON.stringify({
            compilerOptions: {
              strict: true,
              exactOptionalPropertyTypes: true,
              noUncheckedIndexedAccess: true,
              target: 'es2020',
              module: resolution === 'node16' || resolution === 'nodenext' ? resolution : 'esnext',
              moduleResolution: resolution,
              lib: lib.split(','),
              types: [],
              noEmit: true,
            },
            files: [
              'esm.ts',
              ...(resolution === 'node16' || resolution === 'nodenext' ? ['commonjs.cts'] : []),
              ...(lib.includes('dom') ? ['dom.ts'] : []),
            ],
          }),
        );
        runTool(tsc, ['-p', types]);
      }
  });

/* ---- other libraries: the README's recipes ------------------------------------------------------------------------ */

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const recipes = [...readme.matchAll(/```js\n\/\/ (ndarray|onnxruntime|TensorFlow\.js)[^\n]*\n([\s\S]*?)```/g)];
const PREPARE = {
  ndarray: `import ndarray from 'ndarray';
const x = ndarray(Float32Array.from({ length: 24 }, (_, i) => i * i), [2, 3, 2, 2]);`,
  onnxruntime: `import * as ort from 'onnxruntime-web';
const x = new ort.Tensor('float32', Float32Array.from({ length: 24 }, (_, i) => i * i), [2, 3, 2, 2]);`,
  'TensorFlow.js': `import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
const x = tf.tensor4d(Float32Array.from({ length: 24 }, (_, i) => i * i), [2, 3, 2, 2]);`,
};

test('the README has a recipe for each', () => {
  assert.deepEqual(recipes.map(([, library]) => library).sort(), Object.keys(PREPARE).sort());
});

for (const [, library, recipe] of recipes)
  test(`the README’s recipe for ${library}`, () => {
    const directory = project(`recipe-${library}`, {
      'recipe.js': `import { batchNormalization } from 'batchnorm';
${PREPARE[library]}
const gamma = [1, 2, 3], beta = [0, 1, 2];
${recipe}
const numbers = Float32Array.from({ length: 24 }, (_, i) => i * i);
const [expected] = batchNormalization({ data: numbers, shape: [2, 3, 2, 2] }, gamma, beta);
const values = (tensor) => Array.from(tensor.dataSync ? tensor.dataSync() : tensor.data).join();
console.log(values(y) === values(expected), (y.shape ?? y.dims).join());\n`,
    });
    link(directory, 'ndarray', 'onnxruntime-web', '@tensorflow');
    assert.equal(run(NODE, ['recipe.js'], { cwd: directory }).trim().split('\n').at(-1), 'true 2,3,2,2');
  });
