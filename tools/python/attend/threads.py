"""Threads for calls: a pool of one's own, or one that all calls share."""
from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from typing import Any

from ._library import library, new_error, require
from ._scalars import integer
from ._structs import Threads

__all__ = ["ThreadPool"]


class ThreadPool:
    """A pool of `count` threads, the caller's included, that sleep while there is no work. With `awake` they wait for the next call
    awake, on a core each, for about a millisecond after the last: for many short calls one after another.

    Give it to calls as `threads=pool`. Several calls may share it: while one uses it, the others run on their own thread alone.
    Results have the same bits for any count. In a child of fork it serves calls on their caller's thread. It is a context
    manager, which closes it at the end.
    """

    def __init__(self, count: int, *, awake: bool = False) -> None:
        """Starts count - 1 threads; count is 1 to 256."""
        handle, error = ctypes.c_void_p(), new_error()
        require(library.attend_thread_pool_make(integer("count", count), ctypes.byref(handle), ctypes.byref(error)), error)
        self._count, self._awake = int(count), bool(awake)
        library.attend_thread_pool_keep_awake(handle, self._awake)
        # The pool ends with this struct, which calls hold, too.
        self._threads: Any = library.attend_thread_pool_threads(handle)
        weakref.finalize(self._threads, library.attend_thread_pool_destroy, handle.value).atexit = False

    @property
    def count(self) -> int:
        """How many threads it has, the caller's included."""
        return self._count

    def close(self) -> None:
        """Ends its threads, as soon as no call uses them; no further call may."""
        self._threads = None

    def __enter__(self) -> "ThreadPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"attend.ThreadPool({self._count}{', awake=True' if self._awake else ''})" + ("" if self._threads is not None else "  # closed")

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(ThreadPool, awake=self._awake), (self._count,)


_shared: dict[tuple[int, int], ThreadPool] = {}  # by process and count
_lock = threading.Lock()


def _anew_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_anew_after_fork)


def threads_of(name: str, threads: Any) -> Any:
    """The attend_threads of a count or of a pool, whose threads live as long as it."""
    if isinstance(threads, ThreadPool):
        made = threads._threads
        if made is None:
            raise ValueError(f"{name}: the pool is closed")
        return made
    if hasattr(threads, "__index__") and not isinstance(threads, bool):
        threads = integer(name, threads)
        if not 1 <= threads <= 256:
            raise ValueError(f"{name}: expected 1 to 256, got {threads}")
        if threads == 1:
            return Threads()
        key = (os.getpid(), threads)
        with _lock:
            pool = _shared.get(key)
            if pool is None:
                pool = _shared[key] = ThreadPool(threads)
        return pool._threads
    raise TypeError(f"{name}: expected a count or an attend.ThreadPool, got {threads!r}")
