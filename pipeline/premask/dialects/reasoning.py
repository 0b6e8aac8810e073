"""Reasoning that a message gives twice: under several keys, in parts, or as a block at the start of its text.

    {"reasoning_content": "r", "content": "<think>\\nr\\n</think>\\n\\nb"}     logs of gateways have both

It is taken once where all are equal, apart from blanks at the edges; a message in which they differ is
refused, because a template would print both, or one of them.

    >>> said_once({"'reasoning'": "r"}, "<think>\\nr\\n</think>\\n\\nb", "turn 1")
    ('r', 20)
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import RowError

_BLOCKS = {
    "<think>": "</think>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
}
"""Start and end of a block of reasoning."""

_OTHERS = {
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
"""Blocks that may also be part of the answer: they are left where they are if they hold something else."""


def said_once(written: Mapping[str, str], content: str | None, where: str) -> tuple[str | None, int]:
    """The reasoning of a message, and how many characters at the start of its content repeat it.

    `written` are the texts of its reasoning by their names in words. Raises `RowError`: wrong_type.
    """
    texts = {name: text for name, text in written.items() if text.strip()}
    if not texts:
        return next(iter(written.values()), None), 0
    (first, reasoning), *others = texts.items()
    for name, text in others:
        if text.strip() != reasoning.strip():
            raise _differs(where, first, name)
    return reasoning, _repeated(reasoning, content or "", where, first)


def _repeated(reasoning: str, content: str, where: str, name: str) -> int:
    """The length of the block at the start of a content that repeats the reasoning, with blanks around."""
    start = content.lstrip()
    opener = next((each for each in (*_BLOCKS, *_OTHERS) if start.startswith(each)), None)
    if opener is None:
        before, closer, _ = content.partition("</think>")
        same = bool(closer) and before.strip() == reasoning.strip()
        return _with_blanks(content, len(before) + len(closer)) if same else 0
    before, closer, _ = content.partition({**_BLOCKS, **_OTHERS}[opener])
    if closer and before.lstrip().removeprefix(opener).strip() == reasoning.strip():
        return _with_blanks(content, len(before) + len(closer))
    if closer and opener in _BLOCKS:
        raise _differs(where, name, f"the {opener} block of its content")
    return 0


def _with_blanks(content: str, end: int) -> int:
    return len(content) - len(content[end:].lstrip())


def _differs(where: str, one: str, other: str) -> RowError:
    detail = f"{where} has its reasoning twice, and {one} differs from {other}; leave one of them out"
    return RowError("wrong_type", detail)


def without_marks(text: str) -> str:
    """A reasoning without the marks of the block that it is written as.

    >>> without_marks("<think>\\nr\\n</think>")
    'r'
    """
    bare = text.strip()
    for opener, closer in {**_BLOCKS, **_OTHERS}.items():
        if bare.startswith(opener) and bare.endswith(closer) and bare.count(closer) == 1:
            return bare.removeprefix(opener).removesuffix(closer).strip()
    return text
