// Checks rotary tables, frequencies and the positions of rows.
#include "check/calls.h"

#include <cstdio>

#include "check/parts.h"

namespace attend {

namespace {

struct FieldName {
  char text[40];
  FieldName(const char* prefix, const char* name) { std::snprintf(text, sizeof text, "%s%s", prefix, name); }
};

bool is_position(std::int64_t position, std::int64_t offset, std::int64_t limit) {
  std::int64_t sum = 0;
  return !__builtin_add_overflow(position, offset, &sum) && (limit < 0 || (sum >= 0 && sum < limit));
}

// Checks two numbers of a scaling: finite and 0 < low < high.
Status check_ramp(const char* low_name, double low, const char* high_name, double high) {
  if (!(low > 0.0)) return Status::error(invalid, "%s: %g, expected a number above 0", low_name, low);
  if (high > low && __builtin_isfinite(high)) return Status();
  return Status::error(invalid, "%s: %g, expected a finite number above %s, %g", high_name, high, low_name, low);
}

Status check_scaling(const RotaryScaling& scaling) {
  const RotaryScalingKind kind = scaling.kind;
  if (kind == RotaryScalingKind::none) return Status();
  if (static_cast<int>(kind) < 0 || static_cast<int>(kind) > static_cast<int>(RotaryScalingKind::llama3)) {
    return Status::error(invalid, "kind: %d is not one of attend::RotaryScalingKind", static_cast<int>(kind));
  }
  if (!(scaling.factor > 0.0) || !__builtin_isfinite(scaling.factor)) {
    return Status::error(invalid, "factor: %g, expected a finite number above 0", scaling.factor);
  }
  if (kind != RotaryScalingKind::yarn && kind != RotaryScalingKind::llama3) return Status();
  if (scaling.original_max_position < 1) {
    return Status::error(invalid, "original_max_position: %lld, expected 1 or more", Number{scaling.original_max_position});
  }
  if (kind == RotaryScalingKind::yarn) {
    return check_ramp("beta_slow", scaling.beta_slow, "beta_fast", scaling.beta_fast);
  }
  return check_ramp("low_frequency_factor", scaling.low_frequency_factor, "high_frequency_factor",
                    scaling.high_frequency_factor);
}

}  // namespace

Status check_rotary(const char* prefix, const RotaryEmbedding& rotary, const char* rows, std::int64_t width) {
  const FieldName frequencies_name(prefix, "inverse_frequencies"), cosines_name(prefix, "cosines"), sines_name(prefix, "sines");
  const ConstTensorView &frequencies = rotary.inverse_frequencies, &cosines = rotary.cosines;
  const bool tables = !cosines.absent() || !rotary.sines.absent();
  if (frequencies.absent() && !tables) {
    return Status::error(invalid, "%s: absent, and cosines and sines are, too", frequencies_name.text);
  }
  if (!frequencies.absent() && tables) {
    return Status::error(invalid, "%s: given together with cosines or sines, expected one of the two", frequencies_name.text);
  }
  if (tables) {
    ATTEND_CHECK(check_view(cosines_name.text, cosines, -1, -1));
    ATTEND_CHECK(check_view(sines_name.text, rotary.sines, cosines.sizes[0], cosines.sizes[1]));
  } else {
    ATTEND_CHECK(check_view(frequencies_name.text, frequencies, -1));
  }
  const std::int64_t pairs = tables ? cosines.sizes[1] : frequencies.sizes[0];
  if (pairs <= width / 2) return Status();
  return Status::error(invalid, "%s: shape %s rotates more than the width of %s, %lld", tables ? cosines_name.text : frequencies_name.text,
                       shape_text(tables ? cosines : frequencies).text, rows, Number{width});
}

Status check_attention_factor(const char* prefix, const RotaryEmbedding& rotary) {
  const FieldName name(prefix, "attention_factor");
  const float factor = rotary.attention_factor;
  if (!__builtin_isfinite(factor)) {
    return Status::error(invalid, "%s: %g, expected a finite number", name.text, static_cast<double>(factor));
  }
  if (!rotary.inverse_frequencies.absent() || factor == 1.0f) return Status();
  return Status::error(invalid, "%s: %g, expected 1 with cosines and sines, which include it", name.text, static_cast<double>(factor));
}

Status check_epsilon(const char* name, float epsilon) {
  if (epsilon >= 0.0f && __builtin_isfinite(epsilon)) return Status();
  return Status::error(invalid, "%s: %g, expected a finite number, 0 or more", name, static_cast<double>(epsilon));
}

Status check_positions(const char* name, const IndexView& positions, std::int64_t offset, std::int64_t batch, std::int64_t rows,
                       std::int64_t limit) {
  char range[32] = "64 bits";
  if (limit >= 0) std::snprintf(range, sizeof range, "[0, %lld)", Number{limit});
  if (positions.absent()) {
    for (const std::int64_t row : {std::int64_t{0}, rows - 1}) {
      if (is_position(row, offset, limit)) continue;
      return Status::error(invalid, "offset: %lld puts row %lld outside of %s", Number{offset}, Number{row}, range);
    }
    return Status();
  }
  const bool by_entry = positions.rank == 2;
  for (std::int64_t b = 0; b < (by_entry ? batch : 1); ++b) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t* row = positions.data + i * positions.strides[by_entry ? 1 : 0];
      const std::int64_t position = by_entry ? row[b * positions.strides[0]] : *row;
      if (is_position(position, offset, limit)) continue;
      char entry[32] = "";
      if (by_entry) std::snprintf(entry, sizeof entry, "%lld, ", Number{b});
      return Status::error(invalid, "%s: [%s%lld] is %lld, with offset %lld outside of %s", name, entry, Number{i}, Number{position},
                           Number{offset}, range);
    }
  }
  return Status();
}

Status validate_rotary_shapes(const ConstTensorView& input, const RotaryEmbedding& rotary,
                              const IndexView& positions) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1, -1));
  ATTEND_CHECK(check_rotary("", rotary, "input", input.sizes[3]));
  if (positions.absent()) return Status();
  ATTEND_CHECK(check_view("positions", positions));
  if (positions.rank != 1 && positions.rank != 2) {
    return Status::error(invalid, "positions: shape %s has %d axes, expected 1 or 2", shape_text(positions).text, positions.rank);
  }
  if (positions.rank == 1) return check_view("positions", positions, input.sizes[2]);
  return check_view("positions", positions, input.sizes[0], input.sizes[2]);
}

Status validate_rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary,
                                 const IndexView& positions, std::int64_t offset, const TensorView& output,
                                 const OperationOptions& options) noexcept {
  ATTEND_CHECK(validate_rotary_shapes(input, rotary, positions));
  const bool tables = rotary.inverse_frequencies.absent();
  ATTEND_CHECK(check_attention_factor("", rotary));
  const std::int64_t* sizes = input.sizes;
  ATTEND_CHECK(check_view("output", output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)},
                           {memory_of("inverse_frequencies", rotary.inverse_frequencies), memory_of("cosines", rotary.cosines),
                            memory_of("sines", rotary.sines), memory_of("positions", positions)}));
  if (has_elements(input)) {
    ATTEND_CHECK(check_positions("positions", positions, offset, sizes[0], sizes[2], tables ? rotary.cosines.sizes[0] : -1));
  }
  return check_threads(options.threads);
}

Status validate_rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon,
                         const TensorView& output, const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1, -1));
  const std::int64_t* sizes = input.sizes;
  if (!weight.absent()) ATTEND_CHECK(check_view("weight", weight, sizes[3]));
  ATTEND_CHECK(check_epsilon("epsilon", epsilon));
  ATTEND_CHECK(check_view("output", output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("weight", weight)}));
  return check_threads(options.threads);
}

Status validate_rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                   const TensorView& inverse_frequencies) noexcept {
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    return Status::error(invalid, "rotary_dim: %lld, expected an even number, 2 or more", Number{rotary_dim});
  }
  if (!(base > 1.0) || !__builtin_isfinite(base)) {
    return Status::error(invalid, "base: %g, expected a finite number above 1", base);
  }
  ATTEND_CHECK(check_scaling(scaling));
  ATTEND_CHECK(check_view("inverse_frequencies", inverse_frequencies, rotary_dim / 2));
  return check_distinct("inverse_frequencies", inverse_frequencies);
}

}  // namespace attend
