"""Where completions start in a rendered text: after the prompt at inference.

    prompt_end(renders, text, index=1, written=40)      # the position where message 1 starts

The prompt is `render(messages[:i], add_generation_prompt=True)`. If a text shows only a part of it (for
example, no `<think>`), the completion starts after the longest shown prefix. `turn_ends.py` finds where
completions end.

This module compares text only. `completions.py` proves each position.
"""

from __future__ import annotations

import re
from os.path import commonprefix

from ..core.errors import RowError
from ..core.records import content_end
from .renders import Renders
from .traced import runs_of

_CLOSERS = " \t\r\n>]:}"


_WORD = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|[^\s<\[]+|[<\[]")


def prompt_end(renders: Renders, text: str, index: int, written: int) -> int:
    """Return where the prompt of a message ends in a text.

    The text shows the whole prompt, or the longest prefix of its generation prompt: some prompts end with
    `<think>` or similar text, which the message may not show. Raises `RowError` if it shows neither.
    """
    if index == 0:
        return _first_prompt_end(renders, text, written)
    prompt = renders.prompt(index)
    if text.startswith(prompt):
        return len(prompt)
    opening = generation_prompt_start(renders, index)
    same = len(commonprefix([prompt, text]))
    if same >= opening and not prompt[same:].strip():
        return same
    ends = []
    end = whole_marker(prompt, same, opening)
    if same >= opening and prompt[opening:end].strip():
        ends.append(end)
    shown = find_opening(prompt[opening:].lstrip(), text, max(written, end))
    if shown is not None and _same_but_blanks(prompt[:opening], text[: shown[0]]):
        ends.append(shown[1])
    if not ends:
        near = text[max(0, same - 20) : same + 20]
        detail = f"the prompt of message {index} at inference differs from the text at character {same}"
        raise RowError("prompt_mismatch", f"{detail}: {near!r}")
    return max(ends)


def _first_prompt_end(renders: Renders, text: str, written: int) -> int:
    """Return the same if the assistant opens the conversation.

    Few templates can render the empty conversation before it. So the header is taken from the generation
    prompt of a later turn.
    """
    later = next((i for i, m in enumerate(renders.messages) if i and m.role == "assistant"), None)
    if later is not None:
        opening = renders.prompt(later)[generation_prompt_start(renders, later) :].lstrip()
        shown = find_opening(opening, text, written)
        if shown is not None:
            return shown[1]
    try:
        prompt = renders.prompt(0)
    except RowError as error:
        raise RowError(error.reason, f"the assistant opens the conversation; {error.detail}") from None
    if not text.startswith(prompt):
        raise RowError("prompt_mismatch", "the assistant opens the conversation and its header is not known")
    return len(prompt)


def generation_prompt_start(renders: Renders, index: int) -> int:
    """Return where the generation prompt starts in the prompt of a message.

    That is where the prompt differs from the text of the messages before it, but not before the last content
    of that text.
    """
    prompt = renders.prompt(index)
    content = content_end(runs_of(renders.prompt_traced(index)))
    try:
        before = renders.through(index - 1) if index else ""
    except RowError:
        return content
    if before == prompt:  # a template that always prints the generation prompt
        return content
    return max(content, whole_marker(prompt, len(commonprefix([prompt, before])), 0))


def whole_marker(prompt: str, end: int, least: int) -> int:
    """Step back from `end` until no marker such as `<think>` is cut in two.

    >>> whole_marker("assistant\\n<think>", 12, 0)
    10
    """
    while end > least and prompt[end - 1] not in _CLOSERS:
        end -= 1
    return end


def find_opening(opening: str, text: str, before: int) -> tuple[int, int] | None:
    """Return start and end of the last match before `before` of the longest prefix of an opening.

    The prefix has whole words and markers, with any white space between them.
    """
    words = list(_WORD.finditer(opening))
    for count in range(len(words), 0, -1):
        pattern = r"\s*".join(re.escape(word[0]) for word in words[:count])
        matches = list(re.finditer(pattern, text[:before]))
        if matches:
            end = matches[-1].end()
            blanks = re.compile(r"\s*").match(opening, words[count - 1].end())
            following = blanks[0] if blanks else ""
            return matches[-1].start(), end + len(commonprefix([following, text[end:before]]))
    return None


def _same_but_blanks(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())
