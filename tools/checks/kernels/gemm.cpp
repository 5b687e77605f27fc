// Shapes at random, and the contract in double precision.
#include "gemm.h"

namespace attend::checks {

GemmShape draw_gemm(const Kernels& kernels, Random& random) {
  GemmShape shape = draw_gemm(random, kernels.lanes, kernels.gemm_rows, kernels.lanes, kernels.gemm_columns);
  draw_panels(random, kernels.row_panels, kernels.gemm_columns, &shape);
  return shape;
}

void draw_panels(Random& random, int row_panels, std::int64_t most_width, GemmShape* shape) {
  if (row_panels == 1 || !random.one_in(4)) return;
  shape->rows = 1;
  shape->depth = larger(shape->depth, 1);
  shape->panels = row_panels;
  shape->columns = random.between(most_width + 1, row_panels * most_width);
  shape->width = row_panels * most_width;
}

GemmShape draw_gemm(Random& random, std::int64_t lanes, std::int64_t tile_rows, std::int64_t least_width, std::int64_t most_width) {
  GemmShape shape;
  shape.rows = draw_size(random, 0, tile_rows);
  shape.depth = draw_size(random, 0, 8);
  shape.columns = random.between(1, most_width);
  shape.width = larger(round_up(shape.columns, lanes), least_width);
  if (random.one_in(8)) shape.width = most_width;
  shape.k_stride = draw_stride(random, 0);
  shape.gap = draw_input_gap(random, shape.depth * shape.k_stride);
  shape.first_column = random.one_in(2) ? 0 : random.between(0, 100);
  shape.head_size = random.one_in(2) ? shape.first_column + shape.columns : random.between(1, shape.columns + 3);
  shape.element_stride = draw_stride(random, 1);
  shape.output_gap = draw_gap(random);
  shape.head_major = random.one_in(2);
  shape.bias = random.one_in(2);
  return shape;
}

std::vector<Report::Size> sizes_of(const GemmShape& shape) {
  return {{"rows", shape.rows}, {"depth", shape.depth}, {"columns", shape.columns}, {"width", shape.width},
          {"k_stride", shape.k_stride}, {"gap", shape.gap}, {"first_column", shape.first_column},
          {"head_size", shape.head_size}, {"element_stride", shape.element_stride},
          {"output_gap", shape.output_gap}, {"head_major", shape.head_major}, {"bias", shape.bias},
          {"panels", shape.panels}};
}

GemmOutputs::GemmOutputs(const GemmShape& shape, Seed seed, ArgumentMemory& memory)
    : first_column(shape.first_column), head_size(shape.head_size), element_stride(shape.element_stride) {
  const std::int64_t end = shape.first_column + shape.columns;
  const std::int64_t heads = round_up(end, head_size) / head_size;
  const std::int64_t head = head_size * element_stride + shape.output_gap;
  const std::int64_t row_stride = shape.head_major ? head : heads * head + shape.output_gap;
  head_stride = shape.head_major ? shape.rows * row_stride : head;
  const std::int64_t last = (end - 1) / head_size * head_stride + (end - 1) % head_size * element_stride;
  float* output = memory.output("output", shape.rows == 0 ? 0 : (shape.rows - 1) * row_stride + last + 1);
  rows = memory.input<float*>("outputs", shape.rows);
  for (std::int64_t r = 0; r < shape.rows; ++r) rows[r] = output + (seed % 2 == 0 ? r : shape.rows - 1 - r) * row_stride;
}

void GemmOutputs::put_into(GemmArguments& arguments) const {
  arguments.outputs = rows;
  arguments.first_column = first_column;
  arguments.head_size = head_size;
  arguments.head_stride = head_stride;
  arguments.element_stride = element_stride;
}

Result check_gemm(const Kernels& kernels, const GemmShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "gemm", sizes_of(shape), seed, memory);
  Random random(seed);
  const Matrix a = input_matrix(memory, random, "a", shape.rows, shape.depth,
                                shape.depth * shape.k_stride + shape.gap, shape.k_stride);
  // Whole vectors are promised: 64 bytes where a vector has 64.
  const std::size_t vector = static_cast<std::size_t>(kernels.lanes) * sizeof(float);
  float* const panels = memory.input<float>("panel", shape.depth * shape.width, vector);
  const std::int64_t width = shape.width / shape.panels, next_panel = shape.panels > 1 ? shape.depth * width : 0;
  const auto weight = [&](std::int64_t k, std::int64_t n) { return panels + n / width * next_panel + k * width + n % width; };
  float* bias = shape.bias ? memory.input<float>("bias", shape.width) : nullptr;
  for (std::int64_t n = 0; n < shape.columns; ++n) {
    for (std::int64_t k = 0; k < shape.depth; ++k) *weight(k, n) = random.value();
    if (bias) bias[n] = random.value();
  }

  const float** rows = memory.input<const float*>("rows", shape.rows);
  for (std::int64_t r = 0; r < shape.rows; ++r) rows[r] = a.at(r, 0);
  const GemmOutputs outputs(shape, seed, memory);
  GemmArguments arguments = {};
  arguments.rows = rows;
  arguments.row_count = shape.rows;
  arguments.k_stride = shape.k_stride;
  arguments.depth = shape.depth;
  arguments.panel = panels;
  arguments.next_panel = next_panel;
  arguments.width = shape.width;
  arguments.columns = shape.columns;
  arguments.bias = bias;
  outputs.put_into(arguments);
  arguments.ahead = panels;
  kernels.gemm(&arguments);

  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t n = 0; n < shape.columns; ++n) {
      double sum = bias ? bias[n] : 0.0, magnitude = std::abs(sum);
      for (std::int64_t k = 0; k < shape.depth; ++k) {
        const double term = static_cast<double>(*a.at(r, k)) * *weight(k, n);
        sum += term;
        magnitude += std::abs(term);
      }
      report.close("c", r, n, outputs.at(r, n), sum, linear_bound(magnitude, shape.depth, Data::random));
    }
  }
  return report.result();
}

}  // namespace attend::checks
