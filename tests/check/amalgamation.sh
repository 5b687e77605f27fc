#!/bin/bash
# amalgamation.sh BUILD JOBS: attend.cpp compiles alone and without a warning, by g++ and clang; gives the library's bits on every ISA;
# passes the library's tests (a tenth of the shapes); keeps an ISA's instructions within its region; links into C programs. For
# aarch64, emulated, it gives the bits of the library that is built so.
set -eu
build=$1 jobs=$2
work=$build/check/amalgamation
rm -rf "$work"/*.*
mkdir -p "$work"
${MAKE:-make} -s BUILD="$build" amalgamation
cp "$build"/attend.{cpp,hpp,h} "$work"
wc -c "$work/attend.cpp"

# bits COMPILER FOLDER ENGINE ROUNDS [EMULATOR...]: what output_bits prints of an engine, linked with the checks of a folder.
bits() {
  local program=${3%.*}-bits
  "$1" -std=c++17 -O1 -Iinclude -Isrc -Itools tests/check/output_bits.cpp "$2"/libattend_{checks,reference}.a "$3" -lpthread -o "$program"
  "${@:5}" "$program" "$4"
}
same_bits() { diff "$1" "$2" || { echo "$2: other bits than the library's"; exit 1; }; }

tests=(tests/*.cpp)
tests=("${tests[@]/#/$build/}")
export ATTEND_BUILD=$build ATTEND_TOOL=$build/attend ATTEND_BENCH=$build/attend-bench ATTEND_BENCH_SWEEP=$build/attend-bench-sweep
for compiler in g++ clang++ clang++-19; do
  [ -x "$(command -v $compiler)" ] || continue
  object=$work/$compiler
  echo "$compiler"
  $compiler -O2 -std=c++17 -Wall -Wextra -Werror -c "$work/attend.cpp" -o "$object.o"
  size "$object.o"
  # Of the library that the same compiler makes: the last bits of some results are the compiler's choice.
  ${MAKE:-make} -s -j"$jobs" BUILD="$work/$compiler-library" CXX=$compiler CXXFLAGS=-O2 "$work/$compiler-library/libattend.a"
  cp "$work/$compiler-library/libattend.a" "$object-library.a"
  bits $compiler "$build" "$object-library.a" 300 | tee "$object-library.txt"
  bits $compiler "$build" "$object.o" 300 > "$object-bits.txt"
  same_bits "$object-library.txt" "$object-bits.txt"
  # stack_test.cpp sums up the library's frames, whatever is linked; memory_test.cpp measures this file's stack.
  $compiler "${tests[@]/%.cpp/.o}" "$build"/libattend_{tool,bench,checks,reference,io}.a "$object.o" -pthread -o "$object-test"
  ATTEND_TEST_SHARE=10 "$object-test" > "$object-test.txt" || { tail -n 30 "$object-test.txt"; exit 1; }
  tail -n 4 "$object-test.txt"

  if $compiler -std=c++14 -fsyntax-only "$work/attend.cpp" 2> "$object-14.txt"; then echo "compiles as C++14"; exit 1; fi
  grep -m 1 error: "$object-14.txt" | grep -F 'attend.cpp needs C++17: -std=c++17'

  # In the other standard, and without optimisation, which inlines what may be in the wrong region. AVX instructions begin with v.
  grep -v 'pragma GCC optimize("O' "$work/attend.cpp" > "$work/level-0.cpp"
  $compiler -O0 -std=c++20 -Wall -Wextra -Werror -c "$work/level-0.cpp" -o "$object-O0.o"
  if objdump -dC --no-show-raw-insn "$object-O0.o" |
    awk '/^[0-9a-f]+ </ { name = $0 } $2 ~ /^v/ && $2 !~ /^ver[rw]$/ { print name }' | uniq | grep -v -e 'attend::avx2::' -e 'attend::avx512::'; then
    echo "AVX instructions outside of their region"
    exit 1
  fi

  $compiler -O2 -fno-exceptions -fno-rtti -c "$work/attend.cpp" -o "$object-c.o"
  cc -std=c99 -I"$work" -Iinclude tests/c/embed.c "$object-c.o" -lm -lpthread -o "$object-embed"
  "$object-embed"
done

compiler=aarch64-linux-gnu-g++
[ -x "$(command -v $compiler)" ] || exit 0
echo $compiler
$compiler -O2 -std=c++17 -Wall -Wextra -Werror -c "$work/attend.cpp" -o "$work/$compiler.o"
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || exit 0
${MAKE:-make} -s -j"$jobs" BUILD="$work/aarch64" CXX=$compiler CXXFLAGS=-O1 "$work"/aarch64/libattend{,_checks,_reference}.a
for engine in "$work/aarch64/libattend.a" "$work/$compiler.o"; do
  bits $compiler "$work/aarch64" "$engine" 20 "$emulator" -L /usr/aarch64-linux-gnu > "${engine%.*}-bits.txt"
done
cat "$work/$compiler-bits.txt"
same_bits "$work/aarch64/libattend-bits.txt" "$work/$compiler-bits.txt"
