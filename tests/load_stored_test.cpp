// Loading layers whose matrices a file stores in low precision: as they are, or as the floats that they stand for; and what is refused.
#include <doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "engine_test.h"
#include "kernels/half_floats.h"

using namespace attend;
using namespace engine_test;

namespace {

struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "attend-stored-XXXXXX").string();
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + '/' + name; }
};

template <class Element>
std::string bytes_of(const std::vector<Element>& elements) {
  return std::string(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(Element));
}

// A tensor of a file: its rows' bytes.
struct Stored {
  std::string name, dtype;
  std::int64_t columns;
  std::vector<std::string> rows;
  Shape shape = {};  // (rows, columns) where it is empty

  std::string bytes() const {
    std::string all;
    for (const std::string& row : rows) all += row;
    return all;
  }
};

void write(const std::string& path, const std::vector<Stored>& tensors) {
  std::vector<std::string> bytes;
  for (const Stored& tensor : tensors) bytes.push_back(tensor.bytes());
  std::vector<io::SafetensorsTensor> list;
  for (std::size_t n = 0; n < tensors.size(); ++n) {
    const Stored& tensor = tensors[n];
    list.push_back({tensor.name, tensor.shape.empty() ? Shape{static_cast<std::int64_t>(tensor.rows.size()), tensor.columns} : tensor.shape, nullptr, tensor.dtype, bytes[n]});
  }
  REQUIRE_OK(io::write_safetensors(path, list));
}

// The same file with its tensors one byte further.
void shift(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  std::string bytes = text.str();
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes.insert(sizeof length + length, 1, ' ');
  ++length;
  std::memcpy(bytes.data(), &length, sizeof length);
  std::ofstream(path, std::ios::binary) << bytes;
}

constexpr std::int64_t E = 12, H = 4, D = 3;

// A matrix that a file stores, and what it stands for.
struct Matrix {
  WeightType type;
  std::int64_t rows;
  std::vector<std::uint16_t> halves;
  std::vector<std::int8_t> integers;
  std::vector<float> scales, numbers;

  Matrix(WeightType type_of, std::int64_t row_count, Random& random) : type(type_of), rows(row_count) {
    for (std::int64_t n = 0; n < rows; ++n) {
      scales.push_back(float_from_bfloat16(bfloat16_from_float(0.001f + 0.01f * std::abs(random.number()))));  // a file may store it in any type
      for (std::int64_t k = 0; k < E; ++k) {
        const float number = random.number();
        halves.push_back(type == WeightType::float16 ? float16_from_float(number) : bfloat16_from_float(number));
        integers.push_back(static_cast<std::int8_t>(random.between(-128, 127)));
        numbers.push_back(type == WeightType::int8      ? scales.back() * static_cast<float>(integers.back())
                          : type == WeightType::float16 ? float_from_float16(halves.back())
                                                        : float_from_bfloat16(halves.back()));
      }
    }
  }
  ConstTensorView floats() const { return ConstTensorView(numbers.data(), rows, E); }
  StoredMatrix stored() const {
    StoredMatrix matrix;
    if (type == WeightType::int8) {
      matrix.integers = View<const std::int8_t>(integers.data(), rows, E);
      matrix.scales = ConstTensorView(scales.data(), rows);
    } else {
      matrix.halves = View<const std::uint16_t>(halves.data(), rows, E);
    }
    return matrix;
  }
  std::string dtype() const { return type == WeightType::int8 ? "I8" : type == WeightType::float16 ? "F16" : "BF16"; }
  std::vector<std::string> rows_of_file() const {
    std::vector<std::string> all;
    const std::string bytes = type == WeightType::int8 ? bytes_of(integers) : bytes_of(halves);
    const std::size_t row = bytes.size() / static_cast<std::size_t>(rows);
    for (std::size_t n = 0; n < bytes.size(); n += row) all.push_back(bytes.substr(n, row));
    return all;
  }
  std::vector<std::string> scales_of_file(const std::string& dtype_of_scales) const {
    std::vector<std::string> all;
    for (const float scale : scales) {
      const std::uint16_t half = bfloat16_from_float(scale);
      all.push_back(dtype_of_scales == "F32" ? bytes_of(std::vector<float>{scale}) : bytes_of(std::vector<std::uint16_t>{half}));
    }
    return all;
  }
};

struct Original {
  std::int64_t kv_heads;
  Matrix query, key, value, output;

  Original(WeightType type, std::int64_t groups, Random& random)
      : kv_heads(groups), query(type, E, random), key(type, groups * D, random), value(type, groups * D, random), output(type, E, random) {}

  const Matrix& of(int which) const { return which == 0 ? query : which == 1 ? key : which == 2 ? value : output; }

  // The layer that make gives of the matrices as stored, or of the floats that they stand for.
  MultiHeadAttention made(WeightType weight_type, bool as_stored) const {
    MultiHeadAttentionConfig config = Layer::square(E, H, Isa::best);
    config.num_kv_heads = kv_heads;
    config.weight_type = weight_type;
    config.low_precision = low_precision();
    const StoredMatrix stored[] = {query.stored(), key.stored(), value.stored(), output.stored()};
    MultiHeadAttentionWeights weights;
    if (as_stored) {
      weights.stored_query = &stored[0];
      weights.stored_key = &stored[1];
      weights.stored_value = &stored[2];
      weights.stored_output = &stored[3];
    } else {
      weights.query = query.floats();
      weights.key = key.floats();
      weights.value = value.floats();
      weights.output = output.floats();
    }
    MultiHeadAttention layer;
    REQUIRE_OK(MultiHeadAttention::make(config, weights, &layer));
    return layer;
  }

  // The rows of the first three in one tensor: in order, or by heads of keys.
  std::vector<std::string> packed(const std::vector<std::string>& q, const std::vector<std::string>& k, const std::vector<std::string>& v, bool by_key_head) const {
    std::vector<std::string> all;
    const auto add = [&](const std::vector<std::string>& from, std::int64_t first, std::int64_t count) { all.insert(all.end(), from.begin() + first, from.begin() + first + count); };
    const std::int64_t parts = by_key_head ? kv_heads : 1, group = H / parts * D, narrow = kv_heads / parts * D;
    for (std::int64_t g = 0; g < parts; ++g) {
      add(q, g * group, group);
      add(k, g * narrow, narrow);
      add(v, g * narrow, narrow);
    }
    return all;
  }
};

std::vector<std::string> transposed(const std::vector<std::string>& rows, std::size_t element) {
  std::vector<std::string> turned(rows[0].size() / element);
  for (const std::string& row : rows) {
    for (std::size_t k = 0; k < turned.size(); ++k) turned[k] += row.substr(k * element, element);
  }
  return turned;
}

// A family's file. Scales are (N,) or (N, 1), of F32 or BF16.
std::vector<Stored> file_of(const Original& original, const std::string& family) {
  const bool integers = original.query.type == WeightType::int8, falcon = family == "Falcon", turned = family == "GPT-2";
  const std::string dtype = original.query.dtype();
  std::vector<Stored> tensors;
  const auto add = [&](const std::string& name, std::vector<std::string> rows, const std::vector<std::string>& scales, const std::string& dtype_of_scales, bool flat) {
    const std::int64_t count = static_cast<std::int64_t>(rows.size());
    if (turned) rows = transposed(rows, integers ? 1 : 2);
    tensors.push_back({name + ".weight", dtype, turned ? count : E, rows});
    if (integers) tensors.push_back({name + ".weight_scale", dtype_of_scales, 1, scales, flat ? Shape{count} : turned ? Shape{1, count} : Shape{count, 1}});
  };
  if (family == "Llama") {
    const char* const names[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    for (int which = 0; which < 4; ++which) {
      const std::string type = which % 2 == 0 ? "F32" : "BF16";
      add(names[which], original.of(which).rows_of_file(), original.of(which).scales_of_file(type), type, which > 1);
    }
    if (integers) tensors.push_back({"q_proj.weight_zero_point", "I8", 1, std::vector<std::string>(E, std::string(1, '\0'))});
    return tensors;
  }
  add(falcon ? "query_key_value" : turned ? "c_attn" : "qkv_proj",
      original.packed(original.query.rows_of_file(), original.key.rows_of_file(), original.value.rows_of_file(), falcon),
      original.packed(original.query.scales_of_file("F32"), original.key.scales_of_file("F32"), original.value.scales_of_file("F32"), falcon), "F32", false);
  add(falcon ? "dense" : turned ? "c_proj" : "o_proj", original.output.rows_of_file(), original.output.scales_of_file("BF16"), "BF16", true);
  return tensors;
}

Tensor output_of(const MultiHeadAttention& attention, const AttentionOptions& options = {}) {
  Random random(5);
  Tensor x({2, 3, E}), output({2, 3, E});
  x.fill(random);
  Workspace workspace;
  REQUIRE_OK(attention.forward(x.view, x.view, x.view, {}, output.view, workspace, options));
  return output;
}

io::LoadOptions in(WeightType type) {
  io::LoadOptions options;
  options.weight_type = type;
  options.low_precision = low_precision();
  return options;
}

bool usable(WeightType type) { return type == WeightType::float32 || product_instructions(type, Arithmetic::float32) != nullptr; }

}  // namespace

TEST_CASE("load_layer: matrices of low precision are taken as the file stores them, or are the floats that they stand for") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(1);
  for (const WeightType type : {WeightType::bfloat16, WeightType::float16, WeightType::int8}) {
    if (!usable(type)) continue;
    for (const char* family : {"Llama", "GPT-2", "Phi-3", "Falcon"}) {
      const Original original(type, std::string(family) == "GPT-2" ? H : 2, random);
      CAPTURE(static_cast<int>(type));
      CAPTURE(std::string(family));
      write(path, file_of(original, family));
      const auto loaded = [&](const io::LoadOptions& options) {
        io::LoadedLayer layer;
        REQUIRE_OK(io::load_layer(path, "", H, &layer, options));
        CHECK(std::string(layer.convention) == family);
        CHECK(layer.attention.config().weight_type == (options.weight_type_of_file ? type : options.weight_type));
        return output_of(layer.attention, layer.options);
      };
      CHECK_SAME_BITS(loaded(in(type)), output_of(original.made(type, true)));
      CHECK_SAME_BITS(loaded({}), output_of(original.made(WeightType::float32, false)));
      io::LoadOptions of_file = in(WeightType::float32);
      of_file.weight_type_of_file = true;
      CHECK_SAME_BITS(loaded(of_file), output_of(original.made(type, true)));
      for (const WeightType other : {WeightType::bfloat16, WeightType::float16, WeightType::int8}) {
        if (other != type && usable(other)) CHECK_SAME_BITS(loaded(in(other)), output_of(original.made(other, false)));
      }
      shift(path);
      CHECK_SAME_BITS(loaded(in(type)), output_of(original.made(type, true)));
      CHECK_SAME_BITS(loaded({}), output_of(original.made(WeightType::float32, false)));
    }
  }
}

TEST_CASE("find_layer: a matrix that stays as the file stores it is a view of the file") {
  const Folder folder;
  Random random(2);
  const Original original(WeightType::bfloat16, 2, random);
  write(folder / "model.safetensors", file_of(original, "Phi-3"));
  io::SafetensorsFile file;
  io::LayerWeights found;
  REQUIRE_OK(io::SafetensorsFile::open(folder / "model.safetensors", &file));
  REQUIRE_OK(io::find_layer(file, "", &found, H, in(WeightType::bfloat16)));
  CHECK(found.weights.query.absent());
  REQUIRE(found.weights.stored_key != nullptr);
  const void* const begin = file.bytes(*file.find("qkv_proj.weight"));
  CHECK(static_cast<const void*>(found.weights.stored_query->halves.data) == begin);
  CHECK(found.weights.stored_key->halves.data == found.weights.stored_query->halves.data + E * E);
  CHECK(found.tensors.empty());
  CHECK(found.halves.empty());
  const io::LayerWeights moved = std::move(found);
  CHECK(moved.weights.stored_value->halves.data == moved.weights.stored_query->halves.data + (E + 2 * D) * E);

  // The two halves of load_layer are to be asked for the same.
  io::LoadOptions of_file;
  of_file.weight_type_of_file = true;
  io::LayerWeights floats;
  io::LoadedLayer layer;
  REQUIRE_OK(io::find_layer(file, "", &floats, H));
  CHECK(std::string(io::make_layer(file, std::move(floats), H, &layer, of_file).message()).find("weight_type_of_file: find_layer was not given it") != std::string::npos);
}

TEST_CASE("load_layer: what no layer can be made of is refused") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  Random random(3);
  const Original original(WeightType::int8, 2, random);
  const std::vector<Stored> good = file_of(original, "Llama");
  io::LoadOptions of_file = in(WeightType::float32);
  of_file.weight_type_of_file = true;
  const auto refused = [&](const std::vector<Stored>& tensors, const io::LoadOptions& options, const std::string& part) {
    write(path, tensors);
    io::LoadedLayer layer;
    const Status status = io::load_layer(path, "", H, &layer, options);
    CHECK_FALSE(status.ok());
    CHECK_MESSAGE(std::string(status.message()).find(part) != std::string::npos, status.message());
    CHECK(std::string(layer.convention).empty());
  };
  const auto with = [&](const std::string& name, const std::function<void(Stored&)>& change) {
    std::vector<Stored> tensors = good;
    for (Stored& tensor : tensors) {
      if (tensor.name == name) change(tensor);
    }
    return tensors;
  };
  for (const io::LoadOptions& options : {in(WeightType::float32), in(WeightType::int8), of_file}) {
    refused(with("k_proj.weight_scale", [](Stored& t) { t.name = "k_proj.other"; }), options,
            "tensor 'k_proj.weight': integers without 'k_proj.weight_scale', a scale for each of its 6 channels");
    refused(with("v_proj.weight_scale", [](Stored& t) { t.shape = {3, 2}; }), options,
            "tensor 'v_proj.weight_scale': shape (3, 2), expected (6,) or (6, 1): a scale for each output channel");
    refused(with("v_proj.weight_scale", [](Stored& t) { t.dtype = "I32"; }), options, "tensor 'v_proj.weight_scale': dtype 'I32', expected F32, F16, BF16 or F64");
    refused(with("q_proj.weight_zero_point", [](Stored& t) { t.rows[3] = "\x05"; }), options,
            "tensor 'q_proj.weight_zero_point': not all zeros, but attend's integers of 8 bits have no zero point");
    refused(with("q_proj.weight", [](Stored& t) { t.dtype = "F8_E4M3"; }), options,
            "tensor 'q_proj.weight': dtype 'F8_E4M3', expected F32, F16, BF16, F64, or I8 with scales");
  }
  // A scale beside floats may change them.
  std::vector<Stored> floats = file_of(Original(WeightType::float16, 2, random), "Llama");
  floats.push_back({"q_proj.weight_scale", "F32", 1, original.query.scales_of_file("F32")});
  refused(floats, {}, "the layer does not use 'q_proj.weight_scale'");
  // Two types at once.
  std::vector<Stored> mixed = file_of(Original(WeightType::float16, 2, random), "Llama");
  mixed[2] = file_of(Original(WeightType::bfloat16, 2, random), "Llama")[2];
  refused(mixed, of_file, "tensor 'v_proj.weight': stored as BF16, but 'k_proj.weight' as F16: a layer's matrices have one type, which weight_type names");
  of_file.low_precision = nullptr;
  refused(good, of_file, "low_precision: null, but weight_type is int8");
  of_file = in(WeightType::float32);
  of_file.weight_type_of_file = true;
  of_file.arithmetic = Arithmetic::bfloat16;
  refused(good, of_file, "arithmetic: bfloat16 takes weights of bfloat16, but weight_type is int8");
}

TEST_CASE("write_safetensors: bytes of any dtype go into a file as they are") {
  const Folder folder;
  const std::string path = folder / "a.safetensors";
  const std::int64_t numbers[] = {1, -2};
  const std::string_view eight(reinterpret_cast<const char*>(numbers), sizeof numbers);
  const float one[] = {1.5f};
  REQUIRE_OK(io::write_safetensors(path, {{"odd", {3}, nullptr, "I8", "abc"}, {"x", {1}, one, "F32"}, {"n", {2}, nullptr, "I64", eight}, {"new", {5}, nullptr, "F4", "de"}, {"empty", {0}, nullptr, "BOOL", ""}}));
  io::SafetensorsFile file;
  REQUIRE_OK(io::SafetensorsFile::open(path, &file));
  const auto bytes = [&](const char* name) {
    const io::SafetensorsEntry& entry = *file.find(name);
    return entry.dtype + ' ' + std::string(reinterpret_cast<const char*>(file.bytes(entry)), entry.end - entry.begin);
  };
  CHECK(bytes("odd") == "I8 abc");
  CHECK(bytes("n") == "I64 " + std::string(eight));
  CHECK(bytes("new") == "F4 de");
  CHECK(bytes("empty") == "BOOL ");
  CHECK(file.find("n")->begin == 0);  // the widest first: each is aligned
  CHECK(std::string(io::write_safetensors(path, {{"odd", {4}, nullptr, "I8", "abc"}}).message()).find("tensor 'odd': stored: 3 bytes, expected 4 for shape (4,) of 'I8'") != std::string::npos);
  CHECK(file.find("odd") != nullptr);  // the file is as it was
}
