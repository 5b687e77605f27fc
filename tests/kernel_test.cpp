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

#include "../tools/checks/kernel_checks.h"
#include "dispatch.h"
#include "guarded_memory.h"

using namespace attend;
using namespace attend::checks;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr Isa all_isas[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon};

std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> tables;
  for (const Isa isa : all_isas) {
    if (const Kernels* kernels = find_kernels(isa)) tables.push_back(kernels);
  }
  return tables;
}

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

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

/// A size of a shape, all the values that it goes through, and those that it has while others do.
template <class Shape>
struct Dimension {
  std::int64_t Shape::*size;
  std::vector<std::int64_t> all, few;
};

/// Goes through one dimension at a time. `complete` sets what depends on the sizes and varies the
/// rest with its second argument, which counts the shapes.
template <class Shape, class Complete>
void sweep(const Kernels& kernels, Check<Shape> check, const std::vector<Dimension<Shape>>& dimensions, Complete complete) {
  GuardedMemory memory;
  const std::uint64_t share = test_share();
  std::uint64_t count = 0;
  for (const Dimension<Shape>& swept : dimensions) {
    std::int64_t combinations = 1;
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
        const std::uint64_t number = count++;
        if ((number * 0x9e3779b97f4a7c15u >> 32) % share != 0) continue;
        complete(shape, static_cast<std::int64_t>(number));
        for (const int misalignment : {0, 1, 3, -1}) {
          if (misalignment < 0) {
            memory.against_page_after();
          } else {
            memory.against_page_before(static_cast<std::size_t>(misalignment));
          }
          const Result result = check(kernels, shape, number, memory);
          if (!result.ok) {
            FAIL_CHECK(result.message);
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
  for (const Isa isa : all_isas) {
    if (!isa_usable(isa)) {
      MESSAGE(isa_name(isa), ": not tested, ", isa_compiled(isa) ? "this CPU lacks it" : "not part of this build");
    }
  }
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
                     [&](PackShape& shape, std::int64_t number) {
                       shape.width = round_up(shape.columns, lanes) + number % 2 * lanes;
                       const std::int64_t stride = std::int64_t{1} + number % 3, gap = number % 4 / 3;
                       const bool transposed = number % 5 < 3;
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
                     [&](GemmShape& shape, std::int64_t number) {
                       shape.width = number % 7 == 0 ? columns : round_up(shape.columns, lanes);
                       shape.k_stride = number % 5 < 3 ? 1 : number % 5 == 3 ? 2 : 0;
                       shape.gap = number % 3;
                       shape.first_column = number % 2 * 2 * columns + number % 11 / 10;
                       shape.element_stride = number % 4 == 3 ? 2 : 1;
                       shape.output_gap = number % 3;
                       shape.head_major = number % 4 > 1;
                       shape.bias = number % 2 == 0;
                     });
  }
}

TEST_CASE("kernels: pack_queries") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->wide_tile}) {
      sweep<PackQueriesShape>(*kernels, check_pack_queries,
                              {{&PackQueriesShape::count, range(0, width), {1, width / 2, width}},
                               {&PackQueriesShape::depth, sizes(*kernels, 0, 64), {1, 8, 35}}},
                              [&](PackQueriesShape& shape, std::int64_t number) {
                                shape.width = width;
                                shape.stride = number % 4 == 3 ? 0 : 1 + number % 2;
                              });
    }
  }
}

TEST_CASE("kernels: scores") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->wide_tile}) {
      for (const bool general : {false, true}) {
        sweep<ScoreShape>(*kernels, check_scores,
                          {{&ScoreShape::keys, sizes(*kernels, 0, 8), {1, 8, 15}},
                           {&ScoreShape::depth, sizes(*kernels, 0, 64), {1, 8, 21}},
                           {&ScoreShape::moving_lane, range(-1, width - 1), {-1}}},
                          [&](ScoreShape& shape, std::int64_t number) {
                            shape.width = width;
                            shape.general = general;
                            shape.stride = number % 5 < 3 ? 1 : number % 5 == 3 ? 2 : 0;
                            shape.gap = number % 7 == 0 ? -shape.depth * shape.stride : number % 3;
                            shape.moving = number % 2 == 0 ? 50.0f : -50.0f;
                            if (general && shape.keys > 0 && number % 4 == 1) shape.nan_key = number % shape.keys;
                          });
      }
    }
  }
}

TEST_CASE("kernels: move_maximum") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->wide_tile}) {
      sweep<MoveShape>(*kernels, check_move_maximum, {{&MoveShape::columns, sizes(*kernels, 0, 64), {1}}},
                       [&](MoveShape& shape, std::int64_t) { shape.width = width; });
    }
  }
}

TEST_CASE("kernels: accumulate") {
  for (const Kernels* kernels : usable_kernels()) {
    const std::int64_t lanes = kernels->lanes;
    for (const std::int64_t width : {kernels->narrow_tile, kernels->wide_tile}) {
      sweep<AccumulateShape>(*kernels, check_accumulate,
                             {{&AccumulateShape::keys, sizes(*kernels, 0, 64), {1, 8, 21}},
                              {&AccumulateShape::columns, range(0, 8 * lanes + 1), {1, lanes, 4 * lanes - 1}},
                              {&AccumulateShape::first_lane, range(0, width), {0, width / 2, width - 1}},
                              {&AccumulateShape::lane_count, range(0, width), {1, width / 2 + 1, width}}},
                             [&](AccumulateShape& shape, std::int64_t number) {
                               shape.width = width;
                               shape.lane_count = std::min(shape.lane_count, width - shape.first_lane);
                               shape.gap = number % 7 == 0 ? -shape.columns : number % 3;
                             });
    }
  }
}

TEST_CASE("kernels: finish") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<FinishShape>(*kernels, check_finish,
                       {{&FinishShape::lane_count, sizes(*kernels, 0, kernels->wide_tile), {1, 2, 3}},
                        {&FinishShape::columns, sizes(*kernels, 0, 64), {1, 8, 33}},
                        {&FinishShape::stride, {1, 2, 3}, {1, 2}}},
                       [&](FinishShape& shape, std::int64_t number) {
                         if (number % 3 == 0 || shape.columns == 0 || shape.lane_count == 0) return;
                         shape.broken_lane = number % shape.lane_count;
                         shape.broken_column = number % 2 == 0 ? shape.columns - 1 : number % shape.columns;
                         shape.broken = number % 3 == 1 ? not_a_number : number % 2 == 0 ? infinity : -infinity;
                       });
  }
}

TEST_CASE("kernels: write_weights") {
  for (const Kernels* kernels : usable_kernels()) {
    for (const std::int64_t width : {kernels->narrow_tile, kernels->wide_tile}) {
      sweep<WriteWeightsShape>(*kernels, check_write_weights,
                               {{&WriteWeightsShape::keys, sizes(*kernels, 0, 64), {1, 8, 21}},
                                {&WriteWeightsShape::lane_count, range(0, width), {1, width / 2 + 1, width}},
                                {&WriteWeightsShape::stride, {1, 2, 3}, {1, 2}}},
                               [&](WriteWeightsShape& shape, std::int64_t) { shape.width = width; });
    }
  }
}

TEST_CASE("kernels: softmax") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<SoftmaxShape>(*kernels, check_softmax,
                        {{&SoftmaxShape::total, sizes(*kernels, 0, 64), {1, 19, 40}},
                         {&SoftmaxShape::visible, sizes(*kernels, 0, 64), {0, 1, 19, 40}},
                         {&SoftmaxShape::destination_stride, {1, 2, 3}, {1, 2}}},
                        [&](SoftmaxShape& shape, std::int64_t number) {
                          shape.visible = std::min(shape.visible, shape.total);
                          shape.in_place = number % 2 == 0;
                          shape.source_stride = shape.in_place ? shape.destination_stride : number % 4;
                          shape.level = number % 3 == 0 ? 0.0f : number % 3 == 1 ? -1e6f : 1e4f;
                          if (number % 5 != 0 || shape.visible == 0) return;
                          shape.special_score = number % shape.visible;
                          shape.special = number % 3 == 0 ? not_a_number : number % 3 == 1 ? -infinity : infinity;
                        });
  }
}

TEST_CASE("kernels: copy") {
  for (const Kernels* kernels : usable_kernels()) {
    sweep<CopyShape>(*kernels, check_copy,
                     {{&CopyShape::rows, range(0, 5), {1, 2, 3}},
                      {&CopyShape::columns, sizes(*kernels, 0, 64), {1, 8, 33}},
                      {&CopyShape::source_stride, {0, 1, 2, 3}, {1, 2}},
                      {&CopyShape::destination_stride, {1, 2, 3}, {1, 2}}},
                     [&](CopyShape& shape, std::int64_t number) {
                       shape.source_gap = number % 5 == 4 ? -shape.columns * shape.source_stride : number % 3;
                       shape.destination_gap = number % 2;
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
    sweep<Exp2Shape>(*kernels, check_exp2, {{&Exp2Shape::count, sizes(*kernels, 0, 64), {1}}}, [](Exp2Shape&, std::int64_t) {});
  }
}

TEST_CASE("kernels: random shapes") {
  for (const Kernels* kernels : usable_kernels()) {
    GuardedMemory memory;
    for (std::uint64_t seed = 0; seed < 1200 / test_share(); ++seed) {
      if (seed % 4 == 3) {
        memory.against_page_after();
      } else {
        memory.against_page_before(seed % 4);
      }
      const Result result = check_random_shapes(*kernels, seed, memory);
      REQUIRE_MESSAGE(result.ok, result.message);
    }
    const Result result = check_kernels(kernels->isa, 1);  // as attend verify calls them
    CHECK_MESSAGE(result.ok, result.message);
  }
  for (const Isa isa : all_isas) {
    if (!isa_usable(isa)) CHECK_FALSE(check_kernels(isa, 1).ok);
  }
}

namespace {

/// Every argument of every kernel that counts something, and what is one less of it.
const Kernels* sound;
template <class Arguments, std::int64_t Arguments::*count, class Returned, Returned (*const Kernels::*kernel)(const Arguments*)>
Returned one_less(const Arguments* arguments) {
  Arguments fewer = *arguments;
  if (fewer.*count > 0) --(fewer.*count);
  return (sound->*kernel)(&fewer);
}

}  // namespace
