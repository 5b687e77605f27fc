// Workload: the data of one case, ready to be run, timed and checked.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attend/attend.hpp"
#include "precision.h"
#include "reference/compare.h"

namespace attend::bench {

class Workload {
 public:
  virtual ~Workload() = default;
  /// Computes the output by the library.
  virtual void run() = 0;
  /// Computes it by the plain loops of naive.h.
  virtual void run_naively() = 0;
  /// Compares the output with the reference, in sampled rows where all would take long.
  virtual reference::Comparison check() const = 0;
};

struct LayerShape {
  std::int64_t batch, queries, keys, width, heads;  // queries == keys: self-attention
  bool bias;
  std::vector<std::int64_t> valid_lens;  // empty: none
  bool packed = false;                   // entries without padding, as long as valid_lens says, one after the other
  Precision precision = {};
};
struct GemmShape {
  std::int64_t rows, inputs, outputs;
  Precision precision = {};
  bool from_memory = false;  // each call takes the next copy of the weights; all copies are four times as large as the last cache
};
/// shared, each_head: a bool mask for all heads, or one each, half of it visible; padding: half of the keys are; additive: numbers for
/// all heads, which hide nothing; causal_bool, causal_additive: a mask of that kind that hides what `causal` hides.
enum class CoreMask { none, shared, each_head, padding, additive, causal_bool, causal_additive };
struct CoreShape {
  std::int64_t heads, length, depth;
  bool causal;
  CoreMask mask = CoreMask::none;
  std::int64_t window_left = -1;  // of causal ones
  std::int64_t row_stride = 0;    // heads side by side in rows so far apart; 0: (H, L, D)
  Arithmetic arithmetic = Arithmetic::float32;
};

/// A few queries, the last tokens of `keys` keys: arrays, or a KeyValueCache.
struct DecodeShape {
  std::int64_t heads, groups, keys, depth;
  bool token_major = false;  // (S, G, D) in memory, else (G, S, D)
  std::int64_t queries = 1;
  std::int64_t value_depth = 0;  // 0: depth
  bool cached = false;
  std::int64_t page_rows = 0;  // of a cache, whose pages lie in any order; 0: it has none
  CacheType type = CacheType::float32;  // of a cache
};

inline constexpr std::int64_t exp_count = 2048;  // 16 KiB with the results

// Each is null where the ISA has no kernels for what the shape asks for.
std::unique_ptr<Workload> layer_workload(const LayerShape& shape, Isa isa, const Threads& threads);
std::unique_ptr<Workload> gemm_workload(const GemmShape& shape, Isa isa, const Threads& threads);
std::unique_ptr<Workload> core_workload(const CoreShape& shape, Isa isa, const Threads& threads);
std::unique_ptr<Workload> decode_workload(const DecodeShape& shape, Isa isa, const Threads& threads);
std::unique_ptr<Workload> exp_workload(Isa isa);

}  // namespace attend::bench
