/* Turns the arrays of Python into views of the C API: numpy's by __array_struct__, all others by DLPack.
 *
 * The package calls these functions through ctypes.PyDLL, which holds the interpreter's lock. They need no header and no
 * symbol of CPython: attend_python_begin is given the two functions that open a capsule. */
#include <attend/attend.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* What a view's elements are; as in _arrays.py. */
enum { FLOATS, INTEGERS, BOOLS };
/* What keeps an array from being a view; as in _arrays.py. */
enum { FINE, NO_ARRAY, OTHER_ELEMENTS, RANK, NEGATIVE_STRIDE, UNALIGNED, BYTE_SWAPPED, READ_ONLY, NOT_ON_CPU };

/* Where an array's view goes. All views have the layout of attend_const_tensor. */
typedef struct slot {
  attend_const_tensor *view;
  int64_t *strides; /* of 4 elements */
  int elements;
  int writable; /* not 0: an output */
} slot;

/* numpy's PyArrayInterface. */
typedef struct array_interface {
  int two;
  int rank;
  char kind;
  int element_bytes;
  int flags;
  intptr_t *sizes;
  intptr_t *byte_strides;
  void *data;
} array_interface;
enum { ALIGNED = 0x100, NOT_SWAPPED = 0x200, WRITABLE = 0x400 };

/* DLPack's DLTensor, with which a DLManagedTensor begins. */
typedef struct dl_tensor {
  void *data;
  int32_t device_type, device;
  int32_t rank;
  uint8_t kind, bits;
  uint16_t lanes;
  int64_t *sizes;
  int64_t *strides; /* in elements; NULL: contiguous */
  uint64_t byte_offset;
} dl_tensor;
/* What DLManagedTensorVersioned begins with; of version 1 on. */
typedef struct versioned_tensor {
  uint32_t major, minor;
  void *context, *deleter;
  uint64_t flags; /* the first: read-only */
  dl_tensor tensor;
} versioned_tensor;
enum { CPU = 1, CUDA_HOST = 3, ROCM_HOST = 11 };
enum { DL_INT = 0, DL_UINT = 1, DL_FLOAT = 2, DL_BOOL = 6 };

static int (*capsule_is_valid)(void *capsule, const char *name);
static void *(*capsule_pointer)(void *capsule, const char *name);
static void *none;

/* Takes PyCapsule_IsValid, PyCapsule_GetPointer and None. */
EXPORT void attend_python_begin(int (*is_valid)(void *, const char *), void *(*pointer)(void *, const char *), void *object) {
  capsule_is_valid = is_valid;
  capsule_pointer = pointer;
  none = object;
}

static int element_bytes(int elements) { return elements == FLOATS ? 4 : elements == INTEGERS ? 8 : 1; }

/* The view of so many elements at `data`; strides in units of `unit` bytes. */
static int fill(const slot *to, void *data, int rank, const int64_t *sizes, const int64_t *strides, int64_t unit) {
  static float nothing[2];
  const int bytes = element_bytes(to->elements);
  attend_const_tensor view;
  int empty = 0;
  if (rank < 1 || rank > 4) return RANK;
  memset(&view, 0, sizeof view);
  for (int axis = 0; axis < rank; ++axis) {
    view.sizes[axis] = sizes[axis];
    empty |= sizes[axis] == 0;
  }
  for (int axis = 0; strides != NULL && axis < rank; ++axis) {
    const int64_t stride = sizes[axis] <= 1 || empty ? 0 : strides[axis] * unit;
    if (stride < 0) return NEGATIVE_STRIDE;
    if (stride % bytes != 0) return UNALIGNED;
    to->strides[axis] = stride / bytes;
  }
  if (!empty && (uintptr_t)data % (uintptr_t)bytes != 0) return UNALIGNED;
  view.data = empty || data == NULL ? nothing : (const float *)data;
  view.rank = rank;
  view.strides = strides == NULL ? NULL : to->strides;
  *to->view = view;
  return FINE;
}

static int fill_from_interface(const slot *to, const array_interface *array) {
  const int bytes = element_bytes(to->elements);
  const int same_kind = to->elements == FLOATS     ? array->kind == 'f'
                        : to->elements == INTEGERS ? array->kind == 'i'
                                                   : array->kind == 'b' || array->kind == 'u';
  if (array->two != 2) return NO_ARRAY;
  if (!same_kind || array->element_bytes != bytes) return OTHER_ELEMENTS;
  if (!(array->flags & NOT_SWAPPED)) return BYTE_SWAPPED;
  if (to->writable && !(array->flags & WRITABLE)) return READ_ONLY;
  /* intptr_t is int64_t on all 64-bit CPUs, which are those of the wheels. */
  return fill(to, array->data, array->rank, (const int64_t *)array->sizes, (const int64_t *)array->byte_strides, 1);
}

static int fill_from_dlpack(const slot *to, const dl_tensor *tensor) {
  const int bytes = element_bytes(to->elements);
  const int same_kind = to->elements == FLOATS     ? tensor->kind == DL_FLOAT
                        : to->elements == INTEGERS ? tensor->kind == DL_INT
                                                   : tensor->kind == DL_BOOL || tensor->kind == DL_UINT;
  if (tensor->device_type != CPU && tensor->device_type != CUDA_HOST && tensor->device_type != ROCM_HOST) return NOT_ON_CPU;
  if (!same_kind || tensor->bits != 8 * bytes || tensor->lanes != 1) return OTHER_ELEMENTS;
  return fill(to, (char *)tensor->data + tensor->byte_offset, tensor->rank, tensor->sizes, tensor->strides, bytes);
}

static int fill_from_versioned(const slot *to, const versioned_tensor *array) {
  if (array->major != 1) return NO_ARRAY;
  if (to->writable && (array->flags & 1)) return READ_ONLY;
  return fill_from_dlpack(to, &array->tensor);
}

/* Has the slot's view see the array of a capsule, which stays the caller's; of None: an absent view. */
EXPORT int attend_python_view(const slot *to, void *capsule) {
  if (capsule == none) {
    memset(to->view, 0, sizeof *to->view);
    return FINE;
  }
  if (capsule_is_valid(capsule, NULL)) return fill_from_interface(to, capsule_pointer(capsule, NULL));
  if (capsule_is_valid(capsule, "dltensor")) return fill_from_dlpack(to, capsule_pointer(capsule, "dltensor"));
  if (capsule_is_valid(capsule, "dltensor_versioned")) return fill_from_versioned(to, capsule_pointer(capsule, "dltensor_versioned"));
  return NO_ARRAY;
}

/* The same for the first `count` of up to five slots. Returns 0, or 16 times the index of the first array that is none, plus
 * what keeps it from being one. */
EXPORT int attend_python_views(const slot *to, int count, void *a, void *b, void *c, void *d, void *e) {
  void *const capsules[5] = {a, b, c, d, e};
  for (int i = 0; i < count; ++i) {
    const int why = attend_python_view(&to[i], capsules[i]);
    if (why != FINE) return 16 * i + why;
  }
  return 0;
}
