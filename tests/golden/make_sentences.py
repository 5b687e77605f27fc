#!/usr/bin/env python3
"""Writes sentences/vectors.npy: what sentence-transformers makes of the lines of sentences/lines.txt with all-MiniLM-L6-v2.

`make_sentences.py MODEL` (Python with torch and sentence-transformers; half a minute): MODEL is the model's folder. Computed in float64 from
the model's float32 weights, one sentence at a time, so that no padding takes part; rounded to float32 once."""
import os
import sys

import numpy
from sentence_transformers import SentenceTransformer

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentences")


def main():
    with open(os.path.join(FOLDER, "lines.txt"), encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")[:-1]
    model = SentenceTransformer(sys.argv[1], device="cpu").double()
    vectors = numpy.stack([model.encode([line], convert_to_numpy=True)[0] for line in lines])
    numpy.save(os.path.join(FOLDER, "vectors.npy"), vectors.astype(numpy.float32))
    print(len(lines), "lines,", vectors.dtype, vectors.shape)


main()
