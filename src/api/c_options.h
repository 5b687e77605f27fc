// What calls of the C API say of themselves, as C++ takes it: options, threads, and the arguments of a call of attention.
#pragma once

#include "api/c_structs.h"

namespace attend {

/// What a call of attention of any kind is given.
struct CallArguments {
  ConstTensorView queries, keys, values;
  IndexView counts;  // valid lengths, or how many rows there are
  TensorView output;
  AttentionOptions options;
  attend_workspace* workspace;
};

/// Null: the defaults. Neither is inlined where it is called.
Status read_options(const attend_options* given, AttentionOptions* options);
Status read_options(const attend_operation_options* given, OperationOptions* options);

/// A count of 0: 1.
inline Threads threads_of(const attend_threads& given) { return {given.count != 0 ? given.count : 1, given.parallel_for, given.pool}; }

/// Somewhere to point to for views of a call that is only asked for its bytes: no data is read.
template <class Element>
void stand_in(View<Element>* view) {
  static const Element somewhere = 0;
  if (view->data == nullptr && view->rank != 0) view->data = &somewhere;
}

}  // namespace attend
