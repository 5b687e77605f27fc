// The kernels of each usable ISA, one by one: every size around their tiles, page guards, bits.
#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "../tools/checks/kernels/every_kernel.h"
#include "base/dispatch.h"
#include "base/isas.h"
#include "data/low_precision.h"
#include "guarded_memory.h"

using namespace attend;
using namespace attend::checks;

namespace {

std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> tables;
  for (const IsaEntry& entry : isas) {
    if (const Kernels* kernels = find_kernels(entry.isa)) tables.push_back(kernels);
  }
  return tables;
}

/// The products of an ISA that this CPU has: also those that others come before.
std::vector<const Product*> usable_products(const Kernels& kernels) {
  std::vector<const Product*> products;
  for (int i = 0; const Product* product = usable_product(kernels.isa, i); ++i) products.push_back(product);
  for (int i = 0; const Product* product = usable_int4_product(kernels.isa, i); ++i) products.push_back(product);
  return products;
}

std::string name_of(const Kernels& kernels) { return isa_name(kernels.isa); }

/// Emulators set ATTEND_TEST_SHARE=N to take about 1 in N shapes.
std::uint64_t test_share() {
  const char* share = std::getenv("ATTEND_TEST_SHARE");
  return share != nullptr && std::atoi(share) > 1 ? static_cast<std::uint64_t>(std::atoi(share)) : 1;
}

/// least to two vectors and one more, around the tile, and a large one.
std::vector<std::int64_t> sizes(const Kernels& kernels, std::int64_t least, std::int64_t tile) {
  std::vector<std::int64_t> all;
  for (std::int64_t size = least; size <= 2 * kernels.lanes + 1; ++size) all.push_back(size);
  for (const std::int64_t size : {tile - 1, tile, tile + 1, std::int64_t{131}}) {
    if (size > 2 * kernels.lanes + 1) all.push_back(size);
  }
  return all;
}

std::vector<std::int64_t> range(std::int64_t least, std::int64_t most) {
  std::vector<std::int64_t> all;
  for (std::int64_t size = least; size <= most; ++size) all.push_back(size);
  return all;
}

/// Those and the widest of a head's row.
std::vector<std::int64_t> and_widest(std::vector<std::int64_t> all) {
  for (const std::int64_t size : {std::int64_t{512}, largest_head - 1, largest_head}) all.push_back(size);
  return all;
}


#if defined(__x86_64__)
__attribute__((target("avx"))) void load_one_of_eight(const float* last) {
  volatile __m256 loaded = _mm256_maskload_ps(last, _mm256_setr_epi32(-1, 0, 0, 0, 0, 0, 0, 0));
  static_cast<void>(loaded);
}
#endif

/// Whether AVX loads fault in elements that their mask hides: no CPU does that, but qemu 7.2.
bool masked_loads_fault() {
#if defined(__x86_64__)
  static const bool fault = [] {
    if (!isa_usable(Isa::avx2)) return false;
    GuardedMemory memory;
    memory.against_page_after();
    const float* last = memory.output("last", 1);
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGSEGV, SIG_DFL);
      load_one_of_eight(last);
      _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
  }();
  return fault;
#else
  return false;
#endif
}

/// Memory for checks, with pages that fault as near to its arrays as this machine allows.
class CheckMemory : public GuardedMemory {
 public:
  CheckMemory() { keep_from_page_after(masked_loads_fault() ? 64 : 0); }
  /// 0, 1 and 3: so many elements behind a page; anything else: right before one.
  void lie(int placement) {
    if (placement == 0 || placement == 1 || placement == 3) {
      against_page_before(static_cast<std::size_t>(placement));
    } else {
      against_page_after();
    }
  }
};

/// A size of a shape, all the values that it goes through, and those that it has while others do.
template <class Shape>
struct Dimension {
  std::int64_t Shape::*size;
  std::vector<std::int64_t> all, few;
};

/// Goes through one dimension at a time, twice. `complete` sets what depends on the sizes, and varies
/// the rest with its second argument, a random number.
template <class Shape, class Checker, class Complete>
void sweep(const Kernels& kernels, Checker check, const std::vector<Dimension<Shape>>& dimensions, Complete complete) {
  CheckMemory memory;
  const std::uint64_t share = test_share();
  std::uint64_t count = 0;
  for (const Dimension<Shape>& swept : dimensions) {
    std::int64_t combinations = 2;
    for (const Dimension<Shape>& other : dimensions) {
      if (&other != &swept) combinations *= static_cast<std::int64_t>(other.few.size());
    }
    for (const std::int64_t value : swept.all) {
      for (std::int64_t combination = 0; combination < combinations; ++combination) {
        Shape shape;
        std::int64_t rest = combination;
        for (const Dimension<Shape>& other : dimensions) {
          const auto few = static_cast<std::int64_t>(other.few.size());
          shape.*other.size = &other == &swept ? value : other.few[static_cast<std::size_t>(rest % few)];
          if (&other != &swept) rest /= few;
        }
        const std::uint64_t random = ++count * 0x9e3779b97f4a7c15u >> 32;
        if (random % share != 0) continue;
        complete(shape, static_cast<std::int64_t>(random / share));
        for (const int placement : {0, 1, 2, 3}) {
          memory.lie(placement);
          const Result result = check(kernels, shape, random, memory);
          if (!result.ok) {
            FAIL_CHECK(std::string(result.message));
            return;
          }
        }
      }
    }
  }
  CHECK(count > 0);
}

using Floats = std::vector<float>;

Floats random_floats(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  Floats values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

template <class Count>
std::size_t index(Count i) { return static_cast<std::size_t>(i); }

/// An array for a kernel, aligned to a cache line.
class Aligned {
 public:
  explicit Aligned(std::int64_t count, float value = 0.0f) : lines_(index(round_up(count, 16) / 16)) {
    std::fill(data(), data() + count, value);
  }
  float* data() { return lines_.empty() ? nullptr : lines_[0].floats; }
  float& operator[](std::int64_t i) { return data()[i]; }

 private:
  struct alignas(64) Line { float floats[16]; };
  std::vector<Line> lines_;
};

}  // namespace

TEST_CASE("kernels: the instruction sets of this CPU") {
  std::string required;
  if (const char* names = std::getenv("ATTEND_REQUIRE_ISA")) required = names;
  for (const IsaEntry& entry : isas) {
    const Isa isa = entry.isa;
    if (!isa_usable(isa)) {
      const std::string why = isa_compiled(isa) ? "this CPU lacks it" : "not part of this build";
      MESSAGE(std::string(isa_name(isa)), ": not tested, ", why);
    }
  }
  if (masked_loads_fault()) MESSAGE("masked loads fault here: pages that guard the ends of arrays are 64 bytes away");
  std::istringstream list(required);
  for (std::string name; std::getline(list, name, ',');) {
    Isa isa = Isa::best;
    REQUIRE_MESSAGE(isa_from_name(name.c_str(), &isa), "ATTEND_REQUIRE_ISA: no such ISA: ", name);
    CHECK_MESSAGE(isa_usable(isa), "ATTEND_REQUIRE_ISA: ", name, " is not usable here");
  }
}

TEST_CASE("kernels: pack") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes, tile = kernels->gemm_columns;
    sweep<PackShape>(*kernels, check_pack,
                     {{&PackShape::depth, sizes(*kernels, 0, 16), {1, 16, 35}},
                      {&PackShape::columns, sizes(*kernels, 0, tile), {1, lanes, tile - 1}}},
                     [&](PackShape& shape, std::int64_t random) {
                       shape.width = round_up(shape.columns, lanes) + random % 2 * lanes;
                       const std::int64_t stride = std::int64_t{1} + random % 3, gap = random % 4 / 3;
                       const bool transposed = random % 5 < 3;
                       shape.k_stride = transposed ? stride : shape.columns * stride + gap;
                       shape.n_stride = transposed ? shape.depth * stride + gap : stride;
                     });
  }
}

TEST_CASE("kernels: gemm") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes, rows = kernels->gemm_rows, columns = kernels->gemm_columns;
    sweep<GemmShape>(*kernels, check_gemm,
                     {{&GemmShape::rows, sizes(*kernels, 0, rows), {1, rows, 2 * rows - 1}},
                      {&GemmShape::depth, sizes(*kernels, 0, 4), {1, 8, 21}},
                      {&GemmShape::columns, range(1, columns), {1, lanes, columns - 1}},
                      {&GemmShape::head_size, sizes(*kernels, 1, lanes), {1, 5, 1000}}},
                     [&](GemmShape& shape, std::int64_t random) {
                       shape.width = random % 7 == 0 ? columns : round_up(shape.columns, lanes);
                       shape.k_stride = random % 5 < 3 ? 1 : random % 5 == 3 ? 2 : 0;
                       shape.gap = random % 3;
                       shape.first_column = random % 2 * 2 * columns + random % 11 / 10;
                       shape.element_stride = random % 4 == 3 ? 2 : 1;
                       shape.output_gap = random % 3;
                       shape.head_major = random % 4 > 1;
                       shape.bias = random % 2 == 0;
                     });
  }
}

TEST_CASE("kernels: products of low precision") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes;
    for (const Product* product : usable_products(*kernels)) {
      const auto check = [product](const Kernels& table, const GemmShape& shape, Seed seed, ArgumentMemory& memory) {
        return check_product_gemm(table, *product, shape, seed, memory);
      };
      const std::int64_t rows = product->rows, columns = product->columns;
      sweep<GemmShape>(*kernels, check,
                       {{&GemmShape::rows, range(0, 3 * rows + 1), {1, 2 * rows - 1}},
                        {&GemmShape::depth, sizes(*kernels, 0, 64), {1, 8, product->weights == WeightType::int4 ? 100 : 21}},
                        {&GemmShape::columns, range(1, columns), {1, lanes + 1, columns}},
                        {&GemmShape::head_size, sizes(*kernels, 1, lanes), {5, 1000}}},
                       [&](GemmShape& shape, std::int64_t random) {
                         shape.width = random % 7 == 0 ? columns : larger(round_up(shape.columns, lanes), product_least_vectors * lanes);
                         shape.k_stride = random % 5 < 3 ? 1 : random % 5 == 3 ? 2 : 0;
                         shape.gap = random % 3;
                         shape.first_column = random % 2 * 2 * columns + random % 11 / 10;
                         shape.element_stride = random % 4 == 3 ? 2 : 1;
                         shape.output_gap = random % 3;
                         shape.head_major = random % 4 > 1;
                         shape.bias = random % 2 == 0;
                       });
    }
  }
}

TEST_CASE("kernels: rows that products convert") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const Product* product : usable_products(*kernels)) {
      const auto check = [product](const Kernels& table, const ConvertRowShape& shape, Seed seed, ArgumentMemory& memory) {
        return check_convert_row(table, *product, shape, seed, memory);
      };
      sweep<ConvertRowShape>(*kernels, check,
                             {{&ConvertRowShape::depth, sizes(*kernels, 0, 64), {1, 2, 19}},
                              {&ConvertRowShape::stride, {0, 1, 2, 3}, {1, 2}},
                              {&ConvertRowShape::kind, range(0, row_kinds - 1), range(0, row_kinds - 1)}},
                             [](ConvertRowShape&, std::int64_t) {});
    }
  }
}

TEST_CASE("kernels: weights that products take") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const Product* product : usable_products(*kernels)) {
      const auto check = [product](const Kernels& table, const PackWeightsShape& shape, Seed seed, ArgumentMemory& memory) {
        return check_pack_weights(table, *product, shape, seed, memory);
      };
      sweep<PackWeightsShape>(*kernels, check,
                              {{&PackWeightsShape::inputs, product->weights == WeightType::int4 ? std::vector<std::int64_t>{1, 7, 31, 32, 33, 65, 129, 300} : range(1, 17), {1, 6, 16}},
                               {&PackWeightsShape::outputs, sizes(*kernels, 1, product->columns), {1, 2 * product->columns + 1}},
                               {&PackWeightsShape::stride, {0, 1, 2, 3}, {1, 2}}},
                              [](PackWeightsShape& shape, std::int64_t random) {
                                shape.gap = random % 3;
                                shape.bias_stride = random % 4;
                                shape.transposed = random % 2 == 0;
                                shape.stored = random % 7 < 2;
                                shape.bias = random % 5 < 3;
                              });
    }
  }
}

TEST_CASE("kernels: pack_queries") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->middle_tile, kernels->wide_tile}) {
      sweep<PackQueriesShape>(*kernels, check_pack_queries,
                              {{&PackQueriesShape::count, range(0, width), {1, width / 2, width}},
                               {&PackQueriesShape::depth, and_widest(sizes(*kernels, 0, 64)), {1, 8, 35}}},
                              [&](PackQueriesShape& shape, std::int64_t random) {
                                shape.width = width;
                                shape.stride = random % 4 == 3 ? 0 : 1 + random % 2;
                              });
    }
  }
}

TEST_CASE("kernels: scores") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->middle_tile, kernels->wide_tile}) {
      for (const int kind : {0, 1, 2}) {  // plain, masked, biased
        const bool general = kind > 0;
        sweep<ScoreShape>(*kernels, check_scores,
                          {{&ScoreShape::keys, sizes(*kernels, 0, 8), {1, 8, 15}},
                           {&ScoreShape::depth, and_widest(sizes(*kernels, 0, 64)), {1, 8, 21}},
                           {&ScoreShape::moving_lane, range(-1, width - 1), {-1}}},
                          [&](ScoreShape& shape, std::int64_t random) {
                            shape.width = width;
                            shape.general = general;
                            shape.biased = kind == 2;
                            shape.capped = general && random % 11 < 4;
                            shape.stride = random % 5 < 3 ? 1 : random % 5 == 3 ? 2 : 0;
                            shape.gap = random % 7 == 0 ? -shape.depth * shape.stride : random % 3;
                            shape.moving = random % 2 == 0 ? 50.0f : -50.0f;
                            if (general && shape.keys > 0 && random % 4 == 1) shape.nan_key = random % shape.keys;
                          });
      }
    }
  }
}

TEST_CASE("kernels: fill_visible and fill_bias") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->middle_tile, kernels->wide_tile}) {
      for (const Check<BiasShape> check : {check_fill_visible, check_fill_bias}) {
        sweep<BiasShape>(*kernels, check,
                         {{&BiasShape::keys, range(1, kernels->key_block), {1, 16, 33}},
                          {&BiasShape::lane_count, range(1, width), {1, width}},
                          {&BiasShape::mask_stride, {0, 1, 2, 3}, {1, 2}},
                          {&BiasShape::additive_stride, {0, 1, 2, 3}, {1, 2}}},
                         [&](BiasShape& shape, std::int64_t random) {
                           shape.width = width;
                           shape.masked = random % 2 == 0;
                           shape.additive = random % 3 == 0;
                           shape.tree = random % 5 == 0;
                           shape.relative = random % 7 < 4;
                         });
      }
    }
  }
}

TEST_CASE("kernels: rescale") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<RescaleShape>(*kernels, check_rescale,
                        {{&RescaleShape::columns, and_widest(sizes(*kernels, 0, 64)), {1}},
                         {&RescaleShape::lane_count, range(0, kernels->wide_tile), {1, 3}}},
                        [](RescaleShape&, std::int64_t) {});
  }
}

TEST_CASE("kernels: fold and unfold") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const Check<FoldShape> check : {check_fold, check_unfold}) {
      sweep<FoldShape>(*kernels, check, {{&FoldShape::count, range(0, 4 * kernels->lanes + 1), {1}}},
                       [](FoldShape& shape, std::int64_t random) { shape.first = random % 2 == 0; });
    }
  }
}

TEST_CASE("kernels: accumulate") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes;
    for (const std::int64_t width : {kernels->narrow_tile, kernels->middle_tile, kernels->wide_tile}) {
      sweep<AccumulateShape>(*kernels, check_accumulate,
                             {{&AccumulateShape::keys, sizes(*kernels, 0, 64), {1, 8, 21}},
                              {&AccumulateShape::columns, and_widest(range(0, 8 * lanes + 1)), {1, lanes, 4 * lanes - 1}},
                              {&AccumulateShape::first_lane, range(0, width), {0, width / 2, width - 1}},
                              {&AccumulateShape::lane_count, range(0, width), {1, width / 2 + 1, width}}},
                             [&](AccumulateShape& shape, std::int64_t random) {
                               shape.width = width;
                               shape.lane_count = std::min(shape.lane_count, width - shape.first_lane);
                               shape.gap = random % 7 == 0 ? -shape.columns : random % 3;
                               shape.accumulation = static_cast<Accumulation>(random / 8 % 3);
                             });
    }
  }
}

TEST_CASE("kernels: decode_scores") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<DecodeScoresShape>(*kernels, check_decode_scores,
                             {{&DecodeScoresShape::rows, range(1, decode_rows), {1, 3, 8}},
                              {&DecodeScoresShape::keys, range(0, 4 * kernels->lanes + 1), {1, 7, 33}},
                              {&DecodeScoresShape::depth, and_widest(sizes(*kernels, 1, 64)), {1, 8, 21}},
                              {&DecodeScoresShape::stride, {0, 1, 2}, {1, 3}}},
                             [&](DecodeScoresShape& shape, std::int64_t random) { shape.gap = random % 3; });
  }
}

TEST_CASE("kernels: decode_bias") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<DecodeBiasShape>(*kernels, check_decode_bias,
                           {{&DecodeBiasShape::keys, range(1, 4 * kernels->lanes + 1), {1, 33, 512}},
                            {&DecodeBiasShape::mask_stride, {0, 1, 2, 3}, {1, 2}},
                            {&DecodeBiasShape::additive_stride, {0, 1, 2, 3}, {1, 2}}},
                           [](DecodeBiasShape& shape, std::int64_t random) {
                             shape.masked = random % 2 == 0;
                             shape.additive = random % 3 == 0;
                             shape.relative = random % 5 < 2;
                           });
  }
}

TEST_CASE("kernels: decode_weights") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<DecodeWeightsShape>(*kernels, check_decode_weights, {{&DecodeWeightsShape::keys, range(0, 4 * kernels->lanes + 1), {1, 33, 512}}},
                              [&](DecodeWeightsShape& shape, std::int64_t random) {
                                shape.capped = random % 3 == 0;
                                shape.biased = random % 2 == 0;
                                const float levels[] = {0.0f, 1000.0f, -1000.0f, 3e7f};
                                shape.level = levels[random / 8 % 4];
                                if (random % 4 < 2 || shape.keys == 0) return;
                                shape.special_score = random % shape.keys;
                                const float specials[] = {not_a_number, infinity, -infinity};
                                shape.special = specials[random / 32 % 3];
                              });
  }
}

TEST_CASE("kernels: decode_values") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes;
    sweep<DecodeValuesShape>(*kernels, check_decode_values,
                             {{&DecodeValuesShape::rows, range(1, decode_rows), {1, 3, 8}},
                              {&DecodeValuesShape::keys, sizes(*kernels, 0, 64), {1, 8, 21}},
                              {&DecodeValuesShape::columns, and_widest(range(1, 10 * lanes + 1)), {1, lanes, 4 * lanes - 1}},
                              {&DecodeValuesShape::stride, {0, 1, 2}, {1, 3}}},
                             [&](DecodeValuesShape& shape, std::int64_t random) {
                               shape.gap = random % 3;
                               shape.left = 1 + random % decode_group;
                               shape.continues = shape.left < decode_group && random % 2 == 0;
                               shape.ends = random % 5 < 2;
                             });
  }
}

TEST_CASE("kernels: finish") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<FinishShape>(*kernels, check_finish,
                       {{&FinishShape::lane_count, sizes(*kernels, 0, kernels->wide_tile), {1, 2, 3}},
                        {&FinishShape::columns, and_widest(sizes(*kernels, 0, 64)), {1, 8, 33}},
                        {&FinishShape::stride, {1, 2, 3}, {1, 2}}},
                       [&](FinishShape& shape, std::int64_t random) {
                         if (random % 3 == 0 || shape.columns == 0 || shape.lane_count == 0) return;
                         shape.broken_lane = random % shape.lane_count;
                         shape.broken_column = random % 2 == 0 ? shape.columns - 1 : random % shape.columns;
                         shape.broken = random % 3 == 1 ? not_a_number : random % 2 == 0 ? infinity : -infinity;
                       });
  }
}

TEST_CASE("kernels: write_weights") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->middle_tile, kernels->wide_tile}) {
      sweep<WriteWeightsShape>(*kernels, check_write_weights,
                               {{&WriteWeightsShape::keys, sizes(*kernels, 0, 64), {1, 8, 21}},
                                {&WriteWeightsShape::lane_count, range(0, width), {1, width / 2 + 1, width}},
                                {&WriteWeightsShape::stride, {1, 2, 3}, {1, 2}}},
                               [&](WriteWeightsShape& shape, std::int64_t random) {
                                 shape.width = width;
                                 shape.add = random % 2 == 0;
                               });
    }
  }
}

TEST_CASE("kernels: softmax") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<SoftmaxShape>(*kernels, check_softmax,
                        {{&SoftmaxShape::total, sizes(*kernels, 0, 64), {1, 19, 40}},
                         {&SoftmaxShape::visible, sizes(*kernels, 0, 64), {0, 1, 19, 40}},
                         {&SoftmaxShape::destination_stride, {1, 2, 3}, {1, 2}}},
                        [&](SoftmaxShape& shape, std::int64_t random) {
                          shape.visible = std::min(shape.visible, shape.total);
                          shape.in_place = random % 2 == 0;
                          shape.source_stride = shape.in_place ? shape.destination_stride : random % 4;
                          shape.level = random % 3 == 0 ? 0.0f : random % 3 == 1 ? -1e6f : 1e4f;
                          if (random % 5 != 0 || shape.visible == 0) return;
                          shape.special_score = random % shape.visible;
                          shape.special = random % 3 == 0 ? not_a_number : random % 3 == 1 ? -infinity : infinity;
                        });
  }
}

TEST_CASE("kernels: copy") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<CopyShape>(*kernels, check_copy,
                     {{&CopyShape::rows, range(0, 5), {1, 2, 3}},
                      {&CopyShape::columns, and_widest(sizes(*kernels, 0, 64)), {1, 8, 33}},
                      {&CopyShape::source_stride, {0, 1, 2, 3}, {1, 2}},
                      {&CopyShape::destination_stride, {1, 2, 3}, {1, 2}}},
                     [&](CopyShape& shape, std::int64_t random) {
                       shape.source_gap = random % 5 == 4 ? -shape.columns * shape.source_stride : random % 3;
                       shape.destination_gap = random % 2;
                     });
  }
}

TEST_CASE("kernels: fill") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<FillShape>(*kernels, check_fill,
                     {{&FillShape::count, sizes(*kernels, 0, 64), {1, 8, 33}}, {&FillShape::stride, {1, 2, 3}, {1, 2}}},
                     [](FillShape&, std::int64_t) {});
  }
}

TEST_CASE("kernels: exp2 of arrays") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<Exp2Shape>(*kernels, check_exp2_array, {{&Exp2Shape::count, sizes(*kernels, 0, 64), {1}}},
                     [](Exp2Shape&, std::int64_t) {});
  }
}

TEST_CASE("kernels: rotate") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<RotateShape>(*kernels, check_rotate,
                       {{&RotateShape::pairs, and_widest(sizes(*kernels, 0, 64)), {1, 8, 33}},
                        {&RotateShape::columns, sizes(*kernels, 0, 64), {0, 1, 19}},
                        {&RotateShape::source_stride, {0, 1, 2, 3}, {1, 2}},
                        {&RotateShape::destination_stride, {1, 2, 3}, {1, 2}}},
                       [&](RotateShape& shape, std::int64_t random) {
                         shape.columns += 2 * shape.pairs;
                         shape.interleaved = random % 2 == 0;
                         shape.in_place = random % 3 == 0;
                         if (shape.in_place) shape.source_stride = shape.destination_stride;
                       });
  }
}

TEST_CASE("kernels: rms_norm") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<RmsNormShape>(*kernels, check_rms_norm,
                        {{&RmsNormShape::columns, and_widest(sizes(*kernels, 1, 64)), {1, 8, 33}},
                         {&RmsNormShape::source_stride, {0, 1, 2, 3}, {1, 2}},
                         {&RmsNormShape::weight_stride, {0, 1, 2, 3}, {1, 2}},
                         {&RmsNormShape::destination_stride, {1, 2, 3}, {1, 2}}},
                        [&](RmsNormShape& shape, std::int64_t random) {
                          shape.weighted = random % 4 != 0;
                          shape.in_place = random % 3 == 0;
                          if (shape.in_place) shape.source_stride = shape.destination_stride;
                        });
  }
}

TEST_CASE("kernels: normalize") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<NormalizeShape>(*kernels, check_normalize,
                          {{&NormalizeShape::columns, and_widest(sizes(*kernels, 1, 64)), {1, 8, 33}},
                           {&NormalizeShape::source_stride, {1, 2, 3}, {1, 2}},
                           {&NormalizeShape::weight_stride, {0, 1, 2, 3}, {1, 2}},
                           {&NormalizeShape::destination_stride, {1, 2, 3}, {1, 2}}},
                          [&](NormalizeShape& shape, std::int64_t random) {
                            shape.centred = random % 2 != 0;
                            shape.weighted = random % 4 != 0;
                            shape.biased = random % 3 != 0;
                            shape.added = random % 5 < 3;
                            shape.kept = random % 7 < 4;
                            shape.in_place = random % 11 < 5;
                          });
  }
}

TEST_CASE("kernels: activate") {
  for (const Kernels* kernels : usable_kernels()) {
    for (int activation = 0; activation < 5; ++activation) {
      sweep<ActivateShape>(*kernels, check_activate,
                           {{&ActivateShape::columns, sizes(*kernels, 1, 64), {1, 8, 33}},
                            {&ActivateShape::rows, {0, 1, 2, 3}, {1, 2}},
                            {&ActivateShape::stride, {1, 2, 3}, {1, 2}},
                            {&ActivateShape::gap, {0, 1, 5}, {0, 3}},
                            {&ActivateShape::multiplier_stride, {0, 1, 2}, {1, 2}}},
                           [&](ActivateShape& shape, std::int64_t random) {
                             shape.activation = activation;
                             shape.multiplied = random % 2 != 0;
                           });
    }
  }
}

TEST_CASE("kernels: random shapes") {
  for (const Kernels* kernels : usable_kernels()) {
    CheckMemory memory;
    for (std::uint64_t seed = 0; seed < 400 / test_share(); ++seed) {
      memory.lie(static_cast<int>(seed % 4));
      const Result result = check_random_shapes(*kernels, seed, memory);
      REQUIRE_MESSAGE(result.ok, std::string(result.message));
    }
    const Result result = check_kernels(kernels->isa, 1);  // as attend verify calls them
    CHECK_MESSAGE(result.ok, std::string(result.message));
  }
  for (const IsaEntry& entry : isas) {
    if (!isa_usable(entry.isa)) CHECK_FALSE(check_kernels(entry.isa, 1).ok);
  }
}

namespace {

/// Every argument of every kernel that counts something, and what is one less of it.
const Kernels* sound;
template <class Returned, class Arguments, Returned (*Kernels::*kernel)(const Arguments*),
          std::int64_t Arguments::*count>
Returned one_less(const Arguments* arguments) {
  Arguments fewer = *arguments;
  if (fewer.*count > 1) --(fewer.*count);  // some are 1 at least
  return (sound->*kernel)(&fewer);
}

}  // namespace

TEST_CASE("kernels: the checks see a count that is one too small") {
  struct Broken {
    const char* what;
    void (*put_into)(Kernels& kernels);
  };
#define ONE_LESS(Returned, kernel, Arguments, count)                                        \
  {#kernel ": " #count, [](Kernels& kernels) {                                              \
     kernels.kernel = one_less<Returned, Arguments, &Kernels::kernel, &Arguments::count>;   \
   }}
  const Broken all[] = {
      ONE_LESS(void, pack, PackArguments, depth),
      ONE_LESS(void, pack, PackArguments, columns),
      ONE_LESS(void, gemm, GemmArguments, row_count),
      ONE_LESS(void, gemm, GemmArguments, depth),
      ONE_LESS(void, gemm, GemmArguments, columns),
      ONE_LESS(void, pack_queries, PackQueriesArguments, count),
      ONE_LESS(void, pack_queries, PackQueriesArguments, depth),
      ONE_LESS(int, scores_plain, ScoreArguments, key_count),
      ONE_LESS(int, scores_plain, ScoreArguments, depth),
      ONE_LESS(int, scores_general, ScoreArguments, key_count),
      ONE_LESS(int, scores_general, ScoreArguments, depth),
      ONE_LESS(int, fill_visible, VisibleArguments, lane_count),
      ONE_LESS(int, fill_visible, VisibleArguments, key_count),
      ONE_LESS(void, fill_bias, BiasArguments, lane_count),
      ONE_LESS(void, fill_bias, BiasArguments, key_count),
      ONE_LESS(void, rescale, RescaleArguments, lane_count),
      ONE_LESS(void, rescale, RescaleArguments, columns),
      ONE_LESS(void, accumulate, AccumulateArguments, key_count),
      ONE_LESS(void, accumulate, AccumulateArguments, lane_count),
      ONE_LESS(void, accumulate, AccumulateArguments, columns),
      ONE_LESS(void, decode_scores, DecodeScoresArguments, rows),
      ONE_LESS(void, decode_scores, DecodeScoresArguments, key_count),
      ONE_LESS(void, decode_scores, DecodeScoresArguments, depth),
      ONE_LESS(float, decode_bias, DecodeBiasArguments, key_count),
      ONE_LESS(void, decode_values, DecodeValuesArguments, rows),
      ONE_LESS(void, decode_values, DecodeValuesArguments, key_count),
      ONE_LESS(void, decode_values, DecodeValuesArguments, columns),
      ONE_LESS(bool, finish, FinishArguments, lane_count),
      ONE_LESS(bool, finish, FinishArguments, columns),
      ONE_LESS(void, write_weights, WriteWeightsArguments, key_count),
      ONE_LESS(void, write_weights, WriteWeightsArguments, lane_count),
      ONE_LESS(void, softmax, SoftmaxArguments, visible),
      ONE_LESS(void, softmax, SoftmaxArguments, total),
      ONE_LESS(void, copy, CopyArguments, rows),
      ONE_LESS(void, copy, CopyArguments, columns),
      ONE_LESS(void, rotate, RotateArguments, pairs),
      ONE_LESS(void, rotate, RotateArguments, columns),
      ONE_LESS(void, rms_norm, RmsNormArguments, columns),
  };
#undef ONE_LESS
  sound = find_kernels(Isa::scalar);
  for (const Broken& broken : all) {
    Kernels kernels = *sound;
    broken.put_into(kernels);
    HeapMemory memory(0);
    bool seen = false;
    for (std::uint64_t seed = 0; seed < 50 && !seen; ++seed) seen = !check_random_shapes(kernels, seed, memory).ok;
    CHECK_MESSAGE(seen, std::string(broken.what));
  }
}

namespace {

const Product* sound_product;
template <std::int64_t GemmArguments::*count>
void gemm_one_less(const GemmArguments* arguments) {
  GemmArguments fewer = *arguments;
  if (fewer.*count > 1) --(fewer.*count);
  sound_product->gemm(&fewer);
}
void convert_one_less(const ConvertRowArguments* arguments) {
  ConvertRowArguments fewer = *arguments;
  if (fewer.depth > 1) --fewer.depth;
  sound_product->convert_row(&fewer);
}

}  // namespace

TEST_CASE("kernels: the checks of products see a count that is one too small") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const Product* product : usable_products(*kernels)) {
      sound_product = product;
      Product broken[] = {*product, *product, *product, *product};
      broken[0].gemm = gemm_one_less<&GemmArguments::row_count>;
      broken[1].gemm = gemm_one_less<&GemmArguments::depth>;
      broken[2].gemm = gemm_one_less<&GemmArguments::columns>;
      broken[3].convert_row = convert_one_less;
      for (const Product& each : broken) {
        if (product->row_bytes == 0 && &each == &broken[3]) continue;
        HeapMemory memory(0);
        bool seen = false;
        for (std::uint64_t seed = 0; seed < 50 && !seen; ++seed) {
          Random random(seed);
          seen = !check_product(*kernels, each, random, memory).ok;
        }
        CHECK_MESSAGE(seen, name_of(*kernels), " ", name_of("each", *product), " ", &each - broken);
      }
    }
  }
}

TEST_CASE("kernels: sums of int8 are exact in the longest rows") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const Product* product : usable_products(*kernels)) {
      if (product->arithmetic != Arithmetic::int8) continue;
      GemmShape shape;
      shape.rows = product->rows;
      shape.depth = 65536;
      shape.columns = shape.width = shape.head_size = product_least_vectors * kernels->lanes;
      HeapMemory memory(0);
      const Result result = check_product_gemm(*kernels, *product, shape, 1, memory);
      CHECK_MESSAGE(result.ok, std::string(result.message));
    }
  }
}

TEST_CASE("kernels: exp2 is accurate everywhere") {
  for (const Kernels* kernels : usable_kernels()) {
    const auto step = static_cast<std::uint32_t>(64 * test_share());  // every 64th float of [-126, 127]
    double worst = 0.0;
    float worst_at = 0.0f;
    std::vector<float> arguments, powers;
    const auto measure = [&] {
      powers.resize(arguments.size());
      kernels->exp2_array(arguments.data(), powers.data(), static_cast<std::int64_t>(arguments.size()));
      for (std::size_t i = 0; i < arguments.size(); ++i) {
        const double exact = std::exp2(static_cast<double>(arguments[i]));
        const double error = std::abs(powers[i] / exact - 1.0);
        if (!(error <= worst)) {
          worst = error;
          worst_at = arguments[i];
        }
      }
      arguments.clear();
    };
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float last = sign ? 126.0f : 127.0f;
      std::uint32_t last_bits;
      std::memcpy(&last_bits, &last, sizeof(last));
      for (std::uint32_t bits = 0; bits < last_bits; bits += step) {
        const std::uint32_t number = sign | std::min(last_bits, bits + bits / step % step);
        float x;
        std::memcpy(&x, &number, sizeof(x));
        arguments.push_back(x);
        if (arguments.size() == 4096) measure();
      }
    }
    for (float x = -126.0f; x <= 127.0f; x += 0x1p-14f * static_cast<float>(test_share())) {
      arguments.push_back(x);
      if (arguments.size() == 4096) measure();
    }
    measure();
    MESSAGE(name_of(*kernels), ": worst relative error of exp2 ", worst, " at ", worst_at);
    CHECK(worst <= exp2_error(kernels->isa));
  }
}

TEST_CASE("kernels: exp2 of special numbers") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const auto power = [&](float x) {
      Floats arguments(19, x), powers(19);
      kernels->exp2_array(arguments.data(), powers.data(), 19);
      for (const float each : powers) {
        const bool same = same_bits(each, powers[0]) || (std::isnan(each) && std::isnan(powers[0]));
        CHECK(same);
      }
      return powers[0];
    };
    CHECK(power(0.0f) == 1.0f);
    CHECK(power(-0.0f) == 1.0f);
    for (int n = -126; n <= 127; ++n) CHECK(power(static_cast<float>(n)) == std::ldexp(1.0f, n));
    const float edge = power(std::nextafter(-126.0f, -127.0f));
    CHECK((edge == 0.0f || (edge >= 0x1.fffep-127f && edge <= 0x1p-126f)));
    for (const float x : {std::nextafter(-126.5f, -127.0f), -127.0f, -150.0f, -1e6f, -0x1p24f, -1e38f, -infinity}) {
      CHECK(same_bits(power(x), 0.0f));
    }
    CHECK(std::isnan(power(not_a_number)));
    CHECK(std::isnan(power(-not_a_number)));
    CHECK_FALSE(std::isfinite(power(infinity)));
  }
}

namespace {

/// One tile of queries of width 1; scores are keys, plus biases of 0 where `biased`.
struct Tile {
  const Kernels& kernels;
  bool biased;
  std::int64_t width = kernels.narrow_tile;
  std::uint32_t unseen = ~0u;
  Aligned queries{width, 1.0f}, start{width};
  Aligned block_sum{width}, block_maximum{width}, weights{64 * width}, bias{64 * width};

  Tile(const Kernels& table, bool with_bias) : kernels(table), biased(with_bias) {}

  /// The last lane's scores of these keys; the others are hidden.
  bool score(const Floats& keys) {
    for (std::int64_t lane = 0; lane < width; ++lane) {
      block_sum[lane] = 0.0f;
      block_maximum[lane] = -infinity;
    }
    const std::vector<std::uint32_t> visible(keys.size(), 1u << (width - 1));
    ScoreArguments arguments = {};
    arguments.keys = keys.data();
    arguments.key_row_stride = arguments.key_stride = 1;
    arguments.key_count = static_cast<std::int64_t>(keys.size());
    arguments.depth = 1;
    arguments.queries = queries.data();
    arguments.width = width;
    arguments.start = start.data();
    arguments.unseen = unseen;
    arguments.visible = visible.data();
    arguments.bias = biased ? bias.data() : nullptr;
    arguments.weights = weights.data();
    arguments.block_sum = block_sum.data();
    arguments.block_maximum = block_maximum.data();
    return (kernels.scores_general(&arguments) & block_moves) != 0;
  }
  float& last(Aligned& array) { return array[width - 1]; }
  float weight(std::int64_t key) { return weights[key * width + width - 1]; }
};

}  // namespace

TEST_CASE("kernels: scores ask for a move when the maximum has to") {
  for (const Kernels* kernels : usable_kernels()) for (const bool biased : {false, true}) {
    CAPTURE(name_of(*kernels));
    CAPTURE(biased);
    for (const bool seen : {false, true}) {  // above by more than 24
      Tile tile(*kernels, biased);
      if (seen) tile.unseen = 0;
      CHECK_FALSE(tile.score({1.0f, 24.0f, -30.0f}));
      CHECK(tile.last(tile.block_maximum) == 24.0f);
      CHECK(tile.score({1.0f, 30.5f, 2.0f}));
      CHECK(tile.last(tile.block_maximum) == 30.5f);
      CHECK(tile.score({std::nextafter(24.0f, 25.0f)}));
      tile.last(tile.start) = 31.0f;
      CHECK_FALSE(tile.score({1.0f, 30.5f, 2.0f}));
      CHECK(tile.weight(0) == std::ldexp(1.0f, -30));
      CHECK(tile.weight(1) == doctest::Approx(std::sqrt(0.5)));
    }
    {  // below in the first block that a lane sees, and closely from there on
      Tile tile(*kernels, biased);
      CHECK_FALSE(tile.score({biased ? -4.0f : -24.0f}));
      CHECK(tile.score({std::nextafter(biased ? -4.0f : -24.0f, -infinity)}));
      CHECK(tile.score({-1000.25f, -1001.0f}));
      tile.last(tile.start) = -1000.0f;
      CHECK_FALSE(tile.score({-1000.25f, -1001.0f}));
      CHECK(tile.weight(0) == doctest::Approx(std::exp2(-0.25)));
      CHECK(tile.weight(1) == 0.5f);
      CHECK_FALSE(tile.score({-998.0f}));
      CHECK(tile.score({-997.5f}));
    }
    {  // not below later
      Tile tile(*kernels, biased);
      tile.unseen = ~(1u << (tile.width - 1));
      CHECK_FALSE(tile.score({-1000.0f}));
      CHECK(tile.weight(0) == 0.0f);
    }
    {  // not for keys of -inf
      Tile tile(*kernels, biased);
      CHECK_FALSE(tile.score({-infinity, -infinity}));
      CHECK(tile.last(tile.block_maximum) == -infinity);
      CHECK(tile.last(tile.block_sum) == 0.0f);
    }
    {  // for +inf, which no maximum contains: the row is lost
      Tile tile(*kernels, biased);
      CHECK(tile.score({1.0f, infinity}));
      CHECK(tile.last(tile.block_maximum) == infinity);
      CHECK_FALSE(std::isfinite(tile.last(tile.block_sum)));
    }
    {  // not for NaN, which reaches the sum
      Tile tile(*kernels, biased);
      for (const Floats& keys : {Floats{not_a_number, 1.0f}, Floats{1.0f, not_a_number}}) {
        CHECK_FALSE(tile.score(keys));
        CHECK(tile.last(tile.block_maximum) == 1.0f);
        CHECK(std::isnan(tile.last(tile.block_sum)));
        CHECK(std::isnan(tile.weight(0)) == std::isnan(keys[0]));
      }
      for (std::int64_t lane = 0; lane < tile.width - 1; ++lane) CHECK(tile.block_sum[lane] == 0.0f);
    }
  }
}

namespace {

/// Every element `stride` apart, NaN in between.
Floats spread(const Floats& values, std::int64_t stride) {
  Floats result(values.size() * index(stride), not_a_number);
  for (std::size_t i = 0; i < values.size(); ++i) result[i * index(stride)] = values[i];
  return result;
}

/// Columns [first, first + columns) of a b, rows [row, row + rows); a has its elements `stride` apart.
Floats product(const Kernels& kernels, const Floats& a, const Floats& b, std::int64_t depth, std::int64_t all_columns,
               std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t columns, std::int64_t stride) {
  Aligned panel(depth * kernels.gemm_columns);
  PackArguments pack = {};
  pack.source = b.data() + first;
  pack.k_stride = all_columns;
  pack.n_stride = 1;
  pack.depth = depth;
  pack.columns = columns;
  pack.width = round_up(columns, kernels.lanes);
  pack.panel = panel.data();
  kernels.pack(&pack);
  Floats c(index(rows * columns));
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (std::int64_t r = 0; r < rows; ++r) {
    inputs.push_back(a.data() + (row + r) * depth * stride);
    outputs.push_back(c.data() + r * columns);
  }
  GemmArguments gemm = {};
  gemm.rows = inputs.data();
  gemm.outputs = outputs.data();
  gemm.row_count = rows;
  gemm.k_stride = stride;
  gemm.depth = depth;
  gemm.panel = panel.data();
  gemm.width = pack.width;
  gemm.columns = columns;
  gemm.head_size = columns;
  gemm.element_stride = 1;
  gemm.ahead = panel.data();
  kernels.gemm(&gemm);
  return c;
}

}  // namespace

TEST_CASE("kernels: a product has the same bits in any tile") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const std::int64_t rows = 2 * kernels->gemm_rows + 3, columns = kernels->gemm_columns, depth = 37;
    const Floats a = random_floats(index(rows * depth), 1), b = random_floats(index(depth * columns), 2);
    const Floats whole = product(*kernels, a, b, depth, columns, 0, rows, 0, columns, 1);
    std::int64_t differing = 0;
    const auto compare = [&](std::int64_t row, std::int64_t count, std::int64_t first, std::int64_t width) {
      const Floats part = product(*kernels, a, b, depth, columns, row, count, first, width, 1);
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t c = 0; c < width; ++c) {
          differing += !same_bits(part[index(r * width + c)], whole[index((row + r) * columns + first + c)]);
        }
      }
    };
    for (std::int64_t count = 1; count <= rows; ++count) compare(rows - count, count, 0, columns);
    for (std::int64_t width = 1; width <= columns; ++width) compare(0, rows, columns - width, width);
    CHECK(differing == 0);
    for (const std::int64_t stride : {2, 3}) {
      CHECK(product(*kernels, spread(a, stride), b, depth, columns, 0, rows, 0, columns, stride) == whole);
    }
  }
}

namespace {

struct Scores {
  Floats weights, sums, maxima;  // [key][query], [query], [query]
};

enum class Kind { plain, masked, biased };

/// Scores of keys [key, key + keys) and queries [query, query + count), whose elements lie `stride`
/// apart; in as many calls as `step` makes of the keys. Biases are 0, masks hide nothing but what `visible` says.
Scores score(const Kernels& kernels, const Floats& k, const Floats& q, std::int64_t depth, std::int64_t key,
             std::int64_t keys, std::int64_t query, std::int64_t count, std::int64_t width, std::int64_t step,
             Kind kind, std::int64_t stride, const std::vector<std::uint32_t>& visible = {}) {
  Aligned panel(depth * width), start(width, 2.0f), block_sum(width), block_maximum(width, -infinity);
  Aligned weights(keys * width), bias(keys * width);
  const std::vector<std::uint32_t> all(index(keys), ~0u);
  std::vector<const float*> queries;
  for (std::int64_t lane = 0; lane < count; ++lane) queries.push_back(q.data() + (query + lane) * depth * stride);
  PackQueriesArguments pack = {};
  pack.queries = queries.data();
  pack.count = count;
  pack.stride = stride;
  pack.depth = depth;
  pack.width = width;
  pack.scale = 0.7f;
  pack.panel = panel.data();
  kernels.pack_queries(&pack);
  for (std::int64_t first = 0; first < keys; first += step) {
    ScoreArguments arguments = {};
    arguments.keys = k.data() + (key + first) * depth * stride;
    arguments.key_row_stride = depth * stride;
    arguments.key_stride = stride;
    arguments.key_count = std::min(step, keys - first);
    arguments.depth = depth;
    arguments.queries = panel.data();
    arguments.width = width;
    arguments.start = start.data();
    arguments.unseen = ~0u;
    arguments.visible = (visible.empty() ? all : visible).data() + first;
    arguments.bias = kind == Kind::biased ? bias.data() + first * width : nullptr;
    arguments.weights = weights.data() + first * width;
    arguments.block_sum = block_sum.data();
    arguments.block_maximum = block_maximum.data();
    kind == Kind::plain ? kernels.scores_plain(&arguments) : kernels.scores_general(&arguments);
  }
  Scores scores;
  for (std::int64_t j = 0; j < keys; ++j) {
    for (std::int64_t lane = 0; lane < count; ++lane) scores.weights.push_back(weights[j * width + lane]);
  }
  scores.sums.assign(block_sum.data(), block_sum.data() + count);
  scores.maxima.assign(block_maximum.data(), block_maximum.data() + count);
  return scores;
}

}  // namespace

TEST_CASE("kernels: scores have the same bits in any tile, and in both kernels") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const std::int64_t wide = kernels->wide_tile, keys = 21, depth = 37;
    const Floats k = random_floats(index(keys * depth), 3), q = random_floats(index(wide * depth), 4);
    const Scores whole = score(*kernels, k, q, depth, 0, keys, 0, wide, wide, keys, Kind::plain, 1);
    std::int64_t differing = 0;
    const auto compare = [&](std::int64_t key, std::int64_t key_count, std::int64_t query, std::int64_t count,
                             std::int64_t width, std::int64_t step, Kind kind) {
      const Scores part = score(*kernels, k, q, depth, key, key_count, query, count, width, step, kind, 1);
      for (std::int64_t lane = 0; lane < count; ++lane) {
        for (std::int64_t j = 0; j < key_count; ++j) {
          differing += !same_bits(part.weights[index(j * count + lane)],
                                  whole.weights[index((key + j) * wide + query + lane)]);
        }
        if (key_count < keys) continue;
        differing += !same_bits(part.sums[index(lane)], whole.sums[index(query + lane)]);
        differing += !same_bits(part.maxima[index(lane)], whole.maxima[index(query + lane)]);
      }
    };
    for (const Kind kind : {Kind::plain, Kind::masked, Kind::biased}) {
      for (std::int64_t n = 1; n <= keys; ++n) compare(0, keys, 0, wide, wide, n, kind);
      for (std::int64_t n = 1; n <= keys; ++n) compare(keys - n, n, 0, wide, wide, n, kind);
      for (std::int64_t n = 1; n <= wide; ++n) compare(0, keys, wide - n, n, wide, keys, kind);
      for (const std::int64_t width : {kernels->middle_tile, kernels->narrow_tile}) {
        for (std::int64_t n = 1; n <= keys; ++n) compare(keys - n, n, 0, width, width, n, kind);
        for (std::int64_t n = 1; n <= width; ++n) compare(0, keys, wide - n, n, width, keys, kind);
      }
    }
    CHECK(differing == 0);
    for (const std::int64_t stride : {2, 3}) {
      const Scores strided =
          score(*kernels, spread(k, stride), spread(q, stride), depth, 0, keys, 0, wide, wide, keys, Kind::plain, stride);
      CHECK(strided.weights == whole.weights);
    }
  }
}

TEST_CASE("kernels: what is hidden has no influence, whatever it is") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const std::int64_t keys = 21, depth = 37;
    for (const std::int64_t width : {kernels->wide_tile, kernels->middle_tile, kernels->narrow_tile}) {
      const Floats q = random_floats(index(width * depth), 4);
      for (const std::uint32_t seeing : {0u, 0x55555555u}) {  // lanes that see the key in question
        for (std::int64_t j = 0; j < keys; ++j) {
          std::vector<std::uint32_t> visible(index(keys), 0xf7ffff7fu);
          visible[index(j)] = seeing;
          for (const Kind kind : {Kind::masked, Kind::biased}) {
            Floats k = random_floats(index(keys * depth), 3);
            const Scores expected = score(*kernels, k, q, depth, 0, keys, 0, width, width, keys, kind, 1, visible);
            for (const float odd : {not_a_number, infinity, -infinity, 3e38f, -3e38f}) {
              std::fill_n(k.begin() + j * depth, depth, odd);
              const Scores scores = score(*kernels, k, q, depth, 0, keys, 0, width, width, keys, kind, 1, visible);
              std::int64_t differing = 0;
              for (std::int64_t lane = 0; lane < width; ++lane) {
                if ((seeing >> lane & 1) != 0) {
                  if (std::isnan(odd)) differing += !std::isnan(scores.sums[index(lane)]);
                  continue;
                }
                differing += !same_bits(scores.sums[index(lane)], expected.sums[index(lane)]);
                differing += !same_bits(scores.maxima[index(lane)], expected.maxima[index(lane)]);
                differing += !same_bits(scores.weights[index(j * width + lane)], 0.0f);
                for (std::int64_t i = 0; i < keys; ++i) {
                  differing += !same_bits(scores.weights[index(i * width + lane)], expected.weights[index(i * width + lane)]);
                }
              }
              CHECK_MESSAGE(differing == 0, odd, " in key ", j);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("kernels: accumulated outputs have the same bits in any tile") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const std::int64_t wide = kernels->wide_tile, narrow = kernels->narrow_tile, keys = 21;
    const std::int64_t columns = 5 * kernels->lanes + 3;
    const Floats weights = random_floats(index(keys * wide), 5), values = random_floats(index(keys * columns), 6);
    const Floats start = random_floats(index(wide * columns), 7);
    // Lanes [lane, lane + count) of the whole, from lane `at` on in a tile of `width`; `step` keys a call.
    const auto accumulate = [&](std::int64_t lane, std::int64_t count, std::int64_t at, std::int64_t width,
                                std::int64_t column, std::int64_t column_count, std::int64_t step) {
      const std::int64_t stride = round_up(column_count, kernels->lanes);
      Aligned tile(keys * width), output(width * stride);
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t j = 0; j < keys; ++j) tile[j * width + at + i] = weights[index(j * wide + lane + i)];
        for (std::int64_t c = 0; c < column_count; ++c) {
          output[(at + i) * stride + c] = start[index((lane + i) * columns + column + c)];
        }
      }
      for (std::int64_t first = 0; first < keys; first += step) {
        AccumulateArguments arguments = {};
        arguments.weights = tile.data() + first * width + at;
        arguments.width = width;
        arguments.lane_count = count;
        arguments.values = values.data() + first * columns + column;
        arguments.value_row_stride = columns;
        arguments.key_count = std::min(step, keys - first);
        arguments.columns = column_count;
        arguments.accumulation = Accumulation::extend;
        arguments.output = output.data() + at * stride;
        arguments.output_stride = stride;
        kernels->accumulate(&arguments);
      }
      Floats sums;
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t c = 0; c < column_count; ++c) sums.push_back(output[(at + i) * stride + c]);
      }
      return sums;
    };
    const Floats whole = accumulate(0, wide, 0, wide, 0, columns, keys);
    std::int64_t differing = 0;
    const auto compare = [&](std::int64_t lane, std::int64_t count, std::int64_t at, std::int64_t width,
                             std::int64_t column, std::int64_t column_count, std::int64_t step) {
      const Floats part = accumulate(lane, count, at, width, column, column_count, step);
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t c = 0; c < column_count; ++c) {
          differing += !same_bits(part[index(i * column_count + c)], whole[index((lane + i) * columns + column + c)]);
        }
      }
    };
    for (std::int64_t n = 1; n <= keys; ++n) compare(0, wide, 0, wide, 0, columns, n);
    for (std::int64_t n = 1; n <= wide; ++n) compare(wide - n, n, 0, wide, 0, columns, keys);
    for (std::int64_t n = 1; n <= wide; ++n) compare(0, n, wide - n, wide, 0, columns, keys);
    for (std::int64_t n = 1; n <= narrow; ++n) compare(wide - n, n, narrow - n, narrow, 0, columns, keys);
    for (std::int64_t n = 1; n <= columns; ++n) compare(0, wide, 0, wide, columns - n, n, keys);
    CHECK(differing == 0);
  }
}

TEST_CASE("kernels: softmax has the same bits for any strides") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    const std::int64_t visible = 37, total = 41;
    const Floats scores = random_floats(index(visible), 8);
    const auto softmax = [&](const float* source, std::int64_t source_stride, float* destination, std::int64_t stride) {
      SoftmaxArguments arguments = {};
      arguments.source = source;
      arguments.source_stride = source_stride;
      arguments.visible = visible;
      arguments.total = total;
      arguments.destination = destination;
      arguments.destination_stride = stride;
      kernels->softmax(&arguments);
    };
    Floats contiguous(index(total));
    softmax(scores.data(), 1, contiguous.data(), 1);
    for (const std::int64_t stride : {1, 2, 3}) {
      Floats strided(index(total * stride)), in_place = spread(scores, stride);
      in_place.resize(strided.size());
      softmax(spread(scores, stride).data(), stride, strided.data(), stride);
      softmax(in_place.data(), stride, in_place.data(), stride);
      std::int64_t differing = 0;
      for (std::int64_t j = 0; j < total; ++j) {
        differing += !same_bits(strided[index(j * stride)], contiguous[index(j)]);
        differing += !same_bits(in_place[index(j * stride)], contiguous[index(j)]);
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("kernels: rotate has the same bits for any strides, and both layouts the same") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    for (const std::int64_t pairs : sizes(*kernels, 1, 64)) {
      const std::int64_t columns = 2 * pairs + 5;
      const Floats row = random_floats(index(columns), 9), cosines = random_floats(index(pairs), 10),
                   sines = random_floats(index(pairs), 11);
      const auto rotate = [&](const Floats& source, std::int64_t source_stride, Floats& destination,
                              std::int64_t stride, bool interleaved) {
        RotateArguments arguments = {};
        arguments.source = source.data();
        arguments.source_stride = source_stride;
        arguments.cosines = cosines.data();
        arguments.sines = sines.data();
        arguments.pairs = pairs;
        arguments.columns = columns;
        arguments.interleaved = interleaved;
        arguments.destination = destination.data();
        arguments.destination_stride = stride;
        kernels->rotate(&arguments);
      };
      Floats halves(index(columns));
      rotate(row, 1, halves, 1, false);
      // Where element c of the halves is among pairs.
      const auto place = [&](std::int64_t c) { return c >= 2 * pairs ? c : c < pairs ? 2 * c : 2 * (c - pairs) + 1; };
      Floats mixed(index(columns));
      for (std::int64_t c = 0; c < columns; ++c) mixed[index(place(c))] = row[index(c)];
      std::int64_t differing = 0;
      for (const bool interleaved : {false, true}) {
        for (const std::int64_t stride : {1, 2, 3}) {
          const Floats source = spread(interleaved ? mixed : row, stride);
          Floats apart(source.size()), in_place = source;
          rotate(source, stride, apart, stride, interleaved);
          rotate(in_place, stride, in_place, stride, interleaved);
          for (std::int64_t c = 0; c < columns; ++c) {
            const std::size_t at = index((interleaved ? place(c) : c) * stride);
            differing += !same_bits(apart[at], halves[index(c)]);
            differing += !same_bits(in_place[at], halves[index(c)]);
          }
        }
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("kernels: rms_norm has the same bits for any strides") {
  for (const Kernels* kernels : usable_kernels()) {
    CAPTURE(name_of(*kernels));
    for (const std::int64_t columns : sizes(*kernels, 1, 64)) {
      const Floats row = random_floats(index(columns), 12), weight = random_floats(index(columns), 13);
      const auto normalize = [&](const Floats& source, const Floats& weights, Floats& destination, std::int64_t stride) {
        RmsNormArguments arguments = {};
        arguments.source = source.data();
        arguments.source_stride = stride;
        arguments.weight = weights.data();
        arguments.weight_stride = stride;
        arguments.columns = columns;
        arguments.epsilon = 1e-5f;
        arguments.destination = destination.data();
        arguments.destination_stride = stride;
        kernels->rms_norm(&arguments);
      };
      Floats contiguous(index(columns));
      normalize(row, weight, contiguous, 1);
      std::int64_t differing = 0;
      for (const std::int64_t stride : {1, 2, 3}) {
        const Floats source = spread(row, stride), weights = spread(weight, stride);
        Floats apart(source.size()), in_place = source;
        normalize(source, weights, apart, stride);
        normalize(in_place, weights, in_place, stride);
        for (std::int64_t c = 0; c < columns; ++c) {
          differing += !same_bits(apart[index(c * stride)], contiguous[index(c)]);
          differing += !same_bits(in_place[index(c * stride)], contiguous[index(c)]);
        }
      }
      CHECK(differing == 0);
    }
  }
}
