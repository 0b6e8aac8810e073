"""Small tokenizers of the families that chat models have: the real parts, with a vocabulary of our own.

    for name, make in FAMILIES.items():
        tokenizer = make()          a tokenizers.Tokenizer, trained on the bundled sample

What decides whether the fast engine can be used are the parts (model, normalizer, regexes, added tokens), and
these are those of the models; the vocabularies are trained here, because others are not ours to ship.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from common import SAMPLE
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SIZE = 4000
SPACE = "\u2581"
UNKNOWN = "[UNK]"
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace(CONTRACTIONS, "").replace("{1,3}", "")
WORDS = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK_V3 = (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", WORDS)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


@cache
def texts() -> list[str]:
    """Return the contents of the bundled sample."""
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    return [each for line in lines for each in _strings(_parsed(line)) if len(each) > 40]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # the sample has some broken rows, on purpose
        return None


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for part in inner for each in _strings(part)]


# ==== Kinds ====


def byte_level(
    *cuts: Any, normalizer: Any = None, lacking: str = "", added: tuple[AddedToken, ...] = (), **options: Any
) -> Tokenizer:
    """Return a byte-level BPE tokenizer; the last cut must turn text into bytes."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(cuts)) if len(cuts) > 1 else cuts[0]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [name for name in pre_tokenizers.ByteLevel.alphabet() if name not in lacking]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        initial_alphabet=alphabet,
        show_progress=False,
        special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer


def regexes(*patterns: str, invert: bool = False) -> list[Any]:
    """Return a cut by each regex, and one into bytes."""
    behavior = "removed" if invert else "isolated"
    splits = [pre_tokenizers.Split(Regex(each), behavior, invert=invert) for each in patterns]
    return [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def numbers(individual: bool = True) -> Any:  # noqa: FBT001, FBT002
    """Return the cut around numbers."""
    return pre_tokenizers.Digits(individual_digits=individual)


def gpt2() -> Any:
    """Return the cut by the regex of GPT-2, into bytes."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def sentence_pieces(
    model: Any, normalizer: Any = None, pre_tokenizer: Any = None, added: tuple[AddedToken, ...] = ()
) -> Tokenizer:
    """Return a tokenizer of pieces with U+2581 for a space, as SentencePiece has them."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = {models.BPE: trainers.BpeTrainer, models.Unigram: trainers.UnigramTrainer}
    options = {"unk_token": "<unk>"} if isinstance(model, models.Unigram) else {}
    trainer = kinds[type(model)](vocab_size=SIZE, special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator(texts(), trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]
    if isinstance(model, models.BPE):
        spec["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    spec["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_tokens(list(added))
    return tokenizer


def bpe_pieces(*parts: Any, **options: Any) -> Tokenizer:
    """Return such a tokenizer with BPE and byte fallback."""
    return sentence_pieces(models.BPE(), *parts, **options)


def unigram(*parts: Any, **options: Any) -> Tokenizer:
    """Return such a tokenizer with a Unigram model."""
    return sentence_pieces(models.Unigram(), *parts, **options)


def word_pieces() -> Tokenizer:
    """Return a tokenizer like that of BERT."""
    tokenizer = Tokenizer(models.WordPiece({UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=[UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def spaces(*before: Any) -> Any:
    """Return the normalizer that writes spaces as U+2581."""
    marks = normalizers.Replace(" ", SPACE)
    return normalizers.Sequence([*before, marks]) if before else marks


def metaspace(scheme: str) -> Any:
    """Return the pre-tokenizer that writes spaces as U+2581 and puts one before the text."""
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)


PHI_3 = tuple(
    AddedToken(f"<|{name}|>", rstrip=True, normalized=False) for name in ("user", "assistant", "end")
)
FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "GPT-2": lambda: byte_level(gpt2()),
    "GPT-NeoX, OLMo": lambda: byte_level(gpt2(), normalizer=normalizers.NFC()),
    "cl100k (GPT-4)": lambda: byte_level(*regexes(CL100K, invert=True)),
    "o200k (GPT-4o)": lambda: byte_level(*regexes(O200K, invert=True)),
    "o200k (gpt-oss)": lambda: byte_level(*regexes(O200K), ignore_merges=True),
    "Llama 3": lambda: byte_level(*regexes(CL100K), ignore_merges=True),
    "Qwen 2, Qwen 3": lambda: byte_level(*regexes(QWEN), normalizer=normalizers.NFC()),
    "Mistral, tekken": lambda: byte_level(*regexes(TEKKEN), ignore_merges=True),
    "DeepSeek-V3": lambda: byte_level(*regexes(*DEEPSEEK_V3), normalizer=normalizers.Sequence([])),
    "SmolLM2, StarCoder 2": lambda: byte_level(numbers(), gpt2(), lacking="\u0104\u0106\xf1\xf2"),
    "Command R": lambda: byte_level(numbers(), gpt2(), normalizer=normalizers.NFC()),
    "Llama 2, the file": lambda: bpe_pieces(spaces(normalizers.Prepend(SPACE))),
    "Llama 2, its class": lambda: bpe_pieces(None, metaspace("always")),
    "Mistral, SentencePiece": lambda: bpe_pieces(None, metaspace("first")),
    "Phi-3": lambda: bpe_pieces(spaces(normalizers.Prepend(SPACE)), added=PHI_3),
    "Gemma": lambda: bpe_pieces(spaces(), pre_tokenizers.Split(" ", "merged_with_previous")),
    "DeepSeek-LLM, -Coder": lambda: byte_level(
        pre_tokenizers.Split(Regex("[\r\n]"), "isolated"),
        pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
        numbers(),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ),
    "BLOOM": lambda: byte_level(*regexes(BLOOM)),
    "Falcon": lambda: byte_level(
        pre_tokenizers.Punctuation("contiguous"),
        gpt2(),
        numbers(individual=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ),
    "Unigram, T5 and XLM-R": lambda: unigram(
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]),
        pre_tokenizers.Metaspace(),
    ),
    "Unigram, llm-jp": partial(unigram, None, pre_tokenizers.Metaspace()),
    "WordPiece, BERT": word_pieces,
}
