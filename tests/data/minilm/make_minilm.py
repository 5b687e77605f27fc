#!/usr/bin/env python3
"""Makes the real-input data beside this file: one attention layer of MiniLM, four sentences, the answers.

README.md says what the files are. `make_minilm.py [FOLDER]` writes into FOLDER instead.
"""
import pathlib
import sys

sys.dont_write_bytecode = True
import minilm

LAYER, HEAD = 3, 1
SENTENCES = [
    "The trophy does not fit in the suitcase because it is too big.",
    "My sister bought a camera and she uses it every day.",
    "My grandmother baked a cake yesterday, and she brought it to the neighbours because they had helped her.",
    "The trophy does not fit in the suitcase because it is too small.",
]
PRONOUNS = {"it", "she", "they", "her"}


def main():
    absent = minilm.missing()
    if absent:
        sys.exit(f"make_minilm.py: not installed: {', '.join(absent)}")
    import numpy as np
    from safetensors.numpy import save_file
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    root.mkdir(parents=True, exist_ok=True)

    model = minilm.MiniLM()
    states, lengths = model.hidden_states(SENTENCES)
    hidden = states[LAYER].float()
    halves = {name: tensor.half() for name, tensor in model.attention_weights_of(LAYER).items()}
    output, weights = minilm.attend(halves, hidden, lengths)

    save_file({minilm.prefix(LAYER) + name: tensor.numpy() for name, tensor in halves.items()},
              root / "layer.safetensors",
              metadata={"origin": f"sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), layer {LAYER}, rounded to float16"})
    (root / "layer.safetensors").chmod(0o644)
    np.save(root / "hidden.npy", hidden.numpy())
    np.save(root / "lengths.npy", lengths.numpy().astype("<i8"))
    np.save(root / "output.npy", output.float().numpy())
    np.save(root / "attention_weights.npy", weights.float().numpy())

    full_output, full_weights = minilm.attend(model.attention_weights_of(LAYER), states[LAYER], lengths)
    visible = [slice(0, int(n)) for n in lengths]
    change = lambda a, b: max(float((a[i][..., s, :] - b[i][..., s, :]).abs().max()) for i, s in enumerate(visible))
    print(f"rounding to float16 moved an output by at most {change(output, full_output):.1e} "
          f"of {float(full_output.abs().max()):.2f}, a weight by {change(weights, full_weights):.1e}")
    for n, tokens in enumerate(model.tokens(SENTENCES)):
        (root / f"tokens_{n + 1}.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8", newline="\n")
        print(f"{n + 1} ({len(tokens)} tokens): {' '.join(tokens)}")
        for row, token in enumerate(tokens):
            if token in PRONOUNS:
                best = weights[n, HEAD, row].topk(3)
                seen = ", ".join(f"{tokens[j]} [{j}] {p:.3f}" for p, j in zip(best.values.tolist(), best.indices.tolist()))
                print(f"    {token} [{row}] -> {seen}")


if __name__ == "__main__":
    main()
