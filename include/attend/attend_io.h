/* The C API of attend's files: a layer of a .safetensors file, arrays of .npy files; over attend/io.hpp.
 *
 * Plain C99; the library behind it uses the C++ runtime: link with -lattend_io -lattend -lstdc++ -lm -lpthread. What
 * attend.h says of errors and structs holds here. Messages name the file and what is wrong with it; no file, however
 * hostile, makes a function crash. */
#ifndef ATTEND_IO_H
#define ATTEND_IO_H

#include <attend/attend.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A layer of a file, ready to run. */
typedef struct attend_loaded_layer attend_loaded_layer;

/* What no file says of a layer. NULL: the defaults. */
typedef struct attend_load_options {
  size_t size;
  int64_t num_kv_heads; /* 0: as many as the keys' rows are enough for */
  int isa;              /* an attend_isa */
  float dropout;
  const attend_rotary_embedding *rotary; /* as in attend_mha_config, as the next */
  float norm_epsilon;                    /* 0: a GGUF file's own, else 1e-6 */
  int num_ignored;                       /* of `ignored` */
  /* Where another layer of the file holds T5's table: the name of that tensor; or "none". NULL: nowhere. */
  const char *relative_bias;
  /* (num_ignored): tensors, or all of NAME.*, under the prefix that may stay unused; names may begin with the prefix or
   * behind it. */
  const char *const *ignored;
  int weight_type, arithmetic; /* as in attend_mha_config, as the next */
  const attend_low_precision *low_precision;
  int weight_type_of_file; /* the type that the file's matrices are stored as, instead of weight_type */
  /* A GGUF file's layer is rotated as the file says, unless `rotary` is given, or this; where names are those of models that
   * rotate, it says that no rotation is right. */
  int unrotated;
  /* attend_get_low_precision_int4(), taken instead of low_precision where the layer's weight_type is int4. */
  const attend_low_precision *low_precision_int4;
  int weight_group; /* of int4; 0: the file's, where its matrices are of int4, else 32 */
} attend_load_options;

/* Opens a .safetensors file, the index of its shards (model.safetensors.index.json), or a GGUF file, and makes the layer
 * whose names begin with `prefix` ("": the whole file) in one of the conventions of attend/io.hpp. A GGUF file says
 * num_heads itself, where that is 0.
 *
 * Nothing of the file is needed afterwards. A tensor under the prefix that the layer does not use is an error that names
 * it, unless it is ignored; so is a name that is to be ignored and is not there. No one can ignore what changes every
 * result and attend lacks, as bias_k and bias_v of torch's add_bias_kv. Whoever gets *layer ends it with
 * attend_loaded_layer_destroy, for which NULL is fine. */
ATTEND_C_API attend_code attend_load_layer(const char *path, const char *prefix, int64_t num_heads,
                                           const attend_load_options *options, attend_loaded_layer **layer,
                                           attend_error *error);
ATTEND_C_API void attend_loaded_layer_destroy(attend_loaded_layer *layer);

/* The layer, for its calls; it lives as long as what was loaded; NULL for NULL. */
ATTEND_C_API const attend_mha *attend_loaded_layer_mha(const attend_loaded_layer *layer);

/* Whose names they are: "torch", "Llama", ...; "" for NULL. */
ATTEND_C_API const char *attend_loaded_layer_convention(const attend_loaded_layer *layer);

/* What the loader has to say of it, line by line: how a GGUF file has it rotated, that weights by Llama's or Phi-3's names,
 * which want a rotation, were given none, what became of types; "" if nothing, or for NULL. It lives as long as the layer. */
ATTEND_C_API const char *attend_loaded_layer_remarks(const attend_loaded_layer *layer);

/* What its calls take besides arrays: scale, softcap, sinks and relative_position_bias as the file says; all else is zero, and the
 * caller's to set. T5's bias is unidirectional under a prefix with "decoder" between its dots; where names leave that out, the caller
 * gives a copy that is. The caller sets options->size. They view what lives as long as the loaded layer. */
ATTEND_C_API attend_code attend_loaded_layer_get_options(const attend_loaded_layer *layer, attend_options *options,
                                                         attend_error *error);

/* Reads a .npy file: floats of any width as float32; int32 and int64 as int64; bools and uint8 as whether they are not 0.
 *
 * The view is contiguous, its data from the heap: whoever reads it ends it with attend_free, for which NULL is fine. */
ATTEND_C_API attend_code attend_read_npy_floats(const char *path, attend_const_tensor *tensor, attend_error *error);
ATTEND_C_API attend_code attend_read_npy_integers(const char *path, attend_indices *indices, attend_error *error);
ATTEND_C_API attend_code attend_read_npy_bools(const char *path, attend_bool_mask *mask, attend_error *error);
ATTEND_C_API void attend_free(const void *data);

/* Writes a .npy file, '<f4', '<i8' or '|b1', whole or not at all. Any strides. */
ATTEND_C_API attend_code attend_write_npy_floats(const char *path, const attend_const_tensor *tensor, attend_error *error);
ATTEND_C_API attend_code attend_write_npy_integers(const char *path, const attend_indices *indices, attend_error *error);
ATTEND_C_API attend_code attend_write_npy_bools(const char *path, const attend_bool_mask *mask, attend_error *error);

#ifdef __cplusplus
}
#endif

#endif
