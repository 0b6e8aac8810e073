"""Which characters of a text are completions: found by provenance, proved against inference.

For an assistant message i:

    P   the prompt, `render(messages[:i], add_generation_prompt=True)`: what the model sees
    C   the completion: what it then has to write, up to and including the string that ends the turn

C is what message i wrote in `render(messages[:i + 1])`, with what the template prints between, from the seam
with P on (`seams.py`) to the turn end (`turn_ends.py`). **The sample of turn i is the text P + C.** Turns
share a text exactly where that text begins with the P + C of each of them. Mostly this is the whole
conversation. A turn that it does not show so gets a sample of its own (Qwen3 drops earlier reasoning, so the
whole conversation shows a turn differently than inference did). If no render shows P + C, it is put together
from both (proof `composed`).

Example: `<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n` has one completion,
`Hello<|im_end|>`. Header and newline are never trained.

A row is refused if the render contradicts the prompt, if provenance finds text of another message in a
completion, or if text of the row is printed nowhere (`dropped.py`).

Cost: two plain renders per turn, and comparisons of text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from ..core.errors import RowError
from ..core.recipe import History, OpenReasoning, Turns
from ..core.records import GENERATED, MIXED, TEMPLATE, Message, Sample, Turn, placed
from .as_rendered import shown_turn
from .dropped import Dropped
from .renders import Renders, Window
from .rules import Rules
from .seams import Seam, asked_by, find_seam
from .texts import Text, written_by_template
from .traced import runs_of
from .trained_parts import last_written, trained_parts, weights_of


@dataclass
class _Draft:
    """A sample under construction: a text, and the completions proved in it so far."""

    text: Text
    proof: str = ""
    turns: list[Turn] = field(default_factory=list)


class _Placed(NamedTuple):
    """The completion of a turn at the end of its prompt: `text` begins with P + C, and C is the stretch
    `turn`. `proof` is empty if `text` is a render. `in_whole` says that it is that of the whole
    conversation."""

    text: Text
    turn: Turn
    proof: str = ""
    in_whole: bool = False


def decide(renders: Renders, rules: Rules) -> tuple[Sample, ...]:
    """Return the samples of a conversation, with what is trained in them.

    The first sample is the whole conversation, unless nothing in it can be trained. Raises `RowError` if the
    mask cannot be proved, or if nothing would be trained.
    """
    return _Decision(renders, rules).samples()


def decide_by_tags(renders: Renders, rules: Rules) -> tuple[Sample, ...]:
    """Return the sample of a conversation, trained inside the `{% generation %}` tags of the template.

    A stretch belongs to the message that wrote most of it. Stretches of messages that are not trained are
    left out. Raises `RowError` if nothing is left.
    """
    decision = _Decision(renders, rules)
    whole = decision.drafts[0]
    whole.proof = "generation-tags"
    for start, end, origin in placed(runs_of(renders.tagged())):
        message = _writer(whole.text, start, end) if origin.message == GENERATED.message else None
        if message in decision.wanted:
            whole.turns.append(Turn(message, start, end))
    return decision.finished()


def _writer(text: Text, start: int, end: int) -> int | None:
    """Return the message that wrote most characters of a stretch."""
    written: Counter[int] = Counter()
    for low, high, origin in text.between(start, end):
        if origin.message >= 0:
            written[origin.message] += high - low
    return written.most_common(1)[0][0] if written else None


class _Decision:
    """The decision about one conversation."""

    def __init__(self, renders: Renders, rules: Rules) -> None:
        self.renders, self.rules = renders, rules
        self.messages = renders.messages
        self.counts: Counter[str] = Counter()
        self.wanted = self._wanted()
        self.drafts = [_Draft(renders.whole)]
        self.dropped = Dropped(self.messages, renders.tools, rules.on_dropped, rules.history)

    def samples(self) -> tuple[Sample, ...]:
        """Place each wanted turn in a text that begins with its P + C."""
        for index in reversed(self.wanted):
            if self.messages[index].role != "assistant":
                self.drafts[0].turns.append(self._own_text(index))
            elif self.rules.history is History.as_rendered:
                self.drafts[0].proof = "as-rendered"
                self._add(self._as_rendered(index))
            else:
                self._add(self._completion(index))
        return self.finished()

    def finished(self) -> tuple[Sample, ...]:
        """Return the drafts with trained text as samples; raise `RowError` if there is none."""
        kept = [draft for draft in self.drafts if draft.turns]
        for draft in kept:
            if draft.proof != "generation-tags":
                draft.text = _as_prompts(draft.text, draft.turns)
            self._end_turns(draft)
            self.dropped.check(draft.text, draft.turns)
        for draft in kept:
            draft.proof = draft.proof or ("split" if len(self.drafts) > 1 else "inference")
        samples = [sample for sample in map(self._sample, kept) if sample.turns]
        if not samples:
            raise RowError("nothing_trained", self._why_nothing())
        counts = {name: n for name, n in {**self.counts, **self.dropped.counts}.items() if n}
        return (replace(samples[0], counts=counts), *samples[1:])

    def _why_nothing(self) -> str:
        if self.counts["opening_turns"]:
            return "the only turn to train opens the conversation: no prompt leads to it"
        return "the template and the recipe leave no text of the row to train"

    def _wanted(self) -> list[int]:
        """Return the messages to train: those of the recipe's roles, unless the row excludes them or they
        are empty."""
        train = self.rules.train
        wanted = [i for i, each in enumerate(self.messages) if each.role in train.roles and _is_marked(each)]
        if not wanted:
            detail = f"no message of role {' or '.join(train.roles)} is to be trained"
            raise RowError("nothing_trained", detail)
        filled = [i for i in wanted if self.messages[i].says_something]
        self.counts["empty_turns"] += len(wanted) - len(filled)
        if not filled:
            raise RowError("nothing_trained", "every message that is to be trained is empty")
        last = self.rules.history is History.last or train.turns is Turns.last
        return filled[-1:] if last else filled

    def _add(self, placed_turn: _Placed | None) -> None:
        """Add a completion to the first text that begins with its P + C; to a new one if none does."""
        if placed_turn is None:
            return
        text, turn, proof, in_whole = placed_turn
        home = self.drafts[0] if in_whole else self._home(text, turn)
        if home is None:
            home = _Draft(text, proof)
            self.drafts.append(home)
        elif proof == "as-rendered":
            home.proof = proof
        home.turns.append(turn)

    def _home(self, text: Text, turn: Turn) -> _Draft | None:
        begin = text.text[: turn.end]
        return next((draft for draft in self.drafts if draft.text.text.startswith(begin)), None)

    # ==== one turn ====

    def _completion(self, index: int) -> _Placed | None:
        """Return P + C of a message; None if the turn is left out of the loss."""
        window = self._window(index)
        if window is None:
            return None
        try:
            placed_turn = self._in_whole(window, index) or self._in_own(window, index)
            self._check_begin(placed_turn)
            self._check_end(placed_turn)
        except RowError as error:
            if error.reason != "prompt_mismatch":
                raise
            if not self._is_opening(index):
                raise self._with_advice(error, index) from None
            self.counts["opening_turns"] += 1
            return None
        header = _printed_first(placed_turn) if placed_turn else ""
        if self._is_opening(index) and not self.rules.marks.only(header):
            self.counts["opening_turns"] += 1
            return None
        return placed_turn and self._complete(window, placed_turn)

    def _complete(self, window: Window, placed_turn: _Placed) -> _Placed:
        """Return a completion of a window as one of complete texts."""
        text, turn, proof, in_whole = placed_turn
        if not window.base:
            return placed_turn
        shifted = turn._replace(start=turn.start + window.base, end=turn.end + window.base)
        whole = self.drafts[0].text
        complete = whole if in_whole else whole.cut(0, window.base).joined(text)
        return _Placed(complete, shifted, proof, in_whole)

    def _check_begin(self, placed_turn: _Placed | None) -> None:
        """Raise `RowError` if a completion begins by ending another turn."""
        if placed_turn is None:
            return
        text, (index, start, _), _, _ = placed_turn
        follows = index > 0 and self.messages[index - 1].role == "assistant"
        if follows and any(stop in _printed_first(placed_turn) for stop in self.rules.ends.stops):
            prompt = text.text[:start]
            detail = f"message {index}: its prompt ends within the turn before it, with {prompt[-60:]!r}"
            raise RowError("prompt_mismatch", detail)

    def _check_end(self, placed_turn: _Placed | None) -> None:
        """Raise `RowError` if a turn of reasoning alone has no end, although other turns have one."""
        if placed_turn is None or self.rules.eos or self.rules.ends.openers or not self.rules.ends.seen:
            return
        text, turn, *_ = placed_turn
        message = self.messages[turn.message]
        alone = not message.tool_calls and not (message.content or "").strip()
        if alone and self.rules.ends.begin(text.text, turn.end, last_written(text, turn)) == turn.end:
            detail = f"the chat template prints no turn end after message {turn.message}, which has no text"
            raise RowError("boundary_unclear", f"{detail}; set append_eos")

    def _is_opening(self, index: int) -> bool:
        """Whether the assistant opens the conversation with a message."""
        return is_opening(message.role for message in self.messages[:index])

    def _with_advice(self, error: RowError, index: int) -> RowError:
        """Name the repair that helps if two turns of the assistant follow each other."""
        if self.messages[index - 1].role != "assistant":
            return error
        advice = "message {} is by the assistant, too; set repair: merge_consecutive"
        return RowError(error.reason, f"{error.detail}; {advice.format(index - 1)}")

    def _window(self, index: int) -> Window | None:
        """Return the texts of a turn; None if the assistant opens and inference has no prompt for it."""
        window = self.renders.window(index)
        try:
            window.prompt()
        except RowError:
            if not self._is_opening(index):
                raise
            self.counts["opening_turns"] += 1
            return None
        return window

    def _in_whole(self, window: Window, index: int) -> _Placed | None:
        """Return the completion as the whole conversation shows it; None if it does not show P + C."""
        whole, through, prompt = window.whole, window.through(), window.prompt()
        span = whole.span(index)
        if span is None or not whole.text.startswith(prompt) or whole.text[: span[1]] != through[: span[1]]:
            return None
        end = self.rules.ends.after(through, span[1])
        rest = through[end:].strip()
        if not whole.text.startswith(through[:end]) or (rest and rest not in self.rules.ends.stops):
            return None
        asked = asked_by(whole, len(prompt), but=index)
        if self.rules.marks.first(asked.text) is not None:
            asked = asked_by(whole, len(prompt), but=index, before=window.before())
        seam = find_seam(asked, whole, index, end, self.rules.marks)
        if seam.open or seam.start != len(prompt):
            return None
        return _Placed(whole, self._proved(whole, index, len(prompt), end), in_whole=True)

    def _in_own(self, window: Window, index: int) -> _Placed | None:
        """Return P + C from the renders of P and of the text that ends with the message."""
        text = window.through_traced()
        span = text.span(index)
        if span is None:
            self.dropped.nothing_of(index)
            return None
        prompt = window.prompt_traced()
        end = self.rules.ends.after(text.text, span[1])
        asked = asked_by(prompt, before=window.before())
        seam = find_seam(asked, text, index, end, self.rules.marks)
        turn = self._proved(text, index, seam.start, end)
        if seam.open:
            return self._in_open_block(prompt, text, turn, seam)
        if text.text.startswith(prompt.text) and seam.start == len(prompt):
            return _Placed(text, turn)
        return self._composed(prompt, text, turn)

    def _in_open_block(self, prompt: Text, text: Text, turn: Turn, seam: Seam) -> _Placed:
        """Do what the recipe says about a turn without reasoning whose prompt opens a block of it."""
        self.dropped.check_turn(text, turn.message)  # reasoning that the template cuts is a loss
        if self.rules.open_reasoning is OpenReasoning.reject:
            detail = (
                f"message {turn.message} has no reasoning, but its prompt opens a block of it "
                f"({prompt.text[-30:]!r}); set open_reasoning to compose (the block is closed at once) or "
                "as-rendered (as the template shows the turn in history), or template_kwargs such as "
                "enable_thinking: auto if the template has a mode that fits"
            )
            raise RowError("open_reasoning", detail)
        if self.rules.open_reasoning is OpenReasoning.as_rendered:
            self.counts["turns_behind_another_prompt"] += 1
            return _Placed(text, turn, "as-rendered")
        closing = "" if seam.closed else self.rules.marks.closing_of(prompt.text)
        shown = text.text.startswith(prompt.text) and not closing
        return _Placed(text, turn) if shown else self._composed(prompt, text, turn, closing)

    def _composed(self, prompt: Text, text: Text, turn: Turn, closing: str = "") -> _Placed:
        """Put P and C together; `closing` closes a block that P leaves open."""
        body = text.cut(turn.start, turn.end)
        if closing:
            body = _behind(closing, body)
        whole = prompt.joined(written_by_template(closing), body)
        return _Placed(whole, turn._replace(start=len(prompt), end=len(whole)), "composed")

    def _proved(self, text: Text, index: int, start: int, end: int) -> Turn:
        """Return a completion if provenance agrees with it: no text of another message is inside."""
        for _, _, origin in text.between(start, end):
            if origin == MIXED:
                raise RowError("origin_lost", f"the chat template hides whose text is in message {index}")
            if origin != TEMPLATE and origin.message != index:
                raise RowError("boundary_unclear", f"text of {origin.label} is inside message {index}")
        return Turn(index, start, end)

    def _own_text(self, index: int) -> Turn:
        """Return what a message wrote that is not the assistant's; inference does not cover it."""
        whole = self.drafts[0].text
        span = whole.span(index)
        if span is None:
            detail = f"the chat template prints nothing of message {index} ({self.messages[index].role})"
            raise RowError("content_dropped", detail)
        return self._proved(whole, index, *span)

    def _as_rendered(self, index: int) -> _Placed | None:
        """Return a completion as the whole conversation shows it, without regard to inference."""
        whole = self.drafts[0].text
        if whole.span(index) is None:
            self.dropped.nothing_of(index)
            return None
        window = self._window(index)
        if window is None:
            return None
        own, prompt = Text.of(self.renders.through_traced(index)), Text.of(self.renders.prompt_traced(index))
        turn = self._proved(whole, *shown_turn(whole, own, asked_by(prompt), index, self.rules.ends))
        self.counts["turns_behind_another_prompt"] += whole.text[: turn.start] != prompt.text
        return _Placed(whole, turn, in_whole=True)

    # ==== the samples ====

    def _end_turns(self, draft: _Draft) -> None:
        """Extend turns that end with the opener of the next turn; append eos after a last turn without an
        end."""
        ends, eos, text = self.rules.ends, self.rules.eos, draft.text
        draft.turns = [
            turn._replace(end=ends.opener_after(text.text, turn.end, last_written(text, turn)))
            for turn in draft.turns
        ]
        last = max(draft.turns, key=lambda turn: turn.end)
        if not eos or text.text[last.end :].strip():
            return
        if ends.begin(text.text, last.end, last_written(text, last)) < last.end:
            return
        draft.text = text.cut(0, last.end).joined(written_by_template(eos))
        draft.turns[draft.turns.index(last)] = last._replace(end=len(draft.text))

    def _sample(self, draft: _Draft) -> Sample:
        turns = sorted(draft.turns, key=lambda turn: turn.start)
        for before, after in pairwise(turns):
            if after.start < before.end:
                detail = f"the completions of messages {before.message} and {after.message} overlap"
                raise RowError("boundary_unclear", detail)
        for turn in turns:
            self._proved(draft.text, *turn)
        parts = [
            part
            for turn in turns
            for part in trained_parts(draft.text, turn, self.messages[turn.message], self.rules)
        ]
        seams = tuple(sorted({edge for turn in turns for edge in turn[1:]}))
        weights = weights_of(draft.text, turns, self.messages, self.renders.weight)
        return Sample(draft.text.text, tuple(parts), draft.text.runs, draft.proof, weights, seams)


def is_opening(roles: Iterable[str]) -> bool:
    """Whether a message after messages of these roles opens the conversation."""
    return all(role not in ("user", "assistant") for role in roles)


def _is_marked(message: Message) -> bool:
    """Whether the row lets a message, or a part of it, be trained."""
    return message.train is not False or any(stretch.train for stretch in message.stretches)


def _as_prompts(text: Text, turns: Sequence[Turn]) -> Text:
    """Return a text in which what a message wrote before its completion is text of the template: inference
    shows it in the prompt, such as `<think>`."""
    kept, at = list[Text](), 0
    for turn in sorted(turns, key=lambda turn: turn.start):
        first = max(at, (text.span(turn.message) or (turn.start, 0))[0])
        if first < turn.start:
            kept += text.cut(at, first), written_by_template(text.text[first : turn.start])
            at = turn.start
    return kept[0].joined(*kept[1:], text.cut(at, len(text))) if kept else text


def _printed_first(placed_turn: _Placed) -> str:
    """Return what the template prints at the start of a completion, before the text of the message."""
    text, turn, *_ = placed_turn
    first = next((start for start, _, _ in text.spans(turn.message) if start >= turn.start), turn.start)
    return text.text[turn.start : first]


def _behind(closing: str, body: Text) -> Text:
    """Return a completion without what the template prints at its start and `closing` ends with, and without
    the blanks that it prints there."""
    first = next((start for start, _, origin in body.between(0, len(body)) if origin != TEMPLATE), 0)
    printed = body.text[:first]
    shared = next((n for n in range(len(printed), 0, -1) if closing.endswith(printed[:n])), 0)
    return body.cut(shared + len(printed[shared:]) - len(printed[shared:].lstrip()), len(body))
