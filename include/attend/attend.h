/* The C API of attend: multi-head attention on CPUs; all that attend.hpp has, under its names.
 *
 * Plain C99; link with -lattend -lm -lpthread, no C++ runtime. Nothing here throws, prints, or reads the
 * environment. Symbols: B batch, H query heads, G key/value heads (G divides H; query head h reads key/value
 * head h / (H/G)), L queries, S keys, D head width of queries and keys, Dv of values, E model width.
 *
 * Functions return ATTEND_OK or an error code, and leave their outputs untouched on an error. Each takes an
 * attend_error, which may be NULL, for the message, which names the argument or field, what it was, and what was
 * expected.
 *
 * Structs are to be zeroed as a whole where not set, as initialisers do; zero says the default in every field. Those
 * that begin with `size` may grow at their end from release to release: set it to sizeof the struct, hold them by
 * pointer, and put none inside another or into an array. A program then runs with any library of its major version:
 * what an older program does not know is zero, and what an older library does not know is refused if it is set.
 *
 *   attend_mha_config config = {.size = sizeof config, .num_hiddens = 64, .num_heads = 4};
 *
 * All others never change. Pointers in structs are read during the call alone, unless stated otherwise. */
#ifndef ATTEND_H
#define ATTEND_H

#include <stddef.h>
#include <stdint.h>

#define ATTEND_VERSION_MAJOR 0
#define ATTEND_VERSION_MINOR 1
#define ATTEND_VERSION_PATCH 0
#define ATTEND_VERSION "0.1.0"

#if defined(__GNUC__)
#define ATTEND_C_API __attribute__((visibility("default")))
#else
#define ATTEND_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------------------
 * Errors */

typedef enum attend_code {
  ATTEND_OK = 0,
  ATTEND_INVALID_ARGUMENT, /* the message names the argument, what it was, and what was expected */
  ATTEND_UNSUPPORTED,      /* this CPU or this build lacks what was asked for */
  ATTEND_OUT_OF_MEMORY     /* the heap, or the memory that the caller gave, is too small */
} attend_code;

/* What went wrong: one line without a final full stop or newline. Written on errors only. */
typedef struct attend_error {
  char message[236];
} attend_error;

/* "0.1.0", of the library that runs. */
ATTEND_C_API const char *attend_version(void);

/* -------------------------------------------------------------------------------------------
 * Views: somebody else's memory with its sizes and strides, in elements, outermost first; never owned.
 *
 * strides: NULL where the memory is contiguous, row-major; else `rank` of them, 0 or more (0 repeats an element along
 * that axis; the elements of an output are distinct). A view that is all zero, or a NULL pointer to one, is absent.
 *
 *   attend_mha_call call = {.size = sizeof call, .queries = {x, 3, {B, L, E}},
 *                           .keys = {y + E, 3, {B, S, E}, (int64_t[]){S * 2 * E, 2 * E, 1}}, ..};   of a fused (B, S, 2 E)
 *
 * (Compilers that are asked to warn of fields without initialisers do not where all are named: {.data = x, .rank = 3, ..}.) */

typedef struct attend_tensor {
  float *data;
  int rank; /* 1 to 4 */
  int64_t sizes[4];
  const int64_t *strides;
} attend_tensor;

typedef struct attend_const_tensor {
  const float *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_const_tensor;

/* Lengths, positions, counts, starts, parents in a tree, pages. */
typedef struct attend_indices {
  const int64_t *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_indices;

/* One byte an element: 0 or not. */
typedef struct attend_bool_mask {
  const uint8_t *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_bool_mask;

/* The bits of bfloat16 or float16. */
typedef struct attend_half_tensor {
  const uint16_t *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_half_tensor;

typedef struct attend_int8_tensor {
  const int8_t *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_int8_tensor;

typedef struct attend_uint8_tensor {
  const uint8_t *data;
  int rank;
  int64_t sizes[4];
  const int64_t *strides;
} attend_uint8_tensor;

/* -------------------------------------------------------------------------------------------
 * Instruction sets */

typedef enum attend_isa {
  ATTEND_ISA_BEST = 0, /* the best that this CPU can run */
  ATTEND_ISA_SCALAR,
  ATTEND_ISA_AVX2,
  ATTEND_ISA_AVX512,
  ATTEND_ISA_NEON
} attend_isa;

/* "best", "scalar", "avx2", "avx512" or "neon". */
ATTEND_C_API const char *attend_isa_name(attend_isa isa);
/* Finds the ISA of that name; 0 if there is none. */
ATTEND_C_API int attend_isa_from_name(const char *name, attend_isa *isa);
/* Whether this build holds kernels for the ISA; and whether this CPU and operating system can run them, too. */
ATTEND_C_API int attend_isa_compiled(attend_isa isa);
ATTEND_C_API int attend_isa_usable(attend_isa isa);
/* The ISA that ATTEND_ISA_BEST stands for on this machine. */
ATTEND_C_API attend_isa attend_best_isa(void);

/* -------------------------------------------------------------------------------------------
 * Threads */

/* Runs task(context, index) once for each index in [0, count) and returns when all have ended. The calls may run at
 * the same time or one after the other, in any order, on any threads. */
typedef void (*attend_parallel_for)(void *pool, int count, void (*task)(void *context, int index), void *context);

/* How many threads a call may use, and who provides them; results have the same bits for any count. */
typedef struct attend_threads {
  int count;                        /* 1 to 256; 0: 1, the caller's alone */
  attend_parallel_for parallel_for; /* required when count > 1 */
  void *pool;                       /* handed to parallel_for */
} attend_threads;

/* A pool of threads that sleep while there is no work, unless keep_awake. Several calls may share it: while one uses it,
 * the others run on their own thread alone. In a child of fork it has no threads, and serves calls on their caller's. */
typedef struct attend_thread_pool attend_thread_pool;

/* Starts count - 1 threads (the caller's is the other one), count from 1 to 256. Whoever gets *pool ends it with
 * attend_thread_pool_destroy, for which NULL is fine. */
ATTEND_C_API attend_code attend_thread_pool_make(int count, attend_thread_pool **pool, attend_error *error);
ATTEND_C_API void attend_thread_pool_destroy(attend_thread_pool *pool);
/* Whether its threads wait for the next call awake, on a core each, for about a millisecond after the last: for many short
 * calls one after another. Of NULL: nothing. */
ATTEND_C_API void attend_thread_pool_keep_awake(attend_thread_pool *pool, int awake);
/* For the `threads` of a call; valid while the pool lives. Ask anew after keep_awake. Of NULL: the caller's alone. */
ATTEND_C_API attend_threads attend_thread_pool_threads(attend_thread_pool *pool);

/* -------------------------------------------------------------------------------------------
 * Workspaces */

/* Scratch memory for calls, one at a time; its contents mean nothing between calls. Where a call takes a pointer to
 * one, NULL stands for memory from the heap for that call alone.
 *
 * All zero: it grows on the heap as calls need it, and after the first call of a shape later ones do not touch the
 * heap; attend_workspace_release ends it. {memory, bytes}: the caller's memory, of any alignment; calls that need more
 * return ATTEND_OUT_OF_MEMORY. */
typedef struct attend_workspace {
  void *memory;
  size_t bytes;
  int owned; /* the library's to set: whether memory came from the heap */
} attend_workspace;

/* Makes room for `bytes` bytes and gives it, aligned to 64; NULL if that fails. */
ATTEND_C_API void *attend_workspace_reserve(attend_workspace *workspace, size_t bytes);
/* Frees what it has grown to: it is all zero then. One of the caller's memory stays as it is. NULL is fine. */
ATTEND_C_API void attend_workspace_release(attend_workspace *workspace);

/* -------------------------------------------------------------------------------------------
 * The operations */

/* The options of all functions below but attention; NULL: the defaults. */
typedef struct attend_operation_options {
  size_t size;
  int isa; /* an attend_isa */
  attend_threads threads;
} attend_operation_options;

/* output = a b + bias.
 *
 * a (L, K) or (B, L, K); b (K, N) or (B, K, N), or with b_transposed (N, K) or (B, N, K); bias (N,) or absent; output
 * (L, N) or (B, L, N), which must not meet an input in memory. A two-axis b serves every entry of a three-axis a. Each
 * element is one chain of multiply-adds over ascending k, then + bias. K = 0 gives the bias. */
ATTEND_C_API attend_code attend_matmul(const attend_const_tensor *a, const attend_const_tensor *b, int b_transposed,
                                       const attend_const_tensor *bias, const attend_tensor *output,
                                       attend_workspace *workspace, const attend_operation_options *options,
                                       attend_error *error);
/* Bytes that it takes from its workspace; no data is read. 0 if the factors are not valid ones. */
ATTEND_C_API size_t attend_matmul_workspace_bytes(const attend_const_tensor *a, const attend_const_tensor *b,
                                                  int b_transposed, const attend_operation_options *options);

/* output[b, j, ...] = input[b, j, ...] for j < valid_lens[b], and `value` beyond.
 *
 * input and output (B, S) or (B, S, E), the same view or apart in memory; valid_lens (B,). D2L's sequence_mask. */
ATTEND_C_API attend_code attend_sequence_mask(const attend_const_tensor *input, const attend_indices *valid_lens,
                                              float value, const attend_tensor *output,
                                              const attend_operation_options *options, attend_error *error);

/* Softmax over the last axis, after setting what lies at or past the valid length to -1e6.
 *
 * input and output (B, L, S), the same view or apart in memory; valid_lens absent, (B,) or (B, L). Length 0 gives 1/S
 * everywhere. What lies past a length is not read. D2L's masked_softmax. */
ATTEND_C_API attend_code attend_masked_softmax(const attend_const_tensor *input, const attend_indices *valid_lens,
                                               const attend_tensor *output, const attend_operation_options *options,
                                               attend_error *error);

/* (B, n, E) -> (B H, n, E / H): row b H + h holds columns h E/H and on of entry b; and the inverse. The output must not
 * meet the input in memory. D2L's functions of these names. */
ATTEND_C_API attend_code attend_transpose_qkv(const attend_const_tensor *input, int64_t num_heads,
                                              const attend_tensor *output, const attend_operation_options *options,
                                              attend_error *error);
ATTEND_C_API attend_code attend_transpose_output(const attend_const_tensor *input, int64_t num_heads,
                                                 const attend_tensor *output, const attend_operation_options *options,
                                                 attend_error *error);

/* output[..., d] = input[..., d] / sqrt(mean of the row's squares + epsilon) * weight[d].
 *
 * input and output (B, H, L, D), the same view or apart in memory; weight (D,), or absent: 1. epsilon 0 or more: with 0
 * a row of zeros gives NaN. attend.hpp says for which sizes of numbers it is accurate. */
ATTEND_C_API attend_code attend_rms_norm(const attend_const_tensor *input, const attend_const_tensor *weight,
                                         float epsilon, const attend_tensor *output,
                                         const attend_operation_options *options, attend_error *error);

/* Combines attention over some keys with attention over others, in place: (output, lse) becomes attention over both.
 *
 * output and other_output (B, H, L, Dv), lse and other_lse (B, H, L), apart in memory. Two rows that see no key stay
 * (0, -inf). A sink may be part of one of them alone. */
ATTEND_C_API attend_code attend_merge(const attend_const_tensor *other_output, const attend_const_tensor *other_lse,
                                      const attend_tensor *output, const attend_tensor *lse,
                                      const attend_operation_options *options, attend_error *error);

/* The slopes of the ALiBi paper for num_heads heads, also where that is not a power of two: slopes (num_heads,). */
ATTEND_C_API attend_code attend_default_alibi_slopes(int64_t num_heads, const attend_tensor *slopes,
                                                     attend_error *error);

/* -------------------------------------------------------------------------------------------
 * Positions */

/* Rotary position embedding: each pair of the first R elements of a row of D is turned by an angle, the row's position
 * times the pair's frequency. Give inverse_frequencies, or cosines and sines. */
typedef struct attend_rotary_embedding {
  size_t size;
  attend_const_tensor inverse_frequencies; /* (R / 2,), R at most D */
  attend_const_tensor cosines, sines;      /* (P, R / 2) for positions 0 to P - 1, an attention factor included */
  float attention_factor;                  /* with inverse_frequencies; 0: 1 */
  int interleaved;                         /* not 0: pair n is (2n, 2n + 1) as GPT-J has it, else (n, n + R / 2) */
} attend_rotary_embedding;

/* Rotates the rows of all heads.
 *
 * input and output (B, H, L, D), the same view or apart in memory. Row i of entry b is at position i + offset, or with
 * positions, (L,) or (B, L), at positions[(b,) i] + offset; positions may be negative, but with cosines and sines have
 * to be in [0, P). Elements from R on pass as they are. */
ATTEND_C_API attend_code attend_rotate(const attend_const_tensor *input, const attend_rotary_embedding *rotary,
                                       const attend_indices *positions, int64_t offset, const attend_tensor *output,
                                       attend_workspace *workspace, const attend_operation_options *options,
                                       attend_error *error);
/* Bytes that it takes from its workspace; no data is read. 0 if the arguments are not valid ones. */
ATTEND_C_API size_t attend_rotary_workspace_bytes(const attend_const_tensor *input,
                                                  const attend_rotary_embedding *rotary,
                                                  const attend_indices *positions);

/* How rotary frequencies change so that a model reads more positions than it was trained on. */
typedef enum attend_rotary_scaling_kind {
  ATTEND_ROTARY_NONE = 0,
  ATTEND_ROTARY_LINEAR, /* every frequency is divided by the factor */
  ATTEND_ROTARY_NTK,    /* the base is multiplied by factor^(R / (R - 2)) */
  ATTEND_ROTARY_YARN,   /* low frequencies are divided, high ones stay, linear in n in between */
  ATTEND_ROTARY_LLAMA3  /* the same, linear in the frequency in between */
} attend_rotary_scaling_kind;

/* The formulas are those of Hugging Face's transformers. A frequency makes turns: its share of 2 pi times
 * original_max_position. */
typedef struct attend_rotary_scaling {
  size_t size;
  int kind;                      /* an attend_rotary_scaling_kind */
  int untruncated;               /* yarn: not 0: the range in between is not rounded to whole n, outwards */
  double factor;                 /* above 0; 0: 1 */
  int64_t original_max_position; /* yarn, llama3: how many positions the model was trained on */
  double beta_fast;              /* yarn: frequencies of more turns stay; 0: 32 */
  double beta_slow;              /* yarn: those of fewer are divided; below beta_fast; 0: 1 */
  double low_frequency_factor;   /* llama3: frequencies of fewer turns are divided; 0: 1 */
  double high_frequency_factor;  /* llama3: those of more stay; above low_frequency_factor; 0: 4 */
} attend_rotary_scaling;

/* inverse_frequencies[n] = base^(-2n / R), scaled; scaling NULL: none.
 *
 * rotary_dim R even, 2 or more; base above 1; inverse_frequencies (R / 2,). Computed in double, rounded once. */
ATTEND_C_API attend_code attend_rotary_frequencies(int64_t rotary_dim, double base,
                                                   const attend_rotary_scaling *scaling,
                                                   const attend_tensor *inverse_frequencies, attend_error *error);
/* What such a scaling asks of attention_factor: 0.1 ln(factor) + 1 for yarn with a factor above 1, else 1. 0 of a
 * struct whose size is not valid. */
ATTEND_C_API float attend_rotary_attention_factor(const attend_rotary_scaling *scaling);

/* -------------------------------------------------------------------------------------------
 * Low precision */

/* How the weights of a layer's projections are stored. Making a layer converts those that it is given; biases and norms
 * stay float32. */
typedef enum attend_weight_type {
  ATTEND_WEIGHTS_FLOAT32 = 0,
  ATTEND_WEIGHTS_BFLOAT16, /* to nearest, ties to even */
  ATTEND_WEIGHTS_FLOAT16,  /* to nearest, ties to even; 65,520 and beyond become infinity */
  ATTEND_WEIGHTS_INT8,     /* a float32 scale for each output channel, the channel's largest |w| / 127; ties to even */
  ATTEND_WEIGHTS_INT4      /* 0 to 15, a float32 scale and a zero for each group: attend.hpp says how floats become these */
} attend_weight_type;

/* What products of floats are computed with: a layer's projections, with weights of that type, and attention itself, which
 * takes no int8. attend.hpp says which bits they give. */
typedef enum attend_arithmetic {
  ATTEND_ARITHMETIC_FLOAT32 = 0,
  ATTEND_ARITHMETIC_BFLOAT16, /* rows are rounded to bfloat16, sums are float32 */
  ATTEND_ARITHMETIC_INT8      /* each row, of at most 65,536 elements, is quantised to 8 bits; sums are exact */
} attend_arithmetic;

/* The kernels of low precision, which a program links only if it calls attend_get_low_precision: all but those of weights of
 * int4, which are attend_get_low_precision_int4. */
typedef struct attend_low_precision attend_low_precision;
ATTEND_C_API const attend_low_precision *attend_get_low_precision(void);
ATTEND_C_API const attend_low_precision *attend_get_low_precision_int4(void);

/* The instructions that projections of weights and arithmetic take on an ISA of this CPU, as "vpdpbusd"; NULL where there
 * are none, for arithmetic does not take the weights, or the CPU or the build lacks them. */
ATTEND_C_API const char *attend_product_instructions(attend_weight_type weights, attend_arithmetic arithmetic,
                                                     attend_isa isa);
/* The same of weights of int4. */
ATTEND_C_API const char *attend_int4_instructions(attend_arithmetic arithmetic, attend_isa isa);
/* The instructions that attention of an arithmetic takes, as "vdpbf16ps"; NULL where there are none. */
ATTEND_C_API const char *attend_core_instructions(attend_arithmetic arithmetic, attend_isa isa);

/* -------------------------------------------------------------------------------------------
 * What a call of attention may be told */

/* T5's relative position bias: what is added to a score depends on the bucket of j - (i + offset).
 *
 * Half of the buckets (all, if unidirectional, of the keys before the query; those after it share bucket 0) are
 * distances 0, 1, 2 ..; the rest grow logarithmically up to max_distance. */
typedef struct attend_relative_position_bias {
  size_t size;
  attend_const_tensor table; /* (buckets, H), as model files hold it */
  int unidirectional;        /* not 0: as decoders have it */
  int64_t max_distance;      /* 0: 128 */
} attend_relative_position_bias;

/* What a row that sees no key gives: zeros, or the mean of all S values. */
typedef enum attend_empty_rows { ATTEND_EMPTY_ZERO = 0, ATTEND_EMPTY_UNIFORM } attend_empty_rows;

/* What a query may attend to, what is added to its scores, and what else a call gives. NULL: the defaults.
 *
 * For one row: s_j = scale q.k_j; softcap c tanh(s_j / c); + additive mask, ALiBi, relative position bias; hidden keys
 * removed; softmax; dropout; times v. Query i stands at position i + offset among the keys. A key is visible if all
 * that is given here, and the valid lengths, let it be. A kind of call that has no use for an option refuses it. */
typedef struct attend_options {
  size_t size;
  float scale;   /* of the scores, may be negative; 0: 1 / sqrt(D) */
  float softcap; /* c > 0: scores become c tanh(s / c), before masks and biases are added; 0: as they are */

  int causal;                        /* not 0: key j is visible to query i iff j <= i + offset */
  int windowed;                      /* not 0: the two distances below hold; they are 0 without it */
  int64_t offset;                    /* of query 0: 0 aligns causal to the upper left, S - L to the lower right */
  attend_indices offsets;            /* (B,): one for each batch entry, on top of offset */
  int64_t window_left, window_right; /* inclusive distances from i + offset that are visible; -1: unbounded; set both */
  attend_bool_mask mask;             /* rank 1 to 4, aligned to the right of (B, H, L, S); axes of size 1 repeat */
  attend_bool_mask key_padding_mask; /* (B, S): which keys are padding, for all heads and queries */
  /* Not 0: what is not 0 in the two hides its key, as in PyTorch's nn.MultiheadAttention; else what is 0 hides it. */
  int mask_hides;
  /* (B,): keys before are hidden, and not read, as left padding needs; absent: 0. The tokens still stand where they lie:
   * query_positions and key_positions say otherwise. */
  attend_indices valid_starts;
  /* As `mask`, added to the scores; -INFINITY hides; every finite number counts as a real number, exactly. */
  attend_const_tensor additive_mask;
  /* (L,) or (B, L): the queries are nodes of a tree, of which each sees its ancestors, itself and all keys before
   * position `offset`; query i is key i + offset. A parent comes before its children; -1: a root. */
  attend_indices tree_parents;

  attend_const_tensor alibi_slopes; /* (H,): - slope * |i + offset - j| */
  const attend_relative_position_bias *relative_position_bias;
  attend_const_tensor sinks;        /* (H,): a logit in the softmax's denominator that has no value; -INFINITY: none */

  /* (B + 1,) each: packed sequences. Rows query_starts[b] to query_starts[b + 1] - 1 of a single batch entry are the
   * queries of sequence b, and so for keys; both or none. From 0 to L and to S, not decreasing. */
  attend_indices query_starts, key_starts;
  /* Of a layer with a rotary embedding: where its queries and keys stand instead of i + offset (+ offsets[b]) and j,
   * which still decide what is visible. (L,) or (B, L), and (S,) or (B, S). */
  attend_indices query_positions, key_positions;

  int empty_rows;        /* an attend_empty_rows */
  int training;          /* not 0: dropout is applied to the attention weights */
  uint64_t dropout_seed; /* selects the dropped weights, together with batch entry, head, query and key */
  attend_tensor attention_weights; /* where to put them, before dropout, (B, H, L, S); absent: nowhere */
  attend_tensor lse;     /* (B, H, L): the natural log of each row's sum of exponentials, sink included */
  attend_threads threads;
  int average_weights;   /* not 0: attention_weights are their mean over the heads, (B, L, S) */
  int isa;               /* an attend_isa; a layer is bound to one: its calls take best, or that one */

  /* An attend_arithmetic. With bfloat16, queries (times the scale), keys, values and the exponentials of scores are
   * rounded to bfloat16 before they are multiplied; scores, sums and outputs stay float32, and the softmax's denominator
   * sums what was rounded. Calls that take keys and values, without dropout, on AMD's CPUs with AVX-512 BF16,
   * for Intel's vdpbf16ps is slower than float32. */
  int core_arithmetic;
  const attend_low_precision *low_precision; /* attend_get_low_precision(), where core_arithmetic is not float32 */
} attend_options;

/* -------------------------------------------------------------------------------------------
 * Attention on given queries, keys and values: the core of every layer */

/* q (B, H, L, D), k (B, G, S, D), v (B, G, S, Dv), output (B, H, L, Dv), which must not meet an input in memory; any
 * strides, so that (B, L, H, D) in memory is a view like any other; D and Dv from 1 to 576. valid_lens absent, (B,) or
 * (B, L): how many keys may be seen; beyond S means all. Keys and values outside the range that lengths, starts, causal and
 * window leave to their whole sequence are not read. A row that sees no key gives 0, or
 * with ATTEND_EMPTY_UNIFORM the mean of the values. */
typedef struct attend_attention_call {
  size_t size;
  attend_const_tensor q, k, v;
  attend_indices valid_lens;
  attend_tensor output;
  attend_workspace *workspace;
  const attend_options *options;
} attend_attention_call;

ATTEND_C_API attend_code attend_attention(const attend_attention_call *call, attend_error *error);
/* Bytes that the call takes from its workspace; 0 if it is not a valid one. As in all such functions, of arrays only
 * the starts of packed sequences are read: data may be NULL. */
ATTEND_C_API size_t attend_attention_workspace_bytes(const attend_attention_call *call);

/* D2L's DotProductAttention: softmax(q k^T / sqrt(D), masked by valid_lens) v.
 *
 * queries (B, L, D), keys (B, S, D), values (B, S, Dv), output (B, L, Dv); options->attention_weights (B, L, S),
 * options->lse (B, L). A row of length 0 gets uniform weights over all S. There is one head, nothing is rotated, and
 * empty rows are no choice: average_weights, query_positions, key_positions and empty_rows are refused. */
typedef struct attend_dot_product_call {
  size_t size;
  float dropout; /* in [0, 1); acts in training mode alone */
  attend_const_tensor queries, keys, values;
  attend_indices valid_lens;
  attend_tensor output;
  attend_workspace *workspace;
  const attend_options *options;
} attend_dot_product_call;

ATTEND_C_API attend_code attend_dot_product_attention(const attend_dot_product_call *call, attend_error *error);
ATTEND_C_API size_t attend_dot_product_workspace_bytes(const attend_dot_product_call *call);

/* -------------------------------------------------------------------------------------------
 * The layer */

/* Multi-head attention: W_o concat(softmax(q k^T / sqrt(D)) v) over num_heads heads of the projected queries, keys and
 * values. With norms, then with rotary, each row of a head of q and k is normed, and rotated to its position.
 *
 * Immutable once made: any number of threads may run it at once, each with its own workspace. (It is an
 * attend::MultiHeadAttention: in C++, a pointer to one may be cast to const attend_mha *.) */
typedef struct attend_mha attend_mha;

typedef struct attend_mha_config {
  size_t size;
  int64_t key_size, query_size, value_size; /* 0: query_size, num_hiddens, query_size */
  int64_t num_hiddens; /* the model width E; num_heads divides it, unless head_dim is given */
  int64_t num_heads;   /* H */
  float dropout;       /* in [0, 1); acts in training mode alone */
  int bias;            /* not 0: the layer has biases, as if one is given; those that are absent are 0 */
  int isa;             /* an attend_isa, which the layer is bound to */
  float norm_epsilon;  /* of the norms; 0: 1e-6 */
  int norm_queries, norm_keys; /* not 0: each head's projected query, key pass through attend_rms_norm first */

  int64_t num_kv_heads; /* G, which divides num_heads; 0: num_heads */
  int64_t head_dim;     /* D, 1 to 576; 0: num_hiddens / num_heads */
  int64_t output_size;  /* the width of the output; 0: num_hiddens */
  /* Rotates projected queries and keys; NULL: none does. inverse_frequencies are copied with the weights; the data of
   * cosines and sines is read where it is, and has to outlive the layer. */
  const attend_rotary_embedding *rotary;

  int weight_type; /* an attend_weight_type */
  int arithmetic;  /* an attend_arithmetic */
  /* attend_get_low_precision(), or of int4 attend_get_low_precision_int4(), where weight_type is not float32: so a program
   * of float32 alone links none of it. */
  const attend_low_precision *low_precision;
  int weight_group; /* elements of a channel of int4 that share a scale: 32, 64 or 128; 0: 32 */
} attend_mha_config;

/* A matrix (out, in) of low precision as a file holds it: `halves`; `integers` with a scale for each row, (out,); or `nibbles`
 * of int4, (out, (in + 1) / 2), two numbers a byte, that of an even column in the lower half, with a scale for each row and
 * group, (out, groups), and `zeros`, likewise, whose lower four bits count; absent zeros are 8. Making a layer takes it as it is where config->weight_type is its type, and refuses it elsewhere. */
typedef struct attend_stored_matrix {
  size_t size;
  attend_half_tensor halves;
  attend_int8_tensor integers;
  attend_const_tensor scales;
  attend_uint8_tensor nibbles, zeros;
} attend_stored_matrix;

/* The weights of a layer, matrices (out, in) as model files hold them; read while making only.
 *
 * query (H D, query_size), key (G D, key_size), value (G D, value_size), output (output_size, H D). A bias has an
 * element for each row of its matrix; an absent one is zero. query_norm and key_norm (D,), one for all heads: absent
 * where nothing is normed, and an absent one is ones. */
typedef struct attend_mha_weights {
  size_t size;
  attend_const_tensor query, key, value, output;
  attend_const_tensor query_bias, key_bias, value_bias, output_bias;
  attend_const_tensor query_norm, key_norm;
  /* In place of query, key, value or output; NULL: none. */
  const attend_stored_matrix *stored_query, *stored_key, *stored_value, *stored_output;
} attend_mha_weights;

/* Bytes of memory for attend_mha_make; 0 if the config is not a valid one. */
ATTEND_C_API size_t attend_mha_bytes(const attend_mha_config *config);

/* Makes a layer, its weights packed for the ISA.
 *
 * memory: attend_mha_bytes(config) bytes of any alignment that outlive the layer, or NULL: from the heap. Whoever gets
 * *layer ends it with attend_mha_destroy. */
ATTEND_C_API attend_code attend_mha_make(const attend_mha_config *config, const attend_mha_weights *weights, void *memory,
                                         size_t memory_bytes, attend_mha **layer, attend_error *error);

/* The same with weights uniform in +-sqrt(6 / (in + out)) from a seed, and zero biases; the same on every machine. */
ATTEND_C_API attend_code attend_mha_make_random(const attend_mha_config *config, uint64_t seed, void *memory,
                                                size_t memory_bytes, attend_mha **layer, attend_error *error);

/* Frees what the layer holds; NULL is fine. Memory of the caller's stays the caller's. */
ATTEND_C_API void attend_mha_destroy(attend_mha *layer);

/* The ISA that the layer is bound to; ATTEND_ISA_BEST for NULL. */
ATTEND_C_API attend_isa attend_mha_isa(const attend_mha *layer);

/* The layer's config as it was made, with the sizes of queries, keys and values, `bias` and `isa` filled in.
 *
 * The caller sets config->size, and rotary->size; the rest is written. rotary may be NULL. config->rotary is `rotary`
 * if the layer has a rotary embedding, else NULL. What they point to lives as long as the layer. */
ATTEND_C_API attend_code attend_mha_get_config(const attend_mha *layer, attend_mha_config *config,
                                               attend_rotary_embedding *rotary, attend_error *error);

/* queries (B, L, query_size), keys (B, S, key_size), values (B, S, value_size), output (B, L, output_size), which must
 * not meet an input in memory; valid_lens absent, (B,) or (B, L). A row that sees no key gives W_o's bias, or with
 * ATTEND_EMPTY_UNIFORM (as D2L has it) what the mean of the values gives. Packed
 * sequences give the bits that each gives alone. */
typedef struct attend_mha_call {
  size_t size;
  attend_const_tensor queries, keys, values;
  attend_indices valid_lens;
  attend_tensor output;
  attend_workspace *workspace;
  const attend_options *options;
} attend_mha_call;

/* Computes the layer. */
ATTEND_C_API attend_code attend_mha_forward(const attend_mha *layer, const attend_mha_call *call, attend_error *error);
/* Bytes that the call takes from its workspace; 0 if its shape is not a valid one. */
ATTEND_C_API size_t attend_mha_workspace_bytes(const attend_mha *layer, const attend_mha_call *call);

/* -------------------------------------------------------------------------------------------
 * The KV cache */

/* Keys and values of past tokens, for each entry of a batch and each key/value head.
 *
 * An entry's tokens are counted from its first: token j keeps position j, however many a ring has let go. One call may
 * write a cache at a time, and none may read it meanwhile; any number may read it at once. */
typedef struct attend_kv_cache attend_kv_cache;

/* How a cache stores its keys and values, rounded once, when they are appended. Queries, weights and sums stay float32. */
typedef enum attend_cache_type {
  ATTEND_CACHE_FLOAT32 = 0,
  ATTEND_CACHE_BFLOAT16, /* to nearest, ties to even */
  ATTEND_CACHE_FLOAT16,  /* to nearest, ties to even; 65,520 and beyond become infinity */
  /* A float32 scale for each token and head of keys, and of values: the row's largest |x| / 127. A row with NaN or
   * infinity is NaN to all who see it. */
  ATTEND_CACHE_INT8
} attend_cache_type;

/* The shape of a cache, and which tokens it keeps: with neither `ring` nor pages, each entry has room for `capacity`
 * tokens and is full then; a ring keeps the newest `capacity`; a paged one has its rows in a pool of pages. */
typedef struct attend_kv_cache_config {
  size_t size;
  int64_t batch;        /* B; 0: 1 */
  int64_t num_kv_heads; /* G */
  int64_t head_dim;     /* D, 1 to 576 */
  int64_t value_dim;    /* Dv, 1 to 576; 0: head_dim */
  int64_t capacity;     /* tokens that an entry can hold; with pages 0: P page_rows */
  int ring;             /* not 0: a ring, which goes with no pages */
  int64_t page_rows;    /* tokens of a page; 0: no pages */
  int64_t page_count;   /* pages in the pool */
  /* (batch, P): page p of entry b, of its tokens from p page_rows on, is page pages[b, p] of the pool. Its data
   * outlives the cache, which reads it in each call; between calls it may change. Numbers that a call needs have to be
   * in [0, page_count) by then. Entries may share pages that no call writes. */
  attend_indices pages;
  int type;             /* an attend_cache_type */
  const attend_low_precision *low_precision; /* attend_get_low_precision(), where type is not float32 */
} attend_kv_cache_config;

/* Bytes of memory for attend_kv_cache_make; 0 if the config is not a valid one. */
ATTEND_C_API size_t attend_kv_cache_bytes(const attend_kv_cache_config *config);

/* Makes an empty cache.
 *
 * memory: attend_kv_cache_bytes(config) bytes of any alignment that outlive the cache, or NULL: from the heap. Rows are
 * not touched before they are written. Whoever gets *cache ends it with attend_kv_cache_destroy. */
ATTEND_C_API attend_code attend_kv_cache_make(const attend_kv_cache_config *config, void *memory, size_t memory_bytes,
                                              attend_kv_cache **cache, attend_error *error);

/* Frees what the cache holds; NULL is fine. Memory of the caller's stays the caller's. */
ATTEND_C_API void attend_kv_cache_destroy(attend_kv_cache *cache);

/* Appends n tokens to each entry, or the first counts[b] of its n rows.
 *
 * k (B, G, n, D), v (B, G, n, Dv), apart from the cache in memory; counts absent or (B,), each 0 to n. A ring given
 * more than its capacity keeps the last of them. An entry without room for its tokens is ATTEND_OUT_OF_MEMORY. On any
 * error the cache is as it was. */
ATTEND_C_API attend_code attend_kv_cache_append(attend_kv_cache *cache, const attend_const_tensor *k,
                                                const attend_const_tensor *v, const attend_indices *counts,
                                                const attend_operation_options *options, attend_error *error);

/* Takes entry b back to its first `length` tokens, as after rejected drafts: from attend_kv_cache_first to
 * attend_kv_cache_length, or 0: it begins anew. What a ring has let go stays gone. */
ATTEND_C_API attend_code attend_kv_cache_truncate(attend_kv_cache *cache, int64_t b, int64_t length, attend_error *error);

/* Takes every entry back to 0 tokens; NULL is fine. */
ATTEND_C_API void attend_kv_cache_clear(attend_kv_cache *cache);

/* How many tokens entry b was given, those that a ring has let go included, and the first that is kept: 0 but on a
 * ring. Both 0 for NULL and for a b that is no entry. */
ATTEND_C_API int64_t attend_kv_cache_length(const attend_kv_cache *cache, int64_t b);
ATTEND_C_API int64_t attend_kv_cache_first(const attend_kv_cache *cache, int64_t b);

/* The D elements of a token's key, or the Dv of its value, good until the next call that writes; NULL for one that is
 * not kept, or whose page is not in the pool, and in a cache that is not float32. */
ATTEND_C_API const float *attend_kv_cache_key(const attend_kv_cache *cache, int64_t b, int64_t head, int64_t token);
ATTEND_C_API const float *attend_kv_cache_value(const attend_kv_cache *cache, int64_t b, int64_t head, int64_t token);

/* The cache's config as it was made, batch, value_dim and capacity filled in; the caller sets config->size. What it
 * points to lives as long as the cache. */
ATTEND_C_API attend_code attend_kv_cache_get_config(const attend_kv_cache *cache, attend_kv_cache_config *config,
                                                    attend_error *error);

/* Attention of queries to all tokens of a cache, their own included where they were appended before.
 *
 * q (B, H, L, D) and output (B, H, L, Dv) as in attend_attention_call; query_counts absent or (B,), 0 to L: how many of
 * an entry's rows are queries; those after are padding, whose output is 0. Query i of entry b stands at position
 * length(b) - query_counts[b] + i + offset (+ offsets[b]): so causal, windows and biases are right after an append of
 * the same rows. S, of masks and attention weights, is the largest length. On a ring, an entry whose queries would see
 * a token that is gone is an error, but a single query without a window_left sees what the ring holds. */
typedef struct attend_attention_cached_call {
  size_t size;
  attend_const_tensor q;
  const attend_kv_cache *cache;
  attend_indices query_counts;
  attend_tensor output;
  attend_workspace *workspace;
  const attend_options *options;
} attend_attention_cached_call;

ATTEND_C_API attend_code attend_attention_cached(const attend_attention_cached_call *call, attend_error *error);
/* Bytes that the call takes from its workspace, however much the cache holds; 0 if it is not a valid one. */
ATTEND_C_API size_t attend_attention_cached_workspace_bytes(const attend_attention_cached_call *call);

/* The layer over a cache: appends the projected keys and values, then attends to all that it holds.
 *
 * queries (B, L, query_size), keys (B, n, key_size), values (B, n, value_size), output (B, L, output_size), all apart
 * from the cache in memory; the cache has the layer's B and G, and its D as both head_dim and value_dim. new_counts absent or (B,): how many of an
 * entry's n new rows there are, 0 to n, and of its queries, so that L has to be n; rows after those are padding, for
 * which the output is W_o's bias. Queries stand as in attend_attention_cached_call, new keys at the positions that they get in the cache. With
 * absent keys and values nothing is appended, and the cache is only read, as in cross-attention to what
 * attend_mha_project has left there; new_counts are then those of the queries. On an error the cache is as it was. */
typedef struct attend_mha_cached_call {
  size_t size;
  attend_const_tensor queries, keys, values;
  attend_indices new_counts;
  attend_kv_cache *cache;
  attend_tensor output;
  attend_workspace *workspace;
  const attend_options *options;
} attend_mha_cached_call;

ATTEND_C_API attend_code attend_mha_forward_cached(const attend_mha *layer, const attend_mha_cached_call *call,
                                                   attend_error *error);
ATTEND_C_API size_t attend_mha_cached_workspace_bytes(const attend_mha *layer, const attend_mha_cached_call *call);

/* Appends projected keys and values to a cache, without queries: of an encoder's output, once. As in
 * attend_mha_cached_call; of the options it takes key_positions and threads, and refuses all others. */
typedef struct attend_mha_project_call {
  size_t size;
  attend_const_tensor keys, values;
  attend_indices counts;
  attend_kv_cache *cache;
  attend_workspace *workspace;
  const attend_options *options;
} attend_mha_project_call;

ATTEND_C_API attend_code attend_mha_project(const attend_mha *layer, const attend_mha_project_call *call,
                                            attend_error *error);
ATTEND_C_API size_t attend_mha_project_workspace_bytes(const attend_mha *layer, const attend_mha_project_call *call);

/* -------------------------------------------------------------------------------------------
 * What a block has beside attention */

/* What a linear layer applies to each element of its result; -INFINITY gives 0, its limit, and NaN gives NaN. */
typedef enum attend_activation {
  ATTEND_ACTIVATION_NONE = 0,
  ATTEND_ACTIVATION_RELU,      /* max(x, 0) */
  ATTEND_ACTIVATION_GELU,      /* x Phi(x), Phi the normal distribution's */
  ATTEND_ACTIVATION_GELU_TANH, /* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as GPT-2 and Gemma have it */
  ATTEND_ACTIVATION_SILU       /* x / (1 + exp(-x)) */
} attend_activation;

/* A linear layer: activation(x W^T + bias), times a multiplier.
 *
 * Immutable once made: any number of threads may run it at once, each with its own workspace. */
typedef struct attend_linear attend_linear;

typedef struct attend_linear_config {
  size_t size;
  int64_t inputs, outputs; /* columns of a row, 1 to 2^24 */
  int isa;                 /* an attend_isa, which the layer is bound to */
  /* As in attend_mha_config. */
  int weight_type, arithmetic;
  const attend_low_precision *low_precision;
  int weight_group;
} attend_linear_config;

/* The weights, (outputs, inputs) as model files hold them; read while making only. */
typedef struct attend_linear_weights {
  size_t size;
  attend_const_tensor matrix;
  attend_const_tensor bias;           /* (outputs,); absent: zeros */
  const attend_stored_matrix *stored; /* in place of matrix; NULL: none */
} attend_linear_weights;

typedef struct attend_linear_options {
  size_t size;
  int activation; /* an attend_activation */
  attend_const_tensor multiplier; /* of the output's shape: what is activated is multiplied by it, as in SwiGLU; absent: by 1 */
  attend_threads threads;
} attend_linear_options;

/* Bytes of memory for attend_linear_make; 0 if the config is not a valid one. */
ATTEND_C_API size_t attend_linear_bytes(const attend_linear_config *config);

/* Makes a linear layer, its weights packed for the ISA.
 *
 * memory: attend_linear_bytes(config) bytes of any alignment that outlive it, or NULL: from the heap. Whoever gets *linear
 * ends it with attend_linear_destroy. */
ATTEND_C_API attend_code attend_linear_make(const attend_linear_config *config, const attend_linear_weights *weights, void *memory,
                                            size_t memory_bytes, attend_linear **linear, attend_error *error);

/* Frees what it holds; NULL is fine. Memory of the caller's stays the caller's. */
ATTEND_C_API void attend_linear_destroy(attend_linear *linear);

/* Gives the config that it was made from, with its ISA; config->size is set before. */
ATTEND_C_API attend_code attend_linear_get_config(const attend_linear *linear, attend_linear_config *config, attend_error *error);

/* Computes the layer. input (L, inputs) or (B, L, inputs), output (L, outputs) or (B, L, outputs), which must not meet an
 * input in memory, nor the multiplier. */
ATTEND_C_API attend_code attend_linear_forward(const attend_linear *linear, const attend_const_tensor *input, const attend_tensor *output,
                                               attend_workspace *workspace, const attend_linear_options *options,
                                               attend_error *error);

/* Bytes that attend_linear_forward takes from its workspace for a batch of entries of `rows` rows each. */
ATTEND_C_API size_t attend_linear_workspace_bytes(const attend_linear *linear, int64_t batch, int64_t rows);

typedef struct attend_norm_options {
  size_t size;
  attend_const_tensor weight, bias; /* (D,), D the width of a row; absent: ones, zeros */
  attend_const_tensor residual;     /* of the input's shape: what is normed is their sum; absent: the input */
  attend_tensor sum;                /* of the input's shape: where that sum goes; absent: nowhere */
  int isa;                          /* an attend_isa */
  attend_threads threads;
} attend_norm_options;

/* output[..., d] = (x[..., d] - mean) / sqrt(variance + epsilon) * weight[d] + bias[d], x = input + residual.
 *
 * input and output (.., D) of 1 to 4 axes; a row is the last axis, its variance the mean of (x - mean)^2. Output and sum may
 * each be the input or the residual, the same view, or lie apart from them and each other in memory. epsilon >= 0. */
ATTEND_C_API attend_code attend_layer_norm(const attend_const_tensor *input, float epsilon, const attend_tensor *output,
                                           const attend_norm_options *options, attend_error *error);

/* output[..., d] = x[..., d] / sqrt(mean of the row's squares + epsilon) * weight[d] + bias[d], x = input + residual; shapes
 * and memory as in attend_layer_norm. */
ATTEND_C_API attend_code attend_rms_norm_rows(const attend_const_tensor *input, float epsilon, const attend_tensor *output,
                                              const attend_norm_options *options, attend_error *error);

#ifdef __cplusplus
}
#endif

#endif
