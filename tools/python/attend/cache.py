"""The KV cache, and attention over it."""
from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, Optional

import numpy

from ._arrays import FLOATS, INTEGERS, Array, new_array
from ._calls import OUTPUT, Call, Frame, together
from ._library import library, new_error, require
from ._options import shows_options
from ._precision import CACHE_TYPES, LOW_PRECISION, cache_type_number
from ._scalars import integer
from ._structs import AttentionCachedCall, CacheConfig, OperationOptions, Options, View, structure

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import AttentionOptions

__all__ = ["KVCache", "attention_cached"]

_config = Call(CacheConfig, [("pages", INTEGERS)])
_append = Call(structure("Append", ("k v counts", View)), [("k", FLOATS), ("v", FLOATS), ("counts", INTEGERS)], OperationOptions)
_CONFIG = ("num_kv_heads", "head_dim", "capacity", "batch", "value_dim", "page_rows", "page_count")


class KVCache:
    """Keys and values of past tokens, for each entry of a batch and each key/value head.

    With neither `ring` nor pages each entry has room for `capacity` tokens and is full then; a ring keeps the newest `capacity`; a
    paged one has its rows in a pool of `page_count` pages of `page_rows` tokens, and pages (batch, P), int64, says which page of
    the pool is page p of an entry; it is read in each call and may change in between. An entry's tokens are counted from its
    first: token j keeps position j. `type` stores the rows as "bfloat16", "float16" or "int8", rounded when they are appended. One call at a time may write a cache, and none may read it meanwhile.
    """

    def __init__(self, num_kv_heads: int, head_dim: int, capacity: Optional[int] = None, *, batch: int = 1,
                 value_dim: Optional[int] = None, ring: bool = False, page_rows: Optional[int] = None, page_count: Optional[int] = None,
                 pages: Optional[Array] = None, type: Optional[str] = None) -> None:
        given = {"num_kv_heads": num_kv_heads, "head_dim": head_dim, "capacity": capacity, "batch": batch, "value_dim": value_dim,
                 "page_rows": page_rows, "page_count": page_count}
        frame = Frame(_config)
        for name, value in given.items():
            setattr(frame.struct, name, 0 if value is None else integer(name, value))
        if batch == 0:
            raise ValueError("batch: expected 1 or more, got 0")
        frame.struct.ring = int(ring)
        frame.struct.type, frame.struct.low_precision = cache_type_number("type", type), LOW_PRECISION
        if pages is not None and getattr(pages, "dtype", None) is not None and "int64" not in str(pages.dtype):
            raise TypeError(f"pages: expected int64, which the cache reads where it is, got {pages.dtype}")
        self._held = frame.fill(pages), pages
        handle = ctypes.c_void_p()
        frame.check(library.attend_kv_cache_make(frame.call, None, 0, ctypes.byref(handle), frame.error))
        self._handle = handle.value
        self._frame = frame  # the strides of `pages` lie in it
        self._end = weakref.finalize(self, library.attend_kv_cache_destroy, self._handle)
        self._end.atexit = False
        made, error = CacheConfig(ctypes.sizeof(CacheConfig)), new_error()
        require(library.attend_kv_cache_get_config(self._handle, ctypes.addressof(made), ctypes.addressof(error)), error)
        self._made: Any = made

    @property
    def batch(self) -> int:
        """How many entries it has."""
        return int(self._made.batch)

    @property
    def num_kv_heads(self) -> int:
        """How many heads of keys and values an entry has."""
        return int(self._made.num_kv_heads)

    @property
    def head_dim(self) -> int:
        """How wide a head's keys are."""
        return int(self._made.head_dim)

    @property
    def value_dim(self) -> int:
        """How wide a head's values are."""
        return int(self._made.value_dim)

    @property
    def capacity(self) -> int:
        """How many tokens an entry can hold."""
        return int(self._made.capacity)

    @property
    def type(self) -> str:
        """How it stores its rows."""
        return CACHE_TYPES[self._made.type]

    @property
    def ring(self) -> bool:
        """Whether it keeps the newest tokens when it is full."""
        return bool(self._made.ring)

    @property
    def page_rows(self) -> int:
        """How many tokens a page holds; 0: it has no pages."""
        return int(self._made.page_rows)

    @property
    def page_count(self) -> int:
        """How many pages the pool holds."""
        return int(self._made.page_count)

    @property
    def lengths(self) -> Any:
        """How many tokens each entry was given, int64 (batch,)."""
        return numpy.array([self.length(b) for b in range(self.batch)], numpy.int64)

    def length(self, b: int = 0) -> int:
        """How many tokens entry b was given, those that a ring has let go included."""
        return int(library.attend_kv_cache_length(self._handle, self._entry(b)))

    def first(self, b: int = 0) -> int:
        """The first token of entry b that is kept: 0 but on a ring."""
        return int(library.attend_kv_cache_first(self._handle, self._entry(b)))

    def _entry(self, b: int) -> int:
        b = integer("b", b)
        if not 0 <= b < self.batch:
            raise IndexError(f"b: expected 0 to {self.batch - 1}, got {b}")
        return b

    def append(self, k: Array, v: Array, counts: Optional[Array] = None, *, isa: Optional[str] = None, threads: Any = None) -> None:
        """Appends n tokens to each entry, or the first counts[b] of its n rows: k (B, G, n, D), v (B, G, n, Dv).

        An entry without room for them is a MemoryError. On any error the cache is as it was.
        """
        frame = _append.take()
        try:
            frame.set_operation_options(isa, threads)
            held = frame.fill(k, v, counts)
            at = frame.view
            frame.check(library.attend_kv_cache_append(self._handle, at("k"), at("v"), at("counts"), frame.options_address, frame.error))
            del held
        finally:
            _append.give(frame)

    def truncate(self, b: int, length: int) -> None:
        """Takes entry b back to its first `length` tokens, as after rejected drafts."""
        error = new_error()
        require(library.attend_kv_cache_truncate(self._handle, integer("b", b), integer("length", length), ctypes.addressof(error)), error)

    def clear(self) -> None:
        """Takes every entry back to 0 tokens."""
        library.attend_kv_cache_clear(self._handle)

    def key(self, b: int, head: int, token: int) -> Any:
        """A copy of a token's key, (D,)."""
        return self._row(library.attend_kv_cache_key, self.head_dim, b, head, token)

    def value(self, b: int, head: int, token: int) -> Any:
        """A copy of a token's value, (Dv,)."""
        return self._row(library.attend_kv_cache_value, self.value_dim, b, head, token)

    def _row(self, function: Any, width: int, b: int, head: int, token: int) -> Any:
        if self.type != "float32":
            raise TypeError(f"rows of float32 can be read; the cache's are {self.type}")
        address = function(self._handle, integer("b", b), integer("head", head), integer("token", token))
        if address is None:
            raise IndexError(f"the cache keeps no token {token} of head {head} of entry {b}")
        return numpy.array((ctypes.c_float * width).from_address(address), numpy.float32)

    def __repr__(self) -> str:
        kind = ", ring=True" if self.ring else f", page_rows={self.page_rows}, page_count={self.page_count}" if self.page_rows else ""
        of_values = f", value_dim={self.value_dim}" if self.value_dim != self.head_dim else ""
        kind += f", type={self.type!r}" if self.type != "float32" else ""
        lengths = ", ".join(str(length) for length in self.lengths[:8]) + (", .." if self.batch > 8 else "")
        return (f"attend.KVCache({self.num_kv_heads}, {self.head_dim}, {self.capacity}, batch={self.batch}{of_values}{kind})"
                f"  # lengths {lengths}")

    def __reduce__(self) -> Any:
        raise TypeError("a KVCache cannot be pickled or copied")


def cache_handle(cache: Any) -> Any:
    """The cache as the C API knows it."""
    if not isinstance(cache, KVCache):
        raise TypeError(f"cache: expected an attend.KVCache, got {type(cache).__name__}")
    return cache._handle


_cached = Call(AttentionCachedCall, [("q", FLOATS), ("query_counts", INTEGERS), ("output", OUTPUT)], Options, {"output": "out"})


@shows_options("query_positions", "key_positions", "query_starts", "key_starts", "training", "dropout_seed", "core_arithmetic")
def attention_cached(q: Array, cache: KVCache, query_counts: Optional[Array] = None, *, out: Optional[Array] = None,
                     **options: Unpack[AttentionOptions]) -> Any:
    """Attention of q (B, H, L, D) to all tokens of a cache, their own included where they were appended before.

    Gives (B, H, L, Dv). query_counts None or (B,): how many of an entry's rows are queries; the output of those after is 0. Query
    i of entry b stands at position length(b) - query_counts[b] + i + offset. Options and results are those of attend.attention; S,
    of masks and attention weights, is the largest length.
    """
    frame = _cached.take()
    try:
        frame.struct.cache = cache_handle(cache)
        held = frame.fill(q, query_counts)
        of_q = frame.sizes("q")
        out = new_array(q, of_q[:-1] + (cache.value_dim,)) if out is None else out
        kept = frame.fill_one(2, out)
        sizes = {"attention_weights": of_q[:3], "average_weights": of_q[:1] + of_q[2:3], "lse": of_q[:3]}
        found, also = frame.set_options(
            options, q, lambda _, name: sizes[name] + (() if name == "lse" else (int(cache.lengths.max()),)))
        frame.check(library.attend_attention_cached(frame.call, frame.error))
        del held, kept, also
    finally:
        _cached.give(frame)
    return together(out, found)
