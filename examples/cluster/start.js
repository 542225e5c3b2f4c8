/* npm run example:cluster: the moments of a data set in 40 shards, by four worker processes on this machine. One of them is killed
 * halfway. Installs BullMQ if necessary. Uses the Redis server in REDIS_URL, or starts one. README.md is about many machines. */
import { execSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { start, startRedis } from './processes.js';

const WORKERS = 4;
const CHANNELS = 8;
const SHARDS = Array.from({ length: 40 }, (_, seed) => ({ seed, rows: 100000, channels: CHANNELS }));

const here = fileURLToPath(new URL('.', import.meta.url));

async function main() {
  if (!existsSync(`${here}node_modules/.package-lock.json`))
    execSync('npm install --no-save --no-audit --no-fund --ignore-scripts', { cwd: here, stdio: 'inherit' });
  process.env.REDIS_URL ??= await startRedis();
  process.env.LOCK_DURATION ??= '2000'; // a dead worker is noticed after a few seconds
  const workers = Array.from({ length: WORKERS }, () => start(process.execPath, [`${here}worker.js`], { stdio: 'inherit' }));

  const { produce } = await import('./produce.js'); // needs the packages, and reads REDIS_URL
  const { count, mean, variance } = await produce(`example-${Date.now()}`, SHARDS, (finished) => {
    console.log(`${finished} of ${SHARDS.length} shards`);
    if (finished < SHARDS.length / 2 || workers[0].killed) return;
    workers[0].kill('SIGKILL');
    console.log('a worker was killed; another one will take its shard');
  });
  console.log(`\n${count} values per channel\n\nchannel       mean   deviation`);
  for (let c = 0; c < CHANNELS; c++)
    console.log(`${String(c).padEnd(7)}${mean[c].toFixed(4).padStart(11)}${Math.sqrt(variance[c]).toFixed(4).padStart(12)}`);
}

try {
  await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
process.exit(); // ends the workers and the server
