#!/usr/bin/env python3
"""greedy_tokens.py MODEL.gguf [--precision float32,bf16,int8,int4] [other flags of attend generate]: whether attend's tokens are those of a plain
model in torch on the same weights, made floats (Python with torch, tokenizers, numpy and gguf; the tool in $ATTEND_TOOL, else build/attend; two
minutes a precision).

attend continues each of 20 prompts by 64 tokens, the likeliest each time, in float32 unless more is asked for. A table has for each precision

- the likeliest tokens: how many are those of torch in float64 behind the tokens before,
- less likely: by how much torch's logarithm of a token's probability is lower than the likeliest one's, on average,
- as in float32: how many tokens come before a text first differs from that in float32; whole texts: how many never do.

Where float32 takes another token than torch, a line tells by how much torch's score of that is higher, beside how much all scores spread."""
import argparse
import os
import subprocess
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(FOLDER, "..", "tests", "golden"))
import torch  # noqa: E402
from byte_pair_model import tokenizer_of  # noqa: E402
from plain_llama import PlainLlama  # noqa: E402

PROMPTS = """The capital of France is
Once upon a time, there was a little girl who
def fibonacci(n):
The three laws of thermodynamics are
In 1969, Neil Armstrong
To make a good cup of tea, you need
Water boils at 100 degrees
The quick brown fox
Dear Sir or Madam,
1, 2, 4, 8, 16,
Photosynthesis is the process by which
#include <stdio.h>
The derivative of x squared is
Les enfants jouent dans
Shakespeare wrote
A list of the planets: Mercury, Venus,
My favourite colour is
SELECT name FROM
If it rains tomorrow,
The meaning of life is""".split("\n")
TOKENS = 64
ENDS = ("<|im_end|>", "<|endoftext|>")


def torch_scores(model, tokenizer, prompt, ids):
    """The scores behind the prompt and behind each of the ids; and the ids, with the end of the text where there is one."""
    before = tokenizer.encode(prompt).ids
    scores = model(before + ids)[len(before) - 1:]
    if len(ids) < TOKENS:  # it ended the text, by the likelier of the tokens that do
        ids = ids + [max(map(tokenizer.token_to_id, ENDS), key=lambda end: float(scores[-1][end]))]
    return ids, scores


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("--precision", default="float32")
    arguments, flags = parser.parse_known_args()
    model = PlainLlama(arguments.model, torch.float64)
    tokenizer = tokenizer_of(model.fields)

    def written(precision):
        words = [os.environ.get("ATTEND_TOOL", "build/attend"), "generate", "--model", arguments.model, "--tokens", str(TOKENS), "--ids", "--quiet", *flags]
        outputs = [subprocess.run([*words, "--precision", precision, prompt], check=True, stdout=subprocess.PIPE).stdout for prompt in PROMPTS]
        return [[int(word) for word in output.split()] for output in outputs]

    exact = written("float32")
    table = []
    for precision in arguments.precision.split(","):
        equal = count = common = same = 0
        less_likely = 0.0
        for prompt, reference, ids in zip(PROMPTS, exact, exact if precision == "float32" else written(precision)):
            same += ids == reference
            common += len(os.path.commonprefix([ids, reference]))
            ids, scores = torch_scores(model, tokenizer, prompt, ids)
            for n, (id, row) in enumerate(zip(ids, scores)):
                best = int(row.argmax())
                count += 1
                equal += best == id
                less_likely += float(row[best] - row[id])
                if best != id and precision == "float32":
                    print(f"{prompt!r}, token {n}: {tokenizer.id_to_token(id)!r} instead of {tokenizer.id_to_token(best)!r}, whose score is {float(row[best] - row[id]):.2g} higher; "
                          f"the standard deviation of all is {float(row.std()):.2g}", flush=True)
        table.append(f"| `{precision}` | {equal} of {count} | {less_likely / count:.4f} | {common} of {sum(map(len, exact))} | {same} of {len(PROMPTS)} |")
    print("| | the likeliest tokens | less likely, nats | as in float32 | whole texts |", "| --- | --- | --- | --- | --- |", *table, sep="\n")


if __name__ == "__main__":
    main()
