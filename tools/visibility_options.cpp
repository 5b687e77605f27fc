// What a verb's flags say of masks, causal and empty rows.
#include "visibility_options.h"

#include <cmath>

#include "failure.h"
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

// Where the first of four axes is the batch, a part of it.
template <class Element>
View<Element> part_of(const View<Element>& mask, std::int64_t batch, std::int64_t first, std::int64_t count) {
  if (mask.rank < 4 || mask.sizes[0] == 1) return mask;
  if (mask.sizes[0] == batch) return entries_of(mask, first, count);
  throw Failure(format("--mask: its first axis is %lld, expected 1 or the batch, %lld", static_cast<long long>(mask.sizes[0]),
                       static_cast<long long>(batch)));
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
  if (options.causal && j > i + options.offset) return true;
  if (!options.mask.absent() && at(options.mask, head, i, j) == 0) return true;
  return !options.additive_mask.absent() && at(options.additive_mask, head, i, j) == -INFINITY;
}

VisibilityOptions::VisibilityOptions(const Arguments& arguments) {
  const std::int64_t most = std::int64_t{1} << 40;
  given_.causal = arguments.has("--causal");
  given_.offset = arguments.integer("--causal-offset", 0, -most, most);
  given_.empty_rows = empty_rows_of(arguments);
  const std::string path = arguments.text("--mask");
  if (path.empty()) return;
  io::Array array;
  require(io::read_npy(path, &array));
  if (array.type == io::ElementType::boolean) {
    bool_mask_ = std::move(array);
    given_.mask = io::contiguous_view<const std::uint8_t>(bool_mask_.bytes.data(), bool_mask_.shape);
  } else {
    additive_mask_.array = std::move(array);
    require(io::to_float32(additive_mask_.array, &additive_mask_.tensor));
    given_.additive_mask = additive_mask_.view();
  }
}

void VisibilityOptions::apply(AttentionOptions* options, std::int64_t batch, std::int64_t first, std::int64_t count) const {
  options->causal = given_.causal;
  options->offset = given_.offset;
  options->empty_rows = given_.empty_rows;
  options->mask = part_of(given_.mask, batch, first, count);
  options->additive_mask = part_of(given_.additive_mask, batch, first, count);
}

}  // namespace attend::tool
