"""Layers of attend packed from PyTorch's weights, for as long as these live and stay as they are."""
from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import Any, Optional

import torch
from torch import Tensor

from ..layer import MultiHeadAttention

__all__ = ["calls_of", "forget", "packed_of"]


class Packed:
    """The layer of some weights, its calls, and what tells whether the weights are still the same."""

    def __init__(self, key: tuple[int, ...], weights: tuple[Optional[Tensor], ...]) -> None:
        self.weights = [None if weight is None else weakref.ref(weight, functools.partial(_drop, key)) for weight in weights]
        self.state: Any = None
        self.layer: Optional[MultiHeadAttention] = None
        self.calls = 0

    def is_of(self, weights: tuple[Optional[Tensor], ...]) -> bool:
        return all((None if known is None else known()) is weight for known, weight in zip(self.weights, weights))

    def count(self) -> None:
        """Counts a call of its layer."""
        with _lock:
            self.calls += 1


_all: dict[tuple[int, ...], Packed] = {}  # by the number of heads and the identities of the weights
_lock = threading.RLock()  # a weight may die, and call _drop, while this thread holds it


def _anew_after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_anew_after_fork)


def _key(num_heads: int, weights: tuple[Optional[Tensor], ...]) -> tuple[int, ...]:
    return num_heads, *(0 if weight is None else id(weight) for weight in weights)


def _drop(key: tuple[int, ...], dead: Any) -> None:
    with _lock:
        packed = _all.get(key)
        if packed is not None and any(known is dead for known in packed.weights):
            del _all[key]


def packed_of(num_heads: int, *weights: Optional[Tensor]) -> tuple[MultiHeadAttention, Packed]:
    """The layer of weights in the order of attend::mha's arguments, and what counts its calls."""
    key = _key(num_heads, weights)
    if any(weight is not None and weight.is_inference() for weight in weights):
        return _pack(num_heads, weights), Packed(key, weights)  # PyTorch does not track their changes: anew for each call
    state = [None if weight is None else (weight._version, weight.data_ptr()) for weight in weights]
    with _lock:
        known = _all.get(key)
        if known is None or not known.is_of(weights):
            known = _all[key] = Packed(key, weights)
        if known.layer is None or known.state != state:
            known.layer, known.state = _pack(num_heads, weights), state
        return known.layer, known


def calls_of(num_heads: int, *weights: Optional[Tensor]) -> int:
    """How many calls attend has computed with these weights."""
    with _lock:
        packed = _all.get(_key(num_heads, weights))
        return packed.calls if packed is not None and packed.is_of(weights) else 0


def forget(num_heads: int, *weights: Optional[Tensor]) -> None:
    """Drops the layer of these weights, so that the next call packs it anew; its calls stay counted."""
    with _lock:
        packed = _all.get(_key(num_heads, weights))
        if packed is not None and packed.is_of(weights):
            packed.layer = packed.state = None


def _pack(num_heads: int, weights: tuple[Optional[Tensor], ...]) -> MultiHeadAttention:
    plain = [None if weight is None else weight.detach() for weight in weights]
    fused, query, key, value, fused_bias, output, output_bias = plain
    if fused is not None:
        query, key, value = fused.chunk(3)
    biases = (None, None, None) if fused_bias is None else fused_bias.chunk(3)
    for name, weight in (("query", query), ("key", key), ("value", value), ("output", output)):
        if weight is None:
            raise ValueError(f"{name}: its weight is missing: give in_proj_weight, or q_proj_weight, k_proj_weight and v_proj_weight")
        if weight.dtype != torch.float32:
            raise TypeError(f"{name}: its weight is {weight.dtype}, expected torch.float32")
    return MultiHeadAttention(query=query, key=key, value=value, output=output, num_heads=num_heads, query_bias=biases[0],
                              key_bias=biases[1], value_bias=biases[2], output_bias=output_bias)
