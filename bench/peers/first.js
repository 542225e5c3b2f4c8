/* One small call of one contender, in a process that does no more: node first.js NAME. Without a name, what all have in common. */
import { problem } from '../cases.js';
import { CONTENDERS } from './node.js';

const name = process.argv[2];
const given = problem([2, 3, 16, 16], true);
if (name !== undefined) {
  const calls = await CONTENDERS[name].prepare(given, ['fresh']);
  await calls[`${name}, fresh`].run();
}
// Some would not end by themselves; to end at once takes longer than after a turn of the loop.
setImmediate(() => process.exit());
