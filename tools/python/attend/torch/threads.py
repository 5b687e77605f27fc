"""The threads of calls within PyTorch: as many as PyTorch uses, and PyTorch's own where they are those of OpenMP."""
from __future__ import annotations

import ctypes
import os
import threading
from typing import Any, Union

import torch

from .._library import library
from .._structs import Threads, structure
from ..threads import ThreadPool

__all__ = ["OpenMPThreads", "threads"]

_MAX_THREADS = 256
_Pool = structure("OpenMPPool", ("parallel", ctypes.c_void_p), ("threads", ctypes.c_int))


class OpenMPThreads(ThreadPool):
    """The threads of an OpenMP runtime: `parallel` is the address of its GOMP_parallel, which has each call run on `count` of them."""

    def __init__(self, count: int, parallel: int) -> None:
        self._count = count
        self._pool: Any = _Pool(parallel, count)
        self._threads = Threads(count, ctypes.cast(library.attend_python_openmp, ctypes.c_void_p), ctypes.addressof(self._pool))

    def __repr__(self) -> str:
        return f"attend.torch.threads.OpenMPThreads({self._count})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("threads of OpenMP are those of one process, and cannot be pickled")


def _find_parallel() -> int:
    """The address of GOMP_parallel in the runtime that PyTorch is linked with; 0: it has none."""
    if not torch.backends.openmp.is_available():  # type: ignore[no-untyped-call]
        return 0
    try:
        function = ctypes.CDLL(torch._C.__file__).GOMP_parallel  # looked up in all that PyTorch needs
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_parallel = _find_parallel()
_made: dict[int, OpenMPThreads] = {}
_lock = threading.Lock()


def _without_after_fork() -> None:
    """A child of fork has none of the runtime's threads, which the runtime would wait for."""
    global _parallel, _lock
    _parallel, _lock = 0, threading.Lock()


os.register_at_fork(after_in_child=_without_after_fork)


def threads() -> Union[int, ThreadPool]:
    """What calls take for their `threads`: torch.get_num_threads() of them."""
    count = min(int(torch.get_num_threads()), _MAX_THREADS)
    if count == 1 or not _parallel:
        return count
    with _lock:
        if count not in _made:
            _made[count] = OpenMPThreads(count, _parallel)
        return _made[count]
