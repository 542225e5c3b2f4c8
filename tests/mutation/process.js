/* Programs that may fail, hang or never end, as those of mutants do. */
import { spawn } from 'node:child_process';

const running = new Set();

/** Ends a program and all that it started. */
function end(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

process.on('exit', () => running.forEach(end));

/**
 * Runs a program that may take so many seconds of a processor, and much longer by the clock, which a busy machine stretches. Returns
 * whether it succeeded, whether it was ended for its time, what it printed, and how long it took. Output that matches `failure` ends it
 * at once.
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
      // At its limit the system ends a process by itself.
      late ||= signal === 'SIGKILL' && !failed;
      resolve({ ok: code === 0, late, output, seconds: (performance.now() - began) / 1000 });
    });
  });
}
