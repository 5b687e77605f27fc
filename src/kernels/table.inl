// The kernel table: what this ISA's tiles measure, and its kernels.

const Kernels kernels = {
    isa,
    lanes,
    gemm_vectors * lanes,
    gemm_rows,
    wide_vectors * lanes,
    narrow_vectors * lanes,
    key_block,
    pack,
    gemm,
    pack_queries,
    scores<false>,
    scores<true>,
    move_maximum,
    accumulate,
    finish,
    write_weights,
    softmax,
    copy,
    fill,
    exp2_array,
};
