"""attend.models: a small model of random weights against numpy in float64 and transformers; all-MiniLM-L6-v2, where it is, against golden
vectors and sentence-transformers."""
import copy
import os
import pickle
import threading

import attend
import numpy as np
import pytest
import small_bert
from reference import close
from sentences import SENTENCES

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
MODEL = os.environ.get("ATTEND_MINILM") or os.path.join(ROOT, "build", "models", "all-MiniLM-L6-v2")
GOLDEN = os.path.join(ROOT, "tests", "golden", "sentences")
needs_model = pytest.mark.skipif(not os.path.exists(os.path.join(MODEL, "config.json")), reason="needs all-MiniLM-L6-v2: make model, or $ATTEND_MINILM")
TEXTS = ["the cat sat on the mat!", "", "a", "cats unhappily, sat", "\u5b57 \U0001f642 caf\u00e9", "zebra", "the cat " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_bert.write(tmp_path_factory.mktemp("small_bert"))


@pytest.fixture(scope="module")
def encoder(folder):
    return attend.models.SentenceEncoder(folder)


def test_tokens(encoder):
    assert encoder.tokenize("The CATS sat unhappily, caf\u00e9 zebra\u5b57") == [
        "[CLS]", "the", "cat", "##s", "sat", "un", "##happi", "##ly", ",", "cafe", "[UNK]", "\u5b57", "[SEP]"]
    assert encoder.token_ids("a Cats!") == [2, 5, 6, 11, 15, 3]
    assert encoder.token_ids("") == [2, 3]
    assert encoder.token_ids("the cat " * 40) == [2] + [9, 6] * 7 + [3]  # 16 in all
    assert encoder.token_ids("a\0cat") == [2, 1, 3] and encoder.tokenize("a\0b\0c") == ["[CLS]", "[UNK]", "[SEP]"]


def test_vectors(encoder):
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), small_bert.WIDTH)
    for text, vector in zip(TEXTS, found):
        close(vector, small_bert.vector(encoder.token_ids(text))[0])
        assert np.array_equal(encoder.encode(text), vector)  # the same bits alone, and in a list
    assert np.array_equal(found[6], encoder.encode("the cat " * 7))  # what is beyond 16 tokens is cut
    assert encoder.encode([]).shape == (0, small_bert.WIDTH)
    assert np.array_equal(encoder.encode(tuple(TEXTS)), found) and np.array_equal(encoder.encode(iter(TEXTS)), found)


def test_outputs(encoder):
    many = TEXTS * 40  # more than a call of the library takes
    expected, table = encoder.encode(many), np.full((400, small_bert.WIDTH), np.nan, np.float32)
    out = table[7:7 + len(many)]
    assert encoder.encode(many, out=out) is out and np.array_equal(out, expected)
    assert np.isnan(table[:7]).all() and np.isnan(table[7 + len(many):]).all()
    assert encoder.encode(TEXTS[3], out=table[0]) is not None and np.array_equal(table[0], expected[3])
    assert encoder.encode([], out=table[:0]).shape == (0, small_bert.WIDTH)
    assert np.array_equal(encoder.encode(TEXTS[3:4], out=table[1:2]), expected[3:4])


def test_tensors_as_outputs(encoder):
    torch = pytest.importorskip("torch")
    out = torch.empty(len(TEXTS), small_bert.WIDTH)
    assert encoder.encode(TEXTS, out=out) is out and np.array_equal(out.numpy(), encoder.encode(TEXTS))


def test_many_texts(encoder):
    many = [" ".join(["the cat sat on a mat"] * (n % 5)) + " c" * (n % 7) for n in range(1000)]
    found = encoder.encode(many)
    for n in (0, 1, 255, 256, 257, 512, 999):
        assert np.array_equal(found[n], encoder.encode(many[n]))


def test_attention_weights(encoder):
    for text in TEXTS:
        for layer, expected in enumerate(small_bert.vector(encoder.token_ids(text))[1]):
            found = encoder.attention_weights(text, layer)
            assert found.shape == (small_bert.HEADS,) + (len(encoder.tokenize(text)),) * 2
            close(found, expected)
    for layer in (-1, small_bert.LAYERS):
        with pytest.raises(IndexError, match=f"^layer: expected 0 to 1, got {layer}"):
            encoder.attention_weights("a", layer)


@pytest.mark.parametrize("threads", [1, 2, attend.ThreadPool(3)])
def test_threads_give_the_same_bits(folder, encoder, threads):
    assert np.array_equal(attend.models.SentenceEncoder(folder, threads=threads).encode(TEXTS * 50), encoder.encode(TEXTS * 50))


def test_many_threads_share_an_encoder(encoder):
    texts = [TEXTS * 20, ["the mat"], ["", "a cat sat"] * 30]
    expected, weights, wrong = [encoder.encode(some) for some in texts], encoder.attention_weights(TEXTS[0], 1), []

    def work(n):
        for _ in range(30):
            if not np.array_equal(encoder.encode(texts[n % 3]), expected[n % 3]) or not np.array_equal(encoder.attention_weights(TEXTS[0], 1), weights):
                wrong.append(n)
    workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_does_not_wait_for_threads_that_it_does_not_have(encoder):
    expected = encoder.encode(TEXTS)
    with encoder._lock:  # as of a thread that is within a call
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(encoder.encode(TEXTS), expected) else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("precision,least", [("bf16", 0.999), ("int8", 0.99), ("int4", 0.7), ("bf16-weights", 0.999), ("fp16-weights", 0.9999),
                                             ("int8-weights", 0.99), ("int4-weights", 0.7)])
def test_precisions(folder, encoder, precision, least):
    try:
        other = attend.models.SentenceEncoder(folder, precision)
    except RuntimeError as error:
        assert str(error).startswith(f"precision {precision}: this CPU or this build has no kernel for it on ")
        return
    found, exact = other.encode(TEXTS), encoder.encode(TEXTS)
    assert not np.array_equal(found, exact) and (found * exact).sum(-1).min() > least
    assert other.precision == precision and repr(precision) in repr(other)


def test_what_it_shows(folder, encoder):
    assert (encoder.path, encoder.precision, encoder.width, encoder.num_layers, encoder.num_heads, encoder.most_tokens) == (folder, "float32", 24, 2, 3, 16)
    assert repr(encoder) == f"attend.models.SentenceEncoder({folder!r}, 'float32')  # 2 layers, 24 wide, 3 heads"
    assert copy.copy(encoder) is encoder and copy.deepcopy(encoder) is encoder
    other = attend.models.SentenceEncoder(os.fsencode(folder), "fp16-weights", threads=2, isa="scalar")
    again = pickle.loads(pickle.dumps(other))
    assert again.path == folder and again.precision == "fp16-weights" and np.array_equal(again.encode(TEXTS), other.encode(TEXTS))


@pytest.mark.parametrize("call,error,message", [
    (lambda encoder: encoder.encode(3), TypeError, "texts: expected a str or a list of str, got int"),
    (lambda encoder: encoder.encode(None), TypeError, "texts: expected a str or a list of str, got NoneType"),
    (lambda encoder: encoder.encode(b"a"), TypeError, "texts: expected a str or a list of str, got bytes"),
    (lambda encoder: encoder.encode(["a", b"a"]), TypeError, r"texts\[1\]: expected a str, got b'a'"),
    (lambda encoder: encoder.encode(["a", None]), TypeError, r"texts\[1\]: expected a str, got None"),
    (lambda encoder: encoder.encode(["a", "the \ud800"]), ValueError, r"texts\[1\]: character 4 is '\\ud800', a lone surrogate"),
    (lambda encoder: encoder.encode("\udfff"), ValueError, r"texts: character 0 is '\\udfff', a lone surrogate"),
    (lambda encoder: encoder.encode(["a"], out=[0.0]), TypeError, "out: expected an array"),
    (lambda encoder: encoder.encode(["a"], out=np.empty((1, small_bert.WIDTH))), TypeError, "out: expected float32"),
    (lambda encoder: encoder.encode(["a"], out=np.empty(small_bert.WIDTH, np.float32)), ValueError, rf"out: expected shape \(1, {small_bert.WIDTH}\), got \({small_bert.WIDTH},\)"),
    (lambda encoder: encoder.encode("a", out=np.empty((1, small_bert.WIDTH), np.float32)), ValueError, rf"out: expected shape \({small_bert.WIDTH},\), got"),
    (lambda encoder: encoder.encode(["a", "b"], out=np.empty((small_bert.WIDTH, 2), np.float32).T), ValueError, "out: its rows do not lie one after the other"),
    (lambda encoder: encoder.encode(["a", "b"], out=np.empty((2, 2 * small_bert.WIDTH), np.float32)[:, :small_bert.WIDTH]), ValueError, "out: its rows"),
    (lambda encoder: encoder.tokenize(["a"]), TypeError, r"text: expected a str, got \['a'\]"),
    (lambda encoder: encoder.attention_weights("a", "0"), TypeError, "layer: expected an int"),
])
def test_what_is_refused(encoder, call, error, message):
    with pytest.raises(error, match="^" + message):
        call(encoder)
    assert encoder.encode("a").shape == (small_bert.WIDTH,)


def test_arguments_that_are_refused(folder):
    for arguments, error, message in [
        (dict(precision="int3"), ValueError, "precision 'int3': there are float32, bfloat16, .*; did you mean 'int8'?"),
        (dict(precision=8), TypeError, "precision: expected a str, got 8"), (dict(isa="mmx"), ValueError, "isa: "),
        (dict(threads=0), ValueError, "threads: expected 1 to 256, got 0"), (dict(threads="2"), TypeError, "threads: expected a count"),
    ]:
        with pytest.raises(error, match="^" + message):
            attend.models.SentenceEncoder(folder, **arguments)
    with pytest.raises(TypeError, match="int"):
        attend.models.SentenceEncoder(3)


def broken(name):
    """What a folder is written with, changed in one place; and the words that name it."""
    tensors, config = small_bert.weights(), dict(small_bert.CONFIG)
    if name == "a missing tensor":
        del tensors["encoder.layer.1.output.dense.bias"]
        return dict(tensors=tensors), "model.safetensors.*encoder.layer.1.output.dense.bias"
    if name == "a shape":
        tensors["encoder.layer.0.intermediate.dense.weight"] = tensors["encoder.layer.0.intermediate.dense.weight"][:, 1:].copy()
        return dict(tensors=tensors), r"intermediate.dense.weight.*\(40, 23\), expected \(40, 24\)"
    if name == "another model":
        return dict(config=dict(config, model_type="llama")), "config.json.*model_type is 'llama', expected bert"
    if name == "heads":
        return dict(config=dict(config, num_attention_heads=5)), "5"
    return dict(tokens=["a", "b"]), "vocab.txt.*UNK"


@pytest.mark.parametrize("name", ["a missing tensor", "a shape", "another model", "heads", "no vocabulary"])
@pytest.mark.parametrize("threads", [1, 2])
def test_folders_of_broken_models(tmp_path, name, threads):
    arguments, message = broken(name)
    with pytest.raises(ValueError, match=message) as caught:
        attend.models.SentenceEncoder(small_bert.write(tmp_path, **arguments), threads=threads)
    assert "\n" not in str(caught.value)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        attend.models.SentenceEncoder(tmp_path / "nowhere")
    folder = small_bert.write(tmp_path)
    for name in ("vocab.txt", "model.safetensors", "config.json"):
        path = tmp_path / name
        whole = path.read_bytes()
        for content in (whole[:len(whole) // 2] if name != "vocab.txt" else b"\xff", b"", None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(ValueError, match=name.replace("vocab.txt", "vocab.txt|tokenizer.json")):
                attend.models.SentenceEncoder(folder)
            path.write_bytes(whole)
    attend.models.SentenceEncoder(folder)


def test_transformers_give_the_same(encoder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    options = {name: value for name, value in small_bert.CONFIG.items() if name != "model_type"}
    model = transformers.BertModel(transformers.BertConfig(**options), add_pooling_layer=False).eval()
    missing = model.load_state_dict({name: torch.from_numpy(array) for name, array in small_bert.weights().items()}, strict=False)
    assert not missing.unexpected_keys and all("position_ids" in name or "token_type_ids" in name for name in missing.missing_keys)
    for text in TEXTS:
        with torch.inference_mode():
            mean = model(torch.tensor([encoder.token_ids(text)])).last_hidden_state[0].mean(0)
        close(encoder.encode(text), mean / mean.norm(), 1e-5)


@needs_model
@pytest.mark.skipif(not os.path.exists(GOLDEN), reason="the golden files are not beside the tests")
def test_golden_sentences():
    with open(os.path.join(GOLDEN, "lines.txt"), encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")[:-1]
    found, expected = attend.models.SentenceEncoder(MODEL, threads=2).encode(lines), np.load(os.path.join(GOLDEN, "vectors.npy"))
    assert len(lines) > 50 and found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


@needs_model
def test_sentence_transformers_give_the_same():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    expected = sentence_transformers.SentenceTransformer(MODEL, device="cpu").encode(SENTENCES)
    found = attend.models.SentenceEncoder(MODEL, threads=2).encode(SENTENCES)
    assert len(SENTENCES) > 50 and np.abs(found - expected).max() < 1e-5
