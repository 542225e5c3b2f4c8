/* "Break it": the digits that other formulas lose as the data move away from zero, in the output and in the gradient. */
import { seededNormal } from '../tests/data.js';
import { choice, control, keep, remember } from './address.js';
import { gradientErrorsAt } from './gradients.js';
import { createLines } from './lines.js';
import { errorsAt } from './methods.js';
import { byId, chosen, codeBlock, element, fillTable, formatPower, lineSample, onChoice, slider, twoDigits } from './page.js';

export const EXAMPLE = `import { batchNormalization } from 'batchnorm';

// 1, 2, 3 and 4, moved so far from zero that neighbouring float32 numbers are 1 apart
const X = { data: Float32Array.of(16777212, 16777213, 16777214, 16777215), shape: [4, 1, 1, 1] };
const [output, mean] = batchNormalization(X, null, null, null, null, 0);
console.log(output.data); // the same as for 1, 2, 3, 4
console.log(mean.data);

// the formula E[x²] − E[x]² in float32
const f = Math.fround;
const average = (values) => f(values.reduce((sum, value) => f(sum + value), 0) / values.length);
const variance = average(X.data.map((x) => f(x * x))) - f(average(X.data) ** 2);
console.log('E[x²] − E[x]² gives a variance of', variance, 'instead of 1.25');`;

const COUNT = 4096;
/** The index of the output that the table shows. */
const SAMPLE = 1;
const STEP = 1 / 8;
/** Exponents of the means. −1 stands for a mean of 0. */
const EXPONENTS = Array.from({ length: 65 }, (_, k) => k * STEP - 1);
const meanOf = (exponent) => (exponent < -0.99 ? 0 : 10 ** exponent);
const meanText = (exponent) => twoDigits(meanOf(exponent));

/**
 * What the visitor can choose to see. `errorsOf` computes the errors of all methods, `shown` is the table's title for a value of each,
 * and `file` has the code. Each method has its names, the frameworks that use it, the look of its line, and the height of the caption
 * on its line.
 */
const KINDS = {
  output: {
    errorsOf: (normals, _, mean) => errorsAt(normals, mean, SAMPLE),
    shown: 'one output',
    file: 'methods.js',
    methods: {
      onePass: {
        short: 'one pass',
        name: 'E[x²] − E[x]², one pass',
        usedBy: 'Flax, Keras 3',
        hue: 'red',
        dash: [2, 3],
        captionHeight: 3.2,
      },
      twoPass: {
        short: 'two passes',
        name: 'mean, then squares',
        usedBy: 'TensorFlow.js',
        hue: 'orange',
        dash: [7, 4],
        captionHeight: 2.4,
      },
      folded: {
        short: 'x·a + b',
        name: 'folded to x·a + b',
        usedBy: 'PyTorch, onnxruntime',
        hue: 'violet',
        dash: [10, 3, 2, 3],
        captionHeight: 1.5,
      },
    },
  },
  gradient: {
    errorsOf: (normals, gradOutput, mean) => gradientErrorsAt(normals, gradOutput, mean),
    shown: 'gradGamma',
    file: 'gradients.js',
    methods: {
      onePass: {
        short: 'one pass',
        name: 'E[x²] − E[x]², differentiated',
        usedBy: 'Flax',
        hue: 'red',
        dash: [2, 3],
        captionHeight: 3.2,
      },
      twoPass: {
        short: 'two passes',
        name: 'mean, then squares, differentiated',
        usedBy: 'TensorFlow.js',
        hue: 'orange',
        dash: [7, 4],
        captionHeight: 2.4,
      },
      savedMean: {
        short: 'float32 mean',
        name: 'whole formula, mean saved as float32',
        usedBy: 'PyTorch',
        hue: 'violet',
        dash: [10, 3, 2, 3],
        captionHeight: 1.5,
      },
    },
  },
};
for (const { methods } of Object.values(KINDS))
  methods.thisPackage = {
    short: 'this package',
    name: 'this package',
    usedBy: 'batchnorm',
    hue: 'accent',
    captionHeight: 5.4,
    captionAtEnd: true,
  };

/** The correct digits of values of about 1, or NaN if the error is NaN. */
const digitsOf = (error) => (error === 0 ? Infinity : Math.max(0, -Math.log10(error)));
const wholeDigits = (error) => (Number.isNaN(error) ? 0 : Math.floor(Math.min(7, digitsOf(error))));

/** Seven digits of a value, of which the wrong ones are crossed out. */
function markedDigits(value, expected) {
  if (!Number.isFinite(value)) return element('span', { className: 'digits' }, element('del', {}, 'NaN'));
  const decimals = Math.max(0, 6 - Math.floor(Math.log10(Math.abs(expected))));
  const [text, expectedText] = [value, expected].map((number) => number.toFixed(decimals).replace('-', '−'));
  let correct = 0;
  while (text.length === expectedText.length && correct < text.length && text[correct] === expectedText[correct]) correct++;
  const close = Math.abs(value - expected) < 1.5 * 10 ** -decimals;
  if (close) correct = text.length;
  const wrong = text.slice(correct);
  return element('span', { className: 'digits' }, text.slice(0, correct), ...(wrong ? [element('del', {}, wrong)] : []));
}

export function startBreak() {
  const normals = Float64Array.from({ length: COUNT }, seededNormal(1));
  // Like most gradients, these have a mean that is not 0.
  const gradOutput = Float32Array.from({ length: COUNT }, seededNormal(2, 1));
  /** The results at each exponent for which they have been computed. */
  const results = { output: new Map(), gradient: new Map() };
  const chosenKind = () => chosen('break-of');

  const resultAt = (kind, exponent) => {
    const computed = results[kind];
    if (!computed.has(exponent)) computed.set(exponent, KINDS[kind].errorsOf(normals, gradOutput, meanOf(exponent)));
    return computed.get(exponent);
  };

  const lines = createLines(byId('break-plot'), {
    label: 'mean of the data',
    x: {
      title: 'mean of the data',
      unit: '(deviation 1)',
      from: -1,
      to: 7,
      step: STEP,
      initial: Number(byId('break-mean').value),
      ticks: [-1, 0, 1, 2, 3, 4, 5, 6, 7].map((value) => ({
        value,
        text: value < 0 ? '0' : value < 3 ? String(10 ** value) : formatPower(value),
      })),
    },
    y: {
      title: 'correct digits',
      from: 0,
      to: 7.5,
      ticks: [0, 1, 2, 3, 4, 5, 6, 7].map((value) => ({ value, text: String(value) })),
    },
    valueText: meanText,
    spokenText: (exponent) => `${meanText(exponent)}, correct digits: ${claimAt(exponent)}`,
    onMove(exponent, released) {
      mean.value = exponent;
      show();
      if (released) remember('break');
    },
  });
  const mean = slider('break-mean', meanText, () => {
    lines.moveMark(mean.value);
    show();
  });

  /** The correct digits of all methods at a mean, in words. */
  function claimAt(exponent) {
    const { methods } = resultAt(chosenKind(), exponent);
    const counts = Object.entries(KINDS[chosenKind()].methods).map(
      ([method, { short }]) => `${short} ${wholeDigits(methods[method].error)}`,
    );
    return `${counts.join(', ')}.`;
  }

  function show() {
    const kind = KINDS[chosenKind()];
    const result = resultAt(chosenKind(), mean.value);
    byId('break-at').textContent = meanText(mean.value);
    byId('break-shown').textContent = kind.shown;
    byId('break-claim').replaceChildren(
      element('strong', {}, `Correct digits at a mean of ${meanText(mean.value)}: `),
      claimAt(mean.value),
    );
    fillTable(
      byId('break-numbers'),
      Object.entries(kind.methods).map(([method, { name, usedBy, hue, dash }]) => {
        const { error, value } = result.methods[method];
        return [
          element('span', { className: 'method' }, lineSample(hue, dash), element('b', {}, name), element('small', {}, usedBy)),
          markedDigits(value, result.expected),
          twoDigits(error),
        ];
      }),
    );
    const rows = byId('break-numbers').rows;
    rows[rows.length - 1].className = 'own';
  }

  function plot() {
    const computed = results[chosenKind()];
    lines.show(
      Object.entries(KINDS[chosenKind()].methods).map(([method, { short, hue, dash, captionHeight, captionAtEnd }]) => ({
        own: method === 'thisPackage',
        hue,
        dash,
        caption: { text: short, height: captionHeight, atEnd: captionAtEnd },
        points: EXPONENTS.filter((exponent) => computed.has(exponent)).map((exponent) => [
          exponent,
          digitsOf(computed.get(exponent).methods[method].error),
        ]),
      })),
    );
  }

  /** Computes the lines from left to right, for a few milliseconds per frame, so that the page keeps responding. */
  let sweeping = false;
  function sweep() {
    const kind = chosenKind();
    const end = performance.now() + 8;
    for (const exponent of EXPONENTS) {
      if (performance.now() > end) break;
      resultAt(kind, exponent);
    }
    plot();
    sweeping = results[kind].size < EXPONENTS.length;
    byId('break-plot').setAttribute('aria-busy', String(sweeping));
    if (sweeping) requestAnimationFrame(sweep);
  }

  const showCode = codeBlock(byId('break-code'));
  const codes = new Map();
  async function fetchCode() {
    const { file } = KINDS[chosenKind()];
    try {
      if (!codes.has(file)) codes.set(file, await (await fetch(new URL(file, import.meta.url))).text());
      if (file === KINDS[chosenKind()].file) showCode(codes.get(file));
    } catch (error) {
      showCode(`${file} could not be loaded: ${error.message}`);
    }
  }
  byId('break-code').closest('details').addEventListener('toggle', fetchCode);

  onChoice('break-of', () => {
    show();
    plot();
    fetchCode();
    if (!sweeping) sweep();
  });
  keep('break', {
    mean: control('break-mean', {
      write: (value) => {
        const rounded = Number(meanOf(Number(value)).toPrecision(3));
        return rounded < 1e3 ? String(rounded) : rounded.toExponential().replace('+', '');
      },
      read: (text) => (Number(text) === 0 ? -1 : Math.log10(Number(text))),
    }),
    of: choice('break-of'),
  });
  lines.moveMark(mean.value);
  show();
  sweep();
}
