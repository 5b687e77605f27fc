#!/usr/bin/env python3
"""byte_pair_tables.py: writes byte_pair_tables.h beside itself (Python with tokenizers, whose version stands in the file; ten seconds).

The classes of characters are those that the tokenizers package's regular expressions know, asked of it code point by code point."""
import os

import tokenizers
from tokenizers import Regex
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Digits

from unicode_tables import CHARACTERS, lines, runs


def members(pattern):
    replace = Replace(Regex(pattern), "").normalize_str
    return {c for c in CHARACTERS if replace(c) == ""}


def main():
    letter, number, white = members(r"\p{L}"), members(r"\p{N}"), members(r"\s")
    split = Digits(individual_digits=True).pre_tokenize_str
    digit = {c for c in CHARACTERS if len(split("a" + c + "a")) == 3}
    assert not letter & number and not (letter | number) & white
    print(f"{len(digit - number)} of what Digits splits are no \\p{{N}}, {len(number - digit)} of these stay")

    def kind(c):
        return " | ".join(name for name, of in (("letter", letter), ("number", number), ("white_space", white), ("digit", digit)) if c in of)

    kinds = {c: kind(c) for c in letter | number | white | digit}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "byte_pair_tables.h"), "w", encoding="ascii") as file:
        file.write(f"""\
// Letters, numbers and spaces as the regular expressions of tokenizers {tokenizers.__version__} know them. byte_pair_tables.py wrote it.
#pragma once

namespace attend::tool {{

/// \\p{{L}}, \\p{{N}}, \\s, and what stands alone where digits are split.
enum SymbolKind : unsigned char {{ letter = 1, number = 2, white_space = 4, digit = 8 }};

/// All have these kinds.
struct SymbolRange {{
  char32_t first, last;
  unsigned char kinds;
}};

constexpr SymbolRange symbol_ranges[] = {{
{lines(f"{{0x{first:x}, 0x{last:x}, {value}}}" for first, last, value in runs(kinds))}}};

}}  // namespace attend::tool
""")


if __name__ == "__main__":
    main()
