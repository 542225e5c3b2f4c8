/* Runs before the package is packed. Makes its other folders: types/, from the comments in js/, and cjs/, with CommonJS files for
 * Jest's default settings and for Node before 20.19, and with types of their own. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const ENTRIES = ['index', 'index-plain'];

for (const directory of ['types', 'cjs']) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
}

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
execFileSync(process.execPath, [tsc, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', 'cjs/emitted'], {
  stdio: 'inherit',
});
/** Puts the description of each `@typedef` before its type, where editors look for it. The compiler does not put it there. */
function place(source, emitted) {
  let types = emitted;
  for (const [comment] of source.matchAll(/^\/\*\*\n(?: \*(?!\/).*\n)+ \*\/\n/gm)) {
    const [, object, other] = comment.match(/@typedef (?:\{object\} (\w+)|[\s\S]*\} (\w+)\n)/) ?? [];
    const [, description] = comment.match(/^\/\*\*\n((?: \* [^@\n].*\n)+)/) ?? [];
    if (!(object || other) || !description) continue;
    const type = new RegExp(`^export type ${object ?? other}\\b`, 'm');
    if (!type.test(emitted)) throw new Error(`${type} is not there for its description`);
    types = types.replace(comment, '').replace(type, (declared) => `/**\n${description} */\n${declared}`);
  }
  return types;
}

for (const file of [...ENTRIES, 'arena', 'fold', 'layer', 'moments']) {
  // TypeScript rejects private names if it compiles for engines older than ES2015, which is its default up to version 5.
  const [source, emitted] = [`js/${file}.js`, `cjs/emitted/${file}.d.ts`].map((path) => readFileSync(path, 'utf8'));
  const types = place(source, emitted).replace(/^ +#private;\n/gm, '');
  writeFileSync(`types/${file}.d.ts`, types);
  writeFileSync(`cjs/${file}.d.cts`, types.replaceAll(/'(\.\/\w+)\.js'/g, "'$1.cjs'"));
}
rmSync('cjs/emitted', { recursive: true });

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
