#!/usr/bin/env python3
"""sentences.py MODEL [--threads N] [--rounds N] [--seconds X] [--json FILE]: sentences to vectors by all-MiniLM-L6-v2, attend beside PyTorch,
ONNX Runtime and OpenVINO, in one process.

    make model wheel && build/venv-peers/bin/pip install build/wheel/attend-*.whl transformers==5.24.0
    build/venv-peers/bin/python bench/peers/sentences.py build/models/all-MiniLM-L6-v2

One sentence of 16, 64 and 256 tokens, and 64 of the lengths that captions, questions and paragraphs have. attend is given the texts, and
its times include its tokenizer; the others are given ids and masks that were made beforehand. Where there are several sentences, they take
the fastest of three forms: one padded batch, batches of 8 of nearly the same length, one sentence after the other. In each round all
contenders take their turn, another one first each time; a ratio is the median over the rounds of peer / attend of the same precision."""
import argparse
import json
import logging
import os
import statistics
import tempfile
import warnings

import numpy as np

from timing import fastest

LENGTHS = [7, 9, 8, 12, 11, 10, 15, 9, 14, 24, 8, 31, 13, 10, 18, 9, 22, 12, 64, 11, 9, 16, 28, 10, 13, 8, 45, 12, 19, 9, 11, 96,
           10, 14, 8, 26, 12, 9, 17, 38, 11, 13, 10, 9, 128, 15, 12, 20, 8, 10, 33, 11, 14, 9, 12, 52, 10, 16, 8, 13, 23, 11, 9, 180]
CASES = {"1 x 16": [16], "1 x 64": [64], "1 x 256": [256], "64 mixed": LENGTHS}
WORDS = ("the cat sat on mat and a dog ran to house in rain while people were reading books about history of water music science city "
         "river mountain night day old new small large").split()


def texts_of(lengths):
    """A text of so many tokens for each: each word is one, [CLS] and [SEP] come on top."""
    random = np.random.default_rng(1)
    return [" ".join(random.choice(WORDS, length - 2)) for length in lengths]


class Batches:
    """Ids and masks of texts, padded, in one of the forms."""

    def __init__(self, ids, form):
        order = sorted(range(len(ids)), key=lambda n: len(ids[n])) if form == "by length" else range(len(ids))
        size = {"padded": len(ids), "by length": 8, "one by one": 1}[form]
        self.rows = [list(order)[first:first + size] for first in range(0, len(ids), size)]
        self.arrays = []
        for rows in self.rows:
            width = max(len(ids[n]) for n in rows)
            padded = np.zeros((len(rows), width), np.int64)
            mask = np.zeros((len(rows), width), np.int64)
            for row, n in enumerate(rows):
                padded[row, :len(ids[n])] = ids[n]
                mask[row, :len(ids[n])] = 1
            self.arrays.append((padded, mask))


def pooled(hidden, mask):
    total = np.einsum("bse,bs->be", hidden, mask.astype(np.float32))
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def run_batches(batches, infer):
    vectors = None
    for rows, arrays in zip(batches.rows, batches.arrays):
        result = pooled(infer(*arrays), arrays[1])
        if vectors is None:
            vectors = np.empty((sum(map(len, batches.rows)), result.shape[1]), np.float32)
        vectors[rows] = result
    return vectors


def torch_contenders(model, threads):
    import torch
    torch.set_num_threads(threads)

    def infer_with(module, kind):
        def infer(ids, mask):
            with torch.inference_mode():
                return module(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state.float().numpy()
        return infer

    yield "PyTorch", "float32", infer_with(model, "float32")
    import copy
    yield "PyTorch", "bf16", infer_with(copy.deepcopy(model).bfloat16(), "bf16")
    from torch.ao.quantization import quantize_dynamic
    yield "PyTorch", "int8", infer_with(quantize_dynamic(copy.deepcopy(model), {torch.nn.Linear}, torch.qint8), "int8")


def export(model, path):
    import torch
    ids = torch.ones((2, 9), dtype=torch.long)

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(Hidden().eval(), (ids, ids), path, input_names=["input_ids", "attention_mask"], output_names=["hidden"],
                      dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes}, opset_version=17, dynamo=False)


def fused_graph(model, masked):
    """The model of com.microsoft's fused operators; without a mask for texts that need no padding."""
    from onnx import TensorProto, helper, numpy_helper
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    nodes, constants, heads = [], [], model.config.num_attention_heads
    epsilon = model.config.layer_norm_eps

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(operator, inputs, domain="com.microsoft", **attributes):
        name = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def norm_of_sum(x, residual, name, bias):
        return node("SkipLayerNormalization", [x, residual, constant(name + ".weight", weights[name + ".weight"]),
                                               constant(name + ".bias", weights[name + ".bias"]), bias], epsilon=epsilon)

    def product(x, name):
        return node("MatMul", [x, constant(name + ".weight", weights[name + ".weight"].T)], domain="")

    words = node("Gather", [constant("words", weights["embeddings.word_embeddings.weight"]), "input_ids"], domain="")
    places = constant("places", weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0])
    shape = node("Shape", ["input_ids"], domain="", start=1, end=2)
    rows = node("Slice", [places, constant("zero", np.array([0])), shape, constant("axis", np.array([0]))], domain="")
    x = node("Add", [words, rows], domain="")
    name = "embeddings.LayerNorm"
    x = node("LayerNormalization", [x, constant(name + ".weight", weights[name + ".weight"]), constant(name + ".bias", weights[name + ".bias"])],
             domain="", epsilon=epsilon)
    mask = node("Cast", ["attention_mask"], domain="", to=TensorProto.INT32) if masked else ""
    for n in range(model.config.num_hidden_layers):
        layer = f"encoder.layer.{n}."
        sides = [layer + "attention.self." + side for side in ("query", "key", "value")]
        matrix = constant(layer + "qkv", np.concatenate([weights[side + ".weight"].T for side in sides], 1))
        bias = constant(layer + "qkv.bias", np.concatenate([weights[side + ".bias"] for side in sides]))
        attended = node("Attention", [x, matrix, bias] + ([mask] if masked else []), num_heads=heads)
        name = layer + "attention.output.dense"
        x = norm_of_sum(product(attended, name), x, layer + "attention.output.LayerNorm", constant(name + ".bias", weights[name + ".bias"]))
        name = layer + "intermediate.dense"
        hidden = node("BiasGelu", [product(x, name), constant(name + ".bias", weights[name + ".bias"])])
        name = layer + "output.dense"
        x = norm_of_sum(product(hidden, name), x, layer + "output.LayerNorm", constant(name + ".bias", weights[name + ".bias"]))
    nodes.append(helper.make_node("Identity", [x], ["hidden"]))
    sizes = ["batch", "tokens"]
    inputs = [helper.make_tensor_value_info(given, TensorProto.INT64, sizes) for given in ["input_ids", "attention_mask"][:1 + masked]]
    graph = helper.make_graph(nodes, "bert", inputs, [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, sizes + [model.config.hidden_size])],
                              constants)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=versions)


def onnxruntime_contenders(model, folder, threads):
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def session(file):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def infer_with(plain, masked):
        return lambda ids, mask: (plain.run(None, {"input_ids": ids}) if mask.all() else masked.run(None, {"input_ids": ids, "attention_mask": mask}))[0]

    files = {}
    for masked in (False, True):
        files["float32", masked] = os.path.join(folder, f"fused{masked}.onnx")
        onnx.save(fused_graph(model, masked), files["float32", masked])
        files["int8", masked] = os.path.join(folder, f"int8{masked}.onnx")
        quantize_dynamic(files["float32", masked], files["int8", masked], weight_type=QuantType.QInt8, per_channel=True, reduce_range=False,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    for precision in ("float32", "int8"):
        yield "ONNX Runtime", precision, infer_with(session(files[precision, False]), session(files[precision, True]))


def openvino_contenders(path, threads):
    import openvino
    core = openvino.Core()

    def request(model, precision, **more):
        made = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
                                                 "INFERENCE_PRECISION_HINT": precision, **more}).create_infer_request()
        return lambda ids, mask: made.infer([ids, mask], share_inputs=True)[0]

    yield "OpenVINO", "float32", request(core.read_model(path), "f32")
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if has_bf16:
        yield "OpenVINO", "bf16", request(core.read_model(path), "bf16")
    for size in (32, 128):
        stored = core.read_model(path)
        store_int8(stored)
        yield "OpenVINO", "int8", request(stored, "bf16" if has_bf16 else "f32", DYNAMIC_QUANTIZATION_GROUP_SIZE=size)


def store_int8(model):
    """Matrices of linear layers as int8 with a scale for each output channel, which the plugin multiplies by rows that it quantises."""
    from openvino import opset13 as ops
    for operation in list(model.get_ops()):
        if operation.get_type_name() != "MatMul":
            continue
        source = operation.input(1).get_source_output()
        if source.get_node().get_type_name() != "Constant" or len(source.get_shape()) != 2:
            continue
        W = np.array(source.get_node().data, np.float32)
        transposed = operation.get_attributes()["transpose_b"]
        scales = np.abs(W).max(1 if transposed else 0, keepdims=True) / np.float32(127)
        integers = ops.convert(ops.constant(np.rint(W / scales).astype(np.int8)), np.float32)
        operation.input(1).replace_source_output(ops.multiply(integers, ops.constant(scales)).output(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("transformers", "torch", "onnxruntime"):
        logging.getLogger(name).setLevel(logging.ERROR)

    import attend
    import transformers
    model = transformers.BertModel.from_pretrained(options.model, attn_implementation="sdpa", add_pooling_layer=False).eval()
    ours = {}
    for precision in ("float32", "bf16", "int8"):
        try:
            ours[precision] = attend.models.SentenceEncoder(options.model, precision, threads=options.threads)
        except Exception as error:
            print("attend:", error)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        export(model, path)
        peers = [*torch_contenders(model, options.threads), *onnxruntime_contenders(model, folder, options.threads),
                 *openvino_contenders(path, options.threads)]
    results = []
    print(f"{'case':10} {'':22} {'ms':>9} {'off by':>9} {'/ attend':>9}   threads {options.threads}, {attend.best_isa() if hasattr(attend, 'best_isa') else ''}")
    for case, lengths in CASES.items():
        texts = texts_of(lengths)
        ids = [ours["float32"].token_ids(text) for text in texts]
        assert [len(row) for row in ids] == lengths
        exact = ours["float32"].encode(texts)
        calls = {("attend", precision): (lambda encoder=encoder: encoder.encode(texts)) for precision, encoder in ours.items()}
        for name, precision, infer in peers:
            forms = ["padded"] if len(ids) == 1 else ["padded", "by length", "one by one"]
            trials = {}
            for form in forms:
                batches = Batches(ids, form)
                run = lambda batches=batches, infer=infer: run_batches(batches, infer)
                trials[fastest(run, options.seconds / 3)] = run
            best = min(trials)
            known = calls.get((name, precision))
            if known is None or best < known[1]:
                calls[name, precision] = (trials[best], best)
        calls = {key: call[0] if isinstance(call, tuple) else call for key, call in calls.items()}
        times = {key: [] for key in calls}
        order = list(calls)
        for number in range(options.rounds):
            for key in order[number % len(order):] + order[:number % len(order)]:
                times[key].append(fastest(calls[key], options.seconds))
        for key, call in sorted(calls.items(), key=lambda item: (item[0][1], item[0][0] != "attend", item[0][0])):
            error = float(np.abs(call() - exact).max())
            assert error < {"float32": 1e-4, "bf16": 0.1, "int8": 0.1}[key[1]], (case, key, error)
            ratios = [peer / own for peer, own in zip(times[key], times["attend", key[1]])] if ("attend", key[1]) in times else []
            ratio = statistics.median(ratios) if ratios and key[0] != "attend" else None
            print(f"{case:10} {key[1]:8} {key[0]:13} {min(times[key]) * 1e3:9.3f} {error:9.1e} {'' if ratio is None else format(ratio, '9.2f')}")
            results.append({"case": case, "precision": key[1], "contender": key[0], "seconds": min(times[key]), "error": error, "ratio": ratio})
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"threads": options.threads, "results": results}, file, indent=1)


main()
