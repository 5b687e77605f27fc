#!/usr/bin/env python3
"""make_gguf.py: writes tests/data/gguf (numpy, gguf and safetensors; run it from anywhere).

llama.safetensors: the attention of a layer of Llama, as transformers names and orders it, in float16. Its weights are multiples of 1/16
from -8/16 to 7/16, both of which are in each 32 of a row, so that all but Q8_0 hold them exactly. llama.gguf: the same in each of its
blocks, with rows of queries and keys as llama.cpp's converter orders them: blk.0 of float32, float16 and bfloat16, blk.1 of F16,
blk.2 of Q8_0, blk.3 of Q4_0, blk.4 of Q4_1; a norm beside each, which is none of the layer's."""
import os

import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFWriter, quants
from safetensors.numpy import save_file

HEADS, KV_HEADS, WIDTH = 4, 2, 32
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "gguf")
NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}


def for_pairs(rows, heads):
    """Rows n and n + D / 2 of each head become 2n and 2n + 1."""
    return np.ascontiguousarray(rows.reshape(heads, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape))


def main():
    random = np.random.default_rng(7)
    weights = {}
    for name, rows in (("q", WIDTH), ("k", WIDTH * KV_HEADS // HEADS), ("v", WIDTH * KV_HEADS // HEADS), ("o", WIDTH)):
        integers = random.integers(-8, 8, (rows, WIDTH))
        for row in integers:
            row[random.choice(WIDTH, 2, replace=False)] = -8, 7
        weights[name] = (integers / 16).astype(np.float32)
    os.makedirs(FOLDER, exist_ok=True)
    save_file({f"model.layers.0.self_attn.{name}_proj.weight": matrix.astype(np.float16) for name, matrix in weights.items()},
              os.path.join(FOLDER, "llama.safetensors"), {"format": "pt"})

    writer = GGUFWriter(os.path.join(FOLDER, "llama.gguf"), "llama")
    writer.add_block_count(5)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "</s>", "a"])
    stored = dict(weights, q=for_pairs(weights["q"], HEADS), k=for_pairs(weights["k"], KV_HEADS))
    types = [dict(q=Type.F32, k=Type.F16, v=Type.BF16, o=Type.F16)] + [dict.fromkeys(NAMES, one) for one in (Type.F16, Type.Q8_0, Type.Q4_0, Type.Q4_1)]
    for block, of in enumerate(types):
        writer.add_tensor(f"blk.{block}.attn_norm.weight", np.ones(WIDTH, np.float32))
        for name, tensor in NAMES.items():
            writer.add_tensor(f"blk.{block}.{tensor}.weight", quants.quantize(stored[name], of[name]), raw_dtype=of[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
