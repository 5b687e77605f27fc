"""What is right, in float64 and by numpy alone."""
import numpy as np


def random(seed, *sizes):
    return np.random.default_rng(seed).standard_normal(sizes).astype(np.float32)


def close(found, expected, tolerance=4e-6):
    """Within a share of the largest expected number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    finite = np.isfinite(expected)
    assert np.array_equal(found[~finite], expected[~finite])
    scale = np.abs(expected[finite]).max(initial=1e-30)
    assert np.abs(found[finite] - expected[finite]).max(initial=0) <= tolerance * scale


def softmax(scores):
    """Of rows without a visible key: zeros."""
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def attention(q, k, v, *, visible=True, added=0.0, scale=None, softcap=None, sinks=None):
    """The output, the weights and the lse of heads (B, H, L, D), keys and values (B, G, S, D): `visible` and `added` broadcast."""
    q, k, v = (np.asarray(array, np.float64) for array in (q, k, v))
    k, v = (np.repeat(array, q.shape[1] // array.shape[1], 1) for array in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    scores = np.where(visible, scores + added, -np.inf)
    extra = scores
    if sinks is not None:
        extra = np.concatenate([scores, np.broadcast_to(np.asarray(sinks, np.float64)[:, None, None], scores.shape[:3] + (1,))], -1)
    weights = softmax(extra)[..., :scores.shape[-1]]
    with np.errstate(divide="ignore"):
        top = np.maximum(extra.max(-1), -1e300)
        lse = top + np.log(np.exp(extra - top[..., None]).sum(-1))
    return weights @ v, weights, lse


def heads(x, count):
    return x.reshape(x.shape[0], x.shape[1], count, -1).swapaxes(1, 2)


def layer(weights, queries, keys, values, num_heads, rotate=None, **options):
    """Of weights by the names of attend.MultiHeadAttention: the output, and the attention weights."""
    def project(x, name):
        bias = weights.get(name + "_bias")
        return np.asarray(x, np.float64) @ np.asarray(weights[name], np.float64).T + (0 if bias is None else np.asarray(bias, np.float64))
    q, k, v = project(queries, "query"), project(keys, "key"), project(values, "value")
    head_dim = q.shape[-1] // num_heads
    q, k, v = (heads(x, x.shape[-1] // (head_dim if i < 2 else v.shape[-1] * head_dim // k.shape[-1])) for i, x in enumerate((q, k, v)))
    if rotate is not None:
        q, k = rotate(q), rotate(k)
    mixed, given, lse = attention(q, k, v, **options)
    return project(mixed.swapaxes(1, 2).reshape(*queries.shape[:2], -1), "output"), given, lse


def rotate(x, frequencies, positions, interleaved=False):
    """Rows of (B, H, L, D) turned to positions (L,)."""
    x = np.asarray(x, np.float64).copy()
    half = len(frequencies)
    angles = np.asarray(positions, np.float64)[:, None] * np.asarray(frequencies, np.float64)
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (slice(0, half), slice(half, 2 * half))
    a, b = x[..., first].copy(), x[..., second].copy()
    x[..., first], x[..., second] = a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)
    return x
