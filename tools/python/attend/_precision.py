"""Types of low precision by their names, as the structs have them."""
from __future__ import annotations

from typing import Any

from ._library import library

WEIGHT_TYPES = ("float32", "bfloat16", "float16", "int8", "int4")
ARITHMETICS = ("float32", "bfloat16", "int8")
CACHE_TYPES = WEIGHT_TYPES[:4]  # by the same numbers
LOW_PRECISION = library.attend_get_low_precision()
LOW_PRECISION_INT4 = library.attend_get_low_precision_int4()


def _number(names: tuple[str, ...], argument: str, name: Any) -> int:
    if name is None:
        return 0
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected a name, got {name!r}")
    if name not in names:
        raise ValueError(f"{argument}: expected one of {', '.join(names)}, got {name!r}")
    return names.index(name)


def weight_type_number(argument: str, name: Any) -> int:
    """The number of a type of weights; of None: float32."""
    return _number(WEIGHT_TYPES, argument, name)


def cache_type_number(argument: str, name: Any) -> int:
    """The number of a cache's type; of None: float32."""
    return _number(CACHE_TYPES, argument, name)


def arithmetic_number(argument: str, name: Any) -> int:
    """The number of an arithmetic; of None: float32."""
    return _number(ARITHMETICS, argument, name)


def precision(weight_type: Any, arithmetic: Any) -> dict[str, Any]:
    """The fields of a layer's struct."""
    return dict(weight_type=weight_type_number("weight_type", weight_type), arithmetic=arithmetic_number("arithmetic", arithmetic),
                low_precision=LOW_PRECISION_INT4 if weight_type == "int4" else LOW_PRECISION)
