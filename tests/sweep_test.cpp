// The marks of make bench-sweep, from invented times, and their known reasons.
#include <doctest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "options.h"
#include "sweep/axes.h"
#include "sweep/known_reasons.h"
#include "sweep/marks.h"
#include "test_data.h"

using namespace attend::bench;

namespace {

/// One ISA, whose work in whole vectors is that of vectors of four.
AxisTimes one_isa(const std::vector<double>& work, const std::vector<double>& seconds) {
  AxisTimes times = {work, {{}}, {seconds}};
  for (double each : work) times.whole_work[0].push_back(4 * static_cast<int>((each + 3) / 4));
  return times;
}

Axis invented_axis(const std::string& name, const std::vector<std::string>& points) {
  Axis axis = {name, "", Unit::byte, {}};
  for (const std::string& point : points) axis.points.push_back({point, 1.0, nullptr, nullptr});
  return axis;
}

const std::string table = "# heading\n\n### Known reasons\n\nWords.\n\n| axis | points | ISA | mark | up to | reason |\n| --- | --- | --- | --- | --- | --- |\n";

}  // namespace

TEST_CASE("sweep: times that grow with work have no mark") {
  CHECK(find_marks(one_isa({1, 2, 3, 4, 8}, {1, 2, 3, 4, 8})).empty());
  CHECK(find_marks(one_isa({1, 2, 3, 4, 8}, {5, 5, 5, 5, 5})).empty());
  CHECK(find_marks(one_isa({1, 2}, {1.04, 1})).empty());
}

TEST_CASE("sweep: a point that takes longer than the fastest with more work") {
  const std::vector<Mark> marks = find_marks(one_isa({1, 2, 3, 4}, {1, 1.3, 1.2, 1.1}));
  REQUIRE(marks.size() == 2);
  for (std::size_t index = 0; index < 2; ++index) {
    CHECK(marks[index].rule == Rule::more_work);
    CHECK(marks[index].slow.point == index + 1);
    CHECK(marks[index].fast.point == 3);
    CHECK(marks[index].scale == 1.0);
  }
  CHECK(marks[0].ratio == doctest::Approx(1.3 / 1.1));
  CHECK(find_marks(one_isa({4, 4}, {2, 1})).empty());  // not more work
}

TEST_CASE("sweep: a point that takes longer than the one before, by work or by whole vectors") {
  CHECK(find_marks(one_isa({8, 16}, {1, 2.79})).empty());
  const std::vector<Mark> marks = find_marks(one_isa({8, 16, 32}, {1, 2.9, 5}));
  REQUIRE(marks.size() == 1);
  CHECK(marks[0].rule == Rule::jump);
  CHECK(marks[0].slow.point == 1);
  CHECK(marks[0].fast.point == 0);
  CHECK(marks[0].scale == 2.0);
  CHECK(marks[0].ratio == doctest::Approx(1.45));
  CHECK(find_marks(one_isa({4, 5}, {1, 2.7})).empty());  // two vectors for one
  CHECK(find_marks(one_isa({4, 5}, {1, 2.9})).size() == 1);
  CHECK(find_marks(one_isa({1, 4}, {1, 5.5})).empty());  // one vector, but four times the useful work
}

TEST_CASE("sweep: a point that takes longer than with the fastest narrower ISA") {
  const AxisTimes times = {{1, 2}, {{1, 2}, {1, 2}, {1, 2}}, {{1.1, 2.0}, {1.0, 2.2}, {1.05, 2.3}}};
  const std::vector<Mark> marks = find_marks(times);
  REQUIRE(marks.size() == 1);
  CHECK(marks[0].rule == Rule::narrower);
  CHECK(marks[0].slow.point == 0);
  CHECK(marks[0].slow.isa == 0);
  CHECK(marks[0].fast.point == 0);
  CHECK(marks[0].fast.isa == 1);
  CHECK(marks[0].ratio == doctest::Approx(1.1));
}

TEST_CASE("sweep: known reasons are those of their axis, points, ISA and mark, up to their ratio") {
  const std::vector<Axis> axes = {invented_axis("a", {"1", "2", "3", "half bool", "5"}), invented_axis("b", {"1"})};
  const std::vector<KnownReason> reasons = parse_known_reasons(
      table + "| a | 1, 3 to half bool | avx2 | more work | 1.5 | because |\n| b | all | all | narrower ISA | 2 | so |\n\n## next\n\n| x |\n", axes);
  REQUIRE(reasons.size() == 2);
  CHECK(reasons[0].points == std::vector<bool>{true, false, true, true, false});
  CHECK(reasons[0].text == "because");
  CHECK(reasons[1].points == std::vector<bool>{true});

  const auto reason = [&](const Axis& axis, attend::Isa isa, Rule rule, std::size_t point, double ratio) {
    return find_reason(reasons, axis, isa, {rule, {0, point}, {0, 0}, 1.0, ratio});
  };
  using attend::Isa;
  CHECK(reason(axes[0], Isa::avx2, Rule::more_work, 2, 1.5) == 0);
  CHECK_FALSE(reason(axes[0], Isa::avx2, Rule::more_work, 2, 1.51));
  CHECK_FALSE(reason(axes[0], Isa::avx2, Rule::more_work, 1, 1.2));
  CHECK_FALSE(reason(axes[0], Isa::avx2, Rule::jump, 2, 1.5));
  CHECK_FALSE(reason(axes[0], Isa::avx512, Rule::more_work, 2, 1.2));
  CHECK_FALSE(reason(axes[1], Isa::avx2, Rule::more_work, 0, 1.2));
  CHECK(reason(axes[1], Isa::avx512, Rule::narrower, 0, 1.2) == 1);
}

TEST_CASE("sweep: known reasons with names that are none are refused") {
  const std::vector<Axis> axes = {invented_axis("a", {"1", "2"})};
  const auto refused = [&](const std::string& text, const char* expected) {
    CAPTURE(text);
    try {
      parse_known_reasons(text, axes);
      FAIL_CHECK("accepted");
    } catch (const Failure& failure) {
      CHECK_MESSAGE(std::string(failure.what()).find(expected) != std::string::npos, failure.what());
    }
  };
  refused("| a | 1 | avx2 | jump | 2 | because |\n", "no heading");
  refused("### Known reasons\n\n## next\n", "no table");
  refused(table + "| c | 1 | avx2 | jump | 2 | because |\n", "unknown axis 'c'");
  refused(table + "| a | 3 | avx2 | jump | 2 | because |\n", "unknown point '3'");
  refused(table + "| a | 1 to 3 | avx2 | jump | 2 | because |\n", "unknown point '3'");
  refused(table + "| a | 1 | avx3 | jump | 2 | because |\n", "avx3");
  refused(table + "| a | 1 | avx2 | jumps | 2 | because |\n", "unknown mark 'jumps'");
  refused(table + "| a | 1 | avx2 | jump | 1.4 | because |\n", "limit");
  refused(table + "| a | 1 | avx2 | jump | 2 | |\n", "reason");
  refused(table + "| a | 1 | avx2 | jump | 2 |\n", "reason");
}

TEST_CASE("sweep: the calls of the axes compute what the reference says") {
  for (const Axis& axis : all_axes()) {
    CAPTURE(axis.name);
    const std::size_t step = axis.name == "masks" ? 1 : (axis.points.size() + 1) / 2;  // elsewhere the first one and one in the middle
    for (std::size_t point = 0; point < axis.points.size(); point += step) {
      CAPTURE(axis.points[point].name);
      const std::unique_ptr<Workload> workload = axis.points[point].prepare(attend::Isa::best);
      workload->run();
      const attend::reference::Comparison comparison = workload->check();
      CHECK_MESSAGE(comparison.ok, comparison.message);
    }
  }
}

TEST_CASE("sweep: axes ascend, and the README's known reasons are about them") {
  for (const Axis& axis : all_axes()) {
    CAPTURE(axis.name);
    for (std::size_t point = 0; point < axis.points.size(); ++point) {
      CAPTURE(axis.points[point].name);
      for (int lanes : {4, 8, 16}) CHECK(axis.points[point].whole_work(lanes) >= axis.points[point].work);
      if (point > 0) CHECK(axis.points[point].work >= axis.points[point - 1].work);
    }
  }
  std::ifstream file(attend::test_data("../bench/README.md"));
  std::ostringstream text;
  text << file.rdbuf();
  CHECK_NOTHROW(parse_known_reasons(text.str(), all_axes()));
}
