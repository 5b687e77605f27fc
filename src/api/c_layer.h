// The layer of the C API.
#pragma once

#include "api/c_options.h"

namespace attend {

/// A const attend_mha* points to a layer, wherever it was made: attend_loaded_layer_mha gives one of libattend_io's.
inline const MultiHeadAttention& layer_of(const attend_mha* layer) { return *reinterpret_cast<const MultiHeadAttention*>(layer); }

}  // namespace attend
