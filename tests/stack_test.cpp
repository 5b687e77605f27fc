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
const std::string stages_of = "parallel:run_stages+parallel:parallel_for+parallel:take_part@";

const std::map<std::string, std::string> calls = {
    // The public calls.
    {"c_api:attend_mha_make", "multi_head_attention:make"},
    {"c_api:attend_mha_forward", "multi_head_attention:forward"},
    {"c_api:attend_attention", "core:attention"},
    {"c_api_cache:attend_mha_cached_forward", "multi_head_attention:forward"},
    {"c_api_cache:attend_mha_project", "multi_head_attention:project"},
    {"c_api_cache:attend_cached_attention", "core:attention"},
    {"c_api_cache:attend_kv_cache_append", "cache:append"},
    {"multi_head_attention:make_random", "multi_head_attention:make"},
    {"multi_head_attention:make", "layer_weights:pack_layer"},
    {"multi_head_attention:forward", "multi_head_attention:run"},
    {"multi_head_attention:project", "multi_head_attention:run"},
    {"multi_head_attention:run", "multi_head_attention:prepare " + stages_of + "layer " + stages_of + "attention"},
    {"multi_head_attention:prepare", "attention:write_padding plan:plan_forward"},
    {"core:attention", "core:prepare core:prepare_cached core:run"},
    {"core:forward", "core:prepare_dot_product core:run"},
    {"core:prepare_dot_product", "core:prepare"},
    {"core:prepare", "core:place"},
    {"core:prepare_cached", "core:place"},
    {"core:place", "attention:write_padding"},
    {"core:run", stages_of + "attention"},
    {"operations:matmul", stages_of + "matmul"},
    {"operations:sequence_mask", stages_of + "sequence_mask"},
    {"operations:masked_softmax", stages_of + "masked_softmax"},
    {"operations:transpose_qkv", "operations:transpose"},
    {"operations:transpose_output", "operations:transpose"},
    {"operations:transpose", stages_of + "transpose"},
    {"positions:rotary_embedding", stages_of + "rotary"},
    {"positions:rms_norm", stages_of + "rms_norm"},
    {"cache:append", stages_of + "append"},

    // Their stages.
    {stages_of + "layer", "multi_head_attention:run_inputs multi_head_attention:run_head_rows multi_head_attention:run_output"},
    {stages_of + "attention", "attention:run_compute attention:run_merge attention:run_weights"},
    {stages_of + "matmul", "operations:run_pack operations:run_product"},
    {stages_of + "sequence_mask", "operations:run_sequence_mask"},
    {stages_of + "masked_softmax", "operations:run_masked_softmax"},
    {stages_of + "transpose", "operations:run_transpose"},
    {stages_of + "rotary", "positions:run_fill positions:run_rotate"},
    {stages_of + "rms_norm", "positions:run_rms_norm"},
    {stages_of + "append", "cache:run_append"},

    // Tasks.
    {"multi_head_attention:run_inputs", "projection:run"},
    {"multi_head_attention:run_output", "projection:run"},
    {"multi_head_attention:run_head_rows", "head_rows:run"},
    {"operations:run_pack", "weights:pack_projection"},
    {"operations:run_product", "projection:run"},
    {"operations:run_sequence_mask", "copy fill"},
    {"operations:run_masked_softmax", "softmax"},
    {"operations:run_transpose", "copy"},
    {"positions:run_fill", "positions:fill"},
    {"positions:run_rotate", "positions:rotate"},
    {"positions:rotate", "rotate"},
    {"positions:run_rms_norm", "positions:normalize_row"},
    {"positions:normalize_row", "rms_norm"},
    {"cache:run_append", "cache:copy_rows"},
    {"cache:copy_rows", "copy"},
    {"layer_weights:pack_layer", "weights:pack_projection"},
    {"weights:pack_projection", "pack"},
    {"projection:run", "gemm"},
    {"head_rows:run", "positions:fill positions:rotate positions:normalize_row"},

    // Attention.
    {"attention:run_compute", "attention:run_tiles decode:run_decode_chunk"},
    {"attention:run_merge", "decode:merge_decode_chunks"},
    {"attention:run_weights", "decode:write_decode_weights"},
    {"attention:run_tiles", "attention:copy_keys attention:run_rows"},
    {"attention:copy_keys", "attention:copy_rows"},
    {"attention:copy_rows", "copy"},
    {"attention:run_rows", "attention:run_tile attention:write_empty"},
    {"attention:run_tile", "pack_queries attention:describe_lanes attention:run_blocks attention:finish attention:write_weights"},
    {"attention:describe_lanes", "attention:describe_lane"},
    {"attention:run_blocks", "attention:weigh attention:accumulate_visible attention:accumulate_ranges attention:accumulate attention:fold unfold attention:add_sinks"},
    {"attention:weigh", "attention:fill_visible attention:fill_bias attention:score attention:settle_frames"},
    {"attention:settle_frames", "attention:describe_lanes attention:fill_visible attention:move_frames attention:fill_bias attention:score attention:rescale"},
    {"attention:move_frames", "attention:largest_bias attention:rise_of"},
    {"attention:largest_bias", "bias:bias_at bias:bias_difference"},
    {"attention:rise_of", "bias:bias_difference"},
    {"attention:fill_visible", "fill_visible"},
    {"attention:fill_bias", "fill_bias"},
    {"attention:score", "scores"},
    {"attention:accumulate_visible", "attention:accumulate"},
    {"attention:accumulate_ranges", "attention:accumulate"},
    {"attention:accumulate", "attention:next_run attention:accumulate_runs accumulate"},
    {"attention:accumulate_runs", "attention:next_run accumulate"},
    {"attention:fold", "fold"},
    {"attention:add_sinks", "attention:rise_of attention:rescale"},
    {"attention:rescale", "rescale"},
    {"attention:finish", "finish"},
    {"attention:write_weights", "attention:weigh attention:rise_of write_weights fill"},
    {"attention:write_padding", "attention:write_empty"},
    {"attention:write_empty", "fill"},
    {"decode:run_decode_chunk", "decode:take_queries decode:run_chunk"},
    {"decode:run_chunk", "fill decode:score decode:weigh decode:add"},
    {"decode:score", "decode_scores"},
    {"decode:weigh", "decode:take_bias decode_weights"},
    {"decode:take_bias", "attention:describe_lane decode_bias bias:bias_at bias:bias_difference"},
    {"decode:add", "decode_values"},
    {"decode:merge_decode_chunks", "decode:rise_of decode:merge_outputs finish fill"},
    {"decode:rise_of", "bias:bias_difference"},
    {"decode:write_decode_weights", "decode:take_queries decode:score decode:weigh fill"},

    // Kernels.
    {"gemm", "gemm_tiles"},
    {"gemm_tiles", "write_tile"},
    {"write_tile", "scatter"},
    {"pack", "pack_rows pack_strided_rows"},
    {"pack_queries", "pack_rows pack_strided_rows"},
    {"scores", "score_block weigh_chains"},
    {"score_block", "weigh_chains"},
    {"fill_visible", "hide_masked hide_infinite gather"},
    {"fill_bias", "fill_rows"},
    {"decode_bias", "fill_rows"},
    {"fill_rows", "gather"},
    {"accumulate", "accumulate_lanes_from"},
    {"finish", "gather scatter"},
    {"write_weights", "gather scatter"},
    {"decode_scores", "gather"},
    {"decode_weights", "gather"},
    {"decode_values", "gather"},
    {"softmax", "fill gather scatter"},
    {"rotate", "copy gather scatter"},
    {"rms_norm", "gather scatter"},
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
  int isas = 0;
  for (const std::string isa : {"scalar", "avx2", "avx512", "neon"}) {
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
