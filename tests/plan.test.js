/* The plan. It is pure arithmetic, so tensors of any size can be planned here. Also, results must not depend on it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalizeBy } from '../js/forward.js';
import { differentiateBy } from '../js/gradient.js';
import { makePlan } from '../js/plan.js';
import { normalTensor, parametersFor, seeded, tensor } from './data.js';
import { assertSameBits, callKernel, callWithin, LEAST, POSITIONS, rowsOfBlock } from './helpers.js';

const KIB = 1024;
const BUDGETS = [LEAST, LEAST + 64, 100 * KIB, 128 * KIB, 192 * KIB, 256 * KIB, 1024 * KIB, 2048 * KIB, 8192 * KIB];
const DIMENSIONS = [1, 2, 3, 5, 16, 31, 32, 33, 49, 64, 65, 1000, 4096, 1e5, 1e6, 1e7, 1e9, 1e12];

/** The task that a call plans, recorded by a kernel that does nothing. */
function taskOf(use, job, out) {
  let planned;
  const kernel = { run: (_dimensions, task) => (planned = task) };
  use(kernel, { channels: 1, mean: null, ...job }, out);
  return planned;
}
const out = new Float32Array(1);
const TASKS = {
  training: taskOf(normalizeBy, { training: true }, out),
  moments: taskOf(normalizeBy, { training: true }, null),
  inference: taskOf(normalizeBy, { training: false }, out),
  gradient: taskOf(differentiateBy, { training: true }, out),
  'gradient, relu': taskOf(differentiateBy, { training: true, relu: true }, out),
  'gradient of the parameters': taskOf(differentiateBy, { training: true, mean: [0] }, null),
  'gradient in inference, relu': taskOf(differentiateBy, { training: false, mean: [0], relu: true }, out),
};

/** The budgets for a task. */
const budgetsOf = ({ tiles }) => BUDGETS.filter((budget) => budget >= LEAST * tiles);

/** Checks a plan against its memory and the kernel's rules. Returns the most bytes that it uses. */
function holdPlan(name, dimensions, budget, home) {
  const task = TASKS[name];
  const { batch, channels, spatial } = dimensions;
  const plan = makePlan(dimensions, task, budget, home);
  const { columns, resident, range, rows, positions, sums, folded } = plan;
  const { numbers } = task;
  const hold = (holds, rule) => holds || assert.fail(`${rule}: ${name} ${JSON.stringify({ ...dimensions, home, budget, plan })}`);
  hold([range, rows, positions].every(Number.isSafeInteger), 'sizes are integers');
  hold(range >= 1 && range <= channels, 'a range has at least 1 and at most all channels');
  hold(rows >= 1 && rows <= batch && positions >= 1 && positions <= spatial, 'a piece is within the tensor');
  if (home) hold(!resident, 'tensors in the kernel’s memory are not copied');
  else if (rows === batch && positions === spatial) hold(resident, 'a whole range is resident');
  const height = rowsOfBlock(dimensions, columns);
  hold(columns === 0 || columns === height, 'the layout states the rows of a block');
  if (task.blocks) hold(rows % height === 0 || rows === batch, 'pieces end where blocks do');
  if (positions < spatial)
    hold(positions % POSITIONS === 0 && rows === 1 && range === 1 && !columns, 'only a single slab is cut');
  // From the header: per channel, six doubles; for the gradient, ten more, and another six for the output. Per series, four doubles and
  // three floats; for the gradient, six doubles and eight floats.
  const series = columns ? spatial : 1;
  const bytes = /gradient/.test(name) ? [176, 48 * series, 32 * series] : [48, 32 * series, 12 * series];
  hold(`${[numbers, sums, folded]}` === `${bytes}`, 'regions have the sizes of the header');
  // The regions and the tiles of the largest piece must end within the memory. Tiles are padded, and no two share a page. The work
  // area may begin anywhere in a page.
  const state = range * (numbers + sums + folded);
  const stride = range * spatial + 15;
  const length = ((resident ? batch : rows) - 1) * stride + range * (resident ? spatial : positions);
  const tile = 4096 * Math.ceil((4 * length + (resident ? 60 : 0)) / 4096) + 4096;
  const end = state + 4095 + 2048 + 16 + (task.tiles - 1) * tile + 4 * (1023 + length);
  hold(end <= budget, 'the plan fits');
  return end;
}

test('every plan up to 10¹² values fits its memory and obeys the kernel’s rules', () => {
  let planned = 0;
  for (const [name, task] of Object.entries(TASKS))
    for (const batch of DIMENSIONS)
      for (const channels of DIMENSIONS)
        for (const spatial of DIMENSIONS)
          for (const home of [true, false])
            for (const budget of budgetsOf(task)) {
              if (batch * channels * spatial > 1e12) continue;
              holdPlan(name, { batch, channels, spatial }, budget, home);
              planned++;
            }
  assert.ok(planned > 100000, `${planned} plans`);
});

test('random plans fit, too, in memory of any size up to 4 GiB, and in exactly as much as another plan uses', () => {
  const next = seeded(61);
  /** A random integer of any magnitude, often close to a multiple of a power of two, where the rules change. */
  const upTo = (most) => {
    const size = Math.floor((most + 1) ** next());
    const unit = 2 ** Math.floor(next() * 13);
    const near = unit * Math.ceil(size / unit) + Math.floor(next() * 3) - 1;
    return Math.max(1, Math.min(most, next() < 0.5 ? size : near));
  };
  for (let k = 0; k < 50000; k++) {
    const [name, { tiles }] = Object.entries(TASKS)[k % Object.keys(TASKS).length];
    const least = LEAST * tiles;
    const sizes = [];
    for (let left = 1e12; sizes.length < 3; left = Math.floor(left / sizes.at(-1))) sizes.push(upTo(left));
    // It is also random which of the three may be large.
    const turn = Math.floor(next() * 3);
    const [batch, channels, spatial] = sizes.map((_, i) => sizes[(i + turn) % 3]);
    const home = next() < 0.3;
    let budget = least - 1 + upTo(4 * 2 ** 30 - least);
    for (let step = 0; step < 3; step++) {
      const end = holdPlan(name, { batch, channels, spatial }, budget, home);
      budget = Math.max(least, end - 64 * step);
    }
  }
});

test('the layout follows from the dimensions alone', () => {
  for (const batch of DIMENSIONS)
    for (const spatial of DIMENSIONS) {
      const layouts = new Set();
      for (const task of Object.values(TASKS))
        for (const budget of budgetsOf(task))
          for (const home of [true, false]) layouts.add(makePlan({ batch, channels: 7, spatial }, task, budget, home).columns);
      assert.equal(layouts.size, 1, `${batch}, ${spatial}`);
    }
});

test('the plans of well-known shapes', () => {
  const plan = (batch, channels, spatial, task = TASKS.training, home = false) =>
    makePlan({ batch, channels, spatial }, task, 8 << 20, home);
  assert.equal(plan(2, 2, 4).range, 2, 'a tiny tensor in one piece');
  assert.ok(plan(2, 2, 4).resident);
  assert.ok(plan(32, 64, 112 * 112).resident, 'a channel that fits is resident');
  assert.ok(!plan(1, 1, 2 ** 24).resident, 'a channel of 64 MB is streamed');
  assert.ok(plan(1, 1, 2 ** 24).positions < 2 ** 24);
  assert.ok(!plan(1e6, 64, 1).resident, 'rows of a few bytes are streamed, not gathered');
  assert.equal(plan(1e6, 64, 1).range, 64);
  assert.ok(plan(1, 1e7, 1).range < 1e7, 'ten million channels are taken in ranges');
  assert.ok(plan(1, 1, 1e9).positions < 1e9);
  for (const name of ['inference', 'moments', 'gradient in inference, relu'])
    assert.ok(!plan(32, 64, 112 * 112, TASKS[name]).resident, `${name} streams`);
  assert.ok(plan(32, 64, 56 * 56, TASKS['gradient, relu']).resident, 'three tiles that fit are resident');
  assert.ok(!plan(32, 64, 112 * 112, TASKS.training, true).resident, 'tensors in the kernel’s memory are not copied');
});

for (const shape of [
  [700, 70, 1, 1],
  [300, 9, 5, 6],
  [9, 2, 3, 9000],
  [1, 1, 1, 70001],
  [19, 30, 20, 25],
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
    X.data[0] = 1e25; // a channel whose squares are summed again in double, and that is normalized in double
    const { gamma, beta, runningMean, runningVar } = parametersFor(shape[1]);
    for (const training of [true, false]) {
      const args = [gamma, Float64Array.from(beta, (value, c) => value + c / 3), runningMean, runningVar, 0.3, 1e-3, training];
      const expected = callKernel(X, ...args);
      for (const bytes of [...BUDGETS, ...Array.from({ length: 20 }, (_, k) => LEAST + 1024 * k * k)]) {
        const actual = callWithin(bytes, X, ...args);
        assertSameBits(actual[0].data, expected[0].data, `output within ${bytes} bytes`);
        for (const k of [1, 2]) assertSameBits(actual[k].data, expected[k].data, `statistics within ${bytes} bytes`);
      }
    }
  });

test('the bits of a channel too long for the memory do not depend on the budget', () => {
  // Pieces have 10 rows or 2. The values are on a lattice, so rounding errors do not cancel, and other blocks would change the bits.
  const shape = [700, 2, 60, 50];
  for (const astray of [0, 1e6]) {
    const X = tensor(shape, (i) => (i % 7 ? 0.3 : 0.1) + 4 * (Math.floor(i / 3000) % 2));
    X.data[3000] += astray;
    const expected = callKernel(X, null, null, null, null, 0);
    const actual = callWithin(LEAST, X, null, null, null, null, 0);
    for (const k of [0, 1, 2]) assertSameBits(actual[k].data, expected[k].data, `result ${k}`);
  }
});
