"""What ends a turn of a template, and where it stands behind the text of a message."""

from __future__ import annotations

import pytest
from premask.masking.turn_ends import TurnEnds, find_turn_ends
from small_templates import (
    CHATML,
    COHERE,
    GLM,
    GOLDEN,
    HASHES,
    LLAMA_2,
    MISTRAL,
    PHI_3,
    REFUSES,
    VICUNA,
    renders_of,
)


@pytest.mark.parametrize(
    ("ends", "text", "at", "expected"),
    [
        (TurnEnds(("</s>",)), "Hi</s>\n", 2, 6),
        (TurnEnds(("</s>",)), "Hi </s>\n", 2, 7),  # a space that the template prints is written by the model
        (TurnEnds(("</s>", "<|im_end|>")), "Hi<|im_end|>\n</s>", 2, 12),
        (TurnEnds(("</s>",)), "Hi\n\n", 2, 2),
        (TurnEnds(("</s>",)), "Hi###\n", 2, 5),
        (TurnEnds(()), "Hi", 2, 2),
        (TurnEnds(("</s>",), always_prompts=True), "Hi\nASSISTANT:", 2, 2),
        (TurnEnds(("</s>",)), "</s>Hi</s>", 6, 10),
    ],
)
def test_end_after(ends: TurnEnds, text: str, at: int, expected: int) -> None:
    assert ends.after(text, at) == expected


def test_opener_after() -> None:
    ends = TurnEnds((), openers=("<|user|>", "<|user|><|now|>"))

    assert ends.opener_after("Hi\n<|user|>x", 2, 2) == 11
    assert ends.opener_after("Hi<|user|><|now|>x", 2, 2) == 17
    assert ends.opener_after("Hi there<|user|>", 2, 2) == 2
    assert ends.opener_after("Hi", 2, 2) == 2
    assert TurnEnds(("</s>",)).opener_after("Hi<|user|>", 2, 2) == 2


@pytest.mark.parametrize(
    ("source", "stops", "control", "expected"),
    [
        (CHATML, ["<|im_end|>"], ["<|im_start|>", "<|im_end|>"], TurnEnds(("<|im_end|>",))),
        (CHATML, ["</s>"], ["<|im_start|>", "<|im_end|>"], TurnEnds(("</s>", "<|im_end|>"))),
        (CHATML, [], [], TurnEnds(("<|im_end|>",))),
        (GOLDEN, ["</s>"], ["</s>", "<|im_start|>", "<|im_end|>"], TurnEnds(("</s>", "<|im_end|>"))),
        (LLAMA_2, ["</s>"], ["</s>"], TurnEnds(("</s>",))),
        (MISTRAL, ["</s>"], ["</s>"], TurnEnds(("</s>",))),
        (COHERE, [], ["<|START|>", "<|END_RESPONSE|>", "<|END|>"], TurnEnds(("<|END_RESPONSE|>",))),
        (COHERE, ["<|END|>"], ["<|START|>", "<|END_RESPONSE|>", "<|END|>"], TurnEnds(("<|END|>",))),
        (
            GLM,
            ["<|endoftext|>"],
            ["<|user|>", "<|assistant|>"],
            TurnEnds(("<|endoftext|>",), ("<|user|>", "<|assistant|>")),
        ),
        (PHI_3, ["</s>"], ["<|user|>", "<|end|>", "</s>"], TurnEnds(("</s>", "<|end|>"))),
        (VICUNA, ["</s>"], ["</s>"], TurnEnds(("</s>",), seen=False)),
        (VICUNA, [], [], TurnEnds((), seen=False)),
        (HASHES, ["</s>"], ["</s>"], TurnEnds(("</s>", "###"))),
    ],
)
def test_find_turn_ends(source: str, stops: list[str], control: list[str], expected: TurnEnds) -> None:
    found = find_turn_ends(renders_of(source), stops=stops, control_tokens=control)

    assert (found.stops, found.openers, found.seen) == (expected.stops, expected.openers, expected.seen)


def test_turn_ends_of_a_template_that_refuses_the_probes() -> None:
    assert find_turn_ends(renders_of(REFUSES), stops=["</s>"]).stops == ("</s>",)


def test_ends_that_differ_where_the_turn_is_the_last() -> None:
    """What follows the common text is a control token in both cases; the first of each ends the turn."""
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.role == 'assistant' %}</answer>"
        "{{ '<|eot|>' if loop.last else '<|im_end|>' }}{% else %}<|im_end|>{% endif %}\n{% endfor %}"
    )
    control = ["<|im_start|>", "<|im_end|>", "<|eot|>"]

    assert find_turn_ends(renders_of(source), control_tokens=control) == TurnEnds(("<|eot|>", "<|im_end|>"))


def test_a_turn_end_that_the_tokenizer_does_not_know_is_kept_as_text() -> None:
    """As with the template of another model: something ends the turn, but the stop is not known."""
    other = (
        "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
        "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    known = ["<|start|>", "<|message|>", "<|return|>", "<|end|>"]

    found = find_turn_ends(renders_of(other))
    assert (found.seen, found.text) == (False, "<|return|>")
    assert find_turn_ends(renders_of(other), stops=known[2:], control_tokens=known).text == ""
    assert find_turn_ends(renders_of(CHATML), control_tokens=["<|im_end|>"]).text == ""
