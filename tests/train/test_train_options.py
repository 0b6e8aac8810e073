"""What is trained is a choice: roles, turns, parts of a turn, weights, the template's own tags, eos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import batch_of
from labelling import kept, masked, rejected
from places import MakeBatches, MakeLabeller
from premask.core.errors import TemplateError
from premask.core.recipe import Mask, TooLong, Train, Turns
from premask.core.records import Row
from premask.labeller import Labeller

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


def trained(labeller: Labeller, messages: list[dict[str, Any]]) -> list[str]:
    """The trained stretches of a row's only sample, as its turns say."""
    (sample,) = kept(labeller, row(messages), "openai")
    return masked(sample)


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
    make_labeller: MakeLabeller, template: str, train: dict[str, Any], expected: list[str]
) -> None:
    labeller = make_labeller("sample", chat_template=template, train=Train(**train))

    assert trained(labeller, TALK) == expected


def test_flags_of_the_row_take_turns_away(make_labeller: MakeLabeller, template: str) -> None:
    talk = [dict(message) for message in TALK]
    talk[1]["train"] = False
    talk[3]["weight"] = 0

    assert trained(make_labeller("sample", chat_template=template), talk) == [THIRD]


def test_generation_tags_are_taken_at_their_word(make_labeller: MakeLabeller, template: str) -> None:
    labeller = make_labeller("sample", chat_template=template, mask=Mask.generation_tags)

    assert trained(labeller, TALK) == [FIRST, SECOND, THIRD]
    assert trained(labeller, [{**message, "train": i != 1} for i, message in enumerate(TALK)]) == [
        SECOND,
        THIRD,
    ]


def test_generation_tags_within_a_macro(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    """transformers' tracker shifts the span to the left here: it counts what is printed so far."""
    source = (
        "{% macro say(m) %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endmacro %}"
        "{% set all %}{% for m in messages %}{{ say(m) }}{% endfor %}{% endset %}{{ all }}"
    )
    (tmp_path / "macro.jinja").write_text(source, encoding="utf-8")
    keys = {"chat_template": str(tmp_path / "macro.jinja"), "on_dropped": "count"}
    labeller = make_labeller("sample", mask=Mask.generation_tags, **keys)

    assert trained(labeller, TALK[:2]) == ["Hello<|im_end|>"]


def test_tagged_stretches_that_touch_belong_each_to_its_message(
    make_labeller: MakeLabeller, tmp_path: Path
) -> None:
    (tmp_path / "touch.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
        encoding="utf-8",
    )
    labeller = make_labeller("sample", chat_template=str(tmp_path / "touch.jinja"), mask=Mask.generation_tags)
    talk = [TALK[0], {"role": "assistant", "content": "one long answer"}]

    assert trained(labeller, [*talk, {"role": "assistant", "content": "two", "train": False}]) == [
        "one long answer<|im_end|>"
    ]


def test_an_answer_that_says_the_stop_itself_still_gets_its_end(
    make_labeller: MakeLabeller, tmp_path: Path
) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    labeller = make_labeller("sample", chat_template=str(tmp_path / "bare.jinja"), append_eos=True)
    talk = [TALK[0], {"role": "assistant", "content": "the tag <|im_end|>"}]

    assert trained(labeller, talk) == ["the tag <|im_end|><|im_end|>"]


def test_generation_tags_without_parts_of_turns(make_labeller: MakeLabeller, template: str) -> None:
    train = Train(end_of_turn=False, reasoning=False)
    labeller = make_labeller("sample", chat_template=template, mask=Mask.generation_tags, train=train)

    assert trained(labeller, TALK) == ["<think>", "</think>Hello", SECOND[:-10], THIRD[:-10]]


def test_the_end_of_turn_of_the_recipe_goes_before_what_is_found(
    make_labeller: MakeLabeller, template: str
) -> None:
    labeller = make_labeller(
        "sample", chat_template=template, end_of_turn=["</call><|im_end|>", "<|im_end|>\n"]
    )

    assert labeller.ends.stops == ("</call><|im_end|>", "<|im_end|>\n")
    assert trained(labeller, TALK) == [FIRST + "\n", SECOND, THIRD + "\n"]


def test_a_row_keeps_the_samples_of_which_something_is_left(
    make_labeller: MakeLabeller, tmp_path: Path
) -> None:
    """History drops a call's marker, so the call is a sample of its own; without calls and ends it is empty."""
    source = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for call in m.tool_calls or [] %}"
        "{{ '!' if m is sameas messages[-1] }}{{ call.function.name }}{% endfor %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    (tmp_path / "marks.jinja").write_text(source, encoding="utf-8")
    talk = [TALK[0], {**TALK[3], "content": ""}, TALK[4], TALK[5]]
    keys = {"chat_template": str(tmp_path / "marks.jinja"), "on_dropped": "count"}

    assert len(kept(make_labeller("sample", **keys), row(talk), "openai")) == 2
    without = make_labeller("sample", **keys, train=Train(tool_calls=False, end_of_turn=False))
    assert trained(without, talk) == ["It is 300 g"]


def test_generation_tags_need_a_template_that_has_them(make_labeller: MakeLabeller) -> None:
    with pytest.raises(TemplateError, match=r"has no .* generation .* tags"):
        make_labeller("sample", mask=Mask.generation_tags)


def test_eos_only_where_the_template_ends_no_turn(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        encoding="utf-8",
    )
    bare = str(tmp_path / "bare.jinja")
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

    assert trained(make_labeller("sample", chat_template=bare), talk) == ["Hello"]
    assert "would not learn to stop" in make_labeller("sample", chat_template=bare).warnings()[0]
    assert trained(make_labeller("sample", chat_template=bare, append_eos=True), talk) == ["Hello<|im_end|>"]
    assert trained(make_labeller("sample", append_eos=True), talk) == ["Hello<|im_end|>"]
    assert make_labeller("sample").warnings() == []


def test_weights_survive(make_labeller: MakeLabeller, make_batches: MakeBatches) -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "weight": 0.5},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Good bye"},
    ]
    batch = make_batches("sample", loss_weights=True).run(batch_of([row(talk)], "openai"), "openai")
    samples = batch.samples

    assert samples.weights is not None
    assert samples.weights.dtype == np.float32
    assert Counter(samples.weights[samples.labels != -100].tolist()).keys() == {0.5, 1.0}
    assert not samples.weights[samples.labels == -100].any()

    refused = rejected(make_labeller("sample"), row(talk), "openai")
    assert (refused.reason, refused.detail) == (
        "unsupported_weight",
        "message 1 has weight 0.5; set loss_weights to keep it",
    )


def test_a_message_without_content_gets_an_empty_one_where_the_template_needs_it(
    make_labeller: MakeLabeller, tmp_path: Path
) -> None:
    needs = (
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{{ m.tool_calls or '' }}</s>{% endfor %}"
    )
    (tmp_path / "needs.jinja").write_text(needs, encoding="utf-8")
    talk = [TALK[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    labeller = make_labeller("sample", chat_template=str(tmp_path / "needs.jinja"))
    (sample,) = kept(labeller, row(talk), "openai")

    assert sample.text.startswith("<user>Hi</s><assistant>[{")


# ==== Samples that are too long ====


@pytest.mark.parametrize("policy", [TooLong.truncate, TooLong.split])
def test_counts_and_lineage_tell_of_what_is_kept(make_batches: MakeBatches, policy: TooLong) -> None:
    contents = ("Hi", "one two three", "x " * 40, "yes")
    turns = [{"from": ("human", "gpt")[i % 2], "value": content} for i, content in enumerate(contents)]
    batches = make_batches("sample", max_length=12, too_long=policy)
    talk = Row("s.jsonl", 0, {"conversations": turns})
    batch = batches.run(batch_of([talk], "sharegpt"), "sharegpt")
    (whole,) = kept(batches.labeller, talk, "sharegpt")

    samples, counted = batch.samples, batch.counted()
    trained = samples.labels != -100
    assert sum(counted[key] for key in _roles("tokens")) == len(samples.ids)
    assert sum(counted[key] for key in _roles("trained")) == np.count_nonzero(trained)
    assert counted["tokens_cut_off"] == len(whole.ids) - len(samples.ids)
    assert np.add.reduceat(trained, samples.offsets[:-1]).all()
    turns_of = [tuple(turns) for turns in samples.origin.column("trained_turns").to_pylist()]
    expected = [(1,)] if policy is TooLong.truncate else [(1,), (3,)]
    assert turns_of[0] == expected[0]
    assert {turn for turns in turns_of for turn in turns} == {t for (t,) in expected}


def _roles(name: str) -> list[str]:
    return [f"{name}_{role}" for role in ("template", "user", "assistant", "system", "tool")]
