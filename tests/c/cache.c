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

/* All tokens: a prefill, then one by one, in memory of the caller's. The cache is full or has let tokens go. */
static int decode(attend_mha *layer, const attend_kv_cache_config *config, const attend_options *options) {
  const size_t bytes = attend_kv_cache_bytes(config);
  void *memory = malloc(bytes);
  attend_kv_cache *cache = NULL;
  attend_mha_cached_call call = {0};
  int first;

  if (memory == NULL || attend_kv_cache_make(config, memory, bytes - 1, &cache, &problem) != ATTEND_OUT_OF_MEMORY || cache != NULL ||
      attend_kv_cache_make(config, memory, bytes, &cache, &problem) != ATTEND_OK) {
    return failed("making it");
  }
  call.options = *options;
  for (first = 0; first < tokens; first += (int)call.num_new) {
    call.num_queries = call.num_new = first == 0 ? prefill : 1;
    call.queries = call.keys = call.values = x + first * width;
    call.output = output + first * width;
    if (attend_mha_cached_forward(layer, cache, &call, &problem) != ATTEND_OK) return failed("decoding");
  }
  compare(output, whole, tokens * width);
  call.queries = call.keys = call.values = x + tokens * width;
  if (!config->ring && (attend_mha_cached_forward(layer, cache, &call, &problem) != ATTEND_OUT_OF_MEMORY ||
                        strncmp(problem.message, "cache: entry 0 holds 12 of 12 tokens", 36) != 0)) {
    return failed("a full one took more");
  }
  compare(output, whole, tokens * width);
  /* A draft that is taken back, and comes again. */
  call.queries = call.keys = call.values = x + (tokens - 1) * width;
  if (attend_kv_cache_truncate(cache, 0, tokens - 1, &problem) != ATTEND_OK ||
      attend_mha_cached_forward(layer, cache, &call, &problem) != ATTEND_OK || attend_kv_cache_length(cache, 0) != tokens) {
    return failed("taking back");
  }
  compare(output, whole, tokens * width);
  attend_kv_cache_destroy(cache);
  free(memory);
  return 0;
}

/* Sequences of 5 and 7 tokens side by side have the bits of each alone. */
static int pack(attend_mha *layer, const attend_options *options) {
  const int64_t starts[3] = {0, prefill, tokens};
  static float packed[tokens * width];
  attend_mha_call call = {.batch = 1, .options = *options};
  int n;

  for (n = 0; n < 2; ++n) {
    call.num_queries = call.num_keys = starts[n + 1] - starts[n];
    call.queries = call.keys = call.values = x + starts[n] * width;
    call.output = output + starts[n] * width;
    if (attend_mha_forward(layer, &call, &problem) != ATTEND_OK) return failed("a sequence alone");
  }
  call.num_queries = call.num_keys = tokens;
  call.queries = call.keys = call.values = x;
  call.output = packed;
  call.options.num_sequences = 2;
  call.options.query_starts = call.options.key_starts = starts;
  if (attend_mha_forward(layer, &call, &problem) != ATTEND_OK) return failed("packed sequences");
  return memcmp(packed, output, sizeof packed) == 0 ? 0 : failed("packed sequences differ from each alone");
}

/* Queries of all tokens, whose keys and values were appended in two calls, have the bits of a call without. */
static int core(void) {
  static float q[heads * tokens * depth], rows[2][groups * tokens * depth], both[groups * tokens * depth];
  static float expected[heads * tokens * depth], cached[heads * tokens * depth];
  const int64_t lengths[2] = {prefill, tokens - prefill};
  const attend_kv_cache_config config = {.batch = 1, .num_kv_heads = groups, .head_dim = depth, .capacity = tokens};
  const attend_options options = {.causal = 1};
  const attend_attention_call call = {.batch = 1, .num_heads = heads, .num_kv_heads = groups, .num_queries = tokens, .num_keys = tokens,
                                      .head_dim = depth, .q = q, .k = both, .v = both, .output = expected, .options = options};
  const attend_cached_attention_call over = {.num_heads = heads, .num_queries = tokens, .q = q, .output = cached, .options = options};
  attend_kv_cache *cache = NULL;
  int i, g, first = 0;

  for (i = 0; i < heads * tokens * depth; ++i) q[i] = sinf((float)(7 * i + 1));
  for (i = 0; i < groups * tokens * depth; ++i) both[i] = cosf((float)(5 * i + 2));
  if (attend_kv_cache_make(&config, NULL, 0, &cache, &problem) != ATTEND_OK) return failed("making it");
  for (i = 0; i < 2; ++i) {
    for (g = 0; g < groups; ++g) {
      memcpy(rows[i] + g * lengths[i] * depth, both + (g * tokens + first) * depth, (size_t)lengths[i] * depth * sizeof(float));
    }
    first += (int)lengths[i];
    if (attend_kv_cache_append(cache, lengths[i], rows[i], rows[i], NULL, &problem) != ATTEND_OK) return failed("appending");
  }
  if (attend_cached_attention(cache, &over, &problem) != ATTEND_OK || attend_attention(&call, &problem) != ATTEND_OK) return failed("the core");
  attend_kv_cache_destroy(cache);
  return memcmp(cached, expected, sizeof cached) == 0 ? 0 : failed("the core over a cache differs from that without");
}

int main(void) {
  const float frequencies[2] = {1.0f, 0.25f};
  const int64_t pages[3] = {2, 0, 1};
  const attend_mha_config config = {.key_size = width, .query_size = width, .value_size = width, .num_hiddens = width, .num_heads = heads,
                                    .num_kv_heads = groups, .rotary_frequencies = frequencies, .num_rotary_frequencies = 2};
  const attend_mha_weights weights = {.query = matrices[0], .key = matrices[1], .value = matrices[2], .output = matrices[3]};
  const attend_options options = {.causal = 1, .windowed = 1, .window_left = window, .window_right = -1};
  const attend_mha_call call = {.batch = 1, .num_queries = tokens, .num_keys = tokens, .queries = x, .keys = x, .values = x,
                                .output = whole, .options = options};
  const attend_kv_cache_config contiguous = {.batch = 1, .num_kv_heads = groups, .head_dim = depth, .capacity = tokens};
  const attend_kv_cache_config ring = {.batch = 1, .num_kv_heads = groups, .head_dim = depth, .capacity = window + prefill, .ring = 1};
  const attend_kv_cache_config paged = {.batch = 1, .num_kv_heads = groups, .head_dim = depth, .page_rows = page_rows, .page_count = 3,
                                        .pages_per_entry = 3, .pages = pages};
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
