#!/usr/bin/env python3
"""files.py ATTEND FOLDER: files of weights that attend quantize writes, as the safetensors package reads them; and one that this package
writes as compressed-tensors would, of 8 bits and of 4, as attend reads it; GGUF files of the gguf package in every type, beside the numbers that it reads
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


def packed(numbers, axis=1):
    """Integers from 0 to 15 as compressed-tensors packs them: eight in an int32 along an axis, the first in the lowest bits."""
    if axis == 0:
        return packed(numbers.T).T.copy()
    padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % 8))).astype(np.uint32)
    return (padded.reshape(len(padded), -1, 8) << (4 * np.arange(8, dtype=np.uint32))).sum(axis=2, dtype=np.uint32).view(np.int32)


# Integers of 4 bits in groups: numpy's own arithmetic in float32 gives the same, packed in the same way.
for group in (32, 64, 128):
    type = "int4:%d" % group
    run("quantize", MODEL, folder + "/int4.safetensors", "--weights", type, "--heads", "12", "--prefix", PREFIX)
    after = load_file(folder + "/int4.safetensors")
    for name in MATRICES:
        weights = before[name].astype(np.float32)
        groups = weights.reshape(len(weights), -1, group)
        scales = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[:, :, None], 2) / np.float32(-8)
        integers = np.clip(np.rint(groups / scales) + 8, 0, 15).reshape(weights.shape)
        assert np.array_equal(after[name + "_packed"], packed(integers)), name
        assert after[name + "_scale"].dtype == np.float32 and np.array_equal(after[name + "_scale"], scales[:, :, 0])
        assert after[name + "_shape"].dtype == np.int64 and list(after[name + "_shape"]) == list(weights.shape)
    assert set(after) == set(before) - set(MATRICES) | {name + part for name in MATRICES for part in ("_packed", "_scale", "_shape")}
    for arithmetic in ("float32", "int8"):
        made = output(MODEL, "--weight-type", type, "--arithmetic", arithmetic)
        assert np.array_equal(output(folder + "/int4.safetensors", "--weight-type", "file", "--arithmetic", arithmetic), made)

# Such a file of the package, asymmetric: scales in float16, zero points packed along their rows.
tensors, numbers = {name: before[name] for name in before if name not in MATRICES}, dict(before)
for name in MATRICES:
    groups = before[name].astype(np.float32).reshape(len(before[name]), -1, 128)
    low, high = np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)
    scales = ((high - low) / 15).astype(np.float16)
    zeros = np.clip(np.rint(-low / scales.astype(np.float32)), 0, 15).astype(np.int8)
    integers = np.clip(np.rint(groups / scales.astype(np.float32)[:, :, None]) + zeros[:, :, None], 0, 15)
    tensors.update({name + "_packed": packed(integers.reshape(before[name].shape)), name + "_scale": scales, name + "_zero_point": packed(zeros, 0),
                    name + "_shape": np.array(before[name].shape)})
    numbers[name] = ((integers - zeros[:, :, None]).astype(np.float32) * scales.astype(np.float32)[:, :, None]).reshape(before[name].shape)
save_file(tensors, folder + "/package.safetensors", {"format": "pt"})
save_file({name: array.astype(np.float32) for name, array in numbers.items()}, folder + "/numbers.safetensors")
exact = output(folder + "/numbers.safetensors")
assert np.array_equal(output(folder + "/package.safetensors"), exact)
stored = output(folder + "/package.safetensors", "--weight-type", "file")
assert np.abs(stored - exact).max() < 1e-5 * np.abs(exact).max()
print("safetensors: integers of 8 and 4 bits, bfloat16 and what is beside them are the package's")

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

        # Quantised: the file's flags and Llama's names give the bits of the file itself; Q4_0 is int4 as it is.
        for target in ("int8", "int4:32"):
            run("quantize", folder + "/a.gguf", folder + "/q.safetensors", "--weights", target, "--all-layers")
            of_file = layer("--weights", folder + "/a.gguf", "--prefix", "blk.0", "--weight-type", target)
            quantised = layer("--weights", folder + "/q.safetensors", "--prefix", "blk.0", "--heads", "4", "--rope-theta", "1000", "--weight-type", "file")
            assert np.array_equal(quantised, of_file), (type, architecture, target)
        if type == "Q4_0":
            assert np.abs(of_file - found).max() <= 1e-5 * np.abs(found).max()
            assert np.array_equal(layer("--weights", folder + "/a.gguf", "--prefix", "blk.0", "--weight-type", "file"), of_file)
# What else a layer has goes along, in the order that it is rotated in.
for architecture in ("llama", "qwen3"):
    writer = GGUFWriter(folder + "/a.gguf", architecture)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_attention_scale(0.3)
    for name, (rows, _) in GGUF.items():
        writer.add_tensor(f"blk.0.{name}.weight", quants.quantize((random.standard_normal((rows, 64)) / 8).astype(np.float32), GGMLQuantizationType.Q4_0), raw_dtype=GGMLQuantizationType.Q4_0)
        writer.add_tensor(f"blk.0.{name}.bias", random.standard_normal(rows).astype(np.float32))
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", random.standard_normal(16).astype(np.float32))
    writer.add_tensor("blk.0.attn_sinks.weight", random.standard_normal(4).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    run("quantize", folder + "/a.gguf", folder + "/q.safetensors", "--weights", "int4:32", "--prefix", "blk.0")
    of_file = layer("--weights", folder + "/a.gguf", "--prefix", "blk.0", "--weight-type", "int4")
    flags = ["--heads", "4", "--rope-theta", "10000", "--rope-dim", "8", "--scale", "%.9g" % np.float32(0.3)]
    assert np.array_equal(layer("--weights", folder + "/q.safetensors", "--prefix", "blk.0", "--weight-type", "int4", *flags), of_file), architecture
    assert set(load_file(folder + "/q.safetensors")) >= {"blk.0." + name for name in ("q_proj.bias", "o_proj.bias", "q_norm.weight", "k_norm.weight", "sinks")}
print("GGUF: layers of every type are those of the package's numbers, and so are those that quantize makes of them")
