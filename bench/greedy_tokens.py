#!/usr/bin/env python3
"""greedy_tokens.py MODEL.gguf [flags of attend generate]: whether attend's tokens are those of a plain model in torch on the same weights, made
floats (Python with torch, tokenizers, numpy and gguf; the tool in $ATTEND_TOOL, else build/attend; five minutes).

attend continues each of 20 prompts by 64 tokens, the likeliest each time. torch then says in float64 for each of them which is the likeliest
behind the tokens before: where it is another one, a line tells by how much torch's score of that is higher, beside how much all scores spread."""
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


def main():
    path, flags = sys.argv[1], sys.argv[2:]
    model = PlainLlama(path, torch.float64)
    tokenizer = tokenizer_of(model.fields)
    equal = count = 0
    for prompt in PROMPTS:
        words = [os.environ.get("ATTEND_TOOL", "build/attend"), "generate", prompt, "--model", path, "--tokens", str(TOKENS), "--ids", "--quiet", *flags]
        ids = [int(word) for word in subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout.split()]
        before = tokenizer.encode(prompt).ids
        scores = model(before + ids)[len(before) - 1:]
        if len(ids) < TOKENS:  # it ended the text, by the likelier of the tokens that do
            ids.append(max(map(tokenizer.token_to_id, ENDS), key=lambda end: float(scores[-1][end])))
        for n, (id, row) in enumerate(zip(ids, scores)):
            best = int(row.argmax())
            count += 1
            equal += best == id
            if best != id:
                print(f"{prompt!r}, token {n}: {tokenizer.id_to_token(id)!r} instead of {tokenizer.id_to_token(best)!r}, whose score is {float(row[best] - row[id]):.2g} higher; "
                      f"the standard deviation of all is {float(row.std()):.2g}", flush=True)
    print(f"{equal} of {count} tokens are equal")


if __name__ == "__main__":
    main()
