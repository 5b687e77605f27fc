// Decoding: chunks of keys to partial results, and those in order to one.
//
// A chunk's result is an output and a sum relative to 2^maximum, an integer, so that merging scales by powers
// of two, exactly (Dao et al. 2023, Flash-Decoding, with exact factors). Chunks lie on an absolute grid: who
// computes them does not change a bit.
#include "decode.h"

#include <math.h>

#include "dropout.h"
#include "memory.h"

namespace attend {

namespace {

constexpr float log2_e = 0x1.715476p+0f;
constexpr double ln_2 = 0.69314718055994530942;
constexpr float infinity = __builtin_inff();

// What a row of a chunk came to; the first chunk's has what all of them did, once merged.
struct Partial {
  float maximum, sum;  // -inf: no score
  bool seen;           // whether a key of it is visible
  bool merged_seen;
  float merged_maximum, factor;  // 1 / the merged sum
};

struct DecodeScratch {
  float* queries;  // [rows][query_stride], times scale
  float* weights;  // [rows][decode_block]
  std::uint8_t* visible;  // [decode_block], of one row
};

DecodeScratch lay_out(char* memory, std::int64_t rows, std::int64_t query_stride, std::size_t* bytes) {
  const std::size_t weights = aligned_bytes(static_cast<std::size_t>(rows * query_stride) * sizeof(float));
  const std::size_t visible = weights + static_cast<std::size_t>(rows * decode_block) * sizeof(float);
  if (bytes != nullptr) *bytes = visible + decode_block;
  if (memory == nullptr) return {};
  return {reinterpret_cast<float*>(memory), reinterpret_cast<float*>(memory + weights), reinterpret_cast<std::uint8_t*>(memory + visible)};
}

// One sequence and one of its groups, of `rows` heads.
struct Decode {
  const Attention& attention;
  const AttentionPlan& plan;
  std::int64_t b, group, rows, query_stride;
  char* partials;
  DecodeScratch scratch;

  Decode(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group, const void* partials, void* scratch)
      : attention(attention), plan(plan), b(b), group(group), rows(attention.heads / attention.groups),
        query_stride(plan.query_stride), partials(const_cast<char*>(static_cast<const char*>(partials))),
        scratch(lay_out(static_cast<char*>(scratch), rows, plan.query_stride, nullptr)) {}

  const Sequences& sequences() const { return attention.sequences(); }
  std::int64_t entry() const { return sequences().packed() ? 0 : b; }
  std::int64_t head(std::int64_t r) const { return group * rows + r; }
  std::int64_t query_row() const { return sequences().first_query(b); }
  // Of the chunk-th one that the sequence sees. Packed sequences take the chunks that their own rows begin,
  // and one more.
  std::int64_t slot(std::int64_t chunk) const {
    const std::int64_t before = sequences().packed() ? sequences().first_key(b) / decode_chunk + b : b * plan.chunks;
    return (before + chunk) * attention.groups + group;
  }
  float* output(std::int64_t chunk) const { return reinterpret_cast<float*>(partials) + slot(chunk) * rows * plan.value_stride; }
  Partial* partial(std::int64_t chunk) const {
    const std::size_t outputs = static_cast<std::size_t>(plan.slots * attention.heads * plan.value_stride) * sizeof(float);
    return reinterpret_cast<Partial*>(partials + outputs) + slot(chunk) * rows;
  }
  KeyRange range() const { return attention.visibility.of(b, 0); }
  // The part of it in a chunk of the absolute grid.
  KeyRange range(std::int64_t chunk) const {
    const KeyRange all = range();
    return {larger(all.begin, chunk * decode_chunk), smaller(all.end, (chunk + 1) * decode_chunk)};
  }
  std::int64_t first_chunk() const { return range().begin / decode_chunk; }
  bool holes() const { return attention.visibility.has_holes(); }
  bool biased() const { return holes() || attention.biases.relative != nullptr || !attention.biases.slopes.absent(); }
};

void take_queries(const Decode& decode) {
  const Attention& attention = decode.attention;
  const float scale = attention.softcap > 0.0f ? attention.scale / attention.softcap : attention.scale * log2_e;
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    const float* source = attention.q.row(decode.entry(), decode.head(r), decode.query_row());
    float* query = decode.scratch.queries + r * decode.query_stride;
    for (std::int64_t d = 0; d < attention.depth; ++d) query[d] = scale * source[d * attention.q.stride];
    for (std::int64_t d = attention.depth; d < decode.query_stride; ++d) query[d] = 0.0f;
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
  for (std::int64_t j = begin; j < end; j += arguments.key_count) {
    arguments.keys = keys.row(decode.entry(), decode.group, first + j);
    arguments.key_count = keys.end_of_run(first + j, first + end) - (first + j);
    arguments.scores = decode.scratch.weights + (j - begin);
    decode.attention.kernels->decode_scores(&arguments);
  }
}

// Scores of row r to weights relative to 2^maximum; returns what outputs so far are to be multiplied by.
float weigh(const Decode& decode, std::int64_t r, std::int64_t begin, std::int64_t end, float* maximum, float* sum,
            bool* seen, std::uint8_t* visible) {
  const Attention& attention = decode.attention;
  BiasLane lane = {};
  DecodeWeightsArguments arguments;
  arguments.weights = decode.scratch.weights + r * decode_block;
  arguments.key_count = end - begin;
  arguments.cap = attention.softcap * log2_e;
  arguments.bias = nullptr;
  if (decode.biased()) {
    describe_lane(attention, decode.b, decode.head(r), 0, &lane);
    lane.begin = begin;
    lane.end = end;
    arguments.bias = &lane;
  }
  arguments.key = begin;
  arguments.maximum = *maximum;
  arguments.sum = *sum;
  arguments.seen = *seen;
  arguments.visible = visible;
  attention.kernels->decode_weights(&arguments);
  *maximum = arguments.maximum;
  *sum = arguments.sum;
  *seen = arguments.seen;
  return arguments.factor;
}

// Weights of `rows` rows from row r on, of the block that starts at `block`, times their values [begin, end).
void accumulate(const Decode& decode, std::int64_t r, std::int64_t rows, std::int64_t block, std::int64_t begin,
                std::int64_t end, float* output) {
  const PagedRows<const float>& values = decode.attention.v;
  const std::int64_t first = decode.sequences().first_key(decode.b);
  DecodeValuesArguments arguments;
  arguments.rows = rows;
  arguments.columns = decode.attention.value_depth;
  arguments.value_row_stride = values.row_stride;
  arguments.value_stride = values.stride;
  arguments.output = output + r * decode.plan.value_stride;
  arguments.output_stride = decode.plan.value_stride;
  for (std::int64_t j = begin; j < end; j += arguments.key_count) {
    arguments.weights = decode.scratch.weights + r * decode_block + (j - block);
    arguments.values = values.row(decode.entry(), decode.group, first + j);
    arguments.key_count = values.end_of_run(first + j, first + end) - (first + j);
    decode.attention.kernels->decode_values(&arguments);
  }
}

void drop_weights(const Decode& decode, std::int64_t r, std::int64_t begin, std::int64_t end) {
  const Attention& attention = decode.attention;
  if (!(attention.dropout_rate > 0.0f)) return;
  const std::uint64_t row = dropout_row(attention.dropout_seed, decode.b, decode.head(r), 0);
  float* weights = decode.scratch.weights + r * decode_block;
  for (std::int64_t j = begin; j < end; ++j) weights[j - begin] *= dropout_factor(row, j, attention.dropout_rate);
}

// One chunk. `careful`: a value row meets only the rows that see its key, for 0 times NaN is NaN.
void run_chunk(const Decode& decode, const KeyRange& range, float* output, Partial* partials, bool careful) {
  const std::int64_t stride = decode.plan.value_stride;
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    partials[r].maximum = -infinity;
    partials[r].sum = 0.0f;
    partials[r].seen = false;
  }
  decode.attention.kernels->fill(output, 1, decode.rows * stride, 0.0f);
  for (std::int64_t begin = range.begin; begin < range.end;) {
    const std::int64_t end = smaller((begin / decode_block + 1) * decode_block, range.end);
    score(decode, begin, end);
    for (std::int64_t r = 0; r < decode.rows; ++r) {
      Partial& partial = partials[r];
      std::uint8_t* visible = careful ? decode.scratch.visible : nullptr;
      const float factor = weigh(decode, r, begin, end, &partial.maximum, &partial.sum, &partial.seen, visible);
      // The first block finds zeros.
      for (std::int64_t c = 0; factor != 1.0f && begin > range.begin && c < stride; ++c) output[r * stride + c] *= factor;
      drop_weights(decode, r, begin, end);
      for (std::int64_t j = begin; careful && j < end;) {
        const std::int64_t from = j;
        while (j < end && visible[j - begin]) ++j;
        if (from < j) accumulate(decode, r, 1, begin, from, j, output);
        while (j < end && !visible[j - begin]) ++j;
      }
    }
    if (!careful) accumulate(decode, 0, decode.rows, begin, begin, end, output);
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

// 2^(from - to) for integers, exactly; 0 where it is below 2^-126. Also for infinities that are equal.
float power_between(float from, float to) {
  if (from == to) return 1.0f;
  const float by = from - to;
  return by >= -126.0f ? ldexpf(1.0f, static_cast<int>(by)) : 0.0f;
}

}  // namespace

std::size_t decode_scratch_bytes(std::int64_t rows, std::int64_t query_stride) {
  std::size_t bytes = 0;
  lay_out(nullptr, rows, query_stride, &bytes);
  return aligned_bytes(bytes);
}

std::size_t decode_partial_bytes(std::int64_t slots, std::int64_t heads, std::int64_t value_stride) {
  return aligned_bytes(static_cast<std::size_t>(slots * heads) * (static_cast<std::size_t>(value_stride) * sizeof(float) + sizeof(Partial)));
}

bool decodes(const Attention& attention, const AttentionPlan& plan, std::int64_t b) {
  return plan.slots > 0 && attention.sequences().query_count(b) == 1;
}

void run_decode_chunk(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group,
                      std::int64_t chunk, void* partials, void* scratch) {
  const Decode decode(attention, plan, b, group, partials, scratch);
  const KeyRange range = decode.range(decode.first_chunk() + chunk);
  if (range.empty()) return;
  take_queries(decode);
  float* output = decode.output(chunk);
  run_chunk(decode, range, output, decode.partial(chunk), false);
  if (decode.holes() && !finite(decode, output)) run_chunk(decode, range, output, decode.partial(chunk), true);
}

void merge_decode_chunks(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t group,
                         void* partials, void* scratch) {
  const Decode decode(attention, plan, b, group, partials, scratch);
  const KeyRange range = decode.range();
  const Numbers<float>& sinks = attention.biases.sinks;
  const std::int64_t chunks = range.empty() ? 0 : (range.end - 1) / decode_chunk - decode.first_chunk() + 1;
  for (std::int64_t r = 0; r < decode.rows; ++r) {
    const std::int64_t head = decode.head(r);
    // A sink is the first key.
    const double sink = sinks.absent() ? -HUGE_VAL : static_cast<double>(sinks.at(head)) / ln_2;
    const float sink_maximum = static_cast<float>(ceil(sink));
    float maximum = sink_maximum;
    std::int64_t from = -1;  // the first chunk that is seen
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      const Partial& partial = decode.partial(chunk)[r];
      if (!partial.seen) continue;
      if (from < 0) from = chunk;
      if (partial.maximum > maximum) maximum = partial.maximum;
    }
    double sum = sink == -HUGE_VAL ? 0.0 : ::exp2(sink - static_cast<double>(maximum));
    float* result = from < 0 ? nullptr : decode.output(from) + r * plan.value_stride;
    for (std::int64_t chunk = from; from >= 0 && chunk < chunks; ++chunk) {
      const Partial& partial = decode.partial(chunk)[r];
      if (!partial.seen) continue;
      const float factor = power_between(partial.maximum, maximum);
      sum += static_cast<double>(factor) * static_cast<double>(partial.sum);
      const float* output = decode.output(chunk) + r * plan.value_stride;
      if (chunk == from) {
        for (std::int64_t c = 0; c < attention.value_depth && factor != 1.0f; ++c) result[c] *= factor;
      } else {
        for (std::int64_t c = 0; c < attention.value_depth; ++c) result[c] += factor * output[c];
      }
    }
    const float total = static_cast<float>(sum);
    float factor = 1.0f / total, *destination = attention.output.row(decode.entry(), head, decode.query_row());
    if (result != nullptr) {
      FinishArguments arguments = {result, plan.value_stride, attention.value_depth, 1, &total, &factor, &destination, attention.output.stride};
      attention.kernels->finish(&arguments);
    } else {
      attention.kernels->fill(destination, attention.output.stride, attention.value_depth, 0.0f);
    }
    if (attention.lse.data != nullptr) {
      float* lse = attention.lse.row(decode.entry(), head, decode.query_row());
      if (from < 0) *lse = sinks.absent() ? -infinity : sinks.at(head);
      else *lse = static_cast<float>((static_cast<double>(maximum) + log2(sum)) * ln_2);
    }
    Partial& merged = decode.partial(0)[r];
    merged.merged_seen = from >= 0;
    merged.merged_maximum = maximum;
    merged.factor = factor;
  }
}

void write_decode_weights(const Attention& attention, const AttentionPlan& plan, std::int64_t b, std::int64_t chunk,
                          const void* partials, void* scratch) {
  const Kernels& kernels = *attention.kernels;
  const std::int64_t keys = attention.sequences().keys, stride = attention.weights.stride;
  const float share = attention.average_weights ? 1.0f / static_cast<float>(attention.heads) : 1.0f;
  for (std::int64_t group = 0; group < attention.groups; ++group) {
    const Decode decode(attention, plan, b, group, partials, scratch);
    KeyRange range = decode.range(chunk);
    const std::int64_t first = smaller(chunk * decode_chunk, keys), last = smaller(first + decode_chunk, keys);
    if (range.empty()) range = {first, first};
    take_queries(decode);
    const auto row_of = [&](std::int64_t r) {
      return attention.weights.row(b, attention.average_weights ? 0 : decode.head(r), 0);
    };
    for (std::int64_t r = 0; r < decode.rows; ++r) {
      if (attention.average_weights && decode.head(r) > 0) break;
      kernels.fill(row_of(r) + first * stride, stride, last - first, 0.0f);
    }
    for (std::int64_t begin = range.begin; begin < range.end;) {
      const std::int64_t end = smaller((begin / decode_block + 1) * decode_block, range.end);
      score(decode, begin, end);
      for (std::int64_t r = 0; r < decode.rows; ++r) {
        const Partial& merged = decode.partial(0)[r];
        if (!merged.merged_seen) continue;
        float maximum = merged.merged_maximum, sum = 0.0f;
        bool seen = false;
        std::uint8_t* visible = decode.biased() ? decode.scratch.visible : nullptr;
        weigh(decode, r, begin, end, &maximum, &sum, &seen, visible);
        for (std::int64_t j = begin; j < end; ++j) {
          if (visible != nullptr && !visible[j - begin]) continue;  // 0 even where the row is NaN
          row_of(r)[j * stride] += share * (decode.scratch.weights[r * decode_block + (j - begin)] * merged.factor);
        }
      }
      begin = end;
    }
  }
}

}  // namespace attend
