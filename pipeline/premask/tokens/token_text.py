"""The readable text of token ids. Characters that several tokens share are shown as a whole.

    texts = TokenTexts(Path("out/chats/tokenizer/tokenizer.json"))
    texts.groups([42, 511, 5310])       # [("H", 1), ("🙂", 2)]: two tokens share the bytes of one character
    texts.bytes_of(511)                 # b"\\xf0\\x9f"

Byte-level and byte-fallback tokenizers (those of nearly all chat models) are exact. Tokens of other
tokenizers are decoded one by one, which may add or lose a space.

Cost: a tenth of a second to load; a microsecond a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tokenizers

from ..core.errors import OutputError, one_line
from .plain_parts import MOST_IDS
from .token_bytes import BYTES_OF_CHARACTERS
from .watched_texts import is_of_library

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class _Spec(msgspec.Struct):
    """The part of tokenizer.json that is read; a typed reader skips the rest in a tenth of the time."""

    decoder: dict[str, Any] | None = None


class TokenTexts:
    """The texts of the tokens of one tokenizer, given as the file `tokenizer.json` or as what was loaded,
    with its JSON. Raises `OutputError` if the file cannot be read."""

    def __init__(self, source: Path | tuple[tokenizers.Tokenizer, str]) -> None:
        if isinstance(source, Path):
            self._backend, text = _read(source), source.read_bytes()
        else:
            self._backend, text = source[0], source[1].encode()
        added = self._backend.get_added_tokens_decoder()
        self._added = {index: token.content for index, token in added.items()}
        self._special = [index for index, token in added.items() if token.special]
        decoder = json.dumps(msgspec.json.decode(text, type=_Spec).decoder or {})
        self._byte_level, self._byte_fallback = '"ByteLevel"' in decoder, '"ByteFallback"' in decoder
        self._known: dict[int, bytes] = {}

    @cached_property
    def special(self) -> np.ndarray:
        """Which ids are control tokens, bool[ids]."""
        size = max([self._backend.get_vocab_size(with_added_tokens=True), *(i + 1 for i in self._special)])
        if size > MOST_IDS:
            raise OutputError(f"the tokenizer of the output has ids of {MOST_IDS:,} and more; write it again")
        found = np.zeros(size, dtype=bool)
        found[self._special] = True
        return found

    @cached_property
    def _ids(self) -> np.ndarray:
        """All ids of the vocabulary, ascending, int64[n]."""
        found = self._backend.get_vocab(with_added_tokens=True).values()
        return np.sort(np.fromiter(found, dtype=np.int64, count=len(found)))

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        """Return which ids are no tokens, bool[t]."""
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.asarray(self._ids[at] != ids)

    def texts_of(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the texts that ids decode to: with control tokens, without them, and token by token."""
        apart = b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")
        try:
            return (*(self._backend.decode(ids, skip_special_tokens=each) for each in (False, True)), apart)
        except BaseException as error:
            if not is_of_library(error):
                raise
            return (apart,)

    def count_special(self, ids: np.ndarray) -> np.ndarray:
        """Return which tokens are control tokens, bool[t]."""
        known = (ids >= 0) & (ids < len(self.special))
        return np.asarray(self.special[np.where(known, ids, 0)] & known)

    def ids_of(self, strings: Iterable[str]) -> set[int]:
        """Return the ids of the strings that are a single token."""
        found = (self._backend.token_to_id(each) for each in strings)
        return {index for index in found if index is not None}

    def bytes_of(self, index: int) -> bytes:
        """Return the bytes of text of a token; for an unknown id, a note."""
        if index not in self._known:
            self._known[index] = self._bytes_of(index)
        return self._known[index]

    def all_bytes(self) -> list[bytes]:
        """Return the bytes of the tokens with the ids 0, 1, 2 ...; none for an id that has no token."""
        found = [b""] * (int(self._ids[-1]) + 1 if len(self._ids) else 0)
        for index in self._ids.tolist():
            found[index] = self._bytes_of(index)
        return found

    def _bytes_of(self, index: int) -> bytes:
        if index in self._added:
            return self._added[index].encode("utf-8", "surrogatepass")
        piece = self._backend.id_to_token(index) if index >= 0 else None
        if piece is None:
            return f"[no token {index}]".encode()
        if self._byte_level and all(char in BYTES_OF_CHARACTERS for char in piece):
            return bytes(BYTES_OF_CHARACTERS[char] for char in piece)
        if self._byte_fallback:
            if _BYTE.fullmatch(piece):
                return bytes.fromhex(piece[3:5])
            return piece.replace("\u2581", " ").encode()
        return self._decoded(index).encode()

    def _decoded(self, index: int) -> str:
        """Return what a token adds to the decoded text after another one; a note if it cannot be decoded."""
        try:
            alone = self._backend.decode([index], skip_special_tokens=False)
            twice = self._backend.decode([index, index], skip_special_tokens=False)
        except BaseException as error:
            if not is_of_library(error):
                raise
            return f"[token {index}]"
        return twice[len(alone) :] if twice.startswith(alone) else alone

    def groups(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Cut ids into the smallest groups of whole characters: text, number of tokens.

        Bytes that are not UTF-8 are escaped, as `\\xff`.
        """
        found: list[tuple[str, int]] = []
        data, count = b"", 0
        for index in ids:
            own = self.bytes_of(index)
            if count and index in self._added:  # a control token does not end a character
                found.append((_shown(data), count))
                data, count = b"", 0
            data, count = data + own, count + 1
            if not _is_cut(data):
                found.append((_shown(data), count))
                data, count = b"", 0
        if count:
            found.append((_shown(data), count))
        return found


def _read(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001  the library raises bare exceptions, and panics
        reason = one_line(error, 200)
        raise OutputError(f"{path} cannot be read: {reason}; fetch or write the output again") from None


def groups_of(text: str, starts: Sequence[int], ends: Sequence[int]) -> list[tuple[str, int]]:
    """Cut tokens with known characters into the smallest groups that share none: text, number of tokens.

    >>> groups_of("H🙂!", [0, 1, 1, 2], [1, 2, 2, 3])
    [('H', 1), ('🙂', 2), ('!', 1)]
    """
    found: list[tuple[str, int]] = []
    first, reach, count = 0, -1, 0
    for start, end in zip(starts, ends, strict=True):
        if count and start >= reach:
            found.append((text[first:reach], count))
            count = 0
        if not count:
            first, reach = start, end
        reach, count = max(reach, end), count + 1
    if count:
        found.append((text[first:reach], count))
    return found


def _is_cut(data: bytes) -> bool:
    """Whether bytes end inside a character.

    >>> _is_cut("é".encode()[:1]), _is_cut(b"a"), _is_cut(bytes([255]))
    (True, False, False)
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.end == len(data) and error.reason == "unexpected end of data"
    return False


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
