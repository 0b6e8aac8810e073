"""What decides the mask besides the template and the row: `Rules`, made from the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.recipe import History, OnDropped, OpenReasoning, Train
from .reasoning_marks import ReasoningMarks
from .turn_ends import TurnEnds


@dataclass(frozen=True)
class Rules:
    """What decides the mask besides the template and the row.

    ends             the turn ends of the template
    marks            its marks of reasoning
    history          how turns are trained that the template shows differently as history
    train            what is trained
    leave_out        strings of the template that are not trained
    eos              the string that is appended to a turn without an end
    open_reasoning   what happens to turns without reasoning whose prompt opens a block of reasoning
    on_dropped       what happens to rows with text that is not printed
    """

    ends: TurnEnds
    marks: ReasoningMarks = field(default_factory=ReasoningMarks)
    history: History = History.split
    train: Train = field(default_factory=Train)
    leave_out: tuple[str, ...] = ()
    eos: str = ""
    open_reasoning: OpenReasoning = OpenReasoning.reject
    on_dropped: OnDropped = OnDropped.reject
