"""Which instruction sets there are on this machine."""
from __future__ import annotations

from typing import Optional

from ._isa import ISAS, isa_number
from ._library import library
from ._precision import arithmetic_number, weight_type_number

__all__ = ["best_isa", "core_instructions", "isa_compiled", "isa_names", "isa_usable", "product_instructions"]


def isa_names() -> tuple[str, ...]:
    """The names that `isa` may be: 'best', 'scalar', 'avx2', 'avx512', 'neon'."""
    return ISAS


def isa_compiled(name: str) -> bool:
    """Whether this build holds kernels for the instruction set."""
    return bool(library.attend_isa_compiled(isa_number(name)))


def isa_usable(name: str) -> bool:
    """Whether this build holds its kernels, and this CPU and operating system can run them."""
    return bool(library.attend_isa_usable(isa_number(name)))


def best_isa() -> str:
    """The name of the instruction set that calls use unless they are told another."""
    return ISAS[library.attend_best_isa()]


def product_instructions(weight_type: str, arithmetic: str, isa: Optional[str] = None) -> Optional[str]:
    """The instructions by which a layer's projections multiply weights of that type in that arithmetic, as "vpdpbusd"; None: no way."""
    weights, computed, chosen = weight_type_number("weight_type", weight_type), arithmetic_number("arithmetic", arithmetic), isa_number(isa, "isa")
    found = (library.attend_int4_instructions(computed, chosen) if weight_type == "int4"
             else library.attend_product_instructions(weights, computed, chosen))
    return None if found is None else str(found.decode())


def core_instructions(arithmetic: str, isa: Optional[str] = None) -> Optional[str]:
    """The instructions by which attention itself multiplies in that arithmetic (`core_arithmetic`), as "vdpbf16ps"; None: no way."""
    found = library.attend_core_instructions(arithmetic_number("arithmetic", arithmetic), isa_number(isa, "isa"))
    return None if found is None else str(found.decode())
