"""The cases of build/attend-bench that the peers can compute: their shapes, and the buffers that all contenders read."""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layer:
    """Projections with or without bias, attention, output projection; queries == keys is self-attention."""
    name: str
    batch: int
    queries: int
    keys: int
    width: int
    heads: int
    bias: bool = True
    valid_lens: tuple = ()
    packed: bool = False  # attend computes the entries without padding, the peers all of it
    precision: str = "f32"  # bf16: all products; int8: those of projections


@dataclass(frozen=True)
class Core:
    """Attention alone on contiguous (1, heads, length, depth)."""
    name: str
    heads: int
    length: int
    depth: int
    causal: bool


@dataclass(frozen=True)
class Decode:
    """One query against a cache of keys, (1, groups, keys, depth), or (1, keys, groups, depth) in memory."""
    name: str
    heads: int
    groups: int
    keys: int
    depth: int
    token_major: bool = False


def low_precision(name, length, width):
    return [Layer("%s-%s" % (name, precision), 1, length, length, width, 12, precision=precision) for precision in ("bf16", "int8")]


def core(name, heads, length, depth):
    return [Core(name, heads, length, depth, False), Core(name + "-causal", heads, length, depth, True)]


ALL = [
    Layer("seed", 2, 4, 6, 100, 5, False, (3, 2)),
    Layer("minilm-128", 1, 128, 128, 384, 12),
    Layer("bert-128", 1, 128, 128, 768, 12),
    Layer("bert-128x8", 8, 128, 128, 768, 12, True, (128, 100, 64, 32, 128, 90, 70, 17)),
    Layer("bert-128x8-packed", 8, 128, 128, 768, 12, True, (128, 100, 64, 32, 128, 90, 70, 17), True),
    Layer("vit-197", 1, 197, 197, 768, 12),
    Layer("bert-512", 1, 512, 512, 768, 12),
    Layer("wide-512", 1, 512, 512, 1024, 16),
    Layer("whisper-1500", 1, 1500, 1500, 384, 6),
    Layer("long-4096", 1, 4096, 4096, 512, 8),
    *low_precision("minilm-128", 128, 384),
    *low_precision("bert-128", 128, 768),
    *low_precision("bert-512", 512, 768),
    *core("core-128-d32", 12, 128, 32),
    *core("core-128-d64", 12, 128, 64),
    *core("core-512-d64", 12, 512, 64),
    *core("core-2048-d64", 8, 2048, 64),
    *core("core-2048-d128", 8, 2048, 128),
    *core("core-8192-d64", 4, 8192, 64),
    Decode("decode-512", 32, 8, 512, 128),
    Decode("decode-4096", 32, 8, 4096, 128),
    Decode("decode-32768", 32, 8, 32768, 128),
    Decode("decode-32768-token-major", 32, 8, 32768, 128, True),
    Decode("decode-mha-128", 12, 12, 128, 64),
    Decode("decode-mha-1024", 12, 12, 1024, 64),
]


def empty(*shape):
    """An uninitialised float32 array on a cache line."""
    count = int(np.prod(shape))
    memory = np.empty(count * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + count * 4].view(np.float32).reshape(shape)


class Buffers:
    """A case's inputs and weights, uniform in +-limit, the same for the same case on every run.

    Layers: x (B, L, E), y (B, S, E) (x itself where it attends to itself), W and b in the order q, k, v, o,
    W (out, in), b None without biases. Others: q (1, H, L, D), k and v (1, G, S, D), views of the memory."""

    def __init__(self, case):
        self.case = case
        self.precision = getattr(case, "precision", "f32")
        self.random = np.random.default_rng(len(case.name) + case.heads)
        unit = 3 ** 0.5  # variance 1
        if isinstance(case, Layer):
            E = case.width
            self.x = self.uniform(unit, case.batch, case.queries, E)
            self.y = self.x if case.queries == case.keys else self.uniform(unit, case.batch, case.keys, E)
            self.W = [self.uniform((3 / E) ** 0.5, E, E) for _ in range(4)]
            self.b = [self.uniform(0.1, E) for _ in range(4)] if case.bias else None
        elif isinstance(case, Core):
            self.q, self.k, self.v = (self.uniform(unit, 1, case.heads, case.length, case.depth) for _ in range(3))
        else:
            self.q = self.uniform(unit, 1, case.heads, 1, case.depth)
            sizes = (case.keys, case.groups) if case.token_major else (case.groups, case.keys)
            caches = [self.uniform(unit, 1, *sizes, case.depth) for _ in range(2)]
            self.k, self.v = (cache.swapaxes(1, 2) if case.token_major else cache for cache in caches)

    def uniform(self, limit, *shape):
        values = empty(*shape)
        self.random.random(dtype=np.float32, out=values)
        values *= np.float32(2 * limit)
        values -= np.float32(limit)
        return values

    def lengths(self):
        """The visible keys of each batch entry."""
        return self.case.valid_lens or (self.case.keys,) * self.case.batch

    def additive_mask(self):
        """(B, 1, 1, S), -inf at and past the lengths; None without lengths."""
        if not self.case.valid_lens:
            return None
        hidden = np.arange(self.case.keys) >= np.array(self.case.valid_lens)[:, None]
        return np.where(hidden, np.float32(-np.inf), np.float32(0))[:, None, None, :]
