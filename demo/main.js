/* Starts the sections, each a file of its own: the first view first, with no more than it needs. */
import { backend } from '../js/index.js';
import { followAddress } from './address.js';
import { startBreak } from './break.js';
import { byId, pause, whenSeen } from './page.js';

byId('backend').textContent =
  backend() === 'wasm-simd' ? 'It runs in WebAssembly.' : 'WebAssembly SIMD is unavailable, so plain JavaScript computes.';

// On GitHub Pages the address names the repository.
const [, owner] = /^([\w-]+)\.github\.io$/.exec(location.hostname) ?? [];
if (owner) byId('repository').href = `https://github.com/${owner}/${location.pathname.split('/')[1]}`;

/** What is painted by hand follows the theme. */
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
  } catch {} // storage may be blocked: the choice then holds until the page is left
  repaint();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);

/** The other sections, from top to bottom. */
const OTHERS = {
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

/** Starts a section and those above it, which take their room then. @param {string} id */
async function startUpTo(id) {
  const names = Object.keys(OTHERS);
  for (const name of names.slice(0, names.indexOf(id) + 1)) {
    await pause();
    if (!started.has(name))
      started.set(
        name,
        OTHERS[name]().then((part) => part && painted.push(part)),
      );
    await started.get(name);
  }
}

startBreak();
// After the first view, and not before somebody comes near.
requestAnimationFrame(() =>
  setTimeout(() => {
    for (const name of Object.keys(OTHERS)) whenSeen(byId(name), () => startUpTo(name));
    followAddress(startUpTo);
  }),
);
document.addEventListener('click', async ({ target }) => {
  const name = target.closest('a[href^="#"]')?.hash.slice(1);
  if (!(name in OTHERS) || started.has(name)) return;
  await startUpTo(name);
  byId(name).scrollIntoView();
});
