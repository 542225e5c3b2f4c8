/* What the sections share: elements, controls with their readings, numbers, code to copy. */

export const byId = (id) => document.getElementById(id);

/** An element with its properties and children. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** At most once a frame, however often it is asked. @param {() => void} draw */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** A dash of a line as it is plotted, for legends and tables. @param {string} hue @param {number[]} [dash] */
export function line(hue, dash) {
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

/** Lets the page answer between two pieces of work. @returns {Promise<void>} */
export const pause = () => new Promise((done) => setTimeout(done));

/** Calls once when an element comes near the part of the page that is seen. @param {Element} node @param {() => void} run */
export function whenSeen(node, run) {
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
 * A slider whose reading is shown next to its label, and spoken.
 * @param {string} id @param {(value: number) => string} text @param {() => void} changed
 * @returns {{ value: number }}
 */
export function slider(id, text, changed) {
  const input = byId(id);
  const reading = document.querySelector(`[data-of="${id}"]`);
  const show = () => {
    reading.textContent = text(Number(input.value));
    input.setAttribute('aria-valuetext', reading.textContent);
  };
  input.addEventListener('input', () => {
    show();
    changed();
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

/** The value of a group of radio buttons. */
export const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

export const onChoice = (name, changed) => {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) input.addEventListener('change', changed);
};

/** A number in a few digits, with a true minus. */
export const number = (value, digits = 3) =>
  value
    .toFixed(digits)
    .replace(/^-(?!0[.0]*$)/, '−')
    .replace(/^-/, '');

/** A number at an axis. @param {number | null} value */
export const tick = (value) => (value === null ? '' : String(Number(value.toPrecision(6))).replace('-', '−'));

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';
/** A power of ten as 10⁻³. */
export const power = (exponent) =>
  `10${exponent < 0 ? '⁻' : ''}${[...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join('')}`;

/** A number that is not negative, in two digits: 320, 0.18, 1.2 · 10⁻⁷. */
export function twoDigits(value) {
  if (value === 0) return '0';
  if (Number.isNaN(value)) return 'no number (NaN)';
  if (!Number.isFinite(value)) return 'infinite';
  const [digits, exponent] = value.toExponential(1).split('e').map(Number);
  if (exponent >= -2 && exponent < 3) return String(Number(value.toPrecision(2)));
  return digits === 1 ? power(exponent) : `${digits.toFixed(1)} · ${power(exponent)}`;
}

/** Rows of a table's body: a name, then cells. @param {HTMLElement} body @param {(string | Node)[][]} rows */
export function fillTable(body, rows) {
  body.replaceChildren(
    ...rows.map(([name, ...cells]) =>
      element('tr', {}, element('th', { scope: 'row' }, name), ...cells.map((cell) => element('td', {}, cell))),
    ),
  );
}

/** Copies text, or says that it could not. @param {string} text @returns {Promise<boolean>} */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Code with a button that copies it. @returns {(text: string) => void} shows other code */
export function codeBlock(container, text = '') {
  const code = element('code', {}, text);
  const copy = element('button', { type: 'button', className: 'copy' }, 'Copy');
  copy.addEventListener('click', async () => {
    const copied = await copyText(code.textContent);
    if (!copied) getSelection()?.selectAllChildren(code);
    copy.textContent = copied ? 'Copied' : 'Selected: copy it by keyboard';
    setTimeout(() => {
      copy.textContent = 'Copy';
    }, 2000);
  });
  container.replaceChildren(copy, element('pre', { tabIndex: 0 }, code));
  return (next) => {
    code.textContent = next;
  };
}
