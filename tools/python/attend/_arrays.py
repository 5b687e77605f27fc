"""Arrays of Python as views of the C API, and new arrays for its results.

An array is anything that has __array_struct__ (numpy) or __dlpack__ (PyTorch and others, on the CPU), with any strides of 0 or
more. What already has the view's elements (float32, int64, bool or uint8) is never copied; other floats and narrower
integers are converted.
"""
from __future__ import annotations

import sys
from typing import Any

import numpy

from ._library import view

Array = Any  # of numpy, or with DLPack

FLOATS, INTEGERS, BOOLS = 0, 1, 2  # as in native/views.c
_ELEMENTS = {FLOATS: "float32", INTEGERS: "int64", BOOLS: "bool or uint8"}
_NO_ARRAY, _OTHER_ELEMENTS, _RANK, _NEGATIVE_STRIDE, _UNALIGNED, _BYTE_SWAPPED, _READ_ONLY, _NOT_ON_CPU = range(1, 9)
_WHY = {
    _RANK: (ValueError, "expected 1 to 4 axes"),
    _NEGATIVE_STRIDE: (ValueError, "has a negative stride; {name}.copy() makes a copy that is fine"),
    _UNALIGNED: (ValueError, "its elements are not aligned; {name}.copy() makes a copy that is fine"),
    _BYTE_SWAPPED: (ValueError, "its bytes are swapped; {name}.astype({name}.dtype.newbyteorder('=')) makes a copy that is fine"),
    _READ_ONLY: (ValueError, "is read-only, and is to be written"),
    _NOT_ON_CPU: (ValueError, "is not in the CPU's memory; {name}.cpu() makes a copy that is"),
}


def is_torch(array: Any) -> bool:
    """Whether it is a tensor of PyTorch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def new_array(like: Any, sizes: tuple[int, ...]) -> Any:
    """An uninitialised float32 array: a tensor of PyTorch if `like` is one, else numpy's."""
    if is_torch(like):
        torch = sys.modules["torch"]
        return torch.empty(sizes, dtype=torch.float32)
    return numpy.empty(sizes, numpy.float32)


def fill_view(slot: int, name: str, array: Any, elements: int, writable: bool = False) -> Any:
    """Has the view of a slot (its address) see the array, converted if need be; returns what has to live as long as the view.

    Raises TypeError or ValueError, which begin with the argument's name, for what cannot be one.
    """
    capsule = capsule_of(name, array)
    why = view(slot, capsule)
    if why == 0:
        return array if isinstance(array, numpy.ndarray) else (array, capsule)
    if why == _OTHER_ELEMENTS:
        if writable:
            raise TypeError(f"{name}: expected {_ELEMENTS[elements]}, which is to be written, got {_elements_of(array)}")
        array = _converted(name, array, elements)
        capsule = array.__array_struct__
        why = view(slot, capsule)
        if why == 0:
            return array
    if why in (_NO_ARRAY, _OTHER_ELEMENTS):
        raise _no_array(name, array)
    kind, text = _WHY[why]
    if why == _RANK:
        text += f", got {len(array.shape)}" if hasattr(array, "shape") else ""
    raise kind(f"{name}: " + text.format(name=name))


def _elements_of(array: Any) -> str:
    return str(getattr(array, "dtype", "others"))


def _no_array(name: str, array: Any) -> TypeError:
    hint = f"; numpy.asarray({name}) makes one" if isinstance(array, (list, tuple, int, float)) else ""
    return TypeError(f"{name}: expected an array of numpy, or a tensor with DLPack on the CPU, got {type(array).__name__}{hint}")


def capsule_of(name: str, array: Any) -> Any:
    """The capsule in which an array describes itself."""
    if is_torch(array):
        return _tensor_capsule(name, array)
    try:
        if hasattr(array, "__array_struct__"):
            return array.__array_struct__
        if hasattr(array, "__array_interface__"):
            return numpy.asarray(array).__array_struct__
        if hasattr(array, "__dlpack__"):
            if array.__dlpack_device__()[0] not in (1, 3, 11):
                raise ValueError(_WHY[_NOT_ON_CPU][1].format(name=name))
            return _dlpack_capsule(array)
    except (BufferError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    raise _no_array(name, array)


def _dlpack_capsule(array: Any) -> Any:
    """Of the version that says whether the array is read-only, where it can be had."""
    try:
        return array.__dlpack__(max_version=(1, 0))
    except TypeError:
        return array.__dlpack__()


def _tensor_capsule(name: str, tensor: Any) -> Any:
    torch = sys.modules["torch"]
    if not tensor.is_cpu:
        raise ValueError(f"{name}: is on {tensor.device}, expected the CPU; {name}.cpu() makes a copy that is")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name}: is {tensor.layout}, expected strides; {name}.to_dense() makes a copy that is fine")
    if tensor.requires_grad:
        if torch.is_grad_enabled():
            raise ValueError(f"{name}: requires a gradient, which attend does not compute; give {name}.detach(), or call under "
                             "torch.no_grad()")
        tensor = tensor.detach()
    if tensor.dtype == torch.bool:
        tensor = tensor.view(torch.uint8)
    try:
        return torch.utils.dlpack.to_dlpack(tensor)
    except (BufferError, RuntimeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _converted(name: str, array: Any, elements: int) -> Any:
    """The array with the view's elements, in numpy's memory."""
    if is_torch(array):
        torch = sys.modules["torch"]
        if array.dtype == torch.bfloat16:
            array = array.detach().float()
        array = array.detach().numpy()
    elif not isinstance(array, numpy.ndarray):
        try:
            array = numpy.from_dlpack(array) if hasattr(array, "__dlpack__") else numpy.asarray(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            found = _elements_of(array)
            raise TypeError(f"{name}: expected {_ELEMENTS[elements]}, got {found}, which numpy cannot read: {error}") from error
    kind, bytes_ = array.dtype.kind, array.dtype.itemsize
    if not array.dtype.isnative:
        raise ValueError(f"{name}: " + _WHY[_BYTE_SWAPPED][1].format(name=name))
    if elements == FLOATS and ((kind == "f" and bytes_ in (2, 4, 8)) or array.dtype.name == "bfloat16"):
        return array.astype(numpy.float32)
    if elements == INTEGERS and kind in "iu" and (kind, bytes_) != ("u", 8):
        return array.astype(numpy.int64)
    hint = {FLOATS: f"{name}.astype('float32')", INTEGERS: f"{name}.astype('int64')", BOOLS: f"{name} != 0"}[elements]
    also = {FLOATS: " (or float16, bfloat16, float64)", INTEGERS: " (or narrower integers)", BOOLS: ""}[elements]
    makes = f"{hint} makes it one"
    if elements == BOOLS and kind == "f":  # != 0 would show what -inf hides
        makes = "floats are added to the scores: additive_mask takes them"
    elif name == "additive_mask" and kind == "b":
        makes = "bools hide keys: mask takes them, with mask_hides=True where True hides"
    raise TypeError(f"{name}: expected {_ELEMENTS[elements]}{also}, got {array.dtype}; {makes}")
