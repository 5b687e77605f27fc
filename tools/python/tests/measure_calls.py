"""Prints what calls from Python cost over the same calls of the C API: of no batch entries, so that nothing is computed."""
import timeit

import attend
import numpy as np
from attend import core

layer = attend.MultiHeadAttention.random(64, 4)
x, y = np.empty((0, 10, 64), np.float32), np.empty((0, 10, 64), np.float32)
q, output = np.empty((0, 4, 10, 16), np.float32), np.empty((0, 4, 10, 16), np.float32)

bound = layer.bind(x, out=y)
function, (handle, call, error) = bound._function, bound._arguments
frame = core._attention.take()
frame.fill(q, q, q, None, output)
attention, attention_call, attention_error = core._run_attention, frame.call, frame.error

CALLS = {
    "attend_mha_forward by ctypes": lambda: function(handle, call, error),
    "layer.bind(x, out=y)()": bound,
    "layer(x, out=y)": lambda: layer(x, out=y),
    "layer(x)": lambda: layer(x),
    "attend_attention by ctypes": lambda: attention(attention_call, attention_error),
    "attention(q, k, v, out=)": lambda: attend.attention(q, q, q, out=output),
    "attention(q, k, v, out=, causal=True)": lambda: attend.attention(q, q, q, out=output, causal=True),
    "attention(q, k, v)": lambda: attend.attention(q, q, q),
}


def microseconds(call, count=500):
    return min(timeit.repeat(call, number=count, repeat=100)) / count * 1e6


base = 0.0
for name, timed in CALLS.items():
    took = microseconds(timed)
    if "ctypes" in name:
        base = took
        print(f"{name:40} {took:5.2f} us")
    else:
        print(f"{name:40} {took:5.2f} us, {took - base:5.2f} over it")
