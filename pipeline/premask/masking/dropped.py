"""Every word is accounted for: which text of a row is printed nowhere in a sample.

A chat template may not print a message, a second tool call, a field that it does not know, or what stands
before `</think>`. Provenance knows what each field of each message wrote, so the rest is known, too.

    dropped = Dropped(messages, tools, on_dropped, history)
    dropped.check(text, turns)      # raises RowError content_dropped
    dropped.counts                  # {"dropped_reasoning": 1}

- Text of a trained turn, and text before one, must be printed. Otherwise the row is refused, or it is counted
  (recipe key `on_dropped`).
- Earlier reasoning that the template cuts from history is only counted.
- White space does not count. Neither do ids of tool calls.

Cost: a search in the text per field.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.recipe import History, OnDropped
from ..core.records import TEMPLATE, TOOLS, Message, Turn
from .reasoning_marks import COMMON_MARKS
from .renders import REASONING_FIELDS
from .texts import Text

_PIECE = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|[^\s<\[]+|[<\[]")


class _Lost(NamedTuple):
    """A part of a field that is not printed: characters `start` to `end` of the field."""

    start: int
    end: int


class Dropped:
    """What the samples of one conversation do not print."""

    def __init__(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        on_dropped: OnDropped,
        history: History,
    ) -> None:
        self._messages, self._tools = messages, tools or ()
        self._refuse = on_dropped is OnDropped.reject
        self._as_rendered = history is History.as_rendered
        self._found: set[tuple[int, str]] = set()

    @property
    def counts(self) -> Counter[str]:
        """Number of fields that are not printed, by kind."""
        return Counter(f"dropped_{kind}" for _, kind in self._found)

    def nothing_of(self, index: int) -> None:
        """Note that the template prints nothing of a turn that is to be trained."""
        message = self._messages[index]
        what = f"the chat template prints nothing of message {index} ({message.role})"
        self._note(index, "content" if message.content else "tool_calls", what)

    def check_turn(self, text: Text, index: int) -> None:
        """Check a trained message alone, in a text that ends with it. Raises `RowError`."""
        for kind in _missing(self._messages[index], index, text, is_history=False):
            self._note(index, kind)

    def check(self, text: Text, turns: Sequence[Turn]) -> None:
        """Check all messages up to the last trained turn of a sample. Raises `RowError`."""
        last = max(turn.message for turn in turns)
        trained = {turn.message for turn in turns}
        for index, message in enumerate(self._messages[: last + 1]):
            is_history = index not in trained or (self._as_rendered and index != last)
            for kind in _missing(message, index, text, is_history=is_history):
                if kind == "reasoning" and is_history:
                    self._found.add((index, kind))
                else:
                    self._note(index, kind)
        self._check_names(text, last)
        self._check_tools(text)

    def _check_names(self, text: Text, last: int) -> None:
        """Check names where the template prints names."""
        printed = {i for i in text.messages for *_, field in text.spans(i) if field == "name"}
        roles = {self._messages[i].role for i in printed}
        for index, message in enumerate(self._messages[: last + 1]):
            if message.name and message.role in roles and index not in printed:
                self._note(index, "name")

    def _check_tools(self, text: Text) -> None:
        """Check that each tool is named in the text."""
        if not self._tools:
            return
        printed = "".join(text.text[a:b] for a, b, origin in text.between(0, len(text)) if origin == TOOLS)
        for tool in self._tools:
            function = tool.get("function")
            name = (function if isinstance(function, Mapping) else tool).get("name")
            if isinstance(name, str) and name and not _is_in([name], printed):
                self._note(-1, "tools", f"the chat template does not print the tool {name!r}")
                return

    def _note(self, index: int, kind: str, what: str = "") -> None:
        if self._refuse:
            role = self._messages[index].role
            words = kind.replace("_", " ")
            what = what or f"the chat template does not print all {words} of message {index} ({role})"
            read = "read developer as system (roles of fields), or " if role == "developer" else ""
            raise RowError("content_dropped", f"{what}; {read}set on_dropped: count to keep such rows")
        self._found.add((index, kind))


# ==== One message ====


def _missing(message: Message, index: int, text: Text, *, is_history: bool) -> Iterator[str]:
    """Yield the kinds of text of a message that are not completely printed."""
    written = list(text.spans(index))
    region = _Region(text, written)
    if message.reasoning and message.reasoning.strip():
        for _ in region.lost(message.reasoning, *REASONING_FIELDS):
            yield "reasoning"
            break
    if message.content and message.content.strip():
        lost = region.lost(message.content, "content")
        if lost:
            cut_on_purpose = is_history and message.role == "assistant"
            yield "reasoning" if cut_on_purpose and _is_reasoning(message.content, lost) else "content"
    for number, call in enumerate(message.tool_calls):
        if not region.has_call(number, call):
            yield "tool_calls"
            break


def _is_reasoning(content: str, lost: Sequence[_Lost]) -> bool:
    """Whether all that is lost of a content is before the end of its block of reasoning."""
    end, at = 0, 0
    while (mark := COMMON_MARKS.first(content[at:])) is not None:
        at += mark.end
        end = at if not mark.opens else end
    return all(each.end <= end for each in lost)


class _Region:
    """What a text has of one message."""

    def __init__(self, text: Text, written: Sequence[tuple[int, int, str]]) -> None:
        self._text, self._written = text, written

    def lost(self, original: str, *fields: str) -> list[_Lost]:
        """Return the parts of a field that are not printed."""
        pieces = [(a, b) for a, b, field in self._written if _names(field, fields)]
        if not pieces:
            return [_Lost(0, len(original))]
        shown = [self._text.text[a:b] for a, b in pieces]
        if original.strip() in "".join(shown):
            return []
        found = self._aligned(original, pieces)
        if found is not None:
            return found
        joined = "".join(shown)
        if any(form in joined for form in _forms(original)) or not _fewer(original, joined):
            return []
        return [_Lost(0, len(original))]

    def has_call(self, number: int, call: Mapping[str, Any]) -> bool:
        """Whether the name and the arguments of a tool call are printed."""
        function = call.get("function", call)
        place = f"tool_calls.{number}"
        of_name = self._joined(f"{place}.name")
        of_arguments = self._joined(f"{place}.arguments")
        name, arguments = function.get("name"), function.get("arguments")
        named = not isinstance(name, str) or _is_in([name], of_name)
        return named and _is_in(_strings(arguments), of_arguments)

    def _joined(self, field: str) -> str:
        return "\0".join(self._text.text[a:b] for a, b, own in self._written if _names(own, (field,)))

    def _aligned(self, original: str, pieces: Sequence[tuple[int, int]]) -> list[_Lost] | None:
        """Return the gaps of a field that the pieces printed of it leave, in order; None if a piece is not a
        part of the field. A gap that the template prints itself at this place is not lost."""
        at, lost, before = 0, [], self._text.content_before(pieces[0][0])[0]
        for start, end in pieces:
            piece = self._text.text[start:end].strip()
            found = original.find(piece, at)
            if found < 0:
                return None
            if not _is_blank_or_in(original[at:found], self._printed(before, start)):
                lost.append(_Lost(at, len(original[:found].rstrip())))
            at, before = found + len(piece), end
        if not _is_blank_or_in(original[at:], self._printed(before, len(self._text))):
            lost.append(_Lost(at, len(original.rstrip())))
        return lost

    def _printed(self, start: int, end: int) -> str:
        """Return what the template printed from `start` on, up to text of a message or `end`."""
        low, high, origin = next(self._text.between(start, end), (start, start, TEMPLATE))
        return self._text.text[low:high] if origin == TEMPLATE else ""


def _names(field: str, names: Sequence[str]) -> bool:
    """Whether a field is one of these, a part of one, or all of a message that holds them."""
    return field == "*" or any(
        field == name or field.startswith(f"{name}.") or name.startswith(f"{field}.") for name in names
    )


def _is_blank_or_in(gap: str, printed: str) -> bool:
    """Whether a gap has nothing but blanks and marks of reasoning, or is printed by the template."""
    return COMMON_MARKS.only(gap) or not Counter(_PIECE.findall(gap)) - Counter(_PIECE.findall(printed))


def _solid(text: str) -> str:
    return "".join(text.split())


def _forms(text: str) -> Iterator[str]:
    """Yield the other forms in which templates print a text."""
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(text)[1:-1]
    yield html.escape(text.strip())


def _fewer(original: str, printed: str) -> bool:
    """Whether some character of a text is printed less often than it has it; case and white space do not
    count."""
    needed, has = Counter(_solid(original).casefold()), Counter(_solid(printed).casefold())
    return any(has[character] < count for character, count in needed.items())


def _is_in(strings: Iterable[str], printed: str) -> bool:
    """Whether all strings are printed, as they are or in another form."""
    return all(
        not string.strip() or string.strip() in printed or any(form in printed for form in _forms(string))
        for string in strings
    )


def _strings(value: Any) -> Iterator[str]:
    """Yield all strings in a JSON value, keys and values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
