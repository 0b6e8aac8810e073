"""One conversation in, labelled samples out: the stages in order.

    labeller = Labeller(recipe)
    for sample in labeller(conversation):
        sample.text, sample.ids, sample.labels

`STAGES` below is the order of the stages. Each stage calls one room; the rooms do not know each other. Before
them, `read` turns a row of any dialect into its conversations. After them, samples are fitted to `max_length`
and packed. This needs more than one conversation, and is in `running/` and `output/`.

A run uses the same stages in batches (`running/batches.py`). Plain rows are decided by `fast/`, all others
one by one. Then all texts of a batch are encoded and labelled at once.

Cost: loading takes a few seconds; a conversation of four turns takes about a millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from .core.contract import LEFT_OUT
from .core.errors import RowError, TemplateError, TokenizerError
from .core.facts import recall
from .core.limits import SECONDS, LimitError, in_watched_process, limited
from .core.recipe import OTHER_KEYS, EngineChoice, Mask, OnDropped, OpenReasoning, Paths, Recipe, TooLong
from .core.records import Conversation, Labels, MaskedTexts, Parts, Reject, Row, Sample
from .core.source_entry import DialectName
from .core.text import is_encodable
from .dialects import Form, conversations
from .dialects.common import check_learnable, row_id
from .dialects.joined_calls import join_calls
from .dialects.repair import check_repair, repair, with_repair
from .masking import completions
from .masking.chat_template import ChatTemplate, built_in_templates, check_compiles, template_source
from .masking.content_parts import parts_roles
from .masking.documents import Edges, document_sample
from .masking.given_tokens import check_given, given_sample, weights_of
from .masking.labels import label_tokens, token_numbers, weigh_tokens
from .masking.prefixes.renders import PrefixRenders, PrefixTemplate
from .masking.printable import Printable, check_left_out, check_turn_ends
from .masking.reasoning_marks import ReasoningMarks, find_reasoning_marks
from .masking.reasoning_modes import Mode, automatic, find_mode, has_reasoning
from .masking.renders import Renders, settled
from .masking.rules import Rules
from .masking.segments import masked_texts
from .masking.sides import check_prompts, naming_side, pair_errors
from .masking.template_arguments import arguments_of, check_arguments, unread
from .masking.turn_ends import PROBE, TurnEnds, find_turn_ends
from .tokens.encode import Encoded, Encoder, EncodingRules
from .tokens.engines import EngineProof, TokenizersEngine, TwoEngines
from .tokens.late_engine import LateEngine, shared_engine
from .tokens.token_bytes import byte_tables
from .tokens.token_text import TokenTexts
from .tokens.tokenizer import LoadedTokenizer, load_tokenizer

LARGE_ROW = 8_000_000
"""Characters of a conversation that is looked at by itself: it takes a hundred times its size."""

MAX_MESSAGES = 4096
"""Messages that a conversation may have. All its prefixes are rendered in one run of the template, but some
templates take time that grows with the square of the messages, and some runs are not followed."""


SECONDS_PER_MESSAGE = 0.1
"""CPU seconds that a conversation may take in addition for each of its messages."""

MOST_STOPPED = 8
"""Conversations in succession that may reach a limit before the template counts as unusable."""

MANY_TURNS = 64
"""Turns from which even the reference decides on one run of the template: a render for each would take too
long."""


class LabelledTexts(NamedTuple):
    """The texts of any number of conversations after all stages: segments, tokens and labels."""

    masked: MaskedTexts
    encoded: Encoded
    labels: Labels


@dataclass(frozen=True)
class LabelledSample:
    """One sample with t tokens.

    sample   the text, its trained spans and origins, in characters
    ids      int32[t]    token ids
    labels   int32[t]    the token id if the token is trained, else -100
    weights  float32[t]  loss weights, 0 if the token is not trained
    starts   int64[t]    first byte (UTF-8) of each token in the text
    ends     int64[t]    one past its last byte
    seam_tokens          seams that a token of the whole text straddles
    numbers  float32[t]  by name: token columns, of those that were asked for
    """

    sample: Sample
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    seam_tokens: int = 0
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The rendered text."""
        return self.sample.text


_NOT_OF_A_CONVERSATION = (
    *("tokenizer", "chat_template"),  # what they name is in the key
    *("sources", "dialect", "fields", "paths", "repair"),
    *("duplicates", "near_duplicates", "decontaminate", "splits", "split_by", "seed", "shuffle"),
    *("max_length", "too_long", "layout", "pad_rows", "pad_to_multiple", "extra_columns", "token_columns"),
    *("pack_window", "unit_rows"),
)
"""Recipe keys that decide nothing between a conversation and its texts."""


class _Found(msgspec.Struct):
    """What the probes of a template found out.

    parts      roles whose content the template takes as a list of parts
    modes      template arguments that are chosen per conversation
    structure  what the template prints around messages
    """

    parts: frozenset[str]
    ends: TurnEnds
    marks: ReasoningMarks
    modes: tuple[Mode, ...]
    structure: str


class Labeller:
    """The stages of one recipe, loaded.

    `tokenizer` and `proof` (the result of the engine check) are made if they are not given. `parts` are the
    roles whose content the template takes as a list of parts. Raises `TokenizerError` or `TemplateError` if
    the tokenizer or the template cannot be loaded, `RecipeError` if the recipe names arguments or strings
    that the template does not know.
    """

    def __init__(
        self, recipe: Recipe, tokenizer: LoadedTokenizer | None = None, proof: EngineProof | None = None
    ) -> None:
        self.recipe = recipe
        check_repair(recipe.repair)
        self.tokenizer = tokenizer or load_tokenizer(recipe.tokenizer)
        if _reads_documents(recipe):
            _ = self.document_edges  # raises an error here, not for each row
        self.template = _load_template(recipe, self.tokenizer)
        self.one_run_from = 2
        check_arguments(self.template, recipe.template_kwargs)
        self.eos = self.tokenizer.variables.get("eos_token", "") if recipe.append_eos else ""
        self._modes: tuple[Mode, ...] = ()
        self._stopped = 0  # conversations in succession that reached a limit
        found = recall("template", self._about(), _Found, self._probe_watched)
        self.parts, self.ends, self._modes = found.parts, found.ends, found.modes
        self.rules = self._rules(found.marks)
        self._structure = found.structure
        self.proof = proof or self._prove()
        self.encoder = self._encoder(self.proof)

    def _about(self) -> list[Any]:
        """Return all that decides what the probes of the template find, as JSON values."""
        tokenizer, template = self.tokenizer, self.template
        recipe = self.recipe.model_dump(mode="json", exclude={*OTHER_KEYS, *_NOT_OF_A_CONVERSATION})
        return [tokenizer.sha256(), list(tokenizer.stops), template.sources, str(template.date), recipe]

    def _probe_watched(self) -> _Found:
        """Probe the template in another process: it comes from a stranger."""
        try:
            return in_watched_process(self._probe, "a short conversation")
        except LimitError as error:
            raise TemplateError(f"{self.template.name} cannot be used: {error}") from None

    def _probe(self) -> _Found:
        """Ask the template with short conversations how it prints what; check the strings of the recipe."""
        recipe = self.recipe
        self.parts = parts_roles(self.template, self._given)
        bos = self.tokenizer.variables.get("bos_token")
        control = [token for token in self.tokenizer.special if token != bos]
        self.ends = find_turn_ends(self.renders, stops=self.tokenizer.stops, control_tokens=control)
        if recipe.end_of_turn:  # the recipe overrides what was found
            stops = tuple(recipe.end_of_turn)
            self.ends = replace(self.ends, stops=stops, openers=(), seen=True, answered="")
        self.rules = self._rules(self._marks())
        self._modes = tuple(map(self._mode, automatic(self.template, recipe.template_kwargs)))
        if self._modes:  # with these, the template may print marks that it did not print before
            self.rules = self._rules(self._marks())
        printable = Printable(self.template, self.renders)
        check_left_out(printable, recipe.leave_out)
        check_turn_ends(printable, recipe.end_of_turn, self.tokenizer.special)
        return _Found(self.parts, self.ends, self.rules.marks, self._modes, self._printed_around())

    def __call__(self, conversation: Conversation) -> tuple[LabelledSample, ...]:
        """Take a conversation through all stages. Raises `RowError` if it cannot be used."""
        return self.together([conversation])

    def together(self, conversations: Sequence[Conversation]) -> tuple[LabelledSample, ...]:
        """The samples of all conversations of one row, in order.

        Raises the `RowError` that a run rejects the row for: all are decided before the first is encoded.
        """
        samples = self.decide_together(conversations)
        labelled = self.label(segment(self, samples))
        found = apart(samples, labelled, self.recipe.token_columns)
        if self.recipe.preferences:
            for error in pair_errors(labelled.masked, labelled.encoded.tokens).values():
                raise error
        return found

    def decide_together(self, conversations: Sequence[Conversation]) -> tuple[Sample, ...]:
        """The stages up to the mask for all conversations of one row: all are checked before the first is
        decided."""
        for conversation in conversations:
            with naming_side(conversation):
                check(self, conversation)
        samples = tuple(sample for each in conversations for sample in self._decide_side(each))
        if self.recipe.preferences and len(samples) > 1:
            check_prompts(conversations, samples)
        return samples

    def _decide_side(self, conversation: Conversation) -> tuple[Sample, ...]:
        """The samples of a conversation; a side of a preference must have one."""
        with naming_side(conversation):
            samples = self.decide(conversation)
            if conversation.side is not None and len(samples) > 1:
                detail = (
                    f"it needs {len(samples)} texts, since the template prints earlier turns otherwise than "
                    "inference does, but a preference has one; set train: {turns: last}, or history: last"
                )
                raise RowError("prompt_mismatch", detail)
        return samples

    def read(self, row: Row, dialect: Form) -> tuple[list[Conversation], tuple[str, ...]]:
        """Return the fixed conversations of a row, and the names of the fixes, with that of joined calls.
        Raises `RowError` if the row has no usable conversation."""
        if row.error is not None:
            raise RowError(row.reason, row.error)
        found = self._conversations(row.value, dialect)
        joined = [join_calls(each) for each in found]
        repairs = [repair(each, self.recipe.repair) for each, _ in joined]
        for conversation, _ in repairs:
            with naming_side(conversation):
                check_learnable(conversation)
        applied = (name for _, names in [*joined, *repairs] for name in names)
        return [conversation for conversation, _ in repairs], tuple(dict.fromkeys(applied))

    def _conversations(self, value: Any, dialect: Form) -> list[Conversation]:
        """Return the conversations of the value of a row, those of its parts in order."""
        every, found = self.recipe.paths is Paths.all, list[Conversation]()
        if not isinstance(value, Parts):
            return conversations(value, dialect, every=every)
        for number, part in enumerate(value.rows):
            try:
                found += conversations(part, dialect, every=every)
            except RowError as error:
                raise RowError(error.reason, f"part {number}: {error.detail}") from None
        return found

    def decide(self, conversation: Conversation) -> tuple[Sample, ...]:
        """Do the stages up to the mask: return the texts of a conversation and what is trained in them.

        Raises `RowError` if it cannot be used.
        """
        try:
            with self.limits(conversation):
                samples: tuple[Sample, ...] = self._through(_UP_TO_THE_MASK, conversation)
        except RowError as error:
            raise with_repair(error, conversation.messages) from None
        return samples

    @contextmanager
    def limits(self, conversation: Conversation) -> Iterator[None]:
        """Limit what the template does for a conversation in the `with` block.

        Raises `RowError` if it reaches a limit, `TemplateError` if many in succession do.
        """
        try:
            with limited("the chat template", SECONDS + SECONDS_PER_MESSAGE * len(conversation.messages)):
                yield
        except LimitError as error:
            raise self._stop(error) from None
        self._stopped = 0

    def _stop(self, error: LimitError) -> RowError:
        """Return the error of a row that reached a limit. Runs of the template are begun anew."""
        self._stopped += 1
        self.__dict__.pop("_prefixes", None)
        if self._stopped == MOST_STOPPED:
            raise TemplateError(
                f"{self.template.name} cannot be used: {error} for {MOST_STOPPED} rows in succession"
            )
        return RowError("template_unsafe", f"{error} for this row")

    def label(self, masked: MaskedTexts) -> LabelledTexts:
        """Do the stages after the mask, for the texts of any number of conversations."""
        labelled: LabelledTexts = self._through(STAGES[STAGES.index(segment) + 1 :], masked)
        return labelled

    def _through(self, stages: Sequence[Stage], value: Any) -> Any:
        for stage in stages:
            value = stage(self, value)
        return value

    def renders(self, conversation: Conversation, template: ChatTemplate | None = None) -> Renders:
        """Return the renders of a conversation with the template of the recipe, or another one."""
        kwargs = self.template_arguments(conversation)
        return Renders(conversation, template or self.template, kwargs, as_parts=self.parts)

    def prefix_renders(self, conversation: Conversation) -> Renders:
        """Return the same renders, from one run of the template."""
        kwargs = self.template_arguments(conversation)
        return PrefixRenders(conversation, self._prefixes, kwargs, as_parts=self.parts)

    @cached_property
    def _prefixes(self) -> PrefixTemplate:
        return PrefixTemplate(self.template)

    def template_arguments(self, conversation: Conversation) -> dict[str, Any]:
        """Return the template arguments of the recipe for a conversation."""
        if not self._modes:
            return dict(self._given)
        reasoning = has_reasoning(conversation, self.rules.marks)
        return self._given | {mode.name: mode.value(reasoning=reasoning) for mode in self._modes}

    def modes(self, conversation: Conversation) -> Mapping[str, int]:
        """Return the counts of the values that were chosen for a conversation, such as
        `auto_enable_thinking_true`; none for arguments that the row gives itself."""
        chosen = [mode for mode in self._modes if mode.name not in conversation.template_kwargs]
        if not chosen:
            return {}
        reasoning = has_reasoning(conversation, self.rules.marks)
        return {mode.label(reasoning=reasoning): 1 for mode in chosen}

    def unread(self, conversation: Conversation) -> tuple[str, ...]:
        """Return the names of the row's own template arguments that are not empty and that the template does
        not read."""
        filled = {
            name: each for name, each in conversation.template_kwargs.items() if each not in ("", [], {})
        }
        return unread(self.template, filled)

    @property
    def has_modes(self) -> bool:
        """Whether the template arguments depend on the reasoning of a conversation."""
        return bool(self._modes)

    @cached_property
    def _given(self) -> dict[str, Any]:
        """The template arguments of the recipe that are the same for all conversations."""
        chosen = automatic(self.template, self.recipe.template_kwargs)
        return {name: value for name, value in self.recipe.template_kwargs.items() if name not in chosen}

    def _mode(self, name: str) -> Mode:
        return find_mode(self.template, name, renders=self.renders, decides=self.decide)

    @cached_property
    def by_reference(self) -> Labeller:
        """The same labeller with the reference engine, and with a render for each prompt, unless there are
        very many turns."""
        other = copy(self)
        other.one_run_from = MANY_TURNS
        other.encoder = self._encoder(EngineProof(TokenizersEngine.name))
        return other

    @cached_property
    def token_texts(self) -> TokenTexts:
        """The texts of single tokens, for rows that bring theirs."""
        return TokenTexts((self.tokenizer.backend, self.tokenizer.json))

    @cached_property
    def document_edges(self) -> Edges:
        """What is around each document. Raises `TokenizerError` if the tokenizer has no eos token."""
        eos = self.tokenizer.variables.get("eos_token")
        if not eos:
            raise TokenizerError(
                f"tokenizer {self.tokenizer.name} has no eos token, which ends each document (dialect: "
                "document); set eos_token in its tokenizer_config.json, or choose another tokenizer"
            )
        return Edges(self.tokenizer.opening, eos, self.tokenizer.spaces_after_opening)

    def warnings(self) -> list[str]:
        """Return the warnings that a user needs before the run."""
        found = list(self.tokenizer.warnings)
        if not _reads_chats(self.recipe):
            return found + self._slow_engine()
        found += self._slow_engine()
        if not self.recipe.append_eos and (unlearned := _never_stops(self.ends)):
            found.append(unlearned)
        if self.ends.openers and not self.recipe.append_eos:
            found.append(
                "the chat template ends a turn only before the next one: the last of a row trains no end; "
                "set append_eos"
            )
        return found

    def _slow_engine(self) -> list[str]:
        is_slow = self.recipe.engine is EngineChoice.auto and not self.proof.fast
        return [f"the slower engine tokenizers is used: {self.proof.reason}"] if is_slow else []

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer with the chat template that was used, if one was."""
        source = self.template.source
        self.tokenizer.save(directory, {} if source == WITHOUT_CHATS else source)

    def _prove(self) -> EngineProof:
        """Return the result of the engine check. A refusal is not kept: its cause may be a lack of memory."""
        from .tokens.engine_check import prove_engine  # noqa: PLC0415  most commands find it proved

        backend, wish = self.tokenizer.backend, self.recipe.engine
        about = None if wish is EngineChoice.tokenizers else [self.tokenizer.sha256()]
        prove = partial(prove_engine, backend, wish, make=shared_engine)
        return recall("engine", about, EngineProof, prove, holds=lambda proof: proof.fast)

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self.tokenizer.backend.get_vocab(with_added_tokens=True)), default=1)

    def _marks(self) -> ReasoningMarks:
        return find_reasoning_marks(self.template.sources.values(), self.renders)

    def _rules(self, marks: ReasoningMarks) -> Rules:
        recipe = self.recipe
        return Rules(
            self.ends,
            marks,
            history=recipe.history,
            train=recipe.train,
            leave_out=tuple(recipe.leave_out),
            eos=self.eos,
            open_reasoning=recipe.open_reasoning,
            on_dropped=recipe.on_dropped,
        )

    def _encoder(self, proof: EngineProof) -> Encoder:
        tokenizer, structure = self.tokenizer, self._structure
        sources = self.template.sources.values()
        added = [token for token in tokenizer.added if token.strip()]
        printed = [token for token in added if any(token in source for source in sources)]
        written = [token for token in added if token in structure]
        make = partial(LateEngine, backend=tokenizer.backend)
        return Encoder(
            tokenizer.backend,
            control=list(dict.fromkeys([*tokenizer.special, *printed, *written])),
            generated=[*tokenizer.special, *written],
            rules=EncodingRules(self.recipe.control_tokens, self.recipe.seam),
            engines=TwoEngines(tokenizer.backend, proof, make=make, tokenizer_json=tokenizer.json),
        )

    def _printed_around(self) -> str:
        """What the template prints around the messages of a plain conversation: headers and turn ends.

        Empty if the template refuses the probe.
        """
        lenient = replace(self.rules, open_reasoning=OpenReasoning.as_rendered, on_dropped=OnDropped.count)
        try:
            (sample, *_) = completions.decide(self.renders(Conversation(PROBE)), lenient)
        except RowError:
            return ""
        edges = [0, *(edge for turn in sample.turns for edge in (turn.start, turn.end)), len(sample.text)]
        return "\0".join(sample.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))


def _never_stops(ends: TurnEnds) -> str:
    """Return the warning that a model would not learn to stop; empty if it would."""
    if any(stop in ends.text for stop in ends.stops):
        return ""
    if ends.text:
        return (
            f"the chat template ends the last turn with {ends.text[:80]!r}, which is no control token: the "
            "tokenizer may be another one than that of the template; name what stops the model with "
            "end_of_turn"
        )
    if ends.seen:
        return ""
    return (
        "the chat template prints no turn end: a model trained on it would not learn to stop; set "
        "append_eos, or name the stop string with end_of_turn"
    )


# ==== The stages ====


def check(labeller: Labeller, conversation: Conversation) -> Conversation:
    """Reject a conversation with too many messages, or with weights that the recipe does not keep."""
    if len(conversation.messages) > MAX_MESSAGES:
        detail = f"{len(conversation.messages)} messages are more than {MAX_MESSAGES}; split the row"
        raise RowError("too_long", detail)
    _check_length(labeller, conversation)
    if conversation.given is not None:
        check_given(conversation.given, labeller.token_texts, labeller.recipe.token_columns)
    if not labeller.recipe.loss_weights:
        check_weights(conversation)
    ignored = labeller.unread(conversation)
    if ignored and labeller.recipe.on_dropped is OnDropped.reject:
        known = ", ".join(sorted(arguments_of(labeller.template))) or "none"
        detail = (
            f"the chat template does not read the row's template argument {ignored[0]!r}; it reads {known}"
        )
        raise RowError("content_dropped", f"{detail}; set on_dropped: count to keep such rows")
    return conversation


def _check_length(labeller: Labeller, conversation: Conversation) -> None:
    """Reject a conversation of many MB that cannot fit, before it takes a hundred times its size."""
    recipe = labeller.recipe
    texts = (text for each in conversation.messages for text in (each.content, each.reasoning) if text)
    size = sum(map(len, texts)) + len(conversation.document or "")
    if size <= LARGE_ROW or recipe.too_long is not TooLong.reject:
        return
    if size > recipe.max_length * labeller.longest_token:
        detail = (
            f"{size:,} characters are more than max_length {recipe.max_length} tokens of at most "
            f"{labeller.longest_token} characters"
        )
        raise RowError("too_long", detail)


def check_weights(conversation: Conversation) -> None:
    """Reject a conversation with weights, for a recipe that does not keep them."""
    if conversation.weight == 0:
        detail = "the row has weight 0; leave it out, or set loss_weights to keep it with that weight"
        raise RowError("nothing_trained", detail)
    weights = {"the row": conversation.weight}
    for index, message in enumerate(conversation.messages):
        weights[f"message {index}"] = message.weight
        weights |= {f"a part of message {index}": each.weight for each in message.stretches if each.weight}
    weights = {name: weight for name, weight in weights.items() if weight not in (None, 0, 1)}
    for what, weight in {**weights, **weights_of(conversation.given)}.items():
        raise RowError("unsupported_weight", f"{what} has weight {weight}; set loss_weights to keep it")


def settle(labeller: Labeller, conversation: Conversation) -> Conversation:
    """Return the conversation in a form that the template accepts."""
    if not conversation.is_chat:
        return conversation
    return settled(conversation, labeller.renders)


def decide(labeller: Labeller, conversation: Conversation) -> tuple[Sample, ...]:
    """Return the texts of a conversation, and which of their characters are completions."""
    if conversation.document is not None:
        return (document_sample(conversation.document, conversation.weight, labeller.document_edges),)
    if conversation.given is not None:
        columns = labeller.recipe.token_columns
        bytes_of = labeller.token_texts.bytes_of
        return (given_sample(conversation.given, conversation.weight, bytes_of, columns),)
    first, *others = _decided(labeller, conversation)
    if not all(is_encodable(sample.text) for sample in (first, *others)):
        raise RowError("template_error", "the chat template prints half of a surrogate pair")
    counts = {**first.counts, **labeller.modes(conversation)}
    if ignored := labeller.unread(conversation):
        counts["dropped_template_arguments"] = len(ignored)
    return replace(first, counts=counts, side=conversation.side), *others


def _decided(labeller: Labeller, conversation: Conversation) -> tuple[Sample, ...]:
    """Return the samples of a conversation.

    Those of several turns are decided on one run of the template for all of them. What is refused there is
    refused by the reference, which words the reason.
    """
    if labeller.recipe.mask is Mask.generation_tags:
        return completions.decide_by_tags(labeller.renders(conversation), labeller.rules)
    turns = sum(message.role == "assistant" for message in conversation.messages)
    if turns >= labeller.one_run_from:
        with suppress(RowError):
            return completions.decide(labeller.prefix_renders(conversation), labeller.rules)
    return completions.decide(labeller.renders(conversation), labeller.rules)


def segment(labeller: Labeller, samples: Sequence[Sample]) -> MaskedTexts:
    """Return the texts of one row in segments."""
    del labeller
    return masked_texts(samples, [0] * len(samples))


def encode(labeller: Labeller, masked: MaskedTexts) -> tuple[MaskedTexts, Encoded]:
    """Return the tokens of texts, and the bytes that they cover (`tokens/encode.py`)."""
    return masked, labeller.encoder.encode(masked)


def label(labeller: Labeller, texts: tuple[MaskedTexts, Encoded]) -> LabelledTexts:
    """Return which tokens are trained (`masking/labels.py`)."""
    del labeller
    masked, encoded = texts
    return LabelledTexts(masked, encoded, label_tokens(masked, encoded.tokens))


Stage = Callable[[Labeller, Any], Any]
"""Takes the result of the stage before. Stages up to `decide` may raise `RowError`."""

STAGES: tuple[Stage, ...] = (
    check,  # Conversation -> Conversation
    settle,  # Conversation -> Conversation
    decide,  # Conversation -> Samples: texts, and which of their characters are completions
    segment,  # Samples -> MaskedTexts: in bytes
    encode,  # MaskedTexts -> Tokens
    label,  # Tokens -> LabelledTexts: which tokens are trained
)


_UP_TO_THE_MASK = STAGES[: STAGES.index(segment)]


def untrained(number: int) -> RowError:
    """Return the error of a row with a sample in which no token is trained."""
    return RowError("nothing_trained", f"no token of sample {number} is completely in an assistant turn")


def apart(
    samples: Sequence[Sample], labelled: LabelledTexts, columns: Sequence[str] = ()
) -> tuple[LabelledSample, ...]:
    """Return the samples of one row with their tokens, and with these token columns. Raises `RowError` if one
    cannot be used."""
    masked, encoded, labels = labelled
    for error in encoded.errors.values():
        raise error
    tokens, weights = encoded.tokens, weigh_tokens(labels)
    numbers = {name: token_numbers(masked.given, tokens, labels, name) for name in columns}
    begin, found = 0, []
    for number, (sample, (first, last)) in enumerate(
        zip(samples, pairwise(tokens.offsets.tolist()), strict=True)
    ):
        if labels.trained_before[first] == labels.trained_before[last]:
            raise untrained(number)
        own = slice(first, last)
        arrays = tokens.ids[own], labels.labels[own], weights[own]
        bytes_of = tokens.starts[own] - begin, tokens.ends[own] - begin
        about = int(encoded.seam_tokens[number]), {name: each[own] for name, each in numbers.items()}
        found.append(LabelledSample(sample, *arrays, *bytes_of, *about))
        begin += len(sample.text.encode())
    return tuple(found)


# ==== Loading ====


def load_ahead(recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
    """Load what every labeller of this tokenizer needs: most of the cost of making one."""
    byte_tables(tokenizer.json)
    if recipe.engine is not EngineChoice.tokenizers:
        shared_engine(tokenizer.json)


WITHOUT_CHATS = "{# no chats #}{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""What is loaded where no chat template is needed, and there is none."""

_WITHOUT_CHATS = (DialectName.document, DialectName.tokens, DialectName.trajectory)


def _dialects(recipe: Recipe) -> set[DialectName | None]:
    """Return the dialects that the recipe names for its sources; None for one with `fields`."""
    return {each.dialect or (recipe.dialect if each.fields is None else None) for each in recipe.sources}


def _reads_documents(recipe: Recipe) -> bool:
    """Whether the recipe names the dialect of documents for one of its sources."""
    return DialectName.document in _dialects(recipe)


def _reads_chats(recipe: Recipe) -> bool:
    """Whether a source may hold chats."""
    return recipe.fields is not None or not _dialects(recipe) <= {*_WITHOUT_CHATS}


def _load_template(recipe: Recipe, tokenizer: LoadedTokenizer) -> ChatTemplate:
    """Return the chat template of a recipe: a file, a built-in one by name, or that of the tokenizer."""
    chosen = recipe.chat_template
    name = f"chat template {chosen}" if chosen else f"chat template of {tokenizer.name}"
    source = tokenizer.chat_template if chosen is None else template_source(chosen)
    if source is None and not _reads_chats(recipe):
        source, name = WITHOUT_CHATS, "no chat template"
    if source is None:
        raise TemplateError(
            f"tokenizer {tokenizer.name} has no chat template; set --chat-template to a file or one of "
            f"{', '.join(built_in_templates())}; sources without chats need none, if each has its dialect: "
            f"{', '.join(each.value for each in _WITHOUT_CHATS)}"
        )
    check_compiles(source, recipe.date, name)
    template = ChatTemplate(source, variables=tokenizer.variables, date=recipe.date, name=name)
    if recipe.mask is Mask.generation_tags and not template.has_generation_tags:
        raise TemplateError(f"{template.name} has no {{% generation %}} tags; add them, or remove 'mask'")
    return template


def reject(row: Row, error: RowError, id_: str | None = None) -> Reject:
    """Return a row as a line of the reject log; one that a setting leaves out is not shown there."""
    if id_ is None:
        id_ = row_id(row.value)
    original = None if error.reason in LEFT_OUT else row.original
    if original is None and error.reason not in LEFT_OUT and (row.error is None or row.value is not None):
        original = _as_json(row.value)
    return Reject(row.source, row.row, id_, error.reason, error.detail, original)


def _as_json(value: Any) -> str | None:
    """Return a value as JSON; None if that cannot be, such as nested too deeply."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return None
