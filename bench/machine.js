/* What the benchmarks ran on. */
import { cpus } from 'node:os';

export const machine = `${cpus()[0].model}, ${cpus().length} cores, ${process.platform} ${process.arch}, Node ${process.versions.node} (V8 ${process.versions.v8})`;
