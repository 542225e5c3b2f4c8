/* The reader. `read(shard)` yields the values of one shard, piece by piece, as tensors whose channels are the second dimension. So a
 * shard may be larger than memory. To read other data, write another such module, and set READER to its path. */
import { open } from 'node:fs/promises';

/** Values per piece: 4 MB. */
const PIECE = 2 ** 20;

/**
 * A shard is either a file of float32 values in the processor's byte order, `channels` of them per row:
 *   { file: '/data/part-00017.f32', channels: 64 }
 * or random rows, the same ones for the same seed:
 *   { seed: 17, rows: 100000, channels: 64 }
 */
export async function* read(shard) {
  if (!(Number.isInteger(shard.channels) && shard.channels > 0))
    throw new Error(`channels must be the number of values per row; got ${JSON.stringify(shard.channels)}`);
  const rows = Math.max(1, Math.floor(PIECE / shard.channels));
  yield* shard.file === undefined ? random(shard, rows) : rowsOf(shard, rows);
}

async function* rowsOf({ file, channels }, rows) {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    if (size % (4 * channels) !== 0) throw new Error(`${file} has ${size} bytes, which is no whole number of rows`);
    let at = 0;
    do {
      const data = new Float32Array(Math.min(rows * channels, (size - at) / 4));
      const bytes = new Uint8Array(data.buffer);
      for (let filled = 0; filled < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, at + filled);
        if (bytesRead === 0) throw new Error(`${file} became shorter while it was read`);
        filled += bytesRead;
      }
      at += bytes.length;
      yield { data, shape: [data.length / channels, channels] };
    } while (at < size); // an empty file gives an empty tensor
  } finally {
    await handle.close();
  }
}

/** Channel c has mean 100 · c and deviation 0.01 to 1, and drifts from seed to seed, so that shards differ. */
function* random({ seed, rows: total, channels }, rows) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let done = 0; done < total; done += rows) {
    const data = new Float32Array(channels * Math.min(rows, total - done));
    for (let i = 0; i < data.length; i++) {
      const c = i % channels;
      data[i] = 100 * c + 10 ** -(c % 3) * (uniform() + uniform() + uniform() - 1.5 + Math.sin(seed));
    }
    yield { data, shape: [data.length / channels, channels] };
  }
}
