/* Feature maps of pictures: computed by the worker, kept, and painted as tiles. */
import { BANK } from './filters.js';
import { SIDE, tensorOf } from './pictures.js';
import { work } from './work.js';

const MAP = SIDE / 2;
const SIZE = MAP * MAP;

/** By a picture's pixels. @type {WeakMap<Uint8ClampedArray, Float32Array>} */
const known = new WeakMap();

export const hasMaps = ({ pixels }) => known.has(pixels);

/**
 * Filters pictures, with progress shown in an element.
 * @returns {Promise<boolean>} whether it came to its end
 */
export async function computeMaps(pictures, element) {
  const result = await work(element, 'features', tensorOf(pictures));
  pictures.forEach(({ pixels }, b) => {
    if (result !== undefined) known.set(pixels, result.data.subarray(b * BANK * SIZE, (b + 1) * BANK * SIZE));
  });
  return result !== undefined;
}

/** The first channels of pictures whose maps are known, as a tensor. */
export function mapsOf(pictures, channels) {
  const data = new Float32Array(pictures.length * channels * SIZE);
  pictures.forEach(({ pixels }, b) => void data.set(known.get(pixels).subarray(0, channels * SIZE), b * channels * SIZE));
  return { data, shape: [pictures.length, channels, MAP, MAP] };
}

/**
 * All channels of image b as tiles, a pixel apart: −limit blue, 0 grey, so that both signs stand out on light and dark, limit
 * orange. One is outlined.
 */
export function paintTiles(canvas, { data, shape: [, channels] }, b, limit, outlined) {
  const across = Math.sqrt(channels);
  const side = across * (MAP + 2);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, side, side);
  const tile = new ImageData(MAP, MAP);
  for (let c = 0; c < channels; c++) {
    const begin = (b * channels + c) * SIZE;
    for (let i = 0, at = 0; i < SIZE; i++, at += 4) {
      const t = Math.max(-1, Math.min(1, data[begin + i] / limit));
      tile.data[at] = 128 + (t > 0 ? 122 : 110) * t;
      tile.data[at + 1] = 128 + (t > 0 ? 20 : -10) * t;
      tile.data[at + 2] = 128 - (t > 0 ? 110 : 122) * t;
      tile.data[at + 3] = 255;
    }
    const [x, y] = [(c % across) * (MAP + 2) + 1, Math.floor(c / across) * (MAP + 2) + 1];
    if (c === outlined) {
      context.fillStyle = getComputedStyle(canvas).color;
      context.fillRect(x - 1, y - 1, MAP + 2, MAP + 2);
    }
    context.putImageData(tile, x, y);
  }
}
