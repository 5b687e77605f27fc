// Arrays of .npy files in C: attend_io.h in terms of io.hpp.
#include <attend/attend_io.h>

#include <attend/io.hpp>
#include <cstdlib>
#include <vector>

#include "api/c_structs.h"
#include "io/guarded.h"

namespace attend::io {

namespace {

template <class Element, class CView>
attend_code read(const char* path, const char* name, CView* array, attend_error* error) {
  if (path == nullptr) return report_null("path", error);
  if (array == nullptr) return report_null(name, error);
  const auto body = [&]() -> Status {
    Tensor<Element> tensor;
    const Status status = read_npy(path, &tensor);
    if (!status.ok()) return status;
    const std::size_t bytes = tensor.owned.size() * sizeof(Element);
    void* const memory = std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) return Status::error(StatusCode::out_of_memory, "%s: no memory for %zu bytes", path, bytes);
    if (bytes > 0) std::memcpy(memory, tensor.owned.data(), bytes);
    *array = c_view_of<CView>(tensor.view);
    array->data = static_cast<const Element*>(memory);
    array->strides = nullptr;
    return status;
  };
  return report(guarded(body), error);
}

Status check(const char* name, int rank, const std::int64_t* sizes, const void* data) {
  if (rank < 0 || rank > max_rank) return Status::error(StatusCode::invalid_argument, "%s: rank %d, expected 0 to %d", name, rank, max_rank);
  bool any = true;
  for (int axis = 0; axis < rank; ++axis) {
    if (sizes[axis] < 0) {
      return Status::error(StatusCode::invalid_argument, "%s: a size of %lld", name, static_cast<long long>(sizes[axis]));
    }
    any = any && sizes[axis] > 0;
  }
  return any && data == nullptr ? Status::error(StatusCode::invalid_argument, "%s: data is null", name) : Status();
}

// The elements of a view, row-major.
template <class Element>
std::vector<Element> elements_of(const View<const Element>& view) {
  std::size_t count = 1;
  for (int axis = 0; axis < view.rank; ++axis) count *= static_cast<std::size_t>(view.sizes[axis]);
  std::vector<Element> elements(count);
  for (std::size_t n = 0; n < count; ++n) {
    std::int64_t rest = static_cast<std::int64_t>(n), place = 0;
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      place += rest % view.sizes[axis] * view.strides[axis];
      rest /= view.sizes[axis];
    }
    elements[n] = view.data[place];
  }
  return elements;
}

template <class Element, class CView>
attend_code write(const char* path, ElementType type, const char* name, const CView* array, attend_error* error) {
  if (path == nullptr) return report_null("path", error);
  if (array == nullptr) return report_null(name, error);
  const auto body = [&]() -> Status {
    Status status = check(name, array->rank, array->sizes, array->data);
    if (!status.ok()) return status;
    const View<const Element> view = view_of(array);
    std::vector<Element> elements = elements_of(view);
    if (type == ElementType::boolean) {
      for (Element& element : elements) element = element != 0;
    }
    return write_npy(path, type, std::vector<std::int64_t>(view.sizes, view.sizes + view.rank), elements.data());
  };
  return report(guarded(body), error);
}

}  // namespace

}  // namespace attend::io

using namespace attend::io;

extern "C" {

attend_code attend_read_npy_floats(const char* path, attend_const_tensor* tensor, attend_error* error) {
  return read<float>(path, "tensor", tensor, error);
}
attend_code attend_read_npy_integers(const char* path, attend_indices* indices, attend_error* error) {
  return read<std::int64_t>(path, "indices", indices, error);
}
attend_code attend_read_npy_bools(const char* path, attend_bool_mask* mask, attend_error* error) {
  return read<std::uint8_t>(path, "mask", mask, error);
}

void attend_free(const void* data) { std::free(const_cast<void*>(data)); }

attend_code attend_write_npy_floats(const char* path, const attend_const_tensor* tensor, attend_error* error) {
  return write<float>(path, ElementType::float32, "tensor", tensor, error);
}
attend_code attend_write_npy_integers(const char* path, const attend_indices* indices, attend_error* error) {
  return write<std::int64_t>(path, ElementType::int64, "indices", indices, error);
}
attend_code attend_write_npy_bools(const char* path, const attend_bool_mask* mask, attend_error* error) {
  return write<std::uint8_t>(path, ElementType::boolean, "mask", mask, error);
}

}  // extern "C"
