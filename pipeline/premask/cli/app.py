"""The command `premask`: parses, calls once, prints.

    premask run data.jsonl --tokenizer Qwen/Qwen3-0.6B --output out
    premask run recipe.yaml
    premask explain data.jsonl --tokenizer Qwen/Qwen3-0.6B --limit 1
    premask verify out
    premask report out --open
    premask push out org/name --private
    premask plan recipe.yaml
    premask run recipe.yaml --rank 0 --world 8; premask finish out
    premask train out --model Qwen/Qwen3-0.6B --output runs/chats

Exit codes: 0 done, 1 a template is refused, something is wrong in an output, two outputs differ or rows were
set aside, 2 something to mend (one line says what), 130 interrupted, 143 told to end (`__main__.py`).
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..core.errors import OutputError, PremaskError, RecipeError
from ..core.recipe import Layout, Recipe
from ..core.recipe_file import load_recipe, make_recipe
from ..core.text import visible
from ..core.urls import is_url
from ..labeller import Stages
from ..output.dataset import open_dataset
from ..output.read_samples import read_row
from ..output.sending import PushResult
from ..publish.export import export as export_output
from ..publish.push_hub import HubTarget, check_access, parse_repo_id, push_to_hub
from ..publish.push_store import push_to_store
from ..review.explain import explain as explain_rows
from ..review.rejects import EXAMPLES, export_rejects, read_ledger
from ..review.stats import measure
from ..review.template_report import diagnose
from ..review.terminal import (
    BarProgress,
    LineProgress,
    PushLines,
    print_diagnosis,
    print_explained,
    print_forecast,
    print_ledger,
    print_push,
    print_report,
    print_slice,
    print_summary,
)
from ..review.terminal_outputs import print_difference, print_pack, print_sample, print_stats
from ..review.verify import verify as verify_output
from ..running.forecast import forecast
from ..running.ranks import WAIT_S, Share, finish_slices, run_slice
from ..running.run import RunResult, local
from ..running.run import run as run_recipe
from ..running.runners.on_ray import RayRunner
from ..running.runners.process import import_transformers, prepare_process
from ..running.tasks import ATTEMPTS
from ..sources.message_trees import make_trees
from ..tokens.token_text import TokenTexts

app = typer.Typer(
    name="premask",
    help="Chat data in, training shards with the loss mask already in them out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Format(str, Enum):
    """How explained rows are printed."""

    table = "table"
    json = "json"


class RunnerName(str, Enum):
    """Who does the units of a run."""

    local = "local"
    ray = "ray"


class ExportFormat(str, Enum):
    """What an output is exported as."""

    arrow = "arrow"
    jsonl = "jsonl"


Inputs = Annotated[list[str], typer.Argument(help="Recipe (.yaml), or data files and glob patterns.")]
Tokenizer = Annotated[str | None, typer.Option(help="Directory or Hub id of the tokenizer.")]
ChatTemplate = Annotated[
    str | None, typer.Option(help="Jinja file or built-in template; default: the tokenizer's.")
]
TemplateKwargs = Annotated[
    str | None, typer.Option(help='Template arguments as JSON: {"enable_thinking": false}.')
]
TrainFlags = Annotated[
    list[str] | None,
    typer.Option("--train", help="What is trained, as key=value (repeatable): reasoning=false, turns=last."),
]
SplitFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--splits", help="A split besides train and its share, as name=share (repeatable): validation=0.02."
    ),
]
CardFields = Annotated[
    list[str] | None,
    typer.Option("--card", help="A field of the dataset card, as key=value (repeatable): license=cc-by-4.0."),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--fields", help="Where rows have what, as key=path (repeatable): user=question, roles.A=user."
    ),
]
Repairs = Annotated[
    str | None, typer.Option("--repair", help="What is mended, with commas: merge_consecutive, ...")
]
Private = Annotated[bool, typer.Option("--private", help="Make the repo a private one, if it is made.")]
WorkFolder = Annotated[
    Path | None,
    typer.Option(
        "--work", metavar="DIR", help="Where an output in a store is worked on; default: the user's cache."
    ),
]
EndOfTurn = Annotated[list[str] | None, typer.Option(help="String that ends an assistant turn (repeatable).")]


def _help(field: str) -> str | None:
    return Recipe.model_fields[field].description


def _key(field: str) -> Any:
    """The option of a recipe key; its help is the key's description."""
    return typer.Option(help=_help(field), show_default=False)


@app.command()
def run(
    inputs: Inputs,
    tokenizer: Tokenizer = None,
    chat_template: ChatTemplate = None,
    template_kwargs: TemplateKwargs = None,
    max_length: Annotated[str | None, _key("max_length")] = None,
    too_long: Annotated[str | None, _key("too_long")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Configs to write: packed, unpacked, or both with a comma.")
    ] = None,
    output: Annotated[str | None, _key("output")] = None,
    dialect: Annotated[str | None, _key("dialect")] = None,
    fields: Fields = None,
    paths: Annotated[str | None, _key("paths")] = None,
    repair: Repairs = None,
    date: Annotated[str | None, _key("date")] = None,
    history: Annotated[str | None, _key("history")] = None,
    mask: Annotated[str | None, _key("mask")] = None,
    train: TrainFlags = None,
    loss_weights: Annotated[bool | None, typer.Option("--loss-weights", help=_help("loss_weights"))] = None,
    append_eos: Annotated[bool | None, typer.Option("--append-eos", help=_help("append_eos"))] = None,
    end_of_turn: EndOfTurn = None,
    control_tokens: Annotated[str | None, _key("control_tokens")] = None,
    duplicates: Annotated[str | None, _key("duplicates")] = None,
    splits: SplitFlags = None,
    split_by: Annotated[str | None, _key("split_by")] = None,
    seed: Annotated[str | None, _key("seed")] = None,
    shuffle: Annotated[bool | None, typer.Option("--shuffle", help=_help("shuffle"))] = None,
    pad_rows: Annotated[str | None, _key("pad_rows")] = None,
    extra_columns: Annotated[
        str | None, typer.Option(help="Masks beside the labels: assistant_masks, completion_mask, or both.")
    ] = None,
    pack_window: Annotated[str | None, _key("pack_window")] = None,
    unit_rows: Annotated[str | None, _key("unit_rows")] = None,
    engine: Annotated[str | None, _key("engine")] = None,
    verify: Annotated[str | None, _key("verify")] = None,
    cache: Annotated[str | None, _key("cache")] = None,
    card: CardFields = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, this one too; 0: one a core.")] = 0,
    runner: Annotated[
        RunnerName, typer.Option(help="local: processes of this machine; ray: tasks of Ray.")
    ] = RunnerName.local,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ray's head; default: RAY_ADDRESS, or a Ray of its own."),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=0, help="Do one slice of the units, counted from 0; then premask finish."),
    ] = None,
    world: Annotated[int | None, typer.Option(min=1, help="How many slices there are.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for other ranks, where duplicates are dropped.")
    ] = WAIT_S,
    attempts: Annotated[
        int, typer.Option(min=1, help="How often a unit may fail until its rows are looked into.")
    ] = ATTEMPTS,
    work: WorkFolder = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output of another recipe.")
    ] = False,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Push the output to this dataset of the Hub.")
    ] = None,
    private: Private = False,
) -> None:
    """Turn chat data into packed, pre-masked Parquet shards."""
    flags = dict(locals())
    for name in _NO_KEYS:
        del flags[name]
    recipe = _recipe(inputs, flags)
    if ray_address is not None and runner is not RunnerName.ray:
        raise RecipeError("--ray-address belongs to --runner ray; give both, or neither")
    share = _share_of(rank, world, wait)
    push_to_hub = _push_target(push_to_hub, recipe, share, private=private)
    prepare_process()
    import_transformers()
    console = Console(stderr=True, highlight=False)
    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        count, make = workers or _cores(), None
        if runner is RunnerName.ray:
            make = partial(_ray_runner, ray_address, workers or None, attempts)
        if share is not None:
            done = run_slice(
                recipe,
                share,
                overwrite=overwrite,
                progress=progress,
                make_runner=make or local(count, attempts),
                work_dir=work,
            )
            print_slice(Console(highlight=False), done)
            return
        result = run_recipe(
            recipe,
            workers=count,
            attempts=attempts,
            overwrite=overwrite,
            progress=progress,
            make_runner=make,
            work_dir=work,
        )
    _print_result(console, result)
    _fail_if_set_aside(result)
    if push_to_hub is not None:
        _print_pushed(_push_hub(Path(result.output), HubTarget(push_to_hub, private=private)))


def _share_of(rank: int | None, world: int | None, wait_s: float) -> Share | None:
    if (rank is None) != (world is None):
        raise RecipeError("--rank and --world belong together; give both, or neither")
    return None if rank is None or world is None else Share(rank, world, wait_s)


def _push_target(target: str | None, recipe: Recipe, share: Share | None, *, private: bool) -> str | None:
    """The repo to push to; what cannot be pushed is said before hours of work."""
    if target is None:
        if private:
            raise RecipeError("--private belongs to --push-to-hub; give both, or neither")
        return None
    if share is not None:
        raise RecipeError("a rank makes no output to push; use 'premask finish', then 'premask push'")
    if is_url(recipe.output):
        raise RecipeError("--push-to-hub pushes from a directory; write the output to one, not to a store")
    repo = parse_repo_id(target)
    check_access()
    return repo


def _fail_if_set_aside(result: RunResult) -> None:
    """Whoever looks at exit codes alone must see that rows are missing; and nothing is pushed."""
    if result.set_aside:
        raise typer.Exit(1)


_NO_KEYS = (
    "inputs", "workers", "runner", "ray_address", "rank", "world", "wait", "attempts", "work", "overwrite",
    "push_to_hub", "private",
)  # fmt: skip
"""Parameters of `run` that are no keys of the recipe."""


def _ray_runner(address: str | None, workers: int | None, attempts: int, units: int) -> RayRunner:
    del units  # Ray has the workers that it has
    return RayRunner(address, workers, attempts)


def _print_result(console: Console, result: RunResult) -> None:
    for warning in result.warnings:
        console.print(f"warning: {visible(warning)}", style="yellow", markup=False)
    print_summary(Console(highlight=False), result)


@app.command()
def finish(
    output: Annotated[
        str, typer.Argument(metavar="OUT_OR_RECIPE", help="Output directory of the ranks, or their recipe.")
    ],
    work: WorkFolder = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output of another recipe.")
    ] = False,
) -> None:
    """Put an output in place whose ranks (run --rank I --world N) are done; names those that are not."""
    recipe = _recipe([output], {}) if output.endswith((".yaml", ".yml")) else None
    import_transformers()
    out = output if recipe is None else recipe.output
    result = finish_slices(out, recipe=recipe, overwrite=overwrite, work_dir=work)
    _print_result(Console(stderr=True, highlight=False), result)
    _fail_if_set_aside(result)


@app.command()
def plan(
    inputs: Inputs,
    tokenizer: Tokenizer = None,
    chat_template: ChatTemplate = None,
    max_length: Annotated[str | None, _key("max_length")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Configs to write: packed, unpacked, or both with a comma.")
    ] = None,
    output: Annotated[str | None, _key("output")] = None,
    unit_rows: Annotated[str | None, _key("unit_rows")] = None,
    format: Annotated[Format, typer.Option(help="table, or json: one object.")] = Format.table,  # noqa: A002
) -> None:
    """Tell what a run will take: units, tokens, disk, time, memory, and what the Hub's limits mean for it."""
    flags = {key: value for key, value in locals().items() if key not in {"inputs", "format"}}
    recipe = _recipe(inputs, flags)
    prepare_process()
    import_transformers()
    found = forecast(recipe, cores=_cores())
    if format is Format.json:
        _print_json(found.as_dict())
    else:
        print_forecast(Console(highlight=False), found)


@app.command()
def explain(
    inputs: Inputs,
    tokenizer: Tokenizer = None,
    chat_template: ChatTemplate = None,
    template_kwargs: TemplateKwargs = None,
    dialect: Annotated[str | None, _key("dialect")] = None,
    fields: Fields = None,
    paths: Annotated[str | None, _key("paths")] = None,
    repair: Repairs = None,
    date: Annotated[str | None, _key("date")] = None,
    history: Annotated[str | None, _key("history")] = None,
    mask: Annotated[str | None, _key("mask")] = None,
    train: TrainFlags = None,
    loss_weights: Annotated[bool | None, typer.Option("--loss-weights", help=_help("loss_weights"))] = None,
    append_eos: Annotated[bool | None, typer.Option("--append-eos", help=_help("append_eos"))] = None,
    end_of_turn: EndOfTurn = None,
    control_tokens: Annotated[str | None, _key("control_tokens")] = None,
    row: Annotated[int | None, typer.Option(min=0, help="Only this row, counted from 0.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many rows; default: 1 as a table, all as JSON.")
    ] = None,
    format: Annotated[Format, typer.Option(help="table, or json: one object a row and line.")] = Format.table,  # noqa: A002
) -> None:
    """Show what is trained in single rows, token by token."""
    flags = dict(locals())
    for name in ("inputs", "row", "limit", "format"):
        del flags[name]
    recipe = _recipe(inputs, {**flags, "output": "-"})
    import_transformers()
    if limit is None and row is None and format is Format.table:
        limit = 1
    console, shown = Console(highlight=False), 0
    for source, explained in explain_rows(recipe, row=row, limit=limit):
        shown += 1
        if format is Format.json:
            _print_json(explained)
        else:
            print_explained(console, explained, source=source)
    if not shown:
        sources = ", ".join(source.path for source in recipe.sources)
        raise RecipeError(
            f"there are no rows in {sources}" if row is None else f"there is no row {row} in {sources}"
        )


@app.command()
def template(
    tokenizer: Annotated[str, typer.Argument(help="Directory or Hub id of the tokenizer.")],
    chat_template: ChatTemplate = None,
    template_kwargs: TemplateKwargs = None,
    date: Annotated[str | None, _key("date")] = None,
    end_of_turn: EndOfTurn = None,
    format: Annotated[Format, typer.Option(help="table, or json.")] = Format.table,  # noqa: A002
) -> None:
    """Tell what a chat template does and whether its mask can be proved; exit code 1 if it is refused."""
    flags = {key: value for key, value in locals().items() if key != "format"}
    import_transformers()
    diagnosis = diagnose(Stages(_recipe(["-"], {**flags, "output": "-"})))
    if format is Format.json:
        _print_json(diagnosis.as_dict())
    else:
        print_diagnosis(Console(highlight=False), diagnosis)
    raise typer.Exit(1 if diagnosis.verdict == "refused" else 0)


@app.command()
def verify(
    output: Annotated[
        str, typer.Argument(metavar="OUT_OR_REPO", help="Output directory, or name on the Hub (org/name).")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Do all rows again whose sources are here, not those of 16 packs.")
    ] = False,
    format: Annotated[Format, typer.Option(help="table, or json: the report as one object.")] = Format.table,  # noqa: A002
) -> None:
    """Check a finished output: files, rows, lineage, counts; exit code 1 if something is wrong."""
    import_transformers()
    report = verify_output(output, revision=revision, full=full)
    if format is Format.json:
        _print_json(report.as_dict())
    else:
        print_report(Console(highlight=False), report)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def export(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="What is written; must not exist.")],
    format: Annotated[  # noqa: A002
        ExportFormat, typer.Option(help="arrow: a folder for load_from_disk; jsonl: a file.")
    ] = ExportFormat.arrow,
    layout: Annotated[Layout | None, typer.Option(help="Default: packed, if it was written.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns with commas, in this order; default: all of the layout.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split to write; default: all (for a file, the only one).")
    ] = None,
) -> None:
    """Write an output in another form: Arrow as datasets saves it to disk, or JSONL."""
    names = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    done = export_output(
        output,
        target,
        form=format.value,
        layout=layout.value if layout else None,
        columns=names,
        split=split,
    )
    text = f"{done.rows:,} rows, {done.tokens:,} tokens ({done.layout}: {', '.join(done.columns)})"
    Console(highlight=False).print(f"{text} in {visible(str(target))}", markup=False, soft_wrap=True)


@app.command()
def report(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory.")],
    to: Annotated[Path | None, typer.Option(help="File that is written; default: OUT/report.html.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write an output as one HTML page to look at: conversations token by token, packs, pictures, rejects."""
    from ..review.report.page import default_path, write_report  # noqa: PLC0415  Jinja and YAML, for this alone

    made = write_report(output, to or default_path(output))
    console = Console(highlight=False)
    for note in made.notes:
        console.print(f"note: {visible(note)}", markup=False, soft_wrap=True)
    shown = f"{made.shown:,} of {made.samples:,} samples, {made.size / 1e6:.1f} MB"
    console.print(f"report:  {visible(str(made.path))}  ({shown})", markup=False, soft_wrap=True)
    if open_:
        typer.launch(made.path.resolve().as_uri())


@app.command()
def show(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory.")],
    pack: Annotated[
        int, typer.Option(min=0, help="Row of the packed layout (else of the unpacked one), counted from 0.")
    ] = 0,
    split: Annotated[str | None, typer.Option(help="Split it is in; default: the first, train.")] = None,
    sample: Annotated[int | None, typer.Option(min=0, help="Only this sample of it, from 0.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Tables of tokens instead of running text.")
    ] = False,
) -> None:
    """Show the samples of one pack, with what is trained in them."""
    dataset = open_dataset(output)
    found = read_row(dataset, split or dataset.splits[0], pack)
    if sample is not None and sample >= len(found.length):
        raise OutputError(
            f"pack {pack} has {len(found.length)} samples, counted from 0; there is no {sample}"
        )
    texts, console = TokenTexts(dataset.tokenizer / "tokenizer.json"), Console(highlight=False)
    kind = "pack" if dataset.layout == "packed" else "row"
    print_pack(console, found, kind=kind, room=dataset.manifest.settings.max_length)
    for i in range(len(found.length)) if sample is None else [sample]:
        print_sample(console, found, i, texts, tokens=tokens)


@app.command()
def stats(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory.")],
    format: Annotated[Format, typer.Option(help="table, or json: the figures as one object.")] = Format.table,  # noqa: A002
) -> None:
    """Count an output: rows, tokens and trained share by source, split and role; lengths, packs, rejects."""
    figures = measure(output)
    if format is Format.json:
        _print_json(figures)
    else:
        print_stats(Console(highlight=False), figures)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="OUT1", help="Output directory.")],
    after: Annotated[Path, typer.Argument(metavar="OUT2", help="The one that it is compared with.")],
    format: Annotated[Format, typer.Option(help="table, or json: all as one object.")] = Format.table,  # noqa: A002
) -> None:
    """Compare the rows, tokens and masks of two outputs; exit code 1 if they differ."""
    from ..review.diff import compare  # noqa: PLC0415  polars is for this alone

    found = compare(before, after)
    if format is Format.json:
        _print_json(found.as_dict())
    else:
        print_difference(Console(highlight=False), found)
    raise typer.Exit(0 if found.equal else 1)


@app.command()
def rejects(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory.")],
    reason: Annotated[str | None, typer.Option(help="Only rows rejected for this reason.")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this file.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Examples of each reason.")] = EXAMPLES,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Write the rows there as they were, to mend and feed back."),
    ] = None,
    format: Annotated[Format, typer.Option(help="table, or json: one object.")] = Format.table,  # noqa: A002
) -> None:
    """Show the rows that a run rejected, by reason, or write them out to be mended."""
    if export is not None:
        count = export_rejects(output, export, reason=reason, source=source)
        console = Console(highlight=False)
        console.print(f"{count:,} rows in {visible(str(export))}", markup=False, soft_wrap=True)
        return
    ledger = read_ledger(output, reason=reason, source=source, limit=limit)
    if format is Format.json:
        _print_json(ledger.as_dict())
    else:
        print_ledger(Console(highlight=False), ledger)


@app.command()
def trees(
    sources: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of single messages.")],
    target: Annotated[Path, typer.Argument(metavar="TREES.jsonl", help="What is written; must not exist.")],
) -> None:
    """Make message trees of single messages that name their parents, one tree a line."""
    done = make_trees(sources, target)
    text = f"{done.rows:,} rows: {done.trees:,} trees, {done.orphans:,} messages without their parent"
    text += f", {done.others:,} other rows, in {visible(str(target))}"
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


@app.command()
def push(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory of premask run.")],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="org/name on the Hub, or a URL such as s3://bucket/folder."),
    ],
    private: Private = False,
    revision: Annotated[str | None, typer.Option(help="Branch of the repo; made if missing.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag that is set on the commit.")] = None,
    content_revision: Annotated[
        bool,
        typer.Option("--content-revision", help="Push to a branch (or folder) named by the run key."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Push to a place that holds data premask has not pushed.")
    ] = False,
) -> None:
    """Push a finished output to the Hugging Face Hub, or to a store such as S3."""
    if "://" not in target or target.startswith("hf://"):
        where = HubTarget(parse_repo_id(target), private, revision, tag, content_revision, overwrite)
        _print_pushed(_push_hub(out, where))
        return
    wrong = {"--private": private, "--revision": revision, "--tag": tag}
    if given := [name for name, value in wrong.items() if value]:
        raise RecipeError(f"{given[0]} is for the Hub; {target} is a store, which has no such thing")
    lines = PushLines(Console(stderr=True, highlight=False))
    _print_pushed(
        push_to_store(out, target, content_revision=content_revision, overwrite=overwrite, report=lines)
    )


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def train(context: typer.Context) -> None:
    """Fine-tune a model on an output: `train DATASET --model M --output DIR`; --help lists the options."""
    try:
        from ..train import main as train_on_shards  # noqa: PLC0415  torch takes seconds to load, and is an extra
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error.name} is not installed; pip install 'premask[train]'") from None
    raise typer.Exit(train_on_shards(context.args, "premask train"))


def _push_hub(out: Path, target: HubTarget) -> PushResult:
    return push_to_hub(out, target, report=PushLines(Console(stderr=True, highlight=False)))


def _print_pushed(result: PushResult) -> None:
    for note in result.notes:
        Console(stderr=True, highlight=False).print(f"note: {visible(note)}", markup=False, soft_wrap=True)
    print_push(Console(highlight=False), result)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"premask {__version__}")
        raise typer.Exit


def _recipe(inputs: list[str], flags: dict[str, Any]) -> Recipe:
    """The recipe of a command line: a recipe file with flags over it, or flags alone."""
    given = {key: value for key, value in flags.items() if value not in (None, [])}
    given |= {key: read(given[key]) for key, read in _WRITTEN.items() if key in given}
    if not inputs[0].endswith((".yaml", ".yml")):
        return make_recipe({"sources": inputs, **given}, where="command line")
    if len(inputs) > 1:
        raise RecipeError(f"{inputs[0]} is a recipe; name the data files in it, under 'sources'")
    written = load_recipe(Path(inputs[0]))
    for key in ("train", "card", "splits"):
        if key in given and isinstance(written.get(key), dict):
            given[key] = {**written[key], **given[key]}  # a flag sets one key, the others stay
    return make_recipe({**written, **given}, where=inputs[0])


def _names(text: str) -> list[str]:
    """`packed, unpacked` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _setting(text: str) -> tuple[str, Any]:
    """`roles=assistant,tool` as key and value."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--train {text}: write it as key=value, such as reasoning=false")
    return key, value.split(",") if key == "roles" else value


def _share(text: str) -> tuple[str, str]:
    """`validation=0.02` as key and value."""
    name, equals, share = text.partition("=")
    if not equals:
        raise RecipeError(f"--splits {text}: write it as name=share, such as validation=0.02")
    return name, share


def _field_map(texts: list[str]) -> dict[str, Any]:
    """`user=question`, `roles.A=user` as the mapping of a recipe."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--fields {text}: write it as key=path, such as user=question")
        if key.startswith("roles."):
            found.setdefault("roles", {})[key.removeprefix("roles.")] = value
        else:
            found[key] = value
    return found


def _card_field(text: str) -> tuple[str, Any]:
    """`language=en,de` as key and value; lists have commas."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--card {text}: write it as key=value, such as license=cc-by-4.0")
    return key, value.split(",") if key in {"language", "source_datasets", "tags"} else value


def _json_object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecipeError(f"--template-kwargs is not valid JSON: {error}") from None


_WRITTEN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("layout", "extra_columns", "repair"), _names),
    "template_kwargs": _json_object,
    "train": lambda texts: dict(map(_setting, texts)),
    "card": lambda texts: dict(map(_card_field, texts)),
    "fields": _field_map,
    "splits": lambda texts: dict(map(_share, texts)),
}
"""Options that are written otherwise than the recipe's keys -> what reads them."""


def _print_json(value: Any) -> None:
    """One line of JSON, in UTF-8 whatever the locale says; half a surrogate pair becomes its JSON escape."""
    typer.echo(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the command: errors that a user can mend are one line and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no error
    try:
        app()
    except PremaskError as error:
        sys.stderr.write(f"premask: {visible(str(error))}\n")
        sys.exit(2)
