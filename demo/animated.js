/* Tells whether a picture file is animated. Browsers decode its first frame, and do not say whether there are more. */

const textAt = (bytes, offset, length) => String.fromCharCode(...bytes.subarray(offset, offset + length));

/** The first bytes of a GIF's blocks. */
const EXTENSION = 0x21;
const FRAME = 0x2c;

/** Counts the frames of a GIF by going from block to block, without decoding a pixel. */
function countGifFrames(bytes) {
  const colourTableSize = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let offset = 13 + colourTableSize(bytes[10]);
  let frames = 0;
  const skipBlocks = () => {
    while (bytes[offset] > 0) offset += bytes[offset] + 1;
    offset++;
  };
  while (offset < bytes.length) {
    const kind = bytes[offset];
    if (kind === EXTENSION) offset += 2;
    else if (kind === FRAME) {
      frames++;
      offset += 11 + colourTableSize(bytes[offset + 9]);
    } else break;
    skipBlocks();
  }
  return frames;
}

/** Whether a PNG has a chunk of this name before its pixels. */
function hasChunk(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 8; offset + 8 <= bytes.length; offset += 12 + view.getUint32(offset)) {
    const kind = textAt(bytes, offset + 4, 4);
    if (kind === name) return true;
    if (kind === 'IDAT') return false;
  }
  return false;
}

/** Whether a GIF, PNG, WebP or AVIF file is animated. @param {Uint8Array} bytes the whole file */
export function isAnimated(bytes) {
  if (/^GIF8/.test(textAt(bytes, 0, 6))) return countGifFrames(bytes) > 1;
  if (textAt(bytes, 1, 3) === 'PNG') return hasChunk(bytes, 'acTL');
  if (textAt(bytes, 0, 4) === 'RIFF' && textAt(bytes, 8, 8) === 'WEBPVP8X') return (bytes[20] & 2) !== 0;
  return textAt(bytes, 4, 8) === 'ftypavis';
}
