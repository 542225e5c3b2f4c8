/* npm run site: builds one static site in site/, for any web server, from the README, docs/, the comments in js/ (as an API
 * reference) and the demo. Fails if a link of the site is broken. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { posix, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import MarkdownIt from 'markdown-it';
import { Application, Converter } from 'typedoc';

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));
const SITE = 'site';
const { homepage, repository } = JSON.parse(readFileSync('package.json', 'utf8'));
const github = repository.url.replace(/^git\+|\.git$/g, '');
const BLOB = `${github}/blob/main/`;
/** Matches the part of an address on GitHub that precedes the path of one of this repository's files. */
const OWN = new RegExp(
  `^https://(?:raw\\.githubusercontent|github)\\.com${new URL(github).pathname}/(?:(?:blob|tree|raw)/)?(?:main|HEAD)/`,
);

const listFiles = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.join(entry.parentPath.split(sep).join('/'), entry.name));

rmSync(SITE, { recursive: true, force: true });
mkdirSync(`${SITE}/docs`, { recursive: true });
// Without it, GitHub Pages leaves out files whose names begin with an underscore.
writeFileSync(`${SITE}/.nojekyll`, '');

/* ---- the demo: its folder, and what it imports from others ------------------------------------------------------------ */

const scripts = readdirSync('demo').filter((name) => name.endsWith('.js') && name !== 'serve.js');
const { metafile } = await build({
  entryPoints: [...scripts.map((name) => `demo/${name}`), 'js/threads-worker.js'],
  bundle: true,
  write: false,
  metafile: true,
  format: 'esm',
  outdir: SITE,
});
const assets = listFiles('demo').filter((file) => !/node_modules|package(-lock)?\.json$|serve\.js$/.test(file));
const pictures = listFiles('docs').filter((file) => /\.(png|svg)$/.test(file));
for (const file of new Set([...assets, ...pictures, ...Object.keys(metafile.inputs)])) cpSync(file, `${SITE}/${file}`);

/* ---- the API reference ------------------------------------------------------------------------------------------------ */

const typedoc = await Application.bootstrap({
  name: 'batchnorm',
  entryPoints: ['js/index.js', 'js/index-plain.js', 'js/threads.js'],
  tsconfig: 'tsconfig.json',
  readme: 'none',
  disableGit: true,
  displayBasePath: '.',
  gitRevision: 'main',
  sourceLinkTemplate: `${BLOB}{path}#L{line}`,
  navigationLinks: { Guide: homepage, Demo: `${homepage}demo/`, GitHub: github },
  navigation: { includeFolders: false },
  visibilityFilters: {},
  favicon: 'demo/icon.svg',
  logLevel: 'Warn',
  treatWarningsAsErrors: true,
});
typedoc.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
  for (const module of project.children) module.name = /plain/.test(module.name) ? 'batchnorm/js' : 'batchnorm';
});
const project = await typedoc.convert();
if (project) await typedoc.generateDocs(project, `${SITE}/api`);
if (!project || typedoc.logger.hasErrors() || typedoc.logger.hasWarnings()) process.exit(1);

/* ---- the pages, from Markdown ----------------------------------------------------------------------------------------- */

/** The order of the guides in the navigation. Guides that are not listed come last. */
const ORDER = 'getting-started training threads performance numerics environments comparison comparison-browsers'.split(' ');
const rank = (file) => ORDER.indexOf(posix.basename(file, '.md')) + 1 || ORDER.length + 1;
const files = listFiles('docs').filter((file) => file.endsWith('.md'));
const sources = [...files.sort((a, b) => rank(a) - rank(b)), 'CHANGELOG.md'];
const pages = new Map([['README.md', 'index.html'], ...sources.map((file) => [file, file.replace(/md$/, 'html')])]);

const markdown = new MarkdownIt({ html: true });

/** The anchor that GitHub gives a heading. */
const slug = (text) =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
const textOf = ({ children }) => children.map(({ content }) => content).join('');

/** The address on the site for a link in the file `from`, which is `here` on the site: that of a file of the site, or else of one
 * on GitHub. */
function translate(link, from, here) {
  const own = link.replace(OWN, '');
  if (own.startsWith('#') || /^[a-z]+:/.test(own)) return link;
  const [path, anchor = ''] = own.split(/(?=#)/);
  const file = own === link ? posix.join(posix.dirname(from), path) : path;
  const target = pages.get(file) ?? (existsSync(`${SITE}/${file}`) ? file : undefined);
  return (target ? posix.relative(posix.dirname(here), target) : BLOB + file) + anchor;
}
const translateAll = (html, from, here) =>
  html.replace(/\b(href|src|srcset)="([^"]+)"/g, (_, name, link) => `${name}="${translate(link, from, here)}"`);

/** The title of a Markdown file, and its HTML. */
function render(file) {
  const seen = new Map();
  const tokens = markdown.parse(readFileSync(file, 'utf8'), {});
  tokens.forEach((token, i) => {
    if (token.type !== 'heading_open') return;
    const anchor = slug(textOf(tokens[i + 1]));
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    token.attrSet('id', times === 0 ? anchor : `${anchor}-${times}`);
  });
  const html = markdown.renderer.render(tokens, markdown.options, {});
  return {
    title: textOf(tokens[tokens.findIndex(({ type }) => type === 'heading_open') + 1]),
    html: translateAll(html, file, pages.get(file)),
  };
}

const rendered = new Map([...pages.keys()].map((file) => [file, render(file)]));
for (const [file, { title, html }] of rendered) {
  const here = pages.get(file);
  const guides = [...rendered].map(([other, page]) => [pages.get(other), other === 'README.md' ? 'Overview' : page.title]);
  const entries = [...guides, ['api/index.html', 'API reference'], ['demo/index.html', 'Demo']];
  const navigation = entries.map(([path, name]) => {
    const current = path === here ? ' aria-current="page"' : '';
    return `<a href="${posix.relative(posix.dirname(here), path)}"${current}>${markdown.utils.escapeHtml(name)}</a>`;
  });
  const [style, icon] = ['style.css', 'demo/icon.svg'].map((path) => posix.relative(posix.dirname(here), path));
  writeFileSync(
    `${SITE}/${here}`,
    `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${markdown.utils.escapeHtml(here === 'index.html' ? title : `${title} · batchnorm`)}</title>
<link rel="icon" href="${icon}">
<link rel="stylesheet" href="${style}">
<nav aria-label="Site">${navigation.join('\n')}
<a href="${github}">GitHub</a></nav>
<main>
${html}</main>
</html>
`,
  );
}
cpSync('tools/site/style.css', `${SITE}/style.css`);
const demo = 'demo/index.html';
writeFileSync(`${SITE}/${demo}`, translateAll(readFileSync(demo, 'utf8'), demo, demo));

/* ---- links ------------------------------------------------------------------------------------------------------------ */

const html = new Map();
for (const file of listFiles(SITE).filter((name) => name.endsWith('.html'))) {
  // Links within the site are relative, so that it works at any address.
  const up = '../'.repeat(file.split('/').length - 2) || './';
  const text = readFileSync(file, 'utf8').replaceAll(` href="${homepage}`, ` href="${up}`);
  writeFileSync(file, text);
  html.set(file, { text, ids: new Set([...text.matchAll(/\s(?:id|name)="([^"]+)"/g)].map(([, id]) => id)) });
}

const broken = [];
let followed = 0;
for (const [page, { text }] of html)
  for (const [, link] of text.matchAll(/\s(?:href|src|srcset)="([^"]+)"/g)) {
    const { href } = new URL(link.replaceAll('&amp;', '&'), `file:///${page}`);
    const { protocol, pathname, hash } = new URL(href.replace(OWN, 'file:///'));
    if (protocol !== 'file:') continue;
    followed++;
    const path = decodeURIComponent(pathname.slice(1));
    const file = path.startsWith(`${SITE}/`) && path.endsWith('/') ? `${path}index.html` : path;
    const anchor = decodeURIComponent(hash.slice(1));
    if (!existsSync(file) || (anchor && html.has(file) && !html.get(file).ids.has(anchor))) broken.push(`${page}: ${link}`);
  }
if (broken.length > 0) {
  console.error(`${broken.length} of ${followed} links lead nowhere:\n${broken.join('\n')}`);
  process.exit(1);
}
console.log(`${SITE}/: ${html.size} pages, ${followed} links, all of which lead somewhere`);
