/* A small, fixed set of convolution filters, similar to those that the first layer of a network learns: edges and bars in eight
 * directions and two widths, for brightness and for colour, and blobs. */

const SIZE = 5;
const TAPS = SIZE * SIZE;

/** The weights of red, green and blue, for brightness, for red minus green, and for blue minus yellow. */
const COLOURS = [
  [1 / 3, 1 / 3, 1 / 3],
  [0.5, -0.5, 0],
  [-0.25, -0.25, 0.5],
];

/** The number of filters, and so of channels in a feature map tensor. */
export const FILTERS = 64;

/** The weights of filter k: SIZE · SIZE of them for red, then for green, then for blue. @param {number} k */
export function filter(k) {
  // Neighbouring filters are of different kinds, so that the first 16 have some of each.
  const kind = k % 4;
  const variant = Math.floor(k / 4);
  const angle = (Math.PI * (variant % 8)) / 8;
  const wide = variant >= 8;
  const weights = new Float32Array(3 * TAPS);
  const colour = COLOURS[kind === 3 ? variant % 3 : kind === 2 ? 1 + (variant % 2) : 0];
  const profile = new Float32Array(TAPS);
  for (let y = -2, i = 0; y <= 2; y++)
    for (let x = -2; x <= 2; x++, i++) {
      const along = x * Math.cos(angle) + y * Math.sin(angle);
      const r2 = x * x + y * y;
      const envelope = Math.exp(-r2 / (wide ? 5 : 2.5));
      if (kind === 3) profile[i] = Math.exp(-r2 / (1 + 0.2 * variant)) * (variant % 2 ? 1 : -1);
      else profile[i] = envelope * (kind === 1 ? Math.cos(along * (wide ? 1.4 : 2.2)) : Math.sin(along * (wide ? 0.9 : 1.6)));
    }
  // Edges and bars get a mean of 0. Blobs keep their mean, so that the means of the channels differ, as they do in networks.
  const mean = kind === 3 ? 0 : profile.reduce((sum, value) => sum + value, 0) / TAPS;
  // The strengths differ, as they do in networks.
  const strength = 0.15 * 1.06 ** ((k * 37) % FILTERS);
  for (let c = 0; c < 3; c++) for (let i = 0; i < TAPS; i++) weights[c * TAPS + i] = strength * colour[c] * (profile[i] - mean);
  return weights;
}

/**
 * Applies the first `channels` filters to image b of X, at every second point: [1, channels, H/2, W/2]. Beyond the edges of the
 * image, its outermost pixels are repeated.
 * @param {{ data: Float32Array, shape: number[] }} X [B, 3, H, W] @param {number} b @param {number} channels
 * @returns {Float32Array}
 */
export function convolve({ data, shape: [, , height, width] }, b, channels) {
  const plane = height * width;
  const [rows, columns] = [height / 2, width / 2];
  const output = new Float32Array(channels * rows * columns);
  const filters = Array.from({ length: channels }, (_, k) => filter(k));
  const patch = new Float32Array(3 * TAPS);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      for (let c = 0, p = 0; c < 3; c++)
        for (let dy = -2; dy <= 2; dy++)
          for (let dx = -2; dx <= 2; dx++, p++) {
            const row = Math.min(height - 1, Math.max(0, 2 * y + dy));
            const column = Math.min(width - 1, Math.max(0, 2 * x + dx));
            patch[p] = data[(3 * b + c) * plane + row * width + column];
          }
      for (let k = 0; k < channels; k++) {
        const weights = filters[k];
        let sum = 0;
        for (let p = 0; p < patch.length; p++) sum += weights[p] * patch[p];
        output[(k * rows + y) * columns + x] = sum;
      }
    }
  return output;
}
