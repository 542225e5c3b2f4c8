/* Plans at work: random calls in random memory. Each call of a kernel function is checked against src/batchnorm.h, and only the
 * regions that it names may change. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalizeBy } from '../js/forward.js';
import { differentiateBy } from '../js/gradient.js';
import { normalTensor, seeded } from './data.js';
import { assertSameBits, LEAST, makeKernel, POSITIONS, rowsOfBlock } from './helpers.js';

/* ---- the header's rules ------------------------------------------------------------------------------------------------ */

/** A part of the memory: rows of bytes, whose starts are `stride` apart. */
const region = (name, at, length, rows = 1, stride = 0) => ({
  name,
  at,
  length,
  rows,
  stride,
  end: at + (rows - 1) * stride + length,
  isPiece: stride > 0,
});
const channel = (at, channels) => region('channel', at, 48 * channels);
const gradient = (at, channels) => region('gradient', at, 80 * channels);
const partial = (at, series, doubles) => region('partial', at, 8 * doubles * series);
const fold = (at, series) => region('fold', at, 12 * series);
const foldOfAll = (at, series) => region('fold of the gradient', at, 32 * series);
const piece = (name, at, rows, stride, width) => region(name, at, 4 * width, rows, 4 * stride);
const seriesOf = (channels, spatial, columns) => (columns ? channels * spatial : channels);

/** The regions that each function reads and writes. */
const USES = {
  bn_statistics(x, rows, stride, channels, spatial, columns, _epsilon, _seen, sums, folded) {
    const series = seriesOf(channels, spatial, columns);
    return [piece('x', x, rows, stride, channels * spatial), partial(sums, series, 4), fold(folded, series)];
  },
  bn_moments(_count, channels, spatial, columns, sums, numbers) {
    return [partial(sums, seriesOf(channels, spatial, columns), 4), channel(numbers, channels)];
  },
  bn_fold(_epsilon, _training, channels, spatial, columns, numbers, folded) {
    return [channel(numbers, channels), fold(folded, seriesOf(channels, spatial, columns))];
  },
  bn_normalize(x, y, rows, xStride, yStride, channels, spatial, columns, _relu, numbers, folded) {
    const width = channels * spatial;
    return [
      piece('x', x, rows, xStride, width),
      piece('y', y, rows, yStride, width),
      channel(numbers, channels),
      fold(folded, seriesOf(channels, spatial, columns)),
    ];
  },
  bn_mask(output, g, to, rows, outputStride, gStride, toStride, width) {
    return [
      piece('output', output, rows, outputStride, width),
      piece('g', g, rows, gStride, width),
      piece('y', to, rows, toStride, width),
    ];
  },
  bn_gradient_sums(x, g, rows, xStride, gStride, channels, spatial, columns, _seen, sums, numbers, folded) {
    const series = seriesOf(channels, spatial, columns);
    const width = channels * spatial;
    return [
      piece('x', x, rows, xStride, width),
      piece('g', g, rows, gStride, width),
      partial(sums, series, 6),
      gradient(numbers, channels),
      fold(folded, series),
    ];
  },
  bn_gradient_fold(_count, _epsilon, _training, channels, spatial, columns, sums, given, numbers, folded) {
    const series = seriesOf(channels, spatial, columns);
    return [partial(sums, series, 6), channel(given, channels), gradient(numbers, channels), foldOfAll(folded, series)];
  },
  bn_gradient_input(x, g, y, rows, xStride, gStride, yStride, channels, spatial, columns, numbers, folded) {
    const width = channels * spatial;
    return [
      piece('x', x, rows, xStride, width),
      piece('g', g, rows, gStride, width),
      piece('y', y, rows, yStride, width),
      gradient(numbers, channels),
      foldOfAll(folded, seriesOf(channels, spatial, columns)),
    ];
  },
};

const overlap = (a, b) => a.at < b.end && b.at < a.end;
/** An output may use exactly the memory of a tensor from which it is computed. */
const inPlace = (a, b) =>
  a.at === b.at && a.stride === b.stride && (a.name === 'y') !== (b.name === 'y') && !/output/.test(a.name + b.name);
/** The gradient's fold extends the output's fold, so these two may overlap. */
const goesOn = (a, b) => /^fold/.test(a.name) && /^fold/.test(b.name) && a.name !== b.name;

/** Checks that no region of one list overlaps one of the other. */
function holdApart(some, others, hold) {
  for (const a of some)
    for (const b of others)
      if (a !== b && overlap(a, b) && !inPlace(a, b))
        hold(goesOn(a, b), `${a.name} at ${a.at} and ${b.name} at ${b.at} do not overlap`);
}

/** Checks that the pieces that are summed cover a range once, in order, and end where blocks end. */
class Order {
  #next = 0;
  #all = 0;

  constructor(dimensions, hold) {
    Object.assign(this, { dimensions, hold });
  }

  add(rows, channels, positions, columns, seen) {
    const { dimensions, hold } = this;
    const { batch, spatial } = dimensions;
    hold(seen === this.#next, `after ${this.#next} values, not ${seen}`);
    this.#next += columns ? rows : rows * positions;
    this.#all = columns ? batch : batch * spatial;
    const height = rowsOfBlock(dimensions, columns);
    hold(columns === 0 || columns === height, `${columns} is the number of rows of a block`);
    if (positions === spatial) hold(rows % height === 0 || this.#next === this.#all, `${rows} rows are whole blocks`);
    else {
      hold(!columns && rows === 1 && channels === 1, 'only a single slab is cut');
      hold(positions % POSITIONS === 0 || this.#next % spatial === 0, `${positions} positions are whole blocks`);
    }
  }

  end() {
    this.hold(this.#next === this.#all, `${this.#next} of ${this.#all} values`);
  }
}

/**
 * Checks every call of a kernel's functions against the header, while it runs. Returns all regions that were used.
 * @param homes where tensors lie in the memory @param begin where its work area begins
 */
function observe(kernel, homes, begin, hold) {
  const used = [];
  const functions = { ...kernel.functions };
  let regions = [];
  let orders = {};
  for (const [name, run] of Object.entries(functions))
    functions[name] = (...numbers) => {
      const uses = USES[name](...numbers);
      for (const one of uses) {
        hold(one.at % (one.isPiece || /^fold/.test(one.name) ? 4 : 8) === 0, `${one.name} is aligned`);
        const [from, to] = homes.find(([from, to]) => one.isPiece && one.at >= from && one.at < to) ?? [
          begin,
          kernel.buffer.byteLength,
        ];
        hold(one.at >= from && one.end <= to, `${one.name} from ${one.at} to ${one.end} lies in ${from} to ${to}`);
      }
      holdApart(uses, uses, hold);
      if (name === 'bn_statistics') orders[name].add(numbers[1], ...numbers.slice(3, 6), numbers[7]);
      if (name === 'bn_gradient_sums') orders[name].add(numbers[2], ...numbers.slice(5, 9));
      regions.push(...uses);
      run(...numbers);
    };
  kernel.functions = functions;
  const { run } = kernel;
  kernel.run = (dimensions, task, x, gradients, out, steps) => {
    let next = 0;
    run.call(kernel, dimensions, task, x, gradients, out, (range) => {
      hold(range.first === next, 'ranges come in order');
      next += range.channels;
      orders = { bn_statistics: new Order(dimensions, hold), bn_gradient_sums: new Order(dimensions, hold) };
      regions = [];
      steps(range);
      for (const order of Object.values(orders)) order.end();
      // The regions that are kept for the whole range, without duplicates.
      const state = new Map();
      for (const one of regions) if (!one.isPiece) state.set(`${one.name} ${one.at} ${one.length}`, one);
      const lasting = [...state.values()];
      for (const one of lasting) {
        const others = [...lasting, ...regions.filter(({ isPiece }) => isPiece)];
        const isOther = ({ name, at }) => name !== one.name || at !== one.at;
        holdApart([one], others.filter(isOther), hold);
      }
      used.push(...regions);
    });
    hold(next === dimensions.channels, 'all channels are computed');
  };
  return used;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

const FORWARD = (training, wanted) => ({ training, wanted, tiles: 1 });
const GRADIENT = (training, given, relu, wanted) => ({ training, given, relu, wanted, tiles: relu ? 3 : 2, isGradient: true });
const TASKS = {
  training: FORWARD(true, true),
  moments: FORWARD(true, false),
  inference: FORWARD(false, true),
  gradient: GRADIENT(true, false, false, true),
  'gradient, relu': GRADIENT(true, false, true, true),
  'gradient of saved statistics, relu': GRADIENT(true, true, true, true),
  'gradient of the parameters': GRADIENT(true, true, false, false),
  'gradient of the parameters, relu': GRADIENT(true, false, true, false),
  'gradient in inference': GRADIENT(false, true, false, true),
  'gradient in inference, relu': GRADIENT(false, true, true, true),
};

/** Runs a task on a kernel. Returns its results except `out`. */
function perform({ training, given, relu = false, isGradient }, kernel, dimensions, x, g, out) {
  const { channels } = dimensions;
  const perChannel = (value) => Float64Array.from({ length: channels }, (_, c) => value(c));
  const results = [0, 1].map(() => (isGradient ? new Float32Array(channels) : new Float64Array(channels)));
  const statistics = { mean: perChannel((c) => 3 + (c % 3) / 8), variance: perChannel((c) => 1 + (c % 4)) };
  if (isGradient ? !given : training) [statistics.mean, statistics.variance] = isGradient ? [null, null] : results;
  const job = {
    ...dimensions,
    ...statistics,
    x,
    gradOutput: g,
    gamma: perChannel((c) => 1 - (c % 5) / 2),
    beta: perChannel((c) => (c % 3) / 4),
    epsilon: 1e-5,
    training,
    relu,
  };
  if (isGradient) differentiateBy(kernel, job, out, ...results);
  else normalizeBy(kernel, job, out);
  return results;
}

/** Random dimensions of up to about 130,000 values. A piece of a long slab is a whole number of pages, and starts close to the
 * end of one. */
function randomDimensions(next) {
  const upTo = (most) => 1 + Math.floor(next() ** 2 * most);
  const kind = next();
  if (kind < 0.15)
    return { batch: upTo(2), channels: 2, spatial: 4096 * (3 + Math.floor(next() * 2)) + 1000 + Math.floor(next() * 40) };
  if (kind < 0.3) return { batch: upTo(4), channels: upTo(16), spatial: 256 * upTo(8) };
  if (kind < 0.4) return { batch: upTo(5000), channels: 1 + Math.floor(next() * 20), spatial: 1 };
  if (kind < 0.5) return { batch: 1 + Math.floor(next() * 3), channels: upTo(10000), spatial: upTo(4) };
  if (kind < 0.75) return { batch: upTo(600), channels: upTo(6), spatial: upTo(31) };
  return { batch: upTo(12), channels: upTo(12), spatial: upTo(700) };
}

/** All values are taken from here, which is faster than making new ones for each call. */
const store = normalTensor([1 << 18], 72, 3).data;
const valuesFrom = (begin, size) => store.slice(begin, begin + size);

const unlimited = makeKernel(8 << 20);
const pattern = Buffer.alloc(4 << 20, 0xa5);

test('random calls in random memory follow the header, and change only the regions that it names', () => {
  const next = seeded(71);
  const ways = Object.entries(TASKS);
  let pieces = 0;
  for (let k = 0; k < 800; k++) {
    const [name, task] = ways[k % ways.length];
    const dimensions = randomDimensions(next);
    const { batch, channels, spatial } = dimensions;
    const size = batch * channels * spatial;
    const work = 64 * Math.floor((LEAST / 64) * task.tiles * 2 ** (next() < 0.5 ? next() / 4 : next() * 4));
    const gaps = [0, 1, 2].map(() => 4 * Math.floor(next() * 40));
    const kernel = makeKernel(work, gaps[0] + gaps[1] + gaps[2] + 12 * size);
    const begin = kernel.buffer.byteLength - work;
    new Uint8Array(kernel.buffer).fill(0xa5);

    const tensors = [valuesFrom(k, size), task.isGradient ? valuesFrom(k + 1, size) : null];
    let at = 64;
    const homes = [];
    const place = (data, gap) => {
      if (data === null || next() < 0.5) return data;
      at += gap;
      const moved = new Float32Array(kernel.buffer, at, size);
      moved.set(data);
      at += 4 * size;
      homes.push([at - 4 * size, at]);
      return moved;
    };
    const [x, g] = tensors.map((data, i) => place(data, gaps[i]));
    const source = task.isGradient ? g : x;
    const isInPlace = task.wanted && next() < 0.3;
    const out = task.wanted ? (isInPlace ? source : place(new Float32Array(size), gaps[2])) : null;

    const expected = task.wanted ? new Float32Array(size) : null;
    const sums = perform(task, unlimited, dimensions, tensors[0], tensors[1], expected);
    // A call in place overwrites its source, which may be outside of the kernel's memory, so copies are kept.
    const before = tensors.map((data) => data?.slice());

    const hold = (holds, rule) =>
      holds || assert.fail(`${rule}: ${name}, ${JSON.stringify({ k, ...dimensions, work, begin, homes, isInPlace })}`);
    const used = observe(kernel, homes, begin, hold);
    const results = perform(task, kernel, dimensions, x, g, out);
    results.forEach((data, i) => {
      assertSameBits(data, sums[i], name);
    });
    if (out) assertSameBits(out, expected, name);
    [x, g].forEach((data, i) => {
      if (data && data !== out)
        hold(
          Buffer.from(data.buffer, data.byteOffset, 4 * size).equals(Buffer.from(before[i].buffer)),
          'an argument is unchanged',
        );
    });

    // Memory must be unchanged if no call named it and it belongs to no tensor.
    const named = homes.map(([from, to]) => [from, to]);
    for (const { at, length, rows, stride } of used)
      for (let row = 0; row < rows; row++) named.push([at + row * stride, at + row * stride + length]);
    named.sort((a, b) => a[0] - b[0]);
    named.push([kernel.buffer.byteLength, 0]);
    let end = 0;
    for (const [from, to] of named) {
      if (from > end)
        hold(
          Buffer.from(kernel.buffer, end, from - end).equals(pattern.subarray(0, from - end)),
          `bytes ${end} to ${from} are as they were`,
        );
      end = Math.max(end, to);
    }
    pieces += used.length;
  }
  assert.ok(pieces > 10000, `${pieces} regions`);
});
