// The flags of masks, causal, windows and empty rows.
#include "visibility_options.h"

#include <algorithm>
#include <cmath>

#include "failure.h"
#include "io/shape.h"
#include "io/text.h"
#include "text.h"

namespace attend::tool {

namespace {

EmptyRows empty_rows_of(const Arguments& arguments) {
  const std::string word = arguments.text("--empty-rows");
  if (word == "" || word == "zero") return EmptyRows::zero;
  if (word == "uniform") return EmptyRows::uniform;
  throw Failure("--empty-rows " + io::quoted(word) + " is neither zero nor uniform");
}

// A mask (B H, L, S), as nn.MultiheadAttention takes it, by entry and head; any other as it is. With one entry it is broadcast so.
template <class Element>
View<Element> by_entry(const View<Element>& mask, const std::int64_t (&shape)[4]) {
  const bool is_flat = mask.rank == 3 && shape[0] > 1 && mask.sizes[0] == shape[0] * shape[1];
  return is_flat && mask.sizes[1] == shape[2] && mask.sizes[2] == shape[3] ? mask.split(0, shape[0]) : mask;
}

// Some batch entries of an array whose first of four axes is the batch.
template <class Element>
View<Element> part_of(const View<Element>& mask, std::int64_t batch, std::int64_t first, std::int64_t count) {
  if (mask.rank < 4 || mask.sizes[0] == 1) return mask;
  if (mask.sizes[0] == batch) return mask.slice(0, first, count);
  throw Failure(format("--mask: its first axis is %lld, expected 1 or the batch, %lld", static_cast<long long>(mask.sizes[0]),
                       static_cast<long long>(batch)));
}

// Throws Failure unless the first axis is the batch.
template <class Element>
void require_entries(const char* flag, const View<Element>& view, std::int64_t batch) {
  if (view.absent() || view.sizes[0] == batch) return;
  throw Failure(format("%s: its first axis is %lld, expected the batch, %lld", flag, static_cast<long long>(view.sizes[0]),
                       static_cast<long long>(batch)));
}

// The array with a byte for each of its integers, which have to be 0 and 1.
io::Array bytes_of(const char* flag, const io::Array& integers) {
  io::Array mask;
  mask.type = io::ElementType::boolean;
  mask.shape = integers.shape;
  const auto append = [&](std::int64_t number) {
    if (number != 0 && number != 1) {
      throw Failure(format("%s %s: element %s is %lld, expected 0 or 1 among %s", flag, io::quoted(integers.name).c_str(),
                           place_text(integers.shape, mask.bytes.size()).c_str(), static_cast<long long>(number),
                           io::element_type_name(integers.type)));
    }
    mask.bytes.push_back(static_cast<unsigned char>(number));
  };
  if (integers.type == io::ElementType::uint8) {
    for (const unsigned char byte : integers.bytes) append(byte);
  } else {
    io::Int64Tensor numbers;
    require(io::to_int64(integers, &numbers));
    for (const std::int64_t number : numbers.owned) append(number);
  }
  return mask;
}

// Whether a mask holds only 0 and 1, and 1 somewhere: a mask of zeros adds nothing.
bool is_of_ones(const io::Array& mask, const float* numbers) {
  const std::size_t count = mask.bytes.size() / io::element_bytes(mask.type);
  const bool only = std::all_of(numbers, numbers + count, [](float number) { return number == 0.0f || number == 1.0f; });
  return only && std::count(numbers, numbers + count, 1.0f) > 0;
}

// The element that broadcasts to (0, head, i, j).
template <class Element>
Element at(const View<Element>& mask, std::int64_t head, std::int64_t i, std::int64_t j) {
  const std::int64_t index[] = {0, head, i, j};
  std::int64_t element = 0;
  for (int axis = 0; axis < mask.rank; ++axis) {
    if (mask.sizes[axis] > 1) element += index[4 - mask.rank + axis] * mask.strides[axis];
  }
  return mask.data[element];
}

}  // namespace

bool hidden(const AttentionOptions& options, std::int64_t head, std::int64_t i, std::int64_t j) {
  const std::int64_t position = i + options.offset;
  if (options.causal && j > position) return true;
  if (options.window_left >= 0 && j < position - options.window_left) return true;
  if (options.window_right >= 0 && j > position + options.window_right) return true;
  if (!options.valid_starts.absent() && j < options.valid_starts.data[0]) return true;
  if (!options.mask.absent() && (at(options.mask, head, i, j) != 0) == options.mask_hides) return true;
  const BoolMaskView& padding = options.key_padding_mask;
  if (!padding.absent() && (padding.data[j * padding.strides[1]] != 0) == options.mask_hides) return true;
  return !options.additive_mask.absent() && at(options.additive_mask, head, i, j) == -INFINITY;
}

void require_use_of_offset(const Arguments& arguments, const AttentionOptions& options, const RotaryEmbedding& rotary) {
  const bool hides = options.causal || options.window_left >= 0 || options.window_right >= 0;
  const bool biases = !options.alibi_slopes.absent() || !options.relative_position_bias.table.absent();
  if (!arguments.has("--causal-offset") || hides || biases || !rotary.absent()) return;
  throw Failure("--causal-offset is for --causal, windows, rotation and biases by position, and there is none");
}

VisibilityOptions::VisibilityOptions(const Arguments& arguments) {
  const std::int64_t most = std::int64_t{1} << 40;
  given_.causal = arguments.has("--causal");
  given_.offset = arguments.integer("--causal-offset", 0, -most, most);
  given_.window_left = arguments.integer("--window-left", -1, -1, most);
  given_.window_right = arguments.integer("--window-right", -1, -1, most);
  given_.empty_rows = empty_rows_of(arguments);
  given_.mask_hides = arguments.has("--mask-hides");
  if (arguments.has("--key-padding-mask")) {
    io::Array array;
    require(io::read_npy(arguments.text("--key-padding-mask"), &array));
    if (io::is_floating(array.type)) {
      throw Failure("--key-padding-mask " + io::quoted(array.name) + ": " + io::element_type_name(array.type) + ", expected bools or integers");
    }
    padding_mask_ = array.type == io::ElementType::boolean ? std::move(array) : bytes_of("--key-padding-mask", array);
    given_.key_padding_mask = io::contiguous_view<const std::uint8_t>(padding_mask_.bytes.data(), padding_mask_.shape);
  }
  if (arguments.has("--valid-starts")) {
    require(io::read_npy(arguments.text("--valid-starts"), &starts_));
    given_.valid_starts = starts_.view;
  }
  if (given_.mask_hides && !arguments.has("--mask") && !arguments.has("--key-padding-mask")) {
    throw Failure("--mask-hides is for masks, and neither --mask nor --key-padding-mask was given");
  }
  mask_path_ = arguments.text("--mask");
  if (mask_path_.empty()) return;
  io::Array array;
  require(io::read_npy(mask_path_, &array));
  of_integers_ = array.type != io::ElementType::boolean && !io::is_floating(array.type);
  if (of_integers_ || array.type == io::ElementType::boolean) {
    bool_mask_ = of_integers_ ? bytes_of("--mask", array) : std::move(array);
    given_.mask = io::contiguous_view<const std::uint8_t>(bool_mask_.bytes.data(), bool_mask_.shape);
  } else {
    additive_mask_.array = std::move(array);
    require(io::to_float32(additive_mask_.array, &additive_mask_.tensor));
    given_.additive_mask = additive_mask_.view();
    looks_like_bool_ = is_of_ones(additive_mask_.array, additive_mask_.view().data);
    if (given_.mask_hides && (looks_like_bool_ || given_.key_padding_mask.absent())) {
      throw Failure("--mask " + io::quoted(mask_path_) + " holds floats" + (looks_like_bool_ ? " of 0 and 1" : "") +
                    ", which would be added to the scores; with --mask-hides it has to hold bools or integers");
    }
  }
}

// The mask; a tokenizer's, which knows entries and keys alone, as (B, 1, 1, S).
BoolMaskView VisibilityOptions::bool_mask_of(std::int64_t batch, std::int64_t queries) const {
  const BoolMaskView& mask = given_.mask;
  if (!of_integers_ || mask.rank != 2 || mask.sizes[0] == 1 || mask.sizes[0] != batch) return mask;
  if (batch == queries) {
    throw Failure(format("--mask %s: integers of shape %s may be (B, S) or (L, S), as B and L are both %lld; expected --key-padding-mask, or four axes, (1, 1, L, S)",
                         io::quoted(mask_path_).c_str(), io::shape_text(bool_mask_.shape).c_str(), static_cast<long long>(batch)));
  }
  return BoolMaskView(mask.data, batch, 1, 1, mask.sizes[1]);
}

std::string VisibilityOptions::remark() const {
  if (!looks_like_bool_) return "";
  return "--mask " + io::quoted(mask_path_) + " holds only 0 and 1 as " + io::element_type_name(additive_mask_.array.type) +
         ", so that it was added to the scores; a bool mask would hide keys";
}

void VisibilityOptions::apply(AttentionOptions* options, const std::int64_t (&shape)[4], std::int64_t first, std::int64_t count) const {
  const std::int64_t batch = shape[0];
  options->causal = given_.causal;
  options->offset = given_.offset;
  options->window_left = given_.window_left;
  options->window_right = given_.window_right;
  options->empty_rows = given_.empty_rows;
  options->mask = part_of(by_entry(bool_mask_of(batch, shape[2]), shape), batch, first, count);
  options->additive_mask = part_of(by_entry(given_.additive_mask, shape), batch, first, count);
  options->mask_hides = given_.mask_hides;
  options->key_padding_mask = given_.key_padding_mask;
  options->valid_starts = given_.valid_starts;
  if (first == 0 && count == batch) return;
  require_entries("--key-padding-mask", given_.key_padding_mask, batch);
  require_entries("--valid-starts", given_.valid_starts, batch);
  options->key_padding_mask = given_.key_padding_mask.slice(0, first, count);
  options->valid_starts = given_.valid_starts.slice(0, first, count);
}

}  // namespace attend::tool
