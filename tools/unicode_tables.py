#!/usr/bin/env python3
"""unicode_tables.py: writes unicode_tables.h beside itself (Python with tokenizers, whose version stands in the file; ten seconds).

The tables are the tokenizers package's, asked of it code point by code point, because models learned from tokens that it cut. Its parts know
different versions of Unicode: it takes categories from 8.0, decompositions and combining classes from 9.0, and lower case from 17.0. What
a later version assigns has no category there, and what has none passes as a letter does. Prints, for each table, of how many code points
this Python's unicodedata says something else."""
import os
import unicodedata

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


def normalizer(**what):
    return BertNormalizer(**{**dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False), **what}).normalize_str


CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = {chr(code) for code in range(0xAC00, 0xD7A4)}  # their decompositions are computed
clean, strip, lower, decompose = normalizer(clean_text=True), normalizer(strip_accents=True), normalizer(lowercase=True), NFD().normalize_str
words = BertPreTokenizer().pre_tokenize_str


def combining_classes():
    """The class of each character that has one but 0: the lowest of whose characters it stays in front."""
    last = "\u0345"  # the only one of class 240, the highest
    moved = [c for c in CHARACTERS if decompose(c) == c and (c == last or decompose(last + c) == c + last)]
    of_class = {}
    for character in moved:
        of_class.setdefault(unicodedata.combining(character), character)
    ladder = sorted(of_class.items())
    assert ladder[0][0] > 0 and ladder[-1] == (240, last)
    assert all(decompose(high + low) == low + high for (_, low), (_, high) in zip(ladder, ladder[1:]))
    return {c: next(number for number, other in ladder if decompose(c + other) == c + other) for c in moved}


def runs(values):
    """The characters of a dict as runs [first, last, value] of neighbours of one value."""
    out = []
    for character, value in sorted(values.items()):
        code = ord(character)
        if out and out[-1][1] == code - 1 and out[-1][2] == value:
            out[-1][1] = code
        else:
            out.append([code, code, value])
    return out


def lower_case_runs(lower_case):
    """Runs [first, last, step, shift]: of neighbours, or of every other code point, as where capitals and small letters take turns."""
    out = []
    for character, small in sorted(lower_case.items()):
        code, shift = ord(character), ord(small) - ord(character)
        if out and out[-1][3] == shift:
            step = code - out[-1][1]
            if step == out[-1][2] or (step <= 2 and out[-1][0] == out[-1][1]):
                out[-1][1:3] = code, step
                continue
        out.append([code, code, 1, shift])
    return out


def lines(entries):
    """Entries of an array, as many in a line as fit."""
    text, line = "", " "
    for entry in entries:
        if len(line) + len(entry) > 130:
            text, line = text + line + "\n", " "
        line += " " + entry + ","
    return text + line + "\n"


def main():
    control = {c for c in CHARACTERS if clean(c) == ""}
    space = {c for c in CHARACTERS if clean(c) == " "}
    punctuation = {c for c in CHARACTERS if [word for word, _ in words("a" + c + "a")] == ["a", c, "a"]}
    mark = {c for c in CHARACTERS if strip(c) == ""}
    classes = combining_classes()
    decompositions = {c: decompose(c) for c in CHARACTERS if decompose(c) != c}
    lower_case = {c: lower(c) for c in CHARACTERS if lower(c) != c}

    # The versions that the first line names: the first of each line is of it, the second of the next.
    assert "\u08e3" in mark and "\u08d4" not in mark
    assert "\u08d4" in classes and "\u1df6" not in classes
    assert "\ua7ce" in lower_case

    # U+0130 alone becomes two characters. Accents are stripped first, which leaves an I.
    assert {c for c, small in lower_case.items() if len(small) > 1} == {"\u0130"} <= decompositions.keys()
    del lower_case["\u0130"]
    assert HANGUL <= decompositions.keys() and all(decompositions[c] == unicodedata.normalize("NFD", c) for c in HANGUL)
    assert max(map(len, decompositions.values())) <= 4
    assert not any(strip(c) != "".join(part for part in text if part not in mark) for c, text in decompositions.items())

    python = {
        "control": (control, {c for c in CHARACTERS if unicodedata.category(c)[0] == "C" and c not in "\t\n\r"} | {"\ufffd"}),
        "space": (space, {c for c in CHARACTERS if unicodedata.category(c)[0] == "Z" or c in "\t\n\r"}),
        "punctuation": (punctuation, {c for c in CHARACTERS if unicodedata.category(c)[0] == "P" or c in "$+<=>^`|~"}),
        "mark": (mark, {c for c in CHARACTERS if unicodedata.category(c) == "Mn"}),
        "combining class": (set(classes.items()), {(c, unicodedata.combining(c)) for c in CHARACTERS if unicodedata.combining(c)}),
        "decomposition": (set(decompositions.items()), {(c, unicodedata.normalize("NFD", c)) for c in CHARACTERS if unicodedata.normalize("NFD", c) != c}),
        "lower case": (set(lower_case.items()), {(c, c.lower()) for c in CHARACTERS if c.lower() != c and c != "\u0130"}),
    }
    for name, (ours, theirs) in python.items():
        print(f"{name}: Unicode {unicodedata.unidata_version} differs in {len({entry[0] for entry in ours ^ theirs})} code points")

    def kind(c):
        return " | ".join(name for name, members in (("control", control), ("space", space), ("punctuation", punctuation), ("mark", mark)) if c in members) or "0"

    facts = {c: (kind(c), classes.get(c, 0)) for c in control | space | punctuation | mark | classes.keys()}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "unicode_tables.h"), "w", encoding="ascii") as file:
        file.write(f"""\
// Unicode as tokenizers {tokenizers.__version__} knows it: categories of Unicode 8.0, decompositions and classes of 9.0, lower case of 17.0. unicode_tables.py wrote it.
#pragma once

namespace attend::tool {{

enum Kind : unsigned char {{ control = 1, space = 2, punctuation = 4, mark = 8 }};

/// All have these kinds and this canonical combining class.
struct CharacterRange {{
  char32_t first, last;
  unsigned char kinds, combining_class;
}};

/// Every code point of the range, `step` apart, has its lower case `shift` further.
struct LowerCaseRange {{
  char32_t first, last;
  int step, shift;
}};

/// The whole canonical decomposition, with zeros after its end.
struct Decomposition {{
  char32_t code, text[4];
}};

constexpr CharacterRange character_ranges[] = {{
{lines(f"{{0x{first:x}, 0x{last:x}, {kinds}, {number}}}" for first, last, (kinds, number) in runs(facts))}}};

constexpr LowerCaseRange lower_case_ranges[] = {{
{lines(f"{{0x{first:x}, 0x{last:x}, {step}, {shift}}}" for first, last, step, shift in lower_case_runs(lower_case))}}};

/// All but those of Hangul syllables.
constexpr Decomposition decompositions[] = {{
{lines(f"{{0x{ord(c):x}, {{{', '.join(hex(ord(part)) for part in text)}}}}}" for c, text in sorted(decompositions.items()) if c not in HANGUL)}}};

}}  // namespace attend::tool
""")


if __name__ == "__main__":
    main()
