#!/usr/bin/env python3
"""amalgamate.py FOLDER: writes the engine there as one source file, attend.cpp, and its headers, attend.hpp and attend.h.

Run at the repository's root. What the engine is made of, and the flags of each ISA, come from src/build.mk; regions of
attend.cpp stand for those flags, so that one command without any compiles every ISA.
"""
import pathlib
import re
import shutil
import sys

PUBLIC_HEADERS = "attend.hpp", "attend.h"

HEAD = """\
// attend {version}: multi-head attention on CPUs, the whole library in one file. Made by `make amalgamation`: not to be edited.
//
//     g++ -O2 -c attend.cpp      (g++ 11 or clang++ 16, or later; before, with -std=c++17; on x86-64 or aarch64)
//
// It takes attend.hpp and attend.h beside it, and holds every ISA of its architecture: a call uses the best one that the CPU has.
// Programs include attend.hpp, or attend.h in C, and link with -lpthread -lm. Results have the bits of the library that make builds.
//
// Of use: -fno-exceptions -fno-rtti, with which C programs link it by cc, without libstdc++; -DATTEND_THREADS=0, without the
// thread pool; -DATTEND_LOW_PRECISION=0, without those of bfloat16, float16 and int8, a fifth less; -Os, for a quarter less code, and calls of microseconds that take a tenth longer.
// To be left out: -ffast-math, an error; clang's -ffp-contract=fast, which changes bits; -march, with which older CPUs do not get
// as far as the choice of the ISA.

#if __cplusplus < 201703L
#error "attend.cpp needs C++17: -std=c++17"
#endif
#if !defined(ATTEND_THREADS)
#define ATTEND_THREADS 1
#endif
#if !defined(ATTEND_LOW_PRECISION)
#define ATTEND_LOW_PRECISION 1
#elif !ATTEND_LOW_PRECISION
#define ATTEND_BUILT_PRODUCTS(LIST)
#define ATTEND_BUILT_INT4(LIST)
#endif
#define ATTEND_REGIONS  // what an ISA's files may use is said by pragmas, of which g++ 12 tells no macros

// All headers of the system: within a region their inline functions would be compiled for its ISA, and the linker may take
// one of those for the whole program.
{headers}
// A product and a sum that become one multiply-add have other bits.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang diagnostic ignored "-Wunused-function"  // files that several kernel files take, of which not all need all
#pragma clang diagnostic ignored "-Wunused-const-variable"
#pragma clang diagnostic ignored "-Wunneeded-internal-declaration"
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif
#pragma GCC visibility push(hidden)

#include "attend.hpp"
#include "attend.h"
"""

REGION = """
#if defined(__clang__)
#pragma clang attribute push{clang}
#else
#pragma GCC push_options{gcc}
#pragma GCC optimize({levels})
#endif
{text}
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
"""

TAIL = """
#pragma GCC visibility pop
#if !defined(__clang__)
#pragma GCC pop_options
#endif
"""

# A header of the system, or some of them under a condition of their own.
SYSTEM_HEADERS = re.compile(r"^(?:#if .*\n(?:#include <.*>\n)+#endif|#include <.*>)\n", re.MULTILINE)

included = set()


def expand(path):
    """The text of src/path with what it includes of src/ in place: a header where it is first included, other files each time."""

    def replace(match):
        name = match[1]
        if name.startswith("attend/") or name in included:
            return ""
        if name.endswith(".h"):
            included.add(name)
        return expand(name)

    text = pathlib.Path("src", path).read_text().replace("#pragma once\n", "")
    return f"\n// ---- src/{path}\n" + re.sub(r'^#include "(.*)".*\n', replace, text, flags=re.MULTILINE)


def region(file, level, settings):
    """A kernel file, compiled as with its flags and that level; clang's pragma knows no level, and of flags that have a value only arch; the others tune."""
    flags = [flag.removeprefix("-m") for flag in settings[f"flags_{file}"]]
    names = ",".join(flag for flag in flags if "=" not in flag or flag.startswith("arch="))
    levels = [flag.removeprefix("-").removeprefix("f") for flag in settings[level] + settings["gcc_flags_kernels"] + settings.get(f"gcc_flags_{file}", [])]
    return REGION.format(
        clang=f'(__attribute__((target("{names}"))), apply_to = function)' if names else "",
        gcc=f'\n#pragma GCC target("{",".join(flags)}")' if flags else "",
        levels=", ".join(f'"{level}"' for level in levels),
        text=expand(f"kernels/{file}.cpp"),
    )


def with_low_precision(text):
    return f"#if ATTEND_LOW_PRECISION\n{text}#endif\n"


def built(isas, products):
    """The lists of what is built, as macros: ISAs, files of products, and those of int4."""
    int4 = [name for name in products if name.endswith("_int4")]
    products = [name for name in products if name not in int4]
    isas, products, int4 = (" ".join(f"{macro}({name})" for name in names) for macro, names in (("ISA", isas), ("LIST", products), ("LIST", int4)))
    lists = f"#define ATTEND_BUILT_PRODUCTS(LIST) {products}\n#define ATTEND_BUILT_INT4(LIST) {int4}\n"
    return f"#define ATTEND_BUILT_ISAS(ISA) {isas}\n" + with_low_precision(lists)


def system_headers(text):
    return "".join(sorted(set(SYSTEM_HEADERS.findall(text)), key=lambda block: (block.startswith("#if"), block)))


def without_headers(text):
    rest = SYSTEM_HEADERS.sub("", text)
    assert "#include <" not in rest, "a header of the system is under a condition together with other lines"
    return re.sub(r"\n{3,}", "\n\n", rest)


def amalgamate():
    public = [pathlib.Path("include/attend", header).read_text() for header in PUBLIC_HEADERS]
    version = re.search(r'define ATTEND_VERSION "(.*)"', public[0])[1]
    lines = re.findall(r"^(\w+) := ?(.*)$", pathlib.Path("src/build.mk").read_text(), re.MULTILINE)
    settings = {name: words.split() for name, words in lines}
    files = [f"{floor}/{file.name}" for floor in settings["floors"] for file in sorted(pathlib.Path("src", floor).glob("*.cpp"))]

    # Scalar's kernels before the others': what all ISAs include then stands before the condition of one architecture.
    engine = "".join(map(expand, [*files, "kernels/scalar.cpp", "kernels/scalar_rows.cpp"]))
    engine += with_low_precision("".join(expand(f"kernels/{file}.cpp") for file in settings["products_scalar"]))
    headers, kernels, conditional = system_headers("".join(public) + engine), "", "#if"
    for architecture in sorted(name for name in settings if name.startswith("isas_")):
        isas, condition = settings[architecture], f"{conditional} defined(__{architecture.removeprefix('isas_')}__)\n"
        products = [file for isa in isas for file in settings[f"products_{isa}"]]
        text = "".join(region(isa, "flags_default", settings) for isa in isas)
        text += "".join(region(f"{isa}_rows", "flags_fast", settings) for isa in isas)
        text += with_low_precision("".join(region(file, "flags_fast", settings) for file in products))
        headers += condition + system_headers(text) + built([*isas, "scalar"], products + settings["products_scalar"])
        kernels += f"{condition}{text}"
        conditional = "#elif"
    headers += "#else\n" + built(["scalar"], settings["products_scalar"]) + "#endif\n"
    return HEAD.format(version=version, headers=headers) + without_headers(f"{engine}\n{kernels}#endif\n") + TAIL


folder = pathlib.Path(sys.argv[1])
for header in PUBLIC_HEADERS:
    shutil.copyfile(pathlib.Path("include/attend", header), folder / header)
(folder / "attend.cpp").write_text(amalgamate())
