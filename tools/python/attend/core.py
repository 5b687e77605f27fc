"""Attention on given queries, keys and values: the core of every layer."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._arrays import FLOATS, INTEGERS, Array, new_array
from ._calls import OUTPUT, Call, Frame, together
from ._library import library
from ._options import shows_options
from ._scalars import number
from ._structs import AttentionCall, DotProductCall, Options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import AttentionOptions

__all__ = ["DotProductAttention", "attention"]

_out = {"output": "out"}

_attention = Call(AttentionCall, [("q", FLOATS), ("k", FLOATS), ("v", FLOATS), ("valid_lens", INTEGERS), ("output", OUTPUT)], Options, _out)
_run_attention = library.attend_attention


@shows_options("query_positions", "key_positions", "training", "dropout_seed")
def attention(q: Array, k: Array, v: Array, valid_lens: Optional[Array] = None, *, out: Optional[Array] = None,
              **options: Unpack[AttentionOptions]) -> Any:
    """softmax(scale q k^T) v of q (B, H, L, D), k (B, G, S, D), v (B, G, S, Dv); gives (B, H, L, Dv).

    G divides H. Any strides: (B, L, H, D) in memory is a view like any other. valid_lens None, (B,) or (B, L): how many keys
    may be seen. The output goes to `out` where it is given. The options are those of attend.AttentionOptions. With
    attention_weights=True or lse=True the result is a tuple of the output and those, in this order.
    """
    frame = _attention.take()
    try:
        if out is None:
            held = frame.fill(q, k, v, valid_lens)
            of_q, of_v = frame.sizes("q"), frame.sizes("v")
            out = new_array(q, of_q[:-1] + of_v[-1:])
            kept = frame.fill_one(4, out)
        else:
            held = kept = frame.fill(q, k, v, valid_lens, out)
        found, also = frame.set_options(options, q, _new_sizes) if options else (None, None)
        code = _run_attention(frame.call, frame.error)
        if code != 0:
            frame.check(code)
        del held, kept, also
    finally:
        _attention.give(frame)
    return together(out, found) if found else out


def _new_sizes(frame: Frame, name: str) -> tuple[int, ...]:
    of_q, keys = frame.sizes("q"), frame.sizes("k")[-2:-1]
    return of_q[:3] if name == "lse" else (of_q[:3] if name == "attention_weights" else of_q[:1] + of_q[2:3]) + keys


_dot_product = Call(DotProductCall, [("queries", FLOATS), ("keys", FLOATS), ("values", FLOATS), ("valid_lens", INTEGERS),
                                     ("output", OUTPUT)], Options, _out)


class DotProductAttention:
    """D2L's DotProductAttention: softmax(q k^T / sqrt(D), masked by valid_lens) v, with one head.

    `dropout`, in [0, 1), acts with training=True alone.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        self.dropout = number("dropout", dropout)

    def __repr__(self) -> str:
        return f"attend.DotProductAttention(dropout={self.dropout})"

    @shows_options("average_weights", "query_positions", "key_positions", "empty_rows")
    def __call__(self, queries: Array, keys: Array, values: Array, valid_lens: Optional[Array] = None, *, out: Optional[Array] = None,
                 **options: Unpack[AttentionOptions]) -> Any:
        """queries (B, L, D), keys (B, S, D), values (B, S, Dv) give (B, L, Dv).

        Options and results are those of attend.attention; attention_weights (B, L, S), lse (B, L). A row of length 0 gets uniform
        weights over all S.
        """
        frame = _dot_product.take()
        try:
            frame.struct.dropout = self.dropout
            held = frame.fill(queries, keys, values, valid_lens)
            of_queries = frame.sizes("queries")
            out = new_array(queries, of_queries[:-1] + frame.sizes("values")[-1:]) if out is None else out
            kept = frame.fill_one(4, out)
            found, also = frame.set_options(options, queries, self._new_sizes)
            frame.check(library.attend_dot_product_attention(frame.call, frame.error))
            del held, kept, also
        finally:
            _dot_product.give(frame)
        return together(out, found)

    @staticmethod
    def _new_sizes(frame: Frame, name: str) -> tuple[int, ...]:
        return frame.sizes("queries")[:2] + (() if name == "lse" else frame.sizes("keys")[1:2])
