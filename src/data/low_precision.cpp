// Finds the product of a config, and packs weights of low precision, panel by panel.
#include "data/low_precision.h"

#include <math.h>

#include "base/cpu.h"
#include "base/half_floats.h"
#include "data/layer.h"

namespace attend {

#define ATTEND_DECLARE(products) extern const Products products;
ATTEND_BUILT_PRODUCTS(ATTEND_DECLARE)
#undef ATTEND_DECLARE

namespace {

#define ATTEND_ENTRY(products) &products,
const Products* const built[] = {ATTEND_BUILT_PRODUCTS(ATTEND_ENTRY)};
#undef ATTEND_ENTRY

// A channel that is not finite has a scale of NaN.
float int8_scale(const float* channel, std::int64_t stride, std::int64_t count) {
  float largest = 0.0f;
  for (std::int64_t k = 0; k < count; ++k) {
    const float magnitude = fabsf(channel[k * stride]);
    if (!(magnitude < infinity)) return __builtin_nanf("");
    if (magnitude > largest) largest = magnitude;
  }
  return largest / 127.0f;
}

std::int8_t quantized(float weight, float scale) {
  if (!(scale > 0.0f)) return 0;
  const float rounded = rintf(weight / scale);
  return static_cast<std::int8_t>(rounded > 127.0f ? 127.0f : rounded < -127.0f ? -127.0f : rounded);
}

std::uint16_t half_bits(const Product& product, float weight) {
  if (product.weights == WeightType::float16) return float16_from_float(weight);
  const std::uint16_t bits = bfloat16_from_float(weight);
  const bool denormal = (bits & 0x7f80) == 0;  // zeros to products of bfloat16
  return product.arithmetic == Arithmetic::bfloat16 && denormal ? bits & 0x8000 : bits;
}

}  // namespace

const Product* find_product(WeightType weights, Arithmetic arithmetic, Isa isa) {
  for (const Products* products : built) {
    if (products->isa != isa) continue;
    for (int i = 0; i < products->count; ++i) {
      const Product& product = products->list[i];
      const bool asked = product.weights == weights && product.arithmetic == arithmetic;
      if (asked && (cpu_features() & product.features) == product.features) return &product;
    }
  }
  return nullptr;
}

const CoreKernels* find_core(Isa isa) {
  for (const Products* products : built) {
    const CoreKernels* const core = products->isa == isa ? products->core : nullptr;
    if (core != nullptr && (cpu_features() & core->features) == core->features) return core;
  }
  return nullptr;
}

void pack_low_precision(const Product& product, const PackedProjection& packed, const float* weight, std::int64_t output_stride,
                        std::int64_t input_stride, const float* bias, std::int64_t bias_stride, float* memory) {
  const std::int64_t padded = packed.columns.lanes * packed.columns.vectors, depth = round_up(packed.inputs, depth_step);
  float* const biases = memory + packed.column_floats * padded;
  float* const scales = biases + padded;
  float* const sums = scales + padded;
  for (std::int64_t n = 0; n < padded; ++n) {
    const bool stored = n < packed.outputs;
    biases[n] = stored && bias != nullptr ? bias[n * bias_stride] : 0.0f;
    if (product.weight_bytes != 1) continue;
    scales[n] = stored ? int8_scale(weight + n * output_stride, input_stride, packed.inputs) : 0.0f;
  }
  for (std::int64_t panel = 0; panel < packed.columns.panels; ++panel) {
    const std::int64_t column = packed.columns.first(panel), width = packed.columns.first(panel + 1) - column;
    char* const start = reinterpret_cast<char*>(memory + packed.column_floats * column);
    for (std::int64_t n = 0; n < width; ++n) {
      const bool stored = column + n < packed.outputs;
      const float* const channel = stored ? weight + (column + n) * output_stride : nullptr;
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < depth; ++k) {
        const float w = stored && k < packed.inputs ? channel[k * input_stride] : 0.0f;
        const std::int64_t at = (k / product.group * width + n) * product.group + k % product.group;
        if (product.weight_bytes == 1) {
          const std::int8_t integer = quantized(w, scales[column + n]);
          sum += integer;
          __builtin_memcpy(start + at, &integer, sizeof integer);
        } else {
          const std::uint16_t half = half_bits(product, w);
          __builtin_memcpy(start + 2 * at, &half, sizeof half);
        }
      }
      if (product.weight_bytes == 1) __builtin_memcpy(sums + column + n, &sum, sizeof sum);
    }
  }
  float* const end = memory + packed.size(), *const last = biases + (product.weight_bytes == 1 ? 3 : 1) * padded;
  for (float* rest = last; rest < end; ++rest) *rest = 0.0f;
}

}  // namespace attend
