// The linear layer of the C API.
#include <new>

#include "api/c_options.h"
#include "api/c_workspace.h"
#include "base/memory.h"
#include "base/status.h"

namespace attend {

namespace {

static_assert(static_cast<int>(Activation::silu) == ATTEND_ACTIVATION_SILU, "the last of them");

// What attend_linear_make makes, before the packed weights.
struct MadeLinear {
  Linear linear;
  void* heap;  // the block that holds this and the packed weights, if it is ours
};

const Linear& linear_of(const attend_linear* linear) { return reinterpret_cast<const MadeLinear*>(linear)->linear; }

Status read_linear_config(const attend_linear_config* given, LinearConfig* config) {
  attend_linear_config whole;
  ATTEND_CHECK(complete("config", "attend_linear_config", given, &whole));
  config->inputs = whole.inputs;
  config->outputs = whole.outputs;
  config->isa = static_cast<Isa>(whole.isa);
  config->weight_type = static_cast<WeightType>(whole.weight_type);
  config->arithmetic = static_cast<Arithmetic>(whole.arithmetic);
  config->low_precision = low_precision_of(whole.low_precision);
  config->weight_group = whole.weight_group;
  return Status();
}

Status read_linear_weights(const attend_linear_weights* given, StoredMatrix* stored, LinearWeights* weights) {
  attend_linear_weights whole;
  ATTEND_CHECK(complete("weights", "attend_linear_weights", given, &whole));
  weights->matrix = view_of(whole.matrix);
  weights->bias = view_of(whole.bias);
  return read_stored("weights.stored", whole.stored, stored, &weights->stored);
}

Status read_linear_options(const attend_linear_options* given, LinearOptions* options) {
  if (given == nullptr) return Status();
  attend_linear_options whole;
  ATTEND_CHECK(complete("options", "attend_linear_options", given, &whole));
  options->activation = static_cast<Activation>(whole.activation);
  options->multiplier = view_of(whole.multiplier);
  options->threads = threads_of(whole.threads);
  return Status();
}

constexpr std::size_t linear_header = aligned_bytes(sizeof(MadeLinear));

std::size_t bytes_of_linear(const LinearConfig& config) {
  const std::size_t packed = Linear::packed_bytes(config);
  return packed == 0 ? 0 : linear_header + packed + alignment - 1;
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

size_t attend_linear_bytes(const attend_linear_config* config) {
  LinearConfig sizes;
  return read_linear_config(config, &sizes).ok() ? bytes_of_linear(sizes) : 0;
}

attend_code attend_linear_make(const attend_linear_config* config, const attend_linear_weights* weights, void* memory, size_t memory_bytes,
                               attend_linear** linear, attend_error* error) {
  LinearConfig sizes;
  StoredMatrix stored;
  LinearWeights matrices;
  attend_code code = report(read_linear_config(config, &sizes), error);
  if (code == ATTEND_OK) code = report(read_linear_weights(weights, &stored, &matrices), error);
  if (code != ATTEND_OK) return code;
  if (linear == nullptr) return report_null("linear", error);
  char* start = nullptr;
  void* heap = nullptr;
  const std::size_t bytes = bytes_of_linear(sizes);  // 0: the config is not valid, and making it says why
  if (bytes > 0) {
    code = report(take_memory("attend_linear_bytes", bytes, memory, memory_bytes, &start, &heap), error);
    if (code != ATTEND_OK) return code;
    if (heap != nullptr) prefer_huge_pages(heap, bytes);
  }
  Linear made;
  const Status status = Linear::make(sizes, matrices, &made, start == nullptr ? nullptr : start + linear_header, bytes > 0 ? bytes - linear_header : 0);
  if (status.ok()) {
    *linear = reinterpret_cast<attend_linear*>(new (start) MadeLinear{static_cast<Linear&&>(made), heap});
  } else {
    release(heap);
  }
  return report(status, error);
}

void attend_linear_destroy(attend_linear* linear) {
  if (linear == nullptr) return;
  MadeLinear* const made = reinterpret_cast<MadeLinear*>(linear);
  void* const heap = made->heap;
  made->~MadeLinear();
  release(heap);
}

attend_code attend_linear_get_config(const attend_linear* linear, attend_linear_config* config, attend_error* error) {
  if (linear == nullptr) return report_null("linear", error);
  const LinearConfig& made = linear_of(linear).config();
  attend_linear_config whole = {};
  whole.inputs = made.inputs;
  whole.outputs = made.outputs;
  whole.isa = static_cast<int>(made.isa);
  whole.weight_type = static_cast<int>(made.weight_type);
  whole.arithmetic = static_cast<int>(made.arithmetic);
  whole.low_precision = c_low_precision_of(made.low_precision);
  whole.weight_group = made.weight_group;
  return report(give_back("config", "attend_linear_config", &whole, sizeof whole, config), error);
}

attend_code attend_linear_forward(const attend_linear* linear, const attend_const_tensor* input, const attend_tensor* output,
                                  attend_workspace* workspace, const attend_linear_options* options, attend_error* error) {
  if (linear == nullptr) return report_null("linear", error);
  LinearOptions given;
  const attend_code code = report(read_linear_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  CallWorkspace scratch(workspace);
  return report(linear_of(linear).forward(view_of(input), view_of(output), scratch, given), error);
}

size_t attend_linear_workspace_bytes(const attend_linear* linear, int64_t batch, int64_t rows) {
  return linear == nullptr ? 0 : linear_of(linear).workspace_bytes(batch, rows);
}

}  // extern "C"
