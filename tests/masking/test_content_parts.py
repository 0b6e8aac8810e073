"""Which roles of a template take content as parts, and that their text is printed."""

from __future__ import annotations

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message, Origin
from premask.masking.chat_template import ChatTemplate
from premask.masking.content_parts import as_parts, parts_roles
from premask.masking.renders import Renders, template_message
from premask.masking.traced import runs_of
from small_templates import CHATML, GLM, LLAMA_2, MISTRAL, REFUSES

ALL = frozenset({"user", "assistant", "system", "developer", "tool"})
PARTS = CHATML.replace(
    "{{ m.content }}",
    "{% for c in m.content %}{% if c.type == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}",
)
SILENT = PARTS.replace("{% if c.type == 'text' %}", "").replace("{% endif %}{% endfor %}<", "{% endfor %}<")
STRICT = PARTS.replace(
    "{% for c", "{% if m.content is string %}{{ raise_exception('no') }}{% endif %}{% for c"
)
BOTH = CHATML.replace(
    "{{ m.content }}",
    "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}",
)
USERS = CHATML.replace("{{ m.content }}", "{{ m.content[0].text if m.role == 'user' else m.content }}")
DUMPS = CHATML.replace("{{ m.content }}", "{{ m.content | tojson if m.content is not string else '' }}")
NEEDS_SYSTEM = "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}" + STRICT


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *((source, frozenset()) for source in (CHATML, GLM, LLAMA_2, MISTRAL, BOTH, REFUSES)),
        (PARTS, ALL),
        (SILENT, ALL),
        (STRICT, ALL),
        (USERS, {"user"}),
        (DUMPS, frozenset()),  # a part as JSON is not its text
        (NEEDS_SYSTEM, ALL),
    ],
)
def test_roles_get_parts_where_strings_are_not_printed(source: str, expected: frozenset[str]) -> None:
    assert parts_roles(ChatTemplate(source)) == expected


@pytest.mark.parametrize("source", [PARTS, SILENT, STRICT])
def test_text_in_parts_keeps_its_origin(source: str) -> None:
    """The text is that of the template with strings, with the same origins."""
    chat = Conversation((Message("user", "Hi, <b>"), Message("assistant", "Ho", reasoning="Hm.")))
    template = ChatTemplate(source)
    parts, strings = Renders(chat, template, as_parts=ALL), Renders(chat, ChatTemplate(CHATML))

    assert parts.full() == strings.full()
    assert runs_of(parts.full()) == runs_of(strings.full())
    assert (2, Origin(1, "assistant", "content")) in runs_of(parts.full())


def test_only_content_of_these_roles_becomes_parts() -> None:
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {}}}
    calls = Message("assistant", None, tool_calls=(call,))

    assert template_message(Message("user", "Hi"), ALL)["content"] == as_parts("Hi")
    assert template_message(Message("user", "Hi"), frozenset({"assistant"}))["content"] == "Hi"
    assert template_message(Message("assistant", ""), ALL)["content"] == as_parts("")
    assert template_message(calls, ALL) == {"role": "assistant", "tool_calls": [call]}


def test_strings_would_be_lost_without_a_word() -> None:
    chat = Conversation((Message("user", "Hi"), Message("assistant", "Ho")))

    assert "Hi" not in Renders(chat, ChatTemplate(SILENT)).through(1)
    with pytest.raises(RowError):
        Renders(chat, ChatTemplate(STRICT)).through(1)
