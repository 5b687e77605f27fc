// One projection with packed weights: (M, K) times (K, N), as the layer's stages run it.
#include "base/dispatch.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data.h"
#include "naive.h"
#include "plan/plan.h"
#include "reference/reference.h"
#include "run/projection.h"
#include "workload.h"

namespace attend::bench {
namespace {

class GemmWorkload : public Workload {
 public:
  GemmWorkload(const GemmShape& shape, Isa isa, const Threads& threads) : shape_(shape), threads_(threads) {
    const auto [M, K, N] = shape;
    input_ = random_floats(M * K, unit_variance, 1);
    weights_ = random_floats(K * N, unit_variance, 2);
    bias_ = random_floats(N, unit_variance, 3);
    output_ = unwritten_floats(M * N);

    const Kernels* kernels = nullptr;
    require(require_kernels(isa, &kernels));
    const PackedProjection packed(*kernels, nullptr, K, N);
    const std::size_t floats = static_cast<std::size_t>(packed.size());
    packed_.reset(static_cast<float*>(allocate(floats * sizeof(float))));
    if (packed_ == nullptr) throw std::bad_alloc();
    pack_projection(*kernels, packed, weights_.data(), 1, N, bias_.data(), 1, packed_.get());
    projection_.kernels = kernels;
    projection_.weights = packed.at(packed_.get(), true);
    rows_before_[1] = M;
    projection_.rows = {1, rows_before_, nullptr};
    projection_.input.data = input_.data();
    projection_.input.row_stride = K;
    projection_.output.data = output_.data();
    projection_.output.row_stride = N;
    projection_.head_size = N;
    projection_.rows_per_task = projection_rows(*kernels, packed, M);
  }

  void run() override {
    const Stage stage = {projection_.tasks(), [](const void* projection, std::int64_t task, int) {
                           static_cast<const Projection*>(projection)->run(task);
                         }, &projection_};
    run_stages(threads_, &stage, 1);
  }

  void run_naively() override {
    naive_matmul(input_.data(), weights_.data(), bias_.data(), output_.data(), shape_.rows, shape_.inputs, shape_.outputs);
  }

  reference::Comparison check() const override {
    const auto [M, K, N] = shape_;
    const reference::Array input = sampled(ConstTensorView(input_.data(), M, K), 0, 16);
    const reference::Array weights = ConstTensorView(weights_.data(), K, N), bias = ConstTensorView(bias_.data(), N);
    return reference::compare(sampled(ConstTensorView(output_.data(), M, N), 0, 16),
                              reference::matmul(input, weights, false, bias),
                              reference::matmul_bounds(input, weights, false, bias, reference::Data::random));
  }

 private:
  struct Release {
    void operator()(float* memory) const { release(memory); }
  };
  GemmShape shape_;
  Threads threads_;
  std::vector<float> input_, weights_, bias_, output_;  // weights (K, N)
  std::unique_ptr<float, Release> packed_;
  std::int64_t rows_before_[2] = {0, 0};
  Projection projection_;
};

}  // namespace

std::unique_ptr<Workload> gemm_workload(const GemmShape& shape, Isa isa, const Threads& threads) {
  return std::make_unique<GemmWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
