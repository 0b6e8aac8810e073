"""Which arguments a chat template reads, and what is said of those that it does not."""

from __future__ import annotations

import pytest
from premask.core.errors import RecipeError
from premask.masking.chat_template import ChatTemplate
from premask.masking.template_arguments import (
    arguments_of,
    check_arguments,
    is_about_reasoning,
    names_read,
    trees_of,
    unread,
)
from small_templates import CHATML

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "image_token": "<image>"}


def template_of(source: str | dict[str, str]) -> ChatTemplate:
    return ChatTemplate(source, variables=VARIABLES, name="chat template t")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, ()),
        (
            "{{ bos_token ~ eos_token ~ pad_token ~ image_token }}{{ strftime_now('%Y') }}{{ namespace() }}",
            (),
        ),
        ("{% if enable_thinking %}x{% endif %}", ("enable_thinking",)),
        ("{% macro m(text) %}{{ text }}{% if deep %}x{% endif %}{% endmacro %}{{ m('a') }}", ("deep",)),
        ("{% if false %}{% for a in b %}{{ a }}{% endfor %}{% endif %}", ("b",)),
        ("{% if not a is defined %}{% set a = true %}{% endif %}{{ a }}", ("a",)),
        ("{% set a = a | default('x') %}{{ a }}", ("a",)),
        ("{% set a = a if a is defined else 1 %}{{ a }}", ("a",)),
        ("{% for m in messages %}{% if m.x %}{% set c = 1 %}{% endif %}{{ c }}{% endfor %}", ()),
        ("{% if tools %}{% set c = 'x' %}{% endif %}{{ c }}{{ z.y }}{{ documents }}", ("z",)),
    ],
)
def test_arguments_are_what_is_meant_to_be_given(source: str, expected: tuple[str, ...]) -> None:
    assert arguments_of(template_of(source)) == expected


def test_every_source_counts() -> None:
    template = template_of({"default": "{{ one }}", "tool_use": "{{ other }}"})

    assert names_read(template) == {"one", "other"}
    assert unread(template, {"one": 1, "other": 2, "third": 3}) == ("third",)


def test_what_has_an_effect_is_read_though_no_error_names_it() -> None:
    """A variable that is set in a branch only, the documents of a row, a token that is replaced."""
    template = template_of("{% if tools %}{% set c = 'x' %}{% endif %}{{ c }}{{ documents }}{{ bos_token }}")
    kwargs = {"c": "y", "documents": [], "bos_token": ""}

    assert template.render([], kwargs=kwargs) != template.render([])
    assert unread(template, kwargs) == ()


def test_what_every_render_sets_is_never_read() -> None:
    template = template_of("{{ messages }}{{ tools }}{{ add_generation_prompt }}")
    own = {"messages": [], "tools": [], "add_generation_prompt": True}

    assert unread(template, own) == ("messages", "tools", "add_generation_prompt")
    with pytest.raises(RecipeError, match="template_kwargs: tools is set by each render"):
        check_arguments(template, {"tools": []})


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("{{ a }}", "a", None),
        ("x", "a", "template_kwargs: chat template t never reads a; it reads no arguments; remove it"),
        (
            "{{ enable_thinking }}{{ date_string }}",
            "enable_thinkin",
            "never reads enable_thinkin; did you mean enable_thinking? it reads date_string, enable_thinking",
        ),
        (
            "{{ thinking_mode }}{{ date_string }}{{ reasoning_effort }}",
            "enable_cot",
            "did you mean reasoning_effort or thinking_mode? it reads date_string, reasoning_effort",
        ),
        ("{{ date_string }}", "enable_thinking", "never reads enable_thinking; it reads date_string"),
    ],
)
def test_an_argument_without_effect_is_an_error_that_names_what_is_read(
    source: str, name: str, expected: str | None
) -> None:
    template = template_of(source)
    if expected is None:
        check_arguments(template, {name: 1})
        assert unread(template, {name: 1}) == ()
        return
    with pytest.raises(RecipeError) as error:
        check_arguments(template, {name: 1})
    assert expected in str(error.value)


def test_names_about_reasoning() -> None:
    about = ("enable_thinking", "thinking", "thinking_mode", "reasoning", "reasoning_effort", "keep_cots")

    assert all(map(is_about_reasoning, about))
    assert not any(map(is_about_reasoning, ("date_string", "add_vision_id", "tools_in_user_message")))


def test_the_trees_stay_as_they_were_written() -> None:
    """Jinja folds constant lists where it looks for names; the trees that others search keep them."""
    template = template_of("{% if effort in ['none', 'high'] %}x{% endif %}")
    before = repr(trees_of(template))

    assert names_read(template) == {"effort"}
    assert repr(trees_of(template)) == before
