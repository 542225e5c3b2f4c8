"""The first losses of examples/train.js, computed with PyTorch in float64.

Writes training-losses.json next to this file. Data and initial weights are the example's own numbers: from the same generator, and
rounded to float32 where the example rounds them. Nothing after that is rounded.
Run: python3 make_training_losses.py   (needs NumPy and PyTorch)
"""
import json
import math
import os

import numpy as np
import torch

CLASSES, HIDDEN_LAYERS, WIDTH, BATCH = 3, 8, 12, 100
STEPS, RATE = 30, 0.03


def seeded(seed):
    """Uniform numbers in [0, 1) from a seed (mulberry32)."""
    low = 0xffffffff
    state = seed
    while True:
        state = (state + 0x6d2b79f5) & low
        t = (state ^ (state >> 15)) * (1 | state) & low
        t = (t + ((t ^ (t >> 7)) * (61 | t) & low) & low) ^ t
        yield (t ^ (t >> 14)) / 2 ** 32


def rounded(numbers, shape):
    return torch.from_numpy(np.array(numbers, np.float32).astype(np.float64).reshape(shape))


def spirals(count, random):
    labels = [b % CLASSES for b in range(count)]
    points = []
    for label in labels:
        radius = next(random)
        angle = 5 * radius + 2 * math.pi * label / CLASSES
        points.append(radius * math.cos(angle) + 0.04 * (next(random) - 0.5))
        points.append(radius * math.sin(angle) + 0.04 * (next(random) - 0.5))
    return rounded(points, (count, 2)), torch.tensor(labels)


def losses(batch_normalization):
    random = seeded(1)
    dense, scales = [], []
    for inputs, outputs in [(2, WIDTH), *[(WIDTH, WIDTH)] * (HIDDEN_LAYERS - 1), (WIDTH, CLASSES)]:
        limit = math.sqrt(6 / inputs)
        weights = rounded([limit * (2 * next(random) - 1) for _ in range(inputs * outputs)], (inputs, outputs))
        dense.append([weights.requires_grad_(), torch.zeros(outputs, dtype=torch.float64, requires_grad=True)])
        scales.append([torch.ones(outputs, dtype=torch.float64, requires_grad=True),
                       torch.zeros(outputs, dtype=torch.float64, requires_grad=True)])
    parameters = [parameter for pair in dense for parameter in pair]
    if batch_normalization:
        parameters += [parameter for pair in scales[:HIDDEN_LAYERS] for parameter in pair]
    optimizer = torch.optim.SGD(parameters, RATE)
    result = []
    for _ in range(STEPS):
        tensor, labels = spirals(BATCH, random)
        for (weights, bias), (gamma, beta) in zip(dense[:HIDDEN_LAYERS], scales):
            tensor = tensor @ weights + bias
            if batch_normalization:
                tensor = torch.nn.functional.batch_norm(tensor, None, None, gamma, beta, True, 0, 1e-5)
            tensor = tensor.relu()
        weights, bias = dense[-1]
        loss = torch.nn.functional.cross_entropy(tensor @ weights + bias, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result.append(loss.item())
    return result


results = {'with': losses(True), 'without': losses(False)}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'training-losses.json'), 'w') as file:
    json.dump({'rate': RATE, **results}, file, indent=1)
    file.write('\n')
print({key: (values[0], values[-1]) for key, values in results.items()}, 'PyTorch', torch.__version__)
