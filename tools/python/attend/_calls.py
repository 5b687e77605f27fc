"""Frames: the structs that a call of the C API reads, filled from Python's arguments, and used again by the thread's next call."""
from __future__ import annotations

import ctypes
import math
import os
import threading
from ctypes import c_int, c_int64, c_void_p
from typing import Any, Callable, Mapping, Optional, Sequence

from ._arrays import FLOATS, capsule_of, fill_view, new_array
from ._library import library, refuse, views
from ._options import ARRAYS, ARRAY_KINDS, OPTIONS, SCALARS, elsewhere, set_distance
from ._precision import LOW_PRECISION
from ._structs import Error, Options, RelativePositionBias, View, Workspace, structure

OUTPUT = 3  # FLOATS that are written

_Slot = structure("Slot", ("view strides", c_void_p), ("elements writable", c_int))
_VIEW_BYTES = ctypes.sizeof(View)


class _Idle(threading.local):
    """The frames of a thread that no call uses: one, but where a call is made within another, as by a signal's handler."""

    def __init__(self) -> None:
        self.frames: list["Frame"] = []


class Call:
    """One kind of call: its struct, the arrays in the order of its arguments, and the struct of its options.

    The arrays are fields of the struct, or else of the options. `names` says what fields are called in Python where the names differ.
    """

    def __init__(self, struct: Any, arrays: Sequence[tuple[str, int]], options: Any = None, names: Optional[dict[str, str]] = None) -> None:
        self.struct, self.arrays, self.options_struct = struct, list(arrays), options
        self.names = names or {}
        self.argument_names = [self.names.get(name, name) for name, _ in self.arrays]
        of_options = ARRAYS + ["table"] if options is Options else []
        count = len(self.arrays) + len(of_options)
        self.layout = structure(
            "Frame", ("error", Error), ("workspace", Workspace), ("call", struct), ("options", options or c_int),
            ("bias", RelativePositionBias), ("slots", _Slot * count), ("strides", c_int64 * 4 * count))
        self.offsets = {name: self.layout.call.offset + getattr(struct, name).offset if hasattr(struct, name)
                        else self.layout.options.offset + getattr(options, name).offset for name, _ in self.arrays}
        self.option_slots = {name: len(self.arrays) + i for i, name in enumerate(of_options)}
        self._idle = _Idle()

    def take(self) -> "Frame":
        """A frame of this thread that no call uses; give it back after the call."""
        idle = self._idle.frames
        return idle.pop() if idle else Frame(self)

    def give(self, frame: "Frame") -> None:
        """Leaves a frame to the thread's next call."""
        if frame.dirty:
            frame.clear_options()
        self._idle.frames.append(frame)


class Frame:
    """The structs of one call, one beside the other, and the workspace that it grows."""

    __slots__ = ("kind", "memory", "struct", "options", "call", "error", "workspace", "options_address", "slots", "slot_bytes", "dirty",
                 "threads", "_release")

    def __init__(self, kind: Call) -> None:
        self.kind = kind
        self.memory: Any = kind.layout()
        base, layout = ctypes.addressof(self.memory), kind.layout
        self.struct, self.options = self.memory.call, self.memory.options
        self.call, self.error = base + layout.call.offset, base + layout.error.offset
        self.workspace, self.options_address = base + layout.workspace.offset, base + layout.options.offset
        self.slots, self.slot_bytes = base + layout.slots.offset, ctypes.sizeof(_Slot)
        self._release = library.attend_workspace_release
        self.dirty, self.threads = False, None

        fields = {name for name, _ in kind.struct._fields_}
        if "size" in fields:
            self.struct.size = ctypes.sizeof(kind.struct)
        if "workspace" in fields:
            self.struct.workspace = self.workspace
        if "options" in fields:
            self.struct.options = self.options_address
        self.clear_options()
        for i, (name, elements) in enumerate(kind.arrays):
            self._slot(i, base + kind.offsets[name], elements)
        for name, i in kind.option_slots.items():
            if name == "table":
                self._slot(i, base + layout.bias.offset + RelativePositionBias.table.offset, FLOATS)
            else:
                elements = OUTPUT if OPTIONS[name] == "result" else ARRAY_KINDS[OPTIONS[name]]
                self._slot(i, self.options_address + getattr(Options, name).offset, elements)

    def __del__(self) -> None:
        self._release(self.workspace)

    def _slot(self, i: int, view: int, elements: int) -> None:
        slot = self.memory.slots[i]
        slot.view, slot.strides = view, ctypes.addressof(self.memory.strides[i])
        slot.elements, slot.writable = (FLOATS, 1) if elements == OUTPUT else (elements, 0)

    def clear_options(self) -> None:
        """Sets all options to their defaults."""
        if self.kind.options_struct is not None:
            ctypes.memset(self.options_address, 0, ctypes.sizeof(self.kind.options_struct))
            self.options.size = ctypes.sizeof(self.kind.options_struct)
        self.dirty, self.threads = False, None

    def fill(self, *arrays: Any) -> Any:
        """Has the first views of the call, at most five, see arrays; None: absent. Returns what has to live as long as they are used."""
        count = len(arrays)
        try:
            held = [array if array is None else array.__array_struct__ for array in arrays]
        except AttributeError:
            held = [array if array is None else capsule_of(name, array) for array, name in zip(arrays, self.kind.argument_names)]
        if views(self.slots, count, *held, *(None,) * (5 - count)) == 0:
            return held
        return [self.fill_one(i, array) for i, array in enumerate(arrays)]

    def fill_one(self, i: int, array: Any) -> Any:
        """The same for the view at index i; takes all arrays that can be had."""
        name, elements = self.kind.argument_names[i], self.kind.arrays[i][1]
        slot = self.slots + i * self.slot_bytes
        if array is None:
            ctypes.memset(self.memory.slots[i].view, 0, _VIEW_BYTES)
            return None
        writable = elements == OUTPUT
        return fill_view(slot, name, array, FLOATS if writable else elements, writable)

    def view(self, name: str) -> int:
        """The address of the view of an array of the call."""
        return ctypes.addressof(self.memory) + int(self.kind.offsets[name])

    def sizes(self, name: str) -> tuple[int, ...]:
        """The sizes of an array of the call."""
        view = getattr(self.struct, name)
        return tuple(view.sizes[:view.rank])

    def is_contiguous(self, name: str) -> bool:
        """Whether the elements of an array of the call, of its struct, lie one after the other in memory."""
        view, sizes = getattr(self.struct, name), self.sizes(name)
        if not view.strides or 0 in sizes:
            return True
        strides = (c_int64 * 4).from_address(view.strides)
        return all(sizes[axis] == 1 or strides[axis] == math.prod(sizes[axis + 1:]) for axis in range(len(sizes)))

    def set_options(self, options: Mapping[str, Any], like: Any,
                    new_sizes: Callable[["Frame", str], tuple[int, ...]]) -> tuple[list[Any], list[Any]]:
        """Sets options of Python; gives the arrays that were asked for by True, and what has to live as long as the frame.

        new_sizes(frame, name) are the sizes of such an array, of "attention_weights", "average_weights" or "lse".
        """
        self.dirty = True
        found: dict[str, Any] = {}
        held: list[Any] = []
        for name, value in options.items():
            kind = OPTIONS.get(name)
            if kind is None:
                raise TypeError(f"{name}: no such option; {elsewhere(name)}")
            if value is None:
                continue
            if kind == "distance":
                set_distance(self.options, name, value)
            elif kind == "bias":
                held.append(self._set_bias(name, value))
            elif kind == "result":
                if value is False:
                    continue
                if value is True:
                    average = name == "attention_weights" and options.get("average_weights")
                    value = found[name] = new_array(like, new_sizes(self, "average_weights" if average else name))
                held.append(self._set_array(name, name, value))
            elif kind in ARRAY_KINDS:
                held.append(self._set_array(name, name, value))
            else:
                field = SCALARS[kind](name, value)
                setattr(self.options, name, field)
                if kind == "threads":
                    self.threads = field
                elif kind == "arithmetic":
                    self.options.low_precision = LOW_PRECISION
        return [found[name] for name in ("attention_weights", "lse") if name in found], held

    def set_operation_options(self, isa: Any, threads: Any) -> None:
        """Sets the options of operations that are no attention."""
        if isa is not None:
            self.dirty = True
            self.options.isa = SCALARS["isa"]("isa", isa)
        if threads is not None:
            self.dirty = True
            self.threads = self.options.threads = SCALARS["threads"]("threads", threads)

    def _set_array(self, slot_name: str, name: str, value: Any) -> Any:
        slot = self.slots + self.kind.option_slots[slot_name] * self.slot_bytes
        kind = OPTIONS[slot_name] if slot_name in OPTIONS else "floats"
        return fill_view(slot, name, value, ARRAY_KINDS[kind], kind == "result")

    def _set_bias(self, name: str, value: Any) -> Any:
        bias = self.memory.bias
        if not all(hasattr(value, field) for field in ("table", "unidirectional", "max_distance")):
            raise TypeError(f"{name}: expected an attend.RelativePositionBias, got {type(value).__name__}")
        bias.size = ctypes.sizeof(RelativePositionBias)
        bias.unidirectional, bias.max_distance = int(value.unidirectional), value.max_distance or 0
        self.options.relative_position_bias = ctypes.addressof(bias)
        return self._set_array("table", name + ".table", value.table)

    def check(self, code: int) -> None:
        """Raises unless the code is ATTEND_OK."""
        if code != 0:
            refuse(code, self.memory.error, **self.kind.names)


def together(output: Any, found: list[Any]) -> Any:
    """What a call returns: its output, or a tuple of it and what else was asked for."""
    return (output, *found) if found else output


class BoundCall:
    """A call bound to its arrays: `call()` computes it again, from what they hold by then, and returns the same result.

    Nothing is checked or allocated any more, so that it costs least. One thread at a time may run it.
    """

    def __init__(self, function: Any, arguments: tuple[Any, ...], frame: Frame, result: Any, held: Any) -> None:
        self._function, self._arguments, self._frame, self._held = function, arguments, frame, held
        self._busy, self._process = threading.Lock(), os.getpid()
        #: The output; with attention_weights=True or lse=True a tuple of it and those.
        self.result = result

    def __call__(self) -> Any:
        if not self._busy.acquire(False) and not self._is_forked():
            raise RuntimeError("this bound call runs in another thread: bind one for each thread")
        try:
            code = self._function(*self._arguments)
        finally:
            self._busy.release()
        if code != 0:
            self._frame.check(code)
        return self.result

    def _is_forked(self) -> bool:
        """Whether the thread that ran the call was left behind by a fork: then this one runs it."""
        if self._process == os.getpid():
            return False
        self._busy, self._process = threading.Lock(), os.getpid()
        return self._busy.acquire(False)

    def __reduce__(self) -> Any:
        raise TypeError("a bound call cannot be pickled: bind the layer again")
