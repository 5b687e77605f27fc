// The exponential of every softmax: 2^x over an array that stays in L1.
#include <cmath>

#include "data.h"
#include "dispatch.h"
#include "reference/array.h"
#include "workload.h"

namespace attend::bench {
namespace {

class ExpWorkload : public Workload {
 public:
  ExpWorkload(std::int64_t count, Isa isa)
      : source_(random_floats(count, 24.0f, 1)), result_(unwritten_floats(count)) {
    require(require_kernels(isa, &kernels_));
  }

  void run() override { kernels_->exp2(source_.data(), result_.data(), static_cast<std::int64_t>(source_.size())); }

  void run_naively() override {
    for (std::size_t i = 0; i < source_.size(); ++i) result_[i] = std::exp2(source_[i]);
  }

  reference::Comparison check() const override {
    const std::int64_t count = static_cast<std::int64_t>(source_.size());
    reference::Array expected = ConstTensorView(source_.data(), count);
    for (double& value : expected.values) value = std::exp2(value);
    reference::Array bounds = expected;
    for (double& value : bounds.values) value *= 0x1p-22;  // 2.4e-7; the kernels reach 2.1e-7
    return reference::compare(ConstTensorView(result_.data(), count), expected, bounds);
  }

 private:
  std::vector<float> source_, result_;
  const Kernels* kernels_ = nullptr;
};

}  // namespace

std::unique_ptr<Workload> exp_workload(std::int64_t count, Isa isa) {
  return std::make_unique<ExpWorkload>(count, isa);
}

}  // namespace attend::bench
