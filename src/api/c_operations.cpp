// The operations of the C API: the seed's functions, RMS norm, merging, ALiBi's slopes.
#include "api/c_options.h"
#include "api/c_workspace.h"

using namespace attend;

extern "C" {

attend_code attend_matmul(const attend_const_tensor* a, const attend_const_tensor* b, int b_transposed, const attend_const_tensor* bias,
                          const attend_tensor* output, attend_workspace* workspace, const attend_operation_options* options,
                          attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  CallWorkspace scratch(workspace);
  return report(matmul(view_of(a), view_of(b), b_transposed != 0, view_of(bias), view_of(output), scratch, given), error);
}

size_t attend_matmul_workspace_bytes(const attend_const_tensor* a, const attend_const_tensor* b, int b_transposed,
                                     const attend_operation_options* options) {
  OperationOptions given;
  if (!read_options(options, &given).ok()) return 0;
  ConstTensorView factors[] = {view_of(a), view_of(b)};
  for (ConstTensorView& factor : factors) stand_in(&factor);
  return matmul_workspace_bytes(factors[0], factors[1], b_transposed != 0, given);
}

attend_code attend_sequence_mask(const attend_const_tensor* input, const attend_indices* valid_lens, float value, const attend_tensor* output,
                                 const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(sequence_mask(view_of(input), view_of(valid_lens), value, view_of(output), given), error);
}

attend_code attend_masked_softmax(const attend_const_tensor* input, const attend_indices* valid_lens, const attend_tensor* output,
                                  const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(masked_softmax(view_of(input), view_of(valid_lens), view_of(output), given), error);
}

attend_code attend_transpose_qkv(const attend_const_tensor* input, int64_t num_heads, const attend_tensor* output,
                                 const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(transpose_qkv(view_of(input), num_heads, view_of(output), given), error);
}

attend_code attend_transpose_output(const attend_const_tensor* input, int64_t num_heads, const attend_tensor* output,
                                    const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(transpose_output(view_of(input), num_heads, view_of(output), given), error);
}

attend_code attend_rms_norm(const attend_const_tensor* input, const attend_const_tensor* weight, float epsilon, const attend_tensor* output,
                            const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(rms_norm(view_of(input), view_of(weight), epsilon, view_of(output), given), error);
}

attend_code attend_merge(const attend_const_tensor* other_output, const attend_const_tensor* other_lse, const attend_tensor* output,
                         const attend_tensor* lse, const attend_operation_options* options, attend_error* error) {
  OperationOptions given;
  const attend_code code = report(read_options(options, &given), error);
  if (code != ATTEND_OK) return code;
  return report(merge(view_of(other_output), view_of(other_lse), view_of(output), view_of(lse), given), error);
}

attend_code attend_default_alibi_slopes(int64_t num_heads, const attend_tensor* slopes, attend_error* error) {
  return report(default_alibi_slopes(num_heads, view_of(slopes)), error);
}

}  // extern "C"
