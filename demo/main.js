/* Starts the sections, each of which has its own file. The first section starts first, and loads no more than it needs. */
import { backend } from '../js/index.js';
import { followAddress } from './address.js';
import { startBreak } from './break.js';
import { byId, pause, whenNear } from './page.js';

byId('backend').textContent =
  backend() === 'wasm-simd'
    ? 'The package runs in WebAssembly.'
    : 'WebAssembly SIMD is unavailable, so the package runs in plain JavaScript.';

// On GitHub Pages, the address contains the name of the repository.
const [, owner] = /^([\w-]+)\.github\.io$/.exec(location.hostname) ?? [];
if (owner) byId('repository').href = `https://github.com/${owner}/${location.pathname.split('/')[1]}`;

/** The parts that are painted on canvases: they must be painted again when the theme changes. */
const painted = [];
const repaint = () => {
  for (const part of painted) part.repaint();
};
const theme = byId('theme');
theme.value = document.documentElement.dataset.theme;
theme.addEventListener('change', () => {
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem('theme', theme.value);
  } catch {} // if storage is blocked, the choice lasts until the visitor leaves the page
  repaint();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);

/** The other sections, from top to bottom. */
const LATER = {
  see: async () => {
    painted.push(await import('./plot.js'));
    await pause();
    return (await import('./see.js')).startSee();
  },
  train: async () => (await import('./train.js')).startTrain(),
  running: async () => (await import('./running.js')).startRunning(),
  race: async () => (await import('./race.js')).startRace(),
  use: async () => (await import('./use.js')).startUse(),
};
const started = new Map();

/** Starts a section, and those above it, so that their heights are final before the page scrolls to it. @param {string} id */
async function startUpTo(id) {
  const names = Object.keys(LATER);
  for (const name of names.slice(0, names.indexOf(id) + 1)) {
    await pause();
    if (!started.has(name))
      started.set(
        name,
        LATER[name]().then((part) => part && painted.push(part)),
      );
    await started.get(name);
  }
}

startBreak();
// After the first view is painted. Each section then waits until the visitor comes near.
requestAnimationFrame(() =>
  setTimeout(() => {
    for (const name of Object.keys(LATER)) whenNear(byId(name), () => startUpTo(name));
    followAddress(startUpTo);
  }),
);
document.addEventListener('click', async ({ target }) => {
  const name = target.closest('a[href^="#"]')?.hash.slice(1);
  if (!(name in LATER) || started.has(name)) return;
  await startUpTo(name);
  byId(name).scrollIntoView();
});
