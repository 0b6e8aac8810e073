"""A run that would refuse most of its first rows for open reasoning ends before any work, and leaves nothing."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from commands import SAMPLE, TOKENIZER, premask
from places import MakeLabeller
from premask.core.errors import RunError
from premask.core.recipe import Recipe
from premask.core.records import Row
from premask.running import early_end
from premask.running.ranks import Share, run_slice
from premask.running.run import run
from small_templates import CHATML

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""A prompt that opens a block of reasoning, and a history that shows an answer without one."""


def chat(*, reasoning: bool) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "Yes."} | ({"reasoning_content": "Hm."} if reasoning else {})
    return {"messages": [{"role": "user", "content": "Is it?"}, answer]}


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Make a recipe of a file with so many rows without reasoning, and with it."""

    def make(without: int, having: int, template: str = THINKS, **keys: Any) -> Recipe:
        rows = [chat(reasoning=False)] * without + [chat(reasoning=True)] * having
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in/chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "in/template.jinja").write_text(template)
        values = {"sources": [str(tmp_path / "in/chats.jsonl")], "tokenizer": TOKENIZER}
        values |= {"chat_template": str(tmp_path / "in/template.jinja"), "output": str(tmp_path / "out")}
        return Recipe.model_validate(values | keys)

    return make


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


CHOICES = ["nothing was written", "open_reasoning to compose", "as-rendered"]


def test_a_run_ends_before_any_work(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="101 of the first 200 rows") as caught:
        run(recipe(101, 200))

    assert all(choice in str(caught.value) for choice in CHOICES)
    assert "template_kwargs" not in str(caught.value)  # the template reads no arguments
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == ["in"]


def test_a_mode_that_fits_is_named(recipe: Callable[..., Recipe]) -> None:
    opens = "assistant\n<think>\n"
    chosen = "assistant\n{{ '<think>\n' if enable_thinking is not defined or enable_thinking else '' }}"
    template = THINKS.replace(opens, chosen)
    with pytest.raises(RunError) as caught:
        run(recipe(3, 1, template))

    assert "or template_kwargs to {enable_thinking: auto} (each row gets the mode" in str(caught.value)
    counts = run(recipe(3, 1, template, template_kwargs={"enable_thinking": "auto"})).manifest["counts"]
    assert counts["kept"] == 4
    assert counts["template_modes"] == {"enable_thinking": {"false": 3, "true": 1}}


def test_half_of_the_first_rows_are_not_too_many(recipe: Callable[..., Recipe]) -> None:
    counts = run(recipe(100, 110)).manifest["counts"]

    assert (counts["kept"], counts["rejected_by_reason"]) == (110, {"open_reasoning": 100})


def test_a_file_of_a_few_rows(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RunError, match="2 of the first 3 rows"):
        run(recipe(2, 1))
    assert run(recipe(1, 1)).manifest["counts"]["kept"] == 1


def test_rows_of_all_sources_are_tried_in_their_order(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    having = tmp_path / "having.jsonl"
    having.write_text((json.dumps(chat(reasoning=True)) + "\n") * 150)
    both = [str(tmp_path / "in/chats.jsonl"), str(having)]

    with pytest.raises(RunError, match="150 of the first 200 rows"):
        run(recipe(150, 0, sources=both))
    assert run(recipe(150, 0, sources=both[::-1])).manifest["counts"]["kept"] == 150


@pytest.mark.parametrize("choice", ["compose", "as-rendered"])
def test_who_has_chosen_gets_what_was_chosen(recipe: Callable[..., Recipe], choice: str) -> None:
    with mock.patch.object(early_end, "count_refused") as tried:
        counts = run(recipe(3, 1, open_reasoning=choice)).manifest["counts"]

    assert not tried.called
    assert counts["kept"] == 4
    assert counts["turns_behind_another_prompt"] == (3 if choice == "as-rendered" else 0)
    proof = {"compose": "composed"}.get(choice, choice)
    assert counts["samples_by_proof"] == {proof: 3, "inference": 1}


def test_other_templates_pay_nothing(recipe: Callable[..., Recipe]) -> None:
    with mock.patch.object(early_end, "count_refused") as tried:
        assert run(recipe(3, 1, CHATML, on_dropped="count")).manifest["counts"]["kept"] == 4

    assert not tried.called


def test_finished_units_of_an_earlier_run_count_as_work(recipe: Callable[..., Recipe]) -> None:
    made = recipe(3, 1, unit_rows=2)
    with (
        mock.patch.object(early_end, "FIRST_ROWS", 0),
        mock.patch("premask.running.run.finish", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run(made)

    assert run(made).manifest["counts"]["rejected"] == 3


def test_another_output_that_was_to_be_replaced_stays(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    before = run(recipe(3, 1, open_reasoning="compose")).manifest
    with pytest.raises(RunError, match="3 of the first 4 rows"):
        run(recipe(3, 1), overwrite=True)

    assert json.loads((tmp_path / "out/manifest.json").read_text()) == before
    assert left(tmp_path) == ["in", "out"]


def test_rows_that_cannot_be_read_are_not_refused(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(2, 1)
    with (tmp_path / "in/chats.jsonl").open("a") as file:
        file.write("{\n" + json.dumps({"messages": []}) + "\n")

    assert run(made).manifest["counts"]["rejected_by_reason"]["open_reasoning"] == 2


def test_an_error_that_should_not_be_is_left_to_the_run(make_labeller: MakeLabeller) -> None:
    labeller, row = make_labeller("sample"), Row("a.jsonl", 0, chat(reasoning=False))
    with mock.patch.object(labeller, "decide_together", side_effect=MemoryError):
        assert early_end.count_refused(labeller, iter([(row, "openai")] * 3)) == (0, 3)


def test_a_process_that_was_ended_by_these_rows_does_not_try_them_again(
    recipe: Callable[..., Recipe],
) -> None:
    """The rows of the first units are then left to workers."""
    made = recipe(3, 1)

    def ends(*_: object) -> None:
        raise SystemExit  # the mark stays as if the process had been killed

    with (
        mock.patch.object(early_end, "count_refused", ends),
        mock.patch("pathlib.Path.unlink"),
        pytest.raises(SystemExit),
    ):
        run(made)

    assert run(made).manifest["counts"]["rejected"] == 3


# ==== Ranks, and the command ====


def test_each_rank_ends_so(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(3, 1, unit_rows=2)
    for rank in range(3):  # of which one has no unit
        with pytest.raises(RunError, match=rf"rank {rank} of 3: 3 of the first 4 rows"):
            run_slice(made, Share(rank, 3))

        assert left(tmp_path) == ["in"]


def _run_rank(made: Recipe, rank: int) -> None:
    try:
        run_slice(made, Share(rank, 3))
    except RunError as error:
        raise SystemExit(0 if "of the first" in str(error) else 1) from None


def test_ranks_that_end_at_the_same_time_leave_nothing(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(3, 1, unit_rows=2)
    ranks = [multiprocessing.Process(target=_run_rank, args=(made, rank)) for rank in range(3)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()

    assert [each.exitcode for each in ranks] == [0, 0, 0]
    assert left(tmp_path) == ["in"]


def test_the_command_says_it_in_one_line(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(3, 1)
    words = ["--tokenizer", TOKENIZER, "--chat-template", made.chat_template, "--output", tmp_path / "out"]
    done = premask("run", tmp_path / "in/chats.jsonl", *words)

    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "3 of the first 4 rows" in done.err
    assert left(tmp_path) == ["in"]


def test_the_sample_goes_through(tmp_path: Path) -> None:
    made = {"sources": [str(SAMPLE / "conversations.jsonl")], "tokenizer": TOKENIZER}
    with mock.patch.object(early_end, "count_refused") as tried:
        run(Recipe.model_validate(made | {"output": str(tmp_path / "out"), "max_length": 1024}))

    assert not tried.called
