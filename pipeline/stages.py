"""The stages in order: rows of any dialect in, labelled samples and rejects out.

    row -> normalize -> render -> decide (labels.py) -> encode -> label (labels.py) -> fit to max_length

Stages know nothing of each other; this module hands the result of one to the next. It is also the one
place that catches `RowError`: a row that cannot be used becomes a line of the ledger, the run goes on.
Loading (`Stages(recipe)`) takes some seconds, once a process; a row of four turns about a millisecond.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from .chat_template import ChatTemplate, built_in_templates, template_source
from .contracts import IGNORE_INDEX, Conversation, Reject, Row, Sample, SampleOrigin, Samples
from .dialects import normalize, row_id
from .encode import Encoder
from .errors import RowError, TemplateError
from .labels import decide, decide_by_tags, label_tokens, trained_turns, weigh_tokens, without_first
from .recipe import Mask, Recipe, TooLong
from .render import Renders
from .tokenizer import LoadedTokenizer, load_tokenizer
from .traced import placed
from .turn_ends import PROBE, find_turn_ends

BATCH_ROWS = 256
"""Rows that go through the stages together."""


@dataclass(frozen=True)
class LabelledSample:
    """One sample with its tokens: ids, labels int32[t]; starts, ends int64[t] in characters of its text;
    weights float32[t].

    `straddling` tokens lie across the edge of a trained stretch, `forged` control-token strings in content.
    """

    sample: Sample
    ids: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray
    straddling: int
    forged: int


@dataclass(frozen=True)
class LabelledRow:
    """One input row that was kept, with its samples, before `max_length` is looked at."""

    row: Row
    id: str | None
    samples: tuple[LabelledSample, ...]


class Piece(NamedTuple):
    """A sample that fits: ids and labels, int32[t], loss weights, float32[t], and where it comes from."""

    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    origin: SampleOrigin


@dataclass
class Outcome:
    """What became of some rows: samples ready to be packed, rejects, and counts for the manifest."""

    pieces: list[Piece] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Stages:
    """The stages of one recipe, loaded and ready.

    Raises `TokenizerError` or `TemplateError` if they cannot be.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer = load_tokenizer(recipe.tokenizer)
        self.template = _load_template(recipe, self.tokenizer)
        if recipe.mask is Mask.generation_tags and not self.template.has_generation_tags:
            raise TemplateError(
                f"{self.template.name} has no {{% generation %}} tags; leave out 'mask', or add them"
            )
        bos = self.tokenizer.variables.get("bos_token")
        control = [token for token in self.tokenizer.special if token != bos]
        self.ends = find_turn_ends(self.renders, stops=self.tokenizer.stops, control_tokens=control)
        if recipe.end_of_turn:  # the recipe's word goes before all that was found
            self.ends = replace(
                self.ends, stops=tuple(recipe.end_of_turn), openers=(), seen=True, answered=""
            )
        structure = self._structure()
        printed = [token for token in self.tokenizer.added if token.strip() and self._prints(token)]
        written = [token for token in self.tokenizer.added if token.strip() and token in structure]
        self._encoder = Encoder(
            self.tokenizer.backend,
            control=list(dict.fromkeys([*self.tokenizer.special, *printed, *written])),
            generated=[*self.tokenizer.special, *written],
            policy=recipe.control_tokens,
        )

    def label(self, rows: Sequence[Row], dialect: str) -> list[LabelledRow | Reject]:
        """Take rows through all stages but the last; one result a row, in order."""
        results: list[LabelledRow | Reject | None] = [None] * len(rows)
        decided: list[tuple[int, Conversation, tuple[Sample, ...]]] = []
        for at, row in enumerate(rows):
            try:
                conversation = self._normalize(row, dialect)
                samples = self.decide(conversation)
                decided.append((at, conversation, samples))
            except RowError as error:
                results[at] = reject(row, error)
        for at, result in self._encode(rows, decided):
            results[at] = result
        return [result for result in results if result is not None]

    def run(self, rows: Sequence[Row], dialect: str) -> Outcome:
        """Take rows through all stages."""
        outcome = Outcome()
        for result in self.label(rows, dialect):
            if isinstance(result, Reject):
                outcome.rejects.append(result)
                continue
            try:
                pieces, counts = self._fit(result)
            except RowError as error:
                outcome.rejects.append(reject(result.row, error, result.id))
            else:
                outcome.pieces += pieces
                outcome.counts.update(counts)
        return outcome

    def warnings(self) -> list[str]:
        """What a user should know before the run."""
        found = list(self.tokenizer.warnings)
        if not self.ends.seen and not self.recipe.append_eos:
            found.append(
                "the chat template ends no turn: a model trained on it would not learn to stop; "
                "set append_eos, or name the stop string with end_of_turn"
            )
        return found

    def decide(self, conversation: Conversation) -> tuple[Sample, ...]:
        """What of a conversation is trained, as the recipe wants it (`labels.decide`)."""
        recipe, renders = self.recipe, self.renders(self.settle(conversation))
        if recipe.mask is Mask.generation_tags:
            return decide_by_tags(renders, self.ends, recipe.train)
        eos = self.tokenizer.variables.get("eos_token", "") if recipe.append_eos else ""
        return decide(renders, self.ends, history=recipe.history, train=recipe.train, eos=eos)

    def settle(self, conversation: Conversation) -> Conversation:
        """The conversation as the template can take it: many fail on a message that has tool calls but no
        content, and take one whose content is empty."""
        messages = conversation.messages
        if all(message.content is not None for message in messages):
            return conversation
        try:
            self.renders(conversation).through(len(messages) - 1)
        except RowError:
            filled = tuple(replace(each, content="") if each.content is None else each for each in messages)
            return replace(conversation, messages=filled)
        return conversation

    def _normalize(self, row: Row, dialect: str) -> Conversation:
        if row.error is not None:
            raise RowError("invalid_json", row.error)
        conversation = normalize(row.value, dialect)
        for index, message in enumerate(conversation.messages):
            if message.weight not in (None, 0, 1) and not self.recipe.loss_weights:
                detail = f"message {index} has weight {message.weight}; set loss_weights to keep it"
                raise RowError("unsupported_weight", detail)
        return conversation

    def renders(self, conversation: Conversation, template: ChatTemplate | None = None) -> Renders:
        """The renders of a conversation with the recipe's template (or another) and arguments."""
        return Renders(conversation, template or self.template, self.recipe.template_kwargs)

    def _structure(self) -> str:
        """What the template prints around the messages of a plain conversation: headers and turn ends, but
        nothing that a model would write; empty if it refuses the probe."""
        try:
            (sample, *_) = decide(self.renders(Conversation(PROBE)), self.ends)
        except RowError:
            return ""
        edges = [0, *(edge for turn in sample.turns for edge in (turn.start, turn.end)), len(sample.text)]
        return "\0".join(sample.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))

    def _prints(self, token: str) -> bool:
        return any(token in source for source in self.template.sources.values())

    def _encode(
        self, rows: Sequence[Row], decided: Sequence[tuple[int, Conversation, tuple[Sample, ...]]]
    ) -> Iterator[tuple[int, LabelledRow | Reject]]:
        samples = [sample for _, _, of_row in decided for sample in of_row]
        tokens, errors, forged = self._encoder.encode(samples)
        turns = [sample.turns for sample in samples]
        labels, straddling = label_tokens(tokens, turns)
        weights = weigh_tokens(tokens, labels, turns, [_weights(each) for _, each, of in decided for _ in of])
        first = 0
        for at, conversation, of_row in decided:
            row, last = rows[at], first + len(of_row)
            labelled = []
            for i in range(first, last):
                span = slice(tokens.offsets[i], tokens.offsets[i + 1])
                arrays = (
                    tokens.ids[span],
                    labels[span],
                    tokens.starts[span],
                    tokens.ends[span],
                    weights[span],
                )
                labelled.append(LabelledSample(samples[i], *arrays, int(straddling[i]), forged[i]))
            error = next((errors[i] for i in range(first, last) if errors[i]), None)
            error = error or _untrained(labelled)
            first = last
            if error is not None:
                yield at, reject(row, error, conversation.id)
            else:
                yield at, LabelledRow(row, conversation.id, tuple(labelled))

    def _fit(self, row: LabelledRow) -> tuple[list[Piece], Counter[str]]:
        """The samples of a row, none longer than `max_length`, and what there is to count of them."""
        pieces: list[Piece] = []
        counts = Counter({"kept": 1})
        length, policy = self.recipe.max_length, self.recipe.too_long
        for labelled in row.samples:
            parts = [labelled] if len(labelled.ids) <= length else _cut(labelled, length, policy)
            for part in parts:
                turns = trained_turns(part.labels, part.starts, part.ends, part.sample.turns)
                origin = SampleOrigin(row.row.source, row.row.row, row.id, len(pieces), turns)
                pieces.append(Piece(part.ids, part.labels, part.weights, origin))
                counts.update(_count(part))
            counts[f"proved_{labelled.sample.proof}"] += 1
            counts["straddling_tokens"] += labelled.straddling
            counts["control_tokens_in_content"] += labelled.forged
            if len(labelled.ids) > length:
                counts[f"too_long_{policy.value}"] += 1
                counts["tokens_cut_off"] += len(labelled.ids) - sum(len(part.ids) for part in parts)
        return pieces, counts


def _load_template(recipe: Recipe, tokenizer: LoadedTokenizer) -> ChatTemplate:
    """The chat template of a recipe: a file, a built-in one by name, or the tokenizer's own."""
    chosen = recipe.chat_template
    name = f"chat template {chosen}" if chosen else f"chat template of {tokenizer.name}"
    source = tokenizer.chat_template if chosen is None else template_source(chosen)
    if source is None:
        raise TemplateError(
            f"tokenizer {tokenizer.name} has no chat template; give one with --chat-template: a file or one "
            f"of {', '.join(built_in_templates())}"
        )
    return ChatTemplate(source, variables=tokenizer.variables, date=recipe.date, name=name)


def reject(row: Row, error: RowError, id_: str | None = None) -> Reject:
    """A row as a line of the ledger."""
    if id_ is None:
        id_ = row_id(row.value)
    original = row.original
    if original is None and isinstance(row.value, str):
        original = row.value
    if original is None:
        original = json.dumps(row.value, ensure_ascii=False, default=str)
    return Reject(row.source, row.row, id_, error.reason, error.detail, original)


def _untrained(labelled: Sequence[LabelledSample]) -> RowError | None:
    for number, each in enumerate(labelled):
        if not (each.labels != IGNORE_INDEX).any():
            return RowError(
                "nothing_trained", f"no token of sample {number} lies wholly in an assistant turn"
            )
    return None


def _cut(labelled: LabelledSample, length: int, policy: TooLong) -> list[LabelledSample]:
    """The pieces of a sample that fit `length` tokens and hold something that is trained."""
    tokens = len(labelled.ids)
    if policy is TooLong.reject:
        detail = f"{tokens} tokens are more than max_length {length}; see too_long: truncate or split"
        raise RowError("too_long", detail)
    starts = [0] if policy is TooLong.truncate else range(0, tokens, length)
    pieces = [_piece(labelled, slice(start, start + length)) for start in starts]
    pieces = [piece for piece in pieces if (piece.labels != IGNORE_INDEX).any()]
    if not pieces:
        raise RowError(
            "too_long", f"no piece of {length} of the {tokens} tokens holds anything that is trained"
        )
    return pieces


def _piece(labelled: LabelledSample, tokens: slice) -> LabelledSample:
    labels = without_first(labelled.labels[tokens])
    return replace(
        labelled,
        ids=labelled.ids[tokens],
        labels=labels,
        starts=labelled.starts[tokens],
        ends=labelled.ends[tokens],
        weights=np.where(labels == IGNORE_INDEX, np.float32(0), labelled.weights[tokens]),
    )


def _weights(conversation: Conversation) -> dict[int, float]:
    return {i: float(each.weight) for i, each in enumerate(conversation.messages) if each.weight is not None}


def _count(labelled: LabelledSample) -> Counter[str]:
    """Tokens, and trained ones, by who wrote them."""
    runs = list(placed(labelled.sample.runs))
    writers = [origin.role for _, _, origin in runs] + ["template"]
    of_token = np.searchsorted([end for _, end, _ in runs], labelled.starts, side="right")
    trained = labelled.labels != IGNORE_INDEX
    counts: Counter[str] = Counter()
    for name, tokens in (("tokens", of_token), ("trained", of_token[trained])):
        for number, count in zip(*np.unique(tokens, return_counts=True), strict=True):
            counts[f"{name}_{writers[number]}"] += int(count)
    return counts


def gather(pieces: Sequence[Piece], *, weights: bool = False) -> Samples:
    """Pieces as one flat batch for packing, with their loss weights if wanted."""
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece.ids) for piece in pieces], out=offsets[1:])
    none = np.zeros(0, dtype=np.int32)
    return Samples(
        np.concatenate([none, *(piece.ids for piece in pieces)]),
        np.concatenate([none, *(piece.labels for piece in pieces)]),
        offsets,
        [piece.origin for piece in pieces],
        np.concatenate([none.astype(np.float32), *(piece.weights for piece in pieces)]) if weights else None,
    )
