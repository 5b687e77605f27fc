// One check a kernel, at one explicit shape: `attend verify` draws the shapes, the tests go through them.
//
// A check fills arguments of that shape with random numbers from the seed, calls the kernel, and
// compares every element with plain loops in double precision written from the contract in
// kernels.h; what the contract says is not read is NaN, and what is not written must stay. A stride
// that a shape lacks is the smallest that fits plus its `gap`.
#pragma once

#include <cstdint>

#include "argument_memory.h"
#include "checks.h"
#include "kernels/kernels.h"

namespace attend::checks {

using Seed = std::uint64_t;

struct PackShape {
  std::int64_t depth = 1, columns = 1, width = 1;
  std::int64_t k_stride = 1, n_stride = 1;
};

struct GemmShape {
  std::int64_t rows = 1, depth = 1, columns = 1, width = 1;
  std::int64_t k_stride = 1, gap = 0;  // of a
  std::int64_t first_column = 0, head_size = 1, element_stride = 1, output_gap = 0;
  bool head_major = false;             // output (head, row, column) rather than (row, head, column)
  bool bias = false;
};

struct PackQueriesShape {
  std::int64_t count = 1, width = 1, depth = 1, stride = 1;
};

struct ScoreShape {
  std::int64_t keys = 1, depth = 1, width = 1;
  std::int64_t stride = 1, gap = 0;  // of keys
  bool general = false, biased = false, capped = false;  // general: keys are hidden; biased: and added to
  std::int64_t moving_lane = -1;     // a lane whose chains start `moving` higher
  float moving = 0.0f;
  std::int64_t nan_key = -1;         // general: every second lane does not see it
};

/// Of fill_visible and fill_bias: what the lanes of a tile have.
struct BiasShape {
  std::int64_t keys = 1, lane_count = 1, width = 1;
  bool masked = false, additive = false, tree = false, relative = false;
  std::int64_t mask_stride = 1, additive_stride = 1;
};

struct RescaleShape {
  std::int64_t lane_count = 1, columns = 1;
};

struct AccumulateShape {
  std::int64_t keys = 1, columns = 1, width = 1;
  std::int64_t first_lane = 0, lane_count = 1;
  std::int64_t gap = 0;  // of values
  Accumulation accumulation = Accumulation::store;
};

struct FoldShape {
  std::int64_t count = 1;
  bool first = false;
};

struct FinishShape {
  std::int64_t lane_count = 1, columns = 1, stride = 1;
  std::int64_t broken_lane = -1, broken_column = 0;  // the source there is `broken`
  float broken = 0.0f;
};

struct WriteWeightsShape {
  std::int64_t keys = 1, width = 1, lane_count = 1, stride = 1;
  bool add = false;
};

struct DecodeScoresShape {
  std::int64_t rows = 1, keys = 1, depth = 1;
  std::int64_t stride = 1, gap = 0;  // of keys
};

struct DecodeBiasShape {
  std::int64_t keys = 1;
  bool masked = false, additive = false, relative = false;
  std::int64_t mask_stride = 1, additive_stride = 1;
};

struct DecodeWeightsShape {
  std::int64_t keys = 1;
  bool capped = false, biased = false;
  float level = 0.0f;               // added to all scores
  std::int64_t special_score = -1;  // this one is `special`
  float special = 0.0f;
};

struct DecodeValuesShape {
  std::int64_t rows = 1, keys = 1, columns = 1;
  std::int64_t stride = 1, gap = 0;  // of values
  std::int64_t left = 1;             // keys of the first group
  bool continues = false, ends = false;
};

struct SoftmaxShape {
  std::int64_t visible = 1, total = 1;
  std::int64_t source_stride = 1, destination_stride = 1;
  bool in_place = false;
  float level = 0.0f;               // added to all scores
  std::int64_t special_score = -1;  // this one is `special`
  float special = 0.0f;
};

struct CopyShape {
  std::int64_t rows = 1, columns = 1;
  std::int64_t source_stride = 1, source_gap = 0, destination_stride = 1, destination_gap = 0;
};

struct FillShape {
  std::int64_t count = 1, stride = 1;
};

struct Exp2Shape {
  std::int64_t count = 1;
};

struct RotateShape {
  std::int64_t pairs = 1, columns = 2;
  std::int64_t source_stride = 1, destination_stride = 1;
  bool interleaved = false, in_place = false;
};

struct RmsNormShape {
  std::int64_t columns = 1;
  std::int64_t source_stride = 1, weight_stride = 1, destination_stride = 1;
  bool weighted = true, in_place = false;
};

template <class Shape>
using Check = Result (*)(const Kernels& kernels, const Shape& shape, Seed seed, ArgumentMemory& memory);

Result check_pack(const Kernels& kernels, const PackShape& shape, Seed seed, ArgumentMemory& memory);
Result check_gemm(const Kernels& kernels, const GemmShape& shape, Seed seed, ArgumentMemory& memory);
Result check_pack_queries(const Kernels& kernels, const PackQueriesShape& shape, Seed seed, ArgumentMemory& memory);
Result check_scores(const Kernels& kernels, const ScoreShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fill_visible(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fill_bias(const Kernels& kernels, const BiasShape& shape, Seed seed, ArgumentMemory& memory);
Result check_rescale(const Kernels& kernels, const RescaleShape& shape, Seed seed, ArgumentMemory& memory);
Result check_accumulate(const Kernels& kernels, const AccumulateShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory);
Result check_unfold(const Kernels& kernels, const FoldShape& shape, Seed seed, ArgumentMemory& memory);
Result check_finish(const Kernels& kernels, const FinishShape& shape, Seed seed, ArgumentMemory& memory);
Result check_write_weights(const Kernels& kernels, const WriteWeightsShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_scores(const Kernels& kernels, const DecodeScoresShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_bias(const Kernels& kernels, const DecodeBiasShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_weights(const Kernels& kernels, const DecodeWeightsShape& shape, Seed seed, ArgumentMemory& memory);
Result check_decode_values(const Kernels& kernels, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory);
Result check_softmax(const Kernels& kernels, const SoftmaxShape& shape, Seed seed, ArgumentMemory& memory);
Result check_copy(const Kernels& kernels, const CopyShape& shape, Seed seed, ArgumentMemory& memory);
Result check_fill(const Kernels& kernels, const FillShape& shape, Seed seed, ArgumentMemory& memory);
Result check_exp2(const Kernels& kernels, const Exp2Shape& shape, Seed seed, ArgumentMemory& memory);
Result check_rotate(const Kernels& kernels, const RotateShape& shape, Seed seed, ArgumentMemory& memory);
Result check_rms_norm(const Kernels& kernels, const RmsNormShape& shape, Seed seed, ArgumentMemory& memory);

/// Every kernel at a few random shapes.
Result check_random_shapes(const Kernels& kernels, Seed seed, ArgumentMemory& memory);

/// The worst relative error of exp2 for arguments in [-126, 127].
double exp2_error(Isa isa);

}  // namespace attend::checks
