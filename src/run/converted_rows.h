// Rows in the format that a product of low precision takes: converted once, for all projections that read them.
#pragma once

#include <cstdint>

#include "data/layer.h"
#include "data/rows.h"
#include "run/projection.h"

namespace attend {

struct ConvertedRows {
  const Product* product = nullptr;
  SelectedRows rows;
  Rows<const float> input;
  Rows<float> output;   // of entries, behind each row's header
  int depth, group;     // of what is stored

  std::int64_t tasks() const;
  void run(std::int64_t task) const;
};

}  // namespace attend
