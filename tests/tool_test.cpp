// The command line tool: runs the program as a user does, and looks at what it prints, writes and returns.
//
// The program is $ATTEND_TOOL, or build/attend; $ATTEND_TOOL_RUN_PREFIX stands before it (an emulator).
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "attend/attend.hpp"
#include "attend/io.hpp"
#include "base/isas.h"
#include "kernels/half_floats.h"
#include "reference/low_precision.h"
#include "reference/reference.h"
#include "test_data.h"
#include "tiny_encoder.h"

namespace {

namespace files = std::filesystem;
using namespace attend;
using Words = std::vector<std::string>;

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char character : word) text += character == '\'' ? std::string("'\\''") : std::string(1, character);
  return text + "'";
}

/// A folder that disappears with everything in it.
struct Folder {
  std::string path;
  Folder() {
    std::string pattern = (files::temp_directory_path() / "attend-tool-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { files::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : files::directory_iterator(path)) found.insert(entry.path().filename().string());
    return found;
  }
};

struct Outcome {
  int code = -1;  // -1: ended by a signal
  std::string out, err;
};

/// Runs the tool; `settings` are of the shell, before the command: "ATTEND_ISA=scalar". Standard output
/// goes to the file that is given, or is captured.
Outcome run(const Words& words, const std::string& settings = "", const std::string& output = "") {
  const Folder folder;
  std::string command = settings + " " + environment("ATTEND_TOOL_RUN_PREFIX", "") + " " +
                        quoted(environment("ATTEND_TOOL", "build/attend"));
  for (const std::string& word : words) command += " " + quoted(word);
  command += " >" + quoted(output.empty() ? folder / "out" : output) + " 2>" + quoted(folder / "err") + " </dev/null";
  const int status = std::system(command.c_str());
  Outcome outcome;
  if (WIFEXITED(status) && WEXITSTATUS(status) < 128) outcome.code = WEXITSTATUS(status);
  outcome.out = contents(folder / "out");
  outcome.err = contents(folder / "err");
  return outcome;
}

/// Exit code 2, nothing on standard output, and one line on standard error with the parts.
void check_refused(const Words& words, const Words& parts, const std::string& settings = "") {
  const Outcome outcome = run(words, settings);
  CAPTURE(outcome.err);
  CAPTURE(words.empty() ? std::string() : words.back());
  CHECK(outcome.code == 2);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.rfind("attend", 0) == 0);
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  CHECK(outcome.err.find('\n') + 1 == outcome.err.size());
  for (const std::string& part : parts) CHECK_MESSAGE(contains(outcome.err, part), part);
}

const char* const verbs[] = {"demo", "embed", "similar", "generate", "run", "sdpa", "heatmap", "quantize", "verify", "info"};

/// The folder of a golden case: "mha/self_small".
std::string golden(const std::string& name) { return test_data("golden/" + name + "/"); }

io::Array read(const std::string& path) {
  io::Array array;
  const Status status = io::read_npy(path, &array);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return array;
}

std::vector<float> floats(const io::Array& array) {
  io::FloatTensor tensor;
  REQUIRE(io::to_float32(array, &tensor).ok());
  std::int64_t count = 1;
  for (const std::int64_t size : array.shape) count *= size;
  return std::vector<float>(tensor.view.data, tensor.view.data + count);
}

/// Puts those arrays of a golden case that are weights into one file, under a prefix.
void write_weights(const std::string& case_folder, const std::string& prefix, const std::string& path) {
  std::vector<std::vector<float>> values;
  std::vector<io::SafetensorsTensor> tensors;
  for (const auto& entry : files::directory_iterator(case_folder)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".npy") continue;
    if (!contains(name, "W_") && !contains(name, "proj")) continue;
    const io::Array array = read(entry.path().string());
    values.push_back(floats(array));
    tensors.push_back({prefix + name, array.shape, nullptr, "F32"});
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].values = values[i].data();
  const Status status = io::write_safetensors(path, tensors);
  REQUIRE_MESSAGE(status.ok(), status.message());
}

/// Within 4e-6 of the largest number, as everything that PyTorch computed in float64.
void check_agrees(const io::Array& actual, const std::string& expected_path) {
  const io::Array expected = read(expected_path);
  REQUIRE(actual.type == io::ElementType::float32);
  REQUIRE(actual.shape == expected.shape);
  const std::vector<float> is = floats(actual), should = floats(expected);
  float largest = 0.0f, worst = 0.0f;
  for (std::size_t i = 0; i < is.size(); ++i) {
    largest = std::max(largest, std::abs(should[i]));
    const float error = std::abs(is[i] - should[i]);
    if (!(error <= worst)) worst = error;
  }
  CAPTURE(expected_path);
  CHECK(worst <= 4e-6f * largest);
}

/// Weights, queries and the rest of a small layer, on disk: 2 heads, 16 hiddens, (2, 5, 16) queries.
struct SmallLayer : Folder {
  std::string query = golden("mha/self_small") + "queries.npy";
  SmallLayer() { write_weights(golden("mha/self_small"), "layer.", *this / "w.safetensors"); }
  Words run_words(const Words& more = {}) const { return words("run", more); }
  Words words(const std::string& verb, const Words& more) const {
    Words all = {verb, "--weights", *this / "w.safetensors", "--heads", "2", "--prefix", "layer", "--query", query};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string floats_file(const std::string& name, const std::vector<std::int64_t>& shape) const {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    const std::vector<float> zeros(static_cast<std::size_t>(count));
    REQUIRE(io::write_npy(*this / name, io::ElementType::float32, shape, zeros.data()).ok());
    return *this / name;
  }
  std::string lengths_file(const std::string& name, const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& numbers) const {
    REQUIRE(io::write_npy(*this / name, io::ElementType::int64, shape, numbers.data()).ok());
    return *this / name;
  }
};

/// Whether the text is one XML element, as far as the tool writes XML: tags nest, attributes are
/// quoted, "&" begins a known entity, and no control character but the line end is there.
bool well_formed_xml(const std::string& text) {
  std::vector<std::string> open;
  bool closed = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 && byte != '\n') return false;
    if (byte == '&') {
      const std::string entity = text.substr(i, text.find(';', i) - i + 1);
      const std::set<std::string> known = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#8594;"};
      if (known.count(entity) == 0) return false;
    }
    if (byte == '>') return false;  // those of tags are skipped below
    if (byte != '<') continue;
    if (closed) return false;
    const std::size_t end = text.find('>', i);
    if (end == std::string::npos) return false;
    const std::string tag = text.substr(i + 1, end - i - 1);
    if (contains(tag, "<") || std::count(tag.begin(), tag.end(), '"') % 2 != 0) return false;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    closed = open.empty();
    i = end;
  }
  return closed;
}

/// Moves `at` behind one JSON value; false if there is none.
bool skip_json(const std::string& text, std::size_t* at) {
  const auto blank = [&] { while (*at < text.size() && std::isspace(static_cast<unsigned char>(text[*at]))) ++*at; };
  const auto accept = [&](char character) {
    blank();
    return *at < text.size() && text[*at] == character ? (++*at, true) : false;
  };
  const auto skip_string = [&] {
    if (!accept('"')) return false;
    for (; *at < text.size() && text[*at] != '"'; ++*at) {
      if (static_cast<unsigned char>(text[*at]) < 0x20) return false;
      if (text[*at] == '\\') ++*at;
    }
    return accept('"');
  };
  blank();
  for (const char* brackets : {"{}", "[]"}) {
    if (!accept(brackets[0])) continue;
    if (accept(brackets[1])) return true;
    do {
      if (brackets[0] == '{' && !(skip_string() && accept(':'))) return false;
      if (!skip_json(text, at)) return false;
    } while (accept(','));
    return accept(brackets[1]);
  }
  if (*at < text.size() && text[*at] == '"') return skip_string();
  for (const std::string word : {"true", "false", "null"}) {
    if (text.compare(*at, word.size(), word) == 0) return *at += word.size(), true;
  }
  char* end;
  std::strtod(text.c_str() + *at, &end);
  const bool number = end != text.c_str() + *at;
  *at = static_cast<std::size_t>(end - text.c_str());
  return number;
}

}  // namespace

TEST_CASE("tool: help and version") {
  for (const std::string verb : verbs) {
    const Outcome outcome = run({verb, "--help"});
    CAPTURE(verb);
    CHECK(outcome.code == 0);
    CHECK(outcome.err.empty());
    for (const char* part : {"usage: attend ", "--isa", "--threads", "--help"}) CHECK(contains(outcome.out, part));
  }
  CHECK(run({"run", "--out", "--help"}).code == 0);
  const Outcome overview = run({"--help"});
  CHECK(overview.code == 0);
  for (const std::string verb : verbs) CHECK(contains(overview.out, "\n  " + verb + " "));
  const Outcome help = run({"help"});
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  CHECK(help.out == overview.out);
  CHECK(run({"help", "run"}).out == run({"run", "--help"}).out);
  const Outcome version = run({"--version"});
  CHECK(version.code == 0);
  CHECK(version.out == std::string("attend ") + ATTEND_VERSION + "\n");
}

TEST_CASE("tool: bad usage is refused in one line") {
  Words listed = {"no verb"};
  for (const std::string verb : verbs) listed.push_back(" " + verb);
  check_refused({}, listed);
  listed[0] = "unknown verb 'bogus'";
  check_refused({"bogus"}, listed);
  listed[0] = "unknown verb 'bogus'";
  check_refused({"help", "bogus"}, listed);
  check_refused({"rnu"}, {"unknown verb 'rnu'", "did you mean 'run'?"});
  check_refused({"heat"}, {"did you mean 'heatmap'?"});
  check_refused({"--verbose"}, {"unknown flag '--verbose'"});
  check_refused({"line\nbreak"}, {"unknown verb"});
  check_refused({"run", "--qurey", "q.npy"}, {"attend run: ", "unknown flag '--qurey'", "did you mean '--query'?"});
  check_refused({"info", "--jsno"}, {"attend info: ", "did you mean '--json'?"});
  check_refused({"info", "--json=yes"}, {"--json takes no value"});
  check_refused({"info", "--json", "--json"}, {"--json was given twice"});
  check_refused({"run", "extra"}, {"unexpected argument 'extra'"});
  check_refused({"run"}, {"--weights is missing"});
  check_refused({"quantize", "--", "--weird", "--help", "--"}, {"unexpected argument '--'"});
  check_refused({"quantize", "--", "--weird", "--help"}, {"--weights is missing"});
  check_refused({"quantize", "--weights", "--", "in", "out"}, {"--weights needs a value"});
  check_refused({"run", "--weights"}, {"--weights needs a value"});
  check_refused({"run", "--weights", "--heads"}, {"--weights needs a value"});
  check_refused({"run", "--weights="}, {"--weights is empty"});
  check_refused({"verify", "--seconds", "soon"}, {"--seconds 'soon'"});
  check_refused({"verify", "--seconds", "-1"}, {"--seconds '-1'"});
  check_refused({"verify", "--seconds", "nan"}, {"--seconds 'nan'"});
  for (const std::string threads : {"0", "-1", "257", "2x", "99999999999999999999"}) {
    check_refused({"verify", "--threads", threads}, {"--threads '" + threads + "'"});
    check_refused({"info", "--threads", threads}, {"--threads '" + threads + "'"});
  }
}

TEST_CASE("tool: the ISA comes from --isa, else from ATTEND_ISA") {
  check_refused({"verify", "--isa", "avx521"}, {"--isa", "'avx521'", "did you mean 'avx512'?"});
  check_refused({"demo", "--isa", "sse"}, {"--isa", "'sse'"});
  check_refused({"verify"}, {"ATTEND_ISA", "'nonsense'"}, "ATTEND_ISA=nonsense");
  int unusable = 0;
  for (const IsaEntry& entry : isas) {
    const Isa isa = entry.isa;
    if (isa_usable(isa)) continue;
    ++unusable;
    check_refused({"verify", "--isa", isa_name(isa)}, {"lacks", isa_name(isa), isa_name(best_isa())});
    check_refused({"verify"}, {"ATTEND_ISA", isa_name(isa)}, std::string("ATTEND_ISA=") + isa_name(isa));
  }
  CHECK(unusable > 0);
  CHECK(run({"info"}, "ATTEND_ISA=nonsense").code == 0);  // what tells which there are

  const Outcome outcome = run({"verify", "--seconds", "0", "--isa", "scalar"}, "ATTEND_ISA=nonsense");
  CHECK(outcome.code == 0);
  CHECK(outcome.out.rfind("scalar", 0) == 0);
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 1);
  CHECK(run({"verify", "--seconds", "0"}, "ATTEND_ISA=scalar").out.rfind("scalar", 0) == 0);
}

TEST_CASE("tool: verify passes on every usable ISA") {
  const Outcome outcome = run({"verify", "--seconds", "0", "--seed", "77", "--threads", "2"}, "ATTEND_ISA=");
  CAPTURE(outcome.out);
  CAPTURE(outcome.err);
  CHECK(outcome.code == 0);
  for (const IsaEntry& entry : isas) {
    CHECK(contains(outcome.out, std::string(entry.name) + " ") == isa_usable(entry.isa));
  }
}

TEST_CASE("tool: info") {
  const Outcome text = run({"info"});
  CHECK(text.code == 0);
  CHECK(contains(text.out, ATTEND_VERSION));
  const Outcome json = run({"info", "--json"});
  CHECK(json.code == 0);
  CHECK(json.err.empty());
  std::size_t at = 0;
  CHECK(skip_json(json.out, &at));
  CHECK(json.out.substr(at) == "\n");
  CHECK(contains(json.out, std::string("\"best\": \"") + isa_name(best_isa()) + "\""));
  CHECK(contains(json.out, "\"version\": \"" ATTEND_VERSION "\""));
  for (const IsaEntry& entry : isas) {
    const char* const multiplied = product_instructions(WeightType::int8, Arithmetic::int8, entry.isa);
    const char* const widened = product_instructions(WeightType::bfloat16, Arithmetic::float32, entry.isa);
    if (multiplied == nullptr || widened == nullptr) continue;
    CHECK(contains(text.out, std::string("int8 by ") + multiplied + ", int8 x int4 by " + int4_instructions(Arithmetic::int8, entry.isa) + ", weights of bfloat16, "));
    CHECK(contains(text.out, std::string(", int4 by ") + widened));
    const char* const core = core_instructions(Arithmetic::bfloat16, entry.isa);
    CHECK(contains(text.out, std::string(" by ") + widened + (core != nullptr ? std::string(", attention in bfloat16 by ") + core : "") + "\n"));
    if (core != nullptr) CHECK(contains(json.out, std::string("\"attention\": {\"bfloat16\": \"") + core + "\"}"));
    CHECK(contains(json.out, std::string("{\"weight_type\": \"int8\", \"arithmetic\": \"int8\", \"instructions\": \"") + multiplied + "\"}"));
    CHECK(contains(json.out, std::string("{\"weight_type\": \"bfloat16\", \"arithmetic\": \"float32\", \"instructions\": \"") + widened + "\"}"));
  }
}

TEST_CASE("tool: run agrees with PyTorch") {
  struct Case {
    const char* name;
    const char* heads;
    const char* query;  // names of files
    const char* key;
    const char* value;
  };
  const Case cases[] = {{"mha/self_small", "2", "queries", nullptr, nullptr},
                        {"mha/self_odd", "5", "queries", nullptr, nullptr},
                        {"mha/heads_of_20", "5", "queries", "keys", "values"},
                        {"mha/cross_query_lens", "5", "queries", "keys", "values"},
                        {"torch_mha/self_padded", "5", "query", nullptr, nullptr},
                        {"torch_mha/cross_kdim_vdim", "3", "query", "key", "value"}};
  for (const Case& one : cases) {
    const std::string folder = golden(one.name);
    const auto file = [&](const std::string& name) { return folder + name + ".npy"; };
    for (const std::string threads : {"1", "2"}) {
      const Folder output;
      write_weights(folder, "some.layer.", output / "w.safetensors");
      Words words = {"run", "--weights", output / "w.safetensors", "--prefix", "some.layer", "--heads", one.heads,
                     "--query", file(one.query), "--empty-rows", "uniform", "--threads=" + threads, "--quiet",
                     "--out", output / "o.npy", "--attn-weights", output / "a.npy"};
      if (one.key != nullptr) words.insert(words.end(), {"--key", file(one.key)});
      if (one.value != nullptr) words.insert(words.end(), {"--value", file(one.value)});
      if (files::exists(file("valid_lens"))) words.insert(words.end(), {"--valid-lens", file("valid_lens")});
      const Outcome outcome = run(words);
      CAPTURE(one.name);
      CAPTURE(outcome.err);
      REQUIRE(outcome.code == 0);
      CHECK(outcome.out.empty());
      CHECK(outcome.err.empty());
      check_agrees(read(output / "o.npy"), file("output"));
      check_agrees(read(output / "a.npy"), file("attention_weights"));
      CHECK(output.names() == std::set<std::string>{"w.safetensors", "o.npy", "a.npy"});
    }
  }
}

TEST_CASE("tool: run on many sequences gives what it gives on each") {
  // More rows than the tool hands to the library at once.
  const SmallLayer layer;
  const io::Array one = read(layer.query);
  io::Array many = one;
  many.shape[0] = 2 * 1500;
  many.bytes.clear();
  for (int i = 0; i < 1500; ++i) many.bytes.insert(many.bytes.end(), one.bytes.begin(), one.bytes.end());
  REQUIRE(io::write_npy(layer / "many.npy", many.type, many.shape, many.bytes.data()).ok());
  std::vector<unsigned char> mask(1500 * 100);  // of 2 sequences and 2 heads, 1500 times
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 100 % 7 < 4;
  REQUIRE(io::write_npy(layer / "mask.npy", io::ElementType::boolean, {4, 5, 5}, mask.data()).ok());
  REQUIRE(io::write_npy(layer / "many_mask.npy", io::ElementType::boolean, {6000, 5, 5}, mask.data()).ok());
  Words words = layer.run_words({"--mask", layer / "many_mask.npy", "--out", layer / "many_out.npy"});
  words[8] = layer / "many.npy";
  REQUIRE(run(words).code == 0);
  REQUIRE(run(layer.run_words({"--mask", layer / "mask.npy", "--out", layer / "out.npy"})).code == 0);
  const std::vector<float> all = floats(read(layer / "many_out.npy")), first = floats(read(layer / "out.npy"));
  REQUIRE(all.size() == 1500 * first.size());
  bool same = true;
  for (std::size_t i = 0; i < all.size(); ++i) same = same && all[i] == first[i % first.size()];
  CHECK(same);
}

TEST_CASE("tool: run takes and gives (L, B, width) with --sequence-first, as torch does without batch_first") {
  // An array of a golden case with its first two axes exchanged.
  const auto exchanged = [](const std::string& path, const std::string& to) {
    io::FloatTensor given;
    REQUIRE(io::read_npy(path, &given).ok());
    const ConstTensorView view = given.view.transposed(0, 1);
    std::vector<float> values;
    for (std::int64_t i = 0; i < view.sizes[0]; ++i) {
      for (std::int64_t b = 0; b < view.sizes[1]; ++b) {
        const float* const row = view.data + i * view.strides[0] + b * view.strides[1];
        values.insert(values.end(), row, row + view.sizes[2]);
      }
    }
    REQUIRE(io::write_npy(to, io::ElementType::float32, {view.sizes, view.sizes + 3}, values.data()).ok());
  };
  const std::string folder = golden("torch_mha/cross_kdim_vdim");
  const Folder output;
  write_weights(folder, "", output / "w.safetensors");
  for (const std::string name : {"query", "key", "value", "output"}) exchanged(folder + name + ".npy", output / (name + ".npy"));
  Words words = {"run", "--weights", output / "w.safetensors", "--heads", "3", "--query", output / "query.npy", "--key", output / "key.npy",
                 "--value", output / "value.npy", "--expect", output / "output.npy", "--out", output / "o.npy", "--attn-weights", output / "a.npy"};
  if (files::exists(folder + "valid_lens.npy")) words.insert(words.end(), {"--valid-lens", folder + "valid_lens.npy"});
  check_refused(words, {"--key", "the shape is"});
  words.push_back("--sequence-first");
  const Outcome outcome = run(words);
  CAPTURE(outcome.err);
  CHECK(outcome.code == 0);
  CHECK_MESSAGE(contains(outcome.out, "queries (5, 2, 24)"), outcome.out);
  check_agrees(read(output / "o.npy"), output / "output.npy");
  check_agrees(read(output / "a.npy"), folder + "attention_weights.npy");
}

TEST_CASE("tool: run writes to standard output, or says what came out") {
  const SmallLayer layer;
  REQUIRE(run(layer.run_words({"--out", layer / "o.npy"})).code == 0);
  const Outcome direct = run(layer.run_words({"--out", "/dev/stdout"}));
  CHECK(direct.code == 0);
  CHECK(direct.out == contents(layer / "o.npy"));
  // One line tells what ran, where no array is.
  const auto tells = [&](const std::string& line) {
    CHECK(std::count(line.begin(), line.end(), '\n') == 1);
    const Words parts = {"D2L layer", "2 heads", "queries (2, 5, 16)", "keys (2, 5, 16)", "values (2, 5, 16)", "give (2, 5, 16)",
                         " us on ", isa_name(best_isa())};
    for (const std::string& part : parts) CHECK_MESSAGE(contains(line, part), part);
  };
  const Outcome to_file = run(layer.run_words({"--out", layer / "o.npy"}), "ATTEND_ISA=");
  CHECK(to_file.err.empty());
  tells(to_file.out);
  tells(run(layer.run_words({"--out", "/dev/stdout"}), "ATTEND_ISA=").err);
  const Outcome quiet = run(layer.run_words({"--out", "/dev/stdout", "--quiet"}));
  CHECK(quiet.err.empty());
  CHECK(quiet.out == direct.out);
  CHECK(run(layer.run_words({"--quiet"})).out.empty());
  const Outcome summary = run(layer.run_words());
  CHECK(summary.code == 0);
  CHECK(contains(summary.out, "(2, 5, 16)"));
  CHECK(contains(summary.out, "\nbegins "));
  layer.floats_file("none.npy", {0, 5, 16});
  Words none = layer.run_words();
  none[8] = layer / "none.npy";
  CHECK(contains(run(none).out, "give (0, 5, 16)"));
  write(layer / "o.npy", "older");
  REQUIRE(run(layer.run_words({"--attn-weights", layer / "o.npy"})).code == 0);
  check_agrees(read(layer / "o.npy"), golden("mha/self_small") + "attention_weights.npy");
}

TEST_CASE("tool: sdpa is attention() on files, and run takes masks") {
  const SmallLayer layer;
  const auto numbers = [&](const std::string& name, const std::vector<std::int64_t>& shape, float step) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(step * static_cast<float>(i + 1));
    REQUIRE(io::write_npy(layer / name, io::ElementType::float32, shape, values.data()).ok());
    return values;
  };
  const std::vector<float> q = numbers("q.npy", {2, 4, 5, 8}, 0.7f), k = numbers("k.npy", {2, 2, 7, 8}, 1.3f);
  const std::vector<float> v = numbers("v.npy", {2, 2, 7, 3}, 2.1f), sinks = numbers("sinks.npy", {4}, 0.3f);
  const std::vector<unsigned char> mask = {1, 1, 0, 1, 1, 1, 0};
  REQUIRE(io::write_npy(layer / "mask.npy", io::ElementType::boolean, {7}, mask.data()).ok());
  layer.lengths_file("lens.npy", {2}, {7, 4});
  REQUIRE(run({"sdpa", "--query", layer / "q.npy", "--key", layer / "k.npy", "--value", layer / "v.npy", "--scale", "-0.5", "--mask",
               layer / "mask.npy", "--causal", "--causal-offset", "2", "--window-left", "3", "--valid-lens", layer / "lens.npy", "--softcap",
               "4", "--alibi-slopes", layer / "sinks.npy", "--sinks", layer / "sinks.npy", "--empty-rows", "uniform", "--out",
               layer / "o.npy", "--lse", layer / "l.npy", "--attn-weights", layer / "w.npy"})
              .code == 0);
  AttentionOptions options;
  options.scale = -0.5f;
  options.mask = BoolMaskView(mask.data(), 7);
  options.causal = true;
  options.offset = 2;
  options.window_left = 3;
  options.softcap = 4.0f;
  options.alibi_slopes = options.sinks = ConstTensorView(sinks.data(), 4);
  options.empty_rows = EmptyRows::uniform;
  const std::int64_t lengths[] = {7, 4};
  std::vector<float> output(2 * 4 * 5 * 3), lse(2 * 4 * 5), weights(2 * 4 * 5 * 7);
  options.lse = TensorView(lse.data(), 2, 4, 5);
  options.attention_weights = TensorView(weights.data(), 2, 4, 5, 7);
  Workspace workspace;
  REQUIRE(attention(ConstTensorView(q.data(), 2, 4, 5, 8), ConstTensorView(k.data(), 2, 2, 7, 8), ConstTensorView(v.data(), 2, 2, 7, 3),
                    LengthsView(lengths, 2), TensorView(output.data(), 2, 4, 5, 3), workspace, options).ok());
  CHECK(floats(read(layer / "o.npy")) == output);
  CHECK(floats(read(layer / "l.npy")) == lse);
  CHECK(floats(read(layer / "w.npy")) == weights);
  const Outcome summary = run({"sdpa", "--query", layer / "q.npy", "--key", layer / "k.npy", "--value", layer / "v.npy"});
  CHECK(summary.code == 0);
  CHECK(contains(summary.out, "(2, 4, 5, 3)"));
  const Outcome quiet = run({"sdpa", "--query", layer / "q.npy", "--key", layer / "k.npy", "--value", layer / "v.npy", "--quiet"});
  CHECK(quiet.code == 0);
  CHECK((quiet.out + quiet.err).empty());
  check_refused({"sdpa", "--query", layer / "q.npy", "--key", layer / "v.npy", "--value", layer / "v.npy"}, {"--key", "(2, 2, 7, 3)"});
  check_refused({"sdpa", "--query", layer / "q.npy", "--key", layer / "k.npy", "--value", layer / "v.npy", "--window-left", "-2"}, {"--window-left '-2'"});

  // Causal in a layer: the first row sees itself alone, whatever comes after it.
  REQUIRE(run(layer.run_words({"--causal", "--attn-weights", layer / "a.npy"})).code == 0);
  const std::vector<float> causal = floats(read(layer / "a.npy"));
  CHECK(causal[0] == 1.0f);
  CHECK(causal[1] == 0.0f);
  layer.floats_file("additive.npy", {3, 1, 1, 5});
  check_refused(layer.run_words({"--mask", layer / "additive.npy"}), {"--mask", "3", "2"});
  layer.floats_file("wide_mask.npy", {4});
  check_refused(layer.run_words({"--mask", layer / "wide_mask.npy"}), {"--mask '", "wide_mask.npy': shape (4,) does not broadcast"});
}

TEST_CASE("tool: run and heatmap take layers of grouped heads, with norms") {
  const Folder folder;
  // 4 heads of 3 for 6 columns, 2 of keys and values, an output as wide as the input.
  const struct {
    const char* name;
    std::vector<std::int64_t> shape;
  } tensors[] = {{"q_proj.weight", {12, 6}}, {"k_proj.weight", {6, 6}}, {"v_proj.weight", {6, 6}}, {"o_proj.weight", {6, 12}},
                 {"q_proj.bias", {12}},      {"q_norm.weight", {3}},    {"k_norm.weight", {3}}};
  std::vector<std::vector<float>> numbers;
  std::vector<ConstTensorView> views;
  std::string header, bytes;
  for (const auto& tensor : tensors) {
    std::size_t count = 1;
    std::string shape;
    for (const std::int64_t size : tensor.shape) {
      count *= static_cast<std::size_t>(size);
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
    }
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(3 * i + numbers.size() + 1));
    header += (header.empty() ? "{\"" : ",\"") + std::string(tensor.name) + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" +
              std::to_string(bytes.size()) + "," + std::to_string(bytes.size() + 4 * count) + "]}";
    bytes.append(reinterpret_cast<const char*>(values.data()), 4 * count);
    numbers.push_back(std::move(values));
    views.push_back(tensor.shape.size() == 2 ? ConstTensorView(numbers.back().data(), tensor.shape[0], tensor.shape[1])
                                             : ConstTensorView(numbers.back().data(), tensor.shape[0]));
  }
  header += "}";
  const std::uint64_t length = header.size();
  write(folder / "w.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header + bytes);
  std::vector<float> x(2 * 5 * 6);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i));
  REQUIRE(io::write_npy(folder / "x.npy", io::ElementType::float32, {2, 5, 6}, x.data()).ok());

  MultiHeadAttentionConfig config;
  config.key_size = config.query_size = config.value_size = config.output_size = 6;
  config.num_hiddens = 12;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.bias = config.qk_norm = true;
  MultiHeadAttentionWeights weights;
  weights.query = views[0];
  weights.key = views[1];
  weights.value = views[2];
  weights.output = views[3];
  weights.query_bias = views[4];
  weights.query_norm = views[5];
  weights.key_norm = views[6];
  MultiHeadAttention attention;
  REQUIRE(MultiHeadAttention::make(config, weights, &attention).ok());
  const ConstTensorView rows(x.data(), 2, 5, 6);
  std::vector<float> expected(x.size());
  AttentionOptions options;
  options.causal = true;
  Workspace workspace;
  REQUIRE(attention.forward(rows, rows, rows, {}, TensorView(expected.data(), 2, 5, 6), workspace, options).ok());
  const Words layer = {"--weights", folder / "w.safetensors", "--heads", "4", "--query", folder / "x.npy"};
  const auto words = [&](const std::string& verb, const Words& more) {
    Words all = {verb};
    all.insert(all.end(), layer.begin(), layer.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  for (const Words& more : {Words{"--causal"}, Words{"--causal", "--kv-heads", "2"}}) {
    Words all = words("run", more);
    all.insert(all.end(), {"--out", folder / "o.npy"});
    REQUIRE(run(all).code == 0);
    CHECK(floats(read(folder / "o.npy")) == expected);
    REQUIRE(run(words("heatmap", more)).code == 0);
  }
  check_refused(words("run", {"--kv-heads", "4"}), {"6 rows", "4 heads", "12 / 4 = 3"});
  check_refused(words("heatmap", {"--kv-heads", "1"}), {"6 rows", "1 heads"});
}

namespace {

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A layer of 4 heads of 3 for 6 columns, on disk and for the reference, and 2 sequences of 21 tokens.
struct NumberedLayer : Folder {
  std::vector<io::SafetensorsTensor> tensors;
  std::deque<std::vector<float>> values;
  reference::LayerWeights weights;
  std::string prefix = "block.attn";
  reference::Array x = numbers({2, 21, 6}, "x.npy");

  explicit NumberedLayer(const std::string& query = "q_proj.weight", const std::string& key = "k_proj.weight",
                         const std::string& value = "v_proj.weight", const std::string& output = "o_proj.weight") {
    weights.query = add("block.attn." + query, {12, 6});
    weights.key = add("block.attn." + key, {12, 6});
    weights.value = add("block.attn." + value, {12, 6});
    weights.output = add("block.attn." + output, {6, 12});
  }
  reference::Array add(const std::string& name, const std::vector<std::int64_t>& shape) {
    const reference::Array array = numbers(shape, "");
    tensors.push_back({name, shape, values.back().data(), "F32"});
    REQUIRE(io::write_safetensors(*this / "w.safetensors", tensors).ok());
    return array;
  }
  reference::Array numbers(const std::vector<std::int64_t>& shape, const std::string& file) {
    reference::Array array = reference::Array::zeros(shape);
    values.emplace_back(array.values.size());
    for (std::size_t i = 0; i < array.values.size(); ++i) {
      values.back()[i] = std::sin(static_cast<float>(3 * i + 7 * values.size()));
      array.values[i] = static_cast<double>(values.back()[i]);
    }
    if (!file.empty()) REQUIRE(io::write_npy(*this / file, io::ElementType::float32, shape, values.back().data()).ok());
    return array;
  }
  Words words(const std::string& verb, const Words& more) const {
    Words all = {verb, "--weights", *this / "w.safetensors", "--prefix", prefix, "--heads", "4", "--query", *this / "x.npy"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void check_refused_by_both(const Words& more, const Words& parts) const {
    for (const std::string verb : {"run", "heatmap"}) check_refused(words(verb, more), parts);
  }
  /// run's output and heatmap's picture of an entry and head are what the reference says.
  void check(const reference::AttentionOptions& options, Words more = {}) const {
    const reference::LayerResult expected = reference::multi_head_attention(weights, 4, x, x, x, options);
    const Outcome drawn = run(words("heatmap", more + Words{"--head", "2", "--entry", "1", "--svg", "/dev/stdout"}));
    CAPTURE(drawn.err);
    REQUIRE(drawn.code == 0);
    for (std::int64_t j = 0; j < 21; ++j) {
      const std::string cell = ">12 &#8594; " + std::to_string(j) + ": ";
      const std::size_t at = drawn.out.find(cell);
      REQUIRE(at != std::string::npos);
      CHECK(std::abs(std::atof(drawn.out.c_str() + at + cell.size()) - expected.attention.weights.at(1, 2, 12, j)) < 0.00051);
    }
    const Outcome outcome = run(words("run", more + Words{"--out", *this / "o.npy"}));
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    const std::vector<float> output = floats(read(*this / "o.npy"));
    REQUIRE(output.size() == expected.output.values.size());
    double worst = 0.0;
    for (std::size_t i = 0; i < output.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(output[i]) - expected.output.values[i]));
    CHECK(worst < 1e-5);
  }
};

}  // namespace

TEST_CASE("tool: a tensor that the layer does not use is an error that names it, or ignored") {
  const std::string foreign[] = {"relative_position_bias_table", "q_norm.bias", "rel_attn_embed.weight",
                                 "rotary_emb.inv_freq", "output.LayerNorm.weight", "q_proj.weight_scale"};
  for (const std::string& name : foreign) {
    NumberedLayer layer;
    layer.add("block.attn." + name, {4});
    layer.add("block.attn_norm.weight", {4});  // under another prefix
    layer.check_refused_by_both({}, {"w.safetensors", "'block.attn'", "'" + name + "'", "--ignore"});
    layer.check_refused_by_both({"--ignore", "other"}, {"--ignore 'other'", "'block.attn'"});
    layer.check({}, {"--ignore", name});
    layer.check({}, {"--ignore=block.attn." + name});
  }
  NumberedLayer layer;
  for (const std::string name : {"norm.weight", "norm.bias", "a", "b", "c", "d", "e"}) layer.add("block.attn." + name, {1});
  layer.check_refused_by_both({}, {"'a', 'b', 'c', 'd', 'e', 'norm.bias', 'norm.weight'; what may"});
  const Words letters = {"--ignore", "a", "--ignore", "b", "--ignore", "c", "--ignore", "d", "--ignore", "e"};
  layer.check_refused_by_both(letters, {"does not use 'norm.bias', 'norm.weight';"});
  layer.check_refused_by_both(letters + Words{"--ignore", "nor"}, {"--ignore 'nor'"});
  layer.check_refused_by_both(letters + Words{"--ignore", "q_proj"}, {"--ignore 'q_proj': the layer uses it"});
  layer.check_refused_by_both(letters + Words{"--ignore", "block.attn_norm"}, {"--ignore 'block.attn_norm': nothing has that name"});
  layer.check({}, letters + Words{"--ignore", "norm"});
}

TEST_CASE("tool: what add_bias_kv leaves in a file is refused, ignored or not") {
  for (const std::string name : {"bias_k", "bias_v"}) {
    NumberedLayer layer;
    layer.add("block.attn." + name, {1, 1, 12});
    const Words parts = {"w.safetensors", "'block.attn." + name + "': it cannot be ignored", "nn.MultiheadAttention", "add_bias_kv"};
    layer.check_refused_by_both({}, parts);
    layer.check_refused_by_both({"--ignore", name}, parts);
    layer.check_refused_by_both({"--ignore", "block.attn." + name}, parts);
  }
}

TEST_CASE("tool: a file of weights is opened once, with --rope-theta too") {
  NumberedLayer layer("q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight");
  REQUIRE(mkfifo((layer / "pipe").c_str(), 0600) == 0);
  Words words = layer.words("run", {"--rope-theta", "10000", "--rope-dim", "2", "--out", "/dev/stdout"});
  const Outcome whole = run(words);
  REQUIRE(whole.code == 0);
  words[2] = layer / "pipe";
  const Outcome piped = run(words, "cat " + quoted(layer / "w.safetensors") + " >" + quoted(layer / "pipe") + " & timeout 60 ");
  CAPTURE(piped.err);
  CHECK(piped.code == 0);
  CHECK(piped.out == whole.out);
}

TEST_CASE("tool: a norm is applied where its weight is") {
  for (const bool queries : {true, false}) {
    NumberedLayer layer;
    const reference::Array norm = layer.add(queries ? "block.attn.q_norm.weight" : "block.attn.k_norm.weight", {3});
    (queries ? layer.weights.query_norm : layer.weights.key_norm) = norm;
    layer.weights.norm_epsilon = 1e-6;
    layer.check({});
  }
}

TEST_CASE("tool: --weight-type, --arithmetic and --core-arithmetic give what the library gives in that precision, or are refused") {
  NumberedLayer layer("q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight");
  const std::vector<float> x = floats(read(layer / "x.npy"));
  const ConstTensorView rows(x.data(), 2, 21, 6);
  const auto expect = [&](const io::LoadOptions& load, const AttentionOptions& options, std::vector<float>* output) {
    io::LoadedLayer loaded;
    Workspace workspace;
    output->resize(x.size());
    const Status status = io::load_layer(layer / "w.safetensors", "block.attn", 4, &loaded, load);
    REQUIRE_MESSAGE(status.ok(), status.message());
    return loaded.attention.forward(rows, rows, rows, {}, TensorView(output->data(), 2, 21, 6), workspace, options);
  };
  const auto check = [&](const Words& more, const std::vector<float>& expected, const std::string& told) {
    const Outcome outcome = run(layer.words("run", more + Words{"--out", layer / "o.npy"}));
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK(contains(outcome.out, told + "\n"));
    CHECK(floats(read(layer / "o.npy")) == expected);
    CHECK(run(layer.words("heatmap", more)).code == 0);
  };
  const struct {
    Words words;
    WeightType weight_type;
    Arithmetic arithmetic;
    const char* told;
  } cases[] = {{{"--weight-type", "bfloat16"}, WeightType::bfloat16, Arithmetic::float32, "weights of bfloat16"},
               {{"--weight-type", "float16"}, WeightType::float16, Arithmetic::float32, "weights of float16"},
               {{"--weight-type", "int8", "--arithmetic", "float32"}, WeightType::int8, Arithmetic::float32, "weights of int8"},
               {{"--arithmetic", "bfloat16"}, WeightType::bfloat16, Arithmetic::bfloat16, "bfloat16"},
               {{"--arithmetic", "int8"}, WeightType::int8, Arithmetic::int8, "int8"},
               {{"--arithmetic", "int8", "--weight-type", "int8"}, WeightType::int8, Arithmetic::int8, "int8"},
               {{"--weight-type", "int4"}, WeightType::int4, Arithmetic::float32, "weights of int4"},
               {{"--arithmetic", "int8", "--weight-type", "int4"}, WeightType::int4, Arithmetic::int8, "int4"}};
  std::vector<float> expected;
  for (const IsaEntry& entry : isas) {
    if (!isa_usable(entry.isa)) continue;
    for (const auto& one : cases) {
      CAPTURE(one.words.back());
      const Words words = one.words + Words{"--isa", entry.name};
      const bool int4 = one.weight_type == WeightType::int4;
      const char* const instructions = int4 ? int4_instructions(one.arithmetic, entry.isa) : product_instructions(one.weight_type, one.arithmetic, entry.isa);
      if (instructions == nullptr) {
        layer.check_refused_by_both(words, {one.words[0] + " ", "this CPU or this build has no kernel for it on " + std::string(entry.name)});
        continue;
      }
      io::LoadOptions load;
      load.isa = entry.isa;
      load.weight_type = one.weight_type;
      load.arithmetic = one.arithmetic;
      load.low_precision = int4 ? low_precision_int4() : low_precision();
      REQUIRE(expect(load, {}, &expected).ok());
      check(words, expected, std::string(" on ") + entry.name + ", " + one.told + " by " + instructions);
    }
  }
  AttentionOptions rounded;
  rounded.core_arithmetic = Arithmetic::bfloat16;
  rounded.low_precision = low_precision();
  const Status rounded_here = expect({}, rounded, &expected);
  CHECK(rounded_here.ok() == (core_instructions(Arithmetic::bfloat16) != nullptr));
  if (rounded_here.ok()) check({"--core-arithmetic", "bfloat16"}, expected, isa_name(best_isa()));
  else layer.check_refused_by_both({"--core-arithmetic", "bfloat16"}, {"--core-arithmetic 'bfloat16': this CPU or this build has no attention in bfloat16"});

  REQUIRE(expect({}, {}, &expected).ok());
  check({"--weight-type", "float32", "--arithmetic=float32", "--core-arithmetic", "float32"}, expected, isa_name(best_isa()));
  check({"--weight-type", "file"}, expected, isa_name(best_isa()));  // of float32
  layer.check_refused_by_both({"--weight-type", "file", "--arithmetic", "int8"}, {"arithmetic: int8 takes weights of int8 or int4, but weight_type is float32"});
  layer.check_refused_by_both({"--weight-type", "int7"}, {"--weight-type 'int7'", "float32, bfloat16, float16, int8 and int4, and file: what the file has; did you mean 'int"});
  layer.check_refused_by_both({"--weight-type", "int4:48"}, {"--weight-type 'int4:48': groups of int4 have 32, 64 or 128 elements"});
  layer.check_refused_by_both({"--arithmetic", "float16"}, {"--arithmetic 'float16'", "float32, bfloat16 and int8"});
  layer.check_refused_by_both({"--core-arithmetic", "int8"}, {"--core-arithmetic 'int8'", "float32 and bfloat16"});
  layer.check_refused_by_both({"--arithmetic", "int8", "--weight-type", "float32"}, {"--arithmetic int8 takes weights of int8 or int4, but --weight-type is float32"});
}

TEST_CASE("tool: quantize writes what can be worked out by hand") {
  const Folder folder;
  const float W_q[] = {127.0f, 1.0f, -64.0f, 0.25f}, W_k[] = {0.0f, 0.0f, 1.0f, -1.0f}, W_v[] = {1.0f, 2.0f, 3.0f, 4.0f}, W_o[] = {254.0f, 3.0f, 0.5f, -127.0f};
  const float bias[] = {0.1f, 0.2f};
  const std::string_view other("\x01\x02\x03", 3);
  REQUIRE(io::write_safetensors(folder / "in.safetensors",
                                {{"W_q.weight", {2, 2}, W_q, "F32"}, {"W_k.weight", {2, 2}, W_k, "BF16"}, {"W_v.weight", {2, 2}, W_v, "F16"}, {"W_o.weight", {2, 2}, W_o, "F32"},
                                 {"W_q.bias", {2}, bias, "F32"}, {"other", {3}, nullptr, "U8", other}},
                                {{"format", "pt"}})
              .ok());
  const Words words = {"quantize", folder / "in.safetensors", folder / "out.safetensors", "--heads", "1", "--ignore", "other", "--weights"};
  Outcome outcome = run(words + Words{"int8"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
  // Of W_q 0.25 becomes 0: 0.25 of sqrt(127^2 + 1 + 64^2 + 0.25^2). Of W_o 3 becomes 2 * 2 (halves to even), 0.5 becomes 0.
  CHECK(contains(outcome.out, "W_q.weight (2, 2): F32 to I8, 16 bytes to 12, off by 0.00176\n"));
  CHECK(contains(outcome.out, "W_k.weight (2, 2): BF16 to I8, 8 bytes to 12, off by "));
  CHECK(contains(outcome.out, "W_o.weight (2, 2): F32 to I8, 16 bytes to 12, off by 0.00394\n"));
  CHECK(contains(outcome.out, "the D2L layer's output on 64 random tokens, seed 1: off by "));
  CHECK(contains(outcome.out, "all tensors: 59 bytes to 59\n"));
  io::SafetensorsFile file;
  REQUIRE(io::SafetensorsFile::open(folder / "out.safetensors", &file).ok());
  const auto tensor = [&](const char* name) {
    const io::SafetensorsEntry* entry = file.find(name);
    REQUIRE_MESSAGE(entry != nullptr, name);
    std::string text = entry->dtype;
    for (const std::int64_t size : entry->shape) text += ' ' + std::to_string(size);
    return text + ':' + std::string(reinterpret_cast<const char*>(file.bytes(*entry)), entry->end - entry->begin);
  };
  const auto bytes = [](std::initializer_list<float> numbers) { return std::string(reinterpret_cast<const char*>(numbers.begin()), numbers.size() * sizeof(float)); };
  CHECK(tensor("W_q.weight") == std::string("I8 2 2:\x7f\x01\x81\x00", 11));
  CHECK(tensor("W_q.weight_scale") == "F32 2 1:" + bytes({1.0f, 64.0f / 127.0f}));
  CHECK(tensor("W_k.weight") == std::string("I8 2 2:\x00\x00\x7f\x81", 11));
  CHECK(tensor("W_k.weight_scale") == "F32 2 1:" + bytes({0.0f, 1.0f / 127.0f}));
  CHECK(tensor("W_o.weight") == std::string("I8 2 2:\x7f\x02\x00\x81", 11));
  CHECK(tensor("W_o.weight_scale") == "F32 2 1:" + bytes({2.0f, 1.0f}));
  CHECK(tensor("W_q.bias") == "F32 2:" + bytes({0.1f, 0.2f}));
  CHECK(tensor("other") == "U8 3:\x01\x02\x03");
  CHECK(file.metadata() == io::Metadata{{"format", "pt"}});
  CHECK(file.entries().size() == 10);

  // Of int8 back to float16: the scales go.
  const std::string back = folder / "back.safetensors";
  outcome = run({"quantize", folder / "out.safetensors", back, "--heads", "1", "--ignore", "other", "--weights", "float16", "--seed", "7"});
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.out, "W_o.weight (2, 2): I8 to F16, 12 bytes to 8, off by 0\n"));
  CHECK(contains(outcome.out, "seed 7: off by "));
  REQUIRE(io::SafetensorsFile::open(back, &file).ok());
  CHECK(tensor("W_o.weight") == std::string("F16 2 2:\xf0\x5b\x00\x44\x00\x00\xf0\xd7", 16));
  CHECK(file.find("W_o.weight_scale") == nullptr);
  CHECK(file.entries().size() == 6);
  CHECK(contains(run({"quantize", back, folder / "out.safetensors", "--heads", "1", "--ignore", "other", "--weights", "fp16"}).out, "W_v.weight (2, 2): F16 already\n"));
  outcome = run(words + Words{"bf16"});
  REQUIRE(outcome.code == 0);
  REQUIRE(io::SafetensorsFile::open(folder / "out.safetensors", &file).ok());
  CHECK(tensor("W_o.weight") == std::string("BF16 2 2:\x7e\x43\x40\x40\x00\x3f\xfe\xc2", 17));

  // Onto standard output, what it says goes to standard error.
  outcome = run({"quantize", folder / "in.safetensors", "/dev/stdout", "--heads", "1", "--ignore", "other", "--weights", "bf16"});
  CHECK(outcome.code == 0);
  CHECK(outcome.out == contents(folder / "out.safetensors"));
  CHECK(contains(outcome.err, "all tensors: "));
  outcome = run({"quantize", folder / "in.safetensors", "/dev/stdout", "--heads", "1", "--ignore", "other", "--weights", "bf16",
                 "--quiet"});
  CHECK(outcome.code == 0);
  CHECK(outcome.out == contents(folder / "out.safetensors"));
  CHECK(outcome.err.empty());
}

TEST_CASE("tool: a layer of a file that quantize wrote has the bits of one that is made of the original in that type") {
  NumberedLayer layer;
  layer.add("block.attn.q_proj.bias", {12});
  layer.add("elsewhere", {3});
  for (const std::string& type : {std::string("int8"), std::string("bfloat16"), std::string("float16")}) {
    CAPTURE(type);
    const std::string out = layer / (type + ".safetensors");
    const Outcome made = run({"quantize", layer / "w.safetensors", out, "--weights", type, "--heads", "4", "--prefix", "block.attn", "--input", layer / "x.npy", "--rope-theta", "1e4", "--rope-dim", "2"});
    CAPTURE(made.err);
    REQUIRE(made.code == 0);
    const std::size_t at = made.out.find("output on '" + (layer / "x.npy") + "': off by ");
    REQUIRE(at != std::string::npos);
    const double error = std::atof(made.out.c_str() + made.out.find("off by ", at) + 7);
    CHECK(error > 0.0);
    CHECK(error < (type == "int8" ? 0.02 : type == "bfloat16" ? 0.01 : 0.001));
    const WeightType weight_type = type == "int8" ? WeightType::int8 : type == "bfloat16" ? WeightType::bfloat16 : WeightType::float16;
    for (const Arithmetic arithmetic : {Arithmetic::float32, Arithmetic::int8, Arithmetic::bfloat16}) {
      if (product_instructions(weight_type, arithmetic) == nullptr) continue;
      const Words with = {"--weight-type", type, "--arithmetic", arithmetic == Arithmetic::float32 ? "float32" : type, "--quiet", "--out", "/dev/stdout"};
      const Outcome expected = run(layer.words("run", with));
      REQUIRE(expected.code == 0);
      const Words of_file = {"run", "--weights", out, "--prefix", "block.attn", "--heads", "4", "--query", layer / "x.npy"};
      CHECK(run(of_file + with).out == expected.out);
      Words as_stored = with;
      as_stored[1] = "file";
      CHECK(run(of_file + as_stored).out == expected.out);
    }
  }

  // Stored (in, out): a scale a column.
  const std::vector<float> x(8, 0.5f);
  std::vector<float> c_attn(24), c_proj(8);
  for (std::size_t i = 0; i < c_attn.size(); ++i) c_attn[i] = std::sin(static_cast<float>(i));
  for (std::size_t i = 0; i < c_proj.size(); ++i) c_proj[i] = std::cos(static_cast<float>(i));
  REQUIRE(io::write_npy(layer / "y.npy", io::ElementType::float32, {1, 2, 4}, x.data()).ok());
  REQUIRE(io::write_safetensors(layer / "gpt.safetensors", {{"c_attn.weight", {4, 6}, c_attn.data(), "F32"}, {"c_proj.weight", {2, 4}, c_proj.data(), "F32"}}).ok());
  REQUIRE(run({"quantize", layer / "gpt.safetensors", layer / "gpt8.safetensors", "--weights", "int8", "--heads", "1"}).code == 0);
  io::SafetensorsFile file;
  REQUIRE(io::SafetensorsFile::open(layer / "gpt8.safetensors", &file).ok());
  CHECK(file.find("c_attn.weight_scale")->shape == std::vector<std::int64_t>{1, 6});
  if (product_instructions(WeightType::int8, Arithmetic::float32) == nullptr) return;
  const auto gpt = [&](const std::string& name) {
    return run({"run", "--weights", layer / name, "--heads", "1", "--query", layer / "y.npy", "--weight-type", "int8", "--quiet", "--out", "/dev/stdout"});
  };
  CHECK(gpt("gpt.safetensors").code == 0);
  CHECK(gpt("gpt8.safetensors").out == gpt("gpt.safetensors").out);
}

TEST_CASE("tool: quantize writes int4 as the reference stores it, of one layer or of all") {
  Folder folder;
  constexpr std::int64_t E = 72;  // a group of 64 and one of 8
  std::deque<std::vector<float>> values;
  std::vector<io::SafetensorsTensor> tensors;
  const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape, const char* dtype) {
    values.emplace_back(static_cast<std::size_t>(reference::count_of(shape)));
    for (std::size_t i = 0; i < values.back().size(); ++i) values.back()[i] = float_from_bfloat16(bfloat16_from_float(std::sin(static_cast<float>(3 * i + 7 * values.size()))));
    tensors.push_back({name, shape, values.back().data(), dtype});
  };
  for (const char* prefix : {"m.layers.10.", "m.layers.9."}) {
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) add(prefix + std::string(name) + ".weight", {std::string(name) == "k_proj" || std::string(name) == "v_proj" ? E / 2 : E, E}, "BF16");
  }
  add("m.layers.9.q_proj.bias", {E}, "F32");
  add("m.norm", {3}, "F32");
  add("x", {1, 5, E}, "F32");
  REQUIRE(io::write_npy(folder / "x.npy", io::ElementType::float32, {1, 5, E}, values.back().data()).ok());
  REQUIRE(io::write_safetensors(folder / "in.safetensors", tensors, {{"format", "pt"}}).ok());
  const Words words = {"quantize", folder / "in.safetensors", folder / "out.safetensors", "--heads", "4", "--input", folder / "x.npy", "--weights", "int4:64"};
  Outcome outcome = run(words + Words{"--all-layers", "--prefix", "m.layers"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.out, "m.layers.9.k_proj.weight (36, 72): BF16 to int4:64, 5184 bytes to 1600, off by 0."));  // 36 (9 + 2) words, the shape
  CHECK(outcome.out.find("the Llama layer's output of m.layers.9 on '") < outcome.out.find("the Llama layer's output of m.layers.10 on '"));
  CHECK(contains(outcome.out, "all tensors: "));
  io::SafetensorsFile file;
  REQUIRE(io::SafetensorsFile::open(folder / "out.safetensors", &file).ok());
  CHECK(file.metadata() == io::Metadata{{"format", "pt"}});
  CHECK(file.entries().size() == 3 + 8 * 3);
  for (std::size_t which = 0; which < 8; ++which) {
    const std::string& name = tensors[which].name;
    CAPTURE(name);
    reference::Array weight = reference::Array::zeros(tensors[which].shape);
    std::copy(values[which].begin(), values[which].end(), weight.values.begin());
    const reference::StoredWeights stored = reference::store(weight, WeightType::int4, 64);
    const io::SafetensorsEntry *packed = file.find(name + "_packed"), *scale = file.find(name + "_scale"), *shape = file.find(name + "_shape");
    REQUIRE((packed != nullptr && scale != nullptr && shape != nullptr));
    CHECK(file.find(name) == nullptr);
    CHECK(packed->dtype == "I32");
    CHECK(packed->shape == std::vector<std::int64_t>{weight.size(0), 9});
    CHECK(scale->shape == std::vector<std::int64_t>{weight.size(0), 2});
    CHECK(shape->dtype == "I64");
    CHECK(std::memcmp(file.bytes(*shape), tensors[which].shape.data(), 16) == 0);
    std::int64_t wrong = 0;
    for (std::int64_t n = 0; n < weight.size(0); ++n) {
      for (std::int64_t k = 0; k < E; ++k) wrong += (file.bytes(*packed)[n * 36 + k / 2] >> k % 2 * 4 & 15) != static_cast<int>(stored.numbers.at(n, k));
      for (std::int64_t g = 0; g < 2; ++g) {
        float found;
        std::memcpy(&found, file.bytes(*scale) + (n * 2 + g) * 4, 4);
        wrong += static_cast<double>(found) != stored.scales.at(n, g);
      }
    }
    CHECK(wrong == 0);
  }
  const auto output = [&](const std::string& name, const Words& more) {
    const Outcome ran = run(Words{"run", "--weights", folder / name, "--heads", "4", "--prefix", "m.layers.9", "--query", folder / "x.npy", "--quiet", "--out", "/dev/stdout", "--rope-theta", "none"} + more);
    CAPTURE(ran.err);
    CHECK(ran.code == 0);
    return ran.out;
  };
  for (const char* arithmetic : {"float32", "int8"}) {
    if (int4_instructions(std::string(arithmetic) == "int8" ? Arithmetic::int8 : Arithmetic::float32) == nullptr) continue;
    const Words with = {"--arithmetic", arithmetic, "--weight-type"};
    const std::string expected = output("in.safetensors", with + Words{"int4:64"});
    for (const char* type : {"int4:64", "int4", "file"}) CHECK(output("out.safetensors", with + Words{type}) == expected);
    CHECK(output("in.safetensors", with + Words{"int4:32"}) != expected);
    CHECK(contains(run({"run", "--weights", folder / "out.safetensors", "--heads", "4", "--prefix", "m.layers.9", "--query", folder / "x.npy", "--weight-type", "file"}).out, "weights of int4:64 by "));
  }

  // Again: it stays. In another type: of one layer alone.
  const std::string before = contents(folder / "out.safetensors");
  const Words again = {"quantize", folder / "out.safetensors", folder / "again.safetensors", "--heads", "4", "--prefix", "m.layers.9", "--weights"};
  for (const char* type : {"int4", "int4:64"}) {
    outcome = run(again + Words{type});
    CHECK(contains(outcome.out, "m.layers.9.q_proj.weight (72, 72): int4:64 already\n"));
    CHECK(contains(outcome.out, "the Llama layer's output on 64 random tokens, seed 1: off by 0\n"));
    CHECK(contents(folder / "again.safetensors") == before);
  }
  outcome = run(again + Words{"bf16"});
  CHECK(contains(outcome.out, "m.layers.9.q_proj.weight (72, 72): int4:64 to BF16, 3184 bytes to 10368, off by 0."));
  REQUIRE(io::SafetensorsFile::open(folder / "again.safetensors", &file).ok());
  CHECK(file.entries().size() == 3 + 4 + 4 * 3);
  CHECK(file.find("m.layers.10.v_proj.weight_packed") != nullptr);

  // A number of the second layer is none: nothing is written.
  values[1][0] = NAN;
  REQUIRE(io::write_safetensors(folder / "in.safetensors", tensors).ok());
  const std::string kept = contents(folder / "out.safetensors");
  check_refused(words + Words{"--all-layers"}, {"tensor 'm.layers.10.k_proj.weight' in int4:64: nan at (0, 0), expected finite numbers"});
  check_refused(words + Words{"--all-layers", "--prefix", "m.layer"}, {"no attention layer under prefix 'm.layer'; try 'm.layers.9'"});
  CHECK(contents(folder / "out.safetensors") == kept);
  const std::vector<float> square(16, 0.5f), wide(48, 0.5f);
  REQUIRE(io::write_safetensors(folder / "gpt.safetensors", {{"c_attn.weight", {4, 12}, wide.data(), "F32"}, {"c_proj.weight", {4, 4}, square.data(), "F32"}}).ok());
  check_refused({"quantize", folder / "gpt.safetensors", folder / "o.safetensors", "--weights", "int4:32", "--heads", "2"},
                {"--weights int4: the file stores matrices (in, out), as GPT-2 does, for which compressed-tensors has no form of 4 bits"});
  CHECK(folder.names() == std::set<std::string>{"x.npy", "in.safetensors", "out.safetensors", "again.safetensors", "gpt.safetensors"});
}

TEST_CASE("tool: quantize takes the layers of GGUF files") {
  const Folder folder;
  const std::string gguf = test_data("data/gguf/llama.gguf"), out = folder / "o.safetensors";
  std::vector<float> x(2 * 5 * 32);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  REQUIRE(io::write_npy(folder / "x.npy", io::ElementType::float32, {2, 5, 32}, x.data()).ok());
  const auto output = [&](const Words& words) {
    const Outcome outcome = run(Words{"run", "--quiet", "--query", folder / "x.npy", "--causal", "--out", "/dev/stdout"} + words);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
    return outcome.out;
  };
  for (const std::string type : {"int8", "bfloat16", "float16", "int4", "int4:64"}) {
    const Outcome made = run({"quantize", gguf, out, "--weights", type, "--all-layers"});
    CAPTURE(made.err);
    REQUIRE(made.code == 0);
    CHECK(made.err == "attend quantize: what the GGUF file says of its model is not in OUT: attend run takes it as --heads 4 --rope-theta 500\n");
    io::SafetensorsFile file;
    REQUIRE(io::SafetensorsFile::open(out, &file).ok());
    CHECK(file.entries().size() == 5 * 4 * (type == "int8" ? 2 : type.substr(0, 4) == "int4" ? 3 : 1));
    if (type == "int4") CHECK(contains(made.out, "blk.3.k_proj.weight (16, 32): Q4_0 to int4:32, 288 bytes to 336, off by 0\n"));
    if (type == "int4") CHECK(contains(made.out, "blk.2.o_proj.weight (32, 32): Q8_0 to int4:32, 1088 bytes to 656, off by 0.00"));
    if (type == "int8") CHECK(contains(made.out, "all tensors of the layers: 21248 bytes to 17280\n"));
    if (type == "int4") CHECK(contains(made.out, "the GGUF layer's output of blk.3 on 64 random tokens, seed 1: off by 0\n"));
    const WeightType weight_type = type == "int8" ? WeightType::int8 : type == "bfloat16" ? WeightType::bfloat16 : WeightType::float16;
    if ((type.substr(0, 4) == "int4" ? int4_instructions(Arithmetic::float32) : product_instructions(weight_type, Arithmetic::float32)) == nullptr) continue;
    for (const char* block : {"blk.0", "blk.1", "blk.2", "blk.3", "blk.4"}) {
      CAPTURE(std::string(block));
      const std::string expected = output({"--weights", gguf, "--prefix", block, "--weight-type", type});
      const Words of_out = {"--weights", out, "--prefix", block, "--heads", "4", "--rope-theta", "500", "--weight-type"};
      CHECK(output(of_out + Words{type}) == expected);
      CHECK(output(of_out + Words{"file"}) == expected);
    }
  }
  CHECK(contains(run({"quantize", gguf, out, "--weights", "int4", "--prefix", "blk.3"}).out, "all tensors of the layer: 1728 bytes to 1984\n"));
  const std::string kept = contents(out);
  check_refused({"quantize", gguf, folder / "o.gguf", "--weights", "int8", "--prefix", "blk.0"}, {"a name in .gguf is that of another format, expected .safetensors"});
  check_refused({"quantize", gguf, out, "--weights", "int8", "--prefix", "blk.7"}, {"no attention layer under prefix 'blk.7'; try 'blk.0'"});
  const std::string bytes = contents(gguf);
  for (const std::size_t size : {std::size_t{3}, std::size_t{200}, bytes.size() - 100}) {
    std::ofstream(folder / "cut.gguf", std::ios::binary) << bytes.substr(0, size);
    check_refused({"quantize", folder / "cut.gguf", out, "--weights", "int4:32", "--all-layers", "--heads", "4"}, {"cut.gguf"});
  }
  CHECK(contents(out) == kept);
  CHECK(folder.names() == std::set<std::string>{"x.npy", "o.safetensors", "cut.gguf"});
}

TEST_CASE("tool: layers of GGUF files need no heads, and tell what the file said") {
  const Folder folder;
  const std::string gguf = test_data("data/gguf/llama.gguf"), original = test_data("data/gguf/llama.safetensors");
  std::vector<float> x(2 * 5 * 32);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  REQUIRE(io::write_npy(folder / "x.npy", io::ElementType::float32, {2, 5, 32}, x.data()).ok());
  const Words input = {"--query", folder / "x.npy", "--causal"};
  const Words of_original = Words{"--weights", original, "--prefix", "model.layers.0.self_attn", "--heads", "4"} + input;
  const auto output = [&](const Words& words) {
    const Outcome outcome = run(Words{"run", "--quiet", "--out", "/dev/stdout"} + words);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
    return outcome.out;
  };
  const Words block = Words{"--weights", gguf, "--prefix", "blk.4"} + input;
  CHECK(output(block) == output(of_original + Words{"--rope-theta", "500"}));
  CHECK(output(block + Words{"--rope-theta", "7"}) == output(of_original + Words{"--rope-theta", "7"}));
  CHECK(output(block + Words{"--rope-theta", "none"}) == output(of_original));
  const Outcome told = run(Words{"run"} + block);
  CHECK(told.code == 0);
  CHECK(contains(told.out, "GGUF layer, 4 heads (2 of keys): "));
  CHECK(contains(told.err, "attend run: rotated by frequencies of base 500 over 8 elements of a head, as the file says\n"));
  CHECK(contains(told.err, "attend run: 'blk.4.attn_q.weight' and 3 more are of Q4_1: their numbers were taken as float32\n"));
  CHECK(run(Words{"heatmap"} + block).code == 0);
  if (product_instructions(WeightType::int8, Arithmetic::float32) != nullptr) {
    const Words in_int8 = {"--weight-type", "int8"};
    CHECK(output(block + in_int8) == output(of_original + Words{"--rope-theta", "500"} + in_int8));
  }
  check_refused(Words{"run"} + block + Words{"--heads", "8"}, {"--heads 8, but the file says 4"});
  check_refused(Words{"run", "--weights", gguf} + input, {"no attention layer under prefix ''; try 'blk.0'"});
  check_refused(Words{"run", "--weights", original, "--prefix", "model.layers.0.self_attn"} + input, {"--heads is missing"});
  CHECK(folder.names() == std::set<std::string>{"x.npy"});
}

TEST_CASE("tool: quantize refuses in one line, and leaves no file") {
  NumberedLayer layer;
  const std::string in = layer / "w.safetensors", out = layer / "out.safetensors";
  const auto words = [&](const std::string& type, const Words& more = {}) { return Words{"quantize", in, out, "--weights", type, "--heads", "4", "--prefix", "block.attn"} + more; };
  check_refused({"quantize"}, {"attend quantize: ", "IN is missing"});
  check_refused({"quantize", in, "--weights", "int8"}, {"OUT is missing"});
  check_refused({"quantize", in, out, "third"}, {"unexpected argument 'third'"});
  check_refused({"quantize", "", out}, {"IN is empty"});
  check_refused({"quantize", in, out, "--heads", "4"}, {"--weights is missing"});
  check_refused(words("int4:48"), {"--weights 'int4:48': groups of int4 have 32, 64 or 128 elements"});
  check_refused(words("fp61"), {"--weights 'fp61': there are int8, bfloat16, float16, int4:32, int4:64 and int4:128"});
  check_refused(words("int8", {"--seed", "2", "--input", layer / "x.npy"}), {"--seed: the input is given, by --input"});
  check_refused(words("int8", {"--input", layer / "none.npy"}), {"none.npy"});
  check_refused(words("int8", {"--ignore", "x"}), {"--ignore 'x': nothing has that name"});
  check_refused({"quantize", layer / "none.safetensors", out, "--weights", "int8", "--heads", "4"}, {"none.safetensors"});
  check_refused({"quantize", in, layer / "out.json", "--weights", "int8", "--heads", "4"}, {"a name in .json is that of an index of shards"});
  check_refused({"quantize", in, layer / "no/out.safetensors", "--weights", "int8", "--heads", "4"}, {"no/out.safetensors"});
  const std::string before = contents(in);
  files::create_hard_link(in, layer / "hard.safetensors");
  files::create_symlink(in, layer / "soft.safetensors");
  for (const std::string& same : {in, layer / "./w.safetensors", layer / "hard.safetensors", layer / "soft.safetensors"}) {
    check_refused({"quantize", in, same, "--weights", "int8", "--heads", "4"}, {"IN and OUT are one file, '" + in + "'"});
    CHECK(contents(in) == before);
    if (!contains(same, "w.safetensors")) files::remove(same);
  }
  for (const float number : {70000.0f, INFINITY, std::nanf("")}) {
    layer.values[1][7] = number;  // of queries, at (1, 1)
    REQUIRE(io::write_safetensors(in, layer.tensors).ok());
    check_refused(words("fp16"), {"tensor 'block.attn.q_proj.weight' in F16: ", number == 70000.0f ? "70000 at (1, 1), beyond what the type can hold" : " at (1, 1), expected finite numbers"});
    if (number != 70000.0f) check_refused(words("int8"), {" at (1, 1), expected finite numbers"});
  }
  CHECK(layer.names() == std::set<std::string>{"w.safetensors", "x.npy"});
}

TEST_CASE("tool: sinks are loaded and used") {
  NumberedLayer layer;
  reference::AttentionOptions options;
  options.sinks = layer.add("block.attn.sinks", {4});
  layer.check(options);
  options.causal = true;
  options.scale = 0.25;
  layer.check(options, {"--causal", "--scale", "0.25"});
  NumberedLayer wrong;
  wrong.add("block.attn.sinks", {3});
  wrong.check_refused_by_both({}, {"sinks: shape (3,), expected (4,)"});
}

TEST_CASE("tool: padding by --key-padding-mask and --valid-starts, in both senses of bools and integers") {
  NumberedLayer layer;
  std::vector<unsigned char> shows(2 * 21), hides(shows.size());
  for (std::size_t n = 0; n < shows.size(); ++n) hides[n] = (shows[n] = n % 5 != 1) ? 0 : 1;
  const std::vector<std::int64_t> integers(shows.begin(), shows.end());
  REQUIRE(io::write_npy(layer / "shows.npy", io::ElementType::boolean, {2, 21}, shows.data()).ok());
  REQUIRE(io::write_npy(layer / "hides.npy", io::ElementType::boolean, {2, 21}, hides.data()).ok());
  REQUIRE(io::write_npy(layer / "integers.npy", io::ElementType::int64, {2, 21}, integers.data()).ok());
  const std::int64_t starts[] = {3, 9};
  REQUIRE(io::write_npy(layer / "starts.npy", io::ElementType::int64, {2}, starts).ok());
  reference::AttentionOptions options;
  options.key_padding_mask = BoolMaskView(shows.data(), 2, 21);
  layer.check(options, {"--key-padding-mask", layer / "shows.npy"});
  layer.check(options, {"--key-padding-mask", layer / "integers.npy"});
  layer.check(options, {"--key-padding-mask", layer / "hides.npy", "--mask-hides"});
  options.valid_starts = IndexView(starts, 2);
  layer.check(options, {"--key-padding-mask", layer / "shows.npy", "--valid-starts", layer / "starts.npy"});
  options.key_padding_mask = {};
  layer.check(options, {"--valid-starts", layer / "starts.npy"});

  layer.check_refused_by_both({"--mask-hides"}, {"--mask-hides", "neither --mask nor --key-padding-mask"});
  layer.numbers({1, 21}, "added.npy");
  layer.check_refused_by_both({"--mask-hides", "--mask", layer / "added.npy"}, {"added.npy' holds floats, which would be added to the scores; with --mask-hides"});
  layer.check_refused_by_both({"--causal-offset", "3"}, {"--causal-offset is for --causal, windows, rotation and biases by position, and there is none"});
  CHECK(run(layer.words("run", {"--key-padding-mask", layer / "hides.npy", "--mask-hides", "--mask", layer / "added.npy"})).code == 0);
  for (const Words& used : {Words{"--causal"}, {"--window-right", "0"}, {"--alibi-slopes", "default"}, {"--rope-theta", "500", "--rope-dim", "2"}}) CHECK(run(layer.words("run", Words{"--causal-offset", "3"} + used)).code == 0);
  layer.check_refused_by_both({"--key-padding-mask", layer / "x.npy"}, {"--key-padding-mask", "float32, expected bools or integers"});
  layer.check_refused_by_both({"--valid-starts", layer / "shows.npy"}, {"shows.npy"});
  const std::int64_t three[] = {0, 0, 0};
  REQUIRE(io::write_npy(layer / "three.npy", io::ElementType::int64, {3}, three).ok());
  layer.check_refused_by_both({"--valid-starts", layer / "three.npy"}, {"valid"});
}

TEST_CASE("tool: T5's layers, with the relative position bias of their own or of another layer") {
  // Distances of keys from the query in 8 buckets, up to 16, as T5's code counts them.
  const auto position_bias = [](const reference::Array& table, bool bidirectional, double most) {
    reference::Array bias = reference::Array::zeros({4, 21, 21});
    for (std::int64_t i = 0; i < 21; ++i) {
      for (std::int64_t j = 0; j < 21; ++j) {
        const std::int64_t buckets = bidirectional ? 4 : 8, exact = buckets / 2;
        const std::int64_t distance = bidirectional ? std::abs(j - i) : std::max<std::int64_t>(i - j, 0);
        const double ratio = static_cast<double>(std::max(distance, exact)) / static_cast<double>(exact);
        const double share = std::log(ratio) / std::log(most / static_cast<double>(exact));
        const std::int64_t far = exact + static_cast<std::int64_t>(share * static_cast<double>(buckets - exact) + 1e-6);
        const std::int64_t bucket = (distance < exact ? distance : std::min(far, buckets - 1)) + (bidirectional && j > i ? buckets : 0);
        for (std::int64_t h = 0; h < 4; ++h) bias.at(h, i, j) = table.at(bucket, h);
      }
    }
    return bias;
  };
  NumberedLayer layer("q.weight", "k.weight", "v.weight", "o.weight");
  reference::AttentionOptions options;
  options.scale = 1.0;
  layer.check_refused_by_both({}, {"relative_attention_bias.weight", "--relative-bias"});
  layer.check(options, {"--relative-bias", "none"});  // cross-attention
  layer.check_refused_by_both({"--relative-bias", "none", "--relative-sides", "1"}, {"--relative-sides"});
  layer.check_refused_by_both({"--relative-bias", "first.table"}, {"'first.table'"});

  const reference::Array table = layer.add("first.relative_attention_bias.weight", {8, 4});
  options.position_bias = position_bias(table, true, 128.0);
  layer.check(options, {"--relative-bias", "first.relative_attention_bias.weight"});

  const reference::Array own = layer.add("block.attn.relative_attention_bias.weight", {8, 4});
  layer.check_refused_by_both({"--relative-bias", "first.relative_attention_bias.weight"}, {"--relative-bias", "of its own"});
  options.position_bias = position_bias(own, true, 128.0);
  layer.check(options);
  options.position_bias = position_bias(own, true, 16.0);
  layer.check(options, {"--relative-max-distance", "16"});
  options.scale = 0.5;
  options.position_bias = position_bias(own, false, 128.0);
  layer.check(options, {"--relative-sides", "1", "--scale", "0.5"});
  options.causal = true;  // as in a decoder
  layer.check(options, {"--causal", "--scale=0.5"});
  options.position_bias = position_bias(own, true, 128.0);
  layer.check(options, {"--causal", "--relative-sides", "2", "--scale=0.5"});
  layer.check_refused_by_both({"--relative-sides", "3"}, {"--relative-sides '3'"});
  layer.check_refused_by_both({"--relative-max-distance", "1"}, {"max_distance"});

  for (io::SafetensorsTensor& tensor : layer.tensors) {
    if (tensor.name.rfind("block.", 0) == 0) tensor.name.replace(0, 5, "decoder");
  }
  layer.prefix = "decoder.attn";
  REQUIRE(io::write_safetensors(layer / "w.safetensors", layer.tensors).ok());
  options.causal = false;
  layer.check(options, {"--relative-sides", "2", "--scale=0.5"});
  options.position_bias = position_bias(own, false, 128.0);
  layer.check(options, {"--scale=0.5"});

  NumberedLayer biased("q.weight", "k.weight", "v.weight", "o.weight");  // MPNet's names: not T5's scale
  biased.add("block.attn.q.bias", {12});
  biased.check_refused_by_both({"--relative-bias", "none"}, {"'block.attn.q.bias'"});
}

TEST_CASE("tool: --expect tells the largest difference, and where it is") {
  const SmallLayer layer;
  const std::string golden_output = golden("mha/self_small") + "output.npy", out = layer / "o.npy";
  const Outcome same = run(layer.run_words({"--quiet", "--expect", golden_output}));
  CAPTURE(same.out);
  CHECK(same.code == 0);
  CHECK(same.err.empty());
  CHECK(same.out.rfind("agrees with ", 0) == 0);
  REQUIRE(run(layer.run_words({"--out", out})).code == 0);
  const std::vector<float> output = floats(read(out));

  // One number changed by so much, at (1, 2, 3).
  const std::size_t place = (1 * 5 + 2) * 16 + 3;
  const auto expecting = [&](float number, const Words& more) {
    std::vector<float> values = output;
    values[place] = number;
    REQUIRE(io::write_npy(layer / "expected.npy", io::ElementType::float32, {2, 5, 16}, values.data()).ok());
    return run(layer.run_words(Words{"--quiet", "--expect", layer / "expected.npy"} + more));
  };
  const Outcome exact = expecting(output[place], {"--tolerance", "0"});
  CHECK(exact.code == 0);
  CHECK(contains(exact.out, "no difference in 160 elements"));
  const Outcome differs = expecting(output[place] + 0.5f, {});
  CHECK(differs.code == 1);
  CHECK(differs.err.empty());
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "at (1, 2, 3), %.9g instead of %.9g; ", static_cast<double>(output[place]),
                static_cast<double>(output[place] + 0.5f));
  const Words told = {"differs from ", "expected.npy", "the largest difference is 0.5 ", numbers, "1 of 160 elements are beyond the tolerance "};
  for (const std::string& part : told) CHECK_MESSAGE(contains(differs.out, part), part);
  CHECK(expecting(output[place] + 0.5f, {"--tolerance", "0.501"}).code == 0);
  CHECK(expecting(output[place] + 0.5f, {"--tolerance=0.499"}).code == 1);
  for (const float number : {NAN, INFINITY, -INFINITY}) {
    const Outcome outcome = expecting(number, {"--tolerance", "1e30"});
    CHECK(outcome.code == 1);
    CHECK(contains(outcome.out, "the largest difference is inf at (1, 2, 3)"));
  }
  // The default follows the largest finite number that is expected, which counts as the rest does.
  std::vector<float> large = output;
  for (float& value : large) value = 0.0f;
  large[0] = -1e9f;
  large[1] = INFINITY;
  REQUIRE(io::write_npy(layer / "large.npy", io::ElementType::float32, {2, 5, 16}, large.data()).ok());
  const Outcome relative = run(layer.run_words({"--quiet", "--expect", layer / "large.npy"}));
  CHECK(relative.code == 1);
  CHECK(contains(relative.out, "inf at (0, 0, 1)"));
  CHECK(contains(relative.out, "2 of 160 elements are beyond the tolerance 1e+04"));

  // Both: the whole output, and what is told of it; not in the same place.
  const Outcome both = run(layer.run_words({"--out", layer / "both.npy", "--expect", layer / "expected.npy"}));
  CHECK(both.code == 1);
  CHECK(floats(read(layer / "both.npy")) == output);
  const Outcome direct = run(layer.run_words({"--out", "/dev/stdout", "--quiet", "--expect", layer / "expected.npy"}));
  CHECK(direct.code == 1);
  CHECK(direct.out == contents(layer / "both.npy"));
  CHECK(contains(direct.err, "differs from "));

  // A row of NaN, of a query that is one, agrees with NaN.
  io::Array nan_queries = read(layer.query);
  std::vector<float> queries = floats(nan_queries);
  queries[0] = NAN;
  REQUIRE(io::write_npy(layer / "nan.npy", io::ElementType::float32, nan_queries.shape, queries.data()).ok());
  Words of_nan = layer.run_words({"--quiet", "--causal", "--out", layer / "nan_out.npy"});
  of_nan[8] = layer / "nan.npy";
  REQUIRE(run(of_nan).code == 0);
  REQUIRE(std::isnan(floats(read(layer / "nan_out.npy"))[0]));
  of_nan[of_nan.size() - 2] = "--expect";
  CHECK(run(of_nan).code == 0);
  layer.floats_file("empty.npy", {0, 5, 16});
  Words empty = layer.run_words({"--quiet", "--expect", layer / "empty.npy"});
  empty[8] = layer / "empty.npy";
  CHECK(contains(run(empty).out, "no difference in 0 elements"));

}

TEST_CASE("tool: --expect is refused where it is of no use, and sdpa has it too") {
  const SmallLayer layer;
  layer.floats_file("flat.npy", {5, 16});
  layer.floats_file("zeros.npy", {2, 5, 16});
  layer.floats_file("q.npy", {1, 2, 3, 4});
  layer.lengths_file("integers.npy", {2, 5, 16}, std::vector<std::int64_t>(160));
  const std::set<std::string> before = layer.names();
  const auto refused = [&](const Words& more, const Words& parts) {
    check_refused(layer.run_words(Words{"--attn-weights", layer / "new.npy"} + more), parts);
    CHECK(layer.names() == before);
  };
  refused({"--expect", layer / "flat.npy"}, {"--expect", "flat.npy", "(5, 16)", "(2, 5, 16)"});
  refused({"--expect", layer / "absent.npy"}, {"absent.npy", "No such file"});
  refused({"--expect", layer / "integers.npy"}, {"integers.npy", "int64"});
  refused({"--expect", layer / "zeros.npy", "--tolerance", "-1"}, {"--tolerance '-1'"});
  refused({"--expect", layer / "zeros.npy", "--tolerance", "nan"}, {"--tolerance 'nan'"});
  refused({"--tolerance", "1"}, {"--tolerance", "--expect", "missing"});
  refused({"--expect", layer / "zeros.npy", "--out", layer / "zeros.npy"}, {"--expect and --out", "zeros.npy"});

  const Words sdpa = {"sdpa", "--query", layer / "q.npy", "--key", layer / "q.npy", "--value", layer / "q.npy"};
  CHECK(run(sdpa + Words{"--expect", layer / "q.npy"}).code == 0);
  check_refused(sdpa + Words{"--out", layer / "o.npy", "--expect", layer / "zeros.npy"}, {"attend sdpa: --expect", "(2, 5, 16)", "(1, 2, 3, 4)"});
  CHECK(!files::exists(layer / "o.npy"));
  std::vector<float> ones(24, 1.0f);
  REQUIRE(io::write_npy(layer / "ones.npy", io::ElementType::float32, {1, 2, 3, 4}, ones.data()).ok());
  const Outcome differs = run(sdpa + Words{"--out", layer / "o.npy", "--expect", layer / "ones.npy"});
  CHECK(differs.code == 1);
  CHECK(contains(differs.out, "the largest difference is 1 at (0, 0, 0, 0), 0 instead of 1; 24 of 24"));
  CHECK(files::exists(layer / "o.npy"));
  const auto remarked = [&](std::size_t nans) {
    std::fill(ones.begin(), ones.begin() + static_cast<std::ptrdiff_t>(nans), std::nanf(""));
    REQUIRE(io::write_npy(layer / "ones.npy", io::ElementType::float32, {1, 2, 3, 4}, ones.data()).ok());
    return contains(run(sdpa + Words{"--expect", layer / "ones.npy"}).err, "ones.npy' has rows of NaN, as PyTorch gives where a query sees no key; attend gives zeros there");
  };
  CHECK_FALSE(differs.err.size() > 0);
  CHECK_FALSE(remarked(3));
  CHECK(remarked(4));
}

TEST_CASE("tool: integers of 0 and 1 are a bool mask, a tokenizer's among them") {
  const SmallLayer layer;
  const auto output_of = [&](const std::string& mask) {
    const Outcome outcome = run(layer.run_words({"--mask", mask, "--quiet", "--out", layer / "o.npy"}));
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK(outcome.err.empty());
    return floats(read(layer / "o.npy"));
  };
  const std::vector<unsigned char> bytes = {1, 1, 1, 0, 0, 1, 1, 1, 1, 0};
  const std::vector<std::int64_t> wide(bytes.begin(), bytes.end());
  const std::vector<std::int32_t> narrow(bytes.begin(), bytes.end());
  REQUIRE(io::write_npy(layer / "bool.npy", io::ElementType::boolean, {2, 1, 1, 5}, bytes.data()).ok());
  const std::vector<float> expected = output_of(layer / "bool.npy");
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{2, 1, 1, 5}, {2, 5}}) {
    REQUIRE(io::write_npy(layer / "mask.npy", io::ElementType::uint8, shape, bytes.data()).ok());
    CHECK(output_of(layer / "mask.npy") == expected);
    REQUIRE(io::write_npy(layer / "mask.npy", io::ElementType::int32, shape, narrow.data()).ok());
    CHECK(output_of(layer / "mask.npy") == expected);
    CHECK(output_of(layer.lengths_file("mask.npy", shape, wide)) == expected);
  }
  CHECK(contains(run(layer.words("heatmap", {"--mask", layer / "mask.npy"})).out, "\u00b7"));
  // Of two axes that are those of queries and keys.
  std::vector<std::int64_t> lower(25);
  for (std::size_t i = 0; i < 25; ++i) lower[i] = i % 5 <= i / 5;
  layer.lengths_file("lower.npy", {5, 5}, lower);
  const std::vector<float> causal = output_of(layer / "lower.npy");
  REQUIRE(run(layer.run_words({"--causal", "--out", layer / "o.npy"})).code == 0);
  CHECK(causal == floats(read(layer / "o.npy")));

  const auto refused = [&](const std::string& mask, const Words& parts) { check_refused(layer.run_words({"--mask", mask}), parts); };
  std::vector<std::int64_t> other = lower;
  other[13] = 2;
  refused(layer.lengths_file("two.npy", {5, 5}, other), {"--mask", "two.npy", "element (2, 3) is 2", "0 or 1", "int64"});
  other[13] = -10000;
  refused(layer.lengths_file("two.npy", {1, 1, 5, 5}, other), {"element (0, 0, 2, 3) is -10000"});
  const std::vector<unsigned char> full = {1, 1, 255, 1, 0};
  REQUIRE(io::write_npy(layer / "full.npy", io::ElementType::uint8, {5}, full.data()).ok());
  refused(layer / "full.npy", {"full.npy", "element (2,) is 255", "uint8"});
  refused(layer.lengths_file("three.npy", {3, 5}, std::vector<std::int64_t>(15, 1)), {"mask", "(3, 5)"});
  refused(layer.lengths_file("none.npy", {0, 5}, {}), {"mask"});
  // As many entries as queries: nothing says which of them the first axis is.
  layer.floats_file("square.npy", {5, 5, 16});
  Words square = layer.run_words({"--mask", layer / "lower.npy"});
  square[8] = layer / "square.npy";
  check_refused(square, {"--mask", "(5, 5)", "(B, S)", "(L, S)", "--key-padding-mask"});
}

TEST_CASE("tool: a mask (B H, L, S), as torch.nn.MultiheadAttention takes it, is (B, H, L, S)") {
  const SmallLayer layer;
  std::vector<float> numbers(100);
  std::vector<unsigned char> bools(100);
  for (std::size_t i = 0; i < 100; ++i) {
    numbers[i] = std::sin(static_cast<float>(i + 1));
    bools[i] = i % 7 < 4;
  }
  layer.floats_file("heads.npy", {2, 2, 5, 8});
  REQUIRE(io::write_npy(layer / "values.npy", io::ElementType::float32, {2, 2, 5, 5}, numbers.data()).ok());
  const Words sdpa = {"sdpa", "--query", layer / "heads.npy", "--key", layer / "heads.npy", "--value", layer / "values.npy"};
  for (const bool adds : {false, true}) {
    const auto mask_file = [&](const std::vector<std::int64_t>& shape) {
      const void* const elements = adds ? static_cast<const void*>(numbers.data()) : bools.data();
      REQUIRE(io::write_npy(layer / "mask.npy", adds ? io::ElementType::float32 : io::ElementType::boolean, shape, elements).ok());
    };
    for (const Words& words : {layer.run_words({"--quiet"}), sdpa}) {
      const Words with = words + Words{"--mask", layer / "mask.npy", "--out", "/dev/stdout"};
      mask_file({2, 2, 5, 5});
      const Outcome expected = run(with);
      REQUIRE(expected.code == 0);
      mask_file({4, 5, 5});
      CHECK(run(with).out == expected.out);
    }
    const Words drawn = layer.words("heatmap", {"--entry", "1", "--head", "1", "--mask", layer / "mask.npy"});
    const std::string flat = run(drawn).out;
    mask_file({2, 2, 5, 5});
    CHECK(run(drawn).out == flat);
    mask_file({4, 5, 4});
    check_refused(layer.run_words({"--mask", layer / "mask.npy"}),
                  {"mask.npy': shape (4, 5, 4) does not broadcast to (B, H, L, S) = (2, 2, 5, 5)"});
  }
}

TEST_CASE("tool: a mask of floats 0 and 1 is added, and that is told") {
  const SmallLayer layer;
  const std::string path = layer / "mask.npy";
  const auto told = [&](const std::vector<float>& numbers, const std::string& verb = "run") {
    REQUIRE(io::write_npy(path, io::ElementType::float32, {5}, numbers.data()).ok());
    const Outcome outcome = run(layer.words(verb, {"--mask", path}));
    CHECK(outcome.code == 0);
    return outcome.err;
  };
  for (const std::string verb : {"run", "heatmap"}) {
    const std::string line = told({1, 1, 0, 1, 1}, verb);
    CHECK(std::count(line.begin(), line.end(), '\n') == 1);
    const Words parts = {"attend " + verb + ": --mask", "mask.npy", "was added to the scores", "bool mask would hide"};
    for (const std::string& part : parts) CHECK_MESSAGE(contains(line, part), part);
  }
  CHECK(told({1, 1, 0, 1, 0.5f}).empty());
  CHECK(told({1, 1, 0, 1, NAN}).empty());
  CHECK(told({0, 0, 0, -INFINITY, -INFINITY}).empty());
  CHECK(told({0, 0, 0, 0, 0}).empty());  // hides nothing either way
  layer.floats_file("q.npy", {1, 1, 5, 2});
  const Outcome sdpa = run({"sdpa", "--query", layer / "q.npy", "--key", layer / "q.npy", "--value", layer / "q.npy", "--mask",
                            (told({1, 0, 0, 0, 0}), path), "--out", "/dev/stdout"});
  CHECK(sdpa.code == 0);
  CHECK(contains(sdpa.err, "attend sdpa: --mask"));
}

TEST_CASE("tool: run rotates, and takes windows, a softcap, slopes and sinks") {
  // 4 heads of 4, named as Llama's.
  const Folder folder;
  const std::vector<std::string> names = {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"};
  std::vector<std::vector<float>> numbers(4, std::vector<float>(16 * 16));
  std::vector<io::SafetensorsTensor> tensors;
  for (std::size_t n = 0; n < 4; ++n) {
    for (std::size_t i = 0; i < 256; ++i) numbers[n][i] = std::sin(static_cast<float>(7 * i + n + 1));
    tensors.push_back({names[n], {16, 16}, numbers[n].data(), "F32"});
  }
  REQUIRE(io::write_safetensors(folder / "w.safetensors", tensors).ok());
  std::vector<float> x(2 * 9 * 16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(3 * i));
  REQUIRE(io::write_npy(folder / "x.npy", io::ElementType::float32, {2, 9, 16}, x.data()).ok());
  const float four[] = {0.5f, 0.25f, -1.0f, 2.0f};
  REQUIRE(io::write_npy(folder / "four.npy", io::ElementType::float32, {4}, four).ok());
  const auto words = [&](const Words& more) {
    return Words{"run", "--weights", folder / "w.safetensors", "--heads", "4", "--query", folder / "x.npy"} + more;
  };
  const auto check = [&](const Words& more, const RotaryEmbedding& rotary, AttentionOptions options) {
    MultiHeadAttentionConfig config;
    config.query_size = config.key_size = config.value_size = config.num_hiddens = 16;
    config.num_heads = 4;
    config.rotary = rotary;
    const auto matrix = [&](std::size_t n) { return ConstTensorView(numbers[n].data(), 16, 16); };
    MultiHeadAttention attention;
    REQUIRE(MultiHeadAttention::make(config, {matrix(0), matrix(1), matrix(2), matrix(3), {}, {}, {}, {}}, &attention).ok());
    options.causal = true;
    std::vector<float> expected(x.size());
    const ConstTensorView rows(x.data(), 2, 9, 16);
    Workspace workspace;
    REQUIRE(attention.forward(rows, rows, rows, {}, TensorView(expected.data(), 2, 9, 16), workspace, options).ok());
    const Outcome outcome = run(words(Words{"--causal", "--quiet", "--out", folder / "o.npy"} + more));
    CAPTURE(outcome.err);
    CAPTURE(more.back());
    REQUIRE(outcome.code == 0);
    CHECK(floats(read(folder / "o.npy")) == expected);
    return outcome.err;
  };
  AttentionOptions options;
  const std::string told = check({"--kv-heads", "4"}, {}, options);
  CHECK(std::count(told.begin(), told.end(), '\n') == 1);
  for (const std::string part : {"attend run: ", "Llama", "--rope-theta"}) CHECK(contains(told, part));
  CHECK(check({"--rope-theta", "none"}, {}, options).empty());

  float frequencies[2];
  const auto rotary = [&](std::int64_t width, const RotaryScaling& scaling) {
    RotaryEmbedding embedding;
    REQUIRE(rotary_frequencies(width, 500.0, scaling, TensorView(frequencies, width / 2)).ok());
    embedding.inverse_frequencies = ConstTensorView(frequencies, width / 2);
    embedding.attention_factor = rotary_attention_factor(scaling);
    return embedding;
  };
  CHECK(check({"--rope-theta", "500"}, rotary(4, {}), options).empty());
  check({"--rope-theta", "500", "--rope-dim", "2"}, rotary(2, {}), options);
  RotaryEmbedding interleaved = rotary(4, {});
  interleaved.interleaved = true;
  check({"--rope-theta", "500", "--rope-interleaved"}, interleaved, options);
  options.offset = 3;
  check({"--rope-theta", "500", "--causal-offset", "3"}, rotary(4, {}), options);
  options.offset = 0;
  RotaryScaling scaling;
  scaling.factor = 4.0;
  scaling.kind = RotaryScalingKind::linear;
  check({"--rope-theta", "500", "--rope-scaling", "linear,factor=4"}, rotary(4, scaling), options);
  scaling.kind = RotaryScalingKind::ntk;
  check({"--rope-theta", "500", "--rope-scaling", "ntk,factor=4"}, rotary(4, scaling), options);
  scaling.kind = RotaryScalingKind::yarn;
  scaling.original_max_position = 64;
  check({"--rope-theta", "500", "--rope-scaling", "yarn,factor=4,original_max_position_embeddings=64"}, rotary(4, scaling), options);
  scaling.beta_fast = 3.0;
  scaling.beta_slow = 0.5;
  scaling.truncate = false;
  RotaryEmbedding factored = rotary(4, scaling);
  factored.attention_factor = 1.5f;
  check({"--rope-theta", "500", "--rope-scaling", "yarn,factor=4,original_max_position_embeddings=64,beta_fast=3,beta_slow=0.5,truncate=0,attention_factor=1.5"}, factored, options);
  RotaryScaling llama;
  llama.kind = RotaryScalingKind::llama3;
  llama.factor = 8.0;
  llama.original_max_position = 32;
  llama.low_frequency_factor = 0.5;
  llama.high_frequency_factor = 2.0;
  check({"--rope-theta", "500", "--rope-scaling=llama3,factor=8,original_max_position_embeddings=32,low_freq_factor=0.5,high_freq_factor=2"}, rotary(4, llama), options);

  options.window_left = 2;
  options.window_right = 1;
  options.softcap = 1.5f;
  options.alibi_slopes = options.sinks = ConstTensorView(four, 4);
  check({"--rope-theta", "500", "--window-left", "2", "--window-right", "1", "--softcap", "1.5", "--alibi-slopes", folder / "four.npy", "--sinks",
         folder / "four.npy"}, rotary(4, {}), options);
  float slopes[4];
  REQUIRE(default_alibi_slopes(4, TensorView(slopes, 4)).ok());
  options = {};
  options.alibi_slopes = ConstTensorView(slopes, 4);
  check({"--rope-theta", "none", "--alibi-slopes", "default"}, {}, options);
  const Outcome drawn = run({"heatmap", "--weights", folder / "w.safetensors", "--heads", "4", "--query", folder / "x.npy", "--rope-theta", "500", "--window-left",
                             "1", "--window-right", "0"});
  CHECK(drawn.code == 0);
  CHECK(drawn.err.empty());
  std::size_t dots = 0;
  for (std::size_t at = drawn.out.find("\u00b7"); at != std::string::npos; at = drawn.out.find("\u00b7", at + 1)) ++dots;
  CHECK(dots == 2 * (81 - 17));

  const float three[] = {1, 2, 3};
  REQUIRE(io::write_npy(folder / "three.npy", io::ElementType::float32, {3}, three).ok());
  const std::set<std::string> before = folder.names();
  const auto refused = [&](const Words& more, const Words& parts) {
    check_refused(words(Words{"--out", folder / "new.npy"} + more), parts);
    CHECK(folder.names() == before);
  };
  refused({"--rope-theta", "1"}, {"--rope-theta '1'", "above 1"});
  check_refused({"run", "--weights", folder / "w.safetensors", "--heads", "5", "--query", folder / "x.npy", "--rope-theta", "500"}, {"--heads", "5", "16"});
  refused({"--rope-theta", "inf"}, {"--rope-theta 'inf'"});
  refused({"--rope-theta", "-5"}, {"--rope-theta '-5'"});
  refused({"--rope-theta", "500", "--rope-dim", "3"}, {"--rope-dim", "3", "even"});
  refused({"--rope-theta", "500", "--rope-dim", "6"}, {"--rope-dim", "6", "4"});
  refused({"--rope-dim", "4"}, {"--rope-dim", "--rope-theta", "missing"});
  refused({"--rope-theta", "none", "--rope-interleaved"}, {"--rope-interleaved", "--rope-theta", "none"});
  refused({"--rope-scaling", "linear,factor=2"}, {"--rope-scaling", "--rope-theta"});
  const auto scaling_refused = [&](const std::string& text, const Words& parts) {
    refused({"--rope-theta", "500", "--rope-scaling", text}, Words{"--rope-"} + parts);
  };
  scaling_refused("dynamic,factor=2", {"'dynamic'", "yarn"});
  scaling_refused("linear", {"factor is missing"});
  scaling_refused("linear,factor", {"factor is ''", "a number"});
  scaling_refused("linear,factor=two", {"factor is 'two'"});
  scaling_refused("linear,factor=nan", {"factor is 'nan'"});
  scaling_refused("linear,factor=0", {"factor"});
  scaling_refused("linear,factor=2,beta_fast=3", {"linear has no number 'beta_fast'"});
  scaling_refused("linear,factor=2,", {"linear has no number ''"});
  scaling_refused("yarn,factor=2", {"original_max_position"});
  scaling_refused("llama3,factor=2,original_max_position_embeddings=1.5", {"original_max_position_embeddings"});
  refused({"--sinks", folder / "three.npy"}, {"--sinks", "(3,)", "(4,)"});
  refused({"--alibi-slopes", folder / "absent.npy"}, {"absent.npy"});
  refused({"--softcap", "-1"}, {"--softcap '-1'"});
  refused({"--window-left", "-2"}, {"--window-left '-2'"});

  NumberedLayer own;
  own.add("block.attn.sinks", {4});
  own.check_refused_by_both({"--sinks", folder / "four.npy"}, {"--sinks", "of its own"});
}

TEST_CASE("tool: the example from torch gives run flags that it has") {
  const std::string script = contents(test_data("../tools/examples/from_torch.py")), help = run({"run", "--help"}).out;
  std::set<std::string> flags;
  for (std::size_t at = script.find("--"); at != std::string::npos; at = script.find("--", at)) {
    const std::size_t end = script.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at);
    flags.insert(script.substr(at, end - at));
    at = end;
  }
  for (const std::string flag : {"--weights", "--heads", "--query", "--mask", "--valid-lens", "--expect"}) CHECK_MESSAGE(flags.count(flag) == 1, flag);
  for (const std::string& flag : flags) CHECK_MESSAGE(contains(help, "  " + flag + " "), flag);
}

TEST_CASE("tool: the manual names flags and verbs that there are") {
  std::string manual = contents(test_data("../tools/attend.1")), help;
  for (std::size_t at = manual.find("\\-"); at != std::string::npos; at = manual.find("\\-", at)) manual.erase(at, 1);
  for (const std::string verb : verbs) {
    help += run({verb, "--help"}).out;
    CHECK_MESSAGE(contains(manual, "\n.B " + verb + "\n"), verb);
  }
  std::size_t flags = 0;
  for (std::size_t at = manual.find("--"); at != std::string::npos; at = manual.find("--", at)) {
    const std::size_t end = manual.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at);
    const std::string flag = manual.substr(at, end - at);
    at = end;
    if (flag == "--version" || flag == "--cflags" || flag == "--libs") continue;  // of attend itself, and of pkg-config
    CHECK_MESSAGE(contains(help, "  " + flag + " "), flag);
    ++flags;
  }
  CHECK(flags > 10);
}

TEST_CASE("tool: heatmap draws hidden keys apart from weights of 0") {
  const SmallLayer layer;
  const auto count = [](const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  };
  const Outcome plain = run(layer.words("heatmap", {}));
  CHECK(!contains(plain.out, "\u00b7"));
  CHECK(!contains(plain.out, "hidden"));
  const Outcome causal = run(layer.words("heatmap", {"--causal", "--svg", layer / "map.svg"}));
  CHECK(causal.code == 0);
  CHECK(count(causal.out, "\u00b7") == 2 * 10);  // above the diagonal of 5 x 5, two columns each
  const std::string svg = contents(layer / "map.svg");
  CHECK(well_formed_xml(svg));
  CHECK(count(svg, ": hidden</title>") == 10);
  CHECK(count(svg, "fill=\"#cccccc\"") == 10);
  const Outcome offset = run(layer.words("heatmap", {"--causal", "--causal-offset", "1"}));
  CHECK(count(offset.out, "\u00b7") == 2 * 6);

  const std::vector<unsigned char> mask = {1, 1, 1, 1, 0};
  REQUIRE(io::write_npy(layer / "mask.npy", io::ElementType::boolean, {5}, mask.data()).ok());
  CHECK(count(run(layer.words("heatmap", {"--mask", layer / "mask.npy"})).out, "\u00b7") == 2 * 5);
  layer.lengths_file("lens.npy", {2}, {4, 4});  // the hidden key is padding
  const Outcome cut = run(layer.words("heatmap", {"--mask", layer / "mask.npy", "--valid-lens", layer / "lens.npy"}));
  CHECK(cut.code == 0);
  CHECK(!contains(cut.out, "\u00b7"));
  // A mask of one head's: hidden in its picture, and not in the average.
  std::vector<float> additive(2 * 2 * 5 * 5, 0.0f);
  additive[(1 * 2 + 0) * 25 + 7] = -INFINITY;
  REQUIRE(io::write_npy(layer / "additive.npy", io::ElementType::float32, {2, 2, 5, 5}, additive.data()).ok());
  const auto dots = [&](const Words& more) {
    Words all = {"--mask", layer / "additive.npy"};
    all.insert(all.end(), more.begin(), more.end());
    return count(run(layer.words("heatmap", all)).out, "\u00b7");
  };
  CHECK(dots({"--entry", "1", "--head", "0"}) == 2);
  CHECK(dots({"--entry", "1", "--head", "1"}) == 0);
  CHECK(dots({"--entry", "0", "--head", "0"}) == 0);
  CHECK(dots({"--entry", "1"}) == 0);
}

TEST_CASE("tool: bad input is refused in one line, and no file is left") {
  const SmallLayer layer;
  write(layer / "text.npy", "not an array");
  const std::string array = contents(layer.query), weights = contents(layer / "w.safetensors");
  write(layer / "short.npy", array.substr(0, array.size() - 1));
  write(layer / "short.safetensors", weights.substr(0, weights.size() - 1));
  write(layer / "header.safetensors", weights.substr(0, 40));
  write(layer / "empty.safetensors", "");
  write(layer / "huge.safetensors", std::string(8, '\xff') + "{}");
  const std::string outside = "{\"layer.W_q.weight\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
                              "\"data_offsets\":[0,18446744073709551615]}}";
  write(layer / "outside.safetensors", std::string(1, static_cast<char>(outside.size())) + std::string(7, '\0') + outside);
  layer.floats_file("wide.npy", {2, 5, 17});
  layer.floats_file("flat.npy", {5, 16});
  layer.floats_file("three.npy", {3, 6, 16});
  layer.floats_file("longer.npy", {2, 6, 16});
  layer.lengths_file("three_lens.npy", {3}, {1, 1, 1});
  layer.lengths_file("negative.npy", {2}, {1, -1});
  layer.lengths_file("integers.npy", {2, 1, 16}, std::vector<std::int64_t>(32));
  // No bytes at all, but a shape whose outputs would fill all memory.
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 2, 0), }\n";
  write(layer / "endless.npy", std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header);
  write(layer / "zip.npz", "PK\x03\x04 and so on");
  const std::string of_integers = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n";
  write(layer / "short_integers.npy", std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(of_integers.size()) + '\0' + of_integers + std::string(4, '\1'));
  const std::set<std::string> before = layer.names();

  const auto refused = [&](const Words& changes, const Words& parts) {
    Words words = layer.run_words({"--out", layer / "o.npy", "--attn-weights", layer / "a.npy"});
    for (std::size_t i = 0; i < changes.size(); i += 2) {
      const auto flag = std::find(words.begin(), words.end(), changes[i]);
      if (flag != words.end()) flag[1] = changes[i + 1];
      else words.insert(words.end(), {changes[i], changes[i + 1]});
    }
    check_refused(words, parts);
    CHECK(layer.names() == before);
  };
  refused({"--query", layer / "absent.npy"}, {"attend run: ", "absent.npy", "No such file"});
  refused({"--query", layer.path}, {layer.path});
  refused({"--query", layer / "text.npy"}, {"text.npy", ".npy file"});
  refused({"--query", layer / "zip.npz"}, {"zip.npz", "(it is a zip archive, as torch.save and numpy.savez write them: numpy.save writes .npy)"});
  refused({"--valid-lens", layer / "short_integers.npy"}, {"short_integers.npy", "dtype '<i2' is not one of <f2", "expected int32 or int64 of integers"});
  refused({"--query", layer / "short.npy"}, {"short.npy"});
  refused({"--query", layer / "integers.npy"}, {"integers.npy"});
  refused({"--query", layer / "wide.npy"}, {"--query", "(2, 5, 17)", "16"});
  refused({"--query", layer / "flat.npy"}, {"--query", "(5, 16)"});
  refused({"--query", layer / "endless.npy"}, {"endless.npy"});
  refused({"--key", layer / "three.npy"}, {"--key", "(3, 6, 16)"});
  refused({"--key", layer / "longer.npy", "--value", layer.query}, {"--value", "(2, 5, 16)", "(2, 6, 16)"});
  refused({"--value", layer / "longer.npy"}, {"--value"});
  refused({"--valid-lens", layer / "three_lens.npy"}, {"--valid-lens", "(3,)", "(2,)"});
  refused({"--valid-lens", layer / "negative.npy"}, {"--valid-lens '" + layer.path + "/negative.npy': ", "-1"});
  refused({"--mask", layer / "wide.npy"}, {"--mask '" + layer.path + "/wide.npy': shape (2, 5, 17) does not broadcast"});
  refused({"--key-padding-mask", layer / "integers.npy"}, {"--key-padding-mask '" + layer.path + "/integers.npy': shape (2, 1, 16)"});
  refused({"--valid-lens", layer / "flat.npy"}, {"--valid-lens"});
  refused({"--heads", "3"}, {"--heads 3", "16"});
  refused({"--heads", "0"}, {"--heads '0'"});
  refused({"--prefix", "lair"}, {"'lair'", "layer"});
  refused({"--weights", layer / "absent.safetensors"}, {"absent.safetensors", "No such file"});
  for (const std::string name : {"short", "header", "empty", "huge", "outside"}) {
    refused({"--weights", layer / (name + ".safetensors")}, {name + ".safetensors"});
  }
  refused({"--weights", layer.query}, {"queries.npy"});
  refused({"--empty-rows", "some"}, {"--empty-rows 'some'"});
  refused({"--out", layer / "no/such/folder/o.npy"}, {"folder/o.npy", "No such file"});
  refused({"--out", layer.path}, {layer.path});
  refused({"--out", "/dev/full"}, {"/dev/full", "No space"});
  refused({"--attn-weights", layer / "no/a.npy"}, {"no/a.npy"});
  refused({"--attn-weights", layer / "o.npy"}, {"--out and --attn-weights", "o.npy"});
  refused({"--attn-weights", layer / "./o.npy"}, {"--out and --attn-weights", "o.npy"});

  write(layer / "o.npy", "older");
  check_refused(layer.run_words({"--out", layer / "o.npy", "--valid-lens", layer / "negative.npy"}), {"-1"});
  CHECK(contents(layer / "o.npy") == "older");
  const Outcome full = run({"info"}, "", "/dev/full");
  CHECK(full.code == 2);
  CHECK(full.err == "attend info: cannot write standard output\n");
}

TEST_CASE("tool: heatmap draws every token, escaped") {
  const SmallLayer layer;
  const std::string tokens = "<b>&\"it's\"\n\x1b[31mred\ninvalid \xff\xc3\n\u4f60\u597d\na very long token that nobody can read\n";
  write(layer / "t.txt", tokens);
  write(layer / "few.txt", "one\ntwo\n");
  const Outcome outcome = run(layer.words("heatmap", {"--tokens", layer / "t.txt", "--svg", layer / "map.svg"}));
  CAPTURE(outcome.out);
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  for (const std::string part : {"average of 2 heads", "<b>&\"it's\"", "\\x1b[31mred", "invalid \\xff\\xc3", "\u4f60\u597d"}) {
    CHECK(contains(outcome.out, part));
  }
  for (const char byte : outcome.out) CHECK((static_cast<unsigned char>(byte) >= 0x20 || byte == '\n'));
  const std::string svg = contents(layer / "map.svg");
  CHECK(well_formed_xml(svg));
  CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
  CHECK(contains(svg, "&lt;b&gt;&amp;&quot;it&apos;s&quot;"));
  CHECK(contains(svg, "\\x1b[31mred"));
  std::size_t cells = 0;
  for (std::size_t at = svg.find("</title></rect>"); at != std::string::npos; at = svg.find("</title></rect>", at + 1)) ++cells;
  CHECK(cells == 5 * 5);
  for (const std::string part : {">key</text>", ">query</text>", ">0</text>", " attention weight</text>"}) CHECK_MESSAGE(contains(svg, part), part);
  CHECK(!contains(svg, "hidden"));

  // A title is wider than the map of one token, and has its room.
  layer.floats_file("one.npy", {1, 1, 16});
  Words one = layer.words("heatmap", {"--svg", "/dev/stdout"});
  one[8] = layer / "one.npy";
  const std::string narrow = run(one).out;
  CHECK(std::atof(narrow.c_str() + narrow.find("width=\"") + 7) >= 16 + 0.62 * 14 * std::string("attention, average of 2 heads").size());

  // The numbers are those of the golden file: entry 1, head 1.
  const std::vector<float> weights = floats(read(golden("mha/self_small") + "attention_weights.npy"));
  const Outcome head = run(layer.words("heatmap", {"--head", "1", "--entry", "1", "--svg", "/dev/stdout"}));
  CHECK(head.code == 0);
  CHECK(well_formed_xml(head.out));
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::size_t j = 0; j < 5; ++j) {
      const std::string cell = ">" + std::to_string(i) + " &#8594; " + std::to_string(j) + ": ";
      const std::size_t at = head.out.find(cell);
      REQUIRE(at != std::string::npos);
      const double expected = static_cast<double>(weights[(3 * 5 + i) * 5 + j]);
      CHECK(std::abs(std::atof(head.out.c_str() + at + cell.size()) - expected) < 0.00051);
    }
  }

  layer.lengths_file("lens.npy", {2}, {2, 4});
  const Outcome cut = run(layer.words("heatmap", {"--tokens", layer / "few.txt", "--valid-lens", layer / "lens.npy"}));
  CHECK(cut.code == 0);
  CHECK(contains(cut.out, "two"));
  layer.lengths_file("none.npy", {2}, {5, 0});
  const std::set<std::string> before = layer.names();
  const auto refused = [&](const Words& more, const Words& parts) { check_refused(layer.words("heatmap", more), parts); };
  refused({"--tokens", layer / "few.txt"}, {"few.txt", "2 lines", "5 positions"});
  refused({"--tokens", layer / "absent.txt"}, {"absent.txt", "No such file"});
  refused({"--head", "2"}, {"--head '2'"});
  refused({"--entry", "2"}, {"--entry '2'"});
  refused({"--svg", layer / "no/map.svg"}, {"no/map.svg"});
  refused({"--entry", "1", "--valid-lens", layer / "none.npy"}, {"sequence 1 has no token"});
  CHECK(layer.names() == before);
}

namespace {

/// A layer of heads of 2, and one sequence, on disk.
struct LayerOfHeads : Folder {
  std::int64_t heads;
  LayerOfHeads(std::int64_t count, std::int64_t tokens) : heads(count) {
    const std::int64_t width = 2 * heads;
    std::vector<float> values(static_cast<std::size_t>(width * std::max(width, tokens)));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i * i));
    std::vector<io::SafetensorsTensor> tensors;
    for (const char* name : {"W_q.weight", "W_k.weight", "W_v.weight", "W_o.weight"}) tensors.push_back({name, {width, width}, values.data(), "F32"});
    REQUIRE(io::write_safetensors(*this / "w.safetensors", tensors).ok());
    REQUIRE(io::write_npy(*this / "x.npy", io::ElementType::float32, {1, tokens, width}, values.data()).ok());
  }
  Words words(const Words& more) const {
    return Words{"heatmap", "--weights", *this / "w.safetensors", "--heads", std::to_string(heads), "--query", *this / "x.npy"} + more;
  }
};

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }));
}

/// All that an SVG picture of heatmap shows lies inside it, by letters 0.6 of their height wide, and fills it up to margins.
void check_fits(const std::string& svg) {
  const auto number = [](const std::string& element, const std::string& before) {
    const std::size_t at = element.find(before);
    REQUIRE_MESSAGE(at != std::string::npos, element);
    return std::atof(element.c_str() + at + before.size());
  };
  const double width = number(svg, " width=\""), height = number(svg, " height=\"");
  double right = 0.0, bottom = 0.0;
  std::istringstream lines(svg);
  for (std::string line; std::getline(lines, line);) {
    double x0, x1, y0, y1;
    if (line.rfind("<text", 0) == 0) {
      const double size = number(line, "font-size=\""), half = size / 2.0;
      std::string text = line.substr(line.find('>') + 1);
      text.resize(text.find("</text>"));
      for (const char* entity : {"&quot;", "&amp;"}) {
        for (std::size_t at = text.find(entity); at != std::string::npos; at = text.find(entity)) text.replace(at, std::string(entity).size(), "_");
      }
      const double length = 0.6 * size * static_cast<double>(characters(text));
      const bool placed = contains(line, "translate("), turned = contains(line, "rotate(-90)");
      const double x = number(line, placed ? "translate(" : "x=\"");
      const double y = placed ? std::atof(line.c_str() + line.find(' ', line.find("translate("))) : number(line, "y=\"");
      const double before = contains(line, "\"middle\"") ? length / 2.0 : contains(line, "\"end\"") ? length : 0.0, after = length - before;
      x0 = turned ? x - half : x - before;
      x1 = turned ? x : x + after;
      y0 = turned ? y - after : y - half;
      y1 = turned ? y + before : y;
    } else if (line.rfind("<rect x", 0) == 0) {
      x0 = number(line, "x=\"");
      y0 = number(line, "y=\"");
      x1 = x0 + number(line, "width=\"");
      y1 = y0 + number(line, "height=\"");
    } else {
      continue;
    }
    if (x0 < 0.0 || y0 < 0.0 || x1 > width || y1 > height) FAIL_CHECK(line);
    right = std::max(right, x1);
    bottom = std::max(bottom, y1);
  }
  CHECK(right > 0.75 * width - 20.0);
  CHECK(bottom > height - 20.0);
}

}  // namespace

TEST_CASE("tool: heatmap draws all heads on one sheet, on one scale") {
  const SmallLayer layer;
  const Outcome outcome = run(layer.words("heatmap", {"--all-heads", "--entry", "1", "--svg", layer / "map.svg"}));
  CAPTURE(outcome.out);
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  CHECK(contains(outcome.out, "attention, heads 0 to 1\n"));
  CHECK(contains(outcome.out, "   head 0       head 1\n"));  // side by side
  for (const std::string part : {"row: query, column: key", "scale: 0 |", "head 1"}) CHECK_MESSAGE(occurrences(outcome.out, part) == 1, part);
  const std::string svg = contents(layer / "map.svg");
  CHECK(well_formed_xml(svg));
  check_fits(svg);
  for (const std::string part : {">head 0</text>", ">head 1</text>", ">key</text>", ">query</text>", " attention weight</text>"}) {
    CHECK_MESSAGE(occurrences(svg, part) == 1, part);
  }
  CHECK(contains(svg, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"));  // viewers may be dark
  // The numbers of the golden file, head after head; the largest of both ends the scale.
  const std::vector<float> weights = floats(read(golden("mha/self_small") + "attention_weights.npy"));
  std::size_t at = 0;
  float largest = 0.0f;
  for (std::size_t i = 0; i < 2 * 25; ++i) {
    at = svg.find(": ", svg.find("&#8594;", at));
    REQUIRE(at != std::string::npos);
    const float expected = weights[2 * 25 + i];
    CHECK(std::abs(std::atof(svg.c_str() + at + 2) - static_cast<double>(expected)) < 0.00051);
    largest = std::max(largest, expected);
  }
  char end[32];
  std::snprintf(end, sizeof end, "%.2f", static_cast<double>(largest));
  CHECK(contains(svg, std::string(">") + end + " attention weight"));
  CHECK(contains(outcome.out, std::string("| ") + end + "\n"));
  check_refused(layer.words("heatmap", {"--all-heads", "--head", "0"}), {"--head and --all-heads"});

  // What one head alone hides.
  std::vector<float> additive(2 * 2 * 5 * 5, 0.0f);
  additive[2 * 25 + 7] = -INFINITY;
  REQUIRE(io::write_npy(layer / "additive.npy", io::ElementType::float32, {2, 2, 5, 5}, additive.data()).ok());
  const std::string masked = run(layer.words("heatmap", {"--all-heads", "--entry", "1", "--mask", layer / "additive.npy", "--svg", "/dev/stdout"})).out;
  CHECK(occurrences(masked, ": hidden</title>") == 1);
  CHECK(masked.find(": hidden") < masked.find(">head 1<"));
}

TEST_CASE("tool: heatmap's pictures hold what they show, for any number of heads and tokens") {
  const std::int64_t shapes[][2] = {{1, 1}, {1, 30}, {1, 300}, {3, 1}, {12, 14}, {7, 130}, {64, 3}};
  for (const std::int64_t* shape : shapes) {
    const std::int64_t heads = shape[0], tokens = shape[1];
    const LayerOfHeads layer(heads, tokens);
    std::string texts;
    for (std::int64_t i = 0; i < tokens; ++i) texts += "\"a long text of a token\"\n";
    write(layer / "t.txt", texts);
    for (const Words& more : {Words{}, Words{"--all-heads"}, Words{"--all-heads", "--causal", "--tokens", layer / "t.txt"}}) {
      CAPTURE(heads);
      CAPTURE(tokens);
      const Outcome outcome = run(layer.words(more + Words{"--svg", layer / "map.svg"}));
      REQUIRE(outcome.code == 0);
      const std::string svg = contents(layer / "map.svg");
      CHECK(well_formed_xml(svg));
      CHECK(svg.size() < 12u << 20);
      check_fits(svg);
      if (heads > 1 && !more.empty()) CHECK(contains(svg, ">head " + std::to_string(heads - 1) + "</text>"));
      if (heads == 1) CHECK(contains(outcome.out, "attention, the only head\n"));
      std::istringstream lines(outcome.out);
      for (std::string line; std::getline(lines, line);) CHECK_MESSAGE(characters(line) <= 100, line);
    }
  }
}

TEST_CASE("tool: heatmap colours terminals alone, each cell on a ground of its own") {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
    MESSAGE("no pseudo terminals here");
    return;
  }
  const std::string path = ptsname(terminal);
  const int kept_open = open(path.c_str(), O_RDWR | O_NOCTTY);
  REQUIRE(kept_open >= 0);
  winsize size = {};
  size.ws_col = 60;
  REQUIRE(ioctl(terminal, TIOCSWINSZ, &size) == 0);
  REQUIRE(fcntl(terminal, F_SETFL, O_NONBLOCK) == 0);
  const LayerOfHeads layer(6, 4);
  const auto shown = [&](const std::string& settings) {
    REQUIRE(run(layer.words({"--all-heads", "--causal"}), settings, path).code == 0);
    std::string text;
    char bytes[4096];
    for (ssize_t count; (count = read(terminal, bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<std::size_t>(count));
    return text;
  };
  const std::string coloured = shown("TERM=xterm NO_COLOR=");
  CHECK(contains(coloured, "\033["));
  // Colours are set, with letters and ground, and reset: nothing is asked of the terminal, nothing left to its own colours.
  for (std::size_t at = coloured.find('\033'); at != std::string::npos; at = coloured.find('\033', at + 1)) {
    const std::string escape = coloured.substr(at, coloured.find('m', at) - at);
    CHECK_MESSAGE((escape == "\033[0" || (escape.rfind("\033[38;5;", 0) == 0 && contains(escape, ";48;5;"))), escape.substr(1));
  }
  CHECK(occurrences(coloured, "\u00b7") == 6 * 6 * 2);
  for (const char* settings : {"TERM=xterm NO_COLOR=1", "TERM=dumb NO_COLOR=", "TERM= NO_COLOR="}) {
    const std::string plain = shown(settings);
    CHECK(!contains(plain, "\033"));
    CHECK(contains(plain, "head 5"));
    std::istringstream lines(plain);
    for (std::string line; std::getline(lines, line);) CHECK_MESSAGE(characters(line) <= 61, line);  // with the terminal's \r
  }
  close(kept_open);
  close(terminal);
}

TEST_CASE("tool: demo computes and verifies its examples") {
  const Folder folder;
  const std::string data = test_data("data/minilm");
  const Outcome outcome = run({"demo", "--data", data, "--svg", folder / "map.svg"});
  CAPTURE(outcome.out);
  CAPTURE(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(!contains(outcome.out, "FAILED"));
  CHECK(contains(outcome.out, "\"it\" attends most to \"trophy\""));
  CHECK(contains(outcome.out, folder / "map.svg"));
  CHECK(well_formed_xml(contents(folder / "map.svg")));

  // Without the data the first example still is shown.
  const Outcome without = run({"demo", "--data", folder / "absent", "--svg", folder / "map.svg"});
  CHECK(without.code == 2);
  CHECK(contains(without.out, "valid_lens [3, 2]"));
  CHECK(std::count(without.err.begin(), without.err.end(), '\n') == 1);
  CHECK(contains(without.err, "absent"));

  // A wrong answer is told, with exit code 1.
  files::copy(data, folder / "wrong");
  const io::Array answers = read(folder / "wrong/output.npy");
  std::vector<float> values = floats(answers);
  values[0] += 1e-3f;
  REQUIRE(io::write_npy(folder / "wrong/output.npy", io::ElementType::float32, answers.shape, values.data()).ok());
  const Outcome wrong = run({"demo", "--data", folder / "wrong", "--svg", folder / "map.svg"});
  CHECK(wrong.code == 1);
  CHECK(contains(wrong.out, "FAILED"));
}

namespace {

/// A folder with a sentence model of random numbers, and lines.txt.
struct SmallModel : Folder {
  SmallModel() {
    const Status status = tiny_encoder::write(path);
    REQUIRE_MESSAGE(status.ok(), status.message());
    write(*this / "lines.txt", "a b\nc\r\n\na b c ab a b c ab a b\n");
  }
  Words with(Words words) const {
    words.insert(words.end(), {"--model", path});
    return words;
  }
};

}  // namespace

TEST_CASE("tool: embed writes a vector for each sentence, of the line and of a file, and prints the same numbers") {
  const SmallModel model;
  const std::string out = model / "v.npy";
  const Outcome written = run(model.with({"embed", "c", "", "--file", model / "lines.txt", "--out", out}));
  CAPTURE(written.err);
  REQUIRE(written.code == 0);
  CHECK(written.out.empty());
  CHECK(contains(written.err, "what is longer than the model takes, 8 tokens, was cut: 1 sentence\n"));
  CHECK(contains(written.err, "6 sentences, 22 tokens in "));
  io::FloatTensor vectors;
  REQUIRE(io::read_npy(out, &vectors).ok());
  REQUIRE(vectors.shape() == std::vector<std::int64_t>{6, 24});
  for (int row = 0; row < 6; ++row) {
    double squares = 0.0;
    for (int c = 0; c < 24; ++c) squares += std::pow(static_cast<double>(vectors.view.data[24 * row + c]), 2.0);
    CHECK(std::abs(squares - 1.0) < 1e-6);
  }
  for (int c = 0; c < 24; ++c) {
    CHECK(vectors.view.data[c] == vectors.view.data[24 * 3 + c]);       // "c" twice
    CHECK(vectors.view.data[24 + c] == vectors.view.data[24 * 4 + c]);  // the empty one, too
  }
  CHECK(run({"embed", "--model", model.path, "--quiet", "--", "--c"}).out == run(model.with({"embed", "- - c", "--quiet"})).out);
  const Outcome printed = run(model.with({"embed", "c", "--quiet"}));
  CHECK(printed.err.empty());
  std::istringstream numbers(printed.out);
  for (int c = 0; c < 24; ++c) {
    float number = 0.0f;
    REQUIRE(static_cast<bool>(numbers >> number));
    CHECK(number == vectors.view.data[c]);
  }
  CHECK(run({"embed", "c", "--quiet"}, "ATTEND_MODEL=" + quoted(model.path)).out == printed.out);
  CHECK(run(model.with({"embed", "c", "--quiet", "--precision", "float32", "--threads", "2"})).out == printed.out);
}

TEST_CASE("tool: similar ranks sentences by the product of their vectors with the question's") {
  const SmallModel model;
  const Outcome outcome = run(model.with({"similar", "a b", "c", "a b", "a", "--file", model / "lines.txt", "--top", "3"}));
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.out.rfind(" 1.000  a b\n 1.000  a b\n", 0) == 0);
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 3);
  CHECK(contains(outcome.err, "6 sentences, "));  // those of the line and of the file, of which one is empty
  write(model / "marked.txt", "\xef\xbb\xbf" "c\n\n\r\nb\n");
  const Outcome marked = run(model.with({"similar", "c", "", "--file", model / "marked.txt"}));
  CHECK(marked.out.rfind(" 1.000  c\n", 0) == 0);
  CHECK(std::count(marked.out.begin(), marked.out.end(), '\n') == 2);
  CHECK(contains(marked.err, "2 sentences, "));
  CHECK(contains(outcome.err, "3 of 6 sentences are printed; --top prints more"));
  CHECK(!contains(marked.err, "--top"));
  write(model / "marked.txt", "c\xe4\nb\n");
  CHECK(contains(run(model.with({"similar", "c", "--file", model / "marked.txt"})).err, "what is not UTF-8 is not understood: 1 sentence\n"));
  write(model / "marked.txt", "\n \t\n");
  check_refused(model.with({"similar", "c", "--file", model / "marked.txt"}), {"there is nothing to compare with: no line of '", "marked.txt' has text"});
}

TEST_CASE("tool: heatmap draws a sentence that a model reads") {
  const SmallModel model;
  const Outcome outcome = run(model.with({"heatmap", "a b", "--layer", "0", "--head", "2", "--svg", model / "h.svg"}));
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.out.rfind("attention, head 2 of 0 to 2, layer 0\n", 0) == 0);
  for (const char* token : {"[CLS]", "[SEP]"}) CHECK(contains(outcome.out, token));
  CHECK(contains(contents(model / "h.svg"), "</svg>"));
  CHECK(contains(run(model.with({"heatmap", "a b", "--all-heads"})).out, "heads 0 to 2, layer 1"));
}

TEST_CASE("tool: what embed, similar and a model's heatmap refuse") {
  const SmallModel model;
  check_refused(model.with({"embed"}), {"no sentence was given"});
  check_refused(model.with({"similar", "a"}), {"there is nothing to compare with"});
  check_refused(model.with({"similar"}), {"QUESTION is missing"});
  check_refused(model.with({"embed", "a", "--precision", "int9"}), {"--precision 'int9': there are float32, bfloat16,", "did you mean 'int8'?"});
  check_refused({"embed", "a", "--model", model / "nowhere"}, {"nowhere/config.json"});
  check_refused(model.with({"embed", "a", "--file", model / "none.txt"}), {"none.txt"});
  check_refused(model.with({"embed", "a", "--out", model / "nowhere/v.npy"}), {"nowhere/v.npy"});
  check_refused(model.with({"heatmap", "a", "b"}), {"more than one sentence"});
  check_refused(model.with({"heatmap", "a", "--layer", "2"}), {"--layer '2' is not an integer from 0 to 1"});
  check_refused(model.with({"heatmap", "a", "--causal"}), {"--causal: of no use with --model"});
  check_refused({"heatmap", "--query", "q.npy"}, {"--weights is missing"});
  check_refused(model.with({"heatmap"}), {"--model: given, but no sentence"});
}

TEST_CASE("tool: a model whose files are hostile is refused in one line, and no file is left") {
  struct Case {
    const char* name;
    std::string text;
    Words parts;
  };
  const Case cases[] = {
      {"config.json", "{", {"config.json': byte 1: expected"}},
      {"config.json", std::string(1 << 20, '['), {"config.json': byte 0: expected an object"}},
      {"vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\na\n", {"vocab.txt': tokens 3 and 4 are both 'a'"}},
      {"vocab.txt", "[CLS]\n[SEP]\na\n", {"vocab.txt': none of its 3 tokens is [UNK]"}},
      {"tokenizer_config.json", "{\"do_lower_case\": \"perhaps\"}", {"tokenizer_config.json': do_lower_case is 'perhaps', expected true or false"}},
      {"model.safetensors", "", {"model.safetensors'"}},
      {"model.safetensors", std::string(8, '\xff') + "{}", {"model.safetensors'"}},
  };
  for (const Case& one : cases) {
    const SmallModel model;
    write(model / one.name, one.text);
    const std::set<std::string> before = model.names();
    check_refused(model.with({"embed", "a", "--out", model / "v.npy"}), one.parts);
    check_refused(model.with({"similar", "a", "b"}), one.parts);
    check_refused(model.with({"heatmap", "a", "--svg", model / "a.svg"}), one.parts);
    CHECK(model.names() == before);
  }
}

TEST_CASE("tool: embed takes lines that are empty, hold NUL bytes or a megabyte, and many of them") {
  const SmallModel model;
  const std::string nul(1, '\0'), out = model / "v.npy", million(1 << 20, 'a');
  const auto embedded = [&](const std::string& lines) {
    write(model / "lines.txt", lines);
    const Outcome outcome = run(model.with({"embed", "--file", model / "lines.txt", "--out", out, "--quiet"}));
    CHECK(outcome.code == 0);
    CHECK(outcome.out.empty());
    io::FloatTensor vectors;
    REQUIRE(io::read_npy(out, &vectors).ok());
    vectors.keep();
    return vectors;
  };
  // Each pair of lines has the same tokens.
  for (const auto& [one, other] : {std::pair<std::string, std::string>{"", nul + nul}, {"a" + nul + "b", "ab"}, {"\xff\xfe", " "}, {million, "?"}, {million + "?", "? ?"}, {"a" + million, "\xe2\x82\xac"}}) {
    const io::FloatTensor vectors = embedded(one + "\n" + other + "\n");
    REQUIRE(vectors.shape() == std::vector<std::int64_t>{2, 24});
    for (int c = 0; c < 24; ++c) CHECK(vectors.view.data[c] == vectors.view.data[24 + c]);
  }
  std::string many;
  for (int n = 0; n < 10000; ++n) many += n % 2 == 0 ? "a b\n" : "\n";
  const io::FloatTensor vectors = embedded(many);
  REQUIRE(vectors.shape() == std::vector<std::int64_t>{10000, 24});
  for (int n = 48; n < 240000; ++n) REQUIRE(vectors.view.data[n] == vectors.view.data[n % 48]);
  write(model / "lines.txt", "");
  check_refused(model.with({"embed", "--file", model / "lines.txt", "--out", model / "none.npy"}), {"no sentence was given"});
  CHECK_FALSE(files::exists(model / "none.npy"));
}

namespace {

const std::string language_model = test_data("golden/language_model/model.gguf");

/// The numbers of the lines of answers.txt that begin so, each line with a blank at its end.
Words golden_lines(const std::string& kind) {
  Words lines;
  std::istringstream text(contents(test_data("golden/language_model/answers.txt")));
  for (std::string line; std::getline(text, line);) {
    if (line.rfind(kind + " ", 0) == 0) lines.push_back(line.substr(kind.size() + 1) + " ");
  }
  return lines;
}

/// Writes the golden model with another number of 32 bits in one of its values.
void write_model_with(const std::string& path, const std::string& key, std::uint32_t number) {
  std::string bytes = contents(language_model);
  const std::size_t at = bytes.find(key);
  REQUIRE(at != std::string::npos);
  bytes.replace(at + key.size() + 4, 4, reinterpret_cast<const char*>(&number), 4);
  write(path, bytes);
}

}  // namespace

TEST_CASE("tool: generate gives PyTorch's tokens, guessed or not") {
  const Words prompts = {"The attention of", "It isn't", "a", "values, weighted by how well", "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"}, answers = golden_lines("answer");
  REQUIRE(answers.size() == 6);
  for (std::size_t n = 0; n < prompts.size(); ++n) {
    CAPTURE(prompts[n]);
    const Words words = {"generate", prompts[n], "--model", language_model, "--tokens", "24"};
    const Outcome outcome = run(words + Words{"--ids"});
    CHECK(outcome.code == 0);
    CHECK(outcome.out == answers[n] + "\n");
    CHECK(contains(outcome.err, "; then 24 tokens, "));
    CHECK(contains(outcome.err, " a second, until --tokens; "));
    CHECK(contains(outcome.err, ", 1 thread\nweights 0.1 MB, keys and values 0.0 MB; at most "));
    for (const Words& flags : {Words{"--speculate", "1"}, {"--speculate", "5", "--threads", "2"}, {"--speculate", "64"}}) {
      const Outcome guessed = run(words + Words{"--ids"} + flags);
      CHECK(guessed.out == answers[n] + "\n");
      CHECK(contains(guessed.err, " guesses were right)"));
    }
    const Outcome quiet = run(words + Words{"--quiet"});
    CHECK(quiet.err.empty());
    CHECK(quiet.out.size() > 24);
  }
  const Outcome chat = run({"generate", "Where?", "--chat", "--system", "You answer.", "--model", language_model, "--ids"});
  CHECK(run({"generate", "Where?", "--chat", "--model", language_model, "--ids"}).out == chat.out);
  CHECK(run({"generate", "Where?", "--chat", "--system", "No.", "--model", language_model, "--ids"}).out != chat.out);
  CHECK(run({"generate", "<|im_start|>system\nYou answer.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n", "--model", language_model, "--ids"}).out == chat.out);
}

TEST_CASE("tool: generate ends where the model ends the text, or has read all that it can") {
  const Folder folder;
  const std::string answer = golden_lines("answer")[1], path = folder / "m.gguf";
  std::istringstream tokens(answer);
  std::uint32_t first, second;
  tokens >> first >> second;
  REQUIRE(first != second);
  write_model_with(path, "tokenizer.ggml.eos_token_id", second);
  for (const Words& flags : {Words{}, {"--speculate", "4"}}) {
    const Words words = Words{"generate", "It isn't", "--model", path, "--tokens", "24", "--ids"} + flags;
    Outcome outcome = run(words);
    CHECK(outcome.out == std::to_string(first) + " \n");
    CHECK(contains(outcome.err, "; then 1 token, "));
    CHECK(contains(outcome.err, ", until the model's end of text"));
    write_model_with(path, "tokenizer.ggml.eos_token_id", first);
    CHECK(run(words).out == "\n");
    write_model_with(path, "llama.context_length", 10);
    outcome = run(words);
    CHECK(outcome.code == 0);
    CHECK(contains(outcome.err, "; then 8 tokens, "));
    CHECK(contains(outcome.err, ", until the model's context is full"));
    CHECK(answer.rfind(outcome.out.substr(0, outcome.out.size() - 1), 0) == 0);
    CHECK(std::count(outcome.out.begin(), outcome.out.end(), ' ') == 8);  // 3 of the prompt, 7 that are read, and the one after those
    write_model_with(path, "tokenizer.ggml.eos_token_id", second);
  }
  write_model_with(path, "llama.context_length", 2);
  std::string without_norm = contents(path);
  without_norm.replace(without_norm.find("ffn_norm"), 8, "ffn_none");
  write(path, without_norm);  // a model that cannot be loaded: a prompt that is too long is refused before that
  check_refused({"generate", "It isn't", "--model", path}, {"PROMPT: 3 tokens, but the model reads at most 2"});
  check_refused({"generate", "a", "--model", path}, {"ffn_none"});
}

TEST_CASE("tool: a type has a short name and a whole one, and the whole one is printed") {
  if (product_instructions(WeightType::bfloat16, Arithmetic::float32) == nullptr) return;
  const SmallModel model;
  const NumberedLayer layer;
  for (const auto& [name, whole] : {std::pair<std::string, std::string>{"bf16", "bfloat16"}, {"fp16", "float16"}}) {
    const auto same = [&, &name = name, &whole = whole](const Words& words, const char* flag, const char* behind, const char* printed) {
      const Outcome one = run(words + Words{flag, name + behind}), other = run(words + Words{flag, whole + behind});
      CAPTURE(flag + one.err);
      CHECK(one.code == other.code);
      CHECK(contains(one.out + one.err, printed + whole));
      CHECK(contains(other.out + other.err, printed + whole));
    };
    same(model.with({"embed", "a"}), "--precision", "-weights", ", ");
    same(layer.words("run", {}), "--weight-type", "", "weights of ");
    same({"generate", "a", "--model", language_model, "--tokens", "1"}, "--precision", "-weights", "weights of ");
    CHECK(run({"generate", "a", "--model", language_model, "--cache-type", name, "--ids", "--quiet"}).out == run({"generate", "a", "--model", language_model, "--cache-type", whole, "--ids", "--quiet"}).out);
    for (const std::string& type : {name, whole}) {
      CHECK(run({"quantize", layer / "w.safetensors", layer / "out.safetensors", "--weights", type, "--heads", "4", "--prefix", "block.attn"}).code == 0);
    }
  }
}

TEST_CASE("tool: generate draws tokens by a seed") {
  const Words words = {"generate", "The attention of", "--model", language_model, "--tokens", "24", "--ids"}, warm = words + Words{"--temperature", "2"};
  const std::string greedy = run(words).out, drawn = run(warm).out;
  CHECK(drawn != greedy);
  CHECK(run(warm).out == drawn);
  CHECK(run(warm + Words{"--seed", "1"}).out == drawn);
  CHECK(run(warm + Words{"--seed", "2"}).out != drawn);
  CHECK(run(warm + Words{"--top-k", "1"}).out == greedy);
  CHECK(run(warm + Words{"--top-p", "0"}).out == greedy);
  CHECK(run(words + Words{"--temperature", "0"}).out == greedy);
}

TEST_CASE("tool: generate takes every precision, and says which") {
  const Words words = {"generate", "The attention of", "--model", language_model, "--tokens", "4"};
  const std::pair<Words, std::string> said[] = {{{"--precision", "int8"}, ", int8 by "}, {{"--precision", "int4"}, ", int4 by "}, {{"--precision", "fp16-weights"}, ", weights of float16 by "}, {{"--cache-type", "int8"}, ""}};
  for (const auto& [flags, text] : said) {
    if (product_instructions(WeightType::int8, Arithmetic::int8) == nullptr) continue;
    const Outcome outcome = run(words + flags);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
    CHECK(contains(outcome.err, text));
  }
}

TEST_CASE("tool: generate takes the model that make model fetches, or the one of a folder") {
  const Folder folder;
  const std::string usual = environment("ATTEND_TOOL", "build/attend"), here = "cd " + quoted(folder.path) + " &&";
  files::copy_file(usual, folder / "attend");
  setenv("ATTEND_TOOL", (folder / "attend").c_str(), 1);
  const Words words = {"generate", "The attention of", "--ids", "--quiet"};
  check_refused(words, {"there is no model: make model MODELS=SmolLM2-135M-Instruct fetches one (93 MB), or --model M.gguf says where one is"}, here);
  const std::string models = folder / "models/SmolLM2-135M-Instruct";
  files::create_directories(models);
  files::copy_file(language_model, models + "/any.gguf");
  write(models + "/README.md", "not a model");
  const std::string expected = run(words + Words{"--model", files::absolute(language_model).string()}).out;
  CHECK(expected.size() > 24);
  CHECK(run(words, here).out == expected);
  CHECK(run(words + Words{"--model", models}).out == expected);
  files::copy_file(language_model, models + "/other.gguf");
  check_refused(words, {"a folder of 2 files in .gguf, expected one"}, here);
  setenv("ATTEND_TOOL", usual.c_str(), 1);
}

TEST_CASE("tool: generate refuses in one line") {
  const Words words = {"generate", "a", "--model", language_model};
  check_refused({"generate", "--model", language_model}, {"PROMPT is missing"});
  check_refused({"generate", "", "--model", language_model}, {"PROMPT is empty"});
  check_refused({"generate", "a", "--model", "/nowhere"}, {"'/nowhere'"});
  check_refused({"generate", "a", "--model", test_data("data/gguf/llama.safetensors")}, {"not a GGUF file"});
  check_refused({"generate", "a", "--model", test_data("data/gguf/llama.gguf")}, {"no tokenizer.ggml.model"});
  check_refused(words + Words{"--tokens", "0"}, {"--tokens '0' is not an integer from 1 to 1048576"});
  check_refused(words + Words{"--temperature", "-1"}, {"--temperature '-1'"});
  check_refused(words + Words{"--temperature", "1", "--top-p", "1.5"}, {"--top-p '1.5' is not a number from 0 to 1"});
  check_refused(words + Words{"--top-k", "5"}, {"--top-k: without --temperature the likeliest token is taken"});
  check_refused(words + Words{"--seed", "5"}, {"--seed: without --temperature the likeliest token is taken"});
  check_refused(words + Words{"--temperature", "1", "--speculate", "4"}, {"--speculate: with --temperature tokens are drawn"});
  check_refused(words + Words{"--system", "x"}, {"--system goes with --chat"});
  check_refused(words + Words{"--precision", "int9"}, {"--precision 'int9': there are float32, bfloat16,"});
  check_refused(words + Words{"--cache-type", "int4"}, {"--cache-type 'int4': there are float32, bfloat16, float16 and int8"});
  const Folder folder;
  check_refused({"generate", "a", "--model", folder.path}, {"--model '" + folder.path + "': a folder of 0 files in .gguf, expected one"});
  const std::string whole = contents(language_model);
  for (std::size_t size = 0; size < whole.size(); size += 4999) {
    write(folder / "m.gguf", whole.substr(0, size));
    check_refused({"generate", "a", "--model", folder / "m.gguf"}, {"m.gguf'"});
  }
}
