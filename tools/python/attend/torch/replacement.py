"""Models whose attention attend computes: replace swaps it in place, a Replacement says what was swapped and undoes it."""
from __future__ import annotations

from typing import Any, Optional

from torch import nn

from . import packed
from .modules import MultiheadAttention, TransformerEncoder, reason_against, weights_of

__all__ = ["Replacement", "replace"]

_ABSENT = object()


class Replacement:
    """What attend.torch.replace swapped in a model, what it left to PyTorch, and the way back.

    Names are those of model.named_modules(); "" is the model itself. It is a context manager, which restores the model at the end.
    """

    def __init__(self) -> None:
        self._swapped: dict[str, MultiheadAttention] = {}
        self._left: dict[str, str] = {}
        self._before: list[tuple[Any, dict[str, Any]]] = []

    @property
    def swapped(self) -> tuple[str, ...]:
        """The modules whose attention attend computes."""
        return tuple(self._swapped)

    @property
    def left(self) -> dict[str, str]:
        """The modules that were left to PyTorch, and why."""
        return dict(self._left)

    @property
    def calls(self) -> dict[str, int]:
        """How many calls attend has computed of each module that was swapped; modules with the same weights share them."""
        return {name: packed.calls_of(module.num_heads, *weights_of(module)) for name, module in self._swapped.items()}

    def refresh(self) -> None:
        """Has attend take the weights anew, after changes through `.data`, which PyTorch does not track."""
        for module in self._swapped.values():
            packed.forget(module.num_heads, *weights_of(module))

    def restore(self) -> None:
        """Gives the model back as it was, with the weights that it has by now. A second time it does nothing."""
        self.refresh()
        for module, attributes in reversed(self._before):
            for name, value in attributes.items():
                if value is _ABSENT:
                    module.__dict__.pop(name, None)
                elif name == "__class__":
                    module.__class__ = value
                else:
                    module.__dict__[name] = value
        self._before = []

    def __enter__(self) -> "Replacement":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def __str__(self) -> str:
        lines = [f"attend computes {len(self._swapped)} of {len(self._swapped) + len(self._left)} attention modules"]
        lines += [f"  {name or '(the model)'}: attend" for name in self._swapped]
        lines += [f"  {name or '(the model)'}: left to PyTorch: {why}" for name, why in self._left.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<attend.torch.Replacement: {len(self._swapped)} swapped, {len(self._left)} left>"

    def _become(self, module: nn.Module, **attributes: Any) -> None:
        """Sets attributes, and its class, of a module, and remembers what they were."""
        before = {name: type(module) if name == "__class__" else module.__dict__.get(name, _ABSENT) for name in attributes}
        self._before.append((module, before))
        for name, value in attributes.items():
            if name == "__class__":
                module.__class__ = value
            else:
                module.__dict__[name] = value


def replace(model: nn.Module) -> Replacement:
    """Has attend compute every nn.MultiheadAttention of a model in evaluation, in place; says what it swapped, and what not and why.

    The modules stay the same objects with the same parameters, so that state_dict, optimizers and hooks see no difference, and only
    their class changes, to attend.torch.MultiheadAttention. nn.TransformerEncoderLayer, which would bypass them in evaluation, no
    longer does. Outputs are within 1e-5 of those before. Weights may change, by load_state_dict say: attend takes them anew.

    Give it the whole model: of a part, what is around it may bypass it. In training, PyTorch computes as before.
    """
    replacement = Replacement()
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.MultiheadAttention):
            why = _reason(module)
            if why is None:
                replacement._become(module, __class__=MultiheadAttention)
                replacement._swapped[name] = module  # type: ignore[assignment]
            else:
                replacement._left[name] = why
    swapped = set(replacement._swapped.values())
    for module in modules.values():
        if isinstance(module, nn.TransformerEncoderLayer) and module.self_attn in swapped:
            # 0 has forward call self_attn, rather than an operator for the whole layer.
            replacement._become(module, activation_relu_or_gelu=0)
        elif isinstance(module, nn.TransformerEncoder) and not swapped.isdisjoint(module.modules()):
            if type(module) is nn.TransformerEncoder:
                replacement._become(module, __class__=TransformerEncoder, use_nested_tensor=False,
                                    packs_padding=bool(getattr(module, "use_nested_tensor", False)))
            elif type(module) is not TransformerEncoder:
                replacement._become(module, use_nested_tensor=False)
    return replacement


def _reason(module: nn.MultiheadAttention) -> Optional[str]:
    """Why a module is left to PyTorch."""
    if type(module) is MultiheadAttention:
        return "is attend's already"
    if type(module) is not nn.MultiheadAttention:
        return f"is a {type(module).__module__}.{type(module).__qualname__}, whose forward may be another"
    if module.training:
        return f"is in training (dropout {module.dropout}), which attend has no gradients for: call eval() before"
    if "forward" in module.__dict__:
        return "has a forward of its own"
    why = reason_against(module)
    if why is None and not all(weight is None or isinstance(weight, nn.Parameter) for weight in weights_of(module)):
        why = "its weights are no parameters, but computed from others"
    if why is None and any(weight is not None and weight.is_inference() for weight in weights_of(module)):
        why = "its weights were made in torch.inference_mode(), which hides their changes"
    return why
