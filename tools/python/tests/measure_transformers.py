"""Prints what models of transformers cost with PyTorch's attention (sdpa) and with attend's: whole models, and their attention alone.

    python measure_transformers.py [--repeats N] [--threads 1,2] [CASE ...]

Models have the sizes of real ones, random weights and few layers, of which all are alike. Both run in one process, in turn, in
inference mode: minimum and median, in milliseconds. Attention alone is the time within the attention function and the making of masks.
"""
import argparse
import copy
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

import attend.transformers
from attend.transformers import calls
from transformers import masking_utils
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAMES = ("sdpa", "attend")
spent = dict.fromkeys(NAMES, 0.0)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed(name, function):
    def wrapped(*arguments, **options):
        start = time.perf_counter()
        found = function(*arguments, **options)
        spent[name] += time.perf_counter() - start
        return found
    return wrapped


for name, attention, mask in (("sdpa", sdpa_attention_forward, masking_utils.sdpa_mask),
                              ("attend", attend.transformers.attention, attend.transformers.mask)):
    transformers.AttentionInterface.register("timed_" + name, timed(name, attention))
    transformers.AttentionMaskInterface.register("timed_" + name, timed(name, mask))


def bert():
    return transformers.BertModel(transformers.BertConfig(num_hidden_layers=4))


def vit():
    return transformers.ViTModel(transformers.ViTConfig(num_hidden_layers=4))


def whisper():
    return transformers.WhisperModel(transformers.WhisperConfig(
        d_model=768, encoder_layers=2, decoder_layers=2, encoder_attention_heads=12, decoder_attention_heads=12, encoder_ffn_dim=3072,
        decoder_ffn_dim=3072))


def llama():
    return transformers.LlamaModel(transformers.LlamaConfig(
        vocab_size=1000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=2, num_attention_heads=32, num_key_value_heads=8,
        max_position_embeddings=8192))


def qwen3():
    return transformers.Qwen3Model(transformers.Qwen3Config(
        vocab_size=1000, hidden_size=1024, intermediate_size=3072, num_hidden_layers=4, num_attention_heads=16, num_key_value_heads=8,
        head_dim=128, max_position_embeddings=8192))


def gemma3():
    return transformers.Gemma3TextModel(transformers.Gemma3TextConfig(
        vocab_size=1000, hidden_size=1152, intermediate_size=6912, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, sliding_window=512, layer_types=["sliding_attention"] * 3 + ["full_attention"], max_position_embeddings=8192))


def tokens_of(batch, length, padding):
    """Random tokens and which are some, from a third of the length on."""
    lengths = torch.linspace(length, length // 3, batch).long()[:, None]
    places = torch.arange(length)
    is_token = {"none": places < length, "right": places < lengths, "left": places >= length - lengths}[padding].expand(batch, -1).long()
    return dict(input_ids=torch.randint(1, 1000, (batch, length)), attention_mask=is_token)


def prefill(batch, length, padding="none"):
    def prepare(model):
        given = tokens_of(batch, length, padding)
        return lambda: (lambda: model(**given))
    return prepare


def decode(batch, length, padding="none", steps=4):
    """Tokens one by one after a prompt, each call after a prompt's cache."""
    def prepare(model):
        given = tokens_of(batch, length, padding)
        with torch.inference_mode():
            prompt = model(**given, cache=transformers.DynamicCache(config=model.config)).cache
        token = torch.randint(1, 1000, (batch, 1))

        def begin():
            cache = copy.deepcopy(prompt)

            def run():
                for step in range(steps):
                    shown = torch.nn.functional.pad(given["attention_mask"], (0, step + 1), value=1)
                    model(token, attention_mask=shown, cache=cache)
            return run
        return begin
    return prepare


def images(batch):
    def prepare(model):
        given = torch.randn(batch, 3, 224, 224)
        return lambda: (lambda: model(given))
    return prepare


def speech(batch, length):
    def prepare(model):
        given = dict(input_features=torch.randn(batch, 80, 3000), decoder_input_ids=torch.randint(1, 1000, (batch, length)))
        return lambda: (lambda: model(**given))
    return prepare


CASES = {  # what is special, the model, what it is called with
    "bert-128": ("mask", bert, prefill(8, 128, "right")),
    "bert-512": ("mask", bert, prefill(4, 512, "right")),
    "bert-512-full": ("", bert, prefill(1, 512)),
    "vit-197": ("", vit, images(4)),
    "whisper-1500": ("", whisper, speech(1, 64)),
    "llama-512": ("grouped, causal", llama, prefill(1, 512)),
    "llama-512-left": ("grouped, causal, mask", llama, prefill(2, 512, "left")),
    "llama-2048": ("grouped, causal", llama, prefill(1, 2048)),
    "qwen3-1024-left": ("grouped, causal, mask", qwen3, prefill(2, 1024, "left")),
    "gemma3-1024": ("grouped, causal, window", gemma3, prefill(1, 1024)),
    "gemma3-2048-left": ("grouped, causal, window, mask", gemma3, prefill(2, 2048, "left")),
    "llama-decode-2048": ("grouped", llama, decode(1, 2048)),
    "qwen3-decode-1024-left": ("grouped, mask", qwen3, decode(4, 1024, "left")),
    "gemma3-decode-1024-left": ("grouped, window, mask", gemma3, decode(4, 1024, "left")),
}


def measure(name, threads, repeats):
    special, make, prepare = CASES[name]
    torch.manual_seed(0)
    model = make().eval()
    begin = prepare(model)
    times = {each: [] for each in NAMES}
    alone = {each: [] for each in NAMES}
    calls.clear()
    with torch.inference_mode():
        for repeat in range(1 + repeats):
            for each in NAMES if repeat % 2 else NAMES[::-1]:
                model.set_attn_implementation(each)
                took = seconds(begin())
                if repeat > 0:
                    times[each].append(took)
        assert calls.attend and not calls.dense and not calls.pytorch, str(calls)
        for repeat in range(repeats):
            for each in NAMES if repeat % 2 else NAMES[::-1]:
                model.set_attn_implementation("timed_" + each)
                run, spent[each] = begin(), 0.0
                run()
                alone[each].append(spent[each])
    shown = [f"{name} ({special or 'plain'})", str(threads)]
    for of in (times, alone):
        least = [min(of[each]) for each in NAMES]
        middle = [statistics.median(of[each]) for each in NAMES]
        shown += [f"{1e3 * least[0]:.1f} / {1e3 * middle[0]:.1f}", f"{1e3 * least[1]:.1f} / {1e3 * middle[1]:.1f}",
                  f"{least[0] / least[1]:.2f} / {middle[0] / middle[1]:.2f}"]
    print("| " + " | ".join(shown) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="of: " + ", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", default="1,2")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"{processor()}; torch {torch.__version__}, transformers {transformers.__version__}, attend {attend.__version__} "
          f"({attend.best_isa()}); minimum / median of {arguments.repeats}, ms")
    print("| case | threads | model, sdpa | model, attend | sdpa / attend | attention, sdpa | attention, attend | sdpa / attend |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for threads in map(int, arguments.threads.split(",")):
        torch.set_num_threads(threads)
        for name in arguments.cases or CASES:
            measure(name, threads, arguments.repeats)


main()
