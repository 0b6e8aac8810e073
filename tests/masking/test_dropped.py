"""Every word is accounted for: what a template does not print is refused or counted."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.recipe import OnDropped
from premask.core.records import Conversation, Message, Sample
from premask.masking.completions import decide
from premask.masking.reasoning_marks import find_reasoning_marks
from premask.masking.rules import Rules
from premask.masking.turn_ends import TurnEnds
from small_templates import renders_of

BODY = "{{ m.content }}"
CALLS = "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}{{ c.function.arguments|tojson }}{% endfor %}"
USER, ANSWER = Message("user", "How?"), Message("assistant", "So.")


def template(body: str, roles: str = "m") -> str:
    return (
        f"{{% for m in messages if {roles} %}}<{{{{ m.role }}}}>" + body + "</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )


def decided(source: str, *messages: Message, tools: Any = None, **rules: Any) -> tuple[Sample, ...]:
    renders = renders_of(source)
    marks = find_reasoning_marks([source], renders)
    return decide(renders(Conversation(messages, tools)), Rules(TurnEnds(("</s>",)), marks, **rules))


def call(name: str = "look", **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": "1", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], content: str = "") -> Message:
    return Message("assistant", content, tool_calls=calls)


LOSSES = [
    (
        "content of message 0 (system)",
        template(BODY, "m.role != 'system'"),
        (Message("system", "Be brief."), USER, ANSWER),
    ),
    (
        "content of message 0 (developer)",
        template(BODY, "m.role != 'developer'"),
        (Message("developer", "x"), USER, ANSWER),
    ),
    ("content of message 0 (user)", template("{{ m.content[:2] }}"), (USER, Message("assistant", "ok"))),
    (
        "content of message 1 (assistant)",
        template("{{ m.content.split('|')[-1] }}"),
        (USER, Message("assistant", "a|b")),
    ),
    (
        "reasoning of message 1 (assistant)",
        template(BODY),
        (USER, Message("assistant", "So.", reasoning="Hm.")),
    ),
    (
        "reasoning of message 1 (assistant)",
        template("{{ (m.reasoning_content or '')[:4] }}" + BODY),
        (USER, Message("assistant", "So.", reasoning="First, second.")),
    ),
    ("tool calls of message 1 (assistant)", template(BODY), (USER, calling(call(), content="Look."))),
    (
        "tool calls of message 1 (assistant)",
        template(
            "{% for c in (m.tool_calls or [])[:1] %}{{ c.function.name }}{{ c.function.arguments|tojson }}{% endfor %}"
            + BODY
        ),
        (USER, calling(call(at="sky"), call("smell", at="sea"))),
    ),
    (
        "tool calls of message 1 (assistant)",
        template("{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}" + BODY),
        (USER, calling(call(at="sky"))),
    ),
    (
        "content of message 1 (assistant)",
        template("{% if m.tool_calls %}" + CALLS + "{% else %}" + BODY + "{% endif %}"),
        (USER, calling(call(), content="I look.")),
    ),
    (
        "content of message 2 (tool)",
        template("{% if m.role != 'tool' %}" + BODY + "{% endif %}" + CALLS),
        (USER, calling(call()), Message("tool", "blue"), ANSWER),
    ),
]


@pytest.mark.parametrize(("what", "source", "messages"), LOSSES)
def test_a_loss_is_refused_or_counted(what: str, source: str, messages: tuple[Message, ...]) -> None:
    with pytest.raises(RowError) as error:
        decided(source, *messages)
    (sample, *_) = decided(source, *messages, on_dropped=OnDropped.count)
    kind = what.partition(" of ")[0].replace(" ", "_")

    assert error.value.reason == "content_dropped"
    assert what in error.value.detail
    assert sample.counts == {f"dropped_{kind}": 1}


def test_of_a_developer_the_error_says_how_it_is_printed() -> None:
    with pytest.raises(
        RowError, match="read developer as system \\(roles of fields\\), or set on_dropped: count"
    ):
        decided(template(BODY, "m.role != 'developer'"), Message("developer", "Be kind."), USER, ANSWER)


KEPT = [
    (template(BODY.replace("}}", "| trim }}")), (Message("user", "\n How? "), ANSWER)),
    (template("{{ m.content | upper }}"), (USER, ANSWER)),
    (template("{{ m.content | tojson }}"), (Message("user", 'a "b"\n\\ é'), ANSWER)),
    (template("{{ m.content | e }}"), (Message("user", "a < b & c"), ANSWER)),
    (template("{{ m.content | replace('\\n', ' ') }}"), (Message("user", "a\nb"), ANSWER)),
    (template(CALLS + BODY), (USER, calling(call(at="sky", deep={"x": ["y", 1, None, True]})))),
    (
        template("{{ m.tool_calls | tojson if m.tool_calls }}" + BODY),
        (USER, calling(call(at="sky"), call("b"))),
    ),
    (
        template(
            "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% for k, v in c.function.arguments.items() %}"
            "<{{ k }}>{{ v }}{% endfor %}{% endfor %}" + BODY
        ),
        (USER, calling(call(at="sky", n=3))),
    ),
    (
        template(
            "{% set parts = m.content.split('</think>') %}{{ parts[0] }}{{ '</think>' + parts[1] if parts[1:] }}"
        ),
        (USER, Message("assistant", "<think>Hm.</think>So.")),
    ),
]


@pytest.mark.parametrize(("source", "messages"), KEPT)
def test_another_form_is_no_loss(source: str, messages: tuple[Message, ...]) -> None:
    samples = decided(source, *messages)

    assert [sample.counts for sample in samples] == [{}]


CUTS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ '<think>' + m.reasoning_content + '</think>' if m.reasoning_content }}{{ m.content }}{% endif %}</s>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize(
    "thinking",
    [Message("assistant", "So.", reasoning="Hm."), Message("assistant", "<think>Hm.</think>\n\nSo.")],
)
def test_earlier_reasoning_is_only_counted(thinking: Message) -> None:
    """Each turn is trained with its reasoning behind the prompt of inference; history has none."""
    samples = decided(CUTS, USER, thinking, USER, thinking)

    assert [[s.text[a:b].strip() for _, a, b in s.turns] for s in samples] == [
        [f"<think>Hm.</think>{'' if thinking.reasoning else chr(10) * 2}So.</s>"]
    ] * 2
    assert samples[0].counts == {"dropped_reasoning": 1}


def test_the_words_of_another_message_are_not_those_that_are_lost() -> None:
    """The user repeats what the template cuts, and the header has a letter of it."""
    cut = template("{{ m.content.split('##')[0] if m.role == 'assistant' else m.content }}")
    chat = (
        USER,
        Message("assistant", "It is sunny.## Take a hat."),
        Message("user", "## Take a hat. Why?"),
        ANSWER,
    )
    with pytest.raises(RowError, match=r"content of message 1 \(assistant\)"):
        decided(cut, *chat)
    with pytest.raises(RowError, match=r"content of message 1 \(assistant\)"):
        decided(
            template("{{ m.content | replace('a', '') }}"), Message("user", "Hi"), Message("assistant", "a1")
        )


def test_what_follows_the_last_trained_turn_does_not_count() -> None:
    source = template("{{ m.content if m.content != 'Bye' }}")
    (sample,) = decided(source, USER, ANSWER, Message("user", "Bye"))

    assert sample.counts == {}


def test_tools_that_are_not_printed() -> None:
    tools = ({"type": "function", "function": {"name": "look", "parameters": {}}},)
    with pytest.raises(RowError, match="does not print the tool 'look'"):
        decided(template(BODY), USER, ANSWER, tools=tools)
    (sample,) = decided(template(BODY), USER, ANSWER, tools=tools, on_dropped=OnDropped.count)
    printed = template(BODY).replace("{% for m in", "{{ tools | tojson if tools }}{% for m in", 1)

    assert sample.counts == {"dropped_tools": 1}
    assert decided(printed, USER, ANSWER, tools=tools)[0].counts == {}


def test_names_count_where_names_are_printed() -> None:
    named = Message("user", "How?", name="Ann")
    source = template("{{ m.name if m.name and loop.first }}" + BODY)

    assert decided(template(BODY), named, ANSWER)[0].counts == {}
    with pytest.raises(RowError, match=r"name of message 2 \(user\)"):
        decided(source, named, ANSWER, named, ANSWER)


def test_a_turn_that_is_not_printed_at_all() -> None:
    source = template(BODY, "m.content != 'So.'")
    chat = (USER, ANSWER, USER, Message("assistant", "Yes."))
    with pytest.raises(RowError, match=r"prints nothing of message 1 \(assistant\)"):
        decided(source, *chat)
    (sample,) = decided(source, *chat, on_dropped=OnDropped.count)

    assert [turn.message for turn in sample.turns] == [3]
    assert sample.counts == {"dropped_content": 1}
