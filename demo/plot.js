/* uPlot in the page's colours: follows its container's width and the theme, with a legend that a screen reader reads. */
import uPlot from './vendor/uPlot.js';

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

/** Draws all plots anew, after a change of theme. */
export function redrawPlots() {
  colours.clear();
  for (const plot of all) plot.redraw(false);
}

/**
 * @param {HTMLElement} container
 * @param {object} options
 * @param {string} options.label what the plot shows, for those who do not see it
 * @param {number} [options.height]
 * @param {{ label: string, colour: string, dash?: number[], width?: number, points?: boolean, dots?: boolean, stepped?: boolean, fill?: boolean }[]} options.series
 * @param {{ x?: object, y?: object }} [options.scales] uPlot's
 * @param {{ x?: object, y?: object }} [options.axes] uPlot's
 * @param {(u: object) => void} [options.over] draws on top
 * @returns {{ show: (data: ArrayLike<number>[]) => void, redraw: () => void }}
 */
export function createPlot(container, { label, height = 200, series, scales = {}, axes = {}, over = () => {} }) {
  const legend = document.createElement('ul');
  legend.className = 'legend';
  for (const { label: name, colour: hue, dash, points } of series) {
    const item = document.createElement('li');
    item.textContent = name;
    item.style.setProperty('--hue', `var(--${hue})`);
    item.dataset.line = points ? 'points' : dash ? 'dashed' : 'solid';
    legend.append(item);
  }
  const figure = document.createElement('div');
  figure.setAttribute('role', 'img');
  figure.setAttribute('aria-label', label);
  container.replaceChildren(legend, figure);

  const axis = (given) => ({
    stroke: () => colour('muted'),
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { stroke: () => colour('line'), width: 1 },
    font: '12px system-ui, sans-serif',
    ...given,
  });
  const plot = new uPlot(
    {
      width: container.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, ...scales.x }, y: scales.y ?? {} },
      axes: [axis({ size: 34, ...axes.x }), axis({ size: 58, ...axes.y })],
      series: [
        {},
        ...series.map(
          ({ label: name, colour: hue, dash, width = 2, points = false, dots = false, stepped = false, fill = false }) => ({
            label: name,
            stroke: () => colour(hue),
            width: points ? 0 : width,
            dash,
            points: { show: points || dots, size: 4, fill: () => colour(hue), width: 0 },
            ...(fill && { fill: () => colour(hue).replace('rgb(', 'rgba(').replace(')', ', 0.25)') }),
            ...(stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
          }),
        ),
      ],
      hooks: { draw: [over] },
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
