/* Before the package is packed: makes what it holds beside js/, the types (types/, from the comments) and the CommonJS
 * files (cjs/, for Jest's default and loaders older than Node 20.19) with types of their own. */
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
/** The compiler leaves a type's comment behind, as it stood: put before the type, without its tags, editors show it. */
function place(comments) {
  const described = [...comments.matchAll(/^\/\*\*\n((?: \* [^@\n].*\n)+)(?: \*.*\n)*? \* @typedef .*?(?:\n[\s\S]*?)?\*\/\n/gm)];
  let types = comments;
  for (const [comment, description] of described) {
    const name = comment.match(/@typedef (?:\{object\} (\w+)|[\s\S]*\} (\w+)\n)/);
    types = types.replace(comment, '').replace(`export type ${name[1] ?? name[2]}`, (type) => `/**\n${description} */\n${type}`);
  }
  return types;
}

for (const file of [...ENTRIES, 'arena', 'fold', 'layer', 'moments']) {
  // TypeScript rejects private names where it compiles for engines older than ES2015, its default up to version 5.
  const types = place(readFileSync(`cjs/emitted/${file}.d.ts`, 'utf8')).replace(/^ +#private;\n/gm, '');
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
