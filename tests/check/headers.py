#!/usr/bin/env python3
"""headers.py: all that attend.hpp and io.hpp's loader have is in attend.h and attend_io.h under the same names, and the other way
round; the C structs only grow from those of the oldest headers that are supported (tests/c/oldest); each of their fields is in a test.

What is named otherwise, or stands elsewhere, is listed below."""
import re
import sys

STRUCTS = {  # C++ to C
    "Threads": "attend_threads", "OperationOptions": "attend_operation_options", "AttentionOptions": "attend_options",
    "RelativePositionBias": "attend_relative_position_bias", "RotaryEmbedding": "attend_rotary_embedding",
    "RotaryScaling": "attend_rotary_scaling", "KeyValueCacheConfig": "attend_kv_cache_config",
    "MultiHeadAttentionConfig": "attend_mha_config", "MultiHeadAttentionWeights": "attend_mha_weights",
    "StoredMatrix": "attend_stored_matrix", "LinearConfig": "attend_linear_config", "LinearWeights": "attend_linear_weights",
    "LinearOptions": "attend_linear_options", "NormOptions": "attend_norm_options", "LoadOptions": "attend_load_options",
}
WITHOUT_PARTNER = {
    "View": "six structs of views", "ForwardShape": "functions of bytes take the call",
    "LoadedLayer": "attend_loaded_layer is opaque", "CacheState": "internal",
}
FIELDS = {  # a C++ field's name in C; None: what stands for it is among the others
    "RelativePositionBias.bidirectional": "unidirectional", "RotaryScaling.truncate": "untruncated",  # for zero is the default
    "MultiHeadAttentionConfig.qk_norm": None,  # norm_queries or norm_keys
    "LoadOptions.names": None,                 # of programs in C++ whose messages call arguments otherwise
}
C_FIELDS = {"attend_options.windowed": "-1 is no zero", "attend_load_options.num_ignored": "a vector's size"}
ENUMS = {"StatusCode": ("attend_code", "ATTEND_"), "Isa": ("attend_isa", "ATTEND_ISA_"), "EmptyRows": ("attend_empty_rows", "ATTEND_EMPTY_"),
         "CacheType": ("attend_cache_type", "ATTEND_CACHE_"),
         "RotaryScalingKind": ("attend_rotary_scaling_kind", "ATTEND_ROTARY_"), "WeightType": ("attend_weight_type", "ATTEND_WEIGHTS_"),
         "Arithmetic": ("attend_arithmetic", "ATTEND_ARITHMETIC_"), "Activation": ("attend_activation", "ATTEND_ACTIVATION_")}
CLASSES = {"ThreadPool": "attend_thread_pool_", "Workspace": "attend_workspace_", "DotProductAttention": "attend_dot_product_",
           "KeyValueCache": "attend_kv_cache_", "MultiHeadAttention": "attend_mha_", "Linear": "attend_linear_"}
FUNCTIONS = {  # else a function is attend_ and its name, a method its class's prefix and its name; None: not in C
    "rotary_embedding": "attend_rotate",  # the struct has that name
    "low_precision": "attend_get_low_precision",  # so has this one
    "low_precision_int4": "attend_get_low_precision_int4",
    "DotProductAttention::make": None,    # it holds nothing: its call has dropout and isa
    "DotProductAttention::forward": "attend_dot_product_attention",
    "MultiHeadAttention::packed_bytes": "attend_mha_bytes", "MultiHeadAttention::config": "attend_mha_get_config",
    "Linear::packed_bytes": "attend_linear_bytes", "Linear::config": "attend_linear_get_config",
    "KeyValueCache::config": "attend_kv_cache_get_config", "KeyValueCache::state": None,
    "Workspace::bytes": None,             # a field
}
C_FUNCTIONS = {  # what C alone has: ends of what was made, and calls' bytes where C++ has overloads of one name
    "attend_mha_destroy", "attend_linear_destroy", "attend_kv_cache_destroy", "attend_thread_pool_destroy", "attend_workspace_release",
    "attend_attention_cached_workspace_bytes", "attend_mha_cached_workspace_bytes", "attend_mha_project_workspace_bytes",
    "attend_loaded_layer_destroy", "attend_loaded_layer_mha", "attend_loaded_layer_convention", "attend_loaded_layer_remarks", "attend_loaded_layer_get_options",
    "attend_read_npy_floats", "attend_read_npy_integers", "attend_read_npy_bools", "attend_free",
    "attend_write_npy_floats", "attend_write_npy_integers", "attend_write_npy_bools",
}
CALLS = {"attend_attention": "attend_attention_call", "attend_attention_cached": "attend_attention_cached_call",
         "attend_dot_product_attention": "attend_dot_product_call", "attend_mha_forward": "attend_mha_call",
         "attend_mha_forward_cached": "attend_mha_cached_call", "attend_mha_project": "attend_mha_project_call"}
ARGUMENTS = {"attention": "layer"}  # what is made has the name of what is called
C_ARGUMENTS = {"attend_dot_product_attention": {"dropout"}, "attend_mha_get_config": {"config", "rotary"},
               "attend_kv_cache_get_config": {"config"}, "attend_linear_get_config": {"config"}}
FIXED = {"attend_error", "attend_tensor", "attend_const_tensor", "attend_indices", "attend_bool_mask", "attend_half_tensor", "attend_int8_tensor",
         "attend_uint8_tensor", "attend_threads", "attend_workspace"}
BYTES = {"int": 4, "float": 4, "int64_t": 8, "uint64_t": 8, "size_t": 8, "double": 8, "attend_parallel_for": 8}

failures = []


def check(holds, message):
    if not holds:
        failures.append(message)


def read(path):
    with open(path) as file:
        text = file.read()
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
    return re.sub(r"^#.*$", "", text, flags=re.M)


def braces(text, start):
    """What stands between the brace at or after `start` and the one that closes it."""
    first = text.index("{", start)
    depth, at = 1, first + 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return text[first + 1:at - 1]


def declared(body):
    """(type, name, count) of each field of a struct's body."""
    while re.search(r"\{[^{}]*\}", body):  # initialisers, structs within
        body = re.sub(r"\s*=?\s*\{[^{}]*\}", "", body)
    fields = []
    for line in body.split(";"):
        line = " ".join(line.split())
        if not line or "(" in line or line.startswith(("static", "using", "friend")):
            continue
        match = re.match(r"((?:const |struct |std::)*[\w:]+(?:<[^<>]*>)?(?: ?const)?) ?(.*)", line)
        for name in match.group(2).split(","):
            name = name.split("=")[0].strip()
            pointer = name.count("*")
            array = re.search(r"\[(\d+)\]", name)
            word = re.sub(r"const |[*\s]|\[.*\]", "", name)
            if word:
                fields.append((match.group(1) + "*" * pointer, word, int(array.group(1)) if array else 1))
    return fields


def cpp_structs(text):
    return {match.group(1): declared(braces(text, match.end())) for match in re.finditer(r"^struct (\w+) (?=\{)", text, re.M)}


def c_structs(text):
    return {match.group(1): declared(braces(text, match.end())) for match in re.finditer(r"typedef struct (\w+) (?=\{)", text)}


def enums(text, pattern):
    found = {}
    for match in re.finditer(pattern, text):
        names = [name.split("=")[0].strip() for name in braces(text, match.end()).split(",")]
        found[match.group(1)] = [name for name in names if name]
    return found


def arguments(text):
    names = []
    for part in re.sub(r"\([^()]*\)", "", text).split(","):
        word = re.search(r"(\w+)\s*(?:=.*)?$", part.strip(), re.S)
        if word and part.strip() != "void":
            names.append(word.group(1))
    return names


def cpp_functions(text):
    """The names of a function's arguments by its name, of the first overload of those with the most."""
    found = {}

    def add(name, text):
        if len(arguments(text)) > len(found.get(name, [])) or name not in found:
            found[name] = arguments(text)

    for match in re.finditer(r"^ATTEND_API [\w:*&\s]+?\b(\w+)\(([^;]*?)\) noexcept;", text, re.M):
        add(match.group(1), match.group(2))
    for match in re.finditer(r"^class ATTEND_API (\w+) ", text, re.M):
        if match.group(1) in CLASSES:
            body = braces(text, match.end()).split("private:")[0]
            while re.search(r"\{[^{}]*\}", body):
                body = re.sub(r"\s*\{[^{}]*\}", "", body)
            for method in re.finditer(r"(?:^|\s)(?:static )?[\w:*&]+(?: struct)?(?: \w+)?[ *&]+(\w+)\(([^;]*?)\)(?: const)? noexcept", body):
                if method.group(1) != match.group(1) and "operator" not in method.group(0):
                    add(match.group(1) + "::" + method.group(1), method.group(2))
    return found


def c_functions(text):
    return {match.group(1): (" ".join(match.group(0).split()), arguments(match.group(2)))
            for match in re.finditer(r"ATTEND_C_API [\w\s*]+?\b(attend_\w+)\(([^;]*)\);", text)}


def size_and_alignment(kind, structs):
    if "*" in kind or kind.replace("const ", "") in BYTES:
        size = 8 if "*" in kind else BYTES[kind.replace("const ", "")]
        return size, size
    return layout(kind.replace("const ", ""), structs)[1:]


def layout(name, structs):
    """The offset of each field, and the struct's size and alignment, on a 64-bit system."""
    offsets, end, widest = {}, 0, 1
    for kind, field, count in structs[name]:
        size, alignment = (1, 1) if kind == "char" else size_and_alignment(kind, structs)
        end = -(-end // alignment) * alignment
        offsets[field] = (end, kind, count)
        end += size * count
        widest = max(widest, alignment)
    return offsets, -(-end // widest) * widest, widest


def check_fields(cpp, c):
    for name, fields in cpp.items():
        partner = STRUCTS.get(name)
        if partner is None:
            check(name in WITHOUT_PARTNER, f"struct {name}: no partner in C")
            continue
        check(partner in c, f"{partner}: not in the C headers")
        names = {FIELDS.get(f"{name}.{field}", field) for _, field, _ in fields} - {None}
        given = {field for _, field, _ in c.get(partner, []) if f"{partner}.{field}" not in C_FIELDS and field != "size"}
        for field in sorted(names - given):
            failures.append(f"{name}.{field}: not in {partner}")
        for field in sorted(given - names):
            failures.append(f"{partner}.{field}: not in {name}")
    for name, fields in c.items():
        if name not in FIXED:
            check(fields[0][:2] == ("size_t", "size"), f"{name}: does not begin with its size")


def check_enums(cpp, c):
    for name, enumerators in cpp.items():
        check(name in ENUMS, f"enum {name}: no partner in C")
        partner, prefix = ENUMS.get(name, ("", ""))
        given = [word[len(prefix):].lower() for word in c.get(partner, [])]
        check(given == enumerators, f"{partner}: {given}, expected those of {name}, {enumerators}")


def check_functions(cpp, c, structs):
    partners = set()
    for name, expected in cpp.items():
        if "::" in name:
            owner, method = name.split("::")
            partner = FUNCTIONS.get(name, CLASSES[owner] + method)
        else:
            partner = FUNCTIONS.get(name, "attend_" + name)
        if partner is None:
            continue
        partners.add(partner)
        if partner not in c:
            failures.append(f"{name}: no {partner} in C")
            continue
        if partner.endswith("workspace_bytes") and "call" in c[partner][1]:
            continue
        given = set(c[partner][1]) - {"error"}
        if partner in CALLS:
            given = given - {"call"} | {field for _, field, _ in structs[CALLS[partner]]} - {"size"}
        given -= C_ARGUMENTS.get(partner, set())
        expected = {ARGUMENTS.get(argument, argument) for argument in expected}
        owner = {"attend_mha_": "layer", "attend_kv_cache_": "cache", "attend_linear_": "linear", "attend_thread_pool_": "pool", "attend_workspace_": "workspace"}
        for prefix, argument in owner.items():
            if "::" in name and partner.startswith(prefix):
                given, expected = given - {argument}, expected - {argument}
        check(given == expected, f"{partner}: arguments {sorted(given)}, expected those of {name}, {sorted(expected)}")
    for name in sorted(set(c) - partners - C_FUNCTIONS):
        failures.append(f"{name}: not in the C++ headers")


def check_growth(old, new):
    old_structs, new_structs = c_structs(old), c_structs(new)
    for name in old_structs:
        if name not in new_structs:
            failures.append(f"{name}: in the oldest header, and no longer")
            continue
        before, old_size, _ = layout(name, old_structs)
        after, new_size, _ = layout(name, new_structs)
        for field, place in before.items():
            check(after.get(field) == place, f"{name}.{field}: {after.get(field)}, expected {place} as in the oldest header")
        for field, place in after.items():
            check(field in before or place[0] >= old_size, f"{name}.{field}: at {place[0]}, in what is padding in the oldest header")
        check(name not in FIXED or old_size == new_size, f"{name}: never changes")
    old_enums, new_enums = (enums(text, r"typedef enum (\w+) (?=\{)") for text in (old, new))
    for name, enumerators in old_enums.items():
        check(new_enums.get(name, [])[:len(enumerators)] == enumerators, f"{name}: other enumerators than in the oldest header")
    new_functions = c_functions(new)
    for name, (declaration, _) in c_functions(old).items():
        check(new_functions.get(name, ("",))[0] == declaration, f"{name}: other than in the oldest header")


def check_tests(structs, text):
    for name, fields in structs.items():
        for _, field, _ in fields:
            check(re.search(rf"[.>]{field}\b|\"{field}\"", text), f"{name}.{field}: in no test")


cpp, c = read("include/attend/attend.hpp"), read("include/attend/attend.h")
cpp_io, c_io = read("include/attend/io.hpp"), read("include/attend/attend_io.h")
io_structs = {name: fields for name, fields in cpp_structs(cpp_io).items() if name in ("LoadedLayer", "LoadOptions")}
structs = {**c_structs(c), **c_structs(c_io)}
check_fields({**cpp_structs(cpp), **io_structs}, structs)
check_enums(enums(cpp, r"enum class (\w+) : int (?=\{)"), enums(c, r"typedef enum (\w+) (?=\{)"))
functions = {**cpp_functions(cpp), "load_layer": ["path", "prefix", "num_heads", "layer", "options"]}
check(len(functions) > 40, f"{len(functions)} functions found in attend.hpp")
check_functions(functions, {**c_functions(c), **c_functions(c_io)}, structs)
check_growth(read("tests/c/oldest/attend/attend.h") + read("tests/c/oldest/attend/attend_io.h"), c + c_io)
tests = ["c_twin.h"] + [f"c_{name}_test.cpp" for name in ("api", "layer", "core", "cache", "io", "linear")]
check_tests(structs, "".join(read("tests/" + name) for name in tests))
for failure in failures:
    print(failure)
print(f"{len(structs)} structs, {len(functions)} functions: {len(failures)} without a partner, or other than in the oldest headers")
sys.exit(1 if failures else 0)
