"""The programs of the guides run."""
import os
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.mark.parametrize("guide", ["../README.md", "../../../README.md"])
def test_programs_of_the_guide(guide):
    path = os.path.join(HERE, guide)
    if not os.path.exists(path):
        pytest.skip("the guide is not beside the tests")
    with open(path, encoding="utf-8") as file:
        programs = re.findall(r"^```python\n(.*?)^```", file.read(), re.M | re.S)
    assert programs
    B, L, S, E = 2, 5, 7, 16
    names = {"module": torch.nn.MultiheadAttention(E, 4), "x": torch.randn(B, L, E), "memory": torch.randn(B, S, E), "B": B,
             "lengths": np.array([3, 5]), "q": np.ones((B, 4, L, 8), np.float32), "k": np.ones((B, 2, S, 8), np.float32),
             "v": np.ones((B, 2, S, 8), np.float32), "prompt": torch.randn(B, L, E), "token": torch.randn(B, 1, E),
             "encoded": torch.randn(B, S, E)}
    for program in programs:
        exec(compile(program, path, "exec"), names)
    assert names["y"].shape[::2] == (B, E)
