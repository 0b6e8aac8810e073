"""Slices of a run by rank, and `premask finish`: the bytes of a plain run, and who may work beside whom."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from commands import ROOT, SAMPLE, TOKENIZER, command, premask, write_rows
from outputs import bytes_of
from premask.core.errors import OutputError, RecipeError, RunError, VerifyError
from premask.core.locks import Lock
from premask.core.recipe import Recipe
from premask.running.batches import BatchLabeller
from premask.running.ranks import Share, finish_slices, run_slice
from premask.running.run import run
from premask.running.tasks import Progress

CHATS = SAMPLE / "conversations.jsonl"
EXAMPLES = ROOT / "examples"


def recipe_of(out: Path, **keys: Any) -> Recipe:
    values: dict[str, Any] = {"sources": [str(CHATS)], "tokenizer": TOKENIZER, "output": str(out)}
    return Recipe.model_validate(values | {"max_length": 1024, "unit_rows": 60} | keys)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a plain run, in five units."""
    return bytes_of(run(recipe_of(tmp_path_factory.mktemp("plain") / "out")).output)


# ==== The same bytes ====


@pytest.mark.parametrize("world", [1, 3, 7])
def test_slices_and_finish_give_the_bytes_of_a_plain_run(
    plain: dict[str, bytes], tmp_path: Path, world: int
) -> None:
    out = tmp_path / "out"
    done = [run_slice(recipe_of(out), Share(rank, world)) for rank in reversed(range(world))]
    result = finish_slices(out)

    assert sum(each.units for each in done) == 5
    assert sum(each.rows for each in done) == 300
    assert result.fresh
    assert bytes_of(out) == plain
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not finish_slices(out).fresh
    assert not run_slice(recipe_of(out), Share(0, world)).fresh
    assert bytes_of(out) == plain
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_ranks_have_done_a_plain_run_takes_up(plain: dict[str, bytes], tmp_path: Path) -> None:
    out, labelled = tmp_path / "out", []
    run_slice(recipe_of(out), Share(1, 2))
    real = BatchLabeller.parts

    def counts(self: BatchLabeller, rows: Any, dialect: str) -> Any:
        labelled.append(rows)
        return real(self, rows, dialect)

    with mock.patch.object(BatchLabeller, "parts", counts):
        run(recipe_of(out))

    assert len(labelled) == 3
    assert bytes_of(out) == plain


def test_the_sources_are_inspected_by_the_first_rank_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(CHATS.read_bytes())
    recipe = recipe_of(tmp_path / "out", sources=[str(source)])
    run_slice(recipe, Share(0, 2))
    with mock.patch("premask.running.ranks.look_at", side_effect=AssertionError):
        run_slice(recipe, Share(1, 2))
        assert finish_slices(tmp_path / "out").fresh


def test_fields_and_selections_of_a_recipe_are_those_of_a_plain_run(tmp_path: Path) -> None:
    rows = [{"q": f"question {i}", "a": f"answer {i}"} for i in range(40)]
    source = {"path": write_rows(tmp_path / "a.jsonl", rows), "sample": 0.5, "columns": ["q", "a"]}
    keys = {"sources": [source], "fields": {"user": "q", "assistant": "a"}, "unit_rows": 10}
    run(recipe_of(tmp_path / "plain", **keys))
    for rank in range(2):
        run_slice(recipe_of(tmp_path / "out", **keys), Share(rank, 2))
    finish_slices(tmp_path / "out")

    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "plain")


def _rank(out: str, rank: int, world: int, keys: dict[str, Any]) -> None:
    run_slice(recipe_of(Path(out), **keys), Share(rank, world, wait_s=120))


def test_ranks_at_the_same_time_drop_duplicates_and_shuffle(tmp_path: Path) -> None:
    """Each hashes its rows, waits for the others, leaves out rows that another rank has first, waits for the
    units of the others, and packs its buckets of them."""
    twice = tmp_path / "twice.jsonl"
    lines = CHATS.read_text(encoding="utf-8").split("\n")[:-1]
    twice.write_text("\n".join([*lines, *lines[:90]]), encoding="utf-8")
    keys = {"sources": [str(twice)], "duplicates": "drop", "shuffle": True}
    plain = run(recipe_of(tmp_path / "plain", **keys))
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(str(tmp_path / "out"), i, 2, keys)) for i in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    finish_slices(tmp_path / "out")

    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert any("-00001-of-" in name for name in bytes_of(tmp_path / "out"))
    assert plain.manifest["counts"]["dropped"] > 80
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "plain")


def test_a_rank_says_what_it_waits_for_and_gives_up(tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    recipe = recipe_of(tmp_path / "out", duplicates="drop")
    with pytest.raises(RunError, match=r"rank 2 of 3: the row hashes of ranks 0, 1 are missing after 0 s"):
        run_slice(recipe, Share(2, 3, wait_s=0), progress=Heard())
    with (
        mock.patch("premask.running.ranks._POLL_S", 0.01),
        pytest.raises(RunError, match=r"hashes of rank 1 are"),
    ):
        run_slice(recipe, Share(0, 3, wait_s=0.1), progress=Heard())

    assert said == ["rank 0 of 3: waiting for the row hashes of rank 1"]


# ==== A row that gives two results ====


def test_ranks_that_ended_before_a_mismatch_are_run_again(plain: dict[str, bytes], tmp_path: Path) -> None:
    out, real = tmp_path / "out", BatchLabeller.parts

    def mismatches(self: BatchLabeller, rows: Any, dialect: str) -> Any:
        if self.fast and rows.numbers[0] >= 60:
            raise VerifyError("chats row 60")
        return real(self, rows, dialect)

    run_slice(recipe_of(out), Share(0, 5))
    with mock.patch.object(BatchLabeller, "parts", mismatches):
        run_slice(recipe_of(out), Share(1, 5))
    for rank in (2, 3, 4):
        run_slice(recipe_of(out), Share(rank, 5))
    with pytest.raises(
        RunError, match=r"1 of 5 units are missing \(chats row 60 gave two different results.*rank 0 of 5: 0;"
    ):
        finish_slices(out)
    run_slice(recipe_of(out), Share(0, 5))
    result = finish_slices(out)

    assert result.manifest["engine"]["reason"].startswith("chats row 60 gave two different results")
    packed = {name: data for name, data in bytes_of(out).items() if name.startswith("packed")}
    assert packed == {name: data for name, data in plain.items() if name.startswith("packed")}


# ==== What is missing, and who is refused ====


def test_finish_names_the_ranks_whose_units_are_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_slice(recipe_of(out), Share(1, 3))
    done = premask("finish", out)

    assert done.code == 2
    assert done.err == (
        "premask: 3 of 5 units are missing: rank 0 of 3: 0, 3; rank 2 of 3: 2; run these ranks again\n"
    )
    assert not out.exists()


def test_another_recipe_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_slice(recipe_of(out), Share(0, 2))
    before = bytes_of(tmp_path)
    with pytest.raises(OutputError, match=r"the work of another run \(max_length was 1024, now 512\)"):
        run_slice(recipe_of(out, max_length=512), Share(1, 2))
    with pytest.raises(OutputError, match=r"the work of another run \(max_length was 1024, now 512\)"):
        finish_slices(out, recipe=recipe_of(out, max_length=512))

    assert {name: data for name, data in bytes_of(tmp_path).items() if ".lock" not in name} == {
        name: data for name, data in before.items() if ".lock" not in name
    }
    run_slice(recipe_of(out), Share(1, 2))
    assert finish_slices(out, recipe=recipe_of(out, card={"license": "mit"})).manifest["card"] == {
        "license": "mit"
    }


def test_who_may_work_at_the_same_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: dict[str, Any] = {}

    class Tries(Progress):
        """While rank 0 is at work, others try."""

        def start(self, rows: int | None) -> None:
            del rows
            for name, attempt in ATTEMPTS.items():
                try:
                    seen[name] = attempt(out)
                except OutputError as error:
                    seen[name] = str(error)

    run_slice(recipe_of(out), Share(0, 2), progress=Tries())
    lock = Lock(out)
    with pytest.raises(OutputError, match="another run is writing"):
        run_slice(recipe_of(out), Share(1, 2))
    lock.release()

    assert "rank 0 of 2" in seen["the same rank"]
    assert "another process works on rank" in seen["the same rank"]
    assert "another run is writing" in seen["a plain run"]
    assert "another run is writing" in seen["finish"]
    assert seen["another rank"].units == 2


ATTEMPTS: dict[str, Callable[[Path], Any]] = {
    "the same rank": lambda out: run_slice(recipe_of(out), Share(0, 2)),
    "a plain run": lambda out: run(recipe_of(out)),
    "finish": finish_slices,
    "another rank": lambda out: run_slice(recipe_of(out), Share(1, 2)),
}


def test_shared_locks_leave_no_file_behind(tmp_path: Path) -> None:
    first, second = (Lock(tmp_path / "out", shared=True) for _ in range(2))
    first.release()
    with pytest.raises(OutputError, match="another run is writing"):
        Lock(tmp_path / "out")
    second.release()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rank", 0], "--rank and --world belong together"),
        (["--world", 2], "--rank and --world belong together"),
        (["--rank", 2, "--world", 2], "ranks count from 0 to 1"),
        (["--ray-address", "auto"], "--ray-address belongs to --runner ray"),
        (["--rank", 0, "--world", 1, "--push-to-hub", "a/b"], "a rank makes no output to push"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, words: list[Any], said: str) -> None:
    done = premask("run", CHATS, "--tokenizer", TOKENIZER, "--output", tmp_path / "out", *words)

    assert (done.code, said in done.err) == (2, True), done.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_finish(tmp_path: Path) -> None:
    done = premask("finish", tmp_path / "out")

    assert done.code == 2
    assert "there is nothing to finish at" in done.err
    with pytest.raises(RecipeError):
        run_slice(recipe_of(tmp_path / "out"), Share(-1, 2))


# ==== Job files ====


def shell_words(text: str) -> Iterator[list[str]]:
    """The words of each `premask` command in a line of shell."""
    for found in re.findall(r"(?:^|[\s'])premask ((?:run|finish)[^;']*)", text):
        yield shlex.split(found)


def commands_of(path: Path) -> list[list[str]]:
    if path.suffix == ".sh":
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        return [words for line in lines for words in shell_words(line)]
    found = []
    for document in yaml.safe_load_all(path.read_text()):
        spec = document["spec"]
        if document["kind"] == "RayJob":
            found.append(spec["entrypoint"])
        else:
            found += [arg for each in spec["template"]["spec"]["containers"] for arg in each["args"]]
    return [words for text in found for words in shell_words(text)]


@pytest.mark.parametrize("file", ["kuberay.yaml", "kubernetes.yaml", "slurm.sh"])
def test_commands_of_the_job_files_are_real_ones(file: str) -> None:
    found = commands_of(EXAMPLES / file)

    assert [words[0] for words in found] == (["run"] if file == "kuberay.yaml" else ["run", "finish"])
    for name, *words in found:
        params = {option: param for param in command(name).params for option in param.opts}
        given = {word: value for word, value in pairwise([*words, ""]) if word.startswith("--")}
        assert set(given) <= set(params), name
        for option in {"--runner", "--world", "--workers"} & set(given):
            if not given[option].startswith("$"):
                params[option].type.convert(given[option], params[option], None)  # raises where it is wrong


def test_the_kubernetes_jobs_fit_together() -> None:
    ranks, finish = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    (run_words,), (finish_words,) = (
        [
            words
            for arg in job["spec"]["template"]["spec"]["containers"][0]["args"]
            for words in shell_words(arg)
        ]
        for job in (ranks, finish)
    )

    assert ranks["spec"]["completionMode"] == "Indexed"
    assert run_words[run_words.index("--rank") + 1] == "$JOB_COMPLETION_INDEX"
    assert int(run_words[run_words.index("--world") + 1]) == ranks["spec"]["completions"]
    assert run_words[1] == finish_words[1]


def test_the_ray_job_uses_the_tested_version() -> None:
    (job,) = yaml.safe_load_all((EXAMPLES / "kuberay.yaml").read_text())
    pinned = re.search(r"^ray==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert pinned is not None
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
    assert "ray" in job["spec"]["entrypoint"].split()


SBATCH = """#!/bin/sh
# Stands in for Slurm's sbatch: does the jobs one after another, here and at once.
array=none
for word in "$@"; do
  case "$word" in
    --array=*) array="${word#--array=}" ;;
    --wrap=*) command="${word#--wrap=}" ;;
  esac
done
echo "$*" >> "$SBATCH_LOG"
if [ "$array" = none ]; then exec sh -c "$command" >&2; fi
i="${array%-*}"
while [ "$i" -le "${array#*-}" ]; do SLURM_ARRAY_TASK_ID="$i" sh -c "$command" >&2 || exit 1; i=$((i + 1)); done
echo 4711
"""


def test_the_slurm_script_makes_the_output(plain: dict[str, bytes], tmp_path: Path) -> None:
    """No Slurm is here, so a script does what `sbatch` is given; the commands are the real ones."""
    folder = tmp_path / "bin"
    folder.mkdir()
    module = f'exec "{sys.executable}" -m premask "$@"\n'
    for name, text in {"sbatch": SBATCH, "premask": f"#!/bin/sh\n{module}"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    recipe = recipe_of(tmp_path / "out").model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    environ = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SBATCH_LOG": str(tmp_path / "log"),
        "PYTHONPATH": str(ROOT / "pipeline"),
    }
    done = subprocess.run(
        ["sh", str(EXAMPLES / "slurm.sh"), str(tmp_path / "recipe.yaml"), "2", "1"],
        env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "out") == plain
    assert "--dependency=afterok:4711" in (tmp_path / "log").read_text().splitlines()[1]
