/* The comparison in real browsers: npm run bench:browsers [-- --threads]. Writes results-browsers.json and the files that write.js makes
 * from it. With BROWSERS="chromium", it only prints the results of the browsers that are named. With --threads, only two threads are
 * measured again. The page is cross-origin isolated, so that its clock is finer, and threads can share memory. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { all, engines, launch } from '../../tests/browsers/drivers.js';
import { sizeOf } from '../../tests/data.js';
import { serve } from '../../tools/serve.js';
import { MODES, nameOf, placeOf } from '../cases.js';
import { conditions } from '../machine.js';
import { bundle, FOR_BROWSERS } from './bundle.js';
import { browserComparison } from './report.js';
import { BROWSER_RESULTS, write } from './write.js';

const CASES = ['64,512,1,1', '1,3,224,224', '8,64,56,56', '32,64,112,112', '8,56,56,64,last'];

const onlyThreads = process.argv.includes('--threads');
/** Two threads are measured in one browser (WebKitGTK has no memory that threads share). Each library and number of threads has a page of its own, and these take turns. */
const THREADED_ENGINE = 'chromium';
const THREADED = ['4096,64,1,1', '8,56,56,64,last', '8,64,56,56'];
const ROUNDS = 2;

async function measureIn(engine, url) {
  const browser = await launch(engine);
  const cases = [];
  for (const text of CASES)
    for (const mode of MODES) {
      const report = await browser.visit(`${url}/?place=${text}&mode=${mode}`, 180);
      const place = placeOf(text);
      cases.push({ ...place, mode, n: sizeOf(place.shape), together: report.calls, failures: report.failures });
      const failed = Object.entries(report.failures).map((pair) => pair.join(': '));
      console.log(browser.name, nameOf(place), mode, report.backend, report.isolated ? '' : 'not isolated', ...failed);
    }
  await browser.close();
  return { name: browser.name, cases };
}

async function measureThreads(url) {
  const browser = await launch(THREADED_ENGINE);
  const cases = [];
  for (const text of THREADED)
    for (const mode of MODES) {
      const calls = [{}, {}];
      const failures = [{}, {}];
      for (let round = 0; round < ROUNDS; round++)
        for (const contender of ['batchnorm', 'onnxruntime-web', 'tfjs-wasm'])
          for (const count of [1, 2]) {
            if (contender === 'onnxruntime-web' && mode === 'gradient') continue;
            const query = new URLSearchParams({ place: text, mode, contender, threads: count });
            const report = await browser.visit(`${url}/?${query}`, 180);
            Object.assign(failures[count - 1], report.failures);
            for (const [name, { error, samples }] of Object.entries(report.calls)) {
              calls[count - 1][name] ??= { error, samples: [] };
              calls[count - 1][name].samples.push(...samples);
            }
          }
      const place = placeOf(text);
      cases.push({ ...place, mode, n: sizeOf(place.shape), calls, failures });
      console.log(browser.name, nameOf(place), mode, 'two threads', ...failures.map((each) => JSON.stringify(each)));
    }
  await browser.close();
  return { ...conditions(), name: browser.name, cases };
}

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-browsers-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  await bundle('page.js', folder);
  const worker = fileURLToPath(new URL('../../js/threads-worker.js', import.meta.url));
  await build({ ...FOR_BROWSERS, entryPoints: [worker], outdir: folder });
  writeFileSync(
    join(folder, 'index.html'),
    '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="page.js"></script>',
  );
  const server = await serve(folder, { isolated: true });
  const browsers = [];
  if (!onlyThreads) for (const engine of engines) browsers.push(await measureIn(engine, server.url));
  const results = onlyThreads ? JSON.parse(readFileSync(BROWSER_RESULTS, 'utf8')) : { ...conditions(), browsers };
  if (engines.includes(THREADED_ENGINE)) results.threads = await measureThreads(server.url);
  server.close();
  return results;
}

const results = await measure();
if (all) {
  writeFileSync(BROWSER_RESULTS, JSON.stringify(results));
  write();
} else console.log(browserComparison(results));
