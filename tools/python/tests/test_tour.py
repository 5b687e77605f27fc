"""The tour runs, with PyTorch and without; what it lacks is one line."""
import importlib.util
import os
import subprocess
import sys

import attend
import pytest

TOUR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tour.py")
PICTURES = ["1_masking", "2_masked_softmax", "3_dot_products", "4_head_split", "5_the_module", "6_its_test"]
pytestmark = pytest.mark.skipif(not os.path.exists(TOUR), reason="the tour is not beside the tests")
with_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")


def run(tmp_path, *words, without=()):
    """What the tour prints to each stream, and its code, where it cannot import some packages."""
    for name in without:
        (tmp_path / "without").mkdir(exist_ok=True)
        (tmp_path / "without" / f"{name}.py").write_text("raise ImportError")
    paths = [str(tmp_path / "without"), os.path.dirname(os.path.dirname(attend.__file__)), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run([sys.executable, TOUR, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})
    return ran.stdout, ran.stderr, ran.returncode


@with_matplotlib
@pytest.mark.parametrize("torch", [True, False])
def test_the_tour(tmp_path, torch):
    if torch:
        pytest.importorskip("torch")
    folder = tmp_path / "pictures"
    printed, complaint, code = run(tmp_path, str(folder), without=() if torch else ["torch"])
    assert code == 0, complaint
    assert sorted(os.listdir(folder)) == [name + ".svg" for name in PICTURES]
    for name in PICTURES:
        assert str(folder / name) in printed and (folder / (name + ".svg")).read_bytes().startswith(b"<?xml")
    picture = (folder / "2_masked_softmax.svg").read_text()
    assert ">attend.masked_softmax(X, [2, 3])<" in picture and (">torch's<" in picture) == torch
    assert "the first output is 2, 3, 4, 5." in printed
    assert ("without PyTorch: nothing to compare with" in printed) != torch
    differences = [float(line.split()[-1].rstrip(".")) for line in printed.splitlines() if "torch's numbers differ" in line]
    assert len(differences) == (8 if torch else 0) and max(differences, default=0) < 2e-6


@pytest.mark.parametrize("name,line", [("matplotlib", "tour.py needs matplotlib, which draws its pictures: pip install matplotlib\n"),
                                       ("attend", "tour.py needs the package attend: pip install ./tools/python\n")])
def test_without_what_it_needs(tmp_path, name, line):
    assert run(tmp_path, str(tmp_path / "pictures"), without=[name]) == ("", line, 1)
    assert not (tmp_path / "pictures").exists()


@with_matplotlib
def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    _, complaint, code = run(tmp_path, str(tmp_path / "file"))
    assert code == 1 and complaint.startswith("tour.py: ") and "file" in complaint and complaint.count("\n") == 1
