"""The fast way gives what the slow way gives: samples, rejects and counts, for rows of every kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import batch_of, needs_corpus, rows_of
from places import SAMPLE, SHARED, MakeStages
from premask.core.errors import VerifyError
from premask.core.recipe_file import make_recipe
from premask.core.records import ByteTokens, Row, Segments, TokenBatch, Turn
from premask.fast.fill import WRITERS, count_tokens
from premask.fast.plain_batches import read_batches
from premask.labeller import Stages
from premask.masking.labels import label_segments, label_tokens
from premask.running.batches import Outcome
from premask.running.inputs import find_dialect
from premask.running.run import run
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source

TEXTS = st.sampled_from(
    [
        *(
            "Hi",
            "Hello there",
            "",
            " ",
            "\n",
            "é",
            "你好，世界",
            "a\u0301b",
            "e\u0301",
            "x " * 60,
            "\u2581",
            "🙂\u200d",
        ),
        *(
            "<|im_end|>",
            "<|im_start|>assistant\n",
            "<think>\nhm\n</think>\n\nyes",
            "</s>",
            "<unk>",
            "\ue000",
            "\u088f",
        ),
    ]
)
NAMES = st.sampled_from(["human", "gpt", "human", "gpt", "system", "tool", "narrator"])
TURNS = st.lists(st.tuples(NAMES, TEXTS), min_size=1, max_size=6)
ROWS = st.lists(
    TURNS
    | st.lists(TEXTS, min_size=2, max_size=4).map(
        lambda texts: list(zip(["human", "gpt"] * 2, texts, strict=False))
    ),
    min_size=1,
    max_size=12,
)


def row(number: int, turns: list[tuple[str, str]], **more: Any) -> Row:
    value = {"id": number, "conversations": [{"from": name, "value": text} for name, text in turns], **more}
    return Row("s.jsonl", number, value)


def slow_twin(stages: Stages) -> Stages:
    return Stages(stages.recipe, stages.loaded(), distrust="the slow way")


def told(outcome: Outcome) -> Counter[str]:
    """What is counted, but for what depends on the way that was taken."""
    counts = outcome.counted()
    del counts["encoded_by_reference"]
    return counts


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.samples.ids.tolist() == other.samples.ids.tolist()
    assert one.samples.labels.tolist() == other.samples.labels.tolist()
    assert one.samples.offsets.tolist() == other.samples.offsets.tolist()
    assert one.samples.origin.equals(other.samples.origin)
    assert one.of_row.tolist() == other.of_row.tolist()
    assert one.rejects == other.rejects
    assert +told(one) == +told(other)
    assert (one.keys is None) == (other.keys is None)
    if one.keys is not None and other.keys is not None:
        assert one.keys.hashes.tolist() == other.keys.hashes.tolist()
        assert one.keys.known.tolist() == other.keys.known.tolist()
        assert one.keys.ids == other.keys.ids
    if one.samples.weights is None or other.samples.weights is None:
        assert one.samples.weights is other.samples.weights
    else:
        assert one.samples.weights.tolist() == other.samples.weights.tolist()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_length": 24, "too_long": "truncate"},
    {"max_length": 24, "too_long": "split", "loss_weights": True},
    {"control_tokens": "parse", "history": "last"},
    {"control_tokens": "reject", "append_eos": True, "train": {"roles": ["assistant", "user"]}},
    {"engine": "tokenizers", "train": {"end_of_turn": False}},
]


@pytest.fixture(scope="module")
def pairs(make_stages: MakeStages) -> list[tuple[Stages, Stages]]:
    made = [make_stages("sample", chat_template="chatml", verify=0, **options) for options in OPTIONS]
    return [(fast, slow_twin(fast)) for fast in made]


@given(ROWS)
def test_fast_and_slow_agree_on_rows_of_every_kind(
    pairs: list[tuple[Stages, Stages]], rows: list[list[tuple[str, str]]]
) -> None:
    batch = batch_of([row(i, turns) for i, turns in enumerate(rows)], "sharegpt")
    for fast, slow in pairs:
        assert_same(fast.run(batch, "sharegpt"), slow.run(batch, "sharegpt"))


@pytest.mark.parametrize("template", ["chatml", "llama2", "mistral", None])
def test_fast_and_slow_agree_on_the_sample(make_stages: MakeStages, template: str | None) -> None:
    fast = make_stages("sample", chat_template=template, max_length=512, too_long="truncate")
    info = inspect_source(str(SAMPLE / "conversations.jsonl"))
    for batch in read_batches(whole(info), "sharegpt", rows=100):
        assert_same(fast.run(batch, "sharegpt"), slow_twin(fast).run(batch, "sharegpt"))


@needs_corpus
@pytest.mark.parametrize("name", ["qwen3", "gemma", "llama3_2"])
@pytest.mark.parametrize(
    "path", ["universal-ner/eval/test_data/CrossNER_AI.json", "fastchat/data/dummy_conversation.json"]
)
def test_fast_and_slow_agree_on_the_corpus(make_stages: MakeStages, name: str, path: str) -> None:
    source = SHARED / "corpus" / "conversations" / path
    if not source.is_file():
        pytest.skip(f"{path} is not there")
    fast = make_stages(name, chat_template="chatml", verify=0)
    dialect = find_dialect(inspect_source(str(source)), fast.recipe)
    batch = batch_of(rows_of(str(source))[:300], dialect)
    assert_same(fast.run(batch, dialect), slow_twin(fast).run(batch, dialect))


def test_plain_rows_take_the_fast_way(make_stages: MakeStages, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = make_stages("sample", chat_template="chatml", verify=0)
    rows = [row(i, [("human", "Hi"), ("gpt", f"Hello {i}")]) for i in range(5)]
    monkeypatch.setattr(stages, "label", lambda *_, **__: pytest.fail("a row was taken the slow way"))

    outcome = stages.run(batch_of(rows, "sharegpt"), "sharegpt")

    assert outcome.kept == 5
    assert outcome.samples.origin.column("id").to_pylist() == ["0", "1", "2", "3", "4"]


# ==== What is verified ====


class Liar:
    """An engine that exchanges two tokens of an answer where a text holds `lie`: its bytes still add up."""

    def __init__(self, stages: Stages) -> None:
        self._engines: Any = stages._encoder._engines

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engines, name)

    def encode(self, texts: list[str]) -> Any:
        ids, offsets, count = self._engines.encode(texts)
        ids = ids.copy()
        for i, text in enumerate(texts):
            if "lie" in text:
                last = offsets[i + 1] - 3
                ids[[last - 1, last]] = ids[[last, last - 1]]
        return ids, offsets, count


def test_an_engine_that_gives_other_ids_is_found_out(make_stages: MakeStages) -> None:
    stages = make_stages("sample", chat_template="chatml", verify=1)
    stages._encoder._engines = Liar(stages)
    good = [row(i, [("human", "Hi"), ("gpt", "truth")]) for i in range(3)]
    bad = [*good, row(3, [("human", "Hi"), ("gpt", "this is a lie about two words")])]

    assert stages.run(batch_of(good, "sharegpt"), "sharegpt").verified == 3
    with pytest.raises(VerifyError, match=r"s\.jsonl row 3"):
        stages.run(batch_of(bad, "sharegpt"), "sharegpt")


def test_a_run_that_finds_it_out_is_done_again_the_slow_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result(name: str) -> Any:
        keys = {
            "sources": [str(SAMPLE / "conversations.jsonl")],
            "tokenizer": str(SAMPLE / "tokenizer"),
            "output": str(tmp_path / name),
            "max_length": 512,
            "too_long": "truncate",
            "unit_rows": 100,
            "verify": 1,
        }
        return run(make_recipe(keys))

    honest = result("honest")
    made = Stages.__init__

    def lying(self: Stages, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if not self.distrust:
            self._encoder._engines = Liar(self)

    monkeypatch.setattr(Stages, "__init__", lying)
    fooled = result("fooled")

    assert honest.manifest["engine"]["rows_verified"] == 300
    assert honest.manifest["engine"]["reason"] == ""
    assert "came out in two ways" in fooled.manifest["engine"]["reason"]
    assert any("came out in two ways" in warning for warning in fooled.warnings)
    assert fooled.manifest["engine"]["rows_verified"] == 0
    assert [s["sha256"] for s in fooled.manifest["shards"]] == [
        s["sha256"] for s in honest.manifest["shards"]
    ]


def test_samples_with_characters_of_no_proof_are_counted(make_stages: MakeStages) -> None:
    stages = make_stages("sample", chat_template="chatml", verify=0)
    if not stages.proof.fast:
        pytest.skip("gigatoken is not here")
    texts = ["Hello", "\u088f", "你好", "also \u088f"]
    rows = [row(i, [("human", "Hi"), ("gpt", text)]) for i, text in enumerate(texts)]
    assert stages.run(batch_of(rows, "sharegpt"), "sharegpt").counted()["encoded_by_reference"] == 2


# ==== Labels ====


@st.composite
def segmented(draw: st.DrawFn) -> tuple[ByteTokens, Segments]:
    """Samples cut into segments, and cut into tokens at other places."""
    samples = draw(
        st.lists(
            st.lists(
                st.tuples(st.integers(1, 6), st.integers(-1, 2), st.integers(0, 5)), min_size=1, max_size=6
            ),
            min_size=1,
            max_size=4,
        )
    )
    sizes, turns, roles, edges, offsets = [], [], [], [0], [0]
    for sample in samples:
        begin, total = edges[-1], sum(size for size, _, _ in sample)
        cuts = draw(st.sets(st.integers(1, total - 1))) if total > 1 else set()
        edges += [begin + cut for cut in sorted({*cuts, total})]
        offsets.append(len(edges) - 1)
        sizes += [size for size, _, _ in sample]
        turns += [turn for _, turn, _ in sample]
        roles += [role for _, _, role in sample]
    ids = np.arange(100, 100 + len(edges) - 1, dtype=np.int32)
    starts = np.cumsum([0, *(len(sample) for sample in samples)])
    segments = Segments(np.array(sizes), starts, np.array(roles), np.array(turns))
    return ByteTokens(ids, np.array(offsets), np.array(edges)), segments


def stretches_of(segments: Segments) -> list[list[Turn]]:
    """The trained stretches of each sample, in its own bytes."""
    found: list[list[Turn]] = []
    for first, last in zip(segments.offsets[:-1], segments.offsets[1:], strict=True):
        turns: list[Turn] = []
        at, before = 0, -1
        for size, turn in zip(
            segments.sizes[first:last].tolist(), segments.turns[first:last].tolist(), strict=True
        ):
            if turn >= 0 and turn == before:
                turns[-1] = turns[-1]._replace(end=at + size)
            elif turn >= 0:
                turns.append(Turn(turn, at, at + size))
            at, before = at + size, turn
        found.append(turns)
    return found


def as_batch(tokens: ByteTokens) -> TokenBatch:
    begin = np.repeat(tokens.edges[tokens.offsets[:-1]], np.diff(tokens.offsets))
    return TokenBatch(tokens.ids, tokens.offsets, tokens.edges[:-1] - begin, tokens.edges[1:] - begin)


@given(segmented())
def test_labels_by_segments_are_those_by_characters(drawn: tuple[ByteTokens, Segments]) -> None:
    tokens, segments = drawn
    labels, stretches, straddling = label_segments(tokens, segments)
    expected, expected_straddling = label_tokens(as_batch(tokens), stretches_of(segments))

    assert labels.tolist() == expected.tolist()
    assert straddling.tolist() == expected_straddling.tolist()
    trained = {k for a, b in zip(stretches.first, stretches.last, strict=True) for k in range(a, b)}
    assert trained == set(np.flatnonzero(expected != -100).tolist())


@given(segmented())
def test_tokens_are_counted_for_who_wrote_their_first_byte(drawn: tuple[ByteTokens, Segments]) -> None:
    tokens, segments = drawn
    labels, stretches, _ = label_segments(tokens, segments)
    ends = np.cumsum(segments.sizes)
    expected = [Counter[str]() for _ in tokens.offsets[1:]]
    for k in range(len(tokens.ids)):
        sample = expected[np.searchsorted(tokens.offsets, k, side="right") - 1]
        writer = WRITERS[segments.roles[np.searchsorted(ends, tokens.edges[k], side="right")]]
        sample[f"tokens_{writer}"] += 1
        sample[f"trained_{writer}"] += int(labels[k] != -100)
    found = count_tokens(tokens, segments, stretches)
    assert [+Counter({name: int(each[i]) for name, each in found.items()}) for i in range(len(expected))] == [
        +each for each in expected
    ]
