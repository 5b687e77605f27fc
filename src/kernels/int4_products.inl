// The products of weights of int4, over Int4, store_int8 and sum_of of an ISA's file.

void gemm_int4(const GemmArguments* arguments) { gemm_of<Int4>(arguments); }
// p = q - 128 as bytes, for weights of int4, then for each group the pair of 16 bits (the zero point less 128, less the sum of p). What
// follows the row's elements, up to a whole step, is a 0.
ATTEND_INLINE void quantize_groups(const ConvertRowArguments& a) {
  const RowScale scale = scale_of(a);
  float* const header = a.row - row_header;
  header[0] = scale.scale;
  const bool empty = !(scale.scale > 0.0f);
  const float zero_point = scale.zero - 128.0f;
  const Vector inverse = broadcast(scale.inverse), zero_of = broadcast(zero_point), magic = broadcast(integer_magic);
  const Vector least = broadcast(-128.0f), most = broadcast(127.0f);
  const float* const source = a.source;
  const std::int64_t stride = a.stride, depth = a.depth, group = a.group, end = (depth + int4_step - 1) / int4_step * int4_step;
  char* const row = reinterpret_cast<char*>(a.row);
  float* pair = a.row + end / 4;
  std::int64_t first = 0;
  while (first < end) {
    const std::int64_t stop = end - first < group ? end : first + group;
    Vector sum = zero();
    while (first < stop) {
      ATTEND_UNROLL
      for (int d = 0; d < int4_step; d += lanes, first += lanes) {
        const Vector x = first < depth ? copy_in(source + first * stride, depth - first, stride, 0.0f) : zero();
        const Vector rounded = add(subtract(add(multiply(x, inverse), magic), magic), zero_of);
        const Vector p = empty ? least : minimum(maximum(rounded, least), most);
        sum = add(sum, p);
        store_int8(row + first, p);
      }
    }
    const std::int16_t both[] = {static_cast<std::int16_t>(zero_point), static_cast<std::int16_t>(-sum_of(sum))};
    __builtin_memcpy(pair++, both, sizeof both);
  }
}

void convert_to_groups(const ConvertRowArguments* arguments) { quantize_groups(*arguments); }

constexpr Product int8_product(unsigned features, const char* instructions) {
  return {WeightType::int4, Arithmetic::int8, features, instructions, Int4::tile_vectors * lanes, Int4::tile_rows, Int4::middle_rows, 0, int4_step, 1, 128, convert_to_groups, gemm_int4};
}
