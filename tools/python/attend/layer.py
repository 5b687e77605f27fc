"""The layer: multi-head attention with its projections."""
from __future__ import annotations

import ctypes
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

import numpy

from . import _torch
from ._arrays import FLOATS, INTEGERS, Array, new_array
from ._calls import OUTPUT, BoundCall, Call, Frame, together
from ._isa import ISAS, isa_number
from ._library import library, new_error, require
from ._options import shows_options
from ._precision import ARITHMETICS, LOW_PRECISION_INT4, WEIGHT_TYPES, precision
from ._scalars import integer, number, seed as seed_number, text
from ._structs import (Config, LayerCachedCall, LayerCall, LoadOptions, Options, ProjectCall,
                       RelativePositionBias as _BiasStruct, RotaryEmbedding as _RotaryStruct, Weights as _WeightsStruct)
from .cache import KVCache, cache_handle
from .positions import RelativePositionBias, RotaryEmbedding

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import AttentionOptions

__all__ = ["MultiHeadAttention"]

_out = {"output": "out"}
_MATRICES = ("query", "key", "value", "output")
_WEIGHTS = _MATRICES + ("query_bias", "key_bias", "value_bias", "output_bias", "query_norm", "key_norm")

_weights = Call(_WeightsStruct, [(name, FLOATS) for name in _WEIGHTS], None, {"output": "output"})
_forward = Call(LayerCall, [("queries", FLOATS), ("keys", FLOATS), ("values", FLOATS), ("valid_lens", INTEGERS), ("output", OUTPUT)],
                Options, _out)
_cached = Call(LayerCachedCall, [("queries", FLOATS), ("keys", FLOATS), ("values", FLOATS), ("new_counts", INTEGERS),
                                 ("output", OUTPUT)], Options, _out)
_project = Call(ProjectCall, [("keys", FLOATS), ("values", FLOATS), ("counts", INTEGERS)], Options)
_run_forward = library.attend_mha_forward


class MultiHeadAttention:
    """Multi-head attention: W_o concat(softmax(q k^T / sqrt(D)) v) over num_heads heads of projected queries, keys and values.

    The weights are matrices (out, in), as model files hold them: query (H D, query_size), key (G D, key_size), value
    (G D, value_size), output (output_size, H D); a bias has an element for each row of its matrix, an absent one is zero. D is the
    query matrix's rows by num_heads, G the key matrix's rows by D, so grouped queries need no further word. query_norm and key_norm
    (D,) norm each head's queries and keys; then `rotary` turns them to their positions.

        layer = attend.MultiHeadAttention(query=W_q, key=W_k, value=W_v, output=W_o, num_heads=8)
        y = layer(x)                                   # self-attention of x (B, L, E)
        y = layer(x, memory, valid_lens=lengths)       # to memory (B, S, E), of which lengths[b] rows count

    from_torch, from_safetensors and random make layers, too. A layer never changes once it is made, and any number of threads may
    call it at once. It is packed from its weights, and keeps the arrays themselves (not copies) for pickling. `dropout` acts with
    training=True alone; `isa` binds the layer to an instruction set. `weight_type` stores its matrices as "bfloat16", "float16",
    "int8" or "int4", `arithmetic` multiplies them so, in "bfloat16" or "int8", which takes weights of that type, or of "int4" in "int8";
    `weight_group` is how many elements of a row of int4 share a scale: 32, 64 or 128, None: 32. `defaults` are options of its calls,
    where these do not say otherwise.
    """

    def __init__(self, *, query: Array, key: Array, value: Array, output: Array, num_heads: int, query_bias: Optional[Array] = None,
                 key_bias: Optional[Array] = None, value_bias: Optional[Array] = None, output_bias: Optional[Array] = None,
                 query_norm: Optional[Array] = None, key_norm: Optional[Array] = None, norm_epsilon: Optional[float] = None,
                 rotary: Optional[RotaryEmbedding] = None, dropout: float = 0.0, isa: Optional[str] = None,
                 weight_type: Optional[str] = None, arithmetic: Optional[str] = None, weight_group: Optional[int] = None,
                 defaults: Optional["AttentionOptions"] = None) -> None:
        given = dict(query=query, key=key, value=value, output=output, query_bias=query_bias, key_bias=key_bias, value_bias=value_bias,
                     output_bias=output_bias, query_norm=query_norm, key_norm=key_norm)
        frame = Frame(_weights)
        held = [frame.fill_one(i, given[name]) for i, name in enumerate(_WEIGHTS)]
        sizes = {}
        for name in _MATRICES:
            sizes[name] = frame.sizes(name)
            if len(sizes[name]) != 2:
                raise ValueError(f"{name}: expected a matrix (out, in), got {sizes[name] or None}")
        heads = integer("num_heads", num_heads)
        rows = sizes["query"][0]
        if heads < 1 or rows % heads != 0:
            raise ValueError(f"num_heads: expected a divisor of query's {rows} rows, got {heads}")
        head_dim = rows // heads
        if sizes["key"][0] % max(head_dim, 1) != 0:
            raise ValueError(f"key: expected rows that are a multiple of a head's {head_dim}, got {sizes['key'][0]}")
        config = _config(
            num_heads=heads, num_hiddens=rows, head_dim=head_dim, num_kv_heads=sizes["key"][0] // max(head_dim, 1),
            query_size=sizes["query"][1], key_size=sizes["key"][1], value_size=sizes["value"][1], output_size=sizes["output"][0],
            norm_queries=query_norm is not None, norm_keys=key_norm is not None, norm_epsilon=norm_epsilon, rotary=rotary,
            dropout=dropout, isa=isa, weight_type=weight_type, arithmetic=arithmetic, weight_group=weight_group)
        handle = ctypes.c_void_p()
        frame.check(library.attend_mha_make(ctypes.addressof(config), frame.call, None, 0, ctypes.byref(handle), frame.error))
        del held
        state = dict(given, num_heads=heads, norm_epsilon=norm_epsilon, rotary=rotary, dropout=dropout, isa=isa, weight_type=weight_type,
                     arithmetic=arithmetic, weight_group=weight_group, defaults=defaults)
        self._own(handle.value, library.attend_mha_destroy, handle.value, (_of_weights, (state,)), rotary, defaults)

    def _own(self, handle: Any, destroy: Any, owner: Any, recipe: Any, rotary: Any, defaults: Any) -> None:
        """Becomes the layer of a handle; `recipe` is what makes it again."""
        self._handle, self._recipe, self._rotary = handle, recipe, rotary
        self._defaults: dict[str, Any] = dict(defaults or {})
        self._end = weakref.finalize(self, destroy, owner)
        self._end.atexit = False
        made, turned, error = Config(ctypes.sizeof(Config)), _RotaryStruct(ctypes.sizeof(_RotaryStruct)), new_error()
        require(library.attend_mha_get_config(handle, ctypes.addressof(made), ctypes.addressof(turned), ctypes.addressof(error)), error)
        self._made: Any = made
        self._output_size = int(made.output_size or made.num_hiddens)

    @classmethod
    def from_torch(cls, module: Any, *, isa: Optional[str] = None, weight_type: Optional[str] = None, arithmetic: Optional[str] = None,
                   weight_group: Optional[int] = None) -> "MultiHeadAttention":
        """Makes the layer of a torch.nn.MultiheadAttention, or of D2L's MultiHeadAttention (W_q, W_k, W_v, W_o, num_heads).

        The layer's calls take (batch, tokens, width), whatever the module's batch_first says: a UserWarning where it is False. Its
        biases, kdim, vdim, dropout and add_zero_attn are kept, add_bias_kv is a ValueError. Parameters that are float32 on the CPU
        are kept as they are, not copied: a layer of trained ones is to be made anew.
        """
        weights = _torch.weights_of(module)
        if getattr(module, "batch_first", True) is False:
            warnings.warn("module: batch_first is False, but calls of attend's layer take (batch, tokens, width): x.transpose(0, 1) of "
                          "what the module takes", stacklevel=2)
        return cls(**weights, isa=isa, weight_type=weight_type, arithmetic=arithmetic, weight_group=weight_group)

    @classmethod
    def from_safetensors(cls, path: Union[str, "os.PathLike[str]"], prefix: str, num_heads: int, *, num_kv_heads: Optional[int] = None,
                         rotary: Optional[RotaryEmbedding] = None, norm_epsilon: Optional[float] = None, dropout: float = 0.0,
                         ignored: Sequence[str] = (), relative_bias: Optional[str] = None, unrotated: bool = False,
                         isa: Optional[str] = None, weight_type: Optional[str] = None, arithmetic: Optional[str] = None,
                         weight_group: Optional[int] = None) -> "MultiHeadAttention":
        """Loads the layer whose names begin with `prefix` ("": the whole file) from a .safetensors file or the index of its shards.

        It knows the names of D2L, torch, BERT, ViT, DistilBERT, Llama, CLIP, T5, GPT-2 and others (`convention` says whose they
        are). A tensor under the prefix that the layer does not use is a ValueError unless it is `ignored`; relative_bias names
        T5's table where another layer of the file has it, or is "none". Scale, sinks and T5's bias become defaults of the calls.
        Matrices that the file stores in `weight_type` (F16, BF16, I8 with X.weight_scale beside X.weight, int4 as compressed-tensors packs
        it, or GGUF's Q4_0) are taken as they are; weight_type="file" is what the file stores.

        A GGUF file is read as well: it says num_heads itself, where that is 0, and how its layers are rotated, unless `rotary` is given,
        or unrotated=True.
        The pickle of such a layer is what was asked for here: it reads the file again.
        """
        os.stat(path)  # FileNotFoundError, which callers expect
        asked = dict(path=os.fspath(path), prefix=prefix, num_heads=num_heads, num_kv_heads=num_kv_heads, rotary=rotary,
                     norm_epsilon=norm_epsilon, dropout=dropout, ignored=tuple(ignored), relative_bias=relative_bias,
                     unrotated=unrotated, isa=isa, weight_type=weight_type, arithmetic=arithmetic, weight_group=weight_group)
        options = LoadOptions(ctypes.sizeof(LoadOptions), num_kv_heads=integer("num_kv_heads", num_kv_heads or 0),
                              isa=isa_number(isa, "isa"), dropout=number("dropout", dropout), rotary=_rotary_address(rotary),
                              norm_epsilon=_epsilon(norm_epsilon), num_ignored=len(ignored), weight_type_of_file=int(weight_type == "file"),
                              unrotated=int(unrotated), low_precision_int4=LOW_PRECISION_INT4,
                              **precision(None if weight_type == "file" else weight_type, arithmetic, weight_group))
        names = (ctypes.c_char_p * max(len(ignored), 1))(*(text("ignored", name) for name in ignored))
        options.ignored = ctypes.cast(names, ctypes.POINTER(ctypes.c_char_p))
        options.relative_bias = None if relative_bias is None else text("relative_bias", relative_bias)
        loaded, error = ctypes.c_void_p(), new_error()
        require(library.attend_load_layer(os.fsencode(path), text("prefix", prefix), integer("num_heads", num_heads), ctypes.addressof(options),
                                          ctypes.byref(loaded), ctypes.addressof(error)), error)
        layer = cls.__new__(cls)
        layer._own(library.attend_loaded_layer_mha(loaded), library.attend_loaded_layer_destroy, loaded.value, (_of_file, (asked,)),
                   rotary, _loaded_defaults(loaded))
        layer._convention = library.attend_loaded_layer_convention(loaded).decode()
        layer._remarks = library.attend_loaded_layer_remarks(loaded).decode().splitlines()
        return layer

    @classmethod
    def random(cls, num_hiddens: int, num_heads: int, *, seed: int = 0, key_size: Optional[int] = None, query_size: Optional[int] = None,
               value_size: Optional[int] = None, output_size: Optional[int] = None, num_kv_heads: Optional[int] = None,
               head_dim: Optional[int] = None, bias: bool = False, norm_queries: bool = False, norm_keys: bool = False,
               norm_epsilon: Optional[float] = None, rotary: Optional[RotaryEmbedding] = None, dropout: float = 0.0,
               isa: Optional[str] = None, weight_type: Optional[str] = None, arithmetic: Optional[str] = None,
               weight_group: Optional[int] = None, defaults: Optional["AttentionOptions"] = None) -> "MultiHeadAttention":
        """Makes a layer of weights uniform in +-sqrt(6 / (in + out)) and zero biases; the same for a seed on every machine."""
        asked: dict[str, Any] = dict(
            num_hiddens=num_hiddens, num_heads=num_heads, key_size=key_size, query_size=query_size, value_size=value_size,
            output_size=output_size, num_kv_heads=num_kv_heads, head_dim=head_dim, bias=bias, norm_queries=norm_queries,
            norm_keys=norm_keys, norm_epsilon=norm_epsilon, rotary=rotary, dropout=dropout, isa=isa, weight_type=weight_type,
            arithmetic=arithmetic, weight_group=weight_group)
        config = _config(**asked)
        handle, error = ctypes.c_void_p(), new_error()
        require(library.attend_mha_make_random(ctypes.addressof(config), seed_number("seed", seed), None, 0, ctypes.byref(handle),
                                               ctypes.addressof(error)), error)
        layer = cls.__new__(cls)
        layer._own(handle.value, library.attend_mha_destroy, handle.value, (_of_seed, (dict(asked, seed=seed, defaults=defaults),)), rotary,
                   defaults)
        return layer

    _convention = ""

    @property
    def convention(self) -> str:
        """Whose names a loaded layer's file has: "torch", "Llama", ..; "" of other layers."""
        return self._convention

    _remarks: Sequence[str] = ()

    @property
    def remarks(self) -> list[str]:
        """What loading has to say: how a GGUF file's layer is rotated, that Llama's or Phi-3's weights were given no rotation."""
        return list(self._remarks)

    @property
    def defaults(self) -> dict[str, Any]:
        """Options of its calls, where these do not say otherwise."""
        return dict(self._defaults)

    @property
    def isa(self) -> str:
        """The instruction set that it is bound to."""
        return ISAS[self._made.isa]

    @property
    def weight_type(self) -> str:
        """How its matrices are stored."""
        return WEIGHT_TYPES[self._made.weight_type]

    @property
    def arithmetic(self) -> str:
        """What its projections compute with."""
        return ARITHMETICS[self._made.arithmetic]

    @property
    def num_heads(self) -> int:
        """H, the heads of its queries."""
        return int(self._made.num_heads)

    @property
    def num_kv_heads(self) -> int:
        """G, the heads of its keys and values."""
        return int(self._made.num_kv_heads or self._made.num_heads)

    @property
    def head_dim(self) -> int:
        """D, how wide a head is."""
        return int(self._made.head_dim or self._made.num_hiddens // self._made.num_heads)

    @property
    def num_hiddens(self) -> int:
        """E, the model width."""
        return int(self._made.num_hiddens)

    @property
    def query_size(self) -> int:
        """How wide queries are."""
        return int(self._made.query_size)

    @property
    def key_size(self) -> int:
        """How wide keys are."""
        return int(self._made.key_size)

    @property
    def value_size(self) -> int:
        """How wide values are."""
        return int(self._made.value_size)

    @property
    def output_size(self) -> int:
        """How wide the output is."""
        return self._output_size

    @property
    def bias(self) -> bool:
        """Whether it has biases."""
        return bool(self._made.bias)

    @property
    def dropout(self) -> float:
        """The share of attention weights that training drops."""
        return float(self._made.dropout)

    @property
    def rotary(self) -> Optional[RotaryEmbedding]:
        """What turns its queries and keys to their positions."""
        return self._rotary  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        words = [f"num_hiddens={self.num_hiddens}", f"num_heads={self.num_heads}"]
        usual = {"num_kv_heads": self.num_heads, "head_dim": self.num_hiddens // self.num_heads, "query_size": self.num_hiddens,
                 "key_size": self.query_size, "value_size": self.query_size, "output_size": self.num_hiddens, "bias": False, "dropout": 0.0,
                 "rotary": None, "weight_type": "float32", "arithmetic": "float32"}
        words += [f"{name}={getattr(self, name)!r}" for name, value in usual.items() if getattr(self, name) != value]
        words += [f"{name}=True" for name in ("norm_queries", "norm_keys") if getattr(self._made, name)]
        words += [f"defaults={sorted(self._defaults)}"] if self._defaults else []
        words += [f"convention={self.convention!r}"] if self.convention else []
        return f"attend.MultiHeadAttention({', '.join(words)}, isa={self.isa!r})"

    def __reduce__(self) -> Any:
        return self._recipe

    def __copy__(self) -> "MultiHeadAttention":
        return self  # it never changes

    def __deepcopy__(self, memo: Any) -> "MultiHeadAttention":
        return self

    @shows_options()
    def __call__(self, queries: Array, keys: Optional[Array] = None, values: Optional[Array] = None, valid_lens: Optional[Array] = None, *,
                 out: Optional[Array] = None, **options: Unpack[AttentionOptions]) -> Any:
        """Computes the layer: queries (B, L, query_size), keys (B, S, key_size), values (B, S, value_size) give (B, L, output_size).

        keys None: the queries; values None: the keys. valid_lens None, (B,) or (B, L): how many keys may be seen; a row that sees
        none gives the output's bias. The output goes to `out` where it is given. The options are those of attend.AttentionOptions.
        With attention_weights=True or lse=True the result is a tuple of the output and those, in this order.
        """
        frame = _forward.take()
        try:
            output, found, held = self._fill(frame, queries, keys, values, valid_lens, out, options)
            code = _run_forward(self._handle, frame.call, frame.error)
            if code != 0:
                frame.check(code)
            del held
        finally:
            _forward.give(frame)
        return together(output, found) if found else output

    def _fill(self, frame: Frame, queries: Any, keys: Any, values: Any, valid_lens: Any, out: Any, options: Mapping[str, Any]) -> Any:
        """Fills the frame of a call: gives its output, what else was asked for, and what has to live until it has ended."""
        keys = queries if keys is None else keys
        values = keys if values is None else values
        held = frame.fill(queries, keys, values, valid_lens)
        if out is None:
            out = new_array(queries, frame.sizes("queries")[:2] + (self._output_size,))
        held.append(frame.fill_one(4, out))
        if self._defaults:
            options = {**self._defaults, **options}
        found: list[Any] = []
        if options:
            found, also = frame.set_options(options, queries, self._new_sizes)
            held += also
        return out, found, held

    def _new_sizes(self, frame: Frame, name: str) -> tuple[int, ...]:
        queries, keys = frame.sizes("queries"), frame.sizes("keys")[1:2]
        heads = () if name == "average_weights" else (self.num_heads,)
        return queries[:1] + heads + queries[1:2] + (() if name == "lse" else keys)

    @shows_options()
    def bind(self, queries: Array, keys: Optional[Array] = None, values: Optional[Array] = None, valid_lens: Optional[Array] = None, *,
             out: Optional[Array] = None, **options: Unpack[AttentionOptions]) -> BoundCall:
        """Binds a call to its arrays: `layer.bind(x, out=y)()` is `layer(x, out=y)`, and costs less each time it is called.

        Arrays that had to be converted (of float16, say) are converted once, here.
        """
        frame = Frame(_forward)
        output, found, held = self._fill(frame, queries, keys, values, valid_lens, out, options)
        held += [self, queries, keys, values, valid_lens, output, found, options]
        return BoundCall(_run_forward, (self._handle, frame.call, frame.error), frame, together(output, found), held)

    def cache(self, capacity: Optional[int] = None, *, batch: int = 1, ring: bool = False, page_rows: Optional[int] = None,
              page_count: Optional[int] = None, pages: Optional[Array] = None, type: Optional[str] = None) -> KVCache:
        """Makes a cache of the layer's heads for forward_cached; the rest is as in attend.KVCache."""
        return KVCache(self.num_kv_heads, self.head_dim, capacity, batch=batch, ring=ring, page_rows=page_rows, page_count=page_count,
                       pages=pages, type=type)

    @shows_options("query_starts", "key_starts", "core_arithmetic")
    def forward_cached(self, queries: Array, cache: KVCache, keys: Optional[Array] = None, values: Optional[Array] = None,
                       new_counts: Optional[Array] = None, *, append: bool = True, out: Optional[Array] = None,
                       **options: Unpack[AttentionOptions]) -> Any:
        """Appends the projected keys and values to the cache, then attends to all that it holds.

        queries (B, L, query_size), keys (B, n, key_size), values (B, n, value_size) give (B, L, output_size); keys None: the
        queries; values None: the keys. new_counts None or (B,): how many of an entry's rows there are. With append=False, and
        without keys and values, the cache is only read, as in cross-attention to what `project` has left there. Options and results
        are those of a call. On an error the cache is as it was; without room it is a MemoryError.
        """
        frame = _cached.take()
        try:
            frame.struct.cache = cache_handle(cache)
            if append:
                keys = queries if keys is None else keys
                values = keys if values is None else values
            elif keys is not None or values is not None:
                raise ValueError(f"{'values' if keys is None else 'keys'}: are not appended with append=False")
            held = frame.fill(queries, keys, values, new_counts)
            of_queries = frame.sizes("queries")
            output = new_array(queries, of_queries[:2] + (self._output_size,)) if out is None else out
            held.append(frame.fill_one(4, output))
            found: list[Any] = []
            chosen: dict[str, Any] = {**self._defaults, **options}
            if chosen:
                found, also = frame.set_options(
                    chosen, queries,
                    lambda frame, name: self._new_sizes(frame, name)[:3 - (name == "average_weights")]
                    + (() if name == "lse" else (self._longest(frame, cache, new_counts),)))
                held += also
            frame.check(library.attend_mha_forward_cached(self._handle, frame.call, frame.error))
            del held
        finally:
            _cached.give(frame)
        return together(output, found)

    @staticmethod
    def _longest(frame: Frame, cache: KVCache, new_counts: Any) -> int:
        """The largest length of the cache after the call."""
        keys = frame.sizes("keys")
        if not keys:
            return int(cache.lengths.max())
        added = keys[1] if new_counts is None else numpy.asarray(new_counts)
        return int((cache.lengths + added).max())

    def project(self, keys: Array, cache: KVCache, values: Optional[Array] = None, counts: Optional[Array] = None, *,
                key_positions: Optional[Array] = None, threads: Any = None) -> None:
        """Appends projected keys and values to a cache, without queries: of an encoder's output, once.

        keys (B, n, key_size), values (B, n, value_size), None: the keys; counts None or (B,): how many of an entry's rows there are.
        """
        frame = _project.take()
        try:
            frame.struct.cache = cache_handle(cache)
            held = frame.fill(keys, keys if values is None else values, counts)
            also = frame.set_options({"key_positions": key_positions, "threads": threads}, keys, self._new_sizes)
            frame.check(library.attend_mha_project(self._handle, frame.call, frame.error))
            del held, also
        finally:
            _project.give(frame)


def _epsilon(norm_epsilon: Optional[float]) -> float:
    if norm_epsilon is None:
        return 0.0
    if number("norm_epsilon", norm_epsilon) == 0:
        raise ValueError("norm_epsilon: expected a number above 0, or None: 1e-6")
    return norm_epsilon


def _rotary_address(rotary: Any) -> Optional[int]:
    if rotary is None:
        return None
    if not isinstance(rotary, RotaryEmbedding):
        raise TypeError(f"rotary: expected an attend.RotaryEmbedding, got {type(rotary).__name__}")
    return rotary._frame.call


def _config(*, rotary: Any, dropout: Any, isa: Any, norm_epsilon: Any, weight_type: Any, arithmetic: Any, bias: Any = False,
            weight_group: Any, norm_queries: Any = False, norm_keys: Any = False, **sizes: Any) -> Any:
    """The attend_mha_config of Python's arguments; None: the default."""
    return Config(ctypes.sizeof(Config), rotary=_rotary_address(rotary), dropout=number("dropout", dropout), isa=isa_number(isa, "isa"),
                  norm_epsilon=_epsilon(norm_epsilon), bias=int(bool(bias)), norm_queries=int(norm_queries), norm_keys=int(norm_keys),
                  **precision(weight_type, arithmetic, weight_group),
                  **{name: 0 if size is None else integer(name, size) for name, size in sizes.items()})


def _of_weights(state: dict[str, Any]) -> MultiHeadAttention:
    return MultiHeadAttention(**state)


def _of_file(asked: dict[str, Any]) -> MultiHeadAttention:
    return MultiHeadAttention.from_safetensors(**asked)


def _of_seed(asked: dict[str, Any]) -> MultiHeadAttention:
    return MultiHeadAttention.random(**asked)


def _loaded_defaults(loaded: Any) -> dict[str, Any]:
    """What a loaded layer's calls take of the file: scale, sinks, T5's bias."""
    options: Any = Options(ctypes.sizeof(Options))
    error = new_error()
    require(library.attend_loaded_layer_get_options(loaded, ctypes.addressof(options), ctypes.addressof(error)), error)
    defaults: dict[str, Any] = {}
    if options.scale != 0:
        defaults["scale"] = options.scale
    if options.sinks.rank:
        defaults["sinks"] = _copy(options.sinks)
    if options.relative_position_bias:
        bias: Any = _BiasStruct.from_address(options.relative_position_bias)
        defaults["relative_position_bias"] = RelativePositionBias(
            _copy(bias.table), unidirectional=bool(bias.unidirectional), max_distance=bias.max_distance or None)
    return defaults


def _copy(view: Any) -> Any:
    """The floats of a view, which is contiguous, as numpy's."""
    sizes = tuple(view.sizes[:view.rank])
    count = int(numpy.prod(sizes))
    return numpy.array((ctypes.c_float * count).from_address(view.data), numpy.float32).reshape(sizes)
