"""Helpers of the tests of prefixes: every version of a conversation, in one run and rendered the plain way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from conversation_kinds import KINDS
from premask.core.errors import RowError
from premask.core.records import Conversation
from premask.dialects import normalize
from premask.masking.chat_template import ChatTemplate
from premask.masking.prefixes.renders import PrefixRenders, PrefixTemplate
from premask.masking.prefixes.versions import Version
from premask.masking.renders import Renders
from premask.masking.traced import runs_of

SOME_KINDS = (
    *("two turns", "identical turns", "consecutive users", "assistant first", "ends on a user"),
    *("six turns with reasoning", "tool loop with reasoning", "tool rounds, two questions"),
    *("parallel calls with text", "tools, said and called"),
)
"""Kinds of conversations that differ in what templates ask: roles, lengths, calls, reasoning."""


def conversation_of(kind: str) -> Conversation:
    """A conversation of a kind."""
    return normalize(KINDS[kind].as_row(), "openai")


def chat(*messages: tuple[str, str]) -> Conversation:
    """A conversation of roles and contents."""
    return normalize({"messages": [{"role": role, "content": text} for role, text in messages]}, "openai")


def turns(count: int) -> Conversation:
    """A conversation of a number of turns of a user and the assistant."""
    return chat(*(each for i in range(count) for each in (("user", f"ask {i}"), ("assistant", f"say {i}"))))


def ask(renders: Renders, version: Version, *, traced: bool = False) -> tuple[Any, ...]:
    """What renders say of a version: its text, with runs if it is traced, or the error."""
    try:
        if version.prompt:
            text = renders.prompt_traced(version.length) if traced else renders.prompt(version.length)
        else:
            at = version.length - 1
            text = renders.through_traced(at) if traced else renders.through(at)
    except RowError as error:
        return "refused", error.reason, error.detail
    return "ok", str.__str__(text), runs_of(text) if traced else ()


def all_versions(conversation: Conversation) -> list[Version]:
    """Every version of a conversation that has a message."""
    lengths = range(1, len(conversation.messages) + 1)
    return [Version(length, prompt) for length in lengths for prompt in (False, True)]


def compare(
    template: PrefixTemplate, conversation: Conversation, found: Callable[[str], None] = lambda _: None
) -> list[tuple[Any, ...]]:
    """The versions of which one run says something else than plain renders do."""
    own = PrefixRenders(conversation, template)
    plain = Renders(conversation, template.template)
    different = []
    for version in all_versions(conversation):
        for traced in (False, True):
            want, got = (ask(each, version, traced=traced) for each in (plain, own))
            found(want[0])
            if want != got:
                different.append((version, traced, want, got))
    return different


def reasons_of(source: str, conversation: Conversation) -> Counter[str]:
    """Why a template is rendered the plain way for a conversation."""
    template = PrefixTemplate(ChatTemplate(source))
    renders = PrefixRenders(conversation, template)
    ask(renders, Version(len(conversation.messages), prompt=False))
    return template.reasons


def followed(source: str, conversation: Conversation) -> Sequence[str]:
    """The texts of all versions of a run that follows the template to the end."""
    template = PrefixTemplate(ChatTemplate(source))
    renders = PrefixRenders(conversation, template)
    if renders.run is None:
        raise AssertionError(dict(template.reasons))
    return [renders.run.text(number) for number in sorted(renders.run.texts)]
