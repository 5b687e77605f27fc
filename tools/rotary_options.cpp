// The flags of rotary position embedding: --rope-theta and what goes with it.
#include "rotary_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

struct Kind {
  const char* name;
  RotaryScalingKind kind;
};
constexpr Kind kinds[] = {{"linear", RotaryScalingKind::linear},
                          {"ntk", RotaryScalingKind::ntk},
                          {"yarn", RotaryScalingKind::yarn},
                          {"llama3", RotaryScalingKind::llama3}};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char character : text) {
    if (character == separator) parts.emplace_back();
    else parts.back() += character;
  }
  return parts;
}

/// Reads "llama3,factor=8,...": the scaling, and its attention factor if that is given. Throws Failure.
void read_scaling(const std::string& text, RotaryScaling* scaling, std::optional<float>* attention_factor) {
  const std::string what = "--rope-scaling " + io::quoted(text) + ": ";
  const std::vector<std::string> parts = split(text, ',');
  const auto kind = std::find_if(std::begin(kinds), std::end(kinds), [&](const Kind& one) { return parts[0] == one.name; });
  if (kind == std::end(kinds)) throw Failure(what + io::quoted(parts[0]) + " is none of linear, ntk, yarn, llama3");
  scaling->kind = kind->kind;
  const bool yarn = kind->kind == RotaryScalingKind::yarn, llama3 = kind->kind == RotaryScalingKind::llama3;
  double factor = NAN, attention = NAN, original = 0.0, truncate = 1.0;
  const struct {
    const char* name;
    bool known;
    double* number;
  } numbers[] = {{"factor", true, &factor},
                 {"original_max_position_embeddings", yarn || llama3, &original},
                 {"attention_factor", yarn, &attention},
                 {"beta_fast", yarn, &scaling->beta_fast},
                 {"beta_slow", yarn, &scaling->beta_slow},
                 {"truncate", yarn, &truncate},
                 {"low_freq_factor", llama3, &scaling->low_frequency_factor},
                 {"high_freq_factor", llama3, &scaling->high_frequency_factor}};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t equals = parts[i].find('=');
    const std::string name = parts[i].substr(0, equals), value = equals == std::string::npos ? "" : parts[i].substr(equals + 1);
    const auto number = std::find_if(std::begin(numbers), std::end(numbers), [&](const auto& one) { return one.known && name == one.name; });
    if (number == std::end(numbers)) throw Failure(what + kind->name + " has no number " + io::quoted(name));
    char* end;
    *number->number = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || !std::isfinite(*number->number)) {
      throw Failure(what + name + " is " + io::quoted(value) + ", expected a number");
    }
  }
  if (std::isnan(factor)) throw Failure(what + "factor is missing");
  if (original != std::floor(original) || std::abs(original) > 0x1p53) throw Failure(what + "original_max_position_embeddings is no integer below 2^53");
  scaling->factor = factor;
  scaling->original_max_position = static_cast<std::int64_t>(original);
  scaling->truncate = truncate != 0.0;
  if (!std::isnan(attention)) *attention_factor = static_cast<float>(attention);
}

}  // namespace

RotaryOptions::RotaryOptions(const Arguments& arguments) {
  if (arguments.text("--rope-theta") != "none") theta_ = arguments.text("--rope-theta");
  for (const char* flag : {"--rope-scaling", "--rope-dim", "--rope-interleaved"}) {
    if (theta_.empty() && arguments.has(flag)) throw Failure(std::string(flag) + " is for --rope-theta, which is " + (arguments.has("--rope-theta") ? "none" : "missing"));
  }
  if (theta_.empty()) return;
  base_ = arguments.number("--rope-theta", 0.0, 0.0);
  width_ = arguments.integer("--rope-dim", 0, 2, std::int64_t{1} << 20);
  interleaved_ = arguments.has("--rope-interleaved");
  if (arguments.has("--rope-scaling")) read_scaling(arguments.text("--rope-scaling"), &scaling_, &attention_factor_);
}

RotaryEmbedding RotaryOptions::embedding(std::int64_t head_width) {
  const std::int64_t width = width_ == 0 ? head_width : width_;
  if (width > head_width || width % 2 != 0) {
    throw Failure(format("%s asks to rotate %lld elements of a head of %lld, expected an even number of at most that", width_ == 0 ? "--rope-theta" : "--rope-dim",
                         static_cast<long long>(width), static_cast<long long>(head_width)));
  }
  frequencies_.resize(static_cast<std::size_t>(width / 2));
  const Status status = rotary_frequencies(width, base_, scaling_, TensorView(frequencies_.data(), width / 2));
  if (!status.ok()) throw Failure("--rope-theta " + io::quoted(theta_) + ": " + status.message());
  RotaryEmbedding rotary;
  rotary.inverse_frequencies = ConstTensorView(frequencies_.data(), width / 2);
  rotary.attention_factor = attention_factor_.value_or(rotary_attention_factor(scaling_));
  rotary.interleaved = interleaved_;
  return rotary;
}

}  // namespace attend::tool
