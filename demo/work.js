/* Runs a job in worker.js, shows its progress, and lets the visitor stop it. */

/**
 * @param {HTMLElement} element contains a progress bar and a button that stops the job; hidden unless a job runs
 * @param {string} job @param {object} input
 * @returns {Promise<any>} the result, or undefined if the visitor stopped the job
 */
export function runJob(element, job, input) {
  const bar = element.querySelector('progress');
  const button = element.querySelector('button');
  const focused = document.activeElement;
  const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
  bar.value = 0;
  // Not at once: for a short job, the progress bar would only flicker.
  const showing = setTimeout(() => {
    element.hidden = false;
  }, 150);
  return new Promise((resolve, reject) => {
    button.onclick = () => resolve(undefined);
    worker.onerror = ({ message }) => reject(new Error(message || 'the worker could not be loaded'));
    worker.onmessage = ({ data: { progress, error, result } }) => {
      if (progress !== undefined) bar.value = progress;
      else if (error !== undefined) reject(new Error(error));
      else resolve(result);
    };
    worker.postMessage({ job, input });
  }).finally(() => {
    worker.terminate();
    clearTimeout(showing);
    // If the focus is on the button that is hidden now, it returns to the control that started the job.
    if (element.contains(document.activeElement)) focused.focus();
    element.hidden = true;
  });
}
