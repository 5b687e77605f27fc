"""The structs of attend.h, attend_io.h and native/encoder.cpp, field by field."""
from __future__ import annotations

import ctypes
from typing import Any, Type

c_float, c_double, c_int, c_int64 = ctypes.c_float, ctypes.c_double, ctypes.c_int, ctypes.c_int64
c_uint64, c_size_t, c_void_p, c_char_p = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p


def structure(name: str, *fields: tuple[str, Any]) -> Type[ctypes.Structure]:
    """A struct of so many fields of each type, their names between spaces."""
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for names, kind in fields for field in names.split()]})


Error = structure("Error", ("message", ctypes.c_char * 236))
View: Any = structure("View", ("data", c_void_p), ("rank", c_int), ("sizes", c_int64 * 4), ("strides", c_void_p))
Threads = structure("Threads", ("count", c_int), ("parallel_for pool", c_void_p))
Workspace = structure("Workspace", ("memory", c_void_p), ("bytes", c_size_t), ("owned", c_int))

OperationOptions = structure("OperationOptions", ("size", c_size_t), ("isa", c_int), ("threads", Threads))
Options = structure(
    "Options", ("size", c_size_t), ("scale softcap", c_float), ("causal windowed", c_int), ("offset", c_int64), ("offsets", View),
    ("window_left window_right", c_int64), ("mask key_padding_mask", View), ("mask_hides", c_int),
    ("valid_starts additive_mask tree_parents alibi_slopes", View), ("relative_position_bias", c_void_p),
    ("sinks query_starts key_starts query_positions key_positions", View), ("empty_rows training", c_int), ("dropout_seed", c_uint64),
    ("attention_weights lse", View), ("threads", Threads), ("average_weights isa core_arithmetic", c_int), ("low_precision", c_void_p))
RelativePositionBias = structure("RelativePositionBias", ("size", c_size_t), ("table", View), ("unidirectional", c_int),
                                 ("max_distance", c_int64))
RotaryEmbedding = structure("RotaryEmbedding", ("size", c_size_t), ("inverse_frequencies cosines sines", View),
                            ("attention_factor", c_float), ("interleaved", c_int))
RotaryScaling = structure("RotaryScaling", ("size", c_size_t), ("kind untruncated", c_int), ("factor", c_double),
                          ("original_max_position", c_int64), ("beta_fast beta_slow low_frequency_factor high_frequency_factor", c_double))

Config = structure("Config", ("size", c_size_t), ("key_size query_size value_size num_hiddens num_heads", c_int64), ("dropout", c_float),
                   ("bias isa", c_int), ("norm_epsilon", c_float), ("norm_queries norm_keys", c_int),
                   ("num_kv_heads head_dim output_size", c_int64), ("rotary", c_void_p), ("weight_type arithmetic", c_int),
                   ("low_precision", c_void_p), ("weight_group", c_int))
Weights = structure("Weights", ("size", c_size_t), ("query key value output query_bias key_bias value_bias output_bias", View),
                    ("query_norm key_norm", View), ("stored_query stored_key stored_value stored_output", c_void_p))
LoadOptions = structure("LoadOptions", ("size", c_size_t), ("num_kv_heads", c_int64), ("isa", c_int), ("dropout", c_float),
                        ("rotary", c_void_p), ("norm_epsilon", c_float), ("num_ignored", c_int), ("relative_bias", c_char_p),
                        ("ignored", ctypes.POINTER(c_char_p)), ("weight_type arithmetic", c_int), ("low_precision", c_void_p),
                        ("weight_type_of_file unrotated", c_int), ("low_precision_int4", c_void_p), ("weight_group", c_int))
CacheConfig = structure("CacheConfig", ("size", c_size_t), ("batch num_kv_heads head_dim value_dim capacity", c_int64), ("ring", c_int),
                        ("page_rows page_count", c_int64), ("pages", View), ("type", c_int), ("low_precision", c_void_p))

LinearConfig = structure("LinearConfig", ("size", c_size_t), ("inputs outputs", c_int64), ("isa weight_type arithmetic", c_int),
                         ("low_precision", c_void_p), ("weight_group", c_int))
LinearWeights = structure("LinearWeights", ("size", c_size_t), ("matrix bias", View), ("stored", c_void_p))
LinearOptions = structure("LinearOptions", ("size", c_size_t), ("activation", c_int), ("multiplier", View), ("threads", Threads))
NormOptions = structure("NormOptions", ("size", c_size_t), ("weight bias residual sum", View), ("isa", c_int), ("threads", Threads))

AttentionCall = structure("AttentionCall", ("size", c_size_t), ("q k v valid_lens output", View), ("workspace options", c_void_p))
DotProductCall = structure("DotProductCall", ("size", c_size_t), ("dropout", c_float), ("queries keys values valid_lens output", View),
                           ("workspace options", c_void_p))
LayerCall = structure("LayerCall", ("size", c_size_t), ("queries keys values valid_lens output", View), ("workspace options", c_void_p))
AttentionCachedCall = structure("AttentionCachedCall", ("size", c_size_t), ("q", View), ("cache", c_void_p),
                                ("query_counts output", View), ("workspace options", c_void_p))
LayerCachedCall = structure("LayerCachedCall", ("size", c_size_t), ("queries keys values new_counts", View), ("cache", c_void_p),
                            ("output", View), ("workspace options", c_void_p))
ProjectCall = structure("ProjectCall", ("size", c_size_t), ("keys values counts", View), ("cache", c_void_p),
                        ("workspace options", c_void_p))

EncoderSizes = structure("EncoderSizes", ("width layers heads most_tokens", c_int64))
