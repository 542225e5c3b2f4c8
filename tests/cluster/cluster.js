/* examples/cluster with a real Redis server and several worker processes: npm run test:cluster
 * Workers and producers are killed, shards fail, and the moments are still those of the whole, each shard counted once. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { end, makeDirectory, start, startRedis } from '../../examples/cluster/processes.js';
import { read } from '../../examples/cluster/shards.js';
import { mergeMoments, moments } from '../../js/index.js';
import { seeded, seededNormal } from '../data.js';
import { statisticsOf } from '../reference.js';

const cluster = fileURLToPath(new URL('../../examples/cluster/', import.meta.url));
const CHANNELS = 3;
const directory = makeDirectory();
let address;

before(async () => {
  if (!existsSync(`${cluster}node_modules/.package-lock.json`))
    execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: cluster });
  address = await startRedis();
});
after(() => end());

/* ---- data ---------------------------------------------------------------------------------------------------------- */

/** A file of rows, as a shard. Channels are far from zero, near it, and constant. They vary much less than their means do from shard to
 * shard, so that the rounding of `moments` hardly shows in the whole. */
function fileOf(name, rows, seed) {
  const normal = seededNormal(seed, seed % 3);
  const data = Float32Array.from(
    { length: rows * CHANNELS },
    (_, i) => [1e4 + 1e-2 * normal(), 1e-2 * normal(), 7][i % CHANNELS],
  );
  const file = `${directory}/${name}.f32`;
  writeFileSync(file, data);
  return { file, channels: CHANNELS };
}

/** Shards of unequal size: files, one of them empty and one of two pieces, and random rows. */
const SHARDS = Array.from({ length: 24 }, (_, index) => {
  const rows = index === 5 ? 0 : index === 9 ? 400000 : 1 + ((index * 977) % 3000);
  const shard = index % 4 === 3 ? { seed: index, rows, channels: CHANNELS } : fileOf(index, rows, index);
  return { ...shard, index };
});

/** The moments of shards, computed in this process. */
async function momentsOf(shards) {
  const parts = [];
  for (const shard of shards) {
    const pieces = [];
    for await (const X of read(shard)) pieces.push(moments(X));
    parts.push(mergeMoments(pieces));
  }
  const { count, mean, variance } = mergeMoments(parts);
  return { count, mean: [...mean], variance: [...variance] };
}

/* ---- processes ----------------------------------------------------------------------------------------------------- */

let runs = 0;

/** A queue of its own for a test, with workers, and a producer that runs until it has a result. */
function cast(t, settings = {}) {
  const name = `run-${++runs}`;
  const log = `${directory}/${name}.log`;
  writeFileSync(log, '');
  const env = {
    ...process.env,
    REDIS_URL: address,
    QUEUE: name,
    READER: fileURLToPath(new URL('reader.js', import.meta.url)),
    LOG: log,
    LOCK_DURATION: '1000',
    RETRY_DELAY: '50',
    ...settings,
  };
  const children = new Set();
  const run = (args, options) => {
    const child = start(process.execPath, args, { env, cwd: cluster, ...options });
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  };
  t.after(() => end([...children]));
  return {
    children,
    /** The lines of the log: [pid, 'begins' or 'ends', index]. */
    lines: () =>
      readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split(' '))
        .map(([pid, what, index]) => [Number(pid), what, Number(index)]),
    startWorker: () => run(['worker.js'], { stdio: 'inherit' }),
    /** Resolves to the exit code and what was printed. */
    produce(shards) {
      const file = `${directory}/${name}.json`;
      writeFileSync(file, JSON.stringify(shards));
      const child = run(['produce.js', name, file], { stdio: ['ignore', 'pipe', 'pipe'] });
      const output = { stdout: '', stderr: '' };
      for (const stream of ['stdout', 'stderr'])
        child[stream].setEncoding('utf8').on('data', (text) => {
          output[stream] += text;
        });
      return { child, done: once(child, 'close').then(([code]) => ({ code, ...output })) };
    },
  };
}

/** Waits for something to become true. Only a test that would never end is ended by the limit. */
async function until(condition, message) {
  for (let k = 0; k < 6000; k++) {
    if (condition()) return;
    await setTimeout(10);
  }
  assert.fail(`${message} never happened`);
}

/** The moments that a producer printed. */
function resultOf({ code, stdout, stderr }) {
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

test('the moments are those of the whole data set', async (t) => {
  const { startWorker, produce, lines } = cast(t);
  for (let k = 0; k < 3; k++) startWorker();
  // The first shards take longest, so that the order of completion is another one.
  const { done } = produce(SHARDS.map((shard) => ({ ...shard, pause: shard.index < 3 ? 300 : 0 })));
  const { stderr, ...output } = await done;
  const result = resultOf({ stderr, ...output });
  assert.match(stderr, /^24 of 24 shards$/m);
  assert.ok(new Set(lines().map(([pid]) => pid)).size > 1, 'one worker did everything');
  const order = lines().flatMap(([, what, index]) => (what === 'ends' ? [index] : []));
  assert.notDeepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );

  assert.deepEqual(result, await momentsOf(SHARDS)); // the same bits
  const columns = Array.from({ length: CHANNELS }, () => []);
  for (const shard of SHARDS)
    for await (const { data } of read(shard)) for (let i = 0; i < data.length; i++) columns[i % CHANNELS].push(data[i]);
  assert.equal(result.count, columns[0].length);
  columns.forEach((values, c) => {
    const { mean, variance } = statisticsOf(values);
    // Far inside the proven bounds; the kernel's bits are the same everywhere.
    for (const [name, actual, exact] of [
      ['mean', result.mean[c], mean],
      ['variance', result.variance[c], variance],
    ])
      assert.ok(Math.abs(actual - exact) <= 1e-12 * Math.abs(exact), `${name} of channel ${c}: ${actual}, not ${exact}`);
  });
});

for (const seed of [1, 2, 3])
  test(`killed workers lose nothing, and nothing counts twice; seed ${seed}`, async (t) => {
    const next = seeded(seed);
    const { children, startWorker, produce, lines } = cast(t);
    for (let k = 0; k < 3; k++) startWorker();
    const shards = SHARDS.map((shard) => ({ ...shard, pause: 40 + 60 * next() }));
    let { child: producer, done } = produce(shards);
    const finished = () => new Set(lines().flatMap(([, what, index]) => (what === 'ends' ? [index] : []))).size;
    /** A worker that has begun a shard and not ended it. */
    const busy = () => {
      const last = new Map(lines().map(([pid, what, index]) => [pid, { what, index }]));
      return [...children].find(({ pid }) => last.get(pid)?.what === 'begins');
    };
    const kills = Array.from({ length: 6 }, () => Math.floor(next() * (SHARDS.length - 4))).sort((a, b) => a - b);
    for (const [k, after] of kills.entries()) {
      await until(() => finished() >= after && busy(), `kill ${k}`);
      const victim = busy();
      await end([victim]);
      startWorker();
      if (k === 2) {
        producer.kill('SIGKILL');
        await done;
        ({ child: producer, done } = produce(shards));
      }
    }
    assert.deepEqual(resultOf(await done), await momentsOf(SHARDS));
    const begun = lines().flatMap(([, what, index]) => (what === 'begins' ? [index] : []));
    assert.ok(begun.length > SHARDS.length, 'no kill hit a worker in the midst of a shard');
    assert.deepEqual(
      [...new Set(begun)].sort((a, b) => a - b),
      SHARDS.map(({ index }) => index),
    );
  });

test('of several producers that watch a run, all end, and those with a result have the same', async (t) => {
  const { startWorker, produce } = cast(t);
  const shards = SHARDS.slice(0, 6).map((shard) => ({ ...shard, pause: 50 }));
  const producers = [1, 2, 3].map(() => produce(shards).done);
  for (let k = 0; k < 2; k++) startWorker();
  const outputs = await Promise.all(producers);
  const results = outputs.filter(({ code }) => code === 0).map(resultOf);
  assert.ok(results.length > 0, 'none has the result');
  for (const result of results) assert.deepEqual(result, await momentsOf(SHARDS.slice(0, 6)));
  for (const { code, stderr } of outputs)
    if (code)
      assert.match(stderr, /^Run run-\d+ is not in the queue any more\. Another producer that watched it has its result\.$/m);
});

test('a producer without arguments, with a file that is missing, or with shards without channels says so', async (t) => {
  const { startWorker, produce } = cast(t, { ATTEMPTS: '1' });
  for (const [args, message] of [
    [[], 'Usage: node produce.js NAME SHARDS.json'],
    [['run', `${directory}/missing.json`], `ENOENT: no such file or directory, open '${directory}/missing.json'`],
  ]) {
    const { status, stderr } = spawnSync(process.execPath, ['produce.js', ...args], { cwd: cluster, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [1, `${message}\n`]);
  }
  startWorker();
  const { code, stderr } = await produce([{ file: SHARDS[0].file }]).done;
  assert.equal(code, 1);
  assert.match(stderr, /: channels must be the number of values per row; got undefined$/m);
});

test('a shard that fails twice and then succeeds counts once', async (t) => {
  const { startWorker, produce, lines } = cast(t, { ATTEMPTS: '3' });
  startWorker();
  const { done } = produce(SHARDS.map((shard) => ({ ...shard, failures: shard.index === 4 ? 2 : 0 })));
  assert.deepEqual(resultOf(await done), await momentsOf(SHARDS));
  assert.equal(lines().filter(([, what, index]) => what === 'begins' && index === 4).length, 3);
});

test('a shard that never succeeds makes the run fail with its name and reason; started again, the run can succeed', async (t) => {
  const { startWorker, produce } = cast(t, { ATTEMPTS: '2' });
  startWorker();
  const shards = SHARDS.map((shard) => ({ ...shard, failures: shard.index === 4 ? 3 : 0 }));
  const { code, stdout, stderr } = await produce(shards).done;
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^Run (run-\d+) failed: .*\nshard \1-04, \{"file":".*\/4\.f32".*\}: attempt 2 at this disk failed$/m);
  // The third attempt fails, too; the fourth succeeds.
  assert.deepEqual(resultOf(await produce(shards).done), await momentsOf(SHARDS));
});

test('a shard that ends every worker makes the run fail', async (t) => {
  const { children, startWorker, produce } = cast(t, { MAX_STALLED: '1' });
  const { done, child } = produce(SHARDS.slice(0, 3).map((shard) => ({ ...shard, deaths: shard.index === 1 ? 99 : 0 })));
  let ended = false;
  done.then(() => {
    ended = true;
  });
  while (!ended) {
    if (children.size - Number(children.has(child)) === 0) startWorker();
    await setTimeout(20);
  }
  const { code, stderr } = await done;
  assert.equal(code, 1);
  assert.match(stderr, /^shard run-\d+-1, .*: job stalled more than allowable limit$/m);
});

test('NaN and infinity are errors, and are not tried again', async (t) => {
  const { startWorker, produce, lines } = cast(t);
  startWorker();
  const file = `${directory}/nan.f32`;
  writeFileSync(file, Float32Array.of(1, 2, 3, 4, Number.NaN, 6));
  const { code, stderr } = await produce([SHARDS[0], { file, channels: CHANNELS, index: 1 }]).done;
  assert.equal(code, 1);
  assert.match(stderr, /^shard run-\d+-1, .*: channel 1 has NaN or infinity$/m);
  assert.equal(lines().filter(([, what, index]) => what === 'begins' && index === 1).length, 1);
});

test('without a Redis server, the example says what to install', async (t) => {
  const { children } = cast(t);
  const child = start(process.execPath, [`${cluster}start.js`], {
    env: { PATH: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 1);
  assert.match(stderr, /^There is no redis-server here\. Install it/);
  assert.equal(children.size, 0);
});
