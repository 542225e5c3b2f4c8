/* Seeded data. */

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normally distributed numbers from a seed (Box and Muller). */
export function seededNormal(seed, mean = 0, deviation = 1) {
  const uniform = seeded(seed);
  return () => mean + deviation * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** A tensor filled by `next(i)`. */
export const tensor = (shape, next) => ({ data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => next(i)), shape });

export const normalTensor = (shape, seed = 1, mean = 0, deviation = 1) => tensor(shape, seededNormal(seed, mean, deviation));

/** Numbers per channel in a fixed, uneven pattern; all are exact in float32. */
export const parametersFor = (channels) => {
  const pattern = (values) => Float32Array.from({ length: channels }, (_, c) => values[c % values.length]);
  return {
    gamma: pattern([1.5, -0.75, 0, 2.25, 1]),
    beta: pattern([0.5, -3, 1.25, 0]),
    runningMean: pattern([0.25, -1, 0]),
    runningVar: pattern([1.5, 0.0625, 4, 1]),
  };
};

/** Random shapes in either layout, of more than 128 values, so that the kernel computes them. */
export function* randomShapes(seed, count) {
  const next = seeded(seed);
  const upTo = (most) => 1 + Math.floor(next() * most);
  for (let k = 0; k < count; ) {
    const shape = [upTo(40), upTo(20), upTo(12), upTo(12)];
    if (sizeOf(shape) <= 128) continue;
    yield shape;
    k++;
  }
}
