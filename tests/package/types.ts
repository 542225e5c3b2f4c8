/* What the types say, compiled by each TypeScript against the packed package. */

import type { Attached, GradientOptions, Moments, Options, PerChannel, Tensor, TensorLike } from 'batchnorm';
import {
  Arena,
  attach,
  BatchNorm,
  backend,
  batchNormalization,
  batchNormalizationGradient,
  fold,
  gradientSums,
  initialize,
  mergeMoments,
  moments,
} from 'batchnorm';
import * as plainJs from 'batchnorm/js';
import type { Threads, ThreadsOptions, WorkerLike } from 'batchnorm/threads';
import { createThreads } from 'batchnorm/threads';

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
const lists: [Tensor, Tensor<Float64Array>, Tensor<Float64Array>] = plainJs.batchNormalization(X, null, null, gamma, {
  data: [1, 1, 1],
  shape: [3],
});
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

// Options of the call.
const saved = { mean: new Float64Array(3), variance: new Float64Array(3) };
const [rectified]: [Tensor, Tensor, Tensor] = batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, {
  axis: -1,
  statistics: saved,
  unbiased: true,
  relu: true,
});
batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { axis: undefined, statistics: undefined, relu: undefined });
// @ts-expect-error: statistics are received in double
batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { statistics: { mean: data, variance: data } });
// @ts-expect-error: one of the two
batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { statistics: { mean: saved.mean } });
// @ts-expect-error: an axis is a number
batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { axis: 'last' });
// @ts-expect-error: a wrong name
batchNormalization(X, null, null, null, null, 0.9, 1e-5, true, { reLU: true });

// The gradient: three tensors, of which the first is null if it is not wanted.
const gradients: [gradInput: Tensor, gradGamma: Tensor, gradBeta: Tensor] = batchNormalizationGradient(output, X);
const [gradInput, gradGamma] = batchNormalizationGradient(output, X, {
  gamma,
  beta: null,
  statistics: saved,
  epsilon: 1e-3,
  training: false,
  axis: 1,
  relu: true,
  gradInput: true,
});
const gradBuffers: ReturnType<ArrayBuffer['slice']>[] = [gradInput.data.buffer, gradGamma.data.buffer];
const [none, ...parameterGradients] = batchNormalizationGradient(output, X, { gradInput: false });
const isNull: null = none;
const two: [Tensor, Tensor] = parameterGradients;
const [maybe] = batchNormalizationGradient(output, X, { gradInput: Math.random() > 0.5 });
// @ts-expect-error: it may be null
const notNever: Tensor = maybe;
const known: Tensor | null = maybe;
const [ownGradient] = batchNormalizationGradient(output, X, { out: new Own(), statistics: null });
const keptGradient: boolean = ownGradient.own;
const [arrayGradient]: [Tensor, Tensor, Tensor] = batchNormalizationGradient(output, X, { out: data });
batchNormalizationGradient(frozen, frozen, { statistics: { mean: gamma, variance: { data: gamma, shape: [1, 3, 1, 1] } } });
// @ts-expect-error: both tensors are needed
batchNormalizationGradient(output);
// @ts-expect-error: options are the third argument
batchNormalizationGradient(output, X, gamma);
// @ts-expect-error: no option of the gradient
batchNormalizationGradient(output, X, { unbiased: true });
// @ts-expect-error: a wrong name
batchNormalizationGradient(output, X, { gradinput: false });
// @ts-expect-error: one of the two
batchNormalizationGradient(output, X, { statistics: { mean: saved.mean } });

// The gradient of a batch in parts, whose sums may be JSON's.
const sums: Float64Array = gradientSums(output, X, { statistics: mergeMoments([moments(X)]) });
gradientSums(frozen, frozen, {
  gamma,
  beta: null,
  statistics: { mean: gamma, variance: gamma },
  epsilon: 1e-3,
  axis: 1,
  relu: true,
});
const [partGradient, ...wholeGradients]: [Tensor, Tensor, Tensor] = batchNormalizationGradient(output, X, {
  statistics: saved,
  sums: [...sums],
});
const [ownPart] = batchNormalizationGradient(output, X, { out: new Own(), statistics: saved, sums });
const keptPart: boolean = ownPart.own;
const [nothing]: [null, Tensor, Tensor] = plainJs.batchNormalizationGradient(output, X, {
  statistics: saved,
  sums: plainJs.gradientSums(output, X, { statistics: saved }),
  gradInput: false,
});
batchNormalizationGradient(output, X, { sums: null });
// @ts-expect-error: options are needed
gradientSums(output, X);
// @ts-expect-error: statistics are needed
gradientSums(output, X, { gamma });
// @ts-expect-error: statistics are needed
gradientSums(output, X, { statistics: null });
// @ts-expect-error: parts are for training only
gradientSums(output, X, { statistics: saved, training: false });
// @ts-expect-error: sums are arrays of numbers
batchNormalizationGradient(output, X, { statistics: saved, sums: { data: sums, shape: [10] } });
// @ts-expect-error: the sums of all parts are added up before
batchNormalizationGradient(output, X, { statistics: saved, sums: [sums, sums] });

// Moments, and their merging; JSON's are arrays.
const part: Moments = moments(X, { axis: -1 });
const whole: Moments = mergeMoments([part, { count: 2, mean: gamma, variance: new Float32Array(3) }]);
const means: Float64Array = mergeMoments(new Set([part])).mean;
const asStatistics: Options = { statistics: whole };
// @ts-expect-error: no other options
moments(X, { relu: true });
// @ts-expect-error: a list of parts
mergeMoments(part);
// @ts-expect-error: counts are needed
mergeMoments([{ mean: gamma, variance: gamma }]);

const [scale, shift]: [scale: Float64Array, shift: Float64Array] = fold(gamma, null, runningMean, runningVar, 1e-3);
// @ts-expect-error: a mean and a variance are needed
fold(gamma, null);

// The layer.
const layer = new BatchNorm(3, { momentum: 0.99, epsilon: 1e-3, axis: -1, unbiased: true, relu: true });
const forward: Tensor = layer.forward(X);
const backward: Tensor = layer.backward(forward, { out: data });
const ownForward: boolean = layer.forward(X, { out: new Own() }).own;
const inFloats: Float32Array[] = [layer.gamma, layer.beta, layer.gradGamma, layer.gradBeta];
const inDoubles: Float64Array[] = [layer.runningMean, layer.runningVar];
layer.training = false;
layer.momentum = 0.5;
const weights: number[] = layer.state().weight;
layer.load(layer.state());
layer.load({ weight: layer.gamma, bias: gamma, running_mean: gamma, running_var: gamma, num_batches_tracked: 5n });
const plainLayer: plainJs.BatchNorm = new plainJs.BatchNorm(3);
// @ts-expect-error: a number of channels
new BatchNorm();
// @ts-expect-error: a wrong name
new BatchNorm(3, { eps: 1e-3 });
// @ts-expect-error: the arrays stay the same ones
layer.gamma = data;
// @ts-expect-error: an entry is missing
layer.load({ weight: gamma, bias: gamma, running_mean: gamma });
// @ts-expect-error: no argument but X and out
layer.forward(X, { relu: true });

// The plain twin has the same types, and nothing of the kernel's.
const twins: [
  typeof batchNormalization,
  typeof batchNormalizationGradient,
  typeof gradientSums,
  typeof moments,
  typeof mergeMoments,
  typeof fold,
] = [
  plainJs.batchNormalization,
  plainJs.batchNormalizationGradient,
  plainJs.gradientSums,
  plainJs.moments,
  plainJs.mergeMoments,
  plainJs.fold,
];
// @ts-expect-error: an arena is the kernel's memory
plainJs.Arena;

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

// Tensors in the memory of another program, which may be shared. No type of the environment is needed.
declare const memory: { readonly buffer: ArrayBuffer };
const heap: Attached = attach(memory, 0, 2 ** 20);
const onHeap: Tensor = heap.tensor([2, 3, 2, 2], 2 ** 20);
const [heapOutput] = batchNormalization(onHeap, null, null, null, null, 0.1, 1e-5, true, { out: onHeap });
const heapNumbers: Float32Array = heapOutput.data;
// @ts-expect-error: an end is needed
attach(memory, 0);
// @ts-expect-error: a memory, not its buffer
attach(new ArrayBuffer(2 ** 20), 0, 2 ** 20);
// @ts-expect-error: a byte offset is needed
heap.tensor([2, 3]);
// @ts-expect-error: it is the kernel's
plainJs.attach;

// Threads. A Worker is anything that has its methods.
declare const worker: WorkerLike;
declare const overloaded: {
  postMessage(message: unknown, transfer: object[]): void;
  postMessage(message: unknown, options?: object): void;
  terminate(): void;
};
const threadsOptions: ThreadsOptions = { worker: () => worker };
const creating: Promise<Threads> = createThreads();
createThreads(4, threadsOptions);
createThreads(4, { worker: 'threads-worker.js' });
createThreads(undefined, { worker: { href: 'https://example.com/threads-worker.js' } });
createThreads(2, { worker: () => overloaded });
createThreads(2, { worker: undefined });
const used = creating.then(async (threads): Promise<Float32Array> => {
  const shared: Arena<Float32Array> = threads.arena(4096);
  const inShared: Tensor = shared.tensor([2, 3, 2, 2]);
  const [output] = batchNormalization(inShared, null, null, null, null, 0.1, 1e-5, true, { out: inShared });
  const size: number = threads.size;
  // @ts-expect-error: a number of bytes is needed
  threads.arena();
  await threads.close();
  return size > 1 ? output.data : inShared.data;
});
// @ts-expect-error: a number
createThreads('4');
// @ts-expect-error: a worker is made by a function
createThreads(4, { worker });
// @ts-expect-error: a function that makes a worker
createThreads(4, { worker: () => 'threads-worker.js' });
// @ts-expect-error: a wrong name
createThreads(4, { url: 'threads-worker.js' });
// @ts-expect-error: it takes time
creating.size;

// Tensors of other libraries: dims; stride and offset.
const onnx: { data: Float32Array; dims: readonly number[]; type: 'float32' } = { data, dims: [2, 3, 2, 2], type: 'float32' };
const strided: { data: Float32Array; shape: number[]; stride: number[]; offset: number } = {
  data,
  shape: [2, 3, 2, 2],
  stride: [12, 4, 2, 1],
  offset: 0,
};
batchNormalization(onnx, null, null);
plainJs.batchNormalization(strided, null, null);
const [dims] = batchNormalization(X, null, null, null, null, 0.1, 1e-5, true, { out: onnx });
const float32: 'float32' = dims.type;

// The public types, by name.
const like: TensorLike<Float32Array> = onnx;
const parameters: PerChannel[] = [gamma, new Float64Array(3), { data: gamma, shape: [3] }];
const options: Options = { out: X };
const gradientOptions: GradientOptions = { out: X, gamma };

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
  arrayGradient,
  asStatistics,
  backward,
  buffer,
  bytes,
  doubles,
  either,
  float32,
  fromArray,
  gradBuffers,
  gradientOptions,
  gradients,
  heapNumbers,
  inDoubles,
  inFloats,
  isNull,
  kept,
  keptGradient,
  keptPart,
  known,
  like,
  lists,
  means,
  notDoubles,
  nothing,
  notNever,
  notNull,
  notSingles,
  numbers,
  options,
  ownForward,
  parameters,
  partGradient,
  plainLayer,
  rectified,
  scale,
  shift,
  singles,
  sizes,
  statistic,
  triple,
  twins,
  two,
  used,
  weights,
  which,
  wholeGradients,
};
