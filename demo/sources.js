/* Gets the visitor's own pictures: from files that are chosen or dropped, and from the camera. */
import { isAnimated } from './animated.js';
import { byId, element } from './page.js';
import { pictureOf } from './pictures.js';

/** The most pictures in a batch. */
const MAX_PICTURES = 16;
/** How many of the latest camera pictures are in the batch, and the milliseconds between them. */
const MOMENTS = 8;
const INTERVAL = 250;

/**
 * @param {(pictures: import('./pictures.js').Picture[], moving: boolean) => void} show moving: whether these
 *   pictures are from the camera, and replace earlier ones one by one
 * @param {(text: string) => void} showStatus
 * @returns {() => void} stops the camera
 */
export function startSources(show, showStatus) {
  const button = byId('see-camera');
  /** Counts the sources. What arrives from an earlier source is ignored. */
  let current = 0;
  let stopCamera = () => {};
  const stop = () => {
    current++;
    stopCamera();
    stopCamera = () => {};
    button.textContent = 'Use the camera';
  };

  /** @param {File[]} files */
  async function useFiles(files) {
    stop();
    const source = current;
    const pictures = [];
    const animated = [];
    const rejected = [];
    for (const file of files.slice(0, MAX_PICTURES))
      try {
        const image = await createImageBitmap(file);
        const name = [...file.name.replace(/\.\w+$/, '')].slice(0, 16).join('') || 'picture';
        pictures.push(pictureOf(image, image.width, image.height, name));
        image.close();
        if (isAnimated(new Uint8Array(await file.arrayBuffer()))) animated.push(file.name);
      } catch {
        rejected.push(file.name);
      }
    if (source !== current) return;
    if (pictures.length > 0) show(pictures, false);
    showStatus(
      [
        files.length === 0 ? 'No files were dropped.' : '',
        files.length > MAX_PICTURES ? `Only the first ${MAX_PICTURES} of ${files.length} files are used.` : '',
        animated.length > 0 ? `Animated, so only the first frame is used: ${animated.join(', ')}.` : '',
        rejected.length > 0
          ? `Not shown: ${rejected.join(', ')}. Use PNG, JPEG, GIF, WebP, AVIF and BMP pictures that this browser can read.`
          : '',
      ]
        .filter(Boolean)
        .join(' '),
    );
  }
  byId('see-files').addEventListener('change', ({ target }) => {
    useFiles([...target.files]);
    target.value = '';
  });
  // The whole page accepts files. Otherwise the browser would open a file that is dropped outside the zone, and leave this page.
  const zone = byId('see-drop');
  addEventListener('dragover', (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
  addEventListener('dragleave', () => zone.classList.remove('over'));
  addEventListener('drop', (event) => {
    event.preventDefault();
    zone.classList.remove('over');
    useFiles([...event.dataTransfer.files]);
  });

  async function startCamera() {
    stop();
    const source = current;
    if (!navigator.mediaDevices) return showStatus('No camera: browsers only allow it on https pages and on localhost.');
    button.textContent = 'Stop the camera';
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 320 } });
    } catch (error) {
      if (source === current) {
        stop();
        showStatus(`No camera: ${error.message}`);
      }
      return;
    }
    const end = () => stream.getTracks().forEach((track) => void track.stop());
    if (source !== current) return end();
    const video = element('video', { srcObject: stream, muted: true, playsInline: true });
    const moments = [];
    const timer = setInterval(() => {
      if (video.videoWidth === 0) return;
      const now = performance.now();
      moments.unshift({ taken: now, ...pictureOf(video, video.videoWidth, video.videoHeight, 'now') });
      moments.length = Math.min(MOMENTS, moments.length);
      for (const moment of moments.slice(1)) moment.name = `${((now - moment.taken) / 1000).toFixed(1)} s ago`;
      show([...moments], true);
    }, INTERVAL);
    stopCamera = () => {
      clearInterval(timer);
      end();
    };
    stream.getVideoTracks()[0].onended = stop;
    video.play().catch((error) => showStatus(`No camera: ${error.message}`));
  }
  button.addEventListener('click', () => (button.textContent === 'Use the camera' ? startCamera() : stop()));
  return stop;
}
