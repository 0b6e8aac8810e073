"""Template arguments that are chosen per conversation, by whether it has reasoning."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RecipeError
from premask.core.records import Conversation, Message
from premask.masking import completions
from premask.masking.chat_template import ChatTemplate
from premask.masking.reasoning_marks import ReasoningMarks, find_reasoning_marks
from premask.masking.reasoning_modes import Mode, automatic, find_mode, has_reasoning
from premask.masking.renders import Renders
from premask.masking.rules import Rules
from premask.masking.turn_ends import find_turn_ends

PRINTS = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n@{% endif %}"


def template_of(prompt: str, *, before: str = "", each: str = PRINTS) -> ChatTemplate:
    """ChatML; `before` comes first, `each` before the content of an answer, `prompt` ends the prompt."""
    turn = "<|im_start|>{{ m.role }}\n" + each + "{{ m.content }}<|im_end|>\n"
    source = before + "{% for m in messages %}" + turn + "{% endfor %}" + PROMPT.replace("@", prompt)
    return ChatTemplate(source, name="chat template t")


def mode_of(template: ChatTemplate, name: str) -> Mode:
    def renders(conversation: Conversation) -> Renders:
        return Renders(conversation, template)

    ends = find_turn_ends(renders, control_tokens=("<|im_start|>", "<|im_end|>"))
    rules = Rules(ends, find_reasoning_marks(template.sources.values(), renders))
    return find_mode(template, name, renders=renders, decides=lambda c: completions.decide(renders(c), rules))


CLOSES = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
QWEN = PRINTS.replace(
    "{% endif %}", "{% else %}{{ '<think>\n\n</think>\n\n' if m.role == 'assistant' }}{% endif %}"
)
OPENS = "{% if thinking %}<think>\n{% endif %}"
EITHER = "{{ '<think>\n' if mode == 'thinking' else '<think>\n\n</think>\n\n' }}"
EFFORT = "{% set effort = reasoning_effort or 'high' %}"
LISTED = "{{ '<think>\n' if effort in ('low', 'high') else '' }}"
CHECKED = "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('no') }}{% endif %}"
SYSTEM = "{% if enable_thinking %}<|think|>{% endif %}"
BUDGET = "{% if thinking_budget == 0 %}no{% elif thinking_budget != -1 %}{{ thinking_budget }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "name", "expected"),
    [
        (template_of(CLOSES, each=QWEN), "enable_thinking", (True, False)),  # Qwen3
        (template_of(OPENS), "thinking", (True, False)),  # DeepSeek-V3.1
        (
            template_of(OPENS.replace("thinking", "a")),
            "a",
            (True, False),
        ),  # what is printed decides, not the name
        (template_of(OPENS.replace("if thinking", "if not skip_thinking")), "skip_thinking", (False, True)),
        (template_of(OPENS.replace("if thinking", "if not b")), "b", (False, True)),
        (template_of(EITHER), "mode", ("thinking", None)),
        (
            template_of(LISTED, before=EFFORT),
            "reasoning_effort",
            ("low", "none"),
        ),  # low prints what high does
        (template_of("", before=CHECKED + "{{ reasoning_effort }}"), "reasoning_effort", ("high", "none")),
        (template_of("", before=SYSTEM), "enable_thinking", (True, False)),  # a system prompt, as in Gemma 4
        (template_of("", before=BUDGET), "thinking_budget", (-1, 0)),  # Seed
        (template_of(OPENS, each=""), "thinking", (True, False)),  # reasoning is part of the content
    ],
)
def test_the_values_for_conversations_with_and_without_reasoning(
    template: ChatTemplate, name: str, expected: tuple[Any, Any]
) -> None:
    mode = mode_of(template, name)
    found = mode.value(reasoning=True), mode.value(reasoning=False)
    if expected[1] is None:
        assert found[0] == expected[0]
        assert found[1] != expected[0]
    else:
        assert found == expected
        assert [type(each) for each in found] == [type(each) for each in expected]


@pytest.mark.parametrize(
    ("template", "name", "hint"),
    [
        (template_of("", before="{{ 'x' if date_string else 'y' }}"), "date_string", "give it a value"),
        (template_of("", before="{{ reasoning_effort }}"), "reasoning_effort", "give it a value"),  # gpt-oss
        (
            template_of(OPENS, before="{% if false %}{{ preserve_thinking }}{% endif %}"),
            "preserve_thinking",
            "or try thinking; give it a value",
        ),
    ],
)
def test_an_argument_that_changes_nothing_about_reasoning(
    template: ChatTemplate, name: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as error:
        mode_of(template, name)

    assert str(error.value) == (
        f"template_kwargs: {name}: auto: chat template t reads {name}, but no value changes how reasoning is "
        f"printed; {hint}"
    )


def test_the_same_mode_each_time() -> None:
    assert len({mode_of(template_of(LISTED, before=EFFORT), "reasoning_effort") for _ in range(3)}) == 1


def test_auto_is_a_value_of_some_templates() -> None:
    template = template_of("{{ 'x' if tool_choice == 'auto' }}" + OPENS)

    assert automatic(template, {"tool_choice": "auto", "thinking": "auto", "other": True}) == ("thinking",)


def test_names_of_counts() -> None:
    mode = Mode("thinking_mode", True, "no-think")

    assert mode.label(reasoning=True) == "auto_thinking_mode_true"
    assert mode.label(reasoning=False) == "auto_thinking_mode_no_think"


# ==== Reasoning of a conversation ====


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message("assistant", "Yes."), False),
        (Message("assistant", "Yes.", reasoning="Hm."), True),
        (Message("assistant", "Yes.", reasoning=" \n"), False),
        (Message("assistant", "Yes.", reasoning="Hm.", train=False), False),
        (Message("user", "Yes.", reasoning="Hm."), False),
        (Message("user", "<think>Hm.</think>Yes."), False),
        (Message("assistant", "<think>\nHm.\n</think>\n\nYes."), True),
        (Message("assistant", "\n<think>\nHm.\n</think>"), True),
        (Message("assistant", "<think>\n\n</think>\n\nYes."), False),
        (Message("assistant", "<think></think>Say <think>x</think>"), False),
        (Message("assistant", "Write <think>Hm.</think>"), False),
        (Message("assistant", "<think>Hm."), False),
        (Message("assistant", "[THINK]Hm.[/THINK]Yes."), True),
        (Message("assistant", None), False),
    ],
)
def test_has_reasoning(message: Message, expected: bool) -> None:  # noqa: FBT001
    assert has_reasoning(Conversation((Message("user", "Hi"), message))) is expected


def test_reasoning_between_the_marks_of_the_template() -> None:
    talk = Conversation((Message("assistant", "<|channel>thought\nHm.<channel|>Yes."),))

    assert not has_reasoning(talk)
    assert has_reasoning(talk, ReasoningMarks(("<|channel>thought\n",), ("<channel|>",)))


def test_one_message_with_reasoning_is_enough() -> None:
    talk = (Message("assistant", "A"), Message("user", "B"), Message("assistant", "C", reasoning="Hm."))

    assert has_reasoning(Conversation(talk))
