"""Arguments that are single numbers or texts."""
from __future__ import annotations

from typing import Any, Sequence


def integer(name: str, value: Any) -> int:
    """An int, or what counts as one."""
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"{name}: expected an int, got {value!r}") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{name}: {number} is beyond 64 bits")
    return number


def number(name: str, value: Any) -> float:
    """A float, or what counts as one."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None


def listed(name: str, value: Any, names: Sequence[str]) -> int:
    """Where a name stands among names."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a name, got {value!r}")
    if value not in names:
        raise ValueError(f"{name}: expected one of {', '.join(names)}, got {value!r}")
    return names.index(value)


def seed(name: str, value: Any) -> int:
    """An int of 64 bits without a sign."""
    found = value.__index__() if hasattr(value, "__index__") else None
    if found is None:
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if not 0 <= found < 1 << 64:
        raise ValueError(f"{name}: expected 0 to 2^64 - 1, got {found}")
    return int(found)


def text(name: str, value: Any) -> bytes:
    """A str, as the C API takes it."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {value!r}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: character {error.start} is {value[error.start]!a}, a lone surrogate, which UTF-8 does not have") from None
