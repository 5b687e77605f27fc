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
  attend_mha_config config = {.key_size = narrow, .query_size = wide, .value_size = narrow, .num_hiddens = wide,
                              .num_heads = heads, .num_kv_heads = groups, .head_dim = depth, .output_size = wide,
                              .rotary_frequencies = still, .num_rotary_frequencies = 2, .qk_norm = 1};
  const attend_mha_weights weights = {.query = query_weight, .key = key_weight, .value = key_weight, .output = output_weight,
                                      .query_norm = ones};
  attend_options options = {.causal = 1, .offset = 2, .windowed = 1, .window_left = 4, .window_right = -1, .mask = mask,
                            .mask_by_head = 1, .scale = 0.75f, .softcap = 5.0f, .lse = layer_lse};
  attend_mha_call call = {.batch = batch, .num_queries = queries, .num_keys = keys, .queries = x, .keys = y, .values = y,
                          .output = layer_output};
  attend_attention_call core = {.batch = batch, .num_heads = heads, .num_kv_heads = groups, .num_queries = queries, .num_keys = keys,
                                .head_dim = depth, .q = q, .k = k, .v = v, .output = core_output};
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
  call.options = core.options = options;
  core.options.lse = core_lse;
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
  core.num_kv_heads = 3;
  if (attend_attention(&core, &problem) != ATTEND_INVALID_ARGUMENT || attend_attention_workspace_bytes(&core) != 0) error = INFINITY;
  printf("grouped heads: the layer and its core differ by at most %.1e\n", error);
  return error <= 1e-5 ? 0 : 1;
}
