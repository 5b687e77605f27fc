"""Types of low precision by their names, as the structs have them."""
from __future__ import annotations

from typing import Any

from ._library import library
from ._scalars import integer, listed

WEIGHT_TYPES = ("float32", "bfloat16", "float16", "int8", "int4")
ARITHMETICS = ("float32", "bfloat16", "int8")
CACHE_TYPES = WEIGHT_TYPES[:4]  # by the same numbers
LOW_PRECISION = library.attend_get_low_precision()
LOW_PRECISION_INT4 = library.attend_get_low_precision_int4()


def weight_type_number(argument: str, name: Any) -> int:
    """The number of a type of weights; of None: float32."""
    return 0 if name is None else listed(argument, name, WEIGHT_TYPES)


def cache_type_number(argument: str, name: Any) -> int:
    """The number of a cache's type; of None: float32."""
    return 0 if name is None else listed(argument, name, CACHE_TYPES)


def arithmetic_number(argument: str, name: Any) -> int:
    """The number of an arithmetic; of None: float32."""
    return 0 if name is None else listed(argument, name, ARITHMETICS)


def precision(weight_type: Any, arithmetic: Any, weight_group: Any) -> dict[str, Any]:
    """The fields of a layer's struct."""
    return dict(weight_type=weight_type_number("weight_type", weight_type), arithmetic=arithmetic_number("arithmetic", arithmetic),
                low_precision=LOW_PRECISION_INT4 if weight_type == "int4" else LOW_PRECISION,
                weight_group=0 if weight_group is None else _group(weight_group))


def _group(weight_group: Any) -> int:
    group = integer("weight_group", weight_group)
    if group == 0:
        raise ValueError("weight_group: expected 32, 64 or 128, or None: 32, got 0")
    return group
