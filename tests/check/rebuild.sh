#!/bin/bash
# rebuild.sh: what make compiles anew, tried on a copy of the engine: nothing when nothing changed; what
# includes a changed header; everything when a flag or the compiler changed; one build folder never another.
set -eu
unset MAKEFLAGS MFLAGS  # a -s from above would hide what compiles
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r Makefile include src "$copy"
compiled() { ${MAKE:-make} -C "$copy" ISAS= CXXFLAGS=-O0 BUILD=one "$@" one/libattend.a | grep -c -- ' -c ' || true; }
expect() { [ "$2" "$3" "$4" ] || { echo "$1: $2 files compiled, expected $3 $4"; exit 1; }; }

all=$(compiled)
expect "at first" "$all" -gt 8
expect "nothing changed" "$(compiled)" -eq 0
sleep 1
touch "$copy/src/plan/plan.h"
some=$(compiled)
expect "a header changed" "$some" -gt 0
expect "a header changed" "$some" -lt "$all"
expect "a flag changed" "$(compiled CXXFLAGS=-O1)" -eq "$all"
printf '#!/bin/sh\nexec %s "$@"\n' "${CXX:-c++}" > "$copy/compiler"
chmod +x "$copy/compiler"
expect "the compiler changed" "$(compiled CXXFLAGS=-O1 CXX=./compiler)" -eq "$all"
${MAKE:-make} -s -C "$copy" -j2 ISAS= CXXFLAGS=-O0 BUILD=two two/libattend.a
expect "another folder was built" "$(compiled CXXFLAGS=-O1 CXX=./compiler)" -eq 0
