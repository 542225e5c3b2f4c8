/* A process that makes one small call of one contender: node first.js NAME. Without a name, it only does what all of them do. */
import { problem } from '../cases.js';
import { CONTENDERS } from './node.js';

const name = process.argv[2];
const given = problem([2, 3, 16, 16], true);
if (name !== undefined) {
  const calls = await CONTENDERS[name].prepare(given, ['fresh']);
  await calls[`${name}, fresh`].run();
}
// Without this, some contenders would keep the process alive. To exit at once would take longer than to exit after a turn of the
// event loop.
setImmediate(() => process.exit());
