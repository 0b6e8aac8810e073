"""The turn ends of a chat template, found by rendering two short conversations.

The turn end is what the template prints after an assistant message in both cases, when a user answers and
when nothing follows:

    <|im_end|>\\n<|im_start|>user\\n    when a user answers
    <|im_end|>\\n                       when nothing follows    -> `<|im_end|>`

Known stop tokens (the eos of the tokenizer, those of the generation config) end a turn at their first
occurrence. Some templates print nothing in common, but open the next turn with a control token (GLM). There,
the model stops by writing that token.

Cost: a few renders, once per template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from ..core.errors import RowError
from ..core.records import Conversation, Message
from .renders import Renders
from .seams import whole_marker
from .texts import Text, after_blanks

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
    """Return the turn ends of a template.

    `stops` are the strings that are known to stop the model, `control_tokens` those of the tokenizer that can
    end or open a turn (all but bos). If the template refuses the probes, only `stops` are used.
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
    common = common[: whole_marker(common, len(common))]
    end = _turn_end(common, control_tokens)
    if end and not any(map(end.count, control_tokens)):
        # the turn goes on with control tokens, which differ: the first of each ends it
        rests = (last[len(common) :].lstrip(), answered[len(common) :].lstrip())
        firsts = [next((t for t in control_tokens if rest.startswith(t)), "") for rest in rests]
        if firsts[0]:
            return TurnEnds(tuple(dict.fromkeys([*stops, *filter(None, firsts)])), always_prompts=always)
    if end:
        known = any(stop in common for stop in stops)
        return TurnEnds(tuple(stops) if known else (*stops, end), always_prompts=always)
    opens = not last.strip() and answered.lstrip().startswith(tuple(control_tokens))
    seen = opens or any(stop in last for stop in stops)
    openers = tuple(control_tokens) if opens else ()
    ended = (
        "" if opens or not any(map(answered.count, control_tokens)) else _turn_end(answered, control_tokens)
    )
    return TurnEnds(tuple(stops), openers, always, seen, ended, "" if seen or always else last.strip())


def _turn_end(common: str, control_tokens: Sequence[str]) -> str:
    """Return the turn end in a text that always follows an answer: all up to its first control token.

    >>> _turn_end("<|im_end|>\\n", ["<|im_end|>"]), _turn_end("</s>\\n", []), _turn_end("\\n\\n", [])
    ('<|im_end|>', '</s>', '')
    """
    ends = [found + len(token) for token in control_tokens if (found := common.find(token)) >= 0]
    return common[: min(ends)] if ends else common.rstrip()


def _printed_after_first_answer(renders: Renders) -> str | None:
    """Return what the template prints between the first answer and the text of the next message."""
    text = Text.of(renders.full())
    answer, question = text.span(1), text.span(2)
    return None if answer is None else text.text[answer[1] : question[0] if question else None]


def _always_prompts(renders: Renders, last: str) -> bool:
    """Whether the template prints a generation prompt after the last answer even if it is not asked to.

    If so, that text ends like the text between a question and its answer.
    """
    text = Text.of(renders.full())
    question, answer = text.span(0), text.span(1)
    if question is None or answer is None or renders.through(1) != renders.prompt(2):
        return False
    opening = text.text[question[1] : answer[0]]
    shared = commonprefix([last.rstrip()[::-1], opening.rstrip()[::-1]])[::-1]
    header = re.search(r"[<\[\n].*", shared, re.DOTALL)  # from the start of a marker or a line
    return header is not None and bool(header[0].strip())


@dataclass(frozen=True)
class TurnEnds:
    """What ends an assistant turn of a template.

    stops           strings that end a turn
    openers         control tokens that open the next turn and end the one before; for templates that print
                    nothing else after a turn (GLM: the model stops by writing the token of the next role)
    always_prompts  the template prints a generation prompt even if it is not asked to
    seen            the probes showed that the template ends turns, so that a model learns to stop
    answered        what ends a turn if a user answers and no stop is printed
    text            what is printed after the last turn, if it is neither a stop nor a control token
    """

    stops: tuple[str, ...]
    openers: tuple[str, ...] = ()
    always_prompts: bool = False
    seen: bool = True
    answered: str = ""
    text: str = ""

    def after(self, text: str, at: int) -> int:
        """Return where a turn ends in a text that ends with it; `at` is one past its last own character.

        It ends after the first stop, or if there is none, after all that the template prints.
        """
        ends = [found + len(stop) for stop in self.stops if (found := text.find(stop, at)) >= 0]
        return min(ends, default=at if self.always_prompts else max(at, len(text.rstrip())))

    def opener_after(self, text: str, at: int, written: int) -> int:
        """Return where the opener of the next turn ends, if the opener is what stops the model; else `at`.

        It is not if a stop is printed after the last own character of the message, which is before `written`.
        """
        if not self.openers or self.begin(text, at, written) < at:
            return at
        blank = after_blanks(text, at)
        return max(
            (blank + len(token) for token in self.openers if text.startswith(token, blank)), default=at
        )

    def begin(self, text: str, end: int, written: int) -> int:
        """Return where the stop that ends at `end` begins; `end` if there is none.

        Text of the message itself, before `written`, does not count.
        """
        stops = (*self.stops, *self.openers)
        starts = [end - len(stop) for stop in stops if text.endswith(stop, 0, end)]
        return min((start for start in starts if start >= written), default=end)
