// The C++ API of attend: multi-head attention on CPUs, in float32, with no dependency at run time.
//
// It trains no weights, loads no models (attend_io does), and runs on Linux on x86-64 and aarch64 alone.
// Nothing here throws, prints, or reads the environment.
//
// Symbols used below: B batch, H query heads, G key/value heads (G divides H; query head h reads
// key/value head h / (H/G)), L queries, S keys, D head width of queries and keys, Dv of values, E
// model width.
// Shapes are in elements, outermost first; strides are in elements too.
#pragma once

#include <cstddef>
#include <cstdint>

#define ATTEND_VERSION_MAJOR 0
#define ATTEND_VERSION_MINOR 1
#define ATTEND_VERSION_PATCH 0
#define ATTEND_VERSION "0.1.0"

#if defined(__GNUC__)
#define ATTEND_API [[gnu::visibility("default")]]
#else
#define ATTEND_API
#endif

namespace attend {

// ---------------------------------------------------------------------------------------------
// Status

enum class StatusCode : int {
  ok = 0,
  invalid_argument,  // the message names the argument, what it was, and what was expected
  unsupported,       // this CPU or this build lacks what was asked for
  out_of_memory,     // the heap, or the memory that the caller gave, is too small
};

/// The result of a call: ok, or an error code with a message for people.
///
/// Unless stated otherwise, a call that returns an error has left its outputs untouched.
class [[nodiscard]] ATTEND_API Status {
 public:
  Status() noexcept : code_(StatusCode::ok) { message_[0] = '\0'; }
  bool ok() const noexcept { return code_ == StatusCode::ok; }
  StatusCode code() const noexcept { return code_; }
  /// One line without a final full stop or newline; empty when ok. Lives as long as the Status.
  const char* message() const noexcept { return message_; }
  /// Makes an error; the message is formatted as by printf and cut to the buffer.
  static Status error(StatusCode code, const char* format, ...) noexcept
      __attribute__((format(printf, 2, 3)));

 private:
  StatusCode code_;
  char message_[236];
};

// ---------------------------------------------------------------------------------------------
// Views

inline constexpr int max_rank = 4;

/// A tensor argument: a pointer with sizes and strides, in elements.
///
/// A view owns nothing, and calls copy nothing to accept it. Strides of inputs are >= 0 (0 repeats an element
/// along that axis); the elements of an output are distinct. `TensorView{}` (rank 0, null) stands for "absent"
/// where an argument is optional.
template <class Element>
struct View {
  Element* data = nullptr;
  int rank = 0;
  std::int64_t sizes[max_rank] = {};
  std::int64_t strides[max_rank] = {};

  constexpr View() noexcept = default;

  /// A contiguous row-major view: `ConstTensorView(pointer, 2, 4, 100)` has shape (2, 4, 100).
  template <class... Sizes>
  constexpr explicit View(Element* pointer, std::int64_t first, Sizes... rest) noexcept
      : data(pointer), rank(1 + static_cast<int>(sizeof...(rest))),
        sizes{first, static_cast<std::int64_t>(rest)...} {
    static_assert(1 + sizeof...(rest) <= max_rank, "a view has at most four axes");
    std::uint64_t stride = 1;  // unsigned: absurd sizes are for the callee to refuse
    for (int axis = rank - 1; axis >= 0; --axis) {
      strides[axis] = static_cast<std::int64_t>(stride);
      stride *= static_cast<std::uint64_t>(sizes[axis]);
    }
  }

  /// A view of writable elements converts to a view of constant ones.
  constexpr operator View<const Element>() const noexcept {
    View<const Element> view;
    view.data = data;
    view.rank = rank;
    for (int axis = 0; axis < max_rank; ++axis) {
      view.sizes[axis] = sizes[axis];
      view.strides[axis] = strides[axis];
    }
    return view;
  }

  constexpr bool absent() const noexcept { return data == nullptr && rank == 0; }

  /// A view with strides of its own, in elements: `ConstTensorView::strided(pointer, {2, 4}, {100, 1})`.
  template <std::size_t axes>
  static constexpr View strided(Element* pointer, const std::int64_t (&sizes)[axes], const std::int64_t (&strides)[axes]) noexcept {
    static_assert(axes <= static_cast<std::size_t>(max_rank), "a view has at most four axes");
    View view;
    view.data = pointer;
    view.rank = static_cast<int>(axes);
    for (std::size_t axis = 0; axis < axes; ++axis) {
      view.sizes[axis] = sizes[axis];
      view.strides[axis] = strides[axis];
    }
    return view;
  }

  // Other views of the same memory. For an axis or a range that does not exist they give a view of rank -1, which every call
  // refuses; an absent view stays absent.

  /// Elements [first, first + count) of an axis: the keys of a fused (B, L, 3 E) are `x.slice(2, E, E)`.
  constexpr View slice(int axis, std::int64_t first, std::int64_t count) const noexcept {
    if (absent()) return *this;
    if (axis < 0 || axis >= rank || first < 0 || count < 0 || first > sizes[axis] || count > sizes[axis] - first) return none();
    View view = *this;
    if (count > 0) view.data += first * strides[axis];
    view.sizes[axis] = count;
    return view;
  }

  /// Two axes exchanged: (B, L, H, D) in memory as the (B, H, L, D) that calls take is `x.transposed(1, 2)`.
  constexpr View transposed(int one, int other) const noexcept {
    if (absent()) return *this;
    if (one < 0 || one >= rank || other < 0 || other >= rank) return none();
    View view = *this;
    view.sizes[one] = sizes[other];
    view.strides[one] = strides[other];
    view.sizes[other] = sizes[one];
    view.strides[other] = strides[one];
    return view;
  }

  /// An axis as two, the first of which has `count` elements: (B, L, H D) as (B, H, L, D) is `x.split(2, H).transposed(1, 2)`.
  constexpr View split(int axis, std::int64_t count) const noexcept {
    if (absent()) return *this;
    if (rank >= max_rank || axis < 0 || axis >= rank || count < 1 || sizes[axis] % count != 0) return none();
    View view = *this;
    view.rank = rank + 1;
    for (int later = rank; later > axis; --later) {
      view.sizes[later] = sizes[later - 1];
      view.strides[later] = strides[later - 1];
    }
    view.sizes[axis] = count;
    view.sizes[axis + 1] = sizes[axis] / count;
    view.strides[axis] = strides[axis] * view.sizes[axis + 1];
    return view;
  }

 private:
  static constexpr View none() noexcept {
    View view;
    view.rank = -1;
    return view;
  }
};

using TensorView = View<float>;
using ConstTensorView = View<const float>;
/// Valid lengths, (B,) for each batch entry or (B, L) for each query: keys at and past a length are hidden. A
/// length beyond S means all S, as absent lengths do; a negative length is an error.
using LengthsView = View<const std::int64_t>;
/// Any other array of integers: positions, counts, cumulative lengths, parents in a tree, pages.
using IndexView = View<const std::int64_t>;
/// A bool mask, one byte an element: 0 hides the key and anything else shows it, or with mask_hides the other way round.
using BoolMaskView = View<const std::uint8_t>;

// ---------------------------------------------------------------------------------------------
// Instruction sets

enum class Isa : int { best = 0, scalar, avx2, avx512, neon };

/// "best", "scalar", "avx2", "avx512" or "neon".
ATTEND_API const char* isa_name(Isa isa) noexcept;
/// The ISA of that name; false if there is none.
ATTEND_API bool isa_from_name(const char* name, Isa* isa) noexcept;
/// Whether this build holds kernels for the ISA.
ATTEND_API bool isa_compiled(Isa isa) noexcept;
/// Whether this build holds kernels for the ISA and this CPU and operating system can run them.
ATTEND_API bool isa_usable(Isa isa) noexcept;
/// The ISA that Isa::best stands for on this machine.
ATTEND_API Isa best_isa() noexcept;

/// "0.1.0".
ATTEND_API const char* version() noexcept;

// ---------------------------------------------------------------------------------------------
// Threads

/// Runs task(context, index) once for each index in [0, count) and returns when all have ended.
///
/// The calls may run at the same time or one after the other, in any order, on any threads.
using ParallelFor = void (*)(void* pool, int count, void (*task)(void* context, int index),
                             void* context);

/// How many threads a call may use, and who provides them; by default the caller's thread alone. Results have
/// the same bits for any count.
struct Threads {
  int count = 1;                       // 1 to max_threads
  ParallelFor parallel_for = nullptr;  // required when count > 1
  void* pool = nullptr;                // the first argument of parallel_for
};

inline constexpr int max_threads = 256;

/// A pool of threads that sleep while there is no work, unless keep_awake; destroying it ends them.
///
/// Several calls may share a pool: while one uses it, the others run on their own thread alone. In a build with
/// ATTEND_THREADS=0, make returns unsupported for more than one thread.
/// In a child of fork the pool has no threads: a call with it runs on its caller's thread alone, its destructor
/// waits for none, whatever other threads did with the pool at the time of the fork, and make gives it threads of
/// the child. The parent's pool goes on. (A task that forks has to end its child itself.)
class ATTEND_API ThreadPool {
 public:
  ThreadPool() noexcept = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  /// Starts count - 1 threads (the caller's is the other one), which sleep. count is 1 to max_threads.
  static Status make(int count, ThreadPool* pool) noexcept;
  /// Whether its threads wait for the next call awake, on a core each, for about a millisecond after the last: for many short calls one after
  /// another, as the layers are that write a token. To wake a thread takes 10 to 25 us, which layers and attention of less
  /// than two million multiply-adds are not worth, where weights, keys and values count for two rows more; awake, they are shared from 200,000 on.
  void keep_awake(bool awake) noexcept;
  /// For the `threads` of a call; valid while the pool lives. Ask anew after keep_awake.
  Threads threads() noexcept;

 private:
  struct State;
  State* state_ = nullptr;
};

// ---------------------------------------------------------------------------------------------
// Workspace

/// Scratch memory for calls: on the heap, where it grows when a call needs more, or the caller's.
///
/// A workspace serves one call at a time. After the first call of a shape, later calls of that shape do not
/// touch the heap. Its contents mean nothing between calls.
class ATTEND_API Workspace {
 public:
  /// Grows on the heap as calls need it.
  Workspace() noexcept = default;
  /// The caller's memory, of any alignment, which must outlive the workspace. Calls that need more than `bytes`
  /// return out_of_memory.
  Workspace(void* memory, std::size_t bytes) noexcept;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Makes room for `bytes` bytes aligned to 64; null if that fails, or if nothing was asked for and
  /// nothing is held. The library calls this.
  void* reserve(std::size_t bytes) noexcept;
  /// Bytes held now.
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  friend class CallWorkspace;  // the C API's, whose callers keep these three in a struct of their own
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  bool owned_ = true;
};

// ---------------------------------------------------------------------------------------------
// The operations

/// What a row that sees no key gives: zeros, or the mean of all S values (as D2L's masking with -1e6 does).
/// `uniform` alone reads hidden values: all values of an entry that has such a row.
enum class EmptyRows : int { zero = 0, uniform };

struct OperationOptions {
  Isa isa = Isa::best;
  Threads threads;
};

/// output = a b + bias.
///
/// a (L, K) or (B, L, K); b (K, N) or (B, K, N), or with b_transposed (N, K) or (B, N, K); bias (N,) or absent;
/// output (L, N) or (B, L, N), which must not meet an input in memory. A two-axis b serves every entry of a
/// three-axis a. Each element is one chain of multiply-adds over ascending k, then + bias; K = 0 gives the bias.
ATTEND_API Status matmul(const ConstTensorView& a, const ConstTensorView& b, bool b_transposed,
                         const ConstTensorView& bias, const TensorView& output,
                         Workspace& workspace, const OperationOptions& options = {}) noexcept;

/// Bytes that matmul takes from its workspace for factors of these shapes, whose data is not read; 0 if they are not valid.
ATTEND_API std::size_t matmul_workspace_bytes(const ConstTensorView& a, const ConstTensorView& b,
                                              bool b_transposed, const OperationOptions& options = {}) noexcept;

/// output[b, j, ...] = input[b, j, ...] for j < valid_lens[b], and `value` beyond.
///
/// input and output (B, S) or (B, S, E), the same view or apart in memory; valid_lens (B,).
/// Source: D2L, sequence_mask.
ATTEND_API Status sequence_mask(const ConstTensorView& input, const LengthsView& valid_lens,
                                float value, const TensorView& output,
                                const OperationOptions& options = {}) noexcept;

/// Softmax over the last axis, with -1e6 in place of elements at and past the valid length, which are not read.
///
/// input and output (B, L, S), the same view or apart in memory; valid_lens absent, (B,) or (B, L). Length 0
/// gives 1/S everywhere.
/// Source: D2L, masked_softmax.
ATTEND_API Status masked_softmax(const ConstTensorView& input, const LengthsView& valid_lens,
                                 const TensorView& output,
                                 const OperationOptions& options = {}) noexcept;

/// (B, n, E) -> (B H, n, E / H): row b H + h holds columns h E/H and on of entry b.
/// The output must not meet the input in memory. Source: D2L, transpose_qkv.
ATTEND_API Status transpose_qkv(const ConstTensorView& input, std::int64_t num_heads,
                                const TensorView& output,
                                const OperationOptions& options = {}) noexcept;

/// (B H, n, E / H) -> (B, n, E), the inverse of transpose_qkv. Source: D2L, transpose_output.
ATTEND_API Status transpose_output(const ConstTensorView& input, std::int64_t num_heads,
                                   const TensorView& output,
                                   const OperationOptions& options = {}) noexcept;

/// T5's relative position bias: adds to a score the table's number for the bucket of j - (i + offset).
///
/// Bidirectional, keys before the query and keys after it have half of the buckets each; else all buckets are for
/// keys before it, and keys after it share bucket 0. Half of a side's buckets are distances 0, 1, 2 ..; the rest
/// grow logarithmically up to max_distance. Source: Raffel et al. 2020, section 2.1, as T5's code has it.
struct RelativePositionBias {
  ConstTensorView table;  // (buckets, H), as model files hold it; absent: no such bias
  bool bidirectional = true;
  std::int64_t max_distance = 128;
};

// ---------------------------------------------------------------------------------------------
// Low precision

/// How the weights of a layer's projections are stored. make converts those that it is given; biases and norms stay float32.
enum class WeightType : int {
  float32 = 0,
  bfloat16,  // to nearest, ties to even
  float16,   // to nearest, ties to even; 65,520 and beyond become infinity
  int8,      // a float32 scale for each output channel, the channel's largest |w| / 127; integers to nearest, ties to even
  /// Four bits: w = scale * (number - zero), numbers and zeros 0 to 15, a float32 scale and a zero for each group of a channel's elements
  /// (config.weight_group). make takes zero 8, and the group's weight of largest size for -8 steps: scale = that weight / -8, numbers
  /// w / scale + 8 to nearest, ties to even, at most 15. So does ggml's Q4_0.
  int4,
};

/// What products of floats are computed with: a layer's projections, with weights of that type, and attention itself, which takes no int8.
enum class Arithmetic : int {
  float32 = 0,  // one chain of float32 multiply-adds over the weights as floats; those of int8 as integers, scaled at the end;
                // those of int4 as scale * (number - zero), rounded once
  /// Rows are rounded to bfloat16; one float32 chain of fused multiply-adds over pairs of k, the odd element of a pair first; denormals
  /// become zeros. The bits of Intel's and AMD's vdpbf16ps, on every ISA; but aarch64 makes sums between 2^-126 - 2^-151 and 2^-126
  /// zeros, which the others round to 2^-126. Its CPUs with BF16 have the bits of bfmmla, which adds the products of a pair to each
  /// other first, and rounds all sums to odd.
  bfloat16,
  /// Each row is quantised to 8 bits, from the smaller of 0 and its smallest element to the larger of 0 and its largest; sums of
  /// products are exact, in 32 bits. A row with NaN or infinity gives a row of NaN. Rows of at most 65,536 elements. With weights
  /// of int4 the sum of each group is exact, and times its scale goes into one float32 chain over the groups. The same bits on every ISA.
  int8,
};

/// The kernels of low precision, which a program links only if it calls low_precision(): all but those of weights of int4.
struct LowPrecision;
ATTEND_API const LowPrecision* low_precision() noexcept;

/// The kernels of weights of int4 alone, likewise; a layer of int4 takes these, its cache and its options still low_precision().
ATTEND_API const LowPrecision* low_precision_int4() noexcept;

/// The instructions that projections of weights and arithmetic take on an ISA of this CPU, as "vpdpbusd"; null where there are none, for
/// arithmetic does not take the weights, or the CPU lacks the ISA. Those of int4 are int4_instructions.
ATTEND_API const char* product_instructions(WeightType weights, Arithmetic arithmetic, Isa isa = Isa::best) noexcept;

/// The instructions that projections of weights of int4 take, likewise.
ATTEND_API const char* int4_instructions(Arithmetic arithmetic, Isa isa = Isa::best) noexcept;

/// The instructions that attention of an arithmetic takes, as "vdpbf16ps"; null where there are none.
ATTEND_API const char* core_instructions(Arithmetic arithmetic, Isa isa = Isa::best) noexcept;

/// What a query may attend to, what is added to its scores, and what else a call gives.
///
/// For one row: s_j = scale q.k_j; softcap c tanh(s_j / c); + additive mask, ALiBi, relative position bias; hidden
/// keys removed; softmax; dropout; times v. Query i stands at position i + offset among the keys. A key is visible
/// if the valid lengths and every option below let it be. A call refuses by name an option that it has no use for.
struct AttentionOptions {
  /// The factor of q.k, finite, may be negative; 0 stands for 1 / sqrt(D). (For a factor of 0, give 1e-30.)
  float scale = 0.0f;
  /// c > 0: scores become c tanh(s / c), before masks and biases are added; 0: as they are.
  float softcap = 0.0f;

  /// Key j is visible to query i iff j <= i + offset.
  bool causal = false;
  /// The position of query 0 among the keys: 0 aligns causal to the upper left, S - L to the lower right, a past
  /// length to what a cache holds; may be negative.
  std::int64_t offset = 0;
  /// (B,): an offset of each batch entry, on top of `offset`; absent: 0.
  IndexView offsets;
  /// How many keys before and after i + offset are visible; -1: all.
  std::int64_t window_left = -1, window_right = -1;
  /// Rank 1 to 4, aligned to the right of (B, H, L, S); axes of size 1 repeat. Calls read it in place.
  BoolMaskView mask;
  /// (B, S): which keys are padding, for all heads and queries.
  BoolMaskView key_padding_mask;
  /// In both masks above: true means that an element that is not 0 hides its key, as in PyTorch's nn.MultiheadAttention; false,
  /// that 0 hides it.
  bool mask_hides = false;
  /// (B,): each entry's first key that is not hidden; keys before it are never read, as left padding needs; absent: 0.
  /// (valid_lens hides padding on the right.) Tokens keep their positions: query_positions and key_positions change them.
  IndexView valid_starts;
  /// Added to the scores; a shape like `mask`'s; -inf hides. A low number, such as -1e9 or the lowest float, does not hide: keys
  /// of a row that all have it share its weight by their scores. Biases count as real numbers, whatever their size: differences
  /// between keys are taken source by source, before sources are added.
  ConstTensorView additive_mask;
  /// (L,) or (B, L): the parents of queries that are nodes of a tree. Each sees its ancestors, itself and all keys
  /// before position `offset`; query i is key i + offset. A parent comes before its children; -1: a root.
  IndexView tree_parents;
  EmptyRows empty_rows = EmptyRows::zero;

  /// (H,): slope * |i + offset - j| is subtracted from each score.
  ConstTensorView alibi_slopes;
  RelativePositionBias relative_position_bias;
  /// (H,): a logit that adds to the softmax's denominator, but has no value; -inf: none.
  ConstTensorView sinks;

  /// (B + 1,) each, both or none: packed sequences of different lengths. Rows query_starts[b] to
  /// query_starts[b + 1] - 1 of a single batch entry are the queries of sequence b; keys likewise by key_starts.
  /// Starts begin at 0, do not decrease, and end at L and S.
  IndexView query_starts, key_starts;

  /// (L,) or (B, L), and (S,) or (B, S); for packed sequences (L,) and (S,): the positions to which a layer with a
  /// rotary embedding rotates its queries and keys, instead of i + offset (+ offsets[b]) and j. What is visible
  /// does not depend on them.
  IndexView query_positions, key_positions;

  /// Training mode: a layer or DotProductAttention applies its dropout to the attention weights. Otherwise dropout does nothing.
  bool training = false;
  /// Selects the dropped weights, together with batch entry, head, query and key. Threads change nothing.
  std::uint64_t dropout_seed = 0;
  /// An output, (B, H, L, S) or absent: the attention weights, before dropout. Asking for them changes no other
  /// output. Weights below 2^-102 may be 0.
  TensorView attention_weights;
  /// Makes attention_weights their mean over the heads, (B, L, S).
  bool average_weights = false;
  /// An output, (B, H, L) or absent: the natural log of each row's sum of exponentials, sink included; -inf (or the
  /// sink) for a row that sees no key.
  TensorView lse;
  Threads threads;
  Isa isa = Isa::best;  // a layer's calls take best, or the ISA that the layer is bound to

  /// With bfloat16, queries (times the scale), keys, values and the exponentials of scores are rounded to bfloat16 before they are
  /// multiplied; scores, sums and outputs stay float32, and the softmax's denominator sums what was rounded. Calls that take keys and
  /// values, without dropout, on AMD's CPUs with AVX-512 BF16, for Intel's vdpbf16ps is slower than float32.
  Arithmetic core_arithmetic = Arithmetic::float32;
  /// low_precision(), where core_arithmetic is not float32.
  const LowPrecision* low_precision = nullptr;
};

/// Attention on given queries, keys and values: the core of every layer.
///
/// q (B, H, L, D), k (B, G, S, D), v (B, G, S, Dv), output (B, H, L, Dv), which must not meet an input in memory;
/// any strides, so that (B, L, H, D) in memory is a view like any other; D and Dv from 1 to 576. valid_lens absent,
/// (B,) or (B, L). Keys and values outside the range that lengths, starts, causal and windows leave to their sequence
/// are never read; NaN in a hidden key reaches no row. A row that sees no key gives 0, or with EmptyRows::uniform
/// the mean of the values. The call neither rotates nor drops: it refuses options.query_positions, key_positions,
/// training and dropout_seed.
ATTEND_API Status attention(const ConstTensorView& q, const ConstTensorView& k, const ConstTensorView& v,
                            const LengthsView& valid_lens, const TensorView& output,
                            Workspace& workspace, const AttentionOptions& options = {}) noexcept;

/// Bytes that attention takes from its workspace for operands of these shapes, whose data is not read, and these
/// options; 0 if they are not valid.
ATTEND_API std::size_t attention_workspace_bytes(const ConstTensorView& q, const ConstTensorView& k,
                                                 const ConstTensorView& v, const AttentionOptions& options = {}) noexcept;

/// Combines attention over some keys with attention over others, in place: (output, lse) becomes attention over both.
///
/// output and other_output (B, H, L, Dv), lse and other_lse (B, H, L), apart in memory. Two rows that see no key
/// stay (0, -inf). Only one of the two may include a sink. Source: Dao et al. 2022.
ATTEND_API Status merge(const ConstTensorView& other_output, const ConstTensorView& other_lse,
                        const TensorView& output, const TensorView& lse,
                        const OperationOptions& options = {}) noexcept;

/// The slopes of the ALiBi paper for num_heads heads, a power of two or not.
///
/// slopes (num_heads,). Source: Press et al. 2022, and its code.
ATTEND_API Status default_alibi_slopes(std::int64_t num_heads, const TensorView& slopes) noexcept;

/// D2L's DotProductAttention: softmax(q k^T / sqrt(D), masked by valid_lens) v.
///
/// Immutable, holds no memory.
class ATTEND_API DotProductAttention {
 public:
  /// dropout in [0, 1).
  static Status make(float dropout, DotProductAttention* attention, Isa isa = Isa::best) noexcept;

  /// Bytes that forward takes from its workspace for operands of these shapes, whose data is not read, with these
  /// options, threads among them; 0 if they are not valid.
  std::size_t workspace_bytes(const ConstTensorView& queries, const ConstTensorView& keys,
                              const ConstTensorView& values, const AttentionOptions& options = {}) const noexcept;

  /// Computes attention with one head.
  ///
  /// queries (B, L, D), keys (B, S, D), values (B, S, Dv), output (B, L, Dv); D and Dv from 1 to 576;
  /// options.attention_weights (B, L, S), options.lse (B, L). A row of length 0 gets uniform weights over all S, as
  /// D2L's fill with -1e6 gives. The call refuses options.average_weights, query_positions, key_positions and empty_rows.
  Status forward(const ConstTensorView& queries, const ConstTensorView& keys,
                 const ConstTensorView& values, const LengthsView& valid_lens,
                 const TensorView& output, Workspace& workspace,
                 const AttentionOptions& options = {}) const noexcept;

 private:
  float dropout_ = 0.0f;
  const struct Kernels* kernels_ = nullptr;
};

// ---------------------------------------------------------------------------------------------
// The KV cache

/// How a KeyValueCache stores its keys and values. Those of bfloat16, float16 and int8 are rounded once, when they are appended: they
/// take a half or a quarter of the memory, which is what decoding many tokens waits for. Queries, weights and sums stay float32.
enum class CacheType : int {
  float32 = 0,
  bfloat16,  // to nearest, ties to even
  float16,   // to nearest, ties to even; 65,520 and beyond become infinity
  /// A float32 scale for each token and head of keys, and of values: the row's largest |x| / 127; integers to nearest, ties to even, within
  /// +-127. A row with NaN or infinity is NaN to all who see it.
  int8,
};

/// The shape of a KeyValueCache, and which tokens it keeps.
///
/// Three kinds: a contiguous cache, with neither `ring` nor pages, is full when an entry has `capacity` tokens; a
/// ring keeps the newest `capacity`; a paged cache has its rows in a pool of pages.
struct KeyValueCacheConfig {
  std::int64_t batch = 1;
  std::int64_t num_kv_heads = 0;  // G
  std::int64_t head_dim = 0;      // D, 1 to 576
  std::int64_t value_dim = 0;     // Dv, 1 to 576; 0: head_dim
  std::int64_t capacity = 0;      // tokens that an entry can hold; with pages, 0 stands for P page_rows
  bool ring = false;
  std::int64_t page_rows = 0;     // tokens of a page; 0: no pages
  std::int64_t page_count = 0;    // pages in the pool
  /// (batch, P): page pages[b, p] of the pool holds the tokens of entry b from p page_rows on. The table is the
  /// caller's and outlives the cache, which reads it in each call; between calls it may change. Numbers that a call
  /// needs have to be in [0, page_count) by then. Entries may share pages that no call writes.
  IndexView pages;
  CacheType type = CacheType::float32;
  /// low_precision(), where type is not float32: so a program of float32 alone links none of it.
  const struct LowPrecision* low_precision = nullptr;
};

/// Keys and values of past tokens, for each entry of a batch and each key/value head.
///
/// The cache holds its rows head by head: [batch][G][capacity][D], or [page][G][page_rows][D] with pages, each head
/// on a cache line of its own; values likewise. Token j of an entry keeps position j, however many tokens a ring has
/// let go. One call at a time may write a cache, and none may read it meanwhile; any number may read it at once.
class ATTEND_API KeyValueCache {
 public:
  KeyValueCache() noexcept = default;
  ~KeyValueCache();
  KeyValueCache(KeyValueCache&& other) noexcept;
  KeyValueCache& operator=(KeyValueCache&& other) noexcept;

  /// Bytes that make needs; 0 if the config is not a valid one.
  static std::size_t bytes(const KeyValueCacheConfig& config) noexcept;

  /// Makes an empty cache, in memory of its own or in the caller's: bytes(config) bytes of any alignment that
  /// outlive it. make does not touch the rows. On an error *cache is as it was.
  static Status make(const KeyValueCacheConfig& config, KeyValueCache* cache, void* memory = nullptr,
                     std::size_t memory_bytes = 0) noexcept;

  /// Appends n tokens to each entry, or the first counts[b] of its n rows.
  ///
  /// k (B, G, n, D), v (B, G, n, Dv), apart from the cache in memory; counts absent or (B,), each 0 to n. A ring
  /// keeps the last `capacity` of them. An entry without room for its tokens is an error (out_of_memory). On any
  /// error the cache is as it was.
  Status append(const ConstTensorView& k, const ConstTensorView& v, const IndexView& counts = {},
                const OperationOptions& options = {}) noexcept;

  /// Takes entry b back to its first `length` tokens, from first(b) to length(b), as if later tokens had never come;
  /// or to 0, where the entry begins anew. Tokens that a ring has let go stay gone.
  Status truncate(std::int64_t b, std::int64_t length) noexcept;
  /// Takes every entry back to 0 tokens.
  void clear() noexcept;

  /// How many tokens entry b was given, those that a ring has let go included.
  std::int64_t length(std::int64_t b) const noexcept;
  /// The first token of entry b that is kept: 0 but on a ring.
  std::int64_t first(std::int64_t b) const noexcept;
  /// The D elements of a token's key, or the Dv of its value; null for a token that the cache does not hold, or whose
  /// page is not in the pool, and in a cache that is not float32.
  const float* key(std::int64_t b, std::int64_t head, std::int64_t token) const noexcept;
  const float* value(std::int64_t b, std::int64_t head, std::int64_t token) const noexcept;

  /// The config that the cache was made from, value_dim and capacity filled in; the default before that.
  KeyValueCacheConfig config() const noexcept;
  /// What the library reads and writes; null before it was made.
  struct CacheState* state() const noexcept { return state_; }

 private:
  struct CacheState* state_ = nullptr;  // at the start of the memory
  void* owned_ = nullptr;               // the heap block that holds it, if it is ours
};

/// Attention of queries to all tokens of a cache; append the queries' own tokens first.
///
/// q (B, H, L, D) and output (B, H, L, Dv) as in `attention`; query_counts absent or (B,), 0 to L: how many of an
/// entry's rows are queries. Later rows are padding: output and weights 0, the LSE of a row that sees no key. Query i
/// of entry b stands at position length(b) - query_counts[b] + i + options.offset (+ options.offsets[b]): so causal,
/// windows and biases are right after an append of the same rows. S, for masks and attention weights, is the largest
/// length. With EmptyRows::uniform an empty row gives the mean of the values that the cache holds.
/// On a ring, a query that would see a token that is gone, by causal, window and length, is an error: `capacity` has
/// to be window_left + L at least. But a single query without a window_left sees what the ring holds. The call
/// refuses options.query_starts and key_starts, and what `attention` refuses.
ATTEND_API Status attention_cached(const ConstTensorView& q, const KeyValueCache& cache, const IndexView& query_counts,
                                   const TensorView& output, Workspace& workspace,
                                   const AttentionOptions& options = {}) noexcept;

/// Bytes that attention_cached takes from its workspace, however much the cache holds; q's data is not read; 0 if the
/// arguments are not valid.
ATTEND_API std::size_t attention_workspace_bytes(const ConstTensorView& q, const KeyValueCache& cache,
                                                 const AttentionOptions& options = {}) noexcept;

// ---------------------------------------------------------------------------------------------
// Positions

/// Rotary position embedding: each pair of the first R elements of a row of D is turned by an angle, the
/// row's position times the pair's frequency.
///
/// (x, y) becomes (x cos - y sin, y cos + x sin). Give inverse_frequencies, or cosines and sines. The angle is
/// computed in double; its cosine and sine, times attention_factor, are rounded to float once. Source: Su et al. 2021.
struct RotaryEmbedding {
  ConstTensorView inverse_frequencies;  // (R / 2,), R at most D
  ConstTensorView cosines, sines;       // (P, R / 2) for positions 0 to P - 1, an attention factor included
  float attention_factor = 1.0f;        // multiplies cosines and sines; 1 where these are given
  bool interleaved = false;             // pair n is (2n, 2n + 1) as GPT-J has it, else (n, n + R / 2)

  /// Whether nothing is rotated: no frequencies and no tables.
  bool absent() const { return inverse_frequencies.absent() && cosines.absent() && sines.absent(); }
};

/// Rotates the rows of all heads.
///
/// input and output (B, H, L, D), the same view or apart in memory. Row i of entry b is at position
/// i + offset, or with positions, (L,) or (B, L), at positions[(b,) i] + offset; positions may be negative,
/// but with cosines and sines have to be in [0, P). Elements from R on pass as they are.
ATTEND_API Status rotary_embedding(const ConstTensorView& input, const RotaryEmbedding& rotary,
                                   const IndexView& positions, std::int64_t offset,
                                   const TensorView& output, Workspace& workspace,
                                   const OperationOptions& options = {}) noexcept;

/// Bytes that rotary_embedding takes from its workspace for arguments of these shapes, whose data is not read; 0 if
/// they are not valid. R floats for each row of a head; with (B, L) positions, for each row of each entry.
ATTEND_API std::size_t rotary_workspace_bytes(const ConstTensorView& input,
                                              const RotaryEmbedding& rotary,
                                              const IndexView& positions) noexcept;

/// output[..., d] = input[..., d] / sqrt(mean of the row's squares + epsilon) * weight[d].
///
/// input and output (B, H, L, D), the same view or apart in memory; a row is the last axis. weight (D,); absent: 1.
/// epsilon >= 0; with 0 a row of zeros gives NaN. The sum of squares is in float32: accurate for sqrt(D) |x| below
/// 2^63 and, with epsilon 0, for rows whose largest |x| is above 2^-60.
/// Source: Zhang and Sennrich 2019; on queries and keys, Henry et al. 2020 (QK-norm).
ATTEND_API Status rms_norm(const ConstTensorView& input, const ConstTensorView& weight, float epsilon,
                           const TensorView& output, const OperationOptions& options = {}) noexcept;

/// How rotary frequencies change so that a model reads more positions than it was trained on.
enum class RotaryScalingKind : int {
  none = 0,
  linear,  // every frequency is divided by the factor. Source: Chen et al. 2023
  ntk,     // the base is multiplied by factor^(R / (R - 2)): the lowest frequency is divided by the factor
  yarn,    // low frequencies are divided, high ones stay, linear in n in between. Source: Peng et al. 2023
  llama3,  // low frequencies are divided, high ones stay, linear in the frequency in between. Source: Llama 3.1
};

/// The numbers of a scaling; the formulas are those of Hugging Face's transformers. The turns of a frequency are
/// frequency original_max_position / (2 pi).
struct RotaryScaling {
  RotaryScalingKind kind = RotaryScalingKind::none;
  double factor = 1.0;                     // above 0
  std::int64_t original_max_position = 0;  // yarn, llama3: how many positions the model was trained on
  double beta_fast = 32.0;                 // yarn: frequencies of more turns stay
  double beta_slow = 1.0;                  // yarn: frequencies of fewer turns are divided; below beta_fast
  bool truncate = true;                    // yarn: whether the range between is rounded to whole n, outwards
  double low_frequency_factor = 1.0;       // llama3: frequencies of fewer turns are divided
  double high_frequency_factor = 4.0;      // llama3: frequencies of more turns stay; above low_frequency_factor
};

/// inverse_frequencies[n] = base^(-2n / R), scaled.
///
/// rotary_dim R even, 2 or more; base above 1; inverse_frequencies (R / 2,). Computed in double, rounded to
/// float once.
ATTEND_API Status rotary_frequencies(std::int64_t rotary_dim, double base, const RotaryScaling& scaling,
                                     const TensorView& inverse_frequencies) noexcept;

/// RotaryEmbedding::attention_factor for a scaling: 0.1 ln(factor) + 1 for yarn with a factor above 1, else 1.
ATTEND_API float rotary_attention_factor(const RotaryScaling& scaling) noexcept;

// ---------------------------------------------------------------------------------------------
// The layer

/// What a layer is: the arguments of D2L's MultiHeadAttention in its order, then what later models ask for.
struct MultiHeadAttentionConfig {
  std::int64_t key_size = 0;     // 0: query_size
  std::int64_t query_size = 0;   // 0: num_hiddens
  std::int64_t value_size = 0;   // 0: query_size
  std::int64_t num_hiddens = 0;  // the model width E; num_heads divides it, unless head_dim is given
  std::int64_t num_heads = 0;    // H
  float dropout = 0.0f;  // in [0, 1); acts in training mode alone
  bool bias = false;     // a layer has biases if this is true or a bias is given; absent biases are 0
  Isa isa = Isa::best;

  std::int64_t num_kv_heads = 0;  // G, which divides num_heads; 0: num_heads
  std::int64_t head_dim = 0;      // D, 1 to 576; 0: num_hiddens / num_heads
  std::int64_t output_size = 0;   // the width of the output; 0: num_hiddens
  /// Rotates projected queries and keys; without views it rotates nothing. make copies inverse_frequencies, and
  /// config() gives the copy; cosines and sines are read where they are, and have to outlive the layer.
  RotaryEmbedding rotary;
  bool qk_norm = false;          // whether each head's projected query and key pass through rms_norm first
  float norm_epsilon = 1e-6f;    // the epsilon of rms_norm, 0 or more
  bool norm_queries = true, norm_keys = true;  // false leaves one side out of qk_norm

  WeightType weight_type = WeightType::float32;
  Arithmetic arithmetic = Arithmetic::float32;
  /// low_precision(), or of int4 low_precision_int4(), where weight_type is not float32: so a program of float32 alone links none of it.
  const LowPrecision* low_precision = nullptr;
  int weight_group = 0;  // elements of a channel of int4 that share a scale: 32, 64 or 128; 0: 32. The last group may have fewer
};

/// A matrix (out, in) of low precision as a file holds it: `halves` the bits of bfloat16 or float16; `integers` with a scale for each
/// row, (out,); or `nibbles` of int4, (out, (in + 1) / 2), two numbers a byte, that of an even column in the lower half, with a scale for each
/// row and group, (out, groups), and `zeros`, likewise, whose lower four bits count; absent zeros are 8. make takes it as it is where config.weight_type is its type, and refuses it elsewhere.
struct StoredMatrix {
  View<const std::uint16_t> halves;
  View<const std::int8_t> integers;
  ConstTensorView scales;
  View<const std::uint8_t> nibbles = {}, zeros = {};
};

/// The weights of a layer, matrices row-major (out, in) as model files hold them; make alone reads them.
///
/// query (H D, query_size), key (G D, key_size), value (G D, value_size), output (output_size, H D). A bias has an
/// element for each row of its matrix; an absent bias is zeros. query_norm and key_norm (D,) serve all heads: absent
/// where the config norms nothing; an absent norm is ones.
struct MultiHeadAttentionWeights {
  ConstTensorView query, key, value, output;
  ConstTensorView query_bias = {}, key_bias = {}, value_bias = {}, output_bias = {};
  ConstTensorView query_norm = {}, key_norm = {};
  /// In place of query, key, value or output; null: none.
  const StoredMatrix *stored_query = nullptr, *stored_key = nullptr, *stored_value = nullptr, *stored_output = nullptr;
};

/// The shape of a call, for workspace_bytes. Packed sequences are a batch of 1, with all rows.
struct ForwardShape {
  std::int64_t batch = 1;
  std::int64_t queries = 0;
  std::int64_t keys = 0;
};

/// Multi-head attention: W_o concat(softmax(q k^T / sqrt(D)) v) over num_heads heads of the
/// projected queries, keys and values; query head h reads key/value head h / (H/G). With qk_norm, then with
/// rotary, each row of a head of q and k is normed, and rotated to its position.
///
/// Immutable once made: any number of threads may run it at once, each with its own workspace. The
/// weights are packed when it is made, for the ISA it is bound to. Source: D2L, MultiHeadAttention;
/// Vaswani et al. 2017, section 3.2.2.
class ATTEND_API MultiHeadAttention {
 public:
  MultiHeadAttention() noexcept = default;
  ~MultiHeadAttention();
  MultiHeadAttention(MultiHeadAttention&& other) noexcept;
  MultiHeadAttention& operator=(MultiHeadAttention&& other) noexcept;

  /// Bytes that make needs for the packed weights; 0 if the config is not valid.
  static std::size_t packed_bytes(const MultiHeadAttentionConfig& config) noexcept;

  /// Packs the weights into memory of the layer's own, or into the caller's: packed_bytes(config)
  /// bytes of any alignment that outlive it. On an error *attention is as it was.
  static Status make(const MultiHeadAttentionConfig& config,
                     const MultiHeadAttentionWeights& weights, MultiHeadAttention* attention,
                     void* memory = nullptr, std::size_t memory_bytes = 0) noexcept;

  /// Makes a layer with random weights: uniform in +-sqrt(6 / (in + out)) (Glorot and Bengio 2010) from a seed, with
  /// zero biases; the same numbers on every machine.
  static Status make_random(const MultiHeadAttentionConfig& config, std::uint64_t seed,
                            MultiHeadAttention* attention, void* memory = nullptr,
                            std::size_t memory_bytes = 0) noexcept;

  /// Bytes that forward takes from its workspace for a call of that shape with these options, threads among them; 0 if
  /// they are not valid. The formula stands in src/plan/plan.h.
  std::size_t workspace_bytes(const ForwardShape& shape, const AttentionOptions& options = {}) const noexcept;

  /// Computes the layer.
  ///
  /// queries (B, L, query_size), keys (B, S, key_size), values (B, S, value_size), output (B, L, output_size), which
  /// must not meet an input in memory; valid_lens absent, (B,) or (B, L). Keys and values outside the range that
  /// lengths, starts, causal and windows leave to their entry are neither read nor projected. A row that sees no key
  /// gives W_o's bias, or with EmptyRows::uniform what the mean of the values gives. Each packed sequence
  /// (options.query_starts) gets the bits that it gets alone.
  Status forward(const ConstTensorView& queries, const ConstTensorView& keys,
                 const ConstTensorView& values, const LengthsView& valid_lens,
                 const TensorView& output, Workspace& workspace,
                 const AttentionOptions& options = {}) const noexcept;

  /// The layer over a cache: appends the projected keys and values, then attends to all that the cache holds.
  ///
  /// queries (B, L, query_size), keys (B, n, key_size), values (B, n, value_size), output (B, L, output_size), all
  /// apart from the cache in memory; B, G and D are the cache's, whose value_dim is D too. new_counts absent or (B,),
  /// 0 to n: how many of an entry's n new rows, and of its queries, there are, so that L has to be n; later rows are
  /// padding, whose output is W_o's bias. Queries stand at the end of their entry, as in attention_cached, which says
  /// what options mean; keys stand where they are appended. A layer with rotary rotates them to these positions, or to
  /// options.query_positions, (L,) or (B, L), and key_positions, (n,) or (B, n). Lengths move once all is done: on an
  /// error the cache is as it was.
  /// With absent keys and values the call appends nothing and only reads the cache, as in cross-attention to what
  /// `project` has left there; new_counts then count the queries alone.
  Status forward_cached(const ConstTensorView& queries, const ConstTensorView& keys, const ConstTensorView& values,
                        const IndexView& new_counts, KeyValueCache* cache, const TensorView& output, Workspace& workspace,
                        const AttentionOptions& options = {}) const noexcept;

  /// Appends projected keys and values to a cache, without queries: for an encoder's output, once.
  ///
  /// Shapes are as in forward_cached. It takes options.key_positions and threads, and refuses all others.
  Status project(const ConstTensorView& keys, const ConstTensorView& values, const IndexView& counts,
                 KeyValueCache* cache, Workspace& workspace, const AttentionOptions& options = {}) const noexcept;

  /// Bytes that forward_cached, with shape.keys new rows, or project, with shape.queries = 0, takes from its workspace,
  /// however much the cache holds; 0 if the shape does not fit the cache.
  std::size_t workspace_bytes(const ForwardShape& shape, const KeyValueCache& cache,
                              const AttentionOptions& options = {}) const noexcept;

  /// The config that the layer was made from, with the sizes of queries, keys and values, `bias` and `isa` filled in.
  const MultiHeadAttentionConfig& config() const noexcept { return config_; }
  /// The ISA that the layer is bound to; Isa::best before it was made.
  Isa isa() const noexcept { return config_.isa; }

 private:
  void release() noexcept;
  struct Call;
  Status run(const Call& call, Workspace& workspace) const noexcept;
  Status prepare(const Call& call, Workspace& workspace, const struct Forward** prepared) const noexcept;
  MultiHeadAttentionConfig config_;
  const struct Kernels* kernels_ = nullptr;  // null until made
  float* packed_ = nullptr;                  // all weights as src/data/layer.h has them, 64-byte aligned
  void* owned_ = nullptr;                    // the heap block that holds them, if it is ours
};

// ---------------------------------------------------------------------------------------------
// What a block has beside attention

/// What a linear layer applies to each element of its result; -infinity gives 0, its limit, and NaN gives NaN.
enum class Activation : int {
  none = 0,
  relu,       // max(x, 0)
  gelu,       // x Phi(x), Phi the normal distribution's. Source: Hendrycks and Gimpel 2016
  gelu_tanh,  // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): its approximation there, as GPT-2 and Gemma have it
  silu,       // x / (1 + exp(-x)). Source: Elfwing et al. 2017
};

struct LinearConfig {
  std::int64_t inputs = 0, outputs = 0;  // columns of a row, 1 to 2^24
  Isa isa = Isa::best;
  /// As in MultiHeadAttentionConfig.
  WeightType weight_type = WeightType::float32;
  Arithmetic arithmetic = Arithmetic::float32;
  const LowPrecision* low_precision = nullptr;
  int weight_group = 0;
};

/// The weights of a linear layer, (outputs, inputs) as model files hold them; make alone reads them.
struct LinearWeights {
  ConstTensorView matrix;
  ConstTensorView bias = {};             // (outputs,); absent: zeros
  const StoredMatrix* stored = nullptr;  // in place of matrix; null: none
};

struct LinearOptions {
  Activation activation = Activation::none;
  ConstTensorView multiplier = {};  // of the output's shape: what is activated is multiplied by it, as in SwiGLU; absent: by 1
  Threads threads;
};

/// A linear layer: activation(x W^T + bias), times a multiplier.
///
/// Immutable once made: any number of threads may run it at once, each with its own workspace. The weights are packed
/// when it is made, for the ISA it is bound to; results have the same bits for any threads, strides and batch.
class ATTEND_API Linear {
 public:
  Linear() noexcept = default;
  ~Linear();
  Linear(Linear&& other) noexcept;
  Linear& operator=(Linear&& other) noexcept;

  /// Bytes that make needs for the packed weights; 0 if the config is not valid.
  static std::size_t packed_bytes(const LinearConfig& config) noexcept;

  /// Packs the weights into memory of the layer's own, or into the caller's: packed_bytes(config) bytes of any
  /// alignment that outlive it. On an error *linear is as it was.
  static Status make(const LinearConfig& config, const LinearWeights& weights, Linear* linear, void* memory = nullptr,
                     std::size_t memory_bytes = 0) noexcept;

  /// Bytes that forward takes from its workspace for a batch of entries of `rows` rows each.
  std::size_t workspace_bytes(std::int64_t batch, std::int64_t rows) const noexcept;

  /// Computes the layer.
  ///
  /// input (L, inputs) or (B, L, inputs), output (L, outputs) or (B, L, outputs), which must not meet an input in
  /// memory, nor the multiplier.
  Status forward(const ConstTensorView& input, const TensorView& output, Workspace& workspace,
                 const LinearOptions& options = {}) const noexcept;

  /// The config that the layer was made from, with its ISA.
  const LinearConfig& config() const noexcept { return config_; }

 private:
  LinearConfig config_;
  const struct Kernels* kernels_ = nullptr;  // null until made
  float* packed_ = nullptr;                  // a PackedProjection of src/data/layer.h, 64-byte aligned
  void* owned_ = nullptr;                    // the heap block that holds it, if it is ours
  bool bias_ = false;
};

/// What layer_norm and rms_norm_rows may be told. D is the width of a row.
struct NormOptions {
  ConstTensorView weight = {}, bias = {};  // (D,); absent: ones, zeros
  ConstTensorView residual = {};           // of the input's shape: what is normed is their sum; absent: the input
  TensorView sum = {};                     // of the input's shape: where that sum goes; absent: nowhere
  Isa isa = Isa::best;
  Threads threads;
};

/// output[..., d] = (x[..., d] - mean) / sqrt(variance + epsilon) * weight[d] + bias[d], x = input + residual.
///
/// input and output (.., D) of 1 to 4 axes; a row is the last axis, its variance the mean of (x - mean)^2. Output and sum
/// may each be the input or the residual, the same view, or lie apart from them and each other in memory. epsilon >= 0.
/// Sums are in float32: accurate where those of |x| and of (x - mean)^2 are finite. Source: Ba et al. 2016.
ATTEND_API Status layer_norm(const ConstTensorView& input, float epsilon, const TensorView& output,
                             const NormOptions& options = {}) noexcept;

/// output[..., d] = x[..., d] / sqrt(mean of the row's squares + epsilon) * weight[d] + bias[d], x = input + residual.
///
/// Shapes and memory are as in layer_norm. Source: Zhang and Sennrich 2019.
ATTEND_API Status rms_norm_rows(const ConstTensorView& input, float epsilon, const TensorView& output,
                                const NormOptions& options = {}) noexcept;

}  // namespace attend
