"""A whole run: look at the input, plan units, have a runner do them, put the output in place.

result = run(recipe, workers=2)
result.manifest["counts"]["kept"]
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import make_card
from .dialects import recognize_file
from .entries import inspect_sources
from .errors import RunError, VerifyError
from .identity import identify
from .inspection import SourceInfo
from .output import Output, open_output, update_card
from .plan import plan_units, whole
from .progress import Progress
from .recipe import Dialect, Duplicates, Recipe
from .report.pictures import card_pictures
from .runners.local import LocalRunner
from .shards import UnitRecord
from .sources import peek
from .stages import Loaded, Stages
from .tasks import bucket_tasks, count_duplicates, drop_duplicates, make_tasks
from .tokenizer import load_tokenizer
from .units import Account, accounts_of


@dataclass(frozen=True)
class RunResult:
    """What a run gave: the manifest of its output; `fresh` is False if it was there already."""

    manifest: dict[str, Any]
    output: Path
    seconds: float
    fresh: bool
    warnings: tuple[str, ...] = ()


def run(
    recipe: Recipe,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Do a recipe, in `workers` processes, this one included. Raises a `PremaskError` of the matching kind if
    anything but a row is wrong."""
    begin, progress = time.monotonic(), progress or Progress()
    out = Path(recipe.output)
    infos = inspect_sources(recipe.sources, seed=recipe.seed)
    dialects = {info.source: find_dialect(info, recipe) for info in infos}
    units = plan_units(infos, unit_rows=recipe.unit_rows)
    with LocalRunner(min(workers, len(units))) as runner:
        tokenizer = load_tokenizer(recipe.tokenizer)
        runner.load_ahead(recipe, tokenizer)
        stages = Stages(recipe, Loaded(tokenizer))
        identity = identify(
            recipe,
            inputs=[info.about() for info in infos],
            tokenizer=_about_tokenizer(stages),
            template=_about_template(stages),
        )
        output = open_output(out, identity, overwrite=overwrite)
        if output is None:
            manifest = update_card(out, recipe.card.shown(), make_card)
        else:
            with output:
                progress.start(_rows(infos))
                tasks = make_tasks(recipe, identity, output, units, dialects)
                duplicates = Counter[str]()
                if recipe.duplicates is Duplicates.drop:
                    runner.scan(tasks, stages)
                    duplicates = drop_duplicates(tasks)
                try:
                    records = runner.run(tasks, stages, progress)
                except VerifyError as error:
                    output.forget_units()
                    distrust = f"{error} came out in two ways; all was done again the slow way"
                    stages = Stages(recipe, stages.loaded(), distrust=distrust)
                    records = runner.run(tasks, stages, progress)
                if recipe.shuffle:
                    records += runner.pack(bucket_tasks(tasks, output), stages, progress)
                if recipe.duplicates is Duplicates.keep:
                    duplicates = count_duplicates(tasks)
                manifest = _finish(output, records, infos, stages, duplicates)
    warnings = (*stages.warnings(), *_empty_splits(manifest))
    return RunResult(manifest, out, time.monotonic() - begin, fresh=output is not None, warnings=warnings)


def _empty_splits(manifest: Mapping[str, Any]) -> list[str]:
    splits = manifest["counts"]["splits"]
    why = "its share of the rows is small, or too many agree in split_by"
    return [
        f"split {name} has no rows and is not there: {why}"
        for name, each in splits.items()
        if not each["samples"]
    ]


def _rows(infos: Sequence[SourceInfo]) -> int | None:
    """How many rows there are within the limits of the sources, None if not all have been counted."""
    counts = [rows for info in infos if (rows := whole(info).stop_row) is not None]
    return sum(counts) if len(counts) == len(infos) else None


def find_dialect(info: SourceInfo, recipe: Recipe) -> str:
    """The dialect of a file: the recipe's, or what most of its rows look like."""
    if recipe.dialect is not Dialect.auto:
        return str(recipe.dialect.value)
    return recognize_file(peek(info), source=info.source)


def _finish(
    output: Output,
    records: Sequence[UnitRecord],
    infos: Sequence[SourceInfo],
    stages: Stages,
    duplicates: Mapping[str, int],
) -> dict[str, Any]:
    counts, accounts = Counter[str](), {info.source: _behind_limit(info) for info in infos}
    for record in records:
        counts.update(record.extra["counts"])
        for source, account in accounts_of(record).items():
            accounts[source].add(account)
    if not any(account.kept for account in accounts.values()):
        output.discard()
        raise RunError(_nothing_kept(accounts))
    if not any("train" in record.splits for record in records):
        raise RunError(
            f"no row is in train, all are in {', '.join(stages.recipe.splits)}; lower their shares"
        )
    engine = {
        "name": stages.proof.engine,
        "reason": stages.distrust or stages.proof.reason,
        "rows_verified": counts.pop("verified", 0),
        "samples_by_reference": counts.pop("encoded_by_reference", 0),
    }
    return output.finish(
        records,
        counts=_nested(counts),
        inputs={
            source: {**account.as_dict(), "duplicates": duplicates.get(source, 0)}
            for source, account in accounts.items()
        },
        engine=engine,
        card=stages.recipe.card.shown(),
        save_tokenizer=lambda directory: stages.tokenizer.save(directory, stages.template.source),
        make_card=make_card,
        draw=card_pictures,
    )


def _behind_limit(info: SourceInfo) -> Account:
    """The account of the rows that no unit looks at, since the source's limit leaves them out."""
    rows = info.left_out or 0
    return Account(rows, left_out=Counter({"limit": rows} if rows else {}))


def _nothing_kept(accounts: Mapping[str, Account]) -> str:
    total = Account()
    for account in accounts.values():
        total.add(account)
    lost = [(count, reason) for reason, count in total.rejected.most_common()]
    lost += [(count, f"left out by {setting}") for setting, count in total.left_out.most_common()]
    if not total.rows:
        return "the input holds no rows; nothing was written"
    why = ", ".join(f"{count} {what}" for count, what in lost)
    if not total.rejected:
        return f"every row was left out ({why}); nothing was written"
    what = "rejected or left out" if total.left_out else "rejected"
    return f"every row was {what} ({why}); nothing was written; 'premask explain' shows each row's reason"


def _nested(counts: Mapping[str, int]) -> dict[str, Any]:
    """Flat counts as the manifest shows them: `tokens_user` under `tokens_by_role`, and so on."""
    groups = {"tokens_": "tokens_by_role", "trained_": "trained_by_role", "proved_": "samples_by_proof"}
    flat = {"tokens_cut_off"}
    found: dict[str, Any] = {name: {} for name in groups.values()}
    found |= {"straddling_tokens": 0, "control_tokens_in_content": 0}
    for key in sorted(counts):
        prefix = next((prefix for prefix in groups if key.startswith(prefix) and key not in flat), None)
        if prefix is None:
            found[key] = counts[key]
        else:
            found[groups[prefix]][key.removeprefix(prefix)] = counts[key]
    return found


def _about_tokenizer(stages: Stages) -> dict[str, Any]:
    tokenizer = stages.tokenizer
    return {"name": tokenizer.name, "sha256": tokenizer.sha256(), "vocab_size": tokenizer.vocab_size}


def _about_template(stages: Stages) -> dict[str, Any]:
    text = json.dumps(stages.template.sources, sort_keys=True)
    return {
        "name": stages.recipe.chat_template or "tokenizer's own",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "turn_ends": list(stages.ends.stops),
        "turn_openers_end_turns": bool(stages.ends.openers),
    }
