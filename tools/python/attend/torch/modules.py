"""PyTorch's modules with attend for their attention: what attend.torch.replace has modules become, by their class alone."""
from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from . import packed
from .operators import mha

__all__ = ["MultiheadAttention", "TransformerEncoder", "reason_against"]


def weights_of(module: nn.MultiheadAttention) -> tuple[Any, ...]:
    """The module's weights in the order of attend::mha's arguments."""
    return (module.in_proj_weight, module.q_proj_weight, module.k_proj_weight, module.v_proj_weight, module.in_proj_bias,
            module.out_proj.weight, module.out_proj.bias)


def reason_against(module: nn.MultiheadAttention) -> Optional[str]:
    """Why attend cannot compute a module as it is; None: it can."""
    if module.bias_k is not None or module.bias_v is not None:
        return "has add_bias_kv, which attend lacks"
    for weight in weights_of(module):
        if weight is None:
            continue
        if not isinstance(weight, Tensor):
            return f"its weights are no tensors but {type(weight).__name__}"
        if not weight.is_cpu:
            return f"is on {weight.device}, not on the CPU"
        if weight.dtype != torch.float32:
            return f"is of {weight.dtype}, not of torch.float32"
    if module.embed_dim // module.num_heads > 576:
        return f"its heads are {module.embed_dim // module.num_heads} wide, attend's at most 576"
    return None


class MultiheadAttention(nn.MultiheadAttention):
    """An nn.MultiheadAttention that attend computes in evaluation.

    PyTorch computes it as before in training, and what attend cannot: nested tensors, autocast, other devices and types than
    float32 on the CPU, and arguments that PyTorch refuses. A row that sees no key gives the output's bias (PyTorch: that, or nan).
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Optional[Tensor] = None, need_weights: bool = True,
                attn_mask: Optional[Tensor] = None, average_attn_weights: bool = True, is_causal: bool = False,
                ) -> tuple[Tensor, Optional[Tensor]]:
        """Arguments and results of nn.MultiheadAttention.forward."""
        if not self._is_computed(query, key, value, key_padding_mask, attn_mask, is_causal):
            return super().forward(query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
        is_batched = query.dim() == 3
        if not is_batched:
            same = key is query, value is key
            query = query[None]
            key = query if same[0] else key[None]
            value = key if same[1] else value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        # With is_causal PyTorch ignores the mask in this case, and goes by it in others.
        ignores_mask = is_causal and key_padding_mask is None and not need_weights
        output, weights = mha(
            query, key, value, self.num_heads, *weights_of(self), key_padding_mask, None if ignores_mask else attn_mask, None,
            self.batch_first or not is_batched, self.add_zero_attn, ignores_mask, need_weights, average_attn_weights)
        if not need_weights:
            return output if is_batched else output[0], None
        return (output, weights) if is_batched else (output[0], weights[0])

    def forward_packed(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Self-attention of packed sequences: rows (1, T, E), of which starts[n] to starts[n + 1] - 1 are one; gives (1, T, E)."""
        output: Tensor = mha(rows, rows, rows, self.num_heads, *weights_of(self), None, None, starts)[0]
        return output

    @property
    def calls(self) -> int:
        """How many calls attend has computed with the module's weights."""
        return packed.calls_of(self.num_heads, *weights_of(self))

    def _is_computed(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Optional[Tensor], attn_mask: Optional[Tensor],
                     is_causal: bool) -> bool:
        """Whether attend computes a call; else PyTorch does, or refuses it."""
        if self.training or reason_against(self) is not None or torch.is_autocast_enabled("cpu"):
            return False
        rank = query.dim()
        if rank not in (2, 3) or (is_causal and attn_mask is None):
            return False
        for each, width in ((query, self.embed_dim), (key, self.kdim), (value, self.vdim)):
            if (each.is_nested or each.layout != torch.strided or not each.is_cpu or each.dtype != torch.float32 or each.dim() != rank
                    or each.shape[-1] != width or each.numel() == 0):
                return False
        if key.shape[:-1] != value.shape[:-1]:
            return False
        of_batch, of_rows = (0, 1) if self.batch_first else (1, 0)
        batch = query.shape[of_batch] if rank == 3 else 1
        queries, keys = (query.shape[of_rows], key.shape[of_rows]) if rank == 3 else (query.shape[0], key.shape[0])
        if rank == 3 and key.shape[of_batch] != batch:
            return False
        for mask, shapes in ((key_padding_mask, [(batch, keys) if rank == 3 else (keys,)]),
                             (attn_mask, [(queries, keys), (batch * self.num_heads, queries, keys)])):
            if mask is not None and (tuple(mask.shape) not in shapes or not mask.is_cpu
                                     or not (mask.dtype == torch.bool or mask.is_floating_point())):
                return False
        return True


class TransformerEncoder(nn.TransformerEncoder):
    """An nn.TransformerEncoder whose layers' attention attend computes.

    Where PyTorch would give its layers nested tensors, which leave out padding and give zeros for it (before the last norm), this
    gives them the rows of all sequences packed into one, to the same result.
    """

    #: Whether PyTorch would use nested tensors; use_nested_tensor itself is False.
    packs_padding: bool

    def forward(self, src: Tensor, mask: Optional[Tensor] = None, src_key_padding_mask: Optional[Tensor] = None,
                is_causal: Optional[bool] = None) -> Tensor:
        """Arguments and result of nn.TransformerEncoder.forward."""
        is_token = None
        if not torch.compiler.is_compiling() and mask is None and src_key_padding_mask is not None:
            is_token = self._tokens(src, src_key_padding_mask)
        if is_token is None:
            output: Tensor = super().forward(src, mask, src_key_padding_mask, is_causal)
            return output
        if self._can_pack(src):
            starts = nn.functional.pad(is_token.sum(1).cumsum(0), (1, 0))
            rows = src[is_token][None]
            for layer in self.layers:
                rows = _forward_packed(layer, rows, starts)
            output = src.new_zeros(src.shape)
            output[is_token] = rows[0]
        else:
            output = src
            for layer in self.layers:
                output = layer(output, src_key_padding_mask=src_key_padding_mask)
            output = output.masked_fill(is_token.logical_not()[..., None], 0)
        return output if self.norm is None else self.norm(output)

    def _tokens(self, src: Tensor, padding: Tensor) -> Optional[Tensor]:
        """Which rows (B, L) are no padding, where PyTorch would use nested tensors; else None."""
        if not self.packs_padding or self.layers[0].training or not torch.backends.mha.get_fastpath_enabled():
            return None
        if torch.is_autocast_enabled("cpu") or src.is_nested or src.dim() != 3 or src.numel() == 0:
            return None
        if tuple(padding.shape) != tuple(src.shape[:2]):
            return None
        if torch.is_grad_enabled() and (src.requires_grad or any(weight.requires_grad for weight in self.layers[0].parameters())):
            return None
        is_token = padding == 0
        if not is_token.any():
            return None
        if getattr(self, "mask_check", True):
            is_on_left = torch.arange(src.shape[1], device=src.device) < is_token.sum(1)[:, None]
            if not torch.equal(is_token, is_on_left):
                return None
        return is_token

    def _can_pack(self, src: Tensor) -> bool:
        """Whether all layers can do with packed rows."""
        if src.dtype != torch.float32 or not src.is_cpu:
            return False
        for layer in self.layers:
            if type(layer) is not nn.TransformerEncoderLayer or layer.training or type(layer.self_attn) is not MultiheadAttention:
                return False
            if layer.self_attn.training or reason_against(layer.self_attn) is not None or layer.self_attn.embed_dim != src.shape[2]:
                return False
            if any(module._forward_hooks or module._forward_pre_hooks for module in layer.modules()):
                return False
        return True


def _forward_packed(layer: Any, rows: Tensor, starts: Tensor) -> Tensor:
    """An nn.TransformerEncoderLayer on packed rows (1, T, E)."""
    if layer.norm_first:
        rows = rows + layer.dropout1(layer.self_attn.forward_packed(layer.norm1(rows), starts))
        result: Tensor = rows + layer._ff_block(layer.norm2(rows))
    else:
        rows = layer.norm1(rows + layer.dropout1(layer.self_attn.forward_packed(rows, starts)))
        result = layer.norm2(rows + layer._ff_block(rows))
    return result
