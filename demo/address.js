/* The state of a section in the address, as #break?mean=1e4&of=output: read once when the page starts, written after each change,
 * and applied again when the visitor goes back to it. */

/** @param {string} hash @returns {{ section: string, values: URLSearchParams | null }} null without a state */
export function parse(hash) {
  const [section, query] = hash.replace(/^#/, '').split('?');
  return { section, values: query === undefined ? null : new URLSearchParams(query) };
}

/** Values that are empty are left out. @param {string} section @param {Record<string, string>} values */
export function format(section, values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== '');
  return `#${section}?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
}

const same = (text) => text;

/** Tells those who listen to a control that it has changed, as a visitor's change does. */
function announce(input) {
  for (const type of ['input', 'change']) input.dispatchEvent(new Event(type, { bubbles: true }));
}

/**
 * A slider, select or checkbox as a part of the state.
 * @param {string} id @param {{ write?: (value: string) => string, read?: (text: string) => unknown }} [as] its value as text, and back
 */
export function control(id, { write = same, read = same } = {}) {
  const input = document.getElementById(id);
  const binary = input.type === 'checkbox';
  return {
    get: () => (binary ? String(Number(input.checked)) : write(input.value)),
    set(text) {
      if (binary) input.checked = text === '1';
      else {
        const value = String(read(text));
        const known =
          input.type === 'range'
            ? value.trim() !== '' && Number.isFinite(Number(value))
            : [...input.options].some((option) => option.value === value);
        if (!known) return false;
        input.value = value;
      }
      announce(input);
      return true;
    },
  };
}

/** A group of radio buttons as a part of the state. @param {string} name */
export function choice(name) {
  const inputs = [...document.getElementsByName(name)];
  return {
    get: () => inputs.find((input) => input.checked).value,
    set(text) {
      const wanted = inputs.find((input) => input.value === text);
      if (!wanted) return false;
      wanted.checked = true;
      announce(wanted);
      return true;
    },
  };
}

const valuesOf = (fields) => Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.get()]));

/** What the address said when the page was opened. */
let first;
/** By section, its fields and what they are without a state. */
const kept = new Map();
let applying = false;

/** Sets each field as the address says, or as it was at first if it says nothing or nonsense: the address says all that is shown. */
function apply({ section, values }) {
  if (values === null || !kept.has(section)) return;
  const { fields, defaults } = kept.get(section);
  applying = true;
  for (const [name, field] of Object.entries(fields)) {
    const given = values.get(name);
    if (given === null || !field.set(given)) field.set(defaults[name]);
  }
  applying = false;
}

/**
 * From now on the address keeps these fields of a section.
 * @param {string} section @param {Record<string, { get: () => string, set: (text: string) => boolean }>} fields
 */
export function keep(section, fields) {
  const defaults = valuesOf(fields);
  kept.set(section, { fields, defaults });
  first ??= parse(location.hash);
  if (first.section === section) apply(first);
  document.getElementById(section).addEventListener('change', () => remember(section));
}

/** Writes a section's state into the address. It is no new entry in the browser's history. @param {string} section */
export function remember(section) {
  if (applying) return;
  history.replaceState(history.state, '', format(section, valuesOf(kept.get(section).fields)));
}

/** WebKit resets controls without autocompletion on a page that it has kept, and shows it again. */
function surviveReset() {
  let before = [];
  addEventListener('pagehide', () => {
    before = [...kept.values()].map(({ fields }) => ({ fields, values: valuesOf(fields) }));
  });
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    setTimeout(() => {
      applying = true;
      for (const { fields, values } of before)
        for (const [name, field] of Object.entries(fields)) if (field.get() !== values[name]) field.set(values[name]);
      applying = false;
    });
  });
}

/** A state is no element's id, so that no browser goes to its section by itself. The first section is below the header: the top will do. */
function show(section) {
  const node = document.getElementById(section);
  if (node?.previousElementSibling) node.scrollIntoView({ behavior: 'instant' });
  else if (node) scrollTo({ top: 0, behavior: 'instant' });
}

/**
 * Goes where the address points, now and with Back, forward, and addresses typed into the open page.
 * @param {(section: string) => Promise<void>} start makes a section ready
 */
export async function followAddress(start) {
  addEventListener('hashchange', async () => {
    const now = parse(location.hash);
    if (!now.values) return;
    await start(now.section);
    apply(now);
    show(now.section);
  });
  surviveReset();
  if (first.section === '') return;
  await start(first.section);
  // What comes back is where it was.
  if (performance.getEntriesByType('navigation')[0]?.type === 'navigate') show(first.section);
}
