// A thread's mode in which denormals become zeros, as the instructions of bfloat16 have it.
#pragma once

#include "kernels/compiler.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace attend {

/// While this lives, results of vector instructions that are denormal are signed zeros.
class FlushedDenormals {
 public:
#if defined(__x86_64__)
  ATTEND_INLINE FlushedDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8000); }
  ATTEND_INLINE ~FlushedDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  ATTEND_INLINE FlushedDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | 1ull << 24));
  }
  ATTEND_INLINE ~FlushedDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  unsigned long long before_;
#endif
};

/// Keeps what makes a vector before what follows, as the end of the mode. No function: outside of an ISA's region clang knows none of its registers.
#if defined(__x86_64__)
#define ATTEND_KEEP(x) asm volatile("" : "+v"(x))
#elif defined(__aarch64__)
#define ATTEND_KEEP(x) asm volatile("" : "+w"(x))
#else
#define ATTEND_KEEP(x) static_cast<void>(x)
#endif

}  // namespace attend
