/* Feature maps of pictures. The worker computes them; this file keeps them and paints them as tiles. */
import { FILTERS } from './filters.js';
import { SIDE, tensorOf } from './pictures.js';
import { runJob } from './work.js';

/** The width and height of a feature map, and the number of its values. */
const MAP_SIDE = SIDE / 2;
const MAP_SIZE = MAP_SIDE * MAP_SIDE;

/** From a picture's pixels to its feature maps. @type {WeakMap<Uint8ClampedArray, Float32Array>} */
const kept = new WeakMap();

export const hasMaps = ({ pixels }) => kept.has(pixels);

/**
 * Computes the feature maps of pictures, and shows the progress in an element (see runJob).
 * @returns {Promise<boolean>} false if the visitor stopped it
 */
export async function computeMaps(pictures, element) {
  const result = await runJob(element, 'features', tensorOf(pictures));
  pictures.forEach(({ pixels }, b) => {
    if (result !== undefined) kept.set(pixels, result.data.subarray(b * FILTERS * MAP_SIZE, (b + 1) * FILTERS * MAP_SIZE));
  });
  return result !== undefined;
}

/** The first `channels` feature maps of each picture, as a tensor. They must have been computed. */
export function mapsOf(pictures, channels) {
  const data = new Float32Array(pictures.length * channels * MAP_SIZE);
  pictures.forEach(({ pixels }, b) => {
    data.set(kept.get(pixels).subarray(0, channels * MAP_SIZE), b * channels * MAP_SIZE);
  });
  return { data, shape: [pictures.length, channels, MAP_SIDE, MAP_SIDE] };
}

/**
 * Paints all channels of image b as tiles, two pixels apart. The colours go from blue for −limit through grey for 0 to orange for
 * limit, so that both signs stand out in light and in dark. The tile of one channel is outlined.
 */
export function paintTiles(canvas, { data, shape: [, channels] }, b, limit, outlined) {
  const across = Math.sqrt(channels);
  const side = across * (MAP_SIDE + 2);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, side, side);
  const tile = new ImageData(MAP_SIDE, MAP_SIDE);
  for (let c = 0; c < channels; c++) {
    const begin = (b * channels + c) * MAP_SIZE;
    for (let i = 0, byte = 0; i < MAP_SIZE; i++, byte += 4) {
      const t = Math.max(-1, Math.min(1, data[begin + i] / limit));
      tile.data[byte] = 128 + (t > 0 ? 122 : 110) * t;
      tile.data[byte + 1] = 128 + (t > 0 ? 20 : -10) * t;
      tile.data[byte + 2] = 128 - (t > 0 ? 110 : 122) * t;
      tile.data[byte + 3] = 255;
    }
    const [x, y] = [(c % across) * (MAP_SIDE + 2) + 1, Math.floor(c / across) * (MAP_SIDE + 2) + 1];
    if (c === outlined) {
      context.fillStyle = getComputedStyle(canvas).color;
      context.fillRect(x - 1, y - 1, MAP_SIDE + 2, MAP_SIDE + 2);
    }
    context.putImageData(tile, x, y);
  }
}
