"""Where the time of a run goes: CPU seconds of each stage, on the bundled sample repeated.

    python benchmarks/stages.py [--rows 3000] [--tokenizer DIR] [--chat-template FILE_OR_NAME]

Prints milliseconds of CPU a row and thousand tokens a CPU-second, medians of five alternating runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

from common import SAMPLE, cpu_of, table

from pipeline.contracts import Conversation
from pipeline.dialects import normalize
from pipeline.explain import rows_of
from pipeline.labels import decide
from pipeline.packing import pack_table, plan_packs
from pipeline.recipe import make_recipe
from pipeline.render import Renders
from pipeline.stages import LabelledRow, Stages, gather

RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--tokenizer", default=str(SAMPLE / "tokenizer"))
    parser.add_argument("--chat-template", default=None)
    options = parser.parse_args()
    data = str(SAMPLE / "conversations.jsonl")
    recipe = make_recipe(
        {
            "sources": [data],
            "tokenizer": options.tokenizer,
            "chat_template": options.chat_template,
            "output": "-",
        }
    )
    stages = Stages(recipe)

    def renders(conversation: Conversation) -> Renders:
        return Renders(conversation, stages.template)

    rows = list(islice(cycle(row for _, row in rows_of(recipe)), options.rows))
    results = stages.label(rows, "sharegpt")
    good = [result.row for result in results if isinstance(result, LabelledRow)]
    conversations = [normalize(row.value, "sharegpt") for row in good]
    outcome = stages.run(rows, "sharegpt")
    samples = gather(outcome.pieces)
    lengths = samples.offsets[1:] - samples.offsets[:-1]
    work: dict[str, Callable[[], Any]] = {
        "normalize": lambda: [normalize(row.value, "sharegpt") for row in good],
        "one plain render": lambda: [renders(each).through(len(each.messages) - 1) for each in conversations],
        "render and decide": lambda: [decide(renders(each), stages.ends) for each in conversations],
        "all stages": lambda: stages.run(rows, "sharegpt"),
        "pack": lambda: pack_table(samples, plan_packs(lengths, recipe.max_length)),
    }
    times = cpu_of(work, RUNS)
    print(f"{len(rows)} rows, {len(samples.ids)} tokens\n")
    lines = [
        [name, 1000 * each / len(rows), round(len(samples.ids) / each / 1000)] for name, each in times.items()
    ]
    print(table(["stage", "CPU ms a row", "k tokens / CPU-s"], lines))


if __name__ == "__main__":
    main()
