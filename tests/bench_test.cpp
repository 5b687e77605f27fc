// The benchmark programs: their options, their JSON.
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "base/isas.h"
#include "doctest.h"
#include "json_value.h"
#include "test_data.h"

namespace {

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

struct Run {
  int exit_code;
  std::string text;  // standard output, then standard error's where both were written
};

Run run_program(const std::string& program, const std::string& arguments) {
  const std::string command = environment("ATTEND_TOOL_RUN_PREFIX", "") + " " + program + " " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Run run = {0, ""};
  char buffer[4096];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) run.text.append(buffer, count);
  const int status = pclose(pipe);
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

Run run_bench(const std::string& arguments) { return run_program(environment("ATTEND_BENCH", "build/attend-bench"), arguments); }
const std::string known_reasons = attend::test_data("../bench/README.md");
Run run_sweep(const std::string& arguments) {
  return run_program(environment("ATTEND_BENCH_SWEEP", "build/attend-bench-sweep"), arguments);
}

/// Accepts JSON (RFC 8259) without escapes in strings; false at the first thing that is not.
class JsonChecker {
 public:
  explicit JsonChecker(const std::string& text) : text_(text) {}
  bool accepts() { return value() && (skip_space(), at_ == text_.size()); }

 private:
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool literal(const std::string& word) {
    skip_space();
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }
  bool string() {
    if (!literal("\"")) return false;
    at_ = text_.find('"', at_);
    return at_ != std::string::npos && ++at_;
  }
  bool number() {
    skip_space();
    const std::size_t start = at_;
    at_ = text_.find_first_not_of("+-.0123456789e", at_);
    if (at_ == start || at_ == std::string::npos) return false;
    char* end;
    std::strtod(text_.c_str() + start, &end);
    return end == text_.c_str() + at_;
  }
  bool member() { return string() && literal(":") && value(); }
  template <class Element>
  bool list(const std::string& closing, Element element) {
    if (literal(closing)) return true;
    do {
      if (!element()) return false;
    } while (literal(","));
    return literal(closing);
  }
  bool value() {
    if (literal("{")) return list("}", [this] { return member(); });
    if (literal("[")) return list("]", [this] { return value(); });
    return literal("null") || string() || number();
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Bad usage ends in exit code 2 and one line that names what was expected.
void check_refused(const Run& run, const char* expected) {
  CAPTURE(expected);
  CHECK(run.exit_code == 2);
  CHECK_MESSAGE(contains(run.text, expected), run.text);
  CHECK(run.text.find('\n') == run.text.size() - 1);
}

}  // namespace

TEST_CASE("attend-bench --list names the cases") {
  const Run run = run_bench("--list");
  CHECK(run.exit_code == 0);
  for (const char* name :
       {"seed", "minilm-128", "bert-128", "bert-128x8", "bert-128x8-packed", "vit-197", "wide-512", "bert-512", "whisper-1500", "long-4096",
        "gemm-8x768x768", "gemm-128x768x768", "gemm-512x384x384", "core-128-d32", "core-128-d64", "core-512-d64", "core-512-d64-bf16",
        "core-512-d64-4k-rows", "core-512-d20", "core-512-d80", "core-512-d96", "core-512-d256", "core-2048-d64",
        "core-2048-d64-additive", "core-2048-d128", "core-8192-d64", "decode-4096-x2", "decode-4096-x16", "exp", "minilm-128-bf16",
        "bert-128-int8", "bert-512-bf16", "gemm-128x768x768-int8", "gemm-128x768x768-fp16-weights", "gemm-1x4096x4096",
        "gemm-1x4096x4096-bf16", "gemm-1x4096x4096-int8-weights"}) {
    CAPTURE(name);
    CHECK(contains("\n" + run.text, "\n" + std::string(name) + "\n"));
  }
}

TEST_CASE("attend-bench --help describes the options") {
  const Run run = run_bench("--help");
  CHECK(run.exit_code == 0);
  for (const char* option : {"--case", "--isa", "--threads", "--seconds", "--rounds", "--cpu-time", "--naive", "--json", "--list"}) {
    CAPTURE(option);
    CHECK(contains(run.text, option));
  }
}

TEST_CASE("attend-bench refuses what it does not know, in one line") {
  const auto refused = [](const char* arguments, const char* expected) { check_refused(run_bench(arguments), expected); };
  refused("--case sed", "'seed'");
  refused("--case seed,exq", "'exp'");
  refused("--isa avx3", "'avx2'");
  refused("--sec 1", "'--seconds'");
  refused("--threads 0", "--threads '0'");
  refused("--seconds", "--seconds");
}

TEST_CASE("attend-bench --json writes the fields") {
  const std::string path = environment("TMPDIR", "/tmp") + "/attend-bench-test-" + std::to_string(getpid()) + ".json";
  const Run run = run_bench("--case seed,exp --isa scalar --seconds 0.01 --rounds 2 --json " + path);
  CHECK_MESSAGE(run.exit_code == 0, run.text);
  std::ostringstream read;
  read << std::ifstream(path).rdbuf();
  const std::string json = read.str();
  std::remove(path.c_str());
  CAPTURE(json);
  CHECK(JsonChecker(json).accepts());
  for (const char* field : {"machine", "peak_gflops", "read_gb_per_s", "cases", "case", "isa", "threads", "us_min",
                            "us_median", "gflops", "percent_of_peak", "gb_per_s"}) {
    CAPTURE(field);
    CHECK(contains(json, "\"" + std::string(field) + "\": "));
  }
  CHECK(contains(json, "\"case\": \"seed\", \"isa\": \"scalar\", \"threads\": 1"));
  CHECK(contains(json, "\"case\": \"exp\""));
}

TEST_CASE("attend-bench explains its columns, and shows no share far above the bandwidth") {
  const Run run = run_bench("--case seed,decode-mha-128 --seconds 0");
  CHECK_MESSAGE(run.exit_code == 0, run.text);
  for (const char* part : {"\nus: ", "\n% of peak: ", "\nx scalar: ", "2 cases: about 1 s"}) CHECK_MESSAGE(contains(run.text, part), run.text);
  std::istringstream row(run.text.substr(run.text.find("\ndecode-mha-128 ")));
  std::string name, us_min, us_median, gflops, share;
  row >> name >> us_min >> us_median >> gflops >> share;
  CHECK_MESSAGE((share == "cached" || (std::atof(share.c_str()) <= 110.0 && share.back() == 'r')), run.text);
}

TEST_CASE("attend-bench checks low precision on every ISA, and sets neither the scalar ISA nor plain loops beside it") {
  for (const attend::IsaEntry& entry : attend::isas) {
    if (!attend::isa_usable(entry.isa)) continue;
    const Run run = run_bench("--case gemm-128x768x768-bf16,gemm-128x768x768-int8,gemm-128x768x768-int8-weights,core-512-d64-bf16 --seconds 0 --isa " + std::string(entry.name));
    CHECK_MESSAGE(run.exit_code == 0, run.text);
    CHECK_MESSAGE(contains(run.text.substr(run.text.find("\ngemm-128x768x768-int8 ")), " -\n"), run.text);
  }
  const Run naive = run_bench("--naive --case gemm-8x768x768,minilm-128-int8 --seconds 0");
  CHECK_MESSAGE(naive.exit_code == 0, naive.text);
  CHECK_FALSE(contains(naive.text, "minilm"));
}

TEST_CASE("attend-bench --naive compares the scalar ISA with plain loops") {
  const Run run = run_bench("--naive --case seed,core-128-d32 --seconds 0");
  CHECK_MESSAGE(run.exit_code == 0, run.text);
  CHECK(contains(run.text, "\nseed "));
}

TEST_CASE("attend-bench-sweep --help lists the axes; what it does not know is refused in one line") {
  const Run run = run_sweep("--help");
  CHECK(run.exit_code == 0);
  for (const char* axis : {"queries", "sharing", "key-width", "value-width", "keys", "tokens", "rows", "width", "page-rows", "masks"}) {
    CAPTURE(axis);
    CHECK(contains(run.text, "\n  " + std::string(axis) + " "));
  }
  const auto refused = [](const char* arguments, const char* expected) { check_refused(run_sweep(arguments), expected); };
  refused("", "usage");
  refused("nowhere.md /dev/null", "nowhere.md");
  refused((known_reasons + " /dev/null sharin").c_str(), "'sharing'");
}

TEST_CASE("attend-bench-sweep times an axis, and exits with 1 for marks without a reason") {
  const std::string path = environment("TMPDIR", "/tmp") + "/attend-sweep-test-" + std::to_string(getpid()) + ".json";
  const Run run = run_sweep(known_reasons + " " + path + " sharing");
  std::ostringstream read;
  read << std::ifstream(path).rdbuf();
  std::remove(path.c_str());
  CAPTURE(run.text);
  CHECK(run.exit_code == (contains(run.text, ", 0 have none") ? 0 : 1));
  const JsonValue axis = JsonValue::parse(read.str())["axes"].elements.at(0);
  CHECK(axis["axis"].text == "sharing");
  CHECK(axis["points"].elements.size() == 12);
  CHECK(axis["work"].elements.size() == 12);
  for (const auto& times : axis["us"].members) {
    CAPTURE(times.first);
    CHECK(times.second.elements.size() == 12);
    CHECK(times.second.elements[0].number > 0.0);
  }
}
