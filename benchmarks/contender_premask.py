"""One run of premask inside a process that is warm: what it takes without start-up, as a line of JSON.

    python benchmarks/contender_premask.py '{"sources": [...], "tokenizer": ..., "output": ...}' --workers 1

Start-up is imports, tokenizer and template, and runs of three rows. `run` is the whole call of `run`; it
loads and proves tokenizer and template once more before it starts on the rows, which is `load`. `work` is
the rest: looking at the input, and all from the start on the rows to the output in place. With several
workers their own start is part of the work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from common import fresh, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="keys of the recipe, as JSON; one source, Parquet or JSONL")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    values = json.loads(options.recipe)

    begin = spent()
    from premask.core.recipe_file import make_recipe  # noqa: PLC0415  what is imported is what is timed
    from premask.running.run import run  # noqa: PLC0415
    from premask.running.runners.process import prepare_process  # noqa: PLC0415
    from premask.running.tasks import Progress  # noqa: PLC0415
    from premask.sources.inspection import inspect_source  # noqa: PLC0415
    from premask.sources.listing import find_sources  # noqa: PLC0415

    prepare_process()  # as the command does

    class Start(Progress):
        """Remembers when work on the rows begins: once everything is loaded."""

        def start(self, rows: int | None) -> None:  # noqa: ARG002
            self.at = spent()

    recipe = make_recipe(values)
    warm_up(values)
    startup = spent() - begin

    begin = spent()
    for source in find_sources([each.path for each in recipe.sources]):
        inspect_source(source)
    look = spent() - begin

    fresh(Path(recipe.output))
    start = Start()
    begin = spent()
    result = run(recipe, workers=options.workers, progress=start)
    end = spent()
    load = start.at - begin - look
    counts = result.manifest["counts"]
    print(json.dumps({
        "startup": startup, "load": load, "work": end - begin - load, "run": end - begin,
        "tokens": counts["tokens"], "samples": counts["samples"], "packs": counts["packs"],
        "rejected": counts["rejected"], "fill": counts["fill"],
    }))  # fmt: skip


def warm_up(values: dict[str, Any]) -> None:
    """Run a recipe on its first two rows, and on a long row that says one word again and again.

    A process loads the fast engine once it has encoded some hundred thousand characters.
    """
    from premask.core.recipe_file import make_recipe  # noqa: PLC0415
    from premask.running.run import run  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        few, long = first_rows(Path(values["sources"][0]), Path(scratch)), Path(scratch) / "long.jsonl"
        messages = [{"role": "user", "content": "word"}, {"role": "assistant", "content": "word " * 200_000}]
        long.write_text(json.dumps({"messages": messages}), encoding="utf-8")
        for number, path in enumerate((few, long)):
            output = str(Path(scratch) / f"out-{number}")
            run(make_recipe({**values, "sources": [str(path)], "output": output}))


def first_rows(path: Path, folder: Path) -> Path:
    """Write the first two rows to a file of their own."""
    few = folder / f"few{path.suffix}"
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            few.write_bytes(b"".join(islice(file, 2)))
        return few
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(pq.ParquetFile(path).read_row_group(0).slice(0, 2), few)
    return few


if __name__ == "__main__":
    main()
