// The kernel tables of this build, best first.
#include "dispatch.h"

#include <cstring>

#include "cpu.h"

namespace attend {

namespace scalar { extern const Kernels kernels; }
#if ATTEND_ISA_avx2
namespace avx2 { extern const Kernels kernels; }
#endif
#if ATTEND_ISA_avx512
namespace avx512 { extern const Kernels kernels; }
#endif
#if ATTEND_ISA_neon
namespace neon { extern const Kernels kernels; }
#endif

namespace {

struct Implementation {
  const Kernels* kernels;
  bool CpuFeatures::*needs;  // null: nothing
};

const Implementation implementations[] = {
#if ATTEND_ISA_avx512
    {&avx512::kernels, &CpuFeatures::avx512},
#endif
#if ATTEND_ISA_avx2
    {&avx2::kernels, &CpuFeatures::avx2},
#endif
#if ATTEND_ISA_neon
    {&neon::kernels, &CpuFeatures::neon},
#endif
    {&scalar::kernels, nullptr},
};

struct IsaName {
  Isa isa;
  const char* name;
};
const IsaName isa_names[] = {{Isa::best, "best"},
                             {Isa::scalar, "scalar"},
                             {Isa::avx2, "avx2"},
                             {Isa::avx512, "avx512"},
                             {Isa::neon, "neon"}};

// CPUID traps under a hypervisor (microseconds), so it is asked once. Racing threads store the same.
CpuFeatures cpu_features() noexcept {
  static unsigned cached = 0;
  unsigned bits = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (bits == 0) {
    const CpuFeatures found = detect_cpu();
    bits = 1u | (found.avx2 ? 2u : 0u) | (found.avx512 ? 4u : 0u) | (found.neon ? 8u : 0u) | (found.amd ? 16u : 0u);
    __atomic_store_n(&cached, bits, __ATOMIC_RELAXED);
  }
  CpuFeatures features;
  features.avx2 = bits & 2u;
  features.avx512 = bits & 4u;
  features.neon = bits & 8u;
  features.amd = bits & 16u;
  return features;
}

}  // namespace

const Kernels* find_kernels(Isa isa) noexcept {
  const CpuFeatures features = cpu_features();
  for (const Implementation& implementation : implementations) {
    const bool usable = implementation.needs == nullptr || features.*implementation.needs;
    if (usable && (isa == Isa::best || isa == implementation.kernels->isa)) {
      return implementation.kernels;
    }
  }
  return nullptr;
}

Status require_kernels(Isa isa, const Kernels** kernels) noexcept {
  if (static_cast<int>(isa) < 0 || static_cast<int>(isa) > static_cast<int>(Isa::neon)) {
    return Status::error(StatusCode::invalid_argument, "isa: %d is not one of attend::Isa",
                         static_cast<int>(isa));
  }
  const Kernels* found = find_kernels(isa);
  if (found == nullptr) {
    return Status::error(StatusCode::unsupported, "isa: %s is %s; the best here is %s",
                         isa_name(isa),
                         isa_compiled(isa) ? "not supported by this CPU" : "not part of this build",
                         isa_name(best_isa()));
  }
  *kernels = found;
  return Status();
}

int decode_ahead(const Kernels& kernels) noexcept { return kernels.decode_ahead[cpu_features().amd]; }

const char* isa_name(Isa isa) noexcept {
  for (const IsaName& entry : isa_names) {
    if (entry.isa == isa) return entry.name;
  }
  return "unknown";
}

bool isa_from_name(const char* name, Isa* isa) noexcept {
  for (const IsaName& entry : isa_names) {
    if (name != nullptr && std::strcmp(entry.name, name) == 0) {
      *isa = entry.isa;
      return true;
    }
  }
  return false;
}

bool isa_compiled(Isa isa) noexcept {
  for (const Implementation& implementation : implementations) {
    if (isa == Isa::best || isa == implementation.kernels->isa) return true;
  }
  return false;
}

bool isa_usable(Isa isa) noexcept { return find_kernels(isa) != nullptr; }

Isa best_isa() noexcept { return find_kernels(Isa::best)->isa; }

const char* version() noexcept { return ATTEND_VERSION; }

}  // namespace attend
