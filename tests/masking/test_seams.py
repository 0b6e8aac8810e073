"""Where a completion begins: each way in which a text shows its prompt, or does not."""

from __future__ import annotations

import pytest
from premask.core.errors import RowError
from premask.core.recipe import History, OpenReasoning
from premask.core.records import Conversation, Message, Sample
from premask.masking.completions import decide
from premask.masking.reasoning_marks import ReasoningMarks, find_reasoning_marks
from premask.masking.rules import Rules
from premask.masking.turn_ends import TurnEnds
from small_templates import renders_of

ENDS = TurnEnds(("</s>",))
USER, ANSWER = Message("user", "Hi"), Message("assistant", "Yes.")
THOUGHT = Message("assistant", "Yes.", reasoning="Hm.")


def template(header: str, asked: str, *, answer: str = "{{ m.content }}") -> str:
    """A template whose turns are `<u>..</s>` and `HEADER..</s>`, and that asks for an answer with `asked`."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}" + header + answer + "</s>"
        "{% else %}<{{ m.role[0] }}>{{ m.content }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + asked + "{% endif %}"
    )


def decided(source: str, *messages: Message, **rules: object) -> tuple[Sample, ...]:
    renders = renders_of(source)
    marks = find_reasoning_marks([source], renders)
    return decide(renders(Conversation(messages)), Rules(ENDS, marks, **rules))  # type: ignore[arg-type]


def one(source: str, *messages: Message, **rules: object) -> tuple[str, str, str]:
    """Proof, prompt and completion of a conversation with one sample and one turn."""
    (sample,) = decided(source, *messages, **rules)
    (turn,) = sample.turns
    return sample.proof, sample.text[: turn.start], sample.text[turn.start : turn.end]


def reason(source: str, *messages: Message, **rules: object) -> str:
    with pytest.raises(RowError) as error:
        decided(source, *messages, **rules)
    return error.value.reason


THINKS = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
EMPTY = "<think>{{ m.reasoning_content or '' }}</think>{{ m.content }}"


@pytest.mark.parametrize(
    ("header", "asked", "answer", "message", "expected"),
    [
        ("<a>", "<a>", "{{ m.content }}", ANSWER, ("inference", "<u>Hi</s><a>", "Yes.</s>")),
        ("<a>", "", "{{ m.content }}", ANSWER, ("inference", "<u>Hi</s>", "<a>Yes.</s>")),
        ("<a> ", "<a>", "{{ m.content }}", ANSWER, ("inference", "<u>Hi</s><a>", " Yes.</s>")),
        ("<a>", "<a> ", "{{ m.content }}", ANSWER, ("composed", "<u>Hi</s><a> ", "Yes.</s>")),
        ("<a> ", "<a>\n", "{{ m.content }}", ANSWER, ("composed", "<u>Hi</s><a>\n", "Yes.</s>")),
        (" <a>\n", "<a>\n", "{{ m.content }}", ANSWER, ("composed", "<u>Hi</s><a>\n", "Yes.</s>")),
        ("<a>", "<a><think>", THINKS, THOUGHT, ("inference", "<u>Hi</s><a><think>", "Hm.</think>Yes.</s>")),
        ("<a>", "<a><think>", EMPTY, ANSWER, ("inference", "<u>Hi</s><a><think>", "</think>Yes.</s>")),
        (
            "<a>",
            "<a><think></think>",
            THINKS,
            ANSWER,
            ("composed", "<u>Hi</s><a><think></think>", "Yes.</s>"),
        ),
        (
            "<a>",
            "<a><think></think>",
            "</think>{{ m.content }}",
            ANSWER,
            ("composed", "<u>Hi</s><a><think></think>", "Yes.</s>"),
        ),
        (
            "<a>",
            "<a><think>",
            "{{ m.reasoning_content }}</think>{{ m.content }}",
            THOUGHT,
            ("composed", "<u>Hi</s><a><think>", "Hm.</think>Yes.</s>"),
        ),
        (
            "<a>",
            "<a><think>",
            "{{ m.content }}",
            Message("assistant", "<think>Hm.</think>Yes."),
            ("inference", "<u>Hi</s><a><think>", "Hm.</think>Yes.</s>"),
        ),
    ],
)
def test_the_sample_is_prompt_and_completion(
    header: str, asked: str, answer: str, message: Message, expected: tuple[str, str, str]
) -> None:
    assert one(template(header, asked, answer=answer), USER, message) == expected


@pytest.mark.parametrize(
    ("header", "asked", "answer", "message"),
    [
        ("<a>", "<a>Think well.", "{{ m.content }}", ANSWER),  # words that the text does not show
        ("<{{ m.name or 'a' }}>", "<a>", "{{ m.content }}", Message("assistant", "Yes.", name="bob")),
        ("<b>", "<a>", "{{ m.content }}", ANSWER),
        ("<a>", "<a><think></think>", THINKS, THOUGHT),  # reasoning behind a closed block
        ("<a>", "<a><think></think>", "</think></think>{{ m.content }}", ANSWER),  # closed twice
        ("<a><think>", "<a><think>", "<think>{{ m.content }}</think>", ANSWER),  # opened twice
    ],
)
def test_another_text_than_the_prompt_is_refused(
    header: str, asked: str, answer: str, message: Message
) -> None:
    assert reason(template(header, asked, answer=answer), USER, message) == "prompt_mismatch"


OPEN = template("<a>", "<a><think>\n", answer=THINKS)
SHOWN_CLOSED = template("<a>", "<a><think>\n", answer="</think>{{ m.content }}")


@pytest.mark.parametrize("source", [OPEN, SHOWN_CLOSED])
def test_an_open_block_without_reasoning_is_refused_by_default(source: str) -> None:
    assert reason(source, USER, ANSWER) == "open_reasoning"


def test_an_open_block_that_is_composed_is_closed_at_once() -> None:
    compose = {"open_reasoning": OpenReasoning.compose}

    assert one(OPEN, USER, ANSWER, **compose) == ("composed", "<u>Hi</s><a><think>\n", "</think>Yes.</s>")
    assert one(SHOWN_CLOSED, USER, ANSWER, **compose)[2] == "</think>Yes.</s>"
    plain = template("<a>", "<a><think>\n")  # prints no reasoning, so its marks are the common ones
    assert one(plain, USER, ANSWER, **compose)[2] == "\n</think>\n\nYes.</s>"


def test_an_open_block_as_rendered_is_counted() -> None:
    (sample,) = decided(OPEN, USER, ANSWER, USER, ANSWER, open_reasoning=OpenReasoning.as_rendered)

    assert sample.proof == "as-rendered"
    assert [sample.text[a:b] for _, a, b in sample.turns] == ["Yes.</s>"] * 2
    assert sample.counts == {"turns_behind_another_prompt": 2}


def test_history_that_is_shown_differently_gives_each_turn_its_own_sample() -> None:
    """The system text is printed before the last message only if that is the user's (Mistral)."""
    source = (
        "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}<u>"
        "{{ messages[0].content if loop.last }}{{ m.content }}</s>{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    chat = Message("system", "Be brief. "), USER, ANSWER, Message("user", "And?"), Message("assistant", "No.")
    samples = decided(source, *chat)

    assert [sample.text for sample in samples] == [
        "<u>Hi</s>Yes.</s><u>Be brief. And?</s>No.</s>",
        "<u>Be brief. Hi</s>Yes.</s>",
    ]
    assert {sample.proof for sample in samples} == {"composed"}
    assert [[turn.message for turn in sample.turns] for sample in samples] == [[4], [2]]


def test_the_generation_prompt_alone_is_found_where_the_turn_before_ends_differently() -> None:
    """eos ends the last turn only, so the prompt shows another end of the turn before."""
    source = (
        "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{{ '</s>' if loop.last else '<e>' }}{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    )
    assert one(source, USER, ANSWER) == ("composed", "<u>Hi</s><a>", "Yes.</s>")


def test_an_opening_turn_without_a_prompt_is_left_out() -> None:
    source = "{{ raise_exception('empty') if not messages }}" + template("<a>", "<a>")
    (sample,) = decided(source, ANSWER, USER, THOUGHT, history=History.split, on_dropped="count")

    assert [turn.message for turn in sample.turns] == [2]
    assert sample.counts["opening_turns"] == 1


def test_an_opening_turn_behind_its_prompt_is_trained() -> None:
    (sample,) = decided(template("<a>", "<a>"), ANSWER, USER, ANSWER)

    assert [turn.message for turn in sample.turns] == [0, 2]


def test_two_answers_in_a_row_name_the_repair() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}</s>{% else %}"
        "{{ '<a>' if messages[loop.index0 - 1].role == 'user' }}{{ m.content }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    )
    with pytest.raises(RowError, match="set repair: merge_consecutive"):
        decided(source, USER, ANSWER, ANSWER)


# ==== Marks ====


def test_marks_of_a_template_are_those_of_its_source_and_its_probe() -> None:
    source = template(
        "<a>", "<a>", answer="{% if m.thinking %}<muse>{{ m.thinking }}</think>{% endif %}{{ m.content }}"
    )
    marks = find_reasoning_marks([source], renders_of(source))

    assert marks.closes == ("</think>",)
    assert marks.closing == "</think>"
    assert marks.state("<a>") == ""
    assert ReasoningMarks(("<t>",), ("</t>",)).state("<t>x</t>") == "closed"
    assert ReasoningMarks(("<t>",), ("</t>",)).state("</t><t>") == "open"
