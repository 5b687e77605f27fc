"""What may be an array, what is converted, and what is refused and how."""
import attend
import numpy as np
import pytest
from reference import random

layer = attend.MultiHeadAttention.random(12, 3, seed=1)
x = random(0, 2, 6, 12)
y = layer(x)


def test_any_strides_are_read_where_they_are():
    wide = np.zeros((2, 6, 3, 12), np.float32)
    wide[:, :, 1] = x
    assert np.array_equal(layer(wide[:, :, 1]), y)
    assert np.array_equal(layer(np.asfortranarray(x)), y)
    assert np.array_equal(layer(np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)), y)
    one = np.broadcast_to(x[:1], x.shape)
    assert np.array_equal(layer(one)[1], y[0])
    assert np.array_equal(layer(x[:1][::-1]), y[:1])  # an axis of size 1 has no direction


def test_any_strides_are_written():
    wide = np.full((2, 6, 3, 12), 7, np.float32)
    assert layer(x, out=wide[:, :, 1]) is not None
    assert np.array_equal(wide[:, :, 1], y) and (wide[:, :, 0] == 7).all() and (wide[:, :, 2] == 7).all()


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_floats_are_converted(kind):
    converted = x.astype(kind)
    assert np.array_equal(layer(converted), layer(converted.astype(np.float32)))
    assert layer(converted).dtype == np.float32


def test_integers_are_converted():
    expected = layer(x, valid_lens=np.array([3, 5]))
    for kind in ("int8", "uint8", "int16", "int32", "uint32"):
        assert np.array_equal(layer(x, valid_lens=np.array([3, 5], kind)), expected)


def test_empty_arrays():
    assert layer(x[:0]).shape == (0, 6, 12)
    assert layer(x[:, :0], x).shape == (2, 0, 12)


class Interface:
    """An array by __array_interface__ alone."""

    def __init__(self, array):
        self.__array_interface__, self.array = array.__array_interface__, array


class DLPack:
    """An array by __dlpack__ alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **version):
        return self.array.__dlpack__(**version)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OldDLPack(DLPack):
    """The same as it was before version 1."""

    def __dlpack__(self):
        return self.array.__dlpack__()


@pytest.mark.parametrize("wrapper", [Interface, DLPack, OldDLPack])
def test_other_arrays(wrapper):
    assert np.array_equal(layer(wrapper(x), valid_lens=wrapper(np.array([6, 6]))), y)
    assert np.array_equal(layer(wrapper(x.astype(np.float64))), y)
    assert np.array_equal(layer(wrapper(x.transpose(1, 0, 2))), layer(x.transpose(1, 0, 2)))
    out = np.empty_like(y)
    layer(x, out=wrapper(out))
    assert np.array_equal(out, y)


def unaligned():
    memory = np.zeros(x.nbytes + 1, np.uint8)
    array = memory[1:].view(np.float32).reshape(x.shape)
    array[:] = x
    return array


def read_only():
    array = np.empty_like(y)
    array.flags.writeable = False
    return array


swapped = np.dtype(np.float32).newbyteorder("S")
lengths = np.array([3, 5])
REFUSED = {
    "negative strides": (lambda: layer(x[:, ::-1]), ValueError, r"queries: .*negative stride; queries.copy\(\)"),
    "unaligned": (lambda: layer(x, unaligned()), ValueError, r"keys: .*aligned; keys.copy\(\)"),
    "byte-swapped": (lambda: layer(x, x, x.astype(swapped)), ValueError, r"values: .*swapped; values.astype"),
    "read-only output": (lambda: layer(x, out=read_only()), ValueError, "out: .*read-only"),
    "read-only output by DLPack": (lambda: layer(x, out=DLPack(read_only())), ValueError, "out: .*(read|writ)"),
    "five axes by DLPack": (lambda: layer(DLPack(x[None, None])), ValueError, "queries: expected 1 to 4 axes"),
    "output of float64 by DLPack": (lambda: layer(x, out=DLPack(np.empty(y.shape))), TypeError, "out: expected float32"),
    "complex by DLPack": (lambda: layer(DLPack(x.astype(complex))), TypeError, "queries: expected float32"),
    "output of float64": (lambda: layer(x, out=np.empty(y.shape)), TypeError, "out: expected float32"),
    "list": (lambda: layer(x, valid_lens=[3, 5]), TypeError, r"valid_lens: .*got list; numpy.asarray\(valid_lens\)"),
    "text": (lambda: layer("x"), TypeError, "queries: expected an array.*got str"),
    "none": (lambda: layer(None), ValueError, "queries"),
    "integers for floats": (lambda: layer(lengths), TypeError, "queries: expected float32.*got int64"),
    "floats for integers": (lambda: layer(x, valid_lens=x), TypeError, "valid_lens: expected int64.*got float32"),
    "uint64": (lambda: layer(x, valid_lens=lengths.astype(np.uint64)), TypeError, "valid_lens: .*uint64"),
    "bools for integers": (lambda: layer(x, valid_lens=lengths > 0), TypeError, "valid_lens"),
    "a mask of integers": (lambda: layer(x, mask=np.ones((6, 6), int)), TypeError, "mask: expected bool or uint8, got int64; mask != 0"),
    "a mask of floats": (lambda: layer(x, mask=np.ones((6, 6), "f")), TypeError, "mask: "),
    "complex": (lambda: layer(x.astype(complex)), TypeError, "queries: .*complex128"),
    "objects": (lambda: layer(x.astype(object)), TypeError, "queries: .*object"),
    "no axes": (lambda: layer(np.float32(1) * np.ones((), "f")), (ValueError, TypeError), "queries"),
    "five axes": (lambda: layer(x[None, None]), ValueError, "queries: expected 1 to 4 axes, got 5"),
    "width": (lambda: layer(x[..., :5]), ValueError, "queries: shape"),
    "output's shape": (lambda: layer(x, out=y[:1]), ValueError, "out: shape"),
    "overlap": (lambda: layer(x, out=x), ValueError, "out"),
    "lengths' shape": (lambda: layer(x, valid_lens=np.array([1, 2, 3])), ValueError, "valid_lens"),
    "negative length": (lambda: layer(x, valid_lens=np.array([1, -2])), ValueError, "valid_lens: .*-2"),
    "mask's shape": (lambda: layer(x, mask=np.ones((5, 5), bool)), ValueError, "mask: shape"),
    "weights' shape": (lambda: layer(x, attention_weights=np.ones((2, 3), "f")), ValueError, "attention_weights"),
    "scale 0": (lambda: layer(x, scale=0), ValueError, "scale: 0"),
    "scale text": (lambda: layer(x, scale="1"), (TypeError, ValueError), "scale"),
    "softcap": (lambda: layer(x, softcap=-1), ValueError, "softcap"),
    "window": (lambda: layer(x, window_left=-1), ValueError, "window_left: expected 0 or more, or None"),
    "window text": (lambda: layer(x, window_right="2"), TypeError, "window_right: expected an int"),
    "flag": (lambda: layer(x, causal="yes"), TypeError, "causal: expected True or False"),
    "empty_rows": (lambda: layer(x, empty_rows="none"), ValueError, "empty_rows: expected 'zero' or 'uniform'"),
    "isa": (lambda: layer(x, isa="sse"), ValueError, "isa: expected one of"),
    "threads": (lambda: layer(x, threads=0), ValueError, "threads: expected 1 to 256"),
    "threads text": (lambda: layer(x, threads="2"), TypeError, "threads: expected a count"),
    "seed": (lambda: layer(x, dropout_seed=-1), ValueError, "dropout_seed"),
    "unknown": (lambda: layer(x, banana=True), TypeError, "banana: no such option; there are scale, softcap, causal"),
    "PyTorch's name": (lambda: layer(x, is_causal=True), TypeError, "is_causal: no such option; PyTorch's is_causal is causal"),
    "misspelt": (lambda: layer(x, additive_masks=x), TypeError, "additive_masks: no such option; additive_mask is one"),
    "floats that hide": (lambda: layer(x, mask=np.zeros((4, 4), "f")), TypeError, "mask: expected bool or uint8, got float32; floats are added to the scores: additive_mask takes them"),
    "bools that are added": (lambda: layer(x, additive_mask=np.ones((4, 4), bool)), TypeError, "additive_mask: expected float32 .*got bool; bools hide keys: mask takes them"),
    "bias": (lambda: layer(x, relative_position_bias=x), TypeError, "relative_position_bias"),
    "bias of heads": (lambda: layer(x, relative_position_bias=attend.RelativePositionBias(random(1, 8, 4))), ValueError,
                      "relative_position_bias"),
    "another option": (lambda: attend.attention(x[None], x[None], x[None], query_positions=lengths), ValueError, "query_positions"),
    "heads": (lambda: attend.MultiHeadAttention.random(12, 5), ValueError, "num_heads"),
    "no layer of weights": (lambda: attend.MultiHeadAttention(query=x, key=x, value=x, output=x, num_heads=2), ValueError,
                            "query: expected a matrix"),
    "a weight": (lambda: attend.MultiHeadAttention(query=x[0, :4, :6], key=x[0, :4, :6], value=x[0, :3, :6], output=x[0, :4, :4], num_heads=2),
                 ValueError, "value: shape"),
    "no weight": (lambda: attend.MultiHeadAttention(query=None, key=x, value=x, output=x, num_heads=2), ValueError, "query: expected a matrix"),
    "a rotary embedding of nothing": (lambda: attend.RotaryEmbedding(), ValueError, "inverse_frequencies: expected either"),
    "a pool": (lambda: attend.ThreadPool("2"), TypeError, "count: expected an int"),
    "a prefix": (lambda: attend.MultiHeadAttention.from_safetensors(__file__, 3, 2), TypeError, "prefix: expected a str"),
    "no module": (lambda: attend.MultiHeadAttention.from_torch(3), TypeError, "module: expected"),
    "no file": (lambda: attend.MultiHeadAttention.from_safetensors("nowhere.safetensors", "", 2), FileNotFoundError, "nowhere.safetensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    call, kind, message = REFUSED[name]
    with pytest.raises(kind, match="^" + message if not message.startswith("nowhere") else message):
        call()
    assert np.array_equal(layer(x), y)  # nothing of it is left


def test_outputs_are_untouched_by_errors():
    out = np.full(y.shape, 3, np.float32)
    with pytest.raises(ValueError):
        layer(x, x[..., :4], out=out)
    assert (out == 3).all()
