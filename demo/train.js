/* "Train it": trains the same network with and without batch normalization. A worker computes, and only while the section is in view. */
import { choice, control, keep } from './address.js';
import { QUANTILE_COUNT, REACH, SIDE, trainingPoints } from './network.js';
import { byId, chosen, codeBlock, element, formatNumber, formatPower, onChoice, perFrame, slider, twoDigits } from './page.js';
import { colour, createPlot } from './plot.js';

export const EXAMPLE = `import { BatchNorm } from 'batchnorm';

// trains gamma and beta of one layer until its output is close to the target
const layer = new BatchNorm(2);
const X = { data: Float32Array.of(101, 7, 102, 9, 103, 8, 104, 6), shape: [4, 2] };
const target = [-3, 1, -1, 3, 1, 2, 3, 0];
for (let step = 0; step <= 40; step++) {
  const output = layer.forward(X);
  const difference = output.data.map((value, i) => value - target[i]);
  layer.backward({ data: difference.map((value) => value / 4), shape: X.shape });
  for (let c = 0; c < 2; c++) {
    layer.gamma[c] -= 0.2 * layer.gradGamma[c];
    layer.beta[c] -= 0.2 * layer.gradBeta[c];
  }
  if (step % 10 === 0) console.log('after', step, 'steps:', output.data);
}
layer.training = false; // from here on, forward uses the running statistics
console.log('inference:', layer.forward(X).data);`;

/** How many steps there are from one report to the next, and how many milliseconds at least. */
const STEPS_PER_REPORT = 5;
const INTERVAL = 100;
/** The training stops by itself after this many steps. */
const LIMIT = 2000;
/** A layer's values are shown from −BAND to BAND. */
const BAND = 2.5;
/** The plot shows losses from LOWEST to HIGHEST. */
const LOWEST = 1e-3;
const HIGHEST = 10;

const TRIALS = [
  { id: 'with', name: 'With batch normalization', hue: 'accent' },
  { id: 'without', name: 'Without batch normalization', hue: 'red' },
];

const rateOf = (k) => Number((10 ** (k / 3)).toPrecision(1));
/** The step at the end of the plots, which grow with the training. */
const lastStep = (step) => Math.max(200, step);

/**
 * Gives a canvas as many pixels as it has on the screen, and draws on it, also after each change of its size.
 * @returns {() => void} draws again
 */
function fitted(canvas, draw) {
  const redraw = () => {
    const { clientWidth: width, clientHeight: height } = canvas;
    const density = Math.min(2, devicePixelRatio);
    // Only if the size has changed: setting it takes some time.
    const [across, down] = [Math.round(width * density), Math.round(height * density)];
    if (canvas.width !== across) canvas.width = across;
    if (canvas.height !== down) canvas.height = down;
    const context = canvas.getContext('2d');
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    if (width > 0) draw(context, width, height);
  };
  new ResizeObserver(redraw).observe(canvas);
  return redraw;
}

const rgbOf = (name) => colour(name).match(/\d+/g).slice(0, 3).map(Number);

/** The colours for the bytes of the plane: from orange (class 0) through the card's colour to blue (class 1). */
function palette() {
  const card = rgbOf('card');
  return Array.from({ length: 256 }, (_, byte) => {
    const certainty = (byte - 127.5) / 127.5;
    const hue = rgbOf(certainty < 0 ? 'orange' : 'blue');
    return card.map((value, k) => value + (hue[k] - value) * 0.6 * Math.abs(certainty));
  });
}

export function startTrain() {
  const rate = slider('train-rate', (k) => String(rateOf(k)), restart);
  const size = slider('train-size', (k) => String(2 ** k), restart);
  const depth = slider('train-depth', String, restart);
  const seed = slider('train-seed', String, restart);
  onChoice('train-data', () => {
    for (const view of views) view.redrawPoints();
    restart();
  });

  /** Whether the training runs, or will run when the section is in view. */
  let running = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  let inView = false;
  /** Whether the next message to the worker starts the training again, with the settings of the controls. */
  let restartPending = true;
  /** Whether the worker is computing the next report. */
  let awaitingReport = false;
  /** Whether the visitor has asked for one step. */
  let stepPending = false;
  /** The earliest time for the next report. */
  let due = 0;
  let timer = 0;
  /** The step at which the training stops by itself, and whether it has done so. */
  let limit = LIMIT;
  let stoppedByItself = false;
  let worker = null;
  /** The reports of this training. */
  let reports = [];
  const latest = () => reports[reports.length - 1];
  /** The depth of the networks in these reports. */
  let layers = 0;

  /* ---- drawing ---- */

  let colours = palette();
  const pixels = new ImageData(SIDE, SIDE);
  function paintField(canvas, field) {
    field.forEach((byte, i) => {
      pixels.data.set(colours[byte], 4 * i);
      pixels.data[4 * i + 3] = 255;
    });
    canvas.getContext('2d').putImageData(pixels, 0, 0);
  }

  /** Class 0 as discs and class 1 as squares, so that the classes differ without colours, too. */
  function drawPoints(context, width) {
    const { data, labels } = trainingPoints(chosen('train-data'));
    const radius = Math.max(1.5, width / 110);
    const toPixels = (value) => ((value / REACH + 1) / 2) * width;
    context.strokeStyle = colour('card');
    context.lineWidth = radius / 3;
    labels.forEach((label, b) => {
      const [x, y] = [toPixels(data[2 * b]), toPixels(-data[2 * b + 1])];
      context.fillStyle = colour(label === 0 ? 'orange' : 'blue');
      context.beginPath();
      if (label === 0) context.arc(x, y, radius, 0, 2 * Math.PI);
      else context.rect(x - 0.85 * radius, y - 0.85 * radius, 1.7 * radius, 1.7 * radius);
      context.fill();
      context.stroke();
    });
  }

  /** For each layer, draws the median of its values over the steps, and bands with their middle half and their middle nine tenths. */
  function drawBands(context, width, height, k) {
    const row = height / layers;
    const toX = (step) => (step / lastStep(latest().step)) * width;
    const drawable = reports.filter(({ networks }) => networks[k].quantiles.length > 0 && !networks[k].diverged);
    // At most one report per pixel of the width.
    const every = Math.ceil(drawable.length / width);
    const drawn = drawable.filter((_, i) => i % every === 0);
    for (let layer = 0; layer < layers; layer++) {
      const middle = (layer + 0.5) * row;
      const toY = ({ networks }, quantile) =>
        middle -
        (Math.max(-BAND, Math.min(BAND, networks[k].quantiles[QUANTILE_COUNT * layer + quantile])) / BAND) * (row / 2 - 1);
      context.fillStyle = colour('line');
      context.globalAlpha = 1;
      context.fillRect(0, middle, width, 1);
      if (layer > 0) context.fillRect(0, layer * row, width, 1);
      context.fillStyle = colour(TRIALS[k].hue);
      context.strokeStyle = context.fillStyle;
      for (const [low, high, alpha] of [
        [0, 4, 0.25],
        [1, 3, 0.4],
      ]) {
        context.globalAlpha = alpha;
        context.beginPath();
        for (const report of drawn) context.lineTo(toX(report.step), toY(report, high));
        for (const report of drawn.slice().reverse()) context.lineTo(toX(report.step), toY(report, low));
        context.fill();
      }
      context.globalAlpha = 1;
      context.lineWidth = 1.5;
      context.beginPath();
      for (const report of drawn) context.lineTo(toX(report.step), toY(report, 2));
      context.stroke();
    }
  }

  const views = TRIALS.map(({ id }, k) => {
    const field = byId(`train-field-${id}`);
    field.width = SIDE;
    field.height = SIDE;
    const bands = byId(`train-bands-${id}`);
    return {
      field,
      bands,
      labels: byId(`train-layers-${id}`),
      reading: byId(`train-reading-${id}`),
      redrawPoints: fitted(byId(`train-points-${id}`), drawPoints),
      redrawBands: fitted(bands, (context, width, height) => {
        if (reports.length > 0) drawBands(context, width, height, k);
      }),
    };
  });
  const losses = createPlot(byId('train-loss'), {
    label: 'The loss of both networks over the steps. The latest losses are below the pictures.',
    x: 'step',
    y: 'loss on the batches',
    height: 300,
    series: [
      { label: 'with', colour: 'accent' },
      { label: 'without', colour: 'red', dash: [7, 4] },
    ],
    scales: { x: { range: () => [0, lastStep(latest()?.step ?? 0)] }, y: { distr: 3, range: [LOWEST, HIGHEST] } },
    axes: {
      y: {
        filter: (_, splits) => splits,
        splits: () => [1e-3, 1e-2, 0.1, 1, 10],
        values: (_, ticks) => ticks.map((tick) => (tick < 0.1 ? formatPower(Math.round(Math.log10(tick))) : String(tick))),
      },
    },
  });

  const show = perFrame(() => {
    if (reports.length === 0) return;
    const { step, networks } = latest();
    byId('train-count').textContent = `Step ${step}`;
    networks.forEach(({ loss, accuracy, diverged, field, quantiles }, k) => {
      const { name } = TRIALS[k];
      const view = views[k];
      const correct = diverged ? 'diverged' : `${Math.floor(100 * accuracy)} % correct`;
      const [first, second] = view.reading.children;
      first.textContent = correct;
      second.textContent = `loss ${loss === null ? '–' : loss < 1000 ? formatNumber(loss) : twoDigits(loss)}`;
      paintField(view.field, field);
      view.field.setAttribute('aria-label', `${name}, step ${step}: ${correct}`);
      view.redrawBands();
      if (quantiles.length === 0) return;
      const [low, high] = [1, 3].map((quantile) => formatNumber(quantiles[QUANTILE_COUNT * (layers - 1) + quantile], 1));
      view.bands.setAttribute(
        'aria-label',
        `Each layer’s values, before its ReLU: half of those in layer ${layers} are from ${low} to ${high}`,
      );
    });
    losses.show([
      reports.map((report) => report.step),
      ...TRIALS.map((_, k) =>
        reports.map(({ networks: { [k]: network } }) => network.loss && Math.min(HIGHEST, Math.max(LOWEST, network.loss))),
      ),
    ]);
    proceed();
  });

  /** Shows the numbers of the layers next to the bands. */
  function showLayers() {
    layers = depth.value;
    for (const { labels } of views) labels.replaceChildren(...Array.from({ length: layers }, () => element('li')));
  }

  /* ---- running ---- */

  const go = byId('train-go');
  const status = byId('train-status');
  function setRunning(value) {
    running = value;
    stoppedByItself = false;
    limit = (restartPending ? 0 : (latest()?.step ?? 0)) + LIMIT;
    status.textContent = '';
    go.textContent = running ? 'Stop' : 'Start';
    proceed();
  }
  /** Starts again from step 0. A training that has stopped by itself runs again; one that the visitor has stopped does not. */
  function restart() {
    restartPending = true;
    stepPending = false;
    setRunning(running || stoppedByItself);
  }

  function createWorker() {
    const created = new Worker(new URL('train-worker.js', import.meta.url), { type: 'module' });
    created.onmessage = ({ data }) => receive(data);
    created.onerror = ({ message }) => {
      status.textContent = `The training could not run: ${message || 'its worker could not be loaded'}.`;
    };
    return created;
  }

  /** Asks the worker for the next report, if one is needed now. While the training runs, this is called after each report is shown. */
  function proceed() {
    clearTimeout(timer);
    if (awaitingReport || !inView || document.hidden || !(restartPending || stepPending || running)) return;
    const wait = restartPending || stepPending ? 0 : due - performance.now();
    if (wait > 0) {
      timer = window.setTimeout(proceed, wait);
      return;
    }
    awaitingReport = true;
    due = performance.now() + INTERVAL;
    worker ??= createWorker();
    if (restartPending) {
      worker.postMessage({ settings: settings(), steps: 0 });
      reports = [];
      showLayers();
      restartPending = false;
    } else {
      worker.postMessage({ steps: stepPending ? 1 : STEPS_PER_REPORT });
      stepPending = false;
    }
  }

  function receive(report) {
    awaitingReport = false;
    // The report is obsolete if the controls have changed in the meantime.
    if (restartPending) {
      proceed();
      return;
    }
    reports.push(report);
    if (running && report.step >= limit) {
      setRunning(false);
      stoppedByItself = true;
      status.textContent = `Stopped after ${report.step} steps.`;
    }
    show();
  }

  const settings = () => ({
    data: chosen('train-data'),
    rate: rateOf(rate.value),
    size: 2 ** size.value,
    depth: depth.value,
    seed: seed.value,
  });
  go.addEventListener('click', () => setRunning(!running));
  byId('train-step').addEventListener('click', () => {
    stepPending = true;
    setRunning(false);
  });
  byId('train-reset').addEventListener('click', () => {
    running = false;
    stoppedByItself = false;
    restart();
  });

  new IntersectionObserver((entries) => {
    inView = entries[entries.length - 1].isIntersecting;
    proceed();
  }).observe(byId('train'));
  document.addEventListener('visibilitychange', proceed);
  setRunning(running);

  const showCode = codeBlock(byId('train-code'));
  fetch(new URL('network.js', import.meta.url))
    .then((response) => response.text())
    .then(showCode, (error) => showCode(`network.js could not be loaded: ${error.message}`));

  keep('train', {
    data: choice('train-data'),
    rate: control('train-rate', { write: (k) => String(rateOf(k)), read: (text) => Math.round(3 * Math.log10(Number(text))) }),
    size: control('train-size', { write: (k) => String(2 ** k), read: (text) => Math.round(Math.log2(Number(text))) }),
    depth: control('train-depth'),
    seed: control('train-seed'),
  });

  return {
    repaint() {
      colours = palette();
      for (const view of views) view.redrawPoints();
      show();
    },
  };
}
