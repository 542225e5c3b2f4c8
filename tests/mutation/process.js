/* Runs programs that may fail, hang or never end, as mutants may. */
import { spawn } from 'node:child_process';

const running = new Set();

/** Kills a program and everything that it started. */
function end(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has already ended.
  }
}

process.on('exit', () => running.forEach(end));

/**
 * Runs a program that may use `seconds` of processor time, and much more by the clock, since the machine may be busy. Returns
 * whether it succeeded, whether it was killed for taking too long, its output, and its time. Output that matches `failure` kills
 * it at once.
 */
export function run(command, args, { cwd, seconds, failure }) {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const limited = ['-c', 'ulimit -t "$1"; shift; exec "$@"', 'sh', String(Math.ceil(seconds)), command, ...args];
    const child = spawn('sh', limited, { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let failed = false;
    let late = false;
    running.add(child.pid);
    const alarm = setTimeout(
      () => {
        late = true;
        end(child.pid);
      },
      1000 * (60 + 4 * seconds),
    );
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        // A mutant may print without end.
        output = (output + text).slice(-100_000);
        if (!failure?.test(text)) return;
        failed = true;
        end(child.pid);
      });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(alarm);
      running.delete(child.pid);
      // The system itself kills a process at its limit.
      late ||= signal === 'SIGKILL' && !failed;
      resolve({ ok: code === 0, late, output, seconds: (performance.now() - began) / 1000 });
    });
  });
}
