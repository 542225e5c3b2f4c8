/* "See it": shows a batch of pictures before and after normalization, as colours or as feature maps. */
import { batchNormalization } from '../js/index.js';
import { choice, control, keep, remember } from './address.js';
import { computeMaps, hasMaps, mapsOf, paintTiles } from './maps.js';
import {
  byId,
  chosen,
  codeBlock,
  element,
  fillTable,
  formatNumber,
  onChoice,
  pause,
  perFrame,
  slider,
  twoDigits,
  whenNear,
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
/** The bins of a histogram, from LOW to HIGH. The outermost bins also count the values beyond. */
const BINS = 80;
const LOW = -4;
const HIGH = 4;
/** Feature maps are painted with colours from −limit to limit. */
const LIMIT_BEFORE = 0.5;
const LIMIT_AFTER = 2.5;

/** Inference uses running statistics after this many batches, each with this momentum. */
const BATCHES = 10;
const MOMENTUM = 0.9;

/** An array that is reused for the same purpose as long as its length is right: a new array costs more than the computation. */
const buffers = new Map();
function reusedArray(purpose, length) {
  if (buffers.get(purpose)?.length !== length) buffers.set(purpose, new Float32Array(length));
  return buffers.get(purpose);
}

/** The mean and variance of each channel. With momentum 0, the returned running statistics are the batch's own. */
function statisticsOf(tensor) {
  const out = reusedArray('statistics', tensor.data.length);
  const [, mean, variance] = batchNormalization(tensor, null, null, null, null, 0, 1e-5, true, { out });
  return { mean: mean.data, variance: variance.data };
}

/** The running statistics after BATCHES batches, each of which is this tensor. n updates with momentum m and the
 * same batch are one update with momentum mⁿ. */
function runningStatisticsOf(tensor) {
  const out = reusedArray('statistics', tensor.data.length);
  const [, mean, variance] = batchNormalization(tensor, null, null, null, null, MOMENTUM ** BATCHES, 1e-5, true, { out });
  return { mean: mean.data, variance: variance.data };
}

/** Channel c of a tensor, as a tensor. */
function channelOf({ data, shape: [batch, channels, height, width] }, c) {
  const size = height * width;
  const values = new Float32Array(batch * size);
  for (let b = 0; b < batch; b++) values.set(data.subarray((b * channels + c) * size, (b * channels + c + 1) * size), b * size);
  return { data: values, shape: [batch, 1, height, width] };
}

/** A channel's mean, its deviation, and the share of its values in each bin, in percent. */
function summaryOf(tensor, c) {
  const channel = channelOf(tensor, c);
  const { mean, variance } = statisticsOf(channel);
  const { data } = channel;
  const bins = new Float64Array(BINS);
  const scale = BINS / (HIGH - LOW);
  // An integer index is faster than a double from Math.floor.
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
  /** The indices of the pictures that are not in the batch. */
  const excluded = new Set();
  /** The running statistics for inference, from the built-in pictures. */
  const running = { colours: runningStatisticsOf(tensorOf(builtIn)), maps: null };

  const draw = perFrame(update);
  const gamma = slider('see-gamma', (value) => formatNumber(value, 2), draw);
  const beta = slider('see-beta', (value) => formatNumber(value, 2), draw);
  const epsilonOf = (value) => Number((10 ** value).toPrecision(2));
  const epsilon = slider('see-epsilon', (value) => twoDigits(epsilonOf(value)), draw);
  const map = slider('see-map', (value) => String(value), draw);
  onChoice('see-mode', draw);
  const channelCount = () => Number(chosen('see-channels'));
  onChoice('see-channels', () => {
    const channels = channelCount();
    if (channels !== 3) {
      byId('see-map').max = String(channels - 1);
      map.value = Math.min(map.value, channels - 1);
    }
    batchChanged();
  });
  byId('see-channel').addEventListener('change', draw);
  byId('see-picture').addEventListener('change', draw);
  byId('see-reset').addEventListener('click', () => {
    [gamma.value, beta.value, epsilon.value] = [1, 0, -5];
    byId('see-channel').value = '-1';
    excluded.clear();
    batchChanged();
    remember('see');
  });

  const xs = Float64Array.from({ length: BINS }, (_, k) => LOW + (k * (HIGH - LOW)) / BINS);
  // One container per colour, and one for a feature map.
  const containers = [...COLOURS, 'accent'].map((name) => ({ name, node: byId('see-histograms').appendChild(element('div')) }));
  /** For each container, a function that returns its plot, and creates it on the first call. */
  const plots = containers.map(({ name, node }) => {
    let plot;
    const channelName = name === 'accent' ? 'channel' : name;
    return () => {
      plot ??= createPlot(node, {
        label: `Histogram of ${channelName}, before and after. The table below has its mean and deviation.`,
        x: 'value',
        y: 'share of the values',
        height: 170,
        series: [
          { label: `${channelName} before`, colour: 'muted', dash: [4, 3], stepped: true, width: 1.5 },
          { label: 'after', colour: name, stepped: true, fill: true },
        ],
        scales: { x: { range: [LOW, HIGH] }, y: { range: (_, __, most) => [0, Math.max(1, most)] } },
        axes: { y: { values: (_, ticks) => ticks.map((tick) => `${tick} %`) } },
      });
      return plot;
    };
  });
  const showCode = codeBlock(byId('see-code'));

  /** For each picture, its button and the elements in it that change. */
  let cards = [];
  function createCard(b) {
    const [before, after] = [0, 1].map(() => element('canvas', { width: SIDE, height: SIDE }));
    const name = element('span', { className: 'name' });
    const button = element('button', { type: 'button', className: 'picture' }, before, after, name);
    button.addEventListener('click', () => {
      if (!excluded.delete(b)) excluded.add(b);
      batchChanged();
    });
    return { button, before, after, name };
  }
  /** Shows other pictures. If they are moving, they replace the earlier ones one by one, and those taken out stay out. */
  function setPictures(list, moving = false) {
    pictures = list;
    if (!moving || cards.length !== list.length) {
      excluded.clear();
      cards = list.map((_, b) => createCard(b));
      byId('see-pictures').replaceChildren(...cards.map(({ button }) => button));
    }
    list.forEach(({ name, pixels }, b) => {
      cards[b].name.textContent = name;
      cards[b].before.getContext('2d').putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
    });
    batchChanged();
  }
  const showStatus = (text) => {
    byId('see-status').textContent = text;
  };
  const stopCamera = startSources(setPictures, showStatus);
  byId('see-built-in').addEventListener('click', () => {
    stopCamera();
    showStatus('');
    setPictures(builtIn);
  });

  const inBatch = () => pictures.filter((_, b) => !excluded.has(b));

  /** X and the summaries of its channels. The sliders do not change them, so they are kept until the batch changes. */
  let prepared = null;
  /** Must be called when the pictures in the batch, or the channels, have changed. */
  function batchChanged() {
    prepared = null;
    const select = byId('see-picture');
    const selected = select.selectedOptions[0]?.textContent ?? 'flower';
    select.replaceChildren(...inBatch().map(({ name }, b) => element('option', { value: String(b) }, name)));
    const same = [...select.options].find((option) => option.textContent === selected);
    if (same) same.selected = true;
    draw();
  }

  /** Whether the visitor has come near. Before that, no feature maps are computed, since they occupy a core for a moment. */
  let near = false;
  whenNear(byId('see'), () => {
    near = true;
    draw();
  });
  let computing = false;
  async function compute(missing) {
    if (computing || !near) return;
    computing = true;
    const returnToColours = (reason) => {
      document.querySelector('input[name="see-channels"][value="3"]').checked = true;
      showStatus(`${reason} The colours are shown again.`);
      batchChanged();
    };
    try {
      if (!(await computeMaps(missing, byId('see-work')))) returnToColours('Stopped.');
    } catch (error) {
      returnToColours(`The feature maps could not be computed: ${error.message}.`);
    }
    computing = false;
    draw();
  }

  let latest = null;
  function update() {
    const count = channelCount();
    const training = chosen('see-mode') === 'training';
    const maps = count !== 3;
    const batch = inBatch();
    cards.forEach(({ button }, b) => void button.setAttribute('aria-pressed', String(!excluded.has(b))));
    // Controls that do not apply are disabled, not hidden, so that nothing moves.
    byId('see-channel').disabled = maps;
    for (const id of ['see-picture', 'see-map']) byId(id).disabled = !maps;
    byId('see-pictures').classList.toggle('maps-below', maps);
    byId('see-empty').textContent = batch.length === 0 ? 'The batch is empty: click a picture to put it back.' : '';
    byId('see-mode-note').textContent = training
      ? 'Uses this batch’s mean and variance, so each result depends on the other pictures in the batch.'
      : `Uses a running mean and variance, after ${BATCHES} batches of the built-in pictures. They still lag behind.`;

    const missing = maps ? [...new Set([...batch, ...builtIn])].filter((picture) => !hasMaps(picture)) : [];
    if (missing.length > 0) compute(missing);
    // While maps are computed, earlier maps of as many channels stay visible. Other earlier results would not match the controls.
    const keepsFigure = missing.length > 0 && latest?.count === count;
    byId('see-figure').hidden = batch.length === 0;
    byId('see-figure').classList.toggle('off', missing.length > 0 && !keepsFigure);
    byId('see-maps').hidden = !maps;
    if (batch.length === 0) clearPictures();
    if (batch.length === 0 || missing.length > 0) return;

    prepared ??= { X: maps ? mapsOf(batch, count) : tensorOf(batch), summaries: [] };
    const { X, summaries } = prepared;
    if (maps) running.maps ??= runningStatisticsOf(mapsOf(builtIn, 64));
    const { mean, variance } = maps ? running.maps : running.colours;
    /** The channel that gamma and beta apply to; −1 for all. */
    const adjusted = maps ? -1 : Number(byId('see-channel').value);
    const perChannel = (value, otherwise) =>
      Float32Array.from({ length: count }, (_, c) => (adjusted < 0 || adjusted === c ? value : otherwise));
    const out = reusedArray('output', X.data.length);
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
      summaries[c] ??= summaryOf(X, c);
      return [summaries[c], summaryOf(output, c)];
    });
    fillTable(
      byId('see-numbers'),
      rows.map((pair, k) => [
        element(
          'span',
          maps ? {} : { className: 'swatch', style: `--hue: var(--${COLOURS[k]})` },
          maps ? `channel ${map.value}` : COLOURS[k],
        ),
        ...pair.flatMap((summary) => [formatNumber(summary.mean), formatNumber(summary.deviation)]),
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
      : 'Left: the picture. Right: its normalized values, from −2 (black) to 2 (white).';
    const time = took > 0 ? `${took.toFixed(2)} ms` : 'less time than this browser’s clock can measure';
    byId('see-time').textContent =
      `${X.data.length.toLocaleString('en')} values of shape [${X.shape.join(', ')}], normalized in ${time}.`;
    showCode(codeOf({ training, adjusted, count, shape: X.shape }));
  }

  function codeOf({ training, adjusted, count, shape }) {
    const values = (value, otherwise) =>
      adjusted < 0
        ? `new Float32Array(${count}).fill(${value})`
        : `[${COLOURS.map((_, c) => (c === adjusted ? value : otherwise)).join(', ')}]`;
    return `import { batchNormalization } from 'batchnorm';

// data holds image after image, and each image channel after channel
const X = { data, shape: [${shape.join(', ')}] };
const gamma = ${values(gamma.value, 1)};
const beta = ${values(beta.value, 0)};
const epsilon = ${epsilonOf(epsilon.value)};
const out = new Float32Array(data.length); // reuse it in every call

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
      if (excluded.has(k)) context.clearRect(0, 0, SIDE, SIDE);
      else context.putImageData(pixelsOf(output, b++, -2, 2), 0, 0);
    });
  }

  /** What the canvas of the maps before shows: the tensor, the picture's index and the outlined channel. */
  let paintedBefore = [];
  function paintMaps() {
    if (latest === null || latest.count === 3) return;
    const b = Math.max(0, Number(byId('see-picture').value));
    // Most sliders do not change the maps before, which then need not be painted again.
    const before = [latest.X, b, map.value];
    if (before.some((part, k) => part !== paintedBefore[k])) paintTiles(byId('see-before'), latest.X, b, LIMIT_BEFORE, map.value);
    paintedBefore = before;
    paintTiles(byId('see-after'), latest.output, b, LIMIT_AFTER, map.value);
  }
  for (const id of ['see-before', 'see-after'])
    byId(id).addEventListener('click', ({ offsetX, offsetY, target }) => {
      const across = Math.sqrt(channelCount());
      const tileAt = (offset, size) => Math.min(across - 1, Math.floor((offset / size) * across));
      map.value = tileAt(offsetY, target.clientHeight) * across + tileAt(offsetX, target.clientWidth);
      remember('see');
      draw();
    });

  // Normalized colours look grey, which is not the purpose of normalization. If there is room, feature maps are shown first.
  if (matchMedia('(min-width: 60rem)').matches) document.querySelector('input[name="see-channels"][value="16"]').checked = true;
  byId('see-map').max = String(Math.max(16, channelCount()) - 1);
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
      paintedBefore = [];
      paintMaps();
    },
  };
}
