"""The attention function that models of transformers call, and the operator attend::attention_rows that computes it."""
from __future__ import annotations

import sys
from typing import Any, Callable, Optional

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.utils.import_utils import is_tracing

from ..core import attention as _attend_attention
from ..torch.operators import refuses_gradients
from ..torch.threads import threads
from .calls import calls
from .masks import Mask, options_of_elements

__all__ = ["attention"]

_MAX_HEAD_DIM = 576


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Optional[Tensor] = None,
              scaling: Optional[float] = None, dropout: float = 0.0, is_causal: Optional[bool] = None, softcap: Optional[float] = None,
              s_aux: Optional[Tensor] = None, sinks: Optional[Tensor] = None, position_bias: Optional[Tensor] = None,
              output_attentions: Optional[bool] = False, **others: Any) -> tuple[Tensor, Optional[Tensor]]:
    """The attention function that "attend" is in transformers' AttentionInterface.

    query (B, H, L, D), key (B, G, S, D), value (B, G, S, Dv), where G divides H. attention_mask is a Mask, or a tensor aligned to the
    right of (B, H, L, S), bools of which True attends, or floats, which are added; None: queries of a causal module see no later keys,
    unless there is one query. s_aux (H,) are sinks, position_bias floats shaped as the mask. Gives the output (B, L, H, Dv), and with
    output_attentions the weights (B, H, L, S), else None.

    PyTorch computes calls in training, with dropout, under autocast, of other types than float32, and with sinks (B, H, L, 1), as
    attend.transformers.calls tells. Tensors on other devices are a ValueError. A gradient is a RuntimeError, in backward(). A row that sees no key gives zeros.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not tensor.is_cpu:
            raise ValueError(f"{name}: is on {tensor.device}, expected the CPU, where attend computes; "
                             'model.set_attn_implementation("sdpa") is for others')
    if is_causal is None:
        is_causal = bool(getattr(module, "is_causal", True))
    why = _reason_against(module, query, key, value, dropout, sinks)
    if why is not None:
        if not is_tracing(query):
            calls._add_left(why)
        return _by_pytorch(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, is_causal=is_causal,
                           softcap=softcap, s_aux=s_aux, sinks=sinks, position_bias=position_bias, output_attentions=output_attentions,
                           **others)
    if query.shape[0] != key.shape[0]:  # as learned queries may have it
        batch = max(query.shape[0], key.shape[0])
        query, key, value = (each.expand(batch, -1, -1, -1) for each in (query, key, value))
    options: dict[str, Any] = {}
    if isinstance(attention_mask, Mask):
        options, attention_mask = _read(attention_mask, query, key, position_bias is not None or bool(output_attentions))
    elif attention_mask is None and is_causal and query.shape[2] > 1:
        options["causal"] = True
    if attention_mask is not None and attention_mask.dtype != torch.bool and not attention_mask.is_floating_point():
        raise TypeError(f"attention_mask: is of {attention_mask.dtype}, expected bools, of which True attends, or floats")
    compute = _recorded_rows if _needs_operator(query, key, value, attention_mask, s_aux, position_bias) else _rows
    return compute(query, key, value, mask=attention_mask, position_bias=position_bias, sinks=s_aux, scale=scaling, softcap=softcap or None,
                   need_weights=bool(output_attentions), **options)


def _reason_against(module: Any, query: Tensor, key: Tensor, value: Tensor, dropout: float, sinks: Optional[Tensor]) -> Optional[str]:
    """Why PyTorch computes a call; None: attend does."""
    if getattr(module, "training", False):
        return "in training"
    if dropout:
        return "with dropout"
    if torch.is_autocast_enabled("cpu"):
        return "under autocast"
    if sinks is not None:
        return "with sinks of each query"
    for tensor in (query, key, value):
        if tensor.dtype != torch.float32:
            return f"of {tensor.dtype}"
        if tensor.dim() != 4 or tensor.layout != torch.strided:
            return "not of four axes with strides"
        if tensor.shape[3] > _MAX_HEAD_DIM:
            return f"with heads wider than {_MAX_HEAD_DIM}"
    return None


def _read(mask: Mask, query: Tensor, key: Tensor, needs_keys: bool) -> tuple[dict[str, Any], Optional[Tensor]]:
    """The options that a Mask stands for in a call, or its dense mask: of other sizes, or where packed sequences do not do."""
    if mask.options is None or tuple(mask.shape) != (query.shape[0], 1, query.shape[2], key.shape[2]):
        return {}, mask.dense()
    if needs_keys and "starts" in mask.options:
        return {}, mask.dense()
    return mask.options, None


def _needs_operator(*tensors: Optional[Tensor]) -> bool:
    """Whether PyTorch has to see the call: to record it in a graph, or to refuse its gradient."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    is_grad_enabled = torch.is_grad_enabled()
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in (Tensor, torch.nn.Parameter) or (is_grad_enabled and tensor.requires_grad)):
            return True
    return False


def _rows(query: Tensor, key: Tensor, value: Tensor, *, starts: Optional[Tensor] = None, mask: Optional[Tensor] = None,
          position_bias: Optional[Tensor] = None, need_weights: bool = False, **options: Any) -> tuple[Tensor, Optional[Tensor]]:
    """Attention with the output's rows one after the other, (B, L, H, Dv), and with need_weights the weights, (B, H, L, S).

    starts (N + 1,): rows starts[n] to starts[n + 1] - 1 of all batch entries, laid one after the other, are a sequence of their own.
    mask: bools, or floats, which are added.
    """
    output = query.new_empty((query.shape[0], query.shape[2], query.shape[1], value.shape[3]))
    weights = query.new_empty((*query.shape[:3], key.shape[2])) if need_weights else None
    out = output.transpose(1, 2)
    if starts is not None:
        # One entry of all rows: views, where entries lie one after the other in memory.
        query, key, value, out = (each.transpose(0, 1).flatten(1, 2)[None] for each in (query, key, value, out))
        options["query_starts"] = options["key_starts"] = starts
    if mask is None:
        options["additive_mask"] = position_bias
    elif mask.dtype == torch.bool:
        options["mask"], options["additive_mask"] = mask, position_bias
    else:
        options["additive_mask"] = mask if position_bias is None else mask + position_bias
    _attend_attention(query, key, value, out=out, attention_weights=weights, threads=threads(), **options)
    calls._add(is_dense=mask is not None)
    return output, weights


@torch.library.custom_op(
    "attend::attention_rows", mutates_args=(), device_types="cpu",
    schema="(Tensor query, Tensor key, Tensor value, Tensor? valid_lens=None, Tensor? valid_starts=None, Tensor? key_padding_mask=None, "
           "Tensor? starts=None, Tensor? mask=None, Tensor? position_bias=None, Tensor? sinks=None, bool causal=False, "
           "SymInt offset=0, SymInt? window_left=None, SymInt? window_right=None, float? scale=None, float? softcap=None, "
           "bool need_weights=False) -> (Tensor, Tensor)")
def _operator(query: Tensor, key: Tensor, value: Tensor, valid_lens: Optional[Tensor] = None, valid_starts: Optional[Tensor] = None,
              key_padding_mask: Optional[Tensor] = None, starts: Optional[Tensor] = None, mask: Optional[Tensor] = None,
              position_bias: Optional[Tensor] = None, sinks: Optional[Tensor] = None, causal: bool = False, offset: int = 0,
              window_left: Optional[int] = None, window_right: Optional[int] = None, scale: Optional[float] = None,
              softcap: Optional[float] = None, need_weights: bool = False) -> tuple[Tensor, Tensor]:
    reach: dict[str, Any] = {
        "valid_lens": valid_lens, "valid_starts": valid_starts, "key_padding_mask": key_padding_mask, "starts": starts,
        "causal": causal or None, "offset": offset or None, "window_left": window_left, "window_right": window_right}
    options = {name: each for name, each in reach.items() if each is not None}
    if mask is not None:
        may_pack = position_bias is None and not need_weights
        options.update(options_of_elements(mask, may_pack) if not options and _is_of_a_graph(mask, query, key) else {"mask": mask})
    with torch.no_grad():
        output, weights = _rows(query, key, value, **options, position_bias=position_bias, sinks=sinks, scale=scale, softcap=softcap,
                                need_weights=need_weights)
    return output, query.new_empty(0) if weights is None else weights


def _is_of_a_graph(mask: Tensor, query: Tensor, key: Tensor) -> bool:
    """Whether a mask has the form of those that transformers makes in a graph."""
    shape = query.shape[0], 1, query.shape[2], key.shape[2]
    return mask.dtype == torch.bool and tuple(mask.shape) == shape and 0 not in shape


@_operator.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, valid_lens: Optional[Tensor] = None, valid_starts: Optional[Tensor] = None,
      key_padding_mask: Optional[Tensor] = None, starts: Optional[Tensor] = None, mask: Optional[Tensor] = None,
      position_bias: Optional[Tensor] = None, sinks: Optional[Tensor] = None, causal: bool = False, offset: int = 0,
      window_left: Optional[int] = None, window_right: Optional[int] = None, scale: Optional[float] = None,
      softcap: Optional[float] = None, need_weights: bool = False) -> tuple[Tensor, Tensor]:
    batch, heads, queries = query.shape[:3]
    return (query.new_empty((batch, queries, heads, value.shape[3])),
            query.new_empty((batch, heads, queries, key.shape[2]) if need_weights else 0))


refuses_gradients(_operator, "attend::attention_rows")


def _recorded_rows(query: Tensor, key: Tensor, value: Tensor, *, need_weights: bool = False,
                   **options: Any) -> tuple[Tensor, Optional[Tensor]]:
    """_rows by the operator, which PyTorch sees."""
    output, weights = _operator(query, key, value, need_weights=need_weights, **options)
    return output, weights if need_weights else None


def _by_pytorch(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Optional[Tensor], *, scaling: Optional[float],
                dropout: float, is_causal: bool, softcap: Optional[float], s_aux: Optional[Tensor], sinks: Optional[Tensor],
                position_bias: Optional[Tensor], output_attentions: Optional[bool], **others: Any) -> tuple[Tensor, Optional[Tensor]]:
    """Attention by sdpa of transformers, or by the model's own function in case of what sdpa lacks."""
    mask = attention_mask.dense() if isinstance(attention_mask, Mask) else attention_mask
    if not softcap and s_aux is None and sinks is None and not output_attentions:
        found: tuple[Tensor, Optional[Tensor]] = sdpa_attention_forward(
            module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=is_causal, position_bias=position_bias, **others)
        return found
    if mask is None and is_causal and query.shape[2] > 1:
        mask = query.new_ones((query.shape[2], key.shape[2]), dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = query.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(query.dtype).min)
    given = {"softcap": softcap, "s_aux": s_aux, "sinks": sinks, "position_bias": position_bias}
    found = _eager_of(module)(module, query, key, value, mask, scaling=scaling, dropout=dropout,
                              **{name: each for name, each in given.items() if each is not None}, **others)
    return found


def _eager_of(module: Any) -> Callable[..., tuple[Tensor, Optional[Tensor]]]:
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            found: Callable[..., tuple[Tensor, Optional[Tensor]]] = function
            return found
    raise NotImplementedError(f"{type(module).__name__}: has no eager_attention_forward, which would compute what attend and sdpa do not")
