// The kernel tables of this build, and the names of all.
#include "base/dispatch.h"

#include <cstring>

#include "base/cpu.h"
#include "base/isas.h"

namespace attend {

#define ATTEND_DECLARE(isa) namespace isa { extern const Kernels kernels; }
ATTEND_BUILT_ISAS(ATTEND_DECLARE)

namespace {

#define ATTEND_TABLE(isa) &isa::kernels,
const Kernels* const built[] = {ATTEND_BUILT_ISAS(ATTEND_TABLE)};

const Kernels* built_for(Isa isa) noexcept {
  for (const Kernels* kernels : built) {
    if (kernels->isa == isa) return kernels;
  }
  return nullptr;
}

constexpr bool listed(const char* name) {
  for (const IsaEntry& entry : isas) {
    if (__builtin_strcmp(entry.name, name) == 0) return true;
  }
  return false;
}
#define ATTEND_LISTED(isa) static_assert(listed(#isa), "an ISA that is built has a line in base/isas.h");
ATTEND_BUILT_ISAS(ATTEND_LISTED)

// Null for Isa::best, and for a number that names no ISA.
const IsaEntry* entry_of(Isa isa) noexcept {
  for (const IsaEntry& entry : isas) {
    if (entry.isa == isa) return &entry;
  }
  return nullptr;
}

}  // namespace

const Kernels* find_kernels(Isa isa) noexcept {
  for (const IsaEntry& entry : isas) {
    const Kernels* const kernels = isa == Isa::best || isa == entry.isa ? built_for(entry.isa) : nullptr;
    if (kernels != nullptr && (cpu_features() & entry.features) == entry.features) return kernels;
  }
  return nullptr;
}

Status require_kernels(Isa isa, const Kernels** kernels) noexcept {
  if (isa != Isa::best && entry_of(isa) == nullptr) {
    return Status::error(StatusCode::invalid_argument, "isa: %d is none that there is",
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

bool zen_1_to_4() noexcept { return (cpu_features() & cpu_zen_1_to_4) != 0; }
int decode_ahead(const Kernels& kernels) noexcept { return kernels.decode_ahead[zen_1_to_4()]; }

const char* isa_name(Isa isa) noexcept {
  if (isa == Isa::best) return "best";
  const IsaEntry* const entry = entry_of(isa);
  return entry != nullptr ? entry->name : "unknown";
}

bool isa_from_name(const char* name, Isa* isa) noexcept {
  if (name == nullptr) return false;
  for (const IsaEntry& entry : isas) {
    if (std::strcmp(entry.name, name) != 0) continue;
    *isa = entry.isa;
    return true;
  }
  if (std::strcmp(name, "best") != 0) return false;
  *isa = Isa::best;
  return true;
}

bool isa_compiled(Isa isa) noexcept { return isa == Isa::best || built_for(isa) != nullptr; }

bool isa_usable(Isa isa) noexcept { return find_kernels(isa) != nullptr; }

Isa best_isa() noexcept { return find_kernels(Isa::best)->isa; }

const char* version() noexcept { return ATTEND_VERSION; }

}  // namespace attend
