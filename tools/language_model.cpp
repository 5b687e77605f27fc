// A language model of llama's architecture: the scores of all tokens, by the tokens before.
#include "language_model.h"

#include <algorithm>
#include <cstdlib>

#include "failure.h"
#include "io/text.h"

namespace attend::tool {

namespace {

constexpr std::int64_t part_tokens = 512;  // how many tokens are read at a time

[[noreturn]] void refuse(const io::GgufFile& file, const std::string& what) { throw Failure(io::quoted(file.path()) + ": " + what); }

/// A count of the file from 1 to 2^24; 0 where it says nothing, if it need not.
std::int64_t count_of(const io::GgufFile& file, const std::string& key, bool required = true) {
  if (!required && file.find_value(key) == nullptr) return 0;
  std::vector<double> numbers;
  require(file.read_numbers(key, &numbers));
  if (numbers.size() != 1 || !(numbers[0] >= 1.0 && numbers[0] <= 0x1p24)) refuse(file, key + ": expected a count from 1 to 2^24");
  return static_cast<std::int64_t>(numbers[0]);
}

Linear read_linear(const io::GgufFile& file, const std::string& name, std::int64_t outputs, std::int64_t inputs, const Precision& precision, Isa isa) {
  io::FloatTensor matrix;
  require(file.read(name, {outputs, inputs}, &matrix));
  LinearConfig config;
  config.inputs = inputs;
  config.outputs = outputs;
  set_precision(precision, isa, &config);
  LinearWeights weights;
  weights.matrix = matrix.view;
  Linear linear;
  require(Linear::make(config, weights, &linear));
  return linear;
}

std::string block_prefix(std::int64_t number) { return "blk." + std::to_string(number) + '.'; }

/// Whether a model of so many blocks has a use for a tensor of that name. Of those of attention, io::make_layer knows which it takes.
bool is_known(const std::string& name, std::int64_t blocks) {
  if (name == "token_embd.weight" || name == "output_norm.weight" || name == "output.weight" || name == "rope_freqs.weight") return true;
  if (name.compare(0, 4, "blk.") != 0) return false;
  const std::int64_t block = std::strtoll(name.c_str() + 4, nullptr, 10);
  const std::string prefix = block_prefix(block), rest = name.substr(std::min(name.size(), prefix.size()));
  if (block < 0 || block >= blocks || name != prefix + rest) return false;
  return rest.compare(0, 5, "attn_") == 0 || rest == "ffn_norm.weight" || rest == "ffn_gate.weight" || rest == "ffn_up.weight" || rest == "ffn_down.weight";
}

/// Refuses tensors without which no result would be right.
void require_known(const io::GgufFile& file, std::int64_t blocks) {
  for (const io::TensorEntry& entry : file.entries()) {
    if (is_known(entry.name, blocks)) continue;
    require(io::tensor_error(file.path(), entry.name, "a model of llama's architecture and " + std::to_string(blocks) + " blocks has none of that name"));
  }
}

TensorView rows_of(std::vector<float>& values, std::int64_t rows, std::int64_t width) {
  const std::size_t count = static_cast<std::size_t>(rows * width);
  if (values.size() < count) values.resize(count);
  return TensorView(values.data(), 1, rows, width);
}

}  // namespace

std::int64_t LanguageModel::context(const io::GgufFile& file) { return count_of(file, "llama.context_length", false); }

LanguageModel::LanguageModel(const io::GgufFile& file, const Precision& precision, Isa isa) {
  const std::string& architecture = file.model().architecture;
  if (architecture != "llama") refuse(file, "a model of the architecture " + io::quoted(architecture) + "; there is llama");
  hiddens_ = count_of(file, "llama.feed_forward_length");
  const std::int64_t width = count_of(file, "llama.embedding_length"), blocks = count_of(file, "llama.block_count");
  const char* const epsilon = "llama.attention.layer_norm_rms_epsilon";
  if (file.find_value(epsilon) == nullptr) refuse(file, std::string("no ") + epsilon);
  epsilon_ = static_cast<float>(file.model().norm_epsilon);
  embedding_ = TokenEmbedding(file, "token_embd.weight");
  if (embedding_.width() != width) require(io::tensor_error(file.path(), "token_embd.weight", "rows of " + std::to_string(embedding_.width()) + ", expected llama.embedding_length, " + std::to_string(width)));
  require_known(file, blocks);
  // The largest matrix comes first: its floats are gone before the others are there.
  Precision of_scores = precision;
  if (precision.weight_type == WeightType::int4) {
    of_scores.weight_type = WeightType::int8;
    of_scores.group = 0;
  }
  const bool is_tied = file.find("output.weight") == nullptr;
  scores_ = read_linear(file, is_tied ? "token_embd.weight" : "output.weight", embedding_.tokens(), width, of_scores, isa);
  require(file.read("output_norm.weight", {width}, &last_norm_));
  for (std::int64_t n = 0; n < blocks; ++n) blocks_.push_back(read_block(file, n, precision, isa));
}

LanguageModel::Block LanguageModel::read_block(const io::GgufFile& file, std::int64_t number, const Precision& precision, Isa isa) const {
  const std::string prefix = block_prefix(number);
  const std::int64_t width = embedding_.width();
  Block block;
  io::LoadOptions options;
  set_precision(precision, isa, &options);
  io::LayerWeights found;
  require(io::find_layer(file, prefix, &found, 0, options));
  for (const std::int64_t size : {found.config.query_size, found.config.key_size, found.config.value_size, found.config.output_size}) {
    if (size == 0 || size == width) continue;
    refuse(file, "the attention of " + io::quoted(prefix) + " takes or gives rows of " + std::to_string(size) + ", expected llama.embedding_length, " + std::to_string(width));
  }
  require(io::make_layer(file, std::move(found), 0, &block.attention, options));
  require(file.read(prefix + "attn_norm.weight", {width}, &block.attention_norm));
  require(file.read(prefix + "ffn_norm.weight", {width}, &block.feed_forward_norm));
  block.gate = read_linear(file, prefix + "ffn_gate.weight", hiddens_, width, precision, isa);
  block.up = read_linear(file, prefix + "ffn_up.weight", hiddens_, width, precision, isa);
  block.down = read_linear(file, prefix + "ffn_down.weight", width, hiddens_, precision, isa);
  return block;
}

std::size_t LanguageModel::weight_bytes() const noexcept {
  const auto bytes_of = [](const io::FloatTensor& tensor) { return static_cast<std::size_t>(tensor.view.sizes[0]) * sizeof(float); };
  std::size_t bytes = Linear::packed_bytes(scores_.config()) + bytes_of(last_norm_);
  for (const Block& block : blocks_) {
    bytes += MultiHeadAttention::packed_bytes(block.attention.attention.config()) + bytes_of(block.attention_norm) + bytes_of(block.feed_forward_norm);
    for (const Linear* linear : {&block.gate, &block.up, &block.down}) bytes += Linear::packed_bytes(linear->config());
  }
  return bytes;
}

Reading::Reading(const LanguageModel& model, std::int64_t capacity, CacheType cache_type, Threads threads) : model_(model), threads_(threads), caches_(model.blocks_.size()) {
  for (std::size_t n = 0; n < caches_.size(); ++n) {
    const MultiHeadAttentionConfig& layer = model.blocks_[n].attention.attention.config();
    KeyValueCacheConfig config;
    config.num_kv_heads = layer.num_kv_heads;
    config.head_dim = layer.num_hiddens / layer.num_heads;
    config.capacity = capacity;
    config.type = cache_type;
    config.low_precision = cache_type == CacheType::float32 ? nullptr : low_precision();
    require(KeyValueCache::make(config, &caches_[n]));
  }
}

ConstTensorView Reading::read(const std::vector<std::int32_t>& tokens) {
  const std::int64_t count = static_cast<std::int64_t>(tokens.size());
  std::int64_t part = 0;
  for (std::int64_t first = 0; first < count; first += part) {
    part = std::min(part_tokens, count - first);
    read_part(tokens.data() + first, part, false);
  }
  return score(part, 1);
}

ConstTensorView Reading::read_each(const std::vector<std::int32_t>& tokens) {
  const std::int64_t count = static_cast<std::int64_t>(tokens.size());
  read_part(tokens.data(), count, true);
  return score(count, count);
}

/// Of the last rows of the part of so many tokens that was read last.
ConstTensorView Reading::score(std::int64_t count, std::int64_t rows) {
  const std::int64_t width = model_.embedding_.width(), vocabulary = model_.vocabulary();
  const TensorView normed = rows_of(normed_, rows, width), scores = rows_of(scores_, rows, vocabulary);
  NormOptions norm;
  norm.weight = model_.last_norm_.view;
  norm.residual = rows_of(sums_, count, width).slice(1, count - rows, rows);
  norm.isa = model_.isa();
  norm.threads = threads_;
  require(rms_norm_rows(rows_of(added_, count, width).slice(1, count - rows, rows), model_.epsilon_, normed, norm));
  LinearOptions options;
  options.threads = threads_;
  require(model_.scores_.forward(normed, scores, workspace_, options));
  return ConstTensorView(scores.data, rows, vocabulary);
}

/// Leaves in sums_ and added_ the two parts of what goes to the last norm. Attention of one row has other last bits than attention of several;
/// all else has the same bits for any rows.
void Reading::read_part(const std::int32_t* tokens, std::int64_t count, bool each) {
  const std::int64_t width = model_.embedding_.width(), hiddens = model_.hiddens_;
  const TensorView sums = rows_of(sums_, count, width), normed = rows_of(normed_, count, width), added = rows_of(added_, count, width);
  const TensorView up = rows_of(up_, count, hiddens), gated = rows_of(gated_, count, hiddens);
  for (std::int64_t n = 0; n < count; ++n) model_.embedding_.read(tokens[n], sums.data + n * width);
  std::fill(added.data, added.data + count * width, 0.0f);
  NormOptions norm;
  norm.residual = sums;
  norm.sum = sums;
  norm.isa = model_.isa();
  norm.threads = threads_;
  LinearOptions linear, gate;
  linear.threads = gate.threads = threads_;
  gate.activation = Activation::silu;
  gate.multiplier = up;
  for (std::size_t n = 0; n < caches_.size(); ++n) {
    const LanguageModel::Block& block = model_.blocks_[n];
    norm.weight = block.attention_norm.view;
    require(rms_norm_rows(added, model_.epsilon_, normed, norm));
    AttentionOptions options = block.attention.options;
    options.causal = true;
    options.threads = threads_;
    for (std::int64_t row = 0, rows = each ? 1 : count; row < count; row += rows) {
      const TensorView input = normed.slice(1, row, rows);
      require(block.attention.attention.forward_cached(input, input, input, {}, &caches_[n], added.slice(1, row, rows), workspace_, options));
    }
    norm.weight = block.feed_forward_norm.view;
    require(rms_norm_rows(added, model_.epsilon_, normed, norm));
    require(block.up.forward(normed, up, workspace_, linear));
    require(block.gate.forward(normed, gated, workspace_, gate));
    require(block.down.forward(gated, added, workspace_, linear));
  }
}

void Reading::forget_after(std::int64_t length) {
  for (KeyValueCache& cache : caches_) require(cache.truncate(0, length));
}

std::size_t Reading::cache_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const KeyValueCache& cache : caches_) bytes += KeyValueCache::bytes(cache.config());
  return bytes;
}

}  // namespace attend::tool
