// Bits of cpu_features: what the CPU and the operating system let kernels use.
#pragma once

namespace attend {

inline constexpr unsigned cpu_avx2 = 1;    // AVX2 and FMA, with the operating system saving ymm registers
inline constexpr unsigned cpu_avx512 = 2;  // F, DQ, BW and VL, with zmm and mask registers saved
inline constexpr unsigned cpu_neon = 4;
inline constexpr unsigned cpu_zen_1_to_4 = 8;    // AMD's, by family: decoding fetches less far ahead
inline constexpr unsigned cpu_f16c = 16;         // float16 to floats, beside AVX2
inline constexpr unsigned cpu_avx512_vnni = 32;  // beside AVX-512
inline constexpr unsigned cpu_avx512_bf16 = 64;  // beside AVX-512, on CPUs where it is faster than FMAs: AMD's
inline constexpr unsigned cpu_neon_dotprod = 128;  // beside NEON
inline constexpr unsigned cpu_neon_i8mm = 256;     // beside NEON
inline constexpr unsigned cpu_neon_bf16 = 512;     // beside NEON

}  // namespace attend
