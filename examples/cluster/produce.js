/* node produce.js NAME SHARDS.json: adds a run to the queue, shows its progress, and prints the moments of all shards as JSON.
 * SHARDS.json is an array. The same command again watches the same run; if the run has failed, it starts again. */
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { FlowProducer, Queue } from 'bullmq';
import { connection, QUEUE } from './queue.js';

const { ATTEMPTS = 5, RETRY_DELAY = 1000 } = process.env;

/** The run: a job that merges, and a child per shard. BullMQ starts the parent when all of its children have completed. */
function flowOf(name, shards) {
  const retries = { attempts: Number(ATTEMPTS), backoff: { type: 'exponential', delay: Number(RETRY_DELAY) } };
  const digits = String(shards.length).length;
  const children = shards.map((data, index) => {
    const jobId = `${name}-${String(index).padStart(digits, '0')}`;
    return { name: 'shard', queueName: QUEUE, data, opts: { ...retries, jobId, failParentOnFailure: true } };
  });
  return { name: 'merge', queueName: QUEUE, opts: { ...retries, jobId: name }, children };
}

/** The run as it is now. */
async function latest(queue, name) {
  const run = await queue.getJob(name);
  if (!run) throw new Error(`Run ${name} is not in the queue any more. Another producer that watched it has its result.`);
  return run;
}

/** Says which shards failed, and why. */
async function failureOf(queue, name) {
  const run = await latest(queue, name);
  const { failed } = await run.getDependencies();
  const jobs = await Promise.all(failed.map((key) => queue.getJob(key.slice(key.lastIndexOf(':') + 1))));
  const reasons = jobs.map(({ id, data, failedReason }) => `shard ${id}, ${JSON.stringify(data)}: ${failedReason}`);
  return [`Run ${name} failed: ${run.failedReason}`, ...reasons].join('\n');
}

/** Returns the moments of all shards. Calls `onProgress(finished)` with the number of finished shards. */
export async function produce(name, shards, onProgress) {
  const queue = new Queue(QUEUE, { connection });
  const flows = new FlowProducer({ connection });
  try {
    let run = await queue.getJob(name);
    if (await run?.isFailed()) {
      await run.remove({ removeChildren: true });
      run = null;
    }
    run ??= (await flows.add(flowOf(name, shards))).job;
    for (let last = -1; ; await setTimeout(100)) {
      const state = await run.getState();
      if (state === 'unknown') await latest(queue, name);
      const { processed } = await run.getDependenciesCount({ processed: true });
      if (processed !== last) onProgress(processed);
      last = processed;
      if (state === 'completed') {
        const { returnvalue } = await latest(queue, name);
        await run.remove({ removeChildren: true });
        return returnvalue;
      }
      if (state === 'failed') {
        await run.removeUnprocessedChildren();
        throw new Error(await failureOf(queue, name));
      }
    }
  } finally {
    await flows.close();
    await queue.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, file] = process.argv.slice(2);
  try {
    if (!file) throw new Error('Usage: node produce.js NAME SHARDS.json');
    const shards = JSON.parse(readFileSync(file, 'utf8'));
    const result = await produce(name, shards, (finished) => console.error(`${finished} of ${shards.length} shards`));
    console.log(JSON.stringify(result));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
