"""The tables that repeat attend.h are what it says."""
import ast
import ctypes
import inspect
import os
import re

import attend
import numpy as np
import pytest
from attend import _library, _options, _structs

HERE = os.path.dirname(os.path.abspath(__file__))
INCLUDE = os.path.join(HERE, "..", "..", "..", "include", "attend")
STRUCTS = {
    "attend_options": "Options", "attend_operation_options": "OperationOptions", "attend_relative_position_bias": "RelativePositionBias",
    "attend_rotary_embedding": "RotaryEmbedding", "attend_rotary_scaling": "RotaryScaling", "attend_mha_config": "Config",
    "attend_mha_weights": "Weights", "attend_load_options": "LoadOptions", "attend_kv_cache_config": "CacheConfig",
    "attend_linear_config": "LinearConfig", "attend_linear_weights": "LinearWeights", "attend_linear_options": "LinearOptions",
    "attend_norm_options": "NormOptions",
    "attend_attention_call": "AttentionCall", "attend_dot_product_call": "DotProductCall", "attend_mha_call": "LayerCall",
    "attend_attention_cached_call": "AttentionCachedCall", "attend_mha_cached_call": "LayerCachedCall",
    "attend_mha_project_call": "ProjectCall", "attend_threads": "Threads", "attend_workspace": "Workspace", "attend_error": "Error",
    "attend_tensor": "View",
}
TYPES = {"size_t": ctypes.c_size_t, "float": ctypes.c_float, "double": ctypes.c_double, "int": ctypes.c_int, "int64_t": ctypes.c_int64,
         "uint64_t": ctypes.c_uint64}


def header():
    text = ""
    for name in ("attend.h", "attend_io.h"):
        path = os.path.join(INCLUDE, name)
        if not os.path.exists(path):
            pytest.skip("the headers are not beside the tests")
        with open(path, encoding="utf-8") as file:
            text += re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    return text


def fields(text, struct):
    """(type, name) of a struct's fields, in order."""
    body = re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", text, re.S).group(1)
    for line in filter(None, (part.strip() for part in body.split(";"))):
        kind, names = re.match(r"((?:const )?\w+(?: const)?) ?(.*)", " ".join(line.split())).groups()
        for name in names.split(","):
            yield kind + (" *" if "*" in name else ""), re.sub(r"\[.*", "", name.replace("const", "").strip(" *"))


def test_options_are_the_fields_of_attend_options():
    names = [name for _, name in fields(header(), "attend_options") if name not in ("size", "windowed", "low_precision")]
    assert list(_options.OPTIONS) == names
    assert list(attend.AttentionOptions.__annotations__) == names
    assert re.findall(r"^ *(\w+)  ", attend.AttentionOptions.__doc__, re.M) == names


@pytest.mark.parametrize("struct", STRUCTS)
def test_structs_have_the_fields_of_the_header(struct):
    here = getattr(_structs, STRUCTS[struct])._fields_
    there = list(fields(header(), struct))
    assert [field[0] for field in here] == [name for _, name in there]
    for (kind, name), (_, type_) in zip(there, here):
        if kind in TYPES and name != "sizes":
            assert type_ is TYPES[kind], name


def test_every_function_of_the_header_is_declared_or_needless():
    declared = set(re.findall(r"\battend_(\w+)\(", header())) - {"parallel_for"}
    needless = {name for name in declared if name.endswith("_bytes") or "_npy_" in name} - {"linear_bytes"} | {
        "free", "workspace_reserve", "mha_isa"}
    assert declared - needless == set(_library._FUNCTIONS)


def test_signatures_show_the_options():
    for function in (attend.attention, attend.MultiHeadAttention.__call__, attend.MultiHeadAttention.bind):
        parameters = inspect.signature(function).parameters
        assert "causal" in parameters and "options" not in parameters


X = np.zeros((1, 4, 8), np.float32)
VALUES = {  # of options that calls of one batch entry, one head, four queries and keys take
    "scale": 2.0, "softcap": 3.0, "causal": True, "offset": 1, "offsets": np.zeros(1, int), "window_left": 2, "window_right": 2,
    "mask": np.ones((4, 4), bool), "key_padding_mask": np.ones((1, 4), bool), "mask_hides": False, "valid_starts": np.zeros(1, int),
    "additive_mask": X[0, :, :4], "tree_parents": np.array([-1, 0, 1, 2]), "alibi_slopes": X[0, 0, :1],
    "relative_position_bias": attend.RelativePositionBias(np.zeros((8, 1), np.float32)), "sinks": X[0, 0, :1],
    "query_starts": np.array([0, 4]), "key_starts": np.array([0, 4]), "query_positions": np.arange(4), "key_positions": np.arange(4),
    "empty_rows": "uniform", "training": True, "dropout_seed": 3, "attention_weights": True, "lse": True, "threads": 2,
    "average_weights": True, "isa": "best", "core_arithmetic": "bfloat16",
}


def filled_cache():
    cache = attend.KVCache(1, 8, 8)
    cache.append(X[None], X[None])
    return cache


LAYER = attend.MultiHeadAttention.random(8, 1, rotary=attend.RotaryEmbedding(attend.rotary_frequencies(8)))
CALLS = {
    attend.attention: lambda **options: attend.attention(X[None], X[None], X[None], **options),
    attend.attention_cached: lambda **options: attend.attention_cached(X[None], filled_cache(), **options),
    attend.DotProductAttention.__call__: lambda **options: attend.DotProductAttention()(X, X, X, **options),
    attend.MultiHeadAttention.__call__: lambda **options: LAYER(X, **options),
    attend.MultiHeadAttention.bind: lambda **options: LAYER.bind(X, **options)(),
    attend.MultiHeadAttention.forward_cached: lambda **options: LAYER.forward_cached(X, LAYER.cache(4), **options),
}


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__qualname__)
def test_signatures_show_the_options_that_are_not_refused(function):
    assert set(VALUES) == set(_options.OPTIONS)
    together = {"query_starts": ("query_starts", "key_starts"), "average_weights": ("average_weights", "attention_weights")}
    together["key_starts"] = together["query_starts"]
    for name in VALUES:
        call = {other: VALUES[other] for other in together.get(name, (name,))}
        if name in inspect.signature(function).parameters:
            try:
                CALLS[function](**call)
            except RuntimeError as error:  # of a CPU
                assert str(error).startswith("core_arithmetic: this CPU")
        elif name != "dropout_seed":  # which means nothing without training
            with pytest.raises(ValueError, match="|".join(call)):
                CALLS[function](**call)


def test_all_that_is_public_has_a_docstring():
    for name in attend.__all__:
        public = getattr(attend, name)
        assert public.__doc__, name
        for member, value in vars(public).items() if inspect.isclass(public) and public is not attend.AttentionOptions else ():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{member}"


def test_the_sources_are_python_3_9():
    folder = os.path.dirname(attend.__file__)
    for name in os.listdir(folder):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                ast.parse(file.read(), feature_version=(3, 9))
