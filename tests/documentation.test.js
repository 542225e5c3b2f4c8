/* Every example in the documentation runs, and gives what its comments say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/**
 * Runs an example: a line `expression; // ≈ numbers` asserts them, to the digits given.
 * @param {string} code
 */
function runExample(code, library = batchnorm) {
  let asserted = 0;
  const lines = code
    .replace(/^import .* from 'batchnorm';$/gm, '')
    .split('\n')
    .map((line) =>
      line.replace(
        /^(.*?);?\s*\/\/ ≈ ([-−\d., ]+).*$/,
        (_, expression, numbers) => `close(${expression.replace(/^const \w+ = /, '')}, '${numbers}');`,
      ),
    );
  const close = (actual, text) => {
    const numbers = text
      .replaceAll('−', '-')
      .split(',')
      .map((number) => number.trim())
      .filter(Boolean);
    const values = [...actual];
    assert.ok(values.length >= numbers.length);
    numbers.forEach((number, i) => {
      const digits = number.split('.')[1]?.length ?? 0;
      assert.equal(values[i].toFixed(digits), number);
      asserted++;
    });
  };
  const [names, values] = [Object.keys(library), Object.values(library)];
  new Function('close', ...names, lines.join('\n'))(close, ...values);
  return asserted;
}

for (const [name, text, library] of [
  ['batchnorm', read('js/index.js') + read('js/arena.js'), batchnorm],
  ['batchnorm/js', read('js/index-plain.js'), plain],
])
  test(`every public function and class of ${name} is documented with an example that runs`, () => {
    const comments = [...text.matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*?\*\/\s*export (?:function|class) (\w+)/g)];
    assert.deepEqual(comments.map(([, name]) => name).sort(), Object.keys(library).sort());
    for (const [comment, name] of comments) {
      const [, example] = comment.match(/@example\n([\s\S]*?)\*\//) ?? assert.fail(`${name} has no example`);
      const asserted = runExample(example.replace(/^ \* ?/gm, ''), library);
      if (name === 'batchNormalization') assert.ok(asserted >= 4);
      if (name !== 'backend' && name !== 'Arena') assert.match(comment, /@throws/);
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
