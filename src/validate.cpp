// The checks of all arguments, and their messages.
#include "validate.h"

#include <cstdio>

#include "cache.h"
#include "visibility.h"
#include "attention.h"
#include "layer_weights.h"

namespace attend {

namespace {

constexpr StatusCode invalid = StatusCode::invalid_argument;
constexpr std::int64_t largest_head = 512;
constexpr std::int64_t largest_size = std::int64_t{1} << 24;  // of rows, so that products of two fit easily
constexpr std::int64_t largest_offset = std::int64_t{1} << 40;

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

// The operands of a call, by the names that its caller knows them by.
struct Operands {
  struct Input {
    const char* name;
    const ConstTensorView& view;
  };
  Input q, k, v;
  std::int64_t batch, heads, queries, keys;
};

// An output beside the first: its shape is right.
Status check_second_output(const char* name, const TensorView& second, const TensorView& output, const Operands& operands,
                           const LengthsView& valid_lens) {
  ATTEND_CHECK(check_distinct(name, second));
  for (const Operands::Input& input : {operands.q, operands.k, operands.v}) {
    ATTEND_CHECK(check_apart(name, second, input.name, input.view));
  }
  ATTEND_CHECK(check_apart(name, second, "valid_lens", valid_lens));
  if (apart(second, output)) return Status();
  return Status::error(invalid, "%s: its memory meets that of output", name);
}

template <class Input>
Status check_apart_from_outputs(const char* name, const View<Input>& input, const TensorView& output, const AttentionOptions& options) {
  if (input.absent()) return Status();
  ATTEND_CHECK(check_apart("output", output, name, input));
  ATTEND_CHECK(check_apart("attention_weights", options.attention_weights, name, input));
  return check_apart("lse", options.lse, name, input);
}

// One value a head, where it is given.
Status check_by_head(const char* name, const ConstTensorView& view, std::int64_t heads) {
  if (view.absent()) return Status();
  return check_view(name, view, heads);
}

// A mask: each axis, aligned to the right, is 1 or that of (B, H, L, S).
template <class Element>
Status check_mask(const char* name, const View<Element>& mask, const std::int64_t (&shape)[4]) {
  if (mask.absent()) return Status();
  ATTEND_CHECK(check_view(name, mask));
  bool fits = mask.rank > 0;
  for (int axis = 0; axis < mask.rank; ++axis) {
    fits = fits && (mask.sizes[axis] == 1 || mask.sizes[axis] == shape[4 - mask.rank + axis]);
  }
  if (fits) return Status();
  return Status::error(invalid, "%s: shape %s does not broadcast to (B, H, L, S) = %s", name, shape_text(mask).text,
                       shape_text(4, shape).text);
}

Status check_starts(const char* name, const IndexView& starts, std::int64_t sequences, const char* of, std::int64_t rows) {
  ATTEND_CHECK(check_view(name, starts, sequences + 1));
  std::int64_t before = 0;
  for (std::int64_t b = 0; b <= sequences; ++b) {
    const std::int64_t start = starts.data[b * starts.strides[0]];
    if (b == 0 && start != 0) {
      return Status::error(invalid, "%s: [0] is %lld, expected 0", name, static_cast<long long>(start));
    }
    if (start < before) {
      return Status::error(invalid, "%s: [%lld] is %lld, less than the one before, %lld", name, static_cast<long long>(b),
                           static_cast<long long>(start), static_cast<long long>(before));
    }
    before = start;
  }
  if (before == rows) return Status();
  return Status::error(invalid, "%s: ends at %lld, expected the rows of %s, %lld", name, static_cast<long long>(before), of,
                       static_cast<long long>(rows));
}

// How many sequences a call has: the entries of its batch, or those that its starts say are packed.
Status check_sequences(const AttentionOptions& options, const Operands& operands, std::int64_t* sequences) {
  *sequences = operands.batch;
  if (options.query_starts.absent()) return Status();
  ATTEND_CHECK(check_view("query_starts", options.query_starts, -1));
  *sequences = options.query_starts.sizes[0] - 1;
  if (operands.batch != 1 || *sequences < 0) {
    return Status::error(invalid, "query_starts: shape %s with a batch of %lld, expected one more than the sequences, and a batch of 1",
                         shape_text(options.query_starts).text, static_cast<long long>(operands.batch));
  }
  ATTEND_CHECK(check_starts("query_starts", options.query_starts, *sequences, operands.q.name, operands.queries));
  return check_starts("key_starts", options.key_starts, *sequences, operands.k.name, operands.keys);
}

// Pairs of options that make no sense together.
Status check_pairs(const AttentionOptions& options, const LengthsView& valid_lens) {
  const bool packed = !options.query_starts.absent() || !options.key_starts.absent();
  const struct {
    const char *first, *second;
    bool both;
  } pairs[] = {
      {"query_starts", "no key_starts", packed && options.key_starts.absent()},
      {"key_starts", "no query_starts", packed && options.query_starts.absent()},
      {"query_starts", "mask", packed && !options.mask.absent()},
      {"query_starts", "additive_mask", packed && !options.additive_mask.absent()},
      {"query_starts", "tree_parents", packed && !options.tree_parents.absent()},
      {"query_starts", "attention_weights", packed && !options.attention_weights.absent()},
      {"query_starts", "valid_lens of rank 2", packed && valid_lens.rank == 2},
      {"tree_parents", "window_left", !options.tree_parents.absent() && options.window_left >= 0},
      {"tree_parents", "window_right", !options.tree_parents.absent() && options.window_right >= 0},
      {"tree_parents", "alibi_slopes", !options.tree_parents.absent() && !options.alibi_slopes.absent()},
      {"tree_parents", "relative_position_bias", !options.tree_parents.absent() && !options.relative_position_bias.table.absent()},
  };
  for (const auto& pair : pairs) {
    if (!pair.both) continue;
    return Status::error(invalid, "%s: cannot go with %s", pair.first, pair.second);
  }
  return Status();
}

Status check_tree(const IndexView& parents, std::int64_t batch, std::int64_t queries) {
  if (parents.absent()) return Status();
  if (parents.rank == 2) {
    ATTEND_CHECK(check_view("tree_parents", parents, batch, queries));
  } else {
    ATTEND_CHECK(check_view("tree_parents", parents, queries));
  }
  for (std::int64_t b = 0; b < (parents.rank == 2 ? batch : 1); ++b) {
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t parent = parents.data[(parents.rank == 2 ? b * parents.strides[0] : 0) + i * parents.strides[parents.rank - 1]];
      if (parent >= -1 && parent < i) continue;
      return Status::error(invalid, "tree_parents: that of query %lld is %lld, expected -1 to %lld", static_cast<long long>(i),
                           static_cast<long long>(parent), static_cast<long long>(i - 1));
    }
  }
  return Status();
}

// Everything of a call but the shapes of its operands and its output.
Status check_attention(const Operands& operands, const LengthsView& valid_lens, const TensorView& output,
                       const AttentionOptions& options, bool weights_by_head) {
  const std::int64_t batch = operands.batch, heads = operands.heads, queries = operands.queries, keys = operands.keys;
  ATTEND_CHECK(check_pairs(options, valid_lens));
  std::int64_t sequences = batch;
  ATTEND_CHECK(check_sequences(options, operands, &sequences));
  ATTEND_CHECK(check_lengths(valid_lens, sequences, queries, true));
  ATTEND_CHECK(validate_scoring(options, heads));
  if (!options.offsets.absent()) {
    ATTEND_CHECK(check_view("offsets", options.offsets, sequences));
    for (std::int64_t b = 0; b < sequences; ++b) {
      const std::int64_t offset = options.offsets.data[b * options.offsets.strides[0]];
      if (offset >= -largest_offset && offset <= largest_offset) continue;
      return Status::error(invalid, "offsets: [%lld] is %lld, expected -2^40 to 2^40", static_cast<long long>(b), static_cast<long long>(offset));
    }
  }
  const std::int64_t shape[4] = {batch, heads, queries, keys};
  ATTEND_CHECK(check_mask("mask", options.mask, shape));
  ATTEND_CHECK(check_mask("additive_mask", options.additive_mask, shape));
  ATTEND_CHECK(check_tree(options.tree_parents, batch, queries));
  ATTEND_CHECK(check_distinct("output", output));
  for (const Operands::Input& input : {operands.q, operands.k, operands.v}) {
    ATTEND_CHECK(check_apart("output", output, input.name, input.view));
  }
  ATTEND_CHECK(check_apart("output", output, "valid_lens", valid_lens));
  if (!options.attention_weights.absent()) {
    if (weights_by_head && !options.average_weights) {
      ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, heads, queries, keys));
    } else {
      ATTEND_CHECK(check_view("attention_weights", options.attention_weights, batch, queries, keys));
    }
    ATTEND_CHECK(check_second_output("attention_weights", options.attention_weights, output, operands, valid_lens));
  }
  if (!options.lse.absent()) {
    if (weights_by_head) {
      ATTEND_CHECK(check_view("lse", options.lse, batch, heads, queries));
    } else {
      ATTEND_CHECK(check_view("lse", options.lse, batch, queries));
    }
    ATTEND_CHECK(check_second_output("lse", options.lse, output, operands, valid_lens));
    if (!apart(options.lse, options.attention_weights)) {
      return Status::error(invalid, "lse: its memory meets that of attention_weights");
    }
  }
  ATTEND_CHECK(check_apart_from_outputs("mask", options.mask, output, options));
  ATTEND_CHECK(check_apart_from_outputs("additive_mask", options.additive_mask, output, options));
  ATTEND_CHECK(check_apart_from_outputs("alibi_slopes", options.alibi_slopes, output, options));
  ATTEND_CHECK(check_apart_from_outputs("sinks", options.sinks, output, options));
  ATTEND_CHECK(check_apart_from_outputs("relative_position_bias.table", options.relative_position_bias.table, output, options));
  ATTEND_CHECK(check_apart_from_outputs("offsets", options.offsets, output, options));
  ATTEND_CHECK(check_apart_from_outputs("tree_parents", options.tree_parents, output, options));
  ATTEND_CHECK(check_apart_from_outputs("query_starts", options.query_starts, output, options));
  ATTEND_CHECK(check_apart_from_outputs("key_starts", options.key_starts, output, options));
  ATTEND_CHECK(check_empty_rows(options.empty_rows));
  return check_threads(options.threads);
}

// Positions are for what a layer rotates.
Status check_no_positions(const AttentionOptions& options) {
  for (const IndexView* positions : {&options.query_positions, &options.key_positions}) {
    if (positions->absent()) continue;
    return Status::error(invalid, "%s: given, but only a layer with a rotary embedding has use for it",
                         positions == &options.query_positions ? "query_positions" : "key_positions");
  }
  return Status();
}

Status check_window(const char* name, std::int64_t window) {
  if (window >= -1) return Status();
  return Status::error(invalid, "%s: %lld, expected 0 or more, or -1: unbounded", name, static_cast<long long>(window));
}

Status check_width(const char* name, std::int64_t width) {
  if (width >= 1 && width <= largest_head) return Status();
  return Status::error(invalid, "%s: width %lld, expected 1 to %lld", name, static_cast<long long>(width),
                       static_cast<long long>(largest_head));
}

bool rotates(const RotaryEmbedding& rotary) {
  return !rotary.inverse_frequencies.absent() || !rotary.cosines.absent() || !rotary.sines.absent();
}

struct FieldName {
  char text[40];
  FieldName(const char* prefix, const char* name) { std::snprintf(text, sizeof text, "%s%s", prefix, name); }
};

// The shapes of a rotary embedding of rows of `width`; prefix: what its fields belong to.
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
  return Status::error(invalid, "%s: shape %s rotates more than the width of %s, %lld",
                       tables ? cosines_name.text : frequencies_name.text,
                       shape_text(tables ? cosines : frequencies).text, rows, static_cast<long long>(width));
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

// Whether position + offset is a position: of the `limit` that there are, or with -1 of any.
bool is_position(std::int64_t position, std::int64_t offset, std::int64_t limit) {
  std::int64_t sum = 0;
  return !__builtin_add_overflow(position, offset, &sum) && (limit < 0 || (sum >= 0 && sum < limit));
}

Status check_positions(const char* name, const IndexView& positions, std::int64_t offset, std::int64_t batch, std::int64_t rows,
                       std::int64_t limit) {
  char range[32] = "64 bits";
  if (limit >= 0) std::snprintf(range, sizeof range, "[0, %lld)", static_cast<long long>(limit));
  if (positions.absent()) {
    for (const std::int64_t row : {std::int64_t{0}, rows - 1}) {
      if (is_position(row, offset, limit)) continue;
      return Status::error(invalid, "offset: %lld puts row %lld outside of %s", static_cast<long long>(offset),
                           static_cast<long long>(row), range);
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
      if (by_entry) std::snprintf(entry, sizeof entry, "%lld, ", static_cast<long long>(b));
      return Status::error(invalid, "%s: [%s%lld] is %lld, with offset %lld outside of %s", name, entry,
                           static_cast<long long>(i), static_cast<long long>(position),
                           static_cast<long long>(offset), range);
    }
  }
  return Status();
}

// Each thread may copy a sequence; where it repeats by stride 0, that can be more than its memory.
Status check_copies(const char* name, const ConstTensorView& keys, std::int64_t rows, std::int64_t width) {
  if (static_cast<double>(rows) * static_cast<double>(width) * max_threads <= 0x1p58) return Status();
  return Status::error(invalid, "%s: shape %s is too large", name, shape_text(keys).text);
}

const char* name_of(CallKind call) {
  switch (call) {
    case attention_call: return "attention";
    case cached_attention_call: return "attention over a cache";
    case dot_product_call: return "DotProductAttention";
    case cached_forward_call: return "a forward over a cache";
    case project_call: return "project";
  }
  return "this call";
}

// An option, and the calls that have no use for it.
struct OptionUse {
  const char* name;
  bool (*given)(const AttentionOptions& options);
  unsigned without_use;
};
constexpr unsigned core_calls = attention_call | cached_attention_call, cached_calls = cached_attention_call | cached_forward_call;
constexpr AttentionOptions none = {};
constexpr RelativePositionBias no_bias = {};
using Options = AttentionOptions;
constexpr OptionUse option_uses[] = {
    {"scale", [](const Options& o) { return o.scale.has_value(); }, project_call},
    {"softcap", [](const Options& o) { return o.softcap != none.softcap; }, project_call},
    {"causal", [](const Options& o) { return o.causal; }, project_call},
    {"offset", [](const Options& o) { return o.offset != none.offset; }, project_call},
    {"offsets", [](const Options& o) { return !o.offsets.absent(); }, project_call},
    {"window_left", [](const Options& o) { return o.window_left != none.window_left; }, project_call},
    {"window_right", [](const Options& o) { return o.window_right != none.window_right; }, project_call},
    {"mask", [](const Options& o) { return !o.mask.absent(); }, project_call},
    {"additive_mask", [](const Options& o) { return !o.additive_mask.absent(); }, project_call},
    {"tree_parents", [](const Options& o) { return !o.tree_parents.absent(); }, project_call},
    {"empty_rows", [](const Options& o) { return o.empty_rows != none.empty_rows; }, dot_product_call | project_call},
    {"alibi_slopes", [](const Options& o) { return !o.alibi_slopes.absent(); }, project_call},
    {"relative_position_bias.table", [](const Options& o) { return !o.relative_position_bias.table.absent(); }, project_call},
    {"relative_position_bias.bidirectional", [](const Options& o) { return o.relative_position_bias.bidirectional != no_bias.bidirectional; }, project_call},
    {"relative_position_bias.max_distance", [](const Options& o) { return o.relative_position_bias.max_distance != no_bias.max_distance; }, project_call},
    {"sinks", [](const Options& o) { return !o.sinks.absent(); }, project_call},
    {"query_starts", [](const Options& o) { return !o.query_starts.absent(); }, cached_calls | project_call},
    {"key_starts", [](const Options& o) { return !o.key_starts.absent(); }, cached_calls | project_call},
    {"query_positions", [](const Options& o) { return !o.query_positions.absent(); }, core_calls | dot_product_call | project_call},
    {"key_positions", [](const Options& o) { return !o.key_positions.absent(); }, core_calls | dot_product_call},
    {"training", [](const Options& o) { return o.training; }, core_calls | project_call},
    {"dropout_seed", [](const Options& o) { return o.dropout_seed != none.dropout_seed; }, core_calls | project_call},
    {"attention_weights", [](const Options& o) { return !o.attention_weights.absent(); }, project_call},
    {"average_weights", [](const Options& o) { return o.average_weights; }, dot_product_call | project_call},
    {"lse", [](const Options& o) { return !o.lse.absent(); }, project_call},
};

}  // namespace

Status validate_use(CallKind call, const AttentionOptions& options) noexcept {
  for (const OptionUse& use : option_uses) {
    if ((use.without_use & call) == 0 || !use.given(options)) continue;
    return Status::error(invalid, "%s: given, but %s has no use for it", use.name, name_of(call));
  }
  return Status();
}

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
    if (size.size < 1 || size.size > largest_size) {
      return Status::error(invalid, "%s: %lld, expected 1 to %lld", size.name, static_cast<long long>(size.size),
                           static_cast<long long>(largest_size));
    }
  }
  const struct {
    const char* name;
    std::int64_t size, most;
    const char* otherwise;
  } defaulted[] = {{"num_kv_heads", config.num_kv_heads, config.num_heads, "num_heads"},
                   {"head_dim", config.head_dim, largest_head, "num_hiddens / num_heads"},
                   {"output_size", config.output_size, largest_size, "num_hiddens"}};
  for (const auto& size : defaulted) {
    if (size.size >= 0 && size.size <= size.most) continue;
    return Status::error(invalid, "%s: %lld, expected 1 to %lld, or 0: %s", size.name, static_cast<long long>(size.size),
                         static_cast<long long>(size.most), size.otherwise);
  }
  if (config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads != 0) {
    return Status::error(invalid, "num_kv_heads: %lld does not divide num_heads, %lld", static_cast<long long>(config.num_kv_heads),
                         static_cast<long long>(config.num_heads));
  }
  if (config.head_dim == 0 && config.num_hiddens % config.num_heads != 0) {
    return Status::error(invalid, "num_heads: %lld does not divide num_hiddens, %lld",
                         static_cast<long long>(config.num_heads), static_cast<long long>(config.num_hiddens));
  }
  const LayerSizes layer(config);
  if (layer.depth > largest_head) {
    return Status::error(invalid, "num_heads: %lld heads of %lld hiddens are %lld wide, expected at most %lld",
                         static_cast<long long>(config.num_heads), static_cast<long long>(config.num_hiddens),
                         static_cast<long long>(layer.depth), static_cast<long long>(largest_head));
  }
  if (layer.heads * layer.depth > largest_size) {
    return Status::error(invalid, "head_dim: %lld heads of %lld are too wide together, expected at most %lld", static_cast<long long>(layer.heads),
                         static_cast<long long>(layer.depth), static_cast<long long>(largest_size));
  }
  ATTEND_CHECK(check_epsilon("norm_epsilon", config.norm_epsilon));
  if (rotates(config.rotary)) {
    ATTEND_CHECK(check_rotary("rotary.", config.rotary, "a head", layer.depth));
    ATTEND_CHECK(check_attention_factor("rotary.", config.rotary));
  }
  return validate_dropout(config.dropout);
}

Status validate_weights(const MultiHeadAttentionConfig& config, const MultiHeadAttentionWeights& weights) noexcept {
  const LayerSizes sizes(config);
  const struct {
    const char* name;
    const ConstTensorView& view;
    const char* bias_name;
    const ConstTensorView& bias;
  } projections[] = {{"weights.query", weights.query, "weights.query_bias", weights.query_bias},
                     {"weights.key", weights.key, "weights.key_bias", weights.key_bias},
                     {"weights.value", weights.value, "weights.value_bias", weights.value_bias},
                     {"weights.output", weights.output, "weights.output_bias", weights.output_bias}};
  for (int which = 0; which < projection_count; ++which) {
    ATTEND_CHECK(check_view(projections[which].name, projections[which].view, sizes.outputs[which], sizes.inputs[which]));
  }
  for (int which = 0; which < projection_count; ++which) {
    const auto& projection = projections[which];
    if (projection.bias.absent()) continue;
    if (!config.bias) {
      return Status::error(invalid, "%s: given, but config.bias is false", projection.bias_name);
    }
    ATTEND_CHECK(check_view(projection.bias_name, projection.bias, sizes.outputs[which]));
  }
  const struct {
    const char* name;
    const ConstTensorView& view;
    const char* side_name;
    bool side;
  } norms[] = {{"weights.query_norm", weights.query_norm, "norm_queries", config.norm_queries},
               {"weights.key_norm", weights.key_norm, "norm_keys", config.norm_keys}};
  for (const auto& norm : norms) {
    if (norm.view.absent()) continue;
    if (!config.qk_norm || !norm.side) {
      return Status::error(invalid, "%s: given, but config.%s is false", norm.name, config.qk_norm ? norm.side_name : "qk_norm");
    }
    ATTEND_CHECK(check_view(norm.name, norm.view, sizes.depth));
  }
  return Status();
}

namespace {

// Positions that are given, one for each of `rows` rows, of all entries or of each.
Status check_given_positions(const char* name, const IndexView& positions, std::int64_t batch, std::int64_t rows) {
  if (positions.rank == 2) return check_view(name, positions, batch, rows);
  return check_view(name, positions, rows);
}

// Rows that are counted from the first one of each sequence, which stands at `first`: all lie in the tables.
Status check_counted_rows(const char* name, std::int64_t b, std::int64_t first, std::int64_t count, std::int64_t limit) {
  if (count == 0 || (first >= 0 && first + count <= limit)) return Status();
  const std::int64_t row = first < 0 ? 0 : count - 1;
  return Status::error(invalid, "%s: row %lld of sequence %lld is at position %lld, outside of the rotary tables' [0, %lld)", name,
                       static_cast<long long>(row), static_cast<long long>(b), static_cast<long long>(first + row),
                       static_cast<long long>(limit));
}

// Where queries and keys stand for their rotation, once the rest of the call is known to be right.
// cache: null, or where the keys are appended, so many of each entry.
Status check_rotary_positions(const RotaryEmbedding& rotary, const Operands& operands, const AttentionOptions& options,
                              const CacheState* cache = nullptr, const IndexView& counts = {}) {
  if (!rotates(rotary)) return check_no_positions(options);
  const std::int64_t batch = operands.batch;
  const IndexView &queries = options.query_positions, &keys = options.key_positions;
  if (!queries.absent()) ATTEND_CHECK(check_given_positions("query_positions", queries, batch, operands.queries));
  if (!keys.absent()) ATTEND_CHECK(check_given_positions("key_positions", keys, batch, operands.keys));
  if (!rotary.inverse_frequencies.absent()) return Status();
  const std::int64_t limit = rotary.cosines.sizes[0];
  if (!queries.absent()) ATTEND_CHECK(check_positions("query_positions", queries, 0, batch, operands.queries, limit));
  if (!keys.absent()) ATTEND_CHECK(check_positions("key_positions", keys, 0, batch, operands.keys, limit));
  const Sequences sequences = sequences_of(options, batch, operands.queries, operands.keys);
  for (std::int64_t b = 0; b < sequences.count; ++b) {
    std::int64_t offset = options.offset + (options.offsets.absent() ? 0 : numbers_of(options.offsets).at(b)), before = 0;
    std::int64_t query_count = sequences.query_count(b), key_count = sequences.key_count(b);
    if (cache != nullptr) {  // queries stand at the end of their entry
      if (!counts.absent() && query_count > 0) query_count = numbers_of(counts).at(b);
      if (!counts.absent() && key_count > 0) key_count = numbers_of(counts).at(b);
      before = cache->lengths[b];
      offset += before + key_count - query_count;
    }
    if (queries.absent()) ATTEND_CHECK(check_counted_rows(operands.q.name, b, offset, query_count, limit));
    if (keys.absent()) ATTEND_CHECK(check_counted_rows(operands.k.name, b, before, key_count, limit));
  }
  return Status();
}

}  // namespace

Status validate_sequences(const AttentionOptions& options, const ForwardShape& shape) noexcept {
  ATTEND_CHECK(check_pairs(options, {}));
  const ConstTensorView none;
  const Operands operands = {{"queries", none}, {"keys", none}, {"values", none}, shape.batch, 1, shape.queries, shape.keys};
  std::int64_t sequences = 0;
  return check_sequences(options, operands, &sequences);
}

Status validate_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries,
                        const ConstTensorView& keys, const ConstTensorView& values, const LengthsView& valid_lens,
                        const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, config.query_size));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("keys", keys, batch, -1, config.key_size));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], config.value_size));
  ATTEND_CHECK(check_view("output", output, batch, rows, LayerSizes(config).outputs[output_projection]));
  const Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, config.num_heads, rows, keys.sizes[1]};
  ATTEND_CHECK(check_attention(operands, valid_lens, output, options, true));
  ATTEND_CHECK(check_rotary_positions(config.rotary, operands, options));
  ATTEND_CHECK(check_apart_from_outputs("query_positions", options.query_positions, output, options));
  ATTEND_CHECK(check_apart_from_outputs("key_positions", options.key_positions, output, options));
  ATTEND_CHECK(check_apart_from_outputs("rotary.cosines", config.rotary.cosines, output, options));
  return check_apart_from_outputs("rotary.sines", config.rotary.sines, output, options);
}

Status validate_operands(const ConstTensorView& queries, const ConstTensorView& keys,
                         const ConstTensorView& values) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, -1));
  const std::int64_t batch = queries.sizes[0], depth = queries.sizes[2];
  ATTEND_CHECK(check_width("queries", depth));
  ATTEND_CHECK(check_view("keys", keys, batch, -1, depth));
  ATTEND_CHECK(check_view("values", values, batch, keys.sizes[1], -1));
  ATTEND_CHECK(check_width("values", values.sizes[2]));
  return check_copies("keys", keys, keys.sizes[1], depth + values.sizes[2]);
}

Status validate_dot_product(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                            const LengthsView& valid_lens, const TensorView& output,
                            const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_operands(queries, keys, values));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(check_view("output", output, batch, rows, values.sizes[2]));
  ATTEND_CHECK(validate_use(dot_product_call, options));
  const Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, 1, rows, keys.sizes[1]};
  return check_attention(operands, valid_lens, output, options, false);
}

Status validate_scoring(const AttentionOptions& options, std::int64_t heads) noexcept {
  if (options.scale && !__builtin_isfinite(*options.scale)) {
    return Status::error(invalid, "scale: %g, expected a finite number", static_cast<double>(*options.scale));
  }
  if (!(options.softcap >= 0.0f) || !__builtin_isfinite(options.softcap)) {
    return Status::error(invalid, "softcap: %g, expected a finite number of at least 0", static_cast<double>(options.softcap));
  }
  if (options.offset < -largest_offset || options.offset > largest_offset) {
    return Status::error(invalid, "offset: %lld, expected -2^40 to 2^40", static_cast<long long>(options.offset));
  }
  ATTEND_CHECK(check_window("window_left", options.window_left));
  ATTEND_CHECK(check_window("window_right", options.window_right));
  ATTEND_CHECK(check_by_head("alibi_slopes", options.alibi_slopes, heads));
  ATTEND_CHECK(check_by_head("sinks", options.sinks, heads));
  const RelativePositionBias& bias = options.relative_position_bias;
  if (bias.table.absent()) return Status();
  ATTEND_CHECK(check_view("relative_position_bias.table", bias.table, -1, heads));
  const std::int64_t buckets = bias.table.sizes[0], sides = bias.bidirectional ? 2 : 1, most = std::int64_t{1} << 20;
  if (buckets < 2 * sides || buckets > most) {
    return Status::error(invalid, "relative_position_bias.table: %lld buckets, expected %lld to %lld", static_cast<long long>(buckets),
                         static_cast<long long>(2 * sides), static_cast<long long>(most));
  }
  const std::int64_t exact = buckets / sides / 2;
  if (bias.max_distance <= exact || bias.max_distance > most) {
    return Status::error(invalid, "relative_position_bias.max_distance: %lld, expected %lld to %lld", static_cast<long long>(bias.max_distance),
                         static_cast<long long>(exact + 1), static_cast<long long>(most));
  }
  return Status();
}

Status validate_core_operands(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v) noexcept {
  ATTEND_CHECK(check_view("q", q, -1, -1, -1, -1));
  const std::int64_t batch = q.sizes[0], heads = q.sizes[1], depth = q.sizes[3];
  ATTEND_CHECK(check_width("q", depth));
  ATTEND_CHECK(check_view("k", k, batch, -1, -1, depth));
  const std::int64_t groups = k.sizes[1];
  if (groups < 1 || heads % groups != 0) {
    return Status::error(invalid, "k: %lld heads do not divide those of q, %lld", static_cast<long long>(groups),
                         static_cast<long long>(heads));
  }
  ATTEND_CHECK(check_view("v", v, batch, groups, k.sizes[2], -1));
  ATTEND_CHECK(check_width("v", v.sizes[3]));
  return check_copies("k", k, k.sizes[2], depth + v.sizes[3]);
}

Status validate_core(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v, const LengthsView& valid_lens,
                     const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_core_operands(q, k, v));
  ATTEND_CHECK(check_view("output", output, q.sizes[0], q.sizes[1], q.sizes[2], v.sizes[3]));
  ATTEND_CHECK(validate_use(attention_call, options));
  const Operands operands = {{"q", q}, {"k", k}, {"v", v}, q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2]};
  return check_attention(operands, valid_lens, output, options, true);
}

namespace {

Status check_size(const char* name, std::int64_t size, std::int64_t least, std::int64_t most) {
  if (size >= least && size <= most) return Status();
  return Status::error(invalid, "%s: %lld, expected %lld to %lld", name, static_cast<long long>(size),
                       static_cast<long long>(least), static_cast<long long>(most));
}

// How many rows of each entry are there: 0 to `rows`.
Status check_counts(const char* name, const IndexView& counts, std::int64_t batch, std::int64_t rows) {
  if (counts.absent()) return Status();
  ATTEND_CHECK(check_view(name, counts, batch));
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t count = counts.data[b * counts.strides[0]];
    if (count >= 0 && count <= rows) continue;
    return Status::error(invalid, "%s: [%lld] is %lld, expected 0 to %lld", name, static_cast<long long>(b),
                         static_cast<long long>(count), static_cast<long long>(rows));
  }
  return Status();
}

Status check_pages(const CacheState& state, std::int64_t b, const KeyRange& tokens) {
  const std::int64_t p = stray_page(state, b, tokens);
  if (p < 0) return Status();
  const IndexView& pages = state.config.pages;
  return Status::error(invalid, "pages: [%lld, %lld] is %lld, expected 0 to %lld", static_cast<long long>(b), static_cast<long long>(p),
                       static_cast<long long>(pages.data[b * pages.strides[0] + p * pages.strides[1]]),
                       static_cast<long long>(state.config.page_count - 1));
}

}  // namespace

Status validate_cache_config(const KeyValueCacheConfig& config) noexcept {
  const std::int64_t most = std::int64_t{1} << 24;
  ATTEND_CHECK(check_size("batch", config.batch, 1, most));
  ATTEND_CHECK(check_size("num_kv_heads", config.num_kv_heads, 1, most));
  ATTEND_CHECK(check_size("head_dim", config.head_dim, 1, largest_head));
  ATTEND_CHECK(check_size("value_dim", config.value_dim, 0, largest_head));
  const bool paged = config.page_rows != 0;
  if (config.ring && paged) return Status::error(invalid, "ring: cannot go with page_rows");
  ATTEND_CHECK(check_size("capacity", config.capacity, paged ? 0 : 1, largest_offset));
  double rows = static_cast<double>(config.capacity) * static_cast<double>(config.batch);
  if (paged) {
    ATTEND_CHECK(check_size("page_rows", config.page_rows, 1, most));
    ATTEND_CHECK(check_size("page_count", config.page_count, 1, largest_offset));
    ATTEND_CHECK(check_view("pages", config.pages, config.batch, -1));
    const std::int64_t columns = config.pages.sizes[1];
    const double held = static_cast<double>(columns) * static_cast<double>(config.page_rows);
    if (columns == 0 || held < static_cast<double>(config.capacity) || held > static_cast<double>(largest_offset)) {
      return Status::error(invalid, "pages: shape %s, %lld tokens to a page, expected room for capacity = %lld, at least 1 and at most 2^40",
                           shape_text(config.pages).text, static_cast<long long>(config.page_rows), static_cast<long long>(config.capacity));
    }
    rows = static_cast<double>(config.page_count) * static_cast<double>(config.page_rows);
  } else if (config.page_count != 0 || !config.pages.absent()) {
    return Status::error(invalid, "%s: given, but page_rows is 0", config.page_count != 0 ? "page_count" : "pages");
  }
  const double widest = 64.0 + static_cast<double>(config.head_dim + largest_head);
  if (rows * static_cast<double>(config.num_kv_heads) * widest <= 0x1p58) return Status();
  return Status::error(invalid, "%s: %lld is too large", paged ? "page_count" : "capacity",
                       static_cast<long long>(paged ? config.page_count : config.capacity));
}

Status validate_room(const CacheState& state, const IndexView& counts, std::int64_t rows) noexcept {
  const KeyValueCacheConfig& config = state.config;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    const std::int64_t count = counts.absent() ? rows : counts.data[b * counts.strides[0]], length = state.lengths[b];
    if (count > (config.ring ? largest_offset : config.capacity) - length) {
      return Status::error(StatusCode::out_of_memory, "cache: entry %lld holds %lld of %lld tokens, no room for %lld more",
                           static_cast<long long>(b), static_cast<long long>(length),
                           static_cast<long long>(config.ring ? largest_offset : config.capacity), static_cast<long long>(count));
    }
    ATTEND_CHECK(check_pages(state, b, {length, length + count}));
  }
  return Status();
}

Status validate_append(const CacheState& state, const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts,
                       const OperationOptions& options) noexcept {
  const KeyValueCacheConfig& config = state.config;
  ATTEND_CHECK(check_view("k", k, config.batch, config.num_kv_heads, -1, config.head_dim));
  const std::int64_t rows = k.sizes[2];
  ATTEND_CHECK(check_view("v", v, config.batch, config.num_kv_heads, rows, config.value_dim));
  ATTEND_CHECK(check_counts("counts", counts, config.batch, rows));
  for (const Operands::Input& input : {Operands::Input{"k", k}, Operands::Input{"v", v}}) {
    if (!apart(input.view, state.memory)) return Status::error(invalid, "%s: its memory meets that of the cache", input.name);
  }
  ATTEND_CHECK(validate_room(state, counts, rows));
  return check_threads(options.threads);
}

Status validate_truncate(const CacheState& state, std::int64_t b, std::int64_t length) noexcept {
  ATTEND_CHECK(check_size("b", b, 0, state.config.batch - 1));
  if (length == 0) return Status();
  if (length >= state.firsts[b] && length <= state.lengths[b]) return Status();
  return Status::error(invalid, "length: %lld, expected 0 or %lld to %lld, what entry %lld holds", static_cast<long long>(length),
                       static_cast<long long>(state.firsts[b]), static_cast<long long>(state.lengths[b]), static_cast<long long>(b));
}

Status validate_cached_queries(const ConstTensorView& q, const CacheState& state) noexcept {
  const KeyValueCacheConfig& config = state.config;
  ATTEND_CHECK(check_view("q", q, config.batch, -1, -1, config.head_dim));
  if (q.sizes[1] % config.num_kv_heads == 0) return Status();
  return Status::error(invalid, "cache: %lld heads do not divide those of q, %lld", static_cast<long long>(config.num_kv_heads),
                       static_cast<long long>(q.sizes[1]));
}

Status validate_cached_core(const ConstTensorView& q, const CacheState& state, const IndexView& query_counts,
                            const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(validate_cached_queries(q, state));
  ATTEND_CHECK(validate_use(cached_attention_call, options));
  ATTEND_CHECK(check_view("output", output, q.sizes[0], q.sizes[1], q.sizes[2], state.config.value_dim));
  ATTEND_CHECK(check_counts("query_counts", query_counts, q.sizes[0], q.sizes[2]));
  const Operands operands = {{"q", q}, {"the cache", state.memory}, {"the cache", state.memory}, q.sizes[0], q.sizes[1], q.sizes[2], state.longest()};
  ATTEND_CHECK(check_attention(operands, {}, output, options, true));
  ATTEND_CHECK(check_apart_from_outputs("query_counts", query_counts, output, options));
  return check_apart_from_outputs("pages", state.config.pages, output, options);
}

Status validate_reach(const CacheState& state, const Visibility& visibility) noexcept {
  const KeyValueCacheConfig& config = state.config;
  Visibility all = visibility;
  all.first_kept = nullptr;
  for (std::int64_t b = 0; b < config.batch; ++b) {
    ATTEND_CHECK(check_pages(state, b, visibility.of_sequence(b)));
    const std::int64_t first = visibility.first_of(b), end = visibility.sequences.key_count(b);
    const std::int64_t queries = visibility.sequences.query_count(b);
    if (first == 0 || (queries == 1 && visibility.window_left < 0)) continue;
    for (std::int64_t i = 0; i < queries; ++i) {
      const KeyRange range = all.of(b, i);
      if (range.empty() || range.begin >= first) continue;
      return Status::error(invalid, "cache: query %lld of entry %lld sees tokens from %lld on, a ring of capacity %lld holds %lld to %lld; it takes %lld",
                           static_cast<long long>(i), static_cast<long long>(b), static_cast<long long>(range.begin),
                           static_cast<long long>(config.capacity), static_cast<long long>(first), static_cast<long long>(end - 1),
                           static_cast<long long>(end - range.begin));
    }
  }
  return Status();
}

namespace {

// New keys and values of a layer, absent together or not at all, and where they go.
Status check_projected(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                       const IndexView& counts, const CacheState& state) {
  ATTEND_CHECK(check_view("keys", keys, state.config.batch, -1, config.key_size));
  ATTEND_CHECK(check_view("values", values, state.config.batch, keys.sizes[1], config.value_size));
  ATTEND_CHECK(check_counts("new_counts", counts, state.config.batch, keys.sizes[1]));
  for (const Operands::Input& input : {Operands::Input{"keys", keys}, Operands::Input{"values", values}}) {
    if (!apart(input.view, state.memory)) return Status::error(invalid, "%s: its memory meets that of the cache", input.name);
  }
  return validate_room(state, counts, keys.sizes[1]);
}

}  // namespace

Status validate_layer_cache(const MultiHeadAttentionConfig& config, const CacheState& state, std::int64_t batch) noexcept {
  const LayerSizes sizes(config);
  const KeyValueCacheConfig& held = state.config;
  if (held.num_kv_heads != sizes.groups || held.head_dim != sizes.depth || held.value_dim != sizes.depth) {
    return Status::error(invalid, "cache: %lld heads of %lld and %lld, expected %lld of %lld and %lld", static_cast<long long>(held.num_kv_heads),
                         static_cast<long long>(held.head_dim), static_cast<long long>(held.value_dim), static_cast<long long>(sizes.groups),
                         static_cast<long long>(sizes.depth), static_cast<long long>(sizes.depth));
  }
  if (batch == held.batch) return Status();
  return Status::error(invalid, "cache: a batch of %lld, expected %lld", static_cast<long long>(held.batch), static_cast<long long>(batch));
}

Status validate_cached_forward(const MultiHeadAttentionConfig& config, const ConstTensorView& queries, const ConstTensorView& keys,
                               const ConstTensorView& values, const IndexView& new_counts, const CacheState& state,
                               const TensorView& output, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("queries", queries, -1, -1, config.query_size));
  const std::int64_t batch = queries.sizes[0], rows = queries.sizes[1];
  ATTEND_CHECK(validate_use(cached_forward_call, options));
  ATTEND_CHECK(validate_layer_cache(config, state, batch));
  const bool appends = !keys.absent() || !values.absent();
  if (appends) {
    ATTEND_CHECK(check_projected(config, keys, values, new_counts, state));
    if (!new_counts.absent() && keys.sizes[1] != rows) {
      return Status::error(invalid, "new_counts: given, with %lld queries and %lld keys, expected as many", static_cast<long long>(rows),
                           static_cast<long long>(keys.sizes[1]));
    }
    if (!apart(queries, state.memory)) return Status::error(invalid, "queries: its memory meets that of the cache");
  } else {
    ATTEND_CHECK(check_counts("new_counts", new_counts, batch, rows));
  }
  ATTEND_CHECK(check_view("output", output, batch, rows, LayerSizes(config).outputs[output_projection]));
  Operands operands = {{"queries", queries}, {"keys", keys}, {"values", values}, batch, config.num_heads, rows,
                       appends ? state.longest(new_counts, keys.sizes[1]) : state.longest()};
  ATTEND_CHECK(check_attention(operands, {}, output, options, true));
  operands.keys = keys.sizes[1];
  ATTEND_CHECK(check_rotary_positions(config.rotary, operands, options, &state, new_counts));
  ATTEND_CHECK(check_apart_from_outputs("the cache", state.memory, output, options));
  ATTEND_CHECK(check_apart_from_outputs("pages", state.config.pages, output, options));
  ATTEND_CHECK(check_apart_from_outputs("new_counts", new_counts, output, options));
  ATTEND_CHECK(check_apart_from_outputs("query_positions", options.query_positions, output, options));
  ATTEND_CHECK(check_apart_from_outputs("key_positions", options.key_positions, output, options));
  ATTEND_CHECK(check_apart_from_outputs("rotary.cosines", config.rotary.cosines, output, options));
  return check_apart_from_outputs("rotary.sines", config.rotary.sines, output, options);
}

Status validate_project(const MultiHeadAttentionConfig& config, const ConstTensorView& keys, const ConstTensorView& values,
                        const IndexView& counts, const CacheState& state, const AttentionOptions& options) noexcept {
  ATTEND_CHECK(check_view("keys", keys, -1, -1, config.key_size));
  ATTEND_CHECK(validate_use(project_call, options));
  ATTEND_CHECK(validate_layer_cache(config, state, keys.sizes[0]));
  ATTEND_CHECK(check_projected(config, keys, values, counts, state));
  const ConstTensorView none;
  const Operands operands = {{"queries", none}, {"keys", keys}, {"values", values}, keys.sizes[0], config.num_heads, 0, keys.sizes[1]};
  ATTEND_CHECK(check_rotary_positions(config.rotary, operands, options, &state, counts));
  return check_threads(options.threads);
}

Status validate_merge(const ConstTensorView& other_output, const ConstTensorView& other_lse, const TensorView& output,
                      const TensorView& lse, const OperationOptions& options) noexcept {
  ATTEND_CHECK(check_view("output", output, -1, -1, -1, -1));
  const std::int64_t* sizes = output.sizes;
  ATTEND_CHECK(check_view("other_output", other_output, sizes[0], sizes[1], sizes[2], sizes[3]));
  ATTEND_CHECK(check_view("lse", lse, sizes[0], sizes[1], sizes[2]));
  ATTEND_CHECK(check_view("other_lse", other_lse, sizes[0], sizes[1], sizes[2]));
  ATTEND_CHECK(check_distinct("output", output));
  ATTEND_CHECK(check_distinct("lse", lse));
  ATTEND_CHECK(check_apart("output", output, "other_output", other_output));
  ATTEND_CHECK(check_apart("output", output, "other_lse", other_lse));
  ATTEND_CHECK(check_apart("output", output, "lse", lse));
  ATTEND_CHECK(check_apart("lse", lse, "other_output", other_output));
  ATTEND_CHECK(check_apart("lse", lse, "other_lse", other_lse));
  return check_threads(options.threads);
}

Status validate_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept {
  if (num_heads < 1) {
    return Status::error(invalid, "num_heads: %lld, expected 1 or more", static_cast<long long>(num_heads));
  }
  ATTEND_CHECK(check_view("slopes", slopes, num_heads));
  return check_distinct("slopes", slopes);
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
  ATTEND_CHECK(check_apart("output", output, "inverse_frequencies", rotary.inverse_frequencies));
  ATTEND_CHECK(check_apart("output", output, "cosines", rotary.cosines));
  ATTEND_CHECK(check_apart("output", output, "sines", rotary.sines));
  ATTEND_CHECK(check_apart("output", output, "positions", positions));
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
  ATTEND_CHECK(check_apart("output", output, "weight", weight));
  return check_threads(options.threads);
}

namespace {

// Two numbers of a scaling, finite and 0 < low < high.
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
    return Status::error(invalid, "original_max_position: %lld, expected 1 or more",
                         static_cast<long long>(scaling.original_max_position));
  }
  if (kind == RotaryScalingKind::yarn) {
    return check_ramp("beta_slow", scaling.beta_slow, "beta_fast", scaling.beta_fast);
  }
  return check_ramp("low_frequency_factor", scaling.low_frequency_factor, "high_frequency_factor",
                    scaling.high_frequency_factor);
}

}  // namespace

Status validate_rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                   const TensorView& inverse_frequencies) noexcept {
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    return Status::error(invalid, "rotary_dim: %lld, expected an even number, 2 or more",
                         static_cast<long long>(rotary_dim));
  }
  if (!(base > 1.0) || !__builtin_isfinite(base)) {
    return Status::error(invalid, "base: %g, expected a finite number above 1", base);
  }
  ATTEND_CHECK(check_scaling(scaling));
  ATTEND_CHECK(check_view("inverse_frequencies", inverse_frequencies, rotary_dim / 2));
  return check_distinct("inverse_frequencies", inverse_frequencies);
}

}  // namespace attend
