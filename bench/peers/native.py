"""NumPy or PyTorch, one thread, as a process that takes a JSON line for each thing to do and answers with one.

python3 native.py NumPy
"""
import json
import os
import resource
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np

LIBRARY = sys.argv[1]
if LIBRARY == "PyTorch":
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


def with_numpy(x, gamma, beta, mean, var, momentum, epsilon, training, out):
    """The definition, with as few passes and temporaries as NumPy allows."""
    if training:
        batch_mean = x.mean(axis=(0, 2, 3), keepdims=True)
        out = np.subtract(x, batch_mean, out=out)
        batch_var = (np.einsum("bchw,bchw->c", out, out) / (x.size / x.shape[1])).reshape(mean.shape)
        out *= gamma / np.sqrt(batch_var + epsilon)
        mean, var = (momentum * mean + (1 - momentum) * batch_mean, momentum * var + (1 - momentum) * batch_var)
    else:
        out = np.subtract(x, mean, out=out)
        out *= gamma / np.sqrt(var + epsilon)
    out += beta
    return out, mean, var


def prepare(shape, training, momentum, epsilon, values, gammas, path):
    """The calls, by name. values: gamma, beta, mean and var of every channel; gammas: how many of the first."""
    x = np.fromfile(path, np.float32).reshape(shape)
    gamma, beta, mean, var = (np.full((1, shape[1], 1, 1), value, np.float32) for value in values)
    gamma = gamma[:, :gammas]
    if LIBRARY == "NumPy":
        out = np.zeros_like(x)
        return {
            "NumPy, out": lambda: with_numpy(x, gamma, beta, mean, var, momentum, epsilon, training, out)[0],
            "NumPy, fresh": lambda: with_numpy(x, gamma, beta, mean, var, momentum, epsilon, training, None)[0],
        }
    tx = torch.from_numpy(x)
    g, b, m, v = (torch.from_numpy(a.reshape(-1).copy()) for a in (gamma, beta, mean, var))
    call = lambda: torch.batch_norm(tx, g, b, m, v, training, 1 - momentum, epsilon, False).numpy()
    return {"PyTorch, out": call, "PyTorch, fresh": call}


calls = {}


def do(request):
    if request["do"] == "version":
        return torch.__version__ if LIBRARY == "PyTorch" else np.__version__
    if request["do"] == "prepare":
        calls.clear()
        calls.update(prepare(*request["args"]))
        return list(calls)
    if request["do"] == "output":
        return np.ascontiguousarray(calls[request["name"]]()).tofile(request["path"])
    if request["do"] == "time":
        call, begin = calls[request["name"]], time.perf_counter_ns()
        for _ in range(request["inner"]):
            call()
        return (time.perf_counter_ns() - begin) / request["inner"]
    if request["do"] == "memory":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    raise ValueError(request["do"])


for line in sys.stdin:
    try:
        answer = do(json.loads(line))
    except Exception as error:  # told to the other side, whose test or table it belongs in
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
