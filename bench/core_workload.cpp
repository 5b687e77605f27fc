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
    require(DotProductAttention::make(0.0f, &attention_, isa));
    options_.threads = threads;
  }

  void run() override {
    const auto [H, L, D] = shape_;
    require(attention_.forward(ConstTensorView(queries_.data(), H, L, D), ConstTensorView(keys_.data(), H, L, D),
                               ConstTensorView(values_.data(), H, L, D), LengthsView(),
                               TensorView(result_.data(), H, L, D), workspace_, options_));
  }

  void run_naively() override {
    const auto [H, L, D] = shape_;
    for (std::int64_t start = 0; start < H * L * D; start += L * D) {
      naive_attention(queries_.data() + start, keys_.data() + start, values_.data() + start, result_.data() + start, L, L,
                      D, D);
    }
  }

  reference::Comparison check() const override {
    const auto [H, L, D] = shape_;
    const auto all = [&, H = H, L = L, D = D](const std::vector<float>& x) { return ConstTensorView(x.data(), 1, H, L, D); };
    const reference::AttentionResult expected =
        reference::attention(sampled(all(queries_), 2, 4), all(keys_), all(values_));
    return reference::compare(sampled(all(result_), 2, 4), expected.output,
                              reference::core_bounds(expected, D, reference::Data::random));
  }

 private:
  CoreShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  DotProductAttention attention_;
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> core_workload(const CoreShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<CoreWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
