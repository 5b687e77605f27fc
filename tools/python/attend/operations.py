"""Operations that are no attention: D2L's functions, matrix multiplication, norms."""
from __future__ import annotations

from typing import Any, Callable, Optional, Union

from ._arrays import FLOATS, INTEGERS, Array, new_array
from ._calls import OUTPUT, Call, Frame, together
from ._library import library
from ._scalars import integer, number
from ._structs import NormOptions, OperationOptions, View, structure

__all__ = ["layer_norm", "masked_softmax", "matmul", "merge", "rms_norm", "rms_norm_rows", "sequence_mask", "transpose_output",
           "transpose_qkv"]


def _operation(*arrays: tuple[str, int]) -> Call:
    """An operation whose function takes a view of each array."""
    return Call(structure("Views", (" ".join(name for name, _ in arrays), View)), arrays, OperationOptions)


def _run(call: Call, inputs: list[Any], sizes: Callable[[Frame], tuple[int, ...]], out: Any, isa: Any, threads: Any,
         function: Callable[[Frame, Callable[[str], int]], int]) -> Any:
    """Fills a frame, allocates the output unless there is one, and has function(frame, address of the view of a name) run."""
    frame = call.take()
    try:
        frame.set_operation_options(isa, threads)
        held = frame.fill(*inputs)
        out = new_array(inputs[0], sizes(frame)) if out is None else out
        kept = frame.fill_one(len(inputs), out)
        frame.check(function(frame, frame.view))
        del held, kept
    finally:
        call.give(frame)
    return out


_matmul = _operation(("a", FLOATS), ("b", FLOATS), ("bias", FLOATS), ("output", OUTPUT))


def matmul(a: Array, b: Array, bias: Optional[Array] = None, *, b_transposed: bool = False, out: Optional[Array] = None,
           isa: Optional[str] = None, threads: Any = None) -> Array:
    """a b + bias: a (L, K) or (B, L, K); b (K, N) or (B, K, N), or with b_transposed (N, K) or (B, N, K); bias (N,).

    A two-axis b serves every entry of a three-axis a. Gives (L, N) or (B, L, N).
    """
    def sizes(frame: Frame) -> tuple[int, ...]:
        of_b = frame.sizes("b")
        return frame.sizes("a")[:-1] + of_b[-2 if b_transposed else -1:][:1]
    return _run(_matmul, [a, b, bias], sizes, out, isa, threads, lambda frame, at: library.attend_matmul(
        at("a"), at("b"), int(b_transposed), at("bias"), at("output"), frame.workspace, frame.options_address, frame.error))


_sequence_mask = _operation(("input", FLOATS), ("valid_lens", INTEGERS), ("output", OUTPUT))


def sequence_mask(input: Array, valid_lens: Array, value: float = 0.0, *, out: Optional[Array] = None, isa: Optional[str] = None,
                  threads: Any = None) -> Array:
    """The input, (B, S) or (B, S, E), with `value` for all that lies at or past the entry's length of valid_lens (B,).

    out may be the input. D2L's sequence_mask.
    """
    value = number("value", value)
    return _run(_sequence_mask, [input, valid_lens], lambda frame: frame.sizes("input"), out, isa, threads,
                lambda frame, at: library.attend_sequence_mask(at("input"), at("valid_lens"), value, at("output"), frame.options_address,
                                                               frame.error))


def masked_softmax(input: Array, valid_lens: Optional[Array] = None, *, out: Optional[Array] = None, isa: Optional[str] = None,
                   threads: Any = None) -> Array:
    """Softmax over the last axis of the input (B, L, S), what lies at or past the length set to -1e6 before.

    valid_lens (B,) or (B, L), or None. Length 0 gives 1 / S everywhere. out may be the input. D2L's masked_softmax.
    """
    return _run(_sequence_mask, [input, valid_lens], lambda frame: frame.sizes("input"), out, isa, threads,
                lambda frame, at: library.attend_masked_softmax(at("input"), at("valid_lens"), at("output"), frame.options_address,
                                                                frame.error))


_transpose = _operation(("input", FLOATS), ("output", OUTPUT))


def transpose_qkv(input: Array, num_heads: int, *, out: Optional[Array] = None, isa: Optional[str] = None, threads: Any = None) -> Array:
    """(B, n, E) to (B H, n, E / H): row b H + h holds columns h E / H and on of entry b. D2L's transpose_qkv."""
    heads = integer("num_heads", num_heads)

    def sizes(frame: Frame) -> tuple[int, ...]:
        of = frame.sizes("input")
        return (of[0] * heads, of[1], of[2] // heads) if len(of) == 3 and heads > 0 else of
    return _run(_transpose, [input], sizes, out, isa, threads, lambda frame, at: library.attend_transpose_qkv(
        at("input"), heads, at("output"), frame.options_address, frame.error))


def transpose_output(input: Array, num_heads: int, *, out: Optional[Array] = None, isa: Optional[str] = None,
                     threads: Any = None) -> Array:
    """The inverse of transpose_qkv: (B H, n, E / H) to (B, n, E). D2L's transpose_output."""
    heads = integer("num_heads", num_heads)

    def sizes(frame: Frame) -> tuple[int, ...]:
        of = frame.sizes("input")
        return (of[0] // heads, of[1], of[2] * heads) if len(of) == 3 and heads > 0 else of
    return _run(_transpose, [input], sizes, out, isa, threads, lambda frame, at: library.attend_transpose_output(
        at("input"), heads, at("output"), frame.options_address, frame.error))


_rms_norm = _operation(("input", FLOATS), ("weight", FLOATS), ("output", OUTPUT))


def rms_norm(input: Array, weight: Optional[Array] = None, epsilon: float = 1e-6, *, out: Optional[Array] = None,
             isa: Optional[str] = None, threads: Any = None) -> Array:
    """Each row of the input (B, H, L, D) by the root of its mean square + epsilon, times weight (D,). out may be the input."""
    epsilon = number("epsilon", epsilon)
    return _run(_rms_norm, [input, weight], lambda frame: frame.sizes("input"), out, isa, threads,
                lambda frame, at: library.attend_rms_norm(at("input"), at("weight"), epsilon, at("output"), frame.options_address,
                                                          frame.error))


_norm = Call(structure("NormViews", ("input output", View)), [
    ("input", FLOATS), ("weight", FLOATS), ("bias", FLOATS), ("residual", FLOATS), ("output", OUTPUT), ("sum", OUTPUT)], NormOptions,
    {"output": "out"})


def _run_norm(function: Callable[..., int], inputs: list[Any], sum: Any, epsilon: Any, out: Any, isa: Any, threads: Any) -> Any:
    epsilon = number("epsilon", epsilon)
    frame = _norm.take()
    try:
        frame.set_operation_options(isa, threads)
        held = frame.fill(*inputs)
        out = new_array(inputs[0], frame.sizes("input")) if out is None else out
        found = [new_array(inputs[0], frame.sizes("input"))] if sum is True else []
        kept = frame.fill_one(4, out), frame.fill_one(5, found[0] if found else None if sum is False else sum)
        frame.check(function(frame.view("input"), epsilon, frame.view("output"), frame.options_address, frame.error))
        del held, kept
    finally:
        _norm.give(frame)
    return together(out, found)


def layer_norm(input: Array, weight: Optional[Array] = None, bias: Optional[Array] = None, *, residual: Optional[Array] = None,
               sum: Union[bool, Array, None] = None, epsilon: float = 1e-5, out: Optional[Array] = None, isa: Optional[str] = None,
               threads: Any = None) -> Any:
    """Each row of x = input + residual, less its mean, by the root of its variance + epsilon, times weight, plus bias.

    input, residual and the output (.., D) of 1 to 4 axes, a row is the last one; weight and bias (D,). With sum=True the result is a
    tuple of the output and x; an array `sum` is filled with x. out and sum may each be the input or the residual.
    """
    return _run_norm(library.attend_layer_norm, [input, weight, bias, residual], sum, epsilon, out, isa, threads)


def rms_norm_rows(input: Array, weight: Optional[Array] = None, bias: Optional[Array] = None, *, residual: Optional[Array] = None,
                  sum: Union[bool, Array, None] = None, epsilon: float = 1e-6, out: Optional[Array] = None, isa: Optional[str] = None,
                  threads: Any = None) -> Any:
    """Each row of x = input + residual by the root of its mean square + epsilon, times weight, plus bias.

    All else is as in layer_norm.
    """
    return _run_norm(library.attend_rms_norm_rows, [input, weight, bias, residual], sum, epsilon, out, isa, threads)


_merge = Call(structure("Merge", ("other_output other_lse output lse", View)),
              [("other_output", FLOATS), ("other_lse", FLOATS), ("output", OUTPUT), ("lse", OUTPUT)], OperationOptions,
              {"output": "output"})


def merge(other_output: Array, other_lse: Array, output: Array, lse: Array, *, isa: Optional[str] = None, threads: Any = None) -> Any:
    """Combines attention over some keys with attention over others, in place: (output, lse) becomes attention over both.

    output and other_output (B, H, L, Dv), lse and other_lse (B, H, L), as attention(.., lse=True) gives them. Returns
    (output, lse).
    """
    frame = _merge.take()
    try:
        frame.set_operation_options(isa, threads)
        held = frame.fill(other_output, other_lse, output, lse)
        at = frame.view
        frame.check(library.attend_merge(at("other_output"), at("other_lse"), at("output"), at("lse"), frame.options_address, frame.error))
        del held
    finally:
        _merge.give(frame)
    return output, lse
