/* Child processes that never outlive this one, and a Redis server among them: for start.js and the tests. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const running = new Set();
const directories = [];

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** A directory for temporary files. */
export function makeDirectory() {
  directories.push(mkdtempSync(join(tmpdir(), 'moments-')));
  return directories.at(-1);
}

export function start(command, args, options) {
  const child = spawn(command, args, options);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Kills children, by default all, and waits for their end. */
export const end = (children = [...running]) =>
  Promise.all(
    children.map(async (child) => {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }),
  );

/** Starts a Redis server that only this user can reach, and that stores nothing on disk. Returns its address. */
export async function startRedis() {
  const dir = makeDirectory();
  const unixsocket = join(dir, 'redis.sock');
  const settings = { port: 0, unixsocket, unixsocketperm: 700, dir, save: '', appendonly: 'no' };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const server = start('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve, reject) => {
    let output = '';
    server.once('error', () => {
      reject(new Error('There is no redis-server here. Install it (Debian: apt install redis-server), or set REDIS_URL to one.'));
    });
    server.once('exit', () => reject(new Error(`redis-server has ended:\n${output}`)));
    server.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (/ready to accept connections/i.test(output)) resolve();
    });
  });
  return unixsocket;
}
