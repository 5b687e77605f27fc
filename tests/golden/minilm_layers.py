#!/usr/bin/env python3
"""Writes a case for each of MiniLM's six attention layers into a folder: real weights, real hidden states, float64 answers.

`minilm_layers.py FOLDER`; the format is in README.md. Without the model it prints one line and writes nothing.
"""
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "data" / "minilm"))
import minilm

SENTENCES = [
    "Attention lets every word of a sentence look at every other word and take from it what it needs.",
    "Yes.",
    "The lighthouse keeper climbed the two hundred and twelve steps each evening, lit the lamp, wrote a line in the "
    "logbook, and then sat by the window until the fishing boats, one after another, had found their way home through the fog.",
    "On 14 March 1879, in Ulm, a child was born whose equations would, decades later, bend starlight.",
    "How do you convert 37.5 degrees Celsius into Fahrenheit?",
]


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: minilm_layers.py FOLDER", file=sys.stderr)
        sys.exit(2)
    absent = minilm.missing()
    if absent:
        print(f"minilm_layers.py: nothing written, not installed: {', '.join(absent)}")
        return
    import numpy as np
    from safetensors.numpy import save_file
    root = pathlib.Path(sys.argv[1])

    model = minilm.MiniLM()
    states, lengths = model.hidden_states(SENTENCES)
    batch, count, _ = states[0].shape
    names = [f"layer_{layer}" for layer in range(minilm.LAYERS)]
    for layer, name in enumerate(names):
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        hidden = states[layer].float()
        weights = model.attention_weights_of(layer)
        output, probabilities = minilm.attend(weights, hidden, lengths)
        save_file({minilm.prefix(layer) + key: tensor.numpy() for key, tensor in weights.items()},
                  folder / "weights.safetensors")
        (folder / "weights.safetensors").chmod(0o644)
        np.save(folder / "hidden.npy", hidden.numpy())
        np.save(folder / "valid_lens.npy", lengths.numpy().astype("<i8"))
        np.save(folder / "output.npy", output.numpy())
        np.save(folder / "attention_weights.npy", probabilities.numpy())
        lines = ["kind minilm_layer", f"name {name}", f"batch {batch}", f"queries {count}", f"keys {count}",
                 f"num_hiddens {minilm.WIDTH}", f"num_heads {minilm.HEADS}", "bias 1", "lens batch", "empty_rows 0",
                 f"prefix {minilm.prefix(layer)}"]
        (folder / "case.txt").write_text("\n".join(lines) + "\n", newline="\n")
    (root / "cases.txt").write_text("\n".join(names) + "\n", newline="\n")
    print(f"{len(names)} layers, {batch} sentences of {', '.join(map(str, lengths.tolist()))} tokens in {root}")


if __name__ == "__main__":
    main()
