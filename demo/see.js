/* "See it": a batch of pictures before and after, as colours or as feature maps. */
import { batchNormalization } from '../js/index.js';
import { byId, chosen, codeBlock, element, fillTable, number, onChoice, perFrame, slider } from './page.js';
import { builtInPictures, pictureOf, pixelsOf, SIDE, tensorOf } from './pictures.js';
import { createPlot } from './plot.js';
import { workShown } from './work.js';

const COLOURS = ['red', 'green', 'blue'];
/** Bins of a histogram, from LOW to HIGH. */
const BINS = 80;
const LOW = -4;
const HIGH = 4;
/** What the maps show: values from −limit to limit. */
const BEFORE = 0.5;
const AFTER = 2.5;

/** The statistics of each channel, by the package: with momentum 0 the running ones are the batch's own. */
function statistics(tensor) {
  const [, mean, variance] = batchNormalization(tensor, null, null, null, null, 0);
  return { mean: mean.data, variance: variance.data };
}

/** The share of a channel's values in each bin. */
function histogram({ data, shape: [batch, channels, height, width] }, c) {
  const bins = new Float64Array(BINS);
  const spatial = height * width;
  for (let b = 0; b < batch; b++) {
    const begin = (b * channels + c) * spatial;
    for (let i = begin; i < begin + spatial; i++) {
      const bin = Math.floor(((data[i] - LOW) / (HIGH - LOW)) * BINS);
      if (bin >= 0 && bin < BINS) bins[bin]++;
    }
  }
  return bins.map((count) => (100 * count) / (batch * spatial));
}

export function startSee() {
  const builtIn = builtInPictures();
  let pictures = builtIn;
  /** Those taken out of the batch. */
  let left = new Set();
  /** Feature maps of the pictures in the batch, and of the built-in ones: while null, they are on their way. */
  let features = null;
  const running = { 3: statistics(tensorOf(builtIn)) };
  let camera = null;

  const draw = perFrame(update);
  const gamma = slider('see-gamma', (value) => number(value, 2), draw);
  const beta = slider('see-beta', (value) => number(value, 2), draw);
  const epsilon = slider('see-epsilon', (value) => (10 ** value).toPrecision(2), draw);
  const map = slider('see-map', (value) => String(value), draw);
  onChoice('see-mode', draw);
  onChoice('see-channels', () => {
    byId('see-map').max = String(Number(chosen('see-channels')) - 1);
    map.value = Math.min(map.value, Number(chosen('see-channels')) - 1);
    refresh();
  });
  byId('see-channel').addEventListener('change', draw);
  byId('see-picture').addEventListener('change', draw);
  byId('see-reset').addEventListener('click', () => {
    [gamma.value, beta.value, epsilon.value] = [1, 0, -5];
    byId('see-channel').value = '-1';
    left.clear();
    refresh();
  });
  byId('see-built-in').addEventListener('click', () => {
    stopCamera();
    setPictures(builtIn);
  });

  const xs = Float64Array.from({ length: BINS }, (_, k) => LOW + (k * (HIGH - LOW)) / BINS);
  // One for each colour, and one for a feature map.
  const plots = [...COLOURS, 'accent'].map((name) => {
    const container = byId('see-histograms').appendChild(element('div'));
    const own = name === 'accent' ? 'the channel' : name;
    return {
      container,
      plot: createPlot(container, {
        label: `Histogram of ${own}, before and after: its numbers are in the table below`,
        height: 150,
        series: [
          { label: `${own} before`, colour: 'muted', dash: [4, 3], stepped: true, width: 1.5 },
          { label: 'after', colour: name, stepped: true, fill: true },
        ],
        scales: { x: { range: [LOW, HIGH] }, y: { range: (_, __, most) => [0, Math.max(1, most)] } },
        axes: { y: { size: 44, values: (_, ticks) => ticks.map((tick) => `${tick} %`) } },
      }),
    };
  });
  const showCode = codeBlock(byId('see-code'));

  /** The pictures' buttons, and their canvases. */
  let cards = [];
  function setPictures(list) {
    pictures = list;
    left = new Set();
    cards = pictures.map(({ name, pixels }, b) => {
      const canvases = [0, 1].map(() => element('canvas', { width: SIDE, height: SIDE }));
      canvases[0].getContext('2d').putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
      const button = element('button', { type: 'button', className: 'picture' }, ...canvases, name);
      button.addEventListener('click', () => {
        if (!left.delete(b)) left.add(b);
        refresh();
      });
      return { button, after: canvases[1] };
    });
    byId('see-pictures').replaceChildren(...cards.map(({ button }) => button));
    refresh();
  }

  const inBatch = () => pictures.filter((_, b) => !left.has(b));

  /** After a change of the batch: feature maps come from the worker, and only the last asked for counts. */
  let asked = 0;
  async function refresh() {
    const mine = ++asked;
    features = null;
    const wanted = chosen('see-channels') !== '3' && inBatch().length > 0;
    const picture = byId('see-picture');
    const before = picture.selectedOptions[0]?.textContent ?? 'flower';
    picture.replaceChildren(...inBatch().map(({ name }, b) => element('option', { value: String(b) }, name)));
    const same = [...picture.options].find((option) => option.textContent === before);
    if (same) same.selected = true;
    draw();
    if (!wanted) return;
    try {
      if (running[64] === undefined) {
        const own = await workShown(byId('see-work'), 'features', tensorOf(builtIn));
        if (own === undefined) return void stopped();
        running[64] = statistics(own);
        if (mine === asked && pictures === builtIn && left.size === 0) features = own;
      }
      if (mine !== asked) return;
      features ??= await workShown(byId('see-work'), 'features', tensorOf(inBatch()));
      if (features === undefined) return void stopped();
      if (mine === asked) draw();
    } catch (error) {
      byId('see-status').textContent = `The feature maps could not be computed: ${error.message}`;
    }
  }
  function stopped() {
    features = null;
    document.querySelector('input[name="see-channels"][value="3"]').checked = true;
    byId('see-status').textContent = 'Stopped: colours again.';
    draw();
  }

  /** The batch and what is known of it: gathered once, as sliders leave it as it is. */
  let gathered = null;
  function gather(count) {
    const source = count === 3 ? pictures : features;
    if (gathered?.source !== source || gathered.count !== count || gathered.asked !== asked) {
      const X = count === 3 ? tensorOf(inBatch()) : firstChannels(features, count);
      gathered = { source, count, asked, X, statistics: statistics(X), histograms: [] };
    }
    return gathered;
  }

  /** The first channels of the feature maps, as a tensor of their own. */
  function firstChannels({ data, shape: [batch, all, height, width] }, channels) {
    const size = channels * height * width;
    const own = new Float32Array(batch * size);
    for (let b = 0; b < batch; b++) own.set(data.subarray(b * all * height * width, b * all * height * width + size), b * size);
    return { data: own, shape: [batch, channels, height, width] };
  }

  let latest = null;
  function update() {
    const count = Number(chosen('see-channels'));
    const training = chosen('see-mode') === 'training';
    const maps = count !== 3;
    byId('see-maps').hidden = !maps;
    byId('see-which').hidden = maps;
    byId('see-pictures').classList.toggle('maps-below', maps);
    cards.forEach(({ button }, b) => void button.setAttribute('aria-pressed', String(!left.has(b))));
    const batch = inBatch();
    byId('see-status').textContent = batch.length === 0 ? 'The batch is empty: click a picture to put it in.' : '';
    if (batch.length === 0 || (maps && !features)) return;

    const { X, statistics: before, histograms } = gather(count);
    const which = maps ? -1 : Number(byId('see-channel').value);
    const perChannel = (value, otherwise) =>
      Float32Array.from({ length: count }, (_, c) => (which < 0 || which === c ? value : otherwise));
    const { mean, variance } = running[maps ? 64 : 3];
    const began = performance.now();
    const [output] = batchNormalization(
      X,
      perChannel(gamma.value, 1),
      perChannel(beta.value, 0),
      training ? null : mean.slice(0, count),
      training ? null : variance.slice(0, count),
      0.1,
      10 ** epsilon.value,
      training,
    );
    const took = performance.now() - began;
    latest = { X, output, maps };

    const shown = maps ? [map.value] : [0, 1, 2];
    const after = statistics(output);
    const name = (c) => (maps ? `channel ${c}` : COLOURS[c]);
    fillTable(
      byId('see-numbers'),
      shown.map((c) => [
        element('span', maps ? {} : { className: 'swatch', style: `--hue: var(--${COLOURS[c]})` }, name(c)),
        ...[before, after].flatMap((of) => [number(of.mean[c]), number(Math.sqrt(of.variance[c]))]),
      ]),
    );
    plots.forEach(({ container, plot }, k) => {
      const c = maps ? map.value : k;
      container.hidden = maps !== (k === COLOURS.length);
      if (container.hidden) return;
      histograms[c] ??= histogram(X, c);
      plot.show([xs, histograms[c], histogram(output, c)]);
    });
    if (maps) paintMaps();
    else paintPictures(output);
    byId('see-mode-note').textContent = training
      ? 'Training: mean and variance are those of this batch, so that each picture’s result depends on its company.'
      : 'Inference: mean and variance are the running ones, gathered from the eight built-in pictures, so that a picture’s result is its own.';
    byId('see-caption').textContent = maps
      ? `Feature maps of one picture: each tile is one of ${count} channels, the outlined one is in the histogram and the table. Grey is 0.`
      : 'Above each picture as it is, below as the network sees it: −2 is black, 2 is white.';
    byId('see-time').textContent =
      `${X.data.length.toLocaleString('en')} values of shape [${X.shape.join(', ')}], normalized in ${took > 0 ? `${took.toFixed(2)} ms` : 'less time than this browser’s clock tells'}.`;
    showCode(codeOf({ training, which, count, shape: X.shape }));
  }

  function codeOf({ training, which, count, shape }) {
    const values = (value, otherwise) =>
      which < 0
        ? `new Float32Array(${count}).fill(${value})`
        : `[${COLOURS.map((_, c) => (c === which ? value : otherwise)).join(', ')}]`;
    return `import { batchNormalization } from 'batchnorm';

// X.data holds the batch, image after image, each channel after channel
const X = { data, shape: [${shape.join(', ')}] };
const gamma = ${values(gamma.value, 1)};
const beta = ${values(beta.value, 0)};
const epsilon = ${(10 ** epsilon.value).toPrecision(2)};

${
  training
    ? `// training: the batch's own mean and variance
const [output, runningMean, runningVar] =
  batchNormalization(X, gamma, beta, null, null, 0.1, epsilon, true);`
    : `// inference: the running mean and variance, from training
const [output] =
  batchNormalization(X, gamma, beta, runningMean, runningVar, 0.1, epsilon, false);`
}`;
  }

  function paintPictures(output) {
    let b = 0;
    cards.forEach(({ after }, k) => {
      const context = after.getContext('2d');
      if (left.has(k)) context.clearRect(0, 0, SIDE, SIDE);
      else context.putImageData(new ImageData(pixelsOf(output, b++, -2, 2), SIDE, SIDE), 0, 0);
    });
  }

  /** All channels of one picture as tiles, a pixel apart. */
  function paintMaps() {
    if (!latest?.maps) return;
    const b = Math.max(0, Number(byId('see-picture').value));
    for (const [id, { data, shape }, limit] of [
      ['see-before', latest.X, BEFORE],
      ['see-after', latest.output, AFTER],
    ]) {
      const [, channels, height, width] = shape;
      const across = Math.sqrt(channels);
      const canvas = byId(id);
      canvas.width = across * (width + 2);
      canvas.height = across * (height + 2);
      const context = canvas.getContext('2d');
      for (let c = 0; c < channels; c++) {
        const tile = new ImageData(width, height);
        const begin = (b * channels + c) * height * width;
        for (let i = 0; i < height * width; i++) {
          const t = Math.max(-1, Math.min(1, data[begin + i] / limit));
          // Grey at 0, so that both signs stand out on light and dark.
          tile.data[4 * i] = 128 + (t > 0 ? 122 * t : 110 * t);
          tile.data[4 * i + 1] = 128 + (t > 0 ? 20 * t : 10 * -t);
          tile.data[4 * i + 2] = 128 + (t > 0 ? -110 * t : 122 * -t);
          tile.data[4 * i + 3] = 255;
        }
        const [x, y] = [(c % across) * (width + 2) + 1, Math.floor(c / across) * (height + 2) + 1];
        if (c === map.value) {
          context.fillStyle = getComputedStyle(canvas).color;
          context.fillRect(x - 1, y - 1, width + 2, height + 2);
        }
        context.putImageData(tile, x, y);
      }
    }
  }
  for (const id of ['see-before', 'see-after'])
    byId(id).addEventListener('click', ({ offsetX, offsetY, target }) => {
      const across = Math.sqrt(Number(chosen('see-channels')));
      const at = (offset, size) => Math.min(across - 1, Math.floor((offset / size) * across));
      map.value = at(offsetY, target.clientHeight) * across + at(offsetX, target.clientWidth);
      draw();
    });

  /** @param {Iterable<File>} files */
  async function take(files) {
    const taken = [];
    const refused = [];
    for (const file of [...files].slice(0, 16))
      try {
        const image = await createImageBitmap(file);
        taken.push(pictureOf(image, image.width, image.height, file.name.replace(/\.\w+$/, '').slice(0, 16)));
      } catch {
        refused.push(file.name);
      }
    stopCamera();
    if (taken.length > 0) setPictures(taken);
    if (refused.length > 0)
      requestAnimationFrame(() => {
        byId('see-status').textContent = `This browser reads no picture from ${refused.join(', ')}.`;
      });
  }
  byId('see-files').addEventListener('change', ({ target }) => {
    take(target.files);
    target.value = '';
  });
  const zone = byId('see-drop');
  for (const type of ['dragenter', 'dragover'])
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.add('over');
    });
  zone.addEventListener('dragleave', () => zone.classList.remove('over'));
  zone.addEventListener('drop', (event) => {
    event.preventDefault();
    zone.classList.remove('over');
    take(event.dataTransfer.files);
  });

  function stopCamera() {
    if (camera === null) return;
    clearInterval(camera.timer);
    for (const track of camera.stream.getTracks()) track.stop();
    camera = null;
    byId('see-camera').textContent = 'Use the camera';
  }
  byId('see-camera').addEventListener('click', async () => {
    if (camera !== null) return stopCamera();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 320 } });
    } catch (error) {
      byId('see-status').textContent = `No camera: ${error.message}`;
      return;
    }
    const video = element('video', { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    // The batch is the last eight moments, the newest first.
    const moments = [];
    const timer = setInterval(() => {
      if (features === null && chosen('see-channels') !== '3' && moments.length > 0) return;
      moments.unshift(pictureOf(video, video.videoWidth, video.videoHeight, ''));
      moments.length = Math.min(8, moments.length);
      setPictures(moments.map(({ pixels }, k) => ({ name: k === 0 ? 'now' : `${(k / 4).toFixed(2)} s ago`, pixels })));
    }, 250);
    camera = { stream, timer };
    byId('see-camera').textContent = 'Stop the camera';
  });

  setPictures(builtIn);
  return { repaint: paintMaps };
}
