"""Which parts of a completion are trained: what the recipe leaves out, and what the author marked."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.recipe import Train
from premask.core.records import Conversation, Message, Sample, Stretch
from premask.masking.completions import decide
from premask.masking.reasoning_marks import find_reasoning_marks
from premask.masking.rules import Rules
from premask.masking.turn_ends import TurnEnds
from small_templates import renders_of

SOURCE = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' %}<think>{{ m.reasoning_content or '' }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
USER = Message("user", "How?")
CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}
FULL = Message("assistant", "So.", reasoning="Hm.", tool_calls=(CALL,))
EMPTY = Message("assistant", "So.")


def decided(*messages: Message, source: str = SOURCE, weight: float | None = None, **rules: Any) -> Sample:
    renders = renders_of(source)
    marks = find_reasoning_marks([source], renders)
    conversation = Conversation(messages, weight=weight)
    (sample,) = decide(renders(conversation), Rules(TurnEnds(("</s>",)), marks, **rules))
    return sample


def trained(*messages: Message, **rules: Any) -> list[str]:
    sample = decided(*messages, **rules)
    return [sample.text[start:end] for _, start, end in sample.turns]


@pytest.mark.parametrize(
    ("train", "message", "expected"),
    [
        ({}, FULL, ["<think>Hm.</think>So.<call>look</call></s>"]),
        ({"reasoning": False}, FULL, ["<think>", "</think>So.<call>look</call></s>"]),
        ({"empty_reasoning": False}, FULL, ["<think>Hm.</think>So.<call>look</call></s>"]),
        ({}, EMPTY, ["<think></think>So.</s>"]),
        ({"reasoning": False}, EMPTY, ["So.</s>"]),
        ({"empty_reasoning": False}, EMPTY, ["So.</s>"]),
        ({"text": False}, FULL, ["<think>Hm.</think>", "<call>look</call></s>"]),
        ({"tool_calls": False}, FULL, ["<think>Hm.</think>So.", "</s>"]),
        ({"end_of_turn": False}, FULL, ["<think>Hm.</think>So.<call>look</call>"]),
        ({"text": False, "reasoning": False, "tool_calls": False}, FULL, ["<think>", "</think>", "</s>"]),
    ],
)
def test_parts_that_the_recipe_leaves_out(
    train: dict[str, bool], message: Message, expected: list[str]
) -> None:
    assert trained(USER, message, train=Train(**train)) == expected  # type: ignore[arg-type]


INLINE = Message("assistant", "<think>Hm.</think>So.")
PLAIN = SOURCE.replace("<think>{{ m.reasoning_content or '' }}</think>", "")


@pytest.mark.parametrize(
    ("source", "message", "expected"),
    [
        (PLAIN, INLINE, ["<think>", "</think>So.</s>"]),
        (PLAIN.replace("<assistant>{% endif", "<assistant><think>{% endif"), INLINE, ["</think>So.</s>"]),
        (PLAIN, Message("assistant", "It is </think> here."), ["It is </think> here.</s>"]),
    ],
)
def test_reasoning_within_the_content_is_reasoning(
    source: str, message: Message, expected: list[str]
) -> None:
    assert trained(USER, message, source=source, train=Train(reasoning=False)) == expected


def test_strings_of_the_template_are_left_out_but_not_those_of_the_message() -> None:
    message = Message("assistant", "It is </think> here.", reasoning="Hm.")

    assert trained(USER, message, leave_out=("<think>", "</think>")) == ["Hm.", "It is </think> here.</s>"]


def test_the_seams_are_those_of_the_whole_completion() -> None:
    sample = decided(USER, FULL, train=Train(reasoning=False, end_of_turn=False))
    start = sample.text.index("<assistant>") + len("<assistant>")

    assert sample.seams == (start, len(sample.text))


def marked(*stretches: Stretch, train: bool | None = None, text: str = "yes no yes") -> Message:
    return Message("assistant", text, train=train, stretches=stretches)


def test_stretches_that_the_author_does_not_train() -> None:
    message = marked(Stretch(4), Stretch(6, train=False), Stretch(10))

    assert trained(USER, message) == ["<think></think>yes ", " yes</s>"]


def test_stretches_that_alone_are_trained() -> None:
    message = marked(Stretch(4), Stretch(6, train=True), Stretch(10), train=False)

    assert trained(USER, message) == ["no"]


def test_stretches_through_what_templates_do_to_content() -> None:
    """Provenance follows strip, slices and replace."""
    source = SOURCE.replace(
        "{{ m.content }}", "{{ (m.content | trim)[:5] }}{{ (m.content | trim)[5:] | replace('e', 'e') }}"
    )
    message = marked(Stretch(5), Stretch(8, train=False), Stretch(14), text="  yes no yes  ")

    assert trained(USER, message, source=source) == ["<think></think>yes", " yes</s>"]


def test_stretches_that_the_template_hides_are_refused() -> None:
    source = SOURCE.replace("{{ m.content }}", "{{ m.content | title }}")
    with pytest.raises(RowError, match="origin_lost: the chat template hides which part of message 1"):
        trained(USER, marked(Stretch(4), Stretch(10, train=False)), source=source)


def weights(sample: Sample) -> list[tuple[str, float]]:
    found, at = [], 0
    for length, weight in sample.weights:
        found.append((sample.text[at : at + length], weight))
        at += length
    return found


def test_weights_of_rows_messages_and_stretches_are_factors() -> None:
    message = Message("assistant", "yes no", weight=0.5, stretches=(Stretch(4), Stretch(6, weight=3.0)))
    sample = decided(USER, message, Message("user", "And?"), EMPTY, weight=-2)

    assert weights(sample) == [
        ("<user>How?</s><assistant>", 1),
        ("<think></think>yes ", -1),
        ("no", -6),
        ("</s>", -1),
        ("<user>And?</s><assistant>", 1),
        ("<think></think>So.</s>", -2),
    ]


def test_weights_of_1_are_not_kept() -> None:
    assert decided(USER, EMPTY).weights == ()
    assert decided(USER, Message("assistant", "So.", weight=1), weight=1).weights == ()


def test_an_empty_turn_is_left_out_and_counted() -> None:
    sample = decided(USER, Message("assistant", " "), USER, EMPTY)

    assert [turn.message for turn in sample.turns] == [3]
    assert sample.counts == {"empty_turns": 1}
    with pytest.raises(RowError, match="nothing_trained"):
        decided(USER, Message("assistant", " "))


SPLIT = SOURCE.replace(
    "{{ m.reasoning_content or '' }}",
    "{{ m.content.split('</think>')[0].split('<think>')[-1] if '</think>' in m.content else '' }}",
).replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")


def test_a_block_that_the_template_fills_from_the_content_is_not_empty() -> None:
    assert trained(USER, INLINE, source=SPLIT, train=Train(empty_reasoning=False)) == [
        "<think>Hm.</think>So.</s>"
    ]
    assert trained(USER, EMPTY, source=SPLIT, train=Train(empty_reasoning=False)) == ["So.</s>"]
