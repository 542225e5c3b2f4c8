/* How threads share a call. It is pure arithmetic, so calls on tensors of any size can be cut here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BY_CHANNELS, BY_POSITIONS, BY_ROWS, cutOf } from '../js/cut.js';
import { POSITIONS, rowsOfBlock } from './helpers.js';

const statistics = { mean: [], variance: [] };
const CALLS = {
  training: { training: true, ...statistics },
  inference: { training: false, ...statistics },
  gradient: { training: true, gradOutput: [], mean: null },
  'gradient of saved statistics': { training: true, gradOutput: [], ...statistics },
  'gradient in inference': { training: false, gradOutput: [], ...statistics },
};
const cut = (call, batch, channels, spatial, threads) =>
  cutOf({ ...CALLS[call], x: { length: batch * channels * spatial }, batch, channels, spatial }, threads);

const SIZES = [1, 2, 3, 5, 7, 8, 16, 31, 32, 49, 64, 100, 196, 256, 300, 784, 1000, 3136, 4097, 25088, 50176, 1e6];

test('parts are about equal, are not too small, and end where blocks do', () => {
  let shared = 0;
  for (const call of Object.keys(CALLS))
    for (const batch of SIZES)
      for (const channels of SIZES)
        for (const spatial of SIZES)
          for (const threads of [2, 3, 4, 8, 64, 256]) {
            const values = batch * channels * spatial;
            const found = values < 1e12 && cut(call, batch, channels, spatial, threads);
            if (!found) continue;
            shared++;
            const { queues, each, by, unit, stages } = found;
            const hold = (holds, rule) =>
              holds || assert.fail(`${rule}: ${call} ${JSON.stringify({ batch, channels, spatial, threads, ...found })}`);
            const sums = call !== 'inference';
            const size = [channels, batch, spatial][by];
            const units = Math.ceil(size / unit);
            hold(queues >= 2 && queues <= threads && [1, 2, 4].includes(each), 'there are enough threads');
            hold(each === 1 || (sums && by === BY_CHANNELS), 'only channels that are summed have several parts per thread');
            hold(units >= queues * each, 'no part is empty');
            const parts = queues * each;
            hold(3 * Math.ceil(units / parts) * unit * parts <= 4 * size, 'no part is a third larger than the average');
            hold(values >= queues * (!sums ? 49152 : by === BY_CHANNELS ? 8192 : 32768), 'the work is worth it');
            const largest = Math.min(size, Math.ceil(units / queues) * unit);
            hold(values - (values * largest) / size >= (sums ? 8192 : 49152), 'the other threads have enough of it');
            hold(by !== BY_CHANNELS || Math.floor(size / queues) * spatial >= 256, 'rows of a part are long enough');
            hold(by !== BY_ROWS || batch * spatial >= 256 * queues, 'each thread has enough values per channel');

            const columns = spatial < 32 && spatial < 3 * batch;
            const rows = sums ? rowsOfBlock({ batch, channels, spatial }, columns) : 1;
            hold(unit === [1, rows, POSITIONS][by], 'parts end where blocks do');
            const isGradient = call.startsWith('gradient');
            const expected = 1 + Number(by !== BY_CHANNELS && isGradient);
            const before = Number(by !== BY_CHANNELS && ['training', 'gradient'].includes(call));
            hold(stages.length === expected + before, 'there are as many stages as sums are needed from all parts');
            if (stages.length === 1) continue;

            // What slices keep must fit in a sixteenth of X. Per block: two doubles per series; and in gradients, three more, and one per
            // channel.
            const blocks = Math.ceil(batch / rowsOfBlock({ batch, channels, spatial }, columns)) * Math.ceil(spatial / POSITIONS);
            const series = channels * (columns ? spatial : 1);
            const bytes = 8 * blocks * (2 * series + (isGradient ? 3 * series + channels : 0));
            hold(bytes <= values / 4, `${bytes} bytes are kept`);
          }
  assert.ok(shared > 50000, `${shared} calls are shared`);
});

test('the divisions of well-known shapes, for two threads', () => {
  for (const [shape, training, inference, gradient] of [
    [[8, 64, 3136], BY_CHANNELS, BY_CHANNELS, BY_CHANNELS],
    [[32, 2048, 49], BY_CHANNELS, BY_CHANNELS, BY_CHANNELS],
    [[128, 32, 784], BY_CHANNELS, BY_ROWS, BY_CHANNELS],
    [[25088, 64, 1], BY_ROWS, BY_ROWS, BY_ROWS],
    [[1568, 256, 1], BY_ROWS, BY_ROWS, BY_ROWS],
    [[1, 3, 50176], BY_CHANNELS, BY_POSITIONS, BY_CHANNELS],
    [[1, 3, 262144], BY_POSITIONS, BY_POSITIONS, BY_POSITIONS],
    [[2, 1, 1048576], BY_ROWS, BY_ROWS, BY_ROWS],
    [[64, 512, 1], BY_CHANNELS, undefined, BY_CHANNELS],
    [[8, 64, 49], BY_CHANNELS, undefined, BY_CHANNELS],
    [[4, 64, 49], undefined, undefined, undefined],
    // At the limits, and just below.
    [[8, 64, 32], BY_CHANNELS, undefined, BY_CHANNELS],
    [[4, 16, 255], undefined, undefined, undefined],
    [[128, 32, 32], BY_CHANNELS, BY_ROWS, BY_CHANNELS],
    [[128, 31, 33], BY_ROWS, BY_ROWS, BY_ROWS],
    [[8, 64, 512], BY_CHANNELS, BY_CHANNELS, BY_CHANNELS],
    [[8, 64, 511], BY_CHANNELS, BY_ROWS, BY_CHANNELS],
    [[6, 64, 256], BY_CHANNELS, BY_ROWS, BY_CHANNELS],
    [[6, 64, 255], BY_CHANNELS, undefined, BY_CHANNELS],
    [[1024, 64, 1], BY_ROWS, undefined, BY_ROWS],
    [[1023, 64, 1], undefined, undefined, undefined],
    [[512, 192, 1], BY_ROWS, BY_ROWS, BY_ROWS],
    [[511, 200, 1], undefined, undefined, undefined],
    [[1000, 64, 1], undefined, undefined, undefined],
  ])
    for (const [call, by] of Object.entries({ training, inference, gradient }))
      assert.equal(cut(call, ...shape, 2)?.by, by, `${call} of ${shape}`);
});

test('large calls have four parts per thread, or two, if channels are summed and can be divided so often', () => {
  for (const [call, shape, each, threads = 2] of [
    ['training', [8, 64, 512], 4],
    ['training', [8, 64, 511], 1],
    ['gradient', [8, 64, 512], 4],
    ['gradient in inference', [8, 64, 512], 4],
    ['inference', [8, 64, 3136], 1],
    ['inference', [25088, 64, 1], 1],
    ['training', [25088, 64, 1], 1],
    ['gradient in inference', [25088, 64, 1], 1],
    ['training', [64, 2, 3136], 1],
    ['training', [64, 6, 3136], 2],
    ['training', [64, 8, 3136], 4],
    ['training', [64, 10, 3136], 2],
    ['training', [64, 12, 3136], 4],
    ['training', [128, 16, 3136], 1, 16],
    ['training', [128, 32, 3136], 2, 16],
    ['training', [128, 64, 3136], 4, 16],
  ])
    assert.equal(cut(call, ...shape, threads).each, each, `${call} of ${shape}`);
});
