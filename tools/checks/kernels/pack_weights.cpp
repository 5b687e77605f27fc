// The check of pack_low_precision: each weight at its place as the reference stores it; biases, scales and sums behind the panels.
#include <cstring>

#include "data/layer.h"
#include "product.h"

namespace attend::checks {

namespace {

/// Weights of one output: now and then such that they lie halfway between two that can be stored, or of any bits.
void draw_channel(const Product& product, const Matrix& weights, std::int64_t n, std::int64_t inputs, Random& random) {
  const std::int64_t kind = random.between(0, 7);
  const int dropped = product.weights == WeightType::float16 ? 13 : 16;  // of a float's bits
  for (std::int64_t k = 0; k < inputs; ++k) {
    float& w = *weights.at(n, k);
    const auto bits = static_cast<std::uint32_t>(random.bits() >> 32);
    if (kind == 0) w = random.one_in(2) ? 0.0f : -0.0f;
    else if (kind == 1 && product.weights == WeightType::int4) w = k % 32 == 0 ? -8.0f : 0.5f * static_cast<float>(random.between(-15, 16));
    else if (kind == 1 && product.weight_bytes == 1) w = k == 0 ? 127.0f : 0.5f * static_cast<float>(random.between(-254, 254));
    else if (kind == 1) w = float_of((bits_of(random.number()) >> dropped << dropped) + (1u << (dropped - 1)));
    else if (kind == 2) w = float_of(bits);
    else if (kind == 3) w = 0x1p-127f * random.number();
    else if (kind == 4) w = 0x1p-16f * random.number();
    else if (kind == 5) w = 65520.0f + 64.0f * random.number();
    else w = random.number();
  }
  if (kind == 6 && random.one_in(2)) *weights.at(n, random.between(0, inputs - 1)) = random.one_of({not_a_number, infinity, -infinity});
}

/// Elements of a matrix that is stored, at the end of an array of whole words; of any bits.
template <class Element>
View<const Element> draw_stored(const Matrix& like, const PackWeightsShape& shape, Random& random, ArgumentMemory& memory) {
  const std::int64_t size = extent(shape.outputs, shape.inputs, like.row_stride, like.stride) * static_cast<std::int64_t>(sizeof(Element));
  const std::int64_t words = round_up(size, 4) / 4;
  char* const first = reinterpret_cast<char*>(memory.input<std::uint32_t>("stored", words)) + (words * 4 - size);
  for (std::int64_t n = 0; n < shape.outputs; ++n) {
    for (std::int64_t k = 0; k < shape.inputs; ++k) {
      const std::uint64_t bits = random.bits();
      std::memcpy(first + (n * like.row_stride + k * like.stride) * static_cast<std::int64_t>(sizeof(Element)), &bits, sizeof(Element));
    }
  }
  return View<const Element>::strided(reinterpret_cast<const Element*>(first), {shape.outputs, shape.inputs}, {like.row_stride, like.stride});
}

/// Numbers, scales and zeros of int4 as a file stores them.
StoredMatrix draw_int4(const PackWeightsShape& shape, std::int64_t groups, std::int64_t outer, std::int64_t inner, Random& random, ArgumentMemory& memory) {
  StoredMatrix stored;
  PackWeightsShape pairs = shape, zeros = shape;
  pairs.inputs = (shape.inputs + 1) / 2;
  zeros.inputs = groups;
  const Matrix like = {nullptr, outer, inner};
  stored.nibbles = draw_stored<std::uint8_t>(like, pairs, random, memory);
  const Matrix scales = input_matrix(memory, random, "scales", shape.outputs, groups, outer, inner);
  stored.scales = ConstTensorView::strided(scales.data, {shape.outputs, groups}, {outer, inner});
  if (random.one_in(2)) stored.zeros = draw_stored<std::uint8_t>(like, zeros, random, memory);
  return stored;
}

reference::StoredWeights read_int4(const StoredMatrix& stored, std::int64_t outputs, std::int64_t inputs, std::int64_t group) {
  const auto at = [](const View<const std::uint8_t>& view, std::int64_t n, std::int64_t k) { return view.data[n * view.strides[0] + k * view.strides[1]]; };
  reference::StoredWeights expected;
  expected.group = group;
  expected.scales = stored.scales;
  expected.numbers = reference::Array::zeros({outputs, inputs});
  if (!stored.zeros.absent()) expected.zeros = reference::Array::zeros({outputs, steps_to(inputs, group)});
  for (std::int64_t n = 0; n < outputs; ++n) {
    for (std::int64_t k = 0; k < inputs; ++k) {
      expected.numbers.at(n, k) = at(stored.nibbles, n, k / 2) / (k % 2 == 0 ? 1 : 16) % 16;
      if (!stored.zeros.absent()) expected.zeros.at(n, k / group) = at(stored.zeros, n, k / group) % 16;
    }
  }
  return expected;
}

void check_int4(const Kernels& kernels, const Product& product, const PackWeightsShape& shape, Random& random, ArgumentMemory& memory, Report& report) {
  const std::int64_t group = draw_group(random), groups = steps_to(shape.inputs, group);
  const std::int64_t inner = (shape.transposed ? shape.outputs : shape.inputs) * shape.stride + shape.gap;
  const std::int64_t output_stride = shape.transposed ? shape.stride : inner, input_stride = shape.transposed ? inner : shape.stride;
  ConstTensorView matrix, bias;
  StoredMatrix stored;
  if (shape.stored) {
    stored = draw_int4(shape, groups, output_stride, input_stride, random, memory);
  } else {
    const Matrix weights = input_matrix(memory, random, "weight", shape.outputs, shape.inputs, output_stride, input_stride);
    for (std::int64_t n = 0; n < shape.outputs; ++n) draw_channel(product, weights, n, shape.inputs, random);
    matrix = ConstTensorView::strided(weights.data, {shape.outputs, shape.inputs}, {output_stride, input_stride});
  }
  if (shape.bias) {
    const Matrix biases = input_matrix(memory, random, "bias", 1, shape.outputs, 0, shape.bias_stride);
    bias = ConstTensorView::strided(biases.data, {shape.outputs}, {shape.bias_stride});
  }
  const PackedProjection packed(kernels, &product, shape.inputs, shape.outputs, static_cast<int>(group));
  float* const floats = memory.output("packed", packed.size());
  pack_int4(packed, matrix, shape.stored ? &stored : nullptr, bias, floats);

  const reference::StoredWeights expected = shape.stored ? read_int4(stored, shape.outputs, shape.inputs, group) : reference::store(matrix, WeightType::int4, group);
  const reference::Array biases = bias;
  const std::int64_t columns = packed.columns.first(packed.columns.panels), depth = product.padded(shape.inputs);
  const std::int64_t column_floats = depth / 8 + groups + (groups + 1) / 2;
  float* const behind = floats + column_floats * columns;
  for (std::int64_t panel = 0; panel < packed.columns.panels; ++panel) {
    const std::int64_t first = packed.columns.first(panel), width = packed.columns.first(panel + 1) - first;
    if (width < product_least_vectors * kernels.lanes || width > product.columns) report.fail("a panel that the product does not take");
    const float* const start = floats + column_floats * first;
    const auto* const bytes = reinterpret_cast<const unsigned char*>(start);
    const float* const scales = start + depth / 8 * width;
    const auto* const words = reinterpret_cast<const unsigned char*>(scales + groups * width);
    for (std::int64_t n = 0; n < width; ++n) {
      const bool given = first + n < shape.outputs;
      for (std::int64_t g = 0; g < groups; ++g) {
        const int zero = !given ? 0 : expected.zeros.absent() ? 8 : static_cast<int>(expected.zeros.at(first + n, g));
        int sum = 0;
        for (std::int64_t k = g * group; k < smaller((g + 1) * group, depth); ++k) {
          const int number = given && k < shape.inputs ? static_cast<int>(expected.numbers.at(first + n, k)) : zero;
          report.identical("panels", first + n, k, bytes[int4_place(width, k, n)] >> int4_shift(k) & 15, number);
          sum += zero - number;
        }
        std::int16_t word;
        std::memcpy(&word, words + 2 * (g * width + n), sizeof word);
        report.identical("words", first + n, g, word, 16 * sum + zero);
        float scale;
        std::memcpy(&scale, scales + g * width + n, sizeof scale);
        report.identical("scales", first + n, g, &scale, given ? expected.scales.at(first + n, g) : 0.0);
      }
      report.identical("biases", 0, first + n, behind + first + n, given && shape.bias ? biases.at(first + n) : 0.0);
    }
  }
  for (float* at = floats; at < behind; ++at) ArgumentMemory::restore(at);
  for (float* at = behind + columns; at < floats + packed.size(); ++at) report.identical("padding", 0, at - behind, at, 0.0);
}

}  // namespace

PackWeightsShape draw_pack_weights(const Kernels&, const Product& product, Random& random) {
  PackWeightsShape shape;
  shape.inputs = product.weights == WeightType::int4 && random.one_in(2) ? random.between(1, 300) : draw_size(random, 1, 8);
  shape.outputs = draw_size(random, 1, product.columns);
  shape.stride = draw_stride(random, 0);
  shape.gap = draw_gap(random);
  shape.bias_stride = draw_stride(random, 0);
  shape.transposed = random.one_in(2);
  shape.stored = random.one_in(3);
  shape.bias = random.one_in(2);
  return shape;
}

Result check_pack_weights(const Kernels& kernels, const Product& product, const PackWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("pack_low_precision", product),
                {{"inputs", shape.inputs}, {"outputs", shape.outputs}, {"stride", shape.stride}, {"gap", shape.gap},
                 {"bias_stride", shape.bias_stride}, {"transposed", shape.transposed}, {"stored", shape.stored}, {"bias", shape.bias}},
                seed, memory);
  Random random(seed);
  if (product.weights == WeightType::int4) {
    check_int4(kernels, product, shape, random, memory, report);
    return report.result();
  }
  const bool integers = product.weight_bytes == 1;
  const std::int64_t inner = (shape.transposed ? shape.outputs : shape.inputs) * shape.stride + shape.gap;
  const std::int64_t output_stride = shape.transposed ? shape.stride : inner, input_stride = shape.transposed ? inner : shape.stride;
  Matrix weights = {nullptr, output_stride, input_stride};
  ConstTensorView matrix, bias;
  StoredMatrix stored;
  if (!shape.stored) {
    weights = input_matrix(memory, random, "weight", shape.outputs, shape.inputs, output_stride, input_stride);
    for (std::int64_t n = 0; n < shape.outputs; ++n) draw_channel(product, weights, n, shape.inputs, random);
    matrix = ConstTensorView::strided(weights.data, {shape.outputs, shape.inputs}, {output_stride, input_stride});
  } else if (integers) {
    stored.integers = draw_stored<std::int8_t>(weights, shape, random, memory);
    const Matrix scales = input_matrix(memory, random, "scales", 1, shape.outputs, 0, shape.bias_stride);
    stored.scales = ConstTensorView::strided(scales.data, {shape.outputs}, {shape.bias_stride});
  } else {
    stored.halves = draw_stored<std::uint16_t>(weights, shape, random, memory);
  }
  if (shape.bias) {
    const Matrix biases = input_matrix(memory, random, "bias", 1, shape.outputs, 0, shape.bias_stride);
    bias = ConstTensorView::strided(biases.data, {shape.outputs}, {shape.bias_stride});
  }
  const PackedProjection packed(kernels, &product, shape.inputs, shape.outputs);
  float* const floats = memory.output("packed", packed.size());
  pack_low_precision(packed, matrix, shape.stored ? &stored : nullptr, bias, floats);

  reference::StoredWeights expected;
  if (!shape.stored) {
    expected = reference::store(matrix, product.weights);
  } else if (integers) {
    expected = {stored.integers, stored.scales};
  } else {
    expected.numbers = stored.halves;
    for (double& number : expected.numbers.values) number = from_half(product, static_cast<std::uint16_t>(number));
  }
  const reference::Array biases = bias;
  const std::int64_t columns = packed.columns.first(packed.columns.panels), depth = product.padded(shape.inputs);
  float* const behind = floats + depth * product.weight_bytes * columns / 4;
  float* const scales = behind + columns;
  float* const sums = scales + columns;
  for (std::int64_t panel = 0; panel < packed.columns.panels; ++panel) {
    const std::int64_t first = packed.columns.first(panel), width = packed.columns.first(panel + 1) - first;
    if (width < product_least_vectors * kernels.lanes || width > product.columns) report.fail("a panel that the product does not take");
    const auto* const start = reinterpret_cast<const unsigned char*>(floats) + depth * first * product.weight_bytes;
    for (std::int64_t n = first; n < first + width; ++n) {
      const bool given = n < shape.outputs;
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < depth; ++k) {
        const float number = given && k < shape.inputs ? static_cast<float>(expected.numbers.at(n, k)) : 0.0f;
        const unsigned char* const at = start + panel_place(product, width, k, n - first);
        if (integers) {
          const auto integer = static_cast<std::int32_t>(number);
          report.identical("panels", n, k, static_cast<std::int8_t>(*at), integer);
          sum += integer;
        } else {
          std::uint16_t half;
          std::memcpy(&half, at, sizeof half);
          report.identical("panels", n, k, from_half(product, half), product.arithmetic == Arithmetic::bfloat16 ? without_denormals(number) : number);
        }
      }
      report.identical("biases", 0, n, behind + n, given && shape.bias ? biases.at(n) : 0.0);
      if (!integers) continue;
      std::int32_t packed_sum;
      std::memcpy(&packed_sum, sums + n, sizeof packed_sum);
      report.identical("scales", 0, n, scales + n, given ? expected.scales.at(n) : 0.0);
      report.identical("sums", 0, n, packed_sum, sum);
      ArgumentMemory::restore(sums + n);
    }
  }
  for (float* at = floats; at < behind; ++at) ArgumentMemory::restore(at);
  float* const end = integers ? sums + columns : scales;
  for (float* at = end; at < floats + packed.size(); ++at) report.identical("padding", 0, at - end, at, 0.0);
  return report.result();
}

}  // namespace attend::checks
