# What the libraries are made of and compiled with: lines NAME := WORDS, read by the Makefile, tools/cmake and tools/amalgamate.py.

# The engine's floors, from the lowest up: a floor includes none above it (tests/check/floors.sh). The engine is their files and those
# of kernels: scalar and the ISAs of the architecture, of each its row kernels, and its products of low precision; those whose names end in _int4 are a list
# of their own, which a program links apart.
floors := base data plan run call check api
isas_x86_64 := avx2 avx512
isas_aarch64 := neon
products_scalar := scalar_products scalar_int4
products_avx2 := avx2_products avx2_int4
products_avx512 := avx512_vnni avx512_bf16 avx512_products avx512_vnni_int4 avx512_int4
products_neon := neon_i8mm neon_dotprod neon_bf16 neon_products neon_dotprod_int4 neon_int4

# The level of what has none below; all are compiled with the second line, or bits of results would differ.
flags_default := -O3
flags_all := -std=c++17 -fPIC -ffp-contract=off -fno-lto
# Nothing unwinds through the engine: its tables would be 20 KB.
flags_engine := -fno-exceptions -fno-rtti -fno-threadsafe-statics -fvisibility=hidden -fno-asynchronous-unwind-tables

# Checks, the base, and what is packed and asked once, are small rather than unrolled (the checks alone are 87 KB with -O3); the rest is as fast
# with -O2 as with -O3, and a third smaller. A layer's call with -Os is 2 % of a short one (2 x 4 queries, 100 wide), and its layout 1 %:
# it is copied by words, which Intel's CPUs begin slowly (Emerald Rapids).
small_floors := base data check api
fast_files := src/data/layer.cpp src/api/multi_head_attention.cpp src/kernels/scalar.cpp src/kernels/scalar_rows.cpp src/kernels/scalar_int4.cpp
# Low precision of plain C++: 2.3 KB less of what embeds int8, and 5 (int8 weights) to 12 % (bfloat16) slower.
small_files := src/kernels/scalar_products.cpp
flags_small := -Os
flags_fast := -O2
# What is no kernel has no loop that gains by its place: 3 KB of what embeds the layer.
gcc_flags_fast := -fno-align-functions -fno-align-jumps -fno-align-loops -fno-align-labels
# A floor that passes arguments in structures, every few microseconds: numbers that a compiler stores one by one and then copies by two wait
# for their stores. Without, 12 heads of 32 over 128 keys take 4 to 9 % less time, of 64 over 512 keys 2 % (AVX2, Zen 3).
flags_run := -fno-tree-slp-vectorize

flags_avx2 := -mavx2 -mfma
flags_avx512 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_neon :=
flags_avx2_rows := -mavx2 -mfma
flags_avx512_rows := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_neon_rows :=
flags_avx2_products := -mavx2 -mfma -mf16c
flags_avx512_products := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_avx512_vnni := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni -mprefer-vector-width=512
flags_avx512_bf16 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 -mprefer-vector-width=512
flags_neon_products :=
flags_neon_dotprod := -march=armv8.2-a+dotprod
flags_neon_i8mm := -march=armv8.2-a+i8mm
flags_neon_bf16 := -march=armv8.2-a+bf16
flags_avx2_int4 := -mavx2 -mfma
flags_avx512_int4 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_avx512_vnni_int4 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni -mprefer-vector-width=512
flags_neon_dotprod_int4 := -march=armv8.2-a+dotprod
flags_neon_int4 :=
# Intel's CPUs from Skylake to Cascade Lake do not cache what holds a jump across 32 bytes: loops that chance puts there took up to
# 2 % longer. Assemblers that cannot avoid it complain. By nops: with prefixes AVX2 took up to 0.5 % longer on Zen 5.
assembler_flags_avx2 := -Wa,-malign-branch-boundary=32 -Wa,-malign-branch=jcc+fused -Wa,-malign-branch-prefix-size=0
# g++ -O3 writes loops twice, for a stride of 1 and for others: 14 KB for two ISAs, and no faster. Nor is it any slower where jumps and functions
# begin anywhere: 2 KB. clang knows not all of the flags.
gcc_flags_kernels := -fno-version-loops-for-strides -fno-align-jumps -fno-align-functions
# Where chance puts AVX2's loops of scores costs Intel's CPUs up to 3 % of attention: begun at 64 bytes, 12 heads of 64 over 512 keys take 0.971
# [0.962, 0.975] of the time, a mask over 2048 keys 0.972 (Xeon, 480 MiB of L3). With AVX-512 no case took less, for 4 KB more. Loops that miss
# 64 bytes by the most begin at 32: their padding takes what embeds the core over its limit.
gcc_flags_avx2 := -falign-loops=64:58:32
