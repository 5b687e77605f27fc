#!/bin/bash
# embed_size.sh BUILD: C programs that embed the layer link with plain cc and work; one that uses no KV cache
# links no C API of it, and is at most 300 KB larger than an empty one, both stripped.
set -eu
build=$1
for program in embed grouped cache; do
  cc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -Iinclude tests/c/$program.c "$build/libattend.a" -lm -lpthread -o "$build/$program"
  "$build/$program"
done
if nm "$build/embed" | grep attend_kv_cache; then exit 1; fi
cc -O2 tests/c/empty.c -o "$build/empty"
strip "$build/embed" "$build/empty"
size=$(($(stat -c %s "$build/embed") - $(stat -c %s "$build/empty")))
echo "embedding attend takes $size bytes"
[ $size -le 300000 ]
