// CPUID and XGETBV on x86-64; what Linux tells of an aarch64, of which NEON is a part.
#include "base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#endif
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace attend {

#if defined(__x86_64__)

static unsigned detect_features() noexcept {
  unsigned a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return 0;
  const bool amd = b == signature_AMD_ebx;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const unsigned family = (a >> 8 & 15) + (a >> 20 & 255), zen = amd && family >= 0x17 && family <= 0x19 ? cpu_zen_1_to_4 : 0;
  const bool fma = c & (1u << 12), osxsave = c & (1u << 27), avx = c & (1u << 28), f16c = c & (1u << 29);
  if (!osxsave || !avx) return zen;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool ymm = (low & 0x06) == 0x06, zmm = (low & 0xe6) == 0xe6;
  if (!ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return zen;
  const bool avx2 = fma && (b & (1u << 5));
  const unsigned needed = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  const bool avx512 = avx2 && zmm && (b & needed) == needed;
  unsigned features = zen | (avx2 ? cpu_avx2 : 0) | (avx2 && f16c ? cpu_f16c : 0);
  if (!avx512) return features;
  features |= cpu_avx512;
  if (c & (1u << 11)) features |= cpu_avx512_vnni;
  // Intel's vdpbf16ps takes two cycles for 512 bits: with it a layer of bfloat16 takes 1.7 times as long as with FMAs (Emerald Rapids).
  if (amd && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5))) features |= cpu_avx512_bf16;
  return features;
}

FloatingPointMode::FloatingPointMode() noexcept : caller_(_mm_getcsr()) {
  if ((caller_ & ~0x3full) != 0x1f80) _mm_setcsr(0x1f80);  // all exceptions masked, to nearest, no FTZ, no DAZ
}
FloatingPointMode::~FloatingPointMode() {
  // Only where it differs beyond the sticky exception flags: writing the register costs 10 ns.
  if ((caller_ & ~0x3full) != 0x1f80) _mm_setcsr(static_cast<unsigned>(caller_));
}

#elif defined(__aarch64__)

static unsigned detect_features() noexcept {
  constexpr unsigned long i8mm = 1ul << 13, bf16 = 1ul << 14;  // HWCAP2_I8MM and HWCAP2_BF16, which headers of before Linux 5.6 lack
  const unsigned long more = getauxval(AT_HWCAP2);
  return cpu_neon | (getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? cpu_neon_dotprod : 0) | (more & i8mm ? cpu_neon_i8mm : 0) |
         (more & bf16 ? cpu_neon_bf16 : 0);
}

FloatingPointMode::FloatingPointMode() noexcept {
  __asm__ volatile("mrs %0, fpcr" : "=r"(caller_));
  if (caller_ != 0) __asm__ volatile("msr fpcr, %0" : : "r"(0ull));
}
FloatingPointMode::~FloatingPointMode() {
  if (caller_ != 0) __asm__ volatile("msr fpcr, %0" : : "r"(caller_));
}

#else

static unsigned detect_features() noexcept { return 0; }
FloatingPointMode::FloatingPointMode() noexcept : caller_(0) {}
FloatingPointMode::~FloatingPointMode() {}

#endif

// Threads that race store the same number.
unsigned cpu_features() noexcept {
  constexpr unsigned known = 1u << 31;
  static unsigned cached = 0;
  unsigned features = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (features == 0) __atomic_store_n(&cached, features = detect_features() | known, __ATOMIC_RELAXED);
  return features;
}

}  // namespace attend
