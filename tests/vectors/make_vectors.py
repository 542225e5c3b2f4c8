"""Vectors of batch normalization from NumPy and PyTorch, in float64, for inputs that are float32.

Writes vectors.json next to this file. Numbers are base64 of little-endian float32 (inputs) and float64 (results).
Run: python3 make_vectors.py   (needs NumPy and PyTorch)
"""
import base64
import json
import os

import numpy as np
import torch

pack = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
per_channel = lambda array: np.asarray(array, np.float64).reshape(1, -1, 1, 1)


def with_numpy(X, gamma, beta, mean, var, momentum, epsilon, training):
    X = X.astype(np.float64)
    if training:
        batch_mean = X.mean(axis=(0, 2, 3), keepdims=True)
        batch_var = X.var(axis=(0, 2, 3), keepdims=True)
        new_mean = momentum * per_channel(mean) + (1 - momentum) * batch_mean
        new_var = momentum * per_channel(var) + (1 - momentum) * batch_var
    else:
        batch_mean, batch_var = new_mean, new_var = per_channel(mean), per_channel(var)
    return (X - batch_mean) / np.sqrt(batch_var + epsilon) * per_channel(gamma) + per_channel(beta), new_mean, new_var


def with_torch(X, gamma, beta, mean, var, momentum, epsilon, training):
    """PyTorch's momentum is the weight of the new value, and its running variance is unbiased. Both are converted."""
    tensor = lambda array: torch.from_numpy(np.asarray(array, np.float64).copy())
    new_mean, new_var = tensor(mean), tensor(var)
    output = torch.nn.functional.batch_norm(
        tensor(X), new_mean, new_var, tensor(gamma), tensor(beta), training, 1 - momentum, epsilon)
    if training:
        count = X.size // X.shape[1]
        unbiased = (new_var - momentum * tensor(var)) / (1 - momentum)
        new_var = momentum * tensor(var) + (1 - momentum) * unbiased * (count - 1) / count
    return output.numpy(), new_mean.numpy(), new_var.numpy()


SHAPES = [(1, 1, 1, 2), (2, 3, 4, 5), (7, 5, 1, 1), (33, 6, 1, 1), (20, 4, 3, 3), (5, 3, 7, 7), (3, 2, 8, 8), (2, 4, 9, 15),
          (1, 3, 13, 13), (40, 3, 4, 8), (1, 17, 2, 3), (4, 2, 17, 19)]
DATA = [('standard', 0, 1), ('far from zero', 1e4, 1e-2), ('wide', -3e5, 2e4)]

cases = []
for number, shape in enumerate(SHAPES):
    name, center, deviation = DATA[number % len(DATA)]
    rng = np.random.default_rng(number)
    X = (center + deviation * rng.standard_normal(shape)).astype(np.float32)
    gamma, beta, offset = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(3))
    mean = (center + deviation * offset).astype(np.float32)
    var = (deviation ** 2 * rng.uniform(0.5, 2, shape[1])).astype(np.float32)
    for training in (True, False):
        for library, function in (('NumPy', with_numpy), ('PyTorch', with_torch)):
            momentum, epsilon = 0.25, 1e-5
            output, new_mean, new_var = function(X, gamma, beta, mean, var, momentum, epsilon, training)
            cases.append(dict(
                name=f'{library}, {"training" if training else "inference"}, {name}', shape=list(shape),
                X=pack(X), gamma=pack(gamma), beta=pack(beta), runningMean=pack(mean), runningVar=pack(var),
                momentum=momentum, epsilon=epsilon, training=training,
                result=dict(output=pack(output), runningMean=pack(new_mean), runningVar=pack(new_var))))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'vectors.json'), 'w') as file:
    json.dump(cases, file, indent=0)
print(len(cases), 'cases; NumPy', np.__version__, 'PyTorch', torch.__version__)
