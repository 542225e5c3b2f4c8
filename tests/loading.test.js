/* The binary is up to date, self-contained, and loaded when first needed. Also initialize, backend, and blocked WebAssembly. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { build } from 'esbuild';
import { contract } from '../js/forward-binary.js';
import { batchNormalization, batchNormalizationGradient } from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor } from './data.js';
import { callKernel, gradientKernel, inFreshNode } from './helpers.js';

const root = new URL('../', import.meta.url);
const read = (file) => readFileSync(new URL(file, root));
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
const FORWARD = ['bn_statistics', 'bn_moments', 'bn_fold', 'bn_normalize'];
const GRADIENT = ['bn_mask', 'bn_gradient_sums', 'bn_gradient_fold', 'bn_gradient_input'];
const bare = readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm')));
/** The halves as the package decodes and compiles them; a gradient needs both. */
const [forward, gradient] = inFreshNode(`
  const compiled = [];
  WebAssembly.Module = class extends WebAssembly.Module {
    constructor(bytes) {
      super(bytes);
      compiled.push(Buffer.from(bytes).toString('base64'));
    }
  };
  const { batchNormalizationGradient } = await import('./js/index.js');
  const X = { data: new Float32Array(400), shape: [1, 1, 20, 20] };
  batchNormalizationGradient(X, X);
  console.log(compiled.join());
`)
  .split(',')
  .map((text) => Buffer.from(text, 'base64'));
const EMBEDDED = {
  'js/forward-binary.js': { bytes: forward, functions: FORWARD },
  'js/gradient-binary.js': { bytes: gradient, functions: GRADIENT },
};

for (const [file, { bytes }] of Object.entries(EMBEDDED)) {
  const stamp = read(file).toString();
  const [, hash, version, names] = stamp.match(/Sources: (\w+) \(sha256 of version (\S+), (.*)\)/);

  test(`${file} was built from these sources`, () => {
    const sources = readdirSync(new URL('src/', root)).map((name) => `src/${name}`);
    const files = names.split(', ');
    assert.deepEqual(files, ['build.sh', ...sources.sort()]);
    assert.equal(version, JSON.parse(read('package.json')).version, 'the version has changed: run ./build.sh');
    assert.equal(hash, sha256(version, ...files.map(read)), 'a source has changed: run ./build.sh');
    assert.ok(hash.startsWith(contract));
  });

  test(`the stamp of ${file} has the binary’s size and hash`, () => {
    assert.ok(stamp.includes(`Binary: ${bytes.length} bytes, sha256 ${sha256(bytes)}`));
  });
}

/** The ids of a binary's sections, in order. */
function sectionsOf(bytes) {
  const sections = [];
  for (let at = 8; at < bytes.length; ) {
    sections.push(bytes[at++]);
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7, at++) {
      size |= (bytes[at] & 127) << shift;
      more = bytes[at] > 127;
    }
    at += size;
  }
  return sections;
}

for (const [name, { bytes, functions }] of Object.entries({
  ...EMBEDDED,
  'js/batchnorm.wasm': { bytes: bare, functions: [...FORWARD, ...GRADIENT] },
}))
  test(`${name} only imports its memory, runs nothing when it is instantiated, and leaves the memory unchanged`, () => {
    const module = new WebAssembly.Module(bytes);
    assert.deepEqual(WebAssembly.Module.imports(module), [{ module: 'env', name: 'memory', kind: 'memory' }]);
    const exported = WebAssembly.Module.exports(module);
    assert.ok(exported.every(({ kind }) => kind === 'function'));
    assert.deepEqual(exported.map(({ name }) => name).sort(), [...functions].sort());
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
    const content = new Uint8Array(memory.buffer).fill(0xa5);
    new WebAssembly.Instance(module, { env: { memory } });
    assert.ok(content.every((byte) => byte === 0xa5));
    // No start function, no data and no globals (a stack would need one). Only the bare module has a contract section.
    assert.deepEqual(sectionsOf(bytes), [1, 2, 3, 7, 10, ...(bytes === bare ? [0] : [])]);
    assert.ok(bytes.length < (bytes === bare ? 12288 : 8192), `${bytes.length} bytes`);
    if (bytes === bare) {
      const [section] = WebAssembly.Module.customSections(module, 'batchnorm');
      assert.equal(Buffer.from(section).toString(), contract);
    }
  });

test('the bare module computes what the embedded ones do', () => {
  // callKernel and gradientKernel run the bare module.
  const X = normalTensor([4, 5, 9, 9], 3, 100);
  const gradOutput = normalTensor(X.shape, 4, 1);
  assert.deepEqual(batchNormalization(X, null, null), callKernel(X, null, null));
  assert.deepEqual(batchNormalizationGradient(gradOutput, X), gradientKernel(gradOutput, X));
});

const COUNT = `
  let compiled = 0;
  WebAssembly.Module = class extends WebAssembly.Module { constructor(bytes) { super(bytes); compiled++; } };
  const { Arena, batchNormalization, batchNormalizationGradient, initialize } = await import('batchnorm');
  const X = { data: Float32Array.from({ length: 160 }, (_, i) => i), shape: [2, 1, 1, 80] };`;

test('importing compiles nothing; the first call compiles once', () => {
  const printed = inFreshNode(`${COUNT} const counts = [compiled];
    for (let k = 0; k < 3; k++) { batchNormalization(X, null, null); counts.push(compiled); } console.log(counts.join());`);
  assert.equal(printed, '0,1,1,1');
});

test('the gradient’s half is compiled by the first gradient, once for all arenas', () => {
  const printed = inFreshNode(`${COUNT} batchNormalization(X, null, null); const counts = [compiled];
    for (let k = 0; k < 3; k++) { batchNormalizationGradient(X, X); counts.push(compiled); }
    for (let k = 0; k < 2; k++) {
      const x = new Arena(1024).tensor(X.shape);
      x.data.set(X.data);
      batchNormalizationGradient(x, x);
      counts.push(compiled);
    }
    console.log(counts.join());`);
  assert.equal(printed, '1,2,2,2,2,2');
});

test('a given module has both halves: nothing else is compiled', () => {
  const printed = inFreshNode(`${MODULE}
    import { batchNormalizationGradient } from 'batchnorm';
    WebAssembly.Module = new Proxy(WebAssembly.Module, { construct() { throw new Error('compiled') } });
    initialize(module);
    batchNormalization(X, null, null);
    const { set } = Float32Array.prototype;
    let copied = 0;
    Float32Array.prototype.set = function (...args) { copied++; return set.apply(this, args); };
    const [, gradGamma, gradBeta] = batchNormalizationGradient(X, X, { epsilon: 0 });
    console.log(gradGamma.data[0], gradBeta.data[0], copied > 0);`);
  assert.equal(printed, '160 320 true');
});

for (const [name, refuse] of [
  [
    'compiled',
    "WebAssembly.Module = new Proxy(Module, { construct(Target, args) { tries++; throw new RangeError('refused') } });",
  ],
  [
    'instantiated',
    "WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) { tries++; throw new RangeError('refused') } });",
  ],
])
  test(`a gradient’s half that cannot be ${name} is tried once; then plain JavaScript computes`, () => {
    const printed = inFreshNode(`
      const { Module, Instance } = WebAssembly;
      const { backend, batchNormalizationGradient, initialize } = await import('batchnorm');
      const plain = await import('batchnorm/js');
      const X = { data: Float32Array.from({ length: 800 }, (_, i) => Math.sin(i)), shape: [2, 4, 10, 10] };
      const before = backend();
      let tries = 0;
      ${refuse}
      const texts = [batchNormalizationGradient, plain.batchNormalizationGradient, batchNormalizationGradient].map((call) =>
        JSON.stringify(call(X, X).map(({ data }) => [...data])));
      const counted = tries;
      Object.assign(WebAssembly, { Module, Instance });
      initialize();
      const again = JSON.stringify(batchNormalizationGradient(X, X).map(({ data }) => [...data]));
      console.log(before, new Set(texts).size, texts[0].length > 5000, counted, again !== texts[0]);`);
    assert.equal(printed, 'wasm-simd 1 true 1 true');
  });

test('initialize compiles at once, any number of times', () => {
  assert.equal(
    inFreshNode(`${COUNT} initialize(); initialize(); batchNormalization(X, null, null); console.log(compiled);`),
    '1',
  );
});

const MODULE = `
  import { readdirSync, readFileSync } from 'node:fs';
  import { backend, batchNormalization, initialize } from 'batchnorm';
  import { fileURLToPath } from 'node:url';
  const module = new WebAssembly.Module(readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm'))));
  const X = { data: Float32Array.from({ length: 160 }, (_, i) => (i % 2 ? 3 : 1)), shape: [2, 1, 1, 80] };`;

test('initialize accepts a compiled module, once, before anything is compiled', () => {
  const printed = inFreshNode(`${MODULE} initialize(module); initialize();
    console.log(batchNormalization(X, null, null, null, null, 0, 0)[0].data.slice(0, 2).join(), backend());
    try { initialize(module) } catch (error) { console.log(error.constructor.name, error.message) }`);
  assert.equal(printed, '-1,1 wasm-simd\nError initialize: module must be given before the kernel is compiled');
});

test('initialize rejects anything else, and works afterwards', () => {
  const printed = inFreshNode(`${MODULE}
    const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    for (const wrong of [null, 5, new Uint8Array(8), {}, empty])
      try { initialize(wrong) } catch (error) { console.log(error.constructor.name, error.message.replace(/.*; got /, '')) }
    initialize(module);`);
  assert.equal(
    printed,
    ['null', '5', 'a Uint8Array of length 8', 'an object', 'an object'].map((given) => `TypeError ${given}`).join('\n'),
  );
});

test('initialize rejects the binary of another version, and one without the right stamp', () => {
  const printed = inFreshNode(`${MODULE}
    const bytes = readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm')));
    const other = bytes.slice();
    other[other.length - 1] ^= 1; // the contract's last digit
    const bare = bytes.subarray(0, bytes.length - 20); // without the section
    for (const wrong of [other, bare])
      try { initialize(new WebAssembly.Module(wrong)) } catch (error) { console.log(error.constructor.name, error.message) }
    initialize(module);
    console.log(backend());`);
  const expected = "TypeError initialize: module must be a WebAssembly.Module of this version's batchnorm/batchnorm.wasm; got ";
  assert.deepEqual(printed.split('\n'), [`${expected}one of another version`, `${expected}an object`, 'wasm-simd']);
});

test('a stack overflow while the kernel is loaded does not make it unavailable', () => {
  const printed = inFreshNode(`
    const { Instance } = WebAssembly;
    let overflows = true;
    WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) { if (overflows) (function again() { again() })(); return new Target(...args) } });
    const { backend } = await import('batchnorm');
    const first = backend(); overflows = false; console.log(first, backend());`);
  assert.equal(printed, 'js wasm-simd');
});

test('a module that fails is not kept: the embedded binary is used', () => {
  const printed = inFreshNode(`${MODULE}
    const { Instance } = WebAssembly;
    WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) { if (args[0] === module) throw new Error('unusable'); return new Target(...args) } });
    try { initialize(module) } catch (error) { console.log(error.cause.message) }
    initialize();
    console.log(backend());`);
  assert.equal(printed, 'unusable\nwasm-simd');
});

test('a kernel that computes wrong results is not used', () => {
  // Simulates big-endian typed arrays: the kernel finds the bytes of every float32 reversed.
  const printed = inFreshNode(`
    const { Instance } = WebAssembly;
    WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) {
      const { exports } = new Target(...args);
      const swap = (at, values) => { const view = new DataView(args[1].env.memory.buffer);
        for (let k = 0; k < values; k++) view.setFloat32(at + 4 * k, view.getFloat32(at + 4 * k, true), false); };
      const bn_statistics = (x, rows, stride, ...rest) => { swap(x, rows * stride); exports.bn_statistics(x, rows, stride, ...rest); swap(x, rows * stride); };
      return { exports: { ...exports, bn_statistics } };
    } });
    const { backend, batchNormalization, initialize } = await import('batchnorm');
    const { batchNormalization: plain } = await import('batchnorm/js');
    const X = { data: Float32Array.from({ length: 800 }, (_, i) => Math.sin(i)), shape: [2, 4, 10, 10] };
    const same = JSON.stringify(batchNormalization(X, null, null)) === JSON.stringify(plain(X, null, null));
    WebAssembly.Instance = Instance;
    const before = backend();
    initialize();
    console.log(same, before, backend());`);
  assert.equal(printed, 'true js wasm-simd');
});

test('backend compiles on demand', () => {
  assert.equal(
    inFreshNode(`${COUNT} const { backend } = await import('batchnorm');
      const before = compiled; console.log([before, backend(), compiled, backend(), compiled].join());`),
    '0,wasm-simd,1,wasm-simd,1',
  );
});

test('tiny tensors are computed in plain JavaScript: nothing is compiled, and a module may still be given', () => {
  const printed = inFreshNode(`${MODULE}
    WebAssembly.Module = new Proxy(WebAssembly.Module, { construct() { throw new Error('compiled') } });
    const tiny = { data: Float32Array.of(1, 3), shape: [2, 1, 1, 1] };
    console.log(batchNormalization(tiny, null, null, null, null, 0, 0)[0].data.join());
    initialize(module);
    console.log(backend());`);
  assert.equal(printed, '-1,1\nwasm-simd');
});

test('an unavailable kernel is not tried again until initialize is called', () => {
  const printed = inFreshNode(`
    const { Instance } = WebAssembly;
    let short = true;
    WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) { if (short) throw new RangeError('out of memory'); return new Target(...args) } });
    const { backend, initialize } = await import('batchnorm');
    const first = backend(); short = false; const second = backend(); initialize(); console.log(first, second, backend());`);
  assert.equal(printed, 'js js wasm-simd');
});

test('if an engine rejects the binary, for whatever reason, it is tried only once', () => {
  for (const [Constructor, reason] of [
    ['Module', "new RangeError('WebAssembly.Module is disallowed on the main thread, if the buffer size is larger than 4KB')"],
    ['Module', "new WebAssembly.CompileError('no SIMD')"],
    ['Instance', "new RangeError('Out of memory: Cannot allocate Wasm memory for new instance')"],
    ['Instance', 'undefined'],
  ]) {
    const printed = inFreshNode(`
      let tries = 0;
      WebAssembly.${Constructor} = new Proxy(WebAssembly.${Constructor}, { construct() { tries++; throw ${reason}; } });
      const { backend, batchNormalization, initialize } = await import('batchnorm');
      const X = { data: new Float32Array(800), shape: [2, 4, 10, 10] };
      for (let k = 0; k < 5; k++) batchNormalization(X, null, null);
      const before = tries;
      initialize();
      console.log(before, tries, backend());`);
    assert.equal(printed, '1 2 js');
  }
});

test('a module may be given if the embedded binary was rejected; after one that cannot be instantiated, another may be given', () => {
  const printed = inFreshNode(`${MODULE}
    const { Module, Instance } = WebAssembly;
    WebAssembly.Module = new Proxy(Module, { construct() { throw new WebAssembly.CompileError('refused') } });
    console.log(backend());
    let refuse = true;
    WebAssembly.Instance = new Proxy(Instance, { construct(Target, args) { if (refuse) throw new WebAssembly.LinkError('no'); return new Target(...args) } });
    try { initialize(module) } catch (error) { console.log(error.message + ': ' + error.cause.message) }
    refuse = false;
    console.log(backend());
    initialize(module);
    console.log(backend());`);
  assert.deepEqual(printed.split('\n'), ['js', 'initialize: module could not be instantiated: no', 'js', 'wasm-simd']);
});

/** Runs after `refuse`, in a fresh Node. Prints backend(), and whether the results are those of plain JavaScript. */
const REFUSED = `
  const batchnorm = await import('batchnorm');
  const plain = await import('batchnorm/js');
  batchnorm.initialize();
  const X = { data: Float32Array.from({ length: 800 }, (_, i) => Math.sin(i)), shape: [2, 4, 10, 10] };
  const results = [batchnorm, plain].map(({ batchNormalization, batchNormalizationGradient }) =>
    JSON.stringify([...batchNormalization(X, [1, 2, 3, 4], null), ...batchNormalizationGradient(X, X)].map(({ data }) => [...data])));
  console.log(batchnorm.backend(), results[0] === results[1], results[0].length > 20000);`;

for (const [name, refuse] of [
  ['an engine without WebAssembly', 'delete globalThis.WebAssembly;'],
  [
    'an engine without SIMD, or a Content-Security-Policy',
    `WebAssembly.Module = new Proxy(WebAssembly.Module, { construct() { throw new WebAssembly.CompileError('refused') } });`,
  ],
  [
    'an engine that cannot allocate the memory',
    `WebAssembly.Instance = new Proxy(WebAssembly.Instance, { construct() { throw new RangeError('out of memory') } });`,
  ],
])
  test(`${name} computes in plain JavaScript`, () => {
    assert.equal(inFreshNode(`${refuse} ${REFUSED}`), 'js true true');
  });

test('a context in which V8 itself blocks WebAssembly computes in plain JavaScript', () => {
  const printed = inFreshNode(
    `import vm from 'node:vm';
    import { readdirSync, readFileSync } from 'node:fs';
    const context = vm.createContext({}, { codeGeneration: { wasm: false } });
    const modules = new Map();
    const link = (name) => {
      if (!modules.has(name)) modules.set(name, new vm.SourceTextModule(readFileSync('js/' + name.slice(2), 'utf8'), { context, identifier: name }));
      return modules.get(name);
    };
    const index = link('./index.js');
    await index.link(link);
    await index.evaluate();
    const X = vm.runInContext('({ data: new Float32Array(200).fill(1), shape: [2, 1, 1, 100] })', context);
    const [output] = index.namespace.batchNormalization(X, null, [5]);
    console.log(index.namespace.backend(), output.data.every((y) => y === 5));`,
    '--experimental-vm-modules',
    '--no-warnings',
  );
  assert.equal(printed, 'js true');
});

test('plain JavaScript computes up to 128 values, the kernel more', () => {
  for (const length of [128, 129]) {
    const X = normalTensor([1, 1, 1, length], 5, 100);
    const gradOutput = normalTensor(X.shape, 6, 1);
    for (const [call, inKernel, inPlain, ...args] of [
      [batchNormalization, callKernel, plain.batchNormalization, X, null, null],
      [batchNormalizationGradient, gradientKernel, plain.batchNormalizationGradient, gradOutput, X],
    ]) {
      const [expected, other] = length > 128 ? [inKernel, inPlain] : [inPlain, inKernel];
      assert.deepEqual(call(...args), expected(...args));
      assert.notDeepEqual(other(...args), expected(...args));
    }
  }
});

test('the changelog names the binary', () => {
  const [entry] = read('CHANGELOG.md')
    .toString()
    .match(/## \[[\s\S]*?sha256\s+`(\w+)`/);
  assert.ok(entry.includes(sha256(bare)) && entry.includes(`${bare.length} bytes`), 'CHANGELOG.md describes another binary');
});

test('where ArrayBuffer is not that of WebAssembly, as in Jest, gradients and attach use the kernel', async () => {
  const { outputFiles } = await build({
    entryPoints: ['js/index.js'],
    absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
    bundle: true,
    format: 'iife',
    globalName: 'batchnorm',
    write: false,
  });
  // A new context has its own ArrayBuffer; its WebAssembly is replaced by this one.
  const context = vm.createContext({});
  context.WebAssembly = WebAssembly;
  const run = (code) => vm.runInContext(code, context);
  run(outputFiles[0].text);
  run('var X = { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [2, 4, 20] };');
  assert.equal(run('new WebAssembly.Memory({ initial: 1 }).buffer instanceof ArrayBuffer'), false);
  const gradient = run('batchnorm.batchNormalizationGradient(X, X)[0].data');
  const Y = { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [2, 4, 20] };
  assert.deepEqual([...gradient], [...batchNormalizationGradient(Y, Y)[0].data]);
  assert.equal(run(`globalThis[Symbol.for('batchnorm ${contract}')].noGradient`), undefined);
  run('batchnorm.attach(new WebAssembly.Memory({ initial: 16 }), 64, 2 ** 19).tensor([2], 2 ** 19)');
});
