"""attend: layers by the C API, in this process; attention alone by build/attend-bench, in the same round.

Attention alone is not in the C API, nor are threads: what goes through attend-bench computes on numbers of its own, which it
checks against the reference. For the comparison with the peers, build/attend computes those cases on the same arrays."""
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

c_int, c_int64, c_size_t, c_void_p = ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p


def structure(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for names, kind in fields for field in names.split()]})


# As in attend.h.
Config = structure("Config", ("key_size query_size value_size num_hiddens num_heads", c_int64), ("isa", c_int))
Weights = structure("Weights", ("query key value output query_bias key_bias value_bias output_bias", c_void_p))
Arguments = structure("Arguments", ("batch num_queries num_keys", c_int64), ("queries keys values valid_lens", c_void_p),
                      ("lens_per_query empty_rows", c_int), ("output attention_weights workspace", c_void_p), ("workspace_bytes", c_size_t))
Error = structure("Error", ("message", ctypes.c_char * 236))


def load():
    library = ctypes.CDLL(os.path.join(BUILD, "libattend.so"))
    pointer = ctypes.POINTER
    library.attend_mha_make.argtypes = [pointer(Config), pointer(Weights), c_void_p, c_size_t, pointer(c_void_p), pointer(Error)]
    library.attend_mha_workspace_bytes.argtypes = [c_void_p, c_int64, c_int64, c_int64]
    library.attend_mha_workspace_bytes.restype = c_size_t
    library.attend_mha_forward.argtypes = [c_void_p, pointer(Arguments), pointer(Error)]
    return library


def require(code, error):
    if code != 0:
        raise RuntimeError("attend: " + error.message.decode())


def address(array):
    return None if array is None else array.ctypes.data


def forms(buffers, threads, isa="best"):
    if isinstance(buffers.case, cases.Layer):
        made = layer(buffers, isa)
        if threads == 1:
            return {"C API": lambda: made}
        return {"attend-bench": lambda: InBench(buffers.case, threads, isa, made.output)}  # the same bits for any number
    return {"attend-bench": lambda: InBench(buffers.case, threads, isa, lambda: attention_output(buffers, isa))}


def layer(buffers, isa="best", batch=None):
    """A layer's call by the C API, the workspace in memory of the caller's."""
    library, case, error = load(), buffers.case, Error()
    E = case.width
    config = Config(E, E, E, E, case.heads, ISAS.index(isa))
    weights = Weights(*(address(array) for array in buffers.W + (buffers.b or [None] * 4)))
    made = c_void_p()
    require(library.attend_mha_make(config, weights, None, 0, made, error), error)
    output = cases.empty(case.batch, case.queries, E)
    workspace = cases.empty(library.attend_mha_workspace_bytes(made, case.batch, case.queries, case.keys) // 4 + 1)
    lengths = np.array(case.valid_lens, np.int64) if case.valid_lens else None
    arguments = Arguments(case.batch if batch is None else batch, case.queries, case.keys, address(buffers.x), address(buffers.y),
                          address(buffers.y), address(lengths), 0, 0, address(output), None, address(workspace), workspace.nbytes)
    forward, by_reference, no_error = library.attend_mha_forward, ctypes.byref(arguments), None
    require(forward(made, by_reference, error), error)
    run = lambda: forward(made, by_reference, no_error)

    def result():
        run()
        return output
    return Call(run, result, (library, buffers, arguments, output, workspace, lengths))


def first_call(folder, case):
    return layer(weights_file.read(folder, case))


def empty_call(threads):
    """A forward of no batch entries."""
    return layer(cases.Buffers(cases.ALL[0]), batch=0).run


class InBench:
    """A case in a process of attend-bench."""

    def __init__(self, case, threads, isa, output):
        self.case, self.threads, self.isa, self.output = case, threads, isa, output

    def time(self, seconds):
        with tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report.json")
            run_program("attend-bench", "--case", self.case.name, "--threads", str(self.threads), "--isa", self.isa,
                        "--seconds", str(seconds), "--json", report,
                        *(["--cpu-time"] if timing.clock is time.process_time else []))
            with open(report) as file:
                return json.load(file)["cases"][0]["us_min"] * 1e-6


def run_program(name, *words):
    result = subprocess.run([os.path.join(BUILD, name), *words], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())


def attention_output(buffers, isa):
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name + ".npy") for name in ("query", "key", "value", "out")}
        for name, array in (("query", buffers.q), ("key", buffers.k), ("value", buffers.v)):
            np.save(paths[name], array)
        words = [word for name, path in paths.items() for word in ("--" + name, path)]
        run_program("attend", "sdpa", *words, "--isa", isa, *(["--causal"] if getattr(buffers.case, "causal", False) else []))
        return np.load(paths["out"])
