// The kernel table of one ISA: tile sizes, and function pointers that take plain C structs.
//
// README.md in this folder holds the contract of each kernel. Strides are in elements.
#pragma once

#include <cstdint>

#include "attend/attend.hpp"

namespace attend {

inline constexpr float infinity = __builtin_inff();

/// A smaller sum of weights counts as 0.
inline constexpr double smallest_sum = 0x1p-126;
/// Scores are log2 of weights.
inline constexpr float log2_e = 0x1.715476p+0f;
inline constexpr double ln_2 = 0.69314718055994530942;

/// panel[k][n] = source[k * k_stride + n * n_stride] for n < columns, 0 from there to width, a multiple of the lanes.
struct PackArguments {
  const float* source;
  std::int64_t k_stride, n_stride;
  std::int64_t depth;
  std::int64_t columns, width;
  float* panel;
};

/// While a row tile of a projection runs, it fetches two cache lines of floats every so many steps of k.
inline constexpr std::int64_t gemm_fetch_steps = 8, gemm_fetch_floats = 32;
static inline constexpr std::int64_t fetched_by_tile(std::int64_t depth) {
  return (depth + gemm_fetch_steps - 1) / gemm_fetch_steps * gemm_fetch_floats;
}

/// The sum over k of a[r][k] * panel[k][n], + bias[n], goes to outputs[r] + (c / head_size) * head_stride
/// + (c % head_size) * element_stride with c = first_column + n.
struct GemmArguments {
  const float* const* rows;  // row_count pointers to a[r][0]
  float* const* outputs;     // row_count pointers
  std::int64_t row_count;
  std::int64_t k_stride;     // from a[r][k] to a[r][k + 1]
  std::int64_t depth;
  const float* panel;        // [depth][width]; aligned for speed alone
  std::int64_t width;        // lanes to gemm_columns, a multiple of lanes
  std::int64_t columns;      // stored columns, 1 to width
  const float* bias;         // null, or `width` values
  std::int64_t first_column, head_size, head_stride, element_stride;
  const float *ahead, *ahead_end;  // what a later call reads: each row tile fetches fetched_by_tile floats of it
  const float* scales = nullptr;       // [width], of integer weights
  const std::int32_t* sums = nullptr;  // [width], of int8 weights
  std::int64_t group = 0;              // elements of a column of int4 weights that share a scale
  std::int64_t next_panel = 0;         // floats to a second panel: for one row, of two of the widest panels, `width` being that of both; 0: one
};

/// panel[d][lane] = scale * queries[lane][d * stride] for lane < count, 0 beyond.
struct PackQueriesArguments {
  const float* const* queries;
  std::int64_t count, stride, depth;
  std::int64_t width;  // tile lanes: narrow or wide
  float scale;
  float* panel;
};

/// The bias of one of a lane's keys, source by source, to which its biases are differences; at first none.
struct BiasReference {
  float additive, relative;  // natural units
  std::int64_t distance;     // |key - position|
};

/// Which keys one lane sees, and what is added to their scores, as numbers of its sources. Keys count from the start of their
/// sequence; mask rows point to key 0.
struct LaneRules {
  float shift;                     // added to all scores, log2 units: 0 but while the lane moves to another frame
  float slope;                     // ALiBi: - slope * |key - position|
  BiasReference reference;
  std::int64_t begin, end;         // keys outside are hidden
  std::int64_t position;           // where the query stands among the keys
  const std::uint8_t* mask;        // null: none
  const float* additive;           // null: none; -inf hides
  const float* relative;           // null: none; at distance 0 of [-reach - lanes, reach + lanes]
  const std::int64_t* parents;     // null: no tree
  std::int64_t node;               // the query's node of the tree; node 0 is the key position - node
};

/// What all lanes of a sequence have in common.
struct SequenceRules {
  std::int64_t mask_stride, additive_stride, parent_stride;
  std::int64_t reach;           // the distance at which a relative bias ends
  const std::uint8_t* padding;  // a mask for all lanes, from key 0 on; null: none
  std::int64_t padding_stride;
  bool mask_hides;              // in both masks what is not 0 hides its key; else what is 0 does
};

/// Bit n of visible[k]: whether lane n sees key + k, by its range, masks and tree; anything from lane_count on. Sets the bits of *seen of
/// lanes that see a key. Returns BlockBits.
struct VisibleArguments {
  const LaneRules* lanes;
  SequenceRules sequence;
  std::int64_t lane_count;      // 1 or more
  std::int64_t key, key_count;  // the ISA's key_block at most
  std::uint32_t* visible;       // [key_count rounded up to 16]; anything from key_count on
  std::uint32_t* seen;
};
enum BlockBits : int {  // three that fill_visible tells of a block, two that its scores tell
  block_sees = 1,   // some lane sees some key
  block_hides = 2,  // some key is hidden from some lane
  block_adds = 4,   // an additive mask has something else than 0 and -inf
  block_moves = 8,  // a lane's maximum may have to move (see README.md): block_maximum says where to
  block_vanishes = 16,  // the sum of some lane, used or not, is below smallest_sum
};

/// bias[k][lane]: what is added to the score of key + k where the lane sees it, in log2 units, as the difference to the lane's reference,
/// + shift; anything where it does not; 0 from lane_count on. Finite, but for NaN and an additive mask of +inf.
struct BiasArguments {
  const LaneRules* lanes;
  SequenceRules sequence;
  std::int64_t lane_count, width;
  std::int64_t key, key_count;
  float* bias;  // [key_count][width]
};

/// Scores of one key block against a tile of queries, and their exponentials: weights[j][lane] = 2^(k_j . q - start[lane]).
struct ScoreArguments {
  const float* keys;
  const float* const* key_rows;  // general kernel; null: rows lie key_row_stride apart from `keys` on; else where each is
  std::int64_t key_row_stride, key_stride;
  std::int64_t key_count;
  std::int64_t depth;
  bool fetches;          // whether each whole tile fetches the keys of the next one
  const float* values;   // of the first key, element stride 1: it fetches those of its keys, too, and keys further ahead; null: it does not
  std::int64_t value_row_stride, value_columns;
  const float* queries;  // panel [depth][width]
  std::int64_t width;
  const float* start;    // [width]; log2 units, integers
  std::uint32_t unseen;  // bit n: what lane n has seen so far weighs nothing
  const std::uint32_t* visible;  // [key_count], general kernel: bit n is 0 where the key is hidden from lane n
  const float* bias;     // [key_count][width], general kernel, log2 units; null: none
  float cap;             // general kernel, log2 units; 0: none
  float* weights;        // [key_count][width]
  float* block_sum;      // [width]; in and out, as block_maximum: a block may come in parts
  float* block_maximum;  // [width]; the block's largest score, relative to start; -inf: none
};

/// output[lane][c] *= factors[lane], where the factor is not 1.
struct RescaleArguments {
  const float* factors;  // [lane_count]
  std::int64_t lane_count;
  float* output;         // [lane_count][output_stride]
  std::int64_t output_stride, columns;
};

/// A chain of multiply-adds starts at 0 and is stored, or added to what the output holds; or it starts at what the output holds.
enum class Accumulation { store, add, extend };

/// One chain of multiply-adds over ascending keys of weights[key][lane] * values[key][c], for each output[lane][c].
struct AccumulateArguments {
  const float* weights;  // [key_count][width]
  std::int64_t width;
  std::int64_t lane_count;
  const float* values;   // element stride 1
  std::int64_t value_row_stride;
  std::int64_t key_count;
  std::int64_t columns;
  Accumulation accumulation;
  float* output;         // [lane_count][output_stride], aligned for speed alone
  std::int64_t output_stride;  // at least columns rounded up to lanes
  bool odd = false;      // of values in pairs alone: the first key is the second of its pair
};

/// destinations[lane][c * stride] = source[lane][c] * factors[lane], factors[lane] = 1 / sums[lane]. Returns whether all are finite.
struct FinishArguments {
  const float* source;         // [lane_count][source_stride]
  std::int64_t source_stride;  // columns rounded up to lanes; the padding is 0
  std::int64_t columns, lane_count;
  const double* sums;
  float* factors;
  float* const* destinations;
  std::int64_t stride;
};

/// destination[lane][key * key_stride] = weights[key][lane] * factors[lane] for lane < lane_count.
struct WriteWeightsArguments {
  const float* weights;  // [key_count][width]
  std::int64_t width, key_count, lane_count;
  const float* factors;
  float* const* destinations;
  std::int64_t key_stride;
  bool add;  // to what the destination holds
};

/// Decode: a few rows, queries of heads that share keys. Arrays by row and key are [rows][decode_block].
inline constexpr std::int64_t decode_block = 512;  // keys a call at most
inline constexpr std::int64_t decode_rows = 8;     // rows a call at most
inline constexpr std::int64_t decode_group = 64;   // keys whose values are one chain of sums
inline constexpr std::int64_t many_keys = 4096;    // whose keys and values come from memory, which decoding reads faster than tiles do
inline constexpr std::int64_t far_ahead = 4096;    // floats: what is fetched so far ahead goes to the L2, what is nearer to the L1

/// Rows of queries and weights that decode_scores and decode_values may read: four at a time. What the last ones hold changes nothing.
inline constexpr std::int64_t decode_readable(std::int64_t rows) { return rows > 1 ? (rows + 3) / 4 * 4 : rows; }

/// scores[r][j] = queries[r] . keys[j].
struct DecodeScoresArguments {
  const float* queries;       // [decode_readable(rows)][query_stride], zero from depth to whole vectors
  std::int64_t query_stride;  // depth rounded up to lanes
  std::int64_t rows, depth;
  const float* keys;
  const float* const* key_rows;  // as ScoreArguments has them
  std::int64_t key_row_stride, key_stride;
  std::int64_t key_count;
  std::int64_t ahead;         // floats from the key that is read to the one that is fetched; of no use to key_rows
  float* scores;
};

/// One row's biases, as BiasArguments has them: bias[k] for key + k, -inf where a range or a mask hides it. Returns the largest.
struct DecodeBiasArguments {
  const LaneRules* lane;
  SequenceRules sequence;
  std::int64_t key, key_count;
  float* bias;  // [key_count]
};

/// One row's scores to unnormalised weights: cap, bias, 2^(s - maximum), where the maximum first moves up to an integer above all s.
struct DecodeWeightsArguments {
  float* weights;           // [key_count]; scores come in
  std::int64_t key_count;
  float cap;                // log2 units; 0: none
  const float* bias;        // [key_count], log2 units, -inf hides; null: every key is seen as it is
  float maximum;            // in and out; -inf: no score yet
  float sum;                // in and out, relative to 2^maximum
  float factor;             // out: what the move makes of outputs so far
};

/// output[r][c] += the sum over each group of keys of weights[r][j] * values[j][c]. `partial` brings the sums of a group that has begun
/// before, and keeps those of one that is not complete.
struct DecodeValuesArguments {
  const float* weights;        // [decode_readable(rows)][decode_block]
  std::int64_t rows, columns;
  const float* values;
  const float* const* value_rows;  // as key_rows
  std::int64_t value_row_stride, value_stride;
  std::int64_t key_count;
  std::int64_t ahead;          // floats from the value that is read to the one that is fetched
  std::int64_t left;           // keys until the first group is complete, 1 to decode_group
  bool continues;              // `partial` has a part of the first group
  bool ends;                   // no keys follow: the last group is complete
  float *partial, *output;     // [rows][output_stride]
  std::int64_t output_stride;  // columns rounded up to lanes
};

/// One row of masked_softmax: source[0 .. visible), then total - visible scores of -1e6. destination may be source.
struct SoftmaxArguments {
  const float* source;
  std::int64_t source_stride;
  std::int64_t visible, total;
  float* destination;
  std::int64_t destination_stride;
};

/// destination[r][c] = source[r][c], a block of rows with strides of their own.
struct CopyArguments {
  const float* source;
  std::int64_t source_row_stride, source_stride;
  float* destination;
  std::int64_t destination_row_stride, destination_stride;
  std::int64_t rows, columns;
  const float* const* source_rows = nullptr;  // not null: where each row is
};

/// One row of a rotary embedding: pair n, (x, y), becomes (x cos - y sin, y cos + x sin).
struct RotateArguments {
  const float* source;
  std::int64_t source_stride;
  const float* cosines;  // [pairs], like the sines
  const float* sines;
  std::int64_t pairs;
  std::int64_t columns;  // 2 pairs or more; what follows the pairs is copied
  bool interleaved;      // pair n is (2n, 2n + 1), else (n, n + pairs)
  float* destination;    // may be the source, with its stride
  std::int64_t destination_stride;
};

/// One row: destination[d] = source[d] / sqrt(mean of squares + epsilon) * weight[d].
struct RmsNormArguments {
  const float* source;
  std::int64_t source_stride;
  const float* weight;  // null: 1
  std::int64_t weight_stride;
  std::int64_t columns;
  float epsilon;
  float* destination;   // may be the source, with its stride
  std::int64_t destination_stride;
};

/// Every kernel: what it returns, its name, what it takes. fold: totals[i] += source[i], or = where `first`; unfold: destination[i] =
/// totals[i]; exp2_array: 2^x for x <= 127, 0 for x < -126.5. A kernel is a line here, its function in an .inl, its check in
/// tools/checks/kernels/, its callers and callees in tests/stack_test.cpp.
#define ATTEND_KERNELS(KERNEL)                                                                   \
  KERNEL(void, pack, (const PackArguments*))                                                     \
  KERNEL(void, gemm, (const GemmArguments*))                                                     \
  KERNEL(void, pack_queries, (const PackQueriesArguments*))                                      \
  KERNEL(int, scores_plain, (const ScoreArguments*))                                             \
  KERNEL(int, scores_general, (const ScoreArguments*))                                           \
  KERNEL(int, fill_visible, (const VisibleArguments*))                                           \
  KERNEL(void, fill_bias, (const BiasArguments*))                                                \
  KERNEL(void, rescale, (const RescaleArguments*))                                               \
  KERNEL(void, accumulate, (const AccumulateArguments*))                                         \
  KERNEL(void, fold, (const float* source, double* totals, std::int64_t count, bool first))      \
  KERNEL(void, unfold, (const double* totals, float* destination, std::int64_t count))           \
  KERNEL(bool, finish, (const FinishArguments*))                                                 \
  KERNEL(void, write_weights, (const WriteWeightsArguments*))                                    \
  KERNEL(void, decode_scores, (const DecodeScoresArguments*))                                    \
  KERNEL(float, decode_bias, (const DecodeBiasArguments*))                                       \
  KERNEL(void, decode_weights, (DecodeWeightsArguments*))                                        \
  KERNEL(void, decode_values, (const DecodeValuesArguments*))                                    \
  KERNEL(void, softmax, (const SoftmaxArguments*))                                               \
  KERNEL(void, copy, (const CopyArguments*))                                                     \
  KERNEL(void, fill, (float* destination, std::int64_t stride, std::int64_t count, float value)) \
  KERNEL(void, exp2_array, (const float* source, float* destination, std::int64_t count))        \
  KERNEL(void, rotate, (const RotateArguments*))                                                 \
  KERNEL(void, rms_norm, (const RmsNormArguments*))

struct Kernels {
  Isa isa;
  int lanes;          // floats in a vector
  int gemm_columns;   // the widest panel; narrower ones are multiples of lanes
  int gemm_rows;      // rows a tile: row counts that are multiples of it have no tail
  int row_panels;     // that one row takes at once
  int wide_tile;      // query lanes of a full attention tile
  int middle_tile;    // query lanes of a tile for fewer queries; the wide one's where the ISA has no tile between
  int narrow_tile;    // query lanes of a tile for few queries; all three are multiples of lanes
  int value_panel;    // columns of values that a copy or a projection puts side by side; 0: all of a row
  int key_block;      // keys between two moves of the maximum; sums are taken block by block
  int few_rows[2];    // rows of a sequence of several queries that decodes, at most; [1] where they see many_keys or more
  int decode_ahead[2];  // floats that decoding fetches ahead: on Zen 1 to 4 [1], on other CPUs [0]

#define ATTEND_FIELD(returned, kernel, parameters) returned (*kernel) parameters;
  ATTEND_KERNELS(ATTEND_FIELD)
#undef ATTEND_FIELD
};

}  // namespace attend
