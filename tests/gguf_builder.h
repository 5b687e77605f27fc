// GGUF files as tests put them together, number by number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../tools/checks/random.h"
#include "kernels/half_floats.h"

namespace gguf_builder {

using namespace attend;

using Bytes = std::vector<unsigned char>;

template <class Number>
std::string bits(Number number) {
  return std::string(reinterpret_cast<const char*>(&number), sizeof number);
}
inline std::string text(const std::string& words) { return bits<std::uint64_t>(words.size()) + words; }
inline std::string half(float number) { return bits(float16_from_float(number)); }

// A GGUF file, as its format goes.
struct Builder {
  std::uint32_t version = 3;
  std::string values, infos, data;
  std::uint64_t num_values = 0, num_tensors = 0, alignment = 32;

  void value(const std::string& key, std::uint32_t kind, const std::string& bytes) {
    values += text(key) + bits(kind) + bytes;
    ++num_values;
  }
  void word(const std::string& key, const std::string& words) { value(key, 8, text(words)); }
  void count(const std::string& key, std::uint32_t number) { value(key, 4, bits(number)); }
  void number(const std::string& key, float number) { value(key, 6, bits(number)); }
  void words(const std::string& key, const std::vector<std::string>& texts) {
    std::string bytes = bits<std::uint32_t>(8) + bits<std::uint64_t>(texts.size());
    for (const std::string& one : texts) bytes += text(one);
    value(key, 9, bytes);
  }
  void counts(const std::string& key, const std::vector<std::uint32_t>& numbers) {
    std::string bytes = bits<std::uint32_t>(4) + bits<std::uint64_t>(numbers.size());
    for (const std::uint32_t one : numbers) bytes += bits(one);
    value(key, 9, bytes);
  }
  // `shape` is (out, in), as the file does not spell it.
  void tensor(const std::string& name, const std::vector<std::uint64_t>& shape, std::uint32_t type, const std::string& bytes) {
    infos += text(name) + bits(static_cast<std::uint32_t>(shape.size()));
    for (std::size_t axis = shape.size(); axis > 0; --axis) infos += bits(shape[axis - 1]);
    infos += bits(type) + bits<std::uint64_t>(data.size());
    data += bytes;
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    ++num_tensors;
  }
  void floats(const std::string& name, const std::vector<std::uint64_t>& shape, checks::Random& random) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : shape) count *= size;
    std::string bytes;
    for (std::uint64_t n = 0; n < count; ++n) bytes += bits(random.number());
    tensor(name, shape, 0, bytes);
  }
  std::string header() const { return "GGUF" + bits(version) + bits(num_tensors) + bits(num_values) + values + infos; }
  Bytes bytes() const {
    std::string all = header();
    all.resize((all.size() + alignment - 1) / alignment * alignment);
    all += data;
    return Bytes(all.begin(), all.end());
  }
};

}  // namespace gguf_builder
