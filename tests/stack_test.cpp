// Tests of the stack: what a call takes along its deepest chain of calls, on every ISA of a build, whether this CPU runs it or not.
//
// The frames are those that the compiler says (-fstack-usage): each engine object has a .su file beside it in the folder
// ATTEND_BUILD. Who calls whom stands below. A new kernel, or a new function of a kernel's, goes into that list: one that is
// not in it fails the test. With ATTEND_SHOW_STACK set, the deepest chain of each ISA is printed.
#include <doctest.h>

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/isas.h"

// Sanitizers have frames of their own.
#if defined(__has_feature)
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !HAS_FEATURE(address_sanitizer) && !HAS_FEATURE(thread_sanitizer)

namespace {

constexpr std::size_t limit = 8192, libc = 512;  // what libc and libm take below the last function

/// A function is `file:name` in the engine, `name` in a kernel file: overloads and instances of a template are one, as deep as
/// the deepest. What is inlined has no frame and counts in its caller. Stages run through pointers: functions joined by `+`
/// are a chain of their own, of which what follows `@` only tells one from the other.
const std::string stages_of = "base/parallel:run_stages+base/parallel:run_awake+api/thread_pool:run_region+base/parallel:take_part@";

const std::map<std::string, std::string> calls = {
    // The public calls.
    {"api/c_layer:attend_mha_make", "api/c_layer:take_place api/multi_head_attention:make"},
    {"api/c_layer:attend_mha_make_random", "api/c_layer:take_place api/multi_head_attention:make_random"},
    {"api/c_layer:attend_mha_forward", "api/c_layer:read_call api/multi_head_attention:forward"},
    {"api/c_layer:read_call", "api/c_options:read_options"},
    {"api/c_core:attend_attention", "api/c_core:read_call api/core:attention"},
    {"api/c_core:attend_dot_product_attention", "api/c_core:read_call api/core:forward"},
    {"api/c_core:read_call", "api/c_options:read_options"},
    {"api/c_cache:attend_mha_forward_cached", "api/c_cache:read_call api/multi_head_attention:forward_cached"},
    {"api/c_cache:attend_mha_project", "api/c_cache:read_call api/multi_head_attention:project"},
    {"api/c_cache:attend_attention_cached", "api/c_cache:read_call api/core:attention_cached"},
    {"api/c_cache:attend_kv_cache_append", "api/c_options:read_options api/cache:append"},
    {"api/c_cache:read_call", "api/c_options:read_options"},
    {"api/c_options:read_options", "api/c_options:read_bias api/c_options:complete"},
    {"api/c_operations:attend_matmul", "api/c_options:read_options api/operations:matmul"},
    {"api/c_operations:attend_sequence_mask", "api/c_options:read_options api/operations:sequence_mask"},
    {"api/c_operations:attend_masked_softmax", "api/c_options:read_options api/operations:masked_softmax"},
    {"api/c_operations:attend_transpose_qkv", "api/c_options:read_options api/operations:transpose_qkv"},
    {"api/c_operations:attend_transpose_output", "api/c_options:read_options api/operations:transpose_output"},
    {"api/c_operations:attend_rms_norm", "api/c_options:read_options api/positions:rms_norm"},
    {"api/c_linear:attend_linear_forward", "api/linear:forward"},
    {"api/c_linear:attend_linear_make", "api/linear:make"},
    {"api/c_norms:attend_layer_norm", "api/norms:layer_norm"},
    {"api/c_norms:attend_rms_norm_rows", "api/norms:rms_norm_rows"},
    {"api/c_operations:attend_merge", "api/c_options:read_options api/core:merge"},
    {"api/c_positions:attend_rotate", "api/c_options:read_options api/positions:rotary_embedding"},
    {"api/linear:make", "data/layer:pack_projection data/low_precision:pack_low_precision data/int4:pack_int4"},
    {"api/linear:forward", stages_of + "linear"},
    {"api/norms:layer_norm", "api/norms:norm"},
    {"api/norms:rms_norm_rows", "api/norms:norm"},
    {"api/norms:norm", stages_of + "norm"},
    {"api/multi_head_attention:make_random", "api/multi_head_attention:make"},
    {"api/multi_head_attention:make", "data/layer:pack_layer"},
    {"api/low_precision:product_instructions", "data/low_precision:find_product"},
    {"data/low_precision:find_product", "data/products:find_of"},
    {"data/products:find_of", "data/products:usable_of"},
    {"api/low_precision:core_instructions", "data/low_precision:find_core"},
    {"api/int4:int4_instructions", "data/int4:find_int4_product"},
    {"data/int4:find_int4_product", "data/products:find_of"},
    {"api/c_int4:attend_int4_instructions", "api/int4:int4_instructions"},
    {"api/c_low_precision:attend_product_instructions", "api/low_precision:product_instructions"},
    {"api/c_low_precision:attend_core_instructions", "api/low_precision:core_instructions"},
    {"api/multi_head_attention:forward", "api/multi_head_attention:run"},
    {"api/multi_head_attention:forward_cached", "api/multi_head_attention:run"},
    {"api/multi_head_attention:project", "api/multi_head_attention:run"},
    {"api/multi_head_attention:run", "api/multi_head_attention:prepare " + stages_of + "layer " + stages_of + "attention"},
    {"api/multi_head_attention:prepare", "run/attention:write_padding call/describe:describe plan/forward_plan:plan_forward api/multi_head_attention:add_projections"},
    {"api/core:attention", "api/core:prepare api/core:run"},
    {"api/core:attention_cached", "api/core:prepare_cached api/core:run"},
    {"api/core:forward", "api/core:prepare_dot_product api/core:run"},
    {"api/core:prepare_dot_product", "api/core:prepare"},
    {"api/core:prepare", "api/core:place"},
    {"api/core:prepare_cached", "api/core:place"},
    {"api/core:place", "run/attention:write_padding"},
    {"api/core:run", stages_of + "attention"},
    {"api/operations:matmul", stages_of + "matmul"},
    {"api/operations:sequence_mask", stages_of + "sequence_mask"},
    {"api/operations:masked_softmax", stages_of + "masked_softmax"},
    {"api/operations:transpose_qkv", "api/operations:transpose"},
    {"api/operations:transpose_output", "api/operations:transpose"},
    {"api/operations:transpose", stages_of + "transpose"},
    {"api/positions:rotary_embedding", stages_of + "rotary"},
    {"api/positions:rms_norm", stages_of + "rms_norm"},
    {"api/cache:append", stages_of + "append"},

    // Their stages.
    {stages_of + "layer", "run/forward:run_converted_inputs run/forward:run_inputs run/forward:run_head_rows run/forward:run_new_rows run/forward:run_converted_heads run/forward:run_output"},
    {stages_of + "attention", "run/attention:run_compute run/attention:run_merge run/attention:run_weights"},
    {stages_of + "matmul", "api/operations:run_pack api/operations:run_product"},
    {stages_of + "sequence_mask", "api/operations:run_sequence_mask"},
    {stages_of + "masked_softmax", "api/operations:run_masked_softmax"},
    {stages_of + "transpose", "api/operations:run_transpose"},
    {stages_of + "rotary", "api/positions:run_fill api/positions:run_rotate"},
    {stages_of + "rms_norm", "api/positions:run_rms_norm"},
    {stages_of + "linear", "api/linear:run_convert api/linear:run_linear"},
    {stages_of + "norm", "api/norms:run_norm"},
    {stages_of + "append", "api/cache:run_append"},

    // Tasks.
    {"run/forward:run_converted_inputs", "run/converted_rows:run"},
    {"run/forward:run_converted_heads", "run/converted_rows:run"},
    {"run/converted_rows:run", "convert_to_shorts convert_to_bytes convert_to_halves convert_to_rounded convert_to_groups"},
    {"run/forward:run_inputs", "run/projection:run"},
    {"run/forward:run_output", "run/projection:run"},
    {"run/forward:run_head_rows", "run/head_rows:run"},
    {"api/operations:run_pack", "data/layer:pack_projection"},
    {"api/operations:run_product", "run/projection:run"},
    {"api/operations:run_sequence_mask", "copy fill"},
    {"api/operations:run_masked_softmax", "softmax"},
    {"api/operations:run_transpose", "copy"},
    {"api/positions:run_fill", "run/rotary_rows:fill"},
    {"api/positions:run_rotate", "run/rotary_rows:rotate"},
    {"run/rotary_rows:rotate", "rotate"},
    {"api/positions:run_rms_norm", "run/rotary_rows:normalize_row"},
    {"run/rotary_rows:normalize_row", "rms_norm"},
    {"api/linear:run_convert", "run/converted_rows:run"},
    {"api/linear:run_linear", "run/linear_rows:run"},
    {"run/linear_rows:run", "run/projection:run activate"},
    {"api/norms:run_norm", "normalize"},
    {"api/cache:run_append", "run/append:run"},
    {"run/forward:run_new_rows", "run/append:run"},
    {"run/append:run", "run/append:append_rows"},
    {"run/append:append_rows", "copy store_row"},
    {"data/layer:pack_layer", "data/layer:pack_projection data/low_precision:pack_low_precision data/int4:pack_int4"},
    {"data/layer:pack_projection", "pack"},
    {"run/projection:run", "gemm gemm_int8 gemm_bfloat16 gemm_widened_int8 gemm_widened_bfloat16 gemm_widened_float16 "
                           "gemm_int4 gemm_widened_int4 gemm_int4_by_chunks"},
    {"run/head_rows:run", "run/rotary_rows:fill run/rotary_rows:rotate run/rotary_rows:normalize_row"},

    // Attention.
    {"run/attention:run_compute", "run/tiles:run_tiles run/decode:run_decode_chunk"},
    {"run/attention:run_merge", "run/decode:merge_decode_chunks"},
    {"run/attention:run_weights", "run/decode:write_decode_weights"},
    {"run/tiles:run_tiles", "run/tiles:copy_keys run/tiles:run_rows"},
    {"run/tiles:copy_keys", "run/tiles:copy_rows run/tiles:copy_pairs"},
    {"run/tiles:copy_pairs", "round_keys pair_values"},
    {"run/tiles:copy_rows", "copy"},
    {"run/tiles:run_rows", "run/tile:run_tile run/tiles:take_seeing"},
    {"run/tiles:take_seeing", "data/attention:write_empty_row"},
    {"run/tile:run_tile", "pack_queries pair_queries run/tile_scores:describe_lanes run/tile:run_blocks run/tile:finish run/tile:write_weights"},
    {"run/tile_scores:describe_lanes", "data/attention:rules_of"},
    {"run/tile:run_blocks", "run/tile:weigh run/tile_values:accumulate_visible run/tile_values:accumulate_ranges run/tile_values:accumulate run/tile_values:fold unfold run/tile_frames:add_sinks"},
    {"run/tile:weigh", "run/tile_scores:fill_visible run/tile_scores:fill_bias run/tile_scores:score run/tile_frames:settle_frames"},
    {"run/tile_frames:settle_frames", "run/tile_scores:describe_lanes run/tile_scores:fill_visible run/tile_frames:move_frames run/tile_scores:fill_bias run/tile_scores:score run/tile_values:rescale"},
    {"run/tile_frames:move_frames", "run/tile_frames:largest_bias run/tile_frames:rise_of"},
    {"run/tile_frames:largest_bias", "data/biases:bias_at data/biases:bias_difference"},
    {"run/tile_frames:rise_of", "data/biases:bias_difference"},
    {"run/tile_frames:reference_above", "data/biases:bias_difference"},
    {"run/tile_scores:fill_visible", "fill_visible"},
    {"run/tile_scores:fill_bias", "fill_bias"},
    {"run/tile_scores:score", "run/tile_scores:widen_keys scores_plain scores_general"},
    {"run/tile_scores:widen_keys", "run/widened_rows:widen_rows"},
    {"run/widened_rows:widen_rows", "widen_rows"},
    {"run/tile_values:accumulate_visible", "run/tile_values:poisoned_groups run/tile_values:accumulate_groups"},
    {"run/tile_values:accumulate_ranges", "run/tile_values:accumulate"},
    {"run/tile_values:accumulate", "run/tile_values:accumulate_pages accumulate"},
    {"run/tile_values:accumulate_pages", "copy run/widened_rows:widen_rows accumulate"},
    {"run/tile_values:accumulate_groups", "run/tile_values:extend fill"},
    {"run/tile_values:extend", "run/tile_values:next_run accumulate"},
    {"run/tile_values:next_run", "run/widened_rows:widen_rows"},
    {"run/tile_values:poisoned_groups", "run/tile_values:next_run accumulate"},
    {"run/tile_values:fold", "fold"},
    {"run/tile_frames:add_sinks", "run/tile_scores:describe_lanes run/tile_frames:reference_above run/tile_values:rescale data/biases:bias_difference"},
    {"run/tile_values:rescale", "rescale"},
    {"run/tile:finish", "finish"},
    {"run/tile:write_weights", "run/tile:weigh run/tile_frames:reference_above write_weights fill"},
    {"run/attention:write_padding", "data/attention:write_empty_row"},
    {"data/attention:write_empty_row", "fill"},
    {"run/decode:run_decode_chunk", "run/decode:take_queries run/decode:run_chunk"},
    {"run/decode:run_chunk", "fill run/decode:score run/decode:weigh run/decode:scale_row run/decode:add"},
    {"run/decode:score", "decode_scores decode_stored_scores run/decode:scale_row"},
    {"run/decode:scale_row", "scale_numbers"},
    {"run/decode:weigh", "run/decode:take_bias decode_weights"},
    {"run/decode:take_bias", "data/attention:rules_of decode_bias data/biases:bias_at data/biases:bias_difference"},
    {"run/decode:add", "decode_values decode_stored_values"},
    {"run/decode:merge_decode_chunks", "run/decode:merge_sums run/decode:merge_outputs finish data/attention:write_empty_row data/biases:bias_difference"},
    {"run/decode:merge_sums", "run/decode:rise_of"},
    {"run/decode:merge_outputs", "run/decode:merge_columns_from"},
    {"run/decode:rise_of", "data/biases:bias_difference"},
    {"run/decode:write_decode_weights", "run/decode:take_queries run/decode:score run/decode:weigh fill"},

    // Kernels.
    {"gemm", "place_columns gemm_tiles"},
    {"round_keys", "gather"},
    {"pair_values", "gather"},
    {"gemm_int8", "place_columns gemm_tiles"},
    {"gemm_bfloat16", "place_columns gemm_tiles"},
    {"gemm_widened_int8", "place_columns gemm_tiles"},
    {"gemm_widened_bfloat16", "place_columns gemm_tiles"},
    {"gemm_widened_float16", "place_columns gemm_tiles"},
    {"gemm_int4", "place_columns gemm_tiles"},
    {"gemm_widened_int4", "place_columns gemm_tiles"},
    {"gemm_int4_by_chunks", "gemm_widened_int4 gemm_chunks"},
    {"gemm_chunks", "place_columns add_chunk write_tile"},
    {"convert_to_shorts", "gather"},
    {"convert_to_bytes", "gather"},
    {"convert_to_halves", "gather"},
    {"convert_to_rounded", "gather"},
    {"convert_to_groups", "gather"},
    {"convert_to_rounded", "bfloat16_from_float"},
    {"store_bfloat16", "bfloat16_from_float"},
    {"gemm_tiles", "write_tile widen_float16"},
    {"write_tile", "scatter"},
    {"pack", "pack_rows pack_strided_rows"},
    {"pack_queries", "pack_rows pack_strided_rows"},
    {"scores_plain", "scores score_block weigh_chains"},
    {"scores_general", "scores score_block weigh_chains"},
    {"scores", "score_block weigh_chains"},
    {"score_block", "weigh_chains fetch_for_tile"},
    {"fill_visible", "hide_masked hide_infinite hide_strangers gather"},
    {"fill_bias", "fill_rows"},
    {"decode_bias", "fill_rows"},
    {"fill_rows", "gather without_strangers"},
    {"accumulate", "accumulate_lanes_from"},
    {"finish", "gather scatter"},
    {"write_weights", "gather scatter"},
    {"decode_scores", "gather"},
    {"decode_weights", "gather"},
    {"decode_values", "gather"},
    {"store_row", "take_row store_bfloat16 store_float16"},
    {"widen_rows", "widen_float16"},
    {"decode_stored_scores", "decode_scores_by"},
    {"decode_scores_by", "score_rows_of"},
    {"score_rows_of", "add_lanes widen_float16"},
    {"decode_stored_values", "decode_values_by"},
    {"decode_values_by", "value_chains"},
    {"value_chains", "widen_float16"},
    {"softmax", "fill gather scatter"},
    {"rotate", "copy gather scatter"},
    {"rms_norm", "gather scatter"},
    {"normalize", "gather scatter"},
    {"activate", "activate_rows"},
    {"activate_rows", "gather scatter"},
    {"exp2_array", ""},  // for tests alone
};

std::vector<std::string> words_of(const std::string& text, char separator = ' ') {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

/// `score_block` of `bool attend::avx2::{anonymous}::score_block(const attend::ScoreArguments&) [with int rows = 4]` (g++), or of
/// the mangled name (clang).
std::string name_of(std::string signature) {
  int error = 0;
  char* const demangled = abi::__cxa_demangle(signature.c_str(), nullptr, nullptr, &error);
  if (demangled != nullptr) signature = demangled;
  std::free(demangled);
  for (const std::string anonymous : {"(anonymous namespace)::", "{anonymous}::"}) {
    for (std::size_t at; (at = signature.find(anonymous)) != std::string::npos;) signature.erase(at, anonymous.size());
  }
  std::string plain;  // without template arguments
  int depth = 0;
  for (char c : signature) {
    depth += c == '<';
    if (depth == 0) plain += c;
    depth -= c == '>';
  }
  plain = plain.substr(0, plain.find('('));
  const std::size_t before = plain.find_last_of(" :*&");
  return before == std::string::npos ? plain : plain.substr(before + 1);
}

struct Frames {
  std::map<std::string, std::size_t> bytes;  // by function
  std::vector<std::string> unbounded;

  /// Of a .su file: a line is `file:line:column:signature <tab> bytes <tab> qualifiers`, without a column where clang wrote it.
  bool read(const std::string& path, const std::string& prefix) {
    std::ifstream file(path);
    if (!file) return false;
    for (std::string line; std::getline(file, line);) {
      const std::vector<std::string> fields = words_of(line, '\t');
      if (fields.size() != 3) return false;
      std::size_t at = fields[0].find(':') + 1;
      while (fields[0].find_first_not_of("0123456789", at) == fields[0].find(':', at)) at = fields[0].find(':', at) + 1;
      const std::string name = prefix + name_of(fields[0].substr(at));
      // clang does not count the address that a call returns to.
      std::size_t& deepest = bytes[name];
      deepest = std::max(deepest, static_cast<std::size_t>(std::stoul(fields[1])) + sizeof(void*));
      if (fields[2] == "dynamic") unbounded.push_back(name);
    }
    return true;
  }

  std::size_t of(const std::string& name) const {
    std::size_t sum = 0;
    for (const std::string& part : words_of(name.substr(0, name.find('@')), '+')) {
      const auto found = bytes.find(part);
      if (found != bytes.end()) sum += found->second;
    }
    return sum;
  }
};

struct Chain {
  std::size_t bytes = 0;
  std::string names;
};

Chain deepest_chain(const Frames& frames, const std::string& name) {
  Chain deepest;
  const auto found = calls.find(name);
  if (found != calls.end()) {
    for (const std::string& callee : words_of(found->second)) {
      const Chain chain = deepest_chain(frames, callee);
      if (chain.bytes >= deepest.bytes) deepest = chain;
    }
  }
  const std::size_t own = frames.of(name);
  const std::size_t stages = name.find('@');
  const std::string shown = stages != std::string::npos ? "stages of " + name.substr(stages + 1) : name.substr(name.find(':') + 1);
  if (own > 0) deepest.names = shown + " " + std::to_string(own) + (deepest.names.empty() ? "" : ", " + deepest.names);
  deepest.bytes += own;
  return deepest;
}

}  // namespace

TEST_CASE("stack: every chain of calls that ends in a kernel takes at most 8 KiB of stack, on every ISA of the build") {
  const char* const folder = std::getenv("ATTEND_BUILD");
  if (folder == nullptr) {
    MESSAGE("skipped: ATTEND_BUILD does not say where the .su files of the engine's objects are");
    return;
  }
  std::set<std::string> listed;
  Frames engine;
  for (const auto& call : calls) {
    for (const std::string& name : words_of(call.first + " " + call.second)) listed.insert(name);
  }
  std::set<std::string> files;
  for (const std::string& name : listed) {
    for (const std::string& part : words_of(name.substr(0, name.find('@')), '+')) {
      const std::size_t colon = part.find(':');
      if (colon != std::string::npos) files.insert(part.substr(0, colon));
    }
  }
  for (const std::string& file : files) {
    CAPTURE(file);
    REQUIRE(engine.read(std::string(folder) + "/src/" + file + ".su", file + ":"));
  }
  std::vector<std::string> kernel_files;
  for (const attend::IsaEntry& entry : attend::isas) kernel_files.push_back(entry.name);
#define ATTEND_NAME(products) kernel_files.push_back(#products);
  ATTEND_BUILT_PRODUCTS(ATTEND_NAME)
  ATTEND_BUILT_INT4(ATTEND_NAME)
  int isas = 0;
  for (const std::string& isa : kernel_files) {
    CAPTURE(isa);
    Frames kernels;
    if (!kernels.read(std::string(folder) + "/src/kernels/" + isa + ".su", "")) continue;
    ++isas;
    for (const auto& function : kernels.bytes) {
      CAPTURE(function.first);
      CHECK_MESSAGE(listed.count(function.first) == 1, "not in this file's list of who calls whom");
    }
    Frames frames = engine;
    frames.bytes.insert(kernels.bytes.begin(), kernels.bytes.end());
    Chain deepest;
    for (const auto& call : calls) {
      const Chain chain = deepest_chain(frames, call.first);
      if (chain.bytes > deepest.bytes) deepest = chain;
      if (chain.bytes + libc <= limit) continue;
      CAPTURE(chain.names);
      CHECK(chain.bytes + libc <= limit);
    }
    if (std::getenv("ATTEND_SHOW_STACK") != nullptr) MESSAGE(isa << ": " << deepest.bytes << " bytes: " << deepest.names);
    for (const std::string& name : kernels.unbounded) {
      CAPTURE(name);
      CHECK_MESSAGE(false, "a frame without a bound");
    }
  }
  CHECK(isas > 0);
  for (const std::string& name : engine.unbounded) {
    CAPTURE(name);
    CHECK_MESSAGE(false, "a frame without a bound");
  }
}

#endif
