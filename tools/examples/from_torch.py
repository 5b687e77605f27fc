"""Saves a torch module of attention, inputs and its output, for attend run to compute the same.

    python3 tools/examples/from_torch.py torch FOLDER    torch.nn.MultiheadAttention, with both masks
    python3 tools/examples/from_torch.py d2l FOLDER      MultiHeadAttention of Dive into Deep Learning, with valid lengths

It needs torch and numpy, and prints the command to run next. For a module of your own, call save() with its state_dict(),
or give attend run the .safetensors file that you have, with --prefix where the layer's names begin with something.
"""
import json
import math
import pathlib
import shlex
import shutil
import struct
import sys

import numpy
import torch


def write_safetensors(path, tensors):
    """The format: eight bytes of length, a JSON header of that length, and the elements."""
    header, elements = {}, b""
    for name, tensor in tensors.items():
        data = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(elements), len(elements) + len(data)]}
        elements += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + elements)


def save(folder, state, heads, arrays, options=()):
    """Writes the files and gives the command. `arrays` are tensors by the names of attend run's flags, batch first, or with
    the option --sequence-first as a module without batch_first takes them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "weights.safetensors", state)
    command = ["attend" if shutil.which("attend") else "build/attend", "run", "--weights", folder / "weights.safetensors", "--heads", heads]
    for flag, tensor in arrays.items():
        path = folder / (flag.strip("-") + ".npy")
        tensor = tensor.detach()
        numpy.save(path, (tensor.float() if tensor.is_floating_point() else tensor).numpy())
        command += [flag, path]
    return shlex.join(str(word) for word in [*command, *options])


def from_torch(folder):
    """Both of torch's bool masks are true where a key is hidden: --mask-hides."""
    module = torch.nn.MultiheadAttention(embed_dim=32, num_heads=4, batch_first=True).eval()
    x = torch.randn(2, 10, 32)
    padding = torch.zeros(2, 10, dtype=torch.bool)
    padding[1, 7:] = True
    later = torch.ones(10, 10, dtype=torch.bool).triu(1)
    with torch.no_grad():
        output, _ = module(x, x, x, key_padding_mask=padding, attn_mask=later)
    return save(folder, module.state_dict(), 4, {"--query": x, "--key-padding-mask": padding, "--mask": later, "--expect": output},
                ["--mask-hides"])


class D2LMultiHeadAttention(torch.nn.Module):
    """As in Dive into Deep Learning: valid_lens is of entries, (B,)."""

    def __init__(self, num_hiddens, num_heads, query_size, key_size, value_size, bias=False):
        super().__init__()
        self.num_heads = num_heads
        self.W_q = torch.nn.Linear(query_size, num_hiddens, bias=bias)
        self.W_k = torch.nn.Linear(key_size, num_hiddens, bias=bias)
        self.W_v = torch.nn.Linear(value_size, num_hiddens, bias=bias)
        self.W_o = torch.nn.Linear(num_hiddens, num_hiddens, bias=bias)

    def forward(self, queries, keys, values, valid_lens):
        def heads_of(rows):
            return rows.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

        q, k, v = heads_of(self.W_q(queries)), heads_of(self.W_k(keys)), heads_of(self.W_v(values))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        hidden = torch.arange(keys.shape[1]) >= valid_lens[:, None, None, None]
        weights = torch.softmax(scores.masked_fill(hidden, -1e6), dim=-1)
        return self.W_o((weights @ v).transpose(1, 2).flatten(2))


def from_d2l(folder):
    module = D2LMultiHeadAttention(num_hiddens=20, num_heads=5, query_size=20, key_size=20, value_size=20).eval()
    queries, keys, valid_lens = torch.randn(2, 4, 20), torch.randn(2, 6, 20), torch.tensor([3, 0])
    with torch.no_grad():
        output = module(queries, keys, keys, valid_lens)
    return save(folder, module.state_dict(), 5, {"--query": queries, "--key": keys, "--valid-lens": valid_lens, "--expect": output},
                ["--empty-rows", "uniform"])


if __name__ == "__main__":
    examples = {"torch": from_torch, "d2l": from_d2l}
    if len(sys.argv) != 3 or sys.argv[1] not in examples:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(examples)} FOLDER")
    torch.manual_seed(1)
    print(examples[sys.argv[1]](sys.argv[2]))
