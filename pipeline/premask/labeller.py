"""The stages in order: rows of any dialect in, labelled samples and rejects out.

    row -> normalize -> render -> decide (labels.py) -> encode -> label (labels.py) -> fit to max_length

Stages know nothing of each other; this module hands the result of one to the next. It is also the one
place that catches `RowError`: a row that cannot be used becomes a line of the ledger, the run goes on.
`Stages.run` takes plain rows the fast way (`hotpath.py`) and the others one by one, to the same result.
Loading (`Stages(recipe)`) takes some seconds, once a process; a row of four turns about a millisecond,
the fast way some 15 microseconds with the encoding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .core.arrays import arrow_array, offsets_of
from .core.contract import IGNORE_INDEX, ORIGIN_SCHEMA
from .core.errors import RowError, TemplateError, VerifyError
from .core.recipe import EngineChoice, Mask, PadRows, Paths, Recipe, SplitBy, TooLong
from .core.records import Conversation, Origin, Reject, Row, Sample, SampleOrigin, Samples, Turn, placed
from .core.text import storable
from .dialects import Form, conversations
from .dialects.common import check_assistants, row_id
from .dialects.plain import PlainRows
from .dialects.repair import check_repair, needs_none, repair
from .fast.fill import WRITERS, HotPath, Labelled, count_tokens
from .fast.plain_batches import RowBatch
from .fast.render_plans import Plans, Rules
from .masking.chat_template import ChatTemplate, built_in_templates, template_source
from .masking.completions import decide, decide_by_tags
from .masking.labels import PADDING_LABEL, label_tokens, trained_turns, weigh_tokens, without_first
from .masking.renders import Renders
from .masking.turn_ends import PROBE, find_turn_ends
from .output.tables import Padding, RowFormat
from .output.windows import origin_table
from .running.batches import Outcome, tally_of
from .running.duplicates import RowKeys, plain_keys
from .tokens.encode import Encoder
from .tokens.engine_check import prove_engine
from .tokens.engines import EngineProof, GigatokenEngine, TwoEngines
from .tokens.token_bytes import byte_tables
from .tokens.tokenizer import LoadedTokenizer, load_tokenizer

BATCH_ROWS = 256
"""Rows that go through the stages together, where they go one by one."""

DECIDED_AGAIN = 8
"""One in so many of the rows that are verified has its mask decided again, too."""


MAX_MESSAGES = 4096
"""Messages that a conversation may have. Each turn is rendered again as inference does it, so the work grows
with the square of their number: a minute for so many, hours for a hundred thousand."""


@dataclass(frozen=True)
class LabelledSample:
    """One sample with its tokens: ids, labels int32[t]; starts, ends int64[t] in characters of its text;
    weights float32[t].

    `straddling` tokens lie across the edge of a trained stretch, `forged` control-token strings in content;
    `by_reference` is 1 if the reference engine encoded it though there is another, else 0.
    """

    sample: Sample
    ids: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray
    straddling: int
    forged: int
    by_reference: int = 0


@dataclass(frozen=True)
class LabelledRow:
    """One input row that was kept, with its samples, before `max_length` is looked at; `repaired` names the
    policies of the recipe that changed something in it."""

    row: Row
    id: str | None
    samples: tuple[LabelledSample, ...]
    repaired: tuple[str, ...] = ()


class Decided(NamedTuple):
    """A row before its samples are encoded: its place in the batch, its id, its samples with the loss
    weights of their messages, and what repaired it."""

    at: int
    id: str | None
    samples: tuple[tuple[Sample, dict[int, float]], ...]
    repaired: tuple[str, ...]


class Piece(NamedTuple):
    """A sample that fits: ids and labels, int32[t], loss weights, float32[t], and where it comes from."""

    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    origin: SampleOrigin


_gigatoken = lru_cache(maxsize=4)(GigatokenEngine)  # the proof and the work share one


class Loaded(NamedTuple):
    """A loaded tokenizer and, if it has been looked for, its proved engine; can be pickled."""

    tokenizer: LoadedTokenizer
    proof: EngineProof | None = None


class Setup(NamedTuple):
    """What stages are made from that have a tokenizer already; can be pickled."""

    recipe: Recipe
    proof: EngineProof
    distrust: str


def load_ahead(recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
    """Load what stages of this tokenizer will need in any case: most of what making them costs."""
    byte_tables(tokenizer.json)
    if recipe.engine is not EngineChoice.tokenizers:
        _gigatoken(tokenizer.json)


class Stages:
    """The stages of one recipe, loaded and ready.

    `loaded` is what has been loaded and proved before. `distrust` says why the fast way must not be taken, if
    a run has found it wrong: then every row takes the slow way through the reference engine. Raises
    `TokenizerError` or `TemplateError` if they cannot be loaded.
    """

    def __init__(self, recipe: Recipe, loaded: Loaded | None = None, *, distrust: str = "") -> None:
        self.recipe = recipe
        self.distrust = distrust
        check_repair(recipe.repair)
        self.tokenizer = load_tokenizer(recipe.tokenizer) if loaded is None else loaded.tokenizer
        self.template = _load_template(recipe, self.tokenizer)
        self._eos = self.tokenizer.variables.get("eos_token", "") if recipe.append_eos else ""
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
        if distrust:
            self.proof = prove_engine(self.tokenizer.backend, EngineChoice.tokenizers)
        elif loaded is None or loaded.proof is None:
            self.proof = prove_engine(self.tokenizer.backend, recipe.engine, make=_gigatoken)
        else:
            self.proof = loaded.proof
        self._encoder = Encoder(
            self.tokenizer.backend,
            control=list(dict.fromkeys([*self.tokenizer.special, *printed, *written])),
            generated=[*self.tokenizer.special, *written],
            policy=recipe.control_tokens,
            engines=TwoEngines(
                self.tokenizer.backend,
                self.proof,
                make=_gigatoken,
                tokenizer_json=self.tokenizer.json,
            ),
        )
        fast = not distrust and recipe.mask is Mask.provenance
        self._hot = HotPath(self._plans(), self._encoder) if fast else None

    def loaded(self) -> Loaded:
        """What takes long to load, for other stages of the recipe."""
        return Loaded(self.tokenizer, self.proof)

    def setup(self) -> Setup:
        """What other processes, which have the tokenizer, make the same stages from."""
        return Setup(self.recipe, self.proof, self.distrust)

    def label(
        self,
        rows: Sequence[Row],
        dialect: Form,
        *,
        reference: bool = False,
        read: dict[int, list[Conversation]] | None = None,
    ) -> list[LabelledRow | Reject]:
        """Take rows one by one through all stages but the last; one result a row, in order. `reference` has
        them encoded by the reference engine whatever engine is used; `read` is given the conversations of
        those that are one, also if they are rejected then."""
        results: list[LabelledRow | Reject | None] = [None] * len(rows)
        decided: list[Decided] = []
        for at, row in enumerate(rows):
            try:
                decided.append(self._decide_row(at, row, dialect, read))
            except RowError as error:
                results[at] = reject(row, error)
        for at, result in self._encode(rows, decided, reference=reference):
            results[at] = result
        return [result for result in results if result is not None]

    def run(self, batch: RowBatch, dialect: Form) -> Outcome:
        """Take the rows of a batch through all stages. Raises `VerifyError` if a row that was chosen to be
        done twice comes out in two ways."""
        if self.recipe.repair:
            batch = replace(batch, plain=self._in_repair(batch.plain))
        plain = batch.plain
        keys = plain_keys(plain, len(batch), self.split_by)
        hot = None
        if self._hot is not None and len(plain.roles):
            hot = self._hot.label(plain.roles, plain.texts, max_length=self.recipe.max_length)
        done: dict[int, LabelledRow | Reject] = {}
        fast: Outcome | None = None
        left = np.ones(len(batch), dtype=bool)
        place = np.asarray(plain.index, dtype=np.int64)
        if hot is not None:
            fast = self._samples_of(hot, batch, place, plain.ids)
            done.update(_labelled_rows(hot, batch, place, plain.ids, self._encoder.by_reference))
            left[place[hot.rows(hot.fits | hot.too_long)]] = False
        done.update(self._labelled(batch, dialect, np.flatnonzero(left).tolist(), keys=keys))
        verified = self._verify(batch, dialect, hot, done)
        outcome = self._fitted(sorted(done.items()))
        if fast is not None:
            outcome = fast.joined(outcome) if done else fast
        return replace(outcome, verified=verified, keys=keys)

    @property
    def split_by(self) -> SplitBy | None:
        """What keeps rows in one split; None if nobody needs to know."""
        recipe = self.recipe
        return recipe.split_by if recipe.splits or recipe.cache else None

    def _labelled(
        self,
        batch: RowBatch,
        dialect: Form,
        rows: Sequence[int],
        *,
        reference: bool = False,
        keys: RowKeys | None = None,
    ) -> Iterator[tuple[int, LabelledRow | Reject]]:
        """Rows of a batch one by one; `keys` are set for those that have none."""
        for first in range(0, len(rows), BATCH_ROWS):
            some = rows[first : first + BATCH_ROWS]
            read: dict[int, list[Conversation]] = {}
            labelled = self.label([batch.row(i) for i in some], dialect, reference=reference, read=read)
            if keys is not None:
                for at, found in read.items():
                    if not keys.known[some[at]]:
                        keys.add(some[at], found)
            yield from zip(some, labelled, strict=True)

    def _fitted(self, results: Sequence[tuple[int, LabelledRow | Reject]]) -> Outcome:
        """Rows through the last stage."""
        pieces: list[Piece] = []
        of_row: list[int] = []
        rejects: list[Reject] = []
        counts: list[Counter[str]] = []
        for row, result in results:
            if isinstance(result, Reject):
                rejects.append(result)
                continue
            try:
                own, counted = self._fit(result)
            except RowError as error:
                rejects.append(reject(result.row, error, result.id))
            else:
                pieces += own
                of_row += [row] * len(own)
                counts += counted
        samples = gather(pieces, weights=self.recipe.loss_weights)
        return Outcome([samples], np.array(of_row, dtype=np.int64), rejects, tally_of(counts))

    def _verify(
        self,
        batch: RowBatch,
        dialect: Form,
        hot: Labelled | None,
        done: Mapping[int, LabelledRow | Reject],
    ) -> int:
        """Do the recipe's share of the rows again and compare; return how many rows that were.

        All are rendered and encoded by the reference; one in `DECIDED_AGAIN` also gets its mask decided anew.
        """
        if self.distrust:
            return 0
        hashed = _hashed(batch.numbers)
        chosen = hashed < self.recipe.verify
        in_full = hashed < self.recipe.verify / DECIDED_AGAIN
        if hot is None or self.recipe.append_eos:
            in_full = chosen
        else:
            in_full[list(done)] = chosen[list(done)]
        for row, again in self._labelled(batch, dialect, np.flatnonzero(in_full).tolist(), reference=True):
            samples = [(each.ids, each.labels) for each in getattr(done.get(row), "samples", ())]
            if row not in done and hot is not None:
                samples = hot.samples_of(_place_of(batch, row))
            expected = [(each.ids, each.labels) for each in getattr(again, "samples", ())]
            if not _all_equal(samples, expected):
                raise VerifyError(f"{batch.source} row {batch.numbers[row]}")
        for row in np.flatnonzero(chosen & ~in_full).tolist():
            if hot is not None and not self._prints_the_same(hot, batch, row, dialect):
                raise VerifyError(f"{batch.source} row {batch.numbers[row]}")
        return int(np.count_nonzero(chosen))

    def _prints_the_same(self, hot: Labelled, batch: RowBatch, row: int, dialect: Form) -> bool:
        """Whether the template prints for a row what its plan did, and the reference gives the same ids."""
        at = int(np.searchsorted(hot.batch.rows, _place_of(batch, row)))
        (conversation,), _ = self.read(batch.row(row), dialect)
        renders = self.renders(conversation)
        texts = [renders.through(last) for last in hot.batch.plans[at].last]
        ids, offsets = self._encoder.encode_by_reference(texts)
        samples = hot.samples_of(_place_of(batch, row))
        return texts == [hot.batch.texts[i] for i in np.flatnonzero(hot.batch.of_row == at)] and _all_equal(
            [(own,) for own, _ in samples], [(ids[a:b],) for a, b in pairwise(offsets.tolist())]
        )

    def _samples_of(
        self, labelled: Labelled, batch: RowBatch, place: np.ndarray, ids: Sequence[str | None]
    ) -> Outcome:
        """The samples of rows that took the fast way; `place` is the row of each plain row in the batch."""
        hot, fits = labelled.batch, labelled.fits
        of_row, number = hot.of_row[fits], hot.number[fits]
        rows = hot.rows[of_row]
        origin = pa.RecordBatch.from_arrays(
            [
                pa.repeat(pa.scalar(storable(batch.source), pa.string()), len(rows)),
                arrow_array(batch.numbers[place[rows]]),
                pa.array([ids[i] for i in rows.tolist()], pa.string()),
                arrow_array(number.astype(np.int32)),
                labelled.trained_turns(),
            ],
            schema=ORIGIN_SCHEMA,
        )
        token_ids, labels, offsets = labelled.fitting()
        weights = None
        if self.recipe.loss_weights:
            weights = np.where(labels == IGNORE_INDEX, np.float32(0), np.float32(1))
        tally = {
            name: each[fits]
            for name, each in count_tokens(hot.tokens, hot.segments, labelled.stretches).items()
        }
        proofs = np.array([plan.proof for plan in hot.plans])[of_row]
        tally |= {f"proved_{proof}": (proofs == proof).astype(np.int32) for proof in np.unique(proofs)}
        tally["straddling_tokens"] = labelled.straddling[fits].astype(np.int32)
        tally["encoded_by_reference"] = np.zeros(len(rows), dtype=np.int32)
        if hot.odd:
            texts = compress(hot.texts, fits.tolist())
            tally["encoded_by_reference"][:] = [self._encoder.by_reference([text]) for text in texts]
        samples = Samples(token_ids, labels, offsets, origin, weights)
        return Outcome([samples], place[rows], [], tally)

    @property
    def row_format(self) -> RowFormat:
        """What the recipe adds to the rows of a layout."""
        recipe = self.recipe
        padding = Padding(recipe.max_length, self.tokenizer.pad_id, PADDING_LABEL)
        return RowFormat(
            padding if recipe.pad_rows is PadRows.to_length else None,
            tuple(each.value for each in recipe.extra_columns),
        )

    def warnings(self) -> list[str]:
        """What a user should know before the run."""
        found = list(self.tokenizer.warnings)
        if self.distrust:
            found.append(self.distrust)
        elif self.recipe.engine is EngineChoice.auto and not self.proof.fast:
            found.append(f"the slower engine tokenizers is used: {self.proof.reason}")
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
        return decide(renders, self.ends, history=recipe.history, train=recipe.train, eos=self._eos)

    def _plans(self) -> Plans:
        recipe = self.recipe
        rules = Rules(self.ends, recipe.template_kwargs, recipe.history, recipe.train, self._eos)
        return Plans(self.template, rules, decide=self.decide, renders=self.renders)

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

    def _decide_row(
        self, at: int, row: Row, dialect: Form, read: dict[int, list[Conversation]] | None
    ) -> Decided:
        """A row up to the encoding, all its conversations; its samples are numbered over them."""
        found, repaired = self.read(row, dialect)
        if read is not None:
            read[at] = found
        for conversation in found:
            self._check(conversation)
        samples = ((sample, _weights(each)) for each in found for sample in self.decide(each))
        return Decided(at, found[0].id, tuple(samples), repaired)

    def read(self, row: Row, dialect: Form) -> tuple[list[Conversation], tuple[str, ...]]:
        """The conversations of a row, repaired, and what repaired them. Raises `RowError` if it has none."""
        if row.error is not None:
            raise RowError("invalid_json", row.error)
        found = conversations(row.value, dialect, every=self.recipe.paths is Paths.all)
        repairs = [repair(each, self.recipe.repair) for each in found]
        for conversation, _ in repairs:
            check_assistants(conversation.messages)
        applied = (name for _, names in repairs for name in names)
        return [conversation for conversation, _ in repairs], tuple(dict.fromkeys(applied))

    def _check(self, conversation: Conversation) -> None:
        if len(conversation.messages) > MAX_MESSAGES:
            detail = f"{len(conversation.messages)} messages are more than {MAX_MESSAGES}; split the row"
            raise RowError("too_long", detail)
        for index, message in enumerate(conversation.messages):
            if message.weight not in (None, 0, 1) and not self.recipe.loss_weights:
                detail = f"message {index} has weight {message.weight}; set loss_weights to keep it"
                raise RowError("unsupported_weight", detail)

    def _in_repair(self, plain: PlainRows) -> PlainRows:
        """The plain rows in which there is nothing to repair."""
        found = PlainRows()
        for at, roles, texts, id_ in zip(plain.index, plain.roles, plain.texts, plain.ids, strict=True):
            if needs_none(roles, texts, self.recipe.repair):
                found.add(at, (roles, texts, id_))
        return found

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
        self,
        rows: Sequence[Row],
        decided: Sequence[Decided],
        *,
        reference: bool,
    ) -> Iterator[tuple[int, LabelledRow | Reject]]:
        samples = [sample for each in decided for sample, _ in each.samples]
        tokens, errors, forged = self._encoder.encode(samples, reference=reference)
        turns = [sample.turns for sample in samples]
        labels, straddling = label_tokens(tokens, turns)
        weights = weigh_tokens(tokens, labels, turns, [own for each in decided for _, own in each.samples])
        first = 0
        for each in decided:
            row, last = rows[each.at], first + len(each.samples)
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
                by_reference = self._encoder.by_reference([samples[i].text])
                labelled.append(
                    LabelledSample(samples[i], *arrays, int(straddling[i]), forged[i], by_reference)
                )
            error = next((errors[i] for i in range(first, last) if errors[i]), None)
            error = error or _untrained(labelled)
            first = last
            if error is not None:
                yield each.at, reject(row, error, each.id)
            else:
                yield each.at, LabelledRow(row, each.id, tuple(labelled), each.repaired)

    def cut(self, labelled: LabelledSample) -> list[LabelledSample]:
        """A sample as pieces of at most `max_length` tokens, by the recipe's `too_long`; itself if it fits.
        Raises `RowError` if it is to be rejected."""
        if len(labelled.ids) <= self.recipe.max_length:
            return [labelled]
        return _cut(labelled, self.recipe.max_length, self.recipe.too_long)

    def _fit(self, row: LabelledRow) -> tuple[list[Piece], list[Counter[str]]]:
        """The samples of a row, none longer than `max_length`, and what there is to count of each; what a
        sample that was cut has as a whole counts for its first piece."""
        pieces: list[Piece] = []
        counts: list[Counter[str]] = []
        length, policy = self.recipe.max_length, self.recipe.too_long
        for labelled in row.samples:
            parts = self.cut(labelled)
            first = len(pieces)
            for part in parts:
                turns = trained_turns(part.labels, part.starts, part.ends, part.sample.turns)
                origin = SampleOrigin(row.row.source, row.row.row, row.id, len(pieces), turns)
                pieces.append(Piece(part.ids, part.labels, part.weights, origin))
                counts.append(_count(part))
            counts[first][f"proved_{labelled.sample.proof}"] = 1
            counts[first]["straddling_tokens"] = labelled.straddling
            counts[first]["control_tokens_in_content"] = labelled.forged
            counts[first]["encoded_by_reference"] = labelled.by_reference
            if len(labelled.ids) > length:
                counts[first][f"too_long_{policy.value}"] = 1
                counts[first]["tokens_cut_off"] = len(labelled.ids) - sum(len(part.ids) for part in parts)
        counts[0].update(f"repaired_{name}" for name in row.repaired)
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


def _labelled_rows(
    labelled: Labelled,
    batch: RowBatch,
    place: np.ndarray,
    ids: Sequence[str | None],
    by_reference: Callable[[Sequence[str]], int],
) -> Iterator[tuple[int, LabelledRow]]:
    """Rows that took the fast way, with their places in the batch, as if they had not; their samples have
    no text, and count bytes where others count characters."""
    hot, tokens, segments = labelled.batch, labelled.batch.tokens, labelled.batch.segments
    stretches = labelled.stretches
    begin = tokens.edges[tokens.offsets]
    by_row: dict[int, list[LabelledSample]] = {}
    for i in np.flatnonzero(labelled.too_long).tolist():
        row = int(hot.of_row[i])
        own = slice(tokens.offsets[i], tokens.offsets[i + 1])
        of_sample = slice(*np.searchsorted(stretches.sample, [i, i + 1]))
        turns = [
            Turn(message, int(tokens.edges[first] - begin[i]), int(tokens.edges[last] - begin[i]))
            for message, first, last in zip(
                stretches.message[of_sample].tolist(),
                stretches.first[of_sample].tolist(),
                stretches.last[of_sample].tolist(),
                strict=True,
            )
            if first < last
        ]
        parts = slice(segments.offsets[i], segments.offsets[i + 1])
        runs = tuple(
            (size, Origin(-1, WRITERS[role], ""))
            for size, role in zip(segments.sizes[parts].tolist(), segments.roles[parts].tolist(), strict=True)
        )
        sample = Sample("", tuple(turns), runs, hot.plans[row].proof)
        labels = labelled.labels[own]
        weights = np.where(labels == IGNORE_INDEX, np.float32(0), np.float32(1))
        edges_of = tokens.edges[tokens.offsets[i] : tokens.offsets[i + 1] + 1] - begin[i]
        by_row.setdefault(row, []).append(
            LabelledSample(
                sample,
                tokens.ids[own],
                labels,
                edges_of[:-1],
                edges_of[1:],
                weights,
                int(labelled.straddling[i]),
                0,
                by_reference(hot.texts[i : i + 1]) if hot.odd else 0,
            )
        )
    for row, samples in by_row.items():
        plain = int(hot.rows[row])
        at = int(place[plain])
        yield at, LabelledRow(batch.row(at), ids[plain], tuple(samples))


def _place_of(batch: RowBatch, row: int) -> int:
    """Which of the plain rows of a batch a row is."""
    return int(np.searchsorted(batch.plain.index, row))


def _all_equal(some: Sequence[Sequence[np.ndarray]], others: Sequence[Sequence[np.ndarray]]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(one, other)
        for ones, twins in zip(some, others, strict=True)
        for one, other in zip(ones, twins, strict=True)
    )


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """A number from 0 to 1 for each row number, always the same (Knuth's multiplicative hash, TAOCP 6.4)."""
    return (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(2654435769) % np.uint64(2**32) / 2**32


def reject(row: Row, error: RowError, id_: str | None = None) -> Reject:
    """A row as a line of the ledger."""
    if id_ is None:
        id_ = row_id(row.value)
    original = row.original
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
    none = np.zeros(0, dtype=np.int32)
    return Samples(
        np.concatenate([none, *(piece.ids for piece in pieces)]),
        np.concatenate([none, *(piece.labels for piece in pieces)]),
        offsets_of([len(piece.ids) for piece in pieces]),
        origin_table([piece.origin for piece in pieces]),
        np.concatenate([none.astype(np.float32), *(piece.weights for piece in pieces)]) if weights else None,
    )
