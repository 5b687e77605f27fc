#!/usr/bin/env python3
"""files.py ATTEND FOLDER: files of weights that attend quantize writes, as the safetensors package reads them; and one that this package
writes as compressed-tensors would, as attend reads it; GGUF files of the gguf package in every type, beside the numbers that it reads
from them."""
import subprocess
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

attend, folder = sys.argv[1:3]
MODEL, PREFIX = "tests/data/minilm/layer.safetensors", "encoder.layer.3.attention."
MATRICES = [PREFIX + name for name in ("self.query.weight", "self.key.weight", "self.value.weight", "output.dense.weight")]


def run(*words):
    return subprocess.run([attend, *words], check=True, capture_output=True, text=True).stdout


def output(path, *more):
    run("run", "--weights", path, "--heads", "12", "--prefix", PREFIX, "--query", "tests/data/minilm/hidden.npy", "--out", folder + "/o.npy", *more)
    return np.load(folder + "/o.npy")


def bits(path):
    """The dtypes and bytes of a file's tensors, of any dtype."""
    with open(path, "rb") as file:
        data = file.read()
    import json
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    return {name: (entry["dtype"], data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


before = load_file(MODEL)
for name in MATRICES:
    assert before[name].dtype == np.float16

# Integers: numpy's own arithmetic in float32 gives the same.
run("quantize", MODEL, folder + "/int8.safetensors", "--weights", "int8", "--heads", "12", "--prefix", PREFIX)
after = load_file(folder + "/int8.safetensors")
with safe_open(MODEL, "np") as one, safe_open(folder + "/int8.safetensors", "np") as other:
    assert one.metadata() == other.metadata()
for name in MATRICES:
    weights = before[name].astype(np.float32)
    scales = np.abs(weights).max(axis=1, keepdims=True) / np.float32(127)
    integers = np.clip(np.rint(weights / scales), -127, 127)
    assert after[name].dtype == np.int8 and np.array_equal(after[name], integers)
    assert after[name + "_scale"].dtype == np.float32 and np.array_equal(after[name + "_scale"], scales)
assert set(after) == set(before) | {name + "_scale" for name in MATRICES}
for name in set(before) - set(MATRICES):
    assert before[name].dtype == after[name].dtype and np.array_equal(before[name], after[name]), name

# bfloat16, which numpy does not have: to the nearest, ties to even.
run("quantize", MODEL, folder + "/bf16.safetensors", "--weights", "bf16", "--heads", "12", "--prefix", PREFIX)
after = bits(folder + "/bf16.safetensors")
for name in MATRICES:
    whole = before[name].astype(np.float32).view(np.uint32)
    rounded = ((whole + 0x7fff + ((whole >> 16) & 1)) >> 16).astype(np.uint16)
    assert after[name] == ("BF16", rounded.tobytes()), name

# A file of the package, with what compressed-tensors leaves beside integers: symmetric, a scale a channel in float16, zero points.
tensors, numbers = {}, dict(before)
for n, name in enumerate(MATRICES):
    weights = before[name].astype(np.float32)
    scales = (np.abs(weights).max(axis=1, keepdims=True) / 127).astype(np.float16)
    integers = np.clip(np.rint(weights / scales.astype(np.float32)), -128, 127).astype(np.int8)
    tensors.update({name: integers, name + "_scale": scales, name + "_zero_point": np.zeros_like(scales, np.int8)})
    numbers[name] = integers * scales.astype(np.float32)
tensors.update({name: before[name] for name in before if name not in MATRICES})
save_file(tensors, folder + "/package.safetensors", {"format": "pt"})
save_file({name: array.astype(np.float32) for name, array in numbers.items()}, folder + "/numbers.safetensors")
exact = output(folder + "/numbers.safetensors")
assert np.array_equal(output(folder + "/package.safetensors"), exact)
stored = output(folder + "/package.safetensors", "--weight-type", "file")
assert np.abs(stored - exact).max() < 1e-5 * np.abs(exact).max()
print("safetensors: integers, bfloat16 and what is beside them are the package's")

# GGUF: a layer of random numbers of each type is that of the package's own numbers, rotated in pairs or not at all.
GGUF = {"attn_q": (64, "q_proj"), "attn_k": (32, "k_proj"), "attn_v": (32, "v_proj"), "attn_output": (64, "o_proj")}
random = np.random.default_rng(3)
np.save(folder + "/x.npy", random.standard_normal((2, 9, 64)).astype(np.float32))
for type in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
    for architecture in ("llama", "qwen2"):
        of = GGMLQuantizationType[type]
        writer = GGUFWriter(folder + "/a.gguf", architecture)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_rope_freq_base(1000.0)
        for name, (rows, _) in GGUF.items():
            writer.add_tensor(f"blk.0.{name}.weight", quants.quantize((random.standard_normal((rows, 64)) / 8).astype(np.float32), of), raw_dtype=of)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        numbers = {}
        for tensor in GGUFReader(folder + "/a.gguf").tensors:
            rows, name = GGUF[tensor.name.split(".")[2]]
            numbers[name + ".weight"] = np.ascontiguousarray(quants.dequantize(tensor.data, tensor.tensor_type).reshape(rows, 64).astype(np.float32))
        save_file(numbers, folder + "/a.safetensors")

        def layer(*words):
            run("run", "--query", folder + "/x.npy", "--out", folder + "/o.npy", "--causal", *words)
            return np.load(folder + "/o.npy")

        rotation = ["--rope-theta", "1000"] + ["--rope-interleaved"] * (architecture == "llama")
        expected = layer("--weights", folder + "/a.safetensors", "--heads", "4", *rotation)
        found = layer("--weights", folder + "/a.gguf", "--prefix", "blk.0")
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max() * (architecture == "llama"), (type, architecture)
print("GGUF: layers of every type are those of the package's numbers")
