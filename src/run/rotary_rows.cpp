// Computes the cosines and sines of rows, and turns rows by them.
#include "run/rotary_rows.h"

#include <math.h>

namespace attend {

RotaryRows RotaryRows::at(void* memory, const RotaryEmbedding& rotary, const IndexView& positions, std::int64_t batch,
                          std::int64_t rows) {
  const bool tables = rotary.inverse_frequencies.absent();
  return {static_cast<float*>(memory), positions.rank == 2 ? batch : 1, rows,
          tables ? rotary.cosines.sizes[1] : rotary.inverse_frequencies.sizes[0], rotary.interleaved};
}

void RotaryRows::fill(const RotaryEmbedding& rotary, std::int64_t b, std::int64_t i, std::int64_t position) const {
  float *cosine = cosines(b, i), *sine = cosine + pairs;
  const ConstTensorView& frequencies = rotary.inverse_frequencies;
  const double factor = static_cast<double>(rotary.attention_factor);
  for (std::int64_t n = 0; n < pairs && !frequencies.absent(); ++n) {
    const double angle =
        static_cast<double>(position) * static_cast<double>(frequencies.data[n * frequencies.strides[0]]);
    cosine[n] = static_cast<float>(cos(angle) * factor);
    sine[n] = static_cast<float>(sin(angle) * factor);
  }
  for (std::int64_t n = 0; n < pairs && frequencies.absent(); ++n) {
    cosine[n] = rotary.cosines.data[position * rotary.cosines.strides[0] + n * rotary.cosines.strides[1]];
    sine[n] = rotary.sines.data[position * rotary.sines.strides[0] + n * rotary.sines.strides[1]];
  }
}

void RotaryRows::rotate(const Kernels& kernels, std::int64_t b, std::int64_t i, const float* source,
                        std::int64_t source_stride, float* destination, std::int64_t destination_stride,
                        std::int64_t columns) const {
  const float* cosine = cosines(b, i);
  const RotateArguments arguments = {source,  source_stride, cosine,      cosine + pairs,    pairs,
                                     columns, interleaved,   destination, destination_stride};
  kernels.rotate(&arguments);
}

void normalize_row(const Kernels& kernels, const ConstTensorView& weight, float epsilon, const float* source,
                   std::int64_t source_stride, float* destination, std::int64_t destination_stride,
                   std::int64_t columns) {
  const RmsNormArguments arguments = {source,  source_stride, weight.data, weight.strides[0], columns,
                                      epsilon, destination,   destination_stride};
  kernels.rms_norm(&arguments);
}

}  // namespace attend
