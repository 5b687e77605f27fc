// The layer of a file in C: attend_io.h in terms of io.hpp.
#include <attend/attend_io.h>

#include <attend/io.hpp>
#include <memory>
#include <new>
#include <string>

#include "api/c_structs.h"
#include "io/guarded.h"

struct attend_loaded_layer {
  attend::io::LoadedLayer loaded;
  attend_relative_position_bias bias;  // for options to point to
  std::string remarks;
};

namespace attend::io {

namespace {

// Turns a caller's options into the library's; checks no more than whether texts are there.
Status read_options(const attend_load_options* given, LoadOptions* options) {
  if (given == nullptr) return Status();
  attend_load_options whole;
  Status status = complete("options", "attend_load_options", given, &whole);
  if (status.ok()) status = read_rotary(whole.rotary, &options->rotary);
  if (!status.ok()) return status;
  options->num_kv_heads = whole.num_kv_heads;
  options->isa = static_cast<Isa>(whole.isa);
  options->dropout = whole.dropout;
  options->norm_epsilon = whole.norm_epsilon;
  options->weight_type = static_cast<WeightType>(whole.weight_type);
  options->weight_type_of_file = whole.weight_type_of_file != 0;
  options->unrotated = whole.unrotated != 0;
  options->arithmetic = static_cast<Arithmetic>(whole.arithmetic);
  options->low_precision = low_precision_of(whole.low_precision);
  options->low_precision_int4 = low_precision_of(whole.low_precision_int4);
  options->weight_group = whole.weight_group;
  if (whole.relative_bias != nullptr) options->relative_bias = whole.relative_bias;
  for (int n = 0; n < whole.num_ignored; ++n) {
    if (whole.ignored == nullptr || whole.ignored[n] == nullptr) {
      return Status::error(StatusCode::invalid_argument, "ignored: null, expected %d names", whole.num_ignored);
    }
    options->ignored.emplace_back(whole.ignored[n]);
  }
  return status;
}

}  // namespace

}  // namespace attend::io

using namespace attend;

extern "C" {

attend_code attend_load_layer(const char* path, const char* prefix, int64_t num_heads, const attend_load_options* options,
                              attend_loaded_layer** layer, attend_error* error) {
  if (path == nullptr) return report_null("path", error);
  if (prefix == nullptr) return report_null("prefix", error);
  if (layer == nullptr) return report_null("layer", error);
  const auto load = [&]() -> Status {
    io::LoadOptions given;
    Status status = io::read_options(options, &given);
    if (!status.ok()) return status;
    auto made = std::make_unique<attend_loaded_layer>();
    status = io::load_layer(path, prefix, num_heads, &made->loaded, given);
    if (!status.ok()) return status;
    const RelativePositionBias& bias = made->loaded.options.relative_position_bias;
    made->bias = {sizeof made->bias, c_view_of<attend_const_tensor>(bias.table), !bias.bidirectional, bias.max_distance};
    for (const std::string& remark : made->loaded.remarks) made->remarks += remark + '\n';
    *layer = made.release();
    return status;
  };
  return report(io::guarded(load), error);
}

void attend_loaded_layer_destroy(attend_loaded_layer* layer) { delete layer; }

const attend_mha* attend_loaded_layer_mha(const attend_loaded_layer* layer) {
  return layer == nullptr ? nullptr : reinterpret_cast<const attend_mha*>(&layer->loaded.attention);
}

const char* attend_loaded_layer_convention(const attend_loaded_layer* layer) { return layer == nullptr ? "" : layer->loaded.convention; }

const char* attend_loaded_layer_remarks(const attend_loaded_layer* layer) { return layer == nullptr ? "" : layer->remarks.c_str(); }

attend_code attend_loaded_layer_get_options(const attend_loaded_layer* layer, attend_options* options, attend_error* error) {
  if (layer == nullptr) return report_null("layer", error);
  const AttentionOptions& of_file = layer->loaded.options;
  attend_options whole = {};
  whole.scale = of_file.scale;
  whole.softcap = of_file.softcap;
  whole.sinks = c_view_of<attend_const_tensor>(of_file.sinks);
  if (!of_file.relative_position_bias.table.absent()) whole.relative_position_bias = &layer->bias;
  return report(give_back("options", "attend_options", &whole, sizeof whole, options), error);
}

}  // extern "C"
