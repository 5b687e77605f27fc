"""Prints what nn.TransformerEncoder (6 layers of 768, 12 heads, a key padding mask) costs by PyTorch alone, and with attend's attention.

    python measure_encoder.py [REPEATS]

Both run in one process, in turn, in inference mode; medians, in milliseconds.
"""
import copy
import statistics
import sys
import time
import warnings

import torch

import attend.torch


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")


def milliseconds(call):
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
    alone = torch.nn.TransformerEncoder(layer, 6).eval()
    padded = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    padded.load_state_dict(alone.state_dict())
    models = {"torch": alone, "attend": copy.deepcopy(alone), "torch, padded": padded, "attend, padded": copy.deepcopy(padded)}
    replacements = [attend.torch.replace(models[name]) for name in models if name.startswith("attend")]
    assert all(len(replacement.swapped) == 6 for replacement in replacements)
    print(f"{processor()}; torch {torch.__version__}, attend {attend.__version__} ({attend.best_isa()})")
    print("padded: enable_nested_tensor=False, so that rows of padding are computed, too")
    print("| threads | B | L | " + " | ".join(models) + " | torch / attend | padded | largest difference |")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch, length in ((1, 128), (1, 512), (8, 128), (8, 512)):
            x = torch.randn(batch, length, 768)
            lengths = torch.linspace(length, length // 2, batch).long() if batch > 1 else torch.tensor([length * 3 // 4])
            padding = torch.arange(length) >= lengths[:, None]
            times = {name: [] for name in models}
            with torch.inference_mode():
                calls = {name: lambda model=model: model(x, src_key_padding_mask=padding) for name, model in models.items()}
                found = {name: call() for name, call in calls.items()}
                difference = max((found["torch" + kind] - found["attend" + kind]).abs().max().item() for kind in ("", ", padded"))
                for _ in range(max(3, repeats if batch * length < 2048 else repeats // 2)):
                    for name, call in calls.items():
                        times[name].append(milliseconds(call))
            medians = {name: statistics.median(values) for name, values in times.items()}
            ratios = [medians["torch" + kind] / medians["attend" + kind] for kind in ("", ", padded")]
            print(f"| {threads} | {batch} | {length} | " + " | ".join(f"{value:.1f}" for value in medians.values())
                  + f" | {ratios[0]:.2f} | {ratios[1]:.2f} | {difference:.1e} |", flush=True)


main()
