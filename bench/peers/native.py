"""Runs NumPy or PyTorch with a number of threads. Reads requests, and answers each. Requests and answers are JSON, one per line.

python3 native.py NumPy 1
"""
import json
import os
import resource
import sys
import time

LIBRARY, THREADS = sys.argv[1:]
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = THREADS

import numpy as np

if LIBRARY == "PyTorch":
    import torch

    torch.set_num_threads(int(THREADS))
    torch.set_grad_enabled(False)


def with_numpy(x, axis, gamma, beta, mean, var, momentum, epsilon, training, out):
    """The definition, with as few passes and temporaries as NumPy allows."""
    if training:
        letters = "abcdefgh"[: x.ndim]
        batch_mean = x.mean(axis=tuple(k for k in range(x.ndim) if k != axis % x.ndim), keepdims=True)
        out = np.subtract(x, batch_mean, out=out)
        batch_var = (np.einsum(f"{letters},{letters}->{letters[axis]}", out, out) / (x.size / x.shape[axis])).reshape(mean.shape)
        out *= gamma / np.sqrt(batch_var + epsilon)
        mean, var = (momentum * mean + (1 - momentum) * batch_mean, momentum * var + (1 - momentum) * batch_var)
    else:
        out = np.subtract(x, mean, out=out)
        out *= gamma / np.sqrt(var + epsilon)
    out += beta
    return out, mean, var


def prepare(shape, axis, gradient, training, momentum, epsilon, values, gammas, path):
    """Returns, by name, pairs of functions: a call, and the same call with its results as arrays in X's layout.

    `values` holds one gamma, beta, mean and var, which all channels share; `gammas` is the length of gamma. The file holds X and,
    for a gradient, the gradient of the output.
    """
    x, *gradients = np.fromfile(path, np.float32).reshape(-1, *shape)
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    gamma, beta, mean, var = (np.full(sizes, value, np.float32) for value in values)
    gamma = gamma.take(range(gammas), axis)
    if LIBRARY == "NumPy":
        out = np.zeros_like(x)
        call = lambda into: lambda: with_numpy(x, axis, gamma, beta, mean, var, momentum, epsilon, training, into)[:1]
        return {"NumPy, out": (call(out), call(out)), "NumPy, fresh": (call(None), call(None))}
    # PyTorch wants the channels as the second dimension. It sees from the strides whether they are the last one in memory.
    tx, *tg = (torch.movedim(torch.from_numpy(a), axis, 1) for a in (x, *gradients))
    g, b, m, v = (torch.from_numpy(a.reshape(-1).copy()) for a in (gamma, beta, mean, var))
    if gradient:
        _, saved_mean, saved_inverse = torch.native_batch_norm(tx, g, b, m, v, True, 1 - momentum, epsilon)
        # No output is given, because PyTorch would compute into a new one and copy that.
        backward = torch.ops.aten.native_batch_norm_backward
        call = lambda: backward(tg[0], tx, g, m, v, saved_mean, saved_inverse, True, epsilon, [True] * 3)
    else:
        call = lambda: (torch.batch_norm(tx, g, b, m, v, training, 1 - momentum, epsilon, False),)

    def as_arrays():
        main, *others = call()
        return [torch.movedim(main, 1, axis).numpy(), *(a.numpy() for a in others)]

    return {"PyTorch, out": (call, as_arrays), "PyTorch, fresh": (call, as_arrays)}


calls = {}


def do(request):
    if request["do"] == "version":
        return torch.__version__ if LIBRARY == "PyTorch" else np.__version__
    if request["do"] == "prepare":
        calls.clear()
        calls.update(prepare(*request["args"]))
        return list(calls)
    if request["do"] == "output":
        return np.concatenate([np.ravel(a) for a in calls[request["name"]][1]()]).tofile(request["path"])
    if request["do"] == "time":
        (call, _), begin = calls[request["name"]], time.perf_counter_ns()
        for _ in range(request["inner"]):
            call()
        return (time.perf_counter_ns() - begin) / request["inner"]
    if request["do"] == "memory":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    raise ValueError(request["do"])


for line in sys.stdin:
    try:
        answer = do(json.loads(line))
    except Exception as error:  # the benchmark reports it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
