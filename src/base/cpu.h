// What the CPU and the operating system let a program use, and the floating-point mode of a thread.
#pragma once

#include "kernels/features.h"

namespace attend {

/// The bits of this CPU. CPUID is asked once: under a hypervisor it traps, which takes microseconds.
unsigned cpu_features() noexcept;

/// While this lives, the thread rounds to nearest and keeps denormals: results do not depend on the caller's FTZ and DAZ.
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
