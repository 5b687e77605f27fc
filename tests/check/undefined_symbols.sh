#!/bin/bash
# undefined_symbols.sh BUILD: the engine needs nothing but libc, libm, pthread and libgcc, so that a C
# program links with it, and its shared library shows its interface alone. What is wrong is printed.
set -eu
build=$1
# All of it, linked as C.
cc tests/c/empty.c -Wl,--whole-archive "$build/libattend.a" -Wl,--no-whole-archive -lm -lpthread -o "$build/whole"
wrong=$(
  # What links all the same: weak symbols, and those that libc has for C++.
  nm -u "$build/libattend.a" | grep -E '__cxa|__gxx|__dso_handle|_Unwind|_Z(n|d|S|NK?S|T[IV]N10__cxx)'
  readelf -d "$build/libattend.so" | grep NEEDED | grep -vE '\[(libc|libm|libpthread|ld-linux[a-z0-9-]*)\.so'
  nm -DC --defined-only "$build/libattend.so" | cut -d' ' -f3- |
    grep -vE '^attend(_|::(Status|ThreadPool|Workspace|DotProductAttention|KeyValueCache|MultiHeadAttention|Linear)::|::[a-z_0-9]+\()'
) || true
[ -z "$wrong" ] || { echo "$wrong"; exit 1; }
