#!/bin/bash
# kernel_symbols.sh BUILD: each kernel object, compiled without optimisation, defines its table and nothing
# else that the linker sees. A helper compiled for AVX-512 and left weak could replace the portable one in
# the whole program, and crash older CPUs; optimisation hides that by inlining.
set -eu
build=$1
isas=$(ar t "$build/libattend.a" | sed 's/\.o$//' | grep -xf <(ls src/kernels | sed -n 's/\.cpp$//p'))
${MAKE:-make} -s BUILD="$build/O0" CXXFLAGS=-O0 ISAS="$(grep -vx scalar <<< "$isas" | xargs)" $(printf "$build/O0/src/kernels/%s.o " $isas)
failed=0
for isa in $isas; do
  symbols=$(nm -C --defined-only --extern-only "$build/O0/src/kernels/$isa.o" | cut -d' ' -f2-)
  [[ $symbols =~ ^[RD]\ attend::$isa::kernels$ ]] && continue
  printf '%s.o should define its table alone, and defines:\n%s\n' "$isa" "$symbols"
  failed=1
done
exit $failed
