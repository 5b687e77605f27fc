/* Attention alone in C: grouped heads in (L, H, D) memory by strides, causal, on two threads of the library's pool. */
#include <attend/attend.h>
#include <math.h>
#include <stdio.h>

enum { L = 10, H = 8, G = 2, D = 16 };
static float q[L][H][D], k[L][G][D], v[L][G][D], y[L][H][D];

int main(void) {
  const int64_t of_queries[] = {0, D, H * D, 1}, of_keys[] = {0, D, G * D, 1}; /* of entry, head, token, column */
  attend_thread_pool *pool = NULL;
  attend_workspace workspace = {0};
  attend_error error = {""};
  for (int i = 0; i < L; ++i) {
    for (int g = 0; g < G; ++g) {
      for (int d = 0; d < D; ++d) v[i][g][d] = (float)i; /* queries and keys are 0: each query takes the mean of what it sees */
    }
  }
  attend_code code = attend_thread_pool_make(2, &pool, &error);
  const attend_options options = {.size = sizeof options, .causal = 1, .threads = attend_thread_pool_threads(pool)};
  const attend_attention_call call = {.size = sizeof call,
                                      .q = {q[0][0], 4, {1, H, L, D}, of_queries}, .k = {k[0][0], 4, {1, G, L, D}, of_keys},
                                      .v = {v[0][0], 4, {1, G, L, D}, of_keys}, .output = {y[0][0], 4, {1, H, L, D}, of_queries},
                                      .workspace = &workspace, .options = &options};
  if (code == ATTEND_OK) code = attend_attention(&call, &error);
  if (code != ATTEND_OK) printf("%s\n", error.message);
  float worst = 0.0f;
  for (int i = 0; i < L; ++i) {
    for (int h = 0; h < H; ++h) worst = fmaxf(worst, fabsf(y[i][h][3] - (float)i / 2));
  }
  printf("token 9 takes the mean of 0 to 9: %g; the largest error is %g\n", (double)y[9][0][0], (double)worst);
  attend_workspace_release(&workspace);
  attend_thread_pool_destroy(pool);
  return code != ATTEND_OK || worst > 1e-5f;
}
