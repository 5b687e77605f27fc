// The attention core alone: contiguous (H, L, D) queries, keys and values, heads as batch entries.
#include "data.h"
#include "naive.h"
#include "reference/reference.h"
#include "workload.h"

namespace attend::bench {
namespace {

class CoreWorkload : public Workload {
 public:
  CoreWorkload(const CoreShape& shape, Isa isa, const Threads& threads) : shape_(shape) {
    const std::int64_t count = shape.heads * shape.length * shape.depth;
    queries_ = random_floats(count, unit_variance, 1);
    keys_ = random_floats(count, unit_variance, 2);
    values_ = random_floats(count, unit_variance, 3);
    result_ = unwritten_floats(count);
    isa_ = isa;
    options_.causal = shape.causal;
    options_.window_left = shape.window_left;
    options_.threads = threads;
    if (shape.mask == CoreMask::none) return;
    const std::int64_t masks = shape.mask == CoreMask::each_head ? shape.heads : 1;
    for (float x : random_floats(masks * shape.length * shape.length, 1.0f, 4)) mask_.push_back(x < 0.0f);
    options_.mask = BoolMaskView(mask_.data(), 1, masks, shape.length, shape.length);
  }

  void run() override {
    require(attention(all(queries_), all(keys_), all(values_), LengthsView(),
                      TensorView(result_.data(), 1, shape_.heads, shape_.length, shape_.depth), workspace_, options_, isa_));
  }

  void run_naively() override {
    const std::int64_t L = shape_.length, D = shape_.depth;
    for (std::int64_t h = 0; h < shape_.heads; ++h) {
      const std::int64_t rows = shape_.causal ? 1 : L;  // each with keys of its own
      for (std::int64_t i = 0; i < L; i += rows) {
        const std::int64_t row = h * L + i, key = h * L + first_key(i);
        naive_attention(queries_.data() + row * D, keys_.data() + key * D, values_.data() + key * D, result_.data() + row * D,
                        rows, (shape_.causal ? i + 1 : L) - first_key(i), D, D, mask_row(h, i));
      }
    }
  }

  reference::Comparison check() const override {
    const std::int64_t H = shape_.heads, L = shape_.length, step = sampled(all(queries_), 2, 4).strides[2] / shape_.depth;
    reference::AttentionOptions options;
    options.mask = reference::Array::zeros({1, H, 4, L});  // of the sampled rows, whatever hides a key
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t n = 0; n < 4; ++n) {
        const std::int64_t i = n * step, end = shape_.causal ? i + 1 : L;
        for (std::int64_t j = first_key(i); j < end; ++j) {
          options.mask.at(std::int64_t{0}, h, n, j) = mask_.empty() || mask_row(h, i)[j] != 0;
        }
      }
    }
    const reference::AttentionResult expected =
        reference::attention(sampled(all(queries_), 2, 4), all(keys_), all(values_), options);
    return reference::compare(sampled(all(result_), 2, 4), expected.output,
                              reference::core_bounds(expected, shape_.depth, reference::Data::random));
  }

 private:
  ConstTensorView all(const std::vector<float>& x) const {
    return ConstTensorView(x.data(), 1, shape_.heads, shape_.length, shape_.depth);
  }
  std::int64_t first_key(std::int64_t i) const {
    return shape_.window_left < 0 || i < shape_.window_left ? 0 : i - shape_.window_left;
  }
  const std::uint8_t* mask_row(std::int64_t h, std::int64_t i) const {
    if (mask_.empty()) return nullptr;
    return mask_.data() + ((shape_.mask == CoreMask::each_head ? h : 0) * shape_.length + i) * shape_.length;
  }

  CoreShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  std::vector<std::uint8_t> mask_;  // empty: none
  Isa isa_;
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> core_workload(const CoreShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<CoreWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
