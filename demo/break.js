/* "Break it": the error of four formulas as the data move away from zero. */
import { seededNormal } from '../tests/data.js';
import { errorsAt } from './methods.js';
import { byId, codeBlock, element, fillTable, perFrame, power, slider, twoDigits } from './page.js';
import { colour, createPlot } from './plot.js';
import { work } from './work.js';

const COUNT = 4096;
const SEED = 1;
/** Exponents of the means to plot; −1 stands for a mean of 0. */
const EXPONENTS = Array.from({ length: 65 }, (_, k) => k / 8 - 1);
const meanOf = (exponent) => (exponent < -0.99 ? 0 : 10 ** exponent);

const NAMES = {
  onePass: ['E[x²] − E[x]² in float32', 'red', [2, 3]],
  twoPass: ['two passes in float32', 'orange', [7, 4]],
  folded: ['folded to x·a + b in float32', 'violet', [10, 3, 2, 3]],
  thisPackage: ['this package', 'accent', undefined],
};

export function startBreak() {
  const normals = Float64Array.from({ length: COUNT }, seededNormal(SEED));
  /** At each of the exponents, once computed. */
  let errors = [];
  const text = (exponent) => twoDigits(meanOf(exponent));
  const exponent = slider('break-mean', text, perFrame(show));
  const plot = createPlot(byId('break-plot'), {
    label: 'The largest error of each method by the mean of the data: the table below has the numbers at the slider’s mean',
    height: 320,
    // Beside what is no number a value may stand alone, without a line.
    series: Object.values(NAMES).map(([label, hue, dash]) => ({
      label,
      colour: hue,
      dash,
      width: dash ? 2 : 3,
      dots: hue === 'red',
    })),
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
      // What is no number, as crosses at the top.
      const size = 3 * devicePixelRatio;
      const y = u.bbox.top + 2 * size;
      Object.entries(NAMES).forEach(([method, [, hue]]) => {
        u.ctx.strokeStyle = colour(hue);
        errors.forEach((at, k) => {
          if (!Number.isNaN(at[method])) return;
          const cross = u.valToPos(EXPONENTS[k], 'x', true);
          u.ctx.beginPath();
          for (const slope of [-1, 1]) {
            u.ctx.moveTo(cross - size, y - slope * size);
            u.ctx.lineTo(cross + size, y + slope * size);
          }
          u.ctx.stroke();
        });
      });
      u.ctx.restore();
    },
  });

  function show() {
    const here = errorsAt(normals, meanOf(exponent.value));
    byId('break-at').textContent = text(exponent.value);
    fillTable(
      byId('break-numbers'),
      Object.entries(NAMES).map(([method, [name, hue]]) => {
        const error = here[method];
        const digits = Number.isNaN(error) ? 'none' : error === 0 ? 'all' : String(Math.max(0, Math.floor(-Math.log10(error))));
        return [element('span', { className: 'swatch', style: `--hue: var(--${hue})` }, name), twoDigits(error), digits];
      }),
    );
    plot.redraw();
  }

  async function sweep() {
    byId('break-again').hidden = true;
    byId('break-status').textContent = '';
    try {
      const input = { means: EXPONENTS.map(meanOf), count: COUNT, seed: SEED };
      const result = await work(byId('break-work'), 'errors', input);
      if (result !== undefined) {
        errors = result;
        // What is no number has no place on the axis; what is 0 stands at its floor.
        const place = (error) => (Number.isNaN(error) ? null : Math.min(1e4, Math.max(1e-8, error)));
        plot.show([EXPONENTS, ...Object.keys(NAMES).map((method) => errors.map((at) => place(at[method])))]);
        return;
      }
      byId('break-status').textContent = 'Stopped.';
    } catch (error) {
      byId('break-status').textContent = `The errors could not be computed: ${error.message}`;
    }
    byId('break-again').hidden = false;
  }
  byId('break-again').addEventListener('click', sweep);

  show();
  sweep();
  const showCode = codeBlock(byId('break-code'));
  fetch(new URL('methods.js', import.meta.url))
    .then((response) => response.text())
    .then(showCode, (error) => showCode(`methods.js could not be loaded: ${error.message}`));
}
