"""Vectors of every option of batchNormalization and batchNormalizationGradient, from PyTorch in float64, for inputs that are
float32. Gradients are those of PyTorch's automatic differentiation.

Writes option-vectors.json next to this file: tensors of ranks 1 to 5 with their channels on several axes, each with several calls.
Plain JavaScript computes tensors of up to 128 values. WebAssembly computes larger ones, in different ways for fewer than 32
positions and for more.
Numbers are base64 of little-endian float32 (inputs) and float64 (results).
Run: python3 make_option_vectors.py   (needs NumPy and PyTorch)
"""
import base64
import json
import math
import os

import numpy as np
import torch

pack = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
double = lambda array: torch.from_numpy(np.array(array, np.float64))


def normalize(x, gamma, beta, mean, var, momentum, epsilon, training, relu):
    """Not torch.nn.functional.batch_norm, since that rejects one value per channel in training; otherwise the same.
    PyTorch's momentum is the weight of the new value. mean and var are updated in training."""
    y = torch.batch_norm(x, gamma, beta, mean, var, training, 1 - momentum, epsilon, False)
    return y.relu() if relu else y


def forward(x, given, training=True, relu=False, unbiased=False, momentum=0.75, epsilon=1e-5, null=(), doubles=False):
    """`null` names the arguments that are null, `doubles` passes the running statistics as doubles. PyTorch's running variance
    always averages the unbiased variance; if `unbiased` is false, it is computed here from the biased one."""
    channels, count = x.shape[1], x.numel() // x.shape[1]
    argument = lambda key, default: np.full(channels, default) if key in null else given[key]
    gamma, beta, mean, var = (double(argument(key, default)) for key, default in
                              (('gamma', 1), ('beta', 0), ('runningMean', 0), ('runningVar', 1)))
    new_mean, new_var = mean.clone(), var.clone()
    output = normalize(x, gamma, beta, new_mean, new_var, momentum, epsilon, training, relu)
    used_mean, used_var = mean, var
    if training:
        used_mean, used_var = x.mean((0, 2)), x.var((0, 2), unbiased=False)
        if not unbiased:
            new_var = momentum * var + (1 - momentum) * used_var
    return dict(function='forward', training=training, relu=relu, unbiased=unbiased, momentum=momentum, epsilon=epsilon,
                null=list(null), doubles=doubles,
                result=dict(output=pack(output), runningMean=pack(new_mean), runningVar=pack(new_var),
                            mean=pack(used_mean), variance=pack(used_var)))


def gradient(x, given, training=True, relu=False, epsilon=1e-5, null=(), statistics='saved'):
    """`statistics` is None; 'saved', those that the forward call saves (in training the batch's own, in inference the running
    statistics); or 'rounded mean', the same with the mean rounded to float32. Rounding it does not change the result: in training,
    a given mean only centers the sums."""
    channels = x.shape[1]
    argument = lambda key, default: np.full(channels, default) if key in null else given[key]
    X, gamma, beta = (array.clone().requires_grad_() for array in
                      (x, double(argument('gamma', 1)), double(argument('beta', 0))))
    mean, var = double(given['runningMean']), double(given['runningVar'])
    output = normalize(X, gamma, beta, mean.clone(), var.clone(), 0.9, epsilon, training, relu)
    output.backward(double(given['gradOutput']).reshape(x.shape))
    if training:
        mean, var = x.mean((0, 2)), x.var((0, 2), unbiased=False)
    if relu:  # no output may be so close to 0 that rounding to float32 could decide whether it is masked
        y = normalize(x, gamma.detach(), beta.detach(), mean, var, 0.9, epsilon, False, False)
        assert y.abs().min() > 1e-5
    call = dict(function='gradient', training=training, relu=relu, epsilon=epsilon, null=list(null), statistics=None)
    if statistics is not None:
        call['statistics'] = dict(mean=pack(mean.float().double() if statistics == 'rounded mean' else mean), variance=pack(var))
    call['result'] = dict(gradInput=pack(X.grad), gradGamma=pack(gamma.grad), gradBeta=pack(beta.grad))
    return call


def vectors(shape, axis, calls, center=0, deviation=1, gradient_center=0, gradient_deviation=1):
    """The inputs for a shape, and the results of each of the calls, which are pairs of a function and its options."""
    rng = np.random.default_rng([len(shape), axis % len(shape), *shape])
    channels = shape[axis]
    f32 = lambda array: np.asarray(array).astype(np.float32)
    given = dict(
        X=f32(center + deviation * rng.standard_normal(shape)),
        gradOutput=f32(gradient_center + gradient_deviation * rng.standard_normal(shape)),
        gamma=f32(1 + 0.5 * rng.standard_normal(channels)),
        beta=f32(rng.standard_normal(channels)),
        runningMean=f32(center + deviation / 2 * rng.standard_normal(channels)),
        runningVar=f32(deviation ** 2 * rng.uniform(0.5, 2, channels)))
    x = double(given['X']).reshape(math.prod(shape[:axis % len(shape)]), channels, -1)
    return dict(shape=list(shape), axis=axis, **{key: pack(array) for key, array in given.items()},
                calls=[function(x, given, **options) for function, options in calls])


F, G = forward, gradient
groups = [
    vectors((7,), 0, [
        (F, dict(relu=True)), (F, dict(training=False)), (F, dict(training=False, relu=True, unbiased=True, doubles=True)),
        (G, {}), (G, dict(relu=True, statistics=None)), (G, dict(training=False, relu=True)), (G, dict(training=False))]),
    vectors((150,), -1, [
        (F, {}), (F, dict(training=False, relu=True, doubles=True)),
        (G, dict(statistics=None)), (G, dict(training=False, relu=True)), (G, dict(training=False, null=['gamma']))]),
    vectors((2, 3), 1, [(F, dict(unbiased=True)), (G, {}), (G, dict(relu=True, null=['gamma', 'beta']))]),
    vectors((37, 12), 1, [
        (F, dict(relu=True, unbiased=True, doubles=True)), (F, dict(training=False, epsilon=1e-3)),
        (G, dict(relu=True)), (G, dict(statistics='rounded mean', epsilon=1e-3))], gradient_center=0.5),
    vectors((6, 40), 0, [
        (F, dict(unbiased=True, momentum=0)), (G, dict(statistics=None, null=['gamma'])),
        (G, dict(training=False, relu=True, null=['beta']))]),
    vectors((21, 3, 5), 1, [
        (F, dict(relu=True, momentum=1, null=['beta'])), (G, dict(relu=True, statistics=None, null=['gamma'])),
        (G, dict(training=False))]),
    vectors((2, 4, 50), -2, [
        (F, dict(training=False, relu=True, null=['gamma'])), (G, dict(relu=True, null=['beta'])),
        (G, dict(statistics='rounded mean'))],
        center=100, deviation=0.1, gradient_center=1),
    vectors((5, 6, 7), 2, [
        (F, dict(unbiased=True, null=['runningMean', 'runningVar'])), (G, dict(relu=True, epsilon=0.1)),
        (G, dict(training=False, relu=True))]),
    vectors((2, 3, 4, 5), 2, [
        (F, dict(relu=True, unbiased=True)), (F, dict(training=False)), (F, dict(null=['gamma', 'beta'], momentum=0.1)),
        (G, {}), (G, dict(relu=True)), (G, dict(training=False, relu=True)), (G, dict(statistics=None, null=['beta']))]),
    vectors((2, 4, 7, 5), 1, [
        (F, dict(relu=True, unbiased=True, momentum=0.9)), (G, dict(relu=True, statistics=None)), (G, {})]),
    vectors((3, 4, 3, 6), -1, [
        (F, dict(relu=True, doubles=True)), (F, dict(training=False)), (G, dict(relu=True)), (G, dict(training=False, relu=True))],
        center=-1000, deviation=3),
    vectors((3, 3, 2, 4, 5), 1, [
        (F, dict(training=False, relu=True)), (G, dict(training=False, null=['gamma', 'beta'])),
        (G, dict(relu=True, statistics='rounded mean'))], gradient_center=-2),
    vectors((2, 3, 4, 5, 2), -3, [
        (F, dict(unbiased=True, doubles=True)), (G, {}), (G, dict(relu=True, null=['gamma', 'beta'], statistics=None))]),
]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'option-vectors.json'), 'w') as file:
    json.dump(groups, file, indent=0)
print(sum(len(group['calls']) for group in groups), 'calls; NumPy', np.__version__, 'PyTorch', torch.__version__)
