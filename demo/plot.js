/* uPlot in the page's colours: follows its container's width and the theme, with titled axes and a legend that a screen reader
 * reads. */
import { element, line, tick } from './page.js';
import uPlot from './vendor/uPlot.js';

// The first view needs no uPlot, nor its styles.
await new Promise((done) => {
  const href = new URL('vendor/uPlot.css', import.meta.url).href;
  document.head.append(element('link', { rel: 'stylesheet', href, onload: done, onerror: done }));
});

const all = new Set();

const colours = new Map();
/** A colour of the theme, as rgb(…): kept, since to ask for it takes longer than to draw with it. */
export function colour(name) {
  if (!colours.has(name)) {
    const probe = document.body.appendChild(document.createElement('span'));
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

/** Draws all plots again, after a change of theme. */
export function repaint() {
  colours.clear();
  for (const plot of all) plot.redraw(false);
}

/**
 * @param {HTMLElement} container
 * @param {object} options
 * @param {string} options.label what the plot shows, for those who do not see it
 * @param {string} options.x @param {string} options.y titles of the axes
 * @param {number} [options.height]
 * @param {{ label: string, colour: string, dash?: number[], width?: number, points?: boolean, stepped?: boolean, fill?: boolean }[]} options.series
 * @param {{ x?: object, y?: object }} [options.scales] uPlot's
 * @param {{ x?: object, y?: object }} [options.axes] uPlot's
 * @returns {{ show: (data: ArrayLike<number>[]) => void, redraw: () => void }}
 */
export function createPlot(container, { label, x, y, height = 200, series, scales = {}, axes = {} }) {
  const sample = ({ colour: hue, dash, points }) =>
    points ? element('span', { className: 'dot', style: `--hue: var(--${hue})` }) : line(hue, dash);
  const legend = element('ul', { className: 'legend' }, ...series.map((one) => element('li', {}, sample(one), one.label)));
  const figure = element('div');
  figure.setAttribute('role', 'img');
  figure.setAttribute('aria-label', label);
  container.replaceChildren(legend, figure);

  // As large as the text around it.
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${0.78 * rem}px system-ui, sans-serif`;
  const axis = (title, size, given) => ({
    label: title,
    labelSize: 1.3 * rem,
    labelFont: font,
    labelGap: 2,
    font,
    size: size * rem,
    stroke: () => colour('muted'),
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { stroke: () => colour('line'), width: 1, size: 5 },
    values: (_, ticks) => ticks.map(tick),
    ...given,
  });
  const plot = new uPlot(
    {
      width: container.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, ...scales.x }, y: scales.y ?? {} },
      axes: [axis(x, 1.8, axes.x), axis(y, 3.1, axes.y)],
      series: [
        {},
        ...series.map(({ label: name, colour: hue, dash, width = 2, points = false, stepped = false, fill = false }) => ({
          label: name,
          stroke: () => colour(hue),
          width: points ? 0 : width,
          dash,
          points: { show: points, size: 4, fill: () => colour(hue), width: 0 },
          ...(fill && { fill: () => colour(hue).replace('rgb(', 'rgba(').replace(')', ', 0.25)') }),
          ...(stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
        })),
      ],
    },
    [[], ...series.map(() => [])],
    figure,
  );
  new ResizeObserver(() => {
    if (container.clientWidth > 0) plot.setSize({ width: container.clientWidth, height });
  }).observe(container);
  all.add(plot);
  return { show: (data) => plot.setData(data), redraw: () => plot.redraw(false) };
}
