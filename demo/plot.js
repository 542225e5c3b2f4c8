/* Plots drawn by uPlot, with the page's colours. They follow the width of their container and the theme, and have axis titles and a
 * legend that screen readers can read. */
import { element, formatTick, lineSample } from './page.js';
import uPlot from './vendor/uPlot.js';

// The styles are loaded here, because the first view does not need uPlot.
await new Promise((done) => {
  const href = new URL('vendor/uPlot.css', import.meta.url).href;
  document.head.append(element('link', { rel: 'stylesheet', href, onload: done, onerror: done }));
});

const plots = new Set();

const colours = new Map();
/** A colour of the theme, as rgb(…). It is remembered, since asking the browser for it takes longer than drawing with it. */
export function colour(name) {
  if (!colours.has(name)) {
    const probe = document.body.appendChild(document.createElement('span'));
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

/** Draws all plots again, after the theme has changed. */
export function repaint() {
  colours.clear();
  for (const plot of plots) plot.redraw(false);
}

/**
 * @param {HTMLElement} container
 * @param {object} options
 * @param {string} options.label what the plot shows, for screen readers
 * @param {string} options.x @param {string} options.y titles of the axes
 * @param {number} [options.height]
 * @param {{ label: string, colour: string, dash?: number[], width?: number, points?: boolean, stepped?: boolean, fill?: boolean }[]} options.series
 * @param {{ x?: object, y?: object }} [options.scales] further options of uPlot's scales
 * @param {{ x?: object, y?: object }} [options.axes] further options of uPlot's axes
 * @returns {{ show: (data: ArrayLike<number>[]) => void, redraw: () => void }}
 */
export function createPlot(container, { label, x, y, height = 200, series, scales = {}, axes = {} }) {
  const sample = ({ colour: hue, dash, points }) =>
    points ? element('span', { className: 'dot', style: `--hue: var(--${hue})` }) : lineSample(hue, dash);
  const legend = element('ul', { className: 'legend' }, ...series.map((entry) => element('li', {}, sample(entry), entry.label)));
  const figure = element('div');
  figure.setAttribute('role', 'img');
  figure.setAttribute('aria-label', label);
  container.replaceChildren(legend, figure);

  // The text of the plot is about as large as the text around it.
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${0.78 * rem}px system-ui, sans-serif`;
  const axis = (title, size, options) => ({
    label: title,
    labelSize: 1.3 * rem,
    labelFont: font,
    labelGap: 2,
    font,
    size: size * rem,
    stroke: () => colour('muted'),
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { stroke: () => colour('line'), width: 1, size: 5 },
    values: (_, ticks) => ticks.map(formatTick),
    ...options,
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
  plots.add(plot);
  return { show: (data) => plot.setData(data), redraw: () => plot.redraw(false) };
}
