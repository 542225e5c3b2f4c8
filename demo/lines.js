/* A plot of lines, with a mark that the visitor drags along the x axis, by pointer or by keyboard. It is drawn as SVG, so that it
 * always has the theme's colours and the size of the text around it, and is sharp in print. */
import { element } from './page.js';

const SVG = 'http://www.w3.org/2000/svg';

function svgElement(tag, attributes = {}, text = '') {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.textContent = text;
  return node;
}

/** How many steps each key moves the mark. */
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -8, PageUp: 8, Home: -Infinity, End: Infinity };

/**
 * Values on the axes are in the units of the data.
 * @typedef {object} Axis
 * @property {string} title
 * @property {string} [unit] shown after the title if there is room
 * @property {number} from
 * @property {number} to
 * @property {{ value: number, text: string }[]} ticks
 *
 * @param {HTMLElement} container an element of class `lines`
 * @param {object} options
 * @param {string} options.label what the x value of the mark means
 * @param {Axis & { step: number, initial: number }} options.x initial: the first position of the mark
 * @param {Axis} options.y points beyond it are drawn at its end
 * @param {(x: number) => string} options.valueText the x value of the mark as text
 * @param {(x: number) => string} options.spokenText the same, and what the lines show there, for screen readers
 * @param {(x: number, released: boolean) => void} options.onMove called when the visitor moves the mark, and when they release it
 */
export function createLines(container, { label, x, y, valueText, spokenText, onMove }) {
  const svg = svgElement('svg', { 'aria-hidden': 'true' });
  const mark = element('div', { className: 'mark', tabIndex: 0 }, element('span', { className: 'grip' }));
  const attributes = {
    role: 'slider',
    'aria-label': label,
    'aria-orientation': 'horizontal',
    'aria-valuemin': x.from,
    'aria-valuemax': x.to,
  };
  for (const [name, value] of Object.entries(attributes)) mark.setAttribute(name, String(value));
  container.replaceChildren(svg, mark);

  let series = [];
  /** The x value of the mark. */
  let position = x.initial;
  /** Whether there is room for captions on the lines. */
  let captions = true;
  /** The rectangle between the axes, in pixels. */
  let area = { left: 0, top: 0, width: 1, height: 1 };
  const toX = (value) => area.left + (area.width * (value - x.from)) / (x.to - x.from);
  const toY = (value) => area.top + area.height * (1 - (Math.min(y.to, Math.max(y.from, value)) - y.from) / (y.to - y.from));

  /** The path of a line, which is interrupted where y is not a number. */
  function pathOf(points) {
    let path = '';
    let connected = false;
    for (const [px, py] of points) {
      if (Number.isFinite(py)) path += `${connected ? 'L' : 'M'}${toX(px).toFixed(1)} ${toY(py).toFixed(1)}`;
      connected = Number.isFinite(py);
    }
    return path;
  }

  function drawSeries({ own, hue, dash, points, caption }) {
    const group = svgElement('g', { class: own ? 'line own-line' : 'line', style: `--hue: var(--${hue})` });
    group.append(svgElement('path', { d: pathOf(points), ...(dash && { 'stroke-dasharray': dash.join(' ') }) }));
    points.forEach(([px, py], k) => {
      const [cx, cy] = [toX(px), toY(Number.isFinite(py) ? py : y.from)];
      // NaN is a cross at the bottom. A point between two NaN would have no line, so it gets a circle.
      if (!Number.isFinite(py)) group.append(svgElement('path', { class: 'cross', d: `M${cx - 3} ${cy - 3}l6 6m-6 0l6 -6` }));
      else if (![points[k - 1], points[k + 1]].some((neighbour) => neighbour && Number.isFinite(neighbour[1])))
        group.append(svgElement('circle', { cx, cy, r: 2.5 }));
    });
    if (!captions) return group;
    // The caption is to the left of the point where the line falls below the caption's height, or else at the right end.
    const k = points.findIndex(([, py]) => py < caption.height);
    if (caption.atEnd)
      group.append(svgElement('text', { x: toX(x.to) - 4, y: toY(caption.height) - 10, 'text-anchor': 'end' }, caption.text));
    else if (k > 0)
      group.append(
        svgElement('text', { x: toX(points[k][0]) - 10, y: toY(caption.height) + 4, 'text-anchor': 'end' }, caption.text),
      );
    return group;
  }

  function placeMark() {
    mark.style.left = `${toX(position)}px`;
    mark.style.top = `${area.top}px`;
    mark.style.height = `${area.height}px`;
    mark.firstChild.textContent = `↔ ${valueText(position)}`;
    mark.setAttribute('aria-valuenow', String(position));
    mark.setAttribute('aria-valuetext', spokenText(position));
    svg.querySelector('.dots')?.remove();
    const dots = svg.appendChild(svgElement('g', { class: 'dots' }));
    for (const { hue, points } of series) {
      const point = points.find(([px]) => Math.abs(px - position) < x.step / 2);
      if (point && Number.isFinite(point[1]))
        dots.append(svgElement('circle', { cx: toX(point[0]), cy: toY(point[1]), r: 5, style: `--hue: var(--${hue})` }));
    }
  }

  function drawAll() {
    const { clientWidth: width, clientHeight: height } = container;
    if (width === 0) return;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    area = { left: 2.6 * rem, top: 0.8 * rem, width: width - 3.6 * rem, height: height - 4.2 * rem };
    captions = area.width > 12 * rem;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const nodes = [];
    for (const tick of y.ticks) {
      const line = { x1: area.left, x2: area.left + area.width, y1: toY(tick.value), y2: toY(tick.value), class: 'grid' };
      nodes.push(
        svgElement('line', line),
        svgElement('text', { x: area.left - 0.5 * rem, y: toY(tick.value) + 0.27 * rem, 'text-anchor': 'end' }, tick.text),
      );
    }
    // Only every nth tick has a text, so that they have room.
    const every = Math.ceil((x.ticks.length * 2.6 * rem) / area.width);
    const below = area.top + area.height;
    x.ticks.forEach((tick, k) => {
      nodes.push(
        svgElement('line', { x1: toX(tick.value), x2: toX(tick.value), y1: below, y2: below + 0.3 * rem, class: 'grid' }),
      );
      if (k % every === 0)
        nodes.push(svgElement('text', { x: toX(tick.value), y: below + 1.2 * rem, 'text-anchor': 'middle' }, tick.text));
    });
    const title = captions ? `${x.title} ${x.unit}` : x.title;
    nodes.push(svgElement('text', { x: area.left + area.width / 2, y: height - 0.5 * rem, 'text-anchor': 'middle' }, title));
    const middle = area.top + area.height / 2;
    nodes.push(
      svgElement('text', { transform: `translate(${0.8 * rem} ${middle}) rotate(-90)`, 'text-anchor': 'middle' }, y.title),
    );
    svg.replaceChildren(...nodes, ...series.map(drawSeries));
    placeMark();
  }

  /** Moves the mark to the nearest step on the axis. */
  function move(value, released) {
    const stepped = x.from + Math.round((value - x.from) / x.step) * x.step;
    const next = Math.min(x.to, Math.max(x.from, stepped));
    if (next === position && !released) return;
    position = next;
    placeMark();
    onMove(position, released);
  }
  const valueAt = ({ clientX }) => {
    const { left } = svg.getBoundingClientRect();
    return x.from + ((clientX - left - area.left) / area.width) * (x.to - x.from);
  };
  container.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    container.setPointerCapture(event.pointerId);
    mark.focus({ preventScroll: true });
    move(valueAt(event), false);
  });
  container.addEventListener('pointermove', (event) => {
    if (container.hasPointerCapture(event.pointerId)) move(valueAt(event), false);
  });
  container.addEventListener('pointerup', (event) => {
    if (container.hasPointerCapture(event.pointerId)) move(valueAt(event), true);
  });
  mark.addEventListener('keydown', (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const steps = KEYS[event.key];
    move(Number.isFinite(steps) ? position + steps * x.step : steps < 0 ? x.from : x.to, true);
  });
  new ResizeObserver(drawAll).observe(container);
  drawAll();

  return {
    /** @param {{ own: boolean, hue: string, dash?: number[], points: [number, number][], caption: { text: string, height: number, atEnd?: boolean } }[]} newSeries */
    show(newSeries) {
      series = newSeries;
      for (const old of svg.querySelectorAll('.line')) old.remove();
      svg.append(...series.map(drawSeries));
      placeMark();
    },
    /** Moves the mark without a call of onMove. @param {number} value */
    moveMark(value) {
      position = value;
      placeMark();
    },
  };
}
