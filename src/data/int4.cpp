// Finds the products of weights of int4, and packs such weights, panel by panel.
#include <math.h>

#include "data/layer.h"
#include "data/low_precision.h"
#include "kernels/half_floats.h"

namespace attend {

#define ATTEND_DECLARE_INT4(products) extern const Products products;
ATTEND_BUILT_INT4(ATTEND_DECLARE_INT4)

namespace {

constexpr Products no_int4 = {Isa::best, nullptr, 0};  // so that a build without low precision has a list, too
#define ATTEND_INT4(products) &products,
const Products* const built_int4[] = {ATTEND_BUILT_INT4(ATTEND_INT4) &no_int4};

constexpr int widest_group = 128;

// A group of a column: scale (numbers - zero).
struct Int4Group {
  float scale;
  int zero;
  std::uint8_t numbers[widest_group];
};

// The weight of the largest size, of several the first, is -8 steps: so all 16 numbers are in use. A group that is not finite has a scale of
// NaN, and one of zeros a scale of 0.
void quantize_group(const float* weights, std::int64_t stride, std::int64_t count, Int4Group* group) {
  float largest = 0.0f;
  bool finite = true;
  for (std::int64_t k = 0; k < count; ++k) {
    const float w = weights[k * stride];
    finite = finite && fabsf(w) < infinity;
    if (fabsf(w) > fabsf(largest)) largest = w;
  }
  const float scale = finite ? int4_scale(largest) : 0.0f;
  group->scale = finite ? scale : __builtin_nanf("");
  group->zero = 8;
  for (std::int64_t k = 0; k < count; ++k) group->numbers[k] = int4_from_float(weights[k * stride], scale);
}

void read_group(const StoredMatrix& stored, std::int64_t n, std::int64_t g, std::int64_t first, std::int64_t count, Int4Group* group) {
  const View<const std::uint8_t>&nibbles = stored.nibbles, &zeros = stored.zeros;
  group->scale = stored.scales.data[n * stored.scales.strides[0] + g * stored.scales.strides[1]];
  group->zero = zeros.absent() ? 8 : zeros.data[n * zeros.strides[0] + g * zeros.strides[1]] & 15;
  for (std::int64_t k = 0; k < count; ++k) {
    const int pair = nibbles.data[n * nibbles.strides[0] + (first + k) / 2 * nibbles.strides[1]];
    group->numbers[k] = static_cast<std::uint8_t>(k % 2 == 0 ? pair & 15 : pair >> 4);
  }
}

}  // namespace

const Product* usable_int4_product(Isa isa, int index) { return usable_of(built_int4, isa, index); }

const Product* find_int4_product(WeightType weights, Arithmetic arithmetic, Isa isa) { return find_of(built_int4, weights, arithmetic, isa); }

void pack_int4(const PackedProjection& packed, const ConstTensorView& matrix, const StoredMatrix* stored, const ConstTensorView& bias,
               float* memory) {
  const std::int64_t padded = packed.columns.lanes * packed.columns.vectors, depth = packed.inputs, end = packed.product->padded(depth);
  const std::int64_t group_size = packed.group, groups = steps_to(depth, group_size);
  float* const biases = memory + packed.column_floats * padded;
  for (float* each = memory; each < memory + packed.size(); ++each) *each = 0.0f;
  for (std::int64_t panel = 0; panel < packed.columns.panels; ++panel) {
    const std::int64_t column = packed.columns.first(panel), width = packed.columns.first(panel + 1) - column;
    float* const start = memory + packed.column_floats * column;
    std::uint8_t* const numbers = reinterpret_cast<std::uint8_t*>(start);
    float* const scales = start + end / 8 * width;
    char* const words = reinterpret_cast<char*>(scales + groups * width);
    for (std::int64_t n = 0; n < width && column + n < packed.outputs; ++n) {
      const std::int64_t channel = column + n;
      if (!bias.absent()) biases[channel] = bias.data[channel * bias.strides[0]];
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t first = g * group_size, count = smaller(group_size, depth - first);
        Int4Group group;
        if (stored != nullptr) {
          read_group(*stored, channel, g, first, count, &group);
        } else {
          quantize_group(matrix.data + channel * matrix.strides[0] + first * matrix.strides[1], matrix.strides[1], count, &group);
        }
        int sum = 0;
        for (std::int64_t k = first; k < smaller(first + group_size, end); ++k) {
          const int number = k - first < count ? group.numbers[k - first] : group.zero;
          sum += group.zero - number;
          std::uint8_t& place = numbers[(k / 8 * width + n) * 4 + k % 4];
          place = static_cast<std::uint8_t>(place | number << (k % 8 < 4 ? 0 : 4));
        }
        const std::int16_t word = static_cast<std::int16_t>(16 * sum + group.zero);
        scales[g * width + n] = group.scale;
        __builtin_memcpy(words + (g * width + n) * 2, &word, sizeof word);
      }
    }
  }
}

}  // namespace attend
