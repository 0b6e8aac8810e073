"""The samples of `premask explain` and `premask show` on the terminal: as text, or token by token.

Both commands print a sample in the same way: a line of facts, then its text (`terminal/conversation.py`) or
the table of its tokens (`terminal/tokens.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ...core.records import SIDE_NAMES
from ...core.text import visible
from ...tokens.token_text import TokenTexts, groups_of
from .conversation import Conversations, facts
from .tokens import is_wrapped, say, token_table

if TYPE_CHECKING:  # loaded by the commands that read outputs
    from ...output.read_samples import SampleBatch


class SamplePrinter:
    """Prints samples one after another: as tables of `tokens`, or as text with a legend at the end. `first`
    is whether nothing was printed before."""

    def __init__(self, console: Console, *, tokens: bool, first: bool = True) -> None:
        self._console, self._tokens, self._first = console, tokens, first
        self._texts = Conversations(console)

    def explained(self, explained: Mapping[str, Any], *, source: str) -> None:
        """Print one explained row (`explain.explain_row`), its samples in the order of their turns."""
        name = f"{source} row {explained['row']}" + (f" (id {explained['id']})" if explained["id"] else "")
        if explained["status"] == "rejected":
            self._space()
            say(self._console, f"{name}: rejected, {explained['reason']}: {explained['detail']}", "red")
            return
        samples = sorted(explained["samples"], key=_first_turn)
        for number, sample in enumerate(samples):
            part = f", {sample['side']}" if "side" in sample else _part(number, samples)
            tokens = sample["tokens"]
            groups = groups_of(sample["text"], tokens["start"], tokens["end"])
            note = _seams(sample["seam_tokens"]) + _unclosed(sample)
            self._print(
                f"{name}{part}",
                groups,
                tokens["id"],
                tokens["label"],
                tokens["origin"],
                sample["proof"],
                note,
            )

    def of_pack(self, pack: SampleBatch, i: int, texts: TokenTexts, *, sides: bool = False) -> None:
        """Print sample i of a row of an output. `sides` is whether samples are those of preferences."""
        (origin,) = pack.origin.slice(i, 1).to_pylist()
        name = f"sample {i}, {SIDE_NAMES[origin['sample']]}" if sides else f"sample {i}"
        row = f"{origin['source']} row {origin['row']}" + (f" (id {origin['id']})" if origin["id"] else "")
        ids, labels = (column.tolist() for column in pack.tokens(i))
        self._print(f"{name}: {row}", texts.groups(ids), ids, labels)

    def end(self) -> None:
        """Print the legend, if there was something to be read with it."""
        if self._texts.count:
            self._space()
            self._texts.print_legend()

    def _print(  # noqa: PLR0913  a sample
        self,
        title: str,
        groups: Sequence[tuple[str, int]],
        ids: Sequence[int],
        labels: Sequence[int],
        origins: Sequence[str] | None = None,
        proof: str | None = None,
        note: str = "",
    ) -> None:
        self._space()
        line = Text(visible(f"{title}: {facts(labels, proof)}{note}"), "bold")
        self._console.print(line, soft_wrap=not is_wrapped(self._console))
        if self._tokens:
            self._console.print(token_table(ids, labels, groups, origins))
        else:
            self._texts.print(groups, labels, origins, proof)

    def _space(self) -> None:
        """Print an empty line between what was printed and what follows."""
        if not self._first:
            self._console.print()
        self._first = False


def _first_turn(sample: Mapping[str, Any]) -> int:
    """Return the first message that a sample trains; the sides of a pair train the same."""
    return min((turn["message"] for turn in sample["turns"]), default=0)


def _part(number: int, samples: Sequence[Any]) -> str:
    """Which sample of its row one is, if there are several."""
    return f", sample {number + 1} of {len(samples)}" if len(samples) > 1 else ""


def _seams(count: int) -> str:
    return f", {count} edges of completions inside a token of the whole text" if count else ""


def _unclosed(sample: Mapping[str, Any]) -> str:
    """Whether the sample trains an answer that was cut within its reasoning."""
    return ", a block of reasoning is never closed" if sample.get("unclosed_reasoning") else ""
