"""attend: by the C API, in this process; and its case of the seed in a process of build/attend-bench."""
import ctypes
import functools
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


View = structure("View", ("data", c_void_p), ("rank", c_int), ("sizes", c_int64 * 4), ("strides", ctypes.POINTER(c_int64)))
Threads = structure("Threads", ("count", c_int), ("parallel_for pool", c_void_p))
Workspace = structure("Workspace", ("memory", c_void_p), ("bytes", c_size_t), ("owned", c_int))
# As in attend.h.
Options = structure("Options", ("size", c_size_t), ("scale softcap", c_float), ("causal windowed", c_int), ("offset", c_int64),
                    ("offsets", View), ("window_left window_right", c_int64), ("mask key_padding_mask", View), ("mask_hides", c_int),
                    ("valid_starts additive_mask tree_parents alibi_slopes", View), ("relative_position_bias", c_void_p),
                    ("sinks query_starts key_starts query_positions key_positions", View), ("empty_rows training", c_int),
                    ("dropout_seed", ctypes.c_uint64), ("attention_weights lse", View), ("threads", Threads),
                    ("average_weights isa core_arithmetic", c_int), ("low_precision", c_void_p))
Config = structure("Config", ("size", c_size_t), ("key_size query_size value_size num_hiddens num_heads", c_int64), ("dropout", c_float),
                   ("bias isa", c_int), ("norm_epsilon", c_float), ("norm_queries norm_keys", c_int),
                   ("num_kv_heads head_dim output_size", c_int64), ("rotary", c_void_p), ("weight_type arithmetic", c_int),
                   ("low_precision", c_void_p))
Weights = structure("Weights", ("size", c_size_t), ("query key value output query_bias key_bias value_bias output_bias", View))
LayerCall = structure("LayerCall", ("size", c_size_t), ("queries keys values valid_lens output", View),
                      ("workspace", ctypes.POINTER(Workspace)), ("options", ctypes.POINTER(Options)))
AttentionCall = structure("AttentionCall", ("size", c_size_t), ("q k v valid_lens output", View),
                          ("workspace", ctypes.POINTER(Workspace)), ("options", ctypes.POINTER(Options)))
Error = structure("Error", ("message", ctypes.c_char * 236))


def sized(kind, *values, **fields):
    """A struct that begins with its size."""
    return kind(ctypes.sizeof(kind), *values, **fields)


def view(array):
    """Of an array that has to outlive it; None: absent."""
    if array is None:
        return View()
    numbers = c_int64 * array.ndim
    return View(array.ctypes.data, array.ndim, (c_int64 * 4)(*array.shape), numbers(*(stride // array.itemsize for stride in array.strides)))


def load():
    library = ctypes.CDLL(os.path.join(BUILD, "libattend.so"))
    for name in ("attend_mha_bytes", "attend_mha_workspace_bytes", "attend_attention_workspace_bytes"):
        getattr(library, name).restype = c_size_t
    library.attend_thread_pool_threads.restype = Threads
    library.attend_get_low_precision.restype = c_void_p
    library.attend_core_instructions.restype = c_void_p
    return library


@functools.lru_cache(None)
def pool(threads):
    """The `threads` of calls."""
    if threads == 1:
        return Threads()
    made, error = c_void_p(), Error()
    library = load()
    require(library.attend_thread_pool_make(c_int(threads), ctypes.byref(made), ctypes.byref(error)), error)
    return library.attend_thread_pool_threads(made)


WEIGHTS = {"f32": 0, "bf16": 1, "int8": 3}
ARITHMETIC = {"f32": 0, "bf16": 1, "int8": 2}


def core_arithmetic(library, buffers):
    """Of attention itself, in low precision: bfloat16, where the CPU multiplies it."""
    low = buffers.precision != "f32" and library.attend_core_instructions(ARITHMETIC["bf16"], isa()) is not None
    return ARITHMETIC["bf16" if low else "f32"]


def isa():
    """$ATTEND_ISA, which the programs heed too, as the C API counts it."""
    return ISAS.index(os.environ.get("ATTEND_ISA", "best"))


def require(code, error):
    if code != 0:
        raise RuntimeError("attend: " + error.message.decode())


def forms(buffers, threads):
    if not isinstance(buffers.case, cases.Layer):
        return {"C API": lambda: attention(buffers, threads)}
    made = layer(buffers, threads)
    return {"C API": lambda: packed(buffers, made, threads) if buffers.case.packed else made}


def made_layer(library, buffers):
    """A layer in memory of the caller's: the handle and that memory."""
    case, error = buffers.case, Error()
    config = sized(Config, num_hiddens=case.width, num_heads=case.heads, isa=isa(), weight_type=WEIGHTS[buffers.precision],
                   arithmetic=ARITHMETIC[buffers.precision], low_precision=library.attend_get_low_precision())
    weights = sized(Weights, *(view(array) for array in buffers.W + (buffers.b or [])))
    made, memory = c_void_p(), cases.empty(library.attend_mha_bytes(ctypes.byref(config)) // 4 + 1)
    require(library.attend_mha_make(ctypes.byref(config), ctypes.byref(weights), c_void_p(memory.ctypes.data), c_size_t(memory.nbytes),
                                    ctypes.byref(made), ctypes.byref(error)), error)
    return made, memory


def layer(buffers, threads, batch=None):
    """A layer's call, the layer and the workspace in memory of the caller's; of so many of the batch's entries."""
    library, case = load(), buffers.case
    made, memory = made_layer(library, buffers)
    x, y = buffers.x[:batch], buffers.y[:batch]
    output = cases.empty(*x.shape)
    lengths = np.array(case.valid_lens[:batch], np.int64) if case.valid_lens else None
    call = sized(LayerCall, view(x), view(y), view(y), view(lengths), view(output))
    options = sized(Options, threads=pool(threads), core_arithmetic=core_arithmetic(library, buffers),
                    low_precision=library.attend_get_low_precision())
    return layer_call(library, made, call, options, output, (buffers, memory, lengths))


def packed(buffers, padded, threads):
    """The call of self-attention without the rows past the lengths; its output is padded's, which has the same bits where it has rows."""
    library, case = load(), buffers.case
    made, memory = made_layer(library, buffers)
    rows = lambda array: np.concatenate([entry[:length] for entry, length in zip(array, case.valid_lens)])
    x = rows(buffers.x)[None]
    output = cases.empty(*x.shape)
    starts = np.cumsum((0,) + case.valid_lens, dtype=np.int64)
    call = sized(LayerCall, view(x), view(x), view(x), View(), view(output))
    options = sized(Options, threads=pool(threads), query_starts=view(starts), key_starts=view(starts))
    made_call = layer_call(library, made, call, options, output, (buffers, memory, x, starts))
    if not np.array_equal(made_call.output()[0], rows(padded.output())):
        raise RuntimeError("attend: packed sequences differ from those that are padded")
    return Call(made_call.run, padded.output, (made_call, padded))


def layer_call(library, made, call, options, output, keep):
    return called(call, options, output, lambda of_call: library.attend_mha_workspace_bytes(made, of_call),
                  lambda of_call, error: library.attend_mha_forward(made, of_call, error), (library, made, keep))


def attention(buffers, threads):
    library = load()
    output = cases.empty(*buffers.q.shape)
    call = sized(AttentionCall, view(buffers.q), view(buffers.k), view(buffers.v), View(), view(output))
    options = sized(Options, causal=getattr(buffers.case, "causal", False), threads=pool(threads), isa=isa())
    return called(call, options, output, library.attend_attention_workspace_bytes, library.attend_attention, (library, buffers))


def called(call, options, output, workspace_bytes, forward, keep):
    """forward(call, error) in a workspace of the caller's."""
    error, by_reference = Error(), ctypes.byref(call)
    call.options = ctypes.pointer(options)
    memory = cases.empty(workspace_bytes(by_reference) // 4 + 1)
    call.workspace = ctypes.pointer(Workspace(memory.ctypes.data, memory.nbytes))
    require(forward(by_reference, ctypes.byref(error)), error)
    run = lambda: forward(by_reference, None)

    def result():
        run()
        return output
    return Call(run, result, (call, options, memory, keep))


def first_call(folder, case):
    return layer(weights_file.read(folder, case), 1)


def empty_call(threads):
    """A forward of no batch entries."""
    return layer(cases.Buffers(cases.ALL[0]), threads, batch=0)


class InBench:
    """A case in a process of attend-bench."""

    def __init__(self, case, threads):
        self.case, self.threads = case, threads

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

