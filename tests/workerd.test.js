/* The entry for Cloudflare's workerd, which imports a module that the runtime has compiled. Here a hook of Node's loader compiles it;
 * tests/package runs the entry in workerd itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inFreshNode } from './helpers.js';

/** The loader's hook: it replaces every imported .wasm file with this text. */
const hook = (text) => `export const load = (url, context, next) =>
  url.endsWith('.wasm') ? { format: 'module', shortCircuit: true, source: ${JSON.stringify(text)} } : next(url, context);`;

/** Imports the entry with that hook and runs `code`, in which `compiled` counts the compiled modules. */
const inWorkerd = (text, code) =>
  inFreshNode(`
    import { register } from 'node:module';
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook(text))}`)});
    let compiled = 0;
    WebAssembly.Module = class extends WebAssembly.Module { constructor(bytes) { super(bytes); compiled++; } };
    const { backend, batchNormalization, batchNormalizationGradient } = await import('./js/index-workerd.js');
    const X = { data: Float32Array.from({ length: 160 }, (_, i) => i), shape: [2, 1, 1, 80] };
    ${code}`);

test('the given module is used, and no other is compiled', () => {
  const wasm = `import { readFileSync } from 'node:fs';
    export default new WebAssembly.Module(readFileSync('js/batchnorm.wasm'));`;
  const printed = inWorkerd(
    wasm,
    `const counts = [compiled];
    batchNormalization(X, null, null);
    batchNormalizationGradient(X, X);
    console.log(backend(), ...counts, compiled);`,
  );
  assert.equal(printed, 'wasm-simd 1 1');
});

test('if the import is not a module, the embedded binary is compiled', () => {
  const printed = inWorkerd("export default 'js/batchnorm.wasm';", 'console.log(compiled, backend(), compiled);');
  assert.equal(printed, '0 wasm-simd 1');
});
