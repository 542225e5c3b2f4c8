/* A small fixed bank of convolution filters, as the first layer of a network might learn them: edges and bars in eight
 * directions at two widths, in brightness and in colour, and blobs. */

const SIZE = 5;
const TAPS = SIZE * SIZE;

/** Weights of red, green and blue: brightness, red against green, blue against yellow. */
const COLOURS = [
  [1 / 3, 1 / 3, 1 / 3],
  [0.5, -0.5, 0],
  [-0.25, -0.25, 0.5],
];

/** Channels of the whole bank. */
export const BANK = 64;

/** Filter k of the bank: SIZE · SIZE weights for red, then green, then blue. @param {number} k */
export function filter(k) {
  // Neighbouring channels differ in kind, so that any 16 in a row have some of each.
  const kind = k % 4;
  const step = Math.floor(k / 4);
  const angle = (Math.PI * (step % 8)) / 8;
  const wide = step >= 8;
  const weights = new Float32Array(3 * TAPS);
  const colour = COLOURS[kind === 3 ? step % 3 : kind === 2 ? 1 + (step % 2) : 0];
  const at = new Float32Array(TAPS);
  for (let y = -2, i = 0; y <= 2; y++)
    for (let x = -2; x <= 2; x++, i++) {
      const along = x * Math.cos(angle) + y * Math.sin(angle);
      const r2 = x * x + y * y;
      const window = Math.exp(-r2 / (wide ? 5 : 2.5));
      if (kind === 3) at[i] = Math.exp(-r2 / (1 + 0.2 * step)) * (step % 2 ? 1 : -1);
      else at[i] = window * (kind === 1 ? Math.cos(along * (wide ? 1.4 : 2.2)) : Math.sin(along * (wide ? 0.9 : 1.6)));
    }
  // Bars have mean 0; blobs keep theirs, so that channels differ in mean as those of networks do.
  const mean = kind === 3 ? 0 : at.reduce((sum, value) => sum + value, 0) / TAPS;
  // Networks do not learn filters of equal strength either.
  const strength = 0.15 * 1.06 ** ((k * 37) % BANK);
  for (let c = 0; c < 3; c++) for (let i = 0; i < TAPS; i++) weights[c * TAPS + i] = strength * colour[c] * (at[i] - mean);
  return weights;
}

/**
 * Image b of X through the first `channels` filters, at every second point: [1, channels, H/2, W/2]. Beyond its edges the
 * image goes on as its last pixels.
 * @param {{ data: Float32Array, shape: number[] }} X [B, 3, H, W] @param {number} b @param {number} channels
 * @returns {Float32Array}
 */
export function convolve({ data, shape: [, , height, width] }, b, channels) {
  const plane = height * width;
  const [rows, columns] = [height / 2, width / 2];
  const output = new Float32Array(channels * rows * columns);
  const bank = Array.from({ length: channels }, (_, k) => filter(k));
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
        const weights = bank[k];
        let sum = 0;
        for (let p = 0; p < patch.length; p++) sum += weights[p] * patch[p];
        output[(k * rows + y) * columns + x] = sum;
      }
    }
  return output;
}
