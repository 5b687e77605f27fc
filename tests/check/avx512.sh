#!/bin/bash
# avx512.sh BUILD [FLAG...]: the tests of the AVX-512 kernels, of which SIMDe emulates the intrinsics (see
# emulated_avx512.h) where the CPU has AVX2 alone. FLAG...: of doctest, to choose tests. What is built is a
# copy of the tree, in which the CPU is said to have AVX-512; built anew as far as it has changed. Low precision is left out: its
# instructions are not emulated.
set -eu
copy=$1/avx512
shift
has() { for feature in "$@"; do grep -qw "$feature" /proc/cpuinfo || return 1; done; }
skip() { echo "$*"; exit 77; }
if has avx512f avx512dq avx512bw avx512vl; then echo "this CPU has AVX-512: make test runs its kernels"; exit; fi
has avx2 fma || skip "needs a CPU with AVX2 and FMA"
clang=$(command -v clang++ || command -v clang++-19) || skip "needs one of: clang++ clang++-19"
emulated="-mavx2 -mfma -Wno-psabi -include tests/check/emulated_avx512.h"
echo | "$clang" -E -x c++ -include simde/x86/avx512.h - > /dev/null 2>&1 || skip "needs simde/x86/avx512.h (libsimde-dev)"

mkdir -p "$copy"
rm -rf "${copy:?}"/{Makefile,README.md,include,src,tools,bench,tests}
cp -rp Makefile README.md include src tools bench tests "$copy"
sed -i.original 's/\(bool avx512 =\).*/\1 avx2;/' "$copy/src/base/cpu.cpp"
! cmp -s "$copy"/src/base/cpu.cpp{,.original} || { echo "src/base/cpu.cpp: no line that sets avx512"; exit 1; }
touch -r "$copy"/src/base/cpu.cpp{.original,}  # not newer than its object
sed -i "s|^\(flags_avx512[a-z_0-9]* :=\).*|\1 -O2 $emulated|" "$copy/src/build.mk"  # of each file that would have AVX-512 instructions

# Left out: the tests of whole programs, for the bench has AVX-512 instructions of its own; and the bounds on the
# stack, where emulated vectors are spilled.
left_out=
[ $# != 0 ] || { set -- '-sfe=*tool_test*,*bench_test*' && left_out='*at most 8 KiB of stack*'; }
ATTEND_REQUIRE_ISA=avx512 ATTEND_EMULATOR=SIMDe "${MAKE:-make}" -s -C "$copy" -j"${JOBS:-$(nproc)}" BUILD=build \
  CXX="$clang" ISAS=avx512 LOW_PRECISION=0 CXXFLAGS=-O1 WERROR= TEST_FLAGS="$(printf '%q ' "$@")" LEFT_OUT="$left_out" test
