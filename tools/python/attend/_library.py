"""The shared library: its functions, and the exceptions that its errors are."""
from __future__ import annotations

import ctypes
import os
import re
from typing import Any, NoReturn

from ._structs import Error, Threads

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libattend.so")

#: Its calls release the interpreter's lock.
library = ctypes.CDLL(PATH)
_with_lock = ctypes.PyDLL(PATH)  # the same library, for the functions of native/views.c

_address, _int, _int64, _float, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # what each gives and takes
    "version": (ctypes.c_char_p, []),
    "isa_name": (ctypes.c_char_p, [_int]),
    "isa_from_name": (_int, [ctypes.c_char_p, _address]),
    "isa_compiled": (_int, [_int]),
    "isa_usable": (_int, [_int]),
    "best_isa": (_int, []),
    "get_low_precision": (_address, []),
    "get_low_precision_int4": (_address, []),
    "int4_instructions": (ctypes.c_char_p, [_int, _int]),
    "product_instructions": (ctypes.c_char_p, [_int, _int, _int]),
    "core_instructions": (ctypes.c_char_p, [_int, _int]),
    "thread_pool_make": (_int, [_int, _address, _address]),
    "thread_pool_destroy": (None, [_address]),
    "thread_pool_keep_awake": (None, [_address, _int]),
    "thread_pool_threads": (Threads, [_address]),
    "workspace_release": (None, [_address]),
    "matmul": (_int, [_address, _address, _int, _address, _address, _address, _address, _address]),
    "sequence_mask": (_int, [_address, _address, _float, _address, _address, _address]),
    "masked_softmax": (_int, [_address, _address, _address, _address, _address]),
    "transpose_qkv": (_int, [_address, _int64, _address, _address, _address]),
    "transpose_output": (_int, [_address, _int64, _address, _address, _address]),
    "rms_norm": (_int, [_address, _address, _float, _address, _address, _address]),
    "merge": (_int, [_address, _address, _address, _address, _address, _address]),
    "layer_norm": (_int, [_address, _float, _address, _address, _address]),
    "rms_norm_rows": (_int, [_address, _float, _address, _address, _address]),
    "linear_bytes": (_size, [_address]),
    "linear_make": (_int, [_address, _address, _address, _size, _address, _address]),
    "linear_destroy": (None, [_address]),
    "linear_get_config": (_int, [_address, _address, _address]),
    "linear_forward": (_int, [_address, _address, _address, _address, _address, _address]),
    "default_alibi_slopes": (_int, [_int64, _address, _address]),
    "rotate": (_int, [_address, _address, _address, _int64, _address, _address, _address, _address]),
    "rotary_frequencies": (_int, [_int64, ctypes.c_double, _address, _address, _address]),
    "rotary_attention_factor": (_float, [_address]),
    "attention": (_int, [_address, _address]),
    "dot_product_attention": (_int, [_address, _address]),
    "mha_make": (_int, [_address, _address, _address, _size, _address, _address]),
    "mha_make_random": (_int, [_address, ctypes.c_uint64, _address, _size, _address, _address]),
    "mha_destroy": (None, [_address]),
    "mha_get_config": (_int, [_address, _address, _address, _address]),
    "mha_forward": (_int, [_address, _address, _address]),
    "mha_forward_cached": (_int, [_address, _address, _address]),
    "mha_project": (_int, [_address, _address, _address]),
    "kv_cache_make": (_int, [_address, _address, _size, _address, _address]),
    "kv_cache_destroy": (None, [_address]),
    "kv_cache_append": (_int, [_address, _address, _address, _address, _address, _address]),
    "kv_cache_truncate": (_int, [_address, _int64, _int64, _address]),
    "kv_cache_clear": (None, [_address]),
    "kv_cache_length": (_int64, [_address, _int64]),
    "kv_cache_first": (_int64, [_address, _int64]),
    "kv_cache_key": (_address, [_address, _int64, _int64, _int64]),
    "kv_cache_value": (_address, [_address, _int64, _int64, _int64]),
    "kv_cache_get_config": (_int, [_address, _address, _address]),
    "attention_cached": (_int, [_address, _address]),
    "load_layer": (_int, [ctypes.c_char_p, ctypes.c_char_p, _int64, _address, _address, _address]),
    "loaded_layer_destroy": (None, [_address]),
    "loaded_layer_mha": (_address, [_address]),
    "loaded_layer_convention": (ctypes.c_char_p, [_address]),
    "loaded_layer_remarks": (ctypes.c_char_p, [_address]),
    "loaded_layer_get_options": (_int, [_address, _address, _address]),
}
_ENCODER: dict[str, tuple[Any, list[Any]]] = {  # of native/encoder.cpp
    "python_encoder_make": (_int, [ctypes.c_char_p, ctypes.c_char_p, _int, _address, _address, _address, _address]),
    "python_encoder_destroy": (None, [_address]),
    "python_encoder_ids": (_int, [_address, ctypes.c_char_p, _size, _address, _address, _address]),
    "python_encoder_token": (_address, [_address, ctypes.c_int32, _address]),
    "python_encoder_encode": (_int, [_address, _address, _address, _size, _address, _address, _address]),
    "python_encoder_attention_weights": (_int, [_address, _address, _size, _int64, _address, _address, _address]),
}
for _name, (_result, _arguments) in {**_FUNCTIONS, **_ENCODER}.items():
    _function = getattr(library, "attend_" + _name)
    _function.restype, _function.argtypes = _result, _arguments

#: view(slot, capsule) and views(slots, count, capsule * 5): native/views.c has their comments.
view = _with_lock.attend_python_view
view.restype, view.argtypes = _int, [_address, ctypes.py_object]
views = _with_lock.attend_python_views
views.restype, views.argtypes = _int, [_address, _int, *[ctypes.py_object] * 5]

_with_lock.attend_python_begin.argtypes = [_address, _address, ctypes.py_object]
_with_lock.attend_python_begin.restype = None
_with_lock.attend_python_begin(ctypes.cast(ctypes.pythonapi.PyCapsule_IsValid, _address),
                               ctypes.cast(ctypes.pythonapi.PyCapsule_GetPointer, _address), None)

_EXCEPTIONS = {1: ValueError, 2: RuntimeError, 3: MemoryError}  # of attend_code


def refuse(code: int, error: Any, **names: str) -> NoReturn:
    """Raises what an attend_code stands for, with the library's message; `names` says what its names are called in Python."""
    message = re.sub(r"^weights\.", "", error.message.decode("utf-8", "replace"))
    for name, here in {"output": "out", **names}.items():
        message = re.sub(rf"^{name}\b", here, message)
    raise _EXCEPTIONS.get(code, RuntimeError)(message)


def require(code: int, error: Any, **names: str) -> None:
    """Raises unless the code is ATTEND_OK."""
    if code != 0:
        refuse(code, error, **names)


def new_error() -> Any:
    return Error()


def version() -> str:
    """The library's version, "0.1.0"."""
    return str(library.attend_version().decode())
