"""attend.torch: operators, and models whose attention attend computes; skipped without torch."""
import copy
import gc
import io
import pickle
import subprocess
import sys
import threading

import attend
import pytest

torch = pytest.importorskip("torch")

import attend.torch  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def draw(low, high):
    return int(torch.randint(low, high + 1, ()))


def chance(share=0.5):
    return bool(torch.rand(()) < share)


def random_module(**options):
    heads = draw(1, 6)
    module = nn.MultiheadAttention(heads * draw(1, 12), heads, **options).eval()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return module


def before_and_after(model, call):
    """What a call gives before and after model is replaced, and how often attend computed each of its modules."""
    with torch.no_grad():
        expected = call(model)
        replacement = attend.torch.replace(model)
        found = call(model)
    return expected, found, replacement


@pytest.mark.parametrize("seed", range(120))
def test_arguments_of_forward(seed):
    torch.manual_seed(seed)
    sizes = dict(kdim=draw(1, 30), vdim=draw(1, 30)) if chance(0.3) else {}
    module = random_module(bias=chance(), add_zero_attn=chance(0.3), batch_first=chance(), **sizes)
    batched, B, L, S, H = chance(0.8), draw(1, 4), draw(1, 9), draw(1, 9), module.num_heads
    if not batched:
        B = 1
    is_self = chance(0.4) and not sizes
    if is_self:
        S = L

    def rows(count, width):
        if not batched:
            return torch.randn(count, width)
        return torch.randn(*((B, count) if module.batch_first else (count, B)), width)

    query = rows(L, module.embed_dim)
    key, value = (query, query) if is_self else (rows(S, module.kdim), rows(S, module.vdim))
    options = dict(need_weights=chance(), average_attn_weights=chance())
    if chance():
        lengths = torch.randint(1, S + 1, (B, 1))
        padding = torch.arange(S) >= lengths if chance() else (torch.rand(B, S) < 0.4).index_fill(1, torch.tensor([0]), False)
        kind = draw(0, 2)
        if kind:  # floats, which only hide or also add
            padding = torch.zeros(B, S).masked_fill(padding, -torch.inf) + (torch.randn(B, S) if kind == 2 else 0)
        options["key_padding_mask"] = padding if batched else padding[0]
    kind = draw(0, 4)
    if kind == 1:
        options["attn_mask"] = torch.ones(L, S, dtype=torch.bool).triu(1)
        options["is_causal"] = chance()
    elif kind == 2:
        options["attn_mask"] = torch.zeros(L, S).masked_fill(torch.ones(L, S, dtype=torch.bool).triu(1), -torch.inf)
        options["is_causal"] = chance()
    elif kind > 2:
        shape = (L, S) if chance() else (B * H, L, S)
        options["attn_mask"] = torch.randn(shape) if kind == 3 else (torch.rand(shape) < 0.4)
        if kind == 4:
            options["attn_mask"][..., 0] = False
    (expected, shown), (found, also), replacement = before_and_after(module, lambda module: module(query, key, value, **options))
    if not expected.isnan().any():  # rows that see no key
        close(found, expected)
    assert found.is_contiguous() and (shown is None) == (also is None)
    if shown is not None and not shown.isnan().any():
        close(also, shown)
    assert replacement.calls == {"": 1}


@pytest.mark.parametrize("seed", range(40))
def test_encoders(seed):
    torch.manual_seed(seed)
    heads, first = draw(1, 4), chance(0.7)
    layer = nn.TransformerEncoderLayer(heads * 2 * draw(1, 8), heads, 24, batch_first=first, norm_first=chance(0.3), bias=chance(0.8),
                                       activation="gelu" if chance() else "relu")
    B, L, E, layers = draw(1, 4), draw(2, 9), layer.self_attn.embed_dim, draw(1, 3)
    encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(E) if chance() else None, enable_nested_tensor=chance(0.8)).eval()
    options = {}
    if chance(0.7):
        options["src_key_padding_mask"] = torch.arange(L) >= torch.randint(1, L + 1, (B, 1))
        if chance(0.2):
            options["src_key_padding_mask"] = (torch.rand(B, L) < 0.4).index_fill(1, torch.tensor([0]), False)
    if chance(0.3):
        options["mask"] = torch.ones(L, L, dtype=torch.bool).triu(1)
    x = torch.randn((B, L, E) if first else (L, B, E))
    expected, found, replacement = before_and_after(encoder, lambda encoder: encoder(x, **options))
    close(found, expected)
    assert replacement.calls == {f"layers.{i}.self_attn": 1 for i in range(layers)}
    with torch.no_grad():
        encoder(x, **options)
        assert set(replacement.calls.values()) == {2}
        replacement.restore()
        assert torch.equal(encoder(x, **options), expected)


def test_a_layer_does_not_bypass_attend():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    x = torch.randn(2, 6, 32)
    expected, found, replacement = before_and_after(layer, lambda layer: layer(x))
    close(found, expected)
    assert replacement.calls == {"self_attn": 1}


@pytest.mark.parametrize("first", [False, True])
def test_a_transformer_of_encoder_and_decoder(first):
    torch.manual_seed(3)
    model = nn.Transformer(32, 4, 2, 3, 64, batch_first=first).eval()
    source, target = torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    options = dict(tgt_mask=mask, tgt_is_causal=True, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    if not first:
        source, target = source.transpose(0, 1), target.transpose(0, 1)
    expected, found, replacement = before_and_after(model, lambda model: model(source, target, **options))
    close(found, expected)
    assert len(replacement.swapped) == 8 and set(replacement.calls.values()) == {1} and not replacement.left
    assert "attend computes 8 of 8" in str(replacement)


def test_causal_masks_with_padding_are_taken_as_such():
    torch.manual_seed(5)
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x = torch.randn(2, 6, 32)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    wrong = mask.clone()
    wrong[5, 0] = -torch.inf
    for given in (mask, mask.isinf(), wrong, mask.double()):
        (expected, _), (found, _), replacement = before_and_after(
            module, lambda module: module(x, x, x, attn_mask=given.to(x.dtype) if given.is_floating_point() else given))
        close(found, expected)
        replacement.restore()


def test_what_is_left_and_why():
    class Own(nn.MultiheadAttention):
        pass

    model = nn.ModuleDict({
        "fine": nn.MultiheadAttention(16, 2), "bias_kv": nn.MultiheadAttention(16, 2, add_bias_kv=True),
        "trained": nn.MultiheadAttention(16, 2, dropout=0.25), "of_double": nn.MultiheadAttention(16, 2, dtype=torch.float64),
        "of_bfloat16": nn.MultiheadAttention(16, 2, dtype=torch.bfloat16), "on_meta": nn.MultiheadAttention(16, 2, device="meta"),
        "own": Own(16, 2), "pruned": nn.MultiheadAttention(16, 2), "wide": nn.MultiheadAttention(1200, 2), "other": nn.Linear(3, 3)}).eval()
    model["trained"].train()
    prune.random_unstructured(model["pruned"].out_proj, "weight", 0.5)
    with torch.inference_mode():
        model["inference"] = nn.MultiheadAttention(16, 2).eval()
    classes = {name: type(module) for name, module in model.named_modules()}
    replacement = attend.torch.replace(model)
    assert replacement.swapped == ("fine",)
    whys = {"bias_kv": "add_bias_kv", "trained": "in training .dropout 0.25.", "of_double": "torch.float64", "of_bfloat16": "torch.bfloat16",
            "on_meta": "on meta", "own": "Own", "pruned": "no parameters", "wide": "600 wide", "inference": "inference_mode"}
    assert set(replacement.left) == set(whys)
    for name, why in whys.items():
        with pytest.raises(AssertionError, match=why):
            raise AssertionError(replacement.left[name])
        assert name in str(replacement)
    second = attend.torch.replace(model)
    assert second.left["fine"] == "is attend's already" and not second.swapped
    replacement.restore()
    second.restore()
    assert {name: type(module) for name, module in model.named_modules()} == classes


def attributes(model):
    return {name: (type(module), {key: value for key, value in module.__dict__.items() if not key.startswith("_")})
            for name, module in model.named_modules()}


def test_state_dict_and_restore():
    torch.manual_seed(7)
    model = nn.Transformer(32, 4, 2, 2, 64, batch_first=True).eval()
    source, target = torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    were, parameters, state = attributes(model), list(model.parameters()), copy.deepcopy(model.state_dict())
    with torch.no_grad():
        expected = model(source, target, src_key_padding_mask=padding)
        with attend.torch.replace(model) as replacement:
            assert all(a is b for a, b in zip(model.parameters(), parameters))
            assert list(model.state_dict()) == list(state) and all(torch.equal(model.state_dict()[name], state[name]) for name in state)
            model(source, target)
        replacement.restore()
        assert attributes(model) == were
        assert torch.equal(model(source, target, src_key_padding_mask=padding), expected)


def test_other_weights_are_noticed():
    torch.manual_seed(8)
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    fresh = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x = torch.randn(2, 6, 32)
    state = copy.deepcopy(fresh.state_dict())
    replacement = attend.torch.replace(module)

    def check(expected):
        with torch.no_grad():
            close(module(x, x, x)[0], expected(x, x, x)[0])

    with torch.no_grad():
        module(x, x, x)
    module.load_state_dict(state)
    check(fresh)
    for assign in (True, False):
        with torch.inference_mode(), torch.no_grad():
            module.load_state_dict({name: 2 * value for name, value in state.items()})
            for parameter in fresh.parameters():
                parameter.copy_(2 * state[dict((id(p), n) for n, p in fresh.named_parameters())[id(parameter)]])
        check(fresh)
        module.load_state_dict({name: value.clone() for name, value in state.items()}, assign=assign)
        fresh.load_state_dict(state)
        check(fresh)
    with torch.no_grad():
        module.out_proj.weight.mul_(3)
        fresh.out_proj.weight.mul_(3)
    check(fresh)
    for each in (module, fresh):
        each.in_proj_weight.data.mul_(1.5)
    replacement.refresh()
    check(fresh)
    module.double()
    with torch.no_grad():
        assert module(x.double(), x.double(), x.double())[0].dtype == torch.float64
    module.float()
    check(fresh)
    replacement.restore()
    check(fresh)


def test_training_is_as_before():
    torch.manual_seed(9)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.1), 2).eval()
    before = copy.deepcopy(model)
    x = torch.randn(2, 6, 32)
    replacement = attend.torch.replace(model)
    with torch.no_grad():
        close(model(x), before(x))
    optimizers = [torch.optim.SGD(each.parameters(), 0.1) for each in (model, before)]
    for each, optimizer in zip((model, before), optimizers):
        torch.manual_seed(1)
        each.train()
        each(x).square().sum().backward()
        optimizer.step()
        each.eval()
    counted = replacement.calls
    assert set(counted.values()) == {1}
    with torch.no_grad():
        close(model(x), before(x))
    assert all(replacement.calls[name] == 2 for name in counted)


def test_gradients_are_refused_by_name():
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    attend.torch.replace(module)
    x = torch.randn(2, 6, 32)
    y = module(x, x, x)[0]  # outputs may be asked for without no_grad
    assert y.requires_grad
    with pytest.raises(RuntimeError, match="attend::mha computes no gradients.*restore"):
        y.sum().backward()
    q = torch.randn(1, 2, 3, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="attend::attention computes no gradients"):
        attend.torch.attention(q, q, q).sum().backward()
    for n in range(2):
        with pytest.raises(RuntimeError, match="attend::attention_lse computes no gradients"):
            attend.torch.attention_lse(q, q, q)[n].sum().backward()


def test_nested_tensors_and_autocast_are_left_alone():
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    nested = torch.nested.nested_tensor([torch.randn(3, 32), torch.randn(5, 32)])
    with torch.inference_mode():
        expected = module(nested, nested, nested, need_weights=False)[0]
        replacement = attend.torch.replace(module)
        found = module(nested, nested, nested, need_weights=False)[0]
        assert found.is_nested and torch.equal(found.to_padded_tensor(0), expected.to_padded_tensor(0))
        x = torch.randn(2, 6, 32)
        with torch.autocast("cpu", torch.bfloat16):
            module(x, x, x)
    assert replacement.calls == {"": 0}


def test_errors_are_those_of_the_module():
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x, y = torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    attend.torch.replace(module)
    with torch.no_grad():
        for arguments, options in (((x, y[:, :5], x), {}), ((x, y, y), dict(is_causal=True, need_weights=False)),
                                   ((x, y, y[:1]), {}), ((x, y, y), dict(attn_mask=torch.zeros(5, 5))),
                                   ((x, y, y), dict(key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))),
                                   ((x, y, y), dict(attn_mask=torch.zeros(6, 6, dtype=torch.int64)))):
            with pytest.raises((RuntimeError, AssertionError)) as expected:
                nn.MultiheadAttention.forward(module, *arguments, **options)
            with pytest.raises(type(expected.value)):
                module(*arguments, **options)


def test_copies_and_pickles():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x = torch.randn(2, 6, 32)
    attend.torch.replace(model)
    with torch.no_grad():
        expected = model(x)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            close(other(x), expected)
            assert other.layers[1].self_attn.calls == 1


def test_packed_layers_end_with_their_weights():
    from attend.torch import packed
    gc.collect()
    count = len(packed._all)
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    attend.torch.replace(module)
    x = torch.randn(2, 6, 32)
    with torch.no_grad():
        module(x, x, x)
        other = {name: torch.randn_like(value) for name, value in module.named_parameters()}
        expected = torch.func.functional_call(module, other, (x, x, x))[0]
        assert len(packed._all) == count + 2
        module.load_state_dict(other)
        close(module(x, x, x)[0], expected)
    del module, other
    gc.collect()
    assert len(packed._all) == count


def test_second_replacements_change_nothing():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    were = attributes(model)
    first, second = attend.torch.replace(model), attend.torch.replace(model)
    assert not second.swapped
    first.restore()
    second.restore()
    assert attributes(model) == were


def test_padding_gives_zeros_as_before_whatever_the_layers_are():
    torch.manual_seed(14)
    x, padding = torch.randn(2, 6, 32), torch.arange(6) >= torch.tensor([[6], [3]])
    for case in ("hook", "one layer left", "float mask"):
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2, norm=nn.LayerNorm(32)).eval()
        given = padding
        if case == "hook":
            seen = []
            model.layers[1].register_forward_hook(lambda *_: seen.append(1))
        elif case == "one layer left":
            model.layers[1].self_attn.__class__ = type("Own", (nn.MultiheadAttention,), {})
        else:
            given = torch.zeros(2, 6).masked_fill(padding, -torch.inf)
        expected, found, replacement = before_and_after(model, lambda model: model(x, src_key_padding_mask=given))
        close(found, expected)
        assert set(replacement.calls.values()) == {1} and len(replacement.left) == (case == "one layer left")
        assert case != "hook" or len(seen) == 2


def test_sequences_of_nothing_but_padding():
    torch.manual_seed(4)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x, padding = torch.randn(3, 6, 32), torch.arange(6) >= torch.tensor([[6], [0], [4]])
    expected, found, replacement = before_and_after(model, lambda model: model(x, src_key_padding_mask=padding))
    close(found[[0, 2]], expected[[0, 2]])
    assert not found.isnan().any() and not found[1].any()
    with torch.no_grad():
        assert not model(x, src_key_padding_mask=torch.ones(3, 6, dtype=torch.bool)).isnan().any()


@pytest.mark.parametrize("count", [70, 1100])  # of the latter no mask is kept
def test_causal_masks(count):
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x = torch.randn(1, count, 32)
    mask = nn.Transformer.generate_square_subsequent_mask(count)
    for given in (mask, mask.isinf(), mask.index_fill(1, torch.tensor([7]), 0.25)):
        (expected, _), (found, _), replacement = before_and_after(module, lambda module: module(x, x, x, attn_mask=given, need_weights=False))
        close(found, expected)
        replacement.restore()


def test_threads_at_once():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x = torch.randn(2, 6, 32)
    replacement = attend.torch.replace(model)
    found = []

    def run():
        with torch.inference_mode():
            found.extend(model(x) for _ in range(20))
    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 80 and all(torch.equal(each, found[0]) for each in found) and set(replacement.calls.values()) == {80}


@pytest.mark.parametrize("need_weights", [False, True])
def test_operators_pass_opcheck(need_weights):
    module = nn.MultiheadAttention(16, 2, batch_first=False, kdim=5, vdim=7).eval()
    B, L, S = 2, 3, 4
    weights = [None if each is None else each.detach() for each in (
        module.in_proj_weight, module.q_proj_weight, module.k_proj_weight, module.v_proj_weight, module.in_proj_bias,
        module.out_proj.weight, module.out_proj.bias)]
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for zero in (False, True):
        for average in (False, True):
            torch.library.opcheck(attend.torch.mha, (
                torch.randn(L, B, 16), torch.randn(S, B, 5), torch.randn(S, B, 7), 2, *weights, torch.rand(B, S) < 0.2, None, None, False,
                zero, False, need_weights, average), test_utils=tests)
    q, k = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)
    for operator in (torch.ops.attend.attention.default, torch.ops.attend.attention_lse.default):
        torch.library.opcheck(operator, (q, k, torch.randn(2, 2, 5, 6), torch.tensor([3, 5])), test_utils=tests)


def test_attention_agrees():
    q, k, v = torch.randn(2, 5, 4, 8).transpose(1, 2), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)
    mask = torch.rand(5, 7) < 0.7
    mask[:, 0] = True
    sdpa = nn.functional.scaled_dot_product_attention
    close(attend.torch.attention(q, k, v), sdpa(q, k, v))
    close(torch.ops.attend.attention(q, k, v, mask=mask), sdpa(q, k, v, attn_mask=mask))
    close(torch.ops.attend.attention(q, k, v, causal=True, scale=0.3), sdpa(q, k, v, is_causal=True, scale=0.3))
    close(attend.torch.attention(q, k, v, torch.tensor([3, 7])),
          sdpa(q, k, v, attn_mask=(torch.arange(7) < torch.tensor([[3], [7]]))[:, None, None]))


def attention_of_torch(q, k, v, causal=False, slopes=None, lengths=None):
    """Outputs and lse of q (B, H, L, D), by its definition; the last query sees all keys if causal."""
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(2, 3) / q.shape[3] ** 0.5
    distance = torch.arange(k.shape[2]) - torch.arange(q.shape[2])[:, None] - (k.shape[2] - q.shape[2])
    if slopes is not None:
        scores = scores - slopes[:, None, None] * distance.abs()
    if causal:
        scores = scores.masked_fill(distance > 0, -torch.inf)
    if lengths is not None:
        scores = scores.masked_fill(torch.arange(k.shape[2]) >= lengths[:, None, None, None], -torch.inf)
    return scores.softmax(-1) @ v.repeat_interleave(q.shape[1] // k.shape[1], 1), scores.logsumexp(-1)


class WithBiases(nn.Module):
    """Causal attention with ALiBi, and its lse."""

    def __init__(self, heads):
        super().__init__()
        self.register_buffer("slopes", torch.from_numpy(attend.default_alibi_slopes(heads)))

    def forward(self, q, k, v, lengths):
        return attend.torch.attention_lse(2 * q, k, v, lengths, causal=True, offset=k.shape[2] - q.shape[2], alibi_slopes=self.slopes)


class Packed(nn.Module):
    """flash_attn_varlen_func, causal: q (T, H, D), k and v (U, G, D), and the cumulative lengths of both."""

    def forward(self, q, k, v, query_starts, key_starts):
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
        output = attend.torch.attention(q, k, v, causal=True, offsets=key_starts.diff() - query_starts.diff(), query_starts=query_starts,
                                        key_starts=key_starts)
        return output[0].transpose(0, 1)


def starts_of(*lengths):
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)  # int32, as flash_attn has them


def packed_rows(query_lengths, key_lengths):
    """Arguments of Packed, and what each sequence gives by itself."""
    q, k, v = torch.randn(sum(query_lengths), 4, 8), torch.randn(sum(key_lengths), 2, 8), torch.randn(sum(key_lengths), 2, 8)
    split = zip(q.split(query_lengths), k.split(key_lengths), v.split(key_lengths))
    each = [attention_of_torch(*(rows.transpose(0, 1)[None] for rows in of_one), causal=True)[0][0].transpose(0, 1) for of_one in split]
    return (q, k, v, starts_of(*query_lengths), starts_of(*key_lengths)), torch.cat(each)


def biased_rows(batch, queries, keys):
    """Arguments of WithBiases(4), and what they give."""
    rows = torch.randn(batch, 4, queries, 8), torch.randn(batch, 2, keys, 8), torch.randn(batch, 2, keys, 8)
    lengths = torch.full((batch,), keys)
    lengths[0] -= 1
    slopes = torch.tensor([2.0 ** -2, 2.0 ** -4, 2.0 ** -6, 2.0 ** -8])
    return (*rows, lengths), attention_of_torch(2 * rows[0], *rows[1:], causal=True, slopes=slopes, lengths=lengths)


def test_attention_with_lse_biases_and_packed_sequences():
    torch.manual_seed(13)
    given, expected = biased_rows(2, 5, 7)
    for found, each in zip(WithBiases(4)(*given), expected):
        close(found, each)
    given, expected = packed_rows([3, 1, 4], [5, 1, 4])
    close(Packed()(*given), expected)
    with pytest.raises(ValueError, match="query_starts: cannot go with no key_starts"):
        attend.torch.attention(*torch.randn(3, 1, 2, 4, 8), query_starts=starts_of(4))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_attention_compiles(backend, dynamic):
    torch.manual_seed(14)
    for module, cases in ((WithBiases(4), [biased_rows(2, 5, 7), biased_rows(3, 4, 9)]),
                          (Packed(), [packed_rows([3, 1, 4], [5, 1, 4]), packed_rows([2, 5], [6, 5])])):
        torch._dynamo.reset()
        compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=dynamic)
        for given, expected in cases:
            try:
                found = compiled(*given)
            except Exception as error:
                if backend == "inductor" and "compiler" in str(error).lower():
                    pytest.skip("inductor has no C++ compiler here")
                raise
            for one, each in zip(*((found, expected) if isinstance(expected, tuple) else ((found,), (expected,)))):
                close(one, each)


def test_attention_is_exported():
    torch.manual_seed(15)
    batch, queries, keys = (torch.export.Dim(name, min=2, max=64) for name in ("batch", "queries", "keys"))
    of_keys = {0: batch, 2: keys}
    given, _ = biased_rows(2, 5, 7)
    program = torch.export.export(WithBiases(4), given, dynamic_shapes=({0: batch, 2: queries}, of_keys, of_keys, {0: batch}))
    assert torch.ops.attend.attention_lse.default in [node.target for node in program.graph.nodes]
    given, expected = biased_rows(3, 4, 9)
    for found, each in zip(program.module()(*given), expected):
        close(found, each)
    rows, more = (torch.export.Dim(name, min=2, max=64) for name in ("rows", "more"))
    count = torch.export.Dim("count", min=3, max=64)  # two sequences and more: diff would take a length of 1 as constant
    given, _ = packed_rows([3, 1, 4], [5, 1, 4])
    program = torch.export.export(Packed(), given, dynamic_shapes=({0: rows}, {0: more}, {0: more}, {0: count}, {0: count}))
    assert torch.ops.attend.attention.default in [node.target for node in program.graph.nodes]
    given, expected = packed_rows([2, 5], [6, 5])
    close(program.module()(*given), expected)


def test_export():
    torch.manual_seed(11)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x = torch.randn(2, 6, 32)
    with torch.no_grad():
        expected = model(x)
        attend.torch.replace(model)
        sizes = {0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("tokens", min=2, max=512)}
        program = torch.export.export(model, (x,), dynamic_shapes={"src": sizes})
        called = [node.target for node in program.graph.nodes if node.op == "call_function"]
        assert called.count(torch.ops.attend.mha.default) == 2
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        close(loaded(x), expected)
        other = torch.randn(3, 9, 32)
        close(loaded(other), model(other))
        padding = torch.arange(6) >= torch.tensor([[6], [4]])
        padded = torch.export.export(model, (x,), dict(src_key_padding_mask=padding)).module()
        close(padded(x, src_key_padding_mask=padding)[0], model(x, src_key_padding_mask=padding)[0])
        module = nn.MultiheadAttention(32, 4).eval()
        attend.torch.replace(module)
        masked = torch.export.export(module, (x, x, x), dict(key_padding_mask=torch.rand(6, 2) < 0.1)).module()
        close(masked(x, x, x, key_padding_mask=torch.zeros(6, 2, dtype=torch.bool))[0], module(x, x, x)[0])


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend):
    torch.manual_seed(12)
    model = nn.Transformer(32, 4, 1, 1, 64, batch_first=True).eval()
    source, target = torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    options = dict(tgt_mask=nn.Transformer.generate_square_subsequent_mask(5), tgt_is_causal=True)
    with torch.no_grad():
        expected = model(source, target, memory_key_padding_mask=padding, **options)
    replacement = attend.torch.replace(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    try:
        with torch.no_grad():
            found = compiled(source, target, memory_key_padding_mask=padding, **options)
    except Exception as error:
        if backend == "inductor" and "compiler" in str(error).lower():
            pytest.skip("inductor has no C++ compiler here")
        raise
    close(found, expected)
    assert set(replacement.calls.values()) == {1}
    with torch.no_grad():
        compiled(source, target, memory_key_padding_mask=padding, **options)
        assert set(replacement.calls.values()) == {2}
        model.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
        found = compiled(source, target, memory_key_padding_mask=padding, **options)
        replacement.restore()
        close(found, model(source, target, memory_key_padding_mask=padding, **options))


def test_compiled_gradients_are_refused_by_name():
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    attend.torch.replace(module)
    x = torch.randn(2, 6, 32)
    y = torch.compile(module, backend="aot_eager", fullgraph=True)(x, x, x)[0]
    with pytest.raises(RuntimeError, match="attend::mha computes no gradients"):
        y.sum().backward()


def test_import_attend_alone_does_not_import_torch():
    program = "import sys, attend; assert 'torch' not in sys.modules and 'attend.torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
