/* Mutants of src, made token by token. tests/native/fuzz.c, which compares the kernels bit by bit with a scalar program, kills
 * nearly all. The others are built as WebAssembly, and the tests of the package run on them. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './process.js';

const FILES = ['src/forward.c', 'src/gradient.c', 'src/shared.h', 'src/simd.h', 'src/batchnorm.h'];

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

const TOKEN =
  /(?<skipped>\s+|\/\*[\s\S]*?\*\/|"[^"]*"|#(?!define)[^\n]*|#define \w+(?![^\n]*\d)[^\n]*|#define \w+)|(?<number>0x[\da-f]+p-?\d+f?|\d+\.?\d*(?:e-?\d+)?f?)|(?<word>\w+)|(?<sign>->|\+\+|--|&&|\|\||[-+*/%<>=!&|]=|[^\s\w])/gy;

const blank = (text, pattern) => text.replace(pattern, (match) => match.replace(/[^\n]/g, ' '));

/** Not mutated: attributes and assertions, which compute nothing, and the native replacements of WebAssembly's instructions. */
const IGNORED = [/__attribute__\(\((?:[^()]|\([^()]*\))*\)\)/g, /^\s*assert\([^;]*;/gm, /^#else\n[\s\S]*?^#endif/gm];

/** Code between these is only compiled for WebAssembly. */
const WASM = /^#ifdef __wasm_simd128__\n[\s\S]*?^#(?:else|endif)/gm;

function tokensOf(text) {
  // Keeps the length, so that offsets stay right.
  const code = IGNORED.reduce(blank, text);
  const tokens = [];
  for (const { index, groups, 0: match } of code.matchAll(TOKEN)) {
    const kind = ['number', 'word', 'sign'].find((name) => groups[name] !== undefined);
    if (kind) tokens.push({ kind, text: match, start: index, end: index + match.length });
  }
  return tokens;
}

const TYPES = /^(const|restrict|static|inline|void|bool|int|float|double|size_t|[fi]\d+x\d|bn_\w+|lanes|folded|struct|typedef)$/;

/** The index of the token that closes the bracket at `open`. */
function closing(tokens, open) {
  for (let at = open, depth = 0; ; at++) {
    if (/^[([{]$/.test(tokens[at].text)) depth++;
    if (/^[)\]}]$/.test(tokens[at].text) && --depth === 0) return at;
  }
}

/* ---- mutants ------------------------------------------------------------------------------------------------------ */

const OPERATORS = {
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '==': ['!='],
  '!=': ['=='],
  '&&': ['||'],
  '||': ['&&'],
  '&': ['|'],
  '|': ['&'],
  '+=': ['-=', '='],
  '-=': ['+='],
  '*=': ['/='],
  '++': ['--'],
  '!': [''],
  '~': [''],
  true: ['false'],
  false: ['true'],
};

/** Whether a sign is unary: it stands before a value, not between two. */
const isUnary = (before) =>
  before === undefined ||
  (before.kind === 'sign' ? !/^[)\]]$/.test(before.text) : before.text === 'return' || TYPES.test(before.text));

function* ofToken(tokens, k) {
  const { kind, text } = tokens[k];
  const before = tokens[k - 1];
  if (kind === 'number') {
    if (/^\d+$/.test(text)) {
      yield String(Number(text) + 1);
      if (text !== '0') yield String(Number(text) - 1);
    } else {
      yield `(${text} * 2)`;
      yield `(${text} / 2)`;
    }
  } else if (text === '-' && isUnary(before)) yield '';
  else if (Object.hasOwn(OPERATORS, text) && !(/^[+*&<>]$/.test(text) && isUnary(before))) yield* OPERATORS[text];
}

/** The first and last token of each argument of the call whose name is at `name`. */
function argumentsOf(tokens, name) {
  const last = closing(tokens, name + 1);
  const list = [];
  for (let at = name + 2, begin = at; at <= last; at++) {
    if (at === last || tokens[at].text === ',') {
      if (at > begin) list.push([begin, at - 1]);
      begin = at + 1;
    } else if (/^[([{]$/.test(tokens[at].text)) at = closing(tokens, at);
  }
  return list;
}

/** The first token of the condition before a question mark. */
function beginOfCondition(tokens, question) {
  let depth = 0;
  for (let at = question - 1; ; at--) {
    const { text } = tokens[at];
    if (/^[)\]]$/.test(text)) depth++;
    if (/^[([]$/.test(text) && depth-- === 0) return at + 1;
    if (depth === 0 && /^([=,;:?{]|return)$/.test(text)) return at + 1;
  }
}

const CONTROL = /^(if|for|while)$/;
const NO_STATEMENT = /^(if|for|while|else|return)$/;

export function mutantsOfC(root) {
  const mutants = [];
  for (const file of FILES) {
    const source = readFileSync(join(root, file), 'utf8');
    // In batchnorm.h, only the constants are mutated.
    const tokens = tokensOf(file.endsWith('batchnorm.h') ? blank(source, /typedef struct[\s\S]*/) : source);
    const ranges = [...source.matchAll(WASM)].map(({ index, 0: match }) => [index, index + match.length]);
    const add = (first, last, text) => {
      const { start } = tokens[first];
      const native = !ranges.some(([begin, end]) => start >= begin && start < end);
      mutants.push({ file, start, end: tokens[last].end, text, native });
    };
    const textOf = ([first, last]) => source.slice(tokens[first].start, tokens[last].end);
    // `open` holds the word before each open bracket, `closed` the one before the bracket that closed last.
    const open = [];
    let closed;
    for (let k = 0; k < tokens.length; k++) {
      for (const text of ofToken(tokens, k)) add(k, k, text);
      const { kind, text } = tokens[k];
      const before = tokens[k - 1]?.text ?? ';';
      const calls = kind === 'word' && tokens[k + 1]?.text === '(';
      if (text === '?') for (const value of ['1', '0']) add(beginOfCondition(tokens, k), k - 1, value);
      if (calls && /^(if|while)$/.test(text)) for (const value of ['1', '0']) add(k + 2, closing(tokens, k + 1) - 1, value);
      else if (calls && text !== 'for' && (/^(return|else)$/.test(before) || !/\w|\*/.test(before))) {
        const list = argumentsOf(tokens, k);
        for (let i = 0; i + 1 < list.length; i++) {
          const [a, b] = [list[i], list[i + 1]];
          if (textOf(a) !== textOf(b)) add(a[0], b[1], `${textOf(b)}, ${textOf(a)}`);
        }
      }
      const starts = /^([;{}]|else)$/.test(before) || (before === ')' && CONTROL.test(closed));
      // Drops a statement, unless it is a declaration or a return.
      if (
        starts &&
        !CONTROL.test(open.at(-1)) &&
        (kind === 'word' || text === '*') &&
        !NO_STATEMENT.test(text) &&
        !TYPES.test(text)
      ) {
        let end = k;
        while (!/^[;{}]$/.test(tokens[end].text)) end = /^[([]$/.test(tokens[end].text) ? closing(tokens, end) + 1 : end + 1;
        if (tokens[end].text === ';') add(k, end, ';');
      }
      if (/^[([{]$/.test(text)) open.push(text === '(' ? before : text);
      if (/^[)\]}]$/.test(text)) closed = open.pop();
    }
  }
  return mutants;
}

/* ---- the fuzzer --------------------------------------------------------------------------------------------------- */

const clang = [process.env.CLANG, 'clang', 'clang-14'].find((name) => name && spawnSync(name, ['--version']).status === 0);

const FLAGS = '-std=c11 -O2 -ffp-contract=off -fno-math-errno -fno-sanitize-recover=all -Isrc'.split(' ');
// A mutant that passes arguments of the wrong type does not count, because anybody would notice it.
const STRICT = ['-Werror=incompatible-pointer-types', '-Werror=int-conversion'];

/** The first stage has no other sanitizers, since they make the fuzzer ten times as slow. */
const STAGES = [
  { name: 'fuzzing', sanitizers: 'fuzzer', runs: 30_000 },
  { name: 'sanitizers', sanitizers: 'fuzzer,address,undefined', runs: 1000 },
];

const UNITS = ['forward', 'gradient'];

/** Fuzzing, in copies of the sources. */
export class Fuzzing {
  #runs;
  /** The sources and the tests, without a mutant. */
  #folder;
  #objects = new Map();

  /** `runs` replaces the number of runs of the first stage. */
  constructor(runs) {
    this.#runs = runs;
  }

  async #compile(folder, source, sanitizers, to) {
    const args = [...FLAGS, ...STRICT, `-fsanitize=${sanitizers}`, '-c', source, '-o', to];
    return (await run(clang, args, { cwd: folder, seconds: 120 })).ok;
  }

  async #link(objects, sanitizers, to) {
    const { ok, output } = await run(clang, [`-fsanitize=${sanitizers}`, ...objects, '-lm', '-o', to], { seconds: 120 });
    if (!ok) throw new Error(output);
  }

  /** Runs the fuzzer. It starts with the inputs that were found without a mutant, and adds its own to the folder. */
  #fuzz(folder, binary, runs) {
    const flags = [`-runs=${runs}`, '-seed=1', '-max_len=4096', '-len_control=0', '-timeout=10', '-rss_limit_mb=4096'];
    const inputs = join(folder, 'inputs');
    if (folder !== this.#folder) rmSync(inputs, { recursive: true, force: true });
    mkdirSync(inputs, { recursive: true });
    return run(binary, [...flags, inputs, join(this.#folder, 'inputs')], { cwd: folder, seconds: 20 + runs / 500 });
  }

  /** Compiles the objects that no mutant changes, and lets the fuzzer find inputs to start with. */
  async prepare(folder) {
    if (!clang) throw new Error('mutants of C need clang: see npm run test:native');
    this.#folder = folder;
    for (const { name, sanitizers, runs } of STAGES) {
      for (const unit of [...UNITS, 'fuzz']) {
        const object = join(folder, `${name}-${unit}.o`);
        const source = unit === 'fuzz' ? 'tests/native/fuzz.c' : `src/${unit}.c`;
        if (!(await this.#compile(folder, source, sanitizers, object))) throw new Error(`${source} does not compile`);
        this.#objects.set(`${name} ${unit}`, object);
      }
      const binary = join(folder, name);
      await this.#link(
        [...UNITS, 'fuzz'].map((unit) => this.#objects.get(`${name} ${unit}`)),
        sanitizers,
        binary,
      );
      const { ok, output } = await this.#fuzz(folder, binary, runs);
      if (!ok) throw new Error(`without a mutant, the fuzzer fails:\n${output}`);
    }
  }

  /** Returns what killed the mutant in a folder, or {} if it survived. `none`: it does not compile, or gives the same code. */
  async kill({ file, native }, folder) {
    if (!native) return {};
    const isChanged = (unit) => /(shared|simd|batchnorm)\.h$/.test(file) || file === `src/${unit}.c`;
    for (const { name, sanitizers, runs } of STAGES) {
      const objects = [this.#objects.get(`${name} fuzz`)];
      let same = true;
      for (const unit of UNITS) {
        const original = this.#objects.get(`${name} ${unit}`);
        const object = isChanged(unit) ? join(folder, `${unit}.o`) : original;
        objects.push(object);
        if (object === original) continue;
        if (!(await this.#compile(folder, `src/${unit}.c`, sanitizers, object))) return { none: true };
        same &&= readFileSync(object).equals(readFileSync(original));
      }
      if (same) return { none: true };
      const binary = join(folder, 'mutant');
      await this.#link(objects, sanitizers, binary);
      const { ok, late } = await this.#fuzz(folder, binary, name === 'fuzzing' ? (this.#runs ?? runs) : runs);
      if (!ok) return { killer: name, late };
    }
    return {};
  }
}

/* ---- WebAssembly -------------------------------------------------------------------------------------------------- */

const binaryOf = (folder) => readFileSync(join(folder, 'js/batchnorm.wasm'));

/** The binary without the stamp of its sources. */
const codeOf = (folder) =>
  binaryOf(folder)
    .toString('latin1')
    .replace(/batchnorm[\da-f]{8}/, '');

const sizeOf = (folder) => `${binaryOf(folder).length} bytes`;
const hashOf = (folder) => createHash('sha256').update(binaryOf(folder)).digest('hex');

/** The files that a build changes. */
export const BUILT = ['js/batchnorm.wasm', 'js/forward-binary.js', 'js/gradient-binary.js', 'CHANGELOG.md'];

/** Builds the binary of a folder with a mutant. Returns whether it differs from the one in another folder. */
export async function build(folder, original) {
  const { ok } = await run('./build.sh', [], { cwd: folder, seconds: 300 });
  if (!ok || codeOf(folder) === codeOf(original)) return false;
  // Otherwise the test that compares the changelog with the binary would kill every mutant.
  const changes = join(folder, 'CHANGELOG.md');
  let text = readFileSync(changes, 'utf8');
  for (const property of [hashOf, sizeOf]) {
    if (!text.includes(property(original))) throw new Error(`CHANGELOG.md does not state ${property(original)}`);
    text = text.replace(property(original), property(folder));
  }
  writeFileSync(changes, text);
  return true;
}
