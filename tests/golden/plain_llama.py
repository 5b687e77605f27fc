"""A plain model of llama's architecture on the weights of a GGUF file: one sequence, every token anew, no cache (torch, numpy and gguf)."""
import torch
from gguf import GGUFReader, dequantize


class PlainLlama:
    def __init__(self, path, dtype):
        reader = GGUFReader(path)
        self.dtype = dtype
        self.weights = {t.name: torch.tensor(dequantize(t.data, t.tensor_type), dtype=dtype) for t in reader.tensors}
        self.fields = {key: field.contents() for key, field in reader.fields.items()}
        number = lambda key: self.fields["llama." + key]
        self.heads, self.kv_heads, self.blocks = number("attention.head_count"), number("attention.head_count_kv"), number("block_count")
        self.base, self.epsilon = number("rope.freq_base"), number("attention.layer_norm_rms_epsilon")

    def norm(self, x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.epsilon) * self.weights[name + ".weight"]

    def product(self, x, name):
        return x @ self.weights[name + ".weight"].T

    def rotate(self, x):
        """(L, H, D): elements 2n and 2n + 1 are a pair, as GGUF orders the rows of llama's queries and keys."""
        half = torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1]
        angles = torch.arange(x.shape[0], dtype=torch.float64)[:, None] * self.base ** -half
        cosine, sine = (f(angles)[:, None].to(self.dtype) for f in (torch.cos, torch.sin))
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)

    def attention(self, x, of):
        length = x.shape[0]
        q, k, v = (self.product(x, of + name).view(length, heads, -1) for name, heads in (("attn_q", self.heads), ("attn_k", self.kv_heads), ("attn_v", self.kv_heads)))
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (self.rotate(k), v))
        scores = torch.einsum("ihd,jhd->hij", self.rotate(q), k) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
        return self.product(torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).flatten(1), of + "attn_output")

    def __call__(self, tokens):
        """(L, vocabulary): the scores of what comes after each token."""
        x = self.weights["token_embd.weight"][torch.tensor(tokens)]
        for n in range(self.blocks):
            of = f"blk.{n}."
            x = x + self.attention(self.norm(x, of + "attn_norm"), of)
            y = self.norm(x, of + "ffn_norm")
            x = x + self.product(torch.nn.functional.silu(self.product(y, of + "ffn_gate")) * self.product(y, of + "ffn_up"), of + "ffn_down")
        return self.product(self.norm(x, "output_norm"), "output" if "output.weight" in self.weights else "token_embd")
