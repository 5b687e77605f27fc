"""A layer in float64: what the errors of low precision are errors of."""
import functools
from dataclasses import dataclass

import numpy as np


@dataclass
class Result:
    heads: np.ndarray   # (L, E), what the output projection reads
    output: np.ndarray  # (L, E)

    def error(self, output):
        """The root of the mean square of the errors, as a share of that of the results."""
        return float(np.sqrt(np.mean((output.reshape(self.output.shape) - self.output) ** 2) / np.mean(self.output ** 2)))


@functools.lru_cache(1)
def layer(buffers):
    """Of self-attention of one sequence, with biases."""
    x, H = buffers.x[0].astype(np.float64), buffers.case.heads
    q, k, v = (split(x @ W.T.astype(np.float64) + b, H) for W, b in zip(buffers.W[:3], buffers.b))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[2])
    weights = np.exp(scores - scores.max(2, keepdims=True))
    heads = (weights @ v / weights.sum(2, keepdims=True)).swapaxes(0, 1).reshape(x.shape)
    return Result(heads, heads @ buffers.W[3].T.astype(np.float64) + buffers.b[3])


def split(rows, count):
    """(L, E) -> (H, L, D)."""
    return rows.reshape(len(rows), count, -1).swapaxes(0, 1)
