/* Lighthouse on a page, as on a phone, in a Chromium that is running: audit(url, port) → scores of 0 to 100, and what lowered them. It
 * is pinned in package.json here, and installed first. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** @param {string} url @param {number} port of the browser's debugger */
export async function audit(url, port) {
  if (!existsSync(`${here}node_modules/.package-lock.json`))
    execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: here });
  const { default: lighthouse } = await import('./node_modules/lighthouse/core/index.js');
  const { lhr } = await lighthouse(url, {
    port,
    logLevel: 'error',
    onlyCategories: ['accessibility', 'best-practices', 'performance'],
  });
  const results = Object.values(lhr.categories).map(({ id, score, auditRefs }) => {
    const lowered = auditRefs
      .filter(({ id: name, weight }) => weight > 0 && lhr.audits[name].score < 1)
      .map(({ id: name }) => name);
    return [id, { score: Math.round(100 * score), lowered }];
  });
  return Object.fromEntries(results);
}
