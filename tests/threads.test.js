/* Threads: calls give the same bits as on one thread, workers really take part, and a worker that dies ends no more than one call. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { Block } from '../js/block.js';
import { batchNormalization, batchNormalizationGradient, moments } from '../js/index.js';
import { createThreads } from '../js/threads.js';
import { normalTensor, parametersFor, seeded, sizeOf } from './data.js';
import { assertSameBits, inFreshNode, move } from './helpers.js';

const MB = 2 ** 20;
const file = new URL('./threads/worker.js', import.meta.url);
const workersFile = new URL('../js/threads-worker.js', import.meta.url);

/** The error if a worker has another file, which does not end, and sends a message. It takes half a minute, so it runs during the
 * other tests. */
const other = "require('node:worker_threads').parentPort.on('message', () => {}).postMessage('hello');";
const silent = createThreads(2, { worker: () => new Worker(other, { eval: true }) }).catch((error) => error);

/** Threads whose workers count their kernel calls: `counts[k]` belongs to worker k. */
async function counting(size) {
  const counts = [];
  const threads = await createThreads(size, {
    worker() {
      counts.push(new Int32Array(new SharedArrayBuffer(12)));
      return new Worker(file, { workerData: counts.at(-1) });
    },
  });
  return { threads, counts, calls: () => counts.reduce((sum, count) => sum + Atomics.load(count, 0), 0) };
}

/** Repeats something that workers may share, until one has, for a minute at most. It never returns to the event loop. */
function untilShared({ calls }, run) {
  const before = calls();
  const end = performance.now() + 60_000;
  while (calls() === before) {
    run();
    assert.ok(performance.now() < end, 'no worker took part');
  }
}

const pools = await Promise.all([2, 3, 8].map(counting));
after(() => Promise.all(pools.map(({ threads }) => threads.close())));

/** All ways to call, with all tensors from `place`. */
function* callsOn(shape, axis, place, X = normalTensor(shape, 1, 3), gradOutput = normalTensor(shape, 2, 1)) {
  const channels = shape.at(axis);
  const { gamma, beta, runningMean: mean, runningVar: variance } = parametersFor(channels);
  const empty = () => place({ data: new Float32Array(sizeOf(shape)), shape });
  const saved = () => ({ mean: new Float64Array(channels), variance: new Float64Array(channels) });
  for (const [name, training, options] of [
    ['training', true, { unbiased: true }],
    ['training with relu', true, { relu: true }],
    ['inference', false, {}],
    ['inference with relu', false, { relu: true }],
  ]) {
    const statistics = saved();
    const out = empty();
    const run = () =>
      batchNormalization(place(X), gamma, beta, mean, variance, 0.9, 1e-5, training, { ...options, axis, statistics, out });
    yield [name, () => [...run(), statistics.mean, statistics.variance]];
  }
  yield [
    'in place',
    () => {
      const tensor = place(X);
      return batchNormalization(tensor, gamma, null, null, null, 0.9, 1e-5, true, { axis, out: tensor });
    },
  ];
  yield ['moments', () => Object.values(moments(place(X), { axis })).slice(1)];
  yield ['moments far from zero', () => Object.values(moments(place(normalTensor(shape, 3, 3e6)), { axis })).slice(1)];
  const { mean: m, variance: v } = moments(X, { axis });
  for (const [name, options] of [
    ['gradient', { gamma }],
    ['gradient with statistics', { gamma, statistics: { mean: m, variance: v } }],
    ['gradient with relu', { gamma, beta, relu: true }],
    ['gradient in inference', { gamma, statistics: { mean, variance }, training: false }],
    ['gradient in inference with relu', { gamma, beta, statistics: { mean, variance }, training: false, relu: true }],
    ['gradient without gradInput', { gamma, gradInput: false }],
    ['gradient without gradInput, with relu', { gamma, beta, gradInput: false, relu: true }],
  ])
    yield [
      name,
      () => {
        const out = options.gradInput === false ? {} : { out: empty() };
        return batchNormalizationGradient(place(gradOutput), place(X), { ...options, axis, ...out });
      },
    ];
  // Whether all gradients are equal changes the results, and no part knows this alone.
  for (const [name, value] of [
    ['gradients that are all equal', () => 0.1],
    ['gradients that are equal in each half', (i) => (2 * i < gradOutput.data.length ? 0.1 : 0.2)],
    ['gradients of NaN', () => Number.NaN],
  ])
    yield [
      name,
      () => {
        const tensor = place({ data: gradOutput.data.map((_, i) => value(i)), shape });
        return batchNormalizationGradient(tensor, place(X), { gamma, axis, out: tensor });
      },
    ];
}

const bitsOf = (results) => results.map((result) => result && (result.data ?? result));

for (const [shape, axis = 1] of [
  [[3, 64, 16, 16]],
  [[3, 5, 41, 43]],
  [[4, 2, 4097, 3]],
  [[1, 3, 224, 224]],
  [[300, 96, 1, 1]],
  [[40, 33, 5, 5]],
  [[6, 31, 29, 8], -1],
  [[2, 40000]],
  [[300, 700, 1, 1]],
  // Parts are rows of the batch. Where sums are taken, they consist of whole blocks.
  [[2048, 64, 1, 1]],
  [[9000, 50, 1, 1]],
  [[4001, 33, 1, 1]],
  [[2100, 7, 3, 3]],
  [[300, 5, 9, 9]],
  [[128, 1, 28, 28]],
  [[40, 3, 64, 64]],
  [[3, 70, 50, 64, 5], -1],
  [[16, 1, 68, 64]],
  // Parts are positions.
  [[1, 1, 300, 301]],
  [[2, 2, 200, 211]],
  // Parts are rows of the batch in inference only.
  [[37, 6, 23, 23]],
  // The calling thread computes alone.
  [[5, 1, 90, 90]],
  [[2, 3, 7, 7]],
])
  test(`${shape} on axis ${axis}: 2, 3 and 8 threads give the bits of one`, () => {
    for (const { threads } of pools) {
      const arena = threads.arena(5 * (4 * sizeOf(shape) + 64));
      const here = callsOn(shape, axis, (tensor) => ({ data: tensor.data.slice(), shape }));
      const shared = callsOn(shape, axis, (tensor) => move(arena, tensor));
      for (const [name, run] of here) {
        const expected = bitsOf(run());
        const actual = bitsOf(shared.next().value[1]());
        arena.reset();
        for (const [k, result] of expected.entries())
          if (result) assertSameBits(actual[k], result, `${name}, ${threads.size} threads, result ${k}`);
      }
    }
  });

/** Kinds of values for which the kernels do something special. */
const HARD = [
  (normal) => 16777215 + normal,
  (normal) => 1e-42 * normal,
  (normal) => 1e-24 * normal,
  (normal) => 1e30 * normal,
  (normal) => 1 + (normal > 3 ? 2 ** -23 : 0),
  (normal) => (normal > 0 ? 0 : -0),
  (normal) => (normal > 3.5 ? Number.NaN : normal),
  (normal) => (normal > 3.5 ? Number.POSITIVE_INFINITY : normal),
];

test('random shapes of hard values: 2, 3 and 8 threads give the bits of one', () => {
  const next = seeded(99);
  const upTo = (most) => 1 + Math.floor(next() * most);
  const arenas = pools.map(({ threads }) => threads.arena(16 * MB));
  for (let round = 0; round < 24; round++) {
    // Columns, short slabs, slabs of a block, and longer ones.
    const [rows, spatial] = [
      [200 + upTo(3000), upTo(31)],
      [8 + upTo(100), 31 + upTo(480)],
      [2 + upTo(30), 511 + upTo(3585)],
      [upTo(3), 4096 + upTo(60_000)],
    ][round % 4];
    const channels = Math.ceil(70_000 / (rows * spatial)) + upTo(2);
    const shape = [rows, channels, spatial];
    const hard = (seed) => {
      const kinds = Array.from({ length: channels }, () => HARD[Math.floor(next() * HARD.length)]);
      const { data } = normalTensor(shape, seed);
      return { data: data.map((normal, i) => kinds[Math.floor(i / spatial) % channels](normal)), shape };
    };
    const values = [hard(2 * round + 1), hard(2 * round + 2)];
    const here = [...callsOn(shape, 1, (tensor) => ({ data: tensor.data.slice(), shape }), ...values)];
    for (const [k, [name, run]] of here.entries()) {
      const expected = bitsOf(run());
      for (const [i, arena] of arenas.entries()) {
        arena.reset();
        const shared = [...callsOn(shape, 1, (tensor) => move(arena, tensor), ...values)][k][1];
        for (const [j, actual] of bitsOf(shared()).entries())
          if (actual) assertSameBits(actual, expected[j], `${shape}, ${name}, ${pools[i].threads.size} threads, result ${j}`);
      }
    }
  }
});

for (const pool of pools)
  test(`${pool.threads.size} threads: workers take part in each kind of call, also if the event loop never runs in between`, () => {
    const arena = pool.threads.arena(16 * MB);
    for (const shape of [
      [4, 32, 64, 64],
      [8192, 32],
    ])
      for (const [name, run] of callsOn(shape, 1, (tensor) => move(arena, tensor)))
        untilShared(pool, () => {
          arena.reset();
          run(name);
        });
  });

test('calls that cannot be shared are computed by the calling thread', () => {
  const [pool] = pools;
  const arena = pool.threads.arena(4 * MB);
  const X = move(arena, normalTensor([8, 16, 32, 32], 1, 3));
  const normalize = (X, options) => batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, options);
  untilShared(pool, () => normalize(X, { out: X }));
  const before = pool.calls();
  const small = X.data.subarray(0, 16320);
  const inference = X.data.subarray(0, 96768);
  const narrow = X.data.subarray(0, 256 * 510);
  for (let i = 0; i < 100; i++) {
    normalize(X); // its output is elsewhere
    normalize({ data: small, shape: [1, 30, 17, 32] }, { out: small });
    // Its rows are too narrow, and are one block.
    normalize({ data: narrow, shape: [256, 510] }, { out: narrow });
    const statistics = new Float32Array(16);
    batchNormalization({ data: inference, shape: [3, 16, 32, 63] }, null, null, statistics, statistics, 0.9, 1e-5, false, {
      out: inference,
    });
  }
  assert.equal(pool.calls(), before);
});

test('if a worker dies in the midst of a call, that call fails, and the next one uses the threads that are left', async () => {
  const next = seeded(7);
  /** How long each of the calls took that failed. */
  const times = [];
  // The first one is divided by channels, the second one in stages, by rows.
  for (const [shape, size, rounds] of [
    [[8, 48, 32, 32], 3, 20],
    [[9000, 50, 1, 1], 2, 8],
  ]) {
    const X = normalTensor(shape, 1, 3);
    const gradOutput = normalTensor(shape, 2, 1);
    const expected = {
      forward: bitsOf(batchNormalization(X, null, null)),
      gradient: bitsOf(batchNormalizationGradient(gradOutput, X)),
    };
    for (let round = 0; round < rounds; round++) {
      const kind = round % 2 ? 'gradient' : 'forward';
      const pool = await counting(size);
      const arena = pool.threads.arena(8 * MB);
      const tensors = [X, gradOutput, X].map((tensor) => move(arena, tensor));
      const run = {
        forward: () => batchNormalization(tensors[0], null, null, null, null, 0.1, 1e-5, true, { out: tensors[2] }),
        gradient: () => batchNormalizationGradient(tensors[1], tensors[0], { out: tensors[2] }),
      }[kind];
      untilShared(pool, run);
      const [count] = pool.counts;
      // One of the next kernel calls of this worker.
      Atomics.store(count, 1, Atomics.load(count, 0) + 1 + Math.floor(next() * 20));
      let start;
      const fails = () => {
        start = performance.now();
        run();
      };
      assert.throws(() => untilShared({ calls: () => 0 }, fails), {
        name: 'Error',
        message: `batchnorm/threads: a worker stopped during the call, so the results are incomplete (threads left: ${size - 1})`,
      });
      times.push(performance.now() - start);
      assert.equal(pool.threads.size, size - 1);
      for (const [k, result] of bitsOf(run()).entries()) assertSameBits(result, expected[kind][k]);
      await pool.threads.close();
      assert.equal(pool.threads.size, 1);
      for (const [k, result] of bitsOf(run()).entries()) assertSameBits(result, expected[kind][k]);
    }
  }
  // Any of them may have had to wait for a processor, but not all.
  assert.ok(Math.min(...times) < 2000, `${Math.min(...times)} ms`);
});

test('a worker that was given up, and then goes on, writes no results any more', async () => {
  const state = new Int32Array(new SharedArrayBuffer(12));
  let block;
  let worker;
  const threads = await createThreads(2, {
    worker() {
      worker = new Worker(file, { workerData: state });
      const { postMessage } = worker;
      worker.postMessage = (message) => {
        block ??= new Block(message.buffer);
        postMessage.call(worker, message);
      };
      // As in Chrome, where a busy worker runs on for two seconds.
      worker.terminate = () => {};
      return worker;
    },
  });
  const arena = threads.arena(8 * MB);
  // Each part is normalized in one call of the kernel. After that, it writes the results per channel.
  const X = move(arena, normalTensor([8, 6, 32, 32], 1, 3));
  const out = arena.tensor(X.shape);
  const run = () => batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out });
  untilShared({ calls: () => Atomics.load(state, 0) }, run);
  Atomics.store(state, 2, 1);
  assert.throws(() => untilShared({ calls: () => 0 }, run), { message: /^batchnorm\/threads: a worker stopped/ });
  assert.equal(threads.size, 1);
  // In place of a later call, which has other numbers there.
  for (const numbers of Object.values(block.numbers)) numbers.fill(7);
  const ended = once(worker, 'exit').catch((error) => error);
  Atomics.store(state, 2, 0);
  Atomics.notify(state, 2);
  const reason = await Promise.race([ended, setTimeout(5000)]);
  await Worker.prototype.terminate.call(worker);
  for (const [name, numbers] of Object.entries(block.numbers))
    assert.ok(
      numbers.every((value) => value === 7),
      name,
    );
  assert.equal(reason?.message, 'batchnorm/threads: this worker was given up');
});

test('a worker that dies while it is idle does no harm', async () => {
  const workers = [];
  const threads = await createThreads(3, {
    worker() {
      workers.push(new Worker(workersFile));
      return workers.at(-1);
    },
  });
  const arena = threads.arena(4 * MB);
  const X = normalTensor([4, 16, 64, 32], 1, 3);
  const expected = bitsOf(batchNormalization(X, null, null));
  for (const worker of workers) {
    await worker.terminate();
    const Y = move(arena, X);
    const actual = bitsOf(batchNormalization(Y, null, null, null, null, 0.1, 1e-5, true, { out: Y }));
    for (const [k, result] of actual.entries()) assertSameBits(result, expected[k]);
  }
  assert.equal(threads.size, 1);
});

test('after a call that was cut off, the next one is right', () => {
  const [, pool] = pools;
  const shape = [16, 64, 64, 64];
  const arena = pool.threads.arena(64 * MB);
  const X = move(arena, normalTensor(shape, 1, 3));
  const out = arena.tensor(shape);
  const run = () => batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out });
  untilShared(pool, run);
  const expected = bitsOf(run()).map((result) => result.slice());
  let cut = 0;
  for (let timeout = 1; timeout <= 20; timeout++)
    try {
      runInNewContext('for (;;) run()', { run }, { timeout });
    } catch (error) {
      assert.equal(error.code, 'ERR_SCRIPT_EXECUTION_TIMEOUT');
      cut++;
      for (const [k, result] of bitsOf(run()).entries()) assertSameBits(result, expected[k]);
    }
  assert.equal(cut, 20);
});

test('after a call in place that was cut off, reset waits until the tensor can be filled again', () => {
  const [pool] = pools;
  const X = normalTensor([16, 64, 64, 64], 1, 3);
  const arena = pool.threads.arena(4 * sizeOf(X.shape));
  const run = () => {
    arena.reset();
    const Y = move(arena, X);
    return batchNormalization(Y, null, null, null, null, 0.9, 1e-5, true, { out: Y })[0].data;
  };
  untilShared(pool, run);
  const expected = run().slice();
  let cut = 0;
  for (let i = 0; i < 30; i++) {
    try {
      runInNewContext('for (;;) run()', { run }, { timeout: 8 + (i % 7) });
    } catch (error) {
      assert.equal(error.code, 'ERR_SCRIPT_EXECUTION_TIMEOUT');
      cut++;
    }
    assertSameBits(run(), expected);
  }
  assert.equal(cut, 30);
});

test('the program ends by itself while workers are idle', () => {
  const code = (wait) => `
    import { createThreads } from './js/threads.js';
    import { batchNormalization } from './js/index.js';
    const threads = await createThreads(3);
    const X = threads.arena(${MB}).tensor([8, 16, 32, 32]);
    batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out: X });
    await new Promise((resolve) => setTimeout(resolve, ${wait}));
    console.log(threads.size);`;
  for (const wait of [0, 200]) assert.equal(inFreshNode(code(wait)), '3');
});

test('arenas that are not used any more are freed, in the workers, too', () => {
  const code = `
    import { createThreads } from './js/threads.js';
    import { batchNormalization } from './js/index.js';
    const threads = await createThreads(2);
    const step = async () => {
      const X = threads.arena(${16 * MB}).tensor([16, 16, 128, 128]);
      X.data.fill(1);
      batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { out: X });
    };
    for (let i = 0; i < 100; i++) {
      await step();
      gc();
      // Messages and finalizers run in the event loop.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log(process.memoryUsage().rss < ${600 * MB});`;
  assert.equal(inFreshNode(code, '--expose-gc'), 'true');
});

test('a worker that cannot be started is an error with its reason', async () => {
  for (const [worker, reason] of [
    [new URL('./threads/missing.js', import.meta.url), /^Cannot find module .*missing\.js/],
    [() => new Worker('throw new Error("no");', { eval: true }), /^no$/],
    [() => new Worker('process.exit(3)', { eval: true }), /^it ended with exit code 3$/],
    [
      () => {
        throw new Error('not here');
      },
      /^not here$/,
    ],
    [async () => {}, /^createThreads: worker must return a Worker; got an object$/],
    [() => {}, /^createThreads: worker must return a Worker; got undefined$/],
  ])
    await assert.rejects(createThreads(3, { worker }), (error) => {
      assert.equal(error.message, 'createThreads: a worker could not be started (see the option worker)');
      assert.match(error.cause.message, reason);
      return true;
    });
  assert.match((await silent).cause.message, /^it did not answer within 30 s$/);
});

test('the workers’ file can be given as a path, a URL or an object with such an href', async () => {
  for (const worker of [fileURLToPath(workersFile), workersFile, { href: workersFile.href }]) {
    const threads = await createThreads(2, { worker });
    assert.equal(threads.size, 2);
    await threads.close();
  }
});

test('one thread needs no worker, and works the same way', async () => {
  const threads = await createThreads(1, { worker: () => assert.fail() });
  assert.equal(threads.size, 1);
  const X = move(threads.arena(MB), normalTensor([8, 16, 32, 32], 1, 3));
  const expected = batchNormalization({ data: X.data.slice(), shape: X.shape }, null, null);
  assertSameBits(batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: X })[0].data, expected[0].data);
  await threads.close();
});

test('by default there are as many threads as the machine has cores, and the workers’ file is found', async () => {
  const { availableParallelism } = await import('node:os');
  const threads = await createThreads();
  assert.equal(threads.size, Math.min(availableParallelism(), 256));
  await threads.close();
});

for (const [name, args, ErrorType, message] of [
  ['size 0', [0], RangeError, 'size must be an integer from 1 to 256; got 0'],
  ['size 257', [257], RangeError, 'size must be an integer from 1 to 256; got 257'],
  ['half a thread', [1.5], RangeError, 'size must be an integer from 1 to 256; got 1.5'],
  ['a size as text', ['2'], TypeError, 'size must be an integer from 1 to 256; got "2"'],
  ['null', [null], TypeError, 'size must be an integer from 1 to 256; got null'],
  [
    'an object without an address',
    [2, { worker: {} }],
    TypeError,
    'worker must be a URL or a function that makes a Worker; got an object',
  ],
  ['a number as a worker', [2, { worker: 3 }], TypeError, 'worker must be a URL or a function that makes a Worker; got 3'],
])
  test(`bad input: ${name}`, async () => {
    await assert.rejects(createThreads(...args), (error) => {
      assert.equal(error.constructor, ErrorType);
      assert.equal(error.message, `createThreads: ${message}`);
      return true;
    });
  });
