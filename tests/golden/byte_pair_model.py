"""The tokenizer of a GGUF file as the tokenizers package has it."""
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

CONTROL, USER_DEFINED = 3, 4


def tokenizer_of(fields):
    """By the values of the file's header, of which tokenizer.ggml.pre is smollm or gpt-2."""
    value = lambda key: fields["tokenizer.ggml." + key]
    tokens, types = value("tokens"), value("token_type")
    tokenizer = Tokenizer(BPE({token: n for n, token in enumerate(tokens)}, [tuple(merge.split(" ")) for merge in value("merges")]))
    digits = [Digits(individual_digits=True)] if value("pre") == "smollm" else []
    tokenizer.pre_tokenizer = Sequence(digits + [ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token, of in zip(tokens, types) if of in (CONTROL, USER_DEFINED)])
    return tokenizer
