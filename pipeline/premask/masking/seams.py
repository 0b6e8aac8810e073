"""Where a completion begins: the seam at which it joins its prompt.

    prompt   P = render(messages[:i], add_generation_prompt=True)     <user>Hi</user><assistant><think>
    text     S = render(messages[:i + 1])                             <user>Hi</user><assistant>Yes.</end>

The seam is found in what both print after the last text of an earlier message: the generation prompt, and
what the template prints before message i. Four cases:

    S shows all of the generation prompt      the completion starts where it ends
    S shows less of it: blanks, or a block    the completion starts where S stops showing it (`composed`)
    of reasoning that the prompt has
    the prompt leaves a block of reasoning    it is not known what the model would write (`open`)
    open, and S shows none
    S shows something else                    `RowError` prompt_mismatch
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..core.errors import RowError
from .reasoning_marks import ReasoningMarks
from .renders import REASONING_FIELDS
from .texts import Text

_CLOSERS = " \t\r\n>]:}"


class Asked(NamedTuple):
    """The end of a prompt.

    text        what it prints after the last text of an earlier message
    after       the message that this text is of
    generation  how many characters of `text`, at its end, are the generation prompt; 0 if it is not known
    """

    text: str
    after: int
    generation: int = 0


class Seam(NamedTuple):
    """Where a completion begins in a text, and how.

    start   its first character
    open    the prompt leaves a block of reasoning open, and the text has no reasoning
    closed  in that case, whether the completion begins by closing the block
    """

    start: int
    open: bool = False
    closed: bool = False


def asked_by(prompt: Text, end: int | None = None, *, but: int | None = None, before: str = "") -> Asked:
    """Return the end of a prompt. `end` is where it ends if it is the beginning of a longer text, in which
    message `but` is not part of it. `before` is the text of the earlier messages without a generation
    prompt."""
    end = len(prompt) if end is None else end
    at, after = prompt.content_before(end, but=but)
    generation = end - max(at, len(before)) if before and prompt.text.startswith(before) else 0
    return Asked(prompt.text[at:end], after, max(generation, 0))


def find_seam(asked: Asked, text: Text, index: int, end: int, marks: ReasoningMarks) -> Seam:
    """Return where the completion of message `index`, which ends at `end`, begins in a text that shows it.

    Raises `RowError` (prompt_mismatch) if the text contradicts the prompt.
    """
    first, _ = text.span(index) or (end, end)
    at, after = text.content_before(first, but=index)
    if after != asked.after:
        raise _mismatch(index, "the text before it is not that of the prompt", asked.text, text.text[at:end])
    shown = _shown(asked, text, (at, first, end), marks)
    if shown is None:
        raise _mismatch(index, "the template shows another header", asked.text, text.text[at:end])
    start, rest = shown
    completion = text.text[start:end]
    mark = marks.first(completion)
    begins = mark is not None and not completion[: mark.start].strip()
    state = marks.state(asked.text[-asked.generation :])  # all of it if the generation prompt is not known
    reasons = _reasons(text, index, start)
    if state == "open" and not reasons and (mark is None or (begins and not mark.opens and rest.strip())):
        return Seam(start, open=True, closed=mark is not None)
    if state == "open" and mark is not None and mark.opens:
        raise _mismatch(index, "its reasoning is opened twice", asked.text, completion)
    closes = mark is not None and not mark.opens and _begins_with_closer(rest, marks)
    if state == "closed" and (begins or closes or reasons):
        raise _mismatch(index, "the prompt has closed the block of reasoning", asked.text, completion)
    return Seam(start)


def _shown(
    asked: Asked, text: Text, span: tuple[int, int, int], marks: ReasoningMarks
) -> tuple[int, str] | None:
    """Return where a text stops showing the end of a prompt, and what it does not show of it; None if it
    contradicts the prompt.

    If the template shows the end of an earlier turn differently, the generation prompt alone is looked for.
    """
    found = _shared(asked.text, text, span, marks)
    generation = asked.text[len(asked.text) - asked.generation :].lstrip()
    if found is not None or not generation:
        return found
    at, first, end = span
    header = re.match(r"<[^<>]*>|\S+", generation)
    place = text.text.rfind(header[0], at, max(first, at)) if header else -1
    return _shared(generation, text, (place, first, end), marks) if place >= 0 else None


def _shared(
    asked: str, text: Text, span: tuple[int, int, int], marks: ReasoningMarks
) -> tuple[int, str] | None:
    """Return where a text stops showing `asked`, and the rest; None if it contradicts the rest.

    Blanks may differ; those of the prompt are then kept, and those that the template prints at the seam are
    left out. What the text does not show may only be marks of reasoning.
    """
    at, first, end = span
    following = text.text[at:end]
    if following.startswith(asked):
        return at + len(asked), ""
    same, shown = _same_but_blanks(asked, following)
    if asked[same:].strip() and not asked[same].isspace():
        same = whole_marker(asked, same)
        shown = _same_but_blanks(asked[:same], following)[1]
    rest = asked[same:]
    if not marks.only(rest):
        return None
    if (again := _shown_again(rest, following[shown : max(first - at, shown)], marks)) is not None:
        return at + shown + again, rest
    blanks, printed = _blanks(rest), _blanks(following[shown : max(first - at, shown)])
    kept = blanks if printed.startswith(blanks) and blanks == rest else printed
    return at + shown + len(kept), rest


def _shown_again(rest: str, printed: str, marks: ReasoningMarks) -> int | None:
    """Return how many characters of `printed` show the rest of a prompt without its first marks, such as
    `</think>` of `<think></think>`; None if they do not."""
    mark = marks.first(rest)
    while mark is not None and (rest := rest[mark.end :]).strip():
        same, shown = _same_but_blanks(rest, printed)
        if not rest[same:].strip():
            return shown + len(_blanks(printed[shown:]))
        mark = marks.first(rest)
    return None


def _same_but_blanks(asked: str, following: str) -> tuple[int, int]:
    """Return how many characters of both are the same, not counting blanks; both end before blanks.

    >>> _same_but_blanks("<a>\\n<b> ", " <a> <b>\\nYes.")
    (7, 8)
    """
    i = j = same = shown = 0
    while True:
        i += len(_blanks(asked[i : i + 64]))
        j += len(_blanks(following[j : j + 64]))
        if i >= len(asked) or j >= len(following):
            return same, shown
        if asked[i].isspace() or following[j].isspace():
            continue
        if asked[i] != following[j]:
            return same, shown
        i, j = i + 1, j + 1
        same, shown = i, j


def _blanks(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _begins_with_closer(rest: str, marks: ReasoningMarks) -> bool:
    """Whether a text shows the opener of a block that the prompt then closes."""
    mark = marks.first(rest)
    return mark is not None and not mark.opens


def _reasons(text: Text, index: int, start: int) -> bool:
    """Whether a completion has reasoning of its message."""
    return any(field in REASONING_FIELDS and end > start for _, end, field in text.spans(index))


def _mismatch(index: int, what: str, asked: str, shown: str) -> RowError:
    detail = f"message {index}: {what}; the prompt at inference ends with {asked[-60:]!r}"
    return RowError("prompt_mismatch", f"{detail}, the text has {shown[:60]!r}")


def whole_marker(prompt: str, end: int) -> int:
    """Step back from `end` until no marker such as `<think>` is cut in two.

    >>> whole_marker("assistant\\n<think>", 12)
    10
    """
    while end > 0 and prompt[end - 1] not in _CLOSERS:
        end -= 1
    return end
