#!/bin/bash
# mutate.sh BUILD: does `attend verify` see a kernel whose loop bound is wrong? Each mutation is one sed
# command on one file of a copy of the tree; verify must fail on each, and pass on the tree as it is.
set -u
copy=$1/mutation
mutations='
gemm.inl        s/row + rows <= a.row_count; row += rows/row + rows < a.row_count; row += rows/
gemm.inl        s/start < a.columns; ++segment_count/start < a.columns - 1; ++segment_count/
product.inl     s/const float\* end = panel + depth \* width;/const float* end = panel + (depth - 1) * width;/
scores.inl      s/key + rows <= a.key_count; key += rows/key + rows < a.key_count; key += rows/
scores.inl      s/c < a.columns; c += lanes/c + lanes < a.columns; c += lanes/
accumulate.inl  s/key < a.key_count; ++key) {$/key < a.key_count - 1; ++key) {/
accumulate.inl  s/column + step <= a.columns; column += step/column + step <= a.columns; column += 2 * step/
softmax.inl     s/j < a.visible; j += lanes) tops/j + lanes < a.visible; j += lanes) tops/
softmax.inl     s/for (int i = 1; i < lanes; ++i) sum/for (int i = 2; i < lanes; ++i) sum/
reshape.inl     s/for (; c < a.columns; ++c)/for (; c + 1 < a.columns; ++c)/
reshape.inl     s/for (; i < count; ++i)/for (; i + 1 < count; ++i)/
pack.inl        s/n < n1; ++n/n < n1 - 1; ++n/
pack.inl        s/d < a.depth; ++d/d < a.depth - 1; ++d/
exp.inl         s/i + lanes <= count; i += lanes/i + lanes <= count; i += 2 * lanes/
'
verify() {  # builds the copy; the exit code of verify, or 9 if it did not build
  ${MAKE:-make} -s -C "$copy" BUILD=build ISAS="$isas" CXXFLAGS=-O1 build/attend > "$copy/log" 2>&1 || return 9
  timeout 300 "$copy/build/attend" verify --seconds 3 >> "$copy/log" 2>&1
}
isas=$(uname -m | sed 's/x86_64/avx2/; t; s/aarch64/neon/')
rm -rf "$copy"
mkdir -p "$copy"
cp -r Makefile include src tools "$copy"
verify || { echo "the tree as it is: exit $?"; tail -n 5 "$copy/log"; exit 1; }
failed=0 count=0
while read -r file command; do
  [ -n "$file" ] || continue
  kernel=$copy/src/kernels/$file
  sed -i "$command" "$kernel"
  if cmp -s "$kernel" "src/kernels/$file"; then
    echo "changes nothing: $file $command"
    failed=1
    continue
  fi
  verify
  code=$?
  [ $code = 1 ] || { echo "exit $code, expected 1: $file $command"; tail -n 5 "$copy/log"; failed=1; }
  cp "src/kernels/$file" "$kernel"
  count=$((count + 1))
done <<< "$mutations"
echo "$count mutations"
exit $failed
