/* Trains the networks of "Train it" in a worker. A message has the number of steps to train, and for a new training, its settings. The
 * answer is a report. */
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
