/* Mutants of js: StrykerJS's mutators make them, the tests kill them. StrykerJS itself would put all mutants into the code at
 * once and switch between them, which makes the loops ten times as slow. So here each mutant gets its own copy of the package. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run } from './process.js';

/** The imports by which tests of the package are recognized. */
const IMPORTS = /'(\.\.\/js\/|batchnorm'|\.\/helpers\.js')/;

const quiet = { debug() {}, info() {}, isDebugEnabled: () => false };

export async function mutantsOfJavaScript(root) {
  const { Instrumenter } = await import('@stryker-mutator/instrumenter');
  const names = readdirSync(join(root, 'js')).filter((name) => /(?<!-binary)\.js$/.test(name));
  const files = names.map((name) => {
    const file = `js/${name}`;
    return { name: file, content: readFileSync(join(root, file), 'utf8'), mutate: true };
  });
  const { mutants } = await new Instrumenter(quiet).instrument(files, { plugins: null, excludedMutations: [], ignorers: [] });
  const texts = new Map(files.map(({ name, content }) => [name, content]));
  return mutants.map(({ fileName, location, replacement, mutatorName }) => {
    const lines = texts.get(fileName).split('\n');
    const offset = ({ line, column }) => lines.slice(0, line).join('\n').length + (line > 0) + column;
    // Next to other operators, a logical operator may need the parentheses.
    const text = mutatorName === 'LogicalOperator' ? `(${replacement})` : replacement;
    return { file: fileName, start: offset(location.start), end: offset(location.end), text };
  });
}

/** Whether the mutant in a folder is valid JavaScript; otherwise every test would fail. */
export async function isJavaScript(file, folder) {
  return (await run(process.execPath, ['--check', file], { cwd: folder, seconds: 60 })).ok;
}

/** Runs the tests in copies of the package. */
export class JavaScriptTests {
  #seconds = new Map();
  /** How often each test killed a mutant of each file. */
  #kills = new Map();

  /** Runs all tests without a mutant. They must pass; the time that they take limits the time for mutants. */
  async prepare(folder) {
    for (const name of readdirSync(join(folder, 'tests'))) {
      if (!name.endsWith('.test.js') || !IMPORTS.test(readFileSync(join(folder, 'tests', name), 'utf8'))) continue;
      const { ok, output, seconds } = await this.#run(folder, name, 600);
      if (!ok) throw new Error(`without a mutant, ${name} fails:\n${output}`);
      this.#seconds.set(name, seconds);
    }
  }

  #run(folder, name, seconds) {
    const args = ['--max-old-space-size=2048', '--test-reporter=tap', join('tests', name)];
    return run(process.execPath, args, { cwd: folder, seconds, failure: /^ *not ok /m });
  }

  /** The tests in the order that should kill a mutant of this file soonest, judging by earlier ones. */
  #order(file) {
    const worth = (name) => ((this.#kills.get(`${file} ${name}`) ?? 0) + 0.1) / this.#seconds.get(name);
    return [...this.#seconds.keys()].sort((a, b) => worth(b) - worth(a));
  }

  /** Returns the test that fails or takes too long with the mutant in a folder, or nothing. */
  async kill(file, folder) {
    for (const name of this.#order(file)) {
      const { ok, late } = await this.#run(folder, name, 5 + 5 * this.#seconds.get(name));
      if (ok) continue;
      const key = `${file} ${name}`;
      this.#kills.set(key, (this.#kills.get(key) ?? 0) + 1);
      return { killer: basename(name, '.test.js'), late };
    }
    return {};
  }
}
