// What is known of the models of GGUF files by the names of their architectures.
#include "io/architecture.h"

namespace attend::io {

namespace {

// As llama.cpp rotates them.
constexpr struct {
  const char* name;
  Rotation rotation;
} architectures[] = {
    {"llama", Rotation::pairs},    {"granite", Rotation::pairs}, {"arcee", Rotation::pairs},   {"internlm2", Rotation::pairs},  {"minicpm", Rotation::pairs},
    {"xverse", Rotation::pairs},   {"qwen2", Rotation::halves},  {"qwen3", Rotation::halves},  {"phi2", Rotation::halves},      {"phi3", Rotation::halves},
    {"stablelm", Rotation::halves}, {"gemma", Rotation::halves},  {"falcon", Rotation::halves}, {"starcoder2", Rotation::halves}, {"gptneox", Rotation::halves},
    {"gpt2", Rotation::none},      {"bert", Rotation::none},
};

}  // namespace

bool find_rotation(std::string_view architecture, Rotation* rotation) noexcept {
  for (const auto& known : architectures) {
    if (architecture != known.name) continue;
    *rotation = known.rotation;
    return true;
  }
  return false;
}

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  for (const auto& known : architectures) names.emplace_back(known.name);
  return names;
}

}  // namespace attend::io
