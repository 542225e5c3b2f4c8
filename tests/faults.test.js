/* Calls that are interrupted: memory runs out, the stack overflows, or the program is terminated. Such a call throws the error that
 * stopped it, or gives the right result. The next call gives the right result.
 *
 * All memory is allocated before anything is written. A call that an overflow or a termination stops while it computes may leave `out`
 * and `statistics` half written, but nothing else. Even then, a layer stays as it was. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import * as wasm from '../js/index.js';
import * as plain from '../js/index-plain.js';
import { normalTensor, sizeOf } from './data.js';

const file = (name) => fileURLToPath(new URL(`../js/${name}`, import.meta.url));

/** An entry and all its imports as one script, so that it can run in a new context for each fault. */
async function scriptOf(entry) {
  const { outputFiles } = await build({
    entryPoints: [file(entry)],
    bundle: true,
    format: 'iife',
    globalName: 'batchnorm',
    write: false,
  });
  return new vm.Script(outputFiles[0].text, { filename: entry });
}

const ENTRIES = { batchnorm: await scriptOf('index.js'), 'batchnorm/js': await scriptOf('index-plain.js') };
const binary = readFileSync(file('batchnorm.wasm'));

/**
 * Runs in a context before the package does. Turns everything that allocates memory, and each function of the kernel, into a point at
 * which a call can be stopped. Classes, prototypes and species stay the same.
 */
function instrument() {
  const faults = { armed: false, points: /./, count: 0, at: 0, kind: '', stop: null };
  const pass = (kind) => {
    if (!(faults.armed && faults.points.test(kind)) || ++faults.count !== faults.at) return;
    faults.kind = kind;
    faults.stop();
  };
  const wrap = (holder, name, construct) => {
    const Class = holder[name];
    const make = (args, target) => Reflect.construct(Class, args, target === holder[name] ? Class : target);
    holder[name] = new Proxy(Class, { construct: (_, args, target) => construct(args, () => make(args, target)) });
    Class.prototype.constructor = holder[name];
  };
  for (const name of ['Array', 'ArrayBuffer', 'Uint8Array', 'Uint32Array', 'Float32Array', 'Float64Array'])
    wrap(globalThis, name, ([first], make) => {
      pass(/ArrayBuffer/.test(Object.prototype.toString.call(first)) ? 'view' : 'memory');
      return make();
    });
  for (const name of ['Memory', 'Module'])
    wrap(WebAssembly, name, (_, make) => {
      pass('memory');
      return make();
    });
  wrap(WebAssembly, 'Instance', (_, make) => {
    pass('memory');
    const functions = {};
    for (const [name, run] of Object.entries(make().exports))
      functions[name] = (...numbers) => {
        pass('kernel');
        run(...numbers);
      };
    return { exports: functions };
  });
  return faults;
}

/** The faults, each with the points at which it can stop a call. `known` recognizes the error of a fault. */
const STOPS = {
  'lack of memory': {
    points: /memory|view/,
    code: "() => { throw new RangeError('Array buffer allocation failed') }",
    known: (error) =>
      /^RangeError: (Array buffer allocation failed|Arena: bytes must fit in the available memory; got \d+)$/.test(String(error)),
  },
  'a simulated stack overflow': {
    points: /kernel/,
    code: "() => { throw new RangeError('Maximum call stack size exceeded') }",
    known: (error) => String(error) === 'RangeError: Maximum call stack size exceeded',
  },
  termination: {
    points: /kernel/,
    code: '() => { for (;;); }',
    timeout: 3,
    known: (error) => error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT',
  },
  'a real stack overflow': {
    points: /./,
    code: "() => { throw new RangeError('Maximum call stack size exceeded') }",
    real: true,
    // While a regular expression is compiled, an overflow is reported as a SyntaxError.
    known: (error) => /^(Range|Syntax)Error: .*Maximum call stack size exceeded$/.test(String(error)),
  },
};

/** Runs in a context. Calls something near the end of the stack, `frames` frames before it. */
function near(call, frames) {
  let left = frames;
  let result;
  let error;
  const dive = () => {
    try {
      dive();
    } catch {
      // The stack is full. The call is made while it unwinds.
    }
    if (--left !== 0) return;
    try {
      result = call();
    } catch (thrown) {
      error = thrown;
    }
  };
  dive();
  return { result, error };
}

const scripts = new Map();

/** A context with an entry of the package, none of whose functions has been called. */
function makeContext(entry, stop) {
  const context = vm.createContext({ binary });
  const inside = (code) => {
    if (!scripts.has(code)) scripts.set(code, new vm.Script(code));
    return scripts.get(code).runInContext(context);
  };
  const faults = inside(`(${instrument})()`);
  Object.assign(faults, { points: stop.points, stop: inside(stop.code) });
  ENTRIES[entry].runInContext(context);
  const batchnorm = inside('batchnorm');

  /** Runs a call and stops it at a point (1 is the first, 0 is none). Returns { result } or { error }, and where it was stopped. */
  const attempt = (call, at) => {
    Object.assign(faults, { armed: true, count: 0, at, kind: '' });
    context.call = call;
    try {
      const result = at > 0 && stop.timeout ? vm.runInContext('call()', context, { timeout: stop.timeout }) : call();
      return { result, kind: faults.kind, points: faults.count };
    } catch (error) {
      return { error, kind: faults.kind };
    } finally {
      faults.armed = false;
    }
  };
  const nearby = (call, frames) => ({ ...inside(`(${near})`)(call, frames), kind: '' });
  return { batchnorm, inside, attempt, nearby };
}

/** A list of the kinds of errors: where each occurred first, and how often. */
function makeList() {
  const wrong = {};
  return {
    add(what, place) {
      wrong[what] ??= { first: place, times: 0 };
      wrong[what].times++;
    },
    check: () => assert.deepEqual(wrong, {}),
  };
}

/** A hash of all numbers and strings in some values. */
function digest(...values) {
  const hash = createHash('sha1');
  const take = (value) => {
    if (ArrayBuffer.isView(value)) hash.update(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(take);
    else hash.update(`${value};`);
  };
  take(values);
  return hash.digest('hex');
}

/**
 * Runs in a context. Returns calls of every function as { name, call, writes, still }, and `held`, all arrays that they use. `writes`
 * returns the arrays that a stopped call may leave half written; `still` returns the state that no failure may change.
 */
function callsOf(batchnorm) {
  const { Arena, BatchNorm, backend, batchNormalization, batchNormalizationGradient, fold, initialize, mergeMoments, moments } =
    batchnorm;
  const held = [];
  const calls = [];
  const add = (name, call, writes = () => [], still = () => null) => calls.push({ name, call, writes, still });
  const hold = (array) => {
    held.push(array);
    return array;
  };
  const filled = (Type, length, k) => hold(Type.from({ length }, (_, i) => 3 + Math.sin(k + 1.7 * i)));
  const tensor = (shape, k = 0) => ({
    data: filled(
      Float32Array,
      shape.reduce((a, b) => a * b, 1),
      k,
    ),
    shape,
  });
  const listOf = (length) => Array.from({ length }, (_, c) => 1 + (c % 7) / 8);

  const last = tensor([2, 9, 9, 3]);
  add('channels last', () => batchNormalization(last, null, null, null, null, 0.9, 1e-5, true, { axis: -1 }));
  const none = { data: filled(Float32Array, 0), shape: [0, 3, 4, 4] };
  const three = filled(Float32Array, 3, 1);
  add('an empty tensor', () => batchNormalization(none, null, null, three, three, 0.9, 1e-5, false));
  const part = { count: 3, mean: listOf(3), variance: three };
  add('mergeMoments', () => mergeMoments([part, { ...part, mean: three }]));
  add('fold', () => fold(three, listOf(3), three, { data: three, shape: [1, 3, 1, 1] }));

  if (Arena) {
    const shape = [2, 3, 9, 9];
    const away = tensor(shape, 2);
    let arena;
    const own = [];
    add('an arena', () => {
      arena = new Arena(1 << 14);
    });
    for (const k of [0, 1, 2])
      add(
        `its tensor ${k}`,
        () => {
          const { data } = arena.tensor(shape);
          own[k] = { data, shape };
          if (k === 0) data.set(away.data);
          hold(data);
        },
        undefined,
        () => arena.bytesFree,
      );
    const at = (k) => () => [own[k].data];
    // This also prepares the arena for gradients.
    const own0 = () => batchNormalizationGradient(own[0], own[0]);
    add(
      'training in an arena',
      () => batchNormalization(own[0], three, null, null, null, 0.9, 1e-5, true, { out: own[1] }),
      at(1),
      own0,
    );
    add(
      'training in place in an arena',
      () => batchNormalization(own[1], three, null, null, null, 0.9, 1e-5, true, { out: own[1] }),
      at(1),
    );
    add(
      'inference into an arena',
      () => batchNormalization(away, three, null, three, three, 0.9, 1e-5, false, { out: own[2] }),
      at(2),
    );
    add('inference from an arena', () => batchNormalization(own[0], three, null, three, three, 0.9, 1e-5, false));
    add(
      'the gradient in an arena',
      () => batchNormalizationGradient(away, own[0], { gamma: three, beta: three, relu: true, out: own[2] }),
      at(2),
    );
    add('the gradient of an arena’s X', () => batchNormalizationGradient(away, own[0], { gradInput: false }));
    add('initialize', () => initialize());
    add('backend', () => backend());
  }

  // Slabs; columns, with too few values for the kernel; several ranges of channels, only with the kernel.
  for (const shape of [[2, 3, 9, 9], [40, 3], ...(Arena ? [[2, 12000]] : [])]) {
    const channels = shape[1];
    const [X, Y, G, inPlace, over] = [0, 1, 2, 3, 4].map((k) => tensor(shape, k));
    const [gamma, beta] = [filled(Float32Array, channels, 5), listOf(channels)];
    const [mean, variance, savedMean, savedVariance] = [6, 7, 8, 9].map((k) => filled(Float64Array, channels, k));
    const running = { data: filled(Float32Array, channels, 10), shape: [channels] };
    const statistics = { mean: savedMean, variance: savedVariance };
    const saved = () => [Y.data, savedMean, savedVariance];
    const of = (name) => `${name} of [${shape}]`;
    const given = [gamma, beta, mean, variance, 0.9, 1e-5];
    add(of('training'), () => batchNormalization(X, gamma, beta));
    add(
      of('training with all options'),
      () => batchNormalization(X, ...given, true, { out: Y, statistics, unbiased: true, relu: true }),
      saved,
    );
    add(
      of('training in place'),
      () => batchNormalization(inPlace, null, beta, running, running, 0.9, 1e-5, true, { out: inPlace }),
      () => [inPlace.data],
    );
    add(of('inference'), () => batchNormalization(X, beta, gamma, listOf(channels), running, 0.1, 1e-5, false));
    add(of('inference into out'), () => batchNormalization(X, ...given, false, { out: Y.data, statistics }), saved);
    add(of('the gradient'), () => batchNormalizationGradient(G, X, { gamma }));
    add(
      of('the gradient over gradOutput'),
      () => batchNormalizationGradient(over, X, { gamma, beta, statistics: { mean, variance }, relu: true, out: over }),
      () => [over.data],
    );
    add(
      of('the gradient in inference'),
      () => batchNormalizationGradient(G, X, { gamma, statistics: { mean, variance }, training: false, out: Y }),
      () => [Y.data],
    );
    add(of('gradients without gradInput'), () =>
      batchNormalizationGradient(G, X, { gamma, beta: null, relu: true, gradInput: false }),
    );
    add(of('moments'), () => moments(X));

    let layer;
    const arrays = ['gamma', 'beta', 'gradGamma', 'gradBeta', 'runningMean', 'runningVar'];
    add(of('a layer'), () => {
      layer = new BatchNorm(channels, { relu: true, unbiased: true });
      for (const name of arrays) hold(layer[name]);
    });
    add(of('its forward'), () => [layer.forward(X), layer]);
    add(
      of('its backward'),
      () => [layer.backward(G, { out: Y }), layer],
      () => [Y.data],
    );
    add(
      of('its next forward'),
      () => [layer.forward(inPlace, { out: over }), layer],
      () => [over.data],
      () => layer.backward(G),
    );
    add(of('its next backward'), () => [layer.backward(G), layer]);
    add(of('its state'), () => layer.state());
    add(of('load'), () => {
      layer.load({ weight: listOf(channels), bias: gamma, running_mean: mean, running_var: variance });
      layer.training = false;
    });
    add(
      of('its forward in inference'),
      () => [layer.forward(over, { out: Y }), layer],
      () => [Y.data],
      () => layer.backward(G),
    );
  }
  return { calls, held };
}

/** A call of each half of the kernel. It runs after another call, to check that later calls are right. */
const PROBE = `(() => {
  const X = { data: Float32Array.from({ length: 800 }, (_, i) => Math.sin(i)), shape: [5, 4, 40] };
  return (() => [batchnorm.batchNormalization(X, [1, 2, 3, 4], null), batchnorm.batchNormalizationGradient(X, X)]);
})()`;

const bytesOf = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength);

for (const [entry, name] of [
  ['batchnorm', 'lack of memory'],
  ['batchnorm', 'a simulated stack overflow'],
  ['batchnorm', 'termination'],
  ['batchnorm', 'a real stack overflow'],
  ['batchnorm/js', 'lack of memory'],
  ['batchnorm/js', 'a real stack overflow'],
])
  test(`${entry}: ${name} at any point of any call does no lasting harm`, () => {
    const stop = STOPS[name];
    // One context in which no call fails, and one in which every call does.
    const [smooth, rough] = [0, 1].map(() => {
      const made = makeContext(entry, stop);
      const probe = made.inside(PROBE);
      const probed = digest(probe());
      return { ...made, ...made.inside(`(${callsOf})`)(made.batchnorm), probe, probed };
    });
    const wrong = makeList();
    for (const [index, { name, call, writes, still }] of rough.calls.entries()) {
      smooth.calls[index].still();
      const expected = smooth.attempt(smooth.calls[index].call, 0);
      assert.equal(expected.error, undefined);
      const right = digest(expected.result, smooth.calls[index].writes());
      const written = writes();
      const stillness = digest(still());
      const before = rough.held.map((data) => data.slice());
      const strike = (at) => {
        // This close to the end of the stack, V8 cannot call a function for the first time, so the first overflow is simulated.
        if (stop.real && at > 1) return rough.nearby(call, 4 * at);
        return rough.attempt(call, at <= expected.points ? at : 0);
      };
      for (let at = 1; ; at++) {
        const { error, result, kind } = strike(at);
        const note = (text) => wrong.add(`${name}: ${text}`, `${kind} ${at}`);
        if (!error) {
          if (digest(result, written) !== right) note('a wrong result');
          break;
        }
        if (!stop.known(error)) note(error);
        for (const [k, data] of rough.held.entries()) {
          if (bytesOf(data).equals(bytesOf(before[k]))) continue;
          if (kind === 'memory' || !written.includes(data)) note('an array has changed');
          data.set(before[k]);
        }
        if (digest(still()) !== stillness) note('the state has changed');
        if (digest(rough.probe()) !== smooth.probed) note('the next call is wrong');
      }
    }
    wrong.check();
  });

/** The smallest distance from the end of the stack, in frames, at which V8 can call a function for the first time. */
function firstCallFrames() {
  for (let frames = 1; ; frames += 8) {
    const { inside, nearby } = makeContext('batchnorm', STOPS.termination);
    if (!nearby(inside('(() => () => 1)()'), frames).error) return frames - 8;
  }
}

/** First calls, which make the kernel or half of it: code that runs before, and the call. */
const FIRST_CALLS = {
  'initialize with a module': ['', 'initialize(module)'],
  'a gradient': ['', 'batchNormalizationGradient(X, X)'],
  'an arena': ['', 'new Arena(4096)'],
  'a second arena': ['backend()', 'new Arena(4096)'],
  'a gradient in an arena': [
    'const { data } = new Arena(4096).tensor(X.shape); data.set(X.data); X.data = data;',
    'batchNormalizationGradient(X, X)',
  ],
};

/** Makes the engine reject the embedded binaries. They are recognized by their length: batchnorm.wasm is longer. */
const DENIED = `
  const { Module } = WebAssembly;
  const construct = (_, args) => {
    if (args[0].length < binary.length) throw new Error('denied');
    return new Module(...args);
  };
  WebAssembly.Module = new Proxy(Module, { construct });`;

for (const [name, stop] of Object.entries(STOPS))
  test(`${name} at any point of a first call does no lasting harm`, () => {
    /** A context for a first call; `before` runs before everything else. */
    const start = ([prepare, first], before = '') => {
      const made = makeContext('batchnorm', {
        ...stop,
        points: name === 'lack of memory' ? stop.points : /memory|kernel/,
        timeout: stop.timeout && 20,
      });
      made.inside(before);
      const call = made.inside(`(() => {
        const module = new WebAssembly.Module(Uint8Array.from(binary));
        const { Arena, backend, batchNormalizationGradient, initialize } = batchnorm;
        const X = { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [2, 4, 20] };
        ${prepare}
        return () => ${first};
      })()`);
      return { ...made, call, probe: made.inside(PROBE) };
    };
    const floor = stop.real ? firstCallFrames() : 0;
    const refused = start(['', 'null'], DENIED).probe();
    const wrong = makeList();
    for (const [first, codes] of Object.entries(FIRST_CALLS)) {
      const smooth = start(codes);
      const { result, points } = smooth.attempt(smooth.call, 0);
      const plain = start(codes, DENIED);
      const right = [digest(result)];
      if (!codes[1].startsWith('initialize')) right.push(digest(plain.call()));
      const [forward, gradient] = smooth.probe();
      const probed = digest([forward, gradient]);
      // If memory runs out, the kernel counts as unavailable: both halves, or only the gradient's.
      const after = [probed];
      if (name === 'lack of memory') after.push(digest([forward, refused[1]]), digest(refused));
      for (let at = 1, passed = 0; passed < (stop.real ? 6 : 1); at++) {
        const { attempt, batchnorm, call, nearby, probe } = start(codes);
        const { error, result, kind } = stop.real ? nearby(call, floor + 3 * at) : attempt(call, at <= points ? at : 0);
        const note = (text) => wrong.add(`${first}: ${text}`, `${kind} ${at}`);
        const reason = /could not be instantiated/.test(error?.message) ? error.cause : error;
        if (error ? !stop.known(reason) : !right.includes(digest(result))) note(error ?? 'a wrong result');
        if (!after.includes(digest(probe()))) note('the next call is wrong');
        batchnorm.initialize();
        if (batchnorm.backend() !== 'wasm-simd' || digest(probe()) !== probed) note('the kernel is not used after initialize');
        passed = error || kind ? 0 : passed + 1;
      }
    }
    wrong.check();
  });

/** Makes a function that calls the package and returns a hash of the results. */
function makeProbe({ batchNormalization, batchNormalizationGradient }) {
  const X = normalTensor([6, 5, 9, 9], 3, 10);
  const gradOutput = normalTensor(X.shape, 4);
  return () => digest(batchNormalization(X, null, null), batchNormalizationGradient(gradOutput, X, { beta: null, relu: true }));
}

for (const [entry, batchnorm] of Object.entries({ batchnorm: wasm, 'batchnorm/js': plain })) {
  test(`${entry}: after vm stops a call at any moment, the next calls give the right results`, () => {
    const { BatchNorm, batchNormalization, batchNormalizationGradient } = batchnorm;
    const probe = makeProbe(batchnorm);
    const probed = probe();
    const small = normalTensor([2, 3, 9, 9], 1);
    const shape = [16, 64, 56, 56];
    const large = { data: new Float32Array(sizeOf(shape)).fill(3), shape };
    const out = { data: new Float32Array(large.data.length), shape };
    const statistics = { mean: new Float64Array(64), variance: new Float64Array(64) };
    const layer = new BatchNorm(3);
    for (const [call, times] of [
      [() => batchNormalization(small, null, null), [1, 2, 3]],
      [() => layer.forward(small) && layer.backward(small), [1, 2, 3]],
      [() => batchNormalization(large, null, null, null, null, 0.9, 1e-5, true, { out, statistics }), [2, 5, 11]],
      [() => batchNormalizationGradient(large, large, { out, beta: null, relu: true }), [3, 7, 13]],
    ])
      for (const timeout of times) {
        // The code in the context calls the package, which is outside of it.
        assert.throws(() => vm.runInNewContext('for (;;) call()', { call }, { timeout }), {
          code: 'ERR_SCRIPT_EXECUTION_TIMEOUT',
        });
        assert.equal(probe(), probed);
      }
    const fresh = new BatchNorm(3);
    fresh.load(layer.state());
    for (const step of [(one) => one.forward(small), (one) => one.backward(small)]) assert.deepEqual(step(layer), step(fresh));
    assert.deepEqual({ ...layer }, { ...fresh });
  });

  /** Arguments that run `read` whenever one of their properties is read, and the arrays that a call with them may write. */
  const tapped = (read) => {
    const tap = (object) =>
      new Proxy(object, {
        get(target, key) {
          read();
          return target[key];
        },
      });
    const X = normalTensor([2, 3, 9, 9], 1);
    const out = { data: new Float32Array(X.data.length).fill(7), shape: [...X.shape] };
    const statistics = { mean: new Float64Array(3).fill(7), variance: new Float64Array(3).fill(7) };
    const written = [out.data, statistics.mean, statistics.variance];
    return { X: tap(X), gamma: tap({ data: tap([1, 2, 3]), shape: tap([3]) }), out: tap(out), statistics, tap, written };
  };

  /** Calls with such arguments. `results` must be right afterwards, whatever was called in between; no error may change `still`. */
  const TAPPED = {
    batchNormalization({ X, gamma, out, statistics, tap, written }) {
      const options = tap({ out, statistics: tap(statistics), relu: true });
      const call = () => batchnorm.batchNormalization(X, gamma, gamma, gamma, gamma, 0.9, 1e-5, true, options);
      return { call, results: () => written, still: () => written };
    },
    batchNormalizationGradient({ X, gamma, out, tap, written }) {
      const options = tap({ out, statistics: tap({ mean: gamma, variance: gamma }), gamma, beta: gamma, relu: true });
      const call = () => batchnorm.batchNormalizationGradient(X, X, options);
      return { call, results: () => written, still: () => written };
    },
    'backward of a layer'({ X, out, written }) {
      const layer = new batchnorm.BatchNorm(3, { relu: true });
      layer.forward(normalTensor([2, 3, 9, 9], 2));
      const grads = () => [layer.gradGamma, layer.gradBeta];
      return { call: () => layer.backward(X, { out }), results: () => [written, grads()], still: grads, layer };
    },
    'forward of a layer'({ X, out, tap, written }) {
      const layer = new batchnorm.BatchNorm(3, { relu: true });
      const [before, gradOutput] = [2, 3].map((seed) => normalTensor([2, 3, 9, 9], seed));
      layer.forward(before);
      const backward = () => [layer.backward(gradOutput), layer.gradGamma, layer.gradBeta];
      const still = () => [layer, backward()];
      return { call: () => layer.forward(X, tap({ out })), results: () => [written, backward()], still, layer };
    },
  };

  test(`${entry}: if the last getter detaches memory, that is an error, and nothing is written`, () => {
    const probe = makeProbe(batchnorm);
    const probed = probe();
    const ways = {
      detached: (buffer) => structuredClone(buffer, { transfer: [buffer] }),
      shrunk: (buffer) => buffer.resize(8),
    };
    for (const [way, take] of Object.entries(ways))
      for (const victim of ['X', 'gamma', 'mean', 'saved', 'out'])
        for (const gradient of [false, true]) {
          const of = (Type, length) => new Type(new ArrayBuffer(8 * length, { maxByteLength: 8 * length }), 0, length).fill(7);
          const shape = [2, 3, 9, 9];
          const arrays = {
            X: of(Float32Array, 486),
            gamma: of(Float32Array, 3),
            mean: of(Float64Array, 3),
            saved: of(Float64Array, 3),
            out: of(Float32Array, 486),
          };
          const { X, gamma, mean, saved, out } = arrays;
          const target = { data: out, shape };
          // The call reads this property last.
          Object.defineProperty(target, 'isContiguous', { get: () => void take(arrays[victim].buffer) });
          const other = new Float64Array(3).fill(7);
          const G = { data: new Float32Array(486), shape };
          const call = gradient
            ? () =>
                batchnorm.batchNormalizationGradient(
                  G,
                  { data: X, shape },
                  { gamma, statistics: { mean: saved, variance: mean }, out: target },
                )
            : () =>
                batchnorm.batchNormalization({ data: X, shape }, gamma, null, mean, other, 0.9, 1e-5, true, {
                  out: target,
                  statistics: { mean: saved, variance: of(Float64Array, 3) },
                });
          const message =
            way === 'detached' ? /must not be detached; got a detached array$/ : /must hold (486|3) values.*; got 0$/;
          assert.throws(call, { name: way === 'detached' ? 'TypeError' : 'RangeError', message }, `${victim} ${way}`);
          for (const data of [out, saved, other]) assert.ok(data.byteLength === 0 || data.every((value) => value === 7));
          assert.equal(probe(), probed);
        }
  });

  for (const [name, make] of Object.entries(TAPPED))
    test(`${entry}: ${name} survives an error in any getter, and another call in any getter`, () => {
      const other = normalTensor([4, 3, 11, 11], 8);
      const probe = makeProbe(batchnorm);
      const probed = probe();
      const undisturbed = make(tapped(() => {}));
      undisturbed.call();
      const expected = digest(undisturbed.results());
      for (let at = 1, reads = at; at <= reads; at++)
        for (const fails of [true, false]) {
          let armed = false;
          const { call, results, still, layer } = make(
            tapped(() => {
              if (!armed || ++reads !== at) return;
              if (fails) throw new Error('of a getter');
              probe();
              layer?.forward(other);
            }),
          );
          const before = digest(still());
          reads = 0;
          armed = true;
          if (fails) assert.throws(call, { message: 'of a getter' }, `read ${at}`);
          else call();
          armed = false;
          if (fails) assert.equal(digest(still()), before, `read ${at}`);
          else assert.equal(digest(results()), expected, `read ${at}`);
          assert.equal(probe(), probed);
        }
    });
}

test('the memory of an arena cannot be detached', () => {
  const probe = makeProbe(wasm);
  const probed = probe();
  const arena = new wasm.Arena(1 << 14);
  const given = normalTensor([2, 3, 9, 9], 1);
  const X = arena.tensor(given.shape);
  X.data.set(given.data);
  const { buffer } = X.data;
  const { port1, port2 } = new MessageChannel();
  const expected = digest(wasm.batchNormalization(given, null, null));
  for (const take of [
    () => structuredClone(buffer, { transfer: [buffer] }),
    () => port1.postMessage(buffer, [buffer]),
    () => buffer.transfer(),
    () => buffer.resize(0),
  ]) {
    try {
      take();
    } catch {
      // It is rejected, or this Node does not have the method.
    }
    assert.equal(buffer.byteLength > 0 && X.data.length, given.data.length);
    assert.equal(digest(wasm.batchNormalization(X, null, null)), expected);
    assert.equal(probe(), probed);
  }
  port1.close();
  port2.close();
});

test('the program’s settings for stack traces change neither results nor errors', () => {
  const calm = makeContext('batchnorm', STOPS['a real stack overflow']);
  const probed = [calm.inside(PROBE)(), makeContext('batchnorm/js', STOPS.termination).inside(PROBE)()].map((result) =>
    digest(result),
  );
  for (const code of [
    'Error.stackTraceLimit = 0',
    'Error.stackTraceLimit = -1',
    "Error.stackTraceLimit = 'many'",
    'Error.stackTraceLimit = Infinity',
    'delete Error.stackTraceLimit',
    "Object.defineProperty(Error, 'stackTraceLimit', { get() { throw new Error('of a getter') } })",
    "Error.prepareStackTrace = () => { throw new Error('of a getter') }",
    'Error.prepareStackTrace = () => batchnorm.backend()',
  ])
    for (const [denied, expected] of [
      ['', probed[0]],
      [DENIED, probed[1]],
    ]) {
      const { inside, nearby } = makeContext('batchnorm', STOPS['a real stack overflow']);
      inside(denied);
      inside(code);
      const probe = inside(PROBE);
      assert.equal(digest(probe()), expected, code);
      const message = 'batchNormalization: X must be a tensor { data: Float32Array, shape }; got null';
      assert.throws(
        () => inside('batchnorm.batchNormalization(null, null, null)'),
        (error) => error.message === message,
      );
      assert.match(nearby(probe, 5).error.message, /Maximum call stack size exceeded/);
      assert.equal(digest(probe()), expected, code);
    }
});

test('after a worker is terminated while it computes, the next call with its shared memory works', async () => {
  const shape = [8, 64, 28, 28];
  const given = normalTensor(shape, 5, 10);
  const [expected] = wasm.batchNormalization(given, null, null);
  const shared = () => new Float32Array(new SharedArrayBuffer(4 * given.data.length));
  const [x, out] = [shared(), shared()];
  x.set(given.data);
  for (const wait of [0, 2, 5]) {
    const begun = new Int32Array(new SharedArrayBuffer(4));
    const program = `
      const { workerData: { begun, out, shape, url, x } } = require('node:worker_threads');
      import(url).then(({ batchNormalization }) => {
        for (;;) {
          batchNormalization({ data: x, shape }, null, null, null, null, 0.9, 1e-5, true, { out });
          Atomics.add(begun, 0, 1);
        }
      });`;
    const url = new URL('../js/index.js', import.meta.url).href;
    const worker = new Worker(program, { eval: true, workerData: { begun, out, shape, url, x } });
    while (Atomics.load(begun, 0) === 0) await setTimeout(1);
    await setTimeout(wait);
    await worker.terminate();
    assert.deepEqual(x, given.data);
    wasm.batchNormalization({ data: x, shape }, null, null, null, null, 0.9, 1e-5, true, { out });
    assert.ok(bytesOf(out).equals(bytesOf(expected.data)));
  }
});
