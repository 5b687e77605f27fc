#!/usr/bin/env python3
"""Writes cores/: attention with every option, float32 inputs drawn from seeds, answers by PyTorch in float64.

README.md has the formats. `make_core_golden.py [FOLDER]` writes into FOLDER instead of cores/ beside this file.
"""
import math
import pathlib
import sys

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)

SIZE_LIMIT = 400 * 1000
RANDOM_CORES, RANDOM_MODULES = 75, 10


# ---- Numbers that the tests draw again: the Random of engine_test.h ----

class Random:
    """splitmix64, many draws at a time."""

    def __init__(self, seed):
        self.state = seed

    def bits(self, count):
        with np.errstate(over="ignore"):
            steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            x = np.uint64(self.state) + steps
            self.state = (self.state + count * 0x9E3779B97F4A7C15) % 2**64
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return x ^ (x >> np.uint64(31))

    @staticmethod
    def numbers_of(bits):
        """In [-1, 1), exact in float32."""
        return (bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0

    def numbers(self, *shape, times=1.0):
        return torch.from_numpy(times * self.numbers_of(self.bits(math.prod(shape))).reshape(shape))

    def mask(self, shape):
        """Hides one in four."""
        return torch.from_numpy((self.bits(math.prod(shape)) % np.uint64(4) != 0).reshape(shape))

    def additive_mask(self, shape):
        """Twice a number, -inf one time in eight; each element takes two draws."""
        bits = self.bits(2 * math.prod(shape)).reshape(-1, 2)
        numbers = np.where(bits[:, 0] % np.uint64(8) == 0, -np.inf, 2.0 * self.numbers_of(bits[:, 1]))
        return torch.from_numpy(numbers.reshape(shape))


# ---- What is computed ----

def alibi_slopes(heads):
    """get_slopes of the ALiBi paper's code."""
    def power_of_2(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]
    if math.log2(heads).is_integer():
        return power_of_2(heads)
    closest = 2 ** math.floor(math.log2(heads))
    return power_of_2(closest) + alibi_slopes(2 * closest)[0::2][: heads - closest]


def relative_position_bucket(relative_position, bidirectional, num_buckets, max_distance):
    """_relative_position_bucket of T5's code; relative_position is key - query."""
    buckets = torch.zeros_like(relative_position)
    if bidirectional:
        num_buckets //= 2
        buckets += (relative_position > 0).long() * num_buckets
        distance = relative_position.abs()
    else:
        distance = -torch.minimum(relative_position, torch.zeros_like(relative_position))
    max_exact = num_buckets // 2
    large = max_exact + (torch.log(distance.clamp(min=1).float() / max_exact) / math.log(max_distance / max_exact)
                         * (num_buckets - max_exact)).long()
    large = torch.minimum(large, torch.full_like(large, num_buckets - 1))
    return buckets + torch.where(distance < max_exact, distance, large)


def attention(q, k, v, options, visible, bias, sinks):
    """q (B, H, L, D), k (B, G, S, D), v (B, G, S, Dv), visible (B, H, L, S) -> output, lse, weights."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(-1, -2)) * options.get("scale", 1.0 / math.sqrt(q.shape[-1]))
    if "softcap" in options:
        scores = options["softcap"] * torch.tanh(scores / options["softcap"])
    scores = (scores + bias).masked_fill(~visible, -math.inf)
    visible = scores > -math.inf
    logits = scores
    if sinks is not None:  # as gpt-oss has it: one more column, dropped after the softmax
        logits = torch.cat([scores, sinks[None, :, None, None].expand(*scores.shape[:3], 1)], -1)
    lse = torch.logsumexp(logits, -1)
    weights = torch.softmax(logits, -1)[..., : scores.shape[-1]]
    empty = 1.0 / scores.shape[-1] if options.get("empty_rows") == "uniform" else 0.0
    weights = torch.where(visible.any(-1, keepdim=True), weights, empty)
    return weights @ v, lse, weights


class Cores:
    """The cases and answers written so far."""

    def __init__(self):
        self.lines, self.answers, self.buckets = [], [], []
        self.answer_count = self.bucket_count = self.cases = 0

    def begin(self, kind, options, **shape):
        """A new case: its lines are written, and the numbers that it draws are given."""
        self.cases += 1
        seed = self.cases
        if "valid_lens" in options:
            shape["lens"] = "batch" if np.ndim(options["valid_lens"]) == 1 else "query"
        self.lines.append("")
        for key, value in {"kind": kind, "seed": seed, **shape, **options}.items():
            value = ",".join(map(str, np.ravel(value))) if np.ndim(value) else value
            self.lines.append(f"{key} {value}")
        self.lines.append(f"answers {self.answer_count}")
        return Random(seed)

    def answer(self, tensor):
        assert tensor.dtype == torch.float64 and not tensor.isnan().any()
        self.answers.append(tensor.reshape(-1).numpy())
        self.answer_count += tensor.numel()

    def core(self, batch, query_heads, key_heads, queries, keys, width, value_width, **options):
        random = self.begin("core", options, batch=batch, query_heads=query_heads, key_heads=key_heads, queries=queries,
                            keys=keys, width=width, value_width=value_width)
        q = random.numbers(batch, query_heads, queries, width, times=2.0)
        k = random.numbers(batch, key_heads, keys, width)
        v = random.numbers(batch, key_heads, keys, value_width)
        self.attend(q, k, v, options, random)

    def module(self, batch, query_heads, key_heads, queries, keys, width, sizes, bias, **options):
        """sizes: of queries, keys and values. The layer is width * query_heads wide."""
        random = self.begin("module", options, batch=batch, query_heads=query_heads, key_heads=key_heads, queries=queries,
                            keys=keys, width=width, query_size=sizes[0], key_size=sizes[1], value_size=sizes[2], bias=bias)
        inputs = [random.numbers(batch, n, size) for n, size in zip((queries, keys, keys), sizes)]
        layers = []
        wide, narrow = width * query_heads, width * key_heads
        for size, outputs in zip((*sizes, wide), (wide, narrow, narrow, wide)):
            layer = nn.Linear(size, outputs, bias=bool(bias), dtype=torch.float64)
            layer.weight.copy_(random.numbers(outputs, size, times=0.5))
            layers.append(layer)
        for layer in layers if bias else []:
            layer.bias.copy_(random.numbers(layer.out_features))
        q, k, v = (layer(x).unflatten(-1, (-1, width)).transpose(1, 2) for layer, x in zip(layers, inputs))
        self.attend(q, k, v, options, random, layers[3])

    def attend(self, q, k, v, options, random, output_layer=None):
        """Draws what the options need besides, computes, checks and keeps the answers."""
        B, H, L, D = q.shape
        S = k.shape[2]
        position = torch.arange(L) + options.get("offset", 0) + torch.tensor(options.get("offsets", [0]))[:, None]
        distance = torch.arange(S) - position[:, None, :, None]  # (B or 1, 1, L, S): key - query
        visible = torch.ones(B, H, L, S, dtype=torch.bool)
        if "valid_lens" in options:
            visible &= torch.arange(S) < torch.tensor(options["valid_lens"]).reshape(B, 1, -1, 1)
        if options.get("causal"):
            visible &= distance <= 0
        if "window_left" in options:
            visible &= distance >= -options["window_left"]
        if "window_right" in options:
            visible &= distance <= options["window_right"]
        bias = torch.zeros(B, H, L, S, dtype=torch.float64)
        if "mask" in options:
            visible &= random.mask(options["mask"])
        if "additive_mask" in options:
            bias += random.additive_mask(options["additive_mask"])
        if options.get("alibi"):
            slopes = torch.tensor(alibi_slopes(H), dtype=torch.float64)
            self.answer(slopes)
            bias -= slopes.float().double()[:, None, None] * distance.abs()
        if "relative_buckets" in options:
            table = random.numbers(options["relative_buckets"], H, times=2.0)
            buckets = relative_position_bucket(distance, bool(options["bidirectional"]), options["relative_buckets"],
                                               options["max_distance"]).expand(B, 1, L, S)
            self.lines.append(f"bucket_answers {self.bucket_count}")
            self.buckets.append(buckets.reshape(-1).numpy().astype("<i4"))
            self.bucket_count += buckets.numel()
            bias += table[buckets[:, 0]].permute(0, 3, 1, 2)
        sinks = random.numbers(H, times=2.0) if options.get("sinks") else None

        output, lse, weights = attention(q, k, v, options, visible, bias, sinks)
        check_against_torch(q, k, v, options, visible, bias, output)
        check_in_float32(q, k, v, options, visible, bias, sinks, output, lse)
        if output_layer is not None:
            output = output_layer(output.transpose(1, 2).flatten(2))
        self.answer(output)
        self.answer(lse)
        if options.get("weights"):
            self.answer(weights)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cases.txt").write_text("\n".join(self.lines[1:]) + "\n", newline="\n")
        np.save(folder / "answers.npy", np.concatenate(self.answers).astype("<f8"))
        np.save(folder / "buckets.npy", np.concatenate(self.buckets))
        total = sum(file.stat().st_size for file in folder.iterdir())
        assert total < SIZE_LIMIT, total
        print(f"{self.cases} cases, {self.answer_count} answers, {total} bytes")


def check_against_torch(q, k, v, options, visible, bias, output):
    """The same by torch's own attention function, where it can: the generator checks itself."""
    if "softcap" in options or options.get("sinks"):
        return
    mask = bias.masked_fill(~visible, -math.inf)
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=options.get("scale"), enable_gqa=True)
    seen = (mask > -math.inf).any(-1)
    assert largest((expected - output)[seen]) < 1e-12


def check_in_float32(q, k, v, options, visible, bias, sinks, output, lse):
    """No case is so ill-conditioned that float32 could not keep the engine's tolerance, 4e-6 of the largest."""
    f32 = lambda x: None if x is None else x.float()
    single, single_lse, _ = attention(f32(q), f32(k), f32(v), options, visible, f32(bias), f32(sinks))
    finite = lse.isfinite()
    assert largest(single.double() - output) <= 2e-6 * largest(output), largest(single.double() - output) / largest(output)
    assert largest((single_lse.double() - lse)[finite]) <= 2e-6 * max(1.0, largest(lse[finite]))


def largest(x):
    return x.abs().max().item() if x.numel() else 0.0


# ---- The cases ----

def option_by_option(cores):
    """Each option by itself, at sizes that are easy to look at, and its corners."""
    plain = (2, 4, 2, 5, 9, 8, 5)  # batch, query_heads, key_heads, queries, keys, width, value_width
    one = (1, 2, 2, 6, 6, 8, 8)
    cores.core(*plain, weights=1)
    for heads in ((4, 4), (4, 1), (6, 2), (1, 1)):
        cores.core(2, *heads, 3, 7, 8, 8)
    for widths in ((1, 1), (5, 12), (16, 3), (33, 20), (64, 64), (80, 96), (128, 40)):
        cores.core(1, 2, 1, 3, 11, *widths)
    for queries, keys in ((1, 1), (1, 130), (3, 257), (20, 3), (33, 1)):
        cores.core(1, 2, 2, queries, keys, 8, 4)
    for scale in (1, 0, -0.5, 0.0625):
        cores.core(*plain, scale=float(scale))
    for softcap in (0.5, 2, 30):
        cores.core(*plain, softcap=float(softcap), weights=1)
    for lens in ([9, 4], [0, 12], [[9, 0, 3, 1, 12], [2, 8, 9, 0, 5]]):
        cores.core(*plain, valid_lens=lens, weights=1)
    cores.core(*plain, valid_lens=[0, 3], empty_rows="uniform", weights=1)
    for offset in (0, 4, 2, -2, -5, 9):  # upper left, lower right, a past, negative, no key, all keys
        cores.core(*plain, causal=1, offset=offset, weights=1)
    cores.core(*plain, causal=1, offset=3, offsets=[-6, 1], weights=1)
    cores.core(*plain, causal=1, offset=-2, empty_rows="uniform", weights=1)
    for left, right in ((0, 0), (2, None), (None, 1), (3, 2)):
        for offset in (0, 4, -3):
            window = {"window_left": left, "window_right": right}
            cores.core(*plain, offset=offset, **{key: value for key, value in window.items() if value is not None})
    cores.core(*plain, causal=1, window_left=2, offset=4)
    cores.core(*plain, window_left=1, window_right=1, offsets=[4, -1])
    for shape in ([9], [1], [5, 9], [5, 1], [4, 5, 9], [4, 1, 9], [2, 4, 5, 9], [2, 1, 5, 9], [2, 1, 1, 9], [1, 4, 5, 1]):
        cores.core(*plain, mask=shape)
        cores.core(*plain, additive_mask=shape)
    cores.core(*plain, mask=[2, 1, 5, 9], additive_mask=[4, 1, 9], weights=1)
    for heads in (1, 2, 3, 5, 6, 8, 12, 20):
        cores.core(1, heads, 1, 2, 5, 4, 4, alibi=1)
    for offset in (3, -4):
        cores.core(*one, alibi=1, causal=1, offset=offset)
    cores.core(*plain, alibi=1, offsets=[4, 0])
    for relative in ((32, 1, 128), (32, 0, 128), (8, 1, 20), (8, 0, 20), (12, 1, 50), (4, 1, 8), (2, 0, 8), (64, 0, 256)):
        t5 = dict(zip(("relative_buckets", "bidirectional", "max_distance"), relative))
        cores.core(*plain, **t5, scale=1.0)
        cores.core(1, 2, 2, 1, 301, 4, 4, **t5, offset=150)  # distances from -150 to 150
    cores.core(*plain, relative_buckets=16, bidirectional=0, max_distance=40, causal=1, offsets=[4, 1], scale=1.0)
    cores.core(*plain, sinks=1, weights=1)
    cores.core(*plain, sinks=1, valid_lens=[0, 6], weights=1)
    cores.core(1, 8, 1, 4, 140, 16, 16, sinks=1, causal=1, window_left=127, offset=136)  # as gpt-oss has it


def random_options(draw, B, H, L, S):
    """Any of the options together, each now and then."""
    chance = lambda times: draw.integers(times) == 0
    between = lambda least, most: int(draw.integers(least, most + 1))
    options = {}
    if chance(4):
        options["scale"] = float(np.float32(draw.choice([1.0, 0.125, -0.25, draw.uniform(0.05, 0.5)])))
    if chance(5):
        options["softcap"] = float(np.float32(draw.choice([1.0, 5.0, draw.uniform(0.5, 20)])))
    if chance(3):
        lengths = lambda *shape: np.where(draw.random(shape) < 0.2, draw.choice([0, 1, S, S + 3], shape), draw.integers(0, S + 1, shape))
        options["valid_lens"] = (lengths(B, L) if chance(2) else lengths(B)).tolist()
    if chance(2):
        options["causal"] = 1
    if chance(2):
        options["offset"] = int(draw.choice([S - L, between(0, S), -between(1, L + 1), S + 2]))
    if chance(4):
        options["offsets"] = [between(-L, S) for _ in range(B)]
    if chance(4):
        options["window_left"] = between(0, S)
    if chance(5):
        options["window_right"] = between(0, S)
    for key, times in (("mask", 4), ("additive_mask", 4)):
        if chance(times):
            rank = between(1, 4)
            options[key] = [1 if chance(4) else size for size in (B, H, L, S)[4 - rank:]]
    if chance(5):
        options["alibi"] = 1
    if chance(5):
        options["relative_buckets"], options["max_distance"] = [(32, 128), (16, 40), (8, 20)][between(0, 2)]
        options["bidirectional"] = between(0, 1)
    if chance(4):
        options["sinks"] = 1
    if chance(4):
        options["empty_rows"] = "uniform"
    if B * H * L * S <= 300 and chance(3):
        options["weights"] = 1
    return options


def random_cases(cores):
    draw = np.random.Generator(np.random.PCG64(2024))
    between = lambda least, most: int(draw.integers(least, most + 1))
    written = 0
    while written < RANDOM_CORES:
        B, G, repeats = between(1, 3), between(1, 3), between(1, 4)
        L, S = [(between(1, 6), between(1, 30)), (between(1, 24), between(1, 24)), (between(1, 3), between(100, 300))][between(0, 2)]
        D = int(draw.choice([1, 3, 4, 8, 13, 16, 20, 32, 64]))
        Dv = D if between(0, 2) else int(draw.choice([1, 2, 7, 16, 24]))
        options = random_options(draw, B, G * repeats, L, S)
        if B * G * repeats * L * (Dv + 1) > 400:
            continue
        cores.core(B, G * repeats, G, L, S, D, Dv, **options)
        written += 1
    for n in range(RANDOM_MODULES):
        B, G, repeats, L, S = between(1, 2), between(1, 3), (1, 1, 2)[n % 3], between(1, 7), between(1, 12)
        options = random_options(draw, B, G * repeats, L, S)
        cores.module(B, G * repeats, G, L, S, int(draw.choice([2, 4, 5, 8])), [between(3, 20) for _ in range(3)], n % 2, **options)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "cores"
    cores = Cores()
    with torch.no_grad():
        option_by_option(cores)
        random_cases(cores)
    cores.write(folder)


if __name__ == "__main__":
    main()
