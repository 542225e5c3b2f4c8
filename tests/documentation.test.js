/* Every example in the documentation runs, and gives the values in its comments. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';
import { pages } from '../bench/peers/write.js';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/**
 * Compares an expression's value with the comment after it.
 * @param {any} actual @param {string} text numbers, or a string @param {'about' | 'exact' | 'string'} how 'about' compares the digits that the text has
 */
function hold(actual, text, how) {
  if (how === 'string') return assert.equal(actual, text);
  const numbers = text
    .replaceAll('−', '-')
    .split(',')
    .map((number) => number.trim())
    .filter(Boolean);
  const values = [...actual];
  assert.ok(values.length >= numbers.length);
  numbers.forEach((number, i) => {
    if (how === 'about') assert.equal(values[i].toFixed(number.split('.')[1]?.length ?? 0), number);
    else assert.equal(values[i], Number(number));
  });
}

/** Turns the comments `// ≈ numbers`, `// numbers` and `// 'string'` of an example into calls of hold. Returns code and count. */
function withChecks(code) {
  let held = 0;
  const lines = code.split('\n').map((line) =>
    line.replace(/^(.*?);?\s*\/\/ (?:≈ ([-−\d., ]+).*|([-−\d., ]+)|'([^']*)')$/, (_, expression, about, exact, string) => {
      held += (about ?? exact)?.split(',').filter((number) => number.trim()).length ?? 1;
      const how = about ? 'about' : exact ? 'exact' : 'string';
      return `hold(${expression.replace(/^const \w+ = /, '')}, ${JSON.stringify(about ?? exact ?? string)}, '${how}');`;
    }),
  );
  return { code: lines.join('\n'), held };
}

/** Runs an example that imports nothing else. Returns how many values were compared. @param {string} example */
function runExample(example, library = batchnorm) {
  const { code, held } = withChecks(example.replace(/^import .* from 'batchnorm';$/gm, ''));
  new Function('hold', ...Object.keys(library), `'use strict';${code}`)(hold, ...Object.values(library));
  return held;
}

/** Runs an example as a module in its own process, where nothing has been compiled yet. @param {string} example */
function runAlone(example) {
  const { code, held } = withChecks(example);
  const program = `import assert from 'node:assert/strict';\n${hold}\n${code}`;
  execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: new URL('..', import.meta.url),
    stdio: 'pipe',
    timeout: 300_000,
  });
  return held;
}

/** The comments of the exports and declarations of some files, by name. */
const commentsOf = (...files) =>
  new Map(
    files.flatMap((file) =>
      [...read(file).matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*?\*\/\s*export (?:const|(?:async )?function|class) (\w+)/g)].map(
        ([comment, name]) => [name, comment],
      ),
    ),
  );
const exampleIn = (comment, name) =>
  (comment?.match(/@example\n([\s\S]*?)\*\//) ?? assert.fail(`${name} has no example`))[1].replace(/^ \* ?/gm, '');

const comments = commentsOf('js/index.js', 'js/arena.js', 'js/attach.js', 'js/fold.js', 'js/moments.js');
/** Exports whose examples have no values in their comments. */
const NO_NUMBERS = ['Arena', 'attach', 'backend', 'initialize'];

for (const [name, exported] of Object.entries(batchnorm))
  test(`${name} is documented, with an example that runs`, () => {
    const comment = comments.get(name);
    const asserted = runExample(exampleIn(comment, name));
    assert.ok(asserted > 0 || NO_NUMBERS.includes(name), 'the example shows no result');
    // In a class, the methods have the @throws.
    if (name !== 'backend' && !/^class/.test(exported)) assert.match(comment, /@throws/);
    if (name in plain) assert.equal(runExample(exampleIn(comment, name), plain), asserted);
  });

test('createThreads is documented, with an example that runs', () => {
  const comment = commentsOf('js/threads.js').get('createThreads');
  assert.match(comment, /@throws/);
  runAlone(`
    import { batchNormalization } from 'batchnorm';
    import { createThreads } from 'batchnorm/threads';
    ${exampleIn(comment, 'createThreads')}`);
});

test('batchnorm/js exports the same functions except those for WebAssembly, and refers to the main entry for documentation', () => {
  const ofKernel = ['Arena', 'attach', 'backend', 'initialize'];
  assert.deepEqual([...Object.keys(plain), ...ofKernel].sort(), Object.keys(batchnorm).sort());
  const own = commentsOf('js/index-plain.js');
  const shared = new Set(Object.values(batchnorm));
  for (const [name, exported] of Object.entries(plain)) {
    if (shared.has(exported)) continue;
    assert.match(own.get(name) ?? '', new RegExp(`\\b${name} of 'batchnorm'`));
    if (!/^class/.test(exported)) assert.match(own.get(name), new RegExp(`@type \\{typeof import\\('./index.js'\\).${name}\\}`));
  }
});

/** Examples that run in tests/package instead, where the other libraries are installed. */
const RECIPE = /^\/\/ (ndarray|onnxruntime|TensorFlow\.js)/;

for (const [page, least] of [
  ['README.md', 3],
  // training-docs.test.js tests docs/training.md.
  ...readdirSync(new URL('../docs/', import.meta.url))
    .filter((file) => file.endsWith('.md') && file !== 'training.md')
    .map((file) => [`docs/${file}`, file === 'getting-started.md' ? 12 : 0]),
])
  test(`the examples of ${page} run, and give the values in their comments`, () => {
    const blocks = [...read(page).matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code).filter((code) => !RECIPE.test(code));
    const others = (code) => /^import .* from '(?!batchnorm')/m.test(code);
    const held = blocks.reduce((sum, code) => sum + (others(code) ? runAlone(code) : runExample(code)), 0);
    assert.ok(held >= least, `only ${held} values are shown`);
  });

test('the README is short, and its CDN line names a file of this version', () => {
  const readme = read('README.md');
  const prose = readme.replace(/^```[\s\S]*?^```/gm, '').split(/\s+/);
  assert.ok(prose.length <= 1400, `${prose.length} words`);
  const { version } = JSON.parse(read('package.json'));
  for (const page of ['README.md', 'docs/getting-started.md', 'docs/threads.md']) {
    const [, wanted, file] = read(page).match(/cdn\.jsdelivr\.net\/npm\/batchnorm@([\d.]+)\/([\w./]+)/);
    assert.ok(version.startsWith(`${wanted}.`), `${page} loads version ${wanted} from the CDN`);
    read(file);
  }
});

/** The anchors that GitHub makes of the headings of a page. @param {string} page */
const anchorsIn = (page) =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

test('links in the README and the docs lead to packed files, or are absolute and lead to files of the repository', () => {
  const pages = ['README.md', ...readdirSync(new URL('../docs/', import.meta.url)).map((file) => `docs/${file}`)].filter((page) =>
    page.endsWith('.md'),
  );
  const packed = [...pages, 'CHANGELOG.md', 'LICENSE'];
  const here =
    /^https:\/\/(?:github\.com\/batchnorm\/batchnorm\/(?:blob|tree)|raw\.githubusercontent\.com\/batchnorm\/batchnorm)\/main\/(.*)/;
  for (const page of pages) {
    const links = [...read(page).matchAll(/\]\(([^()\s]+)\)|(?:src|srcset)="([^"]+)"/g)].map(
      ([, link, source]) => link ?? source,
    );
    for (const link of links) {
      const ours = link.match(here)?.[1];
      if (ours) assert.ok(existsSync(new URL(`../${ours}`, import.meta.url)), `${page}: ${link}`);
      if (/^https:/.test(link)) continue;
      const [path, anchor] = link.split('#');
      const target = path ? posix.join(posix.dirname(page), path) : page;
      assert.ok(packed.includes(target), `${page}: ${link} is not packed`);
      if (anchor) assert.ok(anchorsIn(target).includes(anchor), `${page}: ${link} leads to no heading`);
    }
  }
});

test('the comparison, its plots and the README’s table match the results (if not, run node bench/peers/write.js)', () => {
  for (const [file, text] of Object.entries(pages())) {
    assert.ok(read(file) === text, `${file} does not match the results`);
    // Wrong units look like 1.53e+3 ms or -962.6 kB.
    assert.doesNotMatch(text, /\de[+-]?\d+ (?:kB|MB|MiB|ns|µs|ms|s)\b/);
    assert.doesNotMatch(text, /(?:^|[\s|])[-−]\d[\d.]* (?:kB|MB|MiB|ns|µs|ms|s)\b/m);
  }
});

test('the conversion of PyTorch’s momentum is explained wherever momentum is', () => {
  for (const text of [read('js/index.js'), read('README.md')]) assert.match(text, /PyTorch[\s\S]{0,200}1 − m/);
});
