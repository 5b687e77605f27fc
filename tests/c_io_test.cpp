// Tests of the C API of files: layers as load_layer makes them, with all that their calls take, and arrays.

#include "c_twin.h"

#include <filesystem>
#include <functional>

#include "attend/attend_io.h"
#include "attend/io.hpp"
#include "test_data.h"

using namespace c_twin;

namespace {

// A folder of its own, gone afterwards.
struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "attend-c-io-XXXXXX").string();
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + '/' + name; }
};

}  // namespace

TEST_CASE("C API: a layer of a file is the one that the C++ API loads, with the options that the file implies") {
  Random random(71);
  const Folder folder;
  const std::string path = folder / "t5.safetensors";
  // T5's names, which take scores unscaled, with its table, a norm and sinks, and a tensor that no layer uses; a layer that has no table.
  std::vector<std::vector<float>> values;
  std::vector<io::SafetensorsTensor> tensors;
  const auto add = [&](const char* name, const Shape& shape) {
    values.emplace_back(static_cast<std::size_t>(reference::count_of(shape)));
    for (float& value : values.back()) value = random.number();
    tensors.push_back({name, shape, nullptr, "F32"});
  };
  for (const char* name : {"a.q.weight", "a.k.weight", "a.v.weight", "a.o.weight", "b.q.weight", "b.k.weight", "b.v.weight", "b.o.weight"}) add(name, {8, 8});
  add("a.relative_attention_bias.weight", {8, 2});
  add("a.q_norm.weight", {4});
  add("a.sinks", {2});
  add("a.other", {3});
  add("b.other", {3});
  for (std::size_t n = 0; n < tensors.size(); ++n) tensors[n].values = values[n].data();
  REQUIRE_OK(io::write_safetensors(path, tensors));

  Tensor x({1, 4, 8}), output({1, 4, 8}), expected({1, 4, 8}), before({1, 4, 8});
  x.fill(random);
  const char* const ignored[] = {"other"};
  attend_load_options base = {};
  base.size = sizeof base;
  base.ignored = ignored;
  base.num_ignored = 1;
  io::LoadOptions base_twin;
  base_twin.ignored = {"other"};
  std::string prefix = "a";
  const auto run = [&](const attend_load_options& given, const io::LoadOptions& twin) {
    attend_loaded_layer* loaded = nullptr;
    require_done(attend_load_layer(path.c_str(), prefix.c_str(), 2, &given, &loaded, &problem));
    io::LoadedLayer loaded_twin;
    REQUIRE_OK(io::load_layer(path, prefix, 2, &loaded_twin, twin));
    CHECK(std::string(attend_loaded_layer_convention(loaded)) == loaded_twin.convention);
    CHECK(std::string(attend_loaded_layer_remarks(loaded)) == "");
    attend_options options = {};
    options.size = sizeof options;
    require_done(attend_loaded_layer_get_options(loaded, &options, &problem));
    CHECK(options.scale == loaded_twin.options.scale);
    CHECK(options.sinks.sizes[0] == loaded_twin.options.sinks.sizes[0]);
    attend_mha_config config = {};
    config.size = sizeof config;
    require_done(attend_mha_get_config(attend_loaded_layer_mha(loaded), &config, nullptr, &problem));
    CHECK(config.weight_type == static_cast<int>(loaded_twin.attention.config().weight_type));
    CHECK(config.norm_epsilon == loaded_twin.attention.config().norm_epsilon);
    options.training = 1;
    loaded_twin.options.training = true;
    const attend_mha_call call = {sizeof call, in(x), in(x), in(x), {}, out(output), nullptr, &options};
    require_done(attend_mha_forward(attend_loaded_layer_mha(loaded), &call, &problem));
    Workspace workspace;
    REQUIRE_OK(loaded_twin.attention.forward(x.view, x.view, x.view, {}, expected.view, workspace, loaded_twin.options));
    CHECK_SAME_BITS(output, expected);
    CHECK(attend_mha_isa(attend_loaded_layer_mha(loaded)) == static_cast<attend_isa>(loaded_twin.attention.isa()));
    attend_loaded_layer_destroy(loaded);
    return config;
  };
  run(base, base_twin);
  before.copy(output);
  const auto changes = [&](const char* field, const std::function<void(attend_load_options&, io::LoadOptions&)>& change) {
    CAPTURE(std::string(field));
    attend_load_options given = base;
    io::LoadOptions twin = base_twin;
    change(given, twin);
    run(given, twin);
    CHECK(first_difference(output, before) != -1);
  };
  Tensor frequencies({2});
  frequencies.fill(random);
  RotaryEmbedding rotary;
  rotary.inverse_frequencies = frequencies.view;
  const attend_rotary_embedding given_rotary = c_rotary(rotary);
  changes("dropout", [](attend_load_options& o, io::LoadOptions& twin) { o.dropout = twin.dropout = 0.5f; });
  changes("norm_epsilon", [](attend_load_options& o, io::LoadOptions& twin) { o.norm_epsilon = twin.norm_epsilon = 0.5f; });
  changes("rotary", [&](attend_load_options& o, io::LoadOptions& twin) { o.rotary = &given_rotary, twin.rotary = rotary; });
  const auto store = [](attend_load_options& o, io::LoadOptions& twin, const Precision& precision) {
    o.weight_type = static_cast<int>(twin.weight_type = precision.weights);
    o.arithmetic = static_cast<int>(twin.arithmetic = precision.arithmetic);
    o.low_precision = attend_get_low_precision();
    twin.low_precision = low_precision();
  };
  const Precision stored = {WeightType::int8, Arithmetic::float32}, multiplied = {WeightType::int8, Arithmetic::int8};
  if (usable(stored)) {
    changes("weight_type", [&](attend_load_options& o, io::LoadOptions& twin) { store(o, twin, stored); });
    changes("arithmetic", [&](attend_load_options& o, io::LoadOptions& twin) { store(o, twin, multiplied); });
  }
  // num_kv_heads says no more than what is expected of the file.
  attend_load_options grouped = base;
  grouped.num_kv_heads = 2;
  run(grouped, base_twin);
  CHECK_SAME_BITS(output, before);
  for (const Isa isa : usable_isas()) {
    attend_load_options on = base;
    io::LoadOptions on_twin = base_twin;
    on.isa = static_cast<int>(on_twin.isa = isa);
    CHECK(run(on, on_twin).isa == on.isa);
  }
  // The layer without a table: with none, then with the other's.
  prefix = "b";
  base.relative_bias = "none";
  base_twin.relative_bias = base.relative_bias;
  run(base, base_twin);
  before.copy(output);
  changes("relative_bias", [](attend_load_options& o, io::LoadOptions& twin) {
    o.relative_bias = "a.relative_attention_bias.weight";
    twin.relative_bias = o.relative_bias;
  });
  prefix = "a";
  base.relative_bias = nullptr;
  base_twin.relative_bias.clear();
  // A file of bfloat16.
  for (io::SafetensorsTensor& tensor : tensors) tensor.dtype = "BF16";
  REQUIRE_OK(io::write_safetensors(path, tensors));
  run(base, base_twin);
  before.copy(output);
  attend_load_options of_file = base;
  io::LoadOptions of_file_twin = base_twin;
  of_file.weight_type_of_file = of_file_twin.weight_type_of_file = true;
  of_file.low_precision = attend_get_low_precision();
  of_file_twin.low_precision = low_precision();
  if (usable({WeightType::bfloat16, Arithmetic::float32})) {
    CHECK(run(of_file, of_file_twin).weight_type == ATTEND_WEIGHTS_BFLOAT16);
    CHECK_SAME_BITS(output, before);
  }

  // A GGUF file says how many heads there are, and that they are rotated.
  Tensor tokens({1, 4, 32}), outputs[2] = {Tensor({1, 4, 32}), Tensor({1, 4, 32})};
  tokens.fill(random);
  for (const int unrotated : {0, 1}) {
    attend_load_options of_gguf = {};
    of_gguf.size = sizeof of_gguf;
    of_gguf.unrotated = unrotated;
    attend_loaded_layer* loaded = nullptr;
    require_done(attend_load_layer(test_data("data/gguf/llama.gguf").c_str(), "blk.2", 0, &of_gguf, &loaded, &problem));
    const char* const remark = "rotated by frequencies of base 500 over 8 elements of a head, as the file says\n";
    CHECK(std::string(attend_loaded_layer_remarks(loaded)).find(remark) == (unrotated ? std::string::npos : 0));
    const attend_mha_call call = {sizeof call, in(tokens), in(tokens), in(tokens), {}, out(outputs[unrotated]), nullptr, nullptr};
    require_done(attend_mha_forward(attend_loaded_layer_mha(loaded), &call, &problem));
    attend_loaded_layer_destroy(loaded);
  }
  CHECK(first_difference(outputs[0], outputs[1]) != -1);

  // Blocks of Q4_0 are int4, in groups of 32 or, rounded anew, of another size.
  if (usable({WeightType::int4, Arithmetic::float32})) {
    for (const int group : {0, 64}) {
      attend_load_options int4 = {};
      int4.size = sizeof int4;
      int4.weight_type_of_file = group == 0;
      int4.weight_type = group == 0 ? ATTEND_WEIGHTS_FLOAT32 : ATTEND_WEIGHTS_INT4;
      int4.weight_group = group;
      int4.low_precision = attend_get_low_precision();
      attend_loaded_layer* loaded = nullptr;
      CHECK(attend_load_layer(test_data("data/gguf/llama.gguf").c_str(), "blk.3", 0, &int4, &loaded, &problem) == ATTEND_INVALID_ARGUMENT);
      int4.low_precision_int4 = attend_get_low_precision_int4();
      require_done(attend_load_layer(test_data("data/gguf/llama.gguf").c_str(), "blk.3", 0, &int4, &loaded, &problem));
      attend_mha_config config = {};
      config.size = sizeof config;
      require_done(attend_mha_get_config(attend_loaded_layer_mha(loaded), &config, nullptr, &problem));
      CHECK(config.weight_type == ATTEND_WEIGHTS_INT4);
      CHECK(config.weight_group == (group == 0 ? 32 : 64));
      attend_loaded_layer_destroy(loaded);
    }
  }

  // What is refused, in the caller's words.
  attend_loaded_layer* none = nullptr;
  const auto refused = [&](const std::function<void(attend_load_options&)>& change, const std::string& part) {
    attend_load_options wrong = base;
    change(wrong);
    CHECK(attend_load_layer(path.c_str(), "a", 2, &wrong, &none, &problem) == ATTEND_INVALID_ARGUMENT);
    CHECK_MESSAGE(std::string(problem.message).find(part) != std::string::npos, std::string(problem.message));
    CHECK(none == nullptr);
  };
  refused([](attend_load_options& o) { o.num_ignored = 0; }, "other");
  refused([](attend_load_options& o) { o.ignored = nullptr; }, "ignored: null, expected 1 names");
  refused([](attend_load_options& o) { o.num_kv_heads = 3; }, "3 heads");
  refused([](attend_load_options& o) { o.isa = 9; }, "isa: ");
  refused([](attend_load_options& o) { o.norm_epsilon = -1.0f; }, "norm_epsilon");
  refused([](attend_load_options& o) { o.weight_type = ATTEND_WEIGHTS_INT8; }, "low_precision: null");
  refused([](attend_load_options& o) { o.weight_type_of_file = 1; }, "low_precision: null, but weight_type is bfloat16");
  refused([](attend_load_options& o) { o.relative_bias = "b.missing"; }, "b.missing");
  refused([](attend_load_options& o) { o.size = 0; }, "options.size: 0, expected sizeof (attend_load_options)");
  check_invalid(attend_load_layer(nullptr, "a", 2, nullptr, &none, &problem), "path: null");
  check_invalid(attend_load_layer(path.c_str(), nullptr, 2, nullptr, &none, &problem), "prefix: null");
  check_invalid(attend_load_layer(path.c_str(), "a", 2, nullptr, nullptr, &problem), "layer: null");
  CHECK(attend_load_layer((path + "?").c_str(), "a", 2, nullptr, &none, nullptr) == ATTEND_INVALID_ARGUMENT);
  CHECK(attend_loaded_layer_mha(nullptr) == nullptr);
  CHECK(std::string(attend_loaded_layer_convention(nullptr)) + attend_loaded_layer_remarks(nullptr) == "");
  attend_options options = {};
  check_invalid(attend_loaded_layer_get_options(nullptr, &options, &problem), "layer: null");
  attend_loaded_layer_destroy(nullptr);
}

TEST_CASE("C API: arrays go through .npy files, whatever their strides") {
  Random random(72);
  const Folder folder;
  const std::string path = folder / "array.npy";
  Tensor x({2, 3, 4}, random);
  x.fill(random);
  const attend_const_tensor given = in(x);
  require_done(attend_write_npy_floats(path.c_str(), &given, &problem));
  attend_const_tensor read = {};
  require_done(attend_read_npy_floats(path.c_str(), &read, &problem));
  CHECK(read.rank == 3);
  CHECK(read.strides == nullptr);
  for (std::int64_t n = 0; n < x.count(); ++n) CHECK(read.data[n] == x[n]);
  attend_indices none = {};
  CHECK(attend_read_npy_integers(path.c_str(), &none, &problem) == ATTEND_INVALID_ARGUMENT);
  CHECK(none.data == nullptr);
  attend_free(read.data);
  attend_free(nullptr);

  const std::int64_t integers[] = {5, 0, -6, 0, 7, 0};
  const IndexView every_other = IndexView::strided(integers, {3}, {2});
  const attend_indices given_integers = numbers(every_other);
  require_done(attend_write_npy_integers(path.c_str(), &given_integers, &problem));
  attend_indices read_integers = {};
  require_done(attend_read_npy_integers(path.c_str(), &read_integers, &problem));
  CHECK(read_integers.sizes[0] == 3);
  for (int n = 0; n < 3; ++n) CHECK(read_integers.data[n] == integers[2 * n]);
  attend_free(read_integers.data);

  const std::uint8_t bools[] = {1, 0, 7, 0};
  const attend_bool_mask given_bools = c_view<attend_bool_mask>(BoolMaskView(bools, 2, 2));
  require_done(attend_write_npy_bools(path.c_str(), &given_bools, &problem));
  attend_bool_mask read_bools = {};
  require_done(attend_read_npy_bools(path.c_str(), &read_bools, &problem));
  CHECK(read_bools.rank == 2);
  for (int n = 0; n < 4; ++n) CHECK(read_bools.data[n] == (bools[n] != 0));
  attend_free(read_bools.data);

  attend_const_tensor wrong = given;
  wrong.data = nullptr;
  check_invalid(attend_write_npy_floats(path.c_str(), &wrong, &problem), "tensor: data is null");
  wrong.rank = 5;
  check_invalid(attend_write_npy_floats(path.c_str(), &wrong, &problem), "tensor: rank 5, expected 0 to 4");
  wrong = given;
  wrong.sizes[1] = -1;
  check_invalid(attend_write_npy_floats(path.c_str(), &wrong, &problem), "tensor: a size of -1");
  check_invalid(attend_write_npy_floats(nullptr, &given, &problem), "path: null");
  check_invalid(attend_write_npy_floats(path.c_str(), nullptr, &problem), "tensor: null");
  check_invalid(attend_read_npy_floats(path.c_str(), nullptr, &problem), "tensor: null");
}
