"""PyTorch: one linear layer for queries, keys and values, then scaled_dot_product_attention, in inference mode; in bfloat16, or with
quantize_dynamic, too."""
import warnings

import torch
import torch.nn.functional as F

import cases
import weights_file
from timing import Call

NAME, DISTRIBUTION = "PyTorch", "torch"


def tensor(array):
    return None if array is None else torch.from_numpy(array)


def forms(buffers, threads):
    torch.set_num_threads(threads)
    case = buffers.case
    if isinstance(case, cases.Layer):
        return layer_forms(buffers)
    q, k, v = (tensor(x) for x in (buffers.q, buffers.k, buffers.v))
    if isinstance(case, cases.Core):
        return {"sdpa": lambda: call(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=case.causal))}
    rows = q.view(1, case.groups, case.heads // case.groups, case.depth)  # of one head's query heads
    return {"sdpa, enable_gqa": lambda: call(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=case.heads != case.groups)),
            "sdpa, a group's heads as rows": lambda: call(lambda: F.scaled_dot_product_attention(rows, k, v))}


def layer_forms(buffers):
    if buffers.precision == "bf16":
        return {"sdpa, bfloat16": lambda: rounded_layer(buffers)}
    if buffers.precision == "int8":
        return {"quantize_dynamic, %s" % engine: (lambda engine=engine: quantised_layer(buffers, engine))
                for engine in torch.backends.quantized.supported_engines if engine not in ("none", "qnnpack")}
    return {"sdpa": lambda: layer(buffers)}


class SelfAttention(torch.nn.Module):
    def __init__(self, buffers):
        super().__init__()
        E, self.heads = buffers.case.width, buffers.case.heads
        self.qkv, self.out = torch.nn.Linear(E, 3 * E), torch.nn.Linear(E, E)
        with torch.no_grad():
            for linear, W, b in ((self.qkv, buffers.W[:3], buffers.b[:3]), (self.out, buffers.W[3:], buffers.b[3:])):
                linear.weight.copy_(torch.cat([tensor(w) for w in W]))
                linear.bias.copy_(torch.cat([tensor(x) for x in b]))

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def rounded_layer(buffers):
    """Of float32 rows, to float32 rows."""
    model, x = SelfAttention(buffers).to(torch.bfloat16).eval(), tensor(buffers.x)
    return call(lambda: model(x.to(torch.bfloat16)).float())


def quantised_layer(buffers, engine):
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will be another package's
        model = torch.ao.quantization.quantize_dynamic(SelfAttention(buffers).eval(), {torch.nn.Linear}, torch.qint8)
    x = tensor(buffers.x)
    return call(lambda: model(x))


def layer(buffers):
    case = buffers.case
    B, E, H = case.batch, case.width, case.heads
    x, y, mask = tensor(buffers.x), tensor(buffers.y), tensor(buffers.additive_mask())
    W, b = [tensor(w) for w in buffers.W], [tensor(w) for w in buffers.b or [None] * 4]

    def joined(parts):
        return None if parts[0] is None else torch.cat(parts)

    def heads(projected, count):  # (B, n, count E) -> count times (B, H, n, D)
        return projected.view(B, -1, count, H, E // H).permute(2, 0, 3, 1, 4).unbind(0)

    if buffers.x is buffers.y:
        W_qkv, b_qkv = joined(W[:3]), joined(b[:3])
        project = lambda: heads(F.linear(x, W_qkv, b_qkv), 3)
    else:
        W_kv, b_kv = joined(W[1:3]), joined(b[1:3])
        project = lambda: (*heads(F.linear(x, W[0], b[0]), 1), *heads(F.linear(y, W_kv, b_kv), 2))

    def forward():
        attended = F.scaled_dot_product_attention(*project(), attn_mask=mask)
        return F.linear(attended.transpose(1, 2).reshape(B, -1, E), W[3], b[3])
    return call(forward)


def call(forward):
    run = torch.inference_mode()(forward)
    return Call(run, lambda: run().numpy())


def first_call(folder, case):
    torch.set_num_threads(1)
    return layer(weights_file.read(folder, case))


def empty_call(threads):
    torch.set_num_threads(threads)
    x = torch.zeros(1)
    return call(lambda: torch.neg(x))
