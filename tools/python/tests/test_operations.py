"""The operations that are no attention, against numpy in float64."""
import attend
import numpy as np
import pytest
import reference
from reference import close, random


@pytest.mark.parametrize("sizes", [((5, 7), (7, 3)), ((2, 5, 7), (7, 3)), ((2, 5, 7), (2, 7, 3))])
def test_matmul(sizes):
    a, b, bias = random(0, *sizes[0]), random(1, *sizes[1]), random(2, 3)
    close(attend.matmul(a, b), a.astype(float) @ b)
    close(attend.matmul(a, b, bias, threads=2), a.astype(float) @ b + bias)
    close(attend.matmul(a, np.ascontiguousarray(b.swapaxes(-1, -2)), b_transposed=True, isa="scalar"), a.astype(float) @ b)
    out = np.empty(sizes[0][:-1] + (3,), np.float32)
    assert attend.matmul(a, b, out=out) is out
    with pytest.raises(ValueError, match="^b"):
        attend.matmul(a, b[..., :4, :])
    with pytest.raises(ValueError):
        attend.matmul(a, random(3, 4))


def test_sequence_mask():
    x, lengths = random(3, 2, 5), np.array([1, 3])
    expected = np.where(np.arange(5) < lengths[:, None], x, -1)
    assert np.array_equal(attend.sequence_mask(x, lengths, -1), expected.astype("f"))
    deep = random(4, 2, 5, 3)
    assert np.array_equal(attend.sequence_mask(deep, lengths), np.where((np.arange(5) < lengths[:, None])[..., None], deep, 0))
    assert attend.sequence_mask(x, lengths, -1, out=x) is x and np.array_equal(x, expected)
    with pytest.raises(ValueError, match="valid_lens"):
        attend.sequence_mask(x, np.array([1]))


def test_masked_softmax():
    x = random(5, 2, 3, 4)
    close(attend.masked_softmax(x), reference.softmax(x.astype(float)))
    lengths = np.array([[1, 2, 3], [4, 0, 2]])
    visible = np.arange(4) < lengths[..., None]
    expected = reference.softmax(np.where(visible, x.astype(float), -np.inf))
    expected[1, 1] = 0.25
    close(attend.masked_softmax(x, lengths), expected)
    with pytest.raises(ValueError, match="input"):
        attend.masked_softmax(x[0])


def test_transposes():
    x = random(6, 2, 5, 12)
    split = attend.transpose_qkv(x, 3)
    assert np.array_equal(split, reference.heads(x, 3).reshape(6, 5, 4))
    assert np.array_equal(attend.transpose_output(split, 3), x)
    for wrong in (5, 0):
        with pytest.raises(ValueError, match="num_heads"):
            attend.transpose_qkv(x, wrong)
        with pytest.raises(ValueError, match="num_heads"):
            attend.transpose_output(split, 4 if wrong else 0)


def test_rms_norm():
    x, weight = random(7, 2, 3, 4, 5), random(8, 5)
    expected = x / np.sqrt((x.astype(float) ** 2).mean(-1, keepdims=True) + 1e-5)
    close(attend.rms_norm(x, epsilon=1e-5), expected)
    close(attend.rms_norm(x, weight, 1e-5, out=x), expected * weight)


def norm(x, center, epsilon):
    x = x.astype(np.float64)
    x = x - x.mean(-1, keepdims=True) if center else x
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + epsilon)


@pytest.mark.parametrize("name,epsilon", [("layer_norm", 1e-5), ("rms_norm_rows", 1e-6)])
@pytest.mark.parametrize("sizes", [(7,), (3, 7), (2, 3, 7), (2, 3, 4, 5)])
def test_norms_of_rows(name, epsilon, sizes):
    function, center = getattr(attend, name), name == "layer_norm"
    x, residual, weight, bias = random(13, *sizes) / 100, random(14, *sizes) / 100, random(15, sizes[-1]), random(16, sizes[-1])
    close(function(x), norm(x, center, epsilon))
    close(function(x, epsilon=0.1), norm(x, center, 0.1))
    expected = norm(x + residual, center, epsilon)
    close(function(x, weight, residual=residual), expected * weight)
    found = function(x, weight, bias, residual=residual, threads=2, isa="scalar")
    close(found, expected * weight + bias)
    output, total = function(x, weight, bias, residual=residual, sum=True)
    close(output, expected * weight + bias)
    assert np.array_equal(total, x + residual)
    close(function(x), norm(x, center, epsilon))  # nothing stays for the next call
    out, total = np.empty_like(x), residual.copy()
    assert function(x, weight, bias, residual=total, sum=total, out=out) is out and np.array_equal(total, x + residual)
    assert np.array_equal(out, output)
    assert function(x, weight, bias, residual=residual, sum=False, out=x) is x and np.array_equal(x, output)


@pytest.mark.parametrize("function", [attend.layer_norm, attend.rms_norm_rows])
def test_norms_of_rows_that_are_refused(function):
    x = random(17, 2, 3, 7)
    for arguments, error, message in [
        (dict(weight=x), ValueError, "weight: "), (dict(bias=x[0, 0, :6]), ValueError, "bias: "), (dict(residual=x[:1]), ValueError, "residual: "),
        (dict(sum=x[0]), ValueError, "sum: "), (dict(sum=[1.0]), TypeError, "sum: expected an array"), (dict(epsilon=-1), ValueError, "epsilon: "),
        (dict(epsilon="small"), TypeError, "epsilon: expected a number"), (dict(out=x[:, :, ::2]), ValueError, "out: "),
        (dict(out=np.empty((2, 3, 7))), TypeError, "out: expected float32"), (dict(isa="mmx"), ValueError, "isa: "),
    ]:
        with pytest.raises(error, match="^" + message):
            function(x, **arguments)


def test_merge():
    q, k, v = random(9, 2, 4, 3, 8), random(10, 2, 2, 9, 8), random(11, 2, 2, 9, 8)
    whole = attend.attention(q, k, v, lse=True)
    first, second = (attend.attention(q, k[:, :, part], v[:, :, part], lse=True) for part in (slice(0, 5), slice(5, 9)))
    output, lse = attend.merge(*second, *first)
    assert output is first[0] and lse is first[1]
    close(output, whole[0])
    close(lse, whole[1])
    with pytest.raises(ValueError, match="other_lse"):
        attend.merge(second[0], second[1][..., :2], *first)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_embedding(interleaved):
    x, frequencies = random(12, 2, 3, 5, 12), attend.rotary_frequencies(8, 10000.0)
    close(frequencies, 10000.0 ** (-np.arange(0, 8, 2) / 8), 1e-6)
    rotary = attend.RotaryEmbedding(frequencies, interleaved=interleaved)
    close(attend.rotary_embedding(x, rotary, offset=2), reference.rotate(x, frequencies, np.arange(5) + 2, interleaved), 1e-5)
    positions = np.array([4, 0, 9, -3, 1])
    turned = attend.rotary_embedding(x, rotary, positions)
    close(turned, reference.rotate(x, frequencies, positions, interleaved), 1e-5)
    angles = np.arange(10)[:, None] * frequencies
    tables = attend.RotaryEmbedding(cosines=np.cos(angles), sines=np.sin(angles), interleaved=interleaved)
    close(attend.rotary_embedding(x, tables, offset=1), reference.rotate(x, frequencies, np.arange(5) + 1, interleaved), 1e-5)
    assert attend.rotary_embedding(x, rotary, positions, out=x) is x and np.array_equal(x, turned)
    assert "R=8" in repr(rotary) and "cosines" in repr(tables)
    with pytest.raises(TypeError, match="rotary"):
        attend.rotary_embedding(x, frequencies)
    with pytest.raises(ValueError, match="sines"):
        attend.rotary_embedding(x, attend.RotaryEmbedding(cosines=np.cos(angles).astype("f")))


def test_rotary_scaling():
    plain = attend.rotary_frequencies(8, 500.0)
    linear = attend.RotaryScaling("linear", 4.0)
    close(attend.rotary_frequencies(8, 500.0, linear), plain / 4.0, 1e-6)
    yarn = attend.RotaryScaling("yarn", 4.0, original_max_position=128)
    assert abs(attend.rotary_attention_factor(yarn) - (0.1 * np.log(4) + 1)) < 1e-6 and attend.rotary_attention_factor(linear) == 1
    out = np.empty(4, np.float32)
    assert attend.rotary_frequencies(8, 500.0, yarn, out=out) is out and not np.allclose(out, plain)
    assert "yarn" in repr(yarn)
    with pytest.raises(ValueError, match="kind"):
        attend.RotaryScaling("longrope", 2.0)
    with pytest.raises(ValueError, match="rotary_dim"):
        attend.rotary_frequencies(7)
    with pytest.raises(ValueError, match="base"):
        attend.rotary_frequencies(8, 1.0)


def test_alibi_slopes():
    close(attend.default_alibi_slopes(8), 0.5 ** np.arange(1, 9))
    assert len(attend.default_alibi_slopes(12)) == 12
    with pytest.raises(ValueError, match="num_heads"):
        attend.default_alibi_slopes(0)
