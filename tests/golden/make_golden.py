#!/usr/bin/env python3
"""Writes the golden cases beside this file: float32 inputs, answers computed by PyTorch in float64.

README.md lists the cases and formats. `make_golden.py [FOLDER]` writes into FOLDER instead.
"""
import math
import pathlib
import shutil
import sys
import zlib

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)
torch.backends.mha.set_fastpath_enabled(False)

KINDS = ["mha", "torch_mha", "dot_product_attention", "masked_softmax", "sequence_mask"]
SIZE_LIMIT = 600 * 1000


# ---- The book's module (Dive into Deep Learning, sections 11.3 and 11.5) ----

def sequence_mask(X, valid_len, value=0):
    """Keeps X[b, j, ...] for j < valid_len[b], sets the rest to value, in place."""
    visible = torch.arange(X.size(1))[None, :] < valid_len[:, None]
    X[~visible] = value
    return X


def masked_softmax(X, valid_lens):
    if valid_lens is None:
        return nn.functional.softmax(X, dim=-1)
    shape = X.shape
    if valid_lens.dim() == 1:
        valid_lens = torch.repeat_interleave(valid_lens, shape[1])
    else:
        valid_lens = valid_lens.reshape(-1)
    X = sequence_mask(X.reshape(-1, shape[-1]).clone(), valid_lens, value=-1e6)
    return nn.functional.softmax(X.reshape(shape), dim=-1)


class DotProductAttention(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens=None):
        d = queries.shape[-1]
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(d)
        self.attention_weights = masked_softmax(scores, valid_lens)
        return torch.bmm(self.dropout(self.attention_weights), values)


def transpose_qkv(X, num_heads):
    X = X.reshape(X.shape[0], X.shape[1], num_heads, -1)
    X = X.permute(0, 2, 1, 3)
    return X.reshape(-1, X.shape[2], X.shape[3])


def transpose_output(X, num_heads):
    X = X.reshape(-1, num_heads, X.shape[1], X.shape[2])
    X = X.permute(0, 2, 1, 3)
    return X.reshape(X.shape[0], X.shape[1], -1)


class MultiHeadAttention(nn.Module):
    def __init__(self, key_size, query_size, value_size, num_hiddens, num_heads, dropout, bias=False):
        super().__init__()
        self.num_heads = num_heads
        self.attention = DotProductAttention(dropout)
        self.W_q = nn.Linear(query_size, num_hiddens, bias=bias)
        self.W_k = nn.Linear(key_size, num_hiddens, bias=bias)
        self.W_v = nn.Linear(value_size, num_hiddens, bias=bias)
        self.W_o = nn.Linear(num_hiddens, num_hiddens, bias=bias)

    def forward(self, queries, keys, values, valid_lens):
        queries = transpose_qkv(self.W_q(queries), self.num_heads)
        keys = transpose_qkv(self.W_k(keys), self.num_heads)
        values = transpose_qkv(self.W_v(values), self.num_heads)
        if valid_lens is not None:
            valid_lens = torch.repeat_interleave(valid_lens, repeats=self.num_heads, dim=0)
        output = self.attention(queries, keys, values, valid_lens)
        return self.W_o(transpose_output(output, self.num_heads))


# ---- Making and writing a case ----

class Case:
    """One case folder; random values come from a seed that depends on the case's name alone."""

    def __init__(self, root, kind, name):
        self.kind, self.name, self.folder = kind, name, root / kind / name
        self.folder.mkdir(parents=True)
        self.generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{kind}/{name}".encode())))

    def random(self, *shape, scale=1.0):
        return (self.generator.standard_normal(shape) * scale).astype(np.float32)

    def lengths_per_query(self, batch, queries, keys, fixed):
        """(B, L) random lengths in 0..S, with the fixed ones spread among them."""
        lens = self.generator.integers(0, keys + 1, batch * queries)
        places = self.generator.permutation(batch * queries)[: len(fixed)]
        lens[places] = fixed
        return lens.reshape(batch, queries).tolist()

    def text(self, **values):
        lines = [f"kind {self.kind}", f"name {self.name}"]
        lines += [f"{key} {value}" for key, value in values.items()]
        (self.folder / "case.txt").write_text("\n".join(lines) + "\n", newline="\n")

    def save(self, name, array, dtype):
        if isinstance(array, torch.Tensor):
            array = array.detach().numpy()
        array = np.asarray(array)
        if array.dtype == np.float64 and dtype == "<f4":
            raise TypeError(f"{name}: an input was not float32")
        np.save(self.folder / f"{name}.npy", np.ascontiguousarray(array, dtype=dtype))

    def save_answer(self, name, tensor):
        assert tensor.dtype == torch.float64 and torch.isfinite(tensor).all()
        self.save(name, tensor, "<f8")


def f64(array):
    return torch.from_numpy(np.asarray(array)).double()


def lens_tensor(lens):
    return None if lens is None else torch.tensor(lens, dtype=torch.int64)


def lens_text(lens):
    form = "none" if lens is None else "batch" if np.ndim(lens) == 1 else "query"
    return {"lens": form, "empty_rows": int(lens is not None and np.min(lens) == 0)}


def save_lens(case, lens):
    if lens is not None:
        case.save("valid_lens", np.array(lens, dtype=np.int64), "<i8")


def mha(root, name, batch, queries, keys, sizes, num_hiddens, num_heads, bias, lens=None, fixed=None, self_attention=False):
    case = Case(root, "mha", name)
    key_size, query_size, value_size = sizes
    if fixed is not None:
        lens = case.lengths_per_query(batch, queries, keys, fixed)
    module = MultiHeadAttention(key_size, query_size, value_size, num_hiddens, num_heads, 0.5, bias).double().eval()
    with torch.no_grad():
        for parameter_name, parameter in module.named_parameters():
            scale = 0.5 if parameter.dim() == 1 else 1.25 / math.sqrt(parameter.shape[1])
            value = case.random(*parameter.shape, scale=scale)
            parameter.copy_(torch.from_numpy(value))
            case.save(parameter_name, value, "<f4")
    q = case.random(batch, queries, query_size)
    k = q if self_attention else case.random(batch, keys, key_size)
    v = q if self_attention else case.random(batch, keys, value_size)
    for tensor_name, value in (("queries", q), ("keys", k), ("values", v)):
        case.save(tensor_name, value, "<f4")
    save_lens(case, lens)
    output = module(f64(q), f64(k), f64(v), lens_tensor(lens))
    weights = module.attention.attention_weights.reshape(batch, num_heads, queries, keys)
    check_against_sdpa(module, q, k, v, lens, output)
    case.save_answer("output", output)
    case.save_answer("attention_weights", weights)
    case.text(batch=batch, queries=queries, keys=keys, key_size=key_size, query_size=query_size,
              value_size=value_size, num_hiddens=num_hiddens, num_heads=num_heads, bias=int(bias), **lens_text(lens))


def check_against_sdpa(module, q, k, v, lens, output):
    """The same layer by torch's own attention function: the generator checks itself."""
    split = lambda x: x.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
    q, k, v = split(module.W_q(f64(q))), split(module.W_k(f64(k))), split(module.W_v(f64(v)))
    mask = None
    if lens is not None:
        n = lens_tensor(lens)
        n = n[:, None] if n.dim() == 1 else n
        visible = torch.arange(k.shape[2])[None, None, :] < n[:, :, None]
        mask = torch.zeros(visible.shape, dtype=torch.float64)
        mask[~visible] = -math.inf
        empty = (n == 0)[:, :, None]  # uniform over all keys: zero queries and no mask give that
        mask = torch.where(empty, 0.0, mask)[:, None]
        q = torch.where(empty[:, None], 0.0, q)
    heads = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    expected = module.W_o(heads.transpose(1, 2).flatten(2))
    assert (expected - output).abs().max() < 1e-12


def torch_mha(root, name, batch, queries, keys, embed_dim, kdim, vdim, num_heads, bias, lens=None, self_attention=False):
    case = Case(root, "torch_mha", name)
    module = nn.MultiheadAttention(embed_dim, num_heads, dropout=0.0, bias=bias, kdim=kdim, vdim=vdim,
                                   batch_first=True, dtype=torch.float64).eval()
    values = {}
    with torch.no_grad():
        for parameter_name, parameter in module.named_parameters():
            scale = 0.5 if parameter.dim() == 1 else 1.25 / math.sqrt(parameter.shape[1])
            values[parameter_name] = case.random(*parameter.shape, scale=scale)
            parameter.copy_(torch.from_numpy(values[parameter_name]))
            case.save(parameter_name, values[parameter_name], "<f4")
    q = case.random(batch, queries, embed_dim)
    k = q if self_attention else case.random(batch, keys, kdim)
    v = q if self_attention else case.random(batch, keys, vdim)
    for tensor_name, value in (("query", q), ("key", k), ("value", v)):
        case.save(tensor_name, value, "<f4")
    hidden = None
    if lens is not None:
        hidden = torch.arange(keys)[None, :] >= lens_tensor(lens)[:, None]
        case.save("key_padding_mask", hidden, "|b1")
    save_lens(case, lens)
    with torch.no_grad():
        output, weights = module(f64(q), f64(k), f64(v), key_padding_mask=hidden,
                                 need_weights=True, average_attn_weights=False)
    assert weights.shape == (batch, num_heads, queries, keys)
    check_against_book(module, values, q, k, v, lens, output, weights)
    case.save_answer("output", output)
    case.save_answer("attention_weights", weights)
    case.text(batch=batch, queries=queries, keys=keys, embed_dim=embed_dim, kdim=kdim, vdim=vdim, num_heads=num_heads,
              bias=int(bias), packed=int("in_proj_weight" in values), **lens_text(lens))


def check_against_book(module, parameters, q, k, v, lens, output, weights):
    """The book's module with torch's weights gives the same: the generator checks itself."""
    e = module.embed_dim
    book = MultiHeadAttention(module.kdim, e, module.vdim, e, module.num_heads, 0.0, bias=True).double().eval()
    with torch.no_grad():
        for i, letter in enumerate("qkv"):
            linear = getattr(book, f"W_{letter}")
            packed = parameters.get("in_proj_weight")
            weight = parameters[f"{letter}_proj_weight"] if packed is None else packed[i * e:(i + 1) * e]
            linear.weight.copy_(torch.from_numpy(weight))
            bias = parameters.get("in_proj_bias", np.zeros(3 * e, np.float32))
            linear.bias.copy_(torch.from_numpy(bias[i * e:(i + 1) * e]))
        book.W_o.weight.copy_(torch.from_numpy(parameters["out_proj.weight"]))
        book.W_o.bias.copy_(torch.from_numpy(parameters.get("out_proj.bias", np.zeros(e, np.float32))))
        expected = book(f64(q), f64(k), f64(v), lens_tensor(lens))
    assert (expected - output).abs().max() < 1e-12
    assert (book.attention.attention_weights.reshape(weights.shape) - weights).abs().max() < 1e-12


def dot_product_attention(root, name, batch, queries, keys, width, value_width, lens=None, fixed=None, inputs=None):
    case = Case(root, "dot_product_attention", name)
    if fixed is not None:
        lens = case.lengths_per_query(batch, queries, keys, fixed)
    q, k, v = inputs or (case.random(batch, queries, width, scale=1.5), case.random(batch, keys, width),
                         case.random(batch, keys, value_width))
    for tensor_name, value in (("queries", q), ("keys", k), ("values", v)):
        case.save(tensor_name, value, "<f4")
    save_lens(case, lens)
    attention = DotProductAttention(0.5).eval()
    output = attention(f64(q), f64(k), f64(v), lens_tensor(lens))
    case.save_answer("output", output)
    case.save_answer("attention_weights", attention.attention_weights)
    case.text(batch=batch, queries=queries, keys=keys, width=width, value_width=value_width, **lens_text(lens))
    return output


def softmax_case(root, name, batch, queries, keys, lens=None, scale=2.0):
    case = Case(root, "masked_softmax", name)
    X = case.random(batch, queries, keys, scale=scale)
    case.save("X", X, "<f4")
    save_lens(case, lens)
    case.save_answer("output", masked_softmax(f64(X), lens_tensor(lens)))
    case.text(batch=batch, queries=queries, keys=keys, **lens_text(lens))


def sequence_case(root, name, X, valid_len, value):
    case = Case(root, "sequence_mask", name)
    X = case.random(*X) if isinstance(X, tuple) else X
    case.save("X", X, "<f4")
    case.save("valid_len", np.array(valid_len, dtype=np.int64), "<i8")
    output = sequence_mask(f64(X).clone(), lens_tensor(valid_len), value)
    case.save_answer("output", output)
    case.text(rank=X.ndim, value=value)
    return output


# ---- The cases ----

def write_all(root):
    for kind in KINDS:
        shutil.rmtree(root / kind, ignore_errors=True)

    mha(root, "self_small", 2, 5, 5, (16, 16, 16), 16, 2, False, self_attention=True)
    mha(root, "heads_of_20", 2, 4, 6, (11, 20, 14), 100, 5, False, lens=[3, 2])
    mha(root, "self_odd", 3, 7, 7, (20, 20, 20), 20, 5, True, lens=[0, 7, 4], self_attention=True)
    mha(root, "cross_query_lens", 2, 3, 8, (9, 13, 11), 20, 5, False, lens=[[0, 8, 3], [1, 5, 7]])
    mha(root, "heads_of_32", 2, 5, 11, (7, 10, 6), 96, 3, True, lens=[11, 6])
    mha(root, "one_head", 2, 9, 9, (8, 8, 8), 64, 1, True, fixed=[0, 0, 9, 9, 1], self_attention=True)
    mha(root, "eight_heads", 2, 4, 17, (10, 12, 14), 24, 8, True)
    mha(root, "one_query", 2, 1, 33, (8, 8, 8), 32, 2, False, lens=[33, 20])
    mha(root, "one_key", 2, 5, 1, (12, 12, 12), 24, 2, True, lens=[1, 0])
    mha(root, "long_query_lens", 1, 37, 137, (6, 5, 7), 16, 1, False, fixed=[0, 1, 127, 128, 129, 136, 137])
    mha(root, "long_batch_lens", 3, 3, 133, (4, 6, 5), 24, 2, True, lens=[133, 128, 200])

    torch_mha(root, "self_plain", 2, 6, 6, 16, 16, 16, 4, False, self_attention=True)
    torch_mha(root, "self_padded", 3, 7, 7, 20, 20, 20, 5, True, lens=[7, 3, 1], self_attention=True)
    torch_mha(root, "cross_kdim_vdim", 2, 5, 9, 24, 10, 14, 3, True, lens=[9, 4])
    torch_mha(root, "cross_long", 2, 1, 130, 8, 8, 8, 1, False, lens=[130, 129])

    values = np.arange(40, dtype=np.float32).reshape(1, 10, 4).repeat(2, axis=0)
    query = np.random.Generator(np.random.PCG64(1)).standard_normal((2, 1, 2)).astype(np.float32)
    output = dot_product_attention(root, "book", 2, 1, 10, 2, 4, lens=[2, 6],
                                   inputs=(query, np.ones((2, 10, 2), np.float32), values))
    assert (output - torch.tensor([[[2., 3, 4, 5]], [[10, 11, 12, 13]]])).abs().max() < 1e-13
    dot_product_attention(root, "width_1", 2, 3, 5, 1, 3)
    dot_product_attention(root, "width_20", 2, 4, 6, 20, 20, lens=[3, 2])
    dot_product_attention(root, "value_width_differs", 2, 5, 9, 7, 33, fixed=[0, 9, 0, 9, 1])
    dot_product_attention(root, "lengths_0_and_over", 3, 2, 6, 8, 8, lens=[0, 6, 9])
    dot_product_attention(root, "long_no_lens", 1, 2, 150, 12, 1)
    dot_product_attention(root, "long_batch_lens", 1, 40, 150, 12, 5, lens=[141])
    dot_product_attention(root, "long_query_lens", 1, 9, 150, 5, 9, fixed=[0, 1, 127, 128, 129, 149, 150])

    softmax_case(root, "no_lens", 2, 3, 5)
    softmax_case(root, "batch_lens", 2, 2, 4, lens=[2, 3])
    softmax_case(root, "query_lens", 2, 2, 4, lens=[[1, 3], [2, 4]])
    softmax_case(root, "lengths_0_and_over", 3, 2, 7, lens=[0, 7, 12])
    softmax_case(root, "one_key", 2, 3, 1, lens=[1, 0])
    softmax_case(root, "wide_scores", 2, 3, 17, lens=[17, 9], scale=40.0)
    softmax_case(root, "long_batch_lens", 2, 2, 150, lens=[150, 129])
    softmax_case(root, "long_query_lens", 1, 6, 150, lens=[[0, 1, 127, 128, 129, 150]])

    output = sequence_case(root, "book", np.array([[1, 2, 3], [4, 5, 6]], np.float32), [1, 2], 0)
    assert output.tolist() == [[1, 0, 0], [4, 5, 0]]
    sequence_case(root, "rank_3", np.ones((2, 3, 4), np.float32), [1, 2], -1)
    sequence_case(root, "lengths_0_and_over", (3, 5), [0, 5, 9], -1000000)

    cases = [f"{kind}/{folder.name}" for kind in KINDS for folder in sorted((root / kind).iterdir())]
    (root / "cases.txt").write_text("\n".join(cases) + "\n", newline="\n")
    sizes = [file.stat().st_size for kind in KINDS for file in (root / kind).rglob("*") if file.is_file()]
    total = sum(sizes)
    assert total < SIZE_LIMIT, total
    print(f"{len(cases)} cases, {len(sizes)} files, {total} bytes")


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    root.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        write_all(root)


if __name__ == "__main__":
    main()
