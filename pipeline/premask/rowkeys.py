"""What a row is told apart by: a hash of its conversation, and a hash of what keeps rows in one split.

    keys = plain_keys(batch.plain, n=len(batch), split_by=recipe.split_by)
    keys.add(at, [conversation])                    # for each row that is not plain
    keys.hashes[at], keys.groups[at]

The hash of a conversation (128 bits of SHA-256) covers its messages, tools and template arguments, but not
the row's id: rows of any dialect that mean the same have the same one. A plain row (`dialects/plain.py`) is
hashed without making a Conversation.

    >>> plain_hash(b"\\x02", ["Hi"]) == conversation_hash(Conversation((Message("user", "Hi"),)))
    True

Cost: 0.6 ns a byte of text and 1.5 us a row; the first user turn another microsecond.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .core.recipe import SplitBy
from .core.records import ROLES, Conversation, Message
from .dialects.plain import PlainRows

HASH_BYTES = 16
"""Bytes of a conversation's hash: among 10^9 rows two that differ agree by chance once in 10^20 runs."""

_USER = ROLES.index("user")


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The keys of n rows, those of a batch.

    hashes  uint8[n, 16]  of the conversation
    known   bool[n]       whether the row is a conversation at all; what is not has no keys
    groups  uint64[n]     rows that agree here stay in one split; zeros if nobody asked
    ids     n ids, None where a row has none
    """

    hashes: np.ndarray
    known: np.ndarray
    groups: np.ndarray
    ids: list[str | None]
    split_by: SplitBy | None = None

    def add(self, at: int, conversations: Sequence[Conversation]) -> None:
        """Set the keys of row `at`, which was not plain, by the conversations that it holds."""
        hashes = [conversation_hash(each) for each in conversations]
        hashed = hashes[0] if len(hashes) == 1 else _hash(b"".join(hashes))
        self.hashes[at] = np.frombuffer(hashed, np.uint8)
        self.known[at] = True
        self.ids[at] = conversations[0].id
        if self.split_by is not None:
            users = (m.content for m in conversations[0].messages if m.role == "user" and m.content)
            self.groups[at] = _group(hashed, next(users, None), self.ids[at], self.split_by)


def plain_keys(plain: PlainRows, n: int, split_by: SplitBy | None = None) -> RowKeys:
    """The keys of the plain rows of a batch of `n` rows; groups only if told by what."""
    hashes = [plain_hash(codes, texts) for codes, texts in zip(plain.roles, plain.texts, strict=True)]
    index = np.asarray(plain.index, dtype=np.int64)
    keys = RowKeys(
        np.zeros((n, HASH_BYTES), dtype=np.uint8),
        np.zeros(n, dtype=bool),
        np.zeros(n, dtype=np.uint64),
        [None] * n,
        split_by,
    )
    keys.hashes[index] = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)
    keys.known[index] = True
    for at, id_ in zip(plain.index, plain.ids, strict=True):
        keys.ids[at] = id_
    if split_by is not None:
        firsts = map(_first_user, plain.roles, plain.texts)
        keys.groups[index] = np.fromiter(
            (_group(*each, split_by) for each in zip(hashes, firsts, plain.ids, strict=True)),
            dtype=np.uint64,
            count=len(index),
        )
    return keys


def plain_hash(codes: bytes, texts: Sequence[str]) -> bytes:
    """The hash of a conversation that is nothing but roles (indices into `ROLES`) and texts."""
    sizes = ",".join([str(len(text)) for text in texts])
    return _hash(b"%b\0%b\0%b" % (codes, sizes.encode(), "".join(texts).encode()))


def conversation_hash(conversation: Conversation) -> bytes:
    """The hash of any conversation; of a plain one that of `plain_hash`."""
    messages = conversation.messages
    if not conversation.tools and not conversation.template_kwargs and all(map(_is_plain, messages)):
        codes = bytes([ROLES.index(message.role) for message in messages])
        return plain_hash(codes, [message.content or "" for message in messages])
    parts = [dataclasses.asdict(message) for message in messages], conversation.tools
    text = json.dumps([*parts, conversation.template_kwargs], sort_keys=True, default=str)
    return _hash(text.encode())


def _is_plain(message: Message) -> bool:
    return message.content is not None and message == Message(message.role, message.content)


def _first_user(codes: bytes, texts: Sequence[str]) -> str | None:
    """The text of the first user turn that has any."""
    for code, text in zip(codes, texts, strict=True):
        if code == _USER and text:
            return text
    return None


def _group(hashed: bytes, first_user: str | None, id_: str | None, split_by: SplitBy) -> int:
    """What keeps a row with others, as a number of 64 bits."""
    if split_by is SplitBy.id and id_ is not None:
        return _number(_hash(b"id\0" + id_.encode()))
    if split_by is SplitBy.conversation or first_user is None:
        return _number(hashed)
    return _number(_hash(" ".join(first_user.split()).casefold().encode()))


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:HASH_BYTES]


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed[:8], "little")
