"""A tour of attention: the path of Dive into Deep Learning's chapters, step by step, each with a picture of what it does.

    python3 tools/python/tour.py FOLDER

writes the pictures, SVG, into the folder and prints what they show. It needs the package and matplotlib. Where PyTorch is, each step
stands beside the book's own code, which is tour_torch.py.
"""
import argparse
import os
import sys

sys.path.append(sys.path.pop(0))  # this folder has the package's sources, without a library: the installed package comes before them
try:
    import numpy as np

    import attend
except (ImportError, OSError):
    sys.exit("tour.py needs the package attend: pip install ./tools/python")
try:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
except ImportError:
    sys.exit("tour.py needs matplotlib, which draws its pictures: pip install matplotlib")
try:
    import torch
except ImportError:
    torch = None
else:
    import tour_torch

HEADS, WIDTH = 5, 100  # of the module


def numbers(seed, *sizes):
    return np.random.default_rng(seed).standard_normal(sizes).astype(np.float32)


class Step:
    """A section: what it prints, and the rows of its picture, whose panels are (title, matrix)."""

    def __init__(self, name, text):
        self.name, self.lines, self.rows = name, [text], []

    def beside(self, found, of_torch):
        """What PyTorch gives for it, by a function of no arguments; None where there is no PyTorch. Says how far `found` is from that."""
        if torch is None:
            return None
        with torch.no_grad():
            expected = of_torch().numpy()
        if found.shape != expected.shape:
            sys.exit(f"{self.name}: attend gives the shape {found.shape}, torch {expected.shape}")
        self.lines.append(f"torch's numbers differ by at most {np.abs(found - expected).max():.2g}.")
        return expected

    def show(self, *panels):
        """A row of the picture. Batch entries stand one above the other; None, what there is no PyTorch for, is left out."""
        self.rows.append([(title, array.reshape(-1, array.shape[-1])) for title, array in panels if array is not None])

    def draw(self, path):
        count = max(map(len, self.rows))
        figure, axes = pyplot.subplots(len(self.rows), count, figsize=(3.4 * count, 2.2 * len(self.rows)), squeeze=False, layout="constrained")
        for row, of_row in zip(self.rows, axes):
            for axis in of_row[len(row):]:
                axis.set_visible(False)
            for (title, matrix), axis in zip(row, of_row):
                wide = matrix.shape[1] > 10  # then its numbers are not written in
                axis.pcolormesh(matrix, cmap="viridis", rasterized=wide)
                axis.invert_yaxis()
                axis.set_title(title, fontsize=9)
                axis.set_xticks([])
                axis.set_yticks([])
                middle = (matrix.min() + matrix.max()) / 2
                for (i, j), value in np.ndenumerate(matrix[:0] if wide else matrix):
                    axis.text(j + 0.5, i + 0.5, f"{value:.2g}", ha="center", va="center", fontsize=7, color="white" if value < middle else "black")
        figure.suptitle(self.name, fontsize=11)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def masking():
    X, lengths = numbers(1, 2, 6), np.array([2, 5])
    step = Step("Masking", "Sequences of a batch differ in length: what lies at or past valid_lens = [2, 5] becomes 0, or any other value.")
    found = attend.sequence_mask(X, lengths)
    step.show(("X, two sequences", X), ("attend.sequence_mask(X, [2, 5])", found),
              ("torch's", step.beside(found, lambda: tour_torch.sequence_mask(torch.from_numpy(X), torch.from_numpy(lengths)))))
    return step


def masked_softmax():
    X = numbers(2, 2, 2, 4)
    step = Step("Masked softmax", "Scores become weights, those of a row 1 in all; what lies past a length, of each entry or of each row, weighs 0.")
    for lengths in (np.array([2, 3]), np.array([[1, 3], [2, 4]])):
        found = attend.masked_softmax(X, lengths)
        step.show(("X, scores of two entries", X), (f"attend.masked_softmax(X, {lengths.tolist()})", found),
                  ("torch's", step.beside(found, lambda: tour_torch.masked_softmax(torch.from_numpy(X), torch.from_numpy(lengths)))))
    return step


def dot_products():
    queries, values, lengths = numbers(3, 2, 1, 2), np.arange(40, dtype=np.float32).reshape(1, 10, 4).repeat(2, 0), np.array([2, 6])
    step = Step("Scaled dot products", "A query's weights are the softmax of q.k / sqrt(d), its output the mean of the values by these weights.")
    for kind, keys in (("equal keys", np.ones((2, 10, 2), np.float32)), ("keys that differ", numbers(4, 2, 10, 2))):
        found, weights = attend.DotProductAttention()(queries, keys, values, lengths, attention_weights=True)
        step.lines.append(f"With {kind}, lengths [2, 6]: the first output is {', '.join(f'{value:.3g}' for value in found[0, 0])}.")
        step.show((f"weights, {kind}", weights), ("attend.DotProductAttention()(..)", found), ("torch's", step.beside(
            found, lambda: tour_torch.DotProductAttention(0.0)(*map(torch.from_numpy, (queries, keys, values, lengths))))))
    return step


def head_split():
    X = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    step = Step("Head split", "Three heads have two of the six columns each, and are entries of a batch of their own; the way back gives X again.")
    found = attend.transpose_qkv(X, 3)
    step.show(("X, four tokens", X), *((f"head {n} of attend.transpose_qkv(X, 3)", head) for n, head in enumerate(found)))
    back = attend.transpose_output(found, 3)
    step.show(("attend.transpose_output(.., 3)", back), ("torch's heads, one above the other", step.beside(
        found, lambda: tour_torch.transpose_qkv(torch.from_numpy(X), 3))))
    if not np.array_equal(back, X):
        sys.exit("Head split: the way back does not give X again")
    return step


def layers():
    """attend's layer and, where there is PyTorch, the book's module of the same weights."""
    W = {name: numbers(5 + n, WIDTH, WIDTH) / np.float32(WIDTH ** 0.5) for n, name in enumerate(("query", "key", "value", "output"))}
    layer = attend.MultiHeadAttention(**W, num_heads=HEADS)
    if torch is None:
        return layer, None
    module = tour_torch.MultiHeadAttention(WIDTH, WIDTH, WIDTH, WIDTH, HEADS, 0.5).eval()
    module.load_state_dict({name: torch.from_numpy(W[argument]) for name, argument in (
        ("W_q.weight", "query"), ("W_k.weight", "key"), ("W_v.weight", "value"), ("W_o.weight", "output"))})
    return layer, module


def the_module():
    layer, module = layers()
    X, Y, lengths = numbers(9, 2, 4, WIDTH), numbers(10, 2, 6, WIDTH), np.array([3, 2])
    step = Step("The module", f"{HEADS} heads of {WIDTH // HEADS} columns each: four queries attend to six keys, of which [3, 2] count, in a way of its own each.")
    output, weights = layer(X, Y, valid_lens=lengths, attention_weights=True)
    expected = step.beside(output, lambda: module(*map(torch.from_numpy, (X, Y, Y, lengths))))
    for b in range(2):
        step.show(*((f"entry {b}, head {h}: weights", weights[b, h]) for h in range(HEADS)))
    step.show(("output, 8 rows of 100", output), ("torch's", expected))
    return step


def its_test():
    layer, module = layers()
    X, Y, lengths = np.ones((2, 4, WIDTH), np.float32), np.ones((2, 6, WIDTH), np.float32), np.array([3, 2])
    step = Step("Its test", "The book's test: of X (2, 4, 100) and Y (2, 6, 100), all ones, the module makes (2, 4, 100).")
    output = layer(X, Y, valid_lens=lengths)
    if output.shape != X.shape:
        sys.exit(f"Its test: the output's shape is {output.shape}, expected {X.shape}")
    expected = step.beside(output, lambda: module(*map(torch.from_numpy, (X, Y, Y, lengths))))
    Y[0, 3:], Y[1, 2:] = 1e6, -1e6
    other = layer(X, Y, valid_lens=lengths)
    if not np.array_equal(other, output):
        sys.exit("Its test: keys past the lengths change the output")
    step.lines.append("What stands past the lengths, 1e6 say, changes no bit of it.")
    step.show(("output", output), ("with 1e6 past the lengths", other), ("torch's", expected))
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="where the pictures go; it is made where there is none")
    folder = parser.parse_args().folder
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "attend"})
    print(f"attend {attend.__version__} on {attend.best_isa()}, " + (
        "without PyTorch: nothing to compare with." if torch is None else f"beside PyTorch {torch.__version__}."))
    try:
        os.makedirs(folder, exist_ok=True)
        for n, section in enumerate((masking, masked_softmax, dot_products, head_split, the_module, its_test), 1):
            step = section()
            path = os.path.join(folder, f"{n}_{section.__name__}.svg")
            step.draw(path)
            print(f"\n{n}. {step.name}: {path}", *step.lines, sep="\n   ")
    except OSError as error:
        sys.exit(f"tour.py: {error}")


if __name__ == "__main__":
    main()
