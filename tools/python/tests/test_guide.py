"""The programs of the guides run; those that need transformers or a model are skipped without it."""
import importlib.util
import os
import re

import attend
import numpy as np
import pytest

torch = pytest.importorskip("torch")
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
MODEL = os.path.join(ROOT, "build", "models", "all-MiniLM-L6-v2")
MORE = ("attend.transformers", "SentenceEncoder")


def programs_of(guide, needs=""):
    """The programs of a guide that need one thing more than torch, or nothing more."""
    path = os.path.join(HERE, guide)
    if not os.path.exists(path):
        pytest.skip("the guide is not beside the tests")
    with open(path, encoding="utf-8") as file:
        programs = re.findall(r"^```python\n(.*?)^```", file.read(), re.M | re.S)
    found = [program for program in programs if needs == next((word for word in MORE if word in program), "")]
    assert found
    return [compile(program, path, "exec") for program in found]


@pytest.mark.parametrize("guide", ["../README.md", "../../../README.md"])
def test_programs_of_the_guide(guide):
    B, L, S, E = 2, 5, 7, 16
    names = {"module": torch.nn.MultiheadAttention(E, 4), "x": torch.randn(B, L, E), "memory": torch.randn(B, S, E), "B": B,
             "lengths": np.array([3, 5]), "q": np.ones((B, 4, L, 8), np.float32), "k": np.ones((B, 2, S, 8), np.float32),
             "v": np.ones((B, 2, S, 8), np.float32), "prompt": torch.randn(B, L, E), "token": torch.randn(B, 1, E),
             "encoded": torch.randn(B, S, E), "weight": np.ones(E, np.float32), "bias": np.ones(E, np.float32),
             "W_up": torch.randn(4 * E, E), "b_up": torch.randn(4 * E), "W_down": torch.randn(E, 4 * E)}
    for program in programs_of(guide):
        exec(program, names)
    assert names["y"].shape[::2] == (B, E)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_program_with_transformers():
    from attend.transformers import calls
    calls.clear()
    program, = programs_of("../README.md", "attend.transformers")
    names = {}
    exec(program, names)
    assert names["written"].shape == (1, 12) and (calls.attend, calls.dense, calls.pytorch) == (16, 0, {})


@pytest.mark.skipif(not os.path.exists(MODEL), reason="needs all-MiniLM-L6-v2: make model")
def test_program_with_a_model(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    program, = programs_of("../README.md", "SentenceEncoder")
    names = {"attend": attend}
    exec(program, names)
    near, far = map(float, capsys.readouterr().out.strip(" []\n").split())
    assert near > 2 * far and names["vectors"].shape == (2, 384)
    assert names["tokens"] == ["[CLS]", "a", "question", "[SEP]"] and names["weights"].shape == (12, 4, 4)
