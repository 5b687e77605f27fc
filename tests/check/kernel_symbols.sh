#!/bin/bash
# kernel_symbols.sh BUILD: each kernel object, compiled without optimisation, defines its table, or list of products, and
# nothing else that the linker sees. A helper compiled for AVX-512 and left weak could replace the portable one in
# the whole program, and crash older CPUs; optimisation hides that by inlining.
set -eu
build=$1
kernels=$(ar t "$build/libattend.a" | sed 's/\.o$//' | grep -xf <(ls src/kernels | sed -n 's/\.cpp$//p'))
isas=$(grep -xf <(sed -n 's/^isas_.* := //p' src/build.mk | xargs -n 1) <<< "$kernels" | xargs)
${MAKE:-make} -s BUILD="$build/O0" CXXFLAGS=-O0 flags_fast=-O0 ISAS="$isas" $(printf "$build/O0/src/kernels/%s.o " $kernels)
failed=0
for file in $kernels; do
  symbols=$(nm -C --defined-only --extern-only "$build/O0/src/kernels/$file.o" | cut -d' ' -f2-)
  [[ $symbols =~ ^[RD]\ attend::$file(::kernels)?$ ]] && continue
  printf '%s.o should define its table alone, and defines:\n%s\n' "$file" "$symbols"
  failed=1
done
exit $failed
