"""The programs of the guides run; one that needs transformers is skipped without it."""
import importlib.util
import os
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
HERE = os.path.dirname(os.path.abspath(__file__))


def programs_of(guide):
    path = os.path.join(HERE, guide)
    if not os.path.exists(path):
        pytest.skip("the guide is not beside the tests")
    with open(path, encoding="utf-8") as file:
        programs = re.findall(r"^```python\n(.*?)^```", file.read(), re.M | re.S)
    assert programs
    return [compile(program, path, "exec") for program in programs if "attend.transformers" not in program], [
        compile(program, path, "exec") for program in programs if "attend.transformers" in program]


@pytest.mark.parametrize("guide", ["../README.md", "../../../README.md"])
def test_programs_of_the_guide(guide):
    B, L, S, E = 2, 5, 7, 16
    names = {"module": torch.nn.MultiheadAttention(E, 4), "x": torch.randn(B, L, E), "memory": torch.randn(B, S, E), "B": B,
             "lengths": np.array([3, 5]), "q": np.ones((B, 4, L, 8), np.float32), "k": np.ones((B, 2, S, 8), np.float32),
             "v": np.ones((B, 2, S, 8), np.float32), "prompt": torch.randn(B, L, E), "token": torch.randn(B, 1, E),
             "encoded": torch.randn(B, S, E), "weight": np.ones(E, np.float32), "bias": np.ones(E, np.float32),
             "W_up": torch.randn(4 * E, E), "b_up": torch.randn(4 * E), "W_down": torch.randn(E, 4 * E)}
    for program in programs_of(guide)[0]:
        exec(program, names)
    assert names["y"].shape[::2] == (B, E)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_program_with_transformers():
    from attend.transformers import calls
    calls.clear()
    program, = programs_of("../README.md")[1]
    names = {}
    exec(program, names)
    assert names["written"].shape == (1, 12) and (calls.attend, calls.dense, calls.pytorch) == (16, 0, {})
