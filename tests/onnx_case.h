// A test case of an ONNX operator: a folder with case.json and a .npy file for each tensor.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "attend/io.hpp"
#include "engine_test.h"
#include "json_value.h"

namespace onnx_test {

using namespace engine_test;

/// An operator's inputs and outputs go by place, as in ONNX; one that is absent has no name.
class OnnxCase {
 public:
  explicit OnnxCase(const std::string& folder) : folder_(folder) {
    std::ifstream file(folder + "/case.json");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    json_ = JsonValue::parse(text);
  }

  const std::string& op() const { return json_["op"].text; }
  double attribute(const std::string& name, double otherwise) const {
    return has_attribute(name) ? json_["attrs"][name].number : otherwise;
  }
  bool has_attribute(const std::string& name) const { return json_["attrs"].has(name); }

  bool has_input(std::size_t place) const { return !name_of("node_inputs", place).empty(); }
  bool has_output(std::size_t place) const { return !name_of("node_outputs", place).empty(); }
  io::Array input(std::size_t place) const { return read(name_of("node_inputs", place)); }
  io::Array output(std::size_t place) const { return read(name_of("node_outputs", place)); }

  /// The same as float32, float16 widened; with no axes if absent.
  Tensor input_tensor(std::size_t place) const { return has_input(place) ? tensor_of(input(place)) : Tensor(Shape()); }
  Tensor output_tensor(std::size_t place) const { return tensor_of(output(place)); }
  /// Integers; none if absent.
  std::vector<std::int64_t> input_integers(std::size_t place) const {
    if (!has_input(place)) return {};
    io::Int64Tensor numbers;
    REQUIRE_OK(io::to_int64(input(place), &numbers));
    return numbers.owned;
  }

 private:
  std::string name_of(const char* list, std::size_t place) const {
    const std::vector<JsonValue>& names = json_[list].elements;
    return place < names.size() ? names[place].text : "";
  }
  io::Array read(const std::string& name) const {
    io::Array array;
    REQUIRE_OK(io::read_npy(folder_ + "/" + name + ".npy", &array));
    return array;
  }
  static Tensor tensor_of(const io::Array& array) {
    io::FloatTensor floats;
    REQUIRE_OK(io::to_float32(array, &floats));
    Tensor tensor(array.shape);
    for (std::int64_t n = 0; n < tensor.count(); ++n) tensor[n] = floats.view.data[n];
    return tensor;
  }

  std::string folder_;
  JsonValue json_;
};

}  // namespace onnx_test
