// Checks the shapes of matmul, masks, softmax and transposes.
#include "check/calls.h"

#include "check/views.h"

namespace attend {

Status validate_factors(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed) noexcept {
  ATTEND_CHECK(check_view("a", a));
  ATTEND_CHECK(check_view("b", b));
  if (a.rank != 2 && a.rank != 3) {
    return Status::error(invalid, "a: shape %s has %d axes, expected 2 or 3", shape_text(a).text, a.rank);
  }
  if (b.rank != 2 && b.rank != a.rank) {
    return Status::error(invalid, "b: shape %s has %d axes, expected 2%s", shape_text(b).text, b.rank, a.rank == 3 ? " or 3" : "");
  }
  const std::int64_t depth = a.sizes[a.rank - 1];
  const std::int64_t columns = b.sizes[b.rank - (b_transposed ? 2 : 1)];
  const std::int64_t batch = a.rank == 3 ? a.sizes[0] : 1;
  const std::int64_t first = b_transposed ? columns : depth, second = b_transposed ? depth : columns;
  if (b.rank == 3) {
    ATTEND_CHECK(check_view("b", b, batch, first, second));
  } else {
    ATTEND_CHECK(check_view("b", b, first, second));
  }
  // The packed b takes more than its memory where strides of 0 repeat it.
  if (static_cast<double>(depth + 1) * (static_cast<double>(columns) + 64.0) > 0x1p58) {
    return Status::error(invalid, "b: shape %s is too large", shape_text(b).text);
  }
  return Status();
}

Status validate_matmul(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed,
                       const ConstTensorView& bias, const TensorView& output,
                       const OperationOptions& options) noexcept {
  ATTEND_CHECK(validate_factors(a, b, b_transposed));
  const std::int64_t columns = b.sizes[b.rank - (b_transposed ? 2 : 1)];
  const std::int64_t rows = a.sizes[a.rank - 2], batch = a.rank == 3 ? a.sizes[0] : 1;
  if (!bias.absent()) ATTEND_CHECK(check_view("bias", bias, columns));
  if (a.rank == 3) {
    ATTEND_CHECK(check_view("output", output, batch, rows, columns));
  } else {
    ATTEND_CHECK(check_view("output", output, rows, columns));
  }
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("a", a), memory_of("b", b), memory_of("bias", bias)}));
  return check_threads(options.threads);
}

Status validate_sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                              const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input));
  if (input.rank != 2 && input.rank != 3) {
    return Status::error(invalid, "input: shape %s has %d axes, expected 2 or 3", shape_text(input).text, input.rank);
  }
  ATTEND_CHECK(check_view("output", output, input.rank, input.sizes));
  if (valid_lens.absent()) {
    return Status::error(invalid, "valid_lens: absent, expected %s", shape_text(1, input.sizes).text);
  }
  ATTEND_CHECK(check_lengths(valid_lens, input.sizes[0], 0, false));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("valid_lens", valid_lens)}));
  return check_threads(options.threads);
}

Status validate_masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                               const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1));
  ATTEND_CHECK(check_view("output", output, input.sizes[0], input.sizes[1], input.sizes[2]));
  ATTEND_CHECK(check_lengths(valid_lens, input.sizes[0], input.sizes[1], true));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart({memory_of("output", output)}, {memory_of("valid_lens", valid_lens)}));
  return check_threads(options.threads);
}

Status validate_transpose(const char* wide_name, const ConstTensorView& wide, const char* split_name,
                          const ConstTensorView& split, std::int64_t num_heads, bool to_heads,
                          const OperationOptions& options) noexcept {
  if (num_heads < 1) {
    return Status::error(invalid, "num_heads: %lld, expected 1 or more", Number{num_heads});
  }
  // The input first, so that its errors speak of the input.
  ATTEND_CHECK(to_heads ? check_view(wide_name, wide, -1, -1, -1) : check_view(split_name, split, -1, -1, -1));
  if (to_heads) {
    if (wide.sizes[2] % num_heads != 0) {
      return Status::error(invalid, "num_heads: %lld does not divide the width of %s, %lld", Number{num_heads}, wide_name,
                           Number{wide.sizes[2]});
    }
    std::int64_t rows = 0;
    if (__builtin_mul_overflow(wide.sizes[0], num_heads, &rows)) {
      return Status::error(invalid, "num_heads: %lld is too large", Number{num_heads});
    }
    ATTEND_CHECK(check_view(split_name, split, rows, wide.sizes[1], wide.sizes[2] / num_heads));
  } else {
    if (split.sizes[0] % num_heads != 0) {
      return Status::error(invalid, "num_heads: %lld does not divide the first size of %s, %lld", Number{num_heads}, split_name,
                           Number{split.sizes[0]});
    }
    std::int64_t width = 0;
    if (__builtin_mul_overflow(split.sizes[2], num_heads, &width)) {
      return Status::error(invalid, "num_heads: %lld is too large", Number{num_heads});
    }
    ATTEND_CHECK(check_view(wide_name, wide, split.sizes[0] / num_heads, split.sizes[1], width));
  }
  ATTEND_CHECK(check_distinct("output", to_heads ? split : wide));
  ATTEND_CHECK(check_apart({memory_of("output", to_heads ? split : wide)}, {memory_of("input", to_heads ? wide : split)}));
  return check_threads(options.threads);
}

}  // namespace attend
