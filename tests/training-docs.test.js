/* Every code block of docs/training.md runs, gives the values in its comments, and does what the text around it claims. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as batchnorm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor } from './data.js';

const text = readFileSync(new URL('../docs/training.md', import.meta.url), 'utf8');
const blocks = [...text.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);

/** The only block that contains `text`. */
function blockWith(text) {
  const found = blocks.filter((code) => code.includes(text));
  assert.equal(found.length, 1, text);
  return found[0];
}

/**
 * Runs a block. A line `expression; // ≈ numbers` asserts those numbers, to the digits given, and how many there are. Returns the values
 * of the outermost declarations, and how many numbers were asserted.
 */
function run(code, library = batchnorm) {
  let asserted = 0;
  const close = (actual, text) => {
    const numbers = text
      .replaceAll('−', '-')
      .split(',')
      .map((number) => number.trim());
    const values = [...actual];
    assert.equal(values.length, numbers.length, text);
    numbers.forEach((number, i) => {
      const digits = number.split('.')[1]?.length ?? 0;
      assert.ok(Math.abs(values[i] - Number(number)) <= 0.5001 * 10 ** -digits, `${values[i]}, not ${number}`);
      asserted++;
    });
  };
  const imported = [];
  const body = code
    .replace(/^import \{ (.*) \} from 'batchnorm';$/gm, (_, names) => {
      imported.push(...names.split(', '));
      return '';
    })
    .replace(/^(.*?);? \/\/ ≈ ([-−\d., ]+)$/gm, (_, expression, numbers) => `close(${expression}, '${numbers}');`);
  for (const name of imported) assert.ok(name in library, `batchnorm exports no ${name}`);
  const declared = [...body.matchAll(/^const ([[{]?[^=]*?[\]}]?) = /gm)].flatMap(([, names]) => names.match(/\w+/g));
  const program = new Function('close', ...imported, `'use strict';${body}\nreturn { ${declared.join(', ')} };`);
  return { ...program(close, ...imported.map((name) => library[name])), asserted };
}

const assertClose = (actual, expected, tolerance) => {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) <= tolerance, `value ${i}: ${value}, not ${expected[i]}`);
  });
};

for (const [name, library] of [
  ['batchnorm', batchnorm],
  ['batchnorm/js', plain],
])
  test(`every block runs with ${name}, and gives the values in its comments`, () => {
    assert.ok(blocks.length >= 7);
    const asserted = blocks.reduce((sum, code) => sum + run(code, library).asserted, 0);
    assert.ok(asserted >= 20, `only ${asserted} numbers are shown`);
  });

test('the loop learns, and evaluation is close to training', () => {
  const { losses, one, X, target, readout, layer } = run(blockWith('const losses'));
  assert.ok(losses.at(-1) < 0.1 * losses[0], `from ${losses[0]} to ${losses.at(-1)}`);
  assert.ok(Number.isFinite(one));
  const output = layer.forward(X).data;
  const errors = target.map((value, n) => readout.reduce((sum, w, f) => sum + w * output[n * readout.length + f], -value));
  assertClose([errors.reduce((sum, error) => sum + error ** 2, 0) / target.length], [losses.at(-1)], 0.1 * losses[0]);
});

test('several workers give the results of the whole batch, including the gradient', () => {
  const code = blockWith('mergeMoments(parts');
  const check = ({ parts, gradOutputs, gamma, beta, outputs, gradients }, tolerance) => {
    const whole = (tensors) => {
      const data = Float32Array.from(tensors.flatMap(({ data }) => [...data]));
      return { data, shape: [data.length / 2, 2] };
    };
    const X = whole(parts);
    const [output] = batchnorm.batchNormalization(X, gamma, beta);
    const [gradInput, wholeGamma, wholeBeta] = batchnorm.batchNormalizationGradient(whole(gradOutputs), X, { gamma });
    assertClose([...whole(outputs).data], [...output.data], tolerance);
    assertClose([...whole(gradients.map(([part]) => part)).data], [...gradInput.data], tolerance);
    for (const [, gradGamma, gradBeta] of gradients) {
      assertClose([...gradGamma.data], [...wholeGamma.data], tolerance);
      assertClose([...gradBeta.data], [...wholeBeta.data], tolerance);
    }
  };
  check(run(code), 1e-5);
  // The same with larger parts, far from zero.
  const sizes = [300, 1, 77];
  const larger = {
    parts: sizes.map((size, p) => normalTensor([size, 2], p, 1000, 1)),
    gradOutputs: sizes.map((size, p) => normalTensor([size, 2], 10 + p, 1)),
  };
  const replaced = code
    .replaceAll(' // ≈', ' // once')
    .replace(/^const (parts|gradOutputs) = \[[\s\S]*?^\];$/gm, (_, name) => `const ${name} = larger.${name};`);
  assert.equal(replaced.match(/larger/g).length, 2);
  check(run(`import { larger } from 'batchnorm';\n${replaced}`, { ...batchnorm, larger }), 1e-5);
});

test('masked statistics are those of the valid positions', () => {
  const { output, valid } = run(blockWith('const lengths'));
  const data = Float32Array.from(valid.flatMap(({ data }) => [...data]));
  const [expected] = batchnorm.batchNormalization({ data, shape: [5, 2] }, null, null);
  const actual = [...output.data.subarray(0, 4), ...output.data.subarray(6)];
  assertClose(actual, [...expected.data], 1e-6);
});

test('the running variance is biased, or unbiased like PyTorch’s, as the table says', () => {
  const X = { data: Float32Array.of(1, 3), shape: [2, 1] };
  for (const [unbiased, expected] of [
    [false, 0.9 + 0.1],
    [true, 0.9 + 0.2],
  ]) {
    const layer = new batchnorm.BatchNorm(1, { unbiased });
    layer.forward(X);
    assertClose([...layer.runningVar], [expected], 1e-12);
  }
});

test('the guide explains the conversion of momentum, and stays short', () => {
  assert.match(text, /PyTorch[^\n]*1 − m/);
  const prose = text.replace(/```[\s\S]*?```/g, '').split(/\s+/);
  assert.ok(prose.length <= 1200, `${prose.length} words`);
});
