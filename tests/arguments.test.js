/* Arguments that are just valid or just invalid: offsets, sizes and ranks, memory that is adjacent or overlaps by one value, and
 * incomplete modules. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena, batchNormalization, batchNormalizationGradient, fold, gradientSums, moments } from '../js/index.js';
import { normalTensor, sizeOf } from './data.js';
import { assertSameBits, inFreshNode } from './helpers.js';

const shape = [2, 4, 3, 1];
const SIZE = 24;
const MOST = Number.MAX_SAFE_INTEGER;
const X = normalTensor(shape, 1, 3);
const gradOutput = normalTensor(shape, 2, 1);
const four = Float32Array.of(1, 2, 3, 4);

/** Calls with one argument replaced and the others valid, by the name of that argument. */
const forward = (name) => (value) => {
  const given = { X, gamma: null, beta: null, runningMean: four, runningVar: four, out: undefined, [name]: value };
  const { gamma, beta, runningMean, runningVar, out } = given;
  return batchNormalization(given.X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true, { out });
};
const backward = (name) => (value) => {
  const given = { gradOutput, X, mean: four, variance: four, [name]: value };
  const { mean, variance, ...options } = given;
  for (const key of ['gradOutput', 'X']) delete options[key];
  return batchNormalizationGradient(given.gradOutput, given.X, { ...options, statistics: { mean, variance } });
};
const sumsOf = (name) => (value) => {
  const { gradOutput: g, X: x, mean, variance, gamma } = { gradOutput, X, mean: four, variance: four, [name]: value };
  return gradientSums(g, x, { gamma, statistics: { mean, variance } });
};
const TENSORS = {
  'batchNormalization: X': forward('X'),
  'batchNormalization: out': forward('out'),
  'batchNormalizationGradient: gradOutput': backward('gradOutput'),
  'batchNormalizationGradient: X': backward('X'),
  'batchNormalizationGradient: out': backward('out'),
  'gradientSums: gradOutput': sumsOf('gradOutput'),
  'gradientSums: X': sumsOf('X'),
  'moments: X': (value) => moments(value),
};
const PER_CHANNEL = {
  'batchNormalization: gamma': forward('gamma'),
  'batchNormalization: beta': forward('beta'),
  'batchNormalization: runningMean': forward('runningMean'),
  'batchNormalization: runningVar': forward('runningVar'),
  'batchNormalizationGradient: gamma': backward('gamma'),
  'batchNormalizationGradient: statistics.mean': backward('mean'),
  'batchNormalizationGradient: statistics.variance': backward('variance'),
  'gradientSums: gamma': sumsOf('gamma'),
  'gradientSums: statistics.mean': sumsOf('mean'),
  'gradientSums: statistics.variance': sumsOf('variance'),
};

/** Values that are neither a size nor an offset, each with the type of its error and the way its message describes the value. */
const NO_INTEGERS = [
  [-1, RangeError, '-1'],
  [0.5, RangeError, '0.5'],
  [NaN, RangeError, 'NaN'],
  [Infinity, RangeError, 'Infinity'],
  [-Infinity, RangeError, '-Infinity'],
  [2 ** 53, RangeError, '9007199254740992'],
  ['1', TypeError, '"1"'],
  ['', TypeError, '""'],
  [1n, TypeError, 'a bigint'],
  [true, TypeError, 'true'],
  [[1], TypeError, 'an array of length 1'],
  [{}, TypeError, 'an object'],
];

const throws = (run, ErrorType, message) =>
  assert.throws(run, (error) => {
    assert.equal(error.message, message);
    return error.constructor === ErrorType;
  });

/* ---- offsets ---------------------------------------------------------------------------------------------------------------- */

for (const [argument, call] of Object.entries({ ...TENSORS, ...PER_CHANNEL }))
  test(`an offset of ${argument} must be an integer that leaves room for its values`, () => {
    const [size, sizes] = argument in TENSORS ? [SIZE, shape] : [4, [4]];
    const values = normalTensor([size + 6], 3, 9).data;
    const forms = argument in TENSORS ? [values] : [values, Float64Array.from(values), Array.from(values)];
    for (const data of forms) {
      for (const [offset, ErrorType, text] of NO_INTEGERS) {
        const message = `${argument}.offset must be a non-negative integer; got ${text}`;
        throws(() => call({ data, shape: sizes, offset }), ErrorType, message);
      }
      for (const offset of [7, 2 ** 32, MOST]) {
        const message = `${argument}.data must hold at least ${offset + size} values with offset ${offset}; got ${size + 6}`;
        throws(() => call({ data, shape: sizes, offset }), RangeError, message);
      }
      for (const offset of [0, -0, 1, 6]) {
        // For an output, its own values are compared; for other arguments, the results.
        const actual = call({ data: data.slice(), shape: sizes, offset });
        const expected = call({ data: data.slice(offset, offset + size), shape: sizes });
        if (!/out$/.test(argument)) assert.deepEqual(actual, expected, `offset ${offset}`);
        else {
          const { data: all } = actual[0];
          assertSameBits(all.slice(offset, offset + size), expected[0].data, `offset ${offset}`);
          assertSameBits(all.slice(0, offset), data.slice(0, offset), 'before it');
          assertSameBits(all.slice(offset + size), data.slice(offset + size), 'after it');
        }
      }
    }
  });

test('an offset of a tensor without values', () => {
  const empty = (offset) => ({ data: new Float32Array(2), shape: [2, 0, 3], offset });
  for (const offset of [0, 1, 2]) assert.equal(moments(empty(offset)).mean.length, 0);
  throws(() => moments(empty(3)), RangeError, 'moments: X.data must hold at least 3 values with offset 3; got 2');
});

test('an offset of fold’s arguments', () => {
  const given = { data: [1, 2, 3, 4, 5], shape: [4] };
  const call = (offset) => fold(null, null, { ...given, offset }, four);
  for (const [offset, ErrorType, text] of NO_INTEGERS)
    throws(() => call(offset), ErrorType, `fold: mean.offset must be a non-negative integer; got ${text}`);
  for (const offset of [2, MOST])
    throws(
      () => call(offset),
      RangeError,
      `fold: mean.data must hold at least ${offset + 4} values with offset ${offset}; got 5`,
    );
  assert.deepEqual(call(1), fold(null, null, [2, 3, 4, 5], four));
  assert.deepEqual(call(-0), fold(null, null, [1, 2, 3, 4], four));
});

test('sizes of fold’s arguments', () => {
  const call = (shape) => fold(null, null, { data: [1, 2, 3, 4], shape, offset: 0 }, four);
  for (const [size, , text] of NO_INTEGERS.filter(([given]) => typeof given !== 'object'))
    throws(() => call([size]), RangeError, `fold: mean.shape must be [C] or, for example, [1, C, 1, 1]; got [${text}]`);
  const mixed = () => call([4, 1n]);
  throws(mixed, RangeError, 'fold: mean.shape must be [C] or, for example, [1, C, 1, 1]; got [4, a bigint]');
  assert.deepEqual(call([4]), fold(null, null, [1, 2, 3, 4], four));
  throws(() => call([1, 2, 2]), RangeError, 'fold: mean.shape must be [C] or, for example, [1, C, 1, 1]; got [1, 2, 2]');
});

/* ---- sizes ------------------------------------------------------------------------------------------------------------------ */

for (const [argument, call] of Object.entries(TENSORS))
  test(`the shape of ${argument} must be 1 to 8 non-negative integers`, () => {
    const data = new Float32Array(SIZE);
    for (const [size, ErrorType, text] of NO_INTEGERS)
      throws(
        () => call({ data, shape: [2, 4, size, 1] }),
        ErrorType,
        `${argument}.shape must be an array of 1 to 8 non-negative integers; got [2, 4, ${text}, 1]`,
      );
    for (const sizes of [[], [2, 4, 3, 1, 1, 1, 1, 1, 1]])
      throws(
        () => call({ data, shape: sizes }),
        RangeError,
        `${argument}.shape must be an array of 1 to 8 non-negative integers; got [${sizes.join(', ')}]`,
      );
  });

for (const [argument, call] of Object.entries(PER_CHANNEL))
  test(`the shape of ${argument} must have one value per channel`, () => {
    const others = [
      [3, '3'],
      [-4, '-4'],
      ['4', '"4"'],
      [4n, 'a bigint'],
    ];
    for (const [size, text] of [...NO_INTEGERS.map(([value, , text]) => [value, text]), ...others])
      throws(
        () => call({ data: four, shape: [size] }),
        RangeError,
        `${argument}.shape must be [1, 4, 1, 1] or [4]; got [${text}]`,
      );
  });

test('the shape of an arena’s tensor', () => {
  const arena = new Arena(1024);
  for (const [size, , text] of NO_INTEGERS)
    throws(
      () => arena.tensor([2, size]),
      RangeError,
      `Arena: shape must be an array of up to 8 non-negative integers; got [2, ${text}]`,
    );
  const nine = Array(9).fill(1);
  throws(
    () => arena.tensor(nine),
    RangeError,
    `Arena: shape must be an array of up to 8 non-negative integers; got [${nine.join(', ')}]`,
  );
  for (const sizes of [[MOST], [MOST, MOST], Array(8).fill(MOST)]) {
    const bytes = 64 * Math.ceil((4 * sizeOf(sizes)) / 64);
    throws(
      () => arena.tensor(sizes),
      RangeError,
      `Arena: shape must fit in the 1024 free bytes; got [${sizes.join(', ')}], which takes ${bytes} bytes`,
    );
  }
  for (const sizes of [[0], [MOST, 0], [0, MOST, MOST]]) assert.equal(arena.tensor(sizes).data.length, 0);
  assert.equal(arena.bytesFree, 1024);
  assert.equal(arena.tensor(Array(8).fill(1)).data.length, 1);
});

test('a shape whose product is above 2⁵³', () => {
  const { data } = X;
  for (const sizes of [[MOST, MOST], [MOST, 2, MOST], [2 ** 27, 2 ** 27, 2 ** 27], Array(8).fill(MOST)]) {
    const vast = { data, shape: sizes };
    const message = `X.data must hold ${sizeOf(sizes)} values for shape [${sizes.join(', ')}]; got ${SIZE}`;
    throws(() => batchNormalization(vast, null, null), RangeError, `batchNormalization: ${message}`);
    throws(() => batchNormalizationGradient(vast, vast), RangeError, `batchNormalizationGradient: ${message}`);
    throws(() => gradientSums(vast, vast, {}), RangeError, `gradientSums: ${message}`);
    throws(() => moments(vast), RangeError, `moments: ${message}`);
  }
  const message = `moments: X.data must hold at least ${2 * MOST} values with offset ${MOST}; got ${SIZE}`;
  throws(() => moments({ data, shape: [MOST, 1], offset: MOST }), RangeError, message);
});

test('a shape with a 0 has no values, however large its other sizes are', () => {
  const data = new Float32Array(0);
  for (const sizes of [
    [MOST, 0, MOST],
    [2, 0, MOST, MOST],
    [0, 0, MOST],
  ]) {
    const empty = { data, shape: sizes };
    const [output, ...statistics] = batchNormalization(empty, [], []);
    assert.deepEqual(output, empty);
    for (const { data } of statistics) assert.equal(data.length, 0);
    const [gradInput, ...gradients] = batchNormalizationGradient(empty, empty);
    assert.deepEqual(gradInput, empty);
    for (const { data } of gradients) assert.equal(data.length, 0);
    const [count] = gradientSums(empty, empty, { statistics: { mean: [], variance: [] } });
    assert.equal(count, sizeOf(sizes.filter((_, k) => k !== 1)));
    assert.equal(moments(empty).mean.length, 0);
  }
  const [output] = batchNormalization({ data, shape: [0, 4, MOST] }, null, null, four, four, 0.1, 1e-5, false);
  assert.deepEqual(output.shape, [0, 4, MOST]);
});

test('−0 means 0: as a size, also in an arena, as the axis, as epsilon and as momentum', () => {
  const data = new Float32Array(0);
  // deepEqual distinguishes 0 from −0.
  for (const [sizes, axis] of [
    [[-0, 0, 2], 1],
    [[2, -0], -1],
    [[-0], 0],
  ]) {
    const zero = sizes.map((size) => size + 0);
    const [output, mean] = batchNormalization({ data, shape: sizes }, null, null, null, null, 0.1, 1e-5, true, { axis });
    assert.deepEqual(output.shape, zero);
    assert.deepEqual(new Arena(64).tensor(sizes).shape, zero);
    assert.deepEqual(
      mean.shape,
      zero.map((size, k) => (k === (axis + zero.length) % zero.length ? size : 1)),
    );
    const same = { data, shape: zero };
    const [gradInput] = batchNormalizationGradient(same, { data, shape: sizes }, { axis, out: { data, shape: sizes } });
    assert.equal(gradInput.data, data);
  }
  assert.deepEqual(moments(X, { axis: -0 }), moments(X, { axis: 0 }));
  assert.deepEqual(
    batchNormalization(X, null, null, null, null, -0, -0, true, { axis: -0 }),
    batchNormalization(X, null, null, null, null, 0, 0, true, { axis: 0 }),
  );
});

test('ranks 1 to 8, with every axis', () => {
  for (let rank = 1; rank <= 8; rank++) {
    const sizes = [3, 2, 1, 5, 2, 1, 3, 2].slice(0, rank);
    const x = normalTensor(sizes, rank, 3);
    const g = normalTensor(sizes, 9 + rank, 1);
    for (let axis = -rank; axis < rank; axis++) {
      const k = axis < 0 ? axis + rank : axis;
      const flat = [sizeOf(sizes.slice(0, k)), sizes[k], sizeOf(sizes.slice(k + 1))];
      const ones = sizes.map((size, j) => (j === k ? size : 1));
      const flatten = ({ data }) => ({ data, shape: flat });
      const parameter = { data: Float32Array.from({ length: sizes[k] }, (_, c) => 1 + c), shape: ones };
      const hold = (results, expected) =>
        results.forEach((result, i) => {
          assert.deepEqual(result.shape, i === 0 ? sizes : ones);
          assertSameBits(result.data, expected[i].data, `rank ${rank}, axis ${axis}, result ${i}`);
        });
      const out = { data: new Float32Array(x.data.length), shape: sizes };
      const rest = [null, null, 0.1, 1e-5, true];
      hold(
        batchNormalization(x, parameter, parameter, ...rest, { axis, out }),
        batchNormalization(flatten(x), parameter.data, parameter.data, ...rest),
      );
      hold(
        batchNormalizationGradient(g, x, { gamma: parameter, axis }),
        batchNormalizationGradient(flatten(g), flatten(x), { gamma: parameter.data }),
      );
      const statistics = { mean: parameter.data, variance: parameter.data };
      const sums = gradientSums(flatten(g), flatten(x), { statistics });
      assert.deepEqual(gradientSums(g, x, { axis, statistics }), sums);
      hold(
        batchNormalizationGradient(g, x, { gamma: parameter, axis, statistics, sums }),
        batchNormalizationGradient(flatten(g), flatten(x), { gamma: parameter.data, statistics, sums }),
      );
      assert.deepEqual(moments(x, { axis }), moments(flatten(x)));
    }
  }
});

/* ---- memory ----------------------------------------------------------------------------------------------------------------- */

const floats = (length) => [Float32Array, length];
const doubles = (length) => [Float64Array, length];
const FORWARD_PARAMETERS = ['gamma', 'beta', 'runningMean', 'runningVar'];
const both = (names) => names.flatMap((name) => [floats(4), doubles(4)].map((kind) => [name, kind]));

/** Each array that is written, its type, and the arguments that it must not overlap. */
const FORWARD_WRITES = [
  ['out', floats(SIZE), [['X', floats(SIZE)], ...both(FORWARD_PARAMETERS)]],
  ...['mean', 'variance'].map((name) => [
    `statistics.${name}`,
    doubles(4),
    [['X', floats(SIZE)], ['out', floats(SIZE)], ...both(FORWARD_PARAMETERS)],
  ]),
  ['statistics.mean', doubles(4), [['statistics.variance', doubles(4)]]],
];
const GRADIENT_WRITES = [
  [
    'out',
    floats(SIZE),
    [['X', floats(SIZE)], ['gradOutput', floats(SIZE)], ...both(['gamma', 'beta', 'statistics.mean', 'statistics.variance'])],
  ],
];

const withShape = (data) => data && { data, shape };

/** The calls, which take their arguments by name. */
function callForward(given) {
  const [gamma, beta, runningMean, runningVar] = FORWARD_PARAMETERS.map((name) => given[name] ?? four);
  const statistics = {
    mean: given['statistics.mean'] ?? new Float64Array(4),
    variance: given['statistics.variance'] ?? new Float64Array(4),
  };
  const options = { out: given.out, statistics };
  const results = batchNormalization(withShape(given.X) ?? X, gamma, beta, runningMean, runningVar, 0.1, 1e-5, true, options);
  return [...results.map(({ data }) => data), statistics.mean, statistics.variance];
}
function callGradient(given) {
  const [gamma, beta, mean, variance] = ['gamma', 'beta', 'statistics.mean', 'statistics.variance'].map(
    (name) => given[name] ?? four,
  );
  const options = { gamma, beta, relu: true, statistics: { mean, variance }, out: given.out };
  const results = batchNormalizationGradient(withShape(given.gradOutput) ?? gradOutput, withShape(given.X) ?? X, options);
  return results.map(({ data }) => data);
}

/** Fills an argument. */
const fill = (data) => data.set(Array.from(data, (_, i) => 1 + ((i * 7) % 11)));

const MEMORIES = {
  'an array buffer': () => new ArrayBuffer(1024),
  'shared memory': () => new SharedArrayBuffer(1024),
  'an arena': () => new Arena(960).tensor([240]).data.buffer,
};

for (const [place, make] of Object.entries(MEMORIES))
  for (const [name, call, writes] of [
    ['batchNormalization', callForward, FORWARD_WRITES],
    ['batchNormalizationGradient', callGradient, GRADIENT_WRITES],
  ])
    test(`${name}: an array that is written may be next to another argument, but not overlap it by one value, in ${place}`, () => {
      const memory = make();
      for (const [written, [Written, writtenLength], others] of writes)
        for (const [other, [Other, otherLength]] of others) {
          const size = Written.BYTES_PER_ELEMENT;
          const begin = 320;
          const end = begin + Other.BYTES_PER_ELEMENT * otherLength;
          const given = new Other(memory, begin, otherLength);
          for (const [at, isApart] of [
            [begin - size * writtenLength, true],
            [begin - size * (writtenLength - 1), false],
            [end - size, false],
            [end, true],
          ]) {
            fill(new Float32Array(memory, 64, 240));
            fill(given);
            const target = new Written(memory, at, writtenLength);
            const before = new Uint8Array(memory).slice();
            const run = () => call({ [other]: given, [written]: target });
            if (!isApart) {
              const hint =
                /^(out X|out gradOutput)$/.test(`${written} ${other}`) && !(name !== 'batchNormalization' && other === 'X');
              throws(
                run,
                RangeError,
                `${name}: ${written} must not overlap ${other}${hint ? `, unless it is exactly ${other}'s data` : ''}; got overlapping memory`,
              );
              assert.deepEqual(new Uint8Array(memory), before, 'nothing is written');
              continue;
            }
            const expected = call({ [other]: given.slice() });
            const actual = run();
            actual.forEach((data, i) => {
              assert.deepEqual(Array.from(data), Array.from(expected[i]), `${written} at ${at}, ${other}`);
            });
            const isOutput = ['statistics.variance', 'out'].includes(other) && name === 'batchNormalization';
            if (!isOutput)
              assert.deepEqual(new Uint8Array(memory, begin, end - begin).slice(), before.slice(begin, end), 'unchanged');
          }
        }
    });

test('arguments that are only read may overlap', () => {
  const memory = new Float32Array(SIZE + 4);
  fill(memory);
  const shared = { X: memory.subarray(2, 2 + SIZE), gamma: memory.subarray(0, 4), beta: memory.subarray(1, 5) };
  shared.runningMean = memory.subarray(2, 6);
  shared.runningVar = memory.subarray(2, 6);
  const apart = (given) => Object.fromEntries(Object.entries(given).map(([name, data]) => [name, data.slice()]));
  assert.deepEqual(callForward(shared), callForward(apart(shared)));
  const { X: x, gamma, beta } = shared;
  const given = { X: x, gradOutput: x, gamma, beta, 'statistics.mean': gamma, 'statistics.variance': gamma };
  assert.deepEqual(callGradient(given), callGradient(apart(given)));
});

/* ---- modules ---------------------------------------------------------------------------------------------------------------- */

test('initialize rejects a module with this version’s stamp but without its functions, and the embedded binary is used', () => {
  const printed = inFreshNode(`
    import { readFileSync } from 'node:fs';
    import { fileURLToPath } from 'node:url';
    import { backend, batchNormalization, initialize } from 'batchnorm';
    const binary = readFileSync(fileURLToPath(import.meta.resolve('batchnorm/batchnorm.wasm')));
    const mark = binary.subarray(-20);
    const start = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
    const type = Uint8Array.of(1, 4, 1, 96, 0, 0);
    // Imports the function env.other.
    const other = Uint8Array.of(2, 13, 1, 3, 101, 110, 118, 5, 111, 116, 104, 101, 114, 0, 0);
    const rename = (bytes, from, to) => { const copy = Buffer.from(bytes); copy.write(to, copy.indexOf(from)); return copy; };
    const swap = (a, b) => rename(rename(rename(binary, a, 'bn_swap'), b, a), 'bn_swap', b);
    const wrong = {
      'no exports': [start, mark],
      'another import': [start, type, other, mark],
      ...Object.fromEntries(['bn_statistics', 'bn_moments', 'bn_fold', 'bn_normalize'].map((name) =>
        ['no ' + name, [rename(binary, name, name.toUpperCase())]])),
      'another function by that name': [swap('bn_fold', 'bn_mask')],
    };
    for (const [name, parts] of Object.entries(wrong))
      try { initialize(new WebAssembly.Module(Buffer.concat(parts))); console.log(name, 'was accepted'); }
      catch (error) { console.log(name + ':', error.constructor.name, error.message + ',', error.cause instanceof Error); }
    console.log(backend());
    initialize();
    const X = { data: Float32Array.from({ length: 160 }, (_, i) => (i % 2 ? 3 : 1)), shape: [2, 1, 1, 80] };
    console.log(backend(), batchNormalization(X, null, null, null, null, 0, 0)[0].data.slice(0, 2).join());`);
  const names = [
    'no exports',
    'another import',
    ...['bn_statistics', 'bn_moments', 'bn_fold', 'bn_normalize'].map((name) => `no ${name}`),
    'another function by that name',
  ];
  assert.deepEqual(printed.split('\n'), [
    ...names.map((name) => `${name}: Error initialize: module could not be instantiated, true`),
    'js',
    'wasm-simd -1,1',
  ]);
});
