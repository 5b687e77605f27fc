// What a caller may have set: denormals flushed, as audio and game code does.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace engine_test {

/// While it lives, this thread's denormals are zeros.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(before_); }
  static bool active() { return (_mm_getcsr() & 0x8040u) == 0x8040u; }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() : before_(read()) { write(before_ | flush); }
  ~FlushDenormals() { write(before_); }
  static bool active() { return (read() & flush) != 0; }

 private:
  static constexpr std::uint64_t flush = 1u << 24;
  static std::uint64_t read() {
    std::uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(std::uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
  std::uint64_t before_;
#endif
};

/// Whether what rounds to the smallest normal number from below is flushed before it is rounded: aarch64 does so, x86 does not, but
/// qemu's x86 does.
inline bool flushes_before_rounding() {
  const FlushDenormals flush;
  const volatile double below = 0x1p-126 - 0x1p-151;
  volatile float rounded = static_cast<float>(below);  // volatile, so that it is made while the mode is set
  return rounded == 0.0f;
}

}  // namespace engine_test
