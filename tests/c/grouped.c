/* A layer of grouped heads with norms, rotation, causal and a window in C, against what attend_attention
 * gives: with keys and values projected by identities, the layer is its core. */
#include <attend/attend.h>
#include <math.h>
#include <stdio.h>

enum { heads = 4, groups = 2, depth = 8, batch = 2, queries = 7, keys = 9, wide = heads * depth, narrow = groups * depth };

static float query_weight[wide * wide], key_weight[narrow * narrow], output_weight[wide * wide], ones[depth];
static float x[batch * queries * wide], y[batch * keys * narrow];
static float layer_output[batch * queries * wide], layer_lse[batch * heads * queries];
static float q[batch * heads * queries * depth], k[batch * groups * keys * depth];
static float core_output[batch * heads * queries * depth], core_lse[batch * heads * queries];

/* (batch, rows, count depth) -> (batch, count, rows, depth), each row of a head over its root mean square. */
static void split(const float *from, int rows, int count, int norm, float *to) {
  int b, i, h, d;
  for (b = 0; b < batch; ++b) {
    for (i = 0; i < rows; ++i) {
      for (h = 0; h < count; ++h) {
        const float *row = from + ((b * rows + i) * count + h) * depth;
        double squares = 0.0;
        for (d = 0; d < depth; ++d) squares += (double)row[d] * row[d];
        for (d = 0; d < depth; ++d) {
          to[((b * count + h) * rows + i) * depth + d] = norm ? (float)(row[d] / sqrt(squares / depth + 1e-6)) : row[d];
        }
      }
    }
  }
}

int main(void) {
  static float v[batch * groups * keys * depth];
  static uint8_t mask[heads * queries * keys];
  const float still[2] = {0.0f, 0.0f}; /* frequencies of 0: pairs that do not turn */
  const attend_rotary_embedding rotary = {.size = sizeof rotary, .inverse_frequencies = {still, 1, {2}}};
  attend_mha_config config = {.size = sizeof config, .key_size = narrow, .query_size = wide, .value_size = narrow,
                              .num_hiddens = wide, .num_heads = heads, .num_kv_heads = groups, .head_dim = depth,
                              .output_size = wide, .rotary = &rotary, .norm_queries = 1, .norm_keys = 1};
  const attend_mha_weights weights = {.size = sizeof weights,
                                      .query = {query_weight, 2, {wide, wide}}, .key = {key_weight, 2, {narrow, narrow}},
                                      .value = {key_weight, 2, {narrow, narrow}}, .output = {output_weight, 2, {wide, wide}},
                                      .query_norm = {ones, 1, {depth}}};
  const attend_options options = {.size = sizeof options, .causal = 1, .offset = 2, .windowed = 1, .window_left = 4, .window_right = -1,
                                  .mask = {mask, 3, {heads, queries, keys}}, .scale = 0.75f, .softcap = 5.0f,
                                  .lse = {layer_lse, 3, {batch, heads, queries}}};
  attend_options core_options = options;
  const attend_mha_call call = {.size = sizeof call, .queries = {x, 3, {batch, queries, wide}}, .keys = {y, 3, {batch, keys, narrow}},
                                .values = {y, 3, {batch, keys, narrow}}, .output = {layer_output, 3, {batch, queries, wide}},
                                .options = &options};
  attend_attention_call core = {.size = sizeof core, .q = {q, 4, {batch, heads, queries, depth}}, .k = {k, 4, {batch, groups, keys, depth}},
                                .v = {v, 4, {batch, groups, keys, depth}}, .output = {core_output, 4, {batch, heads, queries, depth}},
                                .options = &core_options};
  attend_mha *layer = NULL;
  attend_error problem;
  double error = 0.0;
  int i, b, h, d;

  for (i = 0; i < wide; ++i) query_weight[i * wide + i] = output_weight[i * wide + i] = 1.0f;
  for (i = 0; i < narrow; ++i) key_weight[i * narrow + i] = 1.0f;
  for (i = 0; i < depth; ++i) ones[i] = 1.0f;
  for (i = 0; i < batch * queries * wide; ++i) x[i] = sinf((float)(3 * i + 1));
  for (i = 0; i < batch * keys * narrow; ++i) y[i] = cosf((float)(5 * i + 2));
  for (i = 0; i < heads * queries * keys; ++i) mask[i] = i % 3 != 0;
  split(x, queries, heads, 1, q);
  split(y, keys, groups, 1, k);
  split(y, keys, groups, 0, v);
  core_options.lse.data = core_lse;
  if (attend_attention_workspace_bytes(&core) == 0 || attend_mha_make(&config, &weights, NULL, 0, &layer, &problem) != ATTEND_OK ||
      attend_mha_forward(layer, &call, &problem) != ATTEND_OK || attend_attention(&core, &problem) != ATTEND_OK) {
    fprintf(stderr, "grouped: %s\n", problem.message);
    return 1;
  }
  for (b = 0; b < batch; ++b) {
    for (h = 0; h < heads; ++h) {
      for (i = 0; i < queries; ++i) {
        const int row = (b * heads + h) * queries + i;
        /* Rows that the mask and the window leave no key have an lse of -inf in both. */
        const double lse = layer_lse[row] == core_lse[row] ? 0.0 : fabs((double)layer_lse[row] - core_lse[row]);
        if (!(lse <= error)) error = lse;
        for (d = 0; d < depth; ++d) {
          const double difference = fabs((double)layer_output[((b * queries + i) * heads + h) * depth + d] - core_output[row * depth + d]);
          if (!(difference <= error)) error = difference;
        }
      }
    }
  }
  attend_mha_destroy(layer);
  /* Refused by name, and nothing is written. */
  layer = NULL;
  config.num_kv_heads = 3;
  if (attend_mha_bytes(&config) != 0 || attend_mha_make(&config, &weights, NULL, 0, &layer, &problem) != ATTEND_INVALID_ARGUMENT ||
      layer != NULL) {
    error = INFINITY;
  }
  core.k.sizes[1] = core.v.sizes[1] = 3;
  if (attend_attention(&core, &problem) != ATTEND_INVALID_ARGUMENT || attend_attention_workspace_bytes(&core) != 0) error = INFINITY;
  printf("grouped heads: the layer and its core differ by at most %.1e\n", error);
  return error <= 1e-5 ? 0 : 1;
}
