// Decoding: chunks of keys give partial results, which are merged in order.
//
// A partial result is an output and a sum relative to 2^maximum and a reference bias. Without biases maxima are integers, so that
// merging scales by powers of two, exactly (Dao et al. 2023, Flash-Decoding). Chunks lie on an absolute grid: threads change no bit.
#include "run/decode.h"

#include <math.h>
#include <string.h>

#include "base/arithmetic.h"
#include "base/dropout.h"
#include "plan/scratch.h"

namespace attend {

namespace {

// A sequence and one of its key heads: a row for each query and each head that the key head serves, query by query.
struct Decode {
  const Attention& attention;
  const AttentionPlan& plan;
  std::int64_t b, kv_head, rows, query_stride;
  RowRanges ranges;
  KeyRange all;  // what any row sees
  float* outputs;     // of all slots,
  Partial* partials;  // and behind them, what belongs to each
  DecodeScratch scratch;

  // Inlined into each of its users it was 0.5 KB more.
  __attribute__((noinline)) Decode(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head, const void* memory, void* scratch)
      : attention(attention), plan(plan), b(b), kv_head(kv_head), rows(plan.heads_per_kv_head * sequences().query_count(b)),
        query_stride(round_up(attention.depth, attention.kernels->lanes)), ranges(attention.visibility.of_rows(b)), all(attention.visibility.of_sequence(b, ranges)),
        outputs(const_cast<float*>(static_cast<const float*>(memory))),
        partials(reinterpret_cast<Partial*>(outputs + plan.slots * attention.kv_heads * plan.decode_rows * plan.value_stride)),
        scratch(scratch, rows, query_stride, plan.value_stride) {}

  const Sequences& sequences() const { return attention.sequences(); }
  std::int64_t entry() const { return sequences().packed() ? 0 : b; }
  std::int64_t query(std::int64_t r) const { return r / plan.heads_per_kv_head; }
  std::int64_t head(std::int64_t r) const { return kv_head * plan.heads_per_kv_head + r % plan.heads_per_kv_head; }
  std::int64_t query_row(std::int64_t r) const { return sequences().first_query(b) + query(r); }
  // The slot of the chunk-th chunk that the sequence sees. A packed sequence has a slot for each chunk that begins in its rows, and one.
  std::int64_t slot(std::int64_t chunk) const {
    const std::int64_t before = sequences().packed() ? sequences().first_key(b) / decode_chunk + b : b * plan.chunks;
    return (before + chunk) * attention.kv_heads + kv_head;
  }
  float* output(std::int64_t chunk) const { return outputs + slot(chunk) * plan.decode_rows * plan.value_stride; }
  Partial* partial(std::int64_t chunk) const { return partials + slot(chunk) * plan.decode_rows; }
  // The keys of `all` that lie in a chunk of the absolute grid.
  KeyRange range(std::int64_t chunk) const {
    return {larger(all.begin, chunk * decode_chunk), smaller(all.end, (chunk + 1) * decode_chunk)};
  }
  std::int64_t first_chunk() const { return all.begin / decode_chunk; }
  // The keys of a block that lie in the range of row r.
  KeyRange part(std::int64_t r, std::int64_t begin, std::int64_t end) const {
    const KeyRange row = ranges.of(query(r));
    return {larger(begin, row.begin), smaller(end, row.end)};
  }
  float slope(std::int64_t r) const { return attention.biases.slopes.absent() ? 0.0f : attention.biases.slopes.at(head(r)); }
  bool holes() const { return attention.visibility.has_holes(); }
  bool hides() const { return holes() || (rows > plan.heads_per_kv_head && !attention.visibility.same_for_all_queries()); }
  bool biased() const { return holes() || attention.biases.relative != nullptr || !attention.biases.slopes.absent(); }
};

// Floats to fetch ahead: at most a sixteenth of the keys, for nothing reads what lies behind the last. (AVX2 took 1.5 % longer with 4 KiB
// ahead of 128 keys of 64 than with 2.) Zen 1 to 4 fetch rows that lie side by side, or a line apart, far ahead: Zen 4
// takes a quarter to a half less time for a cache in memory, but rows further apart take 40 % more.
std::int64_t ahead_of(const Decode& decode, std::int64_t keys, std::int64_t width, std::int64_t row_stride) {
  const std::int64_t most = keys * width / 16;
  if (decode.plan.fetches_far && most >= far_ahead && row_stride - width <= 16) return far_ahead;
  return smaller(decode.plan.fetched_ahead, most);
}

// query[d] = scale * source[d * stride]. Four at a time, which the vectors of decode_scores wait for less than for single floats: 3 % of
// 12 heads of 64 over 128 keys.
void take_query(const float* source, std::int64_t stride, float scale, std::int64_t depth, float* query) {
  typedef float Four __attribute__((vector_size(16)));
  std::int64_t d = 0;
  for (; stride == 1 && d + 4 <= depth; d += 4) {
    Four four;
    memcpy(&four, source + d, sizeof four);
    four *= scale;
    memcpy(query + d, &four, sizeof four);
  }
  for (; d < depth; ++d) query[d] = scale * source[d * stride];
}

// Rows that kernels read behind the last query's become 0, for all key heads.
void clear_behind(const Decode& decode) {
  const Kernels& kernels = *decode.attention.kernels;
  const std::int64_t behind = decode_readable(decode.rows) - decode.rows;
  kernels.fill(decode.scratch.queries + decode.rows * decode.query_stride, 1, behind * decode.query_stride, 0.0f);
  kernels.fill(decode.scratch.weights + decode.rows * decode_block, 1, behind * decode_block, 0.0f);
}

void take_queries(const Decode& decode) {
  const Attention& attention = decode.attention;
  const float scale = attention.query_scale();
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    const float* source = attention.q.row(decode.entry(), decode.head(r), decode.query_row(r));
    float* query = decode.scratch.queries + r * decode.query_stride;
    take_query(source, attention.q.stride, scale, attention.depth, query);
    for (std::int64_t d = attention.depth; d < decode.query_stride; ++d) query[d] = 0.0f;
  }
}

// Whether the rows of pages are taken from a list of their places, not page by page: where a page of fewer than 64 rows holds less than two
// tiles of keys, or than twice what is fetched ahead. (A call for each page of 16 rows takes 13 % less time than the list, for 32 25 %: 4 heads of 64, AVX2, Zen 4.)
bool is_listed(const Decode& decode, const PagedRows<const float>& rows) {
  if (rows.page_rows >= 64) return false;
  return rows.page_rows < 2 * decode.attention.kernels->lanes || rows.page_rows * rows.row_stride < 2 * decode.plan.fetched_ahead;
}

// Multiplies what row r has for keys [begin, end) of a block, scores or weights, by the scales of integers; null: there are none.
void scale_row(const Decode& decode, const PagedRows<float>* scales, std::int64_t r, std::int64_t begin, std::int64_t end) {
  if (scales == nullptr) return;
  const std::int64_t first = decode.sequences().first_key(decode.b);
  for (std::int64_t j = begin; j < end;) {
    const std::int64_t count = scales->end_of_run(first + j, first + end) - (first + j);
    decode.attention.stored->scale(decode.scratch.weights + r * decode_block + (j - begin), scales->row(decode.entry(), decode.kv_head, first + j), count);
    j += count;
  }
}

// Scores of all rows against keys [begin, end), at most a block.
void score(const Decode& decode, std::int64_t begin, std::int64_t end) {
  const PagedRows<const float>& keys = decode.attention.k;
  const std::int64_t first = decode.sequences().first_key(decode.b);
  DecodeScoresArguments arguments;
  arguments.queries = decode.scratch.queries;
  arguments.query_stride = decode.query_stride;
  arguments.rows = decode.rows;
  arguments.depth = decode.attention.depth;
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = keys.stride;
  arguments.ahead = ahead_of(decode, end - begin, arguments.depth, keys.row_stride);
  arguments.key_rows = nullptr;
  const CacheKernels* const stored = decode.attention.stored;
  void (*const kernel)(const DecodeScoresArguments*) = stored != nullptr ? stored->decode_scores : decode.attention.kernels->decode_scores;
  if (is_listed(decode, keys)) {
    keys.list(decode.entry(), decode.kv_head, first + begin, first + end, decode.scratch.places);
    arguments.keys = nullptr;
    arguments.key_rows = decode.scratch.places;
    arguments.key_count = end - begin;
    arguments.scores = decode.scratch.weights;
    kernel(&arguments);
  }
  for (std::int64_t j = begin; j < end && arguments.key_rows == nullptr; j += arguments.key_count) {
    arguments.keys = keys.row(decode.entry(), decode.kv_head, first + j);
    arguments.key_count = keys.end_of_run(first + j, first + end) - (first + j);
    arguments.scores = decode.scratch.weights + (j - begin);
    kernel(&arguments);
  }
  for (std::int64_t r = 0; r < decode.rows; ++r) scale_row(decode, decode.attention.k_scales, r, begin, end);
}

// Biases of row r on keys [begin, end), as differences to the frame's reference. Where the largest is far from it, the frame takes that
// key as its reference, and the maximum follows. Returns whether a key is visible.
bool take_bias(const Decode& decode, std::int64_t r, std::int64_t begin, std::int64_t end, Frame* frame) {
  LaneRules lane = decode.attention.rules_of(decode.b, decode.head(r), decode.query(r));
  lane.begin = begin;
  lane.end = end;
  float* const bias = decode.scratch.bias;
  const DecodeBiasArguments arguments = {&lane, decode.attention.sequence_rules(decode.b), begin, end - begin, bias};
  float top = -infinity;
  for (int round = 0; round < 8; ++round) {
    lane.reference = frame->reference;
    top = decode.attention.kernels->decode_bias(&arguments);
    const bool far = top > 16.0f || (frame->maximum == -infinity && top < -16.0f);
    if (!far || !(fabsf(top) < infinity)) break;
    // Biases that are alike as floats, or at the ends of their range, are told apart by their sources.
    BiasReference largest = {};
    bool found = false;
    for (std::int64_t k = 0; k < end - begin; ++k) {
      if (bias[k] != top) continue;
      const BiasReference here = bias_at(lane, arguments.sequence, begin + k);
      if (!found || bias_difference(lane.slope, here, largest) > 0.0) largest = here;
      found = true;
    }
    frame->maximum = static_cast<float>(static_cast<double>(frame->maximum) - bias_difference(lane.slope, largest, frame->reference) / ln_2);
    frame->reference = largest;
  }
  bool seen = top > -infinity;
  for (std::int64_t k = 0; k < end - begin && !seen; ++k) seen = bias[k] != -infinity;  // NaN is seen
  return seen;
}

// Turns scores of row r into weights in its frame, 0 beyond its range; returns the factor that takes outputs so far to it.
float weigh(const Decode& decode, std::int64_t r, std::int64_t begin, std::int64_t end, Frame* frame, float* sum, bool* seen) {
  const Kernels& kernels = *decode.attention.kernels;
  const KeyRange part = decode.part(r, begin, end);
  float* const weights = decode.scratch.weights + r * decode_block;
  if (part.empty()) return kernels.fill(weights, 1, end - begin, 0.0f), 1.0f;
  if (begin < part.begin) kernels.fill(weights, 1, part.begin - begin, 0.0f);
  if (part.end < end) kernels.fill(weights + (part.end - begin), 1, end - part.end, 0.0f);
  DecodeWeightsArguments arguments;
  arguments.weights = weights + (part.begin - begin);
  arguments.key_count = part.end - part.begin;
  arguments.cap = decode.attention.cap();
  arguments.bias = decode.biased() ? decode.scratch.bias : nullptr;
  const bool sees = arguments.bias == nullptr || take_bias(decode, r, part.begin, part.end, frame);
  *seen = *seen || sees;
  arguments.maximum = frame->maximum;
  arguments.sum = *sum;
  kernels.decode_weights(&arguments);
  frame->maximum = arguments.maximum;
  *sum = arguments.sum;
  return arguments.factor;
}

// Sums of some rows over a chunk: groups of keys on an absolute grid, each from 0 and then added to the output. Runs come in the order of
// their keys; the first run beyond a group that is open closes it, or the last run, or the end.
struct ValueSum {
  const Decode& decode;
  std::int64_t r, rows;
  float* output;
  std::int64_t open = -1;  // the group whose sums so far are in `partial`

  // Weights of the block that starts at `block` times their values [begin, end); `ends`: no others follow.
  void add(std::int64_t block, std::int64_t begin, std::int64_t end, bool ends) {
    const PagedRows<const float>& values = decode.attention.v;
    const std::int64_t first = decode.sequences().first_key(decode.b), stride = decode.plan.value_stride;
    DecodeValuesArguments arguments;
    arguments.rows = rows;
    arguments.columns = decode.attention.value_depth;
    arguments.value_row_stride = values.row_stride;
    arguments.value_stride = values.stride;
    arguments.ahead = ahead_of(decode, end - begin, arguments.columns, values.row_stride);
    arguments.partial = decode.scratch.partial + r * stride;
    arguments.output = output + r * stride;
    arguments.output_stride = stride;
    const CacheKernels* const stored = decode.attention.stored;
    void (*const kernel)(const DecodeValuesArguments*) = stored != nullptr ? stored->decode_values : decode.attention.kernels->decode_values;
    const bool listed = is_listed(decode, values);
    arguments.value_rows = listed ? decode.scratch.places : nullptr;
    if (listed) values.list(decode.entry(), decode.kv_head, first + begin, first + end, decode.scratch.places);
    for (std::int64_t j = begin; j < end; j += arguments.key_count) {
      if (open != j / decode_group) close();
      arguments.continues = open >= 0;
      arguments.left = decode_group - j % decode_group;
      arguments.weights = decode.scratch.weights + r * decode_block + (j - block);
      arguments.values = values.row(decode.entry(), decode.kv_head, first + j);
      arguments.key_count = (listed ? first + end : values.end_of_run(first + j, first + end)) - (first + j);
      const std::int64_t next = j + arguments.key_count;
      arguments.ends = ends && next == end;
      kernel(&arguments);
      open = next % decode_group != 0 && !arguments.ends ? next / decode_group : -1;
    }
  }
  void close() {
    const std::int64_t from = r * decode.plan.value_stride, to = (r + rows) * decode.plan.value_stride;
    for (std::int64_t i = from; i < to && open >= 0; ++i) output[i] += decode.scratch.partial[i];
    open = -1;
  }
};

// Cold functions are small ones, for they are rare; but so is, to compilers, whatever leads to a call of them for certain. Dropout's
// condition stands at the call for that: behind it, the whole of run_chunk would be cold.
__attribute__((cold)) void drop_weights(const Decode& decode, std::int64_t r, std::int64_t begin, std::int64_t end) {
  const Attention& attention = decode.attention;
  const std::uint64_t row = dropout_row(attention.dropout_seed, decode.b, decode.head(r), decode.query(r));
  float* weights = decode.scratch.weights + r * decode_block;
  for (std::int64_t j = begin; j < end; ++j) weights[j - begin] *= dropout_factor(row, j, attention.dropout_rate);
}

// Adds up the values of the keys in `part` that row r sees, run by run.
__attribute__((cold)) void add_visible(const Decode& decode, std::int64_t r, std::int64_t block, const KeyRange& part, float* output) {
  const auto sees = [&](std::int64_t j) { return !decode.biased() || decode.scratch.bias[j - part.begin] != -infinity; };
  ValueSum one = {decode, r, 1, output};
  for (std::int64_t j = part.begin; j < part.end;) {
    const std::int64_t from = j;
    while (j < part.end && sees(j)) ++j;
    if (from < j) one.add(block, from, j, false);
    while (j < part.end && !sees(j)) ++j;
  }
  one.close();
}

// Runs one chunk. `visible_only`: a value meets only the rows that see its key, for 0 times NaN is NaN.
void run_chunk(const Decode& decode, const KeyRange& range, float* output, Partial* partials, bool visible_only) {
  const std::int64_t stride = decode.plan.value_stride;
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    partials[r].frame = Frame();
    partials[r].sum = 0.0f;
    partials[r].seen = false;
  }
  decode.attention.kernels->fill(output, 1, decode.rows * stride, 0.0f);
  ValueSum all = {decode, 0, decode.rows, output};
  for (std::int64_t begin = range.begin; begin < range.end;) {
    const std::int64_t end = smaller((begin / decode_block + 1) * decode_block, range.end);
    score(decode, begin, end);
    for (std::int64_t r = 0; r < decode.rows; ++r) {
      Partial& partial = partials[r];
      const float factor = weigh(decode, r, begin, end, &partial.frame, &partial.sum, &partial.seen);
      // The first block finds zeros.
      for (std::int64_t c = 0; factor != 1.0f && begin > range.begin && c < stride; ++c) output[r * stride + c] *= factor;
      if (decode.attention.dropout_rate > 0.0f) drop_weights(decode, r, begin, end);
      scale_row(decode, decode.attention.v_scales, r, begin, end);
      if (visible_only) add_visible(decode, r, begin, decode.part(r, begin, end), output);
    }
    if (!visible_only) all.add(begin, begin, end, end == range.end);
    begin = end;
  }
}

bool finite(const Decode& decode, const float* output) {
  float residue = 0.0f;  // x - x is 0, or NaN where x is not finite
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    const float* row = output + r * decode.plan.value_stride;
    for (std::int64_t c = 0; c < decode.attention.value_depth; ++c) residue += row[c] - row[c];
  }
  return residue == 0.0f;
}

// How far the frame of `a` is above that of `b`, log2: an integer where no reference has moved; 0 between equal infinities.
double rise_of(float slope, const Frame& a, const Frame& b) {
  const double rise = a.maximum == b.maximum ? 0.0 : static_cast<double>(a.maximum) - static_cast<double>(b.maximum);
  return rise + bias_difference(slope, a.reference, b.reference) / ln_2;
}

// What the chunks of a row give once merged.
struct MergedRow {
  Frame frame;             // the highest chunk's, or the sink's, if that is higher
  double sum;              // relative to the frame
  std::int64_t from = -1;  // the first chunk in which a key is seen; -1: none
};

// Merges the sums of `chunks` chunks; sets the factor that takes each to the common frame. A sink is the bias of a key whose score is 0.
MergedRow merge_sums(const Decode& decode, std::int64_t r, std::int64_t chunks) {
  const Numbers<float>& sinks = decode.attention.biases.sinks;
  const float slope = decode.slope(r);
  MergedRow merged;
  Frame& frame = merged.frame;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Partial& partial = decode.partial(chunk)[r];
    if (!partial.seen) continue;
    if (merged.from < 0) merged.from = chunk;
    if (frame.maximum == -infinity || rise_of(slope, partial.frame, frame) > 0.0) frame = partial.frame;
  }
  const Frame sink = {0.0f, {sinks.absent() ? -infinity : sinks.at(decode.head(r)), 0.0f, 0}};
  const bool has_sink = sink.reference.additive != -infinity;
  if (has_sink && (frame.maximum == -infinity || rise_of(slope, sink, frame) > 0.0)) frame = sink;
  merged.sum = has_sink ? ::exp2(rise_of(slope, sink, frame)) : 0.0;
  for (std::int64_t chunk = merged.from; chunk >= 0 && chunk < chunks; ++chunk) {
    Partial& partial = decode.partial(chunk)[r];
    if (!partial.seen) continue;
    partial.factor = chunks == 1 && !has_sink ? 1.0f : power_of(rise_of(slope, partial.frame, frame));
    merged.sum += static_cast<double>(partial.factor) * static_cast<double>(partial.sum);
  }
  return merged;
}

// Adds up some columns of a row's output over the chunks from `from` on, into that chunk's place; in double, for there may be thousands.
constexpr std::int64_t merge_columns = 16;
void merge_columns_from(const Decode& decode, std::int64_t r, std::int64_t column, std::int64_t from, std::int64_t chunks) {
  const std::int64_t count = smaller(merge_columns, decode.attention.value_depth - column), at = r * decode.plan.value_stride + column;
  double totals[merge_columns] = {};
  for (std::int64_t chunk = from; chunk < chunks; ++chunk) {
    const Partial& partial = decode.partial(chunk)[r];
    if (!partial.seen) continue;
    const float* output = decode.output(chunk) + at;
    for (std::int64_t c = 0; c < count; ++c) totals[c] += static_cast<double>(partial.factor) * static_cast<double>(output[c]);
  }
  float* result = decode.output(from) + at;
  for (std::int64_t c = 0; c < count; ++c) result[c] = static_cast<float>(totals[c]);
}

// Adds up a row's output, undivided, in the place of its first chunk's.
float* merge_outputs(const Decode& decode, std::int64_t r, std::int64_t from, std::int64_t chunks) {
  const std::int64_t depth = decode.attention.value_depth;
  float* const result = decode.output(from) + r * decode.plan.value_stride;
  const float factor = decode.partial(from)[r].factor;
  for (std::int64_t c = 0; chunks > 1 && c < depth; c += merge_columns) merge_columns_from(decode, r, c, from, chunks);
  for (std::int64_t c = 0; chunks == 1 && c < depth && factor != 1.0f; ++c) result[c] *= factor;
  return result;
}

// Cold, and so small: 1.3 KB less, in no case slower.
__attribute__((cold)) void merge_chunks(const Decode& decode) {
  const Attention& attention = decode.attention;
  const std::int64_t stride = decode.plan.value_stride;
  const std::int64_t chunks = decode.all.empty() ? 0 : (decode.all.end - 1) / decode_chunk - decode.first_chunk() + 1;
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    const std::int64_t head = decode.head(r);
    MergedRow row = merge_sums(decode, r, chunks);
    const bool seen = row.from >= 0;
    float factor = 1.0f / static_cast<float>(row.sum), *destination = attention.output.row(decode.entry(), head, decode.query_row(r));
    if (seen) {
      float* const result = merge_outputs(decode, r, row.from, chunks);
      FinishArguments arguments = {result, stride, attention.value_depth, 1, &row.sum, &factor, &destination, attention.output.stride};
      attention.kernels->finish(&arguments);
    } else {
      attention.write_empty_row(head, destination, nullptr);
    }
    if (attention.lse.data != nullptr) {
      float* lse = attention.lse.row(decode.entry(), head, decode.query_row(r));
      *lse = seen ? lse_of(row.frame.maximum, row.sum, bias_difference(decode.slope(r), row.frame.reference, {})) : attention.empty_lse(head);
    }
    Partial& merged = decode.partial(0)[r];
    merged.merged_seen = seen;
    merged.merged_frame = row.frame;
    merged.factor = factor;
  }
}

}  // namespace

bool decodes(const Attention& attention, const AttentionPlan& plan, std::int64_t b) {
  const std::int64_t queries = attention.sequences().query_count(b), rows = queries * plan.heads_per_kv_head;
  if (plan.slots == 0 || queries < 1 || rows > plan.decode_rows) return false;
  if (queries == 1) return true;
  const KeyRange keys = attention.visibility.of_sequence(b);
  return rows <= most_decoded_rows(*attention.kernels, keys.end - keys.begin, attention.depth + attention.value_depth);
}

void run_decode_chunk(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head, std::int64_t kv_heads,
                      std::int64_t chunk, void* partials, void* scratch) {
  if (chunk >= plan.chunks) return;  // where others take tiles, a sequence has as many tasks as they have
  Decode decode(attention, plan, b, kv_head, partials, scratch);
  const KeyRange range = decode.range(decode.first_chunk() + chunk);
  clear_behind(decode);
  for (; decode.kv_head < kv_head + kv_heads; ++decode.kv_head) {
    if (!range.empty()) {
      take_queries(decode);
      float* output = decode.output(chunk);
      run_chunk(decode, range, output, decode.partial(chunk), false);
      if (decode.hides() && !finite(decode, output)) run_chunk(decode, range, output, decode.partial(chunk), true);
    }
    if (plan.chunks == 1) merge_chunks(decode);  // a stage for it has 3 % of the instructions of 12 heads of 64 over 128 keys
  }
}

void merge_decode_chunks(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t kv_head,
                         void* partials, void* scratch) {
  merge_chunks(Decode(attention, plan, b, kv_head, partials, scratch));
}

__attribute__((cold)) void write_decode_weights(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t chunk,
                          const void* partials, void* scratch) {
  const Kernels& kernels = *attention.kernels;
  const std::int64_t keys = attention.sequences().keys, stride = attention.weights.stride;
  const float share = attention.average_weights ? 1.0f / static_cast<float>(attention.heads) : 1.0f;
  for (std::int64_t kv_head = 0; kv_head < attention.kv_heads; ++kv_head) {
    const Decode decode(attention, plan, b, kv_head, partials, scratch);
    KeyRange range = decode.range(chunk);
    const std::int64_t first = smaller(chunk * decode_chunk, keys), last = smaller(first + decode_chunk, keys);
    if (range.empty()) range = {first, first};
    clear_behind(decode);
    take_queries(decode);
    const auto row_of = [&](std::int64_t r) {
      return attention.weights.row(b, attention.average_weights ? 0 : decode.head(r), decode.query(r));
    };
    for (std::int64_t r = 0; r < decode.rows; ++r) {
      if (attention.average_weights && decode.head(r) > 0) continue;
      kernels.fill(row_of(r) + first * stride, stride, last - first, 0.0f);
    }
    for (std::int64_t begin = range.begin; begin < range.end;) {
      const std::int64_t end = smaller((begin / decode_block + 1) * decode_block, range.end);
      score(decode, begin, end);
      for (std::int64_t r = 0; r < decode.rows; ++r) {
        const Partial& merged = decode.partial(0)[r];
        if (!merged.merged_seen) continue;
        Frame frame;
        float sum = 0.0f;
        bool seen = false;
        weigh(decode, r, begin, end, &frame, &sum, &seen);
        const float factor = merged.factor * power_of(rise_of(decode.slope(r), frame, merged.merged_frame));
        const KeyRange part = decode.part(r, begin, end);
        for (std::int64_t j = part.begin; j < part.end; ++j) {
          if (decode.biased() && decode.scratch.bias[j - part.begin] == -infinity) continue;  // 0 even where the row is NaN
          row_of(r)[j * stride] += share * (decode.scratch.weights[r * decode_block + (j - begin)] * factor);
        }
      }
      begin = end;
    }
  }
}

}  // namespace attend
