// One projection with packed weights: (M, K) times (K, N), as the layer's stages run it.
#include <algorithm>

#include "base/dispatch.h"
#include "base/parallel.h"
#include "data.h"
#include "machine.h"
#include "naive.h"
#include "plan/forward_plan.h"
#include "reference/reference.h"
#include "run/converted_rows.h"
#include "workload.h"

namespace attend::bench {
namespace {

template <class Rows>
Stage stage_of(const Rows& rows) {
  return {rows.tasks(), [](const void* context, std::int64_t task, int) { static_cast<const Rows*>(context)->run(task); }, &rows};
}

class GemmWorkload : public Workload {
 public:
  GemmWorkload(const GemmShape& shape, Isa isa, const Threads& threads) : shape_(shape), threads_(threads) {
    const std::int64_t M = shape.rows, K = shape.inputs, N = shape.outputs;
    input_ = random_floats(M * K, unit_variance, 1);
    weights_ = random_floats(K * N, unit_variance, 2);
    bias_ = random_floats(N, unit_variance, 3);
    output_ = unwritten_floats(M * N);

    const Kernels* kernels = nullptr;
    require(require_kernels(isa, &kernels));
    const Precision& precision = shape.precision;
    const Product* const product = precision.is_float32() ? nullptr : precision.kernels()->find(precision.weights, precision.arithmetic, kernels->isa);
    const PackedProjection packed(*kernels, product, K, N, 32);
    pack(*kernels, packed);
    rows_before_[1] = M;
    projection_.kernels = kernels;
    projection_.weights = packed;
    projection_.rows = {1, rows_before_, nullptr};
    projection_.input.data = input_.data();
    projection_.input.row_stride = K;
    projection_.output.data = output_.data();
    projection_.output.row_stride = N;
    projection_.head_size = N;
    projection_.rows_per_task = projection_rows(*kernels, packed, M);
    if (packed.row_floats() > 0) convert_rows();
  }

  void run() override {
    projection_.weights = projection_.weights.at(packed_.get() + next_copy_ * projection_.weights.size(), true);
    next_copy_ = (next_copy_ + 1) % copies_;
    const Stage stages[] = {stage_of(converted_), stage_of(projection_)};
    const int unconverted = converted_.product == nullptr;
    run_stages(threads_, stages + unconverted, 2 - unconverted);
  }

  void run_naively() override {
    naive_matmul(input_.data(), weights_.data(), bias_.data(), output_.data(), shape_.rows, shape_.inputs, shape_.outputs);
  }

  reference::Comparison check() const override {
    const std::int64_t M = shape_.rows, K = shape_.inputs, N = shape_.outputs, columns = 768;
    const WeightType type = shape_.precision.weights;
    const Arithmetic arithmetic = shape_.precision.arithmetic;
    const Product* const product = projection_.weights.product;
    const reference::PairSum pair_sum = reference::pair_sum_of(product != nullptr ? product->instructions : nullptr);
    const reference::Array input = sampled(ConstTensorView(input_.data(), M, K), 0, 16);
    const reference::Array weights = sampled(ConstTensorView(weights_.data(), K, N).transposed(0, 1), 0, columns);
    const reference::Array bias = sampled(ConstTensorView(bias_.data(), N), 0, columns);
    return reference::compare(sampled(sampled(ConstTensorView(output_.data(), M, N), 0, 16), 1, columns),
                              reference::project(input, weights, bias, type, arithmetic, 32, pair_sum),
                              reference::project_bounds(input, {}, weights, bias, type, arithmetic, reference::Data::random));
  }

 private:
  // The weights, and copies of them.
  void pack(const Kernels& kernels, const PackedProjection& packed) {
    const std::int64_t K = shape_.inputs, N = shape_.outputs, size = packed.size();
    const ConstTensorView matrix = ConstTensorView(weights_.data(), K, N).transposed(0, 1), bias(bias_.data(), N);
    if (shape_.from_memory) copies_ = static_cast<std::int64_t>(4 * last_cache_bytes() / (static_cast<std::size_t>(size) * sizeof(float))) + 1;
    packed_ = large_floats(copies_ * size);
    if (packed.product == nullptr) pack_projection(kernels, packed, matrix.data, matrix.strides[0], matrix.strides[1], bias.data, bias.strides[0], packed_.get());
    else shape_.precision.kernels()->pack(packed, matrix, nullptr, bias, packed_.get());
    for (std::int64_t copy = 1; copy < copies_; ++copy) std::copy_n(packed_.get(), size, packed_.get() + copy * size);
  }

  // As a layer converts its rows: all, then they are multiplied.
  void convert_rows() {
    const std::int64_t row_floats = projection_.weights.row_floats();
    rows_ = large_floats(shape_.rows * row_floats);
    converted_.product = projection_.weights.product;
    converted_.rows = projection_.rows;
    converted_.input = projection_.input;
    converted_.output.data = rows_.get() + row_header;
    converted_.output.row_stride = row_floats;
    converted_.depth = static_cast<int>(shape_.inputs);
    converted_.group = projection_.weights.group;
    projection_.input = converted_.output;
  }

  GemmShape shape_;
  Threads threads_;
  std::vector<float> input_, weights_, bias_, output_;  // weights (K, N)
  std::int64_t copies_ = 1, next_copy_ = 0;
  std::unique_ptr<float, Release> packed_, rows_;  // rows_ null: they are read as they are
  std::int64_t rows_before_[2] = {0, 0};
  ConvertedRows converted_;
  Projection projection_;
};

}  // namespace

std::unique_ptr<Workload> gemm_workload(const GemmShape& shape, Isa isa, const Threads& threads) {
  if (!shape.precision.usable(isa)) return nullptr;
  return std::make_unique<GemmWorkload>(shape, isa, threads);
}

}  // namespace attend::bench
