/* The plan: pure arithmetic, so that tensors of any size can be planned here; and results that do not depend on it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, workArea } from '../js/kernel.js';
import { planTiles } from '../js/tiles.js';
import { normalTensor, parametersFor, tensor } from './data.js';
import { assertSameBits, callKernel, callWithin } from './helpers.js';

const KIB = 1024;
const BUDGETS = [2 * KIB, 3 * KIB, 5 * KIB, 20 * KIB, 64 * KIB, 1024 * KIB, 8192 * KIB - 20000];
const DIMENSIONS = [1, 2, 3, 5, 16, 31, 32, 33, 49, 64, 65, 1000, 4096, 1e5, 1e6, 1e7, 1e9, 1e12];

test('every plan up to 10¹² values fits its memory and obeys the kernel’s rules', () => {
  let planned = 0;
  for (const batch of DIMENSIONS)
    for (const channels of DIMENSIONS)
      for (const spatial of DIMENSIONS)
        for (const training of [true, false])
          for (const budget of BUDGETS) {
            if (batch * channels * spatial > 1e12) continue;
            const begin = 64 * 1000;
            const plan = planTiles({ batch, channels, spatial, training }, begin, begin + budget);
            const { columns, resident, rows, positions } = plan;
            const what = JSON.stringify({ batch, channels, spatial, training, budget, plan });
            const range = plan.channels;
            // It advances, within the tensor.
            assert.ok(range >= 1 && range <= channels, what);
            assert.ok(rows >= 1 && rows <= batch && positions >= 1 && positions <= spatial, what);
            assert.equal(resident, rows === batch && positions === spatial, what);
            // Blocks end where the order of summation lets them.
            if (columns) assert.ok((rows % 4 === 0 || rows === batch) && positions === spatial, what);
            if (positions < spatial) assert.ok(positions % 64 === 0 && rows === 1 && range === 1, what);
            // The regions follow one another, aligned, and the largest block with its padding ends in the memory.
            const partials = columns ? spatial : 8;
            const copies = columns ? spatial : 1;
            assert.equal(plan.partial, begin, what);
            assert.equal(plan.squares, begin + (plan.guess ? 8 * partials * range : 0), what);
            assert.ok(plan.channel >= plan.squares + 8 * partials * range && plan.channel % 8 === 0, what);
            assert.ok(plan.fold >= plan.channel + 48 * range && plan.fold % 8 === 0, what);
            assert.ok(plan.tile >= plan.fold + 12 * copies * range && plan.tile % 16 === 0, what);
            const stride = range === channels ? range * positions : range * positions + 15;
            const end = plan.tile + 4 * 15 + 4 * ((rows - 1) * stride + range * positions);
            assert.ok(end <= begin + budget, what);
            planned++;
          }
  assert.ok(planned > 10000, `${planned} plans`);
});

test('the layout, and whether the mean is guessed, follow from the dimensions alone', () => {
  for (const batch of DIMENSIONS)
    for (const spatial of DIMENSIONS) {
      const layouts = new Set();
      const guesses = new Set();
      for (const budget of BUDGETS)
        for (const training of [true, false]) {
          const { columns, guess } = planTiles({ batch, channels: 7, spatial, training }, 0, budget);
          layouts.add(columns);
          if (training) guesses.add(guess);
          else assert.ok(!guess);
        }
      assert.equal(layouts.size, 1, `${batch}, ${spatial}`);
      assert.equal(guesses.size, 1, `${batch}, ${spatial}`);
    }
});

test('the plans of well-known shapes', () => {
  load();
  const [begin, end] = workArea();
  const plan = (batch, channels, spatial, training = true) => planTiles({ batch, channels, spatial, training }, begin, end);
  assert.equal(plan(2, 2, 4).channels, 2, 'a tiny tensor in one piece');
  assert.ok(plan(2, 2, 4).resident);
  assert.ok(plan(32, 64, 112 * 112).resident, 'a channel that fits is resident');
  assert.ok(!plan(1, 1, 2 ** 24).resident, 'a channel of 64 MB is streamed');
  assert.ok(plan(1, 1, 2 ** 24).positions < 2 ** 24);
  assert.ok(!plan(1e6, 64, 1).resident, 'rows of a few bytes are streamed, not gathered');
  assert.equal(plan(1e6, 64, 1).channels, 64);
  assert.ok(plan(1, 1e7, 1).channels < 1e7, 'ten million channels are taken in ranges');
  assert.ok(plan(1, 1, 1e9).positions < 1e9);
  assert.ok(
    plan(1, 1, 2 ** 24).guess && !plan(32, 64, 112 * 112).guess,
    'a mean is guessed where memory cannot hold the channel',
  );
  assert.ok(!plan(32, 64, 112 * 112, false).resident, 'inference streams');
});

for (const shape of [
  [1, 1, 1, 1],
  [3, 5, 1, 1],
  [37, 11, 1, 1],
  [30, 4, 3, 5],
  [12, 3, 5, 6],
  [2, 7, 5, 6],
  [5, 3, 4, 8],
  [3, 4, 7, 7],
  [2, 3, 9, 71],
  [1, 2, 50, 101],
  [9, 2, 33, 40],
])
  test(`the bits do not depend on the budget, [${shape}]`, () => {
    const X = normalTensor(shape, 21, 3, 2);
    X.data[0] = 1e25; // a channel whose squares are summed again in double, and normalized in it
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    for (const training of [true, false]) {
      const args = [gamma, Float64Array.from(beta, (value, c) => value + c / 3), runningMean, runningVar, 0.3, 1e-3, training];
      const expected = callKernel(X, ...args);
      for (const bytes of [...BUDGETS, ...Array.from({ length: 40 }, (_, k) => 2048 + 256 * k)]) {
        const actual = callWithin(bytes, X, ...args);
        assertSameBits(actual[0].data, expected[0].data, `output within ${bytes} bytes`);
        for (const k of [1, 2]) assertSameBits(actual[k].data, expected[k].data, `statistics within ${bytes} bytes`);
      }
    }
  });

test('the bits of a channel too long for the memory do not depend on the budget', () => {
  // Two channels of which memory holds both or one; on a lattice, roundings do not cancel, so that another guess would show.
  const shape = [700, 2, 60, 50];
  for (const astray of [0, 1e6]) {
    const X = tensor(shape, (i) => (i % 7 ? 0.3 : 0.1) + 4 * (Math.floor(i / 3000) % 2));
    X.data[3000] += astray;
    const expected = callKernel(X, null, null, null, null, 0);
    const actual = callWithin(5 * KIB, X, null, null, null, null, 0);
    for (const k of [0, 1, 2]) assertSameBits(actual[k].data, expected[k].data, `result ${k}`);
  }
});
