/* What the benchmarks ran on. */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';

export const machine = `${cpus()[0].model}, ${cpus().length} cores, ${process.platform} ${process.arch}, Node ${process.versions.node} (V8 ${process.versions.v8})`;

/** The machine, what was measured there, and NOTE, for whatever else a reader should know: NOTE="other work was running". */
export const conditions = () => ({
  machine,
  note: process.env.NOTE,
  revision: spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout?.trim() || 'unknown',
});
