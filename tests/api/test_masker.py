"""`Masker`: the samples of a run, from Python; errors that say what is wrong."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TOKENIZER, chat, premask, write_rows
from outputs import rows_of
from premask.api.mask import mask
from premask.api.masker import Masker
from premask.core.errors import RecipeError, RowError, SourceError, TemplateError, TokenizerError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_samples_are_those_of_a_run(tmp_path: Path) -> None:
    rows = [
        chat("Hi", "Hello"),
        chat("a", "b", "c", "d"),
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    ]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    done = premask(
        "run", source, "--tokenizer", TOKENIZER, "--layout", "unpacked", "--output", tmp_path / "out"
    )
    assert done.code == 0, done

    masker = Masker(TOKENIZER)
    samples = [sample for row in rows for sample in masker(row)]

    written = rows_of(tmp_path / "out", "unpacked")
    assert [(each.input_ids, each.labels) for each in samples] == [
        (r["input_ids"], r["labels"]) for r in written
    ]


def test_spans_are_the_trained_text() -> None:
    (sample,) = Masker(TOKENIZER)(TURNS)
    trained = "".join(sample.text[start:end] for start, end in sample.spans)

    assert "Hello" in trained
    assert "Hi" not in trained
    assert sample.proof == "inference"
    assert [weight > 0 for weight in sample.loss_weights] == [label != -100 for label in sample.labels]


@pytest.mark.parametrize("shape", ["openai", "sharegpt"])
def test_turns_of_both_forms(shape: str) -> None:
    names = {
        "openai": ("role", "content", "user", "assistant"),
        "sharegpt": ("from", "value", "human", "gpt"),
    }
    by, text, user, assistant = names[shape]
    (sample,) = Masker(TOKENIZER)([{by: user, text: "Hi"}, {by: assistant, text: "Hello"}])

    assert sample.labels == Masker(TOKENIZER)(TURNS)[0].labels


def test_a_tokenizer_of_transformers_and_a_template_as_text() -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415

    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    (sample,) = Masker(AutoTokenizer.from_pretrained(TOKENIZER), template)(TURNS)

    assert sample.text == "<user>Hi|<assistant>Hello|"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], "no_messages"),
        ({}, "no_messages"),
        (TURNS[:1], "no_assistant"),
        ([{"role": "user"}], "wrong_type"),
        ({"a": 1}, "unknown_dialect"),
        (["text"], "wrong_type"),
        ([TURNS, TURNS], "wrong_type"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row: Any, reason: str) -> None:
    with pytest.raises(RowError) as raised:
        Masker(TOKENIZER)(row)

    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Masker(3), TokenizerError, "no tokenizer of transformers"),
        (lambda: Masker(TOKENIZER, hystory="split"), RecipeError, "did you mean 'history'"),
        (lambda: Masker(TOKENIZER, "{{ foo"), TemplateError, "line 1"),
        (lambda: Masker(TOKENIZER, "{% if %}"), TemplateError, "^chat template given as text: syntax error"),
        (lambda: Masker(TOKENIZER, max_length=0), RecipeError, "max_length"),
    ],
)
def test_wrong_arguments(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_check_is_the_verdict_of_doctor() -> None:
    found = Masker(TOKENIZER).check()

    assert found.verdict == "exact"
    assert repr(found).startswith("verdict: exact\ngeneration prompt ")
    assert "[[zephyrean<|im_end|>]]" in repr(found)
    assert max(map(len, repr(found).splitlines())) <= 110


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").touch()

    with pytest.raises(TokenizerError, match=r"the folder has no tokenizer\.json; it has chats\.jsonl"):
        Masker(tmp_path)


def test_a_masker_shows_its_settings() -> None:
    assert repr(Masker(TOKENIZER, history="last")) == f"Masker(tokenizer={str(TOKENIZER)!r}, history='last')"
    assert repr(Masker(TOKENIZER, "{{ messages }}")).endswith("chat_template='given as text')")


def test_a_tokenizer_without_a_template() -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = None

    with pytest.raises(
        TemplateError, match=rf"^tokenizer {type(tokenizer).__name__} has no .*; set chat_template"
    ):
        Masker(tokenizer)


def test_a_sample_as_json_values() -> None:
    (sample,) = Masker(TOKENIZER)(TURNS)
    found = sample.as_dict()

    assert json.loads(json.dumps(found)) == found
    assert found["labels"] == sample.labels
    assert found["attention_mask"] == [1] * len(sample.input_ids)
    assert set(found) == {"input_ids", "labels", "attention_mask", "loss_weights", "text", "spans", "proof"}


def test_tools_are_json_and_not_functions() -> None:
    def weather(city: str) -> str:
        """Weather of a city."""
        return city

    with pytest.raises(TypeError, match=r"tools\[0\] is a function; give its JSON schema"):
        Masker(TOKENIZER)(TURNS, tools=[weather])  # type: ignore[list-item]


def test_keys_are_used_or_refused() -> None:
    """A longer sample is rejected as by `mask`; a key that decides nothing here is no silent one."""
    row = {"question": "q", "answer": "word " * 90}
    (line,) = mask([row], TOKENIZER, max_length=64).rejects

    assert Masker(TOKENIZER)(row)
    with pytest.raises(RowError) as raised:
        Masker(TOKENIZER, max_length=64)(row)
    assert (raised.value.reason, raised.value.detail) == (line["reason"], line["detail"])
    with pytest.raises(RecipeError, match=r"output is for premask\.run, which writes .*; too_long is for"):
        Masker(TOKENIZER, output="out", too_long="split")


def test_what_is_no_conversation() -> None:
    masker = Masker(TOKENIZER)

    for given in (None, "Hi", 5):
        with pytest.raises(TypeError, match="takes a list of turns, or a row as a dict, not"):
            masker(given)  # type: ignore[arg-type]
    with pytest.raises(RowError, match="turn 0 is a list, not a dict; give one conversation at a time"):
        masker([TURNS])  # type: ignore[list-item]
    with pytest.raises(SourceError, match=r"data holds the turns of one conversation.*\[turns\]"):
        mask(TURNS, TOKENIZER)
    assert len(mask([TURNS], TOKENIZER)) == 1


def test_a_masker_in_another_process() -> None:
    template = (Path(TOKENIZER) / "chat_template.jinja").read_text(encoding="utf-8")
    masker = Masker(TOKENIZER, chat_template=template, history="last")
    copies = [copy.deepcopy(masker), pickle.loads(pickle.dumps(masker))]  # noqa: S301
    ids = masker(TURNS)[0].input_ids

    assert [each(TURNS)[0].input_ids for each in copies] == [ids, ids]
    assert [each.recipe.history for each in copies] == [masker.recipe.history] * 2


def test_a_row_of_pandas() -> None:
    row = {"messages": np.array(TURNS, dtype=object), "score": float("nan")}

    assert Masker(TOKENIZER)(row) == Masker(TOKENIZER)(TURNS)
