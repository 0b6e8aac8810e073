"""Recipe keys that a function in memory has no use for: each is refused, and none is ignored silently."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..core.errors import RecipeError

WRITES, READS = "premask.run, which writes an output", "premask.run, which reads files"
CHOOSES = "premask.run, which chooses rows and their order"
PACKS = "premask.prepare, which packs"
LAYS_OUT = "premask.mask, which cuts samples and lays them out"
OF_A_RUN = (WRITES, READS, CHOOSES)

_KEYS: Mapping[str, frozenset[str]] = {
    WRITES: frozenset({"output", "layout", "unit_rows", "cache", "card"}),
    READS: frozenset({"sources", "map", "salvage", "max_row_bytes"}),
    CHOOSES: frozenset(
        {
            *("duplicates", "near_duplicates", "decontaminate", "keep", "splits", "split_by", "seed"),
            *("shuffle", "mix_by", "budget", "temperature", "max_repeat"),
        }
    ),
    PACKS: frozenset({"pad_rows", "pad_to_multiple", "pack_window"}),
    LAYS_OUT: frozenset({"too_long", "extra_columns"}),
}
"""What uses keys -> the keys."""


def refuse(keys: Collection[str], uses: Sequence[str], *, where: str) -> None:
    """Raise `RecipeError` for keys that only these `uses` need; `where` is the function that has none.

    >>> refuse({"history", "seed"}, OF_A_RUN, where="premask.mask")
    Traceback (most recent call last):
    premask.core.errors.RecipeError: premask.mask: seed is for premask.run, which chooses rows and their order
    """
    found = {use: sorted(_KEYS[use].intersection(keys)) for use in uses}
    told = [
        f"{', '.join(own)} {'is' if len(own) == 1 else 'are'} for {use}" for use, own in found.items() if own
    ]
    if told:
        raise RecipeError(f"{where}: {'; '.join(told)}")
