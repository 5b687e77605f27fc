"""A typed program, for mypy --strict: what it may write, and what mypy has to refuse (where `type: ignore` would be unused else)."""
from __future__ import annotations

import numpy as np

import attend

layer: attend.MultiHeadAttention = attend.MultiHeadAttention.random(64, 4, dropout=0.1)
x = np.zeros((2, 10, 64), np.float32)
y = layer(x, valid_lens=np.array([3, 4]), causal=True, window_left=None, threads=2)
call: attend.BoundCall = layer.bind(x, out=y, lse=np.zeros((2, 4, 10), np.float32), threads=attend.ThreadPool(2))
call()
options: attend.AttentionOptions = {"causal": True, "empty_rows": "uniform"}
y = layer(x, **options)
cache: attend.KVCache = layer.cache(32, batch=2)
heads: int = layer.num_heads + cache.capacity
name: str = attend.best_isa()
up: attend.Linear = attend.Linear(np.zeros((256, 64), np.float32), weight_type="int8", isa=name)
y = up(x, "gelu", threads=2)
bound: attend.BoundCall = up.bind(x, "silu", multiplier=y, out=y)
narrow: attend.MultiHeadAttention = attend.MultiHeadAttention.random(64, 4, weight_type="int4", weight_group=64)
size: int = up.inputs + up.packed_bytes
encoder: attend.models.SentenceEncoder = attend.models.SentenceEncoder("model", "int8", threads=attend.ThreadPool(2))
tokens: list[str] = encoder.tokenize("a sentence")
y = encoder.encode(tokens, out=y)
y = attend.layer_norm(x, residual=x, sum=y)

layer(x, is_causal=True)  # type: ignore[call-arg]
layer(x, causal="yes")  # type: ignore[arg-type]
layer(x, isa=3)  # type: ignore[arg-type]
attend.ThreadPool("2")  # type: ignore[arg-type]
encoder.encode([3])  # type: ignore[list-item]
up(x, 3)  # type: ignore[arg-type]
layer.num_heads = 3  # type: ignore[misc]
