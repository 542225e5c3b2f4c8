/* The eight built-in pictures, which are drawn by arithmetic, and conversions: from the visitor's images to pictures, from pictures to
 * tensors, and back. */

export const SIDE = 96;

const mix = (a, b, t) => a.map((value, k) => value + (b[k] - value) * Math.min(1, Math.max(0, t)));
const inside = (u, v, cx, cy, radius) => Math.hypot(u - cx, v - cy) < radius;

/** A random number in [0, 1), always the same for the same cell of a grid. */
function noise(i, j) {
  let h = Math.imul(i, 0x27d4eb2f) ^ Math.imul(j, 0x165667b1);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return ((h ^ (h >>> 13)) >>> 0) / 2 ** 32;
}

/** For each picture, a function from a point to its red, green and blue in [0, 1]. u goes from left to right and v from top to bottom,
 * both from 0 to 1. */
const PAINTINGS = {
  sunset(u, v) {
    if (v > 0.64) {
      const glitter = Math.abs(u - 0.5) < 0.08 + 0.25 * noise(Math.floor(v * 48), 7) * (v - 0.6) ? 0.75 : 0.1;
      return mix([0.16, 0.1, 0.3], [1, 0.62, 0.35], glitter * (1.2 - v));
    }
    if (inside(u, v, 0.5, 0.56, 0.13)) return [1, 0.93, 0.66];
    return mix([0.28, 0.16, 0.45], [1, 0.6, 0.3], v * 1.5);
  },
  hills(u, v) {
    if (v > 0.8 + 0.05 * Math.sin(9 * u)) return [0.13, 0.35, 0.13];
    if (v > 0.66 + 0.08 * Math.sin(5 * u + 2)) return [0.27, 0.52, 0.2];
    if (v > 0.52 + 0.1 * Math.sin(4 * u + 5)) return [0.5, 0.68, 0.42];
    if (inside(u, v * 1.6, 0.28, 0.34, 0.12) || inside(u, v * 1.6, 0.4, 0.38, 0.09)) return [0.98, 0.98, 1];
    return mix([0.42, 0.68, 0.95], [0.82, 0.92, 1], v * 1.6);
  },
  night(u, v) {
    if (v > 0.82 + 0.12 * noise(Math.floor(u * 14), 1) - 0.1)
      return noise(Math.floor(u * 48), Math.floor(v * 48)) > 0.9 ? [0.95, 0.8, 0.35] : [0.02, 0.02, 0.04];
    if (inside(u, v, 0.72, 0.25, 0.12) && !inside(u, v, 0.67, 0.22, 0.11)) return [0.96, 0.95, 0.85];
    if (noise(Math.floor(u * 64), Math.floor(v * 64)) > 0.985) return [0.9, 0.9, 1];
    return mix([0.02, 0.03, 0.12], [0.12, 0.14, 0.34], v);
  },
  fruit(u, v) {
    for (const [cx, cy, radius, colour] of [
      [0.34, 0.6, 0.2, [0.86, 0.12, 0.1]],
      [0.66, 0.64, 0.17, [0.98, 0.6, 0.08]],
      [0.52, 0.38, 0.15, [0.6, 0.78, 0.16]],
    ])
      if (inside(u, v, cx, cy, radius))
        return mix(
          mix(colour, [1, 1, 1], 0.7),
          mix(colour, [0, 0, 0], 0.45),
          Math.hypot(u - cx + radius / 3, v - cy + radius / 3) / (1.4 * radius),
        );
    return v > 0.62 ? mix([0.62, 0.4, 0.24], [0.42, 0.26, 0.15], noise(3, Math.floor(v * 40))) : [0.95, 0.9, 0.8];
  },
  flower(u, v) {
    const r = Math.hypot(u - 0.5, v - 0.46);
    const petal = 0.24 + 0.13 * Math.cos(7 * Math.atan2(v - 0.46, u - 0.5));
    if (r < 0.1) return mix([0.98, 0.82, 0.2], [0.75, 0.45, 0.05], r * 10);
    if (r < petal) return mix([0.98, 0.75, 0.88], [0.82, 0.2, 0.52], r / petal);
    if (Math.abs(u - 0.5) < 0.02 && v > 0.46) return [0.2, 0.5, 0.18];
    return mix([0.16, 0.36, 0.2], [0.4, 0.62, 0.34], 0.5 + 0.5 * Math.sin(6 * u + 3) * Math.cos(5 * v));
  },
  tiles(u, v) {
    const i = [0.22, 0.5, 0.82].filter((at) => u > at).length;
    const j = [0.18, 0.46, 0.76].filter((at) => v > at).length;
    if ([0.22, 0.5, 0.82].some((at) => Math.abs(u - at) < 0.015) || [0.18, 0.46, 0.76].some((at) => Math.abs(v - at) < 0.015))
      return [0.07, 0.07, 0.08];
    return [
      [0.97, 0.96, 0.92],
      [0.85, 0.12, 0.1],
      [0.97, 0.96, 0.92],
      [0.1, 0.22, 0.62],
      [0.97, 0.8, 0.12],
      [0.97, 0.96, 0.92],
      [0.72, 0.76, 0.8],
    ][(3 * i + 5 * j) % 7];
  },
  waves(u, v) {
    const wave = 0.5 + 0.5 * Math.sin(12 * v + 4 * Math.sin(5 * u));
    return mix([0.02, 0.22, 0.42], [0.62, 0.92, 0.9], wave * wave);
  },
  snow(u, v) {
    for (const [x, height] of [
      [0.2, 0.55],
      [0.46, 0.7],
      [0.76, 0.48],
    ]) {
      const down = (v - (0.86 - height)) / height;
      if (down > 0 && down < 1 && Math.abs(u - x) < 0.15 * (down * 3 - Math.floor(down * 3) * 0.55) * 0.62)
        return mix([0.1, 0.3, 0.26], [0.86, 0.93, 0.95], noise(Math.floor(u * 30), Math.floor(v * 30)) > 0.7 ? 0.8 : 0.1);
    }
    return v > 0.8 ? [0.97, 0.98, 1] : mix([0.75, 0.84, 0.93], [0.93, 0.95, 0.98], v);
  },
};

/**
 * @typedef {object} Picture
 * @property {string} name
 * @property {Uint8ClampedArray} pixels red, green, blue and alpha of SIDE · SIDE pixels
 */

/** Draws the built-in pictures. It yields them one at a time, since each takes some time. A pixel is the mean of four points, so that
 * edges are smooth. */
export function* builtInPictures() {
  for (const [name, paint] of Object.entries(PAINTINGS)) {
    const pixels = new Uint8ClampedArray(4 * SIDE * SIDE);
    for (let y = 0, byte = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++, byte += 4) {
        let [red, green, blue] = [0, 0, 0];
        for (let k = 0; k < 4; k++) {
          const [r, g, b] = paint((x + 0.25 + (k & 1) / 2) / SIDE, (y + 0.25 + (k >> 1) / 2) / SIDE);
          red += r;
          green += g;
          blue += b;
        }
        pixels[byte] = Math.round((255 * red) / 4);
        pixels[byte + 1] = Math.round((255 * green) / 4);
        pixels[byte + 2] = Math.round((255 * blue) / 4);
        pixels[byte + 3] = 255;
      }
    yield/** @type {Picture} */ ({ name, pixels });
  }
}

/**
 * The central square of an image or of a video's current frame, as a picture.
 * @param {ImageBitmap | HTMLVideoElement} image @param {number} width @param {number} height of the image
 * @param {string} name
 * @returns {Picture}
 */
export function pictureOf(image, width, height, name) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  const side = Math.min(width, height);
  context.fillStyle = 'white'; // behind transparent pixels
  context.fillRect(0, 0, SIDE, SIDE);
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  return { name, pixels: context.getImageData(0, 0, SIDE, SIDE).data };
}

/** The pictures as a tensor of shape [B, 3, SIDE, SIDE], with values from 0 to 1. @param {Picture[]} pictures */
export function tensorOf(pictures) {
  const plane = SIDE * SIDE;
  const data = new Float32Array(pictures.length * 3 * plane);
  pictures.forEach(({ pixels }, b) => {
    for (let c = 0; c < 3; c++) for (let i = 0; i < plane; i++) data[(3 * b + c) * plane + i] = pixels[4 * i + c] / 255;
  });
  return { data, shape: [pictures.length, 3, SIDE, SIDE] };
}

/**
 * Image b of a tensor with three channels, as pixels for a canvas. `low` becomes black, and `high` white.
 * @param {{ data: Float32Array, shape: number[] }} tensor @param {number} b @param {number} low @param {number} high
 */
export function pixelsOf({ data, shape: [, , height, width] }, b, low, high) {
  const plane = height * width;
  const image = new ImageData(width, height);
  // One 32-bit word per pixel is faster than four bytes. Alpha is its highest byte, since all machines with browsers are little-endian.
  const words = new Uint32Array(image.data.buffer);
  const scale = 255 / (high - low);
  const toByte = (value) => Math.max(0, Math.min(255, (value - low) * scale + 0.5)) | 0;
  for (let i = 0, red = 3 * b * plane; i < plane; i++, red++)
    words[i] = 0xff000000 | (toByte(data[red + 2 * plane]) << 16) | (toByte(data[red + plane]) << 8) | toByte(data[red]);
  return image;
}
