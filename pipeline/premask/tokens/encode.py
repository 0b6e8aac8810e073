"""Text -> token ids, and the bytes of the text that each token covers.

    encoder = Encoder(backend, control=["<|im_end|>"], generated=["<|im_end|>"])
    encoded = encoder.encode(masked)
    encoded.tokens.ids

Ids are those of `apply_chat_template(..., tokenize=True)`, with two exceptions. The string of a control token
in the content of a message is encoded as plain characters (policy `text`). So a user who types `<|im_end|>`
ends no turn. Where a token would straddle the start or end of a completion, the text is encoded in pieces, as
at inference (`seam: prompt`, `pieces.py`).

Token ends are computed. In byte-level and byte-fallback vocabularies, every token has a fixed number of
bytes, so the ends are a cumulative sum, which is checked against the size of each text. Texts for which this
fails (normalizers, prefix spaces, tokens that strip blanks) take the offsets of the tokenizer.

Cost: encoding takes about 1.5 us a token with `tokenizers`, the rest about 0.1 us.
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import compress, pairwise
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from ..core.arrays import offsets_of, runs_of_numbers
from ..core.errors import RowError
from ..core.recipe import ControlTokens, Seam
from ..core.records import WRITERS, MaskedTexts, SampleTokens, Tokens
from .engines import EngineProof, TokenizersEngine, TwoEngines
from .pieces import (
    of_whole_texts,
    pieces_of,
    straddled_seams,
    text_of_segments,
    with_others,
    within_a_text,
)
from .placed import Placed, apart, extend, in_bytes, join, replaced, text_sizes, tokens_of
from .plain_parts import reason_to_watch
from .text_starts import artificial_space
from .token_bytes import byte_offsets, byte_tables
from .watched_texts import RAISES, is_of_library, refused_texts


class Encoded(NamedTuple):
    """The result of encoding n texts.

    tokens        their tokens
    in_content    int64[n]  strings of control tokens in the content of messages
    by_reference  int64[n]  1 if the reference engine encoded the text although a fast engine is used, else 0
    seam_tokens   int64[n]  seams that a token of the whole text straddles, whatever became of it
    errors        index of the text -> why it cannot be used
    """

    tokens: Tokens
    in_content: np.ndarray
    by_reference: np.ndarray
    seam_tokens: np.ndarray
    errors: dict[int, RowError]


class EncodingRules(NamedTuple):
    """What the recipe says about ids: of control-token strings in content, and at edges of completions."""

    control_tokens: ControlTokens = ControlTokens.text
    seam: Seam = Seam.prompt


class Encoder:
    """Encodes samples with a `tokenizers` backend.

    `control` are the strings that must not become control tokens in content. In text of the assistant, only
    those in `generated` count, because the assistant may have to write the others (`<think>`, `<tool_call>`).
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        control: Sequence[str] = (),
        generated: Sequence[str] = (),
        rules: EncodingRules = EncodingRules(),  # noqa: B008  it cannot change
        engines: TwoEngines | None = None,
    ) -> None:
        self._backend = backend
        self._engines = engines or TwoEngines(backend, EngineProof(TokenizersEngine.name))
        self._policy, self._seam = rules
        self._added = dict(backend.get_added_tokens_decoder())
        self._added_ids = np.array(list(self._added), dtype=np.int32)
        self._swallowing = np.array([i for i, token in self._added.items() if token.rstrip], dtype=np.int32)
        self._options: dict[str, Any] = {"control": control, "generated": generated, "rules": rules}
        self._control = _any_of(control)
        self._control_ids = [index for index, token in self._added.items() if token.content in control]
        self._generated = frozenset(generated)
        self._secret = secrets.token_hex(16)  # makes strings that no text contains; changes no id
        self._spec, self._lengths = byte_tables(self._engines.tokenizer_json)
        self._space = artificial_space(self._spec, self._added)
        self._watched_for = reason_to_watch(self._spec)

    def encode(self, masked: MaskedTexts, *, reference: bool = False) -> Encoded:
        """Encode texts; with `reference`, always by the reference engine. Tokens that a text brings stay as
        they are.

        A text that the tokenizer does not encode has no tokens, and an error.
        """
        if not masked.given:
            return self._encode_texts(masked, reference=reference)
        brings = np.isin(np.arange(len(masked.texts)), list(masked.given))
        own = masked.taken(np.flatnonzero(~brings))
        return _with_given(masked, self._encode_texts(own, reference=reference), own)

    def _encode_texts(self, masked: MaskedTexts, *, reference: bool) -> Encoded:
        """Encode texts that bring no tokens."""
        refused = self._refused(masked)
        if not refused:
            try:
                return self._encode(masked, reference=reference)
            except BaseException as error:
                if not is_of_library(error):
                    raise
                self._watched_for = self._watched_for or RAISES
                refused = self._refused(masked)
        return self._one_by_one(masked, refused, reference=reference)

    def _refused(self, masked: MaskedTexts) -> dict[int, str]:
        """Return the texts that must not be encoded in this process, each with the reason."""
        if not self._watched_for:
            return {}
        return refused_texts(self._backend, masked.texts, self._watched_for)

    def _one_by_one(self, masked: MaskedTexts, refused: dict[int, str], *, reference: bool) -> Encoded:
        """Encode texts of which some cannot be encoded; why is known of those in `refused`."""
        parts = [
            _nothing(refused[i]) if i in refused else self._alone(masked.cut(i, i + 1), reference=reference)
            for i in range(len(masked.texts))
        ]
        base = offsets_of(text_sizes(masked)).tolist()
        placed = [
            Placed(each.tokens.ids, each.tokens.starts, each.tokens.ends).moved(begin)
            for each, begin in zip(parts, base, strict=False)
        ]
        content, slow, seams = (np.concatenate([each[at] for each in parts]) for at in (1, 2, 3))
        errors = {i: error for i, each in enumerate(parts) for error in each.errors.values()}
        return Encoded(tokens_of(placed), content, slow, seams, errors)

    def _alone(self, masked: MaskedTexts, *, reference: bool) -> Encoded:
        """Encode a single text, which has an error if the library raises one."""
        try:
            return self._encode(masked, reference=reference)
        except BaseException as error:
            if not is_of_library(error):
                raise
            return _nothing(RAISES)

    def _encode(self, masked: MaskedTexts, *, reference: bool) -> Encoded:
        encoded = self.as_whole(masked, reference=reference)
        seams = straddled_seams(masked, encoded.tokens, self._swallowing)
        if not seams.any():
            return encoded
        of_text = text_of_segments(masked, np.flatnonzero(seams))
        encoded = encoded._replace(seam_tokens=np.bincount(of_text, minlength=len(masked.texts)))
        if self._seam is Seam.template:
            return encoded
        return self._in_pieces(masked, encoded, seams, reference=reference)

    def as_whole(self, masked: MaskedTexts, *, reference: bool = False) -> Encoded:
        """Encode texts as a whole, wherever their seams are; no seams are counted."""
        texts = masked.texts
        tokens, slow = self._tokens(masked, reference=reference)
        zeros = np.zeros(len(texts), dtype=np.int64)
        in_content, errors = zeros.copy(), {}
        others: dict[int, Placed] = {}
        for i in np.flatnonzero(self._holds_control(tokens, masked)).tolist():
            spans = list(self._control_in_content(masked, i))
            in_content[i] = len(spans)
            if not spans:
                continue
            try:
                self._check_policy(texts[i], spans[0])
                others[i] = in_bytes(self._encode_as_content(texts[i], spans), texts[i], 0)
            except RowError as error:
                errors[i] = error.with_traceback(None)
        by_reference = zeros.copy()
        if slow and self._engines.proof.fast:
            by_reference[:] = [not self._engines.accepts(text) for text in texts]
        return Encoded(replaced(tokens, masked, others), in_content, by_reference, zeros, errors)

    # ==== pieces ====

    def _in_pieces(
        self, masked: MaskedTexts, encoded: Encoded, seams: np.ndarray, *, reference: bool
    ) -> Encoded:
        """Return the tokens of texts, with those of texts with straddled seams cut at these.

        A cut can move the tokens before it, so it is checked again; all seams of a text may become cuts.
        """
        wrong = np.isin(np.arange(len(masked.texts)), list(encoded.errors))
        texts = np.flatnonzero((encoded.seam_tokens > 0) & ~wrong)
        if not len(texts):
            return encoded
        own = masked.taken(texts)
        cuts = seams[runs_of_numbers(masked.offsets[texts], np.diff(masked.offsets)[texts])]
        while True:
            pieces = pieces_of(own, cuts)
            found = self._pieces(pieces, own, reference=reference)
            tokens = of_whole_texts(found.tokens, pieces, own)
            more = straddled_seams(own, tokens, self._swallowing) & ~cuts
            if not more.any():
                break
            cuts |= more
        of_text = text_of_segments(own, pieces.offsets[:-1])
        errors = {int(texts[of_text[i]]): error for i, error in found.errors.items()}
        tokens = with_others(encoded.tokens, masked, texts, tokens)
        return encoded._replace(tokens=tokens, errors={**encoded.errors, **errors})

    def _pieces(self, pieces: MaskedTexts, own: MaskedTexts, *, reference: bool) -> Encoded:
        """Encode pieces of texts. Those that do not begin a text get no artificial space at their start: a
        model that goes on from the ids of a prompt writes none."""
        encoded = self.as_whole(pieces, reference=reference)
        if self._continuing is None:
            return encoded
        later = np.flatnonzero(~np.isin(pieces.offsets[:-1], own.offsets))
        goes_on = pieces.taken(later)
        starts = apart(self._continuing.as_whole(goes_on).tokens, goes_on)
        wholes, others = apart(encoded.tokens, pieces), {}
        for i, start in zip(later.tolist(), starts, strict=True):
            behind = wholes[i].cut(self._before_added(wholes[i].ids), len(wholes[i].ids))
            others[i] = join([start.cut(0, self._before_added(start.ids)), behind])
        return encoded._replace(tokens=replaced(encoded.tokens, pieces, others))

    def _before_added(self, ids: np.ndarray) -> int:
        """Return the number of tokens before the first added token."""
        at = np.flatnonzero(np.isin(ids, self._added_ids))
        return int(at[0]) if len(at) else len(ids)

    @cached_property
    def _continuing(self) -> Encoder | None:
        """The same encoder for texts that go on; None if the tokenizer treats their start as any other."""
        changed = within_a_text(self._spec)
        if changed is None:
            return None
        spec = json.dumps({**json.loads(self._engines.tokenizer_json), **changed})
        return Encoder(tokenizers.Tokenizer.from_str(spec), **self._options)

    # ==== tokens and their bytes ====

    def _tokens(self, masked: MaskedTexts, *, reference: bool) -> tuple[Tokens, bool]:
        """Return the tokens of texts as they are, and whether the reference engine encoded any of them."""
        texts = masked.texts
        if self._lengths is None:
            return self._by_offsets(masked, (), np.zeros(len(texts), dtype=bool)), True
        exact = np.fromiter(map(self.leaves_bytes, texts), dtype=bool, count=len(texts))
        some = texts if exact.all() else list(compress(texts, exact))
        if reference:
            (ids, offsets), slow = self._engines.reference(some), len(some)
        else:
            ids, offsets, slow = self._engines.encode(some)
        edges, ends = self._edges(self._lengths.take(ids), ids, offsets, some)
        sizes = text_sizes(masked)
        covers = np.diff(edges[offsets]) == sizes[exact]
        if exact.all() and covers.all():
            return Tokens(ids, offsets, edges[:-1], ends), slow > 0
        exact[exact] = covers
        done = [
            Placed(ids[low:high], edges[low:high] - edges[low], ends[low:high] - edges[low])
            for (low, high), kept in zip(pairwise(offsets.tolist()), covers.tolist(), strict=True)
            if kept
        ]
        return self._by_offsets(masked, done, exact), True

    def _edges(
        self, lengths: np.ndarray, ids: np.ndarray, offsets: np.ndarray, texts: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes between tokens, int64[t + 1], and where each token ends.

        A token that is only an artificial space ends behind the first byte of what follows.
        """
        if self._space is None:
            edges = offsets_of(lengths)
            return edges, edges[1:]
        lengths[self._space.tokens(ids, offsets, texts)] -= 1
        edges = offsets_of(lengths)
        return edges, edges[1:] + (lengths == 0)

    def _by_offsets(self, masked: MaskedTexts, done: Sequence[Placed], exact: np.ndarray) -> Tokens:
        """Return the tokens of texts. Exact texts are `done`; the others take the offsets of the
        tokenizer."""
        base = offsets_of(text_sizes(masked))[:-1].tolist()
        known = iter(done)
        return tokens_of(
            [
                next(known).moved(begin) if is_exact else in_bytes(self._with_offsets(text), text, begin)
                for text, begin, is_exact in zip(masked.texts, base, exact.tolist(), strict=True)
            ]
        )

    # ==== control tokens in content ====

    def _holds_control(self, tokens: Tokens, masked: MaskedTexts) -> np.ndarray:
        """Return which texts have control tokens that the template did not print alone, bool[n].

        In text of the assistant, only `generated` ones count.
        """
        n = len(masked.texts)
        if self._policy is ControlTokens.parse:
            return np.zeros(n, dtype=bool)
        low, high = min(self._control_ids, default=0), max(self._control_ids, default=-1)
        at = np.flatnonzero((tokens.ids >= low) & (tokens.ids <= high))  # few tokens, and fast
        at = at[self._kinds[tokens.ids[at] - low] != 0]
        kind = self._kinds[tokens.ids[at] - low]
        ends = np.cumsum(masked.sizes)
        first = np.searchsorted(ends, tokens.starts[at], side="right")
        last = np.searchsorted(ends, tokens.ends[at], side="left") + 1
        of_others = [offsets_of(masked.writers != writer) for writer in (_TEMPLATE, _ASSISTANT)]
        by_template, by_assistant = (counts[first] == counts[last] for counts in of_others)
        foreign = at[~by_template & ~(by_assistant & (kind == _WRITABLE))]
        found = np.zeros(n, dtype=bool)
        found[np.searchsorted(tokens.offsets, foreign, side="right") - 1] = True
        return found

    @cached_property
    def _kinds(self) -> np.ndarray:
        """For each id from the lowest to the highest control token: `_CONTROL`, `_WRITABLE` if text of the
        assistant may contain it, or 0 if it is no control token."""
        low, high = min(self._control_ids, default=0), max(self._control_ids, default=-1)
        kinds = np.zeros(high - low + 1, dtype=np.int8)
        for index in self._control_ids:
            generated = self._added[index].content in self._generated
            kinds[index - low] = _CONTROL if generated else _WRITABLE
        return kinds

    def _control_in_content(self, masked: MaskedTexts, number: int) -> Iterator[tuple[int, int]]:
        """Yield the characters of control tokens in a text that the template did not print alone."""
        text = masked.texts[number]
        own = slice(masked.offsets[number], masked.offsets[number + 1])
        ends, writers = np.cumsum(masked.sizes[own]), masked.writers[own]
        bytes_at = byte_offsets(text)
        for first, last, token in self._control_strings(text):
            begin = int(np.searchsorted(ends, bytes_at[first], side="right"))
            stop = int(np.searchsorted(ends, bytes_at[last], side="left")) + 1
            wrote = set(writers[begin:stop].tolist())
            if wrote == {_TEMPLATE} or (wrote == {_ASSISTANT} and token not in self._generated):
                continue
            yield first, last

    def _check_policy(self, text: str, span: tuple[int, int]) -> None:
        if self._policy is ControlTokens.reject:
            start, end = span
            raise RowError("control_token", f"the content holds {text[start:end]!r} at character {start}")

    def leaves_bytes(self, text: str) -> bool:
        """Whether tokens have known sizes, and the tokenizer does not change the bytes of this text."""
        if self._lengths is None or self._changes_ascii:
            return False
        if text.isascii():
            return True
        if self._changes_unicode:
            return False
        if self._normal_form is not None and not unicodedata.is_normalized(self._normal_form, text):
            return False
        return self._byte_level or "\u2581" not in text

    def _with_offsets(self, text: str) -> Placed:
        encoding = self._backend.encode_batch([text], add_special_tokens=False)[0]
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
        if self._composes:
            extend(ends, starts, text)
        if self._byte_level and len(ids):
            # such tokenizers may report a token without the space it begins with
            starts[1:] = np.minimum(starts[1:], ends[:-1])
        for at in np.flatnonzero(np.isin(ids, list(self._added))):
            content = self._added[int(ids[at])].content
            found = text.find(content, starts[at], ends[at])
            if found >= 0:  # a token that strips adjacent blanks does not cover them
                starts[at], ends[at] = found, found + len(content)
        return Placed(ids, starts, ends)

    def _control_strings(self, text: str) -> list[tuple[int, int, str]]:
        """Return start, end and token of all strings of control tokens in a text.

        These include strings that become one when the tokenizer lowercases or composes them (`<|IM_END|>`).
        """
        found = [(*match.span(), match[0]) for match in self._control.finditer(text)] if self._control else []
        if not self._disguises:
            return found
        whole = self._with_offsets(text)
        at = np.isin(whole.ids, self._control_ids)
        tokens = [self._added[index].content for index in whole.ids[at].tolist()]
        found += zip(whole.starts[at].tolist(), whole.ends[at].tolist(), tokens, strict=True)
        return sorted(set(found))

    def _encode_as_content(self, text: str, spans: Sequence[tuple[int, int]]) -> Placed:
        """Encode a text in which these spans must not become control tokens.

        The stretch around each span, up to the next real added tokens, is encoded by a copy of the tokenizer
        without added tokens.
        """
        whole = self._with_offsets(text)
        added = np.isin(whole.ids, list(self._added))
        fake = np.zeros(len(added), dtype=bool)
        for start, end in spans:
            fake |= added & (whole.starts < end) & (whole.ends > start)
        real_at = np.flatnonzero(added & ~fake)
        pieces, begin = [], 0
        for stop in [*real_at.tolist(), len(whole.ids)]:
            if fake[begin:stop].any():
                before = int(whole.ids[begin - 1]) if begin else None
                after = int(whole.ids[stop]) if stop < len(whole.ids) else None
                first = int(whole.ends[begin - 1]) if begin else 0
                last = int(whole.starts[stop]) if stop < len(whole.ids) else len(text)
                pieces.append(self._encode_as_text(text, first, last, before=before, after=after))
            else:
                pieces.append(whole.cut(begin, stop))
            pieces.append(whole.cut(stop, stop + 1))
            begin = stop + 1
        return join(pieces)

    def _encode_as_text(
        self, text: str, first: int, last: int, *, before: int | None, after: int | None
    ) -> Placed:
        """Encode a stretch of text without added tokens.

        Placeholders take the position of the real added tokens `before` and `after` it, because these cut the
        text, mark its start and may strip blanks.
        """
        stretch = text[first:last]
        left, right = self._placeholder(before, "left"), self._placeholder(after, "right")
        encoding = self._without_added.encode(left + stretch + right, add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + first - len(left)
        found = [
            np.flatnonzero(ids == self._without_added.token_to_id(each)) for each in (left, right) if each
        ]
        begin = int(found[0][0]) + 1 if left and len(found[0]) else 0
        end = int(found[-1][-1]) if right and len(found[-1]) else len(ids)
        kept = ids[begin:end]
        if not all(map(len, found)) or np.isin(kept, list(self._added)).any():
            raise RowError("control_token", f"{stretch[:80]!r} cannot be encoded as plain text")
        return Placed(kept, *(offsets[begin:end].clip(first, last).T))

    def _placeholder(self, index: int | None, side: str) -> str:
        """Return a string that no text contains, for the token `index`; empty for None.

        The copy has it as an added token that acts on adjacent text as the token `index` does.
        """
        if index is None:
            return ""
        token = self._added[index]
        strips = token.rstrip if side == "left" else token.lstrip
        name = f"\ue000{self._secret}{side}{strips:d}{token.normalized:d}\ue001"
        if self._without_added.token_to_id(name) is None:
            options = {"rstrip" if side == "left" else "lstrip": strips}
            self._without_added.add_tokens(
                [tokenizers.AddedToken(name, normalized=token.normalized, **options)]
            )
        return name

    @cached_property
    def _without_added(self) -> tokenizers.Tokenizer:
        """A copy of the tokenizer without added tokens."""
        spec = {**json.loads(self._engines.tokenizer_json), "added_tokens": [], "post_processor": None}
        return tokenizers.Tokenizer.from_str(json.dumps(spec))

    @cached_property
    def _disguises(self) -> bool:
        """Whether other text can become a control token: the tokenizer searches in normalized text."""
        changes = [kind for kind in _normalizers(self._spec) if kind not in ("Prepend", "Spaces")]
        return bool(changes) and any(self._added[index].normalized for index in self._control_ids)

    # ==== what the tokenizer does to bytes ====

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in json.dumps(self._spec.get("decoder"))

    @cached_property
    def _composes(self) -> bool:
        """Whether the tokenizer makes one character of a letter and its accents."""
        return any(kind in ("NFC", "NFKC", "Precompiled") for kind in _normalizers(self._spec))

    @cached_property
    def _normal_form(self) -> Any:
        kinds = self._changing
        return kinds[0] if len(kinds) == 1 and kinds[0] in _NORMAL_FORMS else None

    @cached_property
    def _changes_unicode(self) -> bool:
        kinds = self._changing
        return any(kind not in _NORMAL_FORMS for kind in kinds) or len(kinds) > 1

    @cached_property
    def _changes_ascii(self) -> bool:
        """Whether the tokenizer may change even ASCII text by a normalizer, other than a Unicode form or
        space marks.

        Added tokens that strip adjacent blanks are noticed, because the sizes of tokens do not add up; but
        not if artificial spaces may make up for it.
        """
        strips = any(token.lstrip or token.rstrip for token in self._added.values())
        adds = self._space is None and within_a_text(self._spec) is not None
        return (strips and adds) or any(kind not in _NORMAL_FORMS for kind in self._changing)

    @cached_property
    def _changing(self) -> list[str]:
        """The normalizers that may change text, other than by space marks whose places are known."""
        known = ("Spaces",) if self._space is None else ("Spaces", "Prepend")
        return [kind for kind in _normalizers(self._spec) if kind not in known]


# ==== Parts ====


def _with_given(masked: MaskedTexts, encoded: Encoded, own: MaskedTexts) -> Encoded:
    """Return the tokens of all texts: those that they bring, and those of the others, `own`, in order."""
    n, base = len(masked.texts), offsets_of(text_sizes(masked)).tolist()
    others = np.setdiff1d(np.arange(n), list(masked.given)).tolist()
    placed = {i: _as_given(each) for i, each in masked.given.items()}
    placed |= dict(zip(others, apart(encoded.tokens, own), strict=True))
    counts = [np.zeros(n, dtype=np.int64) for _ in range(3)]
    for count, found in zip(counts, encoded[1:4], strict=True):
        count[others] = found
    errors = {others[i]: error for i, error in encoded.errors.items()}
    in_content, by_reference, seam_tokens = counts
    tokens = tokens_of([placed[i].moved(base[i]) for i in range(n)])
    return Encoded(tokens, in_content, by_reference, seam_tokens, errors)


def _as_given(tokens: SampleTokens) -> Placed:
    edges = offsets_of(tokens.sizes)
    return Placed(tokens.ids, edges[:-1], edges[1:])


def _nothing(reason: str) -> Encoded:
    """Return a text without tokens, for a reason."""
    zero = np.zeros(1, dtype=np.int64)
    return Encoded(tokens_of([join([])]), zero, zero, zero, {0: RowError("tokenizer_error", reason)})


_CONTROL, _WRITABLE = 1, 2
_NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


_TEMPLATE, _ASSISTANT = WRITERS.index("template"), WRITERS.index("assistant")


def _any_of(strings: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _normalizers(spec: dict[str, Any]) -> list[str]:
    """Return the kinds of the normalizers of a tokenizer, flat; `Spaces` writes spaces as U+2581."""
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
