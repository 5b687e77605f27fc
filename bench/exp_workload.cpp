// The exponential of every softmax: 2^x over an array that stays in L1.
#include <algorithm>
#include <cmath>

#include "base/dispatch.h"
#include "data.h"
#include "reference/array.h"
#include "workload.h"

namespace attend::bench {
namespace {

class ExpWorkload : public Workload {
 public:
  explicit ExpWorkload(Isa isa) {
    const std::vector<float> values = random_floats(exp_count, 24.0f, 1);
    std::copy(values.begin(), values.end(), source_);
    std::fill(result_, result_ + exp_count, NAN);
    require(require_kernels(isa, &kernels_));
  }

  void run() override { kernels_->exp2_array(source_, result_, exp_count); }

  void run_naively() override {
    for (std::int64_t i = 0; i < exp_count; ++i) result_[i] = std::exp2(source_[i]);
  }

  reference::Comparison check() const override {
    reference::Array expected = ConstTensorView(source_, exp_count);
    for (double& value : expected.values) value = std::exp2(value);
    reference::Array bounds = expected;
    for (double& value : bounds.values) value *= 0x1p-22;  // 2.4e-7; the kernels reach 2.1e-7
    return reference::compare(ConstTensorView(result_, exp_count), expected, bounds);
  }

 private:
  alignas(64) float source_[exp_count];  // as attention's scratch is
  alignas(64) float result_[exp_count];
  const Kernels* kernels_ = nullptr;
};

}  // namespace

std::unique_ptr<Workload> exp_workload(Isa isa) { return std::make_unique<ExpWorkload>(isa); }

}  // namespace attend::bench
