// One build's side of the comparison: its cases, behind three C functions that a library of any build can export.
#include <cstdio>
#include <exception>

#include "bench/cases.h"

namespace {

using namespace attend;

const bench::Case* find(const char* name) {
  for (const bench::Case& each : bench::all_cases()) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

}  // namespace

#define ATTEND_EXPORT extern "C" __attribute__((visibility("default")))

/// The name of case `index`; null behind the last one.
ATTEND_EXPORT const char* side_case(int index) {
  return index < static_cast<int>(bench::all_cases().size()) ? bench::all_cases()[static_cast<std::size_t>(index)].name.c_str() : nullptr;
}

/// A case made ready and run once, to be freed; null where this build has none of that name, or its result is wrong.
ATTEND_EXPORT void* side_prepare(const char* name, const char* isa_name, int checked) {
  try {
    Isa isa;
    const bench::Case* const found = find(name);
    if (!isa_from_name(isa_name, &isa) || found == nullptr) return nullptr;
    std::unique_ptr<bench::Workload> workload = found->prepare(isa, Threads());
    if (workload == nullptr) return nullptr;  // not on this ISA
    workload->run();
    if (checked && !workload->check().ok) return nullptr;
    return workload.release();
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "%s: %s\n", name, exception.what());
    return nullptr;
  }
}

ATTEND_EXPORT void side_run(void* workload, int calls) {
  for (int i = 0; i < calls; ++i) static_cast<bench::Workload*>(workload)->run();
}

ATTEND_EXPORT void side_free(void* workload) { delete static_cast<bench::Workload*>(workload); }
