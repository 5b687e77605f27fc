// The scalar reference against PyTorch's golden files in float64: equal to 1e-12.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "reference/reference.h"
#include "test_data.h"

using namespace attend;
using namespace attend::reference;

namespace {

/// One case folder: its parameters and its tensors.
class GoldenCase {
 public:
  explicit GoldenCase(const std::string& name) : folder_(test_data("golden/" + name)) {
    std::ifstream file(folder_ + "/case.txt");
    std::string key, value;
    while (file >> key >> value) parameters_[key] = value;
    REQUIRE_MESSAGE(!parameters_.empty(), folder_ << "/case.txt cannot be read");
  }

  std::string text(const std::string& key) const {
    REQUIRE_MESSAGE(parameters_.count(key) == 1, folder_ << ": no " << key);
    return parameters_.at(key);
  }
  std::int64_t number(const std::string& key) const { return std::stoll(text(key)); }

  /// float32 or float64, as doubles.
  Array array(const std::string& tensor) const {
    io::Array file;
    const Status status = io::read_npy(folder_ + "/" + tensor + ".npy", &file);
    REQUIRE_MESSAGE(status.ok(), status.message());
    Array result;
    if (file.type == io::ElementType::float64) {
      result = Array::zeros(file.shape);
      REQUIRE(file.bytes.size() == result.values.size() * sizeof(double));
      if (!result.values.empty())
        std::memcpy(result.values.data(), file.bytes.data(), file.bytes.size());
    } else {
      REQUIRE(file.type == io::ElementType::float32);
      io::FloatTensor floats;
      const Status converted = io::to_float32(file, &floats);
      REQUIRE_MESSAGE(converted.ok(), converted.message());
      result = floats.view;
    }
    return result;
  }
  Array array_if(bool present, const std::string& tensor) const {
    return present ? array(tensor) : Array();
  }

  io::Int64Tensor lengths(const std::string& tensor) const {
    io::Array file;
    io::Int64Tensor result;
    const Status status = io::read_npy(folder_ + "/" + tensor + ".npy", &file);
    REQUIRE_MESSAGE(status.ok(), status.message());
    const Status converted = io::to_int64(file, &result);
    REQUIRE_MESSAGE(converted.ok(), converted.message());
    return result;
  }
  /// valid_lens.npy, or none with `lens none`.
  io::Int64Tensor valid_lens() const {
    return text("lens") == "none" ? io::Int64Tensor() : lengths("valid_lens");
  }

 private:
  std::string folder_;
  std::map<std::string, std::string> parameters_;
};

std::vector<std::string> case_names() {
  std::ifstream file(test_data("golden/cases.txt"));
  std::vector<std::string> names;
  std::string name;
  while (file >> name) names.push_back(name);
  return names;
}

void check_close(const Array& actual, const Array& expected) {
  double largest = 0.0;
  for (double value : expected.values) largest = std::max(largest, std::abs(value));
  const Comparison comparison = compare(actual, expected, 1e-12 * largest);
  CHECK_MESSAGE(comparison.ok, comparison.message);
}

/// `count` rows of a matrix or entries of a vector, from row `first` on.
Array rows(const Array& x, std::int64_t first, std::int64_t count) {
  if (x.absent()) return x;
  Shape shape = x.shape;
  shape[0] = count;
  const std::int64_t width = x.count() / x.size(0);
  return Array(shape, std::vector<double>(x.values.begin() + first * width,
                                          x.values.begin() + (first + count) * width));
}

void check_mha(const GoldenCase& golden) {
  const bool bias = golden.number("bias") != 0;
  LayerWeights weights;
  weights.query = golden.array("W_q.weight");
  weights.key = golden.array("W_k.weight");
  weights.value = golden.array("W_v.weight");
  weights.output = golden.array("W_o.weight");
  weights.query_bias = golden.array_if(bias, "W_q.bias");
  weights.key_bias = golden.array_if(bias, "W_k.bias");
  weights.value_bias = golden.array_if(bias, "W_v.bias");
  weights.output_bias = golden.array_if(bias, "W_o.bias");
  const io::Int64Tensor lens = golden.valid_lens();
  reference::AttentionOptions options;
  options.valid_lens = lens.view;
  options.empty_rows = EmptyRows::uniform;  // as the book's masking with -1e6 gives
  const LayerResult result =
      multi_head_attention(weights, golden.number("num_heads"), golden.array("queries"),
                           golden.array("keys"), golden.array("values"), options);
  check_close(result.output, golden.array("output"));
  check_close(result.attention.weights, golden.array("attention_weights"));
}

void check_torch_mha(const GoldenCase& golden) {
  const bool bias = golden.number("bias") != 0, packed = golden.number("packed") != 0;
  const std::int64_t E = golden.number("embed_dim");
  LayerWeights weights;
  if (packed) {
    const Array in_proj = golden.array("in_proj_weight");
    weights.query = rows(in_proj, 0, E);
    weights.key = rows(in_proj, E, E);
    weights.value = rows(in_proj, 2 * E, E);
  } else {
    weights.query = golden.array("q_proj_weight");
    weights.key = golden.array("k_proj_weight");
    weights.value = golden.array("v_proj_weight");
  }
  const Array in_proj_bias = golden.array_if(bias, "in_proj_bias");
  weights.query_bias = rows(in_proj_bias, 0, E);
  weights.key_bias = rows(in_proj_bias, E, E);
  weights.value_bias = rows(in_proj_bias, 2 * E, E);
  weights.output = golden.array("out_proj.weight");
  weights.output_bias = golden.array_if(bias, "out_proj.bias");
  const io::Int64Tensor lens = golden.valid_lens();
  reference::AttentionOptions options;
  options.valid_lens = lens.view;
  const LayerResult result =
      multi_head_attention(weights, golden.number("num_heads"), golden.array("query"),
                           golden.array("key"), golden.array("value"), options);
  check_close(result.output, golden.array("output"));
  check_close(result.attention.weights, golden.array("attention_weights"));
}

void check_dot_product_attention(const GoldenCase& golden) {
  const Array queries = golden.array("queries"), keys = golden.array("keys"),
              values = golden.array("values");
  const Array output = golden.array("output"), weights = golden.array("attention_weights");
  const io::Int64Tensor lens = golden.valid_lens();
  const DotProductAttentionResult result = dot_product_attention(queries, keys, values, lens.view);
  check_close(result.output, output);
  check_close(result.weights, weights);

  // The core says the same, its empty rows uniform.
  const auto one_head = [](const Array& x) {
    return x.reshaped({x.size(0), 1, x.size(1), x.size(2)});
  };
  reference::AttentionOptions options;
  options.valid_lens = lens.view;
  options.empty_rows = EmptyRows::uniform;
  const AttentionResult core =
      attention(one_head(queries), one_head(keys), one_head(values), options);
  check_close(core.output.reshaped(output.shape), output);
  check_close(core.weights.reshaped(weights.shape), weights);
}

}  // namespace

TEST_CASE("reference: every golden file of PyTorch's") {
  const std::vector<std::string> names = case_names();
  REQUIRE_MESSAGE(!names.empty(),
                  "no golden/cases.txt: run at the repository's root, or set ATTEND_TEST_DATA");
  for (const std::string& name : names) {
    CAPTURE(name);
    const GoldenCase golden(name);
    const std::string kind = golden.text("kind");
    if (kind == "mha") {
      check_mha(golden);
    } else if (kind == "torch_mha") {
      check_torch_mha(golden);
    } else if (kind == "dot_product_attention") {
      check_dot_product_attention(golden);
    } else if (kind == "masked_softmax") {
      const io::Int64Tensor lens = golden.valid_lens();
      check_close(masked_softmax(golden.array("X"), lens.view), golden.array("output"));
    } else if (kind == "sequence_mask") {
      const io::Int64Tensor lens = golden.lengths("valid_len");
      check_close(sequence_mask(golden.array("X"), lens.view, std::stod(golden.text("value"))),
                  golden.array("output"));
    } else {
      FAIL_CHECK("a golden case of an unknown kind: " << kind);
    }
  }
}
