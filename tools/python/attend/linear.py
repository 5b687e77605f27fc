"""The packed linear layer, which may end in an activation."""
from __future__ import annotations

import ctypes
import weakref
from typing import Any, Optional

from . import _torch
from ._arrays import FLOATS, Array, new_array
from ._calls import OUTPUT, BoundCall, Call, Frame
from ._isa import ISAS, isa_number
from ._library import library, new_error, require
from ._precision import ARITHMETICS, WEIGHT_TYPES, precision
from ._scalars import listed
from ._structs import LinearConfig, LinearOptions, LinearWeights, View, structure

__all__ = ["Linear"]

_ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")  # from 1 on; 0: none

_weights = Call(LinearWeights, [("matrix", FLOATS), ("bias", FLOATS)], None, {"matrix": "weight"})
_forward = Call(structure("LinearViews", ("input output", View)), [("input", FLOATS), ("multiplier", FLOATS), ("output", OUTPUT)],
                LinearOptions, {"output": "out"})
_run_forward = library.attend_linear_forward


class Linear:
    """A linear layer: activation(x W^T + bias), times a multiplier.

        up, down = attend.Linear(W_up, b_up), attend.Linear(W_down, b_down)
        y = down(up(x, "gelu"))                        # a block of a transformer
        y = down(gate(x, "silu", multiplier=up(x)))    # SwiGLU

    `weight` is a matrix (outputs, inputs), as model files hold them, `bias` (outputs,) or None: zeros. A layer never changes once it
    is made, and any number of threads may call it at once. It is packed from its weights, and keeps the arrays themselves (not
    copies) for pickling. `weight_type`, `arithmetic`, `weight_group` and `isa` are as in attend.MultiHeadAttention.
    """

    def __init__(self, weight: Array, bias: Optional[Array] = None, *, weight_type: Optional[str] = None, arithmetic: Optional[str] = None,
                 weight_group: Optional[int] = None, isa: Optional[str] = None) -> None:
        frame = Frame(_weights)
        held = frame.fill(weight, bias)
        sizes = frame.sizes("matrix")
        if len(sizes) != 2:
            raise ValueError(f"weight: expected a matrix (outputs, inputs), got {sizes or None}")
        config = LinearConfig(ctypes.sizeof(LinearConfig), outputs=sizes[0], inputs=sizes[1], isa=isa_number(isa, "isa"),
                              **precision(weight_type, arithmetic, weight_group))
        handle = ctypes.c_void_p()
        frame.check(library.attend_linear_make(ctypes.addressof(config), frame.call, None, 0, ctypes.byref(handle), frame.error))
        del held
        self._handle = handle.value
        self._recipe = dict(weight=weight, bias=bias, weight_type=weight_type, arithmetic=arithmetic, weight_group=weight_group, isa=isa)
        self._end = weakref.finalize(self, library.attend_linear_destroy, self._handle)
        self._end.atexit = False
        made, error = LinearConfig(ctypes.sizeof(LinearConfig)), new_error()
        require(library.attend_linear_get_config(self._handle, ctypes.addressof(made), ctypes.addressof(error)), error)
        self._made: Any = made

    @classmethod
    def from_torch(cls, module: Any, *, weight_type: Optional[str] = None, arithmetic: Optional[str] = None,
                   weight_group: Optional[int] = None, isa: Optional[str] = None) -> "Linear":
        """Makes the layer of a torch.nn.Linear, whose parameters are kept as they are, not copied, where they are float32 on the CPU."""
        return cls(**_torch.linear_of(module), weight_type=weight_type, arithmetic=arithmetic, weight_group=weight_group, isa=isa)

    @property
    def inputs(self) -> int:
        """How wide a row of its input is."""
        return int(self._made.inputs)

    @property
    def outputs(self) -> int:
        """How wide a row of its output is."""
        return int(self._made.outputs)

    @property
    def isa(self) -> str:
        """The instruction set that it is bound to."""
        return ISAS[self._made.isa]

    @property
    def weight_type(self) -> str:
        """How its matrix is stored."""
        return WEIGHT_TYPES[self._made.weight_type]

    @property
    def arithmetic(self) -> str:
        """What it computes with."""
        return ARITHMETICS[self._made.arithmetic]

    @property
    def packed_bytes(self) -> int:
        """How much memory its packed weights take."""
        return int(library.attend_linear_bytes(ctypes.addressof(self._made)))

    def __call__(self, input: Array, activation: Optional[str] = None, *, multiplier: Optional[Array] = None, out: Optional[Array] = None,
                 threads: Any = None) -> Array:
        """Computes the layer: input (L, inputs) or (B, L, inputs) gives (L, outputs) or (B, L, outputs).

        activation: "relu", "gelu" (exact), "gelu_tanh" (as GPT-2 and Gemma have it), "silu", or None. multiplier, of the output's shape:
        what is activated is multiplied by it. The output goes to `out` where it is given, apart from the input and the multiplier.
        """
        frame = _forward.take()
        try:
            output, held = self._fill(frame, input, activation, multiplier, out, threads)
            frame.check(_run_forward(*self._arguments(frame)))
            del held
        finally:
            _forward.give(frame)
        return output

    def bind(self, input: Array, activation: Optional[str] = None, *, multiplier: Optional[Array] = None, out: Optional[Array] = None,
             threads: Any = None) -> BoundCall:
        """Binds a call to its arrays: `layer.bind(x, out=y)()` is `layer(x, out=y)`, and costs less each time it is called.

        Arrays that had to be converted (of float16, say) are converted once, here.
        """
        frame = Frame(_forward)
        output, held = self._fill(frame, input, activation, multiplier, out, threads)
        return BoundCall(_run_forward, self._arguments(frame), frame, output, [self, input, multiplier, output, threads, held])

    def _fill(self, frame: Frame, input: Any, activation: Any, multiplier: Any, out: Any, threads: Any) -> tuple[Any, Any]:
        """Fills the frame of a call: gives its output, and what has to live until it has ended."""
        frame.set_operation_options(None, threads)
        frame.options.activation = 0 if activation is None else 1 + listed("activation", activation, _ACTIVATIONS)
        held = frame.fill(input, multiplier)
        output = new_array(input, frame.sizes("input")[:-1] + (self.outputs,)) if out is None else out
        return output, (held, frame.fill_one(2, output))

    def _arguments(self, frame: Frame) -> tuple[Any, ...]:
        """What attend_linear_forward takes."""
        return self._handle, frame.view("input"), frame.view("output"), frame.workspace, frame.options_address, frame.error

    def __repr__(self) -> str:
        words = [f"inputs={self.inputs}", f"outputs={self.outputs}"]
        words += [f"{name}={getattr(self, name)!r}" for name in ("weight_type", "arithmetic") if getattr(self, name) != "float32"]
        return f"attend.Linear({', '.join(words)}, isa={self.isa!r})"

    def __reduce__(self) -> Any:
        return _of_recipe, (self._recipe,)

    def __copy__(self) -> "Linear":
        return self  # it never changes

    def __deepcopy__(self, memo: Any) -> "Linear":
        return self


def _of_recipe(recipe: dict[str, Any]) -> Linear:
    return Linear(**recipe)
