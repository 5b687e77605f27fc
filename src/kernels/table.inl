// The kernel table: what this ISA's tiles measure, and its kernels.

const Kernels kernels = {
    isa,
    lanes,
    gemm_vectors * lanes,
    gemm_rows,
    gemm_row_panels,
    wide_vectors * lanes,
    middle_vectors * lanes,
    narrow_vectors * lanes,
    value_panel,
    key_block,
    {few_rows, few_rows_of_many},
    {decode_ahead, decode_ahead_zen},
#define ATTEND_ENTRY(returned, kernel, parameters) kernel,
    ATTEND_KERNELS(ATTEND_ENTRY)
#undef ATTEND_ENTRY
};
