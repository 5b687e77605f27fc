"""Positions: rotary embedding and its frequencies, T5's relative position bias, ALiBi's slopes."""
from __future__ import annotations

import ctypes
from typing import Any, Optional

import numpy

from ._arrays import FLOATS, INTEGERS, Array, new_array
from ._calls import OUTPUT, Call, Frame
from ._library import library, require
from ._scalars import integer, number
from ._structs import OperationOptions, RotaryEmbedding as _RotaryStruct, RotaryScaling as _ScalingStruct, View, structure

__all__ = ["RelativePositionBias", "RotaryEmbedding", "RotaryScaling", "default_alibi_slopes", "rotary_attention_factor",
           "rotary_embedding", "rotary_frequencies"]

_embedding = Call(_RotaryStruct, [("inverse_frequencies", FLOATS), ("cosines", FLOATS), ("sines", FLOATS)])
_rotate = Call(structure("Rotate", ("input positions output", View)), [("input", FLOATS), ("positions", INTEGERS), ("output", OUTPUT)],
               OperationOptions)
_vector = Call(structure("Vector", ("output", View)), [("output", OUTPUT)])
_KINDS = ("none", "linear", "ntk", "yarn", "llama3")  # as attend_rotary_scaling_kind counts them


class RelativePositionBias:
    """T5's relative position bias: what is added to a score depends on the bucket of j - (i + offset).

    table (buckets, H), as model files hold it; unidirectional as decoders have it; max_distance None: 128.
    """

    def __init__(self, table: Array, *, unidirectional: bool = False, max_distance: Optional[int] = None) -> None:
        self.table, self.unidirectional, self.max_distance = table, bool(unidirectional), max_distance

    def __repr__(self) -> str:
        return (f"attend.RelativePositionBias(table of {tuple(self.table.shape)}, unidirectional={self.unidirectional}, "
                f"max_distance={self.max_distance})")


class RotaryEmbedding:
    """Rotary position embedding: each pair of the first R elements of a head is turned by its position times a frequency.

    Give inverse_frequencies (R / 2,), as rotary_frequencies makes them; or cosines and sines (P, R / 2) for positions 0 to
    P - 1. With interleaved, pair n is (2n, 2n + 1) as GPT-J has it, else (n, n + R / 2).
    """

    def __init__(self, inverse_frequencies: Optional[Array] = None, *, cosines: Optional[Array] = None, sines: Optional[Array] = None,
                 attention_factor: Optional[float] = None, interleaved: bool = False) -> None:
        self.inverse_frequencies, self.cosines, self.sines = inverse_frequencies, cosines, sines
        self.attention_factor, self.interleaved = attention_factor, bool(interleaved)
        if (inverse_frequencies is None) == (cosines is None and sines is None):
            raise ValueError("inverse_frequencies: expected either these, or cosines and sines")
        self._make()

    def _make(self) -> None:
        self._frame = Frame(_embedding)
        self._held = self._frame.fill(self.inverse_frequencies, self.cosines, self.sines)
        if self.attention_factor is not None:
            self._frame.struct.attention_factor = number("attention_factor", self.attention_factor)
        self._frame.struct.interleaved = int(self.interleaved)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_frame", "_held")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make()

    def __repr__(self) -> str:
        of = "inverse_frequencies" if self.inverse_frequencies is not None else "cosines"
        return f"attend.RotaryEmbedding(R={2 * self._frame.sizes(of)[-1]}, by {of}, interleaved={self.interleaved})"


class RotaryScaling:
    """How rotary frequencies change so that a model reads more positions than it was trained on.

    kind: "linear", "ntk", "yarn" or "llama3", with the formulas of Hugging Face's transformers; None takes the default of each.
    """

    def __init__(self, kind: str, factor: float, *, original_max_position: Optional[int] = None, beta_fast: Optional[float] = None,
                 beta_slow: Optional[float] = None, low_frequency_factor: Optional[float] = None,
                 high_frequency_factor: Optional[float] = None, untruncated: bool = False) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, got {kind!r}")
        self.kind, self.factor, self.original_max_position = kind, factor, original_max_position
        self.beta_fast, self.beta_slow, self.untruncated = beta_fast, beta_slow, untruncated
        self.low_frequency_factor, self.high_frequency_factor = low_frequency_factor, high_frequency_factor

    def _struct(self) -> Any:
        fields = {name: value for name, value in vars(self).items() if value is not None and name not in ("kind", "untruncated")}
        return _ScalingStruct(ctypes.sizeof(_ScalingStruct), kind=_KINDS.index(self.kind), untruncated=int(self.untruncated), **fields)

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in vars(self).items() if value not in (None, False))
        return f"attend.RotaryScaling({', '.join(fields)})"


def rotary_frequencies(rotary_dim: int, base: float = 10000.0, scaling: Optional[RotaryScaling] = None, *,
                       out: Optional[Array] = None) -> Array:
    """The inverse frequencies (R / 2,) of R = rotary_dim elements: base^(-2n / R), scaled."""
    rotary_dim = integer("rotary_dim", rotary_dim)
    out = numpy.empty(max(rotary_dim // 2, 0), numpy.float32) if out is None else out
    struct = None if scaling is None else scaling._struct()
    frame = Frame(_vector)
    held = frame.fill(out)
    code = library.attend_rotary_frequencies(rotary_dim, number("base", base), struct and ctypes.addressof(struct), frame.call, frame.error)
    del held
    if code != 0:
        require(code, frame.memory.error, inverse_frequencies="out")
    return out


def rotary_attention_factor(scaling: RotaryScaling) -> float:
    """What a scaling asks of attention_factor: 0.1 ln(factor) + 1 for yarn with a factor above 1, else 1."""
    struct = scaling._struct()
    return float(library.attend_rotary_attention_factor(ctypes.addressof(struct)))


def rotary_embedding(input: Array, rotary: RotaryEmbedding, positions: Optional[Array] = None, offset: int = 0, *,
                     out: Optional[Array] = None, isa: Optional[str] = None, threads: Any = None) -> Array:
    """Rotates the rows of all heads, input (B, H, L, D); out may be the input.

    Row i stands at position i + offset, or with positions, (L,) or (B, L), at positions[i] + offset.
    """
    frame = _rotate.take()
    try:
        frame.set_operation_options(isa, threads)
        held = frame.fill(input, positions)
        out = new_array(input, frame.sizes("input")) if out is None else out
        kept = frame.fill_one(2, out)
        at = frame.view
        frame.check(library.attend_rotate(at("input"), _address(rotary), at("positions"), integer("offset", offset), at("output"),
                                          frame.workspace, frame.options_address, frame.error))
        del held, kept
    finally:
        _rotate.give(frame)
    return out


def _address(rotary: Any) -> int:
    if not isinstance(rotary, RotaryEmbedding):
        raise TypeError(f"rotary: expected an attend.RotaryEmbedding, got {type(rotary).__name__}")
    return rotary._frame.call


def default_alibi_slopes(num_heads: int, *, out: Optional[Array] = None) -> Array:
    """The slopes of the ALiBi paper for so many heads, also where that is no power of two: (num_heads,)."""
    num_heads = integer("num_heads", num_heads)
    out = numpy.empty(max(num_heads, 0), numpy.float32) if out is None else out
    frame = Frame(_vector)
    held = frame.fill(out)
    error = frame.memory.error
    code = library.attend_default_alibi_slopes(num_heads, frame.call, frame.error)
    del held
    require(code, error, slopes="out")
    return out
