"""attend as an attention implementation of Hugging Face's transformers, by its name "attend".

    import attend.transformers
    model.set_attn_implementation("attend")      # or from_pretrained(.., attn_implementation="attend")
    model.generate(**inputs)                     # with transformers' own cache
    print(attend.transformers.calls)             # what attend computed, what took a dense mask, what PyTorch computed and why

Heads of keys and values that queries share are not repeated, and nothing is transposed by a copy. Padding, causal, sliding windows and
packed sequences reach attend as what they are; other masks as dense ones, which the count tells. On the CPU, in float32, for inference:
PyTorch computes what is trained, autocast or of another type, and a tensor on another device is a ValueError. It needs PyTorch and
transformers from 5.24 on, which `import attend` alone never imports. Calls run on PyTorch's threads.
"""
from __future__ import annotations

import inspect

import transformers
from transformers import AttentionInterface, AttentionMaskInterface, masking_utils

if "q_offset" not in inspect.signature(masking_utils.sdpa_mask).parameters:
    raise ImportError(f"attend.transformers needs transformers from 5.24 on, whose mask functions take q_offset; found "
                      f"{transformers.__version__}")

from .attention import attention
from .calls import Calls, calls
from .masks import Mask, mask

__all__ = ["Calls", "Mask", "attention", "calls", "mask"]

AttentionInterface.register("attend", attention)
AttentionMaskInterface.register("attend", mask)
