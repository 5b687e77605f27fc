// The checks of all arguments, and their messages.
#include "validate.h"

#include <cstdio>

namespace attend {

namespace {

constexpr StatusCode invalid = StatusCode::invalid_argument;
constexpr std::int64_t largest_head = 512;

// Stops at the first error.
#define ATTEND_CHECK(call)                    \
  do {                                        \
    const Status status = (call);             \
    if (!status.ok()) return status;          \
  } while (false)

struct ShapeText {
  char text[112];
};

ShapeText shape_text(int rank, const std::int64_t* sizes) {
  ShapeText shape = {"()"};
  int used = 0;
  for (int axis = 0; axis < rank && axis < max_rank; ++axis) {
    used += std::snprintf(shape.text + used, sizeof shape.text - static_cast<std::size_t>(used), "%s%lld",
                          axis == 0 ? "(" : ", ", static_cast<long long>(sizes[axis]));
  }
  if (rank > 0) std::snprintf(shape.text + used, sizeof shape.text - static_cast<std::size_t>(used), ")");
  return shape;
}

template <class Element>
ShapeText shape_text(const View<Element>& view) {
  return shape_text(view.rank, view.sizes);
}

template <class Element>
bool has_elements(const View<Element>& view) {
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.sizes[axis] == 0) return false;
  }
  return true;
}

// Sizes and strides that make sense; null data where there are elements.
template <class Element>
Status check_view(const char* name, const View<Element>& view) {
  if (view.rank < 0 || view.rank > max_rank) {
    return Status::error(invalid, "%s: rank %d, expected 0 to %d", name, view.rank, max_rank);
  }
  std::int64_t last = 0, count = 0, bytes = 0, elements = 1;
  for (int axis = 0; axis < view.rank; ++axis) {
    const std::int64_t size = view.sizes[axis], stride = view.strides[axis];
    if (size < 0) {
      return Status::error(invalid, "%s: shape %s has a negative size", name, shape_text(view).text);
    }
    if (stride < 0) {
      return Status::error(invalid, "%s: stride %lld of axis %d, expected 0 or more", name,
                           static_cast<long long>(stride), axis);
    }
    std::int64_t span = 0;
    if (__builtin_mul_overflow(elements, size > 0 ? size : 1, &elements) ||
        __builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &span) ||
        __builtin_add_overflow(last, span, &last) || __builtin_add_overflow(last, 1, &count) ||
        __builtin_mul_overflow(count, static_cast<std::int64_t>(sizeof(Element)), &bytes) ||
        __builtin_mul_overflow(elements, static_cast<std::int64_t>(sizeof(Element)), &bytes)) {
      return Status::error(invalid, "%s: shape %s overflows the address space", name, shape_text(view).text);
    }
  }
  if (view.data == nullptr && view.rank > 0 && has_elements(view)) {
    return Status::error(invalid, "%s: data is null, but its shape is %s", name, shape_text(view).text);
  }
  return Status();
}

Status check_shape(const char* name, int rank, const std::int64_t* sizes, int expected_rank,
                   const std::int64_t* expected) {
  bool same = rank == expected_rank;
  for (int axis = 0; same && axis < rank; ++axis) same = sizes[axis] == expected[axis];
  if (same) return Status();
  return Status::error(invalid, "%s: shape %s, expected %s", name, shape_text(rank, sizes).text,
                       shape_text(expected_rank, expected).text);
}

// A view, of the shape given: -1 stands for any size.
template <class Element, class... Sizes>
Status check_view(const char* name, const View<Element>& view, Sizes... sizes) {
  ATTEND_CHECK(check_view(name, view));
  std::int64_t expected[] = {static_cast<std::int64_t>(sizes)...};
  constexpr int rank = static_cast<int>(sizeof...(sizes));
  if (view.rank != rank) {
    return Status::error(invalid, "%s: shape %s has %d axes, expected %d", name, shape_text(view).text, view.rank, rank);
  }
  for (int axis = 0; axis < rank; ++axis) {
    if (expected[axis] < 0) expected[axis] = view.sizes[axis];
  }
  return check_shape(name, view.rank, view.sizes, rank, expected);
}

// Whether each element of an output has a place of its own: sorted by stride, each axis steps over all
// that the smaller ones span.
Status check_distinct(const char* name, const ConstTensorView& view) {
  if (!has_elements(view)) return Status();
  int order[max_rank] = {0, 1, 2, 3};
  for (int i = 1; i < view.rank; ++i) {
    for (int j = i; j > 0 && view.strides[order[j]] < view.strides[order[j - 1]]; --j) {
      const int other = order[j];
      order[j] = order[j - 1];
      order[j - 1] = other;
    }
  }
  std::int64_t spanned = 0;
  for (int i = 0; i < view.rank; ++i) {
    const int axis = order[i];
    if (view.sizes[axis] < 2) continue;
    if (view.strides[axis] <= spanned) {
      return Status::error(invalid, "%s: stride %lld of axis %d makes elements of an output share memory", name,
                           static_cast<long long>(view.strides[axis]), axis);
    }
    spanned += (view.sizes[axis] - 1) * view.strides[axis];
  }
  return Status();
}

template <class Element>
std::uintptr_t end_of(const View<Element>& view) {
  std::int64_t last = 0;
  for (int axis = 0; axis < view.rank; ++axis) last += (view.sizes[axis] - 1) * view.strides[axis];
  return reinterpret_cast<std::uintptr_t>(view.data + last + 1);
}

// Whether two views lie apart, judged by the spans that they cover.
template <class First, class Second>
bool apart(const View<First>& first, const View<Second>& second) {
  if (first.absent() || second.absent() || !has_elements(first) || !has_elements(second)) return true;
  return end_of(first) <= reinterpret_cast<std::uintptr_t>(second.data) ||
         end_of(second) <= reinterpret_cast<std::uintptr_t>(first.data);
}

template <class Input>
Status check_apart(const char* output_name, const TensorView& output, const char* input_name,
                   const View<Input>& input) {
  if (apart(output, input)) return Status();
  return Status::error(invalid, "%s: its memory meets that of %s", output_name, input_name);
}

// The same view exactly (the stride of a single element means nothing), or apart.
Status check_in_place(const TensorView& output, const ConstTensorView& input) {
  bool same = output.data == input.data;
  for (int axis = 0; same && axis < input.rank; ++axis) {
    same = output.strides[axis] == input.strides[axis] || input.sizes[axis] < 2;
  }
  if (same || apart(output, input)) return Status();
  return Status::error(invalid, "output: its memory meets that of input without being the same view");
}

Status check_lengths(const LengthsView& lengths, std::int64_t batch, std::int64_t queries, bool by_query) {
  if (lengths.absent()) return Status();
  ATTEND_CHECK(check_view("valid_lens", lengths));
  if (by_query && lengths.rank != 1 && lengths.rank != 2) {
    return Status::error(invalid, "valid_lens: shape %s has %d axes, expected 1 or 2", shape_text(lengths).text, lengths.rank);
  }
  if (lengths.rank == 2 && by_query) {
    ATTEND_CHECK(check_view("valid_lens", lengths, batch, queries));
  } else {
    ATTEND_CHECK(check_view("valid_lens", lengths, batch));
  }
  const std::int64_t columns = lengths.rank == 2 ? lengths.sizes[1] : 1;
  for (std::int64_t b = 0; b < lengths.sizes[0]; ++b) {
    for (std::int64_t i = 0; i < columns; ++i) {
      const std::int64_t length = lengths.data[b * lengths.strides[0] + (lengths.rank == 2 ? i * lengths.strides[1] : 0)];
      if (length >= 0) continue;
      if (lengths.rank == 1) {
        return Status::error(invalid, "valid_lens: [%lld] is %lld, expected 0 or more", static_cast<long long>(b),
                             static_cast<long long>(length));
      }
      return Status::error(invalid, "valid_lens: [%lld, %lld] is %lld, expected 0 or more", static_cast<long long>(b),
                           static_cast<long long>(i), static_cast<long long>(length));
    }
  }
  return Status();
}

Status check_threads(const Threads& threads) {
  if (threads.count < 1 || threads.count > max_threads) {
    return Status::error(invalid, "threads: count %d, expected 1 to %d", threads.count, max_threads);
  }
  if (threads.count > 1 && threads.parallel_for == nullptr) {
    return Status::error(invalid, "threads: count %d needs a parallel_for, which is null", threads.count);
  }
  return Status();
}

Status check_empty_rows(EmptyRows empty_rows) {
  if (empty_rows == EmptyRows::zero || empty_rows == EmptyRows::uniform) return Status();
  return Status::error(invalid, "empty_rows: %d is not one of attend::EmptyRows", static_cast<int>(empty_rows));
}

// The weights output, once its shape is right.
Status check_weights_output(const TensorView& output, const ForwardOptions& options, const ConstTensorView& queries,
                            const ConstTensorView& keys, const ConstTensorView& values, const LengthsView& valid_lens) {
  const TensorView& weights = options.attention_weights;
  ATTEND_CHECK(check_distinct("attention_weights", weights));
  ATTEND_CHECK(check_apart("attention_weights", weights, "queries", queries));
  ATTEND_CHECK(check_apart("attention_weights", weights, "keys", keys));
  ATTEND_CHECK(check_apart("attention_weights", weights, "values", values));
  ATTEND_CHECK(check_apart("attention_weights", weights, "valid_lens", valid_lens));
  if (!apart(weights, output)) {
    return Status::error(invalid, "attention_weights: its memory meets that of output");
  }
  return Status();
}

Status check_attention(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                       const LengthsView& valid_lens, const TensorView& output, const ForwardOptions& options) {
  ATTEND_CHECK(check_lengths(valid_lens, queries.sizes[0], queries.sizes[1], true));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_apart("output", output, "queries", queries));
  ATTEND_CHECK(check_apart("output", output, "keys", keys));
  ATTEND_CHECK(check_apart("output", output, "values", values));
  ATTEND_CHECK(check_apart("output", output, "valid_lens", valid_lens));
  ATTEND_CHECK(check_empty_rows(options.empty_rows));
  return check_threads(options.threads);
}

}  // namespace

Status validate_dropout(float dropout) noexcept {
  if (dropout >= 0.0f && dropout < 1.0f) return Status();
  return Status::error(invalid, "dropout: %g, expected 0 <= dropout < 1", static_cast<double>(dropout));
}

Status validate_config(const MultiHeadAttentionConfig& config) noexcept {
  struct Size {
    const char* name;
    std::int64_t size;
  };
  const Size sizes[] = {{"key_size", config.key_size},       {"query_size", config.query_size},
                        {"value_size", config.value_size},   {"num_hiddens", config.num_hiddens},
                        {"num_heads", config.num_heads}};
  for (const Size& size : sizes) {
    const std::int64_t most = std::int64_t{1} << 24;  // so that products of two fit easily
    if (size.size < 1 || size.size > most) {
      return Status::error(invalid, "%s: %lld, expected 1 to %lld", size.name, static_cast<long long>(size.size),
                           static_cast<long long>(most));
    }
  }
  if (config.num_hiddens % config.num_heads != 0) {
    return Status::error(invalid, "num_heads: %lld does not divide num_hiddens, %lld",
                         static_cast<long long>(config.num_heads), static_cast<long long>(config.num_hiddens));
  }
  if (config.num_hiddens / config.num_heads > largest_head) {
    return Status::error(invalid, "num_heads: %lld heads of %lld hiddens are %lld wide, expected at most %lld",
                         static_cast<long long>(config.num_heads), static_cast<long long>(config.num_hiddens),
                         static_cast<long long>(config.num_hiddens / config.num_heads),
                         static_cast<long long>(largest_head));
  }
  return validate_dropout(config.dropout);
}

Status validate_weights(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights) noexcept {
  const std::int64_t width = config.num_hiddens;
  ATTEND_CHECK(check_view("weights.query", weights.query, width, config.query_size));
  ATTEND_CHECK(check_view("weights.key", weights.key, width, config.key_size));
  ATTEND_CHECK(check_view("weights.value", weights.value, width, config.value_size));
  ATTEND_CHECK(check_view("weights.output", weights.output, width, width));
  const struct {
    const char* name;
    const ConstTensorView& view;
  } biases[] = {{"weights.query_bias", weights.query_bias},
                {"weights.key_bias", weights.key_bias},
                {"weights.value_bias", weights.value_bias},
                {"weights.output_bias", weights.output_bias}};
  for (const auto& bias : biases) {
    if (bias.view.absent()) continue;
    if (!config.bias) {
      return Status::error(invalid, "%s: given, but config.bias is false", bias.name);
    }
    ATTEND_CHECK(check_view(bias.name, bias.view, width));
  }
  return Status();
}

Status validate_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries,
                        const ConstTensorView& keys, const ConstTensorView& values, const LengthsView& valid_lens,
                        const TensorView& output, const ForwardOptions& options) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, config.query_size));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("keys", keys, batch, -1, config.key_size));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], config.value_size));
  ATTEND_CHECK(check_view("output", output, batch, rows, config.num_hiddens));
  ATTEND_CHECK(check_attention(queries, keys, values, valid_lens, output, options));
  if (options.attention_weights.absent()) return Status();
  ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, config.num_heads, rows, keys.sizes[1]));
  return check_weights_output(output, options, queries, keys, values, valid_lens);
}

Status validate_operands(const ConstTensorView& queries, const ConstTensorView& keys,
                         const ConstTensorView& values) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, -1));
  const std::int64_t batch = queries.sizes[0], depth = queries.sizes[2];
  if (depth < 1 || depth > largest_head) {
    return Status::error(invalid, "queries: width %lld, expected 1 to %lld", static_cast<long long>(depth),
                         static_cast<long long>(largest_head));
  }
  ATTEND_CHECK(check_view("keys", keys, batch, -1, depth));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], -1));
  const std::int64_t value_depth = values.sizes[2];
  if (value_depth < 1 || value_depth > largest_head) {
    return Status::error(invalid, "values: width %lld, expected 1 to %lld", static_cast<long long>(value_depth),
                         static_cast<long long>(largest_head));
  }
  // Each thread may copy a sequence; where it repeats by stride 0, that can be more than its memory.
  if (static_cast<double>(keys.sizes[1]) * static_cast<double>(depth + value_depth) * max_threads > 0x1p58) {
    return Status::error(invalid, "keys: shape %s is too large", shape_text(keys).text);
  }
  return Status();
}

Status validate_dot_product(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                            const LengthsView& valid_lens, const TensorView& output,
                            const ForwardOptions& options) noexcept {
  ATTEND_CHECK(validate_operands(queries, keys, values));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("output", output, batch, rows, values.sizes[2]));
  ATTEND_CHECK(check_attention(queries, keys, values, valid_lens, output, options));
  if (options.attention_weights.absent()) return Status();
  ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, rows, keys.sizes[1]));
  return check_weights_output(output, options, queries, keys, values, valid_lens);
}

Status validate_factors(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed) noexcept {
  ATTEND_CHECK(check_view("a", a));
  ATTEND_CHECK(check_view("b", b));
  if (a.rank != 2 && a.rank != 3) {
    return Status::error(invalid, "a: shape %s has %d axes, expected 2 or 3", shape_text(a).text, a.rank);
  }
  if (b.rank != 2 && b.rank != a.rank) {
    return Status::error(invalid, "b: shape %s has %d axes, expected 2%s", shape_text(b).text, b.rank,
                         a.rank == 3 ? " or 3" : "");
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
  // b is packed; where it repeats by stride 0, that can be more than its memory.
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
  ATTEND_CHECK(check_apart("output", output, "a", a));
  ATTEND_CHECK(check_apart("output", output, "b", b));
  ATTEND_CHECK(check_apart("output", output, "bias", bias));
  return check_threads(options.threads);
}

Status validate_sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                              const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input));
  if (input.rank != 2 && input.rank != 3) {
    return Status::error(invalid, "input: shape %s has %d axes, expected 2 or 3", shape_text(input).text, input.rank);
  }
  ATTEND_CHECK(check_view("output", output));
  ATTEND_CHECK(check_shape("output", output.rank, output.sizes, input.rank, input.sizes));
  if (valid_lens.absent()) {
    return Status::error(invalid, "valid_lens: absent, expected (%lld)", static_cast<long long>(input.sizes[0]));
  }
  ATTEND_CHECK(check_lengths(valid_lens, input.sizes[0], 0, false));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart("output", output, "valid_lens", valid_lens));
  return check_threads(options.threads);
}

Status validate_masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens, const TensorView& output,
                               const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("input", input, -1, -1, -1));
  ATTEND_CHECK(check_view("output", output, input.sizes[0], input.sizes[1], input.sizes[2]));
  ATTEND_CHECK(check_lengths(valid_lens, input.sizes[0], input.sizes[1], true));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_in_place(output, input));
  ATTEND_CHECK(check_apart("output", output, "valid_lens", valid_lens));
  return check_threads(options.threads);
}

Status validate_transpose(const char* wide_name, const ConstTensorView& wide, const char* split_name,
                          const ConstTensorView& split, std::int64_t num_heads, bool to_heads,
                          const OperationOptions& options) noexcept {
  if (num_heads < 1) {
    return Status::error(invalid, "num_heads: %lld, expected 1 or more", static_cast<long long>(num_heads));
  }
  // The input first: its errors are told in its own terms.
  ATTEND_CHECK(to_heads ? check_view(wide_name, wide, -1, -1, -1) : check_view(split_name, split, -1, -1, -1));
  if (to_heads) {
    if (wide.sizes[2] % num_heads != 0) {
      return Status::error(invalid, "num_heads: %lld does not divide the width of %s, %lld",
                           static_cast<long long>(num_heads), wide_name, static_cast<long long>(wide.sizes[2]));
    }
    std::int64_t rows = 0;
    if (__builtin_mul_overflow(wide.sizes[0], num_heads, &rows)) {
      return Status::error(invalid, "num_heads: %lld is too large", static_cast<long long>(num_heads));
    }
    ATTEND_CHECK(check_view(split_name, split, rows, wide.sizes[1], wide.sizes[2] / num_heads));
  } else {
    if (split.sizes[0] % num_heads != 0) {
      return Status::error(invalid, "num_heads: %lld does not divide the first size of %s, %lld",
                           static_cast<long long>(num_heads), split_name, static_cast<long long>(split.sizes[0]));
    }
    std::int64_t width = 0;
    if (__builtin_mul_overflow(split.sizes[2], num_heads, &width)) {
      return Status::error(invalid, "num_heads: %lld is too large", static_cast<long long>(num_heads));
    }
    ATTEND_CHECK(check_view(wide_name, wide, split.sizes[0] / num_heads, split.sizes[1], width));
  }
  ATTEND_CHECK(check_distinct("output", to_heads ? split : wide));
  if (!apart(wide, split)) return Status::error(invalid, "output: its memory meets that of input");
  return check_threads(options.threads);
}

}  // namespace attend
