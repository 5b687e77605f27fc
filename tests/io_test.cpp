// Tests of src/io: .npy and .safetensors files, the names of layers, and the files beneath them.
#include <doctest.h>

#include "attend/io.hpp"
#include "io/json.h"
#include "io/output_file.h"
#include "io/text.h"
#include "kernels/half_floats.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using namespace attend;
using namespace attend::io;

namespace {

using Bytes = std::vector<unsigned char>;
using Shape = std::vector<std::int64_t>;

/// A folder that goes, with the files in it, when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* base = std::getenv("TMPDIR");
    std::string pattern = std::string(base != nullptr ? base : "/tmp") + "/attend-io-XXXXXX";
    REQUIRE(mkdtemp(&pattern[0]) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    for (const std::string& name : names()) unlink((*this / name).c_str());
    rmdir(path_.c_str());
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    DIR* folder = opendir(path_.c_str());
    while (const dirent* entry = readdir(folder)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") found.push_back(name);
    }
    closedir(folder);
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  std::string path_;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

template <class Number>
std::string raw(std::initializer_list<Number> numbers) {
  std::string text;
  for (Number number : numbers) {
    text.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  return text;
}

void check_ok(const Status& status) {
  INFO(std::string(status.message()));
  CHECK(status.ok());
}

void check_error(const Status& status, const std::string& part,
                 StatusCode code = StatusCode::invalid_argument) {
  const std::string message = status.message();
  INFO("message: ", message);
  INFO("expected: ", part);
  CHECK(status.code() == code);
  CHECK(message.find(part) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

std::vector<float> values_of(const ConstTensorView& view) {
  std::int64_t count = 1;
  for (int axis = 0; axis < view.rank; ++axis) count *= view.sizes[axis];
  return std::vector<float>(view.data, view.data + count);
}

Shape shape_of(const ConstTensorView& view) { return Shape(view.sizes, view.sizes + view.rank); }

/// Flips, inserts, removes and cuts a few bytes.
Bytes mutated(Bytes bytes, std::mt19937& random) {
  const unsigned changes = 1 + random() % 3;
  for (unsigned change = 0; change < changes && !bytes.empty(); ++change) {
    // Mostly near the front, where the headers are.
    const std::size_t near = std::min<std::size_t>(bytes.size(), 160);
    const std::size_t reach = random() % 4 == 0 ? bytes.size() : near;
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(random() % reach);
    constexpr std::string_view telling = "'\"{}[](),:-.\\0123456789eu \n\xFF\x80";
    const auto some = static_cast<unsigned char>(telling[random() % telling.size()]);
    switch (random() % 6) {
      case 0: bytes.resize(random() % bytes.size()); break;
      case 1: bytes.erase(at); break;
      case 2: bytes.insert(at, some); break;
      case 3: *at = some; break;
      case 4: *at ^= static_cast<unsigned char>(1u << random() % 8); break;
      default: *at = static_cast<unsigned char>(random());
    }
  }
  return Bytes(bytes.begin(), bytes.end());  // of just that capacity, for the sanitizers to see
}

// ---------------------------------------------------------------------------------------------
// 16-bit floats

/// The value of a 16-bit float by its definition, for any split of the bits.
double defined_value(unsigned bits, int exponent_bits, int fraction_bits) {
  const unsigned fraction = bits & ((1u << fraction_bits) - 1);
  const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> 15 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? std::nan("") : sign * HUGE_VAL;
  const double significand = (exponent ? 1 << fraction_bits : 0) + static_cast<double>(fraction);
  return sign * std::ldexp(significand, std::max(exponent, 1) - bias - fraction_bits);
}

void check_half(float (*widen)(std::uint16_t), std::uint16_t (*narrow)(float), int exponent_bits,
                int fraction_bits) {
  int wrong = 0;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const double expected = defined_value(bits, exponent_bits, fraction_bits);
    const float value = widen(static_cast<std::uint16_t>(bits));
    if (std::isnan(expected)) {
      wrong += !std::isnan(value) || !std::isnan(widen(narrow(value)));
    } else {
      wrong += value != expected || std::signbit(value) != std::signbit(expected);
      wrong += narrow(value) != bits;
    }
  }
  CHECK(wrong == 0);

  // Between neighbours: to the nearer, and from the middle to the even one. What follows the
  // largest finite one would be the next power of two, and stands for infinity.
  const unsigned infinity = ((1u << exponent_bits) - 1) << fraction_bits;
  for (unsigned low = 0; low < infinity; ++low) {
    const double below = defined_value(low, exponent_bits, fraction_bits);
    const double above = low + 1 < infinity ? defined_value(low + 1, exponent_bits, fraction_bits)
                                            : 2 * defined_value(low - (1u << fraction_bits) + 1,
                                                                exponent_bits, fraction_bits);
    const double middle = (below + above) / 2;
    const float tie = static_cast<float>(middle);
    wrong += tie != middle;
    wrong += narrow(tie) != low + (low & 1);
    wrong += narrow(-tie) != ((low + (low & 1)) | 0x8000u);
    wrong += narrow(std::nextafterf(tie, 0.0f)) != low;
    wrong += narrow(std::nextafterf(tie, HUGE_VALF)) != low + 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("io: 16-bit floats, all of them, there and back") {
  check_half(float_from_float16, float16_from_float, 5, 10);
  check_half(float_from_bfloat16, bfloat16_from_float, 8, 7);
  CHECK(float_from_float16(0x3C00) == 1.0f);
  CHECK(float_from_float16(0xC000) == -2.0f);
  CHECK(float_from_bfloat16(0x3F80) == 1.0f);
  CHECK(float16_from_float(1e30f) == 0x7C00);
  CHECK(float16_from_float(-1e-30f) == 0x8000);
  CHECK(bfloat16_from_float(3.4028235e38f) == 0x7F80);
  CHECK(std::isnan(float_from_bfloat16(bfloat16_from_float(std::nanf("")))));
}

// ---------------------------------------------------------------------------------------------
// Files

TEST_CASE("io: names in messages cannot disturb a terminal") {
  CHECK(quoted("plain name") == "'plain name'");
  CHECK(quoted("a\x1b[31m\n") == "'a\\x1b[31m\\x0a'");
  CHECK(quoted("\xC2\x9B\xC3\xA9") == "'\\x9b\xC3\xA9'");
  CHECK(quoted(std::string(500, 'x')).size() == 74);
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "\xC3\xA9";
  CHECK(is_utf8(quoted(accents)));
  CHECK(is_utf8(quoted("x" + accents)));
}

TEST_CASE("io: an input file is mapped or read") {
  const TemporaryFolder folder;
  put(folder / "some", "abc");
  put(folder / "empty", "");
  InputFile file;
  check_ok(InputFile::open(folder / "some", &file));
  CHECK(std::string(file.data(), file.data() + file.size()) == "abc");
  CHECK(file.path() == folder / "some");
  InputFile moved = std::move(file);
  CHECK(moved.data()[2] == 'c');
  check_ok(InputFile::open(folder / "empty", &file));
  CHECK(file.size() == 0);

  int ends[2];
  REQUIRE(pipe(ends) == 0);
  REQUIRE(write(ends[1], "from a pipe", 11) == 11);
  close(ends[1]);
  check_ok(InputFile::open("/dev/fd/" + std::to_string(ends[0]), &file));
  close(ends[0]);
  CHECK(std::string(file.data(), file.data() + file.size()) == "from a pipe");

  check_error(InputFile::open(folder / "none", &moved), "none': No such file or directory");
  check_error(InputFile::open(folder / "", &moved), "cannot read");
  CHECK(moved.data()[0] == 'a');
}

TEST_CASE("io: an output file appears whole or not at all") {
  const TemporaryFolder folder;
  const std::string path = folder / "out";
  {
    OutputFile file;
    check_ok(file.open(path));
    check_ok(file.write("first", 5));
    CHECK(access(path.c_str(), F_OK) != 0);
  }
  CHECK(folder.names().empty());
  const auto write_text = [](const std::string& target, const std::string& text) {
    OutputFile file;
    Status status = file.open(target);
    if (status.ok()) status = file.write(text.data(), text.size());
    return status.ok() ? file.commit() : status;
  };
  check_ok(write_text(path, "second"));
  CHECK(content(path) == "second");
  REQUIRE(chmod(path.c_str(), 0640) == 0);
  REQUIRE(symlink("out", (folder / "link").c_str()) == 0);
  check_ok(write_text(folder / "link", "third"));
  CHECK(content(path) == "third");
  struct stat facts;
  REQUIRE(lstat((folder / "link").c_str(), &facts) == 0);
  CHECK(S_ISLNK(facts.st_mode));
  REQUIRE(stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0640);
  {
    OutputFile file;
    check_ok(file.open(path));
    check_ok(file.write("lost", 4));
  }
  CHECK(content(path) == "third");

  check_error(write_text(folder / "no/out", "x"), "no/out': No such file or directory");
  check_error(write_text(folder / "out/x", "x"), "Not a directory");
  check_error(write_text(folder / "", "x"), "Is a directory");
  check_error(write_text("/dev/full", "x"), "'/dev/full': No space left on device");

  struct rlimit limit, low;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  low = limit;
  low.rlim_cur = 1000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
  const Status status = write_text(path, std::string(2000, 'x'));
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  check_error(status, "out': File too large");
  CHECK(content(path) == "third");
  CHECK(folder.names() == std::vector<std::string>{"link", "out"});
}

TEST_CASE("io: what is not a regular file is written directly") {
  const TemporaryFolder folder;
  const std::string fifo = folder / "fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  const int reader = open(fifo.c_str(), O_RDONLY | O_NONBLOCK);
  OutputFile file;
  check_ok(file.open(fifo));
  check_ok(file.write("abc", 3));
  check_ok(file.commit());
  char got[8] = {};
  CHECK(read(reader, got, sizeof got) == 3);
  CHECK(std::string(got) == "abc");
  close(reader);
  CHECK(folder.names() == std::vector<std::string>{"fifo"});

  // Standard output sent to a file goes on where it stands.
  std::fflush(stdout);
  const int saved = dup(STDOUT_FILENO);
  const int target = open((folder / "redirected").c_str(), O_WRONLY | O_CREAT, 0600);
  dup2(target, STDOUT_FILENO);
  Status statuses[2];
  for (Status& status : statuses) {
    status = file.open("/dev/stdout");
    if (status.ok()) status = file.write("line\n", 5);
    if (status.ok()) status = file.commit();
  }
  dup2(saved, STDOUT_FILENO);
  close(saved);
  close(target);
  check_ok(statuses[0]);
  check_ok(statuses[1]);
  CHECK(content(folder / "redirected") == "line\nline\n");
}

// ---------------------------------------------------------------------------------------------
// .npy

Bytes npy(const std::string& header, const std::string& elements, int version = 1) {
  std::string text = "\x93NUMPY";
  text += static_cast<char>(version);
  text += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    text += static_cast<char>(header.size() >> 8 * i & 0xFF);
  }
  return bytes_of(text + header + elements);
}

std::string dict(const std::string& descr, const std::string& shape, bool fortran_order = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran_order ? "True" : "False") +
         ", 'shape': " + shape + ", }\n";
}

Status parse(const Bytes& bytes, Array* array) {
  return parse_npy(bytes.data(), bytes.size(), "a.npy", array);
}

std::vector<float> parsed_floats(const Bytes& bytes, const Shape& shape) {
  Array array;
  FloatTensor tensor;
  check_ok(parse(bytes, &array));
  CHECK(array.shape == shape);
  check_ok(to_float32(array, &tensor, true));
  CHECK(shape_of(tensor.view) == shape);
  CHECK(tensor.view.data != nullptr);
  return values_of(tensor.view);
}

TEST_CASE("io: npy literals of every dtype") {
  using Floats = std::vector<float>;
  const std::string six = raw<float>({1, 2, 3, 4, 5, 6});
  for (int version : {1, 2, 3}) {
    const Bytes bytes = npy(dict("<f4", "(2, 3)"), six, version);
    CHECK(parsed_floats(bytes, {2, 3}) == Floats{1, 2, 3, 4, 5, 6});
  }
  CHECK(parsed_floats(npy(dict("<f4", "(2, 3)", true), six), {2, 3}) == Floats{1, 3, 5, 2, 4, 6});
  CHECK(parsed_floats(npy(dict("<f4", "(6,)", true), six), {6}) == Floats{1, 2, 3, 4, 5, 6});
  CHECK(parsed_floats(npy(dict("<f4", "()"), raw<float>({7})), {}) == Floats{7});
  CHECK(parsed_floats(npy(dict("<f8", "(2,)"), raw<double>({0.1, -1e300})), {2}) ==
        Floats{0.1f, -HUGE_VALF});
  CHECK(parsed_floats(npy(dict("<f2", "(3,)"), std::string("\x00\x3C\x00\xC0\x01\x00", 6)), {3}) ==
        Floats{1, -2, 0x1p-24f});
  for (const char* dtype : {"<V2", "|V2"}) {
    CHECK(parsed_floats(npy(dict(dtype, "(2,)"), std::string("\x80\x3F\x00\xC0", 4)), {2}) ==
          Floats{1, -2});
  }
  CHECK(parsed_floats(npy(dict("|u1", "(3,)"), std::string("\x00\x02\xFF", 3)), {3}) == Floats{0, 2, 255});
  CHECK(parsed_floats(npy(dict("<i4", "(2,)"), raw<std::int32_t>({-3, 4})), {2}) == Floats{-3, 4});
  CHECK(parsed_floats(npy(dict("<i8", "(2,)"), raw<std::int64_t>({-3, 4})), {2}) == Floats{-3, 4});
  CHECK(parsed_floats(npy(dict("|b1", "(3,)"), std::string("\x00\x01\x02", 3)), {3}) ==
        Floats{0, 1, 1});
  for (bool fortran_order : {false, true}) {
    CHECK(parsed_floats(npy(dict("<f4", "(0,)", fortran_order), ""), {0}).empty());
    CHECK(parsed_floats(npy(dict("<f2", "(3, 0, 2)", fortran_order), ""), {3, 0, 2}).empty());
  }
  // Keys in another order, other quotes, no final comma.
  CHECK(parsed_floats(npy("{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}",
                          raw<float>({1, 2})), {1, 2}) == Floats{1, 2});

  Array array;
  check_ok(parse(npy(dict("|b1", "(2,)"), "\x05\x01"), &array));
  CHECK(array.bytes == Bytes{1, 1});
}

TEST_CASE("io: npy in Fortran order with four axes") {
  const std::int64_t n0 = 2, n1 = 3, n2 = 4, n3 = 5;
  std::string elements;  // (i, j, k, l) is 1000 i + 100 j + 10 k + l; the first varies fastest
  for (int l = 0; l < n3; ++l)
    for (int k = 0; k < n2; ++k)
      for (int j = 0; j < n1; ++j)
        for (int i = 0; i < n0; ++i) elements += raw<double>({1000. * i + 100. * j + 10. * k + l});
  const std::vector<float> read =
      parsed_floats(npy(dict("<f8", "(2, 3, 4, 5)", true), elements), {n0, n1, n2, n3});
  std::size_t at = 0, wrong = 0;
  for (int i = 0; i < n0; ++i)
    for (int j = 0; j < n1; ++j)
      for (int k = 0; k < n2; ++k)
        for (int l = 0; l < n3; ++l)
          wrong += read[at++] != static_cast<float>(1000 * i + 100 * j + 10 * k + l);
  CHECK(wrong == 0);
}

TEST_CASE("io: npy errors") {
  const std::string good = dict("<f4", "(2,)"), two = raw<float>({1, 2});
  Array array;
  array.shape = {42};
  const auto refused = [&](const Bytes& bytes, const std::string& part) {
    const Status status = parse(bytes, &array);
    check_error(status, part);
    check_error(status, "'a.npy': ");
    CHECK(array.shape == Shape{42});
  };
  const auto header = [&](const std::string& text, const std::string& part) {
    refused(npy(text, two), part);
  };
  const auto shape = [&](const std::string& text, const std::string& part) {
    refused(npy(dict("<f4", text), two), part);
  };
  refused({}, "does not begin with");
  refused(bytes_of("PK\x03\x04 not an array"), "not a .npy file");
  refused(bytes_of("\x93NUMPY\x01"), "cut short");
  refused(bytes_of(std::string("\x93NUMPY\x02\x00\x01\x00\x00", 11)), "cut short");
  refused(npy(good, two, 4), "version 4.0, expected 1.0, 2.0 or 3.0");
  refused(bytes_of(std::string("\x93NUMPY\x01\x00\xFF\xFF{}", 12)),
          "its header is 65535 bytes long, but only 2 follow");
  refused(bytes_of(std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF{}", 14)),
          "its header is 4294967295 bytes long, but only 2 follow");
  refused(npy(good, two.substr(1)), "7 bytes of elements, expected 8 for shape (2,) of float32");
  refused(npy(good, two + "x"), "9 bytes of elements, expected 8");
  refused(npy(good, ""), "0 bytes of elements, expected 8");

  for (const char* dtype : {">f4", ">f8", ">i8", ">f2"}) {
    refused(npy(dict(dtype, "(2,)"), two), "is big-endian; expected little-endian");
  }
  for (const char* dtype : {"<u4", "|i1", "<i2", "<c8", "<f16", "|O", "<U4", "", "f4"}) {
    refused(npy(dict(dtype, "(2,)"), two), "dtype '" + std::string(dtype) + "' is not one of <f2");
  }
  header("{'descr': [('a', '<f4')], 'fortran_order': False}", "not a structured one");

  header("", "header byte 0: expected '{'");
  header("[]", "expected '{'");
  header("{}", "expected the key 'descr' before it");
  header("{'descr': '<f4', 'shape': (2,)}", "expected the key 'fortran_order'");
  header("{'descr': '<f4', 'fortran_order': False}", "expected the key 'shape'");
  header("{'descr': '<f4', 'descr': '<f4'}", "expected 'descr' only once");
  header("{'descr': '<f4', 'color': 'red'}", "expected a known key instead of 'color'");
  header("{'descr': '<f4", "expected a closing quote");
  header("{'descr': '<f4\", 'fortran_order': False, 'shape': (2,)}", "header byte");
  header("{descr: '<f4'}", "expected a string in quotes");
  header("{'descr' '<f4'}", "expected ':'");
  header("{'descr': '<f4' 'shape': (2,)}", "expected ',' or '}'");
  header("{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "expected True or False");
  header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "expected ',' or '}'");
  header(good + "x", "expected nothing more");
  header(std::string(200, '{'), "expected a string in quotes");

  shape("2", "expected '('");
  shape("(2)", "expected ','");
  shape("(,)", "expected a size of 0 or more");
  shape("(-2,)", "expected a size of 0 or more");
  shape("(2 2)", "expected ','");
  shape("(2.0,)", "expected ','");
  shape("(1, 1, 1, 1, 2)", "expected at most four axes");
  shape("(9223372036854775808,)", "expected sizes below 2^63");
  shape("(99999999999999999999999,)", "expected sizes below 2^63");
  shape("(9223372036854775807,)", "is too large");
  shape("(4294967296, 4294967296)", "is too large");
  shape("(0, 4294967296, 4294967296)", "is too large");
  shape("(2305843009213693952, 2)", "is too large");
  shape("(1000000000000,)", "expected 4000000000000 for shape (1000000000000,) of float32");

  check_error(read_npy("/nonexistent/a.npy", &array),
              "cannot open '/nonexistent/a.npy': No such file or directory");
}

TEST_CASE("io: npy conversions") {
  Array floats, halves, integers, wide, truths;
  check_ok(parse(npy(dict("<f4", "(2,)"), raw<float>({1, 2})), &floats));
  check_ok(parse(npy(dict("<f2", "(1,)"), std::string("\x00\x3C", 2)), &halves));
  check_ok(parse(npy(dict("<i4", "(1, 2)"), raw<std::int32_t>({-1, 6})), &integers));
  check_ok(parse(npy(dict("<i8", "(2,)"), raw<std::int64_t>({-1, 1ll << 40})), &wide));
  check_ok(parse(npy(dict("|b1", "(1,)"), "\x01"), &truths));

  FloatTensor tensor;
  check_ok(to_float32(floats, &tensor));
  CHECK(static_cast<const void*>(tensor.view.data) == floats.bytes.data());
  check_ok(to_float32(halves, &tensor));
  CHECK(values_of(tensor.view) == std::vector<float>{1});
  for (const Array* array : {&integers, &wide, &truths}) {
    check_error(to_float32(*array, &tensor), "expected float32, float16, bfloat16 or float64");
    check_ok(to_float32(*array, &tensor, true));
  }
  check_error(to_float32(truths, &tensor), "'a.npy': elements of bool");

  Int64Tensor lengths;
  check_ok(to_int64(integers, &lengths));
  CHECK(lengths.view.rank == 2);
  CHECK(lengths.view.sizes[1] == 2);
  CHECK(lengths.owned == std::vector<std::int64_t>{-1, 6});
  check_ok(to_int64(wide, &lengths));
  const Int64Tensor moved = std::move(lengths);
  CHECK(moved.view.data[1] == 1ll << 40);
  check_error(to_int64(floats, &lengths), "elements of float32, expected int32 or int64");
  check_error(to_int64(truths, &lengths), "elements of bool");
}

TEST_CASE("io: npy as written, byte for byte, and back") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.npy";
  const float six[] = {1, 2, 3, 4, 5, 6};
  check_ok(write_npy(path, ElementType::float32, {2, 3}, six));
  const std::string start = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  CHECK(content(path) == std::string("\x93NUMPY\x01\x00\x76\x00", 10) + start +
                             std::string(128 - 10 - start.size() - 1, ' ') + "\n" +
                             raw<float>({1, 2, 3, 4, 5, 6}));

  std::mt19937 random(1);
  for (ElementType type : {ElementType::float16, ElementType::bfloat16, ElementType::float32,
                           ElementType::float64, ElementType::int32, ElementType::int64,
                           ElementType::boolean, ElementType::uint8}) {
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{5}, Shape{2, 0}, Shape{3, 4, 2, 1}}) {
      std::size_t count = element_bytes(type);
      for (std::int64_t size : shape) count *= static_cast<std::size_t>(size);
      Bytes elements(count);
      for (unsigned char& byte : elements) byte = random() % 2;
      check_ok(write_npy(path, type, shape, elements.data()));
      Array array;
      check_ok(read_npy(path, &array));
      CHECK(array.type == type);
      CHECK(array.shape == shape);
      CHECK(array.bytes == elements);
      CHECK(array.name == path);
    }
  }
  check_error(write_npy(path, ElementType::float32, {1, 1, 1, 1, 1}, six), "at most four axes");
  check_error(write_npy(path, ElementType::float32, {-1}, six), "cannot write shape (-1,)");
  check_error(write_npy(folder / "no/a.npy", ElementType::float32, {1}, six), "no/a.npy'");
  CHECK(folder.names() == std::vector<std::string>{"a.npy"});
}

TEST_CASE("io: mutated npy files never crash") {
  std::mt19937 random(2);
  const std::vector<Bytes> seeds = {
      npy(dict("<f4", "(2, 3)"), raw<float>({1, 2, 3, 4, 5, 6})),
      npy(dict("<f8", "(1, 2, 2, 1)", true), raw<double>({1, 2, 3, 4}), 2),
      npy(dict("<V2", "(3, 0)"), "", 3), npy(dict("|b1", "(4,)"), "\1\1\1\1")};
  int accepted = 0;
  double sum = 0;
  for (int round = 0; round < 20000; ++round) {
    const Bytes bytes = mutated(seeds[static_cast<std::size_t>(round) % seeds.size()], random);
    Array array;
    FloatTensor tensor;
    if (!parse(bytes, &array).ok() || !to_float32(array, &tensor, true).ok()) continue;
    for (float value : values_of(tensor.view)) sum += std::isfinite(value) ? value : 0;
    ++accepted;
  }
  CHECK(accepted > 100);
  CHECK(accepted < 19000);
  CHECK(!std::isnan(sum));
}

// ---------------------------------------------------------------------------------------------
// .safetensors

std::string framed(const std::string& header, const std::string& data) {
  return raw<std::uint64_t>({header.size()}) + header + data;
}

Status parse(const std::string& text, SafetensorsFile* file) {
  return SafetensorsFile::parse(bytes_of(text), "w.safetensors", file);
}

TEST_CASE("io: safetensors literals of every dtype that is read") {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
      R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
      R"("d":{"dtype":"F64","shape":[],"data_offsets":[16,24]},)"
      R"("i":{"dtype":"I64","shape":[1],"data_offsets":[24,32]},)"
      R"("x":{"dtype":"F4_NEW","shape":[3],"data_offsets":[32,34]},)"
      R"("five":{"dtype":"F32","shape":[1,1,1,1,0],"data_offsets":[34,34]},)"
      R"("none":{"dtype":"F32","shape":[0,3],"data_offsets":[34,34]}})";
  const std::string data = raw<float>({1.5f, -2}) + std::string("\x00\x3C\x00\xC0", 4) +
                           std::string("\x80\x3F\x00\xC0", 4) + raw<double>({0.25}) +
                           raw<std::int64_t>({9}) + "??";
  for (const char* padding : {"", " ", "   "}) {  // the third is not aligned in every memory
    SafetensorsFile file;
    check_ok(parse(framed(header + padding, data), &file));
    CHECK(file.path() == "w.safetensors");
    CHECK(file.metadata() == Metadata{{"format", "pt"}});
    REQUIRE(file.entries().size() == 8);
    CHECK(file.entries()[0].name == "a");
    CHECK(file.entries()[7].name == "x");
    REQUIRE(file.find("b") != nullptr);
    CHECK(file.find("b")->dtype == "BF16");
    CHECK(file.find("b")->shape == Shape{2});
    CHECK(file.find("c") == nullptr);
    const SafetensorsFile moved = std::move(file);
    FloatTensor tensor;
    check_ok(moved.read("a", &tensor));
    CHECK(shape_of(tensor.view) == Shape{1, 2});
    CHECK(values_of(tensor.view) == std::vector<float>{1.5f, -2});
    CHECK(tensor.owned.empty() == ((header.size() + std::strlen(padding)) % 4 == 0));
    for (const char* name : {"h", "b"}) {
      check_ok(moved.read(name, &tensor));
      CHECK(values_of(tensor.view) == std::vector<float>{1, -2});
    }
    check_ok(moved.read("d", &tensor));
    CHECK(tensor.view.rank == 0);
    CHECK(tensor.view.data[0] == 0.25f);
    check_ok(moved.read("none", &tensor));
    CHECK(shape_of(tensor.view) == Shape{0, 3});
    CHECK(tensor.view.data != nullptr);
    check_error(moved.read("i", &tensor),
                "tensor 'i': dtype 'I64', expected F32, F16, BF16 or F64");
    check_error(moved.read("x", &tensor), "dtype 'F4_NEW'");
    check_error(moved.read("five", &tensor), "shape (1, 1, 1, 1, 0), expected at most four axes");
    check_error(moved.read("zz", &tensor), "tensor 'zz': there is none of that name");
  }
  SafetensorsFile file;
  check_ok(parse(framed("{}", ""), &file));
  CHECK(file.entries().empty());
  check_ok(parse(framed("{ \"a\\u00e9\\ud83d\\ude00\\n\\/\" :\t{\"dtype\":\"F32\",\"shape\":[ ],"
                        "\"data_offsets\":[0,4]}\r\n}  ", "four"), &file));
  CHECK(file.entries()[0].name == "a\xC3\xA9\xF0\x9F\x98\x80\n/");
}

TEST_CASE("io: safetensors errors") {
  SafetensorsFile file;
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    const Status status = parse(bytes, &file);
    check_error(status, part);
    check_error(status, "'w.safetensors': ");
    CHECK(file.entries().empty());
  };
  const auto header = [&](const std::string& text, const std::string& part) {
    refused(framed(text, "12345678"), part);
  };
  const auto tensor = [&](const std::string& fields, const std::string& part) {
    header("{\"t\":{" + fields + "}}", part);
  };
  refused("", "it is only 0 bytes long");
  refused("1234567", "it is only 7 bytes long");
  refused(raw<std::uint64_t>({3}) + "{}", "header is said to be 3 bytes long, but only 2 follow");
  refused(raw<std::uint64_t>({~0ull}) + "{}", "18446744073709551615 bytes long");
  refused(raw<std::uint64_t>({0}), "does not begin with '{'");
  header(" {}", "does not begin with '{'");
  header("[]", "does not begin with '{'");

  header("{", "header, byte 1: expected a string");
  header("{}x", "header, byte 2: expected nothing more");
  header("{\"t\"}", "expected ':'");
  header("{\"t\":1}", "expected an object");
  header("{,}", "expected a string");
  header("{\"t", "expected a closing quote");
  header("{\"t\n\"", "expected no control character");
  header("{\"\\q\"", "expected an escape that JSON knows");
  header("{\"\\", "expected an escape that JSON knows");
  header("{\"\\u12", "expected four hexadecimal digits");
  header("{\"\\u12g4\"", "expected four hexadecimal digits");
  for (const char* half : {"\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud800\\n"}) {
    header(std::string("{\"") + half + "\"", "expected a pair of surrogates");
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF8\x88\x80\x80\x80", "\xC3", "\xFF"}) {
    header(std::string("{\"") + bad + "\":{}}", "expected UTF-8 all through");
  }
  header("{\"__metadata__\":1}", "expected an object");
  header("{\"__metadata__\":{\"a\":1}}", "expected a string");
  header("{\"__metadata__\":{\"a\":{}}}", "expected a string");
  header("{\"__metadata__\":{},\"__metadata__\":{}}", "two members '__metadata__'");
  header(R"({"__metadata__":{"a":"1","a":"2"}})", "two metadata keys 'a'");
  header(std::string(100000, '{'), "header, byte 1: expected a string");
  std::string deep = "{";
  for (int i = 0; i < 100000; ++i) deep += "\"a\":{";
  header(deep, "tensor 'a': unknown field 'a'");

  const std::string entry = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  header("{\"t\":" + entry + ",}", "expected a string");
  header("{\"t\":" + entry + " \"u\":" + entry + "}", "expected ',' or '}'");
  header("{\"t\":" + entry + ",\"t\":" + entry + "}", "two tensors 't'");
  header("{\"t\":" + entry + ",\"u\":" + entry + "}", "begins at byte 0, expected 8");

  tensor(R"("shape":[2],"data_offsets":[0,8])", "tensor 't': no dtype");
  tensor(R"("dtype":"F32","data_offsets":[0,8])", "tensor 't': no shape");
  tensor(R"("dtype":"F32","shape":[2])", "tensor 't': no data_offsets");
  tensor(R"("dtype":"F32","dtype":"F32")", "tensor 't': two fields 'dtype'");
  tensor(R"("color":"red")", "tensor 't': unknown field 'color'");
  tensor(R"("dtype":4)", "expected a string");
  tensor(R"("shape":2)", "expected an array");
  tensor(R"("shape":[-2])", "expected a number of 0 or more");
  tensor(R"("shape":[2.0])", "expected an integer");
  tensor(R"("shape":[2e1])", "expected an integer");
  tensor(R"("shape":[02])", "expected a number without leading zeros");
  tensor(R"("shape":[9223372036854775808])", "expected a number below 2^63");
  tensor(R"("shape":[[2]])", "expected a number");
  tensor(R"("shape":[2,])", "expected a number");
  tensor(R"("shape":[2 2])", "expected ',' or ']'");
  tensor(R"("shape":[2)", "expected ',' or ']'");
  tensor(R"("data_offsets":[0])", "data_offsets are not two ascending numbers");
  tensor(R"("data_offsets":[0,4,8])", "data_offsets are not two ascending numbers");
  tensor(R"("data_offsets":[8,0])", "data_offsets are not two ascending numbers");
  tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])",
         "tensor 't': 8 bytes, expected 12 for shape (3,) of 'F32'");
  tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])", "8 bytes, expected 4");
  tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])", "is too large");
  tensor(R"("dtype":"F32","shape":[9223372036854775807,0],"data_offsets":[0,0])", "is too large");
  tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])",
         "the tensors take 12 bytes, but 8 follow the header");
  tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", "take 4 bytes, but 8 follow");
  tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", "begins at byte 4, expected 0");
  tensor(R"("dtype":"?","shape":[1],"data_offsets":[0,9223372036854775807])",
         "take 9223372036854775807 bytes");
  header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
         R"("u":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})",
         "tensor 'u': begins at byte 3, expected 4");
  check_error(SafetensorsFile::open("/nonexistent/w", &file), "cannot open '/nonexistent/w'");
}

TEST_CASE("io: safetensors as written, byte for byte, and back") {
  const TemporaryFolder folder;
  const std::string path = folder / "w.safetensors";
  const float values[] = {1, -2, 3};
  check_ok(write_safetensors(path,
                             {{"half", {3}, values, "F16"},
                              {"line\n\"\\", {1, 3}, values, "F32"},
                              {"brain", {3, 1}, values, "BF16"},
                              {"none", {0, 2}, nullptr, "F32"}},
                             {{"by", "hand"}, {"a", "\x01"}}));
  std::string header =
      R"({"__metadata__":{"by":"hand","a":"\u0001"},)"
      R"("line\u000a\"\\":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},)"
      R"("none":{"dtype":"F32","shape":[0,2],"data_offsets":[12,12]},)"
      R"("half":{"dtype":"F16","shape":[3],"data_offsets":[12,18]},)"
      R"("brain":{"dtype":"BF16","shape":[3,1],"data_offsets":[18,24]}})";
  while (header.size() % 8 != 0) header += ' ';
  CHECK(content(path) ==
        framed(header, raw<float>({1, -2, 3}) + raw<std::uint16_t>({0x3C00, 0xC000, 0x4200}) +
                           raw<std::uint16_t>({0x3F80, 0xC000, 0x4040})));
  SafetensorsFile file;
  check_ok(SafetensorsFile::open(path, &file));
  CHECK(file.metadata() == Metadata{{"a", "\x01"}, {"by", "hand"}});
  for (const char* name : {"line\n\"\\", "half", "brain"}) {
    FloatTensor tensor;
    check_ok(file.read(name, &tensor));
    CHECK(values_of(tensor.view) == std::vector<float>{1, -2, 3});
  }
  check_ok(write_safetensors(path, {}));  // the mapped file above is not touched by the renaming
  CHECK(file.find("half")->end == 18);
  check_ok(SafetensorsFile::open(path, &file));
  CHECK(file.entries().empty());

  check_error(write_safetensors(path, {{"t", {1}, values, "I64"}}), "expected F32, F16 or BF16");
  check_error(write_safetensors(path, {{"t", {-1}, values}}), "expected sizes of 0 or more");
  check_error(write_safetensors(path, {{"t", {1}, values}, {"t", {1}, values}}), "two names 't'");
  check_error(write_safetensors(path, {{"__metadata__", {1}, values}}), "two names '__metadata__'");
  check_error(write_safetensors(path, {}, {{"a", "1"}, {"a", "2"}}), "two names 'a'");
  check_error(write_safetensors(path, {{"\xFF", {1}, values}}), "expected UTF-8");
  check_error(write_safetensors(path, {}, {{"a", "\xFF"}}), "metadata 'a': expected UTF-8");
  check_error(write_safetensors(folder / "no/w", {}), "no/w': No such file");
  CHECK(folder.names() == std::vector<std::string>{"w.safetensors"});
}

// ---------------------------------------------------------------------------------------------
// Names of layers

struct Named {
  std::string name;
  Shape shape;
};

/// A file whose elements count up from 0 over all tensors in the order given.
SafetensorsFile file_of(const std::vector<Named>& tensors) {
  std::string header = "{", data;
  float next = 0;
  for (const Named& tensor : tensors) {
    std::int64_t count = 1;
    std::string sizes;
    for (std::int64_t size : tensor.shape) {
      count *= size;
      sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    }
    const std::size_t begin = data.size();
    for (std::int64_t i = 0; i < count; ++i) data += raw<float>({next++});
    header += (header.size() > 1 ? ",\"" : "\"") + tensor.name +
              R"(":{"dtype":"F32","shape":[)" + sizes + "],\"data_offsets\":[" +
              std::to_string(begin) + "," + std::to_string(data.size()) +
              "]}";
  }
  SafetensorsFile file;
  check_ok(parse(framed(header + "}", data), &file));
  return file;
}

std::vector<Named> prefixed(const std::string& prefix, std::vector<Named> tensors) {
  for (Named& tensor : tensors) tensor.name = prefix + tensor.name;
  return tensors;
}

std::vector<Named> operator+(std::vector<Named> a, const std::vector<Named>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// The element that a view begins with, and its shape.
void check_view(const ConstTensorView& view, float first, const Shape& shape) {
  REQUIRE(!view.absent());
  CHECK(view.data[0] == first);
  CHECK(shape_of(view) == shape);
  CHECK(view.strides[view.rank - 1] == 1);
}

TEST_CASE("io: layers by each convention") {
  struct Case {
    const char* convention;
    std::vector<std::string> weights, biases;
  };
  const std::vector<Case> cases = {
      {"D2L", {"W_q.weight", "W_k.weight", "W_v.weight", "W_o.weight"},
       {"W_q.bias", "W_k.bias", "W_v.bias", "W_o.bias"}},
      {"BERT",
       {"self.query.weight", "self.key.weight", "self.value.weight", "output.dense.weight"},
       {"self.query.bias", "self.key.bias", "self.value.bias", "output.dense.bias"}},
      {"Llama", {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"},
       {"q_proj.bias", "k_proj.bias", "v_proj.bias", "o_proj.bias"}},
      {"CLIP", {"q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight"},
       {"q_proj.bias", "k_proj.bias", "v_proj.bias", "out_proj.bias"}}};
  for (const Case& each : cases) {
    // E = 4; queries of 2, keys of 3, values of 5. Elements begin at 0, 8, 20, 40; biases at 56.
    const std::vector<Named> weights = {
        {each.weights[0], {4, 2}}, {each.weights[1], {4, 3}}, {each.weights[2], {4, 5}},
        {each.weights[3], {4, 4}}};
    for (unsigned present = 0; present < 16; ++present) {
      std::vector<Named> tensors = weights;
      float first[4], next = 56;
      for (unsigned i = 0; i < 4; ++i) {
        first[i] = next;
        if (present >> i & 1) {
          tensors.push_back({each.biases[i], {4}});
          next += 4;
        }
      }
      for (const char* written : {"", "enc.0.", "enc.0"}) {
        const std::string prefix = written[0] == '\0' ? "" : "enc.0.";
        const SafetensorsFile file = file_of(prefixed(prefix, tensors));
        LayerWeights layer;
        check_ok(find_layer(file, written, &layer));
        CHECK(std::string(layer.convention) == each.convention);
        check_view(layer.weights.query, 0, {4, 2});
        check_view(layer.weights.key, 8, {4, 3});
        check_view(layer.weights.value, 20, {4, 5});
        check_view(layer.weights.output, 40, {4, 4});
        const ConstTensorView biases[] = {layer.weights.query_bias, layer.weights.key_bias,
                                          layer.weights.value_bias, layer.weights.output_bias};
        for (unsigned i = 0; i < 4; ++i) {
          if (present >> i & 1) check_view(biases[i], first[i], {4});
          else CHECK(biases[i].absent());
        }
        CHECK(layer.config.bias == (present != 0));
        CHECK(layer.config.query_size == 2);
        CHECK(layer.config.key_size == 3);
        CHECK(layer.config.value_size == 5);
        CHECK(layer.config.num_hiddens == 4);
        CHECK(layer.config.num_heads == 0);
        CHECK(layer.key_value_hiddens == 4);
      }
    }
  }
}

TEST_CASE("io: layers of torch") {
  const std::vector<Named> packed = {{"in_proj_weight", {6, 2}}, {"out_proj.weight", {2, 2}}};
  const std::vector<Named> biases = {{"in_proj_bias", {6}}, {"out_proj.bias", {2}}};
  LayerWeights layer;
  {
    const SafetensorsFile file = file_of(packed + biases);
    check_ok(find_layer(file, "", &layer));
    CHECK(std::string(layer.convention) == "torch");
    check_view(layer.weights.query, 0, {2, 2});
    check_view(layer.weights.key, 4, {2, 2});
    check_view(layer.weights.value, 8, {2, 2});
    check_view(layer.weights.output, 12, {2, 2});
    check_view(layer.weights.query_bias, 16, {2});
    check_view(layer.weights.key_bias, 18, {2});
    check_view(layer.weights.value_bias, 20, {2});
    check_view(layer.weights.output_bias, 22, {2});
    CHECK(layer.config.bias);
  }
  {
    const SafetensorsFile file = file_of(packed);
    check_ok(find_layer(file, "", &layer));
    CHECK(!layer.config.bias);
    CHECK(layer.weights.query_bias.absent());
  }
  const std::vector<Named> separate = {{"q_proj_weight", {2, 2}}, {"k_proj_weight", {2, 3}},
                                       {"v_proj_weight", {2, 4}}, {"out_proj.weight", {2, 2}}};
  {
    const SafetensorsFile file = file_of(separate + biases);
    check_ok(find_layer(file, "", &layer));
    CHECK(std::string(layer.convention) == "torch (separate)");
    check_view(layer.weights.query, 0, {2, 2});
    check_view(layer.weights.key, 4, {2, 3});
    check_view(layer.weights.value, 10, {2, 4});
    check_view(layer.weights.output, 18, {2, 2});
    check_view(layer.weights.query_bias, 22, {2});
    check_view(layer.weights.key_bias, 24, {2});
    check_view(layer.weights.value_bias, 26, {2});
    check_view(layer.weights.output_bias, 28, {2});
    CHECK(layer.config.key_size == 3);
    CHECK(layer.config.value_size == 4);
  }
  const std::vector<Named> both(separate.begin(), separate.end() - 1);
  check_error(find_layer(file_of(packed + both), "", &layer), "as torch and as torch (separate)");
}

TEST_CASE("io: a layer is chosen, and its sizes are checked") {
  const std::vector<Named> good = {{"a.q_proj.weight", {4, 3}}, {"a.k_proj.weight", {4, 3}},
                                   {"a.v_proj.weight", {4, 3}}, {"a.o_proj.weight", {4, 4}}};
  LayerWeights layer;
  const auto refused = [&](std::vector<Named> tensors, std::size_t which, const Shape& shape,
                           const std::string& part) {
    tensors[which].shape = shape;
    const Status status = find_layer(file_of(tensors), "a", &layer);
    check_error(status, part);
    check_error(status, "tensor '" + tensors[which].name + "'");
  };
  refused(good, 0, {12}, "tensor 'a.q_proj.weight': shape (12,), expected (*, *)");
  refused(good, 0, {0, 3}, "shape (0, 3), expected (*, *)");
  refused(good, 1, {3, 4}, "shape (3, 4), expected 4 rows as the query's, or a divisor of that");
  refused(good, 1, {0, 3}, "expected (*, *)");
  refused(good, 2, {3, 4}, "shape (3, 4), expected (4, *)");
  refused(good, 3, {4, 3}, "shape (4, 3), expected (*, 4)");
  refused(good, 3, {4, 4, 1}, "expected (*, 4)");
  refused(good + std::vector<Named>{{"a.k_proj.bias", {4}}}, 4, {3}, "shape (3,), expected (4,)");
  const std::vector<Named> d2l = {{"a.W_q.weight", {4, 3}}, {"a.W_k.weight", {4, 3}},
                                  {"a.W_v.weight", {4, 3}}, {"a.W_o.weight", {4, 4}}};
  refused(d2l, 1, {2, 3}, "shape (2, 3), expected (4, *)");
  refused(d2l, 3, {3, 4}, "shape (3, 4), expected (4, 4)");
  const std::vector<Named> packed = {{"a.in_proj_weight", {6, 2}}, {"a.out_proj.weight", {2, 2}},
                                     {"a.in_proj_bias", {6}}};
  refused(packed, 0, {5, 2}, "shape (5, 2), expected 2 rows of queries, as wide as 'out_proj.weight' asks, and as many of keys and of values");
  refused(packed, 2, {5}, "shape (5,), expected (6,)");
  CHECK(layer.config.num_hiddens == 0);  // untouched by all these errors

  // Grouped heads: fewer rows of keys and values.
  std::vector<Named> grouped = good;
  grouped[1].shape = grouped[2].shape = {2, 3};
  check_ok(find_layer(file_of(grouped), "a", &layer));
  CHECK(layer.config.num_hiddens == 4);
  CHECK(layer.key_value_hiddens == 2);
  CHECK(!layer.config.qk_norm);

  // Norms of heads, and an output as wide as the model.
  grouped[3].shape = {6, 4};
  check_ok(find_layer(file_of(grouped + std::vector<Named>{{"a.q_norm.weight", {2}}, {"a.k_norm.weight", {2}}}), "a", &layer));
  CHECK(layer.config.qk_norm);
  CHECK(layer.config.output_size == 6);
  CHECK(layer.weights.query_norm.sizes[0] == 2);
  CHECK(layer.weights.key_norm.sizes[0] == 2);
  refused(good + std::vector<Named>{{"a.k_norm.weight", {2}}}, 4, {2, 1}, "shape (2, 1), expected (*,)");

  const std::vector<Named> other = {{"a.out_proj.weight", {4, 4}}};
  check_error(find_layer(file_of(good + other), "a", &layer),
              "two layers under prefix 'a', named as Llama and as CLIP name them");
  check_error(find_layer(file_of(good + d2l), "a.", &layer), "named as D2L and as Llama");

  std::string header = R"({"a.W_q.weight":{"dtype":"I32","shape":[1,1],"data_offsets":[0,4]})";
  int end = 4;
  for (const char* name : {"a.W_k.weight", "a.W_v.weight", "a.W_o.weight"}) {
    header += std::string(",\"") + name + R"(":{"dtype":"F32","shape":[1,1],"data_offsets":[)" +
              std::to_string(end) + "," + std::to_string(end + 4) + "]}";
    end += 4;
  }
  SafetensorsFile file;
  check_ok(parse(framed(header + "}", std::string(16, '\0')), &file));
  check_error(find_layer(file, "a", &layer), "tensor 'a.W_q.weight': dtype 'I32'");
}

TEST_CASE("io: what is beside the projections of a layer") {
  const std::vector<Named> good = {{"a.q_proj.weight", {4, 3}}, {"a.k_proj.weight", {4, 3}},
                                   {"a.v_proj.weight", {4, 3}}, {"a.o_proj.weight", {4, 4}}};
  LayerWeights layer;
  check_ok(find_layer(file_of(good + std::vector<Named>{{"ab", {1}}, {"b.sinks", {1}}}), "a", &layer));
  CHECK(layer.unused.empty());
  CHECK(layer.sinks.view.absent());
  CHECK(layer.relative_bias.view.absent());
  CHECK(layer.scale == 0.0f);

  // All that the layer does not use is listed, whatever it is.
  const std::vector<Named> others = {{"a.bias_k", {1}},      {"a.logit_scale", {}}, {"a.q_norm.bias", {2}},
                                     {"a.q_proj.bias2", {4}}, {"a.self.distance_embedding.weight", {1}}};
  std::vector<std::string> names;
  for (const Named& other : others) names.push_back(other.name);
  check_ok(find_layer(file_of(good + others), "a", &layer));
  CHECK(layer.unused == names);
  check_ok(find_layer(file_of(prefixed("", {{"W_q.weight", {4, 3}}, {"W_k.weight", {4, 3}}, {"W_v.weight", {4, 3}},
                                            {"W_o.weight", {4, 4}}, {"x.y", {1}}})), "", &layer));
  CHECK(layer.unused == std::vector<std::string>{"x.y"});

  // A norm of one side.
  for (const bool queries : {true, false}) {
    check_ok(find_layer(file_of(good + std::vector<Named>{{queries ? "a.q_norm.weight" : "a.k_norm.weight", {2}}}), "a", &layer));
    CHECK(layer.config.qk_norm);
    CHECK(layer.config.norm_queries == queries);
    CHECK(layer.config.norm_keys != queries);
    CHECK(layer.weights.query_norm.absent() != queries);
    CHECK(layer.weights.key_norm.absent() == queries);
  }

  const SafetensorsFile file = file_of(good + std::vector<Named>{{"a.sinks", {2}}, {"a.relative_attention_bias.weight", {8, 2}}});
  check_ok(find_layer(file, "a", &layer));
  check_view(layer.sinks.view, 52, {2});
  check_view(layer.relative_bias.view, 54, {8, 2});
  CHECK(layer.unused.empty());
  check_error(find_layer(file_of(good + std::vector<Named>{{"a.sinks", {2, 1}}}), "a", &layer), "tensor 'a.sinks': shape (2, 1), expected (*,)");

  const std::vector<Named> t5 = {{"q.weight", {4, 3}}, {"k.weight", {4, 3}}, {"v.weight", {4, 3}}, {"o.weight", {6, 4}}, {"q.bias", {4}}};
  const SafetensorsFile of_t5 = file_of(t5);
  check_ok(find_layer(of_t5, "", &layer));
  CHECK(std::string(layer.convention) == "T5");
  CHECK(layer.scale == 1.0f);
  CHECK(layer.config.output_size == 6);
  CHECK(!layer.config.bias);
  CHECK(layer.unused == std::vector<std::string>{"q.bias"});
}

TEST_CASE("io: where there is no layer, the nearest ones are named") {
  std::vector<Named> tensors;
  for (int i : {0, 1, 2, 11}) {
    const std::string prefix = "bert.encoder.layer." + std::to_string(i) + ".attention.";
    tensors = tensors + prefixed(prefix, {{"self.query.weight", {2, 2}},
                                          {"self.key.weight", {2, 2}},
                                          {"self.value.weight", {2, 2}},
                                          {"output.dense.weight", {2, 2}}});
  }
  tensors = tensors + std::vector<Named>{{"pooler.q_proj.weight", {2, 2}}, {"W_q.weight", {2, 2}}};
  const SafetensorsFile file = file_of(tensors);
  LayerWeights layer;
  check_error(find_layer(file, "encoder.layer.2.attention", &layer),
              "no attention layer under prefix 'encoder.layer.2.attention'; try "
              "'bert.encoder.layer.2.attention', 'bert.encoder.layer.0.attention', "
              "'bert.encoder.layer.1.attention', 'bert.encoder.layer.11.attention'");
  check_error(find_layer(file, "bert.encoder.layer.11", &layer),
              "; try 'bert.encoder.layer.11.attention', 'bert.encoder.layer.1.attention'");
  check_error(find_layer(file, "pooler.", &layer),
              "under prefix 'pooler' (Llama names lack 'k_proj.weight'); try 'bert.");
  check_error(find_layer(file_of({{"x", {1}}}), "", &layer),
              "under prefix '' or another; there are 'x'; names known: D2L, torch, ");
  const SafetensorsFile small =
      file_of({{"x.in_proj_weight", {3, 1}}, {"x.out_proj.weight", {1, 1}}});
  check_error(find_layer(small, ".", &layer), "under prefix ''; try 'x'");
  check_error(find_layer(file, std::string(100000, 'x'), &layer), "...");
}

TEST_CASE("io: mutated safetensors files never crash") {
  std::mt19937 random(3);
  const TemporaryFolder folder;
  const float values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::string path = folder / "w";
  check_ok(write_safetensors(path,
                             {{"a.in_proj_weight", {3, 1}, values, "F32"},
                              {"a.out_proj.weight", {1, 1}, values, "F16"},
                              {"b", {0, 3}, values, "BF16"}},
                             {{"format", "pt"}}));
  const std::vector<Bytes> seeds = {
      bytes_of(content(path)),
      bytes_of(framed(R"({"\u00e9":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"))};
  int accepted = 0, layers = 0;
  double sum = 0;
  for (int round = 0; round < 40000; ++round) {
    SafetensorsFile file;
    const Bytes& seed = seeds[static_cast<std::size_t>(round) % seeds.size()];
    if (!SafetensorsFile::parse(mutated(seed, random), "w", &file).ok()) continue;
    ++accepted;
    for (const SafetensorsEntry& entry : file.entries()) {
      FloatTensor tensor;
      if (!file.read(entry.name, &tensor).ok()) continue;
      for (float value : values_of(tensor.view)) sum += std::isfinite(value) ? value : 0;
    }
    LayerWeights layer;
    layers += find_layer(file, "a", &layer).ok();
  }
  CHECK(accepted > 100);
  CHECK(accepted < 38000);
  CHECK(layers > 20);
  CHECK(!std::isnan(sum));
}

}  // namespace
