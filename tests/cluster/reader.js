/* The reader of examples/cluster, on data that make trouble. LOG receives a line when a shard is begun and when it has been read. */
import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { read as readShard } from '../../examples/cluster/shards.js';

const { LOG } = process.env;

/**
 * A shard may have, in addition to what the example takes: `index`, its number in the log; `pause`, milliseconds that it takes longer;
 * `failures`, how many attempts fail; `deaths`, how many attempts end the worker.
 */
export async function* read({ index, pause = 0, failures = 0, deaths = 0, ...shard }) {
  appendFileSync(LOG, `${process.pid} begins ${index}\n`);
  const attempts = readFileSync(LOG, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(` begins ${index}`)).length;
  if (attempts <= deaths) process.kill(process.pid, 'SIGKILL');
  if (attempts <= failures) throw new Error(`attempt ${attempts} at this disk failed`);
  yield* readShard(shard);
  await setTimeout(pause);
  appendFileSync(LOG, `${process.pid} ends ${index}\n`);
}
