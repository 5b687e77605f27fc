// Layer norm and RMS norm of rows in the C API.
#include "api/c_options.h"
#include "base/status.h"

namespace attend {

namespace {

Status read_norm_options(const attend_norm_options* given, NormOptions* options) {
  if (given == nullptr) return Status();
  attend_norm_options whole;
  ATTEND_CHECK(complete("options", "attend_norm_options", given, &whole));
  options->weight = view_of(whole.weight);
  options->bias = view_of(whole.bias);
  options->residual = view_of(whole.residual);
  options->sum = view_of(whole.sum);
  options->isa = static_cast<Isa>(whole.isa);
  options->threads = threads_of(whole.threads);
  return Status();
}

}  // namespace

}  // namespace attend

using namespace attend;

extern "C" {

attend_code attend_layer_norm(const attend_const_tensor* input, float epsilon, const attend_tensor* output, const attend_norm_options* options,
                              attend_error* error) {
  NormOptions given;
  const attend_code code = report(read_norm_options(options, &given), error);
  return code == ATTEND_OK ? report(layer_norm(view_of(input), epsilon, view_of(output), given), error) : code;
}

attend_code attend_rms_norm_rows(const attend_const_tensor* input, float epsilon, const attend_tensor* output, const attend_norm_options* options,
                                 attend_error* error) {
  NormOptions given;
  const attend_code code = report(read_norm_options(options, &given), error);
  return code == ATTEND_OK ? report(rms_norm_rows(view_of(input), epsilon, view_of(output), given), error) : code;
}

}  // extern "C"
