"""Strings that a recipe names: whether the template can print them."""

from __future__ import annotations

import pytest
from premask.core.errors import RecipeError
from premask.masking.chat_template import ChatTemplate
from premask.masking.printable import Printable, check_left_out, check_turn_ends
from premask.masking.renders import Renders
from small_templates import CHATML, REFUSES

THINKS = CHATML.replace(
    "{{ m.content }}",
    "{% if m.reasoning_content %}{{ '<' ~ 'think>\\n' }}{{ m.reasoning_content }}{{ '\\n</think>' }}{{ '\\n\\n' }}"
    "{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
    "{% endfor %}",
).replace("<|im_end|>", "{{ eos_token }}")


def printable(source: str = THINKS) -> Printable:
    template = ChatTemplate(source, variables={"eos_token": "<|im_end|>"}, name="chat template t")
    return Printable(template, lambda conversation: Renders(conversation, template))


@pytest.mark.parametrize(
    "text",
    [
        "</think>",  # a literal
        "think>",
        "<think>\n",  # pieces that join
        "\n</think>\n\n",  # two literals, one after the other
        "<|im_end|>",  # a variable
        "<|im_end|>\n<|im_start|>user\n",  # with a role
        "</tool_call><tool_call>",  # between parallel calls
    ],
)
def test_what_a_template_prints_can_be_left_out(text: str) -> None:
    check_left_out(printable(), [text])

    assert printable().prints(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("</thinking>", "; did you mean '</think>'"),
        ("<|eot_id|>", "; did you mean '<|im_end|>'?"),
        ("###", "; remove it"),
        ("ping", "; remove it"),  # text of a message
        ("</think>\n\n\n", "; did you mean '</think>'"),
    ],
)
def test_what_a_template_never_prints_cannot_be_left_out(text: str, hint: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_left_out(printable(), ["</think>", text])

    assert str(error.value).startswith(f"leave_out: chat template t never prints {text!r}{hint}")


def test_an_empty_string_cannot_be_left_out() -> None:
    with pytest.raises(RecipeError, match="leave_out: a string is empty"):
        check_left_out(printable(), [""])


def test_nothing_is_known_of_a_template_that_refuses_the_probes() -> None:
    assert printable(REFUSES).prints("<|anything|>")
    check_left_out(printable(REFUSES), ["<|anything|>"])


def test_turn_ends_come_after_an_answer_or_are_known_tokens() -> None:
    check_turn_ends(printable(), ["<|im_end|>", "<|im_end|>\n", "<|eot|>"], ["<|eot|>"])

    assert printable().ends_a_turn("<|im_end|>\n<|im_start|>user")
    assert not printable().ends_a_turn("<|im_start|>system")
    with pytest.raises(RecipeError) as error:
        check_turn_ends(printable(), ["<|im_ended|>"], ["<|eot|>"])
    assert str(error.value) == (
        "end_of_turn: chat template t never prints '<|im_ended|>', and it is no special token of the tokenizer; "
        "did you mean '<|im_end|>' or '<|im_start|>'?"
    )
