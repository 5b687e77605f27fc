"""Whole models: sentences to vectors."""
from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any, Iterable, Optional, Union

import numpy

from ._arrays import Array
from ._calls import OUTPUT, Call
from ._isa import isa_number
from ._library import library, new_error, require
from ._scalars import integer, text as utf8
from ._structs import EncoderSizes, Threads, View, structure
from .threads import ThreadPool, threads_of

__all__ = ["SentenceEncoder"]

_vectors = Call(structure("Vectors", ("output", View)), [("output", OUTPUT)], None, {"output": "out"})
_TEXTS_OF_A_CALL = 256  # between two of which an interrupt comes through, and other threads that use the encoder


class SentenceEncoder:
    """A BERT model whose token vectors are averaged, as all-MiniLM-L6-v2 is: it turns texts into vectors of length 1.

        encoder = attend.models.SentenceEncoder("build/models/all-MiniLM-L6-v2")     # where make model puts it
        vectors = encoder.encode(["a sentence", "another one"])                      # (2, 384)
        vectors @ encoder.encode("a question")                                       # how much each has in common with it

    The folder has config.json, model.safetensors, and vocab.txt or tokenizer.json. `precision` is "float32", or "bfloat16", "int8" or
    "int4": what matrices are stored as and multiplied in, or with "-weights" behind it ("bfloat16-weights", "float16-weights",
    "int8-weights", "int4-weights") stored as alone. `threads`, a count or an attend.ThreadPool, load the model and compute its calls. Any number of
    threads may call an encoder: they take turns. Its pickle is what was asked for here: it reads the folder again.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"], precision: str = "float32", *, threads: Union[int, ThreadPool, None] = None,
                 isa: Union[str, None] = None) -> None:
        self._path, self._precision, self._threads, self._isa = os.fsdecode(path), precision, threads, isa
        os.stat(path)  # FileNotFoundError, which callers expect
        handle, sizes, error, on = ctypes.c_void_p(), EncoderSizes(), new_error(), self._threads_now()
        require(library.attend_python_encoder_make(
            os.fsencode(self._path), utf8("precision", precision), isa_number(isa, "isa"), ctypes.addressof(on), ctypes.byref(handle),
            ctypes.addressof(sizes), ctypes.addressof(error)), error)
        self._handle, self._sizes = handle.value, sizes
        self._end = weakref.finalize(self, library.attend_python_encoder_destroy, self._handle)
        self._end.atexit = False
        self._lock = threading.Lock()
        _encoders.add(self)

    def _threads_now(self) -> Any:
        return Threads() if self._threads is None else threads_of("threads", self._threads)

    @property
    def path(self) -> str:
        """The model's folder."""
        return self._path

    @property
    def precision(self) -> str:
        """What its matrices are stored as and multiplied in."""
        return self._precision

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self._sizes.width)

    @property
    def num_layers(self) -> int:
        """How many layers it has."""
        return int(self._sizes.layers)

    @property
    def num_heads(self) -> int:
        """How many heads a layer has."""
        return int(self._sizes.heads)

    @property
    def most_tokens(self) -> int:
        """How many tokens of a text count, [CLS] and [SEP] among them: what is beyond is cut."""
        return int(self._sizes.most_tokens)

    def token_ids(self, text: str) -> list[int]:
        """The ids of a text's tokens, from [CLS] to [SEP]."""
        return list(self._ids(text))

    def tokenize(self, text: str) -> list[str]:
        """The text's tokens, from [CLS] to [SEP]; what continues a word begins with ##."""
        size, tokens = ctypes.c_size_t(), []
        for token_id in self._ids(text):
            start = library.attend_python_encoder_token(self._handle, token_id, ctypes.byref(size))
            tokens.append(ctypes.string_at(start, size.value).decode("utf-8", "replace"))
        return tokens

    def _ids(self, text: Any) -> Any:
        encoded = utf8("text", text)
        ids, count, error = (ctypes.c_int32 * self.most_tokens)(), ctypes.c_size_t(), new_error()
        require(library.attend_python_encoder_ids(self._handle, encoded, len(encoded), ids, ctypes.byref(count), ctypes.addressof(error)),
                error)
        return (ctypes.c_int32 * count.value).from_buffer(ids)

    def encode(self, texts: Union[str, Iterable[str]], *, out: Optional[Array] = None) -> Any:
        """The vectors of texts, float32 (n, width); of a single str its vector, (width,).

        A text's vector has the same bits whatever stands beside it. The end of a text that has more than most_tokens is left out. The
        vectors go to `out` where it is given, whose rows lie one after the other in memory.
        """
        if isinstance(texts, str):
            return self._encode([utf8("texts", texts)], (self.width,), out)
        if isinstance(texts, (bytes, bytearray)) or not hasattr(texts, "__iter__"):
            raise TypeError(f"texts: expected a str or a list of str, got {type(texts).__name__}")
        encoded = [utf8(f"texts[{n}]", text) for n, text in enumerate(texts)]
        return self._encode(encoded, (len(encoded), self.width), out)

    def _encode(self, encoded: list[bytes], sizes: tuple[int, ...], out: Any) -> Any:
        """The vectors of texts in UTF-8, as an array of these sizes."""
        vectors = numpy.empty(sizes, numpy.float32) if out is None else out
        on, error, frame = self._threads_now(), new_error(), _vectors.take()
        try:
            held = frame.fill(vectors)
            if frame.sizes("output") != sizes:
                raise ValueError(f"out: expected shape {sizes}, got {frame.sizes('output') or None}")
            if not frame.is_contiguous("output"):
                raise ValueError("out: its rows do not lie one after the other in memory")
            for first in range(0, len(encoded), _TEXTS_OF_A_CALL):
                some = encoded[first:first + _TEXTS_OF_A_CALL]
                with self._lock:
                    code = library.attend_python_encoder_encode(
                        self._handle, (ctypes.c_char_p * len(some))(*some), (ctypes.c_size_t * len(some))(*map(len, some)), len(some),
                        frame.struct.output.data + 4 * self.width * first, ctypes.addressof(on), ctypes.addressof(error))
                require(code, error)
            del held
        finally:
            _vectors.give(frame)
        return vectors

    def attention_weights(self, text: str, layer: int) -> Any:
        """How much each token of a text attends to each in a layer, from 0 on: (num_heads, n, n), n as in tokenize(text)."""
        ids, layer = self._ids(text), integer("layer", layer)
        if not 0 <= layer < self.num_layers:
            raise IndexError(f"layer: expected 0 to {self.num_layers - 1}, got {layer}")
        weights = numpy.empty((self.num_heads, len(ids), len(ids)), numpy.float32)
        on, error = self._threads_now(), new_error()
        with self._lock:
            code = library.attend_python_encoder_attention_weights(self._handle, ids, len(ids), layer, weights.ctypes.data,
                                                                   ctypes.addressof(on), ctypes.addressof(error))
        require(code, error)
        return weights

    def __repr__(self) -> str:
        return (f"attend.models.SentenceEncoder({self.path!r}, {self.precision!r})"
                f"  # {self.num_layers} layers, {self.width} wide, {self.num_heads} heads")

    def __reduce__(self) -> Any:
        return _made_again, (self._path, self._precision, self._threads, self._isa)

    def __copy__(self) -> "SentenceEncoder":
        return self  # it never changes

    def __deepcopy__(self, memo: Any) -> "SentenceEncoder":
        return self


def _made_again(path: Any, precision: Any, threads: Any, isa: Any) -> SentenceEncoder:
    return SentenceEncoder(path, precision, threads=threads, isa=isa)


_encoders: "weakref.WeakSet[SentenceEncoder]" = weakref.WeakSet()


def _anew_after_fork() -> None:
    """No thread of the parent is left that would let its encoder go."""
    for encoder in _encoders:
        encoder._lock = threading.Lock()


os.register_at_fork(after_in_child=_anew_after_fork)
