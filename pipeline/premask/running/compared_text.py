"""Which text of a row is compared with that of other rows: the texts of its messages, as the row has them.

    texts = ComparedText(Over.conversation, recipe.train)
    texts.of_shape(shape, slots), texts.of_conversations(conversations)

System messages and tool definitions are left out: many rows share them. `trained_text` takes the messages
that the recipe trains, and of these the fields that it trains. Templates add nothing that is compared.

Cost: a microsecond a row with a shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

from ..core.comparing import Over
from ..core.recipe import Train, Turns
from ..core.records import Conversation, Message
from ..core.shapes import MessageShape, RowShape, json_text

_SHARED = frozenset({"system", "developer"})
_MOST_SHAPES = 4096  # that are remembered


class ComparedText:
    """The compared text of rows, by what is compared and what is trained."""

    def __init__(self, over: Over, train: Train) -> None:
        self._over, self._train = over, train
        self._known: dict[RowShape, list[bool]] = {}

    def of_shape(self, shape: RowShape, texts: Sequence[str]) -> list[str]:
        """Return the compared texts of a row with a shape."""
        wanted = self._known.get(shape)
        if wanted is None:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            wanted = self._known[shape] = [*self._slots(shape)]
        return [*compress(texts, wanted)]

    def of_conversations(self, conversations: Sequence[Conversation]) -> list[str]:
        """Return the compared texts of a row that holds these conversations."""
        return [text for each in conversations for text in self._of(each)]

    def _slots(self, shape: RowShape) -> Iterator[bool]:
        """Yield for each text of a shape whether it is compared."""
        yield from [False] * (shape.tools or 0)
        for message, wanted in zip(shape.messages, self._messages(shape.messages), strict=True):
            yield from (wanted and self._takes(slot) for slot in message.slots)

    def _of(self, conversation: Conversation) -> Iterator[str]:
        if conversation.document is not None:
            yield conversation.document
        for message in compress(conversation.messages, self._messages(conversation.messages)):
            fields = _fields(message)
            yield from (text for slot, text in fields if self._takes(slot))

    def _messages(self, messages: Sequence[MessageShape] | Sequence[Message]) -> list[bool]:
        """Return for each message whether it is compared."""
        if self._over is Over.conversation:
            return [message.role not in _SHARED for message in messages]
        roles = self._train.roles
        wanted = [message.role in roles and message.train is not False for message in messages]
        if self._train.turns is Turns.last and any(wanted):
            last = len(wanted) - 1 - wanted[::-1].index(True)
            return [at == last for at in range(len(wanted))]
        return wanted

    def _takes(self, slot: str) -> bool:
        """Whether a field of a compared message is compared; ids and names of messages are not."""
        train, every = self._train, self._over is Over.conversation
        if slot.startswith("tool_calls."):
            return (every or train.tool_calls) and not slot.endswith(".id")
        return (slot == "content" and (every or train.text)) or (
            slot == "reasoning" and (every or train.reasoning)
        )


def _fields(message: Message) -> Iterator[tuple[str, str]]:
    """Yield the texts of a message with the names of their slots, in the order of those of a shape."""
    for slot, text in (("content", message.content), ("reasoning", message.reasoning)):
        if text is not None:
            yield slot, text
    for number, call in enumerate(message.tool_calls):
        function = call.get("function")
        if isinstance(function, dict):
            yield f"tool_calls.{number}.name", str(function.get("name", ""))
            if function.get("arguments"):
                yield f"tool_calls.{number}.arguments", _json(function["arguments"])


def _json(value: object) -> str:
    try:
        return json_text(value)
    except TypeError:  # a value that JSON does not have, such as a date of Parquet
        return str(value)
