"""The masks of TRL and of axolotl beside those of premask, on the same rows, judged by the definition.

    python benchmarks/masks_against_peers.py --trl-python VENV/bin/python --axolotl-python VENV/bin/python

Rows are conversations of tests/support/conversation_kinds.py, each with every chat template:

    TRL's templates   the unmodified templates for which TRL has a training template. TRL trains with the
                      latter. It is judged by the prompts of the unmodified one, which servers have, and
                      again by those of the training template, for those who serve that.
    the corpus        the unmodified templates of the shared folder. TRL has no answer for most of them.

Each peer runs by its own code in its own interpreter (`contender_masks.py`). `mask_faults.py` is the judge.
Rows that the template itself rejects are left out. One tokenizer encodes for all; it has the control tokens
of all templates.

axolotl needs Python 3.12, but its strategy runs with 3.11 as well:

    python -m venv VENV
    VENV/bin/pip install --no-deps --ignore-requires-python axolotl==0.21.0
    VENV/bin/pip install transformers==5.20.1 datasets==5.0.1 pydantic==2.13.5 addict colorama torch
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from common import WORK, table
from inference import frozen_date
from mask_faults import FAULTS, count
from mask_tools import (
    ROWS,
    Answers,
    Bench,
    Found,
    Template,
    is_unmodified,
    make_tokenizer,
    name_of,
    templates,
    trl_originals,
)
from template_corpus import CORPUS


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in ROWS if not options.kind or kind in options.kind]
    with frozen_date():
        own = templates([file for file in trl_originals(options.trl_python) if options.fits(file)], kinds)
        corpus = templates([file for file in CORPUS if options.fits(file) and is_unmodified(file)], kinds)
        folder = options.work / "mask-tokenizer"
        make_tokenizer([each.file for each in (*own, *corpus)], folder)
        bench = Bench(folder, options.work)
        print(against_trl(bench, own, options))
        print(against_axolotl(bench, corpus, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has trl")
    parser.add_argument("--axolotl-python", type=Path, required=True, help="interpreter that has axolotl")
    parser.add_argument("--templates", default="*", metavar="GLOB", help="templates by file name")
    parser.add_argument("--kind", action="append", default=[], metavar="NAME", help="a kind; may be repeated")
    parser.add_argument("--work", type=Path, default=WORK, help="where tasks and results are written")
    parser.add_argument(
        "--cases", type=Path, metavar="FILE", help="write every row and what is wrong with it"
    )
    options = parser.parse_args()
    options.fits = lambda file: fnmatch(file, options.templates)
    return options


# ==== Tables ====


def against_trl(bench: Bench, chosen: Sequence[Template], options: argparse.Namespace) -> str:
    """The table of the templates for which TRL has a training template."""
    ours = bench.premask(chosen)
    trl, sources = bench.peer("trl", options.trl_python, chosen)
    axolotl, _ = bench.peer("axolotl", options.axolotl_python, chosen)
    lines = {
        "premask": (ours, bench.judged(ours, chosen)),
        "TRL": (trl, bench.judged(trl, chosen)),
        "TRL, its own template served": (trl, bench.judged(trl, chosen, sources)),
        "axolotl": (axolotl, bench.judged(axolotl, chosen)),
    }
    _write_cases(options.cases, lines)
    return _shown(f"TRL's {len(chosen)} templates", lines)


def against_axolotl(bench: Bench, chosen: Sequence[Template], options: argparse.Namespace) -> str:
    """The table of the whole corpus."""
    ours = bench.premask(chosen)
    axolotl, _ = bench.peer("axolotl", options.axolotl_python, chosen)
    lines = {
        "premask": (ours, bench.judged(ours, chosen)),
        "axolotl": (axolotl, bench.judged(axolotl, chosen)),
    }
    _write_cases(options.cases, lines)
    return _shown(f"The corpus, {len(chosen)} templates", lines)


def _shown(title: str, lines: Mapping[str, tuple[Answers, Found]]) -> str:
    rows = []
    for name, (answers, found) in lines.items():
        counts = count(list(found.values()))
        refused = sum(bool(answer.refusal) for answer in answers.values())
        cells = [counts[column] for column in ("right", *FAULTS)]
        rows.append([name, len(answers), refused, *cells])
    shown = table(["tool", "rows", "refused", "right", *FAULTS], rows)
    return f"**{title}**\n\n{shown}\n\n{_refusals(lines)}\n"


def _refusals(lines: Mapping[str, tuple[Answers, Found]]) -> str:
    """Why premask refused rows, and what the peers made of the same rows."""
    ours, _ = lines["premask"]
    reasons = Counter(answer.refusal for answer in ours.values() if answer.refusal)
    peers = [name for name in lines if name != "premask"]
    rows = []
    for reason, number in reasons.most_common():
        keys = [key for key, answer in ours.items() if answer.refusal == reason]
        right = [sum(lines[peer][1].get(key) == frozenset() for key in keys) for peer in peers]
        rows.append([reason, number, *right])
    return table(["refused by premask", "rows", *(f"of these right: {peer}" for peer in peers)], rows)


def _write_cases(path: Path | None, lines: Mapping[str, tuple[Answers, Found]]) -> None:
    if path is None:
        return
    with path.open("a", encoding="utf-8") as out:
        for line in _cases(lines):
            out.write(line + "\n")


def _cases(lines: Mapping[str, tuple[Answers, Found]]) -> Iterator[str]:
    for name, (answers, found) in lines.items():
        for (file, kind), answer in answers.items():
            wrong = answer.refusal or ", ".join(sorted(found[file, kind])) or "right"
            yield "\t".join([name, name_of(file), kind, "refused" if answer.refusal else "", wrong])


if __name__ == "__main__":
    main()
