// The check of a product's gemm: its formats as products.h lays them out, and sums in the order of the contract.
#include "product.h"

#include <cstring>

namespace attend::checks {

namespace {

/// A power of two for the elements or the scale of a row, or of a column: now and then such that the product of both becomes denormal.
float draw_level(Random& random) { return random.one_of({1.0f, 1.0f, 0x1p-62f, 0x1p-64f}); }

/// Rows in the format of a product.
struct ProductRows {
  std::vector<float> elements;  // [rows][depth]; of int8 q - z
  std::vector<float> scales;    // of int8
  std::int64_t depth, group;
  const float** pointers;

  ProductRows(const Product& product, const GemmShape& shape, std::int64_t group, Random& random, ArgumentMemory& memory)
      : depth(shape.depth), group(group) {
    pointers = memory.input<const float*>("rows", shape.rows);
    product.row_bytes == 0 ? read(shape, random, memory) : convert(product, shape, random, memory);
  }
  float at(std::int64_t r, std::int64_t k) const { return elements[static_cast<std::size_t>(r * depth + k)]; }

 private:
  void read(const GemmShape& shape, Random& random, ArgumentMemory& memory) {
    const Matrix a = input_matrix(memory, random, "a", shape.rows, depth, depth * shape.k_stride + shape.gap, shape.k_stride);
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      pointers[r] = a.at(r, 0);
      for (std::int64_t k = 0; k < depth; ++k) elements.push_back(*a.at(r, k));
    }
  }

  /// Each behind its header, of which a gemm reads the scale and the zero point alone, and followed by nothing but its padding to steps.
  void convert(const Product& product, const GemmShape& shape, Random& random, ArgumentMemory& memory) {
    const std::int64_t padded = product.padded(depth), pairs = product.weights == WeightType::int4 ? steps_to(depth, group) : 0;
    const std::int64_t row_stride = row_header + padded * product.row_bytes / 4 + pairs + larger(shape.gap, 0);
    float* const first = memory.input<float>("a", extent(shape.rows, row_stride - larger(shape.gap, 0), row_stride, 1));
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      float* const header = first + r * row_stride;
      pointers[r] = header + row_header;
      auto* const bytes = reinterpret_cast<unsigned char*>(header + row_header);
      std::memset(bytes, 0, static_cast<std::size_t>(padded * product.row_bytes));
      product.weights == WeightType::bfloat16 ? round(product, bytes, random) : quantize(product, header, bytes, random);
    }
  }
  void quantize(const Product& product, float* header, unsigned char* bytes, Random& random) {
    const std::int64_t kind = random.between(0, 3);  // largest sums; smallest ones; any
    const std::int32_t zero = kind == 0 ? 0 : kind == 1 ? 255 : static_cast<std::int32_t>(random.between(0, 255));
    scales.push_back(random.one_in(16) ? not_a_number : draw_level(random) * random.uniform(0.001f, 0.1f));
    header[0] = scales.back();
    if (product.weights == WeightType::int4) {
      const std::int64_t padded = product.padded(depth);
      std::int16_t pair[] = {static_cast<std::int16_t>(zero - product.row_offset), 0};
      for (std::int64_t k = 0; k < padded; ++k) {
        const auto q = static_cast<std::int32_t>(k >= depth ? zero : kind == 0 ? 255 : kind == 1 ? 0 : random.between(0, 255));
        bytes[k] = static_cast<unsigned char>(q - product.row_offset);
        pair[1] = static_cast<std::int16_t>(pair[1] - (q - product.row_offset));
        if (k < depth) elements.push_back(static_cast<float>(q - zero));
        if ((k + 1) % group != 0 && k + 1 < padded) continue;
        std::memcpy(bytes + padded + k / group * 4, pair, sizeof pair);
        pair[1] = 0;
      }
      return;
    }
    std::memcpy(header + 1, &zero, sizeof zero);
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t q = kind == 0 ? 255 : kind == 1 ? 0 : random.between(0, 255);
      const auto integer = static_cast<std::int16_t>(q - zero);
      if (product.row_bytes == 1) bytes[k] = static_cast<unsigned char>(q - product.row_offset);
      else std::memcpy(bytes + 2 * k, &integer, sizeof integer);
      elements.push_back(integer);
    }
  }
  void round(const Product& product, unsigned char* bytes, Random& random) {
    const float level = draw_level(random);
    const std::int64_t special = random.one_in(16) && depth > 0 ? random.between(0, depth - 1) : -1;
    for (std::int64_t k = 0; k < depth; ++k) {
      const float x = k == special ? random.one_of({infinity, not_a_number, 0.0f, -0.0f}) : reference::to_bfloat16(level * random.value());
      const auto half = static_cast<std::uint16_t>(bits_of(x) >> 16);
      if (product.row_bytes == 2) std::memcpy(bytes + 2 * k, &half, sizeof half);
      else std::memcpy(bytes + 4 * k, &x, sizeof x);
      elements.push_back(x);
    }
  }
};

/// A panel in the format of a product; columns from `columns` on hold anything.
struct ProductPanel {
  std::vector<float> elements;  // [columns][depth]; of int4 w - z
  std::vector<float> group_scales;  // of int4, [columns][groups]
  std::int64_t depth, group, groups, next_panel = 0;
  float *panel, *scales = nullptr, *bias = nullptr;
  std::int32_t* sums = nullptr;

  ProductPanel(const Product& product, const GemmShape& shape, std::int64_t group, Random& random, ArgumentMemory& memory)
      : depth(shape.depth), group(group), groups(steps_to(depth, group)) {
    if (product.weights == WeightType::int4) {
      if (shape.bias) bias = memory.input<float>("bias", shape.width);
      fill_int4(product, shape, random, memory);
      return;
    }
    const std::int64_t padded = product.row_bytes == 0 ? depth : product.padded(depth);
    panel = memory.input<float>("panel", padded * shape.width * product.weight_bytes / 4);
    const std::int64_t width = shape.width / shape.panels;
    if (shape.panels > 1) next_panel = padded * width * product.weight_bytes / 4;
    if (product.weight_bytes == 1) {
      scales = memory.input<float>("scales", shape.width);
      sums = memory.input<std::int32_t>("sums", shape.width);
    }
    if (shape.bias) bias = memory.input<float>("bias", shape.width);
    for (std::int64_t n = 0; n < shape.columns; ++n) {
      const float level = product.arithmetic == Arithmetic::float32 ? 1.0f : draw_level(random);
      // Smallest weights; largest ones; any, for the bound of floats is one of terms that differ.
      const std::int64_t kind = product.arithmetic == Arithmetic::int8 ? random.between(0, 7) : 7;
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < padded; ++k) {
        auto* const place = reinterpret_cast<unsigned char*>(panel + n / width * next_panel) + panel_place(product, width, k, n % width);
        if (k >= depth) {
          std::memset(place, 0, static_cast<std::size_t>(product.weight_bytes));
        } else if (product.weights == WeightType::int8) {
          const std::int64_t w = kind == 0 ? -128 : kind == 1 ? 127 : random.between(-128, 127);
          *place = static_cast<unsigned char>(w);
          sum += static_cast<std::int32_t>(w);
          elements.push_back(static_cast<float>(w));
        } else {
          // Any float16 that is finite, denormals included.
          const std::int64_t half = product.weights == WeightType::float16
                                        ? random.between(0, 1) << 15 | random.between(0, 0x7bff)
                                        : bits_of(reference::to_bfloat16(level * random.value())) >> 16;
          const auto bits = static_cast<std::uint16_t>(half);
          std::memcpy(place, &bits, sizeof bits);
          elements.push_back(from_half(product, bits));
        }
      }
      if (scales != nullptr) scales[n] = level * random.uniform(0.001f, 0.1f);
      if (sums != nullptr) sums[n] = sum;
      if (bias != nullptr) bias[n] = level * random.value();
    }
  }
  float at(std::int64_t k, std::int64_t n) const { return elements[static_cast<std::size_t>(n * depth + k)]; }
  float scale_at(std::int64_t k, std::int64_t n) const { return group_scales[static_cast<std::size_t>(n * groups + k / group)]; }

 private:
  void fill_int4(const Product& product, const GemmShape& shape, Random& random, ArgumentMemory& memory) {
    const std::int64_t padded = product.padded(depth), numbers = padded / 8 * shape.width;
    panel = memory.input<float>("panel", numbers + groups * shape.width + steps_to(groups * shape.width, 2));
    auto* const bytes = reinterpret_cast<unsigned char*>(panel);
    std::memset(bytes, 0, static_cast<std::size_t>(numbers * 4));
    for (std::int64_t n = 0; n < shape.columns; ++n) {
      // Smallest differences; largest ones; any, for the bound of floats is one of terms that differ.
      const bool exact = product.arithmetic == Arithmetic::int8;
      const float level = exact ? draw_level(random) : 1.0f;
      const std::int64_t kind = exact ? random.between(0, 7) : 7;
      for (std::int64_t g = 0; g < groups; ++g) {
        const int zero = kind == 0 ? 15 : kind == 1 ? 0 : static_cast<int>(random.between(0, 15));
        int sum = 0;
        for (std::int64_t k = g * group; k < smaller((g + 1) * group, padded); ++k) {
          const int w = k >= depth ? zero : kind == 0 ? 0 : kind == 1 ? 15 : static_cast<int>(random.between(0, 15));
          unsigned char& byte = bytes[int4_place(shape.width, k, n)];
          byte = static_cast<unsigned char>(byte | w << int4_shift(k));
          sum += zero - w;
          if (k < depth) elements.push_back(static_cast<float>(w - zero));
        }
        const auto word = static_cast<std::int16_t>(16 * sum + zero);
        const float scale = (random.one_in(2) ? level : -level) * random.uniform(0.001f, 0.1f);
        panel[numbers + g * shape.width + n] = scale;
        group_scales.push_back(scale);
        std::memcpy(reinterpret_cast<unsigned char*>(panel + numbers + groups * shape.width) + 2 * (g * shape.width + n), &word, sizeof word);
      }
      if (bias != nullptr) bias[n] = level * random.value();
    }
  }
};

/// One chain of the exact sums of groups, each times its scale; then the row's scale.
float int4_result(const ProductRows& rows, const ProductPanel& panel, std::int64_t r, std::int64_t n) {
  float sum = 0.0f;
  for (std::int64_t first = 0; first < rows.depth; first += panel.group) {
    std::int64_t t = 0;
    for (std::int64_t k = first; k < smaller(first + panel.group, rows.depth); ++k) {
      t += static_cast<std::int64_t>(rows.at(r, k)) * static_cast<std::int64_t>(panel.at(k, n));
    }
    sum = std::fma(static_cast<float>(t), panel.scale_at(first, n), sum);
  }
  return std::fma(sum, rows.scales[static_cast<std::size_t>(r)], panel.bias != nullptr ? panel.bias[n] : 0.0f);
}

/// fma(the exact sum, the row's scale times the column's, bias).
float int8_result(const ProductRows& rows, const ProductPanel& panel, std::int64_t r, std::int64_t n) {
  std::int64_t sum = 0;
  for (std::int64_t k = 0; k < rows.depth; ++k) sum += static_cast<std::int64_t>(rows.at(r, k)) * static_cast<std::int64_t>(panel.at(k, n));
  const float scale = rows.scales[static_cast<std::size_t>(r)] * panel.scales[n];
  return std::fma(static_cast<float>(sum), scale, panel.bias != nullptr ? panel.bias[n] : 0.0f);
}

/// Denormals become zeros: what rounds to less than 2^-126 with as many digits as a normal number has.
float flushed_fma(float a, float b, float c) {
  const double exact = std::fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c));
  return std::abs(exact) < 0x1p-126 - 0x1p-151 ? static_cast<float>(std::copysign(0.0, exact)) : std::fma(a, b, c);
}

/// One chain over pairs: of each the odd element, then the even one, or both at once; what pads them takes part.
float bfloat16_result(const ProductRows& rows, const ProductPanel& panel, std::int64_t r, std::int64_t n, reference::PairSum pair_sum) {
  float sum = 0.0f;
  const auto x = [&](std::int64_t k) { return k < rows.depth ? rows.at(r, k) : 0.0f; };
  const auto w = [&](std::int64_t k) { return k < rows.depth ? panel.at(k, n) : 0.0f; };
  for (std::int64_t k = 0; k < round_up(rows.depth, depth_step); k += 2) {
    sum = pair_sum == reference::PairSum::odd ? reference::add_pair(sum, x(k), w(k), x(k + 1), w(k + 1))
                                              : flushed_fma(x(k), w(k), flushed_fma(x(k + 1), w(k + 1), sum));
  }
  return sum + (panel.bias != nullptr ? panel.bias[n] : 0.0f);
}

void check_widened(Report& report, const ProductRows& rows, const ProductPanel& panel, std::int64_t r, std::int64_t n, float* element) {
  const double scale = panel.scales != nullptr ? panel.scales[n] : 1.0;
  double sum = panel.bias != nullptr ? panel.bias[n] : 0.0, magnitude = std::abs(sum);
  for (std::int64_t k = 0; k < rows.depth; ++k) {
    const double weight = panel.group_scales.empty() ? scale * panel.at(k, n) : static_cast<double>(panel.scale_at(k, n) * panel.at(k, n));
    const double term = weight * rows.at(r, k);
    sum += term;
    magnitude += std::abs(term);
  }
  report.close("c", r, n, element, sum, linear_bound(magnitude, rows.depth, Data::random));
}

}  // namespace

std::string name_of(const char* kernel, const Product& product) {
  const auto type = [](bool int8, bool bfloat16, const char* other) { return std::string(int8 ? "int8" : bfloat16 ? "bfloat16" : other); };
  const char* const other = product.weights == WeightType::int4 ? "int4" : "float16";
  return std::string(kernel) + " of " + type(product.weights == WeightType::int8, product.weights == WeightType::bfloat16, other) + " x " +
         type(product.arithmetic == Arithmetic::int8, product.arithmetic == Arithmetic::bfloat16, "float32") + " (" + product.instructions + ")";
}

GemmShape draw_product_gemm(const Kernels& kernels, const Product& product, Random& random) {
  GemmShape shape = draw_gemm(random, kernels.lanes, product.rows, product_least_vectors * kernels.lanes, product.columns);
  if (product.weights == WeightType::int4 && random.one_in(2)) {  // several groups
    shape.depth = random.between(1, 300);
    shape.gap = 0;
  }
  draw_panels(random, product.row_panels, product.columns, &shape);
  return shape;
}

Result check_product_gemm(const Kernels& kernels, const Product& product, const GemmShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("gemm", product), sizes_of(shape), seed, memory);
  Random random(seed);
  const std::int64_t group = draw_group(random);
  const ProductRows rows(product, shape, group, random, memory);
  const ProductPanel panel(product, shape, group, random, memory);
  const GemmOutputs outputs(shape, seed, memory);
  GemmArguments arguments = {};
  arguments.rows = rows.pointers;
  arguments.row_count = shape.rows;
  arguments.k_stride = product.row_bytes == 0 ? shape.k_stride : 1;
  arguments.depth = product.row_bytes == 0 ? shape.depth : product.padded(shape.depth) / product.group;
  arguments.panel = panel.panel;
  arguments.width = shape.width;
  arguments.columns = shape.columns;
  arguments.bias = panel.bias;
  arguments.scales = panel.scales;
  arguments.sums = panel.sums;
  arguments.group = group;
  arguments.next_panel = panel.next_panel;
  outputs.put_into(arguments);
  arguments.ahead = panel.panel;
  product.gemm(&arguments);

  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t n = 0; n < shape.columns; ++n) {
      float* const element = outputs.at(r, n);
      switch (product.arithmetic) {
        case Arithmetic::int8:
          report.identical("c", r, n, element, product.weights == WeightType::int4 ? int4_result(rows, panel, r, n) : int8_result(rows, panel, r, n));
          break;
        case Arithmetic::bfloat16:
          report.identical("c", r, n, element, bfloat16_result(rows, panel, r, n, reference::pair_sum_of(product.instructions)));
          break;
        case Arithmetic::float32: check_widened(report, rows, panel, r, n, element); break;
      }
    }
  }
  return report.result();
}

Result check_product(const Kernels& kernels, const Product& product, Random& random, ArgumentMemory& memory) {
  constexpr int shapes = 4;
  Result result;
  const auto check_some = [&](auto check, auto draw) {
    for (int n = 0; n < shapes && result.ok; ++n) {
      const auto shape = draw(kernels, product, random);
      result = check(kernels, product, shape, static_cast<Seed>(random.between(0, 999999)), memory);
    }
  };
  check_some(check_convert_row, draw_convert_row);
  check_some(check_pack_weights, draw_pack_weights);
  check_some(check_product_gemm, draw_product_gemm);
  return result;
}

}  // namespace attend::checks
