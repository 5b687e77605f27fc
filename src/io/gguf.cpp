// Named tensors and facts of a model in GGUF files, ggml's format.
#include "attend/io.hpp"

#include "io/blocks.h"
#include "io/guarded.h"
#include "io/json.h"
#include "io/recognise.h"
#include "io/shape.h"
#include "io/text.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace attend::io {

namespace {

// The file: "GGUF", a version (uint32), the numbers of tensors and of values (uint64); the values: a key, a type (uint32), a value; the
// tensors: a name, the number of axes (uint32), their sizes, the innermost first (uint64), a type (uint32), where the bytes begin
// (uint64). Then, aligned, the tensors' bytes. A text is its length (uint64) and its bytes; an array a type, a length, its elements.
constexpr std::string_view magic = "GGUF";
constexpr std::uint64_t default_alignment = 32, most_text = 4096, most_numbers = 4096;

enum Kind : std::uint32_t { boolean = 7, text_kind = 8, array_kind = 9, kinds = 13 };
constexpr std::size_t kind_bytes[kinds] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // unsigned and signed by turns, float32, bool, .., float64

/// A type of tensors: how many elements a block has, and bytes.
struct Type {
  std::uint32_t number;
  const char* name;
  std::int64_t elements;
  std::size_t bytes;
};
constexpr Type types[] = {{0, "F32", 1, 4},      {1, "F16", 1, 2},      {2, "Q4_0", 32, 18},   {3, "Q4_1", 32, 20},   {6, "Q5_0", 32, 22},
                          {7, "Q5_1", 32, 24},   {8, "Q8_0", 32, 34},   {9, "Q8_1", 32, 40},   {10, "Q2_K", 256, 84}, {11, "Q3_K", 256, 110},
                          {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210}, {24, "I8", 1, 1},      {25, "I16", 1, 2},
                          {26, "I32", 1, 4},     {27, "I64", 1, 8},     {28, "F64", 1, 8},     {30, "BF16", 1, 2}};

/// Reads a header from front to back; after the first read beyond the end, all give zeros and `cut` is true.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool cut() const { return cut_; }
  std::size_t at() const { return at_; }

  std::string_view take(std::uint64_t count) {
    if (cut_ || count > bytes_.size() - at_) {
      cut_ = true;
      return {};
    }
    const std::string_view taken = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += taken.size();
    return taken;
  }
  template <class Number>
  Number number() {
    Number value{};
    const std::string_view taken = take(sizeof value);
    if (!cut_) std::memcpy(&value, taken.data(), sizeof value);
    return value;
  }
  std::string_view text() { return take(number<std::uint64_t>()); }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
  bool cut_ = false;
};

double number_of(Reader& reader, std::uint32_t kind) {
  switch (kind) {
    case 0: return reader.number<std::uint8_t>();
    case 1: return reader.number<std::int8_t>();
    case 2: return reader.number<std::uint16_t>();
    case 3: return reader.number<std::int16_t>();
    case 4: return reader.number<std::uint32_t>();
    case 5: return reader.number<std::int32_t>();
    case 6: return static_cast<double>(reader.number<float>());
    case boolean: return reader.number<std::uint8_t>() != 0;
    case 10: return static_cast<double>(reader.number<std::uint64_t>());
    case 11: return static_cast<double>(reader.number<std::int64_t>());
    default: return reader.number<double>();
  }
}

/// Reads where a value's elements lie. False where their kind is none that there is.
bool read_value(Reader& reader, GgufValue* value) {
  value->kind = reader.number<std::uint32_t>();
  value->is_array = value->kind == array_kind;
  if (value->is_array) {
    value->kind = reader.number<std::uint32_t>();
    value->count = reader.number<std::uint64_t>();
  }
  if (reader.cut()) return true;
  if (value->kind >= kinds || value->kind == array_kind) return false;
  if (value->kind == text_kind) {
    Reader texts = reader;
    const std::size_t begin = reader.at();
    for (std::uint64_t i = 0; i < value->count && !reader.cut(); ++i) reader.text();
    value->elements = texts.take(reader.at() - begin);
  } else {
    const std::uint64_t bytes = kind_bytes[value->kind];
    value->elements = reader.take(value->count > UINT64_MAX / bytes ? UINT64_MAX : value->count * bytes);
  }
  return true;
}

/// The numbers of a value that is not long; none of others, nor of texts.
std::vector<double> numbers_of(const GgufValue& value, std::uint64_t most = most_numbers) {
  std::vector<double> numbers;
  if (value.kind == text_kind || value.count > most) return numbers;
  Reader reader(value.elements);
  for (std::uint64_t i = 0; i < value.count; ++i) numbers.push_back(number_of(reader, value.kind));
  return numbers;
}

/// A text that is not long; nothing of others.
std::string text_of(const GgufValue& value) {
  if (value.kind != text_kind || value.is_array) return "";
  const std::string_view text = Reader(value.elements).text();
  return text.size() <= most_text && is_utf8(text) ? std::string(text) : "";
}

const GgufValue* find(const std::vector<GgufValue>& values, std::string_view key) {
  const auto found = std::find_if(values.begin(), values.end(), [&](const GgufValue& value) { return value.key == key; });
  return found == values.end() ? nullptr : &*found;
}

/// A number of a model, at most 2^100: of the file, or as it is.
Status read_fact(const std::string& path, const std::vector<GgufValue>& values, const std::string& key, double lowest, double* fact) {
  const GgufValue* value = find(values, key);
  if (value == nullptr) return {};
  const std::vector<double> numbers = numbers_of(*value);
  if (numbers.size() != 1 || !(numbers[0] >= lowest && numbers[0] <= 0x1p100)) {
    return file_error(path, key + ": expected a number of at least " + std::to_string(static_cast<int>(lowest)));
  }
  *fact = numbers[0];
  return {};
}

/// A count, or one for each layer.
Status read_counts(const std::string& path, const std::vector<GgufValue>& values, const std::string& key, std::vector<std::int64_t>* counts) {
  const GgufValue* value = find(values, key);
  if (value == nullptr) return {};
  for (const double number : numbers_of(*value)) {
    if (!(number >= 0.0 && number <= 0x1p32)) return file_error(path, key + ": expected counts");
    counts->push_back(static_cast<std::int64_t>(number));
  }
  return counts->empty() ? file_error(path, key + ": expected counts") : Status();
}

Status read_model(const std::string& path, const std::vector<GgufValue>& values, ModelFacts* model) {
  const GgufValue* name = find(values, "general.architecture");
  if (name != nullptr) model->architecture = text_of(*name);
  if (model->architecture.empty()) return file_error(path, "no general.architecture, which says whose model it is");
  const std::string of = model->architecture + '.', attention = of + "attention.", rotary = of + "rope.";
  double head_width = 0.0, rotary_width = 0.0;
  const struct {
    std::string key;
    double lowest;
    double* fact;
  } numbers[] = {{attention + "key_length", 1.0, &head_width},      {attention + "layer_norm_rms_epsilon", 0.0, &model->norm_epsilon},
                 {attention + "scale", 0.0, &model->scale},         {of + "attn_logit_softcapping", 0.0, &model->softcap},
                 {rotary + "dimension_count", 0.0, &rotary_width},  {rotary + "freq_base", 1.0, &model->rotary_base},
                 {rotary + "scaling.factor", 0.0, &model->rotary_factor}};
  for (const auto& number : numbers) {
    const Status status = read_fact(path, values, number.key, number.lowest, number.fact);
    if (!status.ok()) return status;
  }
  if (head_width > 0x1p32 || rotary_width > 0x1p32) return file_error(path, "heads of more than 2^32 elements");
  model->head_width = static_cast<std::int64_t>(head_width);
  model->rotary_width = static_cast<std::int64_t>(rotary_width);
  if (const GgufValue* scaling = find(values, rotary + "scaling.type")) model->rotary_scaling = text_of(*scaling);
  const Status status = read_counts(path, values, attention + "head_count", &model->num_heads);
  return status.ok() ? read_counts(path, values, attention + "head_count_kv", &model->num_kv_heads) : status;
}

/// Reads what the header says of a tensor, its bytes counted from the first tensor's.
Status read_entry(const std::string& path, Reader& reader, std::uint64_t alignment, TensorEntry* entry) {
  entry->name = reader.text();
  const std::string what = "tensor " + quoted(entry->name) + ": ";
  const std::uint32_t rank = reader.number<std::uint32_t>();
  if (reader.cut()) return {};
  if (!is_utf8(entry->name)) return file_error(path, "a tensor's name is not UTF-8");
  if (rank > max_rank) return file_error(path, what + std::to_string(rank) + " axes, expected at most four");
  for (std::uint32_t axis = 0; axis < rank; ++axis) {
    const std::uint64_t size = reader.number<std::uint64_t>();
    if (size > INT64_MAX) return file_error(path, what + "a size of " + std::to_string(size));
    entry->shape.insert(entry->shape.begin(), static_cast<std::int64_t>(size));
  }
  const std::uint32_t number = reader.number<std::uint32_t>();
  const std::uint64_t begin = reader.number<std::uint64_t>();
  if (reader.cut()) return {};
  const auto type = std::find_if(std::begin(types), std::end(types), [&](const Type& one) { return one.number == number; });
  const bool known = type != std::end(types);
  entry->dtype = known ? type->name : "type " + std::to_string(number);
  std::size_t bytes = 0;
  std::vector<std::int64_t> blocks = entry->shape;
  if (known && type->elements > 1) {
    if (blocks.empty() || blocks.back() % type->elements != 0) {
      return file_error(path, what + "shape " + shape_text(entry->shape) + ", expected rows of whole blocks of " + std::to_string(type->elements) + " in " + type->name);
    }
    blocks.back() /= type->elements;
  }
  if (!byte_count(blocks, known ? type->bytes : 1, &bytes) || !byte_count(entry->shape, sizeof(float), &entry->end)) {
    return file_error(path, what + "shape " + shape_text(entry->shape) + " is too large");
  }
  if (begin % alignment != 0) return file_error(path, what + "begins at byte " + std::to_string(begin) + ", expected a multiple of " + std::to_string(alignment));
  entry->begin = static_cast<std::size_t>(begin);
  entry->end = entry->begin + (known ? bytes : 0);
  if (entry->end < entry->begin) return file_error(path, what + "begins at byte " + std::to_string(begin) + ", beyond all files");
  return {};
}

}  // namespace

Status GgufFile::load(InputFile input, GgufFile* file) {
  const std::string path = input.path();
  const std::string_view bytes(reinterpret_cast<const char*>(input.data()), input.size());
  if (bytes.substr(0, magic.size()) != magic) return file_error(path, "not a GGUF file" + recognised(bytes, "llama.cpp's convert_hf_to_gguf.py writes .gguf"));
  Reader reader(bytes);
  reader.take(magic.size());
  const std::uint32_t version = reader.number<std::uint32_t>();
  if (!reader.cut() && version != 2 && version != 3) {
    return file_error(path, "GGUF of version " + std::to_string(version) + ", expected 2 or 3" + (version % 65536 == 0 ? " (its numbers are big-endian)" : ""));
  }
  const std::uint64_t num_tensors = reader.number<std::uint64_t>(), num_values = reader.number<std::uint64_t>();
  GgufFile loaded;
  std::vector<GgufValue>& values = loaded.values_;
  std::set<std::string_view> keys;
  for (std::uint64_t i = 0; i < num_values && !reader.cut(); ++i) {
    GgufValue value;
    value.key = reader.text();
    if (!is_utf8(value.key)) return file_error(path, "a value's key is not UTF-8");
    if (!read_value(reader, &value)) return file_error(path, "value " + quoted(value.key) + ": of no type that there is");
    if (!reader.cut() && !keys.insert(value.key).second) return file_error(path, "two values " + quoted(value.key));
    values.push_back(value);
  }
  double alignment = static_cast<double>(default_alignment);
  Status status;
  if (!reader.cut()) status = read_fact(path, values, "general.alignment", 1.0, &alignment);
  if (!status.ok()) return status;
  const std::uint64_t step = static_cast<std::uint64_t>(alignment < 0x1p20 ? alignment : 0x1p20);
  if (static_cast<double>(step) != alignment || (step & (step - 1)) != 0) return file_error(path, "general.alignment: expected a power of two, at most 2^20");

  for (std::uint64_t i = 0; i < num_tensors && !reader.cut(); ++i) {
    TensorEntry entry;
    status = read_entry(path, reader, step, &entry);
    if (!status.ok()) return status;
    if (!reader.cut()) loaded.entries_.push_back(std::move(entry));
  }
  if (reader.cut()) return file_error(path, "cut short: its header goes beyond its " + std::to_string(bytes.size()) + " bytes");
  status = read_model(path, values, &loaded.model_);
  if (!status.ok()) return status;
  const std::size_t data_begin = (reader.at() + step - 1) / step * step;
  const std::size_t size = bytes.size() - std::min(bytes.size(), data_begin);
  for (const TensorEntry& entry : loaded.entries_) {
    if (entry.end <= size) continue;
    return file_error(path, "tensor " + quoted(entry.name) + ": bytes " + std::to_string(entry.begin) + " to " + std::to_string(entry.end) + ", but only " + std::to_string(size) +
                                " follow the header");
  }
  status = loaded.sort_by_name(path);
  if (!status.ok()) return status;
  loaded.path_ = path;
  loaded.shards_.push_back({std::move(input), std::min(data_begin, bytes.size())});
  *file = std::move(loaded);
  return {};
}

const GgufValue* GgufFile::find_value(std::string_view key) const noexcept { return io::find(values_, key); }

Status GgufFile::read_texts(const std::string& key, std::vector<std::string_view>* texts) const noexcept {
  return guarded([&]() -> Status {
    const GgufValue* value = find_value(key);
    if (value == nullptr || value->kind != text_kind) return file_error(path(), value == nullptr ? "no " + key : key + ": expected texts");
    std::vector<std::string_view> read;
    Reader reader(value->elements);
    for (std::uint64_t i = 0; i < value->count; ++i) read.push_back(reader.text());
    *texts = std::move(read);
    return {};
  });
}

Status GgufFile::read_numbers(const std::string& key, std::vector<double>* numbers) const noexcept {
  return guarded([&]() -> Status {
    const GgufValue* value = find_value(key);
    if (value == nullptr || value->kind == text_kind) return file_error(path(), value == nullptr ? "no " + key : key + ": expected numbers");
    *numbers = numbers_of(*value, UINT64_MAX);
    return {};
  });
}

Status GgufFile::open(const std::string& path, GgufFile* file) noexcept {
  return guarded([&]() -> Status {
    if (file == nullptr) return Status::error(StatusCode::invalid_argument, "file: null");
    InputFile input;
    const Status status = InputFile::open(path, &input);
    return status.ok() ? load(std::move(input), file) : status;
  });
}

Status GgufFile::parse(std::vector<unsigned char> bytes, const std::string& name, GgufFile* file) noexcept {
  return guarded([&] { return load(InputFile(name, std::move(bytes)), file); });
}

}  // namespace attend::io
