/* The C API of attend: multi-head attention on CPUs, in float32, over the C++ one of attend.hpp.
 *
 * Plain C99; link with -lattend -lm -lpthread, no C++ runtime. Nothing here throws, prints, or reads
 * the environment. Symbols: B batch, H query heads, G key/value heads (G divides H), L queries, S keys, D
 * width of a head, Dv of a head's values, E model width, N packed sequences. Arrays are contiguous,
 * row-major, and belong to the caller.
 *
 * Calls return ATTEND_OK or an error code, and leave their outputs untouched on an error. Each takes an
 * attend_error, which may be NULL, for the message. Structs are to be zeroed where not set:
 * `attend_mha_config config = {0};`, or designated initialisers. They may grow at their end with any release
 * before 1.0: compile against the header of the library that you link. */
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

/* What a query may attend to, what becomes of its scores, and what else a call gives. All zero: it may
 * attend to all keys, by scores of scale 1 / sqrt(D). Query i stands at position i + offset among the keys. */
typedef struct attend_options {
  int causal;                           /* not 0: key j is visible to query i iff j <= i + offset */
  int64_t offset;                       /* S - L: causal to the lower right; may be negative */
  int windowed;                         /* not 0: the two that follow hold */
  int64_t window_left, window_right;    /* inclusive distances from i + offset; -1: unbounded */
  /* (B or 1, H or 1, L, S): one for each batch entry and for each head as the flags say, else one for all.
   * NULL: none. mask: 0 hides the key; additive_mask is added to the scores, where -INFINITY hides; of low
   * numbers, such as -1e9 or the lowest float, differences between keys count, exactly. */
  const uint8_t *mask;
  int mask_by_entry, mask_by_head;
  const float *additive_mask;
  int additive_mask_by_entry, additive_mask_by_head;
  float scale;                          /* of the scores; 0: 1 / sqrt(D) */
  float softcap;                        /* c > 0: scores become c tanh(s / c); 0: as they are */
  float *lse;                           /* (B, H, L): the log of the sum of exponentials; NULL: not wanted */
  /* Packed sequences of different lengths, in a batch of 1: rows query_starts[n] to query_starts[n + 1] - 1
   * are the queries of sequence n, counted from 0 in it, and so for keys. Each (N + 1), from 0 to L and to S,
   * not decreasing; both or none. They go with no mask, attention weights, lens_per_query or cache. */
  int64_t num_sequences;                /* N */
  const int64_t *query_starts, *key_starts;
} attend_options;

/* Multi-head attention: W_o concat(softmax(q k^T / sqrt(D)) v) over the heads of the projected queries,
 * keys and values; query head h reads key/value head h / (H / G). */
typedef struct attend_mha attend_mha;

/* The sizes of a layer: widths of the rows of keys, queries and values (0: num_hiddens for queries, and theirs for
 * the others); E; and H, which divides E unless head_dim is given. */
typedef struct attend_mha_config {
  int64_t key_size, query_size, value_size;
  int64_t num_hiddens, num_heads;
  int isa; /* an attend_isa, which the layer is bound to */

  int64_t num_kv_heads; /* G; 0: num_heads */
  int64_t head_dim;     /* D, at most 576; 0: num_hiddens / num_heads */
  int64_t output_size;  /* the width of the output; 0: num_hiddens */
  /* Rotary embedding: the inverse frequencies (num_rotary_frequencies), at most D / 2, of the pairs of
   * columns that turn by position: i + offset for query i, j for key j. Read while making only; NULL: none. */
  const float *rotary_frequencies;
  int64_t num_rotary_frequencies;
  float rotary_attention_factor; /* multiplies cosines and sines; 0: 1 */
  int rotary_interleaved;        /* not 0: pair n is (2n, 2n + 1), else (n, n + num_rotary_frequencies) */
  int qk_norm;                   /* not 0: each head's query and key pass through an RMS norm first */
  float norm_epsilon;            /* of that; 0: 1e-6 */
} attend_mha_config;

/* The weights of a layer, matrices (out, in) as model files hold them; read while making only.
 *
 * query (H D, query_size), key (G D, key_size), value (G D, value_size), output (output_size, H D). A bias
 * has an element for each row of its matrix; NULL: none. Norms (D), with qk_norm alone; NULL: ones. */
typedef struct attend_mha_weights {
  const float *query, *key, *value, *output;
  const float *query_bias, *key_bias, *value_bias, *output_bias;
  const float *query_norm, *key_norm;
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
  /* How many keys may be seen: (B), (N) of packed sequences, or (B, L) with lens_per_query; beyond S means
   * all; NULL: all. */
  const int64_t *valid_lens;
  int lens_per_query;
  int empty_rows;           /* an attend_empty_rows */
  float *output;            /* (B, L, output_size); must not meet an input in memory */
  float *attention_weights; /* (B, H, L, S), or NULL: not wanted */
  /* attend_mha_call_workspace_bytes bytes of any alignment; NULL: the layer's own, which grows on the
   * heap at the first call of a larger shape. */
  void *workspace;
  size_t workspace_bytes;
  attend_options options;
} attend_mha_call;

/* Bytes that a call of such a shape, neither packed nor with ATTEND_EMPTY_UNIFORM, takes from its workspace;
 * 0 if the shape is not a valid one. */
ATTEND_C_API size_t attend_mha_workspace_bytes(const attend_mha *layer, int64_t batch,
                                               int64_t num_queries, int64_t num_keys);

/* Bytes that this call takes from its workspace; 0 if its shape is not a valid one. Of its arrays it reads
 * the starts of packed sequences alone. */
ATTEND_C_API size_t attend_mha_call_workspace_bytes(const attend_mha *layer, const attend_mha_call *call);

/* Computes the layer, on the caller's thread.
 *
 * Keys and values outside the range that lengths, causal and window leave to their batch entry are neither
 * read nor projected. Packed sequences get the bits that each gets alone.
 * Any number of threads may run one layer at once, each with a workspace in its call; of the calls
 * that use the layer's own, one at a time. */
ATTEND_C_API attend_code attend_mha_forward(attend_mha *layer, const attend_mha_call *call,
                                            attend_error *error);

/* One call of the core: softmax(scale q k^T, as far as visible) v, on given queries, keys and values. */
typedef struct attend_attention_call {
  int64_t batch, num_heads, num_kv_heads; /* B, H, G; G 0: H */
  int64_t num_queries, num_keys;          /* L, S */
  int64_t head_dim, value_dim;            /* D, Dv, from 1 to 576; Dv 0: D */
  const float *q;                         /* (B, H, L, D) */
  const float *k;                         /* (B, G, S, D) */
  const float *v;                         /* (B, G, S, Dv) */
  const int64_t *valid_lens;              /* as in attend_mha_call, as the two that follow */
  int lens_per_query;
  int empty_rows;
  float *output;                          /* (B, H, L, Dv); must not meet an input in memory */
  float *attention_weights;               /* (B, H, L, S), or NULL: not wanted */
  /* attend_attention_workspace_bytes bytes of any alignment; NULL: from the heap, for this call. */
  void *workspace;
  size_t workspace_bytes;
  int isa;                                /* an attend_isa */
  attend_options options;
} attend_attention_call;

/* Bytes that the call takes from its workspace; 0 if its shape is not a valid one. Of its arrays it reads the
 * starts of packed sequences alone. */
ATTEND_C_API size_t attend_attention_workspace_bytes(const attend_attention_call *call);

/* Computes attention, on the caller's thread. */
ATTEND_C_API attend_code attend_attention(const attend_attention_call *call, attend_error *error);

/* Keys and values of past tokens, for each entry of a batch and each key/value head.
 *
 * An entry's tokens are counted from its first: token j keeps position j, however many a ring has let go. One
 * call may write a cache at a time, and none may read it meanwhile; any number may read it at once. */
typedef struct attend_kv_cache attend_kv_cache;

/* The shape of a cache, and which tokens it keeps: with neither `ring` nor pages, each entry has room for
 * `capacity` tokens and is full then; a ring keeps the newest `capacity`; a paged one has its rows in a pool. */
typedef struct attend_kv_cache_config {
  int64_t batch;           /* B */
  int64_t num_kv_heads;    /* G */
  int64_t head_dim;        /* D, from 1 to 576 */
  int64_t value_dim;       /* Dv, from 1 to 576; 0: D */
  int64_t capacity;        /* tokens that an entry can hold; with pages 0: pages_per_entry page_rows */
  int ring;                /* not 0: a ring, which goes with no pages */
  int64_t page_rows;       /* tokens of a page; 0: no pages */
  int64_t page_count;      /* pages in the pool */
  int64_t pages_per_entry; /* P */
  /* (B, P): page p of entry b, of its tokens from p page_rows on, is page pages[b P + p] of the pool. It
   * outlives the cache, which reads it in each call; between calls it may change. Numbers that a call needs
   * have to be in [0, page_count) by then. Entries may share pages that no call writes. */
  const int64_t *pages;
} attend_kv_cache_config;

/* Bytes of memory for attend_kv_cache_make; 0 if the config is not a valid one. */
ATTEND_C_API size_t attend_kv_cache_bytes(const attend_kv_cache_config *config);

/* Makes an empty cache.
 *
 * memory: attend_kv_cache_bytes(config) bytes of any alignment that outlive the cache, or NULL: from the heap.
 * Rows are not touched before they are written. Whoever gets *cache ends it with attend_kv_cache_destroy. */
ATTEND_C_API attend_code attend_kv_cache_make(const attend_kv_cache_config *config, void *memory,
                                              size_t memory_bytes, attend_kv_cache **cache,
                                              attend_error *error);

/* Frees what the cache holds; NULL is fine. Memory of the caller's stays the caller's. */
ATTEND_C_API void attend_kv_cache_destroy(attend_kv_cache *cache);

/* Appends n = num_new tokens to each entry, or the first counts[b] of its n rows.
 *
 * k (B, G, n, D), v (B, G, n, Dv), apart from the cache in memory; counts (B), each from 0 to n, or NULL: n. A
 * ring given more than its capacity keeps the last of them. An entry without room for its tokens is
 * ATTEND_OUT_OF_MEMORY. On any error the cache is as it was. */
ATTEND_C_API attend_code attend_kv_cache_append(attend_kv_cache *cache, int64_t num_new, const float *k,
                                                const float *v, const int64_t *counts,
                                                attend_error *error);

/* Takes entry b back to its first `length` tokens, as after rejected drafts: from attend_kv_cache_first to
 * attend_kv_cache_length, or 0: it begins anew. What a ring has let go stays gone. */
ATTEND_C_API attend_code attend_kv_cache_truncate(attend_kv_cache *cache, int64_t b, int64_t length,
                                                  attend_error *error);

/* Takes every entry back to 0 tokens; NULL is fine. */
ATTEND_C_API void attend_kv_cache_clear(attend_kv_cache *cache);

/* How many tokens entry b was given, those that a ring has let go included, and the first that is kept: 0 but
 * on a ring. Both 0 for NULL and for a b that is no entry. */
ATTEND_C_API int64_t attend_kv_cache_length(const attend_kv_cache *cache, int64_t b);
ATTEND_C_API int64_t attend_kv_cache_first(const attend_kv_cache *cache, int64_t b);

/* The D elements of a token's key, or the Dv of its value, good until the next call that writes; NULL for one
 * that is not kept, or whose page is not in the pool. */
ATTEND_C_API const float *attend_kv_cache_key(const attend_kv_cache *cache, int64_t b, int64_t head,
                                              int64_t token);
ATTEND_C_API const float *attend_kv_cache_value(const attend_kv_cache *cache, int64_t b, int64_t head,
                                                int64_t token);

/* One call of the core over a cache, whose B, G, D and Dv hold.
 *
 * Query i of an entry stands at the end of it, at position length - count + i + options.offset: so causal and
 * windows are right after an append of the same rows. On a ring, an entry whose queries would see a token that
 * is gone is an error, but a single query without a window_left sees what the ring holds. With
 * ATTEND_EMPTY_UNIFORM the mean is that of the values held. */
typedef struct attend_cached_attention_call {
  int64_t num_heads;           /* H */
  int64_t num_queries;         /* L */
  int64_t num_keys;            /* S, of masks and attention weights: the largest length; else 0 */
  const float *q;              /* (B, H, L, D) */
  const int64_t *query_counts; /* (B), from 0 to L: how many rows are queries, the others padding; NULL: L */
  int empty_rows;
  float *output;               /* (B, H, L, Dv), 0 where there is padding; must not meet an input in memory */
  float *attention_weights;    /* (B, H, L, S), or NULL: not wanted */
  /* attend_cached_attention_workspace_bytes bytes of any alignment; NULL: from the heap, for this call. */
  void *workspace;
  size_t workspace_bytes;
  int isa;                     /* an attend_isa */
  attend_options options;
} attend_cached_attention_call;

/* Bytes that the call takes from its workspace, however much the cache holds; 0 if it does not fit the cache.
 * Reads no array. */
ATTEND_C_API size_t attend_cached_attention_workspace_bytes(const attend_kv_cache *cache,
                                                            const attend_cached_attention_call *call);

/* Computes attention to all tokens of the cache, the queries' own included where they were appended before, on
 * the caller's thread. */
ATTEND_C_API attend_code attend_cached_attention(const attend_kv_cache *cache,
                                                 const attend_cached_attention_call *call,
                                                 attend_error *error);

/* One call of a layer over a cache, whose B holds, and whose G, D and Dv are the layer's G, D and D.
 *
 * New rows of keys and values are projected into the cache, normed and rotated to the positions that they come
 * to; queries stand as in attend_cached_attention_call. keys and values NULL, and num_new 0: the cache is only
 * read, as in cross-attention to what attend_mha_project left there. */
typedef struct attend_mha_cached_call {
  int64_t num_queries;       /* L */
  int64_t num_new;           /* n */
  int64_t num_keys;          /* S, of masks and attention weights: the largest length, the new included; else 0 */
  const float *queries;      /* (B, L, query_size) */
  const float *keys;         /* (B, n, key_size) */
  const float *values;       /* (B, n, value_size) */
  /* (B): how many of an entry's new rows there are, from 0 to n, and of its queries, so that L has to be n; or
   * of its queries alone, where nothing is new. The others are padding. NULL: all. */
  const int64_t *new_counts;
  int empty_rows;
  float *output;             /* (B, L, output_size), W_o's bias where there is padding; must not meet an input */
  float *attention_weights;  /* (B, H, L, S), or NULL: not wanted */
  /* attend_mha_cached_workspace_bytes bytes of any alignment; NULL: the layer's own, as in attend_mha_call. */
  void *workspace;
  size_t workspace_bytes;
  attend_options options;
} attend_mha_cached_call;

/* Bytes that the call takes from its workspace, however much the cache holds, or attend_mha_project for a call
 * with num_queries 0; 0 if layer, cache and call do not fit together. Reads no array. */
ATTEND_C_API size_t attend_mha_cached_workspace_bytes(const attend_mha *layer, const attend_kv_cache *cache,
                                                      const attend_mha_cached_call *call);

/* Appends the projected keys and values, then computes the layer over all that the cache holds, on the
 * caller's thread. On any error the cache is as it was. */
ATTEND_C_API attend_code attend_mha_cached_forward(attend_mha *layer, attend_kv_cache *cache,
                                                   const attend_mha_cached_call *call,
                                                   attend_error *error);

/* Appends projected keys and values without queries: of an encoder's output, once. Of the call, num_new, keys,
 * values, new_counts and the workspace count; what empty_rows, attention_weights and options ask for it has no use
 * for, and refuses. On any error the cache is as it was. */
ATTEND_C_API attend_code attend_mha_project(attend_mha *layer, attend_kv_cache *cache,
                                            const attend_mha_cached_call *call, attend_error *error);

#ifdef __cplusplus
}
#endif

#endif
