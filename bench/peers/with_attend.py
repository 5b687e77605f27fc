"""attend: by the C API, in this process, or by build/attend-bench, in the same round, for what the C API does not reach.

attend-bench computes on numbers of its own, which it checks against the reference. For the comparison with the peers, build/attend
computes those cases on the same arrays."""
import ctypes
import json
import os
import subprocess
import tempfile
import time

import numpy as np

import cases
import timing
import weights_file
from timing import Call

NAME, DISTRIBUTION = "attend", None
BUILD = os.environ.get("ATTEND_BUILD", "build")
ISAS = ("best", "scalar", "avx2", "avx512", "neon")  # as attend_isa counts them

c_float, c_int, c_int64, c_size_t, c_void_p = ctypes.c_float, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p


def structure(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for names, kind in fields for field in names.split()]})


# As in attend.h, to the end: what is not set is to be zero.
Options = structure("Options", ("causal", c_int), ("offset", c_int64), ("windowed", c_int), ("window_left window_right", c_int64),
                    ("mask", c_void_p), ("mask_by_entry mask_by_head", c_int), ("additive_mask", c_void_p),
                    ("additive_mask_by_entry additive_mask_by_head", c_int), ("scale softcap", c_float), ("lse", c_void_p),
                    ("num_sequences", c_int64), ("query_starts key_starts", c_void_p))
Config = structure("Config", ("key_size query_size value_size num_hiddens num_heads", c_int64), ("isa", c_int),
                   ("num_kv_heads head_dim output_size", c_int64), ("rotary_frequencies", c_void_p), ("num_rotary_frequencies", c_int64),
                   ("rotary_attention_factor", c_float), ("rotary_interleaved qk_norm", c_int), ("norm_epsilon", c_float))
Weights = structure("Weights", ("query key value output query_bias key_bias value_bias output_bias query_norm key_norm", c_void_p))
LayerCall = structure("LayerCall", ("batch num_queries num_keys", c_int64), ("queries keys values valid_lens", c_void_p),
                      ("lens_per_query empty_rows", c_int), ("output attention_weights workspace", c_void_p),
                      ("workspace_bytes", c_size_t), ("options", Options))
AttentionCall = structure("AttentionCall", ("batch num_heads num_kv_heads num_queries num_keys head_dim value_dim", c_int64),
                          ("q k v valid_lens", c_void_p), ("lens_per_query empty_rows", c_int),
                          ("output attention_weights workspace", c_void_p), ("workspace_bytes", c_size_t), ("isa", c_int), ("options", Options))
Error = structure("Error", ("message", ctypes.c_char * 236))


def load():
    library = ctypes.CDLL(os.path.join(BUILD, "libattend.so"))
    pointer = ctypes.POINTER
    library.attend_mha_bytes.argtypes, library.attend_mha_bytes.restype = [pointer(Config)], c_size_t
    library.attend_mha_make.argtypes = [pointer(Config), pointer(Weights), c_void_p, c_size_t, pointer(c_void_p), pointer(Error)]
    library.attend_mha_call_workspace_bytes.argtypes = [c_void_p, pointer(LayerCall)]
    library.attend_mha_call_workspace_bytes.restype = c_size_t
    library.attend_mha_forward.argtypes = [c_void_p, pointer(LayerCall), pointer(Error)]
    if hasattr(library, "attend_attention"):
        library.attend_attention_workspace_bytes.argtypes = [pointer(AttentionCall)]
        library.attend_attention_workspace_bytes.restype = c_size_t
        library.attend_attention.argtypes = [pointer(AttentionCall), pointer(Error)]
    return library


def isa():
    """$ATTEND_ISA, which the programs heed too, as the C API counts it."""
    return ISAS.index(os.environ.get("ATTEND_ISA", "best"))


def require(code, error):
    if code != 0:
        raise RuntimeError("attend: " + error.message.decode())


def address(array):
    return None if array is None else array.ctypes.data


def forms(buffers, threads):
    case = buffers.case
    if isinstance(case, cases.Layer):
        made = layer(buffers)
    elif hasattr(load(), "attend_attention") and not getattr(case, "token_major", False):
        made = attention(buffers)
    else:
        return {"attend-bench": lambda: InBench(case, threads, lambda: attention_output(buffers))}
    if threads == 1:
        return {"C API": lambda: packed(buffers, made) if getattr(case, "packed", False) else made}
    return {"attend-bench": lambda: InBench(case, threads, made.output, made)}  # the same bits for any number of threads


def made_layer(library, buffers):
    """A layer in memory of the caller's: the handle and that memory."""
    case, error = buffers.case, Error()
    E = case.width
    config = Config(E, E, E, E, case.heads, isa())
    weights = Weights(*(address(array) for array in buffers.W + (buffers.b or [None] * 4)))
    made, memory = c_void_p(), cases.empty(library.attend_mha_bytes(config) // 4 + 1)
    require(library.attend_mha_make(config, weights, address(memory), memory.nbytes, made, error), error)
    return made, memory


def layer(buffers, batch=None):
    """A layer's call by the C API, the layer and the workspace in memory of the caller's."""
    library, case = load(), buffers.case
    made, memory = made_layer(library, buffers)
    output = cases.empty(case.batch, case.queries, case.width)
    lengths = np.array(case.valid_lens, np.int64) if case.valid_lens else None
    call = LayerCall(case.batch if batch is None else batch, case.queries, case.keys, address(buffers.x), address(buffers.y),
                     address(buffers.y), address(lengths), 0, 0, address(output))
    return layer_call(library, made, call, output, (buffers, memory, lengths))


def packed(buffers, padded):
    """The call of self-attention without the rows past the lengths; its output is padded's, which has the same bits where it has rows."""
    library, case = load(), buffers.case
    made, memory = made_layer(library, buffers)
    rows = lambda array: np.concatenate([entry[:length] for entry, length in zip(array, case.valid_lens)])
    x = rows(buffers.x)
    output = cases.empty(*x.shape)
    starts = np.cumsum((0,) + case.valid_lens, dtype=np.int64)
    call = LayerCall(1, len(x), len(x), address(x), address(x), address(x), output=address(output),
                     options=Options(num_sequences=len(starts) - 1, query_starts=address(starts), key_starts=address(starts)))
    made_call = layer_call(library, made, call, output, (buffers, memory, x, starts))
    if not np.array_equal(made_call.output(), rows(padded.output())):
        raise RuntimeError("attend: packed sequences differ from those that are padded")
    return Call(made_call.run, padded.output, (made_call, padded))


def layer_call(library, made, call, output, keep):
    workspace = cases.empty(library.attend_mha_call_workspace_bytes(made, call) // 4 + 1)
    call.workspace, call.workspace_bytes = address(workspace), workspace.nbytes
    error = Error()
    require(library.attend_mha_forward(made, call, error), error)
    forward, by_reference = library.attend_mha_forward, ctypes.byref(call)
    return called(lambda: forward(made, by_reference, None), output, (library, made, call, workspace, keep))


def attention(buffers):
    library, error = load(), Error()
    output = cases.empty(*buffers.q.shape)
    (_, H, L, D), (_, G, S, _) = buffers.q.shape, buffers.k.shape
    call = AttentionCall(1, H, G, L, S, D, 0,
                         address(buffers.q), address(buffers.k), address(buffers.v), isa=isa(), output=address(output),
                         options=Options(causal=getattr(buffers.case, "causal", False)))
    workspace = cases.empty(library.attend_attention_workspace_bytes(call) // 4 + 1)
    call.workspace, call.workspace_bytes = address(workspace), workspace.nbytes
    require(library.attend_attention(call, error), error)
    forward, by_reference = library.attend_attention, ctypes.byref(call)
    return called(lambda: forward(by_reference, None), output, (library, buffers, call, workspace))


def called(run, output, keep):
    def result():
        run()
        return output
    return Call(run, result, keep)


def first_call(folder, case):
    return layer(weights_file.read(folder, case))


def empty_call(threads):
    """A forward of no batch entries."""
    return layer(cases.Buffers(cases.ALL[0]), batch=0)


class InBench:
    """A case in a process of attend-bench; output as a Call's, which keep makes."""

    def __init__(self, case, threads, output=None, keep=None):
        self.case, self.threads, self.output, self.keep = case, threads, output, keep

    def time(self, seconds):
        with tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report.json")
            clock = ["--cpu-time"] if timing.clock is time.process_time else []
            run_program("attend-bench", "--case", self.case.name, "--threads", str(self.threads), "--seconds", str(seconds),
                        "--json", report, *clock)
            with open(report) as file:
                return json.load(file)["cases"][0]["us_min"] * 1e-6


def run_program(name, *words):
    result = subprocess.run([os.path.join(BUILD, name), *words], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())


def attention_output(buffers):
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name + ".npy") for name in ("query", "key", "value", "out")}
        for name, array in (("query", buffers.q), ("key", buffers.k), ("value", buffers.v)):
            np.save(paths[name], array)
        words = [word for name, path in paths.items() for word in ("--" + name, path)]
        run_program("attend", "sdpa", *words, *(["--causal"] if getattr(buffers.case, "causal", False) else []))
        return np.load(paths["out"])
