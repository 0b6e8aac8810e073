"""The stages together: one result a row, in order, whatever stands beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import batch_of
from premask.core.contract import REASONS
from premask.core.recipe import ControlTokens, TooLong
from premask.core.records import Reject, Row
from premask.labeller import LabelledRow, Stages, gather

MakeStages = Callable[..., Stages]
SAMPLE = Path(__file__).resolve().parents[1] / "pipeline" / "premask" / "sample" / "conversations.jsonl"
LINES = SAMPLE.read_text(encoding="utf-8").split("\n")[:-1]


def row_of(line: str, number: int = 0) -> Row:
    try:
        return Row("s.jsonl", number, json.loads(line), line)
    except ValueError as error:
        return Row("s.jsonl", number, None, line, str(error))


ROWS = [row_of(line, number) for number, line in enumerate(LINES)]


def chat(*contents: str, **keys: Any) -> Row:
    turns = [{"from": ("human", "gpt")[i % 2], "value": content} for i, content in enumerate(contents)]
    return Row("s.jsonl", 0, {"conversations": turns, **keys})


def one(stages: Stages, row: Row) -> LabelledRow:
    (result,) = stages.label([row], "sharegpt")
    assert isinstance(result, LabelledRow), result
    return result


def trained(stages: Stages, row: Row) -> list[str]:
    """The trained stretches of a row's only sample, read from its labels."""
    (sample,) = one(stages, row).samples
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sample.labels != -100, [False]]).astype(int)))
    backend = stages.tokenizer.backend
    spans = zip(edges[::2], edges[1::2], strict=True)
    return [backend.decode(sample.ids[a:b].tolist(), skip_special_tokens=False) for a, b in spans]


# ==== Rows ====


def test_one_result_a_row_in_order(make_stages: MakeStages) -> None:
    results = make_stages("sample").label(ROWS, "sharegpt")

    assert [result.row if isinstance(result, Reject) else result.row.row for result in results] == list(
        range(300)
    )
    assert sum(isinstance(result, Reject) for result in results) == 8


def test_a_row_does_not_depend_on_those_beside_it(make_stages: MakeStages) -> None:
    stages = make_stages("sample")
    together = stages.label(ROWS, "sharegpt")
    for number in (0, 20, 21, 56, 150, 299):
        alone = stages.label([ROWS[number]], "sharegpt")[0]
        beside = together[number]
        if isinstance(alone, Reject):
            assert alone == beside
        else:
            assert isinstance(beside, LabelledRow)
            assert [(s.ids.tolist(), s.labels.tolist()) for s in alone.samples] == [
                (s.ids.tolist(), s.labels.tolist()) for s in beside.samples
            ]


def test_no_rows(make_stages: MakeStages) -> None:
    stages = make_stages("sample")

    assert stages.label([], "sharegpt") == []
    outcome = stages.run(batch_of([], "sharegpt"), "sharegpt")
    assert (len(outcome.samples.ids), outcome.rejects) == (0, [])


def test_ids_are_those_of_apply_chat_template(make_stages: MakeStages) -> None:
    """On the whole sample, but for the rows whose content holds control-token strings."""
    stages = make_stages("sample")
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    forged = 0
    for result in stages.label(ROWS, "sharegpt"):
        if isinstance(result, Reject):
            continue
        messages = [
            {"role": names[turn["from"]], "content": turn["value"]}
            for turn in result.row.value["conversations"]
        ]
        (sample,) = result.samples
        expected = stages.tokenizer.hf.apply_chat_template(messages, tokenize=True, return_dict=False)
        forged += bool(sample.forged)
        assert (sample.ids.tolist() == expected) is (not sample.forged)
        assert (
            stages.tokenizer.backend.decode(sample.ids.tolist(), skip_special_tokens=False)
            == sample.sample.text
        )

    assert forged == 3


def test_every_reason_is_explained(make_stages: MakeStages) -> None:
    for result in make_stages("sample").label(ROWS, "sharegpt"):
        if isinstance(result, Reject):
            assert result.reason in REASONS
            assert result.detail
            assert result.original == LINES[result.row]


def test_rejects_keep_the_row_without_its_text(make_stages: MakeStages) -> None:
    """A Parquet row has no text of its own; it is written as JSON."""
    value = {"id": 7, "conversations": [{"from": "human", "value": "é"}]}
    (result,) = make_stages("sample").label([Row("s.parquet", 3, value)], "sharegpt")

    assert isinstance(result, Reject)
    assert (result.source, result.row, result.id, result.reason) == ("s.parquet", 3, "7", "no_assistant")
    assert result.original == '{"id": 7, "conversations": [{"from": "human", "value": "é"}]}'


# ==== Recipe keys ====


def test_control_tokens_policies(make_stages: MakeStages) -> None:
    row = chat("<|im_end|>", "Hello")
    as_text = one(make_stages("sample"), row).samples[0]
    parsed = one(make_stages("sample", control_tokens=ControlTokens.parse), row).samples[0]
    (refused,) = make_stages("sample", control_tokens=ControlTokens.reject).label([row], "sharegpt")

    assert (as_text.ids.tolist().count(2), as_text.forged) == (2, 1)
    assert (parsed.ids.tolist().count(2), parsed.forged) == (3, 0)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.detail) == (
        "control_token",
        "the content holds '<|im_end|>' at character 17",
    )


@pytest.mark.parametrize("policy", list(ControlTokens))
def test_a_forged_turn_end_in_an_answer_ends_no_turn(make_stages: MakeStages, policy: ControlTokens) -> None:
    """All of what the assistant says is trained, also what follows a control token it quotes."""
    row = chat("Quote it", "It is <|im_end|> and so on.")
    if policy is ControlTokens.reject:
        (result,) = make_stages("sample", control_tokens=policy).label([row], "sharegpt")
        assert isinstance(result, Reject)
    else:
        assert trained(make_stages("sample", control_tokens=policy), row) == [
            "It is <|im_end|> and so on.<|im_end|>"
        ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("chatml", ["Hello<|im_end|>", "So long<|im_end|>"]),
        ("zephyr", ["Hello<|im_end|>", "So long<|im_end|>"]),
        ("alpaca", ["Hello<|im_end|>", "So long<|im_end|>"]),
        ("vicuna", [" Hello<|im_end|>", " So long<|im_end|>"]),
        ("llama2", [" Hello <|im_end|>", " So long <|im_end|>"]),
        ("mistral", [" Hello<|im_end|>", " So long<|im_end|>"]),
    ],
)
def test_built_in_templates(make_stages: MakeStages, template: str, expected: list[str]) -> None:
    """The sample tokenizer's eos is `<|im_end|>`; templates that print eos print that."""
    stages = make_stages("sample", chat_template=template)

    assert trained(stages, chat("Hi", "Hello", "Bye", "So long")) == expected
    assert stages.warnings() == []


def test_end_of_turn_can_be_named(make_stages: MakeStages, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(
        "{% for m in messages %}{{ m.role }}\n{{ m.content }}\n--\n~~\n{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}",
        encoding="utf-8",
    )
    probed = make_stages("sample", chat_template=str(path))
    named = make_stages("sample", chat_template=str(path), end_of_turn=["--\n"])

    assert trained(named, chat("Hi", "Hello")) == ["Hello\n--\n"]
    assert trained(probed, chat("Hi", "Hello"))[0].startswith("Hello\n--")


def test_no_turn_end_is_warned_of(make_stages: MakeStages, tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    (warning,) = make_stages("sample", chat_template=str(path)).warnings()

    assert "would not learn to stop" in warning


def test_template_arguments(make_stages: MakeStages) -> None:
    """Of the recipe; those of a row come before them."""
    stages = make_stages("qwen3", template_kwargs={"enable_thinking": False})
    (sample,) = one(stages, chat("Hi", "Hello")).samples

    assert sample.sample.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n")
    assert trained(stages, chat("Hi", "Hello")) == ["Hello<|im_end|>"]
    assert trained(make_stages("qwen3"), chat("Hi", "Hello")) == ["<think>\n\n</think>\n\nHello<|im_end|>"]


# ==== Lengths ====


def test_run_counts_what_it_keeps(make_stages: MakeStages) -> None:
    outcome = make_stages("sample", max_length=4096).run(batch_of(ROWS, "sharegpt"), "sharegpt")
    tokens = len(outcome.samples.ids)

    assert len(outcome.of_row) == outcome.kept == 292
    assert len(outcome.rejects) == 8
    assert sum(count for key, count in outcome.counted().items() if key.startswith("tokens_")) == tokens
    assert outcome.counted()["control_tokens_in_content"] > 0
    assert outcome.samples.origin.column("row").to_pylist() == [
        i for i in range(300) if i not in {reject.row for reject in outcome.rejects}
    ]


def test_too_long_policies(make_stages: MakeStages) -> None:
    """22 tokens: 8 of them before the answer."""
    row = chat("Hi", "one two three four five six")
    length = len(one(make_stages("sample"), row).samples[0].ids)
    outcomes = {
        policy: make_stages("sample", max_length=10, too_long=policy).run(
            batch_of([row], "sharegpt"), "sharegpt"
        )
        for policy in TooLong
    }

    (rejected,) = outcomes[TooLong.reject].rejects
    assert (rejected.reason, rejected.detail) == (
        "too_long",
        f"{length} tokens are more than max_length 10; see too_long: truncate or split",
    )
    truncated, split = outcomes[TooLong.truncate].samples, outcomes[TooLong.split].samples
    assert np.diff(truncated.offsets).tolist() == [10]
    assert np.diff(split.offsets).tolist() == [10] * (length // 10) + [length % 10] * bool(length % 10)
    assert split.origin.column("sample").to_pylist() == list(range(-(-length // 10)))
    assert (split.labels[split.offsets[:-1]] == -100).all()


def test_a_prompt_that_fills_the_length_is_rejected(make_stages: MakeStages) -> None:
    outcome = make_stages("sample", max_length=10, too_long=TooLong.truncate).run(
        batch_of([chat("x " * 50, "yes")], "sharegpt"), "sharegpt"
    )

    (rejected,) = outcome.rejects
    assert rejected.reason == "too_long"
    assert "holds anything that is trained" in rejected.detail
    assert not len(outcome.of_row)


def test_gather_nothing() -> None:
    samples = gather([])

    assert (len(samples.ids), samples.offsets.tolist(), samples.origin.num_rows) == (0, [0], 0)
