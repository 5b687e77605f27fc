"""Layers of all kinds against numpy in float64; what they show; calls that are bound; copies and pickles."""
import copy
import os
import pickle

import attend
import numpy as np
import pytest
import reference
from reference import close, random

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "data", "minilm")


def weights(seed, E=12, key_size=None, value_size=None, H=3, G=None, D=4, Dv=None, output_size=None, bias=True):
    key_size, value_size, G, output_size = key_size or E, value_size or E, G or H, output_size or E
    sizes = {"query": (H * D, E), "key": (G * D, key_size), "value": (G * D, value_size), "output": (output_size, H * D)}
    found = {name: random(seed + n, *size) / 4 for n, (name, size) in enumerate(sizes.items())}
    if bias:
        found.update({name + "_bias": random(seed + 9 + n, size[0]) for n, (name, size) in enumerate(sizes.items())})
    return found


CASES = {
    "plain": dict(bias=False),
    "bias": {},
    "sizes": dict(key_size=7, value_size=9),
    "grouped": dict(H=6, G=2),
    "wide heads": dict(D=7),
    "output": dict(output_size=5),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_of_weights(name):
    given = weights(3, **CASES[name])
    heads = CASES[name].get("H", 3)
    layer = attend.MultiHeadAttention(**given, num_heads=heads)
    queries, keys, values = random(20, 2, 5, 12), random(21, 2, 7, given["key"].shape[1]), random(22, 2, 7, given["value"].shape[1])
    lengths = np.array([4, 7])
    visible = np.arange(7) < lengths[:, None, None, None]
    output, shown, lse = reference.layer(given, queries, keys, values, heads, visible=visible)
    found = layer(queries, keys, values, lengths, attention_weights=True, lse=True)
    for a, b in zip(found, (output, shown, lse)):
        close(a, b, 8e-6)
    mean = layer(queries, keys, values, lengths, attention_weights=True, average_weights=True)[1]
    close(mean, shown.mean(1), 8e-6)
    again = pickle.loads(pickle.dumps(layer))
    assert np.array_equal(again(queries, keys, values, lengths), found[0]) and repr(again) == repr(layer)


def test_weights_of_any_kind():
    given = weights(4)
    x = random(23, 2, 5, 12)
    expected = attend.MultiHeadAttention(**given, num_heads=3)(x)
    transposed = {name: np.asfortranarray(array) for name, array in given.items()}
    assert np.array_equal(attend.MultiHeadAttention(**transposed, num_heads=3)(x), expected)
    wide = {name: array.astype(np.float64) for name, array in given.items()}
    assert np.array_equal(attend.MultiHeadAttention(**wide, num_heads=3)(x), expected)


@pytest.mark.parametrize("weight_type,arithmetic,most", [
    ("bfloat16", None, 0.01), ("float16", None, 0.002), ("int8", None, 0.02), ("bfloat16", "bfloat16", 0.01), ("int8", "int8", 0.03),
    ("int4", None, 0.2), ("int4", "int8", 0.2)])
def test_low_precision(weight_type, arithmetic, most):
    given, x = weights(6), random(29, 2, 5, 12)
    expected = attend.MultiHeadAttention(**given, num_heads=3)(x)
    instructions = attend.product_instructions(weight_type, arithmetic or "float32")
    if instructions is None:
        with pytest.raises(RuntimeError, match="weight_type: this CPU or this build has no kernel"):
            attend.MultiHeadAttention(**given, num_heads=3, weight_type=weight_type, arithmetic=arithmetic)
        return
    layer = attend.MultiHeadAttention(**given, num_heads=3, weight_type=weight_type, arithmetic=arithmetic)
    found = layer(x)
    assert 0 < np.abs(found - expected).max() < most * np.abs(expected).max()
    assert (layer.weight_type, layer.arithmetic) == (weight_type, arithmetic or "float32") and f"weight_type='{weight_type}'" in repr(layer)
    assert np.array_equal(pickle.loads(pickle.dumps(layer))(x), found)


def test_low_precision_that_is_refused():
    for wrong, message in {"int3": "weight_type: expected one of float32, bfloat16, float16, int8, int4, got 'int3'",
                           "float16": "arithmetic: int8 takes weights of int8 or int4, but weight_type is float16"}.items():
        with pytest.raises(ValueError, match=message):
            attend.MultiHeadAttention.random(12, 3, weight_type=wrong, arithmetic="int8")
    with pytest.raises(TypeError, match="arithmetic: expected a name, got 8"):
        attend.MultiHeadAttention.random(12, 3, weight_type="int8", arithmetic=8)
    assert attend.product_instructions("float16", "int8") is None


def test_keys_and_values_default():
    layer = attend.MultiHeadAttention.random(12, 3, seed=2)
    x, y = random(24, 2, 5, 12), random(25, 2, 7, 12)
    assert np.array_equal(layer(x), layer(x, x, x))
    assert np.array_equal(layer(x, y), layer(x, y, y))


def test_norms_and_rotary():
    given = dict(weights(5), query_norm=random(26, 4), key_norm=random(27, 4))
    frequencies = attend.rotary_frequencies(4)
    rotary = attend.RotaryEmbedding(frequencies)
    layer = attend.MultiHeadAttention(**given, num_heads=3, rotary=rotary, norm_epsilon=1e-5)
    x = random(28, 2, 5, 12)

    def rotated(norm):
        def of(rows):
            rows = rows / np.sqrt((rows ** 2).mean(-1, keepdims=True) + 1e-5) * given[norm].astype(np.float64)
            return reference.rotate(rows, frequencies, np.arange(5))
        return of
    kinds = iter(("query_norm", "key_norm"))
    output = reference.layer(given, x, x, x, 3, rotate=lambda rows: rotated(next(kinds))(rows))[0]
    close(layer(x), output, 8e-6)
    moved = layer(x, query_positions=np.arange(5) + 3, key_positions=np.arange(5) + 3)
    close(moved, output, 2e-5)  # turned by the same angle
    assert "rotary" in repr(layer) and "norm_queries" in repr(layer) and layer.rotary is rotary
    assert np.array_equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_random_layers_are_the_same_for_a_seed():
    x = random(29, 1, 3, 12)
    make = lambda seed, **also: attend.MultiHeadAttention.random(12, 3, seed=seed, **also)
    assert np.array_equal(make(5)(x), make(5)(x)) and not np.array_equal(make(5)(x), make(6)(x))
    layer = make(5, num_kv_heads=1, head_dim=8, output_size=6, key_size=4, bias=True, dropout=0.25, isa="scalar")
    found = (layer.num_hiddens, layer.num_heads, layer.num_kv_heads, layer.head_dim, layer.query_size, layer.key_size, layer.value_size,
             layer.output_size, layer.bias, layer.dropout, layer.isa)
    assert found == (12, 3, 1, 8, 12, 4, 12, 6, True, 0.25, "scalar")
    assert repr(layer) == ("attend.MultiHeadAttention(num_hiddens=12, num_heads=3, num_kv_heads=1, head_dim=8, key_size=4, output_size=6, "
                           "bias=True, dropout=0.25, isa='scalar')")
    y = random(30, 1, 3, 4), random(31, 1, 3, 12)
    assert np.array_equal(pickle.loads(pickle.dumps(layer))(x, *y), layer(x, *y))


def test_defaults():
    x = random(32, 1, 5, 12)
    layer = attend.MultiHeadAttention.random(12, 3)
    causal = attend.MultiHeadAttention.random(12, 3, defaults={"causal": True})
    assert np.array_equal(causal(x), layer(x, causal=True))
    assert np.array_equal(causal(x, causal=False), layer(x))
    assert causal.defaults == {"causal": True} and "causal" in repr(causal)
    assert pickle.loads(pickle.dumps(causal)).defaults == {"causal": True}


@pytest.mark.skipif(not os.path.exists(DATA), reason="the files are not beside the tests")
def test_layers_of_files():
    layer = attend.MultiHeadAttention.from_safetensors(os.path.join(DATA, "layer.safetensors"), "encoder.layer.3.attention", 12)
    hidden, lengths = np.load(os.path.join(DATA, "hidden.npy")), np.load(os.path.join(DATA, "lengths.npy"))
    expected = np.load(os.path.join(DATA, "output.npy"))
    found = layer(hidden, valid_lens=lengths)
    for b, length in enumerate(lengths):
        close(found[b, :length], expected[b, :length], 1e-5)
    assert layer.convention == "BERT" and "BERT" in repr(layer)
    again = pickle.loads(pickle.dumps(layer))
    assert np.array_equal(again(hidden, valid_lens=lengths), found)
    stored = [attend.MultiHeadAttention.from_safetensors(os.path.join(DATA, "layer.safetensors"), "encoder.layer.3.attention", 12, weight_type=type)
              for type in ("file", "float16")]
    assert [one.weight_type for one in stored] == ["float16"] * 2
    for one in stored:
        assert np.array_equal(one(hidden, valid_lens=lengths), found)
    gguf = os.path.join(os.path.dirname(DATA), "gguf", "llama.gguf")
    x = random(37, 2, 5, 32)
    blocks = [attend.MultiHeadAttention.from_safetensors(gguf, "blk." + block, 0, unrotated=unrotated) for block in "14" for unrotated in (False, True)]
    assert np.array_equal(blocks[0](x), blocks[2](x)) and np.array_equal(blocks[1](x), blocks[3](x))
    assert not np.array_equal(blocks[0](x), blocks[1](x)) and blocks[0].convention == "GGUF"
    assert blocks[0].remarks == ["rotated by frequencies of base 500 over 8 elements of a head, as the file says"] and layer.remarks == []
    if attend.product_instructions("int4", "float32") is not None:
        packed = attend.MultiHeadAttention.from_safetensors(gguf, "blk.3", 0, weight_type="file")
        assert packed.weight_type == "int4"
        close(packed(x), blocks[0](x), 1e-5)
    with pytest.raises(ValueError, match="nothing"):
        attend.MultiHeadAttention.from_safetensors(os.path.join(DATA, "layer.safetensors"), "nothing", 12)


def test_groups_of_int4():
    if attend.product_instructions("int4", "float32") is None:
        pytest.skip("no kernel of int4 on this CPU")
    weights = {name: random(n, 64, 64) for n, name in enumerate(("query", "key", "value", "output"))}
    x, int4 = random(50, 2, 5, 64), dict(weight_type="int4")
    narrow, same, wide = (attend.MultiHeadAttention(**weights, num_heads=4, **int4, weight_group=group) for group in (None, 32, 64))
    assert np.array_equal(narrow(x), same(x)) and not np.array_equal(wide(x), narrow(x))
    assert np.array_equal(pickle.loads(pickle.dumps(wide))(x), wide(x))
    of_seed = attend.MultiHeadAttention.random(64, 4, **int4, weight_group=64)
    assert not np.array_equal(of_seed(x), attend.MultiHeadAttention.random(64, 4, **int4)(x))
    assert np.array_equal(pickle.loads(pickle.dumps(of_seed))(x), of_seed(x))
    of_file = [attend.MultiHeadAttention.from_safetensors(os.path.join(DATA, "layer.safetensors"), "encoder.layer.3.attention", 12, **int4,
                                                          weight_group=group) for group in (32, 64)]
    x = random(51, 1, 5, of_file[0].query_size)
    assert not np.array_equal(of_file[0](x), of_file[1](x)) and np.array_equal(pickle.loads(pickle.dumps(of_file[1]))(x), of_file[1](x))
    for wrong in (0, 48):
        with pytest.raises(ValueError, match="^weight_group: .*expected 32, 64 or 128"):
            attend.MultiHeadAttention(**weights, num_heads=4, **int4, weight_group=wrong)


def test_bound_calls():
    layer = attend.MultiHeadAttention.random(12, 3)
    x, memory, out = random(33, 2, 5, 12), random(34, 2, 7, 12), np.empty((2, 5, 12), np.float32)
    call = layer.bind(x, memory, valid_lens=np.array([3, 7]), out=out, causal=True, threads=2)
    assert call() is out and np.array_equal(out, layer(x, memory, valid_lens=np.array([3, 7]), causal=True))
    x[:] = random(35, 2, 5, 12)
    assert np.array_equal(call(), layer(x, memory, valid_lens=np.array([3, 7]), causal=True))
    output, weights = layer.bind(x, attention_weights=True)()
    assert weights.shape == (2, 3, 5, 5) and np.array_equal(output, layer(x))
    with pytest.raises(ValueError, match="queries"):
        layer.bind(x[..., :3])()
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(call)


def test_bound_calls_keep_what_they_use():
    call = attend.MultiHeadAttention.random(12, 3).bind(random(36, 2, 5, 12), valid_lens=np.array([3, 5], np.int32),
                                                        mask=np.ones((5, 5), bool), threads=attend.ThreadPool(2))
    noise = [random(n, 2, 5, 12) for n in range(50)]
    assert np.array_equal(call(), attend.MultiHeadAttention.random(12, 3)(random(36, 2, 5, 12), valid_lens=np.array([3, 5]))), len(noise)


def test_copies_are_the_layer():
    layer = attend.MultiHeadAttention.random(12, 3)
    assert copy.copy(layer) is layer and copy.deepcopy({"layer": layer})["layer"] is layer
