#!/bin/bash
# embed_size.sh BUILD: a C program that embeds the layer links with plain cc, works, and is at most 300 KB
# larger than an empty one, both stripped.
set -eu
build=$1
cc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -Iinclude tests/c/embed.c "$build/libattend.a" -lm -lpthread -o "$build/embed"
cc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -Iinclude tests/c/grouped.c "$build/libattend.a" -lm -lpthread -o "$build/grouped"
"$build/grouped"
cc -O2 tests/c/empty.c -o "$build/empty"
strip "$build/embed" "$build/empty"
"$build/embed"
size=$(($(stat -c %s "$build/embed") - $(stat -c %s "$build/empty")))
echo "embedding attend takes $size bytes"
[ $size -le 300000 ]
