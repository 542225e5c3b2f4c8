/* "Running statistics": batches stream by, and running mean and variance follow them. */
import { control, keep, remember } from './address.js';
import { byId, codeBlock, fillTable, number, slider } from './page.js';
import { createPlot } from './plot.js';
import { createStream, SOURCE } from './stream.js';

export const EXAMPLE = `import { batchNormalization } from 'batchnorm';

// batches of one value each
let runningMean = null; // 0 at first
let runningVar = null; // 1 at first
let output;
for (const value of [2.5, 3.5, 1, 5, 3]) {
  const X = { data: Float32Array.of(value), shape: [1, 1, 1, 1] };
  [output, runningMean, runningVar] = batchNormalization(X, null, null, runningMean, runningVar, 0.9);
  console.log('training gives', output.data, 'for', value);
}
console.log('running mean and variance', runningMean.data, runningVar.data);

const X = { data: Float32Array.of(4), shape: [1, 1, 1, 1] };
const [inferred] = batchNormalization(X, null, null, runningMean, runningVar, 0.9, 1e-5, false);
console.log('inference gives', inferred.data);`;

/** Batches that the plots show. */
const WINDOW = 200;
/** Batches that are there at first, before anything moves. */
const FIRST = 60;

export function startRunning() {
  const momentum = slider('running-momentum', (m) => number(m, 2), changed);
  const size = slider('running-size', (k) => String(2 ** k), changed);
  const lines = (own) => [
    { label: 'last batch', colour: 'muted', points: true },
    { label: 'running', colour: 'accent' },
    { label: `source: ${own}`, colour: 'orange', dash: [6, 4] },
  ];
  const plots = {
    mean: createPlot(byId('running-mean'), {
      label: 'The running mean against the batches’ and the source’s',
      x: 'batch',
      y: 'mean',
      series: lines(SOURCE.mean),
    }),
    variance: createPlot(byId('running-variance'), {
      label: 'The running variance against the batches’ and the source’s',
      x: 'batch',
      y: 'variance',
      series: lines(SOURCE.variance),
    }),
    gap: createPlot(byId('running-gap'), {
      label: 'The gap between a batch’s output in training and in inference',
      x: 'batch',
      y: 'gap',
      series: [{ label: 'root mean square of the difference', colour: 'violet' }],
      // The first batches meet a running mean of 0: they are so far off that the rest would look flat.
      scales: {
        y: {
          range: () => [
            0,
            1.05 *
              Math.max(
                0.05,
                ...steps
                  .slice(3)
                  .slice(-WINDOW)
                  .map((step) => step.gap),
              ),
          ],
        },
      },
    }),
  };
  const showCode = codeBlock(byId('running-code'));

  let next;
  let steps;
  let timer = 0;

  /** The same stream from its beginning. */
  function begin(count) {
    next = createStream();
    steps = [];
    for (let k = 0; k < count; k++) step();
    show();
  }
  /** What is shown is computed again under the new conditions; while batches stream by, these hold from now on. */
  function changed() {
    note();
    if (timer === 0) begin(Math.min(steps.length, WINDOW));
  }
  const step = () => steps.push(next(2 ** size.value, momentum.value));
  function show() {
    const from = Math.max(0, steps.length - WINDOW);
    const seen = steps.slice(from);
    const xs = seen.map((_, k) => from + k + 1);
    const flat = (value) => seen.map(() => value);
    plots.mean.show([xs, seen.map((s) => s.batchMean), seen.map((s) => s.runningMean), flat(SOURCE.mean)]);
    plots.variance.show([xs, seen.map((s) => s.batchVar), seen.map((s) => s.runningVar), flat(SOURCE.variance)]);
    plots.gap.show([xs, seen.map((s) => s.gap)]);
    const last = steps[steps.length - 1];
    byId('running-count').textContent = String(steps.length);
    fillTable(byId('running-numbers'), [
      ['mean', number(last.runningMean), number(last.batchMean), String(SOURCE.mean)],
      ['variance', number(last.runningVar), number(last.batchVar), String(SOURCE.variance)],
      ['gap', number(last.gap), '', ''],
    ]);
  }
  function note() {
    const m = momentum.value;
    const batches = Number((1 / (1 - m)).toPrecision(2));
    const variance = (SOURCE.variance * (2 ** size.value - 1)) / 2 ** size.value;
    const count = 2 ** size.value;
    byId('running-note').textContent =
      count === 1
        ? 'One value is its own mean, and its variance is 0: training gives beta, whatever the value. Inference tells values apart, but the running variance goes to 0 as well.'
        : `With momentum ${number(m, 2)} (in PyTorch ${number(1 - m, 2)}) the running statistics average over about ${batches} ${batches === 1 ? 'batch' : 'batches'}. The variance of ${count} values is ${Number(variance.toPrecision(3))} on average.`;
    showCode(`import { batchNormalization } from 'batchnorm';

let runningMean = null; // they start at mean 0 and variance 1
let runningVar = null;
for (const X of batches) { // each { data, shape: [${2 ** size.value}, 1, 1, 1] }
  let output;
  [output, runningMean, runningVar] =
    batchNormalization(X, null, null, runningMean, runningVar, ${m}); // the weight of the old value
}
// later, in inference
const [inferred] =
  batchNormalization(X, null, null, runningMean, runningVar, ${m}, 1e-5, false);`);
  }

  const go = byId('running-go');
  go.addEventListener('click', () => {
    const running = timer === 0;
    go.textContent = running ? 'Pause' : 'Start';
    clearInterval(timer);
    timer = running
      ? window.setInterval(() => {
          step();
          show();
        }, 50)
      : 0;
  });
  byId('running-step').addEventListener('click', () => {
    step();
    show();
  });
  byId('running-reset').addEventListener('click', () => begin(FIRST));
  byId('running-one').addEventListener('click', () => {
    size.value = 0;
    changed();
    remember('running');
  });
  note();
  begin(FIRST);
  keep('running', {
    momentum: control('running-momentum'),
    size: control('running-size', { write: (k) => String(2 ** k), read: (n) => Math.log2(Number(n)) }),
  });
}
