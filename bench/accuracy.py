#!/usr/bin/env python3
"""What low precision costs all-MiniLM-L6-v2: the error of its six attention layers, and of whole sentences' vectors.

    make wheel && pip install build/wheel/attend-*.whl
    python3 bench/accuracy.py

It needs what tests/data/minilm/minilm.py needs, too. Each layer reads the real hidden states of twelve sentences,
each in a call of its own. Its error is the root mean square of what the output differs from float64's, of that of the output. A sentence's
vector comes from the model whose attention layers are all of one precision, and all else float64: 1 - its cosine with float64's.
"""
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
root = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root / "tests" / "golden"), str(root / "tests" / "data" / "minilm")]
import minilm
import minilm_layers

PRECISIONS = [  # weights, arithmetic of projections, that of attention itself, type of a KV cache
    ("float32", "float32", "float32", None),
    ("float16", "float32", "float32", None),
    ("bfloat16", "float32", "float32", None),
    ("int8", "float32", "float32", None),
    ("bfloat16", "bfloat16", "float32", None),
    ("bfloat16", "bfloat16", "bfloat16", None),
    ("int8", "int8", "float32", None),
    ("int8", "int8", "bfloat16", None),
    ("int4", "float32", "float32", None),
    ("int4", "int8", "float32", None),
    ("float32", "float32", "float32", "bfloat16"),
    ("float32", "float32", "float32", "float16"),
    ("float32", "float32", "float32", "int8"),
]
SENTENCES = minilm_layers.SENTENCES + [
    "He said no.",
    "The committee will publish its findings after the last of the four hearings, which is planned for the second week of May.",
    "for (int i = 0; i < n; ++i) sum += a[i] * b[i];",
    "La mer est calme ce soir, et les bateaux dorment au port.",
    "Wash the rice three times, add water to the first knuckle, bring it to a boil, then cover it and wait eighteen minutes without looking.",
    "Which planets have rings?",
    "Prices rose 3.2 % in September, more than the 2.9 % that analysts had expected, while wages stood still.",
]


class Layers:
    """The six layers in one precision, as attend computes them, in the place of minilm.attend."""

    def __init__(self, folder, precision):
        import attend
        weights, arithmetic, self.core, self.cache = precision
        self.layers = [attend.MultiHeadAttention.from_safetensors(folder / f"{n}.safetensors", minilm.prefix(n), minilm.HEADS,
                                                                  weight_type=weights, arithmetic=arithmetic) for n in range(minilm.LAYERS)]

    def run(self, n, hidden, lengths):
        import numpy as np
        x = hidden.float().numpy()
        output = np.zeros_like(x)
        for b, length in enumerate(lengths.tolist()):
            row = np.ascontiguousarray(x[b:b + 1, :length])
            if self.cache is None:
                output[b:b + 1, :length] = self.layers[n](row, core_arithmetic=self.core)
            else:
                output[b:b + 1, :length] = self.layers[n].forward_cached(row, self.layers[n].cache(length, type=self.cache))
        return output


def main():
    absent = minilm.missing()
    if absent:
        sys.exit(f"accuracy.py: not installed: {', '.join(absent)}")
    import attend
    import numpy as np
    import torch
    from safetensors.numpy import save_file
    model = minilm.MiniLM()
    states, lengths = model.hidden_states(SENTENCES)
    seen = (torch.arange(states[0].shape[1])[None, :] < lengths[:, None]).numpy()
    exact = [minilm.attend(model.attention_weights_of(n), states[n].float(), lengths)[0].numpy()[seen] for n in range(minilm.LAYERS)]

    def vectors():
        rows = (model.last * torch.from_numpy(seen)[:, :, None]).sum(1)
        return torch.nn.functional.normalize(rows, dim=1)

    true_vectors = vectors()
    print(f"attend {attend.__version__}, {len(SENTENCES)} sentences, {int(lengths.sum())} tokens; error of the layers' outputs, and 1 - cosine of the sentences' vectors")
    print(f"{'weights':>9} {'product':>9} {'core':>9} {'cache':>9}   {'layers 1 to 6':41} {'all':>7}   {'mean':>7} {'worst':>7}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for n in range(minilm.LAYERS):
            save_file({minilm.prefix(n) + key: tensor.numpy() for key, tensor in model.attention_weights_of(n).items()}, folder / f"{n}.safetensors")
        for precision in PRECISIONS:
            line = " ".join(f"{name or '-':>9}" for name in precision)
            if (precision[0] != "float32" and attend.product_instructions(*precision[:2]) is None) or (precision[2] != "float32" and attend.core_instructions(precision[2]) is None):
                print(line + "   not on this CPU")
                continue
            layers = Layers(folder, precision)
            errors = [np.square(layers.run(n, states[n], lengths)[seen] - exact[n]).sum() / np.square(exact[n]).sum() for n in range(minilm.LAYERS)]
            plain, count = minilm.attend, iter(range(minilm.LAYERS))
            minilm.attend = lambda _, x, __: (torch.from_numpy(layers.run(next(count), x, lengths)).double(), None)
            model.hidden_states(SENTENCES)
            minilm.attend = plain
            distances = 1.0 - (vectors() * true_vectors).sum(1).numpy()
            print(line + "   " + " ".join(f"{e ** 0.5:6.1e}" for e in errors) + f" {(sum(errors) / len(errors)) ** 0.5:7.1e}   {distances.mean():7.1e} {distances.max():7.1e}")


if __name__ == "__main__":
    main()
