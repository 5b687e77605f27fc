/* Embeds a layer of int8 in a C program: embed.c's, whose output differs by what 8 bits lose. */
#include <attend/attend.h>
#include <math.h>
#include <stdio.h>

enum { width = 100, heads = 5, tokens = 6 };

static float matrices[4][width * width];
static float x[tokens * width], output[tokens * width];

int main(void) {
  const attend_mha_config config = {.size = sizeof config, .num_hiddens = width, .num_heads = heads,
                                    .weight_type = ATTEND_WEIGHTS_INT8, .arithmetic = ATTEND_ARITHMETIC_INT8,
                                    .low_precision = attend_get_low_precision()};
  const attend_mha_weights weights = {.size = sizeof weights,
                                      .query = {matrices[0], 2, {width, width}}, .key = {matrices[1], 2, {width, width}},
                                      .value = {matrices[2], 2, {width, width}}, .output = {matrices[3], 2, {width, width}}};
  const attend_mha_call call = {.size = sizeof call,
                                .queries = {x, 3, {1, tokens, width}}, .keys = {x, 3, {1, tokens, width}},
                                .values = {x, 3, {1, tokens, width}}, .output = {output, 3, {1, tokens, width}}};
  double values[width], expected, largest = 0.0, error = 0.0;
  uint32_t random = 1;
  attend_mha *layer = NULL;
  attend_error problem;
  int i, j, r;

  for (i = 0; i < 4 * width * width; ++i) {
    random = random * 1664525u + 1013904223u;
    matrices[i / (width * width)][i % (width * width)] = (float)(random >> 8) * 0x1p-26f - 0.125f;
  }
  for (i = 0; i < tokens * width; ++i) x[i] = 1.0f;

  if (attend_mha_make(&config, &weights, NULL, 0, &layer, &problem) != ATTEND_OK ||
      attend_mha_forward(layer, &call, &problem) != ATTEND_OK) {
    fprintf(stderr, "int8: %s\n", problem.message);
    return 1;
  }
  for (i = 0; i < width; ++i) {
    values[i] = 0.0;
    for (j = 0; j < width; ++j) values[i] += matrices[2][i * width + j];
  }
  for (i = 0; i < width; ++i) {
    expected = 0.0;
    for (j = 0; j < width; ++j) expected += matrices[3][i * width + j] * values[j];
    if (fabs(expected) > largest) largest = fabs(expected);
    for (r = 0; r < tokens; ++r) {
      const double difference = fabs(output[r * width + i] - expected);
      if (!(difference <= error)) error = difference;
    }
  }
  printf("attend %s, %s: int8 by %s differs by at most %.1e of the largest output\n", attend_version(), attend_isa_name(attend_mha_isa(layer)),
         attend_product_instructions(ATTEND_WEIGHTS_INT8, ATTEND_ARITHMETIC_INT8, attend_mha_isa(layer)), error / largest);
  attend_mha_destroy(layer);
  return error <= 0.02 * largest ? 0 : 1;
}
