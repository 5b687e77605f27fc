"""ONNX Runtime: com.microsoft's attention operators, with io-binding; quantize_dynamic for int8."""
import importlib.util
import logging
import os
import tempfile

import numpy as np
import onnxruntime

import cases
import weights_file
from timing import Call

NAME, DISTRIBUTION = "ONNX Runtime", "onnxruntime"
MICROSOFT = "com.microsoft"
if importlib.util.find_spec("onnx") is None:
    raise ImportError("no package onnx to make models with")


class Graph:
    """An ONNX graph under construction, and the arrays that it reads and writes."""

    def __init__(self):
        from onnx import TensorProto, helper, numpy_helper  # not of a process that loads a model
        self.float, self.helper, self.from_array = TensorProto.FLOAT, helper, numpy_helper.from_array
        self.nodes, self.constants, self.inputs, self.arrays, self.outputs, self.results = [], [], [], {}, [], {}

    def input(self, name, array):
        self.inputs.append(self.helper.make_tensor_value_info(name, self.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
        self.arrays[name] = array
        return name

    def constant(self, name, array):
        self.constants.append(self.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator, inputs, outputs=1, domain="", **attributes):
        names = ["%s_%d_%d" % (operator, len(self.nodes), i) for i in range(outputs)]
        self.nodes.append(self.helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def output(self, name, array):
        self.outputs.append(self.helper.make_tensor_value_info(name, self.float, array.shape))
        self.results[name] = array

    def model(self):
        graph = self.helper.make_graph(self.nodes, "attention", self.inputs, self.outputs, self.constants)
        versions = [self.helper.make_opsetid("", 23), self.helper.make_opsetid(MICROSOFT, 1)]
        return self.helper.make_model(graph, ir_version=10, opset_imports=versions).SerializeToString()

    def call(self, threads):
        """Its call, which reads and writes the arrays in place."""
        return bound(session(self.model(), threads), self.arrays, self.results)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # the next contender has the cores
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound(session, arrays, results):
    binding = session.io_binding()
    for bind, bindings in ((binding.bind_input, arrays), (binding.bind_output, results)):
        for name, array in bindings.items():
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    run_session, run_binding = session._sess.run_with_iobinding, binding._iobinding  # run_with_iobinding without its checks
    run = lambda: run_session(run_binding, None)

    def result():
        run()
        return next(iter(results.values()))
    return Call(run, result, (session, binding, arrays, results))


def forms(buffers, threads):
    if buffers.precision == "bf16":
        return {}  # no kernel of the CPU's
    made = {cases.Layer: layer_graphs, cases.Core: core_graphs, cases.Decode: decode_graphs}[type(buffers.case)](buffers)
    if buffers.precision == "int8":
        return {"quantize_dynamic, " + name: (lambda make=make: quantised(make(), threads)) for name, make in made.items()}
    return {name: (lambda make=make: make().call(threads)) for name, make in made.items()}


def quantised(graph, threads):
    """Its call, products with constants in int8, a scale for each channel."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "layer.onnx")
        logging.disable(logging.WARNING)
        quantize_dynamic(onnx.load_from_string(graph.model()), path, op_types_to_quantize=["MatMul", "Attention"], per_channel=True,
                         weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
        logging.disable(logging.NOTSET)
        return bound(session(path, threads), graph.arrays, graph.results)


def layer_graphs(buffers):
    """By name, functions that make the graphs of a layer."""
    case = buffers.case
    B, E, H = case.batch, case.width, case.heads
    W, b = buffers.W, buffers.b or [np.zeros(E, np.float32)] * 4
    transposed = np.concatenate(W[:3]).T

    def started():
        graph = Graph()
        x = graph.input("x", buffers.x)
        y = x if buffers.y is buffers.x else graph.input("y", buffers.y)
        lengths = graph.constant("lengths", np.array(case.valid_lens, np.int32)) if case.valid_lens else ""
        return graph, x, y, lengths

    def finished(graph, attended):
        output = graph.node("MatMul", [attended, graph.constant("W_o", W[3].T)])
        if case.bias:
            output = graph.node("Add", [output, graph.constant("b_o", b[3])])
        graph.output(output, cases.empty(B, case.queries, E))
        return graph

    def projected(graph, x, y):
        return [graph.node("MatMul", [source, graph.constant("W_" + name, w.T)]) for name, source, w in zip("qkv", (x, y, y), W)]

    def multi_head_attention():
        graph, x, y, lengths = started()
        bias = graph.constant("b_qkv", np.concatenate(b[:3])) if case.bias else ""
        return finished(graph, graph.node("MultiHeadAttention", projected(graph, x, y) + [bias, lengths], domain=MICROSOFT, num_heads=H))

    def attention():
        graph, x, y, lengths = started()
        inputs = [x, graph.constant("W_qkv", transposed), graph.constant("b_qkv", np.concatenate(b[:3])), lengths]
        return finished(graph, graph.node("Attention", inputs, domain=MICROSOFT, num_heads=H))

    def standard():
        graph, x, y, lengths = started()
        q, k, v = projected(graph, x, y)
        if case.bias:
            q, k, v = (graph.node("Add", [p, graph.constant("b_" + name, bias)]) for name, p, bias in zip("qkv", (q, k, v), b))
        mask = buffers.additive_mask()
        inputs = [q, k, v] + ([] if mask is None else [graph.constant("mask", np.broadcast_to(mask, (B, 1, case.queries, case.keys)))])
        return finished(graph, graph.node("Attention", inputs, q_num_heads=H, kv_num_heads=H))

    made = {"MultiHeadAttention": multi_head_attention}
    if buffers.precision == "f32":  # the quantiser takes ONNX's Attention for its own
        made["ONNX Attention"] = standard
    if buffers.x is buffers.y:
        made["Attention"] = attention
    return made


def core_graphs(buffers):
    case = buffers.case
    H, L, D = case.heads, case.length, case.depth

    def graph_of(q, k, v, operator, constants=(), **attributes):
        def make():
            graph = Graph()
            inputs = [graph.input(name, array) for name, array in (("q", q), ("k", k), ("v", v))]
            inputs += ["" if value is None else graph.constant("constant_%d" % i, value) for i, value in enumerate(constants)]
            graph.output(graph.node(operator, inputs, **attributes), cases.empty(*q.shape))
            return graph
        return make

    flat = [x.reshape(H, L, D) for x in (buffers.q, buffers.k, buffers.v)]  # heads as batch entries: nothing to transpose
    made = {"MultiHeadAttention": graph_of(*flat, "MultiHeadAttention", domain=MICROSOFT, num_heads=1, unidirectional=int(case.causal)),
            "ONNX Attention": graph_of(buffers.q, buffers.k, buffers.v, "Attention", is_causal=int(case.causal))}
    if case.causal:
        lengths = None, None, np.full((H, 1), L - 1, np.int32), np.array(L, np.int32)
        made["GroupQueryAttention"] = graph_of(*flat, "GroupQueryAttention", lengths, domain=MICROSOFT, num_heads=1, kv_num_heads=1)
    return made


def decode_graphs(buffers):
    case = buffers.case
    if case.token_major:
        return {}  # its caches are head-major
    H, G, S, D = case.heads, case.groups, case.keys, case.depth

    def grouped():
        graph = Graph()
        q = graph.input("q", buffers.q.reshape(1, 1, H * D))
        caches = ("k", buffers.k), ("v", buffers.v)
        new = [graph.input("new_" + name, np.ascontiguousarray(x[:, :, -1]).reshape(1, 1, G * D)) for name, x in caches]
        past = [graph.input("past_" + name, x) for name, x in caches]
        seen, total = graph.input("seen", np.array([[S - 1]], np.int32)), graph.input("total", np.array([S], np.int32))
        output, k, v = graph.node("GroupQueryAttention", [q, *new, *past, seen, total], 3, domain=MICROSOFT, num_heads=H, kv_num_heads=G)
        graph.output(output, cases.empty(1, 1, H * D))
        graph.output(k, buffers.k)
        graph.output(v, buffers.v)
        return graph

    def rows():
        graph = Graph()
        q = graph.input("q", buffers.q.reshape(G, H // G, D))
        k, v = (graph.input(name, x.reshape(G, 1, S, D)) for name, x in (("k", buffers.k), ("v", buffers.v)))
        graph.output(graph.node("MultiHeadAttention", [q, k, v], domain=MICROSOFT, num_heads=1), cases.empty(G, H // G, D))
        return graph

    def standard():
        graph = Graph()
        inputs = [graph.input(name, x) for name, x in (("q", buffers.q), ("k", buffers.k), ("v", buffers.v))]
        graph.output(graph.node("Attention", inputs), cases.empty(1, H, 1, D))
        return graph

    return {"GroupQueryAttention, shared cache": grouped, "MultiHeadAttention, a group's heads as rows": rows, "ONNX Attention": standard}


def save(buffers, folder):
    with open(os.path.join(folder, "layer.onnx"), "wb") as file:
        file.write(layer_graphs(buffers)["Attention"]().model())


def first_call(folder, case):
    opened, x = session(os.path.join(folder, "layer.onnx"), 1), weights_file.queries(folder)
    result = opened.get_outputs()[0].name
    return bound(opened, {"x": x}, {result: cases.empty(*x.shape)})


def empty_call(threads):
    graph = Graph()
    graph.output(graph.node("Neg", [graph.input("x", cases.empty(1))]), cases.empty(1))
    return graph.call(threads)
