// int8 rows as bytes, for instructions of NEON both of whose sides are signed: rows hold q - 128, and t = sum (q - 128) w - (z - 128) sum w.

constexpr int row_offset = 128;

template <class Rest, int rows, int vectors>
struct SignedInt8Format : Int8Format<Rest, rows, vectors, true> {
  static ATTEND_INLINE Integers subtract_product(Integers sum, float zero_point, const std::int32_t* sums) {
    const Integers factor = vsubq_s32(vreinterpretq_s32_f32(broadcast(zero_point)), vdupq_n_s32(row_offset));
    return vmlsq_s32(sum, factor, vld1q_s32(sums));
  }
};

ATTEND_INLINE void store_bytes(float* row, std::int64_t d, Vector x) {
  store_int8(reinterpret_cast<char*>(row) + d, subtract(x, broadcast(static_cast<float>(row_offset))));
}
