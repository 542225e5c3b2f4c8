/* "Break it": the error of four formulas as the data move away from zero. */
import { seededNormal } from '../tests/data.js';
import { errorsAt, METHODS } from './methods.js';
import { byId, codeBlock, element, fillTable, perFrame, scientific, slider } from './page.js';
import { colour, createPlot, power } from './plot.js';
import { workShown } from './work.js';

const COUNT = 4096;
const SEED = 1;
/** Exponents of the means to plot; −1 stands for a mean of 0. */
const EXPONENTS = Array.from({ length: 65 }, (_, k) => k / 8 - 1);
const meanOf = (exponent) => (exponent < -0.99 ? 0 : 10 ** exponent);

const NAMES = {
  onePass: ['E[x²] − E[x]² in float32', 'red', [2, 3]],
  twoPass: ['two passes in float32', 'orange', [7, 4]],
  folded: ['folded to x·a + b in float32', 'violet', [10, 3, 2, 3]],
  thisPackage: ['this package', 'teal', undefined],
};

export function startBreak() {
  const normals = Float64Array.from({ length: COUNT }, seededNormal(SEED));
  const text = (exponent) => {
    const mean = meanOf(exponent);
    return mean < 1000 ? mean.toPrecision(mean < 1 ? 1 : 2) : scientific(mean, power);
  };
  const exponent = slider('break-mean', text, perFrame(show));
  const plot = createPlot(byId('break-plot'), {
    label: 'The largest error of each method by the mean of the data: the table below has the numbers at the slider’s mean',
    height: 320,
    series: Object.values(NAMES).map(([label, hue, dash]) => ({ label, colour: hue, dash, width: dash ? 2 : 3 })),
    scales: { x: { range: [-1, 7] }, y: { distr: 3, range: [1e-8, 1e4] } },
    axes: {
      x: {
        label: 'mean of the data (deviation 1)',
        labelSize: 22,
        labelFont: '12px system-ui, sans-serif',
        splits: () => [-1, 0, 1, 2, 3, 4, 5, 6, 7],
        values: (_, ticks) => ticks.map((tick) => (tick < 0 ? '0' : tick < 3 ? String(10 ** tick) : power(tick))),
      },
      y: {
        size: 52,
        filter: (_, splits) => splits,
        splits: () => [1e-8, 1e-6, 1e-4, 1e-2, 1, 100, 1e4],
        values: (_, ticks) => ticks.map((tick) => (tick === 1 ? '1' : power(Math.round(Math.log10(tick))))),
      },
    },
    over: (u) => {
      const x = u.valToPos(exponent.value, 'x', true);
      u.ctx.save();
      u.ctx.strokeStyle = colour('ink');
      u.ctx.lineWidth = devicePixelRatio;
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
      u.ctx.restore();
    },
  });

  function show() {
    const errors = errorsAt(normals, meanOf(exponent.value));
    byId('break-at').textContent = text(exponent.value);
    fillTable(
      byId('break-numbers'),
      Object.entries(NAMES).map(([method, [name, hue]]) => {
        const error = errors[method];
        const digits = Number.isNaN(error) ? 'none' : error === 0 ? 'all' : String(Math.max(0, Math.floor(-Math.log10(error))));
        return [element('span', { className: 'swatch', style: `--hue: var(--${hue})` }, name), scientific(error, power), digits];
      }),
    );
    plot.redraw();
  }

  async function sweep() {
    const errors = await workShown(byId('break-work'), 'errors', { means: EXPONENTS.map(meanOf), count: COUNT, seed: SEED });
    // What is no number has no place in the plot; 0 stands at its floor.
    if (errors !== undefined)
      plot.show([
        EXPONENTS,
        ...Object.keys(NAMES).map((method) =>
          errors.map((at) => (Number.isNaN(at[method]) ? null : Math.min(1e4, Math.max(1e-8, at[method])))),
        ),
      ]);
  }

  show();
  codeBlock(
    byId('break-code'),
    `const f = Math.fround; // rounds to float32\n\n${Object.values(METHODS).map(String).join('\n\n')}`,
  );
  sweep().catch((error) => {
    byId('break-plot').textContent = `The errors could not be computed: ${error.message}`;
  });
}
