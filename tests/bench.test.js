/* The benchmarks, which no other test runs: their imports exist, bench/parts.js computes the package's results, and the functions that
 * the package is compared with are right. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { callOf, largestError, MODES, nameOf, placeOf, problemOf } from '../bench/cases.js';
import { tunedFunctions } from '../bench/plain.js';

const root = fileURLToPath(new URL('../', import.meta.url));

for (const entry of ['bench.js', 'parts.js', 'peers/peers.js', 'peers/first.js', 'peers/browsers.js', 'peers/page.js'])
  test(`bench/${entry} finds what it imports`, async () => {
    const options = { bundle: true, write: false, platform: 'node', format: 'esm', logLevel: 'silent' };
    // Only the comparison itself installs its libraries.
    const missing = { packages: 'external', external: ['./node_modules/*'] };
    const { warnings } = await build({ ...options, ...missing, entryPoints: [`bench/${entry}`], absWorkingDir: root });
    // esbuild warns about names that a namespace lacks; names missing from an import are errors.
    assert.deepEqual(warnings, []);
  });

test('bench/parts.js verifies, measures and prints every part', () => {
  const { stdout, stderr, status, error } = spawnSync(process.execPath, ['bench/parts.js', '--quick', '3,5,9,9'], {
    cwd: root,
    encoding: 'utf8',
    timeout: 300_000,
  });
  assert.ifError(error);
  assert.equal(status, 0, stderr);
  // Each part, and in how many of the four modes it runs.
  const parts = { bn_statistics: 1, bn_moments: 1, bn_fold: 4, bn_normalize: 3, bn_gradient_sums: 2, bn_gradient_fold: 2 };
  Object.assign(parts, { bn_gradient_input: 2, bn_mask: 1, 'copies alone': 4, 'whole call': 4 });
  for (const [part, modes] of Object.entries(parts))
    assert.equal(stdout.match(new RegExp(`^${part} `, 'gm'))?.length, modes, part);
});

test('bench/plain.js is right in each layout, compared with float64', () => {
  // The numbers of channels go up and down, so that nothing that one call leaves behind may disturb the next.
  for (const place of ['3,40,5,6', '2,3,64,8', '64,30', '7,5', '3,4,4,9,last'].map(placeOf))
    for (const mode of MODES) {
      const given = problemOf(place, mode);
      const results = callOf(tunedFunctions, given)();
      const error = largestError(
        results.map(({ data }) => data),
        given,
      );
      assert.ok(error < 64, `${mode} of ${nameOf(place)}: ${error} ULP`);
    }
});
