// The check of convert_row: rows at random, and what the reference makes of them.
#include <cstring>

#include "product.h"

namespace attend::checks {

namespace {

/// Element d of such a row. Halves of int8 are those of a row whose range is 255 units, from -`below` of them on.
float draw_element(const Product& product, const ConvertRowShape& shape, std::int64_t d, float below, Random& random) {
  const auto bits = static_cast<std::uint32_t>(random.bits() >> 32);
  switch (shape.kind) {
    case row_negative: return -random.uniform(0.25f, 4.0f);
    case row_positive: return random.uniform(0.25f, 4.0f);
    case row_constant: return (below - 127.0f) / 3.0f;
    case row_zero: return random.one_in(2) ? 0.0f : -0.0f;
    case row_vanishing: return 0x0.ffp-119f * random.number();
    case row_small: return random.one_in(4) ? 0x1p-118f : 0x1p-117f * random.value();
    case row_huge: return 3e38f * random.number();
    case row_halves:
      if (product.weights == WeightType::bfloat16) return float_of(bits >> 16 << 16 | 0x8000u);
      return 0.125f * (d == 0 ? -below : d == 1 ? 255.0f - below : 0.5f * static_cast<float>(random.between(0, 510)) - below);
    case row_any: return float_of(bits);
    default: return random.number(3.0f);
  }
}

}  // namespace

ConvertRowShape draw_convert_row(const Kernels& kernels, const Product& product, Random& random) {
  ConvertRowShape shape;
  shape.depth = product.weights == WeightType::int4 && random.one_in(2) ? random.between(1, 300) : draw_size(random, 0, kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.kind = random.between(0, row_kinds - 1);
  return shape;
}

Result check_convert_row(const Kernels& kernels, const Product& product, const ConvertRowShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("convert_row", product), {{"depth", shape.depth}, {"stride", shape.stride}, {"kind", shape.kind}}, seed, memory);
  if (product.row_bytes == 0) return report.result();
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", 1, shape.depth, 0, shape.stride);
  const float below = static_cast<float>(random.between(0, 255));
  for (std::int64_t d = 0; d < shape.depth; ++d) *source.at(0, d) = draw_element(product, shape, d, below, random);
  if (shape.depth > 0 && (shape.kind == row_infinite || shape.kind == row_nan)) {
    *source.at(0, random.between(0, shape.depth - 1)) = shape.kind == row_nan ? not_a_number : random.one_in(2) ? infinity : -infinity;
  }
  const std::int64_t group = draw_group(random), floats = converted_floats(product, shape.depth, group);
  float* const header = memory.output("row", row_header + floats);
  float* const row = header + row_header;
  const ConvertRowArguments arguments = {source.data, shape.stride, shape.depth, row, group};
  product.convert_row(&arguments);

  std::vector<float> elements;
  for (std::int64_t d = 0; d < shape.depth; ++d) elements.push_back(*source.at(0, d));
  elements.resize(static_cast<std::size_t>(product.padded(shape.depth)), 0.0f);
  const auto at = [&](std::size_t d) { return reinterpret_cast<const unsigned char*>(row) + d * static_cast<std::size_t>(product.row_bytes); };
  if (product.weights == WeightType::int4) {
    const reference::QuantisedRow expected = reference::quantise(elements);
    report.identical("scale", 0, 0, header, expected.scale);
    std::int16_t pair[2] = {0, 0};
    for (std::size_t d = 0; d < elements.size(); ++d) {
      const int p = expected.integers[d] - product.row_offset;
      report.identical("row", 0, static_cast<std::int64_t>(d), static_cast<std::int8_t>(*at(d)), p);
      pair[1] = static_cast<std::int16_t>(pair[1] - p);
      if (static_cast<std::int64_t>(d + 1) % group != 0 && d + 1 < elements.size()) continue;
      const std::int64_t g = static_cast<std::int64_t>(d) / group;
      std::int16_t written[2];
      std::memcpy(written, row + static_cast<std::int64_t>(elements.size()) / 4 + g, sizeof written);
      report.identical("zero point", 0, g, written[0], expected.zero - product.row_offset);
      report.identical("sum", 0, g, written[1], pair[1]);
      pair[1] = 0;
    }
  } else if (product.weights == WeightType::int8) {
    const reference::QuantisedRow expected = reference::quantise(elements);
    std::int32_t zero;
    std::memcpy(&zero, header + 1, sizeof zero);
    report.identical("scale", 0, 0, header, expected.scale);
    report.identical("zero point", 0, 0, zero, expected.zero);
    ArgumentMemory::restore(header + 1);
    for (std::size_t d = 0; d < elements.size(); ++d) {
      std::int16_t integer;
      if (product.row_bytes == 1) integer = static_cast<unsigned char>(*at(d) + product.row_offset);
      else std::memcpy(&integer, at(d), sizeof integer);
      report.identical("row", 0, static_cast<std::int64_t>(d), integer, expected.integers[d] - (product.row_bytes == 1 ? 0 : expected.zero));
    }
  } else {
    for (std::size_t d = 0; d < elements.size(); ++d) {
      std::uint16_t half;
      std::memcpy(&half, at(d) + product.row_bytes - 2, sizeof half);
      report.identical("row", 0, static_cast<std::int64_t>(d), float_from_bfloat16(half), without_denormals(reference::to_bfloat16(elements[d])));
      if (product.row_bytes == 2) continue;
      std::memcpy(&half, at(d), sizeof half);
      report.identical("lower half of row", 0, static_cast<std::int64_t>(d), half, 0);
    }
  }
  for (std::int64_t i = 0; i < floats; ++i) ArgumentMemory::restore(row + i);
  return report.result();
}

}  // namespace attend::checks
