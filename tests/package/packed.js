/* The package as users get it: packed, installed from its tarball into new projects, and checked by conformance.js.
 * The findings are compared with the tables in docs/environments.md, which tools/environments.js writes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { readMarked } from '../../tools/marked.js';

export const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'batchnorm-package-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Runs a command, and returns its standard output. If it fails, throws an error with everything that it printed. */
export function run(command, args, { cwd = root, env = {}, status = 0, timeout = 900_000 } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, CI: '1', NO_COLOR: '1', ...env },
    maxBuffer: 1 << 26,
    timeout,
  });
  assert.equal(result.status, status, `${command} ${args.join(' ')}: ${result.error ?? ''}\n${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

/** Writes files, by their paths. */
function write(directory, files) {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
}

function pack() {
  run('npm', ['pack', '--pack-destination', folder]);
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return join(folder, `${name}-${version}.tgz`);
}
/** TARBALL may name an existing tarball, as npm run release does. */
export const tarball = process.env.TARBALL ?? pack();

/* conformance.js with the worked examples, and threads.js, in one file: `run(library, plain)` and `runThreads(…)`. */
const examples = readFileSync(join(root, 'tests/vectors/worked-examples.json'), 'utf8');
for (const [format, extension] of [
  ['esm', 'js'],
  ['cjs', 'cjs'],
])
  buildSync({
    stdin: {
      contents: `import { conform } from './conformance.js';
        export { conformThreads as runThreads } from './threads.js';
        export const run = (library, plain) => conform(library, plain, ${examples});`,
      resolveDir: join(root, 'tests/package'),
    },
    bundle: true,
    format,
    outfile: join(folder, `conformance.${extension}`),
  });

/** A project with the package installed from its tarball, and conformance.js, conformance.cjs and `files` in it. */
export function project(title, files, { type = 'module' } = {}) {
  const directory = join(folder, title.replaceAll(/[^\w.]+/g, '-'));
  write(directory, { 'package.json': JSON.stringify({ name: 'app', version: '1.0.0', private: true, type }), ...files });
  for (const extension of ['js', 'cjs'])
    cpSync(join(folder, `conformance.${extension}`), join(directory, `conformance.${extension}`));
  run('npm', ['install', '--no-audit', '--no-fund', '--no-save', tarball], { cwd: directory });
  assert.ok(existsSync(join(directory, 'node_modules/batchnorm/package.json')));
  return directory;
}

/** Programs that print a report, using import or require, and a module for pages that leaves it in `globalThis.report`. */
export const IMPORTS = `import * as batchnorm from 'batchnorm';
import * as plain from 'batchnorm/js';
import { run } from './conformance.js';
`;
export const PROGRAM = `${IMPORTS}console.log(JSON.stringify(run(batchnorm, plain)));
`;
export const REQUIRES = `const batchnorm = require('batchnorm');
const plain = require('batchnorm/js');
const { run } = require('./conformance.cjs');
`;
export const PAGE = `${IMPORTS}globalThis.report = run(batchnorm, plain);
`;
/** The same for threads. */
export const THREADS = `import * as batchnorm from 'batchnorm';
import { createThreads } from 'batchnorm/threads';
import { runThreads } from './conformance.js';
`;

const rows = [];

/** Checks a report, and keeps it for the table. */
export function found(where, how, report, backend = 'wasm-simd') {
  assert.deepEqual(report.failures, []);
  assert.ok(report.checks > 300, `${report.checks} checks`);
  assert.equal(report.backend, backend);
  rows.push(`| ${where} | ${how} | ${report.backend} | ${report.checks} |`);
}

/** The same for a report about threads, of which it must have found so many. */
export function foundThreads(where, how, report, threads, backend = 'wasm-simd') {
  assert.deepEqual(report.failures, []);
  assert.ok(report.checks > 70, `${report.checks} checks`);
  assert.deepEqual([report.threads, report.backend], [threads, backend]);
  const number = threads === 1 ? 'one thread' : `${threads} threads`;
  rows.push(`| ${where} | \`batchnorm/threads\`${how}: ${number} | ${report.backend} | ${report.checks} |`);
}

/** The report in the output of a program, which may have other lines. */
export const reportIn = (output) => JSON.parse(output.match(/\{"backend".*\}/)?.[0] ?? assert.fail(`no report in: ${output}`));

/**
 * Compares the findings with a table of docs/environments.md, except for versions and numbers of checks. If only `some`
 * environments were tried, these must be in the table. If FOUND names a file, the rows are added to that file instead.
 */
export function compareTable(section, some = false) {
  if (process.env.FOUND) return appendFileSync(process.env.FOUND, `${JSON.stringify({ section, rows })}\n`);
  const [, , ...table] = readMarked(readFileSync(join(root, 'docs/environments.md'), 'utf8'), section).split('\n');
  const known = (row) => row.replace(/ \d+ \|$/, '').replace(/\d+([.-]\d+)+/g, '#');
  const here = rows.map(known);
  const listed = table.map(known);
  const expected = some ? listed.filter((row) => here.includes(row)) : listed;
  assert.deepEqual(here.sort(), expected.sort(), 'docs/environments.md lists others: npm run environments');
}
