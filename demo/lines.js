/* A plot of lines over an axis along which a mark is dragged: on the plot itself, by pointer or by keyboard. It is drawn as SVG, so
 * that it follows the theme, the size of the text and the printer by itself. */
import { element } from './page.js';

const SVG = 'http://www.w3.org/2000/svg';

function draw(tag, attributes = {}, text = '') {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.textContent = text;
  return node;
}

/** How keys move the mark, in steps. */
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -8, PageUp: 8, Home: -Infinity, End: Infinity };

/**
 * @typedef {object} Axis
 * @property {string} title
 * @property {string} [unit] follows the title where there is room
 * @property {number} from
 * @property {number} to
 * @property {{ at: number, text: string }[]} ticks
 *
 * @param {HTMLElement} container of the class lines
 * @param {object} options
 * @param {string} options.label what the mark's place means
 * @param {Axis & { step: number, at: number }} options.x at: where the mark is at first
 * @param {Axis} options.y what is beyond is drawn at its end
 * @param {(x: number) => string} options.short a place of the mark as a number
 * @param {(x: number) => string} options.text the same, and what is seen there, in words
 * @param {(x: number, done: boolean) => void} options.moved done: the visitor has let it go
 */
export function createLines(container, { label, x, y, short, text, moved }) {
  const svg = draw('svg', { 'aria-hidden': 'true' });
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
  let at = x.at;
  /** Whether there is room for the lines' names. */
  let captions = true;
  /** The plot's inner rectangle in pixels. */
  let box = { left: 0, top: 0, width: 1, height: 1 };
  const toX = (value) => box.left + (box.width * (value - x.from)) / (x.to - x.from);
  const toY = (value) => box.top + box.height * (1 - (Math.min(y.to, Math.max(y.from, value)) - y.from) / (y.to - y.from));

  /** The line as pieces between what is no number. */
  function pathOf(points) {
    let path = '';
    let open = false;
    for (const [px, py] of points) {
      if (Number.isFinite(py)) path += `${open ? 'L' : 'M'}${toX(px).toFixed(1)} ${toY(py).toFixed(1)}`;
      open = Number.isFinite(py);
    }
    return path;
  }

  function drawSeries({ own, hue, dash, points, caption }) {
    const group = draw('g', { class: own ? 'line own-line' : 'line', style: `--hue: var(--${hue})` });
    group.append(draw('path', { d: pathOf(points), ...(dash && { 'stroke-dasharray': dash.join(' ') }) }));
    points.forEach(([px, py], k) => {
      const [cx, cy] = [toX(px), toY(Number.isFinite(py) ? py : y.from)];
      // A number between two that are none has no line; what is none is a cross at the bottom.
      if (!Number.isFinite(py)) group.append(draw('path', { class: 'cross', d: `M${cx - 3} ${cy - 3}l6 6m-6 0l6 -6` }));
      else if (![points[k - 1], points[k + 1]].some((next) => next && Number.isFinite(next[1])))
        group.append(draw('circle', { cx, cy, r: 2.5 }));
    });
    if (!captions) return group;
    // Written where the line passes a height of its own, to the left of it.
    const k = points.findIndex(([, py]) => py < caption.at);
    if (caption.above)
      group.append(draw('text', { x: toX(x.to) - 4, y: toY(caption.at) - 10, 'text-anchor': 'end' }, caption.text));
    else if (k > 0)
      group.append(draw('text', { x: toX(points[k][0]) - 10, y: toY(caption.at) + 4, 'text-anchor': 'end' }, caption.text));
    return group;
  }

  function place() {
    mark.style.left = `${toX(at)}px`;
    mark.style.top = `${box.top}px`;
    mark.style.height = `${box.height}px`;
    mark.firstChild.textContent = `↔ ${short(at)}`;
    mark.setAttribute('aria-valuenow', String(at));
    mark.setAttribute('aria-valuetext', text(at));
    svg.querySelector('.dots')?.remove();
    const dots = svg.appendChild(draw('g', { class: 'dots' }));
    for (const { hue, points } of series) {
      const point = points.find(([px]) => Math.abs(px - at) < x.step / 2);
      if (point && Number.isFinite(point[1]))
        dots.append(draw('circle', { cx: toX(point[0]), cy: toY(point[1]), r: 5, style: `--hue: var(--${hue})` }));
    }
  }

  function drawAll() {
    const { clientWidth: width, clientHeight: height } = container;
    if (width === 0) return;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    box = { left: 2.6 * rem, top: 0.8 * rem, width: width - 3.6 * rem, height: height - 4.2 * rem };
    captions = box.width > 12 * rem;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const nodes = [];
    for (const tick of y.ticks) {
      const line = { x1: box.left, x2: box.left + box.width, y1: toY(tick.at), y2: toY(tick.at), class: 'grid' };
      nodes.push(
        draw('line', line),
        draw('text', { x: box.left - 0.5 * rem, y: toY(tick.at) + 0.27 * rem, 'text-anchor': 'end' }, tick.text),
      );
    }
    // As many as there is room for.
    const every = Math.ceil((x.ticks.length * 2.6 * rem) / box.width);
    const below = box.top + box.height;
    x.ticks.forEach((tick, k) => {
      nodes.push(draw('line', { x1: toX(tick.at), x2: toX(tick.at), y1: below, y2: below + 0.3 * rem, class: 'grid' }));
      if (k % every === 0)
        nodes.push(draw('text', { x: toX(tick.at), y: below + 1.2 * rem, 'text-anchor': 'middle' }, tick.text));
    });
    const title = captions ? `${x.title} ${x.unit}` : x.title;
    nodes.push(draw('text', { x: box.left + box.width / 2, y: height - 0.5 * rem, 'text-anchor': 'middle' }, title));
    const middle = box.top + box.height / 2;
    nodes.push(draw('text', { transform: `translate(${0.8 * rem} ${middle}) rotate(-90)`, 'text-anchor': 'middle' }, y.title));
    svg.replaceChildren(...nodes, ...series.map(drawSeries));
    place();
  }

  /** To the next step, within the axis. */
  function move(value, done) {
    const stepped = x.from + Math.round((value - x.from) / x.step) * x.step;
    const next = Math.min(x.to, Math.max(x.from, stepped));
    if (next === at && !done) return;
    at = next;
    place();
    moved(at, done);
  }
  const valueAt = ({ clientX }) => {
    const { left } = svg.getBoundingClientRect();
    return x.from + ((clientX - left - box.left) / box.width) * (x.to - x.from);
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
    move(Number.isFinite(steps) ? at + steps * x.step : steps < 0 ? x.from : x.to, true);
  });
  new ResizeObserver(drawAll).observe(container);
  drawAll();

  return {
    /** @param {{ own: boolean, hue: string, dash?: number[], points: [number, number][], caption: { text: string, at: number, above?: boolean } }[]} lines */
    show(lines) {
      series = lines;
      for (const old of svg.querySelectorAll('.line')) old.remove();
      svg.append(...series.map(drawSeries));
      place();
    },
    /** Puts the mark where something else moved it. @param {number} value */
    mark(value) {
      at = value;
      place();
    },
  };
}
