// Checks what layers and operations share of positions: rotary tables, and where rows stand in them; and the epsilon of norms.
#include "check/parts.h"

#include <cstdio>

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

}  // namespace attend
