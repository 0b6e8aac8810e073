"""Repairs: what a recipe may have repaired in a conversation before the template sees it, each by its name.

    fix_mojibake            text that was decoded with a wrong encoding is decoded rightly, by ftfy
                            (`fix_encoding`)
    strip_html              residue of web pages: `br` and the tags of blocks become line breaks, other tags
                            of `TAGS` and comments go, `script` and `style` go with what is in them, and
                            entities (`&amp;`) become characters; text within ``` fences and unknown tags
                            (`<think>`) stay as they are
    strip_empty_turns       turns of user, assistant, system with no text, reasoning or tool call are left out
    drop_leading_assistant  what the assistant says before the user's first turn is left out
    merge_consecutive       turns of one speaker become one, with a blank line between their texts
    drop_trailing_user      what the user says after the last answer is left out

They are done in this order, however the recipe lists them. By default nothing is changed: what a template
cannot take is rejected by it, with a reason. A row that needs no repair goes through untouched.

    >>> turns = [Message("user", "Hi"), Message("user", "Anyone?"), Message("assistant", "Hello")]
    >>> repaired, policies = repair(Conversation(tuple(turns)), [Repair.merge_consecutive])
    >>> repaired.messages[0].content, policies
    ('Hi\\n\\nAnyone?', ('merge_consecutive',))

Turns count from 0 in the repaired conversation. Cost: some microseconds a message; ftfy takes 50 us for a
text that is not ASCII, nothing for one that is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from ..core.errors import RecipeError, RowError
from ..core.recipe import Repair
from ..core.records import Conversation, Message, Stretch
from ..core.shapes import RowShape, conversation_of

Messages = tuple[Message, ...]

_BLOCKS = "address article aside blockquote br center dd div dl dt footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table tbody td tfoot th thead title tr ul".split()  # noqa: E501, SIM905
_INLINE = "a abbr b big cite code del em font i img ins kbd label mark s small span strike strong sub sup tt u var".split()  # noqa: E501, SIM905
TAGS = (*_BLOCKS, *_INLINE)
"""HTML elements whose tags are taken for residue; anything else in angle brackets is text."""

_WHOLE = (
    (re.compile("<!--"), re.compile("-->")),
    (re.compile(r"<script\b[^<>]*>", re.IGNORECASE), re.compile(r"</script\s*>", re.IGNORECASE)),
    (re.compile(r"<style\b[^<>]*>", re.IGNORECASE), re.compile(r"</style\s*>", re.IGNORECASE)),
)
_BLOCK = re.compile(rf"</?(?:{'|'.join(_BLOCKS)})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:{'|'.join(_INLINE)})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_FENCE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)


def repair(conversation: Conversation, policies: Sequence[Repair]) -> tuple[Conversation, tuple[str, ...]]:
    """The conversation as the policies repair it, and the names of those that changed something.

    Raises `RowError`: wrong_type, where marks of parts of a content cannot be kept.
    """
    if conversation.given is not None:
        return conversation, ()
    if conversation.document is not None:
        return _repaired_document(conversation, conversation.document, policies)
    messages, applied = conversation.messages, []
    for policy, repaired in _POLICIES.items():
        if policy in policies:
            after = repaired(messages)
            if after != messages:
                messages = after
                applied.append(policy.value)
    return (replace(conversation, messages=messages) if applied else conversation), tuple(applied)


def _repaired_document(
    conversation: Conversation, text: str, policies: Sequence[Repair]
) -> tuple[Conversation, tuple[str, ...]]:
    """A document with its text repaired; it has no turns for the other policies."""
    applied = []
    for policy, repaired in _OF_TEXTS.items():
        if policy in policies and (after := repaired(text)) != text:
            text = after
            applied.append(policy.value)
    return replace(conversation, document=text), tuple(applied)


def needs_none(shape: RowShape, texts: Sequence[str], policies: Sequence[Repair]) -> bool:
    """Whether a plain row (`dialects/plain.py`) is one in which no policy would change anything.

    >>> from premask.core.shapes import plain_shape
    >>> needs_none(plain_shape(("user", "assistant")), ["Hi", "Hello"], [*Repair])
    True
    """
    return not repair(conversation_of(shape, texts), policies)[1]


def check_repair(policies: Sequence[Repair]) -> None:
    """Raise `RecipeError` where a policy needs a library that is not installed."""
    if Repair.fix_mojibake in policies:
        try:
            import ftfy  # noqa: F401, PLC0415
        except ImportError:
            raise RecipeError("repair: fix_mojibake needs ftfy; pip install 'premask[repair]'") from None


def with_repair(error: RowError, messages: Messages) -> RowError:
    """Name the repairs that help in an error of a chat template, if it may be about the order of turns.

    >>> turns = tuple(Message(role, "Hi") for role in ("assistant", "user", "assistant"))
    >>> with_repair(RowError("template_error", "roles must alternate"), turns).detail
    'roles must alternate; repair: [drop_leading_assistant] makes user and assistant take turns'
    """
    if error.reason != "template_error" or not (names := turn_repairs(messages)):
        return error
    advice = f"repair: [{', '.join(names)}] makes user and assistant take turns"
    return RowError(error.reason, f"{error.detail}; {advice}")


def turn_repairs(messages: Messages) -> list[str]:
    """Return the repairs that make user and assistant take turns; none if they do, or if none helps.

    >>> turn_repairs(tuple(Message(role, "Hi") for role in ("assistant", "user", "user", "assistant")))
    ['drop_leading_assistant', 'merge_consecutive']
    """
    names = []
    for policy, repaired in _OF_TURNS.items():
        after = messages if _take_turns(messages) else repaired(messages)
        if after != messages:
            messages = after
            names.append(policy.value)
    return names if _take_turns(messages) else []


def _take_turns(messages: Messages) -> bool:
    """Whether the user opens the conversation, and the assistant and the user take turns until its end."""
    roles = [each.role for each in messages if each.role not in ("system", "developer", "tool")]
    return roles == [("user", "assistant")[i % 2] for i in range(len(roles))]


# ==== Texts ====


def _of_texts(repaired: Callable[[str], str]) -> Callable[[Messages], Messages]:
    """What repairs the texts of messages: content and reasoning, but no tool calls and results. Marks of
    parts of a content move along."""

    def every(messages: Messages) -> Messages:
        return tuple(map(one, messages))

    def one(message: Message) -> Message:
        content = message.content if message.role == "tool" else text_of(message.content)
        reasoning = text_of(message.reasoning)
        if content == message.content and reasoning == message.reasoning:
            return message
        stretches = message.stretches if content == message.content else moved(message, content)
        return replace(message, content=content, reasoning=reasoning, stretches=stretches)

    def moved(message: Message, content: str | None) -> tuple[Stretch, ...]:
        starts = [0, *(each.end for each in message.stretches)]
        texts = [text_of((message.content or "")[a:b]) or "" for a, b in pairwise(starts)]
        if message.stretches and "".join(texts) != content:
            detail = "a text whose parts or characters are marked cannot be fixed; fix it in the source"
            raise RowError("wrong_type", detail)
        ends = accumulate(map(len, texts))
        return tuple(each._replace(end=end) for each, end in zip(message.stretches, ends, strict=True))

    def text_of(text: str | None) -> str | None:
        return repaired(text) if text else text

    return every


def fix_mojibake(text: str) -> str:
    """Undo a wrong decoding.

    >>> fix_mojibake("sÃ³lo")
    'sólo'
    """
    if text.isascii():
        return text
    import ftfy  # noqa: PLC0415  an extra; `check_repair` has said so where it is missing

    return ftfy.fix_encoding(text)


def strip_html(text: str) -> str:
    """Take HTML residue out of a text.

    >>> strip_html("<p>1 &lt; 2<br>is <b>true</b></p>"), strip_html("<think>a < b</think>")
    ('1 < 2\\nis true', '<think>a < b</think>')
    """
    if "<" not in text and "&" not in text:
        return text
    parts = _FENCE.split(text)
    return "".join(part if i % 2 else _without_html(part) for i, part in enumerate(parts))


def _without_html(text: str) -> str:
    """A text outside of fences; no step looks twice at the same character."""
    for opening, closing in _WHOLE:
        text = _without_stretches(text, opening, closing)
    lines = _BLOCK.split(text)
    if len(lines) > 1:
        stripped = (line.strip() for line in lines[1:-1])
        lines = [line for line in (lines[0].rstrip(), *stripped, lines[-1].lstrip()) if line]
    return html.unescape(_TAG.sub("", "\n".join(lines)))


def _without_stretches(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    kept, at = [], 0
    while (start := opening.search(text, at)) and (end := closing.search(text, start.end())):
        kept.append(text[at : start.start()])
        at = end.end()
    return "".join([*kept, text[at:]])


# ==== Turns ====


def strip_empty_turns(messages: Messages) -> Messages:
    """Leave out turns that say nothing; an empty tool result says that there was none."""
    return tuple(each for each in messages if each.role == "tool" or each.says_something)


def drop_leading_assistant(messages: Messages) -> Messages:
    """Leave out what comes before the user's first turn, but for system texts."""
    first = next((i for i, each in enumerate(messages) if each.role == "user"), 0)
    return tuple(each for each in messages[:first] if each.role in ("system", "developer")) + messages[first:]


def drop_trailing_user(messages: Messages) -> Messages:
    """Leave out the user's turns at the end."""
    end = len(messages)
    while end and messages[end - 1].role == "user":
        end -= 1
    return messages[:end]


def merge_consecutive(messages: Messages) -> Messages:
    """Join turns of one speaker that follow each other; tool results stay, as do turns that differ in what
    is trained, in weight, name or other fields, and what follows a tool call."""
    merged: list[Message] = []
    for message in messages:
        if merged and _is_continued(merged[-1], message):
            last = merged[-1]
            merged[-1] = replace(
                last,
                content=_joined(last.content, message.content),
                reasoning=_joined(last.reasoning, message.reasoning),
                tool_calls=message.tool_calls,
            )
        else:
            merged.append(message)
    return tuple(merged)


def _is_continued(last: Message, message: Message) -> bool:
    if last.role != message.role or last.role == "tool" or last.tool_calls:
        return False
    if message.reasoning is not None and (last.content or last.reasoning):
        return False  # reasoning comes before the text: joined, it would come too early
    if last.stretches or message.stretches:
        return False
    return all(getattr(last, key) == getattr(message, key) for key in ("name", "train", "weight", "extra"))


def _joined(first: str | None, second: str | None) -> str | None:
    if first is None or second is None:
        return second if first is None else first
    return f"{first}\n\n{second}"


_OF_TEXTS: Mapping[Repair, Callable[[str], str]] = {
    Repair.fix_mojibake: fix_mojibake,
    Repair.strip_html: strip_html,
}

_OF_TURNS: Mapping[Repair, Callable[[Messages], Messages]] = {
    Repair.strip_empty_turns: strip_empty_turns,
    Repair.drop_leading_assistant: drop_leading_assistant,
    Repair.merge_consecutive: merge_consecutive,
    Repair.drop_trailing_user: drop_trailing_user,
}

_POLICIES: Mapping[Repair, Callable[[Messages], Messages]] = {
    **{policy: _of_texts(repaired) for policy, repaired in _OF_TEXTS.items()},
    **_OF_TURNS,
}
