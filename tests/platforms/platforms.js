/* The packed package on other processors, under QEMU, and in other JavaScript engines: npm run test:platforms
 * That command installs the engines, which package.json here pins. qemu.sh installs QEMU and foreign libraries on Debian. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { buildSync } from 'esbuild';
import { freePort } from '../../tools/serve.js';
import { compareTable, found, IMPORTS, PROGRAM, project, reportIn, root, run } from '../package/packed.js';

const here = join(root, 'tests/platforms');
const inHere = (path) => join(here, 'node_modules', path);
const require = createRequire(join(here, 'platforms.js'));
const { foreign } = require('./package.json');
const versionOf = (name) => JSON.parse(readFileSync(inHere(`${name}/package.json`), 'utf8')).version;

/* ---- other processors --------------------------------------------------------------------------------------------- */

const cache = inHere('.cache');
mkdirSync(cache, { recursive: true });

/** Downloads Node for another processor. `npm install` would reject it, but `npm pack` does not. Returns the program's path. */
function foreignNode(name) {
  const directory = join(cache, `${name}-${foreign[name]}`);
  if (!existsSync(directory)) {
    const unpacked = `${directory}.part`;
    rmSync(unpacked, { recursive: true, force: true });
    mkdirSync(unpacked);
    const [{ filename }] = JSON.parse(run('npm', ['pack', `${name}@${foreign[name]}`, '--json'], { cwd: unpacked }));
    run('tar', ['-xzf', filename], { cwd: unpacked });
    rmSync(join(unpacked, filename));
    // Renamed last, so that an interrupted attempt does not count as finished.
    renameSync(unpacked, directory);
  }
  return join(directory, 'package/bin/node');
}

const programs = project('programs', { 'import.js': PROGRAM });

test('QEMU and foreign libraries', () => {
  run(join(here, 'qemu.sh'), [join(cache, 'qemu')]);
});

for (const [processor, qemu, libraries, backend] of [
  ['arm64', 'qemu-aarch64-static', 'arm64', 'wasm-simd'],
  // The vector instructions of 32-bit Arm treat subnormal numbers as zero.
  ['armv7l', 'qemu-arm-static', 'armhf', 'js'],
  // A big-endian processor: the kernel's memory is little-endian, but typed arrays on it are big-endian.
  ['s390x', 'qemu-s390x-static', 's390x', 'js'],
])
  test(`Node for ${processor}`, () => {
    const node = foreignNode(`node-linux-${processor}`);
    const command = ['-L', join(cache, 'qemu', libraries), node];
    assert.equal(run(qemu, [...command, '-p', 'process.arch']).trim(), processor === 'armv7l' ? 'arm' : processor);
    const report = reportIn(run(qemu, [...command, 'import.js'], { cwd: programs }));
    found(`Node ${foreign[`node-linux-${processor}`]}, ${processor}`, '`import`, under QEMU', report, backend);
  });

/* ---- engines without WebAssembly ---------------------------------------------------------------------------------- */

const REPORT = 'JSON.stringify(run(batchnorm, plain))';

test('Hermes: a React Native bundle, by Metro', async () => {
  const directory = project('hermes', { 'main.js': `${IMPORTS}print(${REPORT});\n` });
  const { loadConfig, runBuild } = require('metro');
  const config = await loadConfig(
    { cwd: directory },
    {
      projectRoot: directory,
      watchFolders: [directory, inHere('@babel'), inHere('metro-runtime')],
      reporter: { update: () => {} },
      resetCache: true,
      cacheStores: [],
      maxWorkers: 1,
      // Where Babel's helpers and Metro's own modules are. An app of React Native has them in its own node_modules.
      resolver: { useWatchman: false, nodeModulesPaths: [inHere('.')] },
      transformer: { babelTransformerPath: require.resolve('@react-native/metro-babel-transformer') },
    },
  );
  const out = join(directory, 'bundle.js');
  await runBuild(config, { entry: 'main.js', platform: 'android', dev: false, minify: false, out });
  const output = run(inHere('hermes-engine-cli/linux64-bin/hermes'), ['-O', out]);
  found(`Hermes ${versionOf('hermes-engine-cli')}`, `a bundle of Metro ${versionOf('metro')}`, reportIn(output), 'js');
});

/** Bundles a program into one file, for engines without modules. */
function bundle(directory, entry) {
  const outfile = join(directory, 'bundle.js');
  buildSync({ entryPoints: [join(directory, entry)], bundle: true, format: 'iife', target: 'es2020', outfile });
  return outfile;
}

test('QuickJS', async () => {
  const directory = project('quickjs', { 'main.js': `${IMPORTS}globalThis.report = ${REPORT};\n` });
  const text = readFileSync(bundle(directory, 'main.js'), 'utf8');
  const { getQuickJS } = require('quickjs-emscripten');
  const context = (await getQuickJS()).newContext();
  context.unwrapResult(context.evalCode(text)).dispose();
  const report = context.getProp(context.global, 'report').consume((value) => context.getString(value));
  context.dispose();
  found(`QuickJS (quickjs-emscripten ${versionOf('quickjs-emscripten')})`, 'a bundle of esbuild', JSON.parse(report), 'js');
});

/* ---- the edge ----------------------------------------------------------------------------------------------------- */

test('Vercel’s edge runtime, in a request', async (t) => {
  const directory = project('edge-runtime', {
    'main.js': `${IMPORTS}addEventListener('fetch', (event) => event.respondWith(Response.json(run(batchnorm, plain))));\n`,
  });
  const port = await freePort();
  const script = inHere('edge-runtime/dist/cli/index.js');
  const server = spawn(process.execPath, [script, '--listen', '--port', String(port), bundle(directory, 'main.js')]);
  t.after(() => server.kill());
  let printed = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (data) => (printed += data));
  for (let k = 0; !printed.includes('Waiting incoming requests'); k++) {
    assert.ok(k < 600 && server.exitCode === null, printed);
    await setTimeout(100);
  }
  const response = await fetch(`http://127.0.0.1:${port}`);
  assert.equal(response.status, 200, printed);
  found(`edge-runtime ${versionOf('edge-runtime')}`, 'in a request', await response.json());
});

test('docs/environments.md lists all these environments', () => compareTable('platforms'));
