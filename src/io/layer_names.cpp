// Finds the weights of one attention layer in a .safetensors file by their names.
#include "io/layer_names.h"

#include "io/guarded.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace attend::io {

namespace {

constexpr int query = 0, key = 1, value = 2, output = 3;

/// The names of the four projections. Where query, key and value have the same name, they are the
/// thirds of one tensor's rows. Where a bias has no name, there is none.
struct Convention {
  const char* name;
  const char* weights[4];
  const char* biases[4];
  bool grouped;  // whether keys and values may have fewer heads than queries
  bool scaled = true;  // whether scores are divided by sqrt(D)

  bool packed() const { return weights[query] == std::string_view(weights[key]); }
  bool packed_bias() const { return biases[query] == std::string_view(biases[key]); }
};

constexpr Convention conventions[] = {
    {"D2L",
     {"W_q.weight", "W_k.weight", "W_v.weight", "W_o.weight"},
     {"W_q.bias", "W_k.bias", "W_v.bias", "W_o.bias"},
     false},
    {"torch",
     {"in_proj_weight", "in_proj_weight", "in_proj_weight", "out_proj.weight"},
     {"in_proj_bias", "in_proj_bias", "in_proj_bias", "out_proj.bias"},
     false},
    {"torch (separate)",
     {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
     {"in_proj_bias", "in_proj_bias", "in_proj_bias", "out_proj.bias"},
     false},
    {"BERT",
     {"self.query.weight", "self.key.weight", "self.value.weight", "output.dense.weight"},
     {"self.query.bias", "self.key.bias", "self.value.bias", "output.dense.bias"},
     false},
    {"Llama",
     {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"},
     {"q_proj.bias", "k_proj.bias", "v_proj.bias", "o_proj.bias"},
     true},
    {"CLIP",
     {"q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight"},
     {"q_proj.bias", "k_proj.bias", "v_proj.bias", "out_proj.bias"},
     true},
    // Without biases: other models have these names with biases, and divide by sqrt(D).
    {"T5", {"q.weight", "k.weight", "v.weight", "o.weight"}, {}, true, false},
};

/// The first weight that is missing; null if the convention matches.
const char* missing_weight(const SafetensorsFile& file, const std::string& prefix,
                           const Convention& convention, int* found) {
  const char* missing = nullptr;
  *found = 0;
  for (const char* weight : convention.weights) {
    if (file.find(prefix + weight) != nullptr) ++*found;
    else if (missing == nullptr) missing = weight;
  }
  return missing;
}

bool matches(const SafetensorsFile& file, const std::string& prefix, const Convention& convention) {
  int found;
  return missing_weight(file, prefix, convention, &found) == nullptr;
}

/// Prefixes under which a convention matches, without final dots: first those below `dotted`, then
/// by distance.
std::vector<std::string> nearest_prefixes(const SafetensorsFile& file, std::string_view dotted) {
  constexpr std::size_t compared = 256, most = 3;
  std::vector<std::pair<std::size_t, std::string>> candidates;
  for (const SafetensorsEntry& entry : file.entries()) {
    for (const Convention& convention : conventions) {
      const std::string_view name = entry.name, suffix = convention.weights[query];
      if (name.size() < suffix.size()) continue;
      std::string candidate(name.substr(0, name.size() - suffix.size()));
      if (name.substr(candidate.size()) != suffix) continue;
      if (!candidate.empty() && candidate.back() != '.') continue;
      if (!matches(file, candidate, convention)) continue;
      const std::size_t distance =
          candidate.compare(0, dotted.size(), dotted) == 0
              ? 0
              : edit_distance(dotted.substr(0, compared), candidate.substr(0, compared));
      if (!candidate.empty()) candidate.pop_back();
      candidates.emplace_back(distance, std::move(candidate));
    }
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::vector<std::string> nearest;
  for (std::size_t i = 0; i < std::min(most, candidates.size()); ++i) {
    nearest.push_back(candidates[i].second);
  }
  return nearest;
}

Status error(const SafetensorsFile& file, const std::string& what) {
  return Status::error(StatusCode::invalid_argument, "%s: %s", quoted(file.path()).c_str(),
                       what.c_str());
}

Status no_layer(const SafetensorsFile& file, const std::string& dotted) {
  const std::string prefix = dotted.substr(0, dotted.empty() ? 0 : dotted.size() - 1);
  std::string what = "no attention layer under prefix " + quoted(prefix);
  int most = 0;
  std::string nearly;
  for (const Convention& convention : conventions) {
    int found;
    const char* missing = missing_weight(file, dotted, convention, &found);
    if (found <= most) continue;
    most = found;
    nearly = std::string(" (") + convention.name + " names lack " + quoted(missing) + ")";
  }
  what += nearly;
  std::string separator = "; try ";
  for (const std::string& candidate : nearest_prefixes(file, dotted)) {
    what += separator + quoted(candidate);
    separator = ", ";
  }
  if (separator == "; try ") what += ", nor under any other";
  return error(file, what);
}

/// Reads tensors under one prefix into a layer, checking their shapes.
struct LayerReader {
  const SafetensorsFile& file;
  const std::string& prefix;
  LayerWeights* layer;
  std::set<std::string> used = {};  // whole names

  /// Sizes of 0 in `expected` stand for any size from 1 on.
  Status read(const char* name, const std::vector<std::int64_t>& expected, FloatTensor* tensor) {
    const std::vector<std::int64_t>& shape = file.find(prefix + name)->shape;
    bool fits = shape.size() == expected.size();
    for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
      fits = expected[axis] == 0 ? shape[axis] > 0 : shape[axis] == expected[axis];
    }
    if (!fits) {
      std::string text, separator = "(";
      for (std::int64_t size : expected) {
        text += separator + (size == 0 ? "*" : std::to_string(size));
        separator = ", ";
      }
      return wrong_shape(name, text + (expected.size() == 1 ? ",)" : ")"));
    }
    used.insert(prefix + name);
    return file.read(prefix + name, tensor);
  }

  /// The same, kept in the layer's tensors.
  Status read(const char* name, const std::vector<std::int64_t>& expected, ConstTensorView* view) {
    FloatTensor tensor;
    const Status status = read(name, expected, &tensor);
    if (!status.ok()) return status;
    *view = tensor.view;
    layer->tensors.push_back(std::move(tensor));
    return {};
  }

  Status wrong_shape(const char* name, const std::string& expected) {
    return error(file, "tensor " + quoted(prefix + name) + ": shape " +
                           shape_text(file.find(prefix + name)->shape) + ", expected " + expected);
  }

  bool has(const char* name) const { return file.find(prefix + name) != nullptr; }

  std::vector<std::string> unused() const {
    std::vector<std::string> names;
    for (const SafetensorsEntry& entry : file.entries()) {
      const bool below = entry.name.compare(0, prefix.size(), prefix) == 0;
      if (below && used.count(entry.name) == 0) names.push_back(entry.name);
    }
    return names;
  }
};

/// The third of a view's rows that is the query's (0), the key's or the value's.
ConstTensorView third(ConstTensorView view, int which) {
  view.sizes[0] /= 3;
  view.data += which * view.sizes[0] * view.strides[0];
  return view;
}

Status read_layer(const Convention& convention, LayerReader reader) {
  LayerWeights* layer = reader.layer;
  MultiHeadAttentionWeights& weights = layer->weights;
  ConstTensorView* const matrices[] = {&weights.query, &weights.key, &weights.value,
                                       &weights.output};
  ConstTensorView* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias,
                                     &weights.output_bias};
  const char* const* names = convention.weights;
  Status status = reader.read(names[query], {0, 0}, &weights.query);
  if (!status.ok()) return status;
  if (convention.packed()) {
    const ConstTensorView whole = weights.query;
    if (whole.sizes[0] != 3 * whole.sizes[1]) {
      return reader.wrong_shape(names[query], "three times as many rows as columns");
    }
    for (int which : {query, key, value}) *matrices[which] = third(whole, which);
  } else {
    const std::int64_t rows = weights.query.sizes[0];
    status = reader.read(names[key], {convention.grouped ? 0 : rows, 0}, &weights.key);
    if (status.ok() && rows % weights.key.sizes[0] != 0) {
      status = reader.wrong_shape(
          names[key], std::to_string(rows) + " rows as the query's, or a divisor of that");
    }
    if (status.ok()) status = reader.read(names[value], {weights.key.sizes[0], 0}, &weights.value);
  }
  const std::int64_t hiddens = weights.query.sizes[0];
  if (status.ok()) status = reader.read(names[output], {convention.grouped ? 0 : hiddens, hiddens}, &weights.output);

  const bool norms_queries = reader.has("q_norm.weight"), norms_keys = reader.has("k_norm.weight");
  layer->config.qk_norm = norms_queries || norms_keys;
  if (layer->config.qk_norm) {
    layer->config.norm_queries = norms_queries;
    layer->config.norm_keys = norms_keys;
  }
  if (status.ok() && norms_queries) status = reader.read("q_norm.weight", {0}, &weights.query_norm);
  if (status.ok() && norms_keys) status = reader.read("k_norm.weight", {0}, &weights.key_norm);

  if (!convention.scaled) layer->scale = 1.0f;
  const char* sinks = "sinks";
  if (status.ok() && reader.has(sinks)) status = reader.read(sinks, {0}, &layer->sinks);
  const char* table = "relative_attention_bias.weight";
  if (status.ok() && reader.has(table)) status = reader.read(table, {0, 0}, &layer->relative_bias);

  for (int which : {query, key, value, output}) {
    const char* name = convention.biases[which];
    if (!status.ok() || name == nullptr || !reader.has(name)) continue;
    layer->config.bias = true;
    if (which == output || !convention.packed_bias()) {
      status = reader.read(name, {matrices[which]->sizes[0]}, biases[which]);
    } else if (which == query) {
      ConstTensorView whole;
      status = reader.read(name, {3 * hiddens}, &whole);
      for (int part : {query, key, value}) *biases[part] = third(whole, part);
    }
  }
  layer->config.key_size = weights.key.sizes[1];
  layer->config.query_size = weights.query.sizes[1];
  layer->config.value_size = weights.value.sizes[1];
  layer->config.num_hiddens = hiddens;
  if (status.ok()) layer->config.output_size = weights.output.sizes[0];
  layer->key_value_hiddens = weights.key.sizes[0];
  layer->convention = convention.name;
  layer->unused = reader.unused();
  return status;
}

}  // namespace

Status find_layer(const SafetensorsFile& file, const std::string& prefix,
                  LayerWeights* layer) noexcept {
  return guarded([&]() -> Status {
    const std::string dotted = prefix.empty() || prefix.back() == '.' ? prefix : prefix + '.';
    const Convention* chosen = nullptr;
    for (const Convention& convention : conventions) {
      if (!matches(file, dotted, convention)) continue;
      if (chosen != nullptr) {
        return error(file, "two layers under prefix " + quoted(prefix) + ", named as " +
                               chosen->name + " and as " + convention.name + " name them");
      }
      chosen = &convention;
    }
    if (chosen == nullptr) return no_layer(file, dotted);
    LayerWeights read;
    const Status status = read_layer(*chosen, {file, dotted, &read});
    if (status.ok()) *layer = std::move(read);
    return status;
  });
}

}  // namespace attend::io
