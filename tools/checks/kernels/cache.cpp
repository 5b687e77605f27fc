// Rows at random in each type of a cache, what the reference makes of them, and float32's kernels of decoding beside.
#include "cache.h"

#include <cstring>

#include "decode.h"
#include "kernels/half_floats.h"
#include "reference/stored.h"

namespace attend::checks {

namespace {

std::string name_of(const char* kernel, const CacheKernels& cache) {
  return std::string(kernel) + " of " + (cache.type == CacheType::int8 ? "int8" : cache.type == CacheType::float16 ? "float16" : "bfloat16");
}

float element_of(const CacheKernels& cache, const float* row, std::int64_t n) {
  const unsigned char* const at = reinterpret_cast<const unsigned char*>(row) + n * cache.bytes;
  if (cache.type == CacheType::int8) return static_cast<signed char>(*at);
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return cache.type == CacheType::float16 ? float_from_float16(bits) : float_from_bfloat16(bits);
}

void put_element(const CacheKernels& cache, float* row, std::int64_t n, Random& random) {
  unsigned char* const at = reinterpret_cast<unsigned char*>(row) + n * cache.bytes;
  const float x = random.value();
  const std::uint16_t half = cache.type == CacheType::float16 ? float16_from_float(x) : bfloat16_from_float(x);
  if (cache.type == CacheType::int8) *at = static_cast<unsigned char>(random.between(0, 255));
  else std::memcpy(at, &half, sizeof half);
}

std::int64_t stored_floats(const CacheKernels& cache, std::int64_t columns) { return round_up(columns, stored_step) * cache.bytes / 4; }

/// Rows of a cache, and the same elements as floats.
struct StoredRows {
  std::int64_t row_stride, wide_stride;  // floats
  float *rows, *wide;
  std::vector<const float*> places, wide_places;  // where each row is; empty: a stride apart

  StoredRows(const CacheKernels& cache, std::int64_t count, std::int64_t columns, std::int64_t gap, bool listed, Random& random, ArgumentMemory& memory)
      : row_stride(stored_floats(cache, columns) + gap), wide_stride(round_up(columns, stored_step)) {
    rows = memory.input<float>("rows", extent(count, stored_floats(cache, columns), row_stride, 1));
    wide = memory.input<float>("rows as floats", count * wide_stride);
    std::memset(wide, 0, static_cast<std::size_t>(count * wide_stride) * sizeof(float));
    for (std::int64_t r = 0; r < count; ++r) {
      float* const row = rows + r * row_stride;
      std::memset(row, 0, static_cast<std::size_t>(stored_floats(cache, columns)) * sizeof(float));
      for (std::int64_t n = 0; n < columns; ++n) {
        put_element(cache, row, n, random);
        wide[r * wide_stride + n] = element_of(cache, row, n);
      }
      if (!listed) continue;
      places.push_back(row);
      wide_places.push_back(wide + r * wide_stride);
    }
  }
};

Result check_scores(const Kernels& kernels, const CacheKernels& cache, DecodeScoresShape shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("decode_scores", cache), {{"rows", shape.rows}, {"keys", shape.keys}, {"depth", shape.depth}, {"gap", shape.gap}}, seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.depth, kernels.lanes);
  const Matrix queries = readable_matrix(memory, random, "queries", shape.rows, padded, padded, cache_line);
  for (std::int64_t r = 0; r < shape.rows; ++r) std::fill(queries.at(r, shape.depth), queries.at(r, padded), 0.0f);
  const bool listed = shape.keys > 0 && random.one_in(3);
  const StoredRows keys(cache, shape.keys, shape.depth, shape.gap, listed, random, memory);
  const Matrix scores = output_matrix(memory, "scores", shape.rows, shape.keys, decode_block, 1);
  const Matrix expected = output_matrix(memory, "scores of floats", shape.rows, shape.keys, decode_block, 1);
  DecodeScoresArguments arguments = {};
  arguments.queries = queries.data;
  arguments.query_stride = padded;
  arguments.rows = shape.rows;
  arguments.depth = shape.depth;
  arguments.keys = listed ? nullptr : keys.rows;
  arguments.key_rows = listed ? keys.places.data() : nullptr;
  arguments.key_row_stride = keys.row_stride;
  arguments.key_stride = 1;
  arguments.key_count = shape.keys;
  arguments.scores = scores.data;
  arguments.ahead = fetched_ahead(kernels, shape.rows);
  cache.decode_scores(&arguments);
  arguments.keys = listed ? nullptr : keys.wide;
  arguments.key_rows = listed ? keys.wide_places.data() : nullptr;
  arguments.key_row_stride = keys.wide_stride;
  arguments.scores = expected.data;
  kernels.decode_scores(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t j = 0; j < shape.keys; ++j) {
      report.identical("scores", r, j, scores.at(r, j), *expected.at(r, j));
      ArgumentMemory::restore(expected.at(r, j));
    }
  }
  return report.result();
}

Result check_values(const Kernels& kernels, const CacheKernels& cache, const DecodeValuesShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("decode_values", cache),
                {{"rows", shape.rows}, {"keys", shape.keys}, {"columns", shape.columns}, {"gap", shape.gap}, {"ends", shape.ends}}, seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);
  const Matrix weights = readable_matrix(memory, random, "weights", shape.rows, shape.keys, decode_block);
  const bool listed = shape.keys > 0 && random.one_in(3);
  const StoredRows values(cache, shape.keys, shape.columns, shape.gap, listed, random, memory);
  const char* const names[] = {"output", "partial", "output of floats", "partial of floats"};
  Matrix outputs[4];
  for (int i = 0; i < 4; ++i) {
    outputs[i] = output_matrix(memory, names[i], shape.rows, padded, padded, 1, cache_line);
    for (std::int64_t n = 0; n < shape.rows * padded; ++n) {
      outputs[i].data[n] = i >= 2 ? outputs[i - 2].data[n] : i == 1 && !shape.continues ? not_a_number : n % padded < shape.columns ? random.value() : 0.0f;
    }
  }
  DecodeValuesArguments arguments = {};
  arguments.weights = weights.data;
  arguments.rows = shape.rows;
  arguments.columns = shape.columns;
  arguments.values = listed ? nullptr : values.rows;
  arguments.value_rows = listed ? values.places.data() : nullptr;
  arguments.value_row_stride = values.row_stride;
  arguments.value_stride = 1;
  arguments.key_count = shape.keys;
  arguments.left = shape.left;
  arguments.continues = shape.continues;
  arguments.ends = shape.ends;
  arguments.ahead = fetched_ahead(kernels, shape.rows);
  arguments.output = outputs[0].data;
  arguments.partial = outputs[1].data;
  arguments.output_stride = padded;
  cache.decode_values(&arguments);
  arguments.values = listed ? nullptr : values.wide;
  arguments.value_rows = listed ? values.wide_places.data() : nullptr;
  arguments.value_row_stride = values.wide_stride;
  arguments.output = outputs[2].data;
  arguments.partial = outputs[3].data;
  kernels.decode_values(&arguments);
  const bool open = shape.keys < shape.left ? !shape.ends || shape.keys == 0 : !shape.ends && (shape.keys - shape.left) % decode_group != 0;
  for (int i = 0; i < 2; ++i) {
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = 0; c < padded; ++c) {
        float *const element = outputs[i].at(r, c), *const expected = outputs[i + 2].at(r, c);
        if (i == 0 || open) report.identical(names[i], r, c, element, *expected);
        ArgumentMemory::restore(element);
        ArgumentMemory::restore(expected);
      }
    }
  }
  return report.result();
}

struct ScaleShape {
  std::int64_t count;
};

Result check_scale(const Kernels& kernels, const CacheKernels& cache, const ScaleShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("scale", cache), {{"count", shape.count}}, seed, memory);
  if (cache.scale == nullptr) return report.result();
  Random random(seed);
  float* const numbers = memory.output("numbers", shape.count);
  float* const scales = memory.input<float>("scales", shape.count);
  std::vector<float> expected;
  for (std::int64_t i = 0; i < shape.count; ++i) {
    numbers[i] = random.value();
    scales[i] = random.value();
    expected.push_back(numbers[i] * scales[i]);
  }
  cache.scale(numbers, scales, shape.count);
  for (std::int64_t i = 0; i < shape.count; ++i) report.identical("numbers", 0, i, numbers + i, expected[static_cast<std::size_t>(i)]);
  return report.result();
}

}  // namespace

StoreRowShape draw_store_row(const Kernels& kernels, const CacheKernels&, Random& random) {
  StoreRowShape shape;
  shape.columns = draw_width(random, 1, 2 * kernels.lanes);
  shape.stride = draw_stride(random, 0);
  shape.special = random.one_in(8);
  return shape;
}

WidenRowsShape draw_widen_rows(const Kernels& kernels, const CacheKernels& cache, Random& random) {
  WidenRowsShape shape;
  shape.rows = draw_size(random, 1, 2);
  shape.first = random.between(0, 2) * kernels.lanes;
  shape.columns = draw_size(random, 1, kernels.lanes);
  shape.gap = random.between(0, 9);
  shape.scaled = cache.scale != nullptr && random.one_in(2);
  return shape;
}

Result check_store_row(const Kernels& kernels, const CacheKernels& cache, const StoreRowShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("store_row", cache), {{"columns", shape.columns}, {"stride", shape.stride}, {"special", shape.special}}, seed, memory);
  Random random(seed);
  const Matrix source = input_matrix(memory, random, "source", 1, shape.columns, 0, shape.stride);
  if (shape.special) *source.at(0, random.between(0, shape.columns - 1)) = random.one_of({infinity, -infinity, not_a_number});
  const std::int64_t floats = stored_floats(cache, shape.columns);
  float *const row = memory.output("row", floats), *const scale = memory.output("scale", 1);
  const StoreRowArguments arguments = {source.data, shape.stride, shape.columns, row, scale};
  cache.store_row(&arguments);

  reference::Array whole = reference::Array::zeros({1, shape.columns});
  for (std::int64_t d = 0; d < shape.columns; ++d) whole.values[static_cast<std::size_t>(d)] = static_cast<double>(*source.at(0, d));
  const reference::Array expected = reference::stored(whole, cache.type);
  const float factor = cache.scale == nullptr ? 1.0f : *scale;
  for (std::int64_t d = 0; d < round_up(shape.columns, stored_step); ++d) {
    const double value = d < shape.columns ? expected.values[static_cast<std::size_t>(d)] : cache.scale != nullptr && shape.special ? static_cast<double>(not_a_number) : 0.0;
    const float got = element_of(cache, row, d) * factor;
    report.returned(std::isnan(value) ? std::isnan(got) : got == static_cast<float>(value), true);
  }
  for (std::int64_t i = 0; i < floats; ++i) ArgumentMemory::restore(row + i);
  if (cache.scale != nullptr) ArgumentMemory::restore(scale);
  return report.result();
}

Result check_widen_rows(const Kernels& kernels, const CacheKernels& cache, const WidenRowsShape& shape, Seed seed, ArgumentMemory& memory) {
  Report report(kernels, name_of("widen_rows", cache),
                {{"rows", shape.rows}, {"first", shape.first}, {"columns", shape.columns}, {"gap", shape.gap}, {"scaled", shape.scaled}}, seed, memory);
  Random random(seed);
  const std::int64_t padded = round_up(shape.columns, kernels.lanes);
  const StoredRows rows(cache, shape.rows, shape.first + padded, shape.gap, true, random, memory);
  std::vector<float> scales;
  for (std::int64_t r = 0; r < shape.rows; ++r) scales.push_back(shape.scaled ? random.value() : 1.0f);
  std::vector<const float*> scale_places;
  for (const float& scale : scales) scale_places.push_back(&scale);
  const Matrix destination = output_matrix(memory, "destination", shape.rows, padded, padded + shape.gap, 1);
  WidenRowsArguments arguments = {};
  arguments.rows = rows.places.data();
  arguments.scales = shape.scaled ? scale_places.data() : nullptr;
  arguments.row_count = shape.rows;
  arguments.first = shape.first;
  arguments.columns = shape.columns;
  arguments.destination = destination.data;
  arguments.destination_stride = destination.row_stride;
  cache.widen_rows(&arguments);
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < padded; ++c) {
      report.identical("destination", r, c, destination.at(r, c), rows.wide_places[static_cast<std::size_t>(r)][shape.first + c] * scales[static_cast<std::size_t>(r)]);
    }
  }
  return report.result();
}

Result check_cache(const Kernels& kernels, const CacheKernels& cache, Random& random, ArgumentMemory& memory) {
  constexpr int shapes = 4;
  Result result;
  const auto check_some = [&](auto check, auto draw) {
    for (int n = 0; n < shapes && result.ok; ++n) {
      const auto shape = draw();
      result = check(kernels, cache, shape, static_cast<Seed>(random.between(0, 999999)), memory);
    }
  };
  check_some(check_store_row, [&] { return draw_store_row(kernels, cache, random); });
  check_some(check_widen_rows, [&] { return draw_widen_rows(kernels, cache, random); });
  check_some(check_scores, [&] { return draw_decode_scores(kernels, random); });
  check_some(check_values, [&] { return draw_decode_values(kernels, random); });
  check_some(check_scale, [&] { return ScaleShape{draw_size(random, 0, kernels.lanes)}; });
  return result;
}

}  // namespace attend::checks
