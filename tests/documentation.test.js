/* Every example in the documentation runs, and gives what its comments say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/**
 * Runs an example: a line `expression; // ≈ numbers` asserts them, to the digits given; without the sign, exactly. Returns how many
 * numbers were asserted.
 * @param {string} code
 */
function runExample(code, library = batchnorm) {
  let asserted = 0;
  const lines = code
    .replace(/^import .* from 'batchnorm';$/gm, '')
    .split('\n')
    .map((line) =>
      line.replace(
        /^(.*?);?\s*\/\/ (?:(≈) ([-−\d., ]+).*|([-−\d., ]+))$/,
        (_, expression, about, numbers, exact) =>
          `hold(${expression.replace(/^const \w+ = /, '')}, '${numbers ?? exact}', ${about === '≈'});`,
      ),
    );
  const hold = (actual, text, about) => {
    const numbers = text
      .replaceAll('−', '-')
      .split(',')
      .map((number) => number.trim())
      .filter(Boolean);
    const values = [...actual];
    assert.ok(values.length >= numbers.length);
    numbers.forEach((number, i) => {
      if (about) assert.equal(values[i].toFixed(number.split('.')[1]?.length ?? 0), number);
      else assert.equal(values[i], Number(number));
      asserted++;
    });
  };
  const [names, values] = [Object.keys(library), Object.values(library)];
  new Function('hold', ...names, lines.join('\n'))(hold, ...values);
  return asserted;
}

/** The comments of what files export or declare, by its name. */
const commentsOf = (...files) =>
  new Map(
    files.flatMap((file) =>
      [...read(file).matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*?\*\/\s*export (?:const|function|class) (\w+)/g)].map(
        ([comment, name]) => [name, comment],
      ),
    ),
  );
const exampleIn = (comment, name) =>
  (comment?.match(/@example\n([\s\S]*?)\*\//) ?? assert.fail(`${name} has no example`))[1].replace(/^ \* ?/gm, '');

const comments = commentsOf('js/index.js', 'js/arena.js', 'js/fold.js', 'js/moments.js');
/** Whose examples show no numbers of that form. */
const NO_NUMBERS = ['Arena', 'backend', 'initialize'];

for (const [name, exported] of Object.entries(batchnorm))
  test(`${name} is documented, with an example that runs`, () => {
    const comment = comments.get(name);
    const asserted = runExample(exampleIn(comment, name));
    assert.ok(asserted > 0 || NO_NUMBERS.includes(name), 'the example shows no result');
    // A class's are with its methods.
    if (name !== 'backend' && !/^class/.test(exported)) assert.match(comment, /@throws/);
    if (name in plain) assert.equal(runExample(exampleIn(comment, name), plain), asserted);
  });

test('batchnorm/js exports the same, computed without WebAssembly, and points to the main entry for its documentation', () => {
  const ofKernel = ['Arena', 'backend', 'initialize'];
  assert.deepEqual([...Object.keys(plain), ...ofKernel].sort(), Object.keys(batchnorm).sort());
  const own = commentsOf('js/index-plain.js');
  const shared = new Set(Object.values(batchnorm));
  for (const [name, exported] of Object.entries(plain)) {
    if (shared.has(exported)) continue;
    assert.match(own.get(name) ?? '', new RegExp(`\\b${name} of 'batchnorm'`));
    if (!/^class/.test(exported)) assert.match(own.get(name), new RegExp(`@type \\{typeof import\\('./index.js'\\).${name}\\}`));
  }
});

test('the README’s examples run', () => {
  // The recipes with other libraries run in tests/package, where these are installed.
  const blocks = [...read('README.md').matchAll(/```js\n(import[\s\S]*?)```/g)].map(([, code]) => code);
  assert.ok(blocks.length >= 1);
  const asserted = blocks.reduce((sum, code) => sum + runExample(code), 0);
  assert.ok(asserted >= 3, 'the README shows no result');
});

test('the conversion of momentum stands wherever one meets it', () => {
  for (const text of [read('js/index.js'), read('README.md')]) assert.match(text, /PyTorch[\s\S]{0,200}1 − m/);
});
