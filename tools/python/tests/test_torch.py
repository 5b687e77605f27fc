"""Tensors and modules of PyTorch; skipped without it."""
import copy
import ctypes
import os
import pickle
import signal
import threading
import time

import attend
import numpy as np
import pytest

torch = pytest.importorskip("torch")


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape and (found.double() - expected.double()).abs().max() <= tolerance * max(1e-30, expected.abs().max())


def draw(generator, low, high):
    return int(generator.integers(low, high + 1))


@pytest.mark.parametrize("seed", range(40))
def test_modules_of_torch_agree(seed):
    """Random shapes, sizes, biases, masks; the module in float64."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    heads, width = draw(random, 4, 10), draw(random, 3, 10)
    B, L, S, E = draw(random, 1, 5), draw(random, 1, 12), draw(random, 1, 12), heads * width
    kdim, vdim = (draw(random, 3, 40), draw(random, 3, 40)) if seed % 3 == 0 else (None, None)
    module = torch.nn.MultiheadAttention(E, heads, bias=bool(seed % 2), kdim=kdim, vdim=vdim, batch_first=True, add_zero_attn=seed % 5 == 0)
    if seed % 2:
        for bias in (module.in_proj_bias, module.out_proj.bias):
            torch.nn.init.normal_(bias)
    layer = attend.MultiHeadAttention.from_torch(module)
    q, k, v = torch.randn(B, L, E), torch.randn(B, S, kdim or E), torch.randn(B, S, vdim or E)
    average, options, given = bool(seed % 4 < 2), {}, {}
    if seed % 3 != 1:
        padding = torch.rand(B, S) < 0.4
        padding[:, 0] = False
        options["key_padding_mask"], given["key_padding_mask"] = padding, padding
    if seed % 4 == 1:
        mask = torch.rand(B * heads, L, S) < 0.4
        mask[:, :, 0] = False
        options["attn_mask"], given["mask"] = mask, mask.view(B, heads, L, S)
    elif seed % 4 == 2:
        mask = torch.randn(L, S)
        options["attn_mask"], given["additive_mask"] = mask, mask
        if "key_padding_mask" in options:
            options["attn_mask"] = mask.double()
            options["key_padding_mask"] = torch.zeros(B, S, dtype=torch.float64).masked_fill(options["key_padding_mask"], -torch.inf)
    if "attn_mask" in options and options["attn_mask"].is_floating_point():
        options["attn_mask"] = options["attn_mask"].double()
    with torch.no_grad():
        expected, weights = copy.deepcopy(module).double().eval()(q.double(), k.double(), v.double(), average_attn_weights=average, **options)
    found, shown = layer(q, k, v, mask_hides=True, attention_weights=True, average_weights=average, **given)
    assert isinstance(found, torch.Tensor) and isinstance(shown, torch.Tensor)
    close(found, expected)
    close(shown, weights[..., :S])  # without the column of add_zero_attn
    assert torch.equal(pickle.loads(pickle.dumps(layer))(q, k, v, mask_hides=True, **given), found)


class D2L(torch.nn.Module):
    """The module of the book Dive into Deep Learning."""

    def __init__(self, num_hiddens, num_heads, dropout=0.0, bias=False):
        super().__init__()
        self.num_heads, self.attention = num_heads, torch.nn.Module()
        self.attention.dropout = torch.nn.Dropout(dropout)
        self.W_q, self.W_k, self.W_v, self.W_o = (torch.nn.LazyLinear(num_hiddens, bias=bias) for _ in range(4))

    def forward(self, queries, keys, values, valid_lens):
        def split(x):
            return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        q, k, v = split(self.W_q(queries)), split(self.W_k(keys)), split(self.W_v(values))
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        hidden = torch.arange(k.shape[2]) >= valid_lens[:, None, None, None]
        mixed = torch.softmax(scores.masked_fill(hidden, -1e6), -1) @ v
        return self.W_o(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("bias", [False, True])
def test_modules_of_d2l_agree(bias):
    module = D2L(100, 5, 0.5, bias)
    x, y, lengths = torch.ones(2, 4, 100), torch.randn(2, 6, 100), torch.tensor([3, 0])
    with pytest.raises(ValueError, match="call it once"):
        attend.MultiHeadAttention.from_torch(module)
    with torch.no_grad():
        expected = module(x, y, y, lengths)
    layer = attend.MultiHeadAttention.from_torch(module)
    close(layer(x, y, y, lengths), expected)
    assert layer.dropout == 0.5 and layer.bias == bias


def test_what_torch_has_and_attend_does_not():
    with pytest.raises(ValueError, match="add_bias_kv"):
        attend.MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(8, 2, add_bias_kv=True))
    with pytest.raises(TypeError, match="module"):
        attend.MultiHeadAttention.from_torch(torch.nn.Linear(3, 3))
    module = D2L(100, 5, 0.0, False)
    del module.num_heads
    with pytest.raises(TypeError, match="got D2L, which lacks num_heads"):
        attend.MultiHeadAttention.from_torch(module)


def test_a_module_whose_batch_comes_second_is_told_of():
    module = torch.nn.MultiheadAttention(8, 2)
    with pytest.warns(UserWarning, match="batch_first is False"):
        layer = attend.MultiHeadAttention.from_torch(module)
    x = torch.randn(5, 3, 8)
    with torch.no_grad():
        close(layer(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1)).transpose(0, 1), module(x, x, x)[0])


layer = attend.MultiHeadAttention.random(12, 3)


def test_tensors_are_read_and_written_where_they_are():
    x = torch.randn(6, 2, 12).transpose(0, 1)
    expected = torch.from_numpy(layer(x.numpy()))
    assert torch.equal(layer(x), expected)
    out = torch.zeros(2, 6, 24)
    assert layer(x, out=out[..., 12:]) is not None
    assert torch.equal(out[..., 12:], expected) and not out[..., :12].any()
    bound = layer.bind(x, out=out[..., :12])
    x.mul_(2)
    assert torch.equal(bound(), layer(x))
    assert isinstance(layer(x.numpy(), out=out[..., :12]), torch.Tensor)
    assert layer(torch.empty(0, 3, 12)).shape == (0, 3, 12)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted(kind):
    x = torch.randn(2, 6, 12).to(kind)
    assert torch.equal(layer(x), layer(x.float()))


def test_masks_and_lengths():
    x = torch.randn(2, 6, 12)
    mask, lengths = torch.rand(6, 6) < 0.5, torch.tensor([3, 5])
    assert np.array_equal(layer(x, mask=mask, valid_lens=lengths), layer(x.numpy(), mask=mask.numpy(), valid_lens=lengths.numpy()))
    assert torch.equal(layer(x, valid_lens=lengths.int()), layer(x, valid_lens=lengths))


def test_gradients_are_refused_by_name():
    x = torch.randn(2, 6, 12, requires_grad=True)
    with pytest.raises(ValueError, match="queries: requires a gradient.*queries.detach"):
        layer(x)
    for out in ({"out": x}, {"lse": x}):
        with pytest.raises(ValueError, match=next(iter(out)) + ": requires a gradient"):
            attend.attention(x.detach()[None], x.detach()[None], x.detach()[None], **out)
    with torch.no_grad():
        expected = layer(x)
    with torch.inference_mode():
        assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x.detach()), expected)


def test_tensors_elsewhere_are_refused():
    with pytest.raises(ValueError, match="queries: is on meta"):
        layer(torch.empty(2, 6, 12, device="meta"))
    with pytest.raises(ValueError, match="queries: .*sparse"):
        layer(torch.ones(2, 6, 12).to_sparse())
    with pytest.raises(TypeError, match="queries"):
        layer(torch.ones(2, 6, 12, dtype=torch.int64))
    with pytest.raises(TypeError, match="out: expected float32"):
        layer(torch.ones(2, 6, 12), out=torch.ones(2, 6, 12, dtype=torch.float64))


def test_attention_agrees():
    q, k, v = torch.randn(2, 5, 4, 8).transpose(1, 2), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), enable_gqa=True)
    found = attend.attention(q, k, v)
    assert isinstance(found, torch.Tensor)
    close(found, expected)
    cache = attend.KVCache(2, 8, 7, batch=2)
    cache.append(k, v)
    close(attend.attention_cached(q, cache), expected)
    assert isinstance(attend.rms_norm(q), torch.Tensor) and isinstance(attend.matmul(q[0, 0], k[0, 0].T), torch.Tensor)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_calls_run_on_the_threads_of_pytorch(two_threads):
    from attend.torch.threads import OpenMPThreads, threads
    if not torch.backends.openmp.is_available() or not hasattr(ctypes.CDLL(torch._C.__file__), "GOMP_parallel"):
        pytest.skip("PyTorch has no OpenMP")
    pool = threads()
    assert isinstance(pool, OpenMPThreads) and pool.count == 2 and threads() is pool and "2" in repr(pool)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(pool)
    q, k, v = torch.randn(3, 2, 8, 150, 32)
    expected = attend.attention(q, k, v, causal=True)
    before = len(os.listdir("/proc/self/task"))
    found = []

    def run():
        found.extend(attend.attention(q, k, v, causal=True, threads=pool) for _ in range(20))

    run()
    assert len(os.listdir("/proc/self/task")) <= before + 1  # none, or the one of OpenMP: no pool of attend's
    several = [threading.Thread(target=run) for _ in range(3)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert len(found) == 80 and all(torch.equal(each, expected) for each in found)
    torch.set_num_threads(1)
    assert threads() == 1


def test_tasks_each_run_once_by_as_many_threads_as_there_are():
    from attend._library import library
    from attend.torch.threads import OpenMPThreads
    asked, ran = [], []

    @ctypes.CFUNCTYPE(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, count, flags):
        asked.append((count, flags))
        for _ in range(count):
            function(data)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
    def task(context, index):
        ran.append((context, index))

    pool = OpenMPThreads(3, ctypes.cast(parallel, ctypes.c_void_p).value)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(("attend_python_openmp", library))
    for count in (0, 1, 2, 3, 7):
        asked.clear()
        ran.clear()
        run(ctypes.addressof(pool._pool), count, ctypes.cast(task, ctypes.c_void_p), 5)
        assert ran == [(5, index) for index in range(count)] and asked == ([(min(count, 3), 0)] if count > 1 else [])


def test_a_child_of_fork_does_without_the_threads_of_pytorch(two_threads):
    from attend.torch.threads import threads
    q = torch.randn(1, 4, 64, 16)
    expected = attend.attention(q, q, q, threads=threads())
    torch.mm(torch.ones(300, 300), torch.ones(300, 300))  # has the runtime start its threads
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if threads() == 2 and torch.equal(attend.attention(q, q, q, threads=threads()), expected) else 1)
        except BaseException:
            os._exit(2)
    deadline = time.monotonic() + 30
    ended, status = 0, 0
    while ended == 0 and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if ended == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (ended, status) == (child, 0)
