// The list of axes.
#include "sweep/axes.h"

#include <algorithm>
#include <numeric>

namespace attend::bench {
namespace {

using Sizes = std::vector<std::int64_t>;

double whole(std::int64_t size, int lanes) { return static_cast<double>((size + lanes - 1) / lanes * lanes); }

Sizes every(std::int64_t first, std::int64_t last, std::int64_t step = 1) {
  Sizes sizes;
  for (std::int64_t size = first; size <= last; size += step) sizes.push_back(size);
  return sizes;
}

/// Each size, the one before and the one after, from `first` to `last`.
Sizes around(const Sizes& sizes, std::int64_t first, std::int64_t last) {
  Sizes all;
  for (std::int64_t size : sizes) {
    for (std::int64_t near = std::max(size - 1, first); near <= std::min(size + 1, last); ++near) all.push_back(near);
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// Half vectors up to 64, then ever fewer of the sizes that models have, and what lies beside them.
const Sizes head_widths =
    around({1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 448, 512, 575}, 1, 576);

/// Bytes that are read once: keys, values, and the table of pages.
double bytes(const DecodeShape& shape) {
  const std::int64_t pages = shape.page_rows > 0 ? (shape.keys + shape.page_rows - 1) / shape.page_rows : 0;
  return static_cast<double>(sizeof(float) * shape.groups * shape.keys * (shape.depth + shape.value_depth) + sizeof(std::int64_t) * pages);
}

double pairs(const DecodeShape& shape) {
  return static_cast<double>(shape.heads * (shape.keys * shape.queries - shape.queries * (shape.queries - 1) / 2));
}

/// Vectors run along the width of keys where there is one query, else along the queries of heads that share keys; and along values.
double whole_width(const DecodeShape& shape, int lanes) {
  const std::int64_t rows = shape.queries * shape.heads / shape.groups;
  const double depth = static_cast<double>(shape.depth);
  return (shape.queries == 1 ? whole(shape.depth, lanes) : depth * whole(rows, lanes) / static_cast<double>(rows)) +
         whole(shape.value_depth, lanes);
}

/// Queries over a cache; set(&shape, size) makes the shape of a point.
Axis over_cache(const char* name, const char* what, Unit unit, const DecodeShape& shape, const Sizes& sizes,
                void (*set)(DecodeShape* shape, std::int64_t size)) {
  Axis axis = {name, what, unit, {}};
  for (std::int64_t size : sizes) {
    DecodeShape each = shape;
    each.cached = true;
    set(&each, size);
    if (each.value_depth == 0) each.value_depth = each.depth;
    const double width = static_cast<double>(each.depth + each.value_depth);
    const double work = unit == Unit::byte ? bytes(each) : pairs(each) * width;
    axis.points.push_back({std::to_string(size), work, [=](int lanes) { return work * whole_width(each, lanes) / width; },
                           [each](Isa isa) { return decode_workload(each, isa, Threads()); }});
  }
  return axis;
}

void set_queries(DecodeShape* shape, std::int64_t size) { shape->queries = size; }
void set_sharing(DecodeShape* shape, std::int64_t size) { shape->heads = size * shape->groups; }
void set_key_width(DecodeShape* shape, std::int64_t size) {
  shape->depth = size;
  shape->value_depth = 64;
}
void set_value_width(DecodeShape* shape, std::int64_t size) { shape->value_depth = size; }
void set_keys(DecodeShape* shape, std::int64_t size) { shape->keys = size; }
void set_page_rows(DecodeShape* shape, std::int64_t size) { shape->page_rows = size; }

Axis self_attention(const char* name, const char* what, std::int64_t heads, std::int64_t depth, const Sizes& lengths) {
  Axis axis = {name, what, Unit::multiply_add, {}};
  for (std::int64_t length : lengths) {
    const double rows = static_cast<double>(heads * length), tokens = static_cast<double>(length), width = static_cast<double>(depth);
    axis.points.push_back({std::to_string(length), 2 * rows * tokens * width,
                           [=](int lanes) { return rows * (whole(length, lanes) * width + tokens * whole(depth, lanes)); },
                           [=](Isa isa) { return core_workload({heads, length, depth, false}, isa, Threads()); }});
  }
  return axis;
}

/// A layer's point: self-attention of `rows` tokens.
Point layer(std::int64_t size, std::int64_t rows, std::int64_t width, std::int64_t heads) {
  const double work = static_cast<double>(4 * rows * width * width + 2 * rows * rows * width);
  return {std::to_string(size), work, [work](int) { return work; },
          [=](Isa isa) { return layer_workload({1, rows, rows, width, heads, true, {}}, isa, Threads()); }};
}

Axis layer_rows(const char* name, const char* what, std::int64_t width, std::int64_t heads, const Sizes& sizes) {
  Axis axis = {name, what, Unit::multiply_add, {}};
  for (std::int64_t rows : sizes) axis.points.push_back(layer(rows, rows, width, heads));
  return axis;
}

Axis layer_width(const char* name, const char* what, std::int64_t rows, std::int64_t depth, const Sizes& sizes) {
  Axis axis = {name, what, Unit::multiply_add, {}};
  for (std::int64_t width : sizes) axis.points.push_back(layer(width, rows, width, width / depth));
  return axis;
}

Axis projection_width(const char* name, const char* what, std::int64_t rows, const Sizes& sizes) {
  Axis axis = {name, what, Unit::multiply_add, {}};
  for (std::int64_t width : sizes) {
    const double inputs = static_cast<double>(rows * width);
    axis.points.push_back({std::to_string(width), inputs * static_cast<double>(width), [=](int lanes) { return inputs * whole(width, lanes); },
                           [=](Isa isa) { return gemm_workload({rows, width, width}, isa, Threads()); }});
  }
  return axis;
}

// Masks at random hide keys, but no vector of them: all scores are computed.
Axis masks(const char* name, const char* what, std::int64_t heads, std::int64_t length, std::int64_t depth) {
  const double L = static_cast<double>(length), all = L * L, causal = L * (L + 1) / 2, window = causal - (L - 65) * (L - 64) / 2;
  const auto point = [=](const char* kind, double visible, double computed, bool causal, CoreMask mask, std::int64_t window_left = -1) {
    const double width = static_cast<double>(2 * heads * depth);
    return Point{kind, visible * width, [=](int) { return computed * width; }, [=](Isa isa) {
                   return core_workload({heads, length, depth, causal, mask, window_left}, isa, Threads());
                 }};
  };
  return {name, what, Unit::multiply_add, {
      point("window 64", window, window, true, CoreMask::none, 64),
      point("half padding", all / 2, all, false, CoreMask::padding),
      point("half bool", all / 2, all, false, CoreMask::shared),
      point("half bool a head", all / 2, all, false, CoreMask::each_head),
      point("causal", causal, causal, true, CoreMask::none),
      point("causal as bool", causal, causal, false, CoreMask::causal_bool),
      point("causal as floats", causal, causal, false, CoreMask::causal_additive),
      point("floats", all, all, false, CoreMask::additive),
      point("none", all, all, false, CoreMask::none),
  }};
}

Sizes descending(Sizes sizes) {
  std::reverse(sizes.begin(), sizes.end());
  return sizes;
}

}  // namespace

const char* unit_name(Unit unit) { return unit == Unit::byte ? "byte" : "multiply-add"; }

const std::vector<Axis>& all_axes() {
  const Sizes page_rows = descending(around({1, 4, 8, 16, 32, 64, 128, 256}, 1, 256));  // the smaller, the larger their table
  const Sizes lengths = around({2, 4, 8, 16, 32, 64, 128, 256, 512}, 1, 513);
  static const std::vector<Axis> axes = {
      over_cache("queries", "queries over a cache of 1024 keys, 12 heads of 64", Unit::multiply_add, {12, 12, 1024, 64, false}, every(1, 40), set_queries),
      over_cache("queries-shared", "queries over a cache of 1024 keys, 8 heads of 128, 4 a key head", Unit::multiply_add, {8, 2, 1024, 128, false},
                 every(1, 40), set_queries),
      over_cache("sharing", "heads a key head, one query over a cache of 1024 keys, 2 key heads of 64", Unit::multiply_add, {0, 2, 1024, 64, false},
                 every(1, 12), set_sharing),
      over_cache("sharing-48", "heads a key head, 48 queries over a cache of 512 keys, 2 key heads of 64", Unit::multiply_add,
                 {0, 2, 512, 64, false, 48}, every(1, 12), set_sharing),
      over_cache("key-width", "D, one query over a cache of 128 keys, 2 heads, values 64 wide", Unit::byte, {2, 2, 128, 0, false}, head_widths,
                 set_key_width),
      over_cache("key-width-48", "D, 48 queries over a cache of 256 keys, 4 heads, values 64 wide", Unit::multiply_add,
                 {4, 4, 256, 0, false, 48}, head_widths, set_key_width),
      over_cache("value-width", "Dv, one query over a cache of 128 keys, 2 heads, keys 64 wide", Unit::byte, {2, 2, 128, 64, false}, head_widths,
                 set_value_width),
      over_cache("value-width-48", "Dv, 48 queries over a cache of 256 keys, 4 heads, keys 64 wide", Unit::multiply_add,
                 {4, 4, 256, 64, false, 48}, head_widths, set_value_width),
      over_cache("keys", "keys of a cache, one query, 4 heads of 64", Unit::byte, {4, 4, 0, 64, false},
                 around({2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}, 1, 16385), set_keys),
      over_cache("keys-48", "keys of a cache, 48 queries, 4 heads of 64", Unit::multiply_add, {4, 4, 0, 64, false, 48},
                 around({64, 128, 256, 512, 1024, 2048, 4096}, 48, 4097), set_keys),
      self_attention("tokens", "tokens of self-attention, 8 heads of 64", 8, 64, lengths),
      layer_rows("rows", "tokens of a layer, 768 wide, 12 heads", 768, 12, every(1, 64)),
      layer_width("width", "width of a layer, 16 tokens, heads of 64", 16, 64,
                  {64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096}),
      projection_width("projection-width", "inputs and outputs of a projection of 16 rows", 16,
                       around({64, 72, 80, 88, 96, 104, 112, 120, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024}, 64, 1025)),
      over_cache("page-rows", "rows of a cache's pages, one query, 1024 keys, 4 heads of 64", Unit::byte, {4, 4, 1024, 64, false}, page_rows,
                 set_page_rows),
      over_cache("page-rows-48", "rows of a cache's pages, 48 queries, 1024 keys, 4 heads of 64", Unit::multiply_add,
                 {4, 4, 1024, 64, false, 48}, page_rows, set_page_rows),
      masks("masks", "kinds of masks, 512 tokens of self-attention, 8 heads of 64", 8, 512, 64),
  };
  return axes;
}

}  // namespace attend::bench
