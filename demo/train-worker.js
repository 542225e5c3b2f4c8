/* The training of "Train it", off the page's thread: takes settings to begin with, or steps to go on with, and reports after each. */
import { createTraining } from './network.js';

let advance;
addEventListener('message', ({ data: { settings, steps } }) => {
  if (settings) advance = createTraining(settings);
  const report = advance(steps);
  postMessage(
    report,
    report.networks.map(({ field }) => field.buffer),
  );
});
