"""Models of transformers whose attention attend computes; skipped without them. All have random weights: nothing is fetched."""
import copy
import itertools
import os
import pickle
import threading

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import attend.transformers
from attend.transformers import attention as attention_function
from attend.transformers import calls
from attend.transformers import mask as mask_function
from attend.transformers import reach
from transformers import masking_utils

transformers.logging.set_verbosity_error()
COMMON = dict(vocab_size=97, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, max_position_embeddings=128,
              initializer_range=0.2, pad_token_id=0, bos_token_id=None, eos_token_id=None, tie_word_embeddings=False)
GROUPED = dict(num_key_value_heads=2)
WINDOW = 5
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
DECODERS = {
    "Llama": dict(GROUPED),
    "Qwen2": dict(GROUPED),
    "Qwen3": dict(GROUPED, head_dim=24),
    "Gemma": dict(num_key_value_heads=1, head_dim=32),
    "Gemma2": dict(GROUPED, head_dim=32, sliding_window=WINDOW, query_pre_attn_scalar=20, attn_logit_softcapping=3.0, layer_types=SLIDING),
    "Gemma3": dict(GROUPED, head_dim=32, sliding_window=WINDOW, query_pre_attn_scalar=20, layer_types=SLIDING),
    "Mistral": dict(GROUPED, sliding_window=WINDOW),
    "GptOss": dict(GROUPED, head_dim=16, sliding_window=WINDOW, num_local_experts=2, num_experts_per_tok=1, layer_types=SLIDING),
}
BY_EAGER = ("Gemma2", "GptOss")  # sdpa lacks softcap and sinks
LAYERS = COMMON["num_hidden_layers"]


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found.double() - expected.double()).abs().max() <= tolerance * max(1e-30, expected.abs().max())


@pytest.fixture(autouse=True)
def counted_from_zero():
    torch.manual_seed(0)
    calls.clear()


def assert_counts(attend_calls, dense=0, pytorch=None):
    assert (calls.attend, calls.dense, calls.pytorch) == (attend_calls, dense, pytorch or {})


def randomize(model):
    """Has sinks, biases and norms be no zeros and ones."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name.lower() else 0.0, 0.3)
    return model.eval()


def decoder(name, **options):
    kind = {"Gemma3": "Gemma3TextConfig"}.get(name, name + "Config")
    config = getattr(transformers, kind)(**{**COMMON, **DECODERS[name], **options})
    return randomize(getattr(transformers, name + "ForCausalLM")(config))


def bert(**options):
    return randomize(transformers.BertForMaskedLM(transformers.BertConfig(**{**COMMON, **options})))


def with_attend(model):
    model.set_attn_implementation("attend")
    return model


def reference(model, name="sdpa"):
    found = copy.deepcopy(model)
    found.set_attn_implementation(name)
    return found


def reference_of(model, name):
    return reference(model, "eager" if name in BY_EAGER else "sdpa")


def tokens_and_padding(kind, batch=3, length=11):
    tokens, is_token = torch.randint(1, 97, (batch, length)), torch.ones(batch, length, dtype=torch.int64)
    if kind == "left":
        is_token[1, :4] = 0
        is_token[2, :length - 1] = 0
    elif kind == "right":
        is_token[1, 6:] = 0
        is_token[2, 1:] = 0
    elif kind == "both":
        is_token[1, :3] = is_token[1, 8:] = 0
    elif kind == "holes":
        is_token[1, 3:5] = 0
        is_token[2, ::2] = 0
    return tokens * is_token, is_token


@pytest.mark.parametrize("padding", ["none", "left", "right", "both", "holes"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name, padding):
    model = decoder(name)
    tokens, is_token = tokens_and_padding(padding)
    given = dict(input_ids=tokens, attention_mask=is_token)
    with torch.inference_mode():
        expected = reference_of(model, name)(**given).logits
        found = with_attend(model)(**given).logits
    assert_counts(LAYERS)
    assert found.isfinite().all()
    sees = is_token.bool()
    close(found[sees], expected[sees])


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", DECODERS)
def test_generation_with_padding_on_the_left(name, cache):
    model, steps = decoder(name), 9
    tokens, is_token = tokens_and_padding("left")
    given = dict(input_ids=tokens, attention_mask=is_token, max_new_tokens=steps, do_sample=False, return_dict_in_generate=True,
                 output_logits=True, cache_implementation=cache)
    expected = reference_of(model, name).generate(**given)
    found = with_attend(model).generate(**given)
    assert_counts(steps * LAYERS)
    assert torch.equal(found.sequences, expected.sequences)
    for of_step, expected_of_step in zip(found.logits, expected.logits):
        close(of_step, expected_of_step)


def test_generation_by_beams_and_of_one_sequence():
    model = decoder("Llama")
    tokens, is_token = tokens_and_padding("left")
    for given in (dict(input_ids=tokens, attention_mask=is_token, num_beams=3), dict(input_ids=tokens[:1])):
        given = dict(given, max_new_tokens=6, do_sample=False)
        expected = reference(model).generate(**given)
        calls.clear()
        assert torch.equal(with_attend(model).generate(**given), expected)
        assert_counts(6 * LAYERS)


def test_a_prompt_in_parts():
    """Several queries after a cache: causal with an offset, beyond windows too."""
    for name in ("Llama", "Gemma3"):
        model = decoder(name)
        tokens, is_token = tokens_and_padding("left", length=17)
        calls.clear()
        results = []
        with torch.inference_mode():
            for each in (reference(model), with_attend(model)):
                cache, parts = None, []
                for start, end in ((0, 4), (4, 11), (11, 12), (12, 17)):
                    cache = transformers.DynamicCache(config=model.config) if cache is None else cache
                    parts.append(each(tokens[:, start:end], attention_mask=is_token[:, :end], cache=cache, use_cache=True).logits)
                results.append(torch.cat(parts, 1)[is_token.bool()])
        assert_counts(4 * LAYERS)
        close(results[1], results[0])


@pytest.mark.parametrize("padding", ["none", "left", "right", "both", "holes"])
def test_bert(padding):
    model = bert()
    tokens, is_token = tokens_and_padding(padding)
    given = dict(input_ids=tokens, attention_mask=is_token)
    with torch.inference_mode():
        expected, found = reference(model)(**given).logits, with_attend(model)(**given).logits
    assert_counts(LAYERS)
    close(found, expected)


def test_rows_that_are_wholly_padding():
    model = bert()
    tokens, is_token = tokens_and_padding("right")
    is_token[0] = 0
    with torch.inference_mode():
        found = with_attend(model)(input_ids=tokens, attention_mask=is_token).logits
        close(found[1:], reference(model)(input_ids=tokens, attention_mask=is_token).logits[1:])
        assert found.isfinite().all()
        given = mask_function(3, 11, 11, mask_function=masking_utils.bidirectional_mask_function, attention_mask=is_token.bool())
        q, k, v = torch.randn(3, 3, 4, 11, 8).unbind(0)
        output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, given)
        assert not output[0].any() and output[1:].any()


def test_vit():
    config = transformers.ViTConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=32,
                                    patch_size=8, initializer_range=0.2)
    model, pixels = randomize(transformers.ViTModel(config)), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected, found = reference(model)(pixels).last_hidden_state, with_attend(model)(pixels).last_hidden_state
    assert_counts(3)
    close(found, expected)


def whisper():
    config = transformers.WhisperConfig(
        vocab_size=97, d_model=64, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=8, max_source_positions=20, max_target_positions=40, init_std=0.2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    return randomize(transformers.WhisperForConditionalGeneration(config)), torch.randn(3, 8, 40)


def test_whisper():
    model, sound = whisper()
    tokens, is_token = tokens_and_padding("right")
    given = dict(input_features=sound, decoder_input_ids=tokens, decoder_attention_mask=is_token)
    with torch.inference_mode():
        expected, found = reference(model)(**given).logits, with_attend(model)(**given).logits
    assert_counts(2 + 2 * 3)
    close(found[is_token.bool()], expected[is_token.bool()])


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generation_of_whisper(cache):
    model, sound = whisper()
    given = dict(input_features=sound, max_new_tokens=7, min_new_tokens=7, do_sample=False, return_dict_in_generate=True,
                 output_logits=True, cache_implementation=cache)
    expected = transformers.GenerationMixin.generate(reference(model), **given)
    found = transformers.GenerationMixin.generate(with_attend(model), **given)
    assert_counts(2 + 7 * 2 * 3)
    assert torch.equal(found.sequences, expected.sequences)
    for of_step, expected_of_step in zip(found.logits, expected.logits):
        close(of_step, expected_of_step)


def test_t5_adds_its_position_bias():
    config = transformers.T5Config(vocab_size=97, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, pad_token_id=0,
                                   decoder_start_token_id=0)
    model = randomize(transformers.T5ForConditionalGeneration(config))
    tokens, is_token = tokens_and_padding("right")
    given = dict(input_ids=tokens, attention_mask=is_token, decoder_input_ids=tokens, decoder_attention_mask=is_token)
    with torch.inference_mode():
        expected, found = reference(model)(**given).logits, with_attend(model)(**given).logits
    assert_counts(2 + 2 * 2)
    close(found[is_token.bool()], expected[is_token.bool()])


@pytest.mark.parametrize("kind", ["none", "bools", "floats"])
def test_a_position_bias_beside_a_mask(kind):
    q, k, v = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    bias, shown = torch.randn(1, 2, 5, 7), torch.rand(2, 1, 5, 7) < 0.7
    mask = {"none": None, "bools": shown, "floats": torch.randn(2, 1, 5, 7)}[kind]
    added = bias if mask is None else bias.masked_fill(~shown, -torch.inf) if kind == "bools" else bias + mask
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, mask, is_causal=False, position_bias=bias)
    assert_counts(1, dense=int(mask is not None))
    close(output, plain_attention(q, k, v, added.double()))


@pytest.mark.parametrize("kind", ["bools", "floats"])
def test_a_mask_of_the_caller_is_dense(kind):
    model = decoder("Llama")
    tokens, _ = tokens_and_padding("none")
    mask = (torch.rand(3, 1, 11, 11) < 0.6) | torch.eye(11, dtype=torch.bool)
    if kind == "floats":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min) + torch.randn(3, 1, 11, 11)
    given = dict(input_ids=tokens, attention_mask=mask)
    with torch.inference_mode():
        expected, found = reference(model)(**given).logits, with_attend(model)(**given).logits
    assert_counts(LAYERS, dense=LAYERS)
    close(found, expected)


def test_a_mask_of_integers_is_refused_by_name():
    q = torch.randn(1, 2, 3, 8)
    with pytest.raises(TypeError, match="attention_mask: is of torch.int64, expected bools"):
        attention_function(torch.nn.Identity().eval(), q, q, q, torch.ones(1, 1, 3, 3, dtype=torch.int64))


def test_a_mask_that_is_learned_has_its_gradient_refused():
    q, bias = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 3, 3, requires_grad=True)
    output, _ = attention_function(torch.nn.Identity().eval(), q, q, q, bias)
    close(output.detach(), plain_attention(q, q, q, bias.detach().double()))
    with pytest.raises(RuntimeError, match="attend::attention_rows"):
        output.sum().backward()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["Llama", "Gemma3", "Mistral"])
def test_packed_sequences(name, batch):
    """Positions that begin anew: each sequence gets what it gets alone."""
    model = decoder(name)
    lengths = [[4, 8, 1, 7], [20], [1, 1, 18]][:batch]
    positions = torch.stack([torch.cat([torch.arange(length) for length in each]) for each in lengths])
    tokens = torch.randint(1, 97, (batch, 20))
    given = dict(input_ids=tokens, position_ids=positions, use_cache=False)
    with torch.inference_mode():
        expected, found = reference(model)(**given).logits, with_attend(model)(**given).logits
        alone = model(tokens[:1, 4:12], use_cache=False).logits
    assert_counts(2 * LAYERS)
    close(found, expected)
    close(found[:1, 4:12], alone)


@pytest.mark.parametrize("padding", ["none", "left", "packed"])
def test_output_attentions(padding):
    model = decoder("Llama")
    tokens, is_token = tokens_and_padding("none" if padding == "packed" else padding)
    given = dict(input_ids=tokens, attention_mask=is_token, output_attentions=True)
    if padding == "packed":
        given.update(attention_mask=None, position_ids=torch.arange(11).remainder(6).expand(3, -1), use_cache=False)
    with torch.inference_mode():
        expected, found = reference(model, "eager")(**given), with_attend(model)(**given)
    assert_counts(LAYERS, dense=LAYERS if padding == "packed" else 0)
    sees = is_token.bool()
    close(found.logits[sees], expected.logits[sees])
    assert len(found.attentions) == LAYERS
    for weights, expected_weights in zip(found.attentions, expected.attentions):
        close(weights.transpose(1, 2)[sees], expected_weights.transpose(1, 2)[sees])


def test_training_is_left_to_pytorch():
    model = decoder("Llama", attention_dropout=0.3).train()
    tokens, is_token = tokens_and_padding("left")
    gradients = []
    for each in (reference(model), with_attend(model)):
        torch.manual_seed(1)
        each(tokens, attention_mask=is_token).logits[is_token.bool()].square().sum().backward()
        gradients.append(each.model.layers[0].self_attn.k_proj.weight.grad)
    assert_counts(0, pytorch={"in training": LAYERS})
    close(gradients[1], gradients[0])


def test_training_of_softcap_and_sinks_is_left_to_the_models_own_function():
    for name in BY_EAGER:
        model = decoder(name).train()
        tokens, is_token = tokens_and_padding("left")
        expected = reference(model, "eager")(tokens, attention_mask=is_token).logits
        calls.clear()
        found = with_attend(model)(tokens, attention_mask=is_token).logits
        assert_counts(0, pytorch={"in training": LAYERS})
        close(found[is_token.bool()], expected[is_token.bool()])


def test_gradients_in_evaluation_are_refused_by_name():
    model = with_attend(decoder("Llama"))
    logits = model(torch.randint(1, 97, (2, 5))).logits
    assert_counts(LAYERS)
    with pytest.raises(RuntimeError, match="attend::attention_rows computes no gradients"):
        logits.sum().backward()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["Llama", "Gemma2"])
def test_other_types_are_left_to_pytorch(kind, name):
    model = decoder(name).to(kind)
    tokens, is_token = tokens_and_padding("left")
    with torch.inference_mode():
        expected = reference_of(model, name)(tokens, attention_mask=is_token).logits
        found = with_attend(model)(tokens, attention_mask=is_token).logits
    assert_counts(0, pytorch={f"of {kind}": LAYERS})
    torch.testing.assert_close(found[is_token.bool()], expected[is_token.bool()], rtol=0, atol=0, equal_nan=True)


def test_autocast_is_left_to_pytorch():
    model = decoder("Llama")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = reference(model)(torch.ones(1, 5, dtype=torch.int64)).logits
        assert torch.equal(with_attend(model)(torch.ones(1, 5, dtype=torch.int64)).logits, expected)
    assert_counts(0, pytorch={"under autocast": LAYERS})


def test_other_devices_are_refused_by_name():
    model = with_attend(decoder("Llama")).to("meta")
    with pytest.raises(ValueError, match="query: is on meta, expected the CPU"):
        model(torch.ones(1, 5, dtype=torch.int64, device="meta"))


def test_heads_too_wide_are_left_to_pytorch():
    q = torch.randn(1, 2, 3, 577)
    output, weights = attention_function(torch.nn.Identity().eval(), q, q, q, None, is_causal=False)
    assert weights is None
    close(output, torch.nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2))
    assert_counts(0, pytorch={"with heads wider than 576": 1})


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, sinks=None, softcap=None):
    """As a model's file has it beside its modules."""
    assert attention_mask.dtype == query.dtype and attention_mask.shape == (3, 3)
    scores = query @ key.transpose(2, 3) * scaling + attention_mask
    return (torch.cat([scores, sinks], -1).softmax(-1)[..., :-1] @ value).transpose(1, 2), None


class OwnAttention(torch.nn.Module):
    """A module of this file."""


def test_sinks_of_each_query_are_left_to_the_models_own_function():
    q, k, v = torch.randn(3, 2, 4, 3, 8).unbind(0)
    sinks = torch.randn(2, 4, 3, 1)
    output, _ = attention_function(OwnAttention().eval(), q, k, v, None, scaling=0.5, sinks=sinks)
    assert_counts(0, pytorch={"with sinks of each query": 1})
    scores = (q @ k.transpose(2, 3) * 0.5).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    close(output, (torch.cat([scores, sinks], -1).softmax(-1)[..., :-1] @ v).transpose(1, 2))
    with pytest.raises(NotImplementedError, match="Identity: has no eager_attention_forward"):
        attention_function(torch.nn.Identity().eval(), q, k, v, None, scaling=0.5, sinks=sinks)


@pytest.mark.parametrize("name,padding", [("Gemma3", "none"), ("Gemma3", "left"), ("Gemma3", "packed"), ("Gemma2", "left"),
                                          ("Mistral", "holes"), ("Mistral", "packed"), ("Qwen2", "left"), ("Llama", "both"),
                                          ("Bert", "right")])
def test_compiled_models(name, padding):
    """Masks are dense in a graph, but those of padding, causal, of windows and of packed sequences are taken as such."""
    options = dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1) if name == "Qwen2" else {}
    model = bert() if name == "Bert" else decoder(name, **options)
    tokens, is_token = tokens_and_padding(padding)
    given = dict(input_ids=tokens, attention_mask=None if padding in ("none", "packed") else is_token)
    if padding == "packed":
        lengths = [4, 6, 1], [11], [1, 1, 9]
        given.update(position_ids=torch.stack([torch.cat([torch.arange(length) for length in each]) for each in lengths]), use_cache=False)
    torch._dynamo.reset()
    with torch.inference_mode():
        expected = reference_of(model, name)(**given).logits
        found = torch.compile(with_attend(model), backend="aot_eager", fullgraph=True)(**given).logits
    assert_counts(LAYERS)
    sees = is_token.bool()
    close(found[sees], expected[sees])


def test_tokens_by_a_compiled_model():
    """One and several after a cache that is longer than the window: masks of one say no more than padding does."""
    model, logits = decoder("Gemma3"), []
    tokens, is_token = tokens_and_padding("left")
    torch._dynamo.reset()
    with torch.inference_mode():
        for each, call in ((reference(model), None), (with_attend(model), dict(backend="aot_eager", fullgraph=True))):
            cache = transformers.DynamicCache(config=model.config)
            each(tokens, attention_mask=is_token, past_key_values=cache)
            calls.clear()
            compute, mask = torch.compile(each, **call) if call else each, is_token
            for count in (1, 7):
                mask = torch.cat([mask, torch.ones(3, count, dtype=torch.int64)], 1)
                logits.append(compute(tokens[:, :count], attention_mask=mask, past_key_values=cache).logits)
    assert_counts(2 * LAYERS)
    for expected, found in zip(logits[:2], logits[2:]):
        close(found, expected)


def rows_of_a_mask(mask, **options):
    """What the operator gives for a mask (B, L, S), which is right; and whether it took the mask as a dense one."""
    (batch, queries, keys), generator = mask.shape, torch.Generator().manual_seed(1)
    q, k = torch.randn(batch, 2, queries, 8, generator=generator), torch.randn(batch, 2, keys, 8, generator=generator)
    calls.clear()
    found, weights = torch.ops.attend.attention_rows(q, k, k, mask=mask[:, None], **options)
    expected, expected_weights = attend.attention(q, k, k, mask=mask[:, None], attention_weights=True,
                                                  additive_mask=options.get("position_bias"))
    close(found, expected.transpose(1, 2))
    if options.get("need_weights"):
        close(weights, expected_weights)
    assert calls.attend == 1
    return calls.dense == 1


def has_options(mask):
    """Whether a mask (B, L, S) is padding, or packed sequences of rows that see the one before, between two distances: all are tried."""
    _, queries, keys = mask.shape
    distances = torch.arange(keys) - torch.arange(queries)[:, None]
    is_token = mask.any(1, keepdim=True)
    numbers = torch.tensor(list(itertools.product((0, 1), repeat=queries))).cumsum(1)
    same = numbers[:, :, None] == numbers[:, None]
    for first in range(1 - queries, keys):
        for last in range(first, keys):
            band = (distances >= first) & (distances <= last)
            if torch.equal(mask, is_token & band):
                return True
            if queries == keys and first <= -1 <= last and all((each == same & band).all((1, 2)).any() for each in mask):
                return True
    return not mask.any()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", ["padding", "causal", "window", "packed"])
def test_elements_of_a_mask_mean_what_their_options_say(kind, seed):
    torch.manual_seed(seed)
    batch, queries, keys = draw(1, 3), draw(1, 5), draw(1, 8)
    keys = queries if kind == "packed" else keys
    distances = torch.arange(keys) - torch.arange(queries)[:, None]
    last = draw(0, 1) * draw(0, 3) if kind == "packed" else draw(-2, max(0, keys - queries))
    mask = distances <= last if kind != "padding" else torch.ones(queries, keys, dtype=torch.bool)
    if kind in ("window", "packed"):
        mask = mask & (distances >= draw(-4, -1 if kind == "packed" else last))
    if kind == "packed":
        sequences = torch.randint(0, 2, (batch, keys)).cumsum(1)
        mask = mask & (sequences[:, :, None] == sequences[:, None])
    else:
        mask = mask & (torch.rand(batch, 1, keys) < (0.7 if seed % 3 else 1.1))
    assert not rows_of_a_mask(mask)
    for _ in range(5):  # one element that is another
        other = mask.clone()
        at = tuple(draw(0, size - 1) for size in mask.shape)
        other[at] = ~other[at]
        assert rows_of_a_mask(other) is not has_options(other)


@pytest.mark.parametrize("kind", ["left padding", "packed"])
def test_a_mask_that_is_almost_a_window_is_dense(kind):
    """All of its elements in turn are another, of which few make a mask that has options, too."""
    places, dense = torch.arange(6), []
    window = (places <= places[:, None]) & (places > places[:, None] - 3)
    shown = places >= 2 if kind == "left padding" else (places < 3) == (places < 3)[:, None]
    mask = torch.stack([window, window & shown])
    assert not rows_of_a_mask(mask)
    for entry, query, key in itertools.product(range(2), range(6), range(6)):
        other = mask.clone()
        other[entry, query, key] = not other[entry, query, key]
        dense.append(rows_of_a_mask(other))
        assert dense[-1] is not has_options(other)
    assert sum(dense) > 0.9 * len(dense)


def test_packed_sequences_whose_weights_are_asked_for_are_dense():
    places = torch.arange(6)
    mask = ((places <= places[:, None]) & ((places < 4) == (places < 4)[:, None]))[None]
    assert not rows_of_a_mask(mask)
    assert rows_of_a_mask(mask, need_weights=True)
    assert rows_of_a_mask(mask, position_bias=torch.randn(1, 2, 6, 6))
    window = ((places <= places[:, None]) & (places > places[:, None] - 3))[None]
    assert not rows_of_a_mask(window, need_weights=True)
    assert not rows_of_a_mask(window, position_bias=torch.randn(1, 2, 6, 6))


@pytest.mark.parametrize("name", ["Qwen3", "Mistral"])
def test_an_exported_model(name):
    model = decoder(name)
    tokens, is_token = tokens_and_padding("left")
    given = dict(attention_mask=is_token, use_cache=False)
    with torch.inference_mode():
        expected = reference(model)(tokens, **given).logits
    with torch.no_grad():
        program = torch.export.export(with_attend(model), (tokens,), given, strict=False)
        calls.clear()
        found = program.module()(tokens, **given).logits
    assert_counts(LAYERS)
    close(found[is_token.bool()], expected[is_token.bool()])


@pytest.mark.filterwarnings("ignore")
def test_a_traced_model():
    """torch.jit.trace keeps the operator, which computes later inputs, too."""
    model, (tokens, is_token), (others, _) = bert(), tokens_and_padding("left"), tokens_and_padding("right")
    with torch.no_grad():
        expected = reference(model)(others, attention_mask=is_token).logits

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, given, shown):
                return self.model(given, attention_mask=shown, return_dict=False)[0]

        with_attend(model)
        traced = torch.jit.trace(Logits().eval(), (tokens, is_token), check_trace=False)
        calls.clear()
        found = traced(others, is_token)
    assert_counts(LAYERS)
    close(found, expected)


def test_fake_tensors():
    with torch._subclasses.FakeTensorMode():
        q = torch.empty(2, 4, 5, 8)
        output, weights = attention_function(torch.nn.Identity().eval(), q, q[:, :2], q[:, :2, :, :6], None, output_attentions=True)
    assert output.shape == (2, 5, 4, 6) and weights.shape == (2, 4, 5, 5)
    assert_counts(0)


def test_defaults_of_pytorch_change_nothing():
    model = with_attend(decoder("Gemma3"))
    tokens, is_token = tokens_and_padding("left")
    with torch.inference_mode():
        expected = model(tokens, attention_mask=is_token).logits
        torch.set_default_dtype(torch.bfloat16)
        try:
            assert torch.equal(model(tokens, attention_mask=is_token).logits, expected)
        finally:
            torch.set_default_dtype(torch.float32)
        q = torch.randn(1, 2, 3, 8)
        reach._confirmed.clear()
        with torch.device("meta"):
            given = mask_function(1, 3, 3, attention_mask=torch.tensor([[0, 1, 1]], device="cpu").bool())
            output, _ = attention_function(torch.nn.Identity().eval(), q, q, q, given)
        assert output.is_cpu and not output[0, 0].any() and output[0, 1:].any()


@pytest.mark.parametrize("name,cache", [("Llama", "static"), ("Gemma3", "static"), ("Gemma3", "dynamic")])
def test_generation_by_a_compiled_forward(name, cache):
    """Masks of static caches are made outside of the graph, and are its arguments."""
    model = decoder(name)
    tokens, is_token = tokens_and_padding("left")
    given = dict(input_ids=tokens, attention_mask=is_token, max_new_tokens=4, do_sample=False, cache_implementation=cache)
    expected = reference(model).generate(**given)
    torch._dynamo.reset()
    with_attend(model).forward = torch.compile(model.forward, backend="aot_eager")
    assert torch.equal(model.generate(**given), expected)
    assert_counts(4 * LAYERS)


def test_keys_and_values_are_read_where_they_are(monkeypatch):
    model, seen = with_attend(decoder("Llama")), []
    compute = attend.transformers.attention.__globals__["_attend_attention"]

    def spy(q, k, v, *arguments, **options):
        seen.append((k.data_ptr(), v.data_ptr(), tuple(k.shape), options.get("mask"), options.get("causal", False),
                     options.get("offset", 0)))
        return compute(q, k, v, *arguments, **options)

    monkeypatch.setitem(attend.transformers.attention.__globals__, "_attend_attention", spy)
    cache = transformers.DynamicCache(config=model.config)
    tokens, is_token = tokens_and_padding("left")
    with torch.inference_mode():
        for start, end, causal, offset in ((0, 6, True, 0), (6, 9, True, 6), (9, 10, False, 0)):
            seen.clear()
            model(tokens[:, start:end], attention_mask=is_token[:, :end], cache=cache)
            expected = [(layer.keys.data_ptr(), layer.values.data_ptr(), (3, 2, end, 16), None, causal, offset) for layer in cache.layers]
            assert seen == expected


def plain_attention(q, k, v, mask):
    return torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), mask, enable_gqa=True).transpose(1, 2)


def draw(low, high):
    return int(torch.randint(low, high + 1, ()))


KNOWN = {
    "causal": lambda: masking_utils.causal_mask_function,
    "bidirectional": lambda: masking_utils.bidirectional_mask_function,
    "sliding": lambda: masking_utils.sliding_window_causal_mask_function(draw(1, 9)),
    "sliding alone": lambda: masking_utils.sliding_window_overlay(draw(1, 9)),
    "sliding both": lambda: masking_utils.sliding_window_bidirectional_mask_function(draw(1, 9)),
    "two": lambda: masking_utils.and_masks(masking_utils.sliding_window_bidirectional_overlay(draw(1, 9)),
                                           masking_utils.sliding_window_causal_mask_function(draw(1, 9))),
}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", KNOWN)
def test_masks_mean_what_their_functions_say(kind, seed):
    """Against the dense mask of transformers, with any offsets and padding."""
    torch.manual_seed(seed)
    B, L, key_offset = draw(1, 3), draw(1, 8), draw(0, 4)
    offset = draw(0, 12)
    S = max(1, offset - key_offset + L + draw(-1, 3))
    padding = None
    if draw(0, 3):
        padding = torch.rand(B, S + key_offset + draw(-1, 2)) < 0.7
        if draw(0, 1):
            places, start = torch.arange(padding.shape[1]), torch.randint(0, S + 2, (B, 1))
            padding = (places >= start) & (places < start + torch.randint(0, S + 2, (B, 1)))
    # As static caches give it, too.
    arguments = dict(batch_size=B, q_length=L, kv_length=S, q_offset=torch.tensor(offset) if seed % 4 == 0 else offset,
                     kv_offset=key_offset, mask_function=KNOWN[kind](), attention_mask=padding)
    given = mask_function(**arguments, allow_is_causal_skip=False)
    expected = masking_utils.sdpa_mask(**arguments, allow_is_causal_skip=False)
    assert isinstance(given, attend.transformers.Mask) and given.shape == expected.shape and given.dtype == torch.bool
    q, k, v = torch.randn(B, 4, L, 8), torch.randn(B, 2, S, 8), torch.randn(B, 2, S, 8)
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, given)
    assert_counts(1)
    close(output, plain_attention(q, k, v, expected))
    assert torch.equal(given.dense(), expected)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", KNOWN)
def test_no_mask_where_transformers_allows_it(kind, seed):
    """None means the same to attend as to sdpa."""
    torch.manual_seed(seed)
    L, offset = draw(1, 4), draw(0, 4)
    S = offset + L + draw(0, 3) * draw(0, 1)
    is_causal = kind not in ("bidirectional", "sliding both", "sliding alone")
    arguments = dict(batch_size=2, q_length=L, kv_length=S, q_offset=offset, mask_function=KNOWN[kind](),
                     attention_mask=torch.ones(2, S, dtype=torch.bool) if draw(0, 1) else None)
    given = mask_function(**arguments, allow_is_causal_skip=is_causal, allow_is_bidirectional_skip=not is_causal)
    dense = masking_utils.sdpa_mask(**arguments, allow_is_causal_skip=False)
    q, k, v = torch.randn(2, 4, L, 8), torch.randn(2, 2, S, 8), torch.randn(2, 2, S, 8)
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, given, is_causal=is_causal)
    assert_counts(1)
    close(output, plain_attention(q, k, v, dense))


def other_functions():
    """Mask functions that attend does not know, or that mean more than a reach."""
    packed = torch.tensor([[0, 1, 1, 0, 2, 2, 2]])
    yield masking_utils.chunked_causal_mask_function(3, torch.tensor([0]))
    yield masking_utils.or_masks(masking_utils.causal_mask_function, masking_utils.bidirectional_mask_function)
    yield masking_utils.and_masks(masking_utils.causal_mask_function, lambda b, h, q, k: k % 2 == q % 2)
    yield lambda b, h, q, k: k <= q
    yield masking_utils.sliding_window_overlay(torch.tensor(3))
    yield masking_utils.packed_sequence_mask_function(packed)  # a sequence goes on after another
    yield masking_utils.and_masks(masking_utils.packed_sequence_mask_function(packed.sort(1).values),
                                  masking_utils.remap_positions_for_packed_sequence(masking_utils.causal_mask_function,
                                                                                    torch.tensor([[0, 2, 4, 6, 8, 10, 12]])))
    yield masking_utils.remap_positions_for_packed_sequence(masking_utils.causal_mask_function, torch.arange(7)[None])
    yield masking_utils.add_offsets_to_mask_function(masking_utils.causal_mask_function, 1, 0)


@pytest.mark.parametrize("function", list(other_functions()))
def test_other_mask_functions_are_dense(function):
    given = mask_function(1, 7, 7, mask_function=function, allow_is_causal_skip=False)
    expected = masking_utils.sdpa_mask(1, 7, 7, mask_function=function, allow_is_causal_skip=False)
    assert type(given) is torch.Tensor and torch.equal(given, expected)
    q, k, v = torch.randn(3, 1, 2, 7, 8)
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, given)
    assert_counts(1, dense=1)
    close(output, plain_attention(q, k, v, expected))


def test_mask_functions_of_the_caller_are_dense():
    config = decoder("Llama").config
    config._attn_implementation = "attend"
    x = torch.zeros(1, 7, 64)
    for option in ("or_mask_function", "and_mask_function"):
        given = masking_utils.create_causal_mask(config, x, None, None, **{option: lambda b, h, q, k: k < 2})
        config._attn_implementation = "sdpa"
        expected = masking_utils.create_causal_mask(config, x, None, None, **{option: lambda b, h, q, k: k < 2})
        config._attn_implementation = "attend"
        assert type(given) is torch.Tensor and torch.equal(given, expected)


def test_a_mask_function_that_means_something_else_by_now_is_not_read():
    """The bounds of windows are asked of the function itself."""
    sliding = masking_utils.sliding_window_overlay(4)
    held = {"sliding_window": 4}
    for bounds, is_right in ((dict(left=3), True), (dict(left=4), False), (dict(left=2), False), (dict(left=3, right=0), False),
                             (dict(right=3), False), ({}, False)):
        reach._confirmed.clear()
        assert (reach._by_distance(lambda width: reach.Reach(**bounds))(sliding, held) is not None) is is_right
    reach._confirmed.clear()


def test_a_mask_that_is_read_or_written_as_a_tensor_is_dense():
    def make():
        return mask_function(2, 5, 7, q_offset=2, allow_is_causal_skip=False)

    q, k, v = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    module, expected = torch.nn.Identity().eval(), torch.ones(5, 7, dtype=torch.bool).tril(2).expand(2, 1, 5, 7)
    given = make()
    assert given.shape == (2, 1, 5, 7) and given.dim() == 4 and given.is_cpu and "causal" in repr(given)
    assert given.contiguous() is given and given.to("cpu", torch.bool) is given and given.options is not None
    assert torch.equal(given[:, :, :, :6], expected[..., :6]) and type(given[:, :, :, :6]) is torch.Tensor
    assert given.options is None and "dense" in repr(given)
    output, _ = attention_function(module, q, k, v, given)
    assert_counts(1, dense=1)
    close(output, plain_attention(q, k, v, expected))

    changed = expected.clone()
    changed[:, :, :, 0] = False
    for write in (lambda mask: mask[:, :, :, 0].fill_(False), lambda mask: mask.__setitem__((..., 0), False), lambda mask: mask.logical_and_(changed)):
        given = make()
        write(given)
        calls.clear()
        output, _ = attention_function(module, q, k, v, given)
        assert_counts(1, dense=1)
        close(output, plain_attention(q, k, v, changed))
    assert torch.equal(torch.where(make(), 0.0, 1.0), torch.where(expected, 0.0, 1.0))
    assert torch.equal(make() & changed, changed) and torch.equal(changed & make(), changed)
    close(torch.nn.functional.scaled_dot_product_attention(q, k, v, make()).transpose(1, 2), plain_attention(q, k, v, expected))


def test_copies_of_a_mask_are_dense():
    given = mask_function(2, 5, 7, q_offset=2, mask_function=masking_utils.sliding_window_causal_mask_function(3))
    expected = masking_utils.sdpa_mask(2, 5, 7, q_offset=2, mask_function=masking_utils.sliding_window_causal_mask_function(3))
    for each in (copy.deepcopy(given), pickle.loads(pickle.dumps(given)), given.clone(), given.detach()):
        assert type(each) is torch.Tensor and torch.equal(each, expected)


def test_a_mask_of_other_sizes_is_dense():
    """As of a batch that is expanded after the mask was made."""
    given = mask_function(1, 5, 5, attention_mask=torch.tensor([[0, 1, 1, 1, 1]]).bool())
    q, k, v = torch.randn(3, 2, 2, 5, 8).unbind(0)
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, given)
    assert_counts(1, dense=1)
    close(output, plain_attention(q, k, v, given.dense()))


def test_learned_queries_serve_a_batch():
    q, k, v = torch.randn(1, 2, 3, 8), torch.randn(4, 2, 5, 8), torch.randn(4, 2, 5, 8)
    output, _ = attention_function(torch.nn.Identity().eval(), q, k, v, None, is_causal=False)
    close(output, plain_attention(q.expand(4, -1, -1, -1), k, v, None))


def test_models_in_threads_are_counted():
    model = with_attend(decoder("Gemma3"))
    tokens, is_token = tokens_and_padding("left")
    with torch.inference_mode():
        expected = model(tokens, attention_mask=is_token).logits
    calls.clear()
    found = []

    def run():
        with torch.inference_mode():
            for _ in range(10):
                found.append(model(tokens, attention_mask=is_token).logits)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40 and all(torch.equal(each, expected) for each in found)
    assert_counts(40 * LAYERS)


def test_counts_say_who_computed():
    calls._add(is_dense=True)
    calls._add_left("in training")
    assert str(calls) == "1 by attend, 1 of them with a dense mask, 1 by PyTorch: in training" and str(calls) in repr(calls)
    calls.clear()
    assert_counts(0)
