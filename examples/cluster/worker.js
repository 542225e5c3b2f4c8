/* node worker.js: takes jobs from the queue until it is stopped. Start it on each machine, once per processor core. */
import { setImmediate } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { UnrecoverableError, Worker } from 'bullmq';
import { mergeMoments, moments } from '../../js/index.js';
import { connection, QUEUE } from './queue.js';

const { CONCURRENCY = 1, LOCK_DURATION = 30000, MAX_STALLED = 10, READER } = process.env;
const { read } = await import(READER ? pathToFileURL(READER).href : './shards.js');

/** Moments that JSON can hold: NaN and infinity would become null. Trying again would not help. */
function plain({ count, mean, variance }) {
  const bad = mean.findIndex((_, c) => !Number.isFinite(mean[c]) || !Number.isFinite(variance[c]));
  if (bad >= 0) throw new UnrecoverableError(`channel ${bad} has NaN or infinity`);
  return { count, mean: [...mean], variance: [...variance] };
}

const jobs = {
  async shard({ data }) {
    const parts = [];
    for await (const X of read(data)) {
      parts.push(moments(X));
      await setImmediate(); // so that BullMQ can renew the job's lock
    }
    return plain(mergeMoments(parts));
  },

  /** Merges in the order of the shards, so that the result has the same bits in whatever order they were finished. */
  async merge(job) {
    const parts = Object.entries(await job.getChildrenValues()).sort(([a], [b]) => (a < b ? -1 : 1));
    return plain(mergeMoments(parts.map(([, part]) => part)));
  },
};

const worker = new Worker(QUEUE, (job) => jobs[job.name](job), {
  connection,
  concurrency: Number(CONCURRENCY),
  lockDuration: Number(LOCK_DURATION), // a job whose lock is not renewed for so long has lost its worker
  stalledInterval: Number(LOCK_DURATION) / 2,
  maxStalledCount: Number(MAX_STALLED), // a shard that loses more workers than that fails
});
worker.on('error', (error) => console.error(`worker ${process.pid}: ${error.message}`));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => worker.close()); // the job in hand is finished first
