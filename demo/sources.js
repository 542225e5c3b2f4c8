/* Where the visitor's pictures come from: files chosen or dropped, and the camera. */
import { isAnimated } from './animated.js';
import { byId, element } from './page.js';
import { pictureOf } from './pictures.js';

/** Pictures of a batch, at most. */
const MOST = 16;
/** Moments of the camera that are in the batch, and milliseconds between them. */
const MOMENTS = 8;
const INTERVAL = 250;

/**
 * @param {(pictures: import('./pictures.js').Picture[], moving: boolean) => void} show moving: of the camera, in the places of those before
 * @param {(text: string) => void} say
 * @returns {() => void} stops the camera
 */
export function startSources(show, say) {
  const button = byId('see-camera');
  /** Rises with each new source: what arrives for an old one is left. */
  let ticket = 0;
  let stopCamera = () => {};
  const stop = () => {
    ticket++;
    stopCamera();
    stopCamera = () => {};
    button.textContent = 'Use the camera';
  };

  /** @param {File[]} files */
  async function take(files) {
    stop();
    const mine = ticket;
    const taken = [];
    const animated = [];
    const rejected = [];
    for (const file of files.slice(0, MOST))
      try {
        const image = await createImageBitmap(file);
        const name = [...file.name.replace(/\.\w+$/, '')].slice(0, 16).join('') || 'picture';
        taken.push(pictureOf(image, image.width, image.height, name));
        image.close();
        if (isAnimated(new Uint8Array(await file.arrayBuffer()))) animated.push(file.name);
      } catch {
        rejected.push(file.name);
      }
    if (mine !== ticket) return;
    if (taken.length > 0) show(taken, false);
    say(
      [
        files.length === 0 ? 'There were no files.' : '',
        files.length > MOST ? `The first ${MOST} of ${files.length} files are shown.` : '',
        animated.length > 0 ? `Of what moves, the first frame is shown: ${animated.join(', ')}.` : '',
        rejected.length > 0
          ? `Not shown: ${rejected.join(', ')}. PNG, JPEG, GIF, WebP, AVIF and BMP pictures can be, as far as this browser reads them.`
          : '',
      ]
        .filter(Boolean)
        .join(' '),
    );
  }
  byId('see-files').addEventListener('change', ({ target }) => {
    take([...target.files]);
    target.value = '';
  });
  // All of the page takes drops, so that a picture dropped elsewhere does not replace it.
  const zone = byId('see-drop');
  addEventListener('dragover', (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
  addEventListener('dragleave', () => zone.classList.remove('over'));
  addEventListener('drop', (event) => {
    event.preventDefault();
    zone.classList.remove('over');
    take([...event.dataTransfer.files]);
  });

  async function film() {
    stop();
    const mine = ticket;
    if (!navigator.mediaDevices) return say('No camera: browsers allow it only to pages on https or localhost.');
    button.textContent = 'Stop the camera';
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 320 } });
    } catch (error) {
      if (mine === ticket) {
        stop();
        say(`No camera: ${error.message}`);
      }
      return;
    }
    const end = () => stream.getTracks().forEach((track) => void track.stop());
    if (mine !== ticket) return end();
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
    video.play().catch((error) => say(`No camera: ${error.message}`));
  }
  button.addEventListener('click', () => (button.textContent === 'Use the camera' ? film() : stop()));
  return stop;
}
