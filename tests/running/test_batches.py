"""Batches give what the labeller gives row by row, in both ways: samples, rejects and counts."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from inputs import batch_of, needs_corpus, rows_of
from labelling import kept, labelled_texts, spans
from mixed_rows import FORGETS, TOOLS_AND_CALLS, openai_rows, sharegpt_row, sharegpt_rows
from outputs import bytes_of
from places import SAMPLE, SHARED, MakeBatches
from premask.core.contract import IGNORE_INDEX
from premask.core.errors import RowError, VerifyError
from premask.core.recipe import SplitBy, TooLong
from premask.core.recipe_file import make_recipe
from premask.core.records import NOT_TRAINED, Conversation, Reject, Row
from premask.dialects import Form
from premask.fast.plain_batches import RowBatch, read_batches
from premask.labeller import LabelledSample, reject
from premask.masking import educational
from premask.review.explain import explain_row
from premask.review.rerun import label_again
from premask.running.batches import BatchLabeller, LabelledBatch, no_samples
from premask.running.inputs import find_dialect
from premask.running.run import run
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source

CHATS = SAMPLE / "conversations.jsonl"
ROWS = rows_of(str(CHATS))


# ==== Row by row, by hand ====


class ByHand(NamedTuple):
    """What rows give: the columns of all samples, rejects, and the sums of all counts."""

    samples: list[dict[str, Any]]
    rejects: list[Reject]
    counts: Counter[str]


class _Judge:
    """Takes rows one by one and counts token by token; knows of the batches only the recipe."""

    def __init__(self, batches: BatchLabeller) -> None:
        self.labeller, self.recipe = batches.labeller, batches.recipe
        self.found = ByHand([], [], Counter())

    def take(self, row: Row, dialect: Form) -> None:
        conversations: list[Conversation] = []
        try:
            conversations, repaired = self.labeller.read(row, dialect)
            samples = self.labeller.together(conversations)
            pieces = [self._pieces(sample) for sample in samples]
        except RowError as error:
            self.found.rejects.append(reject(row, error, conversations[0].id if conversations else None))
            return
        self.found.counts.update(f"repaired_{name}" for name in repaired)
        texts = labelled_texts(self.labeller, row, dialect)
        self.found.counts["control_tokens_in_content"] += int(texts.encoded.in_content.sum())
        number = 0
        for sample, parts in zip(samples, pieces, strict=True):
            self._count(sample, parts)
            for part in parts:
                self._add(row, conversations[0].id, number, sample, part)
                number += 1

    def _pieces(self, sample: LabelledSample) -> list[slice]:
        length, policy = self.recipe.max_length, self.recipe.too_long
        if len(sample.ids) <= length:
            return [slice(0, len(sample.ids))]
        if policy is TooLong.reject:
            raise RowError(
                "too_long",
                f"{len(sample.ids)} tokens are more than max_length {length}; see too_long: truncate or split",
            )
        starts = [0] if policy is TooLong.truncate else range(0, len(sample.ids), length)
        pieces = [slice(at, min(at + length, len(sample.ids))) for at in starts]
        pieces = [each for each in pieces if (sample.labels[each][1:] != IGNORE_INDEX).any()]
        if not pieces:
            raise RowError(
                "too_long",
                f"no piece of {length} of the {len(sample.ids)} tokens has a trained token",
            )
        return pieces

    def _count(self, sample: LabelledSample, parts: Sequence[slice]) -> None:
        counts, length = self.found.counts, self.recipe.max_length
        starts, ends = zip(*spans(sample), strict=True)
        counts[f"proved_{sample.sample.proof}"] += 1
        counts.update(sample.sample.counts)
        counts["straddling_tokens"] += educational.straddling_in(sample.sample, starts, ends)
        counts["seam_tokens"] += sample.seam_tokens
        if len(sample.ids) > length:
            counts[f"too_long_{self.recipe.too_long.value}"] += 1
            counts["tokens_cut_off"] += len(sample.ids) - sum(part.stop - part.start for part in parts)

    def _add(self, row: Row, id_: str | None, number: int, sample: LabelledSample, part: slice) -> None:
        starts, ends = (list(each) for each in zip(*spans(sample), strict=True))
        labels = educational.labels_of(sample.sample, sample.ids.tolist(), starts, ends)
        weights = educational.weights_of(sample.sample, labels, starts)[part]
        labels = [IGNORE_INDEX, *labels[part][1:]]
        origins = educational.origins_of(sample.sample, starts[part])
        trained = [label != IGNORE_INDEX for label in labels]
        self.found.counts.update(f"tokens_{origin.role}" for origin in origins)
        self.found.counts.update(
            f"trained_{origin.role}" for origin, on in zip(origins, trained, strict=True) if on
        )
        turns = {
            turn.message
            for turn in sample.sample.turns
            for on, start, end in zip(trained, starts[part], ends[part], strict=True)
            if on and turn.start <= start < end <= turn.end
        }
        self.found.samples.append(
            {
                "ids": sample.ids[part].tolist(),
                "labels": labels,
                **({"weights": [0.0, *weights[1:]]} if self.recipe.loss_weights else {}),
                "source": row.source,
                "row": row.row,
                "id": id_,
                "sample": number,
                "trained_turns": sorted(turns),
            }
        )


def by_hand(batches: BatchLabeller, rows: Sequence[Row], dialect: Form) -> ByHand:
    judge = _Judge(batches)
    for row in rows:
        judge.take(row, dialect)
    return judge.found


def as_by_hand(batch: LabelledBatch) -> ByHand:
    samples = batch.samples
    places = [slice(*pair) for pair in zip(samples.offsets[:-1], samples.offsets[1:], strict=True)]
    found = [
        {
            "ids": samples.ids[place].tolist(),
            "labels": samples.labels[place].tolist(),
            **({} if samples.weights is None else {"weights": samples.weights[place].tolist()}),
            **origin,
        }
        for place, origin in zip(places, samples.origin.to_pylist(), strict=True)
    ]
    counts = batch.counted()
    counts.pop("history_tokens", None)  # the judge does not count what a row would have in one sample
    del counts["encoded_by_reference"]
    return ByHand(found, batch.rejects, +counts)


def assert_same(one: LabelledBatch, other: LabelledBatch) -> None:
    """All of it, but for which rows were done twice."""
    assert as_by_hand(one) == as_by_hand(other)
    assert one.counted() == other.counted()
    assert one.samples.offsets.tolist() == other.samples.offsets.tolist()
    assert one.samples.origin.equals(other.samples.origin)
    assert one.of_row.tolist() == other.of_row.tolist()
    assert {name: each.tolist() for name, each in one.tally.items()} == {
        name: each.tolist() for name, each in other.tally.items()
    }
    assert one.keys is not None
    assert other.keys is not None
    for name in ("hashes", "known", "groups"):
        assert getattr(one.keys, name).tolist() == getattr(other.keys, name).tolist()
    assert one.keys.ids == other.keys.ids


def in_parts(batches: BatchLabeller, batch: RowBatch, dialect: Form, size: int) -> ByHand:
    """What a batch gives in parts of so many bytes; the parts are its rows, in order."""
    found, numbers, left_out = ByHand([], [], Counter()), list[int](), Counter[str]()
    for part in batches.parts(batch, dialect, size):
        own = as_by_hand(part)
        found.samples.extend(own.samples)
        found.rejects.extend(own.rejects)
        found.counts.update(own.counts)
        numbers += part.numbers.tolist()
        left_out.update(part.left_out)
        assert part.keys is not None
        assert len(part.keys.ids) == len(part.keys.known) == len(part.numbers)
        assert all(0 <= row < len(part.numbers) for row in part.of_row.tolist())
    assert numbers == batch.numbers.tolist()
    assert left_out == Counter(batch.left_out)
    return found


def check(batches: BatchLabeller, rows: Sequence[Row], dialect: str) -> None:
    """Both ways agree with the labeller, row by row, and in parts of a text or some."""
    batch = batch_of(rows, dialect)
    fast = batches.run(batch, dialect)
    slow = BatchLabeller(batches.labeller, fast=False).run(batch, dialect)

    assert_same(fast, slow)
    assert as_by_hand(fast) == by_hand(batches, rows, dialect)
    assert fast.of_row.tolist() == sorted(fast.of_row.tolist())
    for size in (1, 200):
        assert in_parts(batches, batch, dialect, size) == as_by_hand(fast)


OPTIONS: list[dict[str, Any]] = [
    {"splits": {"validation": 0.5}, "split_by": SplitBy.first_user},
    {"max_length": 24, "too_long": "truncate"},
    {"max_length": 24, "too_long": "split", "loss_weights": True},
    {"max_length": 40, "control_tokens": "parse", "history": "last"},
    {"control_tokens": "reject", "append_eos": True, "train": {"roles": ["assistant", "user"]}},
    {"engine": "tokenizers", "train": {"end_of_turn": False}, "loss_weights": True},
]


@pytest.fixture(scope="module")
def of_sharegpt(make_batches: MakeBatches) -> list[BatchLabeller]:
    return [make_batches("sample", chat_template="chatml", **options) for options in OPTIONS]


@given(sharegpt_rows())
def test_rows_of_every_kind(of_sharegpt: list[BatchLabeller], rows: list[Row]) -> None:
    for batches in of_sharegpt:
        check(batches, rows, "sharegpt")


@pytest.fixture(scope="module")
def of_openai(make_batches: MakeBatches, tmp_path_factory: pytest.TempPathFactory) -> list[BatchLabeller]:
    folder, made = tmp_path_factory.mktemp("templates"), []
    for name, source in (("tools", TOOLS_AND_CALLS), ("forgets", FORGETS)):
        path = folder / f"{name}.jinja"
        path.write_text(source, encoding="utf-8")
        made += [make_batches("sample", chat_template=str(path), **options) for options in OPTIONS[:4]]
    return made


@given(openai_rows())
def test_rows_with_tools_weights_and_flags(of_openai: list[BatchLabeller], rows: list[Row]) -> None:
    for batches in of_openai:
        check(batches, rows, "openai")


@pytest.mark.parametrize("template", ["chatml", "llama2", "mistral", None])
def test_the_sample(make_batches: MakeBatches, template: str | None) -> None:
    batches = make_batches("sample", chat_template=template, max_length=512, too_long="truncate")
    info = inspect_source(str(CHATS))
    for batch in read_batches(whole(info), "sharegpt", rows=100):
        slow = BatchLabeller(batches.labeller, fast=False)
        assert_same(batches.run(batch, "sharegpt"), slow.run(batch, "sharegpt"))
    check(batches, ROWS[:60], "sharegpt")


@needs_corpus
@pytest.mark.parametrize("name", ["qwen3", "gemma", "llama3_2"])
@pytest.mark.parametrize(
    "path", ["universal-ner/eval/test_data/CrossNER_AI.json", "fastchat/data/dummy_conversation.json"]
)
def test_the_corpus(make_batches: MakeBatches, name: str, path: str) -> None:
    source = SHARED / "corpus" / "conversations" / path
    if not source.is_file():
        pytest.skip(f"{path} is not there")
    batches = make_batches(name, chat_template="chatml", verify=0)
    dialect = find_dialect(inspect_source(str(source)), batches.recipe)
    check(batches, rows_of(str(source))[:100], dialect)


def test_a_row_does_not_depend_on_those_beside_it(make_batches: MakeBatches) -> None:
    batches = make_batches("sample")
    together = as_by_hand(batches.run(batch_of(ROWS, "sharegpt"), "sharegpt"))
    for number in (0, 20, 21, 56, 150, 299):
        alone = as_by_hand(batches.run(batch_of([ROWS[number]], "sharegpt"), "sharegpt"))
        assert alone.samples == [each for each in together.samples if each["row"] == number]
        assert alone.rejects == [each for each in together.rejects if each.row == number]


OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is not string %}{{ m.content[0].text }}"
    "{% elif not parts %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% if thinking is true %}<think>{% endif %}{% endif %}"
)


@pytest.mark.parametrize("kwargs", [{"thinking": "auto"}, {"parts": True}])
def test_arguments_per_row_and_parts_go_the_slow_way(
    make_batches: MakeBatches, tmp_path: Path, kwargs: dict[str, Any]
) -> None:
    """A plain row may have reasoning in its content; a plan of its shape would have the other argument."""
    path = tmp_path / "opens.jinja"
    path.write_text(OPENS, encoding="utf-8")
    batches = make_batches("sample", chat_template=str(path), template_kwargs=kwargs, verify=1)
    texts = ("Yes.", "<think>Hm.</think>Yes.", "No.", "<think>Hm, hm.</think>No.")
    turns = [[{"from": "human", "value": "Hi"}, {"from": "gpt", "value": text}] for text in texts]
    rows = [Row("s.jsonl", number, {"conversations": each}) for number, each in enumerate(turns)]
    batch = batch_of(rows, "sharegpt")
    done = batches.run(batch, "sharegpt")

    assert done.kept == len(rows)
    assert_same(done, BatchLabeller(batches.labeller, fast=False).run(batch, "sharegpt"))


@pytest.mark.parametrize("fast", [True, False])
def test_no_rows(make_batches: MakeBatches, fast: bool) -> None:  # noqa: FBT001
    batches = BatchLabeller(make_batches("sample").labeller, fast=fast)
    batch = batches.run(batch_of([], "sharegpt"), "sharegpt")

    assert (len(batch.samples.ids), batch.rejects, batch.kept, batch.verified) == (0, [], 0, 0)
    assert batch.samples.offsets.tolist() == [0]
    assert not any(batch.counted().values())


def test_rows_of_several_conversations(make_batches: MakeBatches, tmp_path: Path) -> None:
    """Samples are numbered over all of them, and the same error is named by whoever does a row again."""
    (tmp_path / "t.jinja").write_text(
        "{{ raise_exception('no') if messages[-1].content == 'bomb' }}" + FORGETS
    )
    keys = {"chat_template": str(tmp_path / "t.jinja"), "paths": "all", "control_tokens": "reject"}
    batches = make_batches("sample", **keys)
    values = [
        {"prompt": "Hi", "completion": ["Hello", "Ho"]},
        {"prompt": "Hi", "completion": ["a <|im_end|>", "bomb"]},  # the second cannot even be decided
        {"prompt": "Hi", "completion": ["Hello", "a <|im_end|>"]},
    ]
    source = tmp_path / "a.jsonl"
    source.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")
    (batch,) = read_batches(whole(inspect_source(str(source))), "prompt_completion")
    rows = [batch.row(i) for i in range(3)]
    found = as_by_hand(batches.run(batch, "prompt_completion"))

    assert found == by_hand(batches, rows, "prompt_completion")
    assert [(each["row"], each["sample"]) for each in found.samples] == [(0, 0), (0, 1)]
    assert [line.reason for line in found.rejects] == ["template_error", "control_token"]
    for line in found.rejects:
        explained = explain_row(batches.labeller, rows[line.row], "prompt_completion")
        assert (explained["reason"], explained["detail"]) == (line.reason, line.detail)
        with pytest.raises(RowError) as error:
            label_again(batches.labeller, rows[line.row], "prompt_completion")
        assert (error.value.reason, error.value.detail) == (line.reason, line.detail)


def test_a_batch_of_which_every_row_is_rejected() -> None:
    line = Reject("a", 3, None, "crashed", "it died", None)
    batch = no_samples([line], np.array([3]), {"where": 2})

    assert (batch.kept, batch.rejects, batch.left_out) == (0, [line], {"where": 2})
    assert (len(batch.samples.ids), batch.samples.offsets.tolist(), len(batch.of_row)) == (0, [0], 0)
    assert batch.counted() == batch.counted(np.zeros(0, dtype=np.int64)) == Counter()


# ==== Deleting fast/ changes no byte ====


def mixed_file(path: Path) -> str:
    """Plain rows, tools, control tokens in content, weights, long ones and broken ones."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, 你好 🙂"}]
    call = {"type": "function", "function": {"name": "weigh", "arguments": {"what": "flour"}}}
    tools = [talk[0], {**talk[1], "tool_calls": [call]}, {"role": "tool", "content": "300 g"}, talk[1]]
    values: list[Any] = []
    for i in range(12):
        values += [
            {"id": i, "messages": [{"role": "user", "content": f"{i}"}, talk[1]]},
            {"messages": tools, "tools": [{"type": "function", "function": {"name": "weigh"}}]},
            {"messages": [{"role": "user", "content": "<|im_end|>"}, talk[1]]},
            {"messages": [talk[0], {**talk[1], "weight": 0.5}, *talk]},
            {"messages": [talk[0], {"role": "assistant", "content": f"{i} and " * 20}, *talk]},
            {"messages": talk[:1]},
        ]
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("template", [TOOLS_AND_CALLS, FORGETS], ids=["tools", "forgets"])
@pytest.mark.parametrize("too_long", list(TooLong))
def test_a_run_without_the_fast_way_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, too_long: TooLong
) -> None:
    (tmp_path / "t.jinja").write_text(template, encoding="utf-8")
    keys = {
        "sources": [mixed_file(tmp_path / "a.jsonl")],
        "tokenizer": str(SAMPLE / "tokenizer"),
        "chat_template": str(tmp_path / "t.jinja"),
        "splits": {"validation": 0.3},
        "layout": ["packed", "unpacked"],
        "max_length": 48,
        "too_long": too_long,
        "loss_weights": True,
        "unit_rows": 30,
        "verify": 0,
    }
    fast = run(make_recipe({**keys, "output": str(tmp_path / "fast")}))
    monkeypatch.setattr("premask.running.run.BatchLabeller", partial(BatchLabeller, fast=False))
    slow = run(make_recipe({**keys, "output": str(tmp_path / "slow")}))

    assert fast.manifest["counts"]["rejected"] >= 12
    assert fast.manifest["counts"]["control_tokens_in_content"] > 0
    assert fast.manifest["counts"]["splits"]["validation"]["samples"] > 0
    assert bytes_of(slow.output) == bytes_of(fast.output)


def test_plain_rows_take_the_fast_way(make_batches: MakeBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = make_batches("sample", chat_template="chatml", verify=0)
    rows = [sharegpt_row(i, [("human", "Hi"), ("gpt", f"Hello {i}")]) for i in range(5)]
    monkeypatch.setattr(batches.labeller, "read", lambda *_: pytest.fail("a row took the slow path"))

    batch = batches.run(batch_of(rows, "sharegpt"), "sharegpt")

    assert batch.kept == 5
    assert batch.samples.origin.column("id").to_pylist() == ["0", "1", "2", "3", "4"]


def test_a_plan_that_trains_nothing_is_none(make_batches: MakeBatches) -> None:
    """Who speaks after whom has been seen, but nobody here is to be trained: the row is rejected, not lost."""
    batches = make_batches("sample", chat_template="chatml", train={"roles": ["system"]}, verify=0)
    seen = [("human", "Hi"), ("gpt", "Hello"), ("system", "Now"), ("human", "Bye"), ("gpt", "Ciao")]
    rows = [sharegpt_row(0, seen), sharegpt_row(1, [("human", "Hi"), ("gpt", "Hello")])]
    batch = batches.run(batch_of(rows, "sharegpt"), "sharegpt")

    assert batch.of_row.tolist() == [0]
    assert [(line.row, line.reason) for line in batch.rejects] == [(1, "nothing_trained")]


# ==== Other processes ====


def test_other_processes_make_the_same_from_a_setup(make_batches: MakeBatches) -> None:
    batches = make_batches("sample", max_length=512)
    setup = pickle.loads(pickle.dumps(batches.setup()))  # noqa: S301
    again = setup.load(batches.labeller.tokenizer)

    assert (again.fast, again.recipe, again.labeller.proof) == (True, batches.recipe, batches.labeller.proof)
    batch = batch_of(ROWS[:30], "sharegpt")
    assert_same(again.run(batch, "sharegpt"), batches.run(batch, "sharegpt"))


def test_the_slow_labeller_uses_no_fast_path_and_the_reference_engine(make_batches: MakeBatches) -> None:
    slow = make_batches("sample", verify=1).slow()
    batch = slow.run(batch_of(ROWS[:5], "sharegpt"), "sharegpt")

    assert not slow.fast
    assert not slow.setup().fast
    assert (slow.labeller.proof.engine, slow.labeller.proof.fast) == ("tokenizers", False)
    assert (batch.kept, batch.verified) == (5, 0)


# ==== Lengths and counts ====


def test_all_that_is_kept_is_counted(make_batches: MakeBatches) -> None:
    batch = make_batches("sample", max_length=4096).run(batch_of(ROWS, "sharegpt"), "sharegpt")
    tokens = len(batch.samples.ids)

    assert len(batch.of_row) == batch.kept == 292
    assert len(batch.rejects) == 8
    assert sum(count for key, count in batch.counted().items() if key.startswith("tokens_")) == tokens
    assert batch.counted()["control_tokens_in_content"] > 0
    assert batch.samples.origin.column("row").to_pylist() == [
        i for i in range(300) if i not in {reject.row for reject in batch.rejects}
    ]


def test_samples_that_are_taken_more_than_once_are_counted_so(make_batches: MakeBatches) -> None:
    batch = make_batches("sample").run(batch_of(ROWS[:3], "sharegpt"), "sharegpt")
    sizes = np.diff(batch.samples.offsets)
    copies = np.array([0, 1, 3])

    assert sum(n for key, n in batch.counted(copies).items() if key.startswith("tokens_")) == sizes @ copies
    assert batch.counted(np.ones(3, dtype=np.int64)) == batch.counted()


def test_too_long_policies(make_batches: MakeBatches) -> None:
    """22 tokens: 8 of them before the answer."""
    row = sharegpt_row(0, [("human", "Hi"), ("gpt", "one two three four five six")])
    (whole_sample,) = kept(make_batches("sample").labeller, row, "sharegpt")
    length = len(whole_sample.ids)
    found = {
        policy: make_batches("sample", max_length=10, too_long=policy).run(
            batch_of([row], "sharegpt"), "sharegpt"
        )
        for policy in TooLong
    }

    (rejected,) = found[TooLong.reject].rejects
    assert (rejected.reason, rejected.detail) == (
        "too_long",
        f"{length} tokens are more than max_length 10; see too_long: truncate or split",
    )
    truncated, split = found[TooLong.truncate].samples, found[TooLong.split].samples
    assert np.diff(truncated.offsets).tolist() == [10]
    assert np.diff(split.offsets).tolist() == [10] * (length // 10) + [length % 10] * bool(length % 10)
    assert split.origin.column("sample").to_pylist() == list(range(-(-length // 10)))
    assert (split.labels[split.offsets[:-1]] == -100).all()


def test_a_prompt_that_fills_the_length_is_rejected(make_batches: MakeBatches) -> None:
    row = sharegpt_row(0, [("human", "x " * 50), ("gpt", "yes")])
    batches = make_batches("sample", max_length=10, too_long=TooLong.truncate)
    batch = batches.run(batch_of([row], "sharegpt"), "sharegpt")

    (rejected,) = batch.rejects
    assert rejected.reason == "too_long"
    assert "has a trained token" in rejected.detail
    assert not len(batch.of_row)


def test_samples_with_characters_of_no_proof_are_counted(make_batches: MakeBatches) -> None:
    batches = make_batches("sample", chat_template="chatml", verify=0)
    if not batches.labeller.proof.fast:
        pytest.skip("gigatoken is not here")
    texts = ["Hello", "\u088f", "你好", "also \u088f"]
    rows = [sharegpt_row(i, [("human", "Hi"), ("gpt", text)]) for i, text in enumerate(texts)]
    batch = batches.run(batch_of(rows, "sharegpt"), "sharegpt")

    assert batch.tally["encoded_by_reference"].tolist() == [0, 1, 0, 1]


# ==== What is verified ====


class Liar:
    """An engine that exchanges two tokens of an answer where a text holds `lie`: its bytes still add up."""

    def __init__(self, batches: BatchLabeller) -> None:
        self._engines: Any = batches.labeller.encoder._engines

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


def test_an_engine_that_gives_other_ids_is_found_out(make_batches: MakeBatches) -> None:
    batches = make_batches("sample", chat_template="chatml", verify=1)
    batches.labeller.encoder._engines = Liar(batches)
    good = [sharegpt_row(i, [("human", "Hi"), ("gpt", "truth")]) for i in range(3)]
    bad = [*good, sharegpt_row(3, [("human", "Hi"), ("gpt", "this is a lie about two words")])]

    assert batches.run(batch_of(good, "sharegpt"), "sharegpt").verified == 3
    with pytest.raises(VerifyError, match=r"s\.jsonl row 3"):
        batches.run(batch_of(bad, "sharegpt"), "sharegpt")


@pytest.mark.parametrize("lie", ["text", "mask"])
def test_a_plan_that_fills_in_something_else_is_found_out(
    make_batches: MakeBatches, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Another text in any row that is verified, another mask in one of eight."""
    batches = make_batches("sample", chat_template="chatml", verify=1)
    rows = [sharegpt_row(i, [("human", "Hi"), ("gpt", f"Hello {i}")]) for i in range(32)]
    batch = batch_of(rows, "sharegpt")
    assert batches.run(batch, "sharegpt").verified == 32
    honest = batches._fill

    def lying(*arguments: Any) -> Any:
        filled = honest(*arguments)
        assert filled is not None
        masked = filled.masked
        if lie == "text":
            texts = [text.replace("Hi", "Ho") for text in masked.texts]
            return replace(filled, masked=replace(masked, texts=texts))
        messages = np.where(masked.messages == NOT_TRAINED, 1, masked.messages)
        return replace(filled, masked=replace(masked, messages=messages))

    monkeypatch.setattr(batches, "_fill", lying)
    with pytest.raises(VerifyError, match=r"s\.jsonl row "):
        batches.run(batch, "sharegpt")


def test_a_run_that_finds_it_out_is_done_again_the_slow_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result(name: str) -> Any:
        keys = {
            "sources": [str(CHATS)],
            "tokenizer": str(SAMPLE / "tokenizer"),
            "output": str(tmp_path / name),
            "max_length": 512,
            "too_long": "truncate",
            "unit_rows": 100,
            "verify": 1,
        }
        return run(make_recipe(keys))

    honest = result("honest")
    made = BatchLabeller.__init__

    def lying(self: BatchLabeller, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if self.fast:
            self.labeller.encoder._engines = Liar(self)  # type: ignore[assignment]

    monkeypatch.setattr(BatchLabeller, "__init__", lying)
    fooled = result("fooled")

    assert honest.manifest["engine"]["rows_verified"] == 300
    assert honest.manifest["engine"]["reason"] == ""
    assert "gave two different results" in fooled.manifest["engine"]["reason"]
    assert any("gave two different results" in warning for warning in fooled.warnings)
    assert fooled.manifest["engine"]["rows_verified"] == 0
    assert [s["sha256"] for s in fooled.manifest["shards"]] == [
        s["sha256"] for s in honest.manifest["shards"]
    ]
