/* Every example in the documentation runs, and gives what its comments say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/**
 * Runs an example: a line `expression; // ≈ numbers` asserts them, to the digits given.
 * @param {string} code
 */
function runExample(code) {
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
  const [names, values] = [Object.keys(batchnorm), Object.values(batchnorm)];
  new Function('close', ...names, lines.join('\n'))(close, ...values);
  return asserted;
}

const comments = [...read('js/index.js').matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*?\*\/\s*export function (\w+)/g)];

test('every public function is documented with an example that runs', () => {
  assert.deepEqual(comments.map(([, name]) => name).sort(), Object.keys(batchnorm).sort());
  for (const [comment, name] of comments) {
    const [, example] = comment.match(/@example\n([\s\S]*?)\*\//) ?? assert.fail(`${name} has no example`);
    const asserted = runExample(example.replace(/^ \* ?/gm, ''));
    if (name === 'batchNormalization') assert.ok(asserted >= 10);
    assert.match(comment, /@throws/);
  }
});

test('the README’s examples run', () => {
  const blocks = [...read('README.md').matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);
  assert.ok(blocks.length >= 1);
  const asserted = blocks.reduce((sum, code) => sum + runExample(code), 0);
  assert.ok(asserted >= 3, 'the README shows no result');
});

test('the conversion of momentum stands wherever one meets it', () => {
  for (const text of [read('js/index.js'), read('README.md')]) assert.match(text, /PyTorch[\s\S]{0,200}1 − m/);
});
