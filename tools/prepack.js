/* Runs before the package is packed. Makes its other folders: types/, from the comments in js/; cjs/, with CommonJS files for
 * Jest's default settings and for Node before 20.19, and with types of their own; and threads/, which resolves `batchnorm/threads`
 * for tools that ignore `exports` (Parcel by default, TypeScript's node10). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const ENTRIES = ['index', 'index-plain'];
/** The entries, and what their types import. */
const FILES = [...ENTRIES, 'arena', 'attach', 'fold', 'layer', 'moments'];
/** An entry that is an ES module only, as its workers are. */
const THREADS = 'threads';

for (const directory of ['types', 'cjs', THREADS]) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
}

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
execFileSync(process.execPath, [tsc, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', 'cjs/emitted'], {
  stdio: 'inherit',
});

/* TypeScript has no option for the three changes that follow, so they are made in the text of the types. If that text does not
 * look as expected, an assertion stops the packing. */

/** Moves the description of each `@typedef` to its type, where editors look for it. The compiler does not leave it there. */
function describeTypes(source, emitted) {
  let types = emitted;
  let described = 0;
  for (const [comment] of source.matchAll(/^\/\*\*\n(?: \*(?!\/).*\n)+ \*\/\n/gm)) {
    const [, object, other] = comment.match(/@typedef (?:\{object\} (\w+)|[\s\S]*\} (\w+)\n)/) ?? [];
    const name = object ?? other;
    if (!name) continue;
    const [, description] = comment.match(/^\/\*\*\n((?: \* [^@\n].*\n)+)/) ?? assert.fail(`${name} has no description`);
    const type = new RegExp(`^export type ${name}\\b`, 'gm');
    assert.equal(types.match(type)?.length, 1, `the types must have one ${type}`);
    types = types.replace(comment, '').replace(type, (declared) => `/**\n${description} */\n${declared}`);
    described++;
  }
  assert.equal(described, source.split('@typedef').length - 1, 'some @typedef has a comment of another form');
  assert.doesNotMatch(types, /@typedef/);
  return types;
}

/** Removes private names. TypeScript rejects them when it compiles for engines older than ES2015, its default up to version 5. */
function withoutPrivateNames(emitted) {
  const types = emitted.replace(/^ +#private;\n/gm, '');
  assert.doesNotMatch(types, /#private/);
  return types;
}

/** The types of the CommonJS files: imports name files in cjs/. */
function forCommonJs(types) {
  const changed = types.replaceAll(/'(\.\/\w+)\.js'/g, "'$1.cjs'");
  for (const [, path] of changed.matchAll(/(?:\bfrom |\bimport\()['"](\.[^'"]*)['"]/g))
    assert.ok(
      FILES.some((file) => path === `./${file}.cjs`),
      `a type in cjs/ imports ${path}`,
    );
  return changed;
}

for (const file of [...FILES, THREADS]) {
  const [source, emitted] = [`js/${file}.js`, `cjs/emitted/${file}.d.ts`].map((path) => readFileSync(path, 'utf8'));
  const types = withoutPrivateNames(describeTypes(source, emitted));
  writeFileSync(`types/${file}.d.ts`, types);
  if (file !== THREADS) writeFileSync(`cjs/${file}.d.cts`, forCommonJs(types));
}
rmSync('cjs/emitted', { recursive: true });

const resolved = { type: 'module', main: `../js/${THREADS}.js`, types: `../types/${THREADS}.d.ts` };
writeFileSync(`${THREADS}/package.json`, `${JSON.stringify(resolved, null, 2)}\n`);

await build({
  entryPoints: ENTRIES.map((entry) => `js/${entry}.js`),
  bundle: true,
  format: 'cjs',
  platform: 'neutral',
  target: 'es2020',
  charset: 'utf8',
  outdir: 'cjs',
  outExtension: { '.js': '.cjs' },
  banner: { js: '/* GENERATED from js/ for loaders that cannot require() an ES module. */' },
});
