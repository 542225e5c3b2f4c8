/* The libraries that need a newer Node than this package: libraries.js runs `node newer.js <library>` with one. */
import assert from 'node:assert/strict';
import {
  assertFilled,
  assertRejected,
  assertTaken,
  assertTakenEverywhere,
  images,
  shape,
  transposed,
  values,
} from './tensors.js';

const CHANNELS_FIRST = [0, 3, 1, 2];

const libraries = {
  async 'numpy-ts'() {
    const np = await import('numpy-ts');
    const make = (data, sizes) => np.array(data).reshape(...sizes);
    const x = make(values(), shape);
    assert.deepEqual(x.strides, [120, 40, 5, 1]); // in elements; NumPy counts bytes
    assertTakenEverywhere(make);
    assertFilled(make);
    const view = x.transpose(CHANNELS_FIRST);
    assertRejected(view);
    assertTaken(view.copy(), transposed(CHANNELS_FIRST));
    assertRejected(x.slice(':', ':', '::2'));
    assertRejected(x.slice(':', '0:2'), /contiguous|hold 160 values/);
    // A view keeps the whole array as its data, and does not say where it begins.
    assert.equal(x.slice('1:2').data.length, 240);
    assert.equal(x.slice('1:2').offset, undefined);
    assertRejected(x.slice('1:2'), /hold 120 values/);
    assertTaken(x.slice('1:2').copy(), images(1, 2));
  },

  async deepbox() {
    const { slice, tensor, transpose, contiguous } = await import('deepbox/ndarray');
    const make = (data, sizes) => tensor(data).reshape(sizes);
    const x = make(values(), shape);
    assert.deepEqual([x.strides, x.offset], [[120, 40, 5, 1], 0]);
    assertTakenEverywhere(make);
    assertFilled(make);
    const view = transpose(x, CHANNELS_FIRST);
    assertRejected(view);
    assertTaken(contiguous(view), transposed(CHANNELS_FIRST));
    assertTaken(slice(x, { start: 1 }), images(1, 2)); // a copy
  },
};

await libraries[process.argv[2]]();
