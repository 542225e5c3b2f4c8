/* "Running statistics": shows how the running mean and variance follow a stream of batches. */
import { control, keep, remember } from './address.js';
import { byId, codeBlock, fillTable, formatNumber, slider } from './page.js';
import { createPlot } from './plot.js';
import { createStream, SOURCE } from './stream.js';

export const EXAMPLE = `import { batchNormalization } from 'batchnorm';

// each batch has one value
let runningMean = null; // starts at 0
let runningVar = null; // starts at 1
let output;
for (const value of [2.5, 3.5, 1, 5, 3]) {
  const X = { data: Float32Array.of(value), shape: [1, 1, 1, 1] };
  [output, runningMean, runningVar] = batchNormalization(X, null, null, runningMean, runningVar, 0.9);
  console.log('training gives', output.data, 'for', value); // always 0
}
console.log('running mean and variance', runningMean.data, runningVar.data);

const X = { data: Float32Array.of(4), shape: [1, 1, 1, 1] };
const [inferred] = batchNormalization(X, null, null, runningMean, runningVar, 0.9, 1e-5, false);
console.log('inference gives', inferred.data);`;

/** How many batches the plots show. */
const WINDOW = 200;
/** How many batches are shown at first. */
const FIRST = 60;

export function startRunning() {
  const momentum = slider('running-momentum', (m) => formatNumber(m, 2), changed);
  const sizeExponent = slider('running-size', (k) => String(2 ** k), changed);
  const batchSize = () => 2 ** sizeExponent.value;
  const seriesFor = (sourceValue) => [
    { label: 'last batch', colour: 'muted', points: true },
    { label: 'running', colour: 'accent' },
    { label: `source: ${sourceValue}`, colour: 'orange', dash: [6, 4] },
  ];
  const plots = {
    mean: createPlot(byId('running-mean'), {
      label: 'The running mean, the means of the batches, and the mean of the source',
      x: 'batch',
      y: 'mean',
      series: seriesFor(SOURCE.mean),
    }),
    variance: createPlot(byId('running-variance'), {
      label: 'The running variance, the variances of the batches, and the variance of the source',
      x: 'batch',
      y: 'variance',
      series: seriesFor(SOURCE.variance),
    }),
    gap: createPlot(byId('running-gap'), {
      label: 'The gap between the outputs of training and inference for the same batch',
      x: 'batch',
      y: 'gap',
      series: [{ label: 'training vs. inference', colour: 'violet' }],
      // Without the first three batches, whose gaps are so large that the rest would look flat: the running mean starts at 0.
      scales: {
        y: {
          range: () => [
            0,
            1.05 *
              Math.max(
                0.05,
                ...batches
                  .slice(3)
                  .slice(-WINDOW)
                  .map((batch) => batch.gap),
              ),
          ],
        },
      },
    }),
  };
  const showCode = codeBlock(byId('running-code'));

  let nextBatch;
  /** The results of all batches so far. */
  let batches;
  let timer = 0;

  /** Starts the same stream again. */
  function begin(count) {
    nextBatch = createStream();
    batches = [];
    for (let k = 0; k < count; k++) addBatch();
    show();
  }
  /** Computes the shown batches again with the new settings. While batches stream, the settings are used from the next batch on. */
  function changed() {
    showNote();
    if (timer === 0) begin(Math.min(batches.length, WINDOW));
  }
  const addBatch = () => batches.push(nextBatch(batchSize(), momentum.value));
  function show() {
    const from = Math.max(0, batches.length - WINDOW);
    const shown = batches.slice(from);
    const xs = shown.map((_, k) => from + k + 1);
    const flat = (value) => shown.map(() => value);
    plots.mean.show([xs, shown.map((s) => s.batchMean), shown.map((s) => s.runningMean), flat(SOURCE.mean)]);
    plots.variance.show([xs, shown.map((s) => s.batchVar), shown.map((s) => s.runningVar), flat(SOURCE.variance)]);
    plots.gap.show([xs, shown.map((s) => s.gap)]);
    const last = batches[batches.length - 1];
    byId('running-count').textContent = String(batches.length);
    fillTable(byId('running-numbers'), [
      ['mean', formatNumber(last.runningMean), formatNumber(last.batchMean), String(SOURCE.mean)],
      ['variance', formatNumber(last.runningVar), formatNumber(last.batchVar), String(SOURCE.variance)],
      ['gap', formatNumber(last.gap), '', ''],
    ]);
  }
  function showNote() {
    const m = momentum.value;
    const averaged = Number((1 / (1 - m)).toPrecision(2));
    const size = batchSize();
    const variance = (SOURCE.variance * (size - 1)) / size;
    byId('running-note').textContent =
      size === 1
        ? 'A single value is its own mean, and its variance is 0. So training gives beta, whatever the value is. Inference gives different results for different values, but the running variance goes to 0 as well.'
        : `With momentum ${formatNumber(m, 2)} (in PyTorch ${formatNumber(1 - m, 2)}), the running statistics are an average over about ${averaged} ${averaged === 1 ? 'batch' : 'batches'}. The variance of a batch of ${size} values is ${Number(variance.toPrecision(3))} on average.`;
    showCode(`import { batchNormalization } from 'batchnorm';

let runningMean = null; // starts at 0
let runningVar = null; // starts at 1
for (const X of batches) { // each { data, shape: [${size}, 1, 1, 1] }
  let output;
  [output, runningMean, runningVar] =
    batchNormalization(X, null, null, runningMean, runningVar, ${m}); // the weight of the old running value
}
// later, in inference
const [inferred] =
  batchNormalization(X, null, null, runningMean, runningVar, ${m}, 1e-5, false);`);
  }

  const go = byId('running-go');
  go.addEventListener('click', () => {
    const starting = timer === 0;
    go.textContent = starting ? 'Pause' : 'Start';
    clearInterval(timer);
    timer = starting
      ? window.setInterval(() => {
          addBatch();
          show();
        }, 50)
      : 0;
  });
  byId('running-step').addEventListener('click', () => {
    addBatch();
    show();
  });
  byId('running-reset').addEventListener('click', () => begin(FIRST));
  byId('running-one').addEventListener('click', () => {
    sizeExponent.value = 0;
    changed();
    remember('running');
  });
  showNote();
  begin(FIRST);
  keep('running', {
    momentum: control('running-momentum'),
    size: control('running-size', { write: (k) => String(2 ** k), read: (n) => Math.log2(Number(n)) }),
  });
}
