"""Whether a chat template can print a string: for the strings that a recipe names.

    printable = Printable(template, renders=labeller.renders)
    check_left_out(printable, ["</thinking>"])      # RecipeError: ... never prints '</thinking>'

A string can be printed if it is in a literal of the template, or in what the template itself prints in one of
a few short conversations (plain, with tools, with reasoning), where literals join.

Cost: a few renders, once per template.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby

from jinja2 import nodes

from ..core.errors import RecipeError, RowError
from ..core.records import TEMPLATE, Conversation, Message
from .chat_template import ChatTemplate
from .renders import Renders
from .template_arguments import trees_of
from .texts import Text
from .traced import runs_of

_CALL = {
    "type": "function",
    "id": "call00001",
    "function": {"name": "find", "arguments": {"city": "Oslo"}},
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_PROBES = (
    Conversation((Message("user", "ping"), Message("assistant", "pong"), Message("user", "pang"))),
    Conversation((Message("system", "pung"), Message("user", "ping"), Message("assistant", "pong"))),
    Conversation((Message("user", "ping"), Message("assistant", "pong"))),
    Conversation((Message("user", "ping"), Message("assistant", "pong", reasoning="hm"))),
    Conversation(
        (
            Message("user", "ping"),
            Message("assistant", "", tool_calls=(_CALL,)),
            Message("tool", "pang", tool_call_id="call00001", name="find"),
            Message("assistant", "pong"),
        ),
        tools=(_TOOL,),
    ),
    Conversation(
        (
            Message("user", "ping"),
            Message("assistant", "pong", reasoning="hm", tool_calls=(_CALL, {**_CALL, "id": "call00002"})),
        ),
        tools=(_TOOL,),
    ),
)
"""Plain, with a system message, with reasoning, with tools, and with parallel calls."""

_MARKERS = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|\S{3,}")


class Printable:
    """What a chat template itself can print."""

    def __init__(self, template: ChatTemplate, renders: Callable[[Conversation], Renders]) -> None:
        self.name = template.name
        self._template = template
        self._renders = renders

    def prints(self, text: str) -> bool:
        """Whether the template may print a string; True if it refuses all probes."""
        if not self._rendered:
            return True
        return any(text in each for each in self._literals) or any(text in each for each in self._joined)

    def ends_a_turn(self, text: str) -> bool:
        """Whether a string comes after the text of an assistant message in a short conversation."""
        return any(text in each for each in self._behind)

    def near(self, text: str) -> list[str]:
        """Return markers of the template that look like a string, the likeliest first."""
        markers = {marker for each in self._literals for marker in _MARKERS.findall(each)}
        return difflib.get_close_matches(text.strip(), sorted(markers), n=2, cutoff=0.5)

    @cached_property
    def _literals(self) -> list[str]:
        """The literal text of the sources, their constants, and the variables of the tokenizer."""
        found = [text for tree in trees_of(self._template) for text in _literals(tree)]
        return [*found, *(each for each in self._template.variables.values() if isinstance(each, str))]

    @cached_property
    def _joined(self) -> list[str]:
        """What the template prints around the messages of the probes, in one piece where it is."""
        return [text for renders in self._rendered for text in _by_template(renders)]

    @cached_property
    def _behind(self) -> list[str]:
        """What the template prints after the assistant messages of the probes, up to the next message."""
        return [text for renders in self._rendered for text in _behind(renders)]

    @cached_property
    def _rendered(self) -> list[Renders]:
        """The probes that the template accepts."""
        return [renders for renders in map(self._renders, _PROBES) if _is_accepted(renders)]


def check_left_out(printable: Printable, left_out: Iterable[str]) -> None:
    """Check the strings of `leave_out`. Raises `RecipeError` for one that the template can never print."""
    for text in left_out:
        if not text:
            raise RecipeError("leave_out: a string is empty; remove it")
        if not printable.prints(text):
            raise RecipeError(f"leave_out: {printable.name} never prints {text!r}{_hint(printable, text)}")


def check_turn_ends(printable: Printable, ends: Iterable[str], special: Sequence[str] = ()) -> None:
    """Check the strings of `end_of_turn`; `special` are the special tokens of the tokenizer.

    Raises `RecipeError` for one that can never end a turn.
    """
    for text in ends:
        if not (text in special or printable.ends_a_turn(text) or printable.prints(text)):
            raise RecipeError(
                f"end_of_turn: {printable.name} never prints {text!r}, and it is no special token of the "
                f"tokenizer{_hint(printable, text)}"
            )


def _hint(printable: Printable, text: str) -> str:
    near = printable.near(text)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "; remove it"


def _literals(tree: nodes.Template) -> Iterator[str]:
    yield from (each.data for each in tree.find_all(nodes.TemplateData))
    yield from (each.value for each in tree.find_all(nodes.Const) if isinstance(each.value, str))


def _is_accepted(renders: Renders) -> bool:
    try:
        renders.full()
    except RowError:
        return False
    return True


def _by_template(renders: Renders) -> Iterator[str]:
    text, at = renders.full(), 0
    for own, group in groupby(runs_of(text), key=lambda run: run[1] == TEMPLATE):
        end = at + sum(length for length, _ in group)
        if own:
            yield str.__str__(text)[at:end]
        at = end


def _behind(renders: Renders) -> Iterator[str]:
    text = Text.of(renders.full())
    spans = [text.span(index) for index in range(len(renders.messages))]
    starts = [span[0] for span in spans if span] + [len(text)]
    for message, span in zip(renders.messages, spans, strict=True):
        if span and message.role == "assistant":
            yield text.text[span[1] : min(start for start in starts if start >= span[1])]
