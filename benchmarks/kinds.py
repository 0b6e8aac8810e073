"""The kinds of rows that are measured: how many, in which file, how long a pack is, and with which template.

Templates are those that TRL ships, in pairs: the model's own and the same with tags around what is trained
(`NAME_training.jinja`), which for some rows renders otherwise (Qwen3's own drops the reasoning of earlier
turns). They are read from the shared corpus, or from what `against_trl.py` copied out of TRL.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from common import SHARED, WORK

TEMPLATES = (WORK / "templates", SHARED / "corpus" / "templates" / "trl")
"""Where templates lie; the first that has one counts."""


@dataclass(frozen=True)
class Kind:
    """How rows of a kind are measured."""

    rows: int
    max_length: int
    """Tokens of a pack. No row of an agent is cut, nor any with tools or reasoning; long rows of chat are."""
    format: str = "parquet"
    """What all contenders read. Objects of any shape (tools, arguments) stand in JSONL."""
    family: str = "qwen3"
    tagged: bool = True
    """Whether premask, too, reads TRL's template with tags; otherwise the model's own, which then renders
    the same."""

    def template(self, *, tagged: bool | None = None) -> str:
        """The file of the template, or a built-in one where there is none here."""
        wanted = self.tagged if tagged is None else tagged
        return template(f"{self.family}{'_training' if wanted else ''}", "chatml")


KINDS = {
    "chat": Kind(20_000, 8192),
    "short": Kind(41_807, 2048),
    "reasoning": Kind(14_000, 8192, tagged=False),
    "tools": Kind(9_000, 8192, "jsonl"),
    "agents20": Kind(400, 32_768, "jsonl", "qwen2_5"),
    "agents100": Kind(80, 32_768, "jsonl", "qwen2_5"),
    "agents400": Kind(20, 131_072, "jsonl", "qwen2_5"),
    "agents1000": Kind(8, 393_216, "jsonl", "qwen2_5"),
}
PLAIN = "chat,short"
AGAINST = ("chat", "short", "reasoning", "tools", "agents20", "agents100", "agents400")
"""What premask is held against its peers on."""


def add_rows(arguments: argparse.ArgumentParser) -> None:
    """Let the command line say how many rows of each kind there are."""
    arguments.add_argument("--scale", type=float, default=1.0, help="this part of the rows of every kind")
    for name, kind in KINDS.items():
        arguments.add_argument(f"--{name}-rows", type=int, help=f"default: {kind.rows}")


def rows_of(name: str, options: argparse.Namespace) -> int:
    """Return how many rows of a kind the command line asks for."""
    given: int | None = getattr(options, f"{name}_rows")
    return given or max(2, round(KINDS[name].rows * options.scale))


def wanted(names: str) -> list[str]:
    """Return the kinds in a list with commas; a ValueError names those that are none."""
    listed = names.split(",")
    if unknown := [name for name in listed if name not in KINDS]:
        raise ValueError(f"{unknown} are no kinds of rows; known are {', '.join(KINDS)}")
    return listed


def template(name: str, otherwise: str) -> str:
    """Return the file of a template that TRL ships; where it is not here, something else."""
    files = [folder / f"{name}.jinja" for folder in TEMPLATES]
    return next((str(file) for file in files if file.is_file()), otherwise)


def copy_of(name: str, folder: Path = TEMPLATES[0]) -> Path:
    """Return where a template copied out of TRL lies."""
    return folder / f"{name}.jinja"
