/* Functions that all sections use: for elements, controls, the text of numbers, tables, and code with a copy button. */

export const byId = (id) => document.getElementById(id);

/** An element with its properties and children. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** A function that calls `draw` in the next frame, and only once per frame however often it is called. @param {() => void} draw */
export function perFrame(draw) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      draw();
    });
  };
}

/** A short sample of a plotted line, for legends and tables. @param {string} hue @param {number[]} [dash] */
export function lineSample(hue, dash) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'sample');
  svg.setAttribute('viewBox', '0 0 28 8');
  svg.setAttribute('aria-hidden', 'true');
  const stroke = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
  stroke.setAttribute('d', 'M0 4H28');
  stroke.setAttribute('style', `--hue: var(--${hue})`);
  if (dash) stroke.setAttribute('stroke-dasharray', dash.join(' '));
  return svg;
}

/** Lets the page respond between two pieces of work. @returns {Promise<void>} */
export const pause = () => new Promise((done) => setTimeout(done));

/** Calls `run` once, when the visitor has scrolled near an element. @param {Element} node @param {() => void} run */
export function whenNear(node, run) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      run();
    },
    { rootMargin: '300px' },
  );
  observer.observe(node);
}

/**
 * A slider. The text of its value is shown next to its label, and screen readers speak it.
 * @param {string} id @param {(value: number) => string} text @param {() => void} onInput
 * @returns {{ value: number }}
 */
export function slider(id, text, onInput) {
  const input = byId(id);
  const reading = document.querySelector(`[data-of="${id}"]`);
  const show = () => {
    reading.textContent = text(Number(input.value));
    input.setAttribute('aria-valuetext', reading.textContent);
  };
  input.addEventListener('input', () => {
    show();
    onInput();
  });
  show();
  return {
    get value() {
      return Number(input.value);
    },
    set value(value) {
      input.value = String(value);
      show();
    },
  };
}

/** The chosen value in a group of radio buttons. */
export const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

/** Calls `onChange` whenever another value is chosen in a group of radio buttons. */
export const onChoice = (name, onChange) => {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) input.addEventListener('change', onChange);
};

/** A number with a fixed count of decimals and a true minus sign. Zero has no sign. */
export const formatNumber = (value, decimals = 3) =>
  value
    .toFixed(decimals)
    .replace(/^-(?!0[.0]*$)/, '−')
    .replace(/^-/, '');

/** The text of a tick of an axis. @param {number | null} value */
export const formatTick = (value) => (value === null ? '' : String(Number(value.toPrecision(6))).replace('-', '−'));

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';
/** A power of ten, written like 10⁻³. */
export const formatPower = (exponent) =>
  `10${exponent < 0 ? '⁻' : ''}${[...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join('')}`;

/** Two digits of a number that is not negative: 320, 0.18, 1.2 · 10⁻⁷. */
export function twoDigits(value) {
  if (value === 0) return '0';
  if (Number.isNaN(value)) return 'not a number (NaN)';
  if (!Number.isFinite(value)) return 'infinite';
  const [digits, exponent] = value.toExponential(1).split('e').map(Number);
  if (exponent >= -2 && exponent < 3) return String(Number(value.toPrecision(2)));
  return digits === 1 ? formatPower(exponent) : `${digits.toFixed(1)} · ${formatPower(exponent)}`;
}

/** Fills a table's body. Each row is a name, then cells. @param {HTMLElement} body @param {(string | Node)[][]} rows */
export function fillTable(body, rows) {
  body.replaceChildren(
    ...rows.map(([name, ...cells]) =>
      element('tr', {}, element('th', { scope: 'row' }, name), ...cells.map((cell) => element('td', {}, cell))),
    ),
  );
}

/** Copies text to the clipboard. @param {string} text @returns {Promise<boolean>} whether that was possible */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Shows code, with a button that copies it. @returns {(text: string) => void} replaces the code */
export function codeBlock(container, text = '') {
  const code = element('code', {}, text);
  const copy = element('button', { type: 'button', className: 'copy' }, 'Copy');
  copy.addEventListener('click', async () => {
    const copied = await copyText(code.textContent);
    if (!copied) getSelection()?.selectAllChildren(code);
    copy.textContent = copied ? 'Copied' : 'Selected: copy it with the keyboard';
    setTimeout(() => {
      copy.textContent = 'Copy';
    }, 2000);
  });
  container.replaceChildren(copy, element('pre', { tabIndex: 0 }, code));
  return (next) => {
    code.textContent = next;
  };
}
