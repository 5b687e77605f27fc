#!/bin/bash
# embed_size.sh BUILD: C programs that embed the layer link with plain cc and work, and those that were compiled with the oldest
# headers that are supported (tests/c/oldest) work with this library, static and shared; one that uses no KV cache and no low precision
# links nothing of them, and is at most 320 KB larger than an empty one, both stripped; one of int8 is at most 120 KB larger than that.
# One of attention alone links no layer, and is at most 290 KB larger than the empty one.
set -eu
build=$1
mkdir -p "$build/oldest"
ln -sf ../libattend.so "$build/oldest/libattend.so.0"
flags=(-std=c99 -Wall -Wextra -Werror -pedantic -O2)
for program in embed grouped cache; do
  cc "${flags[@]}" -Iinclude tests/c/$program.c "$build/libattend.a" -lm -lpthread -o "$build/$program"
  "$build/$program"
  cc "${flags[@]}" -Itests/c/oldest -c tests/c/$program.c -o "$build/$program-oldest.o"
  cc "$build/$program-oldest.o" "$build/libattend.a" -lm -lpthread -o "$build/$program-oldest"
  "$build/$program-oldest"
  cc "$build/$program-oldest.o" "$build/libattend.so" -lm -o "$build/$program-oldest-shared"
  LD_LIBRARY_PATH=$build/oldest "$build/$program-oldest-shared"
done
cc "${flags[@]}" -Iinclude tests/c/int8.c "$build/libattend.a" -lm -lpthread -o "$build/int8"
"$build/int8"
cc "${flags[@]}" -Iinclude tools/examples/core_in_c.c "$build/libattend.a" -lm -lpthread -o "$build/core"
"$build/core"
for headers in include tests/c/oldest; do
  cc "${flags[@]}" -I$headers tests/c/load.c "$build/libattend_io.a" "$build/libattend.a" -lstdc++ -lm -lpthread -o "$build/load"
  "$build/load" tests/data/minilm "$build/load.npy"
done
if nm "$build/embed" | grep -e attend_kv_cache -e low_precision -e product; then exit 1; fi
if nm "$build/core" | grep -e attend_kv_cache -e low_precision -e products -e attend_mha -e MultiHeadAttention -e pack_layer -e linear; then exit 1; fi
cc -O2 tests/c/empty.c -o "$build/empty"
strip "$build/embed" "$build/empty" "$build/int8" "$build/core"
size_of() { stat -c %s "$build/$1"; }
size=$(($(size_of embed) - $(size_of empty)))
more=$(($(size_of int8) - $(size_of embed)))
core=$(($(size_of core) - $(size_of empty)))
echo "embedding attend takes $size bytes, a layer of int8 $more more, and attention alone $core"
[ $size -le 320000 ] && [ $more -le 120000 ] && [ $core -le 290000 ]
