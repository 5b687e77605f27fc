"""A layer's weights as a .safetensors file with D2L's names, and its queries beside it as .npy."""
import json
import os
from types import SimpleNamespace

import numpy as np

NAMES = ["W_q", "W_k", "W_v", "W_o"]


def write(buffers, folder):
    named = [(name + ".weight", w) for name, w in zip(NAMES, buffers.W)]
    named += [(name + ".bias", b) for name, b in zip(NAMES, buffers.b or [])]
    header, end = {}, 0
    for name, array in named:
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # as Hugging Face's own writer aligns what follows
    with open(os.path.join(folder, "layer.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in named:
            file.write(array.tobytes())
    np.save(os.path.join(folder, "query.npy"), buffers.x)


def queries(folder):
    return np.load(os.path.join(folder, "query.npy"))


def read(folder, case):
    """The buffers of a case of self-attention with biases."""
    path = os.path.join(folder, "layer.safetensors")
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    arrays = {name: np.frombuffer(data, np.float32, int(np.prod(entry["shape"])), entry["data_offsets"][0]).reshape(entry["shape"])
              for name, entry in header.items()}
    x = queries(folder)
    W, b = ([arrays[name + kind] for name in NAMES] for kind in (".weight", ".bias"))
    return SimpleNamespace(case=case, precision="f32", x=x, y=x, W=W, b=b, additive_mask=lambda: None)
