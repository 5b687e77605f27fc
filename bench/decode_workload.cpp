// A few queries against a cache, its last tokens: the core, with grouped heads, over arrays or a KeyValueCache.
#include <algorithm>
#include <numeric>

#include "data.h"
#include "naive.h"
#include "reference/reference.h"
#include "workload.h"

namespace attend::bench {
namespace {

class DecodeWorkload : public Workload {
 public:
  DecodeWorkload(const DecodeShape& shape, Isa isa, const Threads& threads) : shape_(shape) {
    if (shape_.value_depth == 0) shape_.value_depth = shape_.depth;
    queries_ = random_floats(shape_.heads * shape_.queries * shape_.depth, unit_variance, 1);
    keys_ = random_floats(shape_.groups * shape_.keys * shape_.depth, unit_variance, 2);
    values_ = random_floats(shape_.groups * shape_.keys * shape_.value_depth, unit_variance, 3);
    result_ = unwritten_floats(shape_.heads * shape_.queries * shape_.value_depth);
    options_.causal = shape_.queries > 1;  // one query, the last, sees all
    if (shape_.cached) fill_cache();       // whose queries stand at its end
    else options_.offset = shape_.keys - shape_.queries;
    options_.threads = threads;
    options_.isa = isa;
  }

  void run() override {
    const ConstTensorView queries = rows(queries_, shape_.depth);
    const TensorView output(result_.data(), 1, shape_.heads, shape_.queries, shape_.value_depth);
    require(shape_.cached ? attention_cached(queries, cache_, IndexView(), output, workspace_, options_)
                          : attention(queries, keys(), values(), LengthsView(), output, workspace_, options_));
  }

  void run_naively() override {
    if (shape_.value_depth != shape_.depth) throw std::runtime_error("the naive loops have values as wide as keys");
    const std::int64_t D = shape_.depth, shared = shape_.heads / shape_.groups;
    std::vector<float> head_keys, head_values;
    for (std::int64_t h = 0; h < shape_.heads; ++h) {
      gather(keys(), h / shared, &head_keys);
      gather(values(), h / shared, &head_values);
      for (std::int64_t i = 0, row = h * shape_.queries; i < shape_.queries; ++i, ++row) {
        naive_attention(queries_.data() + row * D, head_keys.data(), head_values.data(), result_.data() + row * D, 1,
                        shape_.keys - shape_.queries + i + 1, D, D);
      }
    }
  }

  // The first group and the last one.
  reference::Comparison check() const override {
    const std::int64_t shared = shape_.heads / shape_.groups;
    reference::AttentionOptions options;
    options.causal = options_.causal;
    options.offset = shape_.keys - shape_.queries;
    reference::Comparison comparison;
    for (std::int64_t g = 0; g < shape_.groups; g += shape_.groups > 1 ? shape_.groups - 1 : 1) {
      const reference::AttentionResult expected =
          reference::attention(heads(rows(queries_, shape_.depth), g * shared, shared), heads(keys(), g, 1), heads(values(), g, 1), options);
      comparison = reference::compare(heads(rows(result_, shape_.value_depth), g * shared, shared), expected.output,
                                      reference::core_bounds(expected, shape_.depth, reference::Data::random));
      if (!comparison.ok) break;
    }
    return comparison;
  }

 private:
  void fill_cache() {
    KeyValueCacheConfig config;
    config.num_kv_heads = shape_.groups;
    config.head_dim = shape_.depth;
    config.value_dim = shape_.value_depth;
    config.capacity = shape_.keys;
    if (shape_.page_rows > 0) {
      pages_.resize(static_cast<std::size_t>((shape_.keys + shape_.page_rows - 1) / shape_.page_rows));
      std::iota(pages_.begin(), pages_.end(), 0);
      std::shuffle(pages_.begin(), pages_.end(), std::mt19937(4));
      config.page_rows = shape_.page_rows;
      config.page_count = static_cast<std::int64_t>(pages_.size());
      config.pages = IndexView(pages_.data(), 1, config.page_count);
    }
    config.type = shape_.type;
    if (shape_.type != CacheType::float32) config.low_precision = low_precision();
    require(KeyValueCache::make(config, &cache_));
    require(cache_.append(keys(), values()));
    round(&keys_, shape_.depth);
    round(&values_, shape_.value_depth);
  }
  // What is checked is attention over what the cache holds.
  void round(std::vector<float>* rows, std::int64_t width) const {
    if (shape_.type == CacheType::float32) return;
    const std::int64_t count = static_cast<std::int64_t>(rows->size());
    const reference::Array stored = reference::stored(ConstTensorView(rows->data(), count / width, width), shape_.type);
    std::transform(stored.values.begin(), stored.values.end(), rows->begin(), [](double x) { return static_cast<float>(x); });
  }
  ConstTensorView rows(const std::vector<float>& x, std::int64_t width) const {
    return ConstTensorView(x.data(), 1, shape_.heads, shape_.queries, width);
  }
  ConstTensorView keys() const { return tokens(keys_, shape_.depth); }
  ConstTensorView values() const { return tokens(values_, shape_.value_depth); }
  ConstTensorView tokens(const std::vector<float>& x, std::int64_t width) const {
    ConstTensorView view(x.data(), 1, shape_.groups, shape_.keys, width);
    if (shape_.token_major) {
      view.strides[1] = width;
      view.strides[2] = shape_.groups * width;
    }
    return view;
  }
  static ConstTensorView heads(ConstTensorView view, std::int64_t first, std::int64_t count) {
    view.data += first * view.strides[1];
    view.sizes[1] = count;
    return view;
  }
  void gather(const ConstTensorView& view, std::int64_t group, std::vector<float>* to) const {
    to->clear();
    for (std::int64_t j = 0; j < shape_.keys; ++j) {
      const float* row = view.data + group * view.strides[1] + j * view.strides[2];
      to->insert(to->end(), row, row + shape_.depth);
    }
  }

  DecodeShape shape_;
  std::vector<float> queries_, keys_, values_, result_;
  std::vector<std::int64_t> pages_;
  KeyValueCache cache_;  // empty where the arrays are read
  Workspace workspace_;
  AttentionOptions options_;
};

}  // namespace

std::unique_ptr<Workload> decode_workload(const DecodeShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<DecodeWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
