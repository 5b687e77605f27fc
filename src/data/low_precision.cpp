// Finds the product of a config and the kernels of a cache, and packs weights of low precision, panel by panel.
#include "data/low_precision.h"

#include <math.h>

#include "base/cpu.h"
#include "data/layer.h"
#include "kernels/half_floats.h"

namespace attend {

#define ATTEND_DECLARE_PRODUCTS(products) extern const Products products;
ATTEND_BUILT_PRODUCTS(ATTEND_DECLARE_PRODUCTS)

namespace {

constexpr Products no_products = {Isa::best, nullptr, 0};  // so that a build without low precision has a list, too
#define ATTEND_PRODUCTS(products) &products,
const Products* const built_products[] = {ATTEND_BUILT_PRODUCTS(ATTEND_PRODUCTS) &no_products};

// A channel in the order of its elements.
template <class Element>
struct Channel {
  const Element* first;
  std::int64_t stride;
  Element operator[](std::int64_t k) const { return first[k * stride]; }
};
template <class Element>
Channel<Element> channel_of(const View<const Element>& matrix, std::int64_t n) {
  return {matrix.data + n * matrix.strides[0], matrix.strides[1]};
}

// Writes column n of a panel of zeros by element(k).
template <class Stored, class ElementOf>
void pack_column(const Product& product, std::int64_t depth, std::int64_t n, std::int64_t width, char* panel, const ElementOf& element) {
  const std::int64_t group = product.group;
  for (std::int64_t k = 0; k < depth; ++k) {
    const Stored stored = element(k);
    __builtin_memcpy(panel + ((k / group * width + n) * group + k % group) * static_cast<std::int64_t>(sizeof stored), &stored, sizeof stored);
  }
}

// A channel that is not finite has a scale of NaN.
float channel_scale(const Channel<float>& channel, std::int64_t count) {
  float largest = 0.0f;
  for (std::int64_t k = 0; k < count; ++k) {
    const float magnitude = fabsf(channel[k]);
    if (!(magnitude < infinity)) return __builtin_nanf("");
    if (magnitude > largest) largest = magnitude;
  }
  return int8_scale(largest);
}

std::uint16_t half_bits(const Product& product, float weight) {
  return product.weights == WeightType::float16 ? float16_from_float(weight) : bfloat16_from_float(weight);
}

// Denormals are zeros to products of bfloat16.
std::uint16_t kept(const Product& product, std::uint16_t bits) {
  const bool denormal = product.arithmetic == Arithmetic::bfloat16 && (bits & 0x7f80) == 0;
  return static_cast<std::uint16_t>(denormal ? bits & 0x8000 : bits);
}

}  // namespace

const Product* usable_product(Isa isa, int index) { return usable_of(built_products, isa, index); }

const CacheKernels* find_cache_kernels(CacheType type, Isa isa) {
  for (const Products* products : built_products) {
    for (int i = 0; products->isa == isa && i < products->cache_count; ++i) {
      const CacheKernels& kernels = products->caches[i];
      if (kernels.type == type && (cpu_features() & kernels.features) == kernels.features) return &kernels;
    }
  }
  return nullptr;
}

const Product* find_product(WeightType weights, Arithmetic arithmetic, Isa isa) { return find_of(built_products, weights, arithmetic, isa); }

const CoreKernels* find_core(Isa isa) {
  for (const Products* products : built_products) {
    const CoreKernels* const core = products->isa == isa ? products->core : nullptr;
    if (core != nullptr && (cpu_features() & core->features) == core->features) return core;
  }
  return nullptr;
}

void pack_low_precision(const PackedProjection& packed, const ConstTensorView& matrix, const StoredMatrix* stored, const ConstTensorView& bias,
                        float* memory) {
  const Product& product = *packed.product;
  const bool integers = product.weight_bytes == 1;
  const std::int64_t padded = packed.columns.lanes * packed.columns.vectors, depth = packed.inputs;
  float* const biases = memory + packed.column_floats * padded;
  float *const scales = biases + padded, *const sums = scales + padded;
  for (float* each = memory; each < memory + packed.size(); ++each) *each = 0.0f;
  for (std::int64_t panel = 0; panel < packed.columns.panels; ++panel) {
    const std::int64_t column = packed.columns.first(panel), width = packed.columns.first(panel + 1) - column;
    char* const start = reinterpret_cast<char*>(memory + packed.column_floats * column);
    for (std::int64_t n = 0; n < width && column + n < packed.outputs; ++n) {
      const std::int64_t channel = column + n;
      if (!bias.absent()) biases[channel] = bias.data[channel * bias.strides[0]];
      if (!integers) {
        if (stored != nullptr) {
          const auto halves = channel_of(stored->halves, channel);
          pack_column<std::uint16_t>(product, depth, n, width, start, [&](std::int64_t k) { return kept(product, halves[k]); });
        } else {
          const auto weights = channel_of(matrix, channel);
          pack_column<std::uint16_t>(product, depth, n, width, start, [&](std::int64_t k) { return kept(product, half_bits(product, weights[k])); });
        }
        continue;
      }
      std::int32_t sum = 0;
      const auto counted = [&sum](std::int8_t integer) { return sum += integer, integer; };
      if (stored != nullptr) {
        scales[channel] = stored->scales.data[channel * stored->scales.strides[0]];
        const auto given = channel_of(stored->integers, channel);
        pack_column<std::int8_t>(product, depth, n, width, start, [&](std::int64_t k) { return counted(given[k]); });
      } else {
        const auto weights = channel_of(matrix, channel);
        const float scale = scales[channel] = channel_scale(weights, depth);
        pack_column<std::int8_t>(product, depth, n, width, start, [&](std::int64_t k) { return counted(int8_from_float(weights[k], scale)); });
      }
      __builtin_memcpy(sums + channel, &sum, sizeof sum);
    }
  }
}

}  // namespace attend
