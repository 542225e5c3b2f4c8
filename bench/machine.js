/* The machine and the conditions of a benchmark. */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';

export const machine = `${cpus()[0].model}, ${cpus().length} cores, ${process.platform} ${process.arch}, Node ${process.versions.node} (V8 ${process.versions.v8})`;

/** The machine, the revision that was measured, and NOTE, for anything else that a reader should know: NOTE="other work was running". */
export const conditions = () => ({
  machine,
  note: process.env.NOTE,
  revision: spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout?.trim() || 'unknown',
});
