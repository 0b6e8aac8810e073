"""Where the time of a run goes: CPU time of each part of it, without the parts it calls.

    python benchmarks/stages.py [--kinds chat,tools] [--scale 0.5] [--chat-template FILE_OR_NAME]

Runs premask in this process with clocks around its parts, once for each kind of rows, and prints nanoseconds
a token and the share of the whole. The clocks cost some per cent themselves. Beside them stands what the
engine alone takes for the same text, rendered before: less is not possible with it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from against_bare import ENGINES, run_bare, write_texts
from common import fresh, note, parser, table
from contender_premask import warm_up
from data import ensure
from kinds import AGAINST, KINDS, add_rows, rows_of, wanted
from premask import labeller
from premask.core.recipe_file import make_recipe
from premask.output import shards
from premask.running import run, units
from premask.running.runners.process import prepare_process
from premask_runs import recipe

PARTS = [
    ("running.inputs", "inspect_sources", "inspect and hash the input"),
    ("running.inputs", "find_dialect", "find the dialect"),
    ("fast.fill", "Filler.fill", "fill plans"),
    ("fast.paths", "Paths.fill", "fill paths"),
    ("fast.render_plans", "Plans._new", "make plans"),
    ("fast.fill", "_byte_sizes", "sizes of texts"),
    ("fast.fill", "_masked", "segments"),
    ("running.batches", "BatchLabeller._decide", "rows one by one"),
    ("running.batches", "_joined", "put in order"),
    ("tokens.encode", "Encoder.encode", "byte edges of tokens"),
    ("tokens.engines", "TwoEngines.encode", "choose the engine"),
    ("tokens.engines", "GigatokenEngine.encode", "encode: gigatoken"),
    ("tokens.engines", "TokenizersEngine.encode", "encode: tokenizers"),
    ("tokens.encode", "Encoder._holds_control", "control tokens in content"),
    ("labeller", "label_tokens", "labels"),
    ("running.parts", "fit", "cut to length"),
    ("running.verifying", "Verifying.verify", "verify"),
    ("running.parts", "samples_of", "samples and lineage"),
    ("running.parts", "count", "counts by role"),
    ("output.windows", "Window._hold", "gather a window"),
    ("output.shards", "plan_packs", "plan packs"),
    ("output.shards", "lineage_table", "lineage"),
    ("output.shards", "UnitWriter._write", "write Parquet"),
    ("output.shards", "UnitWriter.commit", "close, hash and sync a unit"),
    ("output.directory", "Output.finish", "tokenizer, manifest, card, sync"),
]
"""Functions that are timed: module of premask, name in it, and what to call them."""


class Clocks:
    """CPU seconds of each part, without those of the parts within it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner: list[float] = []

    def put_around(self, module: str, path: str, label: str) -> None:
        """Put a clock around a function of premask; one that is no longer there is told."""
        try:
            *owners, name = path.split(".")
            owner = reduce(getattr, owners, import_module(f"premask.{module}"))
            setattr(owner, name, self.around(getattr(owner, name), label))
        except (ImportError, AttributeError):
            note(f"premask.{module} has no {path}: '{label}' is not measured")

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function with a clock around it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                self._stop(name, time.process_time() - begin - self._inner.pop(), begin)

        return timed

    def each(self, function: Callable[..., Iterator[Any]], name: str) -> Callable[..., Iterator[Any]]:
        """The same for a generator: what its next item takes."""

        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = function(*args, **kwargs)
            while True:
                begin = time.process_time()
                item = next(items, None)
                self._stop(name, time.process_time() - begin, begin)
                if item is None:
                    return
                yield item

        return timed

    def _stop(self, name: str, own: float, begin: float) -> None:
        self.seconds[name] += own
        if self._inner:
            self._inner[-1] += time.process_time() - begin


def main() -> None:
    options = arguments()
    prepare_process()
    clocks = Clocks()
    for module, path, label in PARTS:
        clocks.put_around(module, path, label)
    units.read_batches = clocks.each(units.read_batches, "read")
    shards.pack_tables = clocks.each(shards.pack_tables, "fill packs")
    for kind in wanted(options.kinds):
        rows = rows_of(kind, options)
        data = ensure(kind, rows, suffix=KINDS[kind].format, folder=options.work / "data")
        values = recipe(kind, data, fresh(options.work / f"stages-{kind}"), options)
        loaded = labeller.Labeller(make_recipe(values))
        run.Labeller = lambda *_, ready=loaded, **__: ready  # type: ignore[assignment,misc]
        run.load_tokenizer = lambda _, ready=loaded.tokenizer: ready  # type: ignore[misc]
        warm_up(values)  # what is loaded late is loaded before the clocks run
        clocks.seconds.clear()
        begin = time.process_time()
        tokens = run.run(make_recipe(values), workers=1).manifest["counts"]["tokens"]
        whole = time.process_time() - begin
        clocks.seconds["all else"] = whole - clocks.seconds.total()
        lines = [
            [name, 1e9 * seconds / tokens, f"{seconds / whole:.1%}"]
            for name, seconds in clocks.seconds.most_common()
        ]
        print(f"\n**{kind} rows**: {rows:,} rows, {tokens:,} tokens, {whole:.2f} CPU-s without loading\n")
        texts = write_texts(
            data, Path(values["output"]) / "tokenizer", options.work / f"stages-{kind}.parquet"
        )
        alone = run_bare(ENGINES[-1], texts, options).report
        bare = 1e9 * alone["work"][1] / alone["tokens"]
        lines += [
            ["whole", 1e9 * whole / tokens, "100 %"],
            [f"{ENGINES[-1]} alone", bare, f"{bare * tokens / whole / 1e9:.1%}"],
        ]
        print(table(["part", "ns a token", "share"], lines))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    made = parser(__doc__)
    made.add_argument("--kinds", default=",".join(AGAINST))
    add_rows(made)
    return made.parse_args()


if __name__ == "__main__":
    main()
