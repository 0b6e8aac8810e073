"""Where the turns of a sample begin, and who writes them: from origins, or from the markers of its template.

    turns_of(tokens)        # [(0, "user"), (5, "assistant")]: first tokens, and roles

Rows of other tools do not say who wrote what. Chat templates do: a control token names the role
(`<|user|>`), or is followed by its name (`<|im_start|>user`, `<|start_header_id|>user<|end_header_id|>`). A
text without such markers is one turn of an unknown role, "".

Cost: a microsecond a token.
"""

from __future__ import annotations

import re

from ...core.display import writer_of
from ...dialects.role_names import MESSAGE_ROLES
from .tokens import Tokens

_ROLE_CHARACTERS = 24
"""More than a name of a role has."""
_INSTRUCTIONS = {
    "[INST]": "user",
    "[/INST]": "assistant",
    "[SYSTEM_PROMPT]": "system",
    "[TOOL_RESULTS]": "tool",
    "[/TOOL_RESULTS]": "assistant",
}
"""Markers of Mistral, and who writes what follows them."""
_BRACKETS = re.compile(r"[<>|\uff5c\u2581\s]+")

Turn = tuple[int, str]
"""The first token of a turn, and its role."""


def turns_of(tokens: Tokens) -> list[Turn]:
    """Return the turns of a sample of t tokens, in order; the first one begins at 0."""
    if tokens.origins is None:
        return _by_markers(tokens)
    from ..report.samples import blocks_of  # noqa: PLC0415  rows of other tools do without the report

    ids = tokens.ids.tolist()
    ends = set(tokens.ids[tokens.control].tolist())
    blocks = blocks_of(ids, tokens.groups, tokens.origins, ends)
    return [(first, writer_of(origin)) for first, origin in blocks]


def template_texts(tokens: Tokens) -> list[bool]:
    """Return which of the t tokens are text that the template prints, as far as that is known."""
    if tokens.origins is not None:
        return [origin == "template" for origin in tokens.origins]
    found: list[bool] = tokens.control.tolist()
    for first, last, _ in _headers(tokens):
        found[first:last] = [True] * (last - first)
    return found


def _by_markers(tokens: Tokens) -> list[Turn]:
    found = [(first, role) for first, _, role in _headers(tokens)]
    if not found:
        return [(0, "")]
    before = zip(tokens.groups, _first_tokens(tokens), strict=True)
    blank = all(tokens.control[at] or not text.strip() for (text, _), at in before if at < found[0][0])
    return [(0, found[0][1]), *found[1:]] if blank else [(0, ""), *found]


def _first_tokens(tokens: Tokens) -> list[int]:
    at, found = 0, []
    for _, count in tokens.groups:
        found.append(at)
        at += count
    return found


def _headers(tokens: Tokens) -> list[tuple[int, int, str]]:
    """Return the markers that name roles: first token, one past the last token, and the role."""
    firsts, found = _first_tokens(tokens), list[tuple[int, int, str]]()
    for i, (text, count) in enumerate(tokens.groups):
        if not tokens.control[firsts[i]] or tokens.padding[firsts[i]]:
            continue
        if own := _INSTRUCTIONS.get(text) or MESSAGE_ROLES.get(_BRACKETS.sub("", text).lower()):
            found.append((firsts[i], firsts[i] + count, own))
            continue
        role, last = _named_behind(tokens, firsts, i)
        if role:
            found.append((firsts[i], last, role))
    return found


def _named_behind(tokens: Tokens, firsts: list[int], at: int) -> tuple[str, int]:
    """Return the role that the text behind a control token names, up to a line break or a control token, and
    one past the last token of the name; "" if it names none."""
    name = ""
    for i in range(at + 1, len(firsts)):
        text, count = tokens.groups[i]
        ends = bool(tokens.control[firsts[i]])
        name += "" if ends else text
        if ends or "\n" in text or len(name) > _ROLE_CHARACTERS:
            line, _, _ = name.partition("\n")
            known = len(line) <= _ROLE_CHARACTERS and name.strip() == line.strip()
            return MESSAGE_ROLES.get(line.strip().lower(), "") if known else "", firsts[i] + count
    return "", 0
