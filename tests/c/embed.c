/* Embeds the layer in a C program: the example of D2L, all ones, whose every output row is W_o W_v 1. */
#include <attend/attend.h>
#include <math.h>
#include <stdio.h>

enum { width = 100, heads = 5, batch = 2, num_queries = 4, num_keys = 6 };

static float matrices[4][width * width];
static float queries[batch * num_queries * width], keys[batch * num_keys * width];
static float output[batch * num_queries * width];

int main(void) {
  const int64_t lengths[batch] = {3, 2};
  const attend_mha_config config = {.size = sizeof config, .num_hiddens = width, .num_heads = heads};
  const attend_mha_weights weights = {.size = sizeof weights,
                                      .query = {matrices[0], 2, {width, width}}, .key = {matrices[1], 2, {width, width}},
                                      .value = {matrices[2], 2, {width, width}}, .output = {matrices[3], 2, {width, width}}};
  const attend_mha_call call = {.size = sizeof call,
                                .queries = {queries, 3, {batch, num_queries, width}},
                                .keys = {keys, 3, {batch, num_keys, width}}, .values = {keys, 3, {batch, num_keys, width}},
                                .valid_lens = {lengths, 1, {batch}}, .output = {output, 3, {batch, num_queries, width}}};
  double values[width], expected, error = 0.0;
  uint32_t random = 1;
  attend_mha *layer = NULL;
  attend_error problem;
  int i, j, r;

  for (i = 0; i < 4 * width * width; ++i) {
    random = random * 1664525u + 1013904223u;
    matrices[i / (width * width)][i % (width * width)] = (float)(random >> 8) * 0x1p-26f - 0.125f;
  }
  for (i = 0; i < batch * num_queries * width; ++i) queries[i] = 1.0f;
  for (i = 0; i < batch * num_keys * width; ++i) keys[i] = 1.0f;

  if (attend_mha_make(&config, &weights, NULL, 0, &layer, &problem) != ATTEND_OK ||
      attend_mha_forward(layer, &call, &problem) != ATTEND_OK) {
    fprintf(stderr, "embed: %s\n", problem.message);
    return 1;
  }
  for (i = 0; i < width; ++i) {
    values[i] = 0.0;
    for (j = 0; j < width; ++j) values[i] += matrices[2][i * width + j];
  }
  for (i = 0; i < width; ++i) {
    expected = 0.0;
    for (j = 0; j < width; ++j) expected += matrices[3][i * width + j] * values[j];
    for (r = 0; r < batch * num_queries; ++r) {
      const double difference = fabs(output[r * width + i] - expected);
      if (!(difference <= error)) error = difference;
    }
  }
  printf("attend %s, %s: outputs differ from W_o W_v 1 by at most %.1e\n", attend_version(),
         attend_isa_name(attend_mha_isa(layer)), error);
  attend_mha_destroy(layer);
  return error <= 1e-4 ? 0 : 1;
}
