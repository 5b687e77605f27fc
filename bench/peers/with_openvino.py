"""OpenVINO: scaled_dot_product_attention in one graph with the projections, in float32, hinted in bfloat16, or with projections in int8:
their rows quantised as they come, or (STATIC) by ranges that were found beforehand."""
import itertools
import os
import time

import numpy as np
import openvino
import openvino.opset13 as ops
import openvino.opset6 as opset6

import cases
import exact
import timing
import weights_file
from timing import Call

NAME, DISTRIBUTION = "OpenVINO", "openvino"
STATIC = "static"  # a contender of its own in int8
core = openvino.Core()


def forms(buffers, threads, kind=""):
    if kind == STATIC and buffers.precision != "int8":
        return {}
    if buffers.precision != "f32":
        return low_precision_forms(buffers, threads, kind)
    made = {cases.Layer: layer_graphs, cases.Core: core_graphs, cases.Decode: decode_graphs}[type(buffers.case)](buffers)
    call = StatefulCall if isinstance(buffers.case, cases.Decode) else PlainCall
    return {name: (lambda make=make: call(*make(), threads)) for name, make in made.items()}


def low_precision_forms(buffers, threads, kind):
    hints = ["bf16"] * ("BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")) + ["f32"] * (buffers.precision == "int8")
    linear, configs = float_linear, {"": {}}
    if kind == STATIC:
        linear = quantised_linear
    elif buffers.precision == "int8":
        linear, configs = stored_linear, {", groups of %d" % size: {"DYNAMIC_QUANTIZATION_GROUP_SIZE": size} for size in (32, 128)}
    made = itertools.product(layer_graphs(buffers, linear).items(), hints, configs.items())
    return {"%s, %s%s" % (name, hint, groups): (lambda make=make, hint=hint, config=config: PlainCall(*make(), threads, hint, **config))
            for (name, make), hint, (groups, config) in made}


def compiled(model, threads, precision="f32", **config):
    """From a model, or the path of a file."""
    return core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
                                             "INFERENCE_PRECISION_HINT": precision, "KV_CACHE_PRECISION": precision, **config})


class PlainCall(Call):
    """A request that reads and writes the arrays in place."""

    def __init__(self, model, arrays, output, threads, precision="f32", **config):
        self.request = compiled(model, threads, precision, **config).create_infer_request()
        for index, array in enumerate(arrays):
            self.request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
        self.request.set_output_tensor(0, openvino.Tensor(output, shared_memory=True))
        infer = self.request.infer
        super().__init__(lambda: infer(share_inputs=True, share_outputs=True), self.result, (arrays, output))

    def result(self):
        self.run()
        return self.keep[1]


class StatefulCall(PlainCall):
    """A request that appends one key to its cache, which is set anew before that has grown by a 64th."""

    def __init__(self, model, arrays, output, past, threads):
        super().__init__(model, arrays, output, threads)
        self.past = past

    def forget(self):
        for state in self.request.query_state():
            state.state = openvino.Tensor(self.past[state.name])

    def result(self):
        self.forget()
        return super().result()

    def time(self, seconds):
        best, began = float("inf"), time.perf_counter()
        while time.perf_counter() - began < seconds:
            self.forget()
            for _ in range(max(2, self.past["k"].shape[2] // 64)):
                start = timing.clock()
                self.run()
                best = min(best, timing.clock() - start)
        return best


def parameters(*arrays):
    return [ops.parameter(array.shape, np.float32) for array in arrays]


# Linear layers: x, W, b, and what x was in the float64 result.

def float_linear(x, W, b, _):
    return with_bias(ops.matmul(x, ops.constant(W), False, True), b)


def with_bias(product, b):
    return product if b is None else ops.add(product, ops.constant(b))


def stored_linear(x, W, b, _):
    """Weights in int8, a scale for each channel."""
    scales = np.abs(W).max(1, keepdims=True) / np.float32(127)
    integers = ops.convert(ops.constant(np.rint(W / scales).astype(np.int8)), np.float32)
    return with_bias(ops.matmul(x, ops.multiply(integers, ops.constant(scales)), False, True), b)


def quantised_linear(x, W, b, rows):
    """8 bits from the smallest to the largest that rows have; weights of 255 levels, a scale for each channel."""
    ends = [ops.constant(np.float32(end)) for end in (rows.min(), rows.max())]
    largest = np.abs(W).max(1, keepdims=True)
    channels = [ops.constant(end) for end in (-largest, largest)]
    weights = ops.fake_quantize(ops.constant(W), *channels, *channels, 255)
    return with_bias(ops.matmul(ops.fake_quantize(x, *ends, *ends, 256), weights, False, True), b)


def layer_graphs(buffers, linear=float_linear):
    case = buffers.case
    B, E, H = case.batch, case.width, case.heads
    inputs = [buffers.x] if buffers.x is buffers.y else [buffers.x, buffers.y]
    output = cases.empty(B, case.queries, E)

    seen = None if buffers.precision == "f32" else exact.layer(buffers)

    def heads(x):
        return ops.transpose(ops.reshape(x, [B, -1, H, E // H], False), [0, 2, 1, 3])

    def finished(x, q, k, v):
        mask = [] if buffers.additive_mask() is None else [ops.constant(np.ascontiguousarray(np.broadcast_to(
            buffers.additive_mask(), (B, 1, case.queries, case.keys))))]
        attended = ops.scaled_dot_product_attention(heads(q), heads(k), heads(v), *mask)
        merged = ops.reshape(ops.transpose(attended, [0, 2, 1, 3]), [B, -1, E], False)
        return openvino.Model([linear(merged, buffers.W[3], buffers.b and buffers.b[3], seen and seen.heads)], x), inputs, output

    def separate():
        x = parameters(*inputs)
        b = buffers.b or [None] * 4
        return finished(x, *(linear(source, w, bias, buffers.x) for source, w, bias in zip((x[0], x[-1], x[-1]), buffers.W, b)))

    def fused():
        x = parameters(*inputs)
        qkv = linear(x[0], np.concatenate(buffers.W[:3]), buffers.b and np.concatenate(buffers.b[:3]), buffers.x)
        return finished(x, *ops.split(qkv, 2, 3).outputs())

    return {"separate projections": separate, **({"one projection": fused} if len(inputs) == 1 else {})}


def core_graphs(buffers):
    def make():
        q, k, v = x = parameters(buffers.q, buffers.k, buffers.v)
        attended = ops.scaled_dot_product_attention(q, k, v, causal=buffers.case.causal)
        return openvino.Model([attended], x), [buffers.q, buffers.k, buffers.v], cases.empty(*buffers.q.shape)
    return {"sdpa": make}


def decode_graphs(buffers):
    case = buffers.case
    if case.token_major:
        return {}  # it keeps its cache in an order of its own
    H, G, D = case.heads, case.groups, case.depth

    def make():
        arrays = [buffers.q, *(np.ascontiguousarray(x[:, :, -1:]) for x in (buffers.k, buffers.v)), np.zeros(1, np.int32)]
        q, new_k, new_v = parameters(*arrays[:3])
        beam = ops.parameter([-1], np.int32)  # without it the plugin does not know this as a cache
        assigned = []

        def appended(new, name):
            past = ops.gather(opset6.read_value(ops.constant(np.zeros((1, G, 0, D), np.float32)), name, np.float32,
                                                openvino.PartialShape([-1, G, -1, D])), beam, 0)
            cache = ops.concat([past, new], 2)
            assigned.append(opset6.assign(cache, name))
            if G == H:
                return cache
            repeated = ops.multiply(ops.unsqueeze(cache, 2), ops.constant(np.ones((1, 1, H // G, 1, 1), np.float32)))
            return ops.reshape(repeated, [0, H, -1, D], True)  # known to the plugin as grouped heads: nothing is repeated

        attended = ops.scaled_dot_product_attention(q, appended(new_k, "k"), appended(new_v, "v"))
        model = openvino.Model([ops.result(attended)], assigned, [q, new_k, new_v, beam])
        past = {name: np.ascontiguousarray(x[:, :, :-1]) for name, x in (("k", buffers.k), ("v", buffers.v))}
        return model, arrays, cases.empty(1, H, 1, D), past
    return {"sdpa, stateful cache": make}


def save(buffers, folder):
    model, _, _ = layer_graphs(buffers)["one projection"]()
    openvino.save_model(model, os.path.join(folder, "layer.xml"), compress_to_fp16=False)


def first_call(folder, case):
    x = weights_file.queries(folder)
    return PlainCall(os.path.join(folder, "layer.xml"), [x], cases.empty(*x.shape), 1)


def empty_call(threads):
    x = parameters(cases.empty(1))
    return PlainCall(openvino.Model([ops.negative(x[0])], x), [cases.empty(1)], cases.empty(1), threads)
