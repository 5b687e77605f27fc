"""Types of low precision by their names, as the structs have them."""
from __future__ import annotations

from typing import Any

from ._library import library
from ._scalars import listed

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


def precision(weight_type: Any, arithmetic: Any) -> dict[str, Any]:
    """The fields of a layer's struct."""
    return dict(weight_type=weight_type_number("weight_type", weight_type), arithmetic=arithmetic_number("arithmetic", arithmetic),
                low_precision=LOW_PRECISION_INT4 if weight_type == "int4" else LOW_PRECISION)
