// A few queries against a cache, its last tokens: the core, with grouped heads.
#include "data.h"
#include "naive.h"
#include "reference/reference.h"
#include "workload.h"

namespace attend::bench {
namespace {

class DecodeWorkload : public Workload {
 public:
  DecodeWorkload(const DecodeShape& shape, Isa isa, const Threads& threads) : shape_(shape) {
    queries_ = random_floats(shape.heads * shape.queries * shape.depth, unit_variance, 1);
    keys_ = random_floats(shape.groups * shape.keys * shape.depth, unit_variance, 2);
    values_ = random_floats(shape.groups * shape.keys * shape.depth, unit_variance, 3);
    result_ = unwritten_floats(shape.heads * shape.queries * shape.depth);
    options_.causal = shape.queries > 1;  // one query, the last, sees all
    options_.offset = shape.keys - shape.queries;
    options_.threads = threads;
    options_.isa = isa;
  }

  void run() override {
    require(attention(rows(queries_), cache(keys_), cache(values_), LengthsView(), output(), workspace_, options_));
  }

  void run_naively() override {
    const std::int64_t D = shape_.depth, shared = shape_.heads / shape_.groups;
    std::vector<float> keys, values;
    for (std::int64_t h = 0; h < shape_.heads; ++h) {
      gather(keys_, h / shared, &keys);
      gather(values_, h / shared, &values);
      for (std::int64_t i = 0, row = h * shape_.queries; i < shape_.queries; ++i, ++row) {
        naive_attention(queries_.data() + row * D, keys.data(), values.data(), result_.data() + row * D, 1,
                        shape_.keys - shape_.queries + i + 1, D, D);
      }
    }
  }

  // The first group and the last one.
  reference::Comparison check() const override {
    const std::int64_t shared = shape_.heads / shape_.groups;
    reference::AttentionOptions options;
    options.causal = options_.causal;
    options.offset = options_.offset;
    reference::Comparison comparison;
    for (std::int64_t g = 0; g < shape_.groups; g += shape_.groups > 1 ? shape_.groups - 1 : 1) {
      const reference::AttentionResult expected =
          reference::attention(heads(rows(queries_), g * shared, shared), heads(cache(keys_), g, 1), heads(cache(values_), g, 1), options);
      comparison = reference::compare(heads(rows(result_), g * shared, shared), expected.output,
                                      reference::core_bounds(expected, shape_.depth, reference::Data::random));
      if (!comparison.ok) break;
    }
    return comparison;
  }

 private:
  ConstTensorView rows(const std::vector<float>& x) const { return ConstTensorView(x.data(), 1, shape_.heads, shape_.queries, shape_.depth); }
  TensorView output() { return TensorView(result_.data(), 1, shape_.heads, shape_.queries, shape_.depth); }
  ConstTensorView cache(const std::vector<float>& x) const {
    ConstTensorView view(x.data(), 1, shape_.groups, shape_.keys, shape_.depth);
    if (shape_.token_major) {
      view.strides[1] = shape_.depth;
      view.strides[2] = shape_.groups * shape_.depth;
    }
    return view;
  }
  static ConstTensorView heads(ConstTensorView view, std::int64_t first, std::int64_t count) {
    view.data += first * view.strides[1];
    view.sizes[1] = count;
    return view;
  }
  void gather(const std::vector<float>& from, std::int64_t group, std::vector<float>* to) const {
    const ConstTensorView view = cache(from);
    to->clear();
    for (std::int64_t j = 0; j < shape_.keys; ++j) {
      const float* row = view.data + group * view.strides[1] + j * view.strides[2];
      to->insert(to->end(), row, row + shape_.depth);
    }
  }

  DecodeShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> decode_workload(const DecodeShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<DecodeWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
