"""What the proved render costs: traced render and all proofs against one plain `apply_chat_template`.

    python benchmarks/render.py [--tokenizer DIR] [--chat-template FILE_OR_NAME] [--rows 300]

Prints CPU milliseconds a row and the ratio to the plain render, medians of five alternating runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle, islice
from typing import Any

from common import SAMPLE, cpu_of
from premask.core.errors import RowError
from premask.core.recipe_file import make_recipe
from premask.core.records import Conversation
from premask.labeller import Labeller
from premask.masking.renders import template_message
from premask.review.explain import rows_of

RUNS = 5


def kept(labeller: Labeller) -> list[Conversation]:
    """The conversations of the recipe's rows that can be used."""
    found = []
    for dialect, row in rows_of(labeller.recipe):
        with suppress(RowError):
            conversations, _ = labeller.read(row, dialect)
            for each in conversations:
                labeller(each)
            found += conversations
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--tokenizer", default=str(SAMPLE / "tokenizer"))
    parser.add_argument("--chat-template", default=None)
    options = parser.parse_args()
    values = {"sources": [str(SAMPLE / "conversations.jsonl")], "tokenizer": options.tokenizer, "output": "-"}
    if options.chat_template:
        values["chat_template"] = options.chat_template
    labeller = Labeller(make_recipe(values))
    conversations = list(islice(cycle(kept(labeller)), options.rows))
    messages = [[template_message(each) for each in conversation.messages] for conversation in conversations]
    source = labeller.template.source if options.chat_template else None

    def plain() -> None:
        for each in messages:
            labeller.tokenizer.hf.apply_chat_template(each, tokenize=False, chat_template=source)

    def traced() -> None:
        for each in conversations:
            labeller.renders(each).full()

    def proved() -> None:
        for each in conversations:
            labeller.decide(each)

    work: dict[str, Callable[[], Any]] = {"apply_chat_template": plain, "traced": traced, "proved": proved}
    medians = cpu_of(work, RUNS)
    turns = sum(message["role"] == "assistant" for each in messages for message in each) / len(messages)
    print(f"{len(messages)} rows of {turns:.1f} assistant turns")
    for name, seconds in medians.items():
        ratio = seconds / medians["apply_chat_template"]
        print(f"{name:20} {1000 * seconds / len(messages):8.3f} ms a row  {ratio:5.2f} x")


if __name__ == "__main__":
    main()
