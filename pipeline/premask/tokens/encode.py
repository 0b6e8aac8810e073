"""Text -> token ids, and which characters each token covers.

    encoder = Encoder(backend, control=["<|im_end|>"], generated=["<|im_end|>"])
    tokens, errors, forged = encoder.encode([sample])

Ids are those of `apply_chat_template(..., tokenize=True)`, with one exception: a control-token string
that stands in the *content* of a message is encoded as the plain characters it is (policy `text`), so
that a user who types `<|im_end|>` ends nothing.

Where a token ends is computed, not asked for: in byte-level and byte-fallback vocabularies every token
has a fixed number of bytes, so ends are a cumulative sum, checked against the bytes of each text. Texts
for which that does not hold (normalizers, prefix spaces, stripping tokens) take the tokenizer's offsets.
Encoding costs about 1.5 microseconds a token with `tokenizers`, the rest about 0.1.
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import tokenizers

from ..core.arrays import offsets_of
from ..core.errors import RowError
from ..core.recipe import ControlTokens
from ..core.records import ROLES, TEMPLATE, ByteTokens, Sample, Segments, TokenBatch, placed
from .engines import EngineProof, Ids, TokenizersEngine, TwoEngines
from .token_bytes import byte_tables


@dataclass(frozen=True)
class Encoded:
    """The tokens of one text: ids and the characters they cover, as in `TokenBatch`."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Encoder:
    """Encodes samples with a `tokenizers` backend.

    `control` are the strings that must not become control tokens when they stand in content; for content
    that an assistant wrote only those in `generated` count, because it may have to write the others
    (`<think>`, `<tool_call>`).
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        control: Sequence[str] = (),
        generated: Sequence[str] = (),
        policy: ControlTokens = ControlTokens.text,
        engines: TwoEngines | None = None,
    ) -> None:
        self._backend = backend
        self._engines = engines or TwoEngines(backend, EngineProof(TokenizersEngine.name))
        self._policy = policy
        self._added = dict(backend.get_added_tokens_decoder())
        self._control = _any_of(control)
        self._control_ids = [index for index, token in self._added.items() if token.content in control]
        self._generated = frozenset(generated)
        self._secret = secrets.token_hex(16)  # of strings that no text can be made to hold; changes no id
        self._spec, self._lengths = byte_tables(self._engines.tokenizer_json)

    def encode(
        self, samples: Sequence[Sample], *, reference: bool = False
    ) -> tuple[TokenBatch, list[RowError | None], list[int]]:
        """The tokens of all samples; for each the reason why it cannot be used, if there is one; and how
        many control-token strings stand in its content. A sample that cannot be used has no tokens.

        `reference`: by the reference engine, whatever engine is used.
        """
        forged = [self._forged(sample) for sample in samples]
        errors: list[RowError | None] = [
            self._refused(sample, spans) for sample, spans in zip(samples, forged, strict=True)
        ]
        plain = [i for i, spans in enumerate(forged) if not spans]
        done: list[Encoded | None] = [None] * len(samples)
        texts = [samples[i].text for i in plain]
        for i, encoded in zip(plain, self._encode_plain(texts, reference=reference), strict=True):
            done[i] = encoded
        for i, spans in enumerate(forged):
            if spans and errors[i] is None:
                try:
                    done[i] = self._encode_forged(samples[i].text, spans)
                except RowError as error:
                    errors[i] = error
        return _batch([each or _NOTHING for each in done]), errors, [len(spans) for spans in forged]

    # ==== batches of plain texts ====

    def encode_bytes(self, texts: Sequence[str]) -> tuple[ByteTokens, int]:
        """The ids of texts that `leaves_bytes` holds for, and the bytes that each should cover; it is for
        the caller to see that they add up to the text's. Also how many texts the reference engine took."""
        ids, offsets, by_reference = self._engines.encode(texts)
        if self._lengths is None:
            raise ValueError("this tokenizer's tokens have no fixed numbers of bytes")
        return ByteTokens(ids, offsets, offsets_of(self._lengths.take(ids))), by_reference

    def encode_by_reference(self, texts: Sequence[str]) -> Ids:
        """The ids of all texts by the reference engine, flat, and their offsets."""
        return self._engines.reference(texts)

    def by_reference(self, texts: Iterable[str]) -> int:
        """How many of these texts the reference engine takes for want of a proof, where there is another."""
        engines = self._engines
        return sum(not engines.accepts(text) for text in texts) if engines.proof.fast else 0

    def forged_in(self, tokens: ByteTokens, segments: Segments) -> np.ndarray:
        """In which samples there are control tokens that the template did not print alone, bool[n]; as
        `encode` does, those of an assistant's text are let be that are not `generated`."""
        n = len(tokens.offsets) - 1
        if self._policy is ControlTokens.parse:
            return np.zeros(n, dtype=bool)
        low, high = min(self._control_ids, default=0), max(self._control_ids, default=-1)
        at = np.flatnonzero((tokens.ids >= low) & (tokens.ids <= high))  # there are few, and this is fast
        at = at[self._kinds[tokens.ids[at]] != 0]
        kind = self._kinds[tokens.ids[at]]
        ends = np.cumsum(segments.sizes)
        first = np.searchsorted(ends, tokens.edges[at], side="right")
        last = np.searchsorted(ends, tokens.edges[at + 1], side="left") + 1
        of_others = [offsets_of(segments.roles != role) for role in (0, _ASSISTANT)]
        by_template, by_assistant = (counts[first] == counts[last] for counts in of_others)
        forged = at[~by_template & ~(by_assistant & (kind == _WRITABLE))]
        found = np.zeros(n, dtype=bool)
        found[np.searchsorted(tokens.offsets, forged, side="right") - 1] = True
        return found

    @cached_property
    def _kinds(self) -> np.ndarray:
        """Of each token id: 0, or `_CONTROL`, or `_WRITABLE` for a control token that an assistant's text
        may hold."""
        kinds = np.zeros(0 if self._lengths is None else len(self._lengths), dtype=np.int8)
        for index in self._control_ids:
            generated = self._added[index].content in self._generated
            kinds[index] = _CONTROL if generated else _WRITABLE
        return kinds

    # ==== plain texts ====

    def _encode_plain(self, texts: Sequence[str], *, reference: bool) -> list[Encoded]:
        ids, offsets = self._engines.reference(texts) if reference else self._engines.encode(texts)[:2]
        bounds = pairwise(offsets.tolist())
        return [
            self._placed(text, ids[first:last]) for text, (first, last) in zip(texts, bounds, strict=True)
        ]

    def _placed(self, text: str, ids: np.ndarray) -> Encoded:
        if self.leaves_bytes(text) and self._lengths is not None:
            ends = self._lengths[ids].cumsum(dtype=np.int64)
            data = text.encode()
            if (ends[-1] if len(ends) else 0) == len(data):
                return _from_bytes(ids, ends, data, ascii_only=len(data) == len(text))
        return self._with_offsets(text)

    def leaves_bytes(self, text: str) -> bool:
        """Whether tokens have known numbers of bytes, and the tokenizer leaves those of this text alone."""
        if self._lengths is None or self._changes_ascii:
            return False
        if text.isascii():
            return True
        if self._changes_unicode:
            return False
        if self._normal_form is not None and not unicodedata.is_normalized(self._normal_form, text):
            return False
        return "\u2581" not in text

    def _with_offsets(self, text: str) -> Encoded:
        encoding = self._backend.encode_batch([text], add_special_tokens=False)[0]
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
        if self._byte_level and len(ids):
            # such tokenizers may report a token without the space it begins with
            starts[1:] = np.minimum(starts[1:], ends[:-1])
        for at in np.flatnonzero(np.isin(ids, list(self._added))):
            content = self._added[int(ids[at])].content
            found = text.find(content, starts[at], ends[at])
            if found >= 0:  # a token that strips the blanks beside it still is only itself
                starts[at], ends[at] = found, found + len(content)
        return Encoded(ids, starts, ends)

    # ==== control tokens in content ====

    def _forged(self, sample: Sample) -> list[tuple[int, int]]:
        """Where control-token strings stand that the template did not print (in part or whole)."""
        if self._policy is ControlTokens.parse:
            return []
        found = []
        runs: list[tuple[int, int, Any]] = []
        for first, last, token in self._control_strings(sample.text):
            runs = runs or list(placed(sample.runs))
            writers = [origin for start, end, origin in runs if start < last and end > first]
            if all(origin == TEMPLATE for origin in writers):
                continue
            if all(origin.role == "assistant" for origin in writers) and token not in self._generated:
                continue
            found.append((first, last))
        return found

    def _control_strings(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and token of all control-token strings of a text; also of those that become one only
        when the tokenizer lowercases or composes the text (`<|IM_END|>`)."""
        found = [(*match.span(), match[0]) for match in self._control.finditer(text)] if self._control else []
        if not self._disguises:
            return found
        whole = self._with_offsets(text)
        at = np.isin(whole.ids, self._control_ids)
        tokens = [self._added[index].content for index in whole.ids[at].tolist()]
        found += zip(whole.starts[at].tolist(), whole.ends[at].tolist(), tokens, strict=True)
        return sorted(set(found))

    def _refused(self, sample: Sample, forged: Sequence[tuple[int, int]]) -> RowError | None:
        if not forged or self._policy is not ControlTokens.reject:
            return None
        start, end = forged[0]
        return RowError("control_token", f"the content holds {sample.text[start:end]!r} at character {start}")

    def _encode_forged(self, text: str, forged: Sequence[tuple[int, int]]) -> Encoded:
        """Encode a text whose `forged` spans must not become control tokens: the stretch around each, as
        far as the next true added token, is encoded by a twin that knows no added tokens."""
        whole = self._with_offsets(text)
        added = np.isin(whole.ids, list(self._added))
        fake = np.zeros(len(added), dtype=bool)
        for start, end in forged:
            fake |= added & (whole.starts < end) & (whole.ends > start)
        true_at = np.flatnonzero(added & ~fake)
        pieces, begin = [], 0
        for stop in [*true_at.tolist(), len(whole.ids)]:
            if fake[begin:stop].any():
                before = int(whole.ids[begin - 1]) if begin else None
                after = int(whole.ids[stop]) if stop < len(whole.ids) else None
                first = int(whole.ends[begin - 1]) if begin else 0
                last = int(whole.starts[stop]) if stop < len(whole.ids) else len(text)
                pieces.append(self._encode_as_text(text, first, last, before=before, after=after))
            else:
                pieces.append(_slice(whole, begin, stop))
            pieces.append(_slice(whole, stop, stop + 1))
            begin = stop + 1
        return _join(pieces)

    def _encode_as_text(
        self, text: str, first: int, last: int, *, before: int | None, after: int | None
    ) -> Encoded:
        """Encode a stretch of text without added tokens; of the true ones beside it (`before` and `after`)
        stand-ins take part, because they cut the text, tell its start and may take blanks."""
        stretch = text[first:last]
        left, right = self._stand_in(before, "left"), self._stand_in(after, "right")
        encoding = self._twin.encode(left + stretch + right, add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + first - len(left)
        places = [np.flatnonzero(ids == self._twin.token_to_id(each)) for each in (left, right) if each]
        begin = int(places[0][0]) + 1 if left and len(places[0]) else 0
        end = int(places[-1][-1]) if right and len(places[-1]) else len(ids)
        kept = ids[begin:end]
        if not all(map(len, places)) or np.isin(kept, list(self._added)).any():
            raise RowError("control_token", f"{stretch[:80]!r} cannot be encoded as plain text")
        return Encoded(kept, *(offsets[begin:end].clip(first, last).T))

    def _stand_in(self, index: int | None, side: str) -> str:
        """A string that no text holds, added to the twin as a token that acts on what stands beside it as
        the token `index` does; empty for None."""
        if index is None:
            return ""
        token = self._added[index]
        strips = token.rstrip if side == "left" else token.lstrip
        name = f"\ue000{self._secret}{side}{strips:d}{token.normalized:d}\ue001"
        if self._twin.token_to_id(name) is None:
            options = {"rstrip" if side == "left" else "lstrip": strips}
            self._twin.add_tokens([tokenizers.AddedToken(name, normalized=token.normalized, **options)])
        return name

    @cached_property
    def _twin(self) -> tokenizers.Tokenizer:
        spec = {**json.loads(self._engines.tokenizer_json), "added_tokens": [], "post_processor": None}
        return tokenizers.Tokenizer.from_str(json.dumps(spec))

    @cached_property
    def _disguises(self) -> bool:
        """Whether other text can become a control token: the tokenizer looks for one in the changed text."""
        changes = [kind for kind in _normalizers(self._spec) if kind not in ("Prepend", "Spaces")]
        return bool(changes) and any(self._added[index].normalized for index in self._control_ids)

    # ==== what the tokenizer does to bytes ====

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in json.dumps(self._spec.get("decoder"))

    @cached_property
    def _normal_form(self) -> Any:
        kinds = _normalizers(self._spec)
        return kinds[0] if len(kinds) == 1 and kinds[0] in ("NFC", "NFD", "NFKC", "NFKD") else None

    @cached_property
    def _changes_unicode(self) -> bool:
        return any(
            kind not in ("NFC", "NFD", "NFKC", "NFKD", "Spaces") for kind in _normalizers(self._spec)
        ) or (len(_normalizers(self._spec)) > 1)

    @cached_property
    def _changes_ascii(self) -> bool:
        """Whether even ASCII text may be changed: by any normalizer but a Unicode form or space marks, or by
        added tokens that take the blanks beside them."""
        strips = any(token.lstrip or token.rstrip for token in self._added.values())
        known = ("NFC", "NFD", "NFKC", "NFKD", "Spaces")
        return strips or any(kind not in known for kind in _normalizers(self._spec))


# ==== Parts ====


_CONTROL, _WRITABLE = 1, 2


_ASSISTANT = 1 + ROLES.index("assistant")


_NOTHING = Encoded(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))


def _batch(parts: Sequence[Encoded]) -> TokenBatch:
    joined = _join(parts)
    offsets = offsets_of([len(part.ids) for part in parts])
    return TokenBatch(joined.ids, offsets, joined.starts, joined.ends)


def _join(parts: Sequence[Encoded]) -> Encoded:
    if not parts:
        return _NOTHING
    return Encoded(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
    )


def _slice(encoded: Encoded, start: int, stop: int) -> Encoded:
    return Encoded(encoded.ids[start:stop], encoded.starts[start:stop], encoded.ends[start:stop])


def _from_bytes(ids: np.ndarray, ends: np.ndarray, data: bytes, *, ascii_only: bool) -> Encoded:
    """Byte ends to character starts and ends; a character cut by a token boundary counts for both tokens."""
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    if ascii_only:
        return Encoded(ids, starts, ends)
    first_bytes = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    character = first_bytes.cumsum() - 1  # of each byte
    return Encoded(ids, character[np.minimum(starts, len(data) - 1)], character[ends - 1] + 1)


def _any_of(strings: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _normalizers(spec: dict[str, Any]) -> list[str]:
    """Kinds of the tokenizer's normalizers, flat; `Spaces` is the one that writes spaces as U+2581."""
    normalizer = spec.get("normalizer")
    if normalizer is None:
        return []
    if normalizer["type"] == "Sequence":
        return [kind for part in normalizer["normalizers"] for kind in _normalizers({"normalizer": part})]
    if normalizer["type"] == "Replace" and (normalizer["pattern"], normalizer["content"]) == (
        {"String": " "},
        "\u2581",
    ):
        return ["Spaces"]
    return [str(normalizer["type"])]
