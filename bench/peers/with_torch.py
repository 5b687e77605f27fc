"""PyTorch: one linear layer for queries, keys and values, then scaled_dot_product_attention, in inference mode."""
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
        return {"sdpa": lambda: layer(buffers)}
    q, k, v = (tensor(x) for x in (buffers.q, buffers.k, buffers.v))
    if isinstance(case, cases.Core):
        return {"sdpa": lambda: call(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=case.causal))}
    rows = q.view(1, case.groups, case.heads // case.groups, case.depth)  # of one head's query heads
    return {"sdpa, enable_gqa": lambda: call(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=case.heads != case.groups)),
            "sdpa, a group's heads as rows": lambda: call(lambda: F.scaled_dot_product_attention(rows, k, v))}


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
