"""ChatGPT's exports (`conversations.json`): `{"title": .., "mapping": {id: node}, "current_node": id}`.

A node has a message, its parent and its children. The conversation is the way from the root to
`current_node`: what the user saw last. Other branches (answers that were generated again) are left out, and
so are messages that are hidden from the conversation, empty system messages, and notes on the reasoning
("Thought for 3 seconds"). Thoughts become the reasoning of the answer after them.

    >>> def node(parent, role, text):
    ...     content = {"content_type": "text", "parts": [text]}
    ...     return {"parent": parent, "message": {"author": {"role": role}, "content": content}}
    >>> mapping = {"a": node(None, "user", "Hi"), "b": node("a", "assistant", "Hello")}
    >>> row = {"mapping": mapping, "current_node": "b"}
    >>> [(message.role, message.content) for message in normalize(row).messages]
    [('user', 'Hi'), ('assistant', 'Hello')]

Messages to and from tools of ChatGPT's own (`recipient`), pictures and files are refused. Cost: linear in the
conversation.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from . import openai
from .cells import parsed

Node = dict[str, Any]

_TEXTS = ("text", "multimodal_text")
_NOTES = ("reasoning_recap", "model_editable_context", "user_editable_context")
"""Content types that are no part of what was said."""


def recognize(value: Any) -> bool:
    """Whether the row has a mapping of nodes with messages and parents."""
    return any(
        isinstance(node, dict) and "message" in node and "parent" in node for node in _mapping(value).values()
    )


def normalize(value: Any) -> Conversation:
    """Read the branch that ends on the current node. Raises `RowError`."""
    if not recognize(value):
        raise RowError("unknown_dialect", "the row has no 'mapping' of messages")
    turns: list[Node] = []
    thoughts: list[str] = []
    for message in _branch(_mapping(value), value.get("current_node")):
        index = len(turns)
        content = message.get("content")
        content = content if isinstance(content, dict) else {}
        if content.get("content_type") == "thoughts":
            thoughts += _thoughts(content)
        elif (turn := _turn(message, content, index)) is not None:
            if thoughts and turn["role"] == "assistant":
                turn["reasoning_content"] = "\n\n".join(thoughts)
                thoughts = []
            turns.append(turn)
    row = {key: field for key, field in value.items() if key not in ("mapping", *openai.KEYS)}
    return openai.normalize({**row, "messages": turns})


def _mapping(value: Any) -> dict[str, Any]:
    held = value.get("mapping") if isinstance(value, dict) else None
    held = parsed(held) if isinstance(held, str) else held
    return held if isinstance(held, dict) else {}


def _branch(mapping: dict[str, Any], current: Any) -> list[Node]:
    """The messages from the root to a node."""
    if not isinstance(current, str) or not isinstance(mapping.get(current), dict):
        detail = "'current_node' names no node of 'mapping', so it is not known which branch was the last"
        raise RowError("wrong_type", detail)
    found, seen = list[Node](), set[str]()
    while isinstance(current, str) and isinstance(mapping.get(current), dict):
        if current in seen:
            raise RowError("wrong_type", f"node {current[:80]!r} of 'mapping' is its own parent")
        seen.add(current)
        message = mapping[current].get("message")
        found += [message] if isinstance(message, dict) else []
        current = mapping[current].get("parent")
    if current is not None:
        raise RowError("wrong_type", f"the parent {str(current)[:80]!r} of a node is not in 'mapping'")
    return found[::-1]


# ==== Messages ====


def _turn(message: Node, content: Node, index: int) -> Node | None:
    """A message as a turn; None if it is no part of the conversation. Raises `RowError`."""
    author, metadata = message.get("author"), message.get("metadata")
    role = author.get("role") if isinstance(author, dict) else None
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True
    type_ = content.get("content_type")
    if hidden or type_ in _NOTES:
        return None
    recipient = message.get("recipient")
    if role == "tool" or recipient not in (None, "all"):
        tool = recipient if role != "tool" else author.get("name") if isinstance(author, dict) else None
        detail = f"message {index} ({role}) belongs to ChatGPT's own tool {str(tool)[:80]!r}"
        raise RowError("unsupported_content", detail)
    if type_ not in _TEXTS:
        detail = f"message {index} ({role}) has content of type {str(type_)[:80]!r}; only text can be used"
        raise RowError("unsupported_content", detail)
    text = _text(content, f"message {index} ({role})")
    return None if role == "system" and not text.strip() else {"role": role, "content": text}


def _text(content: Node, where: str) -> str:
    parts = content.get("parts")
    if not isinstance(parts, list):
        raise RowError("wrong_type", f"{where} has no list of parts")
    texts = [_part(part) for part in parts if part is not None]
    if not all(isinstance(text, str) for text in texts):
        raise RowError("unsupported_content", f"{where} has a part that is no text; only text can be used")
    return "".join(texts)


def _part(part: Any) -> Any:
    """The text of a part; what is spoken is written as an object."""
    spoken = isinstance(part, dict) and part.get("content_type") == "audio_transcription"
    return part.get("text") if spoken else part


def _thoughts(content: Node) -> list[str]:
    held = content.get("thoughts")
    thoughts = [each for each in held if isinstance(each, dict)] if isinstance(held, list) else []
    return [text for each in thoughts if isinstance(text := each.get("content"), str) and text.strip()]
