/* The parts of a Markdown file that programs write. Each is between `<!-- name -->` and `<!-- end -->`, on lines of their own. */

function rangeOf(text, name) {
  const [begin, end] = [`<!-- ${name} -->\n`, '\n<!-- end -->'];
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end, from);
  if (!text.includes(begin) || to < 0) throw new Error(`there is no <!-- ${name} --> … <!-- end -->`);
  return [from, to];
}

/** @param {string} text @param {string} name */
export const readMarked = (text, name) => text.slice(...rangeOf(text, name));

/** The text with another such part. @param {string} text @param {string} name @param {string} part */
export function withMarked(text, name, part) {
  const [from, to] = rangeOf(text, name);
  return text.slice(0, from) + part + text.slice(to);
}
