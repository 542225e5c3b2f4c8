"""Worked examples of the gradient, computed with NumPy in long double.

Writes gradient-examples.json next to this file. X, gradOutput, gamma and beta are float32 values. The expected gradients are
computed in long double with the closed form. Unless float64 is too inaccurate for an example, they are also checked against
PyTorch's automatic differentiation. Shapes may be of any rank; `axis` is the dimension of the channels.
  y = (X - mean) / sqrt(var + epsilon) * gamma + beta, then max(y, 0) if relu is true
  training: mean and (biased) variance are the batch's; inference: they are given, and do not depend on X
Run: python3 make_gradient_examples.py   (needs NumPy and PyTorch, and a long double of 80 bits, as on x86)
"""
import json
import os

import numpy as np
import torch

rng = np.random.default_rng(1)
f32, ld = np.float32, np.longdouble


def closed_form(x, g, gamma, beta, mean, var, eps, axis, training, relu):
    x, g = np.moveaxis(x, axis, 0).astype(ld), np.moveaxis(g, axis, 0).astype(ld)
    shape, C = x.shape, x.shape[0]
    x, g = x.reshape(C, -1), g.reshape(C, -1)
    N = x.shape[1]
    gamma, beta = gamma.astype(ld)[:, None], beta.astype(ld)[:, None]
    if training:
        mean = x.sum(1, keepdims=True) / N
        var = ((x - mean) ** 2).sum(1, keepdims=True) / N
    else:
        mean, var = mean.astype(ld)[:, None], var.astype(ld)[:, None]
    s = 1 / np.sqrt(var + ld(eps))
    d = x - mean
    if relu:
        g = np.where(d * s * gamma + beta > 0, g, 0)
    grad_beta = g.sum(1, keepdims=True)
    centered = g - grad_beta / N
    sum_gd = (centered * d).sum(1, keepdims=True) if training else (g * d).sum(1, keepdims=True)
    grad_gamma = s * sum_gd
    grad = gamma * s * (centered - d * s * s * sum_gd / N) if training else gamma * s * g
    back = lambda a: np.ascontiguousarray(np.moveaxis(a.reshape(shape), 0, axis)).astype(np.float64)
    return back(grad), grad_gamma[:, 0].astype(np.float64), grad_beta[:, 0].astype(np.float64)


def by_torch(x, g, gamma, beta, mean, var, eps, axis, training, relu):
    move = lambda a: torch.tensor(np.ascontiguousarray(np.moveaxis(a, axis, 1)), dtype=torch.float64)
    X = move(x).requires_grad_()
    w, b = (torch.tensor(a, dtype=torch.float64).requires_grad_() for a in (gamma, beta))
    m, v = (None, None) if training else (torch.tensor(mean, dtype=torch.float64), torch.tensor(var, dtype=torch.float64))
    y = torch.nn.functional.batch_norm(X, m, v, w, b, training, 0.1, eps)
    (y.relu() if relu else y).backward(move(g))
    return np.moveaxis(X.grad.numpy(), 1, axis), w.grad.numpy(), b.grad.numpy()


def case(name, shape, axis=1, training=True, relu=False, eps=1e-5, x=(0, 1), g=(0, 1), hard=False, make_g=None):
    C = shape[axis]
    X = (x[0] + x[1] * rng.standard_normal(shape)).astype(f32)
    G = (g[0] + g[1] * rng.standard_normal(shape)).astype(f32) if make_g is None else make_g(X).astype(f32)
    gamma, beta = (1 + 0.5 * rng.standard_normal(C)).astype(f32), rng.standard_normal(C).astype(f32)
    mean, var = (x[0] + x[1] * rng.standard_normal(C) / 2).astype(f32), (x[1] ** 2 * rng.uniform(0.5, 2, C)).astype(f32)
    args = (X, G, gamma, beta, mean, var, eps, axis, training, relu)
    exact = closed_form(*args)
    if not hard:
        for a, b in zip(exact, by_torch(*args)):
            assert np.allclose(a, b, rtol=1e-9, atol=1e-11), name
    return {
        "name": name, "shape": list(shape), "axis": axis, "training": training, "relu": relu, "epsilon": eps,
        "X": [float(v) for v in X.ravel()], "gradOutput": [float(v) for v in G.ravel()],
        "gamma": gamma.tolist(), "beta": beta.tolist(), "runningMean": mean.tolist(), "runningVar": var.tolist(),
        "gradInput": exact[0].ravel().tolist(), "gradGamma": exact[1].tolist(), "gradBeta": exact[2].tolist(),
    }


cases = [
    case("training", (2, 3, 4, 5)),
    case("inference", (2, 3, 4, 5), training=False),
    case("training, relu", (3, 4, 3, 3), relu=True),
    case("inference, relu", (3, 4, 3, 3), training=False, relu=True),
    case("rank 2", (16, 5)),
    case("rank 3", (4, 3, 9)),
    case("rank 5", (2, 3, 2, 3, 4)),
    case("channels last", (2, 4, 5, 3), axis=3),
    case("channels first of all", (3, 40), axis=0),
    case("one value per channel", (1, 4, 1, 1), hard=True),  # PyTorch rejects it
    case("two values per channel", (2, 3, 1, 1)),
    case("short slabs", (40, 3, 2, 3)),
    case("odd slabs", (3, 2, 7, 11)),
    case("mean far from zero, gradient with a mean", (4, 2, 8, 8), x=(1000, 0.01), g=(1, 1), hard=True),
    case("gradient nearly constant", (4, 2, 8, 8), g=(1, 1e-4), hard=True),
    case("large gradient, nearly constant", (4, 2, 8, 8), g=(1000, 0.01), hard=True),
    case("constant gradient", (4, 2, 8, 8), g=(0.1, 0), hard=True),
    case("gradient in proportion to the output", (4, 2, 8, 8), make_g=lambda X: 3 * X + 2, hard=True),
]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gradient-examples.json'), 'w') as file:
    json.dump(cases, file, separators=(',', ':'))
print(len(cases), 'examples; NumPy', np.__version__, 'PyTorch', torch.__version__)
