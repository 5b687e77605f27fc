"""attend within PyTorch: operators that torch.compile and torch.export know, and models whose attention attend computes.

    import attend.torch
    replacement = attend.torch.replace(model.eval())      # every nn.MultiheadAttention, in place
    print(replacement)                                    # what was swapped; what was not, and why
    y = model(x)
    replacement.restore()                                 # the model is as it was

    o = attend.torch.attention(q, k, v, causal=True)      # torch.ops.attend.attention: q, k, v (batch, heads, tokens, head width)

On the CPU, in float32, for inference: a gradient that is asked for is a RuntimeError that names the operator. It needs PyTorch from
2.4 on, which `import attend` alone never imports. Calls run on PyTorch's threads, torch.get_num_threads() of them.
"""
from __future__ import annotations

from .modules import MultiheadAttention, TransformerEncoder
from .operators import attention, attention_lse, mha
from .replacement import Replacement, replace

__all__ = ["MultiheadAttention", "Replacement", "TransformerEncoder", "attention", "attention_lse", "mha", "replace"]
