/* What the types say, compiled by each TypeScript against the packed package. */

import type { Options, PerChannel, Tensor, TensorLike } from 'batchnorm';
import { Arena, backend, batchNormalization, initialize } from 'batchnorm';
import { batchNormalization as plain } from 'batchnorm/js';

const data = new Float32Array(24);
const X: Tensor = { data, shape: [2, 3, 2, 2] };

// A tuple of three tensors.
const results = batchNormalization(X, null, null);
const triple: [output: Tensor, runningMean: Tensor, runningVar: Tensor] = results;
const [output, runningMean, runningVar] = results;
const numbers: Float32Array = output.data;
const sizes: readonly number[] = output.shape;
// @ts-expect-error: there are three
results[3];

// Readonly inputs.
const frozen: { readonly data: Float32Array; readonly shape: readonly [2, 3, 2, 2] } = { data, shape: [2, 3, 2, 2] };
const gamma: readonly number[] = [1, 2, 3];
batchNormalization(frozen, gamma, new Float64Array(3), runningMean, runningVar, 0.9, 1e-3, false);
batchNormalization(X, { data: gamma, shape: [3] } as const, { data: new Float32Array(3), dims: [1, 3, 1, 1] });

// Doubles stay doubles, each of the two statistics by itself.
const doubles: [Tensor, Tensor<Float64Array>, Tensor] = batchNormalization(X, null, null, new Float64Array(3), runningVar);
const lists: [Tensor, Tensor<Float64Array>, Tensor<Float64Array>] = plain(X, null, null, gamma, { data: [1, 1, 1], shape: [3] });
const singles: [Tensor, Tensor, Tensor] = batchNormalization(X, null, null, new Float32Array(3), { data, dims: [3] });
// @ts-expect-error: a Float64Array where one was given
const notSingles: [Tensor, Tensor, Tensor] = batchNormalization(X, null, null, new Float64Array(3), null);
// @ts-expect-error: null gives a Float32Array
const notNull: Tensor<Float64Array> = batchNormalization(X, null, null, new Float64Array(3) as Float64Array | null, null)[1];
declare const mixed: Tensor<Float32Array | Float64Array>;
// @ts-expect-error: either may be returned
const notDoubles: Tensor<Float64Array> = batchNormalization(X, null, null, mixed, null)[1];
const either = new Float64Array(3) as PerChannel | null;
const statistic: Tensor | Tensor<Float64Array> = batchNormalization(X, null, null, either, either)[1];
batchNormalization({ data, shape: Int32Array.of(2, 3, 2, 2) }, null, null);

// undefined takes the default; every argument after beta is optional.
batchNormalization(X, null, null, undefined, undefined, undefined, undefined, undefined, {});

// out: an array gives a tensor, a tensor comes back as the type it is.
const [fromArray]: [Tensor, Tensor, Tensor] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: data });
class Own implements Tensor {
  data = new Float32Array(24);
  shape = [2, 3, 2, 2];
  own = true;
}
// A new output lies in memory of its own, which can be transferred.
const buffer: ReturnType<ArrayBuffer['slice']> = output.data.buffer;
const [own] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: new Own() });
const kept: boolean = own.own;

// An arena's tensors are tensors like any other.
const arena = new Arena(4096);
const inArena: Tensor = arena.tensor([2, 3, 2, 2]);
const [arenaOutput] = batchNormalization(inArena, null, null, null, null, 0.1, 1e-5, true, { out: arena.tensor(inArena.shape) });
const arenaNumbers: Float32Array = arenaOutput.data;
const bytes: number = arena.byteLength - arena.bytesFree;
arena.tensor(Int32Array.of(2, 3));
arena.reset();
// @ts-expect-error: a number of bytes
new Arena('4096');
// @ts-expect-error: its size is fixed
arena.byteLength = 8192;
// @ts-expect-error: a shape is a list of numbers
arena.tensor(24);

// Tensors of other libraries: dims; stride and offset.
const onnx: { data: Float32Array; dims: readonly number[]; type: 'float32' } = { data, dims: [2, 3, 2, 2], type: 'float32' };
const strided: { data: Float32Array; shape: number[]; stride: number[]; offset: number } = {
  data,
  shape: [2, 3, 2, 2],
  stride: [12, 4, 2, 1],
  offset: 0,
};
batchNormalization(onnx, null, null);
plain(strided, null, null);
const [dims] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: onnx });
const float32: 'float32' = dims.type;

// The public types, by name.
const like: TensorLike<Float32Array> = onnx;
const parameters: PerChannel[] = [gamma, new Float64Array(3), { data: gamma, shape: [3] }];
const options: Options = { out: X };

initialize();
const which: 'wasm-simd' | 'js' = backend();

// @ts-expect-error: gamma is needed, if null
batchNormalization(X);
// @ts-expect-error: X is a tensor
batchNormalization(data, null, null);
// @ts-expect-error: X holds float32
batchNormalization({ data: new Float64Array(24), shape: [2, 3, 2, 2] }, null, null);
// @ts-expect-error: a shape is needed
batchNormalization({ data }, null, null);
// @ts-expect-error: momentum is a number
batchNormalization(X, null, null, null, null, '0.1');
// @ts-expect-error: no such option
batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { output: data });
// @ts-expect-error: no string is a parameter
batchNormalization(X, 'gamma', null);

export {
  arenaNumbers,
  buffer,
  bytes,
  doubles,
  either,
  float32,
  fromArray,
  kept,
  like,
  lists,
  notDoubles,
  notNull,
  notSingles,
  numbers,
  options,
  parameters,
  singles,
  sizes,
  statistic,
  triple,
  which,
};
