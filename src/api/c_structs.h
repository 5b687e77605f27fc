// Structs of the C API as C++ takes them: of whatever size their caller knew, views, rotary embeddings, low precision; and what calls
// come to.
//
// All inline: libattend_io, which links nothing of the engine but its interface, takes them too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "attend/attend.h"
#include "attend/attend.hpp"  // defines the same version macros: a difference does not compile

namespace attend {

/// The code of a status; its message goes to *error, if there is one.
inline attend_code report(const Status& status, attend_error* error) {
  static_assert(static_cast<int>(StatusCode::out_of_memory) == ATTEND_OUT_OF_MEMORY, "the codes are the same");
  if (!status.ok() && error != nullptr) std::snprintf(error->message, sizeof error->message, "%s", status.message());
  return static_cast<attend_code>(status.code());
}

/// Not inlined, as all that is read before a call runs, so that it is no part of the stack under the kernels.
__attribute__((noinline)) inline attend_code report_null(const char* name, attend_error* error) {
  return report(Status::error(StatusCode::invalid_argument, "%s: null", name), error);
}

// ---------------------------------------------------------------------------------------------
// Structs that begin with their size

/// The size that the caller has set; what was not set is seldom a likely one. `name` is the argument's, `type` the struct's.
inline Status read_size(const char* name, const char* type, const void* given, std::size_t* size) {
  constexpr std::size_t largest = 1 << 16;
  if (given == nullptr) return Status::error(StatusCode::invalid_argument, "%s: null", name);
  std::memcpy(size, given, sizeof *size);
  if (*size >= sizeof *size && *size <= largest) return Status();
  return Status::error(StatusCode::invalid_argument, "%s.size: %zu, expected sizeof (%s)", name, *size, type);
}

/// Copies a struct to one of `known` bytes: what an older caller's lacks is zero, what a newer one has set beyond is an error.
inline Status complete(const char* name, const char* type, const void* given, std::size_t known, void* whole) {
  std::size_t size = 0;
  const Status status = read_size(name, type, given, &size);
  if (!status.ok()) return status;
  for (std::size_t byte = known; byte < size; ++byte) {
    if (static_cast<const char*>(given)[byte] == 0) continue;
    return Status::error(StatusCode::invalid_argument, "%s: sets a field of %s that this library (%s) does not know", name, type,
                         ATTEND_VERSION);
  }
  std::memset(whole, 0, known);
  std::memcpy(whole, given, size < known ? size : known);
  return status;
}
template <class Struct>
Status complete(const char* name, const char* type, const Struct* given, Struct* whole) {
  return complete(name, type, given, sizeof *whole, whole);
}

/// The other way round: as much of a struct as the caller's has room for, and zero beyond. Its size stays.
inline Status give_back(const char* name, const char* type, const void* whole, std::size_t known, void* given) {
  std::size_t size = 0;
  const Status status = read_size(name, type, given, &size);
  if (!status.ok()) return status;
  std::memset(given, 0, size);
  std::memcpy(given, whole, size < known ? size : known);
  std::memcpy(given, &size, sizeof size);
  return status;
}

// ---------------------------------------------------------------------------------------------
// Views

inline void copy_shape(int rank, const std::int64_t* sizes, const std::int64_t* strides, std::int64_t* to_sizes, std::int64_t* to_strides) {
  std::uint64_t stride = 1;  // unsigned: absurd sizes are for the callee to refuse
  for (int axis = (rank < max_rank ? rank : max_rank) - 1; axis >= 0; --axis) {
    to_sizes[axis] = sizes[axis];
    to_strides[axis] = strides != nullptr ? strides[axis] : static_cast<std::int64_t>(stride);
    stride *= static_cast<std::uint64_t>(sizes[axis]);
  }
}

/// Any of the kinds; null: absent.
template <class CView>
auto view_of(const CView* given) {
  View<std::remove_reference_t<decltype(*given->data)>> view;
  if (given == nullptr) return view;
  view.data = given->data;
  view.rank = given->rank;
  copy_shape(view.rank, given->sizes, given->strides, view.sizes, view.strides);
  return view;
}
template <class CView>
auto view_of(const CView& given) {
  return view_of(&given);
}

/// The other way round; its strides are the view's, which has to outlive it.
template <class CView, class Element>
CView c_view_of(const View<Element>& view) {
  CView given = {view.data, view.rank, {}, view.absent() ? nullptr : view.strides};
  for (int axis = 0; axis < max_rank; ++axis) given.sizes[axis] = view.sizes[axis];
  return given;
}

// ---------------------------------------------------------------------------------------------
// Rotary embeddings

/// Null: absent.
inline Status read_rotary(const attend_rotary_embedding* given, RotaryEmbedding* rotary) {
  if (given == nullptr) return Status();
  attend_rotary_embedding whole;
  const Status status = complete("rotary", "attend_rotary_embedding", given, &whole);
  if (!status.ok()) return status;
  rotary->inverse_frequencies = view_of(whole.inverse_frequencies);
  rotary->cosines = view_of(whole.cosines);
  rotary->sines = view_of(whole.sines);
  if (whole.attention_factor != 0.0f) rotary->attention_factor = whole.attention_factor;
  rotary->interleaved = whole.interleaved != 0;
  return status;
}

// ---------------------------------------------------------------------------------------------
// Low precision: matrices as files hold them, and the same pointer in either language.

/// Reads a matrix into `memory`, to which *stored points then; null: none.
__attribute__((noinline)) inline Status read_stored(const char* name, const attend_stored_matrix* given, StoredMatrix* memory, const StoredMatrix** stored) {
  if (given == nullptr) return Status();
  attend_stored_matrix whole;
  const Status status = complete(name, "attend_stored_matrix", given, &whole);
  if (!status.ok()) return status;
  memory->halves = view_of(whole.halves);
  memory->integers = view_of(whole.integers);
  memory->scales = view_of(whole.scales);
  memory->nibbles = view_of(whole.nibbles);
  memory->zeros = view_of(whole.zeros);
  *stored = memory;
  return status;
}

inline const LowPrecision* low_precision_of(const attend_low_precision* given) { return reinterpret_cast<const LowPrecision*>(given); }
inline const attend_low_precision* c_low_precision_of(const LowPrecision* given) { return reinterpret_cast<const attend_low_precision*>(given); }

}  // namespace attend
