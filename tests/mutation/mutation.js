/* Mutation testing: npm run mutate. Changes js and src in one place at a time, and counts the changes that no test detects.
 *   -- --seed 2 --count 300 --only js|c    another sample, another size, one language
 *   -- --file js/plan.js                   only mutants of this file
 *   -- --runs 1000000                      runs of the fuzzer per mutant, to kill mutants of C that survived
 *   -- --survivors                         only the mutants in survivors.json
 * The sample is drawn from the mutants of both languages together, so each has its share. survivors.json holds the mutants that
 * are known to be equivalent, with the reasons. */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BUILT, build, Fuzzing, mutantsOfC } from './c.js';
import { isJavaScript, JavaScriptTests, mutantsOfJavaScript } from './javascript.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const here = join(root, 'tests/mutation');
const GOAL = 0.95;

const { values: given } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '300' },
    only: { type: 'string' },
    file: { type: 'string' },
    runs: { type: 'string' },
    survivors: { type: 'boolean', default: false },
  },
});

/* ---- copies -------------------------------------------------------------------------------------------------------- */

const temporary = mkdtempSync(join(tmpdir(), 'mutants-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** A copy of the package with its tests. */
function copy(from, name) {
  const folder = join(temporary, name);
  cpSync(from, folder, { recursive: true, filter: (path) => !['.git', 'node_modules'].includes(basename(path)) });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** The package as it was at the start. Somebody may edit it during the run. */
const original = copy(root, 'original');

/* ---- the sample --------------------------------------------------------------------------------------------------- */

const sources = new Map();
const sourceOf = (file) => {
  if (!sources.has(file)) sources.set(file, readFileSync(join(original, file), 'utf8'));
  return sources.get(file);
};

const mutated = ({ file, start, end, text }) => sourceOf(file).slice(0, start) + text + sourceOf(file).slice(end);

/** The lines of a mutant before and after. They identify it even if they move. */
function describe({ file, start, end, text }) {
  const source = sourceOf(file);
  const begin = source.lastIndexOf('\n', start - 1) + 1;
  const last = source.indexOf('\n', end);
  const brief = (lines) => {
    const line = lines.replace(/\s+/g, ' ').trim();
    return line.length > 300 ? `${line.slice(0, 140)} … ${line.slice(-140)}` : line;
  };
  const from = brief(source.slice(begin, last));
  return { file, from, to: brief(source.slice(begin, start) + text + source.slice(end, last)) };
}

/** Two mutants may make the same change of equal lines. `nth` counts them. */
const keyOf = ({ file, from, to, nth = 1 }) => [nth, file, from, to].join('\n');

const known = new Map();
for (const { why, mutants } of JSON.parse(readFileSync(join(here, 'survivors.json'), 'utf8')))
  for (const mutant of mutants) known.set(keyOf(mutant), why);

/** All mutants, in an order that depends on the seed. Changes elsewhere do not change their order. */
async function shuffled() {
  const all = [];
  if (given.only !== 'c') all.push(...(await mutantsOfJavaScript(original)));
  if (given.only !== 'js') all.push(...mutantsOfC(original));
  const times = new Map();
  for (const mutant of all) {
    Object.assign(mutant, describe(mutant));
    const key = keyOf(mutant);
    mutant.nth = (times.get(key) ?? 0) + 1;
    times.set(key, mutant.nth);
    mutant.rank = createHash('sha256')
      .update(`${given.seed}\n${keyOf(mutant)}`)
      .digest('hex');
  }
  const wanted = all.filter(
    (mutant) => (!given.file || mutant.file === given.file) && (!given.survivors || known.has(keyOf(mutant))),
  );
  return wanted.sort((a, b) => (a.rank < b.rank ? -1 : 1));
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

const isC = ({ file }) => file.startsWith('src/');

const queue = await shuffled();
const total = queue.length;
const inC = queue.filter(isC).length;
console.log(`${total} mutants, ${total - inC} of JavaScript, ${inC} of C; seed ${given.seed}`);

const tests = new JavaScriptTests();
const fuzzing = new Fuzzing(given.runs && Number(given.runs));
await Promise.all([tests.prepare(original), given.only !== 'js' && fuzzing.prepare(original)]);

const began = performance.now();
const results = [];
let left = Math.min(given.survivors ? total : Number(given.count), total);

/** Returns what killed the mutant in a folder, or {} if it survived. `none` means that the change makes no mutant. */
async function kill(mutant, folder) {
  const { file } = mutant;
  if (!isC(mutant)) return (await isJavaScript(file, folder)) ? tests.kill(file, folder) : { none: true };
  const found = await fuzzing.kill(mutant, folder);
  if (found.killer || found.none) return found;
  try {
    return (await build(folder, original)) ? await tests.kill(file, folder) : { none: true };
  } finally {
    for (const name of BUILT) cpSync(join(original, name), join(folder, name));
  }
}

/** Tries mutants until there are enough. A change that makes no mutant does not count. */
async function work(folder) {
  while (left > 0 && queue.length > 0) {
    left--;
    const mutant = queue.shift();
    const path = join(folder, mutant.file);
    writeFileSync(path, mutated(mutant));
    const result = await kill(mutant, folder);
    writeFileSync(path, sourceOf(mutant.file));
    if (result.none) {
      left++;
      continue;
    }
    const why = known.get(keyOf(mutant));
    results.push({ mutant, ...result, why });
    const outcome = result.killer ? `killed by ${result.killer}${result.late ? ', out of time' : ''}` : 'SURVIVED';
    console.log(
      `${results.length} ${mutant.file}, ${outcome}${why ? ', known as equivalent' : ''}\n  - ${mutant.from}\n  + ${mutant.to}`,
    );
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, (_, k) => work(copy(original, `copy-${k}`))));

/* ---- the score ---------------------------------------------------------------------------------------------------- */

const survivors = results.filter(({ killer, why }) => !killer && !why);
console.log(`\n${Math.round((performance.now() - began) / 60_000)} minutes`);
console.log('file                mutants  killed  (out of time)  equivalent  survived');
for (const file of [...new Set(results.map(({ mutant }) => mutant.file)), '']) {
  const of = results.filter(({ mutant }) => file === '' || mutant.file === file);
  const count = (which) => of.filter(which).length;
  const columns = [
    of.length,
    count(({ killer }) => killer),
    count(({ killer, late }) => killer && late),
    count(({ killer, why }) => !killer && why),
    count(({ killer, why }) => !killer && !why),
  ];
  console.log((file || 'all').padEnd(20) + [7, 8, 15, 12, 10].map((width, k) => String(columns[k]).padStart(width)).join(''));
}
/** A mutant as survivors.json lists it. */
const entry = ({ file, from, to, nth }) => ({ file, from, to, ...(nth > 1 && { nth }) });
if (survivors.length > 0) console.log('\nSurvivors, as survivors.json would list them:');
for (const { mutant } of survivors) console.log(JSON.stringify(entry(mutant)));
const wrong = results.filter(({ killer, why }) => killer && why);
for (const { mutant, killer } of wrong)
  console.log(`\nNot equivalent, ${killer} has killed it: ${JSON.stringify(entry(mutant))}`);

const killed = results.filter(({ killer }) => killer).length;
const counted = killed + survivors.length;
// With --survivors there may be none that count.
const score = counted > 0 ? killed / counted : 1;
console.log(`\n${(100 * score).toFixed(1)} % killed, of ${counted} that are not known as equivalent`);
if (score < GOAL || wrong.length > 0) process.exitCode = 1;
