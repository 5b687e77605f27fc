// Runs a BERT model on packed texts: embeddings, layers, the average of each text's rows, scaled to length 1.
#include "sentence_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "failure.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr std::size_t tokens_of_a_group = 512;  // that pass through the layers at once: their hidden rows stay in the L2 or L3

/// Calls task(i) for i < count on the threads; what the first one that fails throws is thrown here.
template <class Task>
void for_each(std::int64_t count, const Threads& threads, const Task& task) {
  struct Shared {
    const Task& task;
    std::vector<std::exception_ptr> thrown;
  } shared = {task, std::vector<std::exception_ptr>(static_cast<std::size_t>(count))};
  const auto guarded = [](void* context, int index) {
    Shared& all = *static_cast<Shared*>(context);
    try {
      all.task(index);
    } catch (...) {
      all.thrown[static_cast<std::size_t>(index)] = std::current_exception();
    }
  };
  if (threads.count > 1) {
    threads.parallel_for(threads.pool, static_cast<int>(count), guarded, &shared);
  } else {
    for (int i = 0; i < count; ++i) guarded(&shared, i);
  }
  for (const std::exception_ptr& thrown : shared.thrown) {
    if (thrown) std::rethrow_exception(thrown);
  }
}

Linear load_linear(const io::TensorFile& file, const std::string& name, std::int64_t inputs, std::int64_t outputs, const Precision& precision, Isa isa) {
  io::FloatTensor matrix, bias;
  require(file.read(name + ".weight", {outputs, inputs}, &matrix));
  require(file.read(name + ".bias", {outputs}, &bias));
  LinearConfig config;
  config.inputs = inputs;
  config.outputs = outputs;
  set_precision(precision, isa, &config);
  Linear linear;
  require(Linear::make(config, {matrix.view, bias.view}, &linear));
  return linear;
}

}  // namespace

SentenceEncoder::SentenceEncoder(const std::string& folder, const ModelPrecision& precision, Isa isa, const Threads& threads)
    : config_(folder), tokenizer_(folder), isa_(isa) {
  if (precision.bfloat16_attention && core_instructions(Arithmetic::bfloat16, isa) != nullptr) {
    core_.core_arithmetic = Arithmetic::bfloat16;
    core_.low_precision = low_precision();
  }
  load(folder + "/model.safetensors", precision, isa, threads);
}

void SentenceEncoder::load(const std::string& path, const ModelPrecision& precision, Isa isa, const Threads& threads) {
  const std::int64_t width = config_.width;
  io::TensorFile file;
  require(io::TensorFile::open(path, &file));
  prefix_ = file.find("embeddings.word_embeddings.weight") != nullptr ? "" : "bert.";
  const auto read_norm = [&](const std::string& name) {
    Norm norm;
    require(file.read(name + ".weight", {width}, &norm.weight));
    require(file.read(name + ".bias", {width}, &norm.bias));
    norm.weight.keep();
    norm.bias.keep();
    return norm;
  };
  require(file.read(prefix_ + "embeddings.position_embeddings.weight", {config_.positions, width}, &positions_));
  positions_.keep();
  const std::string types_name = prefix_ + "embeddings.token_type_embeddings.weight";
  const io::TensorEntry* const entry = file.find(types_name);
  const std::int64_t types_of_tokens = entry != nullptr && !entry->shape.empty() ? std::max<std::int64_t>(1, entry->shape[0]) : 1;
  io::FloatTensor types;
  require(file.read(types_name, {types_of_tokens, width}, &types));
  for (std::size_t i = 0; i < positions_.owned.size(); ++i) positions_.owned[i] += types.view.data[static_cast<std::int64_t>(i) % width];
  embedding_norm_ = read_norm(prefix_ + "embeddings.LayerNorm");

  layers_.resize(static_cast<std::size_t>(config_.layers));
  for_each(config_.layers, threads, [&](std::int64_t n) {
    Layer& layer = layers_[static_cast<std::size_t>(n)];
    const std::string name = prefix_ + "encoder.layer." + std::to_string(n);
    io::LoadOptions options;
    set_precision(precision.linear, isa, &options);
    options.ignored = {"output.LayerNorm"};
    io::LayerWeights found;
    require(io::find_layer(file, name + ".attention", &found, config_.heads, options));
    require(io::make_layer(file, std::move(found), config_.heads, &layer.attention, options));
    const MultiHeadAttentionConfig& made = layer.attention.attention.config();
    for (const std::int64_t size : {made.query_size, made.key_size, made.value_size, made.output_size}) {
      if (size == 0 || size == width) continue;
      throw Failure(format("%s: layer %lld of attention takes or gives rows of %lld, expected hidden_size, %lld", io::quoted(path).c_str(), static_cast<long long>(n),
                           static_cast<long long>(size), static_cast<long long>(width)));
    }
    layer.up = load_linear(file, name + ".intermediate.dense", width, config_.hidden_width, precision.linear, isa);
    layer.down = load_linear(file, name + ".output.dense", config_.hidden_width, width, precision.linear, isa);
    layer.attention_norm = read_norm(name + ".attention.output.LayerNorm");
    layer.output_norm = read_norm(name + ".output.LayerNorm");
  });

  // The file anew: pages of matrices that were packed are let go, and of the table of words those alone come that texts ask for.
  file = io::TensorFile();
  require(io::TensorFile::open(path, &file_));
  require(file_.read(prefix_ + "embeddings.word_embeddings.weight", {tokenizer_.vocabulary().size(), width}, &words_));
}

void SentenceEncoder::norm(const Norm& norm, const ConstTensorView& input, const ConstTensorView& residual, const TensorView& output,
                           const Threads& threads) const {
  NormOptions options;
  options.weight = norm.weight.view;
  options.bias = norm.bias.view;
  options.residual = residual;
  options.isa = isa_;
  options.threads = threads;
  require(layer_norm(input, config_.epsilon, output, options));
}

AttentionOptions SentenceEncoder::attention_options(const Layer& layer, const Threads& threads) const {
  AttentionOptions options = layer.attention.options;
  options.core_arithmetic = core_.core_arithmetic;
  options.low_precision = core_.low_precision;
  options.threads = threads;
  options.query_starts = options.key_starts = IndexView(starts_.data(), static_cast<std::int64_t>(starts_.size()));
  return options;
}

void SentenceEncoder::run(const std::vector<std::int32_t>* texts, std::size_t count, std::int64_t layers, const Threads& threads) {
  const std::int64_t width = config_.width;
  starts_.assign(1, 0);
  for (std::size_t n = 0; n < count; ++n) starts_.push_back(starts_.back() + static_cast<std::int64_t>(texts[n].size()));
  const std::int64_t tokens = starts_.back();
  const auto make_room = [tokens](std::vector<float>* rows, std::int64_t columns) {
    if (static_cast<std::int64_t>(rows->size()) < tokens * columns) rows->resize(static_cast<std::size_t>(tokens * columns));
  };
  make_room(&x_, width);
  make_room(&attended_, width);
  make_room(&hidden_, config_.hidden_width);

  const TensorView x(x_.data(), 1, tokens, width), attended(attended_.data(), 1, tokens, width);
  const TensorView hidden(hidden_.data(), 1, tokens, config_.hidden_width);
  float* row = attended_.data();
  for (std::size_t n = 0; n < count; ++n) {
    for (const std::int32_t id : texts[n]) {
      std::memcpy(row, words_.view.data + id * width, static_cast<std::size_t>(width) * sizeof(float));
      row += width;
    }
    const std::int64_t length = starts_[n + 1] - starts_[n], offset = starts_[n] * width;
    norm(embedding_norm_, ConstTensorView(attended_.data() + offset, length, width), ConstTensorView(positions_.view.data, length, width),
         TensorView(x_.data() + offset, length, width), {});
  }
  LinearOptions up, down;
  up.activation = config_.activation;
  up.threads = down.threads = threads;
  for (std::int64_t n = 0; n < layers; ++n) {
    const Layer& layer = layers_[static_cast<std::size_t>(n)];
    require(layer.attention.attention.forward(x, x, x, {}, attended, workspace_, attention_options(layer, threads)));
    norm(layer.attention_norm, attended, x, x, threads);
    require(layer.up.forward(x, hidden, workspace_, up));
    require(layer.down.forward(hidden, attended, workspace_, down));
    norm(layer.output_norm, attended, x, x, threads);
  }
}

void SentenceEncoder::encode(const std::vector<std::vector<std::int32_t>>& texts, float* vectors, const Threads& threads) {
  const std::size_t width = static_cast<std::size_t>(config_.width);
  for (std::size_t first = 0; first < texts.size();) {
    std::size_t end = first + 1, tokens = texts[first].size();
    while (end < texts.size() && tokens + texts[end].size() <= tokens_of_a_group) tokens += texts[end++].size();
    run(texts.data() + first, end - first, config_.layers, threads);
    const float* row = x_.data();
    for (std::size_t n = first; n < end; ++n) {
      std::vector<double> total(width);
      for (std::size_t token = 0; token < texts[n].size(); ++token, row += width) {
        for (std::size_t c = 0; c < width; ++c) total[c] += static_cast<double>(row[c]);
      }
      double squares = 0.0;
      for (const double sum : total) squares += sum * sum;
      const double length = std::sqrt(squares);
      for (std::size_t c = 0; c < width; ++c) vectors[n * width + c] = static_cast<float>(length > 0.0 ? total[c] / length : 0.0);
    }
    first = end;
  }
}

void SentenceEncoder::attention_weights(const std::vector<std::int32_t>& text, std::int64_t layer, float* weights, const Threads& threads) {
  run(&text, 1, layer, threads);
  const std::int64_t tokens = starts_.back();
  const Layer& last = layers_[static_cast<std::size_t>(layer)];
  AttentionOptions options = attention_options(last, threads);
  options.query_starts = options.key_starts = {};
  options.attention_weights = TensorView(weights, 1, config_.heads, tokens, tokens);
  const ConstTensorView x(x_.data(), 1, tokens, config_.width);
  require(last.attention.attention.forward(x, x, x, {}, TensorView(attended_.data(), 1, tokens, config_.width), workspace_, options));
}

}  // namespace attend::tool
