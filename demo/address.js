/* Keeps the state of a section in the page's address, for instance #break?mean=1e4&of=output. It is read when the page starts,
 * written after each change, and applied again when the visitor goes back to that address. */

/**
 * Reads an address.
 * @param {string} hash @returns {{ section: string, values: URLSearchParams | null }} values: null if the address has no state
 */
export function parse(hash) {
  const [section, query] = hash.replace(/^#/, '').split('?');
  return { section, values: query === undefined ? null : new URLSearchParams(query) };
}

/** The address for a section's state, without empty values. @param {string} section @param {Record<string, string>} values */
export function format(section, values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== '');
  return `#${section}?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
}

const unchanged = (text) => text;

/** Sends the events that a control sends when a visitor changes it. */
function sendEvents(input) {
  for (const type of ['input', 'change']) input.dispatchEvent(new Event(type, { bubbles: true }));
}

/**
 * A field of the state that a slider, select or checkbox holds.
 * @param {string} id @param {{ write?: (value: string) => string, read?: (text: string) => unknown }} [conversions] write: from the
 *   control's value to the text in the address; read: back
 */
export function control(id, { write = unchanged, read = unchanged } = {}) {
  const input = document.getElementById(id);
  const isCheckbox = input.type === 'checkbox';
  return {
    get: () => (isCheckbox ? String(Number(input.checked)) : write(input.value)),
    set(text) {
      if (isCheckbox) input.checked = text === '1';
      else {
        const value = String(read(text));
        const valid =
          input.type === 'range'
            ? value.trim() !== '' && Number.isFinite(Number(value))
            : [...input.options].some((option) => option.value === value);
        if (!valid) return false;
        input.value = value;
      }
      sendEvents(input);
      return true;
    },
  };
}

/** A field of the state that a group of radio buttons holds. @param {string} name */
export function choice(name) {
  const inputs = [...document.getElementsByName(name)];
  return {
    get: () => inputs.find((input) => input.checked).value,
    set(text) {
      const match = inputs.find((input) => input.value === text);
      if (!match) return false;
      match.checked = true;
      sendEvents(match);
      return true;
    },
  };
}

const valuesOf = (fields) => Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.get()]));

/** The state that the address had when the page was opened. */
let initial;
/** The fields of each section that is kept in the address, and their default values. */
const sections = new Map();
/** Whether fields are being set from the address. Then their changes are not written back. */
let applying = false;

/** Sets each field to its value in the address, or to its default if the value is missing or invalid. So an address always gives the
 * same state, whatever was shown before. */
function apply({ section, values }) {
  if (values === null || !sections.has(section)) return;
  const { fields, defaults } = sections.get(section);
  applying = true;
  for (const [name, field] of Object.entries(fields)) {
    const given = values.get(name);
    if (given === null || !field.set(given)) field.set(defaults[name]);
  }
  applying = false;
}

/**
 * From now on, keeps these fields of a section in the address.
 * @param {string} section @param {Record<string, { get: () => string, set: (text: string) => boolean }>} fields
 */
export function keep(section, fields) {
  const defaults = valuesOf(fields);
  sections.set(section, { fields, defaults });
  initial ??= parse(location.hash);
  if (initial.section === section) apply(initial);
  document.getElementById(section).addEventListener('change', () => remember(section));
}

/** Writes a section's state into the address, without a new entry in the browser's history. @param {string} section */
export function remember(section) {
  if (applying) return;
  history.replaceState(history.state, '', format(section, valuesOf(sections.get(section).fields)));
}

/** When WebKit shows a page again that it has kept in memory, it resets controls with autocomplete="off". This sets them back. */
function undoReset() {
  let saved = [];
  addEventListener('pagehide', () => {
    saved = [...sections.values()].map(({ fields }) => ({ fields, values: valuesOf(fields) }));
  });
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    setTimeout(() => {
      applying = true;
      for (const { fields, values } of saved)
        for (const [name, field] of Object.entries(fields)) if (field.get() !== values[name]) field.set(values[name]);
      applying = false;
    });
  });
}

/** Scrolls to a section. Browsers do not do this themselves, because #section?state is not an element's id. For the first section,
 * scrolls to the top of the page, so that the header is visible. */
function scrollToSection(section) {
  const node = document.getElementById(section);
  if (node?.previousElementSibling) node.scrollIntoView({ behavior: 'instant' });
  else if (node) scrollTo({ top: 0, behavior: 'instant' });
}

/**
 * Goes to the section in the address: now, with Back and Forward, and when the visitor edits the address of the open page.
 * @param {(section: string) => Promise<void>} start starts a section
 */
export async function followAddress(start) {
  addEventListener('hashchange', async () => {
    const target = parse(location.hash);
    if (!target.values) return;
    await start(target.section);
    apply(target);
    scrollToSection(target.section);
  });
  undoReset();
  if (initial.section === '') return;
  await start(initial.section);
  // After a reload, or with Back and Forward, the browser restores the scroll position.
  if (performance.getEntriesByType('navigation')[0]?.type === 'navigate') scrollToSection(initial.section);
}
