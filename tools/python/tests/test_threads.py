"""Many threads, pools, forks."""
import concurrent.futures
import os
import pickle
import threading
import time
import warnings

import attend
import numpy as np
import pytest
from reference import random

layer = attend.MultiHeadAttention.random(32, 4)
inputs = [random(n, 1 + n % 3, 5 + n, 32) for n in range(12)]
expected = [layer(x, causal=True) for x in inputs]


def test_a_layer_in_many_threads():
    def many(start):
        for n in range(200):
            m = (start + n) % len(inputs)
            if not np.array_equal(layer(inputs[m], causal=True, threads=2 if n % 7 == 0 else None), expected[m]):
                return False
        return True
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(many, range(8)))


def test_threads_that_begin_together_share_layers_pools_and_caches():
    """Calls of every kind, and errors, at the same instant; each has its own result, also without the interpreter's lock."""
    count, linear = 8, attend.Linear(random(20, 24, 32))
    cache = layer.cache(16)
    layer.project(inputs[0], cache)
    token = random(21, 1, 1, 32)
    mask, weights = np.tril(np.ones((16, 16), bool)), [layer(x, attention_weights=True)[1] for x in inputs]
    cached, rows = layer.forward_cached(token, cache, append=False), linear(inputs[2], "gelu")
    began, pool = threading.Barrier(count), attend.ThreadPool(2)

    def run(n):
        began.wait()
        found = []
        for again in range(150):
            m = (n + again) % len(inputs)
            length, own = inputs[m].shape[1], 33 + (n + again) % 7
            found += [
                np.array_equal(layer(inputs[m], causal=True, threads=pool), expected[m]),
                np.array_equal(layer(inputs[m], mask=mask[:length, :length], threads=2 + again % 3), expected[m]),
                np.array_equal(layer(inputs[m], attention_weights=True)[1], weights[m]),
                np.array_equal(layer.forward_cached(token, cache, append=False), cached),
                np.array_equal(linear(inputs[2], "gelu", threads=pool), rows)]
            try:
                layer(np.zeros((1, 3, own), np.float32), threads=pool)
            except ValueError as error:
                found.append(str(own) in str(error))
        return found

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        for found in threads.map(run, range(count)):
            assert len(found) == 150 * 6 and all(found)


def test_a_pool_that_ends_while_threads_call():
    """Its threads stay until the calls that have them end; later calls are refused."""
    for _ in range(30):
        pool, began, deadline = attend.ThreadPool(3), threading.Barrier(5), time.monotonic() + 60

        def run():
            began.wait()
            while time.monotonic() < deadline:
                try:
                    if not np.array_equal(layer(inputs[7], causal=True, threads=pool), expected[7]):
                        return "other bits"
                except ValueError as error:
                    return str(error)
            return "it was never closed"
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            ran = [threads.submit(run) for _ in range(4)]
            began.wait()
            layer(inputs[7])
            pool.close()
            assert {each.result() for each in ran} == {"threads: the pool is closed"}


def test_a_bound_call_that_several_threads_run():
    """One computes it, the others are told so."""
    out = np.empty_like(expected[11])
    call, began = layer.bind(inputs[11], causal=True, out=out), threading.Barrier(4)

    def run(_):
        began.wait()
        ran = refused = 0
        for _ in range(200):
            try:
                call()
                ran += 1
            except RuntimeError as error:
                assert "another thread" in str(error)
                refused += 1
        return ran, refused
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, range(4)))
    assert all(ran + refused == 200 for ran, refused in found) and sum(ran for ran, _ in found) > 0
    assert np.array_equal(out, expected[11])


def test_pools():
    with attend.ThreadPool(3) as pool:
        assert np.array_equal(layer(inputs[3], causal=True, threads=pool), expected[3])
        assert pool.count == 3 and repr(pool) == "attend.ThreadPool(3)"
        assert pickle.loads(pickle.dumps(pool)).count == 3
    awake = pickle.loads(pickle.dumps(attend.ThreadPool(2, awake=True)))
    assert repr(awake) == "attend.ThreadPool(2, awake=True)" and np.array_equal(layer(inputs[3], causal=True, threads=awake), expected[3])
    with pytest.raises(ValueError, match="closed"):
        layer(inputs[3], threads=pool)
    for count in (0, 257):
        with pytest.raises(ValueError):
            attend.ThreadPool(count)
    pool.close()


def test_a_pool_that_a_bound_call_uses_outlives_its_end():
    pool = attend.ThreadPool(2)
    bound = layer.bind(inputs[5], causal=True, threads=pool)
    pool.close()
    assert repr(pool) == "attend.ThreadPool(2)  # closed"
    assert np.array_equal(bound(), expected[5])


def test_the_interpreters_lock_is_released():
    """While a long call runs, another thread counts."""
    bound = attend.MultiHeadAttention.random(64, 4).bind(random(0, 1, 3000, 64))
    counted, ended = [0], threading.Event()

    def count():
        while not ended.is_set():
            counted[0] += 1

    def counted_during():
        before = counted[0]
        bound()
        return counted[0] - before
    thread = threading.Thread(target=count)
    thread.start()
    assert any(counted_during() > 0 for _ in range(20))  # a busy machine may not let the thread run in each
    ended.set()
    thread.join()


def test_a_bound_call_is_one_threads_at_a_time():
    call = layer.bind(inputs[0], causal=True)
    with call._busy:
        with pytest.raises(RuntimeError, match="another thread"):
            call()
    assert np.array_equal(call(), expected[0])


def in_child(check):
    """Runs check() in a child of fork; whether it was true there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_forks():
    pool = attend.ThreadPool(2)
    bound = layer.bind(inputs[4], causal=True, threads=pool)
    assert np.array_equal(bound(), expected[4])
    busy = attend.MultiHeadAttention.random(64, 4).bind(random(0, 1, 2000, 64))
    thread = threading.Thread(target=busy)
    thread.start()
    right = in_child(lambda: all(np.array_equal(layer(inputs[4], causal=True, threads=threads), expected[4]) for threads in (None, 2, pool))
                     and np.array_equal(bound(), expected[4]) and busy() is not None)
    thread.join()
    assert right
    assert np.array_equal(layer(inputs[4], causal=True, threads=pool), expected[4])


def test_threads_that_end_leave_nothing():
    """A thread's frames and workspaces end with it."""
    import resource
    x = random(0, 1, 500, 32)

    def some():
        threads = [threading.Thread(target=layer, args=(x,)) for _ in range(20)]
        for thread in threads:
            thread.start()
            thread.join()
    some()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        some()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
