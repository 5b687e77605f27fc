"""Caches, and attention and layers over them, against the same without a cache."""
import attend
import numpy as np
import pytest
from reference import close, random

B, H, G, D, DV, N = 2, 4, 2, 8, 6, 9
q, k, v = random(0, B, H, N, D), random(1, B, G, N, D), random(2, B, G, N, DV)


def filled(**kind):
    cache = attend.KVCache(G, D, batch=B, value_dim=DV, **{"capacity": 16, **kind})
    cache.append(k[:, :, :5], v[:, :, :5])
    cache.append(k[:, :, 5:], v[:, :, 5:], threads=2)
    return cache


def test_what_a_cache_holds():
    cache = filled()
    assert cache.lengths.tolist() == [N, N] and cache.first() == 0
    assert np.array_equal(cache.key(1, 0, 6), k[1, 0, 6]) and np.array_equal(cache.value(0, 1, 2), v[0, 1, 2])
    cache.truncate(1, 4)
    assert cache.length(1) == 4 and cache.length(0) == N
    for row in ((1, 0, 6), (5, 0, 0), (0, 7, 0)):
        with pytest.raises(IndexError):
            cache.key(*row)
    cache.clear()
    assert not cache.lengths.any()
    assert (cache.batch, cache.num_kv_heads, cache.head_dim, cache.value_dim, cache.capacity) == (B, G, D, DV, 16)
    assert repr(cache) == "attend.KVCache(2, 8, 16, batch=2, value_dim=6)  # lengths 0, 0"


def pages():
    return np.array([[3, 1, 0], [2, 5, 4]], np.int64)


@pytest.mark.parametrize("kind", [{}, {"ring": True}, {"capacity": None, "page_rows": 4, "page_count": 6, "pages": pages()}])
def test_attention_over_a_cache(kind):
    cache = filled(**kind)
    whole = attend.attention(q, k, v, causal=True)
    assert np.array_equal(attend.attention_cached(q, cache, causal=True), whole)
    last, weights, lse = attend.attention_cached(q[:, :, -1:], cache, attention_weights=True, lse=True)
    close(last, whole[:, :, -1:])
    assert weights.shape == (B, H, 1, N) and lse.shape == (B, H, 1)
    out = np.empty_like(last)
    assert attend.attention_cached(q[:, :, -1:], cache, out=out) is out and np.array_equal(out, last)
    counts = np.array([1, 0], np.int32)
    assert not attend.attention_cached(q[:, :, -1:], cache, counts)[1].any()


@pytest.mark.parametrize("type,most", [("bfloat16", 0.02), ("float16", 0.002), ("int8", 0.03)])
def test_caches_of_low_precision(type, most):
    if attend.product_instructions(type, "float32") is None:
        pytest.skip("this build has no low precision")
    cache = filled(type=type)
    assert cache.type == type and f"type='{type}'" in repr(cache)
    found, whole = attend.attention_cached(q, cache, causal=True), attend.attention(q, k, v, causal=True)
    assert 0 < np.abs(found - whole).max() < most * np.abs(whole).max()
    with pytest.raises(TypeError, match=f"the cache's are {type}"):
        cache.key(0, 0, 0)
    with pytest.raises(ValueError, match="type: expected one of float32, bfloat16, float16, int8, got 'int4'"):
        filled(type="int4")


def test_rings_forget():
    cache = attend.KVCache(G, D, 4, batch=B, value_dim=DV, ring=True)
    cache.append(k, v)
    assert cache.first(1) == N - 4 and cache.length(1) == N and cache.ring
    expected = attend.attention(q[:, :, -1:], k[:, :, -4:], v[:, :, -4:])
    close(attend.attention_cached(q[:, :, -1:], cache), expected)


def test_full_caches():
    cache = attend.KVCache(G, D, 5, batch=B, value_dim=DV)
    with pytest.raises(MemoryError):
        cache.append(k, v)
    assert not cache.lengths.any()
    cache.append(k, v, np.array([5, 2]))
    assert cache.lengths.tolist() == [5, 2]
    for wrong in (dict(capacity=0), dict(capacity=3, ring=True, page_rows=2), dict(capacity=3, batch=0)):
        with pytest.raises(ValueError):
            attend.KVCache(G, D, **wrong)
    with pytest.raises(TypeError, match="pages"):
        attend.KVCache(G, D, page_rows=4, page_count=6, pages=pages().astype(np.int32))
    with pytest.raises(TypeError, match="cache: expected an attend.KVCache"):
        attend.attention_cached(q, k)
    with pytest.raises(IndexError):
        cache.length(2)


@pytest.mark.parametrize("rotary", [None, attend.RotaryEmbedding(attend.rotary_frequencies(8))])
def test_layers_over_a_cache(rotary):
    layer = attend.MultiHeadAttention.random(32, 4, num_kv_heads=2, rotary=rotary)
    x = random(3, B, N, 32)
    whole = layer(x, causal=True)
    cache = layer.cache(16, batch=B)
    first = layer.forward_cached(x[:, :6], cache, causal=True)
    steps = [layer.forward_cached(x[:, n:n + 1], cache, causal=True) for n in range(6, N)]
    close(np.concatenate([first, *steps], 1), whole)
    cache.truncate(0, 8)
    cache.truncate(1, 8)
    out = np.empty((B, 1, 32), np.float32)
    found = layer.forward_cached(x[:, 8:], cache, causal=True, out=out, attention_weights=True, lse=True, average_weights=True)
    assert found[0] is out and found[1].shape == (B, 1, N) and found[2].shape == (B, 4, 1)
    close(out, whole[:, 8:])
    counts = np.array([1, 0], np.int32)
    found = layer.forward_cached(x[:, :1], cache, new_counts=counts, attention_weights=True)
    assert cache.lengths.tolist() == [N + 1, N] and found[1].shape == (B, 4, 1, N + 1)


def test_cross_attention_over_a_cache():
    layer = attend.MultiHeadAttention.random(32, 4)
    x, memory = random(4, B, 3, 32), random(5, B, 7, 32)
    cache = layer.cache(7, batch=B)
    layer.project(memory, cache, counts=np.array([7, 4]), threads=2)
    found, weights = layer.forward_cached(x, cache, append=False, attention_weights=True)
    close(found, layer(x, memory, valid_lens=np.array([7, 4])))
    assert weights.shape == (B, 4, 3, 7) and cache.lengths.tolist() == [7, 4]
    with pytest.raises(ValueError, match="keys"):
        layer.forward_cached(x, cache, memory, append=False)
    with pytest.raises(MemoryError):
        layer.forward_cached(x, cache)
