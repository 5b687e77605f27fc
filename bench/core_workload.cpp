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
    options_.threads = threads;
  }

  void run() override {
    require(attention(all(queries_), all(keys_), all(values_), LengthsView(),
                      TensorView(result_.data(), 1, shape_.heads, shape_.length, shape_.depth), workspace_, options_, isa_));
  }

  void run_naively() override {
    const std::int64_t L = shape_.length, D = shape_.depth;
    for (std::int64_t start = 0; start < shape_.heads * L * D; start += L * D) {
      const std::int64_t rows = shape_.causal ? 1 : L;  // each with keys of its own
      for (std::int64_t i = 0; i < L; i += rows) {
        naive_attention(queries_.data() + start + i * D, keys_.data() + start, values_.data() + start,
                        result_.data() + start + i * D, rows, shape_.causal ? i + 1 : L, D, D);
      }
    }
  }

  reference::Comparison check() const override {
    reference::AttentionOptions options;
    const std::int64_t step = sampled(all(queries_), 2, 4).strides[2] / shape_.depth;
    const std::int64_t seen[] = {1, step + 1, 2 * step + 1, 3 * step + 1};
    if (shape_.causal) options.valid_lens = LengthsView(seen, 1, 4);  // of the sampled rows
    const reference::AttentionResult expected =
        reference::attention(sampled(all(queries_), 2, 4), all(keys_), all(values_), options);
    return reference::compare(sampled(all(result_), 2, 4), expected.output,
                              reference::core_bounds(expected, shape_.depth, reference::Data::random));
  }

 private:
  ConstTensorView all(const std::vector<float>& x) const {
    return ConstTensorView(x.data(), 1, shape_.heads, shape_.length, shape_.depth);
  }

  CoreShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  Isa isa_;
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> core_workload(const CoreShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<CoreWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
