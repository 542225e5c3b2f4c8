/* "Train it": the same network with and without batch normalization, trained in a worker, while the section is in view. */
import { choice, control, keep } from './address.js';
import { LEVELS, REACH, SIDE, trainingPoints } from './network.js';
import { byId, chosen, codeBlock, element, number, onChoice, perFrame, power, slider, twoDigits } from './page.js';
import { colour, createPlot } from './plot.js';

export const EXAMPLE = `import { BatchNorm } from 'batchnorm';

// gamma and beta of one layer learn to give what is wanted
const layer = new BatchNorm(2);
const X = { data: Float32Array.of(101, 7, 102, 9, 103, 8, 104, 6), shape: [4, 2] };
const wanted = [-3, 1, -1, 3, 1, 2, 3, 0];
for (let step = 0; step <= 40; step++) {
  const output = layer.forward(X);
  const difference = output.data.map((value, i) => value - wanted[i]);
  layer.backward({ data: difference.map((value) => value / 4), shape: X.shape });
  for (let c = 0; c < 2; c++) {
    layer.gamma[c] -= 0.2 * layer.gradGamma[c];
    layer.beta[c] -= 0.2 * layer.gradBeta[c];
  }
  if (step % 10 === 0) console.log('after', step, 'steps:', output.data);
}
layer.training = false; // from here on with the running statistics
console.log('inference:', layer.forward(X).data);`;

/** Steps from one picture to the next, and the time between them in milliseconds. */
const PACE = 5;
const INTERVAL = 100;
/** Steps after which the training stops by itself. */
const LIMIT = 2000;
/** The activations are shown from −BAND to BAND. */
const BAND = 2.5;
/** The losses that the plot shows. */
const LOWEST = 1e-3;
const HIGHEST = 10;

const TRIALS = [
  { id: 'with', name: 'With batch normalization', hue: 'accent' },
  { id: 'without', name: 'Without batch normalization', hue: 'red' },
];

const rateOf = (k) => Number((10 ** (k / 3)).toPrecision(1));
/** Where the time axes end: they grow with the steps. */
const lastStep = (step) => Math.max(200, step);

/** Gives a canvas the pixels of its place, and draws on it, now and after each change of size. @returns {() => void} draws again */
function fitted(canvas, draw) {
  const redraw = () => {
    const { clientWidth: width, clientHeight: height } = canvas;
    const density = Math.min(2, devicePixelRatio);
    // To set a size clears the canvas, and takes its time.
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

const channelsOf = (name) => colour(name).match(/\d+/g).slice(0, 3).map(Number);

/** A colour for each byte of the plane: from class 0 (orange) through nothing to class 1 (blue). */
function palette() {
  const card = channelsOf('card');
  return Array.from({ length: 256 }, (_, byte) => {
    const sure = (byte - 127.5) / 127.5;
    const hue = channelsOf(sure < 0 ? 'orange' : 'blue');
    return card.map((value, k) => value + (hue[k] - value) * 0.6 * Math.abs(sure));
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

  /** The visitor has not stopped it. */
  let wanted = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  let inView = false;
  /** The worker has not yet begun with what the controls say. */
  let fresh = true;
  /** The worker owes a report. */
  let asked = false;
  /** One step is wanted. */
  let single = false;
  /** When the next picture is due. */
  let due = 0;
  let timer = 0;
  /** The step at which it stops by itself, and whether it has. */
  let limit = LIMIT;
  let ended = false;
  let worker = null;
  /** The reports of this training. */
  let reports = [];
  const latest = () => reports[reports.length - 1];
  /** The depth that they are of. */
  let layers = 0;

  /* ---- what is seen ---- */

  let colours = palette();
  const pixels = new ImageData(SIDE, SIDE);
  function paintField(canvas, field) {
    field.forEach((byte, i) => {
      pixels.data.set(colours[byte], 4 * i);
      pixels.data[4 * i + 3] = 255;
    });
    canvas.getContext('2d').putImageData(pixels, 0, 0);
  }

  /** Class 0 as discs, class 1 as squares, for those who do not see the colours. */
  function drawPoints(context, width) {
    const { data, labels } = trainingPoints(chosen('train-data'));
    const radius = Math.max(1.5, width / 110);
    const place = (value) => ((value / REACH + 1) / 2) * width;
    context.strokeStyle = colour('card');
    context.lineWidth = radius / 3;
    labels.forEach((label, b) => {
      const [x, y] = [place(data[2 * b]), place(-data[2 * b + 1])];
      context.fillStyle = colour(label === 0 ? 'orange' : 'blue');
      context.beginPath();
      if (label === 0) context.arc(x, y, radius, 0, 2 * Math.PI);
      else context.rect(x - 0.85 * radius, y - 0.85 * radius, 1.7 * radius, 1.7 * radius);
      context.fill();
      context.stroke();
    });
  }

  /** A band for each layer: the middle nine tenths of its values, their middle half and their median, over the steps. */
  function drawBands(context, width, height, k) {
    const row = height / layers;
    const across = (step) => (step / lastStep(latest().step)) * width;
    const known = reports.filter(({ networks }) => networks[k].quantiles.length > 0 && !networks[k].diverged);
    // No more of them than the canvas has pixels.
    const every = Math.ceil(known.length / width);
    const seen = known.filter((_, i) => i % every === 0);
    for (let layer = 0; layer < layers; layer++) {
      const middle = (layer + 0.5) * row;
      const down = ({ networks }, level) =>
        middle - (Math.max(-BAND, Math.min(BAND, networks[k].quantiles[LEVELS * layer + level])) / BAND) * (row / 2 - 1);
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
        for (const report of seen) context.lineTo(across(report.step), down(report, high));
        for (const report of seen.slice().reverse()) context.lineTo(across(report.step), down(report, low));
        context.fill();
      }
      context.globalAlpha = 1;
      context.lineWidth = 1.5;
      context.beginPath();
      for (const report of seen) context.lineTo(across(report.step), down(report, 2));
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
    label: 'The loss of both networks over the steps; the latest figures are above',
    x: 'step',
    y: 'loss of the batches',
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
        values: (_, ticks) => ticks.map((tick) => (tick < 0.1 ? power(Math.round(Math.log10(tick))) : String(tick))),
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
      second.textContent = `loss ${loss === null ? '–' : loss < 1000 ? number(loss) : twoDigits(loss)}`;
      paintField(view.field, field);
      view.field.setAttribute('aria-label', `${name}, step ${step}: ${correct}`);
      view.redrawBands();
      if (quantiles.length === 0) return;
      const [low, high] = [1, 3].map((level) => number(quantiles[LEVELS * (layers - 1) + level], 1));
      view.bands.setAttribute(
        'aria-label',
        `What each layer’s ReLU receives: in layer ${layers}, half of it is from ${low} to ${high}`,
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

  /** A line for each layer. */
  function showLayers() {
    layers = depth.value;
    for (const { labels } of views) labels.replaceChildren(...Array.from({ length: layers }, () => element('li')));
  }

  /* ---- what is done ---- */

  const go = byId('train-go');
  const status = byId('train-status');
  function want(running) {
    wanted = running;
    ended = false;
    limit = (fresh ? 0 : (latest()?.step ?? 0)) + LIMIT;
    status.textContent = '';
    go.textContent = running ? 'Stop' : 'Start';
    proceed();
  }
  /** From step 0; what has stopped by itself goes on by itself. */
  function restart() {
    fresh = true;
    single = false;
    want(wanted || ended);
  }

  function createWorker() {
    const created = new Worker(new URL('train-worker.js', import.meta.url), { type: 'module' });
    created.onmessage = ({ data }) => receive(data);
    created.onerror = ({ message }) => {
      status.textContent = `The training could not run: ${message || 'its worker could not be loaded'}.`;
    };
    return created;
  }

  /** Asks the worker for what comes next, if anything does. While it runs, that is once the last report has been shown. */
  function proceed() {
    clearTimeout(timer);
    if (asked || !inView || document.hidden || !(fresh || single || wanted)) return;
    const wait = fresh || single ? 0 : due - performance.now();
    if (wait > 0) {
      timer = window.setTimeout(proceed, wait);
      return;
    }
    asked = true;
    due = performance.now() + INTERVAL;
    worker ??= createWorker();
    if (fresh) {
      worker.postMessage({ settings: settings(), steps: 0 });
      reports = [];
      showLayers();
      fresh = false;
    } else {
      worker.postMessage({ steps: single ? 1 : PACE });
      single = false;
    }
  }

  function receive(report) {
    asked = false;
    // While it was on its way, the controls may have changed.
    if (fresh) {
      proceed();
      return;
    }
    reports.push(report);
    if (wanted && report.step >= limit) {
      want(false);
      ended = true;
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
  go.addEventListener('click', () => want(!wanted));
  byId('train-step').addEventListener('click', () => {
    single = true;
    want(false);
  });
  byId('train-reset').addEventListener('click', () => {
    wanted = false;
    ended = false;
    restart();
  });

  new IntersectionObserver((entries) => {
    inView = entries[entries.length - 1].isIntersecting;
    proceed();
  }).observe(byId('train'));
  document.addEventListener('visibilitychange', proceed);
  want(wanted);

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
