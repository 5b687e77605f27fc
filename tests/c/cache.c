/* A layer decodes over a KV cache of each kind in C, against one causal forward; packed sequences, against each
 * alone; the core over a cache, against attend_attention. */
#include <attend/attend.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { width = 32, heads = 4, groups = 2, depth = 8, narrow = groups * depth, tokens = 12, prefill = 5, window = 3, page_rows = 4 };

static float matrices[4][width * width], x[(tokens + 1) * width];
static float whole[tokens * width], output[tokens * width];
static attend_error problem;
static double worst;

static int failed(const char *what) {
  fprintf(stderr, "cache: %s: %s\n", what, problem.message);
  return 1;
}

static void compare(const float *a, const float *b, int count) {
  int i;
  for (i = 0; i < count; ++i) {
    const double difference = fabs((double)a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
  }
}

/* `count` tokens from number `first` on. */
static attend_const_tensor rows_of(const float *data, int64_t first, int64_t count) {
  const attend_const_tensor rows = {.data = data + first * width, .rank = 3, .sizes = {1, count, width}};
  return rows;
}

/* Self-attention of tokens to themselves and to what the cache holds; the output stands where they do. */
static attend_code take(const attend_mha *layer, attend_kv_cache *cache, int64_t first, int64_t count, const attend_options *options) {
  const attend_const_tensor rows = rows_of(x, first, count);
  const attend_mha_cached_call call = {.size = sizeof call, .queries = rows, .keys = rows, .values = rows, .cache = cache,
                                       .output = {output + (first < tokens ? first : 0) * width, 3, {1, count, width}},
                                       .options = options};
  return attend_mha_forward_cached(layer, &call, &problem);
}

/* All tokens: a prefill, then one by one, in memory of the caller's. The cache is full or has let tokens go. */
static int decode(const attend_mha *layer, const attend_kv_cache_config *config, const attend_options *options) {
  const size_t bytes = attend_kv_cache_bytes(config);
  void *memory = malloc(bytes);
  attend_kv_cache *cache = NULL;
  int first;

  if (memory == NULL || attend_kv_cache_make(config, memory, bytes - 1, &cache, &problem) != ATTEND_OUT_OF_MEMORY || cache != NULL ||
      attend_kv_cache_make(config, memory, bytes, &cache, &problem) != ATTEND_OK) {
    return failed("making it");
  }
  for (first = 0; first < tokens; first += first == 0 ? prefill : 1) {
    if (take(layer, cache, first, first == 0 ? prefill : 1, options) != ATTEND_OK) return failed("decoding");
  }
  compare(output, whole, tokens * width);
  if (!config->ring && (take(layer, cache, tokens, 1, options) != ATTEND_OUT_OF_MEMORY ||
                        strncmp(problem.message, "cache: entry 0 holds 12 of 12 tokens", 36) != 0)) {
    return failed("a full one took more");
  }
  compare(output, whole, tokens * width);
  /* A draft that is taken back, and comes again. */
  if (attend_kv_cache_truncate(cache, 0, tokens - 1, &problem) != ATTEND_OK || take(layer, cache, tokens - 1, 1, options) != ATTEND_OK ||
      attend_kv_cache_length(cache, 0) != tokens) {
    return failed("taking back");
  }
  compare(output, whole, tokens * width);
  attend_kv_cache_destroy(cache);
  free(memory);
  return 0;
}

/* Sequences of 5 and 7 tokens side by side have the bits of each alone. */
static int pack(const attend_mha *layer, const attend_options *options) {
  const int64_t starts[3] = {0, prefill, tokens};
  static float packed[tokens * width];
  attend_options together = *options;
  attend_workspace workspace = {0}; /* grows once, for the first call */
  attend_mha_call call = {.size = sizeof call, .workspace = &workspace, .options = options};
  int n;

  for (n = 0; n < 2; ++n) {
    const int64_t count = starts[n + 1] - starts[n];
    call.queries = call.keys = call.values = rows_of(x, starts[n], count);
    call.output = (attend_tensor){.data = output + starts[n] * width, .rank = 3, .sizes = {1, count, width}};
    if (attend_mha_forward(layer, &call, &problem) != ATTEND_OK) return failed("a sequence alone");
  }
  call.queries = call.keys = call.values = rows_of(x, 0, tokens);
  call.output = (attend_tensor){.data = packed, .rank = 3, .sizes = {1, tokens, width}};
  together.query_starts = together.key_starts = (attend_indices){.data = starts, .rank = 1, .sizes = {3}};
  call.options = &together;
  if (attend_mha_forward(layer, &call, &problem) != ATTEND_OK) return failed("packed sequences");
  attend_workspace_release(&workspace);
  return memcmp(packed, output, sizeof packed) == 0 ? 0 : failed("packed sequences differ from each alone");
}

/* Queries of all tokens, whose keys and values were appended in two calls, have the bits of a call without. */
static int core(void) {
  static float q[heads * tokens * depth], both[groups * tokens * depth], expected[heads * tokens * depth], cached[heads * tokens * depth];
  const attend_const_tensor queries = {.data = q, .rank = 4, .sizes = {1, heads, tokens, depth}};
  const attend_const_tensor keys = {.data = both, .rank = 4, .sizes = {1, groups, tokens, depth}};
  const int64_t strides[4] = {groups * tokens * depth, tokens * depth, depth, 1}; /* of a part of the keys */
  const attend_const_tensor parts[2] = {{both, 4, {1, groups, prefill, depth}, strides},
                                        {both + prefill * depth, 4, {1, groups, tokens - prefill, depth}, strides}};
  const attend_kv_cache_config config = {.size = sizeof config, .num_kv_heads = groups, .head_dim = depth, .capacity = tokens};
  const attend_options options = {.size = sizeof options, .causal = 1};
  const attend_attention_call call = {.size = sizeof call, .q = queries, .k = keys, .v = keys,
                                      .output = {expected, 4, {1, heads, tokens, depth}}, .options = &options};
  attend_attention_cached_call over = {.size = sizeof over, .q = queries, .output = {cached, 4, {1, heads, tokens, depth}}, .options = &options};
  attend_kv_cache *cache = NULL;
  int i;

  for (i = 0; i < heads * tokens * depth; ++i) q[i] = sinf((float)(7 * i + 1));
  for (i = 0; i < groups * tokens * depth; ++i) both[i] = cosf((float)(5 * i + 2));
  if (attend_kv_cache_make(&config, NULL, 0, &cache, &problem) != ATTEND_OK) return failed("making it");
  for (i = 0; i < 2; ++i) {
    if (attend_kv_cache_append(cache, &parts[i], &parts[i], NULL, NULL, &problem) != ATTEND_OK) return failed("appending");
  }
  over.cache = cache;
  if (attend_attention_cached(&over, &problem) != ATTEND_OK || attend_attention(&call, &problem) != ATTEND_OK) return failed("the core");
  attend_kv_cache_destroy(cache);
  return memcmp(cached, expected, sizeof cached) == 0 ? 0 : failed("the core over a cache differs from that without");
}

int main(void) {
  const float frequencies[2] = {1.0f, 0.25f};
  const int64_t pages[3] = {2, 0, 1};
  const attend_rotary_embedding rotary = {.size = sizeof rotary, .inverse_frequencies = {frequencies, 1, {2}}};
  const attend_mha_config config = {.size = sizeof config, .num_hiddens = width, .num_heads = heads, .num_kv_heads = groups, .rotary = &rotary};
  const attend_mha_weights weights = {.size = sizeof weights,
                                      .query = {matrices[0], 2, {width, width}}, .key = {matrices[1], 2, {narrow, width}},
                                      .value = {matrices[2], 2, {narrow, width}}, .output = {matrices[3], 2, {width, width}}};
  const attend_options options = {.size = sizeof options, .causal = 1, .windowed = 1, .window_left = window, .window_right = -1};
  const attend_const_tensor rows = rows_of(x, 0, tokens);
  const attend_mha_call call = {.size = sizeof call, .queries = rows, .keys = rows, .values = rows,
                                .output = {whole, 3, {1, tokens, width}}, .options = &options};
  const attend_kv_cache_config contiguous = {.size = sizeof contiguous, .num_kv_heads = groups, .head_dim = depth, .capacity = tokens};
  const attend_kv_cache_config ring = {.size = sizeof ring, .num_kv_heads = groups, .head_dim = depth, .capacity = window + prefill, .ring = 1};
  const attend_kv_cache_config paged = {.size = sizeof paged, .num_kv_heads = groups, .head_dim = depth, .page_rows = page_rows,
                                        .page_count = 3, .pages = {pages, 2, {1, 3}}};
  attend_mha *layer = NULL;
  int i;

  for (i = 0; i < 4 * width * width; ++i) matrices[i / (width * width)][i % (width * width)] = 0.3f * sinf((float)(3 * i + 1));
  for (i = 0; i < (tokens + 1) * width; ++i) x[i] = cosf((float)(2 * i + 3));
  if (attend_mha_make(&config, &weights, NULL, 0, &layer, &problem) != ATTEND_OK || attend_mha_forward(layer, &call, &problem) != ATTEND_OK) {
    return failed("the layer");
  }
  if (decode(layer, &contiguous, &options) || decode(layer, &ring, &options) || decode(layer, &paged, &options) || pack(layer, &options) ||
      core()) {
    return 1;
  }
  attend_mha_destroy(layer);
  printf("KV caches: a prefill and steps differ from one forward by at most %.1e\n", worst);
  return worst <= 1e-6 ? 0 : 1;
}
