"""What is trained is a choice: roles, turns, parts of a turn, weights, the template's own tags, eos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import batch_of
from premask.core.errors import TemplateError
from premask.core.recipe import Mask, TooLong, Train, Turns
from premask.core.records import Reject, Row
from premask.labeller import LabelledRow, Stages

MakeStages = Callable[..., Stages]

CALL = {"type": "function", "function": {"name": "weigh", "arguments": {"what": "flour"}}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello", "reasoning_content": "greet"},
    {"role": "user", "content": "Weigh it"},
    {"role": "assistant", "content": "Gladly", "tool_calls": [CALL]},
    {"role": "tool", "content": "300 g"},
    {"role": "assistant", "content": "It is 300 g"},
]
TEMPLATE = """\
{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}
{%- if m.reasoning_content is defined %}<think>{{ m.reasoning_content }}</think>{% endif %}
{{- m.content }}
{%- for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}<|im_end|>
{%- endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}

{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("template") / "tagged.jinja"
    path.write_text(TEMPLATE, encoding="utf-8")
    return str(path)


def row(messages: list[dict[str, Any]]) -> Row:
    return Row("t.jsonl", 0, {"messages": messages})


def trained(stages: Stages, messages: list[dict[str, Any]]) -> list[str]:
    """The trained stretches of a row's only sample, as its turns say."""
    (result,) = stages.label([row(messages)], "openai")
    assert isinstance(result, LabelledRow), result
    (sample,) = result.samples
    return [sample.sample.text[turn.start : turn.end] for turn in sample.sample.turns]


FIRST = "<think>greet</think>Hello<|im_end|>"
SECOND = 'Gladly<call>{"name": "weigh", "arguments": {"what": "flour"}}</call><|im_end|>'
THIRD = "It is 300 g<|im_end|>"


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, [FIRST, SECOND, THIRD]),
        ({"turns": Turns.last}, [THIRD]),
        ({"reasoning": False}, ["<think>", "</think>Hello<|im_end|>", SECOND, THIRD]),
        ({"tool_calls": False}, [FIRST, "Gladly", "<|im_end|>", THIRD]),
        ({"end_of_turn": False}, [FIRST[:-10], SECOND[:-10], THIRD[:-10]]),
        ({"roles": ["assistant", "tool"]}, [FIRST, SECOND, "300 g", THIRD]),
        ({"roles": ["user"]}, ["Hi", "Weigh it"]),
    ],
)
def test_train_takes_parts_away(
    make_stages: MakeStages, template: str, train: dict[str, Any], expected: list[str]
) -> None:
    stages = make_stages("sample", chat_template=template, train=Train(**train))

    assert trained(stages, TALK) == expected


def test_flags_of_the_row_take_turns_away(make_stages: MakeStages, template: str) -> None:
    talk = [dict(message) for message in TALK]
    talk[1]["train"] = False
    talk[3]["weight"] = 0

    assert trained(make_stages("sample", chat_template=template), talk) == [THIRD]


def test_generation_tags_are_taken_at_their_word(make_stages: MakeStages, template: str) -> None:
    stages = make_stages("sample", chat_template=template, mask=Mask.generation_tags)

    assert trained(stages, TALK) == [FIRST, SECOND, THIRD]
    assert trained(stages, [{**message, "train": i != 1} for i, message in enumerate(TALK)]) == [
        SECOND,
        THIRD,
    ]


def test_generation_tags_within_a_macro(make_stages: MakeStages, tmp_path: Path) -> None:
    """transformers' tracker shifts the span to the left here: it counts what is printed so far."""
    source = (
        "{% macro say(m) %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endmacro %}"
        "{% set all %}{% for m in messages %}{{ say(m) }}{% endfor %}{% endset %}{{ all }}"
    )
    (tmp_path / "macro.jinja").write_text(source, encoding="utf-8")
    stages = make_stages("sample", chat_template=str(tmp_path / "macro.jinja"), mask=Mask.generation_tags)

    assert trained(stages, TALK[:2]) == ["Hello<|im_end|>"]


def test_tagged_stretches_that_touch_belong_each_to_its_message(
    make_stages: MakeStages, tmp_path: Path
) -> None:
    (tmp_path / "touch.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
        encoding="utf-8",
    )
    stages = make_stages("sample", chat_template=str(tmp_path / "touch.jinja"), mask=Mask.generation_tags)
    talk = [TALK[0], {"role": "assistant", "content": "one long answer"}]

    assert trained(stages, [*talk, {"role": "assistant", "content": "two", "train": False}]) == [
        "one long answer<|im_end|>"
    ]


def test_an_answer_that_says_the_stop_itself_still_gets_its_end(
    make_stages: MakeStages, tmp_path: Path
) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    stages = make_stages("sample", chat_template=str(tmp_path / "bare.jinja"), append_eos=True)
    talk = [TALK[0], {"role": "assistant", "content": "the tag <|im_end|>"}]

    assert trained(stages, talk) == ["the tag <|im_end|><|im_end|>"]


def test_generation_tags_without_parts_of_turns(make_stages: MakeStages, template: str) -> None:
    train = Train(end_of_turn=False, reasoning=False)
    stages = make_stages("sample", chat_template=template, mask=Mask.generation_tags, train=train)

    assert trained(stages, TALK) == ["<think>", "</think>Hello", SECOND[:-10], THIRD[:-10]]


def test_the_end_of_turn_of_the_recipe_goes_before_what_is_found(
    make_stages: MakeStages, template: str
) -> None:
    stages = make_stages("sample", chat_template=template, end_of_turn=["</call><|im_end|>", "<|im_end|>\n"])

    assert stages.ends.stops == ("</call><|im_end|>", "<|im_end|>\n")
    assert trained(stages, TALK) == [FIRST + "\n", SECOND, THIRD + "\n"]


def test_a_row_keeps_the_samples_of_which_something_is_left(make_stages: MakeStages, tmp_path: Path) -> None:
    """History drops a call's marker, so the call is a sample of its own; without calls and ends it is empty."""
    source = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for call in m.tool_calls or [] %}"
        "{{ '!' if m is sameas messages[-1] }}{{ call.function.name }}{% endfor %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    (tmp_path / "marks.jinja").write_text(source, encoding="utf-8")
    talk = [TALK[0], {**TALK[3], "content": ""}, TALK[4], TALK[5]]
    keys = {"chat_template": str(tmp_path / "marks.jinja")}

    (whole,) = make_stages("sample", **keys).label([row(talk)], "openai")
    assert isinstance(whole, LabelledRow)
    assert len(whole.samples) == 2
    without = make_stages("sample", **keys, train=Train(tool_calls=False, end_of_turn=False))
    assert trained(without, talk) == ["It is 300 g"]


def test_generation_tags_need_a_template_that_has_them(make_stages: MakeStages) -> None:
    with pytest.raises(TemplateError, match=r"has no .* generation .* tags"):
        make_stages("sample", mask=Mask.generation_tags)


def test_eos_only_where_the_template_ends_no_turn(make_stages: MakeStages, tmp_path: Path) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    bare = str(tmp_path / "bare.jinja")
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

    assert trained(make_stages("sample", chat_template=bare), talk) == ["Hello"]
    assert "would not learn to stop" in make_stages("sample", chat_template=bare).warnings()[0]
    assert trained(make_stages("sample", chat_template=bare, append_eos=True), talk) == ["Hello<|im_end|>"]
    assert trained(make_stages("sample", append_eos=True), talk) == ["Hello<|im_end|>"]
    assert make_stages("sample").warnings() == []


def test_weights_survive(make_stages: MakeStages) -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "weight": 0.5},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Good bye"},
    ]
    outcome = make_stages("sample", loss_weights=True).run(batch_of([row(talk)], "openai"), "openai")
    samples = outcome.samples

    assert samples.weights is not None
    assert samples.weights.dtype == np.float32
    assert Counter(samples.weights[samples.labels != -100].tolist()).keys() == {0.5, 1.0}
    assert not samples.weights[samples.labels == -100].any()

    (refused,) = make_stages("sample").label([row(talk)], "openai")
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.detail) == (
        "unsupported_weight",
        "message 1 has weight 0.5; set loss_weights to keep it",
    )


def test_a_message_without_content_gets_an_empty_one_where_the_template_needs_it(
    make_stages: MakeStages, tmp_path: Path
) -> None:
    needs = (
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{{ m.tool_calls or '' }}</s>{% endfor %}"
    )
    (tmp_path / "needs.jinja").write_text(needs, encoding="utf-8")
    talk = [TALK[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    (result,) = make_stages("sample", chat_template=str(tmp_path / "needs.jinja")).label(
        [row(talk)], "openai"
    )

    assert isinstance(result, LabelledRow)


# ==== Samples that are too long ====


@pytest.mark.parametrize("policy", [TooLong.truncate, TooLong.split])
def test_counts_and_lineage_tell_of_what_is_kept(make_stages: MakeStages, policy: TooLong) -> None:
    contents = ("Hi", "one two three", "x " * 40, "yes")
    turns = [{"from": ("human", "gpt")[i % 2], "value": content} for i, content in enumerate(contents)]
    stages = make_stages("sample", max_length=12, too_long=policy)
    outcome = stages.run(batch_of([Row("s.jsonl", 0, {"conversations": turns})], "sharegpt"), "sharegpt")
    whole = stages.label([Row("s.jsonl", 0, {"conversations": turns})], "sharegpt")[0]
    assert isinstance(whole, LabelledRow)

    samples = outcome.samples
    trained = samples.labels != -100
    assert sum(count for key, count in outcome.counted().items() if key in _roles("tokens")) == len(
        samples.ids
    )
    assert sum(outcome.counted()[key] for key in _roles("trained")) == np.count_nonzero(trained)
    assert outcome.counted()["tokens_cut_off"] == len(whole.samples[0].ids) - len(samples.ids)
    assert np.add.reduceat(trained, samples.offsets[:-1]).all()
    turns_of = [tuple(turns) for turns in samples.origin.column("trained_turns").to_pylist()]
    expected = [(1,)] if policy is TooLong.truncate else [(1,), (3,)]
    assert turns_of[0] == expected[0]
    assert {turn for turns in turns_of for turn in turns} == {t for (t,) in expected}


def _roles(name: str) -> list[str]:
    return [f"{name}_{role}" for role in ("template", "user", "assistant", "system", "tool")]
