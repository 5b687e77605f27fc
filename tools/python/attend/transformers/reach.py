"""What the mask functions of transformers mean: how far queries see, and which sequences are packed; or that it is not known."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

import torch
from torch import Tensor
from transformers import masking_utils

__all__ = ["Reach", "reach_of"]

MaskFunction = Callable[..., Any]  # of batch entry, head, query, key: whether the query sees the key


@dataclass(frozen=True)
class Reach:
    """The keys that a query sees: at most `left` before it and `right` after it (None: any number), in its own sequence.

    sequences    (B, L), the number of each token's sequence, which do not decrease; None: there is one
    positions    (B, L), where tokens stand in their sequence, of which the distances count
    """

    left: Optional[int] = None
    right: Optional[int] = None
    sequences: Optional[Tensor] = None
    positions: Optional[Tensor] = None


def reach_of(function: Optional[MaskFunction]) -> Optional[Reach]:
    """The reach that a mask function of transformers gives; None: it is no such function, or one whose meaning is another by now."""
    code: Any = getattr(function, "__code__", None)
    if code not in _READ:
        return None
    cells = getattr(function, "__closure__", None) or ()
    return _READ[code](function, dict(zip(code.co_freevars, (cell.cell_contents for cell in cells))))


def _by_distance(bounds: Callable[[int], Reach]) -> Callable[[Any, dict[str, Any]], Optional[Reach]]:
    """Reads a function of the distance from query to key, which holds a number at most: the width of a window."""
    def read(function: Any, held: dict[str, Any]) -> Optional[Reach]:
        width = next(iter(held.values()), 1)
        if len(held) > 1 or not isinstance(width, int) or width < 1:
            return None
        reach = bounds(width)
        key = function.__code__, width
        if key not in _confirmed:
            _confirmed[key] = _has_bounds(function, reach)
        return reach if _confirmed[key] else None
    return read


_confirmed: dict[tuple[Any, int], bool] = {}


def _has_bounds(function: MaskFunction, reach: Reach) -> bool:
    """Whether a function, which may change from release to release, shows the last key of its reach and hides the next, on both sides."""
    left, right = reach.left, reach.right
    query = 1 + (3 if left is None else left)
    last = -1 if left is None else -left, 1 if right is None else right
    distances = torch.tensor([-query, last[0], 0, last[1], query if right is None else right + 1], device="cpu")
    shown = torch.tensor([left is None, True, True, True, right is None], device="cpu")
    found = function(0, 0, torch.full_like(distances, query), query + distances)
    return torch.equal(found, shown)


def _of_all(_function: Any, held: dict[str, Any]) -> Optional[Reach]:
    """Of and_masks: the least reach of all."""
    found = Reach()
    for function in held.get("mask_functions", (None,)):
        reach = reach_of(function)
        if reach is None:
            return None
        for name in ("sequences", "positions"):
            if getattr(reach, name) is not None and getattr(found, name) is not None:
                return None
        found = Reach(_least(found.left, reach.left), _least(found.right, reach.right),
                      reach.sequences if found.sequences is None else found.sequences,
                      reach.positions if found.positions is None else found.positions)
    return found


def _least(one: Optional[int], other: Optional[int]) -> Optional[int]:
    return other if one is None else one if other is None else min(one, other)


def _of_sequences(_function: Any, held: dict[str, Any]) -> Optional[Reach]:
    sequences = held.get("packed_sequence_mask")
    return Reach(sequences=sequences) if isinstance(sequences, Tensor) else None


def _of_positions(_function: Any, held: dict[str, Any]) -> Optional[Reach]:
    reach, positions = reach_of(held.get("mask_function")), held.get("position_ids")
    if reach is None or reach.sequences is not None or reach.positions is not None or not isinstance(positions, Tensor):
        return None
    return replace(reach, positions=positions)


def _nothing(*_: Any) -> bool:
    return True


_READ: dict[Any, Callable[[Any, dict[str, Any]], Optional[Reach]]] = {
    masking_utils.causal_mask_function.__code__: _by_distance(lambda _: Reach(right=0)),
    masking_utils.bidirectional_mask_function.__code__: _by_distance(lambda _: Reach()),
    masking_utils.sliding_window_overlay(1).__code__: _by_distance(lambda width: Reach(left=width - 1)),
    masking_utils.sliding_window_bidirectional_overlay(1).__code__: _by_distance(lambda width: Reach(left=width, right=width)),
    masking_utils.and_masks(_nothing).__code__: _of_all,
    masking_utils.packed_sequence_mask_function(torch.zeros(1, 1)).__code__: _of_sequences,
    masking_utils.remap_positions_for_packed_sequence(_nothing, torch.zeros(1, 1)).__code__: _of_positions,
}
