"""The options of a call of attention: one table from the fields of attend_options to what Python takes for them."""
from __future__ import annotations

import ctypes
import difflib
import inspect
from typing import TYPE_CHECKING, Any, Callable, Optional, TypedDict, TypeVar, Union

import numpy

from ._arrays import BOOLS, FLOATS, INTEGERS, Array
from ._isa import isa_number
from ._precision import arithmetic_number
from ._scalars import integer, number, seed
from .threads import ThreadPool, threads_of

if TYPE_CHECKING:
    from .positions import RelativePositionBias

#: A field's kind. `windowed` is no option here: a distance that is no None says it.
OPTIONS = {
    "scale": "scale", "softcap": "number", "causal": "flag", "offset": "integer", "offsets": "integers",
    "window_left": "distance", "window_right": "distance", "mask": "bools", "key_padding_mask": "bools", "mask_hides": "flag",
    "valid_starts": "integers", "additive_mask": "floats", "tree_parents": "integers", "alibi_slopes": "floats",
    "relative_position_bias": "bias", "sinks": "floats", "query_starts": "integers", "key_starts": "integers",
    "query_positions": "integers", "key_positions": "integers", "empty_rows": "empty_rows", "training": "flag",
    "dropout_seed": "seed", "attention_weights": "result", "lse": "result", "threads": "threads", "average_weights": "flag",
    "isa": "isa", "core_arithmetic": "arithmetic",
}
#: What PyTorch calls them.
_IN_PYTORCH = {
    "is_causal": "causal", "attn_mask": "mask of bools, with mask_hides=True where True hides, additive_mask of floats",
    "need_weights": "attention_weights=True", "average_attn_weights": "average_weights", "dropout_p": "the layer's dropout, with training=True",
    "enable_gqa": "nothing: k and v may have fewer heads than q",
}
#: The kinds that are arrays.
ARRAY_KINDS = {"floats": FLOATS, "integers": INTEGERS, "bools": BOOLS, "result": FLOATS}
ARRAYS = [name for name, kind in OPTIONS.items() if kind in ARRAY_KINDS]


def elsewhere(name: str) -> str:
    """What to take instead of a name that no option has."""
    if name in _IN_PYTORCH:
        return f"PyTorch's {name} is {_IN_PYTORCH[name]}"
    near = difflib.get_close_matches(name, OPTIONS, 1)
    return f"{near[0]} is one" if near else "there are " + ", ".join(OPTIONS)


class AttentionOptions(TypedDict, total=False):
    """What a call of attention takes by keyword, beside its arrays; every kind of call refuses what it has no use for.

    For one row: s_j = scale q.k_j; softcap c tanh(s_j / c); + additive mask, ALiBi, relative position bias; hidden keys removed;
    softmax; dropout; times v. Query i stands at position i + offset among the keys. A key is visible if all that is given, and
    the valid lengths, let it be. None is the default of each.

    scale                    of the scores; None: 1 / sqrt(D)
    softcap                  c > 0: scores become c tanh(s / c)
    causal                   key j is visible to query i iff j <= i + offset
    offset                   of query 0; S - L aligns causal to the lower right
    offsets                  (B,), one for each batch entry, on top of offset
    window_left              how far before i + offset a key may be; None: any distance
    window_right             how far after
    mask                     bools, aligned to the right of (B, H, L, S); axes of size 1 repeat; False hides
    key_padding_mask         bools (B, S); False hides
    mask_hides               True hides instead, as in PyTorch's nn.MultiheadAttention
    valid_starts             (B,), keys before are hidden
    additive_mask            floats, shaped as mask, added to the scores
    tree_parents             (L,) or (B, L), queries are nodes of a tree; -1: a root
    alibi_slopes             (H,)
    relative_position_bias   T5's
    sinks                    (H,), a logit in the softmax's denominator that has no value
    query_starts             (B + 1,), packed sequences
    key_starts               (B + 1,)
    query_positions          (L,) or (B, L), of a layer with a rotary embedding
    key_positions            (S,) or (B, S)
    empty_rows               what a row gives that sees no key: "zero", or "uniform", the mean of all values
    training                 dropout is applied
    dropout_seed             selects the dropped weights
    attention_weights        True: returned, too; or an array (B, H, L, S) to put them
    lse                      the same for each row's log of the sum of exponentials, (B, H, L)
    threads                  how many threads, of a pool that all calls share; or a pool
    average_weights          attention_weights are their mean over the heads, (B, L, S)
    isa                      "scalar", "avx2", "avx512" or "neon"; None: the best
    core_arithmetic          "bfloat16" multiplies queries, keys, values and weights of that type, on AMD's CPUs with AVX-512 BF16
    """

    scale: Optional[float]
    softcap: Optional[float]
    causal: bool
    offset: int
    offsets: Optional[Array]
    window_left: Optional[int]
    window_right: Optional[int]
    mask: Optional[Array]
    key_padding_mask: Optional[Array]
    mask_hides: bool
    valid_starts: Optional[Array]
    additive_mask: Optional[Array]
    tree_parents: Optional[Array]
    alibi_slopes: Optional[Array]
    relative_position_bias: Optional["RelativePositionBias"]
    sinks: Optional[Array]
    query_starts: Optional[Array]
    key_starts: Optional[Array]
    query_positions: Optional[Array]
    key_positions: Optional[Array]
    empty_rows: str
    training: bool
    dropout_seed: int
    attention_weights: Union[bool, Array, None]
    lse: Union[bool, Array, None]
    threads: Union[int, "ThreadPool", None]
    average_weights: bool
    isa: Optional[str]
    core_arithmetic: Optional[str]


_EMPTY_ROWS = {"zero": 0, "uniform": 1}


def _flag(name: str, value: Any) -> int:
    if isinstance(value, (int, numpy.bool_)):
        return 1 if value else 0
    raise TypeError(f"{name}: expected True or False, got {value!r}")


def _scale(name: str, value: Any) -> float:
    scale = number(name, value)
    if ctypes.c_float(scale).value == 0:
        raise ValueError(f"{name}: 0 is no scale: all keys would count the same; None is 1 / sqrt(D)")
    return scale


def _empty_rows(name: str, value: Any) -> int:
    if value not in _EMPTY_ROWS:
        raise ValueError(f"{name}: expected 'zero' or 'uniform', got {value!r}")
    return _EMPTY_ROWS[value]


def _isa(name: str, value: Any) -> int:
    return isa_number(value, name)


#: From what Python takes to the field's value, of the kinds that are no arrays.
SCALARS: dict[str, Callable[[str, Any], Any]] = {
    "scale": _scale, "number": number, "flag": _flag, "integer": integer, "seed": seed, "empty_rows": _empty_rows, "isa": _isa,
    "threads": threads_of, "arithmetic": arithmetic_number,
}


def set_distance(options: Any, name: str, value: Any) -> None:
    """Sets window_left or window_right; the other one is unbounded unless it is set, too."""
    distance = integer(name, value)
    if distance < 0:
        raise ValueError(f"{name}: expected 0 or more, or None, got {distance}")
    if not options.windowed:
        options.windowed, options.window_left, options.window_right = 1, -1, -1
    setattr(options, name, distance)


_DEFAULTS = {"flag": False, "integer": 0, "seed": 0, "empty_rows": "zero"}
Function = TypeVar("Function", bound=Callable[..., Any])


def shows_options(*without: str) -> Callable[[Function], Function]:
    """Has help() and inspect.signature show the options, but those that the call refuses, instead of **options."""
    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        shown = [parameter for parameter in signature.parameters.values() if parameter.kind != parameter.VAR_KEYWORD]
        shown += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(kind))
                  for name, kind in OPTIONS.items() if name not in without]
        function.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        return function
    return decorate
