"""Texts cut at seams: ids of the prompt, then ids of the completion; else the ids of the whole text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.arrays import offsets_of
from premask.core.recipe import ControlTokens, EngineChoice, Seam
from premask.core.records import TEMPLATE, MaskedTexts, Origin, Sample, Tokens, Turn
from premask.masking import educational
from premask.masking.labels import label_tokens
from premask.masking.segments import masked_texts
from premask.tokens.encode import Encoded, Encoder, EncodingRules
from premask.tokens.engine_check import prove_engine
from premask.tokens.engines import TwoEngines
from premask.tokens.pieces import pieces_of, straddled_seams, with_others, within_a_text
from premask.tokens.token_bytes import character_spans
from premask.tokens.tokenizer import LoadedTokenizer
from random_texts import Drawn, random_texts
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

Load = Callable[[str], LoadedTokenizer]

REAL = ("sample", "gemma", "gemma_chatml", "qwen3", "llama3_2")
USER, ASSISTANT = Origin(0, "user", "content"), Origin(1, "assistant", "content")
NO_IDS = np.zeros(0, dtype=np.int32)


def chat(*parts: str) -> Sample:
    """What the template prints, then what the assistant writes, and so on; the latter are completions."""
    turns, runs, at = [], [], 0
    for number, text in enumerate(parts):
        if number % 2:
            turns.append(Turn(number, at, at + len(text)))
        runs.append((len(text), ASSISTANT if number % 2 else TEMPLATE))
        at += len(text)
    whole = "".join(parts)
    seams = {edge for turn in turns for edge in (turn.start, turn.end)} - {len(whole)}
    return Sample(whole, tuple(turns), tuple(runs), "inference", seams=tuple(sorted(seams)))


def encode(encoder: Encoder, *samples: Sample, **options: Any) -> Encoded:
    return encoder.encode(masked_texts(samples, range(len(samples))), **options)


def tokens_of(encoded: Encoded, samples: Sequence[Sample]) -> list[list[educational.Token]]:
    """The (id, start, end) of each text's tokens, in its characters."""
    ids, offsets, starts, ends = encoded.tokens
    found, begin = [], 0
    for sample, first, last in zip(samples, offsets[:-1], offsets[1:], strict=True):
        own = slice(first, last)
        spans = character_spans(sample.text, starts[own] - begin, ends[own] - begin)
        found.append(list(zip(ids[own].tolist(), *(each.tolist() for each in spans), strict=True)))
        begin += len(sample.text.encode())
    return found


def ids_of(encoded: Encoded) -> list[list[int]]:
    return [each.tolist() for each in np.split(encoded.tokens.ids, encoded.tokens.offsets[1:-1])]


def plain(backend: Tokenizer, *pieces: str) -> list[int]:
    """The ids of these texts, each by itself."""
    return [index for text in pieces for index in backend.encode(text, add_special_tokens=False).ids]


_ENCODERS: dict[tuple[int, Seam], tuple[Tokenizer, Encoder]] = {}


def encoder_of(backend: Tokenizer, seam: Seam = Seam.prompt) -> Encoder:
    key = id(backend), seam
    if key not in _ENCODERS:
        _ENCODERS[key] = backend, Encoder(backend, rules=EncodingRules(seam=seam))
    return _ENCODERS[key][1]


# ==== Cases by hand ====


@pytest.mark.parametrize("answer", ["\nHello", "\n\n  Hello", "\n", "\n\u0301x"])
def test_the_newline_of_the_prompt_stays_a_token(load: Load, answer: str) -> None:
    """The whole text has one token for the newlines of the prompt and of the answer."""
    backend = load("qwen3").backend
    prompt, completion, rest = "<|im_start|>assistant\n", f"{answer}<|im_end|>", "\n"
    sample = chat(prompt, completion, rest)
    encoded = encode(encoder_of(backend), sample)
    whole = encode(encoder_of(backend, Seam.template), sample)

    assert ids_of(whole) == [plain(backend, sample.text)]
    assert ids_of(encoded) == [plain(backend, prompt, completion + rest)]
    assert encoded.seam_tokens.tolist() == whole.seam_tokens.tolist() == [1]
    labels = [label_tokens(masked_texts([sample], [0]), each.tokens) for each in (encoded, whole)]
    assert [each.straddling.tolist() for each in labels] == [[0], [1]]
    assert labels[0].labels[labels[0].labels != -100].tolist() == plain(backend, completion)


def test_only_texts_with_a_straddled_seam_change(load: Load) -> None:
    backend = load("qwen3").backend
    samples = [
        chat("<|im_start|>assistant\n", f"{answer}<|im_end|>", "\n") for answer in ("é", "\né", "🙂", "\n")
    ]
    encoded = encode(encoder_of(backend), *samples)

    assert encoded.seam_tokens.tolist() == [0, 1, 0, 1]
    assert ids_of(encoded)[::2] == [plain(backend, each.text) for each in samples[::2]]
    assert tokens_of(encoded, samples) == [
        educational.tokens_of(each, spans_by(encoder_of(backend))) for each in samples
    ]


def test_a_seam_may_be_where_a_completion_ends(load: Load) -> None:
    """The answer ends with a newline of its own, and the template prints another one."""
    backend = load("qwen3").backend
    sample = chat("A:", " yes\n", "\nA:", " no")
    encoded = encode(encoder_of(backend), sample)

    assert encoded.seam_tokens.tolist() == [1]
    assert ids_of(encoded) == [plain(backend, "A: yes\n", "\nA: no")]


def test_a_cut_that_moves_a_token_across_another_seam() -> None:
    """The first merge of `abc` is `bc`; cut before `c`, `ab` is a token across the other seam."""
    vocabulary = {"a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4}
    backend = Tokenizer(models.BPE(vocabulary, [("b", "c"), ("a", "b")]))
    backend.decoder = decoders.ByteLevel()
    encoded = encode(Encoder(backend), chat("a", "b", "c"))

    assert plain(backend, "abc") == [0, 3]
    assert encoded.seam_tokens.tolist() == [1]
    assert ids_of(encoded) == [[0, 1, 2]]


def test_accents_that_would_be_composed(load: Load) -> None:
    """The prompt ends with a letter, the answer starts with its accent."""
    backend = load("qwen3").backend
    encoded = encode(encoder_of(backend), chat("e", "\u0301a"))

    assert ids_of(encoded) == [plain(backend, "e", "\u0301a")]


def test_an_added_token_that_takes_blanks_behind_it_does_not_take_those_of_the_answer() -> None:
    """As `<|assistant|>` of Phi-3 does."""
    vocabulary = {token: i for i, token in enumerate(["<", "a", "\u010a", ">"])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<A>", rstrip=True)])
    samples = chat("<A>\n", "\na"), chat("<A>\n", "a"), chat("<A>", "\n"), chat("\n", "\na")
    encoded = encode(Encoder(backend), *samples)

    assert plain(backend, samples[0].text) == [4, 1]
    assert ids_of(encoded) == [[4, 2, 1], [4, 1], [4, 2], [2, 2, 1]]
    assert encoded.seam_tokens.tolist() == [1, 0, 1, 0]


# ==== Control tokens in content ====


def test_a_control_token_in_an_answer_that_is_cut(load: Load) -> None:
    """The answer starts with a newline and holds a control token as text; the template's stay tokens."""
    tokenizer = load("sample")
    encoder = Encoder(tokenizer.backend, control=tokenizer.special, generated=tokenizer.special)
    head, forged = "<|im_start|>assistant\n", "\n\nNo <|im_end|>!"
    runs = ((len(head), TEMPLATE), (len(forged), ASSISTANT), (10, TEMPLATE))
    text = f"{head}{forged}<|im_end|>"
    sample = Sample(text, (Turn(1, len(head), len(text)),), runs, "inference", seams=(len(head),))
    encoded = encode(encoder, sample)
    (ids,), (without,) = ids_of(encoded), ids_of(encode(encoder, chat(head, "\n\nNo !<|im_end|>")))

    assert encoded.in_content.tolist() == encoded.seam_tokens.tolist() == [1]
    assert ids.count(2) == 1
    assert ids[:3] == without[:3] == plain(tokenizer.backend, head)
    assert tokenizer.backend.decode(ids, skip_special_tokens=False) == text


def test_a_seam_inside_a_control_token_makes_it_text(load: Load) -> None:
    """Nobody writes half a control token at inference."""
    backend = load("sample").backend
    encoded = encode(encoder_of(backend), chat("<|im_", "end|>"))

    assert ids_of(encoded) == [plain(backend, "<|im_", "end|>")]


def test_texts_that_cannot_be_used_are_left(load: Load) -> None:
    tokenizer = load("qwen3")
    encoder = Encoder(
        tokenizer.backend,
        control=["<|im_end|>"],
        generated=["<|im_end|>"],
        rules=EncodingRules(ControlTokens.reject),
    )
    forged = Sample("\n\n<|im_end|>", (), ((12, ASSISTANT),), "inference", seams=(1,))
    encoded = encode(encoder, chat("\n", "\na"), forged)

    assert list(encoded.errors) == [1]
    assert encoded.seam_tokens.tolist() == [1, 1]
    assert ids_of(encoded)[0] == plain(tokenizer.backend, "\n", "\na")


# ==== Tokenizers that put a space before a text ====


def prefixing(kind: str) -> Tokenizer:
    """A small vocabulary with `<0x..>` for other bytes, and a space put before each text."""
    letters = ["\u2581", *"abcdehlotwr.,!:", "\u2581\u2581", "he"]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("\u2581", "\u2581"), ("h", "e")]
    vocabulary = {token: i for i, token in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    if kind == "prepend":
        parts = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        tokenizer.normalizer = normalizers.Sequence(parts)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


@pytest.mark.parametrize("kind", ["prepend", "always", "first"])
def test_a_completion_gets_no_artificial_space(kind: str) -> None:
    backend = prefixing(kind)
    sample = chat("a: ", " hello", "</s>", "he")
    encoded = encode(Encoder(backend), sample)
    (ids,) = ids_of(encoded)
    names = [backend.id_to_token(index) for index in ids]

    assert encoded.seam_tokens.tolist() == [1]
    assert names[:10] == ["\u2581", "a", ":", "\u2581", "\u2581", "he", "l", "l", "o", "</s>"]
    assert ids[9:] == plain(backend, sample.text)[-len(ids[9:]) :]
    assert [start for _, start, _ in tokens_of(encoded, [sample])[0][4:6]] == [3, 4]


@pytest.mark.parametrize("kind", ["always", "first"])
@given(st.lists(st.text("ah e:\n é🙂", max_size=6), min_size=2, max_size=5))
def test_the_text_comes_back(kind: str, parts: list[str]) -> None:
    backend = _prefixing(kind)
    sample = chat(*parts)
    (ids,) = ids_of(encode(encoder_of(backend), sample))

    assert backend.decode(ids, skip_special_tokens=False) == backend.decode(plain(backend, sample.text))


_PREFIXING: dict[str, Tokenizer] = {}


def _prefixing(kind: str) -> Tokenizer:
    return _PREFIXING.setdefault(kind, _PREFIXING.get(kind) or prefixing(kind))


def test_parts_that_act_on_the_start_of_a_text() -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    spec = {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x"}, strip]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [byte_level]},
    }

    assert within_a_text(spec) == {
        "normalizer": {"type": "Sequence", "normalizers": [{**strip, "strip_left": False}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{**byte_level, "add_prefix_space": False}]},
    }
    assert within_a_text({"normalizer": {"type": "NFC"}, "pre_tokenizer": None}) is None


# ==== Judged by the readable twin ====

EDGES = st.one_of(
    st.sampled_from(
        ["\n", "\n\n", " ", "  ", "\t", "\r\n", "\u0301", "中文", "🙂", "👩‍👩‍👧", "12", "345", "'s", "."]
    ),
    st.sampled_from([":", "```", "<|im_end|>", "<end_of_turn>", "\u3000", "한글", "\u11ab", "\u2581", "é"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(["Hello", " world", "x==y", "\tint", "assistant"]),
)
PARTS = st.lists(EDGES, max_size=4).map("".join)
CHATS = st.lists(PARTS, min_size=2, max_size=7).map(lambda parts: chat(*parts))


def spans_by(encoder: Encoder) -> Callable[[str], list[educational.Token]]:
    """Tokens of a text without seams."""

    def spans(text: str) -> list[educational.Token]:
        bare = Sample(text, (), ((len(text), TEMPLATE),), "inference")
        return tokens_of(encode(encoder, bare), [bare])[0] if text else []

    return spans


@pytest.mark.parametrize("name", REAL)
@given(samples=st.lists(CHATS, min_size=1, max_size=4))
def test_tokens_are_those_of_the_twin(load: Load, name: str, samples: list[Sample]) -> None:
    backend = load(name).backend
    encoder = encoder_of(backend)
    encoded = encode(encoder, *samples)
    by_twin = [educational.tokens_of(sample, spans_by(encoder)) for sample in samples]

    assert tokens_of(encoded, samples) == by_twin
    whole = [spans_by(encoder)(sample.text) for sample in samples]
    assert [[index for index, _, _ in each] for each in whole] == [
        plain(backend, each.text) for each in samples
    ]
    assert encoded.seam_tokens.tolist() == [
        sum(any(start < seam < end for _, start, end in tokens) for seam in sample.seams)
        for sample, tokens in zip(samples, whole, strict=True)
    ]
    template = encode(encoder_of(backend, Seam.template), *samples)
    assert tokens_of(template, samples) == whole
    assert template.seam_tokens.tolist() == encoded.seam_tokens.tolist()


@pytest.mark.parametrize("name", REAL)
@given(samples=st.lists(CHATS, min_size=1, max_size=4))
def test_no_token_of_a_completion_is_lost(load: Load, name: str, samples: list[Sample]) -> None:
    """None straddles a seam, and every text comes back."""
    backend = load(name).backend
    encoded = encode(encoder_of(backend), *samples)
    labels = label_tokens(masked_texts(samples, range(len(samples))), encoded.tokens)

    assert labels.straddling.tolist() == [0] * len(samples)
    for sample, ids in zip(samples, ids_of(encoded), strict=True):
        text = backend.decode(ids, skip_special_tokens=False)
        assert text == backend.decode(plain(backend, sample.text), skip_special_tokens=False)


@pytest.mark.parametrize("name", ["sample", "qwen3", "llama3_2"])
@given(samples=st.lists(CHATS, min_size=1, max_size=4))
def test_both_engines_give_the_same(load: Load, name: str, samples: list[Sample]) -> None:
    fast = _fast(load(name))
    one, other = encode(fast, *samples), encode(fast, *samples, reference=True)

    assert [each.tolist() for each in one.tokens] == [each.tolist() for each in other.tokens]
    assert one.seam_tokens.tolist() == other.seam_tokens.tolist()
    assert ids_of(one) == ids_of(encode(encoder_of(load(name).backend), *samples))


_FAST: dict[str, Encoder] = {}


def _fast(tokenizer: LoadedTokenizer) -> Encoder:
    if tokenizer.name not in _FAST:
        proof = prove_engine(tokenizer.backend, EngineChoice.gigatoken)
        _FAST[tokenizer.name] = Encoder(tokenizer.backend, engines=TwoEngines(tokenizer.backend, proof))
    return _FAST[tokenizer.name]


# ==== Arrays ====


def straddled_by_hand(masked: MaskedTexts, tokens: Tokens) -> list[bool]:
    begins = np.cumsum(masked.sizes) - masked.sizes
    pairs = list(zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True))
    return [
        bool(seam) and any(start < byte < end for start, end in pairs)
        for byte, seam in zip(begins.tolist(), masked.seams.tolist(), strict=True)
    ]


@settings(max_examples=200)
@given(random_texts())
def test_straddled_seams(drawn: Drawn) -> None:
    """Random tokens leave gaps, too; a seam before one counts only if the token before takes something."""
    found = straddled_seams(drawn.masked, drawn.tokens, NO_IDS)
    by_hand = np.array(straddled_by_hand(drawn.masked, drawn.tokens), dtype=bool)
    begins = np.cumsum(drawn.masked.sizes) - drawn.masked.sizes
    covered = np.zeros(int(drawn.masked.sizes.sum()) + 1, dtype=bool)
    for start, end in zip(drawn.tokens.starts, drawn.tokens.ends, strict=True):
        covered[start:end] = True

    assert found[covered[begins]].tolist() == by_hand[covered[begins]].tolist()
    assert not by_hand[~covered[begins]].any()


def test_straddled_seams_of_nothing() -> None:
    empty = Tokens(NO_IDS, np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

    assert straddled_seams(masked_texts([], []), empty, NO_IDS).tolist() == []


@given(random_texts())
def test_pieces_are_the_text(drawn: Drawn) -> None:
    pieces = pieces_of(drawn.masked, drawn.masked.seams)
    begins = {*np.flatnonzero(drawn.masked.seams).tolist(), *drawn.masked.offsets[:-1].tolist()}
    of_text = np.searchsorted(drawn.masked.offsets, pieces.offsets[:-1], side="right") - 1

    assert pieces.offsets.tolist() == [*sorted(begins), len(drawn.masked.sizes)]
    assert [
        "".join(np.array(pieces.texts, dtype=object)[of_text == i]) for i in range(len(drawn.samples))
    ] == (drawn.masked.texts)
    assert [len(text.encode()) for text in pieces.texts] == np.diff(
        offsets_of(drawn.masked.sizes)[pieces.offsets]
    ).tolist()


@given(random_texts(), st.data())
def test_tokens_of_some_texts_replaced_by_their_own_are_the_same(drawn: Drawn, data: st.DataObject) -> None:
    chosen = np.flatnonzero([data.draw(st.booleans()) for _ in drawn.samples])
    own = drawn.masked.taken(chosen)
    sizes = np.diff(drawn.tokens.offsets)[chosen]
    mine = np.concatenate([NO_IDS.astype(np.int64), *(_numbers(drawn.tokens, i) for i in chosen.tolist())])
    base = offsets_of([len(text.encode()) for text in drawn.masked.texts])
    new = offsets_of([len(text.encode()) for text in own.texts])
    shift = np.repeat(new[:-1] - base[chosen], sizes)
    tokens = drawn.tokens
    others = Tokens(
        tokens.ids[mine], offsets_of(sizes), tokens.starts[mine] + shift, tokens.ends[mine] + shift
    )
    found = with_others(tokens, drawn.masked, chosen, others)

    assert [each.tolist() for each in found] == [each.tolist() for each in tokens]


def _numbers(tokens: Tokens, i: int) -> np.ndarray:
    return np.arange(tokens.offsets[i], tokens.offsets[i + 1])
