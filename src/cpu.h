// What the CPU and the operating system let a program use, and the floating-point mode of a thread.
#pragma once

namespace attend {

struct CpuFeatures {
  bool avx2 = false;    // AVX2 and FMA, with the operating system saving ymm registers
  bool avx512 = false;  // F, DQ, BW and VL, with zmm and mask registers saved
  bool neon = false;
  bool amd = false;     // who made it
};

CpuFeatures detect_cpu() noexcept;

/// While it lives, this thread rounds to nearest and keeps denormals, whatever the caller had set:
/// results do not depend on the caller's FTZ and DAZ.
class FloatingPointMode {
 public:
  FloatingPointMode() noexcept;
  ~FloatingPointMode();
  FloatingPointMode(const FloatingPointMode&) = delete;
  FloatingPointMode& operator=(const FloatingPointMode&) = delete;

 private:
  unsigned long long caller_;
};

}  // namespace attend
