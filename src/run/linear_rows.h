// A linear layer in tasks: rows converted where a product asks for it, projected, each block activated while it is in the cache.
#pragma once

#include "kernels/row_kernels.h"
#include "run/converted_rows.h"
#include "run/projection.h"

namespace attend {

struct LinearRows {
  ConvertedRows converted;  // null product: rows are read as they are
  Projection projection;
  const RowKernels* kernels;
  Activation activation;
  Rows<const float> multiplier;  // null: 1

  bool activates() const { return activation != Activation::none || multiplier.data != nullptr; }
  void run(std::int64_t task) const;
};

}  // namespace attend
