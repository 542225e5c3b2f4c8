/* The page's side of worker.js: a job with its progress shown, that can be stopped. */

/**
 * @param {string} job a function of worker.js @param {object} input
 * @param {(part: number) => void} [progress] is told how much is done, 0 to 1
 * @returns {{ result: Promise<any>, stop: () => void }} stopped, the result never comes: it is undefined
 */
export function work(job, input, progress = () => {}) {
  const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
  let stop = () => {};
  const result = new Promise((resolve, reject) => {
    const end = (settle, value) => {
      worker.terminate();
      settle(value);
    };
    stop = () => end(resolve, undefined);
    worker.onerror = (event) => end(reject, new Error(event.message || 'the worker could not be loaded'));
    worker.onmessage = ({ data }) => {
      if (data.progress !== undefined) progress(data.progress);
      else if (data.error !== undefined) end(reject, new Error(data.error));
      else end(resolve, data.result);
    };
    worker.postMessage({ job, input });
  });
  return { result, stop };
}

/**
 * Runs a job with a progress bar and a button to stop it, in an element that holds both and is hidden otherwise.
 * @param {HTMLElement} element @param {string} job @param {object} input
 */
export async function workShown(element, job, input) {
  const bar = element.querySelector('progress');
  const button = element.querySelector('button');
  const { result, stop } = work(job, input, (part) => {
    bar.value = part;
  });
  bar.value = 0;
  button.onclick = stop;
  element.hidden = false;
  try {
    return await result;
  } finally {
    element.hidden = true;
  }
}
