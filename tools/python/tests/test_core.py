"""attention, DotProductAttention and every option against numpy in float64."""
import attend
import numpy as np
import pytest
import reference
from reference import close, random

B, H, G, L, S, D, DV = 2, 4, 2, 5, 7, 12, 9
q, k, v = random(0, B, H, L, D), random(1, B, G, S, D), random(2, B, G, S, DV)
i, j = np.arange(L)[:, None], np.arange(S)
rng = np.random.default_rng(3)
MASK, PADDING, ADDED = rng.random((B, 1, L, S)) < 0.6, rng.random((B, S)) < 0.7, random(4, H, 1, S)
SLOPES, SINKS = random(5, H) ** 2, random(6, H)


def entry(values):
    return np.array(values)[:, None, None, None]


CASES = {
    "none": ({}, {}),
    "scale": (dict(scale=-0.3), dict(scale=-0.3)),
    "softcap": (dict(softcap=2.0), dict(softcap=2.0)),
    "causal": (dict(causal=True), dict(visible=j <= i)),
    "offset": (dict(causal=True, offset=2), dict(visible=j <= i + 2)),
    "offsets": (dict(causal=True, offsets=np.array([1, 2])), dict(visible=j <= i + entry([1, 2]))),
    "window_left": (dict(window_left=1, offset=1), dict(visible=j >= i + 1 - 1)),
    "window_left 0": (dict(window_left=0, window_right=0), dict(visible=j == i)),
    "window_right": (dict(window_right=2), dict(visible=j <= i + 2)),
    "windows": (dict(window_left=2, window_right=1), dict(visible=(j <= i + 1) & (j >= i - 2))),
    "mask": (dict(mask=MASK), dict(visible=MASK)),
    "mask of uint8": (dict(mask=MASK.astype(np.uint8) * 7), dict(visible=MASK)),
    "key_padding_mask": (dict(key_padding_mask=PADDING), dict(visible=PADDING[:, None, None])),
    "mask_hides": (dict(mask=MASK, key_padding_mask=PADDING, mask_hides=True), dict(visible=~MASK & ~PADDING[:, None, None])),
    "valid_starts": (dict(valid_starts=np.array([2, 0])), dict(visible=j >= entry([2, 0]))),
    "additive_mask": (dict(additive_mask=ADDED), dict(added=ADDED)),
    "alibi_slopes": (dict(alibi_slopes=SLOPES), dict(added=-SLOPES[:, None, None] * np.abs(i - j))),
    "sinks": (dict(sinks=SINKS), dict(sinks=SINKS)),
    "tree_parents": (dict(tree_parents=np.array([-1, 0, 0, 1, 2]), offset=2), dict(visible=np.array(
        [[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 1, 0, 1]], bool))),
    "threads": (dict(threads=2), {}),
    "numbers of numpy": (dict(causal=np.True_, offset=np.int32(1), threads=np.int64(2), scale=np.float32(0.5)), dict(visible=j <= i + 1, scale=0.5)),
    "isa": (dict(isa="scalar"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_options(name):
    options, expected = CASES[name]
    output, weights, lse = reference.attention(q, k, v, **expected)
    found = attend.attention(q, k, v, attention_weights=True, lse=True, **options)
    close(found[0], output)
    close(found[1], weights)
    close(found[2], lse)
    close(attend.attention(q, k, v, **options), output)


def test_lengths():
    lengths = np.array([3, 9])
    output, _, _ = reference.attention(q, k, v, visible=j < entry(lengths))
    for given in (lengths, lengths.astype(np.int32), lengths.astype(np.uint8), lengths[:, None].repeat(L, 1)):
        close(attend.attention(q, k, v, given), output)


def test_empty_rows():
    lengths = np.array([0, 7])
    assert not attend.attention(q, k, v, lengths)[0].any()
    close(attend.attention(q, k, v, lengths, empty_rows="uniform")[0], np.repeat(v[0].mean(1, keepdims=True), L, 1).repeat(2, 0))


def test_results_go_where_they_are_to_go():
    out, weights, lse = np.empty((B, H, L, DV), "f"), np.empty((B, H, L, S), "f"), np.empty((B, H, L), "f")
    assert attend.attention(q, k, v, out=out, attention_weights=weights, lse=lse) is out
    expected = reference.attention(q, k, v)
    for found, of in zip((out, weights, lse), expected):
        close(found, of)
    assert len(attend.attention(q, k, v, lse=True)) == 2
    mean = attend.attention(q, k, v, attention_weights=True, average_weights=True)[1]
    close(mean, expected[1].mean(1))
    for absent in (False, None):
        assert attend.attention(q, k, v, attention_weights=absent, lse=absent).shape == out.shape


def test_relative_position_bias():
    table = random(7, 8, H)
    bias = attend.RelativePositionBias(table, max_distance=20)
    distance = j - i  # T5's buckets: a half for keys after; of each, 2 exact ones, then logarithmic ones
    exact, far = np.abs(distance), np.maximum(np.abs(distance), 1)
    beyond = np.minimum(2 + np.floor(np.log(far / 2) / np.log(20 / 2) * 2 + 1e-9).astype(int), 3)
    bucket = np.where(exact < 2, exact, beyond) + 4 * (distance > 0)
    close(attend.attention(q, k, v, relative_position_bias=bias), reference.attention(q, k, v, added=table[bucket].transpose(2, 0, 1))[0])
    one_sided = attend.RelativePositionBias(table, unidirectional=True)
    assert not np.array_equal(attend.attention(q, k, v, relative_position_bias=one_sided),
                              attend.attention(q, k, v, relative_position_bias=bias))
    assert "(8, 4)" in repr(bias)


def test_packed_sequences():
    starts = np.array([0, 2, 5], np.int64), np.array([0, 4, 7], np.int64)
    one = [array[:1] for array in (q, k, v)]
    packed, lse = attend.attention(*one, query_starts=starts[0], key_starts=starts[1], causal=True, lse=True)
    assert lse.shape == (1, H, L)
    for b in range(2):
        rows, keys = slice(*starts[0][b:b + 2]), slice(*starts[1][b:b + 2])
        alone = attend.attention(one[0][:, :, rows], one[1][:, :, keys], one[2][:, :, keys], causal=True)
        assert np.array_equal(packed[:, :, rows], alone)


def test_dropout_acts_in_training():
    dropping = attend.DotProductAttention(0.5)
    x = random(8, B, S, D)
    plain, trained = dropping(x, x, x), dropping(x, x, x, training=True, dropout_seed=7)
    assert not np.allclose(plain, trained)
    assert np.array_equal(trained, dropping(x, x, x, training=True, dropout_seed=7))
    assert not np.allclose(trained, dropping(x, x, x, training=True, dropout_seed=8))


def test_dot_product_attention():
    queries, keys, values = random(9, B, L, D), random(10, B, S, D), random(11, B, S, DV)
    lengths = np.array([2, 0])
    output, weights, _ = reference.attention(queries[:, None], keys[:, None], values[:, None], visible=j < entry([2, 7]))
    output[1], weights[1] = values[1].mean(0), 1 / S
    found, shown, lse = attend.DotProductAttention()(queries, keys, values, lengths, attention_weights=True, lse=True)
    close(found, output[:, 0])
    close(shown, weights[:, 0])
    assert lse.shape == (B, L)
    out = np.empty_like(found)
    assert attend.DotProductAttention()(queries, keys, values, lengths, out=out) is out and np.array_equal(out, found)
    with pytest.raises(ValueError, match="empty_rows"):
        attend.DotProductAttention()(queries, keys, values, empty_rows="uniform")


def test_every_isa_agrees():
    expected = reference.attention(q, k, v)[0]
    for isa in attend.isa_names():
        if attend.isa_usable(isa):
            close(attend.attention(q, k, v, isa=isa), expected)
        else:
            with pytest.raises(RuntimeError, match="isa"):
                attend.attention(q, k, v, isa=isa)
    assert attend.best_isa() in attend.isa_names() and attend.isa_compiled("scalar") and attend.isa_usable("best")
