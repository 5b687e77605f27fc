"""Masks that say what they are: the mask function of attend, and the tensor that it gives models to pass on."""
from __future__ import annotations

import functools
from typing import Any, Callable, Optional, Union

import numpy
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from transformers import masking_utils
from transformers.utils.import_utils import is_tracing

from .reach import Reach, reach_of

__all__ = ["Mask", "mask", "options_of_elements"]

Options = dict[str, Any]  # of attend.attention, by name; `starts` stands for query_starts and key_starts


class Mask(Tensor):
    """A bool tensor (B, 1, L, S), true where a query may attend, that holds the options of attend.attention with the same meaning.

    It has no elements until an operation of PyTorch reads or writes them. From then on it is a dense mask, and `options` is None: the
    operation may have changed it, or a view of it.
    """

    options: Optional[Options]
    _make_dense: Optional[Callable[[], Tensor]]
    _dense: Optional[Tensor]

    @staticmethod
    def __new__(cls, shape: tuple[int, ...], options: Optional[Options], make_dense: Optional[Callable[[], Tensor]],
                dense: Optional[Tensor] = None) -> "Mask":
        found: Mask = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bool, device=torch.device("cpu"))
        found.options, found._make_dense, found._dense = options, make_dense, dense
        return found

    def dense(self) -> Tensor:
        """The mask with its elements, as a tensor of PyTorch."""
        if self._dense is None:
            assert self._make_dense is not None
            # Not expanded: an operation may write it.
            self._dense = self._make_dense().contiguous()
        return self._dense

    def _become_dense(self) -> Tensor:
        self.options = None
        return self.dense()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        shown = "dense" if self.options is None else ", ".join(self.options) or "all"
        return f"<attend.transformers.Mask {tuple(self.shape)}: {shown}>"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (),  # type: ignore[override]
                           options: Any = None) -> Any:
        arguments, options = tree_map_only(Mask, Mask._become_dense, (arguments, options or {}))
        return function(*arguments, **options)

    def __deepcopy__(self, memo: Any) -> Tensor:  # type: ignore[override]
        return self.dense().clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.dense().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    # What torch.compile asks of a tensor subclass that is the argument of a graph.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        self._become_dense()
        return ["_dense"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], _context: None, shape: Any, _strides: Any) -> "Mask":
        return Mask(shape, None, None, inner["_dense"])

    def _stable_hash_for_caching(self) -> str:
        return f"attend.transformers.Mask {tuple(self.shape)}"


def mask(batch_size: int, q_length: int, kv_length: int, q_offset: Union[int, Tensor] = 0, kv_offset: int = 0,
         mask_function: Callable[..., Any] = masking_utils.causal_mask_function, attention_mask: Optional[Tensor] = None,
         local_size: Optional[int] = None, allow_is_causal_skip: bool = True, allow_is_bidirectional_skip: bool = False,
         use_vmap: bool = False, device: Any = "cpu", **_others: Any) -> Optional[Tensor]:
    """The mask function that "attend" is in transformers' AttentionMaskInterface, with the arguments of all such functions.

    Gives a Mask of what is causal, bidirectional, a sliding window or packed sequences, with any padding (attention_mask (B, S), true
    is a token); else the bool tensor (B, 1, L, S) of the function that sdpa has. None stands for a plain causal mask or for none,
    where transformers allows it.
    """
    arguments: dict[str, Any] = dict(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
        mask_function=mask_function, attention_mask=attention_mask, local_size=local_size, use_vmap=use_vmap, device=device)
    options = None
    if not use_vmap and not is_tracing(attention_mask) and torch.device(device).type == "cpu":
        options = _options_of(mask_function, batch_size, q_length, kv_length, int(q_offset) - kv_offset, kv_offset, attention_mask)
    if options is None:
        return masking_utils.sdpa_mask(**arguments, allow_is_causal_skip=allow_is_causal_skip,
                                       allow_is_bidirectional_skip=allow_is_bidirectional_skip)
    if options == {"causal": True} and allow_is_causal_skip:
        return None  # attention without a mask is causal in a causal module, from the first key on
    if not options and (allow_is_bidirectional_skip or (allow_is_causal_skip and q_length == 1)):
        return None
    return Mask((batch_size, 1, q_length, kv_length), options, functools.partial(_dense_of, arguments))


def _dense_of(arguments: dict[str, Any]) -> Tensor:
    dense = masking_utils.sdpa_mask(**arguments, allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
    assert dense is not None  # where no skip is allowed
    return dense


def _options_of(function: Callable[..., Any], batch: int, queries: int, keys: int, offset: int, key_offset: int,
                attention_mask: Optional[Tensor]) -> Optional[Options]:
    """The options with the meaning of a mask function and a padding mask; None: there are none, or the function is not known."""
    reach = reach_of(function)
    if reach is None:
        return None
    options: Options = {}
    if reach.sequences is not None or reach.positions is not None:
        if attention_mask is not None or offset != 0 or queries != keys:
            return None
        starts = _starts_of(reach, batch, queries)
        if starts is None:
            return None
        options["starts"] = starts
    # A bound that no query comes to is none.
    if reach.left is not None and queries - 1 + offset > reach.left:
        options["window_left"] = reach.left
    if reach.right is not None and offset + reach.right < keys - 1:
        options.update({"causal": True} if reach.right == 0 else {"window_right": reach.right})
    if options and offset != 0:
        options["offset"] = offset
    if attention_mask is not None:
        if attention_mask.dim() != 2 or attention_mask.shape[0] != batch:
            return None
        missing = key_offset + keys - attention_mask.shape[1]
        if missing > 0:  # keys past its end, as static caches have them, are padding
            attention_mask = torch.nn.functional.pad(attention_mask, (0, missing))
        options.update(_options_of_padding(attention_mask[:, key_offset:key_offset + keys].bool()))
    return options


def _options_of_padding(is_token: Tensor) -> Options:
    """Of a padding mask (B, S): where the tokens of each entry start and end if they lie together, else the mask itself."""
    shown = is_token.numpy()  # for each generated token, where numpy costs a third of PyTorch
    if shown.all():
        return {}
    keys = shown.shape[1]
    starts, counts = shown.argmax(1), numpy.count_nonzero(shown, axis=1)
    ends = numpy.where(counts > 0, keys - shown[:, ::-1].argmax(1), starts)
    if (ends - starts != counts).any():
        return {"key_padding_mask": is_token}
    options = {"valid_starts": torch.from_numpy(starts)} if starts.any() else {}
    if (ends != keys).any():
        options["valid_lens"] = torch.from_numpy(ends)
    return options


def options_of_elements(mask: Tensor, may_pack: bool) -> Options:
    """The options with the meaning of a dense mask (B, 1, L, S): of padding, causal, windows, packed sequences where they do; else itself.

    Graphs have such masks, for what is padding and what is packed is not known while PyTorch records them.
    """
    rows, queries, keys = mask[:, 0], mask.shape[2], mask.shape[3]
    is_token = rows.any(1)
    if queries == 1 or not is_token.any():
        return _options_of_padding(is_token)
    options = _options_of_band(rows, is_token[:, None].expand_as(rows))
    if options is not None:
        return {**options, **_options_of_padding(is_token)}
    if may_pack and queries == keys:
        begins = ~rows.diagonal(-1, 1, 2)  # of rows that do not see the one before
        sequences = torch.nn.functional.pad(begins.cumsum(1), (1, 0))
        options = _options_of_band(rows, sequences[:, :, None] == sequences[:, None])
        if options is not None:
            return {**options, "starts": _starts_of_begins(begins)}
    return {"mask": mask}


def _options_of_band(rows: Tensor, seen: Tensor) -> Optional[Options]:
    """The options with which `rows` are what is seen, both bools (B, L, S), between two distances from query to key; None: there are none.

    If any two distances do, the nearest that leave all of the rows do.
    """
    (first, last), (first_seen, last_seen) = _distances(rows), _distances(seen)
    places = torch.arange(rows.shape[2], device=rows.device)
    queries = torch.arange(rows.shape[1], device=rows.device)[:, None]
    if not torch.equal(rows, seen & ((places >= queries + first) & (places <= queries + last))):
        return None
    # A bound that hides nothing is none.
    options: Options = {"window_left": last - first} if first > first_seen else {}
    if last < last_seen:
        options["causal"] = True
    if options and last != 0:
        options["offset"] = last
    return options


def _distances(rows: Tensor) -> tuple[int, int]:
    """The least and the greatest distance from a query to a key after it that it sees, in any entry of (B, L, S), where one sees any."""
    shown = rows.any(0).numpy()
    queries = numpy.flatnonzero(shown.any(1))
    shown = shown[queries]
    last = shown.shape[1] - 1 - shown[:, ::-1].argmax(1)
    return int((shown.argmax(1) - queries).min()), int((last - queries).max())


def _starts_of(reach: Reach, batch: int, length: int) -> Optional[Tensor]:
    """Where packed sequences start if the rows of all entries are laid one after the other, and the end; None: they are not packed so."""
    sequences, positions = reach.sequences, reach.positions
    if sequences is None or tuple(sequences.shape) != (batch, length):
        return None
    begins = sequences.diff(dim=1) != 0
    if bool((sequences.diff(dim=1) < 0).any()):
        return None  # a sequence may go on after another
    if positions is not None:
        if tuple(positions.shape) != (batch, length) or bool(((positions.diff(dim=1) != 1) & ~begins).any()):
            return None  # distances are not those of the rows
    return _starts_of_begins(begins)


def _starts_of_begins(begins: Tensor) -> Tensor:
    """Where sequences start, and the end, of rows laid one after the other: begins (B, L - 1) tells for all but every entry's first row."""
    begins = torch.nn.functional.pad(begins, (1, 0), value=True)
    return torch.nn.functional.pad(begins.flatten().nonzero().flatten(), (0, 1), value=begins.numel())
