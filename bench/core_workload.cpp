// The attention core alone: queries, keys and values (H, L, D), contiguous or with heads side by side.
#include "data.h"
#include "naive.h"
#include "reference/reference.h"
#include "workload.h"

namespace attend::bench {
namespace {

class CoreWorkload : public Workload {
 public:
  CoreWorkload(const CoreShape& shape, Isa isa, const Threads& threads) : shape_(shape) {
    const bool contiguous = shape.row_stride == 0;
    row_stride_ = contiguous ? shape.depth : shape.row_stride;
    head_stride_ = contiguous ? shape.length * shape.depth : shape.depth;
    const std::int64_t count = contiguous ? shape.heads * head_stride_ : shape.length * row_stride_;
    queries_ = random_floats(count, unit_variance, 1);
    keys_ = random_floats(count, unit_variance, 2);
    values_ = random_floats(count, unit_variance, 3);
    result_ = unwritten_floats(count);
    options_.causal = shape.causal;
    options_.window_left = shape.window_left;
    options_.threads = threads;
    options_.isa = isa;
    options_.core_arithmetic = shape.arithmetic;
    options_.low_precision = low_precision();
    if (shape.mask == CoreMask::none) return;
    const std::int64_t masks = shape.mask == CoreMask::each_head ? shape.heads : 1, L = shape.length;
    bias_ = random_floats(masks * L * L, 1.0f, 4);
    if (shape.mask != CoreMask::additive) hide();
    if (shape.mask == CoreMask::additive || shape.mask == CoreMask::causal_additive) {
      options_.additive_mask = ConstTensorView(bias_.data(), L, L);
      return;
    }
    for (float bias : bias_) mask_.push_back(bias == 0.0f);
    if (shape.mask == CoreMask::padding) options_.key_padding_mask = BoolMaskView(mask_.data(), 1, L);
    else options_.mask = BoolMaskView(mask_.data(), 1, masks, L, L);
  }

  void run() override {
    TensorView result(result_.data(), 1, shape_.heads, shape_.length, shape_.depth);
    for (int axis = 1; axis < 3; ++axis) result.strides[axis] = all(result_).strides[axis];
    require(attention(all(queries_), all(keys_), all(values_), LengthsView(), result, workspace_, options_));
  }

  void run_naively() override {
    const std::int64_t L = shape_.length;
    for (std::int64_t h = 0; h < shape_.heads; ++h) {
      const std::int64_t rows = shape_.causal ? 1 : L;  // each with keys of its own
      for (std::int64_t i = 0; i < L; i += rows) {
        const std::int64_t row = h * head_stride_ + i * row_stride_, key = h * head_stride_ + first_key(i) * row_stride_;
        naive_attention(queries_.data() + row, keys_.data() + key, values_.data() + key, result_.data() + row, rows,
                        (shape_.causal ? i + 1 : L) - first_key(i), shape_.depth, row_stride_, bias_row(h, i));
      }
    }
  }

  reference::Comparison check() const override {
    const std::int64_t H = shape_.heads, L = shape_.length, rows = L < 4 ? L : 4;
    const std::int64_t step = sampled(all(queries_), 2, 4).strides[2] / row_stride_;
    reference::AttentionOptions options;
    options.additive_mask = reference::Array::zeros({1, H, rows, L});  // of the sampled rows, with what hides a key
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t n = 0; n < rows; ++n) {
        const std::int64_t i = n * step, end = shape_.causal ? i + 1 : L;
        for (std::int64_t j = 0; j < L; ++j) {
          const double bias = bias_.empty() ? 0.0 : static_cast<double>(bias_row(h, i)[j]);
          options.additive_mask.at(std::int64_t{0}, h, n, j) = j < first_key(i) || j >= end ? -HUGE_VAL : bias;
        }
      }
    }
    const reference::AttentionResult expected =
        reference::attention(sampled(all(queries_), 2, 4), all(keys_), all(values_), options);
    const reference::Array bounds = reference::core_bounds(expected, shape_.depth, reference::Data::random);
    const bool rounded = shape_.arithmetic != Arithmetic::float32;
    return reference::compare(sampled(all(result_), 2, 4), expected.output, rounded ? with_bfloat16_core(bounds, expected.output) : bounds);
  }

 private:
  // Of random numbers, zeros where a key is visible, else -inf.
  void hide() {
    const std::int64_t L = shape_.length;
    for (std::int64_t at = 0; at < static_cast<std::int64_t>(bias_.size()); ++at) {
      const std::int64_t i = at / L % L, j = at % L;
      const bool causal = shape_.mask == CoreMask::causal_bool || shape_.mask == CoreMask::causal_additive;
      const bool visible = causal ? j <= i : shape_.mask == CoreMask::padding && i > 0 ? bias_[j] == 0.0f : bias_[at] < 0.0f;
      bias_[at] = visible ? 0.0f : -INFINITY;
    }
  }
  ConstTensorView all(const std::vector<float>& x) const {
    ConstTensorView view(x.data(), 1, shape_.heads, shape_.length, shape_.depth);
    view.strides[1] = head_stride_;
    view.strides[2] = row_stride_;
    return view;
  }
  std::int64_t first_key(std::int64_t i) const {
    return shape_.window_left < 0 || i < shape_.window_left ? 0 : i - shape_.window_left;
  }
  const float* bias_row(std::int64_t h, std::int64_t i) const {
    if (bias_.empty()) return nullptr;
    return bias_.data() + ((shape_.mask == CoreMask::each_head ? h : 0) * shape_.length + i) * shape_.length;
  }

  CoreShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  std::int64_t head_stride_, row_stride_;
  std::vector<float> bias_;         // -inf where a mask hides; empty: none
  std::vector<std::uint8_t> mask_;  // of bool ones
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> core_workload(const CoreShape& shape, Isa isa, const Threads& threads) {
  if (!core_usable(shape.arithmetic, isa)) return nullptr;
  return std::make_unique<CoreWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
