#!/bin/bash
# Whether src/ stands on its floors: a file includes what is on its own floor or below, no two files include each other, and
# io/ and reference/ stand beside the house: io/ takes but what is inline in api/c_structs.h and kernels/half_floats.h.
set -u
order="kernels $(sed -n 's/^floors := //p' src/build.mk)"
failed=0
fail() { echo "$*"; failed=1; }

declare -A floor_of=([attend]=-1)
n=0
for floor in $order; do floor_of[$floor]=$((n++)); done

includes() { grep -HoE '^ *#include "[^"]+"' "$@" | sed 's/: *#include "/ /; s/"$//; s/^src\///'; }

while read -r file included; do
  from=${file%%/*} to=${included%%/*}
  [ -n "${floor_of[$to]-}" ] || { fail "src/$file: includes \"$included\", which is on no floor of: $order"; continue; }
  [ "${floor_of[$to]}" -le "${floor_of[$from]}" ] || fail "src/$file: on floor $from, includes \"$included\", on $to above it"
done < <(for floor in $order; do includes "src/$floor"/*; done)

for wing in io reference; do
  while read -r file included; do
    case $included in
      attend/* | "$wing"/*) ;;
      api/c_structs.h | kernels/half_floats.h) [ $wing = io ] || fail "src/$file: includes \"$included\"" ;;
      *) fail "src/$file: includes \"$included\", but $wing/ stands alone" ;;
    esac
  done < <(includes src/$wing/*)
done

loops=$(includes src/*/* | grep -v ' attend/' | tsort 2>&1 > /dev/null) || fail "files that include each other:
$loops"

for file in src/*; do
  [ -d "$file" ] || [ "$file" = src/README.md ] || [ "$file" = src/build.mk ] || fail "$file: on no floor"
done
[ $failed = 0 ] && echo "floors, lowest first: $order"
exit $failed
