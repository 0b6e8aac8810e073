"""What ends an assistant turn of a chat template, found by rendering two short conversations.

What a template prints after an assistant message both when a user answers and when nothing follows is
the end of the turn:

    <|im_end|>\\n<|im_start|>user\\n    when a user answers
    <|im_end|>\\n                       when nothing follows    -> `<|im_end|>`

Known stop tokens (the tokenizer's eos, those of the generation config) end a turn wherever they stand
first. A template that prints nothing in common but opens the next turn with a control token (GLM) has
the model stop by writing that token. Cost: a few renders, once per template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from ..core.errors import RowError
from ..core.records import Conversation, Message, span_of
from .prompt_ends import whole_marker
from .renders import Renders
from .traced import runs_of

PROBE = (
    Message("user", "ping"),
    Message("assistant", "pong"),
    Message("user", "pang"),
    Message("assistant", "pung"),
)


def find_turn_ends(
    renders_of: Callable[[Conversation], Renders],
    *,
    stops: Sequence[str] = (),
    control_tokens: Sequence[str] = (),
) -> TurnEnds:
    """The turn ends of a template.

    `stops` are the strings known to stop the model, `control_tokens` those of the tokenizer that can end
    or open a turn (all but bos). Of a template that refuses the probes only the known stops are used.
    """
    try:
        answered = _printed_after_first_answer(renders_of(Conversation(PROBE)))
        last = _printed_after_first_answer(renders_of(Conversation(PROBE[:2])))
    except RowError:
        return TurnEnds(tuple(stops))
    if answered is None or last is None:
        return TurnEnds(tuple(stops))
    always = _always_prompts(renders_of(Conversation(PROBE[:2])), last)
    common = commonprefix([answered, last])
    end = _turn_end(common[: whole_marker(common, len(common), 0)], control_tokens)
    if end:
        known = any(stop in common for stop in stops)
        return TurnEnds(tuple(stops) if known else (*stops, end), always_prompts=always)
    opens = not last.strip() and answered.lstrip().startswith(tuple(control_tokens))
    seen = opens or any(stop in last for stop in stops)
    openers = tuple(control_tokens) if opens else ()
    ended = (
        "" if opens or not any(map(answered.count, control_tokens)) else _turn_end(answered, control_tokens)
    )
    return TurnEnds(tuple(stops), openers, always, seen, ended)


def _turn_end(common: str, control_tokens: Sequence[str]) -> str:
    """What of a text that always follows an answer ends the turn: all up to its first control token.

    >>> _turn_end("<|im_end|>\\n", ["<|im_end|>"]), _turn_end("</s>\\n", []), _turn_end("\\n\\n", [])
    ('<|im_end|>', '</s>', '')
    """
    ends = [found + len(token) for token in control_tokens if (found := common.find(token)) >= 0]
    return common[: min(ends)] if ends else common.rstrip()


def _printed_after_first_answer(renders: Renders) -> str | None:
    """What the template prints between the first answer and the next message's text."""
    text = renders.full()
    answer, question = span_of(runs_of(text), 1), span_of(runs_of(text), 2)
    return None if answer is None else str.__str__(text)[answer[1] : question[0] if question else None]


def _always_prompts(renders: Renders, last: str) -> bool:
    """Whether what stands after the last answer is the generation prompt, though nobody asked for it: then
    it ends as the text between a question and its answer does."""
    text = renders.full()
    question, answer = span_of(runs_of(text), 0), span_of(runs_of(text), 1)
    if question is None or answer is None or renders.through(1) != renders.prompt(2):
        return False
    opening = str.__str__(text)[question[1] : answer[0]]
    shared = commonprefix([last.rstrip()[::-1], opening.rstrip()[::-1]])[::-1]
    header = re.search(r"[<\[\n].*", shared, re.DOTALL)  # from where a marker or a line begins
    return header is not None and bool(header[0].strip())


@dataclass(frozen=True)
class TurnEnds:
    """What ends an assistant turn of a template.

    `stops` are the strings that do. `openers` are control tokens of which the one that follows a turn ends
    it, for templates that print nothing of their own after a turn (GLM: the model stops by writing the
    token of the next role). `always_prompts`: a text goes on with the generation prompt though not asked to.
    `seen`: the template was seen to end turns, so that a model trained on it learns to stop. `answered` is
    what ends a turn that a user answers, where no stop does.
    """

    stops: tuple[str, ...]
    openers: tuple[str, ...] = ()
    always_prompts: bool = False
    seen: bool = True
    answered: str = ""

    def after(self, text: str, at: int) -> int:
        """Where the turn ends whose last own character stands before `at`, in a text that ends with it:
        after the first stop; without one, after all the template prints."""
        ends = [found + len(stop) for stop in self.stops if (found := text.find(stop, at)) >= 0]
        return min(ends, default=at if self.always_prompts else max(at, len(text.rstrip())))

    def opener_after(self, text: str, at: int, written: int) -> int:
        """Where the control token ends that opens the next turn, if that is what stops the model: nothing
        printed since the message's last own character, before `written`, does."""
        if not self.openers or self.begin(text, at, written) < at:
            return at
        blank = len(text) - len(text[at:].lstrip())
        return max(
            (blank + len(token) for token in self.openers if text.startswith(token, blank)), default=at
        )

    def begin(self, text: str, end: int, written: int) -> int:
        """Where the stop begins that ends at `end`; `end` itself if none does, but for what stands in the
        message's own text, before `written`."""
        stops = (*self.stops, *self.openers)
        starts = [end - len(stop) for stop in stops if text.endswith(stop, 0, end)]
        return min((start for start in starts if start >= written), default=end)
