/* The page's side of worker.js: a job with its progress shown, that can be stopped. */

/**
 * Runs a job of worker.js, with a progress bar and a button to stop it in an element that holds both, hidden otherwise.
 * @param {HTMLElement} element @param {string} job @param {object} input
 * @returns {Promise<any>} its result; undefined when it was stopped
 */
export function work(element, job, input) {
  const bar = element.querySelector('progress');
  const button = element.querySelector('button');
  const focused = document.activeElement;
  const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
  bar.value = 0;
  // What is over at once would only flicker.
  const shown = setTimeout(() => {
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
    clearTimeout(shown);
    // Who stopped it by keyboard goes on from where it was started.
    if (element.contains(document.activeElement)) focused.focus();
    element.hidden = true;
  });
}
