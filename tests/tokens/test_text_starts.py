"""Artificial spaces: the tokens computed from their sizes are those that the tokenizer reports by offsets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.core.records import TEMPLATE, MaskedTexts, Sample
from premask.masking.segments import masked_texts
from premask.tokens.encode import Encoder
from premask.tokens.placed import Placed
from premask.tokens.text_starts import Before, artificial_space
from premask.tokens.token_bytes import byte_offsets
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

SPACE = "\u2581"


def of_letters(
    normalizer: Any = None, pre_tokenizer: Any = None, tokens: Sequence[AddedToken] = ()
) -> Tokenizer:
    """A small vocabulary like Llama 2's."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *"Helobye,.<s>/"]
    merges = [(SPACE, "H"), (f"{SPACE}H", "e"), ("b", "y"), (SPACE, "by"), (SPACE, SPACE)]
    names = list(dict.fromkeys([*names, *map("".join, merges)]))
    tokenizer = Tokenizer(
        models.BPE({name: i for i, name in enumerate(names)}, merges, byte_fallback=True, unk_token="<unk>")
    )
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken("<s>", normalized=False), AddedToken("</s>", normalized=False)])
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def prepending() -> Any:
    return normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])


def metaspace(scheme: str, *, cut: bool = False) -> Any:
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=cut)


STRIPS = (AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<l>", lstrip=True, normalized=False))
WORD = (AddedToken("bye", single_word=True),)
NORMAL = (AddedToken("ye.", normalized=True),)
MIXED = (*STRIPS, *WORD, *NORMAL)

KINDS: dict[str, tuple[Callable[[], Tokenizer], Before | None]] = {
    "prepend": (lambda: of_letters(prepending()), Before.stretch),
    "prepend_mixed": (lambda: of_letters(prepending(), tokens=MIXED), Before.stretch),
    "prepend_alone": (lambda: of_letters(normalizers.Prepend(SPACE)), Before.stretch),
    "first": (lambda: of_letters(pre_tokenizer=metaspace("first")), Before.first),
    "first_cut": (lambda: of_letters(pre_tokenizer=metaspace("first", cut=True)), Before.first),
    "first_mixed": (lambda: of_letters(pre_tokenizer=metaspace("first"), tokens=MIXED), Before.first),
    "always": (lambda: of_letters(pre_tokenizer=metaspace("always")), Before.always),
    "always_cut": (lambda: of_letters(pre_tokenizer=metaspace("always", cut=True)), Before.always),
    "always_normal": (lambda: of_letters(pre_tokenizer=metaspace("always"), tokens=NORMAL), Before.always),
    "always_strips": (lambda: of_letters(pre_tokenizer=metaspace("always"), tokens=STRIPS), None),
    "always_word": (lambda: of_letters(pre_tokenizer=metaspace("always"), tokens=WORD), None),
    "never": (lambda: of_letters(pre_tokenizer=metaspace("never")), None),
    "spaces": (lambda: of_letters(normalizers.Replace(" ", SPACE)), None),
    "prepend_twice": (
        lambda: of_letters(normalizers.Sequence([normalizers.Prepend(SPACE), prepending()])),
        None,
    ),
    "prepend_and_nfkc": (
        lambda: of_letters(normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.NFKC()])),
        None,
    ),
}
PIECES = (
    "<s>",
    "</s>",
    "<r>",
    "<l>",
    " ",
    "  ",
    "\n",
    SPACE,
    "Hello",
    "bye",
    "bye.",
    "é",
    "中",
    "🙂",
    ",",
    "ﬁ",
)


def masked(texts: Sequence[str]) -> MaskedTexts:
    samples = [Sample(text, (), ((len(text), TEMPLATE),) if text else (), "inference") for text in texts]
    return masked_texts(samples, range(len(samples)))


def spans(encoder: Encoder, texts: Sequence[str]) -> list[list[tuple[int, int, int]]]:
    """The id of each token, and the characters that it covers or cuts."""
    tokens = encoder.as_whole(masked(texts)).tokens
    found, begin = [], 0
    for text, low, high in zip(texts, tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        places = byte_offsets(text) + begin
        first = np.searchsorted(places, tokens.starts[low:high], side="right") - 1
        last = np.searchsorted(places, tokens.ends[low:high], side="left")
        found.append(list(zip(tokens.ids[low:high].tolist(), first.tolist(), last.tolist(), strict=True)))
        begin += len(text.encode())
    return found


class ByOffsets(Encoder):
    """Takes the offsets of the tokenizer for every text."""

    def leaves_bytes(self, text: str) -> bool:  # noqa: ARG002
        return False


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), max_size=5))
def test_sizes_give_what_offsets_give(kind: str, texts: list[str]) -> None:
    backend = _backend(kind)

    assert spans(Encoder(backend), texts) == spans(ByOffsets(backend), texts)


@pytest.mark.parametrize("kind", KINDS)
def test_which_spaces_are_known(kind: str) -> None:
    backend = _backend(kind)
    space = artificial_space(json.loads(backend.to_str()), backend.get_added_tokens_decoder())

    assert (space and space.before) == KINDS[kind][1]


@pytest.mark.parametrize("kind", ["prepend", "first", "first_cut", "always", "always_cut"])
def test_no_offsets_are_needed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts as templates print them have known places; only a text with U+2581 itself has none."""
    asked: list[str] = []
    with_offsets = Encoder._with_offsets

    def noted(self: Encoder, text: str) -> Placed:
        asked.append(text)
        return with_offsets(self, text)

    monkeypatch.setattr(Encoder, "_with_offsets", noted)
    texts = ["<s>Hello</s>", "Hello<s> bye</s>\n", " é</s></s>中", "", "<s>", f"a{SPACE}b"]
    Encoder(_backend(kind)).as_whole(masked(texts))

    assert asked == texts[-1:]


_made: dict[str, Tokenizer] = {}


def _backend(kind: str) -> Tokenizer:
    if kind not in _made:
        _made[kind] = KINDS[kind][0]()
    return _made[kind]
