"""The weights of PyTorch's modules, by the arguments of attend.MultiHeadAttention and attend.Linear."""
from __future__ import annotations

from typing import Any

import numpy

_OF_D2L = ("W_q", "W_k", "W_v", "W_o", "num_heads")


def weights_of(module: Any) -> dict[str, Any]:
    """The arguments that make a layer of a torch.nn.MultiheadAttention or of D2L's MultiHeadAttention."""
    if all(hasattr(module, name) for name in _OF_D2L):
        return _of_d2l(module)
    if all(hasattr(module, name) for name in ("in_proj_weight", "out_proj", "num_heads", "embed_dim")):
        return _of_torch(module)
    lacking = [name for name in _OF_D2L if not hasattr(module, name)]
    raise TypeError("module: expected a torch.nn.MultiheadAttention, or D2L's with W_q, W_k, W_v, W_o and num_heads, got "
                    + type(module).__name__ + (f", which lacks {', '.join(lacking)}" if len(lacking) < len(_OF_D2L) else ""))


def linear_of(module: Any) -> dict[str, Any]:
    """The arguments that make a layer of a torch.nn.Linear."""
    if not all(hasattr(module, name) for name in ("weight", "bias", "in_features", "out_features")):
        raise TypeError("module: expected a torch.nn.Linear, got " + type(module).__name__)
    return dict(weight=_array(module.weight), bias=_array(module.bias))


def _of_torch(module: Any) -> dict[str, Any]:
    if module.bias_k is not None or module.bias_v is not None:
        raise ValueError("module: has add_bias_kv, which is not supported")
    width = module.embed_dim
    if module.in_proj_weight is not None:
        fused = _array(module.in_proj_weight)
        matrices = [fused[i * width:(i + 1) * width] for i in range(3)]
    else:
        matrices = [_array(weight) for weight in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)]
    fused_bias = _array(module.in_proj_bias)
    biases = [None if fused_bias is None else fused_bias[i * width:(i + 1) * width] for i in range(3)]
    defaults = {"sinks": numpy.zeros(module.num_heads, numpy.float32)} if module.add_zero_attn else None
    return _named(matrices + [_array(module.out_proj.weight)], biases + [_array(module.out_proj.bias)],
                  num_heads=module.num_heads, dropout=float(module.dropout), defaults=defaults)


def _of_d2l(module: Any) -> dict[str, Any]:
    linears = [module.W_q, module.W_k, module.W_v, module.W_o]
    dropout = getattr(getattr(getattr(module, "attention", None), "dropout", None), "p", 0.0)
    return _named([_array(linear.weight) for linear in linears], [_array(linear.bias) for linear in linears],
                  num_heads=module.num_heads, dropout=float(dropout), defaults={"empty_rows": "uniform"})


def _named(matrices: list[Any], biases: list[Any], **also: Any) -> dict[str, Any]:
    names = ("query", "key", "value", "output")
    return {**dict(zip(names, matrices)), **dict(zip((name + "_bias" for name in names), biases)), **also}


def _array(parameter: Any) -> Any:
    """numpy's array of a parameter, in its memory where it is float32 on the CPU; None of None."""
    if parameter is None:
        return None
    if type(parameter).__name__ == "UninitializedParameter":
        raise ValueError("module: its weights have no sizes yet: call it once before")
    return parameter.detach().cpu().float().numpy()
