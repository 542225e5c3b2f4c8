/* Before a kernel is used, it must compute a known answer. Each of these kernels gets one part of that answer wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inFreshNode } from './helpers.js';

for (const [name, wrong] of [
  ['slabs', 'columns ? y : y + 1'],
  ['columns', 'columns ? y + 1 : y'],
  ['subnormal numbers', 'Math.abs(y) < 2 ** -126 ? 0 : y'],
])
  test(`a kernel that gives wrong results for ${name} is not used`, () => {
    const printed = inFreshNode(`
      const { Instance } = WebAssembly;
      WebAssembly.Instance = new Proxy(Instance, { construct(Target, [module, imports]) {
        const { exports } = new Target(module, imports);
        const bn_normalize = (x, to, rows, xStride, stride, channels, positions, columns, ...rest) => {
          exports.bn_normalize(x, to, rows, xStride, stride, channels, positions, columns, ...rest);
          const out = new Float32Array(imports.env.memory.buffer);
          for (let row = 0; row < rows; row++)
            for (let i = 0, at = to / 4 + row * stride; i < channels * positions; i++, at++) {
              const y = out[at];
              out[at] = ${wrong};
            }
        };
        return { exports: { ...exports, bn_normalize } };
      } });
      const { backend, initialize } = await import('batchnorm');
      const before = backend();
      WebAssembly.Instance = Instance;
      initialize();
      console.log(before, backend());`);
    assert.equal(printed, 'js wasm-simd');
  });
