"""Whether reasoning is where a model would write it: inside an open block, and never behind a closed one.

problems("<think>\\n</think>\\n\\n", "zq1rA Hm. zq1rB</think>zq1cA Hi. zq1cB", 1)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from conversation_kinds import ANY_WORD, field_of, message_of

BLOCKS = (
    ("<think>", "</think>"),
    ("<think_fast>", "</think_fast>"),
    ("<thinking>", "</thinking>"),
    ("<THINKING>", "</THINKING>"),
    ("<thought>", "</thought>"),
    ("<start_working_out>", "<end_working_out>"),
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|start_think|>", "<|end_think|>"),
    ("<|thought_start|>", "<|thought_end|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("[THINK]", "[/THINK]"),
)
"""What opens and closes the reasoning of known templates."""

INSIDE = "an answer inside an open block"

_OPENERS = frozenset(opener for opener, _ in BLOCKS)
_CLOSERS = frozenset(closer for _, closer in BLOCKS)
_PIECE = re.compile("|".join([*(re.escape(each) for pair in BLOCKS for each in pair), ANY_WORD.pattern]))
_CONTENT = re.compile(r"(zq\d+[a-z]\d*)A.*?\1B", re.DOTALL)


def is_open(prompt: str) -> bool:
    """Whether a prompt ends inside a reasoning block.

    >>> is_open("zq0uA Hi zq0uB<think>"), is_open("zq0uA Hi zq0uB<think></think>")
    (True, False)
    """
    markers = [piece for piece in _pieces(prompt_tail(prompt)) if not ANY_WORD.fullmatch(piece)]
    return bool(markers) and markers[-1] in _OPENERS


def is_closed(prompt: str) -> bool:
    """Whether a prompt ends behind a reasoning block."""
    markers = [piece for piece in _pieces(prompt_tail(prompt)) if not ANY_WORD.fullmatch(piece)]
    return bool(markers) and markers[-1] in _CLOSERS


def prompt_tail(prompt: str) -> str:
    """What a prompt has behind the text of its last message, but no more than a header: some templates add
    instructions about reasoning to a system prompt."""
    return ANY_WORD.split(prompt)[-1][-60:] if ANY_WORD.search(prompt) else prompt[-24:]


def problems(prompt: str, completion: str, index: int, *, closes: bool = False) -> Iterator[str]:
    """What is wrong with the reasoning blocks of message `index` behind a prompt. A closer that no opener
    comes before is how some templates write that there is no reasoning. `closes` says that the message's own
    content closes a block."""
    opened = closed = False
    tail = _pieces(prompt_tail(prompt))
    for number, piece in enumerate([*tail, *_pieces(completion)]):
        if ANY_WORD.fullmatch(piece):
            if message_of(piece) != index or not piece.endswith("A"):
                continue
            if field_of(piece) == "r" and closed and not opened:
                yield "reasoning behind a closed block"
            if field_of(piece) in "ct" and opened and not closes:
                yield INSIDE
        elif piece in _OPENERS:
            if opened:
                yield f"{piece} inside an open block"
            opened = True
        elif opened or not closed:
            opened, closed = False, True
        elif number >= len(tail) and not closes:
            yield f"{piece} closes a block that is not open"


def _pieces(text: str) -> list[str]:
    """The markers and words of a text, without the markers inside the text of a message."""
    return [found[0] for found in _PIECE.finditer(_CONTENT.sub(r"\1A \1B", text))]
