"""Whole transformers models whose attention is attend's, against PyTorch in float64.

Ten small models with random weights run a batch of sequences of different lengths, padded on the left, so that
many rows begin with hundreds of keys that their mask hides: as float masks, which hide by adding the lowest
float (a finite number), and as bool ones. attend computes their attention through its C API. See README.md.
"""
import argparse
import copy
import ctypes
import inspect
import math
import os
import sys
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import torch
    import transformers
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask, sdpa_mask
except ImportError as error:
    print(f"skipped: {error}; tests/models/README.md says what to install")
    sys.exit(77)

LENGTHS = [300, 250, 190, 97, 40, 1]  # of the batch's sequences; what lacks to the longest is padding
NEW_TOKENS = 20
VOCABULARY = 256
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ISAS = ["best", "scalar", "avx2", "avx512", "neon"]  # by their numbers, attend_isa

# Errors are parts of the largest output. A model is wrong beyond the larger of the two bounds: PyTorch in float32
# comes to 5e-7 to 8e-6 itself, most of it not by attention, and with six other seeds attend came to 0.7 to 2.1
# times as much.
LEAST_BOUND = 2e-6
TIMES_PYTORCH = 4  # what PyTorch comes to in float32
CALL_BOUND = 2e-6  # of one call of attention, where a row sees a key

COMMON = dict(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
              intermediate_size=128, max_position_embeddings=512, initializer_range=0.2, pad_token_id=0,
              bos_token_id=None, eos_token_id=None, tie_word_embeddings=False)
GROUPED = dict(num_key_value_heads=2)
MODELS = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "Mistral": ("MistralForCausalLM", "MistralConfig", dict(GROUPED, sliding_window=64)),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", dict(GROUPED, head_dim=24)),
    "Gemma2": ("Gemma2ForCausalLM", "Gemma2Config",
               dict(GROUPED, head_dim=32, sliding_window=64, query_pre_attn_scalar=20,
                    attn_logit_softcapping=50.0, final_logit_softcapping=None)),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", dict(n_inner=128)),
    "OPT": ("OPTForCausalLM", "OPTConfig", dict(ffn_dim=128, word_embed_proj_dim=64, init_std=0.2)),
    "OLMo2": ("Olmo2ForCausalLM", "Olmo2Config", GROUPED),
    "Phi-3": ("Phi3ForCausalLM", "Phi3Config", dict(GROUPED, sliding_window=None)),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
    "BERT": ("BertForMaskedLM", "BertConfig", {}),
}


class View(ctypes.Structure):
    """attend_const_tensor and its like; fields as in attend.h, as in the next two."""
    _fields_ = [("data", ctypes.c_void_p), ("rank", ctypes.c_int), ("sizes", ctypes.c_int64 * 4),
                ("strides", ctypes.POINTER(ctypes.c_int64))]


def view(tensor):
    """Of a tensor that has to outlive it."""
    sizes, strides = (ctypes.c_int64 * 4)(*tensor.shape), (ctypes.c_int64 * 4)(*tensor.stride())
    return View(tensor.data_ptr(), tensor.dim(), sizes, strides)


class Options(ctypes.Structure):
    """attend_options."""
    _fields_ = [("size", ctypes.c_size_t), ("scale", ctypes.c_float), ("softcap", ctypes.c_float),
                ("causal", ctypes.c_int), ("windowed", ctypes.c_int), ("offset", ctypes.c_int64),
                ("offsets", View), ("window_left", ctypes.c_int64), ("window_right", ctypes.c_int64),
                ("mask", View), ("key_padding_mask", View), ("mask_hides", ctypes.c_int),
                ("valid_starts", View), ("additive_mask", View), ("tree_parents", View), ("alibi_slopes", View),
                ("relative_position_bias", ctypes.c_void_p), ("sinks", View), ("query_starts", View),
                ("key_starts", View), ("query_positions", View), ("key_positions", View),
                ("empty_rows", ctypes.c_int), ("training", ctypes.c_int), ("dropout_seed", ctypes.c_uint64),
                ("attention_weights", View), ("lse", View), ("threads", ctypes.c_int64 * 3),
                ("average_weights", ctypes.c_int), ("isa", ctypes.c_int)]


class AttentionCall(ctypes.Structure):
    """attend_attention_call."""
    _fields_ = [("size", ctypes.c_size_t), ("q", View), ("k", View), ("v", View), ("valid_lens", View),
                ("output", View), ("workspace", ctypes.c_void_p), ("options", ctypes.POINTER(Options))]


def call_error(q, k, v, mask, scale, softcap, output):
    """The error of one call beside float64 on the same inputs, in rows that see a key: those of padding stand wholly
    at the lowest float, where the sum of float64 loses the scores."""
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1).double() for tensor in (k, v))
    scores = q.double() @ k.transpose(2, 3) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    low = ~mask if mask.dtype == torch.bool else mask < -1e30
    exact = scores.masked_fill(low, -math.inf).softmax(-1) @ v
    sees = ~low.all(-1).expand(exact.shape[:3])
    return largest_error(output.double()[sees], exact[sees])


def register_attend(path, isa, call_errors):
    """Makes attention implementations of transformers, attend_float and attend_bool, which append to call_errors."""
    library = ctypes.CDLL(path)

    def attention(module, query, key, value, attention_mask, scaling=None, softcap=None, dropout=0.0,
                  **options):
        assert query.dtype == key.dtype == value.dtype == torch.float32 and dropout == 0
        q, k, v, mask = query, key, value, attention_mask
        output = torch.empty(q.shape[0], q.shape[1], q.shape[2], v.shape[3])
        given = Options(size=ctypes.sizeof(Options), scale=scaling or 0.0, softcap=softcap or 0.0, isa=ISAS.index(isa))
        assert mask.shape == (q.shape[0], 1, q.shape[2], k.shape[2]), mask.shape
        if mask.dtype == torch.bool:
            given.mask = view(mask)
        else:
            assert mask.dtype == torch.float32
            given.additive_mask = view(mask)
        call = AttentionCall(size=ctypes.sizeof(AttentionCall), q=view(q), k=view(k), v=view(v), output=view(output),
                             options=ctypes.pointer(given))
        message = ctypes.create_string_buffer(236)
        if library.attend_attention(ctypes.byref(call), message) != 0:
            sys.exit("attend_attention: " + message.value.decode())
        call_errors.append(call_error(q, k, v, mask, scaling or q.shape[3] ** -0.5, softcap, output))
        return output.transpose(1, 2).contiguous(), None

    def masks(function):  # as tensors always, never left to a flag
        always = dict(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
        return lambda *arguments, **options: function(*arguments, **{**options, **always})

    for kind, function in (("float", eager_mask), ("bool", sdpa_mask)):
        AttentionInterface.register("attend_" + kind, attention)
        AttentionMaskInterface.register("attend_" + kind, masks(function))


def float64_attention(module, *arguments, **options):
    """The model's own eager attention, with the softmax in float64 too, which most models cast to float32: there
    the lowest float64, of masks, is -inf, and the rows of padding, which see no key, become NaN."""
    eager = sys.modules[type(module).__module__].eager_attention_forward
    with mock.patch.object(torch, "float32", torch.float64):
        return eager(module, *arguments, **options)


def padded_batch():
    """Random tokens and their attention mask: (B, S), padded on the left."""
    attention_mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        attention_mask[row, -length:] = 1
    return torch.randint(1, VOCABULARY, attention_mask.shape) * attention_mask, attention_mask


def forward(model, tokens, attention_mask):
    """The logits of all positions that are no padding, in float64."""
    inputs = dict(input_ids=tokens, attention_mask=attention_mask)
    if "position_ids" in inspect.signature(model.forward).parameters:
        inputs["position_ids"] = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return model(**inputs).logits.double()[attention_mask.bool()]


def generate(model, tokens, attention_mask):
    """The greedily generated tokens (B, NEW_TOKENS), and the logits of each step in float64.

    The cache is transformers' default, a DynamicCache, whose layers with a window keep no more than that."""
    result = model.generate(input_ids=tokens, attention_mask=attention_mask, max_new_tokens=NEW_TOKENS,
                            do_sample=False, return_dict_in_generate=True, output_logits=True)
    return result.sequences[:, tokens.shape[1]:], torch.stack(result.logits).double()


def largest_error(actual, expected):
    """As a part of the largest expected value; infinite where anything is NaN."""
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    return math.inf if math.isnan(error) else error


def run(model, attention, batch):
    """Logits of one pass, and tokens and logits of generation: None each for models that generate nothing."""
    model.set_attn_implementation(attention)
    with torch.no_grad():
        logits = forward(model, *batch)
        return (logits, *(generate(model, *batch) if model.can_generate() else (None, None)))


def check_model(name, kinds, call_errors):
    """Prints a row of the table for each kind of mask; whether all are right."""
    model_class, config_class, sizes = MODELS[name]
    torch.manual_seed(1)
    config = getattr(transformers, config_class)(**COMMON, **sizes)
    model = getattr(transformers, model_class)(config).eval()
    batch = padded_batch()
    logits, tokens, steps = run(copy.deepcopy(model).double(), "float64", batch)
    torch_logits, _, torch_steps = run(model, "eager", batch)
    torch_error = largest_error(torch_logits, logits)
    right = True
    for kind in kinds:
        call_errors.clear()
        attend_logits, attend_tokens, attend_steps = run(model, "attend_" + kind, batch)
        error = largest_error(attend_logits, logits)
        row_right = max(call_errors) < CALL_BOUND and error <= max(LEAST_BOUND, TIMES_PYTORCH * torch_error)
        row = f"{name:<10}{kind:<7}{max(call_errors):>10.1e}{error:>10.1e}{torch_error:>10.1e}"
        if tokens is None:
            row += f"{'-':>12}{'-':>12}{'-':>12}"
        else:
            step_error, torch_step_error = largest_error(attend_steps, steps), largest_error(torch_steps, steps)
            different = int((attend_tokens != tokens).sum())
            row_right &= different == 0
            row_right &= step_error <= max(LEAST_BOUND, TIMES_PYTORCH * torch_step_error)
            row += f"{step_error:>12.1e}{torch_step_error:>12.1e}{f'{different} of {tokens.numel()}':>12}"
        print(row + ("" if row_right else "  WRONG"), flush=True)
        right &= row_right
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="model", help="of: " + ", ".join(MODELS) + "; default: all")
    parser.add_argument("--library", default=os.path.join(ROOT, "build", "libattend.so"))
    parser.add_argument("--isa", choices=ISAS, default="best")
    parser.add_argument("--mask", choices=["bool", "float"], help="what models make; default: both")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.models if name not in MODELS]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}; there are {', '.join(MODELS)}")
    if not os.path.exists(arguments.library):
        parser.error(f"{arguments.library} is missing: make build/libattend.so")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    call_errors = []
    register_attend(arguments.library, arguments.isa, call_errors)
    # Beside transformers' own "eager": the oracle.
    AttentionInterface.register("float64", float64_attention)
    AttentionMaskInterface.register("float64", eager_mask)

    print("Largest errors against float64 / largest output: of a call of attention, of one pass, of the steps of generation\n")
    print(f"{'model':<10}{'mask':<7}{'call':>10}{'attend':>10}{'PyTorch':>10}{'att. steps':>12}{'PyT. steps':>12}"
          f"{'differing':>12}")
    kinds = [arguments.mask] if arguments.mask else ["bool", "float"]
    results = [check_model(name, kinds, call_errors) for name in arguments.models or MODELS]
    print(f"\n{results.count(False)} of {len(results)} models wrong")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
