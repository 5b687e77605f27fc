"""The count of calls of attention: by attend, by attend with a dense mask, by PyTorch."""
from __future__ import annotations

import os
import threading

__all__ = ["Calls", "calls"]


class Calls:
    """How many calls of attention, by all models in all threads, who computed; attend.transformers.calls is the one there is.

    attend     calls that attend computed
    dense      those of them that read a dense mask, of every query and key
    pytorch    calls left to PyTorch, by the reason
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()
        os.register_at_fork(after_in_child=self._unlock)

    def clear(self) -> None:
        """Counts from zero again."""
        with self._lock:
            self.attend = self.dense = 0
            self.pytorch: dict[str, int] = {}

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def _add(self, is_dense: bool) -> None:
        with self._lock:
            self.attend += 1
            self.dense += is_dense

    def _add_left(self, why: str) -> None:
        with self._lock:
            self.pytorch[why] = self.pytorch.get(why, 0) + 1

    def __repr__(self) -> str:
        return f"<attend.transformers.Calls: {self}>"

    def __str__(self) -> str:
        left = "".join(f", {count} by PyTorch: {why}" for why, count in self.pytorch.items())
        return f"{self.attend} by attend, {self.dense} of them with a dense mask{left}"


calls = Calls()
