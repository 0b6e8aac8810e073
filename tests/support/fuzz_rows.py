"""Fuzz: rows of all kinds through real runs, in files of all formats. `make fuzz ROWS=1000000 LOG=fuzz.jsonl`.

    python tests/support/fuzz_rows.py --rows 100000 [--seed 0] [--jobs 1] [--log FILE] [--failures FOLDER]

The rows are divided into pieces. A piece is a process of its own with one tokenizer, so that memory is
bounded; its seed decides all that it does. Each piece prints one line, and adds one to `--log`: with the same
log, pieces that this code has done before are not done again, so a long fuzz can be stopped and continued.

Each file goes through a run with a random template and random keys. A run may refuse a file as a whole (with
its one line); otherwise every row of it is kept, or in the reject log with its reason. Rows of files that are
refused do not count. Failures are tracebacks, rows that crash, rows that give different results on the fast
and the slow path (some runs verify every row), counts that do not add up, outputs in which `verify` finds
something, processes that die, and runs that take longer than `HANG_S`. The file and recipe of each failure
are kept in `--failures`. The status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2] / "pipeline"))

from commands import ROOT, TOKENIZER
from fuzz_values import Pool, made_rows
from outputs import rows_of
from places import SHARED
from premask.core.errors import PremaskError
from premask.core.recipe import Recipe, Repair
from premask.core.versions import code_hash
from premask.masking.chat_template import built_in_templates
from premask.review.verify import verify
from premask.running.run import run
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from random_chats import MARKERS
from row_files import write_file
from template_corpus import CORPUS, TEMPLATES, TEMPLATES_2026, control_tokens_of

PIECE_ROWS, FILE_ROWS = 20_000, 4000
HANG_S = 3600
"""Seconds that a run of `FILE_ROWS` rows may take: a few on a free machine, many minutes where it is nice to others."""


class FuzzError(AssertionError):
    """What a run must not do: the kind of failure, and what happened."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(kind, what)
        self.kind, self.what = kind, what


# ==== One run ====


class Template(NamedTuple):
    """A chat template: its name in a recipe (None is the tokenizer's own), and strings that matter to it."""

    name: str | None
    tokens: tuple[str, ...]


def templates_of(tokenizer: LoadedTokenizer, *, corpus: bool) -> list[list[Template]]:
    """Groups of templates, each as likely as another: the tokenizer's own, those of the package, the corpus."""
    own = tokenizer.special[:40]
    groups = [[Template(None, own)], [Template(name, own) for name in built_in_templates()]]
    if corpus and CORPUS:
        groups.append([Template(str(_path_of(file)), control_tokens_of(file)) for file in CORPUS])
    return groups if tokenizer.chat_template else groups[1:]


def _path_of(file: str) -> Path:
    own = file.removeprefix("2026/")
    return (TEMPLATES if own == file else TEMPLATES_2026) / own


def keys_of(dice: random.Random) -> dict[str, Any]:
    """Recipe keys: most of them as by default, some otherwise."""

    def some(share: float, **choices: list[Any]) -> dict[str, Any]:
        return {key: dice.choice(values) for key, values in choices.items() if dice.random() < share}

    train = some(
        0.15,
        roles=[["assistant", "tool"], ["user", "assistant"]], turns=["last"], reasoning=[False], text=[False],
        tool_calls=[False], end_of_turn=[False], empty_reasoning=[False],
    )  # fmt: skip
    return {
        "max_length": dice.choice([64, 1024, 4096]),
        "too_long": dice.choice(["reject", "truncate", "split"]),
        "verify": dice.choice([0.05] * 5 + [1.0]),
        "repair": [each.value for each in Repair if dice.random() < 0.15],
        "train": train if dice.random() < 0.5 else {},
        **some(0.4, paths=["all"], loss_weights=[True, "per_sample"], on_dropped=["count"]),
        **some(0.3, open_reasoning=["compose", "as-rendered"], layout=[["packed", "unpacked"], ["unpacked"]]),
        **some(0.2, history=["last", "as-rendered"], duplicates=["drop"], seam=["template"], shuffle=[True]),
        **some(0.2, control_tokens=["reject", "parse"], splits=[{"test": 0.1}], pad_rows=["to_length"]),
        **some(
            0.1, append_eos=[True], engine=["tokenizers", "gigatoken"], extra_columns=[["assistant_masks"]]
        ),
        **some(0.1, pack_window=[5000], unit_rows=[300], split_by=["id", "conversation"]),
        **some(0.03, template_kwargs=[{"enable_thinking": False}, {"enable_thinking": "auto"}]),
        **some(0.03, mask=["generation-tags"], leave_out=[["Hello"]]),
    }


def one_run(recipe: Recipe, *, check: bool, full: bool) -> Counter[str]:
    """Run a recipe with one source; what became of its rows. Raises `FuzzError`, and whatever a run raises that
    is no error of a user; `check` has the output verified, `full` every row of it."""
    source, out = recipe.sources[0].path, Path(recipe.output)
    try:
        manifest = run(recipe, workers=1, attempts=1).manifest
    except PremaskError as error:
        _expect("message", bool(str(error)) and "\n" not in str(error), repr(str(error)))
        return Counter({"files refused": 1, f"refused: {_kind_of(error)}": 1})
    counts, lines = manifest["counts"], rows_of(out, "rejects")
    expected = sum(1 for _ in read_slice(whole(inspect_source(source))))
    rejected, kept = counts["rejected_by_reason"], {line["row"] for line in rows_of(out, "lineage")}
    lost = counts["rows"] - counts["kept"] - counts["rejected"] - counts["dropped"]
    logged = {line["row"] for line in lines}
    _expect("imbalance", counts["rows"] == expected, f"{counts['rows']} rows of {expected}")
    _expect("imbalance", lost == 0, f"{lost} rows are neither kept nor rejected nor dropped")
    _expect("imbalance", counts["rejected"] + counts["dropped"] == len(logged) == len(lines), "reject log")
    _expect("imbalance", counts["rejected"] == sum(rejected.values()), "reasons")
    _expect("imbalance", counts["kept"] == len(kept), f"lineage of {len(kept)} rows of {counts['kept']}")
    reason = manifest["engine"]["reason"]
    _expect("difference", "two different results" not in reason, reason)
    if "crashed" in rejected:
        raise FuzzError(
            "crash", "; ".join(line["detail"] for line in lines if line["reason"] == "crashed")[:2000]
        )
    if check:
        report = verify(str(out), full=full)
        _expect("verify", report.ok, str(report.findings)[:2000])
    found = Counter(
        {
            "files": 1,
            "rows": counts["rows"],
            "kept": counts["kept"],
            "rejected": counts["rejected"],
            "dropped as duplicates": counts["dropped"],
        }
    )
    found.update({"rows verified": manifest["engine"]["rows_verified"], "outputs verified": int(check)})
    found.update({f"rejected: {reason}": n for reason, n in rejected.items()})
    found.update({f"repaired: {name}": n for name, n in counts.get("repaired_by_policy", {}).items()})
    return found


def _kind_of(error: PremaskError) -> str:
    """The words of an error without what differs from file to file."""
    return re.sub(r"\S*[/'\"<>0-9]\S*", "..", str(error))[:70]


def _expect(kind: str, true: bool, what: str) -> None:  # noqa: FBT001  what a test expects
    if not true:
        raise FuzzError(kind, what)


# ==== A piece ====


def fuzz(count: int, *, seed_: int, size: int = FILE_ROWS, tokenizer: str = TOKENIZER,
         failures: Path | None = None) -> Counter[str]:  # fmt: skip
    """Run `count` rows in files of `size` with one tokenizer; what became of them. Failures are raised, or
    counted and kept in `failures`."""
    dice, totals = random.Random(seed_), Counter[str]()  # noqa: S311  no secret
    groups, made = templates_of(load_tokenizer(tokenizer), corpus=True), made_rows(min(count, 500), seed_)
    with tempfile.TemporaryDirectory(prefix="premask-fuzz-") as folder:
        number = 0
        while totals["rows"] < count:
            number += 1
            name, tokens = dice.choice(dice.choice(groups))
            if number % 4 == 1:
                pool = Pool(dice, [*tokens, *MARKERS], made)
            path = write_file(Path(folder) / f"rows-{number}", pool.rows(size), dice)
            keys = {"sources": [str(path)], "tokenizer": tokenizer, "chat_template": name, **keys_of(dice)}
            out = Path(folder) / f"out-{number}"
            check, full = dice.random() < 0.2, dice.random() < 0.1
            found = _kept_failure(path, {**keys, "output": str(out)}, failures, check=check, full=full)
            totals.update(found, **({} if found["rows"] else {"rows of refused files": size}))
            path.unlink()
            shutil.rmtree(out, ignore_errors=True)
    return totals


def _kept_failure(
    path: Path, keys: dict[str, Any], failures: Path | None, *, check: bool, full: bool
) -> Counter[str]:
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        return one_run(Recipe.model_validate(keys), check=check, full=full)
    except Exception as error:
        if failures is None:
            raise
        kind = error.kind if isinstance(error, FuzzError) else "traceback"
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=failures))
        shutil.copy(path, folder)
        (folder / "recipe.json").write_text(json.dumps(keys, indent=1))
        (folder / "error.txt").write_text(traceback.format_exc())
        return Counter({f"FAILED: {kind}": 1})
    finally:
        faulthandler.cancel_dump_traceback_later()


def piece(seed_: int, rows: int, failures: Path) -> dict[str, Any]:
    """Run one piece in this process; what the log says of it."""
    begin, loaded = time.monotonic(), cache(load_tokenizer)
    tokenizer = tokenizers()[seed_ % len(tokenizers())]
    warnings.simplefilter("error")
    with mock.patch("premask.running.run.load_tokenizer", loaded):
        totals = fuzz(rows, seed_=seed_, tokenizer=tokenizer, failures=failures)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"seed": seed_, "tokenizer": Path(tokenizer).name, "seconds": round(time.monotonic() - begin),
            "peak_mb": peak, "totals": dict(sorted(totals.items()))}  # fmt: skip


def tokenizers() -> list[str]:
    """The tokenizers that pieces take in turn: the sample's every second time."""
    shared = sorted(str(path) for path in (SHARED / "tokenizers").glob("*")) if SHARED.is_dir() else []
    return [name for each in shared for name in (TOKENIZER, each)] or [TOKENIZER]


# ==== All pieces ====


def pieces(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run the pieces that are not in the log, each in a process; yield what the log says of each."""
    known = _logged(options.log)
    seeds = [options.seed * 100_000 + i for i in range(-(-options.rows // options.piece_rows))]
    yield from (known[each] for each in seeds if each in known)
    with (
        tempfile.TemporaryDirectory(prefix="premask-fuzz-cache-") as cached,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        for found in pool.map(
            lambda each: _in_a_process(each, options, cached), [s for s in seeds if s not in known]
        ):
            if options.log:
                with options.log.open("a") as log:
                    log.write(json.dumps(found) + "\n")
            yield found


def _logged(log: Path | None) -> dict[int, dict[str, Any]]:
    lines = log.read_text().splitlines() if log and log.is_file() else []
    found = [json.loads(line) for line in lines]
    return {each["seed"]: each for each in found if each["code"] == code_hash()}


def _in_a_process(seed_: int, options: argparse.Namespace, cached: str) -> dict[str, Any]:
    words = [
        sys.executable,
        __file__,
        "--piece",
        seed_,
        "--rows",
        options.piece_rows,
        "--failures",
        options.failures,
    ]
    environ = {
        **os.environ,
        "PREMASK_CACHE": cached,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT / "pipeline"),
    }
    done = subprocess.run([*map(str, words)], env=environ, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        kind = "hang" if "Timeout" in done.stderr else f"process died with {done.returncode}"
        (options.failures / f"piece-{seed_}.txt").write_text(done.stdout + done.stderr)
        found = {"seed": seed_, "tokenizer": "", "seconds": 0, "peak_mb": 0, "totals": {f"FAILED: {kind}": 1}}
    return {**found, "code": code_hash()}


def line_of(found: dict[str, Any]) -> str:
    """What is printed of a piece."""
    totals = Counter(found["totals"])
    failed = {name: n for name, n in totals.items() if name.startswith("FAILED")}
    return (
        f"piece {found['seed']}: {totals['rows']:,} rows, {totals['kept']:,} kept, {totals['rejected']:,} rejected, "
        f"{totals['files']} files, {totals['files refused']} refused, {found['tokenizer']}, {found['seconds']} s, "
        f"{found['peak_mb']:,} MB{f', {failed}' if failed else ''}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the reading of rows.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--piece-rows", type=int, default=PIECE_ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, help="what was done; pieces in it are not done again")
    parser.add_argument("--failures", type=Path, default=ROOT / "out" / "fuzz-failures")
    parser.add_argument("--piece", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.failures.mkdir(parents=True, exist_ok=True)
    if options.piece is not None:
        sys.stdout.write(json.dumps(piece(options.piece, options.rows, options.failures)) + "\n")
        return
    totals, peak = Counter[str](), 0
    for found in pieces(options):
        totals.update(found["totals"])
        peak = max(peak, found["peak_mb"])
        sys.stdout.write(line_of(found))
        sys.stdout.flush()
    for name, n in sorted(totals.items()):
        sys.stdout.write(f"{n:>9,} {name}\n")
    sys.stdout.write(f"{peak:>9,} MB of memory at most\n")
    sys.exit(any(name.startswith("FAILED") for name in totals))


if __name__ == "__main__":
    main()
