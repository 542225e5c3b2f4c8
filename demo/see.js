/* "See it": a batch of pictures before and after, as colours or as feature maps. */
import { batchNormalization } from '../js/index.js';
import { choice, control, keep, remember } from './address.js';
import { computeMaps, hasMaps, mapsOf, paintTiles } from './maps.js';
import {
  byId,
  chosen,
  codeBlock,
  element,
  fillTable,
  number,
  onChoice,
  pause,
  perFrame,
  slider,
  twoDigits,
  whenSeen,
} from './page.js';
import { builtInPictures, pixelsOf, SIDE, tensorOf } from './pictures.js';
import { createPlot } from './plot.js';
import { startSources } from './sources.js';

export const EXAMPLE = `import { batchNormalization } from 'batchnorm';

// B, C, H, W: one image, two channels, 2 × 2
const X = { data: Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40), shape: [1, 2, 2, 2] };
const gamma = [1, 1];
const beta = [0, 5];

const [output, runningMean, runningVar] = batchNormalization(X, gamma, beta);
console.log(output.data);
console.log(runningMean.data, runningVar.data);

const [inferred] = batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, false);
console.log(inferred.data);`;

const COLOURS = ['red', 'green', 'blue'];
/** Bins of a histogram, from LOW to HIGH; the outer ones have what is beyond. */
const BINS = 80;
const LOW = -4;
const HIGH = 4;
/** What the maps show: values from −limit to limit. */
const BEFORE = 0.5;
const AFTER = 2.5;

/** Batches after which inference takes place, and the weight of the old running statistics in each. */
const BATCHES = 10;
const MOMENTUM = 0.9;

/** Memory of its own for each use, as long as it fits: a fresh output costs more than its computation. */
const buffers = new Map();
function reused(use, length) {
  if (buffers.get(use)?.length !== length) buffers.set(use, new Float32Array(length));
  return buffers.get(use);
}

/** The statistics of each channel, by the package: with momentum 0 the running ones are the batch's own. */
function statistics(tensor) {
  const out = reused('statistics', tensor.data.length);
  const [, mean, variance] = batchNormalization(tensor, null, null, null, null, 0, 1e-5, true, { out });
  return { mean: mean.data, variance: variance.data };
}

/** The running statistics after some batches, all of them this tensor: that many steps of a momentum are one step of its power. */
function running(tensor) {
  const out = reused('statistics', tensor.data.length);
  const [, mean, variance] = batchNormalization(tensor, null, null, null, null, MOMENTUM ** BATCHES, 1e-5, true, { out });
  return { mean: mean.data, variance: variance.data };
}

/** Channel c of a tensor, as a tensor. */
function channelOf({ data, shape: [batch, channels, height, width] }, c) {
  const size = height * width;
  const own = new Float32Array(batch * size);
  for (let b = 0; b < batch; b++) own.set(data.subarray((b * channels + c) * size, (b * channels + c + 1) * size), b * size);
  return { data: own, shape: [batch, 1, height, width] };
}

/** What is said of a channel: mean, deviation, the share of its values in each bin. */
function summary(tensor, c) {
  const one = channelOf(tensor, c);
  const { mean, variance } = statistics(one);
  const { data } = one;
  const bins = new Float64Array(BINS);
  const scale = BINS / (HIGH - LOW);
  // As an integer, which indexes faster than a rounded double.
  for (let i = 0; i < data.length; i++) bins[Math.max(0, Math.min(BINS - 1, ((data[i] - LOW) * scale) | 0))]++;
  return { mean: mean[0], deviation: Math.sqrt(variance[0]), histogram: bins.map((count) => (100 * count) / data.length) };
}

export async function startSee() {
  const builtIn = [];
  for (const picture of builtInPictures()) {
    builtIn.push(picture);
    await pause();
  }
  let pictures = builtIn;
  /** Those taken out of the batch, by their places. */
  const left = new Set();
  /** What inference uses, gathered from the built-in pictures. */
  const known = { colours: running(tensorOf(builtIn)), maps: null };

  const draw = perFrame(update);
  const gamma = slider('see-gamma', (value) => number(value, 2), draw);
  const beta = slider('see-beta', (value) => number(value, 2), draw);
  const epsilonOf = (value) => Number((10 ** value).toPrecision(2));
  const epsilon = slider('see-epsilon', (value) => twoDigits(epsilonOf(value)), draw);
  const map = slider('see-map', (value) => String(value), draw);
  onChoice('see-mode', draw);
  onChoice('see-channels', () => {
    const channels = Number(chosen('see-channels'));
    if (channels !== 3) {
      byId('see-map').max = String(channels - 1);
      map.value = Math.min(map.value, channels - 1);
    }
    changed();
  });
  byId('see-channel').addEventListener('change', draw);
  byId('see-picture').addEventListener('change', draw);
  byId('see-reset').addEventListener('click', () => {
    [gamma.value, beta.value, epsilon.value] = [1, 0, -5];
    byId('see-channel').value = '-1';
    left.clear();
    changed();
    remember('see');
  });

  const xs = Float64Array.from({ length: BINS }, (_, k) => LOW + (k * (HIGH - LOW)) / BINS);
  // One for each colour, and one for a feature map.
  const containers = [...COLOURS, 'accent'].map((name) => ({ name, node: byId('see-histograms').appendChild(element('div')) }));
  /** A plot is made when it is first shown. */
  const plots = containers.map(({ name, node }) => {
    let plot;
    const own = name === 'accent' ? 'channel' : name;
    return () => {
      plot ??= createPlot(node, {
        label: `Histogram of ${own}, before and after: its numbers are in the table below`,
        x: 'value',
        y: 'share of the values',
        height: 170,
        series: [
          { label: `${own} before`, colour: 'muted', dash: [4, 3], stepped: true, width: 1.5 },
          { label: 'after', colour: name, stepped: true, fill: true },
        ],
        scales: { x: { range: [LOW, HIGH] }, y: { range: (_, __, most) => [0, Math.max(1, most)] } },
        axes: { y: { values: (_, ticks) => ticks.map((tick) => `${tick} %`) } },
      });
      return plot;
    };
  });
  const showCode = codeBlock(byId('see-code'));

  /** The pictures' buttons, with what changes in them. */
  let cards = [];
  function createCard(b) {
    const [before, after] = [0, 1].map(() => element('canvas', { width: SIDE, height: SIDE }));
    const name = element('span', { className: 'name' });
    const button = element('button', { type: 'button', className: 'picture' }, before, after, name);
    button.addEventListener('click', () => {
      if (!left.delete(b)) left.add(b);
      changed();
    });
    return { button, before, after, name };
  }
  function setPictures(list, moving = false) {
    pictures = list;
    if (!moving || cards.length !== list.length) {
      left.clear();
      cards = list.map((_, b) => createCard(b));
      byId('see-pictures').replaceChildren(...cards.map(({ button }) => button));
    }
    list.forEach(({ name, pixels }, b) => {
      cards[b].name.textContent = name;
      cards[b].before.getContext('2d').putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
    });
    changed();
  }
  const say = (text) => {
    byId('see-status').textContent = text;
  };
  const stopCamera = startSources(setPictures, say);
  byId('see-built-in').addEventListener('click', () => {
    stopCamera();
    say('');
    setPictures(builtIn);
  });

  const inBatch = () => pictures.filter((_, b) => !left.has(b));

  /** X and what is told of it: gathered once, as sliders leave them as they are. */
  let gathered = null;
  /** The batch or the kind of its channels is another. */
  function changed() {
    gathered = null;
    const select = byId('see-picture');
    const before = select.selectedOptions[0]?.textContent ?? 'flower';
    select.replaceChildren(...inBatch().map(({ name }, b) => element('option', { value: String(b) }, name)));
    const same = [...select.options].find((option) => option.textContent === before);
    if (same) same.selected = true;
    draw();
  }

  /** Filtering takes a moment of a whole core: not before somebody looks. */
  let seen = false;
  whenSeen(byId('see'), () => {
    seen = true;
    draw();
  });
  let computing = false;
  async function compute(missing) {
    if (computing || !seen) return;
    computing = true;
    const colours = (why) => {
      document.querySelector('input[name="see-channels"][value="3"]').checked = true;
      say(`${why} Colours again.`);
      changed();
    };
    try {
      if (!(await computeMaps(missing, byId('see-work')))) colours('Stopped.');
    } catch (error) {
      colours(`The feature maps could not be computed: ${error.message}.`);
    }
    computing = false;
    draw();
  }

  let latest = null;
  function update() {
    const count = Number(chosen('see-channels'));
    const training = chosen('see-mode') === 'training';
    const maps = count !== 3;
    const batch = inBatch();
    cards.forEach(({ button }, b) => void button.setAttribute('aria-pressed', String(!left.has(b))));
    // What does not apply keeps its place, so that nothing jumps.
    byId('see-channel').disabled = maps;
    for (const id of ['see-picture', 'see-map']) byId(id).disabled = !maps;
    byId('see-pictures').classList.toggle('maps-below', maps);
    byId('see-empty').textContent = batch.length === 0 ? 'The batch is empty: click a picture to put it back.' : '';
    byId('see-mode-note').textContent = training
      ? 'With this batch’s mean and variance: each result depends on the other pictures.'
      : `With running statistics, after ${BATCHES} batches of the built-in pictures: they still lag behind.`;

    const missing = maps ? [...new Set([...batch, ...builtIn])].filter((picture) => !hasMaps(picture)) : [];
    if (missing.length > 0) compute(missing);
    // While maps are on their way, those before stay; anything else would tell of another state.
    const waiting = missing.length > 0 && latest?.count === count;
    byId('see-figure').hidden = batch.length === 0;
    byId('see-figure').classList.toggle('off', missing.length > 0 && !waiting);
    byId('see-maps').hidden = !maps;
    if (batch.length === 0) clearPictures();
    if (batch.length === 0 || missing.length > 0) return;

    gathered ??= { X: maps ? mapsOf(batch, count) : tensorOf(batch), told: [] };
    const { X, told } = gathered;
    if (maps) known.maps ??= running(mapsOf(builtIn, 64));
    const { mean, variance } = maps ? known.maps : known.colours;
    const which = maps ? -1 : Number(byId('see-channel').value);
    const perChannel = (value, otherwise) =>
      Float32Array.from({ length: count }, (_, c) => (which < 0 || which === c ? value : otherwise));
    const out = reused('output', X.data.length);
    const began = performance.now();
    const [output] = batchNormalization(
      X,
      perChannel(gamma.value, 1),
      perChannel(beta.value, 0),
      training ? null : mean.slice(0, count),
      training ? null : variance.slice(0, count),
      0.1,
      epsilonOf(epsilon.value),
      training,
      { out },
    );
    const took = performance.now() - began;

    const shown = maps ? [map.value] : [0, 1, 2];
    const rows = shown.map((c) => {
      told[c] ??= summary(X, c);
      return [told[c], summary(output, c)];
    });
    fillTable(
      byId('see-numbers'),
      rows.map((pair, k) => [
        element(
          'span',
          maps ? {} : { className: 'swatch', style: `--hue: var(--${COLOURS[k]})` },
          maps ? `channel ${map.value}` : COLOURS[k],
        ),
        ...pair.flatMap((of) => [number(of.mean), number(of.deviation)]),
      ]),
    );
    containers.forEach(({ node }, k) => {
      node.hidden = maps !== (k === COLOURS.length);
      const [before, after] = rows[maps ? 0 : k] ?? [];
      if (!node.hidden) plots[k]().show([xs, before.histogram, after.histogram]);
    });
    latest = { X, output, count };
    if (maps) paintMaps();
    else paintPictures(output);
    byId('see-caption').textContent = maps
      ? `Each tile is one of ${count} channels. Click one to outline it.`
      : 'Left each picture as it is, right as the network sees it: −2 is black, 2 is white.';
    const time = took > 0 ? `${took.toFixed(2)} ms` : 'less time than this browser’s clock shows';
    byId('see-time').textContent =
      `${X.data.length.toLocaleString('en')} values of shape [${X.shape.join(', ')}], normalized in ${time}.`;
    showCode(codeOf({ training, which, count, shape: X.shape }));
  }

  function codeOf({ training, which, count, shape }) {
    const values = (value, otherwise) =>
      which < 0
        ? `new Float32Array(${count}).fill(${value})`
        : `[${COLOURS.map((_, c) => (c === which ? value : otherwise)).join(', ')}]`;
    return `import { batchNormalization } from 'batchnorm';

// data holds the batch, image after image, each channel after channel
const X = { data, shape: [${shape.join(', ')}] };
const gamma = ${values(gamma.value, 1)};
const beta = ${values(beta.value, 0)};
const epsilon = ${epsilonOf(epsilon.value)};
const out = new Float32Array(data.length); // the same from call to call

${
  training
    ? `// training: the batch's own mean and variance
const [output, runningMean, runningVar] =
  batchNormalization(X, gamma, beta, null, null, 0.1, epsilon, true, { out });`
    : `// inference: the running mean and variance, from training
const [output] =
  batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, epsilon, false, { out });`
}`;
  }

  function clearPictures() {
    for (const { after } of cards) after.getContext('2d').clearRect(0, 0, SIDE, SIDE);
  }
  function paintPictures(output) {
    let b = 0;
    cards.forEach(({ after }, k) => {
      const context = after.getContext('2d');
      if (left.has(k)) context.clearRect(0, 0, SIDE, SIDE);
      else context.putImageData(pixelsOf(output, b++, -2, 2), 0, 0);
    });
  }

  let painted = [];
  function paintMaps() {
    if (latest === null || latest.count === 3) return;
    const b = Math.max(0, Number(byId('see-picture').value));
    // Sliders leave what was before as it is.
    const before = [latest.X, b, map.value];
    if (before.some((part, k) => part !== painted[k])) paintTiles(byId('see-before'), latest.X, b, BEFORE, map.value);
    painted = before;
    paintTiles(byId('see-after'), latest.output, b, AFTER, map.value);
  }
  for (const id of ['see-before', 'see-after'])
    byId(id).addEventListener('click', ({ offsetX, offsetY, target }) => {
      const across = Math.sqrt(Number(chosen('see-channels')));
      const at = (offset, size) => Math.min(across - 1, Math.floor((offset / size) * across));
      map.value = at(offsetY, target.clientHeight) * across + at(offsetX, target.clientWidth);
      remember('see');
      draw();
    });

  // Colours turn grey when they are normalized, which is not what it is for: where there is room, feature maps come first.
  if (matchMedia('(min-width: 60rem)').matches) document.querySelector('input[name="see-channels"][value="16"]').checked = true;
  byId('see-map').max = String(Math.max(16, Number(chosen('see-channels'))) - 1);
  setPictures(builtIn);
  keep('see', {
    mode: choice('see-mode'),
    channels: choice('see-channels'),
    gamma: control('see-gamma'),
    beta: control('see-beta'),
    epsilon: control('see-epsilon', {
      write: (value) => epsilonOf(Number(value)).toExponential(),
      read: (text) => Math.log10(Number(text)),
    }),
    for: control('see-channel'),
    channel: control('see-map'),
  });
  return {
    repaint() {
      painted = [];
      paintMaps();
    },
  };
}
