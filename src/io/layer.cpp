// The weights of one attention layer, found in a .safetensors file by their names, and the layer made of them.
#include "attend/io.hpp"

#include "io/architecture.h"
#include "io/blocks.h"
#include "io/file_matrix.h"
#include "io/guarded.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

namespace attend::io {

namespace {

constexpr int query = 0, key = 1, value = 2, output = 3;

/// How one tensor holds the rows of queries, keys and values.
enum class Rows {
  in_order,     // the queries', the keys', the values'
  by_key_head,  // for each head of keys: its heads of queries, its keys, its values
};

/// The names of the four projections. Where query, key and value have the same name, they are rows of one tensor. Where a bias
/// has no name, there is none.
struct Convention {
  const char* name;
  const char* weights[4];
  const char* biases[4];
  bool grouped;  // whether keys and values may have fewer heads than queries
  bool scaled = true;  // whether scores are divided by sqrt(D)
  Rows rows = Rows::in_order;
  bool transposed = false;            // whether matrices are stored (in, out)
  const char* buffers[2] = {"", ""};  // tensors that are no weights: masks that options.causal stands for
  bool of_gguf = false;               // of the blocks of GGUF files, and of no others
  const char *query_norm = "q_norm.weight", *key_norm = "k_norm.weight", *sinks = "sinks";

  bool packed() const { return weights[query] == std::string_view(weights[key]); }
  bool packed_bias() const { return biases[query] == std::string_view(biases[key]); }
};

#define ATTEND_SEPARATE(q, k, v, o) {q ".weight", k ".weight", v ".weight", o ".weight"}, {q ".bias", k ".bias", v ".bias", o ".bias"}
#define ATTEND_PACKED(qkv, o) ATTEND_SEPARATE(qkv, qkv, qkv, o)
constexpr Convention conventions[] = {
    {"D2L", ATTEND_SEPARATE("W_q", "W_k", "W_v", "W_o"), false},
    {"torch",
     {"in_proj_weight", "in_proj_weight", "in_proj_weight", "out_proj.weight"},
     {"in_proj_bias", "in_proj_bias", "in_proj_bias", "out_proj.bias"},
     false},
    {"torch (separate)",
     {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
     {"in_proj_bias", "in_proj_bias", "in_proj_bias", "out_proj.bias"},
     false},
    {"BERT", ATTEND_SEPARATE("self.query", "self.key", "self.value", "output.dense"), false},
    {"ViT", ATTEND_SEPARATE("attention.query", "attention.key", "attention.value", "output.dense"), false},
    {"DistilBERT", ATTEND_SEPARATE("q_lin", "k_lin", "v_lin", "out_lin"), false},
    {"Llama", ATTEND_SEPARATE("q_proj", "k_proj", "v_proj", "o_proj"), true},
    {"CLIP", ATTEND_SEPARATE("q_proj", "k_proj", "v_proj", "out_proj"), true},
    // T5 has no biases: other models have these names with biases, and divide by sqrt(D).
    {"T5", {"q.weight", "k.weight", "v.weight", "o.weight"}, {}, true, false},
    {"GPT-2", ATTEND_PACKED("c_attn", "c_proj"), false, true, Rows::in_order, true, {"bias", "masked_bias"}},
    {"timm", ATTEND_PACKED("qkv", "proj"), false},
    {"Phi-3", ATTEND_PACKED("qkv_proj", "o_proj"), true},
    {"MPT", ATTEND_PACKED("Wqkv", "out_proj"), true},
    {"Falcon", ATTEND_PACKED("query_key_value", "dense"), true, true, Rows::by_key_head, false, {"bias", "masked_bias"}},
    {"GGUF", ATTEND_SEPARATE("attn_q", "attn_k", "attn_v", "attn_output"), true, true, Rows::in_order, false, {"", ""}, true,
     "attn_q_norm.weight", "attn_k_norm.weight", "attn_sinks.weight"},
    {"GGUF (packed)", ATTEND_PACKED("attn_qkv", "attn_output"), true, true, Rows::in_order, false, {"", ""}, true,
     "attn_q_norm.weight", "attn_k_norm.weight", "attn_sinks.weight"},
};
#undef ATTEND_PACKED
#undef ATTEND_SEPARATE

/// A prefix as it stands before names.
std::string with_dot(const std::string& prefix) { return prefix.empty() || prefix.back() == '.' ? prefix : prefix + '.'; }

/// The first weight that is missing; null if the convention matches.
const char* missing_weight(const TensorFile& file, const std::string& prefix,
                           const Convention& convention, int* found) {
  const char* missing = nullptr;
  *found = 0;
  for (const char* weight : convention.weights) {
    if (find_matrix(file, prefix + weight) != nullptr) ++*found;
    else if (missing == nullptr) missing = weight;
  }
  return missing;
}

bool is_gguf(const TensorFile& file) { return !file.model().architecture.empty(); }

bool matches(const TensorFile& file, const std::string& prefix, const Convention& convention) {
  int found;
  return convention.of_gguf == is_gguf(file) && missing_weight(file, prefix, convention, &found) == nullptr;
}

/// How far a name is from a prefix, by the first so many letters of both; 0 where it begins with the prefix.
std::size_t distance_of(std::string_view dotted, std::string_view name, std::size_t compared) {
  if (name.substr(0, dotted.size()) == dotted) return 0;
  return edit_distance(dotted.substr(0, compared), name.substr(0, compared));
}

/// Prefixes under which a convention matches, with their final dots, each once.
std::set<std::string> all_prefixes(const TensorFile& file) {
  std::set<std::string> prefixes;
  for (const TensorEntry& entry : file.entries()) {
    for (const Convention& convention : conventions) {
      const std::string_view name = entry.name, suffix = convention.weights[query];
      const std::size_t at = name.rfind(suffix);
      if (at == name.npos || (name.size() != at + suffix.size() && name.substr(at + suffix.size()) != "_packed")) continue;
      std::string candidate(name.substr(0, at));
      if (!candidate.empty() && candidate.back() != '.') continue;
      if (matches(file, candidate, convention)) prefixes.insert(std::move(candidate));
    }
  }
  return prefixes;
}

std::string without_dot(std::string prefix) {
  if (!prefix.empty()) prefix.pop_back();
  return prefix;
}

/// All of them in quotes: those below `dotted`, then the others by distance.
std::vector<std::string> nearest_first(const std::vector<std::string>& names, std::string_view dotted, std::size_t compared) {
  std::vector<std::pair<std::size_t, std::string>> by_distance;
  for (const std::string& name : names) by_distance.emplace_back(distance_of(dotted, name, compared), name);
  std::sort(by_distance.begin(), by_distance.end());
  std::vector<std::string> nearest;
  for (const auto& [distance, name] : by_distance) nearest.push_back(quoted(name));
  return nearest;
}

Status error(const TensorFile& file, const std::string& what) { return file_error(file.path(), what); }

/// What to say of "model-00001-of-00003.safetensors" first: the rest of it may have the layer.
std::string whole_of_shard(const std::string& path) {
  constexpr std::string_view pattern = "-#####-of-#####.safetensors";
  bool fits = path.size() > pattern.size();
  for (std::size_t i = 0; fits && i < pattern.size(); ++i) {
    const char letter = path[path.size() - pattern.size() + i];
    fits = pattern[i] == '#' ? letter >= '0' && letter <= '9' : letter == pattern[i];
  }
  return fits ? "one of several, which its .safetensors.index.json opens together: " : "";
}

Status no_layer(const TensorFile& file, const std::string& dotted) {
  const std::string prefix = dotted.substr(0, dotted.empty() ? 0 : dotted.size() - 1);
  const std::string shard = whole_of_shard(file.path());
  std::string what = shard + "no attention layer under prefix " + quoted(prefix, 48);
  int most = 0;
  std::string nearly;
  for (const Convention& convention : conventions) {
    int found;
    const char* missing = missing_weight(file, dotted, convention, &found);
    if (found <= most || convention.of_gguf != is_gguf(file)) continue;
    most = found;
    nearly = std::string(" (") + convention.name + " names lack " + quoted(missing) + ")";
  }
  // Each part is there as a whole or not at all.
  const auto room_after = [&](const std::string& before) { return room_beside(file.path(), what.size() + before.size()); };
  const auto add = [&](const std::string& part) {
    if (part.size() <= room_after("")) what += part;
  };
  const auto add_list = [&](const std::string& before, const std::vector<std::string>& names, std::size_t most) {
    if (!names.empty()) add(before + listed(names, std::min(most, room_after(before))));
  };
  add(nearly);
  std::vector<std::string> prefixes, names, families;
  for (const std::string& candidate : all_prefixes(file)) prefixes.push_back(without_dot(candidate));
  if (prefixes.empty() && shard.empty()) {
    for (const TensorEntry& entry : file.entries()) names.push_back(entry.name);
    for (const Convention& convention : conventions) {
      if (std::strchr(convention.name, '(') != nullptr) continue;  // another form of the one before
      if (convention.of_gguf == is_gguf(file)) families.push_back(convention.name);
    }
    add(" or another");
  }
  add_list("; try ", nearest_first(prefixes, dotted, 256), longest_message);
  add_list("; there are ", nearest_first(names, dotted, 48), 64);
  add_list("; names known: ", families, longest_message);
  return error(file, what);
}

/// Whether a tensor of a GGUF file's block is of its attention: not of what comes before it or after it.
bool is_of_attention(std::string_view name) {
  const auto begins = [&](std::string_view with) { return name.substr(0, with.size()) == with; };
  return begins("attn_") && !begins("attn_norm") && !begins("attn_output_norm") && !begins("attn_post_norm");
}

/// Reads tensors under one prefix into a layer, checking their shapes.
struct LayerReader {
  const TensorFile& file;
  const std::string& prefix;
  LayerWeights* layer;
  std::set<std::string> used = {};  // whole names

  /// Sizes of 0 in `expected` stand for any size from 1 on.
  Status check_shape(const char* name, const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& expected) const {
    bool fits = shape.size() == expected.size();
    for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
      fits = expected[axis] == 0 ? shape[axis] > 0 : shape[axis] == expected[axis];
    }
    if (fits) return {};
    std::string text, separator = "(";
    for (std::int64_t size : expected) {
      text += separator + (size == 0 ? "*" : std::to_string(size));
      separator = ", ";
    }
    return wrong_shape(name, shape, text + (expected.size() == 1 ? ",)" : ")"));
  }

  Status read(const char* name, const std::vector<std::int64_t>& expected, FloatTensor* tensor) {
    const Status status = check_shape(name, file.find(prefix + name)->shape, expected);
    if (!status.ok()) return status;
    used.insert(prefix + name);
    return file.read(prefix + name, tensor);
  }

  /// Reads a tensor that the layer keeps.
  Status read(const char* name, const std::vector<std::int64_t>& expected, ConstTensorView* view) {
    FloatTensor tensor;
    const Status status = read(name, expected, &tensor);
    if (!status.ok()) return status;
    *view = tensor.view;
    layer->tensors.push_back(std::move(tensor));
    return {};
  }

  /// Reads a matrix, with its scales; `expected` is its shape in the file.
  Status read(const char* name, const std::vector<std::int64_t>& expected, bool transposed, FileMatrix* matrix) {
    std::vector<std::int64_t> shape;
    std::vector<std::string> names;
    Status status = read_matrix_shape(file, prefix + name, &shape);
    if (status.ok()) status = check_shape(name, shape, expected);
    if (status.ok()) status = read_matrix(file, prefix + name, transposed, layer, &names, matrix);
    if (!status.ok()) return status;
    layer->matrices.push_back(*matrix);
    used.insert(names.begin(), names.end());
    return {};
  }

  Status wrong_shape(const char* name, const std::vector<std::int64_t>& shape, const std::string& expected) const {
    return tensor_error(file.path(), prefix + name, "shape " + shape_text(shape) + ", expected " + expected);
  }
  Status wrong_shape(const char* name, const std::string& expected) const {
    std::vector<std::int64_t> shape;
    const Status status = read_matrix_shape(file, prefix + name, &shape);
    return status.ok() ? wrong_shape(name, shape, expected) : status;
  }

  bool has(const char* name) const { return file.find(prefix + name) != nullptr; }

  /// All other tensors under the prefix, but for the convention's buffers.
  std::vector<std::string> unused(const Convention& convention) const {
    std::vector<std::string> names;
    for (const TensorEntry& entry : file.entries()) {
      const bool below = entry.name.compare(0, prefix.size(), prefix) == 0;
      const bool buffer = entry.name == prefix + convention.buffers[0] || entry.name == prefix + convention.buffers[1];
      if (convention.of_gguf && !is_of_attention(std::string_view(entry.name).substr(std::min(prefix.size(), entry.name.size())))) continue;
      if (below && !buffer && used.count(entry.name) == 0) names.push_back(entry.name);
    }
    return names;
  }
};

/// The rows of queries, keys and values in one tensor.
struct RowSplit {
  std::int64_t hiddens = 0, key_hiddens = 0;  // rows of the queries; of the keys, and of the values

  std::int64_t first(int which) const { return which == query ? 0 : which == key ? hiddens : hiddens + key_hiddens; }
  std::int64_t rows(int which) const { return which == query ? hiddens : key_hiddens; }
};

/// A copy whose row place_of(n) is row n; of a matrix, bias, scales or one head's norm.
template <class Element, class PlaceOf>
Tensor<Element> moved(const View<const Element>& view, PlaceOf place_of) {
  const std::int64_t columns = view.rank == 2 ? view.sizes[1] : 1;
  Tensor<Element> ordered;
  Element* to = ordered.own(std::vector<std::int64_t>(view.sizes, view.sizes + view.rank), static_cast<std::size_t>(view.sizes[0] * columns));
  for (std::int64_t row = 0; row < view.sizes[0]; ++row) {
    const Element* from = view.data + row * view.strides[0];
    std::copy(from, from + columns, to + place_of(row) * columns);
  }
  return ordered;
}

/// Gives rows their places, if a view is there, in memory that `tensors` keep.
template <class Element, class PlaceOf>
void move_rows(View<const Element>* view, std::vector<Tensor<Element>>* tensors, PlaceOf place_of) {
  if (view->absent()) return;
  tensors->push_back(moved(*view, place_of));
  *view = tensors->back().view;
}

/// All that a matrix has of its rows.
template <class PlaceOf>
void move_rows(FileMatrix* matrix, LayerWeights* layer, PlaceOf place_of) {
  move_rows(&matrix->floats, &layer->tensors, place_of);
  move_rows(&matrix->stored.halves, &layer->halves, place_of);
  move_rows(&matrix->stored.integers, &layer->integers, place_of);
  move_rows(&matrix->stored.scales, &layer->tensors, place_of);
  move_rows(&matrix->stored.nibbles, &layer->bytes, place_of);
  move_rows(&matrix->stored.zeros, &layer->bytes, place_of);
}

/// The count of a layer, of those of all or of each; 0 where the file says none.
std::int64_t count_of(const std::vector<std::int64_t>& counts, const std::string& prefix) {
  if (counts.size() < 2) return counts.empty() ? 0 : counts[0];
  const std::size_t digits = prefix.find_last_not_of("0123456789.") + 1;
  const std::int64_t layer = digits < prefix.size() && prefix.size() < digits + 9 ? std::atoll(prefix.c_str() + digits + (prefix[digits] == '.')) : -1;
  return layer >= 0 && layer < static_cast<std::int64_t>(counts.size()) ? counts[static_cast<std::size_t>(layer)] : 0;
}

/// How many elements of a head are rotated.
std::int64_t rotated_width(const ModelFacts& model, std::int64_t head_width) { return model.rotary_width == 0 ? head_width : model.rotary_width; }

Status read_layer(const Convention& convention, LayerReader reader, std::int64_t num_heads) {
  LayerWeights* layer = reader.layer;
  MultiHeadAttentionWeights& weights = layer->weights;
  ConstTensorView* const floats[] = {&weights.query, &weights.key, &weights.value, &weights.output};
  const StoredMatrix** const stored[] = {&weights.stored_query, &weights.stored_key, &weights.stored_value, &weights.stored_output};
  ConstTensorView* const biases[] = {&weights.query_bias, &weights.key_bias, &weights.value_bias,
                                     &weights.output_bias};
  const char* const* names = convention.weights;
  RowSplit split;
  FileMatrix matrices[4], whole;
  Status status = reader.read(names[query], {0, 0}, convention.transposed, convention.packed() ? &whole : &matrices[query]);
  if (!status.ok()) return status;
  // Where rows that come head of keys by head of keys have their place in order.
  const auto in_order = [&](std::int64_t row) {
    const std::int64_t width = split.hiddens / num_heads, kv_heads = split.key_hiddens / width, shared = num_heads / kv_heads;
    const std::int64_t group = row / width / (shared + 2), n = row / width % (shared + 2);
    return (n < shared ? group * shared + n : num_heads + (n - shared) * kv_heads + group) * width + row % width;
  };
  if (convention.packed()) {
    status = reader.read(names[output], {0, 0}, convention.transposed, &matrices[output]);
    if (!status.ok()) return status;
    const std::int64_t rows = whole.rows, hiddens = matrices[output].columns;
    split = {hiddens, (rows - hiddens) / 2};
    const bool fits = convention.grouped ? rows > hiddens && (rows - hiddens) % 2 == 0 && hiddens % split.key_hiddens == 0 : rows == 3 * hiddens;
    if (!fits) {
      return reader.wrong_shape(names[query], std::to_string(hiddens) + (convention.transposed ? " columns" : " rows") + " of queries, as wide as " +
                                                  quoted(names[output]) + " asks, and as many of keys and of values" +
                                                  (convention.grouped ? ", or a divisor of that" : ""));
    }
    if (convention.rows == Rows::by_key_head) {
      const std::int64_t width = num_heads > 0 ? hiddens / num_heads : 0;
      if (num_heads == 0) return reader.wrong_shape(names[query], "a number of heads that says which rows are whose: num_heads");
      if (width * num_heads != hiddens || split.key_hiddens % width != 0) {
        return reader.wrong_shape(names[query], "rows of " + std::to_string(num_heads) + " heads of queries, and of heads of keys and values as wide");
      }
      move_rows(&whole, layer, in_order);
    }
    for (int which : {query, key, value}) matrices[which] = whole.slice(split.first(which), split.rows(which));
  } else {
    const std::int64_t rows = matrices[query].rows;
    status = reader.read(names[key], {convention.grouped ? 0 : rows, 0}, false, &matrices[key]);
    if (!status.ok()) return status;
    const std::int64_t key_rows = matrices[key].rows;
    if (rows % key_rows != 0) return reader.wrong_shape(names[key], std::to_string(rows) + " rows as the query's, or a divisor of that");
    status = reader.read(names[value], {key_rows, 0}, false, &matrices[value]);
    if (status.ok()) status = reader.read(names[output], {convention.grouped ? 0 : rows, rows}, false, &matrices[output]);
    if (!status.ok()) return status;
    split = {rows, key_rows};
  }
  Rotation rotation = Rotation::none;
  const std::int64_t width = num_heads > 0 ? split.hiddens / num_heads : 0;
  std::int64_t rotated = 0;
  if (convention.of_gguf) {
    const ModelFacts& model = reader.file.model();
    if (!find_rotation(model.architecture, &rotation)) {
      const std::string what = "architecture " + quoted(model.architecture) + ": how its layers are rotated is not known here; there are ";
      return error(reader.file, what + listed(known_architectures(), room_beside(reader.file.path(), what.size())));
    }
    if (width * num_heads != split.hiddens || split.key_hiddens % width != 0 || (model.head_width != 0 && model.head_width != width)) {
      return reader.wrong_shape(names[query], "rows of " + std::to_string(num_heads) + " heads of queries, and of heads of keys and values as wide, as the file says");
    }
    rotated = rotated_width(model, width);
    if (rotation != Rotation::none && (rotated % 2 != 0 || rotated > width)) {
      return error(reader.file, model.architecture + ".rope.dimension_count: " + std::to_string(rotated) + ", expected an even number of at most a head's " + std::to_string(width));
    }
  }
  // Where rows of heads that lie for a rotation of (2n, 2n + 1) have their place for one of (n, n + R / 2).
  const auto by_halves = [&](std::int64_t row) {
    const std::int64_t n = row % width;
    return n < rotated ? row - n + n / 2 + n % 2 * (rotated / 2) : row;
  };
  const bool in_pairs = rotation == Rotation::pairs;
  for (int which : {query, key}) {
    if (in_pairs) move_rows(&matrices[which], layer, by_halves);
  }
  layer->projections.assign(matrices, matrices + 4);
  for (int which : {query, key, value, output}) {
    *floats[which] = matrices[which].floats;
    if (matrices[which].is_stored()) *stored[which] = &layer->projections[static_cast<std::size_t>(which)].stored;
  }
  const std::int64_t hiddens = split.hiddens;

  const bool norms_queries = reader.has(convention.query_norm), norms_keys = reader.has(convention.key_norm);
  layer->config.qk_norm = norms_queries || norms_keys;
  if (layer->config.qk_norm) {
    layer->config.norm_queries = norms_queries;
    layer->config.norm_keys = norms_keys;
  }
  if (status.ok() && norms_queries) status = reader.read(convention.query_norm, {0}, &weights.query_norm);
  if (status.ok() && norms_keys) status = reader.read(convention.key_norm, {0}, &weights.key_norm);
  for (ConstTensorView* norm : {&weights.query_norm, &weights.key_norm}) {
    if (in_pairs && norm->sizes[0] == width) move_rows(norm, &layer->tensors, by_halves);
  }

  if (!convention.scaled) layer->scale = 1.0f;
  const char* sinks = convention.sinks;
  if (status.ok() && reader.has(sinks)) status = reader.read(sinks, {0}, &layer->sinks);
  const char* table = "relative_attention_bias.weight";
  if (status.ok() && reader.has(table)) status = reader.read(table, {0, 0}, &layer->relative_bias);

  for (int which : {query, key, value, output}) {
    const char* name = convention.biases[which];
    if (!status.ok() || name == nullptr || !reader.has(name)) continue;
    layer->config.bias = true;
    if (which == output || !convention.packed_bias()) {
      status = reader.read(name, {matrices[which].rows}, biases[which]);
    } else if (which == query) {
      ConstTensorView packed;
      status = reader.read(name, {hiddens + 2 * split.key_hiddens}, &packed);
      if (!status.ok()) break;
      if (convention.rows == Rows::by_key_head) move_rows(&packed, &layer->tensors, in_order);
      for (int part : {query, key, value}) *biases[part] = packed.slice(0, split.first(part), split.rows(part));
    }
  }
  for (int which : {query, key}) {
    if (status.ok() && in_pairs) move_rows(biases[which], &layer->tensors, by_halves);
  }
  layer->config.key_size = matrices[key].columns;
  layer->config.query_size = matrices[query].columns;
  layer->config.value_size = matrices[value].columns;
  layer->config.num_hiddens = hiddens;
  layer->config.output_size = matrices[output].rows;
  layer->key_value_hiddens = split.key_hiddens;
  layer->convention = convention.name;
  layer->transposed = convention.transposed;
  layer->unused = reader.unused(convention);
  return status;
}

/// Sets the type of the layer's matrices and, of int4, their group: those of the options, or of the file.
Status choose_form(const TensorFile& file, const std::string& dotted, const Convention& convention, const LoadOptions& options, MultiHeadAttentionConfig* config) {
  config->weight_type = options.weight_type;
  config->weight_group = options.weight_group;
  if (!options.weight_type_of_file && options.weight_type != WeightType::int4) return {};
  const char* const type_names[] = {"float32", "bfloat16", "float16", "int8", "int4"};
  const TensorEntry *first = nullptr, *first_packed = nullptr;
  int groups = 32 + 64 + 128;
  const auto spelled = [&](const TensorEntry& entry, WeightType type) {
    return entry.dtype + (find_block_type(entry.dtype) == nullptr ? std::string() : std::string(", here ") + type_names[static_cast<int>(type)]);
  };
  for (const char* weight : convention.weights) {
    StoredForm found;
    if (!find_form(file, dotted + weight, &found)) continue;  // reading it says so
    const TensorEntry& entry = *find_matrix(file, dotted + weight);
    if (options.weight_type_of_file) {
      if (first != nullptr && found.type != config->weight_type) {
        return tensor_error(file.path(), entry.name, "stored as " + spelled(entry, found.type) + ", but " + quoted(first->name.substr(dotted.size())) + " as " + spelled(*first, config->weight_type) +
                               ": a layer's matrices have one type, which " + options.names.weight_type + " names");
      }
      first = &entry;
      config->weight_type = found.type;
    }
    if (found.type != WeightType::int4 || options.weight_group != 0) continue;
    if (first_packed != nullptr && (groups & found.groups) == 0) {
      return tensor_error(file.path(), entry.name, "in groups of another size than " + quoted(first_packed->name.substr(dotted.size())) + ": a layer's matrices have one, which " +
                             options.names.weight_group + " names");
    }
    first_packed = &entry;
    groups &= found.groups;
  }
  if (config->weight_type == WeightType::int4 && options.weight_group == 0) config->weight_group = first_packed == nullptr ? 32 : largest_group(groups);
  return {};
}

/// A tensor that changes every result, and that no option of a call stands for.
struct Indispensable {
  const char* name;  // under the prefix, or under "self." there
  const char* what;
};
constexpr Indispensable indispensables[] = {
    {"bias_k", "the key that nn.MultiheadAttention appends to each sequence by add_bias_kv, which attend does not have"},
    {"bias_v", "the value that nn.MultiheadAttention appends to each sequence by add_bias_kv, which attend does not have"},
    {"q_bias", "the queries' part of the bias, as BEiT stores it; attend reads qkv.bias"},
    {"v_bias", "the values' part of the bias, as BEiT stores it; attend reads qkv.bias"},
    {"logit_scale", "the temperature of attention by cosines, as Swin Transformer V2 has it, which attend does not have"},
    {"rel_pos_h", "a table of relative positions that queries are multiplied with, as SAM has it, which attend does not have"},
    {"rel_pos_w", "a table of relative positions that queries are multiplied with, as SAM has it, which attend does not have"},
    {"distance_embedding.weight", "a table of relative positions that queries are multiplied with, as BERT may have it, which attend does not have"},
};

/// Refuses unused tensors without which no result can be right, whether the caller ignores them or not.
Status check_indispensable(const TensorFile& file, const std::string& dotted, const std::vector<std::string>& unused) {
  const auto refuse = [&](const std::string& name, const std::string& what) {
    return tensor_error(file.path(), name, "it cannot be ignored, for it is " + what);
  };
  for (const std::string& name : unused) {
    for (const Indispensable& one : indispensables) {
      if (name == dotted + one.name || name == dotted + "self." + one.name) return refuse(name, one.what);
    }
    constexpr std::string_view bias = ".bias";
    if (name.size() < bias.size() || name.substr(name.size() - bias.size()) != bias) continue;
    const std::string weight = name.substr(0, name.size() - bias.size()) + ".weight";
    const TensorEntry* matrix = find_matrix(file, weight);
    if (matrix != nullptr && std::find(unused.begin(), unused.end(), matrix->name) == unused.end()) return refuse(name, "the bias of " + quoted(weight.substr(dotted.size())) + ", which attend uses without one");
  }
  return {};
}

/// The name less ".weight" or ".bias": ignored, it covers both.
std::string module_of(const std::string& name) {
  const std::size_t end = name.rfind('.');
  return end != std::string::npos && (name.substr(end) == ".weight" || name.substr(end) == ".bias") ? name.substr(0, end) : name;
}

/// Checks that the names to ignore are the tensors that the layer does not use, and no others.
Status check_ignored(const TensorFile& file, const LayerWeights& found, const LoadOptions& options) {
  const std::vector<std::string>&unused = found.unused, &ignored = options.ignored;
  const std::string &prefix = found.prefix, dotted = with_dot(prefix);
  const auto begins = [](const std::string& name, const std::string& with) { return name.compare(0, with.size(), with) == 0; };
  const auto covers = [&](const std::string& given, const std::string& name) {
    for (const std::string& whole : {given, dotted + given}) {
      if (name == whole || begins(name, whole + '.')) return true;
    }
    return false;
  };
  for (const std::string& given : ignored) {
    const auto covered = [&](const std::string& name) { return covers(given, name); };
    if (std::any_of(unused.begin(), unused.end(), covered)) continue;
    const auto& all = file.entries();
    const bool used = std::any_of(all.begin(), all.end(), [&](const auto& entry) { return begins(entry.name, dotted) && covered(entry.name); });
    return error(file, std::string(options.names.ignored) + ' ' + quoted(given) + (used ? std::string(": the layer uses it") : ": nothing has that name under prefix " + quoted(prefix)));
  }
  std::vector<std::string> names;
  std::string example;  // what covers the first one's weight and bias
  for (const std::string& name : unused) {
    const auto covering = [&](const std::string& given) { return covers(given, name); };
    if (std::any_of(ignored.begin(), ignored.end(), covering)) continue;
    names.push_back(quoted(name.substr(dotted.size())));
    if (names.size() == 1) example = module_of(name.substr(dotted.size()));
  }
  if (names.empty()) return {};
  const std::string before = "under prefix " + quoted(prefix, 48) + " the layer does not use ", after = std::string("; what may stay unused goes into ") + options.names.ignored + ": " + quoted(example, 48);
  return error(file, before + listed(names, room_beside(file.path(), before.size() + after.size())) + after);
}

/// How many heads of queries a layer has: what the caller says, or a GGUF file.
Status find_heads(const TensorFile& file, const std::string& prefix, const LoadOptions& options, std::int64_t* num_heads) {
  if (!is_gguf(file)) return {};
  const std::int64_t said = count_of(file.model().num_heads, prefix);
  if (*num_heads == 0) *num_heads = said;
  if (*num_heads == 0) return error(file, "no " + file.model().architecture + ".attention.head_count of that layer, expected " + options.names.num_heads);
  if (said != 0 && *num_heads != said) return error(file, std::string(options.names.num_heads) + ' ' + std::to_string(*num_heads) + ", but the file says " + std::to_string(said));
  return {};
}

/// How many heads of keys there are.
Status count_heads(const TensorFile& file, std::int64_t num_heads, const LoadOptions& options, LayerWeights* found) {
  const std::int64_t hiddens = found->config.num_hiddens, rows = found->key_value_hiddens;
  if (num_heads < 1 || hiddens % num_heads != 0) {
    const std::string given = std::string(options.names.num_heads) + ' ' + std::to_string(num_heads);
    return error(file, given + (num_heads < 1 ? ", expected 1 or more" : " does not divide the " + std::to_string(hiddens) + " columns of its queries"));
  }
  const std::int64_t width = hiddens / num_heads, kv_heads = options.num_kv_heads == 0 ? rows / width : options.num_kv_heads;
  if (kv_heads < 1 || rows != kv_heads * width || num_heads % kv_heads != 0) {
    return error(file, "the keys' " + std::to_string(rows) + " rows are no " + std::to_string(kv_heads) + " heads of the queries' width, " +
                           std::to_string(hiddens) + " / " + std::to_string(num_heads) + " = " + std::to_string(width) +
                           (kv_heads < 1 || num_heads % kv_heads != 0 ? std::string(", that ") + options.names.num_heads + " could share" : ""));
  }
  for (const ConstTensorView* norm : {&found->weights.query_norm, &found->weights.key_norm}) {
    if (norm->absent() || norm->sizes[0] == width) continue;
    return error(file, std::string(norm == &found->weights.query_norm ? "q_norm" : "k_norm") + ".weight of " + std::to_string(norm->sizes[0]) +
                           " elements norms all heads as one, as OLMo 2 does; there are norms of each head alone, of " + std::to_string(width));
  }
  const std::int64_t said = count_of(file.model().num_kv_heads, found->prefix);
  if (said != 0 && said != kv_heads) return error(file, "the keys' rows are " + std::to_string(kv_heads) + " heads, but the file says " + std::to_string(said));
  found->config.num_heads = num_heads;
  found->config.num_kv_heads = kv_heads;
  return {};
}

/// The rotation that a GGUF file says its layers have, with its frequencies in `memory`.
Status read_rotation(const TensorFile& file, const LoadOptions& options, LayerWeights* found, std::vector<float>* memory, std::vector<std::string>* remarks) {
  const ModelFacts& model = file.model();
  Rotation rotation = Rotation::none;
  if (!options.rotary.absent() || options.unrotated || !is_gguf(file) || !find_rotation(model.architecture, &rotation) || rotation == Rotation::none) return {};
  const std::int64_t width = rotated_width(model, found->config.num_hiddens / found->config.num_heads);
  const double base = model.rotary_base == 0.0 ? 10000.0 : model.rotary_base;
  RotaryScaling scaling;
  if (model.rotary_scaling == "linear") {
    scaling.kind = RotaryScalingKind::linear;
    scaling.factor = model.rotary_factor;
  } else if (!model.rotary_scaling.empty() && model.rotary_scaling != "none") {
    return error(file, model.architecture + ".rope.scaling.type " + quoted(model.rotary_scaling) + ": there are none and linear; " + options.names.rotary + " takes frequencies of your own");
  }
  memory->resize(static_cast<std::size_t>(width / 2));
  Status status = rotary_frequencies(width, base, scaling, TensorView(memory->data(), width / 2));
  if (!status.ok()) return error(file, std::string("its rotation: ") + status.message());
  const char* factors_name = "rope_freqs.weight";
  const bool has_factors = file.find(factors_name) != nullptr;
  if (has_factors) {
    FloatTensor factors;
    status = file.read(factors_name, {width / 2}, &factors);
    if (!status.ok()) return status;
    for (std::size_t n = 0; n < memory->size(); ++n) (*memory)[n] /= factors.view.data[n];
  }
  found->config.rotary.inverse_frequencies = ConstTensorView(memory->data(), width / 2);
  char text[160];
  std::snprintf(text, sizeof text, "rotated by frequencies of base %g over %lld elements of a head%s%s, as the file says", base, static_cast<long long>(width),
                model.rotary_scaling == "linear" ? ", scaled linearly" : "", has_factors ? ", divided by rope_freqs" : "");
  remarks->push_back(text);
  return {};
}

/// Tells of weights that are rotated in their model, by their names, and are not here.
std::string remark_of_rotation(const LayerWeights& found, const LoadOptions& options) {
  const std::string_view convention = found.convention;
  if (!found.config.rotary.absent() || options.unrotated || (convention != "Llama" && convention != "Phi-3")) return "";
  return "the weights have " + std::string(convention) + "'s names, whose layers rotate queries and keys to their positions; without " + options.names.rotary +
         " nothing is rotated (" + options.names.unrotated + " says that this is right)";
}

/// Tells of matrices that were blocks what became of their numbers, where they are not the layer's own.
std::string remark_of_blocks(const LayerWeights& found) {
  const FileMatrix* first = nullptr;
  int count = 0;
  std::string types;
  for (const FileMatrix& matrix : found.matrices) {
    if (matrix.is_stored() || find_block_type(matrix.dtype) == nullptr) continue;
    if (count++ == 0) first = &matrix;
    if (types.find(matrix.dtype) == std::string::npos) types += (types.empty() ? "" : ", ") + matrix.dtype;
  }
  if (first == nullptr) return "";
  const bool rounded = found.config.weight_type != WeightType::float32;
  return quoted(first->name) + (count > 1 ? " and " + std::to_string(count - 1) + " more are" : " is") + " of " + types + ": their numbers were " +
         (rounded ? "rounded to the layer's type" : "taken as float32");
}

/// Whether a tensor's name says that it is of a decoder, as "decoder.block.0.layer.0.SelfAttention.q.weight" does.
bool is_of_decoder(const std::string& name) { return ('.' + name).find(".decoder.") != std::string::npos; }

/// T5's table, where another layer of the file holds it.
Status read_relative_bias(const TensorFile& file, const LoadOptions& options, LayerWeights* found) {
  const std::string& name = options.relative_bias;
  const bool has = !found->relative_bias.view.absent();
  if (name.empty() && !has && std::string_view(found->convention) == "T5") {
    return error(file, "the layer is named as T5's are, and has no relative_attention_bias.weight; " + std::string(options.names.relative_bias) + " takes the name of the one that it shares, or none");
  }
  if (!name.empty() && has) return error(file, std::string(options.names.relative_bias) + ' ' + quoted(name) + ": the layer has one of its own");
  return name.empty() || name == "none" ? Status() : file.read(name, &found->relative_bias);
}

}  // namespace

Status find_prefixes(const TensorFile& file, std::vector<std::string>* prefixes) noexcept {
  return guarded([&]() -> Status {
    std::vector<std::string> found;
    for (const std::string& prefix : all_prefixes(file)) found.push_back(without_dot(prefix));
    std::sort(found.begin(), found.end(), [](const std::string& a, const std::string& b) { return a.size() != b.size() ? a.size() < b.size() : a < b; });
    *prefixes = std::move(found);
    return {};
  });
}

Status find_layer(const TensorFile& file, const std::string& prefix, LayerWeights* layer, std::int64_t num_heads,
                  const LoadOptions& options) noexcept {
  return guarded([&]() -> Status {
    const std::string dotted = with_dot(prefix);
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
    read.prefix = prefix;
    Status status = find_heads(file, prefix, options, &num_heads);
    if (!status.ok()) return status;
    read.config.num_heads = num_heads;
    read.weight_type_of_file = options.weight_type_of_file;
    status = choose_form(file, dotted, *chosen, options, &read.config);
    if (status.ok()) status = read_layer(*chosen, {file, dotted, &read}, num_heads);
    if (status.ok()) *layer = std::move(read);
    return status;
  });
}

Status make_layer(const TensorFile& file, LayerWeights found, std::int64_t num_heads, LoadedLayer* layer, const LoadOptions& options) noexcept {
  return guarded([&]() -> Status {
    if (layer == nullptr) return attend::Status::error(StatusCode::invalid_argument, "layer: null");
    if (options.weight_type_of_file && !found.weight_type_of_file) return error(file, "weight_type_of_file: find_layer was not given it");
    LoadedLayer loaded;
    Status status = check_indispensable(file, with_dot(found.prefix), found.unused);
    if (status.ok()) status = check_ignored(file, found, options);
    if (status.ok()) status = find_heads(file, found.prefix, options, &num_heads);
    if (status.ok()) status = count_heads(file, num_heads, options, &found);
    if (status.ok()) status = read_relative_bias(file, options, &found);
    std::vector<float> frequencies;
    found.config.rotary = options.rotary;
    if (status.ok()) status = read_rotation(file, options, &found, &frequencies, &loaded.remarks);
    if (!status.ok()) return status;
    found.config.isa = options.isa;
    found.config.dropout = options.dropout;
    const ModelFacts& model = file.model();
    const float epsilon = options.norm_epsilon != 0.0f ? options.norm_epsilon : static_cast<float>(model.norm_epsilon);
    if (epsilon != 0.0f) found.config.norm_epsilon = epsilon;
    if (!options.weight_type_of_file) found.config.weight_type = options.weight_type;
    if (options.weight_group != 0) found.config.weight_group = options.weight_group;
    found.config.arithmetic = options.arithmetic;
    const bool int4 = found.config.weight_type == WeightType::int4;
    found.config.low_precision = int4 && options.low_precision_int4 != nullptr ? options.low_precision_int4 : options.low_precision;
    status = MultiHeadAttention::make(found.config, found.weights, &loaded.attention);
    if (!status.ok()) return status;
    loaded.convention = found.convention;
    loaded.sinks = std::move(found.sinks);
    loaded.relative_bias = std::move(found.relative_bias);
    loaded.sinks.keep();
    loaded.relative_bias.keep();
    loaded.options.scale = model.scale > 0.0 ? static_cast<float>(model.scale) : found.scale;
    loaded.options.softcap = static_cast<float>(model.softcap);
    for (const std::string& remark : {remark_of_rotation(found, options), remark_of_blocks(found)}) {
      if (!remark.empty()) loaded.remarks.push_back(remark);
    }
    loaded.options.sinks = loaded.sinks.view;
    loaded.options.relative_position_bias.table = loaded.relative_bias.view;
    loaded.options.relative_position_bias.bidirectional = loaded.relative_bias.view.absent() || !is_of_decoder(with_dot(found.prefix));
    *layer = std::move(loaded);
    return {};
  });
}

Status load_layer(const std::string& path, const std::string& prefix, std::int64_t num_heads, LoadedLayer* layer,
                  const LoadOptions& options) noexcept {
  TensorFile file;
  LayerWeights found;
  Status status = TensorFile::open(path, &file);
  if (status.ok()) status = find_layer(file, prefix, &found, num_heads, options);
  return status.ok() ? make_layer(file, std::move(found), num_heads, layer, options) : status;
}

}  // namespace attend::io
