#!/bin/bash
# baseline_code.sh BUILD: only kernel objects hold AVX instructions (VEX or EVEX coded: their mnemonics begin
# with v). The bench, whose peak loop is assembly for each ISA, is no part of it.
set -eu
build=$1
found=$(find "$build/src" "$build/tools" -name '*.o' ! -path '*/kernels/avx*' | sort | xargs objdump -d --no-show-raw-insn |
  awk '/file format/ { object = $1 } $2 ~ /^v/ && $2 !~ /^ver[rw]$/ { ++count[object] }
       END { for (object in count) print object, count[object], "AVX instructions" }')
[ -z "$found" ] || { echo "$found"; exit 1; }
