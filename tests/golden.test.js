/* Users may have stored results, so their bits are promised: the results of golden.js have the hashes of golden-hashes.js, wherever the
 * tensors lie. If a change is meant to give different bits, run node tests/golden-write.js, which writes the new hashes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as library from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { GROUPS, hashesOf, WAYS } from './golden.js';
import { golden } from './golden-hashes.js';

const copies = ['by copies', 'in place'];

for (const [computes, functions, ways] of [
  ['wasm-simd', library, Object.keys(WAYS)],
  ['js', plain, copies],
])
  for (const way of ways)
    test(`golden bits, ${computes}, ${way}`, () => {
      const hashes = hashesOf(functions, GROUPS[computes], way);
      const names = Object.keys(hashes);
      assert.deepEqual(
        names.filter((name) => hashes[name] !== golden[computes][name]),
        [],
      );
      if (copies.includes(way)) assert.deepEqual(names, Object.keys(golden[computes]));
    });
