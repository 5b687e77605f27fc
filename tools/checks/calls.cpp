// Checks whole calls of the public API at random shapes, strides and lengths against the reference.
//
// Memory that a call must not touch is poisoned: gaps between elements, and keys and values past
// every length, hold NaN; what lies between the elements of an output must stay as it was.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "checks.h"
#include "data/rows.h"
#include "random.h"
#include "reference/block.h"
#include "reference/reference.h"
#include "tensor.h"

namespace attend::checks {

namespace {

using reference::Array;
using reference::Data;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// Calls visit(element) for each element of a view.
template <class Element, class Visit>
void for_each_element(const View<Element>& view, Visit visit) {
  std::int64_t count = 1;
  for (int axis = 0; axis < view.rank; ++axis) count *= view.sizes[axis];
  for (std::int64_t flat = 0; flat < count; ++flat) {
    std::int64_t rest = flat, offset = 0;
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      offset += rest % view.sizes[axis] * view.strides[axis];
      rest /= view.sizes[axis];
    }
    visit(view.data[offset]);
  }
}

/// Valid lengths of a batch of L queries and S keys: absent, one an entry, or one a query.
struct Lengths {
  std::int64_t L, S;
  std::vector<std::int64_t> numbers;
  LengthsView view;

  Lengths(Random& draw, std::int64_t B, std::int64_t queries, std::int64_t keys, bool by_entry_alone = false) : L(queries), S(keys) {
    const std::int64_t kind = draw.between(0, by_entry_alone ? 1 : 2);
    if (kind == 0) return;
    numbers.resize(static_cast<std::size_t>(kind == 1 ? B : B * L));
    for (std::int64_t& number : numbers) {
      number = draw.one_in(8) ? 0 : draw.one_in(4) ? draw.between(S, S + 3) : draw.between(1, S);
    }
    view = kind == 1 ? LengthsView(numbers.data(), B) : LengthsView(numbers.data(), B, L);
  }

  std::int64_t of(std::int64_t b, std::int64_t i) const { return reference::valid_length(view, b, i, S); }

  std::string text() const {
    std::string text = view.absent() ? "none" : view.rank == 1 ? "(B,)" : "(B, L)";
    for (std::size_t i = 0; i < std::min<std::size_t>(numbers.size(), 4); ++i) text += " " + std::to_string(numbers[i]);
    return text;
  }
};

/// Overwrites (entry, row) and those after it up to the entry's last row with NaN.
void poison_rows(TensorView tensor, std::int64_t entry, std::int64_t row) {
  tensor.data += entry * tensor.strides[0] + row * tensor.strides[1];
  tensor.sizes[0] = 1;
  tensor.sizes[1] -= row;
  for_each_element(tensor, [](float& element) { element = nan; });
}

/// Overwrites what lies past the largest length of each entry of a (B, S, width) tensor with NaN. With
/// `uniform` entries with a row of length 0 stay: such rows take the mean of all values.
void poison_hidden(const TensorView& tensor, const Lengths& lengths, bool uniform) {
  for (std::int64_t b = 0; b < tensor.sizes[0]; ++b) {
    std::int64_t shortest = lengths.S, longest = 0;
    for (std::int64_t i = 0; i < lengths.L; ++i) {
      shortest = std::min(shortest, lengths.of(b, i));
      longest = std::max(longest, lengths.of(b, i));
    }
    if (shortest > 0 || !uniform) poison_rows(tensor, b, longest);
  }
}

/// Overwrites the scores (B, L, S) at and past each row's length with NaN.
void poison_scores(const TensorView& scores, const Lengths& lengths) {
  for (std::int64_t b = 0; b < scores.sizes[0]; ++b) {
    for (std::int64_t i = 0; i < scores.sizes[1]; ++i) {
      float* row = scores.data + b * scores.strides[0] + i * scores.strides[1];
      for (std::int64_t j = lengths.of(b, i); j < scores.sizes[2]; ++j) row[j * scores.strides[2]] = nan;
    }
  }
}

/// A KV cache of any kind, filled with the first lengths[b] rows of keys and values, in chunks, some of which
/// are taken back. Rows of it that were never written hold NaN, page numbers that nobody needs are wrong.
struct FilledCache {
  KeyValueCache cache;
  Status status;
  std::string text;
  std::vector<std::int64_t> pages;
  std::vector<float> memory;

  /// A ring keeps at least the last `needed` rows.
  FilledCache(Random& draw, const ConstTensorView& k, const ConstTensorView& v, const std::vector<std::int64_t>& lengths,
              std::int64_t needed, const OperationOptions& options) {
    const std::int64_t B = k.sizes[0], S = k.sizes[2], kind = draw.between(0, 2);
    KeyValueCacheConfig config;
    config.batch = B;
    config.num_kv_heads = k.sizes[1];
    config.head_dim = k.sizes[3];
    config.value_dim = v.sizes[3];
    config.capacity = S + draw.between(0, 9);
    if (kind == 1) {
      config.ring = true;
      config.capacity = std::max<std::int64_t>(needed, 1) + draw.between(0, 9);
    } else if (kind == 2) {
      config.page_rows = draw.size(60);
      const std::int64_t columns = (config.capacity + config.page_rows - 1) / config.page_rows;
      config.page_count = B * columns + draw.between(0, 3);
      for (std::int64_t p = 0; p < config.page_count; ++p) {
        pages.push_back(p);
        std::swap(pages.back(), pages[static_cast<std::size_t>(draw.between(0, p))]);
      }
      config.pages = IndexView(pages.data(), B, columns);
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t p = 0; p < columns; ++p) {
          if (p * config.page_rows >= lengths[static_cast<std::size_t>(b)]) pages[static_cast<std::size_t>(b * columns + p)] = draw.one_in(2) ? -1 : config.page_count;
        }
      }
    }
    text = std::string(kind == 0 ? " cache" : kind == 1 ? " ring" : " pages") + " of " + std::to_string(kind == 2 ? config.page_rows : config.capacity);
    memory.assign(KeyValueCache::bytes(config) / sizeof(float) + 1, nan);
    status = KeyValueCache::make(config, &cache, memory.data(), memory.size() * sizeof(float));
    std::vector<std::int64_t> counts(static_cast<std::size_t>(B));
    for (std::int64_t first = 0; status.ok() && first < S;) {
      const std::int64_t rows = std::min(draw.one_in(3) ? 1 : draw.size(S), S - first);
      const bool repeat = kind != 1 && draw.one_in(3);
      for (std::int64_t b = 0; b < B; ++b) {
        counts[static_cast<std::size_t>(b)] = std::min(std::max<std::int64_t>(lengths[static_cast<std::size_t>(b)] - first, 0), rows);
      }
      const auto part = [&](ConstTensorView view, std::int64_t from) {
        view.data += from * view.strides[2];
        view.sizes[2] = rows;
        return view;
      };
      const IndexView view(counts.data(), B);
      if (repeat) {  // rows of another place, taken back
        status = cache.append(part(k, (S - rows) / 2), part(v, (S - rows) / 2), view, options);
        for (std::int64_t b = 0; b < B && status.ok(); ++b) status = cache.truncate(b, cache.length(b) - counts[static_cast<std::size_t>(b)]);
      }
      if (status.ok()) status = cache.append(part(k, first), part(v, first), view, options);
      first += rows;
    }
  }
};

/// What is wrong with an output; empty if nothing is.
std::string fault(const Status& status, Tensor& output, const Array& expected, const Array& tolerance) {
  if (!status.ok()) return status.message();
  const reference::Comparison comparison = reference::compare(Array(output.view), expected, tolerance);
  if (!comparison.ok) return comparison.message;
  return output.gaps_untouched() ? "" : "something was written beside the elements of the output";
}

/// Random options of a call on B sequences of up to L queries and S keys, with the memory that they view.
class RandomOptions {
 public:
  AttentionOptions options;
  Lengths lengths;
  std::string asked;

  /// packed: draws nothing that cannot go with packed sequences. The caller adds the starts.
  RandomOptions(Random& draw, std::int64_t B, std::int64_t H, std::int64_t L, std::int64_t S, bool packed, float largest_sink)
      : lengths(draw, B, L, S, packed), offsets_(static_cast<std::size_t>(B)), parents_(static_cast<std::size_t>(L)), heads_(H) {
    const auto sometimes = [&](const char* name, int chances = 3) {
      if (!draw.one_in(chances)) return false;
      asked += std::string(" ") + name;
      return true;
    };
    const bool tree = !packed && L <= S && sometimes("tree", 6);
    if (sometimes("scale")) options.scale = draw.number(1.0f);
    if (sometimes("softcap", 4)) options.softcap = 0.5f + std::abs(draw.number(30.0f));
    options.causal = sometimes("causal");
    options.offset = tree ? draw.between(0, S - L) : draw.one_in(2) ? S - L : draw.between(-L, S);
    asked += " offset " + std::to_string(options.offset);
    if (!tree && sometimes("offsets", 4)) {
      for (std::int64_t& offset : offsets_) offset = draw.between(-3, 3);
      options.offsets = IndexView(offsets_.data(), B);
    }
    if (!tree && sometimes("window_left")) options.window_left = draw.between(0, S);
    if (!tree && sometimes("window_right", 4)) options.window_right = draw.between(0, S);
    const auto mask_shape = [&] {
      Shape shape = {B, H, L, S};
      for (std::int64_t& size : shape) size = draw.one_in(4) ? 1 : size;
      shape.erase(shape.begin(), shape.begin() + draw.between(0, 3));
      return shape;
    };
    // A bool mask at a row stride of its own.
    if (!packed && sometimes("mask")) {
      const Shape shape = mask_shape();
      std::int64_t stride = draw.between(1, 2);
      options.mask.rank = static_cast<int>(shape.size());
      for (int axis = options.mask.rank - 1; axis >= 0; --axis) {
        options.mask.sizes[axis] = shape[static_cast<std::size_t>(axis)];
        options.mask.strides[axis] = stride;
        stride = stride * options.mask.sizes[axis] + draw.between(0, 3);
      }
      shown_.resize(static_cast<std::size_t>(stride));
      const int chances = draw.one_in(4) ? 20 : 2;
      for (std::uint8_t& byte : shown_) byte = draw.one_in(chances) ? 200 : 0;
      options.mask.data = shown_.data();
    }
    if (!packed && sometimes("key_padding_mask", 4)) {
      padding_.resize(static_cast<std::size_t>(B * S));
      for (std::uint8_t& byte : padding_) byte = draw.one_in(2) ? 1 : 0;
      options.key_padding_mask = BoolMaskView(padding_.data(), B, S);
    }
    options.mask_hides = sometimes("mask_hides");
    if (sometimes("valid_starts", 4)) {
      starts_.resize(static_cast<std::size_t>(B));
      for (std::int64_t& start : starts_) start = draw.one_in(4) ? draw.between(0, S + 2) : draw.between(0, S / 2);
      options.valid_starts = IndexView(starts_.data(), B);
    }
    if (!packed && sometimes("additive_mask")) {
      additive_ = Tensor::random(draw, mask_shape(), 3.0f);
      for_each_element(additive_.view, [&](float& element) { if (draw.one_in(4)) element = -std::numeric_limits<float>::infinity(); });
      if (sometimes("finite", 2)) hide_finitely(draw, S);
      options.additive_mask = additive_.view;
    }
    if (tree) {
      for (std::int64_t i = 0; i < L; ++i) parents_[static_cast<std::size_t>(i)] = draw.between(-1, i - 1);
      options.tree_parents = IndexView(parents_.data(), L);
    }
    if (!tree && sometimes("alibi_slopes", 4)) options.alibi_slopes = (slopes_ = Tensor::random(draw, {H}, 0.25f)).view;
    if (sometimes("sinks", 4)) {
      sinks_ = Tensor::random(draw, {H}, largest_sink);
      for_each_element(sinks_.view, [&](float& element) { if (draw.one_in(3)) element += finite_; });  // near what the mask leaves
      options.sinks = sinks_.view;
    }
    if (!tree && sometimes("relative_position_bias", 4)) {
      options.relative_position_bias.bidirectional = draw.one_in(2);
      options.relative_position_bias.max_distance = draw.between(9, 150);
      options.relative_position_bias.table = (table_ = Tensor::random(draw, {draw.between(4, 16), H}, 2.0f)).view;
    }
    options.empty_rows = sometimes("uniform") ? EmptyRows::uniform : EmptyRows::zero;
    options.average_weights = draw.one_in(2);
    asked += " lengths " + lengths.text();
  }
  RandomOptions(const RandomOptions&) = delete;
  RandomOptions& operator=(const RandomOptions&) = delete;

  /// These options for the reference, for sequence b alone, which has so many queries and keys, and `past` keys before
  /// its queries: trees and relative biases are written out.
  reference::AttentionOptions of_sequence(std::int64_t b, std::int64_t L, std::int64_t S, std::int64_t past = 0) const {
    const auto entry = [b, S](auto view) {
      if (view.rank == 4 && view.sizes[0] > 1) view.data += b * view.strides[0];
      if (view.rank == 4) view.sizes[0] = 1;
      if (view.rank > 0 && view.sizes[view.rank - 1] > S) view.sizes[view.rank - 1] = S;
      return view;
    };
    reference::AttentionOptions same;
    if (options.scale != 0.0f) same.scale = static_cast<double>(options.scale);
    same.softcap = static_cast<double>(options.softcap);
    same.valid_lens = lengths.view;
    if (!same.valid_lens.absent()) {
      same.valid_lens.data += b * same.valid_lens.strides[0];
      same.valid_lens.sizes[0] = 1;
    }
    same.causal = options.causal;
    same.offset = past + options.offset + (options.offsets.absent() ? 0 : offsets_[static_cast<std::size_t>(b)]);
    same.window_left = options.window_left;
    same.window_right = options.window_right;
    same.mask = entry(options.mask);
    same.mask_hides = options.mask_hides;
    if (!options.key_padding_mask.absent()) {
      BoolMaskView padding = options.key_padding_mask;
      padding.data += b * padding.strides[0];
      padding.sizes[0] = 1;
      padding.sizes[1] = S;
      same.key_padding_mask = padding;
    }
    if (!options.valid_starts.absent()) same.valid_starts = IndexView(&starts_[static_cast<std::size_t>(b)], 1);
    same.additive_mask = entry(options.additive_mask);
    same.alibi_slopes = options.alibi_slopes;
    same.sinks = options.sinks;
    same.empty_rows = options.empty_rows;
    if (!options.tree_parents.absent()) hide_strangers({1, heads_, L, S}, &same);
    if (!options.relative_position_bias.table.absent()) {
      same.position_bias = relative_bias(options.relative_position_bias, same.offset, {heads_, L, S});
    }
    return same;
  }

 private:
  /// A tree as a mask, together with the mask that is there.
  void hide_strangers(const Shape& shape, reference::AttentionOptions* options) const {
    Array mask = Array::zeros(shape);
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t i = 0; i < shape[2]; ++i) {
        double* row = mask.row(0, h, i);
        for (std::int64_t j = 0; j < shape[3] && j < options->offset; ++j) row[j] = 1.0;
        for (std::int64_t node = i; node >= 0; node = parents_[static_cast<std::size_t>(node)]) row[options->offset + node] = 1.0;
        for (std::int64_t j = 0; j < shape[3]; ++j) {
          if (!reference::visible(*options, 0, h, i, j)) row[j] = 0.0;
        }
      }
    }
    options->mask = mask;
    options->mask_hides = false;
    options->key_padding_mask = {};
  }

  /// What model code hides keys with, over runs of them that take up whole key blocks: what a window, padding or another
  /// document leave. Some rows are low throughout, and now and then a run stands far above all else.
  void hide_finitely(Random& draw, std::int64_t S) {
    const TensorView& mask = additive_.view;
    const float low[] = {-1e4f, -1e9f, -std::numeric_limits<float>::max(), -0x1.fep+127f};  // the last is bfloat16's lowest
    const float value = finite_ = draw.one_in(8) ? 1e9f : low[draw.between(0, 3)];
    const std::int64_t last = mask.rank - 1, width = mask.sizes[last];
    const bool moves = draw.one_in(2), zero = draw.one_in(2);
    std::int64_t from = draw.between(0, S), to = draw.between(from, S), at = 0;
    for_each_element(mask, [&](float& element) {
      if (at == width) {
        at = 0;
        if (moves) from = std::min(from + 1, S), to = std::min(to + 1, S);
        if (draw.one_in(20)) from = draw.between(0, S), to = draw.between(from, S);
        if (draw.one_in(20)) from = 0, to = S;
      }
      if (zero) element = 0.0f;
      if (at >= from && at < to) element = value;
      ++at;
    });
  }

  /// T5's bias written out, (H, L, S).
  static Array relative_bias(const RelativePositionBias& bias, std::int64_t offset, const Shape& shape) {
    const std::int64_t sides = bias.bidirectional ? 2 : 1, buckets = bias.table.sizes[0] / sides, exact = buckets / 2;
    const Array table = bias.table;
    Array written = Array::zeros(shape);
    for (std::int64_t h = 0; h < shape[0]; ++h) {
      for (std::int64_t i = 0; i < shape[1]; ++i) {
        for (std::int64_t j = 0; j < shape[2]; ++j) {
          const std::int64_t after = j - (i + offset);
          std::int64_t away = bias.bidirectional ? std::abs(after) : std::max<std::int64_t>(-after, 0);
          if (away >= exact) {
            // Where the logarithm is an integer, it shall not fall short of it.
            const double share = std::log(static_cast<double>(away) / static_cast<double>(exact)) /
                                 std::log(static_cast<double>(bias.max_distance) / static_cast<double>(exact));
            away = std::min(exact + static_cast<std::int64_t>(share * static_cast<double>(buckets - exact) + 1e-6), buckets - 1);
          }
          written.at(h, i, j) = table.at(away + (bias.bidirectional && after > 0 ? buckets : 0), h);
        }
      }
    }
    return written;
  }

  std::vector<std::int64_t> offsets_, parents_;
  std::vector<std::uint8_t> shown_, padding_;
  std::vector<std::int64_t> starts_;
  Tensor additive_, slopes_, sinks_, table_;
  std::int64_t heads_;
  float finite_ = 0.0f;  // what a mask hides keys with
};

/// Attention weights (1, H, L, S) averaged over the heads: (1, L, S).
Array mean_over_heads(const Array& weights) {
  const std::int64_t H = weights.size(1), L = weights.size(2), S = weights.size(3);
  Array mean = Array::zeros({1, L, S});
  for (std::int64_t h = 0; h < H; ++h) {
    for (std::int64_t n = 0; n < L * S; ++n) mean.values[static_cast<std::size_t>(n)] += weights.values[static_cast<std::size_t>(h * L * S + n)] / static_cast<double>(H);
  }
  return mean;
}

class Calls {
 public:
  Calls(Isa isa, std::uint64_t seed, const Threads& threads, Heads heads = Heads::small) : draw_(seed), isa_(isa), heads_(heads) { options_ = {isa, threads}; }

  bool check() {
    return matmul() && sequence_mask() && masked_softmax() && transposes() && dot_product_attention() && layer() &&
           core() && cached_core() && core() && rotary_embedding() && rms_norm() && linear() && norm() && (!draw_.one_in(100) || long_row());
  }
  bool check_core() { return core() && cached_core(); }
  bool check_layer() { return layer(); }
  const std::string& message() const { return message_; }

 private:
  bool agrees(const std::string& call, const std::string& what_is_wrong) {
    if (!what_is_wrong.empty()) message_ = call + ": " + what_is_wrong;
    return what_is_wrong.empty();
  }

  /// The width of a head's row: up to `most`, or about the widest.
  std::int64_t width(std::int64_t most) {
    if (heads_ == Heads::small ? !draw_.one_in(100) : draw_.one_in(6)) return draw_.size(most);
    return largest_head - (draw_.one_in(2) ? draw_.one_of<std::int64_t>({0, 1, 16, 63, 64, 65}) : draw_.between(0, 130));
  }

  bool matmul() {
    const std::int64_t B = draw_.between(1, 3), L = draw_.size(70), K = draw_.size(300), N = draw_.size(150);
    const bool batched = draw_.one_in(2), batched_b = batched && draw_.one_in(2), transposed = draw_.one_in(2);
    Shape b_shape = transposed ? Shape{N, K} : Shape{K, N};
    if (batched_b) b_shape.insert(b_shape.begin(), B);
    const Tensor a = Tensor::random(draw_, batched ? Shape{B, L, K} : Shape{L, K});
    const Tensor b = Tensor::random(draw_, b_shape);
    const Tensor bias = draw_.one_in(2) ? Tensor::random(draw_, {N}) : Tensor();
    Tensor output(batched ? Shape{B, L, N} : Shape{L, N}, draw_);
    const Status status =
        attend::matmul(a.view, b.view, transposed, bias.view, output.view, workspace_, options_);
    const Array expected = reference::matmul(a.view, b.view, transposed, bias.view);
    const Array bounds = reference::matmul_bounds(a.view, b.view, transposed, bias.view, Data::random);
    return agrees(text("matmul %sL %d K %d N %d%s%s", batched ? "batched " : "", L, K, N,
                       transposed ? " b transposed" : "", bias.view.absent() ? "" : " bias"),
                  fault(status, output, expected, bounds));
  }

  bool sequence_mask() {
    const std::int64_t B = draw_.between(1, 4), S = draw_.size(80), E = draw_.size(40);
    const Tensor input = Tensor::random(draw_, draw_.one_in(2) ? Shape{B, S} : Shape{B, S, E});
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(B));
    for (std::int64_t& number : numbers) number = draw_.between(0, S + 1);
    const LengthsView lengths(numbers.data(), B);
    Tensor output(Array(input.view).shape, draw_);
    const Status status = attend::sequence_mask(input.view, lengths, -2.5f, output.view, options_);
    return agrees(text("sequence_mask rank %d B %d S %d", input.view.rank, B, S),
                  fault(status, output, reference::sequence_mask(input.view, lengths, -2.5), Array::zeros({1})));
  }

  bool masked_softmax() {
    const std::int64_t B = draw_.between(1, 3), L = draw_.size(40), S = draw_.size(300);
    const Lengths lengths(draw_, B, L, S);
    const Tensor input = Tensor::random(draw_, {B, L, S}, draw_.one_in(2) ? 3.0f : 60.0f);
    const Array scores = input.view;
    poison_scores(input.view, lengths);
    Tensor output({B, L, S}, draw_);
    const Status status = attend::masked_softmax(input.view, lengths.view, output.view, options_);
    return agrees(text("masked_softmax B %d L %d S %d", B, L, S) + " lengths " + lengths.text(),
                  fault(status, output, reference::masked_softmax(scores, lengths.view),
                        reference::masked_softmax_bounds(scores, lengths.view, Data::random)));
  }

  bool transposes() {
    const std::int64_t B = draw_.between(1, 3), n = draw_.size(60), H = draw_.between(1, 6), D = draw_.size(70);
    const Tensor together = Tensor::random(draw_, {B, n, H * D}), split = Tensor::random(draw_, {B * H, n, D});
    Tensor to_split({B * H, n, D}, draw_), to_together({B, n, H * D}, draw_);
    const Status splitting = attend::transpose_qkv(together.view, H, to_split.view, options_);
    const Status joining = attend::transpose_output(split.view, H, to_together.view, options_);
    const std::string shape = text(" B %d n %d H %d D %d", B, n, H, D);
    const Array exact = Array::zeros({1});
    return agrees("transpose_qkv" + shape,
                  fault(splitting, to_split, reference::transpose_qkv(together.view, H), exact)) &&
           agrees("transpose_output" + shape,
                  fault(joining, to_together, reference::transpose_output(split.view, H), exact));
  }

  bool dot_product_attention() {
    const std::int64_t B = draw_.between(1, 3), L = draw_.size(70), S = draw_.size(300);
    const std::int64_t D = width(130), Dv = width(130);
    const Lengths lengths(draw_, B, L, S);
    const Tensor queries = Tensor::random(draw_, {B, L, D}, 2.0f), keys = Tensor::random(draw_, {B, S, D}, 2.0f),
                 values = Tensor::random(draw_, {B, S, Dv});
    const Array q = queries.view, k = keys.view, v = values.view;
    const auto expected = reference::dot_product_attention(q, k, v, lengths.view);
    const auto bounds = reference::dot_product_attention_bounds(q, k, v, lengths.view, {}, Data::random);
    poison_hidden(keys.view, lengths, true);
    poison_hidden(values.view, lengths, true);

    Tensor output({B, L, Dv}, draw_), weights = weights_output({B, L, S});
    DotProductAttention attention;
    const Status made = DotProductAttention::make(0.5f, &attention, isa_);
    const Status status = made.ok() ? attention.forward(queries.view, keys.view, values.view, lengths.view,
                                                        output.view, workspace_, forward_options(weights))
                                    : made;
    const std::string call = text("DotProductAttention B %d L %d S %d D %d Dv %d", B, L, S, D, Dv) + " lengths " +
                             lengths.text();
    return agrees(call, fault(status, output, expected.output, bounds.output)) &&
           (weights.view.absent() ||
            agrees(call + ", weights", fault(status, weights, expected.weights, bounds.weights)));
  }

  /// Gives a layer a low precision that its CPU has, and says which.
  template <class Config>
  const char* draw_precision(Config& config) {
    const struct {
      WeightType type;
      Arithmetic arithmetic;
      const char* name;
    } all[] = {{WeightType::int8, Arithmetic::int8, " int8"},
               {WeightType::bfloat16, Arithmetic::bfloat16, " bfloat16"},
               {WeightType::int8, Arithmetic::float32, " int8 weights"},
               {WeightType::bfloat16, Arithmetic::float32, " bfloat16 weights"},
               {WeightType::float16, Arithmetic::float32, " float16 weights"},
               {WeightType::int4, Arithmetic::int8, " int4"},
               {WeightType::int4, Arithmetic::float32, " int4 weights"}};
    const auto& drawn = all[draw_.between(0, 6)];
    const bool int4 = drawn.type == WeightType::int4;
    if ((int4 ? int4_instructions(drawn.arithmetic, isa_) : product_instructions(drawn.type, drawn.arithmetic, isa_)) == nullptr) return "";
    if (int4) config.weight_group = draw_.one_of({0, 32, 64, 128});
    config.weight_type = drawn.type;
    config.arithmetic = drawn.arithmetic;
    config.low_precision = int4 ? low_precision_int4() : low_precision();
    return drawn.name;
  }

  /// A layer with any of its options, sequence by sequence against the reference. Keys that nobody sees, and
  /// their values, are NaN.
  bool layer() {
    const std::int64_t N = draw_.between(1, 3), G = draw_.between(1, 3), H = G * draw_.between(1, 2);
    const std::int64_t most_queries = draw_.size(40), most_keys = draw_.one_in(3) ? most_queries : draw_.size(150), D = width(80);
    MultiHeadAttentionConfig config;
    config.key_size = draw_.size(100);
    config.query_size = draw_.size(100);
    config.value_size = draw_.size(100);
    config.num_heads = H;
    config.num_kv_heads = G == H && draw_.one_in(2) ? 0 : G;
    config.head_dim = draw_.one_in(2) ? 0 : D;
    config.num_hiddens = config.head_dim == 0 ? H * D : draw_.size(100);
    config.output_size = draw_.one_in(2) ? 0 : draw_.size(100);
    config.dropout = 0.5f;
    config.bias = draw_.one_in(2);
    config.isa = isa_;
    config.qk_norm = draw_.one_in(3);
    config.norm_queries = !draw_.one_in(4);
    config.norm_keys = !draw_.one_in(4);
    config.norm_epsilon = 1e-5f;
    const char* const precision = draw_.one_in(2) ? draw_precision(config) : "";
    const std::int64_t outputs = config.output_size > 0 ? config.output_size : config.num_hiddens;
    const auto projection = [&](std::int64_t out, std::int64_t in) {
      return Tensor::random(draw_, {out, in}, 2.0f / std::sqrt(static_cast<float>(in)));
    };
    const auto vector = [&](bool wanted, std::int64_t size) { return wanted && !draw_.one_in(4) ? Tensor::random(draw_, {size}) : Tensor(); };
    const Tensor W_q = projection(H * D, config.query_size), W_k = projection(G * D, config.key_size),
                 W_v = projection(G * D, config.value_size), W_o = projection(outputs, H * D);
    const Tensor b_q = vector(config.bias, H * D), b_k = vector(config.bias, G * D), b_v = vector(config.bias, G * D),
                 b_o = vector(config.bias, outputs), n_q = vector(config.qk_norm && config.norm_queries, D),
                 n_k = vector(config.qk_norm && config.norm_keys, D);
    const MultiHeadAttentionWeights parameters = {W_q.view, W_k.view, W_v.view, W_o.view, b_q.view,
                                                  b_k.view, b_v.view, b_o.view, n_q.view, n_k.view};

    // Sequences of a batch, or packed ones, of which some are shorter.
    const bool packed = draw_.one_in(4);
    std::vector<std::int64_t> query_starts = {0}, key_starts = {0};
    for (std::int64_t b = 0; b < N; ++b) {
      query_starts.push_back(query_starts.back() + (packed ? draw_.between(0, most_queries) : most_queries));
      key_starts.push_back(key_starts.back() + (packed ? draw_.between(0, most_keys) : most_keys));
    }
    const auto at = [](const std::vector<std::int64_t>& starts, std::int64_t b) { return starts[static_cast<std::size_t>(b)]; };
    const std::int64_t B = packed ? 1 : N, L = packed ? query_starts.back() : most_queries, S = packed ? key_starts.back() : most_keys;
    // Sinks of the size of scores: the layer's bound takes the errors of a head's columns for independent, which a
    // score that starts from a large sink is not.
    RandomOptions given(draw_, N, H, most_queries, most_keys, packed, 4.0f);
    AttentionOptions options = given.options;
    options.threads = options_.threads;
    options.isa = options_.isa;
    if (packed) {
      options.query_starts = IndexView(query_starts.data(), N + 1);
      options.key_starts = IndexView(key_starts.data(), N + 1);
    }
    const auto queries_of = [&](const auto& view, int axis, std::int64_t b) {
      return packed ? part_of(view, axis, at(query_starts, b), at(query_starts, b + 1) - at(query_starts, b)) : part_of(view, 0, b, 1);
    };
    const auto keys_of = [&](const auto& view, std::int64_t b) {
      return packed ? part_of(view, 1, at(key_starts, b), at(key_starts, b + 1) - at(key_starts, b)) : part_of(view, 0, b, 1);
    };

    // Rotation: by tables only where all positions are known to be in them.
    const std::int64_t rotation = draw_.between(0, 3), pairs = draw_.one_in(4) ? D / 2 : draw_.between(0, D / 2), P = 200;
    const bool tables = rotation == 3;
    const Tensor frequencies = rotation == 2 ? Tensor::random(draw_, {pairs}) : Tensor();
    const Tensor cosines = tables ? Tensor::random(draw_, {P, pairs}) : Tensor(), sines = tables ? Tensor::random(draw_, {P, pairs}) : Tensor();
    config.rotary.inverse_frequencies = frequencies.view;
    config.rotary.cosines = cosines.view;
    config.rotary.sines = sines.view;
    config.rotary.interleaved = draw_.one_in(2);
    if (rotation == 2) config.rotary.attention_factor = 1.25f;
    const auto positions = [&](std::int64_t rows, bool by_entry, std::vector<std::int64_t>* numbers) {
      numbers->resize(static_cast<std::size_t>(by_entry ? B * rows : rows));
      for (std::int64_t& number : *numbers) number = draw_.between(tables ? 0 : -50, P - 1);
      return by_entry ? IndexView(numbers->data(), B, rows) : IndexView(numbers->data(), rows);
    };
    std::vector<std::int64_t> query_numbers, key_numbers;
    const bool given_positions = rotation >= 2 && (options.offset < 3 || draw_.one_in(3));
    if (given_positions) options.query_positions = positions(L, draw_.one_in(2), &query_numbers);
    if (given_positions && draw_.one_in(2)) options.key_positions = positions(S, draw_.one_in(2), &key_numbers);
    const auto positions_of = [&](IndexView view, const std::vector<std::int64_t>& starts, std::int64_t b) {
      if (view.rank == 2) view = part_of(view, 0, packed ? 0 : b, 1);
      return packed && !view.absent() ? part_of(view, view.rank - 1, at(starts, b), at(starts, b + 1) - at(starts, b)) : view;
    };

    const Tensor queries = Tensor::random(draw_, {B, L, config.query_size}), keys = Tensor::random(draw_, {B, S, config.key_size}),
                 values = Tensor::random(draw_, {B, S, config.value_size});
    const reference::LayerWeights layer_weights(config, parameters);
    std::vector<reference::LayerResult> expected;
    std::vector<reference::LayerBounds> bounds;
    for (std::int64_t b = 0; b < N; ++b) {
      const std::int64_t rows = at(query_starts, b + 1) - at(query_starts, b), columns = at(key_starts, b + 1) - at(key_starts, b);
      reference::AttentionOptions same = given.of_sequence(b, rows, columns);
      same.query_positions = positions_of(options.query_positions, query_starts, b);
      same.key_positions = positions_of(options.key_positions, key_starts, b);
      const Array q = queries_of(queries.view, 1, b), k = keys_of(keys.view, b), v = keys_of(values.view, b);
      expected.push_back(reference::multi_head_attention(layer_weights, H, q, k, v, same));
      bounds.push_back(reference::multi_head_attention_bounds(layer_weights, H, q, k, v, same, expected.back(), Data::random));
      for (std::int64_t j = 0; j < columns && options.empty_rows == EmptyRows::zero; ++j) {
        bool seen = false;
        for (std::int64_t h = 0; h < H; ++h) {
          for (std::int64_t i = 0; i < rows; ++i) seen = seen || reference::visible(same, 0, h, i, j);
        }
        if (seen) continue;
        for (const TensorView& view : {keys_of(keys.view, b), keys_of(values.view, b)}) {
          for_each_element(part_of(view, 1, j, 1), [](float& element) { element = nan; });
        }
      }
    }

    Tensor output({B, L, outputs}, draw_), lse({B, H, L}, draw_);
    Tensor weights = packed ? Tensor() : weights_output(options.average_weights ? Shape{B, L, S} : Shape{B, H, L, S});
    options.attention_weights = weights.view;
    options.lse = lse.view;
    MultiHeadAttention attention;
    Status status = MultiHeadAttention::make(config, parameters, &attention);
    if (status.ok()) {
      status = attention.forward(queries.view, keys.view, values.view, given.lengths.view, output.view, workspace_, options);
    }
    const std::string all =
        text("MultiHeadAttention %d%s sequences L %d S %d key, query, value size %d %d %d output %d H %d G %d D %d R %d%s%s%s%s", N, packed ? " packed" : "",
             L, S, config.key_size, config.query_size, config.value_size, outputs, H, G, D, rotation < 2 ? 0 : 2 * pairs,
             config.bias ? " bias" : "", config.qk_norm && config.norm_queries ? " norm_queries" : "",
             config.qk_norm && config.norm_keys ? " norm_keys" : "", precision) +
        given.asked;
    if (!status.ok()) return agrees(all, status.message());
    for (std::int64_t b = 0; b < N; ++b) {
      const std::size_t n = static_cast<std::size_t>(b);
      const std::string call = all + text(", sequence %d", b);
      if (!agrees(call, difference(queries_of(output.view, 1, b), expected[n].output, bounds[n].output))) return false;
      const TensorView lse_of = packed ? queries_of(lse.view, 2, b) : part_of(lse.view, 0, b, 1);
      if (!agrees(call + ", lse", difference(lse_of, expected[n].attention.lse, bounds[n].lse))) return false;
      if (weights.view.absent()) continue;
      if (!agrees(call + ", weights", weights_difference(part_of(weights.view, 0, b, 1), options.average_weights,
                                                         expected[n].attention.weights, bounds[n].weights))) {
        return false;
      }
    }
    return agrees(all, untouched_around({&output, &lse, &weights}));
  }

  /// attention() with any of its options, entry by entry against the reference. Keys that nobody sees, and
  /// their values, are NaN.
  bool core() {
    const std::int64_t B = draw_.between(1, 2), G = draw_.between(1, 3), shared = draw_.between(1, 3), H = G * shared;
    const std::int64_t L = draw_.size(40), S = draw_.one_in(3) ? draw_.between(1, 260) : draw_.between(1, 40);
    const std::int64_t D = width(70), Dv = width(70);
    const Tensor q = Tensor::random(draw_, {B, H, L, D}, 2.0f), k = Tensor::random(draw_, {B, G, S, D}, 2.0f),
                 v = Tensor::random(draw_, {B, G, S, Dv});
    RandomOptions given(draw_, B, H, L, S, false, 40.0f);
    AttentionOptions options = given.options;
    options.threads = options_.threads;
    options.isa = options_.isa;

    const bool in_bfloat16 = draw_.one_in(3) && core_instructions(Arithmetic::bfloat16, isa_) != nullptr;
    if (in_bfloat16) {
      options.core_arithmetic = Arithmetic::bfloat16;
      options.low_precision = low_precision();
    }
    const double rounding = in_bfloat16 ? 0x1p-8 : 0.0;  // of a weight

    std::vector<reference::AttentionResult> expected;
    for (std::int64_t b = 0; b < B; ++b) {
      const reference::AttentionOptions same = given.of_sequence(b, L, S);
      const TensorView keys = part_of(k.view, 0, b, 1), values = part_of(v.view, 0, b, 1);
      expected.push_back(in_bfloat16 ? rounded_attention(part_of(q.view, 0, b, 1), keys, values, same)
                                     : reference::attention(part_of(q.view, 0, b, 1), keys, values, same));
      for (std::int64_t g = 0; g < G && options.empty_rows == EmptyRows::zero; ++g) {
        for (std::int64_t j = 0; j < S; ++j) {
          bool seen = false;
          for (std::int64_t h = g * shared; h < (g + 1) * shared; ++h) {
            for (std::int64_t i = 0; i < L; ++i) seen = seen || reference::visible(same, 0, h, i, j);
          }
          if (seen) continue;
          for (const TensorView& view : {keys, values}) {
            for_each_element(part_of(part_of(view, 1, g, 1), 2, j, 1), [](float& element) { element = nan; });
          }
        }
      }
    }

    Tensor output({B, H, L, Dv}, draw_), lse({B, H, L}, draw_);
    Tensor weights = weights_output(options.average_weights ? Shape{B, L, S} : Shape{B, H, L, S});
    options.attention_weights = weights.view;
    options.lse = lse.view;
    const Status status = attend::attention(q.view, k.view, v.view, given.lengths.view, output.view, workspace_, options);
    const std::string call = text("attention B %d H %d G %d L %d S %d D %d Dv %d%s", B, H, G, L, S, D, Dv, in_bfloat16 ? " bfloat16" : "") + given.asked;
    if (!status.ok()) return agrees(call, status.message());
    for (std::int64_t b = 0; b < B; ++b) {
      const reference::AttentionResult& entry = expected[static_cast<std::size_t>(b)];
      if (!entry_agrees(call, part_of(output.view, 0, b, 1), part_of(lse.view, 0, b, 1), entry, D, rounding)) return false;
      if (weights.view.absent()) continue;
      Array tolerance = reference::weight_bounds(entry, D, Data::random);
      for (std::size_t n = 0; n < tolerance.values.size(); ++n) tolerance.values[n] += 2.1 * rounding * std::abs(entry.weights.values[n]);
      if (!agrees(call + ", weights", weights_difference(part_of(weights.view, 0, b, 1), options.average_weights, entry.weights, tolerance))) {
        return false;
      }
    }
    return agrees(call, untouched_around({&output, &lse, &weights}));
  }

  /// attention_cached() over a cache of any kind. Entries have lengths and numbers of queries of their own; the queries
  /// stand at their ends.
  bool cached_core() {
    const std::int64_t B = draw_.between(1, 3), G = draw_.between(1, 3), H = G * draw_.between(1, 3);
    const std::int64_t L = draw_.one_in(3) ? 1 : draw_.size(40), S = std::max(L, draw_.between(1, draw_.one_in(3) ? 260 : 40));
    const std::int64_t D = width(70), Dv = width(70);
    const Tensor q = Tensor::random(draw_, {B, H, L, D}, 2.0f), k = Tensor::random(draw_, {B, G, S, D}, 2.0f),
                 v = Tensor::random(draw_, {B, G, S, Dv});
    RandomOptions given(draw_, B, H, L, S, false, 40.0f);
    given.lengths.view = LengthsView();
    const bool tree = !given.options.tree_parents.absent(), uniform = given.options.empty_rows == EmptyRows::uniform;
    given.options.offset = tree || draw_.one_in(2) ? 0 : draw_.between(-3, 3);
    std::string call = text("attention B %d H %d G %d L %d S %d D %d Dv %d", B, H, G, L, S, D, Dv) + given.asked + text(", in fact offset %d", given.options.offset);

    std::vector<std::int64_t> key_counts(static_cast<std::size_t>(B), S), query_counts(static_cast<std::size_t>(B), L);
    std::vector<reference::AttentionResult> expected;
    std::int64_t needed = 0;  // keys that a ring has to hold
    for (std::int64_t b = 0; b < B; ++b) {
      std::int64_t &keys_here = key_counts[static_cast<std::size_t>(b)], &queries_here = query_counts[static_cast<std::size_t>(b)];
      if (b > 0) keys_here = draw_.between(tree ? L : 0, S);
      if (!tree && !uniform && draw_.one_in(2)) queries_here = draw_.between(0, L);
      call += text(", %d to %d", queries_here, keys_here);
      reference::AttentionOptions same = given.of_sequence(b, L, keys_here, keys_here - queries_here);
      std::vector<std::int64_t> padded(static_cast<std::size_t>(L), 0);
      std::fill_n(padded.begin(), queries_here, keys_here);
      same.valid_lens = LengthsView(padded.data(), 1, L);
      const std::int64_t lowest = uniform || given.options.window_left < 0 ? 0 : std::max<std::int64_t>(same.offset - given.options.window_left, 0);
      needed = std::max(needed, keys_here - lowest);
      const TensorView keys = part_of(part_of(k.view, 0, b, 1), 2, 0, keys_here), values = part_of(part_of(v.view, 0, b, 1), 2, 0, keys_here);
      expected.push_back(reference::attention(part_of(q.view, 0, b, 1), keys, values, same));
    }
    const FilledCache filled(draw_, k.view, v.view, key_counts, needed, options_);
    call += filled.text;
    if (!filled.status.ok()) return agrees(call, filled.status.message());

    AttentionOptions options = given.options;
    options.threads = options_.threads;
    options.isa = options_.isa;
    const std::int64_t longest = *std::max_element(key_counts.begin(), key_counts.end());
    Tensor output({B, H, L, Dv}, draw_), lse({B, H, L}, draw_);
    Tensor weights = weights_output(options.average_weights ? Shape{B, L, longest} : Shape{B, H, L, longest});
    options.attention_weights = weights.view;
    options.lse = lse.view;
    const Status status = attend::attention_cached(q.view, filled.cache, IndexView(query_counts.data(), B), output.view, workspace_, options);
    if (!status.ok()) return agrees(call, status.message());
    for (std::int64_t b = 0; b < B; ++b) {
      const reference::AttentionResult& entry = expected[static_cast<std::size_t>(b)];
      if (!entry_agrees(call, part_of(output.view, 0, b, 1), part_of(lse.view, 0, b, 1), entry, D)) return false;
      if (weights.view.absent()) continue;
      const int axis = weights.view.rank - 1;
      const std::int64_t keys_here = key_counts[static_cast<std::size_t>(b)];
      const TensorView row = part_of(weights.view, 0, b, 1), seen = part_of(row, axis, 0, keys_here), past = part_of(row, axis, keys_here, longest - keys_here);
      if (!agrees(call + ", weights", weights_difference(seen, options.average_weights, entry.weights, reference::weight_bounds(entry, D, Data::random)))) {
        return false;
      }
      bool zero = true;
      for_each_element(past, [&](float& element) { zero = zero && element == 0.0f; });
      if (!agrees(call + ", weights past the length", zero ? "" : "not 0")) return false;
    }
    return agrees(call, untouched_around({&output, &lse, &weights}));
  }

  /// A row of very many keys, whose sums must not lose digits: keys that are all alike, so that roundings go one way, or not.
  bool long_row() {
    const std::int64_t L = draw_.between(1, 3), S = draw_.between(20000, 100000), D = draw_.between(1, 4), Dv = draw_.between(1, 4);
    const bool alike = draw_.one_in(2);
    const Tensor q = Tensor::random(draw_, {1, 1, L, D}), k = Tensor::random(draw_, {1, 1, alike ? 1 : S, D}),
                 v = Tensor::random(draw_, {1, 1, alike ? 1 : S, Dv});
    ConstTensorView keys = k.view, values = v.view;
    keys.sizes[2] = values.sizes[2] = S;
    if (alike) keys.strides[2] = values.strides[2] = 0;
    const reference::AttentionResult expected = reference::attention(q.view, keys, values, {});
    const Data data = alike ? Data::structured : Data::random;
    Tensor output({1, 1, L, Dv}, draw_), lse({1, 1, L}, draw_);
    AttentionOptions options;
    options.threads = options_.threads;
    options.isa = options_.isa;
    options.lse = lse.view;
    const Status status = attend::attention(q.view, keys, values, {}, output.view, workspace_, options);
    const std::string call = text("attention L %d S %d D %d Dv %d%s", L, S, D, Dv, alike ? " of keys that are alike" : "");
    return agrees(call, fault(status, output, expected.output, reference::core_bounds(expected, D, data))) &&
           agrees(call + ", lse", fault(status, lse, expected.lse, reference::lse_bounds(expected, D, data)));
  }

  /// The output and the LSE of one entry.
  /// `rounding`: how far, relatively, each weight may be off, and so the sum of them: an output by twice as much of its values.
  bool entry_agrees(const std::string& call, const TensorView& output, const TensorView& lse, const reference::AttentionResult& entry, std::int64_t D,
                    double rounding = 0.0) {
    Array output_bounds = reference::core_bounds(entry, D, Data::random), lse_bounds = reference::lse_bounds(entry, D, Data::random);
    for (std::size_t n = 0; n < lse_bounds.values.size(); ++n) {
      output_bounds.values[n] += 2.1 * rounding * entry.value_magnitude.values[n];
      lse_bounds.values[n] += 1.1 * rounding;
    }
    return agrees(call, difference(output, entry.output, output_bounds)) && agrees(call + ", lse", difference(lse, entry.lse, lse_bounds));
  }

  /// Attention in bfloat16 but for the rounding of its weights: queries come with the factor that makes their scores powers of two, or
  /// what tanh takes.
  static reference::AttentionResult rounded_attention(const TensorView& q, const TensorView& k, const TensorView& v, reference::AttentionOptions options) {
    const float scale = options.scale ? static_cast<float>(*options.scale) : static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.sizes[3])));
    const bool capped = options.softcap > 0.0;
    const float factor = capped ? scale / static_cast<float>(options.softcap) : scale * 0x1.715476p+0f;
    options.scale = capped ? options.softcap : std::log(2.0);
    const auto rounded = [](const TensorView& view, float times) {
      Array array = view;
      for (double& x : array.values) x = static_cast<double>(reference::to_bfloat16(static_cast<float>(x) * times));
      return array;
    };
    return reference::attention(rounded(q, factor), rounded(k, 1.0f), rounded(v, 1.0f), options);
  }

  static std::string difference(const TensorView& actual, const Array& expected, const Array& tolerance) {
    const reference::Comparison comparison = reference::compare(Array(actual), expected, tolerance);
    return comparison.ok ? "" : comparison.message;
  }

  /// The weights of one entry, by head or averaged: an average has a rounding for each head. Weights below 2^-102 may be 0, for the
  /// maximum that they are relative to may be 24 powers of two above their row's.
  static std::string weights_difference(const TensorView& actual, bool averaged, const Array& expected, Array tolerance) {
    for (double& allowed : tolerance.values) allowed += 0x1p-102;
    if (!averaged) return difference(actual, expected, tolerance);
    const Array mean = mean_over_heads(expected);
    Array allowed = mean_over_heads(tolerance);
    for (std::size_t n = 0; n < allowed.values.size(); ++n) {
      allowed.values[n] += static_cast<double>(expected.size(1)) * reference::unit_roundoff * mean.values[n];
    }
    return difference(actual, mean, allowed);
  }

  static std::string untouched_around(std::initializer_list<Tensor*> outputs) {
    for (Tensor* output : outputs) {
      if (!output->view.absent() && !output->gaps_untouched()) return "something was written beside the elements of an output";
    }
    return "";
  }

  bool rotary_embedding() {
    const std::int64_t B = draw_.between(1, 3), H = draw_.between(1, 4), L = draw_.size(70);
    const std::int64_t half = draw_.size(70), D = 2 * half + (draw_.one_in(2) ? 0 : draw_.size(40));
    const std::int64_t positions = draw_.between(0, 2);  // absent, (L,) or (B, L)
    const std::int64_t count = positions == 0 ? 0 : positions == 1 ? L : B * L, P = L + 40, offset = draw_.between(0, 10);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    for (std::int64_t& number : numbers) number = draw_.between(0, P - 11);
    IndexView view;
    if (positions == 1) view = IndexView(numbers.data(), L);
    if (positions == 2) view = IndexView(numbers.data(), B, L);

    const bool tables = draw_.one_in(2);
    const Tensor frequencies = tables ? Tensor() : Tensor::random(draw_, {half});
    const Tensor cosines = tables ? Tensor::random(draw_, {P, half}) : Tensor();
    const Tensor sines = tables ? Tensor::random(draw_, {P, half}) : Tensor();
    RotaryEmbedding rotary;
    rotary.inverse_frequencies = frequencies.view;
    rotary.cosines = cosines.view;
    rotary.sines = sines.view;
    rotary.interleaved = draw_.one_in(2);
    if (!tables) rotary.attention_factor = 1.25f;
    const Tensor input = Tensor::random(draw_, {B, H, L, D});
    Tensor output({B, H, L, D}, draw_);
    const auto expected = reference::rotary_embedding(input.view, rotary, view, offset);
    const Status status =
        attend::rotary_embedding(input.view, rotary, view, offset, output.view, workspace_, options_);
    return agrees(text("rotary_embedding B %d H %d L %d R %d D %d rank of positions %d%s%s", B, H, L, 2 * half, D,
                       positions, tables ? " tables" : "", rotary.interleaved ? " interleaved" : ""),
                  fault(status, output, expected.output, reference::rotary_bounds(expected)));
  }

  bool rms_norm() {
    const std::int64_t B = draw_.between(1, 3), H = draw_.between(1, 4), L = draw_.size(70), D = draw_.size(150);
    const Tensor input = Tensor::random(draw_, {B, H, L, D}, 4.0f);
    const Tensor weight = draw_.one_in(2) ? Tensor::random(draw_, {D}) : Tensor();
    Tensor output({B, H, L, D}, draw_);
    const float epsilon = draw_.one_in(2) ? 0.0f : 1e-5f;
    const Status status = attend::rms_norm(input.view, weight.view, epsilon, output.view, options_);
    const Array expected = reference::rms_norm(input.view, weight.view, epsilon);
    return agrees(text("rms_norm B %d H %d L %d D %d%s", B, H, L, D, weight.view.absent() ? "" : " weight"),
                  fault(status, output, expected, reference::rms_norm_bounds(expected, Data::random)));
  }

  /// A linear layer in float32, or in an exact arithmetic of low precision without an activation, whose bits are the reference's.
  bool linear() {
    const std::int64_t L = draw_.size(70), K = draw_.size(200), N = draw_.size(150);
    LinearConfig config;
    config.inputs = K;
    config.outputs = N;
    config.isa = isa_;
    const char* precision = draw_.one_in(2) ? draw_precision(config) : "";
    const bool exact = config.arithmetic != Arithmetic::float32;
    if (!exact) {
      config.weight_type = WeightType::float32;
      config.weight_group = 0;
      precision = "";
    }
    const Tensor input = Tensor::random(draw_, {L, K}, 2.0f), weight = Tensor::random(draw_, {N, K});
    const Tensor bias = draw_.one_in(2) ? Tensor::random(draw_, {N}) : Tensor();
    const Tensor multiplier = exact || draw_.one_in(2) ? Tensor() : Tensor::random(draw_, {L, N});
    LinearOptions options;
    options.activation = static_cast<Activation>(exact ? 0 : draw_.between(0, 4));
    options.multiplier = multiplier.view;
    options.threads = options_.threads;
    Array expected = reference::project(input.view, weight.view, bias.view, config.weight_type, config.arithmetic, config.weight_group > 0 ? config.weight_group : 32,
                                        reference::pair_sum_of(product_instructions(config.weight_type, config.arithmetic, isa_)));
    Array bounds = exact ? Array::zeros({1}) : reference::matmul_bounds(input.view, weight.view, true, bias.view, Data::random);
    for (std::int64_t n = 0; n < expected.count() && !exact; ++n) {
      double &y = expected.values[static_cast<std::size_t>(n)], &bound = bounds.values[static_cast<std::size_t>(n)];
      const double factor = multiplier.view.absent() ? 1.0 : static_cast<double>(multiplier[n]);
      bound = reference::activated_slope(options.activation) * bound + reference::activated_bound(y, options.activation);
      y = reference::activated(y, options.activation) * factor;
      bound = bound * std::abs(factor) + 2.0 * reference::unit_roundoff * std::abs(y);
    }
    Linear made;
    Tensor output({L, N}, draw_);
    Status status = Linear::make(config, {weight.view, bias.view}, &made);
    if (status.ok()) status = made.forward(input.view, output.view, workspace_, options);
    return agrees(text("Linear L %d K %d N %d activation %d%s%s%s", L, K, N, static_cast<std::int64_t>(options.activation), precision,
                       bias.view.absent() ? "" : " bias", multiplier.view.absent() ? "" : " multiplier"),
                  fault(status, output, expected, bounds));
  }

  /// Layer norm or RMS norm of rows, of their sum with a residual or not.
  bool norm() {
    const std::int64_t L = draw_.size(40), D = draw_.size(300);
    const bool centred = draw_.one_in(2);
    const Tensor input = Tensor::random(draw_, {L, D}, 4.0f), residual = draw_.one_in(2) ? Tensor::random(draw_, {L, D}) : Tensor();
    const Tensor weight = draw_.one_in(2) ? Tensor::random(draw_, {D}) : Tensor(), bias = draw_.one_in(2) ? Tensor::random(draw_, {D}) : Tensor();
    Array x = input.view;
    for (std::int64_t n = 0; n < x.count() && !residual.view.absent(); ++n) x.values[static_cast<std::size_t>(n)] = input[n] + residual[n];
    NormOptions options;
    options.weight = weight.view;
    options.bias = bias.view;
    options.residual = residual.view;
    options.isa = isa_;
    options.threads = options_.threads;
    Tensor output({L, D}, draw_);
    const Status status = centred ? attend::layer_norm(input.view, 1e-5f, output.view, options) : attend::rms_norm_rows(input.view, 1e-5f, output.view, options);
    const reference::NormResult expected = reference::norm(x, centred, weight.view, bias.view, 1e-5f, Data::structured);
    return agrees(text("%s L %d D %d%s%s%s", centred ? "layer_norm" : "rms_norm_rows", L, D, residual.view.absent() ? "" : " residual",
                       weight.view.absent() ? "" : " weight", bias.view.absent() ? "" : " bias"),
                  fault(status, output, expected.output, expected.bounds));
  }

  /// Every other call asks for the attention weights.
  Tensor weights_output(const Shape& shape) { return draw_.one_in(2) ? Tensor(shape, draw_) : Tensor(); }
  AttentionOptions forward_options(const Tensor& weights) const {
    AttentionOptions options;
    options.attention_weights = weights.view;
    options.threads = options_.threads;
    options.isa = options_.isa;
    return options;
  }

  /// As printf, where every integer is %d.
  template <class... Values>
  static std::string text(const char* pattern, Values... values) {
    char buffer[256];
    std::snprintf(buffer, sizeof buffer, pattern, narrowed(values)...);
    return buffer;
  }
  static int narrowed(std::int64_t value) { return static_cast<int>(value); }
  static const char* narrowed(const char* value) { return value; }

  Random draw_;
  Isa isa_;
  Heads heads_;
  OperationOptions options_;
  Workspace workspace_;
  std::string message_;
};

}  // namespace

namespace {

Result check_often(Isa isa, std::uint64_t seed, int count, Heads heads, bool (Calls::*check)()) {
  Result result;
  Calls calls(isa, seed, Threads(), heads);
  for (int n = 0; n < count && (calls.*check)(); ++n) {}
  result.ok = calls.message().empty();
  std::snprintf(result.message, sizeof result.message, "%s", calls.message().c_str());
  return result;
}

}  // namespace

Result check_cores(Isa isa, std::uint64_t seed, int count, Heads heads) { return check_often(isa, seed, count, heads, &Calls::check_core); }

Result check_layers(Isa isa, std::uint64_t seed, int count, Heads heads) { return check_often(isa, seed, count, heads, &Calls::check_layer); }

Result check_calls(Isa isa, std::uint64_t seed, int threads) {
  Result result;
  ThreadPool pool;
  std::string message;
  if (threads > 1) {
    const Status status = ThreadPool::make(threads, &pool);
    if (!status.ok()) message = status.message();
  }
  if (message.empty()) {
    Calls calls(isa, seed, threads > 1 ? pool.threads() : Threads());
    calls.check();
    message = calls.message();
  }
  result.ok = message.empty();
  std::snprintf(result.message, sizeof result.message, "%s", message.c_str());
  return result;
}

}  // namespace attend::checks
