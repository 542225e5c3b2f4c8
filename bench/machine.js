/* The machine and the conditions of a benchmark. */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

export const machine = `${cpus()[0].model}, ${cpus().length} cores, ${process.platform} ${process.arch}, Node ${process.versions.node} (V8 ${process.versions.v8})`;

const cwd = fileURLToPath(new URL('.', import.meta.url));

/** The machine, the revision that is measured, and the variable NOTE, for all else that a reader should know, such as "other work
 * was running". */
export const conditions = () => ({
  machine,
  note: process.env.NOTE,
  revision:
    spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd, encoding: 'utf8', timeout: 10_000 }).stdout?.trim() || 'unknown',
});
