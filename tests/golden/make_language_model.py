#!/usr/bin/env python3
"""make_language_model.py: writes language_model/ (Python with torch, tokenizers, numpy and gguf, whose versions stand in ids.txt; a minute).

model.gguf is a model of llama's architecture with random weights, one type of GGUF or another in each matrix, and a tokenizer of GPT-2's kind that
learned its merges from lines below. README.md says what the other files hold."""
import json
import os
import random
import struct
from importlib.metadata import version

import numpy as np
import tokenizers
import torch
from gguf import GGMLQuantizationType as Type, GGUFWriter, quants
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from byte_pair_model import CONTROL, USER_DEFINED, tokenizer_of
from plain_llama import PlainLlama

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "language_model")
MODEL = os.path.join(FOLDER, "model.gguf")
BLOCK = 0x1000
SPECIAL = {"<|endoftext|>": CONTROL, "<|im_start|>": CONTROL, "<|im_end|>": CONTROL, "<|im_": USER_DEFINED, "  \n": USER_DEFINED}
TEXT = """The attention of a layer is a mean of values, weighted by how well each key answers the query. The query asks, the keys answer, and the values are what is said.
It isn't what they've said that I'll remember, it's how they'd said it, and where we're told that I'm wrong we don't mind.
  for (int n = 0; n < 10; ++n) {\n    sum += values[n] * weights[n];\n  }
In 1969 there were 12 of them; 3.14159 is the number of a circle. Les élèves étaient là. Die Straße ist naß. Это было вчера. 注意力機制很重要。"""
HEADS, KV_HEADS, WIDTH, HIDDENS, BLOCKS, TOKENS, CONTEXT, ANSWER = 4, 2, 32, 64, 2, 480, 1000, 24
PROMPTS = ["The attention of", "It isn't", "a", "values, weighted by how well", "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n", "12 of them " * 40]
CHAT = "{% for m in messages %}{% if loop.first %}{{'<|im_start|>system\nYou answer.<|im_end|>\n'}}{% endif %}{{'<|im_start|>' + m['role']}}{% endfor %}"


def write_model():
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    # As in SmolLM2, some bytes have no token.
    alphabet = sorted(ByteLevel.alphabet())[:-11]
    trained.train_from_iterator(TEXT.split("\n"), BpeTrainer(vocab_size=TOKENS - len(SPECIAL), initial_alphabet=alphabet, show_progress=False))
    learned = json.loads(trained.to_str())["model"]
    tokens = list(SPECIAL) + [token for token, _ in sorted(learned["vocab"].items(), key=lambda item: item[1])]
    assert len(tokens) == TOKENS
    writer = GGUFWriter(MODEL, "llama")
    writer.add_block_count(BLOCKS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDENS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([SPECIAL.get(token, 1) for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in learned["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT)

    numbers = np.random.default_rng(18)
    types = [Type.Q4_1, Type.Q8_0, Type.F16, Type.Q4_0, Type.BF16, Type.F32]

    def add(name, shape, scale, of):
        matrix = (numbers.standard_normal(shape) * scale).astype(np.float32)
        writer.add_tensor(name, quants.quantize(matrix, of), raw_dtype=of)

    add("token_embd.weight", (TOKENS, WIDTH), 1.0, Type.Q8_0)
    matrices = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH), "attn_output": (WIDTH, WIDTH),
                "ffn_gate": (HIDDENS, WIDTH), "ffn_up": (HIDDENS, WIDTH), "ffn_down": (WIDTH, HIDDENS)}
    for block in range(BLOCKS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", (1 + 0.2 * numbers.standard_normal(WIDTH)).astype(np.float32))
        for n, (name, shape) in enumerate(matrices.items()):
            add(f"blk.{block}.{name}.weight", shape, 1.5 * shape[1] ** -0.5, types[(n + 3 * block) % len(types)])
    writer.add_tensor("output_norm.weight", (1 + 0.2 * numbers.standard_normal(WIDTH)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lines():
    """Texts for the tokenizer, some not UTF-8."""
    choose = random.Random(18)
    parts = list("  \n\t\r'strevmldTheIn019.,!?\u00a0\u3000é中ا٣½") + ["<|im_end|>", "<|im_", "<|im_start|>", "  \n", "'ll", "'re", " the", " values", "attention", "\u200d", "😀", "e\u0301"]
    yield from (line.encode() for line in TEXT.split("\n") + PROMPTS[:5])
    for _ in range(300):
        line = "".join(choose.choice(parts) for _ in range(choose.randrange(1, 24))).encode()
        if choose.randrange(8) == 0:
            at = choose.randrange(len(line))
            line = line[:at] + bytes([choose.randrange(128, 256)]) + line[at:]
        yield line


def characters(first):
    """Each code point of a block alone, and within words."""
    for code in range(first, first + BLOCK):
        if not 0xD800 <= code < 0xE000:
            yield chr(code)
            yield f"a {chr(code)}b{chr(code)} {chr(code)}\n"


def digest(tokenizer, texts):
    """FNV-1a of all ids, in four bytes each."""
    value = 0xCBF29CE484222325
    for encoding in tokenizer.encode_batch(texts):
        for byte in struct.pack(f"<{len(encoding.ids)}i", *encoding.ids):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def joined(numbers):
    return " ".join(str(number) for number in numbers)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    write_model()
    model = PlainLlama(MODEL, torch.float64)
    tokenizer = tokenizer_of(model.fields)
    with open(os.path.join(FOLDER, "ids.txt"), "w", encoding="ascii") as file:
        file.write(f"# tokenizers {tokenizers.__version__}, torch {torch.__version__.split('+')[0]}, gguf {version('gguf')}\n")
        for line in lines():
            file.write(f"line {line.hex()} {joined(tokenizer.encode(line.decode('utf-8', errors='replace')).ids)}\n")
        for first in range(0, 0x110000, BLOCK):
            file.write(f"characters {first} {digest(tokenizer, list(characters(first)))}\n")
    with open(os.path.join(FOLDER, "answers.txt"), "w", encoding="ascii") as file:
        for prompt in PROMPTS:
            before = tokenizer.encode(prompt).ids
            answer, least = [], np.inf
            while len(answer) < ANSWER:
                scores = model(before + answer)[-1]
                first, second = scores.topk(2).values
                least = min(least, float(first - second))
                answer.append(int(scores.argmax()))
            assert least > 1e-3, f"{prompt!r}: a near tie, {least}"
            file.write(f"prompt {joined(before)}\nanswer {joined(answer)}\nscores {joined(f'{float(score):.9g}' for score in scores[:16])}\n")


if __name__ == "__main__":
    main()
