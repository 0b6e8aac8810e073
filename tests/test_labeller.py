"""The stages together: one result a row, whatever is beside it; and their order, to be read off."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from labelling import decoded, kept, label_rows, labelled_texts, rejected, trained
from places import SAMPLE, MakeLabeller
from premask.core.contract import REASONS
from premask.core.errors import RecipeError, TokenizerError
from premask.core.recipe import ControlTokens
from premask.core.records import Conversation, Message, Reject, Row, Sample, Tokens, Turn
from premask.labeller import STAGES, LabelledTexts, Labeller
from premask.masking.labels import label_tokens
from premask.masking.segments import masked_texts
from premask.masking.sides import pair_errors
from premask.tokens.encode import Encoded

LINES = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def row_of(line: str, number: int = 0) -> Row:
    try:
        return Row("s.jsonl", number, json.loads(line), line)
    except ValueError as error:
        return Row("s.jsonl", number, None, line, str(error))


ROWS = [row_of(line, number) for number, line in enumerate(LINES)]


def chat(*contents: str, **keys: Any) -> Row:
    turns = [{"from": ("human", "gpt")[i % 2], "value": content} for i, content in enumerate(contents)]
    return Row("s.jsonl", 0, {"conversations": turns, **keys})


def trained_in(labeller: Labeller, row: Row) -> list[str]:
    """The trained stretches of a row's only sample, read from its labels."""
    (sample,) = kept(labeller, row, "sharegpt")
    return trained(labeller, sample)


# ==== Documents ====

DOCUMENT = Row("d.jsonl", 0, {"text": "A text with <|im_end|> and <|eot_id|>."})
BOTH = "<|im_end|> and <|eot_id|>"


def test_a_document_is_trained_whole_without_the_template(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample", dialect="document")
    (sample,) = kept(labeller, DOCUMENT, "document")
    assert sample.text == f"A text with {BOTH}.<|im_end|>"
    assert (sample.sample.proof, sample.ids[-1]) == (
        "document",
        labeller.tokenizer.backend.token_to_id("<|im_end|>"),
    )
    assert (sample.labels[1:] == sample.ids[1:]).all()
    assert np.count_nonzero(sample.ids == sample.ids[-1]) == 1, "the string in the text is plain text"
    assert labelled_texts(labeller, DOCUMENT, "document").encoded.in_content.tolist() == [1]


@pytest.mark.parametrize(
    ("name", "opening", "eos"),
    [("llama3_2", "<|begin_of_text|>", "<|eot_id|>"), ("gemma_chatml", "<bos>", "<eos>")],
)
def test_a_document_begins_as_the_tokenizer_says(
    make_labeller: MakeLabeller, name: str, opening: str, eos: str
) -> None:
    labeller = make_labeller(name, dialect="document")
    row = Row("d.jsonl", 0, {"text": " Once upon a time.\n"})
    (sample,) = kept(labeller, row, "document")
    backend = labeller.tokenizer.backend
    assert sample.ids.tolist() == [*backend.encode(row.value["text"]).ids, backend.token_to_id(eos)]
    assert sample.text.startswith(opening)
    assert trained(labeller, sample) == [f" Once upon a time.\n{eos}"]


def test_the_weight_of_a_document(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample", dialect="document", loss_weights=True)
    (sample,) = kept(labeller, Row("d.jsonl", 0, {"text": "A text.", "weight": 0.5}), "document")
    assert sample.weights.tolist() == [0, *[0.5] * (len(sample.ids) - 1)]
    plain = make_labeller("sample", dialect="document")
    line = rejected(plain, Row("d.jsonl", 0, {"text": "A text.", "weight": 0.5}), "document")
    assert line.reason == "unsupported_weight"


@pytest.mark.parametrize("policy", ["reject", "parse"])
def test_control_tokens_in_a_document(make_labeller: MakeLabeller, policy: str) -> None:
    labeller = make_labeller("sample", dialect="document", control_tokens=policy)
    if policy == "reject":
        assert rejected(labeller, DOCUMENT, "document").reason == "control_token"
        return
    (sample,) = kept(labeller, DOCUMENT, "document")
    assert np.count_nonzero(sample.ids == sample.ids[-1]) == 2


@pytest.mark.parametrize(
    "keys", [{"dialect": "document"}, {"sources": [{"path": "a", "dialect": "document"}]}]
)
def test_a_tokenizer_without_eos_is_one_error_at_the_start(
    make_labeller: MakeLabeller, keys: dict[str, Any]
) -> None:
    labeller = make_labeller("sample")
    variables = {key: text for key, text in labeller.tokenizer.variables.items() if key != "eos_token"}
    without = replace(labeller.tokenizer, variables=variables)
    with pytest.raises(TokenizerError, match="has no eos token, which ends each document"):
        Labeller(labeller.recipe.model_validate({**labeller.recipe.model_dump(), **keys}), without)
    Labeller(labeller.recipe, without, labeller.proof)


def test_a_huge_document_that_cannot_fit_is_rejected_unread(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample", dialect="document", max_length=128)
    line = rejected(labeller, Row("d.jsonl", 0, {"text": "word " * 2_000_000}), "document")
    assert line.reason == "too_long"
    assert "characters are more than max_length" in line.detail


# ==== The stages ====


def test_the_order_of_the_stages() -> None:
    assert [stage.__name__ for stage in STAGES] == [
        "check",
        "settle",
        "decide",
        "segment",
        "encode",
        "label",
    ]
    assert all(stage.__doc__ for stage in STAGES)


def test_a_labeller_is_its_stages_one_after_another(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample")
    conversation = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
    value: Any = conversation
    for stage in STAGES:
        value = stage(labeller, value)
    (sample,) = labeller(conversation)

    assert value.masked.texts == [sample.text]
    assert value.encoded.tokens.ids.tolist() == sample.ids.tolist()
    assert value.labels.labels.tolist() == sample.labels.tolist()


def test_a_labelled_sample(make_labeller: MakeLabeller) -> None:
    """Its arrays, which count bytes: the emoji has four."""
    (sample,) = kept(make_labeller("sample"), chat("Hi", "So long 🙂"), "sharegpt")
    size = len(sample.text.encode())

    assert sample.text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nSo long 🙂<|im_end|>\n"
    assert [each.dtype for each in (sample.ids, sample.labels, sample.weights)] == ["i4", "i4", "f4"]
    assert (sample.starts[0], sample.ends[-1]) == (0, size)
    assert sample.starts[1:].tolist() == sample.ends[:-1].tolist()
    assert sample.weights.tolist() == [float(label != -100) for label in sample.labels.tolist()]


# ==== Rows ====


def test_one_result_a_row_in_order(make_labeller: MakeLabeller) -> None:
    results = label_rows(make_labeller("sample"), ROWS, "sharegpt")
    rejects = [(i, each) for i, each in enumerate(results) if isinstance(each, Reject)]

    assert len(results) == 300
    assert len(rejects) == 8
    assert all(each.row == i for i, each in rejects)


def test_ids_are_those_of_apply_chat_template(make_labeller: MakeLabeller) -> None:
    """On the whole sample, but for the rows whose content holds control-token strings, or whose answer shares
    a token with its prompt."""
    labeller = make_labeller("sample")
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    in_content = 0
    for row, result in zip(ROWS, label_rows(labeller, ROWS, "sharegpt"), strict=True):
        if isinstance(result, Reject):
            continue
        messages = [
            {"role": names[turn["from"]], "content": turn["value"]} for turn in row.value["conversations"]
        ]
        (sample,) = result
        (found,) = labelled_texts(labeller, row, "sharegpt").encoded.in_content.tolist()
        expected = labeller.tokenizer.hf.apply_chat_template(messages, tokenize=True, return_dict=False)
        in_content += bool(found)
        assert (sample.ids.tolist() == expected) is (not found and not sample.seam_tokens)
        assert decoded(labeller, sample.ids) == sample.text

    assert in_content == 3


def test_every_reason_is_explained(make_labeller: MakeLabeller) -> None:
    for result in label_rows(make_labeller("sample"), ROWS, "sharegpt"):
        if isinstance(result, Reject):
            assert result.reason in REASONS
            assert result.detail
            assert result.original == LINES[result.row]


def test_rejects_keep_the_row_without_its_text(make_labeller: MakeLabeller) -> None:
    """A Parquet row has no text of its own; it is written as JSON."""
    value = {"id": 7, "conversations": [{"from": "human", "value": "é"}]}
    result = rejected(make_labeller("sample"), Row("s.parquet", 3, value), "sharegpt")

    assert (result.source, result.row, result.id, result.reason) == ("s.parquet", 3, "7", "no_assistant")
    assert result.original == '{"id": 7, "conversations": [{"from": "human", "value": "é"}]}'


def test_conversations_without_end_are_rejected(make_labeller: MakeLabeller) -> None:
    """The work grows with the square of their messages."""
    result = rejected(make_labeller("sample"), chat(*["x"] * 4098), "sharegpt")

    assert (result.reason, result.detail) == ("too_long", "4098 messages are more than 4096; split the row")


# ==== Recipe keys ====


def test_control_tokens_policies(make_labeller: MakeLabeller) -> None:
    row = chat("<|im_end|>", "Hello")
    as_text, parsed = (
        labelled_texts(make_labeller("sample", control_tokens=policy), row, "sharegpt").encoded
        for policy in (ControlTokens.text, ControlTokens.parse)
    )
    refused = rejected(make_labeller("sample", control_tokens=ControlTokens.reject), row, "sharegpt")

    assert (as_text.tokens.ids.tolist().count(2), as_text.in_content.tolist()) == (2, [1])
    assert (parsed.tokens.ids.tolist().count(2), parsed.in_content.tolist()) == (3, [0])
    assert (refused.reason, refused.detail) == (
        "control_token",
        "the content holds '<|im_end|>' at character 17",
    )


@pytest.mark.parametrize("policy", list(ControlTokens))
def test_a_forged_turn_end_in_an_answer_ends_no_turn(
    make_labeller: MakeLabeller, policy: ControlTokens
) -> None:
    """All of what the assistant says is trained, also what follows a control token it quotes."""
    row = chat("Quote it", "It is <|im_end|> and so on.")
    labeller = make_labeller("sample", control_tokens=policy)
    if policy is ControlTokens.reject:
        assert rejected(labeller, row, "sharegpt").reason == "control_token"
    else:
        assert trained_in(labeller, row) == ["It is <|im_end|> and so on.<|im_end|>"]


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
def test_built_in_templates(make_labeller: MakeLabeller, template: str, expected: list[str]) -> None:
    """The sample tokenizer's eos is `<|im_end|>`; templates that print eos print that."""
    labeller = make_labeller("sample", chat_template=template)

    assert trained_in(labeller, chat("Hi", "Hello", "Bye", "So long")) == expected
    assert labeller.warnings() == []


def test_end_of_turn_can_be_named(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(
        "{% for m in messages %}{{ m.role }}\n{{ m.content }}\n--\n~~\n{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}",
        encoding="utf-8",
    )
    probed = make_labeller("sample", chat_template=str(path))
    named = make_labeller("sample", chat_template=str(path), end_of_turn=["--\n"])

    assert trained_in(named, chat("Hi", "Hello")) == ["Hello\n--\n"]
    assert trained_in(probed, chat("Hi", "Hello"))[0].startswith("Hello\n--")


def test_no_turn_end_is_warned_of(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    (warning,) = make_labeller("sample", chat_template=str(path)).warnings()

    assert "would not learn to stop" in warning


def test_template_arguments(make_labeller: MakeLabeller) -> None:
    """Of the recipe; those of a row come before them."""
    labeller = make_labeller("qwen3", template_kwargs={"enable_thinking": False})
    (sample,) = kept(labeller, chat("Hi", "Hello"), "sharegpt")

    assert sample.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n")
    assert trained_in(labeller, chat("Hi", "Hello")) == ["Hello<|im_end|>"]
    assert trained_in(make_labeller("qwen3"), chat("Hi", "Hello")) == [
        "<think>\n\n</think>\n\nHello<|im_end|>"
    ]


THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}"
    "</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking %}<think>{% endif %}{% endif %}"
)
REASONED = Conversation((Message("user", "Hi"), Message("assistant", "Ho", reasoning="Hm.")))
PLAIN = Conversation((Message("user", "Hi"), Message("assistant", "Ho")))


def test_an_argument_is_chosen_per_conversation(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    """By its reasoning; the argument of a row comes before what is chosen."""
    path = tmp_path / "thinks.jinja"
    path.write_text(THINKS, encoding="utf-8")
    labeller = make_labeller("sample", chat_template=str(path), template_kwargs={"thinking": "auto"})
    own = replace(PLAIN, template_kwargs={"thinking": True})

    assert labeller.renders(REASONED).prompt(1).endswith("assistant\n<think>")
    assert labeller.renders(PLAIN).prompt(1).endswith("assistant\n")
    assert labeller.renders(own).prompt(1).endswith("assistant\n<think>")
    assert labeller.modes(REASONED) == {"auto_thinking_true": 1}
    assert labeller.modes(PLAIN) == {"auto_thinking_false": 1}
    assert labeller.modes(own) == make_labeller("sample").modes(PLAIN) == {}
    assert [decoded(labeller, each.ids) for each in labeller(REASONED)] == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>Hm.</think>Ho<|im_end|>\n"
    ]


def test_rows_of_one_shape_may_need_other_arguments(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    """Reasoning can be in the content of a plain row."""
    path = tmp_path / "thinks.jinja"
    path.write_text(THINKS, encoding="utf-8")
    keys: dict[str, Any] = {"chat_template": str(path)}

    assert not make_labeller("sample", **keys, template_kwargs={"thinking": True}).has_modes
    assert make_labeller("sample", **keys, template_kwargs={"thinking": "auto"}).has_modes


def test_contents_become_parts_where_the_template_takes_only_those(
    make_labeller: MakeLabeller, tmp_path: Path
) -> None:
    path = tmp_path / "parts.jinja"
    path.write_text(
        THINKS.replace("{{ m.content }}", "{% for c in m.content %}{{ c.text }}{% endfor %}"),
        encoding="utf-8",
    )
    labeller = make_labeller("sample", chat_template=str(path))

    assert labeller.parts >= {"user", "assistant"}
    assert make_labeller("sample").parts == frozenset()
    assert trained_in(labeller, chat("Hi", "Hello")) == ["Hello<|im_end|>"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"template_kwargs": {"thinkin": True}}, "never reads thinkin; did you mean thinking?"),
        (
            {"template_kwargs": {"enable_thinking": "auto"}},
            "never reads enable_thinking; did you mean thinking?",
        ),
        ({"template_kwargs": {"messages": []}}, "messages is set by each render"),
        ({"leave_out": ["</thinking>"]}, "never prints '</thinking>'; did you mean '</think>'"),
        ({"end_of_turn": ["<|im_stop|>"]}, "never prints '<|im_stop|>'"),
    ],
)
def test_what_the_template_does_not_know_is_an_error(
    make_labeller: MakeLabeller, tmp_path: Path, keys: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "thinks.jinja"
    path.write_text(THINKS, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        make_labeller("sample", chat_template=str(path), **keys)

    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_the_twin_by_reference_gives_the_same(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample")
    conversation = Conversation((Message("user", "Hi"), Message("assistant", "Hello, 你好")))
    ours, theirs = labeller(conversation), labeller.by_reference(conversation)

    assert labeller.by_reference is labeller.by_reference
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.labels, other.labels)


# ==== Known templates ====


PROBES = ("parts_roles", "find_turn_ends", "find_reasoning_marks", "find_mode", "Printable")


@pytest.fixture
def facts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of facts, which is empty."""
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PREMASK_FACTS")
    return tmp_path / "cache" / "facts"


def same_decisions(one: Labeller, other: Labeller) -> bool:
    """Whether two labellers have the same rules, and give the rows of the sample the same labels."""
    assert (one.rules, one.ends, one.parts) == (other.rules, other.ends, other.parts)
    assert one.modes(Conversation((Message("user", "a"), Message("assistant", "b")))) == other.modes(
        Conversation((Message("user", "a"), Message("assistant", "b")))
    )
    results = [label_rows(each, ROWS[:20], "sharegpt") for each in (one, other)]
    return repr(results[0]) == repr(results[1])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sample", {}),
        ("sample", {"chat_template": "mistral", "append_eos": True}),
        ("sample", {"chat_template": "alpaca", "end_of_turn": ["\n\n"]}),
        ("qwen3", {}),
        ("qwen3", {"template_kwargs": {"enable_thinking": "auto"}}),
        ("qwen3", {"leave_out": ["<think>\n\n</think>\n\n"]}),
        ("llama3_2", {"history": "last"}),
    ],
)
def test_a_known_template_is_not_probed_again(
    make_labeller: MakeLabeller, facts_on: Path, name: str, keys: dict[str, Any]
) -> None:
    first = make_labeller(name, **keys)
    with ExitStack() as stack:
        for probe in PROBES:
            stack.enter_context(mock.patch(f"premask.labeller.{probe}", side_effect=AssertionError(probe)))
        again = make_labeller(name, **keys)

    assert len([*facts_on.glob("template-*")]) == 1
    assert same_decisions(first, again)


@pytest.mark.parametrize(
    "keys",
    [
        {"chat_template": "zephyr"},
        {"template_kwargs": {"enable_thinking": "auto"}},
        {"template_kwargs": {"enable_thinking": False}},
        {"end_of_turn": ["<|im_end|>"]},
        {"date": "2024-02-29"},
        {"append_eos": True},
    ],
)
def test_another_template_or_recipe_is_probed(
    make_labeller: MakeLabeller, facts_on: Path, keys: dict[str, Any]
) -> None:
    make_labeller("qwen3")
    with_facts = make_labeller("qwen3", **keys)

    assert len([*facts_on.glob("template-*")]) == 2
    with mock.patch.dict(os.environ, PREMASK_FACTS="off"):
        assert same_decisions(make_labeller("qwen3", **keys), with_facts)


def test_what_decides_no_row_is_no_other_template(make_labeller: MakeLabeller, facts_on: Path) -> None:
    for keys in (
        {},
        {"verify": 0.5},
        {"sources": ["other.jsonl"]},
        {"engine": "tokenizers"},
        {"max_length": 99},
    ):
        make_labeller("sample", **keys)

    assert len([*facts_on.glob("template-*")]) == 1


def test_a_recipe_that_is_refused_is_refused_again(make_labeller: MakeLabeller, facts_on: Path) -> None:
    for _ in range(2):
        with pytest.raises(RecipeError, match="leave_out"):
            make_labeller("sample", leave_out=["<never printed>"])

    assert not [*facts_on.glob("template-*")]


# ==== Pairs ====


def pair(*texts: tuple[str, list[tuple[int, int]]]) -> LabelledTexts:
    """Texts of one row whose answers begin at character 2, and their tokens, as (id, characters)."""
    samples = [
        Sample(text, (Turn(1, 2, len(text)),), (), "inference", (), (2, len(text))) for text, _ in texts
    ]
    masked = masked_texts(samples, [0] * len(samples))
    ids, sizes = (np.array([token[i] for _, tokens in texts for token in tokens]) for i in (0, 1))
    ends, counts = np.cumsum(sizes), [len(tokens) for _, tokens in texts]
    tokens = Tokens(ids.astype(np.int32), np.cumsum([0, *counts]), ends - sizes, ends)
    none = np.zeros(len(texts), dtype=np.int64)
    return LabelledTexts(masked, Encoded(tokens, none, none, none, {}), label_tokens(masked, tokens))


@pytest.mark.parametrize(
    ("chosen", "rejected", "reasons"),
    [
        (("pqa", [(5, 2), (6, 1)]), ("pqbb", [(5, 2), (7, 2)]), []),
        (("pqa", [(5, 2), (6, 1)]), ("pqa", [(5, 2), (6, 1)]), ["same_sides"]),
        (("pqa", [(5, 2), (6, 1)]), ("pqb", [(8, 1), (9, 1), (7, 1)]), ["prompts_differ"]),
        (("pqa", [(5, 2), (6, 1)]), ("xyb", [(4, 2), (7, 1)]), []),
    ],
)
def test_errors_of_pairs(
    chosen: tuple[str, list[tuple[int, int]]],
    rejected: tuple[str, list[tuple[int, int]]],
    reasons: list[str],
) -> None:
    """The same prompt needs the same tokens; prompts of other texts are compared before (`decide_together`)."""
    labelled = pair(chosen, rejected)
    errors = pair_errors(labelled.masked, labelled.encoded.tokens)
    assert [(row, error.reason) for row, error in errors.items()] == [(0, reason) for reason in reasons]
