/* Whether a picture's file moves: browsers decode its first frame, and do not say that there are more. */

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

/** The extents of a GIF's frames, from block to block; no pixel is decoded. */
function framesOfGif(bytes) {
  const table = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let at = 13 + table(bytes[10]);
  let frames = 0;
  const skipBlocks = () => {
    while (bytes[at] > 0) at += bytes[at] + 1;
    at++;
  };
  while (at < bytes.length) {
    const kind = bytes[at];
    if (kind === 0x21) at += 2;
    else if (kind === 0x2c) {
      frames++;
      at += 11 + table(bytes[at + 9]);
    } else break;
    skipBlocks();
  }
  return frames;
}

/** Whether a chunk of this name comes before the pixels of a PNG. */
function hasChunk(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = text(bytes, at + 4, 4);
    if (kind === name) return true;
    if (kind === 'IDAT') return false;
  }
  return false;
}

/** @param {Uint8Array} bytes of a file */
export function isAnimated(bytes) {
  if (/^GIF8/.test(text(bytes, 0, 6))) return framesOfGif(bytes) > 1;
  if (text(bytes, 1, 3) === 'PNG') return hasChunk(bytes, 'acTL');
  if (text(bytes, 0, 4) === 'RIFF' && text(bytes, 8, 8) === 'WEBPVP8X') return (bytes[20] & 2) !== 0;
  return text(bytes, 4, 8) === 'ftypavis';
}
