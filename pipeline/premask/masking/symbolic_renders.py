"""The renders of one conversation with symbolic texts: each run of a text knows what expression printed it.

    renders = SymbolicRenders(conversation, shape, questions, symbolic_template, kwargs)
    (sample, *_) = decide(renders, rules)            # as for any other renders
    slot_of(sample.runs[1][1])                       # Op("text", (0,)) for slot 0; None for a literal

So the decision about one row is known for all rows of its shape that give the same answers to `questions`.

Cost: a symbolic render takes twice as long as a traced one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.records import TEMPLATE, TOOLS, Conversation, Origin
from ..core.shapes import RowShape, conversation_of
from .chat_template import ChatTemplate
from .renders import Renders
from .symbolic import JsonSlot, Op, Part, Questions, SymbolicTemplate, Unplannable
from .texts import Text
from .traced import TracedStr


class SlotOrigin(Origin):
    """The origin of a run that an expression of slots printed."""

    op: Op

    @classmethod
    def of(cls, origin: Origin, op: Op) -> SlotOrigin:
        """Return an origin with the expression."""
        own = cls(*origin)
        own.op = op
        return own


def text_of(parts: Sequence[Part], texts: Sequence[str], origin_of: Callable[[Op], Origin]) -> Text:
    """Return the text of parts for the texts of slots; each part is a run."""
    pieces = [part if isinstance(part, str) else part.value(texts) for part in parts]
    origins = (SlotOrigin.of(origin_of(part), part) if isinstance(part, Op) else TEMPLATE for part in parts)
    return Text("".join(pieces), tuple(zip(map(len, pieces), origins, strict=True)))


def slot_of(origin: Origin) -> Op | None:
    """Return the expression that printed a run; None if the template did."""
    return origin.op if isinstance(origin, SlotOrigin) else None


def origins_of(shape: RowShape) -> list[Origin]:
    """Return the origins of the slots of a shape."""
    origins = [TOOLS] * (shape.tools or 0)
    for index, message in enumerate(shape.messages):
        names = ("reasoning_content" if slot == "reasoning" else slot for slot in message.slots)
        origins += (Origin(index, message.role, name) for name in names)
    return origins


def slot_in(op: Op) -> int:
    """Return the slot of which an expression prints a piece, of a list the first one; raise `Unplannable` if
    it prints other text."""
    while op.name != "text":
        if op.name not in ("call", "item", "slice", "list") or not isinstance(op.args[0], Op):
            raise Unplannable
        op = op.args[0]
    return int(op.args[0])


class SymbolicRenders(Renders):
    """The renders of a conversation of a known shape, whose texts are those of `questions`.

    `conversation` may have empty content where the shape has none. Every method raises `Unplannable` if a
    render depends on a text in a way that is not followed.
    """

    def __init__(  # noqa: PLR0913  what a render depends on
        self,
        conversation: Conversation,
        shape: RowShape,
        questions: Questions,
        template: ChatTemplate,
        symbolic: SymbolicTemplate,
        kwargs: Mapping[str, Any] | None = None,
        as_parts: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(conversation, template, kwargs, as_parts)
        self.questions, self._symbolic = questions, symbolic
        texts = [questions.text(slot) for slot in range(len(questions.texts))]
        unknown = conversation_of(shape, texts, parse=JsonSlot)
        filled = tuple(
            replace(each, content=own.content) if each.content is None else each
            for each, own in zip(unknown.messages, conversation.messages, strict=True)
        )
        other = Renders(replace(unknown, messages=filled), template, kwargs, as_parts)
        self._unknown, self._unknown_tools = other.template_messages, other.tools
        self._origins = origins_of(shape)
        self._parts: dict[tuple[int, bool], tuple[Part, ...]] = {}

    def parts(self, count: int, *, prompt: bool) -> tuple[Part, ...]:
        """Return the parts of the render of the first `count` messages. Raises `RowError` if the template
        raises."""
        key = count, prompt
        if key not in self._parts:
            self._parts[key] = self._symbolic.render(
                self._unknown[:count],
                questions=self.questions,
                tools=self._unknown_tools,
                kwargs=self._kwargs,
                prompt=prompt,
            )
        return self._parts[key]

    def origin_of(self, op: Op) -> Origin:
        """Return whose text an expression prints. Raises `Unplannable` if it is that of several slots."""
        return self._origins[slot_in(op)]

    def _checked(self, count: int, *, prompt: bool) -> TracedStr:
        return self._traced_text(count, prompt=prompt)

    def _render(self, count: int, *, prompt: bool, traced: bool = False) -> str:
        text = self._traced_text(count, prompt=prompt)
        return text if traced else str.__str__(text)

    def _traced_text(self, count: int, *, prompt: bool) -> TracedStr:
        text = text_of(self.parts(count, prompt=prompt), self.questions.texts, self.origin_of)
        return TracedStr.with_runs(text.text, text.runs)
