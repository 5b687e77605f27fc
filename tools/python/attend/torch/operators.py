"""The operators attend::attention, attend::attention_lse and attend::mha: their kernels, their fake kernels, and gradients, which are refused."""
from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Optional, TypedDict

import torch
from torch import Tensor

from ..core import attention as _attend_attention
from .packed import packed_of
from .threads import threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["attention", "attention_lse", "mha"]


def plain(tensor: Optional[Tensor]) -> Optional[Tensor]:
    """The tensor without its gradient's graph."""
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


#: What the operators of attention take after q, k and v.
_OPTIONS = ("Tensor? valid_lens=None", "Tensor? mask=None", "Tensor? additive_mask=None", "Tensor? sinks=None", "bool causal=False",
            "SymInt offset=0", "SymInt? window_left=None", "SymInt? window_right=None", "float? scale=None", "float? softcap=None",
            "Tensor? alibi_slopes=None", "Tensor? offsets=None", "Tensor? valid_starts=None", "Tensor? query_starts=None",
            "Tensor? key_starts=None")
_NAMES = [each.split("=")[0].split()[1] for each in _OPTIONS]
_SCHEMA = f"(Tensor q, Tensor k, Tensor v, {', '.join(_OPTIONS)}) -> "


class OperatorOptions(TypedDict, total=False):
    """What attention and attention_lse take by keyword, as attend.AttentionOptions says it."""

    mask: Optional[Tensor]
    additive_mask: Optional[Tensor]
    sinks: Optional[Tensor]
    causal: bool
    offset: int
    window_left: Optional[int]
    window_right: Optional[int]
    scale: Optional[float]
    softcap: Optional[float]
    alibi_slopes: Optional[Tensor]
    offsets: Optional[Tensor]
    valid_starts: Optional[Tensor]
    query_starts: Optional[Tensor]
    key_starts: Optional[Tensor]


def _computed(q: Tensor, k: Tensor, v: Tensor, options: tuple[Any, ...], named: dict[str, Any], lse: bool = False) -> Any:
    """What attend gives for an operator's arguments."""
    given: dict[str, Any] = {name: plain(each) if isinstance(each, Tensor) else each for name, each in (*zip(_NAMES, options), *named.items())}
    return _attend_attention(*(plain(each) for each in (q, k, v)), **given, lse=lse, threads=threads())


@torch.library.custom_op("attend::attention", mutates_args=(), device_types="cpu", schema=_SCHEMA + "Tensor")
def _attention(q: Tensor, k: Tensor, v: Tensor, *options: Any, **named: Any) -> Tensor:
    result: Tensor = _computed(q, k, v, options, named)
    return result


@torch.library.custom_op("attend::attention_lse", mutates_args=(), device_types="cpu", schema=_SCHEMA + "(Tensor, Tensor)")
def _attention_lse(q: Tensor, k: Tensor, v: Tensor, *options: Any, **named: Any) -> tuple[Tensor, Tensor]:
    output, lse = _computed(q, k, v, options, named, lse=True)
    return output, lse


@_attention.register_fake
def _output_of(q: Tensor, k: Tensor, v: Tensor, *_options: Any, **_named: Any) -> Tensor:
    return q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.float32)


@_attention_lse.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_options: Any, **_named: Any) -> tuple[Tensor, Tensor]:
    return _output_of(q, k, v), q.new_empty(q.shape[:-1], dtype=torch.float32)


def attention(q: Tensor, k: Tensor, v: Tensor, valid_lens: Optional[Tensor] = None, **options: Unpack[OperatorOptions]) -> Tensor:
    """softmax(scale q k^T) v of q (B, H, L, D), k (B, G, S, D), v (B, G, S, Dv); gives (B, H, L, Dv) by torch.ops.attend.attention.

    As attend.attention: valid_lens (B,) or (B, L), and by keyword mask (False hides) and additive_mask, aligned to the right of
    (B, H, L, S); causal, offset, offsets (B,), window_left, window_right, valid_starts (B,); scale, softcap, alibi_slopes (H,), sinks (H,).

    query_starts and key_starts (N + 1,) are the cumulative lengths of N sequences, packed one after the other into B = 1; lengths,
    starts and offsets are then (N,). Of q (T, H, D), as flash_attn_varlen_func takes it, q.transpose(0, 1)[None] is a view; where its
    causal has the last query see all keys, offsets = key_starts.diff() - query_starts.diff() does.
    """
    result: Tensor = torch.ops.attend.attention(q, k, v, valid_lens, **options)
    return result


def attention_lse(q: Tensor, k: Tensor, v: Tensor, valid_lens: Optional[Tensor] = None,
                  **options: Unpack[OperatorOptions]) -> tuple[Tensor, Tensor]:
    """What `attention` gives, and the natural log of each row's sum of exponentials (B, H, L), by torch.ops.attend.attention_lse."""
    output, lse = torch.ops.attend.attention_lse(q, k, v, valid_lens, **options)
    return output, lse


@torch.library.custom_op(
    "attend::mha", mutates_args=(), device_types="cpu",
    schema="(Tensor query, Tensor key, Tensor value, int num_heads, Tensor? in_proj_weight, Tensor? q_proj_weight, "
           "Tensor? k_proj_weight, Tensor? v_proj_weight, Tensor? in_proj_bias, Tensor out_proj_weight, Tensor? out_proj_bias, "
           "Tensor? key_padding_mask=None, Tensor? attn_mask=None, Tensor? starts=None, bool batch_first=True, "
           "bool add_zero_attn=False, bool is_causal=False, bool need_weights=False, bool average_attn_weights=True) "
           "-> (Tensor, Tensor)")
def mha(query: Tensor, key: Tensor, value: Tensor, num_heads: int, in_proj_weight: Optional[Tensor], q_proj_weight: Optional[Tensor],
        k_proj_weight: Optional[Tensor], v_proj_weight: Optional[Tensor], in_proj_bias: Optional[Tensor], out_proj_weight: Tensor,
        out_proj_bias: Optional[Tensor], key_padding_mask: Optional[Tensor] = None, attn_mask: Optional[Tensor] = None,
        starts: Optional[Tensor] = None, batch_first: bool = True, add_zero_attn: bool = False, is_causal: bool = False,
        need_weights: bool = False, average_attn_weights: bool = True) -> tuple[Tensor, Tensor]:
    """The attention of an nn.MultiheadAttention, by its weights and the names of its arguments.

    query (B, L, E), key (B, S, kdim), value (B, S, vdim), without batch_first (L, B, E) and so on; in_proj_weight (3 E, E), or
    q_proj_weight (E, E), k_proj_weight (E, kdim) and v_proj_weight (E, vdim); in_proj_bias (3 E,); out_proj_weight (E, E).
    key_padding_mask (B, S) and attn_mask, (L, S) or (B H, L, S): bools, of which True hides, or floats, which are added.
    is_causal has key j visible to query i iff j <= i, without a mask. starts (N + 1,): rows starts[n] to starts[n + 1] - 1 of the
    single batch entry are a sequence of their own.

    Gives the output, (B, L, E) or (L, B, E), contiguous; and with need_weights the attention weights, (B, L, S), or (B, H, L, S)
    without average_attn_weights, where add_zero_attn has a column S + 1 of its own; else an empty tensor. A row that sees no key
    gives the output's bias.

    The layer is packed from the weights at the first call, and again when one of them has changed in place (as load_state_dict
    and optimizers do; a change through `.data` goes unnoticed).
    """
    layer, packed = packed_of(num_heads, in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj_weight,
                              out_proj_bias)
    queries, keys, values = plain(query), plain(key), plain(value)
    assert queries is not None and keys is not None and values is not None
    output = queries.new_empty((*queries.shape[:2], out_proj_weight.shape[0]))
    rows = output
    if not batch_first:
        queries, keys, values, rows = (each.transpose(0, 1) for each in (queries, keys, values, output))
    options = _visibility(queries.shape[1], keys.shape[1], num_heads, plain(key_padding_mask), plain(attn_mask))
    options["causal"] = bool(options.get("causal", False) or is_causal)
    if starts is not None:
        options["query_starts"] = options["key_starts"] = starts
    if add_zero_attn:
        # A key of zeros scores 0, whatever the query, and its value adds nothing: that is a sink of 0.
        options["sinks"] = queries.new_zeros(num_heads)
    found = layer(queries, keys, values, out=rows, threads=threads(), attention_weights=need_weights,
                  average_weights=need_weights and average_attn_weights, **options)
    packed.count()
    if not need_weights:
        return output, output.new_empty(0)
    weights = found[1]
    if add_zero_attn:
        weights = torch.cat([weights, (1 - weights.sum(-1, keepdim=True)).clamp_(min=0)], -1)
    return output, weights


@mha.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, num_heads: int, in_proj_weight: Optional[Tensor], q_proj_weight: Optional[Tensor],
      k_proj_weight: Optional[Tensor], v_proj_weight: Optional[Tensor], in_proj_bias: Optional[Tensor], out_proj_weight: Tensor,
      out_proj_bias: Optional[Tensor], key_padding_mask: Optional[Tensor] = None, attn_mask: Optional[Tensor] = None,
      starts: Optional[Tensor] = None, batch_first: bool = True, add_zero_attn: bool = False, is_causal: bool = False,
      need_weights: bool = False, average_attn_weights: bool = True) -> tuple[Tensor, Tensor]:
    output = query.new_empty((*query.shape[:2], out_proj_weight.shape[0]))
    if not need_weights:
        return output, query.new_empty(0)
    batch, queries = query.shape[:2] if batch_first else (query.shape[1], query.shape[0])
    keys = key.shape[1 if batch_first else 0] + int(add_zero_attn)
    return output, query.new_empty((batch, queries, keys) if average_attn_weights else (batch, num_heads, queries, keys))


def _visibility(queries: int, keys: int, num_heads: int, key_padding_mask: Optional[Tensor], attn_mask: Optional[Tensor]) -> dict[str, Any]:
    """The options of attend that masks of PyTorch mean: lengths and causal where they say no more, which costs least."""
    options: dict[str, Any] = {}
    added = None
    if key_padding_mask is not None:
        hidden = key_padding_mask
        if hidden.dtype != torch.bool:
            hidden = key_padding_mask == -torch.inf
            if not bool((hidden | (key_padding_mask == 0)).all()):
                added = key_padding_mask[:, None, None, :]
        if added is None:
            lengths = keys - hidden.sum(1)
            if torch.equal(hidden, torch.arange(keys, device=hidden.device) >= lengths[:, None]):
                options["valid_lens"] = lengths
            else:
                options["key_padding_mask"] = hidden
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.reshape(-1, num_heads, *attn_mask.shape[1:])
        elif _is_causal(attn_mask):
            options["causal"] = True
            attn_mask = None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        options["mask"] = attn_mask
    elif attn_mask is not None:
        added = attn_mask if added is None else attn_mask + added
    if added is not None:
        options["additive_mask"] = added
    options["mask_hides"] = True
    return options


def _is_causal(mask: Tensor) -> bool:
    """Whether a mask (L, S) hides exactly the keys j > i from query i."""
    if mask.shape[0] < 2 or mask.shape[1] < 2 or mask.dtype not in (torch.bool, torch.float32):
        return False
    # Most other masks differ from it in these.
    if bool(mask[0, 0] != 0) or not (bool(mask[0, 1]) if mask.dtype == torch.bool else float(mask[0, 1]) == -torch.inf):
        return False
    make = _causal_mask if mask.numel() <= _KEPT_MASK else _causal_mask.__wrapped__
    return torch.equal(mask, make(*mask.shape, mask.dtype))


_KEPT_MASK = 1 << 20


@functools.lru_cache(maxsize=4)
def _causal_mask(queries: int, keys: int, dtype: torch.dtype) -> Tensor:
    hidden = torch.ones(queries, keys, dtype=torch.bool, device="cpu").triu(1)
    return hidden if dtype == torch.bool else torch.zeros(queries, keys, device="cpu").masked_fill_(hidden, -torch.inf)


@torch.library.custom_op("attend::refuse_gradient", mutates_args=(), schema="(Tensor gradient, SymInt[] sizes, str operator) -> Tensor")
def _refuse_gradient(gradient: Tensor, sizes: list[int], operator: str) -> Tensor:
    """Stands in graphs where a gradient of the operator would be computed, and raises when it is."""
    raise RuntimeError(f"{operator} computes no gradients: it is for inference. Call the model under torch.no_grad(), have parameters "
                       "that do not require_grad, or give the model back to PyTorch: by restore(), or by another attn_implementation")


@_refuse_gradient.register_fake
def _(gradient: Tensor, sizes: list[int], operator: str) -> Tensor:
    return gradient.new_empty(sizes)


def refuses_gradients(operator: Any, name: str) -> None:
    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.sizes = [each.shape if isinstance(each, Tensor) else None for each in inputs]

    def refuse(ctx: Any, *gradients: Tensor) -> tuple[Optional[Tensor], ...]:
        return tuple(torch.ops.attend.refuse_gradient(gradients[0], list(sizes), name) if needed and sizes is not None else None
                     for needed, sizes in zip(ctx.needs_input_grad, ctx.sizes))

    operator.register_autograd(refuse, setup_context=remember)


refuses_gradients(_attention, "attend::attention")
refuses_gradients(_attention_lse, "attend::attention_lse")
refuses_gradients(mha, "attend::mha")
