// Shapes at random, and the contract in double precision.
#include "rows.h"

#include "base/dispatch.h"
#include "reference/block.h"

namespace attend::checks {

NormalizeShape draw_normalize(const Kernels& kernels, Random& random) {
  NormalizeShape shape;
  shape.columns = draw_width(random, 1, 4 * kernels.lanes);
  shape.source_stride = draw_stride(random, 1);
  shape.weight_stride = draw_stride(random, 0);
  shape.destination_stride = draw_stride(random, 1);
  shape.centred = random.one_in(2);
  shape.weighted = !random.one_in(4);
  shape.biased = random.one_in(2);
  shape.added = random.one_in(2);
  shape.kept = random.one_in(2);
  shape.in_place = random.one_in(2);
  return shape;
}

Result check_normalize(const Kernels& kernels, const NormalizeShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "normalize",
                {{"columns", shape.columns}, {"source_stride", shape.source_stride}, {"weight_stride", shape.weight_stride},
                 {"destination_stride", shape.destination_stride}, {"centred", shape.centred}, {"weighted", shape.weighted},
                 {"biased", shape.biased}, {"added", shape.added}, {"kept", shape.kept}, {"in_place", shape.in_place}},
                seed, memory);
  Random random(seed);
  const std::int64_t columns = shape.columns;
  const Matrix destination = output_matrix(memory, "destination", 1, columns, 0, shape.destination_stride);
  const Matrix sum = output_matrix(memory, "sum", 1, shape.kept ? columns : 0, 0, shape.destination_stride);
  const auto input = [&](const char* name, bool given, std::int64_t stride) {
    return input_matrix(memory, random, name, 1, given ? columns : 0, 0, stride);
  };
  const bool source_is_destination = shape.in_place && !shape.added, residual_is_destination = shape.in_place && shape.added;
  const Matrix source = source_is_destination ? destination : input("source", true, shape.source_stride);
  const Matrix residual = residual_is_destination ? destination : input("residual", shape.added, shape.source_stride);
  const Matrix weight = input("weight", shape.weighted, shape.weight_stride), bias = input("bias", shape.biased, shape.weight_stride);
  const float epsilon = random.one_in(3) && columns > 1 ? 0.0f : random.uniform(0.001f, 1.0f);
  reference::Array x = reference::Array::zeros({columns}), weights = x, biases = x;
  for (std::int64_t c = 0; c < columns; ++c) {
    if (shape.in_place) *destination.at(0, c) = random.value();
    const float added = *source.at(0, c) + (shape.added ? *residual.at(0, c) : 0.0f);
    x.values[static_cast<std::size_t>(c)] = added;
    if (shape.weighted) weights.values[static_cast<std::size_t>(c)] = *weight.at(0, c);
    if (shape.biased) biases.values[static_cast<std::size_t>(c)] = *bias.at(0, c);
  }
  NormalizeArguments arguments = {};
  arguments.source = source.data;
  arguments.source_stride = source.stride;
  arguments.residual = shape.added ? residual.data : nullptr;
  arguments.residual_stride = residual.stride;
  arguments.weight = shape.weighted ? weight.data : nullptr;
  arguments.weight_stride = weight.stride;
  arguments.bias = shape.biased ? bias.data : nullptr;
  arguments.bias_stride = bias.stride;
  arguments.sum = shape.kept ? sum.data : nullptr;
  arguments.sum_stride = sum.stride;
  arguments.destination = destination.data;
  arguments.destination_stride = destination.stride;
  arguments.columns = columns;
  arguments.epsilon = epsilon;
  arguments.centred = shape.centred;
  row_kernels(kernels.isa).normalize(&arguments);
  const reference::NormResult expected = reference::norm(x, shape.centred, shape.weighted ? weights : reference::Array(),
                                                         shape.biased ? biases : reference::Array(), epsilon, Data::structured);
  for (std::int64_t c = 0; c < columns; ++c) {
    report.close("destination", 0, c, destination.at(0, c), expected.output.at(c), expected.bounds.at(c));
    if (shape.kept) report.equal("sum", 0, c, sum.at(0, c), x.at(c));
  }
  return report.result();
}

ActivateShape draw_activate(const Kernels& kernels, Random& random) {
  ActivateShape shape;
  shape.activation = static_cast<int>(random.between(0, 4));
  shape.rows = random.between(0, 4);
  shape.columns = draw_size(random, 1, 2 * kernels.lanes);
  shape.stride = draw_stride(random, 1);
  shape.gap = draw_gap(random);
  shape.multiplier_stride = draw_stride(random, 0);
  shape.multiplied = random.one_in(2);
  return shape;
}

Result check_activate(const Kernels& kernels, const ActivateShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, "activate",
                {{"activation", shape.activation}, {"rows", shape.rows}, {"columns", shape.columns}, {"stride", shape.stride},
                 {"gap", shape.gap}, {"multiplier_stride", shape.multiplier_stride}, {"multiplied", shape.multiplied}},
                seed, memory);
  Random random(seed);
  const Activation activation = static_cast<Activation>(shape.activation);
  const std::int64_t row_stride = shape.columns * shape.stride + shape.gap;
  const Matrix values = output_matrix(memory, "values", shape.rows, shape.columns, row_stride, shape.stride);
  const Matrix multiplier = input_matrix(memory, random, "multiplier", shape.multiplied ? shape.rows : 0, shape.columns,
                                         shape.columns * shape.multiplier_stride + shape.gap, shape.multiplier_stride);
  std::vector<float> x;
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      const float extent = random.one_in(4) ? 20.0f : 3.0f;
      const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 200.0f, -200.0f, HUGE_VALF, -HUGE_VALF, not_a_number, 3e38f, -3e38f};
      x.push_back(random.one_in(20) ? special[random.between(0, 10)] : random.uniform(-extent, extent));
      *values.at(r, c) = x.back();
    }
  }
  ActivateArguments arguments = {};
  arguments.activation = activation;
  arguments.values = values.data;
  arguments.row_stride = values.row_stride;
  arguments.stride = values.stride;
  arguments.multiplier = shape.multiplied ? multiplier.data : nullptr;
  arguments.multiplier_row_stride = multiplier.row_stride;
  arguments.multiplier_stride = multiplier.stride;
  arguments.rows = shape.rows;
  arguments.columns = shape.columns;
  row_kernels(kernels.isa).activate(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      const double own = x[static_cast<std::size_t>(r * shape.columns + c)], factor = shape.multiplied ? *multiplier.at(r, c) : 1.0;
      const double y = reference::activated(own, activation) * factor;
      const double rounding = std::isfinite(y) && shape.multiplied ? 2.0 * reference::unit_roundoff * std::abs(y) : 0.0;
      report.close("values", r, c, values.at(r, c), y, reference::activated_bound(own, activation) * std::abs(factor) + rounding + std::exp2(-125.0));
    }
  }
  return report.result();
}

}  // namespace attend::checks
