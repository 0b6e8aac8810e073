"""The strings with which chat templates open and close a block of reasoning, such as `<think>`.

    marks = ReasoningMarks(("<think>",), ("</think>",))
    marks.state("<|im_start|>assistant\\n<think>\\n")     # "open"
    marks.first("Hm.</think>Yes.")                       # Mark(start=3, end=11, opens=False)

Most families use one of a few pairs. The pair of a template that prints reasoning is also found by rendering
a probe (`find_reasoning_marks`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..core.errors import RowError
from ..core.records import Conversation, Message
from .renders import REASONING_FIELDS, Renders
from .texts import Text

_NAMES = "(?:[a-z]+[:_])?(?:think|thinking|thought|thoughts|reasoning)(?:_[a-z]+)?"
_WORKING = "think|thinking|thought|reasoning|working_out"

_OPEN = (
    rf"<{_NAMES}>|\[THINK\]|<\|channel>thought\n?|\u25c1think\u25b7|<\|START_THINKING\|>|<unused94>thought\n?"
)
_OPEN += rf"|<\|?(?:start|begin)_(?:{_WORKING})\|?>"
_OPEN += r"|<\|begin_of_thought\|>|<\|inner_prefix\|>|<\|think_start\|>|<\|begin_reasoning\|>|<\|think\|>"
_CLOSE = rf"</{_NAMES}>|\[/THINK\]|<channel\|>|\u25c1/think\u25b7|<\|END_THINKING\|>|<unused95>"
_CLOSE += rf"|<\|?end_(?:{_WORKING})\|?>"
_CLOSE += r"|<\|end_of_thought\|>|<\|inner_suffix\|>|<\|think_end\|>|<\|end_reasoning\|>|<\|/think\|>"

_OPENS, _CLOSES = re.compile(_OPEN, re.IGNORECASE), re.compile(_CLOSE, re.IGNORECASE)

PROBE = Conversation((Message("user", "ping"), Message("assistant", "pong", reasoning="musing")))

CLOSING = "\n{}\n\n"
"""What closes a block of a template that prints no reasoning."""


class Mark(NamedTuple):
    """A string that opens or closes a block of reasoning: characters `start` to `end`."""

    start: int
    end: int
    opens: bool


@dataclass(frozen=True)
class ReasoningMarks:
    """The marks of a template.

    opens    strings that open a block
    closes   strings that close one
    closing  what the template prints between reasoning and answer; empty if it prints no reasoning
    """

    opens: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    closing: str = ""

    def first(self, text: str) -> Mark | None:
        """Return the first mark in a text."""
        found = self._any.search(text)
        return None if found is None else Mark(*found.span(), found["open"] is not None)

    def state(self, text: str) -> str:
        """Return what the last mark in a text leaves: "open", "closed", or "" if there is no mark."""
        opens = [found["open"] is not None for found in self._any.finditer(text)]
        return "" if not opens else "open" if opens[-1] else "closed"

    def only(self, text: str) -> bool:
        """Whether a text consists of marks and blanks."""
        return not self._any.sub("", text).strip()

    def closing_of(self, opening: str) -> str:
        """Return what closes the block that a text leaves open, with the blanks around it.

        >>> ReasoningMarks(("<think>",)).closing_of("<|im_start|>assistant\\n<think>\\n")
        '\\n</think>\\n\\n'
        """
        if self.closing:
            return self.closing
        last = [found["open"] for found in self._any.finditer(opening) if found["open"]][-1].strip()
        return CLOSING.format(closer_of(last) or last.replace("<", "</", 1))

    @cached_property
    def _any(self) -> re.Pattern[str]:
        opens, closes = ("|".join(map(re.escape, texts)) or "(?!)" for texts in (self.opens, self.closes))
        return re.compile(f"(?P<open>{opens})|(?P<close>{closes})")


def find_reasoning_marks(
    sources: Iterable[str], renders_of: Callable[[Conversation], Renders]
) -> ReasoningMarks:
    """Return the marks of a template: common ones that are in its source, and those that a probe shows."""
    source = "\0".join(sources).replace("\\n", "\n")
    opens, closes = ({found[0] for found in pattern.finditer(source)} for pattern in (_OPENS, _CLOSES))
    opener, closer, closing = _probed(renders_of)
    opens |= {opener} - {""}
    closes |= {closer, *(closer_of(text) for text in opens)} - {""}
    return ReasoningMarks(_longest_first(opens), _longest_first(closes), closing)


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def closer_of(opener: str) -> str:
    """Return what closes a block, by the name of what opens it; empty if the name does not tell.

    >>> closer_of("<think>"), closer_of("[THINK]"), closer_of("<|START_THINKING|>")
    ('</think>', '[/THINK]', '<|END_THINKING|>')
    """
    named = re.sub("START|BEGIN", "END", re.sub("start|begin", "end", opener))
    if named != opener:
        return named
    return f"{opener[0]}/{opener[1:]}" if re.fullmatch(r"<[\w:]+>|\[\w+\]|\u25c1\w+\u25b7", opener) else ""


def _probed(renders_of: Callable[[Conversation], Renders]) -> tuple[str, str, str]:
    """Return what a template prints around reasoning: opener, closer, and all up to the answer."""
    try:
        renders = renders_of(PROBE)
        text, prompt = Text.of(renders.full()), Text.of(renders.prompt_traced(1))
    except RowError:
        return "", "", ""
    fields = {field: (start, end) for start, end, field in text.spans(1)}
    reasoning = next((fields[name] for name in REASONING_FIELDS if name in fields), None)
    answer = fields.get("content")
    if reasoning is None or answer is None or answer[0] < reasoning[1]:
        return "", "", ""
    before = text.text[text.content_before(reasoning[0], but=1)[0] : reasoning[0]].rstrip()
    closing = text.text[reasoning[1] : answer[0]]
    asked = prompt.text[prompt.content_before(len(prompt))[0] :].strip()
    opening = asked.removeprefix(before.strip()).strip() if asked.startswith(before.strip()) else ""
    if opening and closing.strip() and not _OPENS.search(opening) and not _CLOSES.search(opening + closing):
        return opening, closing.strip(), closing  # words, not tags, which only the prompt shows (Apriel)
    opener = before[max(before.rfind("<"), before.rfind("[")) :] if re.search(r"[<\[]\S*$", before) else ""
    closer = re.match(r"\s*([<\[][^\s<\[]*[>\]])", closing)
    if closer is None or not _CLOSES.search(closing):
        return "", "", ""
    blanks = len(closing[closer.end() :]) - len(closing[closer.end() :].lstrip())
    return (opener if _OPENS.search(opener) else ""), closer[1], closing[: closer.end() + blanks]


COMMON_MARKS = ReasoningMarks(
    ("<think>", "<thinking>", "<thought>", "<reasoning>", "<seed:think>", "[THINK]", "\u25c1think\u25b7"),
    (
        "</think>",
        "</thinking>",
        "</thought>",
        "</reasoning>",
        "</seed:think>",
        "[/THINK]",
        "\u25c1/think\u25b7",
    ),
)
"""Marks with which data writes reasoning within the content."""
