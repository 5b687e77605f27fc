// Loading layers whose matrices a .safetensors file packs as integers of 4 bits, as compressed-tensors does: as they are, or as the floats that
// they stand for; and what is refused.
#include <doctest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "engine_test.h"
#include "kernels/half_floats.h"

using namespace attend;
using namespace engine_test;

namespace {

constexpr std::int64_t H = 4, G = 2, D = 21, E = H * D;  // 84: no whole words, of columns or rows

std::int64_t up(std::int64_t count, std::int64_t step) { return (count + step - 1) / step; }

// A matrix of numbers, scales and zeros: of a group each, or (group 0) of a row.
struct Matrix {
  std::int64_t rows;
  int group;
  std::vector<int> numbers, zeros;
  std::vector<float> scales;

  Matrix(std::int64_t row_count, int size, bool has_zeros, Random& random) : rows(row_count), group(size) {
    for (std::int64_t n = 0; n < rows * E; ++n) numbers.push_back(static_cast<int>(random.between(0, 15)));
    for (std::int64_t n = 0; n < rows * groups(); ++n) {
      scales.push_back(float_from_bfloat16(bfloat16_from_float(0.05f * random.number())));
      zeros.push_back(has_zeros ? static_cast<int>(random.between(0, 15)) : 8);
    }
  }
  std::int64_t groups() const { return group == 0 ? 1 : up(E, group); }
  std::size_t group_of(std::int64_t n, std::int64_t k) const { return static_cast<std::size_t>(n * groups() + (group == 0 ? 0 : k / group)); }
  int number(std::int64_t n, std::int64_t k) const { return numbers[static_cast<std::size_t>(n * E + k)]; }
};

// Rows of matrices, as a tensor has them.
using Rows = std::vector<std::pair<const Matrix*, std::int64_t>>;

void add(Rows* rows, const Matrix& matrix, std::int64_t first, std::int64_t count) {
  for (std::int64_t n = first; n < first + count; ++n) rows->emplace_back(&matrix, n);
}

struct Named {
  std::string dtype;
  Shape shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Named>;

template <class Element>
void append(std::string* bytes, Element element) {
  bytes->append(reinterpret_cast<const char*>(&element), sizeof element);
}

// What compressed-tensors leaves of rows.
void pack(Tensors* tensors, const std::string& name, const Rows& rows, bool has_zeros, bool halves = false) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()), groups = rows[0].first->groups();
  const auto at = [&](std::int64_t n) { return rows[static_cast<std::size_t>(n)]; };
  Named packed = {"I32", {count, up(E, 8)}, ""}, scales = {halves ? "BF16" : "F32", {count, groups}, ""}, zeros = {"I32", {up(count, 8), groups}, ""}, shape = {"I64", {2}, ""};
  for (std::int64_t n = 0; n < count; ++n) {
    const auto [matrix, row] = at(n);
    for (std::int64_t first = 0; first < E; first += 8) {
      std::uint32_t word = 0;
      for (std::int64_t k = first; k < std::min(first + 8, E); ++k) word |= static_cast<std::uint32_t>(matrix->number(row, k)) << 4 * (k - first);
      append(&packed.bytes, word);
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      const float scale = matrix->scales[static_cast<std::size_t>(row * groups + g)];
      if (halves) append(&scales.bytes, bfloat16_from_float(scale));
      else append(&scales.bytes, scale);
    }
  }
  for (std::int64_t first = 0; first < count; first += 8) {
    for (std::int64_t g = 0; g < groups; ++g) {
      std::uint32_t word = 0;
      for (std::int64_t n = first; n < std::min(first + 8, count); ++n) word |= static_cast<std::uint32_t>(at(n).first->zeros[static_cast<std::size_t>(at(n).second * groups + g)]) << 4 * (n - first);
      append(&zeros.bytes, word);
    }
  }
  append(&shape.bytes, count);
  append(&shape.bytes, E);
  (*tensors)[name + ".weight_packed"] = packed;
  (*tensors)[name + ".weight_scale"] = scales;
  (*tensors)[name + ".weight_shape"] = shape;
  if (has_zeros) (*tensors)[name + ".weight_zero_point"] = zeros;
}

struct Original {
  bool has_zeros;
  Matrix query, key, value, output;

  Original(int group, bool zeros, Random& random)
      : has_zeros(zeros), query(E, group, zeros, random), key(G * D, group, zeros, random), value(G * D, group, zeros, random), output(E, group, zeros, random) {}

  const Matrix& of(int which) const { return which == 0 ? query : which == 1 ? key : which == 2 ? value : output; }

  // The layer that make gives of the matrices as stored, in groups of that size, or (0) of the floats that they stand for, in the config's type.
  MultiHeadAttention made(MultiHeadAttentionConfig config, int group) const {
    config.num_hiddens = E;
    config.num_heads = H;
    config.num_kv_heads = G;
    const bool floats = group == 0;
    std::vector<std::uint8_t> nibbles[4], zeros[4];
    std::vector<float> scales[4], numbers[4];
    StoredMatrix stored[4];
    MultiHeadAttentionWeights weights;
    ConstTensorView* const views[] = {&weights.query, &weights.key, &weights.value, &weights.output};
    const StoredMatrix** const places[] = {&weights.stored_query, &weights.stored_key, &weights.stored_value, &weights.stored_output};
    for (int which = 0; which < 4; ++which) {
      const Matrix& matrix = of(which);
      for (std::int64_t n = 0; n < matrix.rows; ++n) {
        for (std::int64_t k = 0; k < E; ++k) {
          const std::size_t g = matrix.group_of(n, k);
          numbers[which].push_back(matrix.scales[g] * static_cast<float>(matrix.number(n, k) - matrix.zeros[g]));
          if (k % 2 == 0) nibbles[which].push_back(static_cast<std::uint8_t>(matrix.number(n, k) | matrix.number(n, k + 1) << 4));
          if (floats || k % group != 0) continue;
          scales[which].push_back(matrix.scales[g]);
          zeros[which].push_back(static_cast<std::uint8_t>(matrix.zeros[g]));
        }
      }
      if (floats) {
        *views[which] = ConstTensorView(numbers[which].data(), matrix.rows, E);
        continue;
      }
      stored[which].nibbles = View<const std::uint8_t>(nibbles[which].data(), matrix.rows, E / 2);
      stored[which].scales = ConstTensorView(scales[which].data(), matrix.rows, up(E, group));
      stored[which].zeros = View<const std::uint8_t>(zeros[which].data(), matrix.rows, up(E, group));
      *places[which] = &stored[which];
    }
    MultiHeadAttention layer;
    REQUIRE_OK(MultiHeadAttention::make(config, weights, &layer));
    return layer;
  }

  Tensors file(const std::string& family) const {
    Tensors tensors;
    if (family == "Llama") {
      const char* const names[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
      for (int which = 0; which < 4; ++which) {
        Rows rows;
        add(&rows, of(which), 0, of(which).rows);
        pack(&tensors, names[which], rows, has_zeros, which % 2 == 0);
      }
      return tensors;
    }
    const bool by_head = family == "Falcon";
    Rows rows, last;
    for (std::int64_t part = 0; part < (by_head ? G : 1); ++part) {
      const std::int64_t parts = by_head ? G : 1;
      add(&rows, query, part * E / parts, E / parts);
      add(&rows, key, part * G * D / parts, G * D / parts);
      add(&rows, value, part * G * D / parts, G * D / parts);
    }
    add(&last, output, 0, E);
    pack(&tensors, by_head ? "query_key_value" : "qkv_proj", rows, has_zeros);
    pack(&tensors, by_head ? "dense" : "o_proj", last, has_zeros);
    return tensors;
  }
};

io::SafetensorsFile opened(const Tensors& tensors) {
  std::vector<io::SafetensorsTensor> list;
  for (const auto& [name, tensor] : tensors) list.push_back({name, tensor.shape, nullptr, tensor.dtype, tensor.bytes});
  std::vector<unsigned char> bytes;
  io::SafetensorsFile file;
  REQUIRE_OK(io::write_safetensors(&bytes, list));
  REQUIRE_OK(io::SafetensorsFile::parse(std::move(bytes), "model.safetensors", &file));
  return file;
}

Status load(const io::TensorFile& file, const io::LoadOptions& options, io::LoadedLayer* layer) {
  io::LayerWeights found;
  const Status status = io::find_layer(file, "", &found, H, options);
  return status.ok() ? io::make_layer(file, std::move(found), H, layer, options) : status;
}

io::LoadedLayer loaded(const io::TensorFile& file, const io::LoadOptions& options) {
  io::LoadedLayer layer;
  REQUIRE_OK(load(file, options, &layer));
  return layer;
}

Tensor output_of(const MultiHeadAttention& attention) {
  Random random(5);
  Tensor x({2, 3, E}), output({2, 3, E});
  x.fill(random);
  Workspace workspace;
  REQUIRE_OK(attention.forward(x.view, x.view, x.view, {}, output.view, workspace));
  return output;
}

// Of a type; of int4 in groups, or (0) as the file has them.
io::LoadOptions in(WeightType type, int group = 0) {
  io::LoadOptions options;
  options.weight_type = type;
  options.weight_group = group;
  options.low_precision = low_precision();
  options.low_precision_int4 = low_precision_int4();
  return options;
}

MultiHeadAttentionConfig config_of(WeightType type, int group = 0, Arithmetic arithmetic = Arithmetic::float32) {
  MultiHeadAttentionConfig config;
  config.weight_type = type;
  config.weight_group = group;
  config.arithmetic = arithmetic;
  config.low_precision = type == WeightType::int4 ? low_precision_int4() : low_precision();
  return config;
}

bool usable() { return int4_instructions(Arithmetic::float32) != nullptr && product_instructions(WeightType::int8, Arithmetic::float32) != nullptr; }

}  // namespace

TEST_CASE("int4 files: matrices are taken as the file packs them, or are the floats that they stand for") {
  if (!usable()) return;
  Random random(1);
  for (const char* family : {"Llama", "Phi-3", "Falcon"}) {
    for (const int group : {32, 64, 128, 0}) {
      for (const bool has_zeros : {false, true}) {
        CAPTURE(std::string(family));
        CAPTURE(group);
        CAPTURE(has_zeros);
        const Original original(group, has_zeros, random);
        const io::SafetensorsFile file = opened(original.file(family));
        const int taken = group == 0 ? 128 : group;  // rows of one scale are of any group
        for (const Arithmetic arithmetic : {Arithmetic::float32, Arithmetic::int8}) {
          io::LoadOptions as_packed = in(WeightType::int4), of_file = in(WeightType::float32);
          as_packed.arithmetic = of_file.arithmetic = arithmetic;
          of_file.weight_type_of_file = true;
          const Tensor expected = output_of(original.made(config_of(WeightType::int4, taken, arithmetic), taken));
          for (const io::LoadOptions& options : {as_packed, of_file}) {
            const io::LoadedLayer layer = loaded(file, options);
            CHECK(std::string(layer.convention) == family);
            CHECK(layer.attention.config().weight_type == WeightType::int4);
            CHECK(layer.attention.config().weight_group == taken);
            CHECK_SAME_BITS(output_of(layer.attention), expected);
          }
        }
        CHECK_SAME_BITS(output_of(loaded(file, {}).attention), output_of(original.made({}, 0)));
        CHECK_SAME_BITS(output_of(loaded(file, in(WeightType::int8)).attention), output_of(original.made(config_of(WeightType::int8), 0)));
        for (const int other : {32, 64, 128}) {
          const bool fits = group == other || original.query.groups() == 1;
          const MultiHeadAttentionConfig config = config_of(WeightType::int4, other);
          CHECK_SAME_BITS(output_of(loaded(file, in(WeightType::int4, other)).attention), output_of(fits ? original.made(config, other) : original.made(config, 0)));
        }
      }
    }
  }
}

TEST_CASE("int4 files: numbers that stay as they are packed are a view of the file") {
  Random random(2);
  const Original original(32, true, random);
  const io::SafetensorsFile file = opened(original.file("Phi-3"));
  io::LayerWeights found;
  REQUIRE_OK(io::find_layer(file, "", &found, H, in(WeightType::int4)));
  REQUIRE(found.weights.stored_key != nullptr);
  CHECK(static_cast<const void*>(found.weights.stored_query->nibbles.data) == file.bytes(*file.find("qkv_proj.weight_packed")));
  CHECK(found.weights.stored_key->nibbles.data == found.weights.stored_query->nibbles.data + E * 4 * up(E, 8));
  CHECK(found.unused.empty());
  CHECK(found.config.weight_group == 32);
  if (usable()) {  // of floats that were found, a layer in any groups
    io::LayerWeights floats;
    io::LoadedLayer layer;
    REQUIRE_OK(io::find_layer(file, "", &floats, H));
    REQUIRE_OK(io::make_layer(file, std::move(floats), H, &layer, in(WeightType::int4, 64)));
    CHECK_SAME_BITS(output_of(layer.attention), output_of(original.made(config_of(WeightType::int4, 64), 0)));
  }
  std::vector<std::string> prefixes;
  REQUIRE_OK(io::find_prefixes(file, &prefixes));
  CHECK(prefixes == std::vector<std::string>{""});
}

TEST_CASE("int4 files: what no layer can be made of is refused") {
  if (!usable()) return;
  Random random(3);
  const Original original(32, true, random);
  const Tensors good = original.file("Llama");
  io::LoadOptions of_file = in(WeightType::float32);
  of_file.weight_type_of_file = true;
  const auto refused = [&](const Tensors& tensors, const io::LoadOptions& options, const std::string& part) {
    io::LoadedLayer layer;
    const io::SafetensorsFile file = opened(tensors);
    const Status status = load(file, options, &layer);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, status.message());
    CHECK(std::string(layer.convention).empty());
  };
  const auto with = [&](const std::string& name, const std::function<void(Named&)>& change) {
    Tensors tensors = good;
    change(tensors.at(name));
    return tensors;
  };
  const auto without = [&](const std::string& name) {
    Tensors tensors = good;
    REQUIRE(tensors.erase(name) == 1);
    return tensors;
  };
  for (const io::LoadOptions& options : {in(WeightType::float32), in(WeightType::int4), of_file}) {
    refused(without("q_proj.weight_shape"), options, "tensor 'q_proj.weight_packed': integers of 4 bits without 'q_proj.weight_shape', which says how many rows and columns they are");
    refused(without("k_proj.weight_scale"), options, "tensor 'k_proj.weight_packed': integers without 'k_proj.weight_scale', a scale for each group of a row");
    refused(without("o_proj.weight_packed"), options, "no attention layer under prefix '' (Llama names lack 'o_proj.weight')");
    refused(with("q_proj.weight_shape", [](Named& t) { t.dtype = "F64"; }), options, "tensor 'q_proj.weight_shape': F64 of shape (2,), expected I64 (2,): rows and columns");
    const auto with_columns = [&](std::int64_t columns) {
      return with("q_proj.weight_shape", [&](Named& t) { std::memcpy(t.bytes.data() + 8, &columns, 8); });
    };
    refused(with_columns(-1), options, "tensor 'q_proj.weight_shape': a size of -1");
    refused(with_columns(std::int64_t{1} << 62), options, "tensor 'q_proj.weight_shape': a size of 4611686018427387904");
    refused(with_columns(0), options, "tensor 'q_proj.weight': shape (84, 0), expected (*, *)");
    refused(with_columns(89), options, "tensor 'q_proj.weight_packed': I32 of shape (84, 11), expected I32 (84, 12): eight integers of 4 bits in each of a row");
    refused(with("v_proj.weight_packed", [](Named& t) { t.dtype = "F32"; }), options, "tensor 'v_proj.weight_packed': F32 of shape (42, 11), expected I32 (42, 11)");
    refused(with("v_proj.weight_scale", [](Named& t) { t.shape = {3, 42}; }), options,
            "tensor 'v_proj.weight_scale': shape (3, 42), expected (42, 3), or as many as groups of 64 or 128 are, or one: a scale for each group of a row of 84");
    refused(with("v_proj.weight_scale", [](Named& t) { t.dtype = t.dtype == "F32" ? "I32" : "I16"; }), options, "tensor 'v_proj.weight_scale': dtype 'I");
    refused(with("k_proj.weight_zero_point", [](Named& t) { t.shape = {3, 6}; }), options, "tensor 'k_proj.weight_zero_point': I32 of shape (3, 6), expected I32 (6, 3): those of eight rows in each");
    Tensors ordered = good;
    ordered["q_proj.weight_g_idx"] = {"I32", {E}, std::string(4 * E, '\0')};
    refused(ordered, options, "tensor 'q_proj.weight_g_idx': columns in groups of an order of their own, which attend does not have");
    Tensors twice = good;
    twice["q_proj.weight"] = {"BF16", {E, E}, std::string(2 * E * E, '\0')};
    if (!options.weight_type_of_file) refused(twice, options, "the layer does not use 'q_proj.weight_packed', 'q_proj.weight_scale', 'q_proj.weight_shape', 'q_proj.weight_zero_point'");
  }
  // Two groups, two types.
  Tensors mixed = good;
  const Tensors other = Original(64, true, random).file("Llama");
  for (const char* part : {"_packed", "_scale", "_shape", "_zero_point"}) mixed[std::string("v_proj.weight") + part] = other.at(std::string("v_proj.weight") + part);
  const std::string groups = "tensor 'v_proj.weight_packed': in groups of another size than 'k_proj.weight_packed': a layer's matrices have one, which weight_group names";
  refused(mixed, in(WeightType::int4), groups);
  refused(mixed, of_file, groups);
  CHECK(loaded(opened(mixed), in(WeightType::int4, 32)).attention.config().weight_group == 32);
  for (const char* part : {"_packed", "_scale", "_shape", "_zero_point"}) mixed.erase(std::string("v_proj.weight") + part);
  mixed["v_proj.weight"] = {"F16", {G * D, E}, std::string(2 * G * D * E, '\0')};
  refused(mixed, of_file, "tensor 'v_proj.weight': stored as F16, but 'k_proj.weight_packed' as I32: a layer's matrices have one type, which weight_type names");
  CHECK(loaded(opened(mixed), in(WeightType::int4)).attention.config().weight_group == 32);
  // The kernels of int4 are asked for.
  of_file.low_precision_int4 = nullptr;
  refused(good, of_file, "low_precision: low_precision(), but weight_type is int4: expected low_precision_int4(), which links its kernels");
  refused(good, in(WeightType::int4, 48), "weight_group: 48, expected 32, 64 or 128, or 0: 32");
  refused(good, in(WeightType::int8, 64), "weight_group: 64, but weight_type is int8");
  // Names of matrices (in, out).
  Tensors turned;
  for (const auto& [name, tensor] : Original(32, true, random).file("Phi-3")) turned[(name[0] == 'q' ? "c_attn" : "c_proj") + name.substr(name.find('.'))] = tensor;
  refused(turned, {}, "tensor 'c_attn.weight_packed': integers of 4 bits, which have no form for matrices that are (in, out), as this one by its name");
}
