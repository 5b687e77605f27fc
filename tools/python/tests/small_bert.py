"""A BERT model of random weights: its folder, as files of all-MiniLM-L6-v2 lie in one, and what it computes, by numpy in float64."""
import json
import math
import struct

import numpy as np

WIDTH, LAYERS, HEADS, HIDDEN, POSITIONS, MOST_TOKENS, EPSILON = 24, 2, 3, 40, 32, 16, 1e-6
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "on", "the", "mat", "##s", "un", "##happi", "##ly", "!", ",",
          "cafe", "\u5b57", "\U0001f642", "b", "##c"]
CONFIG = {"model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": HIDDEN,
          "max_position_embeddings": POSITIONS, "hidden_act": "gelu", "layer_norm_eps": EPSILON, "vocab_size": len(TOKENS), "type_vocab_size": 2}


def weights():
    """By the names of transformers' BertModel."""
    random = np.random.default_rng(18)
    sizes = {"embeddings.word_embeddings": (len(TOKENS), WIDTH), "embeddings.position_embeddings": (POSITIONS, WIDTH),
             "embeddings.token_type_embeddings": (2, WIDTH), "embeddings.LayerNorm": (WIDTH,)}
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        sizes.update({name + f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")})
        sizes.update({name + "attention.output.dense": (WIDTH, WIDTH), name + "intermediate.dense": (HIDDEN, WIDTH),
                      name + "output.dense": (WIDTH, HIDDEN), name + "attention.output.LayerNorm": (WIDTH,), name + "output.LayerNorm": (WIDTH,)})
    found = {}
    for name, size in sizes.items():
        found[name + ".weight"] = random.standard_normal(size) / 4 + name.endswith("Norm")
        if "embeddings." not in name or name.endswith("Norm"):
            found[name + ".bias"] = random.standard_normal(size[0]) / 4
    return {name: array.astype(np.float32) for name, array in found.items()}


def write(folder, tensors=None, config=CONFIG, tokens=TOKENS):
    """Writes the folder; gives its path."""
    header, data = {}, b""
    for name, array in (weights() if tensors is None else tensors).items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MOST_TOKENS, "do_lower_case": False}))
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
    return str(folder)


def _norm(x, tensors, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + EPSILON) * tensors[name + ".weight"] + tensors[name + ".bias"]


def _linear(x, tensors, name):
    return x @ tensors[name + ".weight"].T + tensors[name + ".bias"]


def vector(ids):
    """The vector of a text of these ids, and the attention weights of each layer, (heads, n, n)."""
    tensors, shown = {name: array.astype(np.float64) for name, array in weights().items()}, []
    x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.position_embeddings.weight"][:len(ids)]
    x = _norm(x + tensors["embeddings.token_type_embeddings.weight"][0], tensors, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        q, k, v = (_linear(x, tensors, name + "attention.self." + part).reshape(len(ids), HEADS, -1).swapaxes(0, 1) for part in ("query", "key", "value"))
        scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(WIDTH // HEADS))
        shown.append(scores / scores.sum(-1, keepdims=True))
        mixed = (shown[-1] @ v).swapaxes(0, 1).reshape(len(ids), WIDTH)
        x = _norm(x + _linear(mixed, tensors, name + "attention.output.dense"), tensors, name + "attention.output.LayerNorm")
        hidden = _linear(x, tensors, name + "intermediate.dense")
        hidden = hidden / 2 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = _norm(x + _linear(hidden, tensors, name + "output.dense"), tensors, name + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.sqrt((mean ** 2).sum()), shown
