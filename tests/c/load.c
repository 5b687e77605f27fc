/* Loads a layer of a real model and its sentences in C, runs it, and writes and reads what it gives.
 *
 * load FOLDER FILE: FOLDER holds tests/data/minilm's files; FILE is written. */
#include <attend/attend_io.h>
#include <stdio.h>
#include <stdlib.h>

static attend_error problem;

static int failed(void) {
  fprintf(stderr, "load: %s\n", problem.message);
  return 1;
}

static const char *path_of(const char *folder, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

int main(int count, char **arguments) {
  attend_loaded_layer *layer = NULL;
  attend_const_tensor x = {0}, written = {0};
  attend_indices lengths = {0};
  attend_options options = {.size = sizeof options};
  const char *folder = count > 1 ? arguments[1] : "tests/data/minilm", *file = count > 2 ? arguments[2] : "/dev/null";
  float *output;
  int64_t elements, i;

  if (attend_load_layer(path_of(folder, "layer.safetensors"), "encoder.layer.3.attention", 12, NULL, &layer, &problem) != ATTEND_OK ||
      attend_read_npy_floats(path_of(folder, "hidden.npy"), &x, &problem) != ATTEND_OK ||      /* (B, L, E) */
      attend_read_npy_integers(path_of(folder, "lengths.npy"), &lengths, &problem) != ATTEND_OK || /* (B,) */
      attend_loaded_layer_get_options(layer, &options, &problem) != ATTEND_OK) {
    return failed();
  }
  elements = x.sizes[0] * x.sizes[1] * x.sizes[2];
  output = malloc((size_t)elements * sizeof *output);
  if (output == NULL) return 1;
  {
    const attend_mha_call call = {.size = sizeof call, .queries = x, .keys = x, .values = x, .valid_lens = lengths,
                                  .output = {output, 3, {x.sizes[0], x.sizes[1], x.sizes[2]}}, .options = &options};
    attend_const_tensor result = x; /* its shape */
    result.data = output;
    if (attend_mha_forward(attend_loaded_layer_mha(layer), &call, &problem) != ATTEND_OK ||
        attend_write_npy_floats(file, &result, &problem) != ATTEND_OK || attend_read_npy_floats(file, &written, &problem) != ATTEND_OK) {
      return failed();
    }
  }
  for (i = 0; i < elements; ++i) {
    if (!(written.data[i] == output[i])) return 1;
  }
  printf("a layer of %s: %lld numbers\n", attend_loaded_layer_convention(layer), (long long)elements);
  attend_free(written.data);
  attend_free(lengths.data);
  attend_free(x.data);
  free(output);
  attend_loaded_layer_destroy(layer);
  return 0;
}
