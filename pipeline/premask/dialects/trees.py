"""Message trees (Open Assistant): a prompt with replies, which have replies of their own.

    {"message_tree_id": ..., "prompt": {"text": "Hi", "role": "prompter", "replies": [
        {"text": "Hello", "role": "assistant", "rank": 0, "replies": []}, ...]}}

also with the prompt itself as the row. A path goes from the prompt to an assistant's message that no other
assistant's message follows; prompts at its end are left out. `normalize` gives the best path: at each message
the reply of the lowest rank, or the first one where there are no ranks. `paths` gives all of them, the best
one first; an answer that is on several is trained on the first of these alone. Deleted messages and
those that failed their review are left out with all that follows them.

    >>> reply = {"text": "Hello", "role": "assistant", "rank": 0}
    >>> row = {"prompt": {"text": "Hi", "role": "prompter", "replies": [reply, {**reply, "rank": 1}]}}
    >>> len(paths(row)), [message.content for message in normalize(row).messages]
    (2, ['Hi', 'Hello'])

Cost: all paths cost the product of their number and length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common
from .cells import as_text
from .marks import read_mark
from .role_names import ROLE_NAMES
from .turns import read_role

ROLES = {name: role for name, role in ROLE_NAMES.items() if role in ("user", "assistant", "system")}

Node = dict[str, Any]


def recognize(value: Any) -> bool:
    """Whether the row is a message with a list of replies, or holds one as its prompt."""
    return _root(value) is not None


def normalize(value: Any) -> Conversation:
    """The best path of a tree. Raises `RowError`."""
    path = next(_paths(_checked_root(value)), [])
    return _conversation(value, [_message(node) for node in path])


def paths(value: Any) -> list[Conversation]:
    """All paths of a tree, each answer trained once. Raises `RowError`."""
    seen: set[int] = set()
    found = []
    for path in _paths(_checked_root(value)):
        messages = [_message(node) for node in path]
        marked = [
            replace(message, train=False) if id(node) in seen and message.role == "assistant" else message
            for node, message in zip(path, messages, strict=True)
        ]
        seen.update(map(id, path))
        found.append(_conversation(value, marked))
    return found or [_conversation(value, [])]


def is_flat_message(value: Any) -> bool:
    """Whether a row is a single message of a tree, with its parent named."""
    held = value.keys() if isinstance(value, dict) else ()
    return {"message_id", "parent_id", "text", "role"} <= {*held} and "replies" not in held


def _conversation(value: Any, messages: list[Message]) -> Conversation:
    if not messages:
        raise RowError("no_assistant", "the tree has no answer")
    made = common.make_conversation(value, messages)
    return made if made.id is not None else replace(made, id=_tree_id(value))


def _tree_id(value: Node) -> str | None:
    return common.written_id(value.get("message_tree_id") or value.get("message_id"))


def _root(value: Any) -> Node | None:
    if not isinstance(value, dict):
        return None
    for node in (value.get("prompt"), value):
        if isinstance(node, dict) and isinstance(node.get("replies"), list) and "role" in node:
            return node
    return None


def _checked_root(value: Any) -> Node:
    root = _root(value)
    if root is None:
        raise RowError("unknown_dialect", "the row is no tree: it has no message with a list of replies")
    if root.get("parent_id") is not None:
        raise RowError("wrong_type", "the tree begins with a message whose parent is not there")
    return root


def _paths(root: Node) -> Iterator[list[Node]]:
    """Paths to answers, the best first. A stack of our own: depth cannot exhaust Python's."""
    stack = [[root]]
    while stack:
        path = stack.pop()
        replies = _replies(path[-1])
        if _is_end(path[-1], replies):
            yield path
        stack += [[*path, reply] for reply in reversed(replies)]


def _is_end(node: Node, replies: list[Node]) -> bool:
    """Whether a node is an answer that no other answer follows."""
    if not _is_answer(node):
        return False
    return not any(_has_answer(reply) for reply in replies)


def _is_answer(node: Node) -> bool:
    return ROLES.get(str(node.get("role")).strip().lower()) == "assistant"


def _has_answer(node: Node) -> bool:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if _is_answer(each):
            return True
        waiting += _replies(each)
    return False


def _replies(node: Node) -> list[Node]:
    """The replies that are in use, the best first."""
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise RowError("wrong_type", "the replies of a message are not an array of objects")
    used = [each for each in replies if not each.get("deleted") and each.get("review_result") is not False]
    return sorted(used, key=_rank)


def _rank(node: Node) -> float:
    rank = node.get("rank")
    return rank if isinstance(rank, (int, float)) and not isinstance(rank, bool) else float("inf")


def _message(node: Node) -> Message:
    text = as_text(node.get("text", node.get("content")))
    if not isinstance(text, str):
        raise RowError("wrong_type", f"the text of a message is a JSON {kind(text)}, not a string")
    mark = read_mark(node, "a message of the tree")
    return Message(read_role(0, node.get("role"), ROLES), text, train=mark.train, weight=mark.weight)
