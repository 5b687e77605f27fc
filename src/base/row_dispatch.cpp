// The row kernels of this build.
#include "base/dispatch.h"

namespace attend {

#define ATTEND_DECLARE_ROWS(isa) extern const RowKernels isa##_rows;
ATTEND_BUILT_ISAS(ATTEND_DECLARE_ROWS)

const RowKernels& row_kernels(Isa isa) noexcept {
#define ATTEND_ROWS(isa) &isa##_rows,
  static constexpr const RowKernels* built[] = {ATTEND_BUILT_ISAS(ATTEND_ROWS)};
  for (const RowKernels* kernels : built) {
    if (kernels->isa == isa) return *kernels;
  }
  return scalar_rows;
}

}  // namespace attend
