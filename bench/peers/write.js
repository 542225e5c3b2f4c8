/* Writes the pages of the comparison, their plots and the README's table from results.json and results-browsers.json, without
 * measuring: node bench/peers/write.js. A test checks that these files are up to date. */
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MODES } from '../cases.js';
import { browserComparison, comparison, plot, withFirstTable } from './report.js';

const root = new URL('../../', import.meta.url);
const read = (file) => readFileSync(new URL(file, root), 'utf8');

export const RESULTS = new URL('results.json', import.meta.url);
export const BROWSER_RESULTS = new URL('results-browsers.json', import.meta.url);

/** The text of each file, by its path in the repository. */
export function pages() {
  const results = JSON.parse(readFileSync(RESULTS, 'utf8'));
  const plots = MODES.flatMap((mode) =>
    [false, true].map((dark) => [`docs/comparison-${mode}-${dark ? 'dark' : 'light'}.svg`, plot(results, { mode, dark })]),
  );
  return Object.fromEntries([
    ['README.md', withFirstTable(read('README.md'), results)],
    ['docs/comparison.md', comparison(results)],
    ['docs/comparison-browsers.md', browserComparison(JSON.parse(readFileSync(BROWSER_RESULTS, 'utf8')))],
    ...plots,
  ]);
}

export function write() {
  for (const [file, text] of Object.entries(pages())) writeFileSync(new URL(file, root), text);
  console.log('Written: docs/comparison.md, docs/comparison-browsers.md, the plots, and the table in README.md');
}

// Without symbolic links in its path, since import.meta.url has none.
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) write();
