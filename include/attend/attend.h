/* The C API of attend: multi-head attention on CPUs, in float32, over the C++ one of attend.hpp.
 *
 * Plain C99; link with -lattend -lm -lpthread, no C++ runtime. Nothing here throws, prints, or reads
 * the environment. Symbols: B batch, H heads, L queries, S keys, E model width. Arrays are contiguous,
 * row-major, and belong to the caller.
 *
 * Calls return ATTEND_OK or an error code, and leave their outputs untouched on an error. Each takes an
 * attend_error, which may be NULL, for the message. Structs are to be zeroed where not set:
 * `attend_mha_config config = {0};`, or designated initialisers. */
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

typedef enum attend_isa {
  ATTEND_ISA_BEST = 0, /* the best that this CPU can run */
  ATTEND_ISA_SCALAR,
  ATTEND_ISA_AVX2,
  ATTEND_ISA_AVX512,
  ATTEND_ISA_NEON
} attend_isa;

/* "best", "scalar", "avx2", "avx512" or "neon". */
ATTEND_C_API const char *attend_isa_name(attend_isa isa);

/* What a row that sees no key gives: zeros, or the mean of all S values. */
typedef enum attend_empty_rows { ATTEND_EMPTY_ZERO = 0, ATTEND_EMPTY_UNIFORM } attend_empty_rows;

/* Multi-head attention: W_o concat(softmax(q k^T / sqrt(E / H)) v) over the heads of the projected
 * queries, keys and values. */
typedef struct attend_mha attend_mha;

/* The sizes of a layer: widths of the rows of keys, queries and values; E; and H, which divides E. */
typedef struct attend_mha_config {
  int64_t key_size, query_size, value_size;
  int64_t num_hiddens, num_heads;
  int isa; /* an attend_isa, which the layer is bound to */
} attend_mha_config;

/* The projections' weights, (out, in) as model files hold them; read while making only.
 *
 * query (E, query_size), key (E, key_size), value (E, value_size), output (E, E). Biases (E); NULL: none. */
typedef struct attend_mha_weights {
  const float *query, *key, *value, *output;
  const float *query_bias, *key_bias, *value_bias, *output_bias;
} attend_mha_weights;

/* Bytes of memory for attend_mha_make; 0 if the config is not a valid one. */
ATTEND_C_API size_t attend_mha_bytes(const attend_mha_config *config);

/* Makes a layer, its weights packed for the ISA.
 *
 * memory: attend_mha_bytes(config) bytes of any alignment that outlive the layer, or NULL: from the
 * heap. Whoever gets *layer ends it with attend_mha_destroy. */
ATTEND_C_API attend_code attend_mha_make(const attend_mha_config *config,
                                         const attend_mha_weights *weights, void *memory,
                                         size_t memory_bytes, attend_mha **layer,
                                         attend_error *error);

/* Frees what the layer holds; NULL is fine. Memory of the caller's stays the caller's. */
ATTEND_C_API void attend_mha_destroy(attend_mha *layer);

/* The ISA that the layer is bound to; ATTEND_ISA_BEST for NULL. */
ATTEND_C_API attend_isa attend_mha_isa(const attend_mha *layer);

/* One forward: the arguments and results of attend_mha_forward. */
typedef struct attend_mha_call {
  int64_t batch, num_queries, num_keys; /* B, L, S */
  const float *queries;                 /* (B, L, query_size) */
  const float *keys;                    /* (B, S, key_size) */
  const float *values;                  /* (B, S, value_size) */
  /* How many keys may be seen: (B), or (B, L) with lens_per_query; beyond S means all; NULL: all. */
  const int64_t *valid_lens;
  int lens_per_query;
  int empty_rows;           /* an attend_empty_rows */
  float *output;            /* (B, L, E); must not meet an input in memory */
  float *attention_weights; /* (B, H, L, S), or NULL: not wanted */
  /* attend_mha_workspace_bytes bytes of any alignment; NULL: the layer's own, which grows on the heap
   * at the first call of a larger shape. */
  void *workspace;
  size_t workspace_bytes;
} attend_mha_call;

/* Bytes that a call of such a shape takes from its workspace; 0 if the shape is not a valid one. */
ATTEND_C_API size_t attend_mha_workspace_bytes(const attend_mha *layer, int64_t batch,
                                               int64_t num_queries, int64_t num_keys);

/* Computes the layer, on the caller's thread.
 *
 * Keys and values at and past the largest length of their batch entry are neither read nor projected.
 * Any number of threads may run one layer at once, each with a workspace in its call; of the calls
 * that use the layer's own, one at a time. */
ATTEND_C_API attend_code attend_mha_forward(attend_mha *layer, const attend_mha_call *call,
                                            attend_error *error);

#ifdef __cplusplus
}
#endif

#endif
