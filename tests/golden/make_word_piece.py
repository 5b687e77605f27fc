#!/usr/bin/env python3
"""Writes word_piece/: ids of the tokenizers package, whose version stands in the files, as hashes.

`make_word_piece.py [MODEL]` (Python with tokenizers; a minute): with the folder of all-MiniLM-L6-v2 the hashes with its vocabulary, too.
README.md says what is hashed."""
import os
import struct
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing, TemplateProcessing

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "word_piece")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LINES, LINES_IN_HASH, BLOCK = 6000, 100, 0x1000


class Random:
    """splitmix64, as tools/checks/random.h."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        x = self.state
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return (x ^ (x >> 31)) % count


def read(name):
    with open(os.path.join(FOLDER, name), "rb") as file:
        return file.read().split(b"\n")[:-1]


def small_vocabulary():
    characters = [chr(code) for first, last in ((0x21, 0xD7FF), (0xE000, 0x3347F), (0xE0000, 0xE01EF)) for code in range(first, last + 1)]
    pieces = [piece.decode() for piece in read("pieces.txt")]
    return SPECIAL + pieces + [token for character in characters for token in (character, "##" + character)]


def small_tokenizer():
    vocabulary = {token: n for n, token in enumerate(small_vocabulary())}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")])
    return tokenizer


def cased_tokenizer():
    """All rules are the other ones than above; what it lacks is [UNK]."""
    characters = [chr(code) for first, last in ((0x21, 0x24F), (0x300, 0x36F), (0x4E00, 0x4E7F)) for code in range(first, last + 1)]
    tokens = SPECIAL + [piece.decode() for piece in read("pieces.txt")] + [token for character in characters for token in (character, "##" + character)]
    tokenizer = Tokenizer(WordPiece({token: n for n, token in enumerate(dict.fromkeys(tokens))}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def characters(first):
    """Each code point of a block alone, and twice in a word."""
    for code in range(first, first + BLOCK):
        if not 0xD800 <= code < 0xE000:
            yield chr(code).encode()
            yield ("a" + chr(code) + "B" + chr(code)).encode()


def random_lines():
    parts = [bytes.fromhex(line.split()[0].decode()) for line in read("parts.txt")]
    random = Random(18)
    for _ in range(LINES):
        line = b""
        for _ in range(random.below(40)):
            kind = random.below(8)
            if kind == 0:
                code = random.below(0x33480)
                line += b"\xff" if 0xD800 <= code < 0xE000 else chr(code).encode()
            elif kind == 1:
                line += bytes([random.below(256)])
            elif kind == 2:
                line += chr(random.below(0x600)).encode()
            elif kind == 3:
                line += chr(0xAC00 + random.below(0x2BA4)).encode()
            else:
                line += parts[random.below(len(parts))]
        yield line


def digest(tokenizer, lines):
    """FNV-1a of all ids, in four bytes each."""
    value = 0xCBF29CE484222325
    for encoding in tokenizer.encode_batch([line.decode("utf-8", errors="replace") for line in lines]):
        for byte in struct.pack(f"<{len(encoding.ids)}i", *encoding.ids):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def write(name, tokenizer):
    with open(os.path.join(FOLDER, name), "w", encoding="ascii") as file:
        file.write(f"# tokenizers {tokenizers.__version__}\n")
        tokenizer.no_padding()
        tokenizer.enable_truncation(512)
        for first in range(0, 0x110000, BLOCK):
            file.write(f"characters {first} {digest(tokenizer, characters(first))}\n")
        for limit in (512, 16):
            tokenizer.enable_truncation(limit)
            lines = list(random_lines())
            for first in range(0, LINES, LINES_IN_HASH):
                file.write(f"random_{limit} {first} {digest(tokenizer, lines[first:first + LINES_IN_HASH])}\n")
            for number, line in enumerate(read("lines.txt")):
                file.write(f"lines_{limit} {number} {digest(tokenizer, [line])}\n")


if __name__ == "__main__":
    write("small_ids.txt", small_tokenizer())
    cased_tokenizer().save(os.path.join(FOLDER, "cased.json"), pretty=False)
    write("cased_ids.txt", cased_tokenizer())
    if len(sys.argv) > 1:
        write("minilm_ids.txt", Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json")))
