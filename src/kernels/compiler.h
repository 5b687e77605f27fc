// What the kernel files ask of the compiler.
#pragma once

#if defined(__FAST_MATH__)
#error "attend needs IEEE arithmetic: do not compile it with -ffast-math"
#endif

#define ATTEND_INLINE inline __attribute__((always_inline))
// noclone: else g++ -O3 makes a copy of a function for each constant argument, 4 KB for two ISAs.
#if defined(__clang__)
#define ATTEND_NOINLINE __attribute__((noinline))
#else
#define ATTEND_NOINLINE __attribute__((noinline, noclone))
#endif
// What p points to is read and written where it is: else g++ moves tiles from place to place on the stack.
#define ATTEND_KEEP_IN_MEMORY(p) asm("" : "+r"(p) : : "memory")
// Row and column loops must unroll, or g++ keeps the accumulators on the stack.
#define ATTEND_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define ATTEND_UNROLL _Pragma("clang loop unroll(full)")
#define ATTEND_UNROLL_BY(n) ATTEND_PRAGMA(clang loop unroll_count(n))
#else
#define ATTEND_UNROLL _Pragma("GCC unroll 64")
#define ATTEND_UNROLL_BY(n) ATTEND_PRAGMA(GCC unroll n)
#endif
