/* "Break it": the digits that other formulas lose as the data move away from zero, of the output and of the gradient. */
import { seededNormal } from '../tests/data.js';
import { choice, control, keep, remember } from './address.js';
import { gradientErrorsAt } from './gradients.js';
import { createLines } from './lines.js';
import { errorsAt } from './methods.js';
import { byId, chosen, codeBlock, element, fillTable, line, onChoice, power, slider, twoDigits } from './page.js';

export const EXAMPLE = `import { batchNormalization } from 'batchnorm';

// 1, 2, 3 and 4, moved to where neighbouring float32 numbers are 1 apart
const X = { data: Float32Array.of(16777212, 16777213, 16777214, 16777215), shape: [4, 1, 1, 1] };
const [output, mean] = batchNormalization(X, null, null, null, null, 0);
console.log(output.data); // the same as of 1, 2, 3, 4
console.log(mean.data);

// E[x²] − E[x]² in float32 gives
const f = Math.fround;
const average = (values) => f(values.reduce((sum, value) => f(sum + value), 0) / values.length);
console.log('a variance of', average(X.data.map((x) => f(x * x))) - f(average(X.data) ** 2), 'where 1.25 is right');`;

const COUNT = 4096;
/** Which of the outputs is shown in digits. */
const SAMPLE = 1;
const STEP = 1 / 8;
/** Exponents of the means; −1 stands for a mean of 0. */
const EXPONENTS = Array.from({ length: 65 }, (_, k) => k * STEP - 1);
const meanOf = (exponent) => (exponent < -0.99 ? 0 : 10 ** exponent);

/** What is plotted: by method its name, who computes so, its line, and at which height its caption stands. */
const KINDS = {
  output: {
    of: (normals, _, mean) => errorsAt(normals, mean, SAMPLE),
    shown: 'one output',
    code: 'methods.js',
    methods: {
      onePass: { short: 'one pass', name: 'E[x²] − E[x]², one pass', by: 'Flax, Keras 3', hue: 'red', dash: [2, 3], at: 3.2 },
      twoPass: { short: 'two passes', name: 'mean, then squares', by: 'TensorFlow.js', hue: 'orange', dash: [7, 4], at: 2.4 },
      folded: {
        short: 'x·a + b',
        name: 'folded to x·a + b',
        by: 'PyTorch, onnxruntime',
        hue: 'violet',
        dash: [10, 3, 2, 3],
        at: 1.5,
      },
    },
  },
  gradient: {
    of: (normals, g, mean) => gradientErrorsAt(normals, g, mean),
    shown: 'gradGamma',
    code: 'gradients.js',
    methods: {
      onePass: { short: 'one pass', name: 'E[x²] − E[x]², differentiated', by: 'Flax', hue: 'red', dash: [2, 3], at: 3.2 },
      twoPass: {
        short: 'two passes',
        name: 'mean, then squares, differentiated',
        by: 'TensorFlow.js',
        hue: 'orange',
        dash: [7, 4],
        at: 2.4,
      },
      savedMean: {
        short: 'float32 mean',
        name: 'fused, its mean saved as float32',
        by: 'PyTorch',
        hue: 'violet',
        dash: [10, 3, 2, 3],
        at: 1.5,
      },
    },
  },
};
for (const { methods } of Object.values(KINDS))
  methods.thisPackage = { short: 'this package', name: 'this package', by: 'batchnorm', hue: 'accent', at: 5.4, above: true };

/** Correct digits of values of about 1; NaN without a number. */
const digitsOf = (error) => (error === 0 ? Infinity : Math.max(0, -Math.log10(error)));
const wholeDigits = (error) => (Number.isNaN(error) ? 0 : Math.floor(Math.min(7, digitsOf(error))));

/** Seven digits of a value: those that are as expected, and those that are lost. */
function digits(value, expected) {
  if (!Number.isFinite(value)) return element('span', { className: 'digits' }, element('del', {}, 'NaN'));
  const decimals = Math.max(0, 6 - Math.floor(Math.log10(Math.abs(expected))));
  const minus = (text) => text.replace('-', '−');
  const [text, right] = [value, expected].map((number) => minus(number.toFixed(decimals)));
  let same = 0;
  while (text.length === right.length && same < text.length && text[same] === right[same]) same++;
  const close = Math.abs(value - expected) < 1.5 * 10 ** -decimals;
  if (close) same = text.length;
  const lost = text.slice(same);
  return element('span', { className: 'digits' }, text.slice(0, same), ...(lost ? [element('del', {}, lost)] : []));
}

export function startBreak() {
  const normals = Float64Array.from({ length: COUNT }, seededNormal(1));
  // Gradients with a mean of their own, as most have.
  const g = Float32Array.from({ length: COUNT }, seededNormal(2, 1));
  /** By kind, what was found at each exponent so far. */
  const found = { output: new Map(), gradient: new Map() };
  const kind = () => chosen('break-of');
  const text = (exponent) => twoDigits(meanOf(exponent));

  const find = (of, exponent) => {
    const known = found[of];
    if (!known.has(exponent)) known.set(exponent, KINDS[of].of(normals, g, meanOf(exponent)));
    return known.get(exponent);
  };

  const lines = createLines(byId('break-plot'), {
    label: 'mean of the data',
    x: {
      title: 'mean of the data',
      unit: '(deviation 1)',
      from: -1,
      to: 7,
      step: STEP,
      at: Number(byId('break-mean').value),
      ticks: [-1, 0, 1, 2, 3, 4, 5, 6, 7].map((at) => ({ at, text: at < 0 ? '0' : at < 3 ? String(10 ** at) : power(at) })),
    },
    y: { title: 'correct digits', from: 0, to: 7.5, ticks: [0, 1, 2, 3, 4, 5, 6, 7].map((at) => ({ at, text: String(at) })) },
    short: text,
    text: (exponent) => `${text(exponent)}: ${claim(exponent)}`,
    moved(exponent, done) {
      mean.value = exponent;
      show();
      if (done) remember('break');
    },
  });
  const mean = slider('break-mean', text, () => {
    lines.mark(mean.value);
    show();
  });

  /** What is seen at a mean, in words. */
  function claim(exponent) {
    const { methods } = find(kind(), exponent);
    const told = Object.entries(KINDS[kind()].methods).map(([name, { short }]) => [short, wholeDigits(methods[name].error)]);
    const own = told.pop()[1];
    const others = told.map(
      ([short, count], k) => `${short} ${count}${k === 0 ? (count === 1 ? ' correct digit' : ' correct digits') : ''}`,
    );
    return `${others.join(', ')}; this package ${own}.`;
  }

  function show() {
    const at = find(kind(), mean.value);
    byId('break-at').textContent = text(mean.value);
    byId('break-shown').textContent = KINDS[kind()].shown;
    byId('break-claim').replaceChildren(element('strong', {}, `At a mean of ${text(mean.value)}: `), claim(mean.value));
    fillTable(
      byId('break-numbers'),
      Object.entries(KINDS[kind()].methods).map(([method, { name, by, hue, dash }]) => {
        const { error, value } = at.methods[method];
        return [
          element('span', { className: 'method' }, line(hue, dash), element('b', {}, name), element('small', {}, by)),
          digits(value, at.expected),
          twoDigits(error),
        ];
      }),
    );
    const rows = byId('break-numbers').rows;
    rows[rows.length - 1].className = 'own';
  }

  function plot() {
    const known = found[kind()];
    lines.show(
      Object.entries(KINDS[kind()].methods).map(([method, { short, hue, dash, at, above }]) => ({
        own: method === 'thisPackage',
        hue,
        dash,
        caption: { text: short, at, above },
        points: EXPONENTS.filter((exponent) => known.has(exponent)).map((exponent) => [
          exponent,
          digitsOf(known.get(exponent).methods[method].error),
        ]),
      })),
    );
  }

  /** The lines grow from left to right, some milliseconds of each frame, so that the page answers meanwhile. */
  let sweeping = false;
  function sweep() {
    const of = kind();
    const end = performance.now() + 8;
    for (const exponent of EXPONENTS) {
      if (performance.now() > end) break;
      find(of, exponent);
    }
    plot();
    sweeping = found[of].size < EXPONENTS.length;
    byId('break-plot').setAttribute('aria-busy', String(sweeping));
    if (sweeping) requestAnimationFrame(sweep);
  }

  const showCode = codeBlock(byId('break-code'));
  const codes = new Map();
  async function fetchCode() {
    const file = KINDS[kind()].code;
    try {
      if (!codes.has(file)) codes.set(file, await (await fetch(new URL(file, import.meta.url))).text());
      if (file === KINDS[kind()].code) showCode(codes.get(file));
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
      read: (given) => (Number(given) === 0 ? -1 : Math.log10(Number(given))),
    }),
    of: choice('break-of'),
  });
  lines.mark(mean.value);
  show();
  sweep();
}
