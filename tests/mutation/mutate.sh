#!/bin/bash
# mutate.sh BUILD [FILE...]: does `attend verify` see a kernel whose loop bound is wrong? Each loop bound of the files, or of the shared
# kernels (src/kernels/*.inl) and the products of low precision, is changed in a copy of the tree, one at a time; verify must fail on
# each, and pass on the tree as it is.
set -u
copy=$1/mutation
shift
[ $# != 0 ] || set -- src/kernels/*.inl src/kernels/*_products.cpp src/kernels/*_int4.cpp
isas=$(uname -m | sed 's/x86_64/avx2/; t; s/aarch64/neon/; t; d')  # and scalar

# One step too few. The loops over the rows, vectors and lanes of a tile (of type int) are left out, but for those of an i over the
# elements of one vector; and those after which a tail takes what is left, whatever that is.
one_less='s/\(for (std::int64_t [^;]*; [^;&]* < [^;&]*\)\(; [a-z]* += \([a-z]*\))\)/\1 - \3\2/
t
s/\(for (std::int64_t [^;]*; [^;&]* < [^;&]*[^;& ]\)\(;\| &&\)/\1 - 1\2/
s/\(for (; [a-z]* < [^;]*\);/\1 - 1;/
s/\(for (int i = [01]; i < lanes\); ++i)/\1 - 1; ++i)/
s/\(for (; [a-z]* + rows\) <= /\1 < /
s/for (; \([a-z]*\) != end; \1 += width)/for (; \1 + width < end; \1 += width)/'

verify() {  # builds the copy, whatever warnings a mutation brings, and runs verify; 9 if that did not compile
  ${MAKE:-make} -s -C "$copy" BUILD=build ISAS="$isas" CXXFLAGS=-O1 WERROR= build/attend > "$copy/log" 2>&1 || return 9
  timeout 300 "$copy/build/attend" verify --seconds 3 >> "$copy/log" 2>&1
}
rm -rf "$copy"
mkdir -p "$copy"
cp -r Makefile include src tools "$copy"
verify || { echo "the tree as it is: exit $?"; tail -n 5 "$copy/log"; exit 1; }
count=0 failed=0
for file; do
  cat "$copy"/build/src/kernels/*.d | grep -qF "$file" || continue  # of other ISAs
  lines=$(sed "$one_less" "$file" | diff --unchanged-line-format= --old-line-format='%dn ' --new-line-format= "$file" -)
  for line in $lines; do
    sed "$line { $one_less }" "$file" > "$copy/$file"
    verify
    code=$?
    [ $code = 1 ] || [ $code -ge 128 ] || { echo "exit $code, expected 1 or a crash: $file:$line: $(sed -n "$line { s/^ *//; p }" "$copy/$file")"; tail -n 3 "$copy/log"; failed=$((failed + 1)); }
    count=$((count + 1))
  done
  cp "$file" "$copy/$file"
done
echo "$count mutations, $failed of them not seen"
[ $count -gt 10 ] && [ $failed = 0 ]
