/* The comparison in real browsers: npm run bench:browsers. Writes results-browsers.json and the files that write.js makes from
 * it. With BROWSERS="chromium", it only prints the results of the browsers that are named. The page is cross-origin isolated, so
 * that its clock is finer. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { all, engines, launch } from '../../tests/browsers/drivers.js';
import { sizeOf } from '../../tests/data.js';
import { serve } from '../../tools/serve.js';
import { MODES, nameOf, placeOf } from '../cases.js';
import { conditions } from '../machine.js';
import { bundle } from './bundle.js';
import { browserComparison } from './report.js';
import { BROWSER_RESULTS, write } from './write.js';

const CASES = ['64,512,1,1', '1,3,224,224', '8,64,56,56', '32,64,112,112', '8,56,56,64,last'];

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

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), 'batchnorm-browsers-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  await bundle('page.js', folder);
  writeFileSync(
    join(folder, 'index.html'),
    '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="page.js"></script>',
  );
  const server = await serve(folder, { isolated: true });
  const browsers = [];
  for (const engine of engines) browsers.push(await measureIn(engine, server.url));
  server.close();
  return { ...conditions(), browsers };
}

const results = await measure();
if (all) {
  writeFileSync(BROWSER_RESULTS, JSON.stringify(results));
  write();
} else console.log(browserComparison(results));
