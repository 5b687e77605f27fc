"""The numbers of instruction sets, as attend_isa counts them."""
from __future__ import annotations

from typing import Any

ISAS = ("best", "scalar", "avx2", "avx512", "neon")


def isa_number(name: Any, argument: str = "name") -> int:
    """The number of an instruction set; of None: the best that this CPU has."""
    if name is None:
        return 0
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected a name, got {name!r}")
    if name not in ISAS:
        raise ValueError(f"{argument}: expected one of {', '.join(ISAS)}, got {name!r}")
    return ISAS.index(name)
