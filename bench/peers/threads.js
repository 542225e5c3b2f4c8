/* The libraries that have threads, with one thread and with two. Each library has a process for each number of threads, because
 * some take that number only once. All these processes take turns, so that a change of the processor's clock affects all of them.
 * Data are already in the memory in which a library computes. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sizeOf } from '../../tests/data.js';
import { placeOf, problemOf } from '../cases.js';
import { measure, timerOf } from './measure.js';
import { CONTENDERS } from './node.js';

export const THREADED_PLACES = [
  '64,512,1,1',
  '4096,64,1,1',
  '8,56,56,64,last',
  '1,3,224,224',
  '8,64,56,56',
  '32,256,14,14',
  '32,2048,7,7',
  '128,32,28,28',
].map(placeOf);

/** The libraries, and the calls that give the time of computation alone (see report.js). */
const CALLS = {
  batchnorm: ['arena'],
  'onnxruntime-web': ['fresh', 'nine layers'],
  'onnxruntime-node': ['out', 'nine layers, out'],
  'tfjs-wasm': ['alone'],
  PyTorch: ['out'],
};
const COUNTS = [1, 2];

/** A sample repeats a call for so many milliseconds, as a program's loop would. Before that, the same calls are made once without being
 * timed. After a pause, Linux often runs both threads on one core for the first 5 ms or so, however many others are idle. */
const SAMPLE = 50;
/** Before all samples, each process warms up for so many milliseconds, with calls on a batch of about so many values. V8 compiles code
 * that is called thousands of times, and does so in threads of its own, which would take a core from the samples. */
const WARM = 1000;
const WARM_VALUES = 1 << 17;
/** After so many milliseconds, the threads of all these libraries sleep, so that they do not slow down the next sample. */
const PAUSE = 20;

/* ---- the process of a library --------------------------------------------------------------------------------------- */

/** Prepares a library's calls, then answers one request after another: for the time of some calls, or for the last results. */
async function serve({ contender, count, place, mode }) {
  const prepare = (where) => CONTENDERS[contender].prepare(problemOf(where, mode), undefined, count);
  const measured = (name) => CALLS[contender].some((way) => name === `${contender}, ${way}`);
  const [batch, ...rest] = place.shape;
  const shape = [Math.min(batch, Math.ceil((batch * WARM_VALUES) / sizeOf(place.shape))), ...rest];
  for (const [name, { run, time = timerOf(run), close }] of Object.entries(await prepare({ ...place, shape }))) {
    const end = performance.now() + WARM;
    while (measured(name) && performance.now() < end) await time(100);
    close?.();
  }
  const calls = await prepare(place);
  process.on('message', async ({ name, inner }) => {
    const { run, time = timerOf(run), output } = calls[name];
    try {
      if (inner > 1) await time(inner);
      process.send({ answer: inner ? await time(inner) : await output?.() });
    } catch (error) {
      process.send({ error: error.message });
    }
  });
  return Object.keys(calls).filter(measured);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

/** A library's calls in a new process, as measure.js takes them. Their names begin with the number of threads. */
async function prepareProcess(given) {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(given)], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exit = once(child, 'exit').then(() => {
    throw new Error('its process stopped');
  });
  exit.catch(() => {});
  const next = async () => {
    const [{ error, answer }] = await Promise.race([once(child, 'message'), exit]);
    if (error) throw new Error(error);
    return answer;
  };
  const ask = async (request) => {
    child.send(request);
    const answer = await next();
    await setTimeout(PAUSE);
    return answer;
  };
  const close = () => child.connected && child.disconnect();
  try {
    const names = await next();
    return Object.fromEntries(
      names.map((name) => {
        const time = (inner) => ask({ name, inner });
        // Nine layers only give a time. Their results are those of nine calls in a row.
        const output = name.includes('nine layers') ? null : () => ask({ name });
        return [`${given.count}: ${name}`, { run: () => time(1), time, output, close }];
      }),
    );
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * @param {import('../cases.js').Place} place @param {string} mode @param {string[]} contenders those that are installed and have
 *   this mode @param {number} seconds that all samples may take
 * @returns the results of measure.js, first with one thread and then with two
 */
export async function measureThreads(place, mode, contenders, seconds) {
  const prepares = {};
  for (const contender of contenders.filter((name) => name in CALLS))
    for (const count of COUNTS) prepares[`${count}: ${contender}`] = () => prepareProcess({ contender, count, place, mode });
  const { calls, failures } = await measure(problemOf(place, mode), prepares, { seconds, sample: 1e6 * SAMPLE });
  for (const count of COUNTS) {
    const why = failures[`${count}: batchnorm`] ?? failures[`${count}: batchnorm, arena`];
    if (why) throw new Error(why);
  }
  const byCount = (found) =>
    COUNTS.map((count) =>
      Object.fromEntries(
        Object.entries(found)
          .filter(([name]) => name.startsWith(`${count}: `))
          .map(([name, value]) => [name.slice(3), value]),
      ),
    );
  return { ...place, mode, n: sizeOf(place.shape), calls: byCount(calls), failures: byCount(failures) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit());
  try {
    process.send({ answer: await serve(JSON.parse(process.argv[2])) });
  } catch (error) {
    process.send({ error: error.message });
  }
}
