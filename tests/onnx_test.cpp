// ONNX's own cases of its operators Attention (opset 23 to 25) and RotaryEmbedding, translated to attend.
#include "onnx_case.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "reference_call.h"

using namespace onnx_test;
using reference::Array;

namespace {

/// Off by at most this, plus this much of what is expected: the cases were computed in the type's own arithmetic.
struct Tolerance {
  double absolute, relative;
};

Tolerance tolerance_of(io::ElementType type) {
  return type == io::ElementType::float16 ? Tolerance{5e-4, 5e-4} : Tolerance{1e-6, 1e-6};
}

void check_output(const Array& actual, const Array& expected, Tolerance tolerance) {
  Array allowed = expected;
  for (double& value : allowed.values) value = tolerance.absolute + tolerance.relative * std::abs(value);
  CHECK_CLOSE(actual, expected, allowed);
}

// ---------------------------------------------------------------------------------------------
// Attention

/// ONNX's three axes (B, n, H W), or four (B, H, n, W), as (B, H, n, W).
template <class Element>
View<Element> heads_of(const View<Element>& view, std::int64_t heads) {
  if (view.rank == 4) return view;
  View<Element> split;
  split.data = view.data;
  split.rank = 4;
  const std::int64_t width = view.sizes[2] / heads;
  const std::int64_t sizes[] = {view.sizes[0], heads, view.sizes[1], width};
  const std::int64_t strides[] = {view.strides[0], width * view.strides[2], view.strides[1], view.strides[2]};
  std::copy_n(sizes, 4, split.sizes);
  std::copy_n(strides, 4, split.strides);
  return split;
}

/// What a cache holds, followed by what is new: the keys or values that the call attends to.
Tensor behind_past(const Tensor& past, const ConstTensorView& added) {
  const std::int64_t past_length = past.view.sizes[2];
  Tensor both({added.sizes[0], added.sizes[1], past_length + added.sizes[2], added.sizes[3]});
  const Array fresh = added;
  for (std::int64_t b = 0; b < both.view.sizes[0]; ++b) {
    for (std::int64_t g = 0; g < both.view.sizes[1]; ++g) {
      for (std::int64_t j = 0; j < both.view.sizes[2]; ++j) {
        for (std::int64_t d = 0; d < both.view.sizes[3]; ++d) {
          both.at(b, g, j, d) = j < past_length ? past.at(b, g, j, d) : static_cast<float>(fresh.at(b, g, j - past_length, d));
        }
      }
    }
  }
  return both;
}

/// The last axis made `length` long by elements that hide.
template <class Element>
std::vector<Element> padded(const Element* elements, Shape* shape, std::int64_t length, Element hidden) {
  const std::int64_t held = shape->back(), rows = reference::count_of(*shape) / std::max<std::int64_t>(held, 1);
  shape->back() = std::max(held, length);
  std::vector<Element> result(static_cast<std::size_t>(rows * shape->back()), hidden);
  for (std::int64_t row = 0; row < rows; ++row) std::copy_n(elements + row * held, held, result.begin() + row * shape->back());
  return result;
}

/// A case of Attention as a call of attend::attention; it holds the memory of the call's arguments.
///
/// Inputs: Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen. softmax_precision needs nothing here.
struct AttentionCall {
  std::int64_t query_heads, key_heads;
  ConstTensorView q, k, v;
  LengthsView valid_lens;
  AttentionOptions options;

  explicit AttentionCall(const OnnxCase& onnx)
      : query_(onnx.input_tensor(0)),
        key_(onnx.input_tensor(1)),
        value_(onnx.input_tensor(2)),
        valid_lens_(onnx.input_integers(6)) {
    query_heads = query_.view.rank == 4 ? query_.view.sizes[1] : static_cast<std::int64_t>(onnx.attribute("q_num_heads", 0));
    key_heads = key_.view.rank == 4 ? key_.view.sizes[1] : static_cast<std::int64_t>(onnx.attribute("kv_num_heads", 0));
    REQUIRE(query_heads > 0);
    REQUIRE(key_heads > 0);
    q = heads_of<const float>(query_.view, query_heads);
    k = heads_of<const float>(key_.view, key_heads);
    v = heads_of<const float>(value_.view, key_heads);

    // The queries follow what the cache holds, or are the last of the keys that are no padding.
    if (onnx.has_input(4)) {
      const Tensor past_key = onnx.input_tensor(4), past_value = onnx.input_tensor(5);
      options.offset = past_key.view.sizes[2];
      key_ = behind_past(past_key, k);
      value_ = behind_past(past_value, v);
      k = key_.view;
      v = value_.view;
    }
    if (onnx.has_input(6)) {
      const std::int64_t B = q.sizes[0], L = q.sizes[2];
      for (std::int64_t length : valid_lens_) offsets_.push_back(length - L);
      valid_lens = LengthsView(valid_lens_.data(), B);
      options.offsets = IndexView(offsets_.data(), B);
    }

    if (onnx.has_attribute("scale")) options.scale = static_cast<float>(onnx.attribute("scale", 0));
    options.softcap = static_cast<float>(onnx.attribute("softcap", 0));
    options.causal = onnx.attribute("is_causal", 0) != 0;
    options.window_left = static_cast<std::int64_t>(onnx.attribute("left_window_size", -1));
    options.window_right = static_cast<std::int64_t>(onnx.attribute("right_window_size", -1));
    if (onnx.has_input(3)) set_mask(onnx.input(3));
  }
  AttentionCall(const AttentionCall&) = delete;  // the views are into it

 private:
  void set_mask(const io::Array& mask) {
    const std::int64_t keys = k.sizes[2];
    Shape shape = mask.shape;
    if (mask.type == io::ElementType::boolean) {
      bool_mask_ = padded<std::uint8_t>(mask.bytes.data(), &shape, keys, 0);
      options.mask = io::contiguous_view<const std::uint8_t>(bool_mask_.data(), shape);
    } else {
      io::FloatTensor floats;
      REQUIRE_OK(io::to_float32(mask, &floats));
      additive_mask_ = padded(floats.view.data, &shape, keys, -infinite);
      options.additive_mask = io::contiguous_view<const float>(additive_mask_.data(), shape);
    }
  }

  Tensor query_, key_, value_;
  std::vector<std::int64_t> valid_lens_, offsets_;
  std::vector<std::uint8_t> bool_mask_;
  std::vector<float> additive_mask_;
};

/// Y (B, H, L, Dv), and the softmax weights (B, H, L, S).
struct AttentionAnswer {
  Array output, weights;
};

/// As the library computes it, into an output that lies in memory as the operator's does.
AttentionAnswer engine_attention(const AttentionCall& call, const Shape& output_shape, bool want_weights, Isa isa) {
  Tensor output(output_shape), weights({call.q.sizes[0], call.q.sizes[1], call.q.sizes[2], call.k.sizes[2]});
  const TensorView output_heads = heads_of(output.view, call.query_heads);
  AttentionOptions options = call.options;
  if (want_weights) options.attention_weights = weights.view;
  Workspace workspace;
  REQUIRE_OK(attention(call.q, call.k, call.v, call.valid_lens, output_heads, workspace, on(isa, options)));
  CHECK(output.gaps_untouched());
  return {output_heads, weights.view};
}

/// The outputs that no contender was asked for: qk_matmul_output before the softmax.
int left_out = 0;

/// Outputs: Y, present_key, present_value, qk_matmul_output.
void check_attention(const OnnxCase& onnx) {
  const AttentionCall call(onnx);
  const Tolerance tolerance = tolerance_of(onnx.output(0).type);
  const Tensor expected = onnx.output_tensor(0);
  const bool want_weights = onnx.has_output(3) && onnx.attribute("qk_matmul_output_mode", 0) == 3;
  left_out += onnx.has_output(3) && !want_weights;

  const auto check = [&](const AttentionAnswer& answer) {
    check_output(answer.output, heads_of(expected.view, call.query_heads), tolerance);
    if (want_weights) check_output(answer.weights, onnx.output_tensor(3).view, tolerance);
  };
  {
    INFO("the reference");
    const reference::AttentionResult result = reference_attention(call.q, call.k, call.v, call.valid_lens, call.options);
    check({result.output, result.weights});
  }
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    check(engine_attention(call, expected.shape(), want_weights, isa));
  }

  if (onnx.has_output(1)) CHECK_CLOSE(call.k, onnx.output_tensor(1).view, 0.0);
  if (onnx.has_output(2)) CHECK_CLOSE(call.v, onnx.output_tensor(2).view, 0.0);
}

// ---------------------------------------------------------------------------------------------
// RotaryEmbedding

/// A case of RotaryEmbedding as a call of attend::rotary_embedding; it holds the memory of the arguments.
///
/// Inputs: input, cos_cache and sin_cache (P, R/2) with position_ids (B, L), or (B, L, R/2) without. The
/// first R of a head's elements are rotated, in pairs of halves or, interleaved, of neighbours.
struct RotaryCall {
  std::int64_t heads;
  ConstTensorView input;           // (B, H, L, D)
  ConstTensorView cosines, sines;  // (P, R/2)
  IndexView positions;             // (B, L)
  bool interleaved;

  explicit RotaryCall(const OnnxCase& onnx)
      : input_(onnx.input_tensor(0)), cosines_(onnx.input_tensor(1)), sines_(onnx.input_tensor(2)), positions_(onnx.input_integers(3)) {
    heads = input_.view.rank == 4 ? input_.view.sizes[1] : static_cast<std::int64_t>(onnx.attribute("num_heads", 0));
    REQUIRE(heads > 0);
    input = heads_of<const float>(input_.view, heads);
    interleaved = onnx.attribute("interleaved", 0) != 0;
    const std::int64_t B = input.sizes[0], L = input.sizes[2], width = input.sizes[3];
    const std::int64_t rotated = static_cast<std::int64_t>(onnx.attribute("rotary_embedding_dim", 0));
    if (!onnx.has_input(3)) {  // each token has a row of its own
      for (std::int64_t n = 0; n < B * L; ++n) positions_.push_back(n);
    }
    positions = IndexView(positions_.data(), B, L);
    cosines = table_of(cosines_);
    sines = table_of(sines_);
    REQUIRE(cosines.sizes[1] == (rotated == 0 ? width : rotated) / 2);
  }
  RotaryCall(const RotaryCall&) = delete;  // the views are into it

 private:
  static ConstTensorView table_of(const Tensor& cache) {
    const std::int64_t columns = cache.view.sizes[cache.view.rank - 1];
    return ConstTensorView(cache.view.data, cache.count() / columns, columns);
  }

  Tensor input_, cosines_, sines_;
  std::vector<std::int64_t> positions_;
};

/// As the library computes it, into an output that lies in memory as the operator's does.
Array engine_rotary(const RotaryCall& call, const Shape& output_shape, Isa isa) {
  Tensor output(output_shape);
  const TensorView output_heads = heads_of(output.view, call.heads);
  RotaryEmbedding rotary;
  rotary.cosines = call.cosines;
  rotary.sines = call.sines;
  rotary.interleaved = call.interleaved;
  OperationOptions options;
  options.isa = isa;
  Workspace workspace;
  REQUIRE_OK(rotary_embedding(call.input, rotary, call.positions, 0, output_heads, workspace, options));
  CHECK(output.gaps_untouched());
  return output_heads;
}

/// As plain loops in doubles compute it.
Array looped_rotary(const RotaryCall& call) {
  const Array input = call.input, cosines = call.cosines, sines = call.sines, positions = call.positions;
  const std::int64_t pairs = cosines.size(1);
  Array output = input;
  for (std::int64_t b = 0; b < input.size(0); ++b) {
    for (std::int64_t h = 0; h < input.size(1); ++h) {
      for (std::int64_t i = 0; i < input.size(2); ++i) {
        const std::int64_t position = static_cast<std::int64_t>(positions.at(b, i));
        for (std::int64_t pair = 0; pair < pairs; ++pair) {
          const std::int64_t first = call.interleaved ? 2 * pair : pair, second = call.interleaved ? first + 1 : pair + pairs;
          const double x = input.at(b, h, i, first), y = input.at(b, h, i, second);
          const double cosine = cosines.at(position, pair), sine = sines.at(position, pair);
          output.at(b, h, i, first) = cosine * x - sine * y;
          output.at(b, h, i, second) = sine * x + cosine * y;
        }
      }
    }
  }
  return output;
}

void check_rotary(const OnnxCase& onnx) {
  const RotaryCall call(onnx);
  const Tolerance tolerance = tolerance_of(onnx.output(0).type);
  const Tensor expected = onnx.output_tensor(0);
  const ConstTensorView expected_heads = heads_of(expected.view, call.heads);
  {
    INFO("plain loops");
    check_output(looped_rotary(call), expected_heads, tolerance);
  }
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    check_output(engine_rotary(call, expected.shape(), isa), expected_heads, tolerance);
  }
}

}  // namespace

TEST_CASE("onnx: the operators' own cases") {
  const char* root = std::getenv("ATTEND_ONNX_CASES");
  if (root == nullptr) {
    std::printf("skipped: the cases of the ONNX operators; ATTEND_ONNX_CASES names no folder\n");
    return;
  }
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (entry.is_directory()) folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  CHECK_MESSAGE(!folders.empty(), std::string(root) << " holds no cases");
  left_out = 0;
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const OnnxCase onnx(folder);
    if (onnx.op() == "Attention") {
      check_attention(onnx);
    } else if (onnx.op() == "RotaryEmbedding") {
      check_rotary(onnx);
    } else {
      FAIL_CHECK("no such operator here: " << onnx.op());
    }
  }
  std::printf("onnx: %zu cases; left out: %d outputs qk_matmul_output from before the softmax\n", folders.size(), left_out);
}
