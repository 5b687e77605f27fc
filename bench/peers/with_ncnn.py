"""ncnn: its MultiHeadAttention layer; its SDPA layer for attention alone."""
import os
import tempfile

import ncnn
import numpy as np

import cases
import weights_file
from timing import Call

NAME, DISTRIBUTION = "ncnn", "ncnn"


def forms(buffers, threads):
    case = buffers.case
    if buffers.precision != "f32":
        return {}  # not tried
    if isinstance(case, cases.Layer):
        return {"MultiHeadAttention": lambda: layer(buffers, threads)}
    if getattr(case, "token_major", False):
        return {}  # its heads are outermost
    return {"SDPA": lambda: attention(buffers, threads)}


def parameters(layers, blobs):
    return ("7767517\n%d %d\n%s\n" % (len(layers), blobs, "\n".join(layers))).encode()


def network(files, threads):
    """A network in float32 from its text and the bytes of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        write(files, folder)
        return loaded(folder, threads)


def paths(folder):
    return [os.path.join(folder, name) for name in ("layer.param", "layer.bin")]


def write(files, folder):
    for path, content in zip(paths(folder), files):
        with open(path, "wb") as file:
            file.write(content)


def loaded(folder, threads):
    net = ncnn.Net()
    options = net.opt
    options.num_threads = threads
    for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed"):
        setattr(options, half, False)
    net.opt = options
    param, model = paths(folder)
    if net.load_param(param) != 0 or net.load_model(model) != 0:
        raise RuntimeError("ncnn cannot load the network")
    return net


def extracted(net, mats):
    extractor = net.create_extractor()
    for name, mat in mats.items():
        extractor.input(name, mat)
    code, mat = extractor.extract("output")
    if code != 0:
        raise RuntimeError("ncnn: error %d" % code)
    return mat


def layer_files(buffers):
    case = buffers.case
    E, cross = case.width, buffers.x is not buffers.y or case.valid_lens
    inputs = ["x", "y"] if cross else ["x"]
    layers = ["Input %s 0 1 %s" % (name, name) for name in inputs]
    layers.append("MultiHeadAttention attention %d 1 %s output 0=%d 1=%d 2=%d" % (len(inputs), " ".join(inputs), E, case.heads, E * E))
    weights = b""
    for w, b in zip(buffers.W, buffers.b or [np.zeros(E, np.float32)] * 4):
        weights += bytes(4) + w.tobytes() + b.tobytes()  # 4 bytes that say float32
    return parameters(layers, len(inputs) + 1), weights


def layer(buffers, threads):
    """There is no batch: a sequence at a time, its keys cut to their length."""
    case = buffers.case
    net = network(layer_files(buffers), threads)
    if case.batch == 1 and buffers.x is buffers.y:
        feeds = [{"x": ncnn.Mat(buffers.x[0])}]
    else:
        feeds = [{"x": ncnn.Mat(x), "y": ncnn.Mat(y[:length])} for x, y, length in zip(buffers.x, buffers.y, buffers.lengths())]

    def run():
        return [extracted(net, feed) for feed in feeds]
    return Call(run, lambda: np.stack([np.array(mat) for mat in run()]), buffers)


def attention(buffers, threads):
    q, k, v = (np.ascontiguousarray(x[0]) for x in (buffers.q, buffers.k, buffers.v))
    feed = {"q": ncnn.Mat(q), "k": ncnn.Mat(k), "v": ncnn.Mat(v)}
    causal = getattr(buffers.case, "causal", False)
    if causal:
        mask = np.triu(np.full((q.shape[1], k.shape[1]), -np.inf, np.float32), 1)
        feed["mask"] = ncnn.Mat(mask)
    layers = ["Input %s 0 1 %s" % (name, name) for name in feed]
    layers.append("SDPA attention %d 1 %s output 5=%d" % (len(feed), " ".join(feed), causal))
    net = network((parameters(layers, len(feed) + 1), b""), threads)
    run = lambda: extracted(net, feed)
    return Call(run, lambda: np.array(run())[None], (q, k, v, causal and mask))


def save(buffers, folder):
    write(layer_files(buffers), folder)


def first_call(folder, case):
    net, x = loaded(folder, 1), weights_file.queries(folder)
    feed = {"x": ncnn.Mat(x[0])}
    run = lambda: extracted(net, feed)
    return Call(run, lambda: np.array(run())[None], x)


def empty_call(threads):
    net = network((parameters(["Input x 0 1 x", "UnaryOp negative 1 1 x output 0=1"], 2), b""), threads)
    feed = {"x": ncnn.Mat(np.zeros(1, np.float32)).clone()}
    run = lambda: extracted(net, feed)
    return Call(run, lambda: np.array(run()))
