"""Multi-head attention on CPUs, in float32, by hand-written AVX-512, AVX2 and NEON kernels.

    import attend
    layer = attend.MultiHeadAttention.from_torch(module)    # a torch.nn.MultiheadAttention
    y = layer(x)                                            # x (batch, tokens, width): numpy's, or a tensor of PyTorch
    y = attend.attention(q, k, v, causal=True)              # q, k, v (batch, heads, tokens, head width)

Arrays are numpy's, or anything with DLPack on the CPU, such as tensors of PyTorch; any strides of 0 or more, and nothing that is float32
is copied. Results are tensors if the first argument is one, else numpy's. What is invalid is a ValueError, or a TypeError, that
names the argument. In shapes: B batch, H query heads, G key/value heads (G divides H), L queries, S keys, D head width of queries
and keys, Dv of values, E model width. Calls release the interpreter's lock, and all functions may be called from any thread.
"""
from __future__ import annotations

from . import models
from ._calls import BoundCall
from ._library import version as _version
from ._options import AttentionOptions
from .cache import KVCache, attention_cached
from .core import DotProductAttention, attention
from .isa import best_isa, core_instructions, isa_compiled, isa_names, isa_usable, product_instructions
from .layer import MultiHeadAttention
from .linear import Linear
from .operations import (layer_norm, masked_softmax, matmul, merge, rms_norm, rms_norm_rows, sequence_mask, transpose_output,
                         transpose_qkv)
from .positions import (RelativePositionBias, RotaryEmbedding, RotaryScaling, default_alibi_slopes, rotary_attention_factor,
                        rotary_embedding, rotary_frequencies)
from .threads import ThreadPool

__version__ = _version()

__all__ = [
    "AttentionOptions", "BoundCall", "DotProductAttention", "KVCache", "Linear", "MultiHeadAttention", "RelativePositionBias",
    "RotaryEmbedding", "RotaryScaling", "ThreadPool", "attention", "attention_cached", "best_isa", "core_instructions",
    "default_alibi_slopes", "isa_compiled", "isa_names", "isa_usable", "layer_norm", "masked_softmax", "matmul", "merge",
    "models", "product_instructions", "rms_norm", "rms_norm_rows", "rotary_attention_factor", "rotary_embedding", "rotary_frequencies",
    "sequence_mask", "transpose_output", "transpose_qkv",
]
