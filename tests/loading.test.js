/* The binary: fresh, self-contained, loaded when first needed; initialize; and an environment that refuses it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binary } from '../js/kernel-binary.js';

const root = new URL('../', import.meta.url);
const read = (file) => readFileSync(new URL(file, root));
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
const bytes = Buffer.from(binary, 'base64');

/** Runs a module's text in a fresh Node. Returns what it printed. */
function inFreshNode(code, ...flags) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', code], {
    cwd: fileURLToPath(root),
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

test('the generated file is of these sources', () => {
  const [, hash, names] = read('js/kernel-binary.js')
    .toString()
    .match(/Sources: (\w+) \(sha256 of (.*)\)/);
  const files = names.split(', ');
  assert.deepEqual(files, ['build.sh', 'src/batchnorm.c', 'src/batchnorm.h', 'src/simd.h']);
  assert.equal(hash, sha256(...files.map(read)), 'a source has changed: run ./build.sh');
});

test('the stamp tells the binary’s own size and hash', () => {
  const stamp = read('js/kernel-binary.js').toString();
  assert.ok(stamp.includes(`Binary: ${bytes.length} bytes, sha256 ${sha256(bytes)}`));
});

test('the bare module is the embedded one', () => {
  assert.deepEqual(readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm'))), bytes);
});

test('the binary imports nothing, takes 8 MB at most, and can never grow', () => {
  const module = new WebAssembly.Module(bytes);
  assert.deepEqual(WebAssembly.Module.imports(module), []);
  const { memory } = new WebAssembly.Instance(module).exports;
  assert.ok(memory.buffer.byteLength <= 8 << 20);
  assert.throws(() => memory.grow(1), RangeError);
  assert.ok(bytes.length < 8192, `${bytes.length} bytes`);
});

const COUNT = `
  let compiled = 0;
  WebAssembly.Module = class extends WebAssembly.Module { constructor(bytes) { super(bytes); compiled++; } };
  const { batchNormalization, initialize } = await import('batchnorm');
  const X = { data: Float32Array.of(1, 2), shape: [2, 1, 1, 1] };`;

test('importing compiles nothing; the first call does, once', () => {
  const printed = inFreshNode(`${COUNT} const counts = [compiled];
    for (let k = 0; k < 3; k++) { batchNormalization(X, null, null); counts.push(compiled); } console.log(counts.join());`);
  assert.equal(printed, '0,1,1,1');
});

test('initialize compiles at once, any number of times', () => {
  assert.equal(
    inFreshNode(`${COUNT} initialize(); initialize(); batchNormalization(X, null, null); console.log(compiled);`),
    '1',
  );
});

const MODULE = `
  import { readFileSync } from 'node:fs';
  import { batchNormalization, initialize } from 'batchnorm';
  import { fileURLToPath } from 'node:url';
  const module = new WebAssembly.Module(readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm'))));
  const X = { data: Float32Array.of(1, 3), shape: [2, 1, 1, 1] };`;

test('initialize takes a compiled module, once, before anything was compiled', () => {
  const printed = inFreshNode(`${MODULE} initialize(module); initialize();
    console.log(batchNormalization(X, null, null, null, null, 0, 0)[0].data.join());
    try { initialize(module) } catch (error) { console.log(error.constructor.name, error.message) }`);
  assert.equal(printed, '-1,1\nError initialize: a module can be given only once, before the first call compiles one');
});

test('initialize refuses anything else, and works afterwards', () => {
  const printed = inFreshNode(`${MODULE}
    const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    const importing = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 7, 1, 1, 97, 1, 98, 0, 0));
    for (const wrong of [null, 5, new Uint8Array(8), {}, empty, importing])
      try { initialize(wrong) } catch (error) { console.log(error.constructor.name, error.message.replace(/.*; got /, '')) }
    initialize(module);`);
  assert.equal(
    printed,
    ['[object Null]', '[object Number]', '[object Uint8Array]', '[object Object]', 'another module', 'another module']
      .map((came) => `TypeError ${came}`)
      .join('\n'),
  );
});

test('an environment that refuses to compile gets an Error that says why and what to do', () => {
  const printed = inFreshNode(
    `import vm from 'node:vm';
    import { readFileSync } from 'node:fs';
    const context = vm.createContext({ atob }, { codeGeneration: { wasm: false } });
    const modules = new Map();
    const link = (name) => {
      if (!modules.has(name)) modules.set(name, new vm.SourceTextModule(readFileSync('js/' + name.slice(2), 'utf8'), { context, identifier: name }));
      return modules.get(name);
    };
    const index = link('./index.js');
    await index.link(link);
    await index.evaluate();
    const X = vm.runInContext('({ data: Float32Array.of(1, 2), shape: [2, 1, 1, 1] })', context);
    for (const attempt of [() => index.namespace.initialize(), () => index.namespace.batchNormalization(X, null, null)])
      try { attempt() } catch (error) { console.log(error.message, error.cause.name) }`,
    '--experimental-vm-modules',
    '--no-warnings',
  );
  for (const line of printed.split('\n')) {
    assert.match(
      line,
      /^batchnorm: this environment does not compile WebAssembly \(WebAssembly.Module\(\): Wasm code generation disallowed/,
    );
    assert.match(line, /add 'wasm-unsafe-eval' to its script-src.*initialize\(module\).*CompileError$/);
  }
  assert.equal(printed.split('\n').length, 2);
});

test('an engine without WebAssembly gets the same', () => {
  const printed = inFreshNode(`delete globalThis.WebAssembly;
    const { initialize } = await import('batchnorm');
    try { initialize() } catch (error) { console.log(error.constructor.name, error.message) }`);
  assert.match(printed, /^Error batchnorm: this environment does not compile WebAssembly \(WebAssembly is not defined\)/);
});

test('the changelog names the binary', () => {
  const [entry] = read('CHANGELOG.md')
    .toString()
    .match(/## \[[\s\S]*?sha256\s+`(\w+)`/);
  assert.ok(entry.includes(sha256(bytes)) && entry.includes(`${bytes.length} bytes`), 'CHANGELOG.md tells of another binary');
});
