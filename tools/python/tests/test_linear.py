"""The linear layer against numpy in float64: weights, activations, precisions; what it shows, what it refuses; copies and pickles."""
import copy
import math
import pickle

import attend
import numpy as np
import pytest
from reference import close, random

ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def product(x, weight, bias=0):
    return np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T + bias


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(5, 12), (2, 5, 12), (1, 12), (0, 12)])
def test_activations(activation, sizes):
    weight, bias, x = random(1, 7, 12), random(2, 7), random(3, *sizes)
    layer = attend.Linear(weight, bias)
    expected = ACTIVATIONS[activation](product(x, weight, bias))
    found = layer(x, activation)
    close(found, expected)
    multiplier = random(4, *found.shape)
    close(layer(x, activation, multiplier=multiplier, threads=2), expected * multiplier)
    assert np.array_equal(layer(x, activation), found)  # neither stays for the next call
    close(attend.Linear(weight)(x), product(x, weight))


def test_outputs():
    weight, x, out = random(5, 7, 12), random(6, 2, 5, 12), np.empty((2, 5, 7), np.float32)
    layer = attend.Linear(weight)
    assert layer(x, out=out) is out
    assert np.array_equal(out, layer(x)) and np.array_equal(out[1], layer(x[1]))
    assert np.array_equal(layer(x.astype(np.float64)), out)
    for isa in attend.isa_names():
        if attend.isa_usable(isa):
            close(attend.Linear(weight, isa=isa)(x), product(x, weight))


def test_bound_calls():
    layer = attend.Linear(random(16, 7, 12), random(17, 7))
    x, multiplier, out = random(18, 2, 5, 12), random(19, 2, 5, 7), np.empty((2, 5, 7), np.float32)
    call = layer.bind(x, "silu", multiplier=multiplier, out=out, threads=attend.ThreadPool(2))
    assert isinstance(call, attend.BoundCall) and call() is out
    assert np.array_equal(out, layer(x, "silu", multiplier=multiplier))
    x[:], multiplier[:] = random(20, 2, 5, 12), random(21, 2, 5, 7)
    assert np.array_equal(call(), layer(x, "silu", multiplier=multiplier))
    plain, half = layer.bind(x), attend.Linear(random(16, 7, 12)).bind(x.astype(np.float16))  # which keeps its layer and what it converted
    assert np.array_equal(plain(), layer(x)) and plain() is not out
    assert np.array_equal(half(), attend.Linear(random(16, 7, 12))(x.astype(np.float16)))
    assert np.array_equal(call(), layer(x, "silu", multiplier=multiplier))  # a call between changes none
    with pytest.raises(ValueError, match="^input: "):
        layer.bind(x[..., :3])()
    with pytest.raises(ValueError, match="^out: "):
        layer.bind(x, out=x[..., :7])()


def test_weights_of_any_kind():
    weight, bias, x = random(7, 7, 12), random(8, 7), random(9, 5, 12)
    expected = attend.Linear(weight, bias)(x)
    assert np.array_equal(attend.Linear(np.asfortranarray(weight), bias.astype(np.float64))(x), expected)
    assert not np.array_equal(attend.Linear(weight)(x), expected)


@pytest.mark.parametrize("weight_type,arithmetic,most", [
    ("bfloat16", None, 0.01), ("float16", None, 0.002), ("int8", None, 0.02), ("bfloat16", "bfloat16", 0.01), ("int8", "int8", 0.03),
    ("int4", None, 0.2), ("int4", "int8", 0.2)])
def test_low_precision(weight_type, arithmetic, most):
    weight, bias, x = random(10, 40, 64), random(11, 40), random(12, 9, 64)
    expected = attend.Linear(weight, bias)
    if attend.product_instructions(weight_type, arithmetic or "float32") is None:
        with pytest.raises(RuntimeError, match="weight_type: this CPU or this build has no kernel"):
            attend.Linear(weight, bias, weight_type=weight_type, arithmetic=arithmetic)
        return
    layer = attend.Linear(weight, bias, weight_type=weight_type, arithmetic=arithmetic)
    assert 0 < np.abs(layer(x) - expected(x)).max() < most * np.abs(expected(x)).max()
    assert (layer.weight_type, layer.arithmetic) == (weight_type, arithmetic or "float32") and f"weight_type='{weight_type}'" in repr(layer)
    assert layer.packed_bytes < expected.packed_bytes
    assert np.array_equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    if weight_type == "int4":
        wide = attend.Linear(weight, bias, weight_type=weight_type, arithmetic=arithmetic, weight_group=64)
        assert not np.array_equal(wide(x), layer(x)) and wide.packed_bytes < layer.packed_bytes
        assert np.array_equal(pickle.loads(pickle.dumps(wide))(x), wide(x))


def test_what_it_shows():
    layer = attend.Linear(random(13, 7, 12), isa="scalar")
    assert (layer.inputs, layer.outputs, layer.isa, layer.weight_type, layer.arithmetic) == (12, 7, "scalar", "float32", "float32")
    assert repr(layer) == "attend.Linear(inputs=12, outputs=7, isa='scalar')"
    assert layer.packed_bytes >= 7 * 12 * 4
    assert copy.copy(layer) is layer and copy.deepcopy([layer])[0] is layer
    again, x = pickle.loads(pickle.dumps(layer)), random(14, 5, 12)
    assert np.array_equal(again(x), layer(x)) and repr(again) == repr(layer)


@pytest.mark.parametrize("make,error,message", [
    (lambda w: attend.Linear(w[0]), ValueError, r"weight: expected a matrix \(outputs, inputs\), got \(12,\)"),
    (lambda w: attend.Linear(None), ValueError, r"weight: expected a matrix \(outputs, inputs\), got None"),
    (lambda w: attend.Linear(w.tolist()), TypeError, "weight: expected an array"),
    (lambda w: attend.Linear(w, w[0]), ValueError, "bias: "),
    (lambda w: attend.Linear(w[:0]), ValueError, "outputs: "),
    (lambda w: attend.Linear(w, weight_type="int3"), ValueError, "weight_type: expected one of float32, bfloat16, float16, int8, int4, got 'int3'"),
    (lambda w: attend.Linear(w, arithmetic="int8"), ValueError, "arithmetic: int8 takes weights of int8 or int4"),
    (lambda w: attend.Linear(w, weight_type="int4", weight_group=0), ValueError, "weight_group: expected 32, 64 or 128"),
    (lambda w: attend.Linear(w, weight_type="int4", weight_group=48), ValueError, "weight_group: 48, expected 32, 64 or 128"),
    (lambda w: attend.Linear(w, isa="mmx"), ValueError, "isa: "),
    (lambda w: attend.Linear.from_torch(w), TypeError, "module: expected a torch.nn.Linear, got ndarray"),
    (lambda w: attend.Linear(w)(w[0]), ValueError, r"input: .* 1 axes, expected 2 or 3"),
    (lambda w: attend.Linear(w)(w[:, :5]), ValueError, "input: "),
    (lambda w: attend.Linear(w)(w, "tanh"), ValueError, "activation: expected one of relu, gelu, gelu_tanh, silu, got 'tanh'"),
    (lambda w: attend.Linear(w)(w, 1), TypeError, "activation: expected a name, got 1"),
    (lambda w: attend.Linear(w)(w, multiplier=w), ValueError, "multiplier: "),
    (lambda w: attend.Linear(w)(w, out=w), ValueError, "out: "),
    (lambda w: attend.Linear(w)(w, out=np.empty((7, 7))), TypeError, "out: expected float32"),
    (lambda w: attend.Linear(w)(w, threads=0), ValueError, "threads: expected 1 to 256, got 0"),
])
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match="^" + message):
        make(random(15, 7, 12))


def test_torch():
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 5, 12)
    for bias in (True, False):
        module = torch.nn.Linear(12, 7, bias=bias)
        found = attend.Linear.from_torch(module)(x, "gelu")
        assert isinstance(found, torch.Tensor)
        close(found, torch.nn.functional.gelu(module(x)).detach())
    with pytest.raises(ValueError, match="module: its weights have no sizes yet"):
        attend.Linear.from_torch(torch.nn.LazyLinear(7))
