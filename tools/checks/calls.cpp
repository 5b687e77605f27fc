// Checks whole calls of the public API at random shapes, strides and lengths against the reference.
//
// Memory that a call must not touch is poisoned: gaps between elements, and keys and values past
// every length, hold NaN; what lies between the elements of an output must stay as it was.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "checks.h"
#include "reference/reference.h"

namespace attend::checks {

namespace {

using reference::Array;
using reference::Data;
using reference::Shape;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// Random choices; the same from the same seed on every machine.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}
  std::int64_t integer(std::int64_t lowest, std::int64_t highest) {
    return lowest + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(highest - lowest + 1));
  }
  bool one_in(int chances) { return integer(1, chances) == 1; }
  float real(float largest) {  // uniform in +-largest
    return largest * (static_cast<float>(engine_() >> 40) * (2.0f / 16777216.0f) - 1.0f);
  }
  /// Mostly small, sometimes up to `highest`.
  std::int64_t size(std::int64_t highest) { return one_in(4) ? integer(1, highest) : integer(1, std::min<std::int64_t>(highest, 20)); }

 private:
  std::mt19937_64 engine_;
};

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

/// A tensor in memory of its own, at random strides; every byte of it begins as NaN.
struct Tensor {
  std::vector<float> memory;
  TensorView view;

  Tensor() = default;
  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;
  Tensor(Draw& draw, const Shape& shape) {
    view.rank = static_cast<int>(shape.size());
    const bool dense = draw.one_in(2);
    std::int64_t stride = dense || draw.one_in(2) ? 1 : draw.integer(2, 3);
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      view.sizes[axis] = shape[static_cast<std::size_t>(axis)];
      view.strides[axis] = stride;
      stride = stride * view.sizes[axis] + (dense || draw.one_in(2) ? 0 : draw.integer(1, 9));
    }
    const std::int64_t offset = draw.integer(0, 3);
    memory.assign(static_cast<std::size_t>(offset + stride), nan);
    view.data = memory.data() + offset;
  }

  static Tensor random(Draw& draw, const Shape& shape, float largest = 1.0f) {
    Tensor tensor(draw, shape);
    for_each_element(tensor.view, [&](float& element) { element = draw.real(largest); });
    return tensor;
  }

  /// Whether everything but the elements still is NaN. The elements are lost.
  bool surroundings_untouched() {
    for_each_element(view, [](float& element) { element = nan; });
    return std::all_of(memory.begin(), memory.end(), [](float value) { return std::isnan(value); });
  }
};

/// Valid lengths of a batch of L queries and S keys: absent, one an entry, or one a query.
struct Lengths {
  std::int64_t L, S;
  std::vector<std::int64_t> numbers;
  LengthsView view;

  Lengths(Draw& draw, std::int64_t B, std::int64_t queries, std::int64_t keys) : L(queries), S(keys) {
    const std::int64_t kind = draw.integer(0, 2);
    if (kind == 0) return;
    numbers.resize(static_cast<std::size_t>(kind == 1 ? B : B * L));
    for (std::int64_t& number : numbers) {
      number = draw.one_in(8) ? 0 : draw.one_in(4) ? draw.integer(S, S + 3) : draw.integer(1, S);
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

  /// Of a ring at least the last `needed` rows stay.
  FilledCache(Draw& draw, const ConstTensorView& k, const ConstTensorView& v, const std::vector<std::int64_t>& lengths,
              std::int64_t needed, const OperationOptions& options) {
    const std::int64_t B = k.sizes[0], S = k.sizes[2], kind = draw.integer(0, 2);
    KeyValueCacheConfig config;
    config.batch = B;
    config.num_kv_heads = k.sizes[1];
    config.head_dim = k.sizes[3];
    config.value_dim = v.sizes[3];
    config.capacity = S + draw.integer(0, 9);
    if (kind == 1) {
      config.ring = true;
      config.capacity = std::max<std::int64_t>(needed, 1) + draw.integer(0, 9);
    } else if (kind == 2) {
      config.page_rows = draw.size(60);
      const std::int64_t columns = (config.capacity + config.page_rows - 1) / config.page_rows;
      config.page_count = B * columns + draw.integer(0, 3);
      for (std::int64_t p = 0; p < config.page_count; ++p) {
        pages.push_back(p);
        std::swap(pages.back(), pages[static_cast<std::size_t>(draw.integer(0, p))]);
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
  return output.surroundings_untouched() ? "" : "something was written beside the elements of the output";
}

class Calls {
 public:
  Calls(Isa isa, std::uint64_t seed, const Threads& threads) : draw_(seed), isa_(isa) { options_ = {isa, threads}; }

  bool check() {
    return matmul() && sequence_mask() && masked_softmax() && transposes() && dot_product_attention() && layer() &&
           core() && core() && rotary_embedding() && rms_norm();
  }
  bool check_core() { return core(); }
  const std::string& message() const { return message_; }

 private:
  bool agrees(const std::string& call, const std::string& what_is_wrong) {
    if (!what_is_wrong.empty()) message_ = call + ": " + what_is_wrong;
    return what_is_wrong.empty();
  }

  bool matmul() {
    const std::int64_t B = draw_.integer(1, 3), L = draw_.size(70), K = draw_.size(300), N = draw_.size(150);
    const bool batched = draw_.one_in(2), batched_b = batched && draw_.one_in(2), transposed = draw_.one_in(2);
    Shape b_shape = transposed ? Shape{N, K} : Shape{K, N};
    if (batched_b) b_shape.insert(b_shape.begin(), B);
    const Tensor a = Tensor::random(draw_, batched ? Shape{B, L, K} : Shape{L, K});
    const Tensor b = Tensor::random(draw_, b_shape);
    const Tensor bias = draw_.one_in(2) ? Tensor::random(draw_, {N}) : Tensor();
    Tensor output(draw_, batched ? Shape{B, L, N} : Shape{L, N});
    const Status status =
        attend::matmul(a.view, b.view, transposed, bias.view, output.view, workspace_, options_);
    const Array expected = reference::matmul(a.view, b.view, transposed, bias.view);
    const Array bounds = reference::matmul_bounds(a.view, b.view, transposed, bias.view, Data::random);
    return agrees(text("matmul %sL %d K %d N %d%s%s", batched ? "batched " : "", L, K, N,
                       transposed ? " b transposed" : "", bias.view.absent() ? "" : " bias"),
                  fault(status, output, expected, bounds));
  }

  bool sequence_mask() {
    const std::int64_t B = draw_.integer(1, 4), S = draw_.size(80), E = draw_.size(40);
    const Tensor input = Tensor::random(draw_, draw_.one_in(2) ? Shape{B, S} : Shape{B, S, E});
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(B));
    for (std::int64_t& number : numbers) number = draw_.integer(0, S + 1);
    const LengthsView lengths(numbers.data(), B);
    Tensor output(draw_, Array(input.view).shape);
    const Status status = attend::sequence_mask(input.view, lengths, -2.5f, output.view, options_);
    return agrees(text("sequence_mask rank %d B %d S %d", input.view.rank, B, S),
                  fault(status, output, reference::sequence_mask(input.view, lengths, -2.5), Array::zeros({1})));
  }

  bool masked_softmax() {
    const std::int64_t B = draw_.integer(1, 3), L = draw_.size(40), S = draw_.size(300);
    const Lengths lengths(draw_, B, L, S);
    const Tensor input = Tensor::random(draw_, {B, L, S}, draw_.one_in(2) ? 3.0f : 60.0f);
    const Array scores = input.view;
    poison_scores(input.view, lengths);
    Tensor output(draw_, {B, L, S});
    const Status status = attend::masked_softmax(input.view, lengths.view, output.view, options_);
    return agrees(text("masked_softmax B %d L %d S %d", B, L, S) + " lengths " + lengths.text(),
                  fault(status, output, reference::masked_softmax(scores, lengths.view),
                        reference::masked_softmax_bounds(scores, lengths.view, Data::random)));
  }

  bool transposes() {
    const std::int64_t B = draw_.integer(1, 3), n = draw_.size(60), H = draw_.integer(1, 6), D = draw_.size(70);
    const Tensor together = Tensor::random(draw_, {B, n, H * D}), split = Tensor::random(draw_, {B * H, n, D});
    Tensor to_split(draw_, {B * H, n, D}), to_together(draw_, {B, n, H * D});
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
    const std::int64_t B = draw_.integer(1, 3), L = draw_.size(70), S = draw_.size(300);
    const std::int64_t D = draw_.size(130), Dv = draw_.size(130);
    const Lengths lengths(draw_, B, L, S);
    const Tensor queries = Tensor::random(draw_, {B, L, D}, 2.0f), keys = Tensor::random(draw_, {B, S, D}, 2.0f),
                 values = Tensor::random(draw_, {B, S, Dv});
    const Array q = queries.view, k = keys.view, v = values.view;
    const auto expected = reference::dot_product_attention(q, k, v, lengths.view);
    const auto bounds = reference::dot_product_attention_bounds(q, k, v, lengths.view, {}, Data::random);
    poison_hidden(keys.view, lengths, true);
    poison_hidden(values.view, lengths, true);

    Tensor output(draw_, {B, L, Dv}), weights = weights_output({B, L, S});
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

  bool layer() {
    const std::int64_t B = draw_.integer(1, 3), L = draw_.size(40), S = draw_.one_in(3) ? L : draw_.size(150);
    const std::int64_t H = draw_.integer(1, 6), E = H * draw_.size(80);
    MultiHeadAttentionConfig config;
    config.key_size = draw_.size(100);
    config.query_size = draw_.size(100);
    config.value_size = draw_.size(100);
    config.num_hiddens = E;
    config.num_heads = H;
    config.dropout = 0.5f;
    config.bias = draw_.one_in(2);
    config.isa = isa_;
    const auto projection = [&](std::int64_t out, std::int64_t in) {
      return Tensor::random(draw_, {out, in}, 2.0f / std::sqrt(static_cast<float>(in)));
    };
    const auto bias = [&] { return config.bias && !draw_.one_in(4) ? Tensor::random(draw_, {E}) : Tensor(); };
    const Tensor W_q = projection(E, config.query_size), W_k = projection(E, config.key_size),
                 W_v = projection(E, config.value_size), W_o = projection(E, E);
    const Tensor b_q = bias(), b_k = bias(), b_v = bias(), b_o = bias();
    const MultiHeadAttentionWeights parameters = {W_q.view, W_k.view, W_v.view, W_o.view,
                                                  b_q.view, b_k.view, b_v.view, b_o.view};
    const Lengths lengths(draw_, B, L, S);
    const bool uniform = draw_.one_in(2);
    const Tensor queries = Tensor::random(draw_, {B, L, config.query_size}),
                 keys = Tensor::random(draw_, {B, S, config.key_size}),
                 values = Tensor::random(draw_, {B, S, config.value_size});

    const Array q = queries.view, k = keys.view, v = values.view;
    reference::AttentionOptions options;
    options.valid_lens = lengths.view;
    options.empty_rows = uniform ? EmptyRows::uniform : EmptyRows::zero;
    const auto expected = reference::multi_head_attention(parameters, H, q, k, v, options);
    const auto bounds =
        reference::multi_head_attention_bounds(parameters, H, q, k, v, options, expected, Data::random);
    poison_hidden(keys.view, lengths, uniform);
    poison_hidden(values.view, lengths, uniform);

    Tensor output(draw_, {B, L, E}), weights = weights_output({B, H, L, S});
    MultiHeadAttention attention;
    const Status made = MultiHeadAttention::make(config, parameters, &attention);
    AttentionOptions forward = forward_options(weights);
    forward.empty_rows = options.empty_rows;
    const Status status = made.ok() ? attention.forward(queries.view, keys.view, values.view, lengths.view,
                                                        output.view, workspace_, forward)
                                    : made;
    const std::string call =
        text("MultiHeadAttention B %d L %d S %d key, query, value size %d %d %d hiddens %d heads %d%s%s", B, L, S,
             config.key_size, config.query_size, config.value_size, E, H, config.bias ? " bias" : "",
             uniform ? " uniform" : "") + " lengths " + lengths.text();
    return agrees(call, fault(status, output, expected.output, bounds.output)) &&
           (weights.view.absent() ||
            agrees(call + ", weights", fault(status, weights, expected.attention.weights, bounds.weights)));
  }

  /// attention() with any of its options, entry by entry against the reference. Keys that nobody sees, and
  /// their values, are NaN.
  bool core() {
    const std::int64_t B = draw_.integer(1, 2), G = draw_.integer(1, 3), shared = draw_.integer(1, 3), H = G * shared;
    const std::int64_t L = draw_.size(40), S = draw_.one_in(3) ? draw_.integer(1, 260) : draw_.integer(1, 40);
    const std::int64_t D = draw_.size(70), Dv = draw_.size(70);
    const Tensor q = Tensor::random(draw_, {B, H, L, D}, 2.0f), k = Tensor::random(draw_, {B, G, S, D}, 2.0f),
                 v = Tensor::random(draw_, {B, G, S, Dv});
    const bool tree = draw_.one_in(6) && L <= S;
    AttentionOptions options;
    options.threads = options_.threads;
    std::string asked = text("attention B %d H %d G %d L %d S %d D %d Dv %d", B, H, G, L, S, D, Dv);
    const auto sometimes = [&](const char* name, int chances = 3) {
      if (!draw_.one_in(chances)) return false;
      asked += std::string(" ") + name;
      return true;
    };
    // Through a cache, entries have lengths of their own, and so many queries, which stand at their ends.
    const bool cached = draw_.one_in(3), uniform = sometimes("uniform");
    std::vector<std::int64_t> key_counts(static_cast<std::size_t>(B), S), query_counts(static_cast<std::size_t>(B), L), padded;
    for (std::int64_t b = 0; cached && b < B; ++b) {
      if (b > 0) key_counts[static_cast<std::size_t>(b)] = draw_.integer(tree ? L : 0, S);
      if (!tree && !uniform && draw_.one_in(2)) query_counts[static_cast<std::size_t>(b)] = draw_.integer(0, L);
    }
    Lengths lengths(draw_, B, L, S);
    if (cached) lengths.view = LengthsView();
    if (sometimes("scale")) options.scale = draw_.real(1.0f);
    if (sometimes("softcap", 4)) options.softcap = 0.5f + std::abs(draw_.real(30.0f));
    options.causal = sometimes("causal");
    options.offset = cached ? (tree || draw_.one_in(2) ? 0 : draw_.integer(-3, 3))
                     : tree ? draw_.integer(0, S - L) : draw_.one_in(2) ? S - L : draw_.integer(-L, S);
    asked += " offset " + std::to_string(options.offset);
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(B));
    if (!tree && sometimes("offsets", 4)) {
      for (std::int64_t& offset : offsets) offset = draw_.integer(-3, 3);
      options.offsets = IndexView(offsets.data(), B);
    }
    if (!tree && sometimes("window_left")) options.window_left = draw_.integer(0, S);
    if (!tree && sometimes("window_right", 4)) options.window_right = draw_.integer(0, S);
    const auto mask_shape = [&] {
      Shape shape = {B, H, L, S};
      for (std::int64_t& size : shape) size = draw_.one_in(4) ? 1 : size;
      shape.erase(shape.begin(), shape.begin() + draw_.integer(0, 3));
      return shape;
    };
    // A bool mask at a row stride of its own.
    std::vector<std::uint8_t> shown;
    if (sometimes("mask")) {
      const Shape shape = mask_shape();
      std::int64_t stride = draw_.integer(1, 2);
      options.mask.rank = static_cast<int>(shape.size());
      for (int axis = options.mask.rank - 1; axis >= 0; --axis) {
        options.mask.sizes[axis] = shape[static_cast<std::size_t>(axis)];
        options.mask.strides[axis] = stride;
        stride = stride * options.mask.sizes[axis] + draw_.integer(0, 3);
      }
      shown.resize(static_cast<std::size_t>(stride));
      const int chances = draw_.one_in(4) ? 20 : 2;
      for (std::uint8_t& byte : shown) byte = draw_.one_in(chances) ? 200 : 0;
      options.mask.data = shown.data();
    }
    Tensor additive;
    if (sometimes("additive_mask")) {
      additive = Tensor::random(draw_, mask_shape(), 3.0f);
      for_each_element(additive.view, [&](float& element) { if (draw_.one_in(4)) element = -std::numeric_limits<float>::infinity(); });
      options.additive_mask = additive.view;
    }
    std::vector<std::int64_t> parents(static_cast<std::size_t>(L));
    if (tree) {
      asked += " tree";
      for (std::int64_t i = 0; i < L; ++i) parents[static_cast<std::size_t>(i)] = draw_.integer(-1, i - 1);
      options.tree_parents = IndexView(parents.data(), L);
    }
    Tensor slopes, sinks, table;
    if (!tree && sometimes("alibi_slopes", 4)) options.alibi_slopes = (slopes = Tensor::random(draw_, {H}, 0.25f)).view;
    if (sometimes("sinks", 4)) options.sinks = (sinks = Tensor::random(draw_, {H}, 40.0f)).view;
    if (!tree && sometimes("relative_position_bias", 4)) {
      options.relative_position_bias.bidirectional = draw_.one_in(2);
      options.relative_position_bias.max_distance = draw_.integer(9, 150);
      options.relative_position_bias.table = (table = Tensor::random(draw_, {draw_.integer(4, 16), H}, 2.0f)).view;
    }
    options.empty_rows = uniform ? EmptyRows::uniform : EmptyRows::zero;
    options.average_weights = draw_.one_in(2);

    // The same for the reference: trees and relative biases are written out, for each entry on its own.
    std::vector<reference::AttentionResult> expected;
    std::int64_t needed = 0;  // keys that a ring has to hold
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t keys_here = key_counts[static_cast<std::size_t>(b)], queries_here = query_counts[static_cast<std::size_t>(b)];
      const auto entry = [b](auto view) {
        if (view.rank == 4 && view.sizes[0] > 1) view.data += b * view.strides[0];
        if (view.rank == 4) view.sizes[0] = 1;
        return view;
      };
      const auto of_keys = [&](auto view, int axis) {  // those that the entry has
        if (view.rank > 0 && view.sizes[axis] == S && S > keys_here) view.sizes[axis] = keys_here;
        return view;
      };
      LengthsView valid_lens = lengths.view;
      if (!valid_lens.absent()) {
        valid_lens.data += b * valid_lens.strides[0];
        valid_lens.sizes[0] = 1;
      }
      if (cached) {
        padded.assign(static_cast<std::size_t>(L), 0);
        std::fill_n(padded.begin(), queries_here, keys_here);
        valid_lens = LengthsView(padded.data(), 1, L);
      }
      reference::AttentionOptions same;
      if (options.scale) same.scale = static_cast<double>(*options.scale);
      same.softcap = static_cast<double>(options.softcap);
      same.valid_lens = valid_lens;
      same.causal = options.causal;
      same.offset = options.offset + (options.offsets.absent() ? 0 : offsets[static_cast<std::size_t>(b)]) + (cached ? keys_here - queries_here : 0);
      same.window_left = options.window_left;
      same.window_right = options.window_right;
      same.mask = of_keys(entry(options.mask), options.mask.rank - 1);
      same.additive_mask = of_keys(entry(options.additive_mask), options.additive_mask.rank - 1);
      same.alibi_slopes = options.alibi_slopes;
      same.sinks = options.sinks;
      same.empty_rows = options.empty_rows;
      if (tree) hide_strangers(parents, {1, H, L, keys_here}, &same);
      if (!options.relative_position_bias.table.absent()) {
        same.position_bias = relative_bias(options.relative_position_bias, same.offset, {H, L, keys_here});
      }
      const std::int64_t lowest = uniform || options.window_left < 0 ? 0 : std::max<std::int64_t>(same.offset - options.window_left, 0);
      needed = std::max(needed, keys_here - lowest);
      const TensorView keys = of_keys(entry(k.view), 2), values = of_keys(entry(v.view), 2);
      expected.push_back(reference::attention(entry(q.view), keys, values, same));
      for (std::int64_t g = 0; g < G && !uniform; ++g) {
        for (std::int64_t j = 0; j < keys_here; ++j) {
          bool seen = false;
          for (std::int64_t h = g * shared; h < (g + 1) * shared; ++h) {
            for (std::int64_t i = 0; i < L; ++i) seen = seen || reference::visible(same, 0, h, i, j);
          }
          for (std::int64_t d = 0; d < D && !seen; ++d) keys.data[g * keys.strides[1] + j * keys.strides[2] + d * keys.strides[3]] = nan;
          for (std::int64_t d = 0; d < Dv && !seen; ++d) values.data[g * values.strides[1] + j * values.strides[2] + d * values.strides[3]] = nan;
        }
      }
    }

    Tensor output(draw_, {B, H, L, Dv}), lse(draw_, {B, H, L});
    Tensor weights = weights_output(options.average_weights ? Shape{B, L, S} : Shape{B, H, L, S});
    options.attention_weights = weights.view;
    options.lse = lse.view;
    Status status;
    if (cached) {
      const FilledCache filled(draw_, k.view, v.view, key_counts, needed, options_);
      const IndexView counts(query_counts.data(), B);
      status = filled.status;
      if (status.ok()) status = attend::attention(q.view, filled.cache, counts, output.view, workspace_, options, isa_);
      asked += filled.text;
      for (std::int64_t b = 0; b < B; ++b) {
        asked += " " + std::to_string(query_counts[static_cast<std::size_t>(b)]) + " to " + std::to_string(key_counts[static_cast<std::size_t>(b)]);
      }
    } else {
      status = attend::attention(q.view, k.view, v.view, lengths.view, output.view, workspace_, options, isa_);
      asked += " lengths " + lengths.text();
    }
    Array all_outputs = Array::zeros({B, H, L, Dv}), all_lse = Array::zeros({B, H, L}), all_weights = Array::zeros(options.average_weights ? Shape{B, L, S} : Shape{B, H, L, S});
    Array output_bounds = Array::zeros({B, H, L}), lse_bounds = all_lse, weight_bounds = all_weights;
    for (std::int64_t b = 0; b < B; ++b) {
      const reference::AttentionResult& entry = expected[static_cast<std::size_t>(b)];
      const auto put = [b](const Array& part, Array* whole) {
        std::copy(part.values.begin(), part.values.end(), whole->values.begin() + b * part.count());
      };
      const auto put_weights = [&](const Array& part, Array* whole) {
        const std::int64_t keys_here = key_counts[static_cast<std::size_t>(b)];
        for (std::int64_t h = 0; h < H; ++h) {
          for (std::int64_t n = 0; n < L * keys_here; ++n) {
            const std::int64_t i = n / keys_here, j = n % keys_here;
            const double x = part.at(0, h, i, j);
            if (options.average_weights) whole->at(b, i, j) += x / static_cast<double>(H);
            else whole->at(b, h, i, j) = x;
          }
        }
      };
      put(entry.output, &all_outputs);
      put(entry.lse, &all_lse);
      put_weights(entry.weights, &all_weights);
      put(reference::core_bounds(entry, D, Data::random), &output_bounds);
      put(reference::lse_bounds(entry, D, Data::random), &lse_bounds);
      put_weights(reference::weight_bounds(entry, D, Data::random), &weight_bounds);
    }
    if (options.average_weights) {  // a rounding for each head
      for (std::size_t n = 0; n < weight_bounds.values.size(); ++n) {
        weight_bounds.values[n] += static_cast<double>(H) * reference::unit_roundoff * all_weights.values[n];
      }
    }
    return agrees(asked, fault(status, output, all_outputs, output_bounds)) &&
           agrees(asked + ", lse", fault(status, lse, all_lse, lse_bounds)) &&
           (weights.view.absent() || agrees(asked + ", weights", fault(status, weights, all_weights, weight_bounds)));
  }

  /// A tree as a mask, together with the mask that is there.
  static void hide_strangers(const std::vector<std::int64_t>& parents, const Shape& shape, reference::AttentionOptions* options) {
    Array mask = Array::zeros(shape);
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t i = 0; i < shape[2]; ++i) {
        double* row = mask.row(0, h, i);
        for (std::int64_t j = 0; j < shape[3] && j < options->offset; ++j) row[j] = 1.0;
        for (std::int64_t node = i; node >= 0; node = parents[static_cast<std::size_t>(node)]) row[options->offset + node] = 1.0;
        for (std::int64_t j = 0; j < shape[3]; ++j) {
          if (!reference::visible(*options, 0, h, i, j)) row[j] = 0.0;
        }
      }
    }
    options->mask = mask;
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

  bool rotary_embedding() {
    const std::int64_t B = draw_.integer(1, 3), H = draw_.integer(1, 4), L = draw_.size(70);
    const std::int64_t half = draw_.size(70), D = 2 * half + (draw_.one_in(2) ? 0 : draw_.size(40));
    const std::int64_t positions = draw_.integer(0, 2);  // absent, (L,) or (B, L)
    const std::int64_t count = positions == 0 ? 0 : positions == 1 ? L : B * L, P = L + 40, offset = draw_.integer(0, 10);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    for (std::int64_t& number : numbers) number = draw_.integer(0, P - 11);
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
    Tensor output(draw_, {B, H, L, D});
    const auto expected = reference::rotary_embedding(input.view, rotary, view, offset);
    const Status status =
        attend::rotary_embedding(input.view, rotary, view, offset, output.view, workspace_, options_);
    return agrees(text("rotary_embedding B %d H %d L %d R %d D %d rank of positions %d%s%s", B, H, L, 2 * half, D,
                       positions, tables ? " tables" : "", rotary.interleaved ? " interleaved" : ""),
                  fault(status, output, expected.output, reference::rotary_bounds(expected)));
  }

  bool rms_norm() {
    const std::int64_t B = draw_.integer(1, 3), H = draw_.integer(1, 4), L = draw_.size(70), D = draw_.size(150);
    const Tensor input = Tensor::random(draw_, {B, H, L, D}, 4.0f);
    const Tensor weight = draw_.one_in(2) ? Tensor::random(draw_, {D}) : Tensor();
    Tensor output(draw_, {B, H, L, D});
    const float epsilon = draw_.one_in(2) ? 0.0f : 1e-5f;
    const Status status = attend::rms_norm(input.view, weight.view, epsilon, output.view, options_);
    const Array expected = reference::rms_norm(input.view, weight.view, epsilon);
    return agrees(text("rms_norm B %d H %d L %d D %d%s", B, H, L, D, weight.view.absent() ? "" : " weight"),
                  fault(status, output, expected, reference::rms_norm_bounds(expected, Data::random)));
  }

  /// Every other call asks for the attention weights.
  Tensor weights_output(const Shape& shape) { return draw_.one_in(2) ? Tensor(draw_, shape) : Tensor(); }
  AttentionOptions forward_options(const Tensor& weights) const {
    AttentionOptions options;
    options.attention_weights = weights.view;
    options.threads = options_.threads;
    return options;
  }

  /// As printf, where every integer is %d.
  template <class... Values>
  static std::string text(const char* pattern, Values... values) {
    char buffer[192];
    std::snprintf(buffer, sizeof buffer, pattern, narrowed(values)...);
    return buffer;
  }
  static int narrowed(std::int64_t value) { return static_cast<int>(value); }
  static const char* narrowed(const char* value) { return value; }

  Draw draw_;
  Isa isa_;
  OperationOptions options_;
  Workspace workspace_;
  std::string message_;
};

}  // namespace

Result check_cores(Isa isa, std::uint64_t seed, int count) {
  Result result;
  Calls calls(isa, seed, Threads());
  for (int n = 0; n < count && calls.check_core(); ++n) {}
  result.ok = calls.message().empty();
  std::snprintf(result.message, sizeof result.message, "%s", calls.message().c_str());
  return result;
}

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
