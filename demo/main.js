/* Starts the sections, each a file of its own, and the choice of theme. */
import { backend } from '../js/index.js';
import { startBreak } from './break.js';
import { byId } from './page.js';
import { redrawPlots } from './plot.js';
import { startRace } from './race.js';
import { startRunning } from './running.js';
import { startSee } from './see.js';
import { startUse } from './use.js';

byId('backend').textContent =
  backend() === 'wasm-simd'
    ? 'It runs in WebAssembly here.'
    : 'WebAssembly SIMD is refused here: its plain JavaScript twin computes.';

const see = startSee();
// The rest is further down: the first view goes before.
requestAnimationFrame(() =>
  setTimeout(() => {
    for (const start of [startRunning, startBreak, startRace, startUse]) start();
    // What an address points to has moved down by now.
    document.getElementById(location.hash.slice(1))?.scrollIntoView({ behavior: 'instant' });
  }),
);

/** What is painted by hand follows the theme. */
const repaint = () => {
  redrawPlots();
  see.repaint();
};
byId('theme').addEventListener('change', ({ target }) => {
  document.documentElement.dataset.theme = target.value;
  repaint();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
