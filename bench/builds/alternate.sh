#!/bin/bash
# alternate.sh BUILD BASE ISA PREPARATIONS [CASE...]: this tree beside commit BASE, each built with its own Makefile, their
# calls in turn in one process (alternate.cpp). make bench-against sets the words.
set -eu
build=$1/builds base=$2
shift 2
git rev-parse -q --verify "$base^{commit}" > /dev/null || { echo "bench-against: no such commit: $base" >&2; exit 2; }
base=$(git rev-parse --short "$base^{commit}")
mkdir -p "$build"
build=$(realpath "$build")
if [ ! -d "$build/tree-$base" ]; then
  mkdir "$build/tree-$base"
  git archive "$base" | tar -x -C "$build/tree-$base"
fi

# side TREE NAME: the bench of a tree as a shared library that shows nothing but its side, so that no build calls the other.
side() {
  local here=$PWD
  (
    cd "$1"
    ${MAKE:-make} -s -j"$(nproc)" BUILD="$build/$2" "$build/$2/attend-bench"
    ${CXX:-g++} -std=c++17 -O2 -fPIC -shared -Iinclude -Isrc -I. -Wl,--version-script="$here/bench/builds/side.map" \
      -o "$build/$2.so" "$here/bench/builds/side.cpp" $(ls "$build/$2"/bench/*.o | grep -v /attend_bench.o) \
      "$build/$2"/libattend_checks.a "$build/$2"/libattend_reference.a "$build/$2"/libattend_io.a "$build/$2"/libattend.a -pthread
  )
}
side "$build/tree-$base" "$base"
side . this
${CXX:-g++} -std=c++17 -O2 -Wall -Wextra -o "$build/alternate" bench/builds/alternate.cpp -ldl
"$build/alternate" "$build/$base.so" "$build/this.so" "$@"
