"""Where a completion is in the whole conversation, without regard to inference (`history: as-rendered`).

    shown_turn(whole, own, asked, index=1, ends=ends)       # (1, start, end)

The whole conversation may show a turn differently than inference did. Its completion starts where the whole
conversation stops showing the generation prompt, and ends as the turn ends when it was just written.
"""

from __future__ import annotations

from os.path import commonprefix

from ..core.errors import RowError
from ..core.records import TEMPLATE
from .seams import Asked, whole_marker
from .texts import Text
from .turn_ends import TurnEnds


def shown_turn(whole: Text, own: Text, asked: Asked, index: int, ends: TurnEnds) -> tuple[int, int, int]:
    """Return message, start and end of a completion in `whole`; `own` is the text that ends with the message.

    Raises `RowError` if the whole text does not show the generation prompt or the turn end.
    """
    first, last = whole.span(index) or (0, 0)
    at, _ = whole.content_before(first, but=index)
    following = whole.text[at:]
    same = len(commonprefix([asked.text, following]))
    if same < len(asked.text) and asked.text[same:].strip():
        same = whole_marker(asked.text, same)
    if asked.text.strip() and not asked.text[:same].strip():
        detail = f"the whole text does not show the prompt of message {index}"
        raise RowError("prompt_mismatch", f"{detail}, {asked.text[-60:]!r}, but {following[:60]!r}")
    return index, at + same, _end(whole, own, index, last, ends)


def _end(whole: Text, own: Text, index: int, last: int, ends: TurnEnds) -> int:
    """Return where a turn ends in the whole conversation.

    After the text of the message, the template prints the same as when nothing follows, up to the stop. Only
    after that may it print text of the message again (Gemma 4: the name of the tool beside its result). If it
    prints something else, the turn ends like the turns of the probes when a user answers.
    """
    at = (own.span(index) or (0, len(own)))[1]
    tail = own.text[at : ends.after(own.text, at)]
    shown = [end for _, end, _ in whole.spans(index) if tail and whole.text.startswith(tail, end)]
    if shown:
        return shown[-1] + len(tail)
    if tail[: ends.begin(tail, len(tail), 0)].strip():
        detail = f"the whole text ends message {index} differently than when it was just written"
        raise RowError("boundary_unclear", detail)
    following = next((low for low, _, origin in whole.between(last, len(whole)) if origin != TEMPLATE), None)
    rest = whole.text[last:following]
    if following is None or any(stop in rest for stop in ends.stops):
        return ends.after(whole.text[:following], last)
    shared = commonprefix([rest, own.text[at:]])
    end = last + len(shared[: whole_marker(shared, len(shared))].rstrip())
    return end + len(ends.answered) if whole.text.startswith(ends.answered, end) else end
